//! Expressions: what they read, call and cast, and of which type they are as far as that can be told.

#![expect(clippy::borrowed_box, reason = "the generated tree has optional boxes, and `Option<&Box<_>>` is what `as_ref` gives of them")]

use std::sync::Arc;

use model::facts::Comparison;
use pg_query::{
    NodeEnum,
    protobuf::{self as pb, AExpr, AExprKind, ColumnRef, FuncCall, Node, SubLink, SubLinkType, TypeCast, a_const::Val},
};

use super::{
    analysis::{Analysis, Output, Outputs, Ty, boxed, inner, strings},
    builtins::{self, Nature},
    catalog::Routine,
    definitions::computes,
    lineage::Lineage,
    names::qualified,
    types::{self, unanimous},
};

/// Most columns of a result (`MaxTupleAttributeNumber` in the server's `htup_details.h`).
const MAX_COLUMNS: usize = 1_664;

impl<'a> Analysis<'a> {
    /// Several expressions, for what they do only.
    pub(super) fn expressions(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.expression(node);
        }
    }

    /// An expression that may be absent.
    pub(super) fn optional(&mut self, node: Option<&Box<Node>>) -> Ty {
        node.and_then(|node| self.expression(node))
    }

    /// An expression. Its type, if that can be told.
    pub(super) fn expression(&mut self, node: &Node) -> Ty {
        let node = inner(node)?;
        self.deeper(|this| this.node(node))
    }

    fn node(&mut self, node: &NodeEnum) -> Ty {
        match node {
            NodeEnum::ColumnRef(column) => self.column(column),
            NodeEnum::AConst(constant) => {
                self.parameters.looks.see(constant.location);
                Some(constant_type(constant))
            }
            NodeEnum::ParamRef(_) => {
                self.gathered.merge(&self.passed);
                None
            }
            NodeEnum::SetToDefault(_) | NodeEnum::CaseTestExpr(_) | NodeEnum::CurrentOfExpr(_) | NodeEnum::AStar(_) => None,
            NodeEnum::AExpr(expression) => self.operation(expression),
            NodeEnum::BoolExpr(expression) => self.branching(|this| this.all(&expression.args, types::BOOL)),
            NodeEnum::NullTest(test) => self.then(test.arg.as_ref(), types::BOOL),
            NodeEnum::BooleanTest(test) => self.then(test.arg.as_ref(), types::BOOL),
            NodeEnum::TypeCast(cast) => self.cast(cast),
            NodeEnum::CollateClause(clause) => {
                self.collates = true;
                self.optional(clause.arg.as_ref())
            }
            NodeEnum::FuncCall(call) => self.call(call),
            NodeEnum::SubLink(link) => self.sublink(link),
            NodeEnum::CaseExpr(case) => self.branching(|this| this.case(case)),
            NodeEnum::CoalesceExpr(coalesce) => self.branching(|this| this.first_type(&coalesce.args)),
            NodeEnum::MinMaxExpr(extreme) => self.first_type(&extreme.args),
            NodeEnum::SqlvalueFunction(_) | NodeEnum::MergeSupportFunc(_) => None,
            NodeEnum::AArrayExpr(array) => self.array(&array.elements),
            NodeEnum::RowExpr(row) => self.all(&row.args, types::RECORD),
            NodeEnum::AIndirection(indirection) => self.indirection(indirection),
            NodeEnum::GroupingFunc(grouping) => self.all(&grouping.args, types::INT4),
            NodeEnum::NamedArgExpr(argument) => self.optional(argument.arg.as_ref()),
            NodeEnum::MultiAssignRef(assign) => self.optional(assign.source.as_ref()),
            NodeEnum::List(list) => self.nothing_of(&list.items),
            NodeEnum::ResTarget(target) => self.optional(target.val.as_ref()),
            NodeEnum::SortBy(sort) => self.sort(sort),
            NodeEnum::GroupingSet(set) => self.nothing_of(&set.content),
            NodeEnum::WindowDef(window) => self.window(window),
            NodeEnum::XmlExpr(xml) => {
                self.can_fail = true;
                self.all(&xml.args, types::XML).and(self.all(&xml.named_args, types::XML))
            }
            NodeEnum::XmlSerialize(xml) => {
                self.can_fail = true;
                self.then(xml.expr.as_ref(), types::TEXT)
            }
            // The select of an INSERT's or assignment's parenthesised list.
            NodeEnum::SelectStmt(select) => self.select(select).columns.first().and_then(|column| column.ty),
            other => self.json(other),
        }
    }

    /// An array that is written out. Arrays in it must be alike, of other elements any will do.
    fn array(&mut self, elements: &[Node]) -> Ty {
        let found: Vec<Ty> = elements.iter().map(|node| self.given_type(node)).collect();
        let single = |ty: &Ty| ty.is_some_and(|ty| self.catalog.type_by_oid(self.catalog.base_type(ty)).is_some_and(|kind| kind.element == 0));
        let mut types: Vec<Ty> = found.iter().copied().filter(|ty| *ty != Some(types::UNKNOWN)).collect();
        types.dedup();
        let all_single = types.iter().all(single);
        self.can_fail |= !all_single;
        self.weigh_union(&found);
        match types.as_slice() {
            // A parameter may have been declared as of any type.
            _ if elements.is_empty() || elements.iter().any(|node| matches!(inner(node), Some(NodeEnum::ParamRef(_)))) => None,
            [] => self.array_of(types::TEXT),
            [Some(only)] if all_single => self.array_of(*only),
            _ => None,
        }
    }

    fn nothing_of(&mut self, nodes: &[Node]) -> Ty {
        self.expressions(nodes);
        None
    }

    fn all(&mut self, nodes: &[Node], ty: u32) -> Ty {
        self.expressions(nodes);
        Some(ty)
    }

    fn then(&mut self, node: Option<&Box<Node>>, ty: u32) -> Ty {
        self.optional(node);
        Some(ty)
    }

    fn first_type(&mut self, nodes: &[Node]) -> Ty {
        let found: Vec<Ty> = nodes.iter().map(|node| self.given_type(node)).collect();
        self.weigh_union(&found);
        found.into_iter().flatten().find(|ty| *ty != types::UNKNOWN)
    }

    /// A column, a whole row, or a function written as a column (`people.get_ssn`).
    fn column(&mut self, column: &ColumnRef) -> Ty {
        let names = strings(&column.fields);
        if matches!(column.fields.last().and_then(inner), Some(NodeEnum::AStar(_))) {
            let known = names.last().is_some_and(|alias| self.gather_row(alias));
            self.gathered.untold |= !known;
            return None;
        }
        match names.as_slice() {
            [name] => {
                self.gather_bare(name);
                self.bare_column(name)
            }
            [.., source, name] => {
                self.gather_qualified(source, name);
                self.qualified_column(source, name)
            }
            [] => None,
        }
    }

    fn bare_column(&self, name: &str) -> Ty {
        match self.type_named(None, name) {
            Some(ty) => ty,
            None => self.row_named(name).map(|relation| relation.unwrap_or(types::RECORD)),
        }
    }

    /// The type of the column that a name means; none if there is no such column, no type if it may be one of several.
    fn type_named(&self, alias: Option<&str>, name: &str) -> Option<Ty> {
        let mut known = None;
        for source in self.sources_of(alias, name) {
            for column in source.outputs.columns.iter().filter(|column| *column.name == *name) {
                known = Some(known.map_or(column.ty, |ty| if ty == column.ty { ty } else { None }));
            }
            if source.outputs.rest.is_some() || source.outputs.untold() {
                known = known.map(|_| None);
            }
        }
        known
    }

    /// The row type of a source of this name, if there is one: `Some(None)` if its rows have no named type.
    fn row_named(&self, alias: &str) -> Option<Ty> {
        let source = self.scopes.iter().rev().flat_map(|scope| &scope.sources).find(|source| &*source.alias == alias)?;
        Some(source.relation.and_then(|oid| self.catalog.relation_by_oid(oid)).map(|relation| relation.row_type))
    }

    fn qualified_column(&mut self, alias: &str, name: &str) -> Ty {
        let known = self.type_named(Some(alias), name);
        let every = self.sources_of(Some(alias), name).iter().all(|source| source.outputs.columns.iter().any(|column| *column.name == *name));
        if let Some(ty) = known.filter(|_| every) {
            return ty;
        }
        let row = self.row_named(alias).flatten();
        self.field_function(name, row)
    }

    /// `value.name` where no such field is known: a function of one argument may be meant.
    fn field_function(&mut self, name: &str, argument: Ty) -> Ty {
        let candidates = self.routines("", name, 1);
        if candidates.is_empty() {
            if self.touched.contains(name) {
                self.found.doubt("it uses a function that an earlier statement of the same message makes or changes");
            }
            return None;
        }
        self.run_chosen(candidates, &[argument], &[])
    }

    fn indirection(&mut self, indirection: &pb::AIndirection) -> Ty {
        let mut ty = self.optional(indirection.arg.as_ref());
        for step in indirection.indirection.iter().filter_map(inner) {
            ty = match step {
                NodeEnum::String(field) => self.field(ty, &field.sval),
                NodeEnum::AIndices(indices) => {
                    let literal = |node: &Option<Box<Node>>| node.as_deref().is_none_or(|node| matches!(inner(node), Some(NodeEnum::AConst(_))));
                    self.can_fail |= !(literal(&indices.lidx) && literal(&indices.uidx));
                    self.optional(indices.lidx.as_ref());
                    self.optional(indices.uidx.as_ref());
                    let element = ty.and_then(|oid| self.catalog.type_by_oid(oid)).map_or(0, |kind| kind.element);
                    if indices.is_slice { ty } else { Some(element).filter(|element| *element != 0) }
                }
                _ => None,
            };
        }
        ty
    }

    fn field(&mut self, ty: Ty, name: &str) -> Ty {
        let relation = ty.and_then(|oid| self.catalog.relation_of_row_type(oid));
        match relation.and_then(|relation| relation.column(name)) {
            Some(column) => Some(column.type_oid),
            None => self.field_function(name, ty),
        }
    }

    fn operation(&mut self, expression: &AExpr) -> Ty {
        let (schema, name) = qualified(&expression.name);
        if let Some(rows) = self.rows_compared(expression) {
            for (left, right) in rows {
                self.weigh_operator(name, left, right);
                self.operator(schema, name, Some(left), right);
            }
            return Some(types::BOOL);
        }
        let left = expression.lexpr.as_ref().map(|node| self.given_type(node));
        match expression.kind() {
            AExprKind::AexprIn => self.branching(|this| this.in_list(&[(schema, name)], left, expression.rexpr.as_ref())),
            AExprKind::AexprBetween | AExprKind::AexprNotBetween | AExprKind::AexprBetweenSym | AExprKind::AexprNotBetweenSym => {
                self.in_list(&[("", ">="), ("", "<=")], left, expression.rexpr.as_ref())
            }
            AExprKind::AexprOpAny | AExprKind::AexprOpAll => {
                let array = self.optional(expression.rexpr.as_ref());
                let element = array.and_then(|oid| self.catalog.type_by_oid(oid)).map(|kind| kind.element).filter(|element| *element != 0);
                self.weigh_operator(name, left.flatten(), element);
                self.operator(schema, name, left, element);
                Some(types::BOOL)
            }
            AExprKind::AexprNullif => {
                let right = expression.rexpr.as_deref().and_then(|node| self.given_type(node));
                self.weigh_operator(name, left.flatten(), right);
                self.operator(schema, name, left, right);
                left.flatten()
            }
            _ => {
                let right = expression.rexpr.as_deref().and_then(|node| self.given_type(node));
                self.weigh_operator(name, left.flatten(), right);
                self.operator(schema, name, left, right)
            }
        }
    }

    /// Rows are compared field by field (`make_row_comparison_op` in the server's `parse_expr.c`): the types of each two; none if no side is a row that is
    /// written out.
    fn rows_compared(&mut self, expression: &AExpr) -> Option<Vec<(Ty, Ty)>> {
        let fields = |node: Option<&'_ Node>| match node.and_then(inner) {
            Some(NodeEnum::RowExpr(row)) => Some(row.args.clone()),
            _ => None,
        };
        if !matches!(expression.kind(), AExprKind::AexprOp | AExprKind::AexprDistinct | AExprKind::AexprNotDistinct) {
            return None;
        }
        match (fields(expression.lexpr.as_deref()), fields(expression.rexpr.as_deref())) {
            (Some(left), Some(right)) if left.len() == right.len() => {
                let left: Vec<Ty> = left.iter().map(|node| self.given_type(node)).collect();
                let right: Vec<Ty> = right.iter().map(|node| self.given_type(node)).collect();
                Some(left.into_iter().zip(right).collect())
            }
            (None, None) => None,
            _ => {
                self.optional(expression.lexpr.as_ref());
                self.optional(expression.rexpr.as_ref());
                Some(vec![(None, None)])
            }
        }
    }

    /// The type of an expression; a parameter is taken for what it stands beside.
    fn given_type(&mut self, node: &Node) -> Ty {
        let ty = self.expression(node);
        if matches!(inner(node), Some(NodeEnum::ParamRef(_))) { Some(types::UNKNOWN) } else { ty }
    }

    fn in_list(&mut self, operators: &[(&str, &str)], left: Option<Ty>, list: Option<&Box<Node>>) -> Ty {
        let Some(NodeEnum::List(list)) = boxed(list) else { return Some(types::BOOL) };
        let mut seen: Vec<Ty> = vec![];
        for item in &list.items {
            let ty = self.given_type(item);
            if !seen.contains(&ty) {
                seen.push(ty);
                for (schema, name) in operators {
                    self.weigh_operator(name, left.flatten(), ty);
                    self.operator(schema, name, left, ty);
                }
            }
        }
        Some(types::BOOL)
    }

    fn cast(&mut self, cast: &TypeCast) -> Ty {
        let from = self.optional(cast.arg.as_ref());
        let name = cast.type_name.as_ref()?;
        let to = self.type_of(name);
        self.weigh_cast(cast, to);
        match to {
            Some(to) => self.coerce(from, to),
            None if name.setof || name.pct_type => self.found.doubt("it casts to a type that is not named plainly"),
            None if name.array_bounds.is_empty() => self.missing_type(name),
            None => {
                if let Some(element) = self.element_of(name) {
                    self.coerce(None, element);
                }
            }
        }
        to
    }

    pub(super) fn missing_type(&mut self, name: &pb::TypeName) {
        if !name.pct_type {
            self.found.missing("42704", format!("type \"{}\" does not exist", strings(&name.names).join(".")));
        }
    }

    fn case(&mut self, case: &pb::CaseExpr) -> Ty {
        let subject = case.arg.as_ref().map(|node| self.expression(node));
        let mut results = vec![];
        for node in &case.args {
            let Some(NodeEnum::CaseWhen(when)) = inner(node) else { continue };
            let condition = self.optional(when.expr.as_ref());
            if subject.is_some() {
                self.weigh_operator("=", subject.flatten(), condition);
                self.operator("", "=", subject, condition);
            }
            results.extend(when.result.as_deref().map(|node| self.given_type(node)));
        }
        if let Some(otherwise) = &case.defresult {
            results.push(self.given_type(otherwise));
        }
        self.weigh_union(&results);
        results.into_iter().flatten().find(|ty| *ty != types::UNKNOWN)
    }

    fn sublink(&mut self, link: &SubLink) -> Ty {
        let row = link.testexpr.as_deref().is_some_and(|node| matches!(inner(node), Some(NodeEnum::RowExpr(_))));
        let test = link.testexpr.as_ref().map(|node| self.given_type(node)).map(|ty| ty.filter(|_| !row));
        let Some(NodeEnum::SelectStmt(select)) = boxed(link.subselect.as_ref()) else { return None };
        let outputs = match link.sub_link_type() {
            // What it selects is not looked at.
            SubLinkType::ExistsSublink if !self.set_up => self.apart(|this| this.select(select)),
            _ => self.select(select),
        };
        // It fails where it has more than one row, which tells something where a value decides whether it is looked at.
        self.can_fail |= self.branches && matches!(link.sub_link_type(), SubLinkType::ExprSublink | SubLinkType::RowcompareSublink);
        self.can_fail |= link.sub_link_type() == SubLinkType::ArraySublink;
        let first = outputs.columns.first().and_then(|column| column.ty);
        match link.sub_link_type() {
            SubLinkType::ExistsSublink => Some(types::BOOL),
            SubLinkType::AnySublink | SubLinkType::AllSublink | SubLinkType::RowcompareSublink => {
                let (schema, name) = if link.oper_name.is_empty() { ("", "=") } else { qualified(&link.oper_name) };
                for column in &outputs.columns {
                    self.weigh_operator(name, test.flatten(), column.ty);
                    // A row on the left is compared field by field; its fields' types are not kept.
                    let left = if outputs.columns.len() == 1 { test.flatten() } else { None };
                    self.operator(schema, name, Some(left), column.ty);
                }
                Some(types::BOOL)
            }
            SubLinkType::ExprSublink => first,
            _ => None,
        }
    }

    fn sort(&mut self, sort: &pb::SortBy) -> Ty {
        let ty = self.optional(sort.node.as_ref());
        if !sort.use_op.is_empty() {
            let (schema, name) = qualified(&sort.use_op);
            self.operator(schema, name, Some(ty), ty);
        }
        ty
    }

    pub(super) fn window(&mut self, window: &pb::WindowDef) -> Ty {
        self.deciding(|this| {
            this.expressions(&window.partition_clause);
            this.expressions(&window.order_clause);
            this.optional(window.start_offset.as_ref());
            this.optional(window.end_offset.as_ref());
        });
        None
    }

    /// A call; its type, if that can be told.
    pub(super) fn call(&mut self, call: &FuncCall) -> Ty {
        // Traced by itself, so that what the function is handed is known when it runs.
        self.traced(|this| this.call_with(call)).0
    }

    fn call_with(&mut self, call: &FuncCall) -> Ty {
        let mut arguments: Vec<Ty> = call.args.iter().map(|node| self.expression(node)).collect();
        self.counts(call);
        let ordered = self.aggregate_order(call);
        self.decides(call.agg_filter.as_deref());
        if let Some(window) = &call.over {
            self.window(window);
        }
        if call.agg_within_group {
            arguments.extend(ordered);
        }
        let (schema, name) = qualified(&call.funcname);
        if self.touched.contains(name) {
            self.found.doubt("it uses a function that an earlier statement of the same message makes or changes");
        }
        let candidates = self.routines(schema, name, arguments.len());
        if candidates.is_empty() {
            let ty = self.call_of_nothing(schema, name, call, &arguments);
            self.can_fail = true;
            self.handed = Some(self.gathered.clone());
            return ty;
        }
        if self.unsettled && candidates.iter().any(|routine| !routine.built_in()) {
            self.found.doubt("an earlier statement of the same message may have changed what its names mean");
        }
        let handed = self.gathered.clone();
        let ty = self.run_chosen(candidates, &arguments, &call.args);
        self.handed = Some(handed);
        ty
    }

    /// `ORDER BY` inside a call, and `WITHIN GROUP`, whose expressions are arguments as well.
    fn aggregate_order(&mut self, call: &FuncCall) -> Vec<Ty> {
        let (types, lineage) = self.traced(|this| call.agg_order.iter().map(|node| this.expression(node)).collect());
        self.tests(&lineage, Comparison::Any);
        types
    }

    fn run_chosen(&mut self, candidates: Vec<&'a Routine>, arguments: &[Ty], values: &[Node]) -> Ty {
        let chosen = self.choose_routines(candidates, arguments);
        let mut natures: Vec<&str> = vec![];
        for routine in &chosen {
            self.hand_over(routine);
            if !routine.built_in() {
                self.run_routine(routine);
            } else if !natures.contains(&&*routine.name) {
                natures.push(&routine.name);
                self.run_built_in(routine, values);
                self.weigh_call(routine, arguments, values);
            }
            for (actual, declared) in arguments.iter().zip(&routine.arguments) {
                self.coerce_argument(*actual, *declared);
            }
        }
        unanimous(chosen.iter().map(|routine| routine.returns))
    }

    /// A function that may keep what it is handed counts as storing it.
    pub(super) fn hand_over(&mut self, routine: &Routine) {
        let keeps = if routine.built_in() {
            builtins::nature(&routine.name, routine.volatility) != Nature::Pure
        } else {
            // The body of one in SQL is followed with its arguments.
            routine.volatility == 'v' && &*routine.language != "sql" && !computes(routine)
        };
        if keeps {
            let handed = self.gathered.clone();
            self.store(&handed);
        }
    }

    /// No function of this name takes that many arguments: a cast or a field may be meant, or nothing.
    fn call_of_nothing(&mut self, schema: &str, name: &str, call: &FuncCall, arguments: &[Ty]) -> Ty {
        if let [argument] = arguments {
            if let Some(ty) = self.find_type(schema, name) {
                self.coerce(*argument, ty);
                return Some(ty);
            }
            let row = argument.and_then(|oid| self.catalog.relation_of_row_type(oid));
            if schema.is_empty() && (*argument == Some(types::RECORD) || row.is_some_and(|row| row.column(name).is_some())) {
                return row.and_then(|row| row.column(name)).map(|column| column.type_oid);
            }
        }
        let shown = strings(&call.funcname).join(".");
        if !schema.is_empty() && !self.catalog.has_schema(self.real_schema(schema)) {
            self.found.missing("3F000", format!("schema \"{schema}\" does not exist"));
            return None;
        }
        let listed: Vec<String> = arguments.iter().map(|ty| self.type_name(*ty)).collect();
        self.found.missing("42883", format!("function {shown}({}) does not exist", listed.join(", ")));
        None
    }

    /// The JSON constructors and predicates of the standard.
    fn json(&mut self, node: &NodeEnum) -> Ty {
        self.can_fail |= !matches!(node, NodeEnum::JsonValueExpr(_));
        match node {
            NodeEnum::JsonValueExpr(value) => return self.optional(value.raw_expr.as_ref()),
            NodeEnum::JsonIsPredicate(predicate) => return self.then(predicate.expr.as_ref(), types::BOOL),
            NodeEnum::JsonObjectConstructor(object) => self.expressions(&object.exprs),
            NodeEnum::JsonArrayConstructor(array) => self.expressions(&array.exprs),
            NodeEnum::JsonArrayQueryConstructor(array) => drop(self.optional(array.query.as_ref())),
            NodeEnum::JsonKeyValue(pair) => {
                self.optional(pair.key.as_ref());
                self.json_value(pair.value.as_deref());
            }
            NodeEnum::JsonObjectAgg(aggregate) => {
                self.json_aggregate(aggregate.constructor.as_deref());
                if let Some(pair) = &aggregate.arg {
                    self.optional(pair.key.as_ref());
                    self.json_value(pair.value.as_deref());
                }
            }
            NodeEnum::JsonArrayAgg(aggregate) => {
                self.json_aggregate(aggregate.constructor.as_deref());
                self.json_value(aggregate.arg.as_deref());
            }
            NodeEnum::JsonParseExpr(parse) => self.json_value(parse.expr.as_deref()),
            NodeEnum::JsonScalarExpr(scalar) => drop(self.optional(scalar.expr.as_ref())),
            NodeEnum::JsonSerializeExpr(serialize) => self.json_value(serialize.expr.as_deref()),
            NodeEnum::JsonFuncExpr(function) => self.json_function(function),
            NodeEnum::JsonArgument(argument) => self.json_value(argument.val.as_deref()),
            NodeEnum::JsonTablePathSpec(path) => drop(self.optional(path.string.as_ref())),
            _ => self.found.doubt("it holds an expression of a kind that is not known"),
        }
        None
    }

    pub(super) fn json_value(&mut self, value: Option<&pb::JsonValueExpr>) {
        if let Some(value) = value {
            self.optional(value.raw_expr.as_ref());
        }
    }

    fn json_aggregate(&mut self, constructor: Option<&pb::JsonAggConstructor>) {
        let Some(constructor) = constructor else { return };
        self.decides(constructor.agg_filter.as_deref());
        self.deciding(|this| this.expressions(&constructor.agg_order));
        if let Some(window) = &constructor.over {
            self.window(window);
        }
        self.json_output(constructor.output.as_ref());
    }

    fn json_output(&mut self, output: Option<&pb::JsonOutput>) {
        if let Some(name) = output.and_then(|output| output.type_name.as_ref())
            && let Some(ty) = self.type_of(name)
        {
            self.coerce(Some(types::TEXT), ty);
        }
    }

    fn json_function(&mut self, function: &pb::JsonFuncExpr) {
        self.json_value(function.context_item.as_deref());
        self.optional(function.pathspec.as_ref());
        self.expressions(&function.passing);
        self.json_output(function.output.as_ref());
        for behavior in [&function.on_empty, &function.on_error].into_iter().flatten() {
            self.optional(behavior.expr.as_ref());
        }
    }

    /// The columns a target list gives.
    pub(super) fn targets(&mut self, targets: &[Node]) -> Outputs {
        let mut outputs = Outputs::default();
        let mut many = 0;
        for node in targets {
            many += 1;
            if outputs.columns.len() >= MAX_COLUMNS || many > MAX_COLUMNS {
                self.found.doubt("it has more columns than a result can have");
                break;
            }
            let Some(NodeEnum::ResTarget(target)) = inner(node) else { continue };
            let Some(value) = &target.val else { continue };
            if let Some(star) = star(value) {
                self.expand_star(&star, &mut outputs);
                continue;
            }
            let (ty, lineage) = self.made_for_show(value);
            if gives_many(value) {
                outputs.blend(&lineage);
                continue;
            }
            let own = column_name(value);
            if target.name.is_empty() && own.is_none() {
                outputs.more(&lineage);
            }
            let name = if target.name.is_empty() { own.as_deref().unwrap_or("?column?") } else { &target.name };
            let (harmless, plain) = (self.is_harmless(value) && lineage == Lineage::default(), self.is_plain(value));
            outputs.columns.push(Output { name: Arc::from(name), ty, harmless, lineage, plain });
        }
        outputs
    }

    fn expand_star(&mut self, fields: &[String], outputs: &mut Outputs) {
        let Some(scope) = self.scopes.last() else { return };
        let wanted = fields.last();
        let mut any = false;
        let mut told = !outputs.untold();
        let mut gathered = Lineage::default();
        for source in scope.sources.iter().filter(|source| wanted.is_none_or(|alias| **alias == *source.alias)) {
            any = true;
            told &= !source.outputs.untold();
            gathered.merge(&source.outputs.lineage());
            outputs.open |= source.outputs.open;
            outputs.columns.extend(source.outputs.columns.iter().map(|column| Output { harmless: false, ..column.clone() }));
        }
        outputs.open |= !any || (wanted.is_none() && scope.merges);
        outputs.listed = told && any;
        let matched = scope.sources.iter().filter(|source| wanted.is_none_or(|alias| **alias == *source.alias));
        let more: Vec<Lineage> = matched.clone().filter_map(|source| source.outputs.rest.clone()).collect();
        // Of two of one name, one is hidden.
        let twice = wanted.is_some() && matched.count() > 1;
        more.iter().for_each(|lineage| outputs.more(lineage));
        if !told || !any {
            outputs.more(&Lineage::untold());
        }
        if twice {
            outputs.blend(&Lineage::default());
        }
        self.gathered.merge(&gathered);
        if outputs.columns.len() > MAX_COLUMNS {
            outputs.columns.truncate(MAX_COLUMNS);
            outputs.blend(&Lineage::untold());
            self.found.doubt("it has more columns than a result can have");
        }
    }

    /// Whether an expression is a column whose values are those of columns of relations, unchanged.
    pub(super) fn is_plain(&self, node: &Node) -> bool {
        let Some(NodeEnum::ColumnRef(column)) = inner(node) else { return false };
        let names = strings(&column.fields);
        let (alias, name) = match names.as_slice() {
            [name] => (None, *name),
            [.., alias, name] => (Some(*alias), *name),
            [] => return false,
        };
        let sources = self.sources_of(alias, name);
        let mut plain = None;
        for source in sources {
            let beside = source.outputs.untold() || source.outputs.rest.as_ref().is_some_and(|rest| *rest != Lineage::default());
            let shows = source.outputs.shows_plainly(name).or_else(|| beside.then_some(false));
            plain = shows.map_or(plain, |shows| Some(plain.unwrap_or(true) && shows));
        }
        plain.unwrap_or(false)
    }

    /// Whether a result column is a constant or `count(*)`.
    fn is_harmless(&self, node: &Node) -> bool {
        match inner(node) {
            Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
            Some(NodeEnum::TypeCast(cast)) => {
                cast.arg.as_ref().is_some_and(|node| matches!(inner(node), Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_))))
            }
            Some(NodeEnum::FuncCall(call)) => {
                let (schema, name) = qualified(&call.funcname);
                call.agg_star && name == "count" && call.over.is_none() && self.routines(schema, name, 0).iter().all(|routine| routine.built_in())
            }
            _ => false,
        }
    }
}

fn constant_type(constant: &pb::AConst) -> u32 {
    match &constant.val {
        Some(Val::Ival(_)) => types::INT4,
        Some(Val::Fval(number)) => {
            if number.fval.parse::<i64>().is_ok() {
                types::INT8
            } else {
                types::NUMERIC
            }
        }
        Some(Val::Boolval(_)) => types::BOOL,
        Some(Val::Bsval(_)) => types::BIT,
        Some(Val::Sval(_)) | None => types::UNKNOWN,
    }
}

/// The qualification of a `*`, if the node is one.
pub(super) fn star(node: &Node) -> Option<Vec<String>> {
    let Some(NodeEnum::ColumnRef(column)) = inner(node) else { return None };
    matches!(column.fields.last().and_then(inner), Some(NodeEnum::AStar(_))).then(|| strings(&column.fields).into_iter().map(str::to_owned).collect())
}

/// Whether it is `(x).*`, which gives a column for each field.
pub(super) fn gives_many(node: &Node) -> bool {
    matches!(inner(node), Some(NodeEnum::AIndirection(steps)) if matches!(steps.indirection.last().and_then(inner), Some(NodeEnum::AStar(_))))
}

/// The name PostgreSQL gives a column without one (`FigureColnameInternal` in `parse_target.c`); none where that is not certain.
fn column_name(node: &Node) -> Option<String> {
    let (name, _) = figured(node, 0)?;
    Some(name.unwrap_or_else(|| "?column?".to_owned()))
}

/// A name and how good it is, up to 2.
fn figured(node: &Node, depth: u8) -> Option<(Option<String>, u8)> {
    let depth = Some(depth + 1).filter(|depth| *depth < 64)?;
    let good = |name: &str| Some((Some(name.to_owned()), 2));
    let last = |names: &[Node]| strings(names).last().map(|name| (*name).to_owned());
    let below = |node: Option<&Node>| node.map_or(Some((None, 0)), |node| figured(node, depth));
    match inner(node)? {
        NodeEnum::ColumnRef(column) => Some((last(&column.fields), 2)),
        NodeEnum::AIndirection(steps) => match last(&steps.indirection) {
            Some(name) => good(&name),
            None => below(steps.arg.as_deref()),
        },
        NodeEnum::FuncCall(call) => good(qualified(&call.funcname).1),
        NodeEnum::AExpr(expression) if expression.kind() == AExprKind::AexprNullif => good("nullif"),
        NodeEnum::TypeCast(cast) => match below(cast.arg.as_deref())? {
            (_, 0 | 1) if cast.type_name.is_some() => Some((cast.type_name.as_ref().map(|name| qualified(&name.names).1.to_owned()), 1)),
            found => Some(found),
        },
        NodeEnum::CollateClause(clause) => below(clause.arg.as_deref()),
        NodeEnum::GroupingFunc(_) => good("grouping"),
        NodeEnum::MergeSupportFunc(_) => good("merge_action"),
        NodeEnum::SubLink(link) => match link.sub_link_type() {
            SubLinkType::ExistsSublink => good("exists"),
            SubLinkType::ArraySublink => good("array"),
            SubLinkType::ExprSublink => match boxed(link.subselect.as_ref()) {
                Some(NodeEnum::SelectStmt(select)) => match select.target_list.first().and_then(inner) {
                    Some(NodeEnum::ResTarget(target)) if !target.name.is_empty() => good(&target.name),
                    Some(NodeEnum::ResTarget(target)) if target.val.as_deref().is_some_and(|value| star(value).is_none() && !gives_many(value)) => {
                        // By then it has its name, and no cast gives it another.
                        below(target.val.as_deref()).and_then(|(name, _)| good(name.as_deref().unwrap_or("?column?")))
                    }
                    _ => None,
                },
                _ => None,
            },
            _ => Some((None, 0)),
        },
        NodeEnum::CaseExpr(case) => match below(case.defresult.as_deref())? {
            (_, 0 | 1) => Some((Some("case".to_owned()), 1)),
            found => Some(found),
        },
        NodeEnum::AArrayExpr(_) => good("array"),
        NodeEnum::RowExpr(_) => good("row"),
        NodeEnum::CoalesceExpr(_) => good("coalesce"),
        NodeEnum::MinMaxExpr(extreme) => good(if extreme.op() == pb::MinMaxOp::IsGreatest { "greatest" } else { "least" }),
        NodeEnum::AConst(_)
        | NodeEnum::ParamRef(_)
        | NodeEnum::AExpr(_)
        | NodeEnum::BoolExpr(_)
        | NodeEnum::NullTest(_)
        | NodeEnum::BooleanTest(_) => Some((None, 0)),
        _ => None,
    }
}
