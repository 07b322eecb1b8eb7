//! Functions and procedures that are made: with whose rights they run, under which settings, and what is in them.

use std::sync::Arc;

use model::Action;
use pg_query::{
    NodeEnum,
    protobuf::{self as pb, Node},
};

use super::{
    analysis::{Analysis, Output, Outputs, Scope, Source, boxed, inner, strings},
    lineage::Lineage,
    names::qualified,
};

/// Languages whose functions are confined to the database.
const TRUSTED_LANGUAGES: &[&str] = &["sql", "plpgsql", "plperl", "pltcl", "plv8", "plrust"];

impl Analysis<'_> {
    pub(super) fn create_function(&mut self, create: &pb::CreateFunctionStmt) {
        let (schema, name) = qualified(&create.funcname);
        let schema = if schema.is_empty() { self.creation_schema_of_path() } else { Arc::from(self.real_schema(schema)) };
        let object = self.function(&schema, name);
        self.defines(object.clone(), name);
        if self.rights_of_code(&create.options) {
            self.found.pair(Action::Privilege, object);
        }
        let language = create.options.iter().filter_map(inner).find_map(|node| match node {
            NodeEnum::DefElem(option) if option.defname == "language" => match boxed(option.arg.as_ref()) {
                Some(NodeEnum::String(name)) => Some(name.sval.to_lowercase()),
                _ => None,
            },
            _ => None,
        });
        let language = language.as_deref().unwrap_or("sql");
        if !TRUSTED_LANGUAGES.contains(&language) {
            self.reaches_out();
        }
        match language {
            "sql" => self.body_to_be(create),
            _ => self.found.stored.code = true,
        }
        self.found.effects.resolution |= schema.starts_with("pg_temp");
    }

    /// Whether options of a function have it run with its owner's rights, or past the barriers of views. Settings that it runs under weigh as they do
    /// elsewhere, but for its search path, which is its own.
    pub(super) fn rights_of_code(&mut self, options: &[Node]) -> bool {
        let mut rights = false;
        for option in options.iter().filter_map(inner) {
            let NodeEnum::DefElem(option) = option else { continue };
            let value = boxed(option.arg.as_ref());
            match (option.defname.as_str(), value) {
                ("security" | "leakproof", Some(NodeEnum::Boolean(truth))) => rights |= truth.boolval,
                ("set", Some(NodeEnum::VariableSetStmt(set))) if !set.name.eq_ignore_ascii_case("search_path") => self.sets_for_code(set),
                _ => {}
            }
        }
        rights
    }

    /// What a function in SQL stores once it runs. What it needs for that is asked for when it is called, and its body followed again.
    fn body_to_be(&mut self, create: &pb::CreateFunctionStmt) {
        let before = self.found.clone();
        let mut given = Lineage::default();
        let arguments = Scope { sources: vec![arguments_to_be(create)], ..Scope::default() };
        if let Some(body) = boxed(create.sql_body.as_ref()) {
            self.scopes.push(arguments);
            let ((), lineage) = self.apart(|this| this.traced(|this| this.standard_body(body)));
            given.merge(&lineage);
            self.scopes.pop();
        } else if let Some(text) = body_text(create) {
            let path = self.path.clone();
            let ((), lineage) = self.apart(|this| {
                this.traced(|this| {
                    this.definition(&text, path, |this, statements| {
                        this.scopes.push(arguments);
                        for node in statements.iter().filter_map(|statement| boxed(statement.stmt.as_ref())) {
                            this.statement(node, "");
                        }
                    });
                })
            });
            given.merge(&lineage);
        }
        if create.replace {
            self.tests(&given, model::facts::Comparison::Any);
        }
        let after = std::mem::replace(&mut self.found, before);
        self.found.stored = after.stored;
        self.found.stored.code |= after.doubt.is_some();
        self.found.tested = after.tested;
        let matters = !self.found.stored.values.columns.is_empty() || self.found.stored.values.untold || !self.found.tested.is_nothing();
        self.found.reads.extend(after.reads.into_iter().filter(|_| matters));
    }
}

/// `AS 'text'`.
fn body_text(create: &pb::CreateFunctionStmt) -> Option<String> {
    create.options.iter().filter_map(inner).find_map(|node| match node {
        NodeEnum::DefElem(option) if option.defname == "as" => match boxed(option.arg.as_ref()) {
            Some(NodeEnum::List(texts)) => strings(&texts.items).first().map(|text| (*text).to_owned()),
            Some(NodeEnum::String(text)) => Some(text.sval.clone()),
            _ => None,
        },
        _ => None,
    })
}

/// The names of the arguments of a function that is being made, as a source of columns.
fn arguments_to_be(create: &pb::CreateFunctionStmt) -> Source {
    let argument = |node: &Node| match inner(node) {
        Some(NodeEnum::FunctionParameter(argument)) => Some(Output::made(argument.name.as_str(), None, Lineage::default())),
        _ => None,
    };
    let columns = create.parameters.iter().filter_map(argument).collect();
    Source { alias: Arc::from(qualified(&create.funcname).1), relation: None, outputs: Outputs { columns, ..Outputs::default() } }
}
