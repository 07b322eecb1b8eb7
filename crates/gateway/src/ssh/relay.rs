//! What passes between a caller's channel and its machine's once what it is for was permitted. Each way goes at its reader's pace: bytes are taken from the
//! one side only as the other side's window lets them go on.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use model::Timestamp;
use russh::{
    Channel, ChannelId, ChannelMsg, ChannelWriteHalf, Sig, client,
    server::{Handle, Msg},
};
use session::{
    approve::Watch,
    ssh::{Answer, Session, Shown, Stream},
};
use tokio::time::Instant;

use super::{
    ahead::{FromMachine, Machines},
    flow::{Flow, Inbox},
    typed::Typed,
};

/// Why what runs is broken off.
pub(super) const CALLER_LEFT: &str = "the caller left";
pub(super) const MACHINE_GONE: &str = "the machine is gone";

/// How long a machine has to close a channel that its caller has closed.
const CLOSES_WITHIN: Duration = Duration::from_secs(2);
/// How long output may be held for its mask when nothing more comes.
const HELD_AT_MOST: Duration = Duration::from_millis(20);

/// The stream of an extended data message that is the standard error. RFC 4254 section 5.2.
pub(super) const STDERR: u32 = 1;

/// How a command or shell ended.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    /// By itself.
    Status(u32),
    /// By a signal.
    Signal { name: Sig, core_dumped: bool, message: String },
    /// The machine did not say.
    Unknown,
}

impl Ended {
    /// Tells the caller, if it is known.
    pub(super) async fn tell(&self, handle: &Handle, id: ChannelId) {
        let _ = match self.clone() {
            Self::Status(status) => handle.exit_status_request(id, status).await,
            Self::Signal { name, core_dumped, message } => handle.exit_signal_request(id, name, core_dumped, message, String::new()).await,
            Self::Unknown => Ok(()),
        };
    }
}

/// What passed.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) ended: Ended,
    /// Bytes the caller got.
    pub(super) down: u64,
    /// Bytes the machine got.
    pub(super) up: u64,
    /// The machine closed its channel itself: the link is good for another.
    pub(super) in_order: bool,
    /// Why it was broken off.
    pub(super) broken: Option<String>,
    /// It was ended here, and the caller does not know why yet.
    pub(super) stopped: bool,
    /// What was masked in what the caller got.
    pub(super) masked: Vec<String>,
}

impl Passed {
    pub(super) fn answer(&self) -> Answer {
        let tag = match &self.ended {
            Ended::Status(status) => Some(format!("exit {status}")),
            Ended::Signal { name, .. } => Some(format!("signal {}", signal_name(name))),
            Ended::Unknown => None,
        };
        Answer { tag, error: self.broken.clone(), bytes: self.down, masked: self.masked.clone() }
    }
}

/// As RFC 4254 section 6.10 names it.
fn signal_name(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => model::name::printable(name),
        known => format!("{known:?}"),
    }
}

/// The caller's end of a channel.
pub(super) struct Callers {
    pub(super) id: ChannelId,
    pub(super) handle: Handle,
    pub(super) inbox: Inbox,
    pub(super) write: Arc<ChannelWriteHalf<Msg>>,
    /// It was told that nothing more comes: once is all that clients bear.
    pub(super) ended: bool,
    /// What came and was not taken yet, over all channels.
    pub(super) flow: Arc<Flow>,
}

impl Callers {
    pub(super) fn new(channel: Channel<Msg>, handle: Handle, flow: &Arc<Flow>) -> Self {
        let id = channel.id();
        let (read, write) = channel.split();
        Self { id, handle, inbox: Inbox::new(id.into(), read, flow.clone()), write: Arc::new(write), ended: false, flow: flow.clone() }
    }

    /// Tells the caller that nothing more comes, unless it was.
    pub(super) async fn end(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        self.write.eof().await.map_err(|_| CALLER_LEFT.to_owned())
    }

    /// Tells the caller something on its standard error.
    pub(super) fn teller(&self) -> impl FnOnce(String) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + use<> {
        let (id, handle) = (self.id, self.handle.clone());
        move |text| Box::pin(async move { drop(handle.extended_data(id, STDERR, lines(&text)).await) })
    }
}

/// A text as a terminal in raw mode shows it, each line saying who speaks.
pub(super) fn lines(text: &str) -> Vec<u8> {
    text.lines().flat_map(|line| format!("countersign: {line}\r\n").into_bytes()).collect()
}

/// A command or shell that runs.
pub(super) struct Running<'a> {
    pub(super) session: &'a Session,
    /// Its number.
    pub(super) operation: u64,
    /// What it shows is recorded.
    pub(super) records: bool,
    /// It has a terminal: what is typed is recorded, too, as far as it is shown.
    pub(super) terminal: bool,
    /// What it shows may be masked: it is no protocol of its own.
    pub(super) masks: bool,
    /// It ends with a status: it is no tunnel.
    pub(super) has_status: bool,
}

/// Passes bytes both ways until the machine has closed its channel, or the caller has; or what must be watched is not.
pub(super) async fn run(running: &Running<'_>, callers: &mut Callers, machines: Machines, watch: Option<&mut Watch>) -> Passed {
    let Machines { hear: mut from_machine, say: to_machine } = machines;
    let Callers { id, handle, inbox, write, ended: told_end, flow } = callers;
    let typed = running.terminal.then(Mutex::default);
    let begins = || running.masks.then(|| running.session.shows(Timestamp::now()));
    let (output, error) = (begins(), begins());
    let mut down = Down {
        running,
        typed: typed.as_ref(),
        to_caller: write,
        flow,
        told_end,
        handle,
        id: *id,
        output,
        error,
        idle_at: None,
        no_more: false,
        bytes: 0,
        ended: Ended::Unknown,
    };
    let up = Up { running, typed: typed.as_ref(), to_machine: &to_machine, bytes: AtomicU64::new(0) };
    let unwatched = unwatched(running, watch, write, flow);
    let passed = tokio::select! {
        broken = down.pass(&mut from_machine) => Ok(broken),
        why = up.pass(inbox) => Err((why, false)),
        why = unwatched => Err((why, true)),
    };
    let (broken, in_order, stopped) = match passed {
        Ok(broken) => {
            let in_order = broken.is_none();
            (broken, in_order, false)
        }
        Err((why, stopped)) => {
            // Whoever has all that was written may close before the machine does, which then follows by itself. What is closed from here first is forgotten by russh, with all
            // that the machine still says of it.
            let follows = why == CALLER_LEFT && down.no_more;
            // What runs on the same link may be stuck: then the link is cut.
            if !follows {
                let _ = tokio::time::timeout(CLOSES_WITHIN, to_machine.close()).await;
            }
            let closed = tokio::time::timeout(CLOSES_WITHIN, down.until_closed(&mut from_machine)).await.unwrap_or(false);
            if follows && !closed {
                let _ = tokio::time::timeout(CLOSES_WITHIN, to_machine.close()).await;
            }
            // Once it is known how it ended, it is no break that either side went. A tunnel ends when either side has no more to say.
            let went = why == CALLER_LEFT || why == MACHINE_GONE;
            let known = !matches!(down.ended, Ended::Unknown) || (!running.has_status && (closed || down.no_more));
            (Some(why).filter(|_| !went || !known), closed, stopped)
        }
    };
    let up = up.bytes.load(Ordering::Relaxed);
    let masked: BTreeSet<&str> = [&down.output, &down.error].into_iter().flatten().flat_map(Shown::masked).collect();
    let masked = masked.into_iter().map(str::to_owned).collect();
    Passed { ended: down.ended, down: down.bytes, up, in_order, broken, stopped, masked }
}

/// Why it may not go on, when it must be watched and is not. The caller is told of it as far as it takes what it is told.
async fn unwatched(running: &Running<'_>, watch: Option<&mut Watch>, write: &ChannelWriteHalf<Msg>, flow: &Flow) -> String {
    let Some(watch) = watch else { return std::future::pending().await };
    let tell = |text: String| async move { drop(flow.says(write.extended_data_bytes(STDERR, lines(&text))).await) };
    running.session.goes_unwatched(running.operation, watch, tell).await
}

/// From the machine to the caller.
struct Down<'a> {
    running: &'a Running<'a>,
    typed: Option<&'a Mutex<Typed>>,
    to_caller: &'a ChannelWriteHalf<Msg>,
    flow: &'a Flow,
    told_end: &'a mut bool,
    handle: &'a Handle,
    id: ChannelId,
    /// How its output is shown, and its standard error; none where nothing is masked.
    output: Option<Shown>,
    error: Option<Shown>,
    /// When what is held is shown, unless more comes before.
    idle_at: Option<Instant>,
    /// The machine says that nothing more comes.
    no_more: bool,
    bytes: u64,
    ended: Ended,
}

impl Down<'_> {
    /// Why it was broken off; none at the machine's own end.
    async fn pass(&mut self, from_machine: &mut FromMachine) -> Option<String> {
        loop {
            let message = match self.idle_at {
                None => from_machine.wait().await,
                Some(at) => match tokio::time::timeout_at(at, from_machine.wait()).await {
                    Ok(message) => message,
                    Err(_) => match self.idle().await {
                        Ok(()) => continue,
                        Err(why) => return Some(why),
                    },
                },
            };
            let passed = match message {
                Some(ChannelMsg::Data { data }) => self.take(Stream::Output, data).await,
                Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => self.take(Stream::Error, data).await,
                Some(ChannelMsg::Eof) => {
                    self.no_more = true;
                    self.end().await
                }
                Some(message @ (ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. })) => {
                    // At its place among the rest: a caller may close once it has read all and knows this.
                    self.note(message);
                    self.ended.tell(self.handle, self.id).await;
                    self.tell_end().await
                }
                Some(ChannelMsg::Close) => return self.end().await.err(),
                None => return Some(self.end().await.err().unwrap_or_else(|| MACHINE_GONE.to_owned())),
                Some(_) => Ok(()),
            };
            if let Err(why) = passed {
                return Some(why);
            }
        }
    }

    fn note(&mut self, message: ChannelMsg) {
        match message {
            ChannelMsg::ExitStatus { exit_status } => self.ended = Ended::Status(exit_status),
            ChannelMsg::ExitSignal { signal_name, core_dumped, error_message, .. } => {
                self.ended = Ended::Signal { name: signal_name, core_dumped, message: error_message };
            }
            _ => {}
        }
    }

    /// Takes what still comes from the machine and is for nobody. Whether it closed its channel.
    async fn until_closed(&mut self, from_machine: &mut FromMachine) -> bool {
        loop {
            match from_machine.wait().await {
                Some(ChannelMsg::Close) => return true,
                Some(message) => self.note(message),
                None => return false,
            }
        }
    }

    /// How a stream is shown.
    const fn shown(&mut self, stream: Stream) -> Option<&mut Shown> {
        match stream {
            Stream::Error => self.error.as_mut(),
            Stream::Output | Stream::Input => self.output.as_mut(),
        }
    }

    async fn take(&mut self, stream: Stream, data: Bytes) -> Result<(), String> {
        let session = self.running.session;
        let data = match self.shown(stream) {
            Some(shown) => session.show(shown, data, Timestamp::now()),
            None => data,
        };
        let holds = [&self.output, &self.error].into_iter().flatten().any(Shown::holds);
        self.idle_at = holds.then(|| Instant::now() + HELD_AT_MOST);
        self.show(stream, data).await
    }

    /// Nothing came for a while.
    async fn idle(&mut self) -> Result<(), String> {
        self.idle_at = None;
        for stream in [Stream::Output, Stream::Error] {
            if let Some(data) = self.shown(stream).map(Shown::idle) {
                self.show(stream, data).await?;
            }
        }
        Ok(())
    }

    /// Nothing more comes.
    async fn end(&mut self) -> Result<(), String> {
        for stream in [Stream::Output, Stream::Error] {
            if let Some(data) = self.shown(stream).map(Shown::end) {
                self.show(stream, data).await?;
            }
        }
        self.tell_end().await
    }

    /// Tells that nothing more comes, behind how it ended: a caller that has no more to say closes then, and hears nothing after that.
    async fn tell_end(&mut self) -> Result<(), String> {
        let known = !self.running.has_status || !matches!(self.ended, Ended::Unknown);
        if !self.no_more || !known || std::mem::replace(self.told_end, true) {
            return Ok(());
        }
        self.to_caller.eof().await.map_err(|_| CALLER_LEFT.to_owned())
    }

    /// Recorded first, where it is recorded.
    async fn show(&mut self, stream: Stream, data: Bytes) -> Result<(), String> {
        if data.is_empty() {
            return Ok(());
        }
        if let Some(typed) = self.typed {
            let echoed = typed.lock().unwrap_or_else(PoisonError::into_inner).shown(&data);
            self.running.record(Stream::Input, &echoed)?;
        }
        if self.running.records {
            self.running.record(stream, &data)?;
        }
        let bytes = data.len() as u64;
        let sent = match stream {
            Stream::Error => self.flow.says(self.to_caller.extended_data_bytes(STDERR, data)).await,
            Stream::Output | Stream::Input => self.flow.says(self.to_caller.data_bytes(data)).await,
        };
        self.bytes = self.bytes.saturating_add(bytes);
        sent.map_err(|_| CALLER_LEFT.to_owned())
    }
}

impl Running<'_> {
    fn record(&self, stream: Stream, data: &[u8]) -> Result<(), String> {
        if data.is_empty() {
            return Ok(());
        }
        self.session.passes(self.operation, stream, data, Timestamp::now()).map_err(|broken| broken.to_string())
    }
}

/// From the caller to the machine.
struct Up<'a> {
    running: &'a Running<'a>,
    typed: Option<&'a Mutex<Typed>>,
    to_machine: &'a ChannelWriteHalf<client::Msg>,
    bytes: AtomicU64,
}

impl Up<'_> {
    /// Ends when the caller closes its channel, or cannot be served any more: why.
    async fn pass(&self, inbox: &mut Inbox) -> String {
        loop {
            let passed = match inbox.next().await {
                Some(ChannelMsg::Data { data }) => {
                    self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                    if let Some(typed) = self.typed {
                        let keys = typed.lock().unwrap_or_else(PoisonError::into_inner).typed(&data);
                        if let Err(why) = self.running.record(Stream::Input, &keys) {
                            return why;
                        }
                    }
                    self.to_machine.data_bytes(data).await
                }
                Some(ChannelMsg::Eof) => self.to_machine.eof().await,
                Some(ChannelMsg::Signal { signal }) => self.to_machine.signal(signal).await,
                Some(ChannelMsg::WindowChange { col_width, row_height, pix_width, pix_height }) => {
                    if let Err(broken) = self.running.session.resized(self.running.operation, (col_width, row_height), Timestamp::now()) {
                        return broken.to_string();
                    }
                    self.to_machine.window_change(col_width, row_height, pix_width, pix_height).await
                }
                Some(ChannelMsg::Close) | None => return CALLER_LEFT.to_owned(),
                // What would begin another command was refused where it came, and nothing takes what a caller sends beside its input.
                Some(_) => Ok(()),
            };
            if passed.is_err() {
                return MACHINE_GONE.to_owned();
            }
        }
    }
}
