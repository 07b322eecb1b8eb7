//! What commands print: tables that fit the terminal, colours only on a terminal, JSON when it was asked for.
//!
//! Text that peers chose passes through `model::name::printable` before it is shown, here, so that no command forgets.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};
use model::name::{printable, printable_block};
use serde::Serialize;

/// Width used when standard output is no terminal, in columns: wide enough that a script's `grep` finds whole cells.
const WIDTH_OFF_TERMINAL: u16 = 400;
/// Narrowest table, in columns; below it wrapping helps nobody.
const NARROWEST: u16 = 40;

/// Longest word of a table that is never broken, in characters.
const LONGEST_WORD: usize = 40;
/// Between two columns, in characters.
const GAP: usize = 2;

/// How a command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    colours: bool,
    width: u16,
}

/// Colours by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warning,
    Bad,
    Strong,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Strong => "1",
        }
    }
}

impl Output {
    /// Looks at standard output and at `NO_COLOR`.
    pub(crate) fn detect(json: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = if terminal { Table::new().width().unwrap_or(80) } else { WIDTH_OFF_TERMINAL };
        Self { json, colours: terminal && !plain, width: width.max(NARROWEST) }
    }

    /// Whether `--json` was given.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints `value` as JSON if that was asked for; otherwise lets `people` say it.
    pub(crate) fn show<T: Serialize + ?Sized>(&self, value: &T, people: impl FnOnce(&Self) -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? } else { people(self) };
        self.line(&text)
    }

    /// Prints one JSON value on a line of its own, or the text made for people.
    pub(crate) fn show_line<T: Serialize + ?Sized>(&self, value: &T, people: impl FnOnce(&Self) -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string(value)? } else { people(self) };
        self.line(&text)
    }

    /// Prints a line; a reader that went away ends the program quietly.
    pub(crate) fn line(&self, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            done => Ok(done?),
        }
    }

    /// The text in a colour, on a terminal; the text as it is elsewhere.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if self.colours { format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()) } else { text.to_owned() }
    }

    /// A table that fits the terminal, or `nothing` if there are no rows. Where not even whole words would fit side by side, each row is told
    /// downwards instead: an id that is broken over two lines cannot be copied.
    pub(crate) fn table(&self, header: &[&str], rows: Vec<Vec<String>>, nothing: &str) -> String {
        let header: Vec<String> = header.iter().map(|title| title.to_uppercase()).collect();
        self.table_as_named(&header, rows, nothing)
    }

    /// [`table`](Self::table) with headings that are somebody's names, and so stay as they are.
    pub(crate) fn table_as_named(&self, header: &[String], rows: Vec<Vec<String>>, nothing: &str) -> String {
        if rows.is_empty() {
            return nothing.to_owned();
        }
        let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
        let words: Vec<usize> = (0..header.len()).map(|column| longest_word(header, &rows, column)).collect();
        if words.iter().map(|width| width + GAP).sum::<usize>() > usize::from(self.width) {
            let each = rows.iter().map(|row| self.fields(&header.iter().map(String::as_str).zip(row.iter().cloned()).collect::<Vec<_>>()));
            return each.collect::<Vec<_>>().join("\n\n");
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(self.width);
        if !self.colours {
            table.force_no_tty();
        }
        table.set_header(header.iter().map(|title| heading(title, self.colours)));
        for row in rows {
            table.add_row(row.into_iter().map(Cell::new));
        }
        for (column, word) in table.column_iter_mut().zip(words) {
            column.set_padding((0, 2));
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(u16::try_from(word + GAP).unwrap_or(u16::MAX))));
        }
        table.trim_fmt()
    }

    /// Names and values beneath each other, values that are blocks of text indented on lines of their own.
    pub(crate) fn fields(&self, fields: &[(&str, String)]) -> String {
        let widest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let lines = fields.iter().map(|(name, value)| {
            if value.contains('\n') {
                return format!("{}\n{}", self.paint(Tone::Strong, name), indented(value));
            }
            format!("{}  {}", self.paint(Tone::Strong, &format!("{name:<widest$}")), printable(value))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Width of the longest word of a column, in characters; longer ones than [`LONGEST_WORD`] may be broken.
fn longest_word(header: &[String], rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column).map(String::as_str)).chain(header.get(column).map(String::as_str));
    cells.flat_map(str::split_whitespace).map(|word| word.chars().count()).max().unwrap_or(0).min(LONGEST_WORD)
}

fn heading(title: &str, colours: bool) -> Cell {
    let cell = Cell::new(title);
    if colours { cell.add_attribute(comfy_table::Attribute::Bold) } else { cell }
}

/// A whole text as a block, nothing cut, what could deceive a reader escaped, four spaces before each line.
pub(crate) fn indented(text: &str) -> String {
    printable_block(text).lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// The first line of a statement, cut to fit a listing; a cut is always marked.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if joined.chars().count() <= most {
        return joined;
    }
    joined.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A moment as people read it in a listing: UTC, to the second.
pub(crate) fn moment(at: model::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Like [`moment`], or a dash.
pub(crate) fn maybe_moment(at: Option<model::Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), moment)
}

/// A span in its two largest units.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: u16) -> Output {
        Output { json: false, colours: false, width }
    }

    #[test]
    fn a_table_fits_the_width_and_loses_nothing() {
        let long = "a statement that is much longer than the terminal is wide and so has to be wrapped".to_owned();
        let table = plain(60).table(&["id", "statement"], vec![vec!["s_1".to_owned(), long.clone()]], "none");
        assert!(table.lines().all(|line| line.chars().count() <= 60), "{table}");
        let words = table.split_whitespace().collect::<Vec<_>>();
        for word in long.split_whitespace() {
            assert!(words.contains(&word), "{word} is missing from\n{table}");
        }
    }

    #[test]
    fn an_id_is_never_broken_and_what_is_too_narrow_for_a_table_is_told_downwards() {
        let row = ["s_0123456789ab", "alice", "prod-pg/shop", "2026-11-22 00:17:44", "the caller left"].map(str::to_owned).to_vec();
        let header = ["id", "who", "connection", "started", "state"];
        for width in [40, 60, 70, 80, 120] {
            let table = plain(width).table(&header, vec![row.clone()], "none");
            assert!(table.contains("s_0123456789ab") && table.contains("prod-pg/shop"), "{width}:\n{table}");
            assert!(table.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{table}");
        }
        assert!(plain(40).table(&header, vec![row], "none").lines().any(|line| line.starts_with("WHO ") && line.ends_with("alice")));
    }

    #[test]
    fn no_colour_leaves_the_program_unless_it_is_asked_for() {
        assert_eq!(plain(80).paint(Tone::Bad, "refused"), "refused");
        let coloured = Output { colours: true, ..plain(80) };
        assert_eq!(coloured.paint(Tone::Bad, "refused"), "\u{1b}[31mrefused\u{1b}[0m");
    }

    #[test]
    fn text_of_peers_cannot_move_the_cursor() {
        let table = plain(80).table(&["statement"], vec![vec!["x\u{1b}[2J\u{202e}".to_owned()]], "none");
        assert!(!table.contains('\u{1b}') && !table.contains('\u{202e}'), "{table:?}");
        assert!(!indented("a\nb\u{1b}[1A").contains('\u{1b}'));
    }

    #[test]
    fn a_cut_is_marked() {
        assert_eq!(one_line("select  1\n  from t", 40), "select 1 from t");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }

    #[test]
    fn spans_are_told_in_two_units() {
        assert_eq!([5, 65, 3_700, 90_000].map(span), ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
    }
}
