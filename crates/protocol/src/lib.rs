//! Bytes in, moves out: the wire protocols Countersign speaks, on both sides.
//!
//! Nothing here opens a socket, reads a clock or makes a random number: bytes, times and nonces are parameters, so every
//! state can be tested at every byte boundary. Whatever a peer sends may be refused, but never panics, never allocates
//! more than a named limit and is never passed on without having been understood.

#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
pub mod fuzzed;
pub mod postgres;
pub mod reader;
pub mod ssh;

/// The two peers of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Whoever connected to the gateway.
    Caller,
    /// What the gateway connected to.
    Target,
}
