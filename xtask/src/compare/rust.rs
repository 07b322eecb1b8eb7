//! tokio-postgres, the driver for Rust: its crate holds its tests, those of features that are not on by default aside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Place, Results, Run, Suite, TestOutcome};
use crate::{
    Outcome,
    command::{self, cache_folder, capture, workspace},
    json::Json,
};

const CRATE: &str = "tokio-postgres";
/// All of it is cut off after that.
const SECONDS_MAX: &str = "600";

/// Suites of cargo's test runner.
pub(super) const SUITES: &[Suite] =
    &[Suite { name: CRATE, databases: &["postgres"], makes: &[], configuration: &[], install, run, runs_some: false }];

/// A copy of the crate as this workspace has it: the one that cargo keeps is not built in.
fn install() -> Outcome<PathBuf> {
    let told = capture(Command::new("cargo").args(["metadata", "--format-version", "1"]).current_dir(workspace()))?;
    let told = Json::read(&told)?;
    let found = told.list("packages").iter().find(|package| package.text("name") == Some(CRATE));
    let found = found.and_then(|package| Some((package.text("version")?, Path::new(package.text("manifest_path")?).parent()?)));
    let (version, source) = found.ok_or_else(|| format!("cargo knows no {CRATE}"))?;
    let kit = cache_folder("compare")?.join(format!("{CRATE}-{version}"));
    if !kit.join("Cargo.toml").is_file() {
        command::run(Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(source).arg(&kit))?;
        command::run(Command::new("mv").arg(kit.join("tests")).arg(kit.join("as-published")))?;
    }
    Ok(kit)
}

fn run(run: &Run<'_>) -> Outcome<Results> {
    run.place.sql("create extension hstore; create extension citext; create extension ltree")?;
    let tests = run.kit.join("tests");
    command::run(Command::new("rm").arg("-rf").arg(&tests))?;
    command::run(Command::new("cp").arg("-r").arg(run.kit.join("as-published")).arg(&tests))?;
    let files = capture(Command::new("find").arg(&tests).args(["-name", "*.rs"]))?;
    for file in files.lines() {
        let text = fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
        fs::write(file, told(&text, run.place)).map_err(|error| format!("cannot write {file}: {error}"))?;
    }
    let mut cargo = Command::new("timeout");
    run.place.tell(&mut cargo);
    cargo.current_dir(run.kit).env("CARGO_TARGET_DIR", run.kit.join("target"));
    let output = cargo.args([SECONDS_MAX, "cargo", "test", "--test", "test", "--no-fail-fast"]).output();
    let output = output.map_err(|error| format!("cannot start cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let log = run.work.join("cargo.log");
    fs::write(&log, [&*said, &*String::from_utf8_lossy(&output.stderr)].concat())
        .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let results: Results = said.lines().filter_map(result).collect();
    if results.is_empty() { Err(format!("cargo ended with {}: see {}", output.status, log.display())) } else { Ok(results) }
}

/// A file of tests that finds the server: where it is and who signs in stands in the texts.
fn told(text: &str, place: &Place) -> String {
    let Place { port, user, password, database, .. } = place;
    let who = format!("user={user} password={password} dbname={database}");
    text.replace("user=postgres", &who).replace("5433", &port.to_string())
}

/// `test types::i32 ... ok`
fn result(line: &str) -> Option<(String, TestOutcome)> {
    let (name, ended) = line.strip_prefix("test ")?.split_once(" ... ")?;
    match ended.trim() {
        "ok" => Some((name.to_owned(), TestOutcome::Passed)),
        "FAILED" => Some((name.to_owned(), TestOutcome::Failed("it failed".to_owned()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_tests_are_results() {
        assert_eq!(result("test types::test_i32 ... ok"), Some(("types::test_i32".to_owned(), TestOutcome::Passed)));
        assert_eq!(result("test a ... FAILED"), Some(("a".to_owned(), TestOutcome::Failed("it failed".to_owned()))));
        assert_eq!(result("test result: ok. 3 passed"), None);
        assert_eq!(result("test a ... ignored"), None);
    }
}
