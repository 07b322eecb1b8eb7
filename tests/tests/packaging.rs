//! What is installed: the unit is one that systemd takes and gives up what the gateway does not need, and packages name files that are there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use countersign_tests::gateway::binary;

/// Of ten in tenths; what is left is sockets, the network and the host's file system, read-only.
const EXPOSURE_MAX: &str = "15";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn systemd_analyze(arguments: &[&str], unit: &Path) -> Result<()> {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).env("PAGER", "cat").output().context("systemd-analyze")?;
    let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && !warned.contains("countersign.service:"), "{arguments:?}: {said}{warned}");
    Ok(())
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_leaves_little_exposed() -> Result<()> {
    let unit = workspace().join("packaging/countersign.service");
    systemd_analyze(&["security", "--offline=yes", "--no-pager", "--threshold", EXPOSURE_MAX], &unit)?;
    let folder = tempfile::tempdir()?;
    let ours = folder.path().join("countersign.service");
    let text = fs::read_to_string(unit)?;
    let program = binary()?.display().to_string();
    ensure!(text.contains("ExecStart=/usr/bin/countersign serve "));
    fs::write(&ours, text.replace("/usr/bin/countersign", &program))?;
    systemd_analyze(&["verify", "--man=no"], &ours)?;
    // That a line of it is read at all:
    fs::write(&ours, text.replace("/usr/bin/countersign", &program).replace("NoNewPrivileges=yes", "NoNewPrivileges=perhaps"))?;
    ensure!(systemd_analyze(&["verify", "--man=no"], &ours).is_err());
    Ok(())
}

#[test]
fn packages_are_made_of_files_that_are_there() -> Result<()> {
    let of = workspace().join("crates/cli");
    let manifest: toml::Table = fs::read_to_string(of.join("Cargo.toml"))?.parse()?;
    let deb =
        ["package", "metadata", "deb"].iter().try_fold(&toml::Value::Table(manifest), |table, key| table.get(key)).context("no package")?.clone();
    let assets = deb.get("assets").and_then(toml::Value::as_array).context("no assets")?;
    let sources = assets.iter().filter_map(|asset| asset.get(0)?.as_str()).filter(|source| !source.starts_with("target/"));
    let units = deb.get("systemd-units").and_then(|units| units.get("unit-scripts")).and_then(toml::Value::as_str).context("no units")?;
    let scripts = deb.get("maintainer-scripts").and_then(toml::Value::as_str).context("no scripts")?;
    let named: Vec<String> = sources.map(|source| source.trim_end_matches("*.md").to_owned()).collect();
    ensure!(named.len() > 4, "{named:?}");
    let more = [format!("{units}/countersign.service"), format!("{scripts}/postinst"), format!("{scripts}/postrm")];
    for source in named.iter().chain(&more) {
        ensure!(of.join(source).exists(), "there is no {source}");
    }
    Ok(())
}
