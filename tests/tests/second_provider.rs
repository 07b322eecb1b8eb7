//! People of another real provider than Keycloak, with a real browser: another program's idea of the same specifications.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use countersign_tests::{
    browser::Browser,
    clients::Running,
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
    provider::{CLIENT_SECRET, Provider, password_of, subject_of},
};
use serde_json::json;

/// Keys are fetched once a minute at most, whoever comes with an unknown one.
const KEYS_PATIENCE: Duration = Duration::from_secs(120);

/// Begins `countersign login`; where it sends the browser.
fn begin(gateway: &Gateway, name: &str) -> Result<(Running, String)> {
    let mut command = gateway.command(name)?;
    command.arg("login").env("BROWSER", "true");
    let mut running = Running::start(command)?;
    let line = running.wait_for("/auth?", PATIENCE)?;
    Ok((running, line.trim().to_owned()))
}

/// Types name and password where the provider asks for them.
fn prove(browser: &Browser, name: &str, password: &str) -> Result<()> {
    browser.type_into("#name", name)?;
    browser.type_into("#password", password)?;
    browser.click("#go")
}

/// `countersign login` in a browser of their own, which is left open.
fn sign_in(gateway: &Gateway, name: &str) -> Result<Browser> {
    let (mut running, url) = begin(gateway, name)?;
    ensure!(url.contains("code_challenge_method=S256") && url.contains("nonce="), "{url}");
    let browser = Browser::open()?;
    browser.go(&url)?;
    prove(&browser, name, &password_of(name))?;
    browser.click("#consent")?;
    browser.wait_for("You are signed in as far as your provider goes")?;
    running.wait_for(&format!("Signed in as {name}"), PATIENCE)?;
    ensure!(running.finish(PATIENCE)?.0.success());
    Ok(browser)
}

/// A psql of theirs, opened with a token they mint, that runs something long.
fn at_work(gateway: &Gateway, target: &Postgres, name: &str, mark: u32) -> Result<Running> {
    let token = gateway.run(name, &["token", CONNECTION])?;
    let mut psql = gateway.login_with(name, &token)?.psql(&target.program("psql"))?.start()?;
    psql.type_line(&format!("select pg_sleep({mark});"))?;
    target.wait_until_logged(&format!("pg_sleep({mark})"))?;
    Ok(psql)
}

#[test]
fn people_of_another_provider_sign_in_are_renewed_across_its_keys_and_are_cut_off_there() -> Result<()> {
    let target = Postgres::start()?;
    let setup = Setup::init()?;
    setup.target(&target, DATABASE, "")?;
    // The provider must know where to send logouts, so this port is chosen before.
    let api = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let people: [(&str, &[&str]); 2] = [("carl", &["engineers", "contractors"]), ("lea", &["engineers"])];
    let provider = Provider::start(&setup.file("data/tls/ca.pem"), &format!("https://{api}"), &people)?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?.replace("api = \"127.0.0.1:0\"", &format!("api = \"{api}\""));
    // Twelve intervals without a word are the end of a sign-in: they are longer than it takes until a new key is known.
    setup.write("countersign.toml", &format!("{before}{}", provider.settings("check_every_s = 6")))?;
    let gateway = setup.serve()?;
    gateway.run_with(gateway.administrator(), &["secret", "set", "second"], CLIENT_SECRET)?;

    let carls = sign_in(&gateway, "carl")?;
    let me = gateway.json("carl", &["whoami"])?;
    ensure!(me.pointer("/identity/groups") == Some(&json!(["contractors", "engineers"])), "{me}");
    ensure!(me.pointer("/identity/created_by") == Some(&json!("second")), "{me}");
    let details = gateway.json(gateway.administrator(), &["identity", "show", "carl"])?;
    ensure!(details.pointer("/accounts/0/subject") == Some(&json!(subject_of("carl"))), "{details}");
    ensure!(details.pointer("/accounts/0/email") == Some(&json!("carl@example.com")), "{details}");
    // A wrong password gets nobody anywhere there.
    let (_waiting, url) = begin(&gateway, "lea")?;
    let browser = Browser::open()?;
    browser.go(&url)?;
    prove(&browser, "lea", "not her password")?;
    browser.wait_for("Name or password is wrong")?;
    sign_in(&gateway, "lea")?;

    let mut carl = at_work(&gateway, &target, "carl", 5001)?;
    let mut lea = at_work(&gateway, &target, "lea", 5002)?;
    // He signs out there, in his browser: the provider posts a logout token.
    carls.go(&format!("{}/session/end", provider.url))?;
    carls.click("#leave")?;
    carls.wait_for("You are signed out")?;
    ensure!(provider.told("logout taken") == 1, "it was not taken");
    carl.wait_for("the sign-in at second that opened this session is over: it was ended there", PATIENCE)?;
    ensure!(gateway.run("carl", &["whoami"]).is_err() && gateway.run("lea", &["whoami"]).is_ok());

    // The provider signs with another key: who is signed in goes on, by refresh tokens that work once each, and others come in.
    provider.rotate_keys()?;
    let fetched = provider.told("GET /jwks");
    provider.wait_until_told("GET /jwks", fetched, KEYS_PATIENCE)?;
    let renewed = provider.told("POST /token");
    provider.wait_until_told("POST /token", renewed, PATIENCE)?;
    ensure!(gateway.run("lea", &["whoami"]).is_ok());
    sign_in(&gateway, "carl")?;
    ensure!(gateway.run("carl", &["whoami"]).is_ok());

    // Somebody is barred there, and nobody tells the gateway: it asks.
    provider.bar("lea")?;
    lea.wait_for("the sign-in at second that opened this session is over: it was not renewed", PATIENCE)?;
    ensure!(gateway.run("lea", &["whoami"]).is_err() && gateway.run("carl", &["whoami"]).is_ok());
    for mark in [5001, 5002] {
        let gone = format!(
            "not exists (select from pg_stat_activity where query like '%pg_sleep({mark})%' and state = 'active' and pid <> pg_backend_pid())"
        );
        target.wait_until_true(DATABASE, &gone)?;
    }
    let (_waiting, url) = begin(&gateway, "lea")?;
    let browser = Browser::open()?;
    browser.go(&url)?;
    prove(&browser, "lea", &password_of("lea"))?;
    browser.wait_for("You are barred")?;
    Ok(())
}
