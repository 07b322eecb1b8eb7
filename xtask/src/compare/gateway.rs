//! Countersign in front of a target: everything is permitted, nothing is classified, statements are recorded.
//!
//! Each database is a connection of the same name, so that `dbname` means the same to a client either way.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    Suite,
    place::{OF_EVERY_SERVER, Place, Target, made_up},
};
use crate::{Outcome, json::Json, kept::Kept, postgres::SUPERUSER};

const START_MAX: Duration = Duration::from_secs(60);
/// The environment variable the gateway reads the target's password from.
const TARGET_PASSWORD: &str = "COUNTERSIGN_COMPARE_TARGET_PASSWORD";
const ADMINISTRATOR: &str = "admin";

const POLICY: &str =
    "permit (principal, action, resource);\n@id(\"not-understood\") permit (principal, action == Action::\"unreadable\", resource);\n";
/// Suites send statements of many megabytes, which by default are refused.
const SERVER: &str = "[listen]\npostgres = \"127.0.0.1:0\"\n\n[limits]\nmax_statement_bytes = 268435456\nmax_bind_bytes = 268435456\n";

/// A running gateway. It is killed with this value.
pub(super) struct Gateway {
    _kept: Kept,
    place: Place,
}

impl Gateway {
    /// Sets one up in `folder` and starts it.
    pub(super) fn start(binary: &Path, target: &Target, suite: &Suite, folder: &Path) -> Outcome<Self> {
        let set = Set { binary: binary.to_path_buf(), folder: folder.to_path_buf() };
        fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let secret = set.init()?;
        let databases: Vec<&str> = [suite.databases, suite.makes, OF_EVERY_SERVER].concat();
        let direct = target.place();
        set.write_policy(&databases, &direct)?;
        let mut serve = Command::new(binary);
        serve.arg("serve").arg(set.file("")).env(TARGET_PASSWORD, &direct.password);
        let mut kept = Kept::start(&serve, &folder.join("serve.log"))?;
        let announcement = set.file("data/addresses.json");
        let port = kept.wait_until(START_MAX, || port(&fs::read_to_string(&announcement).ok()?))?;
        set.run(ADMINISTRATOR, &["login", ADMINISTRATOR], &secret)?;
        let password = made_up();
        set.run(ADMINISTRATOR, &["identity", "add", SUPERUSER], &password)?;
        set.run(SUPERUSER, &["login", SUPERUSER], &password)?;
        let token = set.run(SUPERUSER, &[&["token"], databases.as_slice(), &["--expires-in", "8h"]].concat(), "")?;
        Ok(Self { _kept: kept, place: Place { port, password: token.trim().to_owned(), ..direct } })
    }

    /// Where callers reach it.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }
}

/// The files of a gateway, and its commands.
struct Set {
    binary: PathBuf,
    folder: PathBuf,
}

impl Set {
    fn file(&self, path: &str) -> PathBuf {
        self.folder.join("set").join(path)
    }

    /// Runs `init` and returns the administrator's secret.
    fn init(&self) -> Outcome<String> {
        let made = self.run(ADMINISTRATOR, &["init", "--json", &self.file("").to_string_lossy()], "")?;
        Json::read(&made)?.text("secret").map(str::to_owned).ok_or_else(|| format!("init printed no secret: {made}"))
    }

    fn write_policy(&self, databases: &[&str], target: &Place) -> Outcome<()> {
        for examples in ["connections", "tests", "policy"] {
            let _ = fs::remove_dir_all(self.file(examples));
        }
        let _ = fs::remove_file(self.file("data-classes.toml"));
        write(&self.file("countersign.toml"), SERVER)?;
        write(&self.file("policy/all.cedar"), POLICY)?;
        let (host, port) = (&target.host, target.port);
        for database in databases {
            let connection = format!(
                "protocol = \"postgres\"\nhost = \"{host}\"\nport = {port}\ndatabase = \"{database}\"\nenvironment = \"comparison\"\n\
                 user = \"{SUPERUSER}\"\npassword = {{ env = \"{TARGET_PASSWORD}\" }}\nrecord = \"statements\"\n\n[tls]\nmode = \"loopback-plain\"\n"
            );
            write(&self.file(&format!("connections/{database}.toml")), &connection)?;
        }
        Ok(())
    }

    /// Runs a command as somebody, with this on its standard input, and returns what it printed.
    fn run(&self, who: &str, arguments: &[&str], input: &str) -> Outcome<String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("COUNTERSIGN_CONFIG_DIR", self.folder.join("people").join(who));
        command.env("COUNTERSIGN_SERVER", self.file("data/api.sock")).env_remove("COUNTERSIGN_TOKEN");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = |error: std::io::Error| format!("countersign {}: {error}", arguments.join(" "));
        let mut child = command.spawn().map_err(said)?;
        if let Some(mut stdin) = child.stdin.take() {
            let _ = writeln!(stdin, "{input}"); // not every command reads
        }
        let output = child.wait_with_output().map_err(said)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("countersign {} ended with {}: {}", arguments.join(" "), output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

fn port(announced: &str) -> Option<u16> {
    match Json::read(announced).ok()?.list("postgres") {
        [Json::Text(address), ..] => address.rsplit(':').next()?.parse().ok(),
        _ => None,
    }
}

fn write(file: &Path, text: &str) -> Outcome<()> {
    let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(file, text)).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
