//! The differences that may be: `allowed.txt`, a line each, with its reason.

use crate::Outcome;

const LIST: &str = include_str!("allowed.txt");

/// The only reasons there are.
const REASONS: &[&str] = &["replication", "function-call", "application-name", "authentication"];

/// What may differ.
pub(super) struct Allowed {
    entries: Vec<Entry>,
}

struct Entry {
    suite: String,
    test: String,
    reason: String,
}

impl Allowed {
    /// Reads the list that was built in.
    pub(super) fn read() -> Outcome<Self> {
        Self::of(LIST)
    }

    fn of(list: &str) -> Outcome<Self> {
        let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(Self { entries: lines.map(entry).collect::<Outcome<_>>()? })
    }

    /// Why this test may differ, if it may.
    pub(super) fn reason(&self, suite: &str, test: &str) -> Option<&str> {
        self.entries.iter().find(|entry| entry.suite == suite && entry.test == test).map(|entry| entry.reason.as_str())
    }
}

/// `SUITE | TEST | KIND: why`.
fn entry(line: &str) -> Outcome<Entry> {
    let mut fields = line.splitn(3, " | ");
    let (Some(suite), Some(test), Some(reason)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(format!("allowed.txt: not SUITE | TEST | REASON: {line}"));
    };
    let kind = reason.split(':').next().unwrap_or_default();
    if !REASONS.contains(&kind) {
        return Err(format!("allowed.txt: {kind} is no reason; reasons are {}: {line}", REASONS.join(", ")));
    }
    Ok(Entry { suite: suite.trim().to_owned(), test: test.trim().to_owned(), reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_list_can_be_read() {
        Allowed::read().unwrap();
    }

    #[test]
    fn a_difference_needs_one_of_the_reasons() {
        let allowed = Allowed::of("# why\nsome | a test::name[1] | replication: walsender\n").unwrap();
        assert_eq!(allowed.reason("some", "a test::name[1]"), Some("replication: walsender"));
        assert_eq!(allowed.reason("other", "a test::name[1]"), None);
        assert!(Allowed::of("some | test | flaky: sometimes").is_err() && Allowed::of("some test").is_err());
    }
}
