//! COPY: what it reads and writes, where to, and how its rows are written.

use model::{Action, RowScope, facts::CopyLayout};
use pg_query::{
    NodeEnum,
    protobuf::{self as pb, Node},
};

use super::{
    analysis::{Analysis, Outputs, Scope, boxed, inner, strings},
    catalog::{Relation, WriteEvent},
    constants,
    definitions::{is_generated, row_of},
};

/// Encodings in which no byte of a longer character looks like a sign of the format. <https://www.postgresql.org/docs/18/multibyte.html>
const PLAIN_ENCODINGS: [&str; 6] = ["UTF8", "SQL_ASCII", "LATIN", "WIN12", "ISO_8859", "EUC_"];

impl<'a> Analysis<'a> {
    /// The columns that come to the caller, if any do.
    pub(super) fn copy(&mut self, copy: &pb::CopyStmt) -> Outputs {
        let relation = copy.relation.as_ref().and_then(|range| self.relation(range).map(|relation| (range, relation)));
        self.copy_place(copy);
        let mut outputs = Outputs { open: true, ..Outputs::default() };
        if let Some(query) = boxed(copy.query.as_ref()) {
            let before = self.found.reads.clone();
            outputs = self.statement(query, "");
            if !self.found.effects.copy_out {
                self.store(&outputs.lineage());
            }
            self.exports_what_was_read(&before);
        }
        if let Some((range, relation)) = relation {
            if copy.is_from {
                self.copies_in(copy, &range.relname, relation);
            } else {
                if !self.found.effects.copy_out {
                    self.store_rows(relation);
                }
                outputs = self.reads_as(Action::Export, relation, false);
                if copy.attlist.is_empty() {
                    // Generated columns are left out.
                    let made = |name: &str| {
                        let mut defaults = relation.defaults.iter().filter(|(number, printed)| is_generated(relation, *number, printed));
                        defaults.any(|(number, _)| relation.column(name).is_some_and(|column| column.number == *number))
                    };
                    outputs.columns.retain(|column| !made(&column.name));
                }
                outputs = named(outputs, &strings(&copy.attlist));
            }
        }
        if self.found.effects.copy_out {
            self.found.copy = self.layout(copy, &outputs);
        }
        outputs
    }

    fn copies_in(&mut self, copy: &pb::CopyStmt, name: &str, relation: &'a Relation) {
        self.scopes.push(Scope { sources: vec![row_of(name, relation)], ..Scope::default() });
        self.decides(copy.where_clause.as_deref());
        let columns: Vec<&str> =
            if copy.attlist.is_empty() { relation.columns.iter().map(|column| &*column.name).collect() } else { strings(&copy.attlist) };
        let target = self.row_below("", relation).outputs;
        self.fills(&target, &columns, &[]);
        self.scopes.pop();
        self.found.scope(RowScope::Bounded);
        self.writes(relation, WriteEvent::Insert, Action::Write, true);
    }

    /// Where the data goes or comes from.
    fn copy_place(&mut self, copy: &pb::CopyStmt) {
        if copy.is_program || !copy.filename.is_empty() {
            let host = self.host();
            self.found.pair(Action::Escape, host);
        } else if copy.is_from {
            self.found.effects.copy_in = true;
        } else {
            self.found.effects.copy_out = true;
        }
    }

    /// `COPY (query) TO`: what the query reads leaves in bulk.
    fn exports_what_was_read(&mut self, before: &std::collections::BTreeSet<model::facts::RelationRef>) {
        let read: Vec<_> = self.found.reads.difference(before).cloned().collect();
        for relation in &read {
            let object = self.table(&relation.schema, &relation.name);
            self.found.pair(Action::Export, object);
        }
        if read.is_empty() {
            let database = self.database();
            self.found.pair(Action::Export, database);
        }
    }

    /// How the rows are written, by its options (`ProcessCopyOptions` in the server's `copy.c`); none if any of them is not known here.
    fn layout(&self, copy: &pb::CopyStmt, outputs: &Outputs) -> Option<CopyLayout> {
        let mut options = Options { encoding: self.view.client_encoding.to_string(), quoted: Some(vec![]), ..Options::default() };
        for option in copy.options.iter().filter_map(inner) {
            let NodeEnum::DefElem(option) = option else { return None };
            let value = option.arg.as_deref();
            let text = || value.and_then(|node| self.option_text(node));
            match option.defname.as_str() {
                "format" => options.format = text()?,
                "delimiter" => options.delimiter = Some(text()?),
                "null" => options.null = Some(text()?),
                "quote" => options.quote = Some(text()?),
                "escape" => options.escape = Some(text()?),
                "encoding" => options.encoding = text()?.to_ascii_uppercase(),
                "header" => options.header = value.is_none_or(|node| self.option_text(node).is_some_and(|word| is_true(&word))),
                "force_quote" => {
                    options.quoted = match value.and_then(inner)? {
                        NodeEnum::AStar(_) => None,
                        NodeEnum::List(names) => {
                            let place = |name: &str| outputs.columns.iter().position(|column| *column.name == *name);
                            Some(strings(&names.items).into_iter().map(place).collect::<Option<Vec<_>>>()?)
                        }
                        _ => return None,
                    };
                }
                "freeze" => {}
                _ => return None,
            }
        }
        options.layout()
    }

    fn option_text(&self, node: &Node) -> Option<String> {
        match inner(node)? {
            NodeEnum::String(text) => Some(text.sval.clone()),
            NodeEnum::Boolean(truth) => Some(truth.boolval.to_string()),
            NodeEnum::Integer(number) => Some(number.ival.to_string()),
            _ => constants::text(node, &self.parameters),
        }
    }
}

#[derive(Default)]
struct Options {
    format: String,
    delimiter: Option<String>,
    null: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    encoding: String,
    quoted: Option<Vec<usize>>,
    header: bool,
}

impl Options {
    fn layout(self) -> Option<CopyLayout> {
        if !PLAIN_ENCODINGS.iter().any(|plain| self.encoding.starts_with(plain)) {
            return None;
        }
        let one = |given: Option<String>, usual: u8| match given.as_deref().map(str::as_bytes) {
            None => Some(usual),
            Some([byte]) => Some(*byte),
            Some(_) => None,
        };
        let null = |usual: &str| self.null.clone().unwrap_or_else(|| usual.to_owned()).into_bytes();
        match self.format.as_str() {
            // A value that is written like it cannot be told from NULL: by another one, somebody could ask which values equal it.
            "" | "text" if self.null.as_deref().is_some_and(|null| null != "\\N") => None,
            "" | "text" => Some(CopyLayout::Text { delimiter: one(self.delimiter.clone(), b'\t')?, null: null("\\N"), header: self.header }),
            "csv" => {
                let quote = one(self.quote.clone(), b'"')?;
                let escape = one(self.escape.clone(), quote)?;
                Some(CopyLayout::Csv {
                    delimiter: one(self.delimiter.clone(), b',')?,
                    quote,
                    escape,
                    null: null(""),
                    quoted: self.quoted.clone(),
                    header: self.header,
                })
            }
            "binary" => Some(CopyLayout::Binary),
            _ => None,
        }
    }
}

fn is_true(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "true" | "on" | "1" | "match")
}

/// These of the columns, in this order; all if none is named.
fn named(mut outputs: Outputs, names: &[&str]) -> Outputs {
    if names.is_empty() {
        return outputs;
    }
    let column = |name: &&str| outputs.columns.iter().find(|column| *column.name == **name).cloned();
    match names.iter().map(column).collect::<Option<Vec<_>>>() {
        Some(columns) => outputs.columns = columns,
        None => outputs.open = true,
    }
    outputs
}
