//! What took how long around sessions, for an operator's traces: signing in, admission, dialling, sessions, holds.
//!
//! A span carries ids, and names that are known: never a statement, a parameter, a row or a secret, nor what a caller typed before it was
//! recognised, which may be a password in the wrong place. Switched off a span is nothing: no clock is read and no memory taken. One that
//! nobody takes in time is dropped and counted; nothing ever waits for it.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::mpsc;

use crate::ids;

/// Most spans that wait to be passed on.
const MAX_WAITING: usize = 4_096;

/// Where spans go that are over.
#[derive(Debug, Clone)]
pub struct Traces(Option<Sink>);

#[derive(Debug, Clone)]
struct Sink {
    sender: mpsc::Sender<Finished>,
    lost: Arc<AtomicU64>,
}

/// A span that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Which trace it belongs to: a caller's connection, from its sign-in to its end.
    pub trace: [u8; 16],
    /// Its own id.
    pub span: [u8; 8],
    /// The span it is part of.
    pub parent: Option<[u8; 8]>,
    /// What was done.
    pub name: &'static str,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What is known of it.
    pub attributes: Vec<(&'static str, String)>,
    /// Whether it came to nothing.
    pub failed: bool,
}

/// A span under way; it is over when this is dropped.
#[derive(Debug, Default)]
#[must_use = "a span that is dropped is over"]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    sink: Sink,
    began: Instant,
    finished: Finished,
}

impl Traces {
    /// Nowhere.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Traces that are taken from the other end.
    #[must_use]
    pub fn taken() -> (Self, mpsc::Receiver<Finished>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self(Some(Sink { sender, lost: Arc::default() })), receiver)
    }

    /// Begins a trace.
    pub fn begin(&self, name: &'static str) -> Span {
        let Some(sink) = &self.0 else { return Span(None) };
        Span::open(sink.clone(), ids::trace(), None, name)
    }

    /// How many spans were dropped so far because nobody took them in time.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |sink| sink.lost.load(Ordering::Relaxed))
    }
}

impl Span {
    fn open(sink: Sink, trace: [u8; 16], parent: Option<[u8; 8]>, name: &'static str) -> Self {
        let (began, took) = (SystemTime::now(), Duration::ZERO);
        let finished = Finished { trace, span: ids::span(), parent, name, began, took, attributes: Vec::new(), failed: false };
        Self(Some(Box::new(Open { sink, began: Instant::now(), finished })))
    }

    /// Begins a part of it, which may outlive it.
    pub fn child(&self, name: &'static str) -> Self {
        let Some(open) = &self.0 else { return Self(None) };
        Self::open(open.sink.clone(), open.finished.trace, Some(open.finished.span), name)
    }

    /// Says something of it.
    pub fn note(&mut self, key: &'static str, value: impl Display) {
        if let Some(open) = &mut self.0 {
            open.finished.attributes.push((key, value.to_string()));
        }
    }

    /// Says that it came to nothing.
    pub fn fail(&mut self) {
        if let Some(open) = &mut self.0 {
            open.finished.failed = true;
        }
    }

    /// It is over with this result.
    pub fn over<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            self.fail();
        }
        result
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut open) = self.0.take() else { return };
        open.finished.took = open.began.elapsed();
        if open.sink.sender.try_send(open.finished).is_err() {
            open.sink.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_belong_to_their_trace_and_may_outlive_their_whole() {
        let (traces, mut taken) = Traces::taken();
        let mut whole = traces.begin("login");
        let mut part = whole.child("session");
        part.note("countersign.session", 7);
        whole.fail();
        drop(whole);
        let result: Result<(), ()> = part.child("dial").over(Err(()));
        assert!(result.is_err());
        drop(part);
        let [whole, dial, part] = std::array::from_fn(|_| taken.try_recv().unwrap());
        assert_eq!((whole.name, whole.failed, whole.parent), ("login", true, None));
        assert_eq!((part.name, part.failed, part.parent, part.trace), ("session", false, Some(whole.span), whole.trace));
        assert_eq!(part.attributes, [("countersign.session", "7".to_owned())]);
        assert_eq!((dial.name, dial.failed, dial.parent), ("dial", true, Some(part.span)));
        assert_ne!(traces.begin("login").0.as_ref().unwrap().finished.trace, whole.trace);
    }

    #[test]
    fn what_nobody_takes_is_dropped_and_counted() {
        let (traces, taken) = Traces::taken();
        for _ in 0..MAX_WAITING + 3 {
            drop(traces.begin("login"));
        }
        assert_eq!(traces.lost(), 3);
        drop(taken);
        drop(traces.begin("login"));
        assert_eq!(traces.lost(), 4);
    }

    #[test]
    fn switched_off_there_is_nothing() {
        struct Unwritten;
        impl Display for Unwritten {
            fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                panic!("it was written")
            }
        }
        let traces = Traces::off();
        let mut span = traces.begin("login");
        span.note("countersign.chain", Unwritten);
        assert!(span.0.is_none() && span.child("dial").0.is_none() && traces.lost() == 0);
        assert_eq!(size_of::<Span>(), size_of::<usize>());
    }
}
