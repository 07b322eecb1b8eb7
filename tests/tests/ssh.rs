//! Machines over SSH, with OpenSSH's own clients and server: the same identities, policies, holds and recordings as databases have.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    machine::{MACHINE, POLICY, Scene, text},
    sshd::Sshd,
};

#[test]
fn a_command_gets_its_input_output_errors_and_status_as_without_a_gateway() -> Result<()> {
    let scene = Scene::start("")?;
    let ran = scene.ssh(&["echo out; echo err >&2; exit 3"])?;
    ensure!((ran.status.code(), text(&ran.stdout), text(&ran.stderr)) == (Some(3), "out\n".to_owned(), "err\n".to_owned()), "{ran:?}");
    let killed = scene.ssh(&["kill -KILL $$"])?;
    ensure!(killed.status.code() == Some(255), "a signal is told as one: {killed:?}");
    // Both ways, more than every window holds, and it is all there.
    let content: Vec<u8> = (0..6_000_000u32).flat_map(u32::to_le_bytes).collect();
    let (sent, got) = (scene.file("sent"), scene.file("got"));
    fs::write(&sent, &content)?;
    let mut command = scene.client("ssh")?;
    command.arg(format!("alice+{MACHINE}@127.0.0.1")).arg("cat").stdin(fs::File::open(&sent)?).stdout(fs::File::create(&got)?);
    ensure!(command.status()?.success() && fs::read(&got)? == content, "24 MB did not come back as they went");
    let story = scene.told("echo out")?;
    for part in ["alice", "web1 (production)", "allowed", "exit 3"] {
        ensure!(story.contains(part), "{part}: {story}");
    }
    Ok(())
}

#[test]
fn a_shell_has_its_terminal_and_what_it_shows_is_recorded() -> Result<()> {
    let scene = Scene::start("")?;
    let mut command = scene.client("ssh")?;
    command.args(["-tt", &format!("alice+{MACHINE}@127.0.0.1")]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = command.spawn()?;
    std::io::Write::write_all(&mut shell.stdin.take().context("no input")?, b"echo in the shell $((20+1))\nexit 7\n")?;
    let ran = shell.wait_with_output()?;
    ensure!(ran.status.code() == Some(7) && text(&ran.stdout).contains("in the shell 21"), "{ran:?}");
    let story = scene.told("in the shell 21")?;
    ensure!(story.contains("an interactive shell") && story.contains("exit 7"), "{story}");
    Ok(())
}

#[test]
fn what_policy_does_not_permit_never_reaches_the_machine_and_says_why() -> Result<()> {
    let scene = Scene::start("")?;
    let witness = scene.file("witness");
    for (command, why) in [
        (format!("sudo touch {}", witness.display()), "no policy permits `privilege`"),
        (format!("echo dG91Y2ggeA== | base64 -d | sh; touch {}", witness.display()), "not fully understood"),
        (format!("cat /srv/secrets/key; touch {}", witness.display()), "nobody reads secrets here"),
    ] {
        let ran = scene.ssh(&[&command])?;
        ensure!(ran.status.code() == Some(254) && text(&ran.stderr).contains(why), "{command}: {ran:?}");
    }
    ensure!(!witness.exists(), "something of them ran");
    // SSH-08, SSH-027: a tunnel is an operation like another.
    for (to, what) in [("127.0.0.1:22", "no policy permits `escape`"), ("127.0.0.1:1", "the machine does not connect")] {
        let refused = scene.client("ssh")?.args(["-W", to, &format!("alice+{MACHINE}@127.0.0.1")]).output()?;
        ensure!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
        let story = scene.told(&format!("a connection to {to}"))?;
        ensure!(story.contains(what), "{story}");
    }
    Ok(())
}

#[test]
fn what_removes_waits_on_the_open_channel_until_it_is_signed() -> Result<()> {
    let scene = Scene::start("")?;
    let gone = scene.file("gone");
    fs::create_dir(&gone)?;
    let mut command = scene.client("ssh")?;
    command.arg(format!("alice+{MACHINE}@127.0.0.1")).arg(format!("rm -rf {} && echo removed", gone.display()));
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let hold = scene.hold()?;
    ensure!(gone.exists(), "it ran before it was signed");
    let shown = scene.gateway.run("bob", &["show", &hold])?;
    ensure!(shown.contains("rm -rf") && shown.contains("alice"), "{shown}");
    scene.gateway.run("bob", &["approve", &hold, "--yes"])?;
    let ran = waiting.wait_with_output()?;
    ensure!(ran.status.success() && text(&ran.stdout) == "removed\n" && !gone.exists(), "{ran:?}");
    ensure!(text(&ran.stderr).contains("countersign: held for approval as h_"), "{ran:?}");
    let story = scene.told("rm -rf")?;
    ensure!(story.contains("approved by bob"), "{story}");
    let denied = {
        let mut command = scene.client("ssh")?;
        command.arg(format!("alice+{MACHINE}@127.0.0.1")).arg(format!("rm -rf {}", scene.client.path().display()));
        command.stderr(Stdio::piped()).spawn()?
    };
    let hold = scene.hold()?;
    scene.gateway.run("bob", &["deny", &hold, "--reason", "not today"])?;
    let ran = denied.wait_with_output()?;
    ensure!(ran.status.code() == Some(254) && text(&ran.stderr).contains("denied by bob: not today"), "{ran:?}");
    Ok(())
}

/// SSH-09: files are decided one by one, by the path they really have.
#[test]
fn files_are_decided_one_by_one_by_the_path_they_really_have() -> Result<()> {
    let scene = Scene::start("")?;
    let (there, secrets) = (scene.file("there"), scene.file("secrets"));
    fs::create_dir(&secrets)?;
    fs::write(secrets.join("key"), "secret\n")?;
    std::os::unix::fs::symlink(secrets.join("key"), scene.file("harmless"))?;
    let content: Vec<u8> = (0..500_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(scene.file("sent"), &content)?;
    let remote = |path: &Path| format!("alice+{MACHINE}@127.0.0.1:{}", path.display());
    let put = scene.client("scp")?.arg("-s").arg(scene.file("sent")).arg(remote(&there)).output()?;
    ensure!(put.status.success() && fs::read(&there)? == content, "{put:?}");
    let got = scene.client("scp")?.arg("-s").arg(remote(&there)).arg(scene.file("back")).output()?;
    ensure!(got.status.success() && fs::read(scene.file("back"))? == content, "{got:?}");
    for path in [secrets.join("key"), scene.file("harmless")] {
        let refused = scene.client("scp")?.arg("-s").arg(remote(&path)).arg(scene.file("stolen")).output()?;
        ensure!(!refused.status.success() && !scene.file("stolen").exists(), "{refused:?}");
    }
    let digest = Command::new("sha256sum").arg(&there).output()?;
    let digest = text(&digest.stdout).split_whitespace().next().unwrap_or_default().to_owned();
    let story = scene.told("wrote 2000000 bytes")?;
    ensure!(story.contains(&digest) && story.contains(&format!("open {}", there.display())), "{story}");
    // SSH-021: the older way is a command, and read as one.
    let refused = scene.client("scp")?.arg("-O").arg(remote(&secrets.join("key"))).arg(scene.file("stolen")).output()?;
    ensure!(!refused.status.success() && !scene.file("stolen").exists(), "{refused:?}");
    Ok(())
}

#[test]
fn who_is_revoked_is_cut_off_and_opens_nothing_more() -> Result<()> {
    let scene = Scene::start("")?;
    let mut command = scene.client("ssh")?;
    command.arg(format!("alice+{MACHINE}@127.0.0.1")).arg("echo begun; cat").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn()?;
    let mut first = String::new();
    let mut output = std::io::BufReader::new(running.stdout.take().context("no output")?);
    std::io::BufRead::read_line(&mut output, &mut first)?;
    ensure!(first == "begun\n", "{first:?}");
    scene.gateway.run(scene.gateway.administrator(), &["identity", "revoke", "alice"])?;
    let ended = running.wait()?;
    ensure!(!ended.success(), "she was not cut off");
    let again = scene.ssh(&["true"])?;
    ensure!(again.status.code() == Some(255), "{again:?}");
    Ok(())
}

/// SSH-10: a machine is known by the keys its own connection names.
#[test]
fn another_host_key_is_refused_and_no_secret_is_shown_to_it() -> Result<()> {
    let (machine, other) = (Sshd::start(None)?, Sshd::start(None)?);
    let proof = format!("key = {{ file = {:?} }}", machine.key());
    let text_of = machine.connection(&proof)?.replace(&machine.host_key()?, &other.host_key()?);
    let scene = Scene::with(machine, &text_of, POLICY, "")?;
    let refused = scene.ssh(&["true"])?;
    ensure!(refused.status.code() == Some(254) && text(&refused.stderr).contains("another host key"), "{refused:?}");
    ensure!(!scene.machine.log()?.contains("Accepted"), "it signed in there all the same");
    Ok(())
}

#[test]
fn a_wrong_secret_opens_nothing_and_weak_ciphers_are_not_spoken() -> Result<()> {
    let scene = Scene::start("")?;
    // SSH-039.
    let weak = scene.client("ssh")?.args(["-o", "Ciphers=aes128-cbc,3des-cbc", &format!("alice+{MACHINE}@127.0.0.1"), "true"]).output()?;
    ensure!(weak.status.code() == Some(255), "{weak:?}");
    scene.answers_with("nonsense")?;
    let wrong = scene.ssh(&["true"])?;
    ensure!(wrong.status.code() == Some(255) && text(&wrong.stderr).contains("Permission denied"), "{wrong:?}");
    Ok(())
}

#[test]
fn a_connection_that_names_its_commands_runs_nothing_else() -> Result<()> {
    let scene = Scene::start("commands = [\"echo this one\"]")?;
    let named = scene.ssh(&["echo this one"])?;
    ensure!(text(&named.stdout) == "this one\n", "{named:?}");
    for other in [&["echo this one; id"][..], &[]] {
        let refused = scene.ssh(other)?;
        ensure!(refused.status.code() == Some(254) && text(&refused.stderr).contains("the commands that it names"), "{refused:?}");
    }
    Ok(())
}

/// Whoever takes the one for the other is told, and the machine hears nothing that is not SSH.
#[test]
fn a_machine_is_no_database() -> Result<()> {
    let scene = Scene::start("")?;
    let token = fs::read_to_string(scene.file("secret"))?;
    let port = scene.gateway.port()?;
    let conninfo = format!("host=127.0.0.1 port={port} dbname={MACHINE} user=alice sslmode=require");
    let asked = Command::new("psql").args([&conninfo, "-c", "select 1"]).env("PGPASSWORD", token).output()?;
    ensure!(text(&asked.stderr).contains("connection web1 is no database: it speaks ssh"), "{asked:?}");
    Ok(())
}
