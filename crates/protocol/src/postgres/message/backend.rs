//! The messages a target sends, and the gateway to a caller. Rows and their description are in [`crate::postgres::rows`].

use bytes::{BufMut, BytesMut};

use super::{Format, Formats, Oids, PROTOCOL_3_0, Unencodable, framed, nothing, put_count, put_cstr};
use crate::reader::{Malformed, Reader};

/// `R`: what a target asks for before it lets somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Nothing more.
    Ok,
    /// The password as it is.
    CleartextPassword,
    /// The password hashed with MD5 and this salt.
    Md5Password {
        /// Random bytes.
        salt: [u8; 4],
    },
    /// A SASL exchange by one of these mechanisms.
    Sasl(Mechanisms<'a>),
    /// The next message of the exchange.
    SaslContinue(&'a [u8]),
    /// The last message of the exchange.
    SaslFinal(&'a [u8]),
    /// Kerberos, GSSAPI, SSPI or something newer, by its code.
    Other(i32),
}

impl<'a> Authentication<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let code = reader.i32()?;
        let asked = match code {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => Self::Md5Password { salt: [reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?] },
            10 => Self::Sasl(Mechanisms::read(&mut reader)?),
            11 => Self::SaslContinue(reader.bytes()),
            12 => Self::SaslFinal(reader.bytes()),
            _ => return Ok(Self::Other(code)),
        };
        reader.finish()?;
        Ok(asked)
    }
}

/// Names of SASL mechanisms, in the server's order of preference.
///
/// INVARIANT: `names` is a sequence of strings, each with its terminator, none empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms<'a> {
    names: &'a [u8],
}

impl<'a> Mechanisms<'a> {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.names);
        std::iter::from_fn(move || reader.cstr().ok())
    }

    /// Whether the server offers it.
    #[must_use]
    pub fn offers(&self, mechanism: &str) -> bool {
        self.iter().any(|name| name == mechanism.as_bytes())
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let start = reader.peek();
        while !reader.cstr()?.is_empty() {}
        let len = start.len() - reader.peek().len() - 1;
        Ok(Self { names: start.get(..len).unwrap_or_default() })
    }
}

/// `K`: what a CancelRequest must carry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// The server process.
    pub process_id: i32,
    /// 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub secret: &'a [u8],
}

impl std::fmt::Debug for BackendKeyData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendKeyData").field("process_id", &self.process_id).finish_non_exhaustive()
    }
}

impl<'a> BackendKeyData<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// The secret is shorter than 4 or longer than 256 bytes.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let key = Self { process_id: reader.i32()?, secret: reader.bytes() };
        if (4..=256).contains(&key.secret.len()) { Ok(key) } else { Err(Malformed("a cancel key has 4 to 256 bytes")) }
    }
}

/// `S`: the value of a setting clients want to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// The setting.
    pub name: &'a [u8],
    /// Its value now.
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is not exactly two strings.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let status = Self { name: reader.cstr()?, value: reader.cstr()? };
        reader.finish()?;
        Ok(status)
    }
}

/// Where a session stands in its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// In none: `I`.
    Idle,
    /// In an open one: `T`.
    Open,
    /// In one that failed and can only be rolled back: `E`.
    Failed,
}

impl Transaction {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Open => b'T',
            Self::Failed => b'E',
        }
    }

    /// Decodes the body of a ReadyForQuery.
    ///
    /// # Errors
    /// It is not one of the three bytes.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        match body {
            b"I" => Ok(Self::Idle),
            b"T" => Ok(Self::Open),
            b"E" => Ok(Self::Failed),
            _ => Err(Malformed("no such transaction status")),
        }
    }
}

/// `C`: a statement is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// What was done: `SELECT 3`, `INSERT 0 1`, `CREATE TABLE`.
    pub tag: &'a [u8],
}

impl<'a> CommandComplete<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is not exactly one string.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        super::one_string(body).map(|tag| Self { tag })
    }

    /// How many rows were returned or changed, if the tag says: what libpq's `PQcmdTuples` gives.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        let mut words = self.tag.split(|&byte| byte == b' ');
        let counted = matches!(words.next()?, b"SELECT" | b"INSERT" | b"UPDATE" | b"DELETE" | b"MERGE" | b"FETCH" | b"MOVE" | b"COPY");
        let last = words.next_back()?;
        if counted { std::str::from_utf8(last).ok()?.parse().ok() } else { None }
    }
}

/// `E` and `N`: what an error or a notice says, field by field.
/// Codes: <https://www.postgresql.org/docs/current/protocol-error-fields.html>.
///
/// INVARIANT: `fields` is a sequence of a code and a string with its terminator each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    fields: &'a [u8],
}

impl<'a> Report<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// A field has no terminator, or the list has none.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        while reader.u8()? != 0 {
            reader.cstr()?;
        }
        reader.finish()?;
        Ok(Self { fields: body.get(..body.len() - 1).unwrap_or_default() })
    }

    /// Code and text of each field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.fields);
        std::iter::from_fn(move || Some((reader.u8().ok()?, reader.cstr().ok()?)))
    }

    /// The first field with that code.
    #[must_use]
    pub fn field(&self, code: u8) -> Option<&'a [u8]> {
        self.iter().find(|&(found, _)| found == code).map(|(_, text)| text)
    }

    /// `ERROR`, `FATAL`, `NOTICE` …, never translated (field `V`); from servers before 9.6, as they say it.
    #[must_use]
    pub fn severity(&self) -> Option<&'a [u8]> {
        self.field(b'V').or_else(|| self.field(b'S'))
    }

    /// The SQLSTATE, if it is one: five capital letters or digits.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&'a str> {
        let code = self.field(b'C').filter(|code| code.len() == 5 && code.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()))?;
        std::str::from_utf8(code).ok()
    }

    /// The sentence itself.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        self.field(b'M').unwrap_or_default()
    }
}

/// Numbers that 16 bits can count.
const COUNTED: usize = 1 << 16;

/// `t`: the types of a prepared statement's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterDescription<'a> {
    /// In order.
    pub types: Oids<'a>,
}

impl<'a> ParameterDescription<'a> {
    /// Decodes a body. A statement may have more parameters than 16 bits can count: PostgreSQL sends them all, and the rest of their number.
    ///
    /// # Errors
    /// It is shorter or longer than its contents.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let count = reader.u16()?;
        let types = Oids::rest(&mut reader)?;
        let is_right = types.len() % COUNTED == usize::from(count);
        is_right.then_some(Self { types }).ok_or(Malformed("as many types as were counted are needed"))
    }
}

/// `G`, `H` and `W`: a COPY begins; the type says in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyResponse<'a> {
    /// The form of the whole stream.
    pub format: Format,
    /// The form of each column.
    pub columns: Formats<'a>,
}

impl<'a> CopyResponse<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let copy = Self { format: Format::from(i16::from(reader.u8()?)), columns: Formats::read(&mut reader)? };
        reader.finish()?;
        Ok(copy)
    }
}

/// `A`: somebody said NOTIFY on a channel the session listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationResponse<'a> {
    /// The server process of whoever said it.
    pub process_id: i32,
    /// The channel.
    pub channel: &'a [u8],
    /// What was said; may be empty.
    pub payload: &'a [u8],
}

impl<'a> NotificationResponse<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let notification = Self { process_id: reader.i32()?, channel: reader.cstr()?, payload: reader.cstr()? };
        reader.finish()?;
        Ok(notification)
    }
}

/// `v`: the server speaks an older protocol than was asked for, or does not know these options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// The newest version it speaks, `major << 16 | minor`, as PostgreSQL sends it.
    pub newest: i32,
    /// The `_pq_.` options it does not know.
    pub unknown: Vec<&'a [u8]>,
}

impl<'a> NegotiateProtocolVersion<'a> {
    /// Decodes a body.
    ///
    /// # Errors
    /// It is shorter or longer than its contents.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let newest = reader.i32()?;
        let count = u32::try_from(reader.i32()?).map_err(|_| Malformed("a negative count"))?;
        let mut unknown = Vec::new();
        for _ in 0..count {
            unknown.push(reader.cstr()?);
        }
        reader.finish()?;
        Ok(Self { newest, unknown })
    }
}

/// Any message a target may send once the gateway is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend<'a> {
    /// `R`.
    Authentication(Authentication<'a>),
    /// `K`.
    BackendKeyData(BackendKeyData<'a>),
    /// `v`.
    NegotiateProtocolVersion(NegotiateProtocolVersion<'a>),
    /// `S`.
    ParameterStatus(ParameterStatus<'a>),
    /// `Z`: the answer is complete.
    ReadyForQuery(Transaction),
    /// `1`.
    ParseComplete,
    /// `2`.
    BindComplete,
    /// `3`.
    CloseComplete,
    /// `t`.
    ParameterDescription(ParameterDescription<'a>),
    /// `T`; read the body with [`crate::postgres::rows::RowDescription::decode`].
    RowDescription(&'a [u8]),
    /// `n`: there will be no rows.
    NoData,
    /// `D`; read the body with [`crate::postgres::rows::row`].
    DataRow(&'a [u8]),
    /// `s`: Execute stopped at its row limit.
    PortalSuspended,
    /// `C`.
    CommandComplete(CommandComplete<'a>),
    /// `I`: the text held no statement.
    EmptyQueryResponse,
    /// `E`.
    ErrorResponse(Report<'a>),
    /// `N`.
    NoticeResponse(Report<'a>),
    /// `A`.
    NotificationResponse(NotificationResponse<'a>),
    /// `G`: the caller is to send data.
    CopyInResponse(CopyResponse<'a>),
    /// `H`: data follows.
    CopyOutResponse(CopyResponse<'a>),
    /// `W`: both, in replication.
    CopyBothResponse(CopyResponse<'a>),
    /// `d`.
    CopyData(&'a [u8]),
    /// `c`.
    CopyDone,
    /// `V`: length and value of a FunctionCall's result.
    FunctionCallResponse(Option<&'a [u8]>),
}

impl<'a> Backend<'a> {
    /// Decodes the body of a message of type `tag`.
    ///
    /// # Errors
    /// The type is no target's, or the body is not exactly what the type says.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        Ok(match tag {
            b'R' => Self::Authentication(Authentication::decode(body)?),
            b'K' => Self::BackendKeyData(BackendKeyData::decode(body)?),
            b'v' => Self::NegotiateProtocolVersion(NegotiateProtocolVersion::decode(body)?),
            b'S' => Self::ParameterStatus(ParameterStatus::decode(body)?),
            b'Z' => Self::ReadyForQuery(Transaction::decode(body)?),
            b'1' => nothing(body).map(|()| Self::ParseComplete)?,
            b'2' => nothing(body).map(|()| Self::BindComplete)?,
            b'3' => nothing(body).map(|()| Self::CloseComplete)?,
            b't' => Self::ParameterDescription(ParameterDescription::decode(body)?),
            b'T' => Self::RowDescription(body),
            b'n' => nothing(body).map(|()| Self::NoData)?,
            b'D' => Self::DataRow(body),
            b's' => nothing(body).map(|()| Self::PortalSuspended)?,
            b'C' => Self::CommandComplete(CommandComplete::decode(body)?),
            b'I' => nothing(body).map(|()| Self::EmptyQueryResponse)?,
            b'E' => Self::ErrorResponse(Report::decode(body)?),
            b'N' => Self::NoticeResponse(Report::decode(body)?),
            b'A' => Self::NotificationResponse(NotificationResponse::decode(body)?),
            b'G' => Self::CopyInResponse(CopyResponse::decode(body)?),
            b'H' => Self::CopyOutResponse(CopyResponse::decode(body)?),
            b'W' => Self::CopyBothResponse(CopyResponse::decode(body)?),
            b'd' => Self::CopyData(body),
            b'c' => nothing(body).map(|()| Self::CopyDone)?,
            b'V' => Self::FunctionCallResponse(function_result(body)?),
            _ => return Err(Malformed("no such message of a target")),
        })
    }
}

fn function_result(body: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut reader = Reader::new(body);
    let value = super::cell(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// Appends AuthenticationOk.
pub fn authentication_ok(out: &mut BytesMut) {
    out.put_slice(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0]);
}

/// Appends AuthenticationCleartextPassword.
pub fn authentication_cleartext_password(out: &mut BytesMut) {
    out.put_slice(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]);
}

/// Appends AuthenticationMD5Password.
pub fn authentication_md5_password(out: &mut BytesMut, salt: [u8; 4]) {
    out.put_slice(&[b'R', 0, 0, 0, 12, 0, 0, 0, 5]);
    out.put_slice(&salt);
}

/// Appends AuthenticationSASL.
///
/// # Errors
/// A name is empty or holds a NUL.
pub fn authentication_sasl(out: &mut BytesMut, mechanisms: &[&str]) -> Result<(), Unencodable> {
    framed(out, b'R', |out| {
        out.put_i32(10);
        for mechanism in mechanisms {
            if mechanism.is_empty() {
                return Err(Unencodable);
            }
            put_cstr(out, mechanism.as_bytes())?;
        }
        out.put_u8(0);
        Ok(())
    })
}

/// Appends AuthenticationSASLContinue.
///
/// # Errors
/// It is too long.
pub fn authentication_sasl_continue(out: &mut BytesMut, data: &[u8]) -> Result<(), Unencodable> {
    sasl(out, 11, data)
}

/// Appends AuthenticationSASLFinal.
///
/// # Errors
/// It is too long.
pub fn authentication_sasl_final(out: &mut BytesMut, data: &[u8]) -> Result<(), Unencodable> {
    sasl(out, 12, data)
}

fn sasl(out: &mut BytesMut, code: i32, data: &[u8]) -> Result<(), Unencodable> {
    framed(out, b'R', |out| {
        out.put_i32(code);
        out.put_slice(data);
        Ok(())
    })
}

/// Appends a NegotiateProtocolVersion: the gateway speaks 3.0 and none of these options.
///
/// # Errors
/// A name holds a NUL.
pub fn negotiate_protocol_version(out: &mut BytesMut, unknown: &[&[u8]]) -> Result<(), Unencodable> {
    framed(out, b'v', |out| {
        out.put_i32(PROTOCOL_3_0);
        out.put_i32(i32::try_from(unknown.len()).map_err(|_| Unencodable)?);
        unknown.iter().try_for_each(|name| put_cstr(out, name))
    })
}

/// Appends a BackendKeyData.
///
/// # Errors
/// The secret is shorter than 4 or longer than 256 bytes.
pub fn backend_key_data(out: &mut BytesMut, process_id: i32, secret: &[u8]) -> Result<(), Unencodable> {
    if !(4..=256).contains(&secret.len()) {
        return Err(Unencodable);
    }
    framed(out, b'K', |out| {
        out.put_i32(process_id);
        out.put_slice(secret);
        Ok(())
    })
}

/// Appends a ParameterStatus.
///
/// # Errors
/// A text holds a NUL.
pub fn parameter_status(out: &mut BytesMut, name: &[u8], value: &[u8]) -> Result<(), Unencodable> {
    framed(out, b'S', |out| {
        put_cstr(out, name)?;
        put_cstr(out, value)
    })
}

/// Appends a ReadyForQuery.
pub fn ready_for_query(out: &mut BytesMut, transaction: Transaction) {
    out.put_slice(&[b'Z', 0, 0, 0, 5, transaction.code()]);
}

/// Appends a CommandComplete.
///
/// # Errors
/// The tag holds a NUL.
pub fn command_complete(out: &mut BytesMut, tag: &[u8]) -> Result<(), Unencodable> {
    framed(out, b'C', |out| put_cstr(out, tag))
}

/// Appends a ParseComplete.
pub fn parse_complete(out: &mut BytesMut) {
    out.put_slice(b"1\0\0\0\x04");
}

/// Appends a BindComplete.
pub fn bind_complete(out: &mut BytesMut) {
    out.put_slice(b"2\0\0\0\x04");
}

/// Appends a CloseComplete.
pub fn close_complete(out: &mut BytesMut) {
    out.put_slice(b"3\0\0\0\x04");
}

/// Appends a NoData.
pub fn no_data(out: &mut BytesMut) {
    out.put_slice(b"n\0\0\0\x04");
}

/// Appends an EmptyQueryResponse.
pub fn empty_query_response(out: &mut BytesMut) {
    out.put_slice(b"I\0\0\0\x04");
}

/// Appends a PortalSuspended.
pub fn portal_suspended(out: &mut BytesMut) {
    out.put_slice(b"s\0\0\0\x04");
}

/// Appends a ParameterDescription.
///
/// # Errors
/// More than 65,535 types.
pub fn parameter_description(out: &mut BytesMut, types: &[u32]) -> Result<(), Unencodable> {
    framed(out, b't', |out| {
        put_count(out, types.len() % COUNTED)?;
        types.iter().for_each(|&oid| out.put_u32(oid));
        Ok(())
    })
}

/// Appends an ErrorResponse (`E`) or NoticeResponse (`N`) with these fields in this order. For sentences of the gateway's
/// own, use [`crate::postgres::refusal`].
///
/// # Errors
/// A code is 0, or a text holds a NUL.
pub fn report(out: &mut BytesMut, tag: u8, fields: &[(u8, &[u8])]) -> Result<(), Unencodable> {
    framed(out, tag, |out| {
        for &(code, text) in fields {
            if code == 0 {
                return Err(Unencodable);
            }
            out.put_u8(code);
            put_cstr(out, text)?;
        }
        out.put_u8(0);
        Ok(())
    })
}
