//! The databases: how they are opened, brought up to date, read and written.
//!
//! One writer, which begins every transaction with the write lock in hand, and a few readers that it never blocks. The SQL of this crate runs on
//! SQLite and PostgreSQL alike: `$1` placeholders, BIGINT and TEXT, nothing only one of them knows.
//! INVARIANT: sqlx binds a missing parameter as NULL on SQLite without a word, so each statement is exercised by a test.

use std::{
    borrow::Cow,
    fs::Permissions,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use model::Timestamp;
use sqlx::{
    Connection, SqlStr,
    migrate::{Migration, MigrationType, Migrator},
    pool::PoolOptions,
    sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous},
};

use crate::StoreError;

/// The one kind of database there is so far.
pub(crate) type Db = Sqlite;
/// A write transaction: committed whole or not at all.
pub(crate) type Write = sqlx::Transaction<'static, Db>;
/// Statements built at run time, of our own text and bound values only.
pub(crate) type Builder = sqlx::QueryBuilder<Db>;

const READERS: u32 = 4;
/// How long a connection waits for another process's lock. Ours never compete: there is one writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an operation waits for a connection of the pool before the store counts as unreachable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The loss of power: for what exists nowhere else.
    Power,
    /// The death of the process; after a loss of power the last commits may be gone, the file stays whole. For what can be derived again.
    Process,
}

/// The tables of a database, version by version.
pub(crate) struct Schema {
    /// Where the applied versions are noted.
    pub(crate) table: &'static str,
    /// Version, name and SQL, oldest first. Never edited once released.
    pub(crate) migrations: &'static [(i64, &'static str, &'static str)],
}

/// One database.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Database {
    /// Opens the file, making it (0600) if it is not there, and brings its tables up to date.
    pub(crate) async fn open(path: &Path, durability: Durability, schema: &Schema) -> Result<Self, StoreError> {
        make_private(path)?;
        let options = options(path, durability);
        let writer = PoolOptions::<Db>::new().max_connections(1).min_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
        // SQLite itself rolls back when the disk is full or fails; sqlx then counts a transaction that is no more and begins none ever after.
        let writer = writer.before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }));
        let writer = writer.connect_with(options.clone()).await.map_err(|error| StoreError::database(path, error))?;
        migrate(path, &writer, schema).await?;
        let readers = PoolOptions::new().max_connections(READERS).acquire_timeout(ACQUIRE_TIMEOUT);
        let readers = readers.connect_with(options.pragma("query_only", "1")).await.map_err(|error| StoreError::database(path, error))?;
        Ok(Self { writer, readers })
    }

    /// For reading; sees every transaction that was committed before.
    pub(crate) const fn read(&self) -> &SqlitePool {
        &self.readers
    }

    /// Begins a write. It holds the write lock: keep it short, never across anything but statements of this crate.
    pub(crate) async fn write(&self) -> Result<Write, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    /// Waits for what is under way and closes the file.
    pub(crate) async fn close(&self) {
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
}

fn make_private(path: &Path) -> Result<(), StoreError> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let private = opened.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
    private.map_err(|error| StoreError::directory(path, error))
}

async fn migrate(path: &Path, writer: &SqlitePool, schema: &Schema) -> Result<(), StoreError> {
    let migrations = schema
        .migrations
        .iter()
        .map(|(version, name, sql)| Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, SqlStr::from_static(sql), false));
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(schema.table);
    migrator.run(writer).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(_) => StoreError::Newer { path: path.to_owned() },
        other => StoreError::Migration { path: path.to_owned(), source: other },
    })
}

/// As times are stored.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// A stored time.
pub(crate) fn time(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| StoreError::corrupt("a time", error))
}

/// A stored time that may be missing.
pub(crate) fn optional_time(micros: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
    micros.map(time).transpose()
}

/// A stored name or id.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(what: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error| StoreError::corrupt(what, error))
}

/// A stored name or id that may be missing.
pub(crate) fn optional<T: std::str::FromStr<Err: std::fmt::Display>>(what: &'static str, text: Option<&str>) -> Result<Option<T>, StoreError> {
    text.map(|text| parsed(what, text)).transpose()
}

/// A stored JSON value.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::corrupt(what, error))
}

/// As structured values are stored.
pub(crate) fn to_json<T: serde::Serialize + ?Sized>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::corrupt(what, error))
}

/// A count as it is stored.
pub(crate) fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A stored count.
pub(crate) fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: Schema = Schema { table: "migrations", migrations: &[(1, "notes", "CREATE TABLE notes (text TEXT NOT NULL)")] };

    /// As SQLite does by itself when the disk is full (<https://www.sqlite.org/lang_transaction.html>, "Automatic Rollback").
    #[tokio::test]
    async fn after_a_transaction_that_the_database_ended_by_itself_there_are_others() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("notes.db"), Durability::Process, &NOTES).await.unwrap();
        let note = async |write: &mut Write| sqlx::query("INSERT INTO notes (text) VALUES ('x')").execute(&mut **write).await.map(drop);
        let mut broken = database.write().await.unwrap();
        note(&mut broken).await.unwrap();
        sqlx::query("ROLLBACK").execute(&mut *broken).await.unwrap();
        drop(broken);
        for _ in 0..2 {
            let mut write = database.write().await.unwrap();
            note(&mut write).await.unwrap();
            write.commit().await.unwrap();
        }
        let notes: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM notes").fetch_one(database.read()).await.unwrap();
        assert_eq!(notes, 2);
    }
}
