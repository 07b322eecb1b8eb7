//! Which rows a condition leaves: whether a WHERE restricts a write, or only looks as if it did.
//!
//! A condition counts as a restriction only if it is of a form known to be one: the target's own column against something that does not come from
//! the same rows. Whatever is not of such a form leaves the write unrestricted, so that another wording of `true` is not taken for a condition.

use std::{cmp::Ordering, collections::BTreeSet};

use model::RowScope;
use pg_query::{
    NodeEnum,
    protobuf::{AExpr, AExprKind, BoolExprType, BoolTestType, Node, NullTestType, SelectStmt, SetOperation, SubLink, SubLinkType, WithClause},
};

use super::{
    analysis::{Analysis, Known, boxed, inner, strings},
    catalog::{Relation, RelationKind},
    constants::{self, Constant, Value, matches_everything},
    names::qualified,
    reaching::{Names, ctes_of, is_list_function, makes_many},
};

/// How deep a condition is looked into; below that it restricts nothing.
pub(super) const MAX_DEPTH: usize = 200;

/// A larger LIMIT bounds nothing.
const MAX_LIMIT: f64 = 100_000.0;

/// The number that stands for `ctid`, which names one row.
const CTID: i16 = -1;

/// What a condition does to the target's rows.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    /// Lets every row pass.
    Always,
    /// Lets none pass.
    Never,
    /// Nothing that is known to restrict.
    Open,
    /// Depends on the row.
    Restricts(Restriction),
    /// The target's rows that have a partner in another source; `same` if that may hold the very same rows.
    Linked { same: bool },
    /// Restricts another source.
    Others,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Restriction {
    /// Columns that equal something fixed.
    fixed: BTreeSet<i16>,
    /// Whether the number of rows is bounded by a list or LIMIT.
    bounded: bool,
    /// It leaves out some rows rather than choosing some: beside an alternative it may leave out none.
    wide: bool,
    /// The test itself, if it is one comparison of a column with a constant (or something not known).
    atom: Option<(i16, Test, Option<Constant>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
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
    fn of(name: &str) -> Option<Self> {
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

    const fn negated(self) -> Self {
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
    const fn is_wide(self) -> bool {
        !matches!(self, Self::Equal | Self::Null | Self::Like)
    }

    const fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::More,
            Self::AtMost => Self::AtLeast,
            Self::More => Self::Less,
            Self::AtLeast => Self::AtMost,
            other => other,
        }
    }
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// A column of the target.
    Column { number: i16, not_null: bool },
    /// Something made of one column of the target that differs from row to row; `length` if it is never negative.
    Derived { length: bool },
    /// Something that is the same for every row of the target; its value, if known.
    Fixed(Option<Constant>),
    /// Something of another source; `same` as in [`Condition::Linked`].
    Other { same: bool },
    /// A single value made of all the target's rows, or of many.
    OfAll,
    /// A parameter whose value will be judged when it comes.
    Later,
    /// Not known.
    Unclear,
}

/// What a condition is about.
pub(super) struct Target<'t> {
    pub(super) relation: Option<&'t Relation>,
    pub(super) alias: &'t str,
    pub(super) others: Vec<Other>,
    /// Within a subquery of a condition: what its own sources name, which hides the target's names.
    pub(super) hidden: Option<Names>,
    pub(super) ctes: Vec<(&'t str, &'t SelectStmt)>,
}

pub(super) struct Other {
    alias: String,
    same: bool,
}

impl<'t> Target<'t> {
    pub(super) fn new(relation: Option<&'t Relation>, alias: &'t str, with: Option<&'t WithClause>) -> Self {
        Self { relation, alias, others: vec![], hidden: None, ctes: ctes_of(with).collect() }
    }

    /// The same where this WITH query is being followed: what it says of itself adds no other rows.
    pub(super) fn without(&self, name: &str) -> Self {
        let ctes = self.ctes.iter().filter(|(other, _)| *other != name).copied().collect();
        Self { relation: self.relation, alias: self.alias, others: vec![], hidden: None, ctes }
    }

    pub(super) fn column(&self, name: &str) -> Option<Operand> {
        if name == "ctid" {
            return Some(Operand::Column { number: CTID, not_null: true });
        }
        self.relation?.column(name).map(|column| Operand::Column { number: column.number, not_null: column.not_null })
    }
}

impl Analysis<'_> {
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
        let partner = Target { relation, alias, others: vec![own], hidden: None, ctes: target.ctes.clone() };
        matches!(self.condition(condition, &partner, false, MAX_DEPTH), Condition::Restricts(_) | Condition::Never)
    }

    /// Whether a query may give every row of the target.
    pub(super) fn query_may_be_all(&self, select: &SelectStmt, target: &Target<'_>) -> bool {
        self.may_be_all(select, target, MAX_DEPTH)
    }

    fn others<'t>(&self, target: &Target<'t>, sources: &'t [Node], depth: usize) -> Vec<Other> {
        let mut others = vec![];
        let mut waiting: Vec<&Node> = sources.iter().collect();
        while let Some(node) = waiting.pop() {
            match inner(node) {
                Some(NodeEnum::JoinExpr(join)) => waiting.extend([&join.larg, &join.rarg].into_iter().flatten().map(|node| &**node)),
                Some(NodeEnum::RangeVar(range)) => {
                    let alias = range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str());
                    let cte = target.ctes.iter().find(|(name, _)| range.schemaname.is_empty() && *name == range.relname);
                    let same = match cte {
                        Some((name, select)) => self.may_be_all(select, &target.without(name), depth),
                        None => {
                            self.find_relation(&range.schemaname, &range.relname).is_none_or(|relation| self.shares_rows(relation, target.relation))
                        }
                    };
                    others.push(Other { alias: alias.to_owned(), same });
                }
                Some(NodeEnum::RangeSubselect(sub)) => {
                    let alias = sub.alias.as_ref().map_or("", |alias| alias.aliasname.as_str());
                    let same = match boxed(sub.subquery.as_ref()) {
                        Some(NodeEnum::SelectStmt(select)) => self.may_be_all(select, target, depth),
                        _ => true,
                    };
                    others.push(Other { alias: alias.to_owned(), same });
                }
                Some(NodeEnum::RangeFunction(function)) => {
                    let alias = function.alias.as_ref().map_or("", |alias| alias.aliasname.as_str());
                    others.push(Other { alias: alias.to_owned(), same: !function.functions.iter().all(is_list_function) });
                }
                _ => others.push(Other { alias: String::new(), same: true }),
            }
        }
        others
    }

    /// Whether two relations may hold the same rows. What lies under a view is not looked into.
    fn shares_rows(&self, relation: &Relation, target: Option<&Relation>) -> bool {
        let Some(target) = target else { return true };
        matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView)
            || relation.oid == target.oid
            || self.catalog.ancestors(relation.oid).contains(&target.oid)
            || self.catalog.ancestors(target.oid).contains(&relation.oid)
    }

    /// Whether there is work left for looking at queries: WITH queries that name each other make more of it than the statement is long.
    pub(super) fn takes_step(&self) -> bool {
        let left = self.row_scope_steps.get();
        self.row_scope_steps.set(left.saturating_sub(1));
        left > 0
    }

    /// Whether a query may give every row of the target.
    fn may_be_all(&self, select: &SelectStmt, target: &Target<'_>, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1).filter(|_| self.takes_step()) else { return true };
        if matches!(select.op(), SetOperation::SetopUnion | SetOperation::SetopIntersect | SetOperation::SetopExcept) {
            return [&select.larg, &select.rarg].into_iter().flatten().any(|arm| self.may_be_all(arm, target, depth));
        }
        if select.from_clause.is_empty() {
            return select.target_list.iter().any(makes_many);
        }
        if select.limit_count.as_ref().is_some_and(|limit| self.is_limit(limit)) {
            return false;
        }
        let alone = Target { relation: target.relation, alias: target.alias, others: vec![], hidden: None, ctes: target.ctes.clone() };
        if !self.others(&alone, &select.from_clause, depth).iter().any(|other| other.same) {
            return false;
        }
        let Some(NodeEnum::RangeVar(range)) = select.from_clause.first().and_then(inner) else { return true };
        // Conditions are looked at for the first: another that may hold the target's rows goes unrestricted.
        if self.others(&alone, select.from_clause.get(1..).unwrap_or_default(), depth).iter().any(|other| other.same) {
            return true;
        }
        let alias = range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str());
        let mut within = Target {
            relation: self.find_relation(&range.schemaname, &range.relname),
            alias,
            others: vec![],
            hidden: None,
            ctes: target.ctes.clone(),
        };
        within.others = self.others(&within, select.from_clause.get(1..).unwrap_or_default(), depth);
        match select.where_clause.as_deref() {
            Some(condition) => !matches!(
                self.condition(condition, &within, false, depth),
                Condition::Restricts(_) | Condition::Never | Condition::Linked { same: false }
            ),
            None => true,
        }
    }

    /// Whether LIMIT bounds how many rows there are: by a number that is no stand-in for all of them, or one that is still to come.
    fn is_limit(&self, node: &Node) -> bool {
        match constants::value(node, &self.parameters) {
            Some(Value::Number(number)) => number <= MAX_LIMIT,
            Some(_) => false,
            None => matches!(inner(node), Some(NodeEnum::ParamRef(_))),
        }
    }

    fn condition(&self, node: &Node, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(depth) = depth.checked_sub(1) else { return Condition::Open };
        if let Some(truth) = constants::value(node, &self.parameters).as_ref().and_then(constants::truth) {
            return match truth {
                Some(truth) if truth != negated => Condition::Always,
                _ => Condition::Never,
            };
        }
        match inner(node) {
            Some(NodeEnum::BoolExpr(expression)) => {
                let flip = negated != (expression.boolop() == BoolExprType::NotExpr);
                let parts: Vec<Condition> = expression.args.iter().map(|node| self.condition(node, target, flip, depth)).collect();
                match (expression.boolop(), negated) {
                    (BoolExprType::NotExpr, _) => parts.into_iter().next().unwrap_or(Condition::Open),
                    (BoolExprType::AndExpr, false) | (BoolExprType::OrExpr, true) => both(parts),
                    _ => either(parts),
                }
            }
            Some(NodeEnum::AExpr(expression)) => self.comparison(expression, target, negated, depth),
            Some(NodeEnum::NullTest(test)) => {
                let null = (test.nulltesttype() == NullTestType::IsNull) != negated;
                test.arg.as_ref().map_or(Condition::Open, |node| null_or_not(&self.operand(node, target, depth), null))
            }
            Some(NodeEnum::BooleanTest(test)) => self.boolean_test(test.arg.as_deref(), test.booltesttype(), target, negated, depth),
            Some(NodeEnum::SubLink(link)) => self.sublink_condition(link, target, negated, depth),
            Some(NodeEnum::TypeCast(cast)) => cast.arg.as_ref().map_or(Condition::Open, |node| self.condition(node, target, negated, depth)),
            Some(_) => match self.operand(node, target, depth) {
                Operand::Column { number, .. } => atom(number, Test::Equal, Some(Constant::known(Value::Bool(!negated)))),
                Operand::Other { .. } => Condition::Others,
                Operand::Later => restricts(),
                _ => Condition::Open,
            },
            None => Condition::Open,
        }
    }

    fn boolean_test(&self, node: Option<&Node>, test: BoolTestType, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(node) = node else { return Condition::Open };
        match test {
            BoolTestType::IsTrue => self.condition(node, target, negated, depth),
            BoolTestType::IsFalse => self.condition(node, target, !negated, depth),
            // Only for a column itself is it known which rows have an unknown truth.
            _ => match self.operand(node, target, depth) {
                Operand::Column { not_null: false, .. } => restricts(),
                _ => Condition::Open,
            },
        }
    }

    fn comparison(&self, expression: &AExpr, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let (schema, name) = qualified(&expression.name);
        let Some(left) = expression.lexpr.as_ref().map(|node| self.operand(node, target, depth)) else { return Condition::Open };
        if !matches!(schema, "" | "pg_catalog") {
            return Condition::Open;
        }
        let list = match boxed(expression.rexpr.as_ref()) {
            Some(NodeEnum::List(list)) => Some(list.items.iter().map(|item| self.operand(item, target, depth)).collect::<Vec<_>>()),
            _ => None,
        };
        match (expression.kind(), list) {
            (AExprKind::AexprIn, Some(list)) => in_list(&left, &list, (name == "=") != negated),
            (AExprKind::AexprBetween | AExprKind::AexprNotBetween | AExprKind::AexprBetweenSym | AExprKind::AexprNotBetweenSym, Some(list)) => {
                let outside = matches!(expression.kind(), AExprKind::AexprNotBetween | AExprKind::AexprNotBetweenSym);
                between(&left, &list, outside != negated)
            }
            (AExprKind::AexprOpAny, _) if name == "=" => self.any(&left, expression.rexpr.as_deref(), target, negated, depth),
            (AExprKind::AexprOpAll, _) if name == "<>" => self.any(&left, expression.rexpr.as_deref(), target, !negated, depth),
            (AExprKind::AexprSimilar, _) => self.pattern(&left, similar_pattern(expression), target, negated != name.starts_with('!'), depth),
            (AExprKind::AexprDistinct, _) => self.distinct(&left, expression.rexpr.as_deref(), target, negated, depth),
            (AExprKind::AexprNotDistinct, _) => self.distinct(&left, expression.rexpr.as_deref(), target, !negated, depth),
            (AExprKind::AexprOp, _) if matches!(name, "~" | "~*" | "!~" | "!~*") => {
                self.pattern(&left, expression.rexpr.as_deref(), target, negated != name.starts_with('!'), depth)
            }
            (AExprKind::AexprOp | AExprKind::AexprLike | AExprKind::AexprIlike, _) => {
                let Some(right) = expression.rexpr.as_ref().map(|node| self.operand(node, target, depth)) else { return Condition::Open };
                match Test::of(name) {
                    Some(test) => compared(&left, if negated { test.negated() } else { test }, &right),
                    // Containment and search: a column of the target against something fixed.
                    None if matches!(name, "@>" | "<@" | "&&" | "@@" | "?" | "?|" | "?&" | "^@" | "@?") && !negated => contained(&left, &right),
                    None => Condition::Open,
                }
            }
            _ => Condition::Open,
        }
    }

    /// `IS NOT DISTINCT FROM` where `same`, `IS DISTINCT FROM` otherwise: neither is ever unknown.
    fn distinct(&self, left: &Operand, right: Option<&Node>, target: &Target<'_>, same: bool, depth: usize) -> Condition {
        let Some(right) = right.map(|node| self.operand(node, target, depth)) else { return Condition::Open };
        match (left, &right) {
            (value, Operand::Fixed(Some(null))) | (Operand::Fixed(Some(null)), value) if *null.value() == Value::Null => null_or_not(value, same),
            (Operand::Column { number, .. }, Operand::Column { number: other, .. }) if number == other => {
                if same {
                    Condition::Always
                } else {
                    Condition::Never
                }
            }
            _ => compared(left, if same { Test::Equal } else { Test::Unequal }, &right),
        }
    }

    fn any(&self, left: &Operand, right: Option<&Node>, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(node) = right else { return Condition::Open };
        if let Some(NodeEnum::SubLink(link)) = inner(node) {
            return self.membership(left, link, target, negated, depth);
        }
        let written = match inner(node) {
            Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().and_then(inner),
            other => other,
        };
        if let Some(NodeEnum::AArrayExpr(array)) = written {
            let list: Vec<Operand> = array.elements.iter().map(|item| self.operand(item, target, depth)).collect();
            return in_list(left, &list, !negated);
        }
        match self.operand(node, target, depth) {
            Operand::Fixed(Some(array)) if negated && is_empty_container(&array) => Condition::Always,
            // What is not in a list that nobody knows may be everything.
            Operand::Fixed(None) if negated => Condition::Open,
            array => in_list(left, &[array], !negated).counted(),
        }
    }

    /// A regular expression or SIMILAR TO restricts if there is a letter or digit in it that must be there.
    fn pattern(&self, left: &Operand, right: Option<&Node>, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(node) = right else { return Condition::Open };
        match (left, self.operand(node, target, depth)) {
            (Operand::Column { .. } | Operand::Derived { .. }, Operand::Fixed(Some(pattern))) if matches!(pattern.value(), Value::Text(text) if demands_something(text)) => {
                restricts_by(negated)
            }
            (Operand::Column { .. } | Operand::Derived { .. }, Operand::Later) => restricts_by(negated),
            (Operand::Other { .. }, _) if !negated => Condition::Others,
            _ => Condition::Open,
        }
    }

    fn sublink_condition(&self, link: &SubLink, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        match link.sub_link_type() {
            SubLinkType::ExistsSublink => self.existence(link, target, negated, depth),
            SubLinkType::AnySublink if link.oper_name.is_empty() || strings(&link.oper_name) == ["="] => {
                let Some(left) = link.testexpr.as_ref().map(|node| self.operand(node, target, depth)) else { return Condition::Open };
                self.membership(&left, link, target, negated, depth)
            }
            _ => Condition::Open,
        }
    }

    fn membership(&self, left: &Operand, link: &SubLink, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(NodeEnum::SelectStmt(select)) = boxed(link.subselect.as_ref()) else { return Condition::Open };
        let own = matches!(left, Operand::Column { .. } | Operand::Derived { .. });
        if !own || self.may_be_all(select, target, depth) || self.looks_back(select, target) {
            return Condition::Open;
        }
        // What is not among what was listed, or among nothing, may be everything.
        if negated && (select.from_clause.is_empty() || self.is_never(select, target, depth)) {
            return Condition::Open;
        }
        let bounded = !negated && (select.from_clause.is_empty() || select.limit_count.is_some());
        Condition::Restricts(Restriction { bounded, wide: negated, ..Restriction::default() })
    }

    /// Whether a query's condition lets no row pass, whatever is in its tables.
    fn is_never(&self, select: &SelectStmt, target: &Target<'_>, depth: usize) -> bool {
        let nothing = Target { relation: None, alias: "", others: vec![], hidden: None, ctes: target.ctes.clone() };
        select.where_clause.as_deref().is_some_and(|node| self.condition(node, &nothing, false, depth) == Condition::Never)
    }

    fn existence(&self, link: &SubLink, target: &Target<'_>, negated: bool, depth: usize) -> Condition {
        let Some(NodeEnum::SelectStmt(select)) = boxed(link.subselect.as_ref()) else { return Condition::Open };
        if select.larg.is_some() || !select.group_clause.is_empty() || select.having_clause.is_some() {
            return Condition::Open;
        }
        let within = Target {
            relation: target.relation,
            alias: target.alias,
            others: self.others(target, &select.from_clause, depth),
            hidden: Some(self.names_of(&select.from_clause, target, depth)),
            ctes: target.ctes.clone(),
        };
        let found = select.where_clause.as_deref().map_or(Condition::Always, |node| self.condition(node, &within, false, depth));
        let aggregated = select
            .target_list
            .iter()
            .any(|node| matches!(inner(node), Some(NodeEnum::ResTarget(value)) if matches!(boxed(value.val.as_ref()), Some(NodeEnum::FuncCall(_)))));
        match (found, negated) {
            // An aggregate gives a row whatever the condition.
            _ if aggregated => Condition::Open,
            (Condition::Never, false) | (Condition::Always, true) => {
                if select.from_clause.is_empty() || !negated {
                    Condition::Never
                } else {
                    Condition::Open
                }
            }
            (Condition::Never, true) => Condition::Always,
            (Condition::Linked { same: false }, true) | (Condition::Restricts(_), _) => restricts(),
            (linked @ Condition::Linked { .. }, false) => linked,
            _ => Condition::Open,
        }
    }

    fn operand(&self, node: &Node, target: &Target<'_>, depth: usize) -> Operand {
        let Some(depth) = depth.checked_sub(1) else { return Operand::Unclear };
        if let Some(constant) = constants::constant(node, &self.parameters) {
            return Operand::Fixed(Some(constant));
        }
        match inner(node) {
            Some(NodeEnum::ColumnRef(column)) => column_operand(&strings(&column.fields), target),
            Some(NodeEnum::ParamRef(_)) => match self.parameters.known {
                Known::Later => Operand::Later,
                _ => Operand::Fixed(None),
            },
            Some(NodeEnum::TypeCast(cast)) => cast.arg.as_ref().map_or(Operand::Unclear, |node| derived(self.operand(node, target, depth))),
            Some(NodeEnum::CollateClause(clause)) => clause.arg.as_ref().map_or(Operand::Unclear, |node| self.operand(node, target, depth)),
            Some(NodeEnum::FuncCall(call)) => self.call_operand(qualified(&call.funcname), &call.args, target, depth),
            Some(NodeEnum::SqlvalueFunction(_)) => Operand::Fixed(None),
            Some(NodeEnum::AExpr(expression)) if expression.kind() == AExprKind::AexprOp => self.arithmetic(expression, target, depth),
            Some(NodeEnum::CoalesceExpr(coalesce)) => self.combined(&coalesce.args, target, depth),
            Some(NodeEnum::AArrayExpr(array)) => self.combined(&array.elements, target, depth),
            Some(NodeEnum::RowExpr(row)) => self.combined(&row.args, target, depth),
            Some(NodeEnum::AIndirection(indirection)) => {
                indirection.arg.as_ref().map_or(Operand::Unclear, |node| derived(self.operand(node, target, depth)))
            }
            Some(NodeEnum::SubLink(link)) if matches!(link.sub_link_type(), SubLinkType::ExprSublink | SubLinkType::ArraySublink) => {
                match boxed(link.subselect.as_ref()) {
                    Some(NodeEnum::SelectStmt(select)) if !self.looks_back(select, target) && link.sub_link_type() == SubLinkType::ExprSublink => {
                        if self.may_be_all(select, target, depth) {
                            Operand::OfAll
                        } else {
                            Operand::Fixed(None)
                        }
                    }
                    Some(NodeEnum::SelectStmt(select)) if !self.looks_back(select, target) && !self.may_be_all(select, target, depth) => {
                        Operand::Fixed(None)
                    }
                    _ => Operand::Unclear,
                }
            }
            _ => Operand::Unclear,
        }
    }

    /// Several values together: a column of the target among fixed ones makes it depend on the row, two do too.
    fn combined(&self, nodes: &[Node], target: &Target<'_>, depth: usize) -> Operand {
        let mut result = Operand::Fixed(None);
        for node in nodes {
            result = match (result, self.operand(node, target, depth)) {
                (_, Operand::Unclear) | (Operand::Unclear, _) => Operand::Unclear,
                (Operand::Fixed(_), other) => derived(other),
                (result, Operand::Fixed(_)) => result,
                (Operand::Derived { .. }, Operand::Column { .. } | Operand::Derived { .. }) => Operand::Derived { length: false },
                (Operand::Other { same }, Operand::Other { same: too }) => Operand::Other { same: same || too },
                _ => Operand::Unclear,
            };
        }
        result
    }

    fn call_operand(&self, (schema, name): (&str, &str), arguments: &[Node], target: &Target<'_>, depth: usize) -> Operand {
        let routines = self.routines(schema, name, arguments.len());
        if routines.is_empty() || routines.iter().any(|routine| !routine.built_in() || routine.volatility == 'v') {
            return Operand::Unclear;
        }
        // What cuts off everything, or leaves no remainder, gives the same for each row.
        let number = |node: &Node| if let Some(Value::Number(number)) = constants::value(node, &self.parameters) { Some(number) } else { None };
        let same = match name {
            "left" | "right" | "substr" | "substring" => arguments.iter().skip(1).filter_map(number).any(|number| number <= 0.0),
            "mod" => arguments.get(1).and_then(number).is_none_or(|number| number.abs() <= 1.0),
            "replace" => arguments.iter().skip(1).any(|node| !matches!(self.operand(node, target, depth), Operand::Fixed(_) | Operand::Later)),
            _ => false,
        };
        if same {
            return Operand::Unclear;
        }
        match self.combined(arguments, target, depth) {
            Operand::Column { .. } | Operand::Derived { .. } => match name {
                "length" | "char_length" | "character_length" | "octet_length" | "bit_length" | "cardinality" => Operand::Derived { length: true },
                "lower"
                | "upper"
                | "btrim"
                | "ltrim"
                | "rtrim"
                | "date"
                | "date_trunc"
                | "date_part"
                | "extract"
                | "timezone"
                | "to_char"
                | "to_date"
                | "to_timestamp"
                | "md5"
                | "left"
                | "right"
                | "substr"
                | "substring"
                | "split_part"
                | "mod"
                | "age"
                | "concat"
                | "replace"
                | "round"
                | "floor"
                | "ceil"
                | "trunc"
                | "jsonb_extract_path_text"
                | "json_extract_path_text"
                | "array_length"
                | "jsonb_array_length"
                | "hashtext"
                | "abs" => Operand::Derived { length: name == "abs" },
                _ => Operand::Unclear,
            },
            other => other,
        }
    }

    fn arithmetic(&self, expression: &AExpr, target: &Target<'_>, depth: usize) -> Operand {
        let name = qualified(&expression.name).1;
        let sides =
            [&expression.lexpr, &expression.rexpr].map(|node| node.as_ref().map_or(Operand::Fixed(None), |node| self.operand(node, target, depth)));
        let [left, right] = sides;
        let own = |operand: &Operand| matches!(operand, Operand::Column { .. } | Operand::Derived { .. });
        match (&left, &right) {
            (Operand::Fixed(_), Operand::Fixed(_)) => Operand::Fixed(None),
            (Operand::Later, Operand::Fixed(_) | Operand::Later) | (Operand::Fixed(_), Operand::Later) => Operand::Later,
            (Operand::Other { same }, Operand::Fixed(_)) | (Operand::Fixed(_), Operand::Other { same }) => Operand::Other { same: *same },
            (one, Operand::Fixed(value)) | (Operand::Fixed(value), one) if own(one) => match (name, value) {
                ("+" | "-" | "||" | "->" | "->>" | "#>" | "#>>", _) => Operand::Derived { length: false },
                ("%" | "*", Some(constant)) if matches!(constant.value(), Value::Number(number) if number.abs() > 1.0) => {
                    Operand::Derived { length: false }
                }
                _ => Operand::Unclear,
            },
            (one, Operand::Later) | (Operand::Later, one) if own(one) && matches!(name, "+" | "-" | "||" | "->" | "->>" | "#>" | "#>>") => {
                Operand::Derived { length: false }
            }
            _ => Operand::Unclear,
        }
    }
}

fn scope_of(restriction: &Restriction, relation: Option<&Relation>) -> RowScope {
    let keyed = relation.is_some_and(|relation| relation.keys.iter().any(|key| key.iter().all(|column| restriction.fixed.contains(column))));
    if keyed || restriction.fixed.contains(&CTID) {
        return RowScope::Key;
    }
    if restriction.bounded { RowScope::Bounded } else { RowScope::Selective }
}

fn restricts() -> Condition {
    Condition::Restricts(Restriction::default())
}

/// Restricts, by leaving out some rows where `wide`.
fn restricts_by(wide: bool) -> Condition {
    Condition::Restricts(Restriction { wide, ..Restriction::default() })
}

fn atom(column: i16, test: Test, value: Option<Constant>) -> Condition {
    let fixed = if test == Test::Equal { BTreeSet::from([column]) } else { BTreeSet::new() };
    Condition::Restricts(Restriction { fixed, bounded: false, wide: test.is_wide(), atom: Some((column, test, value)) })
}

impl Condition {
    /// The same, its number of rows bounded by a list; a single column is no longer fixed to one value.
    fn counted(self) -> Self {
        match self {
            Self::Restricts(restriction) => Self::Restricts(Restriction { bounded: true, fixed: BTreeSet::new(), atom: None, ..restriction }),
            other => other,
        }
    }
}

fn column_operand(parts: &[&str], target: &Target<'_>) -> Operand {
    let same = |alias: Option<&str>| target.others.iter().filter(|other| alias.is_none_or(|alias| other.alias == alias)).any(|other| other.same);
    let hidden = target.hidden.as_ref();
    match parts {
        [name] if hidden.is_some_and(|names| names.columns.contains(*name)) => Operand::Other { same: same(None) },
        [name] if hidden.is_some_and(|names| names.open) && target.column(name).is_some() => Operand::Unclear,
        [.., alias, _] if hidden.is_some_and(|names| names.aliases.contains(*alias)) => Operand::Other { same: same(Some(alias)) },
        [name] => match target.column(name) {
            Some(column) => column,
            None if target.others.is_empty() || *name == target.alias => Operand::Unclear,
            None => Operand::Other { same: same(None) },
        },
        [.., alias, name] if *alias == target.alias => target.column(name).unwrap_or(Operand::Unclear),
        [.., alias, _] if target.others.iter().any(|other| other.alias == *alias) => Operand::Other { same: same(Some(alias)) },
        _ => Operand::Unclear,
    }
}

fn derived(operand: Operand) -> Operand {
    match operand {
        Operand::Column { .. } => Operand::Derived { length: false },
        Operand::Fixed(_) => Operand::Fixed(None),
        other => other,
    }
}

/// `IS NULL` where `null`, `IS NOT NULL` otherwise.
fn null_or_not(value: &Operand, null: bool) -> Condition {
    match value {
        Operand::Column { not_null: true, .. } if null => Condition::Never,
        Operand::Column { not_null: true, .. } => Condition::Always,
        Operand::Column { number, .. } => atom(*number, if null { Test::Null } else { Test::NotNull }, None),
        Operand::Later => restricts(),
        Operand::Other { .. } => Condition::Others,
        _ => Condition::Open,
    }
}

fn compared(left: &Operand, test: Test, right: &Operand) -> Condition {
    match (left, right) {
        (Operand::Column { number, .. }, Operand::Column { number: other, .. }) if number == other => match test {
            Test::Equal | Test::AtMost | Test::AtLeast | Test::Like => Condition::Always,
            _ => Condition::Never,
        },
        (Operand::Column { .. } | Operand::Derived { .. }, Operand::Column { .. }) | (Operand::Column { .. }, Operand::Derived { .. }) => {
            if matches!(left, Operand::Derived { .. }) || matches!(right, Operand::Derived { .. }) {
                Condition::Open
            } else {
                restricts_by(test.is_wide())
            }
        }
        (Operand::Column { number, not_null }, Operand::Fixed(value)) => column_test(*number, *not_null, test, value.clone()),
        (Operand::Fixed(value), Operand::Column { number, not_null }) => column_test(*number, *not_null, test.mirrored(), value.clone()),
        (Operand::Derived { length }, Operand::Fixed(value)) => derived_test(*length, test, value.as_ref()),
        (Operand::Fixed(value), Operand::Derived { length }) => derived_test(*length, test.mirrored(), value.as_ref()),
        (Operand::Column { number, .. }, Operand::Later) | (Operand::Later, Operand::Column { number, .. }) => atom_later(*number, test),
        // An extreme of all rows chooses one, or leaves out none.
        (Operand::Column { .. } | Operand::Derived { .. }, Operand::OfAll) | (Operand::OfAll, Operand::Column { .. } | Operand::Derived { .. }) => {
            if test == Test::Equal {
                restricts()
            } else {
                Condition::Open
            }
        }
        (Operand::Derived { .. }, Operand::Later) | (Operand::Later, _) => restricts_by(test.is_wide()),
        (Operand::Column { .. } | Operand::Derived { .. }, Operand::Other { same })
        | (Operand::Other { same }, Operand::Column { .. } | Operand::Derived { .. }) => {
            if test == Test::Equal {
                Condition::Linked { same: *same }
            } else {
                Condition::Open
            }
        }
        (Operand::Other { .. }, Operand::Fixed(_) | Operand::Later) | (Operand::Fixed(_), Operand::Other { .. }) => Condition::Others,
        _ => Condition::Open,
    }
}

/// What holds nothing, or asks for nothing: `{}`, `[]`, the root of a document, a range without ends.
fn is_empty_container(constant: &Constant) -> bool {
    let Value::Text(text) = constant.value() else { return false };
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    matches!(text.as_str(), "" | "{}" | "[]" | "$" | "strict$" | "lax$" | "(,)" | "[,]" | "[,)" | "(,]")
}

/// Containment, text search and the like.
fn contained(left: &Operand, right: &Operand) -> Condition {
    let own = |operand: &Operand| matches!(operand, Operand::Column { .. } | Operand::Derived { .. });
    // An empty container is contained in everything.
    let empty = |operand: &Operand| matches!(operand, Operand::Fixed(Some(constant)) if is_empty_container(constant));
    match (left, right) {
        // Of what is made of a column and of something that is not known, nothing is.
        (Operand::Derived { .. }, Operand::Fixed(None)) | (Operand::Fixed(None), Operand::Derived { .. }) => Condition::Open,
        (one, other) | (other, one) if own(one) && matches!(other, Operand::Fixed(_) | Operand::Later) && !empty(other) => restricts(),
        _ => Condition::Open,
    }
}

fn atom_later(column: i16, test: Test) -> Condition {
    match atom(column, test, None) {
        Condition::Restricts(restriction) => Condition::Restricts(Restriction { atom: None, ..restriction }),
        other => other,
    }
}

fn column_test(column: i16, not_null: bool, test: Test, value: Option<Constant>) -> Condition {
    match (test, &value) {
        (_, Some(constant)) if constant.is_null() => Condition::Never,
        (Test::Like, Some(constant)) if is_everything(constant) => {
            if not_null {
                Condition::Always
            } else {
                Condition::Open
            }
        }
        // A pattern that is not known may be `%`.
        (Test::Like | Test::NotLike, None) => Condition::Open,
        (_, Some(constant)) if is_at_the_end(test, constant) => Condition::Open,
        // Places of rows in their file: which of them are taken is nobody's condition.
        (Test::AtLeast | Test::More | Test::AtMost | Test::Less | Test::Unequal, _) if column == CTID => Condition::Open,
        _ => atom(column, test, value),
    }
}

/// Whether a comparison with the least or greatest value there is leaves out nothing, or nothing worth naming.
fn is_at_the_end(test: Test, constant: &Constant) -> bool {
    // Of what is compared otherwise the value is not looked at, so that statements with other values are alike.
    if !matches!(test, Test::AtLeast | Test::More | Test::AtMost | Test::Less) {
        return false;
    }
    let (least, greatest) = match constant.value() {
        Value::Number(number) => (*number <= f64::from(i32::MIN), *number >= f64::from(i32::MAX)),
        Value::Text(text) => {
            let text = text.trim().to_ascii_lowercase();
            (matches!(text.as_str(), "" | "-infinity"), matches!(text.as_str(), "infinity" | "+infinity" | "inf"))
        }
        Value::Bool(truth) => (!truth, *truth),
        _ => (false, false),
    };
    match test {
        Test::AtLeast | Test::More => least,
        Test::AtMost | Test::Less => greatest,
        _ => false,
    }
}

fn is_everything(pattern: &Constant) -> bool {
    matches!(pattern.value(), Value::Text(pattern) if matches_everything(pattern))
}

fn derived_test(length: bool, test: Test, value: Option<&Constant>) -> Condition {
    let no_less = |constant: &Constant| matches!(constant.value(), Value::Number(number) if *number <= 0.0);
    match (test, value) {
        (_, Some(constant)) if constant.is_null() => Condition::Never,
        (Test::AtLeast | Test::More | Test::Unequal, Some(constant)) if length && no_less(constant) => Condition::Open,
        (Test::Like, Some(constant)) if is_everything(constant) => Condition::Open,
        (Test::Like | Test::NotLike, None) => Condition::Open,
        (_, Some(constant)) if is_at_the_end(test, constant) => Condition::Open,
        (Test::Unequal, Some(constant)) if is_empty_container(constant) => Condition::Open,
        _ => restricts_by(test.is_wide()),
    }
}

fn in_list(left: &Operand, list: &[Operand], member: bool) -> Condition {
    let parts = list.iter().map(|item| compared(left, if member { Test::Equal } else { Test::Unequal }, item)).collect();
    if !member {
        return both(parts);
    }
    match either(parts) {
        Condition::Restricts(restriction) if list.len() > 1 => {
            Condition::Restricts(Restriction { bounded: true, fixed: BTreeSet::new(), ..restriction })
        }
        other => other,
    }
}

fn between(left: &Operand, list: &[Operand], outside: bool) -> Condition {
    let plain = |operand: &Operand| matches!(operand, Operand::Fixed(_) | Operand::Later);
    let constant = |at: usize| match list.get(at) {
        Some(Operand::Fixed(Some(constant))) => Some(constant),
        _ => None,
    };
    let (low, high) = (constant(0), constant(1));
    let all = low.is_some_and(|low| is_at_the_end(Test::AtLeast, low)) && high.is_some_and(|high| is_at_the_end(Test::AtMost, high));
    let none = low.zip(high).is_some_and(|(low, high)| constants::compare(low.value(), high.value()) == Some(Ordering::Greater));
    match left {
        Operand::Column { .. } | Operand::Derived { length: false } if list.iter().all(plain) => {
            if (!outside && all) || (outside && none) {
                Condition::Open
            } else {
                restricts_by(outside)
            }
        }
        Operand::Other { .. } => Condition::Others,
        _ => Condition::Open,
    }
}

/// All of them hold.
fn both(parts: Vec<Condition>) -> Condition {
    let mut merged: Option<Restriction> = None;
    let (mut linked, mut linked_same, mut others, mut open) = (false, false, false, false);
    for part in parts {
        match part {
            Condition::Never => return Condition::Never,
            Condition::Always => {}
            Condition::Open => open = true,
            Condition::Others => others = true,
            Condition::Linked { same } => {
                if same {
                    linked_same = true
                } else {
                    linked = true
                }
            }
            Condition::Restricts(restriction) => match &mut merged {
                None => merged = Some(restriction),
                Some(merged) => {
                    merged.fixed.extend(restriction.fixed);
                    merged.bounded |= restriction.bounded;
                    merged.wide &= restriction.wide;
                    merged.atom = None;
                }
            },
        }
    }
    match merged {
        Some(restriction) => Condition::Restricts(restriction),
        None if linked => Condition::Linked { same: false },
        None if linked_same => Condition::Linked { same: true },
        None if others => Condition::Others,
        None if open => Condition::Open,
        None => Condition::Always,
    }
}

/// One of them holds.
fn either(parts: Vec<Condition>) -> Condition {
    if parts.contains(&Condition::Always) {
        return Condition::Always;
    }
    let parts: Vec<Condition> = parts.into_iter().filter(|part| *part != Condition::Never).collect();
    let mut restrictions = vec![];
    for part in &parts {
        match part {
            Condition::Restricts(restriction) => restrictions.push(restriction),
            Condition::Linked { same: false } if parts.len() > 1 => {
                restrictions.push(const { &Restriction { fixed: BTreeSet::new(), bounded: false, wide: false, atom: None } })
            }
            other => return if parts.len() == 1 { other.clone() } else { Condition::Open },
        }
    }
    match restrictions.as_slice() {
        [] => Condition::Never,
        [only] => Condition::Restricts((*only).clone()),
        several if covers_everything(several) => Condition::Always,
        // What one leaves out another may choose; of single comparisons it is known that they do not.
        several if several.iter().any(|one| one.wide && one.atom.is_none()) => Condition::Open,
        several => {
            let bounded = several.iter().all(|one| one.bounded || !one.fixed.is_empty());
            Condition::Restricts(Restriction { bounded, wide: several.iter().any(|one| one.wide), ..Restriction::default() })
        }
    }
}

/// Whether the tests, taken together, let every row pass: `a = 1 OR a <> 1`, `a > 0 OR a <= 5`. NULL does not save a condition here.
fn covers_everything(restrictions: &[&Restriction]) -> bool {
    // One pass over the pairs is enough for what people write; a list of thousands of equalities has no such pair, and is not searched for one.
    let atoms: Vec<&(i16, Test, Option<Constant>)> = restrictions.iter().filter_map(|one| one.atom.as_ref()).collect();
    let is_truth = |value: &Option<Constant>| value.as_ref().is_some_and(Constant::is_written_truth);
    let telling: Vec<_> = atoms.iter().filter(|(_, test, value)| *test != Test::Equal || is_truth(value)).take(64).collect();
    telling.iter().any(|one| atoms.iter().take(4_096).any(|other| complementary(one, other, &atoms)))
}

fn complementary(one: &(i16, Test, Option<Constant>), other: &(i16, Test, Option<Constant>), atoms: &[&(i16, Test, Option<Constant>)]) -> bool {
    if one.0 != other.0 || std::ptr::eq(one, other) {
        return false;
    }
    let order = match (&one.2, &other.2) {
        (Some(a), Some(b)) => constants::compare(a.value(), b.value()),
        (None, None) => Some(Ordering::Equal),
        _ => None,
    };
    match (one.1, other.1) {
        (Test::Null, Test::NotNull) => true,
        (Test::Equal, Test::Equal) => {
            let truth =
                |value: &Option<Constant>| value.as_ref().filter(|constant| constant.is_written_truth()).map(|constant| constant.value().clone());
            truth(&one.2).zip(truth(&other.2)).is_some_and(|(one, other)| one != other)
        }
        (Test::Unequal, Test::Equal) => order != Some(Ordering::Less) && order != Some(Ordering::Greater),
        (Test::Unequal, Test::Unequal) => order != Some(Ordering::Equal),
        (Test::Unequal, Test::Less | Test::AtMost | Test::More | Test::AtLeast) => true,
        (Test::NotLike, Test::Like) => order == Some(Ordering::Equal),
        (Test::More | Test::AtLeast, Test::Less | Test::AtMost) => match order {
            Some(Ordering::Greater) => false,
            Some(Ordering::Equal) => {
                let middle = atoms.iter().any(|(column, test, value)| *column == one.0 && *test == Test::Equal && *value == one.2);
                one.1 == Test::AtLeast || other.1 == Test::AtMost || middle
            }
            Some(Ordering::Less) | None => true,
        },
        _ => false,
    }
}

/// Whether a regular expression has a letter, digit or one of some that must be there. Alternatives, and groups that may be left out, are not looked into.
fn demands_something(pattern: &str) -> bool {
    if pattern.contains('|') || [")?", ")*", "){"].iter().any(|optional| pattern.contains(optional)) {
        return false;
    }
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        let demands = match letter {
            // A digit or white space; other classes are nearly everything, and `\m` or `\y` no character at all.
            '\\' => letters.next().is_some_and(|class| matches!(class, 'd' | 's')),
            '[' => {
                let all_but = letters.peek() == Some(&'^');
                while letters.next().is_some_and(|inside| inside != ']') {}
                !all_but
            }
            '{' => {
                while letters.next().is_some_and(|inside| inside != '}') {}
                false
            }
            // `(?:` and its like begin a group.
            '?' => {
                letters.next_if(|after| after.is_alphabetic());
                false
            }
            letter => letter.is_alphanumeric(),
        };
        if demands && !letters.peek().is_some_and(|after| matches!(after, '*' | '?' | '{')) {
            return true;
        }
    }
    false
}

/// The pattern of SIMILAR TO, which the grammar wraps in a call.
fn similar_pattern(expression: &AExpr) -> Option<&Node> {
    match boxed(expression.rexpr.as_ref()) {
        Some(NodeEnum::FuncCall(call)) => call.args.first(),
        _ => expression.rexpr.as_deref(),
    }
}
