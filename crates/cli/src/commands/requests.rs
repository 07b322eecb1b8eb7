//! `countersign requests`, what is done to one of them, and how a request is shown to a signer: whole, never cut.

use api::types::{CommentRequest, DenyRequest, RequestEndedAnswer, RequestView, RequestsAnswer};
use model::{RequestId, Timestamp, hold::HoldState};

use super::{holds, sessions_word};
use crate::{
    client::Global,
    output::{Output, Tone, moment, one_line, span},
};

/// Longest reason in the listing, in characters; `show` prints all of it.
const LISTED_CHARACTERS: usize = 60;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Also those that no longer wait
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say something about a request, for all who may see it
    Comment {
        /// The request, q_…
        id: RequestId,
        /// What
        text: String,
    },
    /// Take back a request of yours, or give back what was granted
    Return {
        /// The request, q_…
        id: RequestId,
        /// Why; kept with it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Take what was granted from whoever has it; their sessions that use it end
    Revoke {
        /// The request, q_…
        id: RequestId,
        /// Why; kept with it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    match args.command {
        None => list(global, args.all).await,
        Some(Command::Comment { id, text }) => comment(global, id, text).await,
        Some(Command::Return { id, reason } | Command::Revoke { id, reason }) => end(global, id, reason).await,
    }
}

async fn list(global: &Global, all: bool) -> anyhow::Result<()> {
    let answer: RequestsAnswer = global.client()?.get(if all { "/v1/requests?all=true" } else { "/v1/requests" }).await?;
    global.output().show(&answer, |output| {
        let now = Timestamp::now();
        let rows = answer.requests.iter().map(|request| {
            vec![
                request.id.to_string(),
                request.chain.clone(),
                request.connection.to_string(),
                one_line(&request.role, LISTED_CHARACTERS),
                span(i64::try_from(request.window_s).unwrap_or(i64::MAX)),
                one_line(&request.why, LISTED_CHARACTERS),
                standing(request, now),
            ]
        });
        output.table(&["id", "who", "connection", "role", "for", "why", "state"], rows.collect(), "No request that you may see waits.")
    })
}

async fn comment(global: &Global, id: RequestId, text: String) -> anyhow::Result<()> {
    let request: RequestView = global.client()?.post(&format!("/v1/requests/{id}/comment"), &CommentRequest { text }).await?;
    global.output().show(&request, |output| whole(output, &request))
}

async fn end(global: &Global, id: RequestId, reason: Option<String>) -> anyhow::Result<()> {
    let answer: RequestEndedAnswer = global.client()?.post(&format!("/v1/requests/{id}/end"), &DenyRequest { reason }).await?;
    global.output().show(&answer, |_| match &answer.request.state {
        HoldState::Approved => format!("{id} is over; {} live {} ended.", answer.sessions, sessions_word(answer.sessions)),
        _ => format!("{id} is taken back."),
    })
}

/// What is signed of what must be.
pub(crate) fn asked(request: &RequestView) -> String {
    if request.requirements.is_empty() {
        return "nothing".to_owned();
    }
    holds::needs(&request.requirements, &request.signatures)
}

fn standing(request: &RequestView, now: Timestamp) -> String {
    let Some(grant) = &request.grant else { return holds::stands(&request.state, request.expires_at, now) };
    match &grant.ended {
        Some(ended) if ended.by == request.requester => "given back".to_owned(),
        Some(ended) => format!("taken by {}", ended.by),
        None if now < grant.until => format!("granted, {} left", span(grant.until.as_second() - now.as_second())),
        None => "over".to_owned(),
    }
}

/// Everything a signer must know, and nothing of it cut.
pub(crate) fn whole(output: &Output, request: &RequestView) -> String {
    let mut fields = vec![
        ("id", request.id.to_string()),
        ("who", request.chain.clone()),
        ("connection", request.connection.to_string()),
        ("role", format!("{} (group {})", request.role, request.group)),
        ("for", span(i64::try_from(request.window_s).unwrap_or(i64::MAX))),
        ("why", request.why.clone()),
    ];
    match &request.statement {
        Some(statement) => fields.push(("statement", format!("{statement}\n"))),
        None => fields.push(("statements", "whatever the role may do".to_owned())),
    }
    for requirement in &request.requirements {
        let reason = requirement.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        fields.push(("asked by", format!("{}{reason}", requirement.policy)));
    }
    fields.push(("needs", asked(request)));
    let signers: Vec<String> = request.signatures.iter().map(|signature| format!("{} at {}", signature.signer, moment(signature.at))).collect();
    fields.push(("signed by", if signers.is_empty() { "nobody yet".to_owned() } else { signers.join(", ") }));
    if let Some(grant) = &request.grant {
        fields.push(("granted", format!("{} to {}", moment(grant.from), moment(grant.until))));
        if let Some(ended) = &grant.ended {
            let reason = ended.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            fields.push(("ended", format!("by {} at {}{reason}", ended.by, moment(ended.at))));
        }
    }
    for comment in &request.comments {
        fields.push(("comment", format!("{} at {}: {}", comment.by, moment(comment.at), comment.text)));
    }
    fields.push(("state", standing(request, Timestamp::now())));
    let mut text = output.fields(&fields);
    if let (HoldState::Waiting, Some(why)) = (&request.state, &request.not_yours) {
        text.push('\n');
        text.push_str(&output.paint(Tone::Warning, &format!("You may not sign this: {}", model::name::printable(why))));
    }
    text
}
