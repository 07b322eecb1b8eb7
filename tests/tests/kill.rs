//! A gateway that is killed at any moment, or ends for want of memory, loses nothing it forwarded: whatever the target executed is in a recording. One that
//! is told to stop loses no answer either.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{BuildHasher, RandomState},
    sync::mpsc::{Sender, channel},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
    wire::{Wire, query},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;

/// How often it is killed, unless `COUNTERSIGN_TEST_KILLINGS` says otherwise.
const KILLINGS: u64 = 100;
const CLIENTS: u64 = 4;
/// A killing comes after at most this many statements of a round.
const STATEMENTS_MAX: u64 = 120;

#[test]
fn killings_at_random_moments_lose_no_statement() -> Result<()> {
    let killings = std::env::var("COUNTERSIGN_TEST_KILLINGS").map_or(Ok(KILLINGS), |killings| killings.parse())?;
    let target = with_load()?;
    let mut gateway = Gateway::permitting_all(&target)?;
    let token = gateway.run("alice", &["token", CONNECTION])?;
    let (seed, mut told) = (RandomState::new(), BTreeMap::new());
    for round in 0..killings {
        let login = gateway.login("alice")?.with_password(token.trim());
        let statements = 1 + seed.hash_one(round) % STATEMENTS_MAX;
        under_load(&login, round, || gateway.kill(), statements).with_context(|| format!("round {round}: {}", gateway.printed()))?;
        gateway.start_again()?;
        // One answer lists a thousand sessions at most.
        if (round + 1) % 100 == 0 || round + 1 == killings {
            told.extend(stories(&gateway)?);
        }
    }
    let executed = markers(&target.log()?);
    let recorded: BTreeSet<String> = told.values().flat_map(|story| markers(story)).collect();
    ensure!(executed.len() as u64 >= killings, "the load was too small: {} statements", executed.len());
    let lost: Vec<_> = executed.difference(&recorded).collect();
    ensure!(lost.is_empty(), "{} of {} executed statements are in no recording: {:?}", lost.len(), executed.len(), lost.first());
    // What was cut off is said to be so: of each session at most the one statement it was in, and in all of them some.
    let unknown: Vec<usize> = told.values().map(|story| story.matches("outcome unknown").count()).collect();
    println!("{killings} killings: {} statements executed, {} of unknown outcome", executed.len(), unknown.iter().sum::<usize>());
    ensure!(unknown.iter().all(|count| *count <= 1) && unknown.contains(&1), "{unknown:?}");
    Ok(())
}

/// What a gateway may still take, in MiB beyond what it has: a round for each.
const SPARE_MIB: [u64; 5] = [0, 1, 4, 16, 64];
/// Of the greedy who make it take more, so many of each kind.
const GREEDY: usize = 4;
const CROWD: usize = 24;
/// Below `max_statement_bytes`, with what stands around it.
const LARGE_BYTES: usize = 1_000_000;
/// How a shell tells of SIGABRT.
const ABORTED: i32 = 128 + 6;

/// Whatever it does without memory, it does it as one that is killed: what it forwarded stays written.
#[test]
fn a_gateway_that_runs_out_of_memory_loses_no_statement() -> Result<()> {
    let target = with_load()?;
    let mut gateway = Gateway::permitting_all(&target)?;
    let token = gateway.run("alice", &["token", CONNECTION])?;
    let mut ended = 0;
    for (round, spare) in (0..).zip(SPARE_MIB) {
        let (login, before) = (gateway.login("alice")?.with_password(token.trim()), failed_allocations(&gateway));
        let starved = under_load(
            &login,
            round,
            || {
                leave_memory(&gateway, spare)?;
                be_greedy(&login.clone().without_tls(), round);
                // Without memory the program says so and aborts; until its last word is written it is still there.
                let status = if failed_allocations(&gateway) > before { gateway.ended_within(PATIENCE) } else { None };
                gateway.kill();
                anyhow::Ok(status)
            },
            20,
        );
        let status = starved.with_context(|| format!("{spare} MiB: {}", gateway.printed()))??;
        ensure!(status.is_none_or(|status| status == ABORTED), "{spare} MiB: {status:?}: {}", gateway.printed());
        println!("{spare} MiB: {}", status.map_or("went on", |_| "ended"));
        ended += usize::from(status.is_some());
        gateway.start_again()?;
    }
    let told = stories(&gateway)?;
    let (executed, recorded) = (markers(&target.log()?), told.values().flat_map(|story| markers(story)).collect::<BTreeSet<_>>());
    let lost: Vec<_> = executed.difference(&recorded).collect();
    ensure!(lost.is_empty(), "{} of {} executed statements are in no recording: {:?}", lost.len(), executed.len(), lost.first());
    let unknown: Vec<usize> = told.values().map(|story| story.matches("outcome unknown").count()).collect();
    println!("{ended} of {} ended: {} statements executed, {} of unknown outcome", SPARE_MIB.len(), executed.len(), unknown.iter().sum::<usize>());
    ensure!(ended > 0 && unknown.iter().all(|count| *count <= 1) && unknown.contains(&1), "{ended} ended, {unknown:?}");
    Ok(())
}

/// In all that the gateways of these rounds have printed.
fn failed_allocations(gateway: &Gateway) -> usize {
    gateway.printed().matches("memory allocation of").count()
}

/// Lets its data grow by so much and no more: allocations fail then.
fn leave_memory(gateway: &Gateway, spare_mib: u64) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid()))?;
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:")).context("no VmData")?;
    let data_kib: u64 = data.trim().trim_end_matches(" kB").trim().parse()?;
    let pid = Pid::from_raw(i32::try_from(gateway.pid())?).context("no process id")?;
    let limit = Some((data_kib << 10) + (spare_mib << 20));
    prlimit(Some(pid), Resource::Data, Rlimit { current: limit, maximum: limit })?;
    Ok(())
}

/// Large statements, answers that nobody reads, and many sessions at once. That it fails is what it is for.
fn be_greedy(login: &Login, round: u64) {
    let large = |greedy: usize| {
        let mut wire = Wire::open(login, &[])?;
        for number in 0..4 {
            let padding = "x".repeat(LARGE_BYTES);
            wire.say(&query(&format!("insert into load values ('marker-{round}-large-{greedy}-{number}') /* {padding} */")))?;
            wire.hear_until_ready(1)?;
        }
        anyhow::Ok(wire)
    };
    let deaf = |greedy: usize| {
        let mut wire = Wire::open(login, &[])?;
        wire.say(&query(&format!("select 'marker-{round}-deaf-{greedy}', repeat('x', 10000) from generate_series(1, 10000)")))?;
        anyhow::Ok(wire)
    };
    let one_of_many = |number: usize| {
        let mut wire = Wire::open(login, &[])?;
        wire.say(&query(&format!("insert into load values ('marker-{round}-crowd-{number}')")))?;
        wire.hear_until_ready(1)?;
        anyhow::Ok(wire)
    };
    std::thread::scope(|scope| {
        let (deaf, large, one_of_many) = (&deaf, &large, &one_of_many);
        let all: Vec<_> = (0..GREEDY)
            .map(|greedy| scope.spawn(move || deaf(greedy)))
            .chain((0..GREEDY).map(|greedy| scope.spawn(move || large(greedy))))
            .chain((0..CROWD).map(|number| scope.spawn(move || one_of_many(number))))
            .collect();
        // Nobody leaves before all have been there.
        all.into_iter().map(|greedy| greedy.join()).collect::<Vec<_>>()
    });
}

fn with_load() -> Result<Postgres> {
    let target = Postgres::start()?;
    target.sql(DATABASE, "create table load (marker text); grant all on load to public")?;
    Ok(target)
}

/// Whoever is at work when it is told to stop has an answer to all that was executed, or is told why there is none to come.
#[test]
fn sigterm_under_load_leaves_no_outcome_unknown() -> Result<()> {
    let target = with_load()?;
    let mut gateway = Gateway::permitting_all(&target)?;
    let token = gateway.run("alice", &["token", CONNECTION])?;
    for round in 0..5 {
        let login = gateway.login("alice")?.with_password(token.trim());
        under_load(&login, round, || gateway.signal(Signal::TERM), 40)??;
        let status = gateway.ended_within(PATIENCE);
        ensure!(status == Some(0), "{status:?}: {}", gateway.printed());
        gateway.start_again()?;
    }
    let (executed, all) = (markers(&target.log()?), stories(&gateway)?.into_values().collect::<String>());
    let recorded = markers(&all);
    ensure!(executed.is_subset(&recorded) && !all.contains("outcome unknown"), "{} executed, {} recorded", executed.len(), recorded.len());
    let sessions = gateway.json(gateway.administrator(), &["sessions", "--limit", "1000"])?;
    let endings = |key: &str| sessions.get("sessions").and_then(Value::as_array).map(|all| all.iter().filter_map(|it| it.get(key)?.as_str()).count());
    ensure!(endings("ended_at") == endings("id") && endings("ending") == endings("id"), "{sessions}");
    Ok(())
}

/// Keeps clients busy until their connections break, and ends the gateway once this many statements were answered.
fn under_load<T>(login: &Login, round: u64, end: impl FnOnce() -> T, statements: u64) -> Result<T> {
    let (tell, answered) = channel();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let tell = tell.clone();
            scope.spawn(move || work(login, round, client, &tell));
        }
        drop(tell);
        let enough = (0..statements).try_for_each(|_| answered.recv_timeout(PATIENCE));
        let ended = end();
        enough.context("the clients were not served").map(|()| ended)
    })
}

/// Runs statements with markers of their own until the connection breaks: by the simple and by the extended protocol, with a bound marker, several
/// in one message, and in a transaction of several messages.
fn work(login: &Login, round: u64, client: u64, tell: &Sender<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let _ = runtime.block_on(async {
        let connection = login.connect().await?;
        for number in 0u64.. {
            let marker = format!("marker-{round}-{client}-{number}");
            let insert = format!("insert into load values ('{marker}')");
            match number % 5 {
                0 => drop(connection.simple_query(&insert).await?),
                1 => drop(connection.query(&format!("select count(*) from load where marker = '{marker}'"), &[]).await?),
                2 => drop(connection.execute("insert into load values ($1)", &[&marker]).await?),
                3 => connection.batch_execute(&format!("begin; {insert}; commit")).await?,
                _ => {
                    connection.batch_execute("begin").await?;
                    connection.execute(&insert, &[]).await?;
                    connection.batch_execute("commit").await?;
                }
            }
            let _ = tell.send(());
        }
        anyhow::Ok(())
    });
}

/// What is told of each session, by its id.
fn stories(gateway: &Gateway) -> Result<BTreeMap<String, String>> {
    let sessions = gateway.json(gateway.administrator(), &["sessions", "--limit", "1000"])?;
    let story = |session: &Value| {
        let id = session.get("id").and_then(Value::as_str).context("no id")?;
        Ok((id.to_owned(), gateway.run(gateway.administrator(), &["show", id])?))
    };
    sessions.get("sessions").and_then(Value::as_array).context("no sessions")?.iter().map(story).collect()
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
