//! A schema of a PostgreSQL database: write transactions run side by side, each refused once another process may have the store.
//!
//! No statement waits for ever: the server ends one that takes too long, and a connection on which an answer stays out is closed and never used again.

use std::{sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection, PgConnection, PgPool, Postgres,
    pool::{PoolConnection, PoolOptions},
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{ACQUIRE_TIMEOUT, Durability, Schema, possession::Possession};
use crate::{
    StoreError,
    home::{self, Tls},
};

/// Longest wait for the answer to one statement.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// As the server keeps it, a little shorter so that its word comes first; and for a lock of somebody else's.
const STATEMENT_TIMEOUT_MS: u32 = 9_000;
const LOCK_TIMEOUT_MS: u32 = 5_000;
/// A connection that was idle for so long is tried before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// How many write transactions run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writers {
    /// One: what a transaction reads stays true until it ends.
    One,
    /// A few: what a transaction decides on it reads `locked`.
    Few,
}

/// The connections to one schema.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    writers: PgPool,
    readers: PgPool,
    possession: Arc<Possession>,
}

impl Database {
    /// Connects to the schema that was taken, and brings its tables up to date.
    pub(super) async fn open(possession: &Arc<Possession>, durability: Durability, writers: Writers, schema: &Schema) -> Result<Self, StoreError> {
        let home = possession.home();
        let failed = |error| StoreError::open(home, error);
        let options = bounded(connect_options(home));
        let limit = if writers == Writers::One { 1 } else { super::READERS };
        let writers = durable(pool(limit), durability).connect_with(options.clone()).await.map_err(failed)?;
        let mut connection = writers.acquire().await.map_err(failed)?;
        super::migrate(&mut *connection, schema, home, collated).await?;
        drop(connection);
        let readers = pool(super::READERS).connect_with(options.options([("default_transaction_read_only", "on")])).await.map_err(failed)?;
        Ok(Self { writers, readers, possession: Arc::clone(possession) })
    }

    pub(super) async fn reader(&self) -> Result<Lease, StoreError> {
        self.possession.check()?;
        Ok(Lease::of(self.readers.acquire().await?))
    }

    /// Begins a write. The row it reads is changed by the next process that takes the store: that one waits until this write has ended, and a write
    /// that begins later finds another number than ours.
    pub(super) async fn write(&self) -> Result<Write, StoreError> {
        const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT opening FROM possession FOR SHARE";
        self.possession.check()?;
        let mut lease = Lease::of(self.writers.acquire().await?);
        let row = in_time(sqlx::raw_sql(BEGIN).fetch_one(lease.connection())).await?;
        self.possession.check_opening(sqlx::Row::try_get(&row, 0)?)?;
        Ok(Write { lease })
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

/// A write transaction. Without a commit its connection is closed, and the server rolls back.
#[derive(Debug)]
pub(crate) struct Write {
    lease: Lease,
}

impl Write {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.lease.connection()
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        in_time(sqlx::raw_sql("COMMIT").execute(self.lease.connection())).await?;
        self.lease.give_back();
        Ok(())
    }
}

/// A connection of the pool. It is closed when this is dropped, unless it was given back: whoever left in the middle of an answer leaves a
/// connection that gives it to the next.
#[derive(Debug)]
pub(super) struct Lease {
    connection: PoolConnection<Postgres>,
    given_back: bool,
}

impl Lease {
    const fn of(connection: PoolConnection<Postgres>) -> Self {
        Self { connection, given_back: false }
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// After an answer was read to its end.
    pub(super) fn give_back(mut self) {
        self.given_back = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.given_back {
            self.connection.close_on_drop();
        }
    }
}

/// Waits for an answer, but not for ever.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Silent),
    }
}

/// Where and as whom to connect; nothing is taken from the environment but what is not said here.
pub(super) fn connect_options(home: &home::Postgres) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&home.host)
        .port(home.port)
        .database(&home.database)
        .username(&home.user)
        .application_name("countersign")
        .options([("search_path", home.schema.as_str()), ("client_min_messages", "warning")])
        // A statement of ours says nothing to an operator, and is long.
        .disable_statement_logging();
    let password = home.password.as_ref().and_then(|password| password.reveal_str());
    let options = options.password(password.unwrap_or_default());
    match &home.tls {
        Tls::LoopbackPlain => options.ssl_mode(PgSslMode::Disable),
        Tls::VerifyFull { ca, certificate } => {
            let mut options = options.ssl_mode(PgSslMode::VerifyFull);
            if let Some(ca) = ca {
                options = options.ssl_root_cert(ca);
            }
            if let Some(certificate) = certificate {
                options = options.ssl_client_cert(&certificate.file).ssl_client_key(&certificate.key);
            }
            options
        }
    }
}

fn bounded(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("statement_timeout", STATEMENT_TIMEOUT_MS), ("lock_timeout", LOCK_TIMEOUT_MS), ("idle_in_transaction_session_timeout", 5_000)])
}

fn pool(limit: u32) -> PoolOptions<Postgres> {
    let pool = PoolOptions::<Postgres>::new().max_connections(limit).acquire_timeout(ACQUIRE_TIMEOUT).test_before_acquire(false);
    pool.before_acquire(|connection, idle| Box::pin(async move { Ok(idle.idle_for < TRUSTED_IDLE || connection.ping().await.is_ok()) }))
}

/// <https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT>. A server that waits for its standbys goes on doing so.
fn durable(pool: PoolOptions<Postgres>, durability: Durability) -> PoolOptions<Postgres> {
    const POWER: &str = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
    const PROCESS: &str = "SET synchronous_commit = off";
    let text = if durability == Durability::Power { POWER } else { PROCESS };
    pool.after_connect(move |connection, _| Box::pin(async move { sqlx::raw_sql(text).execute(connection).await.map(drop) }))
}

/// The tables' text with the order of bytes, which SQLite has: answers then come in one order everywhere, and no update of the
/// server's locales spoils an index.
fn collated(sql: &str) -> String {
    sql.replace(" TEXT", " TEXT COLLATE \"C\"")
}
