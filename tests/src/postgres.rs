//! The target: a scratch PostgreSQL of this test binary.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use tokio_postgres::Client;
use xtask::postgres::{Server, Settings, Tls};

use crate::{authority::Authority, clients::Login};

/// The role the gateway signs in as at the target, and the tests that go there directly.
pub const ROLE: &str = "app";
/// Its password. No secret: the server lives as long as the test.
pub const PASSWORD: &str = "app's \"password\" at the target";
/// The database the tests use unless they say otherwise.
pub const DATABASE: &str = "shop";

/// How long anything that must come may take, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How the target wants the gateway to sign in over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The password itself, without TLS: for clients of ours that know nothing else.
    Cleartext,
    /// SCRAM-SHA-256, without TLS.
    Scram,
    /// SCRAM-SHA-256 inside TLS only; the server offers channel binding.
    ScramOverTls,
    /// md5 inside TLS only.
    Md5OverTls,
    /// The password itself, inside TLS only.
    CleartextOverTls,
    /// A client certificate that names the role, inside TLS.
    Certificate,
}

/// A running target. It ends with this value, or with the process.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    /// Who signed its certificate, and signs those of its clients, if it speaks TLS.
    pub authority: Option<Authority>,
}

impl Postgres {
    /// Starts a target with [`ROLE`], [`PASSWORD`] and [`DATABASE`], which the role owns; SCRAM without TLS.
    ///
    /// # Errors
    /// PostgreSQL is not installed or does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(Method::Scram, &[])
    }

    /// The target that all tests of this binary share, each in databases of its own; it ends with the process.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}"))).as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Starts a target that wants this method, with further lines of `postgresql.conf`.
    ///
    /// # Errors
    /// PostgreSQL is not installed or does not start.
    pub fn start_with(method: Method, configuration: &[&str]) -> Result<Self> {
        Self::start_of(None, method, configuration)
    }

    /// Starts a target of PostgreSQL 16, whatever is installed; SCRAM without TLS.
    ///
    /// # Errors
    /// It cannot be fetched, or does not start.
    pub fn start_newer() -> Result<Self> {
        let programs = xtask::install::newer_postgres().map_err(|error| anyhow!(error))?;
        Self::start_of(Some(programs), Method::Scram, &[])
    }

    fn start_of(programs: Option<PathBuf>, method: Method, configuration: &[&str]) -> Result<Self> {
        let mut settings = Settings { configuration: configuration.iter().map(|&line| line.to_owned()).collect(), programs, ..Settings::default() };
        if method == Method::Md5OverTls {
            settings.configuration.push("password_encryption = md5".to_owned());
        }
        let rule = match method {
            Method::Cleartext => "host all all 127.0.0.1/32 password",
            Method::Scram => "host all all 127.0.0.1/32 scram-sha-256",
            Method::ScramOverTls => "hostssl all all 127.0.0.1/32 scram-sha-256",
            Method::Md5OverTls => "hostssl all all 127.0.0.1/32 md5",
            Method::CleartextOverTls => "hostssl all all 127.0.0.1/32 password",
            Method::Certificate => "hostssl all all 127.0.0.1/32 cert",
        };
        settings.client_authentication = vec![rule.to_owned(), "host all all 127.0.0.1/32 reject".to_owned()];
        let authority =
            if matches!(method, Method::Scram | Method::Cleartext) { None } else { Some(Authority::new("authority of a scratch target")?) };
        if let Some(authority) = &authority {
            let server = authority.server()?;
            settings.tls = Some(Tls { certificate: server.certificate, key: server.key, client_authority: authority.certificate.clone() });
        }
        let server = Server::start(&settings).map_err(|error| anyhow!(error))?;
        let target = Self { server, authority };
        target.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{}'", PASSWORD.replace('\'', "''")))?;
        target.create_database(DATABASE)?;
        Ok(target)
    }

    /// Makes a database that [`ROLE`] owns.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub fn create_database(&self, name: &str) -> Result<()> {
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {ROLE}")).map(drop)
    }

    /// Runs SQL as the superuser and returns the rows: columns parted by `|`, no header.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String> {
        self.server.sql(database, statements).map_err(|error| anyhow!(error))
    }

    /// Runs a file of SQL as the superuser.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub fn sql_file(&self, database: &str, file: &Path) -> Result<String> {
        self.server.sql_file(database, file).map_err(|error| anyhow!(error))
    }

    /// Stops it at once, as a crash does; its data stay.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub fn stop(&self) -> Result<()> {
        self.server.stop().map_err(|error| anyhow!(error))
    }

    /// Starts it again on the same port, after [`Postgres::stop`].
    ///
    /// # Errors
    /// PostgreSQL's.
    pub fn start_again(&self) -> Result<()> {
        self.server.start_again().map_err(|error| anyhow!(error))
    }

    /// The TCP port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.server.port()
    }

    /// The folder of its Unix socket.
    #[must_use]
    pub fn socket_folder(&self) -> PathBuf {
        self.server.socket_folder()
    }

    /// One of PostgreSQL's programs, `psql` or `pgbench`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.server.program(name)
    }

    /// Everything the server has logged: each statement it executed among it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(self.server.log()).context("cannot read the target's log")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until the log holds `text`: a statement that began to run, a session that ended.
    ///
    /// # Errors
    /// It did not within a minute.
    pub fn wait_until_logged(&self, text: &str) -> Result<()> {
        self.wait_until(&format!("{text:?} in the target's log"), || Ok(self.log()?.contains(text)))
    }

    /// Waits until a query of the superuser gives this answer.
    ///
    /// # Errors
    /// It did not within a minute, or the query failed.
    pub fn wait_until_true(&self, database: &str, condition: &str) -> Result<()> {
        self.wait_until(condition, || Ok(self.sql(database, &format!("select {condition}"))? == "t\n"))
    }

    fn wait_until(&self, what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !holds()? {
            ensure!(Instant::now() < end, "never came: {what}");
            std::thread::park_timeout(LOOK_AGAIN);
        }
        Ok(())
    }

    /// What a client needs to go there directly as [`ROLE`].
    #[must_use]
    pub fn login(&self, database: &str) -> Login {
        Login {
            host: "127.0.0.1".to_owned(),
            port: self.port(),
            user: ROLE.to_owned(),
            database: database.to_owned(),
            password: PASSWORD.to_owned(),
            authority: self.authority.as_ref().map(|it| it.certificate.clone()),
        }
    }

    /// A connection straight to the target as [`ROLE`].
    ///
    /// # Errors
    /// It was refused.
    pub async fn connect(&self, database: &str) -> Result<Client> {
        self.login(database).connect().await
    }
}
