//! Where state and index are kept: in the data directory, or in a schema of a PostgreSQL database. Keys and recordings lie in the data directory always.

use std::{fmt, net::IpAddr, path::PathBuf};

use model::Secret;

/// Longest name PostgreSQL keeps whole, in bytes. <https://www.postgresql.org/docs/current/limits.html>
const MAX_NAME_BYTES: usize = 63;

/// Where state and index are kept.
#[derive(Debug, Clone, Default)]
pub enum Home {
    /// In two SQLite files of the data directory.
    #[default]
    Embedded,
    /// In a schema of a PostgreSQL database.
    Postgres(Postgres),
}

/// A schema of a PostgreSQL database, and how to get there.
#[derive(Debug, Clone)]
pub struct Postgres {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) schema: String,
    pub(crate) tls: Tls,
}

/// How the link to the server is protected. There is no mode that encrypts without checking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// TLS; the certificate must chain to a trusted root and name the host.
    VerifyFull {
        /// PEM file of roots to trust besides the public ones.
        ca: Option<PathBuf>,
        /// A client certificate, if the server asks for one.
        certificate: Option<ClientCertificate>,
    },
    /// No TLS: for a Unix socket or a loopback address only.
    LoopbackPlain,
}

/// A client certificate and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate chain.
    pub file: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why a store in PostgreSQL cannot be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HomeError {
    /// The schema's name would have to be quoted, or is too long.
    #[error("a schema is named in lower-case letters, digits and underscores, at most {MAX_NAME_BYTES}, and does not begin with a digit or `pg_`")]
    Schema,
    /// It is not on this machine.
    #[error("without TLS the password and the state would cross the network in clear: that is for this machine only")]
    Clear,
    /// A Unix socket with TLS.
    #[error("PostgreSQL has no TLS on a Unix socket: leave `tls` out")]
    Socket,
}

impl Postgres {
    /// A store in the schema `countersign`. TLS is checked in full, unless the host is a Unix socket's folder or a loopback address: there is none then.
    #[must_use]
    pub fn new(host: &str, port: u16, database: &str, user: &str) -> Self {
        let tls = if is_loopback(host) { Tls::LoopbackPlain } else { Tls::VerifyFull { ca: None, certificate: None } };
        let (host, database, user) = (host.to_owned(), database.to_owned(), user.to_owned());
        Self { host, port, database, user, password: None, schema: "countersign".to_owned(), tls }
    }

    /// In another database of the same server.
    #[cfg(test)]
    pub(crate) fn in_database(mut self, database: &str) -> Self {
        database.clone_into(&mut self.database);
        self
    }

    /// With the role's password.
    #[must_use]
    pub fn with_password(mut self, password: Secret) -> Self {
        self.password = Some(password);
        self
    }

    /// In another schema.
    ///
    /// # Errors
    /// The name would have to be quoted.
    pub fn with_schema(mut self, schema: &str) -> Result<Self, HomeError> {
        let letters = schema.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let begins = schema.starts_with(|first: char| !first.is_ascii_digit()) && !schema.starts_with("pg_");
        if !letters || !begins || schema.len() > MAX_NAME_BYTES {
            return Err(HomeError::Schema);
        }
        schema.clone_into(&mut self.schema);
        Ok(self)
    }

    /// With the link protected in another way.
    ///
    /// # Errors
    /// It would be in clear on a network, or TLS on a Unix socket.
    pub fn with_tls(mut self, tls: Tls) -> Result<Self, HomeError> {
        match tls {
            Tls::LoopbackPlain if !is_loopback(&self.host) => return Err(HomeError::Clear),
            Tls::VerifyFull { .. } if self.host.starts_with('/') => return Err(HomeError::Socket),
            Tls::LoopbackPlain | Tls::VerifyFull { .. } => {}
        }
        self.tls = tls;
        Ok(self)
    }
}

/// As errors and listings name it: never with the password.
impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL at {}:{}, database {}, schema {}", self.host, self.port, self.database, self.schema)
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("the data directory"),
            Self::Postgres(postgres) => postgres.fmt(f),
        }
    }
}

/// A Unix socket, a loopback address, or the name RFC 6761 reserves for them.
fn is_loopback(host: &str) -> bool {
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_11_the_link_is_checked_in_full_unless_it_stays_on_this_machine() {
        let at = |host: &str| Postgres::new(host, 5432, "countersign", "countersign");
        for host in ["127.0.0.1", "::1", "localhost", "/run/postgresql"] {
            assert_eq!(at(host).tls, Tls::LoopbackPlain, "{host}");
        }
        for host in ["db.internal", "10.0.0.7", "localhost.example"] {
            assert_eq!(at(host).tls, Tls::VerifyFull { ca: None, certificate: None }, "{host}");
            assert_eq!(at(host).with_tls(Tls::LoopbackPlain).unwrap_err(), HomeError::Clear, "{host}");
        }
        let checked = || Tls::VerifyFull { ca: None, certificate: None };
        assert!(at("127.0.0.1").with_tls(checked()).is_ok());
        assert_eq!(at("/run/postgresql").with_tls(checked()).unwrap_err(), HomeError::Socket);
    }

    #[test]
    fn a_schema_is_named_without_quotes() {
        let named = |schema: &str| Postgres::new("localhost", 1, "d", "u").with_schema(schema).is_ok();
        assert!(named("countersign") && named("_c2"));
        for schema in ["", "2c", "pg_c", "C", "a b", "a\"b", "a;b", &"c".repeat(64)] {
            assert!(!named(schema), "{schema}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let postgres = Postgres::new("db", 1, "d", "u").with_password(Secret::from("hunter2".to_owned()));
        assert!(!format!("{postgres} {postgres:?}").contains("hunter2"));
    }
}
