//! Held operations.

use model::{
    HoldId,
    hold::{HoldRow, HoldState},
};

use super::State;
use crate::{
    StoreError,
    database::{Write, from_json, micros, sql, to_json},
};

impl State {
    /// Saves a hold: adds it, or brings a waiting one up to date. False when it was settled before: what is final is never written over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn save_hold(&self, hold: &HoldRow) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let saved = save(&mut write, hold).await?;
        write.commit().await?;
        Ok(saved)
    }

    /// One hold.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn hold(&self, id: HoldId) -> Result<Option<HoldRow>, StoreError> {
        let row: Option<(String,)> = sql("SELECT content FROM holds WHERE id = $1").bind(id.to_string()).optional(self.database.read()).await?;
        row.map(|(content,)| from_json("a hold", &content)).transpose()
    }

    /// The holds that wait, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn waiting_holds(&self) -> Result<Vec<HoldRow>, StoreError> {
        let rows: Vec<(String,)> = sql("SELECT content FROM holds WHERE state = 'waiting' ORDER BY created_at, id").all(self.database.read()).await?;
        rows.iter().map(|(content,)| from_json("a hold", content)).collect()
    }

    /// Holds in any state, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn holds(&self, limit: u32) -> Result<Vec<HoldRow>, StoreError> {
        let rows: Vec<(String,)> =
            sql("SELECT content FROM holds ORDER BY created_at DESC, id DESC LIMIT $1").bind(i64::from(limit)).all(self.database.read()).await?;
        rows.iter().map(|(content,)| from_json("a hold", content)).collect()
    }

    /// Withdraws every waiting hold, when the process starts. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn withdraw_waiting_holds(&self, why: &str) -> Result<u64, StoreError> {
        let mut write = self.database.write().await?;
        let rows: Vec<(String,)> = sql("SELECT content FROM holds WHERE state = 'waiting'").all(&mut write).await?;
        let mut withdrawn = 0;
        for (content,) in rows {
            let mut hold: HoldRow = from_json("a hold", &content)?;
            hold.state = HoldState::Withdrawn { why: why.to_owned() };
            withdrawn += u64::from(save(&mut write, &hold).await?);
        }
        write.commit().await?;
        Ok(withdrawn)
    }
}

async fn save(write: &mut Write, hold: &HoldRow) -> Result<bool, StoreError> {
    let done = sql(
        "INSERT INTO holds (id, session, requester, connection, state, created_at, expires_at, content) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at, content = excluded.content WHERE holds.state = 'waiting'",
    )
    .bind(hold.id.to_string())
    .bind(hold.session.to_string())
    .bind(hold.requester.as_str())
    .bind(hold.connection.as_str())
    .bind(state_text(&hold.state))
    .bind(micros(hold.created_at))
    .bind(micros(hold.expires_at))
    .bind(to_json("a hold", hold)?)
    .run(&mut *write)
    .await?;
    Ok(done > 0)
}

const fn state_text(state: &HoldState) -> &'static str {
    match state {
        HoldState::Waiting => "waiting",
        HoldState::Approved => "approved",
        HoldState::Denied { .. } => "denied",
        HoldState::Expired => "expired",
        HoldState::Withdrawn { .. } => "withdrawn",
        HoldState::Voided { .. } => "voided",
    }
}
