//! A second real identity provider: oidc-provider, in Node, with people of a test's own. What it is told to do and how people prove who they are there is in
//! `provider/provider.mjs`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use xtask::kept::Kept;

use crate::issuer::{ask, json_of};

/// What the gateway is known as.
pub const CLIENT_ID: &str = "countersign";
/// And its secret.
pub const CLIENT_SECRET: &str = "the secret of the gateway at the second provider";
/// How long it may take until it listens, on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A running provider. It is killed when this is dropped, or the process ends.
#[derive(Debug)]
pub struct Provider {
    kept: Kept,
    _folder: TempDir,
    /// Its issuer.
    pub url: String,
}

impl Provider {
    /// Starts one on a port of the system's choice, with these people and their groups, that trusts this root and posts logouts to the gateway whose API is
    /// at `gateway`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(root: &Path, gateway: &str, people: &[(&str, &[&str])]) -> Result<Self> {
        let packages = xtask::install::second_provider().map_err(|error| anyhow!(error))?;
        let folder = tempfile::tempdir()?;
        let person = |(name, groups): &(&str, &[&str])| {
            let person = json!({ "sub": subject_of(name), "password": password_of(name), "groups": groups });
            ((*name).to_owned(), person)
        };
        let settings = json!({
            "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "logout_uri": format!("{gateway}/v1/back-channel-logout"),
            "people": people.iter().map(person).collect::<Map<String, Value>>(),
        });
        let mut command = Command::new("node");
        command.arg(script()).arg(packages).arg(settings.to_string()).env("NODE_EXTRA_CA_CERTS", root);
        let log = folder.path().join("provider.log");
        let mut kept = Kept::start(&command, &log).map_err(|error| anyhow!(error))?;
        let listening = || std::fs::read_to_string(&log).ok()?.lines().find_map(|line| line.strip_prefix("issuer ").map(str::to_owned));
        let url = kept.wait_until(START_MAX, listening).map_err(|error| anyhow!(error))?;
        Ok(Self { kept, _folder: folder, url })
    }

    /// `[providers.second]` of a gateway. `more`: further lines.
    #[must_use]
    pub fn settings(&self, more: &str) -> String {
        format!(
            "[providers.second]\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = {{ store = \"second\" }}\n\
             scopes = [\"openid\", \"profile\", \"email\", \"groups\"]\ninternal = true\n{more}\n",
            self.url
        )
    }

    /// Bars somebody.
    ///
    /// # Errors
    /// It does not answer.
    pub fn bar(&self, name: &str) -> Result<()> {
        self.tell(&format!("/test/bar?name={name}"))
    }

    /// Signs with a new key from now on.
    ///
    /// # Errors
    /// It does not answer.
    pub fn rotate_keys(&self) -> Result<()> {
        self.tell("/test/rotate")
    }

    /// How often something stands in what it printed: requests, a method and a path each.
    #[must_use]
    pub fn told(&self, line: &str) -> usize {
        self.kept.printed().lines().filter(|printed| *printed == line).count()
    }

    /// Waits until it has printed a line more than so often.
    ///
    /// # Errors
    /// It has not, in time: with all it printed.
    pub fn wait_until_told(&self, line: &str, more_than: usize, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while self.told(line) <= more_than {
            ensure!(Instant::now() < end, "never again: {line}: {}", self.kept.printed());
            thread::park_timeout(Duration::from_millis(50));
        }
        Ok(())
    }

    fn tell(&self, path: &str) -> Result<()> {
        json_of(&ask("POST", &format!("{}{path}", self.url).parse()?, &[], "")?).map(drop)
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("provider/provider.mjs")
}

/// Whom tokens mean by somebody.
#[must_use]
pub fn subject_of(name: &str) -> String {
    format!("person-{name}")
}

/// The password of somebody.
#[must_use]
pub fn password_of(name: &str) -> String {
    format!("the password of {name} at the second provider")
}
