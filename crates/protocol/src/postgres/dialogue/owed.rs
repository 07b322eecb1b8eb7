//! What the target owes: one entry for each message it was sent that it answers, in order.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{Forwarding, names::Undo};
use crate::postgres::refusal::Refusal;

/// One answer owed.
#[derive(Debug)]
pub(super) enum Owed {
    /// Everything up to ReadyForQuery.
    Query(Run),
    /// ParseComplete.
    Parse { undo: Undo, for_caller: bool },
    /// BindComplete.
    Bind { operation: u64, undo: Undo, for_caller: bool },
    /// ParameterDescription of a statement and its RowDescription or NoData.
    DescribeStatement { name: Bytes },
    /// RowDescription or NoData of a portal. `ours`: asked by the gateway, so the caller never sees it.
    DescribePortal { operation: Option<u64>, ours: bool },
    /// Rows and CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Run),
    /// CloseComplete.
    Close { undo: Undo, for_caller: bool },
    /// ReadyForQuery. `doubtful`: sent while a COPY from the caller may already have begun, which swallows it.
    Sync { doubtful: bool, for_caller: bool },
    /// Nothing, but it marks where the caller's COPY data ended.
    CopyEnd,
    /// The error of the message that makes a refusal real; the caller gets ours instead. `whole`: a simple query, so ReadyForQuery follows.
    Refusal { refusal: Box<Refusal>, whole: bool, told: bool },
    /// Rows of a question of the gateway's own.
    Question,
}

/// An operation that runs.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) operation: u64,
    pub(super) forwarding: Arc<Forwarding>,
    pub(super) undo: Undo,
    pub(super) started_us: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// CommandCompletes seen: statements of a simple query that are done.
    pub(super) completed: u32,
    pub(super) tag: Option<Bytes>,
    pub(super) error: Option<super::TargetError>,
    /// Columns of the result that runs are those of a shape the session was shown.
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
    pub(super) fn new(operation: u64, forwarding: Arc<Forwarding>, undo: Undo, started_us: u64) -> Self {
        Self { operation, forwarding, undo, started_us, rows: 0, bytes: 0, completed: 0, tag: None, error: None, copying: Copying::No }
    }
}

/// The queue itself.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<Owed>,
    /// Runs in the queue that may read COPY data from the caller.
    copies_in: usize,
}

impl Ledger {
    pub(super) fn push(&mut self, owed: Owed) {
        if reads_copy(&owed) {
            self.copies_in += 1;
        }
        self.entries.push_back(owed);
    }

    pub(super) fn pop(&mut self) -> Option<Owed> {
        let owed = self.entries.pop_front()?;
        if reads_copy(&owed) {
            self.copies_in = self.copies_in.saturating_sub(1);
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
    pub(super) fn has_sync(&self) -> bool {
        self.entries.iter().any(|owed| matches!(owed, Owed::Sync { .. }))
    }

    /// Drops markers at the head that have no answer of their own.
    pub(super) fn drop_markers(&mut self) {
        while matches!(self.entries.front(), Some(Owed::CopyEnd)) {
            self.entries.pop_front();
        }
    }

    /// The COPY at the head began: a Sync sent after it and before the end of its data is swallowed, unless the COPY fails first.
    pub(super) fn doubt_syncs(&mut self) {
        for owed in self.entries.iter_mut().skip(1) {
            match owed {
                Owed::CopyEnd => return,
                Owed::Sync { doubtful, .. } => *doubtful = true,
                _ => {}
            }
        }
    }

    /// Drops doubtful Syncs at the head: something came that is not their answer.
    pub(super) fn drop_doubtful(&mut self) {
        self.drop_markers();
        while matches!(self.entries.front(), Some(Owed::Sync { doubtful: true, .. } | Owed::CopyEnd)) {
            self.entries.pop_front();
        }
    }
}

fn reads_copy(owed: &Owed) -> bool {
    matches!(owed, Owed::Query(run) | Owed::Execute(run) if run.forwarding.copy_in)
}
