//! What has been found about an operation so far, and the facts made of it at the end.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    Action, Facts, Object, Pair, Risk, RowScope, Understanding,
    facts::{Comparison, CopyLayout, Effects, Filters, OutputColumn, Outputs, RelationRef},
};

use super::{filters::Tested, lineage::Stored};

/// How many kinds of statement are listed.
pub(super) const MAX_KINDS: usize = 16;

/// Facts in the making. Everything only ever grows.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) pairs: BTreeSet<Pair>,
    pub(super) kinds: Vec<Arc<str>>,
    pub(super) statements: u32,
    pub(super) reads: BTreeSet<RelationRef>,
    pub(super) writes: BTreeSet<RelationRef>,
    pub(super) functions: BTreeSet<Arc<str>>,
    pub(super) row_scope: RowScope,
    pub(super) risk: u8,
    pub(super) effects: Effects,
    pub(super) opaque: bool,
    pub(super) harmless: Vec<bool>,
    pub(super) columns: Vec<OutputColumn>,
    pub(super) copy: Option<CopyLayout>,
    pub(super) tested: Tested,
    pub(super) filters: Filters,
    pub(super) stored: Stored,
    /// What statements meant when they were prepared, where that is not what they mean now.
    pub(super) meant: Vec<Arc<Facts>>,
    /// Code ran that is not followed: nothing that comes later in the message is certain.
    pub(super) wild: bool,
    /// Why it is not understood.
    pub(super) doubt: Option<String>,
    /// What it names that is not there.
    pub(super) missing: Option<(String, String)>,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            pairs: BTreeSet::new(),
            kinds: vec![],
            statements: 0,
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
            functions: BTreeSet::new(),
            row_scope: RowScope::None,
            risk: 0,
            effects: Effects::default(),
            opaque: false,
            harmless: vec![],
            columns: vec![],
            copy: None,
            tested: Tested::default(),
            filters: Filters::default(),
            stored: Stored::default(),
            meant: vec![],
            wild: false,
            doubt: None,
            missing: None,
        }
    }
}

impl Found {
    /// Nothing but that it is not understood: it may store any value, and filter by it.
    pub(super) fn unreadable(why: &str) -> Self {
        let mut found = Self::default();
        found.doubt(why);
        found.effects.stores.untold = true;
        found.filters.untold = Some(Comparison::Any);
        found
    }

    /// One thing is asked for. The risk rises with the action.
    pub(super) fn pair(&mut self, action: Action, object: Object) {
        self.raise(level(action));
        self.pairs.insert(Pair { action, object });
    }

    /// The risk is at least this.
    pub(super) fn raise(&mut self, level: u8) {
        self.risk = self.risk.max(level);
    }

    /// Something is not understood. What it may do is then unknown: anything to objects and session.
    pub(super) fn doubt(&mut self, why: &str) {
        self.doubt.get_or_insert_with(|| why.to_owned());
        self.pair(Action::Unreadable, Object::Connection);
        self.code_runs();
    }

    /// Code that is not followed runs: its result has no known origin, and it may change catalog and session.
    pub(super) fn code_runs(&mut self) {
        self.opaque = true;
        self.wild = true;
        self.effects.catalog = true;
        self.effects.resolution = true;
        self.raise(4);
    }

    /// It names something the catalog does not have.
    pub(super) fn missing(&mut self, sqlstate: &str, message: String) {
        self.missing.get_or_insert_with(|| (message, sqlstate.to_owned()));
    }

    /// A write reaches these rows.
    pub(super) fn scope(&mut self, scope: RowScope) {
        self.row_scope = self.row_scope.max(scope);
    }

    /// The facts of a text the grammar does not accept.
    pub(super) fn syntax(message: String, position: u32) -> Facts {
        let mut facts = Self::unreadable("").into_facts();
        facts.understanding = Understanding::Syntax { message, position };
        facts
    }

    /// Closes the account.
    pub(super) fn into_facts(mut self) -> Facts {
        let understanding = match (self.doubt.take(), self.missing.take()) {
            (Some(why), _) => Understanding::Unreadable(why),
            (None, Some((message, sqlstate))) => {
                self.pair(Action::Unreadable, Object::Connection);
                Understanding::Missing { message, sqlstate }
            }
            (None, None) => Understanding::Full,
        };
        if self.pairs.is_empty() {
            self.pair(Action::Connect, Object::Connection);
        }
        Facts {
            understanding,
            pairs: self.pairs.into_iter().collect(),
            kinds: self.kinds.into_iter().take(MAX_KINDS).collect(),
            statements: self.statements,
            reads: self.reads.into_iter().collect(),
            writes: self.writes.into_iter().collect(),
            functions: self.functions.into_iter().collect(),
            row_scope: self.row_scope,
            risk: Risk::new(self.risk),
            effects: self.effects,
            outputs: Outputs { opaque: self.opaque, unfollowed: self.wild, harmless: self.harmless, columns: self.columns, copy: self.copy },
            filters: self.filters,
            secret_spans: vec![],
        }
    }
}

/// How much harm an action can do by itself: 0 metadata, 1 clean read, 2 sensitive read or session change, 3 bounded write,
/// 4 DDL, bulk export, unknown code, 5 destroys, changes privileges or leaves the target.
pub(crate) const fn level(action: Action) -> u8 {
    match action {
        Action::Connect => 0,
        Action::Read => 1,
        Action::Configure | Action::Filter | Action::Reveal => 2,
        Action::Write => 3,
        Action::Define | Action::Export | Action::Execute | Action::Unreadable => 4,
        Action::Destroy | Action::Privilege | Action::Escape | Action::Request => 5,
    }
}
