//! The ways from a client to the target that are compared, each with the process that is in it.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::stand::{DATABASE, DIRECT_ROLE, ROLE, ROLE_PASSWORD};
use crate::{
    Outcome,
    command::own_user_id,
    install::{haproxy, pgbouncer},
    kept::Kept,
    postgres::free_port,
};

const START_MAX: Duration = Duration::from_secs(30);

/// One way from a client to the target.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: &'static str,
    /// As libpq takes it.
    pub(super) conninfo: String,
    pub(super) password: String,
    /// The process in between; none on the direct way.
    pub(super) pid: Option<u32>,
    _process: Option<Kept>,
}

impl Lane {
    /// A way through a process that somebody else holds.
    pub(super) fn through(name: &'static str, conninfo: String, password: String, pid: u32) -> Self {
        Self { name, conninfo, password, pid: Some(pid), _process: None }
    }

    /// The bare relay on tokio.
    pub(super) fn relay(program: &Path, folder: &Path, target_port: u16) -> Outcome<Self> {
        let mut command = Command::new(program);
        command.args(["relay", &format!("127.0.0.1:{target_port}")]);
        let mut process = Kept::start(&command, &folder.join("relay.log"))?;
        let log = folder.join("relay.log");
        let port = process.wait_until(START_MAX, || fs::read_to_string(&log).ok()?.lines().next()?.rsplit(':').next()?.parse().ok())?;
        Ok(Self::own("relay", conninfo(port, DIRECT_ROLE, DATABASE), process))
    }

    /// HAProxy in TCP mode.
    pub(super) fn haproxy(folder: &Path, target_port: u16) -> Outcome<Self> {
        let port = free_port()?;
        let configuration = format!(
            "global\n  maxconn 4000\ndefaults\n  mode tcp\n  option tcp-smart-accept\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n\
             listen postgres\n  bind 127.0.0.1:{port}\n  server target 127.0.0.1:{target_port}\n"
        );
        let file = written(folder, "haproxy.cfg", &configuration)?;
        let mut command = Command::new(haproxy()?);
        command.args(["-db", "-f"]).arg(file);
        let process = started(&command, &folder.join("haproxy.log"), port)?;
        Ok(Self::own("HAProxy", conninfo(port, DIRECT_ROLE, DATABASE), process))
    }

    /// PgBouncer in session mode. It asks callers for a password as the gateway does, and signs in at the target as the gateway does.
    pub(super) fn pgbouncer(folder: &Path, target_port: u16) -> Outcome<Self> {
        let port = free_port()?;
        let users = written(folder, "pgbouncer-users.txt", &format!("\"{ROLE}\" \"{ROLE_PASSWORD}\"\n"))?;
        let configuration = format!(
            "[databases]\n{DATABASE} = host=127.0.0.1 port={target_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = plain\nauth_file = {}\npool_mode = session\nmax_client_conn = 10000\ndefault_pool_size = 5000\nlog_connections = 0\n\
             log_disconnections = 0\nlogfile =\n",
            users.display()
        );
        let file = written(folder, "pgbouncer.ini", &configuration)?;
        let mut command = Command::new(pgbouncer()?);
        if own_user_id()? == 0 {
            command.args(["-u", "nobody"]);
        }
        command.arg(file);
        let process = started(&command, &folder.join("pgbouncer.log"), port)?;
        Ok(Self::own("PgBouncer", conninfo(port, ROLE, DATABASE), process))
    }

    fn own(name: &'static str, conninfo: String, process: Kept) -> Self {
        Self { name, conninfo, password: ROLE_PASSWORD.to_owned(), pid: Some(process.pid()), _process: Some(process) }
    }
}

/// How libpq reaches a port of this machine without TLS.
pub(super) fn conninfo(port: u16, user: &str, database: &str) -> String {
    format!("host=localhost hostaddr=127.0.0.1 port={port} user={user} dbname={database} sslmode=disable gssencmode=disable")
}

fn started(command: &Command, log: &Path, port: u16) -> Outcome<Kept> {
    let mut process = Kept::start(command, log)?;
    process.wait_until(START_MAX, || TcpStream::connect(("127.0.0.1", port)).ok())?;
    Ok(process)
}

fn written(folder: &Path, name: &str, text: &str) -> Outcome<PathBuf> {
    let file = folder.join(name);
    fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    Ok(file)
}
