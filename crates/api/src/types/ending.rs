//! What ends before long.

use model::{Identity, IdentityKind, IdentityName, Timestamp};
use serde::{Deserialize, Serialize};
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
