//! What may be entered in the register of identities.
//!
//! Workloads and agents cannot be described without owner, purpose and expiry, and none lives longer than [`MAX_MACHINE_DAYS`].

use std::{fmt, str::FromStr};

use model::{GroupName, IdentityKind, IdentityName, Timestamp};

/// Longest purpose, in characters.
pub const MAX_PURPOSE_CHARACTERS: usize = 200;
/// Longest life of a workload or agent before its owner must confirm it, in days.
pub const MAX_MACHINE_DAYS: i64 = 400;
/// Names that stand for Countersign itself in records, and so are nobody's.
const RESERVED: &[&str] = &["init", "countersign", "gateway", "system", "nobody", "anonymous"];

/// Why something is not entered in the register.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The name stands for Countersign itself.
    #[error("the name `{0}` is reserved: choose another")]
    ReservedName(IdentityName),
    /// The purpose is empty.
    #[error("say what it is for: a purpose of a few words")]
    NoPurpose,
    /// The purpose is too long.
    #[error("the purpose has more than {MAX_PURPOSE_CHARACTERS} characters")]
    LongPurpose,
    /// The purpose has a line break or another character that could deceive a reader.
    #[error("the purpose must be one line of plain text")]
    PurposeCharacter,
    /// The expiry lies in the past.
    #[error("the expiry {0} has passed")]
    PastExpiry(Timestamp),
    /// The expiry lies too far ahead.
    #[error("the expiry {0} is more than {MAX_MACHINE_DAYS} days ahead: choose a nearer one, it can be extended")]
    FarExpiry(Timestamp),
    /// It would answer for itself.
    #[error("`{0}` cannot own itself: name the person who answers for it")]
    OwnsItself(IdentityName),
}

/// Checks that a name may be given to an identity.
///
/// # Errors
/// When it is reserved.
pub fn check_name(name: &IdentityName) -> Result<(), RegisterError> {
    if RESERVED.iter().any(|reserved| name.as_str().eq_ignore_ascii_case(reserved)) {
        return Err(RegisterError::ReservedName(name.clone()));
    }
    Ok(())
}

/// What a workload or agent is for: one line of plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose(String);

impl Purpose {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Purpose {
    type Err = RegisterError;

    fn from_str(text: &str) -> Result<Self, RegisterError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(RegisterError::NoPurpose);
        }
        if text.chars().count() > MAX_PURPOSE_CHARACTERS {
            return Err(RegisterError::LongPurpose);
        }
        if model::name::printable(text) != text {
            return Err(RegisterError::PurposeCharacter);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The kinds of identity that are not people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineKind {
    /// A CI job or service account.
    Workload,
    /// AI or shared automation.
    Agent,
}

impl From<MachineKind> for IdentityKind {
    fn from(kind: MachineKind) -> Self {
        match kind {
            MachineKind::Workload => Self::Workload,
            MachineKind::Agent => Self::Agent,
        }
    }
}

/// A workload or agent to be entered: never without owner, purpose and expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    kind: MachineKind,
    name: IdentityName,
    owner: IdentityName,
    purpose: Purpose,
    expires_at: Timestamp,
}

impl Machine {
    /// Describes a machine identity. That the owner is a person in the register is checked when it is entered.
    ///
    /// # Errors
    /// When the name is reserved, it owns itself, or the expiry is past or more than [`MAX_MACHINE_DAYS`] days after `now`.
    pub fn new(
        kind: MachineKind,
        name: IdentityName,
        owner: IdentityName,
        purpose: Purpose,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Self, RegisterError> {
        check_name(&name)?;
        check_expiry(expires_at, now)?;
        if name == owner {
            return Err(RegisterError::OwnsItself(name));
        }
        Ok(Self { kind, name, owner, purpose, expires_at })
    }
}

/// Checks when a workload or agent is to stop working.
///
/// # Errors
/// When that is past or more than [`MAX_MACHINE_DAYS`] days after `now`.
pub fn check_expiry(expires_at: Timestamp, now: Timestamp) -> Result<(), RegisterError> {
    if expires_at <= now {
        return Err(RegisterError::PastExpiry(expires_at));
    }
    if expires_at.as_second().saturating_sub(now.as_second()) > MAX_MACHINE_DAYS * 86_400 {
        return Err(RegisterError::FarExpiry(expires_at));
    }
    Ok(())
}

/// An identity to be entered in the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentity {
    entry: Entry,
    groups: Vec<GroupName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    User(IdentityName),
    Machine(Machine),
}

impl NewIdentity {
    /// A person.
    ///
    /// # Errors
    /// When the name is reserved.
    pub fn user(name: IdentityName, groups: Vec<GroupName>) -> Result<Self, RegisterError> {
        check_name(&name)?;
        Ok(Self { entry: Entry::User(name), groups: sorted(groups) })
    }

    /// A workload or agent.
    #[must_use]
    pub fn machine(machine: Machine, groups: Vec<GroupName>) -> Self {
        Self { entry: Entry::Machine(machine), groups: sorted(groups) }
    }

    /// The name it will sign in with.
    #[must_use]
    pub const fn name(&self) -> &IdentityName {
        match &self.entry {
            Entry::User(name) => name,
            Entry::Machine(machine) => &machine.name,
        }
    }

    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> IdentityKind {
        match &self.entry {
            Entry::User(_) => IdentityKind::User,
            Entry::Machine(machine) => machine.kind.into(),
        }
    }

    /// Its groups, sorted, without repetition.
    #[must_use]
    pub fn groups(&self) -> &[GroupName] {
        &self.groups
    }

    /// Who answers for it; always there for a machine.
    #[must_use]
    pub const fn owner(&self) -> Option<&IdentityName> {
        match &self.entry {
            Entry::User(_) => None,
            Entry::Machine(machine) => Some(&machine.owner),
        }
    }

    /// What it is for; always there for a machine.
    #[must_use]
    pub fn purpose(&self) -> Option<&str> {
        match &self.entry {
            Entry::User(_) => None,
            Entry::Machine(machine) => Some(machine.purpose.as_str()),
        }
    }

    /// When it stops working; always there for a machine.
    #[must_use]
    pub const fn expires_at(&self) -> Option<Timestamp> {
        match &self.entry {
            Entry::User(_) => None,
            Entry::Machine(machine) => Some(machine.expires_at),
        }
    }
}

fn sorted(mut groups: Vec<GroupName>) -> Vec<GroupName> {
    groups.sort();
    groups.dedup();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn machine(name: &str, owner: &str, expires_at: Timestamp) -> Result<Machine, RegisterError> {
        let purpose = "nightly exports".parse().unwrap();
        Machine::new(MachineKind::Workload, name.parse().unwrap(), owner.parse().unwrap(), purpose, expires_at, at(1_000))
    }

    #[test]
    fn reserved_names_are_nobodys_in_any_case() {
        for name in ["init", "Init", "COUNTERSIGN", "system"] {
            assert!(check_name(&name.parse().unwrap()).is_err(), "{name}");
        }
        assert!(check_name(&"initech".parse().unwrap()).is_ok());
        assert!(NewIdentity::user("nobody".parse().unwrap(), vec![]).is_err());
    }

    #[test]
    fn a_purpose_is_one_line_of_plain_text() {
        assert_eq!("  loads the warehouse ".parse::<Purpose>().unwrap().as_str(), "loads the warehouse");
        assert_eq!(" \t".parse::<Purpose>(), Err(RegisterError::NoPurpose));
        assert_eq!("a\nb".parse::<Purpose>(), Err(RegisterError::PurposeCharacter));
        assert_eq!("a\u{202e}b".parse::<Purpose>(), Err(RegisterError::PurposeCharacter));
        assert_eq!("x".repeat(201).parse::<Purpose>(), Err(RegisterError::LongPurpose));
    }

    /// NEAR-11: no machine identity without an end, nor with one in the year 9999.
    #[test]
    fn near_11_a_machine_has_an_end_within_reach() {
        assert!(machine("nightly", "alice", at(2_000)).is_ok());
        assert_eq!(machine("nightly", "alice", at(1_000)), Err(RegisterError::PastExpiry(at(1_000))));
        let far: Timestamp = "9999-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(machine("nightly", "alice", far), Err(RegisterError::FarExpiry(far)));
        assert!(machine("nightly", "alice", at(1_000 + MAX_MACHINE_DAYS * 86_400)).is_ok());
    }

    #[test]
    fn a_machine_does_not_answer_for_itself() {
        assert!(matches!(machine("nightly", "nightly", at(2_000)), Err(RegisterError::OwnsItself(_))));
    }

    #[test]
    fn groups_are_sorted_and_distinct() {
        let groups = ["b", "a", "b"].iter().map(|g| g.parse().unwrap()).collect();
        let new = NewIdentity::machine(machine("nightly", "alice", at(2_000)).unwrap(), groups);
        assert_eq!(new.groups().iter().map(GroupName::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((new.kind(), new.owner().unwrap().as_str(), new.purpose()), (IdentityKind::Workload, "alice", Some("nightly exports")));
        assert_eq!(new.expires_at(), Some(at(2_000)));
    }
}
