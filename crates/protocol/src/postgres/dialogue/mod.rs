//! One conversation after login: bytes of both sides in, [`Move`]s out.
//!
//! The driver appends what it read to [`Dialogue::input`], calls [`Dialogue::received`], and then drains [`Dialogue::next_move`] until it
//! answers [`Move::Wait`]. The same holds after [`Dialogue::rule`], [`Dialogue::hold`], [`Dialogue::question`] and [`Dialogue::notify`].
//!
//! What this room must never do: send the target a byte of an operation that was not ruled on (a [`Ruling::Forward`] holds
//! the permit), lose its place in what the target owes, or let a peer make it keep more than its limits.
//!
//! Reading order: [`Dialogue`] here; [`caller`] for what callers send; [`target`] for what targets answer; `owed` and `names` for
//! what is remembered in between.

mod caller;
mod large_objects;
mod names;
mod owed;
mod settings;
mod target;

use std::{collections::VecDeque, marker::PhantomData, sync::Arc};

use bytes::{Bytes, BytesMut};
use model::{
    Facts,
    facts::{ApplicationName, NameEffect},
};

use self::{
    caller::{OpenCopy, Pending},
    owed::{Ledger, Owed, Part},
};
pub use self::{
    names::{Cursor, Named, Names, Prepared},
    settings::Settings,
};
pub use super::message::backend::Transaction;
use super::{
    frame,
    message::{
        Unencodable,
        frontend::{self, Kind},
    },
    refusal::{Refusal, Sqlstate},
};
use crate::{Side, reader::Malformed};

/// Room for moves that an idle session keeps.
const KEPT_MOVES: usize = 64;

/// Named limits of one conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Limits of single messages.
    pub frame: frame::Limits,
    /// Answers the target may owe before the caller is no longer read.
    pub max_owed: usize,
    /// Bytes that may wait behind an operation that is being decided or held; more ends the session.
    pub max_waiting_bytes: usize,
    /// Bytes of prepared statements' texts kept for one session.
    pub max_prepared_bytes: usize,
    /// Bytes of one row that is masked or recorded; a longer one ends the session.
    pub max_shown_row_bytes: usize,
    /// Bytes kept of the answers to one [`Dialogue::question`]; more ends the session.
    pub max_answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: frame::Limits::default(),
            max_owed: 16_384,
            max_waiting_bytes: 4 << 20,
            max_prepared_bytes: 64 << 20,
            max_shown_row_bytes: 64 << 20,
            max_answer_bytes: MAX_ANSWER_BYTES,
        }
    }
}

/// What the driver is to do next.
#[derive(Debug)]
pub enum Move {
    /// Have this operation decided, then call [`Dialogue::rule`]. Nothing else of the caller is looked at until then.
    Ask(Operation),
    /// Send these bytes.
    Send(Side, Bytes),
    /// Show these frames of an answer to the session, which records and masks them; what it hands back goes to the caller.
    Show(Reply),
    /// An operation ended; to be recorded before what follows is sent.
    Answered(Answer),
    /// The answer to [`Dialogue::question`].
    Learned(Result<Vec<Rows>, String>),
    /// The operation being decided or held will never run: the target skips it. The caller was told by the target.
    Withdraw(u64),
    /// Nothing more until something is received.
    Wait,
    /// The conversation is over: send what was moved before, then close.
    End(Ending),
}

/// Rows of one of the gateway's own questions, as text.
pub type Rows = Vec<Vec<Option<String>>>;

/// Most that is kept of the answers to the gateway's own questions, in bytes: a catalog of a million columns fits. What a target says is not to fill
/// the gateway's memory.
pub const MAX_ANSWER_BYTES: usize = 256 << 20;

/// What keeping a row of [`Rows`] costs, in bytes.
#[must_use]
pub fn kept_bytes(row: &[Option<String>]) -> usize {
    let cells = std::mem::size_of_val(row) + std::mem::size_of::<Vec<Option<String>>>();
    row.iter().flatten().map(String::len).sum::<usize>() + cells
}

/// One thing a caller asks for.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Counts up from 1 within the session.
    pub id: u64,
    /// By which message it was asked.
    pub kind: OperationKind,
    /// Its text. For a portal or statement the dialogue does not know, the SQL that would use it.
    pub text: Arc<str>,
    /// Whether the text may speak of prepared statements or cursors there are. Without [`Names`] such a text is not understood.
    pub speaks: bool,
    /// Of a Bind: what its statement meant when it was prepared.
    pub meant: Option<Arc<Facts>>,
    /// Parameter values, at Bind.
    pub parameters: Vec<Parameter>,
    /// Of an Execute: the Bind that made its portal, which was decided before [`Dialogue::decisions_changed`]. It means what that meant.
    pub bound: Option<u64>,
    /// Where the caller's transaction stands, as far as the target has said; open in a pipeline, which has an implicit one.
    pub transaction: Transaction,
}

/// By which message an operation is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// A simple query: decided whole before any of it is forwarded.
    Query,
    /// A statement is prepared: refused only if it is denied whatever its parameters are; never held.
    Parse,
    /// A statement is bound to parameters: decided, and held here.
    Bind,
    /// A portal is run that the protocol did not make, or that was decided under what is no longer in force.
    Execute,
    /// The FunctionCall message. The text of one that calls a function of large objects is the SQL call.
    FunctionCall {
        /// The function's OID.
        function: u32,
    },
}

/// One parameter of a Bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its type; 0 when nobody has named it yet.
    pub type_oid: u32,
    /// Whether the value is in the type's binary form.
    pub binary: bool,
    /// The bytes; none for NULL.
    pub value: Option<Bytes>,
}

/// The settled decision, handed back. `P` is the permit only `session` can make.
#[derive(Debug)]
pub enum Ruling<P> {
    /// Forward it, in this way.
    Forward(P, Forwarding),
    /// Refuse it, with this sentence; the target is brought where it would be had the operation failed there.
    Refuse(Refusal),
}

/// How an operation is forwarded and its answer treated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Rows go through [`Move::Show`]: a value may be masked, or rows are recorded.
    pub show: bool,
    /// From here to the session's end errors and notices are made generic.
    pub generic_errors: bool,
    /// It may read COPY data from the caller.
    pub copy_in: bool,
    /// COPY data for the caller is rewritten: it comes by whole messages.
    pub copy_whole: bool,
    /// What it does to prepared statements and cursors.
    pub names: Vec<NameEffect>,
    /// It is one statement alone.
    pub alone: bool,
    /// It runs code that may open or close cursors out of sight.
    pub opaque: bool,
    /// It is a plain SET, RESET or SHOW of `application_name`.
    pub application_name: Option<ApplicationName>,
    /// What it means: statements and cursors it makes keep that.
    pub meant: Option<Arc<Facts>>,
}

/// Frames of an answer for the session to see.
#[derive(Debug)]
pub struct Reply {
    /// The operation they answer.
    pub operation: u64,
    /// What they are.
    pub kind: ReplyKind,
    /// Whole frames.
    pub frames: Bytes,
}

/// What frames shown to the session are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// One RowDescription. `forward`: the caller asked for it, so it goes on after it was seen.
    Shape {
        /// Whether the caller gets it.
        forward: bool,
    },
    /// One or more DataRows.
    Rows,
    /// CopyData, perhaps not on message boundaries, from this side; forwarded as it is.
    Copy(Side),
    /// One CopyOutResponse, of a COPY that is rewritten; it goes on after it was seen.
    CopyBegins,
    /// One or more CopyData messages of the target, whole.
    CopyRows,
}

/// How an operation ended, or one run of it: a portal that is executed several times is answered as often, each time with its own rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which.
    pub operation: u64,
    /// Microseconds from forwarding to the end of its answer.
    pub duration_us: u64,
    /// Rows returned.
    pub rows: u64,
    /// Bytes of rows and COPY data.
    pub bytes: u64,
    /// Rows changed, by all command tags there were.
    pub changed: u64,
    /// Its last command tag, as sent.
    pub tag: Option<Bytes>,
    /// What the target said went wrong.
    pub error: Option<TargetError>,
    /// The target skipped it after an earlier error.
    pub skipped: bool,
}

/// The part of a target's error that is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetError {
    /// SQLSTATE.
    pub sqlstate: String,
    /// The primary message; a generic one once errors are generic.
    pub message: String,
}

/// How a conversation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The caller said goodbye.
    Terminated,
    /// The caller broke the protocol or a limit.
    CallerBroke(String),
    /// The target broke the protocol.
    TargetBroke(String),
}

/// One conversation between a caller and a target, both logged in.
#[derive(Debug)]
pub struct Dialogue<P> {
    limits: Limits,
    caller: BytesMut,
    target: BytesMut,
    moves: VecDeque<Move>,
    owed: Ledger,
    names: Names,
    settings: Settings,
    pending: Option<Pending>,
    skip: Skip,
    transaction: Transaction,
    /// Extended messages were forwarded since the last Sync or Query: an implicit transaction may be open.
    unsynced: bool,
    /// Some of them since the last Flush.
    unflushed: bool,
    /// A COPY from the caller whose data may still come: nothing else goes to the target meanwhile.
    open_copy: Option<OpenCopy>,
    /// The caller's next message waits for an answer of the target.
    stalled: bool,
    /// The operation being decided waits for people.
    held: bool,
    /// The operation the driver was last asked about.
    asked: u64,
    /// Bytes of a caller's CopyData still to come; whether they are forwarded.
    caller_stream: Stream,
    /// Bytes of a target's row or CopyData still to come.
    target_stream: usize,
    /// Who sees what still streams.
    target_shown: Option<(u64, ReplyKind)>,
    question: Option<Question>,
    generic_errors: bool,
    /// Notices of ours that wait for the end of a message to the caller.
    notices: Vec<Bytes>,
    next_operation: u64,
    /// Counts changes of what decisions are made under.
    epoch: u64,
    runs: u64,
    /// Counts Syncs and Queries sent: within one segment whatever follows a failure is skipped.
    segment: u64,
    /// Something of the open transaction, or all of it, is rolled back.
    undone: bool,
    /// The target said that it ends the session, and why.
    told_fatal: bool,
    ended: bool,
    permits: PhantomData<fn(P)>,
}

/// What is skipped of the caller until its next Sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    /// Nothing.
    No,
    /// Everything; the target skips too, and gets the Sync.
    WithTarget,
    /// Everything; the target knows nothing of it, so the Sync is answered here.
    Here,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    left: usize,
    forward: bool,
}

#[derive(Debug)]
struct Question {
    asked: usize,
    rows: Rows,
    results: Vec<Rows>,
    /// What is kept of the answers so far.
    bytes: usize,
    failed: Option<String>,
    /// It is undone, so that its failure is none of the caller's transaction.
    undone: bool,
}

impl<P> Dialogue<P> {
    /// Begins after both logins: the target is idle, the caller was told so.
    #[must_use]
    pub fn new(limits: Limits, settings: Settings) -> Self {
        Self {
            limits,
            caller: BytesMut::new(),
            target: BytesMut::new(),
            moves: VecDeque::new(),
            owed: Ledger::default(),
            names: Names::default(),
            settings,
            pending: None,
            skip: Skip::No,
            transaction: Transaction::Idle,
            unsynced: false,
            unflushed: false,
            open_copy: None,
            stalled: false,
            held: false,
            asked: 0,
            caller_stream: Stream::default(),
            target_stream: 0,
            target_shown: None,
            question: None,
            generic_errors: false,
            notices: Vec::new(),
            next_operation: 0,
            epoch: 0,
            runs: 0,
            segment: 0,
            undone: false,
            told_fatal: false,
            ended: false,
            permits: PhantomData,
        }
    }

    /// Where the driver appends what it read from `side`.
    pub const fn input(&mut self, side: Side) -> &mut BytesMut {
        match side {
            Side::Caller => &mut self.caller,
            Side::Target => &mut self.target,
        }
    }

    /// Whether more of `side` should be read now: not of the caller while its next message waits for a ruling or an answer with a full buffer,
    /// nor while the target owes too much. While an operation is held the caller is read on, so that its departure is noticed.
    #[must_use]
    pub fn wants(&self, side: Side) -> bool {
        match side {
            Side::Caller => {
                let full = self.has_words_left() && self.caller.len() >= self.limits.max_waiting_bytes;
                !self.ended && !full && self.has_room()
            }
            Side::Target => !self.ended,
        }
    }

    /// Whether a message of the caller's that is here in full waits for a ruling or an answer, and so for no person: what a caller said before it
    /// left is still to be done.
    #[must_use]
    pub const fn has_words_left(&self) -> bool {
        !self.ended && !self.held && (self.stalled || self.pending.is_some())
    }

    /// Takes in what was appended to `side`. `now_us`: microseconds since some fixed moment of the session.
    pub fn received(&mut self, side: Side, now_us: u64) {
        if self.ended {
            return;
        }
        match side {
            Side::Caller => self.step_caller(now_us),
            Side::Target => {
                self.step_target(now_us);
                // What the target answered may have made room, or ended what the caller's next message waits for.
                self.step_caller(now_us);
            }
        }
    }

    /// The next thing to do, in order. [`Move::Wait`] when there is nothing.
    pub fn next_move(&mut self) -> Move {
        let next = self.moves.pop_front().unwrap_or(Move::Wait);
        if self.moves.is_empty() && self.moves.capacity() > KEPT_MOVES {
            self.moves = VecDeque::new();
        }
        if let Move::Ask(operation) = &next {
            self.asked = operation.id;
        }
        next
    }

    /// Settles the operation last asked about. Without effect if that was withdrawn meanwhile.
    pub fn rule(&mut self, ruling: Ruling<P>, now_us: u64) {
        // INVARIANT: a permit counts only for the operation the driver has seen last, never for one whose Ask is still queued.
        let Some(pending) = self.pending.take_if(|pending| pending.operation == self.asked) else { return };
        self.held = false;
        match ruling {
            Ruling::Forward(permit, forwarding) => self.forward(permit, pending, forwarding, now_us),
            Ruling::Refuse(refusal) => self.refuse(&pending, refusal),
        }
        self.step_caller(now_us);
    }

    /// What decisions are made under has changed: portals that exist are decided anew when they are executed.
    pub const fn decisions_changed(&mut self) {
        self.epoch += 1;
    }

    /// The operation last asked about waits for people: asks the target for all it owes, so that the caller has it meanwhile.
    pub fn hold(&mut self) {
        self.held = self.pending.is_some();
        self.flush_owed();
    }

    /// Tells the caller something on the side, between two of the target's messages.
    pub fn notify(&mut self, notice: Bytes) {
        if self.target_stream > 0 {
            self.notices.push(notice);
        } else {
            self.moves.push_back(Move::Send(Side::Caller, notice));
        }
    }

    /// Asks the target something of the gateway's own, on the caller's connection and in its transaction, while an operation is being decided.
    /// Never ends an implicit transaction and never touches an unnamed statement. Between the caller's operations in a transaction block it is undone
    /// (`SAVEPOINT`, `ROLLBACK TO`): no lock of it stays, and if it fails the transaction does not. The answer comes as [`Move::Learned`].
    pub fn question(&mut self, statements: &[&str]) {
        let undone = self.transaction == Transaction::Open && !self.unsynced && self.owed.is_empty();
        self.question = Some(Question { asked: statements.len(), rows: Rows::new(), results: Vec::new(), bytes: 0, failed: None, undone });
        if undone {
            self.ask_target("SAVEPOINT _countersign", Part::Aside);
            self.sync_question(Part::Pause);
        }
        for statement in statements {
            self.ask_target(statement, Part::Rows);
        }
        if undone {
            self.sync_question(Part::Pause);
            self.ask_target("ROLLBACK TO SAVEPOINT _countersign", Part::Aside);
            self.ask_target("RELEASE SAVEPOINT _countersign", Part::Aside);
        }
        if self.unsynced {
            self.unflushed = true;
            self.flush_owed();
        } else {
            self.sync_question(Part::Sync);
        }
    }

    fn sync_question(&mut self, part: Part) {
        self.owed.push(Owed::Question(part));
        self.send_to_target(|out| {
            frontend::sync(out);
            Ok(())
        });
    }

    fn ask_target(&mut self, statement: &str, runs: Part) {
        const NAME: &[u8] = b"_countersign";
        self.send_to_target(|out| {
            frontend::close(out, Kind::Portal, NAME)?;
            frontend::close(out, Kind::Statement, NAME)?;
            frontend::parse(out, NAME, statement.as_bytes(), &[])?;
            frontend::bind(out, NAME, NAME, &[], &[], &[])?;
            frontend::execute(out, NAME, 0)?;
            frontend::close(out, Kind::Portal, NAME)?;
            frontend::close(out, Kind::Statement, NAME)
        });
        for part in [Part::Close, Part::Close, Part::Parse, Part::Bind, runs, Part::Close, Part::Close] {
            self.owed.push(Owed::Question(part));
        }
    }

    /// Asks the target for all it owes, if it may be keeping some of it back.
    fn flush_owed(&mut self) {
        if std::mem::take(&mut self.unflushed) {
            self.send_to_target(|out| {
                frontend::flush(out);
                Ok(())
            });
        }
    }

    /// Whether the target owes few enough answers to be sent more. A COPY that waits for its data is always sent them.
    fn has_room(&self) -> bool {
        self.owed.len() < self.limits.max_owed || self.open_copy.is_some()
    }

    /// Prepared statements and cursors as they stand for the operation being decided.
    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// Settings the target reported.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where the caller's transaction stands, as far as the target has said.
    #[must_use]
    pub const fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// Whether the target still works on something it was sent.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Whether every transaction, an implicit one of a pipeline too, has ended for certain: the target owes nothing, nothing was sent since the
    /// last Sync, and nothing is being decided.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.owed.is_empty() && !self.unsynced && self.pending.is_none() && self.transaction == Transaction::Idle
    }

    /// Whether the target said that it ends the session: there is nothing to add to that.
    #[must_use]
    pub const fn is_told_fatal(&self) -> bool {
        self.told_fatal
    }

    /// Whether bytes of a message to the caller are still to come, so that nothing else can be told it.
    #[must_use]
    pub const fn is_mid_message(&self) -> bool {
        self.target_stream > 0
    }

    fn send_to_target(&mut self, write: impl FnOnce(&mut BytesMut) -> Result<(), Unencodable>) {
        let mut out = BytesMut::new();
        match write(&mut out) {
            Ok(()) => self.moves.push_back(Move::Send(Side::Target, out.freeze())),
            Err(error) => self.limit_passed(error.to_string()),
        }
    }

    fn send_to_caller(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        write(&mut out);
        self.moves.push_back(Move::Send(Side::Caller, out.freeze()));
    }

    /// The caller broke the protocol or a limit: it is told, and the conversation ends.
    fn break_off(&mut self, refusal: &Refusal, why: String) {
        if self.target_stream == 0 {
            self.send_to_caller(|out| refusal.fatal(out));
        }
        self.end(Ending::CallerBroke(why));
    }

    fn limit_passed(&mut self, why: String) {
        self.break_off(&Refusal::new(Sqlstate::LIMIT_EXCEEDED, why.clone()), why);
    }

    fn malformed(&mut self, why: Malformed) {
        self.break_off(&Refusal::from(why), why.to_string());
    }

    fn end(&mut self, ending: Ending) {
        if !self.ended {
            self.ended = true;
            self.moves.push_back(Move::End(ending));
        }
    }
}

#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
pub(crate) mod tests;
