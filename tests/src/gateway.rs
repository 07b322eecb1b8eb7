//! The gateway: the real `countersign` binary, set up and asked as people do it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use xtask::kept::Kept;

use crate::{
    clients::Login,
    postgres::{DATABASE, PASSWORD, PATIENCE, Postgres, ROLE},
};

/// The connection that [`Setup::target`] names.
pub const CONNECTION: &str = "prod-pg";
/// Every listener on a port of the system's choice.
const LISTEN: &str = "[listen]\npostgres = \"127.0.0.1:0\"\nmetrics = \"127.0.0.1:0\"\napi = \"127.0.0.1:0\"\n";
/// How long `serve` may take until it listens, on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
/// A socket in the set where the gateway says how it stands, if a test listens there.
pub const NOTIFY: &str = "notify";
/// The environment variable the gateway reads the target's password from.
const TARGET_PASSWORD: &str = "COUNTERSIGN_TEST_TARGET_PASSWORD";
/// And the password of a state store in PostgreSQL.
const STORE_PASSWORD: &str = "COUNTERSIGN_TEST_STORE_PASSWORD";

/// What `init` wrote, before `serve`.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    administrator: Person,
    environment: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Person {
    name: String,
    password: String,
}

impl Setup {
    /// Runs `countersign init` in an empty folder, and lets every listener take a port of the system's choice.
    ///
    /// # Errors
    /// The binary could not be built, or `init` failed.
    pub fn init() -> Result<Self> {
        let setup = Self::init_in_files()?;
        if std::env::var_os("COUNTERSIGN_TEST_STORE").is_some_and(|store| store == "postgres") {
            let server = state_server()?;
            setup.keep_state_in(server, server.port())?;
        }
        Ok(setup)
    }

    /// [`Setup::init`], with the state in files whatever `COUNTERSIGN_TEST_STORE` says.
    ///
    /// # Errors
    /// As for `init`.
    pub fn init_in_files() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let output = Command::new(binary()?).args(["init", "--json"]).arg(folder.path().join("set")).stdin(Stdio::null()).output()?;
        let made: Value = serde_json::from_str(&said(&output)?).context("init --json printed no JSON")?;
        let text = |key: &str| made.get(key).and_then(Value::as_str).map(str::to_owned).with_context(|| format!("init printed no {key}"));
        let administrator = Person { name: text("administrator")?, password: text("secret")? };
        let setup = Self { folder, administrator, environment: Vec::new() };
        for example in ["connections", "tests"] {
            fs::remove_dir_all(setup.file(example)).ok();
        }
        fs::remove_file(setup.file("data-classes.toml")).ok();
        setup.write("countersign.toml", LISTEN)?;
        Ok(setup)
    }

    /// A set with a copy of a data directory that was kept, its administrator's name and password beside it, and no policy yet.
    ///
    /// # Errors
    /// The file system's.
    pub fn of_data(kept: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let administrator = fs::read_to_string(kept.join("administrator"))?;
        let (name, password) = administrator.trim().split_once(' ').context("no name and password")?;
        let administrator = Person { name: name.to_owned(), password: password.to_owned() };
        let setup = Self { folder, administrator, environment: Vec::new() };
        fs::create_dir_all(setup.file("policy"))?;
        let copied = Command::new("cp").arg("-R").arg(kept.join("data")).arg(setup.file("data")).output()?;
        said(&copied)?;
        setup.write("countersign.toml", LISTEN)?;
        Ok(setup)
    }

    /// The administrator's name and password, as [`Setup::of_data`] reads them.
    #[must_use]
    pub fn administrator_and_password(&self) -> String {
        format!("{} {}\n", self.administrator.name, self.administrator.password)
    }

    /// `serve` runs with this variable in its environment.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Keeps its state in a schema of this server from now on, reached at `port`: what is in files moves there. Returns the schema's name.
    ///
    /// # Errors
    /// It could not be copied.
    pub fn keep_state_in(&self, server: &Postgres, port: u16) -> Result<String> {
        static SCHEMAS: AtomicU32 = AtomicU32::new(0);
        let schema = format!("gateway_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
        let tls = match &server.authority {
            None => String::new(),
            Some(authority) => {
                self.write("store-ca.pem", &authority.certificate)?;
                "tls = { ca = \"store-ca.pem\" }\n".to_owned()
            }
        };
        let before = fs::read_to_string(self.file("countersign.toml"))?;
        let store = format!(
            "[store.postgres]\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"{DATABASE}\"\nuser = \"{ROLE}\"\n\
             password = {{ env = \"{STORE_PASSWORD}\" }}\nschema = \"{schema}\"\n{tls}"
        );
        // Before what is there: tests add lines to its last section.
        self.write("countersign.toml", &format!("{store}{before}"))?;
        said(&self.offline(&["store", "copy", "--from", "embedded", "--to", "postgres"])?)?;
        Ok(schema)
    }

    /// Runs a command of the CLI on the set's directory that needs no gateway.
    ///
    /// # Errors
    /// It could not be started.
    pub fn offline(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command.args(arguments).arg(self.file("")).env(STORE_PASSWORD, PASSWORD).stdin(Stdio::null());
        Ok(command.output()?)
    }

    /// A file of the set.
    #[must_use]
    pub fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join("set").join(path)
    }

    /// Writes a file of the set.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        write(&self.file(path), text)
    }

    /// Removes the policies that `init` wrote and permits everybody everything, governing included, and by its name also
    /// what the gateway cannot read.
    ///
    /// # Errors
    /// The file system's.
    pub fn permit_all(&self) -> Result<()> {
        fs::remove_dir_all(self.file("policy"))?;
        self.write("policy/all.cedar", "permit (principal, action, resource);\npermit (principal, action == Action::\"unreadable\", resource);\n")
    }

    /// Names columns whose values are sensitive, each class with its mask: `("email", "keep-domain", "public.customers.email")`.
    ///
    /// # Errors
    /// The file system's.
    pub fn classes(&self, classes: &[(&str, &str, &str)]) -> Result<()> {
        let tables = classes.iter().map(|(name, mask, column)| format!("[{name}]\nmask = \"{mask}\"\ncolumns = [\"{column}\"]\n"));
        self.write("data-classes.toml", &tables.collect::<String>())
    }

    /// Names a target [`CONNECTION`], in environment `production`. `more`: further lines of its file.
    ///
    /// # Errors
    /// The file system's.
    pub fn target(&self, target: &Postgres, database: &str, more: &str) -> Result<()> {
        let tls = match &target.authority {
            None => "[tls]\nmode = \"loopback-plain\"\n".to_owned(),
            Some(authority) => {
                self.write("target-ca.pem", &authority.certificate)?;
                let client = authority.client(ROLE)?;
                self.write("client.pem", &client.certificate)?;
                self.write("client.key", &client.key)?;
                format!("[tls]\nca = {:?}\n", self.file("target-ca.pem"))
            }
        };
        let port = target.port();
        let text = format!(
            "protocol = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"{database}\"\nenvironment = \"production\"\nuser = \"{ROLE}\"\n\
             password = {{ env = \"{TARGET_PASSWORD}\" }}\n{more}\n{tls}"
        );
        self.write(&format!("connections/{CONNECTION}.toml"), &text)
    }

    /// Starts `serve`, waits until it listens, and signs the administrator in.
    ///
    /// # Errors
    /// It ended, or did not listen in time: with what it printed.
    pub fn serve(self) -> Result<Gateway> {
        let gateway = Gateway { process: Process::start(&self)?, people: BTreeMap::new(), setup: self };
        let Person { name, password } = gateway.setup.administrator.clone();
        gateway.run_with(&name, &["login", &name], &password)?;
        Ok(gateway)
    }
}

/// A running `serve`. It is killed when this is dropped, or the process ends.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    people: BTreeMap<String, Person>,
    setup: Setup,
}

#[derive(Debug)]
struct Process {
    kept: Kept,
    addresses: Value,
}

impl Process {
    fn start(setup: &Setup) -> Result<Self> {
        let announcement = setup.file("data/addresses.json");
        fs::remove_file(&announcement).ok(); // a killed one leaves it behind
        let mut serve = Command::new(binary()?);
        serve.arg("serve").arg(setup.file("")).env(TARGET_PASSWORD, PASSWORD).env(STORE_PASSWORD, PASSWORD).env_remove("RUST_LOG");
        serve.envs(setup.environment.iter().map(|(name, value)| (name, value)));
        if setup.file(NOTIFY).exists() {
            serve.env("NOTIFY_SOCKET", setup.file(NOTIFY));
        }
        let mut kept = Kept::start(&serve, &setup.folder.path().join("serve.log")).map_err(|error| anyhow!(error))?;
        let read = || serde_json::from_str(&fs::read_to_string(&announcement).ok()?).ok();
        let addresses = kept.wait_until(START_MAX, read).map_err(|error| anyhow!(error))?;
        Ok(Self { kept, addresses })
    }
}

impl Gateway {
    /// A gateway in front of a target's database `shop` that permits and masks nothing, with a user alice.
    ///
    /// # Errors
    /// It did not start.
    pub fn permitting_all(target: &Postgres) -> Result<Self> {
        Self::permitting_all_and(target, "")
    }

    /// The same with further lines of the connection's file.
    ///
    /// # Errors
    /// It did not start.
    pub fn permitting_all_and(target: &Postgres, more: &str) -> Result<Self> {
        let setup = Setup::init()?;
        setup.permit_all()?;
        setup.target(target, crate::postgres::DATABASE, more)?;
        let mut gateway = setup.serve()?;
        gateway.add_user("alice", &[])?;
        Ok(gateway)
    }

    /// A gateway in front of a target's database `shop` with the policies that `init` writes, and alice (engineers), sam
    /// (support-leads), bob and barbara (dba). `more`: further lines of `countersign.toml`.
    ///
    /// # Errors
    /// It did not start.
    pub fn with_starter_policies(target: &Postgres, classes: &[(&str, &str, &str)], more: &str) -> Result<Self> {
        let setup = Setup::init()?;
        setup.target(target, crate::postgres::DATABASE, "record = \"full\"")?;
        setup.classes(classes)?;
        let listeners = fs::read_to_string(setup.file("countersign.toml"))?;
        setup.write("countersign.toml", &format!("{listeners}{more}\n"))?;
        let mut gateway = setup.serve()?;
        for (name, group) in [("alice", "engineers"), ("sam", "support-leads"), ("bob", "dba"), ("barbara", "dba")] {
            gateway.add_user(name, &[group])?;
        }
        Ok(gateway)
    }

    /// Adds a user with these groups through the CLI and signs them in there.
    ///
    /// # Errors
    /// The CLI's.
    pub fn add_user(&mut self, name: &str, groups: &[&str]) -> Result<()> {
        let password = password_of(name);
        let groups = groups.iter().flat_map(|group| ["--group", group]);
        let arguments: Vec<&str> = ["identity", "add", name].into_iter().chain(groups).collect();
        let added =
            self.run_with(&self.setup.administrator.name, &arguments, &password).and_then(|_| self.run_with(name, &["login", name], &password));
        added.with_context(|| format!("the gateway printed:\n{}", self.printed()))?;
        self.people.insert(name.to_owned(), Person { name: name.to_owned(), password });
        Ok(())
    }

    /// A user whom [`Gateway::add_user`] added to the data it serves, with the password they got then.
    pub fn knows_user(&mut self, name: &str) {
        self.people.insert(name.to_owned(), Person { name: name.to_owned(), password: password_of(name) });
    }

    /// What a client needs to reach [`CONNECTION`] as a user that was added, by password and inside TLS.
    ///
    /// # Errors
    /// There is no such user, or the gateway's authority has no file.
    pub fn login(&self, name: &str) -> Result<Login> {
        let person = self.people.get(name).with_context(|| format!("{name} was not added"))?;
        self.login_with(&person.name, &person.password)
    }

    /// What a client needs to reach [`CONNECTION`] under this name with a token, inside TLS.
    ///
    /// # Errors
    /// The gateway's authority has no file.
    pub fn login_with(&self, name: &str, token: &str) -> Result<Login> {
        Ok(Login {
            host: "127.0.0.1".to_owned(),
            port: self.port()?,
            user: name.to_owned(),
            database: CONNECTION.to_owned(),
            password: token.trim().to_owned(),
            authority: Some(fs::read_to_string(self.setup.file("data/tls/ca.pem"))?),
        })
    }

    /// Runs a command of the CLI as somebody who is signed in, and returns what it printed.
    ///
    /// # Errors
    /// It failed: with what it printed.
    pub fn run(&self, who: &str, arguments: &[&str]) -> Result<String> {
        said(&self.output(who, arguments, "")?).with_context(|| format!("countersign {}", arguments.join(" ")))
    }

    /// As [`Gateway::run`], with this line on standard input.
    ///
    /// # Errors
    /// It failed: with what it printed.
    pub fn run_with(&self, who: &str, arguments: &[&str], input: &str) -> Result<String> {
        said(&self.output(who, arguments, input)?).with_context(|| format!("countersign {}", arguments.join(" ")))
    }

    /// Runs a command with `--json` and reads what it printed.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn json(&self, who: &str, arguments: &[&str]) -> Result<Value> {
        let printed = self.run(who, &[arguments, &["--json"]].concat())?;
        serde_json::from_str(&printed).with_context(|| format!("not JSON: {printed}"))
    }

    /// Runs a command that prints one JSON value a line and reads them all.
    ///
    /// # Errors
    /// It failed, or printed something else.
    pub fn json_lines(&self, who: &str, arguments: &[&str]) -> Result<Vec<Value>> {
        let printed = self.run(who, &[arguments, &["--json"]].concat())?;
        printed.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))).collect()
    }

    /// Runs a command of the CLI to its end, however that is.
    ///
    /// # Errors
    /// It could not be started.
    pub fn output(&self, who: &str, arguments: &[&str], input: &str) -> Result<Output> {
        let mut child = self.command(who)?.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            let _ = writeln!(stdin, "{input}"); // not every command reads
        }
        Ok(child.wait_with_output()?)
    }

    /// The CLI as this person has it: their own folder of credentials, the gateway's local socket.
    ///
    /// # Errors
    /// The binary could not be built.
    pub fn command(&self, who: &str) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command
            .env("COUNTERSIGN_CONFIG_DIR", self.setup.folder.path().join("people").join(who))
            .env("COUNTERSIGN_SERVER", self.setup.file("data/api.sock"))
            .env(STORE_PASSWORD, PASSWORD)
            .env_remove("SSH_AUTH_SOCK");
        Ok(command)
    }

    /// The administrator that `init` made.
    #[must_use]
    pub fn administrator(&self) -> &str {
        &self.setup.administrator.name
    }

    /// The set of files it serves.
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The port PostgreSQL clients reach it at, on 127.0.0.1.
    ///
    /// # Errors
    /// It announced none.
    pub fn port(&self) -> Result<u16> {
        let address = self.process.addresses.pointer("/postgres/0").and_then(Value::as_str).context("no address for PostgreSQL clients")?;
        Ok(address.parse::<std::net::SocketAddr>()?.port())
    }

    /// What `addresses.json` says.
    #[must_use]
    pub const fn addresses(&self) -> &Value {
        &self.process.addresses
    }

    /// What `/healthz` answers, status line and all.
    ///
    /// # Errors
    /// It does not answer.
    pub fn health(&self) -> Result<String> {
        let address = self.process.addresses.get("metrics").and_then(Value::as_str).context("no address for measurements")?;
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer)?;
        Ok(answer)
    }

    /// What its API answers nobody in particular who posts this, at the local socket: status line, headers and body.
    ///
    /// # Errors
    /// It does not answer.
    pub fn post(&self, path: &str, kind: &str, body: &str) -> Result<String> {
        self.post_with(path, kind, body, &[])
    }

    /// The same with further headers.
    ///
    /// # Errors
    /// It does not answer.
    pub fn post_with(&self, path: &str, kind: &str, body: &str, headers: &[(&str, &str)]) -> Result<String> {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn ask(&self, request: &str) -> Result<String> {
        let mut stream = std::os::unix::net::UnixStream::connect(self.setup.file("data/api.sock"))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer)?;
        Ok(answer)
    }

    /// What its API answers nobody in particular who asks for this, at the local socket.
    ///
    /// # Errors
    /// It does not answer.
    pub fn get(&self, path: &str) -> Result<String> {
        self.get_with(path, &[])
    }

    /// The same with these headers.
    ///
    /// # Errors
    /// It does not answer.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<String> {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"))
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.process.kept.pid()
    }

    /// What it has printed: its log.
    #[must_use]
    pub fn printed(&self) -> String {
        self.process.kept.printed()
    }

    /// Waits until its log holds this, and returns the whole of it.
    ///
    /// # Errors
    /// It does not, in time.
    pub fn wait_until_printed(&self, text: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let printed = self.printed();
            if printed.contains(text) {
                return Ok(printed);
            }
            ensure!(Instant::now() < end, "never printed: {text:?}: {printed}");
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Kills it, as `kill -9` does, at once.
    pub fn kill(&mut self) {
        self.process.kept.kill();
    }

    /// Starts it again on the same data, after [`Gateway::kill`] or its end.
    ///
    /// # Errors
    /// It ended, or did not listen in time.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.kept.kill();
        self.process = Process::start(&self.setup)?;
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid())?).context("no process id")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Its exit status, if it ends within `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Option<i32> {
        self.process.kept.ended_within(limit)
    }
}

fn password_of(name: &str) -> String {
    format!("the password of {name}")
}

/// The `countersign` binary: `COUNTERSIGN_BIN`, else the one next to this test, built when first asked for.
///
/// # Errors
/// It does not build.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = || {
        if let Some(named) = std::env::var_os("COUNTERSIGN_BIN") {
            return Ok(PathBuf::from(named));
        }
        let test = std::env::current_exe().map_err(|error| error.to_string())?;
        let folder = test.ancestors().nth(2).ok_or("the test has no folder")?;
        let mut build = xtask::command::cargo(&["build", "--quiet", "--package", "countersign"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        xtask::command::capture(&mut build)?;
        Ok(folder.join("countersign"))
    };
    BINARY.get_or_init(built).as_deref().map_err(|error| anyhow!("{error}"))
}

/// Where gateways keep their state when all tests are to run with PostgreSQL as the store (`COUNTERSIGN_TEST_STORE=postgres`).
fn state_server() -> Result<&'static Postgres> {
    static SERVER: OnceLock<Result<Postgres, String>> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start().map_err(|error| format!("{error:#}"))).as_ref().map_err(|error| anyhow!("{error}"))
}

fn said(output: &Output) -> Result<String> {
    let printed = String::from_utf8(output.stdout.clone())?;
    if !output.status.success() {
        bail!("{}: {printed}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(printed)
}

fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
