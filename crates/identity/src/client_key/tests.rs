//! Keys as OpenSSL writes them, and every way an assertion can be wrong.

use aws_lc_rs::{encoding::AsDer, rsa::KeySize};
use base64::prelude::BASE64_STANDARD;

use super::*;

const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENRRRwvUNczWqZsXG7rQYo0qqGi1n
CVRchGrFSiZctAY1BqsXwFtRnyJnybrWLsagpn/GO4j1eMvA5i4hJse+iQ==
-----END PUBLIC KEY-----
";
const P256_COMPRESSED: &str = "-----BEGIN PUBLIC KEY-----
MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADNRRRwvUNczWqZsXG7rQYo0qqGi1n
CVRchGrFSiZctAY=
-----END PUBLIC KEY-----
";
const ED25519_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAmqWTpKmFp/QWaJEfOKwosIUxFBYw2prJW2v3IxFp0gE=
-----END PUBLIC KEY-----
";
const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEBwPzfPx5G4WJbJBDI3TAvuHgCxu8Vwau
3F82UYoNUUc4XD0SLxU2/E8c3gN7krvmas9VWDjdU7E156Bd1JRhZyr/9omSwOce
qbiau4a+5tJQl9Q5LWtuiJH68zD/Hg3o
-----END PUBLIC KEY-----
";
const RSA_2048: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvwysIURNTbO1oOx2mdej
Hd0SlrG2ERWXbRBc8gn1il8KOcxI8IGuW9keIQdAIozhPJKVuIsmSwlU2SLrbsgd
j7i8V5cyXEzZQXny++I6jCQLgFTl5FPutKTw3uCSzIPGMUJcxgSpxym+Ufqhzt4r
ZgSpHZqr8H3exyihU5NnBPsiFYj0GFxDG8hRNcuGgyEDPyP5RXrR5JNWXLo01hs2
u1bQ5LHxRLtK6YuR2jbxde5hXyYTYBy8CRqePNRttAxPHQxreZSedXlTPmbtHKGJ
N273OzpmaNF7ohZQ111egfzRbupgr+ID5MRPU4S6nPI392RBwtYClGD0VTXnHR55
PwIDAQAB
-----END PUBLIC KEY-----
";
const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC84yqtPfxVe0myujX5i9GRPiam
voAYb3AyprWCF/NxgyGY0lTUkrsBqWsbAGs40iK/yZT6ZkhcYgN6zuzMTP+C7GRp
Ip5Y8xVSAubTARVdVTP+0fAn+OTy3OmT6j9Pp4DIMLY5qu+14/BpyyxwwZiMxxSm
hiJdmME5XQKHwXxeXwIDAQAB
-----END PUBLIC KEY-----
";
/// The key of RFC 8037, appendix A.2, and its thumbprint of appendix A.3.
const RFC_8037: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const RFC_8037_THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
/// Its private half, appendix A.1.
const RFC_8037_SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

#[test]
fn keys_are_read_as_openssl_and_others_write_them() {
    for (text, algorithm) in [(P256, "ES256"), (ED25519_KEY, "EdDSA"), (RSA_2048, "RS256"), (RFC_8037, "EdDSA")] {
        let key = PublicKey::parse(text).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        // What is kept is the key again.
        let again = PublicKey::parse(&key.to_jwk()).unwrap();
        assert_eq!(again, key);
    }
    assert_eq!(PublicKey::parse(RFC_8037).unwrap().thumbprint(), RFC_8037_THUMBPRINT);
    let seed = BASE64_URL_SAFE_NO_PAD.decode(RFC_8037_SEED).unwrap();
    assert_eq!(PrivateKey::from_seed(&seed).unwrap().public().thumbprint(), RFC_8037_THUMBPRINT);
}

#[test]
fn what_is_no_public_key_of_use_is_refused() {
    let jwk = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut members = serde_json::from_str(RFC_8037).unwrap();
        change(&mut members);
        Value::from(members).to_string()
    };
    let set = |name: &'static str, value: &'static str| jwk(&|members| drop(members.insert(name.to_owned(), json!(value))));
    let rsa: Value = serde_json::from_str(&PublicKey::parse(RSA_2048).unwrap().to_jwk()).unwrap();
    let n = BASE64_URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap();
    let rsa = |n: &[u8], e: &str| json!({ "kty": "RSA", "n": encoded(n), "e": e }).to_string();
    for (text, problem) in [
        (P384.to_owned(), KeyProblem::Kind),
        (P256_COMPRESSED.to_owned(), KeyProblem::Kind),
        (RSA_1024.to_owned(), KeyProblem::Size),
        (rsa(&n, "Aw"), KeyProblem::Size),
        (rsa(&n, "AQ"), KeyProblem::Size),
        (rsa(&[b"\0", n.as_slice()].concat(), "AQAB"), KeyProblem::Unreadable),
        ("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n".to_owned(), KeyProblem::Private),
        ("-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n".to_owned(), KeyProblem::Private),
        (set("d", RFC_8037_SEED), KeyProblem::Private),
        (json!({ "kty": "oct", "k": "AAAA" }).to_string(), KeyProblem::Private),
        (set("alg", "HS256"), KeyProblem::Kind),
        (set("use", "enc"), KeyProblem::Kind),
        (set("crv", "Ed448"), KeyProblem::Kind),
        (set("x", "AA"), KeyProblem::Unreadable),
        // Another way to write the last character of the same key.
        (set("x", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURp"), KeyProblem::Unreadable),
        // Not a point of the curve.
        (json!({ "kty": "EC", "crv": "P-256", "x": encoded(&[7; 32]), "y": encoded(&[7; 32]) }).to_string(), KeyProblem::Unreadable),
        ("{}".to_owned(), KeyProblem::Kind),
        ("{".to_owned(), KeyProblem::Unreadable),
        (String::new(), KeyProblem::Unreadable),
        (P256.replace("MFkw", "MFkx"), KeyProblem::Kind),
        ("-----BEGIN PUBLIC KEY-----".repeat(1_000), KeyProblem::Unreadable),
    ] {
        assert_eq!(PublicKey::parse(&text).map(|key| key.to_jwk()), Err(problem), "{text}");
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

fn url() -> GatewayUrl {
    "https://gw.example:7443".parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).unwrap()
}

fn nightly() -> IdentityName {
    "nightly".parse().unwrap()
}

#[test]
fn every_kind_of_key_signs_what_its_other_half_believes() {
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let sec1 = AsDer::<aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_>>::as_der(&p256.private_key()).unwrap();
    let rsa: aws_lc_rs::encoding::Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    for text in [
        pem("PRIVATE KEY", p256.to_pkcs8v1().unwrap().as_ref()),
        pem("EC PRIVATE KEY", sec1.as_ref()),
        pem("PRIVATE KEY", ed25519.to_pkcs8v1().unwrap().as_ref()),
        pem("PRIVATE KEY", ed25519.to_pkcs8().unwrap().as_ref()),
        pem("PRIVATE KEY", rsa.as_ref()),
    ] {
        let key = PrivateKey::from_pem(text.as_bytes()).unwrap();
        let assertion = key.assertion(&nightly(), url().as_str(), now()).unwrap();
        let assertion = assertion.reveal_str().unwrap();
        assert_eq!(claimed(assertion), Some(nightly()));
        let public = PublicKey::parse(&key.public().to_jwk()).unwrap();
        let asserted = check(assertion, &nightly(), std::slice::from_ref(&public), &url(), now()).unwrap();
        assert_eq!((asserted.key, asserted.id.len()), (0, 22));
        // Another of the same kind did not make it, and the second of two is found.
        let other = PublicKey::parse(match public.algorithm() {
            "ES256" => P256,
            "EdDSA" => ED25519_KEY,
            _ => RSA_2048,
        })
        .unwrap();
        assert_eq!(check(assertion, &nightly(), std::slice::from_ref(&other), &url(), now()), Err(AssertionError::Key));
        assert_eq!(check(assertion, &nightly(), &[other, public], &url(), now()).unwrap().key, 1);
        assert_eq!(check(assertion, &nightly(), &[], &url(), now()), Err(AssertionError::Key));
    }
    for text in ["", "nothing", P256, "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"] {
        assert_eq!(PrivateKey::from_pem(text.as_bytes()).map(drop), Err(KeyProblem::NotPrivate), "{text}");
    }
}

/// An assertion of nightly's with its header and claims changed, and what becomes of it.
fn checked(change: impl FnOnce(&mut Value, &mut Value)) -> Result<Asserted, AssertionError> {
    let key = PrivateKey::from_seed(&[7; 32]).unwrap();
    let mut header = json!({ "alg": "EdDSA", "typ": "JWT" });
    let mut claims =
        json!({ "iss": "nightly", "sub": "nightly", "aud": "https://gw.example:7443", "jti": "one", "iat": 1_000_000, "exp": 1_000_300 });
    change(&mut header, &mut claims);
    for part in [&mut header, &mut claims] {
        part.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    }
    check(&key.sign(&header, &claims).unwrap(), &nightly(), &[key.public().clone()], &url(), now())
}

#[test]
fn an_assertion_is_for_this_gateway_alone_for_minutes_and_for_once() {
    let claim = |name: &'static str, value: Value| checked(|_, claims| claims[name] = value);
    let header = |name: &'static str, value: Value| checked(|header, _| header[name] = value);
    let good = claim("iat", json!(1_000_000)).unwrap();
    assert_eq!((good.id.as_str(), good.forget_at.as_second()), ("one", 1_000_361), "as long as it would be taken");
    for well in [
        claim("aud", json!("https://gw.example:7443/v1/token")),
        claim("aud", json!(["https://gw.example:7443"])),
        claim("iat", Value::Null),
        claim("exp", json!(999_941)),
        claim("exp", json!(1_000_360)),
        header("typ", Value::Null),
        header("typ", json!("client-authentication+jwt")),
        // What the header says of keys is not looked at.
        header("kid", json!("../../etc/passwd")),
        header("jwk", json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })),
        header("jku", json!("https://evil.example/keys")),
    ] {
        assert_eq!(well.map(|asserted| asserted.key), Ok(0));
    }
    let not_for_us = AssertionError::Audience(url());
    let missing = |name| AssertionError::Token(TokenError::Missing(name));
    let at = |second| Timestamp::from_second(second).unwrap();
    for (answer, expected) in [
        (claim("aud", json!("https://gw.example")), &not_for_us),
        (claim("aud", json!("https://gw.example:7443/")), &not_for_us),
        (claim("aud", json!("https://gw.example:7443/v1/tokens")), &not_for_us),
        // Whoever else it is for could use it here.
        (claim("aud", json!(["https://gw.example:7443", "https://other.example"])), &not_for_us),
        (claim("aud", json!(["https://gw.example:7443", 7])), &not_for_us),
        (claim("aud", Value::Null), &not_for_us),
        (claim("aud", json!([])), &not_for_us),
        (claim("iss", json!("weekly")), &AssertionError::Token(TokenError::Issuer)),
        (claim("sub", json!("weekly")), &AssertionError::Key),
        (claim("sub", Value::Null), &missing("sub")),
        (claim("exp", json!(999_940)), &AssertionError::Token(TokenError::Expired(at(999_940)))),
        (claim("exp", json!(1_000_361)), &AssertionError::Lasting),
        (claim("exp", json!(9_999_999_999_i64)), &AssertionError::Lasting),
        (claim("exp", Value::Null), &missing("exp")),
        (claim("iat", json!(1_000_061)), &AssertionError::Token(TokenError::NotYet(at(1_000_061)))),
        (claim("nbf", json!(1_000_061)), &AssertionError::Token(TokenError::NotYet(at(1_000_061)))),
        (claim("jti", Value::Null), &missing("jti")),
        (claim("jti", json!("")), &missing("jti")),
        (claim("jti", json!("x".repeat(129))), &AssertionError::Id),
        (claim("nonce", json!("n")), &AssertionError::Token(TokenError::Kind)),
        (claim("events", json!({})), &AssertionError::Token(TokenError::Kind)),
        (header("typ", json!("at+jwt")), &AssertionError::Token(TokenError::Kind)),
        (header("typ", json!("dpop+jwt")), &AssertionError::Token(TokenError::Kind)),
        (header("typ", json!("logout+jwt")), &AssertionError::Token(TokenError::Kind)),
        // The signature is this key's, whatever the header calls it.
        (header("alg", json!("none")), &AssertionError::Token(TokenError::Malformed)),
        (header("alg", json!("HS256")), &AssertionError::Token(TokenError::Algorithm)),
        (header("alg", json!("RS256")), &AssertionError::Key),
        (header("alg", json!("ES256")), &AssertionError::Key),
        (header("crit", json!(["exp"])), &AssertionError::Key),
        (claim("x", json!("x".repeat(MAX_ASSERTION_BYTES))), &AssertionError::TooLong),
    ] {
        assert_eq!(&answer.unwrap_err(), expected);
    }
}

/// The public key as the secret of an HMAC: the algorithm is not for the token to choose.
#[test]
fn a_public_key_is_no_shared_secret() {
    let key = PrivateKey::from_seed(&[7; 32]).unwrap();
    let claims = json!({ "iss": "nightly", "sub": "nightly", "aud": url().as_str(), "jti": "one", "exp": 1_000_300 });
    let secret = jsonwebtoken::EncodingKey::from_secret(key.public().to_jwk().as_bytes()).unwrap();
    let forged = jsonwebtoken::encode(&jsonwebtoken::Header::new(Algorithm::HS256), &claims, &secret).unwrap();
    let answer = check(&forged, &nightly(), &[key.public().clone()], &url(), now());
    assert_eq!(answer, Err(AssertionError::Token(TokenError::Algorithm)));
}

#[test]
fn whose_an_assertion_is_it_says_twice_alike() {
    let key = PrivateKey::from_seed(&[7; 32]).unwrap();
    let of = |claims: Value| claimed(&key.sign(&json!({ "alg": "EdDSA" }), &claims).unwrap());
    assert_eq!(of(json!({ "iss": "nightly", "sub": "nightly" })), Some(nightly()));
    for claims in [
        json!({}),
        json!({ "iss": "nightly" }),
        json!({ "iss": "nightly", "sub": "weekly" }),
        json!({ "iss": "https://idp.example", "sub": "https://idp.example" }),
        json!({ "iss": ["nightly"], "sub": ["nightly"] }),
    ] {
        assert_eq!(of(claims.clone()), None, "{claims}");
    }
    assert_eq!(claimed(""), None);
    assert_eq!(claimed(&"a".repeat(MAX_ASSERTION_BYTES + 1)), None);
}

/// Whoever is unknown costs as much as whoever is known: there is a key to try for every kind.
#[test]
fn there_is_a_key_that_is_nobodys_for_every_kind() {
    let kinds: Vec<&str> = DECOYS.iter().map(PublicKey::algorithm).collect();
    assert_eq!(kinds, ["ES256", "EdDSA", "RS256"]);
}
