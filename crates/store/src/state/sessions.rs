//! Sessions, live and ended.

use model::{ConnectionName, IdentityName, SessionId, Timestamp, session::SessionRow};
use sqlx::FromRow;

use super::State;
use crate::{
    StoreError,
    database::{Write, count, micros, optional, optional_time, parsed, sql, stored_count, time},
};

/// Which sessions to list; the default is the hundred newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFilter {
    /// Any member of the chain.
    pub identity: Option<IdentityName>,
    /// The connection.
    pub connection: Option<ConnectionName>,
    /// Only live ones (true) or only ended ones (false).
    pub live: Option<bool>,
    /// Started at or after this.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
}

impl Default for SessionFilter {
    fn default() -> Self {
        Self { identity: None, connection: None, live: None, since: None, limit: 100 }
    }
}

impl State {
    /// Adds a session as it was admitted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add_session(&self, session: &SessionRow) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        sql("INSERT INTO sessions (id, subject, chain, connection, database_name, token, peer, started_at, ended_at, ending, operations)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
        .bind(session.id.to_string())
        .bind(session.subject.as_str())
        .bind(&session.chain)
        .bind(session.connection.as_str())
        .bind(&session.database)
        .bind(session.token.map(|token| token.to_string()))
        .bind(&session.peer)
        .bind(micros(session.started_at))
        .bind(session.ended_at.map(micros))
        .bind(session.ending.as_deref())
        .bind(stored_count(session.operations))
        .run(&mut write)
        .await?;
        add_members(&mut write, session).await?;
        write.commit().await
    }

    /// Notes how a session ended. False if it had ended before, or is unknown: the first ending stands.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_session(&self, id: SessionId, ending: &str, operations: u64, now: Timestamp) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let done = sql("UPDATE sessions SET ended_at = $2, ending = $3, operations = $4 WHERE id = $1 AND ended_at IS NULL")
            .bind(id.to_string())
            .bind(micros(now))
            .bind(ending)
            .bind(stored_count(operations))
            .run(&mut write)
            .await?;
        write.commit().await?;
        Ok(done > 0)
    }

    /// Ends every session that had not ended, when the process starts. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_live_sessions(&self, ending: &str, now: Timestamp) -> Result<u64, StoreError> {
        let mut write = self.database.write().await?;
        let done =
            sql("UPDATE sessions SET ended_at = $1, ending = $2 WHERE ended_at IS NULL").bind(micros(now)).bind(ending).run(&mut write).await?;
        write.commit().await?;
        Ok(done)
    }

    /// One session.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn session(&self, id: SessionId) -> Result<Option<SessionRow>, StoreError> {
        let row: Option<Row> = sql("SELECT * FROM sessions WHERE id = $1").bind(id.to_string()).optional(self.database.read()).await?;
        row.map(Row::parse).transpose()
    }

    /// Sessions, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sessions(&self, filter: &SessionFilter) -> Result<Vec<SessionRow>, StoreError> {
        let mut query = sql("SELECT s.* FROM sessions s WHERE 1 = 1");
        if let Some(identity) = &filter.identity {
            query.push(" AND s.id IN (SELECT session FROM session_members WHERE identity = ").push_bind(identity.as_str().to_owned()).push(")");
        }
        if let Some(connection) = &filter.connection {
            query.push(" AND s.connection = ").push_bind(connection.as_str().to_owned());
        }
        match filter.live {
            Some(true) => query.push(" AND s.ended_at IS NULL"),
            Some(false) => query.push(" AND s.ended_at IS NOT NULL"),
            None => &mut query,
        };
        if let Some(since) = filter.since {
            query.push(" AND s.started_at >= ").push_bind(micros(since));
        }
        query.push(" ORDER BY s.started_at DESC, s.id DESC LIMIT ").push_bind(i64::from(filter.limit));
        let rows: Vec<Row> = query.all(self.database.read()).await?;
        rows.into_iter().map(Row::parse).collect()
    }
}

async fn add_members(write: &mut Write, session: &SessionRow) -> Result<(), StoreError> {
    let mut members: Vec<&str> = session.members().collect();
    members.push(session.subject.as_str());
    members.sort_unstable();
    members.dedup();
    for member in members {
        sql("INSERT INTO session_members (identity, session) VALUES ($1, $2)").bind(member).bind(session.id.to_string()).run(&mut *write).await?;
    }
    Ok(())
}

#[derive(FromRow)]
struct Row {
    id: String,
    subject: String,
    chain: String,
    connection: String,
    database_name: String,
    token: Option<String>,
    peer: String,
    started_at: i64,
    ended_at: Option<i64>,
    ending: Option<String>,
    operations: i64,
}

impl Row {
    fn parse(self) -> Result<SessionRow, StoreError> {
        Ok(SessionRow {
            id: parsed("a session id", &self.id)?,
            subject: parsed("an identity name", &self.subject)?,
            chain: self.chain,
            connection: parsed("a connection name", &self.connection)?,
            database: self.database_name,
            token: optional("a token id", self.token.as_deref())?,
            peer: self.peer,
            started_at: time(self.started_at)?,
            ended_at: optional_time(self.ended_at)?,
            ending: self.ending,
            operations: count(self.operations),
        })
    }
}
