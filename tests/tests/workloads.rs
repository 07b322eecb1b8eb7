//! Jobs that come with the token of their platform: whose it is, what it opens, and its run on every record.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    issuer::Issuer,
    postgres::{DATABASE, PATIENCE, Postgres},
};
use serde_json::{Value, json};

/// A gateway that takes tokens of `ci`, with a workload `nightly` of alice's.
fn start(target: &Postgres, ci: &Issuer) -> Result<Gateway> {
    let setup = Setup::init()?;
    setup.target(target, DATABASE, "")?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    let issuer = format!("[issuers.ci]\nplatform = \"github\"\nissuer = \"{}\"\ninternal = true\n", ci.url);
    setup.write("countersign.toml", &format!("{before}{issuer}"))?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &["engineers"])?;
    let admin = gateway.administrator().to_owned();
    let machine = ["--kind", "workload", "--group", "engineers", "--owner", "alice", "--purpose", "nightly exports", "--expires-in", "30d"];
    gateway.run(&admin, &[["identity", "add", "nightly"].as_slice(), &machine].concat())?;
    gateway.run(&admin, &[["identity", "add", "weekly"].as_slice(), &machine].concat())?;
    Ok(gateway)
}

/// The token of a run, as GitHub shapes them.
fn of_run(ci: &Issuer, change: impl FnOnce(&mut Value)) -> Result<String> {
    let mut claims = json!({
        "sub": "repo:shop/jobs:ref:refs/heads/main", "repository": "shop/jobs", "repository_id": "74", "repository_owner_id": "7", "ref": "refs/heads/main",
        "workflow": "nightly", "run_id": "812", "run_attempt": "1", "sha": "5f3c", "actor_id": "11", "environment": "production",
    });
    change(&mut claims);
    ci.token(Some("JWT"), &claims)
}

/// `countersign token` with the token of a run on standard input: what it printed.
fn exchange(gateway: &Gateway, token: &str, more: &[&str]) -> Result<String> {
    let arguments = [["token", CONNECTION, "--identity-token", "-"].as_slice(), more].concat();
    gateway.run_with("a job", &arguments, token)
}

fn refused(gateway: &Gateway, token: &str, more: &[&str]) -> Result<String> {
    match exchange(gateway, token, more) {
        Ok(printed) => anyhow::bail!("it was exchanged: {printed}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn login(gateway: &Gateway, name: &str, token: &str) -> Result<Login> {
    Ok(Login {
        host: "127.0.0.1".to_owned(),
        port: gateway.port()?,
        user: name.to_owned(),
        database: CONNECTION.to_owned(),
        password: token.trim().to_owned(),
        authority: Some(fs::read_to_string(gateway.setup().file("data/tls/ca.pem"))?),
    })
}

fn trust(gateway: &Gateway, who: &str, name: &str, claims: &[&str]) -> Result<String> {
    let claims = claims.iter().flat_map(|claim| ["--claim", claim]);
    let arguments: Vec<&str> = ["identity", "trust", name, "--issuer", "ci"].into_iter().chain(claims).collect();
    let rule = gateway.json(who, &arguments)?;
    rule.get("id").and_then(Value::as_str).map(str::to_owned).context("no rule")
}

#[test]
fn a_job_needs_no_secret_and_its_run_is_on_every_record() -> Result<()> {
    let (target, ci) = (Postgres::start()?, Issuer::start()?);
    target.sql(DATABASE, "create table orders (id int); alter table orders owner to app")?;
    let gateway = start(&target, &ci)?;
    let admin = gateway.administrator().to_owned();
    let token = of_run(&ci, |_| {})?;
    ensure!(refused(&gateway, &token, &[])?.contains("no workload's here"));
    ensure!(trust(&gateway, "alice", "nightly", &["repository_id=74"]).is_err(), "its owner is no administrator");
    let names = trust(&gateway, &admin, "nightly", &["repository=shop/jobs"]).unwrap_err();
    ensure!(format!("{names:#}").contains("names can be given to somebody else"), "{names:#}");
    trust(&gateway, &admin, "nightly", &["repository_id=74", "ref=refs/heads/main", "environment=production"])?;

    let secret = exchange(&gateway, &token, &["--expires-in", "15m"])?;
    let nightly = login(&gateway, "nightly", &secret)?;
    let logged = nightly.psql(&target.program("psql"))?.args(&["-At", "-c", "select count(*) from orders", "-c", "show application_name"]).print()?;
    ensure!(logged.starts_with("0\n"), "{logged}");
    target.wait_until_logged("nightly (run 812)")?;
    let found = gateway.json(&admin, &["search", "count"])?;
    ensure!(found.to_string().contains("nightly (run 812)"), "{found}");
    let sessions = gateway.json(&admin, &["sessions"])?;
    let session = sessions.pointer("/sessions/0").context("no session")?;
    ensure!(session.get("chain") == Some(&json!("nightly (run 812)")), "{session}");
    let id = session.get("id").and_then(Value::as_str).context("no id")?;
    let records = gateway.run(&admin, &["show", id, "--json"])?;
    for part in ["\"repository_id\":\"74\"", "\"run_id\":\"812\"", "\"sha\":\"5f3c\"", "\"issuer\":\"ci\""] {
        ensure!(records.replace("\": ", "\":").contains(part), "{part} is not in {records}");
    }
    let shown = gateway.run(&admin, &["identity", "show", "nightly"])?;
    ensure!(shown.contains("repository_id=74") && shown.contains("alice"), "{shown}");
    // The token opens nothing but its connection, and not as another.
    ensure!(!login(&gateway, "weekly", &secret)?.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success());
    Ok(())
}

#[test]
fn a_token_is_a_workloads_by_all_its_claims_and_of_now() -> Result<()> {
    let (target, ci) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &ci)?;
    let admin = gateway.administrator().to_owned();
    trust(&gateway, &admin, "nightly", &["repository_id=74", "environment=production"])?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let wrong: BTreeMap<&str, (Value, &str)> = BTreeMap::from([
        ("repository_id", (json!("740"), "no workload's")),
        ("environment", (json!("staging"), "no workload's")),
        ("aud", (json!("https://github.com/shop"), "for somebody else")),
        ("exp", (json!(now - 100), "expired")),
        ("iat", (json!(now + 3_600), "the clocks differ")),
        ("iss", (json!("https://token.actions.example"), "no issuer of this gateway")),
        ("nonce", (json!("n"), "of another kind")),
        ("sub", (Value::Null, "no claim `sub`")),
    ]);
    for (name, (value, expected)) in wrong {
        let token = of_run(&ci, |claims| drop(claims.as_object_mut().map(|claims| claims.insert(name.to_owned(), value.clone()))))?;
        let said = refused(&gateway, &token, &[])?;
        ensure!(said.contains(expected), "{name} {value}: {said}");
    }
    ensure!(refused(&gateway, "no token", &[])?.contains("no issuer"));
    ensure!(refused(&gateway, &"x".repeat(70_000), &[]).is_ok());
    ci.say(|script| script.foreign_key = true);
    ensure!(refused(&gateway, &of_run(&ci, |_| {})?, &[])?.contains("signature is wrong"));
    ci.say(|script| script.foreign_key = false);
    let token = of_run(&ci, |_| {})?;
    ensure!(refused(&gateway, &token, &["--expires-in", "2h"])?.contains("1 to 3600 seconds"));
    // Good for two of them: which one is to be said.
    trust(&gateway, &admin, "weekly", &["repository_owner_id=7"])?;
    ensure!(refused(&gateway, &token, &[])?.contains("nightly and weekly"));
    exchange(&gateway, &token, &["--workload", "weekly"])?;
    // Workloads that are over get nothing.
    gateway.run(&admin, &["identity", "revoke", "weekly"])?;
    ensure!(refused(&gateway, &token, &["--workload", "weekly"])?.contains("revoked or has expired"));
    exchange(&gateway, &token, &["--workload", "nightly"])?;
    Ok(())
}

#[test]
fn what_was_given_out_by_a_rule_ends_with_it() -> Result<()> {
    let (target, ci) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &ci)?;
    let admin = gateway.administrator().to_owned();
    let rule = trust(&gateway, &admin, "nightly", &["repository_id=74"])?;
    let token = of_run(&ci, |_| {})?;
    let nightly = login(&gateway, "nightly", &exchange(&gateway, &token, &[])?)?;
    let mut psql = nightly.psql(&target.program("psql"))?.start()?;
    psql.type_line("select pg_sleep(3001);")?;
    target.wait_until_logged("pg_sleep(3001)")?;
    // The workload's owner may end it, who could not begin it.
    gateway.run("alice", &["identity", "distrust", "nightly", &rule])?;
    psql.wait_for("was revoked", PATIENCE)?;
    let gone = "not exists (select from pg_stat_activity where query like '%pg_sleep(3001)%' and state = 'active' and pid <> pg_backend_pid())";
    target.wait_until_true(DATABASE, gone)?;
    ensure!(refused(&gateway, &token, &[])?.contains("no workload's"));
    ensure!(!nightly.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success());
    ensure!(gateway.run(&admin, &["identity", "distrust", "nightly", &rule]).is_err());
    Ok(())
}
