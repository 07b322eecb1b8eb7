//! What has been found about an operation so far, and the facts made of it at the end.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    Action, Facts, Object, Pair, Risk, RowScope, Understanding,
    facts::{Effects, Filters, Outputs},
};

use crate::classify::postgres::level;

/// How many things one operation may ask for; one that asks for more is not understood.
const MAX_PAIRS: usize = 512;

/// Facts in the making. Everything only ever grows.
#[derive(Debug)]
pub(super) struct Found {
    kind: Arc<str>,
    pairs: BTreeSet<Pair>,
    pub(super) statements: u32,
    risk: u8,
    /// Why it is not understood.
    doubt: Option<String>,
    pub(super) computed: Computed,
    pub(super) secrets: Vec<(u32, u32)>,
}

/// Variables, of which shells may compute the values of some: whichever comes first, one that holds more than a number can run code then.
#[derive(Debug, Default)]
pub(super) struct Computed {
    /// Set to a number.
    pub(super) numbers: BTreeSet<String>,
    /// Set to anything else.
    pub(super) texts: BTreeSet<String>,
    /// Taken for a number.
    pub(super) taken: BTreeSet<String>,
}

impl Computed {
    fn may_run_code(&self) -> bool {
        self.taken.iter().any(|name| self.texts.contains(name) || !self.numbers.contains(name))
    }
}

impl Found {
    /// Nothing yet, of an operation of this kind.
    pub(super) fn of(kind: &str) -> Self {
        Self { kind: Arc::from(kind), pairs: BTreeSet::new(), statements: 0, risk: 0, doubt: None, computed: Computed::default(), secrets: vec![] }
    }

    /// One operation that asks for one thing.
    pub(super) fn one(kind: &str, action: Action, object: Object) -> Self {
        let mut found = Self::of(kind);
        found.statements = 1;
        found.pair(action, object);
        found
    }

    /// One thing is asked for. The risk rises with the action.
    pub(super) fn pair(&mut self, action: Action, object: Object) {
        let pair = Pair { action, object };
        if self.pairs.len() >= MAX_PAIRS && action != Action::Unreadable && !self.pairs.contains(&pair) {
            return self.doubt("it asks for too many things");
        }
        self.risk = self.risk.max(level(action));
        self.pairs.insert(pair);
    }

    /// Something is not understood.
    pub(super) fn doubt(&mut self, why: &str) {
        self.doubt.get_or_insert_with(|| why.to_owned());
        self.pair(Action::Unreadable, Object::Connection);
    }

    /// Closes the account.
    pub(super) fn into_facts(mut self) -> Facts {
        if self.computed.may_run_code() {
            self.doubt("it computes what a variable holds, which can run code");
        }
        if self.pairs.is_empty() {
            self.pair(Action::Connect, Object::Connection);
        }
        Facts {
            understanding: self.doubt.map_or(Understanding::Full, Understanding::Unreadable),
            pairs: self.pairs.into_iter().collect(),
            kinds: vec![self.kind],
            statements: self.statements,
            reads: vec![],
            writes: vec![],
            functions: vec![],
            row_scope: RowScope::None,
            risk: Risk::new(self.risk),
            effects: Effects::default(),
            outputs: Outputs::default(),
            filters: Filters::default(),
            secret_spans: self.secrets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_too_much_is_not_understood_and_does_not_grow() {
        let mut found = Found::of("exec");
        for number in 0..2 * MAX_PAIRS {
            found.pair(Action::Read, Object::Path { path: format!("/{number}").into() });
        }
        let facts = found.into_facts();
        assert!(facts.asks(Action::Unreadable) && facts.pairs.len() <= MAX_PAIRS + 1);
        assert_eq!(facts.understanding, Understanding::Unreadable("it asks for too many things".to_owned()));
    }
}
