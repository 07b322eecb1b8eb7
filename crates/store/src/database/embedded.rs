//! SQLite in a file of the data directory: one writer, which begins every transaction with the write lock in hand, and a few readers that it never blocks.

use std::{
    fs::Permissions,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection,
    pool::PoolOptions,
    sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous},
};

use super::{ACQUIRE_TIMEOUT, Durability, READERS, Schema};
use crate::StoreError;

/// How long a connection waits for another process's lock. Ours never compete: there is one writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    writer: SqlitePool,
    pub(super) readers: SqlitePool,
}

impl Database {
    /// Opens the file, making it (0600) if it is not there, and brings its tables up to date.
    pub(super) async fn open(path: &Path, durability: Durability, schema: &Schema) -> Result<Self, StoreError> {
        make_private(path)?;
        let failed = |error| StoreError::open(&path.display(), error);
        let options = options(path, durability);
        let writer = PoolOptions::<Sqlite>::new().max_connections(1).min_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
        // SQLite itself rolls back when the disk is full or fails; sqlx then counts a transaction that is no more and begins none ever after.
        let writer = writer.before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }));
        let writer = writer.connect_with(options.clone()).await.map_err(failed)?;
        let mut connection = writer.acquire().await.map_err(failed)?;
        super::migrate(&mut *connection, schema, &path.display(), str::to_owned).await?;
        drop(connection);
        let readers = PoolOptions::new().max_connections(READERS).acquire_timeout(ACQUIRE_TIMEOUT);
        let readers = readers.connect_with(options.pragma("query_only", "1")).await.map_err(failed)?;
        Ok(Self { writer, readers })
    }

    /// Begins a write with the lock of the whole file.
    pub(super) async fn write(&self) -> Result<sqlx::Transaction<'static, Sqlite>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Waits for what is under way and closes the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match durability {
            Durability::Power => SqliteSynchronous::Full,
            Durability::Process => SqliteSynchronous::Normal,
        })
        .busy_timeout(BUSY_TIMEOUT)
        // What is deleted is overwritten: a removed secret does not linger in a free page.
        .pragma("secure_delete", "ON")
        .pragma("trusted_schema", "OFF")
        // A statement of ours says nothing to an operator, and is long.
        .disable_statement_logging()
}

fn make_private(path: &Path) -> Result<(), StoreError> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let private = opened.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
    private.map_err(|error| StoreError::directory(path, error))
}
