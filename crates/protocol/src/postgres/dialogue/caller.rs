//! What callers send: cut into messages, asked about where something is decided, forwarded or refused.

use std::sync::Arc;

use bytes::Bytes;
use model::Facts;

use super::{
    Answer, Dialogue, Ending, Forwarding, Move, Operation, OperationKind, Parameter, Reply, ReplyKind, Skip, Stream, Transaction, large_objects,
    names::{self, Change, Known, Names, Portal, Spoken},
    owed::{MadeReal, Owed, Run},
};
use crate::{
    Side,
    postgres::{
        frame::{self, HEAD_BYTES},
        message::{
            Format, backend,
            frontend::{self, Bind, Execute, Frontend, FunctionCall, Kind, Named, Parse, Query},
        },
        refusal::{Refusal, Sqlstate},
    },
    reader::Malformed,
};

/// An operation that is being decided, with its message.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) operation: u64,
    kind: OperationKind,
    frame: Bytes,
    /// The statement a Parse names, the portal an Execute runs.
    name: Bytes,
    /// The portal a Bind makes.
    portal: Bytes,
    text: Arc<str>,
    types: Vec<u32>,
    /// The text may speak of names there are.
    speaks: bool,
    /// Of an Execute: the Bind whose decision is no longer in force.
    bound: Option<u64>,
}

/// A COPY from the caller that was sent and may take data.
#[derive(Debug)]
pub(super) struct OpenCopy {
    /// Of which run.
    pub(super) serial: u64,
    operation: u64,
    show: bool,
    /// The operation may copy in again after this.
    many: bool,
    /// How often the target asked for data.
    pub(super) begun: usize,
    /// How often the caller said that was all; it need not wait to be asked.
    ended: usize,
}

impl OpenCopy {
    /// Whether the target takes data, and nothing else, now.
    const fn takes_data(&self) -> bool {
        self.begun > self.ended
    }
}

/// What to do with the message at the front of the buffer.
enum Step {
    /// Forward it unchanged.
    Pass,
    /// Drop it.
    Drop,
    /// It was taken out of the buffer and is being decided, or answered already.
    Taken,
    /// Stop here for now.
    Stop,
}

impl<P> Dialogue<P> {
    /// Goes through the caller's messages as far as they have arrived and may be looked at.
    pub(super) fn step_caller(&mut self, now_us: u64) {
        // Bytes at the front of the buffer that are forwarded unchanged, in one piece.
        let mut run = 0;
        self.stalled = false;
        while !self.ended && self.pending.is_none() {
            if !self.has_room() {
                self.stall(&mut run);
                break;
            }
            if matches!(self.step_message(&mut run, now_us), Step::Stop) {
                break;
            }
        }
        self.flush_caller(&mut run);
        if self.held && self.caller.len() > self.limits.max_waiting_bytes {
            self.limit_passed(format!("more than {} bytes wait behind an operation that is held", self.limits.max_waiting_bytes));
        }
    }

    /// The next message waits until the target has answered more; it is asked to.
    fn stall(&mut self, run: &mut usize) -> Step {
        self.flush_caller(run);
        self.flush_owed();
        self.stalled = true;
        Step::Stop
    }

    fn step_message(&mut self, run: &mut usize, now_us: u64) -> Step {
        if self.caller_stream.left > 0 {
            return self.stream_from_caller(run);
        }
        let head = match frame::head(self.caller.get(*run..).unwrap_or_default(), Side::Caller, &self.limits.frame) {
            Ok(Some(head)) => head,
            Ok(None) => return Step::Stop,
            Err(error) => {
                self.flush_caller(run);
                self.break_off(&Refusal::from(error), error.to_string());
                return Step::Stop;
            }
        };
        if head.tag == b'd' {
            self.caller_stream = Stream { left: head.len, forward: self.skip == Skip::No && self.owed.expects_copy() };
            return self.stream_from_caller(run);
        }
        if self.caller.len() - *run < head.len {
            return Step::Stop;
        }
        let step = self.step_whole(head.tag, head.len, run, now_us);
        match step {
            Step::Pass => *run += head.len,
            Step::Drop => {
                self.flush_caller(run);
                drop(self.caller.split_to(head.len));
            }
            Step::Taken | Step::Stop => {}
        }
        step
    }

    /// CopyData is never collected: what is there goes on, or is dropped where the target would ignore it.
    fn stream_from_caller(&mut self, run: &mut usize) -> Step {
        let there = (self.caller.len() - *run).min(self.caller_stream.left);
        if there == 0 {
            return Step::Stop;
        }
        self.caller_stream.left -= there;
        if !self.caller_stream.forward {
            self.flush_caller(run);
            drop(self.caller.split_to(there));
            return Step::Drop;
        }
        if let Some(OpenCopy { operation, show: true, .. }) = self.open_copy {
            self.flush_caller(run);
            let frames = self.caller.split_to(there).freeze();
            self.moves.push_back(Move::Show(Reply { operation, kind: ReplyKind::Copy(Side::Caller), frames }));
            return Step::Taken;
        }
        *run += there;
        Step::Pass
    }

    fn step_whole(&mut self, tag: u8, len: usize, run: &mut usize, now_us: u64) -> Step {
        match tag {
            b'X' => {
                *run += len;
                self.flush_caller(run);
                self.end(Ending::Terminated);
                return Step::Taken;
            }
            // A password message after login.
            b'p' => {
                self.flush_caller(run);
                self.malformed(Malformed("a message that has no place after login"));
                return Step::Stop;
            }
            b'S' => {}
            _ if self.skip != Skip::No => return Step::Drop,
            _ => {}
        }
        if let Some(step) = self.copy_gate(tag, len, run) {
            return step;
        }
        match tag {
            b'Q' | b'P' | b'B' | b'F' => {
                let body = self.caller.get(*run + HEAD_BYTES..*run + len).unwrap_or_default();
                if self.must_wait(tag, body) {
                    return self.stall(run);
                }
                self.flush_caller(run);
                let frame = self.caller.split_to(len).freeze();
                self.ask_about(tag, frame);
                Step::Taken
            }
            b'S' => self.sync(),
            b'c' | b'f' => match Frontend::decode(tag, self.caller.get(*run + HEAD_BYTES..*run + len).unwrap_or_default()) {
                Ok(_) => self.copy_ends(),
                Err(malformed) => {
                    self.flush_caller(run);
                    self.malformed(malformed);
                    Step::Stop
                }
            },
            b'H' => {
                self.unflushed = false;
                Step::Pass
            }
            _ => self.step_named(tag, len, run, now_us),
        }
    }

    /// While a COPY takes data the target reads nothing else: Flush and Sync it ignores, anything else costs the connection
    /// (`CopyGetData`). Until it is known whether the COPY began, nothing but its data goes on.
    fn copy_gate(&mut self, tag: u8, len: usize, run: &mut usize) -> Option<Step> {
        let copy = self.open_copy.as_ref()?;
        match tag {
            b'c' | b'f' | b'H' => None,
            b'S' if copy.takes_data() && self.caller.len() > *run + len => {
                self.flush_caller(run);
                Some(Step::Drop)
            }
            // Should the COPY fail before it reads anything, this Sync is the one that ends the pipeline.
            b'S' => Some(self.stall(run)),
            _ if copy.takes_data() => {
                self.flush_caller(run);
                let refusal = Refusal::new(Sqlstate::PROTOCOL_VIOLATION, format!("unexpected message type 0x{tag:02X} during COPY from stdin"));
                self.break_off(&refusal, "a message that is no COPY data during COPY".to_owned());
                Some(Step::Stop)
            }
            _ => Some(self.stall(run)),
        }
    }

    /// Whether what a message means depends on answers the target still owes. A malformed message never waits.
    fn must_wait(&self, tag: u8, body: &[u8]) -> bool {
        if self.names.coming_bytes() > self.limits.max_prepared_bytes {
            return true;
        }
        match tag {
            b'B' => Bind::decode(body).is_ok_and(|bind| match self.names.statement(bind.statement, self.segment) {
                Known::NotYet => true,
                Known::Yes(prepared) => !self.names.is_settled() && prepared.speaks,
                Known::No => false,
            }),
            b'Q' | b'P' => !self.names.is_settled() && names::speaks_of_names(body),
            _ => false,
        }
    }

    fn step_named(&mut self, tag: u8, len: usize, run: &mut usize, now_us: u64) -> Step {
        let body = self.caller.get(*run + HEAD_BYTES..*run + len).unwrap_or_default();
        // An unnamed one, the common case, is copied without an allocation.
        let decoded = match tag {
            b'E' => Execute::decode(body).map(|execute| (Kind::Portal, Bytes::copy_from_slice(execute.portal))),
            _ => Named::decode(body).map(|named| (named.kind, Bytes::copy_from_slice(named.name))),
        };
        match decoded {
            Ok((kind, name)) if tag == b'D' => self.describe(kind, name),
            Ok((kind, name)) if tag == b'C' => self.close(kind, name),
            Ok((_, name)) => self.execute(name, len, run, now_us),
            Err(malformed) => {
                self.flush_caller(run);
                self.malformed(malformed);
                Step::Stop
            }
        }
    }

    fn sync(&mut self) -> Step {
        if self.skip == Skip::Here {
            self.skip = Skip::No;
            self.send_to_caller(|out| backend::ready_for_query(out, Transaction::Idle));
            return Step::Drop;
        }
        self.skip = Skip::No;
        self.owed.push(Owed::Sync);
        self.segment_ends();
        Step::Pass
    }

    const fn segment_ends(&mut self) {
        self.unsynced = false;
        self.unflushed = false;
        self.segment += 1;
    }

    fn copy_ends(&mut self) -> Step {
        if !self.owed.expects_copy() {
            return Step::Drop;
        }
        match &mut self.open_copy {
            Some(copy) if copy.many => copy.ended += 1,
            open => *open = None,
        }
        self.unflushed = true;
        Step::Pass
    }

    fn describe(&mut self, kind: Kind, name: Bytes) -> Step {
        self.owed.push(match kind {
            Kind::Statement => Owed::DescribeStatement { name },
            Kind::Portal => Owed::DescribePortal,
        });
        self.extended();
        Step::Pass
    }

    fn close(&mut self, kind: Kind, name: Bytes) -> Step {
        let change = match kind {
            Kind::Statement => Change::Statement(name, None),
            Kind::Portal => Change::Portal(name, None),
        };
        self.names.begin(&change, self.segment);
        self.owed.push(Owed::Close(change));
        self.extended();
        Step::Pass
    }

    /// Runs a portal. One the protocol bound was decided then; any other is an operation of its own, and so is one whose SQL uses a name
    /// (`EXECUTE x`) that means another thing by now, or one that was decided under what is no longer in force.
    fn execute(&mut self, name: Bytes, len: usize, run: &mut usize, now_us: u64) -> Step {
        let (text, bound) = match self.names.portal(&name, self.segment) {
            Known::NotYet => return self.stall(run),
            Known::Yes(Portal { speaks: Some(_), .. }) if !self.names.is_settled() => return self.stall(run),
            Known::Yes(Portal { speaks: Some(spoken), .. }) if spoken.revision != self.names.revision() => (Some(spoken.text), None),
            Known::Yes(Portal { text, operation, epoch, .. }) if epoch != self.epoch => (Some(text), Some(operation)),
            Known::Yes(Portal { operation, forwarding, .. }) => {
                self.owe_execute(operation, forwarding, now_us);
                return Step::Pass;
            }
            Known::No => (self.settings.decode(&name).map(|name| Arc::from(format!("FETCH FORWARD ALL FROM {}", quoted(&name)))), None),
        };
        self.flush_caller(run);
        let frame = self.caller.split_to(len).freeze();
        match text {
            Some(text) => {
                let pending = Pending { name, bound, ..self.pending(OperationKind::Execute, frame, text) };
                self.ask(pending, None, Vec::new());
            }
            None => self.malformed(Malformed("a name is not in the client's encoding")),
        }
        Step::Taken
    }

    fn owe_execute(&mut self, operation: u64, forwarding: Arc<Forwarding>, now_us: u64) {
        let run = self.begin_run(operation, forwarding, false, now_us);
        self.owed.push(Owed::Execute(run));
        self.extended();
    }

    fn begin_run(&mut self, operation: u64, forwarding: Arc<Forwarding>, many: bool, now_us: u64) -> Run {
        self.runs += 1;
        self.names.begin_effects(&forwarding);
        if forwarding.copy_in {
            self.open_copy = Some(OpenCopy { serial: self.runs, operation, show: forwarding.show, many, begun: 0, ended: 0 });
        }
        Run::new(operation, self.runs, forwarding, now_us)
    }

    const fn extended(&mut self) {
        self.unsynced = true;
        self.unflushed = true;
    }

    fn ask_about(&mut self, tag: u8, frame: Bytes) {
        let body = frame.slice(HEAD_BYTES.min(frame.len())..);
        let asked = match tag {
            b'Q' => self.ask_query(frame, &body),
            b'P' => self.ask_parse(frame, &body),
            b'B' => self.ask_bind(frame, &body),
            _ => self.ask_function(frame, &body),
        };
        if let Err(malformed) = asked {
            self.malformed(malformed);
        }
    }

    fn ask_query(&mut self, frame: Bytes, body: &Bytes) -> Result<(), Malformed> {
        let query = Query::decode(body)?;
        let text = self.decoded(query.statement)?;
        if self.names_full(0) {
            return Ok(());
        }
        let pending = self.pending(OperationKind::Query, frame, text);
        self.ask(pending, None, Vec::new());
        Ok(())
    }

    fn ask_parse(&mut self, frame: Bytes, body: &Bytes) -> Result<(), Malformed> {
        let parse = Parse::decode(body)?;
        let text = self.decoded(parse.statement)?;
        let types = parse.types.iter().collect();
        if self.names_full(text.len()) {
            return Ok(());
        }
        let name = Bytes::copy_from_slice(parse.name);
        let pending = Pending { name, types, ..self.pending(OperationKind::Parse, frame, text) };
        self.ask(pending, None, Vec::new());
        Ok(())
    }

    /// Whether `more` bytes would pass the limit of what is kept by name; if so the conversation is over.
    fn names_full(&mut self, more: usize) -> bool {
        let full = self.names.bytes() + more > self.limits.max_prepared_bytes;
        if full {
            self.limit_passed(format!("more than {} bytes of prepared statements and cursors", self.limits.max_prepared_bytes));
        }
        full
    }

    fn ask_bind(&mut self, frame: Bytes, body: &Bytes) -> Result<(), Malformed> {
        let bind = Bind::decode(body)?;
        let prepared = match self.names.statement(bind.statement, self.segment) {
            Known::Yes(prepared) => Some(prepared),
            Known::No | Known::NotYet => None,
        };
        let text = match &prepared {
            Some(prepared) => prepared.text.clone(),
            None => Arc::from(format!("EXECUTE {}", quoted(&self.decoded(bind.statement)?))),
        };
        if self.names_full(0) {
            return Ok(());
        }
        let types = prepared.as_deref().map(|prepared| prepared.types.as_slice()).unwrap_or_default();
        let parameters = parameters(bind.values(), body, types);
        let portal = Bytes::copy_from_slice(bind.portal);
        let speaks = prepared.as_ref().is_none_or(|prepared| prepared.speaks);
        let pending = Pending { portal, speaks, ..self.pending(OperationKind::Bind, frame, text) };
        self.ask(pending, prepared.and_then(|prepared| prepared.meant.clone()), parameters);
        Ok(())
    }

    fn ask_function(&mut self, frame: Bytes, body: &Bytes) -> Result<(), Malformed> {
        let call = FunctionCall::decode(body)?;
        let function = call.function;
        let (text, types) =
            large_objects::sql_call(function, call.values().count()).unwrap_or_else(|| (format!("FunctionCall of function {function}"), &[]));
        let pending = self.pending(OperationKind::FunctionCall { function }, frame, Arc::from(text));
        self.ask(pending, None, parameters(call.values(), body, types));
        Ok(())
    }

    fn decoded(&self, text: &[u8]) -> Result<Arc<str>, Malformed> {
        self.settings.decode(text).ok_or(Malformed("a text is not in the client's encoding"))
    }

    fn pending(&mut self, kind: OperationKind, frame: Bytes, text: Arc<str>) -> Pending {
        self.next_operation += 1;
        let (operation, name, portal) = (self.next_operation, Bytes::new(), Bytes::new());
        let speaks = match kind {
            OperationKind::Query | OperationKind::Parse => !self.names.is_empty() && names::speaks_of_names(text.as_bytes()),
            OperationKind::Bind | OperationKind::Execute => true,
            OperationKind::FunctionCall { .. } => false,
        };
        Pending { operation, kind, frame, name, portal, text, types: Vec::new(), speaks, bound: None }
    }

    fn ask(&mut self, pending: Pending, meant: Option<Arc<Facts>>, parameters: Vec<Parameter>) {
        let Pending { operation: id, kind, ref text, bound, speaks, .. } = pending;
        let transaction = if self.unsynced && self.transaction == Transaction::Idle { Transaction::Open } else { self.transaction };
        let operation = Operation { id, kind, text: text.clone(), speaks, meant, parameters, bound, transaction };
        self.pending = Some(pending);
        self.moves.push_back(Move::Ask(operation));
    }

    /// The only place an operation's message reaches the target.
    pub(super) fn forward(&mut self, _permit: P, pending: Pending, forwarding: Forwarding, now_us: u64) {
        self.generic_errors |= forwarding.generic_errors;
        let replacement = forwarding.application_name.as_ref().and_then(|statement| self.settings.replacement(statement));
        match pending.kind {
            OperationKind::Query => self.forward_query(pending, forwarding, replacement, now_us),
            OperationKind::Parse => self.forward_parse(pending, forwarding.meant, replacement),
            OperationKind::Bind => self.forward_bind(pending, forwarding),
            OperationKind::Execute => {
                if forwarding.show {
                    self.describe_ourselves(pending.operation, &pending.name);
                }
                self.owe_execute(pending.operation, Arc::new(forwarding), now_us);
                self.moves.push_back(Move::Send(Side::Target, pending.frame));
            }
            OperationKind::FunctionCall { .. } => {
                let run = self.begin_run(pending.operation, Arc::new(forwarding), false, now_us);
                self.owed.push(Owed::FunctionCall(run));
                self.segment_ends();
                self.moves.push_back(Move::Send(Side::Target, pending.frame));
            }
        }
    }

    fn forward_query(&mut self, pending: Pending, forwarding: Forwarding, replacement: Option<String>, now_us: u64) {
        let many = !forwarding.alone;
        let run = self.begin_run(pending.operation, Arc::new(forwarding), many, now_us);
        self.names.begin(&no_unnamed(), self.segment);
        self.owed.push(Owed::Query(run));
        self.segment_ends();
        match replacement {
            Some(text) => self.send_to_target(|out| frontend::query(out, text.as_bytes())),
            None => self.moves.push_back(Move::Send(Side::Target, pending.frame)),
        }
    }

    fn forward_parse(&mut self, pending: Pending, meant: Option<Arc<Facts>>, replacement: Option<String>) {
        let change = Names::prepare(pending.name.clone(), pending.text, pending.types, meant);
        self.names.begin(&change, self.segment);
        self.owed.push(Owed::Parse(change));
        self.extended();
        match replacement {
            Some(text) => self.send_to_target(|out| frontend::parse(out, &pending.name, text.as_bytes(), &[])),
            None => self.moves.push_back(Move::Send(Side::Target, pending.frame)),
        }
    }

    fn forward_bind(&mut self, pending: Pending, forwarding: Forwarding) {
        let show = forwarding.show;
        let speaks = pending.speaks.then(|| Spoken { text: pending.text.clone(), revision: self.names.revision() });
        let portal = Portal { operation: pending.operation, text: pending.text, forwarding: Arc::new(forwarding), epoch: self.epoch, speaks };
        let change = Change::Portal(pending.portal.clone(), Some(portal));
        self.names.begin(&change, self.segment);
        self.owed.push(Owed::Bind { operation: pending.operation, change });
        self.extended();
        self.moves.push_back(Move::Send(Side::Target, pending.frame));
        if show {
            self.describe_ourselves(pending.operation, &pending.portal);
        }
    }

    /// Rows of this portal will be shown: their shape must be known whether or not the caller asks for it.
    fn describe_ourselves(&mut self, operation: u64, portal: &[u8]) {
        self.owed.push(Owed::Shape { operation });
        self.extended();
        self.send_to_target(|out| frontend::describe(out, Kind::Portal, portal));
    }

    /// Brings caller and target where they would be had the operation failed at the target.
    pub(super) fn refuse(&mut self, pending: &Pending, refusal: Refusal) {
        let whole = matches!(pending.kind, OperationKind::Query | OperationKind::FunctionCall { .. });
        // A Query or a Parse of the unnamed statement drops the old one, even if it fails.
        let drops = whole || (pending.kind == OperationKind::Parse && pending.name.is_empty());
        if self.transaction == Transaction::Idle && self.owed.is_empty() && !self.unsynced && !(drops && self.names.has_unnamed()) {
            return self.refuse_here(whole, &refusal);
        }
        // Something of this transaction may stand at the target: one message that must fail there undoes it. It is not SQL in any
        // state of the session, so it fails before anything else is looked at, and it stands in the target's own log.
        let failing = format!("countersign refused operation {}: {}", pending.operation, model::name::printable(refusal.message()));
        let change = drops.then(no_unnamed);
        if let Some(change) = &change {
            self.names.begin(change, self.segment);
        }
        self.owed.push(Owed::Refusal(MadeReal { refusal: Box::new(refusal), whole, told: false, change }));
        if whole {
            self.segment_ends();
            self.send_to_target(|out| frontend::query(out, failing.as_bytes()));
        } else {
            self.skip = Skip::WithTarget;
            self.unsynced = true;
            self.unflushed = false;
            let name: &[u8] = if drops { b"" } else { b"_countersign_refusal" };
            self.send_to_target(|out| {
                frontend::parse(out, name, failing.as_bytes(), &[])?;
                frontend::flush(out);
                Ok(())
            });
        }
    }

    /// Nothing is open at the target and nothing is owed: it need not know.
    fn refuse_here(&mut self, whole: bool, refusal: &Refusal) {
        self.send_to_caller(|out| {
            refusal.error(out);
            if whole {
                backend::ready_for_query(out, Transaction::Idle);
            }
        });
        if !whole {
            self.skip = Skip::Here;
        }
    }

    /// The target skips everything up to the next Sync: so is the caller's operation that is being decided.
    pub(super) fn skip_with_target(&mut self) {
        self.skip = Skip::WithTarget;
        self.held = false;
        self.question = None;
        if let Some(pending) = self.pending.take() {
            self.moves.push_back(Move::Withdraw(pending.operation));
        }
    }

    pub(super) fn answer_skipped(&mut self, operation: u64) {
        self.moves.push_back(Move::Answered(Answer {
            operation,
            duration_us: 0,
            rows: 0,
            bytes: 0,
            changed: 0,
            tag: None,
            error: None,
            skipped: true,
        }));
    }

    fn flush_caller(&mut self, run: &mut usize) {
        let len = std::mem::take(run);
        if len > 0 {
            let bytes = self.caller.split_to(len).freeze();
            self.moves.push_back(Move::Send(Side::Target, bytes));
        }
    }
}

/// What becomes of the unnamed statement when a Query runs (`exec_simple_query`).
pub(super) const fn no_unnamed() -> Change {
    Change::Statement(Bytes::new(), None)
}

/// A name as a quoted SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn parameters<'a>(values: impl Iterator<Item = (Format, Option<&'a [u8]>)>, body: &Bytes, types: &[u32]) -> Vec<Parameter> {
    values
        .enumerate()
        .map(|(index, (format, value))| Parameter {
            type_oid: types.get(index).copied().unwrap_or(0),
            binary: format != Format::Text,
            value: value.map(|value| body.slice_ref(value)),
        })
        .collect()
}
