//! The committed ratios: `bench/baseline.tsv`, one case a line.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::PathBuf};

use crate::{Outcome, command::workspace};

/// How many times the committed ratio is too much.
const WORSE: f64 = 1.25;

const HEADING: &str =
    "# CPU time of the gateway as a multiple of PgBouncer's, of a stream as one of the relay's. Written by `cargo xtask bench --quick --accept`.";

/// Ratios by case.
#[derive(Debug, Default)]
pub(super) struct Baseline(BTreeMap<String, f64>);

impl Baseline {
    /// Reads the file; none is empty.
    pub(super) fn read() -> Outcome<Self> {
        match fs::read_to_string(file()) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("cannot read {}: {error}", file().display())),
        }
    }

    fn parse(text: &str) -> Outcome<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let entry = |line: &str| line.split_once('\t').and_then(|(case, ratio)| Some((case.to_owned(), ratio.parse().ok()?)));
        lines
            .map(|line| entry(line).ok_or_else(|| format!("bench/baseline.tsv: this is no case and ratio: {line}")))
            .collect::<Outcome<_>>()
            .map(Self)
    }

    /// The ratio of a case.
    pub(super) fn get(&self, case: &str) -> Option<f64> {
        self.0.get(case).copied()
    }

    /// Whether a ratio is much worse than the committed one. A case without one is not.
    pub(super) fn is_passed_by(&self, case: &str, ratio: f64) -> bool {
        self.get(case).is_some_and(|committed| ratio > committed * WORSE)
    }

    /// Takes a ratio in place of the committed one.
    pub(super) fn set(&mut self, case: &str, ratio: f64) {
        self.0.insert(case.to_owned(), ratio);
    }

    /// Writes the file.
    pub(super) fn write(&self) -> Outcome<()> {
        fs::write(file(), self.text()).map_err(|error| format!("cannot write {}: {error}", file().display()))
    }

    fn text(&self) -> String {
        let lines = self.0.iter().map(|(case, ratio)| format!("{case}\t{ratio:.2}\n"));
        std::iter::once(format!("{HEADING}\n")).chain(lines).collect()
    }
}

fn file() -> PathBuf {
    workspace().join("bench/baseline.tsv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut baseline = Baseline::default();
        baseline.set("select-only simple 1", 1.1);
        let read = Baseline::parse(&baseline.text()).unwrap();
        assert_eq!(read.get("select-only simple 1"), Some(1.1));
        assert!(Baseline::parse("a case without a ratio").is_err());
    }

    #[test]
    fn a_quarter_more_is_too_much() {
        let mut baseline = Baseline::default();
        baseline.set("known", 1.0);
        assert!(baseline.is_passed_by("known", 1.26) && !baseline.is_passed_by("known", 1.24) && !baseline.is_passed_by("new", 9.0));
    }
}
