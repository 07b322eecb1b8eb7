//! `countersign.toml`: what the server itself needs to know. Connections, policy and data classes are files of their own and
//! belong to the policy version; this file does not, and is read once, when `serve` starts.
//!
//! Every mistake is answered with the file, the line, the column and what to write instead.

mod store;
pub(crate) mod telemetry;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use ::store::recordings::{DEFAULT_SEGMENT_BYTES, Durability, MIN_SEGMENT_BYTES, Settings};
use identity::{GatewayUrl, oidc, vault, workload};
use model::ProviderName;
use serde::{Deserialize, Deserializer, de};
use session::limits::{HoldLimits, IdentityLimits, Limits};

/// The file's name inside the directory given to `serve`.
pub(crate) const FILE_NAME: &str = "countersign.toml";

/// The whole file. Every section may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) data: Data,
    /// `[store]`: where state and index are kept.
    pub(crate) store: store::Store,
    pub(crate) listen: Listen,
    pub(crate) tls: Tls,
    /// `[holds]`: how many operations may wait for a signature, and how long.
    pub(crate) holds: HoldLimits,
    /// `[limits]`: what callers may ask of the gateway before they are refused.
    pub(crate) limits: Limits,
    /// `[identities]`: what becomes of workloads and agents whose owner has left, and when owners are told of an end.
    pub(crate) identities: IdentityLimits,
    pub(crate) recording: Recording,
    pub(crate) policy: Policy,
    /// `[providers.NAME]`: where people sign in.
    pub(crate) providers: BTreeMap<ProviderName, oidc::Settings>,
    /// `[issuers.NAME]`: where jobs run whose tokens are taken.
    pub(crate) issuers: BTreeMap<ProviderName, workload::Settings>,
    /// `[vault]`: an OpenBao or Vault that has secrets of targets.
    pub(crate) vault: Option<vault::Settings>,
    /// `[tokens]`: what the gateway is called in tokens.
    pub(crate) tokens: Tokens,
    /// `[telemetry]`: where traces of sessions go.
    pub(crate) telemetry: telemetry::Telemetry,
}

/// `[data]`: where state and recordings are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Data {
    /// A folder; a relative one begins at the file's own folder.
    pub(crate) dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: PathBuf::from("data") }
    }
}

/// `[listen]`: where callers, the API and the measurements are served.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// PostgreSQL clients; one address or several.
    #[serde(deserialize_with = "addresses")]
    pub(crate) postgres: Vec<SocketAddr>,
    /// SSH clients; one address or several, none if they are not served.
    #[serde(deserialize_with = "addresses")]
    pub(crate) ssh: Vec<SocketAddr>,
    /// The HTTP API over TLS, beside the local socket that is always there.
    #[serde(deserialize_with = "maybe_address")]
    pub(crate) api: Option<SocketAddr>,
    /// `/metrics` and `/healthz`, in plain HTTP: a loopback address only.
    #[serde(deserialize_with = "maybe_loopback")]
    pub(crate) metrics: Option<SocketAddr>,
    /// How long sessions may go on after SIGTERM before they are ended, in milliseconds.
    pub(crate) drain_ms: u64,
}

impl Default for Listen {
    fn default() -> Self {
        Self { postgres: vec![SocketAddr::from(([127, 0, 0, 1], 6432))], ssh: Vec::new(), api: None, metrics: None, drain_ms: 10_000 }
    }
}

/// `[tls]`: the certificate shown to callers; the one `init` made if none is named.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// PEM file of the certificate chain, the server's own first.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub(crate) key: Option<PathBuf>,
    /// PEM file of the root callers should trust; shown to them by `countersign connect`.
    pub(crate) ca: Option<PathBuf>,
}

/// `[tokens]`: tokens that are made for this gateway, or by it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tokens {
    /// The URL of the API as others reach it. Whoever signs for this gateway names it.
    pub(crate) issuer: Option<GatewayUrl>,
}

/// `[recording]`: what a crash may cost, and how recordings are cut into files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recording {
    /// `process`: nothing forwarded is lost when the process dies; `strict`: nor when the machine loses power.
    pub(crate) durability: Durability,
    /// Size in bytes after which a recording goes on in the next file.
    #[serde(deserialize_with = "segment_bytes")]
    pub(crate) segment_bytes: u64,
}

impl Default for Recording {
    fn default() -> Self {
        Self { durability: Durability::Process, segment_bytes: DEFAULT_SEGMENT_BYTES }
    }
}

impl Recording {
    /// As the store wants them.
    pub(crate) const fn settings(&self) -> Settings {
        Settings { durability: self.durability, segment_bytes: self.segment_bytes }
    }
}

/// `[policy]`: whether `serve` applies its directory by itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    pub(crate) watch: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { watch: true }
    }
}

/// Why the file cannot be used.
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// It cannot be read at all.
    Unreadable { path: PathBuf, why: std::io::Error },
    /// Something in it is wrong.
    Wrong { path: PathBuf, line: usize, column: usize, message: String },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } if why.kind() == std::io::ErrorKind::NotFound => {
                write!(f, "{} does not exist. `countersign init DIR` writes a working set of files.", path.display())
            }
            Self::Unreadable { path, why } => write!(f, "{} cannot be read: {why}", path.display()),
            Self::Wrong { path, line, column, message } => write!(f, "{}:{line}:{column}: {message}", path.display()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads `countersign.toml` in `directory` and makes the paths in it begin there.
    ///
    /// # Errors
    /// The file is missing, unreadable or wrong; the sentence names file, line and column.
    pub(crate) fn read(directory: &Path) -> Result<Self, ConfigError> {
        let path = directory.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).map_err(|why| ConfigError::Unreadable { path: path.clone(), why })?;
        let mut config = Self::parse(&path, &text)?;
        config.data.dir = directory.join(&config.data.dir);
        for file in [&mut config.tls.certificate, &mut config.tls.key, &mut config.tls.ca, &mut config.telemetry.ca].into_iter().flatten() {
            *file = directory.join(&file);
        }
        Ok(config)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            ConfigError::Wrong { path: path.to_owned(), line, column, message: error.message().trim_end().replace('\n', ", ") }
        })?;
        if let Some(offset) = zero(text) {
            let (line, column) = place(text, offset);
            let message = "0 would refuse everything: give a number above 0".to_owned();
            return Err(ConfigError::Wrong { path: path.to_owned(), line, column, message });
        }
        if let Some((name, problem)) = config.providers.iter().find_map(|(name, settings)| Some((name, settings.problem()?))) {
            let (line, column) = place(text, text.find(&format!("[providers.{name}]")).unwrap_or(0));
            return Err(ConfigError::Wrong { path: path.to_owned(), line, column, message: problem.to_owned() });
        }
        if let Some((name, problem)) = config.issuers.iter().find_map(|(name, settings)| Some((name, settings.problem()?))) {
            let (line, column) = place(text, text.find(&format!("[issuers.{name}]")).unwrap_or(0));
            return Err(ConfigError::Wrong { path: path.to_owned(), line, column, message: problem.to_owned() });
        }
        if let Some(problem) = config.vault.as_ref().and_then(vault::Settings::problem) {
            let (line, column) = place(text, text.find("[vault]").unwrap_or(0));
            return Err(ConfigError::Wrong { path: path.to_owned(), line, column, message: problem.to_owned() });
        }
        if config.tls.certificate.is_some() != config.tls.key.is_some() {
            let (line, column) = place(text, text.find("[tls]").unwrap_or(0));
            let message = "`certificate` and `key` belong together: name both, or neither to use those that `init` made".to_owned();
            return Err(ConfigError::Wrong { path: path.to_owned(), line, column, message });
        }
        Ok(config)
    }

    /// The folder of the certificates that `init` makes.
    pub(crate) fn tls_dir(&self) -> PathBuf {
        self.data.dir.join("tls")
    }

    /// The certificate chain, its key and the root callers should trust.
    pub(crate) fn certificate_files(&self) -> (PathBuf, PathBuf, PathBuf) {
        let made = self.tls_dir();
        (
            self.tls.certificate.clone().unwrap_or_else(|| made.join("server.pem")),
            self.tls.key.clone().unwrap_or_else(|| made.join("server.key")),
            self.tls.ca.clone().unwrap_or_else(|| made.join("ca.pem")),
        )
    }

    /// The local socket of the API.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data.dir.join("api.sock")
    }
}

/// Where a limit is 0, if one is. Limits come from other crates, which know their meaning but not their place in the file.
fn zero(text: &str) -> Option<usize> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Numbers {
        holds: BTreeMap<String, toml::Spanned<u64>>,
        limits: BTreeMap<String, toml::Spanned<u64>>,
    }
    let numbers: Numbers = toml::from_str(text).ok()?;
    numbers.holds.into_values().chain(numbers.limits.into_values()).find(|number| *number.get_ref() == 0).map(|number| number.span().start)
}

/// Line and column, both from 1, of a byte offset; columns count characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an address such as \"127.0.0.1:6432\", or a list of them")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    texts.iter().map(|text| address(text)).collect()
}

fn maybe_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    address(&String::deserialize(deserializer)?).map(Some)
}

fn maybe_loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let found: SocketAddr = address(&String::deserialize(deserializer)?)?;
    if found.ip().is_loopback() {
        return Ok(Some(found));
    }
    Err(de::Error::custom(format!("{found} is not a loopback address, and measurements are served without TLS: use 127.0.0.1 or [::1]")))
}

fn address<E: de::Error>(text: &str) -> Result<SocketAddr, E> {
    text.parse().map_err(|_| E::custom(format!("`{text}` is not an address and port: write one like \"127.0.0.1:6432\" or \"[::1]:6432\"")))
}

fn segment_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = u64::deserialize(deserializer)?;
    if bytes >= MIN_SEGMENT_BYTES {
        return Ok(bytes);
    }
    Err(de::Error::custom(format!("{bytes} bytes hold no recording: give {MIN_SEGMENT_BYTES} at least")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        Config::parse(Path::new("countersign.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = Config::parse(Path::new("x"), "").unwrap();
        assert_eq!(config.listen.postgres, vec!["127.0.0.1:6432".parse().unwrap()]);
        assert_eq!(config.listen.api, None);
        assert_eq!(config.holds.expire_after_s, 900);
        assert_eq!((config.identities.orphaned_grace_days, config.identities.owner_absent_days), (14, 30));
        assert_eq!(config.recording.segment_bytes, 67_108_864);
        assert!(config.policy.watch);
    }

    #[test]
    fn several_addresses_may_be_listened_on() {
        let config = Config::parse(Path::new("x"), "[listen]\npostgres = [\"127.0.0.1:1\", \"[::1]:0\"]\n").unwrap();
        assert_eq!(config.listen.postgres.len(), 2);
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_column() {
        let cases = [
            ("[listen]\npostgres = \"here\"\n", "countersign.toml:2:12: `here` is not an address and port"),
            ("[listen]\nmetrics = \"0.0.0.0:1\"\n", "countersign.toml:2:11: 0.0.0.0:1 is not a loopback address"),
            ("\n[holds]\nmax_total = 0\n", "countersign.toml:3:13: 0 would refuse everything"),
            ("[identities]\norphaned_grace_days = -1\n", "countersign.toml:2:23: invalid value: integer `-1`, expected u32"),
            ("[data]\nfolder = 1\n", "countersign.toml:2:1: unknown field `folder`, expected `dir`"),
            ("[recording]\ndurability = \"maybe\"\n", "countersign.toml:2:14: unknown variant `maybe`, expected `process` or `strict`"),
            ("[recording]\nsegment_bytes = 1\n", "countersign.toml:2:17: 1 bytes hold no recording"),
            ("[store]\npostgres = { host = \"a\" }\n", "countersign.toml:2:12: missing field `database`"),
            ("[store.postgres]\nhost = \"a\"\ndatabase = \"d\"\nuser = \"u\"\npassword = \"p\"\n", "countersign.toml:5:12: secrets are never"),
            ("[telemetry]\notlp = \"http://otel.example\"\n", "countersign.toml:2:8: `http://otel.example` would send"),
            ("[vault]\naddress = \"https://bao.example\"\n", "countersign.toml:1:1: say how to sign in"),
            ("[data\n", "countersign.toml:1:6: "),
            ("[issuers.ci]\nplatform = \"kubernetes\"\n", "countersign.toml:1:1: `issuer` is missing"),
            ("[tokens]\nissuer = \"gw\"\n", "countersign.toml:2:10: `gw` is not what a gateway can be called"),
            ("[tokens]\nissuer = \"http://gw.example\"\n", "countersign.toml:2:10: `http://gw.example` would send"),
            ("[providers.a]\nissuer = \"idp\"\nclient_id = \"us\"\n", "countersign.toml:2:10: `idp` is no issuer"),
            ("[providers.a]\nissuer = \"http://idp.example\"\nclient_id = \"us\"\n", "countersign.toml:2:10: `http://idp.example` would send"),
            (
                "\n[providers.a]\nissuer = \"https://accounts.google.com\"\nclient_id = \"us\"\npreset = \"google\"\n",
                "countersign.toml:2:1: everybody with",
            ),
            (
                "[providers.a]\nissuer = \"https://idp.example\"\nclient_id = \"us\"\nclient_secret = \"s\"\n",
                "countersign.toml:4:17: secrets are never",
            ),
            ("[data]\n[tls]\nkey = \"k\"\n", "countersign.toml:2:1: `certificate` and `key` belong together"),
        ];
        for (text, expected) in cases {
            let said = mistake(text);
            assert!(said.starts_with(expected), "{text:?}: {said}");
        }
    }

    #[test]
    fn a_missing_file_says_how_to_get_one() {
        let empty = tempfile::tempdir().unwrap();
        let said = Config::read(empty.path()).unwrap_err().to_string();
        assert!(said.contains("countersign init"), "{said}");
    }

    #[test]
    fn relative_paths_begin_at_the_files_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), "[tls]\ncertificate = \"a.pem\"\nkey = \"/b.key\"\n").unwrap();
        let config = Config::read(folder.path()).unwrap();
        assert_eq!(config.socket(), folder.path().join("data/api.sock"));
        assert_eq!(config.certificate_files().0, folder.path().join("a.pem"));
        assert_eq!(config.certificate_files().1, PathBuf::from("/b.key"));
    }
}
