//! What `login` leaves behind: which server, and a token for its API, in a file only its owner may read.

use std::{
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use model::{IdentityName, Timestamp};
use serde::{Deserialize, Serialize};

/// The token of one sign-in.
#[derive(Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// The server, as `--server` would name it.
    pub(crate) server: String,
    /// PEM of the root its certificate chains to; for servers reached over TLS.
    pub(crate) ca: Option<String>,
    /// Who signed in.
    pub(crate) name: IdentityName,
    /// The token.
    pub(crate) token: api::types::SecretText,
    /// Until when it works.
    pub(crate) expires_at: Timestamp,
}

/// The folder: `COUNTERSIGN_CONFIG_DIR`, else `countersign` in `XDG_CONFIG_HOME`, else in `~/.config`.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("COUNTERSIGN_CONFIG_DIR").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    if let Some(folder) = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()) {
        return Ok(Path::new(&folder).join("countersign"));
    }
    let home = std::env::var_os("HOME").filter(|value| !value.is_empty());
    let Some(home) = home else { bail!("HOME is not set, so there is no place for the token: set COUNTERSIGN_CONFIG_DIR to a folder of yours") };
    Ok(Path::new(&home).join(".config/countersign"))
}

fn file() -> anyhow::Result<PathBuf> {
    Ok(folder()?.join("credentials.json"))
}

/// What the last `login` left, if there was one.
///
/// # Errors
/// The file is there but unreadable, damaged, or readable by others.
pub(crate) fn load() -> anyhow::Result<Option<Credentials>> {
    let path = file()?;
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mode = std::fs::metadata(&path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} may be read by others (mode {:o}): the token in it counts as stolen. Remove it and sign in again.", path.display(), mode & 0o777);
    }
    let found = serde_json::from_str(&text).with_context(|| format!("{} is damaged: remove it and sign in again", path.display()))?;
    Ok(Some(found))
}

/// Keeps a token; the folder becomes 0700 and the file 0600, replaced whole.
pub(crate) fn save(credentials: &Credentials) -> anyhow::Result<PathBuf> {
    let path = file()?;
    write_private(&path, &serde_json::to_vec_pretty(credentials)?)?;
    Ok(path)
}

/// Forgets the token.
pub(crate) fn forget() -> anyhow::Result<()> {
    match std::fs::remove_file(file()?) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot remove the token"),
        _ => Ok(()),
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("a file needs a folder")?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/credentials.json");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
