//! Access that is asked for and granted for a while, as the state store, the listings and the signers know it.

use serde::{Deserialize, Serialize};

use crate::{
    ActorChain, ConnectionName, GroupName, IdentityName, RequestId, Requirement, Timestamp, VersionHash,
    hold::{HoldState, Signature},
};

/// One request with everything a signer is shown, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRow {
    /// Its id.
    pub id: RequestId,
    /// Who asks, as they stood then.
    pub chain: ActorChain,
    /// Where.
    pub connection: ConnectionName,
    /// The role asked for, as the connection names it.
    pub role: String,
    /// The group the role stood for.
    pub group: GroupName,
    /// The one statement it is for; none if it is for whatever the role may do.
    pub statement: Option<String>,
    /// For how long, in seconds, from the last signature.
    pub window_s: u64,
    /// Why.
    pub reason: String,
    /// What must be signed, each requirement on its own; nothing where policy permits it at once.
    pub requirements: Vec<Requirement>,
    /// The policy version it was decided under.
    pub version: VersionHash,
    /// SHA-256 over all that a signature is bound to, hexadecimal; a signature names it.
    pub digest: String,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it is over if not all have signed.
    pub expires_at: Timestamp,
    /// Signatures so far.
    pub signatures: Vec<Signature>,
    /// What people said of it, oldest first.
    pub comments: Vec<Comment>,
    /// How it stands; `Approved` is granted.
    pub state: HoldState,
    /// The access it became.
    pub grant: Option<Grant>,
}

/// Membership of a role's group for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// From when.
    pub from: Timestamp,
    /// Until when, if nobody ends it before.
    pub until: Timestamp,
    /// How it ended before that, if it did.
    pub ended: Option<GrantEnd>,
}

/// How a grant ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantEnd {
    /// When.
    pub at: Timestamp,
    /// Who ended it: whoever had it gave it back, anybody else took it.
    pub by: IdentityName,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// What somebody said of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Who.
    pub by: IdentityName,
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: String,
}

impl RequestRow {
    /// Whether it is access at `now`.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.ended.is_none() && grant.from <= now && now < grant.until)
    }

    /// Whether it waits for signatures at `now`.
    #[must_use]
    pub fn is_waiting(&self, now: Timestamp) -> bool {
        self.state == HoldState::Waiting && now < self.expires_at
    }
}
