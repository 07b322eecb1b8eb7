//! `countersign deny ID --reason R`.

use api::types::{DenyRequest, HoldView, RequestView};

use super::approve::Waiting;
use crate::client::Global;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The held operation, h_…, or request, q_…
    id: Waiting,
    /// Told to whoever asked, and recorded
    #[arg(long)]
    reason: Option<String>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let no = DenyRequest { reason: args.reason };
    match args.id {
        Waiting::Hold(id) => {
            let hold: HoldView = client.post(&format!("/v1/holds/{id}/deny"), &no).await?;
            global.output().show(&hold, |_| format!("{} was refused; {} is told so.", hold.id, hold.chain))
        }
        Waiting::Request(id) => {
            let request: RequestView = client.post(&format!("/v1/requests/{id}/deny"), &no).await?;
            global.output().show(&request, |_| format!("{} was refused; {} sees it in `countersign requests --all`.", request.id, request.chain))
        }
    }
}
