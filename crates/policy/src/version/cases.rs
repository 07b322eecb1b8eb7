//! `tests/*.toml`: policy tests. Identities are named once in a file and used by its tests.

use std::{collections::BTreeMap, sync::Arc};

use model::{
    Action, Actor, ActorChain, Connection, ConnectionName, DataClassName, EnvironmentName, Granted, GroupName, IdentityId, IdentityKind,
    IdentityName, Object, PolicyId, RequestId, SystemAction, Timestamp,
    connection::{Protocol, TargetLogin, TargetTls},
};

use super::{
    problem::suggestion,
    reading::{Page, Placed, Section, parse_text, wrong_kind},
};
use crate::decide::Recent;

/// One policy test: who, where, what, and the answer expected.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyTest {
    /// The file it stands in.
    pub file: String,
    /// The line it begins at, from 1.
    pub line: u32,
    /// What it shows, for people.
    pub name: String,
    /// Who asks.
    pub chain: ActorChain,
    /// What is asked.
    pub ask: Ask,
    /// What the caller did before.
    pub recent: Recent,
    /// The answer expected.
    pub expect: Expectation,
    /// Policies that must be among those that decide.
    pub policies: Vec<PolicyId>,
    /// The classified columns of what the statement touches that must come back masked, `schema.table.column`, and no others; not checked if none is given.
    pub masked: Option<Vec<String>>,
}

/// What a policy test asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// May this statement run?
    Statement {
        /// Where.
        place: Place,
        /// The statement.
        text: String,
        /// The catalog snapshot it is understood by: a name given to `countersign catalog export`.
        catalog: String,
    },
    /// May this action be done to this object?
    Action {
        /// Where.
        place: Place,
        /// The action.
        action: Action,
        /// The object.
        object: Object,
    },
    /// Are values of this class seen unmasked?
    Reveal {
        /// Where.
        place: Place,
        /// The class.
        class: DataClassName,
    },
    /// May this role be asked for?
    Request {
        /// Where.
        place: Place,
        /// The role.
        role: String,
        /// For how long, in seconds.
        window_s: u64,
        /// Whether for a single statement.
        one_statement: bool,
    },
    /// May this be done to Countersign itself?
    System(SystemAction),
}

/// Where a policy test asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A connection of the version, or one made up for an environment.
    pub connection: Arc<Connection>,
    /// The database.
    pub database: String,
}

/// The answer a policy test expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// It may.
    Allow,
    /// It waits for signatures.
    Hold,
    /// It may not. For a reveal: masked.
    Deny,
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Deny => "deny",
        })
    }
}

const EXPECTATIONS: [(&str, Expectation); 3] = [("allow", Expectation::Allow), ("hold", Expectation::Hold), ("deny", Expectation::Deny)];
const KINDS: [(&str, IdentityKind); 3] = [("user", IdentityKind::User), ("workload", IdentityKind::Workload), ("agent", IdentityKind::Agent)];

/// What the tests of one file may refer to.
struct Known<'a> {
    connections: &'a BTreeMap<ConnectionName, Arc<Connection>>,
    identities: BTreeMap<String, Actor>,
}

/// Reads every test of one file.
pub(crate) fn read(page: &mut Page<'_>, connections: &BTreeMap<ConnectionName, Arc<Connection>>) -> Vec<PolicyTest> {
    let Some(document) = page.parse() else { return Vec::new() };
    let mut top = Section::new(document.get_ref(), "the file", 0);
    let identities = top.table(page, "identities").map(|section| read_identities(page, &section)).unwrap_or_default();
    let known = Known { connections, identities };
    let mut tests = Vec::new();
    for mut section in top.tables(page, "test") {
        let test = read_test(page, &mut section, &known);
        section.close(page);
        tests.extend(test);
    }
    top.close(page);
    tests
}

fn read_identities(page: &mut Page<'_>, section: &Section<'_, '_>) -> BTreeMap<String, Actor> {
    let mut identities = BTreeMap::new();
    for (number, (key, value)) in (0u64..).zip(section.entries()) {
        let name = parse_text::<IdentityName>(page, key);
        let Some(table) = value.get_ref().as_table() else {
            wrong_kind(page, key.value, value, "a table: { kind = \"user\", groups = [\"…\"] }");
            continue;
        };
        let mut section = Section::new(table, format!("the identity `{}`", model::name::printable(key.value)), value.span().start);
        let kind = section.word(page, "kind", &KINDS).map_or(IdentityKind::User, |kind| kind.value);
        let groups = section.texts(page, "groups");
        let mut groups: Vec<GroupName> = groups.into_iter().filter_map(|group| Some(parse_text(page, group)?.value)).collect();
        groups.sort();
        let owner = section.parsed::<IdentityName>(page, "owner").map(|owner| owner.value);
        section.close(page);
        if let Some(name) = name {
            let id = IdentityId::from_random(number);
            identities.insert(name.value.to_string(), Actor { id, name: name.value, kind, groups, owner, run: None, granted: Vec::new() });
        }
    }
    identities
}

fn read_test(page: &mut Page<'_>, section: &mut Section<'_, '_>, known: &Known<'_>) -> Option<PolicyTest> {
    let line = super::problem::Problem::at(page.file, page.text, section.at, "").line;
    let name = section.needed_text(page, "name", "say what the test shows");
    let chain = read_chain(page, section, known);
    let ask = read_ask(page, section, known);
    if !section.has("expect") {
        section.missing(page, "expect", "write expect = \"allow\", \"hold\" or \"deny\"");
    }
    let expect = section.word(page, "expect", &EXPECTATIONS);
    let policies = section.texts(page, "policies").into_iter().filter_map(|id| Some(parse_text(page, id)?.value)).collect();
    let rows_written = section.number(page, "rows_written", 0, u32::MAX).map_or(0, |rows| u64::from(rows.value));
    let checks_masks = section.has("masked");
    let masked = section.texts(page, "masked").into_iter().map(|column| column.value.to_owned()).collect();
    let granted = section.texts(page, "granted");
    let (mut chain, ask, name) = (chain?, ask?, name?.value.to_owned());
    chain.subject.granted = granted.into_iter().map(|role| read_granted(page, role, &ask)).collect::<Option<_>>()?;
    Some(PolicyTest {
        file: page.file.to_owned(),
        line,
        name,
        chain,
        ask,
        recent: Recent { rows_written },
        expect: expect?.value,
        policies,
        masked: checks_masks.then_some(masked),
    })
}

/// A role as if it had been granted on the connection the test asks about.
fn read_granted(page: &mut Page<'_>, role: Placed<&str>, ask: &Ask) -> Option<Granted> {
    let roles = match ask {
        Ask::Action { place, .. } | Ask::Statement { place, .. } | Ask::Reveal { place, .. } | Ask::Request { place, .. } => {
            Some(&place.connection.roles)
        }
        Ask::System(_) => None,
    };
    let group = roles.and_then(|roles| roles.get(role.value));
    if group.is_none() {
        let message = format!("the connection has no role `{}` in its [roles]", model::name::printable(role.value));
        page.wrong_with_help(role.at, message, suggestion(role.value, roles.into_iter().flat_map(|roles| roles.keys().map(String::as_str))));
    }
    Some(Granted { request: RequestId::from_random(0), role: role.value.to_owned(), group: group?.clone(), until: Timestamp::MAX })
}

fn read_chain(page: &mut Page<'_>, section: &mut Section<'_, '_>, known: &Known<'_>) -> Option<ActorChain> {
    let subject = section.needed_text(page, "identity", "name one of the file's [identities]");
    let subject = subject.and_then(|name| identity(page, name, known));
    let via = section.texts(page, "via");
    let members = via.len();
    let actors: Vec<Actor> = via.into_iter().filter_map(|name| identity(page, name, known)).collect();
    let minted_by = section.parsed::<IdentityName>(page, "minted_by").map(|name| name.value);
    let complete = actors.len() == members;
    subject.filter(|_| complete).map(|subject| ActorChain { subject, actors, minted_by })
}

fn identity(page: &mut Page<'_>, name: Placed<&str>, known: &Known<'_>) -> Option<Actor> {
    let found = known.identities.get(name.value).cloned();
    if found.is_none() {
        let message = format!("[identities] of this file has no `{}`", model::name::printable(name.value));
        page.wrong_with_help(name.at, message, suggestion(name.value, known.identities.keys().map(String::as_str)));
    }
    found
}

fn read_ask(page: &mut Page<'_>, section: &mut Section<'_, '_>, known: &Known<'_>) -> Option<Ask> {
    let statement = section.text(page, "statement");
    let action = section.text(page, "action");
    let catalog = section.text(page, "catalog");
    let system = action.and_then(|action| action.value.parse::<SystemAction>().ok());
    let place = if system.is_some() { None } else { Some(read_place(page, section, known)) };
    match (statement, action, system) {
        (_, Some(_), Some(system)) => Some(Ask::System(system)),
        (Some(text), None, _) => {
            let place = place.flatten()?;
            let catalog = catalog.map_or_else(|| place.connection.name.to_string(), |name| name.value.to_owned());
            Some(Ask::Statement { place, text: text.value.to_owned(), catalog })
        }
        (None, Some(action), None) => read_action(page, section, action, place.flatten()),
        _ => {
            page.wrong_with_help(
                section.at,
                "[[test]] needs either `statement` or `action`",
                "write statement = \"DROP TABLE payments\", or action = \"destroy\" with table = \"public.payments\"",
            );
            None
        }
    }
}

fn read_action(page: &mut Page<'_>, section: &mut Section<'_, '_>, action: Placed<&str>, place: Option<Place>) -> Option<Ask> {
    let class = section.parsed::<DataClassName>(page, "class").map(|class| class.value);
    let database: Arc<str> = Arc::from(place.as_ref().map_or("", |place| place.database.as_str()));
    let object = read_object(page, section, &database);
    let Ok(parsed) = action.value.parse::<Action>() else {
        let known: Vec<&str> = Action::ALL.iter().map(|a| a.as_str()).chain(SystemAction::ALL.iter().map(|a| a.as_str())).collect();
        page.wrong_with_help(action.at, format!("there is no action `{}`", model::name::printable(action.value)), suggestion(action.value, known));
        return None;
    };
    if parsed == Action::Request {
        return read_wish(page, section, place?);
    }
    match (parsed, class) {
        (Action::Reveal, Some(class)) => Some(Ask::Reveal { place: place?, class }),
        (Action::Filter, Some(class)) => {
            let object = Object::DataClass { class: class.as_str().into() };
            Some(Ask::Action { place: place?, action: parsed, object })
        }
        (Action::Reveal | Action::Filter, None) => {
            section.missing(page, "class", &format!("a {parsed} is asked for a data class: class = \"email\""));
            None
        }
        (action, _) => Some(Ask::Action { place: place?, action, object: object? }),
    }
}

/// `role = "writer"`, `window_s = 3600`, `scope = "role"` or `"statement"`.
fn read_wish(page: &mut Page<'_>, section: &mut Section<'_, '_>, place: Place) -> Option<Ask> {
    let role = section.needed_text(page, "role", "name the role that is asked for, one of the connection's [roles]")?;
    if !place.connection.roles.contains_key(role.value) {
        let message = format!("{} has no role `{}` in its [roles]", place.connection.name, model::name::printable(role.value));
        page.wrong_with_help(role.at, message, suggestion(role.value, place.connection.roles.keys().map(String::as_str)));
        return None;
    }
    let window_s = section.number(page, "window_s", 1, u32::MAX).map_or(3_600, |seconds| u64::from(seconds.value));
    let one_statement = section.word(page, "scope", &[("role", false), ("statement", true)]).is_some_and(|scope| scope.value);
    Some(Ask::Request { place, role: role.value.to_owned(), window_s, one_statement })
}

/// `table = "schema.table"`, `column = "schema.table.column"`, `function = "schema.function"`, `schema = "…"`, or the connection.
fn read_object(page: &mut Page<'_>, section: &mut Section<'_, '_>, database: &Arc<str>) -> Option<Object> {
    let [schema, table, column, function] = ["schema", "table", "column", "function"].map(|key| section.text(page, key));
    let database = Arc::clone(database);
    let given = [schema, table, column, function].into_iter().flatten().count();
    if given > 1 {
        page.wrong(section.at, "name one object only: `schema`, `table`, `column` or `function`");
        return None;
    }
    if let Some(name) = schema {
        return Some(Object::Schema { database, schema: name.value.into() });
    }
    if let Some(name) = table {
        let [schema, table] = parts(page, name, "schema.table")?;
        return Some(Object::Table { database, schema, table });
    }
    if let Some(name) = column {
        let [schema, table, column] = parts(page, name, "schema.table.column")?;
        return Some(Object::Column { database, schema, table, column });
    }
    if let Some(name) = function {
        let [schema, function] = parts(page, name, "schema.function")?;
        return Some(Object::Function { database, schema, function });
    }
    Some(Object::Connection)
}

fn parts<const N: usize>(page: &mut Page<'_>, name: Placed<&str>, shape: &str) -> Option<[Arc<str>; N]> {
    let parts: Vec<Arc<str>> = name.value.split('.').map(Arc::from).collect();
    let parts = <[Arc<str>; N]>::try_from(parts).ok();
    if parts.is_none() {
        page.wrong(name.at, format!("`{}` is not of the form {shape}", model::name::printable(name.value)));
    }
    parts
}

fn read_place(page: &mut Page<'_>, section: &mut Section<'_, '_>, known: &Known<'_>) -> Option<Place> {
    let connection = section.parsed::<ConnectionName>(page, "connection");
    let environment = section.parsed::<EnvironmentName>(page, "environment");
    let database = section.text(page, "database").map(|database| database.value.to_owned());
    let connection = match (connection, environment) {
        (Some(name), None) => {
            let found = known.connections.get(&name.value).cloned();
            if found.is_none() {
                let message = format!("there is no connection `{}`", name.value);
                page.wrong_with_help(name.at, message, suggestion(name.value.as_str(), known.connections.keys().map(ConnectionName::as_str)));
            }
            found?
        }
        (None, Some(environment)) => Arc::new(any_connection(environment.value)?),
        _ => {
            let help = "write connection = \"NAME\", or environment = \"production\" for any connection there";
            page.wrong_with_help(section.at, "[[test]] needs either `connection` or `environment`", help);
            return None;
        }
    };
    let database = database.unwrap_or_else(|| connection.database.clone());
    Some(Place { connection, database })
}

/// A connection that stands for any in an environment. It is never dialled.
fn any_connection(environment: EnvironmentName) -> Option<Connection> {
    Some(Connection {
        name: "any".parse().ok()?,
        protocol: Protocol::Postgres,
        host: "localhost".to_owned(),
        port: 5432,
        database: "any".to_owned(),
        databases: Vec::new(),
        environment,
        tags: Vec::new(),
        description: None,
        login: TargetLogin { user: "any".to_owned(), password: None, certificate: None },
        jit: None,
        machine: None,
        catalog_login: None,
        tls: TargetTls::LoopbackPlain,
        record: model::RecordLevel::Statements,
        detect: Vec::new(),
        roles: BTreeMap::new(),
    })
}
