//! What masks that depend on a secret are keyed with: one secret of the deployment, and of it one key for each class and use.

use std::{fmt, sync::Arc};

use aws_lc_rs::hmac;
use model::DataClassName;
use zeroize::Zeroizing;

use super::ff1::Ff1;

/// Bytes of the secret.
pub const MASK_KEY_BYTES: usize = 32;

/// The secret behind hashes and tokens. They change when it does, so it lasts as long as the deployment. Without it, values that would be hashed or
/// tokenised are withheld.
#[derive(Clone)]
pub struct MaskKeys(Option<Arc<Zeroizing<[u8; MASK_KEY_BYTES]>>>);

/// The keys of one class.
pub(super) struct ClassKeys {
    pub(super) hash: hmac::Key,
    /// None if the cipher cannot be had: then there are no tokens.
    pub(super) token: Option<Ff1>,
}

impl MaskKeys {
    /// Of these bytes, which must be random; none if they cannot be had.
    #[must_use]
    pub fn new(secret: Option<Zeroizing<[u8; MASK_KEY_BYTES]>>) -> Self {
        Self(secret.map(Arc::new))
    }

    pub(super) fn of(&self, class: &DataClassName) -> Option<Arc<ClassKeys>> {
        let secret = self.0.as_ref()?;
        let hash = hmac::Key::new(hmac::HMAC_SHA256, Self::derived(secret, "hash", class).as_slice());
        Some(Arc::new(ClassKeys { hash, token: Ff1::new(&Self::derived(secret, "token", class)).ok() }))
    }

    fn derived(secret: &[u8; MASK_KEY_BYTES], purpose: &str, class: &DataClassName) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, format!("countersign mask 1\0{purpose}\0{class}").as_bytes());
        let mut derived = Zeroizing::new([0; 32]);
        derived.iter_mut().zip(tag.as_ref()).for_each(|(into, byte)| *into = *byte);
        derived
    }
}

impl fmt::Debug for MaskKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskKeys")
    }
}
