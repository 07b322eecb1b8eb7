//! The register of identities: who may enter and change whom, and see what.
//!
//! Administrators enter identities, set their groups and say who owns them; nobody else widens anybody's access, the owner of a workload least of
//! all. That an owner cannot hand on what they own is deliberate: they would no longer be barred from signing for it.

use std::net::{IpAddr, Ipv4Addr};

use identity::{NewIdentity, RegisterError, password, register::check_expiry};
use model::{Actor, GroupName, Identity, IdentityKind, IdentityName, Secret, SystemAction, Timestamp};
use serde_json::json;
use store::state::{AddIdentityError, ChangeIdentityError};

use crate::{
    events,
    guard::{GovernError, Guard},
    ids,
};

/// Where attempts count that somebody makes who is signed in, wherever they are.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The register's row of an identity as a member of a chain.
#[must_use]
pub fn actor(identity: &Identity) -> Actor {
    Actor {
        id: identity.id,
        name: identity.name.clone(),
        kind: identity.kind,
        groups: identity.groups.clone(),
        owner: identity.owner.clone(),
        run: None,
        granted: Vec::new(),
    }
}

/// A member of a chain as the register has it now; its run stays, and what was granted to it.
#[must_use]
pub(crate) fn renewed(member: &Actor, identity: &Identity) -> Actor {
    Actor { run: member.run.clone(), granted: member.granted.clone(), ..actor(identity) }
}

impl Guard {
    /// Enters an identity. Administrators may; the owner of a workload or agent must be an active person.
    ///
    /// # Errors
    /// `by` may not, the name is taken, the password breaks a rule, or the owner is nobody who could answer for it.
    pub async fn add_identity(&self, new: &NewIdentity, password: Option<Secret>, by: &Actor, now: Timestamp) -> Result<Identity, GovernError> {
        self.must_administer(by, now)?;
        let hash = match password {
            Some(_) if new.kind() != IdentityKind::User => {
                return Err(GovernError::Invalid("workloads and agents have no password: mint a token for them".to_owned()));
            }
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let identity = self.store().state().add_identity(ids::identity(), new, &by.name, now).await?;
        if hash.is_some() {
            self.store().state().set_password_hash(&identity.name, hash.as_deref()).await?;
        }
        events::append(self.store(), events::identity_added(&identity, now)).await?;
        Ok(identity)
    }

    /// Sets a person's password: they themselves, who show the one they have, and administrators.
    ///
    /// # Errors
    /// `by` may not, the current password is wrong, or the new one breaks a rule.
    pub async fn set_password(
        &self,
        name: &IdentityName,
        current: Option<&Secret>,
        new: Secret,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), GovernError> {
        let identity = self.identity_for(name, by, now).await?;
        if identity.kind != IdentityKind::User {
            return Err(GovernError::Invalid(format!("{name} is not a person: mint a token for it")));
        }
        if let Some(account) = self.store().state().accounts(Some(name)).await?.first() {
            return Err(GovernError::Invalid(format!(
                "{name} signs in at {}, and with no password: whoever is barred there is barred here",
                account.provider
            )));
        }
        match current {
            Some(current) if identity.id == by.id => self.must_know(&identity, current, now).await?,
            Some(_) | None => self.must_administer(by, now)?,
        }
        let hash = self.hash(new).await?;
        self.store().state().set_password_hash(name, Some(&hash)).await?;
        Ok(events::append(self.store(), events::identity_changed("identity.password", name, json!({}), by, now)).await?)
    }

    /// Sets the groups of an identity; its live sessions are decided anew. Administrators may.
    ///
    /// # Errors
    /// `by` may not, or there is no such identity.
    pub async fn set_groups(&self, name: &IdentityName, mut groups: Vec<GroupName>, by: &Actor, now: Timestamp) -> Result<(), GovernError> {
        self.must_administer(by, now)?;
        groups.sort();
        groups.dedup();
        let identity = self.active(name, now).await?;
        self.store().state().set_groups(name, &groups).await?;
        self.decide_anew(now).await;
        let detail = json!({ "before": identity.groups, "after": groups });
        Ok(events::append(self.store(), events::identity_changed("identity.groups", name, detail, by, now)).await?)
    }

    /// Says who answers for a workload or agent from now on. Administrators may.
    ///
    /// # Errors
    /// `by` may not, it is a person, or the new owner is not an active one.
    pub async fn set_owner(&self, name: &IdentityName, owner: &IdentityName, by: &Actor, now: Timestamp) -> Result<(), GovernError> {
        self.must_administer(by, now)?;
        let identity = self.machine(name, now).await?;
        self.store().state().set_owner(name, owner, now).await.map_err(|error| GovernError::Invalid(error.to_string()))?;
        self.decide_anew(now).await;
        let detail = json!({ "before": identity.owner, "after": owner, "orphaned_at": identity.orphaned_at });
        Ok(events::append(self.store(), events::identity_changed("identity.owner", name, detail, by, now)).await?)
    }

    /// Says until when a workload or agent works from now on. Administrators may. Sessions that live end when they would have.
    ///
    /// # Errors
    /// `by` may not, it is a person or has ended, or the time is past or too far ahead.
    pub async fn set_expiry(&self, name: &IdentityName, expires_at: Timestamp, by: &Actor, now: Timestamp) -> Result<(), GovernError> {
        self.must_administer(by, now)?;
        let identity = self.known(name).await?;
        if identity.kind == IdentityKind::User || identity.revoked_at.is_some() {
            return Err(GovernError::Invalid(format!("{name} is a person or was revoked: it has no expiry to set")));
        }
        check_expiry(expires_at, now)?;
        self.store().state().set_expiry(name, expires_at).await?;
        let detail = json!({ "before": identity.expires_at, "after": expires_at });
        Ok(events::append(self.store(), events::identity_changed("identity.expiry", name, detail, by, now)).await?)
    }

    /// Revokes an identity for good, with its tokens, and ends its live sessions; returns how many those were. Whoever may `revoke` may, and the
    /// owner of a workload or agent; nobody themselves, so that the last administrator is not lost by mistake.
    ///
    /// # Errors
    /// `by` may not, or there is no such identity.
    pub async fn revoke_identity(&self, name: &IdentityName, by: &Actor, now: Timestamp) -> Result<usize, GovernError> {
        let identity = self.identity_for(name, by, now).await?;
        if identity.id == by.id {
            return Err(GovernError::NotPermitted("nobody revokes themselves: ask somebody else who may".to_owned()));
        }
        if identity.owner.as_ref() != Some(&by.name) {
            self.must_revoke(by, now)?;
        }
        self.store().state().revoke_identity(name, &by.name, now).await?;
        let ended = self.live().end_by_identity(identity.id, name);
        events::note(self.store(), events::identity_changed("identity.revoked", name, json!({ "sessions_ended": ended }), by, now)).await;
        self.look_after_owners(now).await;
        Ok(ended)
    }

    /// The identities `viewer` may see: themselves and what they own; administrators and auditors see all.
    ///
    /// # Errors
    /// The state store cannot be reached.
    pub async fn identities(&self, viewer: &Actor, now: Timestamp) -> Result<Vec<Identity>, GovernError> {
        let mut identities = self.store().state().identities().await?;
        identities.retain(|identity| self.may_see_identity(identity, viewer, now));
        Ok(identities)
    }

    pub(crate) fn may_see_identity(&self, identity: &Identity, viewer: &Actor, now: Timestamp) -> bool {
        identity.id == viewer.id
            || identity.owner.as_ref() == Some(&viewer.name)
            || self.may(viewer, SystemAction::Audit, now)
            || self.may(viewer, SystemAction::Administer, now)
            || self.may(viewer, SystemAction::Revoke, now)
    }

    /// The identity, if `viewer` may see it; otherwise as if there were none.
    pub(crate) async fn identity_for(&self, name: &IdentityName, viewer: &Actor, now: Timestamp) -> Result<Identity, GovernError> {
        let found = self.store().state().identity(name).await?;
        found.filter(|identity| self.may_see_identity(identity, viewer, now)).ok_or_else(|| nobody(name))
    }

    pub(crate) fn must_administer(&self, by: &Actor, now: Timestamp) -> Result<(), GovernError> {
        if self.may(by, SystemAction::Administer, now) {
            return Ok(());
        }
        Err(GovernError::NotPermitted(format!("policy does not permit {} to administer Countersign", by.name)))
    }

    pub(crate) fn must_revoke(&self, by: &Actor, now: Timestamp) -> Result<(), GovernError> {
        if self.may(by, SystemAction::Revoke, now) || self.may(by, SystemAction::Administer, now) {
            return Ok(());
        }
        Err(GovernError::NotPermitted(format!("policy does not permit {} to revoke", by.name)))
    }

    async fn known(&self, name: &IdentityName) -> Result<Identity, GovernError> {
        self.store().state().identity(name).await?.ok_or_else(|| nobody(name))
    }

    async fn active(&self, name: &IdentityName, now: Timestamp) -> Result<Identity, GovernError> {
        let identity = self.known(name).await?;
        if identity.is_active(now) {
            return Ok(identity);
        }
        Err(GovernError::Invalid(format!("identity {name} was revoked or has expired")))
    }

    async fn machine(&self, name: &IdentityName, now: Timestamp) -> Result<Identity, GovernError> {
        let identity = self.known(name).await?;
        // Somebody may take on one that stopped because nobody had.
        let stopped = identity.orphaned_at.is_some() && identity.revoked_at.is_none();
        let identity = if stopped { identity } else { self.active(name, now).await? };
        if identity.kind == IdentityKind::User {
            return Err(GovernError::Invalid(format!("{name} is a person and answers for themselves")));
        }
        Ok(identity)
    }

    /// Whoever has somebody's token guesses their password here no more often than where they sign in.
    pub(crate) async fn must_know(&self, identity: &Identity, current: &Secret, now: Timestamp) -> Result<(), GovernError> {
        let wrong = || GovernError::NotPermitted("the current password is not right".to_owned());
        let attempt = self.attempts.begin(identity.name.as_str(), NOWHERE, now).map_err(|_| wrong())?;
        let stored = self.store().state().identity_and_password(&identity.name).await?.and_then(|(_, stored)| stored);
        if self.verify(current, stored).await.map_err(|refused| GovernError::Invalid(refused.to_string()))? {
            self.attempts.succeeded(&attempt);
            return Ok(());
        }
        Err(wrong())
    }

    /// Hashes a new password on a blocking thread when it is its turn.
    async fn hash(&self, password: Secret) -> Result<String, GovernError> {
        let place = self.hashing.clone().acquire_owned().await;
        let hashed = tokio::task::spawn_blocking(move || {
            let hashed = password::hash(&password);
            drop(place);
            hashed
        });
        let hashed = hashed.await.map_err(|_| GovernError::Invalid("the password could not be hashed".to_owned()))?;
        hashed.map_err(|refused| GovernError::Invalid(refused.to_string()))
    }
}

impl From<RegisterError> for GovernError {
    fn from(error: RegisterError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<AddIdentityError> for GovernError {
    fn from(error: AddIdentityError) -> Self {
        match error {
            AddIdentityError::Store(error) => Self::State(error),
            AddIdentityError::Taken(_) | AddIdentityError::Owner(_) => Self::Invalid(error.to_string()),
        }
    }
}

impl From<ChangeIdentityError> for GovernError {
    fn from(error: ChangeIdentityError) -> Self {
        match error {
            ChangeIdentityError::Store(error) => Self::State(error),
            ChangeIdentityError::Unknown(_)
            | ChangeIdentityError::Revoked(_)
            | ChangeIdentityError::Elsewhere(_)
            | ChangeIdentityError::Orphaned(_) => Self::Invalid(error.to_string()),
        }
    }
}

fn nobody(name: &IdentityName) -> GovernError {
    GovernError::NotFound(format!("no identity {name}"))
}

#[cfg(test)]
mod tests;
