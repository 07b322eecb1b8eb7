//! PostgreSQL: a caller's login, its target's, and the pump that carries the session.

pub(crate) mod cancel;
pub mod catalog;
pub(crate) mod login;
pub(crate) mod pump;
mod questions;
pub(crate) mod roles;
pub(crate) mod signals;
