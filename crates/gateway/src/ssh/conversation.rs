//! What a caller's connection has once it is signed in: its session, and links to the machine for its channels.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use model::{ConnectionName, IdentityName, Timestamp, connection::Protocol};
use policy::classify::ssh as classify;
use russh::{ChannelId, ChannelOpenFailure};
use session::{
    Admission, Wanted, admit,
    sign_in::SignedIn,
    ssh::{Answer, Operation, ProvenKey, Ruling, Session, Via},
};
use tokio::{
    sync::{OnceCell, watch},
    task::JoinSet,
};

use super::{
    flow::Flow,
    incoming::{self, Listener, Offer, Place},
    machine::{self, Link, MachineError, Wish},
};
use crate::listen::{Shared, Stop};

/// Variables one channel may set, and their bytes in all.
const MAX_VARIABLES: usize = 64;
const MAX_VARIABLES_BYTES: usize = 64 << 10;
/// Places on the machine that may listen for one connection at a time: each has a link of its own.
const MAX_LISTENERS: usize = 16;
/// SSH's port where nobody says another: that of a jump.
const SSH_PORT: u32 = 22;

/// Somebody who signed in.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) name: IdentityName,
    /// For a connection; none if they only jump to others.
    pub(super) wanted: Option<(SignedIn, String)>,
    /// The key they did it with: it may open other connections, too.
    pub(super) key: Option<ProvenKey>,
}

/// A caller's connection.
pub(super) struct Conversation {
    shared: Arc<Shared>,
    peer: SocketAddr,
    /// It comes through another one.
    is_jump: bool,
    caller: watch::Sender<Option<Arc<Caller>>>,
    open: OnceCell<Result<Arc<Open>, String>>,
    opened: watch::Sender<bool>,
    /// None once it is closed: then nothing begins any more.
    running: Mutex<Option<Running>>,
    /// Counts channels that have ended.
    ended: watch::Sender<u64>,
    flow: Arc<Flow>,
    /// What channels are to begin with, as far as it was granted.
    preludes: Arc<Mutex<HashMap<u32, Prelude>>>,
}

/// What runs for its caller.
#[derive(Default)]
struct Running {
    channels: JoinSet<()>,
    listeners: HashMap<Place, Listener>,
}

/// What a channel is to begin with. What is asked for is answered as it comes: an answer that came later could be taken for one to the next question.
#[derive(Debug, Default)]
pub(super) struct Prelude {
    variables: Vec<(String, String)>,
    /// What it offers to the machine, with the numbers of what was permitted.
    offers: Vec<(Offer, u64)>,
    /// It is for something by now: for a command, a shell or a subsystem, and for nothing else any more.
    begun: bool,
}

/// One whose session is open.
pub(super) struct Open {
    pub(super) session: Arc<Session>,
    shared: Arc<Shared>,
    /// Links that no channel uses now. A channel has one for itself, so that one which nobody reads holds up no other.
    idle: Mutex<Vec<Link>>,
}

impl Conversation {
    pub(super) fn new(shared: Arc<Shared>, peer: SocketAddr) -> Self {
        Self {
            shared,
            peer,
            is_jump: false,
            caller: watch::Sender::new(None),
            open: OnceCell::new(),
            opened: watch::Sender::new(false),
            running: Mutex::new(Some(Running::default())),
            ended: watch::Sender::new(0),
            flow: Arc::default(),
            preludes: Arc::default(),
        }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What came and was not taken yet.
    pub(super) const fn flow(&self) -> &Arc<Flow> {
        &self.flow
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

    /// A channel may be asked for a command, a shell or a subsystem.
    pub(super) fn expects(&self, id: ChannelId) {
        self.preludes.lock().unwrap_or_else(PoisonError::into_inner).insert(id.into(), Prelude::default());
    }

    /// Looks at what a channel is to begin with; nothing if it is a tunnel, or gone.
    fn prelude<T: Default>(&self, id: ChannelId, look: impl FnOnce(&mut Prelude) -> T) -> T {
        self.preludes.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&id.into()).map(look).unwrap_or_default()
    }

    /// Whether something may still be asked of a channel before it begins.
    pub(super) fn is_before(&self, id: ChannelId) -> bool {
        self.prelude(id, |prelude| !prelude.begun)
    }

    /// A channel begins with what was granted. Whether it is the first time (SSH-036).
    pub(super) fn begins(&self, id: ChannelId) -> bool {
        self.prelude(id, |prelude| !std::mem::replace(&mut prelude.begun, true))
    }

    /// Whether a variable is set: what changes what programs mean is decided.
    pub(super) async fn set(&self, id: ChannelId, name: &str, value: &str) -> bool {
        let fits = self.prelude(id, |prelude| {
            let bytes: usize = prelude.variables.iter().map(|(name, value)| name.len() + value.len()).sum();
            !prelude.begun && prelude.variables.len() < MAX_VARIABLES && bytes + name.len() + value.len() <= MAX_VARIABLES_BYTES
        });
        if !fits || !self.may_set(name).await {
            return false;
        }
        self.prelude(id, |prelude| prelude.variables.push((name.to_owned(), value.to_owned())));
        true
    }

    async fn may_set(&self, name: &str) -> bool {
        let facts = Arc::new(classify::environment(name));
        let full = facts.understanding == model::Understanding::Full;
        if full && facts.pairs.iter().all(|pair| pair.action == model::Action::Connect) {
            return true;
        }
        let Ok(open) = self.open().await else { return false };
        // Its value may be a secret.
        let text = format!("the variable {}", model::name::printable(name)).into();
        match open.ask_at_once(&Operation { text, facts, via: Via::Environment, may_wait: false, watchable: false }).await {
            Ok(Ruling::Forward(permit)) => {
                open.answered(permit.operation(), Answer::default());
                true
            }
            Ok(Ruling::Refuse(_)) | Err(_) => false,
        }
    }

    /// What was set for a channel.
    pub(super) fn variables(&self, id: ChannelId) -> Vec<(String, String)> {
        self.prelude(id, |prelude| std::mem::take(&mut prelude.variables))
    }

    /// Whether something of the caller's is offered to the machine by a channel.
    pub(super) async fn offer(&self, id: ChannelId, offer: Offer) -> bool {
        let way = offer.way();
        let fits = self.prelude(id, |prelude| !prelude.begun && !prelude.offers.iter().any(|(other, _)| other.way() == way));
        if !fits || offer.bytes() > MAX_VARIABLES_BYTES {
            return false;
        }
        let Ok(open) = self.open().await else { return false };
        let Some(operation) = incoming::permitted(&open, &way).await else { return false };
        let kept = self.prelude(id, |prelude| {
            prelude.offers.push((offer, operation));
            true
        });
        if !kept {
            // The channel went meanwhile.
            open.answered(operation, Answer::default());
        }
        kept
    }

    /// What a channel offers to the machine.
    pub(super) fn offers(&self, id: ChannelId) -> Vec<(Offer, u64)> {
        self.prelude(id, |prelude| std::mem::take(&mut prelude.offers))
    }

    /// What a channel offered is offered no more.
    pub(super) async fn withdraw(&self, operations: &[u64]) {
        if operations.is_empty() {
            return;
        }
        if let Ok(open) = self.open().await {
            operations.iter().for_each(|operation| open.answered(*operation, Answer::default()));
        }
    }

    /// Looks at what runs; nothing once it is closed.
    fn running<T: Default>(&self, look: impl FnOnce(&mut Running) -> T) -> T {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(look).unwrap_or_default()
    }

    /// Runs a channel beside the others.
    pub(super) fn spawn(&self, id: ChannelId, channel: impl Future<Output = ()> + Send + 'static) {
        // Boxed, here and below: a future that is taken over takes up its room twice.
        let channel = Box::pin(channel);
        self.flow.begin(id.into());
        let (flow, preludes) = (self.flow.clone(), self.preludes.clone());
        self.spawn_beside(async move {
            channel.await;
            flow.end(id.into());
            preludes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id.into());
        });
    }

    /// Runs what is to have a channel of the caller's as soon as that takes one.
    pub(super) fn spawn_beside(&self, channel: impl Future<Output = ()> + Send + 'static) {
        let (channel, ended) = (Box::pin(channel), self.ended.clone());
        self.running(|running| {
            while running.channels.try_join_next().is_some() {}
            running.channels.spawn(async move {
                channel.await;
                ended.send_modify(|count| *count += 1);
            });
        });
    }

    /// How many channels run.
    pub(super) fn channels(&self) -> usize {
        self.running(|running| {
            while running.channels.try_join_next().is_some() {}
            running.channels.len()
        })
    }

    /// Whether the machine may listen in one more place.
    pub(super) fn may_listen(&self) -> bool {
        self.running(|running| running.listeners.len() < MAX_LISTENERS)
    }

    /// Keeps what listens on the machine, for as long as this lasts.
    ///
    /// # Errors
    /// It is too late, or too much: then nothing listens.
    pub(super) fn listens(&self, place: Place, listener: Listener) -> Result<(), String> {
        let kept = self.running(|running| {
            let fits = running.listeners.len() < MAX_LISTENERS && !running.listeners.contains_key(&place);
            fits.then(|| running.listeners.insert(place, listener)).is_some()
        });
        if kept { Ok(()) } else { Err("nothing more may listen for this connection".to_owned()) }
    }

    /// Gives up what listens in a place.
    pub(super) fn listens_no_more(&self, place: &Place) -> Option<Listener> {
        self.running(|running| running.listeners.remove(place))
    }

    /// The session, opened by whichever channel needs it first.
    ///
    /// # Errors
    /// The sentence for the caller.
    pub(super) async fn open(&self) -> Result<Arc<Open>, String> {
        let open = self.open.get_or_init(|| Box::pin(self.admit_and_dial())).await.clone();
        self.opened.send_replace(true);
        open
    }

    async fn admit_and_dial(&self) -> Result<Arc<Open>, String> {
        let caller = self.caller.borrow().clone().ok_or("nobody has signed in")?;
        let Some((signed_in, connection)) = &caller.wanted else {
            return Err(format!("say which connection: sign in as {}+CONNECTION, or jump to one with ssh -J", caller.name));
        };
        if *self.shared.stop.borrow() != Stop::No {
            return Err("the gateway is stopping".to_owned());
        }
        let guard = &self.shared.guard;
        let peer = self.peer.to_string();
        let wanted = Wanted { connection, database: None, peer: &peer };
        let mut span = guard.traces().begin("login");
        span.note("client.address", self.peer.ip());
        let admission = admit(guard, signed_in, wanted, Timestamp::now()).await.map_err(|error| error.to_string())?;
        let first = self.dial_for(&admission).await?;
        let session = Session::open(admission, span.child("session")).await.map_err(|error| {
            tracing::error!(%error, "a session could not be opened");
            error.to_string()
        })?;
        Ok(Arc::new(Open { session, shared: self.shared.clone(), idle: Mutex::new(vec![first]) }))
    }

    async fn dial_for(&self, admission: &Admission) -> Result<Link, String> {
        let connection = admission.connection();
        let wish = Wish { connection, key_id: format!("{} {}", admission.chain(), admission.session()) };
        dial(&self.shared, wish).await.map_err(|error| {
            tracing::warn!(connection = %connection.name, %error, "a machine could not be dialled");
            machine::sentence(connection, &error)
        })
    }

    /// Waits until the session must end, as long as there is one; or until the gateway stops and nothing runs in it.
    pub(super) async fn must_end(&self) -> String {
        let ended = async {
            let mut opened = self.opened.subscribe();
            let _ = opened.wait_for(|opened| *opened).await;
            match self.open.get() {
                Some(Ok(open)) => open.session.ended().await.to_string(),
                Some(Err(_)) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = ended => reason,
            () = self.drained() => "the gateway is stopping".to_owned(),
        }
    }

    /// Waits until the gateway takes no new sessions and none of the channels runs any more.
    async fn drained(&self) {
        let mut stop = self.shared.stop.clone();
        if stop.wait_for(|stop| *stop != Stop::No).await.is_err() {
            return std::future::pending().await;
        }
        let mut ended = self.ended.subscribe();
        while self.channels() > 0 && ended.changed().await.is_ok() {}
    }

    /// Where a connection to a host and port is a jump to one of the gateway's machines: the conversation with it, and who is calling.
    ///
    /// # Errors
    /// It is one, and not theirs; or they may do nothing but jump, and it is none.
    pub(super) async fn jump(&self, host: &str, port: u32) -> Result<Option<(Arc<Self>, Caller)>, ChannelOpenFailure> {
        let caller = self.caller.borrow().clone().ok_or(ChannelOpenFailure::AdministrativelyProhibited)?;
        let guard = &self.shared.guard;
        let known = host.parse::<ConnectionName>().ok().filter(|name| {
            let version = guard.version();
            let machine = version.connections.get(name).filter(|connection| connection.protocol == Protocol::Ssh);
            machine.is_some_and(|connection| port == SSH_PORT || port == u32::from(connection.port))
        });
        let refused = |why: &str| {
            tracing::info!(caller = %caller.name, host = %model::name::printable(host), port, why, "a jump was refused");
            ChannelOpenFailure::AdministrativelyProhibited
        };
        // One in another, and none in that: each costs what a connection costs.
        if known.is_some() && self.is_jump {
            return Err(refused("it is a jump from a jump"));
        }
        let Some(name) = known else {
            return if caller.wanted.is_some() { Ok(None) } else { Err(refused("there is no such machine")) };
        };
        let here = caller.wanted.as_ref().filter(|(_, connection)| *connection == name.as_str()).map(|(signed_in, _)| signed_in.clone());
        let signed_in = match (here, caller.key) {
            (Some(signed_in), _) => signed_in,
            (None, Some(key)) => {
                let signed_in = guard.sign_in_with_ssh_key(key, Some(caller.name.as_str()), &name, self.peer.ip(), Timestamp::now()).await;
                signed_in.map_err(|error| refused(&error.to_string()))?
            }
            (None, None) => return Err(refused("what they signed in with opens one connection")),
        };
        let caller = Caller { wanted: Some((signed_in, name.to_string())), ..Caller::clone(&caller) };
        Ok(Some((Arc::new(Self { is_jump: true, ..Self::new(self.shared.clone(), self.peer) }), caller)))
    }

    /// Gives what runs some time to end by itself.
    pub(super) async fn channels_end(&self, within: Duration) {
        let mut ended = self.ended.subscribe();
        let all = async { while self.channels() > 0 && ended.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(within, all).await;
    }

    /// Ends its channels and its session.
    pub(super) async fn close(&self, ending: &str) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut running) = running {
            running.channels.shutdown().await;
            running.listeners.into_values().for_each(|listener| listener.over(None));
        }
        let Some(Ok(open)) = self.open.get() else { return };
        let idle = std::mem::take(&mut *open.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for link in idle {
            link.finish().await;
        }
        if let Err(error) = Box::pin(open.session.close(ending, Timestamp::now())).await {
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
        dial(&self.shared, wish).await.map_err(|error| {
            tracing::warn!(connection = %connection.name, %error, "a machine could not be dialled again");
            machine::sentence(&connection, &error)
        })
    }

    /// Takes back a link whose channel has ended in good order. One on which the machine may open channels is for no other.
    pub(super) fn give_back(&self, link: Link) {
        if !link.is_reusable() {
            return;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
    }

    /// Records how an operation ended.
    pub(super) fn answered(&self, operation: u64, answer: Answer) {
        if let Err(error) = self.session.answered(operation, answer, Timestamp::now()) {
            tracing::error!(%error, session = %self.session.id(), "how an operation ended could not be recorded");
        }
    }

    /// Decides something that nobody can be asked to wait for.
    ///
    /// # Errors
    /// The session is over: the sentence.
    pub(super) async fn ask_at_once(&self, operation: &Operation) -> Result<Ruling, String> {
        let asked = Box::pin(self.session.ask(operation, |_| std::future::ready(()), std::future::pending())).await;
        asked.map_err(|broken| broken.to_string())
    }
}

async fn dial(shared: &Shared, wish: Wish<'_>) -> Result<Link, MachineError> {
    let doorway = shared.ssh.as_ref().ok_or(MachineError::NoKeys)?;
    Box::pin(machine::dial(&shared.guard, &doorway.dialling, wish)).await
}
