//! Fresh identifiers, of the system's randomness.

use model::{HoldId, IdentityId, IdentityKeyId, RequestId, SessionId, SignInId, TokenId, TrustId};

pub(crate) fn session() -> SessionId {
    SessionId::from_random(random())
}

pub(crate) fn hold() -> HoldId {
    HoldId::from_random(random())
}

pub(crate) fn token() -> TokenId {
    TokenId::from_random(random())
}

pub(crate) fn sign_in() -> SignInId {
    SignInId::from_random(random())
}

pub(crate) fn trust() -> TrustId {
    TrustId::from_random(random())
}

pub(crate) fn request() -> RequestId {
    RequestId::from_random(random())
}

pub(crate) fn key() -> IdentityKeyId {
    IdentityKeyId::from_random(random())
}

pub(crate) fn identity() -> IdentityId {
    IdentityId::from_random(random())
}

pub(crate) fn trace() -> [u8; 16] {
    (u128::from(random()) << 64 | u128::from(random())).to_be_bytes()
}

pub(crate) fn span() -> [u8; 8] {
    random().to_be_bytes()
}

/// Ids name things, they prove nothing: they must be unlikely to meet, not impossible to guess.
fn random() -> u64 {
    let mut bytes = [0u8; 8];
    if aws_lc_rs::rand::fill(&mut bytes).is_ok() {
        return u64::from_le_bytes(bytes);
    }
    // Version 7 puts the clock in front; its last 62 bits are another source's randomness.
    u64::try_from(uuid::Uuid::now_v7().as_u128() & u128::from(u64::MAX)).unwrap_or(0)
}
