//! What a survey says, for people and for `data-classes.toml`.

use std::{collections::BTreeMap, fmt::Write};

use model::{
    Connection, ConnectionName,
    classes::{JsonPath, JsonStep},
    name::printable,
};
use serde::{Deserialize, Serialize};

use super::tally::{Found, Tally};
use crate::{
    Version,
    detect::{Entity, Hints},
    rulebook::written,
};

/// A class is proposed where at least so many percent of a column's values are of its kind, with the confidence of [`at_least`].
const PROPOSED_FROM_PERCENT: u8 = 30;

/// What samples of a database say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The connection.
    pub connection: ConnectionName,
    /// The database.
    pub database: String,
    /// Whether the connection reaches others, too.
    pub among_others: bool,
    /// The role whose eyes saw it.
    pub role: String,
    /// How many rows were asked of each table.
    pub rows: u32,
    /// Tables that were sampled.
    pub tables: u64,
    /// Columns of them that were looked through.
    pub columns: u64,
    /// Values that were looked through.
    pub values: u64,
    /// Values in documents that were not looked through: no path leads to them, or there are too many places.
    pub untold: u64,
    /// Columns left out because they are classified.
    pub classified: u64,
    /// Columns most of whose values are of one kind.
    pub proposed: Vec<Evidence>,
    /// Columns some of whose values are, or hold something among other things.
    pub within: Vec<Evidence>,
    /// Columns whose name or comment says that they hold something, while no value does.
    pub named: Vec<Evidence>,
    /// Tables that were not sampled, and why.
    pub not_sampled: Vec<NotSampled>,
    /// Classes that `data-classes.toml` has.
    pub classes: Vec<String>,
}

/// A table that was not sampled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotSampled {
    /// `schema.table`
    pub table: String,
    /// Why.
    pub why: String,
}

/// What speaks for a class of a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evidence {
    /// The class; a detector's name.
    pub class: String,
    /// The column's schema.
    pub schema: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub column: String,
    /// Where in the document, if it holds documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<JsonPath>,
    /// Values that were looked through there, NULL not counted.
    pub values: u64,
    /// Of these are of the class as a whole.
    pub whole: u64,
    /// Of these have one by checksum or by an unmistakable form; of others the name, a comment or words before say what they are.
    pub checked: u64,
    /// Of these hold one among other things.
    pub within: u64,
    /// The share of all of the column's values that are of the class as a whole is at least this, in percent, unless the sample is one of the unluckiest in forty.
    pub at_least_percent: u8,
    /// Its name, its table's or a comment says so, too.
    pub named: bool,
}

impl Report {
    pub(super) fn of(connection: &Connection, database: &str, rows: u32, version: &Version) -> Self {
        Self {
            connection: connection.name.clone(),
            database: database.to_owned(),
            among_others: connection.databases.len() > 1 || database != connection.database,
            role: connection.login.user.clone(),
            rows,
            tables: 0,
            columns: 0,
            values: 0,
            untold: 0,
            classified: 0,
            proposed: Vec::new(),
            within: Vec::new(),
            named: Vec::new(),
            not_sampled: Vec::new(),
            classes: version.classes.iter().map(|class| class.name.to_string()).collect(),
        }
    }

    /// Sorts a column's counts into what is proposed, what is told and what is nothing.
    pub(super) fn judge(&mut self, tally: &Tally, hints: Hints, place: impl Fn(Option<JsonPath>) -> (String, String, String, Option<JsonPath>)) {
        let evidence = |path: Option<JsonPath>, entity: Entity, values: u64, found: Found| {
            let (schema, table, column, path) = place(path);
            let at_least_percent = at_least(found.whole, values);
            let Found { whole, within, checked } = found;
            let named = hints.says(entity) || is_called(path.as_ref().and_then(last).unwrap_or(&column), entity);
            Evidence { class: entity.name().to_owned(), schema, table, column, path, values, whole, checked, within, at_least_percent, named }
        };
        let mut proven = false;
        for (path, at) in tally.places() {
            let best = at.found.iter().max_by_key(|(_, found)| (found.whole, found.checked)).map(|(entity, _)| *entity);
            for (entity, found) in &at.found {
                let evidence = evidence(path.clone(), *entity, at.values, *found);
                proven |= evidence.named;
                if best == Some(*entity) && evidence.at_least_percent >= PROPOSED_FROM_PERCENT {
                    self.proposed.push(evidence);
                } else {
                    self.within.push(evidence);
                }
            }
        }
        if !proven {
            let all = Entity::ALL.iter().map(|entity| evidence(None, *entity, tally.values(), Found::default()));
            self.named.extend(all.filter(|evidence| evidence.named));
        }
    }

    pub(super) fn sort(&mut self) {
        self.proposed.sort();
        self.within.sort();
        self.named.sort();
        self.not_sampled.sort_by(|a, b| a.table.cmp(&b.table));
    }

    /// As `data-classes.toml` would have it: what is proposed for classes that are not there yet; everything else in comments, with what speaks for it.
    #[must_use]
    pub fn toml(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# Proposed by `countersign classify {}`. Read it before it becomes part of data-classes.toml.\n#", self.connection);
        for line in self.coverage() {
            let _ = writeln!(out, "# {line}");
        }
        let mut classes: BTreeMap<&str, Vec<&Evidence>> = BTreeMap::new();
        for evidence in &self.proposed {
            classes.entry(&evidence.class).or_default().push(evidence);
        }
        for (class, columns) in classes {
            let known = self.classes.iter().any(|known| known == class);
            let (before, heading) =
                if known { ("# ", format!("# [{class}] is there already; add to its columns:")) } else { ("", format!("[{class}]")) };
            let _ = writeln!(out, "\n{heading}");
            if !known {
                let _ = writeln!(out, "{}\ncolumns = [", mask(class));
            }
            for evidence in columns {
                let _ = writeln!(out, "{before}  {}, # {}", self.written(evidence), evidence.words());
            }
            if !known {
                out.push_str("]\n");
            }
        }
        self.list(
            &mut out,
            "Some values are, or hold, something sensitive. No class masks part of a column; `detect` on the connection does:",
            &self.within,
        );
        self.list(&mut out, "Names or comments say that these hold something, and no value does:", &self.named);
        if !self.not_sampled.is_empty() {
            out.push_str("\n# Not sampled:\n");
            for NotSampled { table, why } in &self.not_sampled {
                let _ = writeln!(out, "#   {}: {}", printable(table), printable(why));
            }
        }
        out
    }

    fn list(&self, out: &mut String, title: &str, evidence: &[Evidence]) {
        if evidence.is_empty() {
            return;
        }
        let _ = writeln!(out, "\n# {title}");
        for evidence in evidence {
            let path = evidence.path.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
            let column = format!("{}.{}{path}", written(&evidence.schema, &evidence.table), evidence.column);
            let _ = writeln!(out, "#   {}: {}, {}", evidence.class, printable(&column), evidence.words());
        }
    }

    /// What was looked at, and what that says of what was not found.
    #[must_use]
    pub fn coverage(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "Looked through {} values in {} columns of {} tables of database {}, as role {}.",
            self.values,
            self.columns,
            self.tables,
            printable(&self.database),
            printable(&self.role)
        )];
        if self.classified > 0 {
            lines.push(format!("Columns that are classified already were left out: {}.", self.classified));
        }
        if !self.not_sampled.is_empty() {
            lines.push(format!("Tables that were not sampled: {} (below).", self.not_sampled.len()));
        }
        if self.untold > 0 {
            lines.push(format!("Values in documents that were not looked through, since no path leads there or too many do: {}.", self.untold));
        }
        // The rule of three: none in n leaves up to 3/n, at 95 %.
        lines.push(format!(
            "At most {} rows of each table were sampled: what stands in fewer than one row in {} is likely to be missed.",
            self.rows,
            (self.rows / 3).max(1)
        ));
        lines.push("Not looked into: types other than text, numbers, dates, addresses, JSON and lists of text; values beyond 1,000 characters, documents beyond 16 KiB.".to_owned());
        lines
    }

    fn written(&self, evidence: &Evidence) -> String {
        let parts = [&evidence.schema, &evidence.table, &evidence.column];
        let plain = |part: &&String| !part.is_empty() && !part.contains(['.', '/', '"', '\\']) && printable(part) == ***part;
        let database = Some(&self.database).filter(|_| self.among_others);
        if evidence.path.is_none() && parts.iter().all(plain) && database.as_ref().is_none_or(plain) {
            let database = database.map(|database| format!("{database}/")).unwrap_or_default();
            return format!("\"{}/{database}{}\"", self.connection, parts.map(String::as_str).join("."));
        }
        // Escapes of JSON are ones of TOML; DEL needs one there alone.
        let quoted = |text: &str| serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f");
        let mut fields = vec![format!("connection = {}", quoted(self.connection.as_str()))];
        fields.extend(database.map(|database| format!("database = {}", quoted(database))));
        fields.extend(["schema", "table", "column"].iter().zip(parts).map(|(key, part)| format!("{key} = {}", quoted(part))));
        fields.extend(evidence.path.as_ref().map(|path| format!("path = {}", quoted(&path.to_string()))));
        format!("{{ {} }}", fields.join(", "))
    }
}

impl Evidence {
    /// What speaks for it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = match self.values {
            0 => "no value to look at".to_owned(),
            values => format!("{} of {values} values", self.whole),
        };
        if self.whole > 0 {
            let _ = write!(words, " ({} proven; at least {} % of all)", self.checked, self.at_least_percent);
        }
        if self.within > 0 {
            let _ = write!(words, ", {} hold one among other things", self.within);
        }
        if self.named {
            words.push_str(", named so");
        }
        words
    }
}

/// Whether a name is that of a class, or ends with it: `contact_email`. Detectors need no name where a form says enough.
fn is_called(name: &str, entity: Entity) -> bool {
    let (name, class) = (name.to_ascii_lowercase(), entity.name().replace('-', "_"));
    name.strip_suffix(&class).is_some_and(|before| before.is_empty() || before.ends_with('_'))
}

fn last(path: &JsonPath) -> Option<&str> {
    path.steps().iter().rev().find_map(|step| match step {
        JsonStep::Member(name) => Some(name.as_str()),
        JsonStep::Every => None,
    })
}

/// What a class is likely to be masked with.
const fn mask(class: &str) -> &'static str {
    match class.as_bytes() {
        b"email" => "mask = \"keep-domain\"",
        b"phone" | b"card" | b"iban" => "mask = \"keep-last-four\"",
        b"date-of-birth" => "mask = \"generalise\"\nto = \"year\"",
        _ => "mask = \"redact\"",
    }
}

/// The lower end of the Wilson interval of a share, in percent: of samples like this one, 39 in 40 have at least this behind them.
fn at_least(hits: u64, of: u64) -> u8 {
    const Z: f64 = 1.96;
    if of == 0 {
        return 0;
    }
    let (n, share) = (of as f64, hits as f64 / of as f64);
    let middle = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - spread) / (1.0 + Z * Z / n) * 100.0).clamp(0.0, 100.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_with_what_the_sample_is_worth() {
        assert_eq!(
            [(0, 0), (0, 10), (1, 1), (3, 3), (10, 10), (500, 500), (250, 500)].map(|(hits, of)| at_least(hits, of)),
            [0, 0, 20, 43, 72, 99, 45]
        );
    }
}
