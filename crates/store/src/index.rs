//! The search index: derived from the recordings, and from them alone.
//!
//! Each statement is kept once as its shape, without literals ([`shape`]); operations that are alike and came together are one row that points to it ([`bundle`]).
//! Literals, and what was shown on screens ([`screen`]), appear only as keyed hashes ([`literals`]), so that a search for `alice@example.com` finds the operation while the file tells nothing of the value.
//! A batch of records and the place in the recording up to which they were read are one transaction: every record counts exactly once, whenever the process dies.

mod absorb;
mod bundle;
mod find;
mod literals;
mod screen;
mod shape;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::hmac;
use evidence::{
    Record,
    key::{KeyError, KeyId, KeyRing},
};
use model::{Action, ConnectionName, DataClassName, IdentityName, PolicyId, SessionId, Timestamp};
use sqlx::FromRow;

use crate::{
    StoreError,
    database::{Database, Schema, count, parsed, sql, stored_count, time},
    recordings::Position,
    search::Query,
};

/// The file's name in the data directory.
pub(crate) const FILE: &str = "index.db";
/// What the key of the literals' hashes is derived for.
const LITERAL_PURPOSE: &str = "countersign index literals 1";
/// Most shapes whose ids are remembered.
const MAX_REMEMBERED_SHAPES: usize = 4_096;
/// The setting that names the deployment key the hashes were made with.
const LITERAL_KEY: &str = "literal_key";

pub(crate) const SCHEMA: Schema = Schema {
    table: "index_migrations",
    migrations: &[
        (1, "first", include_str!("../migrations/index/0001_first.sql")),
        (2, "bundles", include_str!("../migrations/index/0002_bundles.sql")),
    ],
};

/// The search index.
#[derive(Debug, Clone)]
pub struct Index {
    database: Database,
    keys: Arc<KeyRing>,
    /// Ids of shapes that are stored, so that a batch need not ask for them.
    remembered: Arc<Mutex<(u64, absorb::StoredShapes)>>,
    /// What operations that run showed last.
    screens: Arc<Mutex<screen::Kept>>,
}

/// How far a recording was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Where the next record is, or will be.
    pub position: Position,
    /// Whether its last record was taken.
    pub complete: bool,
}

/// Records of one recording that follow each other.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Whose recording.
    pub session: SessionId,
    /// Where its first record was.
    pub from: Position,
    /// The records.
    pub records: Vec<Record>,
    /// Where the record after its last is, or will be.
    pub until: Position,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was taken.
    Now,
    /// It does not begin where the recording was read up to, so nothing of it was taken: ask for [`Index::progress`] and read from there.
    Elsewhere,
}

/// One operation that was found. Texts the caller chose are as they were sent: show them through `model::name::printable`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Hit {
    /// The session.
    pub session: SessionId,
    /// The operation's number in it.
    pub op: u64,
    /// When it was asked.
    pub at: Timestamp,
    /// Who, as people read it: `alice via support-bot`.
    pub chain: String,
    /// The connection.
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// The statement's shape: its literals are `?`.
    pub statement: String,
    /// What it asked for: action and object.
    pub pairs: Vec<(Action, String)>,
    /// `allowed`, `held` (it waits, or its end is not known), `signed` or `refused`.
    pub decision: String,
    /// The policies that decided.
    pub policies: Vec<PolicyId>,
    /// Who signed.
    pub signers: Vec<IdentityName>,
    /// Data classes masked; of an operation that is not answered yet, those that may be.
    pub masked: Vec<DataClassName>,
    /// Its risk level.
    pub risk: u8,
    /// Rows returned or changed; none while there is no answer.
    pub rows: Option<u64>,
    /// How long it took, in microseconds; none while there is no answer.
    pub duration_us: Option<u64>,
    /// The SQLSTATE it ended with, if it failed.
    pub error: Option<String>,
}

/// How often an identity did something to something.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Use {
    /// Who took part, as the subject or acting for it.
    pub identity: IdentityName,
    /// Where.
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// What was done.
    pub action: Action,
    /// To what, as people write it.
    pub object: String,
    /// How often.
    pub count: u64,
    /// When last.
    pub last_at: Timestamp,
}

impl Index {
    pub(crate) async fn open(database: Database, keys: Arc<KeyRing>) -> Result<Self, StoreError> {
        let index = Self { database, keys, remembered: Arc::default(), screens: Arc::default() };
        index.note_key().await?;
        Ok(index)
    }

    pub(crate) const fn database(&self) -> &Database {
        &self.database
    }

    /// How far a recording was read; none if it was not begun.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn progress(&self, session: SessionId) -> Result<Option<Progress>, StoreError> {
        Ok(self.all_progress_where(Some(session)).await?.remove(&session))
    }

    /// How far each recording was read.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all_progress(&self) -> Result<HashMap<SessionId, Progress>, StoreError> {
        self.all_progress_where(None).await
    }

    async fn all_progress_where(&self, session: Option<SessionId>) -> Result<HashMap<SessionId, Progress>, StoreError> {
        const ALL: &str = "SELECT session, segment, frame, records, complete FROM indexed_recordings";
        const ONE: &str = "SELECT session, segment, frame, records, complete FROM indexed_recordings WHERE session = $1";
        let query = match session {
            Some(session) => sql(ONE).bind(session_number(session)),
            None => sql(ALL),
        };
        let rows: Vec<(i64, i64, i64, i64, i64)> = query.all(self.database.read()).await?;
        let progress = |(session, segment, frame, records, complete): (i64, i64, i64, i64, i64)| {
            let progress = Progress { position: position((segment, frame, records))?, complete: complete != 0 };
            Ok((SessionId::from_random(count(session)), progress))
        };
        rows.into_iter().map(progress).collect()
    }

    /// Takes a batch that begins where the recording was read up to, and notes where it ends, in one transaction.
    ///
    /// # Errors
    /// When the recording does not begin with `Opened`, or the store fails; then nothing of the batch was taken.
    pub async fn absorb(&self, batch: &Batch) -> Result<Taken, StoreError> {
        absorb::absorb(self, batch).await
    }

    /// Forgets what was derived from these recordings, to read them again. What others' recordings gave stays, also of those that are gone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(&self, sessions: &[SessionId]) -> Result<(), StoreError> {
        absorb::forget(self, sessions).await
    }

    /// Operations that match, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError> {
        find::search(self, query).await
    }

    /// What an identity used, as the subject or acting for it: by connection, action and object.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn uses_of(&self, identity: &IdentityName) -> Result<Vec<Use>, StoreError> {
        let rows: Vec<UseRow> =
            sql("SELECT identity, connection, database_name, action, object, CAST(SUM(count) AS BIGINT) AS count, MAX(last_at) AS last_at FROM uses
             WHERE identity = $1 GROUP BY identity, connection, database_name, action, object ORDER BY connection, database_name, action, object")
            .bind(identity.as_str())
            .all(self.database.read())
            .await?;
        rows.into_iter().map(UseRow::parse).collect()
    }

    /// Who did what to an object since a time: `public.customers`, as people write it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn uses_on(&self, object: &str, since: Timestamp) -> Result<Vec<Use>, StoreError> {
        let rows: Vec<UseRow> =
            sql("SELECT identity, connection, database_name, action, object, CAST(SUM(count) AS BIGINT) AS count, MAX(last_at) AS last_at FROM uses
             WHERE object = $1 AND last_at >= $2 GROUP BY identity, connection, database_name, action, object ORDER BY identity, connection, action")
            .bind(object)
            .bind(crate::database::micros(since))
            .all(self.database.read())
            .await?;
        rows.into_iter().map(UseRow::parse).collect()
    }

    /// Takes out the shapes that are known to be stored, and since which forgetting.
    fn remembered(&self) -> (u64, absorb::StoredShapes) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        (remembered.0, std::mem::take(&mut remembered.1))
    }

    /// Puts them back with what a batch added, unless shapes were forgotten meanwhile. A batch that fails puts nothing back: what it added is not stored.
    fn remember(&self, generation: u64, stored: absorb::StoredShapes) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.0 == generation && stored.len() <= MAX_REMEMBERED_SHAPES {
            remembered.1 = stored;
        }
    }

    /// Takes out what an operation showed last; an empty screen if nothing is known. A batch that fails puts nothing back.
    fn take_screen(&self, session: SessionId, op: u64) -> screen::Screen {
        self.screens.lock().unwrap_or_else(PoisonError::into_inner).remove(&(session, op)).unwrap_or_default()
    }

    fn keep_screens(&self, session: SessionId, screens: HashMap<u64, screen::Screen>) {
        screen::keep(&mut self.screens.lock().unwrap_or_else(PoisonError::into_inner), session, screens);
    }

    fn forget_screens(&self, sessions: &[SessionId]) {
        self.screens.lock().unwrap_or_else(PoisonError::into_inner).retain(|(session, _), _| !sessions.contains(session));
    }

    fn forget_shapes(&self) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        *remembered = (remembered.0 + 1, HashMap::new());
    }

    /// Names the deployment key the hashes are made with, the first time. If that key is gone later, the hashes are of no use: they go too.
    async fn note_key(&self) -> Result<(), StoreError> {
        let current = self.keys.current()?.id().to_string();
        let mut write = self.database.write().await?;
        sql("INSERT INTO index_settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(LITERAL_KEY)
            .bind(current)
            .run(&mut write)
            .await?;
        write.commit().await?;
        match self.literals().await {
            Err(StoreError::Key(KeyError::Unknown(key))) => {
                tracing::warn!(%key, "values in older statements cannot be searched for: the key they were hashed with is gone; run `countersign reindex`");
                self.rekey().await
            }
            other => other.map(drop),
        }
    }

    /// From now on the current deployment key makes the hashes. Those of another go: what they stood for is found again once its recording was read again.
    pub(crate) async fn rekey(&self) -> Result<(), StoreError> {
        let current = self.keys.current()?.id().to_string();
        let mut write = self.database.write().await?;
        let changed =
            sql("UPDATE index_settings SET value = $2 WHERE name = $1 AND value <> $2").bind(LITERAL_KEY).bind(current).run(&mut write).await?;
        if changed > 0 {
            literals::clear(&mut write).await?;
        }
        write.commit().await
    }

    async fn literals(&self) -> Result<literals::LiteralHash, StoreError> {
        let (text,): (String,) = sql("SELECT value FROM index_settings WHERE name = $1").bind(LITERAL_KEY).one(self.database.read()).await?;
        let id: KeyId = parsed("a key id", &text)?;
        let key = self.keys.get(id).ok_or(KeyError::Unknown(id))?;
        let derived = key.derive(LITERAL_PURPOSE)?;
        Ok(literals::LiteralHash(hmac::Key::new(hmac::HMAC_SHA256, derived.as_slice())))
    }
}

/// A statement on one line with `?` for its literals and without its comments, as listings show it to those who may not see values.
#[must_use]
pub fn without_literals(statement: &str) -> String {
    shape::shape(statement).text
}

#[derive(FromRow)]
struct UseRow {
    identity: String,
    connection: String,
    database_name: String,
    action: String,
    object: String,
    count: i64,
    last_at: i64,
}

impl UseRow {
    fn parse(self) -> Result<Use, StoreError> {
        Ok(Use {
            identity: parsed("an identity name", &self.identity)?,
            connection: parsed("a connection name", &self.connection)?,
            database: self.database_name,
            action: parsed("an action", &self.action)?,
            object: self.object,
            count: count(self.count),
            last_at: time(self.last_at)?,
        })
    }
}

/// A stored place in a recording.
fn position((segment, frame, records): (i64, i64, i64)) -> Result<Position, StoreError> {
    let number = |stored: i64| u32::try_from(stored).map_err(|error| StoreError::corrupt("a place in a recording", error));
    Ok(Position { segment: number(segment)?, frame: number(frame)?, records: number(records)? })
}

/// Sessions are numbers below 2^60, which fit.
fn session_number(session: SessionId) -> i64 {
    stored_count(session.as_u64())
}
