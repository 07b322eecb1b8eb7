//! How somebody signs in: the authorization code flow with PKCE (RFC 7636, RFC 8252), the device flow (RFC 8628), and refreshing.

use aws_lc_rs::digest;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use model::{Secret, Timestamp};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{OidcError, Person, Provider, metadata::Metadata};
use crate::fetch::Answer;

/// Random bytes in a state, a nonce, a verifier.
const RANDOM_BYTES: usize = 32;
/// How often a device may ask at least, in seconds, where the provider does not say (RFC 8628 section 3.2).
const DEVICE_INTERVAL_S: u64 = 5;
/// How much slower it asks when it is told to (section 3.5), in seconds.
const SLOWER_S: u64 = 5;
/// Longest life of a device code that is believed, in seconds.
const MAX_DEVICE_S: u64 = 1_800;

/// A sign-in that was begun, and where the person goes on with it.
#[derive(Debug)]
pub struct Begun {
    /// For their browser.
    pub url: Url,
    /// What is needed to finish it.
    pub pending: Pending,
}

/// What is needed to finish a sign-in.
#[derive(Debug, Clone)]
pub struct Pending {
    state: Secret,
    nonce: String,
    verifier: Secret,
    redirect_uri: String,
}

/// A sign-in that was begun on a device without a browser.
#[derive(Debug)]
pub struct DeviceBegun {
    /// What the device asks with.
    pub device: Device,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// How long there is, in seconds.
    pub expires_in_s: u64,
    /// How often to ask, in seconds.
    pub interval_s: u64,
}

/// What a device asks with: its code, and what proves that it is the one that began.
#[derive(Debug, Clone)]
pub struct Device {
    code: Secret,
    verifier: Secret,
}

/// What became of a sign-in on a device.
#[derive(Debug)]
pub enum Polled {
    /// Nothing yet: ask again after so many seconds more than before.
    Waiting {
        /// How much slower.
        slower_s: u64,
    },
    /// They did.
    Done(Box<SignedIn>),
}

/// Somebody who signed in.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub person: Person,
    /// What the provider can be asked with whether they still may.
    pub refresh: Option<Secret>,
}

/// What the provider said when it was asked whether somebody still may.
#[derive(Debug)]
pub enum Refreshed {
    /// Yes.
    Still {
        /// What to ask with from now on. It must be kept whatever else there is: the old one may not work any more.
        next: Option<Secret>,
        /// What is told of them now, if it is told and can be believed.
        told: Result<Option<Person>, OidcError>,
    },
    /// No, and why.
    Over(String),
}

/// Refusals that are about the person: RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6. All else is about this client or the provider.
const OVER: [&str; 6] =
    ["invalid_grant", "access_denied", "interaction_required", "login_required", "consent_required", "account_selection_required"];

/// What the token endpoint answers (RFC 6749 section 5.1).
#[derive(Deserialize)]
struct Tokens {
    access_token: Option<Zeroizing<String>>,
    id_token: Option<Zeroizing<String>>,
    refresh_token: Option<Zeroizing<String>>,
}

/// What it answers when it refuses (section 5.2).
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

impl Refusal {
    fn in_words(&self) -> String {
        let text = self.error_description.as_ref().map_or_else(|| self.error.clone(), |why| format!("{why} ({})", self.error));
        model::name::printable(&text).chars().take(200).collect()
    }
}

impl Pending {
    /// Whether an answer is one to this sign-in, in time that does not depend on how much of it is right.
    fn is_answered_by(&self, state: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.state.reveal(), state.as_bytes()).into()
    }
}

impl Provider {
    /// Begins a sign-in whose answer comes to `redirect_uri`.
    ///
    /// # Errors
    /// The provider cannot be reached.
    pub async fn begin(&self, redirect_uri: &str, now: Timestamp) -> Result<Begun, OidcError> {
        let metadata = self.metadata(now).await?;
        let (state, nonce, verifier) = (random_text()?, random_text()?, random_text()?);
        let text = |secret: &Secret| secret.reveal_str().unwrap_or_default().to_owned();
        let mut url = metadata.authorization_endpoint().map_err(|why| self.odd(why))?.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", &self.settings.scopes().join(" "))
            .append_pair("state", &text(&state))
            .append_pair("nonce", &text(&nonce))
            .append_pair("code_challenge", &challenge(&verifier))
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(self.settings.extra_parameters());
        Ok(Begun { url, pending: Pending { state, nonce: text(&nonce), verifier, redirect_uri: redirect_uri.to_owned() } })
    }

    /// Finishes it with what came back.
    ///
    /// # Errors
    /// It answers another sign-in or comes from another issuer, the provider does not take the code, or its token is not believed.
    pub async fn finish(&self, pending: &Pending, state: &str, code: &str, issuer: Option<&str>, now: Timestamp) -> Result<SignedIn, OidcError> {
        let metadata = self.metadata(now).await?;
        if !pending.is_answered_by(state) {
            return Err(OidcError::NotHere(self.name.clone(), "this answers another sign-in: begin again".to_owned()));
        }
        // RFC 9207: the answer of one provider is not carried to another.
        let from = self.settings.issuer.as_str();
        if issuer.is_some_and(|issuer| issuer != from) || (issuer.is_none() && metadata.authorization_response_iss_parameter_supported) {
            return Err(self.odd("the answer came from another issuer"));
        }
        let verifier = pending.verifier.reveal_str().unwrap_or_default();
        let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", &pending.redirect_uri), ("code_verifier", verifier)];
        let tokens: Tokens = self.success(&self.ask(&metadata, self.token_endpoint(&metadata)?, &form).await?)?;
        self.signed_in(tokens, Some(&pending.nonce), now).await
    }

    /// Begins a sign-in on a device without a browser.
    ///
    /// # Errors
    /// The provider does not offer it, or cannot be reached.
    pub async fn begin_device(&self, now: Timestamp) -> Result<DeviceBegun, OidcError> {
        #[derive(Deserialize)]
        struct Answered {
            device_code: Zeroizing<String>,
            user_code: String,
            #[serde(alias = "verification_url")] // Google's older name of it
            verification_uri: String,
            verification_uri_complete: Option<String>,
            expires_in: u64,
            interval: Option<u64>,
        }
        let metadata = self.metadata(now).await?;
        let url =
            metadata.device_authorization_endpoint.as_ref().ok_or_else(|| OidcError::NotOffered(self.name.clone(), "signing in on a device"))?;
        let scopes = self.settings.scopes().join(" ");
        // PKCE is none of RFC 8628's, but some want it of every flow; others pass over it.
        let verifier = random_text()?;
        let form = [("scope", scopes.as_str()), ("code_challenge", &challenge(&verifier)), ("code_challenge_method", "S256")];
        let device: Answered = self.success(&self.ask(&metadata, url, &form).await?)?;
        for uri in std::iter::once(&device.verification_uri).chain(&device.verification_uri_complete) {
            if !uri.parse::<Url>().is_ok_and(|uri| matches!(uri.scheme(), "https" | "http")) {
                return Err(self.odd("the address for the device is none"));
            }
        }
        Ok(DeviceBegun {
            device: Device { code: Secret::new(device.device_code.as_bytes().to_vec()), verifier },
            user_code: model::name::printable(&device.user_code),
            verification_uri: device.verification_uri,
            verification_uri_complete: device.verification_uri_complete,
            expires_in_s: device.expires_in.min(MAX_DEVICE_S),
            interval_s: device.interval.unwrap_or(DEVICE_INTERVAL_S).clamp(1, 60),
        })
    }

    /// Asks whether somebody signed in on a device by now.
    ///
    /// # Errors
    /// They refused, it took too long, or the provider's token is not believed.
    pub async fn poll_device(&self, device: &Device, now: Timestamp) -> Result<Polled, OidcError> {
        let metadata = self.metadata(now).await?;
        let (code, verifier) = (device.code.reveal_str().unwrap_or_default(), device.verifier.reveal_str().unwrap_or_default());
        let form = [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", code), ("code_verifier", verifier)];
        let answer = self.ask(&metadata, self.token_endpoint(&metadata)?, &form).await?;
        if answer.status != 200
            && let Ok(refusal) = serde_json::from_slice::<Refusal>(&answer.body)
        {
            match refusal.error.as_str() {
                "authorization_pending" => return Ok(Polled::Waiting { slower_s: 0 }),
                "slow_down" => return Ok(Polled::Waiting { slower_s: SLOWER_S }),
                _ => {}
            }
        }
        let tokens: Tokens = self.success(&answer)?;
        Ok(Polled::Done(Box::new(self.signed_in(tokens, None, now).await?)))
    }

    /// Asks whether somebody who signed in still may.
    ///
    /// # Errors
    /// The provider cannot be reached, or answers something else: that says nothing of them.
    pub async fn refresh(&self, refresh: &Secret, subject: &str, now: Timestamp) -> Result<Refreshed, OidcError> {
        let metadata = self.metadata(now).await?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.reveal_str().unwrap_or_default())];
        let answer = self.ask(&metadata, self.token_endpoint(&metadata)?, &form).await?;
        if (400..500).contains(&answer.status)
            && let Ok(refusal) = serde_json::from_slice::<Refusal>(&answer.body)
            && OVER.contains(&refusal.error.as_str())
        {
            return Ok(Refreshed::Over(refusal.in_words()));
        }
        let tokens: Tokens = self.success(&answer)?;
        let next = tokens.refresh_token.as_ref().map(|token| Secret::new(token.as_bytes().to_vec()));
        match self.told_again(&tokens, subject, now).await {
            Err(OidcError::NotHere(_, why)) => Ok(Refreshed::Over(why)),
            told => Ok(Refreshed::Still { next, told }),
        }
    }

    /// What a refreshed answer tells of the person: by its ID token, or by userinfo if it has none.
    async fn told_again(&self, tokens: &Tokens, subject: &str, now: Timestamp) -> Result<Option<Person>, OidcError> {
        let access_token = tokens.access_token.as_ref().map(|token| token.as_str());
        let claims = match (&tokens.id_token, access_token) {
            (Some(id_token), _) => Some(self.id_token(id_token, None, now).await?),
            (None, Some(token)) if self.settings.asks_userinfo() => self.userinfo(token, subject, now).await?,
            (None, _) => None,
        };
        let Some(claims) = claims else { return Ok(None) };
        // OpenID Connect Core section 12.2: it is about the same person.
        if claims.text("sub") != Some(subject) {
            return Err(OidcError::NotHere(self.name.clone(), "its answer is of somebody else".to_owned()));
        }
        self.person(&claims, access_token, now).await.map(Some)
    }

    async fn signed_in(&self, tokens: Tokens, nonce: Option<&str>, now: Timestamp) -> Result<SignedIn, OidcError> {
        let id_token = tokens.id_token.as_ref().ok_or_else(|| self.odd("there is no ID token; is the scope openid permitted?"))?;
        let claims = self.id_token(id_token, nonce, now).await?;
        let person = self.person(&claims, tokens.access_token.as_ref().map(|token| token.as_str()), now).await?;
        Ok(SignedIn { person, refresh: tokens.refresh_token.as_ref().map(|token| Secret::new(token.as_bytes().to_vec())) })
    }

    fn token_endpoint<'a>(&self, metadata: &'a Metadata) -> Result<&'a Url, OidcError> {
        metadata.token_endpoint().map_err(|why| self.odd(why))
    }

    /// Posts a form as this client.
    async fn ask(&self, metadata: &Metadata, url: &Url, form: &[(&str, &str)]) -> Result<Answer, OidcError> {
        let (authorization, body) = self.signed_form(metadata, form);
        self.fetcher.post(url, authorization, body).await.map_err(|error| self.unreachable(error))
    }

    /// A form with what proves this client: RFC 6749 section 2.3.1.
    fn signed_form(&self, metadata: &Metadata, form: &[(&str, &str)]) -> (Option<Zeroizing<String>>, Zeroizing<String>) {
        let secret = self.secret.load_full();
        let secret = secret.as_ref().map(|secret| secret.reveal_str().unwrap_or_default());
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let mut authorization = None;
        match secret {
            Some(secret) if !metadata.takes_secret_in_form() => {
                let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = Zeroizing::new(format!("{}:{}", encoded(&self.settings.client_id), *Zeroizing::new(encoded(secret))));
                authorization = Some(Zeroizing::new(format!("Basic {}", *Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes())))));
            }
            Some(secret) => drop(body.append_pair("client_id", &self.settings.client_id).append_pair("client_secret", secret)),
            None => drop(body.append_pair("client_id", &self.settings.client_id)),
        }
        (authorization, Zeroizing::new(body.finish()))
    }

    fn success<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, OidcError> {
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body).map_err(|_| self.odd("its tokens cannot be read"));
        }
        match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(refusal) => Err(OidcError::Refused(self.name.clone(), refusal.in_words())),
            Err(_) => Err(self.odd(format!("status {}", answer.status))),
        }
    }
}

/// RFC 7636 section 4.2.
fn challenge(verifier: &Secret) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.reveal()))
}

/// A text nobody guesses: 256 random bits.
///
/// # Errors
/// The system gives no randomness.
pub fn random_text() -> Result<Secret, OidcError> {
    let mut bytes = Zeroizing::new([0u8; RANDOM_BYTES]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| OidcError::NoRandomness)?;
    Ok(Secret::from(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}
