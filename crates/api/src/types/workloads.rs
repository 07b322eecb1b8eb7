//! Tokens of platforms, and whose they are.

use std::collections::BTreeMap;

use model::{IdentityName, ProviderName, Timestamp, TrustId};
use serde::{Deserialize, Serialize};
use store::state::TrustRule;
use utoipa::ToSchema;

use super::SecretText;

/// What is answered to an exchange: RFC 8693 section 2.2.1.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ExchangeAnswer {
    /// The token: the password of a connection.
    pub access_token: SecretText,
    /// Always an access token.
    pub issued_token_type: String,
    /// `N_A`: it is no bearer token of this API.
    pub token_type: String,
    /// How long it works, in seconds.
    pub expires_in: i64,
    /// Not of the RFC: the workload it speaks for, which is the user name to connect with.
    #[schema(value_type = String)]
    pub identity: IdentityName,
}

/// Which tokens are a workload's.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustRequest {
    /// The issuer, as `countersign.toml` calls it.
    #[schema(value_type = String)]
    pub issuer: ProviderName,
    /// What its tokens must claim: all of it, exactly.
    pub claims: BTreeMap<String, String>,
}

/// A rule.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct TrustView {
    /// Its id, r_….
    #[schema(value_type = String)]
    pub id: TrustId,
    /// The issuer.
    #[schema(value_type = String)]
    pub issuer: ProviderName,
    /// What its tokens must claim.
    pub claims: BTreeMap<String, String>,
    /// Who made it.
    #[schema(value_type = String)]
    pub created_by: IdentityName,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When a token was last taken by it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

impl From<TrustRule> for TrustView {
    fn from(rule: TrustRule) -> Self {
        Self {
            id: rule.id,
            issuer: rule.issuer,
            claims: rule.claims,
            created_by: rule.created_by,
            created_at: rule.created_at,
            last_used: rule.last_used,
            revoked_at: rule.revoked_at,
        }
    }
}
