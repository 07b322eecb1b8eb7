//! The second factor of built-in users, whose passwords are for first runs and emergencies: the code of an authenticator app beside the password.
//!
//! Somebody is offered a secret when they show their password, and the code is asked for from when they have shown one. Each code works once. Only administrators take a
//! second factor away, and never see one.

use identity::totp;
use model::{Actor, Identity, IdentityKind, IdentityName, Secret, Timestamp};
use serde_json::json;
use store::StoreError;

use crate::{
    events,
    guard::{GovernError, Guard},
};

/// What somebody puts into their authenticator app. Shown this once.
#[derive(Debug)]
pub struct Offer {
    /// To be typed.
    pub typed: Secret,
    /// To be scanned or followed.
    pub uri: Secret,
}

/// What became of the question for a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecondFactor {
    /// They have none.
    NotAsked,
    /// A code that is right, of this step.
    Right(i64),
    /// No code, or one that is not right.
    Missing,
}

impl Guard {
    /// Offers somebody who shows their password a secret for their authenticator app. It counts when they [accept](Self::accept_second_factor) it.
    ///
    /// # Errors
    /// `by` is somebody else, or has a second factor or no password; the password is wrong.
    pub async fn offer_second_factor(&self, name: &IdentityName, current: &Secret, by: &Actor, now: Timestamp) -> Result<Offer, GovernError> {
        let identity = self.without_second_factor(name, by, now).await?;
        self.must_know(&identity, current, now).await?;
        let secret = totp::fresh().map_err(|error| GovernError::Invalid(error.to_string()))?;
        self.store().secrets().keep_second_factor(identity.id, &secret, now).await?;
        Ok(Offer { typed: totp::typed(&secret), uri: totp::uri(&secret, name) })
    }

    /// Asks for a code with their password from now on, once they show that their app has the secret.
    ///
    /// # Errors
    /// `by` is somebody else, was offered nothing, or shows a code that is not right.
    pub async fn accept_second_factor(&self, name: &IdentityName, code: &Secret, by: &Actor, now: Timestamp) -> Result<(), GovernError> {
        let identity = self.without_second_factor(name, by, now).await?;
        let secret = self.store().secrets().second_factor(identity.id).await?;
        let secret = secret.ok_or_else(|| GovernError::Invalid("nothing was offered: begin with `countersign identity totp`".to_owned()))?;
        let wrong = || GovernError::Invalid("the code is not right: is the clock of the device, or of the gateway, wrong? Begin again".to_owned());
        let step = totp::step_of(&secret, code, now).ok_or_else(wrong)?;
        if !self.store().state().begin_second_factor(name, step, now).await? {
            return Err(has_one(name));
        }
        Ok(events::append(self.store(), events::identity_changed("identity.second_factor_added", name, json!({}), by, now)).await?)
    }

    /// Takes somebody's second factor away: their password is enough again. Administrators may.
    ///
    /// # Errors
    /// `by` may not, or they have none.
    pub async fn remove_second_factor(&self, name: &IdentityName, by: &Actor, now: Timestamp) -> Result<(), GovernError> {
        self.must_administer(by, now)?;
        let identity = self.identity_for(name, by, now).await?;
        if !self.store().state().end_second_factor(name).await? {
            return Err(GovernError::NotFound(format!("{name} has no second factor")));
        }
        self.store().secrets().forget_second_factor(identity.id).await?;
        tracing::warn!(identity = %name, by = %by.name, "the second factor of a built-in user was taken away");
        Ok(events::append(self.store(), events::identity_changed("identity.second_factor_removed", name, json!({}), by, now)).await?)
    }

    /// The identity, if it is `by`'s own and may have a second factor and has none.
    async fn without_second_factor(&self, name: &IdentityName, by: &Actor, now: Timestamp) -> Result<Identity, GovernError> {
        if *name != by.name {
            return Err(GovernError::NotPermitted(format!("only {name} sets up a second factor of theirs; administrators take it away")));
        }
        let identity = self.identity_for(name, by, now).await?;
        if identity.kind != IdentityKind::User || !self.store().state().accounts(Some(name)).await?.is_empty() {
            return Err(GovernError::Invalid(format!("{name} has no password: a second factor is for built-in users")));
        }
        if identity.second_factor_at.is_some() {
            return Err(has_one(name));
        }
        Ok(identity)
    }

    /// Looks at the code before anybody knows whether the password is right: how long it takes tells nothing of that.
    pub(crate) async fn look_at_code(&self, identity: Option<&Identity>, code: Option<&Secret>, now: Timestamp) -> Result<SecondFactor, StoreError> {
        let Some(identity) = identity.filter(|identity| identity.second_factor_at.is_some()) else { return Ok(SecondFactor::NotAsked) };
        let secret = self.store().secrets().second_factor(identity.id).await?;
        let step = secret.zip(code).and_then(|(secret, code)| totp::step_of(&secret, code, now));
        Ok(step.map_or(SecondFactor::Missing, SecondFactor::Right))
    }
}

fn has_one(name: &IdentityName) -> GovernError {
    GovernError::Invalid(format!("{name} has a second factor: an administrator takes it away with `countersign identity totp {name} --remove`"))
}

#[cfg(test)]
mod tests;
