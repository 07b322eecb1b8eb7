//! One process to a data directory.
//!
//! The lock is the kernel's (`flock`), so it is gone the moment its holder is, however that ended; the process id in the file only names the holder.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::StoreError;

/// The file's name in the data directory.
const FILE: &str = "lock";

/// Held as long as the store is open.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    /// Takes the directory, or says who has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let failed = |error| StoreError::directory(&path, error);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { pid: holder(&mut file), directory: directory.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let note = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        note.map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for DirectoryLock {
    /// Unlocks, rather than only closing: a child process that is being started at this moment still has a copy of the descriptor, and with
    /// it the lock, until it runs its own program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the data directory could not be unlocked; it is when this process ends");
        }
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
