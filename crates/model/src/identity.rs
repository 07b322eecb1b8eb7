//! Who acts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{GroupName, IdentityId, IdentityName, RequestId, Timestamp};

/// What kind of identity it is; also its Cedar entity type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentityKind {
    /// A human.
    User,
    /// A CI job or service account.
    Workload,
    /// AI or shared automation that acts for people.
    Agent,
}

impl IdentityKind {
    /// The Cedar entity type: `User`, `Workload` or `Agent`.
    #[must_use]
    pub const fn entity_type(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Workload => "Workload",
            Self::Agent => "Agent",
        }
    }

    /// As stored and typed: `user`, `workload`, `agent`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Workload => "workload",
            Self::Agent => "agent",
        }
    }
}

impl std::str::FromStr for IdentityKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::User, Self::Workload, Self::Agent]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| "expected user, workload or agent".to_owned())
    }
}

/// An identity as the register knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Stays the same for as long as the register lasts.
    pub id: IdentityId,
    /// What it signs in with; unique.
    pub name: IdentityName,
    /// User, workload or agent.
    pub kind: IdentityKind,
    /// Its groups, sorted.
    pub groups: Vec<GroupName>,
    /// Who made it; `init` for the first administrator.
    pub created_by: IdentityName,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last opened a session or called the API.
    pub last_used: Option<Timestamp>,
    /// Who answers for it; always set for workloads and agents.
    pub owner: Option<IdentityName>,
    /// What it is for; always set for workloads and agents.
    pub purpose: Option<String>,
    /// When it stops working; always set for workloads and agents.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was. A revoked identity never works again.
    pub revoked_at: Option<Timestamp>,
    /// Since when nobody answers for it: its owner has left. It ends at its deadline then, unless it gets another.
    pub orphaned_at: Option<Timestamp>,
    /// Since when a code is asked for with their password.
    pub second_factor_at: Option<Timestamp>,
}

impl Identity {
    /// Whether it may act at `now`: neither revoked nor expired.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// One member of an actor chain, as it stood when the session was admitted or re-decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// Its id in the register.
    pub id: IdentityId,
    /// Its name.
    pub name: IdentityName,
    /// Its kind.
    pub kind: IdentityKind,
    /// Its groups, sorted.
    pub groups: Vec<GroupName>,
    /// Who answers for it, for workloads and agents.
    pub owner: Option<IdentityName>,
    /// The run of a workload that its platform vouches for, if it came with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// The groups that grants make it a member of, on the one connection the chain is for: they count in decisions there, never for signing or
    /// governing. Sorted by request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<Granted>,
}

/// A membership that was asked for and granted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Granted {
    /// The request that was granted.
    pub request: RequestId,
    /// The role that was asked for, as the connection names it.
    pub role: String,
    /// The group it stands for.
    pub group: GroupName,
    /// Until when.
    pub until: Timestamp,
}

/// One run of a workload, as its platform names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// Which: a run's number, a pod's name; printable ASCII.
    pub id: String,
    /// Who vouches for it, as the configuration calls them.
    pub issuer: String,
    /// What the platform says of it: repository, workflow, commit, pod.
    pub details: BTreeMap<String, String>,
}

/// The subject (on whose behalf) and the actors in between, nearest to the subject first (RFC 8693 `act`, read from the inside out).
/// Access only narrows along it: every member must be allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActorChain {
    /// On whose behalf the operation runs.
    pub subject: Actor,
    /// Who acts for the subject; empty when the subject acts alone.
    pub actors: Vec<Actor>,
    /// Who minted the token the session was opened with, if not the subject. Never eligible to sign.
    pub minted_by: Option<IdentityName>,
}

impl ActorChain {
    /// A chain of one.
    #[must_use]
    pub const fn alone(subject: Actor) -> Self {
        Self { subject, actors: Vec::new(), minted_by: None }
    }

    /// Every member, the subject first.
    pub fn members(&self) -> impl Iterator<Item = &Actor> {
        std::iter::once(&self.subject).chain(self.actors.iter())
    }

    /// Every member, the subject first, to be changed.
    pub fn members_mut(&mut self) -> impl Iterator<Item = &mut Actor> {
        std::iter::once(&mut self.subject).chain(self.actors.iter_mut())
    }

    /// Whether a grant that counts in it is over at `now`.
    #[must_use]
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.members().any(|member| member.granted.iter().any(|granted| now >= granted.until))
    }
}

impl std::fmt::Display for ActorChain {
    /// `alice`, `alice via support-bot`, `nightly (run 812)` or `alice via support-bot (run 812)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.members().enumerate().try_for_each(|(place, member)| {
            let via = if place == 0 { "" } else { " via " };
            write!(f, "{via}{}", member.name)?;
            member.run.as_ref().map_or(Ok(()), |run| write!(f, " (run {})", run.id))
        })
    }
}
