//! Keys of workloads and agents that have no platform: who gives them one, who takes it away, and what was asked for with it.
//!
//! Administrators give keys, as they say which platform's tokens are whose: who had both an agent's key and what somebody gave the agent would act in their name. Each has an end,
//! ninety days ahead at most, and two may be in force at once, so that one takes the other's place without a gap.

use std::time::Duration;

use identity::{
    PublicKey,
    client_key::{self, MAX_KEY_DAYS},
};
use model::{Actor, IdentityKeyId, IdentityName, Timestamp};
use serde_json::json;
use store::state::{AddKeyError, IdentityKey, Once};

use crate::{
    events,
    guard::{GovernError, Guard},
    ids,
    live::EndReason,
    workloads::{NotExchanged, Proven},
};

impl Guard {
    /// Gives a workload or agent a public key, in PEM or as a JWK, until `expires_at`. Administrators may.
    ///
    /// # Errors
    /// `by` may not, there is no such workload, it has keys enough, the key is none of use or was given before, or its end is past or too far ahead.
    pub async fn add_key(
        &self,
        identity: &IdentityName,
        public_key: &str,
        expires_at: Timestamp,
        by: &Actor,
        now: Timestamp,
    ) -> Result<IdentityKey, GovernError> {
        self.must_administer(by, now)?;
        let public = PublicKey::parse(public_key).map_err(|problem| GovernError::Invalid(problem.to_string()))?;
        let latest = now.checked_add(Duration::from_secs(MAX_KEY_DAYS * 86_400)).unwrap_or(now);
        if expires_at <= now || expires_at > latest {
            return Err(GovernError::Invalid(format!("a key has an end, {MAX_KEY_DAYS} days ahead at most: then another takes its place")));
        }
        let key = IdentityKey {
            id: ids::key(),
            identity: identity.clone(),
            thumbprint: public.thumbprint().to_owned(),
            public_key: public.to_jwk(),
            created_by: by.name.clone(),
            created_at: now,
            expires_at,
            last_used: None,
            revoked_at: None,
            revoked_by: None,
        };
        match self.store().state().add_key(&key).await {
            Ok(()) => {}
            Err(AddKeyError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(GovernError::Invalid(error.to_string())),
        }
        let detail = json!({ "key": key.id, "thumbprint": key.thumbprint, "algorithm": public.algorithm(), "expires_at": expires_at });
        events::append(self.store(), events::identity_changed("identity.key_added", identity, detail, by, now)).await?;
        Ok(key)
    }

    /// Revokes a key, the tokens that were asked for with it and what they opened. Administrators may, whoever may `revoke`, and the identity's owner. Returns how many sessions
    /// ended.
    ///
    /// # Errors
    /// `by` may not, or there is no such key.
    pub async fn revoke_key(&self, identity: &IdentityName, id: IdentityKeyId, by: &Actor, now: Timestamp) -> Result<usize, GovernError> {
        let found = self.identity_for(identity, by, now).await?;
        if found.owner.as_ref() != Some(&by.name) {
            self.must_revoke(by, now)?;
        }
        let tokens = self.store().state().revoke_key(identity, id, &by.name, now).await?;
        let tokens = tokens.ok_or_else(|| GovernError::NotFound(format!("{identity} has no key {id}")))?;
        let ended = tokens.iter().map(|token| self.live().end_by_token(*token, &EndReason::TokenRevoked(*token))).sum();
        let detail = json!({ "key": id, "tokens_revoked": tokens.len(), "sessions_ended": ended });
        events::note(self.store(), events::identity_changed("identity.key_revoked", identity, detail, by, now)).await;
        Ok(ended)
    }

    /// The keys of an identity that `viewer` may see.
    ///
    /// # Errors
    /// There is no such identity, or none they may see.
    pub async fn keys_of(&self, name: &IdentityName, viewer: &Actor, now: Timestamp) -> Result<Vec<IdentityKey>, GovernError> {
        self.identity_for(name, viewer, now).await?;
        Ok(self.store().state().keys_of(name).await?)
    }

    /// Whose assertion it is. It is used up, whatever it comes to.
    pub(crate) async fn prove_by_key(&self, assertion: &str, now: Timestamp) -> Result<Proven, NotExchanged> {
        let url = self.url().ok_or(NotExchanged::Unnamed)?;
        let who = client_key::claimed(assertion).ok_or(NotExchanged::Assertion(client_key::AssertionError::Key))?;
        let rows = self.store().state().keys_in_force(&who, now).await?;
        let keys: Vec<PublicKey> = rows.iter().filter_map(|row| PublicKey::parse(&row.public_key).ok()).collect();
        let asserted =
            client_key::check(assertion, &who, &keys, url, now).inspect_err(|error| tracing::warn!(%who, %error, "an assertion is not believed"));
        let asserted = asserted.map_err(NotExchanged::Assertion)?;
        let made_it = keys.get(asserted.key).and_then(|key| rows.iter().find(|row| row.thumbprint == key.thumbprint()));
        let key = made_it.ok_or(NotExchanged::Assertion(client_key::AssertionError::Key))?;
        match self.store().state().use_once(&who, &asserted.id, asserted.forget_at, now).await? {
            Once::First => {}
            Once::Again => return Err(NotExchanged::UsedBefore),
            Once::TooMany => return Err(NotExchanged::TooMany),
        }
        let identity = self.store().state().identity(&who).await?.filter(|identity| identity.is_active(now));
        let identity = identity.ok_or(NotExchanged::Inactive(who))?;
        Ok(Proven { identity, run: None, trust: None, key: Some(key.id), ends_at: Some(key.expires_at) })
    }
}

#[cfg(test)]
mod tests;
