//! Rules that say which tokens of an issuer are a workload's.

use std::collections::BTreeMap;

use model::{IdentityName, ProviderName, Timestamp, TokenId, TrustId};
use sqlx::FromRow;

use super::{
    State, identities,
    tokens::{self, GivenBy},
};
use crate::{
    StoreError,
    database::{from_json, micros, optional, optional_time, parsed, sql, time, to_json},
};

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRule {
    /// Its id.
    pub id: TrustId,
    /// The workload or agent.
    pub identity: IdentityName,
    /// Whose tokens, as the configuration calls the issuer.
    pub issuer: ProviderName,
    /// What that was when the rule was made: platform and issuer.
    pub anchor: String,
    /// What they must claim: all of it, exactly.
    pub claims: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: IdentityName,
    /// When.
    pub created_at: Timestamp,
    /// When a token was last taken by it.
    pub last_used: Option<Timestamp>,
    /// When and by whom it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    pub revoked_by: Option<IdentityName>,
}

/// Why a rule is not kept.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is no such workload, or it is over.
    #[error("`{0}` is no workload or agent in the register that works: those have owner, purpose and expiry")]
    Workload(IdentityName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl State {
    /// Keeps a rule.
    ///
    /// # Errors
    /// There is no such workload, or the store fails.
    pub async fn add_trust(&self, rule: &TrustRule) -> Result<(), TrustError> {
        let mut write = self.database.write().await?;
        let identity = identities::held(&mut write, &rule.identity).await?;
        if !identity.is_some_and(|identity| identity.kind != model::IdentityKind::User && identity.is_active(rule.created_at)) {
            return Err(TrustError::Workload(rule.identity.clone()));
        }
        sql("INSERT INTO trust_rules (id, identity, issuer, claims, created_by, created_at, anchor) VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(rule.id.to_string())
            .bind(rule.identity.as_str())
            .bind(rule.issuer.as_str())
            .bind(to_json("claims", &rule.claims)?)
            .bind(rule.created_by.as_str())
            .bind(micros(rule.created_at))
            .bind(rule.anchor.as_str())
            .run(&mut write)
            .await?;
        Ok(write.commit().await?)
    }

    /// The rules for an issuer that are in force.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn trust_in(&self, issuer: &ProviderName) -> Result<Vec<TrustRule>, StoreError> {
        let rows: Vec<Row> = sql("SELECT * FROM trust_rules WHERE issuer = $1 AND revoked_at IS NULL ORDER BY created_at, id")
            .bind(issuer.as_str())
            .all(self.database.read())
            .await?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// The rules of a workload, revoked ones too.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn trust_of(&self, identity: &IdentityName) -> Result<Vec<TrustRule>, StoreError> {
        let rows: Vec<Row> =
            sql("SELECT * FROM trust_rules WHERE identity = $1 ORDER BY created_at, id").bind(identity.as_str()).all(self.database.read()).await?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// Notes that a token was taken by a rule, to the minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn touch_trust(&self, id: TrustId, now: Timestamp) -> Result<(), StoreError> {
        self.note_use(
            "SELECT CAST(1 AS BIGINT) FROM trust_rules WHERE id = $1 AND (last_used IS NULL OR last_used < $2)",
            "UPDATE trust_rules SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)",
            &id.to_string(),
            now,
        )
        .await
    }

    /// Revokes a rule of a workload and the tokens that were given out by it, in one transaction. Returns all that were, also when it was revoked before: that time what they
    /// opened may have been left. Nothing if there is no such rule.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke_trust(
        &self,
        identity: &IdentityName,
        id: TrustId,
        by: &IdentityName,
        now: Timestamp,
    ) -> Result<Option<Vec<TokenId>>, StoreError> {
        let mut write = self.database.write().await?;
        identities::held(&mut write, identity).await?;
        let known: Option<(String,)> = sql("SELECT id FROM trust_rules WHERE id = $1 AND identity = $2")
            .bind(id.to_string())
            .bind(identity.as_str())
            .locked()
            .optional(&mut write)
            .await?;
        if known.is_none() {
            return Ok(None);
        }
        sql("UPDATE trust_rules SET revoked_at = $2, revoked_by = $3 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id.to_string())
            .bind(micros(now))
            .bind(by.as_str())
            .run(&mut write)
            .await?;
        let tokens = tokens::revoke_given(&mut write, GivenBy::Rule, &id.to_string(), by, now).await?;
        write.commit().await?;
        tokens.ids().map(Some)
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    identity: String,
    issuer: String,
    anchor: String,
    claims: String,
    created_by: String,
    created_at: i64,
    last_used: Option<i64>,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
}

impl Row {
    fn parse(self) -> Result<TrustRule, StoreError> {
        Ok(TrustRule {
            id: parsed("the id of a trust rule", &self.id)?,
            identity: parsed("an identity name", &self.identity)?,
            issuer: parsed("the name of an issuer", &self.issuer)?,
            anchor: self.anchor,
            claims: from_json("claims", &self.claims)?,
            created_by: parsed("an identity name", &self.created_by)?,
            created_at: time(self.created_at)?,
            last_used: optional_time(self.last_used)?,
            revoked_at: optional_time(self.revoked_at)?,
            revoked_by: optional("an identity name", self.revoked_by.as_deref())?,
        })
    }
}
