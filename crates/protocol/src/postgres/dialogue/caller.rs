//! What callers send: cut into messages, asked about where something is decided, forwarded or refused.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Answer, Dialogue, Ending, Forwarding, Move, Operation, OperationKind, Parameter, Prepared, Reply, ReplyKind, Skip, Stream, Transaction,
    names::Portal,
    owed::{Owed, Run},
};
use crate::{
    Side,
    postgres::{
        frame::{self, HEAD_BYTES},
        message::{
            Format, backend,
            frontend::{self, Bind, Execute, FunctionCall, Kind, Named, Parse, Query},
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
    /// Statement or portal name, by kind.
    name: Bytes,
    portal: Bytes,
    text: Arc<str>,
    types: Vec<u32>,
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
        while !self.ended && self.pending.is_none() && self.owed.len() < self.limits.max_owed {
            match self.step_message(&mut run, now_us) {
                Step::Pass | Step::Drop | Step::Taken => {}
                Step::Stop => break,
            }
        }
        self.flush_caller(&mut run);
        if self.pending.is_some() && self.caller.len() > self.limits.max_waiting_bytes {
            self.limit_passed(format!("more than {} bytes wait behind an operation that is not decided", self.limits.max_waiting_bytes));
        }
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
        if let Some((operation, true)) = self.copying_in() {
            self.flush_caller(run);
            let frames = self.caller.split_to(there).freeze();
            self.moves.push_back(Move::Show(Reply { operation, kind: ReplyKind::Copy(Side::Caller), frames }));
            return Step::Taken;
        }
        *run += there;
        Step::Pass
    }

    /// The operation at the head of what the target owes if it copies in, and whether its data is shown.
    fn copying_in(&mut self) -> Option<(u64, bool)> {
        match self.owed.head() {
            Some(Owed::Query(run) | Owed::Execute(run)) if run.forwarding.copy_in => Some((run.operation, run.forwarding.show)),
            _ => None,
        }
    }

    fn step_whole(&mut self, tag: u8, len: usize, run: &mut usize, now_us: u64) -> Step {
        if self.skip != Skip::No && !matches!(tag, b'S' | b'X') {
            return Step::Drop;
        }
        match tag {
            b'Q' | b'P' | b'B' | b'F' => {
                self.flush_caller(run);
                let frame = self.caller.split_to(len).freeze();
                self.ask_about(tag, frame);
                Step::Taken
            }
            b'S' => self.sync(),
            b'c' | b'f' => self.copy_ends(),
            b'H' => {
                self.unflushed = false;
                Step::Pass
            }
            b'X' => {
                *run += len;
                self.flush_caller(run);
                self.end(Ending::Terminated);
                Step::Taken
            }
            b'D' | b'E' | b'C' => self.step_named(tag, len, run, now_us),
            // A password message after login.
            _ => {
                self.flush_caller(run);
                self.malformed(Malformed("a message that has no place after login"));
                Step::Stop
            }
        }
    }

    fn step_named(&mut self, tag: u8, len: usize, run: &mut usize, now_us: u64) -> Step {
        let frame = Bytes::copy_from_slice(self.caller.get(*run..*run + len).unwrap_or_default());
        let body = frame.slice(HEAD_BYTES.min(frame.len())..);
        let step = match tag {
            b'D' => self.describe(&body),
            b'C' => self.close(&body),
            _ => self.execute(&frame, &body, now_us),
        };
        match step {
            Ok(Step::Taken) => {
                // An Execute that is decided on its own: it leaves the buffer.
                self.flush_caller(run);
                drop(self.caller.split_to(len));
                Step::Taken
            }
            Ok(step) => step,
            Err(malformed) => {
                self.flush_caller(run);
                self.malformed(malformed);
                Step::Stop
            }
        }
    }

    fn sync(&mut self) -> Step {
        let copy_began = self.copy_began();
        match self.skip {
            Skip::Here => {
                self.skip = Skip::No;
                let transaction = self.transaction;
                self.send_to_caller(|out| backend::ready_for_query(out, transaction));
                return Step::Drop;
            }
            Skip::WithTarget => self.skip = Skip::No,
            Skip::No if copy_began => {
                self.deferred_sync = true;
                return Step::Drop;
            }
            Skip::No => {}
        }
        self.owe_sync();
        Step::Pass
    }

    fn owe_sync(&mut self) {
        self.owed.push(Owed::Sync { doubtful: false, for_caller: true });
        self.unsynced = false;
        self.unflushed = false;
        self.epoch += 1;
    }

    fn copy_began(&mut self) -> bool {
        matches!(self.owed.head(), Some(Owed::Query(run) | Owed::Execute(run)) if run.copying == super::owed::Copying::In)
    }

    fn copy_ends(&mut self) -> Step {
        self.deferred_sync = false;
        if !self.owed.expects_copy() {
            return Step::Drop;
        }
        self.owed.push(Owed::CopyEnd);
        Step::Pass
    }

    /// The caller's COPY failed at the target while a Sync of the caller was kept back: now it counts.
    pub(super) fn release_deferred_sync(&mut self) {
        if std::mem::take(&mut self.deferred_sync) {
            self.skip = Skip::No;
            self.owe_sync();
            self.send_to_target(|out| {
                frontend::sync(out);
                Ok(())
            });
        }
    }

    fn describe(&mut self, body: &Bytes) -> Result<Step, Malformed> {
        let Named { kind, name } = Named::decode(body)?;
        match kind {
            Kind::Statement => self.owed.push(Owed::DescribeStatement { name: body.slice_ref(name) }),
            Kind::Portal => {
                let operation = self.names.portal(name).map(|portal| portal.operation);
                self.owed.push(Owed::DescribePortal { operation, ours: false });
            }
        }
        self.extended();
        Ok(Step::Pass)
    }

    fn close(&mut self, body: &Bytes) -> Result<Step, Malformed> {
        let Named { kind, name } = Named::decode(body)?;
        let name = body.slice_ref(name);
        let undo = match kind {
            Kind::Statement => self.names.close_statement(name),
            Kind::Portal => self.names.close_portal(name),
        };
        self.owed.push(Owed::Close { undo, for_caller: true });
        self.extended();
        Ok(Step::Pass)
    }

    /// Runs a portal. One the protocol bound was decided then; any other is an operation of its own.
    fn execute(&mut self, frame: &Bytes, body: &Bytes, now_us: u64) -> Result<Step, Malformed> {
        let Execute { portal: name, .. } = Execute::decode(body)?;
        if let Some(portal) = self.names.portal(name) {
            let (operation, forwarding) = (portal.operation, portal.forwarding.clone());
            self.owe_execute(operation, forwarding, now_us);
            return Ok(Step::Pass);
        }
        let text = match self.settings.decode(name) {
            Some(name) => format!("FETCH FORWARD ALL FROM {}", quoted(&name)),
            None => return Err(Malformed("a name is not in the client's encoding")),
        };
        let pending = Pending { name: body.slice_ref(name), ..self.pending(OperationKind::Execute, frame.clone(), Arc::from(text)) };
        self.ask(pending, None, Vec::new());
        Ok(Step::Taken)
    }

    fn owe_execute(&mut self, operation: u64, forwarding: Arc<Forwarding>, now_us: u64) {
        let undo = self.names.follow(&forwarding.names, true, self.epoch);
        if forwarding.opaque {
            self.names.cursors_unknown();
        }
        self.owed.push(Owed::Execute(Run::new(operation, forwarding, undo, now_us)));
        self.extended();
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
        let pending = self.pending(OperationKind::Query, frame, text);
        self.ask(pending, None, Vec::new());
        Ok(())
    }

    fn ask_parse(&mut self, frame: Bytes, body: &Bytes) -> Result<(), Malformed> {
        let parse = Parse::decode(body)?;
        let text = self.decoded(parse.statement)?;
        let types = parse.types.iter().collect();
        if self.names.bytes() + text.len() > self.limits.max_prepared_bytes {
            self.limit_passed(format!("more than {} bytes of prepared statements", self.limits.max_prepared_bytes));
            return Ok(());
        }
        let pending = Pending { name: body.slice_ref(parse.name), types, ..self.pending(OperationKind::Parse, frame, text) };
        self.ask(pending, None, Vec::new());
        Ok(())
    }

    fn ask_bind(&mut self, frame: Bytes, body: &Bytes) -> Result<(), Malformed> {
        let bind = Bind::decode(body)?;
        let prepared = self.names.statement(bind.statement).cloned();
        let text = match &prepared {
            Some(prepared) => prepared.text.clone(),
            None => Arc::from(format!("EXECUTE {}", quoted(&self.decoded(bind.statement)?))),
        };
        let parameters = parameters(&bind, body, prepared.as_deref());
        let pending =
            Pending { name: body.slice_ref(bind.statement), portal: body.slice_ref(bind.portal), ..self.pending(OperationKind::Bind, frame, text) };
        self.ask(pending, prepared.map(|prepared| prepared.id), parameters);
        Ok(())
    }

    fn ask_function(&mut self, frame: Bytes, body: &Bytes) -> Result<(), Malformed> {
        let call = FunctionCall::decode(body)?;
        let text = format!("FunctionCall of function {}", call.function);
        let pending = self.pending(OperationKind::FunctionCall, frame, Arc::from(text));
        self.ask(pending, None, Vec::new());
        Ok(())
    }

    fn decoded(&self, text: &[u8]) -> Result<Arc<str>, Malformed> {
        self.settings.decode(text).ok_or(Malformed("a text is not in the client's encoding"))
    }

    const fn pending(&mut self, kind: OperationKind, frame: Bytes, text: Arc<str>) -> Pending {
        self.next_operation += 1;
        Pending { operation: self.next_operation, kind, frame, name: Bytes::new(), portal: Bytes::new(), text, types: Vec::new() }
    }

    fn ask(&mut self, pending: Pending, prepared: Option<u64>, parameters: Vec<Parameter>) {
        let operation =
            Operation { id: pending.operation, kind: pending.kind, text: pending.text.clone(), prepared, parameters, transaction: self.transaction };
        self.pending = Some(pending);
        self.moves.push_back(Move::Ask(operation));
    }

    /// The only place an operation's message reaches the target.
    pub(super) fn forward(&mut self, _permit: P, pending: Pending, forwarding: Forwarding, now_us: u64) {
        self.generic_errors |= forwarding.generic_errors;
        let replacement = forwarding.application_name.as_ref().and_then(|statement| self.settings.replacement(statement));
        match pending.kind {
            OperationKind::Query => self.forward_query(pending, forwarding, replacement, now_us),
            OperationKind::Parse => self.forward_parse(pending, replacement),
            OperationKind::Bind => self.forward_bind(pending, forwarding),
            OperationKind::Execute => {
                let show = forwarding.show;
                let forwarding = Arc::new(forwarding);
                if show {
                    self.describe_ourselves(pending.operation, &pending.name);
                }
                self.owe_execute(pending.operation, forwarding, now_us);
                self.moves.push_back(Move::Send(Side::Target, pending.frame));
            }
            // Never forwarded: the session refuses it; should it not, nothing happens at the target either.
            OperationKind::FunctionCall => {
                self.refuse(&pending, Refusal::new(Sqlstate::FEATURE_NOT_SUPPORTED, "function calls by protocol message are not supported"))
            }
        }
    }

    fn forward_query(&mut self, pending: Pending, forwarding: Forwarding, replacement: Option<String>, now_us: u64) {
        let undo = self.names.follow(&forwarding.names, forwarding.alone, self.epoch);
        if forwarding.opaque {
            self.names.cursors_unknown();
        }
        self.owed.push(Owed::Query(Run::new(pending.operation, Arc::new(forwarding), undo, now_us)));
        self.unsynced = false;
        self.unflushed = false;
        self.epoch += 1;
        match replacement {
            Some(text) => self.send_to_target(|out| frontend::query(out, text.as_bytes())),
            None => self.moves.push_back(Move::Send(Side::Target, pending.frame)),
        }
    }

    fn forward_parse(&mut self, pending: Pending, replacement: Option<String>) {
        let undo = self.names.prepare(pending.name.clone(), pending.text, pending.types);
        self.owed.push(Owed::Parse { undo, for_caller: true });
        self.extended();
        match replacement {
            Some(text) => self.send_to_target(|out| frontend::parse(out, &pending.name, text.as_bytes(), &[])),
            None => self.moves.push_back(Move::Send(Side::Target, pending.frame)),
        }
    }

    fn forward_bind(&mut self, pending: Pending, forwarding: Forwarding) {
        let show = forwarding.show;
        let portal = Portal { operation: pending.operation, forwarding: Arc::new(forwarding), epoch: self.epoch };
        let undo = self.names.bind(pending.portal.clone(), portal);
        self.owed.push(Owed::Bind { operation: pending.operation, undo, for_caller: true });
        self.extended();
        self.moves.push_back(Move::Send(Side::Target, pending.frame));
        if show {
            self.describe_ourselves(pending.operation, &pending.portal);
        }
    }

    /// Rows of this portal will be shown: their shape must be known whether or not the caller asks for it.
    fn describe_ourselves(&mut self, operation: u64, portal: &[u8]) {
        self.owed.push(Owed::DescribePortal { operation: Some(operation), ours: true });
        self.extended();
        self.send_to_target(|out| frontend::describe(out, Kind::Portal, portal));
    }

    /// Brings caller and target where they would be had the operation failed at the target.
    pub(super) fn refuse(&mut self, pending: &Pending, refusal: Refusal) {
        let whole = matches!(pending.kind, OperationKind::Query | OperationKind::FunctionCall);
        if self.transaction == Transaction::Idle && self.owed.is_empty() && !self.unsynced {
            return self.refuse_here(whole, &refusal);
        }
        // Something of this transaction may stand at the target: one message that must fail there undoes it. It is not SQL in any
        // state of the session, so it fails before anything else is looked at, and it stands in the target's own log.
        let failing = format!("countersign refused operation {}: {}", pending.operation, model::name::printable(refusal.message()));
        if whole {
            self.unsynced = false;
            self.unflushed = false;
            self.epoch += 1;
            self.send_to_target(|out| frontend::query(out, failing.as_bytes()));
        } else {
            self.skip = Skip::WithTarget;
            self.unsynced = true;
            self.send_to_target(|out| {
                frontend::parse(out, b"_countersign_refusal", failing.as_bytes(), &[])?;
                frontend::flush(out);
                Ok(())
            });
        }
        self.owed.push(Owed::Refusal { refusal: Box::new(refusal), whole, told: false });
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
        if let Some(pending) = self.pending.take() {
            self.moves.push_back(Move::Withdraw(pending.operation));
        }
    }

    pub(super) fn answer_skipped(&mut self, operation: u64) {
        self.moves.push_back(Move::Answered(Answer { operation, duration_us: 0, rows: 0, bytes: 0, tag: None, error: None, skipped: true }));
    }

    fn flush_caller(&mut self, run: &mut usize) {
        let len = std::mem::take(run);
        if len > 0 {
            let bytes = self.caller.split_to(len).freeze();
            self.moves.push_back(Move::Send(Side::Target, bytes));
        }
    }
}

/// A name as a quoted SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn parameters(bind: &Bind<'_>, body: &Bytes, prepared: Option<&Prepared>) -> Vec<Parameter> {
    let types = prepared.map(|prepared| prepared.types.as_slice()).unwrap_or_default();
    bind.values()
        .enumerate()
        .map(|(index, (format, value))| Parameter {
            type_oid: types.get(index).copied().unwrap_or(0),
            binary: format != Format::Text,
            value: value.map(|value| body.slice_ref(value)),
        })
        .collect()
}
