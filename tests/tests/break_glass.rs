//! Built-in users where people sign in at a provider: a second factor beside the password, and that each use of a password is told of.

use std::{fs, time::SystemTime};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::hmac;
use countersign_tests::{
    clients::Running,
    gateway::{CONNECTION, Gateway, Setup},
    issuer::Issuer,
    postgres::{DATABASE, PATIENCE, Postgres},
};
use serde_json::Value;

const PASSWORD: &str = "the password of alice";

/// What an authenticator app shows so many times thirty seconds from now: as RFC 6238 has it, written down once more.
fn code(secret: &str, ahead: u64) -> Result<String> {
    let (mut bits, mut waiting, mut key) = (0, 0u32, Vec::new());
    for letter in secret.bytes() {
        let place = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == letter).context("no base 32")?;
        waiting = (waiting << 5 | u32::try_from(place)?) & 0xffff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            key.push(u8::try_from(waiting >> bits & 0xff)?);
        }
    }
    let step = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / 30 + ahead;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key), &step.to_be_bytes());
    let from = usize::from(tag.as_ref().last().context("no tag")? & 15);
    let four: [u8; 4] = tag.as_ref().get(from..from + 4).context("a short tag")?.try_into()?;
    Ok(format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000))
}

/// Alice sets up an app, which shows a code. Returns its secret.
fn set_up(gateway: &Gateway) -> Result<String> {
    let mut command = gateway.command("alice")?;
    command.args(["identity", "totp", "alice"]);
    let mut setting_up = Running::start(command)?;
    setting_up.type_line(PASSWORD)?;
    let line = setting_up.wait_for("to type: ", PATIENCE)?;
    let secret = line.rsplit(' ').next().context("no secret")?.to_owned();
    setting_up.type_line(&code(&secret, 0)?)?;
    let (status, printed) = setting_up.finish(PATIENCE)?;
    ensure!(status.success() && printed.contains(&format!("otpauth://totp/Countersign:alice?secret={secret}&")), "{printed}");
    Ok(secret)
}

fn psql(target: &Postgres, gateway: &Gateway, secret: &str) -> Result<(bool, String)> {
    let output = gateway.login_with("alice", secret)?.psql(&target.program("psql"))?.args(&["-At", "-c", "select 'in'"]).run()?;
    Ok((output.status.success(), [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()))
}

#[test]
fn a_password_past_the_provider_needs_the_code_and_raises_an_alert() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let setup = Setup::init()?;
    setup.target(&target, DATABASE, "")?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write("countersign.toml", &format!("{before}{}", issuer.settings("")))?;
    let mut gateway = setup.serve()?;
    let admin = gateway.administrator().to_owned();
    gateway.add_user("alice", &["engineers"])?;
    let alerts = |gateway: &Gateway| gateway.printed().lines().filter(|line| line.contains("past the identity providers")).count();
    let first = alerts(&gateway);
    ensure!(first >= 2, "the administrator and alice signed in: {}", gateway.printed());
    ensure!(gateway.printed().contains("WARN") && gateway.printed().contains("peer=127.0.0.1"), "{}", gateway.printed());
    let (works, printed) = psql(&target, &gateway, PASSWORD)?;
    ensure!(works && alerts(&gateway) == first + 1, "{printed}");

    let secret = set_up(&gateway)?;
    let shown = gateway.json(&admin, &["identity", "show", "alice"])?;
    ensure!(shown.pointer("/identity/second_factor_at").is_some_and(Value::is_string), "{shown}");
    ensure!(!shown.to_string().contains(&secret) && !gateway.printed().contains(&secret));

    // Now nothing goes with the password alone, and nothing tells that it is right.
    let said = |arguments: &[&str], input: &str| match gateway.run_with("again", arguments, input) {
        Ok(printed) => anyhow::bail!("signed in: {printed}"),
        Err(error) => Ok(format!("{error:#}")),
    };
    let wrong = said(&["login", "alice"], "not her password")?;
    ensure!(said(&["login", "alice"], PASSWORD)? == wrong, "{wrong}");
    let wrong_code = said(&["login", "alice", "--code"], &format!("{PASSWORD}\n000000"))?;
    ensure!(wrong_code.contains("the name or the secret is not right") && wrong_code.contains("--code"), "{wrong_code}");
    let (_, with_wrong) = psql(&target, &gateway, "not her password")?;
    let (works, with_right) = psql(&target, &gateway, PASSWORD)?;
    ensure!(!works && with_right == with_wrong && with_right.contains("countersign token"), "{with_right}");
    // Nobody is told of what let nobody in.
    ensure!(alerts(&gateway) == first + 1, "{}", gateway.printed());

    // She still has the token of before, and it opens the database.
    let token = gateway.run("alice", &["token", CONNECTION])?;
    ensure!(psql(&target, &gateway, &token)?.0 && alerts(&gateway) == first + 1);
    ensure!(gateway.run("alice", &["identity", "totp", "alice", "--remove"]).is_err(), "she takes it away herself");
    gateway.run(&admin, &["identity", "totp", "alice", "--remove"])?;
    let (works, printed) = psql(&target, &gateway, PASSWORD)?;
    ensure!(works && alerts(&gateway) == first + 2, "{printed}");
    Ok(())
}

#[test]
fn the_code_of_an_app_and_the_password_sign_in_together() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = Gateway::permitting_all(&target)?;
    let secret = set_up(&gateway)?;
    let shown = format!("{PASSWORD}\n{}", code(&secret, 1)?);
    gateway.run_with("again", &["login", "alice", "--code"], &shown)?;
    ensure!(gateway.json("again", &["whoami"])?.pointer("/identity/name").and_then(Value::as_str) == Some("alice"));
    ensure!(gateway.run_with("once more", &["login", "alice", "--code"], &shown).is_err(), "a code works once");
    ensure!(!gateway.printed().contains("past the identity providers"), "there is none");
    Ok(())
}
