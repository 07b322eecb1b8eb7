//! How a catalog is read from a server.
//!
//! The queries may run on a caller's own backend, under whatever search path the caller chose: every name in them, operators too, is qualified.
//! They take no parameters, write nothing, and need no privilege beyond CONNECT.

use std::{collections::HashMap, fmt, sync::Arc};

use serde::de::DeserializeOwned;

use super::catalog::{
    Cast, Column, Contents, FIRST_USER_OID, ForeignKey, KeyAction, Operator, Relation, RelationKind, Routine, Rule, Trigger, Type, WriteEvent,
};

/// The rows of one query, every cell as text.
pub type Rows = Vec<Vec<Option<String>>>;

/// A result is not what its query gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalog query for {what} gave something unexpected: {problem}")]
pub struct CatalogError {
    /// Which query.
    what: &'static str,
    problem: String,
}

/// What to ask a server, in order; [`super::catalog::Catalog::from_rows`] takes the answers.
pub const QUERIES: &[&str] = &[
    // 0: version and the path under which definitions are printed
    "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.text, pg_catalog.to_json(pg_catalog.current_schemas(true))::pg_catalog.text",
    // 1: schemas
    "SELECT oid::pg_catalog.text, nspname::pg_catalog.text FROM pg_catalog.pg_namespace",
    // 2: relations with their columns
    "SELECT c.oid::pg_catalog.text, c.relnamespace::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text, c.relispartition::pg_catalog.text, \
     c.reltype::pg_catalog.text, c.reltoastrelid::pg_catalog.text, c.relpersistence::pg_catalog.text, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname, a.atttypid, a.attnotnull, a.atthasdef) ORDER BY a.attnum)::pg_catalog.text \
      FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
      AND c.relkind OPERATOR(pg_catalog.<>) 'i' AND c.relkind OPERATOR(pg_catalog.<>) 'I' AND c.relkind OPERATOR(pg_catalog.<>) 't') \
     FROM pg_catalog.pg_class c",
    // 3: types, but for row types of relations and their arrays
    "SELECT t.oid::pg_catalog.text, t.typnamespace::pg_catalog.text, t.typname::pg_catalog.text, t.typbasetype::pg_catalog.text, t.typelem::pg_catalog.text, \
     t.typinput::pg_catalog.oid::pg_catalog.text, t.typlen::pg_catalog.text \
     FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid OPERATOR(pg_catalog.=) t.typelem \
     LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) CASE WHEN t.typrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid THEN t.typrelid ELSE e.typrelid END \
     WHERE c.oid IS NULL OR c.relkind OPERATOR(pg_catalog.=) 'c'",
    // 4: functions
    "SELECT p.oid::pg_catalog.text, p.pronamespace::pg_catalog.text, p.proname::pg_catalog.text, p.proargtypes::pg_catalog.text, p.pronargdefaults::pg_catalog.text, \
     p.provariadic::pg_catalog.text, p.provolatile::pg_catalog.text, p.prorettype::pg_catalog.text, p.proretset::pg_catalog.text, \
     CASE WHEN p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid THEN l.lanname::pg_catalog.text END, \
     CASE WHEN p.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid OR l.lanname OPERATOR(pg_catalog.<>) 'sql'::pg_catalog.name THEN NULL \
     WHEN p.prosrc OPERATOR(pg_catalog.=) '' THEN pg_catalog.pg_get_functiondef(p.oid) ELSE p.prosrc END, \
     CASE WHEN p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND l.lanname OPERATOR(pg_catalog.=) 'sql'::pg_catalog.name THEN pg_catalog.to_json(p.proargnames)::pg_catalog.text END, \
     pg_catalog.to_json(p.proconfig)::pg_catalog.text \
     FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang",
    // 5: operators
    "SELECT oid::pg_catalog.text, oprnamespace::pg_catalog.text, oprname::pg_catalog.text, oprleft::pg_catalog.text, oprright::pg_catalog.text, oprresult::pg_catalog.text, \
     oprcode::pg_catalog.oid::pg_catalog.text FROM pg_catalog.pg_operator",
    // 6: casts
    "SELECT castsource::pg_catalog.text, casttarget::pg_catalog.text, castfunc::pg_catalog.text, castcontext::pg_catalog.text FROM pg_catalog.pg_cast",
    // 7: indexes: the table, and the columns of a plain unique one
    "SELECT indexrelid::pg_catalog.text, indrelid::pg_catalog.text, \
     CASE WHEN indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL \
     THEN pg_catalog.array_to_string((indkey::pg_catalog.int2[])[0:(indnkeyatts::pg_catalog.int4 OPERATOR(pg_catalog.-) 1)], ' ') END FROM pg_catalog.pg_index",
    // 8: inheritance and partitions
    "SELECT inhrelid::pg_catalog.text, inhparent::pg_catalog.text FROM pg_catalog.pg_inherits ORDER BY inhrelid, inhseqno",
    // 9: views that are not built in
    "SELECT oid::pg_catalog.text, pg_catalog.pg_get_viewdef(oid) FROM pg_catalog.pg_class \
     WHERE oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND (relkind OPERATOR(pg_catalog.=) 'v' OR relkind OPERATOR(pg_catalog.=) 'm')",
    // 10: rules, but for those that make a view
    "SELECT ev_class::pg_catalog.text, ev_type::pg_catalog.text, pg_catalog.pg_get_ruledef(oid) FROM pg_catalog.pg_rewrite \
     WHERE ev_type OPERATOR(pg_catalog.<>) '1' AND ev_enabled OPERATOR(pg_catalog.<>) 'D' AND oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid",
    // 11: triggers
    "SELECT tgrelid::pg_catalog.text, tgtype::pg_catalog.text, tgfoid::pg_catalog.text FROM pg_catalog.pg_trigger \
     WHERE NOT tgisinternal AND tgenabled OPERATOR(pg_catalog.<>) 'D'",
    // 12: foreign keys
    "SELECT conrelid::pg_catalog.text, confrelid::pg_catalog.text, confdeltype::pg_catalog.text, confupdtype::pg_catalog.text FROM pg_catalog.pg_constraint \
     WHERE contype OPERATOR(pg_catalog.=) 'f'",
    // 13: code that writing a table (a), making a value of a domain (t) or row security (p) runs
    "WITH d AS (SELECT DISTINCT dep.classid, dep.objid, \
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
    // 14: defaults and generated columns that call something
    "SELECT adrelid::pg_catalog.text, adnum::pg_catalog.text, pg_catalog.pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef",
    // 15: event triggers
    "SELECT evtfoid::pg_catalog.text FROM pg_catalog.pg_event_trigger WHERE evtenabled OPERATOR(pg_catalog.<>) 'D'",
];

/// One result under way: its name for errors, and its rows.
struct Answer<'a> {
    what: &'static str,
    rows: &'a Rows,
}

/// One row of an answer.
struct Row<'a> {
    what: &'static str,
    cells: &'a [Option<String>],
}

impl<'a> Row<'a> {
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
    fn of(results: &'a [Rows], at: usize, what: &'static str) -> Result<Self, CatalogError> {
        let rows = results.get(at).ok_or_else(|| CatalogError { what, problem: "there is no such result".to_owned() })?;
        Ok(Self { what, rows })
    }

    fn rows(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let what = self.what;
        self.rows.iter().map(move |cells| Row { what, cells })
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
pub(super) fn contents(database: &str, results: &[Rows]) -> Result<Contents, CatalogError> {
    let mut names = Interner::default();
    let about = Answer::of(results, 0, "the server")?;
    let about = about.rows().next().ok_or_else(|| CatalogError { what: "the server", problem: "no row".to_owned() })?;
    let schemas = schemas(results, &mut names)?;
    let mut relations = relations(results, &schemas, &mut names)?;
    let at: HashMap<u32, usize> = relations.iter().enumerate().map(|(at, relation)| (relation.oid, at)).collect();
    attach_owners(results, &mut relations, &at)?;
    attach_indexes(results, &mut relations, &at)?;
    attach_inheritance(results, &mut relations, &at)?;
    attach_definitions(results, &mut relations, &at)?;
    attach_triggers(results, &mut relations, &at)?;
    attach_foreign_keys(results, &mut relations, &at)?;
    let mut types = types(results, &schemas, &mut names)?;
    attach_code(results, &mut relations, &at, &mut types)?;
    Ok(Contents {
        database: Arc::from(database),
        server_version: about.parsed(0)?,
        path: about.json::<Vec<String>>(1)?.iter().map(|name| names.keep(name)).collect(),
        relations,
        types,
        routines: routines(results, &schemas, &mut names)?,
        operators: operators(results, &schemas, &mut names)?,
        casts: casts(results)?,
        event_triggers: Answer::of(results, 15, "event triggers")?.rows().map(|row| row.parsed(0)).collect::<Result<_, _>>()?,
        schemas: schemas.into_values().collect(),
    })
}

type Schemas = HashMap<u32, Arc<str>>;

fn schemas(results: &[Rows], names: &mut Interner) -> Result<Schemas, CatalogError> {
    Answer::of(results, 1, "schemas")?.rows().map(|row| Ok((row.parsed(0)?, names.keep(row.text(1)?)))).collect()
}

fn schema_of(row: &Row<'_>, at: usize, schemas: &Schemas) -> Result<Arc<str>, CatalogError> {
    // An object made between two of the queries may lie in a schema that was not there yet; nothing can name it through this snapshot.
    Ok(schemas.get(&row.parsed(at)?).cloned().unwrap_or_default())
}

type ColumnCells = Vec<(i16, String, serde_json::Value, bool, bool)>;

fn relations(results: &[Rows], schemas: &Schemas, names: &mut Interner) -> Result<Vec<Relation>, CatalogError> {
    let mut found = Vec::new();
    for row in Answer::of(results, 2, "relations")?.rows() {
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

fn attach_owners(results: &[Rows], relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    for row in Answer::of(results, 2, "relations")?.rows() {
        let (owner, toast) = (row.parsed(0)?, row.parsed(6)?);
        if let Some(toast) = relation_mut(relations, at, toast) {
            toast.owner = Some(owner);
        }
    }
    Ok(())
}

fn attach_indexes(results: &[Rows], relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    for row in Answer::of(results, 7, "indexes")?.rows() {
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

fn attach_inheritance(results: &[Rows], relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    for row in Answer::of(results, 8, "inheritance")?.rows() {
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

fn attach_definitions(results: &[Rows], relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    for row in Answer::of(results, 9, "views")?.rows() {
        if let Some(view) = relation_mut(relations, at, row.parsed(0)?) {
            view.definition = row.optional(1).map(Arc::from);
        }
    }
    for row in Answer::of(results, 10, "rules")?.rows() {
        let event = match row.letter(1)? {
            '2' => WriteEvent::Update,
            '3' => WriteEvent::Insert,
            _ => WriteEvent::Delete,
        };
        if let Some(relation) = relation_mut(relations, at, row.parsed(0)?) {
            relation.rules.push(Rule { event, text: Arc::from(row.optional(2).unwrap_or_default()) });
        }
    }
    for row in Answer::of(results, 14, "defaults")?.rows() {
        let Some(text) = row.optional(2).filter(|text| calls_something(text)) else { continue };
        if let Some(relation) = relation_mut(relations, at, row.parsed(0)?) {
            relation.defaults.push((row.parsed(1)?, Arc::from(text)));
        }
    }
    Ok(())
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

fn attach_triggers(results: &[Rows], relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    for row in Answer::of(results, 11, "triggers")?.rows() {
        let events = row.parsed::<i16>(1)?;
        if let Some(relation) = relation_mut(relations, at, row.parsed(0)?) {
            relation.triggers.push(Trigger { events: u8::try_from(events & 0x7f).unwrap_or(0x7f), function: row.parsed(2)? });
        }
    }
    Ok(())
}

fn attach_foreign_keys(results: &[Rows], relations: &mut [Relation], at: &Places) -> Result<(), CatalogError> {
    let action = |letter| match letter {
        'c' => KeyAction::Cascade,
        'n' | 'd' => KeyAction::Set,
        _ => KeyAction::Refuse,
    };
    for row in Answer::of(results, 12, "foreign keys")?.rows() {
        let key = ForeignKey { child: row.parsed(0)?, on_delete: action(row.letter(2)?), on_update: action(row.letter(3)?) };
        if let Some(parent) = relation_mut(relations, at, row.parsed(1)?) {
            parent.referenced_by.push(key);
        }
    }
    Ok(())
}

fn attach_code(results: &[Rows], relations: &mut [Relation], at: &Places, types: &mut [Type]) -> Result<(), CatalogError> {
    let places: HashMap<u32, usize> = types.iter().enumerate().map(|(at, kind)| (kind.oid, at)).collect();
    for row in Answer::of(results, 13, "dependencies")?.rows() {
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

fn types(results: &[Rows], schemas: &Schemas, names: &mut Interner) -> Result<Vec<Type>, CatalogError> {
    let mut found = Vec::new();
    for row in Answer::of(results, 3, "types")?.rows() {
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

fn routines(results: &[Rows], schemas: &Schemas, names: &mut Interner) -> Result<Vec<Routine>, CatalogError> {
    let mut found = Vec::new();
    for row in Answer::of(results, 4, "functions")?.rows() {
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
        });
    }
    Ok(found)
}

fn operators(results: &[Rows], schemas: &Schemas, names: &mut Interner) -> Result<Vec<Operator>, CatalogError> {
    let mut found = Vec::new();
    for row in Answer::of(results, 5, "operators")?.rows() {
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

fn casts(results: &[Rows]) -> Result<Vec<Cast>, CatalogError> {
    let rows = Answer::of(results, 6, "casts")?;
    rows.rows()
        .map(|row| Ok(Cast { source: row.parsed(0)?, target: row.parsed(1)?, function: row.parsed(2)?, implicit: row.letter(3)? == 'i' }))
        .collect()
}
