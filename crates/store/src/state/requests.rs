//! Requests for access, and the grants they became.

use model::{IdentityName, RequestId, Timestamp, TokenId, hold::HoldState, request::RequestRow};

use super::{
    State,
    tokens::{self, GivenBy},
};
use crate::{
    StoreError,
    database::{Write, from_json, micros, sql, to_json},
};

impl State {
    /// Adds a request.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add_request(&self, row: &RequestRow) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        sql("INSERT INTO requests (id, requester, connection, state, created_at, expires_at, granted_until, content) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(row.id.to_string())
            .bind(row.chain.subject.name.as_str())
            .bind(row.connection.as_str())
            .bind(state_text(&row.state))
            .bind(micros(row.created_at))
            .bind(micros(row.expires_at))
            .bind(granted_until(row))
            .bind(to_json("a request", row)?)
            .run(&mut write)
            .await?;
        write.commit().await
    }

    /// Puts `after` in place of `before`. False if the request is not `before` any more: then nothing is changed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn change_request(&self, before: &RequestRow, after: &RequestRow) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let changed = change(&mut write, before, after).await?;
        write.commit().await?;
        Ok(changed)
    }

    /// As [`change_request`](Self::change_request), where `after` ends the grant: the tokens that were minted for it are revoked in the same transaction. Returns
    /// all there are; nothing if the request is not `before` any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_grant(
        &self,
        before: &RequestRow,
        after: &RequestRow,
        by: &IdentityName,
        now: Timestamp,
    ) -> Result<Option<Vec<TokenId>>, StoreError> {
        let mut write = self.database.write().await?;
        if !change(&mut write, before, after).await? {
            return Ok(None);
        }
        let tokens = tokens::revoke_given(&mut write, GivenBy::Request, &after.id.to_string(), by, now).await?;
        write.commit().await?;
        tokens.ids().map(Some)
    }

    /// One request.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn request(&self, id: RequestId) -> Result<Option<RequestRow>, StoreError> {
        let row: Option<(String,)> = sql("SELECT content FROM requests WHERE id = $1").bind(id.to_string()).optional(self.database.read()).await?;
        row.map(|(content,)| from_json("a request", &content)).transpose()
    }

    /// Requests in any state, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn requests(&self, limit: u32) -> Result<Vec<RequestRow>, StoreError> {
        let rows: Vec<(String,)> =
            sql("SELECT content FROM requests ORDER BY created_at DESC, id DESC LIMIT $1").bind(i64::from(limit)).all(self.database.read()).await?;
        all(&rows)
    }

    /// The requests that wait for signatures, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn waiting_requests(&self) -> Result<Vec<RequestRow>, StoreError> {
        let rows: Vec<(String,)> =
            sql("SELECT content FROM requests WHERE state = 'waiting' ORDER BY created_at, id").all(self.database.read()).await?;
        all(&rows)
    }

    /// The requests that are access at `now`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn granted_requests(&self, now: Timestamp) -> Result<Vec<RequestRow>, StoreError> {
        let rows: Vec<(String,)> = sql("SELECT content FROM requests WHERE granted_until > $1 ORDER BY granted_until, id")
            .bind(micros(now))
            .all(self.database.read())
            .await?;
        all(&rows)
    }
}

fn all(rows: &[(String,)]) -> Result<Vec<RequestRow>, StoreError> {
    rows.iter().map(|(content,)| from_json("a request", content)).collect()
}

async fn change(write: &mut Write, before: &RequestRow, after: &RequestRow) -> Result<bool, StoreError> {
    let done = sql("UPDATE requests SET state = $3, granted_until = $4, content = $5 WHERE id = $1 AND content = $2")
        .bind(before.id.to_string())
        .bind(to_json("a request", before)?)
        .bind(state_text(&after.state))
        .bind(granted_until(after))
        .bind(to_json("a request", after)?)
        .run(&mut *write)
        .await?;
    Ok(done == 1)
}

fn granted_until(row: &RequestRow) -> Option<i64> {
    row.grant.as_ref().filter(|grant| grant.ended.is_none()).map(|grant| micros(grant.until))
}

const fn state_text(state: &HoldState) -> &'static str {
    match state {
        HoldState::Waiting => "waiting",
        HoldState::Approved => "granted",
        HoldState::Denied { .. } => "denied",
        HoldState::Expired => "expired",
        HoldState::Withdrawn { .. } => "withdrawn",
        HoldState::Voided { .. } => "voided",
    }
}
