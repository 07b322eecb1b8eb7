//! Policy versions: what was applied, by whom and when.

use std::collections::BTreeMap;

use model::{IdentityName, Timestamp, VersionHash};

use super::State;
use crate::{
    StoreError,
    database::{Write, count, from_json, micros, parsed, sql, time, to_json},
};

/// The application of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// 1 for the first, then one more each time.
    pub number: u64,
    /// Which version.
    pub hash: VersionHash,
    /// Who applied it.
    pub by: IdentityName,
    /// When.
    pub at: Timestamp,
}

/// A version with its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// Its last application.
    pub applied: Applied,
    /// Relative path to text.
    pub files: BTreeMap<String, String>,
}

impl State {
    /// Makes a version the current one. Its files are kept once, however often it is applied.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn add_version(
        &self,
        hash: VersionHash,
        files: &BTreeMap<String, String>,
        by: &IdentityName,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let mut write = self.database.write().await?;
        sql("INSERT INTO versions (hash, files) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING")
            .bind(hash.to_string())
            .bind(to_json("policy files", files)?)
            .run(&mut write)
            .await?;
        let number = next(&mut write, "application").await?;
        sql("INSERT INTO applications (number, hash, applied_by, applied_at) VALUES ($1, $2, $3, $4)")
            .bind(number)
            .bind(hash.to_string())
            .bind(by.as_str())
            .bind(micros(now))
            .run(&mut write)
            .await?;
        write.commit().await?;
        Ok(Applied { number: count(number), hash, by: by.clone(), at: now })
    }

    /// The version in force: the one applied last. None before the first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn current_version(&self) -> Result<Option<StoredVersion>, StoreError> {
        let row: Option<(i64, String, String, i64, String)> =
            sql("SELECT a.number, a.hash, a.applied_by, a.applied_at, v.files FROM applications a JOIN versions v ON v.hash = a.hash
             ORDER BY a.number DESC LIMIT 1")
            .optional(self.database.read())
            .await?;
        let Some((number, hash, by, at, files)) = row else { return Ok(None) };
        Ok(Some(StoredVersion { applied: applied((number, hash, by, at))?, files: from_json("policy files", &files)? }))
    }

    /// The files of a version that was applied once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn version_files(&self, hash: VersionHash) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        let row: Option<(String,)> = sql("SELECT files FROM versions WHERE hash = $1").bind(hash.to_string()).optional(self.database.read()).await?;
        row.map(|(files,)| from_json("policy files", &files)).transpose()
    }

    /// Every application, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn applications(&self, limit: u32) -> Result<Vec<Applied>, StoreError> {
        let rows: Vec<(i64, String, String, i64)> =
            sql("SELECT number, hash, applied_by, applied_at FROM applications ORDER BY number DESC LIMIT $1")
                .bind(i64::from(limit))
                .all(self.database.read())
                .await?;
        rows.into_iter().map(applied).collect()
    }
}

fn applied((number, hash, by, at): (i64, String, String, i64)) -> Result<Applied, StoreError> {
    Ok(Applied { number: count(number), hash: parsed("a version hash", &hash)?, by: parsed("an identity name", &by)?, at: time(at)? })
}

/// The next number of a sequence, taken inside the transaction that uses it: no gaps, no two alike.
pub(super) async fn next(write: &mut Write, counter: &'static str) -> Result<i64, StoreError> {
    let (number,): (i64,) = sql("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value").bind(counter).one(&mut *write).await?;
    Ok(number)
}
