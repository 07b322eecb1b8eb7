//! The databases: how they are opened, brought up to date, read and written.
//!
//! There are two kinds and one text: every statement of this crate runs on SQLite and PostgreSQL alike, with `$1` placeholders, BIGINT and TEXT,
//! and nothing only one of them knows. On SQLite a write transaction is alone. On PostgreSQL others run beside it and may commit between two of its
//! statements. INVARIANT: what a write transaction reads and decides on, it reads [`locked`](Statement::locked).

mod embedded;
pub(crate) mod possession;
mod postgres;
mod statement;
pub(crate) mod table;

use std::{borrow::Cow, fmt, path::Path, sync::Arc, time::Duration};

use model::Timestamp;
use sqlx::{
    AssertSqlSafe, SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
    sqlite::SqlitePool,
};

use self::possession::Possession;
pub(crate) use self::{
    postgres::Writers,
    statement::{Statement, Value, sql},
};
use crate::StoreError;

const READERS: u32 = 4;
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
pub(crate) enum Database {
    /// A file.
    Embedded(embedded::Database),
    /// A schema on a server.
    Postgres(postgres::Database),
}

/// For reading; sees every transaction that was committed before.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reader<'a> {
    Embedded(&'a SqlitePool),
    Postgres(&'a postgres::Database),
}

/// A write transaction: committed whole or not at all.
#[derive(Debug)]
pub(crate) enum Write {
    Embedded(embedded::Write),
    Postgres(postgres::Write),
}

impl Database {
    /// Opens the file, making it (0600) if it is not there, and brings its tables up to date.
    pub(crate) async fn open_file(path: &Path, durability: Durability, schema: &Schema) -> Result<Self, StoreError> {
        embedded::Database::open(path, durability, schema).await.map(Self::Embedded)
    }

    /// Opens the schema that was taken, and brings its tables up to date.
    pub(crate) async fn open_postgres(
        possession: &Arc<Possession>,
        durability: Durability,
        writers: Writers,
        schema: &Schema,
    ) -> Result<Self, StoreError> {
        postgres::Database::open(possession, durability, writers, schema).await.map(Self::Postgres)
    }

    pub(crate) const fn read(&self) -> Reader<'_> {
        match self {
            Self::Embedded(database) => Reader::Embedded(&database.readers),
            Self::Postgres(database) => Reader::Postgres(database),
        }
    }

    /// Begins a write. Others wait for what it has locked: keep it short, never across anything but statements of this crate.
    pub(crate) async fn write(&self) -> Result<Write, StoreError> {
        match self {
            Self::Embedded(database) => Box::pin(database.write()).await.map(Write::Embedded),
            Self::Postgres(database) => Box::pin(database.write()).await.map(Write::Postgres),
        }
    }

    /// Whether a write failed by the file it goes to, and none succeeded since. A server says so itself when it is asked anything.
    pub(crate) fn is_writable(&self) -> bool {
        match self {
            Self::Embedded(database) => database.is_writable(),
            Self::Postgres(_) => true,
        }
    }

    /// Finds out whether it can be written.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(database) => database.probe().await,
            Self::Postgres(database) => Box::pin(database.write()).await?.commit().await,
        }
    }

    /// Waits for what is under way and closes every connection.
    pub(crate) async fn close(&self) {
        match self {
            Self::Embedded(database) => database.close().await,
            Self::Postgres(database) => database.close().await,
        }
    }
}

impl Write {
    /// Lets statements of this transaction take as long as they need.
    pub(crate) async fn be_patient(&mut self) -> Result<(), StoreError> {
        if let Self::Postgres(_) = self {
            sql("SET LOCAL statement_timeout = 0").run(self).await?;
            sql("SET LOCAL idle_in_transaction_session_timeout = 0").run(self).await?;
        }
        Ok(())
    }

    /// Makes it true.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(write) => Box::pin(write.commit()).await,
            Self::Postgres(write) => Box::pin(write.commit()).await,
        }
    }
}

/// Brings the tables up to date, their text adapted to the kind of database.
async fn migrate(connection: &mut impl Migrate, schema: &Schema, place: &dyn fmt::Display, adapted: fn(&str) -> String) -> Result<(), StoreError> {
    let migrations = schema.migrations.iter().map(|(version, name, sql)| {
        let sql = AssertSqlSafe(adapted(sql)).into_sql_str();
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(schema.table);
    // One process has the store, and nobody else's lock is waited for.
    migrator.set_locking(false);
    migrator.run_direct(None, connection, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) => StoreError::Newer { place: place.to_string() },
        other => StoreError::Migration { place: place.to_string(), source: other },
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
        let database = Database::open_file(&folder.path().join("notes.db"), Durability::Process, &NOTES).await.unwrap();
        let note = async |write: &mut Write| sql("INSERT INTO notes (text) VALUES ('x')").run(write).await.map(drop);
        let mut broken = database.write().await.unwrap();
        note(&mut broken).await.unwrap();
        sql("ROLLBACK").run(&mut broken).await.unwrap();
        drop(broken);
        for _ in 0..2 {
            let mut write = database.write().await.unwrap();
            note(&mut write).await.unwrap();
            write.commit().await.unwrap();
        }
        let (notes,): (i64,) = sql("SELECT COUNT(*) FROM notes").one(database.read()).await.unwrap();
        assert_eq!(notes, 2);
    }
}
