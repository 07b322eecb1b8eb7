//! What the gateway knows besides recordings: one file to a subject.
//!
//! Every method is one short transaction. Rows pass as the types of `model`; what is read back is parsed again, and a row that cannot be is an error, not a guess.

mod accounts;
mod events;
mod holds;
mod identities;
mod keys;
mod owners;
mod providers;
mod requests;
mod roles;
mod sessions;
mod tokens;
mod trust;
mod uses;
mod versions;

pub use accounts::{Account, AccountRow, EndedSignIn, LinkError, NewSignIn, SignInError, SignInRow, SignedInAs, Which};
pub use events::{Event, EventRow};
pub use identities::{AddIdentityError, ChangeIdentityError, SetOwnerError};
pub use keys::{AddKeyError, IdentityKey, MAX_KEYS_IN_FORCE, MAX_REMEMBERED, Once};
pub use owners::{LeftBehind, OwnerLeft};
pub use providers::{EndedWithProvider, RevokedProvider};
pub use roles::TargetRole;
pub use sessions::SessionFilter;
pub use tokens::{AddTokenError, MAX_TOKEN_DAYS};
pub use trust::{TrustError, TrustRule};
pub use versions::{Applied, StoredVersion};

use model::Timestamp;

use crate::{
    Index, StoreError,
    database::{Database, Schema, micros, sql},
};

/// `last_used` is written at most this often for an identity, token or rule, in seconds.
const USE_GRAIN_S: i64 = 60;
/// The file's name in the data directory.
pub(crate) const FILE: &str = "state.db";

pub(crate) const SCHEMA: Schema = Schema {
    table: "state_migrations",
    migrations: &[
        (1, "first", include_str!("../migrations/state/0001_first.sql")),
        (2, "spent tokens", include_str!("../migrations/state/0002_spent_tokens.sql")),
        (3, "accounts", include_str!("../migrations/state/0003_accounts.sql")),
        (4, "trust", include_str!("../migrations/state/0004_trust.sql")),
        (5, "delegations", include_str!("../migrations/state/0005_delegations.sql")),
        (6, "requests", include_str!("../migrations/state/0006_requests.sql")),
        (7, "owners", include_str!("../migrations/state/0007_owners.sql")),
        (8, "expiry told", include_str!("../migrations/state/0008_expiry_told.sql")),
        (9, "second factor", include_str!("../migrations/state/0009_second_factor.sql")),
        (10, "target roles", include_str!("../migrations/state/0010_target_roles.sql")),
        (11, "keys", include_str!("../migrations/state/0011_keys.sql")),
        (12, "bound tokens", include_str!("../migrations/state/0012_bound_tokens.sql")),
        (13, "links", include_str!("../migrations/state/0013_links.sql")),
        (14, "key ends told", include_str!("../migrations/state/0014_key_ends_told.sql")),
        (15, "providers", include_str!("../migrations/state/0015_providers.sql")),
        (16, "ssh keys", include_str!("../migrations/state/0016_ssh_keys.sql")),
    ],
};

/// Identities, tokens, sessions, holds, policy versions and events.
#[derive(Debug, Clone)]
pub struct State {
    database: Database,
    index: Index,
}

impl State {
    pub(crate) const fn new(database: Database, index: Index) -> Self {
        Self { database, index }
    }

    /// Whether it can be written, as far as the last write says. One that can only be read lets nobody in and takes no revocation.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.database.is_writable()
    }

    /// Writes nothing new, to find out whether it can be written again.
    ///
    /// # Errors
    /// It cannot.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.database.probe().await
    }

    /// Notes a use to the minute: writes only if the last one noted is older. `due` and `update` know the row by $1, and when by $2.
    async fn note_use(&self, due: &'static str, update: &'static str, key: &str, now: Timestamp) -> Result<(), StoreError> {
        let stale = micros(now).saturating_sub(USE_GRAIN_S * 1_000_000);
        let due: Option<(i64,)> = sql(due).bind(key).bind(stale).optional(self.database.read()).await?;
        if due.is_none() {
            return Ok(());
        }
        let mut write = self.database.write().await?;
        sql(update).bind(key).bind(micros(now)).run(&mut write).await?;
        write.commit().await
    }

    pub(crate) const fn database(&self) -> &Database {
        &self.database
    }

    /// Says that what the last process left open is over: live sessions ended, waiting holds withdrawn. Called once, before anybody is let in.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_restart(&self, now: model::Timestamp) -> Result<Restart, StoreError> {
        let sessions = self.end_live_sessions("the gateway stopped", now).await?;
        let holds = self.withdraw_waiting_holds("the gateway was restarted").await?;
        Ok(Restart { sessions, holds })
    }
}

/// What the last process left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Sessions that had not ended.
    pub sessions: u64,
    /// Holds that were waiting.
    pub holds: u64,
}
