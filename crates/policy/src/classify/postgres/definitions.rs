//! Code and definitions that a statement reaches without spelling them out: functions, views, rules, triggers.

use std::sync::Arc;

use model::{Action, Object};
use pg_query::{
    NodeEnum,
    protobuf::{Node, RawStmt},
};

use super::{
    analysis::{Analysis, Output, Outputs, Scope, Source, boxed, inner, reference, strings},
    builtins::{self, Nature},
    catalog::{Column, FIRST_USER_OID, Printed, Relation, RelationKind, Routine},
    constants,
    lineage::Lineage,
    names::split_identifier,
    snapshot::UNPRINTED,
};

/// Extension functions that leave the server or open another session on it, by the beginning of their name.
const REACHING: &[&str] = &[
    "dblink",
    "postgres_fdw_",
    "file_fdw_",
    "lo_import",
    "lo_export",
    "pg_read_",
    "pg_file_",
    "pg_logdir_ls",
    "http",
    "net_http",
    "aws_",
    "pg_execute_",
];

/// Functions in C that are not declared immutable and yet make their result of their arguments and of chance alone, by the beginning of their name.
const COMPUTING: &[&str] = &[
    "_st_",
    "cosine_",
    "gen_random_",
    "gen_salt",
    "geography",
    "geometry",
    "hstore",
    "inner_product",
    "l1_",
    "l2_",
    "pgp_",
    "populate_record",
    "set_limit",
    "show_limit",
    "similarity",
    "st_",
    "strict_word_similarity",
    "unaccent",
    "uuid_",
    "word_similarity",
];

/// Whether a function that is not followed makes its result of its arguments alone: in C, which came with an extension, and declared so or known. One in any
/// other language may read what it likes, and so may the rest in C (`crosstab` runs a query, `get_raw_page` reads a file): what it gives comes from
/// nowhere certain, and what it is handed it may keep.
pub(super) fn computes(routine: &Routine) -> bool {
    &*routine.language == "c" && (routine.volatility == 'i' || COMPUTING.iter().any(|start| routine.name.starts_with(start)))
}

impl<'a> Analysis<'a> {
    /// The function with this OID runs behind something else: an operator, a cast, a trigger. A built-in one may do more than give a result there, too.
    pub(super) fn run_oid(&mut self, oid: u32) {
        // What a built-in trigger does is what its constraint means.
        const TRIGGER: u32 = 2279;
        match self.catalog.routine_by_oid(oid) {
            Some(routine) if !routine.built_in() => self.run_routine(routine),
            Some(routine) if routine.returns != TRIGGER && builtins::nature(&routine.name, routine.volatility) != Nature::Pure => {
                self.hand_over(routine);
                self.run_built_in(routine, &[]);
            }
            None if oid >= FIRST_USER_OID => self.found.doubt("it runs a function that is not in the catalog snapshot"),
            Some(_) | None => {}
        }
    }

    /// A function that somebody defined runs.
    pub(super) fn run_routine(&mut self, routine: &'a Routine) {
        let object = self.function(&routine.schema, &routine.name);
        self.found.pair(Action::Execute, object);
        self.found.functions.insert(Arc::from(format!("{}.{}", routine.schema, routine.name)));
        self.found.opaque = true;
        self.handed_to_code();
        self.found.raise(4);
        if &*routine.language == "c" && REACHING.iter().any(|start| routine.name.starts_with(start)) {
            let host = self.host();
            self.found.pair(Action::Escape, host);
        }
        if let Some(printed) = &routine.default_values {
            self.evaluate_defaults(routine, printed);
        }
        match &routine.body {
            Some(body) if &*routine.language == "sql" => self.follow_body(routine, body),
            _ => {
                self.gathered.untold |= !computes(routine);
                self.found.code_runs();
            }
        }
    }

    /// The values of arguments that the call may have left out are found.
    fn evaluate_defaults(&mut self, routine: &'a Routine, printed: &'a Printed) {
        if !self.enter(routine.oid) {
            return;
        }
        self.printed(&format!("SELECT {}", printed.text), printed, |this, statements| {
            for node in statements.iter().filter_map(|statement| boxed(statement.stmt.as_ref())) {
                this.statement(node, "");
            }
        });
        self.leave();
    }

    fn follow_body(&mut self, routine: &'a Routine, body: &'a Arc<str>) {
        if self.touched.contains(&routine.name) {
            return self.found.doubt("it uses a function that an earlier statement of the same message makes or changes");
        }
        if !self.enter(routine.oid) {
            return;
        }
        let running = self.path_of(routine);
        // What is in it was named when it was made: it is read as it was printed, and only what it calls meets the path it runs under.
        let path = routine.printed_under.as_ref().map_or_else(|| running.clone(), |path| path.to_vec());
        let passed = self.gathered.clone();
        let temporary_first = routine.printed_under.is_none();
        let outer = (std::mem::replace(&mut self.running, running), std::mem::replace(&mut self.temporary_first, temporary_first));
        // A text finds what it names when it runs: what that is was not settled when it was made.
        let outer_set_up = self.set_up;
        self.set_up |= routine.printed_under.is_some();
        self.definition(body, path, |this, statements| {
            this.scopes.push(Scope { sources: vec![arguments(routine, &passed)], ..Scope::default() });
            this.passed = passed;
            for statement in statements {
                this.body_statement(statement);
            }
            this.scopes.clear();
        });
        self.set_up = outer_set_up;
        (self.running, self.temporary_first) = outer;
        self.leave();
    }

    /// A statement of a body; the standard form of a body (`BEGIN ATOMIC`, `RETURN`) comes as the CREATE FUNCTION that holds it.
    fn body_statement(&mut self, statement: &RawStmt) {
        let Some(node) = boxed(statement.stmt.as_ref()) else { return };
        match node {
            NodeEnum::CreateFunctionStmt(create) => {
                if let Some(body) = boxed(create.sql_body.as_ref()) {
                    self.standard_body(body);
                } else {
                    self.found.code_runs();
                }
            }
            other => drop(self.statement(other, "")),
        }
    }

    pub(super) fn standard_body(&mut self, body: &NodeEnum) {
        match body {
            NodeEnum::List(list) => list.items.iter().filter_map(inner).for_each(|node| self.deeper(|this| this.standard_body(node))),
            NodeEnum::ReturnStmt(value) => drop(value.returnval.as_ref().map(|node| self.expression(node))),
            other => drop(self.statement(other, "")),
        }
    }

    fn path_of(&self, routine: &Routine) -> Vec<Arc<str>> {
        let setting = routine.settings.iter().find_map(|setting| setting.strip_prefix("search_path="));
        setting.map_or_else(|| self.running.clone(), search_path)
    }

    /// A built-in function is called, with these constant arguments (none where an argument is not constant).
    pub(super) fn run_built_in(&mut self, routine: &Routine, arguments: &[Node]) {
        let object = self.function(&routine.schema, &routine.name);
        let constant = |this: &Self, node: &Node| constants::text(node, &this.parameters).or_else(|| this.fixed_name(node));
        let constants = |this: &Self| arguments.iter().map(|node| constant(this, node)).collect::<Vec<Option<String>>>();
        let nature = builtins::nature(&routine.name, routine.volatility);
        // Its result is something else than what it is handed.
        self.gathered.untold |= matches!(nature, Nature::Dynamic | Nature::Unknown | Nature::File | Nature::LargeObjectRead);
        if nature != Nature::Pure {
            self.found.functions.insert(Arc::from(format!("{}.{}", routine.schema, routine.name)));
        }
        match nature {
            Nature::Pure => {}
            Nature::Dynamic => {
                self.found.pair(Action::Execute, object);
                self.found.doubt(&format!("{} runs what a string says", routine.name));
            }
            Nature::Unknown => {
                self.found.pair(Action::Execute, object);
                self.found.doubt(&format!("nothing is known of the built-in function {}", routine.name));
            }
            Nature::File => {
                let host = self.host();
                self.found.pair(Action::Escape, host);
            }
            Nature::Admin => {
                self.found.pair(Action::Execute, object);
                self.found.pair(Action::Privilege, Object::Connection);
            }
            Nature::Signal => self.found.pair(Action::Execute, object),
            Nature::SetConfig => self.set_config(&constants(self)),
            Nature::Sequence => self.move_sequence(&constants(self)),
            Nature::LargeObjectRead => self.large_object(Action::Export),
            Nature::LargeObjectWrite => self.large_object(Action::Write),
            Nature::LargeObjectRemove => self.large_object(Action::Destroy),
        }
    }

    /// The value of `pg_settings.name` where the WHERE beside it says which it is: so pg_dump sets what only some versions have.
    fn fixed_name(&self, node: &Node) -> Option<String> {
        let Some(NodeEnum::ColumnRef(column)) = inner(node) else { return None };
        let named = self.reads_settings() && strings(&column.fields) == ["name"];
        self.scopes.last()?.fixed_name.clone().filter(|_| named)
    }

    /// Whether the innermost query reads `pg_settings` and nothing else.
    pub(super) fn reads_settings(&self) -> bool {
        let Some([source]) = self.scopes.last().map(|scope| scope.sources.as_slice()) else { return false };
        let relation = source.relation.and_then(|oid| self.catalog.relation_by_oid(oid));
        relation.is_some_and(|relation| &*relation.schema == "pg_catalog" && &*relation.name == "pg_settings")
    }

    fn large_object(&mut self, action: Action) {
        let Some(relation) = self.catalog.relation("pg_catalog", "pg_largeobject") else {
            let database = self.database();
            return self.found.pair(action, database);
        };
        let object = self.object(relation);
        self.found.pair(action, object);
        self.found.opaque = true;
        if action == Action::Export {
            self.found.reads.insert(reference(relation))
        } else {
            self.found.writes.insert(reference(relation))
        };
    }

    fn move_sequence(&mut self, constants: &[Option<String>]) {
        let name = constants.first().and_then(Option::as_deref).and_then(split_identifier);
        match name.and_then(|(schema, name)| self.find_relation(&schema, &name)) {
            Some(sequence) => {
                let object = self.object(sequence);
                self.found.pair(Action::Write, object);
                self.found.writes.insert(reference(sequence));
            }
            None => {
                let database = self.database();
                self.found.pair(Action::Write, database);
            }
        }
    }

    /// What lies under a view is read: its query is walked, under the search path it was printed with. Where its columns come from.
    pub(super) fn expand_view(&mut self, view: &'a Relation) -> Outputs {
        let mut columns = columns_of(view);
        let Some(printed) = &view.definition else {
            if !view.built_in() {
                self.found.doubt("the definition of a view is not known");
                columns.come_from(&Lineage::untold());
            }
            return columns;
        };
        let mut below = Outputs { open: true, ..Outputs::default() };
        if self.enter(view.oid) {
            self.apart(|this| {
                this.printed(&printed.text, printed, |this, statements| {
                    for statement in statements {
                        if let Some(node) = boxed(statement.stmt.as_ref()) {
                            below = this.statement(node, "");
                        }
                    }
                });
            });
            self.leave();
        }
        columns.lie_over(&below);
        columns
    }

    /// What a materialised view was made from is where its values come from, though reading it runs nothing of that.
    pub(super) fn origins_of_copy(&mut self, copy: &'a Relation) -> Outputs {
        let before = self.found.clone();
        let columns = self.expand_view(copy);
        let mut after = std::mem::replace(&mut self.found, before);
        self.found.reads.append(&mut after.reads);
        if let Some(why) = after.doubt {
            self.found.doubt(&why);
        }
        columns
    }

    /// The definition of a rule is walked: its actions run in place of, or beside, the write.
    pub(super) fn run_rule(&mut self, relation: &'a Relation, printed: &'a Printed) {
        self.found.opaque = true;
        self.printed(&printed.text, printed, |this, statements| {
            for statement in statements {
                let Some(NodeEnum::RuleStmt(rule)) = boxed(statement.stmt.as_ref()) else { continue };
                // That its actions keep what is written was settled when it was made.
                this.scopes.push(Scope { sources: vec![new_row_of("new", relation), new_row_of("old", relation)], ..Scope::default() });
                if let Some(condition) = &rule.where_clause {
                    this.expression(condition);
                }
                for action in rule.actions.iter().filter_map(inner) {
                    this.statement(action, "");
                }
                this.scopes.clear();
            }
        });
    }

    /// Whether what this relation shows is a copy of values that are anybody's.
    pub(super) fn hides_origin(relation: &Relation) -> bool {
        match relation.kind {
            RelationKind::Foreign | RelationKind::Toast => true,
            RelationKind::View | RelationKind::Table => {
                relation.holds_statistics() || (&*relation.schema, &*relation.name) == ("pg_catalog", "pg_largeobject")
            }
            RelationKind::MaterializedView
            | RelationKind::Partition
            | RelationKind::InheritanceChild
            | RelationKind::Partitioned
            | RelationKind::Sequence
            | RelationKind::Index
            | RelationKind::Composite => false,
        }
    }
}

/// The names of a function's arguments, as a source of columns.
fn arguments(routine: &Routine, passed: &Lineage) -> Source {
    let named = routine.argument_names.iter().enumerate();
    let argument = |at: usize| routine.arguments.get(at).copied();
    let columns = named.map(|(at, name)| Output::made(name.clone(), argument(at), passed.clone()));
    Source { alias: routine.name.clone(), relation: None, outputs: Outputs { columns: columns.collect(), ..Outputs::default() } }
}

impl<'a> Analysis<'a> {
    /// The columns of a relation that is written, and what is below them.
    pub(super) fn row_below(&mut self, alias: &str, relation: &'a Relation) -> Source {
        let outputs = if relation.kind == RelationKind::View { self.expand_view(relation) } else { self.columns_below(relation) };
        Source { alias: Arc::from(alias), relation: Some(relation.oid), outputs }
    }

    /// A table's columns. A generated one is made of others.
    pub(super) fn columns_below(&mut self, relation: &'a Relation) -> Outputs {
        let mut outputs = columns_of(relation);
        for (number, printed) in &relation.defaults {
            if !is_generated(relation, *number, printed) {
                continue;
            }
            let (before, can_fail) = (self.found.clone(), self.can_fail);
            let around = std::mem::take(&mut self.gathered);
            self.printed(&format!("SELECT {}", printed.text), printed, |this, statements| {
                this.scopes.push(Scope { sources: vec![row_of("", relation)], ..Scope::default() });
                for node in statements.iter().filter_map(|statement| boxed(statement.stmt.as_ref())) {
                    this.statement(node, "");
                }
                this.scopes.clear();
            });
            let mut lineage = std::mem::replace(&mut self.gathered, around);
            // Reading it runs nothing; but what of it was not followed may be anything.
            lineage.untold |= self.found.doubt.is_some() && before.doubt.is_none();
            self.found = before;
            self.can_fail = can_fail;
            let place = relation.columns.iter().position(|column| column.number == *number);
            if let Some(column) = place.and_then(|place| outputs.columns.get_mut(place)) {
                column.plain &= lineage == Lineage::default();
                column.lineage.merge(&lineage);
            }
        }
        outputs
    }
}

/// Whether it is what a column is generated by, rather than a default, which names no column.
pub(super) fn is_generated(relation: &Relation, number: i16, printed: &Printed) -> bool {
    // What could not be printed may name any.
    *printed.text == *UNPRINTED || relation.columns.iter().any(|column| column.number != number && mentions(&printed.text, &column.name))
}

/// Whether printed SQL names a column: a word of its own that is not called.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_word = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80);
    let written = name.replace('"', "\"\"");
    text.match_indices(&written).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|at| text.as_bytes().get(at)).copied();
        let after = text.as_bytes().get(at + written.len()).copied();
        !part_of_word(before) && !part_of_word(after) && after != Some(b'(')
    })
}

/// A relation's columns under another name.
pub(super) fn row_of(alias: &str, relation: &Relation) -> Source {
    Source { alias: Arc::from(alias), relation: Some(relation.oid), outputs: columns_of(relation) }
}

/// A relation's columns.
pub(super) fn columns_of(relation: &Relation) -> Outputs {
    let output = |column: &Column| Output {
        name: column.name.clone(),
        ty: Some(column.type_oid),
        harmless: false,
        lineage: Lineage::of(relation, column.number),
        plain: true,
    };
    Outputs { columns: relation.columns.iter().map(output).collect(), open: relation.columns.is_empty(), ..Outputs::default() }
}

/// A relation's columns under another name, for values that are on their way into it: where they come from is known elsewhere.
pub(super) fn new_row_of(alias: &str, relation: &Relation) -> Source {
    let mut row = row_of(alias, relation);
    row.outputs.columns.iter_mut().for_each(|column| column.lineage = Lineage::default());
    row
}

/// The path a `search_path` setting means: quoted names kept, others in lower case, `pg_catalog` first unless it is named.
pub(super) fn search_path(setting: &str) -> Vec<Arc<str>> {
    let names = setting.split(',').map(str::trim).filter(|name| !name.is_empty());
    let plain = names.map(|name| match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => Arc::from(quoted.replace("\"\"", "\"")),
        None => Arc::from(name.to_ascii_lowercase()),
    });
    let mut path: Vec<Arc<str>> = plain.filter(|name: &Arc<str>| !name.is_empty()).collect();
    if !path.iter().any(|name| &**name == "pg_catalog") {
        path.insert(0, Arc::from("pg_catalog"));
    }
    path
}
