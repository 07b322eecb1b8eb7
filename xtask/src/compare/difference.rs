//! What differs between two runs of a suite.

use std::{fmt::Write as _, fs, path::Path};

use super::{Results, TestOutcome};
use crate::Outcome;

/// A test that did not end the same way in both runs.
#[derive(Debug)]
pub(super) struct Difference {
    /// Its name.
    pub(super) test: String,
    direct: Option<TestOutcome>,
    through: Option<TestOutcome>,
}

impl Difference {
    /// Whether it passes through the gateway and not without it: a test of who is faster, of TLS that the target has not, or of a machine too busy.
    pub(super) const fn is_of_direct_alone(&self) -> bool {
        matches!((&self.direct, &self.through), (Some(TestOutcome::Failed(_)) | None, Some(TestOutcome::Passed)))
    }

    /// One line for the terminal.
    pub(super) fn line(&self) -> String {
        format!("{}: {} direct, {} through", self.test, word(self.direct.as_ref()), word(self.through.as_ref()))
    }
}

/// Every test whose outcome is not the same in both runs, what it said when it failed among it.
pub(super) fn differences(direct: &Results, through: &Results) -> Vec<Difference> {
    let mut names: Vec<&String> = direct.keys().chain(through.keys()).collect();
    names.sort();
    names.dedup();
    let differing = names.into_iter().filter(|name| direct.get(*name) != through.get(*name));
    differing.map(|name| Difference { test: name.clone(), direct: direct.get(name).cloned(), through: through.get(name).cloned() }).collect()
}

/// Writes what the differing tests said, both ways.
pub(super) fn write_details(file: &Path, differences: &[Difference]) -> Outcome<()> {
    let mut text = String::new();
    for it in differences {
        let _ = writeln!(text, "==== {}\n---- direct: {}\n---- through: {}", it.line(), said(it.direct.as_ref()), said(it.through.as_ref()));
    }
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

const fn word(outcome: Option<&TestOutcome>) -> &'static str {
    match outcome {
        Some(TestOutcome::Passed) => "passed",
        Some(TestOutcome::Failed(_)) => "failed",
        Some(TestOutcome::Printed(_)) => "printed",
        None => "not run",
    }
}

fn said(outcome: Option<&TestOutcome>) -> &str {
    match outcome {
        Some(TestOutcome::Failed(said) | TestOutcome::Printed(said)) => said,
        other => word(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(of: &[(&str, TestOutcome)]) -> Results {
        of.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect()
    }

    #[test]
    fn what_fails_both_ways_differs_only_if_it_says_something_else() {
        let failed = |said: &str| TestOutcome::Failed(said.to_owned());
        let direct = results(&[("a", TestOutcome::Passed), ("b", failed("x")), ("c", failed("x")), ("e", TestOutcome::Passed)]);
        let through = results(&[("a", TestOutcome::Passed), ("b", failed("x")), ("c", failed("y")), ("d", TestOutcome::Passed)]);
        let found = differences(&direct, &through);
        let lines: Vec<String> = found.iter().map(Difference::line).collect();
        assert_eq!(lines, ["c: failed direct, failed through", "d: not run direct, passed through", "e: passed direct, not run through"]);
        assert_eq!(found.iter().map(Difference::is_of_direct_alone).collect::<Vec<_>>(), [false, true, false]);
        assert!(differences(&results(&[("f", failed("x"))]), &results(&[("f", TestOutcome::Passed)])).iter().all(Difference::is_of_direct_alone));
    }
}
