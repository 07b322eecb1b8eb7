//! Reading TOML strictly: every key is known, every value has its kind, and every problem of a file is found in one go.

use std::{collections::BTreeSet, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::{Problem, suggestion};

/// One file being read, and what was found wrong in it.
pub(crate) struct Page<'f> {
    pub(crate) file: &'f str,
    pub(crate) text: &'f str,
    pub(crate) problems: Vec<Problem>,
}

impl<'f> Page<'f> {
    pub(crate) const fn new(file: &'f str, text: &'f str) -> Self {
        Self { file, text, problems: Vec::new() }
    }

    /// The top table, if the file is TOML at all; every syntax error becomes a problem.
    pub(crate) fn parse(&mut self) -> Option<Spanned<DeTable<'f>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let offset = error.span().map_or(0, |span| span.start);
            self.wrong(offset, error.message().trim());
        }
        errors.is_empty().then_some(table)
    }

    pub(crate) fn wrong(&mut self, offset: usize, message: impl Into<String>) {
        self.problems.push(Problem::at(self.file, self.text, offset, message));
    }

    pub(crate) fn wrong_with_help(&mut self, offset: usize, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::at(self.file, self.text, offset, message).help(help));
    }
}

/// A value and the byte where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: usize,
}

/// One table of a page. [`Section::close`] must be called last: it finds the keys nobody asked for.
pub(crate) struct Section<'t, 'f> {
    table: &'t DeTable<'f>,
    /// What it is called in messages, such as `[tls]`.
    title: String,
    pub(crate) at: usize,
    asked: BTreeSet<&'static str>,
}

impl<'t, 'f> Section<'t, 'f> {
    pub(crate) fn new(table: &'t DeTable<'f>, title: impl Into<String>, at: usize) -> Self {
        Self { table, title: title.into(), at, asked: BTreeSet::new() }
    }

    /// Keys as written, for tables whose keys are names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Placed<&'t str>, &'t Spanned<DeValue<'f>>)> + use<'t, 'f> {
        self.table.iter().map(|(key, value)| (Placed { value: key.get_ref().as_ref(), at: key.span().start }, value))
    }

    fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'f>>> {
        self.asked.insert(key);
        self.table.get(key)
    }

    /// Says that a key is missing.
    pub(crate) fn missing(&self, page: &mut Page<'_>, key: &str, help: &str) {
        page.wrong_with_help(self.at, format!("{} lacks `{key}`", self.title), help);
    }

    pub(crate) fn text(&mut self, page: &mut Page<'_>, key: &'static str) -> Option<Placed<&'t str>> {
        let value = self.get(key)?;
        text_of(page, key, value)
    }

    pub(crate) fn needed_text(&mut self, page: &mut Page<'_>, key: &'static str, help: &str) -> Option<Placed<&'t str>> {
        if self.get(key).is_none() {
            self.missing(page, key, help);
        }
        self.text(page, key)
    }

    /// A text that must parse as `T`.
    pub(crate) fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self, page: &mut Page<'_>, key: &'static str) -> Option<Placed<T>> {
        let text = self.text(page, key)?;
        parse_text(page, text)
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, page: &mut Page<'_>, key: &'static str, words: &[(&'static str, T)]) -> Option<Placed<T>> {
        let text = self.text(page, key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(Placed { value: *value, at: text.at });
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        page.wrong_with_help(text.at, format!("`{key}` cannot be `{}`", model::name::printable(text.value)), suggestion(text.value, known));
        None
    }

    pub(crate) fn texts(&mut self, page: &mut Page<'_>, key: &'static str) -> Vec<Placed<&'t str>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            wrong_kind(page, key, value, "a list of texts");
            return Vec::new();
        };
        items.iter().filter_map(|item| text_of(page, key, item)).collect()
    }

    /// The items of a list, whatever they are.
    pub(crate) fn list(&mut self, page: &mut Page<'_>, key: &'static str) -> &'t [Spanned<DeValue<'f>>] {
        let Some(value) = self.get(key) else { return &[] };
        let Some(items) = value.get_ref().as_array() else {
            wrong_kind(page, key, value, "a list");
            return &[];
        };
        items
    }

    pub(crate) fn port(&mut self, page: &mut Page<'_>, key: &'static str) -> Option<Placed<u16>> {
        let port = self.number(page, key, 1, u16::MAX.into())?;
        u16::try_from(port.value).ok().map(|value| Placed { value, at: port.at })
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, page: &mut Page<'_>, key: &'static str, least: u32, most: u32) -> Option<Placed<u32>> {
        let value = self.get(key)?;
        let number = value.get_ref().as_integer().and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok());
        let Some(number) = number.filter(|number| (least..=most).contains(number)) else {
            wrong_kind(page, key, value, &format!("a number from {least} to {most}"));
            return None;
        };
        Some(Placed { value: number, at: value.span().start })
    }

    pub(crate) fn table(&mut self, page: &mut Page<'_>, key: &'static str) -> Option<Section<'t, 'f>> {
        let value = self.get(key)?;
        let Some(table) = value.get_ref().as_table() else {
            wrong_kind(page, key, value, "a table");
            return None;
        };
        Some(Section::new(table, format!("[{key}]"), value.span().start))
    }

    /// The tables of `[[key]]`.
    pub(crate) fn tables(&mut self, page: &mut Page<'_>, key: &'static str) -> Vec<Section<'t, 'f>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            wrong_kind(page, key, value, "a list of tables");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(table, format!("[[{key}]]"), item.span().start)),
                None => wrong_kind(page, key, item, "a table"),
            }
        }
        sections
    }

    /// Where the value of a key begins, whatever it is.
    pub(crate) fn place(&mut self, key: &'static str) -> Option<usize> {
        self.get(key).map(|value| value.span().start)
    }

    /// Whether the key is there, whatever its value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Names every key nobody asked for.
    pub(crate) fn close(self, page: &mut Page<'_>) {
        for (key, _) in self.entries().filter(|(key, _)| !self.asked.contains(key.value)) {
            let message = format!("{} has no key `{}`", self.title, model::name::printable(key.value));
            page.wrong_with_help(key.at, message, suggestion(key.value, self.asked.iter().copied().collect::<Vec<_>>()));
        }
    }
}

pub(crate) fn text_of<'t>(page: &mut Page<'_>, key: &str, value: &'t Spanned<DeValue<'_>>) -> Option<Placed<&'t str>> {
    let Some(text) = value.get_ref().as_str() else {
        wrong_kind(page, key, value, "a text");
        return None;
    };
    Some(Placed { value: text, at: value.span().start })
}

pub(crate) fn parse_text<T: FromStr<Err: std::fmt::Display>>(page: &mut Page<'_>, text: Placed<&str>) -> Option<Placed<T>> {
    match text.value.parse() {
        Ok(value) => Some(Placed { value, at: text.at }),
        Err(error) => {
            page.wrong(text.at, error.to_string());
            None
        }
    }
}

pub(crate) fn wrong_kind(page: &mut Page<'_>, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
    let message = format!("`{}` must be {wanted}, not {}", model::name::printable(key), named_kind(value.get_ref()));
    page.wrong(value.span().start, message);
}

const fn named_kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
