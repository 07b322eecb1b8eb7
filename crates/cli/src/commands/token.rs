//! `countersign token CONNECTION`, `token list`, `token revoke ID`.

use anyhow::bail;
use api::types::{EndedAnswer, TokenMinted, TokenRequest, TokenView, TokensAnswer};
use model::{ConnectionName, IdentityName, Timestamp, TokenId};

use super::seconds;
use crate::{
    client::Global,
    output::{Output, maybe_moment, moment},
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    mint: Mint,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List tokens, never their secrets
    List {
        /// Those of everybody you may see, not only your own
        #[arg(long)]
        all: bool,
    },
    /// Revoke a token; live sessions it opened end
    Revoke {
        /// The token, t_…
        id: TokenId,
    },
}

#[derive(Debug, clap::Args)]
struct Mint {
    /// The connections it opens
    #[arg(required = true, value_name = "CONNECTION")]
    connections: Vec<ConnectionName>,
    /// Whom it is for: a workload or agent you own (default: yourself)
    #[arg(long = "for", value_name = "IDENTITY")]
    subject: Option<IdentityName>,
    /// How long it works, such as 15m or 8h
    #[arg(long, value_name = "SPAN", value_parser = seconds)]
    expires_in: Option<u64>,
    /// From when it works, such as 1h from now
    #[arg(long, value_name = "SPAN", value_parser = seconds)]
    not_before: Option<u64>,
    /// The one statement it may run
    #[arg(long, value_name = "SQL")]
    statement: Option<String>,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    match args.command {
        None => mint(global, args.mint).await,
        Some(Command::List { all }) => list(global, all).await,
        Some(Command::Revoke { id }) => revoke(global, id).await,
    }
}

/// Prints the secret alone on standard output, so that `PGPASSWORD=$(countersign token NAME)` works.
async fn mint(global: &Global, mint: Mint) -> anyhow::Result<()> {
    let request = TokenRequest {
        connections: mint.connections,
        subject: mint.subject,
        expires_in_s: mint.expires_in,
        not_before_in_s: mint.not_before,
        statement: mint.statement,
    };
    let minted: TokenMinted = global.client()?.post("/v1/tokens", &request).await?;
    let Some(secret) = minted.secret.0.reveal_str() else { bail!("the server sent a token that is no text") };
    global.output().show(&minted, |_| secret.to_owned())
}

async fn list(global: &Global, all: bool) -> anyhow::Result<()> {
    let answer: TokensAnswer = global.client()?.get(if all { "/v1/tokens?all=true" } else { "/v1/tokens" }).await?;
    global.output().show(&answer, |output| table(output, &answer.tokens))
}

/// A listing of tokens.
pub(crate) fn table(output: &Output, tokens: &[TokenView]) -> String {
    let now = Timestamp::now();
    let rows = tokens.iter().map(|token| {
        let opens = token.connections.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        vec![
            token.id.to_string(),
            token.subject.to_string(),
            if opens.is_empty() { "the API".to_owned() } else { opens },
            token.minted_by.to_string(),
            moment(token.created_at),
            moment(token.expires_at),
            maybe_moment(token.last_used),
            standing(token, now),
        ]
    });
    output.table(&["id", "for", "opens", "minted by", "minted", "expires", "last used", "state"], rows.collect(), "No tokens.")
}

fn standing(token: &TokenView, now: Timestamp) -> String {
    match (&token.revoked_by, token.revoked_at) {
        (Some(by), Some(_)) => format!("revoked by {by}"),
        (_, Some(_)) => "revoked".to_owned(),
        _ if token.spent_at.is_some() => "used up".to_owned(),
        _ if token.expires_at <= now => "expired".to_owned(),
        _ if token.not_before > now => "not yet".to_owned(),
        _ => "works".to_owned(),
    }
}

async fn revoke(global: &Global, id: TokenId) -> anyhow::Result<()> {
    let answer: EndedAnswer = global.client()?.delete(&format!("/v1/tokens/{id}")).await?;
    global.output().show(&answer, |_| format!("{id} is revoked; {} live {} ended.", answer.sessions, super::sessions_word(answer.sessions)))
}
