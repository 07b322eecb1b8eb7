//! Facts of statements this session has seen, by their text. True only for the catalog, resolution state and names they were made from: whoever
//! changes one of these clears them.
//!
//! Growth: bounded in bytes of text and facts; when full, all is forgotten, which costs one classification for each statement still in use.

use std::{collections::HashMap, sync::Arc};

use model::Facts;

use crate::ask::kinds_are_listed;

/// Bytes of statements and their facts kept for each session.
const MAX_BYTES: usize = 1 << 20;

/// Bytes facts take, about: by themselves, and for each thing they name.
const FACTS_BYTES: usize = 512;
const NAMED_BYTES: usize = 64;

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct KnownFacts {
    facts: HashMap<Arc<str>, Arc<Facts>>,
    bytes: usize,
}

impl KnownFacts {
    pub(crate) fn get(&self, text: &str) -> Option<&Arc<Facts>> {
        self.facts.get(text)
    }

    pub(crate) fn keep(&mut self, text: Arc<str>, facts: Arc<Facts>) {
        // Missing things may appear, and what uses names by SQL depends on more than its text.
        let lasting = facts.understanding == model::Understanding::Full && !uses_names(&facts);
        let bytes = cost(&text, &facts);
        if !lasting || bytes > MAX_BYTES / 8 {
            return;
        }
        self.bytes += bytes;
        if self.bytes > MAX_BYTES {
            self.clear();
            self.bytes = bytes;
        }
        self.facts.insert(text, facts);
    }

    pub(crate) fn clear(&mut self) {
        self.facts.clear();
        self.bytes = 0;
    }
}

fn uses_names(facts: &Facts) -> bool {
    const PLAIN: [&str; 12] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "BEGIN", "COMMIT", "ROLLBACK", "SET", "SHOW", "VALUES", "SAVEPOINT"];
    !kinds_are_listed(facts) || !facts.kinds.iter().all(|kind| PLAIN.contains(&&**kind))
}

fn cost(text: &str, facts: &Facts) -> usize {
    let named = facts.pairs.len() + facts.reads.len() + facts.writes.len() + facts.functions.len() + facts.effects.names.len();
    text.len() + FACTS_BYTES + named * NAMED_BYTES + facts.outputs.harmless.len()
}

#[cfg(test)]
mod tests {
    use policy::classify::postgres::{self as classify, SessionView, Statement, catalog::Catalog};

    use super::*;

    fn keep(known: &mut KnownFacts, text: &str) -> bool {
        let facts = classify::classify(&Statement { text, parameters: None }, &Catalog::default(), &SessionView::default());
        known.keep(Arc::from(text), Arc::new(facts));
        known.get(text).is_some()
    }

    #[test]
    fn what_depends_on_more_than_its_text_is_never_kept() {
        let mut known = KnownFacts::default();
        assert!(keep(&mut known, "SELECT 1"));
        for text in ["SELECT 1 FROM missing", "PREPARE a AS SELECT 1", "DEALLOCATE a", "CLOSE a", "EXPLAIN SELECT 1"] {
            assert!(!keep(&mut known, text), "{text}");
        }
        // Kinds beyond the sixteenth are not listed: the last could be an EXECUTE.
        assert!(keep(&mut known, &"SELECT 1;".repeat(16)));
        assert!(!keep(&mut known, &"SELECT 1;".repeat(17)));
    }

    #[test]
    fn many_small_statements_take_no_more_than_the_limit() {
        let mut known = KnownFacts::default();
        for number in 0..10_000 {
            assert!(keep(&mut known, &format!("SELECT {number}")));
            assert!(known.bytes <= MAX_BYTES && known.facts.len() <= MAX_BYTES / FACTS_BYTES);
        }
    }
}
