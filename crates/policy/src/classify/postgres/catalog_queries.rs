//! What is asked of a server to know its catalog: whole, or only what changed since an earlier reading.
//!
//! The queries may run on a caller's own backend, under whatever search path the caller chose: every name in them, operators too, is qualified.
//! They take no parameters, write nothing, and need no privilege beyond CONNECT. What they cost the server grows with its catalog, for it has no
//! list of what is new: `pg_attribute` and `pg_description` are looked through once, `pg_class` twice, `pg_type` three times.

use std::{borrow::Cow, fmt};

use serde::Deserialize;

use super::SEARCH_PATH;

/// The rows of one query, every cell as text: one text for all of them and a number for each cell, since a large catalog has millions.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    text: String,
    /// Of each cell, where it ends in the text, doubled, and one more if it has no value.
    ends: Vec<u32>,
    /// Cells in a row.
    width: usize,
}

impl Answer {
    /// Keeps one more row. Answers what that takes, in bytes.
    ///
    /// # Errors
    /// It is not as wide as the others, or there is more than can be numbered.
    pub fn push<'a>(&mut self, row: impl Iterator<Item = Option<Cow<'a, str>>>) -> Result<usize, CatalogError> {
        let wrong = |problem: &str| CatalogError { what: "rows", problem: problem.to_owned() };
        let (bytes, cells) = (self.text.len(), self.ends.len());
        for cell in row {
            self.text.push_str(cell.as_deref().unwrap_or_default());
            let end = u32::try_from(self.text.len()).ok().and_then(|end| end.checked_mul(2)).ok_or_else(|| wrong("they are too long"))?;
            self.ends.push(end + u32::from(cell.is_none()));
        }
        let width = self.ends.len() - cells;
        if cells > 0 && self.width != width {
            return Err(wrong("they differ in width"));
        }
        self.width = width;
        Ok(self.text.len() - bytes + width * size_of::<u32>())
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let begins = |at: usize| at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| end / 2);
        let rows = self.ends.chunks(self.width.max(1)).enumerate();
        rows.map(move |(at, ends)| Row { text: &self.text, begin: begins(at * self.width), ends })
    }
}

impl TryFrom<Vec<Vec<Option<String>>>> for Answer {
    type Error = CatalogError;

    fn try_from(rows: Vec<Vec<Option<String>>>) -> Result<Self, CatalogError> {
        let mut answer = Self::default();
        for row in rows {
            answer.push(row.into_iter().map(|cell| cell.map(Cow::Owned)))?;
        }
        Ok(answer)
    }
}

/// Cells of an answer, one beside the other.
#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    text: &'a str,
    begin: u32,
    ends: &'a [u32],
}

impl<'a> Row<'a> {
    fn cell(&self, at: usize) -> Option<&'a str> {
        let end = self.ends.get(at).filter(|end| *end % 2 == 0)? / 2;
        let begin = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(self.begin, |end| end / 2);
        self.text.get(begin as usize..end as usize)
    }
}

/// A result is not what its query gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalog query for {what} gave something unexpected: {problem}")]
pub struct CatalogError {
    /// Which query.
    what: &'static str,
    problem: String,
}

/// A query.
struct Query {
    what: &'static str,
    /// `{recent:x}` is put where a row of `x` must be new, for readings that build on an earlier one, `{unprinted:x}` where its text could not be had
    /// then, `{whole}` where there is no earlier reading, `{path}` where the search path is asked for, `{joined}` and `{relkind}` where the kind of a
    /// type's relation is.
    sql: &'static str,
}

pub(super) const ABOUT: usize = 0;
pub(super) const SCHEMAS: usize = 1;
pub(super) const TYPES: usize = 2;
pub(super) const FUNCTIONS: usize = 3;
pub(super) const OPERATORS: usize = 4;
pub(super) const CASTS: usize = 5;
pub(super) const INDEXES: usize = 6;
pub(super) const INHERITANCE: usize = 7;
pub(super) const TEXTS: usize = 8;
pub(super) const TRIGGERS: usize = 9;
pub(super) const FOREIGN_KEYS: usize = 10;
pub(super) const DEPENDENCIES: usize = 11;
pub(super) const EVENT_TRIGGERS: usize = 12;
pub(super) const COMMENTS: usize = 13;
pub(super) const THERE: usize = 14;

/// How many lists of what is there are asked for.
pub(super) const LISTS: usize = 9;

/// Lists of what is there: the number, the OIDs of what somebody made, and how many came with the server.
macro_rules! there {
    ($list:literal, $table:literal, $condition:literal) => {
        concat!(
            "SELECT '",
            $list,
            "', pg_catalog.array_to_string(ARRAY(SELECT oid FROM pg_catalog.",
            $table,
            " WHERE oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND ",
            $condition,
            "), ' '), (SELECT pg_catalog.count(*) FROM pg_catalog.",
            $table,
            " WHERE oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid AND ",
            $condition,
            ")::pg_catalog.text"
        )
    };
    ($list:literal $table:literal $condition:literal, $($lists:literal $tables:literal $conditions:literal),+) => {
        concat!(there!($list, $table, $condition), $(" UNION ALL ", there!($lists, $tables, $conditions)),+)
    };
}

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
    },
    Query { what: "schemas", sql: "SELECT oid::pg_catalog.text, nspname::pg_catalog.text FROM pg_catalog.pg_namespace" },
    // Types, but for row types of relations and their arrays. What belongs to a relation is looked up for each where few are recent, and joined in a whole reading.
    Query {
        what: "types",
        sql: "SELECT t.oid::pg_catalog.text, t.typnamespace::pg_catalog.text, t.typname::pg_catalog.text, t.typbasetype::pg_catalog.text, t.typelem::pg_catalog.text, \
              t.typinput::pg_catalog.oid::pg_catalog.text, t.typlen::pg_catalog.text, \
              CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'e' THEN (SELECT pg_catalog.count(*) FROM pg_catalog.pg_enum e WHERE e.enumtypid OPERATOR(pg_catalog.=) t.oid) \
              ELSE 0 END::pg_catalog.text FROM pg_catalog.pg_type t {joined} WHERE {recent:t} AND COALESCE({relkind}, 'c') OPERATOR(pg_catalog.=) 'c'",
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
    },
    Query {
        what: "operators",
        sql: "SELECT o.oid::pg_catalog.text, o.oprnamespace::pg_catalog.text, o.oprname::pg_catalog.text, o.oprleft::pg_catalog.text, o.oprright::pg_catalog.text, \
              o.oprresult::pg_catalog.text, o.oprcode::pg_catalog.oid::pg_catalog.text FROM pg_catalog.pg_operator o WHERE {recent:o}",
    },
    Query {
        what: "casts",
        sql: "SELECT c.oid::pg_catalog.text, c.castsource::pg_catalog.text, c.casttarget::pg_catalog.text, c.castfunc::pg_catalog.text, c.castcontext::pg_catalog.text \
              FROM pg_catalog.pg_cast c WHERE {recent:c}",
    },
    // Indexes: the table, and the columns of a plain unique one
    Query {
        what: "indexes",
        sql: "SELECT i.indexrelid::pg_catalog.text, i.indrelid::pg_catalog.text, \
              CASE WHEN i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL \
              THEN pg_catalog.array_to_string((i.indkey::pg_catalog.int2[])[0:(i.indnkeyatts::pg_catalog.int4 OPERATOR(pg_catalog.-) 1)], ' ') END \
              FROM pg_catalog.pg_index i WHERE {recent:i}",
    },
    // Inheritance and partitions
    Query {
        what: "inheritance",
        sql: "SELECT inhrelid::pg_catalog.text, inhparent::pg_catalog.text FROM pg_catalog.pg_inherits ORDER BY inhrelid, inhseqno",
    },
    // Relations (c), their columns (k), and what the server prints: views (v) that are not built in; rules (r), but for those that make a view and those
    // that are disabled; defaults and generated columns (d); bodies of functions in the standard form (b); defaults of arguments (a). One query, for
    // all want to know which relations changed. Columns are grouped in one pass: to look them up for each relation takes the server twice as long.
    Query {
        what: "relations and texts",
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
              SELECT 'c', c.oid::pg_catalog.text, \
              pg_catalog.concat_ws(' ', c.relnamespace, c.reltype, c.reltoastrelid, c.relkind, c.relispartition, c.relpersistence), NULL, c.relname::pg_catalog.text, NULL \
              FROM pg_catalog.pg_class c WHERE {whole} OR c.oid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT oid FROM changed)) \
              UNION ALL SELECT 'k', a.attrelid::pg_catalog.text, NULL, NULL, \
              pg_catalog.json_agg(pg_catalog.concat_ws(' ', a.attnum, a.atttypid, a.attnotnull, a.atthasdef, a.attname))::pg_catalog.text, NULL \
              FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid \
              WHERE ({whole} OR a.attrelid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT oid FROM changed))) AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
              AND c.relkind OPERATOR(pg_catalog.<>) 'i' AND c.relkind OPERATOR(pg_catalog.<>) 'I' AND c.relkind OPERATOR(pg_catalog.<>) 't' GROUP BY a.attrelid \
              UNION ALL SELECT 'v', r.oid::pg_catalog.text, r.ev_class::pg_catalog.text, NULL, \
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
              CASE WHEN f.adrelid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM unprintable) THEN NULL \
              WHEN pg_catalog.strpos(f.adbin::pg_catalog.text, ':varno ') OPERATOR(pg_catalog.=) 0 THEN pg_catalog.pg_get_expr(f.adbin, 0::pg_catalog.oid) \
              ELSE pg_catalog.pg_get_expr(f.adbin, f.adrelid) END, \
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
    },
    // Before PostgreSQL 15 what a partition has of its parent's triggers is internal, too.
    Query {
        what: "triggers",
        sql: "SELECT t.oid::pg_catalog.text, t.tgrelid::pg_catalog.text, t.tgtype::pg_catalog.text, t.tgfoid::pg_catalog.text, \
              ((NOT t.tgisinternal OR t.tgfoid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid) AND t.tgenabled OPERATOR(pg_catalog.<>) 'D')::pg_catalog.text FROM pg_catalog.pg_trigger t WHERE {recent:t}",
    },
    Query {
        what: "foreign keys",
        sql: "SELECT c.oid::pg_catalog.text, c.conrelid::pg_catalog.text, c.confrelid::pg_catalog.text, c.confdeltype::pg_catalog.text, c.confupdtype::pg_catalog.text \
              FROM pg_catalog.pg_constraint c WHERE c.contype OPERATOR(pg_catalog.=) 'f' AND {recent:c}",
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
    },
    Query {
        what: "event triggers",
        sql: "SELECT evtfoid::pg_catalog.text FROM pg_catalog.pg_event_trigger WHERE evtenabled OPERATOR(pg_catalog.<>) 'D'",
    },
    // Comments on columns: which there are, and what the new ones say, cut. In hexadecimal of the database's own encoding: no encoding of a caller's
    // session may lack a letter of a comment.
    Query {
        what: "comments",
        sql: "SELECT d.objoid::pg_catalog.text, d.objsubid::pg_catalog.text, CASE WHEN {recent:d} THEN pg_catalog.encode(pg_catalog.convert_to( \
              pg_catalog.left(d.description, 256), pg_catalog.getdatabaseencoding()), 'hex') END FROM pg_catalog.pg_description d \
              WHERE d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid \
              AND d.objoid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND d.objsubid OPERATOR(pg_catalog.>) 0",
    },
    // What is there by now, by the lists' numbers: made by somebody, and how many came with the server
    Query {
        what: "what is there",
        sql: there!(
            "0" "pg_class" "TRUE",
            "1" "pg_type" "TRUE",
            "2" "pg_proc" "TRUE",
            "3" "pg_operator" "TRUE",
            "4" "pg_cast" "TRUE",
            "5" "pg_trigger" "TRUE",
            "6" "pg_constraint" "TRUE",
            "7" "pg_rewrite" "ev_enabled OPERATOR(pg_catalog.<>) 'D'",
            "8" "pg_attrdef" "TRUE"
        ),
    },
];

/// What a reading builds on.
pub(super) enum Since {
    /// Nothing: it is a whole one.
    Nothing,
    /// An earlier one: the lowest transaction that was running when that began, and OIDs of what could not be printed then.
    Told { horizon: u64, unprinted: Vec<u32> },
    /// An earlier one, of which [`settings`] tell the session: the questions are the same each time, and can be prepared.
    Set,
}

/// The kind of the relation whose row type `t` is, or an array of that: by a join, and for each type by itself.
const JOINED: &str = "LEFT JOIN pg_catalog.pg_type e ON e.oid OPERATOR(pg_catalog.=) t.typelem LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) \
                      CASE WHEN t.typrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid THEN t.typrelid ELSE e.typrelid END";
const LOOKED_UP: &str = "(SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) CASE WHEN t.typrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
                         THEN t.typrelid ELSE (SELECT e.typrelid FROM pg_catalog.pg_type e WHERE e.oid OPERATOR(pg_catalog.=) t.typelem) END)";

const HORIZON: &str = "countersign.horizon";
const UNPRINTED: &str = "countersign.unprinted";

/// What to ask, in order.
pub(super) fn questions(since: &Since) -> Vec<String> {
    QUERIES.iter().map(|query| completed(query.sql, since)).collect()
}

/// Tells a session of our own, for one transaction, what [`Since::Set`] builds on.
pub(super) fn settings(horizon: u64, unprinted: &[u32]) -> [String; 2] {
    [format!("SET LOCAL {HORIZON} = '{}'", xid(horizon)), format!("SET LOCAL {UNPRINTED} = '{}'", array(unprinted))]
}

fn completed(sql: &str, since: &Since) -> String {
    let mut parts = sql.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (condition, rest) = part.split_once('}').unwrap_or((part, ""));
        match (condition.split_once(':'), since) {
            (None, _) if condition == "path" => text.push_str(SEARCH_PATH),
            (None, Since::Nothing) if condition == "joined" => text.push_str(JOINED),
            (None, Since::Nothing) if condition == "relkind" => text.push_str("c.relkind"),
            (None, _) if condition == "joined" => {}
            (None, _) if condition == "relkind" => text.push_str(LOOKED_UP),
            (_, Since::Nothing) => text.push_str("TRUE"),
            (None, _) => text.push_str("FALSE"),
            (Some(("recent", alias)), _) => text.push_str(&recent(alias, since)),
            (Some((_, alias)), _) => text.push_str(&unprinted(alias, since)),
        }
        text.push_str(rest);
    }
    text
}

/// Whether a row may be new: `age` compares as the server does, across a wraparound too.
fn recent(alias: &str, since: &Since) -> String {
    let horizon = match since {
        Since::Told { horizon, .. } => format!("pg_catalog.age('{}'::pg_catalog.xid)", xid(*horizon)),
        // In a query of its own it is evaluated once, and not for every row.
        _ => format!("(SELECT pg_catalog.age(pg_catalog.current_setting('{HORIZON}')::pg_catalog.xid))"),
    };
    format!("pg_catalog.age({alias}.xmin) OPERATOR(pg_catalog.<=) {horizon}")
}

/// Whether a definition could not be printed the last time.
fn unprinted(alias: &str, since: &Since) -> String {
    let listed = match since {
        Since::Told { unprinted, .. } if unprinted.is_empty() => return "FALSE".to_owned(),
        Since::Told { unprinted, .. } => format!("'{}'", array(unprinted)),
        _ => format!("(SELECT pg_catalog.current_setting('{UNPRINTED}'))"),
    };
    format!("{alias}.oid OPERATOR(pg_catalog.=) ANY ({listed}::pg_catalog.oid[])")
}

const fn xid(transaction: u64) -> u64 {
    transaction & u32::MAX as u64
}

fn array(oids: &[u32]) -> String {
    let listed: Vec<String> = oids.iter().map(u32::to_string).collect();
    format!("{{{}}}", listed.join(","))
}

/// The answers to [`questions`].
pub(super) struct Answers(Vec<Answer>);

impl Answers {
    /// # Errors
    /// There is not one to each.
    pub(super) fn new(answers: Vec<Answer>) -> Result<Self, CatalogError> {
        match QUERIES.get(answers.len()) {
            Some(query) => Err(CatalogError { what: query.what, problem: "there is no such result".to_owned() }),
            None => Ok(Self(answers)),
        }
    }

    /// The rows of one answer.
    pub(super) fn rows(&self, query: usize) -> impl Iterator<Item = Cells<'_>> {
        let what = QUERIES.get(query).map_or("nothing", |query| query.what);
        self.0.get(query).into_iter().flat_map(Answer::rows).map(move |cells| Cells { what, cells })
    }

    /// The row of an answer that has one.
    ///
    /// # Errors
    /// It has none.
    pub(super) fn row(&self, query: usize) -> Result<Cells<'_>, CatalogError> {
        let what = QUERIES.get(query).map_or("nothing", |query| query.what);
        self.rows(query).next().ok_or_else(|| CatalogError { what, problem: "no row".to_owned() })
    }
}

/// One row of an answer.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    what: &'static str,
    cells: Row<'a>,
}

impl<'a> Cells<'a> {
    pub(super) fn wrong(&self, problem: impl fmt::Display) -> CatalogError {
        CatalogError { what: self.what, problem: problem.to_string() }
    }

    pub(super) fn text(&self, at: usize) -> Result<&'a str, CatalogError> {
        self.optional(at).ok_or_else(|| self.wrong(format_args!("column {at} has no value")))
    }

    pub(super) fn optional(&self, at: usize) -> Option<&'a str> {
        self.cells.cell(at)
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, at: usize) -> Result<T, CatalogError> {
        let text = self.text(at)?;
        text.parse().map_err(|_| self.wrong(format_args!("column {at} is no number")))
    }

    pub(super) fn letter(&self, at: usize) -> Result<char, CatalogError> {
        self.text(at).map(|text| text.chars().next().unwrap_or('?'))
    }

    pub(super) fn yes(&self, at: usize) -> Result<bool, CatalogError> {
        self.text(at).map(|text| text.starts_with('t'))
    }

    /// Bytes in hexadecimal; none where there is no value.
    pub(super) fn bytes(&self, at: usize) -> Result<Option<Vec<u8>>, CatalogError> {
        let pair = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes = |hex: &str| hex.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>();
        self.optional(at).map(|hex| bytes(hex).ok_or_else(|| self.wrong(format_args!("column {at} is not hexadecimal")))).transpose()
    }

    pub(super) fn json<T: Deserialize<'a> + Default>(&self, at: usize) -> Result<T, CatalogError> {
        self.optional(at).map_or_else(|| Ok(T::default()), |text| serde_json::from_str(text).map_err(|error| self.wrong(error)))
    }

    pub(super) fn list<T: std::str::FromStr>(&self, at: usize) -> Result<Vec<T>, CatalogError> {
        let words = self.optional(at).unwrap_or_default().split(' ').filter(|word| !word.is_empty());
        words.map(|word| word.parse().map_err(|_| self.wrong(format_args!("column {at} is no list of numbers")))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[&[Option<&str>]]) -> Result<Answer, CatalogError> {
        let row = |row: &[Option<&str>]| row.iter().map(|cell| cell.map(str::to_owned)).collect::<Vec<_>>();
        rows.iter().map(|cells| row(cells)).collect::<Vec<_>>().try_into()
    }

    #[test]
    fn cells_are_found_again_with_values_and_without() {
        let rows: &[&[Option<&str>]] = &[&[None, Some("")], &[Some("é"), None], &[Some(""), Some("two words")], &[None, None]];
        let kept = answer(rows).unwrap();
        let found: Vec<Vec<Option<&str>>> = kept.rows().map(|row| vec![row.cell(0), row.cell(1)]).collect();
        assert_eq!(found, rows);
        assert!(kept.rows().all(|row| row.cell(2).is_none()));
        assert_eq!(Answer::default().rows().count(), 0);
    }

    #[test]
    fn a_row_of_another_width_is_refused_and_each_is_counted() {
        assert!(answer(&[&[Some("a")], &[Some("a"), None]]).is_err());
        assert!(answer(&[&[Some("a")], &[]]).is_err());
        assert_eq!(Answer::default().push([Some("four".into()), None].into_iter()).unwrap(), 12);
    }
}
