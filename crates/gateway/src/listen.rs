//! The accept loop: a task for each connection, a deadline on each login, and nothing a silent or slow caller can hold up.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use session::Guard;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use crate::{dial, postgres, postgres::cancel::Cancels, tls::CallerTls};

/// Connections that may be between their first byte and the end of their login, in all. Beyond that, new ones wait to be accepted.
const MAX_LOGINS: usize = 4_096;

/// How a gateway is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Go on.
    No,
    /// Take no new sessions; end each as soon as it has nothing open.
    Drain,
}

/// A gateway that listens.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// What every connection of a gateway shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) guard: Arc<Guard>,
    pub(crate) tls: Option<CallerTls>,
    pub(crate) cancels: Cancels,
    pub(crate) stop: watch::Receiver<Stop>,
    logins: Arc<Semaphore>,
    open: AtomicU32,
}

impl Gateway {
    /// A gateway for the sessions `guard` stands over. Without `tls` only callers on this machine are served.
    #[must_use]
    pub fn new(guard: Arc<Guard>, tls: Option<CallerTls>, stop: watch::Receiver<Stop>) -> Self {
        let shared = Shared { guard, tls, cancels: Cancels::default(), stop, logins: Arc::new(Semaphore::new(MAX_LOGINS)), open: AtomicU32::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// Connections open at this moment, logged in or not.
    #[must_use]
    pub fn open_connections(&self) -> u32 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Serves PostgreSQL on a listener until told to stop; returns when every session of it has ended.
    pub async fn serve_postgres(&self, listener: TcpListener) {
        let mut stop = self.shared.stop.clone();
        let mut connections = JoinSet::new();
        loop {
            // A place for its login first: what is not accepted waits in the kernel's queue, which is bounded.
            let next = async {
                let place = self.shared.logins.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop != Stop::No) => break,
                // Ended ones are let go as they end, whatever else happens.
                Some(_) = connections.join_next() => continue,
                next = next => next,
            };
            let Ok(place) = place else { break };
            match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(self.shared.clone(), stream, peer, place));
                }
                Err(error) => {
                    // Out of file descriptors, or the like: others end meanwhile.
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// One connection, from its first byte to its end. A panic in here ends this task only.
async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
    shared.open.fetch_add(1, Ordering::Relaxed);
    let _count = Counted(&shared.open);
    if let Err(error) = dial::tune(&stream) {
        tracing::debug!(%peer, %error, "a connection was gone before it began");
        return;
    }
    let deadline = Duration::from_millis(shared.guard.limits().login_timeout_ms);
    let logged_in = tokio::time::timeout(deadline, postgres::login::log_in(&shared, stream, peer)).await;
    drop(place);
    match logged_in {
        Ok(Some(pump)) => pump.run(&shared).await,
        Ok(None) => {}
        Err(_) => tracing::debug!(%peer, "a caller did not finish its login in time"),
    }
}

struct Counted<'a>(&'a AtomicU32);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
