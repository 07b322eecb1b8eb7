//! Agents that pass on what they were given: everybody in the chain is seen, asked and barred, and each link ends with the one before.

use std::fs;

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::Running,
    gateway::{CONNECTION, Gateway},
    issuer::{Issuer, json_of},
    postgres::{DATABASE, PATIENCE, Postgres},
};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::form_urlencoded;

const CALLED: &str = "https://gateway.test:7443";
const FORM: &str = "application/x-www-form-urlencoded";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A gateway with the starter policies, an agent support-bot of sam's that has a key, and sql-helper of barbara's that comes with tokens of `ci`.
struct Stand {
    target: Postgres,
    ci: Issuer,
    gateway: Gateway,
    files: TempDir,
}

impl Stand {
    fn start() -> Result<Self> {
        let (target, ci) = (Postgres::start()?, Issuer::start()?);
        target.sql(DATABASE, "create table t (id int primary key); insert into t values (1), (2), (3); alter table t owner to app")?;
        let issuer = format!("[tokens]\nissuer = \"{CALLED}\"\n[issuers.ci]\nplatform = \"github\"\nissuer = \"{}\"\ninternal = true\n", ci.url);
        let gateway = Gateway::with_starter_policies(&target, &[], &issuer)?;
        let stand = Self { target, ci, gateway, files: tempfile::tempdir()? };
        let admin = stand.gateway.administrator().to_owned();
        for (name, owner) in [("support-bot", "sam"), ("sql-helper", "barbara"), ("third-bot", "sam")] {
            let more = ["--kind", "agent", "--group", "engineers", "--owner", owner, "--purpose", "answers tickets", "--expires-in", "60d"];
            stand.gateway.run(&admin, &[["identity", "add", name].as_slice(), &more].concat())?;
        }
        for name in ["support-bot", "third-bot"] {
            let pair = KeyPair::generate()?;
            let (private, public) = (stand.file(&format!("{name}.key"), &pair.serialize_pem())?, stand.file("public.pem", &pair.public_key_pem())?);
            ensure!(!private.is_empty());
            stand.gateway.run(&admin, &["identity", "key", "add", name, "--public-key", &public, "--expires-in", "30d"])?;
        }
        stand.gateway.run(&admin, &["identity", "trust", "sql-helper", "--issuer", "ci", "--claim", "repository_id=74"])?;
        Ok(stand)
    }

    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.files.path().join(name);
        fs::write(&path, text)?;
        Ok(path.to_str().context("no path")?.to_owned())
    }

    /// What a person prints for support-bot.
    fn given(&self) -> Result<String> {
        self.gateway.run("alice", &["token", CONNECTION, "--to", "support-bot", "--expires-in", "1h"])
    }

    /// `countersign token` of an agent that has a key and acts with what it was given.
    fn by_key(&self, name: &str, given: &str, more: &[&str]) -> Result<String> {
        let key = self.files.path().join(format!("{name}.key"));
        let given = self.file("given", given)?;
        let shown = ["token", CONNECTION, "--key", key.to_str().context("no path")?, "--as", name, "--on-behalf-of", &given];
        self.gateway.run("an agent", &[shown.as_slice(), more].concat())
    }

    /// The same of sql-helper, in run 812.
    fn by_run(&self, given: &str, more: &[&str]) -> Result<String> {
        let token = self.run_token()?;
        let given = self.file("given", given)?;
        self.gateway.run_with(
            "an agent",
            &[["token", CONNECTION, "--identity-token", "-", "--on-behalf-of", &given].as_slice(), more].concat(),
            &token,
        )
    }

    fn run_token(&self) -> Result<String> {
        self.ci.token(Some("JWT"), &json!({ "sub": "repo:shop/helper", "repository_id": "74", "run_id": "812" }))
    }

    fn psql(&self, secret: &str) -> Result<Running> {
        self.gateway.login_with("alice", secret)?.psql(&self.target.program("psql"))?.args(&["-At", "-v", "VERBOSITY=verbose"]).start()
    }

    fn opens(&self, secret: &str) -> Result<bool> {
        let login = self.gateway.login_with("alice", secret)?;
        Ok(login.psql(&self.target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success())
    }

    /// What alice is told of a token.
    fn introspected(&self, token: &str) -> Result<Value> {
        let login = json!({ "name": "alice", "password": "the password of alice" }).to_string();
        let alice = json_of(&self.gateway.post("/v1/login", "application/json", &login)?)?;
        let alice = format!("Bearer {}", alice.get("token").and_then(Value::as_str).context("no token")?);
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("token", token.trim()).finish();
        json_of(&self.gateway.post_with("/v1/token/introspect", FORM, &form, &[("authorization", &alice)])?)
    }
}

fn refused(answer: Result<String>) -> Result<String> {
    match answer {
        Ok(printed) => anyhow::bail!("it was given out: {printed}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

#[test]
fn an_agent_passes_a_persons_access_on_and_everybody_in_the_chain_is_seen_and_barred() -> Result<()> {
    let stand = Stand::start()?;
    let passed = stand.by_key("support-bot", &stand.given()?, &["--to", "sql-helper"])?;
    ensure!(passed.starts_with("cs_d_") && !stand.opens(&passed)?, "it opens nothing by itself");
    ensure!(refused(stand.by_key("third-bot", &passed, &[]))?.contains("none of third-bot's"), "it is not to third-bot");
    let told = stand.introspected(&passed)?;
    ensure!(told.get("act") == Some(&json!({ "sub": "support-bot" })) && told.get("may_act") == Some(&json!({ "sub": "sql-helper" })), "{told}");
    let secret = stand.by_run(&passed, &[])?;
    let told = stand.introspected(&secret)?;
    ensure!(told.get("act") == Some(&json!({ "sub": "sql-helper", "act": { "sub": "support-bot" } })), "{told}");

    let chain = "alice via support-bot via sql-helper (run 812)";
    let mut psql = stand.psql(&secret)?;
    psql.type_line("delete from t;")?;
    stand.target.wait_until_logged(chain)?;
    let notice = psql.wait_for("held for approval", PATIENCE)?;
    let word = notice.rsplit(|c: char| !c.is_alphanumeric() && c != '_').find(|word| word.starts_with("h_"));
    let hold = word.with_context(|| format!("no id in {notice}"))?;
    ensure!(stand.gateway.run("bob", &["show", hold])?.contains(chain));
    let sessions = stand.gateway.json(stand.gateway.administrator(), &["sessions"])?;
    ensure!(sessions.to_string().contains(chain), "{sessions}");
    // bob and barbara both may sign: barbara owns the agent at the end.
    let barbara = refused(stand.gateway.run("barbara", &["approve", hold, "--yes"]))?;
    ensure!(barbara.contains("no held operation"), "{barbara}");
    ensure!(stand.gateway.run("bob", &["holds"])?.contains(hold) && !stand.gateway.run("barbara", &["holds"])?.contains(hold));
    ensure!(stand.gateway.run("alice", &["approve", hold, "--yes"]).is_err());
    stand.gateway.run("bob", &["approve", hold, "--yes"])?;
    psql.wait_for("DELETE 3", PATIENCE)?;
    Ok(())
}

#[test]
fn what_an_agent_acts_with_is_exchanged_by_the_one_it_names_and_ends_with_every_link() -> Result<()> {
    let stand = Stand::start()?;
    let exchange = |given: &str, more: &[(&str, &str)]| -> Result<Value> {
        let run = stand.run_token()?;
        let shown = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", CONNECTION),
            ("subject_token", given.trim()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("actor_token", &run),
            ("actor_token_type", JWT),
        ];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(shown).extend_pairs(more).finish();
        let answer = stand.gateway.post("/v1/token", FORM, &form)?;
        serde_json::from_str(answer.split_once("\r\n\r\n").context("no answer")?.1).context("no JSON")
    };
    let given = stand.given()?;
    let plain = stand.by_key("support-bot", &given, &[])?;
    let refused = exchange(&plain, &[])?;
    ensure!(refused.get("error") == Some(&json!("invalid_request")), "without `may_act` it is passed on to nobody: {refused}");
    // support-bot asks for a token that it acts with, and that names who may act with it next.
    let key = identity::PrivateKey::from_pem(&fs::read(stand.files.path().join("support-bot.key"))?)?;
    let assertion = key.assertion(&"support-bot".parse()?, CALLED, model::Timestamp::now())?;
    let shown = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", CONNECTION),
        ("subject_token", given.trim()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("actor_token", assertion.reveal_str().context("no text")?),
        ("actor_token_type", JWT),
        ("requested_token_type", JWT),
        ("may_act", "sql-helper"),
    ];
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(shown).finish();
    let first = json_of(&stand.gateway.post("/v1/token", FORM, &form)?)?;
    let first = first.get("access_token").and_then(Value::as_str).with_context(|| first.to_string())?;
    ensure!(stand.opens(first)?, "it acts with it itself, too");
    let told = stand.introspected(first)?;
    ensure!(told.get("may_act") == Some(&json!({ "sub": "sql-helper" })), "{told}");
    let second = exchange(first, &[("requested_token_type", JWT)])?;
    let second = second.get("access_token").and_then(Value::as_str).with_context(|| second.to_string())?;
    let claims = second.split('.').nth(1).context("no JWT")?;
    let claims: Value = serde_json::from_slice(&base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims)?)?;
    ensure!(claims.get("act") == Some(&json!({ "sub": "sql-helper", "act": { "sub": "support-bot" } })), "{claims}");
    ensure!(claims.get("sub") == Some(&json!("alice")) && claims.get("client_id") == Some(&json!("sql-helper")), "{claims}");
    let end = |of: &Value| of.get("exp").and_then(Value::as_i64).context("no end");
    ensure!(end(&claims)? <= end(&stand.introspected(first)?)?, "{claims}");

    // What runs at the end of the chain is cut when what its first agent acts with is revoked.
    let mut psql = stand.psql(second)?;
    psql.type_line("select pg_sleep(5001);")?;
    stand.target.wait_until_logged("pg_sleep(5001)")?;
    ensure!(stand.gateway.post("/v1/token/revoke", FORM, &format!("token={first}"))?.starts_with("HTTP/1.1 200"));
    psql.wait_for("was revoked", PATIENCE)?;
    ensure!(!stand.opens(second)? && !stand.opens(first)? && stand.opens(&plain)?);
    Ok(())
}
