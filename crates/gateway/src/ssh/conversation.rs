//! What a caller's connection has once it is signed in: its session, and links to the machine for its channels.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use model::Timestamp;
use session::{
    Admission, Wanted, admit,
    sign_in::SignedIn,
    ssh::{Operation, Ruling, Session},
};
use tokio::{
    sync::{OnceCell, watch},
    task::JoinSet,
};

use super::{
    caller::Doorway,
    machine::{self, Link, Wish},
};
use crate::listen::{Shared, Stop};

/// Somebody who signed in, and the connection they want.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) signed_in: SignedIn,
    pub(super) connection: String,
}

/// A caller's connection.
pub(super) struct Conversation {
    shared: Arc<Shared>,
    doorway: Arc<Doorway>,
    peer: SocketAddr,
    caller: watch::Sender<Option<Arc<Caller>>>,
    open: OnceCell<Result<Arc<Open>, String>>,
    opened: watch::Sender<bool>,
    channels: Mutex<JoinSet<()>>,
}

/// One whose session is open.
pub(super) struct Open {
    pub(super) session: Arc<Session>,
    shared: Arc<Shared>,
    doorway: Arc<Doorway>,
    /// Links that no channel uses now. A channel has one for itself, so that one which nobody reads holds up no other.
    idle: Mutex<Vec<Link>>,
}

impl Conversation {
    pub(super) fn new(shared: Arc<Shared>, doorway: Arc<Doorway>, peer: SocketAddr) -> Self {
        Self {
            shared,
            doorway,
            peer,
            caller: watch::Sender::new(None),
            open: OnceCell::new(),
            opened: watch::Sender::new(false),
            channels: Mutex::default(),
        }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Somebody signed in.
    pub(super) fn enter(&self, caller: Caller) {
        self.caller.send_replace(Some(Arc::new(caller)));
    }

    /// Waits until somebody has signed in.
    pub(super) async fn signed_in(&self) {
        let mut caller = self.caller.subscribe();
        let _ = caller.wait_for(Option::is_some).await;
    }

    /// Runs a channel beside the others.
    pub(super) fn spawn(&self, channel: impl Future<Output = ()> + Send + 'static) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        while channels.try_join_next().is_some() {}
        channels.spawn(channel);
    }

    /// How many channels run.
    pub(super) fn channels(&self) -> usize {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        while channels.try_join_next().is_some() {}
        channels.len()
    }

    /// The session, opened by whichever channel needs it first.
    ///
    /// # Errors
    /// The sentence for the caller.
    pub(super) async fn open(&self) -> Result<Arc<Open>, String> {
        let open = self.open.get_or_init(|| self.admit_and_dial()).await.clone();
        self.opened.send_replace(true);
        open
    }

    async fn admit_and_dial(&self) -> Result<Arc<Open>, String> {
        let caller = self.caller.borrow().clone().ok_or("nobody has signed in")?;
        if *self.shared.stop.borrow() != Stop::No {
            return Err("the gateway is stopping".to_owned());
        }
        let guard = &self.shared.guard;
        let peer = self.peer.to_string();
        let wanted = Wanted { connection: &caller.connection, database: None, peer: &peer };
        let mut span = guard.traces().begin("login");
        span.note("client.address", self.peer.ip());
        let admission = admit(guard, &caller.signed_in, wanted, Timestamp::now()).await.map_err(|error| error.to_string())?;
        let first = self.dial_for(&admission).await?;
        let session = Session::open(admission, span.child("session")).await.map_err(|error| {
            tracing::error!(%error, "a session could not be opened");
            error.to_string()
        })?;
        Ok(Arc::new(Open { session, shared: self.shared.clone(), doorway: self.doorway.clone(), idle: Mutex::new(vec![first]) }))
    }

    async fn dial_for(&self, admission: &Admission) -> Result<Link, String> {
        let connection = admission.connection();
        let wish = Wish { connection, key_id: format!("{} {}", admission.chain(), admission.session()) };
        machine::dial(self.shared.guard.store(), self.doorway.keys(), wish).await.map_err(|error| {
            tracing::warn!(connection = %connection.name, %error, "a machine could not be dialled");
            machine::sentence(connection, &error)
        })
    }

    /// Waits until the session must end: for ever, as long as there is none.
    pub(super) async fn must_end(&self) -> String {
        let mut opened = self.opened.subscribe();
        let _ = opened.wait_for(|opened| *opened).await;
        match self.open.get() {
            Some(Ok(open)) => open.session.ended().await.to_string(),
            Some(Err(_)) | None => std::future::pending().await,
        }
    }

    /// Ends its channels and its session.
    pub(super) async fn close(&self, ending: &str) {
        let mut channels = std::mem::take(&mut *self.channels.lock().unwrap_or_else(PoisonError::into_inner));
        channels.shutdown().await;
        let Some(Ok(open)) = self.open.get() else { return };
        let idle = std::mem::take(&mut *open.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for link in idle {
            link.finish().await;
        }
        if let Err(error) = open.session.close(ending, Timestamp::now()).await {
            tracing::error!(%error, session = %open.session.id(), "the end of a session could not be recorded");
        }
    }
}

impl Open {
    /// A link for one channel: one that is idle, or a new one.
    ///
    /// # Errors
    /// The sentence for the caller.
    pub(super) async fn link(&self) -> Result<Link, String> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(link) if link.handle.is_closed() => {}
                Some(link) => return Ok(link),
                None => break,
            }
        }
        let connection = self.session.connection();
        let wish = Wish { connection: &connection, key_id: machine::key_id(&self.session) };
        machine::dial(self.shared.guard.store(), self.doorway.keys(), wish).await.map_err(|error| {
            tracing::warn!(connection = %connection.name, %error, "a machine could not be dialled again");
            machine::sentence(&connection, &error)
        })
    }

    /// Takes back a link whose channel has ended in good order.
    pub(super) fn give_back(&self, link: Link) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }

    /// Decides something that nobody can be asked to wait for.
    pub(super) async fn ask_at_once(&self, operation: &Operation) -> Result<Ruling, String> {
        let asked = self.session.ask(operation, |_| std::future::ready(()), std::future::pending()).await;
        asked.map_err(|broken| broken.to_string())
    }
}
