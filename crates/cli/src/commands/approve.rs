//! `countersign approve ID`: shows the whole operation, asks, and signs exactly what was shown.

use anyhow::bail;
use api::types::{ApproveRequest, HoldView};
use model::{HoldId, hold::HoldState};

use super::holds;
use crate::{client::Global, output::Tone, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The held operation, h_…
    id: HoldId,
    /// Do not ask; for scripts that have read what `show` prints
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    let path = format!("/v1/holds/{}", args.id);
    let hold: HoldView = client.get(&path).await?;
    if !output.is_json() {
        output.line(&holds::whole(&output, &hold))?;
    }
    if hold.state != HoldState::Waiting {
        bail!("{} no longer waits: there is nothing to sign", args.id);
    }
    if !args.yes && !terminal::confirm("\nSign this operation?")? {
        bail!("not signed: {} still waits. `countersign deny {} --reason …` refuses it.", args.id, args.id);
    }
    let signed: HoldView = client.post(&format!("{path}/approve"), &ApproveRequest { digest: hold.digest }).await?;
    output.show(&signed, |output| match signed.state {
        HoldState::Approved => output.paint(Tone::Good, "Signed. Nothing more is needed: it runs on the caller's own connection."),
        _ => output.paint(Tone::Good, &format!("Signed. State: {}", holds::summary(&signed))),
    })
}
