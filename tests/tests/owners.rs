//! Who answers for workloads and agents: an owner who leaves, however that comes about, and what becomes of what they own.

use std::fs;

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Running,
    gateway::{CONNECTION, Gateway, Setup},
    issuer::{CLIENT_SECRET, Issuer, get},
    postgres::{DATABASE, PATIENCE, Postgres},
};
use serde_json::{Value, json};

/// A gateway with these further lines of `countersign.toml`, and a user bob.
fn start(target: &Postgres, more: &str) -> Result<Gateway> {
    let setup = Setup::init()?;
    setup.target(target, DATABASE, "")?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write("countersign.toml", &format!("{before}{more}"))?;
    let mut gateway = setup.serve()?;
    gateway.add_user("bob", &["engineers"])?;
    Ok(gateway)
}

fn add_workload(gateway: &Gateway, name: &str, owner: &str, expires_in: &str) -> Result<()> {
    let machine = ["--kind", "workload", "--group", "engineers", "--owner", owner, "--purpose", "nightly exports", "--expires-in", expires_in];
    gateway.run(gateway.administrator(), &[["identity", "add", name].as_slice(), &machine].concat()).map(drop)
}

/// A psql of the workload's that runs something long, opened with a token that its owner or an administrator minted.
fn at_work(target: &Postgres, gateway: &Gateway, name: &str, minter: &str, mark: u32) -> Result<Running> {
    let token = gateway.run(minter, &["token", CONNECTION, "--for", name, "--expires-in", "2h"])?;
    let mut psql = gateway.login_with(name, &token)?.psql(&target.program("psql"))?.start()?;
    psql.type_line(&format!("select pg_sleep({mark});"))?;
    target.wait_until_logged(&format!("pg_sleep({mark})"))?;
    Ok(psql)
}

fn shown(gateway: &Gateway, name: &str) -> Result<Value> {
    let details = gateway.json(gateway.administrator(), &["identity", "show", name])?;
    details.get("identity").cloned().context("no identity")
}

#[test]
fn what_an_owner_leaves_is_orphaned_until_somebody_takes_it_on() -> Result<()> {
    let target = Postgres::start()?;
    let mut gateway = start(&target, "")?;
    let admin = gateway.administrator().to_owned();
    gateway.add_user("alice", &["engineers"])?;
    add_workload(&gateway, "nightly", "alice", "90d")?;
    let before = shown(&gateway, "nightly")?;
    let mut psql = at_work(&target, &gateway, "nightly", "alice", 4001)?;
    gateway.run(&admin, &["identity", "revoke", "alice"])?;

    let orphan = shown(&gateway, "nightly")?;
    ensure!(orphan.get("orphaned_at").is_some_and(Value::is_string) && orphan.get("owner") == Some(&json!("alice")), "{orphan}");
    let end = |identity: &Value| identity.get("expires_at").and_then(Value::as_str).map(str::to_owned);
    ensure!(end(&orphan).is_some() && end(&orphan) < end(&before), "{orphan}");
    let list = gateway.run(&admin, &["identity", "list"])?;
    ensure!(list.lines().any(|line| line.contains("nightly") && line.contains("orphaned")), "{list}");
    let told = gateway.run(&admin, &["identity", "show", "nightly"])?;
    ensure!(told.contains("alice has left") && told.contains("identity own"), "{told}");
    ensure!(gateway.printed().contains("an identity is orphaned"), "{}", gateway.printed());
    let renewed = gateway.run(&admin, &["identity", "renew", "nightly", "--expires-in", "200d"]).unwrap_err();
    ensure!(format!("{renewed:#}").contains("nobody answers for `nightly`"), "{renewed:#}");
    // What it does goes on meanwhile.
    let active = "exists (select from pg_stat_activity where query like '%pg_sleep(4001)%' and state = 'active' and pid <> pg_backend_pid())";
    target.wait_until_true(DATABASE, active)?;

    gateway.run(&admin, &["identity", "own", "nightly", "bob"])?;
    let taken_on = shown(&gateway, "nightly")?;
    ensure!(taken_on.get("orphaned_at") == Some(&Value::Null) && taken_on.get("expires_at") == before.get("expires_at"), "{taken_on}");
    ensure!(taken_on.get("owner") == Some(&json!("bob")), "{taken_on}");
    target.wait_until_true(DATABASE, active)?;
    psql.type_line("\\q")?;
    Ok(())
}

#[test]
fn owners_are_told_of_an_end_that_comes_near_where_they_look_anyway() -> Result<()> {
    let target = Postgres::start()?;
    let mut gateway = start(&target, "[identities]\nexpiring_days = 20\n")?;
    let admin = gateway.administrator().to_owned();
    gateway.add_user("alice", &["engineers"])?;
    add_workload(&gateway, "nightly", "alice", "19d")?;
    add_workload(&gateway, "weekly", "alice", "90d")?;
    let names = |answer: &Value| -> Vec<String> {
        let ending = answer.get("ending").and_then(Value::as_array).into_iter().flatten();
        ending.filter_map(|one| one.get("name")?.as_str().map(str::to_owned)).collect()
    };
    for command in ["whoami", "status"] {
        ensure!(names(&gateway.json("alice", &[command])?) == ["nightly"], "{command}");
        ensure!(names(&gateway.json("bob", &[command])?).is_empty(), "{command}");
        let told = gateway.run("alice", &[command])?;
        ensure!(told.contains("ends soon") && told.contains("nightly of alice") && !told.contains("weekly"), "{told}");
    }
    ensure!(names(&gateway.json(&admin, &["status"])?) == ["nightly"] && names(&gateway.json(&admin, &["whoami"])?).is_empty());
    let logged = gateway.wait_until_printed("an identity stops before long")?;
    ensure!(logged.contains("identity=nightly") && logged.contains("owner=\"alice\""), "{logged}");
    gateway.run(&admin, &["identity", "renew", "nightly", "--expires-in", "90d"])?;
    ensure!(names(&gateway.json("alice", &["whoami"])?).is_empty());
    Ok(())
}

#[test]
fn owners_are_told_of_a_key_that_nears_its_end() -> Result<()> {
    let target = Postgres::start()?;
    let mut gateway = start(&target, "[identities]\nexpiring_days = 20\n")?;
    let admin = gateway.administrator().to_owned();
    gateway.add_user("alice", &["engineers"])?;
    add_workload(&gateway, "nightly", "alice", "90d")?;
    let mut ids = Vec::new();
    for span in ["19d", "60d"] {
        let file = gateway.setup().file(&format!("{span}.pem"));
        fs::write(&file, rcgen::KeyPair::generate()?.public_key_pem())?;
        let file = file.to_str().context("no path")?;
        let key = gateway.json(&admin, &["identity", "key", "add", "nightly", "--public-key", file, "--expires-in", span])?;
        ids.push(key.get("id").and_then(Value::as_str).context("no key")?.to_owned());
    }
    let keys = |answer: &Value| -> Vec<String> {
        let ending = answer.get("ending_keys").and_then(Value::as_array).into_iter().flatten();
        ending.filter_map(|one| one.get("id")?.as_str().map(str::to_owned)).collect()
    };
    for command in ["whoami", "status"] {
        ensure!(keys(&gateway.json("alice", &[command])?) == ids[..1], "{command}");
        ensure!(keys(&gateway.json("bob", &[command])?).is_empty(), "{command}");
        let told = gateway.run("alice", &[command])?;
        ensure!(told.contains("ends soon") && told.contains(&ids[0]) && told.contains("identity key add") && !told.contains(&ids[1]), "{told}");
    }
    let logged = gateway.wait_until_printed("a key ends before long")?;
    ensure!(logged.contains("identity=nightly") && logged.contains("owner=\"alice\"") && logged.contains(&ids[0]), "{logged}");
    Ok(())
}

#[test]
fn an_owner_whom_the_provider_bars_is_found_out_and_what_is_theirs_stops_at_the_deadline() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let settings = issuer.settings("check_every_s = 1");
    let gateway = start(&target, &format!("[identities]\norphaned_grace_days = 0\nowner_absent_days = 0\n{settings}"))?;
    let admin = gateway.administrator().to_owned();
    gateway.run_with(&admin, &["secret", "set", "idp"], CLIENT_SECRET)?;
    let mut command = gateway.command("alice")?;
    command.arg("login").env("BROWSER", "true");
    let mut login = Running::start(command)?;
    let line = login.wait_for("/authorize?", PATIENCE)?;
    get(&issuer.browse(line.split_whitespace().find(|word| word.starts_with("http")).context("no URL")?)?)?;
    ensure!(login.finish(PATIENCE)?.0.success());
    for (name, owner) in [("nightly", "alice"), ("weekly", "bob")] {
        add_workload(&gateway, name, owner, "90d")?;
    }
    let mut nightly = at_work(&target, &gateway, "nightly", "alice", 4002)?;
    let mut weekly = at_work(&target, &gateway, "weekly", "bob", 4003)?;

    issuer.say(|script| script.refreshes = false);
    nightly.wait_for("the access that opened this session ended", PATIENCE)?;
    let gone = "not exists (select from pg_stat_activity where query like '%pg_sleep(4002)%' and state = 'active' and pid <> pg_backend_pid())";
    target.wait_until_true(DATABASE, gone)?;
    let stopped = shown(&gateway, "nightly")?;
    ensure!(stopped.get("orphaned_at").is_some_and(Value::is_string), "{stopped}");
    let details = gateway.json(&admin, &["identity", "show", "nightly"])?;
    ensure!(details.pointer("/tokens/0/revoked_at").is_some_and(Value::is_string), "{details}");
    let refused = gateway.run(&admin, &["token", CONNECTION, "--for", "nightly"]).unwrap_err();
    ensure!(format!("{refused:#}").contains("was revoked or has expired"), "{refused:#}");
    ensure!(gateway.printed().contains("an orphaned identity has stopped"), "{}", gateway.printed());
    // Of others nothing ends; and somebody may still take it on.
    let going_on = "exists (select from pg_stat_activity where query like '%pg_sleep(4003)%' and state = 'active' and pid <> pg_backend_pid())";
    target.wait_until_true(DATABASE, going_on)?;
    gateway.run(&admin, &["identity", "own", "nightly", "bob"])?;
    gateway.run("bob", &["token", CONNECTION, "--for", "nightly"])?;
    weekly.type_line("\\q")?;
    Ok(())
}
