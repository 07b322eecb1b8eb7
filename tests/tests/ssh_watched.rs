//! A shell that runs only while somebody who signed for it watches: it begins with them, and does not go on without them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::{Running, python},
    gateway::Setup,
    lock::Lock,
    machine::{POLICY, Scene, text, to, until},
    postgres::PATIENCE,
    sshd::Sshd,
};

/// Shells wait for a DBA who watches: as `docs/connect-a-machine.md` has it.
const SHELLS: &str = r#"
@id("watched-shells") @approvers("dba") @watched @reason("somebody watches what is done here")
forbid (principal, action == Action::"execute", resource == Connection::"web1")
when { context has interactive && context.interactive }
unless { context.approved };
"#;
/// And whatever runs a program does.
const PROGRAMS: &str = r#"
@id("watched-programs") @approvers("dba") @watched @reason("somebody watches what is done here")
forbid (principal, action == Action::"execute", resource in Environment::"production") unless { context.approved };
"#;

fn scene(watched: &str, grace_s: u32) -> Result<Scene> {
    scene_of(Setup::init()?, watched, &format!("[holds]\nunwatched_grace_s = {grace_s}\n"))
}

fn scene_of(setup: Setup, watched: &str, more: &str) -> Result<Scene> {
    let machine = Sshd::start(None)?;
    let connection = machine.connection(&format!("key = {{ file = {:?} }}\n", machine.key()))?;
    Scene::of(setup, machine, &connection, &format!("{POLICY}{watched}"), more)
}

/// A shell of alice's, which waits.
fn shell(scene: &Scene) -> Result<Running> {
    let mut command = scene.client("ssh")?;
    command.args(["-tt", &to("alice")]);
    Running::start(command)
}

/// Somebody who signs and watches. They leave when this is dropped, as one whose program is killed.
fn watch(scene: &Scene, who: &str, hold: &str) -> Result<Running> {
    let mut command = scene.gateway.command(who)?;
    command.args(["watch", "--yes", hold]);
    Running::start(command)
}

/// The same at a terminal, where keys are pressed.
fn watch_at_a_terminal(scene: &Scene, who: &str, hold: &str) -> Result<Running> {
    let watching = scene.gateway.command(who)?;
    let mut command = Command::new(python()?);
    command.args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"]).arg(watching.get_program()).args(watching.get_args());
    for (name, value) in watching.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["watch", "--yes", hold]);
    Running::start(command)
}

#[test]
fn a_shell_begins_when_one_who_may_watches_it_and_ends_when_they_leave() -> Result<()> {
    let scene = scene(SHELLS, 1)?;
    let mut shell = shell(&scene)?;
    shell.wait_for("somebody watches what is done here", PATIENCE)?;
    shell.wait_for("it runs only while one of those who signed watches", PATIENCE)?;
    shell.wait_for("a signer runs: countersign watch h_", PATIENCE)?;
    let hold = scene.hold()?;
    // Nobody watches their own, and to sign is not enough.
    let own = scene.gateway.output("alice", &["watch", "--yes", &hold], "")?;
    ensure!(!own.status.success() && text(&own.stderr).contains("nobody signs what runs in their own name"), "{own:?}");
    let approved = scene.gateway.output("bob", &["approve", "--yes", &hold], "")?;
    ensure!(!approved.status.success() && text(&approved.stderr).contains(&format!("countersign watch {hold}")), "{approved:?}");
    ensure!(scene.hold()? == hold, "it waits as before");

    let mut watching = watch(&scene, "bob", &hold)?;
    watching.wait_for("Signed. It runs while you watch.", PATIENCE)?;
    shell.type_line("echo here it be''gins")?;
    shell.wait_for("here it begins", PATIENCE)?;
    watching.wait_for("here it begins", PATIENCE)?;
    drop(watching);
    shell.wait_for(&format!("nobody watches this any more: it ends in 1 s, unless bob watches again: countersign watch {hold}"), PATIENCE)?;
    shell.wait_for("nobody watched it", PATIENCE)?;
    let (status, printed) = shell.finish(PATIENCE)?;
    ensure!(status.code() == Some(254), "{status} {printed}");
    let story = scene.told("here it begins")?;
    for said in ["watched: bob watches operation 1", "watched: bob no longer watches operation 1", "nobody watched it"] {
        ensure!(story.contains(said), "{said}: {story}");
    }
    // What is no shell is not held.
    let ran = scene.ssh(&["uptime"])?;
    ensure!(ran.status.success(), "{ran:?}");
    // It is over, and nobody begins it anew.
    let again = scene.gateway.output("bob", &["watch", "--yes", &hold], "")?;
    ensure!(!again.status.success() && text(&again.stderr).contains("no longer waiting"), "{again:?}");
    Ok(())
}

#[test]
fn who_comes_back_in_time_finds_it_going_on_and_may_end_it() -> Result<()> {
    let scene = scene(SHELLS, 600)?;
    let mut shell = shell(&scene)?;
    shell.wait_for("a signer runs: countersign watch h_", PATIENCE)?;
    let hold = scene.hold()?;
    let mut watching = watch_at_a_terminal(&scene, "bob", &hold)?;
    watching.wait_for("watching h_", PATIENCE)?;
    shell.type_line("echo here it be''gins")?;
    watching.wait_for("here it begins", PATIENCE)?;
    watching.type_line("q")?;
    watching.wait_for("left: it ends soon", PATIENCE)?;
    shell.wait_for("nobody watches this any more: it ends in 600 s", PATIENCE)?;
    let mut watching = watch_at_a_terminal(&scene, "bob", &hold)?;
    // From its beginning, once more.
    watching.wait_for("here it begins", PATIENCE)?;
    shell.wait_for("it is watched again", PATIENCE)?;
    shell.type_line("echo and goes o''n")?;
    watching.wait_for("and goes on", PATIENCE)?;
    watching.type_line("k")?;
    watching.wait_for("ended", PATIENCE)?;
    shell.wait_for("bob, who watched it, ended it", PATIENCE)?;
    let (status, printed) = shell.finish(PATIENCE)?;
    ensure!(status.code() == Some(254), "{status} {printed}");
    let story = scene.told("and goes on")?;
    ensure!(story.contains("bob, who watched it, ended it"), "{story}");
    Ok(())
}

#[test]
fn what_nobody_can_watch_is_refused_with_the_sentence() -> Result<()> {
    let scene = scene(PROGRAMS, 1)?;
    let sentence = "policy `watched-programs` lets it run only while somebody watches, and only a shell or a command with a terminal can be watched";
    let ran = scene.ssh(&["uptime"])?;
    ensure!(ran.status.code() == Some(254) && text(&ran.stderr).contains(sentence), "{ran:?}");
    let mut shell = scene.client("ssh")?;
    let shell = shell.args(["-T", &to("alice")]).stdin(Stdio::null()).output()?;
    ensure!(shell.status.code() == Some(254) && text(&shell.stderr).contains(sentence), "{shell:?}");
    // With a terminal, a command can: it ends by itself, watched to its end.
    let mut command = scene.client("ssh")?;
    command.args(["-tt", &to("alice"), "echo a com''mand; read -r line"]);
    let mut command = Running::start(command)?;
    command.wait_for("a signer runs: countersign watch h_", PATIENCE)?;
    let mut watching = watch(&scene, "bob", &scene.hold()?)?;
    command.wait_for("a command", PATIENCE)?;
    watching.wait_for("a command", PATIENCE)?;
    command.type_line("")?;
    let (status, printed) = command.finish(PATIENCE)?;
    ensure!(status.success(), "{status} {printed}");
    let (status, printed) = watching.finish(PATIENCE)?;
    ensure!(status.success() && printed.contains("it is over"), "{status} {printed}");
    ensure!(scene.told("a com''mand")?.contains("watched: bob watched operation"), "{}", scene.told("a com''mand")?);
    Ok(())
}

/// Two sign, each while they watch; it goes on with one of them, whichever.
#[test]
fn two_sign_and_one_of_them_is_enough_to_watch() -> Result<()> {
    let mut scene = scene(&SHELLS.replace("@watched", "@count(\"2\") @watched"), 1)?;
    scene.gateway.add_user("carol", &["dba"])?;
    scene.gateway.add_user("dave", &["dba"])?;
    let mut shell = shell(&scene)?;
    shell.wait_for("a signer runs: countersign watch h_", PATIENCE)?;
    let hold = scene.hold()?;
    let mut bobs = watch(&scene, "bob", &hold)?;
    bobs.wait_for("1 of 2 from dba, one of them watching", PATIENCE)?;
    shell.type_line("echo here it be''gins")?;
    let mut carols = watch(&scene, "carol", &hold)?;
    carols.wait_for("Signed. It runs while you watch.", PATIENCE)?;
    // What was typed ahead waited with it.
    bobs.wait_for("here it begins", PATIENCE)?;
    drop(bobs);
    // Dave could have signed, and did not: it is none of his any more.
    let daves = scene.gateway.output("dave", &["watch", "--yes", &hold], "")?;
    ensure!(!daves.status.success() && text(&daves.stderr).contains(&format!("no held operation {hold}")), "{daves:?}");
    until("bob is gone", || Ok(scene.told("here it begins")?.contains("bob no longer watches operation 1").then_some(())))?;
    shell.type_line("echo with ca''rol")?;
    carols.wait_for("with carol", PATIENCE)?;
    drop(carols);
    shell.wait_for("it ends in 1 s, unless bob or carol watches again", PATIENCE)?;
    let (status, printed) = shell.finish(PATIENCE)?;
    ensure!(status.code() == Some(254) && printed.contains("nobody watched it"), "{status} {printed}");
    ensure!(!printed.split("with carol").next().unwrap_or_default().contains("nobody watches"), "{printed}");
    Ok(())
}

/// A shell that bob watches.
fn watched_shell(scene: &Scene) -> Result<(Running, Running)> {
    let mut shell = shell(scene)?;
    shell.wait_for("a signer runs: countersign watch h_", PATIENCE)?;
    let mut watching = watch(scene, "bob", &scene.hold()?)?;
    watching.wait_for("Signed. It runs while you watch.", PATIENCE)?;
    shell.type_line("echo here it be''gins")?;
    shell.wait_for("here it begins", PATIENCE)?;
    Ok((shell, watching))
}

/// Nothing tells the gateway that their program stands still, or that their network is gone, but that it does not hear of them.
#[test]
fn a_watcher_who_is_not_heard_of_is_none() -> Result<()> {
    let scene = scene(SHELLS, 1)?;
    let (mut shell, watching) = watched_shell(&scene)?;
    let stopped = Command::new("kill").args(["-STOP", &watching.pid().to_string()]).status()?;
    ensure!(stopped.success(), "{stopped}");
    shell.wait_for("nobody watches this any more", PATIENCE)?;
    shell.wait_for("nobody watched it", PATIENCE)?;
    let (status, _) = shell.finish(PATIENCE)?;
    ensure!(status.code() == Some(254), "{status}");
    Ok(())
}

#[test]
fn a_watcher_who_may_not_any_more_is_none() -> Result<()> {
    let scene = scene(SHELLS, 1)?;
    let (mut shell, watching) = watched_shell(&scene)?;
    scene.gateway.run(scene.gateway.administrator(), &["identity", "groups", "bob", "nobodies"])?;
    shell.wait_for("nobody watches this any more", PATIENCE)?;
    shell.wait_for("nobody watched it", PATIENCE)?;
    let (status, _) = shell.finish(PATIENCE)?;
    ensure!(status.code() == Some(254), "{status}");
    watching.finish(PATIENCE).context("the watcher was not sent away")?;
    Ok(())
}

/// What is said of the one recording there is by the program that anybody checks one with: `docs/recording-format.md`.
fn checked(scene: &Scene) -> Result<String> {
    let format = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/recording-format.md"))?;
    let program = format.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).context("no program")?;
    let days = fs::read_dir(scene.gateway.setup().file("data/recordings"))?.collect::<Result<Vec<_>, _>>()?;
    let mut segments = Vec::new();
    for day in days.iter().filter(|day| day.path().is_dir()) {
        segments.extend(fs::read_dir(day.path())?.collect::<Result<Vec<_>, _>>()?.iter().map(fs::DirEntry::path));
    }
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "rec"));
    segments.sort();
    let ran = Command::new(python()?).args(["-c", program]).args(&segments).output()?;
    ensure!(ran.status.success(), "{segments:?}: {ran:?}");
    Ok(text(&ran.stdout))
}

/// The shell's own process on the machine.
fn shells_process(shell: &mut Running) -> Result<PathBuf> {
    shell.type_line("echo pro''cess $$ en''d")?;
    let printed = shell.wait_for(" end", PATIENCE)?;
    let number = printed.rsplit("process ").next().and_then(|rest| rest.split(' ').next()).context("no process")?;
    let process = Path::new("/proc").join(number);
    ensure!(process.exists(), "{printed}");
    Ok(process)
}

#[test]
fn a_watched_shell_ends_with_the_state_store_after_the_grace() -> Result<()> {
    let more = "[limits]\nrevocation_grace_ms = 2000\n[holds]\nunwatched_grace_s = 600\n";
    let scene = scene_of(Setup::init_in_files()?, SHELLS, more)?;
    let (mut shell, watching) = watched_shell(&scene)?;
    let process = shells_process(&mut shell)?;
    let lock = Lock::state(&scene.gateway)?;
    let (status, printed) = shell.finish(PATIENCE)?;
    ensure!(!status.success() && printed.contains("state store"), "{status} {printed}");
    watching.finish(PATIENCE).context("the watcher was not sent away")?;
    until("the end of the shell on the machine", || Ok((!process.exists()).then_some(())))?;
    drop(lock);
    let story = until("the recording", || Ok(scene.told("here it begins").ok()))?;
    ensure!(story.contains("state store") && !story.contains("damaged"), "{story}");
    ensure!(checked(&scene)?.trim_end().ends_with(" ended"), "{}", checked(&scene)?);
    Ok(())
}

#[test]
fn a_watched_shell_ends_with_its_gateway_and_does_not_go_on_with_the_next() -> Result<()> {
    let mut scene = scene(SHELLS, 600)?;
    let (mut shell, watching) = watched_shell(&scene)?;
    let process = shells_process(&mut shell)?;
    scene.gateway.kill();
    let (status, printed) = shell.finish(PATIENCE)?;
    ensure!(status.code() == Some(255), "{status} {printed}");
    let (status, printed) = watching.finish(PATIENCE)?;
    ensure!(!status.success(), "{status} {printed}");
    until("the end of the shell on the machine", || Ok((!process.exists()).then_some(())))?;
    scene.gateway.start_again()?;
    let live = scene.gateway.json("alice", &["sessions", "--live"])?;
    ensure!(live.pointer("/sessions/0").is_none(), "{live}");
    let story = scene.told("here it begins")?;
    ensure!(story.contains("outcome unknown") && story.contains("bob watches operation 1") && !story.contains("changed"), "{story}");
    let said = checked(&scene)?;
    ensure!(said.contains("no end: live, or its process died") || said.contains("cut off"), "{said}");
    Ok(())
}
