//! Countersign as people set it up: `init`, a few lines of configuration, `serve`, people, a token.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::stand::{DATABASE, ROLE, ROLE_PASSWORD};
use crate::{
    Outcome,
    command::{line, with_many_files},
    json::Json,
    kept::Kept,
};

/// The caller.
pub(super) const CALLER: &str = "alice";
const CALLERS_PASSWORD: &str = "the password of alice";
const ADMINISTRATOR: &str = "admin";
const START_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(60);

/// The limits that a crowd of sessions of one caller needs; everything else is as `init` leaves it.
const CONFIGURATION: &str =
    "[listen]\npostgres = \"127.0.0.1:0\"\n[limits]\nmax_sessions = 20000\nmax_sessions_per_identity = 20000\n[policy]\nwatch = false\n";

/// A set of files, and the process that serves it. The process ends with this value.
#[derive(Debug)]
pub(super) struct Gateway {
    program: PathBuf,
    folder: PathBuf,
    process: Option<Kept>,
    port: u16,
    token: String,
}

/// A connection of the gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) name: &'static str,
    pub(super) database: &'static str,
    /// `statements` or `full`.
    pub(super) record: &'static str,
    /// TLS towards the target.
    pub(super) tls: bool,
    /// Other lines of its file.
    pub(super) more: &'static str,
}

impl Connection {
    /// To pgbench's tables.
    pub(super) const fn new(name: &'static str, record: &'static str, tls: bool) -> Self {
        Self { name, database: DATABASE, record, tls, more: "" }
    }
}

impl Gateway {
    /// Makes a set of files in an empty folder, with the policies that `init` writes.
    pub(super) fn init(program: &Path, folder: &Path) -> Outcome<Self> {
        fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let gateway = Self { program: program.to_owned(), folder: folder.to_owned(), process: None, port: 0, token: String::new() };
        let made = gateway.types(ADMINISTRATOR, &["init", "--json", "set"], "")?;
        let secret = Json::read(&made)?.text("secret").map(str::to_owned).ok_or_else(|| format!("init told no secret: {made}"))?;
        gateway.write("countersign.toml", CONFIGURATION)?;
        fs::write(gateway.folder.join("secret"), secret).map_err(|error| error.to_string())?;
        Ok(gateway)
    }

    /// A file of the set.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.folder.join("set").join(path)
    }

    /// Writes a file of the set.
    pub(super) fn write(&self, path: &str, text: &str) -> Outcome<()> {
        let file = self.file(path);
        fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    /// Adds to a file of the set.
    pub(super) fn append(&self, path: &str, text: &str) -> Outcome<()> {
        let before = fs::read_to_string(self.file(path)).map_err(|error| format!("cannot read {path}: {error}"))?;
        self.write(path, &(before + text))
    }

    /// Serves the set in front of a target, with these connections, and one caller who has a token for them.
    pub(super) fn open(&mut self, target_port: u16, connections: &[Connection]) -> Outcome<()> {
        for connection in connections {
            let tls = if connection.tls { format!("ca = {:?}", self.file("data/tls/ca.pem")) } else { "mode = \"loopback-plain\"".to_owned() };
            let text = format!(
                "protocol = \"postgres\"\nhost = \"127.0.0.1\"\nport = {target_port}\ndatabase = \"{}\"\nenvironment = \"production\"\nuser = \"{ROLE}\"\n\
                 password = {{ store = \"target\" }}\nrecord = \"{}\"\n{}\n[tls]\n{tls}\n",
                connection.database, connection.record, connection.more
            );
            self.write(&format!("connections/{}.toml", connection.name), &text)?;
        }
        self.open_for_people()?;
        self.types(ADMINISTRATOR, &["secret", "set", "target"], ROLE_PASSWORD)?;
        let names: Vec<&str> = connections.iter().map(|connection| connection.name).collect();
        let token = self.types(CALLER, &[&["token"], names.as_slice(), &["--expires-in", "24h"]].concat(), "")?;
        token.trim().clone_into(&mut self.token);
        Ok(())
    }

    /// Serves the set, with one caller who is signed in.
    pub(super) fn open_for_people(&mut self) -> Outcome<()> {
        self.serve()?;
        let secret = fs::read_to_string(self.folder.join("secret")).map_err(|error| error.to_string())?;
        self.types(ADMINISTRATOR, &["login", ADMINISTRATOR], &secret)?;
        self.types(ADMINISTRATOR, &["identity", "add", CALLER, "--group", "engineers", "--group", "dba", "--group", "auditors"], CALLERS_PASSWORD)?;
        self.types(CALLER, &["login", CALLER], CALLERS_PASSWORD).map(drop)
    }

    /// A file of the caller's own.
    pub(super) fn persons_file(&self, name: &str) -> PathBuf {
        self.folder.join("people").join(CALLER).join(name)
    }

    /// The port SSH clients reach it at.
    pub(super) fn ssh_port(&self) -> Outcome<u16> {
        let announced = fs::read_to_string(self.file("data/addresses.json")).map_err(|error| error.to_string())?;
        port_of(&announced, "ssh").ok_or_else(|| "the gateway listens for no SSH clients".to_owned())
    }

    /// Starts the process; one that runs is stopped in order before.
    pub(super) fn serve(&mut self) -> Outcome<()> {
        self.stop()?;
        let announcement = self.file("data/addresses.json");
        let mut serve = with_many_files(&self.program);
        serve.arg("serve").arg(self.file("")).env_remove("COUNTERSIGN_LOG");
        let mut process = Kept::start(&serve, &self.folder.join("serve.log"))?;
        self.port = process.wait_until(START_MAX, || {
            let announced = fs::read_to_string(&announcement).ok()?;
            port_of(&announced, "postgres").or_else(|| port_of(&announced, "ssh"))
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn stop(&mut self) -> Outcome<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        crate::command::run(Command::new("kill").args(["-TERM", &process.pid().to_string()]))?;
        process.ended_within(STOP_MAX).map(drop).ok_or_else(|| format!("the gateway does not stop:\n{}", process.printed()))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Outcome<u32> {
        self.process.as_ref().map(Kept::pid).ok_or_else(|| "the gateway does not run".to_owned())
    }

    /// The port callers reach it at.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// The caller's token, for every connection.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Runs `countersign` as the caller.
    pub(super) fn asks(&self, arguments: &[&str]) -> Outcome<String> {
        self.types(CALLER, arguments, "")
    }

    /// Somebody types a line to `countersign`, and another where it asks for one.
    fn types(&self, who: &str, arguments: &[&str], input: &str) -> Outcome<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).env("COUNTERSIGN_CONFIG_DIR", self.folder.join("people").join(who));
        command.env("COUNTERSIGN_SERVER", self.file("data/api.sock")).env_remove("COUNTERSIGN_TOKEN").env_remove("SSH_AUTH_SOCK");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start {}: {error}", line(&command)))?;
        if let Some(mut stdin) = child.stdin.take() {
            let _ = writeln!(stdin, "{input}"); // not every command reads
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{} ended with {}: {}", line(&command), output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

/// The first port it listens at for clients of this protocol.
fn port_of(announced: &str, protocol: &str) -> Option<u16> {
    match Json::read(announced).ok()?.list(protocol) {
        [Json::Text(address), ..] => address.rsplit(':').next()?.parse().ok(),
        _ => None,
    }
}
