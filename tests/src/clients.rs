//! The clients people use: psql, tokio-postgres, and Python's drivers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::NamedTempFile;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Connection, NoTls, config::SslMode};

use crate::tls::Connector;

/// Where a client goes and as whom.
#[derive(Debug, Clone)]
pub struct Login {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Database; at the gateway the connection's name.
    pub database: String,
    /// Password; at the gateway it may be a token.
    pub password: String,
    /// PEM of whom to trust; without it the client speaks no TLS.
    pub authority: Option<String>,
}

impl Login {
    /// The same without TLS.
    #[must_use]
    pub fn without_tls(mut self) -> Self {
        self.authority = None;
        self
    }

    /// The same with another password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = password.into();
        self
    }

    /// tokio-postgres' settings.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).user(&self.user).dbname(&self.database).password(&self.password);
        config.ssl_mode(if self.authority.is_some() { SslMode::Require } else { SslMode::Disable });
        config
    }

    /// A tokio-postgres client; notices and notifications are dropped.
    ///
    /// # Errors
    /// It was refused.
    pub async fn connect(&self) -> Result<Client> {
        Ok(self.connect_with_messages().await?.0)
    }

    /// A tokio-postgres client, and what the server says unasked: notices and notifications. The receiver ends with the
    /// connection, its last message being the error that ended it, if one did.
    ///
    /// # Errors
    /// It was refused.
    pub async fn connect_with_messages(&self) -> Result<(Client, Messages)> {
        match &self.authority {
            Some(authority) => {
                let (client, connection) = self.config().connect(Connector::trusting(authority)?).await?;
                Ok((client, drive(connection)))
            }
            None => {
                let (client, connection) = self.config().connect(NoTls).await?;
                Ok((client, drive(connection)))
            }
        }
    }

    /// Asks the server to stop what a client runs, as a client does: on a connection of its own.
    ///
    /// # Errors
    /// The server could not be reached.
    pub async fn cancel(&self, token: CancelToken) -> Result<()> {
        match &self.authority {
            Some(authority) => token.cancel_query(Connector::trusting(authority)?).await?,
            None => token.cancel_query(NoTls).await?,
        }
        Ok(())
    }

    /// A psql of these programs that goes there, without the user's own settings; the password is in its environment.
    ///
    /// # Errors
    /// The authority's certificate could not be written to a file.
    pub fn psql(&self, program: &Path) -> Result<Program> {
        Ok(self.client(program)?.args(&["-X", "--no-password"]))
    }

    /// Another client program of libpq's that goes there.
    ///
    /// # Errors
    /// The authority's certificate could not be written to a file.
    pub fn client(&self, program: &Path) -> Result<Program> {
        Program::new(Command::new(program), self)
    }

    /// A Python of the drivers' environment that goes there: libpq's variables are set for it.
    ///
    /// # Errors
    /// There is no such environment: `cargo xtask test` makes it.
    pub fn python(&self, script: &Path) -> Result<Program> {
        let mut command = Command::new(python()?);
        command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
        Program::new(command, self)
    }
}

/// Messages that a server sends unasked.
pub type Messages = tokio::sync::mpsc::UnboundedReceiver<Result<AsyncMessage, tokio_postgres::Error>>;

fn drive<S, T>(mut connection: Connection<S, T>) -> Messages
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (tell, messages) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            let ended = message.is_err();
            let _ = tell.send(message); // nobody may care, and the connection goes on all the same
            if ended {
                break;
            }
        }
    });
    messages
}

/// A client program that libpq's environment variables tell where to go.
#[derive(Debug)]
pub struct Program {
    command: Command,
    authority: Option<NamedTempFile>,
}

impl Program {
    fn new(mut command: Command, login: &Login) -> Result<Self> {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("PGHOST", &login.host).env("PGPORT", login.port.to_string()).env("PGUSER", &login.user);
        command.env("PGDATABASE", &login.database).env("PGPASSWORD", &login.password).env("PGCONNECT_TIMEOUT", "30");
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        let authority = match &login.authority {
            Some(pem) => {
                let mut file = NamedTempFile::new()?;
                file.write_all(pem.as_bytes())?;
                command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", file.path());
                Some(file)
            }
            None => {
                command.env("PGSSLMODE", "disable");
                None
            }
        };
        Ok(Self { command, authority })
    }

    /// The same with further arguments.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// The same with one more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run(mut self) -> Result<Output> {
        let output = self.command.stdin(Stdio::null()).output();
        output.with_context(|| format!("cannot start {}", self.command.get_program().display()))
    }

    /// Runs it to its end and returns what it printed.
    ///
    /// # Errors
    /// It could not be started or its exit status is not zero: with what it printed on standard error.
    pub fn print(self) -> Result<String> {
        let output = self.run()?;
        if !output.status.success() {
            bail!("{}: {}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts it and leaves it running.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(self) -> Result<Running> {
        start(self.command, self.authority)
    }
}

fn start(mut command: Command, authority: Option<NamedTempFile>) -> Result<Running> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let (tell, lines) = channel();
    if let Some(output) = child.stdout.take() {
        read_lines(output, tell.clone());
    }
    if let Some(errors) = child.stderr.take() {
        read_lines(errors, tell);
    }
    let input = child.stdin.take();
    Ok(Running { child, input, lines, printed: String::new(), _authority: authority })
}

fn read_lines(from: impl Read + Send + 'static, tell: Sender<String>) {
    std::thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).all(|line| tell.send(line).is_ok()));
}

/// A client program at work: lines go in, and what it prints is waited for. It is killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    printed: String,
    _authority: Option<NamedTempFile>,
}

impl Running {
    /// Starts a program and leaves it running.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(command: Command) -> Result<Self> {
        start(command, None)
    }

    /// Types a line.
    ///
    /// # Errors
    /// The program reads no more.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("its standard input was closed")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// Waits until the program prints a line that holds `text`, on either output, and returns the line.
    ///
    /// # Errors
    /// It ended or `limit` passed before: with all it printed.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).map_err(|why| anyhow!("no {text:?} ({why}) in:\n{}", self.printed))?;
            self.printed.push_str(&line);
            self.printed.push('\n');
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes its standard input, waits for its end and returns its exit status with all it printed.
    ///
    /// # Errors
    /// It had not ended when `limit` had passed: with all it printed.
    pub fn finish(mut self, limit: Duration) -> Result<(ExitStatus, String)> {
        drop(self.input.take());
        let end = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.printed.push_str(&line);
                    self.printed.push('\n');
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => bail!("still running after {limit:?}:\n{}", self.printed),
            }
        }
        let status = self.child.wait()?;
        Ok((status, std::mem::take(&mut self.printed)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The Python that has the drivers of `requirements.txt`.
///
/// # Errors
/// There is none: `cargo xtask test` makes it.
pub fn python() -> Result<PathBuf> {
    match std::env::var_os("COUNTERSIGN_TEST_PYTHON") {
        Some(python) => Ok(python.into()),
        None => xtask::install::python_with_drivers().map_err(|error| anyhow!(error)),
    }
}

/// A Python script of `tests/drivers`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers").join(name)
}
