//! Growth: what a query and a login cost when there is much of everything, beside the same gateway with little of it. And how long a
//! search takes over many recorded statements.

use std::{fmt::Write, process::Command, time::Instant};

use super::{
    gateway::{Connection, Gateway},
    idle::Crowd,
    lanes::{Lane, Transport},
    measure::{Bench, Case, Values},
    pgbench::{self, Load, Script},
    process::{peak_bytes, resident_bytes},
    stand::{ROLE, Size, Stand, fill},
};
use crate::{Outcome, command::capture};

pub(super) const SECTION: &str = "growth";
pub(super) const SMALL: &str = "small";
pub(super) const GROWN: &str = "grown";

const POLICIES: u32 = 10_000;
const STORED_SESSIONS: u32 = 10_000;
const RELATIONS: u32 = 20_000;
/// What is measured of snapshots, in which database, and how many tables that has: four relations a table, with its primary key and its out-of-line storage.
const SNAPSHOTS: &[(&str, &str, u32)] = &[("100000 relations", "large", 25_000), ("100000 tables", "larger", 100_000)];
const NEIGHBOURS: u32 = 5_000;
const RECORDED: f64 = 10_000_000.0;

pub(super) const SIZE: Size = Size { scale: SCALE, stream_rows: 1, max_connections: NEIGHBOURS + 200, profile: "release" };
const SCALE: u32 = 5;
const WIDE: &str = "wide";
const SECONDS: u32 = 4;
const SECONDS_OF_RECORDING: u32 = 20;
const CLIENTS: u32 = 16;
/// Each search is timed so often.
const SEARCHES: usize = 20;

/// What people look for.
const QUERIES: &[(&str, &[&str])] = &[
    ("a word", &["abalance"]),
    ("words and who", &["update", "pgbench_tellers", "identity:alice"]),
    ("a table and an action", &["table:public.pgbench_history", "action:write"]),
    ("nothing that is there", &["nonesuch"]),
    ("a literal", &["4711"]),
    ("what was refused", &["decision:refused"]),
];

const STATEMENTS: &[Connection] = &[Connection::new("statements", "statements", false)];

/// Everything that may grow.
pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    policies(bench)?;
    stored_sessions(bench)?;
    relations(bench)?;
    SNAPSHOTS.iter().try_for_each(|(size, database, tables)| snapshot(bench, size, database, *tables))?;
    neighbours(bench)?;
    search(bench)
}

fn policies(bench: &mut Bench) -> Outcome<()> {
    let case = case(&format!("{POLICIES} policies"));
    if !bench.wants(&case) {
        return Ok(());
    }
    let mut grown = gateway(&bench.stand, "policies")?;
    grown.write("policy/many.cedar", &many_policies())?;
    grown.open(bench.stand.target.port(), STATEMENTS)?;
    compare(bench, &case, &grown, "statements")
}

/// As a large organisation has them: for each of its teams what it may read and write, half of them in production, where the caller is, too.
fn many_policies() -> String {
    let mut text = String::new();
    for number in 0..POLICIES {
        let environment = if number % 2 == 0 { "production" } else { "staging" };
        let _ = writeln!(
            text,
            "@id(\"team-{number}\")\npermit (principal in Group::\"team-{number}\", action in [Action::\"read\", Action::\"write\"], resource in Environment::\"{environment}\");"
        );
    }
    text
}

/// Made by really opening them.
fn stored_sessions(bench: &mut Bench) -> Outcome<()> {
    let case = case(&format!("{STORED_SESSIONS} stored sessions"));
    if !bench.wants(&case) {
        return Ok(());
    }
    let mut grown = gateway(&bench.stand, "sessions")?;
    grown.open(bench.stand.target.port(), STATEMENTS)?;
    let lane = Lane::through(GROWN, &grown, "statements", Transport::Plain)?;
    let load = Load { reconnect: true, ..Load::new(Script::Builtin("select-only"), "simple", 4, SECONDS) };
    let mut stored = 0.0;
    while stored < f64::from(STORED_SESSIONS) {
        stored += pgbench::run(&bench.stand.pgbench(), &lane, &load)?.transactions;
    }
    compare(bench, &case, &grown, "statements")
}

/// Another database of the same target, with pgbench's tables and many more.
fn relations(bench: &mut Bench) -> Outcome<()> {
    let case = case(&format!("{RELATIONS} relations"));
    if !bench.wants(&case) {
        return Ok(());
    }
    let target = &bench.stand.target;
    target.sql("postgres", &format!("CREATE DATABASE {WIDE} OWNER {ROLE}"))?;
    fill(target, WIDE, SCALE)?;
    let columns = "id bigint, name text, created_at timestamptz, amount numeric, note text";
    let make = format!("EXECUTE format('CREATE TABLE relation_%s ({columns})', i); EXECUTE format('ALTER TABLE relation_%s OWNER TO {ROLE}', i)");
    target.sql(WIDE, &format!("DO $$ BEGIN FOR i IN 1..{RELATIONS} LOOP {make}; END LOOP; END $$"))?;
    let mut grown = gateway(&bench.stand, "relations")?;
    grown.open(target.port(), &[Connection { database: WIDE, ..Connection::new(WIDE, "statements", false) }])?;
    compare(bench, &case, &grown, WIDE)
}

/// What reading the catalog of a large database takes: from connecting until the first session's first statement is answered, and of memory at the most.
fn snapshot(bench: &mut Bench, size: &str, database: &'static str, tables: u32) -> Outcome<()> {
    let case = case(&format!("snapshot of {size}"));
    if !bench.wants(&case) {
        return Ok(());
    }
    let target = &bench.stand.target;
    target.sql("postgres", &format!("CREATE DATABASE {database} OWNER {ROLE}"))?;
    let columns = "id bigint PRIMARY KEY, name text, created_at timestamptz DEFAULT now(), amount numeric, note text";
    let make = format!("EXECUTE format('CREATE TABLE table_%s ({columns})', i)");
    let comment = "EXECUTE format('COMMENT ON COLUMN table_%s.name IS %L', i, 'e-mail address')";
    let loops = format!("FOR i IN 1..{tables} LOOP {make}; {comment}; IF i % 500 = 0 THEN COMMIT; END IF; END LOOP");
    target.sql(database, &format!("DO $$ BEGIN {loops}; END $$"))?;
    target.sql(database, &format!("ALTER SCHEMA public OWNER TO {ROLE}"))?;
    target.sql(database, "VACUUM ANALYZE")?;
    let mut grown = gateway(&bench.stand, database)?;
    grown.open(target.port(), &[Connection { database, ..Connection::new(database, "statements", false) }])?;
    bench.results.forget(SECTION, &case.name, case.transport.name());
    for _ in 0..bench.rounds {
        grown.serve()?;
        for (measure, value) in one_snapshot(&bench.stand, &grown, database)? {
            bench.results.add(case.key(measure, GROWN), value);
        }
    }
    bench.keep(&case)
}

fn one_snapshot(stand: &Stand, fresh: &Gateway, connection: &'static str) -> Outcome<Values> {
    let (pid, lane) = (fresh.pid()?, Lane::through(GROWN, fresh, connection, Transport::Plain)?);
    let before = resident_bytes(pid)?;
    let mut psql = Command::new(stand.target.program("psql"));
    psql.args(["-XqAt", "-c", "SELECT 1"]).arg(lane.conninfo()).env("PGPASSWORD", &lane.password);
    let began = Instant::now();
    capture(&mut psql)?;
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    Ok(vec![("snapshot_ms", took_ms), ("snapshot_mib", (peak_bytes(pid)? - before) / 1_048_576.0)])
}

/// Sessions of the same gateway that have done something, and now do nothing.
fn neighbours(bench: &mut Bench) -> Outcome<()> {
    let case = case(&format!("{NEIGHBOURS} idle neighbours"));
    if !bench.wants(&case) {
        return Ok(());
    }
    let mut grown = gateway(&bench.stand, "neighbours")?;
    grown.open(bench.stand.target.port(), STATEMENTS)?;
    let lane = Lane::through(GROWN, &grown, "statements", Transport::Plain)?;
    let crowd = Crowd::gather(&bench.stand, &lane, NEIGHBOURS)?;
    compare(bench, &case, &grown, "statements")?;
    crowd.leave(&bench.stand)
}

fn search(bench: &mut Bench) -> Outcome<()> {
    let cases: Vec<_> =
        QUERIES.iter().map(|(name, query)| (case(&format!("search for {name}")), query)).filter(|(case, _)| bench.wants(case)).collect();
    if cases.is_empty() {
        return Ok(());
    }
    let mut grown = gateway(&bench.stand, "search")?;
    grown.open(bench.stand.target.port(), STATEMENTS)?;
    let lane = Lane::through(GROWN, &grown, "statements", Transport::Plain)?;
    let mut recorded = 0.0;
    for (script, statements) in [("select-only", 1.0), ("tpcb-like", 7.0)].into_iter().cycle() {
        let load = Load::new(Script::Builtin(script), "prepared", CLIENTS, SECONDS_OF_RECORDING);
        recorded += pgbench::run(&bench.stand.pgbench(), &lane, &load)?.transactions * statements;
        if recorded >= RECORDED {
            break;
        }
    }
    println!("\n{recorded:.0} statements are recorded and can be searched");
    for (case, query) in cases {
        bench.results.forget(SECTION, &case.name, case.transport.name());
        for _ in 0..SEARCHES {
            let began = Instant::now();
            grown.asks(&[&["search"], *query].concat())?;
            bench.results.add(case.key("search_ms", GROWN), began.elapsed().as_secs_f64() * 1e3);
        }
        bench.keep(&case)?;
    }
    Ok(())
}

fn case(name: &str) -> Case {
    Case::new(SECTION, name, Transport::Plain)
}

fn gateway(stand: &Stand, name: &str) -> Outcome<Gateway> {
    Gateway::init(&stand.programs.countersign, &stand.folder().join(name))
}

/// A query's and a login's CPU time through the stand's own gateway, and through one that has grown.
fn compare(bench: &mut Bench, case: &Case, grown: &Gateway, connection: &str) -> Outcome<()> {
    let lanes =
        [Lane::through(SMALL, &bench.stand.gateway, "statements", Transport::Plain)?, Lane::through(GROWN, grown, connection, Transport::Plain)?];
    bench.case(case, &lanes, |stand, lane| {
        let query = Load::new(Script::Builtin("select-only"), "prepared", CLIENTS, SECONDS);
        let login = Load { reconnect: true, ..Load::new(Script::Builtin("select-only"), "simple", 4, SECONDS) };
        let run = |load: &Load<'_>| pgbench::run(&stand.pgbench(), lane, load).map(|done| done.cpu_us);
        Ok::<Values, String>(vec![("cpu_us", run(&query)?), ("login_cpu_us", run(&login)?)])
    })
}
