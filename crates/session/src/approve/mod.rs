//! Held operations: opened by the session that waits, signed or denied by people, released only by the session after it has looked again.
//!
//! [`machine`] says what counts. This file gives each machine its turns: one change at a time, written to the state store before anybody hears
//! of it, so that simultaneous signatures are all counted and a store that cannot be reached releases nothing. A held operation exists as long
//! as the [`Waiting`] its session holds; dropping that withdraws it, and a late signature finds nothing to run.

mod desk;
pub mod machine;
#[cfg(test)]
mod tests;
mod waiting;
mod watched;

pub use desk::{Approvals, HoldRefused, HoldsWanted, VoteError};
pub use machine::{Ineligible, VoteRefused};
pub use waiting::{Verdict, Waiting};
pub use watched::{Attached, SILENT_AFTER, Watch};

use aws_lc_rs::digest;
use model::{ActorChain, ConnectionName, Facts, HoldId, IdentityName, Requirement, SessionId, Timestamp, VersionHash, hold::HoldRow};
use serde::Serialize;

/// An operation about to be held: everything a signer is shown.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The session it was asked in.
    pub session: SessionId,
    /// Who asked.
    pub chain: ActorChain,
    /// The connection.
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// The whole statement.
    pub statement: String,
    /// Parameters as far as they could be decoded, in order.
    pub parameters: Vec<Option<String>>,
    /// What it means.
    pub facts: Facts,
    /// What must be signed.
    pub requirements: Vec<Requirement>,
    /// The policy version that held it.
    pub version: VersionHash,
    /// How many milliseconds the caller's transaction had been open; none outside one.
    pub transaction_open_ms: Option<u64>,
    /// Locks the caller's transaction holds, as people read them.
    pub locks: Vec<String>,
    /// The planner's row estimate, or why there is none.
    pub estimate: String,
}

impl Draft {
    /// SHA-256, hexadecimal, over all that a signature is bound to: session, chain, connection, database, statement, parameters, facts and
    /// requirements. Make the draft again when everything is signed: another digest means that something differs.
    #[must_use]
    pub fn digest(&self) -> String {
        #[derive(Serialize)]
        struct Bound<'a>(
            &'a str,
            SessionId,
            &'a ActorChain,
            &'a ConnectionName,
            &'a str,
            &'a str,
            &'a [Option<String>],
            &'a Facts,
            &'a [Requirement],
        );
        let bound = Bound(
            "countersign hold 1",
            self.session,
            &self.chain,
            &self.connection,
            &self.database,
            &self.statement,
            &self.parameters,
            &self.facts,
            &self.requirements,
        );
        // JSON of strings, numbers and sequences cannot fail; if it ever did, the digest of nothing would match no other.
        let bytes = serde_json::to_vec(&bound).unwrap_or_default();
        digest::digest(&digest::SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn row(&self, id: HoldId, created_at: Timestamp, expires_at: Timestamp) -> HoldRow {
        HoldRow {
            id,
            session: self.session,
            requester: self.chain.subject.name.clone(),
            chain: self.chain.to_string(),
            connection: self.connection.clone(),
            database: self.database.clone(),
            statement: self.statement.clone(),
            parameters: self.parameters.clone(),
            facts: self.facts.clone(),
            requirements: self.requirements.clone(),
            version: self.version,
            digest: self.digest(),
            transaction_open_ms: self.transaction_open_ms,
            locks: self.locks.clone(),
            estimate: self.estimate.clone(),
            created_at,
            expires_at,
            signatures: Vec::new(),
            state: model::hold::HoldState::Waiting,
        }
    }
}

/// Names of the people who could sign, for notices: at most [`MAX_NAMED_SIGNERS`].
pub type Signers = Vec<IdentityName>;

/// How many people who could sign are named to the caller.
pub const MAX_NAMED_SIGNERS: usize = 20;
