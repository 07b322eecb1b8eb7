//! The life of a session: sign in, admit, ask, hold, record, revoke.
//!
//! Here protocol and policy meet. [`ask`] is the spine: what happens to one operation. Nothing in this crate opens a socket.

pub mod admit;
pub mod approve;
pub mod ask;
pub mod catalogs;
mod endings;
mod events;
pub mod explain;
#[cfg(test)]
mod fixtures;
mod grants;
pub mod guard;
mod ids;
pub mod introspect;
mod keys;
mod known;
pub mod limits;
mod links;
pub mod live;
mod logbook;
pub mod open;
mod owners;
pub mod possession;
pub mod providers;
pub mod reach;
mod record;
pub mod register;
pub mod requests;
pub mod second_factor;
mod show;
pub mod sign_in;
pub mod ssh;
pub mod survey;
pub mod through;
pub mod tokens;
pub mod trace;
mod value;
mod volume;
pub mod who;
pub mod workloads;

pub use admit::{Admission, NotAdmitted, Wanted, admit};
pub use ask::{Asked, Broken, Decided, Permit};
pub use guard::Guard;
pub use limits::Limits;
pub use logbook::Recorded;
pub use open::{NotOpened, Opening, Session};
pub use providers::Providers;
pub use workloads::Issuers;
