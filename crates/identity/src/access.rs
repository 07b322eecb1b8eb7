//! Tokens of this gateway as others can read them: JWTs (RFC 9068), signed with a key of the gateway's own.
//!
//! What one says is for whoever wants to read it; what it permits is the row that its id names, so that a revocation holds at once. `at+jwt` in the header keeps it apart from every
//! other signed token, and its text, kept as a digest beside the id, from every other with that id.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use model::{Secret, Timestamp, TokenId};
use serde_json::{Map, Value, json};

use crate::{
    client_key::{KeyProblem, PrivateKey},
    gateway_url::GatewayUrl,
    jwt::{Header, TokenError},
};

/// Longest such token, in bytes: it is a password in PostgreSQL's protocol, which takes 65,535.
pub const MAX_ACCESS_BYTES: usize = 16 * 1024;
/// Its type: RFC 9068 section 2.1.
const KIND: &str = "at+jwt";

/// What such tokens are signed with.
#[derive(Debug)]
pub struct Signer(PrivateKey);

impl Signer {
    /// A signer of 32 secret bytes.
    ///
    /// # Errors
    /// They are not 32.
    pub fn from_seed(seed: &[u8]) -> Result<Self, KeyProblem> {
        PrivateKey::from_seed(seed).map(Self)
    }

    /// A token that claims this.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn sign(&self, claims: &Value) -> Result<Secret, KeyProblem> {
        let public = self.0.public();
        self.0.sign(&json!({ "alg": public.algorithm(), "kid": public.thumbprint(), "typ": KIND }), claims).map(Secret::from)
    }

    /// The key to check them with, as a set: RFC 7517 section 5.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let public = self.0.public();
        let mut key: Map<String, Value> = serde_json::from_str(&public.to_jwk()).unwrap_or_default();
        key.insert("kid".to_owned(), json!(public.thumbprint()));
        key.insert("use".to_owned(), json!("sig"));
        json!({ "keys": [key] })
    }

    /// The id of a token that this signed, for `audience`, and that is not over. Whether it works is for its row to say.
    ///
    /// # Errors
    /// It is another's, of another kind, for somebody else, or over.
    pub fn check(&self, token: &str, url: &GatewayUrl, audience: &str, now: Timestamp) -> Result<TokenId, TokenError> {
        if token.len() > MAX_ACCESS_BYTES {
            return Err(TokenError::TooLong);
        }
        let header = Header::read(token)?;
        if !is_access(header.kind()) {
            return Err(TokenError::Kind);
        }
        let public = self.0.public();
        if !public.fits(&header) {
            return Err(TokenError::Algorithm);
        }
        let claims = public.claims(token, &header)?;
        claims.must_be_from(url.as_str())?;
        claims.must_be_for(audience)?;
        let expires_at = claims.time("exp").ok_or(TokenError::Missing("exp"))?;
        // The clock that it was made by is this one.
        if expires_at <= now {
            return Err(TokenError::Expired(expires_at));
        }
        claims.must("jti")?.parse().map_err(|_| TokenError::Malformed)
    }
}

fn is_access(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(KIND) || kind.eq_ignore_ascii_case("application/at+jwt"))
}

/// The text of what somebody presents, if it says that it is such a token. A password that looks like one is none.
#[must_use]
pub fn claimed(presented: &Secret) -> Option<&str> {
    let text = presented.reveal_str()?;
    let (header, rest) = text.split_once('.')?;
    // Without a look at all of it: it may be anything.
    if header.len() > 1_024 || rest.bytes().filter(|byte| *byte == b'.').count() != 1 {
        return None;
    }
    let header: Map<String, Value> = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    is_access(header.get("typ").and_then(Value::as_str)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIENCE: &str = "https://gw.example/connections/prod-pg";

    fn url() -> GatewayUrl {
        "https://gw.example".parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claims(change: impl FnOnce(&mut Value)) -> Value {
        let mut claims =
            json!({ "iss": "https://gw.example", "aud": [AUDIENCE], "exp": 1_300, "iat": 1_000, "jti": TokenId::from_random(7), "sub": "nightly" });
        change(&mut claims);
        claims
    }

    #[test]
    fn a_token_is_this_gateways_for_that_and_not_over() {
        let (signer, other) = (Signer::from_seed(&[7; 32]).unwrap(), Signer::from_seed(&[8; 32]).unwrap());
        let check = |token: &Secret| signer.check(token.reveal_str().unwrap(), &url(), AUDIENCE, at(1_299));
        let good = signer.sign(&claims(|_| {})).unwrap();
        assert!(claimed(&good).is_some());
        assert_eq!(check(&good), Ok(TokenId::from_random(7)));
        assert_eq!(signer.check(good.reveal_str().unwrap(), &url(), AUDIENCE, at(1_300)), Err(TokenError::Expired(at(1_300))), "to the second");
        for (token, expected) in [
            (other.sign(&claims(|_| {})), TokenError::Signature),
            (signer.sign(&claims(|claims| claims["iss"] = json!("https://other.example"))), TokenError::Issuer),
            (signer.sign(&claims(|claims| claims["aud"] = json!("https://gw.example/connections/staging-pg"))), TokenError::Audience),
            (signer.sign(&claims(|claims| claims["aud"] = json!("https://gw.example"))), TokenError::Audience),
            (signer.sign(&claims(|claims| claims["aud"] = json!("prod-pg"))), TokenError::Audience),
            (signer.sign(&claims(|claims| claims["jti"] = json!("7"))), TokenError::Malformed),
            (signer.sign(&claims(|claims| drop(claims.as_object_mut().unwrap().remove("jti")))), TokenError::Missing("jti")),
            (signer.sign(&claims(|claims| drop(claims.as_object_mut().unwrap().remove("exp")))), TokenError::Missing("exp")),
            (signer.sign(&claims(|claims| claims["x"] = json!("x".repeat(MAX_ACCESS_BYTES)))), TokenError::TooLong),
        ] {
            assert_eq!(check(&token.unwrap()), Err(expected));
        }
    }

    /// The same claims under the same key and another header are another kind of token.
    #[test]
    fn the_type_tells_kinds_of_tokens_apart() {
        let key = PrivateKey::from_seed(&[7; 32]).unwrap();
        let signer = Signer::from_seed(&[7; 32]).unwrap();
        for kind in [Value::Null, json!("JWT"), json!("logout+jwt"), json!("dpop+jwt"), json!("client-authentication+jwt"), json!(["at+jwt"])] {
            let token = key.sign(&json!({ "alg": "EdDSA", "typ": kind }), &claims(|_| {})).unwrap();
            let checked = signer.check(&token, &url(), AUDIENCE, at(1_100));
            assert!(matches!(checked, Err(TokenError::Kind | TokenError::Malformed)), "{kind}: {checked:?}");
            assert_eq!(claimed(&Secret::from(token)), None, "{kind}");
        }
        let none = key.sign(&json!({ "alg": "none", "typ": "at+jwt" }), &claims(|_| {})).unwrap();
        assert!(signer.check(&none, &url(), AUDIENCE, at(1_100)).is_err());
    }

    #[test]
    fn what_looks_a_little_like_one_is_a_password() {
        for text in
            ["", ".", "..", "a.b.c", "eyJ.b.c", "hunter2.hunter2.hunter2", "e30.e30.AA", "eyJ0eXAiOiJhdCtqd3QifQ.a", "eyJ0eXAiOiJhdCtqd3QifQ.a.b.c"]
        {
            assert_eq!(claimed(&Secret::from(text.to_owned())), None, "{text}");
        }
        assert!(claimed(&Secret::from("eyJ0eXAiOiJhdCtqd3QifQ.a.b".to_owned())).is_some());
        assert_eq!(claimed(&Secret::new(vec![0xff; 10])), None);
    }

    #[test]
    fn others_can_check_it_with_what_is_published() {
        let signer = Signer::from_seed(&[7; 32]).unwrap();
        let jwks = signer.jwks();
        let key: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwks["keys"][0].clone()).unwrap();
        let token = signer.sign(&claims(|_| {})).unwrap();
        let header = Header::read(token.reveal_str().unwrap()).unwrap();
        assert!(header.fits(&key));
        assert!(crate::jwt::Claims::signed(token.reveal_str().unwrap(), &header, &key).is_ok());
        assert!(jwks["keys"][0].get("d").is_none(), "the private half stays");
    }
}
