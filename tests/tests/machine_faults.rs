//! The machine below the gateway: file descriptors run out, the clock jumps, a file system becomes read-only, its data are restored from a backup or were
//! written by an older version. Disks that take no more and recordings that cannot be written are in `fail_closed.rs`, power cuts in
//! `store/src/recordings/tests.rs`.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    sync::mpsc::{Sender, channel},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Login,
    disk::Disk,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
    wire::{Heard, Wire, query},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

fn kinds(heard: &[Heard]) -> String {
    heard.iter().map(|message| message.kind).collect()
}

fn ask(wire: &mut Wire, statement: &str) -> Result<String> {
    wire.say(&query(statement))?;
    Ok(kinds(&wire.hear_until_ready(1)?))
}

fn sessions(gateway: &Gateway) -> Result<Vec<Value>> {
    let listed = gateway.json(gateway.administrator(), &["sessions", "--limit", "1000"])?;
    Ok(listed.get("sessions").and_then(Value::as_array).context("no sessions")?.clone())
}

fn story(gateway: &Gateway, session: &Value) -> Result<String> {
    gateway.run(gateway.administrator(), &["show", session.get("id").and_then(Value::as_str).context("no id")?])
}

#[test]
fn without_free_file_descriptors_nobody_new_comes_in_and_nobody_who_is_in_is_disturbed() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = Gateway::permitting_all(&target)?;
    let token = gateway.run("alice", &["token", CONNECTION])?.trim().to_owned();
    let login = gateway.login("alice")?.with_password(token).without_tls();
    let mut live = Wire::open(&login, &[])?;
    let pid = Pid::from_raw(i32::try_from(gateway.pid())?).context("no process id")?;
    let before = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(1024), maximum: Some(1024) })?;
    ensure!(before.current == before.maximum, "it takes as many as it may");
    let mut let_in = 0;
    for spare in 0..8 {
        // Whoever came in the round before has left, and what the gateway asked for itself is done: nothing more is closed by itself.
        target.wait_until_true("postgres", "(select count(*) from pg_stat_activity where usename = 'app') = 1")?;
        let open = fs::read_dir(format!("/proc/{}/fd", gateway.pid()))?.count() as u64;
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(open + spare), maximum: Some(1024) })?;
        let attempts: Vec<_> = (0..3)
            .map(|_| {
                let login = login.clone();
                std::thread::spawn(move || Wire::open(&login, &[]).is_ok())
            })
            .collect();
        for _ in 0..20 {
            ensure!(ask(&mut live, "select 'undisturbed'")? == "TDCZ", "{spare} free descriptors");
        }
        let at_target = target.sql("postgres", "select count(*) from pg_stat_activity where usename = 'app'")?;
        ensure!(spare > 0 || at_target == "1\n", "no free descriptor, and somebody new is at the target");
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(1024), maximum: Some(1024) })?;
        for attempt in attempts {
            let_in += usize::from(attempt.join().ok().context("a login panicked")?);
        }
    }
    // Whoever waited in the kernel's queue came in later, whoever was taken in and could not be served was sent away.
    println!("{let_in} of 24 came in");
    ensure!(ask(&mut Wire::open(&login, &[])?, "select 1")? == "TDCZ");
    ensure!(gateway.health()?.contains("200 OK") && !gateway.printed().contains("panicked"), "{}", gateway.printed());
    Ok(())
}

/// A window closes by the clock on the wall whichever way it goes; everything else goes on, and what is recorded stays in the order in which it happened.
#[test]
fn a_clock_that_jumps_closes_windows_and_nothing_else() -> Result<()> {
    let target = Postgres::start()?;
    let mut setup = Setup::init()?;
    setup.permit_all()?;
    setup.target(&target, DATABASE, "")?;
    let (clock, library) = (setup.file("clock"), xtask::install::libfaketime().map_err(|error| anyhow::anyhow!(error))?);
    let jump = |offset: &str| fs::write(&clock, offset);
    jump("+0")?;
    for (name, value) in [("FAKETIME_TIMESTAMP_FILE", clock.as_path()), ("LD_PRELOAD", library.as_path())] {
        setup.environment(name, &value.to_string_lossy());
    }
    // What waits by the clock that never jumps goes on doing so.
    setup.environment("FAKETIME_NO_CACHE", "1");
    setup.environment("DONT_FAKE_MONOTONIC", "1");
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    let by_password = gateway.login("alice")?.without_tls();
    let by_token = by_password.clone().with_password(gateway.run("alice", &["token", CONNECTION, "--expires-in", "1h"])?.trim());
    let (mut lasting, mut windowed) = (Wire::open(&by_password, &[])?, Wire::open(&by_token, &[])?);
    ensure!(ask(&mut lasting, "select 'before the jumps'")? == "TDCZ" && ask(&mut windowed, "select 1")? == "TDCZ");

    jump("+2h")?;
    let told = windowed.hear()?;
    ensure!(told.kind == 'E' && windowed.ends()?, "{told:?}");
    ensure!(Wire::open(&by_token, &[]).is_err(), "let in after the window");
    ensure!(ask(&mut lasting, "select 'after two hours'")? == "TDCZ");
    Wire::open(&by_password, &[])?;

    jump("-26h")?;
    ensure!(ask(&mut lasting, "select 'a day before'")? == "TDCZ");
    let mut yesterday = Wire::open(&by_password, &[])?;
    ensure!(ask(&mut yesterday, "select 'begun a day before'")? == "TDCZ");
    jump("+0")?;
    ensure!(ask(&mut lasting, "select 'back again'")? == "TDCZ" && ask(&mut yesterday, "select 1")? == "TDCZ");
    drop((lasting, yesterday));
    let end = Instant::now() + PATIENCE;
    while sessions(&gateway)?.iter().any(|session| session.get("ended_at").is_none_or(Value::is_null)) {
        ensure!(Instant::now() < end, "sessions that never end");
    }
    let stories = sessions(&gateway)?.iter().map(|session| story(&gateway, session)).collect::<Result<Vec<_>>>()?;
    let lasting = stories.iter().find(|story| story.contains("before the jumps")).context("it is not recorded")?;
    let places = ["before the jumps", "after two hours", "a day before", "back again"].map(|word| lasting.find(word));
    ensure!(places.is_sorted() && places[0].is_some(), "{lasting}");
    ensure!(stories.iter().any(|story| story.contains("begun a day before")) && !stories.concat().contains("outcome unknown"), "{stories:?}");
    Ok(())
}

/// A gateway with alice, whose recordings lie on this disk, with these further lines of `countersign.toml`.
fn recording_on(disk: &Disk, target: &Postgres, more: &str) -> Result<Gateway> {
    target.sql(DATABASE, "create table load (marker text); grant all on load to public")?;
    let setup = Setup::init()?;
    setup.permit_all()?;
    setup.target(target, DATABASE, "")?;
    add_lines(&setup, more)?;
    fs::create_dir(disk.path().join("recordings"))?;
    fs::remove_dir(setup.file("data/recordings")).ok();
    symlink(disk.path().join("recordings"), setup.file("data/recordings"))?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    Ok(gateway)
}

/// A session that lived is ended with a word, and none begins.
fn records_no_more(gateway: &Gateway, login: &Login, lived: &mut Wire) -> Result<()> {
    let told = last_words(lived)?;
    ensure!(told.contains("57P01") && told.contains("unrecorded"), "{told}");
    let refused = Wire::open(login, &[]).err().context("a session was let in that cannot be recorded")?.to_string();
    ensure!(refused.contains("57P03") && refused.contains("cannot record"), "{refused}");
    let health = gateway.health()?;
    ensure!(health.contains("503") && health.contains("recordings cannot be written"), "{health}");
    Ok(())
}

/// Sessions begin again, and what was executed meanwhile is recorded, but for what is excused, given all that was executed.
fn records_again(gateway: &Gateway, login: &Login, target: &Postgres, excused: impl Fn(&str, &BTreeSet<String>) -> bool) -> Result<()> {
    let mut again = begins_again(login)?;
    ensure!(ask(&mut again, "select 'recorded again'")? == "TDCZ");
    let told = sessions(gateway)?.iter().map(|session| story(gateway, session)).collect::<Result<Vec<_>>>()?;
    let (executed, recorded) = (markers(&target.log()?), markers(&told.concat()));
    let lost: Vec<_> = executed.difference(&recorded).filter(|marker| !excused(marker, &executed)).collect();
    ensure!(
        executed.len() >= STATEMENTS && lost.is_empty(),
        "{} of {} executed statements are in no recording: {lost:?}",
        lost.len(),
        executed.len()
    );
    ensure!(told.concat().contains("recorded again") && told.iter().all(|story| story.matches("outcome unknown").count() <= 1), "{told:?}");
    Ok(())
}

/// Writes of open files fail, too, and what the disk had not got is gone: what was forwarded, it had got. But for the last statement of a session: ext4
/// calls a file synced whose transaction is gone with the journal's abort, in the moment before the file system is read-only
/// (`jbd2_complete_transaction`; `fdatasync` alone, without a gateway, lost an append so in 9 runs of 60).
#[test]
fn a_file_system_that_becomes_read_only_ends_all_sessions_and_keeps_what_ran() -> Result<()> {
    let target = Postgres::start()?;
    let Some(disk) = Disk::mounted()? else { return Ok(()) };
    let gateway = recording_on(&disk, &target, "[recording]\ndurability = \"strict\"\n")?;
    let login = gateway.login("alice")?.without_tls();
    let (mut idle, mut running) = (Wire::open(&login, &[])?, Wire::open(&login, &[])?);
    running.say(&query("select pg_sleep(600)"))?;
    target.wait_until_logged("pg_sleep(600)")?;
    while_at_work(&login, || disk.goes_read_only())?;
    records_no_more(&gateway, &login, &mut idle)?;
    records_no_more(&gateway, &login, &mut running)?;
    target.wait_until_true(DATABASE, "not exists (select from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid())")?;

    disk.is_mended()?;
    records_again(&gateway, &login, &target, |marker, executed| next(marker).is_some_and(|next| !executed.contains(&next)))
}

/// As a disk is that others fill: the gateway has no part in it, and no file of its own is too large.
#[test]
fn a_file_system_that_is_full_ends_all_sessions_and_keeps_what_ran_until_there_is_room() -> Result<()> {
    let target = Postgres::start()?;
    let Some(disk) = Disk::mounted()? else { return Ok(()) };
    let gateway = recording_on(&disk, &target, "")?;
    let login = gateway.login("alice")?.without_tls();
    let mut idle = Wire::open(&login, &[])?;
    while_at_work(&login, || disk.is_filled())?;
    records_no_more(&gateway, &login, &mut idle)?;

    disk.has_room()?;
    records_again(&gateway, &login, &target, |_, _| false)
}

/// Where state is kept, and not the recordings.
#[test]
fn a_state_store_that_becomes_read_only_lets_nobody_in_until_it_is_mended() -> Result<()> {
    let target = Postgres::start()?;
    let Some(disk) = Disk::mounted()? else { return Ok(()) };
    let setup = Setup::init_in_files()?;
    setup.permit_all()?;
    setup.target(&target, DATABASE, "")?;
    let (data, on_disk, recordings) = (setup.file("data"), disk.path().join("data"), setup.file("recordings"));
    run(Command::new("cp").arg("-a").arg(&data).arg(&on_disk))?;
    fs::remove_dir_all(&data)?;
    symlink(&on_disk, &data)?;
    fs::remove_dir_all(data.join("recordings")).ok();
    fs::create_dir(&recordings)?;
    symlink(&recordings, data.join("recordings"))?;
    run(Command::new("sync").arg("--file-system").arg(&on_disk))?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    let login = gateway.login("alice")?.without_tls();
    let mut live = Wire::open(&login, &[])?;
    ensure!(ask(&mut live, "select 'before'")? == "TDCZ");
    disk.goes_read_only()?;
    // Nobody knows before somebody writes: whoever wants to be let in, or an administrator.
    let revoked = gateway.output(gateway.administrator(), &["identity", "revoke", "alice"], "")?;
    ensure!(!revoked.status.success(), "revoked without a word in the store");
    // Whom nobody can revoke any more does not go on.
    let told = last_words(&mut live)?;
    ensure!(told.contains("57P01") && told.contains("state store"), "{told}");
    let refused = Wire::open(&login, &[]).err().context("let in without a state store")?.to_string();
    ensure!(refused.contains("57P03") && refused.contains("state store"), "{refused}");
    let health = gateway.health()?;
    ensure!(health.contains("503") && health.contains("state store"), "{health}");

    // What was open of a file system that failed stays failed: the gateway begins anew with it.
    gateway.signal(Signal::TERM)?;
    ensure!(gateway.ended_within(PATIENCE).is_some(), "it does not end: {}", gateway.printed());
    disk.is_mended()?;
    gateway.start_again()?;
    let mut again = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    ensure!(ask(&mut again, "select 'after'")? == "TDCZ");
    let told = sessions(&gateway)?.iter().map(|session| story(&gateway, session)).collect::<Result<String>>()?;
    ensure!(told.contains("'before'") && told.contains("'after'") && !told.contains("outcome unknown"), "{told}");
    Ok(())
}

fn begins_again(login: &Login) -> Result<Wire> {
    let end = Instant::now() + PATIENCE;
    loop {
        match Wire::open(login, &[]) {
            Ok(wire) => return Ok(wire),
            Err(error) => ensure!(Instant::now() < end, "no session begins again: {error:#}"),
        }
    }
}

/// How many statements are answered before something happens, and how many work meanwhile.
const STATEMENTS: usize = 100;
const WORKERS: usize = 4;

/// Keeps sessions busy until each is ended, and does something in the midst of it.
fn while_at_work(login: &Login, happens: impl FnOnce() -> Result<()>) -> Result<()> {
    let (tell, answered) = channel();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let tell = tell.clone();
            scope.spawn(move || work(login, worker, &tell));
        }
        drop(tell);
        let enough = (0..STATEMENTS).try_for_each(|_| answered.recv_timeout(PATIENCE));
        happens()?;
        enough.context("the workers were not served")
    })
}

/// Statements with markers of their own, one after the other, until the session ends.
fn work(login: &Login, worker: usize, tell: &Sender<()>) {
    let Ok(mut wire) = Wire::open(login, &[]) else { return };
    for number in 0.. {
        if !ask(&mut wire, &format!("insert into load values ('marker-{worker}-{number}')")).is_ok_and(|kinds| kinds == "CZ") {
            return;
        }
        let _ = tell.send(());
    }
}

fn markers(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.starts_with("marker-")).map(str::to_owned).collect()
}

/// The marker of the statement after the one of this.
fn next(marker: &str) -> Option<String> {
    let (session, number) = marker.rsplit_once('-')?;
    Some(format!("{session}-{}", number.parse::<u64>().ok()? + 1))
}

/// The last error before the gateway closes the connection, which it must.
fn last_words(wire: &mut Wire) -> Result<String> {
    let mut told = String::new();
    while let Ok(heard) = wire.hear() {
        if heard.kind == 'E' {
            told = String::from_utf8_lossy(&heard.body).replace('\0', " ");
        }
    }
    ensure!(wire.ends()?, "still connected after: {told}");
    Ok(told)
}

fn add_lines(setup: &Setup, more: &str) -> Result<()> {
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write("countersign.toml", &format!("{before}{more}"))
}

/// `docs/operate.md`, Back up: the database by SQLite's own means and the rest as files, while the gateway runs and somebody works.
#[test]
fn a_backup_of_the_files_is_restored_as_documented() -> Result<()> {
    let target = Postgres::start()?;
    let setup = Setup::init_in_files()?;
    setup.permit_all()?;
    setup.target(&target, DATABASE, "")?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    let mut live = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    ensure!(ask(&mut live, "select 'before the backup'")? == "TDCZ");
    let (data, backup) = (gateway.setup().file("data"), gateway.setup().file("backup"));
    fs::create_dir(&backup)?;
    back_up_database(&data.join("state.db"), &backup.join("state.db"))?;
    for part in ["keys", "tls", "recordings"] {
        run(Command::new("cp").arg("-R").arg(data.join(part)).arg(&backup))?;
    }
    ensure!(ask(&mut live, "select 'after the backup'")? == "TDCZ");
    gateway.run(gateway.administrator(), &["identity", "revoke", "alice"])?;
    gateway.kill();
    fs::rename(&data, gateway.setup().file("lost"))?;
    fs::rename(&backup, &data)?;
    for_its_owner_alone(&data)?;
    gateway.start_again()?;
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[]).context("who was revoked after the backup")?;
    ensure!(ask(&mut wire, "select 'restored'")? == "TDCZ");
    let stories = sessions(&gateway)?.iter().map(|session| story(&gateway, session)).collect::<Result<String>>()?;
    ensure!(stories.contains("before the backup") && !stories.contains("after the backup"), "{stories}");
    finds(&gateway, "before", 1)
}

/// The index, which is in no backup, is made anew.
fn finds(gateway: &Gateway, word: &str, times: usize) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = gateway.run(gateway.administrator(), &["search", word])?;
        if found.matches("alice").count() == times {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{found}");
    }
}

/// What `sqlite3 FROM ".backup TO"` does, by the same function of SQLite's.
fn back_up_database(from: &Path, to: &Path) -> Result<()> {
    let python = std::env::var_os("COUNTERSIGN_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))";
    run(Command::new(python).args(["-c", script]).args([from, to]))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Files 0600, folders 0700.
fn for_its_owner_alone(path: &Path) -> Result<()> {
    let folder = path.is_dir();
    fs::set_permissions(path, fs::Permissions::from_mode(if folder { 0o700 } else { 0o600 }))?;
    if folder {
        fs::read_dir(path)?.try_for_each(|entry| for_its_owner_alone(&entry?.path()))?;
    }
    Ok(())
}

/// What [`data_of_this_version`] made when this version was the newest. Later versions open it for ever.
const KEPT: &[&str] = &["0.1.0"];

/// A data directory of this version, opened again by it; `COUNTERSIGN_TEST_KEEP_DATA=FOLDER` leaves a copy there, to be [`KEPT`] when a version is
/// published.
#[test]
fn data_of_this_version_are_opened_again() -> Result<()> {
    let target = Postgres::start()?;
    let setup = Setup::init_in_files()?;
    setup.permit_all()?;
    setup.target(&target, DATABASE, "")?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &["engineers"])?;
    let token = gateway.run("alice", &["token", CONNECTION, "--expires-in", "30d"])?;
    for password in [None, Some(token.trim())] {
        let login = gateway.login("alice")?.without_tls();
        let mut wire = Wire::open(&password.map_or(login.clone(), |token| login.with_password(token)), &[])?;
        ensure!(ask(&mut wire, "select 'an old statement'")? == "TDCZ");
        ensure!(ask(&mut wire, "select no_such_column")? == "EZ");
    }
    let mut cut = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    cut.say(&query("select 'cut off', pg_sleep(600)"))?;
    target.wait_until_logged("pg_sleep(600)")?;
    gateway.kill();
    let folder = gateway.setup().file("");
    if let Some(kept) = std::env::var_os("COUNTERSIGN_TEST_KEEP_DATA") {
        let kept = Path::new(&kept);
        fs::create_dir_all(kept.join("data"))?;
        back_up_database(&folder.join("data/state.db"), &kept.join("data/state.db"))?;
        for part in ["keys", "tls", "recordings"] {
            run(Command::new("cp").arg("-R").arg(folder.join("data").join(part)).arg(kept.join("data")))?;
        }
        fs::write(kept.join("administrator"), gateway.setup().administrator_and_password())?;
    }
    gateway.start_again()?;
    is_all_there(&gateway)
}

#[test]
fn data_of_every_published_version_are_opened() -> Result<()> {
    let target = Postgres::start()?;
    for version in KEPT {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(version);
        let setup = Setup::of_data(&kept)?;
        for_its_owner_alone(&setup.file("data"))?;
        setup.permit_all()?;
        setup.target(&target, DATABASE, "")?;
        let mut gateway = setup.serve().context(*version)?;
        gateway.knows_user("alice");
        is_all_there(&gateway).context(*version)?;
    }
    Ok(())
}

/// Identities and their passwords, sessions and what was done in them, and that one was cut off; and that work goes on.
fn is_all_there(gateway: &Gateway) -> Result<()> {
    let old = sessions(gateway)?;
    let stories = old.iter().map(|session| story(gateway, session)).collect::<Result<Vec<_>>>()?;
    let with = |words: &str| stories.iter().filter(|story| story.contains(words)).count();
    ensure!((old.len(), with("an old statement"), with("42703"), with("outcome unknown")) == (3, 2, 2, 1), "{stories:?}");
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    ensure!(ask(&mut wire, "select 'a new statement'")? == "TDCZ");
    finds(gateway, "old", 2)?;
    gateway.signal(Signal::TERM)
}
