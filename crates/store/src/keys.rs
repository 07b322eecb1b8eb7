//! The deployment's keys, each a file of its own: `keys/NNNN.<key id>.key`, 32 bytes, readable by the gateway's user only.
//!
//! The highest number wraps what is new; the others open what they wrapped. A key that was lost makes everything it wrapped unreadable
//! for ever, so a new one is made only where nothing was recorded yet, or when [`rotate`] is asked for.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use evidence::{
    DeploymentKey, KeyRing,
    key::{KEY_BYTES, KeyError},
};
use zeroize::Zeroizing;

use crate::recordings;

/// The folder's name in the data directory.
pub const FOLDER: &str = "keys";
const SUFFIX: &str = ".key";
const UNFINISHED: &str = "new";

/// Why the deployment's keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The folder or a file in it cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// What was tried.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error("{} may be read or written by others (mode {mode:o}): assume it is known to them, and if it is not, run: chmod go= {}", path.display(), path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Something in the folder is no key.
    #[error("{} is not a key file of this deployment: {why}", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There are recordings but no key.
    #[error("{} holds no key, but there are recordings that only the lost key opens: restore it from your backup", .0.display())]
    Missing(PathBuf),
    /// A key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl KeysError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}

/// Loads the keys of a data directory; makes the first one if there is neither key nor recording. Only for the holder of the directory's lock.
///
/// # Errors
/// When the folder or a key is unreadable, readable by others, not a key, or missing although there are recordings.
pub fn open(data: &Path) -> Result<KeyRing, KeysError> {
    let folder = data.join(FOLDER);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(KeysError::file(&folder))?;
    check_private(&folder)?;
    let numbered = load(&folder)?;
    if !numbered.is_empty() {
        return ring(numbered, &folder);
    }
    let recorded = recordings::any(data).map_err(KeysError::file(&data.join(recordings::FOLDER)))?;
    if recorded {
        return Err(KeysError::Missing(folder));
    }
    let key = DeploymentKey::generate()?;
    write(&folder, 1, &key)?;
    Ok(KeyRing::new(key, Vec::new()))
}

/// Adds a key that wraps what is new from now on. The older ones stay until [`crate::recordings::Recordings::rewrap`] was run for every recording.
///
/// # Errors
/// As [`open`].
pub fn rotate(data: &Path) -> Result<KeyRing, KeysError> {
    let folder = data.join(FOLDER);
    check_private(&folder)?;
    let older = load(&folder)?;
    let number = older.last().map_or(1, |(number, _)| number.saturating_add(1));
    let key = DeploymentKey::generate()?;
    write(&folder, number, &key)?;
    Ok(KeyRing::new(key, older.into_iter().map(|(_, key)| key).collect()))
}

fn ring(mut numbered: Vec<(u32, DeploymentKey)>, folder: &Path) -> Result<KeyRing, KeysError> {
    let (_, current) = numbered.pop().ok_or_else(|| KeysError::Missing(folder.to_owned()))?;
    Ok(KeyRing::new(current, numbered.into_iter().map(|(_, key)| key).collect()))
}

/// Every key of the folder by its number, lowest first.
fn load(folder: &Path) -> Result<Vec<(u32, DeploymentKey)>, KeysError> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder).map_err(KeysError::file(folder))? {
        let entry = entry.map_err(KeysError::file(folder))?;
        if entry.file_name() != UNFINISHED {
            keys.push(load_one(&entry.path())?);
        }
    }
    keys.sort_by_key(|(number, _)| *number);
    Ok(keys)
}

fn load_one(path: &Path) -> Result<(u32, DeploymentKey), KeysError> {
    let not_a_key = |why: &str| KeysError::NotAKey { path: path.to_owned(), why: why.to_owned() };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (number, id) = name.strip_suffix(SUFFIX).and_then(|stem| stem.split_once('.')).ok_or_else(|| not_a_key("its name is not NNNN.<id>.key"))?;
    let number = number.parse().map_err(|_| not_a_key("its name does not begin with a number"))?;
    check_private(path)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
    let file = File::open(path).map_err(KeysError::file(path))?;
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(KeysError::file(path))?;
    let key = DeploymentKey::from_bytes(&bytes).map_err(|error| not_a_key(&error.to_string()))?;
    if key.id().to_string() != id {
        return Err(not_a_key("it holds another key than its name says"));
    }
    Ok((number, key))
}

/// A key's file appears whole under its name, or not at all.
fn write(folder: &Path, number: u32, key: &DeploymentKey) -> Result<(), KeysError> {
    let unfinished = folder.join(UNFINISHED);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(KeysError::file(&unfinished)(error)),
        // What an interrupted run left was never used.
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(KeysError::file(&unfinished))?;
    file.write_all(key.reveal()).and_then(|()| file.sync_all()).map_err(KeysError::file(&unfinished))?;
    let path = folder.join(format!("{number:04}.{}{SUFFIX}", key.id()));
    fs::rename(&unfinished, &path).map_err(KeysError::file(&path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(KeysError::file(folder))
}

fn check_private(path: &Path) -> Result<(), KeysError> {
    let metadata = fs::symlink_metadata(path).map_err(KeysError::file(path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_symlink() {
        return Err(KeysError::NotAKey { path: path.to_owned(), why: "it is a symbolic link".to_owned() });
    }
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeysError::Open { path: path.to_owned(), mode }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_files(data: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(data.join(FOLDER)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn the_first_key_is_made_once_and_for_its_owner_only() {
        let data = tempfile::tempdir().unwrap();
        let first = open(data.path()).unwrap().current().unwrap().id();
        assert_eq!(open(data.path()).unwrap().current().unwrap().id(), first);
        let files = key_files(data.path());
        assert_eq!(files.len(), 1);
        assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(data.path().join(FOLDER)).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_key_others_may_read_is_refused() {
        let data = tempfile::tempdir().unwrap();
        open(data.path()).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&key_files(data.path())[0], fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(open(data.path()), Err(KeysError::Open { .. })), "{mode:o}");
        }
    }

    #[test]
    fn a_changed_cut_or_linked_key_is_refused() {
        let data = tempfile::tempdir().unwrap();
        open(data.path()).unwrap();
        let file = &key_files(data.path())[0];
        let good = fs::read(file).unwrap();
        for bad in [&good[..31], &[good.as_slice(), b"\n"].concat(), &[9; 32]] {
            fs::write(file, bad).unwrap();
            assert!(matches!(open(data.path()), Err(KeysError::NotAKey { .. })));
        }
        let elsewhere = data.path().join("elsewhere");
        fs::rename(file, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, file).unwrap();
        assert!(matches!(open(data.path()), Err(KeysError::NotAKey { .. })));
    }

    #[test]
    fn what_an_interrupted_run_left_is_no_key() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join(FOLDER)).unwrap();
        fs::set_permissions(data.path().join(FOLDER), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(data.path().join(FOLDER).join(UNFINISHED), b"half").unwrap();
        open(data.path()).unwrap();
        assert_eq!(key_files(data.path()).len(), 1);
    }

    #[test]
    fn rotation_keeps_the_older_keys() {
        let data = tempfile::tempdir().unwrap();
        let first = open(data.path()).unwrap().current().unwrap().id();
        let second = rotate(data.path()).unwrap().current().unwrap().id();
        let ring = open(data.path()).unwrap();
        assert_eq!(ring.current().unwrap().id(), second);
        assert!(ring.get(first).is_some());
    }

    #[test]
    fn no_new_key_where_there_are_recordings() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir_all(data.path().join(recordings::FOLDER).join("2026-11-21")).unwrap();
        fs::write(data.path().join(recordings::FOLDER).join("2026-11-21/s_000000000000.0000.rec"), b"x").unwrap();
        assert!(matches!(open(data.path()), Err(KeysError::Missing(_))));
    }
}
