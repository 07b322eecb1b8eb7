//! `connections/NAME.toml`: one target each.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use model::{
    Connection, ConnectionName, DataClassName, EnvironmentName, GroupName, RecordLevel,
    connection::{ClientCertificate, JustInTime, Maker, Protocol, SecretSource, TargetLogin, TargetTls, is_vault_path},
};
use toml::{Spanned, de::DeValue};

use super::{
    machines,
    problem::suggestion,
    reading::{Page, Placed, Section, parse_text, text_of, wrong_kind},
};
use crate::detect::Entity;

/// PostgreSQL's registered port. <https://www.iana.org/assignments/service-names-port-numbers>
const POSTGRES_PORT: u16 = 5432;

/// What names of roles begin with that are made for one session each.
const PREFIX: &str = "countersign_";
/// Where a vault's database secrets engine is, unless another place is named.
const VAULT_MOUNT: &str = "database";
/// Longest such beginning: with a session's id behind it PostgreSQL cuts nothing off the name (63 bytes).
const MAX_PREFIX_BYTES: usize = 40;
/// Longest time that credentials made for one session may be valid, in seconds: a day.
const MAX_VALID_S: u32 = 86_400;

/// Reads one connection. `None` when anything is wrong with it; the page then says what.
pub(crate) fn read(page: &mut Page<'_>, name: ConnectionName) -> Option<Connection> {
    let document = page.parse()?;
    let mut top = Section::new(document.get_ref(), "a connection", 0);
    let connection = read_top(page, &mut top, name);
    top.close(page);
    connection.filter(|_| page.problems.is_empty())
}

fn read_top(page: &mut Page<'_>, top: &mut Section<'_, '_>, name: ConnectionName) -> Option<Connection> {
    let protocols = [Protocol::Postgres, Protocol::Ssh].map(|protocol| (protocol.as_str(), protocol));
    let protocol = top.word(page, "protocol", &protocols);
    if !top.has("protocol") {
        top.missing(page, "protocol", "write protocol = \"postgres\", or \"ssh\" for a machine");
    }
    // Of one that says no protocol everything else is told, too.
    match protocol.map_or(Protocol::Postgres, |protocol| protocol.value) {
        Protocol::Postgres => read_database(page, top, name),
        Protocol::Ssh => machines::read(page, top, name),
    }
}

fn read_database(page: &mut Page<'_>, top: &mut Section<'_, '_>, name: ConnectionName) -> Option<Connection> {
    let host = top.needed_text(page, "host", "write the target's host name or address, or the folder of its Unix socket");
    let host = host.filter(|host| check_host(page, *host));
    let port = top.port(page, "port").map_or(POSTGRES_PORT, |port| port.value);
    let database = top.needed_text(page, "database", "write the database a caller reaches who names none");
    let databases = read_databases(page, top, database);
    let labels = read_labels(page, top);
    let (login, jit) = if top.has("jit") { read_jit(page, top) } else { (read_login(page, top), None) };
    let catalog_login = read_catalog(page, top);
    let tls = read_tls(page, top, host);
    let Labels { environment, tags, description, record, detect, roles } = labels;
    Some(Connection {
        name,
        protocol: Protocol::Postgres,
        host: host?.value.to_owned(),
        port,
        database: database?.value.to_owned(),
        databases,
        environment: environment?,
        tags,
        description,
        login: login?,
        jit,
        machine: None,
        catalog_login,
        tls: tls?,
        record,
        detect,
        roles,
    })
}

/// What connections of every protocol have.
pub(super) struct Labels {
    pub(super) environment: Option<EnvironmentName>,
    pub(super) tags: Vec<String>,
    pub(super) description: Option<String>,
    pub(super) record: RecordLevel,
    pub(super) detect: Vec<DataClassName>,
    pub(super) roles: BTreeMap<String, GroupName>,
}

pub(super) fn read_labels(page: &mut Page<'_>, top: &mut Section<'_, '_>) -> Labels {
    if !top.has("environment") {
        top.missing(page, "environment", "policies speak of environments: write environment = \"production\", \"staging\" or a name of yours");
    }
    let levels = [("statements", RecordLevel::Statements), ("full", RecordLevel::Full)];
    Labels {
        environment: top.parsed(page, "environment").map(|environment| environment.value),
        tags: top.texts(page, "tags").into_iter().map(|tag| tag.value.to_owned()).collect(),
        description: top.text(page, "description").map(|text| text.value.to_owned()),
        record: top.word(page, "record", &levels).map_or_else(RecordLevel::default, |level| level.value),
        detect: read_detect(page, top),
        roles: read_roles(page, top),
    }
}

pub(super) fn check_host(page: &mut Page<'_>, host: Placed<&str>) -> bool {
    let text = host.value;
    if text.starts_with('/') || text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let named = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !named {
        let help = "write a name or address alone; the port goes to `port`, a Unix socket's folder begins with `/`";
        page.wrong_with_help(host.at, format!("`{}` is not a host", model::name::printable(text)), help);
    }
    named
}

fn read_databases(page: &mut Page<'_>, top: &mut Section<'_, '_>, default: Option<Placed<&str>>) -> Vec<String> {
    let databases: Vec<String> = top.texts(page, "databases").into_iter().map(|database| database.value.to_owned()).collect();
    if let Some(default) = default {
        if default.value.is_empty() {
            page.wrong(default.at, "`database` is empty");
        }
        if !databases.is_empty() && !databases.iter().any(|database| database == default.value) {
            let help = "add it to `databases`, or leave `databases` out to let callers name any";
            page.wrong_with_help(default.at, format!("`databases` does not name the default `{}`", model::name::printable(default.value)), help);
        }
    }
    databases
}

fn read_login(page: &mut Page<'_>, section: &mut Section<'_, '_>) -> Option<TargetLogin> {
    let user = section.needed_text(page, "user", "write the role the gateway signs in as at the target");
    let password = read_secret(page, section, "password");
    let certificate = section.table(page, "certificate").and_then(|mut table| {
        let file = table.needed_text(page, "file", "write the PEM file of the client certificate");
        let key = read_secret(page, &mut table, "key");
        if !table.has("key") {
            table.missing(page, "key", "write where its key is: key = { file = \"client.key\" }");
        }
        table.close(page);
        Some(ClientCertificate { certificate: PathBuf::from(file?.value), key: key? })
    });
    Some(TargetLogin { user: user?.value.to_owned(), password, certificate })
}

fn read_catalog(page: &mut Page<'_>, top: &mut Section<'_, '_>) -> Option<TargetLogin> {
    if top.has("jit") && !top.has("catalog") {
        let help = "with [jit] the catalog is read as a role that may sign in and nothing else: write [catalog] with its `user` and `password`";
        top.missing(page, "[catalog]", help);
    }
    let mut section = top.table(page, "catalog")?;
    let login = read_login(page, &mut section);
    section.close(page);
    login
}

/// `[jit]`: who makes roles for one session each, and the role they act as, which takes the place of the callers' login.
fn read_jit(page: &mut Page<'_>, top: &mut Section<'_, '_>) -> (Option<TargetLogin>, Option<JustInTime>) {
    for key in ["user", "password", "certificate"] {
        if let Some(at) = top.place(key) {
            let help = "leave it out; the role they act as is `acts_as` in [jit]";
            page.wrong_with_help(at, format!("with [jit] each session gets credentials of its own, and `{key}` would not be used"), help);
        }
    }
    let Some(mut section) = top.table(page, "jit") else { return (None, None) };
    let maker = read_maker(page, &mut section);
    let acts_as = section.needed_text(page, "acts_as", "write the standing role that sessions act as: what they make is its own");
    let acts_as = acts_as.filter(|role| check_acts_as(page, *role));
    let valid_for_s = section.number(page, "valid_for_s", 1, MAX_VALID_S).map(|seconds| seconds.value);
    section.close(page);
    let (Some(maker), Some(acts_as)) = (maker, acts_as) else { return (None, None) };
    let acts_as = acts_as.value.to_owned();
    // The links of sessions show the certificate that the admin's shows: where a target asks everybody for one, it is not the role's proof.
    let certificate = match &maker {
        Maker::Admin { login, .. } => login.certificate.clone(),
        Maker::Vault(_) => None,
    };
    let login = TargetLogin { user: acts_as.clone(), password: None, certificate };
    (Some(login), Some(JustInTime { maker, acts_as, valid_for_s }))
}

/// Either `admin`, or `vault_database`.
fn read_maker(page: &mut Page<'_>, section: &mut Section<'_, '_>) -> Option<Maker> {
    const HELP: &str = "write either admin = { user = \"countersign_admin\", password = { store = \"name\" } }, or vault_database = \"role\"";
    let prefix = section.text(page, "prefix").filter(|prefix| check_prefix(page, *prefix));
    let mount = section.text(page, "vault_mount");
    match (section.has("admin"), section.has("vault_database")) {
        (true, false) => {
            if let Some(mount) = mount {
                page.wrong(mount.at, "`vault_mount` goes with `vault_database`");
            }
            let mut admin = section.table(page, "admin")?;
            let login = read_login(page, &mut admin);
            admin.close(page);
            Some(Maker::Admin { login: login?, prefix: prefix.map_or(PREFIX, |prefix| prefix.value).to_owned() })
        }
        (false, true) => {
            if let Some(prefix) = prefix {
                page.wrong(prefix.at, "the names of these roles are the vault's: leave `prefix` out");
            }
            let role = section.text(page, "vault_database")?;
            let path = format!("{}/creds/{}", mount.map_or(VAULT_MOUNT, |mount| mount.value), role.value);
            if !is_vault_path(&path) {
                page.wrong(role.at, format!("`{}` is no path of a vault", model::name::printable(&path)));
                return None;
            }
            Some(Maker::Vault(path))
        }
        (true, true) => {
            let at = section.place("vault_database").unwrap_or(section.at);
            page.wrong_with_help(at, "[jit] has two who make roles", HELP);
            None
        }
        (false, false) => {
            section.missing(page, "admin", HELP);
            None
        }
    }
}

/// A word of PostgreSQL's own names no role, neither here nor in a statement.
fn check_acts_as(page: &mut Page<'_>, role: Placed<&str>) -> bool {
    let fits = !matches!(role.value, "" | "none" | "public") && !role.value.starts_with("pg_") && !role.value.contains(['\0', '\\']);
    if !fits {
        page.wrong(role.at, format!("`{}` is no role that a session may act as", model::name::printable(role.value)));
    }
    fits
}

fn check_prefix(page: &mut Page<'_>, prefix: Placed<&str>) -> bool {
    let letters = prefix.value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let begins = prefix.value.starts_with(|first: char| first.is_ascii_lowercase()) && !prefix.value.starts_with("pg_");
    let fits = letters && begins && prefix.value.len() <= MAX_PREFIX_BYTES;
    if !fits {
        let help = format!("small letters, digits and `_`, a letter first and not `pg_`, {MAX_PREFIX_BYTES} at most");
        page.wrong_with_help(prefix.at, format!("names of roles cannot begin with `{}`", model::name::printable(prefix.value)), help);
    }
    fits
}

/// `{ env = "…" }`, `{ file = "…" }`, `{ store = "…" }` or `{ vault = "…" }`. A secret itself is refused, and not repeated in the message.
pub(super) fn read_secret(page: &mut Page<'_>, section: &mut Section<'_, '_>, key: &'static str) -> Option<SecretSource> {
    const HELP: &str = "write where it is kept: { env = \"NAME\" }, { file = \"/path\" }, { store = \"name\" } (see `countersign secret set`) or { vault = \"path#field\" }";
    let (at, value) = section.entries().find(|(name, _)| name.value == key).map(|(name, value)| (name.at, value))?;
    if value.get_ref().is_str() {
        section.text(page, key);
        page.wrong_with_help(at, format!("`{key}` holds the secret itself: secrets are never written in these files"), HELP);
        return None;
    }
    let mut table = section.table(page, key)?;
    let env = table.text(page, "env").map(|name| SecretSource::Env(name.value.to_owned()));
    let file = table.text(page, "file").map(|path| SecretSource::File(PathBuf::from(path.value)));
    let store = table.text(page, "store").map(|name| SecretSource::Store(name.value.to_owned()));
    let before = page.problems.len();
    let vault = table.parsed(page, "vault").map(|field| SecretSource::Vault(field.value));
    table.close(page);
    if page.problems.len() > before {
        return None;
    }
    let mut places: Vec<SecretSource> = [env, file, store, vault].into_iter().flatten().collect();
    if places.len() != 1 {
        page.wrong_with_help(at, format!("`{key}` needs exactly one place"), HELP);
        return None;
    }
    places.pop()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TlsMode {
    VerifyFull,
    LoopbackPlain,
}

fn read_tls(page: &mut Page<'_>, top: &mut Section<'_, '_>, host: Option<Placed<&str>>) -> Option<TargetTls> {
    let socket = host.is_some_and(|host| host.value.starts_with('/'));
    let default = if socket { TlsMode::LoopbackPlain } else { TlsMode::VerifyFull };
    let Some(mut section) = top.table(page, "tls") else { return Some(finish_tls(default, None, None)) };
    let modes = [("verify-full", TlsMode::VerifyFull), ("loopback-plain", TlsMode::LoopbackPlain)];
    let written = section.has("mode");
    let mode = section.word(page, "mode", &modes);
    let ca = section.text(page, "ca");
    let server_name = section.text(page, "server_name");
    section.close(page);
    let mode = if written { mode? } else { Placed { value: default, at: 0 } };
    match mode.value {
        TlsMode::LoopbackPlain => {
            for given in [ca, server_name].into_iter().flatten() {
                page.wrong(given.at, "without TLS there is no certificate to check: remove this, or write mode = \"verify-full\"");
            }
            if let Some(host) = host.filter(|host| !is_loopback(host.value)) {
                let help = "statements and rows would cross the network in clear: use mode = \"verify-full\" with the target's `ca`";
                let message = format!("loopback-plain is for this machine only, and `{}` is not", model::name::printable(host.value));
                page.wrong_with_help(mode.at, message, help);
            }
        }
        TlsMode::VerifyFull if socket => page.wrong(mode.at, "PostgreSQL has no TLS on a Unix socket: leave [tls] out"),
        TlsMode::VerifyFull => {}
    }
    Some(finish_tls(mode.value, ca, server_name))
}

fn finish_tls(mode: TlsMode, ca: Option<Placed<&str>>, server_name: Option<Placed<&str>>) -> TargetTls {
    match mode {
        TlsMode::LoopbackPlain => TargetTls::LoopbackPlain,
        TlsMode::VerifyFull => {
            TargetTls::VerifyFull { ca: ca.map(|path| PathBuf::from(path.value)), server_name: server_name.map(|name| name.value.to_owned()) }
        }
    }
}

/// A Unix socket, a loopback address, or the name RFC 6761 reserves for them.
fn is_loopback(host: &str) -> bool {
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// What is looked for, each once; `all` is everything.
fn read_detect(page: &mut Page<'_>, top: &mut Section<'_, '_>) -> Vec<DataClassName> {
    const ALL: &str = "all";
    let mut wanted = Vec::new();
    for name in top.texts(page, "detect") {
        let known = || Entity::ALL.iter().map(|entity| entity.name());
        if name.value == ALL {
            wanted.extend(known());
        } else if Entity::from_name(name.value).is_some() {
            wanted.push(name.value);
        } else {
            let message = format!("there is no detector `{}`", model::name::printable(name.value));
            page.wrong_with_help(name.at, message, suggestion(name.value, known().chain([ALL])));
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted.into_iter().filter_map(|name| name.parse().ok()).collect()
}

fn read_roles(page: &mut Page<'_>, top: &mut Section<'_, '_>) -> BTreeMap<String, GroupName> {
    let Some(section) = top.table(page, "roles") else { return BTreeMap::new() };
    section.entries().filter_map(|(role, group)| Some((role.value.to_owned(), read_group(page, role, group)?))).collect()
}

fn read_group(page: &mut Page<'_>, role: Placed<&str>, group: &Spanned<DeValue<'_>>) -> Option<GroupName> {
    if role.value.is_empty() {
        wrong_kind(page, "the name of a role", group, "a name");
        return None;
    }
    let text = text_of(page, role.value, group)?;
    parse_text(page, text).map(|group| group.value)
}
