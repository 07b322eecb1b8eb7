//! What stands behind a name: prepared statements and cursors.
//!
//! The target looks up the names in a statement when it is prepared, and again only when something it found has changed. Something new that is put
//! before a table it found, in the temporary schema or elsewhere on the search path, does not count: the statement goes on with the old table. So
//! what it meant when it was prepared is kept, and counts beside what it would mean now.

use std::sync::Arc;

use model::{
    Facts, Understanding,
    facts::{RelationRef, Stores},
};

use super::catalog::Catalog;

/// The text behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The statement.
    pub text: Arc<str>,
    /// What it meant when it was given the name, if that is known.
    pub meant: Option<Arc<Facts>>,
}

impl From<&str> for Named {
    fn from(text: &str) -> Self {
        Self { text: Arc::from(text), meant: None }
    }
}

impl From<(&Arc<str>, Option<&Arc<Facts>>)> for Named {
    fn from((text, meant): (&Arc<str>, Option<&Arc<Facts>>)) -> Self {
        Self { text: text.clone(), meant: meant.cloned() }
    }
}

/// What a statement means that may still run as it was prepared; none if that is what it means now.
#[must_use]
pub fn meaning_beside(now: &Facts, meant: &Facts, catalog: &Catalog) -> Option<Facts> {
    let Facts { reads, writes, functions, .. } = now;
    let led_elsewhere =
        led_elsewhere(meant, catalog, |read| reads.contains(read), |written| writes.contains(written), |name| functions.contains(name));
    led_elsewhere.then(|| both(now.clone(), meant))
}

/// Whether the names of what was prepared led to something that is still there and that they do not lead to now.
pub(super) fn led_elsewhere(
    meant: &Facts,
    catalog: &Catalog,
    reads: impl Fn(&RelationRef) -> bool,
    writes: impl Fn(&RelationRef) -> bool,
    functions: impl Fn(&Arc<str>) -> bool,
) -> bool {
    // What is gone cannot be run on: the target has looked up the names again.
    let is_there = |relation: &&RelationRef| catalog.relation_by_oid(relation.oid).is_some();
    meant.understanding != Understanding::Full
        || !meant.reads.iter().filter(is_there).all(reads)
        || !meant.writes.iter().filter(is_there).all(writes)
        || !meant.functions.iter().all(functions)
}

/// Facts of what may mean the one or the other.
pub(super) fn both(mut now: Facts, meant: &Facts) -> Facts {
    if now.understanding == Understanding::Full {
        now.understanding = meant.understanding.clone();
    }
    add(&mut now.pairs, &meant.pairs);
    add(&mut now.reads, &meant.reads);
    add(&mut now.writes, &meant.writes);
    add(&mut now.functions, &meant.functions);
    now.row_scope = now.row_scope.max(meant.row_scope);
    now.risk = now.risk.max(meant.risk);
    now.effects.catalog |= meant.effects.catalog;
    now.effects.resolution |= meant.effects.resolution;
    now.effects.transaction |= meant.effects.transaction;
    let Stores { columns, untold, code, renames } = &meant.effects.stores;
    let stores = &mut now.effects.stores;
    add(&mut stores.columns, columns);
    add(&mut stores.renames, renames);
    stores.untold |= untold;
    stores.code |= code;
    for (column, by) in &meant.filters.columns {
        match now.filters.columns.iter_mut().find(|(known, _)| known == column) {
            Some((_, known)) => *known = (*known).max(*by),
            None => now.filters.columns.push((column.clone(), *by)),
        }
    }
    now.filters.columns.sort();
    now.filters.untold = now.filters.untold.max(meant.filters.untold);
    now.outputs.opaque |= meant.outputs.opaque;
    now.outputs.unfollowed |= meant.outputs.unfollowed;
    now.outputs.harmless.clear();
    now.outputs.columns.clear();
    now.outputs.copy = None;
    now
}

fn add<T: Ord + Clone>(now: &mut Vec<T>, meant: &[T]) {
    now.extend_from_slice(meant);
    now.sort_unstable();
    now.dedup();
}
