//! Whether recordings can be written. The first write that fails says no for all of them, whoever's it was; only a write that reached the file system
//! and was taken whole says yes again.
//!
//! A record that is too long, or a process without a free file descriptor, says nothing of the place the recordings lie in: that ends its own
//! session, or lets none begin.

use tokio::sync::watch;

use super::RecordingError;

/// Whether recordings can be written, and how often that failed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// No write has failed since one succeeded last.
    pub writable: bool,
    /// Failed writes since the process began.
    pub failures: u64,
}

/// What all recordings of a data directory share.
#[derive(Debug)]
pub(super) struct Shared(watch::Sender<Standing>);

impl Shared {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Standing { writable: true, failures: 0 }))
    }

    pub(super) fn now(&self) -> Standing {
        *self.0.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Standing> {
        self.0.subscribe()
    }

    /// Notes why a write did not succeed.
    pub(super) fn failed(&self, error: &RecordingError) {
        if is_of_the_place(error) {
            self.0.send_modify(|standing| *standing = Standing { writable: false, failures: standing.failures + 1 });
        }
    }

    /// A probe that began at `before` was written. Without effect if another write failed meanwhile.
    pub(super) fn written(&self, before: Standing) {
        self.0.send_if_modified(|standing| {
            let mended = *standing == before && !standing.writable;
            standing.writable |= mended;
            mended
        });
    }
}

/// Whether it says that nothing can be written where the recordings lie.
fn is_of_the_place(error: &RecordingError) -> bool {
    // EMFILE and ENFILE of open(2): no descriptor was free, no byte was tried.
    const NO_DESCRIPTOR: [i32; 2] = [24, 23];
    match error {
        RecordingError::File { source, .. } => !source.raw_os_error().is_some_and(|code| NO_DESCRIPTOR.contains(&code)),
        RecordingError::Write(_)
        | RecordingError::Poisoned(_)
        | RecordingError::Unknown(_)
        | RecordingError::Fault { .. }
        | RecordingError::Header { .. }
        | RecordingError::Key(_) => false,
    }
}
