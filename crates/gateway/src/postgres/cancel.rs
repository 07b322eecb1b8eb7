//! CancelRequests: from a key of ours to the session it stands for, and from there to the right backend, or to nothing but a held operation.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use bytes::BytesMut;
use model::Connection;
use protocol::postgres::{
    login::{caller::CancelRequest, target::CancelKey},
    message::frontend,
};
use store::Store;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;

use crate::{
    dial::{self, DialError},
    link::{Link, Wire},
};

/// How long a cancel request may take at the target.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests with a wrong key from one address before it waits, and for how long.
const MAX_WRONG: u32 = 20;
const WRONG_WINDOW: Duration = Duration::from_secs(60);

/// Addresses remembered for wrong keys.
const MAX_ADDRESSES: usize = 10_000;

/// A secret of ours: 4 bytes, as protocol 3.0 has it.
type Key = (i32, [u8; 4]);

/// Sessions by the keys their callers were given.
#[derive(Debug, Default)]
pub(crate) struct Cancels {
    sessions: Arc<Mutex<HashMap<Key, mpsc::Sender<oneshot::Sender<()>>>>>,
    wrong: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

/// A session's place among the keys. Dropping it makes the key worthless.
#[derive(Debug)]
pub(crate) struct CancelPlace {
    key: Key,
    sessions: Arc<Mutex<HashMap<Key, mpsc::Sender<oneshot::Sender<()>>>>>,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
}

impl Cancels {
    /// Gives a session a key: the target's process id, which callers compare with `pg_backend_pid()`, and a secret of ours.
    pub(crate) fn register(&self, process_id: i32) -> Option<CancelPlace> {
        let mut secret = [0u8; 4];
        rand::fill(&mut secret).ok()?;
        // One request waits while one is carried out; more say nothing new.
        let (sender, requests) = mpsc::channel(1);
        let key = (process_id, secret);
        lock(&self.sessions).insert(key, sender);
        Some(CancelPlace { key, sessions: self.sessions.clone(), requests })
    }

    /// Passes a request on to its session and waits until it was carried out. Who guesses is soon not listened to.
    pub(crate) async fn request(&self, request: &CancelRequest, from: IpAddr) {
        let now = Instant::now();
        if self.guesses(from, now) {
            return;
        }
        let session =
            <[u8; 4]>::try_from(request.secret.reveal()).ok().and_then(|secret| lock(&self.sessions).get(&(request.process_id, secret)).cloned());
        let Some(session) = session else {
            self.note_wrong(from, now);
            return;
        };
        let (done, carried_out) = oneshot::channel();
        if session.try_send(done).is_ok() {
            let _ = tokio::time::timeout(PATIENCE, carried_out).await;
        }
    }

    fn guesses(&self, from: IpAddr, now: Instant) -> bool {
        lock(&self.wrong).get(&from).is_some_and(|(count, since)| *count >= MAX_WRONG && now.duration_since(*since) < WRONG_WINDOW)
    }

    fn note_wrong(&self, from: IpAddr, now: Instant) {
        let mut wrong = lock(&self.wrong);
        if wrong.len() >= MAX_ADDRESSES {
            wrong.retain(|_, (_, since)| now.duration_since(*since) < WRONG_WINDOW);
            // So many at once that counting them one by one no longer helps: the bound is kept, the counting begins anew.
            if wrong.len() >= MAX_ADDRESSES {
                wrong.clear();
            }
        }
        let entry = wrong.entry(from).or_insert((0, now));
        if now.duration_since(entry.1) >= WRONG_WINDOW {
            *entry = (0, now);
        }
        entry.0 += 1;
    }
}

impl CancelPlace {
    /// What the caller is told: process id and secret.
    pub(crate) const fn key(&self) -> &Key {
        &self.key
    }

    /// The next request; answer it when it was carried out. Never ends while the place is there.
    pub(crate) async fn requested(&mut self) -> oneshot::Sender<()> {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

impl Drop for CancelPlace {
    fn drop(&mut self) {
        lock(&self.sessions).remove(&self.key);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How to cancel what runs on a target's backend.
#[derive(Debug, Clone)]
pub(crate) struct TargetCancel {
    pub(crate) store: Store,
    pub(crate) connection: Arc<Connection>,
    pub(crate) key: CancelKey,
}

impl TargetCancel {
    /// Asks the target to cancel, over a link protected like the session's, and waits until it closed it: then the signal was sent.
    pub(crate) async fn send(&self) {
        match tokio::time::timeout(PATIENCE, self.try_send()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(connection = %self.connection.name, %error, "a statement could not be cancelled"),
            Err(_) => tracing::warn!(connection = %self.connection.name, "a statement could not be cancelled: the target does not answer"),
        }
    }

    async fn try_send(&self) -> Result<(), DialError> {
        let mut wire = Wire::new(dial::reach(&self.connection).await?);
        if let Some(checks) = dial::checks(&self.store, &self.connection, &self.connection.login).await? {
            wire = secure(wire, &self.connection, checks).await?;
        }
        let mut out = BytesMut::new();
        let written = frontend::cancel_request(&mut out, self.key.process_id, self.key.secret.reveal());
        written.map_err(|_| DialError::Gone)?;
        wire.push(out.freeze());
        wire.drain().await.map_err(|_| DialError::Gone)?;
        let mut nothing = BytesMut::new();
        let _ = wire.fill(&mut nothing, 64).await;
        Ok(())
    }
}

async fn secure(mut wire: Wire, connection: &Connection, checks: crate::tls::TargetChecks) -> Result<Wire, DialError> {
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    wire.push(out.freeze());
    wire.drain().await.map_err(|_| DialError::Gone)?;
    let mut answer = BytesMut::new();
    wire.fill(&mut answer, 1).await.map_err(|_| DialError::Gone)?;
    let (Link::Tcp(stream), b"S") = (wire.into_link(), &answer[..]) else { return Err(DialError::Gone) };
    let connecting = TlsConnector::from(checks.config).connect(checks.name, stream);
    let stream = connecting.await.map_err(|error| DialError::Handshake { host: connection.host.clone(), error })?;
    Ok(Wire::new(Link::Target(Box::new(stream))))
}

#[cfg(test)]
mod tests {
    use model::Secret;

    use super::*;

    fn request(process_id: i32, secret: [u8; 4]) -> CancelRequest {
        CancelRequest { process_id, secret: Secret::new(secret.to_vec()) }
    }

    #[tokio::test]
    async fn near_07_a_request_reaches_its_own_session_and_no_other() {
        let cancels = Cancels::default();
        let (mut one, two) = (cancels.register(7).unwrap(), cancels.register(7).unwrap());
        let here = IpAddr::from([127, 0, 0, 1]);
        let wanted = request(7, one.key().1);
        let (carried, ()) = tokio::join!(async { one.requested().await.send(()).is_ok() }, cancels.request(&wanted, here));
        assert!(carried);
        assert_eq!(lock(&cancels.sessions).len(), 2);
        drop((one, two));
        assert!(lock(&cancels.sessions).is_empty());
    }

    #[tokio::test]
    async fn who_guesses_keys_is_not_listened_to() {
        let cancels = Cancels::default();
        let mut place = cancels.register(7).unwrap();
        let guesser = IpAddr::from([127, 0, 0, 9]);
        for guess in 0..MAX_WRONG {
            cancels.request(&request(8, guess.to_be_bytes()), guesser).await;
        }
        let right = request(7, place.key().1);
        cancels.request(&right, guesser).await;
        assert!(place.requests.try_recv().is_err());
        let other = IpAddr::from([127, 0, 0, 1]);
        let (carried, ()) = tokio::join!(async { place.requested().await.send(()).is_ok() }, cancels.request(&right, other));
        assert!(carried);
    }
}
