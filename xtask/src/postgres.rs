//! A scratch PostgreSQL: made in an empty folder, stopped and removed with the value that stands for it.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    Outcome,
    command::{cache_folder, capture, line, own_user_id, succeeds},
    install::postgres_programs,
};

/// Name of the bootstrap superuser of every scratch server.
pub const SUPERUSER: &str = "postgres";

/// Tries at a free port before giving up: somebody else may take it between our look and the server's start.
const PORT_TRIES: usize = 5;

/// What a scratch server is to be like.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Lines for `postgresql.conf`, after the defaults below.
    pub configuration: Vec<String>,
    /// Lines for `pg_hba.conf`, before the default ones, which trust the Unix socket and want SCRAM on loopback.
    pub client_authentication: Vec<String>,
    /// Certificate, key and certificate authority, PEM: with them the server speaks TLS.
    pub tls: Option<Tls>,
    /// The folder of another PostgreSQL than the installed one, with `bin`, `lib` and `share`. It is copied, for the server's user may not enter ours.
    pub programs: Option<PathBuf>,
}

/// What a server needs to speak TLS, all PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The server's certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// Who signs the client certificates it accepts.
    pub client_authority: String,
}

/// A running scratch server. It is stopped and its folder removed when this is dropped, and also when the process that
/// holds it ends in whatever way: the server's keeper then sees its standard input end.
#[derive(Debug)]
pub struct Server {
    keeper: Child,
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
}

/// Where scratch servers are made if there is room: each has a thousand files, and ext4 looks past whatever it deleted in the last minutes each time it
/// makes one, which was a quarter of the time of the tests.
const MEMORY: &str = "/dev/shm";
/// So much must be free there, in KiB.
const ROOM_KIB: u64 = 4 << 20;

/// Starts the server, says so, waits for the end of its standard input, and leaves nothing behind.
const KEEPER: &str = r#"
if "$1/pg_ctl" start --silent --wait --timeout=60 -D "$2/data" -l "$2/log" >"$2/start" 2>&1 </dev/null; then
    echo ready
    read -r _
    "$1/pg_ctl" stop --silent --mode=immediate -D "$2/data" >/dev/null 2>&1
    rm -rf "$2"
else
    echo failed
    read -r _
fi
"#;

impl Server {
    /// Makes and starts a server: loopback TCP on a port of the system's choice, and a Unix socket; every statement is
    /// logged to [`Server::log`].
    ///
    /// # Errors
    /// PostgreSQL is not installed, or a program of it failed: with what it said.
    pub fn start(settings: &Settings) -> Outcome<Self> {
        let owner = ServerUser::find()?;
        let folder = owner.new_folder()?;
        let started = owner.programs(settings.programs.as_deref(), &folder).and_then(|programs| {
            owner.make_cluster(&programs, &folder, settings)?;
            let (keeper, port) = start_on_a_free_port(&owner, &programs, &folder)?;
            Ok((keeper, programs, port))
        });
        if started.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        let (keeper, programs, port) = started?;
        Ok(Self { keeper, programs, folder, port })
    }

    /// The TCP port, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket, where `pg_hba.conf` trusts everybody who may enter it.
    #[must_use]
    pub fn socket_folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// The server's log file. A line starts with the time, the process id in brackets and the application name.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// One of PostgreSQL's programs, of the same version as the server.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Stops it at once, as a crash does; its data stay.
    ///
    /// # Errors
    /// `pg_ctl`'s.
    pub fn stop(&self) -> Outcome<()> {
        capture(self.control()?.args(["stop", "--mode=immediate"])).map(drop)
    }

    /// Starts it again on the same port, after [`Server::stop`].
    ///
    /// # Errors
    /// `pg_ctl`'s.
    pub fn start_again(&self) -> Outcome<()> {
        // Nothing of it is read: the server keeps what pg_ctl had for its output.
        let started = succeeds(self.control()?.args(["start", "-l"]).arg(self.log()));
        if started { Ok(()) } else { Err(format!("the scratch PostgreSQL did not start again: see {}", self.log().display())) }
    }

    fn control(&self) -> Outcome<Command> {
        let mut control = ServerUser::find()?.command(&self.program("pg_ctl"));
        control.args(["--silent", "--wait", "--timeout=60", "-D"]).arg(self.folder.join("data"));
        Ok(control)
    }

    /// Runs SQL as the superuser, through the Unix socket, and returns what psql prints: rows unaligned, without a header.
    ///
    /// # Errors
    /// psql's, at the first statement that fails.
    pub fn sql(&self, database: &str, statements: &str) -> Outcome<String> {
        capture(self.psql(database).args(["-qAt", "-c", statements]))
    }

    /// Runs a file of SQL as [`Server::sql`] does.
    ///
    /// # Errors
    /// psql's, at the first statement that fails.
    pub fn sql_file(&self, database: &str, file: &Path) -> Outcome<String> {
        capture(self.psql(database).arg("-qAt").arg("-f").arg(file))
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new(self.program("psql"));
        psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-d", database, "-p", &self.port.to_string(), "-h"]);
        psql.arg(&self.folder).env("PGOPTIONS", "-c client_min_messages=warning");
        psql
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The user servers run as: PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy)]
pub struct ServerUser {
    user: u32,
    group: u32,
    is_us: bool,
}

impl ServerUser {
    /// The user `postgres` or `nobody` if we are root, else the one we are.
    ///
    /// # Errors
    /// We are root and there is neither.
    pub fn find() -> Outcome<Self> {
        let own = own_user_id()?;
        if own != 0 {
            let group = fs::metadata("/proc/self").map_err(|error| error.to_string())?.gid();
            return Ok(Self { user: own, group, is_us: true });
        }
        let accounts = fs::read_to_string("/etc/passwd").map_err(|error| format!("cannot read /etc/passwd: {error}"))?;
        let (user, group) = account(&accounts, "postgres")
            .or_else(|| account(&accounts, "nobody"))
            .ok_or("there is neither a user postgres nor a user nobody to run a scratch PostgreSQL as")?;
        Ok(Self { user, group, is_us: false })
    }

    /// A program that is to run as this user.
    #[must_use]
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if !self.is_us {
            command.uid(self.user).gid(self.group);
        }
        command.current_dir("/").env_remove("PGDATA").env_remove("PGOPTIONS");
        command
    }

    /// Makes a folder that belongs to this user and that everybody may read.
    ///
    /// # Errors
    /// The file system's.
    pub fn make_folder(self, folder: &Path) -> Outcome<()> {
        self.make(folder, 0o755)
    }

    /// Makes this user the owner of a folder and all that is in it.
    ///
    /// # Errors
    /// The file system's.
    pub fn give(self, folder: &Path) -> Outcome<()> {
        if self.is_us {
            return Ok(());
        }
        crate::command::run(Command::new("chown").arg("-R").arg(format!("{}:{}", self.user, self.group)).arg(folder))
    }

    /// The folder of a server's programs: the installed ones, or a copy of those in `home`, with the installed psql where they have none.
    fn programs(self, home: Option<&Path>, folder: &Path) -> Outcome<PathBuf> {
        let installed = postgres_programs()?;
        let Some(home) = home else { return Ok(installed) };
        let ours = folder.join("programs");
        copy(home, &ours)?;
        let (bin, psql) = (ours.join("bin"), ours.join("bin/psql"));
        if !psql.exists() {
            std::os::unix::fs::symlink(installed.join("psql"), &psql).map_err(|error| format!("cannot make {}: {error}", psql.display()))?;
        }
        self.give(&ours)?;
        Ok(bin)
    }

    fn new_folder(self) -> Outcome<PathBuf> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("countersign-pg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(MEMORY);
        let folder = if has_room(folder) { folder.to_owned() } else { std::env::temp_dir() }.join(name);
        self.make(&folder, 0o700)?;
        Ok(folder)
    }

    fn make(self, folder: &Path, mode: u32) -> Outcome<()> {
        let made = fs::create_dir(folder).and_then(|()| {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
            if self.is_us { Ok(()) } else { chown(folder, Some(self.user), Some(self.group)) }
        });
        made.map_err(|error| format!("cannot make {}: {error}", folder.display()))
    }

    /// A cluster as `initdb` leaves it. It is made once for a version and a user, and kept in the cache folder: to copy it takes a tenth of the time.
    fn new_cluster(self, programs: &Path) -> Outcome<PathBuf> {
        let version = capture(Command::new(programs.join("postgres")).arg("--version"))?;
        let name: String = version.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
        let clusters = cache_folder("clusters")?;
        let kept = clusters.join(format!("{name}-{}", self.user));
        if !kept.exists() {
            let folder = self.new_folder()?;
            fs::create_dir_all(&clusters).map_err(|error| format!("cannot make {}: {error}", clusters.display()))?;
            let (made, whole) = (folder.join("data"), clusters.join(folder.file_name().unwrap_or_default()));
            let mut initdb = self.command(&programs.join("initdb"));
            initdb.args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C", "--auth=trust", "-U", SUPERUSER, "-D"]).arg(&made);
            let copied = capture(&mut initdb).and_then(|_| copy(&made, &whole));
            let _ = fs::remove_dir_all(&folder);
            copied?;
            // Whoever was faster made the same.
            if fs::rename(&whole, &kept).is_err() {
                let _ = fs::remove_dir_all(&whole);
            }
        }
        Ok(kept)
    }

    fn make_cluster(self, programs: &Path, folder: &Path, settings: &Settings) -> Outcome<()> {
        let data = folder.join("data");
        copy(&self.new_cluster(programs)?, &data)?;
        let mut configuration = default_configuration(folder);
        if let Some(tls) = &settings.tls {
            for (name, text) in [("server.pem", &tls.certificate), ("server.key", &tls.key), ("clients.pem", &tls.client_authority)] {
                self.write(&data.join(name), text)?;
            }
            configuration.extend(
                ["ssl = on", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'", "ssl_ca_file = 'clients.pem'"].map(str::to_owned),
            );
        }
        configuration.extend(settings.configuration.iter().cloned());
        let before = fs::read_to_string(data.join("postgresql.conf")).map_err(|error| format!("initdb left no postgresql.conf: {error}"))?;
        self.write(&data.join("postgresql.conf"), &format!("{before}\n{}\n", configuration.join("\n")))?;
        let mut authentication = vec!["local all all trust".to_owned()];
        authentication.extend(settings.client_authentication.iter().cloned());
        authentication.push("host all all 127.0.0.1/32 scram-sha-256".to_owned());
        self.write(&data.join("pg_hba.conf"), &(authentication.join("\n") + "\n"))
    }

    fn write(self, file: &Path, text: &str) -> Outcome<()> {
        let written = fs::write(file, text).and_then(|()| {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
            if self.is_us { Ok(()) } else { chown(file, Some(self.user), Some(self.group)) }
        });
        written.map_err(|error| format!("cannot write {}: {error}", file.display()))
    }
}

/// Whether so much is free in a folder in memory.
fn has_room(memory: &Path) -> bool {
    let free = capture(Command::new("df").args(["--output=avail", "--block-size=1K", "--type=tmpfs"]).arg(memory));
    free.is_ok_and(|printed| printed.lines().nth(1).and_then(|free| free.trim().parse::<u64>().ok()).is_some_and(|free| free >= ROOM_KIB))
}

/// With owners and modes.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    crate::command::run(Command::new("cp").arg("-a").arg(from).arg(to))
}

fn account(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let user = fields.nth(1)?.parse().ok()?;
        Some((user, fields.next()?.parse().ok()?))
    })
}

fn default_configuration(folder: &Path) -> Vec<String> {
    let mut lines: Vec<String> = [
        "listen_addresses = '127.0.0.1'",
        "fsync = off",
        "synchronous_commit = off",
        "full_page_writes = off",
        "max_connections = 200",
        "shared_buffers = 64MB",
        "log_statement = all",
        "log_line_prefix = '%m [%p] %a '",
        "timezone = 'UTC'",
        "log_timezone = 'UTC'",
    ]
    .map(str::to_owned)
    .to_vec();
    lines.push(format!("unix_socket_directories = '{}'", folder.display()));
    lines
}

fn start_on_a_free_port(owner: &ServerUser, programs: &Path, folder: &Path) -> Outcome<(Child, u16)> {
    let mut failure = String::new();
    for _ in 0..PORT_TRIES {
        let port = free_port()?;
        let setting = folder.join("data/postgresql.auto.conf");
        owner.write(&setting, &format!("port = {port}\n"))?;
        match start_keeper(owner, programs, folder)? {
            Some(keeper) => return Ok((keeper, port)),
            None => failure = [folder.join("start"), folder.join("log")].iter().filter_map(|file| fs::read_to_string(file).ok()).collect(),
        }
        if !failure.contains("Address already in use") {
            break;
        }
    }
    Err(format!("the scratch PostgreSQL did not start:\n{failure}"))
}

fn start_keeper(owner: &ServerUser, programs: &Path, folder: &Path) -> Outcome<Option<Child>> {
    let mut command = owner.command(Path::new("/bin/sh"));
    command.args(["-c", KEEPER, "keeper"]).arg(programs).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut keeper = command.process_group(0).spawn().map_err(|error| format!("cannot start {}: {error}", line(&command)))?;
    let mut said = String::new();
    if let Some(output) = keeper.stdout.take() {
        let _ = BufReader::new(output).read_line(&mut said);
    }
    if said.trim() == "ready" {
        return Ok(Some(keeper));
    }
    drop(keeper.stdin.take());
    let _ = keeper.wait();
    Ok(None)
}

/// A port nobody listens on at this moment.
///
/// # Errors
/// The system gives none.
pub fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("cannot find a free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("cannot find a free port: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "postgresql:x:1:2::/:/bin/sh\npostgres:x:113:120:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(account(passwd, "postgres"), Some((113, 120)));
        assert_eq!(account(passwd, "nobody"), None);
    }
}
