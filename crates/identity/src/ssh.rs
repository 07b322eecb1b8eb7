//! Keys and certificates of SSH: the gateway's own, those that callers show, and what machines are asked to trust.
//!
//! Four keys are made of one secret of the deployment: the host key that callers see, that of an authority over it, and those of two authorities which sign
//! certificates for users: of machines, and of the gateway (<https://www.openssh.com/txt/release-5.4>, PROTOCOL.certkeys). None can stand for another, so that
//! what opens the gateway opens no machine.

use aws_lc_rs::hkdf;
use model::{IdentityName, Timestamp};
use ssh_key::{
    Algorithm, Certificate, HashAlg, LineEnding, PrivateKey, PublicKey, certificate,
    private::{Ed25519Keypair, KeypairData},
    public::KeyData,
};
use zeroize::Zeroizing;

use crate::token::{TokenDigest, sha256};

/// Length of the secret that the keys are made of.
pub const SECRET_BYTES: usize = 32;
/// RSA keys with fewer bits are not taken: NIST SP 800-131A.
const MIN_RSA_BITS: u32 = 2_048;
/// How long before its making a certificate is valid already, in seconds: clocks of machines may be behind.
const CLOCK_SKEW_S: i64 = 60;
/// What a session may ask of a machine beside commands. <https://cvsweb.openbsd.org/src/usr.bin/ssh/PROTOCOL.certkeys>
const EXTENSIONS: [&str; 5] = ["permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc"];

/// Something about a key that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SshKeyError {
    /// It is no key, or not one that can be used here.
    #[error("it is no usable SSH key: {0}")]
    Key(#[from] ssh_key::Error),
    /// The system gave no randomness, or the cipher failed.
    #[error("no key could be made")]
    Crypto,
    /// It is locked by a passphrase that nobody can give here.
    #[error("the key is locked by a passphrase: keep one without (`ssh-keygen -p`)")]
    Locked,
    /// It is too weak, or of a kind that is not taken.
    #[error("{0} is not taken: make another key with `ssh-keygen -t ed25519`")]
    Weak(String),
}

/// Why a certificate is not believed. For the log: callers hear no reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotVouchedFor {
    /// Another authority signed it, or what signed it is no plain key.
    #[error("it is not signed by this gateway's authority")]
    Authority,
    /// It is for a host.
    #[error("it is for a host, not for a user")]
    Kind,
    /// Its signature is wrong, or its time is not now.
    #[error("its signature or its time is wrong")]
    Invalid,
    /// It does not name exactly one identity.
    #[error("it names no identity, or several")]
    Principals,
    /// It is restricted by something that is not known here.
    #[error("it has a critical option that is not known here")]
    Options,
}

/// The gateway's own keys.
#[derive(Debug)]
pub struct SshKeys {
    host: PrivateKey,
    hosts: PrivateKey,
    authority: PrivateKey,
    callers: PrivateKey,
}

impl SshKeys {
    /// The keys of a deployment's secret.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn from_secret(secret: &[u8; SECRET_BYTES]) -> Result<Self, SshKeyError> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"countersign ssh");
        let key = |label: &[u8], comment: &str| {
            let mut seed = Zeroizing::new([0u8; SECRET_BYTES]);
            let filled = salt.extract(secret).expand(&[label], hkdf::HKDF_SHA256).and_then(|made| made.fill(seed.as_mut_slice()));
            filled.map_err(|_| SshKeyError::Crypto)?;
            Ok::<_, SshKeyError>(PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), comment)?)
        };
        Ok(Self {
            host: key(b"host", "countersign")?,
            hosts: key(b"hosts", "countersign host authority")?,
            authority: key(b"users of machines", "countersign user authority")?,
            callers: key(b"callers", "countersign caller authority")?,
        })
    }

    /// What callers see.
    #[must_use]
    pub const fn host(&self) -> &PrivateKey {
        &self.host
    }

    /// A certificate over the host key for these names, for as long as the key itself lasts.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn host_certificate(&self, names: &[String]) -> Result<Certificate, SshKeyError> {
        let mut builder = certificate::Builder::new(random()?.to_vec(), self.host.public_key().key_data().clone(), 0, u64::MAX)?;
        builder.cert_type(certificate::CertType::Host)?.key_id("countersign")?;
        for name in names {
            builder.valid_principal(name)?;
        }
        Ok(builder.sign(&self.hosts)?)
    }

    /// Who vouches for the host key: what stands behind `@cert-authority` in `known_hosts`.
    ///
    /// # Errors
    /// It cannot be written out.
    pub fn host_authority(&self) -> Result<String, SshKeyError> {
        Ok(self.hosts.public_key().to_openssh()?)
    }

    /// What machines are to trust: a line for the file that `TrustedUserCAKeys` names.
    ///
    /// # Errors
    /// It cannot be written out.
    pub fn authority(&self) -> Result<String, SshKeyError> {
        Ok(self.authority.public_key().to_openssh()?)
    }

    /// A fresh key and a certificate over it, with which these principals may sign in at a machine until `valid_until`. The machine's own log shows `key_id`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn certify(
        &self,
        key_id: &str,
        principals: &[String],
        now: Timestamp,
        valid_until: Timestamp,
    ) -> Result<(PrivateKey, Certificate), SshKeyError> {
        let key = fresh_key()?;
        let certificate = user_certificate(&self.authority, key.public_key().key_data(), key_id, principals, (now, valid_until))?;
        Ok((key, certificate))
    }

    /// A certificate over a caller's key, in OpenSSH's form: until `valid_until` whoever has the key signs in here as `identity`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn certify_caller(
        &self,
        key: &PublicKey,
        identity: &IdentityName,
        key_id: &str,
        now: Timestamp,
        valid_until: Timestamp,
    ) -> Result<String, SshKeyError> {
        let certificate = user_certificate(&self.callers, key.key_data(), key_id, &[identity.to_string()], (now, valid_until))?;
        Ok(certificate.to_openssh()?)
    }

    /// Whom a certificate that a caller shows is for. That the caller has its key is not looked at here.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn caller(&self, certificate: &Certificate, now: Timestamp) -> Result<IdentityName, NotVouchedFor> {
        // SSH-01: the very key, not something that has its fingerprint.
        if certificate.signature_key() != self.callers.public_key().key_data() || certificate.public_key().is_certificate() {
            return Err(NotVouchedFor::Authority);
        }
        if !certificate.cert_type().is_user() {
            return Err(NotVouchedFor::Kind);
        }
        let now = u64::try_from(now.as_second()).map_err(|_| NotVouchedFor::Invalid)?;
        certificate.validate_at(now, [&self.callers.fingerprint(HashAlg::Sha256)]).map_err(|_| NotVouchedFor::Invalid)?;
        if !certificate.critical_options().is_empty() {
            return Err(NotVouchedFor::Options);
        }
        match certificate.valid_principals() {
            [one] => one.parse().map_err(|_| NotVouchedFor::Principals),
            _ => Err(NotVouchedFor::Principals),
        }
    }
}

fn user_certificate(
    authority: &PrivateKey,
    key: &KeyData,
    key_id: &str,
    principals: &[String],
    (now, valid_until): (Timestamp, Timestamp),
) -> Result<Certificate, SshKeyError> {
    let second = |at: Timestamp| u64::try_from(at.as_second()).unwrap_or_default();
    let from = second(now).saturating_sub(CLOCK_SKEW_S.unsigned_abs());
    let mut builder = certificate::Builder::new(random()?.to_vec(), key.clone(), from, second(valid_until))?;
    builder.cert_type(certificate::CertType::User)?.key_id(key_id)?.serial(u64::try_from(now.as_microsecond()).unwrap_or_default())?;
    for principal in principals {
        builder.valid_principal(principal)?;
    }
    for extension in EXTENSIONS {
        builder.extension(extension, "")?;
    }
    Ok(builder.sign(authority)?)
}

/// A key for one session.
///
/// # Errors
/// The system gave no randomness.
pub fn fresh_key() -> Result<PrivateKey, SshKeyError> {
    Ok(PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&*random()?)), "")?)
}

/// A private key as `ssh` reads it from a file.
///
/// # Errors
/// It cannot be written out.
pub fn private_text(key: &PrivateKey) -> Result<Zeroizing<String>, SshKeyError> {
    Ok(key.to_openssh(LineEnding::LF)?)
}

/// A public key that somebody wants to sign in with, as `ssh-keygen` writes it.
///
/// # Errors
/// It is none, or a weak one.
pub fn callers_key(text: &str) -> Result<PublicKey, SshKeyError> {
    let key = PublicKey::from_openssh(text.trim())?;
    must_be_strong(key.key_data())?;
    Ok(key)
}

fn must_be_strong(key: &KeyData) -> Result<(), SshKeyError> {
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => Ok(()),
        KeyData::Rsa(rsa) if rsa.key_size() >= MIN_RSA_BITS => Ok(()),
        KeyData::Rsa(rsa) => Err(SshKeyError::Weak(format!("an RSA key of {} bits", rsa.key_size()))),
        other => Err(SshKeyError::Weak(format!("a key of the kind {}", other.algorithm()))),
    }
}

/// Whether signatures of this kind prove nothing any more: SHA-1.
#[must_use]
pub fn is_broken(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { hash: None } | Algorithm::Dsa)
}

/// What a caller's key is found by.
///
/// # Errors
/// It cannot be written out.
pub fn key_digest(key: &PublicKey) -> Result<TokenDigest, SshKeyError> {
    Ok(sha256(&[b"countersign ssh key ", key.to_bytes()?.as_slice()].concat()))
}

/// Whom a certificate says it is for, and until when: for whoever holds it. That proves nothing.
#[must_use]
pub fn names_and_end(certificate: &str) -> Option<(Vec<String>, Timestamp)> {
    let certificate = Certificate::from_openssh(certificate.trim()).ok()?;
    let end = Timestamp::from_second(i64::try_from(certificate.valid_before()).ok()?).ok()?;
    Some((certificate.valid_principals().to_vec(), end))
}

/// `SHA256:…`, as `ssh-keygen -l` prints it.
#[must_use]
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn random() -> Result<Zeroizing<[u8; SECRET_BYTES]>, SshKeyError> {
    let mut random = Zeroizing::new([0u8; SECRET_BYTES]);
    aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| SshKeyError::Crypto)?;
    Ok(random)
}

/// A private key as `ssh-keygen` writes it, without a passphrase.
///
/// # Errors
/// It is none, or it has a passphrase.
pub fn private_key(text: &[u8]) -> Result<PrivateKey, SshKeyError> {
    let key = PrivateKey::from_openssh(text)?;
    if key.is_encrypted() { Err(SshKeyError::Locked) } else { Ok(key) }
}

/// Whether a machine's key is among those that its connection names, compared as keys: their comments are nothing.
#[must_use]
pub fn is_among(key: &PublicKey, named: &[String]) -> bool {
    named.iter().filter_map(|text| PublicKey::from_openssh(text).ok()).any(|known| known.key_data() == key.key_data())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn one_secret_makes_the_same_keys_and_another_makes_others() {
        let [keys, again, other] = [[1; 32], [1; 32], [2; 32]].map(|secret| SshKeys::from_secret(&secret).unwrap());
        assert_eq!(keys.host().public_key(), again.host().public_key());
        assert_eq!(keys.authority().unwrap(), again.authority().unwrap());
        assert_ne!(keys.host().public_key(), other.host().public_key());
        let all = [&keys.host, &keys.hosts, &keys.authority, &keys.callers].map(|key| key.public_key().to_openssh().unwrap());
        assert_eq!(std::collections::BTreeSet::from(all).len(), 4);
    }

    #[test]
    fn a_certificate_is_for_its_principals_and_its_time_and_says_who_acts() {
        let keys = SshKeys::from_secret(&[7; 32]).unwrap();
        let (key, certificate) = keys.certify("alice via bot s_1", &["deploy".to_owned()], at(1_000), at(2_000)).unwrap();
        let authority = keys.authority.fingerprint(ssh_key::HashAlg::Sha256);
        assert!(certificate.validate_at(1_000, [&authority]).is_ok() && certificate.validate_at(940, [&authority]).is_ok());
        assert!(certificate.validate_at(939, [&authority]).is_err() && certificate.validate_at(2_000, [&authority]).is_err());
        assert!(certificate.validate_at(1_000, [&keys.host.fingerprint(ssh_key::HashAlg::Sha256)]).is_err());
        assert_eq!((certificate.key_id(), certificate.valid_principals()), ("alice via bot s_1", ["deploy".to_owned()].as_slice()));
        assert_eq!(certificate.public_key(), key.public_key().key_data());
        assert!(certificate.cert_type().is_user() && certificate.critical_options().is_empty());
        assert_ne!(keys.certify("x", &["deploy".to_owned()], at(1), at(2)).unwrap().0.public_key(), key.public_key());
    }

    /// SSH-01: who a certificate is for is the word of one authority, about users, now, without conditions.
    #[test]
    fn ssh_01_a_caller_is_whom_this_gateways_own_authority_vouches_for() {
        let keys = SshKeys::from_secret(&[7; 32]).unwrap();
        let key = fresh_key().unwrap();
        let (public, alice): (_, IdentityName) = (key.public_key(), "alice".parse().unwrap());
        let text = keys.certify_caller(public, &alice, "alice", at(1_000), at(2_000)).unwrap();
        let certificate = Certificate::from_openssh(&text).unwrap();
        assert_eq!(keys.caller(&certificate, at(1_500)), Ok(alice.clone()));
        for second in [900, 2_000] {
            assert_eq!(keys.caller(&certificate, at(second)), Err(NotVouchedFor::Invalid), "{second}");
        }
        let made = |signer: &PrivateKey, kind, principals: &[&str], option: Option<&str>| {
            let mut builder = certificate::Builder::new([1; 16], public.key_data().clone(), 0, u64::MAX).unwrap();
            builder.cert_type(kind).unwrap();
            for principal in principals {
                builder.valid_principal(*principal).unwrap();
            }
            if principals.is_empty() {
                builder.all_principals_valid().unwrap();
            }
            if let Some(option) = option {
                builder.critical_option(option, "x").unwrap();
            }
            builder.sign(signer).unwrap()
        };
        use certificate::CertType::{Host, User};
        let table = [
            (made(&keys.callers, User, &["alice"], None), Ok(alice)),
            (made(&keys.callers, Host, &["alice"], None), Err(NotVouchedFor::Kind)),
            (made(&keys.callers, User, &[], None), Err(NotVouchedFor::Principals)),
            (made(&keys.callers, User, &["alice", "bob"], None), Err(NotVouchedFor::Principals)),
            (made(&keys.callers, User, &["no name"], None), Err(NotVouchedFor::Principals)),
            (made(&keys.callers, User, &["alice"], Some("source-address")), Err(NotVouchedFor::Options)),
            (made(&keys.authority, User, &["alice"], None), Err(NotVouchedFor::Authority)),
            (made(&keys.hosts, User, &["alice"], None), Err(NotVouchedFor::Authority)),
            (made(&keys.host, User, &["alice"], None), Err(NotVouchedFor::Authority)),
            (made(&key, User, &["alice"], None), Err(NotVouchedFor::Authority)),
        ];
        for (place, (certificate, expected)) in table.into_iter().enumerate() {
            assert_eq!(keys.caller(&certificate, at(1_500)), expected, "{place}");
        }
    }

    #[test]
    fn weak_keys_are_not_taken() {
        let rsa_1024 =
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7Bo6WXhPoVw3hTwTVkMzbWXwWFSjdbYf8bOoNyYJcmZbpVOFz9LMGc4H4KUvOBvbcrhbFyKpS5l6GyhnXrWUJvuPGEH1Xw";
        assert!(callers_key(rsa_1024).is_err());
        let key = fresh_key().unwrap().public_key().to_openssh().unwrap();
        let digest = |text: &str| key_digest(&callers_key(text).unwrap()).unwrap();
        assert_eq!(digest(&format!("{key} alice@laptop\n")), digest(&key));
        assert!(callers_key("nonsense").is_err() && is_broken(&Algorithm::Rsa { hash: None }) && !is_broken(&Algorithm::Ed25519));
    }

    #[test]
    fn a_machine_is_known_by_its_key_and_not_by_what_is_written_beside_it() {
        let key = fresh_key().unwrap();
        let text = key.public_key().to_openssh().unwrap();
        assert!(is_among(key.public_key(), &["ssh-ed25519 nonsense".to_owned(), format!("{text} root@web1")]));
        assert!(!is_among(fresh_key().unwrap().public_key(), &[text]) && !is_among(key.public_key(), &[]));
    }
}
