//! Every limit of a running gateway that is not a policy, with its unit last. `countersign.toml` sets them; these are the defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a gateway takes on before it refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest Query or Parse that is collected, in bytes; longer ones are refused.
    pub max_statement_bytes: usize,
    /// Longest Bind that is collected, in bytes; longer ones are refused.
    pub max_bind_bytes: usize,
    /// How much of what follows a held operation is kept for each session, in bytes; more ends the session.
    pub max_held_bytes: usize,
    /// Sessions at once, in all.
    pub max_sessions: usize,
    /// Sessions at once on behalf of one identity.
    pub max_sessions_per_identity: usize,
    /// How long a caller has from the first byte to the end of the sign-in, in milliseconds.
    pub login_timeout_ms: u64,
    /// Callers that may be between their first byte and the end of their login at once, in all; more wait to be accepted.
    pub max_logins: usize,
    /// And from one address, for IPv6 from its /64; more are sent away.
    pub max_logins_per_address: usize,
    /// Passwords hashed at once. Each takes about 20 MiB and a core for the while.
    pub max_password_checks: usize,
    /// How long a sign-in may wait for its turn to have a password hashed, in milliseconds.
    pub password_wait_ms: u64,
    /// How long live sessions go on without the state store, in milliseconds.
    pub revocation_grace_ms: u64,
    /// How often the state store is asked whether it is there, and the live sessions whether their window has closed, in milliseconds.
    pub watch_interval_ms: u64,
    /// Longest window of a token for a user, in seconds.
    pub max_token_window_s: u64,
    /// Longest life of a workload or agent before its owner must renew it, in seconds.
    pub max_identity_life_s: u64,
    /// Holds.
    #[serde(skip)]
    pub holds: HoldLimits,
    /// Identities.
    #[serde(skip)]
    pub identities: IdentityLimits,
}

/// How long workloads and agents go on whose owner has left, and when owners are told of an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityLimits {
    /// How long they work from when that is found out, in days.
    pub orphaned_grace_days: u32,
    /// An owner who signs in at a provider has left who has not been signed in for so long, in days.
    pub owner_absent_days: u32,
    /// How long before the end of a workload or agent its owner is told, in days.
    pub expiring_days: u32,
}

/// How many operations may be held, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HoldLimits {
    /// When a held operation is refused if not all signed, in seconds.
    pub expire_after_s: u64,
    /// Held operations at once on behalf of one identity.
    pub max_per_identity: usize,
    /// Held operations at once, in all.
    pub max_total: usize,
    /// How long the check between the last signature and the release may take, in milliseconds; after it the signatures are voided.
    pub recheck_ms: u64,
    /// How long what has to be watched goes on when nobody watches it any more, in seconds.
    pub unwatched_grace_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_statement_bytes: 1 << 20,
            max_bind_bytes: 16 << 20,
            max_held_bytes: 1 << 20,
            max_sessions: 5_000,
            max_sessions_per_identity: 500,
            login_timeout_ms: 15_000,
            max_logins: 4_096,
            max_logins_per_address: 512,
            max_password_checks: 2,
            password_wait_ms: 5_000,
            revocation_grace_ms: 5_000,
            watch_interval_ms: 500,
            max_token_window_s: 30 * 86_400,
            max_identity_life_s: 400 * 86_400,
            holds: HoldLimits::default(),
            identities: IdentityLimits::default(),
        }
    }
}

impl Default for IdentityLimits {
    fn default() -> Self {
        Self { orphaned_grace_days: 14, owner_absent_days: 30, expiring_days: 14 }
    }
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self { expire_after_s: 900, max_per_identity: 10, max_total: 1_000, recheck_ms: 10_000, unwatched_grace_s: 30 }
    }
}

impl HoldLimits {
    /// [`expire_after_s`](Self::expire_after_s) as a duration.
    #[must_use]
    pub const fn expire_after(&self) -> Duration {
        Duration::from_secs(self.expire_after_s)
    }

    /// [`recheck_ms`](Self::recheck_ms) as a duration.
    #[must_use]
    pub const fn recheck(&self) -> Duration {
        Duration::from_millis(self.recheck_ms)
    }

    /// [`unwatched_grace_s`](Self::unwatched_grace_s) as a duration; no longer than a day.
    #[must_use]
    pub fn unwatched_grace(&self) -> Duration {
        Duration::from_secs(self.unwatched_grace_s.min(86_400))
    }
}
