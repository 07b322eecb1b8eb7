//! The files of a policy directory, read into memory as `policy` wants them.

use std::path::Path;

use anyhow::{Context, bail};
use policy::Files;

/// Folders whose files belong to a version, with the ending that counts in each.
const FOLDERS: [(&str, &str); 3] = [("connections", "toml"), ("policy", "cedar"), ("tests", "toml")];
/// Most that is read of one directory, in bytes: far above any real policy, far below what would hurt.
const MAX_TOTAL_BYTES: usize = 16 << 20;
/// Folders below folders are looked into this deep, so that a file put too deep is reported instead of passed over.
const MAX_DEPTH: u8 = 4;

/// Reads every file that belongs to a policy version.
///
/// # Errors
/// The directory is missing or something in it cannot be read, is not UTF-8, or is too much.
pub(crate) fn read(directory: &Path) -> anyhow::Result<Files> {
    if !directory.is_dir() {
        bail!("{} is no directory. `countersign init {}` writes a working set of files.", directory.display(), directory.display());
    }
    let mut files = Files::new();
    for (folder, ending) in FOLDERS {
        let path = directory.join(folder);
        if path.is_dir() {
            read_folder(&path, folder, ending, MAX_DEPTH, &mut files)?;
        }
    }
    let classes = directory.join("data-classes.toml");
    if classes.exists() {
        files.insert("data-classes.toml".to_owned(), read_file(&classes)?);
    }
    let total: usize = files.values().map(String::len).sum();
    if total > MAX_TOTAL_BYTES {
        bail!("the files in {} have {total} bytes together; at most {MAX_TOTAL_BYTES} are read", directory.display());
    }
    Ok(files)
}

fn read_folder(path: &Path, prefix: &str, ending: &str, depth: u8, files: &mut Files) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", path.display()))?;
        let Ok(name) = entry.file_name().into_string() else { bail!("{} has a name that is not UTF-8", entry.path().display()) };
        let (inside, below) = (entry.path(), format!("{prefix}/{name}"));
        if name.starts_with('.') {
            continue;
        }
        if inside.is_dir() && depth > 0 {
            read_folder(&inside, &below, ending, depth - 1, files)?;
        } else if Path::new(&name).extension().is_some_and(|found| found == ending) {
            files.insert(below, read_file(&inside)?);
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > MAX_TOTAL_BYTES as u64 {
        bail!("{} has {size} bytes; at most {MAX_TOTAL_BYTES} are read", path.display());
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_version_are_read_and_deep_ones_are_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        for path in [
            "countersign.toml",
            "data-classes.toml",
            "policy/a.cedar",
            "policy/deep/b.cedar",
            "policy/.a.cedar.swp",
            "policy/.old/c.cedar",
            "policy/README.md",
            "connections/p.toml",
            "tests/t.toml",
            "data/state.toml",
        ] {
            write(path);
        }
        let files = read(folder.path()).unwrap();
        let read: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(read, ["connections/p.toml", "data-classes.toml", "policy/a.cedar", "policy/deep/b.cedar", "tests/t.toml"]);
    }

    #[test]
    fn a_missing_directory_says_how_to_get_one() {
        let error = read(Path::new("/nonexistent/policy")).unwrap_err().to_string();
        assert!(error.contains("countersign init"), "{error}");
    }
}
