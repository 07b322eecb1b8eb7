//! `countersign identity add|list|show|own|renew|groups|password|totp|link|unlink|trust|distrust|key|revoke`: the register.

use api::types::{
    AccountRequest, AccountView, EndedAnswer, EndingKeyView, EndingView, ExpiryRequest, GroupsRequest, IdentitiesAnswer, IdentityDetails,
    IdentityRequest, IdentityView, OwnerRequest, PasswordRequest, ReachView, SecondFactorCode, SecondFactorOffer, SecondFactorRequest, SecretText,
    ThroughView, TrustRequest, TrustView, UseView, WhoamiAnswer,
};
use model::{GroupName, IdentityKind, IdentityName, ProviderName, Timestamp, TrustId};

use super::{identity_key, seconds, sessions_word};
use crate::{
    client::{Client, Global, escape, query},
    output::{Output, Tone, maybe_moment, moment},
    terminal,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Enter an identity; a user's first password is asked for, or read from standard input
    Add(Add),
    /// List identities
    List,
    /// Show who made an identity, what it can reach and what it used
    Show {
        /// The identity
        name: IdentityName,
    },
    /// Give a workload or agent another owner
    Own {
        /// The workload or agent
        name: IdentityName,
        /// Who answers for it from now on
        owner: IdentityName,
    },
    /// Say until when a workload or agent works from now on
    Renew {
        /// The workload or agent
        name: IdentityName,
        /// How long from now, such as 90d
        #[arg(long, value_name = "SPAN", value_parser = seconds)]
        expires_in: u64,
    },
    /// Set the groups an identity is in
    Groups {
        /// The identity
        name: IdentityName,
        /// All its groups from now on; none takes it out of every group
        groups: Vec<GroupName>,
    },
    /// Set a user's password; it is asked for, or read from standard input
    Password {
        /// The user
        name: IdentityName,
    },
    /// Set up an authenticator app: its code is asked for with your password from then on
    Totp {
        /// The user: you
        name: IdentityName,
        /// Take somebody's away instead, as an administrator: their device is lost
        #[arg(long)]
        remove: bool,
    },
    /// Let a user sign in with an account at a provider, and no longer with a password
    Link {
        /// The user
        name: IdentityName,
        #[command(flatten)]
        account: Account,
    },
    /// Take an account away from a user; what was begun with it ends
    Unlink {
        /// The user
        name: IdentityName,
        #[command(flatten)]
        account: Account,
    },
    /// Say which tokens of a platform are a workload's, so that it needs no secret
    Trust {
        /// The workload
        name: IdentityName,
        /// The issuer, as countersign.toml calls it
        #[arg(long)]
        issuer: ProviderName,
        /// What its tokens claim, NAME=VALUE; give it again for more: all must be there, exactly
        #[arg(long = "claim", required = true, value_name = "NAME=VALUE", value_parser = claim)]
        claims: Vec<(String, String)>,
    },
    /// Revoke such a rule; what was given out by it ends
    Distrust {
        /// The workload
        name: IdentityName,
        /// The rule, r_…
        id: TrustId,
    },
    /// Give a workload or agent that has no platform a key of its own, and take it away
    Key(identity_key::Args),
    /// Revoke an identity for good; its live sessions end
    Revoke {
        /// The identity
        name: IdentityName,
    },
}

#[derive(Debug, clap::Args)]
struct Account {
    /// The provider, as countersign.toml calls it
    #[arg(long)]
    provider: ProviderName,
    /// Whom it means: the `sub` of its tokens, never an address
    #[arg(long)]
    subject: String,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// What it signs in with
    name: IdentityName,
    /// user, workload or agent
    #[arg(long, default_value = "user")]
    kind: IdentityKind,
    /// A group it is in; give it again for more
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<GroupName>,
    /// Who answers for it (workloads and agents; default: you)
    #[arg(long)]
    owner: Option<IdentityName>,
    /// What it is for (workloads and agents)
    #[arg(long)]
    purpose: Option<String>,
    /// When it stops working, such as 90d (workloads and agents)
    #[arg(long, value_name = "SPAN", value_parser = seconds)]
    expires_in: Option<u64>,
    /// Ask for no password: the user cannot sign in until one is set
    #[arg(long)]
    no_password: bool,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let output = global.output();
    match args.command {
        Command::Add(add) => enter(&client, output, add).await,
        Command::List => list(&client, output).await,
        Command::Show { name } => show(&client, output, &name).await,
        Command::Own { name, owner } => {
            let view: IdentityView = client.put(&format!("{}/owner", place(&name)), &OwnerRequest { owner: owner.clone() }).await?;
            output.show(&view, |_| format!("{owner} answers for {name} from now on."))
        }
        Command::Renew { name, expires_in } => {
            let request = ExpiryRequest { expires_in_s: expires_in };
            let view: IdentityView = client.put(&format!("{}/expiry", place(&name)), &request).await?;
            output.show(&view, |_| format!("{name} works until {} UTC.", maybe_moment(view.expires_at)))
        }
        Command::Groups { name, groups } => {
            let view: IdentityView = client.put(&format!("{}/groups", place(&name)), &GroupsRequest { groups }).await?;
            output.show(&view, |_| format!("{name} is in: {}", joined(&view.groups)))
        }
        Command::Password { name } => {
            let own = client.get::<WhoamiAnswer>("/v1/whoami").await?.identity.name == name;
            let current = if own { Some(SecretText(terminal::secret("Your password now")?)) } else { None };
            let password = SecretText(terminal::new_secret(&format!("New password of {name}"))?);
            client.put::<Option<()>>(&format!("{}/password", place(&name)), &PasswordRequest { current, password }).await?;
            output.show(&serde_json::json!({ "name": name }), |_| format!("{name} has a new password."))
        }
        Command::Totp { name, remove: true } => {
            client.delete::<Option<()>>(&format!("{}/second-factor", place(&name))).await?;
            output.show(&serde_json::json!({ "name": name, "second_factor": false }), |_| format!("{name} has no second factor any more."))
        }
        Command::Totp { name, remove: false } => set_up(&client, output, &name).await,
        Command::Link { name, account } => {
            let request = AccountRequest { provider: account.provider, subject: account.subject };
            client.put::<Option<()>>(&format!("{}/accounts", place(&name)), &request).await?;
            output.show(&request, |_| format!("{name} signs in at {} from now on.", request.provider))
        }
        Command::Unlink { name, account } => {
            let parts = query(&[("provider", Some(account.provider.to_string())), ("subject", Some(account.subject))]);
            let answer: EndedAnswer = client.delete(&format!("{}/accounts{parts}", place(&name))).await?;
            output.show(&answer, |_| format!("The account is {name}'s no longer; {} live {} ended.", answer.sessions, sessions_word(answer.sessions)))
        }
        Command::Trust { name, issuer, claims } => {
            let request = TrustRequest { issuer, claims: claims.into_iter().collect() };
            let view: TrustView = client.post(&format!("{}/trust", place(&name)), &request).await?;
            output.show(&view, |_| format!("Tokens of {} with {} are {name}'s ({}).", view.issuer, claims_of(&view), view.id))
        }
        Command::Distrust { name, id } => {
            let answer: EndedAnswer = client.delete(&format!("{}/trust/{id}", place(&name))).await?;
            output.show(&answer, |_| format!("{id} is revoked; {} live {} ended.", answer.sessions, sessions_word(answer.sessions)))
        }
        Command::Key(args) => identity_key::run(&client, output, args).await,
        Command::Revoke { name } => {
            let answer: EndedAnswer = client.post(&format!("{}/revoke", place(&name)), &()).await?;
            output.show(&answer, |_| format!("{name} is revoked; {} live {} ended.", answer.sessions, sessions_word(answer.sessions)))
        }
    }
}

/// `countersign explain NAME`.
pub(crate) async fn explain(global: &Global, name: &IdentityName) -> anyhow::Result<()> {
    show(&global.client()?, global.output(), name).await
}

/// `repository_id=74`.
fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as repository_id=74")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn claims_of(trust: &TrustView) -> String {
    let claims = trust.claims.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    model::name::printable(&claims)
}

/// An identity's path.
pub(crate) fn place(name: &IdentityName) -> String {
    format!("/v1/identities/{}", escape(name.as_str()))
}

async fn enter(client: &Client, output: Output, add: Add) -> anyhow::Result<()> {
    let asks = add.kind == IdentityKind::User && !add.no_password;
    let password = if asks { Some(SecretText(terminal::new_secret(&format!("First password of {}", add.name))?)) } else { None };
    let request = IdentityRequest {
        name: add.name,
        kind: add.kind,
        groups: add.groups,
        owner: add.owner,
        purpose: add.purpose,
        expires_in_s: add.expires_in,
        password,
    };
    let view: IdentityView = client.post("/v1/identities", &request).await?;
    output.show(&view, |_| format!("{} {} is in the register.", view.kind.as_str(), view.name))
}

/// An authenticator app learns its secret, and shows that it has.
async fn set_up(client: &Client, output: Output, name: &IdentityName) -> anyhow::Result<()> {
    let place = format!("{}/second-factor", place(name));
    let current = SecretText(terminal::secret("Your password now")?);
    let offer: SecondFactorOffer = client.post(&place, &SecondFactorRequest { current }).await?;
    let shown = |text: &SecretText| text.0.reveal_str().unwrap_or_default().to_owned();
    eprintln!("Put this into your authenticator app; it is not shown again:\n\n  {}\n\n  to type: {}\n", shown(&offer.uri), shown(&offer.secret));
    let code = SecretText(terminal::secret("The code it shows")?);
    client.put::<Option<()>>(&place, &SecondFactorCode { code }).await?;
    output.show(&serde_json::json!({ "name": name, "second_factor": true }), |_| {
        format!("The code is asked for with the password of {name} from now on. Connect to databases with tokens.")
    })
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let answer: IdentitiesAnswer = client.get("/v1/identities").await?;
    output.show(&answer, |output| {
        let rows = answer.identities.iter().map(|identity| {
            vec![
                identity.name.to_string(),
                identity.kind.as_str().to_owned(),
                joined(&identity.groups),
                owner(identity),
                identity.purpose.clone().unwrap_or_else(|| "-".to_owned()),
                identity.created_by.to_string(),
                maybe_moment(identity.last_used),
                maybe_moment(identity.expires_at),
                state(identity).to_owned(),
            ]
        });
        let header = ["name", "kind", "groups", "owner", "purpose", "created by", "last used", "expires", "state"];
        output.table(&header, rows.collect(), "Nobody that you may see.")
    })
}

/// `revoked`, `expired`, `orphaned` or `active`.
fn state(identity: &IdentityView) -> &'static str {
    let ended = identity.expires_at.is_some_and(|end| end <= Timestamp::now());
    match (identity.revoked_at, identity.orphaned_at) {
        (Some(_), _) => "revoked",
        (None, _) if ended => "expired",
        (None, Some(_)) => "orphaned",
        (None, None) => "active",
    }
}

/// What ends before long, a line each; nothing if nothing does.
pub(crate) fn ends(ending: &[EndingView], keys: &[EndingKeyView]) -> Option<(&'static str, String)> {
    let key = |one: &EndingKeyView| {
        let owner = one.owner.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let (until, last) = (moment(one.expires_at), maybe_moment(one.last_used));
        format!(
            "key {} of {}, which {owner} owns: {until} UTC, last used {last}; an administrator adds another (`identity key add`)",
            one.id, one.identity
        )
    };
    let line = |one: &EndingView| {
        let (kind, until) = (one.kind.as_str(), maybe_moment(one.expires_at));
        let owner = one.owner.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        match one.orphaned_at {
            Some(_) => format!("{kind} {}: {until} UTC, orphaned by {owner}; an administrator gives it an owner (`identity own`)", one.name),
            None => format!("{kind} {} of {owner}: {until} UTC unless an administrator renews it (`identity renew`)", one.name),
        }
    };
    let lines: Vec<String> = ending.iter().map(line).chain(keys.iter().map(key)).collect();
    (!lines.is_empty()).then(|| ("ends soon", format!("{}\n", lines.join("\n"))))
}

fn owner(identity: &IdentityView) -> String {
    identity.owner.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

async fn show(client: &Client, output: Output, name: &IdentityName) -> anyhow::Result<()> {
    let details: IdentityDetails = client.get(&place(name)).await?;
    output.show(&details, |output| {
        let identity = &details.identity;
        let mut fields = vec![
            ("name", identity.name.to_string()),
            ("kind", identity.kind.as_str().to_owned()),
            ("groups", joined(&identity.groups)),
            ("created", created(&details)),
            ("last used", maybe_moment(identity.last_used)),
        ];
        if identity.owner.is_some() {
            fields.push(("owner", owner(identity)));
        }
        if let Some(purpose) = &identity.purpose {
            fields.push(("purpose", purpose.clone()));
        }
        if identity.expires_at.is_some() {
            fields.push(("expires", maybe_moment(identity.expires_at)));
        }
        if identity.second_factor_at.is_some() {
            fields.push(("second factor", format!("since {}", maybe_moment(identity.second_factor_at))));
        }
        if identity.orphaned_at.is_some() {
            let how = format!(
                "since {}: {} has left; give it an owner with `countersign identity own`",
                maybe_moment(identity.orphaned_at),
                owner(identity)
            );
            fields.push(("orphaned", how));
        }
        if identity.revoked_at.is_some() {
            fields.push(("revoked", maybe_moment(identity.revoked_at)));
        }
        if !details.owns.is_empty() {
            fields.push(("owns", joined(&details.owns)));
        }
        if !details.accounts.is_empty() {
            fields.push(("signs in at", details.accounts.iter().map(account).collect::<Vec<_>>().join("; ")));
        }
        for rule in details.trust.iter().filter(|rule| rule.revoked_at.is_none()) {
            fields.push(("trusted", format!("{} of {} with {}, last {}", rule.id, rule.issuer, claims_of(rule), maybe_moment(rule.last_used))));
        }
        for key in details.keys.iter().filter(|key| key.revoked_at.is_none()) {
            let until = moment(key.expires_at);
            fields.push(("key", format!("{} ({}) until {until}, last {}", key.id, key.algorithm, maybe_moment(key.last_used))));
        }
        let parts = [
            ("", output.fields(&fields)),
            ("who can act through it", through(output, &details.through)),
            ("can reach", reach(output, &details.reach)),
            ("used", used(output, &details.used)),
            ("tokens", super::token::table(output, &details.tokens)),
        ];
        let told = parts.map(|(title, text)| if title.is_empty() { text } else { format!("{}\n{text}", output.paint(Tone::Strong, title)) });
        told.join("\n\n")
    })
}

fn created(details: &IdentityDetails) -> String {
    let identity = &details.identity;
    let change = details.entered.as_ref().map_or_else(String::new, |change| format!(" (event {}, {})", change.number, change.kind));
    format!("{} by {}{change}", moment(identity.created_at), identity.created_by)
}

fn through(output: &Output, through: &[ThroughView]) -> String {
    let rows = through.iter().map(|one| {
        let how = match one.how.as_str() {
            "owner" => "mints its tokens as its owner",
            "administrator" => "mints its tokens as an administrator",
            "agent" => "acts for it",
            "platform" => "its jobs get tokens of it",
            "key" => "gets tokens of it",
            "person" => "lets it act in their name",
            other => other,
        };
        vec![one.who.clone(), how.to_owned(), one.by.clone().unwrap_or_else(|| "-".to_owned()), maybe_moment(one.until)]
    });
    output.table(&["who", "how", "by", "until"], rows.collect(), "Nobody else that you may see.")
}

fn account(account: &AccountView) -> String {
    let email = account.email.as_ref().map_or_else(String::new, |email| format!(" ({})", model::name::printable(email)));
    format!("{} as {}{email}, last {}", account.provider, model::name::printable(&account.subject), maybe_moment(account.last_sign_in))
}

fn reach(output: &Output, reach: &[ReachView]) -> String {
    let rows = reach.iter().flat_map(|on| {
        on.actions.iter().map(|reached| {
            let place = if reached.only.is_empty() { "everything".to_owned() } else { reached.only.join(", ") };
            let held = if reached.held { "after a signature" } else { "freely" };
            vec![on.connection.to_string(), on.environment.to_string(), reached.action.to_string(), place, held.to_owned(), joined(&reached.policies)]
        })
    });
    output.table(&["connection", "environment", "action", "on", "how", "by policies"], rows.collect(), "It can reach nothing.")
}

fn used(output: &Output, used: &[UseView]) -> String {
    let rows = used.iter().map(|used| {
        vec![
            format!("{}/{}", used.connection, used.database),
            used.action.to_string(),
            used.object.clone(),
            used.count.to_string(),
            moment(used.last),
        ]
    });
    output.table(&["connection", "action", "on", "times", "last"], rows.collect(), "It has done nothing yet.")
}

/// Names with commas between, or a dash.
pub(crate) fn joined<T: ToString>(names: &[T]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") }
}
