//! What may happen to a session beside its bytes: that it is ended, that policy changed, that its caller cancels, that the gateway stops.
//!
//! Each has a future of its own, which is asked again only once it was woken: a session looks at all of them for each message.

use std::pin::Pin;

use futures_util::{StreamExt, stream::FuturesUnordered};
use session::{Session, live::Woken};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::cancel::CancelPlace;
use crate::listen::Stop;

/// One of them.
#[derive(Debug)]
pub(super) enum Signal {
    /// Call [`Signals::await_change`] to hear of the next.
    Woken(Woken),
    /// The caller cancels. Give the place back to [`Signals::await_cancel`].
    Cancel(CancelPlace, oneshot::Sender<()>),
    /// The gateway takes no new work.
    Drain,
}

/// All that are waited for.
#[derive(Debug)]
pub(crate) struct Signals(FuturesUnordered<Pin<Box<dyn Future<Output = Signal> + Send>>>);

impl Signals {
    pub(crate) fn new(session: &Session, cancels: CancelPlace, mut stop: watch::Receiver<Stop>) -> Self {
        let signals = Self(FuturesUnordered::new());
        signals.await_change(session);
        signals.await_cancel(cancels, None);
        signals.0.push(Box::pin(async move {
            let _ = stop.wait_for(|stop| *stop != Stop::No).await;
            Signal::Drain
        }));
        signals
    }

    pub(super) fn await_change(&self, session: &Session) {
        let woken = session.woken();
        self.0.push(Box::pin(async { Signal::Woken(woken.await) }));
    }

    /// Waits for the caller's next cancel request, once the one before was carried out.
    pub(super) fn await_cancel(&self, mut cancels: CancelPlace, before: Option<JoinHandle<()>>) {
        self.0.push(Box::pin(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let done = cancels.requested().await;
            Signal::Cancel(cancels, done)
        }));
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.next().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}
