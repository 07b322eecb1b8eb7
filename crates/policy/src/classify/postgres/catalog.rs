//! What a database holds, as read once and kept: relations, functions, operators, casts, types and what calls what.
//!
//! A snapshot is made of the answers to [`Catalog::questions`], asked by any role that may connect, on PostgreSQL 13 to 18. Everything is keyed by OID;
//! names are looked up through a search path. Nothing here is ever evaluated.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

pub use super::catalog_queries::{Answer, CatalogError};
use super::{
    catalog_queries::{Since, questions},
    definitions,
    snapshot::{Changed, Reading, merged},
};

/// The first OID that an object made after `initdb` can have (`FirstNormalObjectId` in `access/transam.h`).
pub const FIRST_USER_OID: u32 = 16_384;

/// What kind of relation it is, and whether its rows are also another relation's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationKind {
    /// An ordinary table, neither partition nor child.
    Table,
    /// A view.
    View,
    /// A materialised view.
    MaterializedView,
    /// A partitioned table that is no partition itself.
    Partitioned,
    /// A partition, itself partitioned or not.
    Partition,
    /// A table that inherits from another.
    InheritanceChild,
    /// A foreign table.
    Foreign,
    /// A sequence.
    Sequence,
    /// An index.
    Index,
    /// A composite type made by CREATE TYPE.
    Composite,
    /// The out-of-line storage of another relation.
    Toast,
}

/// A list that is empty for most of those who have one: it takes as much as a pointer then, where a catalog has hundreds of thousands.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(clippy::box_collection, reason = "it is to be small while it is empty")]
pub struct Few<T>(Option<Box<Vec<T>>>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T> Few<T> {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    /// Adds one at the end.
    pub fn push(&mut self, item: T) {
        self.0.get_or_insert_default().push(item);
    }
}

impl<T> std::ops::Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// The schema's name.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: RelationKind,
    /// Its live columns, by number.
    pub columns: Arc<[Column]>,
    /// Columns, sorted, of each unique index without a predicate or expression.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub keys: Few<Arc<[i16]>>,
    /// What it directly inherits from or is a partition of.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub parents: Few<u32>,
    /// What directly inherits from it or is a partition of it.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub children: Few<u32>,
    /// The query of a view or materialised view that is not built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Printed>,
    /// `CREATE RULE` texts of its rules but a view's own.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub rules: Few<Rule>,
    /// Its triggers, those that enforce constraints left out.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub triggers: Few<Trigger>,
    /// Foreign keys that point at it.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub referenced_by: Few<ForeignKey>,
    /// Functions somebody defined that its defaults, checks, indexes or policies call, by `pg_proc.oid`.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub code: Few<u32>,
    /// Functions somebody defined that its row security calls on reading too.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub policy_code: Few<u32>,
    /// Column defaults and generated columns that call something, as SQL.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub defaults: Few<(i16, Printed)>,
    /// Comments on columns that say what sensitive values they hold, the beginning of each, by `pg_attribute.attnum`.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub comments: Few<(i16, Arc<str>)>,
    /// `pg_class.reltype`, 0 if it has none.
    pub row_type: u32,
    /// For an index or toast table, the relation it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// Whether it lives in the session that made it only.
    #[serde(default)]
    pub temporary: bool,
}

impl Relation {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| &*column.name == name)
    }

    /// The comment on a column, if it says what sensitive values that holds.
    #[must_use]
    pub fn comment(&self, number: i16) -> Option<&str> {
        self.comments.iter().find(|(column, _)| *column == number).map(|(_, comment)| &**comment)
    }

    /// Whether a column is generated from others, or may be.
    #[must_use]
    pub fn is_generated(&self, number: i16) -> bool {
        self.defaults.iter().any(|(column, printed)| *column == number && definitions::is_generated(self, number, printed))
    }

    /// Whether it came with the server.
    #[must_use]
    pub fn built_in(&self) -> bool {
        self.oid < FIRST_USER_OID
    }

    /// Whether it is a view that shows files of the server: its configuration, and where it is installed.
    #[must_use]
    pub fn shows_files(&self) -> bool {
        const FILES: [&str; 4] = ["pg_config", "pg_file_settings", "pg_hba_file_rules", "pg_ident_file_mappings"];
        self.built_in() && &*self.schema == "pg_catalog" && FILES.contains(&&*self.name)
    }

    /// Whether it holds copies of column values, for the planner. <https://www.postgresql.org/docs/18/catalog-pg-statistic.html>
    #[must_use]
    pub fn holds_statistics(&self) -> bool {
        const STATISTICS: [&str; 5] = ["pg_statistic", "pg_statistic_ext_data", "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"];
        &*self.schema == "pg_catalog" && STATISTICS.contains(&&*self.name)
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// `pg_attribute.attnum`.
    pub number: i16,
    /// Its name.
    pub name: Arc<str>,
    /// `pg_attribute.atttypid`.
    pub type_oid: u32,
    /// Whether it is declared NOT NULL.
    pub not_null: bool,
    /// Whether it has a default or is generated.
    pub has_default: bool,
}

/// What rewrites a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Which writes.
    pub event: WriteEvent,
    /// The whole `CREATE RULE`.
    pub printed: Printed,
}

/// SQL as the server prints it: names are qualified unless the search path finds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Printed {
    /// The SQL.
    pub text: Arc<str>,
    /// The search path under which it was printed, the temporary schema only where it was searched then.
    pub path: Arc<[Arc<str>]>,
}

/// A kind of write that rules and triggers watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteEvent {
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// TRUNCATE.
    Truncate,
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// `pg_trigger.tgtype`: 4 INSERT, 8 DELETE, 16 UPDATE, 32 TRUNCATE, 64 INSTEAD OF.
    pub events: u8,
    /// `pg_proc.oid` of what it calls.
    pub function: u32,
}

impl Trigger {
    /// Whether it fires for this kind of write.
    #[must_use]
    pub fn watches(&self, event: WriteEvent) -> bool {
        let bit = match event {
            WriteEvent::Insert => 4,
            WriteEvent::Delete => 8,
            WriteEvent::Update => 16,
            WriteEvent::Truncate => 32,
        };
        self.events & bit != 0
    }
}

/// A foreign key, seen from the table it points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The table that has the key.
    pub child: u32,
    /// What happens there when a row here is deleted.
    pub on_delete: KeyAction,
    /// What happens there when a key here changes.
    pub on_update: KeyAction,
}

/// What a foreign key does to its own table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyAction {
    /// Nothing but refuse.
    Refuse,
    /// The same as at the table it points at.
    Cascade,
    /// The columns become NULL or their default.
    Set,
}

/// A function, procedure or aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routine {
    /// `pg_proc.oid`.
    pub oid: u32,
    /// The schema's name.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Types of its input arguments.
    pub arguments: Vec<u32>,
    /// How many of the last arguments have defaults.
    pub defaults: u16,
    /// Element type of a VARIADIC last argument; 0 if there is none.
    pub variadic: u32,
    /// `i`mmutable, `s`table or `v`olatile, as declared.
    pub volatility: char,
    /// `pg_proc.prorettype`.
    pub returns: u32,
    /// Whether it returns a set.
    pub returns_set: bool,
    /// The language's name; empty for built-in ones.
    pub language: Arc<str>,
    /// Body of an SQL function that is not built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Arc<str>>,
    /// The search path under which the server printed a body in the standard form; none for a body that is text of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub printed_under: Option<Arc<[Arc<str>]>>,
    /// What arguments that a call leaves out are given, if that calls something: expressions with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_values: Option<Printed>,
    /// Names of its arguments, where it has a body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argument_names: Vec<Arc<str>>,
    /// Settings it runs under, `name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Arc<str>>,
}

impl Routine {
    /// Whether it came with the server: in `pg_catalog`, or one of those that the views of `information_schema` are made with.
    #[must_use]
    pub fn built_in(&self) -> bool {
        let views = &*self.schema == "information_schema" && self.name.starts_with("_pg_");
        self.oid < FIRST_USER_OID && (&*self.schema == "pg_catalog" || views)
    }

    /// Whether a call with this many arguments can mean it.
    #[must_use]
    pub fn takes(&self, count: usize) -> bool {
        let all = self.arguments.len();
        let least = all.saturating_sub(usize::from(self.defaults));
        if self.variadic != 0 { count.saturating_add(1) >= least } else { (least..=all).contains(&count) }
    }
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// `pg_operator.oid`.
    pub oid: u32,
    /// The schema's name.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Type of its left operand; 0 for a prefix operator.
    pub left: u32,
    /// Type of its right operand.
    pub right: u32,
    /// Type of its result.
    pub result: u32,
    /// `pg_proc.oid` of its function.
    pub function: u32,
}

/// A cast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cast {
    /// From this type.
    pub source: u32,
    /// To this one.
    pub target: u32,
    /// `pg_proc.oid` of its function; 0 if it has none.
    pub function: u32,
    /// Whether it is applied without being asked for.
    pub implicit: bool,
    /// Whether it is applied where a value is assigned.
    #[serde(default)]
    pub assigned: bool,
}

/// A type, but for row types of relations and their arrays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Type {
    /// `pg_type.oid`.
    pub oid: u32,
    /// The schema's name.
    pub schema: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The type below a domain; 0 if it is none.
    pub base: u32,
    /// The element of an array; 0 if it is none.
    pub element: u32,
    /// How many labels an enumeration has; 0 if it is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub labels: u32,
    /// Functions somebody defined that run when a value is made: a domain's checks, a type's own input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What is kept and exported; [`Catalog`] adds the ways to find it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    pub(super) database: Arc<str>,
    pub(super) server_version: u32,
    pub(super) schemas: Vec<Arc<str>>,
    /// By OID.
    pub(super) relations: Vec<Arc<Relation>>,
    pub(super) types: Arc<[Arc<Type>]>,
    pub(super) routines: Arc<[Arc<Routine>]>,
    pub(super) operators: Arc<[Arc<Operator>]>,
    pub(super) casts: Arc<[Cast]>,
    pub(super) event_triggers: Vec<u32>,
}

/// A database's catalog at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Contents", into = "Contents")]
pub struct Catalog {
    contents: Contents,
    /// What it was made of; nothing if it was imported.
    reading: Reading,
    /// By schema and name.
    relation_names: Vec<Arc<Relation>>,
    row_types: HashMap<u32, u32>,
    types: Arc<Found>,
    routines: Arc<Found>,
    operators: Arc<Found>,
    casts: Arc<HashMap<(u32, u32), usize>>,
}

/// Where objects of a kind are found, in their list.
#[derive(Debug, Clone, Default)]
struct Found {
    names: HashMap<Arc<str>, Vec<usize>>,
    oids: HashMap<u32, usize>,
}

impl Found {
    fn of<'a>(objects: impl Iterator<Item = (&'a Arc<str>, u32)>) -> Arc<Self> {
        let mut found = Self::default();
        for (at, (name, oid)) in objects.enumerate() {
            found.names.entry(name.clone()).or_default().push(at);
            found.oids.insert(oid, at);
        }
        Arc::new(found)
    }

    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        self.names.get(name).into_iter().flatten().copied()
    }
}

fn by_name(one: &Relation, other: &Relation) -> Ordering {
    (&one.schema, &one.name).cmp(&(&other.schema, &other.name))
}

impl PartialEq for Catalog {
    fn eq(&self, other: &Self) -> bool {
        self.contents == other.contents && self.reading.is_of_the_place_of(&other.reading)
    }
}

impl Eq for Catalog {}

impl From<Catalog> for Contents {
    fn from(catalog: Catalog) -> Self {
        catalog.contents
    }
}

impl From<Contents> for Catalog {
    fn from(mut contents: Contents) -> Self {
        contents.relations.sort_by_key(|relation| relation.oid);
        Self::new(contents, Reading::default(), &Changed::new(), None)
    }
}

impl Catalog {
    /// What to ask a server, in order, to know its catalog; [`Self::from_answers`] takes the answers. With an earlier snapshot of the same database
    /// only what changed since is asked.
    #[must_use]
    pub fn questions(earlier: Option<&Self>) -> Vec<String> {
        earlier.map_or_else(|| Reading::default().questions(), |earlier| earlier.reading.questions())
    }

    /// The same for a session of our own, once [`Self::settings`] told it of the earlier snapshot: in the same words each time, to be prepared.
    #[must_use]
    pub fn standing_questions() -> Vec<String> {
        questions(&Since::Set)
    }

    /// What a session of our own runs before [`Self::standing_questions`], in the same transaction.
    #[must_use]
    pub fn settings(&self) -> [String; 2] {
        self.reading.settings()
    }

    /// Reads a snapshot: `answers` are the rows of each of [`Self::questions`], or of
    /// [`Self::standing_questions`], asked with the same `earlier`, every cell as text.
    ///
    /// # Errors
    /// An answer is missing, a cell is not what its query gives, or more changed than can be told: then only a snapshot without an earlier one helps.
    pub fn from_answers(database: &str, earlier: Option<&Self>, answers: Vec<Answer>) -> Result<Self, CatalogError> {
        let nothing = Self::default();
        let earlier = earlier.filter(|earlier| !earlier.reading.is_nothing());
        let before = earlier.unwrap_or(&nothing);
        let (reading, changed) = before.reading.with(answers)?;
        let contents = reading.contents(database, &changed, earlier.map(|earlier| (&earlier.reading, &earlier.contents)));
        Ok(Self::new(contents, reading, &changed, earlier))
    }

    /// What an earlier one has too is found as there: lists that are the same, relations but those that changed.
    fn new(contents: Contents, reading: Reading, changed: &Changed, earlier: Option<&Self>) -> Self {
        let same = |is_same: fn(&Contents, &Contents) -> bool| earlier.filter(|earlier| is_same(&contents, &earlier.contents));
        let types = same(|these, those| Arc::ptr_eq(&these.types, &those.types));
        let routines = same(|these, those| Arc::ptr_eq(&these.routines, &those.routines));
        let operators = same(|these, those| Arc::ptr_eq(&these.operators, &those.operators));
        let casts = same(|these, those| Arc::ptr_eq(&these.casts, &those.casts));
        let by_types = || contents.casts.iter().enumerate().map(|(at, cast)| ((cast.source, cast.target), at)).collect();
        let is_new = |relation: &&Arc<Relation>| earlier.is_none() || changed.contains(&relation.oid);
        let anew: Vec<Arc<Relation>> = contents.relations.iter().filter(is_new).cloned().collect();
        let mut row_types = earlier.map(|earlier| earlier.row_types.clone()).unwrap_or_default();
        for gone in changed.iter().filter_map(|oid| earlier?.relation_by_oid(*oid)) {
            row_types.remove(&gone.row_type);
        }
        row_types.extend(anew.iter().map(|relation| (relation.row_type, relation.oid)));
        row_types.remove(&0);
        let before = earlier.map(|earlier| &*earlier.relation_names).unwrap_or_default();
        Self {
            relation_names: merged(before, changed, anew, by_name),
            row_types,
            types: types.map_or_else(|| Found::of(contents.types.iter().map(|kind| (&kind.name, kind.oid))), |same| same.types.clone()),
            routines: routines
                .map_or_else(|| Found::of(contents.routines.iter().map(|routine| (&routine.name, routine.oid))), |same| same.routines.clone()),
            operators: operators
                .map_or_else(|| Found::of(contents.operators.iter().map(|operator| (&operator.name, operator.oid))), |same| same.operators.clone()),
            casts: casts.map_or_else(|| Arc::new(by_types()), |same| same.casts.clone()),
            contents,
            reading,
        }
    }

    /// Whether another session, which can name no temporary objects but its own, finds the same in both, and can build on either.
    #[must_use]
    pub fn is_for_others(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.contents, &other.contents);
        let lasting = |relation: &&Arc<Relation>| !relation.temporary;
        self.reading.is_of_the_place_of(&other.reading)
            && mine.relations.iter().filter(lasting).eq(theirs.relations.iter().filter(lasting))
            && (&mine.schemas, &mine.types, &mine.routines, &mine.operators, &mine.casts, &mine.event_triggers, mine.server_version)
                == (&theirs.schemas, &theirs.types, &theirs.routines, &theirs.operators, &theirs.casts, &theirs.event_triggers, theirs.server_version)
    }

    /// The database it describes.
    #[must_use]
    pub fn database(&self) -> &Arc<str> {
        &self.contents.database
    }

    /// `server_version_num`: 150020 for 15.20.
    #[must_use]
    pub fn server_version(&self) -> u32 {
        self.contents.server_version
    }

    /// Every relation.
    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.contents.relations.iter().map(Arc::as_ref)
    }

    /// Whether there is a schema of this name.
    #[must_use]
    pub fn has_schema(&self, name: &str) -> bool {
        self.contents.schemas.iter().any(|schema| &**schema == name)
    }

    /// The relation of this name in this schema.
    #[must_use]
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        let at = self.relation_names.binary_search_by(|relation| (&*relation.schema, &*relation.name).cmp(&(schema, name))).ok()?;
        self.relation_names.get(at).map(Arc::as_ref)
    }

    /// The relation with this `pg_class.oid`.
    #[must_use]
    pub fn relation_by_oid(&self, oid: u32) -> Option<&Relation> {
        let at = self.contents.relations.binary_search_by_key(&oid, |relation| relation.oid).ok()?;
        self.contents.relations.get(at).map(Arc::as_ref)
    }

    /// The relation whose rows have this composite type.
    #[must_use]
    pub fn relation_of_row_type(&self, type_oid: u32) -> Option<&Relation> {
        self.row_types.get(&type_oid).and_then(|oid| self.relation_by_oid(*oid))
    }

    /// The type with this `pg_type.oid`; none for row types of relations.
    #[must_use]
    pub fn type_by_oid(&self, oid: u32) -> Option<&Type> {
        self.types.oids.get(&oid).and_then(|at| self.contents.types.get(*at)).map(Arc::as_ref)
    }

    /// Types of this name, in any schema.
    pub fn types_named(&self, name: &str) -> impl Iterator<Item = &Type> {
        self.types.named(name).filter_map(|at| self.contents.types.get(at)).map(Arc::as_ref)
    }

    /// Routines of this name, in any schema.
    pub fn routines_named(&self, name: &str) -> impl Iterator<Item = &Routine> {
        self.routines.named(name).filter_map(|at| self.contents.routines.get(at)).map(Arc::as_ref)
    }

    /// The routine with this `pg_proc.oid`.
    #[must_use]
    pub fn routine_by_oid(&self, oid: u32) -> Option<&Routine> {
        self.routines.oids.get(&oid).and_then(|at| self.contents.routines.get(*at)).map(Arc::as_ref)
    }

    /// Operators of this name, in any schema.
    pub fn operators_named(&self, name: &str) -> impl Iterator<Item = &Operator> {
        self.operators.named(name).filter_map(|at| self.contents.operators.get(at)).map(Arc::as_ref)
    }

    /// The cast from one type to another.
    #[must_use]
    pub fn cast(&self, source: u32, target: u32) -> Option<&Cast> {
        self.casts.get(&(source, target)).and_then(|at| self.contents.casts.get(*at))
    }

    /// Every cast.
    #[must_use]
    pub fn casts(&self) -> &[Cast] {
        &self.contents.casts
    }

    /// Functions that DDL fires, by `pg_proc.oid`.
    #[must_use]
    pub fn event_triggers(&self) -> &[u32] {
        &self.contents.event_triggers
    }

    /// A domain's innermost type; any other type itself.
    #[must_use]
    pub fn base_type(&self, mut oid: u32) -> u32 {
        for _ in 0..32 {
            match self.type_by_oid(oid).map_or(0, |kind| kind.base) {
                0 => return oid,
                base => oid = base,
            }
        }
        oid
    }

    /// Everything whose rows are also this relation's: its partitions and children, theirs too, nearest first; at most `limit`.
    #[must_use]
    pub fn descendants(&self, oid: u32, limit: usize) -> Vec<u32> {
        self.relatives(oid, limit, |relation| &relation.children)
    }

    /// Everything this relation's rows also are in: what it is a partition or child of, and that in turn, nearest first.
    #[must_use]
    pub fn ancestors(&self, oid: u32) -> Vec<u32> {
        self.relatives(oid, 64, |relation| &relation.parents)
    }

    fn relatives(&self, oid: u32, limit: usize, next: impl Fn(&Relation) -> &Few<u32>) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::new();
        let mut seen = std::collections::HashSet::from([oid]);
        let mut at = 0;
        let mut from = Some(oid);
        while let Some(oid) = from {
            for relative in self.relation_by_oid(oid).map(&next).into_iter().flatten() {
                if found.len() < limit && seen.insert(*relative) {
                    found.push(*relative);
                }
            }
            from = found.get(at).copied();
            at += 1;
        }
        found
    }
}
