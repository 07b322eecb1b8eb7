//! What a terminal showed and was told, as something to be played: one shell or command of a session.

use std::{fmt::Write as _, time::Duration};

use evidence::{
    record::{Asked, Cell, Record, Stream},
    screen::Safe,
};
use model::Timestamp;
use serde_json::json;

/// The size of a terminal of which nothing is recorded.
const SIZE: (u32, u32) = (80, 24);

/// One shell or command.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) began: Timestamp,
    /// What was asked for.
    pub(crate) title: String,
    pub(crate) size: (u32, u32),
    pub(crate) events: Vec<Event>,
    /// The status it ended with.
    pub(crate) status: Option<u32>,
}

/// Something that happened, so long after the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Output(Vec<u8>),
    Input(Vec<u8>),
    Resize(u32, u32),
}

/// A version of asciicast: <https://docs.asciinema.org/manual/asciicast/v3/>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Version {
    /// Times from the beginning
    #[value(name = "2")]
    Two,
    /// Times from one event to the next
    #[value(name = "3")]
    Three,
}

impl Cast {
    /// Of the operation of that number; else of the first that has a terminal, else of the first of which something was recorded. None if there is none.
    pub(crate) fn of(records: &[Record], op: Option<u64>) -> Option<Self> {
        let first = |wanted: fn(&Record) -> bool| records.iter().find(|record| wanted(record)).and_then(Record::op);
        let op =
            op.or_else(|| first(|record| matches!(record, Record::Resized(_)))).or_else(|| first(|record| matches!(record, Record::Output(_))))?;
        let own: Vec<&Record> = records.iter().filter(|record| record.op() == Some(op)).collect();
        let asked: &Asked = own.iter().find_map(|record| if let Record::Asked(asked) = record { Some(asked) } else { None })?;
        let mut cast = Self { began: asked.at, title: asked.text.to_string(), size: SIZE, events: Vec::new(), status: None };
        let mut sized = false;
        for record in own {
            let after = |at: Timestamp| Duration::try_from(at.duration_since(asked.at)).unwrap_or_default();
            match record {
                // What has no window of its own says nothing of its size.
                Record::Resized(size) if size.columns == 0 || size.rows == 0 => {}
                Record::Resized(size) if !sized => (cast.size, sized) = ((size.columns, size.rows), true),
                Record::Resized(size) => cast.events.push(Event { at: after(size.at), kind: Kind::Resize(size.columns, size.rows) }),
                Record::Output(output) => {
                    let data = match &output.data {
                        Cell::Text(text) => text.clone().into_bytes(),
                        Cell::Binary { hex } => hex.0.clone(),
                    };
                    let kind = if output.stream == Stream::Input { Kind::Input(data) } else { Kind::Output(data) };
                    cast.events.push(Event { at: after(output.at), kind });
                }
                Record::Answered(answered) => {
                    cast.status = answered.tag.as_deref().and_then(|tag| tag.strip_prefix("exit ")).and_then(|status| status.parse().ok());
                }
                _ => {}
            }
        }
        Some(cast)
    }

    /// Without what would do something to the terminal it is played on.
    pub(crate) fn made_safe(mut self) -> Self {
        let mut safe = Safe::default();
        for event in &mut self.events {
            if let Kind::Output(data) = &mut event.kind {
                *data = safe.pass(data);
            }
        }
        self.events.retain(|event| !matches!(&event.kind, Kind::Output(data) if data.is_empty()));
        self
    }

    /// As a file that asciinema plays.
    pub(crate) fn asciicast(&self, version: Version) -> String {
        let (columns, rows) = self.size;
        let began = self.began.as_second();
        let header = match version {
            Version::Two => json!({ "version": 2, "width": columns, "height": rows, "timestamp": began, "title": self.title }),
            Version::Three => json!({ "version": 3, "term": { "cols": columns, "rows": rows }, "timestamp": began, "title": self.title }),
        };
        let mut text = format!("{header}\n");
        let (mut last, mut output, mut input) = (Duration::ZERO, Characters::default(), Characters::default());
        let mut event = |at: Duration, code: &str, data: String| {
            let time = match version {
                Version::Two => at,
                Version::Three => at.saturating_sub(std::mem::replace(&mut last, at)),
            };
            let _ = writeln!(text, "[{:.6}, {}, {}]", time.as_secs_f64(), json!(code), json!(data));
        };
        for one in &self.events {
            match &one.kind {
                Kind::Output(data) => event(one.at, "o", output.take(data)),
                Kind::Input(data) => event(one.at, "i", input.take(data)),
                Kind::Resize(columns, rows) => event(one.at, "r", format!("{columns}x{rows}")),
            }
        }
        if let (Version::Three, Some(status)) = (version, self.status) {
            event(self.events.last().map_or(Duration::ZERO, |event| event.at), "x", status.to_string());
        }
        text
    }
}

/// Whole characters of bytes that are cut anywhere.
#[derive(Debug, Default)]
struct Characters {
    partial: Vec<u8>,
}

impl Characters {
    fn take(&mut self, data: &[u8]) -> String {
        let bytes = [std::mem::take(&mut self.partial), data.to_vec()].concat();
        let cut = match std::str::from_utf8(&bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        };
        let (whole, partial) = bytes.split_at(cut);
        self.partial = partial.to_vec();
        String::from_utf8_lossy(whole).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use evidence::record::{Answered, Output, Resized};

    use super::*;

    fn records() -> Vec<Record> {
        let at = |micros: i64| Timestamp::from_microsecond(1_000_000_000 + micros).unwrap();
        let asked = serde_json::json!({ "asked": {
            "op": 3, "at": 1_000_000_000, "text": "an interactive shell", "via": "shell",
            "facts": { "understanding": { "state": "full" }, "pairs": [], "kinds": [], "statements": 1, "reads": [], "writes": [], "functions": [],
                "row_scope": "none", "risk": 2, "effects": model::Effects::default(), "outputs": { "opaque": false, "harmless": [] }, "secret_spans": [] },
            "ruling": { "outcome": "allowed", "policies": [], "reasons": [], "version": "00".repeat(32) },
        } });
        let output = |op, micros, stream, data: &[u8]| Record::Output(Output { op, at: at(micros), stream, data: Cell::new(data, false) });
        vec![
            serde_json::from_value(asked).unwrap(),
            Record::Resized(Resized { op: 3, at: at(1), columns: 90, rows: 30 }),
            output(2, 5, Stream::Output, b"of another"),
            output(3, 500_000, Stream::Output, b"$ \x1b]0;x\x07\xe6\x97"),
            output(3, 750_000, Stream::Output, b"\xa5"),
            output(3, 1_000_000, Stream::Input, b"l"),
            Record::Resized(Resized { op: 3, at: at(1_500_000), columns: 100, rows: 40 }),
            Record::Answered(Answered { op: 3, at: at(2_000_000), tag: Some("exit 7".to_owned()), ..Answered::default() }),
        ]
    }

    #[test]
    fn both_versions_say_the_same() {
        let cast = Cast::of(&records(), None).unwrap().made_safe();
        assert_eq!((cast.size, cast.status), ((90, 30), Some(7)));
        let two = cast.asciicast(Version::Two);
        let lines: Vec<&str> = two.lines().collect();
        assert!(lines[0].contains("\"version\":2") && lines[0].contains("\"width\":90"), "{two}");
        assert_eq!(
            &lines[1..],
            ["[0.500000, \"o\", \"$ \"]", "[0.750000, \"o\", \"日\"]", "[1.000000, \"i\", \"l\"]", "[1.500000, \"r\", \"100x40\"]"]
        );
        let three = cast.asciicast(Version::Three);
        let lines: Vec<&str> = three.lines().collect();
        assert!(lines[0].contains("\"term\":{\"cols\":90,\"rows\":30}"), "{three}");
        assert_eq!(
            &lines[1..],
            [
                "[0.500000, \"o\", \"$ \"]",
                "[0.250000, \"o\", \"日\"]",
                "[0.250000, \"i\", \"l\"]",
                "[0.500000, \"r\", \"100x40\"]",
                "[0.000000, \"x\", \"7\"]"
            ]
        );
        assert!(Cast::of(&records(), Some(9)).is_none() && Cast::of(&[], None).is_none());
    }
}
