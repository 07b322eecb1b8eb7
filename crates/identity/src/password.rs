//! Passwords of built-in users: argon2id, stored as PHC strings.
//!
//! Both functions take tens of milliseconds of processor time and 19 MiB of memory on purpose: call them on a blocking thread.

use argon2::{
    Argon2, PasswordHasher, PasswordVerifier,
    password_hash::phc::{Output, PasswordHash, Salt},
};
use model::Secret;
use zeroize::Zeroize;

/// Shortest password that is accepted, in bytes.
pub const MIN_PASSWORD_BYTES: usize = 12;
/// Longest password that is accepted, in bytes. Longer ones are refused, never cut.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// Random bytes in a salt.
const SALT_BYTES: usize = 16;
/// Largest cost a stored hash may ask for, in KiB: a planted row must not make a sign-in eat the machine's memory.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// Most passes a stored hash may ask for.
const MAX_PASSES: u32 = 16;

/// Why a new password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// Fewer than [`MIN_PASSWORD_BYTES`].
    #[error("the password is too short: use at least {MIN_PASSWORD_BYTES} characters")]
    TooShort,
    /// More than [`MAX_PASSWORD_BYTES`].
    #[error("the password is too long: use at most {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    /// Begins like one of our tokens; it would be taken for one when it is presented.
    #[error("the password begins like a Countersign token (`cs_`): choose another")]
    LooksLikeToken,
    /// The system gave no randomness, or the hash could not be computed.
    #[error("the password could not be hashed")]
    Failed,
}

/// The PHC string (`$argon2id$v=19$m=19456,t=2,p=1$…`) of a new password, with a fresh random salt.
///
/// # Errors
/// When the password breaks a rule, or the system gives no randomness.
pub fn hash(password: &Secret) -> Result<String, PasswordRefused> {
    check(password)?;
    let mut salt = [0u8; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| PasswordRefused::Failed)?;
    hash_with_salt(password, &salt)
}

/// Whether `password` is the one `stored` was made of. `None`, for a name that is unknown or has no password, costs the same
/// and is never right.
#[must_use]
pub fn verify(password: &Secret, stored: Option<&str>) -> bool {
    let dummy = dummy();
    let known = stored.and_then(|phc| PasswordHash::new(phc).ok()).filter(is_ours);
    let right = compute(password, known.as_ref().unwrap_or(&dummy));
    right && known.is_some()
}

fn check(password: &Secret) -> Result<(), PasswordRefused> {
    let bytes = password.reveal();
    if bytes.starts_with(crate::token::PREFIX) {
        return Err(PasswordRefused::LooksLikeToken);
    }
    match bytes.len() {
        0..MIN_PASSWORD_BYTES => Err(PasswordRefused::TooShort),
        MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES => Ok(()),
        _ => Err(PasswordRefused::TooLong),
    }
}

fn hash_with_salt(password: &Secret, salt: &[u8]) -> Result<String, PasswordRefused> {
    let phc: PasswordHash = Argon2::default().hash_password_with_salt(password.reveal(), salt).map_err(|_| PasswordRefused::Failed)?;
    Ok(phc.to_string())
}

fn compute(password: &Secret, phc: &PasswordHash) -> bool {
    // What is longer than any stored password costs a computation like all others, on nothing.
    let bytes = password.reveal();
    let fits = bytes.len() <= MAX_PASSWORD_BYTES;
    Argon2::default().verify_password(if fits { bytes } else { b"" }, phc).is_ok() && fits
}

/// Whether a stored string is argon2id at a cost a sign-in may pay.
fn is_ours(phc: &PasswordHash) -> bool {
    let cost = |name: &str| phc.params.get_decimal(name).unwrap_or(u32::MAX);
    phc.algorithm.as_str() == "argon2id" && cost("m") <= MAX_MEMORY_KIB && cost("t") <= MAX_PASSES && cost("p") == 1
}

/// A hash nobody knows a password of, at the cost new hashes have. The all-zero output is no hash of anything anyone could find.
fn dummy() -> PasswordHash {
    let params = argon2::Params::default();
    PasswordHash {
        algorithm: argon2::Algorithm::Argon2id.ident(),
        version: Some(argon2::Version::V0x13.into()),
        params: (&params).try_into().unwrap_or_default(),
        salt: Salt::new(&[0u8; SALT_BYTES]).ok(),
        hash: Output::new(&[0u8; 32]).ok(),
    }
}

/// A password for a first sign-in, shown once: 120 random bits as 24 characters of base 32.
///
/// # Errors
/// When the system gives no randomness.
pub fn one_time() -> Result<Secret, PasswordRefused> {
    let mut random = [0u8; 15];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| PasswordRefused::Failed)?;
    let text = crate::token::base32(&random);
    random.zeroize();
    Ok(Secret::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[test]
    fn a_password_is_verified_against_its_own_hash_only() {
        let phc = hash(&secret("correct horse battery")).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify(&secret("correct horse battery"), Some(&phc)));
        assert!(!verify(&secret("correct horse batterz"), Some(&phc)));
        assert!(!verify(&secret(""), Some(&phc)));
        assert_ne!(phc, hash(&secret("correct horse battery")).unwrap(), "the salt is fresh");
    }

    /// A vector of the C reference implementation's `test.c`: version 0x13, t=2, m=2^16 KiB, p=1, argon2id, "password", "somesalt".
    #[test]
    fn the_string_is_the_reference_implementations() {
        let made = hash_with_salt(&secret("password"), b"somesalt").unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$"), "{made}");
        let stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify(&secret("password"), Some(stored)));
        assert!(!verify(&secret("passwore"), Some(stored)));
    }

    #[test]
    fn an_unknown_name_costs_a_computation_and_is_never_right() {
        assert!(!verify(&secret("anything at all"), None));
        assert!(!verify(&secret(""), None));
        assert!(dummy().hash.is_some() && dummy().salt.is_some());
        assert_eq!(dummy().params.get_decimal("m"), Some(argon2::Params::DEFAULT_M_COST));
    }

    #[test]
    fn a_stored_string_that_is_not_ours_is_never_right() {
        for stored in ["", "x", "$argon2id$", "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"] {
            assert!(!verify(&secret("password"), Some(stored)), "{stored}");
        }
        let huge = "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(!verify(&secret("password"), Some(huge)));
    }

    #[test]
    fn passwords_that_break_a_rule_are_refused() {
        assert_eq!(hash(&secret("short")), Err(PasswordRefused::TooShort));
        assert_eq!(hash(&secret(&"x".repeat(1025))), Err(PasswordRefused::TooLong));
        assert_eq!(hash(&secret("cs_c_0123456789abcdef")), Err(PasswordRefused::LooksLikeToken));
        assert!(!verify(&secret(&"x".repeat(1025)), None));
    }

    #[test]
    fn a_one_time_password_passes_its_own_rules() {
        let first = one_time().unwrap();
        assert_eq!(first.reveal().len(), 24);
        assert!(check(&first).is_ok());
        assert_ne!(first.reveal(), one_time().unwrap().reveal());
    }
}
