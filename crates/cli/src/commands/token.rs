//! `countersign token CONNECTION`, `token list`, `token revoke ID`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use api::types::{EndedAnswer, ExchangeAnswer, ServerMetadata, TokenMinted, TokenRequest, TokenView, TokensAnswer};
use identity::{
    GatewayUrl, PrivateKey,
    fetch::{Fetcher, Reach},
};
use model::{ConnectionName, IdentityName, RequestId, Timestamp, TokenId};

use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::seconds;
use crate::{
    client::{Client, Global, Server},
    credentials,
    output::{Output, maybe_moment, moment},
    terminal,
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
    /// The granted request for one statement, q_…: the token runs it, once
    #[arg(long, value_name = "ID", conflicts_with_all = ["subject", "not_before", "statement", "identity_token", "github_actions", "to", "on_behalf_of"])]
    request: Option<RequestId>,
    /// A file with the token that the platform gave this run, or - for standard input: a workload's, which needs no sign-in
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subject", "not_before"])]
    identity_token: Option<PathBuf>,
    /// Ask GitHub Actions for that token: the job needs `permissions: id-token: write`
    #[arg(long, conflicts_with_all = ["identity_token", "subject", "not_before"])]
    github_actions: bool,
    /// Whom the token from GitHub is to be for
    #[arg(long, default_value = "countersign", requires = "github_actions")]
    audience: String,
    /// A file with the private key of a workload or agent that has no platform, in PEM: it signs here and is sent nowhere
    #[arg(long, value_name = "FILE", requires = "signer", conflicts_with_all = ["identity_token", "github_actions", "subject", "not_before"])]
    key: Option<PathBuf>,
    /// Whose key that is
    #[arg(id = "signer", long = "as", value_name = "IDENTITY", requires = "key")]
    signer: Option<IdentityName>,
    /// What the gateway is called in tokens, if that is not the address it is reached at
    #[arg(long, value_name = "URL", requires = "key")]
    issuer: Option<GatewayUrl>,
    /// Print a token that others can read, a JWT; it works and ends like any other
    #[arg(long)]
    jwt: bool,
    /// Let this agent act for you: it exchanges what is printed, with its own token, for one that opens the connections. With --on-behalf-of: pass on what you were given
    #[arg(long, value_name = "AGENT", conflicts_with_all = ["subject", "statement", "jwt"])]
    to: Option<IdentityName>,
    /// A file with what somebody printed with --to: act for them
    #[arg(long, value_name = "FILE")]
    on_behalf_of: Option<PathBuf>,
    /// Which workload is meant, where the token could be several's
    #[arg(long, value_name = "WORKLOAD")]
    workload: Option<IdentityName>,
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
    let shows_itself = mint.identity_token.is_some() || mint.github_actions || mint.key.is_some();
    if mint.to.is_some() && shows_itself && mint.on_behalf_of.is_none() {
        bail!("an agent passes on what it was given: add --on-behalf-of FILE");
    }
    if let Some(place) = &mint.identity_token {
        return exchange(global, &mint, &Shown::Run(from_file(place)?)).await;
    }
    if let (Some(place), Some(signer)) = (&mint.key, &mint.signer) {
        let client = global.stranger(credentials::load().unwrap_or_default().as_ref())?;
        let assertion = signed(&client, mint.issuer.as_ref(), place, signer).await?;
        return exchange(global, &mint, &Shown::Assertion(assertion)).await;
    }
    if mint.on_behalf_of.is_some() && !mint.github_actions {
        bail!("an agent that acts for somebody shows who it is too: --identity-token FILE, --github-actions, or --key FILE --as AGENT");
    }
    if mint.github_actions {
        return exchange(global, &mint, &Shown::Run(from_github(&mint.audience).await?)).await;
    }
    if mint.jwt {
        bail!("--jwt is for those who show who they are by --identity-token FILE, --github-actions, or --key FILE --as IDENTITY");
    }
    let request = TokenRequest {
        connections: mint.connections,
        subject: mint.subject,
        expires_in_s: mint.expires_in,
        not_before_in_s: mint.not_before,
        statement: mint.statement,
        agent: mint.to,
        request: mint.request,
    };
    let minted: TokenMinted = global.client()?.post("/v1/tokens", &request).await?;
    let Some(secret) = minted.secret.0.reveal_str() else { bail!("the server sent a token that is no text") };
    global.output().show(&minted, |_| secret.to_owned())
}

/// What shows who asks.
enum Shown {
    /// The token of a run.
    Run(Zeroizing<String>),
    /// What a workload or agent signed.
    Assertion(Zeroizing<String>),
}

/// An assertion for the gateway, signed here. Whom it is for is the gateway's own word only where nobody else can have it: one for another gateway would open that.
async fn signed(client: &Client, issuer: Option<&GatewayUrl>, place: &Path, signer: &IdentityName) -> anyhow::Result<Zeroizing<String>> {
    let pem = Zeroizing::new(std::fs::read(place).with_context(|| format!("cannot read {}", place.display()))?);
    let key = PrivateKey::from_pem(&pem).with_context(|| place.display().to_string())?;
    let issuer = match issuer {
        Some(issuer) => issuer.clone(),
        None => {
            let told: ServerMetadata = client.get("/.well-known/oauth-authorization-server").await?;
            let told: GatewayUrl = told.issuer.parse().map_err(|error: String| anyhow::anyhow!(error))?;
            if let Server::Https { .. } = &client.server
                && client.server.to_string().parse::<GatewayUrl>().ok().as_ref() != Some(&told)
            {
                bail!("{} says that it is called {told}: if you know that it is, add --issuer {told}", client.server);
            }
            told
        }
    };
    let assertion = key.assertion(signer, issuer.as_str(), Timestamp::now())?;
    Ok(Zeroizing::new(assertion.reveal_str().context("the key signed no text")?.to_owned()))
}

/// RFC 8693, RFC 7523: what shows who asks for a token that opens connections.
async fn exchange(global: &Global, mint: &Mint, shown: &Shown) -> anyhow::Result<()> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    match &mint.statement {
        Some(statement) => {
            let details = serde_json::json!([{ "type": "countersign_statement", "locations": mint.connections, "statement": statement }]);
            form.append_pair("authorization_details", &details.to_string());
        }
        None => {
            form.extend_pairs(mint.connections.iter().map(|name| ("audience", name.as_str())));
        }
    }
    let (exchange, jwt) = ("urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:token-type:jwt");
    match (&mint.on_behalf_of, shown) {
        (None, Shown::Run(token)) => {
            form.append_pair("grant_type", exchange).append_pair("subject_token", token).append_pair("subject_token_type", jwt);
        }
        (None, Shown::Assertion(assertion)) => {
            form.append_pair("grant_type", "client_credentials")
                .append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                .append_pair("client_assertion", assertion);
        }
        (Some(place), Shown::Run(token) | Shown::Assertion(token)) => {
            let delegation = from_file(place)?;
            form.append_pair("grant_type", exchange)
                .append_pair("subject_token", &delegation)
                .append_pair("subject_token_type", "urn:ietf:params:oauth:token-type:access_token")
                .append_pair("actor_token", token)
                .append_pair("actor_token_type", jwt);
        }
    }
    if let Some(next) = &mint.to {
        form.append_pair("may_act", next.as_str()).append_pair("requested_token_type", "urn:countersign:token-type:delegation");
    }
    if mint.jwt {
        form.append_pair("requested_token_type", jwt);
    }
    if let Some(seconds) = mint.expires_in {
        form.append_pair("expires_in", &seconds.to_string());
    }
    if let Some(workload) = &mint.workload {
        form.append_pair("workload", workload.as_str());
    }
    let form = Zeroizing::new(form.finish());
    let client = global.stranger(credentials::load().unwrap_or_default().as_ref())?;
    let answer: ExchangeAnswer = client.post_form("/v1/token", &form).await?;
    let Some(secret) = answer.access_token.0.reveal_str() else { bail!("the server sent a token that is no text") };
    global.output().show(&answer, |_| secret.to_owned())
}

fn from_file(place: &Path) -> anyhow::Result<Zeroizing<String>> {
    if place == Path::new("-") {
        let token = terminal::secret("Token of this run")?;
        return Ok(Zeroizing::new(token.reveal_str().context("the token is no text")?.to_owned()));
    }
    let text = std::fs::read_to_string(place).with_context(|| format!("cannot read {}", place.display()))?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// <https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token>
async fn from_github(audience: &str) -> anyhow::Result<Zeroizing<String>> {
    #[derive(serde::Deserialize)]
    struct Answer {
        value: Zeroizing<String>,
    }
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(url), Some(bearer)) = (set("ACTIONS_ID_TOKEN_REQUEST_URL"), set("ACTIONS_ID_TOKEN_REQUEST_TOKEN")) else {
        bail!("GitHub gave this job nothing to ask with: it needs `permissions: id-token: write` in its workflow")
    };
    let bearer = Zeroizing::new(bearer);
    let mut url: Url = url.parse().context("ACTIONS_ID_TOKEN_REQUEST_URL is no URL")?;
    url.query_pairs_mut().append_pair("audience", audience);
    // Where it is the runner says; a runner of one's own may be inside.
    let answer = Fetcher::new(None, Reach::Internal)?.get(&url, Some(&bearer)).await?;
    if answer.status != 200 {
        bail!("GitHub gave no token: status {}", answer.status);
    }
    let answer: Answer = serde_json::from_slice(&answer.body).context("GitHub gave no token")?;
    Ok(answer.value)
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
            std::iter::once(&token.subject).chain(&token.actors).map(ToString::to_string).collect::<Vec<_>>().join(" via "),
            match (token.purpose.is_of_ssh(), opens.is_empty()) {
                (false, true) => "the API".to_owned(),
                (true, true) => "machines, by key".to_owned(),
                (true, false) => format!("{opens}, by key"),
                (false, false) => opens,
            },
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
