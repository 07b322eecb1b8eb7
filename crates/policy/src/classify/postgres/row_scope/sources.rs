//! The sources beside a condition and in its subqueries: whether they may hold the target's own rows, every number there is, or nothing at all.

use pg_query::{
    NodeEnum,
    protobuf::{LimitOption, Node, SelectStmt, SetOperation},
};

use super::{
    super::{
        analysis::{Analysis, boxed, inner},
        catalog::{Relation, RelationKind},
        constants::{self, Value},
        reaching::{counts_rows, is_list_function, makes_many},
    },
    Other, Target,
    together::Condition,
    values,
};

/// A larger LIMIT bounds nothing.
const MAX_LIMIT: f64 = 100_000.0;

impl Analysis<'_> {
    pub(super) fn others<'t>(&self, target: &Target<'t>, sources: &'t [Node], depth: usize) -> Vec<Other> {
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
        let shows_others = |relation: &Relation| matches!(relation.kind, RelationKind::View | RelationKind::MaterializedView);
        shows_others(relation)
            || shows_others(target)
            || relation.oid == target.oid
            || self.catalog.ancestors(relation.oid).contains(&target.oid)
            || self.catalog.ancestors(target.oid).contains(&relation.oid)
    }

    /// Whether a query may give every row of the target.
    pub(super) fn may_be_all(&self, select: &SelectStmt, target: &Target<'_>, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1).filter(|_| self.takes_step()) else { return true };
        if matches!(select.op(), SetOperation::SetopUnion | SetOperation::SetopIntersect | SetOperation::SetopExcept) {
            return [&select.larg, &select.rarg].into_iter().flatten().any(|arm| self.may_be_all(arm, target, depth));
        }
        if select.from_clause.is_empty() {
            return select.target_list.iter().any(makes_many);
        }
        if self.is_limited(select) {
            return false;
        }
        let alone = target.knowing(target.ctes.clone());
        if !self.others(&alone, &select.from_clause, depth).iter().any(|other| other.same) {
            // Rows of another table can be counted, and lists be multiplied, until every key is among them.
            return select.target_list.iter().any(|node| makes_many(node) || counts_rows(node)) || is_product_of_lists(&select.from_clause);
        }
        let Some(NodeEnum::RangeVar(range)) = select.from_clause.first().and_then(inner) else { return true };
        let beside = select.from_clause.get(1..).unwrap_or_default();
        // Conditions are looked at for the first: another that may hold the target's rows goes unrestricted.
        if self.others(&alone, beside, depth).iter().any(|other| other.same) {
            return true;
        }
        let alias = range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str());
        let relation = self.find_relation(&range.schemaname, &range.relname);
        let mut within = Target { relation, shown: vec![], alias, others: vec![], hidden: None, ctes: target.ctes.clone() };
        within.others = self.others(&within, beside, depth);
        match select.where_clause.as_deref() {
            Some(condition) => !matches!(
                self.condition(condition, &within, false, depth),
                Condition::Restricts(_) | Condition::Never | Condition::Linked { same: false }
            ),
            None => true,
        }
    }

    /// Whether LIMIT bounds how many rows there are: by a number that is no stand-in for all of them, or one that is still to come.
    fn is_limited(&self, select: &SelectStmt) -> bool {
        let Some(limit) = select.limit_count.as_deref().filter(|_| select.limit_option() != LimitOption::WithTies) else { return false };
        match constants::value(limit, &self.parameters) {
            Some(Value::Null) => false,
            Some(value) => values::number(&value).is_some_and(|number| number <= MAX_LIMIT),
            None => matches!(inner(limit), Some(NodeEnum::ParamRef(_))),
        }
    }

    /// Whether a query reads rows that somebody stored, and its wording alone leaves none of them out: what is not among nothing may be everything.
    pub(super) fn reads_stored_rows(&self, select: &SelectStmt, target: &Target<'_>, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1).filter(|_| self.takes_step()) else { return false };
        match select.op() {
            SetOperation::SetopUnion => {
                return [&select.larg, &select.rarg].into_iter().flatten().any(|arm| self.reads_stored_rows(arm, target, depth));
            }
            SetOperation::SetopIntersect | SetOperation::SetopExcept => return false,
            SetOperation::SetopNone | SetOperation::Undefined => {}
        }
        select.limit_count.is_none()
            && select.limit_offset.is_none()
            && select.having_clause.is_none()
            && !select.from_clause.is_empty()
            && select.from_clause.iter().all(|node| self.is_stored(node, target, depth))
            && !self.is_never(select, target, depth)
    }

    fn is_stored(&self, node: &Node, target: &Target<'_>, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return false };
        match inner(node) {
            Some(NodeEnum::RangeVar(range)) => match target.ctes.iter().find(|(name, _)| range.schemaname.is_empty() && *name == range.relname) {
                Some((name, select)) => self.reads_stored_rows(select, &target.without(name), depth),
                // What comes with the server has keys of its own.
                None => self.find_relation(&range.schemaname, &range.relname).is_some_and(|relation| !relation.built_in()),
            },
            Some(NodeEnum::RangeSubselect(sub)) => match boxed(sub.subquery.as_ref()) {
                Some(NodeEnum::SelectStmt(select)) => self.reads_stored_rows(select, target, depth),
                _ => false,
            },
            Some(NodeEnum::JoinExpr(join)) => [&join.larg, &join.rarg].into_iter().flatten().all(|node| self.is_stored(node, target, depth)),
            _ => false,
        }
    }

    /// Whether a query's condition lets no row pass, whatever is in its tables.
    fn is_never(&self, select: &SelectStmt, target: &Target<'_>, depth: usize) -> bool {
        let nothing = Target { relation: None, shown: vec![], alias: "", others: vec![], hidden: None, ctes: target.ctes.clone() };
        select.where_clause.as_deref().is_some_and(|node| self.condition(node, &nothing, false, depth) == Condition::Never)
    }
}

/// Whether several lists are put side by side, and nothing else.
fn is_product_of_lists(from: &[Node]) -> bool {
    let list = |node: &Node| match inner(node) {
        Some(NodeEnum::RangeFunction(_)) => true,
        Some(NodeEnum::RangeSubselect(sub)) => {
            matches!(boxed(sub.subquery.as_ref()), Some(NodeEnum::SelectStmt(select)) if select.from_clause.is_empty())
        }
        _ => false,
    };
    let joined = matches!(from, [node] if matches!(inner(node), Some(NodeEnum::JoinExpr(join)) if [&join.larg, &join.rarg].into_iter().flatten().all(|side| list(side))));
    joined || (from.len() > 1 && from.iter().all(list))
}
