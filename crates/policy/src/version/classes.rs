//! `data-classes.toml`: what is sensitive, where it lives, how it is masked. One table per class, its name the class's.

use std::collections::BTreeSet;

use model::{
    Connection, ConnectionName, DataClassName,
    classes::{ClassifiedColumn, Coarseness, DataClass, JsonPath, Mask, Masking, Seen, TimeUnit},
};
use toml::{Spanned, de::DeValue};

use super::{
    problem::suggestion,
    reading::{Page, Placed, Section, parse_text, text_of, wrong_kind},
};

const MASKS: [(&str, Mask); 7] = [
    ("redact", Mask::Redact),
    ("null", Mask::Null),
    ("keep-last-four", Mask::KeepLastFour),
    ("keep-domain", Mask::KeepDomain),
    ("hash", Mask::Hash),
    ("token", Mask::Token),
    ("generalise", Mask::Generalise(DEFAULT_COARSENESS)),
];
const DEFAULT_COARSENESS: Coarseness = Coarseness { to: TimeUnit::Month, band: 10 };
const UNITS: [(&str, TimeUnit); 4] = [("hour", TimeUnit::Hour), ("day", TimeUnit::Day), ("month", TimeUnit::Month), ("year", TimeUnit::Year)];
const SEEN: [(&str, Seen); 2] = [("shown", Seen::Shown), ("hidden", Seen::Hidden)];

/// How people write a column.
const COLUMN_HELP: &str = "write \"schema.table.column\", \"connection/schema.table.column\", \"connection/database/schema.table.column\", \
                           or { schema = \"…\", table = \"…\", column = \"…\" } for names with dots or slashes, with path = \"$.…\" for parts of JSON";

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
    let masking = read_masking(page, section);
    let mut columns = Vec::new();
    for item in section.list(page, "columns") {
        let column = read_column(page, item);
        if let Some(name) = column.as_ref().and_then(|column| column.connection.as_ref()) {
            check_connection(page, item.span().start, name, known);
        }
        columns.extend(column);
    }
    Some(DataClass { name: name?.value, description, masking, columns })
}

/// A mask and what is said of it. What would have no effect is refused: somebody would rely on it.
fn read_masking(page: &mut Page<'_>, section: &mut Section<'_, '_>) -> Masking {
    let mask = section.word(page, "mask", &MASKS).map_or(Mask::Redact, |mask| mask.value);
    let mask = match mask {
        Mask::Generalise(default) => Mask::Generalise(read_coarseness(page, section, default)),
        other => other,
    };
    let length = read_seen(page, section, "length");
    if let Some(length) = length.filter(|_| !matches!(mask, Mask::Redact | Mask::KeepLastFour)) {
        page.wrong_with_help(length.at, "this mask has no `length` to choose", "`length` is for mask = \"redact\" and \"keep-last-four\"");
    }
    let nulls = read_seen(page, section, "nulls");
    if let Some(nulls) = nulls.filter(|_| mask != Mask::Redact) {
        page.wrong_with_help(
            nulls.at,
            "with this mask it cannot be hidden which values are missing",
            "`nulls` is for mask = \"redact\"; mask = \"null\" shows nothing but NULL",
        );
    }
    if let (Some(shown), Some(Seen::Hidden)) = (length.filter(|length| length.value == Seen::Shown), nulls.map(|nulls| nulls.value)) {
        page.wrong_with_help(shown.at, "a length that shows tells which values are missing", "leave `length` out, or `nulls`");
    }
    let default = if mask == Mask::KeepLastFour { Seen::Shown } else { Seen::Hidden };
    Masking { mask, length: length.map_or(default, |length| length.value), nulls: nulls.map_or(Seen::Shown, |nulls| nulls.value) }
}

fn read_seen(page: &mut Page<'_>, section: &mut Section<'_, '_>, key: &'static str) -> Option<Placed<Seen>> {
    section.word(page, key, &SEEN)
}

fn read_coarseness(page: &mut Page<'_>, section: &mut Section<'_, '_>, default: Coarseness) -> Coarseness {
    let to = section.word(page, "to", &UNITS).map_or(default.to, |unit| unit.value);
    // Numbers are rounded down to a multiple of it: of 1, they would be shown.
    let band = section.number(page, "band", 2, u32::MAX).map_or(default.band, |band| band.value);
    Coarseness { to, band }
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
    let path = section.parsed::<JsonPath>(page, "path").map(|path| path.value);
    section.close(page);
    let owned = |text: Option<Placed<&str>>| text.map(|text| text.value.to_owned());
    Some(ClassifiedColumn { connection, database, schema: owned(schema)?, table: owned(table)?, column: owned(column)?, path })
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
    Some(ClassifiedColumn { connection, database, schema: (*schema).into(), table: (*table).into(), column: (*column).into(), path: None })
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
