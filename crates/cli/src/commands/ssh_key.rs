//! `countersign ssh-key add|list|revoke`: keys that people and jobs sign in with over SSH.

use std::path::PathBuf;

use anyhow::Context;
use api::types::{EndedAnswer, SshKeyRequest, TokenView, TokensAnswer};
use model::{ConnectionName, IdentityName, TokenId};

use super::{seconds, sessions_word, token};
use crate::{client::Global, output::moment};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Register a key
    Add {
        /// The public half, as ssh-keygen writes it, such as ~/.ssh/id_ed25519.pub
        public_key: PathBuf,
        /// Whose it is: a workload or agent you own (default: yourself)
        #[arg(long = "for", value_name = "IDENTITY")]
        subject: Option<IdentityName>,
        /// The only connections it opens; all that policy lets its owner open if none is named
        #[arg(long = "connection", value_name = "CONNECTION")]
        connections: Vec<ConnectionName>,
        /// How long it works, 365 days at most, such as 90d
        #[arg(long, value_name = "SPAN", value_parser = seconds)]
        expires_in: Option<u64>,
    },
    /// List keys and certificates, those that are over too
    List {
        /// Those of everybody you may see, not only your own
        #[arg(long)]
        all: bool,
    },
    /// Revoke a key or certificate; live sessions it opened end
    Revoke {
        /// The key, t_…
        id: TokenId,
    },
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let (client, output) = (global.client()?, global.output());
    match args.command {
        Command::Add { public_key, subject, connections, expires_in } => {
            let text = std::fs::read_to_string(&public_key).with_context(|| format!("cannot read {}", public_key.display()))?;
            // Looked at here, so that a private key by mistake stays here.
            let key = identity::ssh::callers_key(&text).with_context(|| public_key.display().to_string())?;
            let public_key = key.to_openssh().context("the key cannot be written out")?;
            let request = SshKeyRequest { public_key, subject, connections, expires_in_s: expires_in };
            let view: TokenView = client.post("/v1/ssh/keys", &request).await?;
            output.show(&view, |_| {
                let fingerprint = view.bound_to.as_deref().unwrap_or_default();
                format!("{} signs in with the key {fingerprint} until {} UTC ({}).", view.subject, moment(view.expires_at), view.id)
            })
        }
        Command::List { all } => {
            let mut answer: TokensAnswer = client.get(if all { "/v1/tokens?all=true" } else { "/v1/tokens" }).await?;
            answer.tokens.retain(|token| token.purpose.is_of_ssh());
            output.show(&answer, |output| token::table(output, &answer.tokens))
        }
        Command::Revoke { id } => {
            let answer: EndedAnswer = client.delete(&format!("/v1/tokens/{id}")).await?;
            output.show(&answer, |_| format!("{id} is revoked; {} live {} ended.", answer.sessions, sessions_word(answer.sessions)))
        }
    }
}
