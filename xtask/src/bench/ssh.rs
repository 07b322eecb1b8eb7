//! `cargo xtask bench ssh`: a gigabyte each way, connecting and running a command, and 200 sessions at once; straight to an OpenSSH server, by way of another (`ProxyJump`), and
//! through the gateway, which decides and records each command.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    gateway::Gateway,
    lanes::{COUNTERSIGN, COUNTERSIGN_FULL as FULL, DIRECT},
    measure::{Values, results_file},
    process::{resident_bytes, wait_until_quiet},
    results::{Key, Results},
    rounds::{Spread, interleaved},
    stand::{Folder, Programs},
};
use crate::{
    Outcome,
    command::{capture, run},
    json::Json,
    kept::Kept,
    postgres::free_port,
};

pub(super) const SECTION: &str = "ssh";
pub(super) const PROXY_JUMP: &str = "ProxyJump";
const TRANSPORT: &str = "SSH";
const DOWN: &str = "1 GiB down";
const UP: &str = "1 GiB up";
const CONNECT: &str = "connect and run";
const CROWD: &str = "200 at once";
const BYTES: u64 = 1 << 30;
const CONNECTIONS: u32 = 20;
const SESSIONS: usize = 200;
/// What each of the sessions at once writes.
const SESSION_BYTES: u64 = 100_000;
/// Bash, told by this that another shell runs it, leaves out `~/.bashrc`, whose commands would be measured instead of the connection.
const NO_START_FILES: &str = "SHLVL=1";
const START_MAX: Duration = Duration::from_secs(30);

/// A machine, one to jump over, and the gateway.
struct Stand {
    gateway: Gateway,
    pid: u32,
    /// What the gateway takes up before its first session.
    resident_before: f64,
    config: PathBuf,
    _machines: [Kept; 2],
    folder: Folder,
}

/// Measures everything, and keeps it with what was measured before.
pub(super) fn measure(results: &mut Results, rounds: usize, only: &str, profile: &str) -> Outcome<()> {
    let stand = Stand::start(profile)?;
    let cases: [(&str, &[&str]); 4] = [
        (DOWN, &[DIRECT, PROXY_JUMP, COUNTERSIGN]),
        (UP, &[DIRECT, PROXY_JUMP, COUNTERSIGN]),
        (CONNECT, &[DIRECT, PROXY_JUMP, COUNTERSIGN]),
        (CROWD, &[DIRECT, PROXY_JUMP, FULL]),
    ];
    for (name, ways) in cases {
        if !format!("{SECTION} {name}").contains(only) {
            continue;
        }
        results.forget(SECTION, name, TRANSPORT);
        interleaved(rounds, ways, |way| {
            let values = match name {
                DOWN => stand.streams(way, &format!("head -c {BYTES} /dev/zero"), None),
                UP => stand.streams(way, "cat > /dev/null", Some(BYTES)),
                CONNECT => stand.connects(way),
                _ => stand.crowd(way),
            };
            values?.into_iter().for_each(|(measure, value)| results.add(key(name, measure, way), value));
            Ok(())
        })?;
        print(results, name);
        results.write(&results_file())?;
    }
    Ok(())
}

fn key(case: &str, measure: &str, lane: &str) -> Key {
    let [section, case, transport, measure, lane] = [SECTION, case, TRANSPORT, measure, lane].map(str::to_owned);
    Key { section, case, transport, measure, lane }
}

/// For people at a terminal: medians, and ratios to the direct way.
fn print(results: &Results, name: &str) {
    println!("\n{SECTION} {name}");
    for (key, values) in results.of_case(&key(name, "", "")) {
        let Some(own) = Spread::of(values) else { continue };
        let ratio = results.ratio(key, DIRECT).map(|it| format!("{:.2} ({:.2}-{:.2}) x direct", it.median, it.min, it.max)).unwrap_or_default();
        println!("  {:<16} {:<18} {:>12.3} {ratio:>32}", key.measure, key.lane, own.median);
    }
}

impl Stand {
    fn start(profile: &str) -> Outcome<Self> {
        let programs = Programs::build(profile)?;
        let folder = Folder::new("countersign-bench-ssh")?;
        let keys = folder.path().join("keys");
        fs::create_dir(&keys).map_err(|error| error.to_string())?;
        for name in ["host", "user"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(keys.join(name)))?;
        }
        let (machine, port) = sshd(folder.path(), "machine")?;
        let (jump, jump_port) = sshd(folder.path(), "jump")?;
        let mut gateway = Gateway::init(&programs.countersign, &folder.path().join("gateway"))?;
        let user = capture(Command::new("id").arg("-un"))?.trim().to_owned();
        let host_key = fs::read_to_string(keys.join("host.pub")).map_err(|error| error.to_string())?;
        for (name, record) in [("statements", "statements"), ("full", "full")] {
            let text = format!(
                "protocol = \"ssh\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"{user}\"\nkey = {{ file = {:?} }}\nhost_keys = [{:?}]\nenvironment = \"production\"\nrecord = \"{record}\"\n",
                keys.join("user"),
                host_key.trim()
            );
            gateway.write(&format!("connections/{name}.toml"), &text)?;
        }
        gateway.write("policy/bench.cedar", "permit (principal, action, resource);\n")?;
        let configuration = "[listen]\npostgres = []\nssh = \"127.0.0.1:0\"\n[limits]\nmax_logins = 2000\nmax_logins_per_address = 2000\nmax_sessions_per_identity = 20000\n\
                             [policy]\nwatch = false\n";
        gateway.write("countersign.toml", configuration)?;
        gateway.open_for_people()?;
        let pid = gateway.pid()?;
        wait_until_quiet(pid)?;
        let resident_before = resident_bytes(pid)?;
        let config = folder.path().join("config");
        fs::write(&config, configured(&gateway, &keys, [port, jump_port], &user)?).map_err(|error| error.to_string())?;
        Ok(Self { gateway, pid, resident_before, config, _machines: [machine, jump], folder })
    }

    fn ssh(&self, way: &str, command: &str) -> Command {
        let host = match way {
            DIRECT => "direct",
            PROXY_JUMP => "jumped",
            COUNTERSIGN => "statements",
            _ => "full",
        };
        let mut ssh = Command::new("ssh");
        ssh.arg("-F")
            .arg(&self.config)
            .args([host, command])
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        ssh
    }

    /// Gibibytes a second, and the gateway's CPU time for one.
    fn streams(&self, way: &str, command: &str, sent: Option<u64>) -> Outcome<Values> {
        let before = wait_until_quiet(self.pid)?;
        let began = Instant::now();
        let mut ssh = self.ssh(way, command);
        let source = sent.map(|bytes| Command::new("head").args(["-c", &bytes.to_string(), "/dev/zero"]).stdout(Stdio::piped()).spawn()).transpose();
        let mut source = source.map_err(|error| error.to_string())?;
        if let Some(output) = source.as_mut().and_then(|source| source.stdout.take()) {
            ssh.stdin(output);
        }
        succeeded(ssh.spawn().map_err(|error| error.to_string())?)?;
        if let Some(mut source) = source {
            source.wait().map_err(|error| error.to_string())?;
        }
        let (seconds, gigabytes) = (began.elapsed().as_secs_f64(), BYTES as f64 / f64::from(1 << 30));
        let mut values = vec![("gb_per_s", gigabytes / seconds)];
        if way.starts_with(COUNTERSIGN) {
            values.push(("cpu_s_per_gb", (wait_until_quiet(self.pid)? - before) / gigabytes));
        }
        Ok(values)
    }

    fn connects(&self, way: &str) -> Outcome<Values> {
        let began = Instant::now();
        for _ in 0..CONNECTIONS {
            succeeded(self.ssh(way, "true").spawn().map_err(|error| error.to_string())?)?;
        }
        Ok(vec![("connect_ms", began.elapsed().as_secs_f64() * 1_000.0 / f64::from(CONNECTIONS))])
    }

    /// Sessions at once: how long all take that write something, what one takes up that waits, and how much of what they wrote is not in the recordings.
    fn crowd(&self, way: &str) -> Outcome<Values> {
        let began = Instant::now();
        let writing: Vec<Child> = spawned(|| self.ssh(way, &format!("head -c {SESSION_BYTES} /dev/zero | tr '\\0' x")))?;
        writing.into_iter().try_for_each(succeeded)?;
        let mut values = vec![("seconds", began.elapsed().as_secs_f64())];
        if way != FULL {
            return Ok(values);
        }
        values.push(("lost_bytes", SESSIONS as f64 * SESSION_BYTES as f64 - self.recorded()? as f64));
        let waiting: Vec<Child> = spawned(|| {
            let mut ssh = self.ssh(way, "cat");
            ssh.stdin(Stdio::piped()).stdout(Stdio::piped());
            ssh
        })?;
        let waiting = waiting.into_iter().map(answers).collect::<Outcome<Vec<_>>>()?;
        wait_until_quiet(self.pid)?;
        // What is left of sessions that ended counts, too: it is memory that the next ones take.
        values.push(("kib_per_session", (resident_bytes(self.pid)? - self.resident_before) / SESSIONS as f64 / 1_024.0));
        for mut child in waiting {
            drop(child.stdin.take());
            succeeded(child)?;
        }
        Ok(values)
    }

    /// Bytes of output in the recordings of the newest sessions.
    fn recorded(&self) -> Outcome<u64> {
        let sessions = Json::read(&self.gateway.asks(&["sessions", "--json", "--limit", &SESSIONS.to_string()])?)?;
        let mut bytes = 0;
        for session in sessions.list("sessions") {
            let id = session.text("id").ok_or("a session without an id")?;
            for line in self.gateway.asks(&["show", id, "--json"])?.lines() {
                let record = Json::read(line)?;
                let output = record.get("record").and_then(|record| record.get("output"));
                let output = output.filter(|output| output.text("stream") == Some("output"));
                bytes += output.and_then(|output| output.text("data")).map_or(0, |data| data.len() as u64);
            }
        }
        println!("  {bytes} bytes of output are recorded, in {}", self.folder.path().display());
        Ok(bytes)
    }
}

fn spawned(command: impl Fn() -> Command) -> Outcome<Vec<Child>> {
    (0..SESSIONS).map(|_| command().spawn().map_err(|error| error.to_string())).collect()
}

fn succeeded(child: Child) -> Outcome<()> {
    let ended = child.wait_with_output().map_err(|error| error.to_string())?;
    if ended.status.success() { Ok(()) } else { Err(format!("ssh ended with {}: {}", ended.status, String::from_utf8_lossy(&ended.stderr))) }
}

/// Waits until what is typed comes back: its session is there.
fn answers(mut child: Child) -> Outcome<Child> {
    use std::io::Read;
    let (Some(stdin), Some(stdout)) = (child.stdin.as_mut(), child.stdout.as_mut()) else { return Err("ssh has no pipes".to_owned()) };
    stdin.write_all(b"x").map_err(|error| error.to_string())?;
    stdout.read_exact(&mut [0]).map_err(|error| error.to_string())?;
    Ok(child)
}

/// An OpenSSH server with keys of the stand's; it takes as many at once as come.
fn sshd(folder: &Path, name: &str) -> Outcome<(Kept, u16)> {
    let port = free_port()?;
    let keys = folder.join("keys");
    let path = |name: &str| keys.join(name).display().to_string();
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nMaxStartups 2000\n\
         MaxSessions 2000\nPasswordAuthentication no\nPrintMotd no\nSetEnv {NO_START_FILES}\n",
        path("host"),
        path("user.pub")
    );
    let configured = folder.join(format!("{name}.conf"));
    fs::write(&configured, text).map_err(|error| error.to_string())?;
    fs::create_dir_all("/run/sshd").ok();
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(configured);
    let mut server = Kept::start(&command, &folder.join(format!("{name}.log")))?;
    server.wait_until(START_MAX, || std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop))?;
    Ok((server, port))
}

/// What `ssh` knows of the ways.
fn configured(gateway: &Gateway, keys: &Path, [port, jump_port]: [u16; 2], user: &str) -> Outcome<String> {
    let sign_in = gateway.persons_file("ssh");
    let (key, certificate, user_key) = (sign_in.join("key"), sign_in.join("key-cert.pub"), keys.join("user"));
    let direct = format!("  HostName 127.0.0.1\n  User {user}\n  IdentityFile {}\n", user_key.display());
    let ours = |name: &str| -> Outcome<String> {
        Ok(format!(
            "Host {name}\n  HostName 127.0.0.1\n  Port {}\n  User alice+{name}\n  IdentityFile {}\n  CertificateFile {}\n",
            gateway.ssh_port()?,
            key.display(),
            certificate.display()
        ))
    };
    Ok(format!(
        "Host direct\n{direct}  Port {port}\nHost jump\n{direct}  Port {jump_port}\nHost jumped\n{direct}  Port {port}\n  ProxyJump jump\n{}{}Host *\n  StrictHostKeyChecking no\n  \
         UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  BatchMode yes\n  IdentitiesOnly yes\n  Ciphers aes128-gcm@openssh.com\n",
        ours("statements")?,
        ours("full")?
    ))
}
