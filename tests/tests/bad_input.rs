//! Bad input: a clear error that names what to do, nothing lost, and no other session disturbed.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    authority::Authority,
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, Method, PATIENCE, Postgres},
    wire::{Wire, message, query, startup, text},
};
use rustix::process::Signal;
use serde_json::Value;

/// A session of bob's that must go on whatever happens to others.
struct Bystander(Wire);

impl Bystander {
    fn of(gateway: &Gateway) -> Result<Self> {
        let mut wire = Wire::open(&gateway.login("bob")?.without_tls(), &[])?;
        wire.say(&query("create temporary table mine as select 'kept' as word"))?;
        wire.hear_until_ready(1)?;
        Ok(Self(wire))
    }

    fn is_undisturbed(&mut self, after: &str) -> Result<()> {
        self.0.say(&query("select 'undisturbed', pg_backend_pid()"))?;
        let heard = self.0.hear_until_ready(1).with_context(|| format!("the bystander ended after {after}"))?;
        ensure!(heard.iter().map(|message| message.kind).eq("TDCZ".chars()), "after {after}: {heard:?}");
        Ok(())
    }
}

fn start(target: &Postgres, change: impl FnOnce(&Setup) -> Result<()>) -> Result<Gateway> {
    let setup = Setup::init()?;
    setup.permit_all()?;
    setup.target(target, DATABASE, "")?;
    change(&setup)?;
    let mut gateway = setup.serve()?;
    for name in ["alice", "bob"] {
        gateway.add_user(name, &[])?;
    }
    Ok(gateway)
}

/// What somebody is told who is not let in: each field of the error in a line of its own.
fn refused(login: &Login) -> Result<String> {
    let refused = Wire::open(&login.clone().without_tls(), &[]).err().with_context(|| format!("{} was let in to {}", login.user, login.database))?;
    Ok(refused.to_string().replace('\0', "\n"))
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// `serve` on a directory, to its end: it must refuse.
fn refused_to_serve(gateway: &Gateway, directory: &Path) -> Result<String> {
    let output = gateway.command(gateway.administrator())?.arg("serve").arg(directory).stdin(Stdio::null()).output()?;
    ensure!(!output.status.success(), "it served {}", directory.display());
    Ok(told(&output))
}

/// Everything the gateway says to these bytes, and then to those behind its first message, until it closes.
fn answer(gateway: &Gateway, first: &[u8], then: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port()?))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(first)?;
    if !then.is_empty() {
        let mut password_wanted = [0; 9];
        stream.read_exact(&mut password_wanted)?;
        ensure!(password_wanted == *b"R\0\0\0\x08\0\0\0\x03", "{password_wanted:?}");
        stream.write_all(then)?;
    }
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error).with_context(|| format!("still connected after {}", first.escape_ascii())),
    }
    Ok(String::from_utf8_lossy(&said).replace('\0', "\n"))
}

#[test]
fn a_wrong_configuration_is_named_with_its_file_line_and_column() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target, |_| Ok(()))?;
    let mut bystander = Bystander::of(&gateway)?;
    let (setup, directory) = (gateway.setup(), gateway.setup().file(""));
    let right = fs::read_to_string(setup.file("countersign.toml"))?;
    for (text, place, help) in [
        ("[listen]\npostgres = \"here\"\n", "countersign.toml:2:12:", "127.0.0.1:6432"),
        ("[listen]\nmetrics = \"0.0.0.0:9464\"\n", "countersign.toml:2:11:", "loopback"),
        ("[limits]\nmax_sesions = 3\n", "countersign.toml:2:1:", "max_sessions"),
        ("[holds]\nexpire_after_s = \"soon\"\n", "countersign.toml:2:18:", "soon"),
        ("[data\n", "countersign.toml:1:6:", ""),
    ] {
        setup.write("countersign.toml", text)?;
        for said in
            [refused_to_serve(&gateway, &directory)?, told(&gateway.output(gateway.administrator(), &["check", &directory.to_string_lossy()], "")?)]
        {
            ensure!(said.contains(place) && said.contains(help), "{text:?}: {said}");
        }
        bystander.is_undisturbed(text)?;
    }
    setup.write("countersign.toml", &right)?;
    let nowhere = setup.file("nowhere");
    let said = refused_to_serve(&gateway, &nowhere)?;
    ensure!(said.contains("countersign.toml does not exist") && said.contains("countersign init"), "{said}");
    bystander.is_undisturbed("a missing configuration")
}

#[test]
fn an_unknown_connection_is_answered_with_the_near_ones_one_may_see() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target, |setup| {
        let connection = fs::read_to_string(setup.file(&format!("connections/{CONNECTION}.toml")))?;
        setup.write("connections/prod-pay.toml", &connection)?;
        let alice = format!("permit (principal == User::\"alice\", action, resource in Connection::\"{CONNECTION}\");\n");
        setup.write("policy/all.cedar", &format!("permit (principal, action, resource) unless {{ principal.name == \"alice\" }};\n{alice}"))
    })?;
    let mut bystander = Bystander::of(&gateway)?;
    for (who, wanted, near, hidden) in [
        ("alice", "prod-pa", "did you mean prod-pg?", "prod-pay"),
        ("bob", "prod-pa", "did you mean prod-pay or prod-pg?", "nothing"),
        ("alice", "something-else", "`countersign connections` lists those you may", "prod-p"),
    ] {
        let said = refused(&Login { database: wanted.to_owned(), ..gateway.login(who)? })?;
        ensure!(said.contains("3D000") && said.contains(&format!("`{wanted}`")) && said.contains(near) && !said.contains(hidden), "{who}: {said}");
        bystander.is_undisturbed(wanted)?;
    }
    // One that exists and is not theirs reads like one that does not.
    let of =
        |wanted: &str| Ok::<_, anyhow::Error>(refused(&Login { database: wanted.to_owned(), ..gateway.login("alice")? })?.replace(wanted, "NAME"));
    let (hidden, missing) = (of("prod-pay")?, of("prod-pax")?);
    ensure!(hidden == missing && hidden.contains("no connection"), "{hidden}\n{missing}");
    Ok(())
}

#[test]
fn a_target_that_cannot_be_used_is_named_with_what_is_wrong_with_it() -> Result<()> {
    let (target, other) = (Postgres::start()?, Postgres::start_with(Method::CleartextOverTls, &[])?);
    let unused = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let gateway = start(&target, |setup| {
        let right = fs::read_to_string(setup.file(&format!("connections/{CONNECTION}.toml")))?;
        setup.write("wrong-password", "not the password at all\n")?;
        setup.write("wrong-ca.pem", &Authority::new("somebody else")?.certificate)?;
        let at = |port: u16| right.replace(&format!("port = {}\n", target.port()), &format!("port = {port}\n"));
        setup.write("connections/down.toml", &at(unused))?;
        let password = right.lines().find(|line| line.starts_with("password")).context("no password")?;
        setup.write(
            "connections/wrong-password.toml",
            &right.replace(password, &format!("password = {{ file = {:?} }}", setup.file("wrong-password"))),
        )?;
        setup.write("connections/no-password.toml", &right.replace(password, "password = { env = \"COUNTERSIGN_TEST_UNSET\" }"))?;
        let tls = format!("[tls]\nca = {:?}\n", setup.file("wrong-ca.pem"));
        setup.write("connections/wrong-certificate.toml", &at(other.port()).replace("[tls]\nmode = \"loopback-plain\"\n", &tls))
    })?;
    let mut bystander = Bystander::of(&gateway)?;
    for (connection, trouble, logged) in [
        ("down", "it cannot be reached", "Connection refused"),
        ("wrong-password", "it does not let the gateway in", "password"),
        ("no-password", "the gateway has no usable credential for it", "COUNTERSIGN_TEST_UNSET"),
        ("wrong-certificate", "its TLS certificate", "certificate"),
    ] {
        let said = refused(&Login { database: connection.to_owned(), ..gateway.login("alice")? })?;
        ensure!(
            said.contains(&format!("connection {connection} is not available: {trouble}")) && said.contains("\nHAn administrator finds the cause"),
            "{said}"
        );
        // Where and how the target is reached is for the log.
        ensure!(!said.contains(&unused.to_string()) && !said.contains("not the password at all") && !said.contains("COUNTERSIGN_TEST"), "{said}");
        let printed = gateway.printed();
        let line = printed.lines().find(|line| line.contains("could not be dialled") && line.contains(connection)).context(printed.clone())?;
        ensure!(line.contains(logged) && !printed.contains("not the password at all"), "{line}");
        bystander.is_undisturbed(connection)?;
    }
    ensure!(!other.log()?.contains("connection authorized"), "a credential was sent to whom the gateway does not trust");
    Ok(())
}

#[test]
fn a_target_that_goes_down_ends_its_own_sessions_alone() -> Result<()> {
    let (target, other) = (Postgres::start()?, Postgres::start()?);
    let gateway = start(&target, |setup| {
        let right = fs::read_to_string(setup.file(&format!("connections/{CONNECTION}.toml")))?;
        setup.write("connections/other.toml", &right.replace(&target.port().to_string(), &other.port().to_string()))
    })?;
    let mut bystander = Bystander::of(&gateway)?;
    let login = Login { database: "other".to_owned(), ..gateway.login("alice")? };
    let mut psql = login.psql(&target.program("psql"))?.start()?;
    psql.type_line("select 'at ' || 'work';")?;
    psql.wait_for("at work", PATIENCE)?;
    drop(other);
    psql.type_line("select 1;")?;
    let said = psql.finish(PATIENCE)?.1;
    ensure!(said.contains("terminating connection") || said.contains("the target closed the connection"), "{said}");
    ensure!(refused(&login)?.contains("connection other is not available"));
    bystander.is_undisturbed("another target went down")
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target, |_| Ok(()))?;
    let mut bystander = Bystander::of(&gateway)?;
    let another = Setup::init()?;
    let listen = "[listen]\npostgres = \"127.0.0.1:0\"\n";
    // The kernel lets nobody make folders there, not even root.
    another.write("countersign.toml", &format!("[data]\ndir = \"/proc/countersign\"\n{listen}"))?;
    let said = refused_to_serve(&gateway, &another.file(""))?;
    ensure!(said.contains("cannot use /proc/countersign") && said.contains("belong to the user that runs countersign"), "{said}");
    another.write("occupied", "a file")?;
    another.write("countersign.toml", &format!("[data]\ndir = \"occupied\"\n{listen}"))?;
    let said = refused_to_serve(&gateway, &another.file(""))?;
    ensure!(said.contains("cannot use") && said.contains("occupied"), "{said}");
    another.write("countersign.toml", listen)?;
    fs::remove_dir_all(another.file("data/recordings")).ok();
    another.write("data/recordings", "a file")?;
    let said = refused_to_serve(&gateway, &another.file(""))?;
    ensure!(said.contains("data/recordings"), "{said}");
    bystander.is_undisturbed("gateways that could not begin")
}

#[test]
fn a_second_gateway_on_one_data_directory_is_refused_and_the_first_goes_on() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target, |_| Ok(()))?;
    let mut bystander = Bystander::of(&gateway)?;
    let said = refused_to_serve(&gateway, &gateway.setup().file(""))?;
    let directory = gateway.setup().file("data");
    ensure!(
        said.contains(&format!("(process {})", gateway.pid())) && said.contains(&*directory.to_string_lossy()) && said.contains("stop it"),
        "{said}"
    );
    bystander.is_undisturbed("a second gateway")?;
    Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    // What announces the first is still there, and its local socket is its own.
    ensure!(gateway.setup().file("data/addresses.json").exists());
    gateway.run(gateway.administrator(), &["status"]).map(drop)
}

#[test]
fn tokens_that_do_not_fit_say_so_and_open_nothing() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target, |setup| {
        let connection = fs::read_to_string(setup.file(&format!("connections/{CONNECTION}.toml")))?;
        setup.write("connections/elsewhere.toml", &connection)
    })?;
    let mut bystander = Bystander::of(&gateway)?;
    let alice = gateway.login("alice")?;
    let mint = |who: &str, arguments: &[&str]| gateway.run(who, &[&["token"], arguments].concat()).map(|token| token.trim().to_owned());
    let right = mint("alice", &[CONNECTION])?;
    let expired = mint("alice", &[CONNECTION, "--expires-in", "1s"])?;
    let revoked = mint("alice", &[CONNECTION])?;
    revoke_newest(&gateway)?;
    let early = mint("alice", &[CONNECTION, "--not-before", "1h", "--expires-in", "2h"])?;
    let of_bob = mint("bob", &[CONNECTION])?;
    let elsewhere = mint("alice", &["elsewhere"])?;
    let stranger = start(&target, |_| Ok(()))?;
    let of_another_gateway = stranger.run("alice", &["token", CONNECTION])?.trim().to_owned();
    let mistyped = right.chars().rev().enumerate().map(|(at, c)| if at == 3 { if c == 'x' { 'y' } else { 'x' } } else { c }).collect::<Vec<_>>();
    let mistyped: String = mistyped.into_iter().rev().collect();
    target.wait_until_true(DATABASE, "pg_sleep(1.1) is not null")?; // the second of the one that expires passes at the target
    for (what, token, says) in [
        ("expired", expired.as_str(), "the token expired at"),
        ("revoked", &revoked, "the token was revoked; mint a new one"),
        ("not yet", &early, "the token works from"),
        ("somebody else's", &of_bob, "sign in with the name it was minted for"),
        ("for another connection", &elsewhere, "mint one for it with `countersign token prod-pg`"),
        ("another gateway's", &of_another_gateway, "password authentication failed for user \"alice\""),
        ("cut", &right[..right.len() - 1], "mint a new one with `countersign token`"),
        ("mistyped", &mistyped, "mint a new one with `countersign token`"),
    ] {
        let said = refused(&alice.clone().with_password(token))?;
        let code = if token == elsewhere { "3D000" } else { "28P01" };
        ensure!(said.contains(says) && said.contains(code) && !said.contains(token), "{what}: {said}");
        ensure!(!gateway.printed().contains(token), "{what}: the token is in the log");
        bystander.is_undisturbed(what)?;
    }
    ensure!(alice.with_password(&right).psql(&target.program("psql"))?.args(&["-Atc", "select 'in'"]).print()? == "in\n", "the right one");
    Ok(())
}

/// Revokes the newest of alice's tokens that opens connections.
fn revoke_newest(gateway: &Gateway) -> Result<()> {
    let listed = gateway.json("alice", &["token", "list"])?;
    let tokens = listed.get("tokens").and_then(Value::as_array).context("no tokens")?;
    let connecting = tokens.iter().filter(|token| token.get("purpose").and_then(Value::as_str) == Some("connect"));
    let newest = connecting.max_by_key(|token| token.get("created_at").and_then(Value::as_str).map(str::to_owned)).context("no token")?;
    gateway.run("alice", &["token", "revoke", newest.get("id").and_then(Value::as_str).context("no id")?]).map(drop)
}

#[test]
fn malformed_packets_are_answered_or_closed_and_disturb_nobody() -> Result<()> {
    const TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let target = Postgres::start()?;
    let gateway = start(&target, |_| Ok(()))?;
    let mut bystander = Bystander::of(&gateway)?;
    let begin = startup([("user", "alice"), ("database", CONNECTION)].iter());
    let twice = startup([("user", "alice"), ("user", "bob"), ("database", CONNECTION)].iter());
    let replication = startup([("user", "alice"), ("database", CONNECTION), ("replication", "true")].iter());
    let nothing = Vec::new;
    let cases: [(&str, Vec<u8>, Vec<u8>, &str); 11] = [
        ("a web browser", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), nothing(), ""),
        ("a length of zero", vec![0, 0, 0, 0], nothing(), ""),
        ("a length of four gigabytes", vec![0xff; 64], nothing(), ""),
        ("protocol 9", vec![0, 0, 0, 9, 0, 9, 0, 0, 0], nothing(), "unsupported frontend protocol 9.0"),
        ("no terminator", vec![0, 0, 0, 13, 0, 3, 0, 0, b'u', b's', b'e', b'r', b'x'], nothing(), "invalid startup packet layout"),
        ("nobody", startup([("database", CONNECTION)].iter()), nothing(), "no PostgreSQL user name specified"),
        ("a name given twice", twice, nothing(), "FATAL"),
        ("replication", replication, nothing(), "replication connections are not supported"),
        ("no password but a query", begin.clone(), query("select 1"), "expected password response, got message type 81"),
        ("a password without end", begin.clone(), vec![b'p', 0x7f, 0, 0, 0], "C08P01"),
        ("two passwords in one", begin, message(b'p', &[text("one"), text("two")]), "invalid password packet size"),
    ];
    for (what, first, then, says) in cases {
        let said = answer(&gateway, &first, &then)?;
        ensure!(said.contains(says) && (said.is_empty() || said.starts_with('E')), "{what}: {said:?}");
        bystander.is_undisturbed(what)?;
    }
    let said = answer(&gateway, &[&TLS[..], b"no handshake at all, but enough bytes of it"].concat(), b"")?;
    ensure!(said.contains("received unencrypted data after SSL request"), "{said:?}");
    bystander.is_undisturbed("bytes stuffed before the handshake")?;
    // The API's socket, too.
    let mut socket = UnixStream::connect(gateway.setup().file("data/api.sock"))?;
    socket.write_all(b"\x00\xff nonsense\r\n\r\n")?;
    let mut said = String::new();
    socket.read_to_string(&mut said)?;
    ensure!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
    gateway.run(gateway.administrator(), &["status"])?;
    ensure!(!gateway.printed().contains("panicked"), "{}", gateway.printed());
    bystander.is_undisturbed("nonsense for the API")
}

#[test]
fn sigterm_lets_work_finish_ends_what_is_idle_and_takes_nobody_new() -> Result<()> {
    let target = Postgres::start()?;
    let mut gateway = start(&target, |setup| {
        let listeners = fs::read_to_string(setup.file("countersign.toml"))?;
        setup.write("countersign.toml", &format!("{listeners}drain_ms = 60000\n"))
    })?;
    target.sql(DATABASE, "create table t (id int); alter table t owner to app")?;
    let login = gateway.login("alice")?.without_tls();
    let (mut idle, mut working, mut transaction) = (Wire::open(&login, &[])?, Wire::open(&login, &[])?, Wire::open(&login, &[])?);
    let mut key = target.login(DATABASE).psql(&target.program("psql"))?.args(&["-At"]).start()?;
    key.type_line("select 'locked', pg_advisory_lock(1);")?;
    key.wait_for("locked", PATIENCE)?;
    working.say(&query("select pg_advisory_lock(1), 'finished'"))?;
    target.wait_until_true(DATABASE, "exists (select from pg_locks where locktype = 'advisory' and not granted)")?;
    transaction.say(&query("begin; insert into t values (1)"))?;
    transaction.hear_until_ready(1)?;

    gateway.signal(Signal::TERM)?;
    let told = idle.hear()?;
    ensure!(told.kind == 'E' && String::from_utf8_lossy(&told.body).contains("the gateway is stopping") && idle.ends()?, "{told:?}");
    ensure!(Wire::open(&login, &[]).is_err(), "somebody new was let in");
    transaction.say(&query("insert into t values (2)"))?;
    transaction.hear_until_ready(1)?;
    transaction.say(&query("commit"))?;
    transaction.hear_until_ready(1)?;
    key.type_line("select pg_advisory_unlock(1);")?;
    let heard = working.hear_until_ready(1)?;
    ensure!(heard.iter().any(|message| message.kind == 'D' && message.body.ends_with(b"finished")), "{heard:?}");
    ensure!(gateway.ended_within(PATIENCE) == Some(0), "{}", gateway.printed());
    ensure!(target.sql(DATABASE, "select count(*) from t")? == "2\n", "an open transaction was cut");

    gateway.start_again()?;
    let sessions = gateway.json(gateway.administrator(), &["sessions", "--identity", "alice"])?;
    let sessions = sessions.get("sessions").and_then(Value::as_array).context("no sessions")?;
    ensure!(sessions.len() == 3, "{sessions:?}");
    for session in sessions {
        let id = session.get("id").and_then(Value::as_str).context("no id")?;
        let told = gateway.run(gateway.administrator(), &["show", id])?;
        ensure!(
            session.get("ending").and_then(Value::as_str) == Some("the gateway is stopping") && !told.contains("outcome unknown"),
            "{session}\n{told}"
        );
    }
    Ok(())
}

#[test]
fn sigterm_cuts_what_has_not_ended_after_the_time_it_has() -> Result<()> {
    let target = Postgres::start()?;
    let mut gateway = start(&target, |setup| {
        let listeners = fs::read_to_string(setup.file("countersign.toml"))?;
        setup.write("countersign.toml", &format!("{listeners}drain_ms = 500\n"))
    })?;
    target.sql(DATABASE, "create table t (id int); alter table t owner to app")?;
    let login = gateway.login("alice")?.without_tls();
    let (mut working, mut transaction) = (Wire::open(&login, &[])?, Wire::open(&login, &[])?);
    transaction.say(&query("begin; insert into t values (1)"))?;
    transaction.hear_until_ready(1)?;
    working.say(&query("select pg_sleep(600)"))?;
    target.wait_until_logged("pg_sleep(600)")?;
    gateway.signal(Signal::TERM)?;
    for wire in [&mut working, &mut transaction] {
        let told = wire.hear()?;
        ensure!(told.kind == 'E' && String::from_utf8_lossy(&told.body).contains("the gateway is stopping") && wire.ends()?, "{told:?}");
    }
    ensure!(gateway.ended_within(PATIENCE) == Some(0), "{}", gateway.printed());
    target.wait_until_true(DATABASE, "not exists (select from pg_stat_activity where usename = 'app')")?;
    ensure!(target.sql(DATABASE, "select count(*) from t")? == "0\n", "half a transaction was kept");
    gateway.start_again()?;
    let sessions = gateway.json(gateway.administrator(), &["sessions", "--identity", "alice"])?;
    let sessions = sessions.get("sessions").and_then(Value::as_array).context("no sessions")?;
    let ended = |session: &&Value| session.get("ending").and_then(Value::as_str) == Some("the gateway is stopping");
    ensure!(sessions.len() == 2 && sessions.iter().filter(ended).count() == 2, "{sessions:?}");
    let stories = sessions.iter().map(|session| {
        let id = session.get("id").and_then(Value::as_str).context("no id")?;
        gateway.run(gateway.administrator(), &["show", id])
    });
    let stories = stories.collect::<Result<String>>()?;
    ensure!(stories.matches("outcome unknown").count() == 1, "what was cut in the middle, and nothing else: {stories}");
    Ok(())
}
