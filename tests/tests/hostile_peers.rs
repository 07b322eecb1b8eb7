//! Callers that break off, exaggerate, dawdle, do not read or send without end: they get what PostgreSQL would give them or are sent away, in bounded
//! memory, and others go on as if they were not there. Targets that misbehave are in `target_faults.rs`.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, Method, PATIENCE, Postgres},
    wire::{Heard, Wire, bind, close, describe, execute, message, parse, query, startup, sync, text},
};
use serde_json::Value;

/// A gateway that permits everything, with alice and bob.
struct Stand {
    target: Postgres,
    gateway: Gateway,
    token: String,
}

impl Stand {
    /// With these lines before `[listen]` in `countersign.toml`.
    fn start(more: &str) -> Result<Self> {
        Self::start_with(more, |setup, target| setup.target(target, DATABASE, ""))
    }

    fn start_with(more: &str, connect: impl FnOnce(&Setup, &Postgres) -> Result<()>) -> Result<Self> {
        let target = Postgres::start_with(Method::Cleartext, &[])?;
        target.sql(
            DATABASE,
            "create table marks (mark text); create table doomed (id int); alter table marks owner to app; alter table doomed owner to app;
             create table classified (word text); insert into classified values ('ten signs.'); grant select on classified to app",
        )?;
        let setup = Setup::init()?;
        setup.permit_all()?;
        connect(&setup, &target)?;
        let before = fs::read_to_string(setup.file("countersign.toml"))?;
        setup.write("countersign.toml", &format!("{more}\n{before}"))?;
        let mut gateway = setup.serve()?;
        for name in ["alice", "bob"] {
            gateway.add_user(name, &[])?;
        }
        let token = gateway.run("alice", &["token", CONNECTION])?.trim().to_owned();
        Ok(Self { target, gateway, token })
    }

    /// By token: a password is slow to check, on purpose.
    fn login(&self) -> Result<Login> {
        Ok(self.gateway.login("alice")?.with_password(self.token.as_str()).without_tls())
    }

    fn alice(&self) -> Result<Wire> {
        Wire::open(&self.login()?, &[])
    }

    fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.pid()))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(resident.trim().trim_end_matches(" kB").trim().parse()?)
    }

    fn newest_session(&self) -> Result<Value> {
        let listed = self.gateway.json(self.gateway.administrator(), &["sessions", "--identity", "alice"])?;
        listed.pointer("/sessions/0").cloned().context("no session")
    }
}

fn kinds(heard: &[Heard]) -> String {
    heard.iter().map(|message| message.kind).collect()
}

fn ask(wire: &mut Wire, statement: &str) -> Result<String> {
    wire.say(&query(statement))?;
    Ok(kinds(&wire.hear_until_ready(1)?))
}

#[test]
fn a_caller_who_breaks_off_at_any_byte_runs_nothing_he_did_not_say_to_its_end() -> Result<()> {
    let stand = Stand::start("")?;
    let mut bystander = stand.alice()?;
    let login =
        [startup([("user", "alice"), ("database", CONNECTION), ("application_name", "breaks off")].iter()), message(b'p', &[text(&stand.token)])]
            .concat();
    let simple = query("insert into marks values ('simple')");
    let extended = [parse("s", "insert into marks values ($1)"), bind("", "s", &[Some("extended")], 0), execute("", 0), sync()].concat();
    let whole = [login.as_slice(), &simple, &extended].concat();
    let mut said = Vec::new();
    for at in 0..=whole.len() {
        let mut stream = TcpStream::connect(("127.0.0.1", stand.gateway.port()?))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(whole.get(..at).unwrap_or_default())?;
        stream.shutdown(Shutdown::Write)?;
        said.clear();
        match stream.read_to_end(&mut said) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                return Err(error).with_context(|| format!("still connected, cut at {at}"));
            }
            _ => {}
        }
    }
    stand.target.wait_until_true("postgres", "(select count(*) from pg_stat_activity where application_name like 'alice%') = 1")?;
    let ran = |mark: &str| -> Result<usize> {
        Ok(stand.target.sql(DATABASE, &format!("select count(*) from marks where mark = '{mark}'"))?.trim().parse()?)
    };
    // As PostgreSQL does, whoever says a statement to its end and then nothing more has it run.
    let (simple_ran, extended_ran) = (ran("simple")?, ran("extended")?);
    ensure!(simple_ran == extended.len() + 1 && extended_ran == 1, "{simple_ran} of {} and {extended_ran}", extended.len() + 1);
    // That an answer finds nobody any more is PostgreSQL's word for a client that left.
    let log = stand.target.log()?.replace("FATAL:  connection to client lost", "");
    ensure!(!log.contains("ERROR:") && !log.contains("FATAL:"), "the target was sent what is no message: {log}");
    ensure!(ask(&mut bystander, "select 1")? == "TDCZ" && !stand.gateway.printed().contains("panicked"), "{}", stand.gateway.printed());
    Ok(())
}

/// What PostgreSQL takes however large it is passes, and what it does not is refused as it does it.
#[test]
fn names_counts_and_packets_of_any_size_are_taken_or_refused_as_postgresql_does() -> Result<()> {
    let stand = Stand::start("")?;
    let (mut direct, mut through) = (Wire::open(&stand.target.login(DATABASE).without_tls(), &[])?, stand.alice()?);
    let long = "n".repeat(9_000);
    let values = (1..=65_535).map(|number| format!("${number}")).collect::<Vec<_>>().join(",");
    let many = format!("select 1 where 7 = any (array[{values}]::int[])");
    let columns = |count: usize| {
        format!("select {}", (0..count).map(|at| format!("{at} as a_column_with_a_rather_long_name_{at}")).collect::<Vec<_>>().join(","))
    };
    let seven = vec![Some("7"); 65_535];
    let types = [65_535u16.to_be_bytes().to_vec(), 23u32.to_be_bytes().repeat(65_535)].concat();
    let one_more = message(b'P', &[text("one more"), text("select $65536::int"), types]);
    let conversations = [
        [parse(&long, "select 1"), describe('S', &long), bind(&long, &long, &[], 0), execute(&long, 0), close('S', &long), sync()].concat(),
        [parse("many", &many), bind("", "many", &seven, 0), execute("", 0), sync()].concat(),
        [parse("none", "select 1"), bind("", "none", &seven, 0), execute("", 0), sync()].concat(),
        query(&columns(1_664)),
        query(&columns(1_665)),
        query(&format!("select '{}'", "x".repeat(900_000))),
        query(&format!("select 1 as {long}")),
        message(b'P', &[text("typed"), text("select $1"), 65_535u16.to_be_bytes().to_vec(), vec![0; 4 * 65_535]]).into_iter().chain(sync()).collect(),
        [one_more, describe('S', "one more"), sync()].concat(),
    ];
    for (number, conversation) in conversations.iter().enumerate() {
        direct.say(conversation)?;
        through.say(conversation)?;
        let direct = direct.hear_until_ready(1).with_context(|| format!("conversation {number}, direct"))?;
        let through = through.hear_until_ready(1).with_context(|| format!("conversation {number}, through the gateway"))?;
        ensure!(direct == through, "conversation {number}: direct {} and through {}", kinds(&direct), kinds(&through));
    }
    // Lengths that PostgreSQL gives up on: a message's, a startup packet's.
    let named = format!("select '{}'", "x".repeat(17 << 20));
    for (what, bytes) in [("a long Describe", describe('S', &"n".repeat(10_000))), ("a long statement", query(&named))] {
        let mut wire = stand.alice()?;
        let _ = wire.say(&bytes); // it may be closed before it has taken all
        let refused = wire.hear().with_context(|| what.to_owned())?;
        ensure!(refused.kind == 'E' && wire.ends()?, "{what}: {refused:?}");
    }
    for size in [10_001, 100_000] {
        let mut stream = TcpStream::connect(("127.0.0.1", stand.gateway.port()?))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let _ = stream.write_all(&startup([("user", "alice"), ("database", CONNECTION), ("application_name", "x".repeat(size).as_str())].iter()));
        let mut said = Vec::new();
        let read = stream.read_to_end(&mut said);
        ensure!(said.is_empty() && !matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{size}: {read:?} {said:?}");
    }
    for (user, database) in [("u".repeat(9_000), CONNECTION.to_owned()), ("alice".to_owned(), "d".repeat(9_000))] {
        let refused = Wire::open(&Login { user, database, ..stand.login()? }, &[]).err().context("let in")?.to_string();
        ensure!(refused.contains("FATAL"), "{refused}");
    }
    ensure!(ask(&mut through, "select 1")? == "TDCZ" && !stand.gateway.printed().contains("panicked"), "{}", stand.gateway.printed());
    Ok(())
}

/// Whoever does not finish his login in time is sent away, however he goes about it.
#[test]
fn near_01_a_login_that_takes_too_long_ends() -> Result<()> {
    const TIMEOUT: Duration = Duration::from_millis(1_500);
    let stand = Stand::start(&format!("[limits]\nlogin_timeout_ms = {}\n", TIMEOUT.as_millis()))?;
    let mut bystander = stand.alice()?;
    let hello = startup([("user", "alice"), ("database", CONNECTION)].iter());
    let tls = [8u32.to_be_bytes(), 80_877_103u32.to_be_bytes()].concat();
    for (what, said) in [("nothing", &[][..]), ("half a packet", &hello[..20]), ("no password", &hello), ("no handshake", &tls)] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", stand.gateway.port()?))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(said)?;
        let ended = stream.read_to_end(&mut Vec::new());
        ensure!(!matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "{what}: still connected");
        ensure!(began.elapsed() >= TIMEOUT, "{what}: sent away after {:?}", began.elapsed());
    }
    ensure!(ask(&mut bystander, "select 'undisturbed'")? == "TDCZ");
    Ok(())
}

/// NEAR-02: each of eight stops reading an answer of a gigabyte.
#[test]
fn near_02_a_caller_who_stops_reading_a_gigabyte_costs_less_than_a_mebibyte() -> Result<()> {
    const STALLED: u64 = 8;
    let stand = Stand::start("")?;
    let mut wires = stalled_by_a_gigabyte(&stand, STALLED, "repeat('x', 10000)")?;
    // Whoever reads on gets the rest, in order and whole.
    let heard = wires[0].hear_until_ready(1)?;
    ensure!(heard.len() == 100_003 && heard.iter().filter(|message| message.kind == 'D').all(|row| row.body.len() == 10_006), "{}", heard.len());
    Ok(())
}

/// The same where rows are written into the recording, and where a value of each is masked.
#[test]
fn near_02_rows_that_are_recorded_or_masked_cost_no_more_when_nobody_reads_them() -> Result<()> {
    for (record, columns) in [("record = \"full\"", "repeat('x', 10000)"), ("", "repeat('x', 10000), word")] {
        let stand = Stand::start_with("", |setup, target| {
            setup.classes(&[("word", "redact", "public.classified.word")])?;
            let policy = "permit (principal, action, resource);\nforbid (principal, action == Action::\"reveal\", resource);\n";
            setup.write("policy/all.cedar", policy)?;
            setup.target(target, DATABASE, record)
        })?;
        // So many that what the index needs meanwhile, some ten mebibytes whatever their number, does not count.
        stalled_by_a_gigabyte(&stand, 20, columns)?;
    }
    Ok(())
}

/// Sessions that asked for a gigabyte and do not read on.
fn stalled_by_a_gigabyte(stand: &Stand, stalled: u64, columns: &str) -> Result<Vec<Wire>> {
    let mut bystander = stand.alice()?;
    let mut wires = (0..stalled).map(|_| stand.alice()).collect::<Result<Vec<_>>>()?;
    let rows = |count: u32| query(&format!("select {columns} from classified, generate_series(1, {count})"));
    for wire in &mut wires {
        wire.say(&rows(1_000))?;
        let heard = wire.hear_until_ready(1)?;
        let shown = heard.iter().any(|row| row.body.windows(10).any(|bytes| bytes == b"ten signs."));
        ensure!(kinds(&heard) == format!("T{}CZ", "D".repeat(1_000)) && !shown, "{}", kinds(&heard));
    }
    let before = stand.resident_kib()?;
    for wire in &mut wires {
        wire.say(&rows(100_000))?;
    }
    let blocked = format!("(select count(*) from pg_stat_activity where wait_event = 'ClientWrite' and query like '%100000)') = {stalled}");
    stand.target.wait_until_true(DATABASE, &blocked)?;
    for _ in 0..20 {
        let began = Instant::now();
        ensure!(ask(&mut bystander, "select 'undisturbed'")? == "TDCZ" && began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    let grown = stand.resident_kib()?.saturating_sub(before);
    println!("{} KiB for each of {stalled} that do not read", grown / stalled);
    ensure!(grown < stalled << 10, "{grown} KiB for {stalled}");
    Ok(wires)
}

#[test]
fn a_pipeline_of_100_000_statements_is_answered_recorded_and_kept_in_little_memory() -> Result<()> {
    const STATEMENTS: usize = 100_000;
    let stand = Stand::start("")?;
    let mut wire = stand.alice()?;
    wire.say(&[parse("s", "select $1::int"), sync()].concat())?;
    wire.hear_until_ready(1)?;
    let before = stand.resident_kib()?;
    let mut pipeline = [bind("", "s", &[Some("7")], 0), execute("", 0)].concat().repeat(STATEMENTS);
    pipeline.extend(sync());
    let mut sending = wire.another_hand()?;
    let sent = std::thread::spawn(move || sending.write_all(&pipeline));
    let heard = wire.hear_until_ready(1)?;
    sent.join().ok().context("the sender panicked")??;
    ensure!(heard.len() == 3 * STATEMENTS + 1 && kinds(&heard).starts_with("2DC2DC") && kinds(&heard).ends_with("2DCZ"), "{}", heard.len());
    let grown = stand.resident_kib()?.saturating_sub(before);
    println!("{grown} KiB for a pipeline of {STATEMENTS}");
    ensure!(grown < 48 << 10, "{grown} KiB");
    wire.say(&message(b'X', &[]))?;
    ensure!(wire.ends()?);
    let end = Instant::now() + PATIENCE;
    loop {
        let session = stand.newest_session()?;
        if session.get("ended_at").is_some_and(|at| !at.is_null()) {
            ensure!(session.get("operations").and_then(Value::as_u64) == Some(STATEMENTS as u64), "{session}");
            return Ok(());
        }
        ensure!(Instant::now() < end, "still live: {session}");
    }
}

/// Waits until the kernel keeps nothing any more of what a client with this port has said (`tx_queue`, and `rx_queue` at the other end):
/// <https://docs.kernel.org/networking/proc_net_tcp.html>.
fn all_is_read(port: u16, gateway: u16) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    // Between these two: other connections may have either port.
    let (caller, gateway) = (format!(":{port:04X}"), format!(":{gateway:04X}"));
    loop {
        let sockets = fs::read_to_string("/proc/net/tcp")?;
        let kept = sockets.lines().filter_map(|row| {
            let fields: Vec<&str> = row.split_whitespace().collect();
            let (sent, received) = fields.get(4)?.split_once(':')?;
            let (here, there) = (fields.get(1)?, fields.get(2)?);
            if here.ends_with(&caller) && there.ends_with(&gateway) {
                Some(sent.to_owned())
            } else {
                (here.ends_with(&gateway) && there.ends_with(&caller)).then(|| received.to_owned())
            }
        });
        let kept: Vec<String> = kept.collect();
        if kept.len() == 2 && kept.iter().all(|bytes| bytes == "00000000") {
            return Ok(());
        }
        ensure!(Instant::now() < end, "not read: {kept:?}");
    }
}

#[test]
fn a_hold_with_10_000_messages_behind_it_keeps_them_in_order_and_in_little_memory() -> Result<()> {
    const BEHIND: usize = 10_000;
    let stand = Stand::start("")?;
    let held = "permit (principal, action, resource);\n@id(\"hold\") @approvers(\"dba\")\nforbid (principal, action == Action::\"destroy\", resource) unless { context.approved };\n";
    stand.gateway.setup().write("policy/all.cedar", held)?;
    stand.gateway.run(stand.gateway.administrator(), &["apply", &stand.gateway.setup().file("").to_string_lossy()])?;
    stand.gateway.run(stand.gateway.administrator(), &["identity", "groups", "bob", "dba"])?;
    let mut wire = stand.alice()?;
    let before = stand.resident_kib()?;
    let queued: Vec<u8> = (0..BEHIND).flat_map(|number| query(&format!("insert into marks values ('{number}')"))).collect();
    wire.say(&[query("delete from doomed"), queued].concat())?;
    let notice = wire.hear()?;
    let words = String::from_utf8_lossy(&notice.body).into_owned();
    let hold = words.split(|c: char| !c.is_alphanumeric() && c != '_').find(|word| word.starts_with("h_")).with_context(|| words.clone())?;
    all_is_read(wire.another_hand()?.local_addr()?.port(), stand.gateway.port()?)?;
    let grown = stand.resident_kib()?.saturating_sub(before);
    println!("{grown} KiB for {BEHIND} messages behind a hold");
    ensure!(grown < 8 << 10, "{grown} KiB");
    ensure!(stand.target.sql(DATABASE, "select count(*) from marks")? == "0\n", "something passed the hold");
    stand.gateway.run("bob", &["approve", hold, "--yes"])?;
    let heard: Vec<Heard> = wire.hear_until_ready(BEHIND + 1)?.into_iter().filter(|message| message.kind != 'N').collect();
    ensure!(kinds(&heard) == "CZ".repeat(BEHIND + 1), "{}", heard.len());
    ensure!(String::from_utf8_lossy(&heard[0].body).starts_with("DELETE"));
    let order = stand
        .target
        .sql(DATABASE, "select count(*), bool_and(mark::int = at) from (select mark, row_number() over (order by ctid) - 1 as at from marks) m")?;
    ensure!(order == format!("{BEHIND}|t\n"), "{order}");
    Ok(())
}
