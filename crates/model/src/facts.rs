//! What an operation means, as far as it was understood.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Action, Pair};

/// What an operation means. Made by `policy::classify`; decided on, recorded, shown to signers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Facts {
    /// Whether everything in it was understood.
    pub understanding: Understanding,
    /// What it asks for: sorted, without repetition, never empty.
    pub pairs: Vec<Pair>,
    /// Kinds of its statements in order, as PostgreSQL's command tags name them (`SELECT`, `DROP TABLE`), at most 16.
    pub kinds: Vec<Arc<str>>,
    /// How many statements it holds; 0 for an empty query.
    pub statements: u32,
    /// Every relation it may read from or look into, views expanded, triggers and rules followed as far as known; sorted.
    pub reads: Vec<RelationRef>,
    /// Every relation it may change; sorted.
    pub writes: Vec<RelationRef>,
    /// Functions that are not pure built-ins; sorted.
    pub functions: Vec<Arc<str>>,
    /// Which rows a write reaches.
    pub row_scope: RowScope,
    /// How much harm it can do.
    pub risk: Risk,
    /// What it changes about the session it runs in.
    pub effects: Effects,
    /// What its result columns are, for masking.
    pub outputs: Outputs,
    /// Which columns' values decide something about it beyond what is shown of them. Policy is asked of the classes of these; it is made anew whenever
    /// it is needed, never stored.
    #[serde(skip)]
    pub filters: Filters,
    /// Byte ranges of the statement that hold a secret (a password in `ALTER ROLE`), to be left out of the record.
    pub secret_spans: Vec<(u32, u32)>,
}

impl Facts {
    /// Whether any pair asks for `action`.
    #[must_use]
    pub fn asks(&self, action: Action) -> bool {
        self.pairs.iter().any(|pair| pair.action == action)
    }

    /// Whether it may touch relations that are not among those it is known to touch.
    #[must_use]
    pub fn touches_unknown(&self) -> bool {
        !matches!(self.understanding, Understanding::Full) || self.outputs.unfollowed
    }
}

/// Whether an operation was understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum Understanding {
    /// Every part of it.
    Full,
    /// Not all: the pairs hold `unreadable`, and the text says why, for people.
    Unreadable(String),
    /// The text is not SQL this grammar accepts: the parser's message and the place, in characters from 1, 0 if not known.
    Syntax {
        /// PostgreSQL's own wording.
        message: String,
        /// Place in the statement, in characters from 1.
        position: u32,
    },
    /// It names a relation, column or function that the catalog does not have. The message is PostgreSQL's wording, the code its SQLSTATE.
    Missing {
        /// PostgreSQL's own wording, `relation "x" does not exist`.
        message: String,
        /// `42P01` and the like.
        sqlstate: String,
    },
}

/// A relation by identity and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RelationRef {
    /// Schema, as the catalog spells it.
    pub schema: Arc<str>,
    /// Name, as the catalog spells it.
    pub name: Arc<str>,
    /// `pg_class.oid` in the snapshot the facts were made from.
    pub oid: u32,
}

impl fmt::Display for RelationRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::name::printable(&format!("{}.{}", self.schema, self.name)))
    }
}

/// Which rows a write reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowScope {
    /// It writes none.
    None,
    /// Equality on every column of a unique key.
    Key,
    /// A bounded number, by LIMIT or a list of values.
    Bounded,
    /// A condition that depends on the row.
    Selective,
    /// No condition.
    Unbounded,
    /// A condition that is always true.
    Tautology,
}

/// 0 harmless to 5 destroys, changes privileges or leaves the target; 4 when unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Risk(u8);

impl Risk {
    /// The level itself, at most 5.
    #[must_use]
    pub const fn new(level: u8) -> Self {
        Self(if level > 5 { 5 } else { level })
    }

    /// 0 to 5.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.0
    }
}

/// What an operation changes about the session it runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Effects {
    /// It may make, alter or drop objects: the catalog snapshot is stale once it ran.
    pub catalog: bool,
    /// It may change `search_path`, the role, the encoding or string settings: resolution must be read again once it ran.
    pub resolution: bool,
    /// It begins, ends or rolls back (to) a transaction: what it undoes may be either of the above.
    pub transaction: bool,
    /// It reads from the caller (`COPY … FROM STDIN`).
    pub copy_in: bool,
    /// It streams to the caller (`COPY … TO STDOUT`).
    pub copy_out: bool,
    /// Prepared statements and cursors it makes or drops by SQL, in order.
    pub names: Vec<NameEffect>,
    /// A plain `SET`, `SHOW` or `RESET` of `application_name`, the operation's only statement.
    pub application_name: Option<ApplicationName>,
    /// What it may put where later answers show it as something else.
    #[serde(default, skip_serializing_if = "Stores::is_nothing")]
    pub stores: Stores,
}

/// What of the database's values an operation may store, now or by what it makes, and which columns it gives another name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Stores {
    /// Columns whose values take part in what is stored, or handed to code that may store it; sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnSource>,
    /// Where a stored value comes from cannot be told: it may be any column of any relation the operation reads.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub untold: bool,
    /// It makes code that was not followed, which may store the value of any column once it runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub code: bool,
    /// Columns that are no longer found under the name, or the parent, they have now; sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub renames: Vec<ColumnSource>,
}

impl Stores {
    /// Whether nothing that is in the database already is stored or renamed.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Columns whose values decide which rows there are, in which order, how many, or whether it fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Filters {
    /// Each once, with the most that is learnt of it; sorted.
    pub columns: Vec<(ColumnSource, Comparison)>,
    /// There may be others, of any relation the operation reads.
    pub untold: Option<Comparison>,
}

/// What a condition can learn of a value, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Comparison {
    /// Whether there is one: `IS NULL`, `count(column)`.
    Presence,
    /// Whether it equals a bound parameter, `column = $1`.
    Parameter,
    /// Whether it equals one of some values written in the statement.
    Value,
    /// Anything else: ranges, patterns, parts, orders, groups, joins.
    Any,
}

impl Comparison {
    /// The name policies use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Parameter => "parameter",
            Self::Value => "value",
            Self::Any => "any",
        }
    }
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ColumnSource {
    /// `pg_class.oid` of the relation.
    pub relation: u32,
    /// The column's name, as the catalog spells it.
    pub column: Arc<str>,
}

/// What happens to a prepared statement or cursor by SQL; the protocol's own statements and portals share these names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameEffect {
    /// `PREPARE name AS body`.
    Prepare {
        /// The statement's name.
        name: String,
        /// The text of the body.
        body: String,
    },
    /// `DEALLOCATE name`.
    Deallocate(String),
    /// `DEALLOCATE ALL`, `DISCARD ALL`.
    DeallocateAll,
    /// `DECLARE name CURSOR FOR body`; facts of the body are part of the declaring operation's.
    Declare {
        /// The cursor's name.
        name: String,
        /// The text of the query.
        body: String,
        /// `WITH HOLD`: it outlives its transaction.
        hold: bool,
    },
    /// `CLOSE name`.
    Close(String),
    /// `CLOSE ALL`, `DISCARD ALL`.
    CloseAll,
}

/// What a statement does to the caller's own `application_name`, which the target never sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationName {
    /// `SET [SESSION] application_name = 'value'`.
    Set(String),
    /// `SET LOCAL application_name = 'value'`.
    SetLocal(String),
    /// `RESET application_name`, `SET application_name TO DEFAULT`, `RESET ALL`, `DISCARD ALL`.
    Reset,
    /// `SHOW application_name`.
    Show,
    /// `SAVEPOINT name`: what the name is may be gone back to.
    Savepoint(String),
    /// `RELEASE SAVEPOINT name`.
    Release(String),
    /// `ROLLBACK TO SAVEPOINT name`.
    RollbackTo(String),
}

/// What result columns are, for masking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Outputs {
    /// A function or rule somebody defined, a foreign table or something not understood takes part: where the target says a column comes from is not
    /// trusted.
    pub opaque: bool,
    /// Code takes part that was not followed: it may read any relation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfollowed: bool,
    /// Result columns, by position, that are constants or `count(*)` whatever the origin says; empty when positions are not known.
    pub harmless: Vec<bool>,
    /// Where the values of each result column come from, by position; empty when positions are not known. It is made anew whenever it is needed,
    /// never stored.
    #[serde(skip)]
    pub columns: Vec<OutputColumn>,
    /// How a `COPY … TO STDOUT`, the operation's only statement, is written; none where that is not known.
    #[serde(skip)]
    pub copy: Option<CopyLayout>,
}

/// How the rows of a COPY are written. <https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS>
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CopyLayout {
    /// Lines of escaped values.
    Text {
        /// Between two values.
        delimiter: u8,
        /// What stands for NULL.
        null: Vec<u8>,
        /// The first line names the columns.
        header: bool,
    },
    /// Lines of values, quoted where needed.
    Csv {
        /// Between two values.
        delimiter: u8,
        /// Around a value.
        quote: u8,
        /// Before a quote inside one.
        escape: u8,
        /// What stands for NULL, unquoted.
        null: Vec<u8>,
        /// Columns that are quoted whatever they hold, by place from 0; none if all are.
        quoted: Option<Vec<usize>>,
        /// The first line names the columns.
        header: bool,
    },
    /// Values with their lengths.
    Binary,
}

/// Where the values of one result column come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OutputColumn {
    /// Its name.
    pub name: Arc<str>,
    /// Columns that take part in its values; sorted.
    pub from: Vec<ColumnSource>,
    /// There may be others.
    pub untold: bool,
    /// Each value is that of one of these columns, unchanged.
    pub plain: bool,
}
