//! The register of identities.
//!
//! A name is given once: a revoked identity keeps its row, so that records and policies which say "alice" never come to mean somebody else.

use identity::NewIdentity;
use model::{GroupName, Identity, IdentityId, IdentityKind, IdentityName, Timestamp};
use sqlx::FromRow;

use super::{State, accounts, owners};
use crate::{
    StoreError,
    database::{self, Write, from_json, micros, optional, optional_time, parsed, sql, time, to_json},
};

/// Why an identity is not entered.
#[derive(Debug, thiserror::Error)]
pub enum AddIdentityError {
    /// The name is or was somebody's, perhaps in other letters' case.
    #[error("the name `{0}` is taken: names are given once, and no two differ by case alone")]
    Taken(IdentityName),
    /// The owner is not an active person.
    #[error("`{0}` cannot own it: the owner must be a person in the register, neither revoked nor expired")]
    Owner(IdentityName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an identity is not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeIdentityError {
    /// Nobody has the name.
    #[error("there is no identity `{0}`: see `countersign identity list`")]
    Unknown(IdentityName),
    /// It was revoked, for good.
    #[error("`{0}` was revoked and cannot be changed")]
    Revoked(IdentityName),
    /// They sign in at a provider.
    #[error("`{0}` signs in at a provider, and with no password: whoever is barred there is barred here")]
    Elsewhere(IdentityName),
    /// Nobody answers for it.
    #[error("nobody answers for `{0}` any more: give it an owner first, with `countersign identity own {0} OWNER`")]
    Orphaned(IdentityName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl State {
    /// Enters an identity. `created_by` is `init` for the first administrator.
    ///
    /// # Errors
    /// When the name was given before, the owner is not an active person, or the store fails.
    pub async fn add_identity(
        &self,
        id: IdentityId,
        new: &NewIdentity,
        created_by: &IdentityName,
        now: Timestamp,
    ) -> Result<Identity, AddIdentityError> {
        let mut write = self.database.write().await?;
        if let Some(owner) = new.owner() {
            check_owner(&mut write, owner, now).await?;
        }
        let identity = enter(&mut write, id, new, created_by, now).await?.ok_or_else(|| AddIdentityError::Taken(new.name().clone()))?;
        write.commit().await?;
        Ok(identity)
    }

    /// The identity of that name, revoked or not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn identity(&self, name: &IdentityName) -> Result<Option<Identity>, StoreError> {
        let row: Option<Row> = sql("SELECT * FROM identities WHERE name = $1").bind(name.as_str()).optional(self.database.read()).await?;
        row.map(Row::parse).transpose()
    }

    /// The identity of that id, revoked or not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn identity_by_id(&self, id: IdentityId) -> Result<Option<Identity>, StoreError> {
        let row: Option<Row> = sql("SELECT * FROM identities WHERE id = $1").bind(id.to_string()).optional(self.database.read()).await?;
        row.map(Row::parse).transpose()
    }

    /// The identity and its password hash, for signing in: one lookup whether the name is known or not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn identity_and_password(&self, name: &IdentityName) -> Result<Option<(Identity, Option<String>)>, StoreError> {
        let row: Option<Row> = sql("SELECT * FROM identities WHERE name = $1").bind(name.as_str()).optional(self.database.read()).await?;
        row.map(|mut row| Ok((row.password_hash.take(), row.parse()?))).transpose().map(|found| found.map(|(hash, identity)| (identity, hash)))
    }

    /// Every identity, revoked ones too, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn identities(&self) -> Result<Vec<Identity>, StoreError> {
        let rows: Vec<Row> = sql("SELECT * FROM identities ORDER BY folded_name").all(self.database.read()).await?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// Puts it in these groups, and in no others but those the providers of its accounts tell of. Returns it as it is now.
    ///
    /// # Errors
    /// When it is unknown or revoked, or the store fails.
    pub async fn set_groups(&self, name: &IdentityName, groups: &[GroupName]) -> Result<Identity, ChangeIdentityError> {
        let mut groups = groups.to_vec();
        groups.sort();
        groups.dedup();
        let mut write = self.database.write().await?;
        let mut identity = changeable(&mut write, name).await?;
        sql("UPDATE identities SET own_groups = $2 WHERE name = $1").bind(name.as_str()).bind(to_json("groups", &groups)?).run(&mut write).await?;
        identity.groups = accounts::regroup(&mut write, name).await?;
        write.commit().await?;
        Ok(identity)
    }

    /// Gives it a new expiry, checked by [`identity::register::check_expiry`] before.
    ///
    /// # Errors
    /// When it is unknown, revoked or orphaned, or the store fails.
    pub async fn set_expiry(&self, name: &IdentityName, expires_at: Timestamp) -> Result<Identity, ChangeIdentityError> {
        let mut write = self.database.write().await?;
        let mut identity = changeable(&mut write, name).await?;
        if identity.orphaned_at.is_some() {
            return Err(ChangeIdentityError::Orphaned(name.clone()));
        }
        sql("UPDATE identities SET expires_at = $2 WHERE name = $1").bind(name.as_str()).bind(micros(expires_at)).run(&mut write).await?;
        write.commit().await?;
        identity.expires_at = Some(expires_at);
        Ok(identity)
    }

    /// Gives it another owner, an active person. If it was orphaned, it is no longer, and works for as long as it would have.
    ///
    /// # Errors
    /// When it is unknown or revoked, the owner is not an active person, or the store fails.
    pub async fn set_owner(&self, name: &IdentityName, owner: &IdentityName, now: Timestamp) -> Result<Identity, SetOwnerError> {
        let mut write = self.database.write().await?;
        changeable(&mut write, name).await?;
        check_owner(&mut write, owner, now).await?;
        let change = sql("UPDATE identities SET owner = $2 WHERE name = $1").bind(name.as_str()).bind(owner.as_str());
        change.run(&mut write).await?;
        owners::answered_for(&mut write, name).await?;
        let identity = changeable(&mut write, name).await?;
        write.commit().await?;
        Ok(identity)
    }

    /// Revokes it and all its tokens, for good, in one transaction. False if it was revoked before: the first time stands.
    ///
    /// # Errors
    /// When it is unknown, or the store fails.
    pub async fn revoke_identity(&self, name: &IdentityName, by: &IdentityName, now: Timestamp) -> Result<bool, ChangeIdentityError> {
        let mut write = self.database.write().await?;
        let identity = held(&mut write, name).await?.ok_or_else(|| ChangeIdentityError::Unknown(name.clone()))?;
        sql("UPDATE identities SET revoked_at = $2, revoked_by = $3, password_hash = NULL WHERE name = $1 AND revoked_at IS NULL")
            .bind(name.as_str())
            .bind(micros(now))
            .bind(by.as_str())
            .run(&mut write)
            .await?;
        super::tokens::revoke_all(&mut write, name, by, now).await?;
        write.commit().await?;
        Ok(identity.revoked_at.is_none())
    }

    /// Notes that it was used, to the minute. Not for the hot path: once a session or API call.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn touch_identity(&self, name: &IdentityName, now: Timestamp) -> Result<(), StoreError> {
        self.note_use(
            "SELECT CAST(1 AS BIGINT) FROM identities WHERE name = $1 AND (last_used IS NULL OR last_used < $2)",
            "UPDATE identities SET last_used = $2 WHERE name = $1 AND (last_used IS NULL OR last_used < $2)",
            name.as_str(),
            now,
        )
        .await
    }

    /// People who work and have a password or an account at a provider.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn people_with_a_way_in(&self, now: Timestamp) -> Result<Vec<Identity>, StoreError> {
        let rows: Vec<Row> = sql("SELECT * FROM identities i WHERE kind = 'user' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)
             AND (password_hash IS NOT NULL OR EXISTS (SELECT 1 FROM accounts a WHERE a.identity = i.name)) ORDER BY name")
        .bind(micros(now))
        .all(self.database.read())
        .await?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// Sets its password hash, or takes it away.
    ///
    /// # Errors
    /// When it is unknown or revoked, or the store fails.
    pub async fn set_password_hash(&self, name: &IdentityName, hash: Option<&str>) -> Result<(), ChangeIdentityError> {
        let mut write = self.database.write().await?;
        changeable(&mut write, name).await?;
        if hash.is_some() && accounts::has_account(&mut write, name).await? {
            return Err(ChangeIdentityError::Elsewhere(name.clone()));
        }
        sql("UPDATE identities SET password_hash = $2 WHERE name = $1").bind(name.as_str()).bind(hash).run(&mut write).await?;
        Ok(write.commit().await?)
    }

    /// Asks for a code with their password from now on, of a later step than this one. False if one is asked for already.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_second_factor(&self, name: &IdentityName, step: i64, now: Timestamp) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let begun = sql("UPDATE identities SET second_factor_at = $2, second_factor_step = $3 WHERE name = $1 AND second_factor_at IS NULL")
            .bind(name.as_str())
            .bind(micros(now))
            .bind(step)
            .run(&mut write)
            .await?;
        write.commit().await?;
        Ok(begun == 1)
    }

    /// Uses up the code of a step, and all before it. True for whoever does so first, and for nobody else ever.
    ///
    /// # Errors
    /// When the store fails. It may have been used up all the same.
    pub async fn spend_code(&self, name: &IdentityName, step: i64) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let spent = sql("UPDATE identities SET second_factor_step = $2 WHERE name = $1 AND second_factor_at IS NOT NULL AND second_factor_step < $2")
            .bind(name.as_str())
            .bind(step)
            .run(&mut write)
            .await?;
        write.commit().await?;
        Ok(spent == 1)
    }

    /// Asks for no code any more. False if none was asked for.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_second_factor(&self, name: &IdentityName) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let ended = sql("UPDATE identities SET second_factor_at = NULL, second_factor_step = NULL WHERE name = $1 AND second_factor_at IS NOT NULL")
            .bind(name.as_str())
            .run(&mut write)
            .await?;
        write.commit().await?;
        Ok(ended == 1)
    }
}

/// Why the owner is not changed.
#[derive(Debug, thiserror::Error)]
pub enum SetOwnerError {
    /// The identity cannot be changed.
    #[error(transparent)]
    Identity(#[from] ChangeIdentityError),
    /// The owner cannot be one.
    #[error(transparent)]
    Owner(#[from] AddIdentityError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Enters an identity inside a transaction; none if the name was given before.
pub(super) async fn enter(
    write: &mut Write,
    id: IdentityId,
    new: &NewIdentity,
    created_by: &IdentityName,
    now: Timestamp,
) -> Result<Option<Identity>, StoreError> {
    let identity = entered(id, new, created_by, now);
    let added =
        sql("INSERT INTO identities (id, name, folded_name, kind, group_names, own_groups, created_by, created_at, owner, purpose, expires_at)
         VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING")
        .bind(id.to_string())
        .bind(identity.name.as_str())
        .bind(identity.name.as_str().to_ascii_lowercase())
        .bind(identity.kind.as_str())
        .bind(to_json("groups", &identity.groups)?)
        .bind(created_by.as_str())
        .bind(micros(now))
        .bind(identity.owner.as_ref().map(IdentityName::as_str))
        .bind(identity.purpose.as_deref())
        .bind(identity.expires_at.map(micros))
        .run(write)
        .await?;
    Ok((added > 0).then_some(identity))
}

fn entered(id: IdentityId, new: &NewIdentity, created_by: &IdentityName, now: Timestamp) -> Identity {
    Identity {
        id,
        name: new.name().clone(),
        kind: new.kind(),
        groups: new.groups().to_vec(),
        created_by: created_by.clone(),
        created_at: now,
        last_used: None,
        owner: new.owner().cloned(),
        purpose: new.purpose().map(str::to_owned),
        expires_at: new.expires_at(),
        revoked_at: None,
        orphaned_at: None,
        second_factor_at: None,
    }
}

async fn check_owner(write: &mut Write, owner: &IdentityName, now: Timestamp) -> Result<(), AddIdentityError> {
    let person = held(write, owner).await?.filter(|found| found.kind == IdentityKind::User && found.is_active(now));
    person.map(drop).ok_or_else(|| AddIdentityError::Owner(owner.clone()))
}

async fn changeable(write: &mut Write, name: &IdentityName) -> Result<Identity, ChangeIdentityError> {
    match held(write, name).await? {
        None => Err(ChangeIdentityError::Unknown(name.clone())),
        Some(identity) if identity.revoked_at.is_some() => Err(ChangeIdentityError::Revoked(name.clone())),
        Some(identity) => Ok(identity),
    }
}

/// The row, which nobody else changes before this transaction ends.
pub(super) async fn held(write: &mut Write, name: &IdentityName) -> Result<Option<Identity>, StoreError> {
    let row: Option<Row> = sql("SELECT * FROM identities WHERE name = $1").bind(name.as_str()).locked().optional(&mut *write).await?;
    row.map(Row::parse).transpose()
}

#[derive(FromRow)]
pub(super) struct Row {
    id: String,
    name: String,
    kind: String,
    group_names: String,
    created_by: String,
    created_at: i64,
    last_used: Option<i64>,
    owner: Option<String>,
    purpose: Option<String>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    orphaned_at: Option<i64>,
    second_factor_at: Option<i64>,
    password_hash: Option<String>,
}

impl Row {
    pub(super) fn parse(self) -> Result<Identity, StoreError> {
        Ok(Identity {
            id: parsed("an identity id", &self.id)?,
            name: parsed("an identity name", &self.name)?,
            kind: database::parsed("an identity kind", &self.kind)?,
            groups: from_json("groups", &self.group_names)?,
            created_by: parsed("an identity name", &self.created_by)?,
            created_at: time(self.created_at)?,
            last_used: optional_time(self.last_used)?,
            owner: optional("an identity name", self.owner.as_deref())?,
            purpose: self.purpose,
            expires_at: optional_time(self.expires_at)?,
            revoked_at: optional_time(self.revoked_at)?,
            orphaned_at: optional_time(self.orphaned_at)?,
            second_factor_at: optional_time(self.second_factor_at)?,
        })
    }
}
