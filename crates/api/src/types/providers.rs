//! Signing in at identity providers.

use model::{GroupName, IdentityName, ProviderName, Timestamp};
use serde::{Deserialize, Serialize};
use session::providers::{EndedThere, Entered, Standing};
use store::state::AccountRow;
use utoipa::ToSchema;

use super::{LoginAnswer, SecretText};

impl From<Entered> for LoginAnswer {
    fn from(entered: Entered) -> Self {
        Self { token: SecretText(entered.secret), expires_at: entered.token.expires_at, identity: entered.identity.into() }
    }
}

/// Where people can sign in.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ProvidersAnswer {
    /// By name.
    pub providers: Vec<ProviderView>,
}

/// One provider.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ProviderView {
    /// What the configuration calls it.
    #[schema(value_type = String)]
    pub name: ProviderName,
    /// The name of one's own machine that it sends browsers back to: `127.0.0.1` or `localhost`.
    pub loopback: String,
}

/// A sign-in in a browser.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BrowserSignInRequest {
    /// At which provider.
    #[schema(value_type = String)]
    pub provider: ProviderName,
    /// Where the provider sends the browser back to: `http://127.0.0.1:PORT/callback`.
    pub redirect_uri: String,
}

/// A sign-in in a browser that was begun.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct BrowserSignIn {
    /// What it is finished with.
    pub flow: SecretText,
    /// Where the browser is to go.
    pub url: String,
}

/// What the provider sent the browser back with.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishSignInRequest {
    /// What the sign-in was begun with.
    pub flow: SecretText,
    /// The answer's `state`.
    pub state: String,
    /// The answer's `code`.
    pub code: SecretText,
    /// The answer's `iss`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
}

/// A sign-in on a device without a browser.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceSignInRequest {
    /// At which provider.
    #[schema(value_type = String)]
    pub provider: ProviderName,
}

/// A sign-in on a device that was begun.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct DeviceSignIn {
    /// What to ask with.
    pub flow: SecretText,
    /// What to type.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// How long there is.
    pub expires_in_s: u64,
    /// How often to ask.
    pub interval_s: u64,
}

/// Whether somebody signed in on the device.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DevicePollRequest {
    /// What the sign-in was begun with.
    pub flow: SecretText,
}

/// One of the two.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct PolledAnswer {
    /// Not yet: ask again after so long.
    pub wait_s: Option<u64>,
    /// Yes.
    pub signed_in: Option<LoginAnswer>,
}

/// An account at a provider.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct AccountView {
    /// The provider.
    #[schema(value_type = String)]
    pub provider: ProviderName,
    /// Its issuer.
    pub issuer: String,
    /// Whom it means: with the issuer, who it is.
    pub subject: String,
    /// The address it told of last.
    pub email: Option<String>,
    /// The groups it told of last.
    #[schema(value_type = Vec<String>)]
    pub groups: Vec<GroupName>,
    /// Who linked it; the provider's name if it came with the first sign-in.
    #[schema(value_type = String)]
    pub linked_by: IdentityName,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub linked_at: Timestamp,
    /// When somebody last signed in with it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_sign_in: Option<Timestamp>,
}

impl From<AccountRow> for AccountView {
    fn from(row: AccountRow) -> Self {
        Self {
            provider: row.provider,
            issuer: row.account.issuer,
            subject: row.account.subject,
            email: row.email,
            groups: row.groups,
            linked_by: row.linked_by,
            linked_at: row.linked_at,
            last_sign_in: row.last_sign_in,
        }
    }
}

/// An account to link, or to take away.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountRequest {
    /// The provider.
    #[schema(value_type = String)]
    pub provider: ProviderName,
    /// Whom it means.
    pub subject: String,
}

/// Where people and jobs come from.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct StandingsAnswer {
    /// By name: what is configured, and what is revoked.
    pub providers: Vec<StandingView>,
}

/// How one of them stands.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct StandingView {
    /// What the configuration calls it, or called it.
    #[schema(value_type = String)]
    pub name: ProviderName,
    /// Whether people sign in there.
    pub people: bool,
    /// Whether tokens of jobs that it issues are taken.
    pub jobs: bool,
    /// Since when nobody comes from there.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    #[schema(value_type = Option<String>)]
    pub revoked_by: Option<IdentityName>,
    /// Why, in their words.
    pub reason: Option<String>,
}

impl From<Standing> for StandingView {
    fn from(standing: Standing) -> Self {
        let (at, by, reason) = standing.revoked.map_or((None, None, None), |revoked| (Some(revoked.at), Some(revoked.by), revoked.why));
        Self { name: standing.name, people: standing.people, jobs: standing.jobs, revoked_at: at, revoked_by: by, reason }
    }
}

/// What ended with a provider.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct EndedThereAnswer {
    /// Sign-ins of people.
    pub sign_ins: u64,
    /// Tokens that were revoked, those too that had been before.
    pub tokens: u64,
    /// Live sessions.
    pub sessions: u64,
}

impl From<EndedThere> for EndedThereAnswer {
    fn from(ended: EndedThere) -> Self {
        Self { sign_ins: ended.sign_ins as u64, tokens: ended.tokens as u64, sessions: ended.sessions as u64 }
    }
}
