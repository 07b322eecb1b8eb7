//! `cargo xtask test`: every check and every test, with real servers and real clients.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    Outcome, bench,
    command::{self, cargo},
    install,
    json::Json,
    tidy,
};

/// One part of the run. Later parts run even when an earlier one failed, so that one run shows all there is to mend.
struct Step {
    name: &'static str,
    run: fn() -> Outcome<()>,
}

const STEPS: &[Step] = &[
    Step { name: "formatting", run: || command::run(&mut cargo(&["fmt", "--all", "--check"])) },
    Step { name: "tidy", run: tidy::run },
    Step { name: "licences, bans and sources", run: cargo_deny },
    Step { name: "clippy", run: || command::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])) },
    Step { name: "tests", run: cargo_test },
    Step { name: "end-to-end tests with the state in PostgreSQL", run: with_state_in_postgresql },
    Step { name: "speed", run: bench::check },
];

/// Installs what is missing, then runs everything.
///
/// # Errors
/// Something could not be installed, or the names of the steps that failed.
pub fn run() -> Outcome<()> {
    let began = Instant::now();
    install::for_tests()?;
    install::cargo_deny()?;
    let mut results = Vec::new();
    for step in STEPS {
        println!("\n== {} ==", step.name);
        let step_began = Instant::now();
        let outcome = (step.run)();
        if let Err(failure) = &outcome {
            println!("{failure}");
        }
        results.push((step.name, outcome.is_ok(), step_began.elapsed()));
    }
    println!("\n{}", summary(&results, began.elapsed()));
    let failed: Vec<&str> = results.iter().filter(|(_, passed, _)| !passed).map(|(name, _, _)| *name).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn cargo_deny() -> Outcome<()> {
    println!("advisories are not checked here: that needs the advisory database from the network");
    command::run(&mut cargo(&["deny", "--log-level", "error", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}

/// Fewer than in the step before: that nothing is lost, the recordings see to, which are files always.
const KILLINGS_IN_POSTGRESQL: &str = "20";

/// What these show does not depend on where state is kept.
const OF_NO_STORE: [&str; 2] = ["canaries.rs", "captured.rs"];

/// The tests of `tests/` once more, whose gateways keep their state in PostgreSQL. Their programs are run as they were built for the step before: with
/// another selection of targets cargo would choose other features, and build all dependencies again.
fn with_state_in_postgresql() -> Outcome<()> {
    let folder = command::workspace().join("tests");
    let python = install::python_with_drivers()?;
    let tested = bench::build_quick()?;
    let built = command::capture(&mut cargo(&["test", "--workspace", "--no-run", "--quiet", "--message-format=json"]))?;
    let programs = built.lines().map(Json::read).collect::<Outcome<Vec<_>>>()?;
    let programs: Vec<&str> = programs.iter().filter_map(|message| end_to_end(message, &folder)).collect();
    let mut failed = Vec::new();
    for program in &programs {
        let mut tests = Command::new(program);
        without_proxies(&mut tests);
        tests
            .current_dir(&folder)
            .env("COUNTERSIGN_TEST_STORE", "postgres")
            .env("COUNTERSIGN_TEST_KILLINGS", KILLINGS_IN_POSTGRESQL)
            .env("COUNTERSIGN_TEST_PYTHON", &python)
            .env("COUNTERSIGN_BIN", &tested);
        if command::run(&mut tests).is_err() {
            failed.push(*program);
        }
    }
    match failed.as_slice() {
        [] if programs.is_empty() => Err("cargo names no end-to-end test".to_owned()),
        [] => Ok(()),
        failed => Err(format!("failed: {}", failed.join(", "))),
    }
}

/// The program of a file in `tests/tests`, if this is what cargo says of one: <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>.
fn end_to_end<'a>(message: &'a Json, folder: &Path) -> Option<&'a str> {
    let source = Path::new(message.get("target")?.text("src_path")?);
    let program = message.text("executable")?;
    let depends = !source.file_name().is_some_and(|name| OF_NO_STORE.iter().any(|file| name == *file));
    (depends && source.starts_with(folder.join("tests"))).then_some(program)
}

fn cargo_test() -> Outcome<()> {
    let python = install::python_with_drivers()?;
    // Optimised, as people use it: the end-to-end tests take half the time. The quick bench measures the same build.
    let tested = bench::build_quick()?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    without_proxies(&mut tests);
    command::run(tests.env("COUNTERSIGN_TEST_PYTHON", python).env("COUNTERSIGN_BIN", tested))
}

/// Tests speak to this machine alone; a proxy set for package downloads must not see them.
pub(crate) fn without_proxies(command: &mut Command) {
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
}

fn summary(results: &[(&str, bool, Duration)], took: Duration) -> String {
    let lines = results.iter().map(|(name, passed, took)| {
        let verdict = if *passed { "ok" } else { "FAILED" };
        format!("{verdict:>7}  {name} ({} s)", took.as_secs())
    });
    let passed = results.iter().filter(|(_, passed, _)| *passed).count();
    let total = format!("xtask test: {passed} of {} steps passed in {} s", results.len(), took.as_secs());
    lines.chain([total]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_failed() {
        let text = summary(&[("clippy", true, Duration::from_secs(3)), ("tests", false, Duration::from_secs(60))], Duration::from_secs(63));
        assert!(text.contains("ok  clippy (3 s)") && text.contains("FAILED  tests (60 s)"), "{text}");
        assert!(text.ends_with("1 of 2 steps passed in 63 s"), "{text}");
    }
}
