//! The HTTP API: everything the command line does, over a local socket or TLS.

pub mod types;
