//! Requests for access, and what they became.

use model::{
    ConnectionName, GroupName, IdentityName, RequestId, Timestamp, VersionHash,
    hold::HoldState,
    request::{Comment, GrantEnd, RequestRow},
};
use serde::{Deserialize, Serialize};
use session::requests::Requestable;
use utoipa::ToSchema;

use super::{RequirementView, SignatureView};

/// Access asked for.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessRequest {
    /// Where.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// The role, one of the connection's `[roles]`.
    pub role: String,
    /// For how long, in seconds, from the last signature.
    pub window_s: u64,
    /// Why.
    pub reason: String,
    /// The one statement it is for; left out for whatever the role may do.
    #[serde(default)]
    pub statement: Option<String>,
}

/// Something said of a request.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommentRequest {
    /// What.
    pub text: String,
}

/// A request with everything a signer is shown. Nothing in it is cut.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct RequestView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: RequestId,
    /// Who asked.
    #[schema(value_type = String)]
    pub requester: IdentityName,
    /// The whole chain: `alice via support-bot`.
    pub chain: String,
    /// Where.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// The role.
    pub role: String,
    /// The group it stands for.
    #[schema(value_type = String)]
    pub group: GroupName,
    /// The one statement it is for; null for whatever the role may do.
    pub statement: Option<String>,
    /// For how long, in seconds, from the last signature.
    pub window_s: u64,
    /// Why it was asked for. (`reason` is that of a denial.)
    pub why: String,
    /// What must be signed; empty where policy granted it at once.
    pub requirements: Vec<RequirementView>,
    /// The policy version it was decided under.
    #[schema(value_type = String)]
    pub version: VersionHash,
    /// What a signature is bound to; `approve` must name it.
    pub digest: String,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it is over if not all signed.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Signatures so far.
    pub signatures: Vec<SignatureView>,
    /// What people said of it, oldest first.
    pub comments: Vec<CommentView>,
    /// How it stands: `waiting`, `approved` (granted), `denied`, `expired`, `withdrawn` or `voided`.
    #[schema(value_type = Object)]
    #[serde(flatten)]
    pub state: HoldState,
    /// The window of what was granted; null if nothing was.
    pub grant: Option<GrantView>,
    /// Why the caller may not sign it; null if it may.
    pub not_yours: Option<String>,
}

/// What was granted.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct GrantView {
    /// From when.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// Whether it is access now.
    pub in_force: bool,
    /// Who ended it before its time, when and why.
    #[schema(value_type = Option<Object>)]
    pub ended: Option<GrantEnd>,
}

/// What somebody said.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct CommentView {
    /// Who.
    #[schema(value_type = String)]
    pub by: IdentityName,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What.
    pub text: String,
}

/// A list of requests.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct RequestsAnswer {
    /// Those the caller may see: its own, and those it may sign or audit.
    pub requests: Vec<RequestView>,
}

/// What ended with a request.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct RequestEndedAnswer {
    /// The request as it is now.
    pub request: RequestView,
    /// How many live sessions ended at once.
    pub sessions: u64,
}

/// The roles there are to ask for.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct RolesAnswer {
    /// By connection and name.
    pub roles: Vec<RoleView>,
}

/// A role.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct RoleView {
    /// Where.
    #[schema(value_type = String)]
    pub connection: ConnectionName,
    /// Its name.
    pub role: String,
    /// Whether it has to be signed for, as far as can be told before length and reason are known.
    pub signed: bool,
}

impl RequestView {
    /// The row as one reader sees it at `now`; `not_yours` says why this reader may not sign.
    #[must_use]
    pub fn new(row: RequestRow, not_yours: Option<String>, now: Timestamp) -> Self {
        let in_force = row.is_in_force(now);
        let grant = row.grant.map(|grant| GrantView { from: grant.from, until: grant.until, in_force, ended: grant.ended });
        Self {
            id: row.id,
            requester: row.chain.subject.name.clone(),
            chain: row.chain.to_string(),
            connection: row.connection,
            role: row.role,
            group: row.group,
            statement: row.statement,
            window_s: row.window_s,
            why: row.reason,
            requirements: row.requirements.into_iter().map(RequirementView::from).collect(),
            version: row.version,
            digest: row.digest,
            created_at: row.created_at,
            expires_at: row.expires_at,
            signatures: row.signatures.into_iter().map(SignatureView::from).collect(),
            comments: row.comments.into_iter().map(CommentView::from).collect(),
            state: row.state,
            grant,
            not_yours,
        }
    }
}

impl From<Comment> for CommentView {
    fn from(comment: Comment) -> Self {
        Self { by: comment.by, at: comment.at, text: comment.text }
    }
}

impl From<Requestable> for RoleView {
    fn from(role: Requestable) -> Self {
        Self { connection: role.connection, role: role.role, signed: role.signed }
    }
}
