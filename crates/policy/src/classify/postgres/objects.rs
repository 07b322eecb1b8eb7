//! Statements that make, change, remove or hand over objects and roles.

use std::sync::Arc;

use model::{Action, Object};
use pg_query::{
    NodeEnum,
    protobuf::{self as pb, AlterTableType, ConstrType, DropBehavior, Node, ObjectType, RangeVar},
};

use super::{
    analysis::{Analysis, Scope, boxed, inner, reference, strings},
    catalog::{Relation, RelationKind},
    definitions::row_of,
    lineage::Lineage,
    names::qualified,
    types,
};

/// Extensions that come with PostgreSQL or are common and give no way out of the database; any other may.
const TAME_EXTENSIONS: &[&str] = &[
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "ltree",
    "pg_stat_statements",
    "pg_trgm",
    "pgcrypto",
    "plpgsql",
    "postgis",
    "seg",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "vector",
];

impl<'a> Analysis<'a> {
    pub(super) fn object_statement(&mut self, node: &NodeEnum) {
        match node {
            NodeEnum::CreateStmt(create) => self.create_table(create),
            NodeEnum::CreateForeignTableStmt(create) => {
                self.reaches_out();
                if let Some(base) = &create.base_stmt {
                    self.create_table(base);
                }
            }
            NodeEnum::CreateTableAsStmt(create) => {
                if let Some(query) = boxed(create.query.as_ref()) {
                    let outputs = self.statement(query, "");
                    self.store(&outputs.lineage());
                }
                self.creates_from_query(create.into.as_ref().and_then(|into| into.rel.as_ref()));
            }
            NodeEnum::ViewStmt(view) => {
                if let Some(query) = boxed(view.query.as_ref()) {
                    let outputs = self.statement(query, "");
                    if view.replace {
                        // What was built on the old one decides by the new one's values.
                        self.tests(&outputs.lineage(), model::facts::Comparison::Any);
                    }
                }
                self.creates_from_query(view.view.as_ref());
            }
            NodeEnum::IndexStmt(index) => self.create_index(index),
            NodeEnum::AlterTableStmt(alter) => self.alter_table(alter),
            NodeEnum::DropStmt(drop) => self.drop_objects(drop),
            NodeEnum::RenameStmt(rename) => self.rename(rename),
            NodeEnum::AlterObjectSchemaStmt(alter) => {
                if let Some(relation) = alter.relation.as_ref().and_then(|range| self.find_relation(&range.schemaname, &range.relname)) {
                    self.renames(relation, None);
                }
                self.changes_named(Action::Define, alter.relation.as_ref(), alter.object.as_deref());
                let schema = self.schema(&alter.newschema);
                self.defines(schema, &alter.newschema);
            }
            NodeEnum::AlterOwnerStmt(alter) => self.changes_named(Action::Privilege, alter.relation.as_ref(), alter.object.as_deref()),
            NodeEnum::CommentStmt(comment) => self.labels(Action::Define, comment.objtype(), comment.object.as_deref()),
            // Labels say who may see what, to whoever asks a provider of them.
            NodeEnum::SecLabelStmt(label) => self.labels(Action::Privilege, label.objtype(), label.object.as_deref()),
            NodeEnum::CreateTrigStmt(trigger) => {
                // Its function is handed every row from now on.
                if let Some(relation) = self.changes_range(Action::Define, trigger.relation.as_ref()) {
                    self.store_rows(relation);
                }
                self.among_columns(trigger.relation.as_ref(), |this| {
                    this.deciding(|this| this.optional(trigger.when_clause.as_ref()));
                });
            }
            NodeEnum::RuleStmt(rule) => self.create_rule(rule),
            NodeEnum::CreateFunctionStmt(create) => self.create_function(create),
            NodeEnum::AlterFunctionStmt(alter) => {
                self.function_object(Action::Define, alter.func.as_ref());
                if self.rights_of_code(&alter.actions) {
                    self.function_object(Action::Privilege, alter.func.as_ref());
                }
            }
            NodeEnum::CreateSeqStmt(create) => self.creates_from_query(create.sequence.as_ref()),
            NodeEnum::AlterSeqStmt(alter) => drop(self.changes_range(Action::Define, alter.sequence.as_ref())),
            NodeEnum::CreateSchemaStmt(create) => self.create_schema(create),
            NodeEnum::RefreshMatViewStmt(refresh) => self.refresh(refresh),
            NodeEnum::VacuumStmt(vacuum) => self.maintain(vacuum.rels.iter().filter_map(|node| match inner(node) {
                Some(NodeEnum::VacuumRelation(relation)) => relation.relation.as_ref(),
                _ => None,
            })),
            NodeEnum::ReindexStmt(reindex) => self.maintain(reindex.relation.as_ref().into_iter()),
            NodeEnum::ClusterStmt(cluster) => self.maintain(cluster.relation.as_ref().into_iter()),
            NodeEnum::CreatePolicyStmt(policy) => self.row_policy(policy.table.as_ref(), [policy.qual.as_deref(), policy.with_check.as_deref()]),
            NodeEnum::AlterPolicyStmt(policy) => self.row_policy(policy.table.as_ref(), [policy.qual.as_deref(), policy.with_check.as_deref()]),
            NodeEnum::CreateDomainStmt(create) => {
                self.defines_named(&create.domainname);
                self.expressions_of_constraints(&create.constraints);
            }
            NodeEnum::AlterDomainStmt(alter) => {
                self.defines_named(&alter.type_name);
                if alter.subtype == "X" || alter.subtype == "C" {
                    // Whether it holds for what is stored by now tells of that.
                    self.found.stored.code = true;
                    self.expressions_of_constraints(alter.def.as_deref().map(std::slice::from_ref).unwrap_or_default());
                }
            }
            NodeEnum::CreateEnumStmt(create) => self.defines_named(&create.type_name),
            NodeEnum::CreateRangeStmt(create) => self.defines_named(&create.type_name),
            NodeEnum::AlterEnumStmt(alter) => self.defines_named(&alter.type_name),
            NodeEnum::AlterTypeStmt(alter) => self.defines_named(&alter.type_name),
            NodeEnum::CompositeTypeStmt(create) => self.creates_from_query(create.typevar.as_ref()),
            NodeEnum::DefineStmt(define) => {
                self.defines_named(&define.defnames);
                self.uses_built_ins(&define.definition);
            }
            NodeEnum::CreateStatsStmt(create) => self.create_statistics(create),
            other => self.cluster_statement(other),
        }
    }

    /// Statements about roles, privileges, databases, servers and extensions.
    fn cluster_statement(&mut self, node: &NodeEnum) {
        match node {
            NodeEnum::GrantStmt(grant) => self.grant(grant),
            NodeEnum::GrantRoleStmt(_) | NodeEnum::CreateRoleStmt(_) | NodeEnum::AlterRoleStmt(_) | NodeEnum::ReassignOwnedStmt(_) => {
                self.privileges()
            }
            NodeEnum::AlterRoleSetStmt(_) => {
                self.privileges();
                self.found.pair(Action::Configure, Object::Connection);
            }
            NodeEnum::DropRoleStmt(_) => {
                self.privileges();
                self.found.pair(Action::Destroy, Object::Connection);
            }
            NodeEnum::DropOwnedStmt(_) => {
                self.privileges();
                self.ddl(Action::Destroy);
                self.unsettled = true;
            }
            NodeEnum::AlterDefaultPrivilegesStmt(_) => self.ddl(Action::Privilege),
            NodeEnum::CreateEventTrigStmt(_) | NodeEnum::AlterEventTrigStmt(_) | NodeEnum::CreatePlangStmt(_) | NodeEnum::CreateTransformStmt(_) => {
                self.ddl(Action::Define);
                self.ddl(Action::Privilege);
                self.unsettled = true;
            }
            NodeEnum::CreateExtensionStmt(create) => self.extension(&create.extname),
            NodeEnum::AlterExtensionStmt(alter) => self.extension(&alter.extname),
            NodeEnum::CreateFdwStmt(_)
            | NodeEnum::AlterFdwStmt(_)
            | NodeEnum::CreateForeignServerStmt(_)
            | NodeEnum::AlterForeignServerStmt(_)
            | NodeEnum::CreateUserMappingStmt(_)
            | NodeEnum::AlterUserMappingStmt(_)
            | NodeEnum::ImportForeignSchemaStmt(_)
            | NodeEnum::CreateSubscriptionStmt(_)
            | NodeEnum::AlterSubscriptionStmt(_) => {
                self.reaches_out();
                self.ddl(Action::Define);
                self.unsettled = true;
            }
            NodeEnum::DropSubscriptionStmt(_) => {
                self.reaches_out();
                self.ddl(Action::Destroy);
            }
            NodeEnum::DropUserMappingStmt(_) | NodeEnum::DropTableSpaceStmt(_) => self.ddl(Action::Destroy),
            NodeEnum::CreatedbStmt(create) => self.database_object(Action::Define, &create.dbname),
            NodeEnum::AlterDatabaseStmt(alter) => self.database_object(Action::Define, &alter.dbname),
            NodeEnum::AlterDatabaseSetStmt(alter) => {
                self.database_object(Action::Define, &alter.dbname);
                self.found.pair(Action::Configure, Object::Connection);
            }
            NodeEnum::DropdbStmt(drop) => self.database_object(Action::Destroy, &drop.dbname),
            NodeEnum::LoadStmt(_) => self.reaches_out(),
            NodeEnum::AlterSystemStmt(_) => {
                self.reaches_out();
                self.found.pair(Action::Configure, Object::Connection);
            }
            NodeEnum::CreateTableSpaceStmt(_) => {
                self.reaches_out();
                self.ddl(Action::Define);
            }
            NodeEnum::CreateCastStmt(_)
            | NodeEnum::CreateConversionStmt(_)
            | NodeEnum::CreateOpClassStmt(_)
            | NodeEnum::CreateOpFamilyStmt(_)
            | NodeEnum::AlterOpFamilyStmt(_)
            | NodeEnum::AlterOperatorStmt(_)
            | NodeEnum::AlterExtensionContentsStmt(_)
            | NodeEnum::CreateAmStmt(_)
            | NodeEnum::AlterTableMoveAllStmt(_) => {
                self.ddl(Action::Define);
                self.unsettled = true;
            }
            NodeEnum::CreatePublicationStmt(_)
            | NodeEnum::AlterPublicationStmt(_)
            | NodeEnum::AlterTsdictionaryStmt(_)
            | NodeEnum::AlterTsconfigurationStmt(_)
            | NodeEnum::AlterStatsStmt(_)
            | NodeEnum::AlterCollationStmt(_)
            | NodeEnum::AlterDatabaseRefreshCollStmt(_)
            | NodeEnum::AlterObjectDependsStmt(_)
            | NodeEnum::AlterTableSpaceOptionsStmt(_)
            | NodeEnum::CheckPointStmt(_) => self.ddl(Action::Define),
            _ => {
                self.found.stored.values.untold = true;
                self.found.doubt("it is a statement of a kind that is not known");
            }
        }
    }

    /// DDL on something that has no object of its own here.
    fn ddl(&mut self, action: Action) {
        let database = self.database();
        self.found.pair(action, database);
        self.catalog_changes();
    }

    /// The catalog changes, which fires event triggers.
    fn catalog_changes(&mut self) {
        self.found.effects.catalog = true;
        self.apart(|this| this.catalog.event_triggers().iter().for_each(|oid| this.run_oid(*oid)));
    }

    fn privileges(&mut self) {
        self.found.pair(Action::Privilege, Object::Connection);
        self.found.effects.resolution = true;
    }

    pub(super) fn reaches_out(&mut self) {
        let host = self.host();
        self.found.pair(Action::Escape, host);
    }

    fn extension(&mut self, name: &str) {
        if !TAME_EXTENSIONS.contains(&name) {
            self.reaches_out();
        }
        self.ddl(Action::Define);
        self.unsettled = true;
    }

    fn database_object(&mut self, action: Action, name: &str) {
        self.found.pair(action, Object::Database { database: Arc::from(name) });
    }

    /// Something of this name is made or changed; later statements of the message that use the name are not understood.
    pub(super) fn defines(&mut self, object: Object, name: &str) {
        self.found.pair(Action::Define, object);
        self.touched.insert(Arc::from(name));
        self.catalog_changes();
    }

    /// A built-in function that does more than give a result counts as called where an operator or aggregate is made of it: it is not told from
    /// whoever uses that later.
    fn uses_built_ins(&mut self, definition: &[Node]) {
        for node in definition.iter().filter_map(inner) {
            let NodeEnum::DefElem(element) = node else { continue };
            let names = match boxed(element.arg.as_ref()) {
                Some(NodeEnum::TypeName(name)) => strings(&name.names),
                Some(NodeEnum::List(list)) => strings(&list.items),
                _ => continue,
            };
            if let Some(name) = names.last() {
                let built_in: Vec<u32> = self.catalog.routines_named(name).filter(|routine| routine.built_in()).map(|routine| routine.oid).collect();
                built_in.into_iter().for_each(|oid| self.run_oid(oid));
            }
        }
    }

    fn defines_named(&mut self, names: &[Node]) {
        let (schema, name) = qualified(names);
        let schema = if schema.is_empty() { self.creation_schema_of_path() } else { Arc::from(self.real_schema(schema)) };
        let object = self.schema(&schema);
        self.defines(object, name);
    }

    /// A relation is made, or replaced.
    pub(super) fn creates_relation(&mut self, range: &RangeVar) {
        let schema = self.creation_schema(range);
        if !range.schemaname.is_empty() && range.schemaname != "pg_temp" && !self.catalog.has_schema(&schema) && !self.touched.contains(&schema) {
            return self.found.missing("3F000", format!("schema \"{}\" does not exist", range.schemaname));
        }
        let name: Arc<str> = Arc::from(range.relname.as_str());
        if let Some(existing) = self.catalog.relation(&schema, &name) {
            self.found.writes.insert(reference(existing));
        }
        let object = self.table(&schema, &name);
        self.defines(object, &name);
        // The first temporary object gives the session a schema that is searched before all others.
        self.found.effects.resolution |= range.relpersistence == "t" || schema.starts_with("pg_temp");
    }

    /// A relation that exists is changed.
    fn changes_range(&mut self, action: Action, range: Option<&RangeVar>) -> Option<&'a Relation> {
        let range = range?;
        let relation = self.relation(range)?;
        self.changes_relation(action, relation);
        Some(relation)
    }

    fn changes_relation(&mut self, action: Action, relation: &'a Relation) {
        let object = self.object(relation);
        self.found.pair(action, object);
        self.found.writes.insert(reference(relation));
        self.touched.insert(relation.name.clone());
        self.catalog_changes();
        if relation.built_in() {
            self.found.pair(Action::Privilege, Object::Connection);
        }
    }

    /// What a statement names by a relation, or by an object of another kind.
    fn changes_named(&mut self, action: Action, relation: Option<&RangeVar>, object: Option<&Node>) {
        if relation.is_some() {
            self.changes_range(action, relation);
            return;
        }
        match object.and_then(inner) {
            Some(NodeEnum::ObjectWithArgs(function)) => self.function_object(action, Some(function)),
            Some(NodeEnum::List(names)) => self.changes_anything(action, qualified(&names.items).1),
            Some(NodeEnum::TypeName(name)) => self.changes_anything(action, qualified(&name.names).1),
            Some(NodeEnum::String(name)) => {
                self.unsettled = true;
                self.changes_anything(action, &name.sval);
            }
            _ => self.changes_anything(action, ""),
        }
    }

    fn changes_anything(&mut self, action: Action, name: &str) {
        self.touched.insert(Arc::from(name));
        self.ddl(action);
    }

    fn function_object(&mut self, action: Action, function: Option<&pb::ObjectWithArgs>) {
        let Some(function) = function else { return self.ddl(action) };
        let (schema, name) = qualified(&function.objname);
        let schemas: Vec<Arc<str>> =
            self.catalog.routines_named(name).filter(|routine| self.sees(schema, &routine.schema)).map(|routine| routine.schema.clone()).collect();
        self.touched.insert(Arc::from(name));
        if schemas.is_empty() {
            return self.ddl(action);
        }
        for schema in schemas {
            let object = self.function(&schema, name);
            self.found.pair(action, object);
        }
        self.catalog_changes();
    }

    /// Evaluates something among a relation's columns.
    fn among_columns(&mut self, range: Option<&RangeVar>, work: impl FnOnce(&mut Self)) {
        let relation = range.and_then(|range| self.find_relation(&range.schemaname, &range.relname));
        let sources = relation.into_iter().flat_map(|relation| [relation.name.as_ref(), "new", "old"].map(|alias| row_of(alias, relation)));
        self.scopes.push(Scope { sources: sources.collect(), ..Scope::default() });
        work(self);
        self.scopes.pop();
    }

    fn create_table(&mut self, create: &pb::CreateStmt) {
        for node in &create.inh_relations {
            if let Some(NodeEnum::RangeVar(parent)) = inner(node) {
                self.changes_range(Action::Define, Some(parent));
            }
        }
        self.table_elements(&create.table_elts);
        self.partition_bound(create.partbound.as_ref());
        self.expressions_of_constraints(&create.constraints);
        if let Some(partition) = &create.partspec {
            for node in &partition.part_params {
                if let Some(NodeEnum::PartitionElem(element)) = inner(node) {
                    self.optional(element.expr.as_ref());
                }
            }
        }
        if let Some(range) = &create.relation {
            // IF NOT EXISTS beside a relation of that name changes nothing.
            let exists = create.if_not_exists
                && !self.touched.contains(range.relname.as_str())
                && self.catalog.relation(&self.creation_schema(range), &range.relname).is_some();
            if exists {
                let object = self.table(&self.creation_schema(range), &Arc::from(range.relname.as_str()));
                self.found.pair(Action::Define, object);
            } else {
                self.creates_relation(range);
            }
        }
    }

    /// The values of a bound are computed once, and kept where the catalog shows them.
    fn partition_bound(&mut self, bound: Option<&pb::PartitionBoundSpec>) {
        let Some(bound) = bound else { return };
        self.storing(|this| {
            // What looks like a column is MINVALUE or MAXVALUE: columns cannot stand there.
            let values = [&bound.listdatums, &bound.lowerdatums, &bound.upperdatums].into_iter().flatten();
            for value in values.filter(|value| !matches!(inner(value), Some(NodeEnum::ColumnRef(_)))) {
                this.expression(value);
            }
        });
    }

    fn table_elements(&mut self, elements: &[Node]) {
        for node in elements {
            match inner(node) {
                Some(NodeEnum::ColumnDef(column)) => self.column_definition(column),
                Some(NodeEnum::Constraint(constraint)) => self.constraint(constraint),
                Some(NodeEnum::TableLikeClause(like)) => {
                    if let Some(relation) = like.relation.as_ref().and_then(|range| self.relation(range)) {
                        self.touch(Action::Read, relation, false);
                    }
                }
                _ => self.found.doubt("it defines a table by something that is not known"),
            }
        }
    }

    fn column_definition(&mut self, column: &pb::ColumnDef) {
        if let Some(name) = &column.type_name {
            match self.type_of(name) {
                Some(ty) => self.coerce(Some(types::UNKNOWN), ty),
                None if !is_serial(name) && !self.touched.contains(qualified(&name.names).1) && name.array_bounds.is_empty() => {
                    self.missing_type(name)
                }
                None => {}
            }
        }
        // A default, or the USING of a change of type.
        self.storing(|this| this.optional(column.raw_default.as_ref()));
        self.expressions_of_constraints(&column.constraints);
    }

    fn expressions_of_constraints(&mut self, constraints: &[Node]) {
        for node in constraints {
            if let Some(NodeEnum::Constraint(constraint)) = inner(node) {
                self.constraint(constraint);
            }
        }
    }

    fn constraint(&mut self, constraint: &pb::Constraint) {
        match constraint.contype() {
            ConstrType::ConstrDefault | ConstrType::ConstrGenerated => drop(self.storing(|this| this.optional(constraint.raw_expr.as_ref()))),
            _ => drop(self.deciding(|this| this.optional(constraint.raw_expr.as_ref()))),
        }
        self.deciding(|this| this.optional(constraint.where_clause.as_ref()));
        for node in &constraint.exclusions {
            if let Some(NodeEnum::List(pair)) = inner(node)
                && let [_, operator] = pair.items.as_slice()
                && let Some(NodeEnum::List(name)) = inner(operator)
            {
                let (schema, name) = qualified(&name.items);
                self.operator(schema, name, Some(None), None);
            }
        }
        if let Some(range) = &constraint.pktable
            && !self.touched.contains(range.relname.as_str())
        {
            // Whether what is stored here from now on is there, too.
            if let Some(relation) = self.changes_range(Action::Define, Some(range)) {
                let named = strings(&constraint.pk_attrs);
                let keys: Vec<&str> = relation
                    .columns
                    .iter()
                    .filter(|column| relation.keys.iter().any(|key| key.contains(&column.number)))
                    .map(|column| &*column.name)
                    .collect();
                self.tests_columns(relation, if named.is_empty() { &keys } else { &named });
            }
        }
        // Whether what is stored by now is unique, or there.
        let mut own: Vec<String> = strings(&constraint.keys).into_iter().chain(strings(&constraint.fk_attrs)).map(str::to_owned).collect();
        for node in &constraint.exclusions {
            if let Some(NodeEnum::List(pair)) = inner(node)
                && let Some(NodeEnum::IndexElem(element)) = pair.items.first().and_then(inner)
            {
                own.push(element.name.clone());
                self.deciding(|this| this.optional(element.expr.as_ref()));
            }
        }
        for name in own.iter().filter(|name| !name.is_empty()) {
            if self.scopes.last().is_some_and(|scope| scope.sources.iter().any(|source| source.relation.is_some())) {
                self.deciding(|this| this.gather_bare(name));
            }
        }
    }

    /// Which rows of a table are there for whom: its conditions decide.
    fn row_policy(&mut self, table: Option<&RangeVar>, conditions: [Option<&Node>; 2]) {
        self.changes_range(Action::Privilege, table);
        self.among_columns(table, |this| {
            for condition in conditions.into_iter().flatten() {
                this.deciding(|this| this.expression(condition));
            }
        });
    }

    /// ANALYZE fails where one of its expressions does.
    fn create_statistics(&mut self, create: &pb::CreateStatsStmt) {
        for node in &create.relations {
            let Some(NodeEnum::RangeVar(range)) = inner(node) else { continue };
            self.changes_range(Action::Define, Some(range));
            self.among_columns(Some(range), |this| {
                for node in &create.exprs {
                    if let Some(NodeEnum::StatsElem(element)) = inner(node) {
                        this.deciding(|this| this.optional(element.expr.as_ref()));
                    }
                }
            });
        }
    }

    fn create_index(&mut self, index: &pb::IndexStmt) {
        let relation = self.changes_range(Action::Define, index.relation.as_ref());
        if let Some(relation) = relation.filter(|_| index.unique) {
            let named = |node: &'_ Node| match inner(node) {
                Some(NodeEnum::IndexElem(element)) => Some(element.name.clone()),
                _ => None,
            };
            let names: Vec<String> = index.index_params.iter().filter_map(named).collect();
            self.tests_columns(relation, &names.iter().map(String::as_str).collect::<Vec<_>>());
        }
        self.touched.insert(Arc::from(index.idxname.as_str()));
        self.among_columns(index.relation.as_ref(), |this| {
            for node in &index.index_params {
                if let Some(NodeEnum::IndexElem(element)) = inner(node) {
                    this.deciding(|this| this.optional(element.expr.as_ref()));
                }
            }
            this.deciding(|this| this.optional(index.where_clause.as_ref()));
        });
    }

    fn create_rule(&mut self, rule: &pb::RuleStmt) {
        let relation = self.changes_range(Action::Define, rule.relation.as_ref());
        let touched = relation.map(|relation| relation.name.clone());
        // The rule's actions may name the table itself; that it is being changed says nothing about them.
        if let Some(name) = &touched {
            self.touched.remove(name);
        }
        self.among_columns(rule.relation.as_ref(), |this| {
            this.deciding(|this| this.optional(rule.where_clause.as_ref()));
            for action in rule.actions.iter().filter_map(inner) {
                this.statement(action, "");
            }
        });
        self.touched.extend(touched);
    }

    fn create_schema(&mut self, create: &pb::CreateSchemaStmt) {
        let name = if create.schemaname.is_empty() { create.authrole.as_ref().map_or("", |role| role.rolename.as_str()) } else { &create.schemaname };
        let object = self.schema(name);
        self.defines(object, name);
        self.found.effects.resolution = true;
        for element in create.schema_elts.iter().filter_map(inner) {
            self.statement(element, "");
        }
    }

    fn refresh(&mut self, refresh: &pb::RefreshMatViewStmt) {
        if let Some(view) = self.changes_range(Action::Define, refresh.relation.as_ref()) {
            self.touched.remove(&view.name);
            self.expand_view(view);
        }
    }

    /// VACUUM, ANALYZE, REINDEX, CLUSTER: index expressions are evaluated again.
    fn maintain<'r>(&mut self, ranges: impl Iterator<Item = &'r RangeVar>) {
        let mut any = false;
        for range in ranges {
            any = true;
            let Some(relation) = self.relation(range) else { continue };
            let object = self.object(relation);
            self.found.pair(Action::Define, object);
            for code in
                relation.code.iter().chain(relation.owner.and_then(|oid| self.catalog.relation_by_oid(oid)).into_iter().flat_map(|owner| &owner.code))
            {
                self.run_oid(*code);
            }
        }
        if !any {
            let database = self.database();
            self.found.pair(Action::Define, database);
            if self.catalog.relations().any(|relation| !relation.code.is_empty()) {
                self.found.code_runs();
            }
        }
    }

    /// Something is written beside an object.
    fn labels(&mut self, action: Action, kind: ObjectType, object: Option<&Node>) {
        if kind == ObjectType::ObjectRole && action == Action::Privilege {
            return self.privileges();
        }
        let names = match object.and_then(inner) {
            Some(NodeEnum::List(names)) => strings(&names.items),
            _ => vec![],
        };
        let names = match kind {
            ObjectType::ObjectTable
            | ObjectType::ObjectView
            | ObjectType::ObjectMatview
            | ObjectType::ObjectSequence
            | ObjectType::ObjectIndex
            | ObjectType::ObjectForeignTable => names.as_slice(),
            ObjectType::ObjectColumn
            | ObjectType::ObjectTrigger
            | ObjectType::ObjectRule
            | ObjectType::ObjectPolicy
            | ObjectType::ObjectTabconstraint => names.split_last().map(|(_, table)| table).unwrap_or_default(),
            _ => &[],
        };
        match self.listed_relation(names) {
            Some(relation) => {
                let object = self.object(relation);
                self.found.pair(action, object);
                self.found.effects.catalog = true;
            }
            None => self.ddl(action),
        }
    }

    fn listed_relation(&self, names: &[&str]) -> Option<&'a Relation> {
        match names {
            [name] => self.find_relation("", name),
            [.., schema, name] => self.find_relation(schema, name),
            [] => None,
        }
    }

    /// Columns that go by another name from here.
    fn renamed(&mut self, rename: &pb::RenameStmt) {
        let relation = rename.relation.as_ref().and_then(|range| self.find_relation(&range.schemaname, &range.relname));
        match (rename.rename_type(), relation) {
            (ObjectType::ObjectSchema, _) => {
                let catalog = self.catalog;
                catalog.relations().filter(|relation| *relation.schema == *rename.subname).for_each(|relation| self.renames(relation, None));
            }
            (ObjectType::ObjectColumn, Some(relation)) => self.renames(relation, Some(&rename.subname)),
            (ObjectType::ObjectTabconstraint | ObjectType::ObjectTrigger | ObjectType::ObjectRule | ObjectType::ObjectPolicy, _) | (_, None) => {}
            (_, Some(relation)) => self.renames(relation, None),
        }
    }

    fn rename(&mut self, rename: &pb::RenameStmt) {
        self.renamed(rename);
        self.touched.insert(Arc::from(rename.newname.as_str()));
        match rename.rename_type() {
            ObjectType::ObjectRole => self.privileges(),
            ObjectType::ObjectSchema => {
                let object = self.schema(&rename.subname);
                self.defines(object, &rename.subname);
                self.unsettled = true;
                self.found.effects.resolution = true;
            }
            ObjectType::ObjectDatabase => self.database_object(Action::Define, &rename.subname),
            _ if rename.missing_ok
                && rename.relation.as_ref().is_some_and(|range| self.find_relation(&range.schemaname, &range.relname).is_none()) => {}
            _ => self.changes_named(Action::Define, rename.relation.as_ref(), rename.object.as_deref()),
        }
    }

    fn alter_table(&mut self, alter: &pb::AlterTableStmt) {
        let Some(range) = &alter.relation else { return };
        if alter.missing_ok && !self.touched.contains(range.relname.as_str()) && self.find_relation(&range.schemaname, &range.relname).is_none() {
            return self.found.pair(Action::Connect, Object::Connection);
        }
        let Some(relation) = self.relation(range) else { return };
        self.among_columns(Some(range), |this| {
            for node in &alter.cmds {
                if let Some(NodeEnum::AlterTableCmd(command)) = inner(node) {
                    this.alter_command(relation, command);
                }
            }
        });
        self.found.writes.insert(reference(relation));
        self.touched.insert(relation.name.clone());
        self.catalog_changes();
        if relation.built_in() {
            self.found.pair(Action::Privilege, Object::Connection);
        }
    }

    fn alter_command(&mut self, relation: &'a Relation, command: &pb::AlterTableCmd) {
        let object = self.object(relation);
        let action = match command.subtype() {
            AlterTableType::AtDropColumn => {
                let column = Object::Column {
                    database: self.view.database.clone(),
                    schema: relation.schema.clone(),
                    table: relation.name.clone(),
                    column: Arc::from(command.name.as_str()),
                };
                return self.found.pair(Action::Destroy, column);
            }
            AlterTableType::AtChangeOwner
            | AlterTableType::AtEnableRowSecurity
            | AlterTableType::AtDisableRowSecurity
            | AlterTableType::AtForceRowSecurity
            | AlterTableType::AtNoForceRowSecurity => Action::Privilege,
            // Triggers and rules that no longer fire, or fire for replicas too, watch over nothing.
            AlterTableType::AtDisableTrig
            | AlterTableType::AtDisableTrigAll
            | AlterTableType::AtDisableTrigUser
            | AlterTableType::AtEnableReplicaTrig
            | AlterTableType::AtDisableRule
            | AlterTableType::AtEnableReplicaRule => {
                self.found.pair(Action::Define, object.clone());
                Action::Privilege
            }
            AlterTableType::AtSetRelOptions | AlterTableType::AtResetRelOptions | AlterTableType::AtReplaceRelOptions if is_barrier(command) => {
                Action::Privilege
            }
            AlterTableType::AtDetachPartition | AlterTableType::AtDropInherit => {
                self.found.pair(Action::Destroy, object.clone());
                self.leaves_family(relation, command);
                Action::Define
            }
            AlterTableType::AtDropExpression => {
                self.keeps_generated(relation, &command.name);
                Action::Define
            }
            _ => Action::Define,
        };
        self.found.pair(action, object);
        self.optional_definition(relation, command);
    }

    /// What a column was generated from stays in it, there and in all children, and nothing says any more what that was.
    fn keeps_generated(&mut self, relation: &'a Relation, name: &str) {
        let catalog = self.catalog;
        let children = catalog.descendants(relation.oid, super::queries::MAX_DESCENDANTS);
        for table in std::iter::once(relation).chain(children.into_iter().filter_map(|oid| catalog.relation_by_oid(oid))) {
            let outputs = self.columns_below(table);
            let mut lineage = Lineage::default();
            outputs.named(name, &mut lineage);
            self.store(&lineage);
        }
    }

    /// A partition or child of its own is no longer found through what it was part of.
    fn leaves_family(&mut self, relation: &'a Relation, command: &pb::AlterTableCmd) {
        self.renames(relation, None);
        let other = match boxed(command.def.as_ref()) {
            Some(NodeEnum::PartitionCmd(partition)) => partition.name.as_ref(),
            Some(NodeEnum::RangeVar(parent)) => Some(parent),
            _ => None,
        };
        if let Some(other) = other.and_then(|range| self.find_relation(&range.schemaname, &range.relname)) {
            self.renames(other, None);
        }
    }

    fn optional_definition(&mut self, relation: &'a Relation, command: &pb::AlterTableCmd) {
        // Whether a change is possible for what is stored tells of that.
        match command.subtype() {
            AlterTableType::AtAlterColumnType | AlterTableType::AtValidateConstraint => self.tests_columns(relation, &[command.name.as_str()]),
            AlterTableType::AtSetNotNull => {
                let lineage = relation.column(&command.name).map(|column| Lineage::of(relation, column.number));
                self.tests(&lineage.unwrap_or_default(), model::facts::Comparison::Presence);
            }
            _ => {}
        }
        match boxed(command.def.as_ref()) {
            Some(NodeEnum::ColumnDef(column)) => self.column_definition(column),
            Some(NodeEnum::Constraint(constraint)) => self.constraint(constraint),
            Some(NodeEnum::PartitionCmd(partition)) => {
                self.partition_bound(partition.bound.as_ref());
                // What it is to be a partition of takes no rows that are not its own.
                if let Some(part) = self.changes_range(Action::Define, partition.name.as_ref()).filter(|_| partition.bound.is_some()) {
                    let names: Vec<&str> = part.columns.iter().map(|column| &*column.name).collect();
                    self.tests_columns(part, &names);
                }
            }
            Some(NodeEnum::RangeVar(other)) => drop(self.changes_range(Action::Define, Some(other))),
            // A default or expression; other definitions (options, statistics, roles) hold nothing that runs.
            Some(_) if matches!(command.subtype(), AlterTableType::AtColumnDefault | AlterTableType::AtSetExpression) => {
                self.storing(|this| this.optional(command.def.as_ref()));
            }
            _ => {}
        }
        // Rows may be written again, with everything that computes or checks them.
        if matches!(
            command.subtype(),
            AlterTableType::AtAlterColumnType | AlterTableType::AtAddColumn | AlterTableType::AtValidateConstraint | AlterTableType::AtAddConstraint
        ) {
            for code in &relation.code {
                self.run_oid(*code);
            }
        }
    }

    fn drop_objects(&mut self, drop: &pb::DropStmt) {
        for node in &drop.objects {
            self.drop_object(drop, node);
        }
        self.catalog_changes();
    }

    fn drop_object(&mut self, drop: &pb::DropStmt, node: &Node) {
        let kind = drop.remove_type();
        match (kind, inner(node)) {
            (
                ObjectType::ObjectTable
                | ObjectType::ObjectView
                | ObjectType::ObjectMatview
                | ObjectType::ObjectSequence
                | ObjectType::ObjectIndex
                | ObjectType::ObjectForeignTable,
                Some(NodeEnum::List(names)),
            ) => self.drop_relation(drop, kind, &strings(&names.items)),
            (ObjectType::ObjectTrigger | ObjectType::ObjectRule | ObjectType::ObjectPolicy, Some(NodeEnum::List(names))) => {
                let names = strings(&names.items);
                let table = names.split_last().map(|(_, table)| table).unwrap_or_default();
                let object = self.listed_relation(table).map_or_else(|| self.database(), |relation| self.object(relation));
                if kind == ObjectType::ObjectPolicy {
                    self.found.pair(Action::Privilege, object.clone());
                }
                self.found.pair(Action::Destroy, object);
                self.touched.extend(table.last().map(|name| Arc::from(*name)));
            }
            (ObjectType::ObjectSchema, Some(NodeEnum::String(name))) => self.drop_schema(&name.sval, drop.behavior() == DropBehavior::DropCascade),
            (_, Some(NodeEnum::ObjectWithArgs(function)))
                if matches!(
                    kind,
                    ObjectType::ObjectFunction | ObjectType::ObjectProcedure | ObjectType::ObjectRoutine | ObjectType::ObjectAggregate
                ) =>
            {
                self.function_object(Action::Destroy, Some(function));
            }
            (_, Some(NodeEnum::TypeName(name))) => self.changes_anything(Action::Destroy, qualified(&name.names).1),
            _ => {
                self.ddl(Action::Destroy);
                self.unsettled = true;
            }
        }
    }

    fn drop_relation(&mut self, drop: &pb::DropStmt, kind: ObjectType, names: &[&str]) {
        let name = names.last().copied().unwrap_or_default();
        if self.touched.contains(name) {
            let database = self.database();
            self.found.pair(Action::Destroy, database);
            return self.found.doubt("it drops an object that an earlier statement of the same message makes or changes");
        }
        let Some(relation) = self.listed_relation(names) else {
            self.touched.insert(Arc::from(name));
            if !drop.missing_ok {
                let (word, code) = drop_words(kind);
                self.found.missing(code, format!("{word} \"{}\" does not exist", names.join(".")));
            }
            return;
        };
        self.touch(Action::Destroy, relation, true);
        self.touched.insert(relation.name.clone());
        if relation.built_in() {
            self.found.pair(Action::Privilege, Object::Connection);
        }
    }

    fn drop_schema(&mut self, name: &str, cascade: bool) {
        let real = Arc::<str>::from(self.real_schema(name));
        let object = self.schema(&real);
        self.found.pair(Action::Destroy, object);
        self.unsettled = true;
        self.found.effects.resolution = true;
        if cascade {
            let kept = |relation: &&Relation| {
                relation.schema == real && !matches!(relation.kind, RelationKind::Index | RelationKind::Toast | RelationKind::Composite)
            };
            for relation in self.catalog.relations().filter(kept) {
                self.touch(Action::Destroy, relation, true);
            }
        }
    }

    fn grant(&mut self, grant: &pb::GrantStmt) {
        let mut named = false;
        for node in &grant.objects {
            if let Some(NodeEnum::RangeVar(range)) = inner(node)
                && let Some(relation) = self.relation(range)
            {
                named = true;
                let object = self.object(relation);
                self.found.pair(Action::Privilege, object);
            }
        }
        if !named {
            self.found.pair(Action::Privilege, Object::Connection);
        }
        self.found.effects.catalog = true;
    }
}

/// Whether options of a view say with whose rights it reads, or in which order its conditions are looked at.
fn is_barrier(command: &pb::AlterTableCmd) -> bool {
    let Some(NodeEnum::List(options)) = boxed(command.def.as_ref()) else { return false };
    options.items.iter().filter_map(inner).any(|node| match node {
        NodeEnum::DefElem(option) => matches!(option.defname.as_str(), "security_barrier" | "security_invoker" | "check_option"),
        _ => false,
    })
}

/// What an error calls a relation of this kind, and its SQLSTATE.
const fn drop_words(kind: ObjectType) -> (&'static str, &'static str) {
    match kind {
        ObjectType::ObjectView => ("view", "42P01"),
        ObjectType::ObjectMatview => ("materialized view", "42P01"),
        ObjectType::ObjectSequence => ("sequence", "42P01"),
        ObjectType::ObjectIndex => ("index", "42704"),
        ObjectType::ObjectForeignTable => ("foreign table", "42P01"),
        _ => ("table", "42P01"),
    }
}

/// `serial` and its kin are types only to CREATE TABLE.
fn is_serial(name: &pb::TypeName) -> bool {
    matches!(qualified(&name.names), ("", "serial" | "bigserial" | "smallserial" | "serial2" | "serial4" | "serial8"))
}
