//! One version of all that people write: connections, data classes, policies and their tests, read and checked together.
//!
//! A version exists only if every file of it is right; otherwise there is the list of everything that is wrong.

mod cases;
mod classes;
mod connections;
mod problem;
mod reading;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aws_lc_rs::digest;
use model::{Connection, ConnectionName, VersionHash, classes::DataClass};

pub use cases::{Ask, Expectation, Place, PolicyTest};
pub(crate) use classes::applies;
pub(crate) use problem::suggestion;
pub use problem::{Problem, nearest};

use crate::rulebook::{self, Rulebook};
use reading::Page;

/// Files by their path relative to the directory, `/` between folders.
pub type Files = BTreeMap<String, String>;

/// What was written, checked and ready to decide with.
#[derive(Debug)]
pub struct Version {
    /// SHA-256 over policies, connections, data classes and the schema.
    pub hash: VersionHash,
    /// Every connection by its name.
    pub connections: BTreeMap<ConnectionName, Arc<Connection>>,
    /// Every data class, sorted by name.
    pub classes: Vec<DataClass>,
    /// Every policy test, in the order of files and lines.
    pub tests: Vec<PolicyTest>,
    pub(crate) rulebook: Rulebook,
}

impl Version {
    /// Reads and checks `connections/*.toml`, `policy/*.cedar`, `data-classes.toml` and `tests/*.toml`; other files are ignored.
    ///
    /// # Errors
    /// Everything that is wrong in any of them, sorted by place.
    pub fn load(files: &Files) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let sorted = sort(files, &mut problems);
        let connections = load_connections(&sorted, &mut problems);
        let names = sorted.connections.keys().cloned().collect();
        let classes = load_classes(&sorted, &names, &mut problems);
        let rulebook = rulebook::load(&sorted.policies, &mut problems);
        let tests = load_tests(&sorted, &connections, &names, &mut problems);
        problems.sort();
        match rulebook {
            Some(rulebook) if problems.is_empty() => Ok(Self { hash: hash(&sorted), connections, classes, tests, rulebook }),
            _ => Err(problems),
        }
    }

    /// Whether any policy looks at `context.now`: if none does, equal questions have equal answers whenever they are asked.
    #[must_use]
    pub fn looks_at_the_clock(&self) -> bool {
        self.rulebook.looks_at_the_clock()
    }

    /// What is allowed but probably not meant, such as a policy about an environment that no connection is in.
    #[must_use]
    pub fn doubts(&self) -> Vec<Problem> {
        self.rulebook.doubts(&self.connections, &self.classes)
    }
}

/// The considered files, each with its path, by what they are.
#[derive(Default)]
struct Sorted<'f> {
    connections: BTreeMap<ConnectionName, (&'f str, &'f str)>,
    policies: Vec<(&'f str, &'f str)>,
    classes: Option<(&'f str, &'f str)>,
    tests: Vec<(&'f str, &'f str)>,
}

fn sort<'f>(files: &'f Files, problems: &mut Vec<Problem>) -> Sorted<'f> {
    let mut sorted = Sorted::default();
    for (path, text) in files {
        let file = (path.as_str(), text.as_str());
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        match (folder, name.rsplit_once('.')) {
            ("", _) if name == "data-classes.toml" => sorted.classes = Some(file),
            ("connections", Some((stem, "toml"))) if seen(path, name, problems) => match stem.parse() {
                Ok(stem) => drop(sorted.connections.insert(stem, file)),
                Err(error) => problems.push(Problem::at(path, text, 0, format!("the file's name is the connection's: {error}"))),
            },
            ("policy", Some((_, "cedar"))) if seen(path, name, problems) => sorted.policies.push(file),
            ("tests", Some((_, "toml"))) if seen(path, name, problems) => sorted.tests.push(file),
            _ => {}
        }
    }
    sorted
}

/// Whether a file counts. One in a folder below would be passed over without a word, and a forbid lost, so it is a problem.
fn seen(path: &str, name: &str, problems: &mut Vec<Problem>) -> bool {
    if name.starts_with('.') {
        return false;
    }
    let nested = name.contains('/');
    if nested {
        let problem = Problem::at(path, "", 0, "files in folders below are not read");
        problems.push(problem.help("move it up, so that it is read, or give it another ending"));
    }
    !nested
}

fn load_connections(sorted: &Sorted<'_>, problems: &mut Vec<Problem>) -> BTreeMap<ConnectionName, Arc<Connection>> {
    let mut connections = BTreeMap::new();
    for (name, (file, text)) in &sorted.connections {
        let mut page = Page::new(file, text);
        if let Some(connection) = connections::read(&mut page, name.clone()) {
            connections.insert(name.clone(), Arc::new(connection));
        }
        problems.append(&mut page.problems);
    }
    connections
}

fn load_classes(sorted: &Sorted<'_>, names: &BTreeSet<ConnectionName>, problems: &mut Vec<Problem>) -> Vec<DataClass> {
    let Some((file, text)) = sorted.classes else { return Vec::new() };
    let mut page = Page::new(file, text);
    let classes = classes::read(&mut page, names);
    problems.append(&mut page.problems);
    classes
}

fn load_tests(
    sorted: &Sorted<'_>,
    connections: &BTreeMap<ConnectionName, Arc<Connection>>,
    names: &BTreeSet<ConnectionName>,
    problems: &mut Vec<Problem>,
) -> Vec<PolicyTest> {
    // A test of a connection that could not be read would be reported for the wrong reason.
    if connections.len() != names.len() {
        return Vec::new();
    }
    let mut tests = Vec::new();
    for (file, text) in &sorted.tests {
        let mut page = Page::new(file, text);
        tests.append(&mut cases::read(&mut page, connections));
        problems.append(&mut page.problems);
    }
    tests
}

/// SHA-256 over a canonical encoding: a heading, the schema, then each file's path and text in the order of the paths, every item after its
/// length in bytes as eight big-endian octets. Policy tests change no decision and are not part of it.
fn hash(sorted: &Sorted<'_>) -> VersionHash {
    let mut files: BTreeMap<&str, &str> = sorted.policies.iter().copied().collect();
    files.extend(sorted.connections.values().copied());
    files.extend(sorted.classes);
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |item: &str| {
        context.update(&u64::try_from(item.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(item.as_bytes());
    };
    add("countersign policy version 1");
    add(rulebook::SCHEMA);
    for (path, text) in files {
        add(path);
        add(text);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    VersionHash(bytes)
}
