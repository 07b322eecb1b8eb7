//! The suites that PostgreSQL runs with `pg_regress`: what psql prints for a file of statements is compared with what
//! was expected. And with `pg_isolation_regress`: several sessions at once, told step by step.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Results, Run, Suite, TestOutcome, postgres_source::Source};
use crate::{Outcome, command, install::postgres_programs};

/// PostgreSQL's own regression and isolation suites, and those of its procedural language and of its extensions.
pub(super) const SUITES: &[Suite] = &[
    Suite {
        name: "regress",
        databases: &[],
        makes: &["regression", "regression_tbd"],
        configuration: &[],
        install: install_regress,
        run: regress,
        runs_some: false,
    },
    Suite {
        name: "isolation",
        databases: &[],
        makes: &["isolation_regression"],
        configuration: &[],
        install: install_source,
        run: isolation,
        runs_some: false,
    },
    Suite {
        name: "contrib",
        databases: &[],
        makes: &[CONTRIB_DATABASE],
        configuration: &[],
        install: install_source,
        run: contrib,
        runs_some: false,
    },
];

/// The database that tests of extensions are run in, made anew for each.
const CONTRIB_DATABASE: &str = "contrib_regression";

const REGRESS: &str = "src/test/regress";
const ISOLATION: &str = "src/test/isolation";

fn install_source() -> Outcome<PathBuf> {
    Ok(Source::fetch()?.folder().to_path_buf())
}

/// The library of functions that the regression tests load into the server.
fn install_regress() -> Outcome<PathBuf> {
    let source = Source::fetch()?;
    let library = source.folder().join("regress.so");
    if !library.is_file() {
        command::run(source.compiler().args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source.file("src/test/regress/regress.c")))?;
    }
    Ok(source.folder().to_path_buf())
}

fn regress(run: &Run<'_>) -> Outcome<Results> {
    let of_server = postgres_programs()?.with_file_name("lib");
    for library in [run.kit.join("regress.so"), of_server.join("refint.so"), of_server.join("autoinc.so")] {
        let copy = run.work.join(library.file_name().unwrap_or_default());
        fs::copy(&library, copy).map_err(|error| format!("cannot copy {}: {error}", library.display()))?;
    }
    let folder = copied(run, REGRESS)?;
    let mut program = pg_regress(run, "regress/pg_regress", &folder)?;
    program.arg("--schedule=parallel_schedule").arg(format!("--dlpath={}", run.work.display()));
    results(&mut program, &folder)
}

fn isolation(run: &Run<'_>) -> Outcome<Results> {
    let folder = copied(run, ISOLATION)?;
    let mut program = pg_regress(run, "isolation/pg_isolation_regress", &folder)?;
    results(program.args(["--dbname=isolation_regression", "--schedule=isolation_schedule"]), &folder)
}

/// The tests of PL/pgSQL and of the extensions that come with PostgreSQL, as far as they want no server made for them alone.
fn contrib(run: &Run<'_>) -> Outcome<Results> {
    let source = run.kit.join("source");
    let listed = fs::read_dir(source.join("contrib")).map_err(|error| format!("there is no folder contrib: {error}"))?;
    let extensions = listed.flatten().map(|entry| format!("contrib/{}", entry.file_name().to_string_lossy()));
    let mut folders: Vec<String> = extensions.chain(["src/pl/plpgsql/src".to_owned()]).collect();
    folders.sort();
    let mut all = Results::new();
    for path in folders {
        let Ok(makefile) = fs::read_to_string(source.join(&path).join("Makefile")) else { continue };
        let tests = tests_named(&makefile);
        if tests.is_empty() {
            continue;
        }
        let folder = copied(run, &path)?;
        let mut program = pg_regress(run, "regress/pg_regress", &folder)?;
        let results = results(program.arg(format!("--dbname={CONTRIB_DATABASE}")).args(tests), &folder)?;
        all.extend(results.into_iter().map(|(test, outcome)| (format!("{path}/{test}"), outcome)));
    }
    Ok(all)
}

/// The tests of a Makefile that any server can run; none if they want options, or another language.
fn tests_named(makefile: &str) -> Vec<String> {
    let lines = makefile.replace("\\\n", " ");
    let other_language = lines.contains("plperl") || lines.contains("plpython");
    if other_language || lines.contains("NO_INSTALLCHECK") || lines.contains("REGRESS_OPTS") {
        return Vec::new();
    }
    let named = lines.lines().filter_map(|line| line.strip_prefix("REGRESS")?.trim_start().strip_prefix('='));
    named.flat_map(str::split_whitespace).filter(|word| !word.starts_with('$')).map(str::to_owned).collect()
}

/// A copy of a folder of the source, where tests may write and the server may read.
fn copied(run: &Run<'_>, path: &str) -> Outcome<PathBuf> {
    let copy = run.work.join(path.replace('/', "-"));
    let mut program = Command::new("cp");
    command::run(program.arg("-r").arg(run.kit.join("source").join(path)).arg(&copy))?;
    run.server_user.give(&copy)?;
    Ok(copy)
}

fn pg_regress(run: &Run<'_>, program: &str, folder: &Path) -> Outcome<Command> {
    let programs = postgres_programs()?;
    let library = programs.parent().unwrap_or(&programs).join("lib/pgxs/src/test");
    let mut command = run.server_user.command(&library.join(program));
    run.place.tell(&mut command);
    command.current_dir(folder).env("HOME", run.work).env_remove("PGDATABASE");
    command.arg(format!("--host={}", run.place.host)).arg(format!("--port={}", run.place.port)).arg(format!("--user={}", run.place.user));
    command.arg("--bindir").arg(programs);
    Ok(command)
}

/// Runs it to its end, whatever that is, and reads what it said of each test.
fn results(command: &mut Command, folder: &Path) -> Outcome<Results> {
    let output = command.output().map_err(|error| format!("cannot start {}: {error}", command::line(command)))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let diffs = fs::read(folder.join("regression.diffs")).map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned());
    let results: Results = said.lines().filter_map(verdict).map(|(test, passed)| (test.to_owned(), outcome(test, passed, &diffs))).collect();
    if results.is_empty() {
        return Err(format!("{} ran no test:\n{said}{}", command::line(command), String::from_utf8_lossy(&output.stderr)));
    }
    Ok(results)
}

fn outcome(test: &str, passed: bool, diffs: &str) -> TestOutcome {
    if passed {
        return TestOutcome::Passed;
    }
    let of_it = |part: &&str| part.lines().next().is_some_and(|line| line.ends_with(&format!("/results/{test}.out")));
    let lines = diffs.split("diff -U3 ").filter(of_it).flat_map(|part| part.lines().skip(3)).map(same_for_each_server);
    TestOutcome::Failed(lines.collect::<Vec<_>>().join("\n"))
}

/// A line without the port in the name of a socket: two servers have two ports, and `postgres_fdw` looks for the socket of its own
/// where Debian has it, which is not where these servers do.
fn same_for_each_server(line: &str) -> String {
    match line.split_once("/.s.PGSQL.") {
        Some((before, after)) => [before, "/.s.PGSQL.PORT", after.trim_start_matches(|c: char| c.is_ascii_digit())].concat(),
        None => line.to_owned(),
    }
}

/// A test's name and whether it passed: `test NAME ... ok 5 ms`, or as newer versions write it, `not ok 5 - NAME 5 ms`.
fn verdict(line: &str) -> Option<(&str, bool)> {
    if let Some((name, verdict)) = line.split_once(" ... ") {
        return Some((name.trim().trim_start_matches("test "), verdict.starts_with("ok"))).map(|(name, passed)| (name.trim(), passed));
    }
    let (passed, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    Some((rest.split_whitespace().nth(2)?, passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_in_both_forms() {
        assert_eq!(verdict("test test_setup                   ... ok          170 ms"), Some(("test_setup", true)));
        assert_eq!(verdict("     boolean                      ... FAILED       25 ms"), Some(("boolean", false)));
        assert_eq!(verdict("ok 12        + boolean             25 ms"), Some(("boolean", true)));
        assert_eq!(verdict("not ok 1     - test_setup             170 ms"), Some(("test_setup", false)));
        assert_eq!(verdict("parallel group (2 tests):  a b"), None);
    }

    #[test]
    fn tests_of_an_extension_are_those_its_makefile_names_for_any_server() {
        assert_eq!(tests_named("MODULES = x\nREGRESS = init base \\\n  more\nTAP_TESTS = 1\n"), ["init", "base", "more"]);
        assert!(tests_named("REGRESS = a\nREGRESS_OPTS = --temp-config x\n").is_empty() && tests_named("OBJS = a.o\n").is_empty());
    }

    #[test]
    fn a_failed_test_has_its_own_part_of_the_diffs() {
        let diffs =
            "diff -U3 /x/expected/a.out /y/results/a.out\n--- a\n+++ b\n-one\n+two\ndiff -U3 /x/b.out /y/results/b.out\n--- a\n+++ b\n-three\n";
        assert_eq!(outcome("a", false, diffs), TestOutcome::Failed("-one\n+two".to_owned()));
        assert_eq!(outcome("a", true, diffs), TestOutcome::Passed);
    }

    #[test]
    fn of_what_a_failed_test_said_the_port_in_a_sockets_name_alone_is_no_difference() {
        let said = |line: &str| outcome("a", false, &format!("diff -U3 /x/a.out /y/results/a.out\n--- a\n+++ b\n{line}\n"));
        let of_port = |port: u16| said(&format!("+DETAIL:  connection to server on socket \"/var/run/postgresql/.s.PGSQL.{port}\" failed: 5432"));
        assert_eq!(of_port(43491), of_port(35433));
        let kept = "+DETAIL:  connection to server on socket \"/var/run/postgresql/.s.PGSQL.PORT\" failed: 5432";
        assert_eq!(of_port(43491), TestOutcome::Failed(kept.to_owned()));
        assert_ne!(said("+ port 43491"), said("+ port 35433"));
    }
}
