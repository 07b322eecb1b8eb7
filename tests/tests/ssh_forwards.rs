//! What leads from the machine back to its caller: listeners (`ssh -R`), the caller's agent (`-A`) and its display (`-X`), with OpenSSH at both ends; and machines that are not
//! what they should be.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use countersign_tests::{
    clients::{python, script},
    machine::{Scene, text, to, until},
    sshd::Sshd,
};
use serde_json::Value;

/// What everybody here may do, beside the escapes that a test names.
const POLICY: &str = r#"
permit (principal in Group::"engineers", action in [Action::"connect", Action::"execute", Action::"read", Action::"write"],
        resource in Environment::"production");
permit (principal in Group::"engineers", action == Action::"unreadable", resource in Environment::"production");
permit (principal in Group::"administrators", action, resource == System::"countersign");
permit (principal in Group::"administrators", action == Action::"connect", resource);
"#;
/// More than every window, both ways.
const PIECE: usize = 5 << 20;

/// Policy that permits these hosts, too, and no tunnels to them. In the id of one, `/` is written `%2F`.
fn policy(hosts: &[&str]) -> String {
    let mut policy = POLICY.to_owned();
    for host in hosts {
        let listens = if matches!(*host, "agent" | "x11") { "" } else { "listen:" };
        let id = format!("web1/{listens}{}", host.replace('/', "%2F"));
        policy.push_str(&format!("permit (principal in Group::\"engineers\", action == Action::\"escape\", resource == Host::\"{id}\");\n"));
    }
    policy
}

fn scene(hosts: &[&str]) -> Result<Scene> {
    let machine = Sshd::start(None)?;
    let connection = machine.connection(&format!("key = {{ file = {:?} }}", machine.key()))?;
    Scene::with(machine, &connection, &policy(hosts), "")
}

/// Puts another policy in force.
fn apply(scene: &Scene, hosts: &[&str]) -> Result<()> {
    let setup = scene.gateway.setup();
    setup.write("policy/all.cedar", &policy(hosts))?;
    scene.gateway.run(scene.gateway.administrator(), &["apply", &setup.file("").to_string_lossy()])?;
    Ok(())
}

/// A program that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A connection of alice's that other commands ask for forwards.
struct Master<'a> {
    scene: &'a Scene,
    socket: PathBuf,
    running: Ends,
}

impl<'a> Master<'a> {
    fn start(scene: &'a Scene) -> Result<Self> {
        let socket = scene.file("master");
        let mut ssh = scene.client("ssh")?;
        ssh.args(["-M", "-N", "-S"]).arg(&socket).arg(to("alice"));
        let running = Ends(ssh.spawn()?);
        until("a master", || Ok(socket.exists().then_some(())))?;
        Ok(Self { scene, socket, running })
    }

    /// Asks for a forward, or that it ends: what is printed if it is granted.
    fn asks(&self, order: &str, forward: &str) -> Result<Option<String>> {
        let mut ssh = self.scene.client("ssh")?;
        let ran = ssh.arg("-S").arg(&self.socket).args(["-O", order, "-R", forward, &to("alice")]).output()?;
        Ok(ran.status.success().then(|| text(&ran.stdout)))
    }
}

/// Answers everybody with what they say, each byte turned over, until they say no more.
fn mirror() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || turned_over(stream));
        }
    });
    Ok(port)
}

fn turned_over(mut stream: TcpStream) -> Result<()> {
    let mut piece = [0; 16 << 10];
    loop {
        let length = stream.read(&mut piece)?;
        if length == 0 {
            return Ok(stream.shutdown(Shutdown::Write)?);
        }
        let turned: Vec<u8> = piece.iter().take(length).map(|byte| !byte).collect();
        stream.write_all(&turned)?;
    }
}

/// Whether what somebody says is turned over, byte for byte, after they have said that nothing more comes.
fn mirrors(mut to: impl Write + Send + 'static, mut from: impl Read, finish: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let said: Vec<u8> = (0..PIECE).map(|place| u8::try_from((place * 7 + place / 251) % 256).unwrap_or(0)).collect();
    let expected: Vec<u8> = said.iter().map(|byte| !byte).collect();
    let writing = thread::spawn(move || -> Result<()> {
        to.write_all(&said)?;
        finish()
    });
    let mut heard = Vec::new();
    from.read_to_end(&mut heard)?;
    writing.join().map_err(|_| anyhow!("the writer panicked"))??;
    ensure!(heard == expected, "{} bytes came back, other than they should", heard.len());
    Ok(())
}

fn mirrors_at(port: u16) -> Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    let (writer, finishing) = (stream.try_clone()?, stream.try_clone()?);
    mirrors(writer, stream, move || Ok(finishing.shutdown(Shutdown::Write)?))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits until nobody listens at a port.
fn closes(port: u16) -> Result<()> {
    until("nobody listens", || Ok(TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())))
}

/// Waits until the newest session that tells of these words tells of them all.
fn tells(scene: &Scene, words: &[&str]) -> Result<()> {
    let mut last = String::new();
    let told = until("the story", || {
        last = scene.told(words.first().copied().unwrap_or_default()).unwrap_or_else(|error| error.to_string());
        Ok(words.iter().all(|word| last.contains(word)).then_some(()))
    });
    told.with_context(|| format!("{words:?}: {last}"))
}

#[test]
fn what_listens_on_the_machine_leads_to_the_caller() -> Result<()> {
    let (port, folder) = (free_port()?, tempfile::tempdir()?);
    let socket = folder.path().join("socket");
    let (socket_text, bytes) = (socket.display().to_string(), PIECE);
    let scene = scene(&[&format!("localhost:{port}"), "localhost:0", &format!("unix:{socket_text}")])?;
    let (master, target) = (Master::start(&scene)?, mirror()?);
    let there = format!("127.0.0.1:{target}");
    ensure!(master.asks("forward", &format!("{port}:{there}"))?.is_some());
    mirrors_at(port)?;
    let chosen: u16 = master.asks("forward", &format!("0:{there}"))?.context("refused")?.trim().parse()?;
    ensure!(chosen != 0 && chosen != port);
    mirrors_at(chosen)?;
    ensure!(master.asks("forward", &format!("{socket_text}:{there}"))?.is_some());
    let stream = UnixStream::connect(&socket)?;
    let (writer, finishing) = (stream.try_clone()?, stream.try_clone()?);
    mirrors(writer, stream, move || Ok(finishing.shutdown(Shutdown::Write)?))?;
    // What policy does not name does not listen, however it is spelled.
    let other = free_port()?;
    for refused in [format!("{other}:{there}"), format!("*:{port}:{there}"), format!("{socket_text}.other:{there}")] {
        ensure!(master.asks("forward", &refused)?.is_none(), "{refused}");
    }
    ensure!(TcpStream::connect(("127.0.0.1", other)).is_err());
    let tunnel = scene.client("ssh")?.args(["-W", &format!("localhost:{port}"), &to("alice")]).output()?;
    ensure!(!tunnel.status.success(), "{tunnel:?}");
    // Somebody listens no more, and whoever was there already stays.
    let mut early = TcpStream::connect(("127.0.0.1", port))?;
    let mut heard = [0; 2];
    early.write_all(b"\0\x01")?;
    early.read_exact(&mut heard)?;
    ensure!(heard == *b"\xff\xfe");
    ensure!(master.asks("cancel", &format!("{port}:{there}"))?.is_some() && master.asks("cancel", &format!("{socket_text}:{there}"))?.is_some());
    closes(port)?;
    until("nobody listens", || Ok(UnixStream::connect(&socket).is_err().then_some(())))?;
    early.write_all(b"\x02\x03")?;
    early.read_exact(&mut heard)?;
    ensure!(heard == *b"\xfd\xfc");
    mirrors_at(chosen)?;
    let story = [
        format!("listening at localhost:{port}"),
        "listening at localhost:0".to_owned(),
        format!("listening at the socket {socket_text}"),
        format!("listening at localhost:{other}"),
        format!("listening at *:{port}"),
        "refused by policy".to_owned(),
        "a connection from 127.0.0.1:".to_owned(),
        format!(" to localhost:{port}"),
        format!(" to localhost:{chosen}"),
        format!("a connection to the socket {socket_text}"),
        format!("{bytes} bytes there, {bytes} bytes back"),
        "stopped listening".to_owned(),
    ];
    tells(&scene, &story.iter().map(String::as_str).collect::<Vec<_>>())?;
    // With its caller's connection everything ends.
    drop(master);
    closes(chosen)
}

#[test]
fn what_policy_no_longer_permits_is_passed_on_no_more() -> Result<()> {
    let port = free_port()?;
    let scene = scene(&[&format!("localhost:{port}")])?;
    let (master, target) = (Master::start(&scene)?, mirror()?);
    ensure!(master.asks("forward", &format!("{port}:127.0.0.1:{target}"))?.is_some());
    mirrors_at(port)?;
    apply(&scene, &[])?;
    let mut refused = TcpStream::connect(("127.0.0.1", port))?;
    // It is let go with nothing, or as a connection that nobody takes.
    let _ = refused.write_all(b"anybody?");
    let mut heard = Vec::new();
    let _ = refused.read_to_end(&mut heard);
    ensure!(heard.is_empty(), "{heard:?}");
    closes(port)?;
    tells(&scene, &["refused by policy", &format!("listening at localhost:{port}")])
}

#[test]
fn a_session_that_is_killed_listens_no_more() -> Result<()> {
    let scene = scene(&["localhost:0"])?;
    let (mut master, target) = (Master::start(&scene)?, mirror()?);
    let port: u16 = master.asks("forward", &format!("0:127.0.0.1:{target}"))?.context("refused")?.trim().parse()?;
    mirrors_at(port)?;
    let live = scene.gateway.json("alice", &["sessions", "--live"])?;
    let id = live.pointer("/sessions/0/id").and_then(Value::as_str).context("no live session")?;
    scene.gateway.run(scene.gateway.administrator(), &["kill", id, "--reason", "a test"])?;
    closes(port)?;
    until("the caller hears of it", || Ok(master.running.0.try_wait()?))?;
    Ok(())
}

#[test]
fn no_more_listens_than_one_connection_may_have() -> Result<()> {
    let scene = scene(&["localhost:0"])?;
    let master = Master::start(&scene)?;
    // OpenSSH asks once for what is the same: each leads elsewhere.
    for target in 1..=16 {
        ensure!(master.asks("forward", &format!("0:127.0.0.1:{target}"))?.is_some());
    }
    ensure!(master.asks("forward", "0:127.0.0.1:17")?.is_none());
    Ok(())
}

/// A machine that is somebody else's by now, and a gateway in front of it. `more`: further lines of its connection.
fn hostile(hosts: &[&str], more: &str) -> Result<(Scene, (Ends, tempfile::TempDir))> {
    let (sshd, folder) = (Sshd::start(None)?, tempfile::tempdir()?);
    let host_key = folder.path().join("host");
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(&host_key).stdin(Stdio::null()).output()?;
    ensure!(made.status.success(), "{made:?}");
    let mut machine = Command::new(python()?);
    machine.env("PYTHONDONTWRITEBYTECODE", "1").arg(script("ssh").join("hostile_machine.py")).arg(&host_key);
    let mut machine = Ends(machine.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let mut port = String::new();
    BufReader::new(machine.0.stdout.take().context("no output")?).read_line(&mut port)?;
    let public = fs::read_to_string(host_key.with_extension("pub"))?;
    let proof = if more.contains("password") { String::new() } else { format!("key = {{ file = {:?} }}\n", sshd.key()) };
    let connection = sshd.connection(&format!("{proof}{more}"))?;
    let connection = connection.replace(&format!("port = {}", sshd.port()), &format!("port = {}", port.trim()));
    let connection = connection.replace(&sshd.host_key()?, &public.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    Ok((Scene::with(sshd, &connection, &policy(hosts), "")?, (machine, folder)))
}

/// It reaches nothing but what it was asked for, and leaves its caller room for its own.
#[test]
fn a_hostile_machine_opens_nothing_else_and_not_without_end() -> Result<()> {
    let (scene, _machine) = hostile(&["localhost:0"], "")?;
    let (master, target) = (Master::start(&scene)?, mirror()?);
    ensure!(master.asks("forward", &format!("0:127.0.0.1:{target}"))?.is_some_and(|port| port.trim() == "2222"));
    let runs = |command: &str| -> Result<String> {
        let ran = scene.client("ssh")?.arg("-S").arg(&master.socket).args([&to("alice"), command]).output()?;
        ensure!(ran.status.success(), "{ran:?}");
        Ok(text(&ran.stdout))
    };
    let said = runs("attack")?;
    let found: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    for (kind, taken) in found.as_object().context("no object")? {
        let taken = taken.as_u64().context("no number")?;
        ensure!(if kind == "wanted" { (1..=48).contains(&taken) } else { taken == 0 }, "{kind}: {taken} in {found}");
    }
    // With all of them open there is room for the caller.
    let said = runs("still served")?;
    ensure!(said == "still served\n", "{said:?} after {found}");
    ensure!(!scene.gateway.printed().contains("panicked"), "{}", scene.gateway.printed());
    Ok(())
}

/// Some say what they have to say before they have granted that it is said.
#[test]
fn what_a_machine_says_before_its_answer_is_the_beginning_of_what_its_caller_sees() -> Result<()> {
    let (scene, _machine) = hostile(&[], "record = \"full\"\ndetect = [\"email\"]")?;
    let ran = scene.ssh(&["early"])?;
    ensure!(ran.status.success() && text(&ran.stdout) == "before: ********\nearly\n" && text(&ran.stderr) == "an error before\n", "{ran:?}");
    let story = scene.told("early")?;
    ensure!(story.contains("before: ********") && story.contains("an error before") && story.contains("masked: email"), "{story}");
    let ran = scene.ssh(&["flood"])?;
    ensure!(ran.status.code() == Some(254) && ran.stdout.is_empty() && text(&ran.stderr).contains("says too much before it begins"), "{ran:?}");
    Ok(())
}

#[test]
fn a_machine_is_signed_in_to_with_the_password_that_its_connection_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("password");
    for (password, sentence) in [("pässword of the machine", None), ("another", Some("does not let the gateway in"))] {
        fs::write(&secret, password)?;
        let (scene, _machine) = hostile(&[], &format!("password = {{ file = {secret:?} }}"))?;
        let ran = scene.ssh(&["within"])?;
        match sentence {
            None => ensure!(ran.status.success() && text(&ran.stdout) == "within\n", "{ran:?}"),
            Some(sentence) => ensure!(ran.status.code() == Some(254) && text(&ran.stderr).contains(sentence), "{ran:?}"),
        }
    }
    Ok(())
}

/// Requests to listen are answered in order: one that the machine does not answer is answered by the gateway, and the connection goes on.
#[test]
fn a_machine_that_does_not_answer_holds_its_caller_up_for_a_while_and_no_longer() -> Result<()> {
    let (scene, _machine) = hostile(&["silent:0"], "")?;
    let master = Master::start(&scene)?;
    ensure!(master.asks("forward", "silent:0:127.0.0.1:1")?.is_none());
    let ran = scene.client("ssh")?.arg("-S").arg(&master.socket).args([&to("alice"), "goes on"]).output()?;
    ensure!(ran.status.success() && text(&ran.stdout) == "goes on\n", "{ran:?}");
    tells(&scene, &["listening at silent:0", "the machine does not answer"])
}

/// An agent with one key; where it is reached.
fn agent(folder: &Path, key: &Path) -> Result<(Ends, PathBuf)> {
    let socket = folder.join("agent");
    let running = Ends(Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn()?);
    until("an agent", || Ok(UnixStream::connect(&socket).ok()))?;
    let added = Command::new("ssh-add").arg(key).env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null()).output()?;
    ensure!(added.status.success(), "{added:?}");
    Ok((running, socket))
}

#[test]
fn an_agent_is_passed_on_where_policy_permits_it() -> Result<()> {
    let scene = scene(&["agent"])?;
    let key = scene.key("of-the-caller", &["ed25519", "-C", "the key of the caller"])?;
    let (_agent, socket) = agent(scene.client.path(), &key)?;
    let lists = |option: &str| -> Result<(bool, String)> {
        let mut ssh = scene.client("ssh")?;
        let ran = ssh.env("SSH_AUTH_SOCK", &socket).args([option, &to("alice"), "ssh-add -l; echo \"[$SSH_AUTH_SOCK]\" >&2"]).output()?;
        ensure!(ran.status.success(), "{ran:?}");
        Ok((text(&ran.stdout).contains("the key of the caller"), text(&ran.stderr)))
    };
    let (lists_it, said) = lists("-A")?;
    ensure!(lists_it && !said.contains("[]"), "{said}");
    tells(&scene, &["the agent is passed on", "a connection to the agent", " bytes there, "])?;
    let (lists_it, said) = lists("-a")?;
    ensure!(!lists_it && said.contains("[]"), "nobody asked: {said}");
    apply(&scene, &[])?;
    let (lists_it, said) = lists("-A")?;
    ensure!(!lists_it && said.contains("[]"), "{said}");
    tells(&scene, &["the agent is passed on", "refused by policy"])
}

#[test]
fn an_agent_that_was_passed_on_is_asked_no_more_once_policy_changed() -> Result<()> {
    let scene = scene(&["agent"])?;
    let key = scene.key("of-the-caller", &["ed25519", "-C", "the key of the caller"])?;
    let (_agent, socket) = agent(scene.client.path(), &key)?;
    let mut ssh = scene.client("ssh")?;
    ssh.env("SSH_AUTH_SOCK", &socket).args(["-A", &to("alice"), "ssh-add -l; read line; ssh-add -l 2>&1; echo over"]);
    let mut running = Ends(ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut lines = BufReader::new(running.0.stdout.take().context("no output")?).lines();
    ensure!(lines.next().context("nothing came")??.contains("the key of the caller"));
    apply(&scene, &[])?;
    running.0.stdin.take().context("no input")?.write_all(b"go on\n")?;
    let rest: Vec<String> = lines.collect::<Result<_, _>>()?;
    ensure!(rest.last().is_some_and(|line| line == "over") && !rest.concat().contains("the key of the caller"), "{rest:?}");
    tells(&scene, &["the agent is passed on", "a connection to the agent", "refused by policy"])
}

/// A display: its number, and where programs reach it.
fn display() -> Result<(u16, TcpListener)> {
    let free = (50..100).find_map(|number| Some((number, TcpListener::bind(("127.0.0.1", 6000 + number)).ok()?)));
    free.context("no number of a display is free")
}

#[test]
fn a_display_is_passed_on_where_policy_permits_it() -> Result<()> {
    let scene = scene(&["x11"])?;
    let (number, screen) = display()?;
    let shows = || -> Result<Ends> {
        let mut ssh = scene.client("ssh")?;
        ssh.env("DISPLAY", format!("127.0.0.1:{number}")).args([
            "-Y",
            "-o",
            "XAuthLocation=/nonexistent",
            &to("alice"),
            "echo \"[$DISPLAY]\"; read line",
        ]);
        Ok(Ends(ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?))
    };
    let says = |running: &mut Ends| -> Result<String> {
        let mut line = String::new();
        BufReader::new(running.0.stdout.as_mut().context("no output")?).read_line(&mut line)?;
        Ok(line.trim().trim_matches(['[', ']']).to_owned())
    };
    let mut running = shows()?;
    let there = says(&mut running)?;
    let there: u16 = there.strip_prefix("localhost:").and_then(|there| there.strip_suffix(".0")).with_context(|| there.clone())?.parse()?;
    let told = scene.machine.displays()?;
    let cookie = told.lines().find(|line| line.starts_with("add ")).and_then(|line| line.split(' ').next_back()).context("no cookie")?;
    let cookie: Vec<u8> = (0..16).map(|at| Ok(u8::from_str_radix(cookie.get(at * 2..at * 2 + 2).context("short")?, 16)?)).collect::<Result<_>>()?;
    // X Window System Protocol, "Connection Setup": the byte order, version 11.0, and the cookie with its kind.
    let begins = [b"l\0\x0b\0\0\0\x12\0\x10\0\0\0MIT-MAGIC-COOKIE-1\0\0".as_slice(), &cookie].concat();
    let mut program = TcpStream::connect(("127.0.0.1", 6000 + there))?;
    program.write_all(&begins)?;
    let (mut shown, _) = screen.accept()?;
    let mut came = vec![0; begins.len()];
    shown.read_exact(&mut came)?;
    // The caller's own client puts the true cookie in the place of the one it gave away.
    ensure!(came.get(..32) == begins.get(..32) && came.get(32..) != begins.get(32..), "{came:?}");
    shown.write_all(b"welcome")?;
    let mut heard = [0; 7];
    program.read_exact(&mut heard)?;
    ensure!(heard == *b"welcome");
    drop((program, shown));
    tells(&scene, &["the display is passed on", "a connection from 127.0.0.1:", "to the display", "48 bytes there, 7 bytes back"])?;
    drop(running);
    closes(6000 + there)?;
    apply(&scene, &[])?;
    ensure!(says(&mut shows()?)?.is_empty());
    tells(&scene, &["the display is passed on", "refused by policy"])
}
