//! What the target owes: one entry for each message it was sent that it answers, in order.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{Forwarding, names::Change};
use crate::postgres::refusal::Refusal;

/// Room for entries that an idle session keeps; what a deep pipeline needed beyond is given back.
const KEPT_ENTRIES: usize = 64;

/// One answer owed.
#[derive(Debug)]
pub(super) enum Owed {
    /// Everything up to ReadyForQuery.
    Query(Run),
    /// ParseComplete.
    Parse(Change),
    /// BindComplete.
    Bind { operation: u64, change: Change },
    /// ParameterDescription of a statement and its RowDescription or NoData.
    DescribeStatement { name: Bytes },
    /// RowDescription or NoData of a portal.
    DescribePortal,
    /// The same, asked by the gateway for an operation whose rows are shown: the caller never sees it.
    Shape { operation: u64 },
    /// Rows and CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Run),
    /// CloseComplete.
    Close(Change),
    /// FunctionCallResponse and ReadyForQuery.
    FunctionCall(Run),
    /// ReadyForQuery.
    Sync,
    /// The error of the message that makes a refusal real; the caller gets ours instead.
    Refusal(MadeReal),
    /// The answer to a message of a question of the gateway's own.
    Question(Part),
}

/// A refusal the target is made to share.
#[derive(Debug)]
pub(super) struct MadeReal {
    pub(super) refusal: Box<Refusal>,
    /// By a simple query, so ReadyForQuery follows.
    pub(super) whole: bool,
    pub(super) told: bool,
    /// The unnamed statement goes, as it does when a Query or a Parse of it fails.
    pub(super) change: Option<Change>,
}

/// One message of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Parse,
    Bind,
    /// What was asked.
    Rows,
    /// A statement beside it, whose completion says nothing.
    Aside,
    Close,
    /// The end of a part of it that may fail alone, the transaction being brought back behind it.
    Pause,
    Sync,
}

/// An operation that runs.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) operation: u64,
    /// Counts runs: a portal may run several times.
    pub(super) serial: u64,
    pub(super) forwarding: Arc<Forwarding>,
    pub(super) started_us: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) changed: u64,
    pub(super) tag: Option<Bytes>,
    pub(super) error: Option<super::TargetError>,
    pub(super) copying: Copying,
}

/// Whether a run exchanges COPY data at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copying {
    No,
    In,
    Out,
}

impl Run {
    pub(super) const fn new(operation: u64, serial: u64, forwarding: Arc<Forwarding>, started_us: u64) -> Self {
        Self { operation, serial, forwarding, started_us, rows: 0, bytes: 0, changed: 0, tag: None, error: None, copying: Copying::No }
    }
}

/// The queue itself.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<Owed>,
    /// Runs in the queue that may read COPY data from the caller.
    copies_in: usize,
    /// Entries that end what the target skips after an error.
    syncs: usize,
}

impl Ledger {
    pub(super) fn push(&mut self, owed: Owed) {
        self.copies_in += usize::from(reads_copy(&owed));
        self.syncs += usize::from(is_sync(&owed));
        self.entries.push_back(owed);
    }

    pub(super) fn pop(&mut self) -> Option<Owed> {
        let owed = self.entries.pop_front()?;
        self.copies_in = self.copies_in.saturating_sub(usize::from(reads_copy(&owed)));
        self.syncs = self.syncs.saturating_sub(usize::from(is_sync(&owed)));
        if self.entries.is_empty() && self.entries.capacity() > KEPT_ENTRIES {
            self.entries = VecDeque::new();
        }
        Some(owed)
    }

    pub(super) fn head(&mut self) -> Option<&mut Owed> {
        self.entries.front_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether COPY data of the caller may be meant for an operation the target was sent.
    pub(super) const fn expects_copy(&self) -> bool {
        self.copies_in > 0
    }

    /// Whether a ReadyForQuery is owed that ends what the target skips after an error.
    pub(super) const fn has_sync(&self) -> bool {
        self.syncs > 0
    }
}

pub(super) const fn is_sync(owed: &Owed) -> bool {
    matches!(owed, Owed::Sync | Owed::Question(Part::Pause | Part::Sync))
}

fn reads_copy(owed: &Owed) -> bool {
    matches!(owed, Owed::Query(run) | Owed::Execute(run) if run.forwarding.copy_in)
}
