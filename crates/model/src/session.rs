//! Sessions as the state store and the listings know them.

use serde::{Deserialize, Serialize};

use crate::{ConnectionName, IdentityName, SessionId, Timestamp, TokenId};

/// One session, live or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// On whose behalf.
    pub subject: IdentityName,
    /// The whole chain as people read it: `alice via support-bot`.
    pub chain: String,
    /// The connection.
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// The token it was opened with; none for a password.
    pub token: Option<TokenId>,
    /// Where the caller came from.
    pub peer: String,
    /// When it was admitted.
    pub started_at: Timestamp,
    /// When it ended, and how; none while it lives.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub ending: Option<String>,
    /// Operations so far (final once ended).
    pub operations: u64,
}

impl SessionRow {
    /// The names in its chain, the subject first. Neither names nor the ids of runs hold spaces.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.chain.split(" via ").map(|member| member.split(" (run ").next().unwrap_or(member))
    }
}
