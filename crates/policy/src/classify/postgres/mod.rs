//! PostgreSQL statements, by PostgreSQL's own grammar (`pg_query`) and a snapshot of the database's catalog.
//!
//! [`classify`] answers for one message: a `Query` string with any number of statements, or the text behind a `Bind`. Its work is bounded by the bytes
//! of the statement and of the definitions it names; deep trees are handled on a thread of its own with a stack made for them, deeper ones refused.

mod analysis;
mod builtins;
pub mod catalog;
mod catalog_queries;
mod constants;
mod copies;
mod definitions;
#[cfg(test)]
mod documented;
mod expressions;
mod filters;
mod found;
mod functions;
mod kinds;
mod lineage;
mod looks;
mod names;
mod objects;
mod parse;
mod prepared;
mod queries;
mod reaching;
mod row_scope;
mod secrets;
mod settings;
pub mod shape;
mod snapshot;
mod statements;
mod types;
mod weight;
mod writes;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use model::{Facts, facts::NameEffect};

pub(crate) use self::found::level;
use self::{analysis::Analysis, catalog::Catalog, found::Found, looks::Noted, shape::Likeness};
pub use self::{
    prepared::{Named, meaning_beside},
    types::parameter_runs_code,
};

/// Longest text that is read, in bytes; a longer one is unreadable.
pub const MAX_STATEMENT_BYTES: usize = 4 << 20;

/// Stack for statements that are not provably shallow, in bytes. Only what is used of it is ever backed by memory.
///
/// The parser's own limits bound the depth of what it hands over (`nested too deeply to serialize`); that depth was measured to fit.
const DEEP_STACK_BYTES: usize = if cfg!(debug_assertions) { 1 << 30 } else { 256 << 20 };

/// What a caller asks to run.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// The text, decoded.
    pub text: &'a str,
    /// The decoded parameters, where they are known: at Bind.
    pub parameters: Option<&'a [ParameterValue]>,
}

/// The value of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterValue {
    /// NULL.
    Null,
    /// As PostgreSQL would print it.
    Text(String),
    /// There is one, and nobody here can say which: it may be any.
    Unreadable,
}

/// What of a session's state decides what a statement means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// The database it is connected to.
    pub database: Arc<str>,
    /// The name policies know the target's machine by: the connection's.
    pub host: Arc<str>,
    /// The effective search path, `current_schemas(true)`: with `pg_catalog` and the temporary schema where they are searched.
    pub search_path: Vec<Arc<str>>,
    /// The session's own temporary schema, `pg_temp_3`, if it has one by now.
    pub temporary_schema: Option<Arc<str>>,
    /// `current_user`.
    pub role: Arc<str>,
    /// `session_user`.
    pub session_user: Arc<str>,
    /// Whether a backslash in a plain string is only a backslash.
    pub standard_conforming_strings: bool,
    /// `client_encoding`, as the server spells it.
    pub client_encoding: Arc<str>,
    /// Prepared statements by name, made by SQL or by the protocol.
    pub prepared: HashMap<String, Named>,
    /// Cursors and portals by name: their query.
    pub cursors: HashMap<String, Named>,
}

impl Default for SessionView {
    /// A session as a fresh server gives it: `pg_catalog, public`, UTF8, standard strings.
    fn default() -> Self {
        Self {
            database: Arc::from("postgres"),
            host: Arc::from("server"),
            search_path: vec![Arc::from("pg_catalog"), Arc::from("public")],
            temporary_schema: None,
            role: Arc::from(""),
            session_user: Arc::from(""),
            standard_conforming_strings: true,
            client_encoding: Arc::from("UTF8"),
            prepared: HashMap::new(),
            cursors: HashMap::new(),
        }
    }
}

/// The effective search path as JSON, `current_schemas(true)`. Asked for that, a server makes the session's temporary schema where the path begins
/// with `pg_temp`, and a transaction that made one cannot be prepared: there the path is put together from the setting (`SplitIdentifierString` and
/// `recomputeNamespacePath` in the server's `varlena.c` and `namespace.c`), in which a schema that does not exist yet counts for nothing. How letters
/// beyond ASCII are lowered depends on the database, so that with any such letter the server is asked.
macro_rules! search_path {
    () => {
        "CASE WHEN pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.=) 0::pg_catalog.oid AND pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.~~*) '%pg_temp%' \
         AND pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.!~) '[^ -~]' \
         THEN (WITH listed AS (SELECT i.place, CASE WHEN COALESCE(i.named[1], i.named[2]) OPERATOR(pg_catalog.=) '$user' THEN current_user::pg_catalog.text \
         WHEN i.named[1] IS NULL THEN pg_catalog.lower(i.named[2] COLLATE pg_catalog.\"C\") ELSE pg_catalog.replace(i.named[1], '\"\"', '\"') END::pg_catalog.name AS name \
         FROM pg_catalog.regexp_matches(pg_catalog.current_setting('search_path'), '\"((?:[^\"]|\"\")*)\"|([^\",[:space:]]+)', 'g') WITH ORDINALITY AS i(named, place)) \
         SELECT pg_catalog.to_json(pg_catalog.array_agg(n.nspname ORDER BY l.place)) FROM (SELECT 0::pg_catalog.int8 AS place, 'pg_catalog'::pg_catalog.name AS name \
         WHERE NOT EXISTS (SELECT FROM listed WHERE listed.name OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.name) UNION ALL SELECT listed.place, listed.name FROM listed) l \
         JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) l.name \
         AND (l.place OPERATOR(pg_catalog.=) 0::pg_catalog.int8 OR pg_catalog.has_schema_privilege(n.oid, 'USAGE'))) \
         ELSE pg_catalog.to_json(pg_catalog.current_schemas(true)) END::pg_catalog.text"
    };
}

/// As `search_path!`, for queries that are put together.
const SEARCH_PATH: &str = search_path!();

/// Asks a session for what [`SessionView::from_row`] takes: one row of text columns. Safe on a caller's own backend, whatever its search path.
pub const RESOLUTION_QUERY: &str = concat!(
    "SELECT ",
    search_path!(),
    ", current_user::pg_catalog.text, session_user::pg_catalog.text, \
     pg_catalog.current_setting('client_encoding')::pg_catalog.text, pg_catalog.current_setting('standard_conforming_strings')::pg_catalog.text, \
     (SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace n WHERE n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
);

impl SessionView {
    /// Reads the row of [`RESOLUTION_QUERY`]; prepared statements and cursors are empty, the host is the default. None if the row is not of its shape.
    #[must_use]
    pub fn from_row(database: &str, row: &[Option<String>]) -> Option<Self> {
        let text = |at: usize| row.get(at).and_then(Option::as_deref);
        let path: Vec<String> = serde_json::from_str(text(0)?).ok()?;
        Some(Self {
            database: Arc::from(database),
            search_path: path.into_iter().map(Arc::from).collect(),
            temporary_schema: text(5).map(Arc::from),
            role: Arc::from(text(1)?),
            session_user: Arc::from(text(2)?),
            standard_conforming_strings: text(4)? == "on",
            client_encoding: Arc::from(text(3)?),
            ..Self::default()
        })
    }

    /// Follows what an operation did to the names of prepared statements and cursors, once it succeeded.
    pub fn apply(&mut self, effects: &[NameEffect]) {
        for effect in effects {
            match effect {
                NameEffect::Prepare { name, body } => drop(self.prepared.insert(name.clone(), body.as_str().into())),
                NameEffect::Deallocate(name) => drop(self.prepared.remove(name)),
                NameEffect::DeallocateAll => self.prepared.clear(),
                NameEffect::Declare { name, body, .. } => drop(self.cursors.insert(name.clone(), body.as_str().into())),
                NameEffect::Close(name) => drop(self.cursors.remove(name)),
                NameEffect::CloseAll => self.cursors.clear(),
            }
        }
    }
}

/// What a statement means. Never panics; what it cannot understand within its limits is [`model::Understanding::Unreadable`].
#[must_use]
pub fn classify(statement: &Statement<'_>, catalog: &Catalog, view: &SessionView) -> Facts {
    classify_noting(statement, catalog, view).0
}

/// As [`classify`], and which other statements mean the same.
#[must_use]
pub fn classify_noting(statement: &Statement<'_>, catalog: &Catalog, view: &SessionView) -> (Facts, Likeness) {
    let (mut facts, noted) = meaning(statement, catalog, view);
    facts.secret_spans = secrets::spans(statement.text);
    let likeness = Likeness::new(statement, &facts, &noted, view);
    (facts, likeness)
}

fn meaning(statement: &Statement<'_>, catalog: &Catalog, view: &SessionView) -> (Facts, Noted) {
    let unreadable = |why: &str| (Found::unreadable(why).into_facts(), Noted::default());
    if statement.text.len() > MAX_STATEMENT_BYTES {
        return unreadable(&format!("it is longer than {MAX_STATEMENT_BYTES} bytes"));
    }
    if parse::scans_slowly(statement.text) {
        return unreadable(parse::TOO_MANY_SIGNS);
    }
    if let Some(why) = parse::lexing_doubt(statement.text, view) {
        return unreadable(why);
    }
    if let Some(why) = weight::too_much(statement.text) {
        return unreadable(why);
    }
    if parse::is_shallow(statement.text)
        && let Some(found) = attempt(statement, catalog, view, false)
    {
        return found;
    }
    on_deep_stack(statement, catalog, view).unwrap_or_else(|| unreadable("it is nested too deeply"))
}

/// None when it needs the deep stack after all: a definition it names is not shallow.
fn attempt(statement: &Statement<'_>, catalog: &Catalog, view: &SessionView, deep: bool) -> Option<(Facts, Noted)> {
    let work = || Analysis::new(catalog, view, statement.parameters, deep).run(statement.text);
    // The parser's own tree code asserts what the grammar promises; should it be wrong, that is one unreadable statement.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Some((Found::unreadable("the parser failed on it").into_facts(), Noted::default())))
}

fn on_deep_stack(statement: &Statement<'_>, catalog: &Catalog, view: &SessionView) -> Option<(Facts, Noted)> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("classify".to_owned()).stack_size(DEEP_STACK_BYTES);
        builder.spawn_scoped(scope, || attempt(statement, catalog, view, true)).ok()?.join().ok()?
    })
}
