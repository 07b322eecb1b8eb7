//! The scene: a scratch PostgreSQL with a shop in it, Countersign in front of it, and the people of the story.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::BuildHasher,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::stage::{Shown, Stage};
use crate::{
    Outcome,
    command::workspace,
    install::postgres_programs,
    json::Json,
    kept::Kept,
    postgres::{Server, Settings},
};

/// The connection's name.
pub(super) const CONNECTION: &str = "prod-pg";
/// The administrator that `init` makes.
pub(super) const ADMINISTRATOR: &str = "admin";
const DATABASE: &str = "shop";
const START_MAX: Duration = Duration::from_secs(60);

/// Waits for the end of its standard input and of the gateway, and removes the folder.
const SWEEP: &str = r#"
read -r _
while kill -0 "$1"; do sleep 0.1; done
rm -rf "$2"
"#;

/// Who plays, and the groups of the starter policies they are in.
const PEOPLE: &[(&str, &str)] = &[("alice", "engineers"), ("sam", "support-leads"), ("bob", "dba"), ("olga", "engineers")];

/// Everything the story needs. It all ends with this value, and with the process.
pub(super) struct Scene {
    pub(super) stage: Stage,
    gateway: Option<Kept>,
    target: Server,
    target_password: String,
    folder: PathBuf,
    port: String,
}

impl Scene {
    /// Starts the target and fills it. The gateway is for [`Scene::open`].
    pub(super) fn build() -> Outcome<Self> {
        println!("starting a scratch PostgreSQL with 100,000 rows");
        let target = Server::start(&Settings::default())?;
        let target_password = made_up();
        target.sql("postgres", &format!("CREATE ROLE shop_app LOGIN PASSWORD '{target_password}'"))?;
        target.sql("postgres", &format!("CREATE DATABASE {DATABASE} OWNER shop_app"))?;
        target.sql_file(DATABASE, &workspace().join("xtask/src/demo/data.sql"))?;
        let folder = std::env::temp_dir().join(format!("countersign-demo-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let binary = binary()?;
        let programs = [binary.parent().unwrap_or(Path::new("")), &postgres_programs()?];
        let stage = Stage::new(folder.clone(), &programs, folder.join("gateway/data/api.sock"));
        Ok(Self { stage, gateway: None, target, target_password, folder, port: String::new() })
    }

    /// The first act: from nothing to a gateway with people.
    pub(super) fn open(&mut self) -> Outcome<()> {
        self.stage.act("Countersign is set up: a working set of files, a target, people");
        let made = self.stage.types(ADMINISTRATOR, "countersign init gateway --postgres 127.0.0.1:0")?;
        self.stage.claim(made.status.success(), "init writes the files and a one-time secret for the administrator")?;
        let secret = Self::one_time_secret(&made)?;
        self.write_connection()?;
        self.serve()?;
        let signed_in = self.stage.types_secret(ADMINISTRATOR, &format!("countersign login {ADMINISTRATOR}"), &secret)?;
        self.stage.claim(signed_in.status.success(), "the administrator signs in with it")?;
        let password = self.target_password.clone();
        let kept = self.stage.types_secret(ADMINISTRATOR, "countersign secret set prod-pg", &password)?;
        self.stage.claim(kept.status.success(), "the target's password goes to the encrypted store")?;
        for (name, group) in PEOPLE {
            let password = made_up();
            let entered = self.stage.types_secret(ADMINISTRATOR, &format!("countersign identity add {name} --group {group}"), &password)?;
            let signed_in = self.stage.types_secret(name, &format!("countersign login {name}"), &password)?;
            self.stage.claim(entered.status.success() && signed_in.status.success(), &format!("{name} is a user and signs in"))?;
        }
        let line =
            "countersign identity add nightly --kind workload --group workloads --owner olga --purpose \"counts the day's sales\" --expires-in 90d";
        let entered = self.stage.types(ADMINISTRATOR, line)?;
        self.stage.claim(entered.status.success(), "the nightly job is a workload, with an owner, a purpose and an end")
    }

    /// `init` prints the secret on a line of its own.
    fn one_time_secret(made: &Shown) -> Outcome<String> {
        let alone = made.text.lines().filter(|line| line.starts_with("    ")).map(str::trim).find(|line| !line.is_empty() && !line.contains(' '));
        alone.map(str::to_owned).ok_or_else(|| format!("init printed no secret:\n{}", made.text))
    }

    fn write_connection(&self) -> Outcome<()> {
        let connection = format!(
            "protocol = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"{DATABASE}\"\nenvironment = \"production\"\n\
             description = \"The shop\"\nuser = \"shop_app\"\npassword = {{ store = \"prod-pg\" }}\nrecord = \"full\"\n\n[tls]\nmode = \"loopback-plain\"\n",
            self.target.port()
        );
        println!("\n  gateway/connections/{CONNECTION}.toml\n{}", super::indent(connection.lines()));
        let file = self.folder.join(format!("gateway/connections/{CONNECTION}.toml"));
        fs::write(&file, connection).map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    fn serve(&mut self) -> Outcome<()> {
        println!("\n  {ADMINISTRATOR}$ countersign serve gateway &");
        let announcement = self.folder.join("gateway/data/addresses.json");
        let mut serve = Command::new(binary()?);
        serve.args(["serve", "gateway"]).current_dir(&self.folder);
        let mut gateway = Kept::start(&serve, &self.folder.join("serve.log"))?;
        let address = gateway.wait_until(START_MAX, || first_address(&fs::read_to_string(&announcement).ok()?))?;
        self.port = address.rsplit(':').next().unwrap_or_default().to_owned();
        self.gateway = Some(gateway);
        let authority = self.folder.join("gateway/data/tls/ca.pem");
        fs::copy(&authority, self.folder.join("countersign-ca.pem")).map_err(|error| format!("cannot copy {}: {error}", authority.display()))?;
        self.stage.claim(true, &format!("it listens at {address}"))
    }

    /// The line with which somebody runs a statement by psql, with a fresh token.
    pub(super) fn psql(&self, who: &str, statement: &str) -> String {
        format!("{} -c {}", self.psql_with(who, &format!("$(countersign token {CONNECTION})")), crate::command::quoted(statement))
    }

    /// The line with which somebody starts psql, the password being what a shell makes of `password`.
    pub(super) fn psql_with(&self, who: &str, password: &str) -> String {
        let port = &self.port;
        format!(
            "PGPASSWORD={password} psql -X \"host=localhost port={port} dbname={CONNECTION} user={who} sslmode=verify-full sslrootcert=countersign-ca.pem\""
        )
    }

    /// What the target says when it is asked directly, as its superuser.
    pub(super) fn truth(&self, statement: &str) -> Outcome<String> {
        self.target.sql(DATABASE, statement).map(|text| text.trim().to_owned())
    }

    /// The target's log.
    pub(super) fn target_log(&self) -> Outcome<String> {
        let bytes = fs::read(self.target.log()).map_err(|error| format!("cannot read the target's log: {error}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until the target runs this.
    pub(super) fn wait_until_logged(&mut self, text: &str) -> Outcome<()> {
        let log = self.target.log();
        let gateway = self.gateway.as_mut().ok_or("the gateway does not run")?;
        gateway.wait_until(START_MAX, || fs::read(&log).ok().filter(|bytes| String::from_utf8_lossy(bytes).contains(text)).map(drop))
    }

    /// The session in which somebody ran this.
    pub(super) fn session_of(&self, who: &str, statement: &str) -> Outcome<String> {
        let sessions = self.stage.asks(ADMINISTRATOR, &format!("countersign sessions --identity {who} --json"))?.json()?;
        let ids = sessions.list("sessions").iter().filter_map(|session| session.text("id"));
        for id in ids {
            if self.stage.asks(ADMINISTRATOR, &format!("countersign show {id}"))?.text.contains(statement) {
                return Ok(id.to_owned());
            }
        }
        Err(format!("no session of {who} holds {statement:?}"))
    }

    /// What the gateway printed.
    pub(super) fn gateway_log(&self) -> String {
        self.gateway.as_ref().map(Kept::printed).unwrap_or_default()
    }

    /// Lines to copy, for those who want to look around.
    pub(super) fn how_to_join(&self) -> String {
        let folder = self.folder.display();
        let programs = binary().ok().and_then(|file| file.parent().map(Path::to_path_buf)).unwrap_or_default();
        let psql = self.psql_with("alice", &format!("$(countersign token {CONNECTION})"));
        format!(
            "It all keeps running until Ctrl-C. To look around, in another terminal:\n\n  cd {folder}; export PATH={}:$PATH COUNTERSIGN_SERVER={folder}/gateway/data/api.sock\n  \
             export COUNTERSIGN_CONFIG_DIR={folder}/people/alice   # or {ADMINISTRATOR}, bob, sam, olga\n  {psql}\n",
            programs.display()
        )
    }

    /// Waits for as long as the gateway runs. Should this process be interrupted meanwhile, the folder is removed all the same.
    pub(super) fn stay(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        let mut sweep = Command::new("/bin/sh");
        sweep.args(["-c", SWEEP, "sweep", &gateway.pid().to_string()]).arg(&self.folder).stdin(Stdio::piped()).stderr(Stdio::null());
        let _sweep = sweep.process_group(0).spawn();
        while gateway.ended_within(Duration::from_secs(3600)).is_none() {}
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.gateway.take());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The `countersign` binary that was built with this one.
fn binary() -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(own.with_file_name("countersign"))
}

fn first_address(announced: &str) -> Option<String> {
    match Json::read(announced).ok()?.list("postgres") {
        [Json::Text(address), ..] => Some(address.clone()),
        _ => None,
    }
}

/// A password nobody can guess: from the randomness that the system gives to hash tables.
fn made_up() -> String {
    (0..2).map(|part| format!("{:016x}", RandomState::new().hash_one(part))).collect()
}
