//! A real OpenBao, with TLS, in its development mode: nothing of it is kept.

use std::{fs, net::TcpStream, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;
use xtask::kept::Kept;

/// How long it may take until it listens, on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
/// Tries at a free port: somebody else may take it between our look and the server's start.
const PORT_TRIES: usize = 5;
/// The token that may do everything. No secret: the server lives as long as the test.
const ROOT: &str = "root";

/// A running OpenBao. It is killed when this is dropped, or the process ends.
#[derive(Debug)]
pub struct OpenBao {
    kept: Kept,
    folder: TempDir,
    program: PathBuf,
    port: u16,
}

impl OpenBao {
    /// Starts one with a KV store of version 2 at `secret`, and AppRole signed in at as `countersign`, who has the policy `countersign`.
    ///
    /// # Errors
    /// It does not start, or refuses to be set up.
    pub fn start() -> Result<Self> {
        let program = xtask::install::openbao().map_err(|error| anyhow!(error))?;
        let mut failure = anyhow!("not tried");
        for _ in 0..PORT_TRIES {
            match Self::start_at(xtask::postgres::free_port().map_err(|error| anyhow!(error))?, program.clone()) {
                Ok(bao) => {
                    bao.set_up()?;
                    return Ok(bao);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn start_at(port: u16, program: PathBuf) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(&program);
        command
            .args(["server", "-dev", "-dev-tls", "-dev-no-store-token", &format!("-dev-root-token-id={ROOT}")])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .arg(format!("-dev-tls-cert-dir={}", folder.path().display()))
            .env("HOME", folder.path());
        let log = folder.path().join("bao.log");
        let mut kept = Kept::start(&command, &log).map_err(|error| anyhow!(error))?;
        let listening = || {
            let ready = fs::read_to_string(&log).ok()?.contains("Development mode should NOT be used");
            (ready && TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(())
        };
        kept.wait_until(START_MAX, listening).map_err(|error| anyhow!(error))?;
        Ok(Self { kept, folder, program, port })
    }

    fn set_up(&self) -> Result<()> {
        self.run(&["auth", "enable", "approle"])?;
        self.allow("path \"secret/data/*\" { capabilities = [\"read\"] }")?;
        self.run(&["write", "auth/approle/role/countersign", "token_policies=countersign", "token_ttl=1h"])?;
        Ok(())
    }

    /// What the gateway may do there: the text of its policy.
    ///
    /// # Errors
    /// OpenBao's.
    pub fn allow(&self, policy: &str) -> Result<()> {
        let file = self.folder.path().join("countersign.hcl");
        fs::write(&file, policy)?;
        self.run(&["policy", "write", "countersign", &file.display().to_string()]).map(drop)
    }

    /// `[vault]` of a gateway that signs in as `countersign`, and the files that belong to it: the root, and the secret id.
    ///
    /// # Errors
    /// OpenBao's.
    pub fn settings(&self) -> Result<(String, String, String)> {
        let role_id = self.run(&["read", "-field=role_id", "auth/approle/role/countersign/role-id"])?;
        let secret_id = self.run(&["write", "-f", "-field=secret_id", "auth/approle/role/countersign/secret-id"])?;
        let settings = format!(
            "[vault]\naddress = \"https://127.0.0.1:{}\"\nca = \"bao-ca.pem\"\ninternal = true\n\
             [vault.approle]\nrole_id = \"{}\"\nsecret_id_file = \"bao-secret-id\"\n",
            self.port,
            role_id.trim()
        );
        Ok((settings, fs::read_to_string(self.authority())?, secret_id))
    }

    /// Runs a command of its CLI as root, and returns what it printed.
    ///
    /// # Errors
    /// It failed: with what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("HOME", self.folder.path()).env("BAO_TOKEN", ROOT).env("BAO_CACERT", self.authority());
        command.env("BAO_ADDR", format!("https://127.0.0.1:{}", self.port));
        xtask::command::capture(&mut command).map_err(|error| anyhow!(error))
    }

    /// Unseals it after `operator seal`.
    ///
    /// # Errors
    /// It printed no key, or does not take it.
    pub fn unseal(&self) -> Result<()> {
        let printed = self.kept.printed();
        let key = printed.lines().find_map(|line| line.trim().strip_prefix("Unseal Key: ")).context("it printed no key")?;
        self.run(&["operator", "unseal", key.trim()]).map(drop)
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.kept.pid()
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.kept.kill();
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("vault-ca.pem")
    }
}
