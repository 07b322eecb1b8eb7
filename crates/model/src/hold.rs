//! Held operations as the state store, the listings and the signers know them.

use serde::{Deserialize, Serialize};

use crate::{ConnectionName, Facts, HoldId, IdentityName, PolicyId, Requirement, SessionId, Timestamp, VersionHash};

/// One held operation with everything a signer is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRow {
    /// Its id.
    pub id: HoldId,
    /// The session it waits in.
    pub session: SessionId,
    /// On whose behalf.
    pub requester: IdentityName,
    /// The whole chain as people read it.
    pub chain: String,
    /// The connection.
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// The whole statement, never cut.
    pub statement: String,
    /// Parameters as far as they could be decoded, in order.
    pub parameters: Vec<Option<String>>,
    /// What it means.
    pub facts: Facts,
    /// What must be signed, each requirement on its own.
    pub requirements: Vec<Requirement>,
    /// The policy version that held it.
    pub version: VersionHash,
    /// SHA-256 over all that an approval is bound to, hexadecimal; a signature names it.
    pub digest: String,
    /// How many milliseconds the caller's transaction had been open when it was held; none outside one.
    pub transaction_open_ms: Option<u64>,
    /// Locks the caller's transaction holds, as people read them; empty when none or not known.
    pub locks: Vec<String>,
    /// The planner's row estimate, or why there is none.
    pub estimate: String,
    /// When it was held.
    pub created_at: Timestamp,
    /// When it is refused if nobody signed.
    pub expires_at: Timestamp,
    /// Signatures so far.
    pub signatures: Vec<Signature>,
    /// How it stands.
    pub state: HoldState,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Who signed.
    pub signer: IdentityName,
    /// When.
    pub at: Timestamp,
    /// The requirements it counts for.
    pub policies: Vec<PolicyId>,
}

/// How a held operation stands. Everything but `Waiting` is final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum HoldState {
    /// It waits.
    Waiting,
    /// All requirements were met and it was released.
    Approved,
    /// Somebody said no.
    Denied {
        /// Who.
        by: IdentityName,
        /// Why, if they said.
        reason: Option<String>,
    },
    /// Nobody signed in time.
    Expired,
    /// The caller cancelled it, left, or its session was ended.
    Withdrawn {
        /// Which of these.
        why: String,
    },
    /// What was signed is no longer what would run.
    Voided {
        /// What differs.
        why: String,
    },
}
