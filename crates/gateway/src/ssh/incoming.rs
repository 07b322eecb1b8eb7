//! Connections that come from the machine: at what listens there for the caller (`ssh -R`), to the caller's agent (`-A`) and to its display (`-X`).
//!
//! A machine may be anybody's by now. It opens what was asked for and permitted, on the link it was asked on, and policy decides each connection anew.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use model::{Secret, name::printable};
use policy::classify::ssh::{self as classify, Forward};
use russh::{Channel, ChannelOpenFailure, client, server::Handle};
use session::ssh::{Answer, Operation, Ruling, Via};
use tokio::sync::{mpsc, oneshot};

use super::{
    conversation::{Conversation, Open},
    machine::Link,
    relay::{self, Callers, MACHINE_GONE, Running},
};

/// Channels a connection may have when the machine opens another: the rest of them is left to the caller.
const MAX_CHANNELS_FROM_MACHINE: usize = 48;
/// Connections on one link that wait to be looked at; what comes beyond them is refused.
pub(super) const MAX_ARRIVING: usize = 16;
/// How long a machine may take to begin listening, on a link that is made for it, or to end it. Such a request is answered in order with all others (RFC 4254 section 4),
/// and russh takes its answer where it arrives: nothing else of its caller's is read meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Characters of whom a machine says that it connected.
const MAX_FROM: usize = 255;

/// Where something listens on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Port { address: String, port: u32 },
    Socket(String),
}

/// What a machine may reach of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Listener(Place),
    Agent,
    Display,
}

impl Way {
    /// What is asked when it is opened.
    fn opened(&self) -> Operation {
        self.operation(match self {
            Self::Listener(place) => format!("listening at {}", place.name()),
            Self::Agent => "the agent is passed on".to_owned(),
            Self::Display => "the display is passed on".to_owned(),
        })
    }

    /// What is asked when somebody on the machine goes it. `at`: where they did.
    fn gone(&self, at: &Self, from: Option<&(String, u32)>) -> Operation {
        let to = match at {
            Self::Listener(place) => place.name(),
            Self::Agent => "the agent".to_owned(),
            Self::Display => "the display".to_owned(),
        };
        self.operation(match from {
            Some((address, port)) => format!("a connection from {address}:{port} to {to}"),
            None => format!("a connection to {to}"),
        })
    }

    /// Nobody can be asked to wait: requests are answered in order with everything else, and a connection is made by a program.
    fn operation(&self, text: String) -> Operation {
        let forward = match self {
            Self::Listener(Place::Port { address, port }) => Forward::Listen { host: address, port: *port },
            Self::Listener(Place::Socket(path)) => Forward::ListenSocket { path },
            Self::Agent => Forward::Agent,
            Self::Display => Forward::X11,
        };
        Operation {
            text: printable(&text).into(),
            facts: Arc::new(classify::forward(&forward)),
            via: Via::Forward,
            may_wait: false,
            watchable: false,
        }
    }
}

impl Place {
    fn name(&self) -> String {
        match self {
            Self::Port { address, port } if address.is_empty() => format!("*:{port}"),
            Self::Port { address, port } => format!("{address}:{port}"),
            Self::Socket(path) => format!("the socket {path}"),
        }
    }

    /// Has the machine listen; where it does.
    async fn open(&self, link: &Link) -> Result<Self, String> {
        let failed = |error: russh::Error| format!("the machine does not listen: {error}");
        match self {
            Self::Port { address, port } => {
                let chosen = link.handle.tcpip_forward(address.as_str(), *port).await.map_err(failed)?;
                let port = if *port == 0 { chosen } else { *port };
                let is_port = u16::try_from(port).is_ok_and(|port| port != 0);
                is_port.then(|| Self::Port { address: address.clone(), port }).ok_or_else(|| format!("{port} is no port"))
            }
            Self::Socket(path) => link.handle.streamlocal_forward(path.as_str()).await.map_err(failed).map(|()| self.clone()),
        }
    }

    /// Has the machine listen no more. Whether it says so.
    async fn close(&self, link: &Link) -> bool {
        let asking = async {
            match self {
                Self::Port { address, port } => link.handle.cancel_tcpip_forward(address.as_str(), *port).await,
                Self::Socket(path) => link.handle.cancel_streamlocal_forward(path.as_str()).await,
            }
        };
        matches!(tokio::time::timeout(ANSWERS_WITHIN, asking).await, Ok(Ok(())))
    }
}

/// A connection that a machine reports. Where it is dropped, it is refused.
pub(super) struct Arrival {
    at: Way,
    /// Who connected, as the machine says.
    from: Option<(String, u32)>,
    channel: Channel<client::Msg>,
    reply: client::ChannelOpenHandle,
}

impl Arrival {
    pub(super) fn new(at: Way, from: Option<(&str, u32)>, channel: Channel<client::Msg>, reply: client::ChannelOpenHandle) -> Self {
        let from = from.map(|(address, port)| (printable(&address.chars().take(MAX_FROM).collect::<String>()), port));
        Self { at, from, channel, reply }
    }
}

/// What listens on the machine. Once this is dropped, nothing that comes there is passed on.
pub(super) struct Listener {
    link: Arc<Link>,
    open: Arc<Open>,
    /// Its number.
    operation: u64,
    _stop: oneshot::Sender<()>,
}

impl Listener {
    /// Records that it is over.
    pub(super) fn over(self, error: Option<String>) {
        let tag = error.is_none().then(|| "stopped listening".to_owned());
        self.open.answered(self.operation, Answer { tag, error, ..Answer::default() });
    }
}

/// Has the machine listen for the caller, if policy permits it. Where it does.
pub(super) async fn listen(conversation: &Arc<Conversation>, handle: Handle, asked: Place) -> Option<Place> {
    if !conversation.may_listen() {
        tracing::debug!(peer = %conversation.peer(), "too much is to listen for one connection");
        return None;
    }
    let open = conversation.open().await.ok()?;
    let way = Way::Listener(asked);
    let Ok(Ruling::Forward(permit)) = open.ask_at_once(&way.opened()).await else { return None };
    let operation = permit.operation();
    match begun(conversation, &open, handle, way, operation).await {
        Ok(place) => Some(place),
        Err(why) => {
            open.answered(operation, Answer { error: Some(why), ..Answer::default() });
            None
        }
    }
}

/// On a link of its own, which ends with it: nothing else that the machine opens there is meant.
async fn begun(conversation: &Arc<Conversation>, open: &Arc<Open>, handle: Handle, way: Way, operation: u64) -> Result<Place, String> {
    let Way::Listener(asked) = &way else { return Err("nothing listens for it".to_owned()) };
    let opening = async {
        let link = Arc::new(open.link().await?);
        let arrivals = link.arrivals().ok_or(MACHINE_GONE)?;
        let place = asked.open(&link).await?;
        Ok::<_, String>((link, arrivals, place))
    };
    let (link, arrivals, place) = tokio::time::timeout(ANSWERS_WITHIN, opening).await.map_err(|_| "the machine does not answer".to_owned())??;
    let (stop, stopped) = oneshot::channel();
    conversation.listens(place.clone(), Listener { link: link.clone(), open: open.clone(), operation, _stop: stop })?;
    // It does not keep the conversation: that keeps it.
    let listening = Listening { conversation: Arc::downgrade(conversation), open: open.clone(), link, handle, way, place: place.clone() };
    tokio::spawn(listening.run(arrivals, stopped));
    Ok(place)
}

/// Has the machine listen no more. Connections that were made there go on.
pub(super) async fn stop(conversation: &Conversation, place: &Place) -> bool {
    let Some(listener) = conversation.listens_no_more(place) else { return false };
    let stopped = place.close(&listener.link).await;
    listener.over(None);
    stopped
}

/// What passes on whoever comes where the machine listens.
struct Listening {
    conversation: Weak<Conversation>,
    open: Arc<Open>,
    link: Arc<Link>,
    handle: Handle,
    /// As it was asked for, and permitted.
    way: Way,
    /// Where it is.
    place: Place,
}

impl Listening {
    async fn run(self, mut arrivals: mpsc::Receiver<Arrival>, mut stopped: oneshot::Receiver<()>) {
        let over = loop {
            let arrival = tokio::select! {
                biased;
                _ = &mut stopped => return,
                arrival = arrivals.recv() => arrival,
            };
            let Some(conversation) = self.conversation.upgrade() else { return };
            let Some(arrival) = arrival else { break MACHINE_GONE.to_owned() };
            if !matches!(&arrival.at, Way::Listener(place) if *place == self.place) {
                continue;
            }
            if let Err(why) = arrived(&conversation, &self.open, &self.handle, &self.way, arrival, self.link.clone()).await {
                break why;
            }
        };
        // What policy does not permit any more does not listen any more, either: each try would be a line of the recording.
        let listener = self.conversation.upgrade().and_then(|conversation| conversation.listens_no_more(&self.place));
        if let Some(listener) = listener {
            listener.over(Some(over));
            self.place.close(&self.link).await;
        }
    }
}

/// Something of the caller's that a channel offers to the machine.
#[derive(Debug, Clone)]
pub(super) enum Offer {
    Agent,
    Display { single_connection: bool, protocol: String, cookie: Secret, screen: u32 },
}

impl Offer {
    pub(super) const fn way(&self) -> Way {
        match self {
            Self::Agent => Way::Agent,
            Self::Display { .. } => Way::Display,
        }
    }

    /// The bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Agent => 0,
            Self::Display { protocol, cookie, .. } => protocol.len() + cookie.reveal().len(),
        }
    }
}

/// Decides whether something is offered to the machine: its number.
pub(super) async fn permitted(open: &Open, way: &Way) -> Option<u64> {
    match open.ask_at_once(&way.opened()).await {
        Ok(Ruling::Forward(permit)) => Some(permit.operation()),
        Ok(Ruling::Refuse(_)) | Err(_) => None,
    }
}

/// Passes on whoever on the machine wants what a channel offers to it. It has no end of its own: the channel's is its end. Connections that were made by then go on.
pub(super) async fn pass_on(
    conversation: &Arc<Conversation>,
    open: &Arc<Open>,
    link: &Arc<Link>,
    handle: Handle,
    mut ways: Vec<Way>,
    arrivals: Option<mpsc::Receiver<Arrival>>,
) -> Infallible {
    let Some(mut arrivals) = arrivals else { return std::future::pending().await };
    while let Some(arrival) = arrivals.recv().await {
        let Some(way) = ways.iter().find(|way| **way == arrival.at).cloned() else { continue };
        if arrived(conversation, open, &handle, &way, arrival, link.clone()).await.is_err() {
            ways.retain(|left| *left != way);
        }
    }
    std::future::pending().await
}

/// Decides a connection that the machine reports, and passes it on.
///
/// # Errors
/// Policy does not permit it: the sentence.
async fn arrived(
    conversation: &Arc<Conversation>,
    open: &Arc<Open>,
    handle: &Handle,
    way: &Way,
    arrival: Arrival,
    link: Arc<Link>,
) -> Result<(), String> {
    if conversation.channels() >= MAX_CHANNELS_FROM_MACHINE {
        arrival.reply.reject(ChannelOpenFailure::ResourceShortage).await;
        return Ok(());
    }
    let operation = match open.ask_at_once(&way.gone(&arrival.at, arrival.from.as_ref())).await {
        Ok(Ruling::Forward(permit)) => permit.operation(),
        Ok(Ruling::Refuse(why)) | Err(why) => return Err(why),
    };
    let (carrier, open, handle) = (conversation.clone(), open.clone(), handle.clone());
    conversation.spawn_beside(async move {
        carry(&carrier, &open, handle, operation, arrival).await;
        // Kept until here: with it the machine's end would be gone.
        drop(link);
    });
    Ok(())
}

/// Carries a connection from the machine to the caller, to its end.
async fn carry(conversation: &Conversation, open: &Open, handle: Handle, operation: u64, arrival: Arrival) {
    let Arrival { at, from, channel: machines, reply } = arrival;
    let (address, port) = from.unwrap_or_default();
    let opened = match at {
        Way::Listener(Place::Port { address: at, port: at_port }) => handle.channel_open_forwarded_tcpip(at, at_port, address, port).await,
        Way::Listener(Place::Socket(path)) => handle.channel_open_forwarded_streamlocal(path).await,
        Way::Agent => handle.channel_open_agent().await,
        Way::Display => handle.channel_open_x11(address, port).await,
    };
    let channel = match opened {
        Ok(channel) => channel,
        Err(error) => {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return open.answered(operation, Answer { error: Some(format!("the caller does not take it: {error}")), ..Answer::default() });
        }
    };
    let id = channel.id();
    reply.accept().await;
    let mut callers = Callers::new(channel, handle, conversation.flow());
    let running = Running { session: &open.session, operation, records: false, terminal: false, masks: false, has_status: false };
    let passed = relay::run(&running, &mut callers, machines.into(), None).await;
    let _ = callers.handle.close(id).await;
    conversation.flow().end(id.into());
    // There is where the caller is.
    open.answered(operation, Answer { tag: Some(format!("{} bytes there, {} bytes back", passed.down, passed.up)), ..passed.answer() });
}
