//! Which crate may know which: DESIGN's order, read from the manifests.

use std::path::Path;

use super::{Breach, File};

/// The crates of the product, lowest first. A crate may depend on those of lower layers only.
const LAYERS: &[&[&str]] =
    &[&["model"], &["protocol", "policy", "identity", "evidence"], &["store"], &["session"], &["gateway", "review", "api"], &["cli"]];

/// Libraries that only these crates may use, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("sqlx", &["store"], "store is the only crate that knows SQL"),
    ("rusqlite", &[], "sqlx and rusqlite link two copies of SQLite; store uses sqlx"),
    ("socket2", &["gateway"], "sockets to callers and targets belong to gateway"),
    ("pg_query", &["policy"], "statements are understood in policy alone"),
    ("cedar-policy", &["policy"], "decisions are made in policy alone"),
    ("axum", &["api"], "the HTTP API is in api"),
    ("clap", &["cli"], "only the command line reads arguments"),
    ("anyhow", &["cli"], "libraries name their errors; anyhow is for cli, xtask and tests"),
    ("rand", &[], "randomness comes from aws-lc-rs"),
    ("tokio-postgres", &[], "the wire is ours; drivers are for tests"),
];

/// Libraries that these crates may not use: they get bytes, the time and randomness as parameters.
const PURE: &[&str] = &["model", "protocol", "policy"];
const IMPURE_LIBRARIES: &[&str] =
    &["tokio", "tokio-rustls", "rustls", "mio", "hyper", "reqwest", "rustix", "libc", "tempfile", "tracing", "futures-util"];

pub(super) fn check_manifest(file: &File, breaches: &mut Vec<Breach>) {
    let dependencies = dependencies(&file.text);
    let breach = |line: usize, message: String| Breach { file: file.path.clone(), line, message };
    if file.path == Path::new("xtask/Cargo.toml") {
        breaches.extend(dependencies.iter().map(|it| breach(it.line, format!("xtask depends on nothing, so not on {}", it.name))));
    }
    let Some(own) = crate_of(&file.path) else { return };
    let Some(layer) = layer_of(own) else {
        if own != "testkit" {
            breaches.push(breach(1, format!("crate {own} has no place in the order of crates; give it one in xtask/src/tidy/arrows.rs")));
        }
        return;
    };
    for dependency in dependencies {
        let name = dependency.name.as_str();
        let why = match layer_of(name) {
            Some(other) if other >= layer => Some(format!("{own} may not know {name}: arrows point from higher crates to lower ones")),
            None if dependency.for_tests => None,
            None if name == "testkit" => Some("testkit is for tests alone".to_owned()),
            None if PURE.contains(&own) && IMPURE_LIBRARIES.contains(&name) => {
                Some(format!("{own} takes bytes, time and randomness as parameters, so it does without {name}"))
            }
            None => RESERVED
                .iter()
                .find(|(reserved, crates, _)| *reserved == name && !crates.contains(&own))
                .map(|(_, _, why)| format!("{own} may not use {name}: {why}")),
            Some(_) => None,
        };
        breaches.extend(why.map(|message| breach(dependency.line, message)));
    }
}

/// The name of the crate a file belongs to: the folder below `crates/`.
pub(super) fn crate_of(path: &Path) -> Option<&str> {
    let mut parts = path.iter();
    (parts.next()? == "crates").then(|| parts.next().and_then(|name| name.to_str())).flatten()
}

fn layer_of(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[derive(Debug)]
struct Dependency {
    line: usize,
    name: String,
    for_tests: bool,
}

/// The dependencies of a manifest, as its tables name them.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut table = "";
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']');
            if let Some((outer, name)) = table.rsplit_once('.').filter(|(outer, _)| outer.ends_with("dependencies")) {
                found.push(Dependency { line: index + 1, name: name.to_owned(), for_tests: outer.contains("dev-") });
            }
        } else if table.ends_with("dependencies") && !table.starts_with("workspace") && !line.starts_with('#') {
            let name: String = line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
            if !name.is_empty() && line.contains('=') {
                found.push(Dependency { line: index + 1, name, for_tests: table.contains("dev-") });
            }
        }
    }
    found.retain(|it| it.name != "dependencies");
    found
}

#[cfg(test)]
mod tests {
    use super::super::breaches_of;

    fn manifest(name: &str, text: &str) -> Vec<String> {
        breaches_of(&format!("crates/{name}/Cargo.toml"), text)
    }

    #[test]
    fn arrows_point_downwards() {
        assert!(manifest("session", "[dependencies]\nstore.workspace = true\npolicy = { path = \"../policy\" }").is_empty());
        for (name, text) in [
            ("store", "[dependencies]\nsession.workspace = true"),
            ("policy", "[dependencies]\nprotocol.workspace = true"),
            ("api", "[dependencies]\ngateway = { workspace = true }"),
            ("model", "[dev-dependencies]\npolicy.workspace = true"),
            ("evidence", "[dependencies.store]\nworkspace = true"),
        ] {
            assert_eq!(manifest(name, text).len(), 1, "{name}: {text}");
        }
    }

    #[test]
    fn reserved_libraries_stay_where_they_belong() {
        assert!(manifest("store", "[dependencies]\nsqlx.workspace = true").is_empty());
        assert_eq!(
            manifest("session", "[package]\nname = \"x\"\n\n[dependencies]\nsqlx.workspace = true"),
            ["crates/session/Cargo.toml:5: session may not use sqlx: store is the only crate that knows SQL"]
        );
        assert_eq!(manifest("protocol", "[dependencies]\ntokio.workspace = true").len(), 1);
        assert!(manifest("protocol", "[dev-dependencies]\ntokio.workspace = true").is_empty(), "tests may");
    }

    #[test]
    fn testkit_is_for_tests() {
        assert!(manifest("gateway", "[dev-dependencies]\ntestkit.workspace = true").is_empty());
        assert_eq!(manifest("gateway", "[dependencies]\ntestkit.workspace = true").len(), 1);
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        assert_eq!(manifest("helpers", "[dependencies]").len(), 1);
    }

    #[test]
    fn xtask_depends_on_nothing() {
        assert_eq!(breaches_of("xtask/Cargo.toml", "[dependencies]\nanyhow = \"1\"").len(), 1);
    }
}
