//! Statements by kind: which walk each takes, and those that are about the session.

use std::sync::Arc;

use model::{
    Action, Facts, Object, RowScope,
    facts::{ApplicationName, NameEffect},
};
use pg_query::{
    NodeEnum,
    protobuf::{self as pb, DiscardMode, Node, TransactionStmtKind, VariableSetKind, VariableSetStmt},
};

use super::{
    analysis::{Analysis, Known, Output, Outputs, Parameters, boxed, inner},
    constants,
    definitions::search_path,
    found::Found,
    lineage::Lineage,
    names::qualified,
    parse,
    prepared::{Named, led_elsewhere},
    settings::{self, Weight},
    writes::constant_parameters,
};

/// `WITH HOLD` among the options of DECLARE (`CURSOR_OPT_HOLD` in `nodes/parsenodes.h`).
const CURSOR_OPT_HOLD: i32 = 0x20;

fn unknown_columns() -> Outputs {
    Outputs { open: true, ..Outputs::default() }
}

impl Analysis<'_> {
    /// One statement, at the top or inside another. `text` is its own where it is at the top, empty otherwise.
    pub(super) fn statement(&mut self, node: &NodeEnum, text: &str) -> Outputs {
        self.deeper(|this| this.dispatch(node, text))
    }

    fn dispatch(&mut self, node: &NodeEnum, text: &str) -> Outputs {
        match node {
            NodeEnum::SelectStmt(select) => return self.select(select),
            NodeEnum::InsertStmt(insert) => return self.insert(insert),
            NodeEnum::UpdateStmt(update) => return self.update(update),
            NodeEnum::DeleteStmt(delete) => return self.delete(delete),
            NodeEnum::MergeStmt(merge) => return self.merge(merge),
            NodeEnum::ExecuteStmt(execute) => return self.execute(execute),
            NodeEnum::FetchStmt(fetch) => return self.fetch(fetch),
            NodeEnum::TruncateStmt(truncate) => self.truncate(truncate),
            NodeEnum::CopyStmt(copy) => return self.copy(copy),
            NodeEnum::LockStmt(lock) => self.lock(lock),
            NodeEnum::ExplainStmt(explain) => return self.explain(explain),
            NodeEnum::PrepareStmt(prepare) => self.prepare(prepare, text),
            NodeEnum::DeclareCursorStmt(declare) => self.declare(declare, text),
            NodeEnum::ClosePortalStmt(close) if close.portalname.is_empty() => self.found.effects.names.push(NameEffect::CloseAll),
            NodeEnum::ClosePortalStmt(close) => self.found.effects.names.push(NameEffect::Close(close.portalname.clone())),
            NodeEnum::DeallocateStmt(deallocate) if deallocate.isall || deallocate.name.is_empty() => {
                self.found.effects.names.push(NameEffect::DeallocateAll)
            }
            NodeEnum::DeallocateStmt(deallocate) => self.found.effects.names.push(NameEffect::Deallocate(deallocate.name.clone())),
            NodeEnum::DiscardStmt(discard) => self.discard(discard.target()),
            NodeEnum::TransactionStmt(transaction) => self.transaction(transaction),
            NodeEnum::VariableSetStmt(set) => self.set(set),
            NodeEnum::VariableShowStmt(show) => {
                if show.name.eq_ignore_ascii_case("application_name") {
                    self.found.effects.application_name = Some(ApplicationName::Show);
                }
            }
            NodeEnum::ListenStmt(_) | NodeEnum::UnlistenStmt(_) | NodeEnum::ConstraintsSetStmt(_) => {}
            NodeEnum::NotifyStmt(_) => {
                let object = self.function("pg_catalog", "pg_notify");
                self.found.pair(Action::Execute, object);
            }
            NodeEnum::DoStmt(block) => self.anonymous_block(block),
            NodeEnum::CallStmt(call) => self.call_procedure(call),
            other => self.object_statement(other),
        }
        unknown_columns()
    }

    fn transaction(&mut self, transaction: &pb::TransactionStmt) {
        self.found.effects.transaction = true;
        match transaction.kind() {
            TransactionStmtKind::TransStmtBegin | TransactionStmtKind::TransStmtStart => self.began = true,
            TransactionStmtKind::TransStmtSavepoint | TransactionStmtKind::TransStmtRelease => self.savepoint(transaction),
            // The end takes back what was set inside: settings of this message, and any of a transaction that began before it.
            _ => {
                self.unsettled |= !self.began || self.path != self.view.search_path;
                self.savepoint(transaction);
            }
        }
        // Whatever it did counts from here on.
        self.found.effects.catalog |= transaction.kind() == TransactionStmtKind::TransStmtCommitPrepared;
        // A two-phase transaction outlives the session that made it.
        if matches!(
            transaction.kind(),
            TransactionStmtKind::TransStmtPrepare | TransactionStmtKind::TransStmtCommitPrepared | TransactionStmtKind::TransStmtRollbackPrepared
        ) {
            let database = self.database();
            self.found.pair(Action::Write, database);
        }
        for option in transaction.options.iter().filter_map(inner) {
            if let NodeEnum::DefElem(option) = option {
                self.weigh(&option.defname, option.arg.as_deref().and_then(|node| constants::text(node, &self.parameters)).as_deref());
            }
        }
    }

    /// Whether a setting has this value already, as drivers set again what is so anyway. Behind what may have changed it, that is not known.
    fn is_in_force(&self, name: &str, value: &str) -> bool {
        let spelled = |encoding: &str| encoding.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase()).collect::<Vec<u8>>();
        if self.unsettled || self.found.effects.resolution {
            return false;
        }
        match name.to_ascii_lowercase().as_str() {
            "client_encoding" => spelled(value) == spelled(&self.view.client_encoding),
            "standard_conforming_strings" => constants::boolean(value) == Some(self.view.standard_conforming_strings),
            _ => false,
        }
    }

    /// A setting changes to this value (none for one that is not known).
    fn weigh(&mut self, name: &str, value: Option<&str>) {
        match settings::weight(name, value) {
            Weight::Harmless => {}
            Weight::Configure => self.found.pair(Action::Configure, Object::Connection),
            Weight::Resolution => {
                self.found.pair(Action::Configure, Object::Connection);
                self.found.effects.resolution = true;
            }
            Weight::Identity => {
                self.found.pair(Action::Privilege, Object::Connection);
                self.found.effects.resolution = true;
                self.unsettled = true;
            }
        }
    }

    fn set(&mut self, set: &VariableSetStmt) {
        match set.kind() {
            VariableSetKind::VarSetValue => {
                let values: Option<Vec<String>> = set.args.iter().map(|node| constants::text(node, &self.parameters)).collect();
                let joined = values.as_ref().map(|values| values.join(", "));
                if joined.as_deref().is_some_and(|value| self.is_in_force(&set.name, value)) {
                    self.found.effects.resolution = true;
                } else {
                    self.weigh(&set.name, joined.as_deref());
                }
                self.path_set(&set.name, values.as_deref());
                self.application_name(set, joined);
            }
            VariableSetKind::VarSetMulti if set.name == "TRANSACTION SNAPSHOT" => {}
            VariableSetKind::VarSetMulti => {
                for option in set.args.iter().filter_map(inner) {
                    if let NodeEnum::DefElem(option) = option {
                        self.weigh(&option.defname, option.arg.as_deref().and_then(|node| constants::text(node, &self.parameters)).as_deref());
                    }
                }
            }
            VariableSetKind::VarSetDefault | VariableSetKind::VarReset => self.reset(set),
            VariableSetKind::VarResetAll => {
                self.found.effects.application_name = Some(ApplicationName::Reset);
                self.found.effects.resolution = true;
                self.unsettled = true;
            }
            VariableSetKind::VarSetCurrent | VariableSetKind::Undefined => self.weigh(&set.name, None),
        }
    }

    /// A setting that a function runs under.
    pub(super) fn sets_for_code(&mut self, set: &VariableSetStmt) {
        let values: Option<Vec<String>> = set.args.iter().map(|node| constants::text(node, &self.parameters)).collect();
        match settings::weight(&set.name, values.map(|values| values.join(", ")).as_deref()) {
            Weight::Harmless => {}
            Weight::Configure | Weight::Resolution => self.found.pair(Action::Configure, Object::Connection),
            Weight::Identity => self.found.pair(Action::Privilege, Object::Connection),
        }
    }

    /// Back to what the session began with, which is the gateway's own choice; but who the session acts as is always a matter of privilege.
    fn reset(&mut self, set: &VariableSetStmt) {
        match settings::weight(&set.name, None) {
            Weight::Identity => self.weigh(&set.name, None),
            Weight::Resolution => {
                self.found.effects.resolution = true;
                self.unsettled = true;
            }
            Weight::Configure | Weight::Harmless => {}
        }
        self.application_name(set, None);
    }

    /// What is set inside a part of a transaction goes with that part.
    fn savepoint(&mut self, transaction: &pb::TransactionStmt) {
        let name = || transaction.savepoint_name.clone();
        self.found.effects.application_name = match transaction.kind() {
            TransactionStmtKind::TransStmtSavepoint => Some(ApplicationName::Savepoint(name())),
            TransactionStmtKind::TransStmtRelease => Some(ApplicationName::Release(name())),
            TransactionStmtKind::TransStmtRollbackTo => Some(ApplicationName::RollbackTo(name())),
            _ => return,
        };
    }

    fn application_name(&mut self, set: &VariableSetStmt, value: Option<String>) {
        if set.name.eq_ignore_ascii_case("application_name") {
            self.found.effects.application_name = Some(match (value, set.is_local) {
                (Some(value), false) => ApplicationName::Set(value),
                (Some(value), true) => ApplicationName::SetLocal(value),
                (None, _) => ApplicationName::Reset,
            });
        }
    }

    /// A search path set here is in force for what follows in the same message.
    fn path_set(&mut self, name: &str, values: Option<&[String]>) {
        if !name.eq_ignore_ascii_case("search_path") {
            return;
        }
        let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
        match values {
            Some(values) if !values.iter().any(|name| name == "$user" || name.contains('"')) => {
                let listed: Vec<String> = values.iter().map(quoted).collect();
                self.path = self.existing(search_path(&listed.join(",")));
            }
            _ => self.unsettled = true,
        }
    }

    fn existing(&self, path: Vec<Arc<str>>) -> Vec<Arc<str>> {
        let real = path.iter().map(|name| Arc::from(self.real_schema(name)));
        real.filter(|name: &Arc<str>| self.catalog.has_schema(name)).collect()
    }

    /// `set_config(name, value, local)`.
    pub(super) fn set_config(&mut self, constants: &[Option<String>]) {
        match constants {
            [Some(name), value, ..] => {
                self.weigh(name, value.as_deref());
                if value.is_none() {
                    self.found.pair(Action::Configure, Object::Connection);
                }
                if name.eq_ignore_ascii_case("search_path") {
                    self.unsettled = true;
                }
            }
            _ => {
                self.found.pair(Action::Configure, Object::Connection);
                self.found.doubt("it sets a parameter whose name is not a constant");
            }
        }
    }

    fn discard(&mut self, mode: DiscardMode) {
        let effects = &mut self.found.effects;
        match mode {
            DiscardMode::DiscardAll => {
                effects.names.extend([NameEffect::DeallocateAll, NameEffect::CloseAll]);
                effects.application_name = Some(ApplicationName::Reset);
                effects.resolution = true;
                effects.catalog = true;
            }
            DiscardMode::DiscardTemp => effects.catalog = true,
            DiscardMode::DiscardPlans | DiscardMode::DiscardSequences | DiscardMode::Undefined => {}
        }
    }

    fn anonymous_block(&mut self, block: &pb::DoStmt) {
        let language = block.args.iter().filter_map(inner).find_map(|node| match node {
            NodeEnum::DefElem(option) if option.defname == "language" => match boxed(option.arg.as_ref()) {
                Some(NodeEnum::String(name)) => Some(name.sval.clone()),
                _ => None,
            },
            _ => None,
        });
        let object = self.function("pg_catalog", &format!("{}_inline_handler", language.as_deref().unwrap_or("plpgsql")));
        self.found.pair(Action::Execute, object);
        self.found.stored.values.untold = true;
        self.found.doubt("it runs an anonymous block");
    }

    /// CALL: output arguments may be given or not, so counts tell nothing.
    fn call_procedure(&mut self, call: &pb::CallStmt) {
        let Some(call) = &call.funccall else { return };
        self.expressions(&call.args);
        let (schema, name) = qualified(&call.funcname);
        let candidates: Vec<_> = self.catalog.routines_named(name).filter(|routine| self.sees(schema, &routine.schema)).collect();
        if candidates.is_empty() {
            if self.touched.contains(name) {
                return self.found.doubt("it uses a procedure that an earlier statement of the same message makes or changes");
            }
            let shown = if schema.is_empty() { name.to_owned() } else { format!("{schema}.{name}") };
            return self.found.missing("42883", format!("procedure {shown}() does not exist"));
        }
        for routine in candidates {
            if routine.built_in() { self.run_built_in(routine, &[]) } else { self.run_routine(routine) }
        }
    }

    /// EXPLAIN plans, and plans only read; with ANALYZE it runs what it explains. A plan says how many rows there are by the conditions, how wide they
    /// are, and what of the statement is constant: it is made of the columns that are tested and of those that are shown. Code that somebody defined may
    /// be run for a plan, which then says what it gave.
    fn explain(&mut self, explain: &pb::ExplainStmt) -> Outputs {
        let around = (std::mem::take(&mut self.found.tested), std::mem::take(&mut self.found.functions));
        let mut lineage = self.plans(explain);
        lineage.merge(&self.found.tested.lineage());
        lineage.untold |= !self.found.functions.is_empty();
        let (tested, functions) = around;
        self.found.tested.merge(&tested);
        self.found.functions.extend(functions);
        let plan = Output::made("QUERY PLAN", Some(super::types::TEXT), lineage);
        Outputs { columns: vec![plan], ..Outputs::default() }
    }

    /// Where the columns come from that are shown by what is explained.
    fn plans(&mut self, explain: &pb::ExplainStmt) -> Lineage {
        let Some(query) = boxed(explain.query.as_ref()) else { return Lineage::untold() };
        let runs = explain.options.iter().filter_map(inner).any(|node| match node {
            NodeEnum::DefElem(option) if option.defname == "analyze" => match option.arg.as_deref() {
                None => true,
                Some(value) => !constants::text(value, &self.parameters)
                    .or_else(|| word(value))
                    .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "false" | "off" | "0" | "no")),
            },
            _ => false,
        });
        if runs {
            let (outputs, lineage) = self.traced(|this| this.statement(query, ""));
            return shown_by_plan(query, &outputs, lineage);
        }
        let before = self.found.clone();
        let (outputs, lineage) = self.traced(|this| this.statement(query, ""));
        let after = std::mem::replace(&mut self.found, before);
        for pair in after.pairs {
            let action = match pair.action {
                Action::Write | Action::Destroy | Action::Define | Action::Export => Action::Read,
                action => action,
            };
            self.found.pair(action, pair.object);
        }
        self.found.reads.extend(after.reads.into_iter().chain(after.writes));
        self.found.functions.extend(after.functions);
        self.found.meant.extend(after.meant);
        self.found.opaque |= after.opaque;
        // Planning runs what is not volatile, and the plan says what it gave.
        self.found.wild |= after.wild;
        self.found.tested.merge(&after.tested);
        self.found.effects.catalog |= after.effects.catalog;
        self.found.effects.resolution |= after.effects.resolution;
        self.found.doubt = self.found.doubt.take().or(after.doubt);
        self.found.missing = self.found.missing.take().or(after.missing);
        shown_by_plan(query, &outputs, lineage)
    }

    fn prepare(&mut self, prepare: &pb::PrepareStmt, text: &str) {
        let Some(query) = boxed(prepare.query.as_ref()) else { return };
        for name in prepare.argtypes.iter().filter_map(inner) {
            if let NodeEnum::TypeName(name) = name
                && let Some(ty) = self.type_of(name).or_else(|| self.element_of(name))
            {
                self.take_value(ty);
            }
        }
        let parameters = std::mem::replace(&mut self.parameters, Parameters::new(Known::Later));
        self.statement(query, "");
        self.parameters = parameters;
        match body_after(text, "as", None) {
            Some(body) => self.found.effects.names.push(NameEffect::Prepare { name: prepare.name.clone(), body }),
            None => {
                self.found.stored.values.untold = true;
                self.found.doubt("the text of a prepared statement could not be found");
            }
        }
    }

    fn declare(&mut self, declare: &pb::DeclareCursorStmt, text: &str) {
        let Some(query) = boxed(declare.query.as_ref()) else { return };
        self.statement(query, "");
        match body_after(text, "for", Some("cursor")) {
            Some(body) => self.found.effects.names.push(NameEffect::Declare {
                name: declare.portalname.clone(),
                body,
                hold: declare.options & CURSOR_OPT_HOLD != 0,
            }),
            None => self.found.doubt("the text of a cursor could not be found"),
        }
    }

    fn execute(&mut self, execute: &pb::ExecuteStmt) -> Outputs {
        // What they become is what was declared when it was prepared.
        let give = |this: &mut Self, node: &Node| {
            if let Some(ty) = this.expression(node) {
                this.take_value(ty);
            }
        };
        let ((), handed) = self.traced(|this| execute.params.iter().for_each(|node| give(this, node)));
        let made = self.found.effects.names.iter().rev().find_map(|effect| match effect {
            NameEffect::Prepare { name, body } if *name == execute.name => Some(Some(Named::from(body.as_str()))),
            NameEffect::Deallocate(name) if *name == execute.name => Some(None),
            NameEffect::DeallocateAll => Some(None),
            _ => None,
        });
        let Some(body) = made.unwrap_or_else(|| self.view.prepared.get(&execute.name).cloned()) else {
            self.found.missing("26000", format!("prepared statement \"{}\" does not exist", execute.name));
            return unknown_columns();
        };
        let known = constant_parameters(&execute.params, &self.parameters).map_or(Known::Never, Known::Given);
        let bound = execute.params.iter().all(|node| matches!(inner(node), Some(NodeEnum::ParamRef(_))));
        let outer = std::mem::replace(&mut self.written, !bound);
        let outputs = self.named_text(&body, known, &handed);
        self.written = outer;
        outputs
    }

    fn fetch(&mut self, fetch: &pb::FetchStmt) -> Outputs {
        let made = self.found.effects.names.iter().rev().find_map(|effect| match effect {
            NameEffect::Declare { name, body, .. } if *name == fetch.portalname => Some(Some(Named::from(body.as_str()))),
            NameEffect::Close(name) if *name == fetch.portalname => Some(None),
            NameEffect::CloseAll => Some(None),
            _ => None,
        });
        match made.unwrap_or_else(|| self.view.cursors.get(&fetch.portalname).cloned()) {
            Some(body) => {
                let scope = self.found.row_scope;
                let outputs = self.named_text(&body, Known::Never, &Lineage::default());
                self.found.row_scope = scope.max(RowScope::None);
                if fetch.ismove { unknown_columns() } else { outputs }
            }
            None => {
                self.found.doubt("it fetches from a cursor that the gateway did not see being declared");
                unknown_columns()
            }
        }
    }

    /// The text behind a name, as it would run now, and what it meant when it was given the name should its names lead elsewhere by now.
    /// `handed`: where the parameters come from.
    fn named_text(&mut self, named: &Named, known: Known, handed: &Lineage) -> Outputs {
        let path = self.path.clone();
        let mut outputs = unknown_columns();
        let Found { reads, writes, functions, .. } = &mut self.found;
        let (reads, writes, functions) = (std::mem::take(reads), std::mem::take(writes), std::mem::take(functions));
        self.definition(&named.text, path, |this, statements| {
            this.parameters.known = known;
            this.passed = handed.clone();
            for statement in statements {
                if let Some(node) = boxed(statement.stmt.as_ref()) {
                    outputs = this.statement(node, "");
                }
            }
        });
        let now = &mut self.found;
        let by = |meant: &&Arc<Facts>| {
            led_elsewhere(
                meant,
                self.catalog,
                |read| now.reads.contains(read),
                |written| now.writes.contains(written),
                |name| now.functions.contains(name),
            )
        };
        let meant = named.meant.as_ref().filter(by).cloned();
        now.meant.extend(meant);
        now.reads.extend(reads);
        now.writes.extend(writes);
        now.functions.extend(functions);
        outputs
    }
}

/// What a plan may be made of besides what is tested. A write that gives nothing back shows no columns.
fn shown_by_plan(query: &NodeEnum, outputs: &Outputs, mut gathered: Lineage) -> Lineage {
    let silent = match query {
        NodeEnum::InsertStmt(insert) => insert.returning_clause.is_none(),
        NodeEnum::UpdateStmt(update) => update.returning_clause.is_none(),
        NodeEnum::DeleteStmt(delete) => delete.returning_clause.is_none(),
        NodeEnum::MergeStmt(merge) => merge.returning_clause.is_none(),
        _ => false,
    };
    if !silent {
        gathered.merge(&outputs.lineage());
    }
    gathered
}

/// A bare word, as options have them.
fn word(node: &Node) -> Option<String> {
    match inner(node) {
        Some(NodeEnum::String(text)) => Some(text.sval.clone()),
        Some(NodeEnum::Integer(number)) => Some(number.ival.to_string()),
        Some(NodeEnum::Boolean(truth)) => Some(truth.boolval.to_string()),
        _ => None,
    }
}

/// What follows the first `keyword` outside parentheses, once `after` was seen.
fn body_after(text: &str, keyword: &str, after: Option<&str>) -> Option<String> {
    let mut depth = 0_i32;
    let mut armed = after.is_none();
    for token in parse::tokens(text)? {
        let shown = parse::slice(text, &token);
        match shown {
            "(" => depth += 1,
            ")" => depth -= 1,
            word if depth == 0 && after.is_some_and(|after| word.eq_ignore_ascii_case(after)) => armed = true,
            word if depth == 0 && armed && word.eq_ignore_ascii_case(keyword) => {
                let body = text.get(usize::try_from(token.end).ok()?..)?;
                return Some(body.trim().trim_end_matches(';').trim_end().to_owned());
            }
            _ => {}
        }
    }
    None
}
