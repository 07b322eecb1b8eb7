//! What this session knows of statements it has seen: what they mean, and what policy says of that.
//!
//! Facts are found by the statement's shape and hold for every text that is alike (`policy::classify::postgres::shape`). They are true only for the
//! catalog, resolution state and names they were made from: whoever changes one of these clears them. What was decided holds while the same version
//! and the same chain are in force.
//!
//! Growth: bounded in bytes of shapes and facts; when full, all is forgotten, which costs one classification for each shape still in use.

use std::{collections::HashMap, sync::Arc};

use model::{ActorChain, Facts};
use policy::{
    Version,
    classify::postgres::{
        ParameterValue, SessionView,
        shape::{Likeness, Shape},
    },
};
use protocol::postgres::dialogue::Parameter;

use crate::{
    ask::{Decided, kinds_are_listed},
    value,
};

/// Bytes of shapes and their facts kept for each session.
const MAX_BYTES: usize = 1 << 20;

/// Statements of one shape that mean different things; the oldest goes first.
const MAX_ALIKE: usize = 8;

/// Bytes facts take, about: by themselves, and for each thing they name.
const FACTS_BYTES: usize = 768;
const NAMED_BYTES: usize = 64;

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct KnownStatements {
    by_shape: HashMap<Box<[u8]>, Vec<Known>>,
    bytes: usize,
    /// Filled anew for each statement.
    shape: Shape,
    in_force: Option<InForce>,
}

/// One meaning.
#[derive(Debug)]
struct Known {
    likeness: Likeness,
    facts: Arc<Facts>,
    /// What was decided of it; true for what is in force.
    decided: Option<Arc<Decided>>,
}

/// What decisions depend on beside facts and catalog.
#[derive(Debug)]
struct InForce {
    version: Arc<Version>,
    chain: Arc<ActorChain>,
}

/// A statement that is looked for: its text, and what is bound to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sought<'a> {
    pub(crate) text: &'a str,
    /// None where nothing was bound.
    pub(crate) parameters: Option<&'a [Parameter]>,
    pub(crate) view: &'a SessionView,
}

impl Sought<'_> {
    fn parameter(&self, at: usize) -> ParameterValue {
        self.parameters.and_then(|parameters| parameters.get(at)).map_or(ParameterValue::Unreadable, value::for_facts)
    }
}

impl KnownStatements {
    /// The facts of a statement that is known, and what was decided of it if that still holds.
    pub(crate) fn find(&mut self, sought: &Sought<'_>) -> Option<(&Arc<Facts>, Option<&Arc<Decided>>)> {
        let known = self.seek(sought)?;
        Some((&known.facts, known.decided.as_ref()))
    }

    fn seek(&mut self, sought: &Sought<'_>) -> Option<&mut Known> {
        let known = self.by_shape.get_mut(self.shape.of(sought.text, sought.view))?;
        let given = sought.parameters.map(<[_]>::len);
        known.iter_mut().find(|known| known.likeness.holds(&self.shape, sought.text, given, &|at| sought.parameter(at)))
    }

    /// Keeps what a statement means, if that lasts.
    pub(crate) fn keep(&mut self, sought: &Sought<'_>, likeness: Likeness, facts: &Arc<Facts>) {
        // Missing things may appear, and what uses names by SQL depends on more than its text.
        let lasting = facts.understanding == model::Understanding::Full && !uses_names(facts);
        let shape: Box<[u8]> = Box::from(self.shape.of(sought.text, sought.view));
        let bytes = shape.len() + likeness.bytes() + cost(facts);
        if !lasting || bytes > MAX_BYTES / 8 {
            return;
        }
        self.bytes += bytes;
        if self.bytes > MAX_BYTES {
            self.clear();
            self.bytes = bytes;
        }
        let alike = self.by_shape.entry(shape).or_default();
        if alike.len() >= MAX_ALIKE {
            alike.remove(0);
        }
        alike.push(Known { likeness, facts: facts.clone(), decided: None });
    }

    /// Keeps what was decided on these facts of a statement that is known.
    pub(crate) fn decide(&mut self, sought: &Sought<'_>, facts: &Arc<Facts>, decided: &Arc<Decided>) {
        // Where its names led elsewhere once, more was decided on than its text means now.
        if let Some(known) = self.seek(sought).filter(|known| Arc::ptr_eq(&known.facts, facts)) {
            known.decided = Some(decided.clone());
        }
    }

    /// Forgets decisions that were made under another version, or for another chain.
    pub(crate) fn under(&mut self, version: &Arc<Version>, chain: &Arc<ActorChain>) {
        let same = |in_force: &InForce| Arc::ptr_eq(&in_force.version, version) && Arc::ptr_eq(&in_force.chain, chain);
        if self.in_force.as_ref().is_some_and(same) {
            return;
        }
        self.in_force = Some(InForce { version: version.clone(), chain: chain.clone() });
        for known in self.by_shape.values_mut().flatten() {
            known.decided = None;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.by_shape.clear();
        self.bytes = 0;
    }
}

fn uses_names(facts: &Facts) -> bool {
    const PLAIN: [&str; 12] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "BEGIN", "COMMIT", "ROLLBACK", "SET", "SHOW", "VALUES", "SAVEPOINT"];
    !kinds_are_listed(facts) || !facts.kinds.iter().all(|kind| PLAIN.contains(&&**kind))
}

fn cost(facts: &Facts) -> usize {
    let named = facts.pairs.len() + facts.reads.len() + facts.writes.len() + facts.functions.len() + facts.effects.names.len();
    let columns: usize = facts.outputs.columns.iter().map(|column| 1 + column.from.len()).sum();
    FACTS_BYTES + (named + columns + facts.filters.columns.len()) * NAMED_BYTES + facts.outputs.harmless.len()
}

#[cfg(test)]
mod tests {
    use policy::classify::postgres::{self as classify, Statement, catalog::Catalog};

    use super::*;

    fn keep(known: &mut KnownStatements, text: &str) -> bool {
        let view = SessionView::default();
        let sought = Sought { text, parameters: None, view: &view };
        let (facts, likeness) = classify::classify_noting(&Statement { text, parameters: None }, &Catalog::default(), &view);
        known.keep(&sought, likeness, &Arc::new(facts));
        known.find(&sought).is_some()
    }

    #[test]
    fn what_depends_on_more_than_its_text_is_never_kept() {
        let mut known = KnownStatements::default();
        assert!(keep(&mut known, "SELECT 1"));
        for text in ["SELECT 1 FROM missing", "PREPARE a AS SELECT 1", "DEALLOCATE a", "CLOSE a", "EXPLAIN SELECT 1"] {
            assert!(!keep(&mut known, text), "{text}");
        }
        // Kinds beyond the sixteenth are not listed: the last could be an EXECUTE.
        assert!(keep(&mut known, &"SELECT 1;".repeat(16)));
        assert!(!keep(&mut known, &"SELECT 1;".repeat(17)));
    }

    #[test]
    fn a_statement_is_known_by_its_shape() {
        let mut known = KnownStatements::default();
        let view = SessionView::default();
        let mut finds = |text: &str| known.find(&Sought { text, parameters: None, view: &view }).is_some();
        assert!(!finds("SELECT 1, 'x'"));
        let mut known = KnownStatements::default();
        assert!(keep(&mut known, "SELECT 1, 'x'"));
        let mut finds = |text: &str| known.find(&Sought { text, parameters: None, view: &view }).is_some();
        assert!(finds("SELECT 77, 'something else'"));
        assert!(!finds("SELECT 77.5, 'another type'"));
        assert!(!finds("SELECT 77, E'another kind'"));
    }

    #[test]
    fn many_small_statements_take_no_more_than_the_limit() {
        let mut known = KnownStatements::default();
        for number in 0..10_000 {
            assert!(keep(&mut known, &format!("SELECT {number} AS a{number}")));
            assert!(known.bytes <= MAX_BYTES && known.by_shape.len() <= MAX_BYTES / FACTS_BYTES);
        }
    }
}
