//! Who answers for workloads and agents: that they are told of an end that comes near, theirs or that of a key, and what becomes of those whose owner leaves.
//!
//! An owner has left who was revoked or has expired, or who signs in at a provider and has not been signed in for long: whoever is barred there is told of by nobody, but
//! does not come back. What they own is orphaned: it keeps them as its owner, who may still not sign for it, and stops at a deadline unless an administrator names somebody
//! else, or they come back. It is looked for when somebody is revoked, and every [`LOOK`], whatever ended the owner.

use std::time::Duration;

use model::{Actor, Identity, IdentityName, Timestamp};
use store::{StoreError, state::IdentityKey};

use crate::{
    events,
    guard::{GovernError, Guard},
    live::EndReason,
};

/// How often owners are looked for that have left.
const LOOK: Duration = Duration::from_secs(10);
const DAY_S: u64 = 86_400;

impl Guard {
    /// Looks after who answers for what, for ever.
    pub(crate) async fn watch_owners(&self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look_after_owners(Timestamp::now()).await;
        }
    }

    /// One round. What fails is done in the next one.
    pub async fn look_after_owners(&self, now: Timestamp) {
        if !self.state_is_there() {
            return;
        }
        let looked = async {
            let itself = events::itself()?;
            self.find_owners_back(&itself, now).await?;
            self.find_orphans(&itself, now).await?;
            self.stop_orphans(&itself, now).await?;
            self.tell_of_ends(&itself, now).await?;
            self.tell_of_key_ends(&itself, now).await
        };
        if let Err(error) = looked.await {
            tracing::error!(%error, "owners that have left could not be looked for");
        }
    }

    /// Those whose owner has left get a deadline.
    async fn find_orphans(&self, itself: &IdentityName, now: Timestamp) -> Result<(), StoreError> {
        let deadline = now.checked_add(days(self.limits().identities.orphaned_grace_days)).unwrap_or(Timestamp::MAX);
        for found in self.store().state().left_behind(self.absent_since(now), now).await? {
            let event = |identity: &Identity| events::identity_orphaned(identity, found.why, itself, now);
            let Some(identity) = self.store().state().orphan(&found, deadline, event, now).await? else { continue };
            let (owner, why) = (found.owner.as_ref().map_or("-", IdentityName::as_str), found.why.as_str());
            let until = identity.expires_at.unwrap_or(deadline);
            tracing::warn!(identity = %identity.name, owner, why, %until, "an identity is orphaned: it stops then unless it gets an owner");
        }
        Ok(())
    }

    /// Those whose owner has come back before the deadline go on as before.
    async fn find_owners_back(&self, itself: &IdentityName, now: Timestamp) -> Result<(), StoreError> {
        for name in self.store().state().owners_back(self.absent_since(now), now).await? {
            let event = |identity: &Identity| events::owner_is_back(identity, itself, now);
            if self.store().state().owner_is_back(&name, event, now).await?.is_some() {
                tracing::info!(identity = %name, "the owner of an orphaned identity is back");
            }
        }
        Ok(())
    }

    /// Those that nobody took on in time end, with what they opened.
    async fn stop_orphans(&self, itself: &IdentityName, now: Timestamp) -> Result<(), StoreError> {
        for name in self.store().state().orphans_run_out(now).await? {
            let event = |identity: &Identity| events::orphan_stopped(identity, itself, now);
            let Some(identity) = self.store().state().stop_orphan(&name, itself, event, now).await? else { continue };
            let ended = self.live().end_by_member(identity.id, &EndReason::WindowClosed(identity.expires_at.unwrap_or(now)));
            tracing::warn!(identity = %name, ended, "an orphaned identity has stopped: nobody took it on in time");
        }
        Ok(())
    }

    /// Of each end of a workload or agent its owner is told once, when it comes near.
    async fn tell_of_ends(&self, itself: &IdentityName, now: Timestamp) -> Result<(), StoreError> {
        let before = self.near(now);
        for name in self.store().state().ending_untold(before, now).await? {
            let event = |identity: &Identity| events::identity_expiring(identity, itself, now);
            let Some(identity) = self.store().state().tell_of_end(&name, before, event, now).await? else { continue };
            let (owner, until) = (identity.owner.as_ref().map_or("-", IdentityName::as_str), identity.expires_at.unwrap_or(before));
            tracing::info!(identity = %identity.name, owner, %until, "an identity stops before long unless it is renewed");
        }
        Ok(())
    }

    /// Of the end of each key its identity's owner is told once, when it comes near: early enough to have another one given.
    async fn tell_of_key_ends(&self, itself: &IdentityName, now: Timestamp) -> Result<(), StoreError> {
        for (name, id) in self.store().state().keys_ending_untold(self.near(now), now).await? {
            let event = |identity: &Identity, key: &IdentityKey| events::key_expiring(identity, key, itself, now);
            let Some((identity, key)) = self.store().state().tell_of_key_end(&name, id, event, now).await? else { continue };
            let owner = identity.owner.as_ref().map_or("-", IdentityName::as_str);
            tracing::info!(identity = %name, key = %id, owner, until = %key.expires_at, "a key ends before long: another one takes its place");
        }
        Ok(())
    }

    /// The keys that end before long of workloads and agents that `viewer` may see, with those: the soonest first.
    ///
    /// # Errors
    /// The state store cannot be reached.
    pub async fn keys_ending(&self, viewer: &Actor, now: Timestamp) -> Result<Vec<(Identity, IdentityKey)>, GovernError> {
        let mut ending = Vec::new();
        for key in self.store().state().keys_ending(self.near(now), now).await? {
            let identity = self.store().state().identity(&key.identity).await?.filter(|identity| self.may_see_identity(identity, viewer, now));
            ending.extend(identity.map(|identity| (identity, key)));
        }
        Ok(ending)
    }

    /// The workloads and agents that end before long, and those that are orphaned, as far as `viewer` may see them: the soonest first.
    ///
    /// # Errors
    /// The state store cannot be reached.
    pub async fn ending(&self, viewer: &Actor, now: Timestamp) -> Result<Vec<Identity>, GovernError> {
        let mut ending = self.store().state().ending(self.near(now), now).await?;
        ending.retain(|identity| self.may_see_identity(identity, viewer, now));
        Ok(ending)
    }

    /// Ends until then are near.
    fn near(&self, now: Timestamp) -> Timestamp {
        now.checked_add(days(self.limits().identities.expiring_days)).unwrap_or(Timestamp::MAX)
    }

    fn absent_since(&self, now: Timestamp) -> Timestamp {
        now.checked_sub(days(self.limits().identities.owner_absent_days)).unwrap_or(Timestamp::MIN)
    }
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * DAY_S)
}

#[cfg(test)]
mod tests;
