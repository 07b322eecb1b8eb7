//! Prepared statements and portals of one session. SQL's `PREPARE` and the protocol's Parse share one namespace, and so do
//! `DECLARE` and Bind; what the target will know under a name is followed here, in the order it will read the messages.
//!
//! Changes are made when a message is forwarded and taken back when the target answers that it failed or was skipped: each
//! leaves an [`Undo`] with what the target owes.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use model::facts::NameEffect;

use super::Forwarding;

/// A statement as it was prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Never used twice in a session: facts may be kept by it.
    pub id: u64,
    /// Its text, as decoded.
    pub text: Arc<str>,
    /// Types of its parameters; 0 where neither the caller nor the target has named one yet.
    pub types: Vec<u32>,
}

/// A portal made by Bind.
#[derive(Debug, Clone)]
pub(super) struct Portal {
    pub(super) operation: u64,
    pub(super) forwarding: Arc<Forwarding>,
    /// Syncs forwarded before it: it ends with the transaction it was made in.
    pub(super) epoch: u64,
}

/// A cursor made by `DECLARE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The text of its query.
    pub text: Arc<str>,
    hold: bool,
    epoch: u64,
}

/// What to put back if the target did not do it.
#[derive(Debug)]
pub(super) enum Undo {
    Nothing,
    Statement(Bytes, Option<Arc<Prepared>>),
    Portal(Bytes, Option<Portal>),
    /// A whole simple query: what it names is unknown if it failed half-way.
    Unknown(Vec<NameEffect>),
    /// The single statement of a simple query or an executed portal.
    Restore(Box<(Statements, Cursors)>),
}

pub(super) type Statements = HashMap<Bytes, Arc<Prepared>>;
pub(super) type Cursors = HashMap<Bytes, Cursor>;

/// The names of one session.
#[derive(Debug, Default)]
pub struct Names {
    statements: Statements,
    cursors: Cursors,
    portals: HashMap<Bytes, Portal>,
    bytes: usize,
    next_id: u64,
    revision: u64,
}

impl Names {
    /// Grows with every change; a copy made at the same revision is still true.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Prepared statements by name, as far as the names are UTF-8.
    pub fn statements(&self) -> impl Iterator<Item = (&str, &Arc<str>)> {
        self.statements.iter().filter_map(|(name, prepared)| Some((std::str::from_utf8(name).ok()?, &prepared.text)))
    }

    /// Cursors by name, as far as the names are UTF-8.
    pub fn cursors(&self) -> impl Iterator<Item = (&str, &Arc<str>)> {
        self.cursors.iter().filter_map(|(name, cursor)| Some((std::str::from_utf8(name).ok()?, &cursor.text)))
    }

    /// Bytes of text kept, for the limit.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn statement(&self, name: &[u8]) -> Option<&Arc<Prepared>> {
        self.statements.get(name)
    }

    pub(super) fn portal(&self, name: &[u8]) -> Option<&Portal> {
        self.portals.get(name)
    }

    pub(super) fn prepare(&mut self, name: Bytes, text: Arc<str>, types: Vec<u32>) -> Undo {
        let prepared = Arc::new(Prepared { id: self.fresh_id(), text, types });
        let before = self.put_statement(name.clone(), Some(prepared));
        Undo::Statement(name, before)
    }

    pub(super) fn bind(&mut self, name: Bytes, portal: Portal) -> Undo {
        self.revision += 1;
        // A portal of a cursor's name replaces what the name meant.
        self.cursors.remove(&name);
        let before = self.portals.insert(name.clone(), portal);
        Undo::Portal(name, before)
    }

    pub(super) fn close_statement(&mut self, name: Bytes) -> Undo {
        let before = self.put_statement(name.clone(), None);
        Undo::Statement(name, before)
    }

    pub(super) fn close_portal(&mut self, name: Bytes) -> Undo {
        self.revision += 1;
        self.cursors.remove(&name);
        let before = self.portals.remove(&name);
        Undo::Portal(name, before)
    }

    /// The target named the types of a statement's parameters.
    pub(super) fn describe(&mut self, name: &[u8], types: Vec<u32>) {
        if let Some(prepared) = self.statements.get_mut(name)
            && prepared.types != types
        {
            *prepared = Arc::new(Prepared { types, ..Prepared::clone(prepared) });
        }
    }

    /// Follows what SQL does to names. `alone`: the operation is this one statement, so it takes effect whole or not at all.
    pub(super) fn follow(&mut self, effects: &[NameEffect], alone: bool, epoch: u64) -> Undo {
        if effects.is_empty() {
            return Undo::Nothing;
        }
        let undo = if alone { Undo::Restore(Box::new((self.statements.clone(), self.cursors.clone()))) } else { Undo::Unknown(effects.to_vec()) };
        for effect in effects {
            self.apply(effect, epoch);
        }
        undo
    }

    fn apply(&mut self, effect: &NameEffect, epoch: u64) {
        self.revision += 1;
        match effect {
            NameEffect::Prepare { name, body } => {
                let prepared = Arc::new(Prepared { id: self.fresh_id(), text: Arc::from(body.as_str()), types: Vec::new() });
                self.put_statement(Bytes::copy_from_slice(name.as_bytes()), Some(prepared));
            }
            NameEffect::Deallocate(name) => {
                self.put_statement(Bytes::copy_from_slice(name.as_bytes()), None);
            }
            NameEffect::DeallocateAll => {
                self.statements.clear();
                self.bytes = 0;
            }
            NameEffect::Declare { name, body, hold } => {
                let name = Bytes::copy_from_slice(name.as_bytes());
                self.portals.remove(&name);
                self.cursors.insert(name, Cursor { text: Arc::from(body.as_str()), hold: *hold, epoch });
            }
            NameEffect::Close(name) => {
                self.cursors.remove(name.as_bytes());
                self.portals.remove(name.as_bytes());
            }
            NameEffect::CloseAll => {
                self.cursors.clear();
                self.portals.clear();
            }
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        self.revision += 1;
        match undo {
            Undo::Nothing => {}
            Undo::Statement(name, before) => {
                self.put_statement(name, before);
            }
            Undo::Portal(name, Some(before)) => {
                self.portals.insert(name, before);
            }
            Undo::Portal(name, None) => {
                self.portals.remove(&name);
            }
            Undo::Unknown(effects) => effects.iter().for_each(|effect| self.forget(effect)),
            Undo::Restore(before) => {
                (self.statements, self.cursors) = *before;
                self.bytes = self.statements.values().map(|prepared| prepared.text.len()).sum();
            }
        }
    }

    fn forget(&mut self, effect: &NameEffect) {
        match effect {
            NameEffect::Prepare { name, .. } | NameEffect::Deallocate(name) => {
                self.put_statement(Bytes::copy_from_slice(name.as_bytes()), None);
            }
            NameEffect::Declare { name, .. } | NameEffect::Close(name) => {
                self.cursors.remove(name.as_bytes());
            }
            NameEffect::DeallocateAll | NameEffect::CloseAll => {}
        }
    }

    /// A transaction ended: portals and cursors made in it are gone, but those held over.
    pub(super) fn transaction_ended(&mut self, epoch: u64) {
        if self.portals.is_empty() && self.cursors.is_empty() {
            return;
        }
        self.revision += 1;
        self.portals.retain(|_, portal| portal.epoch > epoch);
        self.cursors.retain(|_, cursor| cursor.hold || cursor.epoch > epoch);
    }

    /// Code ran that may have opened, closed or replaced cursors out of sight.
    pub(super) fn cursors_unknown(&mut self) {
        if !self.cursors.is_empty() {
            self.revision += 1;
            self.cursors.clear();
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn put_statement(&mut self, name: Bytes, prepared: Option<Arc<Prepared>>) -> Option<Arc<Prepared>> {
        self.revision += 1;
        self.bytes += prepared.as_ref().map_or(0, |new| new.text.len());
        let before = match prepared {
            Some(prepared) => self.statements.insert(name, prepared),
            None => self.statements.remove(&name),
        };
        self.bytes = self.bytes.saturating_sub(before.as_ref().map_or(0, |old| old.text.len()));
        before
    }
}
