//! Proofs that whoever makes a request has a key: RFC 9449. A token that was minted with one is bound to that key.
//!
//! The key is in the proof's own header, and proves nothing but itself: who somebody is they show by other means. A proof is for one request to one place, for a minute, and works once.

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use model::{Secret, Timestamp};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    client_key::{KeyProblem, PublicKey},
    jwt::{Header, LEEWAY_S, TokenError},
};

/// What a proof may be signed with.
pub const ALGORITHMS: [&str; 3] = ["ES256", "EdDSA", "RS256"];
/// Longest proof, in bytes.
const MAX_PROOF_BYTES: usize = 8 * 1024;
/// Longest id of a proof, in bytes.
const MAX_ID_BYTES: usize = 128;
/// Its type: RFC 9449 section 4.2.
const KIND: &str = "dpop+jwt";

/// A proof that is right. It is good once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Possession {
    /// The key: SHA-256 of it in base 64, RFC 7638.
    pub thumbprint: String,
    /// Its id.
    pub id: String,
    /// How long that must be remembered.
    pub forget_at: Timestamp,
}

/// Why a proof is none. `Display` is for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It is longer than any should be.
    #[error("the DPoP proof has more than {MAX_PROOF_BYTES} bytes")]
    TooLong,
    /// It is no proof, or no token at all.
    #[error("the DPoP proof is not believed: {0}")]
    Token(#[from] TokenError),
    /// The key in it is of no use.
    #[error("the key in the DPoP proof is of no use: {0}")]
    Key(#[from] KeyProblem),
    /// It is for another request.
    #[error("the DPoP proof is for another request: `htm` and `htu` are its method and URL, as this gateway is called in tokens")]
    Request,
    /// It is too old, or from the future.
    #[error("the DPoP proof was not made within the last minute: the clocks differ, or `iat` is missing")]
    Time,
    /// Its id is too long.
    #[error("the id of a DPoP proof has 1 to {MAX_ID_BYTES} bytes")]
    Id,
    /// It goes with another token.
    #[error("the DPoP proof goes with another token: `ath` is the SHA-256 of the one that is shown")]
    Access,
}

/// Checks a proof for a request. `url`: what was asked for, without a query. `token`: what the proof must go with, if something.
///
/// # Errors
/// It is none, or for another request, time or token.
pub fn check(proof: &str, method: &str, url: &str, token: Option<&Secret>, now: Timestamp) -> Result<Possession, ProofError> {
    if proof.len() > MAX_PROOF_BYTES {
        return Err(ProofError::TooLong);
    }
    let header = Header::read(proof)?;
    if !header.kind().is_some_and(|kind| kind.eq_ignore_ascii_case(KIND)) {
        return Err(TokenError::Kind.into());
    }
    let key = PublicKey::parse(&key_in(proof).ok_or(TokenError::UnknownKey)?)?;
    if !key.fits(&header) {
        return Err(TokenError::Algorithm.into());
    }
    let claims = key.claims(proof, &header)?;
    let same_place = claims.text("htu").is_some_and(|place| without_query(place).is_some_and(|place| Some(place) == without_query(url)));
    if claims.text("htm") != Some(method) || !same_place {
        return Err(ProofError::Request);
    }
    let made_at = claims.time("iat").ok_or(ProofError::Time)?;
    if made_at.as_second().abs_diff(now.as_second()) > LEEWAY_S.unsigned_abs() {
        return Err(ProofError::Time);
    }
    let id = claims.text("jti").filter(|id| (1..=MAX_ID_BYTES).contains(&id.len())).ok_or(ProofError::Id)?;
    if token.is_some_and(|token| claims.text("ath") != Some(hash_of(token).as_str())) {
        return Err(ProofError::Access);
    }
    let forget_at = Timestamp::from_second(made_at.as_second().saturating_add(LEEWAY_S + 1)).map_err(|_| ProofError::Time)?;
    Ok(Possession { thumbprint: key.thumbprint().to_owned(), id: id.to_owned(), forget_at })
}

/// The key in a header, as it is written there.
fn key_in(proof: &str) -> Option<String> {
    let (header, _) = proof.split_once('.')?;
    let header: Map<String, Value> = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    header.get("jwk").filter(|key| key.is_object()).map(ToString::to_string)
}

/// RFC 9449 section 4.3: compared as URLs, without query and fragment.
fn without_query(text: &str) -> Option<Url> {
    let mut url: Url = text.parse().ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url)
}

/// SHA-256 of a token, as a proof says it.
#[must_use]
pub fn hash_of(token: &Secret) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.reveal()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::PrivateKey;

    const URL: &str = "https://gw.example/v1/token";

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    /// A proof with header and claims changed, and what becomes of it with a token.
    fn checked(change: impl FnOnce(&mut Value, &mut Value), token: Option<&str>) -> Result<Possession, ProofError> {
        let key = PrivateKey::from_seed(&[7; 32]).unwrap();
        let jwk: Value = serde_json::from_str(&key.public().to_jwk()).unwrap();
        let mut header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk });
        let mut claims = json!({ "jti": "one", "htm": "POST", "htu": URL, "iat": 1_000 });
        change(&mut header, &mut claims);
        let token = token.map(|token| Secret::from(token.to_owned()));
        check(&key.sign(&header, &claims).unwrap(), "POST", URL, token.as_ref(), now())
    }

    #[test]
    fn a_proof_is_for_one_request_of_now_by_the_key_in_it() {
        let claim = |name: &'static str, value: Value| checked(|_, claims| claims[name] = value, None);
        let header = |name: &'static str, value: Value| checked(|header, _| header[name] = value, None);
        let good = claim("iat", json!(1_000)).unwrap();
        let thumbprint = PrivateKey::from_seed(&[7; 32]).unwrap().public().thumbprint().to_owned();
        assert_eq!(good, Possession { thumbprint, id: "one".to_owned(), forget_at: Timestamp::from_second(1_061).unwrap() });
        for well in [claim("htu", json!("https://GW.example:443/v1/token?x=1#y")), claim("iat", json!(940)), claim("iat", json!(1_060))] {
            assert!(well.is_ok(), "{well:?}");
        }
        let other = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let private = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "AA" });
        for (answer, expected) in [
            (claim("htm", json!("GET")), ProofError::Request),
            (claim("htm", json!("post")), ProofError::Request),
            (claim("htu", json!("https://gw.example/v1/tokens")), ProofError::Request),
            (claim("htu", json!("https://other.example/v1/token")), ProofError::Request),
            (claim("htu", json!("http://gw.example/v1/token")), ProofError::Request),
            (claim("htu", json!("/v1/token")), ProofError::Request),
            (claim("iat", json!(939)), ProofError::Time),
            (claim("iat", json!(1_061)), ProofError::Time),
            (claim("iat", Value::Null), ProofError::Time),
            (claim("jti", Value::Null), ProofError::Id),
            (claim("jti", json!("")), ProofError::Id),
            (claim("jti", json!("x".repeat(129))), ProofError::Id),
            (claim("x", json!("x".repeat(MAX_PROOF_BYTES))), ProofError::TooLong),
            (header("typ", json!("JWT")), TokenError::Kind.into()),
            (header("typ", json!("at+jwt")), TokenError::Kind.into()),
            (header("jwk", other), TokenError::Signature.into()),
            (header("jwk", private), KeyProblem::Private.into()),
            (header("jwk", json!({ "kty": "oct", "k": "AAAA" })), KeyProblem::Private.into()),
            (header("alg", json!("ES256")), TokenError::Algorithm.into()),
            (header("alg", json!("HS256")), TokenError::Algorithm.into()),
        ] {
            assert_eq!(answer.unwrap_err(), expected);
        }
        // Without a key, or with something else in its place.
        for key in [Value::Null, json!("x"), json!([])] {
            assert!(header("jwk", key).is_err());
        }
        for text in ["", "a.b.c", "é.é.é"] {
            assert!(check(text, "POST", URL, None, now()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_proof_goes_with_the_token_that_is_shown() {
        let ath = |value: Value| checked(|_, claims| claims["ath"] = value, Some("cs_a_token"));
        assert!(ath(json!(hash_of(&Secret::from("cs_a_token".to_owned())))).is_ok());
        assert_eq!(ath(json!(hash_of(&Secret::from("cs_a_other".to_owned())))), Err(ProofError::Access));
        assert_eq!(ath(Value::Null), Err(ProofError::Access));
    }
}
