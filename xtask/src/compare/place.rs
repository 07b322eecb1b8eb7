//! Where a suite connects: the target itself, or the gateway in front of one.

use std::{collections::hash_map::RandomState, hash::BuildHasher, process::Command};

use super::Suite;
use crate::{
    Outcome,
    command::capture,
    install::postgres_programs,
    postgres::{SUPERUSER, Server, Settings},
};

/// Databases every server has.
pub(super) const OF_EVERY_SERVER: &[&str] = &["postgres", "template1"];

/// Where a suite connects, and as whom: on loopback without TLS, by the same names whichever way it goes.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// An address.
    pub(super) host: String,
    /// A TCP port.
    pub(super) port: u16,
    /// The user: a superuser at the target.
    pub(super) user: String,
    /// The password, for every database of the suite.
    pub(super) password: String,
    /// The database to use, unless the suite makes its own.
    pub(super) database: String,
}

impl Place {
    /// Sets the environment by which libpq and most drivers find it.
    pub(super) fn tell(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command.env("PGHOST", &self.host).env("PGPORT", self.port.to_string()).env("PGUSER", &self.user).env("PGPASSWORD", &self.password);
        command.env("PGDATABASE", &self.database).env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable");
    }
}

impl Place {
    /// Runs SQL there with psql: what a suite wants to find in its database.
    pub(super) fn sql(&self, statements: &str) -> Outcome<String> {
        let mut psql = Command::new(postgres_programs()?.join("psql"));
        self.tell(&mut psql);
        capture(psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statements]))
    }
}

/// A server of one run.
pub(super) struct Target {
    server: Server,
    password: String,
    database: String,
}

impl Target {
    /// Starts it as the suite wants it.
    pub(super) fn start(suite: &Suite) -> Outcome<Self> {
        let mut configuration = vec!["log_statement = none".to_owned(), "max_prepared_transactions = 10".to_owned()];
        configuration.extend(suite.configuration.iter().map(|&line| line.to_owned()));
        let server = Server::start(&Settings { configuration, ..Settings::default() })?;
        let password = made_up();
        server.sql("postgres", &format!("ALTER ROLE {SUPERUSER} PASSWORD '{password}'"))?;
        for database in suite.databases.iter().filter(|database| !OF_EVERY_SERVER.contains(database)) {
            server.sql("postgres", &format!("CREATE DATABASE \"{database}\""))?;
        }
        let database = suite.databases.first().copied().unwrap_or("postgres").to_owned();
        Ok(Self { server, password, database })
    }

    /// The server itself.
    pub(super) fn place(&self) -> Place {
        Place {
            host: "127.0.0.1".to_owned(),
            port: self.server.port(),
            user: SUPERUSER.to_owned(),
            password: self.password.clone(),
            database: self.database.clone(),
        }
    }
}

/// A password nobody can guess: from the randomness that the system gives to hash tables.
pub(super) fn made_up() -> String {
    (0..2).map(|part| format!("{:016x}", RandomState::new().hash_one(part))).collect()
}
