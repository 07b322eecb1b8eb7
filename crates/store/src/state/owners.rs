//! Workloads and agents whose owner has left, and those that end before long.
//!
//! INVARIANT: one that is orphaned works until its deadline at most: that is its `expires_at`, which everything goes by that asks whether an identity may act.
//! When it would have ended is kept beside it until somebody answers for it again.

use model::{Identity, IdentityName, Timestamp};

use super::{Event, State, events, identities, tokens};
use crate::{
    StoreError,
    database::{Write, micros, optional, parsed, sql},
};

/// Why nobody answers for a workload or agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerLeft {
    /// Its owner was revoked.
    Revoked,
    /// Its owner has expired.
    Expired,
    /// Its owner signs in at a provider, and has not been signed in for long.
    Absent,
}

impl OwnerLeft {
    /// For programs: `revoked`, `expired`, `absent`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Absent => "absent",
        }
    }
}

/// A workload or agent whose owner has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    /// Which.
    pub name: IdentityName,
    /// Whose it was.
    pub owner: Option<IdentityName>,
    /// Why nobody answers for it.
    pub why: OwnerLeft,
}

/// That an owner `o` has left, at $1; whoever was signed in after $2 has not.
const LEFT: &str = "(o.name IS NULL OR o.revoked_at IS NOT NULL OR (o.expires_at IS NOT NULL AND o.expires_at <= $1)
    OR (EXISTS (SELECT 1 FROM accounts a WHERE a.identity = o.name)
        AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.identity = o.name AND a.linked_at > $2)
        AND NOT EXISTS (SELECT 1 FROM sign_ins s WHERE s.identity = o.name AND (s.ended_at IS NULL OR s.ended_at > $2))))";

impl State {
    /// Workloads and agents that work and are not known to be orphaned, and whose owner has left: was revoked, expired, or has an account at a provider and
    /// no sign-in that stands or stood after `absent_since`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn left_behind(&self, absent_since: Timestamp, now: Timestamp) -> Result<Vec<LeftBehind>, StoreError> {
        let mut query = sql("SELECT m.name, m.owner, o.revoked_at, o.expires_at, o.name FROM identities m LEFT JOIN identities o ON o.name = m.owner
             WHERE m.kind <> 'user' AND m.orphaned_at IS NULL AND m.revoked_at IS NULL AND m.expires_at > $1 AND ")
        .bind(micros(now))
        .bind(micros(absent_since));
        query.push(LEFT).push(" ORDER BY m.name");
        type Found = (String, Option<String>, Option<i64>, Option<i64>, Option<String>);
        let rows: Vec<Found> = query.all(self.database.read()).await?;
        let found = |(name, owner, revoked, expires, known): Found| {
            let why = match (known, revoked, expires) {
                (None, _, _) | (_, Some(_), _) => OwnerLeft::Revoked,
                (_, _, Some(end)) if end <= micros(now) => OwnerLeft::Expired,
                _ => OwnerLeft::Absent,
            };
            Ok(LeftBehind { name: parsed("an identity name", &name)?, owner: optional("an identity name", owner.as_deref())?, why })
        };
        rows.into_iter().map(found).collect()
    }

    /// Notes that nobody answers for a workload or agent any more, and lets it work until `deadline` at most; with an event. Returns it as it is then; nothing if it has
    /// another owner by now, has ended, or is known to be orphaned.
    ///
    /// # Errors
    /// When the store fails; then neither is there.
    pub async fn orphan(
        &self,
        found: &LeftBehind,
        deadline: Timestamp,
        event: impl FnOnce(&Identity) -> Event,
        now: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        let mut write = self.database.write().await?;
        let Some(mut identity) = identities::held(&mut write, &found.name).await? else { return Ok(None) };
        if identity.owner != found.owner || identity.orphaned_at.is_some() || !identity.is_active(now) {
            return Ok(None);
        }
        let end = identity.expires_at.map_or(deadline, |end| end.min(deadline));
        sql("UPDATE identities SET orphaned_at = $2, full_expires_at = expires_at, expires_at = $3 WHERE name = $1")
            .bind(found.name.as_str())
            .bind(micros(now))
            .bind(micros(end))
            .run(&mut write)
            .await?;
        (identity.orphaned_at, identity.expires_at) = (Some(now), Some(end));
        events::append(&mut write, &event(&identity)).await?;
        write.commit().await?;
        Ok(Some(identity))
    }

    /// Orphaned workloads and agents whose owner is back, and that have not ended meanwhile.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn owners_back(&self, absent_since: Timestamp, now: Timestamp) -> Result<Vec<IdentityName>, StoreError> {
        let mut query = sql("SELECT m.name FROM identities m LEFT JOIN identities o ON o.name = m.owner
             WHERE m.orphaned_at IS NOT NULL AND m.stopped_at IS NULL AND m.revoked_at IS NULL AND m.expires_at > $1 AND NOT ")
        .bind(micros(now))
        .bind(micros(absent_since));
        query.push(LEFT).push(" ORDER BY m.name");
        let rows: Vec<(String,)> = query.all(self.database.read()).await?;
        rows.into_iter().map(|(name,)| parsed("an identity name", &name)).collect()
    }

    /// Notes that the owner of an orphaned one answers for it again, with an event. Returns it as it is then; nothing if it has ended or is not orphaned.
    ///
    /// # Errors
    /// When the store fails; then neither is there.
    pub async fn owner_is_back(
        &self,
        name: &IdentityName,
        event: impl FnOnce(&Identity) -> Event,
        now: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        let mut write = self.database.write().await?;
        let before = identities::held(&mut write, name).await?;
        if !before.is_some_and(|identity| identity.orphaned_at.is_some() && identity.is_active(now)) {
            return Ok(None);
        }
        answered_for(&mut write, name).await?;
        let Some(identity) = identities::held(&mut write, name).await? else { return Ok(None) };
        events::append(&mut write, &event(&identity)).await?;
        write.commit().await?;
        Ok(Some(identity))
    }

    /// Orphaned workloads and agents that nobody took on before their deadline, and whose tokens are not revoked yet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn orphans_run_out(&self, now: Timestamp) -> Result<Vec<IdentityName>, StoreError> {
        let rows: Vec<(String,)> = sql("SELECT name FROM identities WHERE orphaned_at IS NOT NULL AND stopped_at IS NULL AND revoked_at IS NULL
             AND expires_at <= $1 ORDER BY name")
        .bind(micros(now))
        .all(self.database.read())
        .await?;
        rows.into_iter().map(|(name,)| parsed("an identity name", &name)).collect()
    }

    /// Revokes the tokens of an orphaned one whose deadline has passed, once, with an event. Returns it; nothing if somebody answers for it by now. End its
    /// sessions besides.
    ///
    /// # Errors
    /// When the store fails; then nothing is done.
    pub async fn stop_orphan(
        &self,
        name: &IdentityName,
        by: &IdentityName,
        event: impl FnOnce(&Identity) -> Event,
        now: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        let mut write = self.database.write().await?;
        let found = identities::held(&mut write, name).await?;
        let Some(identity) = found.filter(|found| found.orphaned_at.is_some() && !found.is_active(now)) else { return Ok(None) };
        sql("UPDATE identities SET stopped_at = $2 WHERE name = $1").bind(name.as_str()).bind(micros(now)).run(&mut write).await?;
        tokens::revoke_all(&mut write, name, by, now).await?;
        events::append(&mut write, &event(&identity)).await?;
        write.commit().await?;
        Ok(Some(identity))
    }

    /// Workloads and agents that work and end until `before`, and those that are orphaned: by when they end.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ending(&self, before: Timestamp, now: Timestamp) -> Result<Vec<Identity>, StoreError> {
        let rows: Vec<identities::Row> = sql("SELECT * FROM identities WHERE kind <> 'user' AND revoked_at IS NULL AND expires_at > $1
             AND (expires_at <= $2 OR orphaned_at IS NOT NULL) ORDER BY expires_at, name")
        .bind(micros(now))
        .bind(micros(before))
        .all(self.database.read())
        .await?;
        rows.into_iter().map(identities::Row::parse).collect()
    }

    /// Those of them whose owner was not told yet of the end they have now. An orphan's is not there to be told.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ending_untold(&self, before: Timestamp, now: Timestamp) -> Result<Vec<IdentityName>, StoreError> {
        let rows: Vec<(String,)> = sql("SELECT name FROM identities WHERE kind <> 'user' AND revoked_at IS NULL AND orphaned_at IS NULL
             AND expires_at > $1 AND expires_at <= $2 AND (expiry_told IS NULL OR expiry_told <> expires_at) ORDER BY name")
        .bind(micros(now))
        .bind(micros(before))
        .all(self.database.read())
        .await?;
        rows.into_iter().map(|(name,)| parsed("an identity name", &name)).collect()
    }

    /// Notes that its owner is told of the end it has now, with an event. Returns it; nothing if it has ended or has another end by now.
    ///
    /// # Errors
    /// When the store fails; then neither is there.
    pub async fn tell_of_end(
        &self,
        name: &IdentityName,
        before: Timestamp,
        event: impl FnOnce(&Identity) -> Event,
        now: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        let mut write = self.database.write().await?;
        let found = identities::held(&mut write, name).await?;
        let due = |found: &Identity| found.is_active(now) && found.orphaned_at.is_none() && found.expires_at.is_some_and(|end| end <= before);
        let Some(identity) = found.filter(due) else { return Ok(None) };
        sql("UPDATE identities SET expiry_told = expires_at WHERE name = $1").bind(name.as_str()).run(&mut write).await?;
        events::append(&mut write, &event(&identity)).await?;
        write.commit().await?;
        Ok(Some(identity))
    }
}

/// Somebody answers for it again: it works for as long as it would have.
pub(super) async fn answered_for(write: &mut Write, name: &IdentityName) -> Result<(), StoreError> {
    sql("UPDATE identities SET expires_at = full_expires_at, orphaned_at = NULL, full_expires_at = NULL, stopped_at = NULL
         WHERE name = $1 AND orphaned_at IS NOT NULL")
    .bind(name.as_str())
    .run(write)
    .await
    .map(drop)
}
