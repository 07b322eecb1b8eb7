//! Which rows a condition leaves: whether a WHERE restricts a write, or only looks as if it did.
//!
//! A condition counts as a restriction only if it is of a form known to be one: the target's own column against something that does not come from
//! the same rows. Whatever is not of such a form leaves the write unrestricted, so that another wording of `true` is not taken for a condition. A test
//! that every value of a column meets, by its type or because nobody has others (`id > 0`, `born < 'infinity'`), is such a wording.

mod conditions;
mod operands;
mod patterns;
mod sources;
mod together;
mod values;

use std::sync::Arc;

use model::RowScope;
use pg_query::{
    NodeEnum,
    protobuf::{Node, SelectStmt, WithClause},
};

use self::{
    together::{Condition, Restriction},
    values::CTID,
};
use super::{
    analysis::{Analysis, boxed, inner, strings},
    catalog::{Column, Relation, RelationKind},
    parse,
    reaching::{Names, ctes_of},
};

/// How deep a condition is looked into; below that it restricts nothing.
pub(super) const MAX_DEPTH: usize = 200;

/// The columns of a view, and the table's that they show.
type Shown = Vec<(Arc<str>, Arc<str>)>;

/// How many views may lie over the table that is written.
const MAX_VIEWS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    Null,
    NotNull,
    Like,
    NotLike,
}

impl Test {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "=" => Self::Equal,
            "<>" | "!=" => Self::Unequal,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            "~~" | "~~*" => Self::Like,
            "!~~" | "!~~*" => Self::NotLike,
            _ => return None,
        })
    }

    pub(super) const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::Unequal,
            Self::Unequal => Self::Equal,
            Self::Less => Self::AtLeast,
            Self::AtMost => Self::More,
            Self::More => Self::AtMost,
            Self::AtLeast => Self::Less,
            Self::Null => Self::NotNull,
            Self::NotNull => Self::Null,
            Self::Like => Self::NotLike,
            Self::NotLike => Self::Like,
        }
    }

    /// Whether it leaves out some rows, rather than choosing some.
    pub(super) const fn is_wide(self) -> bool {
        !matches!(self, Self::Equal | Self::Null | Self::Like)
    }

    /// What still holds where two are equal that the first test leaves to what follows.
    pub(super) const fn with_equal(self) -> Self {
        match self {
            Self::Less => Self::AtMost,
            Self::More => Self::AtLeast,
            other => other,
        }
    }

    pub(super) const fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::More,
            Self::AtMost => Self::AtLeast,
            Self::More => Self::Less,
            Self::AtLeast => Self::AtMost,
            other => other,
        }
    }
}

/// What a condition is about.
pub(super) struct Target<'t> {
    /// The table that is written; of a view that shows a table's columns, that table.
    pub(super) relation: Option<&'t Relation>,
    /// Of such a view, its columns and the table's.
    shown: Shown,
    pub(super) alias: &'t str,
    pub(super) others: Vec<Other>,
    /// Within a subquery of a condition: what its own sources name, which hides the target's names.
    pub(super) hidden: Option<Names>,
    pub(super) ctes: Vec<(&'t str, &'t SelectStmt)>,
}

pub(super) struct Other {
    pub(super) alias: String,
    pub(super) same: bool,
}

impl<'t> Target<'t> {
    /// The same with other sources beside it.
    pub(super) fn beside(&self, others: Vec<Other>, hidden: Option<Names>) -> Self {
        Self { others, hidden, ctes: self.ctes.clone(), shown: self.shown.clone(), ..*self }
    }

    /// The same alone, where other WITH queries are known.
    pub(super) fn knowing(&self, ctes: Vec<(&'t str, &'t SelectStmt)>) -> Self {
        Self { others: vec![], hidden: None, ctes, shown: self.shown.clone(), ..*self }
    }

    /// The same where this WITH query is being followed: what it says of itself adds no other rows.
    pub(super) fn without(&self, name: &str) -> Self {
        self.knowing(self.ctes.iter().filter(|(other, _)| *other != name).copied().collect())
    }

    /// The table's column that a name means.
    fn column(&self, name: &str) -> Option<&'t Column> {
        if self.shown.is_empty() {
            return self.relation?.column(name);
        }
        let (_, below) = self.shown.iter().find(|(shown, _)| **shown == *name)?;
        self.relation?.column(below)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        name == "ctid" || self.column(name).is_some()
    }
}

impl<'a> Analysis<'a> {
    /// What a write's conditions are about. Of a view that shows a table's columns, that is the table.
    pub(super) fn target<'t>(&self, relation: &'a Relation, alias: &'t str, with: Option<&'t WithClause>) -> Target<'t>
    where
        'a: 't,
    {
        let (relation, shown) = self.below(relation, MAX_VIEWS).unwrap_or((relation, vec![]));
        Target { relation: Some(relation), shown, alias, others: vec![], hidden: None, ctes: ctes_of(with).collect() }
    }

    /// The table that a view shows columns of, and which they are.
    fn below(&self, view: &'a Relation, depth: usize) -> Option<(&'a Relation, Shown)> {
        let depth = depth.checked_sub(1)?;
        let printed = view.definition.as_ref().filter(|printed| view.kind == RelationKind::View && self.may_parse(&printed.text))?;
        let tree = parse::tree(&printed.text).ok()?;
        let Some(NodeEnum::SelectStmt(select)) = tree.stmts.first().and_then(|statement| boxed(statement.stmt.as_ref())) else { return None };
        let [only] = select.from_clause.as_slice() else { return None };
        let Some(NodeEnum::RangeVar(range)) = inner(only) else { return None };
        let base = match range.schemaname.as_str() {
            "" => printed.path.iter().find_map(|schema| self.catalog.relation(schema, &range.relname))?,
            schema => self.catalog.relation(schema, &range.relname)?,
        };
        let of = |node: &Node| match inner(node) {
            Some(NodeEnum::ResTarget(target)) => match target.val.as_deref().and_then(inner) {
                Some(NodeEnum::ColumnRef(column)) => strings(&column.fields).last().map(|name| Arc::from(*name)),
                _ => None,
            },
            _ => None,
        };
        let pairs = view.columns.iter().zip(&select.target_list);
        let shown: Shown = pairs.filter_map(|(column, node)| Some((column.name.clone(), of(node)?))).collect();
        if base.kind != RelationKind::View {
            return Some((base, shown));
        }
        let (base, below) = self.below(base, depth)?;
        let through = |(name, middle): (Arc<str>, Arc<str>)| below.iter().find(|(known, _)| *known == middle).map(|(_, last)| (name, last.clone()));
        Some((base, shown.into_iter().filter_map(through).collect()))
    }

    /// Which of the target's rows a WHERE clause leaves. `sources` are what stands beside the target.
    pub(super) fn row_scope<'t>(&self, mut target: Target<'t>, sources: &'t [Node], condition: Option<&'t Node>) -> RowScope {
        target.others = self.others(&target, sources, MAX_DEPTH);
        let Some(condition) = condition else { return RowScope::Unbounded };
        match self.condition(condition, &target, false, MAX_DEPTH) {
            Condition::Never => RowScope::Bounded,
            Condition::Restricts(restriction) => scope_of(&restriction, target.relation),
            Condition::Linked { same: false } => RowScope::Selective,
            // Joined with itself: what restricts the partners restricts the rows.
            Condition::Linked { same: true } if self.partners_are_restricted(&target, sources, condition) => RowScope::Selective,
            Condition::Always | Condition::Open | Condition::Others | Condition::Linked { same: true } => RowScope::Tautology,
        }
    }

    /// Whether a condition restricts the one table that the target is joined with.
    fn partners_are_restricted(&self, target: &Target<'_>, sources: &[Node], condition: &Node) -> bool {
        let [source] = sources else { return false };
        let Some(NodeEnum::RangeVar(range)) = inner(source) else { return false };
        let alias = range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str());
        let own = Other { alias: target.alias.to_owned(), same: true };
        let relation = self.find_relation(&range.schemaname, &range.relname);
        let partner = Target { relation, shown: vec![], alias, others: vec![own], hidden: None, ctes: target.ctes.clone() };
        matches!(self.condition(condition, &partner, false, MAX_DEPTH), Condition::Restricts(_) | Condition::Never)
    }

    /// Whether a query may give every row of the target.
    pub(super) fn query_may_be_all(&self, select: &SelectStmt, target: &Target<'_>) -> bool {
        self.may_be_all(select, target, MAX_DEPTH)
    }

    /// Whether there is work left for looking at queries: WITH queries that name each other make more of it than the statement is long.
    pub(super) fn takes_step(&self) -> bool {
        let left = self.row_scope_steps.get();
        self.row_scope_steps.set(left.saturating_sub(1));
        left > 0
    }
}

fn scope_of(restriction: &Restriction, relation: Option<&Relation>) -> RowScope {
    let keyed = relation.is_some_and(|relation| relation.keys.iter().any(|key| key.iter().all(|column| restriction.fixed.contains(column))));
    if keyed || restriction.fixed.contains(&CTID) {
        return RowScope::Key;
    }
    if restriction.bounded { RowScope::Bounded } else { RowScope::Selective }
}
