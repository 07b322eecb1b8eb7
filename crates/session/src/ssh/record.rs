//! What goes into the recording of a session over SSH: everything about an operation before anything of it goes on, and what a terminal shows before
//! its caller sees it.

use evidence::record::{Answered, Asked, Cell, Failure, Output, Record, Resized, Stream};
use model::{
    Outcome, RecordLevel, Timestamp,
    hold::{HoldRow, HoldState},
};

use super::{Kept, Operation, Running, Session};
use crate::{
    ask::{Broken, Decided},
    logbook::Logbook,
};

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// What the machine said, such as `exit 0`.
    pub tag: Option<String>,
    /// Why it did not do it.
    pub error: Option<String>,
    /// Bytes that its caller got of it.
    pub bytes: u64,
    /// What was masked in them.
    pub masked: Vec<String>,
}

impl Session {
    /// Records how an operation ended. It is written at once: what follows it may be long in coming.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn answered(&self, op: u64, answer: Answer, now: Timestamp) -> Result<(), Broken> {
        let mut kept = self.kept();
        let duration_us = kept.waited(op, now);
        let error = answer.error.map(|message| Failure { sqlstate: String::new(), message });
        let answered =
            Answered { op, at: now, duration_us, bytes: answer.bytes, tag: answer.tag, error, masked: answer.masked, ..Answered::default() };
        kept.write(&Record::Answered(answered))
    }

    /// Records what passes on a stream of an operation, before it goes on.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn passes(&self, op: u64, stream: Stream, data: &[u8], now: Timestamp) -> Result<(), Broken> {
        self.kept().write(&Record::Output(Output { op, at: now, stream, data: Cell::new(data, false) }))
    }

    /// Records the size of a terminal.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn resized(&self, op: u64, (columns, rows): (u32, u32), now: Timestamp) -> Result<(), Broken> {
        self.kept().write(&Record::Resized(Resized { op, at: now, columns, rows }))
    }

    /// Whether what commands write is recorded, beside what terminals show.
    #[must_use]
    pub fn records_output(&self) -> bool {
        self.kept().connection.record == RecordLevel::Full
    }

    /// Records anything else worth knowing.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub fn note(&self, kind: &str, text: &str, now: Timestamp) -> Result<(), Broken> {
        let mut kept = self.kept();
        let log = kept.log()?;
        log.note(kind, text, now)?;
        log.commit()
    }

    pub(super) fn note_granted(&self, now: Timestamp) -> Result<(), Broken> {
        let chain = self.live.chain_at(now);
        let mut kept = self.kept();
        let log = kept.log()?;
        log.note_granted(&chain, now)?;
        log.commit()
    }
}

impl Kept {
    /// The recording; none once the session is closed, and then nothing may happen any more.
    fn log(&mut self) -> Result<&mut Logbook, Broken> {
        self.log.as_mut().ok_or(Broken::Ended(crate::live::EndReason::Stopping))
    }

    fn write(&mut self, record: &Record) -> Result<(), Broken> {
        let log = self.log()?;
        log.append(record)?;
        log.commit()
    }

    /// How long an operation took that is over now, in microseconds.
    fn waited(&mut self, op: u64, now: Timestamp) -> u64 {
        let running = self.running.remove(&op);
        running.map_or(0, |running| u64::try_from(now.duration_since(running.asked_at).as_micros()).unwrap_or(0))
    }

    pub(super) fn record_asked(&mut self, operation: &Operation, decided: &Decided, now: Timestamp) -> Result<u64, Broken> {
        self.asked += 1;
        let op = self.asked;
        let log = self.log()?;
        log.listing.operations += 1;
        let asked = Asked {
            op,
            at: now,
            text: operation.text.clone(),
            facts: decided.facts.clone(),
            ruling: decided.ruling.clone(),
            parameters: Vec::new(),
            via: operation.via,
        };
        self.write(&Record::Asked(asked))?;
        if decided.decision.outcome != Outcome::Deny {
            self.running.insert(op, Running { facts: decided.facts.clone(), asked_at: now });
        }
        Ok(op)
    }

    pub(super) fn record_refused(&mut self, op: u64, sentence: &str, now: Timestamp) -> Result<(), Broken> {
        let duration_us = self.waited(op, now);
        let error = Some(Failure { sqlstate: String::new(), message: sentence.to_owned() });
        self.write(&Record::Answered(Answered { op, at: now, duration_us, error, refused: true, ..Answered::default() }))
    }

    pub(super) fn record_held(&mut self, op: u64, row: &HoldRow, now: Timestamp) -> Result<(), Broken> {
        let log = self.log()?;
        log.held(op, row, now)?;
        log.commit()
    }

    pub(super) fn record_settled(&mut self, op: u64, row: &HoldRow, state: HoldState, now: Timestamp) -> Result<(), Broken> {
        let log = self.log()?;
        log.settled(op, row, state, now)?;
        log.commit()
    }
}
