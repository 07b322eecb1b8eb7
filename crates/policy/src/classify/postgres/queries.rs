//! SELECT and everything FROM can hold.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    Action,
    facts::{Comparison, RelationRef},
};
use pg_query::{
    NodeEnum,
    protobuf::{self as pb, Alias, CommonTableExpr, JoinExpr, Node, RangeFunction, RangeVar, SelectStmt, SetOperation, WithClause},
};

use super::{
    analysis::{Analysis, Output, Outputs, Scope, Source, boxed, inner, reference, strings},
    catalog::{Relation, RelationKind},
    definitions::columns_of,
    expressions::{gives_many, star},
    lineage::Lineage,
    names::qualified,
    types,
};

/// Most columns of all that is in FROM anywhere in one message.
const MAX_WIDTH: usize = 200_000;

/// How often the recursive queries of one message are walked until it is settled where their columns come from; beyond, it is untold.
const MAX_WALKS: usize = 64;

/// Most partitions and children of one table that are named one by one.
pub(super) const MAX_DESCENDANTS: usize = 10_000;

impl<'a> Analysis<'a> {
    /// A SELECT, VALUES or set operation, with its own names inside. Its columns.
    pub(super) fn select(&mut self, select: &SelectStmt) -> Outputs {
        self.deeper(|this| {
            this.scopes.push(Scope::default());
            let outputs = this.select_inside(select);
            this.scopes.pop();
            outputs
        })
    }

    fn select_inside(&mut self, select: &SelectStmt) -> Outputs {
        self.with(select.with_clause.as_ref());
        let locking = self.locking;
        self.locking |= !select.locking_clause.is_empty();
        let outputs = if matches!(select.op(), SetOperation::SetopUnion | SetOperation::SetopIntersect | SetOperation::SetopExcept) {
            self.set_operation(select)
        } else {
            self.simple_select(select)
        };
        self.locking = locking;
        self.arrangement(&select.sort_clause, &outputs, true);
        self.deciding(|this| {
            this.optional(select.limit_offset.as_ref());
            this.optional(select.limit_count.as_ref());
        });
        if let Some(into) = &select.into_clause {
            self.store(&outputs.lineage());
            self.creates_from_query(into.rel.as_ref());
        }
        outputs
    }

    fn simple_select(&mut self, select: &SelectStmt) -> Outputs {
        for item in &select.from_clause {
            self.add_source(item);
        }
        let scope = self.scope();
        scope.complete = !scope.merges;
        self.decides(select.where_clause.as_deref());
        self.fixes_name(select.where_clause.as_deref());
        let mut outputs = self.targets(&select.target_list);
        for row in &select.values_lists {
            let above = std::mem::replace(&mut outputs, self.values_row(row));
            if !above.columns.is_empty() || above.open {
                self.unite(&mut outputs, &above);
            }
        }
        self.arrangement(&select.distinct_clause, &outputs, true);
        self.arrangement(&select.group_clause, &outputs, false);
        self.decides(select.having_clause.as_deref());
        self.expressions(&select.window_clause);
        outputs
    }

    fn values_row(&mut self, row: &Node) -> Outputs {
        let Some(NodeEnum::List(list)) = inner(row) else { return Outputs { open: true, ..Outputs::default() } };
        let mut columns = vec![];
        for (at, value) in list.items.iter().enumerate() {
            let (ty, lineage) = self.made_for_show(value);
            if gives_many(value) || star(value).is_some() {
                let mut all = lineage;
                list.items.iter().skip(at + 1).for_each(|value| all.merge(&self.made_for_show(value).1));
                let mut outputs = Outputs { columns, ..Outputs::default() };
                outputs.blend(&all);
                return outputs;
            }
            let ty = ty.filter(|ty| *ty != types::UNKNOWN).or(Some(types::TEXT));
            columns.push(Output::made(format!("column{}", at + 1), ty, lineage));
        }
        Outputs { columns, ..Outputs::default() }
    }

    /// The arms of a chain of set operations, walked along its left side without recursion: there may be hundreds.
    fn set_operation(&mut self, select: &SelectStmt) -> Outputs {
        let mut arms: Vec<&SelectStmt> = vec![];
        let mut compares = false;
        let mut left = select;
        loop {
            let chained = left.larg.as_deref().filter(|_| std::ptr::eq(left, select) || plain_chain(left));
            match (chained, left.rarg.as_deref()) {
                (Some(next), Some(right)) => {
                    compares |= !left.all || left.op() != SetOperation::SetopUnion;
                    arms.push(right);
                    left = next;
                }
                _ => break,
            }
        }
        let mut outputs = self.select(left);
        for arm in arms.into_iter().rev() {
            let other = self.select(arm);
            self.unite(&mut outputs, &other);
        }
        // All but UNION ALL compare whole rows.
        if compares {
            self.tests(&outputs.lineage(), Comparison::Any);
        }
        outputs
    }

    /// Rows of two queries, one after the other.
    fn unite(&mut self, outputs: &mut Outputs, other: &Outputs) {
        if outputs.open || other.open || other.columns.len() != outputs.columns.len() {
            return outputs.blend(&other.lineage());
        }
        outputs.listed = false;
        if let Some(rest) = &other.rest {
            outputs.more(rest);
        }
        for (column, other) in outputs.columns.iter_mut().zip(&other.columns) {
            column.harmless &= other.harmless;
            column.plain &= other.plain;
            column.lineage.merge(&other.lineage);
            if column.ty != other.ty {
                // What one becomes for the other's sake may not be possible for every value.
                let around = std::mem::replace(&mut self.can_fail, false);
                self.weigh_union(&[column.ty, other.ty]);
                if self.can_fail {
                    self.tests(&column.lineage, Comparison::Any);
                }
                self.can_fail |= around;
                column.ty = None;
            }
        }
    }

    /// WITH: each query in turn; a recursive one sees its own name.
    pub(super) fn with(&mut self, with: Option<&WithClause>) {
        let Some(with) = with else { return };
        if with.recursive {
            // Each may refer to those after it.
            for cte in with.ctes.iter().filter_map(inner) {
                if let NodeEnum::CommonTableExpr(cte) = cte {
                    let unknown = Outputs { columns: named_columns(&cte.aliascolnames), open: true, ..Outputs::default() };
                    self.scope().ctes.push((Arc::from(cte.ctename.as_str()), unknown));
                }
            }
        }
        for node in &with.ctes {
            let Some(NodeEnum::CommonTableExpr(cte)) = inner(node) else { continue };
            let name: Arc<str> = Arc::from(cte.ctename.as_str());
            let outputs = match boxed(cte.ctequery.as_ref()) {
                Some(query) if with.recursive => self.recursive(&name, cte, query),
                Some(query) => named_by(self.statement(query, ""), cte),
                None => Outputs::default(),
            };
            if cte.cycle_clause.is_some() {
                // Whether a row was there before decides how many there are.
                outputs.columns.iter().for_each(|column| self.tests(&column.lineage, Comparison::Any));
            }
            self.scope().ctes.push((name, outputs));
        }
    }

    /// The columns of a query that may meet its own rows. They come from where those of its first part do, and from what the second makes of them: it is
    /// walked again until nothing is added.
    fn recursive(&mut self, name: &Arc<str>, cte: &CommonTableExpr, query: &NodeEnum) -> Outputs {
        if let NodeEnum::SelectStmt(select) = query
            && let Some(first) = select.larg.as_deref().filter(|_| select.with_clause.is_none() && self.another_walk())
        {
            let mut known = named_by(self.select(first), cte);
            while self.another_walk() {
                let found = self.knowing(name, known.clone(), |this| named_by(this.select(select), cte));
                let same = |(found, known): (&Output, &Output)| found.lineage == known.lineage && found.plain == known.plain;
                if found.columns.len() == known.columns.len() && found.columns.iter().zip(&known.columns).all(same) {
                    return found;
                }
                known = found;
            }
        }
        let unknown = Outputs { columns: named_columns(&cte.aliascolnames), open: true, ..Outputs::default() };
        self.knowing(name, unknown, |this| named_by(this.statement(query, ""), cte))
    }

    fn another_walk(&mut self) -> bool {
        self.walks = self.walks.saturating_add(1);
        self.walks <= MAX_WALKS
    }

    /// Does something while a CTE's name stands for these columns.
    fn knowing(&mut self, name: &Arc<str>, columns: Outputs, work: impl FnOnce(&mut Self) -> Outputs) -> Outputs {
        self.scope().ctes.push((name.clone(), columns));
        let found = work(self);
        self.scope().ctes.pop();
        found
    }

    /// One item of FROM: its names are added to the innermost scope.
    pub(super) fn add_source(&mut self, node: &Node) {
        let Some(node) = inner(node) else { return };
        self.deeper(|this| match node {
            NodeEnum::RangeVar(range) => this.range(range),
            NodeEnum::RangeSubselect(sub) => {
                let mut outputs = match boxed(sub.subquery.as_ref()) {
                    Some(NodeEnum::SelectStmt(select)) => this.select(select),
                    _ => Outputs { open: true, ..Outputs::default() },
                };
                rename_by_alias(&mut outputs, sub.alias.as_ref());
                this.source(sub.alias.as_ref(), "", None, outputs);
            }
            NodeEnum::JoinExpr(join) => this.join(join),
            NodeEnum::RangeFunction(function) => this.range_function(function),
            NodeEnum::RangeTableSample(sample) => this.sample(sample),
            NodeEnum::RangeTableFunc(table) => this.xml_table(table),
            NodeEnum::JsonTable(table) => this.json_table(table),
            _ => this.found.doubt("FROM holds something of a kind that is not known"),
        });
    }

    fn source(&mut self, alias: Option<&Alias>, name: &str, relation: Option<u32>, outputs: Outputs) {
        let alias = alias.map_or(name, |alias| alias.aliasname.as_str());
        let source = Source { alias: Arc::from(alias), relation, outputs };
        self.width = self.width.saturating_add(source.outputs.columns.len());
        if self.width > MAX_WIDTH {
            return self.found.doubt("it reads from too many columns");
        }
        self.scope().sources.push(source);
    }

    fn range(&mut self, range: &RangeVar) {
        let cte = self
            .scopes
            .iter()
            .rev()
            .flat_map(|scope| scope.ctes.iter().rev())
            .find(|(name, _)| range.schemaname.is_empty() && **name == *range.relname);
        if let Some((_, outputs)) = cte {
            let mut outputs = outputs.clone();
            rename_by_alias(&mut outputs, range.alias.as_ref());
            return self.source(range.alias.as_ref(), &range.relname, None, outputs);
        }
        let (relation, mut outputs) = match self.relation(range) {
            Some(relation) => (Some(relation.oid), self.reads(relation, range.inh)),
            None => (None, Outputs { open: true, ..Outputs::default() }),
        };
        rename_by_alias(&mut outputs, range.alias.as_ref());
        self.source(range.alias.as_ref(), &range.relname, relation, outputs);
    }

    /// A relation is read: its rows, those of its partitions and children (`inherit`), and what lies under it. Its columns.
    pub(super) fn reads(&mut self, relation: &'a Relation, inherit: bool) -> Outputs {
        self.reads_as(Action::Read, relation, inherit)
    }

    /// As [`Self::reads`], by this action (`read` or `export`).
    pub(super) fn reads_as(&mut self, action: Action, relation: &'a Relation, inherit: bool) -> Outputs {
        self.touch(action, relation, inherit);
        if self.locking {
            self.touch(Action::Write, relation, inherit);
            self.found.raise(3);
        }
        self.found.opaque |= Self::hides_origin(relation);
        if relation.shows_files() {
            let host = self.host();
            self.found.pair(Action::Escape, host);
        }
        self.apart(|this| relation.policy_code.iter().for_each(|code| this.run_oid(*code)));
        match relation.kind {
            RelationKind::View => return self.expand_view(relation),
            RelationKind::MaterializedView => return self.origins_of_copy(relation),
            RelationKind::Toast | RelationKind::Index => {
                if let Some(owner) = relation.owner.and_then(|oid| self.catalog.relation_by_oid(oid)) {
                    self.touch(action, owner, inherit);
                }
            }
            _ => {}
        }
        self.columns_below(relation)
    }

    /// The pair, for the relation, what its rows are also in, and what its rows come from.
    pub(super) fn touch(&mut self, action: Action, relation: &Relation, inherit: bool) {
        let mut related = self.catalog.ancestors(relation.oid);
        if inherit && !relation.children.is_empty() {
            related.extend(self.catalog.descendants(relation.oid, MAX_DESCENDANTS));
        }
        self.touch_one(action, relation);
        for oid in related {
            if let Some(relative) = self.catalog.relation_by_oid(oid) {
                self.touch_one(action, relative);
            }
        }
    }

    fn touch_one(&mut self, action: Action, relation: &Relation) {
        let object = self.object(relation);
        self.found.pair(action, object);
        let reference: RelationRef = reference(relation);
        let set = if matches!(action, Action::Read | Action::Export) { &mut self.found.reads } else { &mut self.found.writes };
        set.insert(reference);
    }

    fn join(&mut self, join: &JoinExpr) {
        let from = self.scope().sources.len();
        if let Some(left) = &join.larg {
            self.add_source(left);
        }
        let between = self.scope().sources.len();
        if let Some(right) = &join.rarg {
            self.add_source(right);
        }
        for name in strings(&join.using_clause) {
            self.joined_by(name, from);
            let types = self.column_types(name, from);
            self.equal(&types);
        }
        if join.is_natural {
            for name in self.shared_columns(from, between) {
                self.joined_by(&name, from);
                let types = self.column_types(&name, from);
                self.equal(&types);
            }
        }
        self.decides(join.quals.as_deref());
        self.scope().merges |= join.is_natural || !join.using_clause.is_empty() || join.alias.is_some() || join.join_using_alias.is_some();
        for alias in [&join.alias, &join.join_using_alias].into_iter().flatten() {
            let mut inside = Lineage::default();
            self.scope().sources.iter().skip(from).for_each(|source| inside.merge(&source.outputs.lineage()));
            let mut outputs = Outputs { open: true, rest: Some(inside), ..Outputs::default() };
            rename_by_alias(&mut outputs, Some(alias));
            self.source(Some(alias), "", None, outputs);
        }
    }

    fn column_types(&self, name: &str, from: usize) -> Vec<Option<u32>> {
        let sources = self.scopes.last().into_iter().flat_map(|scope| scope.sources.iter().skip(from));
        sources.filter_map(|source| source.outputs.columns.iter().find(|column| &*column.name == name)).map(|column| column.ty).collect()
    }

    /// Names that both sides of a join have; of a side that is not known, any name of the other.
    fn shared_columns(&self, from: usize, between: usize) -> Vec<Arc<str>> {
        let Some(scope) = self.scopes.last() else { return vec![] };
        let names = |sources: &[Source]| -> (BTreeSet<Arc<str>>, bool) {
            let columns = sources.iter().flat_map(|source| &source.outputs.columns).map(|column| column.name.clone());
            (columns.collect(), sources.iter().any(|source| source.outputs.untold() || source.outputs.rest.is_some()))
        };
        let (left, left_more) = names(scope.sources.get(from..between).unwrap_or_default());
        let (right, right_more) = names(scope.sources.get(between..).unwrap_or_default());
        let shared = |name: &&Arc<str>| (left.contains(*name) || left_more) && (right.contains(*name) || right_more);
        left.union(&right).filter(shared).cloned().collect()
    }

    /// Columns joined by name are compared with `=`.
    fn equal(&mut self, types: &[Option<u32>]) {
        match types {
            [] | [_] => {
                self.operator("", "=", Some(None), None);
            }
            [first, rest @ ..] => {
                for other in rest {
                    self.operator("", "=", Some(*first), *other);
                }
            }
        }
    }

    fn range_function(&mut self, function: &RangeFunction) {
        let (mut outputs, lineage) = self.traced(|this| this.columns_of_function(function));
        outputs.open |= function.ordinality;
        rename_by_alias(&mut outputs, function.alias.as_ref());
        // Whatever columns it has, they come from its arguments or from what it reads.
        for column in &mut outputs.columns {
            column.lineage = lineage.clone();
            column.plain = false;
        }
        // What its columns are called, the catalog does not say of every function.
        if outputs.open || !self.is_named_by_itself(function) {
            outputs.rest = Some(lineage);
        }
        let name = function.functions.first().map(function_name).unwrap_or_default();
        self.source(function.alias.as_ref(), name, None, outputs);
    }

    /// A function whose one column goes by its alias or its own name.
    fn is_named_by_itself(&self, function: &RangeFunction) -> bool {
        const NAMED: [&str; 7] =
            ["generate_series", "generate_subscripts", "jsonb_object_keys", "json_object_keys", "regexp_split_to_table", "string_to_table", "unnest"];
        let [only] = function.functions.as_slice() else { return false };
        let Some(NodeEnum::List(pair)) = inner(only) else { return false };
        let Some(NodeEnum::FuncCall(call)) = pair.items.first().and_then(inner) else { return false };
        let (schema, name) = qualified(&call.funcname);
        let one = !function.ordinality && function.coldeflist.is_empty() && call.args.len() <= if name == "unnest" { 1 } else { 3 };
        one && NAMED.contains(&name) && self.routines(schema, name, call.args.len()).iter().all(|routine| routine.built_in())
    }

    fn columns_of_function(&mut self, function: &RangeFunction) -> Outputs {
        let mut outputs = Outputs::default();
        for node in &function.functions {
            let Some(NodeEnum::List(pair)) = inner(node) else { continue };
            let begins = outputs.columns.len();
            let defined = pair.items.get(1).and_then(inner).is_some_and(|list| matches!(list, NodeEnum::List(_)));
            let apart = pair.items.first().filter(|_| !defined).map(unnested_apart).unwrap_or_default();
            for call in apart.iter().chain(pair.items.first().filter(|_| apart.is_empty())) {
                self.handed = None;
                let (ty, lineage) = self.traced(|this| this.expression(call));
                // How many rows there are may depend on what it is handed.
                let handed = self.handed.take().filter(|_| matches!(inner(call), Some(NodeEnum::FuncCall(_)))).unwrap_or(lineage);
                self.tests(&handed, Comparison::Any);
                self.function_columns(ty, call, function.alias.as_ref(), &mut outputs);
            }
            if let Some(NodeEnum::List(definitions)) = pair.items.get(1).and_then(inner) {
                self.column_definitions(&definitions.items, begins, &mut outputs);
            }
        }
        self.column_definitions(&function.coldeflist, 0, &mut outputs);
        outputs
    }

    fn function_columns(&self, ty: Option<u32>, call: &Node, alias: Option<&Alias>, outputs: &mut Outputs) {
        if let Some(relation) = ty.and_then(|oid| self.catalog.relation_of_row_type(self.catalog.base_type(oid))) {
            outputs.columns.extend(columns_of(relation).columns);
            return;
        }
        outputs.open |= ty.is_none_or(|oid| oid == types::RECORD);
        let name = alias.map_or_else(|| call_name(call), |alias| alias.aliasname.as_str());
        outputs.columns.push(Output::made(name, ty, Lineage::default()));
    }

    /// A function's columns as the caller defines them, in place of what stands from `begins` on.
    fn column_definitions(&mut self, definitions: &[Node], begins: usize, outputs: &mut Outputs) {
        if !definitions.is_empty() {
            outputs.columns.truncate(begins);
            // Of those before it, it is not known.
            outputs.open &= begins > 0;
        }
        for node in definitions {
            let Some(NodeEnum::ColumnDef(definition)) = inner(node) else { continue };
            let ty = definition.type_name.as_ref().and_then(|name| self.type_of(name));
            if let Some(ty) = ty {
                self.coerce(None, ty);
            }
            outputs.columns.push(Output::made(definition.colname.as_str(), ty, Lineage::default()));
        }
    }

    fn sample(&mut self, sample: &pb::RangeTableSample) {
        if let Some(relation) = &sample.relation {
            self.add_source(relation);
        }
        self.deciding(|this| {
            this.expressions(&sample.args);
            this.optional(sample.repeatable.as_ref());
        });
        let (schema, name) = qualified(&sample.method);
        for routine in self.routines(schema, name, 1) {
            if !routine.built_in() {
                self.run_routine(routine);
            }
        }
    }

    fn xml_table(&mut self, table: &pb::RangeTableFunc) {
        let (mut outputs, lineage) = self.traced(|this| this.xml_columns(table));
        self.tests(&lineage, Comparison::Any);
        outputs.come_from(&lineage);
        rename_by_alias(&mut outputs, table.alias.as_ref());
        self.source(table.alias.as_ref(), "xmltable", None, outputs);
    }

    fn xml_columns(&mut self, table: &pb::RangeTableFunc) -> Outputs {
        self.optional(table.docexpr.as_ref());
        self.optional(table.rowexpr.as_ref());
        self.expressions(&table.namespaces);
        let mut outputs = Outputs::default();
        for node in &table.columns {
            let Some(NodeEnum::RangeTableFuncCol(column)) = inner(node) else { continue };
            self.optional(column.colexpr.as_ref());
            self.optional(column.coldefexpr.as_ref());
            let ty = column.type_name.as_ref().and_then(|name| self.type_of(name));
            if let Some(ty) = ty {
                self.coerce(Some(types::TEXT), ty);
            }
            outputs.columns.push(Output::made(column.colname.as_str(), ty, Lineage::default()));
        }
        outputs
    }

    fn json_table(&mut self, table: &pb::JsonTable) {
        let mut outputs = Outputs { open: true, ..Outputs::default() };
        let ((), lineage) = self.traced(|this| {
            this.json_value(table.context_item.as_deref());
            this.expressions(&table.passing);
            this.json_columns(&table.columns, &mut outputs);
            if let Some(behavior) = &table.on_error {
                this.optional(behavior.expr.as_ref());
            }
        });
        self.tests(&lineage, Comparison::Any);
        outputs.come_from(&lineage);
        outputs.rest = Some(lineage);
        rename_by_alias(&mut outputs, table.alias.as_ref());
        self.source(table.alias.as_ref(), "json_table", None, outputs);
    }

    fn json_columns(&mut self, columns: &[Node], outputs: &mut Outputs) {
        for node in columns {
            let Some(NodeEnum::JsonTableColumn(column)) = inner(node) else { continue };
            let ty = column.type_name.as_ref().and_then(|name| self.type_of(name));
            if let Some(ty) = ty {
                self.coerce(Some(types::JSON), ty);
            }
            for behavior in [&column.on_empty, &column.on_error].into_iter().flatten() {
                self.optional(behavior.expr.as_ref());
            }
            outputs.columns.push(Output::made(column.name.as_str(), ty, Lineage::default()));
            self.deeper(|this| this.json_columns(&column.columns, outputs));
        }
    }
}

/// Whether a set operation has nothing of its own but its two sides.
fn plain_chain(select: &SelectStmt) -> bool {
    matches!(select.op(), SetOperation::SetopUnion | SetOperation::SetopIntersect | SetOperation::SetopExcept)
        && select.with_clause.is_none()
        && select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.locking_clause.is_empty()
        && select.into_clause.is_none()
}

/// A CTE's columns by the names it gives them. The order of a search and the path of a cycle are columns of their own.
fn named_by(mut outputs: Outputs, cte: &CommonTableExpr) -> Outputs {
    rename(&mut outputs, &cte.aliascolnames);
    let adds_columns = cte.search_clause.is_some() || cte.cycle_clause.is_some();
    if adds_columns {
        let all = outputs.lineage();
        outputs.more(&all);
        outputs.open = true;
        outputs.listed = false;
    }
    outputs
}

fn named_columns(names: &[Node]) -> Vec<Output> {
    strings(names).into_iter().map(|name| Output::made(name, None, Lineage::untold())).collect()
}

fn rename(outputs: &mut Outputs, names: &[Node]) {
    let names = strings(names);
    if names.len() > outputs.columns.len() || (outputs.open && !names.is_empty()) {
        outputs.blend(&Lineage::default());
        let all = outputs.lineage();
        let unknown = |name: &&str| Output::made(*name, None, all.clone());
        outputs.columns.extend(names.iter().map(unknown));
        return;
    }
    for (column, name) in outputs.columns.iter_mut().zip(names) {
        column.name = Arc::from(name);
    }
}

fn rename_by_alias(outputs: &mut Outputs, alias: Option<&Alias>) {
    if let Some(alias) = alias {
        rename(outputs, &alias.colnames);
    }
}

fn function_name(node: &Node) -> &str {
    match inner(node) {
        Some(NodeEnum::List(pair)) => pair.items.first().map(call_name).unwrap_or_default(),
        _ => "",
    }
}

/// `unnest` of several arrays is one call for each, side by side (`transformRangeFunction` in the server's `parse_clause.c`); nothing where it is not that.
fn unnested_apart(call: &Node) -> Vec<Node> {
    let Some(NodeEnum::FuncCall(function)) = inner(call) else { return Vec::new() };
    let plain = function.agg_order.is_empty()
        && function.agg_filter.is_none()
        && function.over.is_none()
        && !function.agg_distinct
        && !function.func_variadic;
    if function.args.len() < 2 || !plain || strings(&function.funcname) != ["unnest"] {
        return Vec::new();
    }
    // The server's own is meant, whatever the search path finds.
    let name = |text: &str| Node { node: Some(NodeEnum::String(pb::String { sval: text.to_owned() })) };
    let alone = |argument: &Node| {
        let call = pb::FuncCall { funcname: vec![name("pg_catalog"), name("unnest")], args: vec![argument.clone()], ..(**function).clone() };
        Node { node: Some(NodeEnum::FuncCall(Box::new(call))) }
    };
    function.args.iter().map(alone).collect()
}

fn call_name(node: &Node) -> &str {
    match inner(node) {
        Some(NodeEnum::FuncCall(call)) => qualified(&call.funcname).1,
        Some(NodeEnum::CoalesceExpr(_)) => "coalesce",
        _ => "?column?",
    }
}
