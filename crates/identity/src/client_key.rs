//! Keys of workloads and agents that have no platform, and what they say of themselves with one: RFC 7521, RFC 7523.
//!
//! An assertion names whose it is (`iss` and `sub` alike), the gateway it is for, until when, and an id that works once. It is believed if a key of that identity
//! signed it: the key is chosen by whose it is and by its algorithm, never by anything the header says of keys.

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, CommonParameters, Jwk, ThumbprintHash},
};
use model::{IdentityName, Secret, Timestamp};
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject};
use serde_json::{Map, Value, json};

use crate::{
    gateway_url::GatewayUrl,
    jwt::{Claims, Header, LEEWAY_S, TokenError, is_plain},
};

/// Longest life of a key, in days.
pub const MAX_KEY_DAYS: u64 = 90;
/// How far ahead an assertion may end, in seconds.
pub const MAX_ASSERTION_S: i64 = 300;
/// Longest assertion, in bytes.
pub const MAX_ASSERTION_BYTES: usize = 8 * 1024;
/// Longest id of an assertion, in bytes.
const MAX_ID_BYTES: usize = 128;
/// Longest text of a key, in bytes: an RSA key of 8192 bits fits.
const MAX_KEY_BYTES: usize = 8 * 1024;
/// What an assertion says it is, if it says more than `JWT`: draft-ietf-oauth-rfc7523bis section 4.
const KIND: &str = "client-authentication+jwt";

/// What comes before the coordinates of an uncompressed point in the SubjectPublicKeyInfo of a P-256 key: RFC 5480 section 2.
const P256_SPKI: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
/// And before an Ed25519 key: RFC 8410 section 4.
const ED25519_SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// Keys that are nobody's, one of each kind.
static DECOYS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| {
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok();
    let p256 = p256.and_then(|pair| PublicKey::p256(pair.public_key().as_ref().strip_prefix(&[4])?).ok());
    let ed25519 = PrivateKey::from_seed(&[0; 32]).ok().map(|key| key.public);
    let rsa = PublicKey::rsa(&[0xff; 256], &[1, 0, 1]).ok();
    [p256, ed25519, rsa].into_iter().flatten().collect()
});

/// A key that can check what its private half signed: P-256 (ES256), Ed25519 (EdDSA), or RSA of 2048 bits or more (RS256).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    jwk: Jwk,
    algorithm: Algorithm,
    thumbprint: String,
}

/// Why a text is no key of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// It is the half that nobody else may have.
    #[error("this is a private key: keep it where the workload is, and give the public one (`openssl pkey -in FILE -pubout`)")]
    Private,
    /// It is something else, or damaged.
    #[error("this is no public key in PEM (`BEGIN PUBLIC KEY`) or as a JWK")]
    Unreadable,
    /// Of another kind.
    #[error("keys are P-256 (ES256), Ed25519 (EdDSA) or RSA (RS256)")]
    Kind,
    /// Too weak, or so large that checking it is a burden.
    #[error("an RSA key has 2048 to 8192 bits and the exponent 65537")]
    Size,
    /// The other half is not there.
    #[error("this is no private key in PEM (`BEGIN PRIVATE KEY`) of a kind that is known: P-256, Ed25519 or RSA")]
    NotPrivate,
    /// It could not sign.
    #[error("the key could not sign")]
    Signing,
}

impl PublicKey {
    /// Reads a key in PEM or as a JWK.
    ///
    /// # Errors
    /// It is none, a private one, of another kind, or too weak.
    pub fn parse(text: &str) -> Result<Self, KeyProblem> {
        let text = text.trim();
        if text.len() > MAX_KEY_BYTES {
            return Err(KeyProblem::Unreadable);
        }
        if text.starts_with('{') { Self::from_jwk(text) } else { Self::from_pem(text) }
    }

    fn from_jwk(text: &str) -> Result<Self, KeyProblem> {
        let members: Map<String, Value> = serde_json::from_str(text).map_err(|_| KeyProblem::Unreadable)?;
        // RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1.
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| members.contains_key(*name)) {
            return Err(KeyProblem::Private);
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok()).ok_or(KeyProblem::Unreadable);
        let key = match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => Self::p256(&[bytes("x")?, bytes("y")?].concat())?,
            (Some("OKP"), Some("Ed25519")) => Self::ed25519(&bytes("x")?)?,
            (Some("RSA"), _) => Self::rsa(&bytes("n")?, &bytes("e")?)?,
            _ => return Err(KeyProblem::Kind),
        };
        let signs = text("use").is_none_or(|use_| use_ == "sig");
        let same = text("alg").is_none_or(|algorithm| algorithm == key.algorithm());
        if signs && same { Ok(key) } else { Err(KeyProblem::Kind) }
    }

    fn from_pem(text: &str) -> Result<Self, KeyProblem> {
        if text.contains("PRIVATE KEY") {
            return Err(KeyProblem::Private);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyProblem::Unreadable)?;
        if let Some(point) = der.strip_prefix(P256_SPKI) {
            return Self::p256(point);
        }
        if let Some(key) = der.strip_prefix(ED25519_SPKI) {
            return Self::ed25519(key);
        }
        Self::rsa_der(&der)
    }

    /// Both coordinates of a point.
    fn p256(point: &[u8]) -> Result<Self, KeyProblem> {
        let (x, y) = point.split_at_checked(32).filter(|(_, y)| y.len() == 32).ok_or(KeyProblem::Unreadable)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], point].concat()).parse().map_err(|_| KeyProblem::Unreadable)?;
        Self::of(&json!({ "kty": "EC", "crv": "P-256", "x": encoded(x), "y": encoded(y) }), Algorithm::ES256)
    }

    fn ed25519(key: &[u8]) -> Result<Self, KeyProblem> {
        if key.len() != 32 || UnparsedPublicKey::new(&ED25519, key).parse().is_err() {
            return Err(KeyProblem::Unreadable);
        }
        Self::of(&json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(key) }), Algorithm::EdDSA)
    }

    fn rsa_der(der: &[u8]) -> Result<Self, KeyProblem> {
        let read = Jwk::from_decoding_key(&DecodingKey::from_rsa_der(der), Some(Algorithm::RS256)).map_err(|_| KeyProblem::Kind)?;
        let AlgorithmParameters::RSA(parts) = read.algorithm else { return Err(KeyProblem::Kind) };
        let bytes = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyProblem::Unreadable);
        Self::rsa(&bytes(&parts.n)?, &bytes(&parts.e)?)
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyProblem> {
        let first = n.first().copied().unwrap_or_default();
        // A leading zero would make another thumbprint of the same key (RFC 7518 section 2, Base64urlUInt).
        if first == 0 {
            return Err(KeyProblem::Unreadable);
        }
        let bits = n.len().saturating_mul(8).saturating_sub(usize::try_from(first.leading_zeros()).unwrap_or(0));
        if !(2_048..=8_192).contains(&bits) || e != [1, 0, 1] {
            return Err(KeyProblem::Size);
        }
        RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).map_err(|_| KeyProblem::Unreadable)?;
        Self::of(&json!({ "kty": "RSA", "n": encoded(n), "e": encoded(e) }), Algorithm::RS256)
    }

    fn of(members: &Value, algorithm: Algorithm) -> Result<Self, KeyProblem> {
        let parameters: AlgorithmParameters = serde_json::from_value(members.clone()).map_err(|_| KeyProblem::Unreadable)?;
        let common = CommonParameters { key_algorithm: Some(algorithm.into()), ..CommonParameters::default() };
        let jwk = Jwk { common, algorithm: parameters };
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| KeyProblem::Unreadable)?;
        Ok(Self { jwk, algorithm, thumbprint })
    }

    /// The key as a JWK, with its algorithm.
    #[must_use]
    pub fn to_jwk(&self) -> String {
        serde_json::to_string(&self.jwk).unwrap_or_default()
    }

    /// SHA-256 of it (RFC 7638), in base 64.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// What it checks: `ES256`, `EdDSA` or `RS256`.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::ES256 => "ES256",
            Algorithm::EdDSA => "EdDSA",
            _ => "RS256",
        }
    }

    /// The claims of a token that the private half signed.
    pub(crate) fn claims(&self, token: &str, header: &Header) -> Result<Claims, TokenError> {
        Claims::signed(token, header, &self.jwk)
    }

    /// Whether it may have made the signature of a token with this header.
    pub(crate) fn fits(&self, header: &Header) -> bool {
        header.algorithm == self.algorithm
    }
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Why an assertion is not believed. `Display` is for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// It is longer than any should be.
    #[error("the assertion has more than {MAX_ASSERTION_BYTES} bytes")]
    TooLong,
    /// No key of whom it names made it: there is no such identity, none of that key, or the key is over. Which is not said.
    #[error("the assertion is signed with no key in force of the identity that it names as `iss` and `sub`")]
    Key,
    /// Something it claims is wrong.
    #[error("the assertion is not believed: {0}")]
    Token(#[from] TokenError),
    /// It is for somebody else, or for others too, who could use it here.
    #[error("the assertion must be for this gateway alone: `aud` is {0}")]
    Audience(GatewayUrl),
    /// It would work for too long.
    #[error("an assertion ends at most {MAX_ASSERTION_S} seconds after it is used")]
    Lasting,
    /// Its id is too long.
    #[error("the id of an assertion has at most {MAX_ID_BYTES} bytes")]
    Id,
}

/// An assertion that is believed. It is good once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asserted {
    /// Which of the keys made it.
    pub key: usize,
    /// Its id.
    pub id: String,
    /// How long that must be remembered.
    pub forget_at: Timestamp,
}

/// Whose an assertion says it is: `iss` and `sub` are the same name. Nothing of it is checked.
#[must_use]
pub fn claimed(assertion: &str) -> Option<IdentityName> {
    if assertion.len() > MAX_ASSERTION_BYTES {
        return None;
    }
    let claims = Claims::unchecked(assertion)?;
    let name = claims.text("iss").filter(|issuer| claims.text("sub") == Some(issuer))?;
    name.parse().ok()
}

/// Checks an assertion of whom it [names](claimed) against their keys in force.
///
/// # Errors
/// None of the keys made it, or it is for somebody else, over, too lasting, or without an id.
pub fn check(assertion: &str, who: &IdentityName, keys: &[PublicKey], url: &GatewayUrl, now: Timestamp) -> Result<Asserted, AssertionError> {
    if assertion.len() > MAX_ASSERTION_BYTES {
        return Err(AssertionError::TooLong);
    }
    let header = Header::read(assertion)?;
    let made = |(place, key): (usize, &PublicKey)| Some((place, key.claims(assertion, &header).ok()?));
    let mut fitting = keys.iter().enumerate().filter(|(_, key)| key.fits(&header)).peekable();
    if fitting.peek().is_none() {
        // Who is unknown or has no such key waits as long as who has.
        let _ = DECOYS.iter().find(|key| key.fits(&header)).map(|key| key.claims(assertion, &header));
    }
    let (key, claims) = fitting.find_map(made).ok_or(AssertionError::Key)?;
    let kind = header.kind();
    if !(is_plain(kind) || kind.is_some_and(|kind| kind.eq_ignore_ascii_case(KIND)))
        || claims.get("events").is_some()
        || claims.get("nonce").is_some()
    {
        return Err(TokenError::Kind.into());
    }
    claims.must_be_from(who.as_str())?;
    if claims.must("sub")? != who.as_str() {
        return Err(AssertionError::Key);
    }
    // One that is for others too could have been taken from one of them.
    match claims.texts("aud").as_slice() {
        [one] if claims.members("aud") == 1 && (*one == url.as_str() || *one == url.token_endpoint()) => {}
        _ => return Err(AssertionError::Audience(url.clone())),
    }
    claims.must_be_current(now)?;
    let expires_at = claims.time("exp").ok_or(TokenError::Missing("exp"))?.as_second();
    if expires_at > now.as_second().saturating_add(MAX_ASSERTION_S + LEEWAY_S) {
        return Err(AssertionError::Lasting);
    }
    let id = claims.must("jti")?.to_owned();
    if id.len() > MAX_ID_BYTES {
        return Err(AssertionError::Id);
    }
    // Until it would be refused for its age: clocks may differ, and times are whole seconds.
    let forget_at = Timestamp::from_second(expires_at.saturating_add(LEEWAY_S + 1)).map_err(|_| AssertionError::Lasting)?;
    Ok(Asserted { key, id, forget_at })
}

/// The half of a key that signs.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.public.thumbprint).finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// Reads a key in PEM.
    ///
    /// # Errors
    /// It is none, of another kind, or too weak.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyProblem> {
        let pair = match PrivateKeyDer::from_pem_slice(text).map_err(|_| KeyProblem::NotPrivate)? {
            PrivateKeyDer::Pkcs8(der) => Pair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(der) => {
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_sec1_der()).ok().map(Pair::P256)
            }
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok().map(Pair::Rsa),
            _ => None,
        };
        let pair = pair.ok_or(KeyProblem::NotPrivate)?;
        let public = match &pair {
            Pair::P256(pair) => PublicKey::p256(pair.public_key().as_ref().strip_prefix(&[4]).unwrap_or_default())?,
            Pair::Ed25519(pair) => PublicKey::ed25519(pair.public_key().as_ref())?,
            Pair::Rsa(pair) => PublicKey::rsa_der(pair.public_key().as_ref())?,
        };
        Ok(Self { pair, public })
    }

    /// A key of these 32 secret bytes.
    ///
    /// # Errors
    /// They are not 32.
    pub fn from_seed(seed: &[u8]) -> Result<Self, KeyProblem> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyProblem::NotPrivate)?;
        let public = PublicKey::ed25519(pair.public_key().as_ref())?;
        Ok(Self { pair: Pair::Ed25519(pair), public })
    }

    /// The other half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// An assertion of whoever has the key, for one use within five minutes.
    ///
    /// # Errors
    /// It cannot sign, or the system gives no randomness.
    pub fn assertion(&self, who: &IdentityName, audience: &str, now: Timestamp) -> Result<Secret, KeyProblem> {
        let mut id = [0u8; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| KeyProblem::Signing)?;
        let second = now.as_second();
        let claims = json!({
            "iss": who, "sub": who, "aud": audience, "jti": encoded(&id), "iat": second, "exp": second.saturating_add(MAX_ASSERTION_S - LEEWAY_S),
        });
        let header = json!({ "alg": self.public.algorithm(), "kid": self.public.thumbprint(), "typ": "JWT" });
        self.sign(&header, &claims).map(Secret::from)
    }

    /// A token with this header and these claims: RFC 7515 section 7.1.
    ///
    /// # Errors
    /// It cannot sign.
    pub fn sign(&self, header: &Value, claims: &Value) -> Result<String, KeyProblem> {
        let part = |value: &Value| encoded(value.to_string().as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(message.as_bytes()).ok_or(KeyProblem::Signing)?;
        Ok(format!("{message}.{}", encoded(&signature)))
    }

    /// A signature over whatever it is.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn signed(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.pair.sign(message)
    }
}

impl Pair {
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let p256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok().map(Self::P256);
        let ed25519 = || Ed25519KeyPair::from_pkcs8(der).ok().map(Self::Ed25519);
        let rsa = || RsaKeyPair::from_pkcs8(der).ok().map(Self::Rsa);
        p256().or_else(ed25519).or_else(rsa)
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::P256(pair) => pair.sign(&random, message).ok().map(|signature: signature::Signature| signature.as_ref().to_vec()),
            Self::Ed25519(pair) => pair.try_sign(message).ok().map(|signature| signature.as_ref().to_vec()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok().map(|()| signature)
            }
        }
    }
}

#[cfg(test)]
mod tests;
