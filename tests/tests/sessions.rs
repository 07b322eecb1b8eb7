//! What a session keeps true on its way: catalog and names as the target has them, the protocol's versions, cancel requests, tails and watched files.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::{Login, Running},
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
    wire::{Wire, bind, close, execute, message, parse, query, startup, sync, text},
};

/// The policies that `init` writes, and a target outside production, where engineers define and configure freely.
fn start(target: &Postgres) -> Result<Gateway> {
    start_with(target, "")
}

/// The same, with more lines for the connection.
fn start_with(target: &Postgres, lines: &str) -> Result<Gateway> {
    let setup = Setup::init()?;
    setup.target(target, DATABASE, lines)?;
    let file = format!("connections/{CONNECTION}.toml");
    let connection = std::fs::read_to_string(setup.file(&file))?;
    setup.write(&file, &connection.replace("environment = \"production\"", "environment = \"development\""))?;
    setup.classes(&[("email", "keep-domain", "public.customers.email")])?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &["engineers"])?;
    Ok(gateway)
}

/// Each statement as a message of its own: psql sends one after the other.
fn psql(login: &Login, target: &Postgres, lines: &[&str]) -> Result<String> {
    let mut arguments = vec!["-At", "-v", "VERBOSITY=terse"];
    lines.iter().for_each(|line| arguments.extend(["-c", *line]));
    let output = login.psql(&target.program("psql"))?.args(&arguments).run()?;
    Ok(String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?)
}

#[test]
fn what_a_transaction_made_is_known_inside_it_and_gone_with_it() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let alice = gateway.login("alice")?;
    let said = psql(
        &alice,
        &target,
        &["begin", "create table made (a int)", "insert into made values (1)", "select a from made", "rollback", "select a from made"],
    )?;
    ensure!(said.lines().eq(["BEGIN", "CREATE TABLE", "INSERT 0 1", "1", "ROLLBACK", "ERROR:  relation \"made\" does not exist"]), "{said}");
    let said = psql(&alice, &target, &["create temp table mine (a int)", "insert into mine values (2)", "select a from mine", "drop table mine"])?;
    ensure!(said.lines().eq(["CREATE TABLE", "INSERT 0 1", "2", "DROP TABLE"]), "{said}");
    Ok(())
}

#[test]
fn a_table_made_past_the_gateway_is_found_when_it_is_asked_for() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let alice = gateway.login("alice")?;
    let mut session = alice.psql(&target.program("psql"))?.args(&["-At"]).start()?;
    session.type_line("select 'before';")?;
    session.wait_for("before", PATIENCE)?;
    target.sql(DATABASE, "create table late (a int); insert into late values (7); grant all on late to app")?;
    session.type_line("select 'found', a from late;")?;
    session.wait_for("found|7", PATIENCE)?;
    Ok(())
}

#[test]
fn sql_and_protocol_share_the_names_of_statements() -> Result<()> {
    let target = Postgres::start()?;
    target.sql(DATABASE, "create table customers (email text); insert into customers values ('ann@example.org'); grant all on customers to app")?;
    let gateway = start(&target)?;
    let alice = gateway.login("alice")?.without_tls();
    let mut wire = Wire::open(&alice, &[])?;
    let mut rows = |sent: Vec<u8>| -> Result<String> {
        wire.say(&sent)?;
        let heard = wire.hear_until_ready(1)?;
        Ok(heard.iter().filter(|one| matches!(one.kind, 'D' | 'E')).map(|one| one.body.escape_ascii().to_string()).collect())
    };
    // Prepared by SQL, bound by the protocol: its rows are masked all the same, with no Describe in between.
    rows(query("prepare q as select email from customers"))?;
    let masked = rows([bind("", "q", &[], 0), execute("", 0), sync()].concat())?;
    ensure!(masked.contains("***@example.org") && !masked.contains("ann"), "{masked}");
    // Made again under the same name by SQL, after the protocol had made it.
    rows([close('S', "q"), parse("q", "select 'harmless'"), sync()].concat())?;
    rows(query("deallocate q; prepare q as select email from customers"))?;
    let masked = rows([bind("", "q", &[], 0), execute("", 0), sync()].concat())?;
    ensure!(masked.contains("***@example.org") && !masked.contains("ann"), "{masked}");
    // A cursor declared by SQL, run by the protocol.
    rows(query("begin"))?;
    rows(query("declare c cursor for select email from customers"))?;
    let masked = rows([execute("c", 0), sync()].concat())?;
    ensure!(masked.contains("***@example.org") && !masked.contains("ann"), "{masked}");
    Ok(())
}

#[test]
fn a_changed_search_path_decides_what_later_names_mean() -> Result<()> {
    let target = Postgres::start()?;
    target.sql(
        DATABASE,
        "create table customers (email text); insert into customers values ('ann@example.org'); create schema other authorization app; \
         create table other.customers (email text); insert into other.customers values ('free@example.org'); grant all on customers, other.customers to app",
    )?;
    let gateway = start(&target)?;
    let alice = gateway.login("alice")?;
    let said = psql(
        &alice,
        &target,
        &[
            "select email from customers",
            "set search_path = other",
            "select email from customers",
            "begin",
            "set local search_path = public",
            "select email from customers",
            "rollback",
            "select email from customers",
        ],
    )?;
    let shown = ["***@example.org", "SET", "free@example.org", "BEGIN", "SET", "***@example.org", "ROLLBACK", "free@example.org"];
    ensure!(said.lines().eq(shown), "{said}");
    // What a transaction set is taken back by its end, in the middle of a message too.
    let said = psql(&alice, &target, &["begin; set local search_path = other; rollback; select email from customers"])?;
    ensure!(said.contains("not fully understood") && !said.contains("ann"), "{said}");
    Ok(())
}

#[test]
fn a_newer_protocol_is_negotiated_down_and_a_function_call_refused() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let alice = gateway.login("alice")?.without_tls();
    let mut socket = TcpStream::connect(("127.0.0.1", gateway.port()?))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let body = [&0x0003_0002i32.to_be_bytes()[..], b"user\0alice\0database\0", CONNECTION.as_bytes(), b"\0_pq_.shiny\0on\0\0"].concat();
    let length = i32::try_from(body.len() + 4)?;
    socket.write_all(&[&length.to_be_bytes()[..], &body].concat())?;
    let mut head = [0u8; 5];
    socket.read_exact(&mut head)?;
    ensure!(head.first() == Some(&b'v'), "no NegotiateProtocolVersion first: {head:?}");
    let mut rest = vec![0u8; usize::try_from(i32::from_be_bytes([head[1], head[2], head[3], head[4]]))? - 4];
    socket.read_exact(&mut rest)?;
    ensure!(rest.starts_with(&[0, 3, 0, 0]) && rest.windows(10).any(|part| part == b"_pq_.shiny"), "{rest:?}");

    let mut wire = Wire::open(&alice, &[])?;
    let call = message(b'F', &[1i32.to_be_bytes().to_vec(), vec![0, 0, 0, 0, 0, 0]]);
    wire.say(&call)?;
    let heard = wire.hear_until_ready(1)?;
    ensure!(heard.iter().any(|one| one.kind == 'E') && heard.iter().all(|one| one.kind != 'V'), "{heard:?}");
    wire.say(&query("select 'still here'"))?;
    ensure!(wire.hear_until_ready(1)?.iter().any(|one| one.kind == 'D'));
    Ok(())
}

#[test]
fn a_password_that_comes_with_the_first_packet_is_read() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let alice = gateway.login("alice")?;
    let mut socket = TcpStream::connect(("127.0.0.1", gateway.port()?))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let first = startup([("user", "alice"), ("database", CONNECTION)].iter());
    socket.write_all(&[first, message(b'p', &[text(&alice.password)])].concat())?;
    let mut heard = [0u8; 18];
    socket.read_exact(&mut heard)?;
    // AuthenticationCleartextPassword, and AuthenticationOk at once: nothing more was waited for.
    ensure!(heard == *b"R\0\0\0\x08\0\0\0\x03R\0\0\0\x08\0\0\0\0", "{heard:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_07_a_cancel_request_ends_its_own_statement_and_no_other() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = Gateway::permitting_all(&target)?;
    let alice = gateway.login("alice")?;
    let (one, other) = (alice.connect().await?, alice.connect().await?);
    let token = one.cancel_token();
    let (slept, went_on, cancelled) =
        tokio::join!(one.simple_query("select pg_sleep(600)"), other.simple_query("select pg_sleep(2), 'undisturbed'"), async {
            target.wait_until_true(DATABASE, "exists (select from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active')")?;
            alice.cancel(token).await
        });
    cancelled?;
    let refused = slept.err().context("it went on")?;
    ensure!(refused.code().is_some_and(|code| code.code() == "57014"), "{refused:?}");
    ensure!(went_on.is_ok(), "{went_on:?}");
    ensure!(one.simple_query("select 1").await.is_ok(), "the session is usable after a cancel");
    Ok(())
}

#[test]
fn tail_follows_live_and_a_watched_directory_is_applied() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let alice = gateway.login("alice")?;
    let mut session = alice.psql(&target.program("psql"))?.args(&["-At"]).start()?;
    session.type_line("select 'first';")?;
    session.wait_for("first", PATIENCE)?;
    let listed = gateway.json("alice", &["sessions", "--live"])?;
    let id = listed.to_string().split('"').find(|part| part.starts_with("s_")).map(str::to_owned).context("no live session")?;
    let mut tail = gateway.command("alice")?;
    tail.args(["tail", &id]);
    let mut tail = Running::start(tail)?;
    // It follows from the moment it is there, whenever that is.
    let mut followed = false;
    for _ in 0..60 {
        session.type_line("select 'second';")?;
        followed = tail.wait_for("second", Duration::from_secs(1)).is_ok();
        if followed {
            break;
        }
    }
    ensure!(followed, "tail shows nothing of a live session");

    let policy = std::fs::read_to_string(gateway.setup().file("policy/access.cedar"))?;
    let closing = "@id(\"closed\") @reason(\"closed for the night\") forbid (principal == User::\"alice\", action == Action::\"read\", resource);";
    gateway.setup().write("policy/access.cedar", &format!("{policy}\n{closing}\n"))?;
    let end = Instant::now() + PATIENCE;
    while !psql(&alice, &target, &["select count(*) from pg_class"])?.contains("closed for the night") {
        ensure!(Instant::now() < end, "the directory was not applied: {}", gateway.printed());
    }
    session.type_line("select count(*) from pg_class;")?;
    session.wait_for("closed for the night", PATIENCE)?;
    Ok(())
}

/// An idle session's two sockets, each with the kernel's timer that asks a silent peer whether it is still there.
#[test]
fn a_caller_and_a_target_who_say_nothing_are_asked_whether_they_are_there() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = Gateway::permitting_all(&target)?;
    let _idle = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    let asked = |local: Option<u16>, remote: Option<u16>| -> Result<usize> {
        let sockets = std::fs::read_to_string(format!("/proc/{}/net/tcp", gateway.pid()))?;
        let rows = sockets.lines().skip(1).filter_map(socket).filter(|row| row.connected && row.asks);
        Ok(rows.filter(|row| local.is_none_or(|port| row.local == port) && remote.is_none_or(|port| row.remote == port)).count())
    };
    let end = Instant::now() + PATIENCE;
    // The gateway's side of each, which is the one at its own port and the one that goes to the target's.
    while asked(Some(gateway.port()?), None)? != 1 || asked(None, Some(target.port()))? < 1 {
        ensure!(Instant::now() < end, "nobody asks: {}", std::fs::read_to_string("/proc/net/tcp")?);
    }
    Ok(())
}

/// A row of `/proc/net/tcp`: <https://docs.kernel.org/networking/proc_net_tcp.html>.
struct Socket {
    local: u16,
    remote: u16,
    connected: bool,
    /// Its keepalive timer runs.
    asks: bool,
}

fn socket(row: &str) -> Option<Socket> {
    let fields: Vec<&str> = row.split_whitespace().collect();
    let port = |field: usize| u16::from_str_radix(fields.get(field)?.rsplit(':').next()?, 16).ok();
    Some(Socket { local: port(1)?, remote: port(2)?, connected: *fields.get(3)? == "01", asks: fields.get(5)?.starts_with("02:") })
}

/// In both directions, masked or not, and wherever the caller's network cuts its messages: what `full` keeps of a COPY is what people read.
#[test]
fn what_a_copy_carries_is_recorded_as_it_was_read_and_shown() -> Result<()> {
    let target = Postgres::start()?;
    target.sql(DATABASE, "create table customers (name text, email text); grant all on customers to app")?;
    let gateway = start_with(&target, "record = \"full\"")?;
    let reader = format!("permit (principal == User::\"{}\", action == Action::\"reveal\", resource);", gateway.administrator());
    gateway.setup().write("policy/reader.cedar", &reader)?;
    gateway.run(gateway.administrator(), &["apply", &gateway.setup().file("").to_string_lossy()])?;
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    wire.say(&query("copy customers from stdin"))?;
    let row = "Zo\u{eb}\tzoe@example.org\n".as_bytes();
    let messages = [message(b'd', &[row.to_vec()]), message(b'd', &[b"Ann\tann@example.org\n".to_vec()]), message(b'c', &[])].concat();
    // Cut within a head, within a character and within a row; what arrived went on to the target before the rest was sent.
    let mut sent = 0;
    for cut in [3, 8, row.len() + 7, row.len() + 12, messages.len()] {
        wire.say(&messages[sent..cut])?;
        sent = cut;
    }
    wire.hear_until_ready(1)?;
    wire.say(&query("copy customers to stdout"))?;
    wire.hear_until_ready(1)?;
    wire.say(&query("copy customers (name) to stdout"))?;
    wire.hear_until_ready(1)?;
    wire.say(&message(b'X', &[]))?;
    wire.ends()?;
    let listed = gateway.json(gateway.administrator(), &["sessions"])?;
    let id = listed.pointer("/sessions/0/id").and_then(serde_json::Value::as_str).context("no session")?;
    let told = gateway.run(gateway.administrator(), &["show", id])?;
    // Rows as they went in, as they came back and were masked, and those of a COPY in which nothing is.
    for line in [">    Ann\tann@example.org", "<    Zo\u{eb}\t***@example.org", "<    Ann\t***@example.org", "<    Zo\u{eb}", "<    Ann"] {
        ensure!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    Ok(())
}
