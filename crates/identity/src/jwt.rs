//! Signed tokens of others (RFC 7519, RFC 8725): which key speaks for one, and what it claims.
//!
//! A key is found by the token's `kid` among those its issuer publishes, never by anything else the token says of keys: `jku`, `jwk`, `x5u` and
//! `x5c` are not looked at. Only asymmetric algorithms are accepted, and only those a key is for. Claims are looked at after the signature.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation,
    jwk::{AlgorithmParameters, Jwk, PublicKeyUse},
};
use model::Timestamp;
use serde_json::{Map, Value};

/// Longest token that a caller may present, in bytes.
pub const MAX_PRESENTED_BYTES: usize = 64 * 1024;
/// How far clocks may differ, in seconds.
pub const LEEWAY_S: i64 = 60;

/// Algorithms whose keys are not shared. `none` and those with shared secrets are not among them.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any token should be.
    #[error("the token has more than {MAX_PRESENTED_BYTES} bytes")]
    TooLong,
    /// It is no JWS of three parts with a JSON header and JSON claims.
    #[error("the token cannot be read")]
    Malformed,
    /// Its algorithm is not accepted.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// Its issuer publishes no key it could be signed with.
    #[error("the token is signed with a key that its issuer does not publish")]
    UnknownKey,
    /// Its signature is not that key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing.
    #[error("the token has no claim `{0}`")]
    Missing(&'static str),
    /// Somebody else issued it.
    #[error("the token was issued by somebody else")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for somebody else")]
    Audience,
    /// It is of another kind than the one that is wanted here.
    #[error("the token is of another kind than the one that is wanted here")]
    Kind,
    /// Its time is over.
    #[error("the token expired at {0:.0}")]
    Expired(Timestamp),
    /// Its time has not come: clocks differ, or it was made up.
    #[error("the token works from {0:.0} on: the clocks differ by more than {LEEWAY_S} seconds")]
    NotYet(Timestamp),
    /// It answers another request.
    #[error("the token answers another sign-in")]
    Nonce,
}

/// What a token's header says, before anything of it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which algorithm.
    pub(crate) algorithm: Algorithm,
    /// Which key.
    pub(crate) key: Option<String>,
    /// What kind of token: `JWT`, `at+jwt`, `logout+jwt`.
    pub(crate) kind: Option<String>,
}

impl Header {
    /// Reads the header of a token.
    ///
    /// # Errors
    /// It has none, or one with an algorithm that is not accepted.
    pub fn read(token: &str) -> Result<Self, TokenError> {
        use jsonwebtoken::errors::ErrorKind;
        let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
            _ => TokenError::Malformed,
        })?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(TokenError::Algorithm);
        }
        Ok(Self { algorithm: header.alg, key: header.kid, kind: header.typ })
    }

    /// What kind of token it says it is.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Whether a key may have made the signature of a token with this header.
    pub(crate) fn fits(&self, key: &Jwk) -> bool {
        let family = match key.algorithm {
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa,
            AlgorithmParameters::EllipticCurve(_) => AlgorithmFamily::Ec,
            AlgorithmParameters::OctetKeyPair(_) => AlgorithmFamily::Ed,
            _ => return false,
        };
        let named = self.key.as_ref().is_none_or(|id| key.common.key_id.as_ref() == Some(id));
        let for_signing = !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption));
        let same = key.common.key_algorithm.is_none_or(|algorithm| Algorithm::try_from(algorithm).is_ok_and(|algorithm| algorithm == self.algorithm));
        named && for_signing && same && self.algorithm.family() == family
    }
}

/// Whether a token is of a kind that is for signing in: an ID token says `JWT` or nothing, so that no access token or logout token passes for one.
#[must_use]
pub fn is_plain(kind: Option<&str>) -> bool {
    kind.is_none_or(|kind| kind.eq_ignore_ascii_case("jwt") || kind.eq_ignore_ascii_case("application/jwt"))
}

/// What a token with a good signature claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// The claims of a token that `key` signed.
    ///
    /// # Errors
    /// It did not.
    pub(crate) fn signed(token: &str, header: &Header, key: &Jwk) -> Result<Self, TokenError> {
        let key = DecodingKey::from_jwk(key).map_err(|_| TokenError::UnknownKey)?;
        // Claims are looked at below: against the caller's clock, and with an error for each that tells what is wrong.
        let mut validation = Validation::new(header.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        match jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation) {
            Ok(decoded) => Ok(Self(decoded.claims)),
            Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::InvalidSignature) => Err(TokenError::Signature),
            Err(_) => Err(TokenError::Malformed),
        }
    }

    /// Claims that came from the issuer itself, unsigned.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().map(Self)
    }

    /// A claim, by its name or by the names on the way to it joined by `.`: a claim of the whole name comes first.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        fn within<'a>(members: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
            // Names may have dots of their own: the longest that is there comes first.
            members.get(path).or_else(|| {
                path.rmatch_indices('.').find_map(|(at, _)| {
                    let (name, rest) = (path.get(..at)?, path.get(at + 1..)?);
                    within(members.get(name)?.as_object()?, rest)
                })
            })
        }
        within(&self.0, path)
    }

    /// Claims of a token that is not checked: to see whose it says it is.
    pub(crate) fn unchecked(token: &str) -> Option<Self> {
        let short = token.len() <= MAX_PRESENTED_BYTES;
        short.then(|| jsonwebtoken::dangerous::insecure_decode_claims(token).ok().map(Self)).flatten()
    }

    /// A claim that is a text, a number or a truth, as text.
    #[must_use]
    pub fn plain(&self, path: &str) -> Option<String> {
        match self.get(path)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// A claim that is a list of texts, or one text.
    #[must_use]
    pub fn texts(&self, path: &str) -> Vec<&str> {
        match self.get(path) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// How many there are in a claim that is a list, or the one that is none.
    pub(crate) fn members(&self, path: &str) -> usize {
        match self.get(path) {
            None => 0,
            Some(Value::Array(list)) => list.len(),
            Some(_) => 1,
        }
    }

    /// A claim that is a time (RFC 7519 section 2, NumericDate).
    #[must_use]
    pub fn time(&self, path: &str) -> Option<Timestamp> {
        let value = self.get(path)?;
        let seconds = value.as_i64().or_else(|| value.as_f64().filter(|seconds| seconds.abs() < 1e15).map(|seconds| seconds as i64))?;
        Timestamp::from_second(seconds).ok()
    }

    /// A claim that must be there.
    pub(crate) fn must(&self, name: &'static str) -> Result<&str, TokenError> {
        self.text(name).filter(|text| !text.is_empty()).ok_or(TokenError::Missing(name))
    }

    /// Refuses a token of another issuer.
    pub(crate) fn must_be_from(&self, issuer: &str) -> Result<(), TokenError> {
        if self.must("iss")? == issuer { Ok(()) } else { Err(TokenError::Issuer) }
    }

    /// Refuses a token for others.
    pub(crate) fn must_be_for(&self, audience: &str) -> Result<(), TokenError> {
        match self.texts("aud") {
            none if none.is_empty() => Err(TokenError::Missing("aud")),
            all if all.contains(&audience) => Ok(()),
            _ => Err(TokenError::Audience),
        }
    }

    /// Refuses a token whose time is over or has not come. It must say until when it works, or it works for ever.
    pub(crate) fn must_be_current(&self, now: Timestamp) -> Result<(), TokenError> {
        let expires_at = self.time("exp").ok_or(TokenError::Missing("exp"))?;
        if expires_at.as_second().saturating_add(LEEWAY_S) <= now.as_second() {
            return Err(TokenError::Expired(expires_at));
        }
        self.must_have_begun(now)
    }

    /// Refuses a token from the future.
    pub(crate) fn must_have_begun(&self, now: Timestamp) -> Result<(), TokenError> {
        for name in ["nbf", "iat"] {
            if let Some(at) = self.time(name)
                && at.as_second() > now.as_second().saturating_add(LEEWAY_S)
            {
                return Err(TokenError::NotYet(at));
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn of(value: Value) -> Self {
        Self(value.as_object().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_by_the_way_to_it() {
        let claims = Claims::of(json!({ "a": { "b": ["x", 1, "y"] }, "https://example.com/groups": "one", "c.d": "whole" }));
        assert_eq!(claims.texts("a.b"), ["x", "y"]);
        assert_eq!(claims.texts("https://example.com/groups"), ["one"]);
        assert_eq!(claims.text("c.d"), Some("whole"));
        let claims = Claims::of(json!({ "a": { "b": 1 }, "kubernetes.io": { "serviceaccount": { "uid": "u" } } }));
        assert_eq!(claims.text("kubernetes.io.serviceaccount.uid"), Some("u"));
        assert_eq!(claims.get("a.b.c"), None);
        assert_eq!(claims.get("z"), None);
    }

    #[test]
    fn a_token_has_its_time() {
        let now = at(1_000_000);
        let current = |claims: Value| Claims::of(claims).must_be_current(now);
        assert_eq!(current(json!({ "exp": 1_000_001 })), Ok(()));
        assert_eq!(current(json!({ "exp": 999_941 })), Ok(()), "clocks may differ by a minute");
        assert_eq!(current(json!({ "exp": 1_000_000.5 })), Ok(()));
        assert_eq!(current(json!({ "exp": 999_940 })), Err(TokenError::Expired(at(999_940))));
        assert_eq!(current(json!({})), Err(TokenError::Missing("exp")));
        assert_eq!(current(json!({ "exp": "never" })), Err(TokenError::Missing("exp")));
        assert_eq!(current(json!({ "exp": 1e300 })), Err(TokenError::Missing("exp")));
        assert_eq!(current(json!({ "exp": 2_000_000, "nbf": 1_000_061 })), Err(TokenError::NotYet(at(1_000_061))));
        assert_eq!(current(json!({ "exp": 2_000_000, "iat": 1_000_061 })), Err(TokenError::NotYet(at(1_000_061))));
        assert_eq!(current(json!({ "exp": 2_000_000, "iat": 1_000_060, "nbf": 1_000_060 })), Ok(()));
    }

    #[test]
    fn a_token_is_for_whom_it_says() {
        let of = |aud: Value| Claims::of(json!({ "aud": aud })).must_be_for("us");
        assert_eq!(of(json!("us")), Ok(()));
        assert_eq!(of(json!(["them", "us"])), Ok(()));
        assert_eq!(of(json!(["them", "us too"])), Err(TokenError::Audience));
        assert_eq!(of(json!([])), Err(TokenError::Missing("aud")));
        assert_eq!(of(json!({ "us": true })), Err(TokenError::Missing("aud")));
    }

    #[test]
    fn what_is_no_token_is_refused_by_its_header() {
        let header = |json: &str| Header::read(&format!("{}.e30.AA", base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, json)));
        assert_eq!(header(r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#).unwrap().key.as_deref(), Some("k"));
        for text in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":"HS256"}"#, r#"{"alg":"HS512","kid":"k"}"#] {
            assert!(matches!(header(text), Err(TokenError::Algorithm | TokenError::Malformed)), "{text}");
        }
        for text in ["", "a.b", "a.b.c.d", "....", "e30.e30.AA", "é.é.é"] {
            assert_eq!(Header::read(text), Err(TokenError::Malformed), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(header(&format!("{{\"alg\":\"RS256\",\"x\":{deep}}}")), Err(TokenError::Malformed));
    }
}
