//! What goes over the wire: requests and answers of the HTTP API, shared by the server and by the command line.
//!
//! Times are RFC 3339 in UTC, durations are seconds unless the name says otherwise. Unknown members of a request are refused: a misspelt
//! restriction must not be read as no restriction.

mod ending;
mod oauth;
mod providers;
mod requests;
mod second_factor;
mod ssh;
mod through;
mod who;
mod workloads;

use std::collections::BTreeMap;

use evidence::record::Record;
use model::{
    Action, ConnectionName, DataClassName, EnvironmentName, Facts, GroupName, HoldId, Identity, IdentityKind, IdentityName, Outcome, PolicyId,
    RecordLevel, RequestId, Requirement, Secret, SessionId, SystemAction, Timestamp, TokenId, VersionHash,
    hold::{HoldRow, HoldState, Signature},
    session::SessionRow,
    token::{TokenRow, TokenUse},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

pub use ending::{EndingKeyView, EndingView};
pub use oauth::{IntrospectionAnswer, ServerMetadata};
pub use providers::{
    AccountRequest, AccountView, BrowserSignIn, BrowserSignInRequest, DevicePollRequest, DeviceSignIn, DeviceSignInRequest, EndedThereAnswer,
    FinishSignInRequest, PolledAnswer, ProviderView, ProvidersAnswer, StandingView, StandingsAnswer,
};
pub use requests::{AccessRequest, CommentRequest, CommentView, GrantView, RequestEndedAnswer, RequestView, RequestsAnswer, RoleView, RolesAnswer};
pub use second_factor::{SecondFactorCode, SecondFactorOffer, SecondFactorRequest};
pub use ssh::{SshCertificateAnswer, SshCertificateRequest, SshKeyRequest, SshKeysView};
pub use through::{ChangeView, ThroughView};
pub use who::{CanView, Place, TouchedView, WhoCanAnswer, WhoTouchedAnswer};
pub use workloads::{ExchangeAnswer, KeyRequest, KeyView, KeysAnswer, TrustRequest, TrustView};

/// A secret on its way: wiped when dropped, shown by nothing but its serialisation.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = String, format = Password)]
pub struct SecretText(pub Secret);

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.reveal_str().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::from(text)))
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// For programs: `unauthenticated`, `forbidden`, `not_found`, `invalid`, `conflict`, `too_many`, `too_large`, `unavailable`, `failed`.
    pub code: String,
    /// For people: what happened.
    pub message: String,
    /// For people: what to do next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// Mistakes in policy files, `file:line:column: message` each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<String>,
    /// Where tokens are given out, what RFC 6749 calls it: `invalid_client`, `invalid_grant`, `invalid_target`, …
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// And the message once more, in the characters that RFC has for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_description: Option<String>,
}

/// A name and its secret.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// The identity.
    #[schema(value_type = String)]
    pub name: IdentityName,
    /// Its password.
    pub password: SecretText,
    /// The code of its authenticator, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<SecretText>,
}

/// A token for this API.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct LoginAnswer {
    /// Sent as `Authorization: Bearer`; shown once.
    pub token: SecretText,
    /// Until when it works.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Who signed in.
    pub identity: IdentityView,
}

/// Who the caller is, and what of Countersign itself it may use.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct WhoamiAnswer {
    /// The caller.
    pub identity: IdentityView,
    /// Until when the token used for this request works.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Actions on `System` that policy permits.
    #[schema(value_type = Vec<String>)]
    pub may: Vec<SystemAction>,
    /// What the caller owns, or is, that ends before long, the soonest first.
    #[serde(default)]
    pub ending: Vec<EndingView>,
    /// Keys of those that end before long.
    #[serde(default)]
    pub ending_keys: Vec<EndingKeyView>,
}

/// An identity of the register.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct IdentityView {
    /// What it signs in with.
    #[schema(value_type = String)]
    pub name: IdentityName,
    /// `user`, `workload` or `agent`.
    #[schema(value_type = String)]
    pub kind: IdentityKind,
    /// Its groups, sorted.
    #[schema(value_type = Vec<String>)]
    pub groups: Vec<GroupName>,
    /// Who made it.
    #[schema(value_type = String)]
    pub created_by: IdentityName,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last opened a session or called this API.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
    /// Who answers for it.
    #[schema(value_type = Option<String>)]
    pub owner: Option<IdentityName>,
    /// What it is for.
    pub purpose: Option<String>,
    /// When it stops working.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// Since when nobody answers for it; it stops at `expires_at` unless it gets an owner.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    pub orphaned_at: Option<Timestamp>,
    /// Since when a code is asked for with its password.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    pub second_factor_at: Option<Timestamp>,
}

impl From<Identity> for IdentityView {
    fn from(identity: Identity) -> Self {
        Self {
            name: identity.name,
            kind: identity.kind,
            groups: identity.groups,
            created_by: identity.created_by,
            created_at: identity.created_at,
            last_used: identity.last_used,
            owner: identity.owner,
            purpose: identity.purpose,
            expires_at: identity.expires_at,
            revoked_at: identity.revoked_at,
            orphaned_at: identity.orphaned_at,
            second_factor_at: identity.second_factor_at,
        }
    }
}

/// A new identity.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityRequest {
    /// What it signs in with.
    #[schema(value_type = String)]
    pub name: IdentityName,
    /// `user`, `workload` or `agent`.
    #[schema(value_type = String)]
    pub kind: IdentityKind,
    /// Its groups.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub groups: Vec<GroupName>,
    /// Who answers for it; needed for workloads and agents.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub owner: Option<IdentityName>,
    /// What it is for; needed for workloads and agents.
    #[serde(default)]
    pub purpose: Option<String>,
    /// When it stops working, in seconds from now; needed for workloads and agents.
    #[serde(default)]
    pub expires_in_s: Option<u64>,
    /// Its first password; users only.
    #[serde(default)]
    pub password: Option<SecretText>,
}

/// A list of identities.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct IdentitiesAnswer {
    /// Those the caller may see.
    pub identities: Vec<IdentityView>,
}

/// All that is known of one identity.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct IdentityDetails {
    /// The identity.
    pub identity: IdentityView,
    /// Its accounts at providers.
    pub accounts: Vec<AccountView>,
    /// Which tokens of platforms are its own.
    pub trust: Vec<TrustView>,
    /// Its own keys, those that are over too.
    pub keys: Vec<KeyView>,
    /// Tokens it holds, live and past.
    pub tokens: Vec<TokenView>,
    /// What policy lets it do, by connection; empty once it is revoked or expired.
    pub reach: Vec<ReachView>,
    /// What it did, from the records.
    pub used: Vec<UseView>,
    /// Workloads and agents it owns.
    #[schema(value_type = Vec<String>)]
    pub owns: Vec<IdentityName>,
    /// The change by which it was entered; null for the first administrator.
    #[serde(default)]
    pub entered: Option<ChangeView>,
    /// Who can act through it, as far as the caller may see them; empty once it is revoked or expired.
    #[serde(default)]
    pub through: Vec<ThroughView>,
}

/// What policy lets an identity do on one connection.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ReachView {
    /// The connection.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// Its environment.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// The actions that are not denied.
    pub actions: Vec<ReachedActionView>,
}

/// An action within reach.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ReachedActionView {
    /// The action.
    #[schema(value_type = String)]
    pub action: Action,
    /// Whether it waits for signatures.
    pub held: bool,
    /// The relations it is within reach on, if not the whole database.
    pub only: Vec<String>,
    /// The policies that permit or hold it.
    #[schema(value_type = Vec<String>)]
    pub policies: Vec<PolicyId>,
}

/// How often an identity did one thing.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct UseView {
    /// On which connection.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// In which database.
    pub database: String,
    /// What it did.
    #[schema(value_type = String)]
    pub action: Action,
    /// To what, as people write it.
    pub object: String,
    /// How often.
    pub count: u64,
    /// When last.
    #[schema(value_type = String, format = DateTime)]
    pub last: Timestamp,
}

/// A new owner.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnerRequest {
    /// Who answers for the identity from now on.
    #[schema(value_type = String)]
    pub owner: IdentityName,
}

/// Until when a workload or agent works from now on.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpiryRequest {
    /// Seconds from now.
    pub expires_in_s: u64,
}

/// New groups.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupsRequest {
    /// All groups it is in from now on.
    #[schema(value_type = Vec<String>)]
    pub groups: Vec<GroupName>,
}

/// A new password.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// The one they have; needed from users who change their own.
    #[serde(default)]
    pub current: Option<SecretText>,
    /// The new one.
    pub password: SecretText,
}

/// A connection as callers see it. Where the target is and how the gateway signs in there is not theirs to know.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ConnectionView {
    /// Its name, as in `dbname=NAME`.
    #[schema(value_type = String)]
    pub name: ConnectionName,
    /// What it speaks.
    pub protocol: String,
    /// The environment it belongs to.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// What people read about it.
    pub description: Option<String>,
    /// Free labels.
    pub tags: Vec<String>,
    /// The database reached if none is named.
    pub database: String,
    /// How much a recording holds: `statements` or `full`.
    #[schema(value_type = String)]
    pub record: RecordLevel,
}

/// The connections the caller may open, and where.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ConnectionsAnswer {
    /// Those that policy does not deny.
    pub connections: Vec<ConnectionView>,
    /// Where clients reach the gateway.
    pub gateway: GatewayView,
}

/// Where clients reach the gateway.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
pub struct GatewayView {
    /// Addresses for PostgreSQL clients.
    pub postgres: Vec<String>,
    /// Addresses for SSH clients.
    #[serde(default)]
    pub ssh: Vec<String>,
    /// Keys for SSH; null if it is not served.
    #[serde(default)]
    pub ssh_keys: Option<SshKeysView>,
    /// PEM of the root that signed the gateway's certificate, for `sslrootcert`.
    pub ca: Option<String>,
}

/// A token to be minted.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The connections it opens; at least one.
    #[schema(value_type = Vec<String>)]
    pub connections: Vec<ConnectionName>,
    /// Who it speaks for: the caller, or a workload or agent the caller owns.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub subject: Option<IdentityName>,
    /// How long it works, in seconds.
    #[serde(default)]
    pub expires_in_s: Option<u64>,
    /// From when it works, in seconds from now.
    #[serde(default)]
    pub not_before_in_s: Option<u64>,
    /// The one statement it may run.
    #[serde(default)]
    pub statement: Option<String>,
    /// The agent that may act for the caller with it: it opens nothing by itself, the agent exchanges it.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub agent: Option<IdentityName>,
    /// The granted request for one statement, q_…: the token runs that statement, once.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub request: Option<RequestId>,
}

/// A minted token.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct TokenMinted {
    /// The secret, shown once: it is the password at the gateway.
    pub secret: SecretText,
    /// The token without it.
    pub token: TokenView,
}

/// A token without its secret.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct TokenView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Who it speaks for.
    #[schema(value_type = String)]
    pub subject: IdentityName,
    /// Who acts for them, nearest first.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub actors: Vec<IdentityName>,
    /// The agent that may act with it next.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_act: Option<IdentityName>,
    /// What it was exchanged for: it ends with it.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TokenId>,
    /// `connect`, `api` or `delegate`; `ssh-key` or `ssh-certificate` for whoever has the key it is bound to.
    #[schema(value_type = String)]
    pub purpose: TokenUse,
    /// The fingerprint or thumbprint of the key that whoever uses it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<String>,
    /// The connections it opens.
    #[schema(value_type = Vec<String>)]
    pub connections: Vec<ConnectionName>,
    /// The one statement it may run.
    pub statement: Option<String>,
    /// Who minted it.
    #[schema(value_type = String)]
    pub minted_by: IdentityName,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From when it works.
    #[schema(value_type = String, format = DateTime)]
    pub not_before: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When it last opened a session.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
    /// When its one statement was let run.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub spent_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    #[schema(value_type = Option<String>)]
    pub revoked_by: Option<IdentityName>,
}

impl From<TokenRow> for TokenView {
    fn from(row: TokenRow) -> Self {
        let may_act = row.next().cloned();
        Self {
            id: row.id,
            subject: row.subject,
            may_act,
            parent: row.parent,
            actors: row.actors,
            purpose: row.purpose,
            bound_to: row.bound_to,
            connections: row.connections,
            statement: row.statement,
            minted_by: row.minted_by,
            created_at: row.created_at,
            not_before: row.not_before,
            expires_at: row.expires_at,
            last_used: row.last_used,
            spent_at: row.spent_at,
            revoked_at: row.revoked_at,
            revoked_by: row.revoked_by,
        }
    }
}

/// A list of tokens.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct TokensAnswer {
    /// Those the caller may see.
    pub tokens: Vec<TokenView>,
}

/// What ended with a revocation.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct EndedAnswer {
    /// How many live sessions ended.
    pub sessions: u64,
}

/// A held operation with everything a signer is shown. Nothing in it is cut.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct HoldView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: HoldId,
    /// The session it waits in.
    #[schema(value_type = String)]
    pub session: SessionId,
    /// On whose behalf.
    #[schema(value_type = String)]
    pub requester: IdentityName,
    /// The whole chain: `alice via support-bot`.
    pub chain: String,
    /// The connection.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// The whole statement.
    pub statement: String,
    /// Decoded parameters in order; null is SQL NULL.
    pub parameters: Vec<Option<String>>,
    /// What it means.
    #[schema(value_type = Object)]
    pub facts: Facts,
    /// What must be signed.
    pub requirements: Vec<RequirementView>,
    /// The policy version that held it.
    #[schema(value_type = String)]
    pub version: VersionHash,
    /// What an approval is bound to; `approve` must name it.
    pub digest: String,
    /// How long the caller's transaction has been open, in milliseconds; null outside one.
    pub transaction_open_ms: Option<u64>,
    /// Locks that transaction holds.
    pub locks: Vec<String>,
    /// The planner's row estimate, or why there is none.
    pub estimate: String,
    /// When it was held.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it is refused if nobody signed.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Signatures so far.
    pub signatures: Vec<SignatureView>,
    /// How it stands.
    #[schema(value_type = Object)]
    #[serde(flatten)]
    pub state: HoldState,
    /// Why the caller may not sign it; null if it may.
    pub not_yours: Option<String>,
}

/// Signatures one policy asks for.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct RequirementView {
    /// The policy.
    #[schema(value_type = String)]
    pub policy: PolicyId,
    /// Members of any of these may sign.
    #[schema(value_type = Vec<String>)]
    pub approvers: Vec<GroupName>,
    /// How many distinct people.
    pub count: u8,
    /// The policy's reason.
    pub reason: Option<String>,
    /// Whether it runs only while one of those who signed watches it: it is signed while it is watched.
    #[serde(default)]
    pub watched: bool,
}

/// One signature.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct SignatureView {
    /// Who signed.
    #[schema(value_type = String)]
    pub signer: IdentityName,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// For which policies it counts.
    #[schema(value_type = Vec<String>)]
    pub policies: Vec<PolicyId>,
}

impl From<Requirement> for RequirementView {
    fn from(asked: Requirement) -> Self {
        Self { policy: asked.policy, approvers: asked.approvers, count: asked.count, reason: asked.reason, watched: asked.watched }
    }
}

impl From<Signature> for SignatureView {
    fn from(signature: Signature) -> Self {
        Self { signer: signature.signer, at: signature.at, policies: signature.policies }
    }
}

impl HoldView {
    /// The row as one reader sees it; `not_yours` says why this reader may not sign.
    #[must_use]
    pub fn new(row: HoldRow, not_yours: Option<String>) -> Self {
        Self {
            id: row.id,
            session: row.session,
            requester: row.requester,
            chain: row.chain,
            connection: row.connection,
            database: row.database,
            statement: row.statement,
            parameters: row.parameters,
            facts: row.facts,
            requirements: row.requirements.into_iter().map(RequirementView::from).collect(),
            version: row.version,
            digest: row.digest,
            transaction_open_ms: row.transaction_open_ms,
            locks: row.locks,
            estimate: row.estimate,
            created_at: row.created_at,
            expires_at: row.expires_at,
            signatures: row.signatures.into_iter().map(SignatureView::from).collect(),
            state: row.state,
            not_yours,
        }
    }
}

/// A list of held operations.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct HoldsAnswer {
    /// Those the caller may see: its own, and those it may sign or audit.
    pub holds: Vec<HoldView>,
}

/// A signature on what was shown.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The digest of the operation as it was shown to the signer.
    pub digest: String,
}

/// A sign of life of somebody who watches.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchingRequest {
    /// Ends what is watched.
    #[serde(default)]
    pub end: bool,
}

/// How long it may be silent.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct WatchingAnswer {
    /// A watcher who is not heard of for so long counts as gone, in milliseconds.
    pub silent_after_ms: u64,
}

/// A refusal by a signer.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DenyRequest {
    /// Told to the caller, and recorded.
    #[serde(default)]
    pub reason: Option<String>,
}

/// One session.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct SessionView {
    /// Its id; also names its recording.
    #[schema(value_type = String)]
    pub id: SessionId,
    /// On whose behalf.
    #[schema(value_type = String)]
    pub subject: IdentityName,
    /// The whole chain.
    pub chain: String,
    /// The connection.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// The token it was opened with.
    #[schema(value_type = Option<String>)]
    pub token: Option<TokenId>,
    /// Where the caller came from.
    pub peer: String,
    /// When it was admitted.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended; null while it lives.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub ending: Option<String>,
    /// Operations so far; final once it ended.
    pub operations: u64,
}

impl From<SessionRow> for SessionView {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id,
            subject: row.subject,
            chain: row.chain,
            connection: row.connection,
            database: row.database,
            token: row.token,
            peer: row.peer,
            started_at: row.started_at,
            ended_at: row.ended_at,
            ending: row.ending,
            operations: row.operations,
        }
    }
}

/// A list of sessions.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct SessionsAnswer {
    /// Those the caller may see, newest first.
    pub sessions: Vec<SessionView>,
}

/// Why something is done.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    /// Told to the caller, and recorded.
    #[serde(default)]
    pub reason: Option<String>,
}

/// One line of a recording's stream: a record, and at last the end.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordLine {
    /// What happened.
    #[schema(value_type = Object)]
    Record(Record),
    /// There is no more.
    End(RecordEnd),
}

/// How a recording's stream ended.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct RecordEnd {
    /// Whether the session still lives, so that more may follow later.
    pub live: bool,
    /// What is wrong with the recording, if something is: what comes after that place cannot be read.
    pub broken: Option<String>,
}

/// One line of what is followed live.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct TailLine {
    /// The session.
    #[schema(value_type = String)]
    pub session: SessionId,
    /// The whole chain.
    pub chain: String,
    /// The connection.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// What happened.
    #[schema(value_type = Object)]
    pub record: Record,
}

/// What a search found.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct SearchAnswer {
    /// Operations, newest first; those of sessions the caller may not see are left out before counting.
    pub hits: Vec<HitView>,
}

/// One operation that a search found. The statement is shown without its literals.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct HitView {
    /// The session.
    #[schema(value_type = String)]
    pub session: SessionId,
    /// The operation within it.
    pub op: u64,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The whole chain.
    pub chain: String,
    /// The connection.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// The statement, literals left out.
    pub statement: String,
    /// `allowed`, `held` (it waits, or its end is not known), `signed` or `refused`.
    pub decision: String,
    /// The policies that decided.
    #[schema(value_type = Vec<String>)]
    pub policies: Vec<PolicyId>,
    /// Who signed.
    #[schema(value_type = Vec<String>)]
    pub signers: Vec<IdentityName>,
    /// Data classes masked or withheld in the answer; while there is none yet, those that may be.
    #[schema(value_type = Vec<String>)]
    pub masked: Vec<DataClassName>,
    /// Risk, 0 to 5.
    pub risk: u8,
    /// Rows returned or changed, if known.
    pub rows: Option<u64>,
    /// How long it took, in microseconds.
    pub duration_us: Option<u64>,
    /// The SQLSTATE it ended with, if it failed.
    pub error: Option<String>,
}

/// Policy files to be made current.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Text of each file by its path relative to the directory, `/` between parts.
    pub files: BTreeMap<String, String>,
    /// Apply it though nobody may administer under it. That is recorded.
    #[serde(default)]
    pub lock_everybody_out: bool,
}

/// A policy version.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct VersionView {
    /// SHA-256 over policy, connections, data classes and schema.
    #[schema(value_type = String)]
    pub hash: VersionHash,
    /// Who applied it.
    #[schema(value_type = Option<String>)]
    pub applied_by: Option<IdentityName>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub applied_at: Option<Timestamp>,
    /// How many connections it names.
    pub connections: u64,
}

/// The policy versions that were applied, newest first.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct VersionsAnswer {
    /// One for each time a version was made current.
    pub versions: Vec<AppliedView>,
}

/// One application of a version.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct AppliedView {
    /// 1 for the first, then one more each time.
    pub number: u64,
    /// Which version.
    #[schema(value_type = String)]
    pub hash: VersionHash,
    /// Who applied it.
    #[schema(value_type = String)]
    pub by: IdentityName,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A policy version with its files.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct VersionFiles {
    /// The version.
    #[serde(flatten)]
    pub version: VersionView,
    /// Its files.
    pub files: BTreeMap<String, String>,
}

/// How the gateway stands. Counts hold what the caller may see.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct StatusAnswer {
    /// The program's version.
    pub program: String,
    /// Since when it has run.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The policy version in force.
    pub version: VersionView,
    /// Live sessions the caller may see.
    pub live_sessions: u64,
    /// Waiting holds the caller may see.
    pub waiting_holds: u64,
    /// Where clients reach the gateway.
    pub gateway: GatewayView,
    /// What keeps sessions from beginning, a sentence each; empty when all is well.
    pub troubles: Vec<String>,
    /// Workloads and agents the caller may see that end before long or are orphaned, the soonest first.
    #[serde(default)]
    pub ending: Vec<EndingView>,
    /// Keys of those the caller may see that end before long.
    #[serde(default)]
    pub ending_keys: Vec<EndingKeyView>,
    /// Roles of ended sessions that could not be dropped at their targets yet, a sentence each; for administrators.
    #[serde(default)]
    pub left_roles: Vec<String>,
}

/// How far the search index was rebuilt.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ReindexAnswer {
    /// Recordings read.
    pub recordings: u64,
    /// Records read from them.
    pub records: u64,
    /// Recordings that could not be read to their end, a sentence each.
    pub faults: Vec<String>,
}

/// A statement to be explained; nothing of it is run.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Where it would run.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// In which database; the connection's own if none is given.
    #[serde(default)]
    pub database: Option<String>,
    /// The statement.
    pub statement: String,
    /// For whom; the caller if nobody is named.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub identity: Option<IdentityName>,
}

/// What a statement means and what policy says of it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ExplainAnswer {
    /// What it means.
    #[schema(value_type = Object)]
    pub facts: Facts,
    /// What policy says.
    #[schema(value_type = Object)]
    pub outcome: Outcome,
    /// The policies that decide.
    #[schema(value_type = Vec<String>)]
    pub policies: Vec<PolicyId>,
    /// For people.
    pub reasons: Vec<String>,
    /// The policy version that says so.
    #[schema(value_type = String)]
    pub version: VersionHash,
    /// For a held one: who could sign each requirement now.
    pub signers: Vec<SignersView>,
    /// What masking would do, in sentences; none if it touches nothing classified.
    pub masking: Vec<String>,
}

/// Who could sign one requirement.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct SignersView {
    /// The policy that asks.
    #[schema(value_type = String)]
    pub policy: PolicyId,
    /// How many distinct people.
    pub count: u8,
    /// The people who could.
    #[schema(value_type = Vec<String>)]
    pub people: Vec<IdentityName>,
}

/// A secret for a target.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// The secret itself; no answer ever holds it.
    pub value: SecretText,
}

/// The stored secrets, never what they hold.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct SecretsAnswer {
    /// By name.
    pub secrets: Vec<SecretView>,
}

/// A stored secret.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// When it was first put.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last put.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Who put it last.
    #[schema(value_type = String)]
    pub updated_by: IdentityName,
}
