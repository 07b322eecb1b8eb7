//! A gateway that is killed at any moment loses nothing it forwarded: whatever the target executed is in a recording.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, channel},
    },
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
};
use serde_json::Value;

const ROUNDS: u64 = 50;
const CLIENTS: u64 = 4;
/// A killing comes after at most this many statements of a round.
const STATEMENTS_MAX: u64 = 120;

#[test]
fn fifty_killings_lose_no_statement() -> Result<()> {
    let target = Postgres::start()?;
    target.sql(DATABASE, "create table load (marker text); grant all on load to public")?;
    let mut gateway = Gateway::permitting_all(&target)?;
    let token = gateway.run("alice", &["token", CONNECTION])?;
    let seed = RandomState::new();
    for round in 0..ROUNDS {
        let login = gateway.login("alice")?.with_password(token.trim());
        let statements = 1 + seed.hash_one(round) % STATEMENTS_MAX;
        under_load(&login, round, || gateway.kill(), statements).with_context(|| format!("round {round}: {}", gateway.printed()))?;
        gateway.start_again()?;
    }
    let executed = markers(&target.log()?);
    let recorded = recorded_markers(&gateway)?;
    ensure!(executed.len() as u64 >= ROUNDS, "the load was too small: {} statements", executed.len());
    let lost: Vec<_> = executed.difference(&recorded).collect();
    ensure!(lost.is_empty(), "{} of {} executed statements are in no recording: {lost:?}", lost.len(), executed.len());
    Ok(())
}

/// Keeps clients busy, and kills once this many statements were answered.
fn under_load(login: &Login, round: u64, kill: impl FnOnce(), statements: u64) -> Result<()> {
    let stopped = AtomicBool::new(false);
    let (tell, answered) = channel();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (tell, stopped) = (tell.clone(), &stopped);
            scope.spawn(move || work(login, round, client, &tell, stopped));
        }
        drop(tell);
        let enough = (0..statements).try_for_each(|_| answered.recv_timeout(PATIENCE));
        kill();
        stopped.store(true, Ordering::Relaxed);
        enough.context("the clients were not served")
    })
}

/// Runs statements with markers of their own, by the simple and by the extended protocol, until the connection breaks.
fn work(login: &Login, round: u64, client: u64, tell: &Sender<()>, stopped: &AtomicBool) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let _ = runtime.block_on(async {
        let connection = login.connect().await?;
        for number in 0u64.. {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let marker = format!("marker-{round}-{client}-{number}");
            if number % 2 == 0 {
                connection.simple_query(&format!("insert into load values ('{marker}')")).await?;
            } else {
                connection.query(&format!("select count(*) from load where marker = '{marker}'"), &[]).await?;
            }
            let _ = tell.send(());
        }
        anyhow::Ok(())
    });
}

fn recorded_markers(gateway: &Gateway) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let sessions = gateway.json(gateway.administrator(), &["sessions", "--limit", "100000"])?;
    for session in sessions.get("sessions").and_then(Value::as_array).context("no sessions")? {
        let id = session.get("id").and_then(Value::as_str).context("a session without id")?;
        found.extend(markers(&gateway.run(gateway.administrator(), &["show", id, "--json"])?));
    }
    Ok(found)
}

fn markers(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.starts_with("marker-")).map(str::to_owned).collect()
}

#[test]
fn what_ran_when_the_gateway_died_has_an_unknown_outcome() -> Result<()> {
    let target = Postgres::start()?;
    let mut gateway = Gateway::permitting_all(&target)?;
    let mut psql = gateway.login("alice")?.psql(&target.program("psql"))?.start()?;
    psql.type_line("select 'about to sleep';")?;
    psql.wait_for("about to sleep", PATIENCE)?;
    psql.type_line("select pg_sleep(600);")?;
    target.wait_until_logged("pg_sleep(600)")?;
    gateway.kill();
    gateway.start_again()?;
    let sessions = gateway.json(gateway.administrator(), &["sessions"])?;
    let session = sessions.pointer("/sessions/0").context("no session")?;
    ensure!(session.get("ended_at").is_some_and(|at| !at.is_null()), "still live: {session}");
    let id = session.get("id").and_then(Value::as_str).context("no id")?;
    let told = gateway.run(gateway.administrator(), &["show", id])?;
    ensure!(told.contains("pg_sleep(600)") && told.contains("outcome unknown"), "{told}");
    Ok(())
}

#[test]
fn a_second_gateway_on_the_same_data_is_refused() -> Result<()> {
    let target = Postgres::shared()?;
    let setup = Setup::init()?;
    setup.target(target, DATABASE, "")?;
    let gateway = setup.serve()?;
    let second = gateway.command(gateway.administrator())?.arg("serve").arg(gateway.setup().file("")).output()?;
    let told = String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    ensure!(!second.status.success() && told.contains(&gateway.pid().to_string()), "{}: {told}", second.status);
    gateway.run(gateway.administrator(), &["status"]).map(drop)
}
