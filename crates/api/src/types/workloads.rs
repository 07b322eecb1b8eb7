//! Tokens of platforms, keys of those that have none, and whose they are.

use std::collections::BTreeMap;

use identity::PublicKey;
use model::{IdentityKeyId, IdentityName, ProviderName, Timestamp, TrustId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::state::{IdentityKey, TrustRule};
use utoipa::ToSchema;

use super::SecretText;

/// What is answered to an exchange: RFC 8693 section 2.2.1.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct ExchangeAnswer {
    /// The token: the password of a connection.
    pub access_token: SecretText,
    /// `urn:ietf:params:oauth:token-type:access_token`, or `…:jwt` for one that others can read.
    pub issued_token_type: String,
    /// `N_A`: it is no bearer token of this API; `DPoP` if it is bound to a key.
    pub token_type: String,
    /// How long it works, in seconds.
    pub expires_in: i64,
    /// The one statement it may run, if it is for one: RFC 9396 section 7.
    #[schema(value_type = Option<Vec<Object>>)]
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authorization_details: Option<Value>,
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

/// A key for a workload or agent.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The public half, in PEM or as a JWK: P-256, Ed25519, or RSA of 2048 bits or more.
    pub public_key: String,
    /// How long it works, in seconds: ninety days at most.
    pub expires_in_s: u64,
}

/// The keys of a workload or agent.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct KeysAnswer {
    /// The keys.
    pub keys: Vec<KeyView>,
}

/// A key.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct KeyView {
    /// Its id, k_….
    #[schema(value_type = String)]
    pub id: IdentityKeyId,
    /// `ES256`, `EdDSA` or `RS256`.
    pub algorithm: String,
    /// SHA-256 of it, in base 64: RFC 7638.
    pub thumbprint: String,
    /// Who gave it to the identity.
    #[schema(value_type = String)]
    pub created_by: IdentityName,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when it works.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When a token was last asked for with it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

impl From<IdentityKey> for KeyView {
    fn from(key: IdentityKey) -> Self {
        Self {
            id: key.id,
            algorithm: PublicKey::parse(&key.public_key).map_or("", |key| key.algorithm()).to_owned(),
            thumbprint: key.thumbprint,
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used: key.last_used,
            revoked_at: key.revoked_at,
        }
    }
}
