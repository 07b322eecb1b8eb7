//! A held statement waits on the caller's own connection; an approval releases what was shown, or nothing.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Running,
    gateway::Gateway,
    postgres::{DATABASE, PATIENCE, Postgres},
};
use serde_json::Value;

/// A target with a table `t` of three rows, and a gateway with the starter policies.
fn start(more: &str) -> Result<(Postgres, Gateway)> {
    let target = Postgres::start()?;
    target.sql(DATABASE, "create table t (id int primary key); insert into t values (1), (2), (3); alter table t owner to app")?;
    let gateway = Gateway::with_starter_policies(&target, &[], more)?;
    Ok((target, gateway))
}

/// alice's psql at work.
fn alice(target: &Postgres, gateway: &Gateway) -> Result<Running> {
    gateway.login("alice")?.psql(&target.program("psql"))?.args(&["-At", "-v", "VERBOSITY=verbose"]).start()
}

/// The id of the hold that psql was told of.
fn hold_of(psql: &mut Running) -> Result<String> {
    let notice = psql.wait_for("held for approval", PATIENCE)?;
    let word = notice.rsplit(|c: char| !c.is_alphanumeric() && c != '_').find(|word| word.starts_with("h_"));
    Ok(word.with_context(|| format!("no id in {notice}"))?.to_owned())
}

fn rows(target: &Postgres) -> Result<String> {
    Ok(target
        .sql(DATABASE, "select coalesce(to_regclass('t')::text, 'gone'), (select count(*) from pg_class where relname = 't')")?
        .trim()
        .to_owned())
}

#[test]
fn a_signed_statement_runs_in_the_callers_own_transaction() -> Result<()> {
    let (target, gateway) = start("")?;
    let mut psql = alice(&target, &gateway)?;
    psql.type_line("begin; insert into t values (4);")?;
    psql.type_line("select 'own process ' || pg_backend_pid();")?;
    let own = psql.wait_for("own process", PATIENCE)?;
    psql.type_line("delete from t;")?;
    let hold = hold_of(&mut psql)?;
    let shown = gateway.run("bob", &["show", &hold])?;
    for part in ["alice", "delete from t", "prod-destroy", "destroy", "open for"] {
        ensure!(shown.contains(part), "the signer is not shown {part:?}:\n{shown}");
    }
    let own_signature = gateway.output("alice", &["approve", &hold, "--yes"], "")?;
    ensure!(!own_signature.status.success(), "alice signed her own");
    gateway.run("bob", &["approve", &hold, "--yes"])?;
    psql.wait_for("DELETE 4", PATIENCE)?;
    psql.type_line("select 'own process ' || pg_backend_pid();")?;
    ensure!(psql.wait_for("own process", PATIENCE)? == own);
    ensure!(target.sql(DATABASE, "select count(*) from t")? == "3\n", "committed too early");
    psql.type_line("rollback;")?;
    let (status, _) = psql.finish(PATIENCE)?;
    ensure!(status.success() && target.sql(DATABASE, "select count(*) from t")? == "3\n");
    Ok(())
}

#[test]
fn a_denied_statement_is_an_error_and_never_runs() -> Result<()> {
    let (target, gateway) = start("")?;
    let mut psql = alice(&target, &gateway)?;
    psql.type_line("drop table t;")?;
    let hold = hold_of(&mut psql)?;
    gateway.run("bob", &["deny", &hold, "--reason", "not on a Friday"])?;
    let error = psql.wait_for("ERROR", PATIENCE)?;
    ensure!(error.contains("bob") || error.contains("not on a Friday"), "{error}");
    psql.type_line("select 'goes on';")?;
    psql.wait_for("goes on", PATIENCE)?;
    ensure!(rows(&target)? == "t|1" && !target.log()?.contains("drop table t"), "it reached the target");
    let late = gateway.output("bob", &["approve", &hold, "--yes"], "")?;
    ensure!(!late.status.success(), "a denied hold was signed");
    Ok(())
}

#[test]
fn a_hold_that_nobody_signs_expires() -> Result<()> {
    let (target, gateway) = start("[holds]\nexpire_after_s = 1\n")?;
    let mut psql = alice(&target, &gateway)?;
    psql.type_line("drop table t;")?;
    let hold = hold_of(&mut psql)?;
    psql.wait_for("ERROR", PATIENCE)?;
    let late = gateway.output("bob", &["approve", &hold, "--yes"], "")?;
    ensure!(!late.status.success() && rows(&target)? == "t|1");
    Ok(())
}

#[test]
fn cancelling_gives_a_hold_up() -> Result<()> {
    let (target, gateway) = start("")?;
    let mut psql = alice(&target, &gateway)?;
    psql.type_line("drop table t;")?;
    let hold = hold_of(&mut psql)?;
    let interrupted = Command::new("kill").args(["-INT", &psql.pid().to_string()]).status()?;
    ensure!(interrupted.success());
    let error = psql.wait_for("ERROR", PATIENCE)?;
    ensure!(error.contains("57014"), "{error}");
    psql.finish(PATIENCE)?; // a psql that reads a script ends with the interrupt
    ensure!(!gateway.output("bob", &["approve", &hold, "--yes"], "")?.status.success() && rows(&target)? == "t|1");
    Ok(())
}

#[test]
fn a_caller_who_leaves_withdraws_the_hold() -> Result<()> {
    let (target, gateway) = start("")?;
    let mut psql = alice(&target, &gateway)?;
    psql.type_line("drop table t;")?;
    let hold = hold_of(&mut psql)?;
    drop(psql);
    let state = |listed: &Value| {
        let holds = listed.get("holds").and_then(Value::as_array)?;
        holds.iter().find(|it| it.get("id").and_then(Value::as_str) == Some(&hold))?.get("state").and_then(Value::as_str).map(str::to_owned)
    };
    target.wait_until_true(DATABASE, "not exists (select from pg_stat_activity where usename = 'app')")?;
    ensure!(state(&gateway.json("bob", &["holds", "--all"])?).as_deref() != Some("waiting"), "it still waits");
    ensure!(!gateway.output("bob", &["approve", &hold, "--yes"], "")?.status.success() && rows(&target)? == "t|1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_statement_is_held_with_its_parameters() -> Result<()> {
    let (target, gateway) = start("")?;
    target.sql(DATABASE, "create table u (id int, name text); insert into u values (1, 'x'); alter table u owner to app")?;
    let client = gateway.login("alice")?.connect().await?;
    // Every row matches whatever the parameter is: no restriction, so it destroys.
    let updating = tokio::spawn(async move { client.execute("update u set name = $1", &[&"said by the caller"]).await });
    let hold = wait_for_hold(&gateway)?;
    let shown = gateway.run("bob", &["show", &hold])?;
    ensure!(shown.contains("update u set name = $1") && shown.contains("$1 = said by the caller"), "{shown}");
    gateway.run("bob", &["approve", &hold, "--yes"])?;
    ensure!(updating.await?? == 1 && target.sql(DATABASE, "select name from u")? == "said by the caller\n");
    Ok(())
}

fn wait_for_hold(gateway: &Gateway) -> Result<String> {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let listed = gateway.json("bob", &["holds"])?;
        if let Some(id) = listed.pointer("/holds/0/id").and_then(Value::as_str) {
            return Ok(id.to_owned());
        }
        ensure!(std::time::Instant::now() < end, "nothing is held");
    }
}
