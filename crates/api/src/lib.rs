//! The HTTP API: everything the command line does, over a local socket or TLS.
//!
//! Every request is authenticated before it is routed, except the few of [`PUBLIC`]; every handler then authorises what it does through
//! [`session::Guard`], and listings hold only what the caller may see. Nothing here opens a socket to a target, and no answer holds a secret
//! but the one it was asked to mint.

mod caller;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
pub mod fuzzed;
mod handlers;
mod json;
pub mod listen;
mod metrics;
mod openapi;
mod refused;
mod routes;
#[cfg(test)]
mod tests;
pub mod types;
mod values;

use std::sync::Arc;

use model::Timestamp;
use session::Guard;

pub use metrics::watch_router;
pub use openapi::document;
pub use routes::{PUBLIC, router};

/// What every request is answered from.
pub struct Api {
    guard: Arc<Guard>,
    gateway: types::GatewayView,
    since: Timestamp,
    metrics: metrics::Metrics,
    indexer: tokio::sync::Mutex<store::Indexer>,
    /// Requests that may be answered at once.
    places: Arc<tokio::sync::Semaphore>,
    following: handlers::follow::Following,
}

/// Requests answered at once. Those that stream count until their answer begins.
const MAX_AT_ONCE: usize = 512;

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("gateway", &self.gateway.postgres).finish_non_exhaustive()
    }
}

impl Api {
    /// An API over `guard`; `gateway` is where clients reach the gateway, `since` when it was started.
    #[must_use]
    pub fn new(guard: Arc<Guard>, gateway: types::GatewayView, since: Timestamp) -> Arc<Self> {
        let indexer = tokio::sync::Mutex::new(guard.store().indexer());
        Arc::new(Self {
            metrics: metrics::Metrics::new(),
            indexer,
            places: Arc::new(tokio::sync::Semaphore::new(MAX_AT_ONCE)),
            following: handlers::follow::Following::default(),
            guard,
            gateway,
            since,
        })
    }

    /// Brings the search index up to date with the recordings. What cannot be read of one is told in the log; the others are read.
    ///
    /// # Errors
    /// The index fails.
    pub async fn catch_up(&self) -> Result<(), store::StoreError> {
        let caught = self.indexer.lock().await.catch_up().await?;
        for fault in caught.faults {
            tracing::error!(%fault, "a recording cannot be indexed to its end");
        }
        Ok(())
    }
}
