//! pgx, the driver for Go: its module holds its tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Results, Run, Suite, TestOutcome};
use crate::{
    Outcome,
    command::{self, cache_folder, capture},
    json::Json,
};

const MODULE: &str = "github.com/jackc/pgx/v5@v5.12.0";
/// What its tests want to find in their database.
const SETUP: &str = "create extension hstore; create extension ltree; create domain uint64 as numeric(20,0); \
                     create user \" tricky, ' } \"\" \\ test user \" superuser password 'secret'";

/// Suites of Go's test runner.
pub(super) const SUITES: &[Suite] =
    &[Suite { name: "pgx", databases: &["pgx_test"], makes: &[], configuration: &[], install, run, runs_some: false }];

/// A copy of the module in which tests can be built: the one that Go keeps may not be written to.
fn install() -> Outcome<PathBuf> {
    let kit = cache_folder("compare")?.join(MODULE.replace('/', "-"));
    if kit.join("go.mod").is_file() {
        return Ok(kit);
    }
    println!("fetching {MODULE}");
    let told = capture(Command::new("go").args(["mod", "download", "-json", MODULE]))?;
    let folder = Json::read(&told)?.text("Dir").map(PathBuf::from).ok_or_else(|| format!("go named no folder: {told}"))?;
    let unfinished = kit.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    command::run(Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(&folder).arg(&unfinished))?;
    fs::rename(&unfinished, &kit).map_err(|error| format!("cannot rename {}: {error}", unfinished.display()))?;
    Ok(kit)
}

fn run(run: &Run<'_>) -> Outcome<Results> {
    let place = run.place;
    place.sql(SETUP)?;
    let mut go = Command::new("go");
    place.tell(&mut go);
    go.current_dir(run.kit).args(["test", "-json", "-count=1", "-p=1", "-parallel=2", "-timeout=20m", "./..."]);
    let (host, port, user, password, database) = (&place.host, place.port, &place.user, &place.password, &place.database);
    let url = format!("host={host} port={port} user={user} password={password} database={database} sslmode=disable");
    go.env("PGX_TEST_DATABASE", &url).env("PGX_TEST_TCP_CONN_STRING", &url);
    let log = run.work.join("go.json");
    let file = fs::File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let status = go.stdout(file).status().map_err(|error| format!("cannot start go: {error}"))?;
    let results = results(&log)?;
    if results.is_empty() { Err(format!("go ended with {status}: see {}", log.display())) } else { Ok(results) }
}

/// What each test ended with, by package and name; a package that cannot be built is a test, too.
fn results(log: &Path) -> Outcome<Results> {
    let text = fs::read_to_string(log).map_err(|error| format!("cannot read {}: {error}", log.display()))?;
    Ok(text.lines().filter_map(|line| result(&Json::read(line).ok()?)).collect())
}

fn result(event: &Json) -> Option<(String, TestOutcome)> {
    let name = format!("{} {}", event.text("Package")?, event.text("Test").map_or("as a whole".to_owned(), same_each_time));
    match event.text("Action")? {
        "pass" => Some((name, TestOutcome::Passed)),
        "fail" => Some((name, TestOutcome::Failed("it failed".to_owned()))),
        _ => None,
    }
}

/// A name without the number of a temporary folder.
fn same_each_time(name: &str) -> String {
    match name.split_once("/tmp/") {
        Some((before, after)) => [before, "/tmp/", after.trim_start_matches(|c: char| c.is_ascii_alphanumeric())].concat(),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_of_tests_are_results() {
        let read = |line: &str| result(&Json::read(line).unwrap());
        assert_eq!(read(r#"{"Action":"output","Package":"p","Test":"T","Output":"x"}"#), None);
        assert_eq!(read(r#"{"Action":"pass","Package":"p","Test":"T/sub"}"#), Some(("p T/sub".to_owned(), TestOutcome::Passed)));
        assert_eq!(read(r#"{"Action":"fail","Package":"p"}"#), Some(("p as a whole".to_owned(), TestOutcome::Failed("it failed".to_owned()))));
        let temporary = read(r#"{"Action":"pass","Package":"p","Test":"T/file='/tmp/T12/001/x'"}"#);
        assert_eq!(temporary, Some(("p T/file='/tmp//001/x'".to_owned(), TestOutcome::Passed)));
        assert_eq!(read(r#"{"Action":"skip","Package":"p","Test":"T"}"#), None);
    }
}
