//! The keys an issuer publishes (RFC 7517), kept for a while.
//!
//! A key that is not known makes them be fetched anew, at most once in [`REFRESH_S`] whoever asks: a flood of made-up key ids costs the issuer one request
//! a minute, and a rotation is seen with the first token it signs. While the issuer does not answer, what was fetched last goes on for [`STALE_S`].

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::Jwk;
use model::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use crate::{
    fetch::{FetchError, Fetcher},
    jwt::{Claims, Header, TokenError},
};

/// Keys are fetched at most so often, in seconds.
pub const REFRESH_S: i64 = 60;
/// And while there are none yet.
const TRY_AGAIN_S: i64 = 5;
/// Keys older than this are fetched anew when one is wanted, in seconds.
pub const FRESH_S: i64 = 3_600;
/// Keys older than this are not used at all, in seconds.
pub const STALE_S: i64 = 86_400;
/// Most keys of one issuer; more are passed over.
const MAX_KEYS: usize = 100;

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Disbelieved {
    /// The token is wrong.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The issuer's keys cannot be had.
    #[error(transparent)]
    Keys(#[from] FetchError),
}

/// The keys of one issuer.
#[derive(Debug, Default)]
pub struct Keys {
    held: ArcSwapOption<Held>,
    /// When they were last asked for.
    asked: Mutex<Option<Timestamp>>,
}

#[derive(Debug)]
struct Held {
    keys: Vec<Jwk>,
    at: Timestamp,
}

impl Held {
    /// The key for a header. A token that names none is for the only one that fits (OpenID Connect Core, section 10.1).
    fn find(&self, header: &Header) -> Option<Jwk> {
        let mut fitting = self.keys.iter().filter(|key| header.fits(key));
        let found = fitting.next()?;
        let more = fitting.next().is_some();
        (!more).then(|| found.clone())
    }

    fn age_s(&self, now: Timestamp) -> i64 {
        now.as_second().saturating_sub(self.at.as_second())
    }
}

impl Keys {
    /// The claims of a token, if one of these keys signed it. Nothing of the claims is checked.
    ///
    /// # Errors
    /// It is no token, no key of the issuer signed it, or the keys cannot be had.
    pub async fn verify(&self, token: &str, fetcher: &Fetcher, url: &Url, now: Timestamp) -> Result<(Header, Claims), Disbelieved> {
        let header = Header::read(token)?;
        let key = self.find(&header, fetcher, url, now).await?;
        let claims = Claims::signed(token, &header, &key)?;
        Ok((header, claims))
    }

    async fn find(&self, header: &Header, fetcher: &Fetcher, url: &Url, now: Timestamp) -> Result<Jwk, Disbelieved> {
        if let Some(key) = self.known(header, FRESH_S, now) {
            return Ok(key);
        }
        // One at a time; whoever waited finds what the first one fetched.
        let mut asked = self.asked.lock().await;
        if let Some(key) = self.known(header, FRESH_S, now) {
            return Ok(key);
        }
        let pause = if self.held.load().is_some() { REFRESH_S } else { TRY_AGAIN_S };
        let due = asked.is_none_or(|at| now.as_second().abs_diff(at.as_second()) >= pause.unsigned_abs());
        let mut failed = None;
        if due {
            *asked = Some(now);
            match fetch(fetcher, url).await {
                Ok(keys) => self.held.store(Some(std::sync::Arc::new(Held { keys, at: now }))),
                Err(error) => failed = Some(error),
            }
        } else if self.held.load().is_none() {
            failed = Some(FetchError::Unreachable(url.to_string(), "it was not a moment ago".to_owned()));
        }
        if let Some(key) = self.known(header, STALE_S, now) {
            if let Some(error) = failed {
                tracing::warn!(%error, "the keys of an issuer cannot be fetched: those fetched last are used");
            }
            return Ok(key);
        }
        Err(failed.map_or(Disbelieved::Token(TokenError::UnknownKey), Disbelieved::Keys))
    }

    fn known(&self, header: &Header, max_age_s: i64, now: Timestamp) -> Option<Jwk> {
        self.held.load().as_ref().filter(|held| held.age_s(now) < max_age_s).and_then(|held| held.find(header))
    }
}

async fn fetch(fetcher: &Fetcher, url: &Url) -> Result<Vec<Jwk>, FetchError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let answer = fetcher.get(url, None).await?;
    let odd = |why: String| FetchError::Answer(url.to_string(), why);
    if answer.status != 200 {
        return Err(odd(format!("status {}", answer.status)));
    }
    let set: Set = serde_json::from_slice(&answer.body).map_err(|error| odd(error.to_string()))?;
    // Keys of kinds that are not known here are for others.
    Ok(set.keys.into_iter().take(MAX_KEYS).filter_map(|key| serde_json::from_value(key).ok()).collect())
}
