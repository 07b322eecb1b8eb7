//! The second factor of built-in users.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SecretText;

/// Somebody wants a second factor.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactorRequest {
    /// The password they have.
    pub current: SecretText,
}

/// What goes into an authenticator app; shown once.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct SecondFactorOffer {
    /// To be typed: base 32.
    pub secret: SecretText,
    /// To be scanned or followed: `otpauth://…`.
    pub uri: SecretText,
}

/// A code that an authenticator shows.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactorCode {
    /// Six digits.
    pub code: SecretText,
}
