//! Where a message ends, and whether its type and length are allowed at all.
//!
//! A length that a type cannot have is refused here, before a byte of the body is waited for or kept.

use crate::{Side, reader::Reader};

/// Bytes a regular message starts with: the type and the length.
pub const HEAD_BYTES: usize = 5;

/// The longest startup packet, its length field not counted: PostgreSQL's `MAX_STARTUP_PACKET_LENGTH` (`libpq/pqcomm.h`).
pub const MAX_STARTUP_BYTES: usize = 10_000;

/// The longest of a caller's messages that hold only names and numbers: PostgreSQL's `PQ_SMALL_MESSAGE_LIMIT` (`libpq/libpq.h`).
pub const MAX_SMALL_CALLER_BYTES: usize = 10_000;

/// The longest password message: PostgreSQL's `PG_MAX_AUTH_TOKEN_LENGTH` (`libpq/auth.h`).
pub const MAX_PASSWORD_BYTES: usize = 65_535;

/// The longest of a target's messages that are neither rows nor texts: what libpq takes (`fe-protocol3.c`, `VALID_LONG_MESSAGE_TYPE`).
pub const MAX_SMALL_TARGET_BYTES: usize = 30_000;

/// The longest row description: PostgreSQL has at most 1,664 columns, each with a name and 18 bytes.
pub const MAX_ROW_DESCRIPTION_BYTES: usize = 1 << 20;

/// The longest parameter description: four million type OIDs. No more than 65,535 can be bound, but PostgreSQL describes what it parsed: `$65536`, too.
pub const MAX_PARAMETER_DESCRIPTION_BYTES: usize = 16 << 20;

/// The longest error or notice. They are collected, because they may have to be rewritten.
pub const MAX_REPORT_BYTES: usize = 16 << 20;

/// What is collected before it is decided, and how much of it at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one Query or Parse message.
    pub max_statement_bytes: usize,
    /// Bytes of one Bind or FunctionCall message.
    pub max_bind_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_statement_bytes: 16 << 20, max_bind_bytes: 64 << 20 }
    }
}

/// The head of a message whose type and length are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The type.
    pub tag: u8,
    /// The whole message in bytes, type and length included; at least [`HEAD_BYTES`].
    pub len: usize,
}

/// A message that may not even begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// This side has no such message.
    #[error("unknown message type {tag:#04x}")]
    UnknownTag {
        /// The type as sent.
        tag: u8,
    },
    /// The type cannot have this length.
    #[error("message type {tag:#04x} cannot have length {length}")]
    Length {
        /// The type; 0 for a startup packet.
        tag: u8,
        /// The length field as sent, which counts itself.
        length: i32,
    },
    /// A Query, Parse, Bind or FunctionCall above its configured limit. The limit can be raised; the message is well-formed so far.
    #[error("message type {tag:#04x} of {length} bytes is above the limit of {limit_bytes}")]
    TooLarge {
        /// The type.
        tag: u8,
        /// Bytes of the whole message, type included.
        length: usize,
        /// The limit it passes.
        limit_bytes: usize,
    },
}

/// Reads the head of the next message of `side`; none until [`HEAD_BYTES`] have arrived.
///
/// `buf` starts at a message; what follows the head is not looked at.
///
/// # Errors
/// The type is unknown on that side, cannot have that length, or passes a limit.
pub fn head(buf: &[u8], side: Side, limits: &Limits) -> Result<Option<Head>, FrameError> {
    let mut reader = Reader::new(buf);
    let (Ok(tag), Ok(length)) = (reader.u8(), reader.i32()) else { return Ok(None) };
    let allowed = match side {
        Side::Caller => caller_lengths(tag, limits),
        Side::Target => target_lengths(tag),
    };
    let Lengths { min, max, limit } = allowed.ok_or(FrameError::UnknownTag { tag })?;
    let body_end = usize::try_from(length).map_err(|_| FrameError::Length { tag, length })?;
    if body_end < min || body_end > max {
        return Err(FrameError::Length { tag, length });
    }
    match limit {
        Some(limit_bytes) if body_end >= limit_bytes => Err(FrameError::TooLarge { tag, length: body_end + 1, limit_bytes }),
        _ => Ok(Some(Head { tag, len: body_end + 1 })),
    }
}

/// The length of a startup packet, its length field included; none until four bytes have arrived.
///
/// # Errors
/// PostgreSQL would not take it: under 8 bytes, or over [`MAX_STARTUP_BYTES`] after the length field.
pub fn startup(buf: &[u8]) -> Result<Option<usize>, FrameError> {
    let Ok(length) = Reader::new(buf).i32() else { return Ok(None) };
    match usize::try_from(length) {
        Ok(whole) if (8..=MAX_STARTUP_BYTES + 4).contains(&whole) => Ok(Some(whole)),
        _ => Err(FrameError::Length { tag: 0, length }),
    }
}

/// Allowed values of a length field, which counts itself but not the type.
#[derive(Clone, Copy)]
struct Lengths {
    min: usize,
    max: usize,
    /// Bytes of the whole message that this deployment allows.
    limit: Option<usize>,
}

const fn exactly(length: usize) -> Option<Lengths> {
    between(length, length)
}

const fn between(min: usize, max: usize) -> Option<Lengths> {
    Some(Lengths { min, max, limit: None })
}

/// Up to what a length field can say: the message is passed on as it arrives.
const fn streamed(min: usize) -> Option<Lengths> {
    between(min, i32::MAX as usize)
}

const fn collected(min: usize, limit: usize) -> Option<Lengths> {
    Some(Lengths { min, max: i32::MAX as usize, limit: Some(limit) })
}

/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>, the messages marked (F).
const fn caller_lengths(tag: u8, limits: &Limits) -> Option<Lengths> {
    match tag {
        b'Q' => collected(5, limits.max_statement_bytes),
        b'P' => collected(8, limits.max_statement_bytes),
        b'B' => collected(12, limits.max_bind_bytes),
        b'F' => collected(14, limits.max_bind_bytes),
        b'C' | b'D' => between(6, MAX_SMALL_CALLER_BYTES),
        b'E' => between(9, MAX_SMALL_CALLER_BYTES),
        b'f' => between(5, MAX_SMALL_CALLER_BYTES),
        b'S' | b'H' | b'X' | b'c' => exactly(4),
        b'd' => streamed(4),
        b'p' => between(4, MAX_PASSWORD_BYTES),
        _ => None,
    }
}

/// The messages marked (B).
const fn target_lengths(tag: u8) -> Option<Lengths> {
    match tag {
        b'D' => streamed(6),
        b'd' => streamed(4),
        b'V' => streamed(8),
        b'Z' => exactly(5),
        b'1' | b'2' | b'3' | b'c' | b'I' | b'n' | b's' => exactly(4),
        b'C' => between(5, MAX_SMALL_TARGET_BYTES),
        b'T' => between(6, MAX_ROW_DESCRIPTION_BYTES),
        b't' => between(6, MAX_PARAMETER_DESCRIPTION_BYTES),
        b'E' | b'N' => between(5, MAX_REPORT_BYTES),
        b'G' | b'H' | b'W' => between(7, MAX_SMALL_TARGET_BYTES),
        b'S' => between(6, MAX_SMALL_TARGET_BYTES),
        b'A' => between(10, MAX_SMALL_TARGET_BYTES),
        b'R' => between(8, MAX_SMALL_TARGET_BYTES),
        b'K' => between(12, 8 + 256),
        b'v' => between(12, MAX_SMALL_TARGET_BYTES),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_statement_bytes: 100, max_bind_bytes: 200 };

    fn head_of(side: Side, tag: u8, length: i32) -> Result<Option<Head>, FrameError> {
        let mut bytes = vec![tag];
        bytes.extend(length.to_be_bytes());
        head(&bytes, side, &LIMITS)
    }

    #[test]
    fn a_head_needs_five_bytes_and_looks_at_no_more() {
        let message = [b'Q', 0, 0, 0, 6, b';', 0, b'?', 0xff];
        for end in 0..HEAD_BYTES {
            assert_eq!(head(&message[..end], Side::Caller, &LIMITS), Ok(None));
        }
        for end in HEAD_BYTES..=message.len() {
            assert_eq!(head(&message[..end], Side::Caller, &LIMITS), Ok(Some(Head { tag: b'Q', len: 7 })));
        }
    }

    #[test]
    fn each_side_has_its_own_types_and_no_others() {
        let known = |side: Side| (0..=255u8).filter(|&tag| !matches!(head_of(side, tag, 4), Err(FrameError::UnknownTag { .. }))).collect::<Vec<_>>();
        assert_eq!(known(Side::Caller), b"BCDEFHPQSXcdfp");
        assert_eq!(known(Side::Target), b"123ACDEGHIKNRSTVWZcdnstv");
    }

    #[test]
    fn a_length_a_type_cannot_have_is_refused_before_the_body() {
        for tag in *b"BCDEFHPQSXcdfp" {
            for length in [i32::MIN, -1, 0, 3] {
                assert_eq!(head_of(Side::Caller, tag, length), Err(FrameError::Length { tag, length }));
            }
        }
        for (side, tag, length) in [
            (Side::Caller, b'S', 5),
            (Side::Caller, b'X', 5),
            (Side::Caller, b'C', 10_001),
            (Side::Caller, b'p', 65_536),
            (Side::Target, b'Z', 6),
            (Side::Target, b'1', 5),
            (Side::Target, b'K', 11),
            (Side::Target, b'K', 265),
            (Side::Target, b'S', 30_001),
            (Side::Target, b'T', i32::MAX),
        ] {
            assert_eq!(head_of(side, tag, length), Err(FrameError::Length { tag, length }));
        }
    }

    #[test]
    fn statements_and_binds_have_configured_limits_and_streams_have_none() {
        assert_eq!(head_of(Side::Caller, b'Q', 99), Ok(Some(Head { tag: b'Q', len: 100 })));
        assert_eq!(head_of(Side::Caller, b'Q', 100), Err(FrameError::TooLarge { tag: b'Q', length: 101, limit_bytes: 100 }));
        assert_eq!(head_of(Side::Caller, b'P', i32::MAX), Err(FrameError::TooLarge { tag: b'P', length: 1 << 31, limit_bytes: 100 }));
        assert_eq!(head_of(Side::Caller, b'B', 199), Ok(Some(Head { tag: b'B', len: 200 })));
        assert_eq!(head_of(Side::Caller, b'B', 200), Err(FrameError::TooLarge { tag: b'B', length: 201, limit_bytes: 200 }));
        for (side, tag) in [(Side::Caller, b'd'), (Side::Target, b'd'), (Side::Target, b'D')] {
            assert_eq!(head_of(side, tag, i32::MAX), Ok(Some(Head { tag, len: 1 << 31 })));
        }
    }

    #[test]
    fn a_startup_packet_has_postgresqls_own_bounds() {
        let length = |length: i32| startup(&length.to_be_bytes());
        assert_eq!(startup(&[0, 0, 0]), Ok(None));
        assert_eq!(length(8), Ok(Some(8)));
        assert_eq!(length(10_004), Ok(Some(10_004)));
        for bad in [i32::MIN, -1, 0, 7, 10_005, i32::MAX] {
            assert_eq!(length(bad), Err(FrameError::Length { tag: 0, length: bad }));
        }
    }
}
