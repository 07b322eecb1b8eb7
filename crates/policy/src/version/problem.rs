//! What is wrong with a file, and where.

use std::fmt;

/// One thing wrong in one file, for people who will correct it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, by its path relative to the directory that was read, `/` between folders.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at a byte offset of a text that is one file or a part of it that begins at its first byte.
    #[must_use]
    pub fn at(file: &str, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let (line, column) = place(text, offset);
        Self { file: file.to_owned(), line, column, message: message.into(), help: None }
    }

    /// The same problem with a sentence that helps.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "\n  help: {help}"))
    }
}

/// Where the lines of a text begin: places of thousands of policies in one file are found without reading it again for each.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let feeds = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at.saturating_add(1));
        Self { text, starts: std::iter::once(0).chain(feeds).collect() }
    }

    /// As [`Problem::at`].
    pub(crate) fn problem(&self, file: &str, offset: usize, message: impl Into<String>) -> Problem {
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(0);
        let (_, column) = place(self.text.get(start..).unwrap_or_default(), offset.saturating_sub(start));
        let line = u32::try_from(line.saturating_add(1)).unwrap_or(u32::MAX);
        Problem { file: file.to_owned(), line, column, message: message.into(), help: None }
    }
}

/// Line and column, both from 1, of a byte offset.
fn place(text: &str, offset: usize) -> (u32, u32) {
    let (mut line, mut column) = (1u32, 1u32);
    for (_, c) in text.char_indices().take_while(|(at, _)| *at < offset) {
        if c == '\n' {
            line = line.saturating_add(1);
            column = 1;
        } else {
            column = column.saturating_add(1);
        }
    }
    (line, column)
}

/// The word of `known` that was probably meant by `typed`: at most a third of its letters differ.
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (typed.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|word| (distance(typed, word), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// "did you mean" for a word, or the list of what could be written.
pub(crate) fn suggestion<'a>(typed: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(typed, known.clone()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if known.clone().into_iter().next().is_none() => "there is none at all yet".to_owned(),
        None => format!("known here: {}", known.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// Levenshtein's distance, with a swap of neighbours as one step.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, x) in a.chars().enumerate() {
        let mut current = vec![row.saturating_add(1)];
        for (column, y) in b.iter().enumerate() {
            let at = |line: &[usize], place: usize| line.get(place).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, column) + usize::from(x != *y)).min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            let swapped = column > 0 && previous == Some(*y) && b.get(column - 1) == Some(&x);
            if swapped {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            current.push(best);
        }
        previous = Some(x);
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a\nbé = x\n";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, text.find('=').unwrap()), (2, 4));
        assert_eq!(place(text, 9999), (3, 1));
        for offset in 0..=text.len() {
            assert_eq!(Lines::new(text).problem("f", offset, "x"), Problem::at("f", text, offset, "x"), "{offset}");
        }
    }

    #[test]
    fn a_list_of_nothing_is_not_begun() {
        assert_eq!(suggestion("x", []), "there is none at all yet");
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["host", "port", "database", "environment"];
        assert_eq!(nearest("hots", known), Some("host"));
        assert_eq!(nearest("enviroment", known), Some("environment"));
        assert_eq!(nearest("database_name_of_it", known), None);
        assert_eq!(distance("", "abc"), 3);
    }
}
