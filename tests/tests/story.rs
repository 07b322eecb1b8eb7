//! The whole story at one gateway: people of a real provider, a job without a secret, an agent for two people, one statement, one request. Everyone arrives as themselves, and is gone when
//! they should be.

use std::{fs, io::Write};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    gateway::{CONNECTION, Gateway, Setup},
    issuer::Issuer,
    keycloak::{CLIENT_SECRET, Keycloak, at_work, sign_in},
    postgres::{DATABASE, PATIENCE, Postgres},
};
use serde_json::{Value, json};

const REQUESTS: &str = r#"
permit (principal in Group::"settlers", action == Action::"configure", resource in Environment::"production");
permit (principal in Group::"engineers", action == Action::"request", resource == Role::"prod-pg/settler");
@id("settlers") @approvers("dba") @count("2") @reason("settings in production need two signatures")
forbid (principal, action == Action::"request", resource == Role::"prod-pg/settler") unless { context.approved };
"#;

struct House {
    target: Postgres,
    keycloak: Keycloak,
    ci: Issuer,
    gateway: Gateway,
    contractor: String,
    leaver: String,
}

impl House {
    fn open() -> Result<Self> {
        let (target, ci) = (Postgres::start()?, Issuer::start()?);
        target.sql(DATABASE, "create table orders (id int); alter table orders owner to app")?;
        let setup = Setup::init()?;
        setup.target(&target, DATABASE, "[roles]\nsettler = \"settlers\"\n")?;
        setup.write("policy/requests.cedar", REQUESTS)?;
        let keycloak = Keycloak::start(&setup.file("data/tls/ca.pem"))?;
        // Keycloak must know where to send logouts, so this port is chosen before.
        let api = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        keycloak.make_realm(&format!("https://{api}"))?;
        let before = fs::read_to_string(setup.file("countersign.toml"))?.replace("api = \"127.0.0.1:0\"", &format!("api = \"{api}\""));
        let jobs = format!("[issuers.ci]\nplatform = \"github\"\nissuer = \"{}\"\ninternal = true\n", ci.url);
        setup.write("countersign.toml", &format!("{before}{}{jobs}", keycloak.settings("check_every_s = 2")))?;
        let contractor = keycloak.add_person("carl", &["engineers", "contractors"])?;
        let leaver = keycloak.add_person("lea", &["engineers"])?;
        for name in ["dora", "erin"] {
            keycloak.add_person(name, &["engineers"])?;
        }
        let mut gateway = setup.serve()?;
        gateway.run_with(gateway.administrator(), &["secret", "set", "keycloak"], CLIENT_SECRET)?;
        for name in ["bob", "dan"] {
            gateway.add_user(name, &["dba"])?;
        }
        for name in ["carl", "lea", "dora", "erin"] {
            sign_in(&gateway, name)?;
        }
        Ok(Self { target, keycloak, ci, gateway, contractor, leaver })
    }

    fn admin(&self, arguments: &[&str]) -> Result<String> {
        self.gateway.run(self.gateway.administrator(), arguments)
    }

    /// What a statement printed to whoever comes with this token, and the errors.
    fn says(&self, name: &str, secret: &str, sql: &str) -> Result<String> {
        let output = self.gateway.login_with(name, secret)?.psql(&self.target.program("psql"))?.args(&["-At", "-c", sql]).run()?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    fn gone(&self, mark: u32) -> Result<()> {
        let gone = format!(
            "not exists (select from pg_stat_activity where query like '%pg_sleep({mark})%' and state = 'active' and pid <> pg_backend_pid())"
        );
        self.target.wait_until_true(DATABASE, &gone)
    }

    fn the_contractor_is_cut_where_he_signed_in(&self) -> Result<()> {
        let mut carl = at_work(&self.gateway, &self.target, "carl", 4001)?;
        self.keycloak.log_out(&self.contractor)?;
        carl.wait_for("it was ended there", PATIENCE)?;
        self.gone(4001)?;
        ensure!(self.gateway.run("carl", &["whoami"]).is_err());
        Ok(())
    }

    fn somebody_barred_there_is_found_out(&self) -> Result<()> {
        let mut lea = at_work(&self.gateway, &self.target, "lea", 4002)?;
        self.keycloak.disable(&self.leaver)?;
        lea.wait_for("it was not renewed", PATIENCE)?;
        self.gone(4002)
    }

    /// The token of a run, as GitHub shapes them.
    fn run_of(&self, repository: &str) -> Result<String> {
        let claims = json!({
            "sub": "repo:shop/jobs:ref:refs/heads/main", "repository": "shop/jobs", "repository_id": repository, "repository_owner_id": "7",
            "ref": "refs/heads/main", "workflow": "nightly", "run_id": "812", "run_attempt": "1", "sha": "5f3c", "actor_id": "11",
        });
        self.ci.token(Some("JWT"), &claims)
    }

    fn machine(&self, name: &str, kind: &str, repository: &str) -> Result<()> {
        let made =
            ["identity", "add", name, "--kind", kind, "--group", "engineers", "--owner", "dora", "--purpose", "exports", "--expires-in", "30d"];
        self.admin(&made)?;
        self.admin(&["identity", "trust", name, "--issuer", "ci", "--claim", &format!("repository_id={repository}")]).map(drop)
    }

    fn a_job_gets_fifteen_minutes_and_its_run_is_on_each_statement(&self) -> Result<()> {
        self.machine("nightly", "workload", "74")?;
        let arguments = ["token", CONNECTION, "--identity-token", "-", "--expires-in", "15m"];
        let secret = self.gateway.run_with("a job", &arguments, &self.run_of("74")?)?;
        ensure!(self.says("nightly", &secret, "select count(*) from orders")? == "0\n");
        self.target.wait_until_logged("nightly (run 812)")?;
        ensure!(self.gateway.run_with("a job", &["token", "other-pg", "--identity-token", "-"], &self.run_of("74")?).is_err(), "on one connection");
        let tokens = self.gateway.json("dora", &["token", "list", "--all"])?;
        let tokens = tokens.get("tokens").and_then(Value::as_array).context("no tokens")?;
        let its = tokens.iter().find(|token| token.get("subject") == Some(&json!("nightly"))).context("not listed")?;
        let time = |key: &str| its.get(key).and_then(Value::as_str).context("no time");
        let lasts = format!("select extract(epoch from timestamptz '{}' - timestamptz '{}')::int", time("expires_at")?, time("created_at")?);
        ensure!(self.target.sql(DATABASE, &lasts)? == "900\n", "{its}");
        let found = self.admin(&["search", "orders", "identity:nightly", "--json"])?;
        ensure!(found.contains("nightly (run 812)"), "{found}");
        Ok(())
    }

    fn an_agent_acts_for_two_people_and_the_records_tell_them_apart(&self) -> Result<()> {
        self.machine("support-bot", "agent", "75")?;
        for (person, mark) in [("dora", "select count(*) from orders where id = 501"), ("erin", "select count(*) from orders where id = 502")] {
            let mut given = tempfile::NamedTempFile::new()?;
            given.write_all(self.gateway.run(person, &["token", CONNECTION, "--to", "support-bot"])?.as_bytes())?;
            let place = given.path().to_str().context("no path")?;
            let arguments = ["token", CONNECTION, "--identity-token", "-", "--on-behalf-of", place];
            let secret = self.gateway.run_with("a bot", &arguments, &self.run_of("75")?)?;
            ensure!(self.says(person, &secret, mark)? == "0\n");
            let theirs = self.gateway.json(self.gateway.administrator(), &["search", "orders", &format!("identity:{person}")])?;
            let (own, other) = (format!("{person} via support-bot (run 812)"), if person == "dora" { "erin via" } else { "dora via" });
            ensure!(theirs.to_string().contains(&own) && !theirs.to_string().contains(other), "{theirs}");
        }
        Ok(())
    }

    fn a_token_runs_its_one_statement_and_nothing_else(&self) -> Result<()> {
        let secret = self.gateway.run("dora", &["token", CONNECTION, "--statement", "insert into orders values (7)"])?;
        ensure!(self.says("dora", &secret, "select 1")?.contains("ERROR"));
        ensure!(self.says("dora", &secret, "insert into orders values (7)")?.contains("INSERT 0 1"));
        ensure!(self.says("dora", &secret, "insert into orders values (7)")?.contains("used up"));
        Ok(())
    }

    fn a_request_gets_two_signatures_and_none_of_its_own_side(&self) -> Result<()> {
        let mut psql = {
            let token = self.gateway.run("erin", &["token", CONNECTION])?;
            self.gateway.login_with("erin", &token)?.psql(&self.target.program("psql"))?.args(&["-At"]).start()?
        };
        psql.type_line("set search_path to public;")?;
        psql.wait_for("no policy permits `configure`", PATIENCE)?;
        let asked = ["request", CONNECTION, "--role", "settler", "--for", "10m", "--reason", "INC-4711"];
        let asked = self.gateway.json("erin", &asked)?;
        let id = asked.get("id").and_then(Value::as_str).context("no id")?.to_owned();
        let made = ["identity", "add", "helper", "--kind", "agent", "--group", "dba", "--owner", "erin", "--purpose", "helps", "--expires-in", "1d"];
        self.admin(&made)?;
        let of_helper = self.gateway.run("erin", &["token", CONNECTION, "--for", "helper"])?;
        let tried = self.gateway.command("helper")?.args(["approve", &id, "--yes"]).env("COUNTERSIGN_TOKEN", of_helper.trim()).output()?;
        ensure!(!tried.status.success(), "her own agent signed");
        ensure!(self.gateway.run("erin", &["approve", &id, "--yes"]).is_err(), "she signed herself");
        self.gateway.run("bob", &["approve", &id, "--yes"])?;
        ensure!(self.gateway.run("bob", &["approve", &id, "--yes"]).is_err(), "one person twice");
        psql.type_line("set search_path to public;")?;
        psql.wait_for("no policy permits `configure`", PATIENCE)?;
        self.gateway.run("dan", &["approve", &id, "--yes"])?;
        psql.type_line("set search_path to public;")?;
        psql.wait_for("SET", PATIENCE)?;
        Ok(())
    }

    fn the_three_questions_are_answered_for_the_job(&self) -> Result<()> {
        let explained = self.gateway.json("dora", &["explain", "nightly"])?;
        let identity = explained.get("identity").context("nobody")?;
        ensure!(
            identity.get("created_by") == Some(&json!(self.gateway.administrator())) && identity.get("owner") == Some(&json!("dora")),
            "{explained}"
        );
        ensure!(explained.pointer("/entered/kind") == Some(&json!("identity.added")), "by what change: {explained}");
        ensure!(explained.pointer("/reach/0/connection") == Some(&json!(CONNECTION)), "what it can reach: {explained}");
        let used = explained.get("used").map(Value::to_string).unwrap_or_default();
        ensure!(used.contains("public.orders") && used.contains("read"), "what it used: {used}");
        let through = explained.get("through").map(Value::to_string).unwrap_or_default();
        ensure!(through.contains("platform") && through.contains("owner"), "who can act through it: {through}");
        Ok(())
    }
}

#[test]
fn everyone_arrives_as_themselves_and_is_gone_when_they_should_be() -> Result<()> {
    let house = House::open()?;
    house.a_job_gets_fifteen_minutes_and_its_run_is_on_each_statement()?;
    house.an_agent_acts_for_two_people_and_the_records_tell_them_apart()?;
    house.a_token_runs_its_one_statement_and_nothing_else()?;
    house.a_request_gets_two_signatures_and_none_of_its_own_side()?;
    house.the_three_questions_are_answered_for_the_job()?;
    house.the_contractor_is_cut_where_he_signed_in()?;
    house.somebody_barred_there_is_found_out()
}
