//! What subqueries of a condition name: their own sources, or the table that is written.
//!
//! Every row of the table meets `id IN (SELECT id)`: there `id` is the table's own. What is not known to be a source's own counts as the table's.

use std::collections::BTreeSet;

use pg_query::{
    NodeEnum,
    protobuf::{self as pb, Node, SelectStmt, WithClause},
};

use super::{
    analysis::{Analysis, boxed, inner, strings},
    names::qualified,
    row_scope::{MAX_DEPTH, Target},
};

/// What the sources of a query name.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) aliases: BTreeSet<String>,
    pub(super) columns: BTreeSet<String>,
    /// They have columns whose names are not known.
    pub(super) open: bool,
}

/// The WITH queries of a statement or subquery that only select, by their names.
pub(super) fn ctes_of(with: Option<&WithClause>) -> impl Iterator<Item = (&str, &SelectStmt)> {
    with.into_iter().flat_map(|with| &with.ctes).filter_map(|node| match inner(node) {
        Some(NodeEnum::CommonTableExpr(cte)) => match boxed(cte.ctequery.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) => Some((cte.ctename.as_str(), select.as_ref())),
            _ => None,
        },
        _ => None,
    })
}

impl Analysis<'_> {
    /// Whether a subquery names the target, or one of its columns, where it has no source of its own that is meant.
    pub(super) fn looks_back(&self, select: &SelectStmt, target: &Target<'_>) -> bool {
        self.reaches(select, target, &mut Vec::new(), MAX_DEPTH)
    }

    /// Whether what a query reads from names the target: a subquery or a function's argument in FROM.
    pub(super) fn sources_look_back(&self, select: &SelectStmt, target: &Target<'_>) -> bool {
        let names = self.names_of(&select.from_clause, target, MAX_DEPTH);
        select.from_clause.iter().any(|node| self.source_looks_back(node, target, &names, MAX_DEPTH))
    }

    fn source_looks_back(&self, node: &Node, target: &Target<'_>, names: &Names, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return true };
        match inner(node) {
            Some(NodeEnum::RangeVar(_)) => false,
            // Its condition may name what it likes: it restricts no more than one of the query's own.
            Some(NodeEnum::JoinExpr(join)) => {
                [&join.larg, &join.rarg].into_iter().flatten().any(|side| self.source_looks_back(side, target, names, depth))
            }
            _ => self.node_reaches(node, target, &mut vec![names.clone()], depth),
        }
    }

    fn reaches(&self, select: &SelectStmt, target: &Target<'_>, around: &mut Vec<Names>, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1).filter(|_| self.takes_step()) else { return true };
        let ctes = ctes_of(select.with_clause.as_ref()).chain(target.ctes.iter().copied()).collect();
        let target = &target.knowing(ctes);
        around.push(self.names_of(&select.from_clause, target, depth));
        let arms = [&select.larg, &select.rarg].into_iter().flatten().any(|arm| self.reaches(arm, target, around, depth));
        let values = [
            &select.distinct_clause,
            &select.target_list,
            &select.values_lists,
            &select.from_clause,
            &select.group_clause,
            &select.window_clause,
            &select.sort_clause,
        ];
        let tests = [&select.where_clause, &select.having_clause, &select.limit_count, &select.limit_offset];
        let nodes: Vec<&Node> = values.into_iter().flatten().chain(tests.into_iter().flatten().map(|node| &**node)).collect();
        let reaches = arms || nodes.into_iter().any(|node| self.node_reaches(node, target, around, depth));
        around.pop();
        reaches
    }

    fn node_reaches(&self, node: &Node, target: &Target<'_>, around: &mut Vec<Names>, depth: usize) -> bool {
        let (mut reaches, mut queries) = (false, Vec::new());
        let shown = visit(
            node,
            &mut |node| match node {
                NodeEnum::ColumnRef(column) => {
                    let hidden = |is: &dyn Fn(&Names) -> bool| around.iter().any(is);
                    reaches |= match strings(&column.fields).as_slice() {
                        [] => false,
                        [name] if *name == target.alias => !hidden(&|names| names.aliases.contains(*name) || names.columns.contains(*name)),
                        [name] => target.has(name) && !hidden(&|names| names.columns.contains(*name)),
                        [.., alias, _] => *alias == target.alias && !hidden(&|names| names.aliases.contains(*alias)),
                    };
                }
                NodeEnum::SubLink(link) => queries.push(link.subselect.as_ref()),
                NodeEnum::RangeSubselect(sub) => queries.push(sub.subquery.as_ref()),
                // What is not looked into may name anything.
                node => reaches |= !is_looked_into(node),
            },
            depth,
        );
        reaches
            || !shown
            || queries.into_iter().any(|query| match boxed(query) {
                Some(NodeEnum::SelectStmt(select)) => self.reaches(select, target, around, depth),
                _ => false,
            })
    }

    /// What the sources of a FROM clause name.
    pub(super) fn names_of(&self, from: &[Node], target: &Target<'_>, depth: usize) -> Names {
        let mut names = Names::default();
        let mut waiting: Vec<&Node> = from.iter().collect();
        while let Some(node) = waiting.pop() {
            let alias = match inner(node) {
                Some(NodeEnum::JoinExpr(join)) => {
                    waiting.extend([&join.larg, &join.rarg].into_iter().flatten().map(|node| &**node));
                    join.alias.as_ref()
                }
                Some(NodeEnum::RangeVar(range)) => {
                    let cte = target.ctes.iter().find(|(name, _)| range.schemaname.is_empty() && *name == range.relname);
                    match (cte, self.find_relation(&range.schemaname, &range.relname)) {
                        (Some((name, select)), _) => self.shown_by(select, &target.without(name), &mut names, depth),
                        (None, Some(relation)) => {
                            let own = relation.columns.iter().map(|column| column.name.to_string());
                            names.columns.extend(own.chain(["ctid".to_owned()]));
                        }
                        (None, None) => names.open = true,
                    }
                    if range.alias.is_none() {
                        names.aliases.insert(range.relname.clone());
                    }
                    range.alias.as_ref()
                }
                Some(NodeEnum::RangeSubselect(sub)) => {
                    match boxed(sub.subquery.as_ref()) {
                        Some(NodeEnum::SelectStmt(select)) => self.shown_by(select, target, &mut names, depth),
                        _ => names.open = true,
                    }
                    sub.alias.as_ref()
                }
                Some(NodeEnum::RangeFunction(function)) => {
                    // One that gives a single column goes by its alias; any other has columns that are not known here.
                    names.columns.extend(function.alias.iter().map(|alias| alias.aliasname.clone()));
                    names.columns.extend(function.coldeflist.iter().filter_map(inner).filter_map(|node| match node {
                        NodeEnum::ColumnDef(column) => Some(column.colname.clone()),
                        _ => None,
                    }));
                    names.open |= function.coldeflist.is_empty() && !function.functions.iter().all(is_list_function);
                    function.alias.as_ref()
                }
                _ => {
                    names.open = true;
                    None
                }
            };
            if let Some(alias) = alias {
                names.aliases.insert(alias.aliasname.clone());
                names.columns.extend(strings(&alias.colnames).into_iter().map(str::to_owned));
            }
        }
        names
    }

    /// Adds the columns that a subquery shows.
    fn shown_by(&self, select: &SelectStmt, target: &Target<'_>, names: &mut Names, depth: usize) {
        let Some(depth) = depth.checked_sub(1).filter(|_| self.takes_step()) else {
            names.open = true;
            return;
        };
        if let Some(first) = select.larg.as_deref() {
            return self.shown_by(first, target, names, depth);
        }
        for node in &select.target_list {
            let Some(NodeEnum::ResTarget(shown)) = inner(node) else { continue };
            match shown.val.as_deref().and_then(inner) {
                _ if !shown.name.is_empty() => {
                    names.columns.insert(shown.name.clone());
                }
                Some(NodeEnum::ColumnRef(column)) if matches!(column.fields.last().and_then(inner), Some(NodeEnum::AStar(_))) => {
                    let below = self.names_of(&select.from_clause, target, depth);
                    names.columns.extend(below.columns);
                    names.open |= below.open;
                }
                Some(NodeEnum::ColumnRef(column)) => names.columns.extend(strings(&column.fields).last().map(|name| (*name).to_owned())),
                _ => names.open = true,
            }
        }
    }
}

/// Whether a column of a query may have many values that nobody listed, whatever it reads from.
pub(super) fn makes_many(node: &Node) -> bool {
    let Some(NodeEnum::ResTarget(target)) = inner(node) else { return false };
    let Some(value) = target.val.as_deref() else { return false };
    let mut counts = false;
    let shown = visit(
        value,
        &mut |node| counts |= matches!(node, NodeEnum::FuncCall(call) if qualified(&call.funcname).1.starts_with("generate_")),
        MAX_DEPTH,
    );
    !shown || counts || holds_query(value)
}

/// Whether a column of a query is the number of each row.
pub(super) fn counts_rows(node: &Node) -> bool {
    let Some(NodeEnum::ResTarget(target)) = inner(node) else { return false };
    let Some(value) = target.val.as_deref() else { return false };
    let mut counts = false;
    let whole = |window: &pb::WindowDef| window.partition_clause.is_empty();
    let shown = visit(value, &mut |node| counts |= matches!(node, NodeEnum::FuncCall(call) if call.over.as_deref().is_some_and(whole)), MAX_DEPTH);
    !shown || counts
}

/// Whether there is a query in an expression.
fn holds_query(node: &Node) -> bool {
    let mut holds = false;
    let shown = visit(node, &mut |node| holds |= matches!(node, NodeEnum::SubLink(_)), MAX_DEPTH);
    holds || !shown
}

/// A set-returning function whose rows are those of a list the caller gave.
pub(super) fn is_list_function(node: &Node) -> bool {
    let Some(NodeEnum::List(pair)) = inner(node) else { return false };
    match pair.items.first().and_then(inner) {
        Some(NodeEnum::FuncCall(call)) if !call.args.iter().any(holds_query) => matches!(
            qualified(&call.funcname).1,
            "unnest"
                | "jsonb_array_elements"
                | "json_array_elements"
                | "jsonb_array_elements_text"
                | "json_array_elements_text"
                | "jsonb_to_recordset"
                | "json_to_recordset"
                | "string_to_table"
                | "regexp_split_to_table"
        ),
        _ => false,
    }
}

/// Shows every node of the common forms of expression below this one. False when they nest too deep for that.
#[must_use]
fn visit<'n>(node: &'n Node, see: &mut impl FnMut(&'n NodeEnum), depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let Some(node) = inner(node) else { return true };
    see(node);
    let mut below: Vec<&Node> = vec![];
    match node {
        NodeEnum::BoolExpr(expression) => below.extend(&expression.args),
        NodeEnum::AExpr(expression) => below.extend([&expression.lexpr, &expression.rexpr].into_iter().flatten().map(|node| &**node)),
        NodeEnum::FuncCall(call) => {
            below.extend(call.args.iter().chain(&call.agg_order).chain(call.agg_filter.as_deref()));
            below.extend(call.over.iter().flat_map(|window| window.partition_clause.iter().chain(&window.order_clause)));
        }
        NodeEnum::TypeCast(cast) => below.extend(cast.arg.as_deref()),
        NodeEnum::NullTest(test) => below.extend(test.arg.as_deref()),
        NodeEnum::BooleanTest(test) => below.extend(test.arg.as_deref()),
        NodeEnum::CoalesceExpr(coalesce) => below.extend(&coalesce.args),
        NodeEnum::List(list) => below.extend(&list.items),
        NodeEnum::RowExpr(row) => below.extend(&row.args),
        NodeEnum::CaseExpr(case) => below.extend(case.arg.as_deref().into_iter().chain(&case.args).chain(case.defresult.as_deref())),
        NodeEnum::CaseWhen(when) => below.extend([&when.expr, &when.result].into_iter().flatten().map(|node| &**node)),
        // The query itself has names of its own.
        NodeEnum::SubLink(link) => below.extend(link.testexpr.as_deref()),
        NodeEnum::ResTarget(target) => below.extend(target.val.as_deref()),
        NodeEnum::AArrayExpr(array) => below.extend(&array.elements),
        NodeEnum::AIndirection(indirection) => below.extend(indirection.arg.as_deref().into_iter().chain(&indirection.indirection)),
        NodeEnum::AIndices(indices) => below.extend([&indices.lidx, &indices.uidx].into_iter().flatten().map(|node| &**node)),
        NodeEnum::CollateClause(clause) => below.extend(clause.arg.as_deref()),
        NodeEnum::MinMaxExpr(extreme) => below.extend(&extreme.args),
        NodeEnum::SortBy(sort) => below.extend(sort.node.as_deref()),
        NodeEnum::JoinExpr(join) => below.extend([&join.larg, &join.rarg, &join.quals].into_iter().flatten().map(|node| &**node)),
        NodeEnum::RangeFunction(function) => below.extend(&function.functions),
        _ => {}
    }
    below.into_iter().all(|node| visit(node, see, depth))
}

/// Whether [`visit`] shows all that is below a node, or there is nothing.
const fn is_looked_into(node: &NodeEnum) -> bool {
    matches!(
        node,
        NodeEnum::BoolExpr(_)
            | NodeEnum::AExpr(_)
            | NodeEnum::FuncCall(_)
            | NodeEnum::TypeCast(_)
            | NodeEnum::NullTest(_)
            | NodeEnum::BooleanTest(_)
            | NodeEnum::CoalesceExpr(_)
            | NodeEnum::List(_)
            | NodeEnum::RowExpr(_)
            | NodeEnum::CaseExpr(_)
            | NodeEnum::CaseWhen(_)
            | NodeEnum::ResTarget(_)
            | NodeEnum::AArrayExpr(_)
            | NodeEnum::AIndirection(_)
            | NodeEnum::AIndices(_)
            | NodeEnum::CollateClause(_)
            | NodeEnum::MinMaxExpr(_)
            | NodeEnum::SortBy(_)
            | NodeEnum::JoinExpr(_)
            | NodeEnum::RangeFunction(_)
            | NodeEnum::RangeVar(_)
            | NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::AStar(_)
            | NodeEnum::String(_)
            | NodeEnum::SqlvalueFunction(_)
    )
}
