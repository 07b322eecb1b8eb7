//! Prepared statements and portals of one session. SQL's `PREPARE` and the protocol's Parse share one namespace, and so do
//! `DECLARE` and Bind.
//!
//! What a name means is only ever what the target has confirmed, in the order it answered. A change that was sent and is not answered
//! is *coming*. It may be relied on within the segment of the pipeline it was sent in (up to the next Sync or Query): should it fail, the
//! target skips what relies on it. Beyond that segment nobody knows whether it happened, and whoever needs the name waits
//! ([`Known::NotYet`]): else a Parse that fails because its name is taken would lend its harmless text to the statement that has the name.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use model::{Facts, facts::NameEffect};

use super::Forwarding;

/// Bytes a name costs besides its texts, for the limit; most is for what it means.
const NAME_BYTES: usize = 1024;

/// A statement as it was prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Its text, as decoded.
    pub text: Arc<str>,
    /// Types of its parameters; 0 where neither the caller nor the target has named one yet.
    pub types: Vec<u32>,
    /// What it meant then: the target goes on with what its names led to, whatever they would lead to now.
    pub meant: Option<Arc<Facts>>,
    /// Whether the text may speak of other names.
    pub(super) speaks: bool,
}

impl Prepared {
    fn new(text: Arc<str>, types: Vec<u32>, meant: Option<Arc<Facts>>) -> Arc<Self> {
        let speaks = speaks_of_names(text.as_bytes());
        Arc::new(Self { text, types, meant, speaks })
    }
}

/// A portal made by Bind.
#[derive(Debug, Clone)]
pub(super) struct Portal {
    pub(super) operation: u64,
    /// The text of its statement: SQL can FETCH from it and MOVE in it.
    pub(super) text: Arc<str>,
    pub(super) forwarding: Arc<Forwarding>,
    /// When it was decided, in changes of what decisions are made under.
    pub(super) epoch: u64,
    /// Its text speaks of other names, which SQL looks up when it runs: what it was decided on is true at this revision only.
    pub(super) speaks: Option<Spoken>,
}

/// A portal's text, and the revision of all names at which it was decided.
#[derive(Debug, Clone)]
pub(super) struct Spoken {
    pub(super) text: Arc<str>,
    pub(super) revision: u64,
}

/// A cursor made by `DECLARE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The text of its query.
    pub text: Arc<str>,
    meant: Option<Arc<Facts>>,
    hold: bool,
}

/// The text behind a name, and what it meant when the name was given to it.
pub type Named<'a> = (&'a Arc<str>, Option<&'a Arc<Facts>>);

/// What a message does to a name once the target has done it.
#[derive(Debug)]
pub(super) enum Change {
    Statement(Bytes, Option<Arc<Prepared>>),
    Portal(Bytes, Option<Portal>),
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known<T> {
    Yes(T),
    No,
    /// The target must answer first.
    NotYet,
}

/// One name: what the target confirmed, and what is coming.
#[derive(Debug)]
struct Slot<T> {
    settled: Option<T>,
    coming: usize,
    /// The segment of the change sent last, and what it makes of the name.
    segment: u64,
    latest: Option<T>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { settled: None, coming: 0, segment: 0, latest: None }
    }
}

impl<T: Clone> Slot<T> {
    fn known(&self, segment: u64) -> Known<T> {
        let value = match self.coming {
            0 => &self.settled,
            _ if self.segment == segment => &self.latest,
            _ => return Known::NotYet,
        };
        value.clone().map_or(Known::No, Known::Yes)
    }

    fn begin(&mut self, value: Option<T>, segment: u64) {
        self.coming += 1;
        self.segment = segment;
        self.latest = value;
    }

    /// The target answered one change: what the name means now, if it says another thing than before.
    fn end(&mut self, outcome: Option<Option<T>>) {
        self.coming = self.coming.saturating_sub(1);
        if self.coming == 0 {
            self.latest = None;
        }
        if let Some(value) = outcome {
            self.settled = value;
        }
    }

    const fn is_unused(&self) -> bool {
        self.coming == 0 && self.settled.is_none()
    }
}

/// The names of one session.
#[derive(Debug, Default)]
pub struct Names {
    unnamed: Slot<Arc<Prepared>>,
    statements: HashMap<Bytes, Slot<Arc<Prepared>>>,
    cursors: HashMap<Bytes, Cursor>,
    unnamed_portal: Slot<Portal>,
    portals: HashMap<Bytes, Slot<Portal>>,
    /// Changes of named statements that are coming.
    coming_statements: usize,
    /// Changes of named portals that are coming.
    coming_portals: usize,
    /// Operations under way that may change prepared statements by SQL.
    statement_effects: usize,
    /// Operations under way that may change cursors by SQL.
    cursor_effects: usize,
    bytes: usize,
    coming_bytes: usize,
    revision: u64,
}

impl Names {
    /// Grows with every change of what [`Names::statements`] and [`Names::cursors`] tell; a copy made at the same revision is still true.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether there is nothing that SQL could speak of, nor is coming.
    pub(super) fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.cursors.is_empty() && self.portals.is_empty()
    }

    /// Named prepared statements the target has, as far as the names are UTF-8.
    pub fn statements(&self) -> impl Iterator<Item = (&str, Named<'_>)> {
        self.statements.iter().filter_map(|(name, slot)| {
            let prepared = slot.settled.as_ref()?;
            Some((std::str::from_utf8(name).ok()?, (&prepared.text, prepared.meant.as_ref())))
        })
    }

    /// Cursors and named portals the target has, as far as the names are UTF-8.
    pub fn cursors(&self) -> impl Iterator<Item = (&str, Named<'_>)> {
        let portals = self.portals.iter().filter_map(|(name, slot)| {
            let portal = slot.settled.as_ref()?;
            Some((name, (&portal.text, portal.forwarding.meant.as_ref())))
        });
        let cursors = self.cursors.iter().map(|(name, cursor)| (name, (&cursor.text, cursor.meant.as_ref())));
        portals.chain(cursors).filter_map(|(name, named)| Some((std::str::from_utf8(name).ok()?, named)))
    }

    /// Bytes kept, for the limit.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of statements that are coming.
    pub(super) const fn coming_bytes(&self) -> usize {
        self.coming_bytes
    }

    /// Whether SQL that speaks of a statement or cursor can be understood now: what is coming may change what it means.
    pub(super) const fn is_settled(&self) -> bool {
        self.coming_statements == 0 && self.coming_portals == 0 && self.statement_effects == 0 && self.cursor_effects == 0
    }

    /// Whether the target has, or may have, an unnamed statement.
    pub(super) const fn has_unnamed(&self) -> bool {
        !self.unnamed.is_unused()
    }

    pub(super) fn statement(&self, name: &[u8], segment: u64) -> Known<Arc<Prepared>> {
        if name.is_empty() {
            return self.unnamed.known(segment);
        }
        // SQL can drop a named statement and make another of its name.
        if self.statement_effects > 0 {
            return Known::NotYet;
        }
        self.statements.get(name).map_or(Known::No, |slot| slot.known(segment))
    }

    pub(super) fn portal(&self, name: &[u8], segment: u64) -> Known<Portal> {
        if name.is_empty() {
            return self.unnamed_portal.known(segment);
        }
        if self.cursor_effects > 0 {
            return Known::NotYet;
        }
        self.portals.get(name).map_or(Known::No, |slot| slot.known(segment))
    }

    pub(super) fn prepare(name: Bytes, text: Arc<str>, types: Vec<u32>, meant: Option<Arc<Facts>>) -> Change {
        Change::Statement(name, Some(Prepared::new(text, types, meant)))
    }

    /// The change was sent.
    pub(super) fn begin(&mut self, change: &Change, segment: u64) {
        match change {
            Change::Statement(name, value) => {
                self.coming_bytes += weight(value.as_ref());
                if name.is_empty() {
                    self.unnamed.begin(value.clone(), segment);
                } else {
                    self.coming_statements += 1;
                    self.statements.entry(name.clone()).or_default().begin(value.clone(), segment);
                }
            }
            Change::Portal(name, value) if name.is_empty() => self.unnamed_portal.begin(value.clone(), segment),
            Change::Portal(name, value) => {
                self.coming_portals += 1;
                self.portals.entry(name.clone()).or_default().begin(value.clone(), segment);
            }
        }
    }

    /// The target did it.
    pub(super) fn done(&mut self, change: Change) {
        match change {
            Change::Statement(name, value) => self.end_statement(&name, value.as_ref(), Some(value.clone())),
            Change::Portal(name, value) => {
                self.drop_cursor(&name);
                self.end_portal(&name, Some(value));
            }
        }
    }

    /// The target tried and failed. A Parse of the unnamed statement has dropped the old one by then (`exec_parse_message`).
    pub(super) fn failed(&mut self, change: Change) {
        match change {
            Change::Statement(name, value) if name.is_empty() => self.end_statement(&name, value.as_ref(), Some(None)),
            change => self.skipped(change),
        }
    }

    /// The target never tried.
    pub(super) fn skipped(&mut self, change: Change) {
        match change {
            Change::Statement(name, value) => self.end_statement(&name, value.as_ref(), None),
            Change::Portal(name, _) => self.end_portal(&name, None),
        }
    }

    fn end_statement(&mut self, name: &Bytes, sent: Option<&Arc<Prepared>>, outcome: Option<Option<Arc<Prepared>>>) {
        self.coming_bytes = self.coming_bytes.saturating_sub(weight(sent));
        if name.is_empty() {
            self.unnamed.end(outcome);
            return;
        }
        self.coming_statements = self.coming_statements.saturating_sub(1);
        if let Some(value) = outcome {
            self.put_statement(name.clone(), value);
        }
        if let Some(slot) = self.statements.get_mut(name) {
            slot.end(None);
            if slot.is_unused() {
                self.statements.remove(name);
            }
        }
    }

    fn end_portal(&mut self, name: &Bytes, outcome: Option<Option<Portal>>) {
        if name.is_empty() {
            self.unnamed_portal.end(outcome);
            return;
        }
        self.coming_portals = self.coming_portals.saturating_sub(1);
        let Some(slot) = self.portals.get_mut(name) else { return };
        self.revision += u64::from(outcome.is_some());
        let before = portal_weight(slot);
        slot.end(outcome);
        self.bytes = (self.bytes + portal_weight(slot)).saturating_sub(before);
        if slot.is_unused() {
            self.portals.remove(name);
        }
    }

    /// The target named the types of a statement's parameters.
    pub(super) fn describe(&mut self, name: &[u8], types: Vec<u32>) {
        let slot = if name.is_empty() { Some(&mut self.unnamed) } else { self.statements.get_mut(name) };
        if let Some(prepared) = slot.and_then(|slot| slot.settled.as_mut())
            && prepared.types != types
        {
            *prepared = Arc::new(Prepared { types, ..Prepared::clone(prepared) });
        }
    }

    /// An operation that may change names by SQL was sent.
    pub(super) fn begin_effects(&mut self, forwarding: &Forwarding) {
        let (statements, cursors) = effects(forwarding);
        self.statement_effects += usize::from(statements);
        self.cursor_effects += usize::from(cursors);
    }

    /// It ended. `did`: it did all of it.
    pub(super) fn end_effects(&mut self, forwarding: &Forwarding, did: Did) {
        let (statements, cursors) = effects(forwarding);
        self.statement_effects = self.statement_effects.saturating_sub(usize::from(statements));
        self.cursor_effects = self.cursor_effects.saturating_sub(usize::from(cursors));
        for effect in &forwarding.names {
            match did {
                Did::All => self.apply(effect, forwarding.meant.as_ref()),
                Did::Some => self.forget(effect),
                Did::Nothing | Did::Skipped => {}
            }
        }
        if forwarding.opaque && did != Did::Skipped {
            self.cursors_unknown();
        }
    }

    fn apply(&mut self, effect: &NameEffect, meant: Option<&Arc<Facts>>) {
        match effect {
            NameEffect::Prepare { name, body } => {
                let prepared = Prepared::new(Arc::from(body.as_str()), Vec::new(), meant.cloned());
                self.put_statement(Bytes::copy_from_slice(name.as_bytes()), Some(prepared));
            }
            NameEffect::Deallocate(name) => self.put_statement(Bytes::copy_from_slice(name.as_bytes()), None),
            NameEffect::DeallocateAll => self.forget_statements(),
            NameEffect::Declare { name, body, hold } => {
                self.close_cursor(name);
                self.revision += 1;
                self.bytes += NAME_BYTES + body.len();
                let cursor = Cursor { text: Arc::from(body.as_str()), meant: meant.cloned(), hold: *hold };
                self.cursors.insert(Bytes::copy_from_slice(name.as_bytes()), cursor);
            }
            NameEffect::Close(name) => self.close_cursor(name),
            NameEffect::CloseAll => {
                self.cursors_unknown();
                self.forget_portals();
            }
        }
    }

    /// It may have been done or not: nobody knows the name any more.
    fn forget(&mut self, effect: &NameEffect) {
        match effect {
            NameEffect::Prepare { name, .. } | NameEffect::Deallocate(name) => self.put_statement(Bytes::copy_from_slice(name.as_bytes()), None),
            NameEffect::Declare { name, .. } | NameEffect::Close(name) => self.close_cursor(name),
            NameEffect::DeallocateAll => self.forget_statements(),
            NameEffect::CloseAll => {
                self.cursors_unknown();
                self.forget_portals();
            }
        }
    }

    /// A transaction ended: portals and cursors made in it are gone, but those held over.
    pub(super) fn transaction_ended(&mut self) {
        self.forget_portals();
        if self.cursors.values().any(|cursor| !cursor.hold) {
            self.revision += 1;
            let gone: usize = self.cursors.values().filter(|cursor| !cursor.hold).map(|cursor| NAME_BYTES + cursor.text.len()).sum();
            self.bytes = self.bytes.saturating_sub(gone);
            self.cursors.retain(|_, cursor| cursor.hold);
        }
    }

    fn forget_portals(&mut self) {
        self.unnamed_portal.settled = None;
        if self.portals.is_empty() {
            return;
        }
        self.revision += 1;
        let gone: usize = self.portals.values().map(portal_weight).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        self.portals.values_mut().for_each(|slot| slot.settled = None);
        self.portals.retain(|_, slot| slot.coming > 0);
    }

    /// Named ones: `DEALLOCATE ALL` leaves the unnamed statement (`DropAllPreparedStatements`).
    fn forget_statements(&mut self) {
        self.revision += 1;
        let gone: usize = self.statements.values().map(|slot| weight(slot.settled.as_ref())).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        self.statements.values_mut().for_each(|slot| slot.settled = None);
        self.statements.retain(|_, slot| slot.coming > 0);
    }

    fn drop_cursor(&mut self, name: &[u8]) {
        if let Some(cursor) = self.cursors.remove(name) {
            self.revision += 1;
            self.bytes = self.bytes.saturating_sub(NAME_BYTES + cursor.text.len());
        }
    }

    fn close_cursor(&mut self, name: &str) {
        self.drop_cursor(name.as_bytes());
        if let Some(slot) = self.portals.get_mut(name.as_bytes())
            && slot.settled.is_some()
        {
            self.revision += 1;
            self.bytes = self.bytes.saturating_sub(portal_weight(slot));
            slot.settled = None;
            if slot.is_unused() {
                self.portals.remove(name.as_bytes());
            }
        }
    }

    /// Cursors may have been opened, closed or replaced out of sight.
    fn cursors_unknown(&mut self) {
        if !self.cursors.is_empty() {
            self.revision += 1;
            let gone: usize = self.cursors.values().map(|cursor| NAME_BYTES + cursor.text.len()).sum();
            self.bytes = self.bytes.saturating_sub(gone);
            self.cursors.clear();
        }
    }

    fn put_statement(&mut self, name: Bytes, prepared: Option<Arc<Prepared>>) {
        self.revision += 1;
        let slot = self.statements.entry(name.clone()).or_default();
        self.bytes = (self.bytes + weight(prepared.as_ref())).saturating_sub(weight(slot.settled.as_ref()));
        slot.settled = prepared;
        if slot.is_unused() {
            self.statements.remove(&name);
        }
    }
}

/// How far an operation got that changes names by SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    All,
    /// Some of its statements.
    Some,
    /// It was tried and failed as a whole.
    Nothing,
    /// It was never tried.
    Skipped,
}

/// Whether an operation may change prepared statements, and whether cursors.
fn effects(forwarding: &Forwarding) -> (bool, bool) {
    let of_statements = |effect: &NameEffect| matches!(effect, NameEffect::Prepare { .. } | NameEffect::Deallocate(_) | NameEffect::DeallocateAll);
    let statements = forwarding.names.iter().any(of_statements);
    (statements, forwarding.opaque || !forwarding.names.iter().all(of_statements))
}

/// What a settled portal counts against the limit.
fn portal_weight(slot: &Slot<Portal>) -> usize {
    slot.settled.as_ref().map_or(0, |portal| NAME_BYTES + portal.text.len())
}

fn weight(prepared: Option<&Arc<Prepared>>) -> usize {
    prepared.map_or(0, |prepared| NAME_BYTES + prepared.text.len())
}

/// Whether a statement can speak of a prepared statement or a cursor. Key words have no other spelling and end where an identifier would.
pub(super) fn speaks_of_names(statement: &[u8]) -> bool {
    const WORDS: [&[u8]; 4] = [b"EXECUTE", b"FETCH", b"MOVE", b"CURRENT"];
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..));
    let spoken = |at: usize, word: &[u8]| {
        let here = statement.get(at..at + word.len()).is_some_and(|here| here.eq_ignore_ascii_case(word));
        here && !goes_on(statement.get(at + word.len()))
    };
    memchr::memchr3_iter(b'E', b'F', b'M', statement)
        .chain(memchr::memchr3_iter(b'e', b'f', b'm', statement))
        .chain(memchr::memchr2_iter(b'C', b'c', statement))
        .any(|at| WORDS.iter().any(|word| spoken(at, word)))
}
