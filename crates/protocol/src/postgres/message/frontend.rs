//! The messages a caller sends, and the gateway to a target.

use bytes::{BufMut, BytesMut};

use super::{
    Cells, Format, Formats, Oids, PROTOCOL_3_0, Unencodable, framed, nothing, one_string, put_cell, put_count, put_cstr, put_formats, sized,
};
use crate::reader::{Malformed, Reader};

/// Any message a caller may send once it is signed in. SASL answers share their type with the password; see [`SaslInitialResponse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frontend<'a> {
    /// One or more statements in one text.
    Query(Query<'a>),
    /// Prepare a statement.
    Parse(Parse<'a>),
    /// Give a prepared statement its parameters and make it a portal.
    Bind(Bind<'a>),
    /// Ask what a statement takes or a portal returns.
    Describe(Named<'a>),
    /// Forget a statement or portal.
    Close(Named<'a>),
    /// Run a portal.
    Execute(Execute<'a>),
    /// Send what is owed, without ending the pipeline.
    Flush,
    /// End the pipeline.
    Sync,
    /// Some of what is copied in; boundaries mean nothing.
    CopyData(&'a [u8]),
    /// All of it was sent.
    CopyDone,
    /// It cannot be sent; the text says why.
    CopyFail(&'a [u8]),
    /// Call a function by its OID.
    FunctionCall(FunctionCall<'a>),
    /// The answer to a request for a password. It is a secret.
    Password(&'a [u8]),
    /// Goodbye.
    Terminate,
}

impl<'a> Frontend<'a> {
    /// Decodes the body of a message of type `tag`.
    ///
    /// # Errors
    /// The type is no caller's, or the body is not exactly what the type says.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        Ok(match tag {
            b'Q' => Self::Query(Query::decode(body)?),
            b'P' => Self::Parse(Parse::decode(body)?),
            b'B' => Self::Bind(Bind::decode(body)?),
            b'D' => Self::Describe(Named::decode(body)?),
            b'C' => Self::Close(Named::decode(body)?),
            b'E' => Self::Execute(Execute::decode(body)?),
            b'H' => nothing(body).map(|()| Self::Flush)?,
            b'S' => nothing(body).map(|()| Self::Sync)?,
            b'd' => Self::CopyData(body),
            b'c' => nothing(body).map(|()| Self::CopyDone)?,
            b'f' => Self::CopyFail(one_string(body)?),
            b'F' => Self::FunctionCall(FunctionCall::decode(body)?),
            b'p' => Self::Password(one_string(body)?),
            b'X' => nothing(body).map(|()| Self::Terminate)?,
            _ => return Err(Malformed("no such message of a caller")),
        })
    }
}

/// `Q`: one or more statements in one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The text.
    pub statement: &'a [u8],
}

impl<'a> Query<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is not exactly one string: a text cut by a NUL is refused, because server and reader would see different ends.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        one_string(body).map(|statement| Self { statement })
    }
}

/// `P`: prepare a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// What it shall be called; empty for the unnamed statement.
    pub name: &'a [u8],
    /// The text.
    pub statement: &'a [u8],
    /// The types of its first parameters.
    pub types: Oids<'a>,
}

impl<'a> Parse<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let parse = Self { name: reader.cstr()?, statement: reader.cstr()?, types: Oids::read(&mut reader)? };
        reader.finish()?;
        Ok(parse)
    }
}

/// `B`: give a prepared statement its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// What the portal shall be called; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The prepared statement.
    pub statement: &'a [u8],
    /// How the parameters are written: none, one or as many codes as parameters.
    pub formats: Formats<'a>,
    /// The parameters.
    pub parameters: Cells<'a>,
    /// How the columns of the result shall be written.
    pub result_formats: Formats<'a>,
}

impl<'a> Bind<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents, or has neither none, one, nor as many formats as parameters.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let bind = Self {
            portal: reader.cstr()?,
            statement: reader.cstr()?,
            formats: Formats::read(&mut reader)?,
            parameters: Cells::read(&mut reader)?,
            result_formats: Formats::read(&mut reader)?,
        };
        reader.finish()?;
        fits(bind.formats, bind.parameters)?;
        Ok(bind)
    }

    /// The parameters with the form each is written in.
    pub fn values(&self) -> impl Iterator<Item = (Format, Option<&'a [u8]>)> + use<'a> {
        values(self.formats, self.parameters)
    }
}

/// Whether a list of formats can be that of these values.
fn fits(formats: Formats<'_>, cells: Cells<'_>) -> Result<(), Malformed> {
    if formats.len() <= 1 || formats.len() == cells.len() { Ok(()) } else { Err(Malformed("as many formats as parameters are needed")) }
}

/// Values with the form each is written in; walks the lists once, so that it costs what they are long.
fn values<'a>(formats: Formats<'a>, cells: Cells<'a>) -> impl Iterator<Item = (Format, Option<&'a [u8]>)> + use<'a> {
    let shared = if formats.len() > 1 { None } else { Some(formats.of(0)) };
    let mut each = formats.iter();
    cells.iter().map(move |cell| (shared.or_else(|| each.next()).unwrap_or(Format::Text), cell))
}

/// What a Describe or Close speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl Kind {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }
}

/// `D` and `C`: a prepared statement or a portal by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// Which of the two.
    pub kind: Kind,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Named<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// The kind is neither `S` nor `P`, or the rest is not exactly one string.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let kind = match reader.u8()? {
            b'S' => Kind::Statement,
            b'P' => Kind::Portal,
            _ => return Err(Malformed("neither a statement nor a portal")),
        };
        let name = reader.cstr()?;
        reader.finish()?;
        Ok(Self { kind, name })
    }
}

/// `E`: run a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal; empty for the unnamed one.
    pub portal: &'a [u8],
    /// How many rows at most; 0 or less for all.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let execute = Self { portal: reader.cstr()?, max_rows: reader.i32()? };
        reader.finish()?;
        Ok(execute)
    }
}

/// `F`: call a function by its OID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    /// The function.
    pub function: u32,
    /// How the arguments are written.
    pub formats: Formats<'a>,
    /// The arguments.
    pub arguments: Cells<'a>,
    /// How the result shall be written.
    pub result_format: Format,
}

impl<'a> FunctionCall<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents, or has neither none, one, nor as many formats as arguments.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let call = Self {
            function: reader.u32()?,
            formats: Formats::read(&mut reader)?,
            arguments: Cells::read(&mut reader)?,
            result_format: Format::from(reader.i16()?),
        };
        reader.finish()?;
        fits(call.formats, call.arguments)?;
        Ok(call)
    }

    /// The arguments with the form each is written in.
    pub fn values(&self) -> impl Iterator<Item = (Format, Option<&'a [u8]>)> + use<'a> {
        values(self.formats, self.arguments)
    }
}

/// `p` in answer to AuthenticationSASL: the mechanism chosen and its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism's name.
    pub mechanism: &'a [u8],
    /// The mechanism's first message; none if it has none.
    pub response: Option<&'a [u8]>,
}

impl<'a> SaslInitialResponse<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let initial = Self { mechanism: reader.cstr()?, response: super::cell(&mut reader)? };
        reader.finish()?;
        Ok(initial)
    }
}

/// Appends a Query.
///
/// # Errors
/// The text holds a NUL or is too long.
pub fn query(out: &mut BytesMut, statement: &[u8]) -> Result<(), Unencodable> {
    framed(out, b'Q', |out| put_cstr(out, statement))
}

/// Appends a Parse.
///
/// # Errors
/// A text holds a NUL or is too long; more than 65,535 types.
pub fn parse(out: &mut BytesMut, name: &[u8], statement: &[u8], types: &[u32]) -> Result<(), Unencodable> {
    framed(out, b'P', |out| {
        put_cstr(out, name)?;
        put_cstr(out, statement)?;
        put_count(out, types.len())?;
        types.iter().for_each(|&oid| out.put_u32(oid));
        Ok(())
    })
}

/// Appends a Bind. `None` is NULL.
///
/// # Errors
/// A name holds a NUL; more than 65,535 items; the whole is too long.
pub fn bind(
    out: &mut BytesMut,
    portal: &[u8],
    statement: &[u8],
    formats: &[Format],
    parameters: &[Option<&[u8]>],
    result_formats: &[Format],
) -> Result<(), Unencodable> {
    framed(out, b'B', |out| {
        put_cstr(out, portal)?;
        put_cstr(out, statement)?;
        put_formats(out, formats)?;
        put_count(out, parameters.len())?;
        parameters.iter().try_for_each(|&parameter| put_cell(out, parameter))?;
        put_formats(out, result_formats)
    })
}

/// Appends a Describe.
///
/// # Errors
/// The name holds a NUL.
pub fn describe(out: &mut BytesMut, kind: Kind, name: &[u8]) -> Result<(), Unencodable> {
    named(out, b'D', kind, name)
}

/// Appends a Close.
///
/// # Errors
/// The name holds a NUL.
pub fn close(out: &mut BytesMut, kind: Kind, name: &[u8]) -> Result<(), Unencodable> {
    named(out, b'C', kind, name)
}

fn named(out: &mut BytesMut, tag: u8, kind: Kind, name: &[u8]) -> Result<(), Unencodable> {
    framed(out, tag, |out| {
        out.put_u8(kind.code());
        put_cstr(out, name)
    })
}

/// Appends an Execute; `max_rows` 0 for all.
///
/// # Errors
/// The name holds a NUL.
pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: i32) -> Result<(), Unencodable> {
    framed(out, b'E', |out| {
        put_cstr(out, portal)?;
        out.put_i32(max_rows);
        Ok(())
    })
}

/// Appends a Flush.
pub fn flush(out: &mut BytesMut) {
    out.put_slice(b"H\0\0\0\x04");
}

/// Appends a Sync.
pub fn sync(out: &mut BytesMut) {
    out.put_slice(b"S\0\0\0\x04");
}

/// Appends a Terminate.
pub fn terminate(out: &mut BytesMut) {
    out.put_slice(b"X\0\0\0\x04");
}

/// Appends a CopyDone. The same in both directions.
pub fn copy_done(out: &mut BytesMut) {
    out.put_slice(b"c\0\0\0\x04");
}

/// Appends a CopyData. The same in both directions.
///
/// # Errors
/// It is too long.
pub fn copy_data(out: &mut BytesMut, data: &[u8]) -> Result<(), Unencodable> {
    framed(out, b'd', |out| {
        out.put_slice(data);
        Ok(())
    })
}

/// Appends a CopyFail.
///
/// # Errors
/// The text holds a NUL.
pub fn copy_fail(out: &mut BytesMut, why: &[u8]) -> Result<(), Unencodable> {
    framed(out, b'f', |out| put_cstr(out, why))
}

/// Appends a PasswordMessage. `out` then holds a secret.
///
/// # Errors
/// The password holds a NUL.
pub fn password(out: &mut BytesMut, password: &[u8]) -> Result<(), Unencodable> {
    framed(out, b'p', |out| put_cstr(out, password))
}

/// Appends a SASLInitialResponse.
///
/// # Errors
/// The mechanism's name holds a NUL.
pub fn sasl_initial_response(out: &mut BytesMut, mechanism: &[u8], response: &[u8]) -> Result<(), Unencodable> {
    framed(out, b'p', |out| {
        put_cstr(out, mechanism)?;
        put_cell(out, Some(response))
    })
}

/// Appends a SASLResponse.
///
/// # Errors
/// It is too long.
pub fn sasl_response(out: &mut BytesMut, response: &[u8]) -> Result<(), Unencodable> {
    framed(out, b'p', |out| {
        out.put_slice(response);
        Ok(())
    })
}

/// Appends an SSLRequest, which has no type.
pub fn ssl_request(out: &mut BytesMut) {
    out.put_slice(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
}

/// Appends a CancelRequest, which has no type. The key is 4 bytes in protocol 3.0, up to 256 in 3.2.
///
/// # Errors
/// The key is not that long.
pub fn cancel_request(out: &mut BytesMut, process_id: i32, secret: &[u8]) -> Result<(), Unencodable> {
    if !(4..=256).contains(&secret.len()) {
        return Err(Unencodable);
    }
    sized(out, |out| {
        out.put_slice(&[0x04, 0xd2, 0x16, 0x2e]);
        out.put_i32(process_id);
        out.put_slice(secret);
        Ok(())
    })
}

/// Appends a StartupMessage of protocol 3.0, which has no type, with these parameters in this order.
///
/// # Errors
/// A name is empty, a text holds a NUL, or the whole is longer than a server takes. `out` is as before.
pub fn startup(out: &mut BytesMut, parameters: &[(&[u8], &[u8])]) -> Result<(), Unencodable> {
    let start = out.len();
    let written = sized(out, |out| {
        out.put_i32(PROTOCOL_3_0);
        for (name, value) in parameters {
            if name.is_empty() {
                return Err(Unencodable);
            }
            put_cstr(out, name)?;
            put_cstr(out, value)?;
        }
        out.put_u8(0);
        Ok(())
    });
    let fits = out.len() - start <= crate::postgres::frame::MAX_STARTUP_BYTES + 4;
    let written = if fits { written } else { Err(Unencodable) };
    if written.is_err() {
        out.truncate(start);
    }
    written
}
