//! The accept loop: a task for each connection, a deadline on each login, and nothing a silent or slow caller can hold up.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use identity::{Crowd, InCrowd};
use model::connection::Protocol;
use protocol::postgres::refusal::{Refusal, Sqlstate};
use session::Guard;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use crate::{
    dial, postgres,
    postgres::{cancel::Cancels, roles::Roles},
    ssh,
    threads::{OnThread, Threads},
    tls::CallerTls,
};

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
    threads: Threads,
}

/// What every connection of a gateway shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) guard: Arc<Guard>,
    pub(crate) tls: Option<CallerTls>,
    pub(crate) cancels: Cancels,
    pub(crate) roles: Arc<Roles>,
    pub(crate) ssh: Option<Arc<ssh::Doorway>>,
    pub(crate) stop: watch::Receiver<Stop>,
    logins: Arc<Semaphore>,
    crowd: Crowd,
}

/// The places a login takes until it ends: one in all, and one of its address.
pub(crate) struct Places {
    _in_all: OwnedSemaphorePermit,
    _of_address: InCrowd,
}

impl Gateway {
    /// A gateway for the sessions `guard` stands over, which run on `threads`. Without `tls` only callers on this machine are served. It is called by `names`.
    #[must_use]
    pub fn new(guard: Arc<Guard>, tls: Option<CallerTls>, names: &[String], threads: Threads, stop: watch::Receiver<Stop>) -> Self {
        Self { shared: Arc::new(Shared::new(guard, tls, names, stop)), threads }
    }

    /// Drops the roles that were made for sessions which have ended, those of earlier processes among them, until it is dropped itself.
    pub fn watch_roles(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shared.roles.clone().watch()
    }

    /// Waits until the roles of ended sessions are dropped, or time is up. Call it before [`watch_roles`](Self::watch_roles) is dropped.
    pub async fn finish_roles(&self, within: Duration) {
        self.shared.roles.finish(within).await;
    }

    /// Serves PostgreSQL on a listener until told to stop; returns when every session of it has ended.
    pub async fn serve_postgres(&self, listener: TcpListener) {
        self.serve(listener, Protocol::Postgres).await;
    }

    /// As [`serve_postgres`](Self::serve_postgres), for SSH.
    pub async fn serve_ssh(&self, listener: TcpListener) {
        self.serve(listener, Protocol::Ssh).await;
    }

    async fn serve(&self, listener: TcpListener, protocol: Protocol) {
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
                Ok((stream, peer)) => match self.shared.crowd.enter(peer.ip()) {
                    Some(of_address) => {
                        let (shared, places) = (self.shared.clone(), Places { _in_all: place, _of_address: of_address });
                        self.threads.spawn(&mut connections, |on_thread| connection(shared, stream, peer, protocol, places, on_thread));
                    }
                    None => send_away(&stream, peer, protocol),
                },
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

impl Shared {
    fn new(guard: Arc<Guard>, tls: Option<CallerTls>, names: &[String], stop: watch::Receiver<Stop>) -> Self {
        let (logins, crowd) = (Arc::new(Semaphore::new(guard.limits().max_logins.max(1))), Crowd::new(guard.limits().max_logins_per_address));
        let roles = Roles::new(guard.clone());
        let ssh = guard.ssh().map(|keys| Arc::new(ssh::Doorway::new(keys, names)));
        Self { guard, tls, cancels: Cancels::default(), roles, ssh, stop, logins, crowd }
    }
}

/// Too many others from there are on their way in. What the socket does not take at once is not said.
fn send_away(stream: &TcpStream, peer: SocketAddr, protocol: Protocol) {
    tracing::debug!(%peer, "a connection was closed: too many from its address are logging in");
    if protocol != Protocol::Postgres {
        return;
    }
    let mut out = BytesMut::new();
    let refusal = Refusal::new(Sqlstate::TOO_MANY_CONNECTIONS, "too many logins at once from this address");
    refusal.hint("Try again when some have ended. An administrator can raise max_logins_per_address.").fatal(&mut out);
    let _ = stream.try_write(&out);
}

/// One connection, from its first byte to its end. A panic in here ends this task only.
async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, protocol: Protocol, places: Places, _on_thread: OnThread) {
    let stream = match moved_here(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%peer, %error, "a connection was gone before it began");
            return;
        }
    };
    let deadline = Duration::from_millis(shared.guard.limits().login_timeout_ms);
    if protocol == Protocol::Ssh {
        return Box::pin(ssh::serve(shared, stream, peer, deadline, places)).await;
    }
    // Boxed, as what a login needs is given back with it.
    let logged_in = tokio::time::timeout(deadline, Box::pin(postgres::login::log_in(&shared, stream, peer))).await;
    drop(places);
    match logged_in {
        Ok(Some(pump)) => Box::pin(pump.run()).await,
        Ok(None) => {}
        Err(_) => tracing::debug!(%peer, "a caller did not finish its login in time"),
    }
}

/// The stream, heard of by the runtime of this thread and no longer by the one that accepted it.
fn moved_here(stream: TcpStream) -> std::io::Result<TcpStream> {
    let stream = TcpStream::from_std(stream.into_std()?)?;
    dial::tune(&stream)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use policy::{Files, Version};
    use session::{Limits, catalogs::CatalogSource};
    use store::Store;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::TargetCatalogs;

    async fn shared(folder: &std::path::Path) -> Arc<Shared> {
        let store = Store::open(folder).await.unwrap();
        let files = Files::from([("policy/a.cedar".to_owned(), "permit (principal, action, resource);".to_owned())]);
        let catalogs: Arc<dyn CatalogSource> = Arc::new(TargetCatalogs::new(store.clone()));
        let guard = Guard::new(store, Version::load(&files).unwrap(), Limits::default(), catalogs);
        Arc::new(Shared::new(guard, None, &[], watch::channel(Stop::No).1))
    }

    /// What the first answer to a startup packet in clear is, to a caller from this address.
    async fn answered(shared: &Arc<Shared>, peer: &str) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let peer: SocketAddr = peer.parse().unwrap();
        let places = Places { _in_all: shared.logins.clone().try_acquire_owned().unwrap(), _of_address: shared.crowd.enter(peer.ip()).unwrap() };
        tokio::spawn(connection(shared.clone(), stream, peer, Protocol::Postgres, places, OnThread::default()));
        let body = b"\0\x03\0\0user\0alice\0database\0prod-pg\0\0";
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        caller.write_all(&[&length[..], body].concat()).await.unwrap();
        let mut heard = vec![0; 256];
        let count = caller.read(&mut heard).await.unwrap();
        heard.truncate(count);
        heard
    }

    /// NEAR-13: from another machine no password is even asked for in clear.
    #[tokio::test]
    async fn near_13_only_this_machine_is_asked_for_a_password_in_clear() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path()).await;
        for here in ["127.0.0.1:4000", "127.9.9.9:4000", "[::1]:4000", "[::ffff:127.0.0.1]:4000"] {
            assert_eq!(answered(&shared, here).await, b"R\0\0\0\x08\0\0\0\x03", "{here}");
        }
        for elsewhere in ["192.0.2.7:4000", "[2001:db8::7]:4000", "[::ffff:192.0.2.7]:4000", "0.0.0.0:4000"] {
            let told = answered(&shared, elsewhere).await;
            assert!(told.starts_with(b"E") && String::from_utf8_lossy(&told).contains("only inside TLS"), "{elsewhere}: {told:?}");
        }
    }
}
