//! Tokens: who may mint, see and revoke which.
//!
//! A token opens no more connections than its subject may open by policy when it is minted, lives in a bounded window, and says who minted it.
//! Nobody mints for another person, administrators included: a token of somebody else's would sign in their name.

use std::collections::BTreeMap;

use identity::{TokenDigest, token};
use model::{
    Actor, ActorChain, ConnectionName, Identity, IdentityKind, IdentityName, RequestId, Secret, SignInId, SystemAction, Timestamp, TokenId,
    token::{TokenRow, TokenUse},
};
use policy::version::nearest;
use store::state::AddTokenError;

use crate::{
    events,
    guard::{GovernError, Guard},
    ids,
    live::EndReason,
    register,
};

/// Longest statement a single-statement token may be for, in bytes.
pub const MAX_TOKEN_STATEMENT_BYTES: usize = 1 << 20;

/// Longest time that an SSH key may be registered for, in days.
pub const MAX_SSH_KEY_DAYS: u64 = 365;

/// A token asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Who it will speak for.
    pub subject: IdentityName,
    /// What it may be used for.
    pub purpose: TokenUse,
    /// The connections it will open; none for an API token, none or some for a key of SSH, one at least for the others.
    pub connections: Vec<ConnectionName>,
    /// The one statement it may run, if it is for a single operation.
    pub statement: Option<String>,
    /// From when it works; from now on if none is given.
    pub not_before: Option<Timestamp>,
    /// Until when it works.
    pub expires_at: Timestamp,
    /// The sign-in at a provider it is minted in: it ends with it.
    pub sign_in: Option<SignInId>,
    /// The agent it is a delegation to, if it is one.
    pub agent: Option<IdentityName>,
    /// The granted request for one statement that it is minted for: that statement is the one it runs.
    pub request: Option<RequestId>,
    /// The thumbprint of the key that whoever uses it must have, if it is to be bound to one.
    pub bound_to: Option<String>,
}

impl Guard {
    /// Mints a token: people for themselves, the owner of a workload or agent and administrators for it. The secret is shown this once.
    ///
    /// # Errors
    /// `by` may not, a connection is not the subject's to open, or the window is not one.
    pub async fn mint_token(&self, wanted: TokenRequest, by: &Actor, now: Timestamp) -> Result<(Secret, TokenRow), GovernError> {
        let wanted = self.as_granted(wanted, by, now).await?;
        let subject = self.identity_for(&wanted.subject, by, now).await?;
        self.must_mint_for(&subject, by, now)?;
        self.check_window(&wanted, &subject, now)?;
        let agent = self.agent_of(&wanted, &subject, now).await?;
        self.check_scope(&wanted, &subject, agent.as_ref(), by, now)?;
        let (secret, digest) = token::mint_fresh(wanted.purpose).map_err(|error| GovernError::Invalid(error.to_string()))?;
        let row = self.add_token(wanted, &digest, None, by, now).await?;
        Ok((secret, row))
    }

    /// Lets a key of SSH open connections: what is asked for is bound to it. People do so for themselves, the owner of a workload or agent and administrators for it. What has a
    /// `parent` ends with it.
    ///
    /// # Errors
    /// `by` may not, a connection is not the subject's to open, the window is not one, or the key is or was somebody's.
    pub async fn let_key_in(
        &self,
        wanted: TokenRequest,
        key: &TokenDigest,
        parent: Option<TokenId>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<TokenRow, GovernError> {
        let subject = self.identity_for(&wanted.subject, by, now).await?;
        self.must_mint_for(&subject, by, now)?;
        self.check_window(&wanted, &subject, now)?;
        self.check_scope(&wanted, &subject, None, by, now)?;
        self.add_token(wanted, key, parent, by, now).await
    }

    async fn add_token(
        &self,
        wanted: TokenRequest,
        digest: &TokenDigest,
        parent: Option<TokenId>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<TokenRow, GovernError> {
        let row = TokenRow {
            id: ids::token(),
            subject: wanted.subject,
            purpose: wanted.purpose,
            connections: wanted.connections,
            statement: wanted.statement,
            minted_by: by.name.clone(),
            created_at: now,
            not_before: wanted.not_before.unwrap_or(now),
            expires_at: wanted.expires_at,
            last_used: None,
            spent_at: None,
            revoked_at: None,
            revoked_by: None,
            sign_in: wanted.sign_in,
            run: None,
            trust: None,
            key: None,
            bound_to: wanted.bound_to,
            actors: wanted.agent.into_iter().collect(),
            earlier_runs: BTreeMap::new(),
            may_act: None,
            parent,
            request: wanted.request,
        };
        self.store().state().add_token(&row, digest).await?;
        events::append(self.store(), events::token_minted(&row, now)).await?;
        Ok(row)
    }

    /// Revokes a token and ends what it opened; returns how many sessions that were. Its subject may, whoever minted it, the owner of its subject, and
    /// whoever may `revoke`.
    ///
    /// # Errors
    /// There is none of that id that `by` may see.
    pub async fn revoke_token(&self, id: TokenId, by: &Actor, now: Timestamp) -> Result<usize, GovernError> {
        let row = self.store().state().token(id).await?.ok_or_else(|| no_token(id))?;
        let subject = self.store().state().identity(&row.subject).await?;
        let theirs = row.minted_by == by.name || subject.is_some_and(|subject| subject.id == by.id || subject.owner.as_ref() == Some(&by.name));
        if !theirs && self.must_revoke(by, now).is_err() {
            return Err(no_token(id));
        }
        let revoked = self.store().state().revoke_token(id, &by.name, now).await?;
        let ended = revoked.into_iter().map(|token| self.live().end_by_token(token, &EndReason::TokenRevoked(token))).sum();
        events::note(self.store(), events::token_revoked(id, &row.subject, ended, &by.name, now)).await;
        Ok(ended)
    }

    /// The tokens `viewer` may see: of themselves, of what they own, and those they minted; administrators and auditors see all.
    ///
    /// # Errors
    /// The state store cannot be reached.
    pub async fn tokens(&self, viewer: &Actor, now: Timestamp) -> Result<Vec<TokenRow>, GovernError> {
        let visible: std::collections::HashSet<IdentityName> =
            self.identities(viewer, now).await?.into_iter().map(|identity| identity.name).collect();
        let mut rows = self.store().state().tokens(None).await?;
        rows.retain(|row| row.minted_by == viewer.name || visible.contains(&row.subject));
        Ok(rows)
    }

    /// What is wanted, within what a request for one statement was granted.
    async fn as_granted(&self, wanted: TokenRequest, by: &Actor, now: Timestamp) -> Result<TokenRequest, GovernError> {
        let Some(id) = wanted.request else { return Ok(wanted) };
        let row = self.granted_statement(id, by, now).await?;
        let plain = wanted.purpose == TokenUse::Connect && wanted.subject == by.name && wanted.statement.is_none() && wanted.not_before.is_none();
        if !plain || wanted.connections.as_slice() != [row.connection.clone()] {
            return Err(GovernError::Invalid(format!("{id} is for one statement of yours on {}: say no more than that", row.connection)));
        }
        let until = row.grant.map_or(now, |grant| grant.until);
        Ok(TokenRequest { statement: row.statement, expires_at: wanted.expires_at.min(until), ..wanted })
    }

    fn must_mint_for(&self, subject: &Identity, by: &Actor, now: Timestamp) -> Result<(), GovernError> {
        if !subject.is_active(now) {
            return Err(GovernError::Invalid(format!("identity {} was revoked or has expired", subject.name)));
        }
        match subject.kind {
            IdentityKind::User if subject.id == by.id => Ok(()),
            IdentityKind::User => Err(GovernError::NotPermitted(format!("only {} mints tokens for {}", subject.name, subject.name))),
            IdentityKind::Workload | IdentityKind::Agent if subject.owner.as_ref() == Some(&by.name) && by.kind == IdentityKind::User => Ok(()),
            IdentityKind::Workload | IdentityKind::Agent if self.may(by, SystemAction::Administer, now) => Ok(()),
            IdentityKind::Workload | IdentityKind::Agent => {
                Err(GovernError::NotPermitted(format!("only the owner of {} and administrators mint tokens for it", subject.name)))
            }
        }
    }

    fn check_window(&self, wanted: &TokenRequest, subject: &Identity, now: Timestamp) -> Result<(), GovernError> {
        let from = wanted.not_before.unwrap_or(now).max(now);
        if wanted.expires_at <= from {
            return Err(GovernError::Invalid("the token would end before it begins".to_owned()));
        }
        let longest = match wanted.purpose {
            TokenUse::SshKey => std::time::Duration::from_secs(MAX_SSH_KEY_DAYS * 86_400),
            _ => std::time::Duration::from_secs(self.limits().max_token_window_s),
        };
        if now.checked_add(longest).is_ok_and(|latest| wanted.expires_at > latest) {
            let hours = longest.as_secs() / 3600;
            let longest = if hours > 48 { format!("{} days", hours / 24) } else { format!("{hours} hours") };
            return Err(GovernError::Invalid(format!("it ends at most {longest} after it is made")));
        }
        match subject.expires_at {
            Some(end) if wanted.expires_at > end => {
                Err(GovernError::Invalid(format!("{} works until {end:.0}: its tokens cannot end later", subject.name)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The agent a delegation is to. Nobody delegates what somebody else may do, nor to somebody who is no agent.
    async fn agent_of(&self, wanted: &TokenRequest, subject: &Identity, now: Timestamp) -> Result<Option<Identity>, GovernError> {
        let Some(name) = &wanted.agent else { return Ok(None) };
        if subject.kind != IdentityKind::User || wanted.purpose != TokenUse::Delegate || wanted.statement.is_some() {
            return Err(GovernError::Invalid("people delegate what they may do themselves, and not single statements".to_owned()));
        }
        let agent = self.store().state().identity(name).await?.filter(|agent| agent.kind == IdentityKind::Agent && agent.is_active(now));
        agent.map(Some).ok_or_else(|| {
            GovernError::NotFound(format!("there is no agent {name} that works: `countersign identity add {name} --kind agent` makes one"))
        })
    }

    fn check_scope(
        &self,
        wanted: &TokenRequest,
        subject: &Identity,
        agent: Option<&Identity>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), GovernError> {
        match wanted.purpose {
            TokenUse::Api if wanted.connections.is_empty() && wanted.statement.is_none() => return Ok(()),
            TokenUse::Api => return Err(GovernError::Invalid("an API token is for no connection and no statement".to_owned())),
            TokenUse::Delegate if agent.is_none() => return Err(GovernError::Invalid("say to which agent".to_owned())),
            TokenUse::Connect | TokenUse::Delegate if wanted.connections.is_empty() => {
                return Err(GovernError::Invalid("say which connections the token is to open".to_owned()));
            }
            TokenUse::SshKey | TokenUse::SshCertificate if wanted.statement.is_some() || wanted.request.is_some() => {
                return Err(GovernError::Invalid("a key is for no single statement".to_owned()));
            }
            TokenUse::Connect | TokenUse::Delegate | TokenUse::SshKey | TokenUse::SshCertificate => {}
        }
        if wanted.statement.as_ref().is_some_and(|text| text.trim().is_empty() || text.len() > MAX_TOKEN_STATEMENT_BYTES) {
            return Err(GovernError::Invalid(format!("the statement is empty or has more than {MAX_TOKEN_STATEMENT_BYTES} bytes")));
        }
        // Whoever was granted it on a connection may know that it is there; whether it opens then is decided then.
        if wanted.request.is_some() {
            return Ok(());
        }
        let minted_by = Some(by.name.clone()).filter(|minter| *minter != subject.name);
        let chain = ActorChain { minted_by, actors: agent.map(register::actor).into_iter().collect(), ..ActorChain::alone(register::actor(subject)) };
        let open = self.open_connections(&chain, now);
        match wanted.connections.iter().find(|name| !open.contains(name)) {
            Some(name) => Err(GovernError::NotFound(unknown_connection(name, &subject.name, &open))),
            None => Ok(()),
        }
    }
}

/// What is said of a connection that is not there or not theirs: the same for both, with the nearest one they may open.
#[must_use]
pub fn unknown_connection(name: &ConnectionName, subject: &IdentityName, open: &[ConnectionName]) -> String {
    let known = open.iter().map(ConnectionName::as_str);
    match nearest(name.as_str(), known.clone()) {
        Some(near) => format!("no connection {name} that {subject} may open; did you mean {near}?"),
        None if open.is_empty() => format!("no connection {name} that {subject} may open; there is none at all"),
        None => format!("no connection {name} that {subject} may open; there are: {}", known.take(20).collect::<Vec<_>>().join(", ")),
    }
}

impl From<AddTokenError> for GovernError {
    fn from(error: AddTokenError) -> Self {
        match error {
            AddTokenError::Store(error) => Self::State(error),
            AddTokenError::Subject(_)
            | AddTokenError::Window
            | AddTokenError::Connections
            | AddTokenError::SignedOut
            | AddTokenError::Distrusted
            | AddTokenError::Revoked(_)
            | AddTokenError::KeyOver
            | AddTokenError::KnownKey
            | AddTokenError::Undelegated
            | AddTokenError::Ungranted => Self::Invalid(error.to_string()),
        }
    }
}

fn no_token(id: TokenId) -> GovernError {
    GovernError::NotFound(format!("no token {id} that you may revoke"))
}

#[cfg(test)]
mod tests;
