//! `countersign approve ID`: shows the whole operation or request, asks, and signs exactly what was shown.

use anyhow::bail;
use api::types::{ApproveRequest, HoldView, RequestView};
use model::{HoldId, RequestId, hold::HoldState};

use super::{holds, requests};
use crate::{
    client::Global,
    output::{Tone, moment},
    terminal,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The held operation, h_…, or request, q_…
    id: Waiting,
    /// Do not ask; for scripts that have read what `show` prints
    #[arg(long)]
    yes: bool,
}

/// What waits for signatures.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waiting {
    Hold(HoldId),
    Request(RequestId),
}

impl std::str::FromStr for Waiting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let request = text.parse().map(Self::Request);
        let neither = |_| format!("`{}` is neither a held operation (h_…) nor a request (q_…)", model::name::printable(text));
        request.or_else(|_| text.parse().map(Self::Hold)).map_err(|error: model::id::IdError| neither(error))
    }
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    match args.id {
        Waiting::Hold(id) => hold(global, id, args.yes).await,
        Waiting::Request(id) => request(global, id, args.yes).await,
    }
}

async fn hold(global: &Global, id: HoldId, yes: bool) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    let path = format!("/v1/holds/{id}");
    let hold: HoldView = client.get(&path).await?;
    if !output.is_json() {
        output.line(&holds::whole(&output, &hold))?;
    }
    if hold.state != HoldState::Waiting {
        bail!("{id} no longer waits: there is nothing to sign");
    }
    if hold.requirements.iter().any(|requirement| requirement.watched) {
        bail!("it runs only while one of those who signed it watches: sign it with `countersign watch {id}`");
    }
    if !yes && !terminal::confirm("\nSign this operation?")? {
        bail!("not signed: {id} still waits. `countersign deny {id} --reason …` refuses it.");
    }
    let signed: HoldView = client.post(&format!("{path}/approve"), &ApproveRequest { digest: hold.digest }).await?;
    output.show(&signed, |output| match signed.state {
        HoldState::Approved => output.paint(Tone::Good, "Signed. Nothing more is needed: it runs on the caller's own connection."),
        _ => output.paint(Tone::Good, &format!("Signed. State: {}", holds::summary(&signed))),
    })
}

async fn request(global: &Global, id: RequestId, yes: bool) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    let path = format!("/v1/requests/{id}");
    let request: RequestView = client.get(&path).await?;
    if !output.is_json() {
        output.line(&requests::whole(&output, &request))?;
    }
    if request.state != HoldState::Waiting {
        bail!("{id} no longer waits: there is nothing to sign");
    }
    if !yes && !terminal::confirm("\nSign this request?")? {
        bail!("not signed: {id} still waits. `countersign deny {id} --reason …` refuses it.");
    }
    let signed: RequestView = client.post(&format!("{path}/approve"), &ApproveRequest { digest: request.digest }).await?;
    output.show(&signed, |output| match &signed.grant {
        Some(grant) => output.paint(Tone::Good, &format!("Signed. Nothing more is needed: it is granted until {}.", moment(grant.until))),
        None => output.paint(Tone::Good, &format!("Signed. It still needs: {}", requests::asked(&signed))),
    })
}
