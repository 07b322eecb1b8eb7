//! Errors and notices in PostgreSQL's own form, so that every client shows them as it shows the server's.
//!
//! Texts are bounded and free of NULs here, whoever wrote them. They may hold names a caller chose; whoever puts such a
//! name in has made it [`model::name::printable`] first.

use std::fmt;

use bytes::BytesMut;

use super::{
    frame::FrameError,
    message::backend::{Report, report},
};
use crate::reader::Malformed;

/// The longest message, detail or hint; what is longer ends in `...`.
pub const MAX_TEXT_BYTES: usize = 8 << 10;

/// A five-letter code that programs act on: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sqlstate([u8; 5]);

impl Sqlstate {
    /// Nothing is wrong: the code of notices.
    pub const SUCCESSFUL_COMPLETION: Self = Self(*b"00000");
    /// The target cannot be reached, or does not let the gateway in.
    pub const UNABLE_TO_CONNECT: Self = Self(*b"08001");
    /// The link to the target broke.
    pub const CONNECTION_FAILURE: Self = Self(*b"08006");
    /// A message is not what the protocol says.
    pub const PROTOCOL_VIOLATION: Self = Self(*b"08P01");
    /// The gateway does not do this.
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    /// The transaction failed and can only be rolled back.
    pub const IN_FAILED_TRANSACTION: Self = Self(*b"25P02");
    /// There is no such prepared statement.
    pub const INVALID_STATEMENT_NAME: Self = Self(*b"26000");
    /// Nobody was named, or not in a way that is allowed.
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    /// Wrong name or secret.
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    /// There is no such portal.
    pub const INVALID_CURSOR_NAME: Self = Self(*b"34000");
    /// There is no such connection or database.
    pub const INVALID_CATALOG_NAME: Self = Self(*b"3D000");
    /// Policy does not permit it.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(*b"42501");
    /// The text is not SQL.
    pub const SYNTAX_ERROR: Self = Self(*b"42601");
    /// There is a portal of that name already.
    pub const DUPLICATE_CURSOR: Self = Self(*b"42P03");
    /// There is a prepared statement of that name already.
    pub const DUPLICATE_STATEMENT: Self = Self(*b"42P05");
    /// No room for another session.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// A limit of the gateway was passed.
    pub const LIMIT_EXCEEDED: Self = Self(*b"54000");
    /// Somebody cancelled it, or nobody signed.
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    /// The session was ended: revoked, killed, or the gateway stops.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// The gateway cannot serve now.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// The gateway could not write its record.
    pub const IO_ERROR: Self = Self(*b"58030");
    /// Anything else.
    pub const INTERNAL_ERROR: Self = Self(*b"XX000");

    /// The code, if it is one: five capital letters or digits.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        let bytes: [u8; 5] = code.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).then_some(Self(bytes))
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }
}

impl fmt::Display for Sqlstate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Sqlstate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the gateway does not do what a caller asked for, in the words the caller reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    sqlstate: Sqlstate,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<u32>,
}

impl Refusal {
    /// One sentence, in PostgreSQL's manner: no capital, no full stop.
    #[must_use]
    pub fn new(sqlstate: Sqlstate, message: impl Into<String>) -> Self {
        Self { sqlstate, message: bounded(message.into()), detail: None, hint: None, position: None }
    }

    /// With whole sentences that say more.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(bounded(detail.into()));
        self
    }

    /// With whole sentences that say what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(bounded(hint.into()));
        self
    }

    /// With the place in the statement, in characters from 1; 0 is none.
    #[must_use]
    pub fn position(mut self, position: u32) -> Self {
        self.position = (position > 0).then_some(position);
        self
    }

    /// The one answer to an unknown name and to a wrong secret alike: PostgreSQL's own.
    #[must_use]
    pub fn wrong_password(user: &str) -> Self {
        Self::new(Sqlstate::INVALID_PASSWORD, format!("password authentication failed for user \"{}\"", model::name::printable(user)))
    }

    /// What programs act on.
    #[must_use]
    pub const fn sqlstate(&self) -> Sqlstate {
        self.sqlstate
    }

    /// What people read first.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Appends it as an ErrorResponse of severity ERROR: the session goes on.
    pub fn error(&self, out: &mut BytesMut) {
        self.write(out, b'E', "ERROR");
    }

    /// Appends it as an ErrorResponse of severity FATAL: the session ends.
    pub fn fatal(&self, out: &mut BytesMut) {
        self.write(out, b'E', "FATAL");
    }

    fn write(&self, out: &mut BytesMut, tag: u8, severity: &str) {
        let position = self.position.map(|position| position.to_string());
        let optional = [(b'D', self.detail.as_deref()), (b'H', self.hint.as_deref()), (b'P', position.as_deref())];
        let mut fields: Vec<(u8, &[u8])> =
            vec![(b'S', severity.as_bytes()), (b'V', severity.as_bytes()), (b'C', &self.sqlstate.0), (b'M', self.message.as_bytes())];
        fields.extend(optional.into_iter().filter_map(|(code, text)| Some((code, text?.as_bytes()))));
        // INVARIANT: every text went through `bounded`, so it holds no NUL and cannot be refused.
        let written = report(out, tag, &fields);
        debug_assert_eq!(written, Ok(()));
    }
}

/// Appends a NoticeResponse of severity NOTICE: a sentence, and more of them where they help.
pub fn notice(out: &mut BytesMut, message: impl Into<String>, detail: Option<String>, hint: Option<String>) {
    let mut said = Refusal::new(Sqlstate::SUCCESSFUL_COMPLETION, message);
    said.detail = detail.map(bounded);
    said.hint = hint.map(bounded);
    said.write(out, b'N', "NOTICE");
}

impl From<Malformed> for Refusal {
    fn from(error: Malformed) -> Self {
        Self::new(Sqlstate::PROTOCOL_VIOLATION, "invalid message format").detail(format!("The message is {}.", error.0))
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::UnknownTag { tag } => Self::new(Sqlstate::PROTOCOL_VIOLATION, format!("invalid frontend message type {tag}")),
            FrameError::Length { .. } => Self::new(Sqlstate::PROTOCOL_VIOLATION, "invalid message length"),
            FrameError::TooLarge { tag, length, limit_bytes } => too_large(tag, length, limit_bytes),
        }
    }
}

fn too_large(tag: u8, length: usize, limit_bytes: usize) -> Refusal {
    let setting = if matches!(tag, b'B' | b'F') { "max_bind_bytes" } else { "max_statement_bytes" };
    Refusal::new(Sqlstate::LIMIT_EXCEEDED, format!("a message of {length} bytes is above the gateway's limit of {limit_bytes}"))
        .hint(format!("Send less at once, or ask an administrator to raise {setting}."))
}

/// The text without NULs, cut where it is too long, and then visibly so.
fn bounded(mut text: String) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES - 3));
        text.push_str("...");
    }
    text
}

/// What stands in place of a text that may tell of data.
pub const GENERIC_MESSAGE: &str = "the text is withheld: this session has touched classified data";

/// Appends the ErrorResponse (`tag` `E`) or NoticeResponse (`N`) with everything taken out that could tell of data: what
/// stays is the severity, the SQLSTATE if it is a listed one (else `XX000`; `00000` for a notice), and a sentence that depends on nothing else.
///
/// A message quotes values (`invalid input syntax for type integer: "…"`), a detail whole keys, and code in the target can put
/// anything into any field, the SQLSTATE included; from a short list it can tell no more than which of them.
///
/// # Errors
/// The body is malformed; nothing was written.
pub fn generic_error(tag: u8, body: &[u8], out: &mut BytesMut) -> Result<(), Malformed> {
    let original = Report::decode(body)?;
    let notice = tag == b'N';
    let severity = original.severity().and_then(known_severity).unwrap_or(if notice { "NOTICE" } else { "ERROR" });
    let (code, condition) = match original.sqlstate().and_then(listed) {
        Some(found) if !notice => found,
        _ if notice => ("00000", "notice"),
        _ => ("XX000", "error"),
    };
    let sentence = format!("{condition} ({GENERIC_MESSAGE})");
    let fields: [(u8, &[u8]); 4] = [(b'S', severity.as_bytes()), (b'V', severity.as_bytes()), (b'C', code.as_bytes()), (b'M', sentence.as_bytes())];
    report(out, if notice { b'N' } else { b'E' }, &fields).map_err(|_| Malformed("not writable"))
}

fn known_severity(severity: &[u8]) -> Option<&'static str> {
    const KNOWN: [&str; 8] = ["ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "DEBUG", "INFO", "LOG"];
    KNOWN.into_iter().find(|known| known.as_bytes() == severity)
}

fn listed(sqlstate: &str) -> Option<(&'static str, &'static str)> {
    LISTED.iter().copied().find(|(code, _)| *code == sqlstate)
}

/// The codes that programs act on, with PostgreSQL's names of the conditions.
const LISTED: &[(&str, &str)] = &[
    ("0A000", "feature not supported"),
    ("21000", "cardinality violation"),
    ("22001", "string data right truncation"),
    ("22003", "numeric value out of range"),
    ("22007", "invalid datetime format"),
    ("22012", "division by zero"),
    ("22P02", "invalid text representation"),
    ("23502", "not null violation"),
    ("23503", "foreign key violation"),
    ("23505", "unique violation"),
    ("23514", "check violation"),
    ("23P01", "exclusion violation"),
    ("25001", "active sql transaction"),
    ("25006", "read only sql transaction"),
    ("25P01", "no active sql transaction"),
    ("25P02", "current transaction is aborted, commands ignored until end of transaction block"),
    ("26000", "invalid sql statement name"),
    ("2BP01", "dependent objects still exist"),
    ("34000", "invalid cursor name"),
    ("3F000", "invalid schema name"),
    ("40001", "serialization failure"),
    ("40P01", "deadlock detected"),
    ("42501", "insufficient privilege"),
    ("42601", "syntax error"),
    ("42701", "duplicate column"),
    ("42702", "ambiguous column"),
    ("42703", "undefined column"),
    ("42704", "undefined object"),
    ("42710", "duplicate object"),
    ("42723", "duplicate function"),
    ("42803", "grouping error"),
    ("42804", "datatype mismatch"),
    ("42809", "wrong object type"),
    ("42830", "invalid foreign key"),
    ("42883", "undefined function"),
    ("42P01", "undefined table"),
    ("42P05", "duplicate prepared statement"),
    ("42P06", "duplicate schema"),
    ("42P07", "duplicate table"),
    ("42P10", "invalid column reference"),
    ("42P16", "invalid table definition"),
    ("42P17", "invalid object definition"),
    ("42P18", "indeterminate datatype"),
    ("53300", "too many connections"),
    ("55P03", "lock not available"),
    ("57014", "query canceled"),
    ("57P01", "terminating connection due to administrator command"),
    ("57P02", "crash shutdown"),
    ("57P03", "cannot connect now"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn said(out: &[u8]) -> Vec<(u8, String)> {
        Report::decode(&out[5..]).unwrap().iter().map(|(code, text)| (code, String::from_utf8(text.to_vec()).unwrap())).collect()
    }

    #[test]
    fn a_refusal_is_an_error_response_byte_for_byte() {
        let mut out = BytesMut::new();
        Refusal::new(Sqlstate::INSUFFICIENT_PRIVILEGE, "no").detail("D.").hint("H.").position(7).error(&mut out);
        assert_eq!(&out[..], b"E\0\0\0\x29SERROR\0VERROR\0C42501\0Mno\0DD.\0HH.\0P7\0\0");
        out.clear();
        Refusal::new(Sqlstate::ADMIN_SHUTDOWN, "gone").position(0).fatal(&mut out);
        assert_eq!(&out[..], b"E\0\0\0\x20SFATAL\0VFATAL\0C57P01\0Mgone\0\0");
        out.clear();
        notice(&mut out, "held", Some("by a policy".to_owned()), None);
        assert_eq!(&out[..], b"N\0\0\0\x2fSNOTICE\0VNOTICE\0C00000\0Mheld\0Dby a policy\0\0");
    }

    #[test]
    fn texts_are_bounded_and_cannot_end_a_field_early() {
        let mut out = BytesMut::new();
        Refusal::new(Sqlstate::INTERNAL_ERROR, "a\0SPANIC").detail("é".repeat(MAX_TEXT_BYTES)).error(&mut out);
        let fields = said(&out);
        assert_eq!(fields[3], (b'M', "a\u{fffd}SPANIC".to_owned()));
        assert!(fields[4].1.len() <= MAX_TEXT_BYTES && fields[4].1.ends_with("é..."));
    }

    /// In PostgreSQL's words; whether the name exists is not known here.
    #[test]
    fn a_wrong_password_is_told_as_postgresql_does() {
        let mut out = BytesMut::new();
        Refusal::wrong_password("alice").fatal(&mut out);
        assert_eq!(said(&out)[2..], [(b'C', "28P01".to_owned()), (b'M', "password authentication failed for user \"alice\"".to_owned())]);
    }

    #[test]
    fn a_generic_error_tells_nothing_of_data() {
        let mut original = BytesMut::new();
        let fields: [(u8, &[u8]); 14] = [
            (b'S', b"FEHLER"),
            (b'V', b"ERROR"),
            (b'C', b"23505"),
            (b'M', b"key 4111-1111 exists"),
            (b'D', b"4111"),
            (b'H', b"4111"),
            (b'P', b"4111"),
            (b'p', b"4111"),
            (b'q', b"4111"),
            (b'W', b"4111"),
            (b's', b"4111"),
            (b't', b"4111"),
            (b'n', b"4111"),
            (b'R', b"4111"),
        ];
        report(&mut original, b'E', &fields).unwrap();
        let mut out = BytesMut::new();
        generic_error(b'E', &original[5..], &mut out).unwrap();
        let sentence = "unique violation (the text is withheld: this session has touched classified data)";
        let expected = [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', "23505"), (b'M', sentence)];
        assert_eq!(said(&out), expected.map(|(code, text)| (code, text.to_owned())));
    }

    #[test]
    fn a_generic_error_keeps_only_known_severities_and_listed_codes() {
        for (tag, severity, sqlstate, kept) in [
            (b'E', "FATAL", "57P01", ["FATAL", "57P01"]),
            (b'E', "4111", "Z4111", ["ERROR", "XX000"]),
            (b'N', "WARNING", "41111", ["WARNING", "00000"]),
            (b'N', "4111", "40001", ["NOTICE", "00000"]),
        ] {
            let mut original = BytesMut::new();
            report(&mut original, tag, &[(b'V', severity.as_bytes()), (b'C', sqlstate.as_bytes()), (b'M', b"4111")]).unwrap();
            let mut out = BytesMut::new();
            generic_error(tag, &original[5..], &mut out).unwrap();
            assert_eq!(out[0], tag);
            let fields = said(&out);
            assert_eq!([&fields[1].1, &fields[2].1], kept);
            assert!(fields.iter().all(|(_, text)| !text.contains("4111")));
        }
        assert!(generic_error(b'E', b"Mtext", &mut BytesMut::new()).is_err());
    }

    #[test]
    fn each_frame_error_reads_as_postgresql_says_it() {
        let sentence = |error: FrameError| Refusal::from(error).message().to_owned();
        assert_eq!(sentence(FrameError::UnknownTag { tag: 1 }), "invalid frontend message type 1");
        assert_eq!(sentence(FrameError::Length { tag: b'S', length: 5 }), "invalid message length");
        let large = Refusal::from(FrameError::TooLarge { tag: b'B', length: 9, limit_bytes: 8 });
        assert_eq!(
            (large.sqlstate(), large.hint.as_deref()),
            (Sqlstate::LIMIT_EXCEEDED, Some("Send less at once, or ask an administrator to raise max_bind_bytes."))
        );
        assert_eq!(Refusal::from(Malformed("longer than its contents")).sqlstate(), Sqlstate::PROTOCOL_VIOLATION);
    }

    #[test]
    fn a_sqlstate_has_five_capitals_or_digits() {
        assert_eq!(Sqlstate::new("42P01").unwrap().as_str(), "42P01");
        for bad in ["", "4250", "425011", "42p01", "42\u{e9}1"] {
            assert!(Sqlstate::new(bad).is_none());
        }
    }
}
