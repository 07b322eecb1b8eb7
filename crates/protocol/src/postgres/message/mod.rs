//! What is in a message, borrowed from the buffer it arrived in, and how the gateway's own messages are written.
//!
//! [`frontend`] has the messages a caller sends (and the gateway, to a target), [`backend`] those a target sends (and the
//! gateway, to a caller). Decoders take a body without its head; encoders append a whole message.
//! Texts are bytes: their encoding is the session's `client_encoding`, which only the session knows.
//!
//! Byte for byte: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use bytes::{BufMut, BytesMut};

use crate::reader::{Malformed, Reader};

#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
pub(crate) mod again;
pub mod backend;
pub mod frontend;

/// The protocol version the gateway speaks on both sides, 3.0.
pub const PROTOCOL_3_0: i32 = 3 << 16;

/// Something the protocol has no way to write: a text with a NUL inside, more than 65,535 items, more than 2 GiB.
/// Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be written as a PostgreSQL message")]
pub struct Unencodable;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// As text: code 0.
    Text,
    /// The type's binary form: code 1.
    Binary,
    /// A code PostgreSQL does not know; it answers with an error. Nothing in this form can be read.
    Unknown(i16),
}

impl Format {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
            Self::Unknown(code) => code,
        }
    }
}

impl From<i16> for Format {
    fn from(code: i16) -> Self {
        match code {
            0 => Self::Text,
            1 => Self::Binary,
            code => Self::Unknown(code),
        }
    }
}

/// A list of format codes. None means text for all, one means that one for all, otherwise one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats<'a> {
    codes: &'a [u8],
}

impl<'a> Formats<'a> {
    /// How many codes were sent.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.codes.len() / 2
    }

    /// Whether no code was sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The codes as sent.
    pub fn iter(&self) -> impl Iterator<Item = Format> + use<'a> {
        self.codes.chunks_exact(2).map(read_format)
    }

    /// The format of the value at `index`, the list's shorthands resolved. Beyond a list of several codes, text.
    #[must_use]
    pub fn of(&self, index: usize) -> Format {
        let place = if self.len() == 1 { 0 } else { index };
        self.codes.chunks_exact(2).nth(place).map_or(Format::Text, read_format)
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = reader.u16()?;
        Ok(Self { codes: reader.take(usize::from(count) * 2)? })
    }
}

fn read_format(code: &[u8]) -> Format {
    Format::from(code.iter().fold(0i16, |code, &byte| code << 8 | i16::from(byte)))
}

/// A list of type OIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oids<'a> {
    bytes: &'a [u8],
}

impl<'a> Oids<'a> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() / 4
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// In order. 0 leaves the type to the server.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.bytes.chunks_exact(4).map(|four| four.iter().fold(0u32, |oid, &byte| oid << 8 | u32::from(byte)))
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = reader.u16()?;
        Ok(Self { bytes: reader.take(usize::from(count) * 4)? })
    }

    /// All that is left, however many they are.
    fn rest(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let bytes = reader.bytes();
        bytes.len().is_multiple_of(4).then_some(Self { bytes }).ok_or(Malformed("shorter than its contents"))
    }
}

/// A list of values, each with its length: the parameters of a Bind, the columns of a row. `None` is NULL.
///
/// INVARIANT: `bytes` holds exactly `count` values; [`Cells::read`] is the only way to make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cells<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Cells<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| cell(&mut reader).ok())
    }

    /// Takes a count and that many values.
    ///
    /// # Errors
    /// A length is negative (but for -1, NULL) or reaches past the end.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = reader.u16()?;
        let start = reader.peek();
        for _ in 0..count {
            cell(reader)?;
        }
        let len = start.len() - reader.peek().len();
        Ok(Self { count, bytes: start.get(..len).unwrap_or_default() })
    }
}

/// Takes one value: its length, then as many bytes; -1 is NULL.
///
/// # Errors
/// The length is negative otherwise, or reaches past the end.
pub fn cell<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    match reader.i32()? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| Malformed("a value has a negative length"))?;
            reader.take(length).map(Some)
        }
    }
}

/// Decodes a body that must be empty.
fn nothing(body: &[u8]) -> Result<(), Malformed> {
    Reader::new(body).finish()
}

/// Decodes a body that is one string.
fn one_string(body: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(body);
    let text = reader.cstr()?;
    reader.finish()?;
    Ok(text)
}

/// Appends one message of type `tag`: `write` appends its body, then the length is filled in.
/// If `write` fails or the body is too long, `out` is as before.
pub(super) fn framed(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut) -> Result<(), Unencodable>) -> Result<(), Unencodable> {
    let start = out.len();
    out.put_u8(tag);
    let written = sized(out, write);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends a length that counts itself, then what `write` appends.
fn sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> Result<(), Unencodable>) -> Result<(), Unencodable> {
    let start = out.len();
    out.put_i32(0);
    write(out)?;
    let length = i32::try_from(out.len() - start).map_err(|_| Unencodable)?;
    out.get_mut(start..).and_then(|message| message.first_chunk_mut::<4>()).ok_or(Unencodable).map(|field| *field = length.to_be_bytes())
}

/// Appends a text and its terminator.
pub(super) fn put_cstr(out: &mut BytesMut, text: &[u8]) -> Result<(), Unencodable> {
    if memchr::memchr(0, text).is_some() {
        return Err(Unencodable);
    }
    out.put_slice(text);
    out.put_u8(0);
    Ok(())
}

/// Appends a count of items.
fn put_count(out: &mut BytesMut, count: usize) -> Result<(), Unencodable> {
    out.put_u16(u16::try_from(count).map_err(|_| Unencodable)?);
    Ok(())
}

/// Appends one value with its length.
pub(super) fn put_cell(out: &mut BytesMut, cell: Option<&[u8]>) -> Result<(), Unencodable> {
    match cell {
        None => out.put_i32(-1),
        Some(bytes) => {
            out.put_i32(i32::try_from(bytes.len()).map_err(|_| Unencodable)?);
            out.put_slice(bytes);
        }
    }
    Ok(())
}

/// Appends a list of format codes.
fn put_formats(out: &mut BytesMut, formats: &[Format]) -> Result<(), Unencodable> {
    put_count(out, formats.len())?;
    formats.iter().for_each(|format| out.put_i16(format.code()));
    Ok(())
}

#[cfg(test)]
mod tests;
