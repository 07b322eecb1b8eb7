//! What targets answer: matched with what is owed, passed on in whole ranges of the buffer unless somebody must look at it.

use bytes::{Bytes, BytesMut};

use super::{
    Answer, Dialogue, Ending, Move, Reply, ReplyKind, TargetError,
    names::Undo,
    owed::{Copying, Owed, Run},
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
    /// It goes on, and then these.
    PassThen(Bytes),
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
        let whole = rest.get(..head.len.min(rest.len())).unwrap_or_default();
        let body = whole.get(HEAD_BYTES..).unwrap_or_default();
        let fate = self.fate(head.tag, head.len, body, now_us)?;
        self.apply(fate, head.len, buffer, range);
        Ok(true)
    }

    /// Whether a message may go on before it has arrived whole.
    fn streams(&mut self, tag: u8, len: usize) -> Result<bool, Broken> {
        let shown = self.shows_rows();
        match tag {
            b'd' => Ok(true),
            b'D' if !shown => Ok(true),
            b'D' if len > self.limits.max_shown_row_bytes => Err(Broken("a row that must be masked or recorded is above the limit")),
            _ => Ok(false),
        }
    }

    fn shows_rows(&mut self) -> bool {
        match self.owed.head() {
            Some(Owed::Query(run) | Owed::Execute(run)) => run.forwarding.show || run.forwarding.application_name.is_some(),
            Some(Owed::Question) => true,
            _ => false,
        }
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
            Fate::PassThen(bytes) => {
                self.extend(None, len, buffer, range);
                self.flush_target(buffer, range);
                self.moves.push_back(Move::Send(Side::Caller, bytes));
            }
        }
    }

    fn extend(&mut self, shown: Option<(u64, ReplyKind)>, len: usize, buffer: &mut BytesMut, range: &mut Range) {
        let joins = range.shown == shown && !matches!(shown, Some((_, ReplyKind::Shape { .. })));
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
            b'A' => Ok(Fate::Pass),
            b'E' => self.error(body, now_us),
            b'Z' => self.ready(body, now_us),
            _ => {
                self.owed.drop_doubtful();
                self.answer(tag, len, body, now_us)
            }
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
            Some(value) => Fate::Replace(application_name_status(&value)),
            None => Fate::Pass,
        })
    }

    /// Every message that answers the entry at the head.
    fn answer(&mut self, tag: u8, len: usize, body: &[u8], now_us: u64) -> Result<Fate, Broken> {
        match (self.owed.head(), tag) {
            (Some(Owed::Parse { for_caller, .. }), b'1')
            | (Some(Owed::Bind { for_caller, .. }), b'2')
            | (Some(Owed::Close { for_caller, .. }), b'3') => {
                let fate = if *for_caller { Fate::Pass } else { Fate::Swallow };
                self.owed.pop();
                Ok(fate)
            }
            (Some(Owed::DescribeStatement { name }), b't') => {
                let name = name.clone();
                let types = backend::ParameterDescription::decode(body)?.types.iter().collect();
                self.names.describe(&name, types);
                Ok(Fate::Pass)
            }
            (Some(Owed::DescribeStatement { .. }), b'T' | b'n') => {
                self.owed.pop();
                Ok(Fate::Pass)
            }
            (Some(Owed::DescribePortal { operation, ours }), b'T' | b'n') => {
                let fate = match (*operation, *ours, tag) {
                    (Some(operation), true, b'T') => Fate::Show(operation, ReplyKind::Shape { forward: false }),
                    (_, true, _) => Fate::Swallow,
                    (_, false, _) => Fate::Pass,
                };
                self.owed.pop();
                Ok(fate)
            }
            (Some(Owed::Question), _) => self.learn(tag, body),
            (Some(Owed::Query(_) | Owed::Execute(_)), _) => self.result(tag, len, body, now_us),
            _ => Err(Broken("a message that answers nothing it was asked")),
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
            b'd' => {
                run.bytes += len as u64;
                Ok(if run.forwarding.show { Fate::Show(run.operation, ReplyKind::Copy(Side::Target)) } else { Fate::Pass })
            }
            b'T' if whole => Ok(if run.forwarding.show { Fate::Show(run.operation, ReplyKind::Shape { forward: true }) } else { Fate::Pass }),
            b'G' if run.forwarding.copy_in => {
                run.copying = Copying::In;
                self.owed.doubt_syncs();
                Ok(Fate::Pass)
            }
            b'G' => Err(Broken("it asks for COPY data of a statement that reads none")),
            b'H' => {
                run.copying = Copying::Out;
                Ok(Fate::Pass)
            }
            b'c' if run.copying == Copying::Out => Ok(Fate::Pass),
            b'C' | b'I' => {
                run.copying = Copying::No;
                run.completed += 1;
                if tag == b'C' {
                    let tag = backend::CommandComplete::decode(body)?.tag;
                    run.tag = Some(Bytes::copy_from_slice(tag));
                    match tag {
                        b"ROLLBACK" => self.undone = true,
                        b"COMMIT" => self.undone = false,
                        _ => {}
                    }
                }
                Ok(self.completed(whole, now_us))
            }
            b's' if !whole => {
                if let Some(Owed::Execute(run)) = self.owed.pop() {
                    self.answered(run, now_us);
                }
                Ok(Fate::Pass)
            }
            _ => Err(Broken("a message that has no place in a result")),
        }
    }

    /// One statement is done. A caller's own `application_name` changes here; the target does not report what it never changed.
    fn completed(&mut self, whole: bool, now_us: u64) -> Fate {
        let in_transaction = self.transaction != Transaction::Idle || self.unsynced || !whole;
        let changed = match self.owed.head() {
            Some(Owed::Query(run) | Owed::Execute(run)) => {
                run.forwarding.application_name.clone().and_then(|statement| self.settings.ran(&statement, in_transaction))
            }
            _ => None,
        };
        if !whole {
            if let Some(Owed::Execute(run)) = self.owed.pop() {
                self.answered(run, now_us);
            }
            self.deferred_sync = false;
            while matches!(self.owed.head(), Some(Owed::Sync { doubtful: true, .. } | Owed::CopyEnd)) {
                self.owed.pop();
            }
        }
        match changed {
            Some(value) => Fate::PassThen(application_name_status(&value)),
            None => Fate::Pass,
        }
    }

    fn answered(&mut self, run: Run, now_us: u64) {
        self.moves.push_back(Move::Answered(Answer {
            operation: run.operation,
            duration_us: now_us.saturating_sub(run.started_us),
            rows: run.rows,
            bytes: run.bytes,
            tag: run.tag,
            error: run.error,
            skipped: false,
        }));
    }

    fn error(&mut self, body: &[u8], now_us: u64) -> Result<Fate, Broken> {
        // Once errors are generic, what is recorded is what the caller is told: the message may quote classified values.
        let (told, error) = if self.generic_errors {
            let mut out = BytesMut::new();
            refusal::generic_error(b'E', body, &mut out)?;
            let error = target_error(out.get(HEAD_BYTES..).unwrap_or_default())?;
            (Fate::Replace(out.freeze()), error)
        } else {
            (Fate::Pass, target_error(body)?)
        };
        self.undone = true;
        self.owed.drop_markers();
        match self.owed.head() {
            // Nothing was asked: the target ends the session and says why.
            None => Ok(told),
            Some(Owed::Query(run)) => {
                run.error = Some(error);
                run.copying = Copying::No;
                Ok(told)
            }
            // The commit at a Sync failed.
            Some(Owed::Sync { doubtful: false, .. }) => Ok(told),
            Some(Owed::Refusal { whole: true, .. }) => Ok(self.tell_refusal()),
            Some(_) => Ok(self.fail_pipeline(error, told, now_us)),
        }
    }

    /// The error that makes a refusal real came: the caller is told ours.
    fn tell_refusal(&mut self) -> Fate {
        let Some(Owed::Refusal { refusal, told, .. }) = self.owed.head() else { return Fate::Swallow };
        if std::mem::replace(told, true) {
            return Fate::Swallow;
        }
        let mut out = BytesMut::new();
        refusal.error(&mut out);
        Fate::Replace(out.freeze())
    }

    /// An extended message failed: the target skips everything up to the next Sync, and so does what it owes.
    fn fail_pipeline(&mut self, error: TargetError, told: Fate, now_us: u64) -> Fate {
        let mut fate = told;
        let mut undone = Vec::new();
        let mut first = true;
        while let Some(head) = self.owed.head() {
            if matches!(head, Owed::Sync { .. }) && !first {
                break;
            }
            if matches!(head, Owed::Sync { .. }) {
                // A doubtful Sync at the head: the COPY before it is done, the error is of what follows.
                self.owed.pop();
                continue;
            }
            if first && matches!(head, Owed::Refusal { .. }) {
                fate = self.tell_refusal();
            }
            let Some(owed) = self.owed.pop() else { break };
            if first && is_question(&owed) {
                fate = self.question_failed(&error);
            }
            undone.push(self.drop_failed(owed, first.then_some(&error), now_us));
            first = false;
        }
        for undo in undone.into_iter().rev() {
            self.names.undo(undo);
        }
        if !self.owed.has_sync() {
            self.release_deferred_sync();
        }
        if !self.owed.has_sync() {
            self.skip_with_target();
        }
        self.finish_question();
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
            question.failed = Some(why);
        }
        fate
    }

    /// An entry that failed (`error`) or was skipped; hands back what it had done to names.
    fn drop_failed(&mut self, owed: Owed, error: Option<&TargetError>, now_us: u64) -> Undo {
        match owed {
            Owed::Execute(mut run) => {
                let undo = std::mem::replace(&mut run.undo, Undo::Nothing);
                match error {
                    Some(error) => {
                        run.error = Some(error.clone());
                        self.answered(run, now_us);
                    }
                    None => self.answer_skipped(run.operation),
                }
                undo
            }
            // A query behind a failed pipeline without a Sync: the target ignores it.
            Owed::Query(run) => {
                self.synced_epoch += 1;
                self.answer_skipped(run.operation);
                run.undo
            }
            Owed::Refusal { whole: true, .. } => {
                self.synced_epoch += 1;
                Undo::Nothing
            }
            Owed::Bind { operation, undo, for_caller } => {
                match error {
                    Some(error) if for_caller => self.moves.push_back(Move::Answered(Answer {
                        operation,
                        duration_us: 0,
                        rows: 0,
                        bytes: 0,
                        tag: None,
                        error: Some(error.clone()),
                        skipped: false,
                    })),
                    None if for_caller => self.answer_skipped(operation),
                    _ => {}
                }
                undo
            }
            Owed::Parse { undo, .. } | Owed::Close { undo, .. } => undo,
            _ => Undo::Nothing,
        }
    }

    fn ready(&mut self, body: &[u8], now_us: u64) -> Result<Fate, Broken> {
        let transaction = Transaction::decode(body)?;
        self.owed.drop_markers();
        match self.owed.pop() {
            Some(Owed::Sync { for_caller: false, .. }) => {
                self.transaction_stands(transaction);
                self.finish_question();
                return Ok(Fate::Swallow);
            }
            Some(Owed::Sync { .. } | Owed::Refusal { whole: true, told: true, .. }) => {}
            Some(Owed::Query(mut run)) => {
                let undo = std::mem::replace(&mut run.undo, Undo::Nothing);
                if run.error.is_some() {
                    self.names.undo(undo);
                }
                self.answered(run, now_us);
            }
            _ => return Err(Broken("it is ready for a query before it answered the last")),
        }
        self.synced_epoch += 1;
        self.transaction_stands(transaction);
        Ok(self.ready_with_name(transaction))
    }

    /// Follows the end of a transaction: portals go with it, and a rolled back name comes back.
    fn transaction_stands(&mut self, now: Transaction) {
        self.transaction = now;
        if now == Transaction::Idle {
            self.names.transaction_ended(self.synced_epoch);
            let undone = std::mem::take(&mut self.undone);
            self.restored_name = self.settings.transaction_ended(!undone);
        }
    }

    fn ready_with_name(&mut self, transaction: Transaction) -> Fate {
        match self.restored_name.take() {
            Some(value) => {
                let mut out = BytesMut::from(&application_name_status(&value)[..]);
                backend::ready_for_query(&mut out, transaction);
                Fate::Replace(out.freeze())
            }
            None => Fate::Pass,
        }
    }

    /// Rows of the gateway's own question.
    fn learn(&mut self, tag: u8, body: &[u8]) -> Result<Fate, Broken> {
        let Some(question) = &mut self.question else { return Err(Broken("an answer to no question")) };
        match tag {
            b'D' => {
                let row = rows::row(body)?.iter().map(|cell| cell.map(|cell| String::from_utf8_lossy(cell).into_owned())).collect();
                question.rows.push(row);
            }
            b'C' | b'I' => {
                question.results.push(std::mem::take(&mut question.rows));
                self.owed.pop();
            }
            _ => return Err(Broken("a message that has no place in a result")),
        }
        self.finish_question();
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

fn is_question(owed: &Owed) -> bool {
    matches!(
        owed,
        Owed::Question | Owed::Parse { for_caller: false, .. } | Owed::Bind { for_caller: false, .. } | Owed::Close { for_caller: false, .. }
    )
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
