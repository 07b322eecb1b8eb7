//! Tokens: what they look like, how one is made and recognised. Only the SHA-256 of a token is ever stored.
//!
//! `cs_c_` (opens connections), `cs_a_` (calls the API) or `cs_d_` (lets an agent act for somebody), then 32 characters for 160 random bits and 6 for a checksum, in
//! Crockford's base 32, lower case: 43 characters, matched by `cs_[cad]_[0-9a-hjkmnp-tv-z]{38}`, so that secret scanners find one that leaked
//! and a cut or mistyped one is told apart without asking the store. The class is part of what is hashed: one never passes for the other.

use std::fmt;

use aws_lc_rs::digest;
use model::{Secret, token::TokenUse};
use zeroize::{Zeroize, Zeroizing};

/// What every token begins with, whatever its class.
pub const PREFIX: &[u8] = b"cs_";
/// Random bytes in a token.
pub const RANDOM_BYTES: usize = 20;
/// Crockford's alphabet: no `i`, `l`, `o`, `u`. <https://www.crockford.com/base32.html>
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BODY_CHARACTERS: usize = 32;
const CHECK_CHARACTERS: usize = 6;

/// SHA-256 of a token's text: what the store keeps and looks up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in time that does not depend on the bytes.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_slice(), other).into()
    }
}

impl fmt::Display for TokenDigest {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

/// A token somebody presented: its class, and the digest to look it up by. Whether it is known, live and theirs is the store's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentedToken {
    /// What it is for.
    pub class: TokenUse,
    /// What to look up.
    pub digest: TokenDigest,
}

/// Why a text is no token. Told apart in logs and tests; the caller hears the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedToken {
    /// It does not begin with `cs_c_`, `cs_a_` or `cs_d_`: perhaps a password.
    #[error("not a token")]
    Prefix,
    /// It begins like one and is too short or too long.
    #[error("a token of {0} characters, expected 43: it was cut or joined")]
    Length(usize),
    /// A character that tokens do not have.
    #[error("a token with a character outside its alphabet")]
    Character,
    /// Its checksum is wrong: mistyped or made up.
    #[error("a token whose checksum is wrong")]
    Checksum,
}

/// Makes a token of the caller's randomness. The text is shown to its owner once; the digest is stored.
#[must_use]
pub fn mint(class: TokenUse, random: &[u8; RANDOM_BYTES]) -> (Secret, TokenDigest) {
    let mut body = base32(random);
    let mut check = checksum(class, body.as_bytes());
    let text = [prefix(class), &body, &check].concat();
    body.zeroize();
    check.zeroize();
    let secret = Secret::from(text);
    let digest = sha256(secret.reveal());
    (secret, digest)
}

/// Makes a token of the system's randomness.
///
/// # Errors
/// When the system gives none.
pub fn mint_fresh(class: TokenUse) -> Result<(Secret, TokenDigest), NoRandomness> {
    let mut random = Zeroizing::new([0u8; RANDOM_BYTES]);
    aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(mint(class, &random))
}

/// The system's source of randomness failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's source of randomness failed")]
pub struct NoRandomness;

/// Reads a presented token.
///
/// # Errors
/// When it is not one; [`MalformedToken::Prefix`] means that it may be a password.
pub fn parse(presented: &Secret) -> Result<PresentedToken, MalformedToken> {
    let bytes = presented.reveal();
    let (class, rest) = [TokenUse::Connect, TokenUse::Api, TokenUse::Delegate]
        .into_iter()
        .find_map(|class| Some((class, bytes.strip_prefix(prefix(class).as_bytes())?)))
        .ok_or(MalformedToken::Prefix)?;
    if rest.len() != BODY_CHARACTERS + CHECK_CHARACTERS {
        return Err(MalformedToken::Length(bytes.len()));
    }
    if !rest.iter().all(|byte| ALPHABET.contains(byte)) {
        return Err(MalformedToken::Character);
    }
    let (body, check) = rest.split_at(BODY_CHARACTERS);
    let expected = Zeroizing::new(checksum(class, body));
    if expected.as_bytes() != check {
        return Err(MalformedToken::Checksum);
    }
    Ok(PresentedToken { class, digest: sha256(bytes) })
}

/// The digest of a well-formed token.
///
/// # Errors
/// When the text is not a token.
pub fn digest(presented: &Secret) -> Result<TokenDigest, MalformedToken> {
    parse(presented).map(|token| token.digest)
}

const fn prefix(class: TokenUse) -> &'static str {
    match class {
        TokenUse::Connect => "cs_c_",
        TokenUse::Api => "cs_a_",
        TokenUse::Delegate => "cs_d_",
        // Nobody is given a text of these, and none is read.
        TokenUse::SshKey | TokenUse::SshCertificate => "cs_s_",
    }
}

/// The first 30 bits of SHA-256 over class and body. It finds typing errors; it protects nothing.
fn checksum(class: TokenUse, body: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"countersign token checksum v1 ");
    context.update(prefix(class).as_bytes());
    context.update(body);
    let mut text = base32(context.finish().as_ref());
    text.truncate(CHECK_CHARACTERS);
    text
}

/// SHA-256, as what the store keeps of a text that somebody presents.
#[must_use]
pub fn sha256(bytes: &[u8]) -> TokenDigest {
    let mut out = [0u8; 32];
    out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    TokenDigest(out)
}

/// Big-endian base 32; the last character is padded with zero bits.
pub(crate) fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut waiting, mut bits) = (0u32, 0u32);
    for byte in bytes {
        waiting = (waiting << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(character(waiting >> bits));
            waiting &= (1 << bits) - 1;
        }
    }
    if bits > 0 {
        text.push(character(waiting << (5 - bits)));
    }
    text
}

fn character(value: u32) -> char {
    let place = usize::try_from(value & 31).unwrap_or(0);
    char::from(ALPHABET.get(place).copied().unwrap_or(b'0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(secret: &Secret) -> String {
        secret.reveal_str().unwrap().to_owned()
    }

    /// Computed once outside Rust, with Python's hashlib: tokens in use must stay valid.
    #[test]
    fn a_token_is_what_it_always_was() {
        let (secret, digest) = mint(TokenUse::Connect, &[0; RANDOM_BYTES]);
        assert_eq!(text(&secret), "cs_c_00000000000000000000000000000000zb0vjh");
        assert_eq!(digest.to_string(), "8d83ffcfb36cd30dae355147d2182ae71d6233448b544abfef16659e76f31d8f");
        let (secret, _) = mint(TokenUse::Api, b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\xfc\xfd\xfe\xff");
        assert_eq!(text(&secret), "cs_a_000g40r40m30e209185gr38e1zyfvzqzg0c631");
    }

    #[test]
    fn base_32_is_crockfords() {
        assert_eq!(base32(b"\xff\xff\xff\xff\xff"), "zzzzzzzz");
        assert_eq!(base32(b"foobar"), "csqpyrk1e8"); // RFC 4648 section 10, MZXW6YTBOI, in Crockford's digits
        assert_eq!(base32(b""), "");
    }

    #[test]
    fn each_way_of_being_wrong_has_its_name() {
        let parse = |text: &str| parse(&Secret::from(text.to_owned()));
        assert_eq!(parse("hunter2"), Err(MalformedToken::Prefix));
        assert_eq!(parse(""), Err(MalformedToken::Prefix));
        assert_eq!(parse("cs_x_00000000000000000000000000000000aaaaaa"), Err(MalformedToken::Prefix));
        assert_eq!(parse("cs_c_"), Err(MalformedToken::Length(5)));
        assert_eq!(parse("cs_c_0000000000000000000000000000000000000u"), Err(MalformedToken::Character));
        assert_eq!(parse("cs_c_00000000000000000000000000000000zzzzzz"), Err(MalformedToken::Checksum));
    }

    /// WEB-09: a token of one class is never taken for the other's.
    #[test]
    fn web_09_the_class_cannot_be_exchanged() {
        let (secret, _) = mint(TokenUse::Connect, &[7; RANDOM_BYTES]);
        for other in ["cs_a_", "cs_d_"] {
            let forged = text(&secret).replacen("cs_c_", other, 1);
            assert_eq!(parse(&Secret::from(forged)), Err(MalformedToken::Checksum));
        }
    }

    #[test]
    fn fresh_tokens_differ_and_debug_shows_nothing() {
        let (first, digest) = mint_fresh(TokenUse::Api).unwrap();
        let (second, _) = mint_fresh(TokenUse::Api).unwrap();
        assert_ne!(first.reveal(), second.reveal());
        assert_eq!(format!("{digest:?}"), "TokenDigest(…)");
        assert!(digest.matches(digest.as_bytes()) && !digest.matches(b"short"));
    }

    proptest! {
        #[test]
        fn what_is_minted_is_recognised(random: [u8; RANDOM_BYTES], api: bool) {
            let class = if api { TokenUse::Api } else { TokenUse::Connect };
            let (secret, digest) = mint(class, &random);
            prop_assert_eq!(secret.reveal().len(), 43);
            prop_assert_eq!(parse(&secret), Ok(PresentedToken { class, digest }));
        }

        #[test]
        fn one_changed_character_is_noticed(random: [u8; RANDOM_BYTES], place in 5usize..43, other in 0usize..32) {
            let (secret, _) = mint(TokenUse::Connect, &random);
            let mut bytes = secret.reveal().to_vec();
            prop_assume!(bytes[place] != ALPHABET[other]);
            bytes[place] = ALPHABET[other];
            prop_assert_eq!(parse(&Secret::new(bytes)), Err(MalformedToken::Checksum));
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            let _ = parse(&Secret::new(bytes.clone()));
            let mut prefixed = b"cs_c_".to_vec();
            prefixed.extend(bytes);
            let _ = parse(&Secret::new(prefixed));
        }
    }
}
