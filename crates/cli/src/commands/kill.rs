//! `countersign kill ID`.

use api::types::{EndedAnswer, KillRequest};
use model::SessionId;

use crate::client::Global;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The session, s_…
    id: SessionId,
    /// Told to the caller, and recorded
    #[arg(long)]
    reason: Option<String>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let answer: EndedAnswer = global.client()?.post(&format!("/v1/sessions/{}/kill", args.id), &KillRequest { reason: args.reason }).await?;
    global.output().show(&answer, |_| format!("{} was ended, and what it was running was cancelled.", args.id))
}
