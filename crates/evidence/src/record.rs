//! What a recording says, record by record, in the order it happened.
//!
//! A recording begins with [`Opened`] and, unless the process died, ends with [`Closed`]. Each operation is an [`Asked`]
//! (written before anything of it is forwarded), perhaps [`Held`] and [`Settled`], and an [`Answered`]. An operation asked
//! and allowed that has no answer when the recording ends was cut off: its outcome is unknown, and every reader says so.
//!
//! `Serialize` here is the readable form, for answers and listings (`--json`). In a file the two frequent records are
//! written shorter, with repeated texts, facts and rulings named once: see [`crate::format`]. Times are kept to the microsecond.

use std::{collections::BTreeMap, fmt, sync::Arc};

use model::{
    ActorChain, ConnectionName, DataClassName, EnvironmentName, Facts, HoldId, PolicyId, RecordLevel, Requirement, SessionId, Timestamp, TokenId,
    VersionHash,
    hold::{HoldState, Signature},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::entry::redact;

/// One thing that happened in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The session was admitted.
    Opened(Box<Opened>),
    /// The caller asked for an operation, and it was decided.
    Asked(Asked),
    /// The operation waits for signatures.
    Held(Held),
    /// The wait ended.
    Settled(Settled),
    /// What the columns of the answer are (level `full`).
    Shape(Shape),
    /// Rows of the answer as the caller saw them (level `full`).
    Rows(Rows),
    /// COPY data as it passed (level `full`).
    CopyData(CopyData),
    /// The operation ended.
    Answered(Answered),
    /// What a terminal or a command showed, or what was typed.
    Output(Output),
    /// A terminal has another size.
    Resized(Resized),
    /// Anything else worth knowing.
    Note(Note),
    /// The session ended.
    Closed(Closed),
}

impl Record {
    /// The operation it belongs to, if it belongs to one.
    #[must_use]
    pub const fn op(&self) -> Option<u64> {
        match self {
            Self::Asked(Asked { op, .. })
            | Self::Held(Held { op, .. })
            | Self::Settled(Settled { op, .. })
            | Self::Shape(Shape { op, .. })
            | Self::Rows(Rows { op, .. })
            | Self::CopyData(CopyData { op, .. })
            | Self::Output(Output { op, .. })
            | Self::Resized(Resized { op, .. })
            | Self::Answered(Answered { op, .. }) => Some(*op),
            Self::Opened(_) | Self::Note(_) | Self::Closed(_) => None,
        }
    }

    /// When it happened, for the kinds that say so.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Opened(opened) => Some(opened.at),
            Self::Asked(Asked { at, .. })
            | Self::Held(Held { at, .. })
            | Self::Settled(Settled { at, .. })
            | Self::Answered(Answered { at, .. })
            | Self::Output(Output { at, .. })
            | Self::Resized(Resized { at, .. })
            | Self::Note(Note { at, .. })
            | Self::Closed(Closed { at, .. }) => Some(*at),
            Self::Shape(_) | Self::Rows(_) | Self::CopyData(_) => None,
        }
    }
}

/// The session was admitted. Always the first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// When.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// Its id, also in the header of every segment.
    pub session: SessionId,
    /// Who acts, and for whom.
    pub chain: ActorChain,
    /// The connection.
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// The connection's environment.
    pub environment: EnvironmentName,
    /// Where the caller came from, `address:port` or `local socket`.
    pub peer: String,
    /// The token it signed in with; none for a password.
    pub token: Option<TokenId>,
    /// The policy version in force when it was admitted.
    pub version: VersionHash,
    /// How much this recording holds.
    pub level: RecordLevel,
    /// The target's process id for this session, which its own logs show; 0 if the target has none.
    pub target_pid: i32,
    /// The `application_name` the caller sent, if any. Chosen by the caller: show it through `model::name::printable`.
    pub application_name: Option<String>,
    /// The role that was made at the target for this session alone, if one was: who the target's own logs show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_role: Option<String>,
}

/// The caller asked for an operation. Written before anything of it is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its number in the session, from 1.
    pub op: u64,
    /// When it was decided.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// The whole statement. The writer replaces its secrets (`facts.secret_spans`) by [`SECRET_MARK`]; a reader finds the marks in its place.
    pub text: Arc<str>,
    /// What it means. As read back, `secret_spans` are the places of the marks.
    pub facts: Arc<Facts>,
    /// What was decided.
    pub ruling: Arc<Ruling>,
    /// Parameters in order; empty when it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// By which message it was asked.
    pub via: Via,
}

/// Stands in a recorded statement where a secret stood.
pub const SECRET_MARK: &str = "[secret]";

/// What was decided of an operation, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ruling {
    /// Allowed, held or denied. What became of a held one stands in [`Settled`].
    pub outcome: AskedOutcome,
    /// The policies that decided, sorted.
    pub policies: Vec<PolicyId>,
    /// For people: why.
    pub reasons: Vec<String>,
    /// The policy version that decided.
    pub version: VersionHash,
    /// Data classes masked or withheld in what comes back, sorted, as planned when it was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<DataClassName>,
}

/// The three answers of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedOutcome {
    /// Forwarded as soon as it was recorded.
    Allowed,
    /// Waiting for signatures; forwarded only after a [`Settled`] with `Approved`.
    Held,
    /// Never forwarded.
    Denied,
}

/// By which message an operation was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A simple query.
    Simple,
    /// A Parse refused for every parameter.
    Parse,
    /// A Bind.
    Bind,
    /// An Execute that runs a portal again or was decided anew.
    Execute,
    /// COPY data refused or ended by the gateway.
    Copy,
    /// A FunctionCall.
    FunctionCall,
    /// Settings in the startup packet.
    Startup,
    /// A command over SSH.
    Exec,
    /// A shell over SSH.
    Shell,
    /// A subsystem over SSH.
    Subsystem,
    /// An environment variable over SSH.
    Environment,
    /// An operation on a file over SFTP.
    File,
    /// A forward over SSH.
    Forward,
}

/// A parameter as the caller sent it. In JSON: `null`, a string, or `{"hex": "…", "type_oid": 23}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// A value in text form. The first to be tried when it is read: most are.
    Text(String),
    /// A binary value with the type it was declared as, 0 if none was.
    Binary {
        /// The bytes.
        hex: Hex,
        /// The declared type.
        type_oid: u32,
    },
    /// SQL NULL.
    Null,
}

/// A value that came back, after masking. SQL NULL is its absence. In JSON: a string, or `{"hex": "…"}` for what is not text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A value in text form.
    Text(String),
    /// A binary value, or bytes that are not UTF-8.
    Binary {
        /// The bytes.
        hex: Hex,
    },
}

impl Cell {
    /// A cell of bytes as they passed: text when they are in text format and valid UTF-8.
    #[must_use]
    pub fn new(bytes: &[u8], binary: bool) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if !binary => Self::Text(text.to_owned()),
            _ => Self::Binary { hex: Hex(bytes.to_vec()) },
        }
    }
}

/// The operation waits for signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The operation.
    pub op: u64,
    /// Since when.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// The id signers see.
    pub hold: HoldId,
    /// What must be signed.
    pub requirements: Vec<Requirement>,
    /// When it is refused if nobody signed.
    #[serde(with = "micros")]
    pub expires_at: Timestamp,
}

/// The wait of a held operation ended. Written before an approved one is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The operation.
    pub op: u64,
    /// When.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// The id signers saw.
    pub hold: HoldId,
    /// How it ended: anything but `Approved` means it never ran.
    pub state: HoldState,
    /// Every signature it had, counted or not.
    pub signatures: Vec<Signature>,
}

/// What the columns of an answer are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The operation.
    pub op: u64,
    /// Its columns in order.
    pub columns: Vec<ShapeColumn>,
}

/// One column of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapeColumn {
    /// Its name, as the target gave it.
    pub name: String,
    /// Its type.
    pub type_oid: u32,
    /// What was done to its values.
    pub treatment: Treatment,
}

/// What was done to the values of a column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// Nothing.
    Pass,
    /// Masked, for the class they belong to.
    Masked(DataClassName),
    /// Sent as NULL.
    Withheld,
}

/// Rows as the caller saw them, after masking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// The operation.
    pub op: u64,
    /// Row by row, cell by cell; none is SQL NULL.
    pub rows: Vec<Vec<Option<Cell>>>,
}

/// COPY data as it passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyData {
    /// The operation.
    pub op: u64,
    /// Which way.
    pub direction: Direction,
    /// What CopyData messages carried, without their heads; cut where it arrived in pieces, in a row or a character even.
    pub data: Cell,
}

/// Which way COPY data went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the caller to the target.
    In,
    /// From the target to the caller.
    Out,
}

/// Bytes that a terminal or a command showed, as its caller saw them, or that were typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The command or shell.
    pub op: u64,
    /// When they passed.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// Which of its streams.
    pub stream: Stream,
    /// The bytes, cut where they arrived in pieces, in a character even.
    pub data: Cell,
}

/// A stream of a command or shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// What it writes, of a terminal all of it.
    Output,
    /// What it writes to its standard error.
    Error,
    /// What its caller types, as far as the terminal shows it.
    Input,
}

/// A terminal has this size from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    /// The command or shell.
    pub op: u64,
    /// When.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// Characters a line.
    pub columns: u32,
    /// Lines.
    pub rows: u32,
}

/// The operation ended, as far as the gateway saw.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answered {
    /// The operation.
    pub op: u64,
    /// When its last byte came from the target, or when it was refused.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// From asked to answered, holds included, in microseconds.
    pub duration_us: u64,
    /// Rows returned or changed.
    pub rows: u64,
    /// Bytes of the answer, as sent to the caller.
    pub bytes: u64,
    /// The command tag, `SELECT 1`; several joined by `; ` for a simple query of several statements.
    pub tag: Option<String>,
    /// The error it ended with, if it did. The message may be the generic one the caller was given.
    pub error: Option<Failure>,
    /// Names of columns whose values were masked or withheld.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
    /// Whether the gateway refused it: then nothing of it ran at the target.
    pub refused: bool,
}

/// An error an operation ended with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    /// Five characters, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    pub sqlstate: String,
    /// The message.
    pub message: String,
}

/// Anything else worth knowing: a cancel request, a setting the caller changed, who watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// A word programs can match: `cancel`, `policy`, `watched`.
    pub kind: String,
    /// A sentence for people.
    pub text: String,
}

/// The session ended in order. Always the last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// When.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// How, for people: `the caller left`, `token t_… was revoked`.
    pub ending: String,
    /// How many operations were asked.
    pub operations: u64,
}

/// Operations that were or may have been forwarded and have no answer yet. What is left of them at a recording's end has an unknown outcome.
#[derive(Debug, Default)]
pub struct InFlight {
    forwarded: BTreeMap<u64, Asked>,
    held: BTreeMap<u64, Asked>,
}

impl InFlight {
    /// Takes note of the next record.
    pub fn observe(&mut self, record: &Record) {
        match record {
            Record::Asked(asked) => match asked.ruling.outcome {
                AskedOutcome::Allowed => drop(self.forwarded.insert(asked.op, asked.clone())),
                AskedOutcome::Held => drop(self.held.insert(asked.op, asked.clone())),
                AskedOutcome::Denied => {}
            },
            Record::Settled(settled) => {
                let asked = self.held.remove(&settled.op).filter(|_| settled.state == HoldState::Approved);
                self.forwarded.extend(asked.map(|asked| (settled.op, asked)));
            }
            Record::Answered(answered) => {
                self.forwarded.remove(&answered.op);
                self.held.remove(&answered.op);
            }
            _ => {}
        }
    }

    /// Those without an answer, by number. An operation that was still held is not among them: it was never forwarded.
    #[must_use]
    pub fn into_unknown(self) -> Vec<Asked> {
        self.forwarded.into_values().collect()
    }

    /// Whether the operation was or may have been forwarded and has no answer.
    #[must_use]
    pub fn is_unknown(&self, op: u64) -> bool {
        self.forwarded.contains_key(&op)
    }
}

/// Bytes, written as lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Hex(pub Vec<u8>);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Hex {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(NotHex);
        }
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<_>>().map(Self).ok_or(NotHex)
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The text is not an even number of lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an even number of lower-case hexadecimal digits")]
pub struct NotHex;

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Times as microseconds since 1970-01-01 UTC.
pub mod micros {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    /// Writes the time as a number; what is below a microsecond is dropped.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.as_microsecond())
    }

    /// Reads the number back.
    ///
    /// # Errors
    /// When it is no number, or a moment outside the years a `Timestamp` can hold.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::from_microsecond(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
