//! `countersign explain-statement CONNECTION "SQL"`.

use api::types::{ExplainAnswer, ExplainRequest};
use model::{ConnectionName, IdentityName, Outcome, Understanding};

use crate::{client::Global, output::Output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where it would run
    connection: ConnectionName,
    /// The statement
    statement: String,
    /// In which database; the connection's own if none is given
    #[arg(long)]
    database: Option<String>,
    /// For whom (default: you)
    #[arg(long)]
    identity: Option<IdentityName>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let request = ExplainRequest { connection: args.connection, database: args.database, statement: args.statement, identity: args.identity };
    let answer: ExplainAnswer = global.client()?.post("/v1/explain-statement", &request).await?;
    global.output().show(&answer, |output| told(output, &answer))
}

fn told(output: &Output, answer: &ExplainAnswer) -> String {
    let facts = &answer.facts;
    let understood = match &facts.understanding {
        Understanding::Full => "fully".to_owned(),
        Understanding::Unreadable(why) => format!("no: {why}"),
        Understanding::Syntax { message, .. } | Understanding::Missing { message, .. } => format!("no: {message}"),
    };
    let mut fields = vec![
        ("understood", understood),
        ("asks for", lines(facts.pairs.iter().map(ToString::to_string))),
        ("risk", format!("{} of 5", facts.risk.level())),
    ];
    for (title, relations) in [("reads", &facts.reads), ("writes", &facts.writes)] {
        if !relations.is_empty() {
            fields.push((title, relations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));
        }
    }
    if !facts.functions.is_empty() {
        fields.push(("calls", facts.functions.join(", ")));
    }
    fields.push(("decision", decision(&answer.outcome)));
    fields.push(("policies", super::identity::joined(&answer.policies)));
    if !answer.reasons.is_empty() {
        fields.push(("because", lines(answer.reasons.iter().cloned())));
    }
    for signers in &answer.signers {
        let people = match signers.people.as_slice() {
            [] => format!("nobody, so it would be refused: {} needed", signers.count),
            people => format!("{} of {}", signers.count, super::identity::joined(people)),
        };
        fields.push(("could sign", format!("{people} (for {})", signers.policy)));
    }
    if !answer.masking.is_empty() {
        fields.push(("masked", lines(answer.masking.iter().cloned())));
    }
    fields.push(("version", answer.version.short()));
    output.fields(&fields)
}

fn decision(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Allow => "allow".to_owned(),
        Outcome::Deny => "deny".to_owned(),
        Outcome::Hold(requirements) => {
            let each = requirements.iter().map(|requirement| {
                format!("{} from {}", requirement.count, requirement.approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
            });
            format!("hold, until signed by {}", each.collect::<Vec<_>>().join(" and by "))
        }
    }
}

fn lines(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join("\n")
}
