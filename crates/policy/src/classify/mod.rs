//! What an operation means: from the bytes a peer sent, by the target's own grammar and catalog, to [`model::Facts`].
//!
//! Pure: the catalog and the session's state are parameters. Nothing here may panic, grow without bound or guess in a caller's favour:
//! what is not understood is a value, [`model::Understanding::Unreadable`].

pub mod postgres;
pub mod ssh;
