//! Sockets: where callers come in, where targets are dialled, and one driver that carries bytes between them and a dialogue.
//!
//! A target is dialled only with an `Admission`, bytes of an operation go out only after the session recorded them, and nothing
//! here decides anything.

pub mod dial;
pub mod link;
pub mod listen;
pub mod postgres;
mod ssh;
pub mod threads;
pub mod tls;

pub use listen::{Gateway, Stop};
pub use postgres::catalog::TargetCatalogs;
pub use threads::Threads;
pub use tls::{CallerTls, TlsError};
