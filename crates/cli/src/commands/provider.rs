//! `countersign provider list|revoke|allow`: where people and jobs come from.

use api::types::{EndedThereAnswer, KillRequest, StandingView, StandingsAnswer};
use model::ProviderName;

use super::sessions_word;
use crate::{
    client::{Global, escape},
    output::{Output, moment},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the providers of people and the issuers of jobs' tokens, and which are revoked
    List,
    /// Revoke one: everybody who came from there is out at once, and nobody comes from there until it is allowed again
    Revoke {
        /// What countersign.toml calls it
        name: ProviderName,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let people and jobs come from a revoked one again; what ended stays ended
    Allow {
        /// What countersign.toml calls it
        name: ProviderName,
    },
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let (client, output) = (global.client()?, global.output());
    match args.command {
        Command::List => {
            let answer: StandingsAnswer = client.get("/v1/providers/standing").await?;
            output.show(&answer, |output| table(output, &answer.providers))
        }
        Command::Revoke { name, reason } => {
            let ended: EndedThereAnswer = client.post(&place(&name, "revoke"), &KillRequest { reason }).await?;
            output.show(&ended, |_| {
                format!(
                    "{name} is revoked: {} sign-ins are over, {} tokens revoked, {} live {} ended. `countersign provider allow {name}` lets people and jobs come again.",
                    ended.sign_ins,
                    ended.tokens,
                    ended.sessions,
                    sessions_word(ended.sessions)
                )
            })
        }
        Command::Allow { name } => {
            let () = client.post(&place(&name, "allow"), &serde_json::json!({})).await?;
            output.show(&serde_json::json!({ "name": name }), |_| format!("People and jobs may come from {name} again; what ended stays ended."))
        }
    }
}

fn place(name: &ProviderName, what: &str) -> String {
    format!("/v1/providers/{}/{what}", escape(name.as_str()))
}

fn table(output: &Output, providers: &[StandingView]) -> String {
    let rows = providers.iter().map(|provider| {
        let who = match (provider.people, provider.jobs) {
            (true, true) => "people, jobs",
            (true, false) => "people",
            (false, true) => "jobs",
            (false, false) => "not configured",
        };
        let standing = match (&provider.revoked_at, &provider.revoked_by) {
            (Some(at), Some(by)) => format!("revoked by {by} {} UTC", moment(*at)),
            _ => "works".to_owned(),
        };
        vec![provider.name.to_string(), who.to_owned(), standing, provider.reason.clone().unwrap_or_default()]
    });
    output.table(&["name", "of", "state", "reason"], rows.collect(), "No providers.")
}
