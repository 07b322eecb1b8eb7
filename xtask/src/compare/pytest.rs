//! Suites that pytest runs: psycopg 3 and 2, asyncpg, pg8000, and SQLAlchemy on each of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Results, Run, Suite, python};
use crate::{Outcome, command};

/// Tells how each test ended.
const PLUGIN: &str = include_str!("outcomes.py");
/// A test that takes longer has failed.
const TEST_SECONDS_MAX: &str = "--timeout=120";

/// Suites that pytest runs.
pub(super) const SUITES: &[Suite] = &[
    Suite {
        name: "psycopg2",
        runs_some: true,
        databases: &["psycopg2_test"],
        makes: &[],
        configuration: &[],
        install: || python::install("psycopg2==2.9.13", &["psycopg2-binary==2.9.13"]),
        run: |run| {
            run.place.sql("create extension hstore")?;
            pytest(run, &["tests"], &[], &["tests"])
        },
    },
    Suite {
        name: "psycopg",
        runs_some: true,
        databases: &["psycopg_test"],
        makes: &[],
        configuration: &[],
        install: install_psycopg,
        run: |run| {
            run.place.sql("create extension hstore")?;
            // Not what checks types, speaks to another server, or counts the driver's own objects, for long; and the pool is no driver.
            let others = ["--ignore=tests/pool", "--ignore=tests/crdb", "-m", "not mypy", "-k", "not test_leak and not _leaks"];
            pytest(run, &["tests", "tools", "pyproject.toml"], &others, &["tests"])
        },
    },
    Suite {
        name: "asyncpg",
        runs_some: true,
        databases: &["asyncpg_test"],
        makes: &["asyncpg_intro_test", "testdb"],
        configuration: &[],
        install: || python::install("asyncpg==0.32.0", &["asyncpg==0.32.0", "distro==1.9.0"]),
        run: |run| pytest(run, &["tests"], &[], &["tests"]),
    },
    Suite {
        name: "pg8000",
        runs_some: true,
        databases: &["postgres"],
        makes: &["pg8000_md5", "pg8000_password", "pg8000_scram_sha_256"],
        configuration: &[],
        install: || python::install("pg8000==1.31.6", &["pg8000==1.31.6", "pytz==2026.6", "pytest-benchmark==5.3.1", "pytest-mock==3.15.1"]),
        run: |run| {
            run.place.sql("create extension hstore")?;
            pytest(run, &["test", "README.md"], &["--ignore-glob=*/auth/*", "--benchmark-disable"], &["test"])
        },
    },
    Suite {
        name: "sqlalchemy",
        runs_some: true,
        databases: &["test"],
        makes: &[],
        configuration: &["default_text_search_config = 'pg_catalog.english'"],
        install: install_sqlalchemy,
        run: sqlalchemy,
    },
];

/// psycopg 3 has its tests in no package.
fn install_psycopg() -> Outcome<PathBuf> {
    let packages = ["psycopg==3.3.9", "psycopg-binary==3.3.9", "psycopg-pool==3.3.3", "anyio==4.16.0", "numpy==2.4.6"];
    python::install_beside("psycopg", super::checkout("psycopg/psycopg")?, &packages)
}

fn install_sqlalchemy() -> Outcome<PathBuf> {
    let drivers = ["psycopg2-binary==2.9.13", "psycopg==3.3.9", "psycopg-binary==3.3.9", "asyncpg==0.32.0", "pg8000==1.31.6"];
    python::install("SQLAlchemy==2.1.9", &[&["SQLAlchemy==2.1.9", "greenlet==3.5.6"], drivers.as_slice()].concat())
}

/// The tests of the dialect, and those that every dialect must pass, with each driver.
fn sqlalchemy(run: &Run<'_>) -> Outcome<Results> {
    run.place.sql("create schema test_schema; create schema test_schema_2; create extension hstore; create extension citext")?;
    let place = run.place;
    let (host, port, user, password, database) = (&place.host, place.port, &place.user, &place.password, &place.database);
    let drivers = ["psycopg2", "psycopg", "psycopg_async", "asyncpg", "pg8000"];
    let uris: Vec<String> =
        drivers.iter().map(|driver| format!("--dburi=postgresql+{driver}://{user}:{password}@{host}:{port}/{database}")).collect();
    let options: Vec<&str> = uris.iter().map(String::as_str).collect();
    pytest(run, &["test", "lib", "pyproject.toml", "setup.cfg"], &options, &["test/dialect/postgresql", "test/dialect/test_suite.py"])
}

/// Runs pytest in a copy of these files of the kit's source: nothing of the driver's own source is there but its tests. `tests` is what it runs of them.
fn pytest(run: &Run<'_>, files: &[&str], options: &[&str], tests: &[&str]) -> Outcome<Results> {
    let folder = copied(run, files)?;
    let mut command = Command::new(python::python(run.kit));
    run.place.tell(&mut command);
    let place = run.place;
    let (host, port, user, password, database) = (&place.host, place.port, &place.user, &place.password, &place.database);
    command.env("PSYCOPG_TEST_DSN", format!("host={host} port={port} user={user} password={password} dbname={database}"));
    command.current_dir(folder).args(["-m", "pytest", "-p", "outcomes", "-q", TEST_SECONDS_MAX, "--tb=short"]).args(options);
    match run.only {
        [] => command.args(tests),
        only => command.args(only),
    };
    python::outcomes(&mut command, run.work)
}

fn copied(run: &Run<'_>, files: &[&str]) -> Outcome<PathBuf> {
    let folder = run.work.join("source");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    for name in files {
        command::run(Command::new("cp").arg("-r").arg(run.kit.join("source").join(name)).arg(&folder))?;
    }
    write(&folder.join("outcomes.py"), PLUGIN)?;
    Ok(folder)
}

fn write(file: &Path, text: &str) -> Outcome<()> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
