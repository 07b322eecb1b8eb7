//! How callers sign in over SSH: by key, certificate, token, password with a code, or at a provider on another device; and by which key and which names gateway and machine are known.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    issuer::{CLIENT_SECRET, Issuer},
    machine::{MACHINE, POLICY, Scene, text, to},
    postgres::PATIENCE,
    sshd::Sshd,
};
use serde_json::{Value, json};

/// What of `--json` says what a key is listed by.
fn id(printed: &Value) -> Result<String> {
    Ok(printed.get("id").and_then(Value::as_str).context("no id")?.to_owned())
}

#[test]
fn a_registered_key_opens_what_its_owner_may_until_it_is_revoked() -> Result<()> {
    let scene = Scene::start("")?;
    let key = scene.key("alice", &["ed25519"])?;
    let public = format!("{}.pub", key.display());
    let before = scene.by_key("ssh", &key)?.arg(to("alice")).arg("true").output()?;
    ensure!(before.status.code() == Some(255), "a key that nobody registered: {before:?}");
    let added = scene.gateway.json("alice", &["ssh-key", "add", &public, "--expires-in", "30d"])?;
    ensure!(
        added.get("purpose") == Some(&json!("ssh-key"))
            && added.get("bound_to").and_then(Value::as_str).is_some_and(|key| key.starts_with("SHA256:"))
    );
    for who in [to("alice"), format!("{MACHINE}@127.0.0.1")] {
        let ran = scene.by_key("ssh", &key)?.arg(&who).arg("echo in").output()?;
        ensure!(text(&ran.stdout) == "in\n", "{who}: {ran:?}");
    }
    let story = scene.told("echo in")?;
    ensure!(story.contains("alice") && story.contains(&id(&added)?), "{story}");
    // Nobody else is let in by it, whatever they say.
    let other = scene.by_key("ssh", &key)?.arg(to("bob")).arg("true").output()?;
    ensure!(other.status.code() == Some(255), "{other:?}");
    let again = scene.gateway.output("alice", &["ssh-key", "add", &public], "")?;
    ensure!(!again.status.success() && text(&again.stderr).contains("registered once"), "{again:?}");

    let mut running = scene.by_key("ssh", &key)?.arg(to("alice")).arg("echo begun; cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut first = String::new();
    BufReader::new(running.stdout.take().context("no output")?).read_line(&mut first)?;
    let revoked = scene.gateway.run("alice", &["ssh-key", "revoke", &id(&added)?])?;
    ensure!(first == "begun\n" && revoked.contains("1 live session ended"), "{first} {revoked}");
    ensure!(!running.wait()?.success(), "it went on");
    let after = scene.by_key("ssh", &key)?.arg(to("alice")).arg("true").output()?;
    ensure!(after.status.code() == Some(255), "{after:?}");
    Ok(())
}

/// SSH-02: who is let in is whose key signed, whatever else was offered.
#[test]
fn ssh_02_an_offered_key_is_no_proof() -> Result<()> {
    let scene = Scene::start("")?;
    let (alices, bobs) = (scene.key("alice", &["ed25519"])?, scene.key("bob", &["ed25519"])?);
    for (who, key) in [("alice", &alices), ("bob", &bobs)] {
        scene.gateway.run(who, &["ssh-key", "add", &format!("{}.pub", key.display())])?;
    }
    // The private half is gone: her key can be offered, and is one that opens, but nothing is signed with it.
    fs::remove_file(&alices)?;
    let offered = format!("IdentityFile={}.pub", alices.display());
    for (who, expected) in [(to("alice"), 255), (format!("{MACHINE}@127.0.0.1"), 254)] {
        let mut command = Command::new("ssh");
        command.args(scene.options()?).args(["-v", "-o", "PreferredAuthentications=publickey", "-o", "IdentitiesOnly=yes", "-o", &offered]);
        command.args(["-o", "LogLevel=DEBUG1", "-i"]).arg(&bobs).args([&who, "true"]).env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        let ran = command.output()?;
        ensure!(ran.status.code() == Some(expected), "{who}: {ran:?}");
        ensure!(text(&ran.stderr).contains("Server accepts key"), "her key was offered, and is known: {ran:?}");
    }
    let sessions = scene.gateway.json(scene.gateway.administrator(), &["sessions"])?;
    ensure!(!sessions.to_string().contains("alice"), "{sessions}");
    Ok(())
}

#[test]
fn weak_keys_and_old_signatures_are_not_taken() -> Result<()> {
    let scene = Scene::start("")?;
    let weak = scene.key("weak", &["rsa", "-b", "1024"])?;
    let added = scene.gateway.output("alice", &["ssh-key", "add", &format!("{}.pub", weak.display())], "")?;
    ensure!(!added.status.success() && text(&added.stderr).contains("RSA key of 1024 bits"), "{added:?}");
    let rsa = scene.key("rsa", &["rsa", "-b", "3072"])?;
    scene.gateway.run("alice", &["ssh-key", "add", &format!("{}.pub", rsa.display())])?;
    for (algorithm, works) in [("rsa-sha2-256", true), ("rsa-sha2-512", true), ("ssh-rsa", false)] {
        let ran = scene.by_key("ssh", &rsa)?.args(["-o", &format!("PubkeyAcceptedAlgorithms={algorithm}"), &to("alice"), "true"]).output()?;
        ensure!(ran.status.success() == works, "{algorithm}: {ran:?}");
    }
    // Every hybrid and elliptic exchange that is left is a good one.
    for (exchange, works) in
        [("mlkem768x25519-sha256", true), ("curve25519-sha256", true), ("diffie-hellman-group14-sha256", false), ("ecdh-sha2-nistp256", false)]
    {
        let known = Command::new("ssh").args(["-Q", "kex"]).output()?;
        if !text(&known.stdout).lines().any(|line| line == exchange) {
            continue;
        }
        let ran = scene.by_key("ssh", &rsa)?.args(["-o", &format!("KexAlgorithms={exchange}"), &to("alice"), "true"]).output()?;
        ensure!(ran.status.success() == works, "{exchange}: {ran:?}");
    }
    Ok(())
}

/// What `login` leaves is enough for `ssh`, by the names that `ssh-config` prints, and is over with the sign-in.
#[test]
fn a_sign_in_gives_a_certificate_which_ends_with_it() -> Result<()> {
    let scene = Scene::start("")?;
    let config = scene.file("config");
    fs::write(&config, scene.gateway.run("alice", &["ssh-config"])?)?;
    let ssh = |command: &str| -> Result<std::process::Output> {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&config).args(["-o", "PreferredAuthentications=publickey", &format!("{MACHINE}.countersign"), command]);
        Ok(ssh.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).output()?)
    };
    let ran = ssh("echo by certificate")?;
    ensure!(text(&ran.stdout) == "by certificate\n", "{ran:?}");
    let listed = scene.gateway.json("alice", &["ssh-key", "list"])?;
    let certificate = listed.pointer("/tokens/0").context("no certificate is listed")?;
    ensure!(certificate.get("purpose") == Some(&json!("ssh-certificate")) && certificate.get("parent").is_some_and(Value::is_string), "{listed}");
    ensure!(scene.told("by certificate")?.contains(&id(certificate)?));
    // `connect` does the same without a configuration.
    let connected = scene.gateway.output("alice", &["connect", MACHINE, "--", "echo connected; exit 4"], "")?;
    ensure!(connected.status.code() == Some(4) && text(&connected.stdout) == "connected\n", "{connected:?}");

    // The key alone is nothing: the certificate belongs to it.
    let folder = scene.gateway.setup().file("../people/alice/ssh");
    let bare = scene.file("bare");
    fs::copy(folder.join("key"), &bare)?;
    fs::set_permissions(&bare, fs::Permissions::from_mode(0o600))?;
    let refused = scene.by_key("ssh", &bare)?.arg(to("alice")).arg("true").output()?;
    ensure!(refused.status.code() == Some(255), "{refused:?}");
    // Nor is it with a certificate of somebody else's making.
    let own = scene.key("own-authority", &["ed25519"])?;
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-s"])
        .arg(&own)
        .args(["-I", "alice", "-n", "alice"])
        .arg(format!("{}.pub", own.display()))
        .output()?;
    ensure!(signed.status.success(), "{signed:?}");
    let refused = scene.by_key("ssh", &own)?.arg(to("alice")).arg("true").output()?;
    ensure!(refused.status.code() == Some(255), "{refused:?}");

    let (kept, held) = (scene.file("kept"), scene.file("kept-cert.pub"));
    fs::copy(folder.join("key"), &kept)?;
    fs::copy(folder.join("key-cert.pub"), &held)?;
    ensure!(scene.by_key("ssh", &kept)?.arg(to("alice")).arg("true").output()?.status.success(), "a copy is as good");
    scene.gateway.run("alice", &["logout"])?;
    ensure!(!folder.join("key").exists(), "logout left the key behind");
    let refused = scene.by_key("ssh", &kept)?.arg(to("alice")).arg("true").output()?;
    ensure!(refused.status.code() == Some(255), "it outlived the sign-in: {refused:?}");
    Ok(())
}

/// An answer to each prompt, by what the prompt says.
fn answers(scene: &Scene, cases: &[(&str, &str)]) -> Result<()> {
    let program = scene.file("answers");
    let cases: String = cases.iter().map(|(prompt, answer)| format!("*{prompt:?}*) echo {answer:?};;\n")).collect();
    fs::write(&program, format!("#!/bin/sh\necho \"$1\" >> {:?}\ncase \"$1\" in\n{cases}esac\n", scene.file("prompts")))?;
    Ok(fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?)
}

fn interactively(scene: &Scene, who: &str) -> Result<Command> {
    let mut command = Command::new("ssh");
    command.args(scene.options()?).args(["-o", "PreferredAuthentications=keyboard-interactive", &to(who), "echo in"]);
    command.env("SSH_ASKPASS", scene.file("answers")).env("SSH_ASKPASS_REQUIRE", "force").env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
    Ok(command)
}

#[test]
fn somebody_signs_in_at_a_provider_on_another_device() -> Result<()> {
    let (machine, issuer) = (Sshd::start(None)?, Issuer::start()?);
    let connection = machine.connection(&format!("key = {{ file = {:?} }}", machine.key()))?;
    let scene = Scene::with(machine, &connection, POLICY, &issuer.settings(""))?;
    scene.gateway.run_with(scene.gateway.administrator(), &["secret", "set", "idp"], CLIENT_SECRET)?;
    let carla = || {
        issuer.say(|script| {
            script.claims.extend([("sub".to_owned(), json!("carla-at-idp")), ("preferred_username".to_owned(), json!("carla"))]);
            script.device_done = false;
        });
    };
    answers(&scene, &[("sign in at idp", ""), ("press Enter", "")])?;
    for (who, status) in [("carla", 0), ("bob", 255)] {
        carla();
        let asked = issuer.asked("/token");
        let waiting = interactively(&scene, who)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        issuer.wait_until_asked("/token", asked + 1, PATIENCE)?;
        issuer.say(|script| script.device_done = true);
        let ran = waiting.wait_with_output()?;
        // SSH-04: whoever came back from the provider is who is let in, and nobody else in their stead.
        ensure!(ran.status.code() == Some(status), "{who}: {ran:?} {}", fs::read_to_string(scene.file("prompts"))?);
        ensure!((text(&ran.stdout) == "in\n") == (status == 0), "{ran:?}");
    }
    // SSH-04: a blank secret is none.
    answers(&scene, &[("sign in at idp", ""), ("press Enter", "")])?;
    let blank = scene.client("ssh")?;
    scene.answers_with("")?;
    let mut blank = blank;
    ensure!(blank.arg(to("alice")).arg("true").output()?.status.code() == Some(255));
    Ok(())
}

/// SSH-03: what somebody was asked, and how far they came, is gone when they say another name.
#[test]
fn ssh_03_another_name_begins_anew() -> Result<()> {
    let scene = Scene::start("")?;
    ensure!(scene.python("another_name.py", &[MACHINE])?.contains("as it should be"));
    Ok(())
}

/// The machine's own log names who acts, in which session; a machine that trusts the authority needs no key of the gateway's.
#[test]
fn a_machine_lets_the_gateway_in_by_a_certificate_that_names_who_acts() -> Result<()> {
    let scene = Scene::start("")?;
    let authority = scene.gateway.run("alice", &["ssh-ca"])?;
    let machine = Sshd::start(Some(&authority))?;
    let user = Sshd::user()?;
    let setup = scene.gateway.setup();
    setup.write(&format!("connections/{MACHINE}.toml"), &machine.connection(&format!("principals = [\"{user}\"]"))?)?;
    scene.gateway.run(scene.gateway.administrator(), &["apply", &setup.file("").display().to_string()])?;
    let ran = scene.ssh(&["echo in"])?;
    ensure!(text(&ran.stdout) == "in\n", "{ran:?} {}", machine.log()?);
    let story = scene.told("echo in")?;
    let session = story.split_whitespace().find(|word| word.starts_with("s_")).context("no session")?;
    ensure!(machine.log()?.contains(&format!("ID alice {session} ")), "{}", machine.log()?);
    // A caller's certificate opens the gateway and no machine.
    let folder = setup.file("../people/alice/ssh");
    let mut direct = Command::new("ssh");
    direct.args([
        "-F",
        "none",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "BatchMode=yes",
        "-p",
        &machine.port().to_string(),
        "-i",
    ]);
    let direct =
        direct.arg(folder.join("key")).arg(format!("{user}@127.0.0.1")).arg("true").env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).output()?;
    ensure!(direct.status.code() == Some(255), "{direct:?}");
    // Another authority's principals are none of its.
    setup.write(&format!("connections/{MACHINE}.toml"), &machine.connection("principals = [\"somebody-else\"]")?)?;
    scene.gateway.run(scene.gateway.administrator(), &["apply", &setup.file("").display().to_string()])?;
    let refused = scene.ssh(&["true"])?;
    ensure!(refused.status.code() == Some(254) && text(&refused.stderr).contains("does not let the gateway in"), "{refused:?}");
    Ok(())
}

/// The gateway shows the same key after a restart, and a certificate that its host authority vouches for.
#[test]
fn the_gateway_is_known_by_one_key_and_by_its_authority() -> Result<()> {
    let mut scene = Scene::start("")?;
    ensure!(scene.ssh(&["true"])?.status.success());
    let known = fs::read_to_string(scene.file("known_hosts"))?;
    scene.gateway.start_again()?;
    let keys = scene.gateway.json("alice", &["ssh-ca"])?;
    let text_of = |name: &str| keys.get(name).and_then(Value::as_str).map(str::to_owned).context("no key");
    let host = text_of("host_key")?;
    ensure!(known.contains(host.split_whitespace().nth(1).context("no key")?), "{known} {host}");
    ensure!(scene.ssh(&["true"])?.status.success(), "another port, and a key that is new there");

    let by = |line: &str| -> Result<bool> {
        let file = scene.file("strict_known_hosts");
        fs::write(&file, line)?;
        let mut command = Command::new("ssh");
        let known = format!("UserKnownHostsFile={}", file.display());
        command.args(["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", &known, "-o", "PreferredAuthentications=password"]);
        command.args(["-o", "HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com", "-p", &scene.port()?, &to("alice"), "true"]);
        command.env("SSH_ASKPASS", scene.file("askpass")).env("SSH_ASKPASS_REQUIRE", "force").stdin(Stdio::null());
        Ok(command.output()?.status.success())
    };
    ensure!(by(&format!("@cert-authority [127.0.0.1]:* {}\n", text_of("host_authority")?))?, "the authority is not believed");
    ensure!(!by(&format!("@cert-authority [127.0.0.1]:* {}\n", text_of("user_authority")?))?, "another authority is");
    Ok(())
}

/// A jump to a connection's name ends at the gateway, which decides and records what is done there; any other is refused.
#[test]
fn a_jump_to_a_machine_by_name_is_decided_and_recorded() -> Result<()> {
    let scene = Scene::start("")?;
    let key = scene.key("alice", &["ed25519"])?;
    let added = scene.gateway.json("alice", &["ssh-key", "add", &format!("{}.pub", key.display())])?;
    let jump = |through: &str, destination: &str, command: &str| -> Result<std::process::Output> {
        let mut proxy: Vec<String> = vec!["ssh".to_owned()];
        proxy.extend(scene.options()?);
        proxy.extend(["-i".to_owned(), key.display().to_string(), "-W".to_owned(), "%h:%p".to_owned(), through.to_owned()]);
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", scene.file("known_jumps").display()));
        ssh.arg("-o").arg(format!("ProxyCommand={}", proxy.join(" "))).args([destination, command]);
        Ok(ssh.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null()).output()?)
    };
    for through in ["alice@127.0.0.1".to_owned(), to("alice")] {
        let ran = jump(&through, MACHINE, &format!("echo through {through}"))?;
        ensure!(text(&ran.stdout) == format!("through {through}\n"), "{ran:?}");
        ensure!(scene.told(&format!("echo through {through}"))?.contains("allowed"));
    }
    let denied = jump("alice@127.0.0.1", MACHINE, "sudo id")?;
    ensure!(denied.status.code() == Some(254) && text(&denied.stderr).contains("privilege"), "{denied:?}");
    // Somebody else's name inside is not believed; nor is another destination.
    for destination in ["bob+web1@web1", "deploy@web2", "127.0.0.1"] {
        let refused = jump("alice@127.0.0.1", destination, "true")?;
        ensure!(refused.status.code() == Some(255), "{destination}: {refused:?}");
    }
    // Who only jumps has no session of their own.
    let bare = || -> Result<_> { Ok(scene.by_key("ssh", &key)?.arg("alice@127.0.0.1").arg("true").output()?) };
    let told = bare()?;
    ensure!(told.status.code() == Some(254) && text(&told.stderr).contains("alice+CONNECTION"), "{told:?}");
    // A key that was revoked lets nobody in for jumping, either.
    scene.gateway.run("alice", &["ssh-key", "revoke", &id(&added)?])?;
    let refused = bare()?;
    ensure!(refused.status.code() == Some(255), "{refused:?}");
    Ok(())
}

/// The second factor of a built-in user is asked for where somebody can give it.
#[test]
fn nobody_hears_that_a_password_was_right() -> Result<()> {
    let scene = Scene::start("")?;
    answers(&scene, &[("Token or password", "wrong"), ("Code of your authenticator", "000000")])?;
    let refused = interactively(&scene, "alice")?.output()?;
    ensure!(refused.status.code() == Some(255), "{refused:?}");
    let prompts = fs::read_to_string(scene.file("prompts"))?;
    ensure!(prompts.contains("Code of your authenticator"), "{prompts}");
    let token = fs::read_to_string(scene.file("secret"))?;
    answers(&scene, &[("Token or password", token.trim())])?;
    let ran = interactively(&scene, "alice")?.output()?;
    ensure!(text(&ran.stdout) == "in\n", "{ran:?}");
    Ok(())
}
