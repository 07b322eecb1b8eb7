//! Published bugs and weak spots of gateways of this kind, played against this one: each test carries the id of its class. What is refused must not
//! have reached the target, whose log says what it was sent.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Running,
    gateway::{Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
    wire::{Heard, Wire, bind, describe, execute, flush, message, parse, query, sync},
};
use serde_json::Value;

const EVERYTHING: &str = "permit (principal, action, resource);\n";
const UNREADABLE: &str = "permit (principal, action == Action::\"unreadable\", resource);\n";

/// A table with secrets, a plain one, functions of the owner's, and a gateway in front of it.
struct Stand {
    target: Postgres,
    gateway: Gateway,
}

impl Stand {
    /// Under these policies and no others. `more`: further lines of the connection.
    fn start(policy: &str, classified: bool, more: &str) -> Result<Self> {
        let target = Postgres::start()?;
        target.sql(
            DATABASE,
            "create table people (id int primary key, name text, email text);
             insert into people values (1, 'Ada', 'secret-ada@example.org'), (2, 'Grace', 'secret-grace@example.org');
             create table plain (id int primary key, note text); insert into plain values (1, 'one'), (2, 'two'), (3, 'three');
             create table sink (note text); create sequence calls;
             create schema other authorization app; create table other.people (id int, email text); insert into other.people values (1, 'open@other');
             create function reads_people(int) returns text language sql stable as 'select email from people where id = $1';
             create function deletes() returns int language plpgsql as 'begin delete from plain; return 1; end';
             create procedure deletes_too() language plpgsql as 'begin delete from plain; end';
             create function says_it_is_immutable(int) returns int immutable language plpgsql as 'begin perform nextval(''calls''); return $1; end';
             create function copies() returns trigger language plpgsql as 'begin insert into sink select email from people; return new; end';
             create table traps (id int); create trigger trap after insert on traps for each row execute function copies();
             create view contacts as select id, email as contact from people;
             alter table people owner to app; alter table plain owner to app; alter table sink owner to app; alter table traps owner to app;
             alter table other.people owner to app; alter view contacts owner to app; alter sequence calls owner to app;
             alter function reads_people owner to app; alter function deletes owner to app; alter procedure deletes_too owner to app;
             alter function says_it_is_immutable owner to app; alter function copies owner to app;
             grant pg_read_server_files, pg_write_server_files, pg_execute_server_program to app",
        )?;
        let setup = Setup::init()?;
        fs::remove_dir_all(setup.file("policy"))?;
        setup.write("policy/all.cedar", EVERYTHING)?;
        setup.target(&target, DATABASE, more)?;
        if classified {
            setup.classes(&[("email", "keep-domain", "public.people.email")])?;
        }
        let mut gateway = setup.serve()?;
        gateway.add_user("alice", &["engineers"])?;
        gateway.add_user("bob", &["dba"])?;
        gateway.setup().write("policy/all.cedar", policy)?;
        // Some of the policies permit nobody to administer.
        gateway.run(gateway.administrator(), &["apply", "--lock-everybody-out", &gateway.setup().file("").to_string_lossy()])?;
        Ok(Self { target, gateway })
    }

    fn alice(&self) -> Result<Wire> {
        Wire::open(&self.gateway.login("alice")?.without_tls(), &[])
    }

    fn psql(&self) -> Result<Running> {
        self.gateway.login("alice")?.psql(&self.target.program("psql"))?.args(&["-At", "-v", "VERBOSITY=verbose"]).start()
    }

    /// What must not have happened.
    fn untouched(&self) -> Result<()> {
        let plain = self.target.sql(DATABASE, "select count(*) from plain")?;
        let sink = self.target.sql(DATABASE, "select count(*) from sink")?;
        ensure!(plain == "3\n" && sink == "0\n", "{plain} rows are left, {sink} were copied");
        Ok(())
    }

    /// Refused by the gateway, each statement in a session of its own, and never sent; `marked` puts a marker into the statement.
    fn refuses(&self, statements: &[&str]) -> Result<()> {
        for statement in statements {
            let marker = marker();
            let mut wire = self.alice()?;
            wire.say(&query(&format!("/* {marker} */ {statement}")))?;
            let heard = wire.hear_until_ready(1)?;
            let told = error(&heard).with_context(|| format!("{statement} was not refused: {heard:?}"))?;
            // What the grammar does not take is refused with the server's own words.
            ensure!(told.contains("C42501\nMrefused") || told.contains("It was not sent to the target"), "{statement}: {told}");
            ensure!(!self.target.log()?.contains(&marker), "{statement} reached the target");
        }
        Ok(())
    }

    /// Whatever is answered to these, in one session, shows no secret.
    fn shows_no_secret(&self, steps: &[Vec<u8>]) -> Result<()> {
        let mut wire = self.alice()?;
        for step in steps {
            wire.say(step)?;
            let heard = wire.hear_until_ready(1).with_context(|| step.escape_ascii().to_string())?;
            let shown: String = heard.iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
            ensure!(!shown.contains("secret-"), "{}: {shown}", step.escape_ascii());
        }
        Ok(())
    }
}

fn marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("marker-{}-", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn error(heard: &[Heard]) -> Option<String> {
    let error = heard.iter().find(|message| message.kind == 'E')?;
    Some(String::from_utf8_lossy(&error.body).replace('\0', "\n"))
}

fn kinds(heard: &[Heard]) -> String {
    heard.iter().map(|message| message.kind).collect()
}

fn ask(wire: &mut Wire, statement: &str) -> Result<Vec<Heard>> {
    wire.say(&query(statement))?;
    wire.hear_until_ready(1)
}

#[test]
fn sql_01_a_function_that_is_denied_is_denied_wherever_it_stands() -> Result<()> {
    const CALL: &str = "pg_read_file('PG_VERSION')";
    let stand = Stand::start(&format!("{EVERYTHING}{UNREADABLE}forbid (principal, action == Action::\"escape\", resource);\n"), false, "")?;
    let places = [
        "select CALL",
        "select * from CALL",
        "select * from CALL as f(x) where x <> ''",
        "select 1 from plain, lateral CALL f",
        "select 1 from plain join CALL f on true",
        "select 1 where CALL <> ''",
        "select case when true then CALL end",
        "select coalesce(null, CALL)",
        "select array[CALL]",
        "select (CALL)::text collate \"C\"",
        "select row(CALL)",
        "select 1 order by CALL",
        "select 1 limit length(CALL)",
        "select count(*) filter (where CALL <> '') from plain",
        "select sum(1) over (partition by CALL) from plain",
        "select id from plain group by id, CALL having CALL <> ''",
        "values (CALL)",
        "with x as (select CALL) select 1 from x",
        "select exists (select CALL)",
        "select 1 union all select length(CALL)",
        "insert into sink values (CALL)",
        "insert into sink select CALL",
        "insert into plain values (1, 'x') on conflict (id) do update set note = CALL",
        "update plain set note = CALL where id = 1",
        "delete from plain where note = CALL",
        "delete from plain where id = 99 returning CALL",
        "merge into plain using (select 1 as id) s on plain.id = s.id when matched then update set note = CALL",
        "explain analyze select CALL",
        "copy (select CALL) to stdout",
        "create table made as select CALL as x",
        "create view made as select CALL as x",
        "select * into made from CALL",
        "declare c cursor with hold for select CALL",
        "prepare p as select CALL",
        "create table made (x text default CALL)",
        "create index on plain ((CALL))",
        "alter table plain alter note set default CALL",
        "select pg_catalog.pg_read_file('PG_VERSION')",
        "select \"pg_read_file\"('PG_VERSION')",
        "select U&\"pg_read\\005ffile\"('PG_VERSION')",
        "select pg_read_file(filename => 'PG_VERSION')",
        "select pg_read_binary_file('PG_VERSION')",
    ];
    let statements: Vec<String> = places.iter().map(|place| place.replace("CALL", CALL)).collect();
    stand.refuses(&statements.iter().map(String::as_str).collect::<Vec<_>>())?;
    // As a parameter of an EXECUTE, and by the extended protocol.
    let mut wire = stand.alice()?;
    ask(&mut wire, "prepare p (text) as select $1")?;
    let told = error(&ask(&mut wire, &format!("execute p ({CALL})"))?).context("it ran")?;
    ensure!(told.contains("C42501"), "{told}");
    wire.say(&[parse("", &format!("select {CALL}")), bind("", "", &[], 0), execute("", 0), sync()].concat())?;
    ensure!(error(&wire.hear_until_ready(1)?).is_some_and(|told| told.contains("C42501")));
    ensure!(!stand.target.log()?.contains(CALL), "it was sent: {}", stand.target.log()?);
    stand.untouched()
}

#[test]
fn sql_02_strings_end_where_the_server_ends_them() -> Result<()> {
    let stand = Stand::start(&format!("{EVERYTHING}forbid (principal, action == Action::\"destroy\", resource);\n"), false, "")?;
    // A second statement hidden by a quote that one lexer escapes and the other does not.
    stand.refuses(&[
        r"select '\'; drop table plain; --'",
        r"select E'\\'; drop table plain; --'",
        r"select E'\\\\'; drop table plain; --",
        r"select U&'\'; drop table plain; --'",
        "select $a$ $b$ $a$; drop table plain; -- $b$ $a$",
        "select 1 /* /* */ '*/; drop table plain; --*/'; drop table plain",
        "select 'a' -- '\n; drop table plain; --'",
        "select '\u{2019}'; drop table plain",
        r#"select 1 as "a\"; drop table plain; --""#,
    ])?;
    // Once the server was told so, the same letters are one string. Which it is follows the session, and what has a backslash then is not understood.
    let mut wire = stand.alice()?;
    let hidden = r"select '\'; drop table plain; --'";
    ensure!(kinds(&ask(&mut wire, "set standard_conforming_strings = off")?).contains('C'));
    for statement in [hidden, r"select '\\'; drop table plain; --'"] {
        ensure!(error(&ask(&mut wire, statement)?).is_some_and(|told| told.contains("not fully understood")), "{statement}");
    }
    ensure!(kinds(&ask(&mut wire, "select 'no backslash'")?) == "TDCZ");
    ask(&mut wire, "reset standard_conforming_strings")?;
    ensure!(error(&ask(&mut wire, hidden)?).is_some_and(|told| told.contains("C42501")));
    // An encoding in which a backslash may be half a character: nothing is understood.
    ensure!(kinds(&ask(&mut wire, "set client_encoding = sjis")?).contains('C'));
    wire.say(&message(b'Q', &[[&b"select '\x95\x5c'; drop table plain; --'"[..], b"\0"].concat()]))?;
    ensure!(error(&wire.hear_until_ready(1)?).is_some_and(|told| told.contains("refused")));
    stand.untouched()
}

#[test]
fn sql_03_nothing_a_caller_defined_runs_with_the_gateways_own_rights() -> Result<()> {
    let hold = "@id(\"hold\") @approvers(\"dba\")\nforbid (principal, action == Action::\"destroy\", resource) unless { context.approved };\n";
    let stand = Stand::start(&format!("{EVERYTHING}{UNREADABLE}{hold}"), false, "")?;
    for statement in ["delete from plain where id > says_it_is_immutable(0)", "delete from plain where says_it_is_immutable(1) = 1"] {
        let mut psql = stand.psql()?;
        psql.type_line(&format!("{statement};"))?;
        psql.wait_for("held for approval", PATIENCE)?;
        let shown = stand.gateway.json("bob", &["holds"])?.to_string();
        ensure!(shown.contains("no estimate: calls") && shown.contains("says_it_is_immutable"), "{shown}");
        ensure!(stand.target.sql(DATABASE, "select is_called from calls")? == "f\n", "planning ran it");
    }
    stand.untouched()
}

#[test]
fn sql_04_a_write_is_a_write_wherever_it_hides() -> Result<()> {
    let read_only = "permit (principal, action in [Action::\"connect\", Action::\"read\", Action::\"reveal\"], resource);\n";
    let stand = Stand::start(read_only, false, "")?;
    stand.refuses(&[
        "with gone as (delete from plain returning id) select * from gone",
        "with a as (with b as (insert into sink values ('x') returning note) select * from b) select * from a",
        "explain analyze delete from plain where id = 1",
        "explain (analyze, buffers off) update plain set note = 'x' where id = 1",
        "merge into plain using (select 1 as id) s on plain.id = s.id when matched then delete",
        "copy (delete from plain where id = 1 returning id) to stdout",
        "copy sink from stdin",
        "prepare p as delete from plain where id = $1",
        "do $$ begin delete from plain; end $$",
        "do $a$ begin execute $b$ delete from plain $b$; end $a$",
        "call deletes_too()",
        "select deletes()",
        "select 1 /* /* nested */ */; delete from plain where id = 1",
        "select * into made from plain",
        "select nextval('calls')",
        "select setval('calls', 7)",
        "select lo_from_bytea(0, 'x')",
        "select id from plain for update",
        "declare c cursor for select id from plain for update",
        "values (deletes())",
        "table plain; truncate plain",
    ])?;
    // Prepared by SQL and run by the protocol, and the other way round.
    let mut wire = stand.alice()?;
    wire.say(&[parse("d", "delete from plain where id = 1"), bind("", "d", &[], 0), execute("", 0), sync()].concat())?;
    ensure!(error(&wire.hear_until_ready(1)?).is_some_and(|told| told.contains("C42501")));
    ensure!(error(&ask(&mut wire, "execute d")?).is_some());
    ensure!(!stand.target.log()?.contains("delete from plain where id = 1"), "it was sent");
    stand.untouched()
}

#[test]
fn sql_05_no_other_way_of_asking_shows_what_is_masked() -> Result<()> {
    let stand = Stand::start(&format!("{EVERYTHING}{UNREADABLE}forbid (principal, action == Action::\"reveal\", resource);\n"), true, "")?;
    stand.shows_no_secret(&[
        query("copy people to stdout"),
        query("copy (select email from people) to stdout"),
        query("copy (select 'a' || email from people) to stdout (format binary)"),
        message(b'F', &[1i32.to_be_bytes().to_vec(), vec![0, 0, 0, 0, 0, 0]]),
        query("begin"),
        query("declare c cursor for select email from people"),
        query("fetch all from c"),
        query("commit"),
        query("do $$ begin raise notice '%', (select email from people limit 1); end $$"),
        query("do $$ begin raise exception '%', (select email from people limit 1); end $$"),
        query("prepare p as select email from people"),
        query("execute p"),
        [bind("", "p", &[], 1), execute("", 0), sync()].concat(),
        query("select reads_people(1)"),
        query("select email::int from people"),
        query("explain analyze select email from people where email = 'x'"),
        query("select query_to_xml('select email from people', true, true, '')"),
        query("table people"),
    ])
}

#[test]
fn sql_06_what_a_name_means_is_looked_up_when_it_counts() -> Result<()> {
    let stand = Stand::start(&format!("{EVERYTHING}{UNREADABLE}forbid (principal, action == Action::\"reveal\", resource);\n"), true, "")?;
    // Inside a function, a view, a trigger; under another name; behind a temporary table of the same name.
    stand.shows_no_secret(&[
        query("select reads_people(id) from plain"),
        query("select contact from contacts"),
        query("create view more_contacts as select contact as c from contacts"),
        query("select c from more_contacts"),
        query("insert into traps values (1) returning *"),
        query("create function mine() returns trigger language plpgsql as 'begin insert into plain select 9, email from people; return new; end'"),
        query("create trigger mine after insert on sink for each row execute function mine()"),
        query("insert into sink values ('x')"),
        query("select note from plain"),
        query("create temp table people (id int, email text)"),
        query("select email from public.people"),
        query("select email from people"),
        query("drop table pg_temp.people"),
        query("select email from people"),
    ])?;
    // The path changes between Parse and Bind, and between Bind and Execute.
    let mut wire = stand.alice()?;
    ask(&mut wire, "set search_path = other")?;
    wire.say(&[parse("s", "select email from people"), sync()].concat())?;
    wire.hear_until_ready(1)?;
    ask(&mut wire, "set search_path = public")?;
    wire.say(&[bind("", "s", &[], 0), execute("", 0), sync()].concat())?;
    let shown: String = wire.hear_until_ready(1)?.iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
    ensure!(!shown.contains("secret-"), "{shown}");
    wire.say(&[bind("p", "s", &[], 0), query("set search_path = other"), execute("p", 0), sync()].concat())?;
    let shown: String = wire.hear_until_ready(2)?.iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
    ensure!(!shown.contains("secret-"), "{shown}");
    // A renamed column keeps neither its label nor its secret in the open: what was named is what is protected, and what moved is not understood.
    let mut wire = stand.alice()?;
    ask(&mut wire, "alter table people rename column email to mail")?;
    let shown: String = ask(&mut wire, "select mail from people")?.iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
    ensure!(!shown.contains("secret-"), "{shown}");
    Ok(())
}

#[test]
fn sql_07_what_reaches_beyond_the_database_is_denied_apart_from_reading_and_writing() -> Result<()> {
    let rest = "permit (principal, action in [Action::\"connect\", Action::\"read\", Action::\"write\", Action::\"destroy\", Action::\"define\", \
                Action::\"export\", Action::\"execute\", Action::\"configure\", Action::\"privilege\"], resource);\n";
    let stand = Stand::start(rest, false, "")?;
    stand.target.sql(DATABASE, "create extension dblink")?;
    stand.refuses(&[
        "copy plain to program 'cat'",
        "copy sink from program 'id'",
        "copy plain to '/tmp/countersign-test'",
        "copy sink from '/etc/hostname'",
        "select dblink('dbname=shop', 'select 1')",
        "select * from dblink('dbname=shop', 'select 1') as t(a int)",
        "select dblink_connect('dbname=shop')",
        "select lo_import('/etc/hostname')",
        "select lo_export(1, '/tmp/countersign-test')",
        "load 'auto_explain'",
        "alter system set log_statement = 'none'",
        "select pg_read_file('/etc/hostname')",
        "select pg_ls_dir('/')",
        "select pg_stat_file('/etc/hostname')",
        "create extension file_fdw",
        "create server s foreign data wrapper dblink_fdw",
        "create subscription s connection 'host=x' publication p with (connect = false)",
        "create function sys(cstring) returns int as 'libc.so.6', 'system' language c strict",
        "begin read only; select pg_read_file('/etc/hostname'); commit",
    ])
}

#[test]
fn sql_09_errors_say_nothing_of_what_is_masked() -> Result<()> {
    let stand = Stand::start(&format!("{EVERYTHING}forbid (principal, action == Action::\"reveal\", resource);\n"), true, "")?;
    stand.target.sql(DATABASE, "create unique index on people (email)")?;
    stand.shows_no_secret(&[
        query("select email::int from people"),
        query("select email::regclass from people"),
        query("select 1 from people where email::date > now()"),
        query("select 1 / (case when email like 'secret-a%' then 0 else 1 end) from people"),
        query("insert into people values (3, 'x', 'secret-ada@example.org')"),
        query("update people set email = 'secret-ada@example.org' where id = 2"),
        [parse("", "select email::int from people where id = $1"), bind("", "", &[Some("1")], 0), execute("", 0), sync()].concat(),
        query("explain (analyze, verbose) select email from people order by email"),
        query("select substr(email, 1, 3), substr(email, 4) from people"),
    ])
}

#[test]
fn near_02_a_caller_who_stops_reading_costs_nobody_else_and_fills_no_memory() -> Result<()> {
    let stand = Stand::start(EVERYTHING, false, "")?;
    let mut bystander = stand.alice()?;
    let mut stalled = (0..4).map(|_| stand.alice()).collect::<Result<Vec<_>>>()?;
    for wire in &mut stalled {
        wire.say(&query("select repeat('x', 10000) from generate_series(1, 200000)"))?;
    }
    // Each of them has the target blocked on its socket: 2 GB are on their way, and go nowhere.
    let blocked = "(select count(*) from pg_stat_activity where wait_event = 'ClientWrite' and query like '%200000%') = 4";
    stand.target.wait_until_true(DATABASE, blocked)?;
    for _ in 0..20 {
        let began = Instant::now();
        ensure!(kinds(&ask(&mut bystander, "select 'undisturbed'")?) == "TDCZ");
        ensure!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    let status = fs::read_to_string(format!("/proc/{}/status", stand.gateway.pid()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = resident.trim().trim_end_matches(" kB").trim().parse()?;
    ensure!(kib < 512 << 10, "{kib} KiB are kept");
    Ok(())
}

/// What is ready in the same turn is one frame and one write, not one for each record.
#[test]
fn near_03_a_pipeline_is_recorded_in_fewer_frames_than_it_has_statements() -> Result<()> {
    let stand = Stand::start(EVERYTHING, false, "")?;
    let mut wire = stand.alice()?;
    let statements = 200;
    let pipeline: Vec<u8> =
        (0..statements).flat_map(|n| [parse("", &format!("select {n}")), bind("", "", &[], 0), execute("", 0)].concat()).collect();
    wire.say(&[pipeline, sync()].concat())?;
    wire.hear_until_ready(1)?;
    let listed = stand.gateway.json(stand.gateway.administrator(), &["sessions"])?;
    let id = listed.pointer("/sessions/0/id").and_then(Value::as_str).context("no session")?.parse()?;
    let data = stand.gateway.setup().file("data");
    let keys = std::sync::Arc::new(store::keys::open(&data)?);
    let recordings = store::Recordings::open(&data, keys, store::recordings::Settings::default())?;
    let frames = recordings.verify(id)?.frames;
    ensure!(frames < statements / 2, "{frames} frames for {statements} statements");
    Ok(())
}

#[test]
fn near_09_every_execution_is_recorded_with_its_statement_and_parameters() -> Result<()> {
    let stand = Stand::start(EVERYTHING, false, "record = \"full\"")?;
    let mut wire = stand.alice()?;
    let insert = "insert into plain values ($1::int, $2)";
    wire.say(&[parse("s", insert), describe('S', "s"), sync()].concat())?;
    wire.hear_until_ready(1)?;
    for (id, note) in [("10", "ten"), ("11", "eleven"), ("12", "twelve")] {
        wire.say(&[bind("", "s", &[Some(id), Some(note)], 0), execute("", 0), sync()].concat())?;
        wire.hear_until_ready(1)?;
    }
    wire.say(&[bind("", "s", &[Some("13"), None], 0), execute("", 0), flush(), sync()].concat())?;
    wire.hear_until_ready(1)?;
    ask(&mut wire, "prepare by_sql as select 'run by its name'")?;
    ask(&mut wire, "execute by_sql")?;
    let rows = [message(b'd', &[b"copied row\n".to_vec()]), message(b'c', &[])].concat();
    wire.say(&[query("copy sink from stdin"), rows].concat())?;
    wire.hear_until_ready(1)?;
    wire.say(&message(b'X', &[]))?;
    wire.ends()?;
    let listed = stand.gateway.json(stand.gateway.administrator(), &["sessions"])?;
    let id = listed.pointer("/sessions/0/id").and_then(Value::as_str).context("no session")?;
    let told = stand.gateway.run(stand.gateway.administrator(), &["show", id])?;
    ensure!(told.matches(insert).count() == 4, "{told}");
    for word in ["ten", "eleven", "twelve", "13", "execute by_sql", "run by its name", "copy sink from stdin", "copied row"] {
        ensure!(told.contains(word), "{word} is not in {told}");
    }
    Ok(())
}

#[test]
fn near_12_without_a_policy_nobody_may_do_anything() -> Result<()> {
    let stand = Stand::start("// Nothing is permitted.\n", false, "")?;
    let refused = stand.alice().err().context("alice was let in")?.to_string();
    // Not even that the connection exists is told.
    ensure!(refused.contains("no connection") && !refused.contains("did you mean"), "{refused}");
    let administrator = stand.gateway.administrator();
    ensure!(!stand.gateway.output(administrator, &["identity", "add", "carol"], "a password of carol")?.status.success());
    let listed = stand.gateway.json("alice", &["connections"])?;
    ensure!(listed.pointer("/connections/0").is_none(), "{listed}");
    Ok(())
}

/// REC-02: what a statement writes to the terminal of whoever reads it.
#[test]
fn rec_02_nothing_that_was_recorded_moves_the_readers_cursor() -> Result<()> {
    let stand = Stand::start(EVERYTHING, false, "record = \"full\"")?;
    let mut wire = stand.alice()?;
    let nasty = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\u{8}";
    ask(&mut wire, &format!("select '{nasty}' /* {nasty} */ as \"{nasty}\""))?;
    wire.say(&[parse("", "select $1::text"), bind("", "", &[Some(nasty)], 0), execute("", 0), sync()].concat())?;
    wire.hear_until_ready(1)?;
    ask(&mut wire, &format!("select * from \"{nasty}\""))?;
    wire.say(&message(b'X', &[]))?;
    wire.ends()?;
    let listed = stand.gateway.json(stand.gateway.administrator(), &["sessions"])?;
    let id = listed.pointer("/sessions/0/id").and_then(Value::as_str).context("no session")?;
    for command in [&["show", id][..], &["replay", id, "--speed", "1000"], &["search", "select"], &["sessions"]] {
        let told = stand.gateway.run(stand.gateway.administrator(), command)?;
        let bad = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
        ensure!(!told.contains(bad), "{command:?}: {}", told.escape_debug());
    }
    Ok(())
}
