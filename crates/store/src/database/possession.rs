//! One gateway to a store in PostgreSQL, as one process to a data directory.
//!
//! An advisory lock on a connection of its own says who has the store; it is gone the moment that connection is. Whoever takes it counts one up in the
//! table `possession`. While the lock is not held nothing is read or written; taken again, it counts only if nobody had the store in between,
//! because what they changed this process does not know.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Write,
    postgres::{connect_options, in_time},
    sql,
};
use crate::{StoreError, home};

/// How often the connection is tried that holds the lock.
const WATCH: Duration = Duration::from_millis(500);
/// How long it may be silent.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the lock of a process that was killed is waited for: the server notices its end by and by.
const INHERITANCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// That this process has the store, or had it.
#[derive(Debug)]
pub(crate) struct Possession {
    home: home::Postgres,
    opening: i64,
    standing: watch::Receiver<Standing>,
    stop: watch::Sender<bool>,
    keeper: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// How it stands with the lock, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Held,
    Lost,
    /// Another process had the store: this one never gets it back.
    Passed,
}

impl Possession {
    /// Takes the store, making its schema if it is not there, or says who has it.
    pub(crate) async fn take(home: &home::Postgres) -> Result<Arc<Self>, StoreError> {
        let waited = Instant::now();
        let mut connection = loop {
            let mut connection = connect(home).await?;
            if lock(&mut connection, home).await? {
                break connection;
            }
            if waited.elapsed() > INHERITANCE {
                return Err(StoreError::StoreInUse { store: home.to_string(), by: holder(&mut connection, home).await? });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        make_schema(&mut connection, home).await?;
        make_table(&mut connection, home).await?;
        let opening = count_up(&mut connection).await?;
        let (stands, standing) = watch::channel(Standing::Held);
        let (stop, stopped) = watch::channel(false);
        let keeper = Keeper { home: home.clone(), opening, stands, stopped };
        let keeper = tokio::spawn(keeper.keep(connection));
        Ok(Arc::new(Self { home: home.clone(), opening, standing, stop, keeper: tokio::sync::Mutex::new(Some(keeper)) }))
    }

    pub(super) const fn home(&self) -> &home::Postgres {
        &self.home
    }

    /// That the lock is held, as far as is known.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match *self.standing.borrow() {
            Standing::Held => Ok(()),
            Standing::Lost => Err(StoreError::Lost),
            Standing::Passed => Err(StoreError::Passed),
        }
    }

    /// That a write still belongs to this process.
    pub(super) fn check_opening(&self, opening: i64) -> Result<(), StoreError> {
        if opening == self.opening { Ok(()) } else { Err(StoreError::Passed) }
    }

    /// Gives the store up; whoever takes it next need not wait.
    pub(crate) async fn release(&self) {
        let _ = self.stop.send(true);
        if let Some(keeper) = self.keeper.lock().await.take() {
            let _ = keeper.await;
        }
    }
}

/// Says that the store goes on elsewhere.
pub(crate) async fn note_copied(write: &mut Write, at: i64) -> Result<(), StoreError> {
    sql("UPDATE possession SET copied_at = $1").bind(at).run(write).await.map(drop)
}

/// Holds the lock and takes it again, on a task of its own, which ends with the [`Possession`].
struct Keeper {
    home: home::Postgres,
    opening: i64,
    stands: watch::Sender<Standing>,
    stopped: watch::Receiver<bool>,
}

impl Keeper {
    async fn keep(self, connection: PgConnection) {
        let mut stopped = self.stopped.clone();
        let mut looks = tokio::time::interval(WATCH);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut held = Some(connection);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            let standing = *self.stands.borrow();
            held = match (standing, held.take()) {
                (Standing::Held, Some(connection)) => self.try_out(connection).await,
                (Standing::Passed, _) => None,
                _ => self.take_again().await,
            };
        }
        if let Some(mut connection) = held {
            let _ = in_time(sqlx::raw_sql("SELECT pg_advisory_unlock_all()").execute(&mut connection)).await;
            let _ = connection.close().await;
        }
    }

    async fn try_out(&self, mut connection: PgConnection) -> Option<PgConnection> {
        let why = match tokio::time::timeout(SILENCE, connection.ping()).await {
            Ok(Ok(())) => return Some(connection),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        self.stands.send_replace(Standing::Lost);
        tracing::error!(store = %self.home, %why, "the state store is lost");
        None
    }

    async fn take_again(&self) -> Option<PgConnection> {
        let (connection, opening) = tokio::time::timeout(SILENCE, taken(&self.home)).await.ok()?.ok()??;
        if opening != self.opening {
            self.stands.send_replace(Standing::Passed);
            tracing::error!(store = %self.home, "{}", StoreError::Passed);
            return None;
        }
        self.stands.send_replace(Standing::Held);
        tracing::warn!(store = %self.home, "the state store is there again");
        Some(connection)
    }
}

/// The lock on a new connection, if it is free, and how often the store was taken.
async fn taken(home: &home::Postgres) -> Result<Option<(PgConnection, i64)>, StoreError> {
    let mut connection = connect(home).await?;
    if !lock(&mut connection, home).await? {
        return Ok(None);
    }
    let row = in_time(sqlx::raw_sql("SELECT opening FROM possession").fetch_one(&mut connection)).await?;
    Ok(Some((connection, row.try_get(0)?)))
}

/// A dead peer is noticed within half a minute, so that the lock of a machine that is gone is soon free.
async fn connect(home: &home::Postgres) -> Result<PgConnection, StoreError> {
    let options = connect_options(home).options([("tcp_keepalives_idle", "10"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3")]);
    in_time(options.connect()).await.map_err(|error| match error {
        StoreError::Database(error) => StoreError::open(home, error),
        other => other,
    })
}

async fn lock(connection: &mut PgConnection, home: &home::Postgres) -> Result<bool, StoreError> {
    let row = in_time(sqlx::query("SELECT pg_try_advisory_lock($1)").bind(key(&home.schema)).fetch_one(connection)).await?;
    Ok(row.try_get(0)?)
}

/// The lock's number in the database, from the schema's name.
pub(crate) fn key(schema: &str) -> i64 {
    let hash = digest::digest(&digest::SHA256, format!("countersign store {schema}").as_bytes());
    hash.as_ref().first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

/// Who has the store: process id and address of the connection that holds the lock.
async fn holder(connection: &mut PgConnection, home: &home::Postgres) -> Result<String, StoreError> {
    let holder = "SELECT format('server process %s, connected from %s', a.pid, coalesce(host(a.client_addr), 'the same machine'))
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) = $1
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let row = in_time(sqlx::query(holder).bind(key(&home.schema)).fetch_optional(connection)).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_else(|| "a process that has just ended".to_owned()))
}

async fn make_schema(connection: &mut PgConnection, home: &home::Postgres) -> Result<(), StoreError> {
    let there = in_time(sqlx::query("SELECT 1 FROM pg_namespace WHERE nspname = $1").bind(&home.schema).fetch_optional(&mut *connection)).await?;
    if there.is_none() {
        // The name was checked when it was read: it holds lower-case letters, digits and underscores.
        let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {}", home.schema));
        in_time(sqlx::raw_sql(create).execute(&mut *connection)).await?;
    }
    Ok(())
}

/// The table belongs to this kind of store alone; it has one row.
async fn make_table(connection: &mut PgConnection, home: &home::Postgres) -> Result<(), StoreError> {
    const TABLE: &str =
        "CREATE TABLE IF NOT EXISTS possession (only_row BIGINT PRIMARY KEY CHECK (only_row = 1), opening BIGINT NOT NULL, copied_at BIGINT)";
    const COPIED: &str = "SELECT 1 FROM possession WHERE copied_at IS NOT NULL";
    in_time(sqlx::raw_sql(TABLE).execute(&mut *connection)).await?;
    let copied = in_time(sqlx::raw_sql(COPIED).fetch_optional(&mut *connection)).await?;
    if copied.is_some() { Err(StoreError::Copied { place: home.to_string() }) } else { Ok(()) }
}

async fn count_up(connection: &mut PgConnection) -> Result<i64, StoreError> {
    const COUNT: &str =
        "INSERT INTO possession (only_row, opening) VALUES (1, 1) ON CONFLICT (only_row) DO UPDATE SET opening = possession.opening + 1
        RETURNING opening";
    let row = in_time(sqlx::query(COUNT).fetch_one(&mut *connection)).await?;
    Ok(row.try_get(0)?)
}
