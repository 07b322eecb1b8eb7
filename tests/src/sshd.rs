//! A machine: OpenSSH's server on a loopback port, with keys of its own, for the user the tests run as.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::postgres::PATIENCE;

/// Somebody else may take a port between its choice and the server's start.
const TRIES: usize = 5;
/// Bash, told by this that another shell runs it, leaves out `~/.bashrc`: what a test runs is the same whoever runs it.
const NO_START_FILES: &str = "SHLVL=1";

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub struct Sshd {
    folder: TempDir,
    server: Child,
    port: u16,
}

impl Sshd {
    /// Starts one that lets its own user in by [`Sshd::key`], or by a certificate of `authority`.
    ///
    /// # Errors
    /// OpenSSH's programs are missing, or it does not listen.
    pub fn start(authority: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["host", "user"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join(name)))?;
        }
        fs::write(folder.path().join("authority"), authority.unwrap_or_default())?;
        if own_user()? == "root" {
            // Where it drops its privileges, as Debian's own start script makes it.
            fs::create_dir_all("/run/sshd")?;
        }
        for _ in 0..TRIES {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let mut server = spawn(folder.path(), port, authority.is_some())?;
            if listens(&mut server, port)? {
                return Ok(Self { folder, server, port });
            }
        }
        bail!("no server listened: {}", fs::read_to_string(folder.path().join("log")).unwrap_or_default())
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its host key, as `known_hosts` writes it behind the names.
    ///
    /// # Errors
    /// The file system's.
    pub fn host_key(&self) -> Result<String> {
        let line = fs::read_to_string(self.file("host.pub"))?;
        Ok(line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }

    /// The user that it lets in.
    ///
    /// # Errors
    /// `id`'s.
    pub fn user() -> Result<String> {
        own_user()
    }

    /// The private key that opens it.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.file("user")
    }

    /// What it has logged.
    ///
    /// # Errors
    /// The file system's.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.file("log"))?)
    }

    /// What programs on it are told of the display that was passed on last.
    ///
    /// # Errors
    /// None was.
    pub fn displays(&self) -> Result<String> {
        Ok(fs::read_to_string(self.file("displays"))?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connection's file of the gateway for it. `more`: how the gateway proves itself, and further lines.
    ///
    /// # Errors
    /// The file system's.
    pub fn connection(&self, more: &str) -> Result<String> {
        let (port, user, key) = (self.port, own_user()?, self.host_key()?);
        Ok(format!(
            "protocol = \"ssh\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"{user}\"\nenvironment = \"production\"\nhost_keys = [\"{key}\"]\n{more}\n"
        ))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn spawn(folder: &Path, port: u16, certified: bool) -> Result<Child> {
    let path = |name: &str| folder.join(name).display().to_string();
    let lets_in = match certified {
        true => format!("AuthorizedKeysFile none\nTrustedUserCAKeys {}", path("authority")),
        false => format!("AuthorizedKeysFile {}", path("user.pub")),
    };
    let configuration = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\n{lets_in}\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
         PasswordAuthentication no\nPrintMotd no\nLogLevel VERBOSE\nAcceptEnv *\nSubsystem sftp internal-sftp\nX11Forwarding yes\nXAuthLocation {}\n\
         SetEnv {NO_START_FILES}\n",
        path("host"),
        path("xauth")
    );
    fs::write(folder.join("sshd_config"), configuration)?;
    // Stands in for `xauth`, whose file is the user's own: it keeps what it is told.
    fs::write(folder.join("xauth"), format!("#!/bin/sh\ncat > {:?}\n", folder.join("displays")))?;
    fs::set_permissions(folder.join("xauth"), fs::Permissions::from_mode(0o755))?;
    let program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|program| Path::new(program).exists());
    let mut command = Command::new(program.context("sshd is not installed: install it (Debian: apt install openssh-server)")?);
    command.args(["-D", "-f"]).arg(folder.join("sshd_config")).arg("-E").arg(folder.join("log"));
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// Whether it listens; not if it ended.
fn listens(server: &mut Child, port: u16) -> Result<bool> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if server.try_wait()?.is_some() {
            return Ok(false);
        }
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(true);
        }
        std::thread::yield_now();
    }
    Ok(false)
}

/// The name of the user the tests run as.
fn own_user() -> Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
