//! Codes of an authenticator app, the second factor of built-in users: [RFC 6238](https://www.rfc-editor.org/rfc/rfc6238) as every app has it, HMAC-SHA-1, six digits,
//! thirty seconds.
//!
//! Apps compute with SHA-1 whatever they are told; that collisions of it can be found is of no use against an HMAC (RFC 4226, appendix B.2). What a
//! code is of is handed back as its step, so that whoever stores steps lets each code work once.

use aws_lc_rs::hmac;
use model::{IdentityName, Secret, Timestamp};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::token::NoRandomness;

/// Bytes of a secret: as many as the hash has (RFC 4226 section 4, R6).
pub const SECRET_BYTES: usize = 20;
/// How long a code is shown, in seconds.
pub const STEP_S: i64 = 30;
/// How many codes before and after the present one are right: clocks differ, and people type (RFC 6238 section 5.2).
const SKEW_STEPS: i64 = 1;
/// RFC 4648 section 6.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A secret of the system's randomness, as raw bytes.
///
/// # Errors
/// When the system gives none.
pub fn fresh() -> Result<Secret, NoRandomness> {
    let mut random = vec![0; SECRET_BYTES];
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => Ok(Secret::new(random)),
        Err(_) => Err(NoRandomness),
    }
}

/// The secret as people type it into an app.
#[must_use]
pub fn typed(secret: &Secret) -> Secret {
    let mut text = Vec::with_capacity(secret.reveal().len().div_ceil(5) * 8);
    let (mut waiting, mut bits) = (0u32, 0u32);
    for byte in secret.reveal() {
        waiting = (waiting << 8 | u32::from(*byte)) & 0xfff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(letter(waiting >> bits));
        }
    }
    if bits > 0 {
        text.push(letter(waiting << (5 - bits)));
    }
    Secret::new(text)
}

fn letter(value: u32) -> u8 {
    let place = usize::try_from(value & 31).unwrap_or(0);
    BASE32.get(place).copied().unwrap_or(b'A')
}

/// What an app reads, from a QR code or a link: <https://github.com/google/google-authenticator/wiki/Key-Uri-Format>.
#[must_use]
pub fn uri(secret: &Secret, name: &IdentityName) -> Secret {
    let typed = typed(secret);
    // Of what a name may hold, apps read only this in another way.
    let name = name.as_str().replace('+', "%2B");
    let end = b"&issuer=Countersign&algorithm=SHA1&digits=6&period=30";
    Secret::new([b"otpauth://totp/Countersign:", name.as_bytes(), b"?secret=", typed.reveal(), end].concat())
}

/// The step that a code is of, if it is right at `now`: larger than that of every code before it. Spaces in it are passed over.
#[must_use]
pub fn step_of(secret: &Secret, code: &Secret, now: Timestamp) -> Option<i64> {
    let given: Vec<u8> = code.reveal().iter().copied().filter(|byte| *byte != b' ').take(7).collect();
    let given: [u8; 6] = given.try_into().ok()?;
    let present = now.as_second().div_euclid(STEP_S);
    let (mut found, mut step) = (Choice::from(0), 0);
    for candidate in present - SKEW_STEPS..=present + SKEW_STEPS {
        let right = digits(secret, candidate).ct_eq(&given);
        step.conditional_assign(&candidate, right);
        found |= right;
    }
    bool::from(found).then_some(step)
}

/// The six digits an app shows for a step: RFC 4226 section 5.3.
#[must_use]
pub fn digits(secret: &Secret, step: i64) -> [u8; 6] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.reveal());
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let from = usize::from(tag.as_ref().last().copied().unwrap_or(0) & 15);
    let four = tag.as_ref().get(from..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
    let mut rest = (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000;
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    /// RFC 6238, appendix B: the last six of its eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let key = secret("12345678901234567890");
        for (second, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(step_of(&key, &secret(code), at(second)), Some(second / 30), "{second}");
        }
    }

    #[test]
    fn a_code_is_right_in_its_thirty_seconds_and_those_before_and_after() {
        let key = secret("12345678901234567890");
        // Of step 1: seconds 30 to 59.
        for (second, right) in [(-1, false), (0, true), (29, true), (30, true), (59, true), (60, true), (89, true), (90, false)] {
            assert_eq!(step_of(&key, &secret("287 082"), at(second)), right.then_some(1), "{second}");
        }
        for wrong in ["287083", "28708", "2870820", "0287082", "", "28708２", "abcdef", "-28708"] {
            assert_eq!(step_of(&key, &secret(wrong), at(59)), None, "{wrong}");
        }
        assert_eq!(step_of(&secret("12345678901234567891"), &secret("287082"), at(59)), None);
    }

    /// RFC 4648 section 10.
    #[test]
    fn apps_are_told_the_secret_as_they_read_it() {
        for (bytes, text) in [("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("fooba", "MZXW6YTB"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(typed(&secret(bytes)).reveal_str(), Some(text));
        }
        let uri = uri(&secret("12345678901234567890"), &"alice+dba@example.com".parse().unwrap());
        let expected = "otpauth://totp/Countersign:alice%2Bdba@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Countersign&algorithm=SHA1&digits=6&period=30";
        assert_eq!(uri.reveal_str(), Some(expected));
        let (first, second) = (fresh().unwrap(), fresh().unwrap());
        assert!(first.reveal().len() == SECRET_BYTES && first.reveal() != second.reveal());
    }
}
