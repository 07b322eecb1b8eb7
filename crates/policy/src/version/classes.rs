//! `data-classes.toml`: what is sensitive, where it lives, how it is masked. One table per class, its name the class's.

use std::collections::BTreeSet;

use model::{
    Connection, ConnectionName, DataClassName,
    classes::{ClassifiedColumn, DataClass, Mask},
};
use toml::{Spanned, de::DeValue};

use super::{
    problem::suggestion,
    reading::{Page, Placed, Section, parse_text, text_of, wrong_kind},
};

const MASKS: [(&str, Mask); 4] =
    [("redact", Mask::Redact), ("null", Mask::Null), ("keep-last-four", Mask::KeepLastFour), ("keep-domain", Mask::KeepDomain)];

/// How people write a column.
const COLUMN_HELP: &str = "write \"schema.table.column\", \"connection/schema.table.column\", \"connection/database/schema.table.column\", \
                           or { schema = \"…\", table = \"…\", column = \"…\" } for names with dots or slashes";

/// Reads every class of the file, in the order of their names.
pub(crate) fn read(page: &mut Page<'_>, connections: &BTreeSet<ConnectionName>) -> Vec<DataClass> {
    let Some(document) = page.parse() else { return Vec::new() };
    let top = Section::new(document.get_ref(), "the file", 0);
    let mut classes = Vec::new();
    for (key, value) in top.entries() {
        let name = parse_text::<DataClassName>(page, key);
        let Some(table) = value.get_ref().as_table() else {
            wrong_kind(page, key.value, value, "a table, such as [email]");
            continue;
        };
        let mut section = Section::new(table, format!("[{}]", model::name::printable(key.value)), value.span().start);
        let class = read_class(page, &mut section, name, connections);
        section.close(page);
        classes.extend(class);
    }
    classes
}

fn read_class(
    page: &mut Page<'_>,
    section: &mut Section<'_, '_>,
    name: Option<Placed<DataClassName>>,
    known: &BTreeSet<ConnectionName>,
) -> Option<DataClass> {
    let description = section.text(page, "description").map(|text| text.value.to_owned());
    let mask = section.word(page, "mask", &MASKS).map_or(Mask::Redact, |mask| mask.value);
    let mut columns = Vec::new();
    for item in section.list(page, "columns") {
        let column = read_column(page, item);
        if let Some(name) = column.as_ref().and_then(|column| column.connection.as_ref()) {
            check_connection(page, item.span().start, name, known);
        }
        columns.extend(column);
    }
    Some(DataClass { name: name?.value, description, mask, columns })
}

fn read_column(page: &mut Page<'_>, item: &Spanned<DeValue<'_>>) -> Option<ClassifiedColumn> {
    let Some(table) = item.get_ref().as_table() else {
        let text = text_of(page, "columns", item)?;
        return read_column_text(page, text);
    };
    let mut section = Section::new(table, "a column", item.span().start);
    let connection = section.parsed::<ConnectionName>(page, "connection").map(|name| name.value);
    let database = section.text(page, "database").map(|name| name.value.to_owned());
    let [schema, table, column] = ["schema", "table", "column"].map(|key| section.needed_text(page, key, COLUMN_HELP));
    section.close(page);
    let owned = |text: Option<Placed<&str>>| text.map(|text| text.value.to_owned());
    Some(ClassifiedColumn { connection, database, schema: owned(schema)?, table: owned(table)?, column: owned(column)? })
}

fn read_column_text(page: &mut Page<'_>, text: Placed<&str>) -> Option<ClassifiedColumn> {
    let places: Vec<&str> = text.value.split('/').collect();
    let (connection, database, column) = match places.as_slice() {
        [column] => (None, None, *column),
        [connection, column] => (Some(*connection), None, *column),
        [connection, database, column] => (Some(*connection), Some((*database).to_owned()), *column),
        _ => (None, None, ""),
    };
    let parts: Vec<&str> = column.split('.').collect();
    let [schema, table, column] = parts.as_slice() else {
        page.wrong_with_help(text.at, format!("`{}` does not name a column", model::name::printable(text.value)), COLUMN_HELP);
        return None;
    };
    if [schema, table, column].iter().any(|part| part.is_empty()) || database.as_deref() == Some("") {
        page.wrong_with_help(text.at, format!("`{}` has an empty name in it", model::name::printable(text.value)), COLUMN_HELP);
        return None;
    }
    let connection = match connection {
        Some(name) => Some(parse_text::<ConnectionName>(page, Placed { value: name, at: text.at })?.value),
        None => None,
    };
    Some(ClassifiedColumn { connection, database, schema: (*schema).into(), table: (*table).into(), column: (*column).into() })
}

/// A class that names a connection nobody has would silently protect nothing.
fn check_connection(page: &mut Page<'_>, at: usize, name: &ConnectionName, known: &BTreeSet<ConnectionName>) {
    if !known.contains(name) {
        let message = format!("the connection `{name}` has no file in connections/");
        page.wrong_with_help(at, message, suggestion(name.as_str(), known.iter().map(ConnectionName::as_str)));
    }
}

/// Whether a column is one of this database on this connection.
#[must_use]
pub(crate) fn applies(column: &ClassifiedColumn, connection: &Connection, database: &str) -> bool {
    column.connection.as_ref().is_none_or(|name| *name == connection.name) && column.database.as_ref().is_none_or(|name| name == database)
}
