//! People of a real Keycloak sign in with a real browser, and are cut off there.

use std::fs;

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    browser::Browser,
    clients::Running,
    gateway::{Gateway, Setup},
    keycloak::{CLIENT_SECRET, Keycloak, at_work, prove, sign_in},
    postgres::{DATABASE, PATIENCE, Postgres},
};
use serde_json::json;

/// The same on a device, with the browser elsewhere.
fn sign_in_on_a_device(gateway: &Gateway, name: &str) -> Result<()> {
    let mut command = gateway.command(name)?;
    command.args(["login", "--device"]);
    let mut running = Running::start(command)?;
    let line = running.wait_for("or open ", PATIENCE)?;
    let browser = Browser::open()?;
    browser.go(line.rsplit(' ').next().context("no address")?)?;
    prove(&browser, name)?;
    browser.click("[name=accept]")?;
    running.wait_for(&format!("Signed in as {name}"), PATIENCE)?;
    ensure!(running.finish(PATIENCE)?.0.success());
    Ok(())
}

#[test]
fn people_of_keycloak_sign_in_work_and_are_cut_off_there() -> Result<()> {
    let target = Postgres::start()?;
    let setup = Setup::init()?;
    setup.target(&target, DATABASE, "")?;
    let keycloak = Keycloak::start(&setup.file("data/tls/ca.pem"))?;
    // Keycloak must know where to send logouts, so this port is chosen before.
    let api = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    keycloak.make_realm(&format!("https://{api}"))?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?.replace("api = \"127.0.0.1:0\"", &format!("api = \"{api}\""));
    setup.write("countersign.toml", &format!("{before}{}", keycloak.settings("check_every_s = 2")))?;
    let contractor = keycloak.add_person("carl", &["engineers", "contractors"])?;
    let leaver = keycloak.add_person("lea", &["engineers"])?;
    let gateway = setup.serve()?;
    gateway.run_with(gateway.administrator(), &["secret", "set", "keycloak"], CLIENT_SECRET)?;

    sign_in(&gateway, "carl")?;
    let me = gateway.json("carl", &["whoami"])?;
    ensure!(me.pointer("/identity/groups") == Some(&json!(["contractors", "engineers"])), "{me}");
    let details = gateway.json(gateway.administrator(), &["identity", "show", "carl"])?;
    ensure!(details.pointer("/accounts/0/subject") == Some(&json!(contractor)), "{details}");
    sign_in_on_a_device(&gateway, "lea")?;

    let mut carl = at_work(&gateway, &target, "carl", 2001)?;
    let mut lea = at_work(&gateway, &target, "lea", 2002)?;
    // An administrator of Keycloak ends the contractor's sessions there.
    keycloak.log_out(&contractor)?;
    carl.wait_for("the sign-in at keycloak that opened this session is over: it was ended there", PATIENCE)?;
    ensure!(gateway.run("carl", &["whoami"]).is_err() && gateway.run("lea", &["whoami"]).is_ok());
    // Somebody is barred there, and nobody tells the gateway: it asks.
    keycloak.disable(&leaver)?;
    lea.wait_for("the sign-in at keycloak that opened this session is over: it was not renewed", PATIENCE)?;
    ensure!(gateway.run("lea", &["whoami"]).is_err());
    for mark in [2001, 2002] {
        let gone = format!(
            "not exists (select from pg_stat_activity where query like '%pg_sleep({mark})%' and state = 'active' and pid <> pg_backend_pid())"
        );
        target.wait_until_true(DATABASE, &gone)?;
    }
    // And it is not let in again.
    let mut command = gateway.command("lea")?;
    command.arg("login").env("BROWSER", "true");
    let mut running = Running::start(command)?;
    let line = running.wait_for("/protocol/openid-connect/auth?", PATIENCE)?;
    let browser = Browser::open()?;
    browser.go(line.trim())?;
    prove(&browser, "lea")?;
    browser.wait_for("Account is disabled")?;
    Ok(())
}
