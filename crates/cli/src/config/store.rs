//! `[store]`: where state and index are kept.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use model::Secret;
use serde::{Deserialize, Deserializer, de};
use store::{
    Home,
    home::{self, HomeError},
};

/// PostgreSQL's registered port. <https://www.iana.org/assignments/service-names-port-numbers>
const POSTGRES_PORT: u16 = 5432;

/// The section. Without it everything is in the data directory.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    pub(crate) postgres: Option<Postgres>,
}

/// A schema of a PostgreSQL database, as it was written and found to be possible.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Postgres(Written);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Name or address, or the folder of a Unix socket.
    host: String,
    port: Option<u16>,
    database: String,
    user: String,
    password: Option<SecretPlace>,
    schema: Option<String>,
    tls: Option<Tls>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tls {
    mode: Mode,
    ca: Option<PathBuf>,
    certificate: Option<Certificate>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    VerifyFull,
    LoopbackPlain,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    file: PathBuf,
    key: PathBuf,
}

/// Where a secret of the server's own is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SecretPlace {
    /// An environment variable.
    Env(String),
    /// A file; a line feed at its end is not part of the secret.
    File(PathBuf),
    /// A credential that systemd gives the service (`LoadCredential=`).
    Credential(String),
}

impl Store {
    /// Where the store is, with its password. Relative paths begin at `directory`.
    ///
    /// # Errors
    /// The password cannot be had.
    pub(crate) fn home(&self, directory: &Path) -> anyhow::Result<Home> {
        self.postgres.as_ref().map_or(Ok(Home::Embedded), |postgres| postgres.home(directory).map(Home::Postgres))
    }
}

impl Postgres {
    fn home(&self, directory: &Path) -> anyhow::Result<home::Postgres> {
        let home = self.0.home(directory)?;
        let Some(place) = &self.0.password else { return Ok(home) };
        Ok(home.with_password(place.read(directory).context("the password of the state store cannot be read")?))
    }
}

impl TryFrom<Written> for Postgres {
    type Error = HomeError;

    fn try_from(written: Written) -> Result<Self, HomeError> {
        written.home(Path::new("")).map(|_| Self(written))
    }
}

impl Written {
    fn home(&self, directory: &Path) -> Result<home::Postgres, HomeError> {
        let mut home = home::Postgres::new(&self.host, self.port.unwrap_or(POSTGRES_PORT), &self.database, &self.user);
        if let Some(schema) = &self.schema {
            home = home.with_schema(schema)?;
        }
        match &self.tls {
            Some(tls) => home.with_tls(tls.checks(directory)),
            None => Ok(home),
        }
    }
}

impl Tls {
    fn checks(&self, directory: &Path) -> home::Tls {
        match self.mode {
            Mode::LoopbackPlain => home::Tls::LoopbackPlain,
            Mode::VerifyFull => home::Tls::VerifyFull {
                ca: self.ca.as_ref().map(|ca| directory.join(ca)),
                certificate: self
                    .certificate
                    .as_ref()
                    .map(|certificate| home::ClientCertificate { file: directory.join(&certificate.file), key: directory.join(&certificate.key) }),
            },
        }
    }
}

impl SecretPlace {
    fn read(&self, directory: &Path) -> anyhow::Result<Secret> {
        match self {
            Self::Env(name) => {
                let value = std::env::var(name).map_err(|_| anyhow::anyhow!("the environment variable {name} is not set"))?;
                Ok(Secret::from(value))
            }
            Self::File(path) => from_file(&directory.join(path)),
            Self::Credential(name) => {
                let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
                    bail!("systemd gave no credentials: add LoadCredential={name}:/path/of/the/file to the unit");
                };
                from_file(&Path::new(&folder).join(name))
            }
        }
    }
}

fn from_file(path: &Path) -> anyhow::Result<Secret> {
    let mut bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(Secret::new(bytes))
}

/// `{ env = "…" }`, `{ file = "…" }` or `{ credential = "…" }`. A secret itself is refused, and not repeated in the message.
impl<'de> Deserialize<'de> for SecretPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlaceReader)
    }
}

struct PlaceReader;

impl<'de> de::Visitor<'de> for PlaceReader {
    type Value = SecretPlace;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"NAME\" }, { file = \"path\" } or { credential = \"NAME\" }")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<SecretPlace, E> {
        Err(E::custom(
            "secrets are never written in this file: write where it is kept, { env = \"NAME\" }, { file = \"path\" } or { credential = \"NAME\" }",
        ))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<SecretPlace, A::Error> {
        let Some((kind, place)) = map.next_entry::<String, String>()? else { return Err(de::Error::invalid_length(0, &self)) };
        if map.next_key::<String>()?.is_some() {
            return Err(de::Error::custom("a secret is kept in one place: name one"));
        }
        match kind.as_str() {
            "env" => Ok(SecretPlace::Env(place)),
            "file" => Ok(SecretPlace::File(PathBuf::from(place))),
            "credential" if !place.contains('/') && !place.is_empty() => Ok(SecretPlace::Credential(place)),
            "credential" => Err(de::Error::custom("a credential has a name, no path")),
            other => Err(de::Error::unknown_field(other, &["env", "file", "credential"])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Store, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn without_the_section_everything_is_in_the_data_directory() {
        assert!(matches!(parse("").unwrap().home(Path::new("x")).unwrap(), Home::Embedded));
    }

    #[test]
    fn a_store_on_a_server_is_named_without_its_password() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "hunter2\n").unwrap();
        let store = parse(
            "[postgres]\nhost = \"db.internal\"\ndatabase = \"d\"\nuser = \"u\"\npassword = { file = \"password\" }\nschema = \"s\"\ntls = { ca = \"ca.pem\" }\n",
        );
        let home = store.unwrap().home(folder.path()).unwrap();
        assert_eq!(home.to_string(), "PostgreSQL at db.internal:5432, database d, schema s");
        let shown = format!("{home:?}");
        assert!(shown.contains(&folder.path().join("ca.pem").display().to_string()) && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_mistake_is_told_and_a_secret_is_not_repeated() {
        const AT: &str = "[postgres]\nhost = \"db.internal\"\ndatabase = \"d\"\nuser = \"u\"\n";
        for (more, expected) in [
            ("password = \"hunter2\"", "secrets are never written in this file"),
            ("password = { env = \"A\", file = \"b\" }", "name one"),
            ("password = { vault = \"A\" }", "unknown field `vault`"),
            ("password = { credential = \"../a\" }", "no path"),
            ("schema = \"a b\"", "lower-case letters"),
            ("tls = { mode = \"loopback-plain\" }", "for this machine only"),
            ("tls = { mode = \"require\" }", "unknown variant `require`"),
            ("pasword = { env = \"A\" }", "unknown field `pasword`"),
        ] {
            let told = parse(&format!("{AT}{more}\n")).unwrap_err().message().to_owned();
            assert!(told.contains(expected) && !told.contains("hunter2"), "{more}: {told}");
        }
    }

    #[test]
    fn a_password_that_is_not_there_is_told_by_where_it_should_be() {
        const AT: &str = "[postgres]\nhost = \"localhost\"\ndatabase = \"d\"\nuser = \"u\"\n";
        for (place, expected) in [
            ("{ env = \"COUNTERSIGN_NO_SUCH_VARIABLE\" }", "COUNTERSIGN_NO_SUCH_VARIABLE is not set"),
            ("{ file = \"no-such-file\" }", "/x/no-such-file"),
            ("{ credential = \"store\" }", "LoadCredential=store:"),
        ] {
            let store = parse(&format!("{AT}password = {place}\n")).unwrap();
            let told = format!("{:#}", store.home(Path::new("/x")).unwrap_err());
            assert!(told.contains(expected), "{place}: {told}");
        }
    }
}
