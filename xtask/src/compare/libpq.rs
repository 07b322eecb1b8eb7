//! libpq's own tests: `libpq_pipeline`, each with the protocol messages it traced, and the examples of PostgreSQL's manual.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Results, Run, Suite, TestOutcome, postgres_source::Source};
use crate::{Outcome, command};

/// Suites of libpq.
pub(super) const SUITES: &[Suite] = &[Suite {
    name: "libpq_pipeline",
    databases: &["pipeline"],
    makes: &[],
    configuration: &[],
    install: install_pipeline,
    run: pipeline,
    runs_some: false,
}];

const PIPELINE: &str = "src/test/modules/libpq_pipeline";
/// Rows of the tests that take a number of them, as PostgreSQL runs them.
const ROWS: &str = "700";

fn install_pipeline() -> Outcome<PathBuf> {
    let source = Source::fetch()?;
    let program = source.folder().join("libpq_pipeline");
    if !program.is_file() {
        let mut compiler = source.compiler();
        compiler.arg("-o").arg(&program).arg(source.file(PIPELINE).join("libpq_pipeline.c")).args(source.client_libraries());
        command::run(&mut compiler)?;
    }
    Ok(source.folder().to_path_buf())
}

fn pipeline(run: &Run<'_>) -> Outcome<Results> {
    let program = run.work.join("libpq_pipeline");
    fs::copy(run.kit.join("libpq_pipeline"), &program).map_err(|error| format!("cannot copy libpq_pipeline: {error}"))?;
    let tests = command::capture(run.server_user.command(&program).arg("tests"))?;
    tests.split_whitespace().map(|test| Ok((test.to_owned(), pipeline_test(run, &program, test)?))).collect()
}

/// What a test traced is part of how it ended.
fn pipeline_test(run: &Run<'_>, program: &Path, test: &str) -> Outcome<TestOutcome> {
    let trace = run.work.join(format!("{test}.trace"));
    let mut command = run.server_user.command(program);
    run.place.tell(&mut command);
    command.args(["-r", ROWS, "-t"]).arg(&trace).arg(test).arg(format!("dbname={}", run.place.database));
    let output = command.output().map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let read = |file: &Path| fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let traced = read(&trace).unwrap_or_default();
    let expected = read(&run.kit.join("source").join(PIPELINE).join("traces").join(format!("{test}.trace")));
    Ok(match expected {
        _ if !output.status.success() => TestOutcome::Failed(String::from_utf8_lossy(&output.stderr).into_owned()),
        Ok(expected) if expected != traced => TestOutcome::Failed(format!("it traced:\n{traced}")),
        _ => TestOutcome::Passed,
    })
}
