//! What ends before long.

use model::{Identity, IdentityKeyId, IdentityKind, IdentityName, Timestamp};
use serde::{Deserialize, Serialize};
use store::state::IdentityKey;
use utoipa::ToSchema;

/// A workload or agent that ends before long.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct EndingView {
    /// Which.
    #[schema(value_type = String)]
    pub name: IdentityName,
    /// `workload` or `agent`.
    #[schema(value_type = String)]
    pub kind: IdentityKind,
    /// Who answers for it.
    #[schema(value_type = Option<String>)]
    pub owner: Option<IdentityName>,
    /// When it stops working.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Since when nobody answers for it; it can be renewed only when it has an owner.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub orphaned_at: Option<Timestamp>,
}

impl From<Identity> for EndingView {
    fn from(identity: Identity) -> Self {
        Self { name: identity.name, kind: identity.kind, owner: identity.owner, expires_at: identity.expires_at, orphaned_at: identity.orphaned_at }
    }
}

/// A key that ends before long.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct EndingKeyView {
    /// Which, k_….
    #[schema(value_type = String)]
    pub id: IdentityKeyId,
    /// The workload or agent whose it is.
    #[schema(value_type = String)]
    pub identity: IdentityName,
    /// Who answers for that.
    #[schema(value_type = Option<String>)]
    pub owner: Option<IdentityName>,
    /// When it stops working.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When a token was last asked for with it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
}

impl From<(Identity, IdentityKey)> for EndingKeyView {
    fn from((identity, key): (Identity, IdentityKey)) -> Self {
        Self { id: key.id, identity: identity.name, owner: identity.owner, expires_at: key.expires_at, last_used: key.last_used }
    }
}
