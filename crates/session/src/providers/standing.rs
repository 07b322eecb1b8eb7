//! Revoking a provider: everybody who came from there is out at once, and nobody comes from there until it is allowed again. That outlasts a restart.
//!
//! It is people's identity providers and the issuers of jobs' tokens alike, by what the configuration calls them. The state store sees to it that nobody slips in between
//! (`store/src/state/providers.rs`); what is looked at here before is for a clear sentence.

use model::{Actor, ProviderName, Timestamp};
use store::state::RevokedProvider;

use super::{NotEntered, Providers};
use crate::{
    events,
    guard::{GovernError, Guard},
    live::EndReason,
};

/// Longest reason, in bytes.
const MAX_WHY_BYTES: usize = 1_000;

/// Where people or jobs come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What the configuration calls it, or called it.
    pub name: ProviderName,
    /// Whether people sign in there.
    pub people: bool,
    /// Whether tokens of jobs that it issues are taken.
    pub jobs: bool,
    /// That nobody comes from there, if that is so.
    pub revoked: Option<RevokedProvider>,
}

/// What ended with a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndedThere {
    /// Sign-ins of people.
    pub sign_ins: usize,
    /// Tokens, of people and jobs, that worked or may have.
    pub tokens: usize,
    /// Live sessions.
    pub sessions: usize,
}

impl Guard {
    /// Revokes a provider until it is allowed again: every sign-in there is over, every token of it and of a job that it vouched for is revoked, and what they opened
    /// ends. Whoever may `revoke` may.
    ///
    /// # Errors
    /// `by` may not, or there is no such provider.
    pub async fn revoke_provider(&self, name: &ProviderName, why: Option<&str>, by: &Actor, now: Timestamp) -> Result<EndedThere, GovernError> {
        self.must_revoke(by, now)?;
        if why.is_some_and(|why| why.len() > MAX_WHY_BYTES) {
            return Err(GovernError::Invalid(format!("a reason has at most {MAX_WHY_BYTES} bytes")));
        }
        self.must_be_known(name).await?;
        let ending = format!("{} revoked the provider", by.name);
        let ended = self.store().state().revoke_provider(name, why, &ending, &by.name, now).await?;
        self.providers().forget_flows(name);
        let mut there = EndedThere {
            sign_ins: ended.sign_ins.iter().filter(|sign_in| !sign_in.again).count(),
            tokens: ended.sign_ins.iter().map(|sign_in| sign_in.tokens.len()).sum::<usize>() + ended.tokens.len(),
            sessions: ended.tokens.iter().map(|token| self.live().end_by_token(*token, &EndReason::TokenRevoked(*token))).sum(),
        };
        there.sessions += self.cut(name, ended.sign_ins, &by.name, &ending, now).await;
        tracing::warn!(provider = %name, by = %by.name, sessions = there.sessions, "a provider was revoked: nobody comes from there until it is allowed again");
        events::note(self.store(), events::provider_revoked(name, why, there, by, now)).await;
        Ok(there)
    }

    /// Lets people and jobs come from a provider again. What ended stays so. Administrators may.
    ///
    /// # Errors
    /// `by` may not, or it is not revoked.
    pub async fn allow_provider(&self, name: &ProviderName, by: &Actor, now: Timestamp) -> Result<(), GovernError> {
        self.must_administer(by, now)?;
        if !self.store().state().allow_provider(name).await? {
            return Err(GovernError::NotFound(format!("no provider {name} is revoked here")));
        }
        Ok(events::append(self.store(), events::provider_allowed(name, by, now)).await?)
    }

    /// Where people and jobs may come from, and where they may not: what is configured, and what is revoked. For administrators, auditors and whoever may revoke.
    ///
    /// # Errors
    /// `viewer` may not, or the state store cannot be reached.
    pub async fn standings(&self, viewer: &Actor, now: Timestamp) -> Result<Vec<Standing>, GovernError> {
        if !self.may(viewer, model::SystemAction::Audit, now) {
            self.must_revoke(viewer, now)?;
        }
        let revoked = self.store().state().revoked_providers().await?;
        let mut names: Vec<&ProviderName> = self.providers().known.keys().chain(self.issuers().names()).collect();
        names.extend(revoked.iter().map(|one| &one.name));
        names.sort();
        names.dedup();
        let standing = |name: &ProviderName| Standing {
            name: name.clone(),
            people: self.providers().known.contains_key(name),
            jobs: self.issuers().names().any(|issuer| issuer == name),
            revoked: revoked.iter().find(|one| one.name == *name).cloned(),
        };
        Ok(names.into_iter().map(standing).collect())
    }

    /// Refuses to begin what could not be finished.
    pub(super) async fn must_stand(&self, name: &ProviderName) -> Result<(), NotEntered> {
        if self.store().state().is_provider_revoked(name).await? { Err(NotEntered::Revoked(name.clone())) } else { Ok(()) }
    }

    async fn must_be_known(&self, name: &ProviderName) -> Result<(), GovernError> {
        let configured = self.providers().known.contains_key(name) || self.issuers().names().any(|issuer| issuer == name);
        if configured || self.store().state().is_provider_revoked(name).await? {
            return Ok(());
        }
        let known: Vec<&str> = self.providers().known.keys().chain(self.issuers().names()).map(ProviderName::as_str).collect();
        let known = if known.is_empty() { "there is none".to_owned() } else { format!("there are: {}", known.join(", ")) };
        Err(GovernError::NotFound(format!("no provider of people or issuer of jobs' tokens is called {name}; {known}")))
    }
}

impl Providers {
    /// Ends what was begun there and is not finished.
    fn forget_flows(&self, name: &ProviderName) {
        self.flows().retain(|_, flow| flow.provider.name() != name);
    }
}

#[cfg(test)]
mod tests;
