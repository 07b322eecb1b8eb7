//! What a caller asks for in its first message.

use std::collections::HashSet;

use super::super::{
    message::PROTOCOL_3_0,
    refusal::{Refusal, Sqlstate},
};
use crate::reader::{Malformed, Reader};

/// A setting of a startup packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, as the caller wrote it. PostgreSQL compares names of settings without regard to case.
    pub name: String,
    /// Its value, in whatever encoding.
    pub value: Vec<u8>,
}

impl Parameter {
    /// Whether it is the setting of that name.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// A StartupMessage that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Who wants to sign in; never empty.
    pub user: String,
    /// The connection asked for: `dbname` up to the first `/`, or the user's name as PostgreSQL does. It may not exist.
    pub connection: String,
    /// The database behind it: `dbname` after the first `/`; none for the connection's own.
    pub database: Option<String>,
    /// Everything else in the caller's order, each name once: `options`, `application_name`, `client_encoding` …
    pub parameters: Vec<Parameter>,
    /// Whether the caller wants a newer minor version of the protocol.
    pub newer_minor: bool,
    /// `_pq_.` options, none of which the gateway knows.
    pub unknown_options: Vec<Vec<u8>>,
}

impl Startup {
    /// Decodes a whole StartupMessage, from its length on.
    ///
    /// # Errors
    /// With the sentence the caller reads: another major version, not exactly names and values, a name twice, no user, text that is
    /// not UTF-8 in a name, user or database, a replication connection.
    pub fn decode(packet: &[u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(packet);
        let (_, version) = (reader.i32()?, reader.i32()?);
        if version >> 16 != 3 {
            return Err(unsupported(version));
        }
        let mut draft = Draft::default();
        for (name, value) in pairs(reader)? {
            draft.take(name, value)?;
        }
        draft.finish(version & 0xffff != 0)
    }

    /// The value of a setting, if it was sent.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters.iter().find(|parameter| parameter.is(name)).map(|parameter| parameter.value.as_slice())
    }

    /// Whether the caller must be told what the gateway does not speak.
    #[must_use]
    pub fn needs_negotiation(&self) -> bool {
        self.newer_minor || !self.unknown_options.is_empty()
    }

    /// Every setting the session begins with, in the order in which the server applies them (a later one wins): those inside
    /// `options`, then the others. They mean what SET would mean, so policy must see them.
    ///
    /// # Errors
    /// `options` holds a switch other than `-c name=value` and `--name=value`.
    pub fn settings(&self) -> Result<Vec<Parameter>, Malformed> {
        let mut settings = match self.parameter("options") {
            Some(options) => switches(options)?,
            None => Vec::new(),
        };
        settings.extend(self.parameters.iter().filter(|parameter| !parameter.is("options")).cloned());
        Ok(settings)
    }
}

fn unsupported(version: i32) -> Refusal {
    let (major, minor) = (version >> 16, version & 0xffff);
    let newest = PROTOCOL_3_0 >> 16;
    Refusal::new(Sqlstate::FEATURE_NOT_SUPPORTED, format!("unsupported frontend protocol {major}.{minor}: server supports {newest}.0 to {newest}.0"))
}

/// Name and value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The names and values up to the empty name, which must end the packet.
fn pairs(mut reader: Reader<'_>) -> Result<Vec<Pair<'_>>, Refusal> {
    let layout = |_| Refusal::new(Sqlstate::PROTOCOL_VIOLATION, "invalid startup packet layout: expected terminator as last byte");
    let mut pairs = Vec::new();
    loop {
        let name = reader.cstr().map_err(layout)?;
        if name.is_empty() {
            break;
        }
        pairs.push((name, reader.cstr().map_err(layout)?));
    }
    reader.finish().map_err(layout)?;
    Ok(pairs)
}

#[derive(Default)]
struct Draft {
    seen: HashSet<String>,
    user: Option<String>,
    database: Option<String>,
    parameters: Vec<Parameter>,
    unknown_options: Vec<Vec<u8>>,
}

impl Draft {
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let name = text(name)?;
        // PostgreSQL takes the last of two; a reader of the log would take the first.
        if !self.seen.insert(name.to_ascii_lowercase()) {
            return Err(Refusal::new(
                Sqlstate::PROTOCOL_VIOLATION,
                format!("startup parameter \"{}\" is given twice", model::name::printable(&name)),
            ));
        }
        match name.as_str() {
            "user" => self.user = Some(text(value)?),
            "database" => self.database = Some(text(value)?),
            _ if name.eq_ignore_ascii_case("replication") => return Err(replication()),
            _ if name.starts_with("_pq_.") => self.unknown_options.push(name.into_bytes()),
            _ => self.parameters.push(Parameter { name, value: value.to_vec() }),
        }
        Ok(())
    }

    fn finish(self, newer_minor: bool) -> Result<Startup, Refusal> {
        let user = self.user.filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| Refusal::new(Sqlstate::INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet"))?;
        let asked = self.database.filter(|database| !database.is_empty()).unwrap_or_else(|| user.clone());
        let (connection, database) = match asked.split_once('/') {
            Some((connection, database)) => (connection.to_owned(), Some(database.to_owned()).filter(|database| !database.is_empty())),
            None => (asked, None),
        };
        Ok(Startup { user, connection, database, parameters: self.parameters, newer_minor, unknown_options: self.unknown_options })
    }
}

fn replication() -> Refusal {
    Refusal::new(Sqlstate::FEATURE_NOT_SUPPORTED, "replication connections are not supported through this gateway")
}

fn text(bytes: &[u8]) -> Result<String, Refusal> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Refusal::new(Sqlstate::PROTOCOL_VIOLATION, "startup packet holds a name that is not UTF-8"))
}

/// The settings in `options`: split as PostgreSQL's `pg_split_opts` does, read as `process_postgres_switches` does.
fn switches(options: &[u8]) -> Result<Vec<Parameter>, Malformed> {
    let mut words = split(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix(b"-c").or_else(|| word.strip_prefix(b"--")) {
            Some(b"") if word == b"-c" => words.next().ok_or(Malformed("options end in a switch without a setting"))?,
            Some(rest) => rest.to_vec(),
            None => return Err(Malformed("options hold a switch that is not a setting")),
        };
        settings.push(assignment(&setting)?);
    }
    Ok(settings)
}

/// `name=value`; PostgreSQL reads a `-` in the name as `_`.
fn assignment(setting: &[u8]) -> Result<Parameter, Malformed> {
    let equals = memchr::memchr(b'=', setting).ok_or(Malformed("options hold a setting without a value"))?;
    let (name, value) = setting.split_at_checked(equals).ok_or(Malformed("options hold a setting without a value"))?;
    let name = std::str::from_utf8(name).map_err(|_| Malformed("options hold a name that is not UTF-8"))?;
    Ok(Parameter { name: name.replace('-', "_"), value: value.iter().skip(1).copied().collect() })
}

/// Words between white space; a backslash takes what follows it as it is.
fn split(options: &[u8]) -> Vec<Vec<u8>> {
    let space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let mut words = Vec::new();
    let mut bytes = options.iter().copied().peekable();
    loop {
        while bytes.next_if(|&byte| space(byte)).is_some() {}
        if bytes.peek().is_none() {
            return words;
        }
        let mut word = Vec::new();
        while let Some(byte) = bytes.next_if(|&byte| !space(byte)) {
            word.extend(if byte == b'\\' { bytes.next() } else { Some(byte) });
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::postgres::message::frontend;

    fn packet(parameters: &[(&str, &str)]) -> BytesMut {
        let mut out = BytesMut::new();
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        frontend::startup(&mut out, &parameters).unwrap();
        out
    }

    fn refused(packet: &[u8]) -> (String, String) {
        let refusal = Startup::decode(packet).unwrap_err();
        (refusal.sqlstate().to_string(), refusal.message().to_owned())
    }

    #[test]
    fn a_packet_becomes_typed_parameters_in_order() {
        let startup = Startup::decode(&packet(&[
            ("user", "alice"),
            ("application_name", "psql"),
            ("database", "prod-pg/shop/x"),
            ("options", "-c geqo=off"),
            ("client_encoding", "UTF8"),
        ]))
        .unwrap();
        assert_eq!((startup.user.as_str(), startup.connection.as_str(), startup.database.as_deref()), ("alice", "prod-pg", Some("shop/x")));
        let names: Vec<_> = startup.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names, ["application_name", "options", "client_encoding"]);
        assert_eq!(startup.parameter("Application_Name"), Some(&b"psql"[..]));
        assert!(!startup.needs_negotiation());
    }

    #[test]
    fn the_database_defaults_as_in_postgresql() {
        for (parameters, connection, database) in [
            (&[("user", "a")][..], "a", None),
            (&[("user", "a"), ("database", "")], "a", None),
            (&[("user", "a"), ("database", "c")], "c", None),
            (&[("user", "a"), ("database", "c/")], "c", None),
            (&[("user", "a"), ("database", "c/d")], "c", Some("d")),
            (&[("user", "a/b")], "a", Some("b")),
        ] {
            let startup = Startup::decode(&packet(parameters)).unwrap();
            assert_eq!((startup.connection.as_str(), startup.database.as_deref()), (connection, database), "{parameters:?}");
        }
    }

    #[test]
    fn a_name_given_twice_is_refused_whatever_its_case() {
        for name in ["user", "database", "options", "search_path", "_pq_.x"] {
            for again in [name.to_owned(), name.to_ascii_uppercase()] {
                let (sqlstate, message) = refused(&packet(&[(name, "a"), (&again, "b"), ("user", "c")]));
                assert_eq!((sqlstate.as_str(), message), ("08P01", format!("startup parameter \"{again}\" is given twice")));
            }
        }
    }

    #[test]
    fn each_other_refusal_has_its_code() {
        let mut v2 = packet(&[("user", "a")]);
        v2[5] = 2;
        assert_eq!(refused(&v2), ("0A000".to_owned(), "unsupported frontend protocol 2.0: server supports 3.0 to 3.0".to_owned()));
        assert_eq!(refused(&packet(&[("database", "d")])).0, "28000");
        assert_eq!(refused(&packet(&[("user", "")])).0, "28000");
        for value in ["true", "database", "false", ""] {
            assert_eq!(refused(&packet(&[("user", "a"), ("replication", value)])).0, "0A000");
        }
        let whole = packet(&[("user", "a")]);
        assert_eq!(refused(&whole[..whole.len() - 1]).1, "invalid startup packet layout: expected terminator as last byte");
        assert_eq!(refused(&[&whole[..], b"\0"].concat()).0, "08P01");
        assert_eq!(refused(b"\0\0\0\x11\0\x03\0\0user\0\xff\0\0").0, "08P01");
    }

    #[test]
    fn newer_minors_and_unknown_options_are_to_be_negotiated() {
        let mut newer = packet(&[("user", "a"), ("_pq_.fast", "1")]);
        newer[7] = 2;
        let startup = Startup::decode(&newer).unwrap();
        assert!(startup.newer_minor && startup.needs_negotiation() && startup.parameters.is_empty());
        assert_eq!(startup.unknown_options, [b"_pq_.fast".to_vec()]);
    }

    #[test]
    fn settings_are_read_as_the_server_applies_them() {
        let options = "-c search_path=a\\ b  --statement-timeout=5\t-cwork_mem=1\\\\";
        let startup = Startup::decode(&packet(&[("user", "a"), ("DateStyle", "ISO"), ("options", options), ("role", "r")])).unwrap();
        let settings: Vec<_> = startup.settings().unwrap().into_iter().map(|s| (s.name, String::from_utf8(s.value).unwrap())).collect();
        let expected = [("search_path", "a b"), ("statement_timeout", "5"), ("work_mem", "1\\"), ("DateStyle", "ISO"), ("role", "r")];
        assert_eq!(settings, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for unreadable in ["-e", "-c", "-c x", "--", "x", "-d 5"] {
            assert!(Startup::decode(&packet(&[("user", "a"), ("options", unreadable)])).unwrap().settings().is_err(), "{unreadable}");
        }
    }
}
