//! `cargo xtask tidy`: the rules of the code base that no compiler checks. Each check returns what it found, by file and
//! line; a rule broken twice becomes a check here or a lint.

mod arrows;
mod documents;
mod rust;
mod source;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::{Outcome, command::workspace};

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    file: PathBuf,
    line: usize,
    message: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// A text file of the repository, its path relative to the root.
#[derive(Debug, Clone)]
struct File {
    path: PathBuf,
    text: String,
}

/// Checks every file of the repository.
///
/// # Errors
/// The rules are broken: how often. Where, is printed.
pub fn run() -> Outcome<()> {
    let root = workspace();
    let files = read_all(&root)?;
    let breaches = check(&files, &|path| root.join(path).exists());
    for breach in &breaches {
        println!("{breach}");
    }
    match breaches.len() {
        0 => {
            println!("tidy: {} files, no rule broken", files.len());
            Ok(())
        }
        count => Err(format!("tidy found {count} breach{}", if count == 1 { "" } else { "es" })),
    }
}

/// All breaches in these files, sorted. `exists` answers for paths relative to the root.
fn check(files: &[File], exists: &dyn Fn(&Path) -> bool) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in files {
        match (file.path.file_name().and_then(|name| name.to_str()), file.path.extension().and_then(|ending| ending.to_str())) {
            (Some("Cargo.toml"), _) => arrows::check_manifest(file, &mut breaches),
            (_, Some("rs")) => rust::check(file, &mut breaches),
            (_, Some("md")) => documents::check(file, files, exists, &mut breaches),
            _ => {}
        }
    }
    breaches.sort();
    breaches.dedup();
    breaches
}

fn read_all(root: &Path) -> Outcome<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != ".git" && name != "target" && name != "corpus" {
                    folders.push(path);
                }
            } else if [".rs", ".toml", ".md"].iter().any(|ending| name.to_string_lossy().ends_with(ending)) {
                let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                let path = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
                files.push(File { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
fn breaches_of(path: &str, text: &str) -> Vec<String> {
    let file = File { path: path.into(), text: text.to_owned() };
    check(&[file], &|_| false).iter().map(ToString::to_string).collect()
}
