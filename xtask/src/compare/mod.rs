//! `cargo xtask compare`: published test suites, run straight against a PostgreSQL and through Countersign in front of
//! one, and what differs. Every run of a suite has a server of its own, so that none sees what another left.

mod allowed;
mod difference;
mod django;
mod gateway;
mod go;
mod java;
mod libpq;
mod node;
mod pg_regress;
mod place;
mod postgres_source;
mod programs;
mod pytest;
mod python;
mod rust;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Instant,
};

use self::{
    allowed::Allowed,
    difference::{Difference, differences},
    gateway::Gateway,
    place::{Place, Target},
};
use crate::{
    Outcome,
    command::{self, cargo},
    install,
    postgres::ServerUser,
};

/// The suites, in the order they are run.
const SUITES: &[&[Suite]] =
    &[pg_regress::SUITES, libpq::SUITES, programs::SUITES, pytest::SUITES, django::SUITES, go::SUITES, node::SUITES, java::SUITES, rust::SUITES];

/// Suites whose tests are in no package: they are run from a checkout, which `--source DIR` names, against the driver in its package.
const FROM_A_CHECKOUT: &[&str] = &["psycopg", "node-postgres", "pgjdbc"];

/// Where `--source` says the checkout is.
static CHECKOUT: OnceLock<PathBuf> = OnceLock::new();

/// A published test suite.
pub(super) struct Suite {
    /// What people type to choose it.
    name: &'static str,
    /// Databases that are there when it begins, besides `postgres` and `template1`; the first is [`Place::database`].
    databases: &'static [&'static str],
    /// Databases it makes for itself and connects to.
    makes: &'static [&'static str],
    /// Lines for `postgresql.conf`.
    configuration: &'static [&'static str],
    /// Fetches and builds what it needs, once for both runs; returns the folder that holds it, below the user's cache.
    install: fn() -> Outcome<PathBuf>,
    /// Runs all of it. An error is for what keeps it from running at all, not for tests that fail.
    run: fn(&Run<'_>) -> Outcome<Results>,
    /// Whether it can run tests by their names.
    runs_some: bool,
}

/// One run of a suite.
pub(super) struct Run<'a> {
    /// Where it is to connect.
    place: &'a Place,
    /// What [`Suite::install`] returned.
    kit: &'a Path,
    /// An empty folder for this run; it belongs to [`Run::server_user`].
    work: &'a Path,
    /// The user the server runs as: suites that have the server read and write their files run as the same.
    server_user: ServerUser,
    /// The tests to run, for suites that can run some; all of them if it is empty.
    only: &'a [String],
}

/// How each test of a suite ended, by its name.
pub(super) type Results = BTreeMap<String, TestOutcome>;

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TestOutcome {
    /// It passed.
    Passed,
    /// It failed: with what it said, as far as that is the same each time.
    Failed(String),
    /// It ran to its end and printed this, which is to be the same both ways.
    Printed(String),
}

/// The checkout of a repository that a suite's tests are in.
fn checkout(repository: &str) -> Outcome<&'static Path> {
    CHECKOUT.get().map(PathBuf::as_path).ok_or_else(|| format!("its tests are in no package: name a checkout of {repository} with --source DIR"))
}

/// Compares the suites of these names, all of them that need no checkout if none is named. `--source DIR` names the checkout of one that does.
///
/// # Errors
/// A suite could not be run, or something differs that is not on the list of what may.
pub fn run(arguments: &[&str]) -> Outcome<()> {
    let names = match arguments {
        [names @ .., "--source", folder] => {
            let folder = fs::canonicalize(folder).map_err(|error| format!("cannot read {folder}: {error}"))?;
            let _ = CHECKOUT.set(folder);
            names.to_vec()
        }
        names => names.to_vec(),
    };
    let suites = chosen(&names)?;
    install::for_demo()?;
    let binary = binary()?;
    let allowed = Allowed::read()?;
    let work = work_folder()?;
    let mut lines = Vec::new();
    let mut unexplained = 0;
    for suite in suites {
        let began = Instant::now();
        println!("\n== {} ==", suite.name);
        let (direct, through) = both(suite, &binary, &work.join(suite.name), &[])?;
        if direct.is_empty() {
            return Err(format!("{} has no test that was run direct: nothing was compared", suite.name));
        }
        let found = differences(&direct, &through);
        let (explained, rest): (Vec<&Difference>, Vec<&Difference>) = found.iter().partition(|it| allowed.reason(suite.name, &it.test).is_some());
        let (direct_alone, rest): (Vec<&Difference>, Vec<&Difference>) = rest.into_iter().partition(|it| it.is_of_direct_alone());
        let (races, rest) = races(suite, &binary, &work, rest)?;
        for it in &explained {
            println!("  differs, as it may: {} ({})", it.line(), allowed.reason(suite.name, &it.test).unwrap_or_default());
        }
        for it in &direct_alone {
            println!("  does not pass without the gateway: {}", it.test);
        }
        for it in &races {
            println!("  differed once, and in {REPEATS} runs by itself no more: {}", it.line());
        }
        for it in &rest {
            println!("  DIFFERS: {}", it.line());
        }
        difference::write_details(&work.join(suite.name).join("differences.txt"), &found)?;
        unexplained += rest.len();
        lines.push(format!(
            "{:>16}: {} tests, {} pass direct, {} through; {} differ as they may, {} once only, {} otherwise ({} s)",
            suite.name,
            direct.len(),
            passed(&direct),
            passed(&through),
            explained.len(),
            races.len(),
            rest.len(),
            began.elapsed().as_secs()
        ));
    }
    println!("\n{}\ndetails are in {}", lines.join("\n"), work.display());
    if unexplained == 0 { Ok(()) } else { Err(format!("{unexplained} tests differ without a reason on the list")) }
}

/// How often tests that differ are run by themselves.
const REPEATS: usize = 3;
/// More than these are no race.
const RACES_MAX: usize = 10;

/// Those of the differing tests that end alike whenever they are run by themselves, and the others. Tests that wait for each other by the clock fail now
/// and then with or without a gateway.
fn races<'a>(suite: &Suite, binary: &Path, work: &Path, differing: Vec<&'a Difference>) -> Outcome<(Vec<&'a Difference>, Vec<&'a Difference>)> {
    if differing.is_empty() || differing.len() > RACES_MAX || !suite.runs_some {
        return Ok((Vec::new(), differing));
    }
    let names: Vec<String> = differing.iter().map(|it| it.test.clone()).collect();
    let mut again = Vec::new();
    for repeat in 1..=REPEATS {
        again.push(both(suite, binary, &work.join(format!("{}-again-{repeat}", suite.name)), &names)?);
    }
    let alike =
        |it: &&Difference| again.iter().all(|(direct, through)| direct.contains_key(&it.test) && direct.get(&it.test) == through.get(&it.test));
    Ok(differing.into_iter().partition(alike))
}

fn passed(results: &Results) -> usize {
    results.values().filter(|outcome| !matches!(outcome, TestOutcome::Failed(_))).count()
}

fn chosen(names: &[&str]) -> Outcome<Vec<&'static Suite>> {
    let all = || SUITES.iter().flat_map(|group| group.iter());
    if let Some(unknown) = names.iter().find(|name| !all().any(|suite| suite.name == **name)) {
        let known: Vec<&str> = all().map(|suite| suite.name).collect();
        return Err(format!("there is no suite {unknown}; there are {}", known.join(", ")));
    }
    let unnamed = |suite: &Suite| names.is_empty() && !FROM_A_CHECKOUT.contains(&suite.name);
    Ok(all().filter(|suite| unnamed(suite) || names.contains(&suite.name)).collect())
}

/// The results of both runs, direct first: of the whole suite, or of `only` these tests.
fn both(suite: &Suite, binary: &Path, work: &Path, only: &[String]) -> Outcome<(Results, Results)> {
    let kit = (suite.install)()?;
    let server_user = ServerUser::find()?;
    let run = |way: &str, place: &Place| {
        let work = work.join(way);
        server_user.make_folder(&work)?;
        println!("running {} {way}", suite.name);
        (suite.run)(&Run { place, kit: &kit, work: &work, server_user, only })
    };
    server_user.make_folder(work)?;
    let direct = run("direct", &Target::start(suite)?.place())?;
    let target = Target::start(suite)?;
    let gateway = Gateway::start(binary, &target, suite, &work.join("gateway"))?;
    let through = run("through", &gateway.place())?;
    Ok((direct, through))
}

/// The program to compare: `COUNTERSIGN_BIN`, else as this source builds it.
fn binary() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os("COUNTERSIGN_BIN") {
        return Ok(PathBuf::from(named));
    }
    println!("building countersign");
    command::run(&mut cargo(&["build", "--package", "countersign"]))?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(own.with_file_name("countersign"))
}

/// The folder of all runs, emptied: everybody may enter it, since servers run as another user than root.
fn work_folder() -> Outcome<PathBuf> {
    let folder = std::env::temp_dir().join(format!("countersign-compare-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    ServerUser::find()?.make_folder(&folder)?;
    Ok(folder)
}
