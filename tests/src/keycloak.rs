//! A real identity provider: Keycloak, with a realm `staff` in it.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::{Url, form_urlencoded};
use xtask::kept::Kept;

use crate::{
    browser::Browser,
    clients::Running,
    gateway::{CONNECTION, Gateway},
    issuer::{ask, json_of},
    postgres::{PATIENCE, Postgres},
};

/// What the gateway is known as.
pub const CLIENT_ID: &str = "countersign";
/// And its secret.
pub const CLIENT_SECRET: &str = "the secret of the gateway at keycloak";
/// How long it may take until it listens: a Java server, on a busy machine.
const START_MAX: Duration = Duration::from_secs(240);
const ADMINISTRATOR: &str = "admin";
const PASSWORD: &str = "the password of keycloak's admin";

/// A running Keycloak. It is killed when this is dropped, or the process ends.
#[derive(Debug)]
pub struct Keycloak {
    _kept: Kept,
    _folder: TempDir,
    base: String,
}

impl Keycloak {
    /// Starts one on a port of the system's choice that trusts this root, and makes the realm: the client of a gateway whose API is at `gateway`, the groups
    /// `engineers` and `contractors`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(root: &Path) -> Result<Self> {
        let home = xtask::install::keycloak().map_err(|error| anyhow!(error))?;
        let folder = tempfile::tempdir()?;
        // As `kc.sh` would, which stays in between and leaves it behind when it is killed.
        let property = |name: &str, value: &Path| format!("-D{name}={}", value.display());
        let mut command = Command::new("java");
        command
            .args(["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-Djava.util.logging.manager=org.jboss.logmanager.LogManager"])
            .args(["java.util", "java.util.concurrent", "java.security", "java.lang"].map(|name| format!("--add-opens=java.base/{name}=ALL-UNNAMED")))
            .arg("-Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory")
            .arg(property("kc.home.dir", &home))
            .arg(property("jboss.server.config.dir", &home.join("conf")))
            .arg("-cp")
            .arg(home.join("lib/quarkus-run.jar"))
            .arg("io.quarkus.bootstrap.runner.QuarkusEntryPoint")
            .args(["start", "--optimized", "--http-enabled=true", "--http-host=127.0.0.1", "--http-port=0", "--hostname-strict=false"])
            .arg(format!("--truststore-paths={}", root.display()))
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMINISTRATOR)
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", PASSWORD);
        let mut kept = Kept::start(&command, &folder.path().join("keycloak.log")).map_err(|error| anyhow!(error))?;
        let printed = folder.path().join("keycloak.log");
        let listening = || {
            let text = std::fs::read_to_string(&printed).ok()?;
            let rest = text.split("Listening on: ").nth(1)?;
            rest.split_whitespace().next().map(|url| url.trim_end_matches(['.', ',']).to_owned())
        };
        let base = kept.wait_until(START_MAX, listening).map_err(|error| anyhow!(error))?;
        Ok(Self { _kept: kept, _folder: folder, base })
    }

    /// Makes the realm `staff` with the client of a gateway whose API is at `gateway`, if it takes logouts there.
    ///
    /// # Errors
    /// Keycloak's.
    pub fn make_realm(&self, gateway: &str) -> Result<()> {
        let groups = json!({
            "name": "groups", "protocol": "openid-connect", "protocolMapper": "oidc-group-membership-mapper",
            "config": { "claim.name": "groups", "full.path": "true", "id.token.claim": "true", "access.token.claim": "true", "userinfo.token.claim": "true" },
        });
        let client = json!({
            "clientId": CLIENT_ID, "secret": CLIENT_SECRET, "protocol": "openid-connect", "publicClient": false, "standardFlowEnabled": true,
            "redirectUris": ["http://127.0.0.1/callback"], "protocolMappers": [groups],
            "attributes": {
                "oauth2.device.authorization.grant.enabled": "true", "pkce.code.challenge.method": "S256",
                "backchannel.logout.url": format!("{gateway}/v1/back-channel-logout"), "backchannel.logout.session.required": "true",
            },
        });
        let realm = json!({
            "realm": "staff", "enabled": true, "sslRequired": "none", "clients": [client], "groups": [{ "name": "engineers" }, { "name": "contractors" }],
        });
        self.admin("POST", "", &realm).map(drop)
    }

    /// `[providers.keycloak]` of a gateway. `more`: further lines.
    #[must_use]
    pub fn settings(&self, more: &str) -> String {
        format!(
            "[providers.keycloak]\npreset = \"keycloak\"\nissuer = \"{}/realms/staff\"\nclient_id = \"{CLIENT_ID}\"\n\
             client_secret = {{ store = \"keycloak\" }}\ninternal = true\n{more}\n",
            self.base
        )
    }

    /// Adds somebody with a password of their own to groups. Returns whom tokens mean by them.
    ///
    /// # Errors
    /// Keycloak's.
    pub fn add_person(&self, name: &str, groups: &[&str]) -> Result<String> {
        let person = json!({
            "username": name, "enabled": true, "email": format!("{name}@example.com"), "emailVerified": true, "firstName": name, "lastName": "Person",
            "groups": groups, "credentials": [{ "type": "password", "value": password_of(name), "temporary": false }],
        });
        self.admin("POST", "/staff/users", &person)?;
        let found = self.admin("GET", &format!("/staff/users?exact=true&username={name}"), &Value::Null)?;
        found.pointer("/0/id").and_then(Value::as_str).map(str::to_owned).context("no such person")
    }

    /// Bars somebody.
    ///
    /// # Errors
    /// Keycloak's.
    pub fn disable(&self, subject: &str) -> Result<()> {
        self.admin("PUT", &format!("/staff/users/{subject}"), &json!({ "enabled": false })).map(drop)
    }

    /// Ends all sessions of somebody.
    ///
    /// # Errors
    /// Keycloak's.
    pub fn log_out(&self, subject: &str) -> Result<()> {
        self.admin("POST", &format!("/staff/users/{subject}/logout"), &json!({})).map(drop)
    }

    fn admin(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let token: Url = format!("{}/realms/master/protocol/openid-connect/token", self.base).parse()?;
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", "password"), ("client_id", "admin-cli"), ("username", ADMINISTRATOR), ("password", PASSWORD)])
            .finish();
        let answer = json_of(&ask("POST", &token, &[("Content-Type", "application/x-www-form-urlencoded")], &form)?)?;
        let bearer = format!("Bearer {}", answer.get("access_token").and_then(Value::as_str).context("no token")?);
        let url: Url = format!("{}/admin/realms{path}", self.base).parse()?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        json_of(&ask(method, &url, &[("Content-Type", "application/json"), ("Authorization", &bearer)], &body)?)
    }
}

/// The password of somebody who was added.
#[must_use]
pub fn password_of(name: &str) -> String {
    format!("the password of {name} at keycloak")
}

/// Types name and password where Keycloak asks for them.
///
/// # Errors
/// It does not ask.
pub fn prove(browser: &Browser, name: &str) -> Result<()> {
    browser.type_into("#username", name)?;
    browser.type_into("#password", &password_of(name))?;
    browser.click("#kc-login")
}

/// `countersign login` in a browser of their own.
///
/// # Errors
/// They are not signed in.
pub fn sign_in(gateway: &Gateway, name: &str) -> Result<()> {
    let mut command = gateway.command(name)?;
    command.arg("login").env("BROWSER", "true");
    let mut running = Running::start(command)?;
    let line = running.wait_for("/protocol/openid-connect/auth?", PATIENCE)?;
    let browser = Browser::open()?;
    browser.go(line.trim())?;
    prove(&browser, name)?;
    browser.wait_for("You are signed in as far as your provider goes")?;
    running.wait_for(&format!("Signed in as {name}"), PATIENCE)?;
    ensure!(running.finish(PATIENCE)?.0.success());
    Ok(())
}

/// A psql of theirs, opened with a token they mint, that runs something long.
///
/// # Errors
/// It does not come to run.
pub fn at_work(gateway: &Gateway, target: &Postgres, name: &str, mark: u32) -> Result<Running> {
    let token = gateway.run(name, &["token", CONNECTION])?;
    let login = gateway.login_with(name, &token)?;
    let mut psql = login.psql(&target.program("psql"))?.start()?;
    psql.type_line(&format!("select pg_sleep({mark});"))?;
    target.wait_until_logged(&format!("pg_sleep({mark})"))?;
    Ok(psql)
}
