//! What the fuzz targets of this crate run, and the replay of what they found: what a stranger signed goes in, and a promise that does not hold panics.
//!
//! An input is a header and claims with a line break between, each of whatever bytes. A key that is known signs them, so that what comes after the signature is reached too. Every
//! input is a token as it stands, besides.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use model::{IdentityName, Secret, Timestamp};
use serde_json::{Map, Value};

use crate::{
    GatewayUrl, PrivateKey, PublicKey, access,
    client_key::{self, MAX_ASSERTION_S},
    dpop,
    jwt::{Claims, Header, LEEWAY_S},
};

const NOW: i64 = 1_000_000;
const URL: &str = "https://gw.example";

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32]).unwrap()
}

/// Header and claims as they stand, signed.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", part(header), part(claims));
    let signature = key().signed(message.as_bytes()).unwrap();
    format!("{message}.{}", part(&signature))
}

fn halves(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|byte| *byte == b'\n')?;
    Some((&data[..at], &data[at + 1..]))
}

/// An assertion is believed if the key of whom it names signed it, for this gateway alone, for a few minutes and with an id; and nothing in it that is no claim of an assertion.
pub fn assertion(data: &[u8]) {
    let (who, url): (IdentityName, GatewayUrl) = ("nightly".parse().unwrap(), URL.parse().unwrap());
    let keys = [key().public().clone()];
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = (client_key::claimed(text), Header::read(text), access::claimed(&Secret::from(text.to_owned())));
        let others = [PrivateKey::from_seed(&[9; 32]).unwrap().public().clone()];
        assert!(client_key::check(text, &who, &others, &url, now()).is_err(), "nobody signed it");
        assert!(client_key::check(text, &who, &[], &url, now()).is_err(), "there is no key");
    }
    let Some((header, claims)) = halves(data) else { return };
    let token = signed(header, claims);
    let Ok(asserted) = client_key::check(&token, &who, &keys, &url, now()) else { return };
    let header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let claims: Map<String, Value> = serde_json::from_slice(claims).unwrap();
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("nightly"), Some("nightly")));
    assert_eq!(client_key::claimed(&token), Some(who));
    let audience = match &claims["aud"] {
        Value::Array(one) if one.len() == 1 => one[0].clone(),
        other => other.clone(),
    };
    assert!(audience == URL || audience == url.token_endpoint().as_str(), "{audience}");
    assert!((1..=128).contains(&asserted.id.len()) && claims["jti"] == asserted.id.as_str(), "{:?}", asserted.id);
    assert!(!claims.contains_key("nonce") && !claims.contains_key("events"));
    let rest = asserted.forget_at.as_second() - NOW;
    assert!((0..=MAX_ASSERTION_S + 2 * LEEWAY_S + 1).contains(&rest), "it is remembered for {rest} seconds");
}

/// A proof is right if the key in it signed it for this request within a minute, with an id.
pub fn proof(data: &[u8]) {
    let place = format!("{URL}/v1/token");
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = dpop::check(text, "POST", &place, None, now());
        // A key is what is told of it.
        if let Ok(key) = PublicKey::parse(text) {
            assert_eq!(PublicKey::parse(&key.to_jwk()).as_ref(), Ok(&key));
        }
    }
    let Some((header, claims)) = halves(data) else { return };
    // The key that signs is the one it names, unless it names one itself.
    let header = match serde_json::from_slice::<Map<String, Value>>(header) {
        Ok(mut members) if !members.contains_key("jwk") => {
            members.insert("jwk".to_owned(), serde_json::from_str(&key().public().to_jwk()).unwrap());
            serde_json::to_vec(&members).unwrap()
        }
        _ => header.to_vec(),
    };
    let token = Secret::from("cs_a_token".to_owned());
    let proof = signed(&header, claims);
    let bound = dpop::check(&proof, "POST", &place, Some(&token), now());
    let Ok(possession) = dpop::check(&proof, "POST", &place, None, now()) else {
        assert!(bound.is_err(), "it goes with a token and is none");
        return;
    };
    assert_eq!(possession.thumbprint, key().public().thumbprint(), "who signed has that key");
    let claims: Map<String, Value> = serde_json::from_slice(claims).unwrap();
    assert_eq!(claims["htm"], "POST");
    assert!((1..=128).contains(&possession.id.len()) && claims["jti"] == possession.id.as_str());
    let rest = possession.forget_at.as_second() - NOW;
    assert!((0..=2 * LEEWAY_S + 1).contains(&rest), "it is remembered for {rest} seconds");
    assert_eq!(bound.is_ok(), claims.get("ath").and_then(Value::as_str) == Some(dpop::hash_of(&token).as_str()));
}

/// What a token says unchecked is what it says checked.
pub fn claims(data: &[u8]) {
    let Some((header, claims)) = halves(data) else { return };
    let token = signed(header, claims);
    let Ok(header) = Header::read(&token) else { return };
    let public = key().public().clone();
    if let Ok(checked) = public.claims(&token, &header) {
        assert!(public.fits(&header), "{header:?}");
        assert_eq!(Claims::unchecked(&token), Some(checked));
    }
}

#[cfg(test)]
mod tests {
    use xtask::fuzz::replay;

    use super::*;

    #[test]
    fn assertions_of_strangers_are_replayed() {
        assert!(replay("assertion", assertion).unwrap() > 1);
    }

    #[test]
    fn proofs_of_strangers_are_replayed() {
        assert!(replay("proof", proof).unwrap() > 1);
    }

    #[test]
    fn claims_of_strangers_are_replayed() {
        assert!(replay("claims", claims).unwrap() > 1);
    }
}
