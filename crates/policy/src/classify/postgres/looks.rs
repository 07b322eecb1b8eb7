//! Which values a judgement depends on: what the walk over a statement looked at of its literals and parameters.
//!
//! INVARIANT: whatever of a value takes part in a judgement is noted here before it is used. A literal that was walked past and never looked at
//! can be any other literal of its kind without changing what the statement means; so can a parameter.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

/// Something that holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A literal, by its place in the statement in bytes, as the parser gives it.
    Literal(i32),
    /// `$n`.
    Parameter(i32),
}

/// What of it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aspect {
    /// Whether it is NULL, or cannot be read at all.
    Presence,
    /// Whether it is NULL, cannot be read, or is no number.
    Numeric,
    /// All of it.
    Value,
}

/// One look at a value.
pub(super) type Look = (Place, Aspect);

/// Everything that was walked past and looked at so far. Clones share what they note.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks(Rc<RefCell<Noted>>);

/// What was noted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Noted {
    /// Literals the walk went past, by their places.
    pub(super) seen: BTreeSet<i32>,
    /// What was looked at.
    pub(super) looks: BTreeSet<Look>,
}

impl Looks {
    /// Notes that a literal was walked past as an expression of its own.
    pub(super) fn see(&self, place: i32) {
        self.0.borrow_mut().seen.insert(place);
    }

    /// Notes looks at values.
    pub(super) fn note(&self, looks: impl IntoIterator<Item = Look>) {
        self.0.borrow_mut().looks.extend(looks);
    }

    /// What was noted by this and all clones.
    pub(super) fn take(&self) -> Noted {
        self.0.take()
    }
}
