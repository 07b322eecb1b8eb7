//! A token somebody shows: what it is, and its end. RFC 7009, RFC 7662.
//!
//! Whoever holds a token may end it, as they may use it. What it is, is told to those it concerns and to auditors; to everybody else it is unknown, like one
//! that was never minted.

use std::net::IpAddr;

use identity::{TokenDigest, access, token};
use model::{Actor, ConnectionName, IdentityName, Secret, SystemAction, Timestamp, token::TokenRow};
use serde_json::{Value, json};
use store::StoreError;

use crate::{
    events,
    guard::{GovernError, Guard},
    live::EndReason,
    workloads::NotExchanged,
};

/// What a token for one statement calls what it permits: RFC 9396.
pub const STATEMENT: &str = "countersign_statement";

impl Guard {
    /// Ends the token that somebody shows, and what it opened: whoever holds it may. Nothing happens if there is none.
    ///
    /// # Errors
    /// Too many come from there, or the state store cannot be reached.
    pub async fn revoke_shown(&self, shown: &Secret, peer: IpAddr, now: Timestamp) -> Result<(), NotExchanged> {
        if !self.may_ask(peer, now) {
            return Err(NotExchanged::TooMany);
        }
        let Some(row) = self.shown(shown).await? else { return Ok(()) };
        // Who acts with it showed it, or whoever took it from them.
        let by = row.actors.last().unwrap_or(&row.subject);
        let revoked = self.store().state().revoke_token(row.id, by, now).await?;
        let ended = revoked.into_iter().map(|token| self.live().end_by_token(token, &EndReason::TokenRevoked(token))).sum();
        events::note(self.store(), events::token_revoked(row.id, &row.subject, ended, by, now)).await;
        Ok(())
    }

    /// The token that somebody shows, if it works now and `viewer` may know: whom it speaks for, whoever owns or minted it, and auditors.
    ///
    /// # Errors
    /// The state store cannot be reached.
    pub async fn introspect(&self, shown: &Secret, viewer: &Actor, now: Timestamp) -> Result<Option<TokenRow>, GovernError> {
        let Some(row) = self.shown(shown).await? else { return Ok(None) };
        let live = row.revoked_at.is_none() && row.spent_at.is_none() && row.not_before <= now && now < row.expires_at;
        let mut theirs = row.minted_by == viewer.name || self.may(viewer, SystemAction::Audit, now);
        for name in std::iter::once(&row.subject).chain(&row.actors) {
            let identity = self.store().state().identity(name).await?.filter(|identity| identity.is_active(now));
            let Some(identity) = identity else { return Ok(None) };
            theirs |= identity.id == viewer.id || identity.owner.as_ref() == Some(&viewer.name);
        }
        Ok(Some(row).filter(|_| live && theirs))
    }

    /// The row of a token that somebody shows.
    async fn shown(&self, shown: &Secret) -> Result<Option<TokenRow>, StoreError> {
        match digest(shown) {
            Some(digest) => self.store().state().token_by_digest(&digest).await,
            None => Ok(None),
        }
    }

    /// What a token is for, in a token's words: connections, or this gateway.
    #[must_use]
    pub fn audience(&self, connections: &[ConnectionName]) -> Vec<String> {
        let Some(url) = self.url() else { return connections.iter().map(ToString::to_string).collect() };
        match connections {
            [] => vec![url.to_string()],
            connections => connections.iter().map(|name| url.connection(name)).collect(),
        }
    }
}

/// What a token of ours is found by, whatever it looks like.
pub(crate) fn digest(shown: &Secret) -> Option<TokenDigest> {
    match token::parse(shown) {
        Ok(presented) => Some(presented.digest),
        Err(_) if access::claimed(shown).is_some() => Some(token::sha256(shown.reveal())),
        Err(_) => None,
    }
}

/// Who acts, as RFC 8693 section 4.1 nests them: whoever acts now outside, those they act for within.
#[must_use]
pub fn act(actors: &[IdentityName]) -> Option<Value> {
    actors.iter().fold(None, |within, name| {
        Some(match within {
            None => json!({ "sub": name }),
            Some(within) => json!({ "sub": name, "act": within }),
        })
    })
}

/// Who may act with a token next: RFC 8693 section 4.4.
#[must_use]
pub fn may_act(row: &TokenRow) -> Option<Value> {
    row.next().map(|name| json!({ "sub": name }))
}

/// The one statement that a token may run, as RFC 9396 says it.
#[must_use]
pub fn authorization_details(row: &TokenRow) -> Option<Value> {
    let statement = row.statement.as_ref()?;
    Some(json!([{ "type": STATEMENT, "locations": row.connections, "statement": statement }]))
}

/// The key that whoever uses a token must have: RFC 9449 section 6.
#[must_use]
pub fn confirmation(row: &TokenRow) -> Option<Value> {
    row.bound_to.as_ref().map(|thumbprint| json!({ "jkt": thumbprint }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_acts_now_stands_outside() {
        let names = ["first-bot".parse().unwrap(), "second-bot".parse().unwrap()];
        assert_eq!(act(&[]), None);
        assert_eq!(act(&names), Some(json!({ "sub": "second-bot", "act": { "sub": "first-bot" } })));
    }
}
