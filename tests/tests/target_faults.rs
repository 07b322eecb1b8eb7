//! Targets that die, hang, fall half silent or lie: their own sessions end with a word, the recordings say what is known, and nobody else notices.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
    valve::{Then, Valve},
    wire::{Heard, Wire, message, query},
};
use serde_json::Value;

/// A gateway before a target behind a valve, with alice and a session of bob's that must go on.
struct Stand {
    target: Postgres,
    valve: Valve,
    gateway: Gateway,
    token: String,
    bystander: Wire,
}

impl Stand {
    fn start() -> Result<Self> {
        Self::start_with(|_| Ok(()))
    }

    fn start_with(change: impl FnOnce(&Setup) -> Result<()>) -> Result<Self> {
        let target = Postgres::start()?;
        let valve = Valve::before(target.port())?;
        let setup = Setup::init()?;
        setup.permit_all()?;
        setup.target(&target, DATABASE, "")?;
        let file = format!("connections/{CONNECTION}.toml");
        let behind = fs::read_to_string(setup.file(&file))?.replace(&format!("port = {}\n", target.port()), &format!("port = {}\n", valve.port()));
        setup.write(&file, &behind)?;
        change(&setup)?;
        let mut gateway = setup.serve()?;
        gateway.add_user("alice", &[])?;
        gateway.add_user("bob", &[])?;
        let token = gateway.run("alice", &["token", CONNECTION])?.trim().to_owned();
        let bystander = Wire::open(&gateway.login("bob")?.without_tls(), &[])?;
        Ok(Self { target, valve, gateway, token, bystander })
    }

    fn alice(&self) -> Result<Wire> {
        Wire::open(&self.gateway.login("alice")?.with_password(self.token.as_str()).without_tls(), &[])
    }

    fn bystander_goes_on(&mut self, after: &str) -> Result<()> {
        self.bystander.say(&query("select 'undisturbed'"))?;
        let heard = self.bystander.hear_until_ready(1).with_context(|| format!("the bystander ended after {after}"))?;
        ensure!(kinds(&heard) == "TDCZ", "after {after}: {heard:?}");
        Ok(())
    }

    /// Waits until no session of alice's is live.
    fn alice_is_gone(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let live = self.gateway.json(self.gateway.administrator(), &["sessions", "--live", "--identity", "alice"])?;
            if live.pointer("/sessions").and_then(Value::as_array).is_some_and(Vec::is_empty) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "whoever left is still there: {live}");
        }
    }

    /// How the newest session of alice's went, as `show` tells it.
    fn story(&self) -> Result<String> {
        let administrator = self.gateway.administrator();
        let sessions = self.gateway.json(administrator, &["sessions", "--identity", "alice"])?;
        let id = sessions.pointer("/sessions/0/id").and_then(Value::as_str).context("no session")?;
        self.gateway.run(administrator, &["show", id])
    }
}

fn kinds(heard: &[Heard]) -> String {
    heard.iter().map(|message| message.kind).collect()
}

/// All that is said until the connection is closed, which it must be.
fn last_words(wire: &mut Wire) -> Result<Vec<Heard>> {
    let mut heard = Vec::new();
    while let Ok(message) = wire.hear() {
        heard.push(message);
    }
    ensure!(wire.ends()?, "still connected after {}", kinds(&heard));
    Ok(heard)
}

fn text(heard: &[Heard]) -> String {
    heard.iter().map(|message| String::from_utf8_lossy(&message.body).replace('\0', "\n")).collect()
}

const MARKED: &str = "select 'marked answer' as word";

/// What the target says to [`MARKED`].
fn answer(stand: &Stand) -> Result<Vec<u8>> {
    let (tell, told) = std::sync::mpsc::channel();
    stand.valve.alter(
        "marked answer",
        move |said| {
            let _ = tell.send(said.to_vec());
            said.to_vec()
        },
        Then::GoOn,
    );
    let mut wire = stand.alice()?;
    wire.say(&query(MARKED))?;
    ensure!(kinds(&wire.hear_until_ready(1)?) == "TDCZ");
    told.recv_timeout(PATIENCE).context("the target's answer did not come")
}

/// Where each message of an answer begins, and the end of the last.
fn bounds(answer: &[u8]) -> Vec<usize> {
    let (mut at, mut bounds) = (0, vec![0]);
    while let Some([_, length @ ..]) = answer.get(at..).and_then(<[u8]>::first_chunk::<5>) {
        at += 1 + u32::from_be_bytes(*length) as usize;
        bounds.push(at);
    }
    bounds
}

#[test]
fn a_target_that_dies_at_any_byte_of_its_answer_ends_its_session_with_a_word() -> Result<()> {
    let mut stand = Stand::start()?;
    let answer = answer(&stand)?;
    let [_, row, complete, ready, end] = bounds(&answer)[..] else { anyhow::bail!("{answer:?}") };
    for at in 0..end - 1 {
        stand.valve.alter("marked answer", move |said| said.get(..at).unwrap_or_default().to_vec(), Then::Close);
        let mut wire = stand.alice()?;
        wire.say(&query(MARKED))?;
        let heard = last_words(&mut wire).with_context(|| format!("cut at {at}"))?;
        let whole = ["T", "D", "C"].into_iter().zip([row, complete, ready]).filter(|(_, end)| *end <= at).map(|(kind, _)| kind).collect::<String>();
        if (row + 5..complete).contains(&at) {
            // A row is passed on as it comes: within one nothing else can be said.
            ensure!(kinds(&heard) == "T", "cut at {at}: {}", kinds(&heard));
        } else {
            ensure!(kinds(&heard) == format!("{whole}E") && text(&heard).contains("08006"), "cut at {at}: {}", kinds(&heard));
        }
    }
    stand.bystander_goes_on("answers that were cut")?;
    ensure!(!stand.gateway.printed().contains("panicked"), "{}", stand.gateway.printed());
    // What was not answered to its end is of unknown outcome.
    stand.valve.alter("marked answer", |_| Vec::new(), Then::Close);
    let mut wire = stand.alice()?;
    wire.say(&query(MARKED))?;
    last_words(&mut wire)?;
    let story = stand.story()?;
    ensure!(story.contains("outcome unknown"), "{story}");
    Ok(())
}

#[test]
fn a_target_that_lies_about_a_length_costs_its_own_session_and_no_memory() -> Result<()> {
    let mut stand = Stand::start()?;
    let answer = Arc::new(answer(&stand)?);
    let before = resident_kib(&stand.gateway)?;
    let mut at = 0;
    while let Some(head) = answer.get(at..).and_then(<[u8]>::first_chunk::<5>) {
        let [_, a, b, c, d] = *head;
        let length = u32::from_be_bytes([a, b, c, d]);
        for lie in [0, 3, length - 1, length + 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let altered = answer.clone();
            let harm = move |_: &[u8]| [&altered[..at + 1], &lie.to_be_bytes(), &altered[at + 5..]].concat();
            stand.valve.alter("marked answer", harm, Then::Close);
            let mut wire = stand.alice()?;
            wire.say(&query(MARKED))?;
            let heard = last_words(&mut wire).with_context(|| format!("{lie} at {at}"))?;
            ensure!(!kinds(&heard).contains('Z'), "{lie} at {at}: {}", kinds(&heard));
        }
        at += 1 + length as usize;
    }
    stand.bystander_goes_on("lies about lengths")?;
    let grown = resident_kib(&stand.gateway)?.saturating_sub(before);
    ensure!(grown < 64 << 10, "{grown} KiB are kept");
    ensure!(!stand.gateway.printed().contains("panicked"), "{}", stand.gateway.printed());
    Ok(())
}

/// A row whose count of cells, or whose cells' lengths, do not fit in it: to be masked it is taken apart, and nothing of it is shown.
#[test]
fn a_target_that_lies_about_cells_shows_nothing_of_them_and_ends_its_own_session() -> Result<()> {
    let mut stand = Stand::start_with(|setup| {
        setup.classes(&[("words", "keep-last-four", "public.classified.word")])?;
        setup.write("policy/masked.cedar", "forbid (principal, action == Action::\"reveal\", resource);\n")
    })?;
    stand.target.sql(
        DATABASE,
        "create table classified (id int, word text); insert into classified values (1, 'plain text'); grant select on classified to app",
    )?;
    let ask = query("select id, word from classified");
    let mut wire = stand.alice()?;
    wire.say(&ask)?;
    let heard = wire.hear_until_ready(1)?;
    ensure!(kinds(&heard) == "TDCZ" && !text(&heard).contains("plain text"), "{heard:?}");
    // `D`, its length, the count, then each cell's length and bytes.
    for (at, lies) in [
        (5, [&[0u8, 0] as &[u8], &[0, 1], &[0, 3], &[0x7f, 0xff], &[0xff, 0xff]]),
        (13, [&[0, 0, 0, 9], &[0, 0, 0, 11], &[0x7f, 0xff, 0xff, 0xff], &[0x80, 0, 0, 0], &[0xff, 0xff, 0xff, 0xfe]]),
    ] {
        for lie in lies {
            let said = lie.to_vec();
            let harm = move |whole: &[u8]| {
                let mut whole = whole.to_vec();
                let row = bounds(&whole).into_iter().find(|at| whole.get(*at) == Some(&b'D')).unwrap_or_default();
                whole.splice(row + at..row + at + said.len(), said.iter().copied());
                whole
            };
            stand.valve.alter("plain text", harm, Then::GoOn);
            let mut wire = stand.alice()?;
            wire.say(&ask)?;
            let heard = last_words(&mut wire).with_context(|| format!("{lie:?} at {at}"))?;
            ensure!(kinds(&heard) == "TE", "{lie:?} at {at}: {heard:?}");
            ensure!(!text(&heard).contains("plain"), "{lie:?} at {at}: {heard:?}");
        }
    }
    stand.bystander_goes_on("lies about cells")?;
    ensure!(!stand.gateway.printed().contains("panicked"), "{}", stand.gateway.printed());
    Ok(())
}

#[test]
fn a_target_that_dies_at_any_byte_of_a_login_is_not_available_and_costs_nobody_else_anything() -> Result<()> {
    let mut stand = Stand::start()?;
    // What it says first, its part of the proof, and how the session stands.
    for marker in ["SCRAM-SHA-256", ",i=4096", "server_version"] {
        let (tell, told) = std::sync::mpsc::channel();
        let count = move |said: &[u8]| {
            let _ = tell.send(said.len());
            said.to_vec()
        };
        stand.valve.alter(marker, count, Then::GoOn);
        drop(stand.alice()?);
        for at in 0..told.recv_timeout(PATIENCE).with_context(|| format!("nobody said {marker}"))? {
            stand.valve.alter(marker, move |said| said.get(..at).unwrap_or_default().to_vec(), Then::Close);
            let refused = stand.alice().err().with_context(|| format!("{marker} cut at {at}: let in"))?.to_string();
            ensure!(refused.contains("is not available"), "{marker} cut at {at}: {refused}");
        }
    }
    stand.bystander_goes_on("logins that were cut")?;
    ensure!(!stand.gateway.printed().contains("panicked"), "{}", stand.gateway.printed());
    Ok(())
}

fn resident_kib(gateway: &Gateway) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(resident.trim().trim_end_matches(" kB").trim().parse()?)
}

#[test]
fn a_target_that_says_no_more_but_listens_is_gone() -> Result<()> {
    let mut stand = Stand::start()?;
    let described = bounds(&answer(&stand)?)[1];
    stand.valve.alter("marked answer", move |said| said.get(..described).unwrap_or_default().to_vec(), Then::SayNoMore);
    let mut wire = stand.alice()?;
    wire.say(&query(MARKED))?;
    let heard = last_words(&mut wire)?;
    ensure!(kinds(&heard) == "TE" && text(&heard).contains("08006"), "{heard:?}");
    stand.bystander_goes_on("a half-open connection")
}

/// A silent network hides a target for as long as it likes; whoever governs the gateway does not have to wait for it, and neither does the caller.
#[test]
fn a_target_that_hangs_holds_nobody_who_wants_to_leave() -> Result<()> {
    let mut stand = Stand::start()?;
    let (mut killed, mut leaving) = (stand.alice().context("one")?, stand.alice().context("two")?);
    let live = stand.gateway.json(stand.gateway.administrator(), &["sessions", "--live", "--identity", "alice"])?;
    let newest = live.pointer("/sessions/0/id").and_then(Value::as_str).context("no session")?.to_owned();
    let older = live.pointer("/sessions/1/id").and_then(Value::as_str).context("one session")?.to_owned();
    stand.valve.close();
    killed.say(&query("select 'never answered'"))?;
    leaving.say(&query("select 'never answered'"))?;
    let began = Instant::now();
    drop(leaving);
    stand.gateway.run(stand.gateway.administrator(), &["kill", &older])?;
    let told = text(&last_words(&mut killed)?);
    ensure!(told.contains("57P01"), "{told}");
    let gone = |id: &str| -> Result<bool> {
        let live = stand.gateway.json(stand.gateway.administrator(), &["sessions", "--live"])?;
        Ok(!live.to_string().contains(id))
    };
    while !gone(&newest)? || !gone(&older)? {
        ensure!(began.elapsed() < PATIENCE, "still listed");
    }
    ensure!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    // Nobody is let in to a target that is silent, and says so in the time of one attempt.
    let refused = stand.alice().err().context("let in to a silent target")?.to_string();
    ensure!(refused.contains("cannot be reached"), "{refused}");
    stand.valve.open();
    stand.bystander_goes_on("silence")?;
    let mut again = stand.alice().with_context(|| stand.gateway.printed())?;
    again.say(&query("select 1"))?;
    again.hear_until_ready(1).with_context(|| stand.gateway.printed()).map(drop)
}

/// What a name means that nobody knows yet is read on another link than the session's, which may hang as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_catalog_that_is_not_read_can_cancel_and_leave() -> Result<()> {
    let mut stand = Stand::start()?;
    let alice = stand.gateway.login("alice")?.with_password(stand.token.as_str());
    let (staying, mut leaving) = (alice.connect().await?, stand.alice()?);
    staying.simple_query("select 1").await?;
    leaving.say(&query("select 1"))?;
    leaving.hear_until_ready(1)?;
    stand.target.sql(DATABASE, "create table appeared (id int); grant all on appeared to app")?;
    stand.valve.close();
    let began = Instant::now();
    let token = staying.cancel_token();
    // The first may come before the statement does.
    let cancelled = async { while alice.cancel(token.clone()).await.is_ok() {} };
    let refused = tokio::select! {
        answered = staying.simple_query("select * from appeared") => answered.err().context("it ran")?,
        () = cancelled => anyhow::bail!("it cannot be cancelled"),
    };
    ensure!(refused.code().is_some_and(|code| code.code() == "57014"), "{refused:?}");
    leaving.say(&query("select * from appeared"))?;
    drop(leaving);
    loop {
        let live = stand.gateway.json(stand.gateway.administrator(), &["sessions", "--live", "--identity", "alice"])?;
        if live.pointer("/sessions").and_then(Value::as_array).is_some_and(|sessions| sessions.len() == 1) {
            break;
        }
        ensure!(began.elapsed() < Duration::from_secs(30), "whoever left is still there: {live}");
    }
    stand.valve.open();
    ensure!(staying.simple_query("select * from appeared").await.is_ok(), "the session is usable after a cancel");
    stand.bystander_goes_on("a silent target")
}

/// Its statement was here in full when it left, and is run once the catalog is read; then the session ends.
#[test]
fn who_leaves_while_a_catalog_is_read_has_its_statement_run_and_no_session_any_more() -> Result<()> {
    let mut stand = Stand::start()?;
    let mut leaving = stand.alice()?;
    leaving.say(&query("select 1"))?;
    leaving.hear_until_ready(1)?;
    stand.target.sql(DATABASE, "create table appeared (id int); grant all on appeared to app")?;
    stand.valve.close();
    leaving.say(&query("insert into appeared values (1)"))?;
    drop(leaving);
    // Whatever is known of the departure by now: nothing passes before the valve opens.
    ensure!(stand.target.sql(DATABASE, "select count(*) from appeared")? == "0\n");
    stand.valve.open();
    stand.target.wait_until_true(DATABASE, "(select count(*) from appeared) = 1")?;
    stand.alice_is_gone()?;
    stand.bystander_goes_on("a departure")
}

#[test]
fn a_target_that_dies_in_the_middle_of_a_copy_ends_it_with_a_word_in_both_directions() -> Result<()> {
    let mut stand = Stand::start()?;
    stand.target.sql(DATABASE, "create table sink (line text); grant all on sink to public")?;
    let end_backend = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'copy %'";
    // Slow enough that the target always waits for itself and not for its reader, to whom it could say nothing then.
    let slow = query("copy (select repeat('x', 1000), pg_sleep(0.001) from generate_series(1, 1000000)) to stdout");
    let mut out = stand.alice()?;
    out.say(&slow)?;
    for _ in 0..100 {
        out.hear()?;
    }
    stand.target.sql("postgres", end_backend)?;
    let heard = last_words(&mut out)?;
    // The target's own word is the last, as it is without a gateway.
    ensure!(heard.last().is_some_and(|last| last.kind == 'E' && text(std::slice::from_ref(last)).contains("57P01")), "{:?}", heard.last());
    ensure!(stand.story()?.contains("57P01"), "{}", stand.story()?);

    let mut copy_in = stand.alice()?;
    copy_in.say(&query("copy sink from stdin"))?;
    ensure!(copy_in.hear()?.kind == 'G');
    copy_in.say(&message(b'd', &[b"a line\n".to_vec()]))?;
    stand.target.wait_until_true("postgres", "exists (select from pg_stat_activity where query like 'copy sink%' and wait_event = 'ClientRead')")?;
    stand.target.sql("postgres", end_backend)?;
    let heard = last_words(&mut copy_in)?;
    ensure!(text(&heard).contains("57P01"), "{heard:?}");
    ensure!(stand.target.sql(DATABASE, "select count(*) from sink")? == "0\n");
    stand.bystander_goes_on("copies that were cut")?;

    // The whole server, as a crash takes it: now everybody at it is told.
    let mut out = stand.alice()?;
    out.say(&slow)?;
    for _ in 0..100 {
        out.hear()?;
    }
    stand.target.stop()?;
    let heard = last_words(&mut out)?;
    ensure!(heard.last().is_some_and(|last| last.kind == 'E'), "{:?}", heard.last());
    stand.gateway.run(stand.gateway.administrator(), &["status"])?;
    let refused = stand.alice().err().context("let in to a server that is down")?.to_string();
    ensure!(refused.contains("cannot be reached"), "{refused}");
    stand.target.start_again()?;
    stand.alice().map(drop)
}

/// As PostgreSQL does it: what was copied in is undone, what was to come out stops, and no backend stays.
#[test]
fn a_caller_who_leaves_in_the_middle_of_a_copy_undoes_it_and_leaves_nothing_behind() -> Result<()> {
    let mut stand = Stand::start()?;
    stand.target.sql(DATABASE, "create table sink (line text); grant all on sink to public")?;
    let mut out = stand.alice()?;
    out.say(&query("copy (select repeat('x', 1000) from generate_series(1, 10000000)) to stdout"))?;
    for _ in 0..100 {
        out.hear()?;
    }
    drop(out);
    stand.alice_is_gone()?;
    stand.target.wait_until_true("postgres", "not exists (select from pg_stat_activity where query like 'copy (%')")?;
    ensure!(stand.story()?.contains("outcome unknown"), "{}", stand.story()?);

    let mut copy_in = stand.alice()?;
    copy_in.say(&query("copy sink from stdin"))?;
    ensure!(copy_in.hear()?.kind == 'G');
    copy_in.say(&message(b'd', &[b"a line\n".to_vec()]))?;
    drop(copy_in);
    stand.alice_is_gone()?;
    stand.target.wait_until_true("postgres", "not exists (select from pg_stat_activity where query like 'copy sink%')")?;
    ensure!(stand.target.sql(DATABASE, "select count(*) from sink")? == "0\n");
    ensure!(stand.story()?.contains("copy sink from stdin"), "{}", stand.story()?);
    stand.bystander_goes_on("callers who left")
}

/// One that refuses at the door, answers with nonsense, or never says anything: named, and nobody waits longer than a dial may take.
#[test]
fn a_target_that_is_none_is_named() -> Result<()> {
    let mut stand = Stand::start()?;
    let nonsense: [&[u8]; 4] = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"R\0\0\0\x03", b"E\0\0\0\x05\0", &[0xff; 64]];
    for said in nonsense {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let file = format!("connections/{CONNECTION}.toml");
        let right = fs::read_to_string(stand.gateway.setup().file(&file))?;
        let port = listener.local_addr()?.port();
        let other = right.replace(&format!("port = {}\n", stand.valve.port()), &format!("port = {port}\n"));
        stand.gateway.setup().write("connections/nonsense.toml", &other)?;
        stand.gateway.run(stand.gateway.administrator(), &["apply", &stand.gateway.setup().file("").to_string_lossy()])?;
        let login = Login { database: "nonsense".to_owned(), ..stand.gateway.login("alice")?.without_tls() };
        let caller = std::thread::spawn(move || Wire::open(&login, &[]).err().map(|refused| refused.to_string()));
        let (mut stream, _) = listener.accept()?;
        stream.write_all(said)?;
        drop(stream);
        let refused = caller.join().ok().flatten().context("let in")?;
        ensure!(refused.contains("connection nonsense is not available"), "{}: {refused}", said.escape_ascii());
        stand.bystander_goes_on("nonsense")?;
    }
    Ok(())
}
