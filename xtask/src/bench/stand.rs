//! The test stand: a scratch PostgreSQL with pgbench's tables, and Countersign in front of it.

use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    gateway::{Connection, Gateway},
    lanes::{Lane, Transport},
};
use crate::{
    Outcome,
    command::{capture, cargo, run, workspace},
    postgres::{Server, Settings, Tls},
};

/// The database with pgbench's tables.
pub(super) const DATABASE: &str = "bench";
/// The role PgBouncer and Countersign work as at the target, by SCRAM.
pub(super) const ROLE: &str = "bench";
/// The same rights for those who reach the target without help, by password.
pub(super) const DIRECT_ROLE: &str = "direct";
/// Of both roles. The servers listen on loopback, and end with the run.
pub(super) const ROLE_PASSWORD: &str = "bench";

/// The table of the streams: a gigabyte in rows of a kilobyte.
pub(super) const STREAM_TABLE: &str = "stream";
pub(super) const STREAM_ROWS: u32 = 1_000_000;
const STREAM_ROW_MD5S: u32 = 31;

/// The table in whose rows values are masked or looked for: ten columns of about a hundred bytes, nine of which tell nothing.
pub(super) const WIDE_TABLE: &str = "wide";
pub(super) const PLAIN_COLUMNS: RangeInclusive<u32> = 1..=9;
/// Lines of prose that its columns share.
const LINES: u32 = 997;
/// The connection on which its last column is classified.
pub(super) const MASKED: &str = "masked";
/// The connection on which every detector looks into it.
pub(super) const DETECTING: &str = "detecting";
const CLASSES: &str = "\n[contact]\nmask = \"keep-last-four\"\ncolumns = [\"masked/public.wide.contact\"]\n";

/// What callers ask the gateway for.
const CONNECTIONS: &[Connection] = &[
    Connection::new("statements", "statements", false),
    Connection::new("full", "full", false),
    Connection::new("statements-tls", "statements", true),
    Connection::new("full-tls", "full", true),
    Connection::new(MASKED, "statements", false),
    Connection { more: "detect = [\"all\"]", ..Connection::new(DETECTING, "statements", false) },
];

/// The programs that were built for the run.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) countersign: PathBuf,
    /// The relay and the reader.
    pub(super) helper: PathBuf,
}

impl Programs {
    /// Builds, in a profile of `Cargo.toml`, the binary and what the bench needs besides.
    pub(super) fn build(profile: &str) -> Outcome<Self> {
        println!("building countersign in the profile {profile}");
        run(&mut cargo(&["build", "--profile", profile, "--quiet", "--package", "countersign", "--package", "countersign-bench"]))?;
        let folder = target_folder().join(profile);
        Ok(Self { countersign: folder.join("countersign"), helper: folder.join("countersign-bench") })
    }
}

/// Cargo's target folder.
pub(super) fn target_folder() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from))
}

/// How large the stand is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// pgbench's scale: 100,000 rows each.
    pub(super) scale: u32,
    pub(super) stream_rows: u32,
    pub(super) max_connections: u32,
    /// In which profile the gateway is built.
    pub(super) profile: &'static str,
}

/// A target and a gateway. Both end with this value, and with the process.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) gateway: Gateway,
    pub(super) target: Server,
    pub(super) programs: Programs,
    folder: Folder,
}

/// A folder that is removed with its value.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A new one for this process.
    pub(super) fn new(name: &str) -> Outcome<Self> {
        let folder = Self(std::env::temp_dir().join(format!("{name}-{}", std::process::id())));
        fs::create_dir(&folder.0).map_err(|error| format!("cannot make {}: {error}", folder.0.display()))?;
        Ok(folder)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Stand {
    /// Starts both. The target's certificate is the one that `init` made for the gateway.
    pub(super) fn start(size: Size) -> Outcome<Self> {
        let programs = Programs::build(size.profile)?;
        let folder = Folder::new("countersign-bench")?;
        let mut gateway = Gateway::init(&programs.countersign, &folder.0.join("gateway"))?;
        let target = target(size, &gateway)?;
        gateway.append("data-classes.toml", CLASSES)?;
        gateway.open(target.port(), CONNECTIONS)?;
        Ok(Self { gateway, target, programs, folder })
    }

    /// Where the lanes keep their files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// `ca.pem`, `server.pem` and `server.key` of everybody.
    pub(super) fn tls_folder(&self) -> PathBuf {
        self.gateway.file("data/tls")
    }

    /// pgbench, of the target's version.
    pub(super) fn pgbench(&self) -> PathBuf {
        self.target.program("pgbench")
    }

    /// Makes the table of wide rows, a gigabyte, unless it is there.
    pub(super) fn fill_wide(&self) -> Outcome<()> {
        if self.target.sql(DATABASE, &format!("SELECT to_regclass('{WIDE_TABLE}') IS NOT NULL"))?.trim() == "t" {
            return Ok(());
        }
        let line = |number: u32| format!("lines[1 + (i * {number} + {number}) % {LINES}] AS c{number}");
        let plain = PLAIN_COLUMNS.map(line).collect::<Vec<_>>().join(", ");
        let words = "ARRAY['the', 'order', 'was', 'shipped', 'late', 'and', 'customer', 'asked', 'for', 'another', 'delivery', 'in', 'spring', 'please', 'call', 'again']";
        let prose = format!(
            "SELECT array_agg(line) AS lines FROM (SELECT l, string_agg(({words})[1 + (l * w * 7 + l / w + w) % 16], ' ' ORDER BY w) AS line
             FROM generate_series(1, {LINES}) l, generate_series(1, 18) w GROUP BY l) AS each"
        );
        let rows = format!(
            "WITH prose AS MATERIALIZED ({prose}) SELECT {plain}, 'customer.' || i || '@mail.example' AS contact FROM generate_series(1, {STREAM_ROWS}) i, prose"
        );
        self.target.sql(DATABASE, &format!("CREATE TABLE {WIDE_TABLE} AS {rows}; ALTER TABLE {WIDE_TABLE} OWNER TO {ROLE}"))?;
        self.target.sql(DATABASE, &format!("VACUUM ANALYZE {WIDE_TABLE}")).map(drop)
    }

    /// The ways that are compared with one another.
    pub(super) fn lanes(&self, transport: Transport) -> Outcome<Vec<Lane>> {
        Ok(vec![
            Lane::direct(self, transport),
            Lane::relay(self, transport)?,
            Lane::haproxy(self, transport)?,
            Lane::pgbouncer(self, transport, "")?,
            Lane::countersign(self, transport)?,
            Lane::countersign_full(self, transport)?,
        ])
    }
}

fn target(size: Size, gateway: &Gateway) -> Outcome<Server> {
    println!("starting a scratch PostgreSQL with {} rows", u64::from(size.scale) * 100_000 + u64::from(size.stream_rows));
    let pem = |name: &str| {
        let file = gateway.file("data/tls").join(name);
        fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))
    };
    let tls = Tls { certificate: pem("server.pem")?, key: pem("server.key")?, client_authority: pem("ca.pem")? };
    let max_connections = format!("max_connections = {}", size.max_connections);
    let configuration = ["log_statement = none", "shared_buffers = 256MB", "autovacuum = off", "jit = off", "max_wal_size = 8GB", &max_connections];
    let settings = Settings {
        configuration: configuration.map(str::to_owned).to_vec(),
        client_authentication: vec![format!("host all {DIRECT_ROLE} 127.0.0.1/32 password")],
        tls: Some(tls),
        programs: None,
    };
    let target = Server::start(&settings)?;
    target.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE_PASSWORD}'"))?;
    target.sql("postgres", &format!("CREATE ROLE {DIRECT_ROLE} LOGIN PASSWORD '{ROLE_PASSWORD}' IN ROLE {ROLE}"))?;
    target.sql("postgres", &format!("CREATE DATABASE {DATABASE} OWNER {ROLE}"))?;
    fill(&target, DATABASE, size.scale)?;
    let rows = format!("SELECT repeat(md5(i::text), {STREAM_ROW_MD5S}) AS body FROM generate_series(1, {}) i", size.stream_rows);
    target.sql(DATABASE, &format!("CREATE TABLE {STREAM_TABLE} AS {rows}; ALTER TABLE {STREAM_TABLE} OWNER TO {ROLE}"))?;
    target.sql(DATABASE, "VACUUM ANALYZE")?;
    Ok(target)
}

/// Makes pgbench's tables in a database.
pub(super) fn fill(target: &Server, database: &str, scale: u32) -> Outcome<()> {
    let mut fill = Command::new(target.program("pgbench"));
    fill.args(["-i", "-q", "-I", "dtGvp", "-s", &scale.to_string(), "-U", ROLE, "-p", &target.port().to_string(), "-h"]);
    capture(fill.arg(target.socket_folder()).arg(database)).map(drop)
}
