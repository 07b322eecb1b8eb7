//! Names people choose. One rule for all of them, so that a name can stand in a file name, a URL, a Cedar entity id,
//! an `application_name` and a terminal without being quoted.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("{0} has more than {MAX_NAME_BYTES} bytes")]
    TooLong(&'static str),
    /// A character outside the allowed set, or a first character that is neither a letter nor a digit.
    #[error(
        "{what} `{text}` has a character that names may not have: use letters, digits, `-`, `_`, `.`, `@`, `+`, and begin with a letter or digit"
    )]
    Character {
        /// What was being named.
        what: &'static str,
        /// The text, control characters replaced, cut to forty characters.
        text: String,
    },
}

fn check(what: &'static str, text: &str, extra: &[u8]) -> Result<(), NameError> {
    let bytes = text.as_bytes();
    let Some(first) = bytes.first() else { return Err(NameError::Empty(what)) };
    if bytes.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong(what));
    }
    let fits = first.is_ascii_alphanumeric() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b) || extra.contains(b));
    if fits {
        return Ok(());
    }
    Err(NameError::Character { what, text: text.chars().take(40).map(|c| if c.is_control() { '?' } else { c }).collect() })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $extra:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text, $extra)?;
                Ok(Self(Arc::from(text)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
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

name!(
    /// The name of a connection, as in `dbname=prod-pg`.
    ConnectionName, "a connection name", b""
);
name!(
    /// The name an identity signs in with.
    IdentityName, "an identity name", b"@+"
);
name!(
    /// The name of a group of identities.
    GroupName, "a group name", b"@"
);
name!(
    /// The name of an environment such as `production`.
    EnvironmentName, "an environment name", b""
);
name!(
    /// The name of an identity provider such as `keycloak`.
    ProviderName, "the name of a provider", b""
);
name!(
    /// The name of a data class such as `email`.
    DataClassName, "a data class name", b""
);
name!(
    /// The `@id` of a policy, or the one made from its file and place (`file.cedar:3`).
    PolicyId, "a policy id", b":"
);

/// The text with every character that could deceive a reader written as `\u{…}`: controls (line feed and tab too),
/// bidirectional marks and overrides, zero-width characters, line and paragraph separators.
///
/// Used wherever something a peer chose is shown: listings, notices, logs, replays.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if deceives(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Like [`printable`], but line feeds and tabs stay: for a whole statement shown as a block of its own.
#[must_use]
pub fn printable_block(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if deceives(c) && c != '\n' && c != '\t' { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_deceive_a_reader_is_escaped() {
        assert_eq!(printable("a\u{202e}b\u{1b}[2J\n"), "a\\u{202e}b\\u{1b}[2J\\u{a}");
        assert_eq!(printable_block("a\n\tb\r"), "a\n\tb\\u{d}");
        assert_eq!(printable("naïve 名前"), "naïve 名前");
    }

    #[test]
    fn names_that_would_need_quoting_are_refused() {
        assert!("prod-pg".parse::<ConnectionName>().is_ok());
        assert!("alice@example.com".parse::<IdentityName>().is_ok());
        for text in ["", "-x", "a b", "a/b", "a\u{202e}b", "a\nb", "é", &"x".repeat(64)] {
            assert!(text.parse::<ConnectionName>().is_err(), "{text:?}");
        }
    }
}
