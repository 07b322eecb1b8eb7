//! Doubt refuses: the table of the design, row by row, with the real gateway in front of a real server.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::{Login, Running},
    gateway::{CONNECTION, Gateway, Setup},
    lock::Lock,
    postgres::{DATABASE, PATIENCE, Postgres},
    wire::{Wire, bind, execute, parse, query, sync},
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

/// A target with a table `t` of three rows and a gateway with alice (engineers), sam (support-leads), bob and barbara (dba).
struct Stand {
    target: Postgres,
    gateway: Gateway,
}

impl Stand {
    /// With the starter policies, and `change` to the files before they are served.
    fn start(change: impl FnOnce(&Setup) -> Result<()>) -> Result<Self> {
        Self::of(Setup::init()?, change)
    }

    fn of(setup: Setup, change: impl FnOnce(&Setup) -> Result<()>) -> Result<Self> {
        let target = Postgres::start()?;
        target.sql(DATABASE, "create table t (id int primary key); insert into t values (1), (2), (3); alter table t owner to app")?;
        setup.target(&target, DATABASE, "record = \"full\"")?;
        change(&setup)?;
        let mut gateway = setup.serve()?;
        for (name, group) in [("alice", "engineers"), ("sam", "support-leads"), ("bob", "dba"), ("barbara", "dba")] {
            gateway.add_user(name, &[group])?;
        }
        Ok(Self { target, gateway })
    }

    fn configured(more: &str) -> Result<Self> {
        Self::start(|setup| configure(setup, more))
    }

    fn wire(&self, who: &str) -> Result<Wire> {
        Wire::open(&self.gateway.login(who)?.without_tls(), &[])
    }

    fn psql(&self, who: &str) -> Result<Running> {
        self.gateway.login(who)?.psql(&self.target.program("psql"))?.args(&["-At", "-v", "VERBOSITY=verbose"]).start()
    }

    /// Everything psql prints for one statement, errors included; NULL is shown as `null`.
    fn said(&self, who: &str, statement: &str) -> Result<String> {
        let psql = self.gateway.login(who)?.psql(&self.target.program("psql"))?;
        let output = psql.args(&["-At", "-P", "null=null", "-v", "VERBOSITY=verbose", "-c", statement]).run()?;
        Ok(String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?)
    }

    fn rows(&self) -> Result<String> {
        Ok(self.target.sql(DATABASE, "select string_agg(id::text, ',' order by id) from t")?.trim().to_owned())
    }

    /// Nothing of the gateway's callers is connected to the target any more.
    fn wait_until_gone(&self, marker: &str) -> Result<()> {
        let gone = format!("not exists (select from pg_stat_activity where usename = 'app' and query like '%{marker}%')");
        self.target.wait_until_true(DATABASE, &gone)
    }

    fn version(&self) -> Result<String> {
        let status = self.gateway.json(self.gateway.administrator(), &["status"])?;
        status.pointer("/version/hash").and_then(Value::as_str).map(str::to_owned).context("no version")
    }

    /// Whose sessions are listed as live.
    fn live(&self) -> Result<Vec<String>> {
        let listed = self.gateway.json(self.gateway.administrator(), &["sessions", "--live"])?;
        let sessions = listed.get("sessions").and_then(Value::as_array).context("no sessions")?;
        Ok(sessions.iter().filter_map(|session| session.get("subject").and_then(Value::as_str)).map(str::to_owned).collect())
    }

    /// How the newest session of somebody went, as `show` tells it.
    fn story(&self, who: &str) -> Result<String> {
        let administrator = self.gateway.administrator();
        let sessions = self.gateway.json(administrator, &["sessions", "--identity", who])?;
        let id = sessions.pointer("/sessions/0/id").and_then(Value::as_str).context("no session")?;
        self.gateway.run(administrator, &["show", id])
    }
}

/// Adds lines to `countersign.toml`.
fn configure(setup: &Setup, more: &str) -> Result<()> {
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write("countersign.toml", &format!("{before}{more}\n"))
}

/// Serves these policies and no others, which are not taken again when they change.
fn only_policy(setup: &Setup, text: &str) -> Result<()> {
    fs::remove_dir_all(setup.file("policy"))?;
    setup.write("policy/all.cedar", text)?;
    configure(setup, "[policy]\nwatch = false")
}

/// Runs a query on a wire and tells the types of the answer and the fields of its first error.
fn ask(wire: &mut Wire, statement: &str) -> Result<(String, String)> {
    wire.say(&query(statement))?;
    let heard = wire.hear_until_ready(1)?;
    let error = heard.iter().find(|message| message.kind == 'E').map(|error| fields(&error.body)).unwrap_or_default();
    Ok((heard.iter().map(|message| message.kind).collect(), error))
}

fn fields(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace('\0', "\n")
}

/// The last error before the server closes the connection, which it must.
fn last_words(wire: &mut Wire) -> Result<String> {
    let mut told = String::new();
    while let Ok(heard) = wire.hear() {
        if heard.kind == 'E' {
            told = fields(&heard.body);
        }
    }
    ensure!(wire.ends()?, "still connected after: {told}");
    Ok(told)
}

fn hold_of(psql: &mut Running) -> Result<String> {
    let notice = psql.wait_for("held for approval", PATIENCE)?;
    let word = notice.rsplit(|c: char| !c.is_alphanumeric() && c != '_').find(|word| word.starts_with("h_"));
    Ok(word.with_context(|| format!("no id in {notice}"))?.to_owned())
}

fn until<T>(what: &str, mut found: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found()? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "never came: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn malformed_bytes_and_passed_limits_are_refused_and_end_the_session() -> Result<()> {
    let stand = Stand::configured("[limits]\nmax_statement_bytes = 4096\nmax_bind_bytes = 4096\nmax_held_bytes = 4096\n")?;
    let mut bystander = stand.wire("bob")?;
    let long = format!("insert into t values (4) /* {} */", "x".repeat(5000));
    let bound = [parse("", "insert into t select length($1::text)"), bind("", "", &[Some(&"x".repeat(5000))], 0), execute("", 0), sync()].concat();
    for (bytes, code, words) in [
        (vec![b'Q', 0, 0, 0, 0], "C08P01", "invalid message length"),
        (vec![b'~', 0, 0, 0, 4], "C08P01", "invalid frontend message type"),
        (vec![b'Q', 0, 0, 0, 5, b'x'], "C08P01", "invalid message format"),
        (vec![b'Q', 0x7f, 0xff, 0xff, 0xff], "C54000", "max_statement_bytes"),
        (query(&long), "C54000", "max_statement_bytes"),
        ([parse("", &long), sync()].concat(), "C54000", "max_statement_bytes"),
        (bound, "C54000", "max_bind_bytes"),
    ] {
        let mut wire = stand.wire("alice")?;
        wire.say(&bytes)?;
        let told = last_words(&mut wire)?;
        ensure!(told.starts_with("SFATAL") && told.contains(code) && told.contains(words), "{bytes:?}: {told}");
    }
    // What follows a held operation waits in a queue, and that has a limit, too.
    let mut wire = stand.wire("alice")?;
    wire.say(&query("drop table t"))?;
    while wire.hear()?.kind != 'N' {}
    wire.say(&[query("select 1"), query("select 2")].concat().repeat(500))?;
    let told = last_words(&mut wire)?;
    ensure!(told.starts_with("SFATAL") && told.contains("C54000"), "{told}");
    ensure!(stand.rows()? == "1,2,3" && !stand.target.log()?.contains("drop table t"), "something of it ran");
    ensure!(ask(&mut bystander, "select 'undisturbed'")?.0 == "TDCZ", "the bystander was disturbed");
    Ok(())
}

#[test]
fn one_session_too_many_is_refused() -> Result<()> {
    let stand = Stand::configured("[limits]\nmax_sessions_per_identity = 2\n")?;
    let mut open = [stand.wire("alice")?, stand.wire("alice")?];
    let refused = stand.wire("alice").err().context("a third session was let in")?.to_string();
    ensure!(refused.contains("53300") && refused.contains("as many sessions as one identity may have"), "{refused}");
    stand.wire("bob")?;
    for wire in &mut open {
        ensure!(ask(wire, "select 1")?.0 == "TDCZ");
    }
    Ok(())
}

#[test]
fn what_is_not_understood_is_denied_unless_it_is_permitted_by_name() -> Result<()> {
    const EVERYTHING: &str = "permit (principal, action, resource);\n";
    const HIDDEN: &str = "do $$ begin execute 'delete from ' || 't where id = 3'; end $$";
    let stand = Stand::start(|setup| only_policy(setup, EVERYTHING))?;
    let told = stand.said("alice", HIDDEN)?;
    ensure!(told.contains("42501") && told.contains("not fully understood"), "{told}");
    ensure!(stand.rows()? == "1,2,3" && !stand.target.log()?.contains("execute 'delete"), "it reached the target");
    let setup = stand.gateway.setup();
    setup.write("policy/all.cedar", &format!("{EVERYTHING}permit (principal, action == Action::\"unreadable\", resource);\n"))?;
    stand.gateway.run(stand.gateway.administrator(), &["apply", &setup.file("").to_string_lossy()])?;
    let told = stand.said("alice", HIDDEN)?;
    ensure!(told == "DO\n" && stand.rows()? == "1,2", "{told}");
    Ok(())
}

#[test]
fn a_policy_that_errs_denies_and_is_named() -> Result<()> {
    // Overflows for every statement: its sum is no Long. Cedar skips a policy that errs; skipped forbids would permit.
    let overflow = "context.statement.risk + 9223372036854775807 > 0";
    for odd in [
        format!("@id(\"odd\") forbid (principal, action == Action::\"write\", resource) when {{ {overflow} }};"),
        format!(
            "@id(\"odd\") @approvers(\"dba\") forbid (principal, action == Action::\"write\", resource) when {{ {overflow} }} unless {{ context.approved }};"
        ),
    ] {
        let stand = Stand::start(|setup| only_policy(setup, &format!("permit (principal, action, resource);\n{odd}\n")))?;
        let told = stand.said("alice", "insert into t values (4)")?;
        ensure!(told.contains("42501") && told.contains("odd") && told.contains("failed while it was evaluated"), "{odd}: {told}");
        ensure!(stand.rows()? == "1,2,3", "{odd}: it ran");
        ensure!(stand.said("alice", "select 'others are not touched'")? == "others are not touched\n");
    }
    Ok(())
}

/// REC-01, NEAR-10. Nobody of these does anything: what ends them is that somebody else's recording could not be written.
struct Idle {
    wire: Wire,
    running: Running,
}

impl Idle {
    /// bob, who does nothing, and barbara, for whom the target runs something long.
    fn on(stand: &Stand) -> Result<Self> {
        let wire = stand.wire("bob")?;
        let mut running = stand.psql("barbara")?;
        running.type_line("select pg_sleep(600);")?;
        stand.target.wait_until_logged("pg_sleep(600)")?;
        Ok(Self { wire, running })
    }

    /// Both are told, and what ran at the target is cancelled.
    fn end(mut self, stand: &Stand) -> Result<()> {
        let told = last_words(&mut self.wire)?;
        ensure!(told.starts_with("SFATAL") && told.contains("C57P01") && told.contains("unrecorded"), "{told}");
        let told = self.running.wait_for("FATAL", PATIENCE)?;
        ensure!(told.contains("57P01") && told.contains("unrecorded"), "{told}");
        stand.wait_until_gone("pg_sleep(600)")?;
        stand.target.wait_until_logged("canceling statement due to user request")
    }
}

/// No session begins, and whoever asks is told why.
fn none_begins(stand: &Stand) -> Result<()> {
    none_begins_for(stand, &["cannot record"])
}

fn none_begins_for(stand: &Stand, reasons: &[&str]) -> Result<()> {
    let refused = stand.wire("alice").err().context("a session was let in that cannot be recorded")?.to_string();
    ensure!(refused.contains("57P03") && reasons.iter().any(|reason| refused.contains(reason)), "{refused}\n{}", stand.gateway.printed());
    let health = stand.gateway.health()?;
    ensure!(health.starts_with("HTTP/1.1 503") && health.contains("recordings cannot be written"), "{health}");
    let status = stand.gateway.run(stand.gateway.administrator(), &["status"])?;
    ensure!(status.contains("recordings cannot be written"), "{status}");
    let log = stand.gateway.printed();
    ensure!(log.contains("a recording cannot be written: live sessions were ended, new ones are refused"), "{log}");
    Ok(())
}

/// Sessions begin again by themselves.
fn begin_again(stand: &Stand) -> Result<Wire> {
    let again = until("a session that can be recorded again", || Ok(stand.wire("alice").ok()))?;
    until("the end of what ended meanwhile", || Ok((stand.live()? == ["alice"]).then_some(())))?;
    let health = stand.gateway.health()?;
    ensure!(health.starts_with("HTTP/1.1 200") && stand.gateway.printed().contains("recordings can be written again"), "{health}");
    Ok(again)
}

#[test]
fn the_first_recording_that_cannot_be_written_ends_all_sessions_and_new_ones_are_refused() -> Result<()> {
    let stand = Stand::configured("[recording]\nsegment_bytes = 4096\n")?;
    let idle = Idle::on(&stand)?;
    let mut live = stand.wire("alice")?;
    ask(&mut live, "insert into t values (4)")?;
    let (recordings, away) = (stand.gateway.setup().file("data/recordings"), stand.gateway.setup().file("data/away"));
    fs::rename(&recordings, &away)?;
    fs::write(&recordings, "in the way")?;
    // The segment that is open can still be written, the next one cannot be made: within it, each answer was recorded; then comes the end.
    let mut rows_at_least = 3 + 1;
    live.say(&(5..2000).flat_map(|id| query(&format!("insert into t values ({id})"))).collect::<Vec<_>>())?;
    let mut told = String::new();
    while let Ok(heard) = live.hear() {
        rows_at_least += usize::from(heard.kind == 'C');
        if heard.kind == 'E' {
            told = fields(&heard.body);
        }
    }
    ensure!(live.ends()? && told.starts_with("SFATAL") && told.contains("record"), "{rows_at_least} rows, then {told}");
    stand.wait_until_gone("insert")?;
    idle.end(&stand)?;
    none_begins(&stand)?;
    fs::remove_file(&recordings)?;
    fs::rename(&away, &recordings)?;
    begin_again(&stand)?;
    // Whatever ran is in the recording, also what was never answered.
    let ran = stand.rows()?;
    let administrator = stand.gateway.administrator();
    let sessions = stand.gateway.json(administrator, &["sessions", "--identity", "alice"])?;
    let mut told = String::new();
    for session in sessions.get("sessions").and_then(Value::as_array).context("no sessions")? {
        told += &stand.gateway.run(administrator, &["show", session.get("id").and_then(Value::as_str).context("no id")?])?;
    }
    let lost: Vec<_> = ran.split(',').skip(3).filter(|id| !told.contains(&format!("insert into t values ({id})\n"))).collect();
    ensure!(lost.is_empty() && ran.split(',').count() >= rows_at_least, "not recorded: {lost:?} of {ran}");
    Ok(())
}

/// REC-02: the disk is full, for as long as it is.
#[test]
fn a_disk_that_takes_no_more_ends_all_sessions_and_not_the_gateway() -> Result<()> {
    let stand = Stand::configured("")?;
    let idle = Idle::on(&stand)?;
    let mut live = stand.wire("alice")?;
    ask(&mut live, "insert into t values (4)")?;
    let gateway = Pid::from_raw(i32::try_from(stand.gateway.pid())?).context("no process id")?;
    let before = getrlimit(Resource::Fsize);
    prlimit(Some(gateway), Resource::Fsize, Rlimit { current: Some(8192), maximum: before.maximum })?;
    live.say(&(5..2000).flat_map(|id| query(&format!("select '{id}'"))).collect::<Vec<_>>())?;
    let told = last_words(&mut live)?;
    ensure!(told.starts_with("SFATAL") && told.contains("C58030") && told.contains("recorded"), "{told}");
    idle.end(&stand)?;
    // The state is in files that take no more either, which may be found first.
    none_begins_for(&stand, &["cannot record", "cannot reach its state store"])?;
    prlimit(Some(gateway), Resource::Fsize, before)?;
    begin_again(&stand)?;
    let said = stand.said("alice", "select 'again'")?;
    ensure!(said == "again\n", "{said}{}", stand.gateway.printed());
    ensure!(stand.story("alice")?.contains("select 'again'"));
    Ok(())
}

#[test]
fn without_the_state_store_nothing_begins_or_is_released_and_what_lives_ends_after_the_grace() -> Result<()> {
    // In files: on a server that is `state_store.rs`.
    let stand = Stand::of(Setup::init_in_files()?, |setup| configure(setup, "[limits]\nrevocation_grace_ms = 4000\n"))?;
    let mut idle = stand.wire("bob")?;
    let mut running = stand.psql("barbara")?;
    running.type_line("select pg_sleep(600);")?;
    stand.target.wait_until_logged("pg_sleep(600)")?;
    let mut held = stand.psql("alice")?;
    held.type_line("drop table t;")?;
    let hold = hold_of(&mut held)?;

    let (lock, locked_at) = (Lock::state(&stand.gateway)?, Instant::now());
    ensure!(ask(&mut idle, "select 'within the grace'")?.0 == "TDCZ", "ended at once");
    let signed = stand.gateway.output("bob", &["approve", &hold, "--yes"], "")?;
    ensure!(!signed.status.success(), "it was signed without a state store");
    for psql in [&mut running, &mut held] {
        let told = psql.wait_for("FATAL", PATIENCE)?;
        ensure!(told.contains("57P01") && told.contains("state store"), "{told}");
    }
    ensure!(locked_at.elapsed() >= Duration::from_secs(4), "ended before the grace was over");
    let told = last_words(&mut idle)?;
    ensure!(told.contains("C57P01") && told.contains("state store"), "{told}");
    stand.wait_until_gone("pg_sleep(600)")?;
    let refused = stand.wire("sam").err().context("a session began without a state store")?.to_string();
    ensure!(refused.contains("57P03") && refused.contains("state store"), "{refused}");

    drop(lock);
    let mut again = until("a session after the state store came back", || Ok(stand.wire("sam").ok()))?;
    ensure!(ask(&mut again, "select count(*) from t")?.0 == "TDCZ");
    // What ended without the state store is listed as ended once it is back.
    until("the end of what ended meanwhile", || Ok((stand.live()? == ["sam"]).then_some(())))?;
    let late = stand.gateway.output("bob", &["approve", &hold, "--yes"], "")?;
    ensure!(!late.status.success(), "it was signed after its caller had been sent away");
    ensure!(stand.rows()? == "1,2,3" && !stand.target.log()?.contains("drop table t"), "it ran");
    Ok(())
}

#[test]
fn an_approval_that_comes_too_late_finds_nothing_to_run() -> Result<()> {
    let stand = Stand::configured("[holds]\nexpire_after_s = 1\n")?;
    let mut psql = stand.psql("alice")?;
    psql.type_line("drop table t;")?;
    let hold = hold_of(&mut psql)?;
    let told = psql.wait_for("ERROR", PATIENCE)?;
    ensure!(told.contains("nobody approved it in time"), "{told}");
    let late = stand.gateway.output("bob", &["approve", &hold, "--yes"], "")?;
    ensure!(!late.status.success(), "a signature was taken too late");
    psql.type_line("select 'goes on';")?;
    psql.wait_for("goes on", PATIENCE)?;
    ensure!(stand.rows()? == "1,2,3" && !stand.target.log()?.contains("drop table t"), "it ran");
    Ok(())
}

#[test]
fn without_its_caller_or_its_approvers_nothing_that_was_held_ever_runs() -> Result<()> {
    let stand = Stand::start(|setup| {
        let text = fs::read_to_string(setup.file("policy/holds.cedar"))?;
        setup.write("policy/holds.cedar", &text.replace("@count(\"1\")", "@count(\"2\")"))
    })?;
    let administrator = stand.gateway.administrator();
    // The caller goes while one signature is missing.
    let mut psql = stand.psql("alice")?;
    psql.type_line("drop table t;")?;
    let left = hold_of(&mut psql)?;
    stand.gateway.run("bob", &["approve", &left, "--yes"])?;
    drop(psql);
    stand.target.wait_until_true(DATABASE, "not exists (select from pg_stat_activity where usename = 'app')")?;
    let late = stand.gateway.output("barbara", &["approve", &left, "--yes"], "")?;
    ensure!(!late.status.success(), "a signature was taken after the caller had left");
    // An approver who signed goes before the other signs.
    let mut psql = stand.psql("alice")?;
    psql.type_line("drop table t;")?;
    let hold = hold_of(&mut psql)?;
    stand.gateway.run("bob", &["approve", &hold, "--yes"])?;
    stand.gateway.run(administrator, &["identity", "revoke", "bob"])?;
    stand.gateway.output("barbara", &["approve", &hold, "--yes"], "")?;
    let told = psql.wait_for("ERROR", PATIENCE)?;
    ensure!(told.contains("void"), "{told}");
    // Of the two that are needed, one is left: nobody could ever sign.
    psql.type_line("drop table t;")?;
    let told = psql.wait_for("ERROR", PATIENCE)?;
    ensure!(told.contains("nobody who could give it exists"), "{told}");
    ensure!(psql.finish(PATIENCE)?.0.success() && stand.rows()? == "1,2,3" && !stand.target.log()?.contains("drop table t"), "it ran");
    Ok(())
}

/// Classified: an email, a number no mask can show, and a text that may be too long for one.
fn classified() -> Result<Stand> {
    let stand = Stand::start(|setup| {
        setup.classes(&[
            ("email", "keep-domain", "public.c.email"),
            ("salary", "keep-domain", "public.c.salary"),
            ("note", "keep-last-four", "public.c.note"),
        ])
    })?;
    stand.target.sql(
        DATABASE,
        "create table c (id int primary key, name text, email text, salary int, note text);
         insert into c values (1, 'Ada', 'ada@example.org', 12345678, 'note 12345678'), (2, 'Grace', 'grace@example.net', 87654321, repeat('7', 70000));
         create view people as select id, email as contact from c;
         create table plain (name text); insert into plain values ('in the open');
         alter table c owner to app; alter view people owner to app; alter table plain owner to app",
    )?;
    Ok(stand)
}

#[test]
fn a_value_that_no_mask_can_rebuild_is_withheld() -> Result<()> {
    let stand = classified()?;
    let shown = stand.said("alice", "select id, email, salary, note from c order by id")?;
    ensure!(shown == "1|***@example.org|null|**** ****5678\n2|***@example.net|null|null\n", "{shown}");
    let told = stand.story("alice")?;
    ensure!(told.contains("salary (withheld)") && !told.contains("12345678") && !told.contains("7777777"), "{told}");
    Ok(())
}

#[test]
fn what_comes_from_nowhere_certain_is_withheld_while_a_classified_column_is_touched() -> Result<()> {
    let stand = classified()?;
    stand.target.sql(
        DATABASE,
        "create function made_of(t text) returns text language plpgsql as 'begin return t; end'; alter function made_of owner to app",
    )?;
    for origin in ["upper(email)", "name || email", "coalesce(name, email)", "(select email)", "row(c)::text", "c", "made_of(name)"] {
        let shown = stand.said("alice", &format!("select {origin} from c where id = 1"))?;
        ensure!(shown == "null\n", "{origin}: {shown}");
    }
    let shown = stand.said("alice", "select contact from people where id = 1")?;
    ensure!(shown == "***@example.org\n", "through a view, where it is certain: {shown}");
    ensure!(stand.said("alice", "select upper(name) from c where id = 1")? == "ADA\n", "made of what is certain and not classified");
    ensure!(stand.said("alice", "select name from c where id = 1")? == "Ada\n", "a column whose origin is certain");
    ensure!(stand.said("alice", "select upper(name) from plain")? == "IN THE OPEN\n", "nothing classified is touched");
    Ok(())
}

#[test]
fn an_unknown_identity_and_a_wrong_secret_get_the_same_answer_after_the_same_time() -> Result<()> {
    const ROUNDS: usize = 5;
    let stand = Stand::configured("")?;
    let alice = stand.gateway.login("alice")?.without_tls();
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for _ in 0..ROUNDS {
        for (user, of) in [("alice", &mut known), ("nobody-here", &mut unknown)] {
            let login = Login { user: user.to_owned(), ..alice.clone() }.with_password("wrong");
            let began = Instant::now();
            let answer = Wire::open(&login, &[]).err().with_context(|| format!("{user} was let in"))?.to_string().replace(user, "NAME");
            of.push((began.elapsed(), answer));
        }
    }
    let answers: Vec<_> = known.iter().chain(&unknown).map(|(_, answer)| answer).collect();
    ensure!(answers.windows(2).all(|pair| pair.first() == pair.last()) && answers.iter().all(|answer| answer.contains("28P01")), "{answers:#?}");
    let fastest = |of: &[(Duration, String)]| of.iter().map(|(took, _)| *took).min().unwrap_or_default();
    let (known, unknown) = (fastest(&known), fastest(&unknown));
    ensure!(known < unknown * 3 && unknown < known * 3, "told apart by time: {known:?} for a wrong secret, {unknown:?} for an unknown name");
    let of = |name: &str| -> Result<String> {
        let output = stand.gateway.output("stranger", &["login", name], "wrong")?;
        ensure!(!output.status.success(), "{name} was signed in");
        Ok(String::from_utf8(output.stderr)?.replace(name, "NAME"))
    };
    let (known, unknown) = (of("alice")?, of("nobody-here")?);
    ensure!(known == unknown, "{known}\n{unknown}");
    Ok(())
}

#[test]
fn a_revoked_token_or_identity_ends_live_sessions_and_cancels_what_they_run() -> Result<()> {
    let stand = Stand::configured("")?;
    let administrator = stand.gateway.administrator();
    let mut bystander = stand.wire("bob")?;
    let token = stand.gateway.run("alice", &["token", CONNECTION, "--expires-in", "15m"])?;
    let listed = stand.gateway.json("alice", &["token", "list"])?;
    let tokens = listed.get("tokens").and_then(Value::as_array).context("no tokens")?;
    let mine = tokens.iter().find(|token| token.get("purpose").and_then(Value::as_str) == Some("connect")).context("not listed")?;
    let id = mine.get("id").and_then(Value::as_str).context("no id")?;
    let by_token = stand.gateway.login("alice")?.with_password(token.trim());
    let by_password = stand.gateway.login("barbara")?;
    for (login, marker, revoke, told) in [
        (&by_token, "pg_sleep(701)", ["token", "revoke", id], "was revoked"),
        (&by_password, "pg_sleep(702)", ["identity", "revoke", "barbara"], "barbara was revoked"),
    ] {
        let mut psql = login.psql(&stand.target.program("psql"))?.args(&["-v", "VERBOSITY=verbose"]).start()?;
        let mut idle = Wire::open(&login.clone().without_tls(), &[])?;
        psql.type_line(&format!("select {marker};"))?;
        stand.target.wait_until_logged(marker)?;
        stand.gateway.run(administrator, &revoke)?;
        let words = psql.wait_for("FATAL", PATIENCE)?;
        ensure!(words.contains("57P01") && words.contains(told), "{words}");
        let words = last_words(&mut idle)?;
        ensure!(words.contains("C57P01") && words.contains(told), "{words}");
        stand.wait_until_gone(marker)?;
        ensure!(Wire::open(&login.clone().without_tls(), &[]).is_err(), "let in after {revoke:?}");
    }
    let cancelled = stand.target.log()?.matches("canceling statement due to user request").count();
    ensure!(cancelled == 2, "{cancelled} of 2 running statements were cancelled at the target");
    ensure!(ask(&mut bystander, "select 'undisturbed'")?.0 == "TDCZ");
    Ok(())
}

#[test]
fn policy_files_that_are_not_valid_leave_the_version_in_force() -> Result<()> {
    let stand = Stand::configured("")?;
    let administrator = stand.gateway.administrator();
    let (before, setup) = (stand.version()?, stand.gateway.setup());
    let directory = setup.file("").to_string_lossy().into_owned();
    let mut live = stand.wire("alice")?;
    for (file, text, place) in [
        (
            "policy/wrong.cedar",
            "permit (principal, action, resource);\npermit (principal, action == Action::\"raed\", resource);\n",
            "policy/wrong.cedar:2:",
        ),
        ("policy/worse.cedar", "permit (principal, action, resource)\n", "policy/worse.cedar:1:"),
        ("connections/other.toml", "protocol = \"postgres\"\nhots = \"x\"\n", "connections/other.toml:2:1:"),
        ("data-classes.toml", "[email]\nmask = \"keep-domian\"\ncolumns = [\"public.c.email\"]\n", "data-classes.toml:2:8:"),
    ] {
        setup.write(file, text)?;
        let checked = stand.gateway.output(administrator, &["check", &directory], "")?;
        let told = String::from_utf8(checked.stdout)? + &String::from_utf8(checked.stderr)?;
        ensure!(!checked.status.success() && told.contains(place), "check of {file}: {told}");
        let applied = stand.gateway.output(administrator, &["apply", &directory], "")?;
        let told = String::from_utf8(applied.stdout)? + &String::from_utf8(applied.stderr)?;
        ensure!(!applied.status.success() && told.contains(place), "apply of {file}: {told}");
        // The gateway watches the directory, too.
        until(&format!("{place} in the log"), || Ok(stand.gateway.printed().contains(place).then_some(())))?;
        ensure!(stand.version()? == before, "{file} took effect");
        ensure!(ask(&mut live, "select 'goes on'")?.0 == "TDCZ" && ask(&mut live, "grant select on t to public")?.1.contains("42501"));
        fs::remove_file(setup.file(file))?;
    }
    setup.write("policy/right.cedar", "permit (principal in Group::\"engineers\", action == Action::\"export\", resource);\n")?;
    until("a valid version", || Ok((stand.version()? != before).then_some(())))
}

#[test]
fn what_was_forwarded_and_not_answered_has_an_unknown_outcome() -> Result<()> {
    let mut stand = Stand::configured("")?;
    let mut psql = stand.psql("alice")?;
    psql.type_line("insert into t values (4);")?;
    psql.wait_for("INSERT 0 1", PATIENCE)?;
    psql.type_line("with slept as (select pg_sleep(2)) insert into t select 5 from slept;")?;
    stand.target.wait_until_logged("insert into t select 5")?;
    stand.gateway.kill();
    stand.gateway.start_again()?;
    let told = stand.story("alice")?;
    let (answered, rest) = told.split_once("INSERT 0 1").with_context(|| format!("the answer is lost: {told}"))?;
    ensure!(answered.contains("insert into t values (4)") && rest.contains("insert into t select 5") && rest.contains("outcome unknown"), "{told}");
    ensure!(stand.gateway.printed().contains("outcome is unknown"), "{}", stand.gateway.printed());
    Ok(())
}
