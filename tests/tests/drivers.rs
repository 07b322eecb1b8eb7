//! Clients cannot tell the gateway from the target: each driver runs the same script directly and through the gateway, on
//! two targets made alike, and all it saw is compared byte for byte. What must differ is left out by the scripts: process
//! ids (compared with `pg_backend_pid()` on their own side) and how the password was asked for.

use std::{fmt::Write, path::Path};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use countersign_tests::{
    clients::{Login, Messages, script},
    gateway::Gateway,
    postgres::{DATABASE, Method, Postgres},
    wire::{Wire, bind, close, describe, execute, flush, message, parse, query, sync, text},
};
use futures_util::{SinkExt, StreamExt, pin_mut};
use tokio_postgres::{
    AsyncMessage, Client, Error, SimpleQueryMessage,
    types::{FromSql, Type},
};

/// Two targets made alike; clients go to one directly and to the other through a gateway that permits and masks nothing.
struct Pair {
    direct: Postgres,
    behind: Postgres,
    gateway: Gateway,
}

impl Pair {
    fn start() -> Result<Self> {
        Self::start_with(Method::Scram, "statements")
    }

    /// `method`: how the direct clients are asked for the password; `record`: how much the gateway records.
    fn start_with(method: Method, record: &str) -> Result<Self> {
        let (direct, behind) = (Postgres::start_with(method, &[])?, Postgres::start()?);
        let gateway = Gateway::permitting_all_and(&behind, &format!("record = \"{record}\""))?;
        Ok(Self { direct, behind, gateway })
    }

    /// Runs something on both sides and compares what it saw, line by line.
    fn compare(&self, run: impl Fn(&Login, &Postgres) -> Result<String>) -> Result<()> {
        let direct = run(&self.direct.login(DATABASE), &self.direct).context("directly")?;
        let behind = run(&self.gateway.login("alice")?, &self.behind)
            .with_context(|| format!("through the gateway, which printed:\n{}", self.gateway.printed()))?;
        ensure!(direct.lines().count() > 10, "the script saw too little:\n{direct}");
        for (number, (direct, behind)) in direct.lines().zip(behind.lines()).enumerate() {
            ensure!(direct == behind, "line {} differs\n directly: {direct}\n  through: {behind}", number + 1);
        }
        ensure!(direct == behind, "one side said more:\n directly: {direct}\n  through: {behind}");
        Ok(())
    }
}

fn python(name: &str) -> Result<()> {
    Pair::start()?.compare(|login, _| login.python(&script(name))?.env("DRIVER_TABLE", "driver").print())
}

#[test]
fn psycopg_sees_the_same() -> Result<()> {
    python("psycopg_script.py")
}

#[test]
fn asyncpg_sees_the_same() -> Result<()> {
    python("asyncpg_script.py")
}

#[test]
fn psql_sees_the_same() -> Result<()> {
    let pair = Pair::start()?;
    let psql = pair.behind.program("psql");
    pair.compare(|login, _| both_outputs(login, &psql))
}

fn both_outputs(login: &Login, psql: &Path) -> Result<String> {
    let file = script("session.sql");
    let output = login.psql(psql)?.args(&["-v", "t=driver_t", "-f"]).args(&[&file.to_string_lossy()]).run()?;
    let (printed, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    Ok(format!("{printed}\n-- errors and notices\n{errors}\n-- {}\n", output.status))
}

#[test]
fn tokio_postgres_sees_the_same() -> Result<()> {
    let pair = Pair::start()?;
    let runtime = tokio::runtime::Runtime::new()?;
    pair.compare(|login, target| runtime.block_on(play(login, target)))
}

/// The bytes of a value as they came, whatever its type.
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

async fn play(login: &Login, target: &Postgres) -> Result<String> {
    let (client, mut unasked) = login.connect_with_messages().await?;
    let mut seen = String::new();
    let create = "create table t (id int primary key, name text, amount numeric(10,2)); create type mood as enum ('calm', 'cross'); select 1 as one, null as two";
    writeln!(seen, "{}", simple(&client, create).await)?;
    for n in 0..5i32 {
        writeln!(seen, "{:?}", client.execute("insert into t values ($1, $2, 1.5)", &[&n, &format!("name {n}")]).await?)?;
    }
    for statement in [
        "select * from t order by id",
        "select 'cross'::mood, array['calm']::mood[]",
        "select 1/0",
        "select * from absent",
        "insert into t values (1)",
        "selekt",
    ] {
        writeln!(seen, "{statement}: {}", extended(&client, statement).await)?;
        writeln!(seen, "{statement}: {}", simple(&client, statement).await)?;
    }
    pipelined(&client, &mut seen).await?;
    portals(client, login, &mut seen).await?;
    let client = login.connect().await?;
    copies(&client, &mut seen).await?;
    let (listening, mut heard) = login.connect_with_messages().await?;
    listening
        .batch_execute("listen own_channel; notify own_channel, 'payload'; do $$ begin raise notice 'heard' using hint = 'a hint'; end $$")
        .await?;
    for messages in [&mut heard, &mut unasked] {
        writeln!(seen, "{}", unasked_messages(messages))?;
    }
    let cancel = client.cancel_token();
    let (slept, cancelled) = tokio::join!(client.simple_query("select pg_sleep(60)"), async {
        target.wait_until_true(DATABASE, "exists (select from pg_stat_activity where wait_event = 'PgSleep')")?;
        login.cancel(cancel).await
    });
    cancelled?;
    writeln!(seen, "{:?}", slept.err().map(|error| told(&error)))?;
    writeln!(seen, "{}", simple(&client, "drop table t; drop type mood; select 'still here'").await)?;
    Ok(seen)
}

async fn simple(client: &Client, statements: &str) -> String {
    match client.simple_query(statements).await {
        Ok(messages) => messages.iter().map(shown).collect::<Vec<_>>().join("; "),
        Err(error) => told(&error),
    }
}

fn shown(message: &SimpleQueryMessage) -> String {
    match message {
        SimpleQueryMessage::Row(row) => format!("{:?}", (0..row.len()).map(|column| row.get(column)).collect::<Vec<_>>()),
        SimpleQueryMessage::CommandComplete(rows) => format!("{rows} rows"),
        SimpleQueryMessage::RowDescription(columns) => format!("{:?}", columns.iter().map(|column| column.name()).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    }
}

async fn extended(client: &Client, statement: &str) -> String {
    let prepared = match client.prepare(statement).await {
        Ok(prepared) => prepared,
        Err(error) => return told(&error),
    };
    let columns: Vec<_> =
        prepared.columns().iter().map(|it| (it.name(), it.type_().oid(), it.table_oid(), it.column_id(), it.type_modifier())).collect();
    match client.query(&prepared, &[]).await {
        Ok(rows) => format!(
            "{columns:?} {:?}",
            rows.iter().map(|row| (0..row.len()).map(|at| row.get::<_, Raw>(at).0).collect::<Vec<_>>()).collect::<Vec<_>>()
        ),
        Err(error) => format!("{columns:?} {}", told(&error)),
    }
}

fn told(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| format!("{error:?}"))
}

async fn pipelined(client: &Client, seen: &mut String) -> Result<()> {
    let statement = client.prepare_typed("select $1 * 2, name from t where id = $1 % 5", &[Type::INT4]).await?;
    let statement = &statement;
    let asked = futures_util::future::join_all((0..50i32).map(|n| async move { client.query_one(statement, &[&n]).await }));
    for row in asked.await {
        let row = row?;
        writeln!(seen, "{} {}", row.get::<_, i32>(0), row.get::<_, &str>(1))?;
    }
    Ok(())
}

/// Portals with a limit of rows, inside a transaction that is rolled back.
async fn portals(mut client: Client, login: &Login, seen: &mut String) -> Result<()> {
    let transaction = client.transaction().await?;
    transaction.execute("delete from t where id = 0", &[]).await?;
    let portal = transaction.bind("select id from t order by id", &[]).await?;
    for rows in [2, 1, 0] {
        let ids: Vec<i32> = transaction.query_portal(&portal, rows).await?.iter().map(|row| row.get(0)).collect();
        writeln!(seen, "{ids:?}")?;
    }
    drop(transaction);
    drop(client);
    writeln!(seen, "{}", simple(&login.connect().await?, "select count(*) from t").await)?;
    Ok(())
}

async fn copies(client: &Client, seen: &mut String) -> Result<()> {
    let sink = client.copy_in("copy t (id, name) from stdin").await?;
    pin_mut!(sink);
    for n in 100..200 {
        sink.send(Bytes::from(format!("{n}\tcopied {n}\n"))).await?;
    }
    writeln!(seen, "{:?}", sink.finish().await)?;
    for statement in ["copy t to stdout", "copy (select id, name from t order by id) to stdout (format binary)"] {
        let stream = client.copy_out(statement).await?;
        pin_mut!(stream);
        let mut data = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            data.extend_from_slice(&chunk?);
        }
        writeln!(seen, "{data:?}")?;
    }
    Ok(())
}

fn unasked_messages(messages: &mut Messages) -> String {
    let mut seen = String::new();
    while let Ok(Ok(message)) = messages.try_recv() {
        seen.push_str(&match message {
            AsyncMessage::Notice(notice) => format!("{notice:?}; "),
            AsyncMessage::Notification(note) => format!("{} {}; ", note.channel(), note.payload()),
            other => format!("{other:?}; "),
        });
    }
    seen
}

#[test]
fn every_byte_is_the_same() -> Result<()> {
    Pair::start_with(Method::Cleartext, "statements")?.compare(|login, _| wire(&login.clone().without_tls(), Sources::Compared))
}

/// Where rows are recorded, portals are described before they run: an error of a portal that is not there comes from another place in the
/// server's source, and says so in the fields that name it. Everything else is the same.
#[test]
fn every_byte_is_the_same_where_rows_are_recorded() -> Result<()> {
    Pair::start_with(Method::Cleartext, "full")?.compare(|login, _| wire(&login.clone().without_tls(), Sources::LeftOut))
}

/// Whether an error's file, line and routine in the server's source are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sources {
    Compared,
    LeftOut,
}

/// An error's fields without those that name a place in the server's source.
fn without_source(body: &[u8]) -> Vec<u8> {
    let fields = body.split_inclusive(|&byte| byte == 0).filter(|field| !matches!(field.first(), Some(b'F' | b'L' | b'R')));
    fields.flatten().copied().collect()
}

/// Asks in each way the protocol knows, and tells each message that came back with all its bytes.
fn wire(login: &Login, sources: Sources) -> Result<String> {
    let mut wire = Wire::open(login, &[("application_name", "bytes"), ("client_encoding", "UTF8"), ("options", "-c intervalstyle=iso_8601")])?;
    let mut seen = format!("{:?}\n", wire.parameters);
    wire.say(&query("select pg_backend_pid()"))?;
    let pid = wire.hear_until_ready(1)?.into_iter().find(|message| message.kind == 'D').context("no row")?;
    ensure!(pid.body.ends_with(wire.key.0.to_string().as_bytes()), "BackendKeyData names another process: {:?}", wire.key);
    for (number, (asked, ready)) in conversations().into_iter().enumerate() {
        wire.say(&asked)?;
        for mut heard in wire.hear_until_ready(ready)? {
            if heard.kind == 'A' {
                ensure!(heard.body.drain(..4).eq(wire.key.0.to_be_bytes()), "a notification of another process");
            }
            if heard.kind == 'E' && sources == Sources::LeftOut {
                heard.body = without_source(&heard.body);
            }
            writeln!(seen, "{number} {} {}", heard.kind, heard.body.escape_ascii())?;
        }
    }
    wire.say(&message(b'X', &[]))?;
    ensure!(wire.ends()?, "still open after Terminate");
    Ok(seen)
}

/// What is said, and how many `ReadyForQuery` answer it.
type Said = (Vec<u8>, usize);

/// All of it, in one session.
fn conversations() -> Vec<Said> {
    [statements_and_pipelines(), about_the_callers_name(), about_cursors(), large_answers()].concat()
}

fn run(statement: &str, parameters: &[Option<&str>], format: i16) -> Vec<u8> {
    [parse("", statement), bind("", "", parameters, format), describe('P', ""), execute("", 0)].concat()
}

fn statements_and_pipelines() -> Vec<Said> {
    let insert = |id: &str| run("insert into w values ($1::int, 'x')", &[Some(id)], 0);
    vec![
        (query("create table w (id int primary key, name text); insert into w values (1, 'one'), (2, null)"), 1),
        (query("select * from w; select 1/0; select 2"), 1),
        (query(""), 1),
        (query("  ; -- nothing\n ;"), 1),
        (query("select"), 1),
        ([run("select * from w where id > $1", &[Some("0")], 0), sync()].concat(), 1),
        ([run("select id, name, 1.5::numeric, now() is null from w", &[], 1), sync()].concat(), 1),
        ([run("select $1::int, $2::text", &[None, Some("")], 1), sync()].concat(), 1),
        // Two statements in one pipeline; the second fails, and the first does not stay.
        ([insert("10"), run("select 1/0", &[], 0), insert("11"), sync()].concat(), 1),
        // Each Sync ends a pipeline: what fails in the first does not touch the second.
        ([run("select 1/0", &[], 0), sync(), insert("12"), sync(), run("select count(*) from w", &[], 0), sync()].concat(), 3),
        // Named statements and portals, row limits, Flush in between, Close, and what is closed is gone.
        (
            [
                parse("s", "select id from w order by id"),
                describe('S', "s"),
                flush(),
                bind("p", "s", &[], 0),
                describe('P', "p"),
                execute("p", 1),
                execute("p", 1),
                execute("p", 0),
                sync(),
            ]
            .concat(),
            1,
        ),
        ([bind("p", "s", &[], 0), close('P', "p"), execute("p", 0), sync()].concat(), 1),
        ([parse("s", "select 1"), sync(), close('S', "s"), close('S', "never was"), sync(), bind("", "s", &[], 0), sync()].concat(), 3),
        (query("begin"), 1),
        ([insert("20"), sync(), run("select * from absent", &[], 0), sync(), insert("21"), sync()].concat(), 3),
        (query("commit"), 1),
        (query("begin"), 1),
        (query("set application_name to 'taken back'"), 1),
        (query("select 1/0"), 1),
        (query("rollback"), 1),
        (query("begin; savepoint s; select 1/0"), 1),
        (query("rollback to s"), 1),
        (query("insert into w values (30, 'kept'); commit; select count(*) from w"), 1),
        (query("prepare named (int) as select $1 + 1; execute named (1)"), 1),
        ([bind("", "named", &[Some("41")], 0), execute("", 0), sync()].concat(), 1),
        (query("deallocate named"), 1),
        ([bind("", "named", &[Some("41")], 0), execute("", 0), sync()].concat(), 1),
        (query("begin; declare c cursor for select id from w order by id; fetch 2 from c"), 1),
        ([describe('P', "c"), execute("c", 1), sync()].concat(), 1),
        (query("close c; rollback"), 1),
        (query("copy w to stdout; select 1"), 1),
        (
            [query("copy w from stdin"), message(b'd', &[b"40\tfor\n".to_vec()]), message(b'd', &[b"41\t\\N\n".to_vec()]), message(b'c', &[])]
                .concat(),
            1,
        ),
        ([query("copy w from stdin"), message(b'd', &[b"42\tx\n".to_vec()]), message(b'f', &[text("the client gave up")])].concat(), 1),
        ([query("copy w from stdin"), message(b'd', &[b"not a number\n".to_vec()]), message(b'c', &[])].concat(), 1),
        (query("listen ch; notify ch, 'x'; select 1"), 1),
        (query("do $$ begin raise notice 'n' using detail = 'd', hint = 'h', errcode = '01234'; end $$; select 1"), 1),
        (query("set timezone to 'Asia/Tokyo'; set client_encoding to latin1; reset all"), 1),
        (query("set application_name to 'own'; show application_name"), 1),
    ]
}

/// It follows savepoints, failures, RESET ALL and DISCARD ALL as any setting does.
fn about_the_callers_name() -> Vec<Said> {
    vec![
        (query("begin"), 1),
        (query("set application_name to 'outer'"), 1),
        (query("savepoint a"), 1),
        (query("set local application_name to 'inner'"), 1),
        (query("savepoint b"), 1),
        (query("set application_name to 'innermost'"), 1),
        (query("select 1/0"), 1),
        (query("rollback to b"), 1),
        (query("show application_name"), 1),
        (query("release b"), 1),
        ([run("rollback to a", &[], 0), run("show application_name", &[], 0), sync()].concat(), 1),
        (query("set application_name to 'kept'"), 1),
        (query("release a"), 1),
        (query("commit"), 1),
        (query("show application_name"), 1),
        (query("begin"), 1),
        (query("set application_name to 'lost'"), 1),
        (query("select 1/0"), 1),
        (query("rollback"), 1),
        (query("show application_name"), 1),
        (query("reset all"), 1),
        (query("show application_name"), 1),
        (query("set application_name to 'until it is discarded'"), 1),
        (query("discard all"), 1),
        (query("show application_name"), 1),
    ]
}

/// FETCH and MOVE, in every direction, from what SQL declared and what the protocol bound.
fn about_cursors() -> Vec<Said> {
    vec![
        (query("begin"), 1),
        (query("declare c scroll cursor for select n, 'row ' || n from generate_series(1, 10) n"), 1),
        (query("fetch 3 from c"), 1),
        (query("fetch 0 from c; move 2 in c; fetch relative 0 from c"), 1),
        (query("fetch backward 2 from c"), 1),
        (query("move backward all in c"), 1),
        (query("fetch absolute -1 from c; fetch prior from c; fetch last c; fetch next c; fetch first c; move absolute 4 in c"), 1),
        ([execute("c", 2), execute("c", 0), sync()].concat(), 1),
        ([run("fetch backward 1 from c", &[], 1), run("move forward all in c", &[], 0), sync()].concat(), 1),
        ([parse("f", "fetch first from c"), bind("", "f", &[], 0), execute("", 0), bind("", "f", &[], 0), execute("", 0), sync()].concat(), 1),
        ([parse("q", "select id from w order by id"), bind("portal", "q", &[], 0), execute("portal", 1), sync()].concat(), 1),
        (query("fetch 1 from portal; move 1 in portal; fetch 1 from portal"), 1),
        ([execute("portal", 0), sync()].concat(), 1),
        (query("declare u cursor for select id from w order by id for update; fetch 1 from u; update w set name = 'current' where current of u"), 1),
        (query("savepoint s"), 1),
        (query("fetch 1 from never_declared"), 1),
        (query("rollback to s"), 1),
        (query("declare once no scroll cursor for select 1; fetch backward 1 from once"), 1),
        (query("rollback to s"), 1),
        (query("declare twice binary cursor for select 7; declare twice cursor for select 8"), 1),
        (query("rollback to s"), 1),
        (query("declare b binary cursor for select 7; fetch all from b; close b"), 1),
        (query("declare held cursor with hold for select id from w order by id; fetch 1 from held"), 1),
        (query("commit"), 1),
        (query("fetch 1 from held; fetch 1 from c"), 1),
        (query("move all in held; close all"), 1),
    ]
}

fn large_answers() -> Vec<Said> {
    vec![
        (query("select repeat('x', 100000)"), 1),
        ([run("select n, repeat('y', n) from generate_series(1, 300) n", &[], 0), sync()].concat(), 1),
        (query("drop table w"), 1),
    ]
}
