//! Ways around what is decided of a machine, and bad input: each must come to nothing. The numbers are those of known holes and of known evasions.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Running,
    machine::{MACHINE, Scene, text, to},
    postgres::PATIENCE,
};

/// Commands that would leave a mark or take something away, each in another way.
#[test]
fn no_wording_of_a_command_runs_what_is_not_permitted() -> Result<()> {
    let scene = Scene::start("")?;
    let (witness, kept) = (scene.file("witness"), scene.file("kept"));
    fs::create_dir(&kept)?;
    let (witness_text, kept_text) = (witness.display().to_string(), kept.display().to_string());
    let encoded = text(&Command::new("sh").args(["-c", &format!("printf 'touch {witness_text}' | base64 -w0")]).output()?.stdout);
    for (id, command) in [
        ("SSH-005", format!("echo {encoded}|base64 -d|sh")),
        ("SSH-005", format!("base64 -d <<< {encoded} | bash")),
        ("SSH-005", format!("sh -c \"$(echo {encoded} | base64 -d)\"")),
        ("SSH-006", format!("$(printf '\\x72\\x6d') -rf {kept_text}")),
        ("SSH-006", format!("$'\\x72\\x6d' -rf {kept_text} && touch {witness_text} && sudo true")),
        ("SSH-007", format!("rm${{IFS}}-rf${{IFS}}{kept_text}")),
        ("SSH-048", "mosh-server new -p 60001".to_owned()),
    ] {
        let mut child = scene.client("ssh")?.arg(to("alice")).arg(&command).stderr(Stdio::piped()).spawn()?;
        // What is only held waits for ever: whoever sent it goes.
        let ended = countersign_tests::machine::until(&command, || {
            let held = scene.gateway.json("bob", &["holds"])?.pointer("/holds/0").is_some();
            Ok(child.try_wait()?.map(|status| status.code()).or_else(|| held.then_some(None)))
        })?;
        child.kill().ok();
        child.wait()?;
        ensure!(ended.is_none() || ended == Some(254), "{id} {command}: {ended:?}");
        ensure!(!witness.exists() && kept.exists(), "{id} {command} ran");
        countersign_tests::machine::until("no hold", || Ok(scene.gateway.json("bob", &["holds"])?.pointer("/holds/0").is_none().then_some(())))?;
    }
    Ok(())
}

/// SSH-033.
#[test]
fn a_variable_that_changes_what_runs_is_not_set() -> Result<()> {
    let scene = Scene::start("")?;
    for (name, value, set) in [
        ("LD_PRELOAD", "/tmp/x.so", false),
        ("BASH_ENV", "/tmp/x", false),
        ("ENV", "/tmp/x", false),
        ("GIT_SSH_COMMAND", "/tmp/x", false),
        ("PATH", "/tmp", false),
        ("PYTHONSTARTUP", "/tmp/x", false),
        ("LC_TIME", "C", true),
    ] {
        let mut ssh = scene.client("ssh")?;
        ssh.args(["-o", &format!("SetEnv={name}={value}"), &to("alice"), &format!("printenv {name} || echo none")]);
        let ran = ssh.output()?;
        ensure!((text(&ran.stdout) == format!("{value}\n")) == set && ran.status.success(), "{name}: {ran:?}");
    }
    Ok(())
}

/// SSH-034: what was signed for one channel is signed for no other, and another connection's master is no way around.
#[test]
fn each_channel_is_decided_by_itself() -> Result<()> {
    let scene = Scene::start("")?;
    let socket = scene.file("master");
    let shared = |command: &str| -> Result<Command> {
        let mut ssh = scene.client("ssh")?;
        ssh.arg("-S").arg(&socket).args(["-o", "ControlMaster=auto", "-o", "ControlPersist=60", &to("alice"), command]).stderr(Stdio::null());
        Ok(ssh)
    };
    let (first, second) = (scene.file("first"), scene.file("second"));
    fs::create_dir(&first)?;
    fs::create_dir(&second)?;
    ensure!(shared("true")?.output()?.status.success());
    let mut signed = shared(&format!("rm -rf {}", first.display()))?.spawn()?;
    let hold = scene.hold()?;
    scene.gateway.run("bob", &["approve", &hold, "--yes"])?;
    ensure!(signed.wait()?.success() && !first.exists());
    let mut again = shared(&format!("rm -rf {}", second.display()))?.spawn()?;
    let other = scene.hold()?;
    ensure!(other != hold && second.exists());
    scene.gateway.run("bob", &["deny", &other])?;
    ensure!(again.wait()?.code() == Some(254) && second.exists());
    shared("true")?.args(["-O", "exit"]).output()?;
    Ok(())
}

/// SSH-012, SSH-014, SSH-047: what is typed in a shell is evidence. The recording has it as it was; whoever plays it is not its victim.
#[test]
fn what_a_shell_does_is_recorded_and_does_nothing_to_whoever_plays_it() -> Result<()> {
    let scene = Scene::start("")?;
    let mut command = scene.client("ssh")?;
    command.args(["-tt", &to("alice")]);
    let mut shell = Running::start(command)?;
    shell.type_line("PS1='> '; alias ls='echo aliased'; echo rea''dy")?;
    shell.wait_for("ready", PATIENCE)?;
    shell.type_line("ls; printf '\\033]52;c;c3RvbGVu\\007\\033[2K\\033[1Aend-of-%s\\n' it")?;
    shell.wait_for("end-of-it", PATIENCE)?;
    shell.type_line("exit 3")?;
    shell.finish(PATIENCE)?;
    let story = scene.told("end-of-it")?;
    let session = story.split_whitespace().find(|word| word.starts_with("s_")).context("no session")?;
    ensure!(story.contains("alias ls="), "{story}");
    // What the screen showed is found, and who looks for it hears where; what it never showed is not.
    for (words, found) in [("aliased", true), ("end-of-it", true), ("\"echo aliased\"", true), ("c3RvbGVu", true), ("stolen", false)] {
        let hits = countersign_tests::machine::until(words, || {
            let hits = scene.gateway.json("alice", &["search", words])?;
            let sessions = hits.pointer("/operations").or_else(|| hits.pointer("/hits")).map(ToString::to_string).unwrap_or_else(|| hits.to_string());
            Ok((!found || sessions.contains(session)).then_some(sessions))
        })?;
        ensure!(hits.contains(session) == found, "{words}: {hits}");
    }
    let raw = scene.gateway.run("alice", &["replay", session, "--asciicast", "2", "--raw"])?;
    ensure!(raw.contains("\\u001b]52;c;c3RvbGVu") && raw.contains("\\u001b[2K\\u001b[1A"), "{raw}");
    for version in ["2", "3"] {
        let played = scene.gateway.run("alice", &["replay", session, "--asciicast", version])?;
        let first = played.lines().next().context("no header")?;
        ensure!(first.contains(&format!("\"version\":{version}")) && !played.contains("\\u001b]52;") && played.contains("\\u001b[2K"), "{played}");
        ensure!(played.contains("\"i\"") && played.contains("aliased"), "{played}");
    }
    Ok(())
}

/// SSH-05, SSH-039: of what is left a prefix cannot be cut off, and nothing is without a check.
#[test]
fn weak_and_cuttable_ciphers_are_not_spoken() -> Result<()> {
    let scene = Scene::start("")?;
    for cipher in ["chacha20-poly1305@openssh.com", "aes128-ctr", "aes256-cbc", "3des-cbc"] {
        let refused = scene.client("ssh")?.args(["-o", &format!("Ciphers={cipher}"), &to("alice"), "true"]).output()?;
        ensure!(refused.status.code() == Some(255), "{cipher}: {refused:?}");
    }
    for cipher in ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"] {
        let ran = scene.client("ssh")?.args(["-o", &format!("Ciphers={cipher}"), &to("alice"), "true"]).output()?;
        ensure!(ran.status.success(), "{cipher}: {ran:?}");
    }
    let ran = scene.client("ssh")?.args(["-vv", "-o", "LogLevel=DEBUG2", &to("alice"), "true"]).output()?;
    ensure!(text(&ran.stderr).contains("kex-strict-s-v00@openssh.com"), "{ran:?}");
    Ok(())
}

/// SSH-06, SSH-11, SSH-028, SSH-030, SSH-036, SSH-044: packets that no client sends end their own connection at most.
#[test]
fn odd_packets_end_their_own_connection_at_most() -> Result<()> {
    let scene = Scene::start("")?;
    ensure!(scene.python("odd_packets.py", &[MACHINE])?.contains("as it should be"));
    ensure!(!scene.gateway.printed().contains("panicked"), "{}", scene.gateway.printed());
    Ok(())
}

/// SSH-07: what is asked of a channel counts among what waits as its bytes do.
#[test]
fn requests_without_end_are_not_read_while_nobody_takes_them() -> Result<()> {
    let scene = Scene::start("")?;
    let kept = scene.file("kept");
    fs::create_dir(&kept)?;
    let taken: u64 = scene.python("requests_without_end.py", &[MACHINE, &format!("rm -rf {}", kept.display())])?.trim().parse()?;
    // 2 MiB wait in the gateway; the rest is on its way between two sockets.
    ensure!(taken < 30_000_000, "{taken} bytes were taken");
    ensure!(text(&scene.ssh(&["echo served"])?.stdout) == "served\n" && kept.exists());
    Ok(())
}

/// SSH-07: those who come and say nothing, or say it slowly, or say nonsense, keep nobody waiting.
#[test]
fn the_silent_and_the_slow_keep_nobody_waiting() -> Result<()> {
    let scene = Scene::start("")?;
    let address = format!("127.0.0.1:{}", scene.port()?);
    let mut crowd = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(&address)?;
        match number % 4 {
            0 => {}
            1 => stream.write_all(b"SSH-2.0-slow\r\n\0\0")?,
            2 => stream.write_all(&[b'x'; 300])?,
            _ => stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?,
        }
        crowd.push(stream);
    }
    for _ in 0..3 {
        let began = std::time::Instant::now();
        let ran = scene.ssh(&["echo served"])?;
        ensure!(text(&ran.stdout) == "served\n" && began.elapsed().as_secs() < 5, "{ran:?} after {:?}", began.elapsed());
    }
    // Each is answered as SSH says, and nothing more.
    let mut line = String::new();
    BufReader::new(crowd.first().context("nobody")?).read_line(&mut line)?;
    ensure!(line.starts_with("SSH-2.0-Countersign"), "{line}");
    Ok(())
}

/// SSH-028: what would listen on the machine is refused before it does.
#[test]
fn nothing_listens_on_the_machine() -> Result<()> {
    let scene = Scene::start("")?;
    let refused = scene.client("ssh")?.args(["-o", "ExitOnForwardFailure=yes", "-R", "0.0.0.0:0:localhost:22", &to("alice"), "true"]).output()?;
    ensure!(refused.status.code() == Some(255), "{refused:?}");
    // Nor is an agent passed on, or a display.
    let ran = scene.client("ssh")?.args(["-A", &to("alice"), "echo \"[$SSH_AUTH_SOCK]\""]).output()?;
    ensure!(text(&ran.stdout) == "[]\n", "{ran:?}");
    Ok(())
}
