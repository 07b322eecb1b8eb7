//! Records of a session told to people: by `show`, `replay` and `tail`, all in the same words.

use std::collections::BTreeSet;

use evidence::record::{
    Answered, Asked, AskedOutcome, Cell, Closed, CopyData, Direction, Held, Opened, Parameter, Record, Rows, Settled, Shape, Stream, Treatment,
};
use model::{Timestamp, hold::HoldState, name::printable};

use crate::commands::place;
use crate::output::{Output, Tone, indented, moment};

/// Tells records one after another, remembering what it must to tell the next.
pub(crate) struct Story {
    output: Output,
    columns: Vec<String>,
    /// Operations forwarded or waiting whose end has not been told.
    open: BTreeSet<u64>,
    /// The session's end has been told.
    closed: bool,
}

impl Story {
    pub(crate) const fn new(output: Output) -> Self {
        Self { output, columns: Vec::new(), open: BTreeSet::new(), closed: false }
    }

    /// The record in words; nothing for what only prepares the next.
    pub(crate) fn tell(&mut self, record: &Record) -> Option<String> {
        match record {
            Record::Opened(opened) => Some(self.opened(opened)),
            Record::Asked(asked) => Some(self.asked(asked)),
            Record::Held(held) => Some(self.held(held)),
            Record::Settled(settled) => Some(self.settled(settled)),
            Record::Shape(shape) => {
                self.shape(shape);
                None
            }
            Record::Rows(rows) => Some(self.rows(rows)),
            Record::CopyData(data) => Some(copied(data)),
            Record::Answered(answered) => Some(self.answered(answered)),
            Record::Output(data) => Some(said(data)),
            Record::Resized(size) => Some(format!("    (the terminal is {} by {})", size.columns, size.rows)),
            Record::Note(note) => Some(format!("{}  {}: {}", clock(note.at), printable(&note.kind), printable(&note.text))),
            Record::Closed(closed) => {
                self.closed = true;
                Some(self.closed(closed))
            }
        }
    }

    /// What to say when there is no more: operations without an answer.
    pub(crate) fn end(&self, live: bool) -> Option<String> {
        let open = self.open.iter().map(|op| format!("#{op}")).collect::<Vec<_>>().join(", ");
        match (live, open.is_empty()) {
            (_, true) => None,
            (true, false) => Some(format!("still running: {open}")),
            (false, false) => {
                let why = if self.closed { "the session ended before the answer" } else { "the gateway died between forwarding and the answer" };
                Some(self.output.paint(Tone::Bad, &format!("outcome unknown: {open} ({why})")))
            }
        }
    }

    fn opened(&self, opened: &Opened) -> String {
        let mut fields = vec![
            ("session", opened.session.to_string()),
            ("who", opened.chain.to_string()),
            ("connection", format!("{} ({})", place(&opened.connection, &opened.database), opened.environment)),
            ("from", opened.peer.clone()),
            ("opened", format!("{} UTC", moment(opened.at))),
            ("policy version", opened.version.short()),
        ];
        if opened.target_pid != 0 {
            fields.push(("target process", opened.target_pid.to_string()));
        }
        if let Some(token) = opened.token {
            fields.insert(4, ("token", token.to_string()));
        }
        if let Some(role) = &opened.target_role {
            fields.push(("target role", role.clone()));
        }
        if let Some(name) = &opened.application_name {
            fields.push(("application", name.clone()));
        }
        format!("{}\n", self.output.fields(&fields))
    }

    fn asked(&mut self, asked: &Asked) -> String {
        let policies = asked.ruling.policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let by = if policies.is_empty() { String::new() } else { format!(" by {policies}") };
        let decision = match asked.ruling.outcome {
            AskedOutcome::Allowed => self.output.paint(Tone::Good, &format!("allowed{by}")),
            AskedOutcome::Held => self.output.paint(Tone::Warning, &format!("held{by}")),
            AskedOutcome::Denied => self.output.paint(Tone::Bad, &format!("refused{by}")),
        };
        if asked.ruling.outcome != AskedOutcome::Denied {
            self.open.insert(asked.op);
        }
        let mut lines = vec![format!("#{}  {}  {decision}  risk {}", asked.op, clock(asked.at), asked.facts.risk.level()), indented(&asked.text)];
        lines.extend(asked.parameters.iter().enumerate().map(|(at, value)| format!("    ${} = {}", at + 1, parameter(value))));
        if asked.ruling.outcome != AskedOutcome::Allowed {
            lines.extend(asked.ruling.reasons.iter().map(|reason| format!("    {}", printable(reason))));
        }
        lines.join("\n")
    }

    fn held(&self, held: &Held) -> String {
        let needs = held.requirements.iter().map(|requirement| {
            let groups = requirement.approvers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            format!("{} from {groups}", requirement.count)
        });
        let text = format!(
            "#{}  {}  {} waits for {} until {}",
            held.op,
            clock(held.at),
            held.hold,
            needs.collect::<Vec<_>>().join("; "),
            clock(held.expires_at)
        );
        self.output.paint(Tone::Warning, &text)
    }

    fn settled(&self, settled: &Settled) -> String {
        let signers = settled.signatures.iter().map(|signature| signature.signer.to_string()).collect::<Vec<_>>().join(", ");
        let (tone, how) = match &settled.state {
            HoldState::Approved => (Tone::Good, format!("approved by {signers}")),
            HoldState::Denied { by, reason } => {
                (Tone::Bad, format!("denied by {by}{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default()))
            }
            HoldState::Expired => (Tone::Bad, "expired unsigned".to_owned()),
            HoldState::Withdrawn { why } => (Tone::Bad, format!("withdrawn: {why}")),
            HoldState::Voided { why } => (Tone::Bad, format!("signatures voided: {why}")),
            HoldState::Waiting => (Tone::Warning, "waits".to_owned()),
        };
        format!("#{}  {}  {} {}", settled.op, clock(settled.at), settled.hold, self.output.paint(tone, &printable(&how)))
    }

    fn shape(&mut self, shape: &Shape) {
        self.columns = shape
            .columns
            .iter()
            .map(|column| match &column.treatment {
                Treatment::Pass => column.name.clone(),
                Treatment::Masked(class) => format!("{} (masked: {class})", column.name),
                Treatment::Withheld => format!("{} (withheld)", column.name),
            })
            .map(|name| printable(&name))
            .collect();
    }

    fn rows(&self, rows: &Rows) -> String {
        let cells = rows.rows.iter().map(|row| row.iter().map(|cell| cell.as_ref().map_or_else(|| "NULL".to_owned(), value)).collect());
        self.output.table_as_named(&self.columns, cells.collect(), "(no rows)")
    }

    fn answered(&mut self, answered: &Answered) -> String {
        self.open.remove(&answered.op);
        let took = duration(answered.duration_us);
        let mut parts = vec![format!("#{}  {}", answered.op, clock(answered.at))];
        match &answered.error {
            Some(failure) => {
                let code = if failure.sqlstate.is_empty() { String::new() } else { format!(" {}", printable(&failure.sqlstate)) };
                parts.push(self.output.paint(Tone::Bad, &format!("error{code}: {}", printable(&failure.message))));
            }
            None => parts.push(printable(answered.tag.as_deref().unwrap_or("done"))),
        }
        if !answered.refused {
            parts.push(format!("{}, {} bytes, {took}", rows_word(answered.rows), answered.bytes));
        }
        if !answered.masked.is_empty() {
            parts.push(self.output.paint(Tone::Warning, &format!("masked: {}", printable(&answered.masked.join(", ")))));
        }
        parts.join("  ")
    }

    fn closed(&self, closed: &Closed) -> String {
        let operations = counted(closed.operations, "operation");
        let text = format!("\nclosed {} UTC: {} ({operations})", moment(closed.at), printable(&closed.ending));
        self.output.paint(Tone::Strong, &text)
    }
}

/// What passed, in one piece as it arrived; `replay` plays it on a terminal.
fn said(output: &evidence::record::Output) -> String {
    let from = match output.stream {
        Stream::Output => "shown",
        Stream::Error => "error",
        Stream::Input => "typed",
    };
    let text = match &output.data {
        Cell::Text(text) => printable(text),
        Cell::Binary { hex } => printable(&String::from_utf8_lossy(&hex.0)),
    };
    format!("    {from} {text}")
}

fn copied(data: &CopyData) -> String {
    let arrow = match data.direction {
        Direction::In => ">",
        Direction::Out => "<",
    };
    indented(&value(&data.data)).lines().map(|line| format!("{arrow}{line}")).collect::<Vec<_>>().join("\n")
}

fn value(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Binary { hex } => format!("\\x{hex}"),
    }
}

fn parameter(parameter: &Parameter) -> String {
    match parameter {
        Parameter::Null => "NULL".to_owned(),
        Parameter::Text(text) => printable(text),
        Parameter::Binary { hex, type_oid } => format!("\\x{hex} (type {type_oid})"),
    }
}

fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S%.3f").to_string()
}

/// `1 row`, `2 rows`.
pub(crate) fn rows_word(count: u64) -> String {
    counted(count, "row")
}

/// `1 thing`, `2 things`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// A duration as people compare them: milliseconds with one decimal, seconds from one on.
pub(crate) fn duration(us: u64) -> String {
    if us < 1_000_000 { format!("{}.{} ms", us / 1_000, us % 1_000 / 100) } else { format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(op: u64) -> Record {
        Record::Answered(Answered { op, duration_us: 12_345, rows: 3, tag: Some("SELECT 3\u{1b}[2J".to_owned()), ..Answered::default() })
    }

    fn asked(op: u64) -> Record {
        let json = serde_json::json!({ "asked": {
            "op": op, "at": 0, "text": "SELECT 1\u{202e}", "via": "simple",
            "facts": { "understanding": { "state": "full" }, "pairs": [], "kinds": [], "statements": 1, "reads": [], "writes": [], "functions": [],
                "row_scope": "none", "risk": 2, "effects": model::Effects::default(), "outputs": { "opaque": false, "harmless": [] }, "secret_spans": [] },
            "ruling": { "outcome": "allowed", "policies": ["engineers-read"], "reasons": [], "version": "00".repeat(32) },
        } });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_operation_without_an_answer_has_an_unknown_outcome_once_the_session_is_over() {
        let mut story = Story::new(Output::detect(false));
        let told = story.tell(&asked(1)).unwrap();
        assert!(told.contains("allowed by engineers-read") && told.contains("risk 2") && !told.contains('\u{202e}'), "{told}");
        assert!(story.end(false).unwrap().contains("outcome unknown: #1 (the gateway died"));
        assert_eq!(story.end(true).as_deref(), Some("still running: #1"));
        let told = story.tell(&answered(1)).unwrap();
        assert!(told.contains("3 rows") && told.contains("12.3 ms") && !told.contains('\u{1b}'), "{told}");
        assert_eq!(story.end(false), None);
    }

    #[test]
    fn a_session_that_was_ended_is_not_blamed_on_the_gateway() {
        let mut story = Story::new(Output::detect(false));
        story.tell(&asked(1));
        let closed = Closed { at: Timestamp::UNIX_EPOCH, ending: "admin ended this session".to_owned(), operations: 1 };
        assert!(story.tell(&Record::Closed(closed)).unwrap().ends_with("(1 operation)"));
        assert!(story.end(false).unwrap().contains("outcome unknown: #1 (the session ended"));
    }

    #[test]
    fn durations_are_told_so_that_they_compare() {
        assert_eq!([900, 12_345, 2_500_000].map(duration), ["0.9 ms", "12.3 ms", "2.5 s"]);
    }
}
