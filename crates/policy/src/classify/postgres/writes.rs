//! INSERT, UPDATE, DELETE, MERGE, TRUNCATE, and all that a write sets off: rules, triggers, checks, defaults, foreign keys.

use model::{Action, Object, RowScope};
use pg_query::{
    NodeEnum,
    protobuf::{self as pb, CmdType, DeleteStmt, InsertStmt, MergeMatchKind, MergeStmt, Node, OnConflictAction, RangeVar, SelectStmt, UpdateStmt},
};

use super::{
    ParameterValue,
    analysis::{Analysis, Outputs, Scope, boxed, inner, reference},
    catalog::{KeyAction, Printed, Relation, RelationKind, WriteEvent},
    constants::{self, Value},
    definitions::new_row_of,
    expressions::star,
    lineage::Lineage,
    reaching::makes_many,
};

/// How far foreign keys and rules are followed.
const MAX_CASCADES: usize = 24;

impl<'a> Analysis<'a> {
    pub(super) fn insert(&mut self, insert: &InsertStmt) -> Outputs {
        self.in_own_scope(insert.with_clause.as_ref(), |this| {
            let relation = insert.relation.as_ref().and_then(|range| this.relation(range));
            let query = boxed(insert.select_stmt.as_ref());
            let given = query.map(|query| this.statement(query, "")).unwrap_or_default();
            this.store(&given.lineage());
            this.subscripts(&insert.cols);
            let mut scope = if query.is_none_or(is_values) { RowScope::Bounded } else { RowScope::Selective };
            let mut outputs = Outputs { open: true, ..Outputs::default() };
            if let Some(relation) = relation {
                this.writes(relation, WriteEvent::Insert, Action::Write, true);
                this.assigned(relation, &insert.cols, &given);
                if let Some(target) = insert.relation.as_ref() {
                    this.target_source(target, relation);
                }
                this.inserted(relation, &insert.cols, query);
                let excluded = new_row_of("excluded", relation);
                this.scope().sources.push(excluded);
                if let Some(conflict) = insert.on_conflict_clause.as_deref() {
                    scope = scope.max(this.on_conflict(relation, conflict, query, insert));
                }
                this.scope().sources.pop();
                outputs = this.returning(insert.returning_clause.as_ref(), relation);
            }
            this.found.scope(scope);
            outputs
        })
    }

    fn in_own_scope(&mut self, with: Option<&pb::WithClause>, work: impl FnOnce(&mut Self) -> Outputs) -> Outputs {
        self.deeper(|this| {
            this.scopes.push(Scope::default());
            this.with(with);
            let outputs = work(this);
            this.scopes.pop();
            outputs
        })
    }

    fn target_source(&mut self, range: &RangeVar, relation: &'a Relation) {
        let alias = range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str());
        let source = self.row_below(alias, relation);
        self.scope().sources.push(source);
    }

    /// The columns that come back. What is returned was read.
    fn returning(&mut self, clause: Option<&pb::ReturningClause>, relation: &'a Relation) -> Outputs {
        let Some(clause) = clause else { return Outputs::default() };
        let alone = self.scope().sources.len() == 1;
        for option in &clause.options {
            if let Some(NodeEnum::ReturningOption(option)) = inner(option) {
                let source = self.row_below(&option.value, relation);
                self.scope().sources.push(source);
            }
        }
        for alias in ["old", "new"] {
            if self.scope().sources.iter().any(|source| *source.alias == *alias) {
                continue;
            }
            let source = self.row_below(alias, relation);
            self.scope().sources.push(source);
        }
        self.reads_target(relation);
        let mut outputs = self.targets(&clause.exprs);
        // `*` stands for the target's columns; the rows before and after are sources here only so that they can be named.
        if clause.exprs.iter().any(returns_all) {
            if alone && clause.exprs.len() == 1 {
                outputs = self.row_below("", relation).outputs;
            } else {
                outputs.open = true;
            }
        }
        // A rule may give back what its own action returns.
        if !relation.rules.is_empty() {
            outputs.come_from(&Lineage::untold());
        }
        outputs
    }

    fn reads_target(&mut self, relation: &'a Relation) {
        self.touch(Action::Read, relation, true);
        self.found.opaque |= Self::hides_origin(relation);
    }

    /// The columns of what is written, as they stand among the sources.
    fn row_written(&self, relation: &Relation) -> Outputs {
        let sources = self.scopes.iter().rev().flat_map(|scope| &scope.sources);
        sources.into_iter().find(|source| source.relation == Some(relation.oid)).map(|source| source.outputs.clone()).unwrap_or_default()
    }

    /// Values become those of columns that may have to be unique.
    fn inserted(&mut self, relation: &Relation, columns: &[Node], query: Option<&NodeEnum>) {
        let named = |node: &Node| match inner(node) {
            Some(NodeEnum::ResTarget(target)) => Some(target.name.clone()),
            _ => None,
        };
        let all = || relation.columns.iter().map(|column| column.name.to_string()).collect();
        let names: Vec<String> = if columns.is_empty() { all() } else { columns.iter().filter_map(named).collect() };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let given = match query {
            Some(NodeEnum::SelectStmt(select)) => match select.values_lists.as_slice() {
                [row] => self.given_row(row),
                _ => vec![],
            },
            // DEFAULT VALUES gives none.
            _ => return,
        };
        let target = self.row_written(relation);
        // A column that no value is given for is not filled.
        let filled = if columns.is_empty() && !given.is_empty() { names.get(..given.len()).unwrap_or(&names) } else { &names };
        self.fills(&target, filled, &given);
    }

    /// Values become those of the columns they are stored in.
    fn assigned(&mut self, relation: &Relation, columns: &[Node], given: &Outputs) {
        let named: Vec<u32> = if columns.is_empty() {
            relation.columns.iter().map(|column| column.type_oid).collect()
        } else {
            let names = columns.iter().filter_map(|node| match inner(node) {
                Some(NodeEnum::ResTarget(target)) => Some(target.name.as_str()),
                _ => None,
            });
            names.map(|name| relation.column(name).map_or(0, |column| column.type_oid)).collect()
        };
        for (at, oid) in named.iter().enumerate() {
            self.coerce(given.columns.get(at).and_then(|column| column.ty), *oid);
        }
    }

    fn on_conflict(&mut self, relation: &'a Relation, conflict: &pb::OnConflictClause, query: Option<&NodeEnum>, insert: &InsertStmt) -> RowScope {
        if let Some(infer) = &conflict.infer {
            for element in infer.index_elems.iter().filter_map(inner) {
                if let NodeEnum::IndexElem(element) = element {
                    self.deciding(|this| this.optional(element.expr.as_ref()));
                }
            }
            self.decides(infer.where_clause.as_deref());
        }
        if conflict.action() != OnConflictAction::OnconflictUpdate {
            return RowScope::None;
        }
        self.assignments(relation, &conflict.target_list);
        self.decides(conflict.where_clause.as_deref());
        let scope = match query {
            Some(NodeEnum::SelectStmt(select)) if !is_values_select(select) || select.target_list.iter().any(makes_many) => {
                let alias = insert
                    .relation
                    .as_ref()
                    .map_or("", |range| range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str()));
                let target = self.target(relation, alias, insert.with_clause.as_ref());
                if self.query_may_be_all(select, &target) { RowScope::Unbounded } else { RowScope::Selective }
            }
            _ => RowScope::Bounded,
        };
        self.writes(relation, WriteEvent::Update, action_for(scope), true);
        scope
    }

    /// `a[expression]` on the side that is assigned to.
    fn subscripts(&mut self, targets: &[Node]) {
        for step in targets.iter().filter_map(inner) {
            let NodeEnum::ResTarget(target) = step else { continue };
            for step in target.indirection.iter().filter_map(inner) {
                if let NodeEnum::AIndices(indices) = step {
                    self.storing(|this| this.optional(indices.lidx.as_ref()));
                    self.storing(|this| this.optional(indices.uidx.as_ref()));
                }
            }
        }
    }

    /// SET lists, whose values are read and cast.
    fn assignments(&mut self, relation: &Relation, targets: &[Node]) {
        self.subscripts(targets);
        let row = self.row_written(relation);
        for node in targets {
            let Some(NodeEnum::ResTarget(target)) = inner(node) else { continue };
            let ty = self.storing(|this| this.optional(target.val.as_ref()));
            let by = self.given_value(target.val.as_deref());
            // In the INSERT of a MERGE the values come apart.
            if target.val.is_none() {
                continue;
            }
            self.fill(&row, &target.name, by);
            let many = matches!(boxed(target.val.as_ref()), Some(NodeEnum::MultiAssignRef(_)));
            if let Some(column) = relation.column(&target.name) {
                self.coerce(if many { None } else { ty }, column.type_oid);
            }
        }
    }

    pub(super) fn update(&mut self, update: &UpdateStmt) -> Outputs {
        self.in_own_scope(update.with_clause.as_ref(), |this| {
            let Some(range) = &update.relation else { return Outputs::default() };
            let relation = this.relation(range);
            if let Some(relation) = relation {
                this.target_source(range, relation);
            }
            for item in &update.from_clause {
                this.add_source(item);
            }
            this.decides(update.where_clause.as_deref());
            let Some(relation) = relation else { return Outputs { open: true, ..Outputs::default() } };
            let scope = this.write_scope(range, relation, update.with_clause.as_ref(), &update.from_clause, update.where_clause.as_deref());
            this.assignments(relation, &update.target_list);
            if &*relation.schema == "pg_catalog" && &*relation.name == "pg_settings" {
                this.sets_through_view();
            } else {
                this.writes(relation, WriteEvent::Update, action_for(scope), range.inh);
            }
            this.returning(update.returning_clause.as_ref(), relation)
        })
    }

    pub(super) fn delete(&mut self, delete: &DeleteStmt) -> Outputs {
        self.in_own_scope(delete.with_clause.as_ref(), |this| {
            let Some(range) = &delete.relation else { return Outputs::default() };
            let relation = this.relation(range);
            if let Some(relation) = relation {
                this.target_source(range, relation);
            }
            for item in &delete.using_clause {
                this.add_source(item);
            }
            this.decides(delete.where_clause.as_deref());
            let Some(relation) = relation else { return Outputs { open: true, ..Outputs::default() } };
            let scope = this.write_scope(range, relation, delete.with_clause.as_ref(), &delete.using_clause, delete.where_clause.as_deref());
            this.writes(relation, WriteEvent::Delete, action_for(scope), range.inh);
            this.returning(delete.returning_clause.as_ref(), relation)
        })
    }

    /// Which rows a WHERE leaves, noted; a condition on anything was a read of it.
    fn write_scope(
        &mut self,
        range: &RangeVar,
        relation: &'a Relation,
        with: Option<&pb::WithClause>,
        sources: &[Node],
        condition: Option<&Node>,
    ) -> RowScope {
        let alias = range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str());
        let scope = match condition.and_then(inner) {
            Some(NodeEnum::CurrentOfExpr(_)) => RowScope::Key,
            _ => self.row_scope(self.target(relation, alias, with), sources, condition),
        };
        self.found.scope(scope);
        scope
    }

    pub(super) fn merge(&mut self, merge: &MergeStmt) -> Outputs {
        self.in_own_scope(merge.with_clause.as_ref(), |this| {
            let Some(range) = &merge.relation else { return Outputs::default() };
            let relation = this.relation(range);
            if let Some(relation) = relation {
                this.target_source(range, relation);
            }
            if let Some(source) = &merge.source_relation {
                this.add_source(source);
            }
            this.decides(merge.join_condition.as_deref());
            let Some(relation) = relation else { return Outputs { open: true, ..Outputs::default() } };
            for clause in merge.merge_when_clauses.iter().filter_map(inner) {
                if let NodeEnum::MergeWhenClause(clause) = clause {
                    this.merge_clause(merge, range, relation, clause);
                }
            }
            this.returning(merge.returning_clause.as_ref(), relation)
        })
    }

    fn merge_clause(&mut self, merge: &MergeStmt, range: &RangeVar, relation: &'a Relation, clause: &pb::MergeWhenClause) {
        self.decides(clause.condition.as_deref());
        self.assignments(relation, &clause.target_list);
        self.storing(|this| this.expressions(&clause.values));
        if clause.command_type() == CmdType::CmdInsert {
            let row = self.row_written(relation);
            let listed = clause.target_list.iter().filter_map(|node| match inner(node) {
                Some(NodeEnum::ResTarget(target)) => Some(target.name.as_str()),
                _ => None,
            });
            let listed: Vec<&str> = listed.collect();
            let names: Vec<&str> = if listed.is_empty() { row.columns.iter().map(|column| &*column.name).collect() } else { listed };
            self.fills(&row, &names, &[]);
        }
        let event = match clause.command_type() {
            CmdType::CmdUpdate => WriteEvent::Update,
            CmdType::CmdDelete => WriteEvent::Delete,
            CmdType::CmdInsert => {
                self.found.scope(RowScope::Selective);
                return self.writes(relation, WriteEvent::Insert, Action::Write, true);
            }
            _ => return,
        };
        let alias = range.alias.as_ref().map_or(range.relname.as_str(), |alias| alias.aliasname.as_str());
        let source: Vec<Node> = merge.source_relation.iter().map(|node| (**node).clone()).collect();
        let matched = clause.match_kind() != MergeMatchKind::MergeWhenNotMatchedBySource;
        let of = |condition: Option<&Node>| self.row_scope(self.target(relation, alias, merge.with_clause.as_ref()), &source, condition);
        let by_join = if matched { of(merge.join_condition.as_deref()) } else { RowScope::Unbounded };
        let by_condition = clause.condition.as_deref().map_or(RowScope::Unbounded, |condition| of(Some(condition)));
        // Both must hold, so the narrower one counts.
        let scope = by_join.min(by_condition);
        self.found.scope(scope);
        self.writes(relation, event, action_for(scope), range.inh);
    }

    pub(super) fn truncate(&mut self, truncate: &pb::TruncateStmt) {
        for node in &truncate.relations {
            let Some(NodeEnum::RangeVar(range)) = inner(node) else { continue };
            if let Some(relation) = self.relation(range) {
                self.found.scope(RowScope::Unbounded);
                self.writes(relation, WriteEvent::Truncate, Action::Destroy, range.inh);
                if truncate.behavior() == pb::DropBehavior::DropCascade {
                    self.truncates_referrers(relation, MAX_CASCADES);
                }
            }
        }
    }

    fn truncates_referrers(&mut self, relation: &'a Relation, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return self.found.doubt("its foreign keys lead too far") };
        for key in &relation.referenced_by {
            if !self.enter(key.child) {
                continue;
            }
            if let Some(child) = self.catalog.relation_by_oid(key.child) {
                self.writes(child, WriteEvent::Truncate, Action::Destroy, true);
                self.truncates_referrers(child, depth);
            }
            self.leave();
        }
    }

    /// A relation is written: the pair, and everything the write sets off.
    pub(super) fn writes(&mut self, relation: &'a Relation, event: WriteEvent, action: Action, inherit: bool) {
        self.apart(|this| this.write(relation, event, action, inherit));
    }

    fn write(&mut self, relation: &'a Relation, event: WriteEvent, action: Action, inherit: bool) {
        self.deeper(|this| {
            this.touch(action, relation, inherit);
            this.found.opaque |= Self::hides_origin(relation);
            if relation.built_in() {
                return this.writes_catalog(relation);
            }
            for rule in relation.rules.iter().filter(|rule| rule.event == event) {
                this.run_rule(relation, &rule.printed);
            }
            if relation.kind == RelationKind::View {
                this.writes_through_view(relation, event, action);
            }
            this.set_off(relation, event);
            if inherit {
                for oid in this.catalog.descendants(relation.oid, super::queries::MAX_DESCENDANTS) {
                    if let Some(child) = this.catalog.relation_by_oid(oid) {
                        this.set_off(child, event);
                    }
                }
            }
            this.follow_foreign_keys(relation, event, action);
        });
    }

    /// Triggers, checks, defaults and row security of one relation.
    fn set_off(&mut self, relation: &'a Relation, event: WriteEvent) {
        for trigger in relation.triggers.iter().filter(|trigger| trigger.watches(event)) {
            self.run_oid(trigger.function);
        }
        for code in &relation.policy_code {
            self.run_oid(*code);
        }
        if matches!(event, WriteEvent::Delete | WriteEvent::Truncate) {
            return;
        }
        for code in &relation.code {
            self.run_oid(*code);
        }
        // The checks of domains run on every column, whatever is assigned.
        for column in relation.columns.iter() {
            self.coerce(Some(super::types::UNKNOWN), column.type_oid);
        }
        for (_, printed) in &relation.defaults {
            self.default_expression(relation, printed);
        }
    }

    /// A column's default or generation expression is evaluated.
    fn default_expression(&mut self, relation: &'a Relation, printed: &Printed) {
        let (pairs, reads) = (self.found.pairs.clone(), self.found.reads.clone());
        let ((), lineage) = self.traced(|this| {
            this.printed(&format!("SELECT {}", printed.text), printed, |this, statements| {
                this.scopes.push(Scope { sources: vec![new_row_of("", relation)], ..Scope::default() });
                for statement in statements {
                    if let Some(node) = boxed(statement.stmt.as_ref()) {
                        this.statement(node, "");
                    }
                }
                this.scopes.clear();
            });
        });
        // Code that is not followed was settled when it was made; code that is followed may have been replaced since the default was set.
        self.store(&Lineage { untold: false, ..lineage });
        // A sequence that fills a column is part of the insert, not a write of its own.
        let moved = |pair: &model::Pair| pair.action != Action::Write;
        let added: Vec<model::Pair> = self.found.pairs.difference(&pairs).filter(|pair| moved(pair)).cloned().collect();
        self.found.pairs = pairs;
        self.found.pairs.extend(added);
        self.found.reads.extend(reads);
    }

    fn writes_catalog(&mut self, relation: &Relation) {
        if &*relation.name == "pg_settings" {
            return self.sets_through_view();
        }
        let object = self.object(relation);
        self.found.pair(Action::Privilege, object);
        self.found.effects.catalog = true;
        self.found.effects.resolution = true;
    }

    /// UPDATE of `pg_settings` sets whatever its rows name.
    fn sets_through_view(&mut self) {
        self.found.pair(Action::Configure, Object::Connection);
        self.found.effects.resolution = true;
    }

    /// A view without triggers or rules for the event passes the write on to the table below.
    fn writes_through_view(&mut self, view: &'a Relation, event: WriteEvent, action: Action) {
        let handled = view.rules.iter().any(|rule| rule.event == event) || view.triggers.iter().any(|trigger| trigger.watches(event));
        let Some(printed) = view.definition.as_ref().filter(|_| !handled) else { return };
        self.expand_view(view);
        if !self.enter(view.oid) {
            return;
        }
        self.printed(&printed.text, printed, |this, statements| {
            let from = statements.first().and_then(|statement| boxed(statement.stmt.as_ref()));
            match from {
                Some(NodeEnum::SelectStmt(select)) => this.writes_below(select, event, action),
                _ => this.found.doubt("it writes through a view that could not be read"),
            }
        });
        self.leave();
    }

    fn writes_below(&mut self, select: &SelectStmt, event: WriteEvent, action: Action) {
        if let [only] = select.from_clause.as_slice()
            && let Some(NodeEnum::RangeVar(range)) = inner(only)
            && let Some(base) = self.relation(range)
        {
            self.writes(base, event, action, range.inh);
        }
    }

    fn follow_foreign_keys(&mut self, relation: &'a Relation, event: WriteEvent, action: Action) {
        for key in &relation.referenced_by {
            let (effect, then) = match event {
                WriteEvent::Delete => (key.on_delete, WriteEvent::Delete),
                WriteEvent::Update => (key.on_update, WriteEvent::Update),
                WriteEvent::Insert | WriteEvent::Truncate => continue,
            };
            let then = if effect == KeyAction::Set { WriteEvent::Update } else { then };
            if effect == KeyAction::Refuse || !self.enter(key.child) {
                continue;
            }
            if self.following.len() > MAX_CASCADES {
                self.found.doubt("its foreign keys lead too far");
            } else if let Some(child) = self.catalog.relation_by_oid(key.child) {
                self.writes(child, then, action, true);
            }
            self.leave();
        }
    }

    /// SELECT … INTO, CREATE TABLE AS: the new table.
    pub(super) fn creates_from_query(&mut self, range: Option<&RangeVar>) {
        if let Some(range) = range {
            self.creates_relation(range);
        }
    }

    /// LOCK TABLE: the weakest mode is that of reading.
    pub(super) fn lock(&mut self, lock: &pb::LockStmt) {
        let action = if lock.mode <= 1 { Action::Read } else { Action::Write };
        for node in &lock.relations {
            if let Some(NodeEnum::RangeVar(range)) = inner(node)
                && let Some(relation) = self.relation(range)
            {
                let object = self.object(relation);
                self.found.pair(action, object);
                if action == Action::Read {
                    self.found.reads.insert(reference(relation));
                }
            }
        }
    }
}

/// `*`, of nothing in particular.
fn returns_all(node: &Node) -> bool {
    let Some(NodeEnum::ResTarget(target)) = inner(node) else { return false };
    target.val.as_deref().and_then(star).is_some_and(|qualified| qualified.is_empty())
}

/// What a write of this scope is called.
fn action_for(scope: RowScope) -> Action {
    if scope >= RowScope::Unbounded { Action::Destroy } else { Action::Write }
}

fn is_values(query: &NodeEnum) -> bool {
    matches!(query, NodeEnum::SelectStmt(select) if is_values_select(select))
}

fn is_values_select(select: &SelectStmt) -> bool {
    !select.values_lists.is_empty() || (select.from_clause.is_empty() && select.larg.is_none())
}

/// The parameters of EXECUTE, as values where they are constant.
pub(super) fn constant_parameters(nodes: &[Node], parameters: &super::analysis::Parameters) -> Option<Vec<ParameterValue>> {
    nodes
        .iter()
        .map(|node| match constants::value(node, parameters)? {
            Value::Null => Some(ParameterValue::Null),
            Value::Bool(truth) => Some(ParameterValue::Text(truth.to_string())),
            Value::Number(number) => Some(ParameterValue::Text(number.to_string())),
            Value::Text(text) | Value::Spelled(text) => Some(ParameterValue::Text(text)),
            Value::Hidden => Some(ParameterValue::Unreadable),
        })
        .collect()
}
