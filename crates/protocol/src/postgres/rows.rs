//! Row descriptions and rows, cell by cell. A mask rewrites a row here; nothing else changes what a target returned.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::message::{Cells, Format, Unencodable, cell, framed, put_cell};
use crate::reader::{Malformed, Reader};

/// `T`: the columns of a result.
///
/// INVARIANT: `bytes` holds exactly `count` fields; [`RowDescription::decode`] is the only way to make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowDescription<'a> {
    count: u16,
    bytes: &'a [u8],
}

/// One column of a result, as the target describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name the caller sees.
    pub name: &'a [u8],
    /// The table it is a column of; 0 if it is none's.
    pub table_oid: u32,
    /// Its number in that table; 0 if it is none's, negative for a system column.
    pub column: i16,
    /// Its type.
    pub type_oid: u32,
    /// The type's size in bytes; negative if it varies.
    pub type_size: i16,
    /// The type's modifier; -1 if it has none.
    pub type_modifier: i32,
    /// How values will be written. In the answer to a Describe of a statement always text, because it is not known yet.
    pub format: Format,
}

impl<'a> RowDescription<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let count = reader.u16()?;
        let bytes = reader.peek();
        for _ in 0..count {
            field(&mut reader)?;
        }
        reader.finish()?;
        Ok(Self { count, bytes })
    }

    /// How many columns there are.
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
    pub fn iter(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| field(&mut reader).ok())
    }
}

fn field<'a>(reader: &mut Reader<'a>) -> Result<Field<'a>, Malformed> {
    Ok(Field {
        name: reader.cstr()?,
        table_oid: reader.u32()?,
        column: reader.i16()?,
        type_oid: reader.u32()?,
        type_size: reader.i16()?,
        type_modifier: reader.i32()?,
        format: Format::from(reader.i16()?),
    })
}

/// The values of a DataRow.
///
/// # Errors
/// The body is shorter or longer than its contents.
pub fn row(body: &[u8]) -> Result<Cells<'_>, Malformed> {
    let mut reader = Reader::new(body);
    let cells = Cells::read(&mut reader)?;
    reader.finish()?;
    Ok(cells)
}

/// A row that could not be rewritten. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The target's row is not one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// What it would become is longer than a message can be.
    #[error("the rewritten row is too long for a message")]
    TooLong,
}

/// Appends a whole DataRow made of the values of `body`, each as `change(index, value)` gives it back; `None` is NULL.
///
/// # Errors
/// The row is malformed, or becomes too long. `out` is then as before, whatever was already written of the row.
pub fn rewrite<'a, F>(body: &'a [u8], mut change: F, out: &mut BytesMut) -> Result<(), RewriteError>
where
    F: FnMut(usize, Option<&'a [u8]>) -> Option<Cow<'a, [u8]>>,
{
    let start = out.len();
    let mut malformed = None;
    let written = framed(out, b'D', |out| {
        rewrite_cells(body, &mut change, out).map_err(|error| {
            malformed = error;
            Unencodable
        })
    });
    written.map_err(|Unencodable| {
        debug_assert_eq!(out.len(), start);
        malformed.map_or(RewriteError::TooLong, RewriteError::Malformed)
    })
}

/// `Err(None)`: too long.
fn rewrite_cells<'a>(
    body: &'a [u8],
    change: &mut impl FnMut(usize, Option<&'a [u8]>) -> Option<Cow<'a, [u8]>>,
    out: &mut BytesMut,
) -> Result<(), Option<Malformed>> {
    let mut reader = Reader::new(body);
    let count = reader.u16()?;
    out.put_u16(count);
    for index in 0..usize::from(count) {
        let changed = change(index, cell(&mut reader)?);
        put_cell(out, changed.as_deref()).map_err(|Unencodable| None)?;
    }
    reader.finish()?;
    Ok(())
}

/// Appends a RowDescription of text columns that belong to no table, each a name and a type OID: for results of the gateway's own.
///
/// # Errors
/// A name holds a NUL; more than 65,535 columns.
pub fn row_description(out: &mut BytesMut, columns: &[(&[u8], u32)]) -> Result<(), Unencodable> {
    let fields: Vec<Field<'_>> = columns
        .iter()
        .map(|&(name, type_oid)| Field { name, table_oid: 0, column: 0, type_oid, type_size: -1, type_modifier: -1, format: Format::Text })
        .collect();
    describe(out, &fields)
}

/// Appends a RowDescription of these fields.
///
/// # Errors
/// A name holds a NUL; more than 65,535 columns.
pub fn describe(out: &mut BytesMut, fields: &[Field<'_>]) -> Result<(), Unencodable> {
    framed(out, b'T', |out| {
        out.put_u16(u16::try_from(fields.len()).map_err(|_| Unencodable)?);
        for field in fields {
            super::message::put_cstr(out, field.name)?;
            out.put_u32(field.table_oid);
            out.put_i16(field.column);
            out.put_u32(field.type_oid);
            out.put_i16(field.type_size);
            out.put_i32(field.type_modifier);
            out.put_i16(field.format.code());
        }
        Ok(())
    })
}

/// Appends a DataRow.
///
/// # Errors
/// More than 65,535 values, or too long.
pub fn data_row(out: &mut BytesMut, cells: &[Option<&[u8]>]) -> Result<(), Unencodable> {
    framed(out, b'D', |out| {
        out.put_u16(u16::try_from(cells.len()).map_err(|_| Unencodable)?);
        cells.iter().try_for_each(|&value| put_cell(out, value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::frame::HEAD_BYTES;

    fn row_of(cells: &[Option<&[u8]>]) -> BytesMut {
        let mut out = BytesMut::new();
        data_row(&mut out, cells).unwrap();
        out
    }

    #[test]
    fn a_row_is_rewritten_cell_by_cell() {
        let original = row_of(&[Some(b"alice"), None, Some(b"4111"), Some(b"x")]);
        let mut out = BytesMut::from(&b"before"[..]);
        let mut seen = Vec::new();
        let change = |index, cell| {
            seen.push((index, cell));
            match (index, cell) {
                (0, _) => None,
                (1, None) => Some(Cow::Borrowed(&b"was null"[..])),
                (2, Some(_)) => Some(Cow::Owned(b"*".repeat(1000))),
                (_, cell) => cell.map(Cow::Borrowed),
            }
        };
        rewrite(&original[HEAD_BYTES..], change, &mut out).unwrap();
        let stars = b"*".repeat(1000);
        assert_eq!(&out[6..], &row_of(&[None, Some(b"was null"), Some(&stars), Some(b"x")])[..]);
        assert_eq!(seen, [(0, Some(&b"alice"[..])), (1, None), (2, Some(b"4111")), (3, Some(b"x"))]);
    }

    #[test]
    fn a_malformed_row_leaves_nothing_behind() {
        let original = row_of(&[Some(b"alice"), Some(b"bob")]);
        for end in HEAD_BYTES..original.len() {
            let mut out = BytesMut::from(&b"before"[..]);
            let result = rewrite(&original[HEAD_BYTES..end], |_, cell| cell.map(Cow::Borrowed), &mut out);
            assert!(matches!(result, Err(RewriteError::Malformed(_))), "cut at {end}");
            assert_eq!(&out[..], b"before");
        }
        let longer = [&original[HEAD_BYTES..], b"\0"].concat();
        assert!(rewrite(&longer, |_, cell| cell.map(Cow::Borrowed), &mut BytesMut::new()).is_err());
    }

    #[test]
    fn a_row_description_is_read_and_written_whole() {
        let field = |name, column, format| Field { name, table_oid: 16_384, column, type_oid: 25, type_size: -1, type_modifier: 68, format };
        let fields = [field(&b"id"[..], 1, Format::Binary), field(b"", -3, Format::Text), field("名".as_bytes(), 0, Format::Unknown(9))];
        let mut out = BytesMut::new();
        describe(&mut out, &fields).unwrap();
        let read = RowDescription::decode(&out[HEAD_BYTES..]).unwrap();
        assert_eq!((read.len(), read.iter().collect::<Vec<_>>()), (3, fields.to_vec()));
        for end in HEAD_BYTES..out.len() {
            assert!(RowDescription::decode(&out[HEAD_BYTES..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn a_rewrite_that_changes_nothing_gives_the_same_bytes(
            cells in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..30)), 0..20),
        ) {
            let original = row_of(&cells.iter().map(|cell| cell.as_deref()).collect::<Vec<_>>());
            let mut out = BytesMut::new();
            rewrite(&original[HEAD_BYTES..], |_, cell| cell.map(Cow::Borrowed), &mut out).unwrap();
            prop_assert_eq!(out, original);
        }
    }
}
