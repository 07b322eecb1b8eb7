//! `countersign check [DIR]`: is a policy directory right, and do its tests pass? For people and for CI: the exit status is the answer.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use model::{Connection, Timestamp};
use policy::{
    Files, Version,
    classify::postgres::catalog::Catalog,
    masking,
    trial::{TestOutcome, run_tests},
    version::Problem,
};
use serde::Serialize;

use crate::{
    client::Global,
    config::{Config, FILE_NAME},
    output::{Output, Tone},
    policy_files,
    story::counted,
};

/// Folder of the snapshots that policy tests name.
const CATALOGS: &str = "catalogs";
/// The file that names classified columns.
const CLASSES: &str = "data-classes.toml";
/// Largest snapshot that is read, in bytes.
const MAX_CATALOG_BYTES: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// What was found, for programs.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    version: Option<String>,
    problems: Vec<Found>,
    /// Allowed but probably not meant.
    doubts: Vec<Found>,
    tests: Vec<Tested>,
}

#[derive(Debug, Serialize)]
struct Found {
    file: String,
    line: u32,
    column: u32,
    message: String,
    help: Option<String>,
}

#[derive(Debug, Serialize)]
struct Tested {
    file: String,
    line: u32,
    name: String,
    passed: bool,
    differences: Vec<String>,
}

impl From<Problem> for Found {
    fn from(problem: Problem) -> Self {
        Self { file: problem.file, line: problem.line, column: problem.column, message: problem.message, help: problem.help }
    }
}

impl From<TestOutcome<'_>> for Tested {
    fn from(outcome: TestOutcome<'_>) -> Self {
        let test = outcome.test;
        Self { file: test.file.clone(), line: test.line, name: test.name.clone(), passed: outcome.passed(), differences: outcome.differences }
    }
}

pub(crate) fn run(global: &Global, args: &Args) -> anyhow::Result<ExitCode> {
    let report = examine(&args.dir)?;
    global.output().show(&report, |output| told(output, &report))?;
    let good = report.valid && report.tests.iter().all(|test| test.passed);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine(dir: &Path) -> anyhow::Result<Report> {
    if dir.join(FILE_NAME).exists() {
        Config::read(dir)?;
    }
    let files = policy_files::read(dir)?;
    let version = match Version::load(&files) {
        Ok(version) => version,
        Err(problems) => {
            let problems = problems.into_iter().map(Found::from).collect();
            return Ok(Report { valid: false, version: None, problems, doubts: Vec::new(), tests: Vec::new() });
        }
    };
    let catalogs = catalogs(&dir.join(CATALOGS))?;
    let tests = run_tests(&version, &catalogs, Timestamp::now()).into_iter().map(Tested::from).collect();
    let doubts = version.doubts().into_iter().chain(misplaced(&version, &files, &catalogs)).map(Found::from).collect();
    Ok(Report { valid: true, version: Some(version.hash.to_string()), problems: Vec::new(), doubts, tests })
}

/// Classified columns that no snapshot of a connection they could be on has: nothing is masked by them.
fn misplaced(version: &Version, files: &Files, catalogs: &BTreeMap<String, Catalog>) -> Vec<Problem> {
    let here = catalogs.iter().filter_map(|(name, catalog)| Some((version.connections.get(name.as_str())?, catalog)));
    let looked: Vec<_> = here.map(|(on, catalog)| (on, &**catalog.database(), masking::unplaced(version, on, catalog.database(), catalog))).collect();
    let text = files.get(CLASSES).map_or("", String::as_str);
    let mut problems = Vec::new();
    for (class, column) in version.classes.iter().flat_map(|class| class.columns.iter().map(move |column| (class, column))) {
        let could_be = |on: &Connection, database: &str| {
            column.connection.as_ref().is_none_or(|name| *name == on.name) && column.database.as_ref().is_none_or(|name| name == database)
        };
        let mut places = looked.iter().filter(|(on, database, _)| could_be(on, database)).peekable();
        if places.peek().is_some() && places.all(|(_, _, missing)| missing.contains(&(&class.name, column))) {
            let name = format!("{}.{}.{}", column.schema, column.table, column.column);
            let message = format!("the class `{}` names {name}, a column that no catalog snapshot has", class.name);
            let problem = Problem::at(CLASSES, text, text.find(&name).unwrap_or(0), message);
            problems.push(problem.help("a name that is not there masks nothing: correct it, or export the catalog anew if the column is new"));
        }
    }
    problems
}

/// Every `NAME.json` of the folder; none if there is no folder.
fn catalogs(folder: &Path) -> anyhow::Result<BTreeMap<String, Catalog>> {
    let mut catalogs = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(catalogs);
    }
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let (Some(stem), Some("json")) = (path.file_stem().and_then(|stem| stem.to_str()), path.extension().and_then(|ending| ending.to_str()))
        else {
            continue;
        };
        catalogs.insert(stem.to_owned(), catalog(&path)?);
    }
    Ok(catalogs)
}

fn catalog(path: &Path) -> anyhow::Result<Catalog> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > MAX_CATALOG_BYTES {
        bail!("{} has {size} bytes; at most {MAX_CATALOG_BYTES} are read", path.display());
    }
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is no catalog snapshot: write it anew with `countersign catalog export`", path.display()))
}

fn told(output: &Output, report: &Report) -> String {
    let mut lines: Vec<String> = report.problems.iter().map(|problem| one(output, Tone::Bad, "", problem)).collect();
    if !report.valid {
        lines.push(output.paint(Tone::Bad, &format!("{}: this cannot be applied.", counted(report.problems.len() as u64, "problem"))));
        return lines.join("\n");
    }
    lines.extend(report.doubts.iter().map(|doubt| one(output, Tone::Warning, "doubtful: ", doubt)));
    for test in report.tests.iter().filter(|test| !test.passed) {
        lines.push(output.paint(Tone::Bad, &format!("{}:{}: failed: {}", test.file, test.line, model::name::printable(&test.name))));
        lines.extend(test.differences.iter().map(|difference| format!("  {}", model::name::printable(difference))));
    }
    let failed = report.tests.iter().filter(|test| !test.passed).count();
    let version = report.version.as_deref().unwrap_or_default().chars().take(12).collect::<String>();
    let (tone, verdict) = if failed == 0 { (Tone::Good, "passed") } else { (Tone::Bad, "run") };
    let failures = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    lines.push(output.paint(tone, &format!("Version {version} is valid; {} {verdict}{failures}.", counted(report.tests.len() as u64, "test"))));
    lines.join("\n")
}

fn one(output: &Output, tone: Tone, what: &str, found: &Found) -> String {
    let place = output.paint(tone, &format!("{}:{}:{}:", found.file, found.line, found.column));
    let help = found.help.as_ref().map(|help| format!("\n  help: {}", model::name::printable(help))).unwrap_or_default();
    format!("{place} {what}{}{help}", model::name::printable(&found.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_reported_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("policy")).unwrap();
        std::fs::write(folder.path().join("policy/a.cedar"), "permit (principal, action, resource)\n").unwrap();
        let report = examine(folder.path()).unwrap();
        assert!(!report.valid);
        assert_eq!(report.problems[0].file, "policy/a.cedar");
    }

    #[test]
    fn the_starter_set_is_right_and_its_tests_pass() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in policy::starter_files() {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let report = examine(folder.path()).unwrap();
        assert!(report.valid && !report.tests.is_empty(), "{:?}", report.problems);
        assert!(report.tests.iter().all(|test| test.passed));
    }

    #[test]
    fn a_classified_column_that_is_nowhere_is_doubtful() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("policy/a.cedar", "permit (principal in Group::\"a\", action, resource);");
        write(CLASSES, "[email]\ncolumns = [\n  \"public.customers.emial\",\n  \"other/public.customers.email\",\n]\n");
        for name in ["shop", "other"] {
            let text = "protocol = \"postgres\"\nhost = \"db\"\ndatabase = \"shop\"\nenvironment = \"production\"\nuser = \"u\"\n";
            write(&format!("connections/{name}.toml"), text);
        }
        assert!(examine(folder.path()).unwrap().doubts.is_empty(), "without a snapshot nothing is known");
        write("catalogs/shop.json", &serde_json::to_string(&Catalog::default()).unwrap());
        let doubts = examine(folder.path()).unwrap().doubts;
        assert_eq!(doubts.len(), 1, "{doubts:?}");
        assert_eq!((doubts[0].file.as_str(), doubts[0].line, doubts[0].column), (CLASSES, 3, 4));
        assert!(doubts[0].message.contains("public.customers.emial"), "{doubts:?}");
    }

    #[test]
    fn a_damaged_snapshot_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(CATALOGS)).unwrap();
        std::fs::write(folder.path().join("catalogs/prod-pg.json"), "{").unwrap();
        let error = examine(folder.path()).unwrap_err().to_string();
        assert!(error.contains("catalog export"), "{error}");
    }
}
