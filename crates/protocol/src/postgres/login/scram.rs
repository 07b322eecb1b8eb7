//! The client's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), as PostgreSQL uses them:
//! <https://www.postgresql.org/docs/current/sasl-authentication.html>.
//!
//! Each state is spent to reach the next; only [`ExpectServerFinal::verify`] says that the server knew the secret too.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The most iterations that are computed. PostgreSQL's default is 4,096; each million costs the gateway about half a second of one CPU,
/// which a target must not be able to ask for at will.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// The least entropy a nonce must have room for, in base64 characters: 18 bytes, as PostgreSQL's own.
pub const MIN_NONCE_CHARS: usize = 24;

/// How the exchange is tied to the TLS channel it runs in (RFC 5802 section 6, `gs2-cbind-flag`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// `n`: the client cannot bind.
    Unsupported,
    /// `y`: the client can, but the server did not offer it. A server that did offer it then knows that somebody took the offer away.
    NotOffered,
    /// `p=tls-server-end-point`, with the hash of the server's certificate (RFC 5929 section 4).
    ServerEndPoint(Vec<u8>),
}

impl Binding {
    const fn gs2_header(&self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::NotOffered => "y,,",
            Self::ServerEndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// What the final message carries as `c=`.
    fn channel_binding(&self) -> String {
        let mut input = self.gs2_header().as_bytes().to_vec();
        if let Self::ServerEndPoint(hash) = self {
            input.extend_from_slice(hash);
        }
        STANDARD.encode(input)
    }
}

/// Why an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The nonce given is shorter than [`MIN_NONCE_CHARS`], or holds something other than printable ASCII without a comma.
    #[error("the client's nonce cannot be used")]
    Nonce,
    /// The server's message is not what RFC 5802 says.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The server's nonce does not begin with ours, or adds nothing to it.
    #[error("the server's SCRAM nonce does not continue the client's")]
    ForeignNonce,
    /// More iterations than [`MAX_ITERATIONS`], or none.
    #[error("the server asks for {0} SCRAM iterations")]
    Iterations(u32),
    /// The server says that the exchange failed; its word for it.
    #[error("the server ended the SCRAM exchange: {0}")]
    Server(String),
    /// The server does not know the secret: it is not the target it claims to be.
    #[error("the server's SCRAM signature is wrong: it does not know the password")]
    WrongSignature,
    /// The server declared success without proof that it knows the secret.
    #[error("the server ended the SCRAM exchange before proving that it knows the password")]
    Unproven,
}

/// What PostgreSQL keeps of a password, to be given to it in the password's place: who reads the statement or the log that it stands in cannot sign in.
/// <https://www.postgresql.org/docs/current/catalog-pg-authid.html>
#[must_use]
pub fn verifier(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> String {
    let salted = salted_password(password, salt, iterations);
    let stored_key = digest::digest(&digest::SHA256, hmac_sha256(salted.as_slice(), b"Client Key").as_ref());
    let server_key = hmac_sha256(salted.as_slice(), b"Server Key");
    let (salt, stored_key, server_key) = (STANDARD.encode(salt), STANDARD.encode(stored_key), STANDARD.encode(server_key));
    format!("SCRAM-SHA-256${iterations}:{salt}${stored_key}:{server_key}")
}

/// The first message was made; the server's first is awaited.
#[derive(Debug)]
pub struct ExpectServerFirst {
    binding: Binding,
    nonce: String,
    first_bare: String,
}

/// Begins an exchange. Gives the state and the client's first message.
///
/// `user` is empty for PostgreSQL, which takes the name from the startup packet. `nonce` is random, base64, at least [`MIN_NONCE_CHARS`] long.
///
/// # Errors
/// The nonce cannot be used.
pub fn begin(binding: Binding, user: &str, nonce: &str) -> Result<(ExpectServerFirst, Vec<u8>), ScramError> {
    if nonce.len() < MIN_NONCE_CHARS {
        return Err(ScramError::Nonce);
    }
    begin_with(binding, user, nonce)
}

fn begin_with(binding: Binding, user: &str, nonce: &str) -> Result<(ExpectServerFirst, Vec<u8>), ScramError> {
    if !is_printable(nonce) {
        return Err(ScramError::Nonce);
    }
    let user = user.replace('=', "=3D").replace(',', "=2C");
    let first_bare = format!("n={user},r={nonce}");
    let message = format!("{}{first_bare}", binding.gs2_header()).into_bytes();
    Ok((ExpectServerFirst { binding, nonce: nonce.to_owned(), first_bare }, message))
}

impl ExpectServerFirst {
    /// Answers the server's first message with the proof. This is the costly step: it hashes as often as the server asks.
    ///
    /// # Errors
    /// The message is malformed, continues another exchange, or asks for too much.
    pub fn answer(self, server_first: &[u8], password: &[u8]) -> Result<(ExpectServerFinal, Vec<u8>), ScramError> {
        let text = std::str::from_utf8(server_first).map_err(|_| ScramError::Malformed("not UTF-8"))?;
        let challenge = Challenge::parse(text)?;
        let added = challenge.nonce.strip_prefix(&self.nonce).ok_or(ScramError::ForeignNonce)?;
        if added.is_empty() {
            return Err(ScramError::ForeignNonce);
        }
        let without_proof = format!("c={},r={}", self.binding.channel_binding(), challenge.nonce);
        let signed = format!("{},{text},{without_proof}", self.first_bare);
        let salted = salted_password(password, &challenge.salt, challenge.iterations);
        let proof = client_proof(&salted, signed.as_bytes());
        let server_key = hmac_sha256(salted.as_slice(), b"Server Key");
        let expected = hmac_sha256(server_key.as_ref(), signed.as_bytes());
        Ok((ExpectServerFinal { expected }, format!("{without_proof},p={}", STANDARD.encode(proof.as_slice())).into_bytes()))
    }
}

/// The proof was sent; the server's proof is awaited.
#[derive(Debug)]
pub struct ExpectServerFinal {
    expected: hmac::Tag,
}

impl ExpectServerFinal {
    /// Checks the server's proof, in constant time.
    ///
    /// # Errors
    /// The server reports a failure, or its proof is wrong.
    pub fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let text = std::str::from_utf8(server_final).map_err(|_| ScramError::Malformed("not UTF-8"))?;
        let first = text.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(ScramError::Server(model::name::printable(error).chars().take(100).collect()));
        }
        let signature = first.strip_prefix("v=").ok_or(ScramError::Malformed("no server signature"))?;
        let signature = STANDARD.decode(signature).map_err(|_| ScramError::Malformed("the server signature is not base64"))?;
        constant_time::verify_slices_are_equal(&signature, self.expected.as_ref()).map_err(|_| ScramError::WrongSignature)
    }
}

/// `server-first-message` of RFC 5802 section 7.
struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> Challenge<'a> {
    fn parse(text: &'a str) -> Result<Self, ScramError> {
        let mut attributes = text.split(',');
        let mut next = |prefix: &'static str, missing| attributes.next().and_then(|a| a.strip_prefix(prefix)).ok_or(ScramError::Malformed(missing));
        // A mandatory extension (`m=`) would come first and so is refused, as it must be by who does not know it.
        let nonce = next("r=", "no nonce")?;
        if !is_printable(nonce) {
            return Err(ScramError::Malformed("the nonce is not printable"));
        }
        let salt = STANDARD.decode(next("s=", "no salt")?).map_err(|_| ScramError::Malformed("the salt is not base64"))?;
        let count: u32 = next("i=", "no iteration count")?.parse().map_err(|_| ScramError::Malformed("the iteration count is no number"))?;
        if salt.is_empty() {
            return Err(ScramError::Malformed("the salt is empty"));
        }
        let iterations = NonZeroU32::new(count).filter(|_| count <= MAX_ITERATIONS).ok_or(ScramError::Iterations(count))?;
        Ok(Self { nonce, salt, iterations })
    }
}

/// `printable` of RFC 5802 section 7: what a nonce is made of.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

fn salted_password(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Zeroizing<[u8; 32]> {
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, &prepared(password), salted.as_mut_slice());
    salted
}

/// SASLprep (RFC 4013); a password it does not take is used as it is, as PostgreSQL does (`pg_saslprep`).
fn prepared(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = std::str::from_utf8(password).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok()).map(|text| text.into_owned().into_bytes());
    Zeroizing::new(prepared.unwrap_or_else(|| password.to_vec()))
}

/// `ClientKey XOR HMAC(H(ClientKey), AuthMessage)`.
fn client_proof(salted: &Zeroizing<[u8; 32]>, signed: &[u8]) -> Zeroizing<Vec<u8>> {
    let client_key = hmac_sha256(salted.as_slice(), b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let signature = hmac_sha256(stored_key.as_ref(), signed);
    Zeroizing::new(client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, mask)| key ^ mask).collect())
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}

/// The hash `tls-server-end-point` uses: that of the certificate's signature, but SHA-256 in place of MD5 and SHA-1 (RFC 5929 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndPointHash {
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl EndPointHash {
    /// By the OID of the certificate's signature algorithm, in dotted form. For RSASSA-PSS, which names its hash in its parameters, give the OID
    /// of that hash. None if it has no single hash (Ed25519): such a channel cannot be bound.
    #[must_use]
    pub fn of_signature(oid: &str) -> Option<Self> {
        match oid {
            // md5, sha1 and sha256 WithRSAEncryption (RFC 8017); ecdsa-with-SHA1 and -SHA256 (RFC 5758); dsa-with-sha256; the hashes themselves
            "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => Some(Self::Sha256),
            "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" | "2.16.840.1.101.3.4.3.2" => Some(Self::Sha256),
            "1.2.840.113549.2.5" | "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(Self::Sha256),
            "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" | "2.16.840.1.101.3.4.2.4" => Some(Self::Sha224),
            "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => Some(Self::Sha384),
            "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The channel binding data of the server certificate, given in DER.
    #[must_use]
    pub fn end_point(self, certificate: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha224 => &digest::SHA224,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, certificate).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7677 section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn begun() -> ExpectServerFirst {
        begin_with(Binding::Unsupported, "user", NONCE).unwrap().0
    }

    #[test]
    fn the_exchange_of_rfc_7677_comes_out_to_the_byte() {
        let (state, first) = begin_with(Binding::Unsupported, "user", NONCE).unwrap();
        assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (state, last) = state.answer(FIRST.as_bytes(), b"pencil").unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(last).unwrap(), expected);
        assert_eq!(state.verify(FINAL.as_bytes()), Ok(()));
    }

    /// As PostgreSQL itself writes it for the password of RFC 7677.
    #[test]
    fn a_verifier_is_what_the_server_would_have_made() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let expected =
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(verifier(b"pencil", &salt, NonZeroU32::new(4096).unwrap()), expected);
    }

    #[test]
    fn a_server_that_does_not_know_the_secret_is_found_out() {
        let (state, _) = begun().answer(FIRST.as_bytes(), b"pencils").unwrap();
        assert_eq!(state.verify(FINAL.as_bytes()), Err(ScramError::WrongSignature));
        for (last, error) in [
            ("v=", ScramError::WrongSignature),
            ("v=AAAA", ScramError::WrongSignature),
            ("v=?", ScramError::Malformed("the server signature is not base64")),
            ("", ScramError::Malformed("no server signature")),
            ("x=1,v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", ScramError::Malformed("no server signature")),
            ("e=invalid-proof", ScramError::Server("invalid-proof".to_owned())),
        ] {
            let (state, _) = begun().answer(FIRST.as_bytes(), b"pencil").unwrap();
            assert_eq!(state.verify(last.as_bytes()), Err(error), "{last}");
        }
    }

    #[test]
    fn a_malformed_or_greedy_challenge_is_refused() {
        for (first, error) in [
            ("r=other,s=W22Z,i=4096", ScramError::ForeignNonce),
            ("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096", ScramError::ForeignNonce),
            ("r=rOprNGfwEbeRWgbNEkqO\u{7ec},s=W22Z,i=1", ScramError::Malformed("the nonce is not printable")),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=0", ScramError::Iterations(0)),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=1000001", ScramError::Iterations(1_000_001)),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=99999999999", ScramError::Malformed("the iteration count is no number")),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=?,i=1", ScramError::Malformed("the salt is not base64")),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=,i=1", ScramError::Malformed("the salt is empty")),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z", ScramError::Malformed("no iteration count")),
            ("m=ext,r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=1", ScramError::Malformed("no nonce")),
            ("", ScramError::Malformed("no nonce")),
        ] {
            assert_eq!(begun().answer(first.as_bytes(), b"pencil").unwrap_err(), error, "{first}");
        }
        assert_eq!(begun().answer(b"\xff", b"").unwrap_err(), ScramError::Malformed("not UTF-8"));
    }

    #[test]
    fn a_nonce_must_be_long_and_cannot_end_its_attribute() {
        for nonce in ["", "short", "a,aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a aaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaé"] {
            assert_eq!(begin(Binding::NotOffered, "", nonce).unwrap_err(), ScramError::Nonce, "{nonce}");
        }
        assert!(begin(Binding::NotOffered, "", &"a".repeat(MIN_NONCE_CHARS)).is_ok());
    }

    #[test]
    fn each_binding_writes_its_own_header() {
        for (binding, header, c) in [
            (Binding::Unsupported, "n,,", "biws"),
            (Binding::NotOffered, "y,,", "eSws"),
            (Binding::ServerEndPoint(vec![1, 2, 3]), "p=tls-server-end-point,,", "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAQID"),
        ] {
            let (state, first) = begin_with(binding, "", NONCE).unwrap();
            assert_eq!(String::from_utf8(first).unwrap(), format!("{header}n=,r={NONCE}"));
            let (_, last) = state.answer(FIRST.as_bytes(), b"pencil").unwrap();
            assert!(String::from_utf8(last).unwrap().starts_with(&format!("c={c},r=")));
        }
    }

    #[test]
    fn passwords_are_prepared_as_postgresql_does() {
        // RFC 4013 section 3, and two it does not take: prohibited, and not UTF-8.
        for (password, expected) in
            [("I\u{ad}X", &b"IX"[..]), ("user", b"user"), ("\u{aa}", b"a"), ("\u{2168}", b"IX"), ("\u{7}", b"\x07"), ("a\u{a0}b", b"a b")]
        {
            assert_eq!(prepared(password.as_bytes()).as_slice(), expected, "{password:?}");
        }
        assert_eq!(prepared(b"\xff\xfe").as_slice(), b"\xff\xfe");
    }

    #[test]
    fn the_end_point_hash_follows_the_signature() {
        for (oid, hash, len) in [
            ("1.2.840.113549.1.1.4", EndPointHash::Sha256, 32),
            ("1.2.840.113549.1.1.5", EndPointHash::Sha256, 32),
            ("1.2.840.113549.1.1.11", EndPointHash::Sha256, 32),
            ("1.2.840.10045.4.3.3", EndPointHash::Sha384, 48),
            ("1.2.840.113549.1.1.13", EndPointHash::Sha512, 64),
            ("1.2.840.113549.1.1.14", EndPointHash::Sha224, 28),
        ] {
            assert_eq!(EndPointHash::of_signature(oid), Some(hash), "{oid}");
            assert_eq!(hash.end_point(b"certificate").len(), len);
        }
        assert_eq!(EndPointHash::of_signature("1.3.101.112"), None);
        assert_eq!(EndPointHash::Sha256.end_point(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
