//! Providers of people and issuers of jobs' tokens: whether anybody may come from there.
//!
//! INVARIANT: whoever enters somebody from a provider first holds its row, shared; whoever revokes it has it alone. So what was entered before is there to be ended, and
//! what comes after finds the revocation. The row is locked before any other.

use model::{IdentityName, ProviderName, Timestamp, TokenId};
use sqlx::FromRow;

use super::{
    State,
    accounts::{self, EndedSignIn, Which},
    tokens::{self, GivenBy},
};
use crate::{
    StoreError,
    database::{Write, micros, optional, parsed, sql, time},
};

/// A provider that nobody comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedProvider {
    /// What the configuration calls it, or called it.
    pub name: ProviderName,
    /// Since when.
    pub at: Timestamp,
    /// By whom.
    pub by: IdentityName,
    /// Why, in their words.
    pub why: Option<String>,
}

/// What ended with a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedWithProvider {
    /// Sign-ins of people, with their tokens.
    pub sign_ins: Vec<EndedSignIn>,
    /// The tokens of jobs, and of whoever they were passed on to; those too that were revoked before.
    pub tokens: Vec<TokenId>,
}

impl State {
    /// Revokes a provider until it is allowed again, with every sign-in and token that came of it, in one transaction. Again it ends what was left.
    ///
    /// # Errors
    /// When the store fails; then nothing is done.
    pub async fn revoke_provider(
        &self,
        name: &ProviderName,
        why: Option<&str>,
        ending: &str,
        by: &IdentityName,
        now: Timestamp,
    ) -> Result<EndedWithProvider, StoreError> {
        let mut write = self.database.write().await?;
        know(&mut write, name).await?;
        sql("UPDATE providers SET revoked_at = COALESCE(revoked_at, $2), revoked_by = COALESCE(revoked_by, $3), why = COALESCE(why, $4) WHERE name = $1")
            .bind(name.as_str())
            .bind(micros(now))
            .bind(by.as_str())
            .bind(why)
            .run(&mut write)
            .await?;
        let sign_ins = accounts::end(&mut write, &Which::From(name.clone()), ending, by, now).await?;
        let tokens = tokens::revoke_given(&mut write, GivenBy::Issuer, name.as_str(), by, now).await?;
        write.commit().await?;
        Ok(EndedWithProvider { sign_ins, tokens: tokens.ids()? })
    }

    /// Lets people and jobs come from a provider again. Whether nobody could. What ended stays so.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn allow_provider(&self, name: &ProviderName) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let allowed = sql("UPDATE providers SET revoked_at = NULL, revoked_by = NULL, why = NULL WHERE name = $1 AND revoked_at IS NOT NULL")
            .bind(name.as_str())
            .run(&mut write)
            .await?;
        write.commit().await?;
        Ok(allowed == 1)
    }

    /// Every provider that is revoked, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoked_providers(&self) -> Result<Vec<RevokedProvider>, StoreError> {
        let rows: Vec<Row> = sql("SELECT * FROM providers WHERE revoked_at IS NOT NULL ORDER BY name").all(self.database.read()).await?;
        rows.into_iter().filter_map(|row| row.parse().transpose()).collect()
    }

    /// Whether a provider is revoked. For saying so early: who enters somebody looks again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_provider_revoked(&self, name: &ProviderName) -> Result<bool, StoreError> {
        let row: Option<(String,)> =
            sql("SELECT name FROM providers WHERE name = $1 AND revoked_at IS NOT NULL").bind(name.as_str()).optional(self.database.read()).await?;
        Ok(row.is_some())
    }
}

/// Whether somebody may come from a provider: true until the transaction ends.
pub(super) async fn stands(write: &mut Write, name: &ProviderName) -> Result<bool, StoreError> {
    let held = || sql("SELECT revoked_at FROM providers WHERE name = $1").bind(name.as_str()).shared();
    let found: Option<(Option<i64>,)> = held().optional(&mut *write).await?;
    let (revoked_at,) = match found {
        Some(row) => row,
        None => {
            know(write, name).await?;
            held().one(write).await?
        }
    };
    Ok(revoked_at.is_none())
}

/// Puts a row there that can be locked.
async fn know(write: &mut Write, name: &ProviderName) -> Result<(), StoreError> {
    sql("INSERT INTO providers (name) VALUES ($1) ON CONFLICT DO NOTHING").bind(name.as_str()).run(write).await.map(drop)
}

#[derive(FromRow)]
struct Row {
    name: String,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
    why: Option<String>,
}

impl Row {
    fn parse(self) -> Result<Option<RevokedProvider>, StoreError> {
        let (Some(at), Some(by)) = (self.revoked_at, optional("an identity name", self.revoked_by.as_deref())?) else { return Ok(None) };
        Ok(Some(RevokedProvider { name: parsed("the name of a provider", &self.name)?, at: time(at)?, by, why: self.why }))
    }
}
