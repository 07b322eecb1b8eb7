//! The ways from a client to the target that are compared, each with the process that is in it.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    gateway::{CALLER, Gateway},
    stand::{DATABASE, DIRECT_ROLE, ROLE, ROLE_PASSWORD, Stand},
};
use crate::{
    Outcome,
    command::{own_user_id, with_many_files},
    install::{haproxy, pgbouncer},
    kept::Kept,
    postgres::free_port,
};

const START_MAX: Duration = Duration::from_secs(30);

pub(super) const DIRECT: &str = "direct";
pub(super) const RELAY: &str = "relay";
pub(super) const HAPROXY: &str = "HAProxy";
pub(super) const PGBOUNCER: &str = "PgBouncer";
pub(super) const COUNTERSIGN: &str = "Countersign";
pub(super) const COUNTERSIGN_FULL: &str = "Countersign, full";

/// What the bytes travel in, on both sides of whatever is in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Transport {
    Plain,
    Tls,
}

impl Transport {
    pub(super) const ALL: [Self; 2] = [Self::Plain, Self::Tls];

    /// As tables name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "TLS",
        }
    }
}

/// One way from a client to the target.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) port: u16,
    pub(super) user: &'static str,
    pub(super) database: String,
    pub(super) password: String,
    /// With TLS, the folder of its files.
    pub(super) tls: Option<PathBuf>,
    /// The process in between; none on the direct way.
    pub(super) pid: Option<u32>,
    _process: Option<Kept>,
}

impl Lane {
    /// How libpq gets there.
    pub(super) fn conninfo(&self) -> String {
        let Self { port, user, database, .. } = self;
        let tls = self
            .tls
            .as_ref()
            .map_or_else(|| "sslmode=disable".to_owned(), |folder| format!("sslmode=verify-full sslrootcert={}", folder.join("ca.pem").display()));
        format!("host=localhost hostaddr=127.0.0.1 port={port} user={user} dbname={database} gssencmode=disable {tls}")
    }

    /// No process in between.
    pub(super) fn direct(stand: &Stand, transport: Transport) -> Self {
        Self::new(DIRECT, stand, transport, stand.target.port(), DIRECT_ROLE, None)
    }

    /// The bare relay on tokio. With TLS, it speaks that on both sides.
    pub(super) fn relay(stand: &Stand, transport: Transport) -> Outcome<Self> {
        let mut command = with_many_files(&stand.programs.helper);
        command.args(["relay", &format!("127.0.0.1:{}", stand.target.port())]);
        if transport == Transport::Tls {
            command.arg(stand.tls_folder());
        }
        let log = file(stand, "relay", transport, "log");
        let _ = fs::remove_file(&log);
        let mut process = Kept::start(&command, &log)?;
        let port = process.wait_until(START_MAX, || fs::read_to_string(&log).ok()?.lines().next()?.rsplit(':').next()?.parse().ok())?;
        Ok(Self::new(RELAY, stand, transport, port, DIRECT_ROLE, Some(process)))
    }

    /// HAProxy in TCP mode. It cannot speak TLS as PostgreSQL's protocol begins it: with TLS it passes on what it cannot read.
    pub(super) fn haproxy(stand: &Stand, transport: Transport) -> Outcome<Self> {
        let (port, target_port) = (free_port()?, stand.target.port());
        let configuration = format!(
            "global\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n\
             listen postgres\n  bind 127.0.0.1:{port}\n  server target 127.0.0.1:{target_port}\n"
        );
        let configured = file(stand, "haproxy", transport, "cfg");
        write(&configured, &configuration)?;
        let mut command = with_many_files(&haproxy()?);
        command.args(["-db", "-f"]).arg(configured);
        let process = started(&command, &file(stand, "haproxy", transport, "log"), port)?;
        Ok(Self::new(HAPROXY, stand, transport, port, DIRECT_ROLE, Some(process)))
    }

    /// PgBouncer in session mode. It asks callers for a password as the gateway does, and signs in at the target as the gateway does.
    pub(super) fn pgbouncer(stand: &Stand, transport: Transport, more: &str) -> Outcome<Self> {
        let (port, target_port) = (free_port()?, stand.target.port());
        let users = file(stand, "pgbouncer", transport, "users");
        write(&users, &format!("\"{ROLE}\" \"{ROLE_PASSWORD}\"\n"))?;
        let tls = match transport {
            Transport::Plain => String::new(),
            Transport::Tls => pgbouncer_tls(stand)?,
        };
        let configuration = format!(
            "[databases]\n{DATABASE} = host=127.0.0.1 port={target_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = plain\nauth_file = {}\npool_mode = session\nmax_client_conn = 8000\ndefault_pool_size = 5000\nlog_connections = 0\n\
             log_disconnections = 0\nlogfile =\n{tls}{more}\n",
            users.display()
        );
        let configured = file(stand, "pgbouncer", transport, "ini");
        write(&configured, &configuration)?;
        let mut command = with_many_files(&pgbouncer()?);
        if own_user_id()? == 0 {
            command.args(["-u", "nobody"]);
        }
        command.arg(configured);
        let process = started(&command, &file(stand, "pgbouncer", transport, "log"), port)?;
        Ok(Self::new(PGBOUNCER, stand, transport, port, ROLE, Some(process)))
    }

    /// The gateway, recording `statements`.
    pub(super) fn countersign(stand: &Stand, transport: Transport) -> Outcome<Self> {
        let connection = if transport == Transport::Tls { "statements-tls" } else { "statements" };
        Self::through(COUNTERSIGN, &stand.gateway, connection, transport)
    }

    /// The gateway, recording rows, too.
    pub(super) fn countersign_full(stand: &Stand, transport: Transport) -> Outcome<Self> {
        let connection = if transport == Transport::Tls { "full-tls" } else { "full" };
        Self::through(COUNTERSIGN_FULL, &stand.gateway, connection, transport)
    }

    /// A connection of a gateway.
    pub(super) fn through(name: &'static str, gateway: &Gateway, connection: &str, transport: Transport) -> Outcome<Self> {
        let tls = (transport == Transport::Tls).then(|| gateway.file("data/tls"));
        let password = gateway.token().to_owned();
        Ok(Self {
            name,
            port: gateway.port(),
            user: CALLER,
            database: connection.to_owned(),
            password,
            tls,
            pid: Some(gateway.pid()?),
            _process: None,
        })
    }

    fn new(name: &'static str, stand: &Stand, transport: Transport, port: u16, user: &'static str, process: Option<Kept>) -> Self {
        let tls = (transport == Transport::Tls).then(|| stand.tls_folder());
        let pid = process.as_ref().map(Kept::pid);
        Self { name, port, user, database: DATABASE.to_owned(), password: ROLE_PASSWORD.to_owned(), tls, pid, _process: process }
    }
}

/// The lines that have PgBouncer speak TLS on both sides, checking the target as the gateway does. It runs as a user of its own, which
/// may read copies of the files: of a key that is made for the run and is worth nothing.
fn pgbouncer_tls(stand: &Stand) -> Outcome<String> {
    let copy = |name: &str| {
        let to = stand.folder().join(format!("pgbouncer-{name}"));
        let copied = fs::copy(stand.tls_folder().join(name), &to).and_then(|_| fs::set_permissions(&to, fs::Permissions::from_mode(0o644)));
        copied.map(|()| to.display().to_string()).map_err(|error| format!("cannot copy {name}: {error}"))
    };
    let (ca, certificate, key) = (copy("ca.pem")?, copy("server.pem")?, copy("server.key")?);
    Ok(format!(
        "client_tls_sslmode = require\nclient_tls_cert_file = {certificate}\nclient_tls_key_file = {key}\nserver_tls_sslmode = verify-full\n\
         server_tls_ca_file = {ca}\n"
    ))
}

fn file(stand: &Stand, name: &str, transport: Transport, ending: &str) -> PathBuf {
    stand.folder().join(format!("{name}-{}.{ending}", transport.name()))
}

fn started(command: &Command, log: &Path, port: u16) -> Outcome<Kept> {
    let mut process = Kept::start(command, log)?;
    process.wait_until(START_MAX, || TcpStream::connect(("127.0.0.1", port)).ok())?;
    Ok(process)
}

fn write(file: &Path, text: &str) -> Outcome<()> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
