//! People of an identity provider: how they come in, what ends them, and what is not believed. The provider is one that says what a test wants; real ones
//! are in `keycloak.rs`.

use std::{
    fs,
    io::{Read, Write},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::{Login, Running},
    gateway::{CONNECTION, Gateway, Setup},
    issuer::{CLIENT_SECRET, Issuer, get},
    postgres::{DATABASE, PATIENCE, Postgres},
};
use serde_json::{Value, json};

/// A gateway that people of `issuer` sign in at. `more`: further settings of the provider.
fn start(target: &Postgres, issuer: &Issuer, more: &str) -> Result<Gateway> {
    let setup = Setup::init()?;
    setup.target(target, DATABASE, "")?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write("countersign.toml", &format!("{before}{}", issuer.settings(more)))?;
    let gateway = setup.serve()?;
    gateway.run_with(gateway.administrator(), &["secret", "set", "idp"], CLIENT_SECRET)?;
    Ok(gateway)
}

/// Signs somebody in through a browser that is sent back at once; what the CLI printed, and whether it succeeded.
fn sign_in(gateway: &Gateway, issuer: &Issuer, who: &str) -> Result<(bool, String)> {
    let (running, url) = begin(gateway, who)?;
    get(&issuer.browse(&url)?)?;
    let (status, printed) = running.finish(PATIENCE)?;
    Ok((status.success(), printed))
}

/// Begins a sign-in; the CLI that waits, and where it sends the browser.
fn begin(gateway: &Gateway, who: &str) -> Result<(Running, String)> {
    let mut command = gateway.command(who)?;
    command.arg("login").env("BROWSER", "true");
    let mut running = Running::start(command)?;
    let line = running.wait_for("/authorize?", PATIENCE)?;
    let url = line.split_whitespace().find(|word| word.starts_with("http")).context("no URL")?.to_owned();
    Ok((running, url))
}

fn signed_in(gateway: &Gateway, issuer: &Issuer, who: &str) -> Result<()> {
    let (success, printed) = sign_in(gateway, issuer, who)?;
    ensure!(success && printed.contains("Signed in as"), "{printed}");
    Ok(())
}

/// Where somebody connects with a token they mint for themselves.
fn login(gateway: &Gateway, who: &str, name: &str) -> Result<Login> {
    let token = gateway.run(who, &["token", CONNECTION])?;
    gateway.login_with(name, &token)
}

/// A psql of theirs that runs something long.
fn at_work(target: &Postgres, login: &Login, mark: u32) -> Result<Running> {
    let mut psql = login.psql(&target.program("psql"))?.start()?;
    psql.type_line(&format!("select pg_sleep({mark});"))?;
    target.wait_until_logged(&format!("pg_sleep({mark})"))?;
    Ok(psql)
}

fn whoami(gateway: &Gateway, who: &str) -> Result<Value> {
    gateway.json(who, &["whoami"])
}

#[test]
fn somebody_new_signs_in_works_and_is_known_by_issuer_and_subject() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &issuer, "")?;
    signed_in(&gateway, &issuer, "alice")?;
    let me = whoami(&gateway, "alice")?;
    ensure!(me.pointer("/identity/name") == Some(&json!("alice")) && me.pointer("/identity/groups") == Some(&json!(["engineers"])), "{me}");
    ensure!(me.pointer("/identity/created_by") == Some(&json!("idp")), "{me}");
    let alice = login(&gateway, "alice", "alice")?;
    ensure!(alice.psql(&target.program("psql"))?.args(&["-At", "-c", "select 'in'"]).print()? == "in\n");

    // The address and the name may change, and the groups do: it is the same person.
    issuer.say(|script| {
        script.claims.extend([("preferred_username".to_owned(), json!("alice.newname")), ("email".to_owned(), json!("new@example.com"))]);
        script.claims.insert("groups".to_owned(), json!(["/support-leads", "Not A Name"]));
    });
    signed_in(&gateway, &issuer, "alice")?;
    let me = whoami(&gateway, "alice")?;
    ensure!(me.pointer("/identity/name") == Some(&json!("alice")) && me.pointer("/identity/groups") == Some(&json!(["support-leads"])), "{me}");
    let details = gateway.json(gateway.administrator(), &["identity", "show", "alice"])?;
    ensure!(
        details.pointer("/accounts/0/subject") == Some(&json!("alice-at-idp"))
            && details.pointer("/accounts/0/email") == Some(&json!("new@example.com")),
        "{details}"
    );

    // Somebody else with her old address and name is not her.
    issuer.say(|script| {
        script.claims.insert("sub".to_owned(), json!("somebody-else"));
        script.claims.insert("preferred_username".to_owned(), json!("alice"));
    });
    let (success, printed) = sign_in(&gateway, &issuer, "mallory")?;
    ensure!(!success && printed.contains("the name alice is somebody else's here") && printed.contains("--subject somebody-else"), "{printed}");
    Ok(())
}

#[test]
fn on_a_device_somebody_signs_in_elsewhere() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &issuer, "")?;
    let mut command = gateway.command("alice")?;
    command.args(["login", "--device"]);
    let mut running = Running::start(command)?;
    running.wait_for("/activate and enter the code ABCD-EFGH", PATIENCE)?;
    // Asked once and told to wait; the next time she has signed in.
    issuer.wait_until_asked("/token", 1, PATIENCE)?;
    issuer.say(|script| script.device_done = true);
    running.wait_for("Signed in as alice", PATIENCE)?;
    ensure!(running.finish(PATIENCE)?.0.success());
    ensure!(whoami(&gateway, "alice")?.pointer("/identity/name") == Some(&json!("alice")));
    Ok(())
}

#[test]
fn a_sign_in_that_its_provider_ends_ends_its_tokens_and_sessions() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &issuer, "check_every_s = 1")?;
    for (number, person) in ["alice", "carla"].into_iter().enumerate() {
        issuer.say(|script| {
            script.claims.insert("sub".to_owned(), json!(format!("{person}-at-idp")));
            script.claims.insert("preferred_username".to_owned(), json!(person));
            script.claims.insert("sid".to_owned(), json!(format!("session {number}")));
        });
        signed_in(&gateway, &issuer, person)?;
    }
    let (alice, carla) = (login(&gateway, "alice", "alice")?, login(&gateway, "carla", "carla")?);
    let (mut first, mut other) = (at_work(&target, &alice, 1001)?, at_work(&target, &carla, 1002)?);

    // Back-channel logout: of another session, of nobody's, and twice the same.
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let logout = |claims: Value| -> Result<u16> {
        let mut all = json!({ "events": event, "jti": "j0" });
        all.as_object_mut().context("an object")?.extend(claims.as_object().cloned().unwrap_or_default());
        back_channel(&gateway, &issuer.token(Some("logout+jwt"), &all)?)
    };
    ensure!(logout(json!({ "sid": "no session", "jti": "j1" }))? == 200);
    ensure!(logout(json!({ "sid": "session 1", "sub": "alice-at-idp", "jti": "j2" }))? == 200, "of another person's session");
    ensure!(logout(json!({ "sub": "alice-at-idp", "nonce": "n", "jti": "j3" }))? == 400, "an ID token");
    ensure!(logout(json!({ "sub": "alice-at-idp", "aud": "others", "jti": "j4" }))? == 400, "for others");
    ensure!(back_channel(&gateway, "no token")? == 400);
    ensure!(whoami(&gateway, "alice").is_ok() && whoami(&gateway, "carla").is_ok());
    ensure!(logout(json!({ "sub": "alice-at-idp", "jti": "j5" }))? == 200);
    first.wait_for("the sign-in at idp that opened this session is over", PATIENCE)?;
    target.wait_until_true(
        DATABASE,
        "not exists (select from pg_stat_activity where query like '%pg_sleep(1001)%' and state = 'active' and pid <> pg_backend_pid())",
    )?;
    ensure!(logout(json!({ "sub": "alice-at-idp", "jti": "j5" }))? == 400, "the same token again");
    ensure!(whoami(&gateway, "alice").is_err() && whoami(&gateway, "carla").is_ok());
    ensure!(!alice.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success());

    // A refresh that fails ends the other one within the interval; one that cannot be asked for does not.
    issuer.say(|script| script.down = true);
    issuer.wait_until_asked("/token", issuer.asked("/token") + 2, PATIENCE)?;
    ensure!(whoami(&gateway, "carla").is_ok(), "a provider that is down ends nobody");
    issuer.say(|script| (script.down, script.refreshes) = (false, false));
    other.wait_for("the sign-in at idp that opened this session is over", PATIENCE)?;
    ensure!(whoami(&gateway, "carla").is_err());
    Ok(())
}

/// Posts a logout token, as a provider does.
fn back_channel(gateway: &Gateway, token: &str) -> Result<u16> {
    let body = format!("logout_token={token}");
    let answer = gateway.post("/v1/back-channel-logout", "application/x-www-form-urlencoded", &body)?;
    Ok(answer.split(' ').nth(1).context("no status")?.parse()?)
}

#[test]
fn nothing_that_is_minted_outlasts_the_sign_in() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &issuer, "sign_in_s = 1200")?;
    signed_in(&gateway, &issuer, "alice")?;
    let longer = gateway.run("alice", &["token", CONNECTION, "--expires-in", "8h"]).unwrap_err();
    ensure!(format!("{longer:#}").contains("your sign-in ends at"), "{longer:#}");
    gateway.run("alice", &["token", CONNECTION])?;
    let tokens = gateway.json("alice", &["token", "list"])?;
    let ends: Vec<&str> =
        tokens.get("tokens").and_then(Value::as_array).context("no tokens")?.iter().filter_map(|token| token.get("expires_at")?.as_str()).collect();
    ensure!(ends.len() == 2 && ends.first() == ends.last(), "an hour is more than twenty minutes: {tokens}");
    Ok(())
}

/// Who signs in, begins a request and ends it when their access is gone, is nobody by then.
#[test]
fn a_request_is_its_callers_who_has_access_when_all_of_it_is_there() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &issuer, "")?;
    signed_in(&gateway, &issuer, "alice")?;
    let kept = fs::read_to_string(gateway.setup().file("../people/alice/credentials.json"))?;
    let token = serde_json::from_str::<Value>(&kept)?.get("token").and_then(Value::as_str).context("no token")?.to_owned();
    let body = json!({ "connections": [CONNECTION] }).to_string();
    let mut stream = std::os::unix::net::UnixStream::connect(gateway.setup().file("data/api.sock"))?;
    let length = body.len();
    let head = format!(
        "POST /v1/tokens HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    // The gateway asks for the body: it has let the head pass.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked)?;
    ensure!(asked.starts_with(b"HTTP/1.1 100 Continue"), "{}", String::from_utf8_lossy(&asked));
    gateway.run("alice", &["logout"])?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 401") && !answer.contains("cs_c_"), "{answer}");
    Ok(())
}

#[test]
fn groups_that_change_at_the_provider_change_what_a_live_session_may() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &issuer, "check_every_s = 1")?;
    signed_in(&gateway, &issuer, "alice")?;
    let alice = login(&gateway, "alice", "alice")?;
    let mut psql = at_work(&target, &alice, 1003)?;
    issuer.say(|script| drop(script.claims.insert("groups".to_owned(), json!(["nobodies"]))));
    psql.wait_for("policy no longer permits this session", PATIENCE)?;
    Ok(())
}

#[test]
fn an_account_is_linked_by_an_administrator_and_takes_the_place_of_the_password() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let mut gateway = start(&target, &issuer, "provision = false")?;
    gateway.add_user("anna", &["dba"])?;
    let (success, printed) = sign_in(&gateway, &issuer, "browser")?;
    let hint = "countersign identity link NAME --provider idp --subject alice-at-idp";
    ensure!(!success && printed.contains(hint), "{printed}");
    let link = ["--provider", "idp", "--subject", "alice-at-idp"];
    let admin = gateway.administrator().to_owned();
    for own in ["anna", &admin] {
        ensure!(gateway.run(own, &[["identity", "link", own].as_slice(), &link].concat()).is_err(), "nobody links their own");
    }
    gateway.run(&admin, &[["identity", "link", "anna"].as_slice(), &link].concat())?;
    signed_in(&gateway, &issuer, "browser")?;
    let me = whoami(&gateway, "browser")?;
    ensure!(me.pointer("/identity/name") == Some(&json!("anna")) && me.pointer("/identity/groups") == Some(&json!(["dba", "engineers"])), "{me}");
    // WEB-11: whoever is barred at the provider has no other way in.
    ensure!(!gateway.login("anna")?.psql(&target.program("psql"))?.args(&["-c", "select 1"]).run()?.status.success(), "her password still works");
    let set = gateway.run_with(&admin, &["identity", "password", "anna"], "another password of anna").unwrap_err();
    ensure!(format!("{set:#}").contains("signs in at idp"), "{set:#}");
    gateway.run(&admin, &[["identity", "unlink", "anna"].as_slice(), &link].concat())?;
    ensure!(whoami(&gateway, "browser").is_err(), "what was minted in the sign-in ends with the account");
    Ok(())
}

#[test]
fn what_a_provider_says_wrong_signs_nobody_in() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &issuer, "")?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let claims = [
        ("iss", json!("https://evil.example"), "issued by somebody else"),
        ("aud", json!("another client"), "for somebody else"),
        ("aud", json!(["countersign", "another client"]), "for somebody else"),
        ("azp", json!("another client"), "for somebody else"),
        ("exp", json!(now - 61), "expired"),
        ("exp", Value::Null, "no claim `exp`"),
        ("iat", json!(now + 600), "the clocks differ"),
        ("nbf", json!(now + 600), "the clocks differ"),
        ("nonce", json!("another"), "answers another sign-in"),
        ("nonce", Value::Null, "no claim `nonce`"),
        ("sub", Value::Null, "no claim `sub`"),
        ("sub", json!(""), "no claim `sub`"),
        ("events", json!({}), "of another kind"),
        ("preferred_username", json!("a b"), "cannot be a name here"),
    ];
    let before = issuer_claims();
    for (name, value, expected) in claims {
        issuer.say(|script| {
            script.claims = before.clone();
            script.claims.insert(name.to_owned(), value.clone());
        });
        let (success, printed) = sign_in(&gateway, &issuer, "nobody")?;
        ensure!(!success && printed.contains(expected), "{name} {value}: {printed}");
    }
    issuer.say(|script| script.claims = before.clone());
    // Algorithms and keys: none, a shared secret, a key of the token's own choice, one that is not published.
    let evil = format!("{}/evil", issuer.url);
    let headers = [
        (json!({ "alg": "none" }), "is not accepted"),
        (json!({ "alg": "HS256" }), "is not accepted"),
        (json!({ "alg": "ES384" }), "not publish"),
        (json!({ "kid": "k2" }), "not publish"),
        (json!({ "typ": "at+jwt" }), "of another kind"),
        (json!({ "crit": ["x"], "x": 1 }), "cannot be read"),
    ];
    for (header, expected) in headers {
        issuer.say(|script| script.header = header.as_object().cloned().unwrap_or_default());
        let (success, printed) = sign_in(&gateway, &issuer, "nobody")?;
        ensure!(!success && (printed.contains(expected) || printed.contains("cannot be read")), "{header}: {printed}");
    }
    issuer.say(|script| {
        script.header = json!({ "jku": evil, "x5u": evil, "x5c": ["AA=="] }).as_object().cloned().unwrap_or_default();
        script.foreign_key = true;
    });
    let (success, printed) = sign_in(&gateway, &issuer, "nobody")?;
    ensure!(!success && printed.contains("signature is wrong") && issuer.asked("/evil") == 0, "{printed}");
    issuer.say(|script| {
        script.header.clear();
        script.foreign_key = false;
    });
    // RFC 9207: an answer that says it comes from another issuer.
    issuer.say(|script| script.answers_as = Some("https://evil.example".to_owned()));
    let (success, printed) = sign_in(&gateway, &issuer, "nobody")?;
    ensure!(!success && printed.contains("another issuer"), "{printed}");
    issuer.say(|script| script.answers_as = None);
    // And with everything right she is in: none of these failed by accident.
    signed_in(&gateway, &issuer, "alice")?;
    ensure!(issuer.asked("/keys") <= 3, "an unknown key id fetches the keys once a minute at most: {}", issuer.asked("/keys"));
    Ok(())
}

fn issuer_claims() -> serde_json::Map<String, Value> {
    json!({ "sub": "alice-at-idp", "preferred_username": "alice", "groups": ["engineers"] }).as_object().cloned().unwrap_or_default()
}

/// WEB-07: neither state nor flow nor where the answer goes can be exchanged.
#[test]
fn web_07_an_answer_belongs_to_the_sign_in_it_was_begun_in() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let gateway = start(&target, &issuer, "")?;
    for redirect in [
        "https://evil.example/callback",
        "http://evil.example/callback",
        "http://127.0.0.1.evil.example:1/callback",
        "http://127.0.0.1:1/elsewhere",
        "http://127.0.0.1/callback",
        "http://a@127.0.0.1:1/callback",
        "http://127.0.0.1:1/callback?x=y",
        "http://127.0.0.1:1/callback#x",
        "javascript:alert(1)",
    ] {
        let body = json!({ "provider": "idp", "redirect_uri": redirect }).to_string();
        let answer = gateway.post("/v1/sign-in/browser", "application/json", &body)?;
        ensure!(answer.starts_with("HTTP/1.1 400"), "{redirect}: {answer}");
    }
    let begin = || -> Result<(String, String)> {
        let body = json!({ "provider": "idp", "redirect_uri": "http://127.0.0.1:1/callback" }).to_string();
        let answer = gateway.post("/v1/sign-in/browser", "application/json", &body)?;
        let begun: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).context("no body")?)?;
        let text = |name: &str| begun.get(name).and_then(Value::as_str).map(str::to_owned).context("missing");
        let back = issuer.browse(&text("url")?)?;
        Ok((text("flow")?, back.query().context("no query")?.to_owned()))
    };
    let finish = |flow: &str, query: &str| -> Result<String> {
        let of = |name: &str| url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let body = json!({ "flow": flow, "state": of("state"), "code": of("code"), "iss": of("iss") }).to_string();
        gateway.post("/v1/sign-in/finish", "application/json", &body)
    };
    let ((mine, my_answer), (other, other_answer)) = (begin()?, begin()?);
    // Somebody else's answer in my flow, and mine in theirs.
    ensure!(finish(&mine, &other_answer)?.contains("answers another sign-in"));
    ensure!(finish(&mine, &my_answer)?.contains("was finished before"), "a flow works once");
    ensure!(finish("made-up", &other_answer)?.contains("was finished before"));
    let answer = finish(&other, &other_answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("cs_a_"), "{answer}");
    ensure!(finish(&other, &other_answer)?.contains("was finished before"));
    Ok(())
}

#[test]
fn a_provider_that_is_down_keeps_nobody_else_out() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let mut gateway = start(&target, &issuer, "")?;
    issuer.say(|script| script.down = true);
    let mut command = gateway.command("alice")?;
    command.arg("login").env("BROWSER", "true");
    let (status, printed) = Running::start(command)?.finish(PATIENCE)?;
    ensure!(!status.success() && printed.contains("provider idp"), "{printed}");
    gateway.add_user("bob", &["engineers"])?;
    ensure!(gateway.login("bob")?.psql(&target.program("psql"))?.args(&["-At", "-c", "select 'in'"]).print()? == "in\n");
    issuer.say(|script| script.down = false);
    let end = std::time::Instant::now() + PATIENCE;
    while !sign_in_again(&gateway, &issuer)? {
        ensure!(std::time::Instant::now() < end, "it is back and nobody can sign in");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    Ok(())
}

fn sign_in_again(gateway: &Gateway, issuer: &Issuer) -> Result<bool> {
    let mut command = gateway.command("alice")?;
    command.arg("login").env("BROWSER", "true");
    let mut running = Running::start(command)?;
    match running.wait_for("/authorize?", Duration::from_secs(5)) {
        Ok(line) => {
            let url = line.split_whitespace().find(|word| word.starts_with("http")).context("no URL")?.to_owned();
            get(&issuer.browse(&url)?)?;
            Ok(running.finish(PATIENCE)?.0.success())
        }
        Err(_) => Ok(false),
    }
}

#[test]
fn a_provider_is_revoked_and_allowed_without_a_restart() -> Result<()> {
    let (target, issuer) = (Postgres::start()?, Issuer::start()?);
    let mut gateway = start(&target, &issuer, "")?;
    let admin = gateway.administrator().to_owned();
    signed_in(&gateway, &issuer, "alice")?;
    let alice = login(&gateway, "alice", "alice")?;
    let mut psql = at_work(&target, &alice, 1071)?;
    // Somebody whose browser is on its way comes back to a closed door.
    let (waiting, url) = begin(&gateway, "alice")?;
    ensure!(gateway.run("alice", &["provider", "revoke", "idp"]).is_err(), "alice may not");
    let unknown = gateway.run(&admin, &["provider", "revoke", "idq"]).unwrap_err();
    ensure!(format!("{unknown:#}").contains("there are: idp"), "{unknown:#}");
    let told = gateway.run(&admin, &["provider", "revoke", "idp", "--reason", "its keys were stolen"])?;
    ensure!(told.contains("1 sign-ins are over") && told.contains("1 live session ended"), "{told}");
    psql.wait_for("revoked the provider", PATIENCE)?;
    target.wait_until_true(DATABASE, "not exists (select from pg_stat_activity where query like '%pg_sleep(1071)%' and pid <> pg_backend_pid())")?;
    get(&issuer.browse(&url)?)?;
    let (status, _) = waiting.finish(PATIENCE)?;
    ensure!(!status.success() && whoami(&gateway, "alice").is_err(), "nobody finishes what was begun");
    let refused = |gateway: &Gateway| -> Result<String> {
        let output = gateway.output("alice", &["login"], "")?;
        ensure!(!output.status.success());
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let said = refused(&gateway)?;
    ensure!(said.contains("idp is revoked here"), "{said}");
    let listed = gateway.run(&admin, &["provider", "list"])?;
    ensure!(listed.contains("idp") && listed.contains("revoked by") && listed.contains("its keys were stolen"), "{listed}");
    gateway.kill();
    gateway.start_again()?;
    ensure!(refused(&gateway)?.contains("idp is revoked here"), "also after a restart");
    gateway.run(&admin, &["provider", "allow", "idp"])?;
    signed_in(&gateway, &issuer, "alice")?;
    Ok(())
}
