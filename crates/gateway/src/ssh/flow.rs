//! What a caller sent and nobody took yet, over all channels of its connection.
//!
//! russh opens a channel's window again as soon as it has read what fits it, whoever takes that or does not. So the bytes themselves are counted, and while too many wait, nothing more is
//! read of the connection. Requests count, too: each takes memory until it is taken. There is one exception: what a channel is to say waits for the caller's leave, which comes behind what it sends; then reading goes on, up to a second limit.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use russh::{ChannelMsg, ChannelReadHalf, Sig};

/// So many bytes may wait before nothing more is read.
const MAX_WAITING: i64 = 2 << 20;
/// And so many where a channel waits for the caller's leave to say something: more than a system holds of what is under way.
const MAX_WAITING_STARVED: i64 = 16 << 20;
/// What a message costs beside its bytes.
const MESSAGE: i64 = 256;
/// Messages that wait behind a held operation; a caller who sends more is not read until it is settled.
const MAX_AHEAD: usize = 64;
/// How long a channel waits for leave before that counts.
const STARVES_AFTER: Duration = Duration::from_millis(20);

/// The bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// For a moment less than nothing, where something is taken before it is noted that it came.
    channels: Mutex<HashMap<u32, i64>>,
    waiting: AtomicI64,
    starving: AtomicUsize,
    reader: AtomicWaker,
}

impl Flow {
    fn channels(&self) -> MutexGuard<'_, HashMap<u32, i64>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel begins.
    pub(super) fn begin(&self, id: u32) {
        self.channels().insert(id, 0);
    }

    /// The caller takes a channel that was opened to it, which begins with that. Said again it is a message like others.
    pub(super) fn taken_up(&self, id: u32) {
        let known = self.channels().contains_key(&id);
        if known { self.came(id, 0) } else { self.begin(id) }
    }

    /// Something came for a channel.
    pub(super) fn came(&self, id: u32, bytes: usize) {
        self.count(id, weight(bytes));
    }

    /// It was taken.
    pub(super) fn taken(&self, id: u32, bytes: usize) {
        self.count(id, -weight(bytes));
    }

    fn count(&self, id: u32, weight: i64) {
        let mut channels = self.channels();
        if let Some(waiting) = channels.get_mut(&id) {
            *waiting += weight;
            self.add(weight);
        }
    }

    /// A channel has ended, with all that was not taken.
    pub(super) fn end(&self, id: u32) {
        let left = self.channels().remove(&id).unwrap_or(0);
        self.add(-left);
    }

    fn add(&self, weight: i64) {
        self.waiting.fetch_add(weight, Ordering::AcqRel);
        if weight < 0 {
            self.reader.wake();
        }
    }

    /// Whether more may be read of the connection; who asks is woken when it may.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        let limit = if self.starving.load(Ordering::Acquire) > 0 { MAX_WAITING_STARVED } else { MAX_WAITING };
        if self.waiting.load(Ordering::Acquire) <= limit { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Says something to the caller, which may have to give leave first.
    pub(super) async fn says<T>(&self, saying: impl Future<Output = T>) -> T {
        let mut saying = std::pin::pin!(saying);
        if let Poll::Ready(said) = futures_util::poll!(&mut saying) {
            return said;
        }
        if let Ok(said) = tokio::time::timeout(STARVES_AFTER, &mut saying).await {
            return said;
        }
        let _starving = Starving::begin(self);
        saying.await
    }
}

/// What a caller sends on one channel, in order. A message counts until the next is asked for: by then it is passed on.
#[derive(Debug)]
pub(super) struct Inbox {
    id: u32,
    read: ChannelReadHalf,
    flow: Arc<Flow>,
    /// What came while an operation waited.
    ahead: VecDeque<ChannelMsg>,
    /// The bytes of the message that was taken last.
    in_hand: Option<usize>,
}

impl Inbox {
    pub(super) const fn new(id: u32, read: ChannelReadHalf, flow: Arc<Flow>) -> Self {
        Self { id, read, flow, ahead: VecDeque::new(), in_hand: None }
    }

    /// What comes next; none once the connection is gone. Nothing is lost where this is given up.
    pub(super) async fn next(&mut self) -> Option<ChannelMsg> {
        if let Some(bytes) = self.in_hand.take() {
            self.flow.taken(self.id, bytes);
        }
        let message = match self.ahead.pop_front() {
            Some(message) => message,
            None => self.read.wait().await?,
        };
        self.in_hand = Some(bytes(&message));
        Some(message)
    }

    /// Waits until the caller does not wait any more. What it sends meanwhile waits in order.
    pub(super) async fn gone(&mut self) {
        loop {
            if self.ahead.len() >= MAX_AHEAD {
                return std::future::pending().await;
            }
            match self.read.wait().await {
                None | Some(ChannelMsg::Close | ChannelMsg::Signal { .. }) => return,
                Some(message) => self.ahead.push_back(message),
            }
        }
    }
}

/// The bytes of a message: those that [`Flow::came`] was told of.
fn bytes(message: &ChannelMsg) -> usize {
    match message {
        ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => data.len(),
        ChannelMsg::SetEnv { variable_name, variable_value, .. } => variable_name.len() + variable_value.len(),
        ChannelMsg::Exec { command, .. } => command.len(),
        ChannelMsg::RequestSubsystem { name, .. } => name.len(),
        ChannelMsg::RequestPty { term, terminal_modes, .. } => pty_bytes(term, terminal_modes.len()),
        ChannelMsg::RequestX11 { x11_authentication_protocol, x11_authentication_cookie, .. } => {
            x11_authentication_protocol.len() + x11_authentication_cookie.len()
        }
        ChannelMsg::Signal { signal } => signal_bytes(signal),
        _ => 0,
    }
}

/// The bytes of a terminal that is asked for.
pub(super) const fn pty_bytes(term: &str, modes: usize) -> usize {
    term.len() + modes * 8
}

/// The bytes of a signal.
pub(super) const fn signal_bytes(signal: &Sig) -> usize {
    match signal {
        Sig::Custom(name) => name.len(),
        _ => 0,
    }
}

fn weight(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX / 2) + MESSAGE
}

/// A channel that waits for leave.
struct Starving<'a>(&'a Flow);

impl<'a> Starving<'a> {
    fn begin(flow: &'a Flow) -> Self {
        flow.starving.fetch_add(1, Ordering::AcqRel);
        flow.reader.wake();
        Self(flow)
    }
}

impl Drop for Starving<'_> {
    fn drop(&mut self) {
        self.0.starving.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;

    use super::*;

    fn reads(flow: &Flow) -> bool {
        flow.poll_read(&mut Context::from_waker(&noop_waker())).is_ready()
    }

    #[tokio::test]
    async fn nothing_more_is_read_while_too_much_waits_unless_somebody_waits_for_leave() {
        let flow = Flow::default();
        flow.begin(1);
        flow.begin(2);
        flow.came(1, 2 << 20);
        flow.came(9, 2 << 20); // of a channel that is gone
        assert!(!reads(&flow));
        {
            let mut saying = std::pin::pin!(flow.says(std::future::pending::<()>()));
            assert!(futures_util::poll!(&mut saying).is_pending() && !reads(&flow), "it may be a moment");
            assert!(tokio::time::timeout(STARVES_AFTER * 3, &mut saying).await.is_err() && reads(&flow));
            flow.came(2, 16 << 20);
            assert!(!reads(&flow));
        }
        flow.end(2);
        assert!(!reads(&flow), "nobody waits for leave any more");
        flow.taken(1, 2 << 20);
        assert!(reads(&flow));
        // A channel that was opened to the caller begins when the caller takes it, and once.
        flow.taken_up(3);
        assert_eq!(flow.waiting.load(Ordering::Relaxed), 0);
        flow.taken_up(3);
        assert_eq!(flow.waiting.load(Ordering::Relaxed), MESSAGE);
        flow.end(3);
        // Taken before it is noted.
        flow.taken(1, 5_000);
        flow.came(1, 5_000);
        flow.end(1);
        assert_eq!(flow.waiting.load(Ordering::Relaxed), 0);
    }
}
