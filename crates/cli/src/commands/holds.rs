//! `countersign holds`, and how a held operation is shown to a signer: whole, never cut.

use api::types::{HoldView, HoldsAnswer, RequirementView, SignatureView};
use model::{Timestamp, hold::HoldState};

use crate::{
    client::Global,
    output::{Output, Tone, moment, one_line, span},
};

/// Longest statement in the listing, in characters; `show` prints all of it.
const LISTED_CHARACTERS: usize = 80;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also those that no longer wait
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let answer: HoldsAnswer = global.client()?.get(if args.all { "/v1/holds?all=true" } else { "/v1/holds" }).await?;
    global.output().show(&answer, |output| {
        let now = Timestamp::now();
        let rows = answer.holds.iter().map(|hold| {
            vec![
                hold.id.to_string(),
                hold.chain.clone(),
                hold.connection.to_string(),
                one_line(&hold.statement, LISTED_CHARACTERS),
                asked(hold),
                standing(hold, now),
            ]
        });
        output.table(&["id", "who", "connection", "statement", "needs", "state"], rows.collect(), "Nothing waits that you may see.")
    })
}

fn asked(hold: &HoldView) -> String {
    needs(&hold.requirements, &hold.signatures)
}

/// What is signed of what must be.
pub(super) fn needs(requirements: &[RequirementView], signatures: &[SignatureView]) -> String {
    let each = requirements.iter().map(|requirement| {
        let have = signatures.iter().filter(|signature| signature.policies.contains(&requirement.policy)).count();
        let groups = requirement.approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let watching = if requirement.watched { ", one of them watching" } else { "" };
        format!("{have} of {} from {groups}{watching}", requirement.count)
    });
    each.collect::<Vec<_>>().join("; ")
}

fn standing(hold: &HoldView, now: Timestamp) -> String {
    stands(&hold.state, hold.expires_at, now)
}

/// How something that waits for signatures stands.
pub(super) fn stands(state: &HoldState, expires_at: Timestamp, now: Timestamp) -> String {
    match state {
        HoldState::Waiting => format!("waits, {} left", span(expires_at.as_second() - now.as_second())),
        HoldState::Approved => "approved".to_owned(),
        HoldState::Denied { by, reason: None } => format!("denied by {by}"),
        HoldState::Denied { by, reason: Some(reason) } => format!("denied by {by}: {reason}"),
        HoldState::Expired => "expired".to_owned(),
        HoldState::Withdrawn { why } => format!("withdrawn: {why}"),
        HoldState::Voided { why } => format!("voided: {why}"),
    }
}

/// Everything a signer must know, and nothing of it cut.
pub(crate) fn whole(output: &Output, hold: &HoldView) -> String {
    let facts = &hold.facts;
    let pairs = facts.pairs.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let transaction = hold.transaction_open_ms.map_or_else(|| "none open".to_owned(), |ms| format!("open for {} s", ms / 1000));
    let mut fields = vec![
        ("id", hold.id.to_string()),
        ("who", hold.chain.clone()),
        ("connection", super::place(&hold.connection, &hold.database)),
        ("session", hold.session.to_string()),
        ("statement", block(&hold.statement)),
    ];
    if !hold.parameters.is_empty() {
        let each = hold.parameters.iter().enumerate().map(|(at, value)| format!("${} = {}", at + 1, value.as_deref().unwrap_or("NULL")));
        fields.push(("parameters", block(&each.collect::<Vec<_>>().join("\n"))));
    }
    fields.push(("asks for", pairs));
    fields.push(("risk", format!("{} of 5", facts.risk.level())));
    fields.push(("rows", hold.estimate.clone()));
    fields.push(("transaction", transaction));
    if !hold.locks.is_empty() {
        fields.push(("locks", hold.locks.join("\n")));
    }
    for requirement in &hold.requirements {
        fields.push(("held by", format!("{}{}", requirement.policy, requirement.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())));
    }
    fields.push(("needs", asked(hold)));
    let signers = hold.signatures.iter().map(|signature| format!("{} at {}", signature.signer, moment(signature.at)));
    fields.push(("signed by", or_nobody(signers.collect::<Vec<_>>().join(", "))));
    fields.push(("state", standing(hold, Timestamp::now())));
    let mut text = output.fields(&fields);
    if let (HoldState::Waiting, Some(why)) = (&hold.state, &hold.not_yours) {
        text.push('\n');
        text.push_str(&output.paint(Tone::Warning, &format!("You may not sign this: {}", model::name::printable(why))));
    }
    text
}

/// Makes `Output::fields` print the text on lines of its own.
fn block(text: &str) -> String {
    format!("{text}\n")
}

fn or_nobody(text: String) -> String {
    if text.is_empty() { "nobody yet".to_owned() } else { text }
}

/// State and what is still needed, on one line.
pub(crate) fn summary(hold: &HoldView) -> String {
    format!("{} ({})", standing(hold, Timestamp::now()), asked(hold))
}
