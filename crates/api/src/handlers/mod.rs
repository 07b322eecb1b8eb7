//! What is answered, one subject to a file.
//!
//! INVARIANT: every handler but those of [`PUBLIC`](crate::PUBLIC) takes a [`Caller`](crate::caller::Caller) first, so that nothing of a request is
//! looked at for nobody.

pub(crate) mod catalogs;
pub(crate) mod connections;
pub(crate) mod explain;
pub(crate) mod follow;
pub(crate) mod holds;
pub(crate) mod identities;
pub(crate) mod oauth;
pub(crate) mod providers;
pub(crate) mod recordings;
pub(crate) mod requests;
pub(crate) mod search;
pub(crate) mod second_factor;
pub(crate) mod secrets;
pub(crate) mod sessions;
pub(crate) mod sign_in;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod tokens;
pub(crate) mod versions;
pub(crate) mod watch;
pub(crate) mod who;
pub(crate) mod workloads;

use model::Timestamp;

use crate::refused::Refused;

/// `now` and so many seconds.
pub(crate) fn after(now: Timestamp, seconds: u64) -> Result<Timestamp, Refused> {
    now.checked_add(std::time::Duration::from_secs(seconds)).map_err(|_| Refused::invalid("that time is too far ahead"))
}

/// `now` less so many seconds.
pub(crate) fn before(now: Timestamp, seconds: u64) -> Result<Timestamp, Refused> {
    now.checked_sub(std::time::Duration::from_secs(seconds)).map_err(|_| Refused::invalid("that time is too far back"))
}
