//! Rules for the documents: links lead somewhere, and files that are named exist.

use std::path::{Component, Path, PathBuf};

use super::{Breach, File};

/// Endings of the names that ARCHITECTURE.md must not get wrong.
const NAMED_FILES: &[&str] = &[".rs", ".toml", ".md", ".cedar", ".sql", ".py", ".json"];

pub(super) fn check(file: &File, all: &[File], exists: &dyn Fn(&Path) -> bool, breaches: &mut Vec<Breach>) {
    let mut in_code = false;
    for (index, line) in file.text.lines().enumerate() {
        let mut add = |message: String| breaches.push(Breach { file: file.path.clone(), line: index + 1, message });
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            links(line).filter_map(|target| dead(&file.path, target, &file.text, all, exists)).for_each(&mut add);
        }
        if file.path == Path::new("ARCHITECTURE.md") && !in_code {
            file_names(line).filter(|name| !is_known(name, all, exists)).map(|name| format!("there is no file {name}")).for_each(&mut add);
        }
    }
}

/// The targets of the links and images of a line, `[text](target)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let without_code = line.split('`').step_by(2);
    without_code.flat_map(|part| part.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()))
}

/// Why a link leads nowhere.
fn dead(from: &Path, target: &str, own_text: &str, all: &[File], exists: &dyn Fn(&Path) -> bool) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let resolved = normal(&from.parent().unwrap_or(Path::new("")).join(path));
    let known = all.iter().find(|file| file.path == resolved);
    if !path.is_empty() && known.is_none() && !exists(&resolved) {
        return Some(format!("the link to {target} leads nowhere"));
    }
    let text = if path.is_empty() { own_text } else { known.map(|file| file.text.as_str())? };
    let anchor = anchor?;
    (!text.lines().any(|line| line.starts_with('#') && slug(line) == anchor)).then(|| format!("no heading answers to the link {target}"))
}

fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// The anchor a heading gets.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Names of files between backticks.
fn file_names(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split('`').skip(1).step_by(2);
    code.map(|name| name.split("::").next().unwrap_or(name).trim_end_matches('/'))
        .filter(|name| NAMED_FILES.iter().any(|ending| name.ends_with(ending) && name.len() > ending.len()) || name.starts_with("crates/"))
        .filter(|name| !name.contains(['*', '<', '{', ' ', '$']) && !name.chars().any(char::is_uppercase) || name.ends_with(".md"))
}

/// Whether a name is that of a file of the repository: its path from the root, or the end of it.
fn is_known(name: &str, all: &[File], exists: &dyn Fn(&Path) -> bool) -> bool {
    exists(Path::new(name)) || all.iter().any(|file| file.path.ends_with(name))
}

#[cfg(test)]
mod tests {
    use super::{super::check as check_all, *};

    fn breaches(path: &str, text: &str) -> Vec<String> {
        let files = [
            File { path: path.into(), text: text.to_owned() },
            File { path: "docs/holds.md".into(), text: "# Holds\n\n## Who may sign?\n".to_owned() },
            File { path: "crates/session/src/ask.rs".into(), text: String::new() },
        ];
        check_all(&files, &|path| path == Path::new("LICENSE")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_lead_somewhere() {
        let good = "[a](docs/holds.md) [b](docs/holds.md#who-may-sign) [c](LICENSE) [d](https://example.org/x) [e](#here)\n\n## Here\n`[f](no.md)`\n```\n[g](no.md)\n```";
        assert!(breaches("README.md", good).is_empty(), "{:?}", breaches("README.md", good));
        assert_eq!(breaches("README.md", "x\n[a](docs/absent.md)"), ["README.md:2: the link to docs/absent.md leads nowhere"]);
        assert_eq!(breaches("README.md", "[a](docs/holds.md#absent)").len(), 1);
        assert_eq!(breaches("docs/start.md", "[a](holds.md) [b](../LICENSE) [c](LICENSE)").len(), 1);
    }

    #[test]
    fn the_architecture_names_files_that_exist() {
        assert!(
            breaches("ARCHITECTURE.md", "`crates/session/src/ask.rs`, `session/src/ask.rs`, `ask.rs`, `connections/NAME.toml`, `guard.apply()`")
                .is_empty()
        );
        assert_eq!(breaches("ARCHITECTURE.md", "see `session/ask.rs`"), ["ARCHITECTURE.md:1: there is no file session/ask.rs"]);
        assert!(breaches("README.md", "see `session/ask.rs`").is_empty(), "only there");
    }
}
