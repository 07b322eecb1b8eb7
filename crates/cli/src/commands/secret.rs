//! `countersign secret set|list|delete`: secrets of targets in the encrypted store. They go in and never come out.

use api::types::{SecretRequest, SecretText, SecretsAnswer};

use crate::{
    client::{Global, escape},
    output::moment,
    terminal,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Keep a secret; it is asked for, or read from standard input
    Set {
        /// Its name, as in `password = { store = "NAME" }`
        name: String,
    },
    /// List names; the secrets themselves are never shown
    List,
    /// Forget a secret
    Delete {
        /// Its name
        name: String,
    },
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    match args.command {
        Command::Set { name } => {
            let value = SecretText(terminal::new_secret(&format!("Secret {name}"))?);
            client.put::<Option<()>>(&format!("/v1/secrets/{}", escape(&name)), &SecretRequest { value }).await?;
            output.show(&serde_json::json!({ "name": name }), |_| format!("{name} is kept. New sessions use it."))
        }
        Command::List => {
            let answer: SecretsAnswer = client.get("/v1/secrets").await?;
            output.show(&answer, |output| {
                let rows = answer.secrets.iter().map(|secret| vec![secret.name.clone(), moment(secret.updated_at), secret.updated_by.to_string()]);
                output.table(&["name", "set", "by"], rows.collect(), "No secret is kept.")
            })
        }
        Command::Delete { name } => {
            client.delete::<Option<()>>(&format!("/v1/secrets/{}", escape(&name))).await?;
            output.show(&serde_json::json!({ "name": name }), |_| format!("{name} is forgotten."))
        }
    }
}
