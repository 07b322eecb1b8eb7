//! SSH: a caller's connection, its machine's, and the channels between them.
//!
//! Transport and packets are russh's. What is asked in them is decided by `session` before anything of it goes on, and nothing that was not looked at does.

mod ahead;
mod caller;
mod channel;
mod conversation;
mod cut;
mod files;
mod flow;
mod forward;
mod incoming;
mod jump;
mod machine;
mod relay;
mod sign_in;
mod typed;

pub(crate) use caller::{Doorway, serve};
