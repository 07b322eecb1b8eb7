//! Public keys of workloads and agents that have no platform, and what was signed with them and works once.

use identity::token::sha256;
use model::{Identity, IdentityKeyId, IdentityName, Timestamp, TokenId};
use sqlx::FromRow;

use super::{
    Event, State, events, identities,
    tokens::{self, GivenBy},
};
use crate::{
    StoreError,
    database::{micros, optional, optional_time, parsed, sql, time},
};

/// Keys of one identity that may be in force at once: the one in use, and the one that takes its place.
pub const MAX_KEYS_IN_FORCE: i64 = 2;
/// Ids remembered for one identity at once; whoever has so many waits until some would not work any more.
pub const MAX_REMEMBERED: i64 = 5_000;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityKey {
    /// Its id.
    pub id: IdentityKeyId,
    /// The workload or agent.
    pub identity: IdentityName,
    /// SHA-256 of it: RFC 7638.
    pub thumbprint: String,
    /// The key as a JWK.
    pub public_key: String,
    /// Who gave it to the identity.
    pub created_by: IdentityName,
    /// When.
    pub created_at: Timestamp,
    /// Until when it works.
    pub expires_at: Timestamp,
    /// When a token was last asked for with it.
    pub last_used: Option<Timestamp>,
    /// When and by whom it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    pub revoked_by: Option<IdentityName>,
}

/// Why a key is not kept.
#[derive(Debug, thiserror::Error)]
pub enum AddKeyError {
    /// There is no such workload, or it is over.
    #[error("`{0}` is no workload or agent in the register that works: those have owner, purpose and expiry")]
    Workload(IdentityName),
    /// It is or was somebody's.
    #[error("that key is in the register already, perhaps revoked: a key is given to one identity, once; make a new one")]
    Known,
    /// There are enough.
    #[error("`{0}` has {MAX_KEYS_IN_FORCE} keys in force: revoke one before you add another")]
    TooMany(IdentityName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of an id that works once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {
    /// It had not been used, and is from now on.
    First,
    /// It was used before.
    Again,
    /// Too many of that identity are remembered.
    TooMany,
}

impl State {
    /// Keeps a key.
    ///
    /// # Errors
    /// There is no such workload, it has keys enough, the key is or was somebody's, or the store fails.
    pub async fn add_key(&self, key: &IdentityKey) -> Result<(), AddKeyError> {
        let mut write = self.database.write().await?;
        let identity = identities::held(&mut write, &key.identity).await?;
        if !identity.is_some_and(|identity| identity.kind != model::IdentityKind::User && identity.is_active(key.created_at)) {
            return Err(AddKeyError::Workload(key.identity.clone()));
        }
        let (in_force,): (i64,) = sql("SELECT COUNT(*) FROM identity_keys WHERE identity = $1 AND revoked_at IS NULL AND expires_at > $2")
            .bind(key.identity.as_str())
            .bind(micros(key.created_at))
            .one(&mut write)
            .await?;
        if in_force >= MAX_KEYS_IN_FORCE {
            return Err(AddKeyError::TooMany(key.identity.clone()));
        }
        let added = sql("INSERT INTO identity_keys (id, identity, thumbprint, public_key, created_by, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING")
        .bind(key.id.to_string())
        .bind(key.identity.as_str())
        .bind(key.thumbprint.as_str())
        .bind(key.public_key.as_str())
        .bind(key.created_by.as_str())
        .bind(micros(key.created_at))
        .bind(micros(key.expires_at))
        .run(&mut write)
        .await?;
        if added == 0 {
            return Err(AddKeyError::Known);
        }
        Ok(write.commit().await?)
    }

    /// The keys of an identity, those that are over too.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keys_of(&self, identity: &IdentityName) -> Result<Vec<IdentityKey>, StoreError> {
        let rows: Vec<Row> =
            sql("SELECT * FROM identity_keys WHERE identity = $1 ORDER BY created_at, id").bind(identity.as_str()).all(self.database.read()).await?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// The keys of an identity that are in force.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keys_in_force(&self, identity: &IdentityName, now: Timestamp) -> Result<Vec<IdentityKey>, StoreError> {
        let rows: Vec<Row> =
            sql("SELECT * FROM identity_keys WHERE identity = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY created_at, id")
                .bind(identity.as_str())
                .bind(micros(now))
                .all(self.database.read())
                .await?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// Keys in force that end until `before`, of workloads and agents that work then: by when they end.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keys_ending(&self, before: Timestamp, now: Timestamp) -> Result<Vec<IdentityKey>, StoreError> {
        let rows: Vec<Row> = sql("SELECT k.* FROM identity_keys k JOIN identities i ON i.name = k.identity
             WHERE k.revoked_at IS NULL AND k.expires_at > $1 AND k.expires_at <= $2 AND i.revoked_at IS NULL AND i.expires_at > $1
             ORDER BY k.expires_at, k.id")
        .bind(micros(now))
        .bind(micros(before))
        .all(self.database.read())
        .await?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// Those of them whose owner is there and was not told yet.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keys_ending_untold(&self, before: Timestamp, now: Timestamp) -> Result<Vec<(IdentityName, IdentityKeyId)>, StoreError> {
        let rows: Vec<(String, String)> = sql("SELECT k.identity, k.id FROM identity_keys k JOIN identities i ON i.name = k.identity
             WHERE k.revoked_at IS NULL AND k.expires_at > $1 AND k.expires_at <= $2 AND k.end_told_at IS NULL
               AND i.revoked_at IS NULL AND i.expires_at > $1 AND i.orphaned_at IS NULL ORDER BY k.id")
        .bind(micros(now))
        .bind(micros(before))
        .all(self.database.read())
        .await?;
        rows.into_iter().map(|(identity, id)| Ok((parsed("an identity name", &identity)?, parsed("the id of a key", &id)?))).collect()
    }

    /// Notes that the owner of a key's identity is told of its end, with an event. Returns both; nothing if either has ended, nobody is there to be told, or they were before.
    ///
    /// # Errors
    /// When the store fails; then neither is there.
    pub async fn tell_of_key_end(
        &self,
        identity: &IdentityName,
        id: IdentityKeyId,
        event: impl FnOnce(&Identity, &IdentityKey) -> Event,
        now: Timestamp,
    ) -> Result<Option<(Identity, IdentityKey)>, StoreError> {
        let mut write = self.database.write().await?;
        let found = identities::held(&mut write, identity).await?;
        let Some(identity) = found.filter(|found| found.is_active(now) && found.orphaned_at.is_none()) else { return Ok(None) };
        let row: Option<Row> =
            sql("SELECT * FROM identity_keys WHERE id = $1 AND identity = $2 AND revoked_at IS NULL AND expires_at > $3 AND end_told_at IS NULL")
                .bind(id.to_string())
                .bind(identity.name.as_str())
                .bind(micros(now))
                .locked()
                .optional(&mut write)
                .await?;
        let Some(key) = row.map(Row::parse).transpose()? else { return Ok(None) };
        sql("UPDATE identity_keys SET end_told_at = $2 WHERE id = $1").bind(id.to_string()).bind(micros(now)).run(&mut write).await?;
        events::append(&mut write, &event(&identity, &key)).await?;
        write.commit().await?;
        Ok(Some((identity, key)))
    }

    /// Notes that a token was asked for with a key, to the minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn touch_key(&self, id: IdentityKeyId, now: Timestamp) -> Result<(), StoreError> {
        self.note_use(
            "SELECT CAST(1 AS BIGINT) FROM identity_keys WHERE id = $1 AND (last_used IS NULL OR last_used < $2)",
            "UPDATE identity_keys SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)",
            &id.to_string(),
            now,
        )
        .await
    }

    /// Revokes a key of an identity and the tokens that were asked for with it, in one transaction. Returns all that were, also when it was revoked before: that time what they
    /// opened may have been left. Nothing if it has no such key.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke_key(
        &self,
        identity: &IdentityName,
        id: IdentityKeyId,
        by: &IdentityName,
        now: Timestamp,
    ) -> Result<Option<Vec<TokenId>>, StoreError> {
        let mut write = self.database.write().await?;
        identities::held(&mut write, identity).await?;
        let known: Option<(String,)> = sql("SELECT id FROM identity_keys WHERE id = $1 AND identity = $2")
            .bind(id.to_string())
            .bind(identity.as_str())
            .locked()
            .optional(&mut write)
            .await?;
        if known.is_none() {
            return Ok(None);
        }
        sql("UPDATE identity_keys SET revoked_at = $2, revoked_by = $3 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id.to_string())
            .bind(micros(now))
            .bind(by.as_str())
            .run(&mut write)
            .await?;
        let tokens = tokens::revoke_given(&mut write, GivenBy::Key, &id.to_string(), by, now).await?;
        write.commit().await?;
        tokens.ids().map(Some)
    }

    /// Uses up an id of what somebody signed: the first who does gets it, however many come at once. It is remembered until `forget_at`.
    ///
    /// # Errors
    /// When the store fails. It may have been used up all the same.
    pub async fn use_once(&self, identity: &IdentityName, id: &str, forget_at: Timestamp, now: Timestamp) -> Result<Once, StoreError> {
        let mut write = self.database.write().await?;
        sql("DELETE FROM used_ids WHERE forget_at <= $1").bind(micros(now)).run(&mut write).await?;
        let (remembered,): (i64,) = sql("SELECT COUNT(*) FROM used_ids WHERE identity = $1").bind(identity.as_str()).one(&mut write).await?;
        if remembered >= MAX_REMEMBERED {
            return Ok(Once::TooMany);
        }
        // Names have no zero in them: no two pairs make the same text.
        let digest = sha256([identity.as_str().as_bytes(), b"\0", id.as_bytes()].concat().as_slice());
        let first = sql("INSERT INTO used_ids (digest, identity, forget_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(digest.to_string())
            .bind(identity.as_str())
            .bind(micros(forget_at))
            .run(&mut write)
            .await?;
        write.commit().await?;
        Ok(if first == 1 { Once::First } else { Once::Again })
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    identity: String,
    thumbprint: String,
    public_key: String,
    created_by: String,
    created_at: i64,
    expires_at: i64,
    last_used: Option<i64>,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
}

impl Row {
    fn parse(self) -> Result<IdentityKey, StoreError> {
        Ok(IdentityKey {
            id: parsed("the id of a key", &self.id)?,
            identity: parsed("an identity name", &self.identity)?,
            thumbprint: self.thumbprint,
            public_key: self.public_key,
            created_by: parsed("an identity name", &self.created_by)?,
            created_at: time(self.created_at)?,
            expires_at: time(self.expires_at)?,
            last_used: optional_time(self.last_used)?,
            revoked_at: optional_time(self.revoked_at)?,
            revoked_by: optional("an identity name", self.revoked_by.as_deref())?,
        })
    }
}
