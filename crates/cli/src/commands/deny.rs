//! `countersign deny ID --reason R`.

use api::types::{DenyRequest, HoldView};
use model::HoldId;

use crate::client::Global;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The held operation, h_…
    id: HoldId,
    /// Told to the caller, and recorded
    #[arg(long)]
    reason: Option<String>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let hold: HoldView = global.client()?.post(&format!("/v1/holds/{}/deny", args.id), &DenyRequest { reason: args.reason }).await?;
    global.output().show(&hold, |_| format!("{} was refused; {} is told so.", hold.id, hold.chain))
}
