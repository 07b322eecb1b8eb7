//! PostgreSQL's frontend/backend protocol, version 3.0, on both sides: <https://www.postgresql.org/docs/current/protocol.html>.
//!
//! - [`frame`]: where a message ends, and whether its type and length are allowed at all
//! - [`message`]: what is in it, and how the gateway's own messages are written
//! - [`rows`]: row descriptions and rows, cell by cell
//! - [`copy`]: rows of a COPY to the caller, value by value
//! - [`refusal`]: errors and notices in PostgreSQL's own form
//! - [`login`]: how a session begins, on each side
//! - [`dialogue`]: the session after login: what is asked, forwarded, refused, held and shown

pub mod copy;
pub mod dialogue;
pub mod frame;
pub mod login;
pub mod message;
pub mod refusal;
pub mod rows;
