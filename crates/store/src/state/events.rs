//! Governance events: who changed what about Countersign itself, who read a recording.

use model::{IdentityName, Timestamp};
use serde::Serialize;

use super::{State, versions};
use crate::{
    StoreError,
    database::{Write, count, from_json, micros, parsed, sql, stored_count, time, to_json},
};

/// Something that happened to Countersign itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who did it.
    pub actor: IdentityName,
    /// What it was, a word programs can match: `identity.revoked`, `recording.read`.
    pub kind: String,
    /// To what: a name or id.
    pub subject: String,
    /// Whatever else belongs to it. Never a secret, never the text of a token.
    pub detail: serde_json::Value,
}

/// An event and its number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRow {
    /// 1 for the first, then one more each time, without gaps.
    pub number: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

impl State {
    /// Appends an event; returns its number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn append_event(&self, event: &Event) -> Result<u64, StoreError> {
        let mut write = self.database.write().await?;
        let number = append(&mut write, event).await?;
        write.commit().await?;
        Ok(number)
    }

    /// The first event of a kind about a subject.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn first_event(&self, subject: &str, kind: &str) -> Result<Option<EventRow>, StoreError> {
        let query = sql("SELECT number, at, actor, kind, subject, detail FROM events WHERE subject = $1 AND kind = $2 ORDER BY number LIMIT 1");
        let found: Option<Stored> = query.bind(subject).bind(kind).optional(self.database.read()).await?;
        found.map(row).transpose()
    }

    /// Events, newest first: all, or those about one subject; those before a number, to go on from the last page.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn events(&self, subject: Option<&str>, before: Option<u64>, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        let mut query = sql("SELECT number, at, actor, kind, subject, detail FROM events WHERE 1 = 1");
        if let Some(subject) = subject {
            query.push(" AND subject = ").push_bind(subject.to_owned());
        }
        if let Some(before) = before {
            query.push(" AND number < ").push_bind(stored_count(before));
        }
        query.push(" ORDER BY number DESC LIMIT ").push_bind(i64::from(limit));
        let rows: Vec<Stored> = query.all(self.database.read()).await?;
        rows.into_iter().map(row).collect()
    }
}

/// Appends an event inside a transaction, so that what it tells of and the event are there together or not at all. It comes last: others wait for the counter.
pub(super) async fn append(write: &mut Write, event: &Event) -> Result<u64, StoreError> {
    let number = versions::next(write, "event").await?;
    sql("INSERT INTO events (number, at, actor, kind, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(number)
        .bind(micros(event.at))
        .bind(event.actor.as_str())
        .bind(&event.kind)
        .bind(&event.subject)
        .bind(to_json("an event", &event.detail)?)
        .run(write)
        .await?;
    Ok(count(number))
}

/// As it is stored.
type Stored = (i64, i64, String, String, String, String);

fn row((number, at, actor, kind, subject, detail): Stored) -> Result<EventRow, StoreError> {
    let event = Event { at: time(at)?, actor: parsed("an identity name", &actor)?, kind, subject, detail: from_json("an event", &detail)? };
    Ok(EventRow { number: count(number), event })
}
