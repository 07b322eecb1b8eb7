//! What Cedar is told of one operation: the entities that take part, and the context.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use model::{
    Action, Actor, Connection, EnvironmentName, Facts, GroupName, IdentityKind, Object, RowScope, SystemAction, Timestamp, Understanding,
    connection::Protocol,
    facts::{Comparison, RelationRef},
};

use crate::decide::{Recent, Wish};

/// The one `System` entity.
const SYSTEM: &str = "countersign";

/// The kind of an interactive shell.
const INTERACTIVE: &str = "shell";

/// Something about an operation that Cedar would not take. It cannot happen with names and facts of ours, and denies if it does.
#[derive(Debug, Clone, thiserror::Error)]
#[error("what is known of the operation cannot be put to the policies: {0}")]
pub(crate) struct Unaskable(String);

impl Unaskable {
    pub(crate) fn from_display(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Cedar's type names and action entities, parsed once.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    types: HashMap<&'static str, EntityTypeName>,
    actions: HashMap<&'static str, EntityUid>,
}

const TYPES: [&str; 17] = [
    "User",
    "Workload",
    "Agent",
    "Group",
    "Environment",
    "Connection",
    "Database",
    "Schema",
    "Table",
    "Column",
    "Function",
    "Host",
    "Program",
    "Path",
    "Role",
    "DataClass",
    "System",
];

impl Vocabulary {
    pub(crate) fn new() -> Result<Self, Unaskable> {
        let parse = |name: &str| EntityTypeName::from_str(name).map_err(|error| Unaskable(error.to_string()));
        let types = TYPES.into_iter().map(|name| Ok((name, parse(name)?))).collect::<Result<_, Unaskable>>()?;
        let action = parse("Action")?;
        let uid = |name: &'static str| (name, EntityUid::from_type_name_and_id(action.clone(), EntityId::new(name)));
        let names = Action::ALL.iter().map(|a| a.as_str()).chain(SystemAction::ALL.iter().map(|a| a.as_str()));
        Ok(Self { types, actions: names.map(uid).collect() })
    }

    pub(crate) fn action(&self, name: &str) -> Result<&EntityUid, Unaskable> {
        self.actions.get(name).ok_or_else(|| Unaskable(format!("no action {name}")))
    }

    /// Every action's entity.
    pub(crate) fn actions(&self) -> impl Iterator<Item = (&'static str, &EntityUid)> {
        self.actions.iter().map(|(name, uid)| (*name, uid))
    }

    fn uid(&self, type_name: &str, id: &str) -> Result<EntityUid, Unaskable> {
        let name = self.types.get(type_name).ok_or_else(|| Unaskable(format!("no type {type_name}")))?;
        Ok(EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id)))
    }

    pub(crate) fn actor(&self, kind: IdentityKind, name: &str) -> Result<EntityUid, Unaskable> {
        self.uid(kind.entity_type(), name)
    }

    pub(crate) fn group(&self, group: &GroupName) -> Result<EntityUid, Unaskable> {
        self.uid("Group", group.as_str())
    }

    pub(crate) fn connection(&self, connection: &Connection) -> Result<EntityUid, Unaskable> {
        self.uid("Connection", connection.name.as_str())
    }

    pub(crate) fn environment(&self, environment: &EnvironmentName) -> Result<EntityUid, Unaskable> {
        self.uid("Environment", environment.as_str())
    }

    pub(crate) fn object(&self, connection: &Connection, object: &Object) -> Result<EntityUid, Unaskable> {
        self.uid(object.entity_type(), &object.entity_id(&connection.name))
    }

    pub(crate) fn class(&self, class: &str) -> Result<EntityUid, Unaskable> {
        self.uid("DataClass", class)
    }

    pub(crate) fn system(&self) -> Result<EntityUid, Unaskable> {
        self.uid("System", SYSTEM)
    }
}

/// The entities of one operation, collected without repetition.
pub(crate) struct World<'v> {
    vocabulary: &'v Vocabulary,
    entities: HashMap<EntityUid, Entity>,
}

/// An entity and everything above it, itself first.
pub(crate) struct Lineage {
    pub(crate) uid: EntityUid,
    pub(crate) above: Vec<EntityUid>,
}

impl Lineage {
    pub(crate) fn all(&self) -> impl Iterator<Item = &EntityUid> {
        std::iter::once(&self.uid).chain(&self.above)
    }
}

impl<'v> World<'v> {
    pub(crate) fn new(vocabulary: &'v Vocabulary) -> Self {
        Self { vocabulary, entities: HashMap::new() }
    }

    /// The entities for Cedar.
    pub(crate) fn close(self) -> Result<Entities, Unaskable> {
        Entities::from_entities(self.entities.into_values(), None).map_err(|error| Unaskable(error.to_string()))
    }

    /// Somebody with the groups the register has them in: as they govern and sign.
    pub(crate) fn actor(&mut self, actor: &Actor) -> Result<Lineage, Unaskable> {
        self.actor_in(actor, actor.groups.iter())
    }

    /// Somebody on the connection their chain is for: with the groups that grants make them a member of at `now`.
    pub(crate) fn member(&mut self, actor: &Actor, now: Timestamp) -> Result<Lineage, Unaskable> {
        let granted = actor.granted.iter().filter(|granted| now < granted.until).map(|granted| &granted.group);
        self.actor_in(actor, actor.groups.iter().chain(granted.filter(|group| !actor.groups.contains(group))))
    }

    fn actor_in<'g>(&mut self, actor: &Actor, groups: impl Iterator<Item = &'g GroupName>) -> Result<Lineage, Unaskable> {
        let uid = self.vocabulary.actor(actor.kind, actor.name.as_str())?;
        let above = groups.map(|group| self.vocabulary.group(group)).collect::<Result<Vec<_>, _>>()?;
        for group in &above {
            self.add(group, Vec::new(), &[])?;
        }
        let mut attributes = vec![("name", text(actor.name.as_str()))];
        attributes.extend(actor.owner.iter().map(|owner| ("owner", text(owner.as_str()))));
        self.add(&uid, attributes, &above)?;
        Ok(Lineage { uid, above })
    }

    pub(crate) fn connection(&mut self, connection: &Connection) -> Result<Lineage, Unaskable> {
        let uid = self.vocabulary.connection(connection)?;
        let environment = self.vocabulary.environment(&connection.environment)?;
        if !self.entities.contains_key(&uid) {
            self.add(&environment, vec![("name", text(connection.environment.as_str()))], &[])?;
            let attributes = vec![
                ("name", text(connection.name.as_str())),
                ("environment", RestrictedExpression::new_entity_uid(environment.clone())),
                ("tags", texts(connection.tags.iter().map(String::as_str))),
                ("protocol", text(connection.protocol.as_str())),
            ];
            self.add(&uid, attributes, std::slice::from_ref(&environment))?;
        }
        Ok(Lineage { uid, above: vec![environment] })
    }

    pub(crate) fn object(&mut self, connection: &Connection, object: &Object) -> Result<Lineage, Unaskable> {
        if let Object::DataClass { class } = object {
            return self.class(class);
        }
        let Some(parent) = above(object) else { return self.connection(connection) };
        let parent = self.object(connection, &parent)?;
        let uid = self.vocabulary.object(connection, object)?;
        if !self.entities.contains_key(&uid) {
            self.add(&uid, attributes(object), std::slice::from_ref(&parent.uid))?;
        }
        let above = std::iter::once(parent.uid).chain(parent.above).collect();
        Ok(Lineage { uid, above })
    }

    pub(crate) fn class(&mut self, class: &str) -> Result<Lineage, Unaskable> {
        let uid = self.vocabulary.class(class)?;
        self.add(&uid, vec![("name", text(class))], &[])?;
        Ok(Lineage { uid, above: Vec::new() })
    }

    pub(crate) fn system(&mut self) -> Result<Lineage, Unaskable> {
        let uid = self.vocabulary.system()?;
        self.add(&uid, Vec::new(), &[])?;
        Ok(Lineage { uid, above: Vec::new() })
    }

    fn add(&mut self, uid: &EntityUid, attributes: Vec<(&str, RestrictedExpression)>, parents: &[EntityUid]) -> Result<(), Unaskable> {
        if self.entities.contains_key(uid) {
            return Ok(());
        }
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let parents: HashSet<EntityUid> = parents.iter().cloned().collect();
        let entity = Entity::new(uid.clone(), attributes, parents).map_err(|error| Unaskable(error.to_string()))?;
        self.entities.insert(uid.clone(), entity);
        Ok(())
    }
}

/// What an object is part of; nothing for the connection.
fn above(object: &Object) -> Option<Object> {
    match object {
        Object::Connection | Object::DataClass { .. } => None,
        Object::Database { .. } | Object::Host { .. } | Object::Program { .. } | Object::Role { .. } => Some(Object::Connection),
        Object::Path { path } => Some(directory(path).map_or(Object::Connection, |path| Object::Path { path: path.into() })),
        Object::Schema { database, .. } => Some(Object::Database { database: database.clone() }),
        Object::Table { database, schema, .. } | Object::Function { database, schema, .. } => {
            Some(Object::Schema { database: database.clone(), schema: schema.clone() })
        }
        Object::Column { database, schema, table, .. } => {
            Some(Object::Table { database: database.clone(), schema: schema.clone(), table: table.clone() })
        }
    }
}

/// The directory a path lies in; none for `/` and `~`.
fn directory(path: &str) -> Option<&str> {
    let (directory, name) = path.rsplit_once('/')?;
    match (directory, name) {
        ("", "") => None,
        ("", _) => Some("/"),
        (directory, _) => Some(directory),
    }
}

fn attributes(object: &Object) -> Vec<(&'static str, RestrictedExpression)> {
    match object {
        Object::Connection | Object::DataClass { .. } => Vec::new(),
        Object::Database { database } => vec![("name", text(database))],
        Object::Schema { schema, .. } => vec![("name", text(schema))],
        Object::Table { schema, table, .. } => vec![("name", text(table)), ("schema", text(schema))],
        Object::Column { schema, table, column, .. } => vec![("name", text(column)), ("schema", text(schema)), ("table", text(table))],
        Object::Function { schema, function, .. } => vec![("name", text(function)), ("schema", text(schema))],
        Object::Host { host } => vec![("name", text(host))],
        Object::Program { program } => vec![("name", text(program))],
        Object::Path { path } => vec![("name", text(path))],
        Object::Role { role } => vec![("name", text(role))],
    }
}

/// What a context is made of. Attributes no policy looks at are left out: `context` is never used whole, so none could tell.
#[derive(Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) connection: Option<(&'a Connection, &'a str)>,
    pub(crate) statement: Option<&'a Facts>,
    /// For `filter`: what is learnt of the class's values.
    pub(crate) comparison: Option<Comparison>,
    /// For `request`: what is asked for.
    pub(crate) wish: Option<Wish<'a>>,
    pub(crate) recent: Recent,
    pub(crate) now: Timestamp,
}

impl Circumstances<'_> {
    /// The context with `approved` as given, or without it where nothing can be approved.
    pub(crate) fn context(&self, vocabulary: &Vocabulary, looked_at: &dyn Fn(&str) -> bool, approved: Option<bool>) -> Result<Context, Unaskable> {
        let mut pairs: Vec<(&str, RestrictedExpression)> = Vec::with_capacity(6);
        if let Some((connection, database)) = self.connection {
            if looked_at("connection") {
                pairs.push(("connection", RestrictedExpression::new_entity_uid(vocabulary.connection(connection)?)));
            }
            if looked_at("environment") {
                pairs.push(("environment", RestrictedExpression::new_entity_uid(vocabulary.environment(&connection.environment)?)));
            }
            if looked_at("database") {
                pairs.push(("database", text(database)));
            }
        }
        if let Some(approved) = approved {
            pairs.push(("approved", RestrictedExpression::new_bool(approved)));
            if looked_at("statement") {
                pairs.push(("statement", statement(self.statement)?));
            }
            if looked_at("recent") {
                pairs.push(("recent", recent(self.recent)?));
            }
            if let Some(facts) = self.statement.filter(|_| looked_at("interactive"))
                && self.connection.is_some_and(|(connection, _)| connection.protocol == Protocol::Ssh)
            {
                pairs.push(("interactive", RestrictedExpression::new_bool(facts.kinds.iter().any(|kind| &**kind == INTERACTIVE))));
            }
            if let Some(comparison) = self.comparison.filter(|_| looked_at("comparison")) {
                pairs.push(("comparison", text(comparison.as_str())));
            }
            if let Some(wish) = self.wish.filter(|_| looked_at("request")) {
                pairs.push(("request", request(wish)?));
            }
        }
        if looked_at("now") {
            pairs.push(("now", RestrictedExpression::new_datetime(self.now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())));
        }
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
        Context::from_pairs(pairs).map_err(|error| Unaskable(error.to_string()))
    }
}

fn recent(recent: Recent) -> Result<RestrictedExpression, Unaskable> {
    let rows = RestrictedExpression::new_long(i64::try_from(recent.rows_written).unwrap_or(i64::MAX));
    RestrictedExpression::new_record([("rows_written".to_owned(), rows)]).map_err(|error| Unaskable(error.to_string()))
}

fn request(wish: Wish<'_>) -> Result<RestrictedExpression, Unaskable> {
    let fields = [
        ("window_s", RestrictedExpression::new_long(i64::try_from(wish.window_s).unwrap_or(i64::MAX))),
        ("one_statement", RestrictedExpression::new_bool(wish.one_statement)),
        ("reason", text(wish.reason)),
    ];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    RestrictedExpression::new_record(fields).map_err(|error| Unaskable(error.to_string()))
}

fn statement(facts: Option<&Facts>) -> Result<RestrictedExpression, Unaskable> {
    let long = |value: i64| RestrictedExpression::new_long(value);
    let fields = match facts {
        Some(facts) => [
            ("kinds", texts(facts.kinds.iter().map(AsRef::as_ref))),
            ("statements", long(i64::from(facts.statements))),
            ("reads", relations(&facts.reads)),
            ("writes", relations(&facts.writes)),
            ("functions", texts(facts.functions.iter().map(AsRef::as_ref))),
            ("row_scope", text(row_scope(facts.row_scope))),
            ("risk", long(i64::from(facts.risk.level()))),
            ("understood", RestrictedExpression::new_bool(matches!(facts.understanding, Understanding::Full))),
        ],
        None => [
            ("kinds", texts([])),
            ("statements", long(0)),
            ("reads", texts([])),
            ("writes", texts([])),
            ("functions", texts([])),
            ("row_scope", text(row_scope(RowScope::None))),
            ("risk", long(0)),
            ("understood", RestrictedExpression::new_bool(true)),
        ],
    };
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
    RestrictedExpression::new_record(fields).map_err(|error| Unaskable(error.to_string()))
}

const fn row_scope(scope: RowScope) -> &'static str {
    match scope {
        RowScope::None => "none",
        RowScope::Key => "key",
        RowScope::Bounded => "bounded",
        RowScope::Selective => "selective",
        RowScope::Unbounded => "unbounded",
        RowScope::Tautology => "tautology",
    }
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.into_iter().map(text))
}

fn relations(relations: &[RelationRef]) -> RestrictedExpression {
    RestrictedExpression::new_set(relations.iter().map(|relation| RestrictedExpression::new_string(written(&relation.schema, &relation.name))))
}

/// `schema.name`, each part in double quotes unless it is a plain lower-case name, so that no two relations are written alike.
pub(crate) fn written(schema: &str, name: &str) -> String {
    let mut written = String::with_capacity(schema.len().saturating_add(name.len()).saturating_add(1));
    for (place, part) in [schema, name].into_iter().enumerate() {
        if place > 0 {
            written.push('.');
        }
        let plain = part.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'$');
        if plain {
            written.push_str(part);
        } else {
            written.push('"');
            written.push_str(&part.replace('"', "\"\""));
            written.push('"');
        }
    }
    written
}
