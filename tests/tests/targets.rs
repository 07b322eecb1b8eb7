//! The other side: the gateway signs in at a target in each way a target may ask, checks whom it talks to, and says
//! clearly what is wrong when it cannot.

use std::fs;

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    authority::Authority,
    clients::Login,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, Method, Postgres, ROLE},
    wire::Wire,
};

const WHO: &str = "select current_user || ' at ' || current_database()";

fn in_front_of(target: &Postgres, method: Method) -> Result<Gateway> {
    let setup = Setup::init()?;
    setup.permit_all()?;
    let (certificate, key) = (setup.file("client.pem"), setup.file("client.key"));
    let certificate = format!("certificate = {{ file = {certificate:?}, key = {{ file = {key:?} }} }}");
    setup.target(target, DATABASE, if method == Method::Certificate { &certificate } else { "" })?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    Ok(gateway)
}

fn refused(login: &Login, target: &Postgres) -> Result<String> {
    let output = login.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?;
    ensure!(!output.status.success(), "it was let in");
    Ok(String::from_utf8(output.stderr)?)
}

#[tokio::test]
async fn every_way_to_ask_for_a_credential_is_answered() -> Result<()> {
    for method in [Method::Scram, Method::ScramOverTls, Method::Md5OverTls, Method::CleartextOverTls, Method::Certificate] {
        let target = Postgres::start_with(method, &[])?;
        let gateway = in_front_of(&target, method)?;
        let client = gateway.login("alice")?.connect().await.with_context(|| format!("{method:?}: {}", gateway.printed()))?;
        let row = client.query_one(WHO, &[]).await?;
        ensure!(row.get::<_, String>(0) == format!("{ROLE} at {DATABASE}"), "{method:?}");
        let (encrypted, count) = ("select count(*) from pg_stat_ssl where ssl and pid = pg_backend_pid()", client);
        let count: i64 = count.query_one(encrypted, &[]).await?.get(0);
        ensure!((count == 1) == (method != Method::Scram), "{method:?}: TLS in {count} sessions");
    }
    Ok(())
}

/// The target asks for the password itself: what it is sent it could keep.
fn gets_no_credential(target: &Postgres, change: impl FnOnce(&Setup) -> Result<()>) -> Result<String> {
    let setup = Setup::init()?;
    setup.permit_all()?;
    setup.target(target, DATABASE, "")?;
    change(&setup)?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    let told = refused(&gateway.login("alice")?, target)?;
    target.wait_until_logged("could not accept SSL connection")?;
    let log = target.log()?;
    let came = log.contains("host=127.0.0.1");
    ensure!(came && !log.contains(&format!("user={ROLE}")) && !log.contains("authentication"), "a credential was sent, or nobody came: {log}");
    Ok(told)
}

#[test]
fn near_08_a_target_whose_certificate_somebody_else_signed_gets_no_credential() -> Result<()> {
    let target = Postgres::start_with(Method::CleartextOverTls, &["log_connections = on", "log_statement = none"])?;
    let told = gets_no_credential(&target, |setup| setup.write("target-ca.pem", &Authority::new("somebody else")?.certificate))?;
    ensure!(told.contains("certificate"), "{told}");
    Ok(())
}

#[test]
fn sql_11_a_target_whose_certificate_names_another_host_gets_no_credential() -> Result<()> {
    let target = Postgres::start_with(Method::CleartextOverTls, &["log_connections = on", "log_statement = none"])?;
    let elsewhere = target.authority.as_ref().context("no authority")?.server_elsewhere("db.elsewhere")?;
    let data = target.socket_folder().join("data");
    fs::write(data.join("server.pem"), elsewhere.certificate)?;
    fs::write(data.join("server.key"), elsewhere.key)?;
    target.sql("postgres", "select pg_reload_conf()")?;
    target.wait_until_logged("reloading configuration files")?;
    let told = gets_no_credential(&target, |_| Ok(()))?;
    ensure!(told.contains("certificate"), "{told}");
    Ok(())
}

#[test]
fn a_target_that_is_down_or_turns_the_gateway_away_is_named() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = in_front_of(&target, Method::Scram)?;
    target.sql("postgres", &format!("alter role {ROLE} password 'another'"))?;
    let told = refused(&gateway.login("alice")?, &target)?;
    ensure!(told.contains(CONNECTION) && !told.contains("password of alice"), "{told}");
    let (login, psql) = (gateway.login("alice")?, target.program("psql"));
    drop(target);
    let output = login.psql(&psql)?.args(&["-c", "select 1"]).run()?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success() && told.contains(CONNECTION), "{told}");
    gateway.run(gateway.administrator(), &["status"]).map(drop)
}

#[test]
fn what_a_target_says_to_a_login_is_told_in_its_words() -> Result<()> {
    let target = Postgres::start_with(Method::Cleartext, &[])?;
    let gateway = Gateway::permitting_all(&target)?;
    let through = gateway.login("alice")?.without_tls();
    let of = |login: Login, database: String, options: &[(&str, &str)]| match Wire::open(&Login { database, ..login }, options) {
        Ok(_) => "let in".to_owned(),
        Err(error) => error.to_string(),
    };
    for (database, options, code) in [
        ("nowhere", &[][..], "3D000"),
        (DATABASE, &[("client_encoding", "nonsense")], "22023"),
        (DATABASE, &[("options", "-c nonsense=1")], "42704"),
        (DATABASE, &[("DateStyle", "nonsense")], "22023"),
    ] {
        let direct = of(target.login(DATABASE).without_tls(), database.to_owned(), options);
        let through = of(through.clone(), format!("{CONNECTION}/{database}"), options);
        let words = |told: &str| told.split('\0').filter(|field| field.starts_with(['S', 'C', 'M', 'D', 'H'])).map(str::to_owned).collect::<Vec<_>>();
        ensure!(direct.contains(code) && words(&direct) == words(&through), "direct: {direct}\nthrough: {through}");
    }
    Ok(())
}
