//! Drivers and frameworks for Python: an environment with the driver, and the tests from its source package on PyPI or from a checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Results, TestOutcome};
use crate::{
    Outcome,
    command::{self, cache_folder},
    json::Json,
};

/// What every environment has.
const PYTEST: &[&str] = &["pytest==9.2.0", "pytest-timeout==2.4.0"];

/// An environment with these packages, beside the unpacked source package `tests`, of which the first must be the driver.
pub(super) fn install(tests: &str, packages: &[&str]) -> Outcome<PathBuf> {
    let kit = cache_folder("compare")?.join(tests.replace("==", "-"));
    let made = environment(&kit, packages)?;
    let source = kit.join("source");
    if made || !source.is_dir() {
        println!("fetching the tests of {tests}");
        let fetched = kit.join("fetched");
        let name = tests.split('=').next().unwrap_or_default();
        command::run(pip(&kit).args(["download", "--no-deps", "--no-binary", name, "--dest"]).arg(&fetched).arg(tests))?;
        fs::create_dir_all(&source).map_err(|error| format!("cannot make {}: {error}", source.display()))?;
        for file in fs::read_dir(&fetched).into_iter().flatten().flatten() {
            command::run(Command::new("tar").args(["-x", "--strip-components=1", "-C"]).arg(&source).arg("-f").arg(file.path()))?;
        }
    }
    Ok(kit)
}

/// An environment with these packages, beside a link to a checkout that holds the tests.
pub(super) fn install_beside(name: &str, checkout: &Path, packages: &[&str]) -> Outcome<PathBuf> {
    let kit = cache_folder("compare")?.join(name);
    environment(&kit, packages)?;
    let source = kit.join("source");
    let _ = fs::remove_file(&source);
    std::os::unix::fs::symlink(checkout, &source).map_err(|error| format!("cannot link {}: {error}", source.display()))?;
    Ok(kit)
}

/// Makes the environment of a kit; false if it was there.
fn environment(kit: &Path, packages: &[&str]) -> Outcome<bool> {
    let wanted = [PYTEST, packages].concat();
    let list = kit.join("installed");
    if fs::read_to_string(&list).is_ok_and(|installed| installed == wanted.join(" ")) {
        return Ok(false);
    }
    let _ = fs::remove_dir_all(kit);
    fs::create_dir_all(kit).map_err(|error| format!("cannot make {}: {error}", kit.display()))?;
    command::run(Command::new("python3").args(["-m", "venv"]).arg(kit.join("environment")))?;
    command::run(pip(kit).arg("install").args(&wanted))?;
    fs::write(&list, wanted.join(" ")).map_err(|error| format!("cannot write {}: {error}", list.display()))?;
    Ok(true)
}

fn pip(kit: &Path) -> Command {
    let mut pip = Command::new(python(kit));
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    pip
}

/// The interpreter of a kit's environment.
pub(super) fn python(kit: &Path) -> PathBuf {
    kit.join("environment/bin/python")
}

/// Runs it to its end, whatever that is, and reads the outcomes its tests wrote to the file that `OUTCOMES` names.
pub(super) fn outcomes(command: &mut Command, work: &Path) -> Outcome<Results> {
    let (outcomes, log) = (work.join("outcomes"), work.join("log"));
    let said = |error: std::io::Error| format!("cannot write {}: {error}", log.display());
    let file = fs::File::create(&log).map_err(said)?;
    command.env("OUTCOMES", &outcomes).env("PYTHONDONTWRITEBYTECODE", "1").stdout(file.try_clone().map_err(said)?).stderr(file);
    let status = command.status().map_err(|error| format!("cannot start {}: {error}", command::line(command)))?;
    let text = fs::read_to_string(&outcomes).map_err(|_| format!("it ended with {status} and ran no test: see {}", log.display()))?;
    text.lines().map(outcome).collect()
}

fn outcome(line: &str) -> Outcome<(String, TestOutcome)> {
    let Json::List(fields) = Json::read(line)? else { return Err(format!("not a list: {line}")) };
    match fields.as_slice() {
        [Json::Text(name), Json::Text(outcome)] if outcome == "passed" => Ok((name.clone(), TestOutcome::Passed)),
        [Json::Text(name), Json::Text(outcome)] => Ok((name.clone(), TestOutcome::Failed(outcome.clone()))),
        _ => Err(format!("not an outcome: {line}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_test_and_how_it_ended() {
        assert_eq!(outcome(r#"["a::b[\u00e9]", "passed"]"#), Ok(("a::b[é]".to_owned(), TestOutcome::Passed)));
        assert_eq!(outcome(r#"["a", "failed in call: E"]"#), Ok(("a".to_owned(), TestOutcome::Failed("failed in call: E".to_owned()))));
        assert!(outcome(r#"["a"]"#).is_err() && outcome("{}").is_err());
    }
}
