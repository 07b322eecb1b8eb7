//! Who is calling: built-in users, their passwords and second factors, people of identity providers, tokens, limits on attempts, and what may be entered in the register.
//!
//! No clock, and no IO but [`fetch`], which everything fetched from elsewhere goes through. Rows are kept by `store`; sessions are opened by `session`.
//! Nothing here may tell a caller whether a name exists: [`password::verify`] costs the same for an unknown one, and every way a token can be
//! wrong looks alike from outside.

pub mod access;
pub mod attempts;
pub mod client_key;
pub mod crowd;
pub mod dpop;
pub mod fetch;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
pub mod fuzzed;
pub mod gateway_url;
pub mod jwt;
pub mod keys;
pub mod oidc;
pub mod password;
pub mod register;
pub mod ssh;
pub mod token;
pub mod totp;
pub mod vault;
pub mod workload;

pub use attempts::{Attempt, AttemptLimits, Attempts, TooManyAttempts};
pub use client_key::{PrivateKey, PublicKey};
pub use crowd::{Crowd, InCrowd};
pub use gateway_url::GatewayUrl;
pub use register::{Machine, MachineKind, NewIdentity, Purpose, RegisterError};
pub use token::{MalformedToken, PresentedToken, TokenDigest};
