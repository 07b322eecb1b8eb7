//! Who is let in, how they are sent away, and what a bad beginning is answered with.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::{Login, Running},
    gateway::{CONNECTION, Gateway, NOTIFY, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
    wire::{Wire, bind, execute, parse, query, startup, sync},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn start(target: &Postgres) -> Result<Gateway> {
    Gateway::with_starter_policies(target, &[], "")
}

fn said(login: &Login, target: &Postgres, statement: &str) -> Result<(bool, String)> {
    let output = login.psql(&target.program("psql"))?.args(&["-At", "-v", "VERBOSITY=verbose", "-c", statement]).run()?;
    Ok((output.status.success(), String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?))
}

#[test]
fn a_token_opens_its_connection_and_ends_with_its_revocation() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let token = gateway.run("alice", &["token", CONNECTION, "--expires-in", "15m"])?;
    let login = gateway.login("alice")?.with_password(token.trim());
    ensure!(said(&login, &target, "select 'in'")? == (true, "in\n".to_owned()));
    let mut psql = login.psql(&target.program("psql"))?.start()?;
    psql.type_line("select 'at work', pg_sleep(600);")?;
    target.wait_until_logged("pg_sleep(600)")?;
    let listed = gateway.json("alice", &["token", "list"])?;
    let tokens = listed.get("tokens").and_then(Value::as_array).context("no tokens")?;
    let mine = tokens.iter().find(|token| token.get("purpose").and_then(Value::as_str) == Some("connect")).context("not listed")?;
    ensure!(mine.get("minted_by").and_then(Value::as_str) == Some("alice") && !listed.to_string().contains(token.trim()));
    let id = mine.get("id").and_then(Value::as_str).context("no id")?;
    gateway.run("alice", &["token", "revoke", id])?;
    psql.wait_for("FATAL", Duration::from_secs(5))?;
    target.wait_until_true(DATABASE, "not exists (select from pg_stat_activity where usename = 'app' and query like '%pg_sleep%')")?;
    ensure!(!said(&login, &target, "select 1")?.0, "a revoked token was let in");
    Ok(())
}

/// Once ever: not once for each session, and not again after the gateway was killed.
#[test]
fn a_token_for_one_statement_runs_it_once_whoever_of_its_sessions_is_first() -> Result<()> {
    const ONLY: &str = "insert into t values (9)";
    let target = Postgres::start()?;
    target.sql(DATABASE, "create table t (id int); alter table t owner to app")?;
    let mut gateway = start(&target)?;
    let token = gateway.run("alice", &["token", CONNECTION, "--statement", ONLY])?;
    let login = gateway.login("alice")?.with_password(token.trim());
    let mut wires = (0..4).map(|_| Wire::open(&login.clone().without_tls(), &[])).collect::<Result<Vec<_>>>()?;
    // All of them at once, by both protocols; nothing else runs, and the statement may be prepared as often as one likes.
    let by_bind = [parse("", ONLY), parse("again", ONLY), bind("", "", &[], 0), execute("", 0), sync()].concat();
    for (number, wire) in wires.iter_mut().enumerate() {
        wire.say(&query("select 1"))?;
        wire.say(&if number % 2 == 0 { query(ONLY) } else { by_bind.clone() })?;
    }
    let mut ran = 0;
    for wire in &mut wires {
        let heard = wire.hear_until_ready(2)?;
        let errors: Vec<_> = heard.iter().filter(|it| it.kind == 'E').map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
        ensure!(errors.first().is_some_and(|error| error.contains("this is another")), "{errors:?}");
        ran += usize::from(heard.iter().any(|it| it.kind == 'C'));
        ensure!(errors.get(1).is_none_or(|error| error.contains("42501") && error.contains("once, and it has run")), "{errors:?}");
        wire.say(&query(ONLY))?;
        ensure!(wire.hear_until_ready(1)?.iter().any(|it| it.kind == 'E'), "it ran again");
    }
    ensure!(ran == 1 && target.sql(DATABASE, "select count(*) from t")? == "1\n", "{ran} ran");
    ensure!(gateway.run("alice", &["token", "list"])?.contains("used up"));
    gateway.kill();
    gateway.start_again()?;
    let login = Login { port: gateway.port()?, ..login };
    let (let_in, told) = said(&login, &target, ONLY)?;
    ensure!(!let_in && told.contains("used up") && target.sql(DATABASE, "select count(*) from t")? == "1\n", "{told}");
    Ok(())
}

/// SIGHUP applies the directory at once, and only if it is right.
#[test]
fn sighup_applies_the_directory_at_once_and_a_wrong_one_changes_nothing() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = Gateway::with_starter_policies(&target, &[], "[policy]\nwatch = false")?;
    let mut live = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    let mut ask = |statement: &str| -> Result<String> {
        live.say(&query(statement))?;
        let heard = live.hear_until_ready(1)?;
        Ok(heard.iter().filter(|it| it.kind == 'E').map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect())
    };
    ensure!(ask("select count(*) from pg_class")?.is_empty());
    let closed = "@id(\"closed\") @reason(\"closed for the night\") forbid (principal == User::\"alice\", action == Action::\"read\", resource);";
    gateway.setup().write("policy/closed.cedar", closed)?;
    ensure!(ask("select count(*) from pg_class")?.is_empty(), "nobody said that it is to be applied");
    gateway.signal(Signal::HUP)?;
    let end = Instant::now() + PATIENCE;
    while !ask("select count(*) from pg_class")?.contains("closed for the night") {
        ensure!(Instant::now() < end, "not applied: {}", gateway.printed());
    }
    gateway.setup().write("policy/closed.cedar", "permit (principal, action, resource")?;
    gateway.signal(Signal::HUP)?;
    while !gateway.printed().contains("policy/closed.cedar:1:") {
        ensure!(Instant::now() < end, "not told: {}", gateway.printed());
    }
    ensure!(ask("select count(*) from pg_class")?.contains("closed for the night"), "the version in force went");
    Ok(())
}

/// `connect --listen`: a client that has no secret, nor TLS, is let in as whoever opened the port; only from this machine, and only while it is open.
#[test]
fn a_local_port_lets_clients_in_as_who_opened_it_until_it_is_closed() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let mut refused = gateway.command("alice")?;
    let refused = refused.args(["connect", CONNECTION, "--listen", "0.0.0.0:0"]).output()?;
    ensure!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("is not a loopback address"));
    let mut command = gateway.command("alice")?;
    command.args(["connect", CONNECTION, "--listen", "127.0.0.1:0", "--json"]);
    let mut port = Running::start(command)?;
    let line = port.wait_for("address", PATIENCE)?;
    let address = serde_json::from_str::<Value>(&line)?.get("address").and_then(Value::as_str).context("no address")?.to_owned();
    let address: std::net::SocketAddr = address.parse()?;
    // Whoever it says it is, and whatever for: the port is alice's, for this connection.
    let login = Login {
        host: address.ip().to_string(),
        port: address.port(),
        user: "somebody".to_owned(),
        database: "anything".to_owned(),
        password: String::new(),
        authority: None,
    };
    let (let_in, told) = said(&login, &target, "select 'through the port'")?;
    ensure!(let_in && told == "through the port\n", "{told}");
    let mut psql = login.psql(&target.program("psql"))?.start()?;
    psql.type_line("select pg_sleep(600);")?;
    target.wait_until_logged("pg_sleep(600)")?;
    let listed = gateway.json(gateway.administrator(), &["sessions", "--live"])?;
    ensure!(listed.pointer("/sessions/0/subject").and_then(Value::as_str) == Some("alice"), "{listed}");
    interrupt(psql.pid())?;
    psql.wait_for("canceling statement due to user request", PATIENCE)?;
    interrupt(port.pid())?;
    let (status, printed) = port.finish(PATIENCE)?;
    ensure!(status.success(), "{printed}");
    ensure!(TcpStream::connect(address).is_err(), "the port is still open");
    Ok(())
}

/// Ctrl-C.
fn interrupt(pid: u32) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
    Ok(kill_process(pid, Signal::INT)?)
}

/// How long a live session goes on after the command that revokes its token was started; the slowest of forty, idle ones and busy ones.
#[test]
fn a_revocation_cuts_live_sessions_in_under_a_second() -> Result<()> {
    const ROUNDS: usize = 5;
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let mut slowest = Vec::new();
    for round in 0..ROUNDS {
        let minted = gateway.json("alice", &["token", CONNECTION, "--expires-in", "15m"])?;
        let text = |pointer: &str| minted.pointer(pointer).and_then(Value::as_str).map(str::to_owned).context("no token");
        let (secret, id) = (text("/secret")?, text("/token/id")?);
        let login = gateway.login("alice")?.with_password(secret).without_tls();
        let mut wires = (0..40).map(|_| Wire::open(&login, &[])).collect::<Result<Vec<_>>>()?;
        for busy in wires.iter_mut().take(10) {
            busy.say(&query(&format!("select pg_sleep(60{round})")))?;
        }
        let marker = format!("pg_sleep(60{round})");
        target
            .wait_until_true(DATABASE, &format!("(select count(*) from pg_stat_activity where query like '%{marker}' and state = 'active') = 10"))?;
        let began = Instant::now();
        gateway.run("alice", &["token", "revoke", &id])?;
        for wire in &mut wires {
            while wire.hear().is_ok() {}
        }
        slowest.push(began.elapsed());
        target.wait_until_true(DATABASE, &format!("not exists (select from pg_stat_activity where query like '%{marker}' and state = 'active')"))?;
    }
    slowest.sort();
    println!("from the command's start to the end of the last of 40 sessions: {slowest:?}");
    let median = slowest.get(ROUNDS / 2).context("no round")?;
    ensure!(*median < Duration::from_secs(1), "{slowest:?}");
    Ok(())
}

/// What a session begins with is recorded as what SET would be, if SET would ask for more than `connect`.
#[test]
fn settings_in_the_startup_packet_are_decided_and_recorded() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = Gateway::permitting_all(&target)?;
    let login = gateway.login("alice")?.without_tls();
    let mut wire = Wire::open(&login, &[("search_path", "pg_catalog"), ("TimeZone", "UTC"), ("options", "-c row_security=off")])?;
    wire.say(&query("select 'after it'"))?;
    wire.hear_until_ready(1)?;
    let listed = gateway.json(gateway.administrator(), &["sessions", "--live"])?;
    let id = listed.pointer("/sessions/0/id").and_then(Value::as_str).context("no session")?;
    let told = gateway.run(gateway.administrator(), &["show", id])?;
    let (settings, rest) = told.split_once("select 'after it'").with_context(|| told.clone())?;
    ensure!(settings.contains("SET \"search_path\" TO 'pg_catalog'") && settings.contains("SET \"row_security\" TO 'off'"), "{told}");
    ensure!(!rest.contains("outcome unknown"), "{told}");
    let found = gateway.run(gateway.administrator(), &["search", "action:configure"])?;
    ensure!(found.contains("row_security"), "{found}");
    let shut = Gateway::with_starter_policies(&target, &[], "")?;
    let refused = Wire::open(&shut.login("alice")?.without_tls(), &[("search_path", "evil")]).err().context("let in")?.to_string();
    ensure!(refused.contains("42501") && refused.contains("search_path"), "{refused}");
    Ok(())
}

#[test]
fn sql_10_every_wrong_secret_gets_the_same_answer() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let alice = gateway.login("alice")?;
    let mut answers = Vec::new();
    for (user, password) in [("alice", "wrong"), ("nobody-of-this-name", "wrong"), ("alice", ""), ("nobody-of-this-name", "")] {
        let login = Login { user: user.to_owned(), ..alice.clone().without_tls() }.with_password(password);
        let refused = Wire::open(&login, &[]).err().with_context(|| format!("{user} was let in with {password:?}"))?;
        answers.push(refused.to_string().replace(user, "NAME"));
    }
    ensure!(answers.windows(2).all(|pair| pair.first() == pair.last()) && answers.iter().all(|answer| answer.contains("28P01")), "{answers:#?}");
    Ok(())
}

#[test]
fn a_token_that_does_not_fit_says_what_to_do() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let alice = gateway.login("alice")?;
    let foreign = gateway.run("bob", &["token", CONNECTION])?;
    let used_up = gateway.run("alice", &["token", CONNECTION, "--expires-in", "1s"])?;
    target.wait_until_true(DATABASE, "pg_sleep(1.1) is not null")?; // the token ends meanwhile
    for (token, says) in [(foreign.trim(), "another identity"), (used_up.trim(), "expired"), ("cs_c_malformed", "cut or joined")] {
        let (let_in, told) = said(&alice.clone().with_password(token), &target, "select 1")?;
        ensure!(!let_in && told.contains(says) && (told.contains("mint") || told.contains("sign in")), "{token}: {told}");
    }
    Ok(())
}

#[test]
fn revoking_an_identity_and_killing_a_session_end_what_lives() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let administrator = gateway.administrator();
    for (who, marker) in [("alice", "pg_sleep(601)"), ("barbara", "pg_sleep(602)")] {
        let mut psql = gateway.login(who)?.psql(&target.program("psql"))?.start()?;
        psql.type_line(&format!("select {marker};"))?;
        target.wait_until_logged(marker)?;
        if who == "alice" {
            let live = gateway.json(administrator, &["sessions", "--live", "--identity", who])?;
            let id = live.pointer("/sessions/0/id").and_then(Value::as_str).context("no live session")?;
            gateway.run(administrator, &["kill", id, "--reason", "a test"])?;
        } else {
            gateway.run(administrator, &["identity", "revoke", who])?;
        }
        psql.wait_for("FATAL", Duration::from_secs(5))?;
        target.wait_until_true(DATABASE, &format!("not exists (select from pg_stat_activity where usename = 'app' and query like '%{marker}%')"))?;
    }
    ensure!(said(&gateway.login("alice")?, &target, "select 1")?.0, "killing a session is not revoking its owner");
    ensure!(!said(&gateway.login("barbara")?, &target, "select 1")?.0, "a revoked identity was let in");
    Ok(())
}

#[test]
fn an_unknown_connection_is_answered_with_near_ones() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let login = Login { database: "prod-gp".to_owned(), ..gateway.login("alice")? };
    let (let_in, told) = said(&login, &target, "select 1")?;
    ensure!(!let_in && told.contains("prod-gp") && told.contains(CONNECTION), "{told}");
    let stranger = Login { database: "prod-gp".to_owned(), ..gateway.login("alice")? }.with_password("wrong");
    let (_, told) = said(&stranger, &target, "select 1")?;
    ensure!(!told.contains(&format!("\"{CONNECTION}\"")), "a stranger learns names: {told}");
    Ok(())
}

#[test]
fn malformed_packets_end_their_own_session_alone() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let login = gateway.login("alice")?.without_tls();
    let mut bystander = Wire::open(&login, &[])?;
    let twice = [("user", "alice"), ("user", "bob"), ("database", CONNECTION)];
    let beginnings: [Vec<u8>; 5] = [
        vec![0, 0, 0, 0],
        vec![0xff; 64],
        vec![0, 0, 0, 8, 0, 9, 0, 0],
        startup(twice.iter()),
        startup([("user", "alice"), ("replication", "true")].iter()),
    ];
    for bytes in beginnings {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port()?))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&bytes)?;
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer); // a reset is an end, too
        ensure!(!answer.starts_with(b"R"), "{bytes:?} was asked for a password");
    }
    for bytes in
        [vec![b'Q', 0, 0, 0, 0], vec![b'Q', 0xff, 0xff, 0xff, 0xff], vec![b'Z', 0, 0, 0, 4], vec![b'Q', 0, 0, 0, 5, b'x'], vec![b'F', 0, 0, 0, 4]]
    {
        let mut wire = Wire::open(&login, &[])?;
        wire.say(&bytes)?;
        while wire.hear().is_ok() {}
        ensure!(wire.ends()?, "{bytes:?} is still connected");
    }
    bystander.say(&query("select 'undisturbed'"))?;
    bystander.hear_until_ready(1).map(drop)
}

#[test]
fn sigterm_lets_sessions_finish_and_ends() -> Result<()> {
    let target = Postgres::start()?;
    let mut gateway = start(&target)?;
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    wire.say(&query("select pg_sleep(1), 'finished'"))?;
    target.wait_until_logged("finished")?;
    gateway.signal(Signal::TERM)?;
    let heard = wire.hear_until_ready(1)?;
    ensure!(heard.iter().any(|message| message.kind == 'D' && message.body.ends_with(b"finished")), "{heard:?}");
    drop(wire);
    ensure!(gateway.ended_within(PATIENCE) == Some(0), "{}", gateway.printed());
    ensure!(!gateway.setup().file("data/addresses.json").exists(), "it is still announced");
    Ok(())
}

#[test]
fn nothing_of_the_gateway_goes_into_a_core_dump_or_to_its_neighbours() -> Result<()> {
    let gateway = Setup::init()?.serve()?;
    let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", gateway.pid()));
    let limits = of("limits")?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("no limit of core files")?;
    ensure!(core.split_whitespace().filter(|word| *word == "0").count() == 2, "{core}");
    let status = of("status")?;
    ensure!(status.lines().any(|line| line == "Umask:\t0077"), "{status}");
    let files = fs::read_dir(gateway.setup().file("data"))?.collect::<Result<Vec<_>, _>>()?;
    for file in files {
        let mode = file.metadata()?.permissions().mode();
        ensure!(mode & 0o077 == 0, "{} has {mode:o}", file.path().display());
    }
    Ok(())
}

#[test]
fn a_supervisor_is_told_when_sessions_are_taken_and_when_no_more_are() -> Result<()> {
    let setup = Setup::init()?;
    let supervisor = UnixDatagram::bind(setup.file(NOTIFY))?;
    supervisor.set_read_timeout(Some(PATIENCE))?;
    let hear = || -> Result<String> {
        let mut buffer = [0; 64];
        let length = supervisor.recv(&mut buffer)?;
        Ok(String::from_utf8(buffer[..length].to_vec())?)
    };
    let mut gateway = setup.serve()?;
    ensure!(hear()? == "READY=1\n");
    TcpStream::connect(("127.0.0.1", gateway.port()?))?;
    gateway.signal(Signal::TERM)?;
    ensure!(hear()? == "STOPPING=1\n");
    ensure!(gateway.ended_within(PATIENCE) == Some(0), "{}", gateway.printed());
    Ok(())
}

#[test]
fn wrong_files_are_named_with_line_and_column() -> Result<()> {
    for (file, text, place) in [
        ("countersign.toml", "[listen]\npostgres = \"here\"\n", "countersign.toml:2:"),
        (
            "policy/wrong.cedar",
            "permit (principal, action, resource);\npermit (principal, action == Action::\"raed\", resource);\n",
            "policy/wrong.cedar:2:",
        ),
        ("connections/other.toml", "protocol = \"postgres\"\nhots = \"x\"\n", "connections/other.toml:2:"),
    ] {
        let setup = Setup::init()?;
        setup.write(file, text)?;
        let failure = format!("{:#}", setup.serve().err().with_context(|| format!("served with a wrong {file}"))?);
        ensure!(failure.contains(place), "{failure}");
    }
    Ok(())
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() -> Result<()> {
    let setup = Setup::init()?;
    setup.write("occupied", "a file")?;
    setup.write("countersign.toml", "[data]\ndir = \"occupied\"\n[listen]\npostgres = \"127.0.0.1:0\"\n")?;
    let failure = format!("{:#}", setup.serve().err().context("served without a data directory")?);
    ensure!(failure.contains("occupied"), "{failure}");
    Ok(())
}

#[test]
fn the_target_sees_who_it_is_and_the_client_its_own_name() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[("application_name", "own name")])?;
    ensure!(wire.parameters.get("application_name").map(String::as_str) == Some("own name"), "{:?}", wire.parameters);
    wire.say(&query("set application_name = 'another'"))?;
    wire.hear_until_ready(1)?;
    wire.say(&query("show application_name"))?;
    let heard = wire.hear_until_ready(1)?;
    ensure!(heard.iter().any(|message| message.kind == 'D' && message.body.ends_with(b"another")), "{heard:?}");
    let seen = target.sql("postgres", "select application_name from pg_stat_activity where usename = 'app' and backend_type = 'client backend'")?;
    ensure!(seen.contains("alice") && seen.contains("s_") && !seen.contains("another"), "{seen}");
    Ok(())
}
