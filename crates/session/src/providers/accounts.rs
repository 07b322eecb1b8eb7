//! Accounts at providers: whose each is, and who says so.

use model::{Actor, IdentityName, ProviderName, Timestamp};
use serde_json::json;
use store::state::{Account, AccountRow, LinkError};

use crate::{
    events,
    guard::{GovernError, Guard},
};

impl Guard {
    /// Links an account to a person, or takes it away again. Administrators may.
    ///
    /// # Errors
    /// `by` may not, there is no such provider or person, or the account is somebody's.
    pub async fn link_account(
        &self,
        name: &IdentityName,
        provider: &ProviderName,
        subject: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), GovernError> {
        self.must_administer(by, now)?;
        if *name == by.name {
            // Their password goes with it: the last administrator must not be lost by mistake.
            return Err(GovernError::NotPermitted("nobody links an account to themselves: ask somebody else who may".to_owned()));
        }
        let account = self.account(provider, subject)?;
        match self.store().state().link_account(&account, provider, name, &by.name, now).await {
            Ok(()) => {}
            Err(LinkError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(GovernError::Invalid(error.to_string())),
        }
        // What they opened with the password they had.
        if let Some(identity) = self.store().state().identity(name).await? {
            self.live().end_by_identity(identity.id, name);
        }
        let detail = json!({ "provider": provider, "subject": subject });
        Ok(events::append(self.store(), events::identity_changed("identity.linked", name, detail, by, now)).await?)
    }

    /// Takes an account away from the person it is linked to, and ends its sign-ins. Administrators may. Returns how many sessions ended.
    ///
    /// # Errors
    /// `by` may not, or it is linked to nobody.
    pub async fn unlink_account(
        &self,
        name: &IdentityName,
        provider: &ProviderName,
        subject: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<usize, GovernError> {
        self.must_administer(by, now)?;
        let account = self.account(provider, subject)?;
        let theirs = self.store().state().accounts(Some(name)).await?.into_iter().any(|row| row.account == account);
        if !theirs {
            return Err(GovernError::NotFound(format!("{name} has no account `{}` at {provider}", model::name::printable(subject))));
        }
        let why = "the account was taken away";
        let over = self.store().state().unlink_account(&account, why, &by.name, now).await?.unwrap_or_default();
        let ended = self.cut(provider, over, &by.name, why, now).await;
        self.decide_anew(now).await;
        let detail = json!({ "provider": provider, "subject": subject, "sessions_ended": ended });
        events::append(self.store(), events::identity_changed("identity.unlinked", name, detail, by, now)).await?;
        Ok(ended)
    }

    /// The accounts of an identity that `viewer` may see.
    ///
    /// # Errors
    /// There is no such identity, or none they may see.
    pub async fn accounts(&self, name: &IdentityName, viewer: &Actor, now: Timestamp) -> Result<Vec<AccountRow>, GovernError> {
        self.identity_for(name, viewer, now).await?;
        Ok(self.store().state().accounts(Some(name)).await?)
    }

    fn account(&self, provider: &ProviderName, subject: &str) -> Result<Account, GovernError> {
        let found = self.providers().get(provider).map_err(|error| GovernError::NotFound(error.to_string()))?;
        Ok(Account { issuer: found.settings().issuer.as_str().to_owned(), subject: subject.to_owned() })
    }
}
