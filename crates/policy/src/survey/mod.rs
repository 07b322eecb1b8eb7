//! Which columns of a database hold sensitive values, as samples of them say: what `countersign classify` asks a target, and proposes.
//!
//! Values are looked through by the detectors. A column is proposed for a class where most of its sampled values are of that kind as a whole; where only
//! some hold one among other things, that is said. Nothing of a value is in the report, only counts.
//!
//! Growth: time and the target's work grow with the number of tables times the rows sampled of each, not with the size of the tables.

mod report;
mod tally;

use std::{collections::HashMap, sync::Arc};

use model::Connection;

use self::tally::Tally;
use crate::{
    Version,
    classify::postgres::catalog::{Catalog, Relation, RelationKind},
    detect::{Detectors, Entity, Hints},
    rulebook::written,
    version::applies,
};

pub use report::{Evidence, NotSampled, Report};

/// Characters of a value that are looked through.
const MAX_TEXT: usize = 1_000;
/// Longest document that is looked through, in bytes as text: one that is cut is none.
const MAX_DOCUMENT_BYTES: usize = 16 << 10;
/// Rows are taken from pages at random where a table has more than so many times those that are asked for.
const WHOLE_UP_TO: f64 = 4.0;

/// What is known of tables before they are sampled: number, estimate of its rows, whether the role may read it.
pub const TABLES: &str = "SELECT c.oid::text, c.reltuples::float8::text, has_table_privilege(c.oid, 'SELECT')::text FROM pg_class c \
                          WHERE c.relkind IN ('r', 'p', 'm') AND c.oid >= 16384";
/// What people wrote about tables and their columns: number of the table, of the column (0: the table), text.
pub const COMMENTS: &str = "SELECT objoid::text, objsubid::text, left(description, 200) FROM pg_description \
                            WHERE classoid = 'pg_class'::regclass AND objoid >= 16384";

/// A row of a target's answer.
pub type Row = Vec<Option<String>>;

/// A survey of one database.
#[derive(Debug)]
pub struct Survey {
    detectors: Detectors,
    rows: u32,
    tables: Vec<Table>,
    report: Report,
}

/// A table that is to be sampled.
#[derive(Debug)]
struct Table {
    oid: u32,
    schema: Arc<str>,
    name: Arc<str>,
    estimate: f64,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    number: i16,
    name: Arc<str>,
    kind: Kind,
    hints: Hints,
    tally: Tally,
}

/// How values of a column are looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As they are written.
    Plain,
    /// Leaf by leaf.
    Document,
}

impl Survey {
    /// Plans a survey: every column that may hold something, but for those that are classified already.
    #[must_use]
    pub fn plan(version: &Version, connection: &Connection, database: &str, catalog: &Catalog, rows: u32) -> Self {
        let mut report = Report::of(connection, database, rows, version);
        let mut tables = Vec::new();
        let mut relations: Vec<&Relation> = catalog.relations().filter(|relation| !relation.built_in()).collect();
        relations.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        for relation in relations {
            let table = written(&relation.schema, &relation.name);
            match relation.kind {
                RelationKind::Table | RelationKind::Partitioned | RelationKind::MaterializedView | RelationKind::InheritanceChild => {}
                RelationKind::Foreign => {
                    report.not_sampled.push(NotSampled { table, why: "it is on another server".to_owned() });
                    continue;
                }
                _ => continue,
            }
            if !relation.policy_code.is_empty() {
                report.not_sampled.push(NotSampled { table, why: "its row security runs code that somebody wrote".to_owned() });
                continue;
            }
            let classified = |column: &str| {
                let all = version.classes.iter().flat_map(|class| &class.columns);
                let mut here = all.filter(|known| known.path.is_none() && applies(known, connection, database));
                here.any(|known| known.column == column && family(catalog, relation).any(|of| *of.schema == known.schema && *of.name == known.table))
            };
            let inherited = |column: &str| catalog.ancestors(relation.oid).iter().any(|oid| has_column(catalog, *oid, column));
            let mut columns = Vec::new();
            for column in relation.columns.iter().filter(|column| column.number > 0 && !inherited(&column.name)) {
                let Some(kind) = kind(catalog, column.type_oid) else { continue };
                if classified(&column.name) {
                    report.classified += 1;
                    continue;
                }
                let hints = Hints::of([&*relation.name, &*column.name]);
                columns.push(Column { number: column.number, name: column.name.clone(), kind, hints, tally: Tally::default() });
            }
            if !columns.is_empty() {
                tables.push(Table { oid: relation.oid, schema: relation.schema.clone(), name: relation.name.clone(), estimate: -1.0, columns });
            }
        }
        Self { detectors: Detectors::new(Entity::ALL), rows, tables, report }
    }

    /// Takes the answers to [`TABLES`] and [`COMMENTS`].
    pub fn learn(&mut self, tables: &[Row], comments: &[Row]) {
        let known: HashMap<u32, (f64, bool)> =
            tables.iter().filter_map(|row| Some((number(row, 0)?, (number(row, 1)?, text(row, 2)? == "true")))).collect();
        let report = &mut self.report;
        self.tables.retain_mut(|table| {
            let (estimate, readable) = known.get(&table.oid).copied().unwrap_or((-1.0, false));
            table.estimate = estimate;
            if !readable {
                let why = format!("the role {} may not read it", report.role);
                report.not_sampled.push(NotSampled { table: written(&table.schema, &table.name), why });
            }
            readable
        });
        let comments = comments.iter().filter_map(|row| Some(((number::<u32>(row, 0)?, number::<i16>(row, 1)?), Hints::of([text(row, 2)?]))));
        let comments: HashMap<(u32, i16), Hints> = comments.collect();
        for table in &mut self.tables {
            for column in &mut table.columns {
                let said = [0, column.number].into_iter().filter_map(|place| comments.get(&(table.oid, place)));
                column.hints = said.fold(column.hints, |hints, said| hints.with(*said));
            }
        }
    }

    /// How many tables are to be sampled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether there is nothing to sample.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The statement that samples a table, for an empty `search_path`.
    #[must_use]
    pub fn statement(&self, table: usize) -> Option<String> {
        let table = self.tables.get(table)?;
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let columns = table.columns.iter().map(|column| {
            let value = format!("{}::pg_catalog.text", quoted(&column.name));
            match column.kind {
                Kind::Plain => format!("pg_catalog.left({value}, {MAX_TEXT})"),
                Kind::Document => format!("CASE WHEN pg_catalog.octet_length({value}) OPERATOR(pg_catalog.<=) {MAX_DOCUMENT_BYTES} THEN {value} END"),
            }
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let rows = f64::from(self.rows);
        // Whole pages, three times as many rows as are needed: pages differ in how full they are.
        let sample =
            if table.estimate > rows * WHOLE_UP_TO { format!(" TABLESAMPLE SYSTEM ({:.6})", 300.0 * rows / table.estimate) } else { String::new() };
        Some(format!("SELECT {columns} FROM {}.{}{sample} LIMIT {}", quoted(&table.schema), quoted(&table.name), self.rows))
    }

    /// Takes the rows of a sample; or why there are none.
    pub fn take(&mut self, table: usize, rows: Result<Vec<Row>, String>) {
        let Some(table) = self.tables.get_mut(table) else { return };
        match rows {
            Ok(rows) => {
                self.report.tables += 1;
                for row in &rows {
                    for (value, column) in row.iter().zip(&mut table.columns) {
                        match (value, column.kind) {
                            (None, _) => {}
                            (Some(value), Kind::Plain) => column.tally.take(&self.detectors, column.hints, value),
                            (Some(value), Kind::Document) => column.tally.take_document(&self.detectors, column.hints, value),
                        }
                    }
                }
            }
            Err(why) => {
                self.report.not_sampled.push(NotSampled { table: written(&table.schema, &table.name), why });
                table.columns.clear();
            }
        }
    }

    /// What the samples say.
    #[must_use]
    pub fn finish(self) -> Report {
        let mut report = self.report;
        for table in self.tables {
            for column in table.columns {
                report.columns += 1;
                report.values += column.tally.values();
                report.untold += column.tally.untold();
                let place = |path| (table.schema.to_string(), table.name.to_string(), column.name.to_string(), path);
                report.judge(&column.tally, column.hints, place);
            }
        }
        report.sort();
        report
    }
}

/// A relation and all it shares rows with: a class of one is a class of all.
fn family<'c>(catalog: &'c Catalog, relation: &'c Relation) -> impl Iterator<Item = &'c Relation> {
    std::iter::once(relation).chain(catalog.ancestors(relation.oid).into_iter().filter_map(|oid| catalog.relation_by_oid(oid)))
}

fn has_column(catalog: &Catalog, relation: u32, column: &str) -> bool {
    catalog.relation_by_oid(relation).is_some_and(|relation| relation.column(column).is_some())
}

/// How a column of this type is looked through; none if nothing is looked for in it. `pg_type.dat`.
fn kind(catalog: &Catalog, type_oid: u32) -> Option<Kind> {
    match catalog.base_type(type_oid) {
        // name, int8, int4, text, xml, cidr, macaddr8, macaddr, inet, bpchar, varchar, date, numeric; arrays of text, bpchar, varchar
        19 | 20 | 23 | 25 | 142 | 650 | 774 | 829 | 869 | 1042 | 1043 | 1082 | 1700 | 1009 | 1014 | 1015 => Some(Kind::Plain),
        // json, jsonb
        114 | 3802 => Some(Kind::Document),
        _ => None,
    }
}

fn text(row: &Row, place: usize) -> Option<&str> {
    row.get(place)?.as_deref()
}

fn number<T: std::str::FromStr>(row: &Row, place: usize) -> Option<T> {
    text(row, place)?.parse().ok()
}

#[cfg(test)]
mod tests;
