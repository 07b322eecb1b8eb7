//! pgjdbc: the tests of a checkout, compiled against the driver as Maven Central has it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Results, Run, Suite, python};
use crate::{
    Outcome,
    command::{cache_folder, capture},
};

/// The driver, and what its tests use.
const PACKAGES: &str = include_str!("pom.xml");
/// Runs the tests, and tells how each ended.
const RUNNER: &str = include_str!("Outcomes.java");
/// Where a checkout has what is compiled: the tests, and what they share with those of other modules.
const SOURCES: &[&str] = &["pgjdbc/src/test/java", "testkit/src/main/java"];
const RESOURCES: &str = "pgjdbc/src/test/resources";
/// All of it is cut off after that.
const SECONDS_MAX: &str = "5400";
/// As pgjdbc's build has it, one test after the other: the memory, a language that writes letters otherwise, and how long a test may take.
const OPTIONS: &[&str] = &["-Xmx1536m", "-Duser.language=TR", "-Duser.country=tr", "-Djunit.jupiter.execution.timeout.default=5m"];

/// Suites of drivers for Java.
pub(super) const SUITES: &[Suite] = &[Suite {
    name: "pgjdbc",
    runs_some: false,
    databases: &["test", "test_2"],
    makes: &["authtest"],
    configuration: &["wal_level = logical", "max_locks_per_transaction = 256"],
    install,
    run,
}];

fn install() -> Outcome<PathBuf> {
    let checkout = super::checkout("pgjdbc/pgjdbc")?;
    let kit = cache_folder("compare")?.join("pgjdbc");
    let classes = kit.join("classes");
    let said = |error: std::io::Error| format!("cannot prepare {}: {error}", kit.display());
    let _ = fs::remove_dir_all(&classes);
    fs::create_dir_all(&classes).map_err(said)?;
    fs::write(kit.join("pom.xml"), PACKAGES).map_err(said)?;
    fs::write(kit.join("Outcomes.java"), RUNNER).map_err(said)?;
    capture(Command::new("mvn").args(["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=packages"]).current_dir(&kit))?;
    let sources = capture(Command::new("find").args(SOURCES).args(["-name", "*.java"]).current_dir(checkout))?;
    let mut compiler = Command::new("javac");
    compiler.args(["-nowarn", "-proc:none", "-encoding", "UTF-8", "-cp"]).arg(kit.join("packages/*")).arg("-d").arg(&classes);
    capture(compiler.arg(kit.join("Outcomes.java")).args(sources.lines()).current_dir(checkout))?;
    Ok(kit)
}

fn run(run: &Run<'_>) -> Outcome<Results> {
    let place = run.place;
    place.sql("create extension hstore")?;
    let checkout = super::checkout("pgjdbc/pgjdbc")?;
    let (classes, resources) = (run.kit.join("classes"), checkout.join(RESOURCES));
    let mut java = Command::new("timeout");
    place.tell(&mut java);
    java.current_dir(run.work).args([SECONDS_MAX, "java"]).args(OPTIONS).args(properties(run, checkout)).arg("-cp");
    java.arg(format!("{}:{}:{}", classes.display(), resources.display(), run.kit.join("packages/*").display()));
    python::outcomes(java.arg("Outcomes").arg(&classes), run.work)
}

/// Where the tests find the server, and as whom they sign in: one user is both of those they want.
fn properties(run: &Run<'_>, checkout: &Path) -> Vec<String> {
    let place = run.place;
    let port = place.port.to_string();
    let checkout = checkout.to_string_lossy();
    let named = [
        ("build.properties.relative.path", checkout.as_ref()),
        ("test.url.PGHOST", &place.host),
        ("test.url.PGPORT", &port),
        ("test.url.PGDBNAME", &place.database),
        ("user", &place.user),
        ("password", &place.password),
        ("privilegedUser", &place.user),
        ("privilegedPassword", &place.password),
    ];
    named.iter().map(|(name, value)| format!("-D{name}={value}")).collect()
}
