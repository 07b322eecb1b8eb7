//! Named secrets of targets, encrypted with a key derived from the deployment key.
//!
//! AES-256-GCM with a random nonce; the name is authenticated with it, so that a row copied under another name does not open.
//! What is written is hexadecimal: nonce (12 bytes), ciphertext, tag (16 bytes).

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use evidence::{
    DeploymentKey, KeyId, KeyRing,
    key::{KEY_BYTES, KeyError},
};
use identity::vault::{Vault, VaultError};
use model::{IdentityId, IdentityName, Secret, SignInId, Timestamp, connection::SecretSource};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    StoreError,
    database::{Database, micros, parsed, sql, time},
};

/// Longest secret, in bytes: a PEM key with its chain fits.
pub const MAX_SECRET_BYTES: usize = 64 * 1024;
/// The name of what masks are keyed with. No secret that somebody puts can be called so.
const MASKING: &str = "countersign:masking";
/// The name of what access tokens are signed with.
const SIGNING: &str = "countersign:signing";
/// The name of what the keys for SSH are made of.
const SSH: &str = "countersign:ssh";
/// What the names of our own begin with.
const OURS: &str = "countersign:";
/// What the key is derived for.
const PURPOSE: &str = "countersign secrets 1";

/// The encrypted store of secrets.
#[derive(Debug, Clone)]
pub struct Secrets {
    database: Database,
    keys: Arc<KeyRing>,
    vault: Arc<OnceLock<Vault>>,
}

/// A stored secret as listings know it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SecretRow {
    /// The name `connections/*.toml` refers to.
    pub name: String,
    /// When it was first put.
    pub created_at: Timestamp,
    /// When it was last put.
    pub updated_at: Timestamp,
    /// Who put it last.
    pub updated_by: IdentityName,
}

/// Why a credential is not where its source says.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The variable is not set.
    #[error("environment variable {0} is not set")]
    Unset(String),
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The store has none of that name.
    #[error("the store has no secret `{0}`: run `countersign secret set {0}`")]
    Missing(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no vault.
    #[error("countersign.toml names no vault: write a section [vault]")]
    NoVault,
    /// The vault does not give it.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl Secrets {
    pub(crate) fn new(database: Database, keys: Arc<KeyRing>) -> Self {
        Self { database, keys, vault: Arc::default() }
    }

    /// Asks this vault from now on for what is kept in one. The first one counts.
    pub fn use_vault(&self, vault: Vault) {
        let _ = self.vault.set(vault);
    }

    /// The vault, if there is one.
    ///
    /// # Errors
    /// There is none.
    pub fn vault(&self) -> Result<&Vault, SourceError> {
        self.vault.get().ok_or(SourceError::NoVault)
    }

    /// Puts a secret under a name, in place of the one that was there.
    ///
    /// # Errors
    /// When it is longer than [`MAX_SECRET_BYTES`], or the store fails.
    pub async fn put(&self, name: &str, secret: &Secret, by: &IdentityName, now: Timestamp) -> Result<(), StoreError> {
        let key = self.keys.current()?;
        let sealed = SealingKey::of(key)?.seal(name, secret)?;
        let mut write = self.database.write().await?;
        sql("INSERT INTO secrets (name, key_id, sealed, created_at, updated_at, updated_by) VALUES ($1, $2, $3, $4, $4, $5)
             ON CONFLICT (name) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed,
                updated_at = excluded.updated_at, updated_by = excluded.updated_by")
        .bind(name)
        .bind(key.id().to_string())
        .bind(sealed)
        .bind(micros(now))
        .bind(by.as_str())
        .run(&mut write)
        .await?;
        write.commit().await
    }

    /// The secret of that name.
    ///
    /// # Errors
    /// When it was sealed with another deployment key or changed since, or the store fails.
    pub async fn get(&self, name: &str) -> Result<Option<Secret>, StoreError> {
        let row: Option<(String, String)> =
            sql("SELECT key_id, sealed FROM secrets WHERE name = $1").bind(name).optional(self.database.read()).await?;
        let Some((key_id, sealed)) = row else { return Ok(None) };
        let id: KeyId = parsed("a key id", &key_id)?;
        let key = self.keys.get(id).ok_or(KeyError::Unknown(id))?;
        SealingKey::of(key)?.open(name, &sealed).map(Some)
    }

    /// As [`of`](Self::of), or as it was last where the vault that has it cannot be asked: for readings of the gateway's own, which live sessions need.
    ///
    /// # Errors
    /// As for `of`.
    pub async fn of_or_last(&self, source: &SecretSource) -> Result<Secret, SourceError> {
        match source {
            SecretSource::Vault(field) => Ok(self.vault()?.read_or_last(field).await?),
            SecretSource::Env(_) | SecretSource::File(_) | SecretSource::Store(_) => self.of(source).await,
        }
    }

    /// A credential where its source says.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn of(&self, source: &SecretSource) -> Result<Secret, SourceError> {
        match source {
            SecretSource::Env(name) => std::env::var(name).map(Secret::from).map_err(|_| SourceError::Unset(name.clone())),
            SecretSource::File(path) => {
                let mut bytes = tokio::fs::read(path).await.map_err(|error| SourceError::File { path: path.clone(), error })?;
                while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    bytes.pop();
                }
                Ok(Secret::new(bytes))
            }
            SecretSource::Vault(field) => Ok(self.vault()?.read(field).await?),
            SecretSource::Store(name) => self.get(name).await?.ok_or_else(|| SourceError::Missing(name.clone())),
        }
    }

    /// What hashes and tokens in place of masked values are made with: random, made once, and the same for as long as the store lasts. None if the
    /// deployment key that sealed it is gone: another one would make other tokens of the same values.
    ///
    /// # Errors
    /// When the system gives no randomness, or the store fails.
    pub(crate) async fn masking(&self, now: Timestamp) -> Result<Option<Zeroizing<[u8; KEY_BYTES]>>, StoreError> {
        self.lasting(MASKING, now).await
    }

    /// What the gateway's own keys for SSH are made of: as for masks, for callers know the one and machines trust the other.
    ///
    /// # Errors
    /// When the system gives no randomness, or the store fails.
    pub(crate) async fn ssh(&self, now: Timestamp) -> Result<Option<Zeroizing<[u8; KEY_BYTES]>>, StoreError> {
        self.lasting(SSH, now).await
    }

    async fn lasting(&self, name: &str, now: Timestamp) -> Result<Option<Zeroizing<[u8; KEY_BYTES]>>, StoreError> {
        let kept = match self.get(name).await {
            Err(StoreError::Key(_) | StoreError::Sealing(_)) => return Ok(None),
            other => other?,
        };
        if let Some(secret) = kept {
            return Ok(secret.reveal().try_into().map(Zeroizing::new).ok());
        }
        self.put_fresh(name, now).await.map(Some)
    }

    /// What access tokens are signed with: random, made once. If the deployment key that sealed it is gone, it is made anew: what it signed was for an hour.
    ///
    /// # Errors
    /// When the system gives no randomness, or the store fails.
    pub(crate) async fn signing(&self, now: Timestamp) -> Result<Zeroizing<[u8; KEY_BYTES]>, StoreError> {
        let kept = match self.get(SIGNING).await {
            Err(StoreError::Key(_) | StoreError::Sealing(_)) => None,
            other => other?,
        };
        match kept.and_then(|secret| secret.reveal().try_into().ok()) {
            Some(kept) => Ok(Zeroizing::new(kept)),
            None => self.put_fresh(SIGNING, now).await,
        }
    }

    async fn put_fresh(&self, name: &str, now: Timestamp) -> Result<Zeroizing<[u8; KEY_BYTES]>, StoreError> {
        let mut random = Zeroizing::new([0; KEY_BYTES]);
        aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| StoreError::Sealing("the system gave no randomness"))?;
        let by: IdentityName = parsed("an identity name", "countersign")?;
        self.put(name, &Secret::new(random.to_vec()), &by, now).await?;
        Ok(random)
    }

    /// Keeps what a provider can be asked with whether a sign-in stands, in place of what was kept before.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub async fn keep_refresh(&self, sign_in: SignInId, refresh: &Secret, now: Timestamp) -> Result<(), StoreError> {
        let by: IdentityName = parsed("an identity name", "countersign")?;
        self.put(&refresh_of(sign_in), refresh, &by, now).await
    }

    /// What a provider can be asked with whether a sign-in stands.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub async fn refresh(&self, sign_in: SignInId) -> Result<Option<Secret>, StoreError> {
        self.get(&refresh_of(sign_in)).await
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_refresh(&self, sign_in: SignInId) -> Result<bool, StoreError> {
        self.delete(&refresh_of(sign_in)).await
    }

    /// Keeps what the codes of somebody's authenticator are made of, in place of what was kept before.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub async fn keep_second_factor(&self, identity: IdentityId, secret: &Secret, now: Timestamp) -> Result<(), StoreError> {
        let by: IdentityName = parsed("an identity name", "countersign")?;
        self.put(&second_factor_of(identity), secret, &by, now).await
    }

    /// What the codes of somebody's authenticator are made of.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub async fn second_factor(&self, identity: IdentityId) -> Result<Option<Secret>, StoreError> {
        self.get(&second_factor_of(identity)).await
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_second_factor(&self, identity: IdentityId) -> Result<bool, StoreError> {
        self.delete(&second_factor_of(identity)).await
    }

    /// Every secret's name and history, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Vec<SecretRow>, StoreError> {
        let rows: Vec<(String, i64, i64, String)> =
            sql("SELECT name, created_at, updated_at, updated_by FROM secrets WHERE name NOT LIKE $1 ORDER BY name")
                .bind(format!("{OURS}%"))
                .all(self.database.read())
                .await?;
        rows.into_iter()
            .map(|(name, created, updated, by)| {
                Ok(SecretRow { name, created_at: time(created)?, updated_at: time(updated)?, updated_by: parsed("an identity name", &by)? })
            })
            .collect()
    }

    /// Seals what an older deployment key sealed with the current one, after a rotation. Returns how many.
    ///
    /// # Errors
    /// When one was sealed with a key that is gone, or the store fails; those before it are sealed anew.
    pub async fn reseal(&self) -> Result<u64, StoreError> {
        let key = self.keys.current()?;
        let current = key.id().to_string();
        let older: Vec<(String, String)> =
            sql("SELECT name, sealed FROM secrets WHERE key_id <> $1 ORDER BY name").bind(&current).all(self.database.read()).await?;
        let mut resealed = 0;
        for (name, before) in older {
            let Some(secret) = self.get(&name).await? else { continue };
            let sealed = SealingKey::of(key)?.seal(&name, &secret)?;
            let mut write = self.database.write().await?;
            // What was put meanwhile stays.
            let done = sql("UPDATE secrets SET sealed = $2, key_id = $3 WHERE name = $1 AND sealed = $4")
                .bind(&name)
                .bind(sealed)
                .bind(&current)
                .bind(before)
                .run(&mut write)
                .await?;
            write.commit().await?;
            resealed += done;
        }
        Ok(resealed)
    }

    /// Deletes a secret; its bytes are overwritten in the file. False if there is none of that name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, name: &str) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let done = sql("DELETE FROM secrets WHERE name = $1").bind(name).run(&mut write).await?;
        write.commit().await?;
        Ok(done > 0)
    }
}

fn refresh_of(sign_in: SignInId) -> String {
    format!("{OURS}sign-in:{sign_in}")
}

fn second_factor_of(identity: IdentityId) -> String {
    format!("{OURS}second-factor:{identity}")
}

struct SealingKey(Zeroizing<[u8; KEY_BYTES]>);

impl SealingKey {
    fn of(key: &DeploymentKey) -> Result<Self, StoreError> {
        Ok(Self(key.derive(PURPOSE)?))
    }

    fn seal(&self, name: &str, secret: &Secret) -> Result<String, StoreError> {
        if secret.reveal().len() > MAX_SECRET_BYTES {
            return Err(StoreError::Sealing("it is longer than 64 KiB"));
        }
        let mut nonce = [0u8; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| StoreError::Sealing("the system gave no randomness"))?;
        let mut sealed = Vec::with_capacity(secret.reveal().len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(secret.reveal());
        let done = self.cipher()?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound_to(name), &mut sealed);
        if done.is_err() {
            sealed.zeroize();
            return Err(StoreError::Sealing("the cipher failed"));
        }
        Ok(hex(&nonce) + &hex(&sealed))
    }

    fn open(&self, name: &str, sealed: &str) -> Result<Secret, StoreError> {
        const CHANGED: StoreError = StoreError::Sealing("it was sealed with another deployment key, or changed since");
        let bytes = unhex(sealed).ok_or(CHANGED)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(CHANGED)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length = self.cipher()?.open_in_place(Nonce::assume_unique_for_key(*nonce), bound_to(name), &mut opened).map_err(|_| CHANGED)?.len();
        Ok(Secret::new(opened.get(..length).ok_or(CHANGED)?.to_vec()))
    }

    fn cipher(&self) -> Result<LessSafeKey, StoreError> {
        UnboundKey::new(&AES_256_GCM, self.0.as_slice()).map(LessSafeKey::new).map_err(|_| StoreError::Sealing("the key has the wrong length"))
    }
}

fn bound_to(name: &str) -> Aad<Vec<u8>> {
    Aad::from([b"countersign secret v1 ", name.as_bytes()].concat())
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
