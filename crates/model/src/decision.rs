//! What policy says of an operation.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{GroupName, PolicyId};

/// What policy says of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Allow, hold or deny.
    pub outcome: Outcome,
    /// The policies that decided, sorted: the permits of an allow, the forbids of a hold or deny; none when nothing permits.
    pub policies: Vec<PolicyId>,
    /// For people: the `@reason`s of the deciding policies, or what nothing permits.
    pub reasons: Vec<String>,
    /// The policy version that decided.
    pub version: VersionHash,
}

/// The three answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It may run.
    Allow,
    /// It may run once every requirement is met.
    Hold(Vec<Requirement>),
    /// It may not run.
    Deny,
}

/// Signatures one policy asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// The forbid whose `unless { context.approved }` asks for them.
    pub policy: PolicyId,
    /// Members of any of these may sign.
    pub approvers: Vec<GroupName>,
    /// How many distinct people.
    pub count: u8,
    /// The policy's `@reason`.
    pub reason: Option<String>,
    /// It runs only while one of those who signed watches it. Left out where it is not so: what is bound to older requirements stays the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watched: bool,
}

/// SHA-256 over policy, connections, data classes and schema; on every record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionHash(pub [u8; 32]);

impl VersionHash {
    /// The first twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for VersionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for VersionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for VersionHash {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0u8; 32];
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err("expected 64 hexadecimal digits".to_owned());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| "not hexadecimal".to_owned())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| "not hexadecimal".to_owned())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for VersionHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VersionHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
