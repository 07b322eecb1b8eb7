//! Named targets.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ConnectionName, DataClassName, EnvironmentName, GroupName, name::printable};

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
    /// The role the gateway signs in as for callers. Where each session gets credentials of its own, the role they act as: nobody signs in as it.
    pub login: TargetLogin,
    /// How each session gets credentials of its own, if it does.
    pub jit: Option<JustInTime>,
    /// What a machine that is reached over SSH needs besides; none for other protocols.
    pub machine: Option<Machine>,
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
    /// SSH, version 2.
    Ssh,
}

impl Protocol {
    /// As files and policies write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Ssh => "ssh",
        }
    }
}

/// A machine that is reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The only keys it may show, as `known_hosts` writes them behind the names: `ssh-ed25519 AAAA…`. They belong to this connection, whatever other
    /// connections reach the same address.
    pub host_keys: Vec<String>,
    /// How the gateway signs in there, as the user of the connection's login.
    pub proof: MachineProof,
    /// The only commands that may be run, each word for word; empty allows any. With them there is no shell.
    pub commands: Vec<String>,
    /// What may be the beginning of a value that is masked is not shown before it is known, however long that takes.
    #[serde(default)]
    pub strict: bool,
    /// A file in which something is detected that the caller may not reveal is not read by them; otherwise files pass as they are.
    #[serde(default)]
    pub files_refused: bool,
}

/// What the gateway shows a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineProof {
    /// The password of the connection's login.
    Password,
    /// A private key in OpenSSH's form.
    Key(SecretSource),
    /// A certificate for these principals that the gateway's own authority makes for each session, with who acts as its key id.
    Certificate(Vec<String>),
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

/// Credentials that are made for one session each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JustInTime {
    /// Who makes the roles.
    pub maker: Maker,
    /// The standing role that sessions act as. What they make is its own, so that nothing is orphaned when theirs is dropped.
    pub acts_as: String,
    /// How long a session may last, in seconds; as long as its caller's access if none is given.
    pub valid_for_s: Option<u32>,
}

/// Who makes roles for one session each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Maker {
    /// The gateway, with a credential that no caller's session uses.
    Admin {
        /// It.
        login: TargetLogin,
        /// What the names of the roles begin with.
        prefix: String,
    },
    /// A database secrets engine of the vault that `countersign.toml` names, at this path of its API: `database/creds/ROLE`.
    Vault(String),
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
    /// The vault that `countersign.toml` names.
    Vault(VaultField),
}

/// A field of what a vault keeps at a path, written `secret/data/prod#password`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VaultField {
    /// The path as the vault's API has it, without `v1`.
    pub path: String,
    /// The field.
    pub field: String,
}

impl FromStr for VaultField {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('#').filter(|(path, field)| is_vault_path(path) && !field.is_empty() && field.len() <= MAX_VAULT_PATH_BYTES);
        let (path, field) = parts.ok_or_else(|| {
            format!("`{}` is no place in a vault: write the path of its API and the field, such as \"secret/data/prod#password\"", printable(text))
        })?;
        Ok(Self { path: path.to_owned(), field: field.to_owned() })
    }
}

impl TryFrom<String> for VaultField {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<VaultField> for String {
    fn from(field: VaultField) -> Self {
        format!("{}#{}", field.path, field.field)
    }
}

/// Longest path of a vault that is written somewhere, in bytes.
const MAX_VAULT_PATH_BYTES: usize = 512;

/// Whether a text is a path of a vault and nothing more: no query, no way up, nothing that a URL would read otherwise.
#[must_use]
pub fn is_vault_path(text: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    text.len() <= MAX_VAULT_PATH_BYTES && text.split('/').all(part)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_vault_is_a_path_and_a_field() {
        let field: VaultField = "secret/data/prod-pg#password".parse().unwrap();
        assert_eq!((field.path.as_str(), field.field.as_str()), ("secret/data/prod-pg", "password"));
        assert_eq!(String::from(field), "secret/data/prod-pg#password");
        for wrong in [
            "",
            "secret/data/prod",
            "#password",
            "secret/data/prod#",
            "secret/../sys/seal#x",
            "secret//data#x",
            "/secret#x",
            "a?b#c",
            "a%2e#c",
            "a b#c",
        ] {
            assert!(wrong.parse::<VaultField>().is_err(), "{wrong}");
        }
    }
}
