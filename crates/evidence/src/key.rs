//! Keys: a random one for each recording, wrapped by the deployment's.
//!
//! The deployment key is never used itself: what it is needed for gets a key derived from it by purpose. It and
//! the recording keys are wiped from memory when dropped, and shown by no `Debug`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
    rand::{SecureRandom, SystemRandom},
};
use model::SessionId;
use zeroize::Zeroizing;

use crate::{
    format::{Header, TAG_BYTES, WrappedKey, frame_nonce, sha256},
    record::Hex,
};

/// Length of a deployment key and of a recording key.
pub const KEY_BYTES: usize = 32;

const WRAP_PURPOSE: &str = "countersign wrap recording keys 1";
const WRAP_CONTEXT: &[u8] = b"countersign wrapped recording key 1";
const COMMITMENT_CONTEXT: &[u8] = b"countersign recording key 1";
const ID_PURPOSE: &str = "countersign deployment key id 1";

/// Names a deployment key without telling anything of it. Shown as sixteen hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for KeyId {
    type Err = crate::record::NotHex;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Hex>()?.0.try_into().map(Self).map_err(|_| crate::record::NotHex)
    }
}

/// What can go wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system's source of randomness failed.
    #[error("the system gave no random bytes")]
    Random,
    /// A deployment key has another length.
    #[error("a deployment key has {KEY_BYTES} bytes, this has {0}")]
    Length(usize),
    /// The recording was wrapped by a key that is not there.
    #[error("the recording's key is wrapped by deployment key {0}, which is not among the keys given")]
    Unknown(KeyId),
    /// The key of that name does not open it, or what it opened is not the key that was committed to.
    #[error("deployment key {0} does not open the recording's key: the header was changed or the key file is not the one it was")]
    Wrong(KeyId),
    /// The cipher refused; not seen in practice.
    #[error("the cipher refused")]
    Cipher,
}

/// The key of a deployment. One file, 0600, outside the recordings.
pub struct DeploymentKey {
    id: KeyId,
    secret: Zeroizing<[u8; KEY_BYTES]>,
    wrapping: LessSafeKey,
}

impl DeploymentKey {
    /// Makes a new one of the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        Self::new(random()?)
    }

    /// Takes the bytes of an existing one.
    ///
    /// # Errors
    /// [`KeyError::Length`] when there are not [`KEY_BYTES`] of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        if bytes.len() != KEY_BYTES {
            return Err(KeyError::Length(bytes.len()));
        }
        secret.copy_from_slice(bytes);
        Self::new(secret)
    }

    fn new(secret: Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, KeyError> {
        let wrapping = derive(&secret, WRAP_PURPOSE)?;
        let wrapping = cipher(&wrapping)?;
        let id = derive(&secret, ID_PURPOSE)?;
        let id = KeyId(id.first_chunk().copied().unwrap_or_default());
        Ok(Self { id, secret, wrapping })
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The bytes themselves, to be kept in a file only the gateway's user can read.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        self.secret.as_slice()
    }

    /// A key for another purpose (HKDF-SHA256, the purpose as `info`). Keys of different purposes tell nothing of each other.
    ///
    /// # Errors
    /// [`KeyError::Cipher`].
    pub fn derive(&self, purpose: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
        derive(&self.secret, purpose)
    }

    /// Makes the key of a new recording.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn recording_key(&self, session: SessionId) -> Result<RecordingKey, KeyError> {
        let secret = random()?;
        let commitment = commitment(&secret);
        Ok(RecordingKey { cipher: cipher(&secret)?, commitment, wrapped: self.wrap(&secret, session, &commitment)? })
    }

    fn wrap(&self, secret: &[u8; KEY_BYTES], session: SessionId, commitment: &[u8; 32]) -> Result<WrappedKey, KeyError> {
        let mut nonce = [0; 12];
        SystemRandom::new().fill(&mut nonce).map_err(|_| KeyError::Random)?;
        let mut sealed = Zeroizing::new([0; KEY_BYTES + TAG_BYTES]);
        let (text, tag_place) = sealed.split_at_mut(KEY_BYTES);
        text.copy_from_slice(secret);
        let tag = self
            .wrapping
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(wrap_aad(session, commitment)), text)
            .map_err(|_| KeyError::Cipher)?;
        tag_place.copy_from_slice(tag.as_ref());
        Ok(WrappedKey { key_id: self.id.0, nonce, sealed: *sealed })
    }

    fn unwrap(&self, header: &Header) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
        let wrong = KeyError::Wrong(self.id);
        let mut sealed = Zeroizing::new(header.wrapped.sealed);
        let opened = self
            .wrapping
            .open_in_place(
                Nonce::assume_unique_for_key(header.wrapped.nonce),
                Aad::from(wrap_aad(header.session, &header.commitment)),
                sealed.as_mut_slice(),
            )
            .map_err(|_| wrong.clone())?;
        let secret = Zeroizing::new(opened.first_chunk().copied().ok_or_else(|| wrong.clone())?);
        if commitment(&secret) == header.commitment { Ok(secret) } else { Err(wrong) }
    }
}

impl fmt::Debug for DeploymentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeploymentKey({})", self.id)
    }
}

/// The deployment keys at hand: one wraps what is new, all of them open what is old.
#[derive(Debug)]
pub struct KeyRing {
    current: KeyId,
    keys: BTreeMap<KeyId, DeploymentKey>,
}

impl KeyRing {
    /// A ring that wraps with `current` and also opens what `older` wrapped.
    #[must_use]
    pub fn new(current: DeploymentKey, older: Vec<DeploymentKey>) -> Self {
        let id = current.id;
        let keys = older.into_iter().chain([current]).map(|key| (key.id, key)).collect();
        Self { current: id, keys }
    }

    /// The key that wraps what is new.
    ///
    /// # Errors
    /// None that [`KeyRing::new`] leaves possible; [`KeyError::Unknown`] stands for it.
    pub fn current(&self) -> Result<&DeploymentKey, KeyError> {
        self.keys.get(&self.current).ok_or(KeyError::Unknown(self.current))
    }

    /// The key of that name.
    #[must_use]
    pub fn get(&self, id: KeyId) -> Option<&DeploymentKey> {
        self.keys.get(&id)
    }

    /// Names of all keys, sorted.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.keys().copied()
    }

    /// The key of the recording the header belongs to.
    ///
    /// # Errors
    /// When no key at hand wrapped it, or the header's wrapping was changed.
    pub fn open(&self, header: &Header) -> Result<RecordingKey, KeyError> {
        let secret = self.wrapper(header)?.unwrap(header)?;
        Ok(RecordingKey { cipher: cipher(&secret)?, commitment: header.commitment, wrapped: header.wrapped })
    }

    /// The header with the recording's key wrapped by the current deployment key; as it was if that wraps it already. The chain stays what it is.
    ///
    /// # Errors
    /// As [`KeyRing::open`].
    pub fn rewrap(&self, header: &Header) -> Result<Header, KeyError> {
        if header.wrapped.key_id == self.current.0 {
            return Ok(*header);
        }
        let secret = self.wrapper(header)?.unwrap(header)?;
        let wrapped = self.current()?.wrap(&secret, header.session, &header.commitment)?;
        Ok(Header { wrapped, ..*header })
    }

    fn wrapper(&self, header: &Header) -> Result<&DeploymentKey, KeyError> {
        let id = KeyId(header.wrapped.key_id);
        self.keys.get(&id).ok_or(KeyError::Unknown(id))
    }
}

/// The key of one recording. Made once, by the process that writes it; unwrapped by those who read.
pub struct RecordingKey {
    cipher: LessSafeKey,
    pub(crate) commitment: [u8; 32],
    pub(crate) wrapped: WrappedKey,
}

impl RecordingKey {
    /// Encrypts a frame in place and returns its tag.
    ///
    /// INVARIANT: never twice for a pair of segment and number; [`crate::writer`] counts, and takes the key by value.
    pub(crate) fn seal(&self, segment: u32, number: u32, aad: [u8; 40], text: &mut [u8]) -> Result<[u8; TAG_BYTES], KeyError> {
        let nonce = Nonce::assume_unique_for_key(frame_nonce(segment, number));
        let tag = self.cipher.seal_in_place_separate_tag(nonce, Aad::from(aad), text).map_err(|_| KeyError::Cipher)?;
        tag.as_ref().first_chunk().copied().ok_or(KeyError::Cipher)
    }

    /// Decrypts ciphertext and tag in place; none if the tag does not fit.
    pub(crate) fn open<'a>(&self, segment: u32, number: u32, aad: [u8; 40], sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let nonce = Nonce::assume_unique_for_key(frame_nonce(segment, number));
        self.cipher.open_in_place(nonce, Aad::from(aad), sealed).ok().map(|text| &*text)
    }
}

impl fmt::Debug for RecordingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordingKey(…)")
    }
}

fn random() -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    SystemRandom::new().fill(bytes.as_mut_slice()).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

fn cipher(secret: &[u8; KEY_BYTES]) -> Result<LessSafeKey, KeyError> {
    UnboundKey::new(&AES_256_GCM, secret).map(LessSafeKey::new).map_err(|_| KeyError::Cipher)
}

fn derive(secret: &[u8; KEY_BYTES], purpose: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let mut derived = Zeroizing::new([0; KEY_BYTES]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(secret)
        .expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|key| key.fill(derived.as_mut_slice()))
        .map_err(|_| KeyError::Cipher)?;
    Ok(derived)
}

fn commitment(secret: &[u8; KEY_BYTES]) -> [u8; 32] {
    sha256(&[COMMITMENT_CONTEXT, secret])
}

fn wrap_aad(session: SessionId, commitment: &[u8; 32]) -> Vec<u8> {
    [WRAP_CONTEXT, &session.as_u64().to_be_bytes(), commitment].concat()
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    fn header(key: &RecordingKey, session: SessionId) -> Header {
        Header { segment: 0, session, begun_at: Timestamp::UNIX_EPOCH, previous: [0; 32], commitment: key.commitment, wrapped: key.wrapped }
    }

    #[test]
    fn a_recording_key_opens_with_its_deployment_key_only() {
        let session = SessionId::from_random(5);
        let deployment = DeploymentKey::generate().unwrap();
        let header = header(&deployment.recording_key(session).unwrap(), session);
        let other = DeploymentKey::generate().unwrap();
        assert_eq!(KeyRing::new(other, vec![]).open(&header).err(), Some(KeyError::Unknown(deployment.id())));
        let id = deployment.id();
        let ring = KeyRing::new(deployment, vec![]);
        assert!(ring.open(&header).is_ok());
        let moved = Header { session: SessionId::from_random(6), ..header };
        assert_eq!(ring.open(&moved).err(), Some(KeyError::Wrong(id)), "a wrapped key belongs to one session");
    }

    #[test]
    fn after_rotation_a_rewrapped_recording_needs_the_new_key_only() {
        let session = SessionId::from_random(5);
        let old = DeploymentKey::generate().unwrap();
        let header = header(&old.recording_key(session).unwrap(), session);
        let new = DeploymentKey::generate().unwrap();
        let copy = DeploymentKey::from_bytes(new.reveal()).unwrap();
        let rewrapped = KeyRing::new(new, vec![old]).rewrap(&header).unwrap();
        assert_ne!(rewrapped.wrapped, header.wrapped);
        assert_eq!(rewrapped.head(), header.head());
        assert!(KeyRing::new(copy, vec![]).open(&rewrapped).is_ok());
    }

    #[test]
    fn keys_are_not_shown() {
        let key = DeploymentKey::from_bytes(&[0x41; 32]).unwrap();
        assert_eq!(format!("{key:?}"), format!("DeploymentKey({})", key.id()));
        assert_eq!(key.id().to_string().parse(), Ok(key.id()));
        assert_eq!(DeploymentKey::from_bytes(&[1; 31]).err(), Some(KeyError::Length(31)));
    }
}
