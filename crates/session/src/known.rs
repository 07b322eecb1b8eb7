//! Facts of statements this session has seen, by their text. True only for the catalog, resolution state and names they were made from: whoever
//! changes one of these clears them.
//!
//! Growth: bounded in bytes of text; when full, all is forgotten, which costs one classification for each statement still in use.

use std::{collections::HashMap, sync::Arc};

use model::Facts;

/// Bytes of statements kept for each session.
const MAX_BYTES: usize = 1 << 20;

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
        if !lasting || text.len() > MAX_BYTES / 8 {
            return;
        }
        self.bytes += text.len();
        if self.bytes > MAX_BYTES {
            self.clear();
            self.bytes = text.len();
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
    !facts.kinds.iter().all(|kind| PLAIN.contains(&&**kind))
}
