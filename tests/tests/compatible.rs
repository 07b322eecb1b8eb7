//! What PostgreSQL's own suites found to differ, each as small as it can be told: a caller that may do everything finds through the gateway what it
//! finds without it.

use std::time::Duration;

use anyhow::{Result, ensure};
use countersign_tests::{
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, Method, PATIENCE, Postgres},
    wire::{Wire, message, query},
};

/// A target and a gateway that permits everything, what is not understood too.
fn start() -> Result<(Postgres, Gateway)> {
    let target = Postgres::start()?;
    let gateway = Gateway::permitting_all(&target)?;
    Ok((target, gateway))
}

/// Each statement as a message of its own.
fn psql(login: &Login, target: &Postgres, lines: &[&str]) -> Result<String> {
    let mut arguments = vec!["-At", "-v", "VERBOSITY=terse"];
    lines.iter().for_each(|line| arguments.extend(["-c", *line]));
    let output = login.psql(&target.program("psql"))?.args(&arguments).run()?;
    Ok(String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?)
}

/// The same lines directly and through the gateway give the same.
fn same(target: &Postgres, gateway: &Gateway, lines: &[&str]) -> Result<()> {
    let direct = psql(&target.login(DATABASE), target, lines)?;
    let through = psql(&gateway.login("alice")?, target, lines)?;
    ensure!(direct == through, "directly:\n{direct}\nthrough:\n{through}");
    Ok(())
}

#[test]
fn libpqs_large_objects_are_decided_and_recorded_as_their_sql_calls() -> Result<()> {
    let (target, gateway) = start()?;
    let alice = gateway.login("alice")?;
    let folder = tempfile::tempdir()?;
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let content: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&from, &content)?;
    let import = format!("\\lo_import {}", from.display());
    let said = psql(&alice, &target, &[&import])?;
    let id = said.trim().trim_start_matches("lo_import ").to_owned();
    let said = psql(&alice, &target, &[&format!("\\lo_export {id} {}", to.display()), &format!("\\lo_unlink {id}")])?;
    ensure!(std::fs::read(&to)? == content, "{said}");
    let gone = psql(&alice, &target, &[&format!("\\lo_export {id} {}", to.display())])?;
    ensure!(gone.contains("does not exist"), "{gone}");
    let found = gateway.run(gateway.administrator(), &["search", "lo_open"])?;
    ensure!(found.contains("SELECT pg_catalog.lo_open($1, $2)"), "{found}");
    Ok(())
}

#[test]
fn a_large_object_is_refused_by_message_as_it_is_by_sql_and_other_functions_always() -> Result<()> {
    let target = Postgres::start()?;
    let setup = Setup::init()?;
    setup.permit_all()?;
    setup.write("policy/all.cedar", "permit (principal, action, resource); forbid (principal, action == Action::\"export\", resource);\n")?;
    setup.target(&target, DATABASE, "")?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    // lo_open(0, 262144), and random().
    for (function, arguments) in [(952_u32, vec![0_i32, 262_144]), (1598, vec![])] {
        wire.say(&function_call(function, &arguments))?;
        let heard = wire.hear_until_ready(1)?;
        ensure!(heard.iter().any(|one| one.kind == 'E' && one.body.windows(5).any(|code| code == b"42501")), "{function}");
    }
    Ok(())
}

/// A FunctionCall with arguments of four bytes each, in binary.
fn function_call(function: u32, arguments: &[i32]) -> Vec<u8> {
    let values = arguments.iter().flat_map(|argument| [4_i32.to_be_bytes(), argument.to_be_bytes()].concat()).collect();
    let count = u16::try_from(arguments.len()).unwrap_or(0).to_be_bytes().to_vec();
    message(b'F', &[function.to_be_bytes().to_vec(), vec![0, 1, 0, 1], count, values, vec![0, 1]])
}

#[test]
fn a_serializable_transaction_goes_on_after_code_that_nobody_could_follow() -> Result<()> {
    let (target, gateway) = start()?;
    target.sql(
        DATABASE,
        "create function fires() returns trigger language plpgsql as 'begin return new; end'; create table parent (id int); \
         create trigger t before insert on parent for each row execute function fires(); grant all on parent to app",
    )?;
    let lines = ["begin isolation level serializable", "insert into parent values (1)", "select count(*) > 0 from parent", "rollback"];
    same(&target, &gateway, &lines)
}

#[test]
fn nothing_is_asked_of_a_transaction_before_its_first_query() -> Result<()> {
    let (target, gateway) = start()?;
    same(
        &target,
        &gateway,
        &["create temp table a (a int)", "begin", "set transaction isolation level serializable, read only", "select 1", "commit"],
    )?;
    same(&target, &gateway, &["begin", "set local search_path = pg_catalog", "set transaction isolation level serializable", "select 1", "commit"])
}

#[test]
fn a_prepared_transaction_may_hold_what_was_made_in_it() -> Result<()> {
    let target = Postgres::start_with(Method::Scram, &["max_prepared_transactions = 2"])?;
    let gateway = Gateway::permitting_all(&target)?;
    let alice = gateway.login("alice")?;
    let lines = ["begin", "create table made (a int)", "prepare transaction 'one'", "commit prepared 'one'", "select count(*) from made"];
    let said = psql(&alice, &target, &lines)?;
    ensure!(said.lines().eq(["BEGIN", "CREATE TABLE", "PREPARE TRANSACTION", "COMMIT PREPARED", "0"]), "{said}");
    Ok(())
}

#[test]
fn the_end_that_the_target_announced_is_announced_once() -> Result<()> {
    let (target, gateway) = start()?;
    let mut wire = Wire::open(&gateway.login("alice")?.without_tls(), &[])?;
    wire.say(&query("select pg_terminate_backend(pg_backend_pid())"))?;
    let heard: Vec<_> = std::iter::from_fn(|| wire.hear().ok()).collect();
    let told: Vec<String> = heard.iter().filter(|one| one.kind == 'E').map(|one| one.body.escape_ascii().to_string()).collect();
    ensure!(told.len() == 1 && told.iter().all(|one| one.contains("57P01")), "{told:?}");
    drop(target);
    Ok(())
}

#[test]
fn a_migration_that_holds_its_tables_makes_nobody_else_wait() -> Result<()> {
    let (target, gateway) = start()?;
    target.sql(
        DATABASE,
        "create table held (a int); create view seen as select a from held; alter table held owner to app; alter view seen owner to app",
    )?;
    let alice = gateway.login("alice")?;
    psql(&alice, &target, &["select count(*) from seen"])?;
    let mut migration = alice.psql(&target.program("psql"))?.args(&["-At"]).start()?;
    migration.type_line("begin; create view made as select a from held; commit; begin; lock table held, seen, made; select 'locked';")?;
    migration.wait_for("locked", PATIENCE)?;
    // Another object is made: what the gateway knows is read again, and nothing of what is locked.
    let began = std::time::Instant::now();
    let said = psql(&alice, &target, &["set lock_timeout = '60s'", "create table other (a int)", "select count(*) from other"])?;
    ensure!(said.lines().eq(["SET", "CREATE TABLE", "0"]) && began.elapsed() < Duration::from_secs(4), "{:?}: {said}", began.elapsed());
    migration.type_line("rollback; select 'free';")?;
    migration.wait_for("free", PATIENCE)?;
    let said = psql(&alice, &target, &["select count(*) from made"])?;
    ensure!(said.lines().eq(["0"]), "{said}");
    ensure!(gateway.run(gateway.administrator(), &["sessions"])?.contains(CONNECTION), "no session was listed");
    Ok(())
}

#[test]
fn a_prepared_transaction_that_holds_its_tables_makes_nobody_wait_either() -> Result<()> {
    let target = Postgres::start_with(Method::Scram, &["max_prepared_transactions = 2"])?;
    let gateway = Gateway::permitting_all(&target)?;
    let alice = gateway.login("alice")?;
    // The view is new when it is locked: what the gateway knows has not got it yet.
    target.sql(
        DATABASE,
        "create table held (a int); create view made as select a from held; begin; lock table held, made; prepare transaction 'one'",
    )?;
    let began = std::time::Instant::now();
    let said = psql(&alice, &target, &["create table other (a int)", "select count(*) from other"])?;
    ensure!(said.lines().eq(["CREATE TABLE", "0"]) && began.elapsed() < Duration::from_secs(4), "{:?}: {said}", began.elapsed());
    target.sql(DATABASE, "rollback prepared 'one'")?;
    Ok(())
}
