//! SQLite in a file of the data directory: one writer, which begins every transaction with the write lock in hand, and a few readers that it never blocks.

use std::{
    fs::Permissions,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection,
    pool::PoolOptions,
    sqlite::{Sqlite, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqliteSynchronous},
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
    standing: Standing,
}

/// Whether the file can be written: reading says nothing of it. No from the first write that fails until one succeeds that was made to find out.
#[derive(Debug, Clone)]
struct Standing(Arc<AtomicBool>);

/// A transaction that holds the lock of the whole file.
#[derive(Debug)]
pub(crate) struct Write {
    transaction: sqlx::Transaction<'static, Sqlite>,
    standing: Standing,
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
        Ok(Self { writer, readers, standing: Standing(Arc::new(AtomicBool::new(true))) })
    }

    /// Begins a write with the lock of the whole file.
    pub(super) async fn write(&self) -> Result<Write, StoreError> {
        let transaction = self.standing.noted(self.writer.begin_with("BEGIN IMMEDIATE").await)?;
        Ok(Write { transaction, standing: self.standing.clone() })
    }

    pub(super) fn is_writable(&self) -> bool {
        self.standing.0.load(Ordering::Acquire)
    }

    /// Writes what is there already: the header, which is written even if nothing in it changes.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let done = sqlx::raw_sql("PRAGMA user_version = 0").execute(write.connection()).await;
        write.noted(done)?;
        write.commit().await?;
        self.standing.0.store(true, Ordering::Release);
        Ok(())
    }

    /// Waits for what is under way and closes the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Write {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    /// Notes what became of a statement of this transaction.
    pub(super) fn noted<T>(&self, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        self.standing.noted(done)
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.standing.noted(self.transaction.commit().await)
    }
}

impl Standing {
    fn noted<T>(&self, done: Result<T, sqlx::Error>) -> Result<T, StoreError> {
        if done.as_ref().is_err_and(is_of_the_file) {
            self.0.store(false, Ordering::Release);
        }
        Ok(done?)
    }
}

/// Whether it says that the file cannot be written, whatever is written: <https://www.sqlite.org/rescode.html>.
fn is_of_the_file(error: &sqlx::Error) -> bool {
    const READONLY: i32 = 8;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| [READONLY, IOERR, FULL, CANTOPEN].contains(&(code & 0xff)))
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: Schema = Schema { table: "migrations", migrations: &[(1, "notes", "CREATE TABLE notes (text TEXT NOT NULL UNIQUE)")] };

    #[tokio::test]
    async fn a_write_that_fails_by_the_file_counts_until_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("notes.db"), Durability::Process, &NOTES).await.unwrap();
        let note = async || {
            let mut write = database.write().await?;
            let done = sqlx::raw_sql("INSERT INTO notes (text) VALUES ('x')").execute(write.connection()).await;
            write.noted(done)?;
            write.commit().await
        };
        let read_only = async |value: &str| {
            let pragma = sqlx::AssertSqlSafe(format!("PRAGMA query_only = {value}"));
            sqlx::raw_sql(pragma).execute(&database.writer).await.unwrap();
        };
        note().await.unwrap();
        // What is wrong with a row says nothing of the file.
        note().await.unwrap_err();
        assert!(database.is_writable());
        read_only("on").await;
        note().await.unwrap_err();
        assert!(!database.is_writable());
        database.probe().await.unwrap_err();
        assert!(!database.is_writable());
        read_only("off").await;
        database.probe().await.unwrap();
        assert!(database.is_writable());
    }
}
