//! People of identity providers: their accounts there, and their sign-ins.
//!
//! An account is (issuer, subject) and belongs to one identity for good, unless it is taken away from it. An identity is in the groups that an
//! administrator gave it and in those its accounts' providers told of last, as long as a sign-in there stands. Tokens that are minted in a sign-in end with it.
//!
//! INVARIANT: what locks several rows locks the provider, then the account, then the identity, then the sign-in, then tokens.

use identity::NewIdentity;
use model::{GroupName, Identity, IdentityId, IdentityName, ProviderName, SignInId, Timestamp, TokenId};
use sqlx::FromRow;

use super::{State, identities, providers};
use crate::{
    StoreError,
    database::{Write, from_json, micros, optional_time, parsed, sql, time, to_json},
};

/// Whom a provider means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The provider's issuer.
    pub issuer: String,
    /// Whom it means.
    pub subject: String,
}

/// An account as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Whom the provider means.
    pub account: Account,
    /// What the configuration called the provider.
    pub provider: ProviderName,
    /// Whose it is.
    pub identity: IdentityName,
    /// The address the provider told of last.
    pub email: Option<String>,
    /// The groups the provider told of last.
    pub groups: Vec<GroupName>,
    /// Who linked it: the provider's name if it came with the first sign-in.
    pub linked_by: IdentityName,
    /// When.
    pub linked_at: Timestamp,
    /// When somebody last signed in with it.
    pub last_sign_in: Option<Timestamp>,
}

/// Somebody who proved to a provider who they are.
#[derive(Debug, Clone)]
pub struct NewSignIn {
    /// The sign-in's id.
    pub id: SignInId,
    /// What the configuration calls the provider.
    pub provider: ProviderName,
    /// Whom it means.
    pub account: Account,
    /// Their address.
    pub email: Option<String>,
    /// Their groups there, as ours.
    pub groups: Vec<GroupName>,
    /// What the provider calls the session.
    pub session: Option<String>,
    /// Whether there is something to ask the provider with.
    pub checkable: bool,
    /// Id and name of the identity to enter if the account is nobody's; none if that is not done.
    pub newcomer: Option<(IdentityId, IdentityName)>,
}

/// Who signed in.
#[derive(Debug, Clone)]
pub struct SignedInAs {
    /// The identity as it is now.
    pub identity: Identity,
    /// Whether it was entered just now.
    pub is_new: bool,
    /// Its groups before.
    pub before: Vec<GroupName>,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The provider is revoked here.
    #[error("the provider {0} is revoked")]
    Revoked(ProviderName),
    /// The account is nobody's, and nobody is entered for it.
    #[error("the account is linked to no identity")]
    Unlinked,
    /// The name the newcomer would have is somebody else's.
    #[error("the name `{0}` is somebody else's")]
    Taken(IdentityName),
    /// The identity may not act any more.
    #[error("identity {0} was revoked or has expired")]
    Inactive(IdentityName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInRow {
    /// Its id.
    pub id: SignInId,
    /// What the configuration calls the provider.
    pub provider: ProviderName,
    /// Whom it means.
    pub account: Account,
    /// Who signed in.
    pub identity: IdentityName,
    /// When.
    pub began_at: Timestamp,
    /// When the provider last said that it stands.
    pub checked_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Which sign-ins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(SignInId),
    /// All of an account.
    Of(Account),
    /// All at a provider of this name.
    From(ProviderName),
    /// All at a provider of this name and issuer.
    At {
        /// What the configuration called it.
        provider: String,
        /// Its issuer.
        issuer: String,
    },
    /// Those of one session at the provider, and of this subject if one is named.
    Session {
        /// The provider's issuer.
        issuer: String,
        /// What it calls the session.
        session: String,
        /// Whom it means.
        subject: Option<String>,
    },
}

/// A sign-in that was ended just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSignIn {
    /// Its id.
    pub id: SignInId,
    /// Whose it was.
    pub identity: IdentityName,
    /// The tokens that were revoked with it.
    pub tokens: Vec<TokenId>,
    /// Whether it was over already, for so short a time that what was opened in it may have been left.
    pub again: bool,
}

/// For how long a sign-in that is over is ended again when that is asked for once more, in seconds.
const AGAIN_S: i64 = 600;

/// Why an account is not linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It is somebody's.
    #[error("the account is linked to `{0}` already: `countersign identity unlink` takes it away")]
    Linked(IdentityName),
    /// There is nobody of that name, or not a person who is active.
    #[error("`{0}` is no active person in the register")]
    Nobody(IdentityName),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl State {
    /// Signs somebody in: finds whose account it is, or enters a newcomer, and notes what the provider tells of them.
    ///
    /// # Errors
    /// The account is nobody's, the newcomer's name is taken, the identity may not act, or the store fails.
    pub async fn begin_sign_in(&self, new: &NewSignIn, now: Timestamp) -> Result<SignedInAs, SignInError> {
        let mut write = self.database.write().await?;
        if !providers::stands(&mut write, &new.provider).await? {
            return Err(SignInError::Revoked(new.provider.clone()));
        }
        let known = owner(&mut write, &new.account).await?;
        let (name, is_new) = match known {
            Some(name) => (name, false),
            None => (enter(&mut write, new, now).await?, true),
        };
        let before = identities::held(&mut write, &name).await?.ok_or_else(|| SignInError::Inactive(name.clone()))?;
        if !before.is_active(now) {
            return Err(SignInError::Inactive(name));
        }
        tell(&mut write, &new.account, new.email.as_deref(), &new.groups).await?;
        sql("UPDATE accounts SET last_sign_in = $3, provider = $4 WHERE issuer = $1 AND subject = $2")
            .bind(new.account.issuer.as_str())
            .bind(new.account.subject.as_str())
            .bind(micros(now))
            .bind(new.provider.as_str())
            .run(&mut write)
            .await?;
        let groups = regroup(&mut write, &name).await?;
        sql("INSERT INTO sign_ins (id, issuer, subject, provider, identity, provider_session, began_at, checked_at, tried_at, checkable)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7, $8)")
        .bind(new.id.to_string())
        .bind(new.account.issuer.as_str())
        .bind(new.account.subject.as_str())
        .bind(new.provider.as_str())
        .bind(name.as_str())
        .bind(new.session.as_deref())
        .bind(micros(now))
        .bind(i64::from(new.checkable))
        .run(&mut write)
        .await?;
        write.commit().await?;
        let before_groups = if is_new { Vec::new() } else { before.groups.clone() };
        Ok(SignedInAs { identity: Identity { groups, ..before }, is_new, before: before_groups })
    }

    /// Notes that a provider said a sign-in stands, with what it told of the person if it did. Returns their groups before and now; none if the sign-in is
    /// over.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_checked(
        &self,
        id: SignInId,
        told: Option<(Option<&str>, &[GroupName])>,
        now: Timestamp,
    ) -> Result<Option<(Vec<GroupName>, Vec<GroupName>)>, StoreError> {
        let mut write = self.database.write().await?;
        let Some((row, identity)) = held(&mut write, id).await? else { return Ok(None) };
        sql("UPDATE sign_ins SET checked_at = $2, tried_at = $2 WHERE id = $1").bind(id.to_string()).bind(micros(now)).run(&mut write).await?;
        if let Some((email, groups)) = told {
            tell(&mut write, &row.account, email, groups).await?;
        }
        let groups = regroup(&mut write, &row.identity).await?;
        write.commit().await?;
        Ok(Some((identity.groups, groups)))
    }

    /// Notes that a provider is asked about a sign-in.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_tried(&self, id: SignInId, now: Timestamp) -> Result<(), StoreError> {
        let mut write = self.database.write().await?;
        sql("UPDATE sign_ins SET tried_at = $2 WHERE id = $1").bind(id.to_string()).bind(micros(now)).run(&mut write).await?;
        write.commit().await
    }

    /// Providers, by name and issuer, with sign-ins that stand.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn providers_with_sign_ins(&self) -> Result<Vec<(String, String)>, StoreError> {
        sql("SELECT DISTINCT provider, issuer FROM sign_ins WHERE ended_at IS NULL").all(self.database.read()).await
    }

    /// Sign-ins at a provider whose last check, and the last try of one, is older than `before` and that still have a token that works, the longest untried
    /// first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_ins_to_check(
        &self,
        provider: &ProviderName,
        before: Timestamp,
        most: u32,
        now: Timestamp,
    ) -> Result<Vec<SignInRow>, StoreError> {
        let rows: Vec<Row> = sql(
            "SELECT * FROM sign_ins s WHERE s.ended_at IS NULL AND s.checkable = 1 AND s.provider = $1 AND s.checked_at <= $2 AND s.tried_at <= $2
               AND EXISTS (SELECT 1 FROM tokens t WHERE t.sign_in = s.id AND t.revoked_at IS NULL AND t.expires_at > $3)
             ORDER BY s.tried_at LIMIT $4",
        )
        .bind(provider.as_str())
        .bind(micros(before))
        .bind(micros(now))
        .bind(i64::from(most))
        .all(self.database.read())
        .await?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// Sign-ins none of whose tokens works any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_ins_run_out(&self, most: u32, now: Timestamp) -> Result<Vec<SignInId>, StoreError> {
        let rows: Vec<(String,)> = sql("SELECT s.id FROM sign_ins s WHERE s.ended_at IS NULL AND s.began_at < $1
               AND NOT EXISTS (SELECT 1 FROM tokens t WHERE t.sign_in = s.id AND t.revoked_at IS NULL AND t.expires_at > $2) LIMIT $3")
        // One that has just begun has no token yet.
        .bind(micros(now).saturating_sub(60_000_000))
        .bind(micros(now))
        .bind(i64::from(most))
        .all(self.database.read())
        .await?;
        rows.into_iter().map(|(id,)| parsed("the id of a sign-in", &id)).collect()
    }

    /// Ends sign-ins and revokes their tokens, in one transaction. Those that are over stay as they were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_sign_ins(&self, which: &Which, ending: &str, by: &IdentityName, now: Timestamp) -> Result<Vec<EndedSignIn>, StoreError> {
        let mut write = self.database.write().await?;
        let ended = end(&mut write, which, ending, by, now).await?;
        write.commit().await?;
        Ok(ended)
    }

    /// The accounts of an identity, or all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn accounts(&self, identity: Option<&IdentityName>) -> Result<Vec<AccountRow>, StoreError> {
        let query = match identity {
            Some(name) => sql("SELECT * FROM accounts WHERE identity = $1 ORDER BY linked_at").bind(name.as_str()),
            None => sql("SELECT * FROM accounts ORDER BY identity, linked_at"),
        };
        let rows: Vec<Linked> = query.all(self.database.read()).await?;
        rows.into_iter().map(Linked::parse).collect()
    }

    /// Links an account to a person, who has no password from then on and no token that was minted with one: whoever is barred at the provider must be barred
    /// here. End their sessions besides.
    ///
    /// # Errors
    /// It is somebody's, there is no such person, or the store fails.
    pub async fn link_account(
        &self,
        account: &Account,
        provider: &ProviderName,
        name: &IdentityName,
        by: &IdentityName,
        now: Timestamp,
    ) -> Result<(), LinkError> {
        let mut write = self.database.write().await?;
        if let Some(owner) = owner(&mut write, account).await? {
            return Err(LinkError::Linked(owner));
        }
        let identity = identities::held(&mut write, name).await?;
        if !identity.is_some_and(|identity| identity.kind == model::IdentityKind::User && identity.is_active(now)) {
            return Err(LinkError::Nobody(name.clone()));
        }
        link(&mut write, account, provider, name, by, now).await?;
        sql("UPDATE identities SET password_hash = NULL WHERE name = $1").bind(name.as_str()).run(&mut write).await?;
        sql("UPDATE tokens SET revoked_at = $2, revoked_by = $3 WHERE subject = $1 AND sign_in IS NULL AND revoked_at IS NULL")
            .bind(name.as_str())
            .bind(micros(now))
            .bind(by.as_str())
            .run(&mut write)
            .await?;
        Ok(write.commit().await?)
    }

    /// Takes an account away from the identity it is linked to and ends its sign-ins, in one transaction. Returns those; nothing if it is linked to nobody.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unlink_account(
        &self,
        account: &Account,
        ending: &str,
        by: &IdentityName,
        now: Timestamp,
    ) -> Result<Option<Vec<EndedSignIn>>, StoreError> {
        let mut write = self.database.write().await?;
        let Some(name) = owner(&mut write, account).await? else { return Ok(None) };
        identities::held(&mut write, &name).await?;
        let ended = end(&mut write, &Which::Of(account.clone()), ending, by, now).await?;
        sql("DELETE FROM accounts WHERE issuer = $1 AND subject = $2")
            .bind(account.issuer.as_str())
            .bind(account.subject.as_str())
            .run(&mut write)
            .await?;
        regroup(&mut write, &name).await?;
        write.commit().await?;
        Ok(Some(ended))
    }
}

/// A sign-in that stands and its identity, both held with the account.
async fn held(write: &mut Write, id: SignInId) -> Result<Option<(SignInRow, Identity)>, StoreError> {
    let query = || sql("SELECT * FROM sign_ins WHERE id = $1 AND ended_at IS NULL").bind(id.to_string());
    let found: Option<Row> = query().optional(&mut *write).await?;
    let Some(found) = found.map(Row::parse).transpose()? else { return Ok(None) };
    owner(&mut *write, &found.account).await?;
    let Some(identity) = identities::held(&mut *write, &found.identity).await? else { return Ok(None) };
    // It may have ended while the others were waited for.
    let row: Option<Row> = query().locked().optional(write).await?;
    row.map(|row| Ok((row.parse()?, identity))).transpose()
}

/// Ends sign-ins inside a transaction, revokes their tokens, and takes the groups away that an account without a sign-in tells of no more.
pub(super) async fn end(write: &mut Write, which: &Which, ending: &str, by: &IdentityName, now: Timestamp) -> Result<Vec<EndedSignIn>, StoreError> {
    let since = micros(now).saturating_sub(AGAIN_S * 1_000_000);
    let query = match which {
        Which::One(id) => {
            sql("SELECT * FROM sign_ins WHERE (ended_at IS NULL OR ended_at > $2) AND id = $1 ORDER BY id").bind(id.to_string()).bind(since)
        }
        Which::Of(account) => sql("SELECT * FROM sign_ins WHERE (ended_at IS NULL OR ended_at > $3) AND issuer = $1 AND subject = $2 ORDER BY id")
            .bind(account.issuer.as_str())
            .bind(account.subject.as_str())
            .bind(since),
        Which::At { provider, issuer } => {
            sql("SELECT * FROM sign_ins WHERE (ended_at IS NULL OR ended_at > $3) AND issuer = $1 AND provider = $2 ORDER BY id")
                .bind(issuer.as_str())
                .bind(provider.as_str())
                .bind(since)
        }
        Which::From(provider) => {
            sql("SELECT * FROM sign_ins WHERE (ended_at IS NULL OR ended_at > $2) AND provider = $1 ORDER BY id").bind(provider.as_str()).bind(since)
        }
        // A sign-in whose session the provider did not name is any of the person's.
        Which::Session { issuer, session, subject } => sql("SELECT * FROM sign_ins WHERE (ended_at IS NULL OR ended_at > $4) AND issuer = $1
               AND ((provider_session = $2 AND (subject = $3 OR $3 = '')) OR (provider_session IS NULL AND subject = $3)) ORDER BY id")
        .bind(issuer.as_str())
        .bind(session.as_str())
        .bind(subject.as_deref().unwrap_or_default())
        .bind(since),
    };
    let rows: Vec<Row> = query.all(&mut *write).await?;
    let mut ended = Vec::new();
    for row in rows {
        let row = row.parse()?;
        let Some((row, _)) = held(&mut *write, row.id).await? else {
            let tokens: Vec<(String,)> =
                sql("SELECT id FROM tokens WHERE sign_in = $1 ORDER BY id").bind(row.id.to_string()).all(&mut *write).await?;
            let tokens = tokens.into_iter().map(|(id,)| parsed("a token id", &id)).collect::<Result<_, _>>()?;
            ended.push(EndedSignIn { id: row.id, identity: row.identity, tokens, again: true });
            continue;
        };
        sql("UPDATE sign_ins SET ended_at = $2, ending = $3 WHERE id = $1")
            .bind(row.id.to_string())
            .bind(micros(now))
            .bind(ending)
            .run(&mut *write)
            .await?;
        let tokens: Vec<(String,)> = sql("SELECT id FROM tokens WHERE sign_in = $1 AND revoked_at IS NULL ORDER BY id")
            .bind(row.id.to_string())
            .locked()
            .all(&mut *write)
            .await?;
        sql("UPDATE tokens SET revoked_at = $2, revoked_by = $3 WHERE sign_in = $1 AND revoked_at IS NULL")
            .bind(row.id.to_string())
            .bind(micros(now))
            .bind(by.as_str())
            .run(&mut *write)
            .await?;
        let left: Option<(String,)> = sql("SELECT id FROM sign_ins WHERE ended_at IS NULL AND issuer = $1 AND subject = $2 LIMIT 1")
            .bind(row.account.issuer.as_str())
            .bind(row.account.subject.as_str())
            .optional(&mut *write)
            .await?;
        if left.is_none() {
            sql("UPDATE accounts SET group_names = '[]' WHERE issuer = $1 AND subject = $2")
                .bind(row.account.issuer.as_str())
                .bind(row.account.subject.as_str())
                .run(&mut *write)
                .await?;
            regroup(&mut *write, &row.identity).await?;
        }
        let tokens = tokens.into_iter().map(|(id,)| parsed("a token id", &id)).collect::<Result<_, _>>()?;
        ended.push(EndedSignIn { id: row.id, identity: row.identity, tokens, again: false });
    }
    Ok(ended)
}

/// Whether a person signs in at a provider, so that they have no other way in.
pub(super) async fn has_account(write: &mut Write, name: &IdentityName) -> Result<bool, StoreError> {
    let found: Option<(String,)> = sql("SELECT subject FROM accounts WHERE identity = $1 LIMIT 1").bind(name.as_str()).optional(write).await?;
    Ok(found.is_some())
}

async fn owner(write: &mut Write, account: &Account) -> Result<Option<IdentityName>, StoreError> {
    let row: Option<(String,)> = sql("SELECT identity FROM accounts WHERE issuer = $1 AND subject = $2")
        .bind(account.issuer.as_str())
        .bind(account.subject.as_str())
        .locked()
        .optional(write)
        .await?;
    row.map(|(name,)| parsed("an identity name", &name)).transpose()
}

/// Enters a newcomer with their account.
async fn enter(write: &mut Write, new: &NewSignIn, now: Timestamp) -> Result<IdentityName, SignInError> {
    let (id, name) = new.newcomer.as_ref().ok_or(SignInError::Unlinked)?;
    let by: IdentityName = parsed("an identity name", new.provider.as_str())?;
    let entry = NewIdentity::user(name.clone(), Vec::new()).map_err(|_| SignInError::Taken(name.clone()))?;
    match identities::enter(write, *id, &entry, &by, now).await? {
        Some(identity) => {
            link(write, &new.account, &new.provider, &identity.name, &by, now).await?;
            Ok(identity.name)
        }
        None => Err(SignInError::Taken(name.clone())),
    }
}

async fn link(
    write: &mut Write,
    account: &Account,
    provider: &ProviderName,
    name: &IdentityName,
    by: &IdentityName,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql("INSERT INTO accounts (issuer, subject, provider, identity, group_names, linked_by, linked_at) VALUES ($1, $2, $3, $4, '[]', $5, $6)")
        .bind(account.issuer.as_str())
        .bind(account.subject.as_str())
        .bind(provider.as_str())
        .bind(name.as_str())
        .bind(by.as_str())
        .bind(micros(now))
        .run(write)
        .await
        .map(drop)
}

/// Notes what a provider tells of somebody.
async fn tell(write: &mut Write, account: &Account, email: Option<&str>, groups: &[GroupName]) -> Result<(), StoreError> {
    sql("UPDATE accounts SET email = $3, group_names = $4 WHERE issuer = $1 AND subject = $2")
        .bind(account.issuer.as_str())
        .bind(account.subject.as_str())
        .bind(email)
        .bind(to_json("groups", &groups)?)
        .run(write)
        .await
        .map(drop)
}

/// Puts an identity into its own groups and those of its accounts. Returns them.
pub(super) async fn regroup(write: &mut Write, name: &IdentityName) -> Result<Vec<GroupName>, StoreError> {
    let own: Option<(Option<String>,)> = sql("SELECT own_groups FROM identities WHERE name = $1").bind(name.as_str()).optional(&mut *write).await?;
    let told: Vec<(String,)> = sql("SELECT group_names FROM accounts WHERE identity = $1").bind(name.as_str()).all(&mut *write).await?;
    let mut groups: Vec<GroupName> = Vec::new();
    for text in own.into_iter().filter_map(|(own,)| own).chain(told.into_iter().map(|(told,)| told)) {
        groups.extend(from_json::<Vec<GroupName>>("groups", &text)?);
    }
    groups.sort();
    groups.dedup();
    sql("UPDATE identities SET group_names = $2 WHERE name = $1").bind(name.as_str()).bind(to_json("groups", &groups)?).run(write).await?;
    Ok(groups)
}

#[derive(FromRow)]
struct Row {
    id: String,
    issuer: String,
    subject: String,
    provider: String,
    identity: String,
    began_at: i64,
    checked_at: i64,
    ended_at: Option<i64>,
}

impl Row {
    fn parse(self) -> Result<SignInRow, StoreError> {
        Ok(SignInRow {
            id: parsed("the id of a sign-in", &self.id)?,
            provider: parsed("the name of a provider", &self.provider)?,
            account: Account { issuer: self.issuer, subject: self.subject },
            identity: parsed("an identity name", &self.identity)?,
            began_at: time(self.began_at)?,
            checked_at: time(self.checked_at)?,
            ended_at: optional_time(self.ended_at)?,
        })
    }
}

#[derive(FromRow)]
struct Linked {
    issuer: String,
    subject: String,
    provider: String,
    identity: String,
    email: Option<String>,
    group_names: String,
    linked_by: String,
    linked_at: i64,
    last_sign_in: Option<i64>,
}

impl Linked {
    fn parse(self) -> Result<AccountRow, StoreError> {
        Ok(AccountRow {
            account: Account { issuer: self.issuer, subject: self.subject },
            provider: parsed("the name of a provider", &self.provider)?,
            identity: parsed("an identity name", &self.identity)?,
            email: self.email,
            groups: from_json("groups", &self.group_names)?,
            linked_by: parsed("an identity name", &self.linked_by)?,
            linked_at: time(self.linked_at)?,
            last_sign_in: optional_time(self.last_sign_in)?,
        })
    }
}
