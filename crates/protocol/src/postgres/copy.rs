//! Rows of a COPY to the caller, rewritten value by value. <https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS>
//!
//! The target sends each row as one CopyData message
//! (<https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-COPY>), and so does this. Values that are not changed keep their bytes.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use model::facts::CopyLayout;

use super::{
    frame::HEAD_BYTES,
    message::{Unencodable, cell, framed, put_cell},
    rows::RewriteError,
};
use crate::reader::{Malformed, Reader};

/// Cuts the data out of CopyData messages that come in pieces, wherever these are cut.
#[derive(Debug, Clone, Default)]
pub struct CopyBodies {
    /// The first bytes of a head that is not whole yet.
    head: Vec<u8>,
    /// Bytes of the body still to come.
    left: usize,
}

impl CopyBodies {
    /// What of the data is in the next piece. The messages' lengths were checked before, by whoever forwards them.
    pub fn read(&mut self, mut piece: &[u8]) -> Vec<u8> {
        let mut data = Vec::with_capacity(piece.len());
        while !piece.is_empty() {
            if self.left > 0 {
                let (body, rest) = piece.split_at(self.left.min(piece.len()));
                data.extend_from_slice(body);
                self.left -= body.len();
                piece = rest;
                continue;
            }
            let (head, rest) = piece.split_at((HEAD_BYTES - self.head.len()).min(piece.len()));
            self.head.extend_from_slice(head);
            piece = rest;
            if self.head.len() == HEAD_BYTES {
                let length = Reader::new(self.head.get(1..).unwrap_or_default()).u32().unwrap_or(0);
                self.left = (length as usize).saturating_sub(HEAD_BYTES - 1);
                self.head.clear();
            }
        }
        data
    }
}

/// What a binary COPY begins with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// What a value of a row becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// It stays as it is.
    Keep,
    /// NULL.
    Null,
    /// Another value, in the form of the whole COPY.
    Value(Cow<'a, [u8]>),
}

/// Rewrites the CopyData messages of one COPY.
#[derive(Debug, Clone)]
pub struct CopyRewriter {
    layout: CopyLayout,
    columns: usize,
    /// The next message begins the stream: the names of the columns, which pass as they are, or the signature.
    begins: bool,
}

impl CopyRewriter {
    /// For a COPY of so many columns.
    #[must_use]
    pub const fn new(layout: CopyLayout, columns: usize) -> Self {
        Self { layout, columns, begins: true }
    }

    /// Appends the CopyData message that the body of one becomes, each value as `change(index, value)` says; `None` is NULL.
    ///
    /// # Errors
    /// It is no row of so many columns, or becomes too long. `out` is then as before.
    pub fn rewrite(
        &mut self,
        body: &[u8],
        change: impl FnMut(usize, Option<&[u8]>) -> Change<'static>,
        out: &mut BytesMut,
    ) -> Result<(), RewriteError> {
        let begins = std::mem::replace(&mut self.begins, false);
        let mut malformed = None;
        let written = framed(out, b'd', |out| {
            self.row(body, begins, change, out).map_err(|error| {
                malformed = error;
                Unencodable
            })
        });
        written.map_err(|Unencodable| malformed.map_or(RewriteError::TooLong, RewriteError::Malformed))
    }

    fn row(
        &self,
        body: &[u8],
        begins: bool,
        mut change: impl FnMut(usize, Option<&[u8]>) -> Change<'static>,
        out: &mut BytesMut,
    ) -> Result<(), Option<Malformed>> {
        match &self.layout {
            CopyLayout::Binary => binary(body, begins, self.columns, change, out),
            CopyLayout::Text { delimiter, null, header } => {
                let line = body.strip_suffix(b"\n").ok_or(Some(Malformed("a row of a COPY does not end")))?;
                let fields = split_text(line, *delimiter, self.columns)?;
                if *header && begins {
                    out.put_slice(body);
                    return Ok(());
                }
                for (index, field) in fields.into_iter().enumerate() {
                    if index > 0 {
                        out.put_u8(*delimiter);
                    }
                    let plain = (field != null.as_slice()).then(|| unescape(field));
                    match change(index, plain.as_deref()) {
                        Change::Keep => out.put_slice(field),
                        Change::Null => out.put_slice(null),
                        Change::Value(value) => escape(&value, *delimiter, out),
                    }
                }
                out.put_u8(b'\n');
                Ok(())
            }
            CopyLayout::Csv { delimiter, quote, escape, null, quoted: forced, header } => {
                let line = body.strip_suffix(b"\n").ok_or(Some(Malformed("a row of a COPY does not end")))?;
                let fields = split_csv(line, (*delimiter, *quote, *escape), self.columns)?;
                if *header && begins {
                    out.put_slice(body);
                    return Ok(());
                }
                for (index, field) in fields.into_iter().enumerate() {
                    if index > 0 {
                        out.put_u8(*delimiter);
                    }
                    let quoted = field.first() == Some(quote);
                    let plain = (quoted || field != null.as_slice()).then(|| unquote(field, *quote, *escape));
                    match change(index, plain.as_deref()) {
                        Change::Keep => out.put_slice(field),
                        Change::Null => out.put_slice(null),
                        Change::Value(value) => {
                            // As the server would: that the value it stands for was quoted tells what was in it.
                            let forced = forced.as_ref().is_none_or(|places| places.contains(&index));
                            let plain = !forced
                                && value.as_ref() != null.as_slice()
                                && !value.iter().any(|byte| matches!(*byte, b'\n' | b'\r') || byte == delimiter || byte == quote);
                            if plain { out.put_slice(&value) } else { requote(&value, *quote, *escape, out) }
                        }
                    }
                }
                out.put_u8(b'\n');
                Ok(())
            }
        }
    }
}

fn binary(
    body: &[u8],
    begins: bool,
    columns: usize,
    mut change: impl FnMut(usize, Option<&[u8]>) -> Change<'static>,
    out: &mut BytesMut,
) -> Result<(), Option<Malformed>> {
    let mut reader = Reader::new(body);
    if begins {
        if reader.take(SIGNATURE.len())? != SIGNATURE {
            return Err(Some(Malformed("a binary COPY does not begin as one")));
        }
        let flags = reader.i32()?;
        let extension = usize::try_from(reader.i32()?).map_err(|_| Malformed("a binary COPY's extension has a negative length"))?;
        reader.take(extension)?;
        // OIDs, which no version that is served has.
        if flags != 0 || extension != 0 {
            return Err(Some(Malformed("a binary COPY of an unknown kind")));
        }
        out.put_slice(SIGNATURE);
        out.put_i32(0);
        out.put_i32(0);
        // The first row may come with it.
        if reader.peek().is_empty() {
            return Ok(());
        }
    }
    let count = reader.i16()?;
    out.put_i16(count);
    if count != -1 {
        if usize::try_from(count) != Ok(columns) {
            return Err(Some(Malformed("a row of a COPY has another number of values")));
        }
        for index in 0..columns {
            let value = cell(&mut reader)?;
            let written = match change(index, value) {
                Change::Keep => put_cell(out, value),
                Change::Null => put_cell(out, None),
                Change::Value(changed) => put_cell(out, Some(&changed)),
            };
            written.map_err(|Unencodable| None)?;
        }
    }
    Ok(reader.finish()?)
}

/// The values of a line of text, escaped as they are.
fn split_text(line: &[u8], delimiter: u8, columns: usize) -> Result<Vec<&[u8]>, Malformed> {
    let mut fields = Fields::new(line, columns);
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' | b'\r' => return Err(Malformed("a row of a COPY is more than one line")),
            _ if byte == delimiter => fields.end(at)?,
            _ => {}
        }
        at += 1;
    }
    fields.finish()
}

/// The values of a line of CSV, quoted as they are.
fn split_csv(line: &[u8], (delimiter, quote, escape): (u8, u8, u8), columns: usize) -> Result<Vec<&[u8]>, Malformed> {
    let mut fields = Fields::new(line, columns);
    let (mut at, mut inside) = (0, false);
    while let Some(&byte) = line.get(at) {
        let next = line.get(at + 1).copied();
        if inside {
            // An escape counts before a quote or another escape alone; where both are the same sign, two of it are one.
            if byte == escape && next.is_some_and(|next| next == quote || next == escape) && (escape != quote || next == Some(quote)) {
                at += 1;
            } else if byte == quote {
                inside = false;
            }
        } else if byte == quote {
            inside = true;
        } else if byte == delimiter {
            fields.end(at)?;
        } else if matches!(byte, b'\n' | b'\r') {
            return Err(Malformed("a row of a COPY is more than one line"));
        }
        at += 1;
    }
    if inside {
        return Err(Malformed("a value of a COPY is not ended"));
    }
    fields.finish()
}

/// Values of a line as they are found, never more than there are columns.
struct Fields<'a> {
    line: &'a [u8],
    begins: usize,
    columns: usize,
    found: Vec<&'a [u8]>,
}

impl<'a> Fields<'a> {
    const fn new(line: &'a [u8], columns: usize) -> Self {
        Self { line, begins: 0, columns, found: Vec::new() }
    }

    fn end(&mut self, at: usize) -> Result<(), Malformed> {
        if self.found.len() >= self.columns {
            return Err(Malformed("a row of a COPY has another number of values"));
        }
        self.found.push(self.line.get(self.begins..at).unwrap_or_default());
        self.begins = at + 1;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<&'a [u8]>, Malformed> {
        // Without columns there is nothing on a line.
        if self.columns > 0 || !self.line.is_empty() {
            self.end(self.line.len())?;
        }
        if self.found.len() == self.columns { Ok(self.found) } else { Err(Malformed("a row of a COPY has another number of values")) }
    }
}

/// A value of the text format as it is meant (`CopyAttributeOutText` backwards).
fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut plain = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 8,
                Some(b'f') => 12,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'v') => 11,
                Some(&other) => other,
                None => b'\\',
            },
            other => other,
        });
    }
    Cow::Owned(plain)
}

fn escape(value: &[u8], delimiter: u8, out: &mut BytesMut) {
    for &byte in value {
        let letter = match byte {
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            b'\\' => b'\\',
            other if other == delimiter => other,
            other => {
                out.put_u8(other);
                continue;
            }
        };
        out.put_slice(&[b'\\', letter]);
    }
}

fn unquote(field: &[u8], quote: u8, escape: u8) -> Cow<'_, [u8]> {
    if !field.contains(&quote) {
        return Cow::Borrowed(field);
    }
    let mut plain = Vec::with_capacity(field.len());
    let (mut at, mut inside) = (0, false);
    while let Some(&byte) = field.get(at) {
        let next = field.get(at + 1).copied();
        if inside && byte == escape && next.is_some_and(|next| next == quote || next == escape) && (escape != quote || next == Some(quote)) {
            plain.extend(next);
            at += 1;
        } else if byte == quote {
            inside = !inside;
        } else {
            plain.push(byte);
        }
        at += 1;
    }
    Cow::Owned(plain)
}

fn requote(value: &[u8], quote: u8, escape: u8, out: &mut BytesMut) {
    out.put_u8(quote);
    for &byte in value {
        if byte == quote || byte == escape {
            out.put_u8(escape);
        }
        out.put_u8(byte);
    }
    out.put_u8(quote);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn data_is_the_same_wherever_messages_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10),
            cuts in prop::collection::vec(1..12usize, 1..20),
        ) {
            let mut stream = BytesMut::new();
            for body in &bodies {
                framed(&mut stream, b'd', |out| {
                    out.put_slice(body);
                    Ok(())
                })
                .unwrap();
            }
            let (mut reading, mut data, mut rest, mut cuts) = (CopyBodies::default(), Vec::new(), stream.as_ref(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                data.extend(reading.read(piece));
                rest = after;
            }
            prop_assert_eq!(data, bodies.concat());
        }
    }

    fn text() -> CopyLayout {
        CopyLayout::Text { delimiter: b'\t', null: b"\\N".to_vec(), header: false }
    }

    fn csv() -> CopyLayout {
        CopyLayout::Csv { delimiter: b',', quote: b'"', escape: b'"', null: vec![], quoted: Some(vec![]), header: false }
    }

    /// The second value is masked, the third withheld.
    fn masked(layout: &CopyLayout, columns: usize, body: &[u8], with: &'static [u8]) -> Result<Vec<u8>, RewriteError> {
        let mut out = BytesMut::from(&b"before"[..]);
        let change = |index, value: Option<&[u8]>| match (index, value) {
            (1, Some(_)) => Change::Value(Cow::Borrowed(with)),
            (2, _) => Change::Null,
            _ => Change::Keep,
        };
        CopyRewriter::new(layout.clone(), columns).rewrite(body, change, &mut out)?;
        Ok(out[6 + HEAD_BYTES..].to_vec())
    }

    #[test]
    fn text_is_rewritten_value_by_value() {
        let shown = |body: &[u8]| masked(&text(), 4, body, b"*\t\\*").map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(shown(b"1\tsecret\tx\tl\\tast\n").unwrap(), "1\t*\\t\\\\*\t\\N\tl\\tast\n");
        assert_eq!(shown(b"1\t\\N\t\\N\t\n").unwrap(), "1\t\\N\t\\N\t\n");
        assert_eq!(shown(b"\\\\\ta\\\tb\t\\\\\t\\\\N\n").unwrap(), "\\\\\t*\\t\\\\*\t\\N\t\\\\N\n");
        for broken in [&b"1\ta\tb\n"[..], b"1\ta\tb\tc\td\n", b"1\ta\tb\tc", b"1\ta\tb\tc\n1\ta\tb\tc\n", b"", b"\n"] {
            assert!(shown(broken).is_err(), "{}", broken.escape_ascii());
        }
    }

    #[test]
    fn csv_is_rewritten_value_by_value() {
        let shown = |body: &[u8]| masked(&csv(), 4, body, b"*,\"*").map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(shown(b"1,secret,x,\"a,\"\"b\nc\"\n").unwrap(), "1,\"*,\"\"*\",,\"a,\"\"b\nc\"\n");
        assert_eq!(shown(b"1,,,\n").unwrap(), "1,,,\n", "NULL stays NULL");
        assert_eq!(shown(b"1,\"\",x,\n").unwrap(), "1,\"*,\"\"*\",,\n", "an empty text is none");
        let plain = masked(&csv(), 3, b"1,\"quoted\",x\n", b"***").unwrap();
        assert_eq!(plain, b"1,***,\n", "that it was quoted does not show");
        for broken in [&b"1,a,b\n"[..], b"1,a,b,c,d\n", b"1,a,b,c", b"1,a,b,\"c\n", b"1,a,b,c\n1,a,b,c\n"] {
            assert!(shown(broken).is_err(), "{}", broken.escape_ascii());
        }
        let other = CopyLayout::Csv { delimiter: b';', quote: b'\'', escape: b'\\', null: b"NULL".to_vec(), quoted: Some(vec![1]), header: true };
        let mut rewriter = CopyRewriter::new(other, 2);
        let mut out = BytesMut::new();
        let change = |index, _: Option<&[u8]>| if index == 1 { Change::Value(Cow::Borrowed(&b"NULL"[..])) } else { Change::Keep };
        assert!(rewriter.clone().rewrite(b"a;b;c\n", change, &mut BytesMut::new()).is_err(), "a heading of other columns");
        for body in [&b"a;b\n"[..], b"'x\\';y';'\\\\'\n", b"NULL;NULL\n"] {
            rewriter.rewrite(body, change, &mut out).unwrap();
        }
        let shown = out.iter().filter(|byte| byte.is_ascii_graphic() || **byte == b'\n').map(|byte| char::from(*byte)).collect::<String>();
        assert!(shown.contains("'x\\';y';'NULL'\n") && shown.contains("NULL;'NULL'\n") && shown.contains("a;b\n"), "{shown}");
    }

    #[test]
    fn binary_is_rewritten_value_by_value() {
        let tuple = |cells: &[Option<&[u8]>]| {
            let mut out = BytesMut::new();
            out.put_i16(i16::try_from(cells.len()).unwrap());
            cells.iter().for_each(|cell| put_cell(&mut out, *cell).unwrap());
            out.to_vec()
        };
        let head = [SIGNATURE, &[0; 8]].concat();
        let row = tuple(&[Some(b"1"), Some(b"secret"), Some(b"x")]);
        let wanted = tuple(&[Some(b"1"), Some(b"***"), None]);
        let first = [head.clone(), row.clone()].concat();
        assert_eq!(masked(&CopyLayout::Binary, 3, &first, b"***").unwrap(), [head.clone(), wanted].concat());
        let end = [head.clone(), vec![0xff, 0xff]].concat();
        assert_eq!(masked(&CopyLayout::Binary, 3, &end, b"***").unwrap(), end);
        assert_eq!(masked(&CopyLayout::Binary, 3, &head, b"***").unwrap(), head);
        assert!(masked(&CopyLayout::Binary, 3, &row, b"***").is_err(), "without the signature");
        assert!(masked(&CopyLayout::Binary, 2, &first, b"***").is_err(), "another number of values");
        for cut in 0..first.len() {
            let cut_off = masked(&CopyLayout::Binary, 3, &first[..cut], b"***");
            assert!(cut_off.is_err() || cut == head.len(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_the_same(value in prop::collection::vec(any::<u8>(), 0..40), delimiter in any::<u8>()) {
            prop_assume!(!matches!(delimiter, b'\\' | b'\n' | b'\r') && !delimiter.is_ascii_alphanumeric());
            let mut out = BytesMut::new();
            escape(&value, delimiter, &mut out);
            prop_assert_eq!(split_text(&out, delimiter, 1).unwrap().len(), 1);
            prop_assert_eq!(&*unescape(&out), &value[..]);
            let mut out = BytesMut::new();
            requote(&value, b'"', b'"', &mut out);
            prop_assert_eq!(split_csv(&out, (b',', b'"', b'"'), 1).unwrap().len(), 1);
            prop_assert_eq!(&*unquote(&out, b'"', b'"'), &value[..]);
            let mut out = BytesMut::new();
            requote(&value, b'\'', b'\\', &mut out);
            prop_assert_eq!(&*unquote(&out, b'\'', b'\\'), &value[..]);
        }

        #[test]
        fn any_bytes_are_a_row_or_refused(body in prop::collection::vec(any::<u8>(), 0..60), columns in 0usize..4) {
            for layout in [text(), csv(), CopyLayout::Binary] {
                let mut out = BytesMut::new();
                let rewritten = CopyRewriter::new(layout.clone(), columns).rewrite(&body, |_, _| Change::Keep, &mut out);
                if rewritten.is_ok() {
                    prop_assert_eq!(&out[HEAD_BYTES..], &body[..]);
                }
            }
        }
    }
}
