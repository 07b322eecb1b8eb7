//! `countersign login [NAME]`: name and password for a token, which is kept in a file of the caller's own.

use anyhow::Context;
use api::types::{LoginAnswer, LoginRequest, SecretText};
use model::IdentityName;

use crate::{
    client::{Global, Server},
    credentials::{self, Credentials},
    output::moment,
    terminal,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The identity; asked for if left out
    name: Option<IdentityName>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let saved = credentials::load().unwrap_or_default();
    let client = global.stranger(saved.as_ref())?;
    let name = match args.name {
        Some(name) => name,
        None => terminal::line("Name")?.parse().context("that is no name")?,
    };
    let password = SecretText(terminal::secret(&format!("Password of {name}"))?);
    let answer: LoginAnswer = client.post("/v1/login", &LoginRequest { name, password }).await?;
    let ca = if matches!(client.server, Server::Https { .. }) { client.ca.clone() } else { None };
    let kept =
        Credentials { server: client.server.to_string(), ca, name: answer.identity.name.clone(), token: answer.token, expires_at: answer.expires_at };
    let path = credentials::save(&kept)?;
    let shown = serde_json::json!({ "identity": answer.identity, "expires_at": answer.expires_at, "server": kept.server });
    global.output().show(&shown, |_| format!("Signed in as {} until {} UTC ({}).", kept.name, moment(kept.expires_at), path.display()))
}
