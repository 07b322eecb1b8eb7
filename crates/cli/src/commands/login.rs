//! `countersign login [NAME]`: a sign-in at a provider, in a browser or on another device, or name and password, for a token, which is kept in a
//! file of the caller's own.

use std::time::Duration;

use anyhow::{Context, bail};
use api::types::{
    BrowserSignIn, BrowserSignInRequest, ConnectionsAnswer, DevicePollRequest, DeviceSignIn, DeviceSignInRequest, FinishSignInRequest, LoginAnswer,
    LoginRequest, PolledAnswer, ProviderView, ProvidersAnswer, SecretText,
};
use model::{IdentityName, ProviderName};

use crate::{
    browser,
    client::{Client, Global, Server, is_stranger},
    credentials::{self, Credentials},
    output::moment,
    ssh::{self, Files, Gate},
    terminal,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A built-in user, who has a password; without it you sign in at a provider
    #[arg(conflicts_with_all = ["provider", "device"])]
    name: Option<IdentityName>,
    /// The provider, where there are several
    #[arg(long)]
    provider: Option<ProviderName>,
    /// Sign in on another device: for machines without a browser
    #[arg(long)]
    device: bool,
    /// Ask for the code of an authenticator too; without it, it is asked for at a terminal when the password is not enough
    #[arg(long, conflicts_with_all = ["provider", "device"])]
    code: bool,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let saved = credentials::load().unwrap_or_default();
    let client = global.stranger(saved.as_ref())?;
    let answer = match args.name {
        Some(name) => with_password(&client, name, args.code).await?,
        None => match choose(&client, args.provider).await? {
            Some(provider) if args.device => on_device(&client, &provider).await?,
            Some(provider) => in_browser(&client, &provider).await?,
            None if args.device => bail!("this gateway knows no provider to sign in at: sign in with `countersign login NAME`"),
            None => with_password(&client, terminal::line("Name")?.parse().context("that is no name")?, args.code).await?,
        },
    };
    let ca = if matches!(client.server, Server::Https { .. }) { client.ca.clone() } else { None };
    let kept =
        Credentials { server: client.server.to_string(), ca, name: answer.identity.name.clone(), token: answer.token, expires_at: answer.expires_at };
    let path = credentials::save(&kept)?;
    let shown = serde_json::json!({ "identity": answer.identity, "expires_at": answer.expires_at, "server": kept.server });
    global.output().show(&shown, |_| format!("Signed in as {} until {} UTC ({}).", kept.name, moment(kept.expires_at), path.display()))?;
    // Whatever becomes of this, they are signed in.
    match for_ssh(global).await {
        Ok(Some(said)) => eprintln!("{said}"),
        Ok(None) => {}
        Err(error) => eprintln!("There is no certificate for ssh: {error:#}"),
    }
    Ok(())
}

/// A certificate for `ssh`, where the gateway speaks it: what to say of it.
async fn for_ssh(global: &Global) -> anyhow::Result<Option<String>> {
    let client = global.client()?;
    let gateway = client.get::<ConnectionsAnswer>("/v1/connections").await?.gateway;
    if gateway.ssh_keys.is_none() {
        return Ok(None);
    }
    let (files, gate) = (Files::find()?, Gate::of(&client.server, gateway)?);
    let until = ssh::certify(&client, &files, &gate).await?;
    let place = if ssh::add_to_agent(&files, until) { "in your agent".to_owned() } else { files.certificate.display().to_string() };
    Ok(Some(format!("For ssh you have a certificate until {} UTC ({place}); `countersign ssh-config` prints what ssh needs to know.", moment(until))))
}

/// The server says of nobody that the password is right and a code is missing: that would help to guess.
async fn with_password(client: &Client, name: IdentityName, with_code: bool) -> anyhow::Result<LoginAnswer> {
    let password = SecretText(terminal::secret(&format!("Password of {name}"))?);
    let code = if with_code { Some(SecretText(terminal::secret("Code of your authenticator")?)) } else { None };
    let mut request = LoginRequest { name, password, code };
    match client.post("/v1/login", &request).await {
        Err(error) if request.code.is_none() && is_stranger(&error) => {
            let Some(code) = terminal::maybe_secret("That was not enough. Code of your authenticator, if you have one")? else { return Err(error) };
            request.code = Some(SecretText(code));
            client.post("/v1/login", &request).await
        }
        answered => answered,
    }
}

/// The provider that was named, or the only one.
async fn choose(client: &Client, named: Option<ProviderName>) -> anyhow::Result<Option<ProviderView>> {
    let mut providers = client.get::<ProvidersAnswer>("/v1/providers").await?.providers;
    let names = || providers.iter().map(|provider| provider.name.to_string()).collect::<Vec<_>>().join(", ");
    match named {
        Some(name) => match providers.iter().position(|provider| provider.name == name) {
            Some(place) => Ok(Some(providers.swap_remove(place))),
            None if providers.is_empty() => bail!("this gateway knows no provider to sign in at: sign in with `countersign login NAME`"),
            None => bail!("there is no provider {name}; there are: {}", names()),
        },
        None if providers.len() > 1 => {
            bail!("say where you sign in: --provider with one of {}; or `countersign login NAME` with a password", names())
        }
        None => Ok(providers.pop()),
    }
}

/// The authorization code comes back to a port of this machine (RFC 8252).
async fn in_browser(client: &Client, provider: &ProviderView) -> anyhow::Result<LoginAnswer> {
    let waiting = browser::Waiting::open().await?;
    let redirect_uri = waiting.redirect_uri(&provider.loopback);
    let request = BrowserSignInRequest { provider: provider.name.clone(), redirect_uri };
    let begun: BrowserSignIn = client.post("/v1/sign-in/browser", &request).await?;
    eprintln!("Sign in at {} in your browser. If none opens, go to:\n\n  {}\n", provider.name, model::name::printable(&begun.url));
    browser::open(&begun.url);
    let answer = waiting.answer(&browser::state_of(&begun.url)?).await?;
    let request = FinishSignInRequest { flow: begun.flow, state: answer.state, code: SecretText(answer.code), iss: answer.iss };
    client.post("/v1/sign-in/finish", &request).await
}

async fn on_device(client: &Client, provider: &ProviderView) -> anyhow::Result<LoginAnswer> {
    let begun: DeviceSignIn = client.post("/v1/sign-in/device", &DeviceSignInRequest { provider: provider.name.clone() }).await?;
    eprintln!(
        "On any device, go to {} and enter the code {}",
        model::name::printable(&begun.verification_uri),
        model::name::printable(&begun.user_code)
    );
    if let Some(complete) = &begun.verification_uri_complete {
        eprintln!("or open {}", model::name::printable(complete));
    }
    let request = DevicePollRequest { flow: begun.flow };
    let mut wait_s = begun.interval_s;
    loop {
        tokio::time::sleep(Duration::from_secs(wait_s.max(1))).await;
        let polled: PolledAnswer = client.post("/v1/sign-in/poll", &request).await?;
        match polled.signed_in {
            Some(answer) => return Ok(answer),
            None => wait_s = polled.wait_s.unwrap_or(wait_s),
        }
    }
}
