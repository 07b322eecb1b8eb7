//! What a provider says of itself (OpenID Connect Discovery 1.0), kept for a while.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use model::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::settings::IssuerUrl;
use crate::fetch::{FetchError, Fetcher};

/// Metadata older than this is fetched anew when it is wanted, in seconds; that which is there goes on as long as it cannot be.
const FRESH_S: i64 = 3_600;
/// How long a provider that did not answer is not asked again, in seconds.
const TRY_AGAIN_S: i64 = 5;

/// Where the provider does what, and how.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    /// Issuers of workloads' tokens have neither.
    authorization_endpoint: Option<Url>,
    token_endpoint: Option<Url>,
    pub(super) jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) device_authorization_endpoint: Option<Url>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    pub(super) fn authorization_endpoint(&self) -> Result<&Url, &'static str> {
        self.authorization_endpoint.as_ref().ok_or("it has no authorization_endpoint")
    }

    pub(super) fn token_endpoint(&self) -> Result<&Url, &'static str> {
        self.token_endpoint.as_ref().ok_or("it has no token_endpoint")
    }

    /// Whether the client's secret goes into the form: where HTTP Basic is not among what is offered.
    pub(super) fn takes_secret_in_form(&self) -> bool {
        let offered = self.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
        let has = |method: &str| offered.iter().any(|offered| offered == method);
        has("client_secret_post") && !has("client_secret_basic")
    }
}

/// Metadata that was fetched once.
#[derive(Debug, Default)]
pub(crate) struct Cached {
    held: ArcSwapOption<Held>,
    /// When the provider was last asked, whether it answered or not.
    asked: Mutex<Option<Timestamp>>,
}

#[derive(Debug)]
struct Held {
    metadata: Arc<Metadata>,
    at: Timestamp,
}

impl Cached {
    pub(super) async fn get(&self, fetcher: &Fetcher, issuer: &IssuerUrl, now: Timestamp) -> Result<Arc<Metadata>, FetchError> {
        if let Some(metadata) = self.fresh(now) {
            return Ok(metadata);
        }
        // One at a time; whoever waited finds what the first one fetched.
        let mut asked = self.asked.lock().await;
        if let Some(metadata) = self.fresh(now) {
            return Ok(metadata);
        }
        let old = self.held.load().as_ref().map(|held| held.metadata.clone());
        if asked.is_some_and(|at| now.as_second().abs_diff(at.as_second()) < TRY_AGAIN_S.unsigned_abs()) {
            return old.ok_or_else(|| FetchError::Unreachable(issuer.as_str().to_owned(), "it was not a moment ago".to_owned()));
        }
        *asked = Some(now);
        match (fetch(fetcher, issuer).await, old) {
            (Ok(metadata), _) => {
                let metadata = Arc::new(metadata);
                self.held.store(Some(Arc::new(Held { metadata: metadata.clone(), at: now })));
                Ok(metadata)
            }
            (Err(error), Some(old)) => {
                tracing::warn!(issuer = issuer.as_str(), %error, "the metadata of an identity provider cannot be fetched: that fetched last is used");
                Ok(old)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Where the keys of an issuer are.
    pub(crate) async fn keys_of(&self, fetcher: &Fetcher, issuer: &IssuerUrl, now: Timestamp) -> Result<Url, FetchError> {
        self.get(fetcher, issuer, now).await.map(|metadata| metadata.jwks_uri.clone())
    }

    fn fresh(&self, now: Timestamp) -> Option<Arc<Metadata>> {
        let held = self.held.load();
        let fresh = held.as_ref().filter(|held| now.as_second().saturating_sub(held.at.as_second()) < FRESH_S)?;
        Some(fresh.metadata.clone())
    }
}

async fn fetch(fetcher: &Fetcher, issuer: &IssuerUrl) -> Result<Metadata, FetchError> {
    let url = issuer.metadata();
    let odd = |why: String| FetchError::Answer(url.to_string(), why);
    let answer = fetcher.get(&url, None).await?;
    if answer.status != 200 {
        return Err(odd(format!("status {}", answer.status)));
    }
    let metadata: Metadata = serde_json::from_slice(&answer.body).map_err(|error| odd(error.to_string()))?;
    // Section 4.3: somebody else's metadata would send people, codes and secrets to them.
    if metadata.issuer != issuer.as_str() {
        return Err(odd(format!("it calls itself `{}`, and the configuration `{}`", model::name::printable(&metadata.issuer), issuer.as_str())));
    }
    Ok(metadata)
}
