//! How a catalog is read from a server: whole, or only what changed since an earlier reading.
//!
//! The queries may run on a caller's own backend, under whatever search path the caller chose: every name in them, operators too, is qualified.
//! They take no parameters, write nothing, and need no privilege beyond CONNECT.
//!
//! A row that an earlier reading does not have was written by a transaction that had not ended when that reading began: its `xmin` is not below the
//! lowest transaction then running, the reading's horizon. Rows that are gone are found by the lists of what is there. Text that the server prints of
//! a definition also changes with the names of what it refers to, so it is printed again when that has changed. Printing locks what is printed,
//! which is why nothing else is printed: a migration that holds its tables must not make everybody wait.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use serde::de::DeserializeOwned;

use super::{
    SEARCH_PATH,
    catalog::{
        Cast, Column, Contents, FIRST_USER_OID, ForeignKey, KeyAction, Operator, Printed, Relation, RelationKind, Routine, Rule, Trigger, Type,
        WriteEvent,
    },
};

/// The rows of one query, every cell as text.
pub type Rows = Vec<Row>;

/// One of them.
type Row = Vec<Option<String>>;

/// A result is not what its query gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalog query for {what} gave something unexpected: {problem}")]
pub struct CatalogError {
    /// Which query.
    what: &'static str,
    problem: String,
}

/// A query, and how its rows are kept.
struct Query {
    what: &'static str,
    /// `{recent:x}` is put where a row of `x` must be new, for readings that build on an earlier one, `{path}` where the search path is asked for.
    sql: &'static str,
    kept: Kept,
}

/// How the rows of a query are kept from one reading to the next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// They are not: it is asked as a whole.
    Whole,
    /// By OID, in the first column. The list of what is there has this number.
    ByOid(usize),
    /// By kind and OID, in the first two columns.
    Text,
}

const ABOUT: usize = 0;
const SCHEMAS: usize = 1;
const RELATIONS: usize = 2;
const TYPES: usize = 3;
const FUNCTIONS: usize = 4;
const OPERATORS: usize = 5;
const CASTS: usize = 6;
const INDEXES: usize = 7;
const INHERITANCE: usize = 8;
const TEXTS: usize = 9;
const TRIGGERS: usize = 10;
const FOREIGN_KEYS: usize = 11;
const DEPENDENCIES: usize = 12;
const EVENT_TRIGGERS: usize = 13;
const THERE: usize = 14;

const QUERIES: [Query; 15] = [
    // Version, the path under which definitions are printed, the horizon, and which database of which start of which server this is: an identity of
    // transactions, too, which a crash may give out a second time. Numbers, so that no setting of a caller's session changes how they are written.
    Query {
        what: "the server",
        sql: "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.text, {path}, \
              pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text, \
              pg_catalog.json_build_array((SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()), \
              pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())::pg_catalog.int8, \
              pg_catalog.date_part('epoch', pg_catalog.pg_stat_get_bgwriter_stat_reset_time())::pg_catalog.int8)::pg_catalog.text",
        kept: Kept::Whole,
    },
    Query { what: "schemas", sql: "SELECT oid::pg_catalog.text, nspname::pg_catalog.text FROM pg_catalog.pg_namespace", kept: Kept::Whole },
    // Relations with their columns
    Query {
        what: "relations",
        sql: "SELECT c.oid::pg_catalog.text, c.relnamespace::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text, c.relispartition::pg_catalog.text, \
              c.reltype::pg_catalog.text, c.reltoastrelid::pg_catalog.text, c.relpersistence::pg_catalog.text, \
              (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname, a.atttypid, a.attnotnull, a.atthasdef) ORDER BY a.attnum)::pg_catalog.text \
               FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
               AND c.relkind OPERATOR(pg_catalog.<>) 'i' AND c.relkind OPERATOR(pg_catalog.<>) 'I' AND c.relkind OPERATOR(pg_catalog.<>) 't') \
              FROM pg_catalog.pg_class c WHERE {recent:c} OR c.oid OPERATOR(pg_catalog.=) ANY (SELECT r.attrelid FROM pg_catalog.pg_attribute r WHERE {recent:r})",
        kept: Kept::ByOid(0),
    },
    // Types, but for row types of relations and their arrays
    Query {
        what: "types",
        sql: "SELECT t.oid::pg_catalog.text, t.typnamespace::pg_catalog.text, t.typname::pg_catalog.text, t.typbasetype::pg_catalog.text, t.typelem::pg_catalog.text, \
              t.typinput::pg_catalog.oid::pg_catalog.text, t.typlen::pg_catalog.text \
              FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid OPERATOR(pg_catalog.=) t.typelem \
              LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) CASE WHEN t.typrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid THEN t.typrelid ELSE e.typrelid END \
              WHERE (c.oid IS NULL OR c.relkind OPERATOR(pg_catalog.=) 'c') AND {recent:t}",
        kept: Kept::ByOid(1),
    },
    // Functions; bodies in the standard form are among the texts
    Query {
        what: "functions",
        sql: "SELECT p.oid::pg_catalog.text, p.pronamespace::pg_catalog.text, p.proname::pg_catalog.text, p.proargtypes::pg_catalog.text, p.pronargdefaults::pg_catalog.text, \
              p.provariadic::pg_catalog.text, p.provolatile::pg_catalog.text, p.prorettype::pg_catalog.text, p.proretset::pg_catalog.text, \
              CASE WHEN p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid THEN l.lanname::pg_catalog.text END, \
              CASE WHEN p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND l.lanname OPERATOR(pg_catalog.=) 'sql'::pg_catalog.name THEN p.prosrc END, \
              CASE WHEN p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND l.lanname OPERATOR(pg_catalog.=) 'sql'::pg_catalog.name THEN pg_catalog.to_json(p.proargnames)::pg_catalog.text END, \
              pg_catalog.to_json(p.proconfig)::pg_catalog.text \
              FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang WHERE {recent:p}",
        kept: Kept::ByOid(2),
    },
    Query {
        what: "operators",
        sql: "SELECT o.oid::pg_catalog.text, o.oprnamespace::pg_catalog.text, o.oprname::pg_catalog.text, o.oprleft::pg_catalog.text, o.oprright::pg_catalog.text, \
              o.oprresult::pg_catalog.text, o.oprcode::pg_catalog.oid::pg_catalog.text FROM pg_catalog.pg_operator o WHERE {recent:o}",
        kept: Kept::ByOid(3),
    },
    Query {
        what: "casts",
        sql: "SELECT c.oid::pg_catalog.text, c.castsource::pg_catalog.text, c.casttarget::pg_catalog.text, c.castfunc::pg_catalog.text, c.castcontext::pg_catalog.text \
              FROM pg_catalog.pg_cast c WHERE {recent:c}",
        kept: Kept::ByOid(4),
    },
    // Indexes: the table, and the columns of a plain unique one
    Query {
        what: "indexes",
        sql: "SELECT i.indexrelid::pg_catalog.text, i.indrelid::pg_catalog.text, \
              CASE WHEN i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
              THEN pg_catalog.array_to_string((i.indkey::pg_catalog.int2[])[0:(i.indnkeyatts::pg_catalog.int4 OPERATOR(pg_catalog.-) 1)], ' ') END \
              FROM pg_catalog.pg_index i WHERE {recent:i}",
        kept: Kept::ByOid(0),
    },
    // Inheritance and partitions
    Query {
        what: "inheritance",
        sql: "SELECT inhrelid::pg_catalog.text, inhparent::pg_catalog.text FROM pg_catalog.pg_inherits ORDER BY inhrelid, inhseqno",
        kept: Kept::Whole,
    },
    // What the server prints: views (v) that are not built in; rules (r), but for those that make a view and those that are disabled; defaults and generated
    // columns (d); bodies of functions in the standard form (b); defaults of arguments (a)
    Query {
        what: "texts",
        sql: "WITH changed AS MATERIALIZED (SELECT c.oid FROM pg_catalog.pg_class c WHERE {recent:c} UNION ALL SELECT a.attrelid FROM pg_catalog.pg_attribute a WHERE {recent:a} \
              UNION ALL SELECT p.oid FROM pg_catalog.pg_proc p WHERE {recent:p} UNION ALL SELECT t.oid FROM pg_catalog.pg_type t WHERE {recent:t} \
              UNION ALL SELECT o.oid FROM pg_catalog.pg_operator o WHERE {recent:o}), \
              renamed AS MATERIALIZED (SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE {recent:n}) AS schemas), \
              locked AS MATERIALIZED (SELECT l.relation FROM pg_catalog.pg_locks l WHERE l.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock' \
              AND l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.database OPERATOR(pg_catalog.=) ANY (SELECT d.oid FROM pg_catalog.pg_database d \
              WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AND (l.pid IS NULL OR l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid())), \
              unprintable AS MATERIALIZED (SELECT d.objid AS oid FROM pg_catalog.pg_depend d WHERE d.refobjid OPERATOR(pg_catalog.=) ANY (SELECT relation FROM locked) \
              AND d.objid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid UNION ALL SELECT relation FROM locked), \
              again AS MATERIALIZED (SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.objid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
              AND (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid \
              OR d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid \
              OR d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid) \
              AND d.refobjid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM changed)) \
              SELECT 'v', r.oid::pg_catalog.text, r.ev_class::pg_catalog.text, NULL, \
              CASE WHEN r.oid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM unprintable) OR r.ev_class OPERATOR(pg_catalog.=) ANY (SELECT oid FROM unprintable) \
              THEN NULL ELSE pg_catalog.pg_get_viewdef(r.ev_class) END, {path} \
              FROM pg_catalog.pg_rewrite r WHERE r.ev_type OPERATOR(pg_catalog.=) '1' AND r.ev_class OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
              AND ({recent:r} OR {unprinted:r} OR (SELECT schemas FROM renamed) OR r.oid OPERATOR(pg_catalog.=) ANY (SELECT objid FROM again)) \
              UNION ALL SELECT 'r', r.oid::pg_catalog.text, r.ev_class::pg_catalog.text, r.ev_type::pg_catalog.text, \
              CASE WHEN r.oid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM unprintable) OR r.ev_class OPERATOR(pg_catalog.=) ANY (SELECT oid FROM unprintable) \
              THEN NULL ELSE pg_catalog.pg_get_ruledef(r.oid) END, \
              {path} \
              FROM pg_catalog.pg_rewrite r WHERE r.ev_type OPERATOR(pg_catalog.<>) '1' AND r.ev_enabled OPERATOR(pg_catalog.<>) 'D' AND r.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
              AND ({recent:r} OR {unprinted:r} OR (SELECT schemas FROM renamed) OR r.oid OPERATOR(pg_catalog.=) ANY (SELECT objid FROM again)) \
              UNION ALL SELECT 'd', f.oid::pg_catalog.text, f.adrelid::pg_catalog.text, f.adnum::pg_catalog.text, \
              CASE WHEN f.adrelid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM unprintable) THEN NULL ELSE pg_catalog.pg_get_expr(f.adbin, f.adrelid) END, \
              {path} \
              FROM pg_catalog.pg_attrdef f WHERE {recent:f} OR {unprinted:f} OR (SELECT schemas FROM renamed) OR f.oid OPERATOR(pg_catalog.=) ANY (SELECT objid FROM again) \
              UNION ALL SELECT 'b', p.oid::pg_catalog.text, NULL, NULL, \
              CASE WHEN p.oid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM unprintable) THEN NULL ELSE pg_catalog.pg_get_functiondef(p.oid) END, \
              {path} \
              FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang \
              WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND p.prosrc OPERATOR(pg_catalog.=) '' AND l.lanname OPERATOR(pg_catalog.=) 'sql'::pg_catalog.name \
              AND p.prokind OPERATOR(pg_catalog.<>) 'a' AND ({recent:p} OR {unprinted:p} OR (SELECT schemas FROM renamed) OR p.oid OPERATOR(pg_catalog.=) ANY (SELECT objid FROM again)) \
              UNION ALL SELECT 'a', p.oid::pg_catalog.text, NULL, NULL, pg_catalog.pg_get_expr(p.proargdefaults, 0::pg_catalog.oid), \
              {path} \
              FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND p.proargdefaults IS NOT NULL \
              AND ({recent:p} OR {unprinted:p} OR (SELECT schemas FROM renamed) OR p.oid OPERATOR(pg_catalog.=) ANY (SELECT objid FROM again))",
        kept: Kept::Text,
    },
    Query {
        what: "triggers",
        sql: "SELECT t.oid::pg_catalog.text, t.tgrelid::pg_catalog.text, t.tgtype::pg_catalog.text, t.tgfoid::pg_catalog.text, \
              (NOT t.tgisinternal AND t.tgenabled OPERATOR(pg_catalog.<>) 'D')::pg_catalog.text FROM pg_catalog.pg_trigger t WHERE {recent:t}",
        kept: Kept::ByOid(5),
    },
    Query {
        what: "foreign keys",
        sql: "SELECT c.oid::pg_catalog.text, c.conrelid::pg_catalog.text, c.confrelid::pg_catalog.text, c.confdeltype::pg_catalog.text, c.confupdtype::pg_catalog.text \
              FROM pg_catalog.pg_constraint c WHERE c.contype OPERATOR(pg_catalog.=) 'f' AND {recent:c}",
        kept: Kept::ByOid(6),
    },
    // Code that writing a table (a), making a value of a domain (t) or row security (p) runs
    Query {
        what: "dependencies",
        sql: "WITH d AS (SELECT DISTINCT dep.classid, dep.objid, \
              CASE WHEN dep.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid THEN o.oprcode::pg_catalog.oid ELSE dep.refobjid END AS code \
              FROM pg_catalog.pg_depend dep LEFT JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) dep.refobjid \
              AND dep.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid \
              WHERE dep.refobjid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND (dep.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid \
              OR dep.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid)) \
              SELECT 'a', a.adrelid::pg_catalog.text, d.code::pg_catalog.text FROM d JOIN pg_catalog.pg_attrdef a ON a.oid OPERATOR(pg_catalog.=) d.objid \
              WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid \
              UNION SELECT 'a', i.indrelid::pg_catalog.text, d.code::pg_catalog.text FROM d JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) d.objid \
              WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid \
              UNION SELECT 'a', c.conrelid::pg_catalog.text, d.code::pg_catalog.text FROM d JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) d.objid \
              WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid AND c.conrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
              UNION SELECT 't', c.contypid::pg_catalog.text, d.code::pg_catalog.text FROM d JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) d.objid \
              WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid AND c.contypid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
              UNION SELECT 'p', p.polrelid::pg_catalog.text, d.code::pg_catalog.text FROM d JOIN pg_catalog.pg_policy p ON p.oid OPERATOR(pg_catalog.=) d.objid \
              WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass::pg_catalog.oid",
        kept: Kept::Whole,
    },
    Query {
        what: "event triggers",
        sql: "SELECT evtfoid::pg_catalog.text FROM pg_catalog.pg_event_trigger WHERE evtenabled OPERATOR(pg_catalog.<>) 'D'",
        kept: Kept::Whole,
    },
    // What is there by now, by the lists' numbers; how many of them are built in
    Query {
        what: "what is there",
        sql: "SELECT o.list::pg_catalog.text, pg_catalog.string_agg(o.oid::pg_catalog.text, ' ') FILTER (WHERE o.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid), \
              pg_catalog.count(*) FILTER (WHERE o.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid)::pg_catalog.text FROM \
              (SELECT 0 AS list, oid FROM pg_catalog.pg_class UNION ALL SELECT 1, oid FROM pg_catalog.pg_type UNION ALL SELECT 2, oid FROM pg_catalog.pg_proc \
              UNION ALL SELECT 3, oid FROM pg_catalog.pg_operator UNION ALL SELECT 4, oid FROM pg_catalog.pg_cast UNION ALL SELECT 5, oid FROM pg_catalog.pg_trigger \
              UNION ALL SELECT 6, oid FROM pg_catalog.pg_constraint UNION ALL SELECT 7, oid FROM pg_catalog.pg_rewrite WHERE ev_enabled OPERATOR(pg_catalog.<>) 'D' \
              UNION ALL SELECT 8, oid FROM pg_catalog.pg_attrdef) o GROUP BY o.list ORDER BY o.list",
        kept: Kept::Whole,
    },
];
/// The rows of every query: what a catalog is made of, and what the next reading builds on.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    /// The lowest transaction that was running when it began; what is written later is not below it.
    horizon: u64,
    tables: Vec<Table>,
    built_in: HashMap<String, String>,
    /// Which database of which start of which server; on any other a row may be new whatever its `xmin` is.
    place: String,
}

/// Rows by kind and OID, or by their place where they are not kept.
type Table = BTreeMap<(char, u32), Arc<Row>>;

impl Reading {
    /// What to ask a server, in order, for a reading that builds on this one; a whole one builds on the default.
    pub(super) fn questions(&self) -> Vec<String> {
        QUERIES.iter().map(|query| self.conditions(query.sql)).collect()
    }

    /// Whether both are of the same database of the same start of the same server.
    pub(super) fn is_of_the_place_of(&self, other: &Self) -> bool {
        self.place == other.place
    }

    fn conditions(&self, sql: &str) -> String {
        let mut parts = sql.split('{');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (condition, rest) = part.split_once('}').unwrap_or((part, ""));
            match condition.split_once(':') {
                Some(("recent", alias)) => text.push_str(&self.recent(alias)),
                Some((_, alias)) => text.push_str(&self.unprinted(alias)),
                None => text.push_str(SEARCH_PATH),
            }
            text.push_str(rest);
        }
        text
    }

    /// Whether a row may be new: `age` compares as the server does, across a wraparound too.
    fn recent(&self, alias: &str) -> String {
        if self.tables.is_empty() {
            return "TRUE".to_owned();
        }
        let horizon = self.horizon & u64::from(u32::MAX);
        format!("pg_catalog.age({alias}.xmin) OPERATOR(pg_catalog.<=) pg_catalog.age('{horizon}'::pg_catalog.xid)")
    }

    /// Whether a definition could not be printed the last time.
    fn unprinted(&self, alias: &str) -> String {
        let texts = self.tables.get(TEXTS).into_iter().flatten();
        let unprinted: Vec<String> = texts.filter(|(_, row)| is_unprinted(row)).map(|((_, oid), _)| oid.to_string()).collect();
        if unprinted.is_empty() {
            return "FALSE".to_owned();
        }
        format!("{alias}.oid OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.oid[])", unprinted.join(","))
    }

    /// The reading that has these answers to [`Self::questions`].
    pub(super) fn with(&self, answers: Vec<Rows>) -> Result<Self, CatalogError> {
        let mut reading = Self { tables: Vec::with_capacity(QUERIES.len()), ..Self::default() };
        let there = There::of(answers.get(THERE).map(Vec::as_slice).unwrap_or_default())?;
        if !self.tables.is_empty() && self.built_in != there.built_in {
            return Err(CatalogError { what: "what is there", problem: "built-in objects changed".to_owned() });
        }
        let mut answers = answers.into_iter();
        for (at, query) in QUERIES.iter().enumerate() {
            let rows = answers.next().ok_or_else(|| CatalogError { what: query.what, problem: "there is no such result".to_owned() })?;
            let mut table = match query.kept {
                Kept::Whole => Table::default(),
                Kept::ByOid(_) | Kept::Text => self.tables.get(at).cloned().unwrap_or_default(),
            };
            for (place, row) in rows.into_iter().enumerate() {
                table.insert(query.key(&row, place)?, Arc::new(row));
            }
            there.retain(query.kept, &mut table);
            reading.tables.push(table);
        }
        let about = Answer::of(&reading, ABOUT);
        let about = about.rows().next().ok_or_else(|| CatalogError { what: "the server", problem: "no row".to_owned() })?;
        let (horizon, place) = (about.parsed(2)?, about.text(3)?.to_owned());
        if !self.tables.is_empty() && (self.place != place || self.horizon > horizon) {
            return Err(about.wrong("this is another server or database than before"));
        }
        Ok(Self { horizon, place, built_in: there.built_in, ..reading })
    }
}

fn is_unprinted(text: &Row) -> bool {
    text.get(4).is_some_and(Option::is_none)
}

impl Query {
    fn key(&self, cells: &Row, place: usize) -> Result<(char, u32), CatalogError> {
        let row = Cells { what: self.what, cells };
        match self.kept {
            Kept::Whole => Ok((' ', u32::try_from(place).unwrap_or(u32::MAX))),
            Kept::ByOid(_) => Ok((' ', row.parsed(0)?)),
            Kept::Text => Ok((row.letter(0)?, row.parsed(1)?)),
        }
    }
}

/// What a server says is there by now: OIDs of what somebody made, and how much is built in.
struct There {
    made: Vec<HashSet<u32>>,
    built_in: HashMap<String, String>,
}

impl There {
    fn of(rows: &[Row]) -> Result<Self, CatalogError> {
        let mut there = Self { made: vec![HashSet::new(); 9], built_in: HashMap::new() };
        for cells in rows {
            let row = Cells { what: "what is there", cells };
            if let Some(made) = there.made.get_mut(row.parsed::<usize>(0)?) {
                *made = row.list(1)?.into_iter().collect();
            }
            if row.text(2)? != "0" {
                there.built_in.insert(row.text(0)?.to_owned(), row.text(2)?.to_owned());
            }
        }
        Ok(there)
    }

    /// Forgets what is gone.
    fn retain(&self, kept: Kept, table: &mut Table) {
        let list = |kind| match (kept, kind) {
            (Kept::ByOid(list), _) => Some(list),
            (Kept::Text, 'v' | 'r') => Some(7),
            (Kept::Text, 'd') => Some(8),
            (Kept::Text, _) => Some(2),
            (Kept::Whole, _) => None,
        };
        let is_there = |kind, oid| list(kind).and_then(|list| self.made.get(list)).is_none_or(|made| made.contains(&oid));
        table.retain(|(kind, oid), _| *oid < FIRST_USER_OID || is_there(*kind, *oid));
    }
}

/// One result under way: its name for errors, and its rows.
struct Answer<'a> {
    what: &'static str,
    rows: Option<&'a Table>,
}

/// One row of an answer.
struct Cells<'a> {
    what: &'static str,
    cells: &'a [Option<String>],
}

impl<'a> Cells<'a> {
    fn wrong(&self, problem: impl fmt::Display) -> CatalogError {
        CatalogError { what: self.what, problem: problem.to_string() }
    }

    fn text(&self, at: usize) -> Result<&'a str, CatalogError> {
        self.optional(at).ok_or_else(|| self.wrong(format_args!("column {at} has no value")))
    }

    fn optional(&self, at: usize) -> Option<&'a str> {
        self.cells.get(at).and_then(Option::as_deref)
    }

    fn parsed<T: std::str::FromStr>(&self, at: usize) -> Result<T, CatalogError> {
        let text = self.text(at)?;
        text.parse().map_err(|_| self.wrong(format_args!("column {at} is no number")))
    }

    fn letter(&self, at: usize) -> Result<char, CatalogError> {
        self.text(at).map(|text| text.chars().next().unwrap_or('?'))
    }

    fn yes(&self, at: usize) -> Result<bool, CatalogError> {
        self.text(at).map(|text| text.starts_with('t'))
    }

    fn json<T: DeserializeOwned + Default>(&self, at: usize) -> Result<T, CatalogError> {
        self.optional(at).map_or_else(|| Ok(T::default()), |text| serde_json::from_str(text).map_err(|error| self.wrong(error)))
    }

    fn list<T: std::str::FromStr>(&self, at: usize) -> Result<Vec<T>, CatalogError> {
        let words = self.optional(at).unwrap_or_default().split_whitespace();
        words.map(|word| word.parse().map_err(|_| self.wrong(format_args!("column {at} is no list of numbers")))).collect()
    }
}

impl<'a> Answer<'a> {
    fn of(reading: &'a Reading, at: usize) -> Self {
        Self { what: QUERIES.get(at).map_or("nothing", |query| query.what), rows: reading.tables.get(at) }
    }

    fn rows(&self) -> impl Iterator<Item = Cells<'a>> + use<'a> {
        let what = self.what;
        self.rows.into_iter().flat_map(BTreeMap::values).map(move |cells| Cells { what, cells })
    }
}

/// Texts that repeat, kept once.
#[derive(Default)]
struct Interner(std::collections::HashSet<Arc<str>>);

impl Interner {
    fn keep(&mut self, text: &str) -> Arc<str> {
        if let Some(kept) = self.0.get(text) {
            return kept.clone();
        }
        let kept: Arc<str> = Arc::from(text);
        self.0.insert(kept.clone());
        kept
    }
}

/// Reads everything.
pub(super) fn contents(database: &str, reading: &Reading) -> Result<Contents, CatalogError> {
    let mut names = Interner::default();
    let about = Answer::of(reading, ABOUT);
    let about = about.rows().next().ok_or_else(|| CatalogError { what: "the server", problem: "no row".to_owned() })?;
    let schemas = schemas(reading, &mut names)?;
    let mut relations = relations(reading, &schemas, &mut names)?;
    let at: HashMap<u32, usize> = relations.iter().enumerate().map(|(at, relation)| (relation.oid, at)).collect();
    attach_owners(reading, &mut relations, &at)?;
    attach_indexes(reading, &mut relations, &at)?;
    attach_inheritance(reading, &mut relations, &at)?;
    attach_triggers(reading, &mut relations, &at)?;
    attach_foreign_keys(reading, &mut relations, &at)?;
    let mut types = types(reading, &schemas, &mut names)?;
    attach_code(reading, &mut relations, &at, &mut types)?;
    let mut routines = routines(reading, &schemas, &mut names)?;
    attach_texts(reading, &mut relations, &at, &mut routines)?;
    Ok(Contents {
        database: Arc::from(database),
        server_version: about.parsed(0)?,
        relations,
        types,
        routines,
        operators: operators(reading, &schemas, &mut names)?,
        casts: casts(reading)?,
        event_triggers: Answer::of(reading, EVENT_TRIGGERS).rows().map(|row| row.parsed(0)).collect::<Result<_, _>>()?,
        schemas: BTreeSet::from_iter(schemas.into_values()).into_iter().collect(),
    })
}

type Schemas = HashMap<u32, Arc<str>>;

fn schemas(reading: &Reading, names: &mut Interner) -> Result<Schemas, CatalogError> {
    Answer::of(reading, SCHEMAS).rows().map(|row| Ok((row.parsed(0)?, names.keep(row.text(1)?)))).collect()
}

fn schema_of(row: &Cells<'_>, at: usize, schemas: &Schemas) -> Result<Arc<str>, CatalogError> {
    // An object made between two of the queries may lie in a schema that was not there yet; nothing can name it through this snapshot.
    Ok(schemas.get(&row.parsed(at)?).cloned().unwrap_or_default())
}

type ColumnCells = Vec<(i16, String, serde_json::Value, bool, bool)>;

fn relations(reading: &Reading, schemas: &Schemas, names: &mut Interner) -> Result<Vec<Relation>, CatalogError> {
    let mut found = Vec::new();
    for row in Answer::of(reading, RELATIONS).rows() {
        let kind = match (row.letter(3)?, row.yes(4)?) {
            ('r' | 'p', true) => RelationKind::Partition,
            ('r', false) => RelationKind::Table,
            ('p', false) => RelationKind::Partitioned,
            ('v', _) => RelationKind::View,
            ('m', _) => RelationKind::MaterializedView,
            ('f', _) => RelationKind::Foreign,
            ('S', _) => RelationKind::Sequence,
            ('i' | 'I', _) => RelationKind::Index,
            ('c', _) => RelationKind::Composite,
            ('t', _) => RelationKind::Toast,
            (other, _) => return Err(row.wrong(format_args!("unknown kind of relation {other:?}"))),
        };
        let columns = row.json::<ColumnCells>(8)?;
        let columns = columns.into_iter().map(|(number, name, type_oid, not_null, has_default)| Column {
            number,
            name: names.keep(&name),
            type_oid: json_oid(&type_oid),
            not_null,
            has_default,
        });
        let columns = columns.collect();
        found.push(Relation {
            oid: row.parsed(0)?,
            schema: schema_of(&row, 1, schemas)?,
            name: names.keep(row.text(2)?),
            kind,
            columns,
            keys: vec![],
            parents: vec![],
            children: vec![],
            definition: None,
            rules: vec![],
            triggers: vec![],
            referenced_by: vec![],
            code: vec![],
            policy_code: vec![],
            defaults: vec![],
            row_type: row.parsed(5)?,
            owner: None,
            temporary: row.letter(7)? == 't',
        });
    }
    Ok(found)
}

/// `json_build_array` writes an OID as a string, other numbers as numbers.
fn json_oid(value: &serde_json::Value) -> u32 {
    match value {
        serde_json::Value::String(text) => text.parse().unwrap_or(0),
        other => other.as_u64().and_then(|oid| u32::try_from(oid).ok()).unwrap_or(0),
    }
}

type Places = HashMap<u32, usize>;

fn relation_mut<'r>(relations: &'r mut [Relation], at: &Places, oid: u32) -> Option<&'r mut Relation> {
    at.get(&oid).and_then(|at| relations.get_mut(*at))
}

fn attach_owners(reading: &Reading, relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    for row in Answer::of(reading, RELATIONS).rows() {
        let (owner, toast) = (row.parsed(0)?, row.parsed(6)?);
        if let Some(toast) = relation_mut(relations, at, toast) {
            toast.owner = Some(owner);
        }
    }
    Ok(())
}

fn attach_indexes(reading: &Reading, relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    for row in Answer::of(reading, INDEXES).rows() {
        let (index, table) = (row.parsed(0)?, row.parsed(1)?);
        if let Some(index) = relation_mut(relations, at, index) {
            index.owner = Some(table);
        }
        if let (Some(_), Some(table)) = (row.optional(2), relation_mut(relations, at, table)) {
            let mut key = row.list::<i16>(2)?;
            key.sort_unstable();
            if !key.is_empty() && !key.contains(&0) {
                table.keys.push(key);
            }
        }
    }
    Ok(())
}

fn attach_inheritance(reading: &Reading, relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    for row in Answer::of(reading, INHERITANCE).rows() {
        let (child, parent) = (row.parsed(0)?, row.parsed(1)?);
        if let Some(child) = relation_mut(relations, at, child) {
            child.parents.push(parent);
            if child.kind == RelationKind::Table {
                child.kind = RelationKind::InheritanceChild;
            }
        }
        if let Some(parent) = relation_mut(relations, at, parent) {
            parent.children.push(child);
        }
    }
    Ok(())
}

/// In place of a definition that could not be printed: no SQL, so that what uses it is not understood.
const UNPRINTED: &str = "(";

fn attach_texts(reading: &Reading, relations: &mut [Relation], at: &Places, routines: &mut [Routine]) -> Result<(), CatalogError> {
    let places: HashMap<u32, usize> = routines.iter().enumerate().map(|(at, routine)| (routine.oid, at)).collect();
    let mut paths: HashMap<String, Arc<[Arc<str>]>> = HashMap::new();
    for row in Answer::of(reading, TEXTS).rows() {
        let text = row.optional(4).unwrap_or(UNPRINTED);
        let path = match paths.get(row.text(5)?) {
            Some(path) => path.clone(),
            None => paths.entry(row.text(5)?.to_owned()).or_insert(row.json::<Vec<Arc<str>>>(5)?.into()).clone(),
        };
        let printed = Printed { text: Arc::from(text), path };
        let kind = row.letter(0)?;
        if matches!(kind, 'a' | 'b') {
            if let Some(routine) = places.get(&row.parsed(1)?).and_then(|at| routines.get_mut(*at)) {
                attach_text_of(routine, kind, printed);
            }
            continue;
        }
        let Some(relation) = relation_mut(relations, at, row.parsed(2)?) else { continue };
        match kind {
            'v' => relation.definition = Some(printed),
            'd' if text == UNPRINTED || calls_something(text) => relation.defaults.push((row.parsed(3)?, printed)),
            'd' => {}
            _ => relation.rules.push(Rule { event: event_of_rule(row.letter(3)?), printed }),
        }
    }
    Ok(())
}

fn attach_text_of(routine: &mut Routine, kind: char, printed: Printed) {
    if kind == 'b' {
        routine.body = Some(printed.text);
        routine.printed_under = Some(printed.path);
    } else if &*printed.text == UNPRINTED || calls_something(&printed.text) {
        routine.default_values = Some(printed);
    }
}

const fn event_of_rule(letter: char) -> WriteEvent {
    match letter {
        '2' => WriteEvent::Update,
        '3' => WriteEvent::Insert,
        _ => WriteEvent::Delete,
    }
}

/// Whether a default is worth reading: constants and the commonest calls are not.
fn calls_something(text: &str) -> bool {
    text.contains(['(', '+', '|', '@', '#', '%', '~', '!'])
        && !matches!(text, "now()" | "gen_random_uuid()" | "clock_timestamp()")
        && !is_plain_nextval(text)
}

fn is_plain_nextval(text: &str) -> bool {
    text.strip_prefix("nextval('").and_then(|rest| rest.strip_suffix("'::regclass)")).is_some_and(|name| !name.contains('\''))
}

fn attach_triggers(reading: &Reading, relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    for row in Answer::of(reading, TRIGGERS).rows() {
        let events = row.parsed::<i16>(2)?;
        if let (true, Some(relation)) = (row.yes(4)?, relation_mut(relations, at, row.parsed(1)?)) {
            relation.triggers.push(Trigger { events: u8::try_from(events & 0x7f).unwrap_or(0x7f), function: row.parsed(3)? });
        }
    }
    Ok(())
}

fn attach_foreign_keys(reading: &Reading, relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    let action = |letter| match letter {
        'c' => KeyAction::Cascade,
        'n' | 'd' => KeyAction::Set,
        _ => KeyAction::Refuse,
    };
    for row in Answer::of(reading, FOREIGN_KEYS).rows() {
        let key = ForeignKey { child: row.parsed(1)?, on_delete: action(row.letter(3)?), on_update: action(row.letter(4)?) };
        if let Some(parent) = relation_mut(relations, at, row.parsed(2)?) {
            parent.referenced_by.push(key);
        }
    }
    Ok(())
}

fn attach_code(reading: &Reading, relations: &mut [Relation], at: &Places, types: &mut [Type]) -> Result<(), CatalogError> {
    let places: HashMap<u32, usize> = types.iter().enumerate().map(|(at, kind)| (kind.oid, at)).collect();
    for row in Answer::of(reading, DEPENDENCIES).rows() {
        let (oid, code) = (row.parsed(1)?, row.parsed(2)?);
        match row.letter(0)? {
            't' => {
                if let Some(kind) = places.get(&oid).and_then(|at| types.get_mut(*at)) {
                    kind.code.push(code);
                }
            }
            'p' => {
                if let Some(relation) = relation_mut(relations, at, oid) {
                    relation.policy_code.push(code);
                }
            }
            _ => {
                if let Some(relation) = relation_mut(relations, at, oid) {
                    relation.code.push(code);
                }
            }
        }
    }
    Ok(())
}

fn types(reading: &Reading, schemas: &Schemas, names: &mut Interner) -> Result<Vec<Type>, CatalogError> {
    let mut found = Vec::new();
    for row in Answer::of(reading, TYPES).rows() {
        let input: u32 = row.parsed(5)?;
        // `typelem` is also set for types that are merely subscripted, such as `point`; true arrays have variable length (-1).
        let element = if row.text(6)? == "-1" { row.parsed(4)? } else { 0 };
        found.push(Type {
            oid: row.parsed(0)?,
            schema: schema_of(&row, 1, schemas)?,
            name: names.keep(row.text(2)?),
            base: row.parsed(3)?,
            element,
            code: if input >= FIRST_USER_OID { vec![input] } else { vec![] },
        });
    }
    Ok(found)
}

fn routines(reading: &Reading, schemas: &Schemas, names: &mut Interner) -> Result<Vec<Routine>, CatalogError> {
    let mut found = Vec::new();
    for row in Answer::of(reading, FUNCTIONS).rows() {
        let keep_all = |texts: Option<Vec<String>>, names: &mut Interner| texts.unwrap_or_default().iter().map(|text| names.keep(text)).collect();
        found.push(Routine {
            oid: row.parsed(0)?,
            schema: schema_of(&row, 1, schemas)?,
            name: names.keep(row.text(2)?),
            arguments: row.list(3)?,
            defaults: row.parsed(4)?,
            variadic: row.parsed(5)?,
            volatility: row.letter(6)?,
            returns: row.parsed(7)?,
            returns_set: row.yes(8)?,
            language: names.keep(row.optional(9).unwrap_or_default()),
            body: row.optional(10).map(Arc::from),
            argument_names: keep_all(row.json(11)?, names),
            settings: keep_all(row.json(12)?, names),
            printed_under: None,
            default_values: None,
        });
    }
    Ok(found)
}

fn operators(reading: &Reading, schemas: &Schemas, names: &mut Interner) -> Result<Vec<Operator>, CatalogError> {
    let mut found = Vec::new();
    for row in Answer::of(reading, OPERATORS).rows() {
        found.push(Operator {
            oid: row.parsed(0)?,
            schema: schema_of(&row, 1, schemas)?,
            name: names.keep(row.text(2)?),
            left: row.parsed(3)?,
            right: row.parsed(4)?,
            result: row.parsed(5)?,
            function: row.parsed(6)?,
        });
    }
    Ok(found)
}

fn casts(reading: &Reading) -> Result<Vec<Cast>, CatalogError> {
    let rows = Answer::of(reading, CASTS);
    rows.rows()
        .map(|row| Ok(Cast { source: row.parsed(1)?, target: row.parsed(2)?, function: row.parsed(3)?, implicit: row.letter(4)? == 'i' }))
        .collect()
}
