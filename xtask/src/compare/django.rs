//! Django: the parts of its own suite that speak to a database, from its source package on PyPI.

use std::{fs, process::Command};

use super::{Results, Run, Suite, python};
use crate::{Outcome, command};

/// What the suite is told: where the databases are, and how to tell what came of each test.
const FILES: &[(&str, &str)] =
    &[("django_settings.py", include_str!("django_settings.py")), ("django_outcomes.py", include_str!("django_outcomes.py"))];

/// Those parts.
const PARTS: &[&str] = &[
    "backends",
    "queries",
    "schema",
    "introspection",
    "inspectdb",
    "transactions",
    "transaction_hooks",
    "select_for_update",
    "postgres_tests",
    "constraints",
    "indexes",
    "lookup",
    "expressions",
    "aggregation",
    "bulk_create",
    "db_functions",
    "migrations",
    "multiple_database",
    "raw_query",
];

/// Django's suite.
pub(super) const SUITES: &[Suite] = &[Suite {
    name: "django",
    runs_some: false,
    databases: &["django", "django_other"],
    makes: &["test_django", "test_django_other"],
    configuration: &[],
    install: || {
        let drivers = ["psycopg==3.3.9", "psycopg-binary==3.3.9"];
        let others = ["Django==5.2.19", "sqlparse==0.6.1", "asgiref==3.13.0"];
        python::install("Django==5.2.19", &[others.as_slice(), drivers.as_slice()].concat())
    },
    run,
}];

fn run(run: &Run<'_>) -> Outcome<Results> {
    let folder = run.work.join("tests");
    command::run(Command::new("cp").arg("-r").arg(run.kit.join("source/tests")).arg(&folder))?;
    for (name, text) in FILES {
        fs::write(folder.join(name), text).map_err(|error| format!("cannot write {name}: {error}"))?;
    }
    let mut tests = Command::new(python::python(run.kit));
    run.place.tell(&mut tests);
    tests.current_dir(&folder).args(["runtests.py", "--settings=django_settings", "--parallel=1", "--noinput", "--verbosity=0"]).args(PARTS);
    python::outcomes(&mut tests, run.work)
}
