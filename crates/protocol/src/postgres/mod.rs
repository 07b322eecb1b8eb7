//! PostgreSQL's frontend/backend protocol, version 3.0, on both sides: <https://www.postgresql.org/docs/current/protocol.html>.
//!
//! - [`frame`]: where a message ends, and whether its type and length are allowed at all
//! - [`message`]: what is in it, and how the gateway's own messages are written
//! - [`rows`]: row descriptions and rows, cell by cell

pub mod frame;
pub mod message;
pub mod rows;
