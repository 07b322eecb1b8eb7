//! Named targets.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{ConnectionName, DataClassName, EnvironmentName, GroupName};

/// A named target, as written in `connections/NAME.toml` and checked when it was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its name: the file's name without `.toml`.
    pub name: ConnectionName,
    /// What it speaks.
    pub protocol: Protocol,
    /// Host name or address of the target; an absolute path is the folder of its Unix socket.
    pub host: String,
    /// Port of the target.
    pub port: u16,
    /// The database a caller reaches who names none.
    pub database: String,
    /// Databases a caller may name; empty allows any.
    pub databases: Vec<String>,
    /// The environment it belongs to.
    pub environment: EnvironmentName,
    /// Free labels, for policies (`resource.tags`) and listings.
    pub tags: Vec<String>,
    /// What people read about it.
    pub description: Option<String>,
    /// The role the gateway signs in as for callers.
    pub login: TargetLogin,
    /// The role the gateway reads the catalog as; the callers' role if none is given.
    pub catalog_login: Option<TargetLogin>,
    /// How the link to the target is protected.
    pub tls: TargetTls,
    /// How much a recording holds.
    pub record: RecordLevel,
    /// What is looked for in values that hold nothing classified: names of detectors, which are those of data classes.
    pub detect: Vec<DataClassName>,
    /// Roles that grants may add a caller to, by name of the role, each the group it stands for.
    pub roles: BTreeMap<String, GroupName>,
}

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// PostgreSQL, wire protocol 3.
    Postgres,
}

/// How the gateway signs in at a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetLogin {
    /// The role's name at the target.
    pub user: String,
    /// Where its password is, if it has one.
    pub password: Option<SecretSource>,
    /// A client certificate, if the target asks for one.
    pub certificate: Option<ClientCertificate>,
}

/// A client certificate and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Where the private key is.
    pub key: SecretSource,
}

/// Where a secret of a target is kept. Only the place is written in files, never the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// An environment variable of the `serve` process.
    Env(String),
    /// A file; a line feed at its end is not part of the secret.
    File(PathBuf),
    /// The encrypted store, by the name given to `countersign secret set`.
    Store(String),
}

/// How the link to a target is protected. There is no mode that encrypts without checking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetTls {
    /// TLS; the certificate must chain to a trusted root and name the host. The default.
    VerifyFull {
        /// PEM file of the roots; the system's if none is given.
        ca: Option<PathBuf>,
        /// The name the certificate must carry, if not `host`.
        server_name: Option<String>,
    },
    /// No TLS: allowed for a Unix socket or a loopback address only.
    LoopbackPlain,
}

/// How much a recording holds of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordLevel {
    /// Every statement with its parameters, decision and outcome.
    #[default]
    Statements,
    /// Also the rows, as the caller saw them: after masking.
    Full,
}
