//! `countersign identity key add|list|revoke`: keys of workloads and agents that have no platform.

use std::path::PathBuf;

use anyhow::Context;
use api::types::{EndedAnswer, KeyRequest, KeyView, KeysAnswer};
use identity::PublicKey;
use model::{IdentityKeyId, IdentityName, Timestamp};

use super::{identity::place, seconds, sessions_word};
use crate::{
    client::Client,
    output::{Output, maybe_moment, moment},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Give it a public key; two may be in force at once, so that one can take the other's place
    Add {
        /// The workload or agent
        name: IdentityName,
        /// The public half, in PEM or as a JWK: P-256, Ed25519, or RSA of 2048 bits or more
        #[arg(long, value_name = "FILE")]
        public_key: PathBuf,
        /// How long it works, ninety days at most, such as 90d
        #[arg(long, alias = "expires", value_name = "SPAN", value_parser = seconds)]
        expires_in: u64,
    },
    /// List its keys, those that are over too
    List {
        /// The workload or agent
        name: IdentityName,
    },
    /// Revoke a key; tokens that were asked for with it, and what they opened, end
    Revoke {
        /// The workload or agent
        name: IdentityName,
        /// The key, k_…
        id: IdentityKeyId,
    },
}

pub(crate) async fn run(client: &Client, output: Output, args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Add { name, public_key, expires_in } => {
            let text = std::fs::read_to_string(&public_key).with_context(|| format!("cannot read {}", public_key.display()))?;
            // Looked at here, so that a private key by mistake stays here.
            let key = PublicKey::parse(&text).with_context(|| public_key.display().to_string())?;
            let request = KeyRequest { public_key: key.to_jwk(), expires_in_s: expires_in };
            let view: KeyView = client.post(&format!("{}/keys", place(&name)), &request).await?;
            output.show(&view, |_| format!("{name} has the key {} ({}) until {} UTC.", view.id, view.algorithm, moment(view.expires_at)))
        }
        Command::List { name } => {
            let answer: KeysAnswer = client.get(&format!("{}/keys", place(&name))).await?;
            output.show(&answer, |output| table(output, &answer.keys))
        }
        Command::Revoke { name, id } => {
            let answer: EndedAnswer = client.delete(&format!("{}/keys/{id}", place(&name))).await?;
            output.show(&answer, |_| format!("{id} is revoked; {} live {} ended.", answer.sessions, sessions_word(answer.sessions)))
        }
    }
}

fn table(output: &Output, keys: &[KeyView]) -> String {
    let now = Timestamp::now();
    let rows = keys.iter().map(|key| {
        let standing = match key.revoked_at {
            Some(_) => "revoked",
            None if key.expires_at <= now => "expired",
            None => "works",
        };
        vec![
            key.id.to_string(),
            key.algorithm.clone(),
            key.thumbprint.clone(),
            key.created_by.to_string(),
            moment(key.expires_at),
            maybe_moment(key.last_used),
            standing.to_owned(),
        ]
    });
    output.table(&["id", "kind", "thumbprint", "given by", "expires", "last used", "state"], rows.collect(), "No keys.")
}
