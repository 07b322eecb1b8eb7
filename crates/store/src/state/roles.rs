//! Roles at targets that were made for one session each.
//!
//! A row is written before its role is made, and deleted when the role is known to be gone: what a killed process left is found here, and nothing else is ever dropped.

use model::{ConnectionName, SessionId, Timestamp};
use sqlx::FromRow;

use super::State;
use crate::{
    StoreError,
    database::{micros, parsed, sql, time},
};

/// A role of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRole {
    /// Its name at the target.
    pub name: String,
    /// The session.
    pub session: SessionId,
    /// The connection it was made for.
    pub connection: ConnectionName,
    /// The target's host, as the connection had it.
    pub host: String,
    /// And its port.
    pub port: u16,
    /// The session's database.
    pub database: String,
    /// The standing role it acts as.
    pub acts_as: String,
    /// What ends it, where a vault made it; then this was written after the role was made, and a vault ends by itself what it made.
    pub lease: Option<String>,
    /// When this was written: before the role was made.
    pub made_at: Timestamp,
    /// Why it could not be dropped yet, if that was tried.
    pub failure: Option<String>,
}

impl State {
    /// Writes down that a role is about to be made.
    ///
    /// # Errors
    /// When the store fails; then it must not be made.
    pub async fn add_target_role(&self, role: &TargetRole) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        sql("INSERT INTO target_roles (name, session, connection, host, port, database_name, acts_as, lease, made_at, failure)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
        .bind(&role.name)
        .bind(role.session.to_string())
        .bind(role.connection.as_str())
        .bind(&role.host)
        .bind(i64::from(role.port))
        .bind(&role.database)
        .bind(&role.acts_as)
        .bind(role.lease.as_deref())
        .bind(micros(role.made_at))
        .bind(role.failure.as_deref())
        .run(&mut write)
        .await?;
        write.commit().await
    }

    /// Those that may be there, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn target_roles(&self) -> Result<Vec<TargetRole>, StoreError> {
        let rows: Vec<Row> = sql("SELECT * FROM target_roles ORDER BY made_at, name").all(self.database.read()).await?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// Notes why one could not be dropped yet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_target_role(&self, name: &str, failure: &str) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        sql("UPDATE target_roles SET failure = $2 WHERE name = $1").bind(name).bind(failure).run(&mut write).await?;
        write.commit().await
    }

    /// Forgets one that is gone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn remove_target_role(&self, name: &str) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        sql("DELETE FROM target_roles WHERE name = $1").bind(name).run(&mut write).await?;
        write.commit().await
    }
}

#[derive(FromRow)]
struct Row {
    name: String,
    session: String,
    connection: String,
    host: String,
    port: i64,
    database_name: String,
    acts_as: String,
    lease: Option<String>,
    made_at: i64,
    failure: Option<String>,
}

impl Row {
    fn parse(self) -> Result<TargetRole, StoreError> {
        Ok(TargetRole {
            name: self.name,
            session: parsed("a session id", &self.session)?,
            connection: parsed("a connection name", &self.connection)?,
            host: self.host,
            port: parsed("a port", &self.port.to_string())?,
            database: self.database_name,
            acts_as: self.acts_as,
            lease: self.lease,
            made_at: time(self.made_at)?,
            failure: self.failure,
        })
    }
}
