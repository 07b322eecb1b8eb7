//! A machine, a gateway in front of it, and people's ways to it with OpenSSH's own clients.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    clients::python,
    gateway::{Gateway, Setup},
    postgres::PATIENCE,
    sshd::Sshd,
};

/// The connection to the machine.
pub const MACHINE: &str = "web1";
/// What engineers may do, and what waits for a DBA.
pub const POLICY: &str = r#"
permit (principal in Group::"engineers", action in [Action::"connect", Action::"execute", Action::"read", Action::"write", Action::"destroy"],
        resource in Environment::"production");
permit (principal in Group::"engineers", action == Action::"escape", resource == Host::"web1/127.0.0.1:1");
@id("no-secrets") @reason("nobody reads secrets here")
forbid (principal, action == Action::"read", resource) when { resource has name && resource.name like "*/secrets/*" };
@id("removing") @approvers("dba") @reason("removing needs a second signature")
forbid (principal, action == Action::"destroy", resource in Environment::"production") unless { context.approved };
permit (principal in Group::"dba", action == Action::"approve", resource);
permit (principal in Group::"administrators", action, resource == System::"countersign");
permit (principal in Group::"administrators", action == Action::"connect", resource);
"#;

/// A machine, a gateway in front of it, alice (engineers), bob (dba), and alice's token.
#[derive(Debug)]
pub struct Scene {
    /// The machine.
    pub machine: Sshd,
    /// The gateway.
    pub gateway: Gateway,
    /// A folder of the clients.
    pub client: TempDir,
}

impl Scene {
    /// A machine that the gateway has a key of. `more`: further lines of its connection.
    ///
    /// # Errors
    /// Something did not start.
    pub fn start(more: &str) -> Result<Self> {
        let machine = Sshd::start(None)?;
        let text = machine.connection(&format!("key = {{ file = {:?} }}\n{more}", machine.key()))?;
        Self::with(machine, &text, POLICY, "")
    }

    /// A machine, the text of its connection, policies, and further lines of `countersign.toml`.
    ///
    /// # Errors
    /// Something did not start.
    pub fn with(machine: Sshd, connection: &str, policy: &str, more: &str) -> Result<Self> {
        Self::of(Setup::init()?, machine, connection, policy, more)
    }

    /// The same of a gateway that keeps its state as `setup` has it.
    ///
    /// # Errors
    /// Something did not start.
    pub fn of(setup: Setup, machine: Sshd, connection: &str, policy: &str, more: &str) -> Result<Self> {
        let configuration = fs::read_to_string(setup.file("countersign.toml"))?;
        let configuration = configuration.replace("[listen]\n", "[listen]\nssh = \"127.0.0.1:0\"\n");
        setup.write("countersign.toml", &format!("{configuration}{more}"))?;
        fs::remove_dir_all(setup.file("policy"))?;
        setup.write("policy/all.cedar", policy)?;
        setup.write(&format!("connections/{MACHINE}.toml"), connection)?;
        let mut gateway = setup.serve()?;
        gateway.add_user("alice", &["engineers"])?;
        gateway.add_user("bob", &["dba"])?;
        let scene = Self { machine, gateway, client: tempfile::tempdir()? };
        let token = scene.gateway.run("alice", &["token", MACHINE])?;
        scene.answers_with(token.trim())?;
        Ok(scene)
    }

    /// What the client's prompt for a password is answered with.
    ///
    /// # Errors
    /// The file system's.
    pub fn answers_with(&self, secret: &str) -> Result<()> {
        fs::write(self.file("secret"), secret)?;
        let program = self.file("askpass");
        fs::write(&program, format!("#!/bin/sh\ncat {:?}\n", self.file("secret")))?;
        Ok(fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?)
    }

    /// Where SSH clients reach the gateway, on 127.0.0.1.
    ///
    /// # Errors
    /// It announced none.
    pub fn port(&self) -> Result<String> {
        let address = self.gateway.addresses().pointer("/ssh/0").and_then(Value::as_str).context("no address for SSH clients")?;
        Ok(address.rsplit(':').next().unwrap_or_default().to_owned())
    }

    /// Options that every client takes.
    ///
    /// # Errors
    /// As [`Scene::port`].
    pub fn options(&self) -> Result<Vec<String>> {
        let known = format!("UserKnownHostsFile={}", self.file("known_hosts").display());
        let port = format!("Port={}", self.port()?);
        let options = ["StrictHostKeyChecking=accept-new", "NumberOfPasswordPrompts=1", "LogLevel=ERROR", &known, &port];
        Ok(["-F", "none"].into_iter().chain(options.into_iter().flat_map(|option| ["-o", option])).map(str::to_owned).collect())
    }

    /// `ssh`, `scp` or `sftp` on the way to the gateway, which answers a prompt for a password with alice's token.
    ///
    /// # Errors
    /// As [`Scene::port`].
    pub fn client(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        command.args(self.options()?).args(["-o", "PreferredAuthentications=password"]);
        command.env("SSH_ASKPASS", self.file("askpass")).env("SSH_ASKPASS_REQUIRE", "force").env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        Ok(command)
    }

    /// `ssh`, `scp` or `sftp` with a key and nothing else.
    ///
    /// # Errors
    /// As [`Scene::port`].
    pub fn by_key(&self, program: &str, key: &Path) -> Result<Command> {
        let mut command = Command::new(program);
        let identity = format!("IdentityFile={}", key.display());
        command.args(self.options()?).args(["-o", "PreferredAuthentications=publickey", "-o", "IdentitiesOnly=yes", "-o", &identity]);
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        Ok(command)
    }

    /// Makes a pair of keys; where the private half is.
    ///
    /// # Errors
    /// `ssh-keygen`'s.
    pub fn key(&self, name: &str, kind: &[&str]) -> Result<PathBuf> {
        let place = self.file(name);
        let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t"]).args(kind).arg("-f").arg(&place).stdin(Stdio::null()).output()?;
        ensure!(made.status.success(), "{made:?}");
        Ok(place)
    }

    /// What a command of alice's comes to.
    ///
    /// # Errors
    /// It could not be started.
    pub fn ssh(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.client("ssh")?.arg(to("alice")).args(arguments).output()?)
    }

    /// The story of the session that `show` tells, of the newest that holds these words.
    ///
    /// # Errors
    /// There is none.
    pub fn told(&self, words: &str) -> Result<String> {
        self.told_to("alice", words)
    }

    /// As [`Scene::told`], as somebody else may read it.
    ///
    /// # Errors
    /// There is none.
    pub fn told_to(&self, who: &str, words: &str) -> Result<String> {
        let sessions = self.gateway.json(who, &["sessions"])?;
        let ids =
            sessions.pointer("/sessions").and_then(Value::as_array).context("no sessions")?.iter().filter_map(|session| session.get("id")?.as_str());
        for id in ids {
            let story = self.gateway.run(who, &["show", id])?;
            if story.contains(words) {
                return Ok(story);
            }
        }
        bail!("no session tells of {words:?}: {sessions}")
    }

    /// The next operation that waits for bob.
    ///
    /// # Errors
    /// None does in time.
    pub fn hold(&self) -> Result<String> {
        until("a hold", || {
            let holds = self.gateway.json("bob", &["holds"])?;
            Ok(holds.pointer("/holds/0/id").and_then(Value::as_str).map(str::to_owned))
        })
    }

    /// What a script of `tests/drivers/ssh` prints, which is given the gateway's port and alice's token besides.
    ///
    /// # Errors
    /// It failed: with what it printed.
    pub fn python(&self, script: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(python()?);
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg(crate::clients::script("ssh").join(script)).args(arguments);
        command.env("COUNTERSIGN_TEST_SSH_PORT", self.port()?);
        command.env("COUNTERSIGN_TEST_SSH_TOKEN", fs::read_to_string(self.file("secret"))?).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        let ran = command.output()?;
        ensure!(ran.status.success(), "{script}: {}{}", text(&ran.stdout), text(&ran.stderr));
        Ok(text(&ran.stdout))
    }

    /// A file of the clients.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.client.path().join(name)
    }
}

/// As whom somebody signs in for the machine, and where.
#[must_use]
pub fn to(who: &str) -> String {
    format!("{who}+{MACHINE}@127.0.0.1")
}

/// Bytes as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks until it is so.
///
/// # Errors
/// It is not in time.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        ensure!(began.elapsed() < PATIENCE, "it did not come to pass in time: {what}");
    }
}
