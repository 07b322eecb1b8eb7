//! Keys and certificates of SSH: the gateway's own, and what machines are asked to trust.
//!
//! Two keys are made of one secret of the deployment: the host key that callers see, and that of an authority which signs certificates for users of machines
//! (<https://www.openssh.com/txt/release-5.4>, PROTOCOL.certkeys). Neither can stand for the other.

use aws_lc_rs::hkdf;
use model::Timestamp;
use ssh_key::{Certificate, PrivateKey, PublicKey, certificate, private::Ed25519Keypair, private::KeypairData};
use zeroize::Zeroizing;

/// Length of the secret that the keys are made of.
pub const SECRET_BYTES: usize = 32;
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
}

/// The gateway's own keys.
#[derive(Debug)]
pub struct SshKeys {
    host: PrivateKey,
    authority: PrivateKey,
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
        Ok(Self { host: key(b"host", "countersign")?, authority: key(b"users of machines", "countersign user authority")? })
    }

    /// What callers see.
    #[must_use]
    pub const fn host(&self) -> &PrivateKey {
        &self.host
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
        let second = |at: Timestamp| u64::try_from(at.as_second()).unwrap_or_default();
        let from = second(now).saturating_sub(CLOCK_SKEW_S.unsigned_abs());
        let mut builder = certificate::Builder::new(random()?.to_vec(), key.public_key().key_data().clone(), from, second(valid_until))?;
        builder.cert_type(certificate::CertType::User)?.key_id(key_id)?.serial(u64::try_from(now.as_microsecond()).unwrap_or_default())?;
        for principal in principals {
            builder.valid_principal(principal)?;
        }
        for extension in EXTENSIONS {
            builder.extension(extension, "")?;
        }
        let certificate = builder.sign(&self.authority)?;
        Ok((key, certificate))
    }
}

/// A key for one session.
fn fresh_key() -> Result<PrivateKey, SshKeyError> {
    Ok(PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&*random()?)), "")?)
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
    fn one_secret_makes_the_same_two_keys_and_another_makes_others() {
        let [keys, again, other] = [[1; 32], [1; 32], [2; 32]].map(|secret| SshKeys::from_secret(&secret).unwrap());
        assert_eq!(keys.host().public_key(), again.host().public_key());
        assert_eq!(keys.authority().unwrap(), again.authority().unwrap());
        assert_ne!(keys.host().public_key(), other.host().public_key());
        assert_ne!(keys.host().public_key().key_data(), keys.authority.public_key().key_data());
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

    #[test]
    fn a_machine_is_known_by_its_key_and_not_by_what_is_written_beside_it() {
        let key = fresh_key().unwrap();
        let text = key.public_key().to_openssh().unwrap();
        assert!(is_among(key.public_key(), &["ssh-ed25519 nonsense".to_owned(), format!("{text} root@web1")]));
        assert!(!is_among(fresh_key().unwrap().public_key(), &[text]) && !is_among(key.public_key(), &[]));
    }
}
