//! The story at a machine: a contractor who left, a job without a secret, a directory that is removed with a second signature, an agent for a person. Everyone arrives as themselves.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    issuer::Issuer,
    machine::{MACHINE, POLICY, Scene, text, to, until},
    sshd::Sshd,
};
use serde_json::json;

struct House {
    scene: Scene,
    ci: Issuer,
}

impl House {
    fn open() -> Result<Self> {
        let (machine, ci) = (Sshd::start(None)?, Issuer::start()?);
        let connection = machine.connection(&format!("key = {{ file = {:?} }}", machine.key()))?;
        let jobs = format!("[issuers.ci]\nplatform = \"github\"\nissuer = \"{}\"\ninternal = true\n", ci.url);
        let mut scene = Scene::with(machine, &connection, POLICY, &jobs)?;
        scene.gateway.add_user("carl", &["engineers"])?;
        Ok(Self { scene, ci })
    }

    fn admin(&self, arguments: &[&str]) -> Result<String> {
        self.scene.gateway.run(self.scene.gateway.administrator(), arguments)
    }

    fn ssh(&self, who: &str, secret: &str, command: &str) -> Result<Output> {
        self.scene.answers_with(secret.trim())?;
        Ok(self.scene.client("ssh")?.arg(to(who)).arg(command).output()?)
    }

    fn the_contractors_keys_open_nothing_once_he_left(&self) -> Result<()> {
        let scene = &self.scene;
        let key = scene.key("carl", &["ed25519"])?;
        scene.gateway.run("carl", &["ssh-key", "add", &format!("{}.pub", key.display())])?;
        let mut running = scene.by_key("ssh", &key)?.arg(to("carl")).arg("echo begun; cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut first = String::new();
        BufReader::new(running.stdout.take().context("no output")?).read_line(&mut first)?;
        ensure!(first == "begun\n");
        self.admin(&["identity", "revoke", "carl"])?;
        ensure!(!running.wait()?.success(), "what he had running went on");
        let certificate = scene.gateway.setup().file("../people/carl/ssh/key");
        for (name, key) in [("his key", &key), ("his certificate", &certificate)] {
            let refused = scene.by_key("ssh", key)?.arg(to("carl")).arg("true").output()?;
            ensure!(refused.status.code() == Some(255), "{name}: {refused:?}");
        }
        // Nor did they ever open the machine itself.
        let mut direct = Command::new("ssh");
        direct.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-i"]).arg(&key);
        direct.args(["-p", &scene.machine.port().to_string(), &format!("{}@127.0.0.1", Sshd::user()?), "true"]).env_remove("SSH_AUTH_SOCK");
        ensure!(direct.stdin(Stdio::null()).output()?.status.code() == Some(255));
        Ok(())
    }

    /// The token of a run, as GitHub shapes them.
    fn run_of(&self, repository: &str) -> Result<String> {
        let claims = json!({
            "sub": "repo:shop/jobs:ref:refs/heads/main", "repository": "shop/jobs", "repository_id": repository, "repository_owner_id": "7",
            "ref": "refs/heads/main", "workflow": "nightly", "run_id": "812", "run_attempt": "1", "sha": "5f3c", "actor_id": "11",
        });
        self.ci.token(Some("JWT"), &claims)
    }

    fn comes_from(&self, name: &str, kind: &str, repository: &str) -> Result<()> {
        let made =
            ["identity", "add", name, "--kind", kind, "--group", "engineers", "--owner", "alice", "--purpose", "exports", "--expires-in", "30d"];
        self.admin(&made)?;
        self.admin(&["identity", "trust", name, "--issuer", "ci", "--claim", &format!("repository_id={repository}")]).map(drop)
    }

    fn a_jobs_command_carries_its_run(&self) -> Result<()> {
        self.comes_from("nightly", "workload", "74")?;
        let token = self.scene.gateway.run_with("a job", &["token", MACHINE, "--identity-token", "-", "--expires-in", "15m"], &self.run_of("74")?)?;
        let ran = self.ssh("nightly", &token, "echo exported")?;
        ensure!(text(&ran.stdout) == "exported\n", "{ran:?}");
        let found = until("the job's command in the index", || {
            let found = self.admin(&["search", "echo", "identity:nightly", "--json"])?;
            Ok(found.contains("exported").then_some(found))
        })?;
        ensure!(found.contains("nightly (run 812)"), "{found}");
        Ok(())
    }

    fn what_removes_is_signed_runs_and_is_found(&self) -> Result<()> {
        let data = self.scene.file("srv/data");
        fs::create_dir_all(data.join("deep"))?;
        let token = self.scene.gateway.run("alice", &["token", MACHINE])?;
        self.scene.answers_with(token.trim())?;
        let command = format!("rm -rf {}", data.display());
        let mut waiting = self.scene.client("ssh")?.arg(to("alice")).arg(&command).spawn()?;
        let hold = self.scene.hold()?;
        ensure!(data.exists() && self.scene.gateway.run("alice", &["approve", &hold, "--yes"]).is_err(), "she signed herself");
        self.scene.gateway.run("bob", &["approve", &hold, "--yes"])?;
        ensure!(waiting.wait()?.success() && !data.exists());
        let found = until("what was removed in the index", || {
            let found = self.admin(&["search", "rm", "identity:alice", "--json"])?;
            Ok(found.contains("rm -rf").then_some(found))
        })?;
        ensure!(found.contains("\"signed\"") && found.contains("\"bob\"") && found.contains(&data.display().to_string()), "{found}");
        ensure!(self.scene.told("rm -rf")?.contains("approved by bob"));
        Ok(())
    }

    fn an_agents_command_shows_the_person(&self) -> Result<()> {
        self.comes_from("support-bot", "agent", "75")?;
        let mut given = tempfile::NamedTempFile::new()?;
        given.write_all(self.scene.gateway.run("alice", &["token", MACHINE, "--to", "support-bot"])?.as_bytes())?;
        let place = given.path().to_str().context("no path")?;
        let token =
            self.scene.gateway.run_with("a bot", &["token", MACHINE, "--identity-token", "-", "--on-behalf-of", place], &self.run_of("75")?)?;
        let ran = self.ssh("alice", &token, "echo by the bot")?;
        ensure!(text(&ran.stdout) == "by the bot\n", "{ran:?}");
        let story = self.scene.told("echo by the bot")?;
        ensure!(story.contains("alice via support-bot (run 812)"), "{story}");
        Ok(())
    }

    /// A token for one command runs that command once; that files were tried with it before takes nothing from it.
    fn a_token_runs_its_one_command(&self) -> Result<()> {
        let token = self.scene.gateway.run("alice", &["token", MACHINE, "--statement", "echo only this"])?;
        self.scene.answers_with(token.trim())?;
        let copied = self.scene.client("scp")?.arg("-s").arg(format!("{}:/etc/hostname", to("alice"))).arg(self.scene.file("copied")).output()?;
        ensure!(!copied.status.success() && !self.scene.file("copied").exists(), "{copied:?}");
        ensure!(self.ssh("alice", &token, "echo another")?.status.code() == Some(254));
        ensure!(text(&self.ssh("alice", &token, "echo only this")?.stdout) == "only this\n");
        ensure!(self.ssh("alice", &token, "echo only this")?.status.code() == Some(255), "it ran twice");
        Ok(())
    }
}

#[test]
fn everyone_arrives_at_a_machine_as_themselves() -> Result<()> {
    let house = House::open()?;
    house.a_jobs_command_carries_its_run()?;
    house.what_removes_is_signed_runs_and_is_found()?;
    house.an_agents_command_shows_the_person()?;
    house.a_token_runs_its_one_command()?;
    house.the_contractors_keys_open_nothing_once_he_left()
}
