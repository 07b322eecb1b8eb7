//! What `countersign init` writes for policy: a small working set to read, change and grow from.

use crate::Files;

/// The starter files by their path. They load, and their policy tests pass.
#[must_use]
pub fn starter_files() -> Files {
    [
        ("connections/README.md", include_str!("connections.md")),
        ("policy/access.cedar", include_str!("access.cedar")),
        ("policy/holds.cedar", include_str!("holds.cedar")),
        ("policy/system.cedar", include_str!("system.cedar")),
        ("data-classes.toml", include_str!("data-classes.toml")),
        ("tests/starter.toml", include_str!("tests.toml")),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{fixtures, trial::run_tests};

    #[test]
    fn the_starter_set_loads_and_its_own_tests_pass() {
        let version = fixtures::load_files(&starter_files());
        let outcomes = run_tests(&version, &BTreeMap::new(), fixtures::now());
        assert!(outcomes.len() > 20, "{}", outcomes.len());
        for outcome in &outcomes {
            assert!(outcome.passed(), "{}:{} {}: {:?}", outcome.test.file, outcome.test.line, outcome.test.name, outcome.differences);
        }
    }

    #[test]
    fn the_example_connection_of_the_readme_loads() {
        let readme = include_str!("connections.md");
        let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let mut files = starter_files();
        files.insert("connections/prod-pg.toml".to_owned(), example.to_owned());
        let version = fixtures::load_files(&files);
        assert_eq!(version.connections.len(), 1);
    }
}
