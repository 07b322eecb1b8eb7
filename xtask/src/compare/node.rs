//! node-postgres: the integration tests of a checkout, beside the driver as npm has it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Results, Run, Suite, TestOutcome};
use crate::{
    Outcome,
    command::{self, cache_folder, capture},
};

/// The driver, and what its tests use.
const PACKAGES: &[&str] = &["pg@8.23.1", "async@2.6.4", "bluebird@3.7.2", "co@4.6.0", "pg-copy-streams@0.3.0"];
/// A file of tests that takes longer has failed.
const FILE_SECONDS_MAX: &str = "120";
/// A single test, in milliseconds.
const TEST_TIMEOUT_MS: &str = "30000";

/// Suites of drivers for Node.
pub(super) const SUITES: &[Suite] =
    &[Suite { name: "node-postgres", databases: &["node_test"], makes: &[], configuration: &[], install, run, runs_some: false }];

fn install() -> Outcome<PathBuf> {
    let tests = super::checkout("brianc/node-postgres")?.join("packages/pg/test");
    let kit = cache_folder("compare")?.join("node-postgres");
    fs::create_dir_all(&kit).map_err(|error| format!("cannot make {}: {error}", kit.display()))?;
    let mut npm = Command::new("npm");
    command::run(npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&kit).args(PACKAGES))?;
    // The tests name the driver by its place beside them.
    let driver = kit.join("node_modules/pg");
    command::run(Command::new("rm").args(["-rf"]).arg(driver.join("test")))?;
    command::run(Command::new("cp").arg("-r").arg(tests).arg(driver.join("test")))?;
    Ok(kit)
}

/// Each file of tests is a program of its own; it is a test too, since not all that it checks has a name.
fn run(run: &Run<'_>) -> Outcome<Results> {
    let driver = run.kit.join("node_modules/pg");
    let files = capture(Command::new("find").arg("test/integration").args(["-name", "*-tests.js"]).current_dir(&driver))?;
    let mut results = Results::new();
    for file in files.lines() {
        let mut node = Command::new("timeout");
        run.place.tell(&mut node);
        node.current_dir(&driver).env("TEST_TIMEOUT", TEST_TIMEOUT_MS).args([FILE_SECONDS_MAX, "node", file]);
        let output = node.output().map_err(|error| format!("cannot start node: {error}"))?;
        let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
        fs::write(log(run.work, file), &said).map_err(|error| format!("cannot write the log of {file}: {error}"))?;
        results.extend(named(&said).map(|(name, passed)| (format!("{file}: {name}"), outcome(passed))));
        results.insert(file.to_owned(), outcome(output.status.success()));
    }
    Ok(results)
}

fn log(work: &Path, file: &str) -> PathBuf {
    work.join(file.replace('/', "-"))
}

fn outcome(passed: bool) -> TestOutcome {
    if passed { TestOutcome::Passed } else { TestOutcome::Failed("it failed".to_owned()) }
}

/// The tests that were named, and whether they passed.
fn named(said: &str) -> impl Iterator<Item = (&str, bool)> {
    said.lines().filter(|line| line.starts_with("  ")).filter_map(|line| {
        let passed = line.trim().strip_suffix('✔').map(|name| (name.trim_end(), true));
        passed.or_else(|| line.trim().strip_suffix("FAILED!").map(|name| (name.trim_end(), false)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_tests_are_found_among_what_is_printed() {
        let said = "x-tests.js\n  one thing ✔\nnoise\n  another FAILED!\n\nError: why\n  ? - SKIPPED\n";
        assert_eq!(named(said).collect::<Vec<_>>(), [("one thing", true), ("another", false)]);
    }
}
