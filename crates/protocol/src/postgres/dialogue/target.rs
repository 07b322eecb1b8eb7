//! What targets answer: matched with what is owed, passed on in whole ranges of the buffer unless somebody must look at it.

use bytes::{Bytes, BytesMut};

use super::{
    Answer, Dialogue, Ending, Forwarding, Move, Reply, ReplyKind, TargetError, kept_bytes,
    names::Did,
    owed::{Copying, MadeReal, Owed, Part, Run, is_sync},
};
use crate::{
    Side,
    postgres::{
        frame::{self, HEAD_BYTES},
        message::backend::{self, Transaction},
        refusal::{self, Refusal, Sqlstate},
        rows,
    },
    reader::Malformed,
};

/// What becomes of one of the target's messages.
enum Fate {
    /// It goes on unchanged.
    Pass,
    /// The caller never sees it.
    Swallow,
    /// These go in its place.
    Replace(Bytes),
    /// The session sees it.
    Show(u64, ReplyKind),
}

/// The front of the target's buffer that shares one fate.
#[derive(Default)]
struct Range {
    len: usize,
    /// Frames the session sees; none for those passed on.
    shown: Option<(u64, ReplyKind)>,
}

/// The target said what it may not say here.
struct Broken(&'static str);

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Self(malformed.0)
    }
}

/// Rows that a command changed, by its tag (<https://www.postgresql.org/docs/18/protocol-message-formats.html>, CommandComplete).
fn changed(tag: &[u8], copy_in: bool) -> u64 {
    let mut words = tag.split(|byte| *byte == b' ');
    let changes = match words.next() {
        Some(b"INSERT" | b"UPDATE" | b"DELETE" | b"MERGE") => true,
        Some(b"COPY") => copy_in,
        _ => false,
    };
    let count = words.next_back().filter(|_| changes).and_then(|count| std::str::from_utf8(count).ok());
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

impl<P> Dialogue<P> {
    /// Goes through the target's messages as far as they have arrived.
    pub(super) fn step_target(&mut self, now_us: u64) {
        let mut buffer = std::mem::take(&mut self.target);
        let mut range = Range { len: 0, shown: self.target_shown };
        while !self.ended {
            match self.step_answer(&mut buffer, &mut range, now_us) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Broken(why)) => {
                    self.flush_target(&mut buffer, &mut range);
                    self.end(Ending::TargetBroke(why.to_owned()));
                }
            }
        }
        self.flush_target(&mut buffer, &mut range);
        self.target = buffer;
    }

    /// One message, or one more piece of one that streams. False when more must arrive first.
    fn step_answer(&mut self, buffer: &mut BytesMut, range: &mut Range, now_us: u64) -> Result<bool, Broken> {
        if self.target_stream > 0 {
            return Ok(self.stream_to_caller(buffer, range));
        }
        let rest = buffer.get(range.len..).unwrap_or_default();
        let head = match frame::head(rest, Side::Target, &self.limits.frame) {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(false),
            Err(_) => return Err(Broken("a message of a type or length that does not exist")),
        };
        if rest.len() < head.len && !self.streams(head.tag, head.len)? {
            return Ok(false);
        }
        // Rows the session sees go to it before anything that may end their operation.
        if range.shown.is_some() && !matches!(head.tag, b'D' | b'd') {
            self.flush_target(buffer, range);
        }
        let rest = buffer.get(range.len..).unwrap_or_default();
        let whole = rest.get(..head.len.min(rest.len())).unwrap_or_default();
        let body = whole.get(HEAD_BYTES..).unwrap_or_default();
        let fate = self.fate(head.tag, head.len, body, now_us)?;
        self.apply(fate, head.len, buffer, range);
        Ok(true)
    }

    /// Whether a message may go on before it has arrived whole.
    fn streams(&mut self, tag: u8, len: usize) -> Result<bool, Broken> {
        let (shown, whole) = (self.shows_rows(), self.rewrites_copies());
        match tag {
            b'V' => Ok(true),
            b'd' if !whole => Ok(true),
            b'D' if !shown => Ok(true),
            b'D' | b'd' if len > self.limits.max_shown_row_bytes => Err(Broken("a row that must be masked or recorded is above the limit")),
            _ => Ok(false),
        }
    }

    fn shows_rows(&mut self) -> bool {
        match self.owed.head() {
            Some(Owed::Query(run) | Owed::Execute(run)) => run.forwarding.show || run.forwarding.application_name.is_some(),
            Some(Owed::Question(_)) => true,
            _ => false,
        }
    }

    fn rewrites_copies(&mut self) -> bool {
        matches!(self.owed.head(), Some(Owed::Query(run) | Owed::Execute(run)) if run.forwarding.copy_whole)
    }

    fn stream_to_caller(&mut self, buffer: &mut BytesMut, range: &mut Range) -> bool {
        let there = buffer.len().saturating_sub(range.len).min(self.target_stream);
        range.len += there;
        self.target_stream -= there;
        if self.target_stream > 0 {
            return false;
        }
        if !self.notices.is_empty() {
            self.flush_target(buffer, range);
            for notice in std::mem::take(&mut self.notices) {
                self.moves.push_back(Move::Send(Side::Caller, notice));
            }
        }
        true
    }

    fn apply(&mut self, fate: Fate, len: usize, buffer: &mut BytesMut, range: &mut Range) {
        match fate {
            Fate::Pass => self.extend(None, len, buffer, range),
            Fate::Show(operation, kind) => self.extend(Some((operation, kind)), len, buffer, range),
            Fate::Swallow => {
                self.flush_target(buffer, range);
                drop(buffer.split_to(len));
            }
            Fate::Replace(bytes) => {
                self.flush_target(buffer, range);
                drop(buffer.split_to(len));
                self.moves.push_back(Move::Send(Side::Caller, bytes));
            }
        }
    }

    fn extend(&mut self, shown: Option<(u64, ReplyKind)>, len: usize, buffer: &mut BytesMut, range: &mut Range) {
        let joins = range.shown == shown && !matches!(shown, Some((_, ReplyKind::Shape { .. } | ReplyKind::CopyBegins)));
        if !joins {
            self.flush_target(buffer, range);
            range.shown = shown;
        }
        let there = len.min(buffer.len() - range.len);
        range.len += there;
        self.target_stream = len - there;
    }

    fn flush_target(&mut self, buffer: &mut BytesMut, range: &mut Range) {
        let Range { len, shown } = std::mem::take(range);
        if len == 0 {
            return;
        }
        let frames = buffer.split_to(len).freeze();
        self.moves.push_back(match shown {
            Some((operation, kind)) => Move::Show(Reply { operation, kind, frames }),
            None => Move::Send(Side::Caller, frames),
        });
        // What still streams of this message keeps its fate.
        self.target_shown = shown.filter(|_| self.target_stream > 0);
        range.shown = self.target_shown;
    }

    fn fate(&mut self, tag: u8, len: usize, body: &[u8], now_us: u64) -> Result<Fate, Broken> {
        match tag {
            b'N' => self.notice(body),
            b'S' => self.parameter_status(body),
            b'A' => Ok(backend::NotificationResponse::decode(body).map(|_| Fate::Pass)?),
            b'E' => self.error(body, now_us),
            b'Z' => self.ready(body, now_us),
            _ => self.answer(tag, len, body, now_us),
        }
    }

    fn notice(&self, body: &[u8]) -> Result<Fate, Broken> {
        if !self.generic_errors {
            return Ok(Fate::Pass);
        }
        let mut out = BytesMut::new();
        refusal::generic_error(b'N', body, &mut out)?;
        Ok(Fate::Replace(out.freeze()))
    }

    fn parameter_status(&mut self, body: &[u8]) -> Result<Fate, Broken> {
        let status = backend::ParameterStatus::decode(body)?;
        Ok(match self.settings.reported(status.name, status.value) {
            // The caller is told its own value when that changes.
            Some(_) => Fate::Swallow,
            None => Fate::Pass,
        })
    }

    /// Every message that answers the entry at the head.
    fn answer(&mut self, tag: u8, len: usize, body: &[u8], now_us: u64) -> Result<Fate, Broken> {
        match (self.owed.head(), tag) {
            (Some(Owed::Parse(_) | Owed::Close(_) | Owed::Bind { .. }), b'1' | b'2' | b'3') => self.confirmed(tag),
            (Some(Owed::DescribeStatement { name }), b't') => {
                let types = backend::ParameterDescription::decode(body)?.types.iter().collect();
                self.names.describe(name, types);
                Ok(Fate::Pass)
            }
            (Some(Owed::DescribeStatement { .. } | Owed::DescribePortal), b'T' | b'n') => {
                self.owed.pop();
                Ok(Fate::Pass)
            }
            (Some(Owed::Shape { operation }), b'T') => {
                let operation = *operation;
                self.owed.pop();
                Ok(Fate::Show(operation, ReplyKind::Shape { forward: false }))
            }
            (Some(Owed::Shape { .. }), b'n') => {
                self.owed.pop();
                Ok(Fate::Swallow)
            }
            (Some(Owed::FunctionCall(run)), b'V') => {
                run.bytes += len as u64;
                Ok(Fate::Pass)
            }
            (Some(Owed::Question(part)), _) => {
                let part = *part;
                self.learn(part, tag, body)
            }
            (Some(Owed::Query(_) | Owed::Execute(_)), _) => self.result(tag, len, body, now_us),
            _ => Err(Broken("a message that answers nothing it was asked")),
        }
    }

    /// A name means now what was sent.
    fn confirmed(&mut self, tag: u8) -> Result<Fate, Broken> {
        match (self.owed.pop(), tag) {
            (Some(Owed::Parse(change)), b'1') | (Some(Owed::Bind { change, .. }), b'2') | (Some(Owed::Close(change)), b'3') => {
                self.names.done(change);
                Ok(Fate::Pass)
            }
            _ => Err(Broken("it confirms what it was not asked")),
        }
    }

    /// Messages of a running operation.
    fn result(&mut self, tag: u8, len: usize, body: &[u8], now_us: u64) -> Result<Fate, Broken> {
        let (run, whole) = match self.owed.head() {
            Some(Owed::Query(run)) => (run, true),
            Some(Owed::Execute(run)) => (run, false),
            _ => return Err(Broken("a result of nothing")),
        };
        match tag {
            b'D' => {
                run.rows += 1;
                run.bytes += len as u64;
                if run.forwarding.application_name == Some(model::facts::ApplicationName::Show) {
                    return replaced_row(self.settings.application_name());
                }
                Ok(if run.forwarding.show { Fate::Show(run.operation, ReplyKind::Rows) } else { Fate::Pass })
            }
            b'd' if run.copying == Copying::Out => {
                run.bytes += len as u64;
                Ok(match &*run.forwarding {
                    Forwarding { copy_whole: true, .. } => Fate::Show(run.operation, ReplyKind::CopyRows),
                    Forwarding { show: true, .. } => Fate::Show(run.operation, ReplyKind::Copy(Side::Target)),
                    _ => Fate::Pass,
                })
            }
            b'T' if whole => Ok(if run.forwarding.show { Fate::Show(run.operation, ReplyKind::Shape { forward: true }) } else { Fate::Pass }),
            b'G' if run.forwarding.copy_in => {
                run.copying = Copying::In;
                let serial = run.serial;
                if let Some(copy) = self.open_copy.as_mut().filter(|copy| copy.serial == serial) {
                    copy.begun += 1;
                }
                Ok(Fate::Pass)
            }
            b'G' => Err(Broken("it asks for COPY data of a statement that reads none")),
            b'H' => {
                run.copying = Copying::Out;
                Ok(if run.forwarding.copy_whole { Fate::Show(run.operation, ReplyKind::CopyBegins) } else { Fate::Pass })
            }
            b'c' if run.copying == Copying::Out => Ok(Fate::Pass),
            b'C' | b'I' => {
                run.copying = Copying::No;
                if tag == b'C' {
                    let tag = backend::CommandComplete::decode(body)?.tag;
                    run.tag = Some(Bytes::copy_from_slice(tag));
                    run.changed = run.changed.saturating_add(changed(tag, run.forwarding.copy_in));
                    self.tagged(tag);
                }
                Ok(self.completed(whole, now_us))
            }
            b's' if !whole => {
                if let Some(Owed::Execute(run)) = self.owed.pop() {
                    self.answered(run, Did::Nothing, now_us);
                }
                Ok(Fate::Pass)
            }
            _ => Err(Broken("a message that has no place in a result")),
        }
    }

    /// What a command tag says of the transaction.
    fn tagged(&mut self, tag: &[u8]) {
        match tag {
            b"ROLLBACK" => self.undone = true,
            b"SAVEPOINT" => self.settings.savepoint_seen(),
            b"COMMIT" => {
                self.undone = false;
                // It may chain: the next transaction is another.
                self.settings.transaction_ended(true);
            }
            _ => {}
        }
    }

    /// One statement is done. A caller's own `application_name` changes here; the target does not report what it never changed.
    fn completed(&mut self, whole: bool, now_us: u64) -> Fate {
        let in_transaction = self.transaction != Transaction::Idle || !whole;
        if let Some(Owed::Query(run) | Owed::Execute(run)) = self.owed.head()
            && let Some(statement) = &run.forwarding.application_name
        {
            self.settings.ran(statement, in_transaction);
        }
        if !whole && let Some(Owed::Execute(run)) = self.owed.pop() {
            self.answered(run, Did::All, now_us);
        }
        Fate::Pass
    }

    /// A run is over, and with it what it did to names.
    fn answered(&mut self, run: Run, did: Did, now_us: u64) {
        self.run_ended(&run, did);
        self.moves.push_back(Move::Answered(Answer {
            operation: run.operation,
            duration_us: now_us.saturating_sub(run.started_us),
            rows: run.rows,
            bytes: run.bytes,
            changed: run.changed,
            tag: run.tag,
            error: run.error,
            skipped: false,
        }));
    }

    fn run_ended(&mut self, run: &Run, did: Did) {
        self.names.end_effects(&run.forwarding, did);
        self.open_copy.take_if(|copy| copy.serial == run.serial);
    }

    fn error(&mut self, body: &[u8], now_us: u64) -> Result<Fate, Broken> {
        let fatal = matches!(backend::Report::decode(body)?.severity(), Some(b"FATAL" | b"PANIC"));
        // Once errors are generic, what is recorded is what the caller is told: the message may quote classified values.
        let (told, error) = if self.generic_errors {
            let mut out = BytesMut::new();
            refusal::generic_error(b'E', body, &mut out)?;
            let error = target_error(out.get(HEAD_BYTES..).unwrap_or_default())?;
            (Fate::Replace(out.freeze()), error)
        } else {
            (Fate::Pass, target_error(body)?)
        };
        if fatal {
            self.told_fatal = true;
            self.fatal(error, now_us);
            return Ok(told);
        }
        let head = self.owed.head();
        self.undone |= !(matches!(head, Some(Owed::Question(_))) && self.question.as_ref().is_some_and(|question| question.undone));
        match head {
            // Nothing was asked of it.
            None => Ok(told),
            Some(Owed::Query(run) | Owed::FunctionCall(run)) => {
                run.error = Some(error);
                run.copying = Copying::No;
                Ok(told)
            }
            // The commit at a Sync failed.
            Some(Owed::Sync) => Ok(told),
            Some(Owed::Question(Part::Pause | Part::Sync)) => Ok(Fate::Swallow),
            Some(Owed::Refusal(MadeReal { whole: true, .. })) => Ok(self.tell_refusal()),
            Some(_) => Ok(self.fail_pipeline(&error, told, now_us)),
        }
    }

    /// The target ends the session and says why. Whatever ran has failed; of what follows nobody will hear.
    fn fatal(&mut self, error: TargetError, now_us: u64) {
        if matches!(self.owed.head(), Some(Owed::Query(_) | Owed::Execute(_) | Owed::FunctionCall(_)))
            && let Some(Owed::Query(mut run) | Owed::Execute(mut run) | Owed::FunctionCall(mut run)) = self.owed.pop()
        {
            run.error = Some(error);
            self.answered(run, Did::Some, now_us);
        }
    }

    /// The error that makes a refusal real came: the caller is told ours.
    fn tell_refusal(&mut self) -> Fate {
        let Some(Owed::Refusal(refusal)) = self.owed.head() else { return Fate::Swallow };
        if std::mem::replace(&mut refusal.told, true) {
            return Fate::Swallow;
        }
        let mut out = BytesMut::new();
        refusal.refusal.error(&mut out);
        if let Some(change) = refusal.change.take() {
            self.names.failed(change);
        }
        Fate::Replace(out.freeze())
    }

    /// An extended message failed: the target skips everything up to the next Sync, and so does what it owes.
    fn fail_pipeline(&mut self, error: &TargetError, told: Fate, now_us: u64) -> Fate {
        let fate = match self.owed.head() {
            Some(Owed::Refusal(_)) => self.tell_refusal(),
            Some(Owed::Question(_)) => self.question_failed(error),
            _ => told,
        };
        let mut failed = self.owed.pop().map_or(0, |owed| self.drop_failed(owed, error, now_us));
        while self.owed.head().is_some_and(|head| !is_sync(head)) {
            if let Some(owed) = self.owed.pop() {
                failed = self.drop_skipped(owed, failed);
            }
        }
        if !self.owed.has_sync() {
            self.skip_with_target();
        }
        if self.question.as_ref().is_some_and(|question| !question.undone) {
            self.finish_question();
        }
        fate
    }

    /// The gateway's own question failed. Inside the caller's implicit transaction that fails it, and the caller must hear why.
    fn question_failed(&mut self, error: &TargetError) -> Fate {
        let why = format!("{} ({})", error.message, error.sqlstate);
        let fate = if self.owed.has_sync() {
            Fate::Swallow
        } else {
            let refusal = Refusal::new(Sqlstate::INTERNAL_ERROR, format!("the gateway could not read the catalog on this session: {why}"));
            let mut out = BytesMut::new();
            refusal.error(&mut out);
            Fate::Replace(out.freeze())
        };
        if let Some(question) = &mut self.question {
            question.failed.get_or_insert(why);
        }
        fate
    }

    /// The entry the error answers. Hands back its operation, 0 if it has none that must still be answered for.
    fn drop_failed(&mut self, owed: Owed, error: &TargetError, now_us: u64) -> u64 {
        match owed {
            Owed::Execute(mut run) => {
                run.error = Some(error.clone());
                let operation = run.operation;
                self.answered(run, Did::Nothing, now_us);
                operation
            }
            Owed::Bind { operation, change } => {
                self.names.failed(change);
                self.answer_failed(operation, error);
                operation
            }
            Owed::Shape { operation } => {
                self.answer_failed(operation, error);
                operation
            }
            Owed::Parse(change) | Owed::Close(change) => {
                self.names.failed(change);
                0
            }
            _ => 0,
        }
    }

    /// An entry behind the one that failed: the target never looks at it. `answered` is the operation told of last.
    fn drop_skipped(&mut self, owed: Owed, answered: u64) -> u64 {
        let operation = match owed {
            Owed::Execute(run) | Owed::FunctionCall(run) => {
                self.run_ended(&run, Did::Skipped);
                run.operation
            }
            Owed::Query(run) => {
                self.run_ended(&run, Did::Skipped);
                self.names.skipped(super::caller::no_unnamed());
                run.operation
            }
            Owed::Bind { operation, change } => {
                self.names.skipped(change);
                operation
            }
            Owed::Parse(change) | Owed::Close(change) | Owed::Refusal(MadeReal { change: Some(change), .. }) => {
                self.names.skipped(change);
                return answered;
            }
            _ => return answered,
        };
        if operation != answered {
            self.answer_skipped(operation);
        }
        operation
    }

    fn answer_failed(&mut self, operation: u64, error: &TargetError) {
        let error = Some(error.clone());
        self.moves.push_back(Move::Answered(Answer { operation, duration_us: 0, rows: 0, bytes: 0, changed: 0, tag: None, error, skipped: false }));
    }

    fn ready(&mut self, body: &[u8], now_us: u64) -> Result<Fate, Broken> {
        let transaction = Transaction::decode(body)?;
        match self.owed.pop() {
            Some(Owed::Question(Part::Pause)) => return Ok(Fate::Swallow),
            Some(Owed::Question(Part::Sync)) => {
                self.undone |= transaction == Transaction::Failed;
                self.transaction_stands(transaction);
                self.finish_question();
                return Ok(Fate::Swallow);
            }
            Some(Owed::Sync | Owed::Refusal(MadeReal { whole: true, told: true, .. })) => {}
            Some(Owed::Query(run)) => {
                self.names.done(super::caller::no_unnamed());
                let did = match (&run.error, run.forwarding.alone) {
                    (None, _) => Did::All,
                    (Some(_), true) => Did::Nothing,
                    (Some(_), false) => Did::Some,
                };
                self.answered(run, did, now_us);
            }
            Some(Owed::FunctionCall(run)) => {
                let did = if run.error.is_none() { Did::All } else { Did::Nothing };
                self.answered(run, did, now_us);
            }
            _ => return Err(Broken("it is ready for a query before it answered the last")),
        }
        self.transaction_stands(transaction);
        Ok(self.ready_with_name(transaction))
    }

    /// Follows the end of a transaction: portals go with it, and a rolled back name comes back.
    fn transaction_stands(&mut self, now: Transaction) {
        let before = std::mem::replace(&mut self.transaction, now);
        if now == Transaction::Failed && before != Transaction::Failed {
            self.settings.transaction_failed();
        }
        if now == Transaction::Idle {
            self.names.transaction_ended();
            let undone = std::mem::take(&mut self.undone);
            self.settings.transaction_ended(!undone);
        }
    }

    /// What changed is told before ReadyForQuery, as PostgreSQL does since 14 (`ReportChangedGUCOptions`).
    fn ready_with_name(&mut self, transaction: Transaction) -> Fate {
        match self.settings.untold() {
            Some(value) => {
                let mut out = BytesMut::from(&application_name_status(&value)[..]);
                backend::ready_for_query(&mut out, transaction);
                Fate::Replace(out.freeze())
            }
            None => Fate::Pass,
        }
    }

    /// Answers to the gateway's own question.
    fn learn(&mut self, part: Part, tag: u8, body: &[u8]) -> Result<Fate, Broken> {
        match (part, tag) {
            (Part::Parse, b'1') | (Part::Bind, b'2') | (Part::Aside, b'C') | (Part::Close, b'3') => {
                self.owed.pop();
            }
            (Part::Rows, b'D') => {
                let row: Vec<_> = rows::row(body)?.iter().map(|cell| cell.map(|cell| String::from_utf8_lossy(cell).into_owned())).collect();
                if let Some(question) = &mut self.question {
                    question.bytes += kept_bytes(&row);
                    if question.bytes > self.limits.max_answer_bytes {
                        return Err(Broken("its answers to the gateway's own questions are above the limit"));
                    }
                    question.rows.push(row);
                }
            }
            (Part::Rows, b'C' | b'I') => {
                self.owed.pop();
                if let Some(question) = &mut self.question {
                    question.results.push(std::mem::take(&mut question.rows));
                }
                self.finish_question();
            }
            _ => return Err(Broken("a message that answers nothing the gateway asked")),
        }
        Ok(Fate::Swallow)
    }

    /// Hands the answer over once the target owes nothing of it any more.
    fn finish_question(&mut self) {
        let complete = self.question.as_ref().is_some_and(|question| question.failed.is_some() || question.results.len() == question.asked);
        if !complete {
            return;
        }
        let Some(question) = self.question.take() else { return };
        // A pipeline that failed under the question took the operation with it.
        if self.pending.is_some() {
            self.moves.push_back(Move::Learned(match question.failed {
                Some(why) => Err(why),
                None => Ok(question.results),
            }));
        }
    }
}

fn target_error(body: &[u8]) -> Result<TargetError, Malformed> {
    let report = backend::Report::decode(body)?;
    let sqlstate = report.sqlstate().unwrap_or("XX000").to_owned();
    Ok(TargetError { sqlstate, message: String::from_utf8_lossy(report.message()).into_owned() })
}

fn application_name_status(value: &str) -> Bytes {
    let mut out = BytesMut::new();
    // A clipped name is short and has no NUL, so that it can always be written; an empty status would be a smaller fault than none.
    let _ = backend::parameter_status(&mut out, b"application_name", value.as_bytes());
    out.freeze()
}

fn replaced_row(value: &str) -> Result<Fate, Broken> {
    let mut out = BytesMut::new();
    rows::data_row(&mut out, &[Some(value.as_bytes())]).map_err(|_| Broken("a row that cannot be written"))?;
    Ok(Fate::Replace(out.freeze()))
}
