//! Ends of sessions on their way into the listing.
//!
//! What the state store does not take now is kept and tried again; a session that is dropped without an end (its task panicked, or its login ran
//! out of time while it was listed) is listed as broken off.
//!
//! Growth: one entry for each session that has ended and is listed as live. None begins while the state store is lost.

use std::sync::{Arc, Mutex, PoisonError};

use model::{SessionId, Timestamp};
use store::{StoreError, state::State};

use crate::{guard::Guard, trace::Span};

/// How a session is listed that went without saying how.
const BROKEN_OFF: &str = "it was broken off by a failure of the gateway";

/// The place of a session in the listing, from its entry to its end.
#[derive(Debug)]
pub(crate) struct Listing {
    guard: Arc<Guard>,
    session: SessionId,
    /// What the session asked so far.
    pub(crate) operations: u64,
    /// As long as the session.
    pub(crate) span: Span,
    ended: bool,
}

/// An end that is not listed yet.
#[derive(Debug)]
pub(crate) struct Ending {
    session: SessionId,
    how: String,
    operations: u64,
    at: Timestamp,
}

/// Those that wait for the state store.
#[derive(Debug, Default)]
pub(crate) struct Endings(Mutex<Vec<Ending>>);

impl Listing {
    pub(crate) const fn new(guard: Arc<Guard>, session: SessionId, operations: u64, span: Span) -> Self {
        Self { guard, session, operations, span, ended: false }
    }

    /// Lists the end, now or as soon as the state store takes it.
    pub(crate) async fn end(mut self, how: &str, at: Timestamp) {
        let ending = Ending { session: self.session, how: how.to_owned(), operations: self.operations, at };
        if let Err(error) = ending.list(self.guard.store().state()).await {
            tracing::error!(%error, session = %self.session, "the end of a session could not be listed yet");
            self.guard.endings().keep(ending);
        }
        self.ended = true;
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.span.note("countersign.operations", self.operations);
        if !self.ended {
            let ending = Ending { session: self.session, how: BROKEN_OFF.to_owned(), operations: self.operations, at: Timestamp::now() };
            self.guard.endings().keep(ending);
        }
    }
}

impl Ending {
    async fn list(&self, state: &State) -> Result<(), StoreError> {
        state.end_session(self.session, &self.how, self.operations, self.at).await.map(drop)
    }
}

impl Endings {
    fn keep(&self, ending: Ending) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ending);
    }

    /// Lists those that wait, as far as the state store takes them.
    pub(crate) async fn list(&self, state: &State) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut waiting = waiting.into_iter();
        for ending in waiting.by_ref() {
            if ending.list(state).await.is_err() {
                self.keep(ending);
                break;
            }
        }
        waiting.for_each(|ending| self.keep(ending));
    }
}
