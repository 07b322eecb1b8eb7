//! `countersign request CONNECTION --role ROLE --for SPAN --reason TEXT`; alone, it lists the roles there are to ask for.

use anyhow::bail;
use api::types::{AccessRequest, RequestView, RolesAnswer};
use model::{ConnectionName, hold::HoldState};

use super::{requests, seconds};
use crate::{
    client::Global,
    output::{Tone, moment},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where; left out, the roles you could ask for are listed
    connection: Option<ConnectionName>,
    /// The role, one of the connection's
    #[arg(long, requires = "connection")]
    role: Option<String>,
    /// For how long, from the last signature, such as 30m or 4h
    #[arg(long = "for", value_name = "SPAN", value_parser = seconds, requires = "connection")]
    window: Option<u64>,
    /// Why: shown to who signs, and kept
    #[arg(long, value_name = "TEXT", requires = "connection")]
    reason: Option<String>,
    /// Only this one statement, run once with `countersign token CONNECTION --request ID`
    #[arg(long, value_name = "SQL", requires = "connection")]
    statement: Option<String>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let Some(connection) = args.connection else {
        let answer: RolesAnswer = client.get("/v1/roles").await?;
        return global.output().show(&answer, |output| {
            let rows = answer.roles.iter().map(|role| {
                let needs = if role.signed { "signatures" } else { "nothing" };
                vec![role.connection.to_string(), role.role.clone(), needs.to_owned()]
            });
            output.table(&["connection", "role", "needs"], rows.collect(), "There is no role that you could ask for.")
        });
    };
    let (Some(role), Some(window_s), Some(reason)) = (args.role, args.window, args.reason) else {
        bail!("say which role, for how long and why: countersign request {connection} --role ROLE --for 1h --reason \"INC-4711\"");
    };
    let asked = AccessRequest { connection, role, window_s, reason, statement: args.statement };
    let request: RequestView = client.post("/v1/requests", &asked).await?;
    global.output().show(&request, |output| match (&request.state, &request.grant) {
        (HoldState::Approved, Some(grant)) => output.paint(Tone::Good, &granted(&request, &moment(grant.until))),
        _ => {
            let waits = format!("{} waits for signatures: {}.", request.id, requests::asked(&request));
            format!("{waits}\nA signer runs: countersign approve {}", request.id)
        }
    })
}

/// What whoever asked does next.
fn granted(request: &RequestView, until: &str) -> String {
    let RequestView { id, role, connection, .. } = request;
    match request.statement {
        Some(_) => {
            format!("{id} is granted until {until}. `countersign token {connection} --request {id}` prints the token that runs the statement, once.")
        }
        None => format!(
            "{id} is granted: you have the role {} on {connection} until {until}, in sessions that are open, too.",
            model::name::printable(role)
        ),
    }
}
