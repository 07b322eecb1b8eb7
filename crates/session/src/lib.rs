//! The life of a session: who is let in, what each operation means and whether it may run, who must sign, what is written down.
//!
//! `protocol` and `policy` meet here and nowhere else. Nothing here opens a socket or knows SQL.

pub mod admit;
pub mod approve;
pub mod catalogs;
mod events;
pub mod guard;
pub mod ids;
pub mod limits;
pub mod live;
pub mod register;
pub mod sign_in;
pub mod tokens;

pub use guard::Guard;
