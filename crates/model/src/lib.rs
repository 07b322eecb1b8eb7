//! The shared nouns of Countersign.
//!
//! What every other crate speaks about: identities and the chain they act in, connections, actions and objects,
//! the facts of an operation, decisions, and the rows of state that several crates pass along. Values here are parsed once into types that
//! cannot be wrong; there is no IO, no clock, no randomness and no decision in this crate.

pub mod action;
pub mod classes;
pub mod connection;
pub mod decision;
pub mod facts;
pub mod hold;
pub mod id;
pub mod identity;
pub mod name;
pub mod object;
pub mod request;
pub mod secret;
pub mod session;
pub mod token;

pub use action::{Action, SystemAction};
pub use connection::{Connection, RecordLevel};
pub use decision::{Decision, Outcome, Requirement, VersionHash};
pub use facts::{Effects, Facts, Risk, RowScope, Understanding};
pub use id::{HoldId, IdentityId, IdentityKeyId, RequestId, SessionId, SignInId, TokenId, TrustId};
pub use identity::{Actor, ActorChain, Granted, Identity, IdentityKind, Run};
pub use name::{ConnectionName, DataClassName, EnvironmentName, GroupName, IdentityName, NameError, PolicyId, ProviderName};
pub use object::{Object, Pair};
pub use secret::Secret;

/// A moment, in UTC. Every crate receives it as a parameter; only `session`, `gateway`, `api` and `cli` ask the clock.
pub type Timestamp = jiff::Timestamp;
