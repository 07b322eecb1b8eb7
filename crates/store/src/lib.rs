//! The only crate that knows SQL or where files lie: state, secrets, the search index, recordings, the deployment key.
//!
//! Everything lies in one data directory that one process holds at a time:
//!
//! ```text
//! data/
//!   lock           held by the running process (flock); names its process id
//!   state.db       identities, digests of tokens, sessions, holds, policy versions, events, sealed secrets
//!   index.db       derived from the recordings: search, and what each identity used
//!   keys/          the deployment key (0600)
//!   recordings/    what happened, encrypted
//! ```
//!
//! It must never write a secret, a token or a statement's literal in clear, and never leave a transaction open across anything but its own statements.

mod copy;
mod database;
pub mod home;
pub mod index;
mod indexer;
pub mod keys;
mod lock;
pub mod recordings;
pub mod search;
pub mod secrets;
pub mod state;

use std::{
    fmt, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use copy::{Copied, copy};
use evidence::{KeyRing, key::KEY_BYTES};
pub use home::Home;
pub use index::{Hit, Index, Use};
pub use indexer::{Caught, Indexer};
use model::Timestamp;
pub use recordings::Recordings;
pub use search::Query;
pub use secrets::Secrets;
pub use state::State;
use zeroize::Zeroizing;

use crate::{
    database::{Database, Durability, Writers, possession::Possession, sql},
    lock::DirectoryLock,
};

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the data directory.
    #[error("another Countersign{} is using {}: stop it, or give this one a data directory of its own", by_process(*pid), directory.display())]
    InUse {
        /// Its process id, if it could be read.
        pid: Option<u32>,
        /// The directory.
        directory: PathBuf,
    },
    /// The data directory, or a file in it, cannot be made, read or written.
    #[error("cannot use {}: {source}; the data directory must exist or be creatable, on a disk with space, and belong to the user that runs countersign", path.display())]
    Directory {
        /// What was tried.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the store in PostgreSQL.
    #[error("another Countersign is using {store} ({by}): stop it, or give this one a schema of its own")]
    StoreInUse {
        /// Where it is.
        store: String,
        /// What the server knows of the other.
        by: String,
    },
    /// It was written by a newer Countersign.
    #[error("{place} was written by a newer Countersign: run that version, or restore a backup made before the upgrade")]
    Newer {
        /// The file or schema.
        place: String,
    },
    /// Bringing the tables up to date failed; nothing was changed.
    #[error("cannot bring {place} up to date: {source}")]
    Migration {
        /// The file or schema.
        place: String,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A database cannot be opened.
    #[error("cannot open {place}: {source}")]
    Open {
        /// The file or schema.
        place: String,
        /// Why.
        source: sqlx::Error,
    },
    /// It goes on elsewhere.
    #[error("the store of {place} was copied elsewhere and is out of date: the page on operation says how to copy it back")]
    Copied {
        /// The directory, or the schema.
        place: String,
    },
    /// The schema is empty, and the data directory has a store.
    #[error("{place} is empty, and the data directory holds a store: `countersign store copy` moves it there")]
    NotCopied {
        /// The schema.
        place: String,
    },
    /// There is nothing to copy.
    #[error("there is no store to copy in {place}")]
    Missing {
        /// The directory, or the schema.
        place: String,
    },
    /// It is not empty.
    #[error("{place} holds a store already, and nothing is written over: name an empty one, or move it away")]
    Occupied {
        /// The directory, or the schema.
        place: String,
    },
    /// What arrived is not what was sent.
    #[error("table {table} did not arrive as it was: nothing was changed")]
    Differs {
        /// Its name.
        table: &'static str,
    },
    /// The store in PostgreSQL does not answer.
    #[error("the state store does not answer")]
    Silent,
    /// The connection that keeps others out of the store in PostgreSQL is broken.
    #[error("the state store is lost")]
    Lost,
    /// Another process has had the store in PostgreSQL: what this one knows may be out of date.
    #[error("another gateway has used the state store meanwhile: restart this one")]
    Passed,
    /// A statement failed: the store is unreachable, full or damaged.
    #[error("the state store failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Something stored is not what was written.
    #[error("the state store holds {what} that cannot be read: {why}")]
    Corrupt {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The deployment's keys cannot be had.
    #[error(transparent)]
    Keys(#[from] keys::KeysError),
    /// A deployment key is missing or wrong.
    #[error(transparent)]
    Key(#[from] evidence::key::KeyError),
    /// A recording cannot be read.
    #[error(transparent)]
    Recording(#[from] recordings::RecordingError),
    /// The system gave no randomness, or a cipher failed.
    #[error("a secret could not be sealed or opened: {0}")]
    Sealing(&'static str),
}

fn by_process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl StoreError {
    pub(crate) fn directory(path: &Path, source: io::Error) -> Self {
        Self::Directory { path: path.to_owned(), source }
    }

    pub(crate) fn open(place: &dyn fmt::Display, source: sqlx::Error) -> Self {
        Self::Open { place: place.to_string(), source }
    }

    pub(crate) fn corrupt(what: &'static str, why: impl fmt::Display) -> Self {
        Self::Corrupt { what, why: why.to_string() }
    }
}

/// Everything that lasts. Cloning it is cheap; the directory is free again when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Store {
    rooms: Arc<Rooms>,
}

#[derive(Debug)]
struct Rooms {
    directory: PathBuf,
    state: State,
    secrets: Secrets,
    masking: Option<Zeroizing<[u8; KEY_BYTES]>>,
    signing: Zeroizing<[u8; KEY_BYTES]>,
    ssh: Option<Zeroizing<[u8; KEY_BYTES]>>,
    index: Index,
    recordings: Recordings,
    keys: Arc<KeyRing>,
    possession: Option<Arc<Possession>>,
    // Dropped last: what stands above must be closed before somebody else may come in.
    _lock: DirectoryLock,
}

impl Store {
    /// Opens the data directory, making it (0700) if it is not there: takes the lock, then brings the databases up to date.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it; otherwise what is wrong with the directory or a file in it.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_with(directory, &Home::Embedded, recordings::Settings::default()).await
    }

    /// [`open`](Self::open), with state and index kept at `home` and new recordings written as `settings` say.
    ///
    /// # Errors
    /// As for `open`; also when another process has the store at `home`, or it cannot be reached.
    pub async fn open_with(directory: &Path, home: &Home, settings: recordings::Settings) -> Result<Self, StoreError> {
        make_directory(directory)?;
        let lock = DirectoryLock::take(directory)?;
        let keys = Arc::new(keys::open(directory)?);
        let recordings = Recordings::open(directory, Arc::clone(&keys), settings)?;
        let (state, index, possession) = databases(directory, home).await?;
        let index = Index::open(index, Arc::clone(&keys)).await?;
        let state = State::new(state, index.clone());
        let secrets = Secrets::new(state.database().clone(), Arc::clone(&keys));
        let masking = secrets.masking(Timestamp::now()).await?;
        let signing = secrets.signing(Timestamp::now()).await?;
        let ssh = secrets.ssh(Timestamp::now()).await?;
        let directory = directory.to_owned();
        Ok(Self { rooms: Arc::new(Rooms { directory, state, secrets, masking, signing, ssh, index, recordings, keys, possession, _lock: lock }) })
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.rooms.directory
    }

    /// Identities, tokens, sessions, holds, policy versions, events.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.rooms.state
    }

    /// Secrets of targets, encrypted.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.rooms.secrets
    }

    /// What hashes and tokens in place of masked values are made with; none if the key that sealed it is gone.
    #[must_use]
    pub fn masking(&self) -> Option<&Zeroizing<[u8; KEY_BYTES]>> {
        self.rooms.masking.as_ref()
    }

    /// What access tokens are signed with.
    #[must_use]
    pub fn signing(&self) -> &Zeroizing<[u8; KEY_BYTES]> {
        &self.rooms.signing
    }

    /// What the gateway's own keys for SSH are made of; none if the key that sealed it is gone.
    #[must_use]
    pub fn ssh(&self) -> Option<&Zeroizing<[u8; KEY_BYTES]>> {
        self.rooms.ssh.as_ref()
    }

    /// Search, and what each identity used.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.rooms.index
    }

    /// What happened, encrypted.
    #[must_use]
    pub fn recordings(&self) -> &Recordings {
        &self.rooms.recordings
    }

    /// The deployment's keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.rooms.keys
    }

    /// What brings the index up to date with the recordings. Keep one: it remembers which recordings it need not look at again.
    #[must_use]
    pub fn indexer(&self) -> Indexer {
        Indexer::new(self.rooms.index.clone(), self.rooms.recordings.clone())
    }

    /// Waits for writes under way and closes the databases. For an orderly end; a killed process loses nothing that was committed.
    pub async fn close(&self) {
        self.rooms.state.database().close().await;
        self.rooms.index.database().close().await;
        if let Some(possession) = &self.rooms.possession {
            possession.release().await;
        }
    }
}

/// State and index, and what says that they are this process's alone if the directory does not.
async fn databases(directory: &Path, home: &Home) -> Result<(Database, Database, Option<Arc<Possession>>), StoreError> {
    match home {
        Home::Embedded if copy::was_copied(directory) => Err(StoreError::Copied { place: directory.display().to_string() }),
        Home::Embedded => {
            let index = Database::open_file(&directory.join(index::FILE), Durability::Process, &index::SCHEMA).await?;
            Ok((Database::open_file(&directory.join(state::FILE), Durability::Power, &state::SCHEMA).await?, index, None))
        }
        Home::Postgres(postgres) => {
            let possession = Possession::take(postgres).await?;
            let index = Database::open_postgres(&possession, Durability::Process, Writers::One, &index::SCHEMA).await?;
            let state = Database::open_postgres(&possession, Durability::Power, Writers::Few, &state::SCHEMA).await?;
            let (identities,): (i64,) = sql("SELECT COUNT(*) FROM identities").one(state.read()).await?;
            if identities == 0 && (directory.join(state::FILE).exists() || copy::was_copied(directory)) {
                return Err(StoreError::NotCopied { place: postgres.to_string() });
            }
            Ok((state, index, Some(possession)))
        }
    }
}

/// What shows that a directory is ours to close to others.
const OURS: [&str; 5] = ["lock", state::FILE, index::FILE, keys::FOLDER, "tls"];

fn make_directory(directory: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::directory(directory, error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let metadata = std::fs::metadata(directory).map_err(failed)?;
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let empty = std::fs::read_dir(directory).map_err(failed)?.next().is_none();
    if !empty && !OURS.iter().any(|name| directory.join(name).exists()) {
        return Err(failed(io::Error::other("it holds other files and others may enter it: give Countersign a folder of its own")));
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).map_err(failed)
}

#[cfg(test)]
mod tests;
