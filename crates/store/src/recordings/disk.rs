//! What recordings do to the file system. In tests each deed is noted, so that a power cut after any of them can be played.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// A file that was made here and is only added to. Only its owner may read it.
#[derive(Debug)]
pub(super) struct Appended {
    file: File,
    #[cfg(test)]
    path: std::path::PathBuf,
}

impl Appended {
    /// Makes it; nothing else has had its name.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        #[cfg(test)]
        deeds::note(deeds::Deed::Made(path.to_owned()));
        Ok(Self {
            file,
            #[cfg(test)]
            path: path.to_owned(),
        })
    }

    /// Adds all of these bytes. After an error some of them may be there.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        #[cfg(test)]
        deeds::note(deeds::Deed::Wrote(self.path.clone(), bytes.to_vec()));
        Ok(())
    }

    /// Waits until the disk has all of it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        #[cfg(test)]
        deeds::note(deeds::Deed::Synced(self.path.clone()));
        Ok(())
    }
}

/// Makes a folder for its owner alone, if it is not there, and waits until the disk has its name.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            #[cfg(test)]
            deeds::note(deeds::Deed::Made(folder.to_owned()));
            folder.parent().map_or(Ok(()), sync)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits until the disk has what is in a file, or the names of all that is in a folder.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    #[cfg(test)]
    deeds::note(deeds::Deed::Synced(path.to_owned()));
    Ok(())
}

#[cfg(test)]
pub(super) mod deeds {
    use std::{cell::RefCell, path::PathBuf};

    /// What this thread did.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::recordings) enum Deed {
        /// A file or folder was made.
        Made(PathBuf),
        /// Bytes were added to a file.
        Wrote(PathBuf, Vec<u8>),
        /// The contents of a file, or the names in a folder, are on the disk.
        Synced(PathBuf),
    }

    thread_local! {
        static DEEDS: RefCell<Vec<Deed>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn note(deed: Deed) {
        DEEDS.with_borrow_mut(|deeds| deeds.push(deed));
    }

    pub(in crate::recordings) fn so_far() -> Vec<Deed> {
        DEEDS.with_borrow(Clone::clone)
    }
}
