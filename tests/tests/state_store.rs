//! The state store in PostgreSQL: gone, locked, silent and back; reached only as it should be; moved there and back; and two voters at once.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    authority::Authority,
    clients::Running,
    gateway::{Gateway, Setup},
    postgres::{DATABASE, Method, PASSWORD, PATIENCE, Postgres, ROLE},
    valve::Valve,
    wire::{Wire, query},
};

const GRACE: Duration = Duration::from_secs(4);

/// A target with a table `t` of three rows, and a gateway that keeps its state elsewhere, with alice (engineers), sam (support-leads), bob and
/// barbara (dba).
struct Stand {
    target: Postgres,
    store: Postgres,
    valve: Valve,
    schema: String,
    gateway: Gateway,
}

impl Stand {
    fn start() -> Result<Self> {
        let (target, store) = (Postgres::start()?, Postgres::start()?);
        target.sql(DATABASE, "create table t (id int primary key); insert into t values (1), (2), (3); alter table t owner to app")?;
        let valve = Valve::before(store.port())?;
        let setup = Setup::init_in_files()?;
        setup.target(&target, DATABASE, "")?;
        let before = fs::read_to_string(setup.file("countersign.toml"))?;
        setup.write("countersign.toml", &format!("{before}[limits]\nrevocation_grace_ms = {}\n", GRACE.as_millis()))?;
        let schema = setup.keep_state_in(&store, valve.port())?;
        let mut gateway = setup.serve()?;
        for (name, group) in [("alice", "engineers"), ("sam", "support-leads"), ("bob", "dba"), ("barbara", "dba")] {
            gateway.add_user(name, &[group])?;
        }
        Ok(Self { target, store, valve, schema, gateway })
    }

    fn wire(&self, who: &str) -> Result<Wire> {
        Wire::open(&self.gateway.login(who)?.without_tls(), &[])
    }

    fn psql(&self, who: &str) -> Result<Running> {
        self.gateway.login(who)?.psql(&self.target.program("psql"))?.args(&["-At", "-v", "VERBOSITY=verbose"]).start()
    }

    /// The row "state store unreachable": no new sessions, no releases, and what lives ends after the grace; then it is there again.
    fn loses_and_regains<T>(&self, lose: impl FnOnce(&Self) -> Result<T>, regain: impl FnOnce(&Self, T) -> Result<()>) -> Result<()> {
        let mut idle = self.wire("bob")?;
        let mut running = self.psql("barbara")?;
        running.type_line("select pg_sleep(600);")?;
        self.target.wait_until_logged("pg_sleep(600)")?;
        let mut held = self.psql("alice")?;
        held.type_line("drop table t;")?;
        let hold = hold_of(&mut held)?;

        let lost_at = Instant::now();
        let lost = lose(self)?;
        ensure!(answer(&mut idle, "select 'within the grace'")? == "TDCZ", "ended at once");
        let signed = self.gateway.output("bob", &["approve", &hold, "--yes"], "")?;
        ensure!(!signed.status.success(), "it was signed without a state store");
        for psql in [&mut running, &mut held] {
            let told = psql.wait_for("FATAL", PATIENCE)?;
            ensure!(told.contains("57P01") && told.contains("state store"), "{told}");
        }
        ensure!(lost_at.elapsed() >= GRACE, "ended before the grace was over");
        self.target.wait_until_true(DATABASE, "not exists (select from pg_stat_activity where usename = 'app')")?;
        let refused = self.wire("sam").err().context("a session began without a state store")?.to_string();
        ensure!(refused.contains("57P03") && refused.contains("state store"), "{refused}");

        regain(self, lost)?;
        let mut again = until("a session after the state store came back", || Ok(self.wire("sam").ok()))?;
        ensure!(answer(&mut again, "select count(*) from t")? == "TDCZ");
        let late = self.gateway.output("bob", &["approve", &hold, "--yes"], "")?;
        ensure!(!late.status.success(), "it was signed after its caller had been sent away");
        let rows = self.target.sql(DATABASE, "select count(*) from t")?;
        ensure!(rows == "3\n" && !self.target.log()?.contains("drop table t"), "it ran");
        Ok(())
    }
}

fn hold_of(psql: &mut Running) -> Result<String> {
    let notice = psql.wait_for("held for approval", PATIENCE)?;
    let word = notice.rsplit(|c: char| !c.is_alphanumeric() && c != '_').find(|word| word.starts_with("h_"));
    Ok(word.with_context(|| format!("no id in {notice}"))?.to_owned())
}

/// The kinds of the messages that answer a query.
fn answer(wire: &mut Wire, statement: &str) -> Result<String> {
    wire.say(&query(statement))?;
    Ok(wire.hear_until_ready(1)?.iter().map(|message| message.kind).collect())
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
fn a_server_that_is_gone_is_the_loss_of_the_state_store_until_it_is_back() -> Result<()> {
    Stand::start()?.loses_and_regains(|stand| stand.store.stop(), |stand, ()| stand.store.start_again())
}

#[test]
fn a_server_that_is_silent_is_the_loss_of_the_state_store_until_it_speaks() -> Result<()> {
    let close = |stand: &Stand| {
        stand.valve.close();
        Ok(())
    };
    let open = |stand: &Stand, ()| {
        stand.valve.open();
        Ok(())
    };
    Stand::start()?.loses_and_regains(close, open)
}

#[test]
fn a_state_store_whose_tables_are_locked_is_lost_until_they_are_free() -> Result<()> {
    let lock = |stand: &Stand| {
        let login = format!("host={} port={} user=postgres dbname={DATABASE}", stand.store.socket_folder().display(), stand.store.port());
        let mut psql = Command::new(stand.store.program("psql"));
        psql.args(["-X", "-q", &login]);
        let mut locker = Running::start(psql)?;
        let tables = ["identities", "tokens", "holds", "sessions", "counters"].map(|table| format!("{}.{table}", stand.schema));
        locker.type_line(&format!("begin; lock table {} in access exclusive mode; select 'it is locked';", tables.join(", ")))?;
        locker.wait_for("it is locked", PATIENCE)?;
        Ok(locker)
    };
    Stand::start()?.loses_and_regains(lock, |_, locker| locker.finish(PATIENCE).map(drop))
}

/// A gateway with alice that keeps its state on this server.
fn serve_with(store: &Postgres, target: &Postgres) -> Result<Gateway> {
    let setup = Setup::init_in_files()?;
    setup.permit_all()?;
    setup.target(target, DATABASE, "")?;
    setup.keep_state_in(store, store.port())?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    Ok(gateway)
}

/// What `serve` says of a set that it cannot serve.
fn refused(setup: &Setup) -> Result<String> {
    let output = setup.offline(&["serve"])?;
    ensure!(!output.status.success(), "it was served");
    Ok(String::from_utf8(output.stderr)?)
}

fn change(setup: &Setup, from: &str, to: &str) -> Result<()> {
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    ensure!(before.contains(from), "{from} is not in {before}");
    setup.write("countersign.toml", &before.replace(from, to))
}

#[test]
fn sql_11_the_server_of_the_store_is_checked_in_full() -> Result<()> {
    let (target, store) = (Postgres::start()?, Postgres::start_with(Method::ScramOverTls, &["listen_addresses = '127.0.0.1,127.0.0.2'"])?);
    let mut gateway = serve_with(&store, &target)?;
    ensure!(store.sql(DATABASE, "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'app'")? == "t\n");
    gateway.kill();
    let setup = gateway.setup();
    // Another authority, another name, and no TLS where TLS is wanted.
    let right = fs::read_to_string(setup.file("store-ca.pem"))?;
    setup.write("store-ca.pem", &Authority::new("somebody else")?.certificate)?;
    let told = refused(setup)?;
    ensure!(told.contains("cannot open PostgreSQL at 127.0.0.1") && told.contains("certificate"), "{told}");
    setup.write("store-ca.pem", &right)?;
    change(setup, "host = \"127.0.0.1\"", "host = \"127.0.0.2\"")?;
    let told = refused(setup)?;
    ensure!(told.contains("certificate not valid for name"), "{told}");
    change(setup, "host = \"127.0.0.2\"", "host = \"127.0.0.1\"")?;
    change(setup, &format!("port = {}", store.port()), &format!("port = {}", target.port()))?;
    let told = refused(setup)?;
    ensure!(told.contains("does not support TLS"), "{told}");
    Ok(())
}

#[test]
fn the_password_of_the_store_is_told_to_nobody() -> Result<()> {
    let (target, store) = (Postgres::start()?, Postgres::start()?);
    let gateway = serve_with(&store, &target)?;
    let administrator = gateway.administrator();
    let mut told = fs::read_to_string(format!("/proc/{}/cmdline", gateway.pid()))?;
    for command in [&["status"][..], &["status", "--json"], &["connections"], &["sessions"]] {
        told += &gateway.run(administrator, command)?;
    }
    store.stop()?;
    let lost = until("a command that fails", || {
        let output = gateway.output(administrator, &["identity", "list"], "")?;
        let failed = !output.status.success() && gateway.printed().contains("the state store is lost");
        Ok(failed.then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
    })?;
    told += &lost;
    told += &gateway.printed();
    told += &fs::read_to_string(gateway.setup().file("countersign.toml"))?;
    for password in [PASSWORD.to_owned(), format!("{PASSWORD:?}"), PASSWORD.replace('"', "\\\"")] {
        ensure!(!told.contains(password.trim_matches('"')), "{told}");
    }
    Ok(())
}

#[test]
fn a_second_gateway_on_the_same_store_is_refused_and_one_that_was_killed_is_followed() -> Result<()> {
    let (target, store) = (Postgres::start()?, Postgres::start()?);
    let mut first = serve_with(&store, &target)?;
    let mut wire = Wire::open(&first.login("alice")?.without_tls(), &[])?;
    let second = Setup::init_in_files()?;
    fs::copy(first.setup().file("countersign.toml"), second.file("countersign.toml"))?;
    let told = refused(&second)?;
    ensure!(told.contains("another Countersign is using PostgreSQL at") && told.contains("server process"), "{told}");
    ensure!(answer(&mut wire, "select 'undisturbed'")? == "TDCZ");
    first.kill();
    first.start_again()?;
    let sessions = first.run(first.administrator(), &["sessions", "--identity", "alice"])?;
    ensure!(sessions.contains("the gateway stopped"), "{sessions}");
    Wire::open(&first.login("alice")?.without_tls(), &[]).map(drop)
}

#[test]
fn a_store_is_moved_back_to_files_with_all_it_holds() -> Result<()> {
    let (target, store) = (Postgres::start()?, Postgres::start()?);
    let gateway = serve_with(&store, &target)?;
    let setup = gateway.setup();
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    ensure!(answer(&mut wire, "select 'kept in the index'")? == "TDCZ");
    let back = ["store", "copy", "--from", "postgres", "--to", "embedded"];
    let told = String::from_utf8(setup.offline(&back)?.stderr)?;
    ensure!(told.contains("another Countersign") && told.contains("is using"), "{told}");
    gateway.signal(rustix::process::Signal::TERM)?;
    drop(wire);
    let mut gateway = gateway;
    ensure!(gateway.ended_within(PATIENCE) == Some(0));
    let output = gateway.setup().offline(&back)?;
    let told = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    ensure!(output.status.success() && told.contains("Remove [store]"), "{told}");
    let told = refused(gateway.setup())?;
    ensure!(told.contains("was copied elsewhere"), "{told}");
    let before = fs::read_to_string(gateway.setup().file("countersign.toml"))?;
    let (without, _) = before.split_once("[store.postgres]").context("no [store]")?;
    gateway.setup().write("countersign.toml", without)?;
    gateway.start_again()?;
    Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    let found = gateway.run(gateway.administrator(), &["search", "kept in the index"])?;
    ensure!(found.contains("alice"), "{found}");
    Ok(())
}

/// As docs/state-in-postgresql.md says.
#[test]
fn a_backup_is_restored_as_documented() -> Result<()> {
    let (target, store) = (Postgres::start()?, Postgres::start()?);
    let mut gateway = serve_with(&store, &target)?;
    let dump = gateway.setup().file("state.dump");
    let login = format!("host=127.0.0.1 port={} user={ROLE} dbname={DATABASE}", store.port());
    let run = |program: &str, arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(store.program(program));
        let output = command.args(arguments).env("PGPASSWORD", PASSWORD).output()?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    let schema = store.sql(DATABASE, "select nspname from pg_namespace where nspname like 'gateway_%'")?;
    let file = format!("--file={}", dump.display());
    run("pg_dump", &["--format=custom", &format!("--schema={}", schema.trim()), &file, &login])?;
    gateway.run(gateway.administrator(), &["identity", "revoke", "alice"])?;
    gateway.kill();
    run("pg_restore", &["--clean", "--if-exists", &format!("--dbname={login}"), &dump.to_string_lossy()])?;
    gateway.start_again()?;
    Wire::open(&gateway.login("alice")?.without_tls(), &[]).map(drop).context("what was revoked since is valid again")?;
    store.sql(DATABASE, &format!("drop schema {} cascade", schema.trim()))?;
    gateway.kill();
    run("pg_restore", &[&format!("--dbname={login}"), &dump.to_string_lossy()])?;
    gateway.start_again()?;
    Wire::open(&gateway.login("alice")?.without_tls(), &[]).map(drop)
}

/// Two who sign at the same moment are both counted, however often.
#[test]
fn near_06_simultaneous_votes_are_all_counted() -> Result<()> {
    let stand = Stand::start()?;
    let setup = stand.gateway.setup();
    let text = fs::read_to_string(setup.file("policy/holds.cedar"))?;
    setup.write("policy/holds.cedar", &text.replace("@count(\"1\")", "@count(\"2\")"))?;
    stand.gateway.run(stand.gateway.administrator(), &["apply", &setup.file("").to_string_lossy()])?;
    for round in 0..5 {
        stand.target.sql(DATABASE, &format!("create table r{round} (id int); alter table r{round} owner to app"))?;
        let mut psql = stand.psql("alice")?;
        psql.type_line(&format!("drop table r{round};"))?;
        let hold = hold_of(&mut psql)?;
        let sign = |who: &str| -> Result<_> {
            let mut command = stand.gateway.command(who)?;
            Ok(command.args(["approve", &hold, "--yes"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
        };
        for signing in [sign("bob")?, sign("barbara")?] {
            let signed = signing.wait_with_output()?;
            ensure!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
        }
        psql.wait_for("DROP TABLE", PATIENCE)?;
        let content = stand.store.sql(DATABASE, &format!("select content from {}.holds where id = '{hold}'", stand.schema))?;
        let row: serde_json::Value = serde_json::from_str(&content)?;
        let signatures = row.get("signatures").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
        ensure!(signatures == 2, "{content}");
    }
    Ok(())
}
