//! Workloads and agents that have no platform: keys of their own, and what they get with them.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    gateway::{CONNECTION, Gateway, Setup},
    issuer::{CLIENT_SECRET, Issuer, json_of},
    postgres::{DATABASE, PATIENCE, Postgres},
};
use identity::PrivateKey;
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::form_urlencoded;

/// What the gateways here are called in tokens.
const CALLED: &str = "https://gateway.test:7443";
const FORM: &str = "application/x-www-form-urlencoded";
const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A gateway that is called [`CALLED`], with workloads `nightly` and `weekly` and an agent `support-bot`, all of alice's.
fn start(target: &Postgres) -> Result<Gateway> {
    start_with(target, "")
}

/// The same with further lines of its configuration.
fn start_with(target: &Postgres, more: &str) -> Result<Gateway> {
    let setup = Setup::init()?;
    setup.target(target, DATABASE, "")?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write("countersign.toml", &format!("{before}[tokens]\nissuer = \"{CALLED}\"\n{more}"))?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &["engineers"])?;
    let admin = gateway.administrator().to_owned();
    for (name, kind) in [("nightly", "workload"), ("weekly", "workload"), ("support-bot", "agent")] {
        let more = ["--kind", kind, "--group", "engineers", "--owner", "alice", "--purpose", "exports", "--expires-in", "60d"];
        gateway.run(&admin, &[["identity", "add", name].as_slice(), &more].concat())?;
    }
    Ok(gateway)
}

/// A key in two files, as whoever has it makes it.
struct Key {
    folder: TempDir,
    private: String,
}

impl Key {
    fn new() -> Result<Self> {
        Self::of(&KeyPair::generate()?)
    }

    fn of(pair: &KeyPair) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("private.pem"), pair.serialize_pem())?;
        fs::write(folder.path().join("public.pem"), pair.public_key_pem())?;
        Ok(Self { folder, private: pair.serialize_pem() })
    }

    fn file(&self, name: &str) -> Result<String> {
        let path: PathBuf = self.folder.path().join(name);
        Ok(path.to_str().context("no path")?.to_owned())
    }

    /// Signed by hand, so that it can come twice.
    fn assertion(&self, who: &str, audience: &str) -> Result<String> {
        let key = PrivateKey::from_pem(self.private.as_bytes())?;
        let signed = key.assertion(&who.parse()?, audience, model::Timestamp::now())?;
        Ok(signed.reveal_str().context("no text")?.to_owned())
    }
}

/// Gives a key to an identity: the key's id.
fn give(gateway: &Gateway, name: &str, key: &Key) -> Result<String> {
    let admin = gateway.administrator().to_owned();
    let given = gateway.json(&admin, &["identity", "key", "add", name, "--public-key", &key.file("public.pem")?, "--expires-in", "30d"])?;
    given.get("id").and_then(Value::as_str).map(str::to_owned).context("no key")
}

/// `countersign token --key`: what it printed.
fn token(gateway: &Gateway, who: &str, key: &Key, more: &[&str]) -> Result<String> {
    let file = key.file("private.pem")?;
    gateway.run("a job", &[["token", CONNECTION, "--key", &file, "--as", who].as_slice(), more].concat())
}

fn refused(answer: Result<String>) -> Result<String> {
    match answer {
        Ok(printed) => anyhow::bail!("it was given out: {printed}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn opens(gateway: &Gateway, target: &Postgres, name: &str, secret: &str) -> Result<bool> {
    Ok(gateway.login_with(name, secret)?.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success())
}

/// Status and JSON of a form posted by nobody in particular.
fn post(gateway: &Gateway, path: &str, parameters: &[(&str, &str)]) -> Result<(u16, Value)> {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let answer = gateway.post(path, FORM, &form)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

fn client_credentials(gateway: &Gateway, assertion: &str, more: &[(&str, &str)]) -> Result<(u16, Value)> {
    let shown = [("grant_type", "client_credentials"), ("client_assertion_type", CLIENT_ASSERTION), ("client_assertion", assertion)];
    post(gateway, "/v1/token", &[shown.as_slice(), more].concat())
}

#[test]
fn a_workload_without_a_platform_has_a_key_and_no_secret_at_the_gateway() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let admin = gateway.administrator().to_owned();
    let key = Key::new()?;
    ensure!(refused(token(&gateway, "nightly", &key, &[]))?.contains("no key in force"));
    let public = key.file("public.pem")?;
    let add = |who: &str, name: &str, file: &str, span: &str| {
        refused(gateway.run(who, &["identity", "key", "add", name, "--public-key", file, "--expires-in", span]))
    };
    ensure!(add("alice", "nightly", &public, "30d")?.contains("administer"), "its owner is no administrator");
    ensure!(add(&admin, "nightly", &key.file("private.pem")?, "30d")?.contains("private key"));
    ensure!(add(&admin, "nightly", &public, "91d")?.contains("90 days"));
    ensure!(add(&admin, "alice", &public, "30d")?.contains("no workload or agent"));
    let id = give(&gateway, "nightly", &key)?;
    ensure!(add(&admin, "weekly", &public, "30d")?.contains("one identity"));

    let secret = token(&gateway, "nightly", &key, &["--expires-in", "5m"])?;
    ensure!(opens(&gateway, &target, "nightly", &secret)? && !opens(&gateway, &target, "weekly", &secret)?);
    ensure!(refused(token(&gateway, "weekly", &key, &[]))?.contains("no key in force"), "another's key");
    // What is signed is for the gateway that is reached: another one that was called so could use it there.
    let api = gateway.addresses().get("api").and_then(Value::as_str).context("no API over TLS")?;
    let ca = gateway.setup().file("data/tls/ca.pem");
    let over_tls = ["--server", &format!("https://{api}"), "--ca", ca.to_str().context("no path")?];
    let called_otherwise = refused(token(&gateway, "nightly", &key, &over_tls))?;
    ensure!(called_otherwise.contains(&format!("--issuer {CALLED}")), "{called_otherwise}");
    token(&gateway, "nightly", &key, &[over_tls.as_slice(), &["--issuer", CALLED]].concat())?;
    let listed = gateway.run("alice", &["identity", "key", "list", "nightly"])?;
    ensure!(listed.contains(&id) && listed.contains("ES256") && listed.contains("works"), "{listed}");
    ensure!(gateway.run(&admin, &["identity", "show", "nightly"])?.contains(&id));
    let through = gateway.json("alice", &["explain", "nightly"])?.get("through").map(Value::to_string).unwrap_or_default();
    ensure!(through.contains(&id) && through.contains("\"key\""), "who can act through it: {through}");

    // Rotation: the other key works beside it, and a third has no place.
    let next = Key::of(&KeyPair::generate_for(&PKCS_ED25519)?)?;
    give(&gateway, "nightly", &next)?;
    ensure!(add(&admin, "nightly", &Key::new()?.file("public.pem")?, "30d")?.contains("2 keys in force"));
    ensure!(opens(&gateway, &target, "nightly", &token(&gateway, "nightly", &next, &[])?)?);

    // What was asked for with a key ends with it, the other's does not.
    let mut psql = gateway.login_with("nightly", &secret)?.psql(&target.program("psql"))?.start()?;
    psql.type_line("select pg_sleep(3003);")?;
    target.wait_until_logged("pg_sleep(3003)")?;
    let other = token(&gateway, "nightly", &next, &[])?;
    gateway.run("alice", &["identity", "key", "revoke", "nightly", &id])?;
    psql.wait_for("was revoked", PATIENCE)?;
    ensure!(!opens(&gateway, &target, "nightly", &secret)? && opens(&gateway, &target, "nightly", &other)?);
    ensure!(refused(token(&gateway, "nightly", &key, &[]))?.contains("no key in force"));
    Ok(())
}

#[test]
fn an_assertion_is_answered_as_the_rfcs_say_and_works_once() -> Result<()> {
    let target = Postgres::start()?;
    let mut gateway = start(&target)?;
    let key = Key::new()?;
    give(&gateway, "nightly", &key)?;
    let assertion = key.assertion("nightly", CALLED)?;
    let (status, answer) = client_credentials(&gateway, &assertion, &[("audience", CONNECTION), ("client_id", "nightly")])?;
    ensure!(status == 200 && answer.get("identity") == Some(&json!("nightly")), "{status} {answer}");
    ensure!(answer.get("issued_token_type") == Some(&json!("urn:ietf:params:oauth:token-type:access_token")), "{answer}");
    let secret = answer.get("access_token").and_then(Value::as_str).context("no token")?;
    ensure!(opens(&gateway, &target, "nightly", secret)?);
    // Not again, not by way of another grant, nor after a restart.
    let called = |answer: &(u16, Value)| (answer.0, answer.1.get("error").and_then(Value::as_str).unwrap_or_default().to_owned());
    let again = client_credentials(&gateway, &assertion, &[("audience", CONNECTION)])?;
    ensure!(called(&again) == (401, "invalid_client".to_owned()), "{again:?}");
    let bearer = |gateway: &Gateway, assertion: &str, audience: &str| {
        let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        post(gateway, "/v1/token", &[grant, ("assertion", assertion), ("audience", audience)])
    };
    ensure!(called(&bearer(&gateway, &assertion, CONNECTION)?) == (400, "invalid_grant".to_owned()));
    gateway.kill();
    gateway.start_again()?;
    ensure!(called(&bearer(&gateway, &assertion, CONNECTION)?) == (400, "invalid_grant".to_owned()));
    let endpoint = format!("{CALLED}/v1/token");
    let well = bearer(&gateway, &key.assertion("nightly", &endpoint)?, CONNECTION)?;
    ensure!(well.0 == 200, "{well:?}");
    for (audience, expected) in [("https://other.test", "invalid_client"), ("https://gateway.test", "invalid_client"), ("prod-pg", "invalid_client")]
    {
        let answer = client_credentials(&gateway, &key.assertion("nightly", audience)?, &[("audience", CONNECTION)])?;
        ensure!(called(&answer) == (401, expected.to_owned()), "{audience}: {answer:?}");
    }
    let fresh = || key.assertion("nightly", CALLED);
    for (more, expected) in [
        (vec![("audience", "missing-pg")], (400, "invalid_target")),
        (vec![], (400, "invalid_request")),
        (vec![("audience", CONNECTION), ("client_id", "weekly")], (401, "invalid_client")),
        (vec![("audience", CONNECTION), ("expires_in", "7200")], (400, "invalid_request")),
        (vec![("audience", CONNECTION), ("scope", "all")], (400, "invalid_scope")),
        (vec![("audience", CONNECTION), ("statment", "select 1")], (400, "invalid_request")),
        (vec![("audience", CONNECTION), ("client_assertion", "x")], (400, "invalid_request")),
        (vec![("audience", CONNECTION), ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")], (400, "invalid_request")),
    ] {
        let answer = client_credentials(&gateway, &fresh()?, &more)?;
        ensure!(called(&answer) == (expected.0, expected.1.to_owned()), "{more:?}: {answer:?}");
    }
    ensure!(called(&post(&gateway, "/v1/token", &[("grant_type", "password")])?) == (400, "unsupported_grant_type".to_owned()));
    ensure!(called(&client_credentials(&gateway, &"x".repeat(200_000), &[("audience", CONNECTION)])?) == (401, "invalid_client".to_owned()));
    let metadata = gateway.get("/.well-known/oauth-authorization-server")?;
    ensure!(json_of(&metadata)?.get("issuer") == Some(&json!(CALLED)), "{metadata}");
    Ok(())
}

#[test]
fn an_agent_without_a_platform_acts_for_a_person() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let (key, other) = (Key::new()?, Key::new()?);
    give(&gateway, "support-bot", &key)?;
    give(&gateway, "nightly", &other)?;
    let given = tempfile::NamedTempFile::new()?;
    fs::write(given.path(), gateway.run("alice", &["token", CONNECTION, "--to", "support-bot", "--expires-in", "1h"])?)?;
    let delegation = ["--on-behalf-of", given.path().to_str().context("no path")?];
    ensure!(refused(token(&gateway, "nightly", &other, &delegation))?.contains("none of nightly's"), "it is not to nightly");
    let secret = token(&gateway, "support-bot", &key, &delegation)?;
    ensure!(opens(&gateway, &target, "alice", &secret)? && !opens(&gateway, &target, "support-bot", &secret)?);
    target.wait_until_logged("alice via support-bot")?;
    let id = gateway.json("alice", &["identity", "key", "list", "support-bot"])?;
    let id = id.pointer("/keys/0/id").and_then(Value::as_str).context("no key")?;
    gateway.run("alice", &["identity", "key", "revoke", "support-bot", id])?;
    ensure!(!opens(&gateway, &target, "alice", &secret)?);
    Ok(())
}

#[test]
fn a_gateway_without_a_name_says_what_is_missing() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = Gateway::permitting_all(&target)?;
    let key = Key::new()?;
    let said = refused(token(&gateway, "nightly", &key, &[]))?;
    ensure!(said.contains("[tokens]") && said.contains("issuer"), "{said}");
    let (status, answer) = client_credentials(&gateway, &key.assertion("nightly", CALLED)?, &[("audience", CONNECTION)])?;
    ensure!(status == 400 && answer.to_string().contains("[tokens]"), "{status} {answer}");
    Ok(())
}

#[test]
fn a_token_for_one_statement_runs_it_once_and_nothing_else() -> Result<()> {
    let target = Postgres::start()?;
    target.sql(DATABASE, "create table orders (id int); alter table orders owner to app")?;
    let gateway = start(&target)?;
    let key = Key::new()?;
    give(&gateway, "nightly", &key)?;
    let statement = "select count(*) from orders";
    let run = |secret: &str, text: &str| -> Result<bool> {
        Ok(gateway.login_with("nightly", secret)?.psql(&target.program("psql"))?.args(&["-c", text]).run()?.status.success())
    };
    let resource = format!("{CALLED}/connections/{CONNECTION}");
    let details = json!([{ "type": "countersign_statement", "locations": [resource], "statement": statement }]).to_string();
    let asked = client_credentials(&gateway, &key.assertion("nightly", CALLED)?, &[("authorization_details", &details), ("resource", &resource)])?;
    let secret = asked.1.get("access_token").and_then(Value::as_str).with_context(|| format!("{asked:?}"))?;
    ensure!(asked.1.pointer("/authorization_details/0/statement") == Some(&json!(statement)), "{asked:?}");
    ensure!(!run(secret, "select 1")? && run(secret, statement)? && !run(secret, statement)?);
    let secret = token(&gateway, "nightly", &key, &["--statement", statement])?;
    ensure!(!run(&secret, "select 1")? && run(&secret, statement)? && !run(&secret, statement)?);
    let wider = json!([{ "type": "countersign_statement", "locations": [CONNECTION], "statement": statement, "also": "select 1" }]).to_string();
    let (status, answer) = client_credentials(&gateway, &key.assertion("nightly", CALLED)?, &[("authorization_details", &wider)])?;
    ensure!(status == 400 && answer.get("error") == Some(&json!("invalid_authorization_details")), "{status} {answer}");
    Ok(())
}

#[test]
fn whoever_holds_a_token_ends_it_and_what_it_opened() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let key = Key::new()?;
    give(&gateway, "nightly", &key)?;
    let secret = token(&gateway, "nightly", &key, &[])?;
    let mut psql = gateway.login_with("nightly", &secret)?.psql(&target.program("psql"))?.start()?;
    psql.type_line("select pg_sleep(3004);")?;
    target.wait_until_logged("pg_sleep(3004)")?;
    ensure!(post(&gateway, "/v1/token/revoke", &[("token", secret.trim())])? == (200, Value::Null));
    psql.wait_for("was revoked", PATIENCE)?;
    ensure!(!opens(&gateway, &target, "nightly", &secret)?);
    Ok(())
}

/// Posts who asks for an exchange.
fn exchange(gateway: &Gateway, more: &[(&str, &str)]) -> Result<(u16, Value)> {
    let exchange = [("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"), ("audience", CONNECTION)];
    post(gateway, "/v1/token", &[exchange.as_slice(), more].concat())
}

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

#[test]
fn a_token_that_others_can_read_works_and_ends_like_any_other() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let key = Key::new()?;
    give(&gateway, "support-bot", &key)?;
    let given = tempfile::NamedTempFile::new()?;
    fs::write(given.path(), gateway.run("alice", &["token", CONNECTION, "--to", "support-bot"])?)?;
    let printed = token(&gateway, "support-bot", &key, &["--jwt", "--on-behalf-of", given.path().to_str().context("no path")?])?;
    let secret = printed.trim();
    // Whoever has the published key reads it.
    let jwks = json_of(&gateway.get("/v1/jwks")?)?;
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwks.pointer("/keys/0").context("no key")?.clone())?;
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_issuer(&[CALLED]);
    validation.set_audience(&[format!("{CALLED}/connections/{CONNECTION}")]);
    let read = jsonwebtoken::decode::<Value>(secret, &jsonwebtoken::DecodingKey::from_jwk(&jwk)?, &validation)?;
    ensure!(read.header.typ.as_deref() == Some("at+jwt") && read.header.kid == jwk.common.key_id, "{:?}", read.header);
    ensure!(read.claims.get("sub") == Some(&json!("alice")) && read.claims.get("act") == Some(&json!({ "sub": "support-bot" })), "{}", read.claims);
    ensure!(read.claims.get("client_id") == Some(&json!("support-bot")), "{}", read.claims);
    ensure!(opens(&gateway, &target, "alice", secret)? && !opens(&gateway, &target, "support-bot", secret)?);
    let id = read.claims.get("jti").and_then(Value::as_str).context("no id")?;
    gateway.run("alice", &["token", "revoke", id])?;
    ensure!(!opens(&gateway, &target, "alice", secret)?);
    Ok(())
}

#[test]
fn an_agent_acts_for_a_run_that_says_so_itself() -> Result<()> {
    let (target, ci) = (Postgres::start()?, Issuer::start()?);
    let gateway = start_with(&target, &format!("[issuers.ci]\nplatform = \"github\"\nissuer = \"{}\"\ninternal = true\n", ci.url))?;
    let admin = gateway.administrator().to_owned();
    gateway.run(&admin, &["identity", "trust", "nightly", "--issuer", "ci", "--claim", "repository_id=74"])?;
    let (bot, weekly) = (Key::new()?, Key::new()?);
    give(&gateway, "support-bot", &bot)?;
    give(&gateway, "weekly", &weekly)?;
    let run = |may_act: Value| ci.token(Some("JWT"), &json!({ "sub": "repo:shop", "repository_id": "74", "run_id": "812", "may_act": may_act }));
    let ask = |subject: &str, actor: &str| {
        exchange(&gateway, &[("subject_token", subject), ("subject_token_type", JWT), ("actor_token", actor), ("actor_token_type", JWT)])
    };
    let (status, answer) = ask(&run(json!({ "sub": "support-bot" }))?, &bot.assertion("support-bot", CALLED)?)?;
    ensure!(status == 200, "{answer}");
    let secret = answer.get("access_token").and_then(Value::as_str).context("no token")?;
    ensure!(opens(&gateway, &target, "nightly", secret)?);
    target.wait_until_logged("nightly (run 812) via support-bot")?;
    for (subject, actor) in [
        (run(Value::Null)?, bot.assertion("support-bot", CALLED)?),
        (run(json!({ "sub": "other-bot" }))?, bot.assertion("support-bot", CALLED)?),
        (run(json!({ "sub": "support-bot", "iss": "https://other.test" }))?, bot.assertion("support-bot", CALLED)?),
        // A workload is no agent, and a run of the same platform has no key.
        (run(json!({ "sub": "weekly" }))?, weekly.assertion("weekly", CALLED)?),
        (run(json!({ "sub": "support-bot" }))?, run(Value::Null)?),
    ] {
        let (status, answer) = ask(&subject, &actor)?;
        ensure!(status == 400, "{status} {answer}");
    }
    // A run's own token does as an assertion, too.
    let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let (status, answer) = post(&gateway, "/v1/token", &[grant, ("assertion", &run(Value::Null)?), ("audience", CONNECTION)])?;
    ensure!(status == 200 && answer.get("identity") == Some(&json!("nightly")), "{status} {answer}");
    // Who acts ends it.
    let id = gateway.json(&admin, &["identity", "key", "list", "support-bot"])?;
    gateway.run(&admin, &["identity", "key", "revoke", "support-bot", id.pointer("/keys/0/id").and_then(Value::as_str).context("no key")?])?;
    ensure!(!opens(&gateway, &target, "nightly", secret)?);
    Ok(())
}

/// WEB-09: every class of token at every door; each opens its own, and no other.
#[test]
fn web_09_no_class_of_token_passes_for_another() -> Result<()> {
    let (target, idp) = (Postgres::start()?, Issuer::start()?);
    let issuer = format!("[issuers.ci]\nissuer = \"{}\"\ninternal = true\n{}", idp.url, idp.settings(""));
    let gateway = start_with(&target, &issuer)?;
    let admin = gateway.administrator().to_owned();
    gateway.run_with(&admin, &["secret", "set", "idp"], CLIENT_SECRET)?;
    gateway.run(&admin, &["identity", "trust", "nightly", "--issuer", "ci", "--claim", "sub=nightly-at-ci"])?;
    let (key, bot) = (Key::new()?, Key::new()?);
    give(&gateway, "nightly", &key)?;
    give(&gateway, "support-bot", &bot)?;
    let logout = json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} }, "sub": "nightly-at-ci", "jti": "l" });
    let proof = {
        let key = PrivateKey::from_pem(key.private.as_bytes())?;
        let jwk: Value = serde_json::from_str(&key.public().to_jwk())?;
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
        key.sign(&header, &json!({ "iss": "nightly", "sub": "nightly", "aud": CALLED, "exp": model::Timestamp::now().as_second() + 60, "jti": "p" }))?
    };
    let api = {
        let login = json!({ "name": "alice", "password": "the password of alice" }).to_string();
        let answer = json_of(&gateway.post("/v1/login", "application/json", &login)?)?;
        answer.get("token").and_then(Value::as_str).map(str::to_owned).context("no token")?
    };
    // Signed tokens of everybody else are made for the same gateway, of the same person, by the same keys.
    let class = |name: &str| -> Result<String> {
        let shaped = |more: &[&str]| token(&gateway, "nightly", &key, more);
        match name {
            "opaque" => shaped(&[]),
            "readable" => shaped(&["--jwt"]),
            "api" => Ok(api.clone()),
            "delegation" => gateway.run("alice", &["token", CONNECTION, "--to", "support-bot"]),
            "assertion" => key.assertion("nightly", CALLED),
            "platform" => idp.token(Some("JWT"), &json!({ "sub": "nightly-at-ci" })),
            "id" => idp.token(Some("JWT"), &json!({ "sub": "nightly-at-ci", "nonce": "n" })),
            "logout" => idp.token(Some("logout+jwt"), &logout),
            _ => Ok(proof.clone()),
        }
    };
    let enters = |door: &str, token: &str| -> Result<bool> {
        let bot = bot.assertion("support-bot", CALLED)?;
        Ok(match door {
            "connect" => opens(&gateway, &target, "nightly", token)? || opens(&gateway, &target, "alice", token)?,
            "api" => gateway.get_with("/v1/whoami", &[("authorization", &format!("Bearer {token}"))])?.starts_with("HTTP/1.1 200"),
            "client" => client_credentials(&gateway, token, &[("audience", CONNECTION)])?.0 == 200,
            "exchange" => exchange(&gateway, &[("subject_token", token), ("subject_token_type", JWT)])?.0 == 200,
            "for somebody" => {
                let kind = "urn:ietf:params:oauth:token-type:access_token";
                exchange(&gateway, &[("subject_token", token), ("subject_token_type", kind), ("actor_token", &bot), ("actor_token_type", JWT)])?.0
                    == 200
            }
            _ => gateway.post("/v1/back-channel-logout", FORM, &format!("logout_token={token}"))?.starts_with("HTTP/1.1 200"),
        })
    };
    for (name, own) in [
        ("opaque", &["connect"][..]),
        ("readable", &["connect"]),
        ("api", &["api"]),
        ("delegation", &["for somebody"]),
        ("assertion", &["client", "exchange"]),
        ("platform", &["exchange"]),
        ("id", &[]),
        ("logout", &["logout"]),
        ("proof", &[]),
    ] {
        for door in ["connect", "api", "client", "exchange", "for somebody", "logout"] {
            let shown = class(name)?;
            ensure!(enters(door, shown.trim())? == own.contains(&door), "{name} at {door}");
        }
    }
    Ok(())
}

#[test]
fn a_token_that_was_asked_for_with_a_proof_is_bound_to_its_key() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = start(&target)?;
    let key = Key::new()?;
    give(&gateway, "nightly", &key)?;
    let signer = PrivateKey::from_pem(key.private.as_bytes())?;
    let jwk: Value = serde_json::from_str(&signer.public().to_jwk())?;
    let proof = |id: &str, path: &str| {
        let claims = json!({ "jti": id, "htm": "POST", "htu": format!("{CALLED}{path}"), "iat": model::Timestamp::now().as_second() });
        signer.sign(&json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk }), &claims)
    };
    let ask = |proof: &str| -> Result<(u16, Value)> {
        let assertion = key.assertion("nightly", CALLED)?;
        let shown = [("grant_type", "client_credentials"), ("client_assertion_type", CLIENT_ASSERTION), ("client_assertion", &assertion)];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(shown).append_pair("audience", CONNECTION).finish();
        let answer = gateway.post_with("/v1/token", FORM, &form, &[("dpop", proof)])?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        Ok((head.split(' ').nth(1).context("no status")?.parse()?, serde_json::from_str(body)?))
    };
    let once = proof("a", "/v1/token")?;
    let (status, answer) = ask(&once)?;
    ensure!(status == 200 && answer.get("token_type") == Some(&json!("DPoP")), "{status} {answer}");
    let login = json!({ "name": "alice", "password": "the password of alice" }).to_string();
    let alice = json_of(&gateway.post("/v1/login", "application/json", &login)?)?;
    let alice = format!("Bearer {}", alice.get("token").and_then(Value::as_str).context("no token")?);
    let shown = format!("token={}", answer.get("access_token").and_then(Value::as_str).context("no token")?);
    let told = json_of(&gateway.post_with("/v1/token/introspect", FORM, &shown, &[("authorization", &alice)])?)?;
    ensure!(told.pointer("/cnf/jkt") == Some(&json!(signer.public().thumbprint())), "{told}");
    for wrong in [once, proof("b", "/v1/login")?, "x".to_owned()] {
        let (status, answer) = ask(&wrong)?;
        ensure!(status == 400 && answer.get("error") == Some(&json!("invalid_dpop_proof")), "{status} {answer}");
    }
    Ok(())
}

/// A token of the API that somebody got at a provider, bound to a key: whoever takes it has nothing.
#[test]
fn a_sign_in_at_a_provider_is_bound_to_a_key_that_was_shown() -> Result<()> {
    let (target, idp) = (Postgres::start()?, Issuer::start()?);
    let gateway = start_with(&target, &idp.settings(""))?;
    gateway.run_with(gateway.administrator(), &["secret", "set", "idp"], CLIENT_SECRET)?;
    idp.say(|script| drop(script.claims.insert("preferred_username".to_owned(), json!("dora"))));
    let signer = PrivateKey::from_seed(&[7; 32])?;
    let jwk: Value = serde_json::from_str(&signer.public().to_jwk())?;
    let proof = |method: &str, path: &str, token: Option<&str>| -> Result<String> {
        let ath = token.map(|token| identity::dpop::hash_of(&model::Secret::from(token.to_owned())));
        let claims = json!({ "jti": format!("{method} {path}"), "htm": method, "htu": format!("{CALLED}{path}"), "iat": model::Timestamp::now().as_second(), "ath": ath });
        Ok(signer.sign(&json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk }), &claims)?)
    };
    let finish = |proof: &str| -> Result<String> {
        let begin = json!({ "provider": "idp", "redirect_uri": "http://127.0.0.1:1/callback" }).to_string();
        let begun = json_of(&gateway.post("/v1/sign-in/browser", "application/json", &begin)?)?;
        let back = idp.browse(begun.get("url").and_then(Value::as_str).context("no URL")?)?;
        let part = |name: &str| back.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let body = json!({ "flow": begun.get("flow"), "state": part("state"), "code": part("code"), "iss": part("iss") }).to_string();
        gateway.post_with("/v1/sign-in/finish", "application/json", &body, &[("dpop", proof)])
    };
    let once = proof("POST", "/v1/sign-in/finish", None)?;
    let entered = json_of(&finish(&once)?)?;
    let token = entered.get("token").and_then(Value::as_str).context("no token")?;
    let whoami = |scheme: &str, proof: &str| gateway.get_with("/v1/whoami", &[("authorization", &format!("{scheme} {token}")), ("dpop", proof)]);
    ensure!(whoami("Bearer", "")?.starts_with("HTTP/1.1 401"));
    let answer = whoami("DPoP", &proof("GET", "/v1/whoami", Some(token))?)?;
    ensure!(json_of(&answer)?.pointer("/identity/name") == Some(&json!("dora")), "{answer}");
    // A proof that was used signs nobody in, and leaves no sign-in behind.
    ensure!(finish(&once)?.starts_with("HTTP/1.1 401"));
    let tokens = gateway.json(gateway.administrator(), &["token", "list", "--all"])?;
    let tokens = tokens.get("tokens").and_then(Value::as_array).context("no tokens")?;
    ensure!(tokens.iter().filter(|token| token.get("subject") == Some(&json!("dora"))).count() == 1, "{tokens:?}");
    Ok(())
}
