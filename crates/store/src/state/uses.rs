//! What identities used. Kept by the index, which learns it from the recordings: nothing is counted on the hot path, and nothing twice.

use model::{IdentityName, Timestamp};

use super::State;
use crate::{StoreError, Use};

impl State {
    /// What an identity used, as the subject or acting for it: by connection, action and object. As fresh as the index.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn uses_of(&self, identity: &IdentityName) -> Result<Vec<Use>, StoreError> {
        self.index.uses_of(identity).await
    }

    /// Who did what to an object, `public.customers`, since a time. As fresh as the index.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn uses_on(&self, object: &str, since: Timestamp) -> Result<Vec<Use>, StoreError> {
        self.index.uses_on(object, since).await
    }
}
