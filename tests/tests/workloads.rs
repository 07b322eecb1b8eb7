//! Jobs that come with the token of their platform: whose it is, what it opens, and its run on every record.

use std::{collections::BTreeMap, fs, io::Write};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
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
    let nightly = gateway.login_with("nightly", &secret)?;
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
    // The three questions: who made it and answers for it, what it can reach, what it used; and the other way round.
    let explained = gateway.json("alice", &["explain", "nightly"])?;
    ensure!(
        explained.pointer("/identity/owner") == Some(&json!("alice")) && explained.pointer("/identity/created_by") == Some(&json!(admin)),
        "{explained}"
    );
    ensure!(explained.pointer("/reach/0/connection") == Some(&json!(CONNECTION)), "{explained}");
    let entered = explained.get("entered").context("no change")?;
    ensure!(entered.get("kind") == Some(&json!("identity.added")) && entered.get("actor") == Some(&json!(admin)), "{entered}");
    ensure!(entered.pointer("/detail/owner") == Some(&json!("alice")) && entered.get("number").is_some_and(Value::is_u64), "{entered}");
    let through = explained.get("through").map(Value::to_string).unwrap_or_default();
    ensure!(through.contains(r#""who":"alice""#) && through.contains(r#""how":"platform""#) && !through.contains(&admin), "{through}");
    let told = gateway.run(&admin, &["explain", "nightly"])?;
    ensure!(told.contains("mints its tokens as an administrator") && told.contains("its jobs get tokens of it"), "{told}");
    ensure!(told.contains("identity.added)"), "{told}");
    let used = explained.get("used").map(Value::to_string).unwrap_or_default();
    ensure!(used.contains("public.orders") && used.contains("read"), "{used}");
    let can = gateway.json(&admin, &["who-can", "read", &format!("{CONNECTION}/public.orders")])?;
    let names = |list: &Value, key: &str| -> Vec<String> {
        let list = list.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|one| one.get("identity")?.as_str().map(str::to_owned)).collect()
    };
    ensure!(names(&can, "who") == ["alice", "nightly", "weekly"], "{can}");
    ensure!(names(&gateway.json("alice", &["who-can", "read", CONNECTION])?, "who").contains(&"nightly".to_owned()), "of what one owns");
    let touched = gateway.json(&admin, &["who-touched", "public.orders", "--since", "1h"])?;
    ensure!(names(&touched, "touched") == ["nightly"] && touched.pointer("/touched/0/action") == Some(&json!("read")), "{touched}");
    ensure!(names(&gateway.json(&admin, &["who-touched", "other-pg/public.orders"])?, "touched").is_empty());
    // The token opens nothing but its connection, and not as another.
    ensure!(!gateway.login_with("weekly", &secret)?.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success());
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
    let nightly = gateway.login_with("nightly", &exchange(&gateway, &token, &[])?)?;
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
    ensure!(gateway.run(&admin, &["identity", "distrust", "nightly", &rule])?.contains("0 live"), "again is as well");
    ensure!(gateway.run(&admin, &["identity", "distrust", "weekly", &rule]).is_err(), "of another workload");
    Ok(())
}

/// What somebody gave an agent, in a file of its own.
fn delegation(gateway: &Gateway, who: &str, agent: &str) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(gateway.run(who, &["token", CONNECTION, "--to", agent, "--expires-in", "2h"])?.as_bytes())?;
    Ok(file)
}

fn act(gateway: &Gateway, token: &str, delegation: &tempfile::NamedTempFile) -> Result<String> {
    let file = delegation.path().to_str().context("no path")?;
    exchange(gateway, token, &["--on-behalf-of", file])
}

#[test]
fn an_agent_acts_for_people_by_what_they_gave_it_and_the_records_tell_them_apart() -> Result<()> {
    let (target, ci) = (Postgres::start()?, Issuer::start()?);
    target.sql(DATABASE, "create table orders (id int); alter table orders owner to app")?;
    let mut gateway = start(&target, &ci)?;
    let admin = gateway.administrator().to_owned();
    gateway.add_user("carol", &["engineers"])?;
    gateway.add_user("bob", &["dba"])?;
    gateway.add_user("nobody-much", &["guests"])?;
    for agent in ["support-bot", "other-bot"] {
        let made = [
            "identity",
            "add",
            agent,
            "--kind",
            "agent",
            "--group",
            "engineers",
            "--owner",
            "alice",
            "--purpose",
            "answers tickets",
            "--expires-in",
            "30d",
        ];
        gateway.run(&admin, &made)?;
    }
    gateway.run(&admin, &["identity", "groups", "alice", "engineers", "dba"])?;
    trust(&gateway, &admin, "support-bot", &["repository_id=74"])?;
    trust(&gateway, &admin, "other-bot", &["repository_id=75"])?;
    let (bot, other) = (
        of_run(&ci, |_| {})?,
        of_run(&ci, |claims| drop(claims.as_object_mut().map(|claims| claims.insert("repository_id".to_owned(), json!("75")))))?,
    );

    for person in ["alice", "carol"] {
        let given = delegation(&gateway, person, "support-bot")?;
        let text = fs::read_to_string(given.path())?;
        ensure!(text.starts_with("cs_d_"), "{text}");
        // By itself it opens nothing, for nobody; nor is it another agent's.
        ensure!(!gateway.login_with(person, &text)?.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success());
        ensure!(format!("{:#}", act(&gateway, &other, &given).unwrap_err()).contains("none of other-bot's"));
        let secret = act(&gateway, &bot, &given)?;
        let acting = gateway.login_with(person, &secret)?;
        ensure!(
            acting
                .psql(&target.program("psql"))?
                .args(&["-At", "-c", &format!("select count(*) from orders where id = {}", person.len())])
                .print()?
                == "0\n"
        );
        target.wait_until_logged(&format!("{person} via support-bot (run 812)"))?;
        let found = gateway.run(&admin, &["search", "orders", "--json"])?;
        ensure!(found.contains(&format!("{person} via support-bot (run 812)")), "{found}");
    }
    // Policy must allow both: the agent may, the person may not.
    ensure!(gateway.run("nobody-much", &["token", CONNECTION, "--to", "support-bot"]).is_err());
    ensure!(gateway.run("alice", &["token", CONNECTION, "--to", "nightly"]).is_err(), "a workload is no agent");

    // What alice gave ends when she wants it, with what the agent is doing then.
    let given = delegation(&gateway, "alice", "support-bot")?;
    let acting = gateway.login_with("alice", &act(&gateway, &bot, &given)?)?;
    let mut psql = acting.psql(&target.program("psql"))?.start()?;
    psql.type_line("select pg_sleep(3002);")?;
    target.wait_until_logged("pg_sleep(3002)")?;
    // A statement of the agent's that waits for a signature is not for the person behind it to sign.
    let mut waiting = acting.psql(&target.program("psql"))?.start()?;
    waiting.type_line("drop table orders;")?;
    let notice = waiting.wait_for("held for approval", PATIENCE)?;
    let hold = notice.rsplit(|c: char| !c.is_alphanumeric() && c != '_').find(|word| word.starts_with("h_")).context("no hold")?.to_owned();
    let own = gateway.run("alice", &["approve", &hold, "--yes"]).unwrap_err();
    ensure!(format!("{own:#}").contains("own"), "{own:#}");
    gateway.run("bob", &["approve", &hold, "--yes"])?;
    waiting.wait_for("DROP TABLE", PATIENCE)?;
    for member in ["alice", "support-bot"] {
        let theirs = gateway.json(&admin, &["sessions", "--identity", member])?;
        ensure!(theirs.to_string().contains("alice via support-bot (run 812)"), "{member}: {theirs}");
    }
    ensure!(gateway.json("alice", &["sessions", "--identity", "support-bot"])?.to_string().contains("alice via support-bot"), "of what one owns");
    let tokens = gateway.json("alice", &["token", "list"])?;
    let tokens = tokens.get("tokens").and_then(Value::as_array).context("no tokens")?;
    let last = tokens.iter().find(|token| token.get("purpose") == Some(&json!("delegate"))).context("not listed")?;
    gateway.run("alice", &["token", "revoke", last.get("id").and_then(Value::as_str).context("no id")?])?;
    psql.wait_for("was revoked", PATIENCE)?;
    ensure!(act(&gateway, &bot, &given).is_err());
    Ok(())
}

#[test]
fn an_issuer_is_revoked_with_what_its_jobs_got_until_it_is_allowed() -> Result<()> {
    let (target, ci) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &ci)?;
    let admin = gateway.administrator().to_owned();
    trust(&gateway, &admin, "nightly", &["repository_id=74"])?;
    let token = of_run(&ci, |_| {})?;
    let secret = exchange(&gateway, &token, &[])?;
    let mut psql = gateway.login_with("nightly", &secret)?.psql(&target.program("psql"))?.start()?;
    psql.type_line("select pg_sleep(2071);")?;
    target.wait_until_logged("pg_sleep(2071)")?;
    let told = gateway.run(&admin, &["provider", "revoke", "ci"])?;
    ensure!(told.contains("1 live session ended"), "{told}");
    psql.wait_for("was revoked", PATIENCE)?;
    let said = refused(&gateway, &token, &[])?;
    ensure!(said.contains("ci is revoked here"), "{said}");
    gateway.run(&admin, &["provider", "allow", "ci"])?;
    let again = exchange(&gateway, &token, &[])?;
    let opens = |secret: &str| -> Result<bool> {
        Ok(gateway.login_with("nightly", secret)?.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success())
    };
    ensure!(opens(&again)? && !opens(&secret)?, "what ended stays ended");
    Ok(())
}
