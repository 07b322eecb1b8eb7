//! Access that is asked for: signed by others, there at once in open sessions, gone when it is over.

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
};
use serde_json::{Value, json};

const POLICY: &str = r#"
permit (principal in Group::"readers", action in [Action::"connect", Action::"read", Action::"execute"], resource in Environment::"production");
permit (principal in Group::"writers", action == Action::"write", resource in Environment::"production");
permit (principal in Group::"writers", action == Action::"reveal", resource == DataClass::"email");
permit (principal in Group::"owners", action in [Action::"connect", Action::"read", Action::"execute"], resource in Environment::"production");
permit (principal in Group::"readers", action == Action::"request", resource == Role::"prod-pg/writer") when { context.request.window_s <= 14400 };
permit (principal in Group::"guests", action == Action::"request", resource == Role::"prod-pg/owner");
@id("writers") @approvers("dba,leads") @count("2") @reason("writing in production needs two signatures")
forbid (principal, action == Action::"request", resource == Role::"prod-pg/writer") when { !context.request.one_statement } unless { context.approved };
permit (principal in Group::"dba", action == Action::"approve", resource == System::"countersign");
permit (principal in Group::"leads", action == Action::"approve", resource == System::"countersign");
permit (principal in Group::"administrators", action in [Action::"administer", Action::"audit", Action::"revoke"], resource == System::"countersign");
"#;

/// A target with a table of three rows; alice reads, guy may do nothing, bob and carol sign.
fn start() -> Result<(Postgres, Gateway)> {
    let target = Postgres::start()?;
    target.sql(DATABASE, "create table t (id int primary key); insert into t values (1), (2), (3); alter table t owner to app")?;
    target.sql(DATABASE, "create table c (email text); insert into c values ('ann@example.com'); alter table c owner to app")?;
    let setup = Setup::init()?;
    setup.classes(&[("email", "redact", "public.c.email")])?;
    setup.target(&target, DATABASE, "[roles]\nwriter = \"writers\"\nowner = \"owners\"\n")?;
    std::fs::remove_dir_all(setup.file("policy"))?;
    setup.write("policy/requests.cedar", POLICY)?;
    let mut gateway = setup.serve()?;
    for (name, group) in [("alice", "readers"), ("guy", "guests"), ("bob", "dba"), ("carol", "leads"), ("dan", "dba")] {
        gateway.add_user(name, &[group])?;
    }
    Ok((target, gateway))
}

fn id_of(request: &Value) -> Result<String> {
    request.get("id").and_then(Value::as_str).map(str::to_owned).with_context(|| format!("no id in {request}"))
}

fn ask(gateway: &Gateway, who: &str, role: &str, window: &str, more: &[&str]) -> Result<Value> {
    let arguments = [["request", CONNECTION, "--role", role, "--for", window, "--reason", "INC-4711"].as_slice(), more].concat();
    gateway.json(who, &arguments)
}

fn refused(gateway: &Gateway, who: &str, arguments: &[&str]) -> Result<String> {
    let output = gateway.output(who, arguments, "")?;
    ensure!(!output.status.success(), "it was done: {}", String::from_utf8_lossy(&output.stdout));
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The requester's own agent, in the approvers' group, cannot sign: what it has does not open the API.
fn by_an_agent_of_hers(gateway: &Gateway, id: &str) -> Result<()> {
    let made = [
        "identity",
        "add",
        "helper",
        "--kind",
        "agent",
        "--group",
        "dba",
        "--group",
        "readers",
        "--owner",
        "alice",
        "--purpose",
        "helps",
        "--expires-in",
        "1d",
    ];
    gateway.run(gateway.administrator(), &made)?;
    let secret = gateway.run("alice", &["token", CONNECTION, "--for", "helper"])?;
    let tried = gateway.command("helper")?.args(["approve", id, "--yes"]).env("COUNTERSIGN_TOKEN", secret.trim()).output()?;
    let said = String::from_utf8_lossy(&tried.stderr);
    ensure!(!tried.status.success() && said.contains("not for the API"), "{said}");
    Ok(())
}

#[test]
fn a_role_that_two_people_signed_counts_in_an_open_session_until_it_is_given_back() -> Result<()> {
    let (target, gateway) = start()?;
    let mut psql = gateway.login("alice")?.psql(&target.program("psql"))?.args(&["-At"]).start()?;
    psql.type_line("insert into t values (4);")?;
    psql.wait_for("no policy permits `write`", PATIENCE)?;
    ensure!(gateway.run("alice", &["request"])?.contains("writer"), "the roles there are to ask for");
    ensure!(
        refused(&gateway, "alice", &["request", CONNECTION, "--role", "writer", "--for", "5h", "--reason", "x"])?
            .contains("no policy permits `request`")
    );
    ensure!(refused(&gateway, "alice", &["request", CONNECTION])?.contains("--role"), "says what is missing");

    let asked = ask(&gateway, "alice", "writer", "1h", &[])?;
    let id = id_of(&asked)?;
    ensure!(asked.get("state") == Some(&json!("waiting")), "{asked}");
    let listed = gateway.run("bob", &["requests"])?;
    ensure!(listed.contains(&id) && listed.contains("INC-4711"), "{listed}");
    let shown = gateway.run("bob", &["show", &id])?;
    for part in ["alice", "writer", "writers", "1 h", "INC-4711", "two signatures", "0 of 2 from dba or leads"] {
        ensure!(shown.contains(part), "the signer is not shown {part:?}:\n{shown}");
    }
    gateway.run("bob", &["requests", "comment", &id, "which rows?"])?;
    ensure!(gateway.run("alice", &["show", &id])?.contains("which rows?"));
    ensure!(refused(&gateway, "alice", &["approve", &id, "--yes"])?.contains("nobody signs"));
    by_an_agent_of_hers(&gateway, &id)?;
    gateway.run("bob", &["approve", &id, "--yes"])?;
    ensure!(refused(&gateway, "bob", &["approve", &id, "--yes"])?.contains("one person counts once"));
    psql.type_line("insert into t values (4);")?;
    psql.wait_for("no policy permits `write`", PATIENCE)?;
    let signed = gateway.run("carol", &["approve", &id, "--yes"])?;
    ensure!(signed.contains("granted until"), "{signed}");
    ensure!(refused(&gateway, "dan", &["approve", &id, "--yes"])?.contains("no longer waits"));

    psql.type_line("insert into t values (4);")?;
    psql.wait_for("INSERT 0 1", PATIENCE)?;
    let explained = gateway.run("alice", &["explain", "alice"])?;
    ensure!(explained.contains("write"), "{explained}");
    let found = gateway.json(gateway.administrator(), &["sessions"])?;
    let session = found.pointer("/sessions/0/id").and_then(Value::as_str).context("no session")?;
    let story = gateway.run(gateway.administrator(), &["show", session])?;
    ensure!(story.contains("granted: writer until") && story.contains(&id), "the records do not say by what:\n{story}");
    gateway.run("alice", &["requests", "return", &id])?;
    psql.type_line("insert into t values (5);")?;
    psql.wait_for("no policy permits `write`", PATIENCE)?;
    psql.type_line("select 'still here';")?;
    psql.wait_for("still here", PATIENCE)?;
    ensure!(gateway.run("alice", &["requests", "--all"])?.contains("given back"));
    ensure!(target.sql(DATABASE, "select count(*) from t")? == "4\n");
    Ok(())
}

#[test]
fn what_runs_with_a_role_is_cut_when_its_window_ends_or_somebody_takes_it() -> Result<()> {
    let (target, gateway) = start()?;
    let admin = gateway.administrator().to_owned();
    let enters = || -> Result<bool> { Ok(gateway.login("guy")?.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success()) };
    ensure!(!enters()?, "guy may open nothing");
    let gone = |text: &str| {
        target.wait_until_true(
            DATABASE,
            &format!("not exists (select from pg_stat_activity where query like '%{text}%' and state = 'active' and pid <> pg_backend_pid())"),
        )
    };
    // The connection itself is guy's by the role alone: all of the session ends with it.
    let asked = ask(&gateway, "guy", "owner", "1h", &[])?;
    ensure!(asked.pointer("/grant/in_force") == Some(&json!(true)), "{asked}");
    let mut psql = gateway.login("guy")?.psql(&target.program("psql"))?.start()?;
    psql.type_line("select pg_sleep(3011);")?;
    target.wait_until_logged("pg_sleep(3011)")?;
    let taken = gateway.run(&admin, &["requests", "revoke", &id_of(&asked)?, "--reason", "enough"])?;
    ensure!(taken.contains("1 live session ended"), "{taken}");
    psql.wait_for("took back the access", PATIENCE)?;
    gone("pg_sleep(3011)")?;
    ensure!(!enters()?, "gone for new sessions as well");

    ask(&gateway, "guy", "owner", "3s", &[])?;
    let mut psql = gateway.login("guy")?.psql(&target.program("psql"))?.start()?;
    psql.type_line("select pg_sleep(3012);")?;
    target.wait_until_logged("pg_sleep(3012)")?;
    psql.wait_for("is over, and this session needed it", PATIENCE)?;
    gone("pg_sleep(3012)")?;

    // alice may stay without it, but not what runs by it.
    let asked = ask(&gateway, "alice", "writer", "1h", &[])?;
    for signer in ["bob", "carol"] {
        gateway.run(signer, &["approve", &id_of(&asked)?, "--yes"])?;
    }
    let alice = gateway.login("alice")?;
    let mut reads = alice.psql(&target.program("psql"))?.args(&["-At"]).start()?;
    let mut writes = alice.psql(&target.program("psql"))?.start()?;
    reads.type_line("select pg_sleep(2), 'read on';")?;
    writes.type_line("insert into t select 100 from pg_sleep(3013);")?;
    // Without it she may ask the same, and would see less.
    let mut sees = alice.psql(&target.program("psql"))?.start()?;
    sees.type_line("select email from c, pg_sleep(3014);")?;
    for mark in ["pg_sleep(3013)", "pg_sleep(3014)"] {
        target.wait_until_logged(mark)?;
    }
    gateway.run("alice", &["requests", "return", &id_of(&asked)?])?;
    for (psql, mark) in [(&mut writes, "pg_sleep(3013)"), (&mut sees, "pg_sleep(3014)")] {
        psql.wait_for("is over, and this session needed it", PATIENCE)?;
        gone(mark)?;
    }
    ensure!(alice.psql(&target.program("psql"))?.args(&["-At", "-c", "select email from c"]).print()? != "ann@example.com\n");
    reads.wait_for("read on", PATIENCE)?;
    Ok(())
}

#[test]
fn a_request_for_one_statement_runs_it_once_and_nothing_else() -> Result<()> {
    let (target, gateway) = start()?;
    let statement = "insert into t values (9)";
    let asked = ask(&gateway, "alice", "writer", "10m", &["--statement", statement])?;
    let id = id_of(&asked)?;
    ensure!(asked.pointer("/grant/in_force") == Some(&json!(true)), "policy grants single statements: {asked}");
    ensure!(refused(&gateway, "bob", &["token", CONNECTION, "--request", &id])?.contains("no request"));
    let run = |secret: &str, sql: &str| -> Result<String> {
        let output = gateway.login_with("alice", secret)?.psql(&target.program("psql"))?.args(&["-At", "-c", sql]).run()?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    let plain = gateway.run("alice", &["token", CONNECTION])?;
    ensure!(run(&plain, statement)?.contains("no policy permits `write`"), "the role counts with its token alone");
    let secret = gateway.run("alice", &["token", CONNECTION, "--request", &id])?;
    ensure!(run(&secret, "insert into t values (10)")?.contains("ERROR"), "another statement");
    let done = run(&secret, statement)?;
    ensure!(done.contains("INSERT 0 1"), "{done}");
    ensure!(run(&secret, statement)?.contains("used up"), "once");
    ensure!(target.sql(DATABASE, "select count(*) from t")? == "4\n");
    Ok(())
}

#[test]
fn what_was_granted_outlives_a_restart_and_what_waits_still_waits() -> Result<()> {
    let (target, mut gateway) = start()?;
    let granted = ask(&gateway, "guy", "owner", "1h", &[])?;
    let waits = id_of(&ask(&gateway, "alice", "writer", "1h", &[])?)?;
    gateway.run("bob", &["approve", &waits, "--yes"])?;
    gateway.kill();
    gateway.start_again()?;
    ensure!(gateway.login("guy")?.psql(&target.program("psql"))?.args(&["-At", "-c", "select count(*) from t"]).print()? == "3\n");
    gateway.run("carol", &["approve", &waits, "--yes"])?;
    ensure!(gateway.login("alice")?.psql(&target.program("psql"))?.args(&["-At", "-c", "insert into t values (4)"]).print()?.contains("INSERT"));
    let denied = id_of(&ask(&gateway, "alice", "writer", "2h", &[])?)?;
    gateway.run("dan", &["deny", &denied, "--reason", "not today"])?;
    ensure!(gateway.run("alice", &["show", &denied])?.contains("not today"));
    gateway.run("guy", &["requests", "return", &id_of(&granted)?])?;
    let events = refused(&gateway, "guy", &["requests", "return", &id_of(&granted)?])?;
    ensure!(events.contains("over already"), "{events}");
    Ok(())
}
