//! OpenID Connect, as a relying party: people sign in where their company keeps them.
//!
//! A person is (issuer, subject), never an address. The authorization code flow with PKCE, the device flow, refreshing and back-channel logout are here; what
//! follows from a sign-in is `session`'s. No token of a provider leaves this module but the refresh token, which is sealed in the store.

mod flow;
mod groups;
mod logout;
mod metadata;
mod person;
mod settings;

pub use flow::{Begun, Device, DeviceBegun, Pending, Polled, Refreshed, SignedIn, random_text};
pub use logout::{Logout, MAX_AGE_S as MAX_LOGOUT_AGE_S};
pub use person::Person;
pub use settings::{IssuerUrl, Preset, Settings};

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwapOption;
use model::{ProviderName, Secret, Timestamp};

use crate::{
    fetch::{FetchError, Fetcher, Reach},
    jwt::TokenError,
    keys::{Disbelieved, Keys},
};
pub(crate) use metadata::Cached;
use metadata::Metadata;

/// One provider that people sign in at.
#[derive(Debug)]
pub struct Provider {
    name: ProviderName,
    settings: Settings,
    secret: ArcSwapOption<Secret>,
    fetcher: Fetcher,
    metadata: Cached,
    keys: Keys,
}

/// Why nobody was signed in at a provider. The text is for the caller: it tells nothing of others, and no secret.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// It cannot be reached, or answers something else. The log says more.
    #[error("provider {0} cannot be reached at this moment; try again later")]
    Unreachable(ProviderName, #[source] FetchError),
    /// What it answers is not what a provider answers.
    #[error("provider {0} does not answer as it should ({1}); an administrator can find more in the gateway's log")]
    Odd(ProviderName, String),
    /// It refused: RFC 6749 section 5.2.
    #[error("provider {0} refused: {1}")]
    Refused(ProviderName, String),
    /// A token of its is not believed.
    #[error("what provider {0} answered is not believed: {1}")]
    Token(ProviderName, TokenError),
    /// It does not offer this.
    #[error("provider {0} does not offer {1}")]
    NotOffered(ProviderName, &'static str),
    /// The person may not sign in here.
    #[error("provider {0} knows you, but {1}")]
    NotHere(ProviderName, String),
    /// The system gave no randomness.
    #[error("the gateway cannot begin a sign-in at this moment")]
    NoRandomness,
}

impl Provider {
    /// A provider as it is configured. Relative paths begin at `folder`. If its settings name a secret, [give](Self::set_secret) it before anything is asked.
    ///
    /// # Errors
    /// The root to trust cannot be read.
    pub fn new(name: ProviderName, settings: Settings, folder: &Path) -> Result<Arc<Self>, FetchError> {
        let reach = if settings.internal { Reach::Internal } else { Reach::Public };
        let fetcher = Fetcher::from_file(settings.ca.as_deref(), folder, reach)?;
        Ok(Arc::new(Self { name, settings, secret: ArcSwapOption::empty(), fetcher, metadata: Cached::default(), keys: Keys::default() }))
    }

    /// What the configuration calls it.
    #[must_use]
    pub const fn name(&self) -> &ProviderName {
        &self.name
    }

    /// How it is configured.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Proves with this from now on that it is asked by whom it knows.
    pub fn set_secret(&self, secret: Secret) {
        self.secret.store(Some(Arc::new(secret)));
    }

    async fn metadata(&self, now: Timestamp) -> Result<Arc<Metadata>, OidcError> {
        self.metadata.get(&self.fetcher, &self.settings.issuer, now).await.map_err(|error| self.unreachable(error))
    }

    fn unreachable(&self, error: FetchError) -> OidcError {
        tracing::warn!(provider = %self.name, %error, "an identity provider cannot be reached");
        match error {
            FetchError::Answer(_, why) => OidcError::Odd(self.name.clone(), why),
            error => OidcError::Unreachable(self.name.clone(), error),
        }
    }

    fn disbelieved(&self, error: Disbelieved) -> OidcError {
        match error {
            Disbelieved::Token(error) => self.token(error),
            Disbelieved::Keys(error) => self.unreachable(error),
        }
    }

    fn token(&self, error: TokenError) -> OidcError {
        tracing::warn!(provider = %self.name, %error, "a token of an identity provider is not believed");
        OidcError::Token(self.name.clone(), error)
    }

    fn odd(&self, why: impl Into<String>) -> OidcError {
        OidcError::Odd(self.name.clone(), why.into())
    }
}
