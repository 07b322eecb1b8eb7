//! Identifiers people type and paste: a prefix letter, `_`, and twelve characters of Crockford base 32 (60 random bits).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford's alphabet: no `i`, `l`, `o`, `u`, so that an id read aloud is typed right.
/// <https://www.crockford.com/base32.html>
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 12;
const BITS: u64 = (1 << 60) - 1;

/// Why a text is not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: expected `{prefix}_` and twelve letters or digits")]
pub struct IdError {
    what: &'static str,
    prefix: char,
    text: String,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// Makes an identifier of 60 bits of the caller's randomness; the upper four bits are dropped.
            #[must_use]
            pub const fn from_random(random: u64) -> Self {
                Self(random & BITS)
            }

            /// The identifier as a number below 2^60.
            #[must_use]
            pub const fn as_u64(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_digits(f, $prefix, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_digits(f, $prefix, self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                read_digits($prefix, text).map(Self).ok_or_else(|| IdError {
                    what: $what,
                    prefix: $prefix,
                    text: text.chars().take(40).map(|c| if c.is_control() { '?' } else { c }).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier!(
    /// One authenticated conversation with one connection; also names its recording.
    SessionId, 's', "a session id"
);
identifier!(
    /// One operation waiting for signatures.
    HoldId, 'h', "the id of a held operation"
);
identifier!(
    /// One token, listed without its secret part.
    TokenId, 't', "a token id"
);
identifier!(
    /// One sign-in at an identity provider.
    SignInId, 'n', "the id of a sign-in"
);
identifier!(
    /// One rule that says which tokens of an issuer are a workload's.
    TrustId, 'r', "the id of a trust rule"
);
identifier!(
    /// One request for access, and the grant it may become.
    RequestId, 'q', "the id of a request"
);
identifier!(
    /// One public key of a workload or agent.
    IdentityKeyId, 'k', "the id of a key"
);
identifier!(
    /// One identity; stays when its name is given to somebody else.
    IdentityId, 'i', "an identity id"
);

fn write_digits(f: &mut fmt::Formatter<'_>, prefix: char, value: u64) -> fmt::Result {
    use fmt::Write;
    f.write_char(prefix)?;
    f.write_char('_')?;
    for place in (0..DIGITS).rev() {
        let digit = usize::try_from((value >> (place * 5)) & 31).unwrap_or(0);
        f.write_char(char::from(ALPHABET.get(digit).copied().unwrap_or(b'0')))?;
    }
    Ok(())
}

fn read_digits(prefix: char, text: &str) -> Option<u64> {
    let digits = text.strip_prefix(prefix)?.strip_prefix('_')?;
    if digits.len() != DIGITS {
        return None;
    }
    digits.bytes().try_fold(0u64, |value, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte.to_ascii_lowercase())?;
        Some((value << 5) | u64::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_as_it_was_written() {
        for random in [0, 1, 31, 32, 0x0123_4567_89ab_cdef, u64::MAX] {
            let id = SessionId::from_random(random);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().len(), 14);
        }
    }

    #[test]
    fn another_kind_of_id_is_not_accepted() {
        let token = TokenId::from_random(7).to_string();
        assert!(token.parse::<SessionId>().is_err());
        for text in ["", "s_", "s_000000000000x", "s_00000000000l", "t-000000000000"] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
