//! Tokens that only whoever has a key can use: RFC 9449.

use identity::dpop::{self, Possession, ProofError};
use model::{IdentityName, Secret, Timestamp};
use store::{StoreError, state::Once};

use crate::guard::Guard;

/// A proof of possession, and the request that it came with.
#[derive(Debug, Clone, Copy)]
pub struct Proven<'a> {
    /// The proof.
    pub proof: &'a str,
    /// The request's method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
}

/// Why the possession of a key is not proven. `Display` is for the caller.
#[derive(Debug, thiserror::Error)]
pub enum NotPossessed {
    /// There is no proof.
    #[error("the token is bound to a key: show it as `Authorization: DPoP …`, with a proof in the header `DPoP`")]
    Missing,
    /// It is wrong.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// It is by another key.
    #[error("the token is bound to another key than the one of the DPoP proof")]
    OtherKey,
    /// Somebody came with it before.
    #[error("the DPoP proof was used before: each works once, so make another")]
    UsedBefore,
    /// Too many were made.
    #[error("too many DPoP proofs are being made; try again in a minute")]
    TooMany,
    /// Nothing can be for this gateway.
    #[error("this gateway has no name that a DPoP proof could be for: an administrator sets `issuer` in [tokens] of countersign.toml")]
    Unnamed,
    /// The state store failed.
    #[error("the state store cannot be reached")]
    State(#[from] StoreError),
}

impl Guard {
    /// Checks a proof, which must go with `token` if there is one. It is not used up.
    ///
    /// # Errors
    /// It is none, or for another request, time or token.
    pub fn check_possession(&self, proven: &Proven<'_>, token: Option<&Secret>, now: Timestamp) -> Result<Possession, NotPossessed> {
        let url = self.url().ok_or(NotPossessed::Unnamed)?;
        Ok(dpop::check(proven.proof, proven.method, &url.at(proven.path), token, now)?)
    }

    /// Uses up a proof of somebody's.
    ///
    /// # Errors
    /// It was used before.
    pub async fn use_possession(&self, possession: &Possession, who: &IdentityName, now: Timestamp) -> Result<(), NotPossessed> {
        let id = format!("dpop {} {}", possession.thumbprint, possession.id);
        match self.store().state().use_once(who, &id, possession.forget_at, now).await? {
            Once::First => Ok(()),
            Once::Again => Err(NotPossessed::UsedBefore),
            Once::TooMany => Err(NotPossessed::TooMany),
        }
    }
}
