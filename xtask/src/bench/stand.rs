//! The test stand: a scratch PostgreSQL with pgbench's tables, and Countersign in front of it, set up as people do it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::lanes::{Lane, conninfo};
use crate::{
    Outcome,
    command::{capture, cargo, line, run, workspace},
    json::Json,
    kept::Kept,
    postgres::{Server, Settings},
};

/// The database with pgbench's tables.
pub(super) const DATABASE: &str = "bench";
/// The role PgBouncer and Countersign work as at the target, by SCRAM.
pub(super) const ROLE: &str = "bench";
/// The same rights for those who reach the target without help, by password.
pub(super) const DIRECT_ROLE: &str = "direct";
/// Of both roles. The servers listen on loopback, and end with the run.
pub(super) const ROLE_PASSWORD: &str = "bench";
/// The caller of the gateway.
const CALLER: &str = "alice";
const ADMINISTRATOR: &str = "admin";
const START_MAX: Duration = Duration::from_secs(60);

/// The programs that were built for the run.
#[derive(Debug)]
pub(super) struct Programs {
    countersign: PathBuf,
    pub(super) helper: PathBuf,
}

impl Programs {
    /// Builds the release binary and the relay.
    pub(super) fn build() -> Outcome<Self> {
        println!("building countersign as it is released");
        run(&mut cargo(&["build", "--release", "--quiet", "--package", "countersign", "--package", "countersign-bench"]))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let folder = workspace().join(target).join("release");
        Ok(Self { countersign: folder.join("countersign"), helper: folder.join("countersign-bench") })
    }
}

/// A target and a gateway. Both end with this value, and with the process.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) target: Server,
    gateway: Option<Kept>,
    gateway_port: u16,
    token: String,
    programs: Programs,
    folder: Folder,
}

/// A folder that is removed with its value.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Stand {
    /// Starts a target with pgbench's tables at this scale, and a gateway with the policies that `init` writes.
    pub(super) fn start(programs: Programs, scale: u32) -> Outcome<Self> {
        let folder = Folder(std::env::temp_dir().join(format!("countersign-bench-{}", std::process::id())));
        fs::create_dir(&folder.0).map_err(|error| format!("cannot make {}: {error}", folder.0.display()))?;
        let target = target(scale)?;
        let mut stand = Self { target, gateway: None, gateway_port: 0, token: String::new(), programs, folder };
        stand.start_gateway()?;
        Ok(stand)
    }

    /// Where the lanes keep their files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The relay's program.
    pub(super) fn helper(&self) -> &Path {
        &self.programs.helper
    }

    /// The way through the gateway, recording as `connection` says.
    pub(super) fn countersign(&self, name: &'static str, connection: &str) -> Outcome<Lane> {
        let pid = self.gateway.as_ref().map(Kept::pid).ok_or("the gateway does not run")?;
        Ok(Lane::through(name, conninfo(self.gateway_port, CALLER, connection), self.token.clone(), pid))
    }

    fn start_gateway(&mut self) -> Outcome<()> {
        let made = Json::read(&self.types(ADMINISTRATOR, &["init", "--json", "set"], "")?)?;
        let secret = made.text("secret").ok_or("init told no secret")?.to_owned();
        let set = self.folder.0.join("set");
        write(
            &set.join("countersign.toml"),
            "[listen]\npostgres = \"127.0.0.1:0\"\n[limits]\nmax_sessions = 20000\nmax_sessions_per_identity = 20000\n",
        )?;
        for (name, level) in [("statements", "statements"), ("full", "full")] {
            let text = format!(
                "protocol = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"{DATABASE}\"\nenvironment = \"production\"\nuser = \"{ROLE}\"\n\
                 password = {{ store = \"target\" }}\nrecord = \"{level}\"\n[tls]\nmode = \"loopback-plain\"\n",
                self.target.port()
            );
            write(&set.join("connections").join(format!("{name}.toml")), &text)?;
        }
        let announcement = set.join("data/addresses.json");
        let mut serve = Command::new(&self.programs.countersign);
        serve.arg("serve").arg(&set).env_remove("COUNTERSIGN_LOG");
        let mut gateway = Kept::start(&serve, &self.folder.0.join("serve.log"))?;
        self.gateway_port = gateway.wait_until(START_MAX, || first_port(&fs::read_to_string(&announcement).ok()?))?;
        self.gateway = Some(gateway);
        self.types(ADMINISTRATOR, &["login", ADMINISTRATOR], &secret)?;
        self.types(ADMINISTRATOR, &["secret", "set", "target"], ROLE_PASSWORD)?;
        let password = "the caller's password";
        self.types(ADMINISTRATOR, &["identity", "add", CALLER, "--group", "engineers", "--group", "dba"], password)?;
        self.types(CALLER, &["login", CALLER], password)?;
        let token = self.types(CALLER, &["token", "statements", "full", "--expires-in", "24h"], "")?;
        token.trim().clone_into(&mut self.token);
        Ok(())
    }

    /// Somebody types a line to `countersign`, and another where it asks for one.
    fn types(&self, who: &str, arguments: &[&str], input: &str) -> Outcome<String> {
        let mut command = Command::new(&self.programs.countersign);
        command.args(arguments).current_dir(&self.folder.0).env("COUNTERSIGN_CONFIG_DIR", self.folder.0.join("people").join(who));
        command.env("COUNTERSIGN_SERVER", self.folder.0.join("set/data/api.sock")).env_remove("COUNTERSIGN_TOKEN");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start {}: {error}", line(&command)))?;
        if let Some(mut stdin) = child.stdin.take() {
            let _ = writeln!(stdin, "{input}"); // not every command reads
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!("{} ended with {}: {}{said}", line(&command), output.status, String::from_utf8_lossy(&output.stderr)))
        }
    }
}

fn target(scale: u32) -> Outcome<Server> {
    println!("starting a scratch PostgreSQL with {} rows", u64::from(scale) * 100_000);
    let configuration =
        ["log_statement = none", "max_connections = 300", "shared_buffers = 256MB", "autovacuum = off", "jit = off", "max_wal_size = 8GB"];
    let settings = Settings {
        configuration: configuration.map(str::to_owned).to_vec(),
        client_authentication: vec![format!("host all {DIRECT_ROLE} 127.0.0.1/32 password")],
        tls: None,
    };
    let target = Server::start(&settings)?;
    target.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE_PASSWORD}'"))?;
    target.sql("postgres", &format!("CREATE ROLE {DIRECT_ROLE} LOGIN PASSWORD '{ROLE_PASSWORD}' IN ROLE {ROLE}"))?;
    target.sql("postgres", &format!("CREATE DATABASE {DATABASE} OWNER {ROLE}"))?;
    let mut fill = Command::new(target.program("pgbench"));
    fill.args(["-i", "-q", "-I", "dtGvp", "-s", &scale.to_string(), "-U", ROLE, "-p", &target.port().to_string(), "-h"]);
    capture(fill.arg(target.socket_folder()).arg(DATABASE))?;
    Ok(target)
}

fn first_port(announced: &str) -> Option<u16> {
    match Json::read(announced).ok()?.list("postgres") {
        [Json::Text(address), ..] => address.rsplit(':').next()?.parse().ok(),
        _ => None,
    }
}

fn write(file: &Path, text: &str) -> Outcome<()> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
