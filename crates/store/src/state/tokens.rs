//! Tokens: their digests and what they may do, never their text.

use std::collections::BTreeMap;

use identity::TokenDigest;
use model::{
    IdentityName, ProviderName, Timestamp, TokenId,
    token::{TokenRow, TokenUse},
};
use sqlx::FromRow;

use super::{State, accounts, identities, providers};
use crate::{
    StoreError,
    database::{Statement, Write, from_json, micros, optional, optional_time, parsed, sql, time, to_json},
};

/// Longest life of a token, in days.
pub const MAX_TOKEN_DAYS: i64 = 400;

/// Why a token is not added.
#[derive(Debug, thiserror::Error)]
pub enum AddTokenError {
    /// Nobody it could speak for.
    #[error("there is no active identity `{0}` to mint a token for")]
    Subject(IdentityName),
    /// It would never work, or for too long.
    #[error("a token must expire after it begins to work, and within {MAX_TOKEN_DAYS} days")]
    Window,
    /// The sign-in it would be minted in is over.
    #[error("you were signed out: sign in again with `countersign login`")]
    SignedOut,
    /// The rule it would be given out by was revoked.
    #[error("what made the token this workload's was revoked: ask an administrator")]
    Distrusted,
    /// The issuer it would be given out for is revoked here.
    #[error("no token of {0} is taken here until an administrator allows it again")]
    Revoked(ProviderName),
    /// The key it would be given out for was revoked or has expired.
    #[error("the key it was asked for with was revoked or has expired: use another one")]
    KeyOver,
    /// The delegation it would be given out for was revoked.
    #[error("the delegation was revoked: ask for a new one")]
    Undelegated,
    /// The request it would be minted for is not granted, or its window is over.
    #[error("the request is not granted, or its window is over: `countersign requests` lists yours")]
    Ungranted,
    /// The key is or was somebody's.
    #[error("that key is in the register already, perhaps revoked: a key is registered once; make a new one")]
    KnownKey,
    /// A connect token without a connection, or an API token with one.
    #[error("a token for connecting names at least one connection; a token for the API names none")]
    Connections,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl State {
    /// Adds a token. Its subject must be active when the row says it was created: the check and the insertion are one transaction, so that
    /// no token outlives a revocation it raced with.
    ///
    /// # Errors
    /// When the subject is not active, the window or the connections make no sense, or the store fails.
    pub async fn add_token(&self, token: &TokenRow, digest: &TokenDigest) -> Result<(), AddTokenError> {
        check_window(token)?;
        if !token.purpose.is_of_ssh() && token.connections.is_empty() != (token.purpose == TokenUse::Api) {
            return Err(AddTokenError::Connections);
        }
        let mut write = self.database.write().await?;
        if let Some(trust) = token.trust {
            let issuer: Option<(String,)> = sql("SELECT issuer FROM trust_rules WHERE id = $1").bind(trust.to_string()).optional(&mut write).await?;
            let (issuer,) = issuer.ok_or(AddTokenError::Distrusted)?;
            let issuer = parsed("the name of a provider", &issuer)?;
            if !providers::stands(&mut write, &issuer).await? {
                return Err(AddTokenError::Revoked(issuer));
            }
        }
        let subject = identities::held(&mut write, &token.subject).await?;
        if !subject.is_some_and(|subject| subject.is_active(token.created_at)) {
            return Err(AddTokenError::Subject(token.subject.clone()));
        }
        if token.sign_in.is_none() && token.minted_by == token.subject && accounts::has_account(&mut write, &token.subject).await? {
            return Err(AddTokenError::SignedOut);
        }
        if let Some(parent) = token.parent {
            // No link is there longer than the one before it.
            let stands: Option<(String,)> = sql("SELECT id FROM tokens WHERE id = $1 AND revoked_at IS NULL AND expires_at >= $2")
                .bind(parent.to_string())
                .bind(micros(token.expires_at))
                .locked()
                .optional(&mut write)
                .await?;
            stands.ok_or(AddTokenError::Undelegated)?;
        }
        if let Some(sign_in) = token.sign_in {
            let open: Option<(String,)> =
                sql("SELECT id FROM sign_ins WHERE id = $1 AND ended_at IS NULL").bind(sign_in.to_string()).locked().optional(&mut write).await?;
            open.ok_or(AddTokenError::SignedOut)?;
        }
        if let Some(trust) = token.trust {
            let stands: Option<(String,)> =
                sql("SELECT id FROM trust_rules WHERE id = $1 AND revoked_at IS NULL").bind(trust.to_string()).locked().optional(&mut write).await?;
            stands.ok_or(AddTokenError::Distrusted)?;
        }
        if let Some(request) = token.request {
            let granted: Option<(String,)> = sql("SELECT id FROM requests WHERE id = $1 AND granted_until > $2")
                .bind(request.to_string())
                .bind(micros(token.created_at))
                .locked()
                .optional(&mut write)
                .await?;
            granted.ok_or(AddTokenError::Ungranted)?;
        }
        if let Some(key) = token.key {
            let stands: Option<(String,)> = sql("SELECT id FROM identity_keys WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2")
                .bind(key.to_string())
                .bind(micros(token.created_at))
                .locked()
                .optional(&mut write)
                .await?;
            stands.ok_or(AddTokenError::KeyOver)?;
        }
        if token.purpose.is_of_ssh() {
            let known: Option<(String,)> = sql("SELECT id FROM tokens WHERE digest = $1").bind(digest.to_string()).optional(&mut write).await?;
            if known.is_some() {
                return Err(AddTokenError::KnownKey);
            }
        }
        insert(&mut write, token, digest).await?;
        Ok(write.commit().await?)
    }

    /// The token with that digest, whether it is live or not.
    ///
    /// The digest is SHA-256 of 160 random bits, so the time its lookup takes tells nothing that helps to guess one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn token_by_digest(&self, digest: &TokenDigest) -> Result<Option<TokenRow>, StoreError> {
        let row: Option<Row> = sql("SELECT * FROM tokens WHERE digest = $1").bind(digest.to_string()).optional(self.database.read()).await?;
        row.map(Row::parse).transpose()
    }

    /// The token with that digest, if it works at `now`: within its window, not revoked, and its subject neither revoked nor expired.
    /// Its class and connections are the caller's to check.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn live_token(&self, digest: &TokenDigest, now: Timestamp) -> Result<Option<TokenRow>, StoreError> {
        let row: Option<Row> = sql("SELECT t.* FROM tokens t JOIN identities i ON i.name = t.subject
             WHERE t.digest = $1 AND t.revoked_at IS NULL AND t.not_before <= $2 AND t.expires_at > $2
               AND i.revoked_at IS NULL AND (i.expires_at IS NULL OR i.expires_at > $2)")
        .bind(digest.to_string())
        .bind(micros(now))
        .optional(self.database.read())
        .await?;
        row.map(Row::parse).transpose()
    }

    /// Whether a token that opened a session still works at `now`. For checking again after the session was registered.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn token_is_live(&self, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = sql("SELECT CAST(1 AS BIGINT) FROM tokens t JOIN identities i ON i.name = t.subject
             WHERE t.id = $1 AND t.revoked_at IS NULL AND t.not_before <= $2 AND t.expires_at > $2
               AND i.revoked_at IS NULL AND (i.expires_at IS NULL OR i.expires_at > $2)")
        .bind(id.to_string())
        .bind(micros(now))
        .optional(self.database.read())
        .await?;
        Ok(row.is_some())
    }

    /// One token.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        let row: Option<Row> = sql("SELECT * FROM tokens WHERE id = $1").bind(id.to_string()).optional(self.database.read()).await?;
        row.map(Row::parse).transpose()
    }

    /// The tokens that one identity speaks or acts with, or all, newest first; revoked and expired ones too.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tokens(&self, subject: Option<&IdentityName>) -> Result<Vec<TokenRow>, StoreError> {
        let query = match subject {
            Some(name) => sql("SELECT * FROM tokens WHERE subject = $1 OR (actors IS NOT NULL AND actors LIKE $2) ORDER BY created_at DESC, id")
                .bind(name.as_str())
                .bind(format!("%\"{name}\"%")),
            None => sql("SELECT * FROM tokens ORDER BY created_at DESC, id"),
        };
        let rows: Vec<Row> = query.all(self.database.read()).await?;
        let mut rows = rows.into_iter().map(Row::parse).collect::<Result<Vec<_>, _>>()?;
        // `_` stands for any character in a pattern.
        rows.retain(|row| subject.is_none_or(|name| row.subject == *name || row.actors.contains(name)));
        Ok(rows)
    }

    /// Revokes one token, for good, and every link after it: what it was exchanged for, and what that was. Returns all of them, itself the first, also those that were revoked
    /// before: that time what they opened may have been left. Nothing if there is no such token.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke_token(&self, id: TokenId, by: &IdentityName, now: Timestamp) -> Result<Vec<TokenId>, StoreError> {
        let mut write = self.database.write().await?;
        let found: Option<(String,)> = sql("SELECT subject FROM tokens WHERE id = $1").bind(id.to_string()).optional(&mut write).await?;
        let Some((subject,)) = found else { return Ok(Vec::new()) };
        identities::held(&mut write, &parsed("an identity name", &subject)?).await?;
        let given = revoke_given(&mut write, GivenBy::Itself, &id.to_string(), by, now).await?;
        write.commit().await?;
        let mut all = given.ids()?;
        all.sort_by_key(|token| *token != id);
        Ok(all)
    }

    /// Uses up a token for one statement. True for whoever does so first, and for nobody else ever; never for a revoked one.
    ///
    /// # Errors
    /// When the store fails. It may have been used up all the same.
    pub async fn spend_token(&self, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
        let mut write = self.database.write().await?;
        let spent = sql("UPDATE tokens SET spent_at = $2 WHERE id = $1 AND spent_at IS NULL AND revoked_at IS NULL")
            .bind(id.to_string())
            .bind(micros(now))
            .run(&mut write)
            .await?;
        write.commit().await?;
        Ok(spent == 1)
    }

    /// Revokes every token of a subject. Returns how many were not revoked before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke_tokens_of(&self, subject: &IdentityName, by: &IdentityName, now: Timestamp) -> Result<u64, StoreError> {
        let mut write = self.database.write().await?;
        let revoked = revoke_all(&mut write, subject, by, now).await?;
        write.commit().await?;
        Ok(revoked)
    }

    /// Notes that it was used, to the minute. Not for the hot path: once a session or API call.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn touch_token(&self, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
        self.note_use(
            "SELECT CAST(1 AS BIGINT) FROM tokens WHERE id = $1 AND (last_used IS NULL OR last_used < $2)",
            "UPDATE tokens SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)",
            &id.to_string(),
            now,
        )
        .await
    }
}

/// What tokens are given out by, and end with.
#[derive(Debug, Clone, Copy)]
pub(super) enum GivenBy {
    /// A token that is the first of them itself.
    Itself,
    /// A trust rule.
    Rule,
    /// A key of an identity.
    Key,
    /// A request that was granted.
    Request,
    /// An issuer of jobs' tokens, by any rule.
    Issuer,
}

impl GivenBy {
    /// What finds the first of them ($1).
    const fn condition(self) -> &'static str {
        match self {
            Self::Itself => "id = $1",
            Self::Rule => "trust = $1",
            Self::Key => "key_id = $1",
            Self::Request => "request = $1",
            Self::Issuer => "trust IN (SELECT r.id FROM trust_rules r WHERE r.issuer = $1)",
        }
    }

    /// Goes on with what finds them ($1), and every link after them.
    fn push(self, mut query: Statement) -> Statement {
        query.push(" (WITH RECURSIVE given (id) AS (SELECT id FROM tokens WHERE ").push(self.condition());
        query.push(" UNION SELECT t.id FROM tokens t JOIN given g ON t.parent = g.id) SELECT id FROM given)");
        query
    }
}

/// Revokes what was given out by something and every link after that, inside a transaction. Returns all of it, also what was revoked before: that time what it opened may have
/// been left.
pub(super) async fn revoke_given(write: &mut Write, given_by: GivenBy, id: &str, by: &IdentityName, now: Timestamp) -> Result<Given, StoreError> {
    let mut tokens = links(write, given_by, id).await?;
    // What was added to one of them while its lock was waited for is seen only after that. Once all are locked nothing can be.
    loop {
        let again = links(write, given_by, id).await?;
        let all = again.len() == tokens.len();
        tokens = again;
        if all {
            break;
        }
    }
    let revoke = given_by.push(sql("UPDATE tokens SET revoked_at = $2, revoked_by = $3 WHERE revoked_at IS NULL AND id IN"));
    revoke.bind(id).bind(micros(now)).bind(by.as_str()).run(&mut *write).await?;
    Ok(Given(tokens))
}

async fn links(write: &mut Write, given_by: GivenBy, id: &str) -> Result<Vec<(String,)>, StoreError> {
    let mut find = given_by.push(sql("SELECT id FROM tokens WHERE id IN"));
    find.push(" ORDER BY id");
    find.bind(id).locked().all(write).await
}

/// What was given out, as the rows have it: read once the transaction is over, so that a row that cannot be read keeps no other alive.
pub(super) struct Given(Vec<(String,)>);

impl Given {
    /// Their ids.
    pub(super) fn ids(self) -> Result<Vec<TokenId>, StoreError> {
        self.0.into_iter().map(|(id,)| parsed("a token id", &id)).collect()
    }
}

/// Revokes every token of a subject inside a transaction.
pub(super) async fn revoke_all(write: &mut Write, subject: &IdentityName, by: &IdentityName, now: Timestamp) -> Result<u64, StoreError> {
    // In the order in which others lock them.
    let _: Vec<(String,)> =
        sql("SELECT id FROM tokens WHERE subject = $1 AND revoked_at IS NULL ORDER BY id").bind(subject.as_str()).locked().all(&mut *write).await?;
    let done = sql("UPDATE tokens SET revoked_at = $2, revoked_by = $3 WHERE subject = $1 AND revoked_at IS NULL")
        .bind(subject.as_str())
        .bind(micros(now))
        .bind(by.as_str())
        .run(&mut *write)
        .await?;
    Ok(done)
}

fn check_window(token: &TokenRow) -> Result<(), AddTokenError> {
    let longest = token.created_at.as_second().saturating_add(MAX_TOKEN_DAYS * 86_400);
    let sensible = token.expires_at > token.not_before && token.expires_at > token.created_at && token.expires_at.as_second() <= longest;
    if sensible { Ok(()) } else { Err(AddTokenError::Window) }
}

async fn insert(write: &mut Write, token: &TokenRow, digest: &TokenDigest) -> Result<(), AddTokenError> {
    sql("INSERT INTO tokens (id, digest, subject, class, connections, statement, minted_by, created_at, not_before, expires_at, sign_in, run, trust,
         actors, delegates, parent, request, key_id, bound_to, earlier_runs, may_act, ssh)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)")
    .bind(token.id.to_string())
    .bind(digest.to_string())
    .bind(token.subject.as_str())
    .bind(class_text(token.purpose))
    .bind(to_json("connections", &token.connections)?)
    .bind(token.statement.as_deref())
    .bind(token.minted_by.as_str())
    .bind(micros(token.created_at))
    .bind(micros(token.not_before))
    .bind(micros(token.expires_at))
    .bind(token.sign_in.map(|id| id.to_string()))
    .bind(token.run.as_ref().map(|run| to_json("a run", run)).transpose()?)
    .bind(token.trust.map(|id| id.to_string()))
    .bind(if token.actors.is_empty() { None } else { Some(to_json("actors", &token.actors)?) })
    .bind(i64::from(token.purpose == TokenUse::Delegate))
    .bind(token.parent.map(|id| id.to_string()))
    .bind(token.request.map(|id| id.to_string()))
    .bind(token.key.map(|id| id.to_string()))
    .bind(token.bound_to.as_deref())
    .bind(if token.earlier_runs.is_empty() { None } else { Some(to_json("runs", &token.earlier_runs)?) })
    .bind(token.may_act.as_ref().map(IdentityName::as_str))
    .bind(ssh_text(token.purpose))
    .run(&mut *write)
    .await?;
    Ok(())
}

/// A delegation is for connecting, by way of somebody else.
const fn class_text(class: TokenUse) -> &'static str {
    match class {
        TokenUse::Connect | TokenUse::Delegate | TokenUse::SshKey | TokenUse::SshCertificate => "connect",
        TokenUse::Api => "api",
    }
}

/// What a key of SSH is.
const fn ssh_text(class: TokenUse) -> Option<&'static str> {
    match class {
        TokenUse::SshKey => Some("key"),
        TokenUse::SshCertificate => Some("certificate"),
        TokenUse::Connect | TokenUse::Api | TokenUse::Delegate => None,
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    subject: String,
    class: String,
    connections: String,
    statement: Option<String>,
    minted_by: String,
    created_at: i64,
    not_before: i64,
    expires_at: i64,
    last_used: Option<i64>,
    spent_at: Option<i64>,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
    sign_in: Option<String>,
    run: Option<String>,
    trust: Option<String>,
    actors: Option<String>,
    delegates: i64,
    parent: Option<String>,
    request: Option<String>,
    key_id: Option<String>,
    bound_to: Option<String>,
    earlier_runs: Option<String>,
    may_act: Option<String>,
    ssh: Option<String>,
}

impl Row {
    fn parse(self) -> Result<TokenRow, StoreError> {
        let classes: &[TokenUse] = match (self.delegates, &self.ssh) {
            (1, _) => &[TokenUse::Delegate],
            (_, Some(_)) => &[TokenUse::SshKey, TokenUse::SshCertificate],
            (_, None) => &[TokenUse::Connect, TokenUse::Api],
        };
        let purpose = classes.iter().copied().find(|class| class_text(*class) == self.class && ssh_text(*class) == self.ssh.as_deref());
        Ok(TokenRow {
            id: parsed("a token id", &self.id)?,
            subject: parsed("an identity name", &self.subject)?,
            purpose: purpose.ok_or_else(|| StoreError::corrupt("a token class", &self.class))?,
            connections: from_json("connections", &self.connections)?,
            statement: self.statement,
            minted_by: parsed("an identity name", &self.minted_by)?,
            created_at: time(self.created_at)?,
            not_before: time(self.not_before)?,
            expires_at: time(self.expires_at)?,
            last_used: optional_time(self.last_used)?,
            spent_at: optional_time(self.spent_at)?,
            revoked_at: optional_time(self.revoked_at)?,
            revoked_by: optional("an identity name", self.revoked_by.as_deref())?,
            sign_in: optional("the id of a sign-in", self.sign_in.as_deref())?,
            actors: self.actors.map_or_else(|| Ok(Vec::new()), |actors| from_json("actors", &actors))?,
            parent: optional("a token id", self.parent.as_deref())?,
            request: optional("the id of a request", self.request.as_deref())?,
            trust: optional("the id of a trust rule", self.trust.as_deref())?,
            key: optional("the id of a key", self.key_id.as_deref())?,
            bound_to: self.bound_to,
            earlier_runs: self.earlier_runs.map_or_else(|| Ok(BTreeMap::new()), |runs| from_json("runs", &runs))?,
            may_act: optional("an identity name", self.may_act.as_deref())?,
            run: self.run.map(|run| from_json("a run", &run)).transpose()?,
        })
    }
}
