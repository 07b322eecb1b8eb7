//! What commands write and terminals show: masked on its way, recorded as it was seen, and what is typed unseen is not recorded.

use std::fs;

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Running,
    machine::{Scene, text, to},
    postgres::PATIENCE,
};

const DETECT: &str = "record = \"full\"\ndetect = [\"email\", \"card\"]";

#[test]
fn what_is_sensitive_in_output_is_masked_and_so_recorded() -> Result<()> {
    let scene = Scene::start(DETECT)?;
    let mail = "ann@example.com";
    for (command, expected) in [
        (format!("echo {mail}; echo {mail} >&2; exit 3"), "********\n"),
        ("printf '\\033[1mann\\033[0m@example.com\\n'".to_owned(), "\x1b[1m********\x1b[0m\n"),
        ("for n in 4111 1111 1111 1111; do printf '%s ' $n; done; echo end".to_owned(), "******** end\n"),
    ] {
        let ran = scene.ssh(&[&command])?;
        ensure!(text(&ran.stdout) == expected, "{command}: {ran:?}");
        ensure!(!text(&ran.stderr).contains(mail) && !text(&ran.stdout).contains(mail), "{ran:?}");
    }
    let story = scene.told("exit 3")?;
    ensure!(story.contains("masked: email") && !story.lines().any(|line| line.trim_start().starts_with("shown") && line.contains(mail)), "{story}");
    // A megabyte in one stream: everything else is as it was.
    let many = scene.ssh(&["yes 'a line of ann@example.com is fine' | head -n 20000"])?;
    ensure!(text(&many.stdout) == "a line of ******** is fine\n".repeat(20_000), "{} bytes: {}", many.stdout.len(), text(&many.stderr));
    // Files are what they are, by either way of copying them.
    let file = scene.file("addresses");
    fs::write(&file, format!("{mail}\n"))?;
    for way in ["-s", "-O"] {
        let got = scene.file(&format!("got{way}"));
        let copied = scene.client("scp")?.arg(way).arg(format!("{}:{}", to("alice"), file.display())).arg(&got).output()?;
        ensure!(copied.status.success() && fs::read_to_string(&got)? == format!("{mail}\n"), "{copied:?}");
    }
    Ok(())
}

/// Where files are refused by what is in them, the whole of one is looked through before its caller has any of it.
#[test]
fn a_file_with_something_sensitive_in_it_is_not_read() -> Result<()> {
    let scene = Scene::start("detect = [\"email\", \"card\"]\nfiles = \"refuse\"")?;
    let piece = 255 << 10;
    let mut clean: Vec<u8> = b"nothing to see here\n".iter().copied().cycle().take(3 * piece + 7).collect();
    let get = |name: &str, content: &[u8], way: &str| -> Result<_> {
        let (there, here) = (scene.file(name), scene.file(&format!("got{way}-{name}")));
        fs::write(&there, content)?;
        let copied = scene.client("scp")?.arg(way).arg(format!("{}:{}", to("alice"), there.display())).arg(&here).output()?;
        Ok((copied, fs::read(here).unwrap_or_default()))
    };
    let (copied, got) = get("clean", &clean, "-s")?;
    ensure!(copied.status.success() && got == clean, "{copied:?}");
    // Over the seam of two pieces, and as the last thing in the file.
    let mail = b" ann@example.com";
    for (name, place) in [("seam", piece - 8), ("end", clean.len() - mail.len())] {
        let mut with = clean.clone();
        with[place..place + mail.len()].copy_from_slice(mail);
        let (copied, got) = get(name, &with, "-s")?;
        ensure!(!copied.status.success() && got.is_empty(), "{name}: {copied:?}");
        ensure!(scene.told(&scene.file(name).display().to_string())?.contains("it holds email"), "{name}");
    }
    // What cannot be looked through is refused; what comes from the caller is theirs.
    let (copied, got) = get("clean", &clean, "-O")?;
    ensure!(!copied.status.success() && got.is_empty() && text(&copied.stderr).contains("only sftp"), "{copied:?}");
    clean.extend(mail);
    let (own, there) = (scene.file("own"), scene.file("there"));
    fs::write(&own, &clean)?;
    for way in ["-s", "-O"] {
        let put = scene.client("scp")?.arg(way).arg(&own).arg(format!("{}:{}", to("alice"), there.display())).output()?;
        ensure!(put.status.success() && fs::read(&there)? == clean, "{way}: {put:?}");
    }
    Ok(())
}

/// After a pause what is held is shown; where that is too much, strict withholds it.
#[test]
fn a_pause_lets_a_broken_value_through_unless_it_is_strict() -> Result<()> {
    let broken = "printf 'card 4111 1111'; sleep 0.5; printf ' 1111 1111\\n'";
    for (more, expected) in [("", "card 4111 1111 "), ("\nmasks = \"strict\"", "card ********\n")] {
        let scene = Scene::start(&format!("{DETECT}{more}"))?;
        let ran = scene.ssh(&[broken])?;
        ensure!(text(&ran.stdout).starts_with(expected.trim_end()) && !text(&ran.stdout).contains("1111 1111 1111"), "{more}: {ran:?}");
        ensure!(text(&ran.stdout).contains("4111") == more.is_empty(), "{more}: {ran:?}");
    }
    Ok(())
}

#[test]
fn a_terminal_is_masked_at_once_and_a_password_typed_unseen_is_not_recorded() -> Result<()> {
    let scene = Scene::start(DETECT)?;
    let mut command = scene.client("ssh")?;
    command.args(["-tt", &to("alice")]);
    let mut shell = Running::start(command)?;
    // Each prompt comes without another key: nothing is held until something follows it.
    shell.type_line("PS1='ready> '; printf 'first %s\\n' done")?;
    shell.wait_for("first done", PATIENCE)?;
    shell.type_line("stty -echo; printf 'secret? '; read -r x; stty echo; echo; echo \"length ${#x}\"")?;
    shell.wait_for("secret? ", PATIENCE)?;
    shell.type_line("hunter-two")?;
    shell.wait_for("length 10", PATIENCE)?;
    shell.type_line("echo ann@example.com | tr a-z a-z; exit")?;
    let (_, printed) = shell.finish(PATIENCE)?;
    ensure!(printed.contains("********") && !printed.contains("\nann@example.com"), "{printed}");
    let story = scene.told("length 10")?;
    ensure!(story.contains("typed") && story.contains("stty -echo") && !story.contains("hunter-two"), "{story}");
    Ok(())
}

/// Somebody else sees a live terminal from its beginning, as its user does, and the event says so.
#[test]
fn somebody_watches_a_live_terminal() -> Result<()> {
    let scene = Scene::start("")?;
    let mut command = scene.client("ssh")?;
    command.args(["-tt", &to("alice")]);
    let mut shell = Running::start(command)?;
    shell.type_line("PS1='> '; echo before anybody watches")?;
    shell.wait_for("before anybody watches", PATIENCE)?;
    let sessions = scene.gateway.json("alice", &["sessions", "--live"])?;
    let id = sessions.pointer("/sessions/0/id").and_then(serde_json::Value::as_str).context("no live session")?.to_owned();
    let mut watching = scene.gateway.command(scene.gateway.administrator())?;
    watching.args(["watch", &id]);
    let mut watching = Running::start(watching)?;
    watching.wait_for("before anybody watches", PATIENCE)?;
    shell.type_line("printf 'now %s\\033]0;title\\007\\n' watched")?;
    watching.wait_for("now watched", PATIENCE)?;
    shell.type_line("exit")?;
    shell.finish(PATIENCE)?;
    let (status, printed) = watching.finish(PATIENCE)?;
    ensure!(status.success() && !printed.contains("]0;title\u{7}") && printed.contains("the session is over"), "{printed}");
    // Who may not read it may not watch it.
    let refused = scene.gateway.output("bob", &["watch", &id], "")?;
    ensure!(!refused.status.success(), "{refused:?}");
    Ok(())
}
