//! Keys for SSH.

use model::{ConnectionName, IdentityName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TokenView;

/// The gateway's own keys, each as `ssh-keygen` writes public keys.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct SshKeysView {
    /// The host key that callers see.
    pub host_key: String,
    /// The authority over it, for `@cert-authority` in `known_hosts`.
    pub host_authority: String,
    /// The authority that machines are to trust for users, for `TrustedUserCAKeys`.
    pub user_authority: String,
}

/// A key that is to be registered.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SshKeyRequest {
    /// The public half, as `ssh-keygen` writes it: Ed25519, ECDSA, RSA of 2048 bits or more, or one of those on a security key.
    pub public_key: String,
    /// Who signs in with it: the caller, or a workload or agent of theirs.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub subject: Option<IdentityName>,
    /// The connections it opens; all that policy lets its subject open if none is named.
    #[schema(value_type = Vec<String>)]
    #[serde(default)]
    pub connections: Vec<ConnectionName>,
    /// How long it works, in seconds: 365 days at most, 90 if nothing is said.
    #[serde(default)]
    pub expires_in_s: Option<u64>,
}

/// A key that is to be vouched for.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SshCertificateRequest {
    /// The public half of a fresh key.
    pub public_key: String,
}

/// A certificate.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct SshCertificateAnswer {
    /// It, as `ssh` reads it from a file whose name ends in `-cert.pub`.
    pub certificate: String,
    /// What it is listed and revoked by.
    pub token: TokenView,
}
