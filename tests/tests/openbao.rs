//! Secrets of targets in a real OpenBao, and roles that it makes for one session each. While it is sealed, gone, silent or forbids, no session begins; those
//! that live go on.

use std::{fs, time::Instant};

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::{Login, Running},
    gateway::{CONNECTION, Gateway, Setup},
    openbao::OpenBao,
    postgres::{DATABASE, PATIENCE, Postgres, ROLE},
};
use rustix::process::{Pid, Signal, kill_process};

/// What sessions act as whose role is the vault's.
const OWNER: &str = "app_owner";
const CATALOG: &str = "countersign_catalog";

fn setup(bao: &OpenBao) -> Result<Setup> {
    let setup = Setup::init()?;
    setup.permit_all()?;
    let (settings, authority, secret_id) = bao.settings()?;
    let before = fs::read_to_string(setup.file("countersign.toml"))?;
    setup.write("countersign.toml", &format!("{before}{settings}"))?;
    setup.write("bao-ca.pem", &authority)?;
    setup.write("bao-secret-id", &secret_id)?;
    Ok(setup)
}

fn serve(setup: Setup, target: &Postgres, login: &str) -> Result<Gateway> {
    let port = target.port();
    setup.write(
        &format!("connections/{CONNECTION}.toml"),
        &format!(
            "protocol = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"{DATABASE}\"\nenvironment = \"production\"\n{login}\n\
             [tls]\nmode = \"loopback-plain\"\n"
        ),
    )?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    Ok(gateway)
}

fn psql(login: &Login, target: &Postgres) -> Result<Running> {
    login.psql(&target.program("psql"))?.args(&["-At", "-v", "VERBOSITY=verbose"]).start()
}

fn said(login: &Login, target: &Postgres, statement: &str) -> Result<String> {
    let output = login.psql(&target.program("psql"))?.args(&["-At", "-c", statement]).run()?;
    Ok(String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?)
}

fn signal(bao: &OpenBao, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(i32::try_from(bao.pid())?).context("no process id")?, signal)?)
}

#[test]
fn a_password_in_the_vault_is_read_for_each_session_and_without_the_vault_none_begins() -> Result<()> {
    let (target, mut bao) = (Postgres::start()?, OpenBao::start()?);
    let rotate = |password: &str| -> Result<()> {
        bao.run(&["kv", "put", "-mount=secret", "prod", &format!("password={password}"), "note=x"])?;
        target.sql("postgres", &format!("alter role {ROLE} password '{password}'")).map(drop)
    };
    rotate("the first")?;
    let login = format!("user = \"{ROLE}\"\npassword = {{ vault = \"secret/data/prod#password\" }}");
    let gateway = serve(setup(&bao)?, &target, &login)?;
    let alice = gateway.login("alice")?;
    ensure!(said(&alice, &target, "select 'in'")?.contains("in"), "{}", gateway.printed());
    rotate("the second")?;
    let mut live = psql(&alice, &target)?;
    let mut step = 0;
    // New statements, and names that are new to the gateway: it reads the catalog for them.
    let mut goes_on = || -> Result<()> {
        step += 1;
        live.type_line(&format!("create table step_{step} (id int); select 'step ' || count(*) + {step} from step_{step};"))?;
        live.wait_for(&format!("step {step}"), PATIENCE).map(drop)
    };
    goes_on()?;
    let refused = |cause: &str| -> Result<()> {
        let told = said(&alice, &target, "select 'in'")?;
        ensure!(told.contains(&format!("connection {CONNECTION} is not available: the gateway has no usable credential for it")), "{cause}: {told}");
        ensure!(gateway.printed().contains(cause), "{cause}: {}", gateway.printed());
        Ok(())
    };
    bao.run(&["operator", "seal"])?;
    refused("the vault is sealed: somebody with its keys unseals it")?;
    goes_on()?;
    bao.unseal()?;
    ensure!(said(&alice, &target, "select 'in'")?.contains("in"), "{}", gateway.printed());
    bao.allow("path \"secret/data/other\" { capabilities = [\"read\"] }")?;
    refused("the vault does not permit secret/data/prod")?;
    bao.allow("path \"secret/data/*\" { capabilities = [\"read\"] }")?;
    ensure!(said(&alice, &target, "select 'in'")?.contains("in"), "{}", gateway.printed());
    bao.run(&["kv", "put", "-mount=secret", "prod", "passwort=x"])?;
    refused("has no text called password")?;
    bao.run(&["kv", "delete", "-mount=secret", "prod"])?;
    refused("the vault has nothing at secret/data/prod")?;
    rotate("the third")?;
    goes_on()?;
    // It listens, and says nothing.
    signal(&bao, Signal::STOP)?;
    let asked = Instant::now();
    refused("does not answer within")?;
    ensure!(asked.elapsed() < PATIENCE);
    goes_on()?;
    signal(&bao, Signal::CONT)?;
    ensure!(said(&alice, &target, "select 'in'")?.contains("in"), "{}", gateway.printed());
    bao.kill();
    refused("cannot be reached")?;
    goes_on()?;
    // No secret of any kind was printed.
    let printed = gateway.printed();
    ensure!(!["the first", "the second", "the third"].iter().any(|secret| printed.contains(secret)), "{printed}");
    Ok(())
}

/// Has the vault make roles in the target that act as the owner.
fn make_roles(bao: &OpenBao, target: &Postgres, ttl: &str) -> Result<()> {
    target.sql(
        DATABASE,
        &format!(
            "CREATE ROLE {OWNER} NOLOGIN; CREATE ROLE {CATALOG} LOGIN PASSWORD 'c'; CREATE ROLE vault_admin LOGIN CREATEROLE PASSWORD 'v';
             CREATE SCHEMA AUTHORIZATION {OWNER}"
        ),
    )?;
    bao.run(&["secrets", "enable", "database"])?;
    let url = format!("connection_url=postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/{DATABASE}?sslmode=disable", target.port());
    let plugin =
        ["write", "database/config/shop", "plugin_name=postgresql-database-plugin", "allowed_roles=shop", "username=vault_admin", "password=v"];
    bao.run(&[&plugin[..], &[url.as_str()]].concat())?;
    let create = format!(
        "creation_statements=CREATE ROLE \"{{{{name}}}}\" LOGIN NOINHERIT PASSWORD '{{{{password}}}}' VALID UNTIL '{{{{expiration}}}}'; GRANT {OWNER} TO \"{{{{name}}}}\";"
    );
    let revoke = "revocation_statements=DROP ROLE IF EXISTS \"{{name}}\";";
    bao.run(&["write", "database/roles/shop", "db_name=shop", &create, revoke, &format!("default_ttl={ttl}"), "max_ttl=1h"])?;
    bao.allow(
        "path \"database/creds/shop\" { capabilities = [\"read\"] }\npath \"sys/leases/revoke\" { capabilities = [\"update\"] }\n\
         path \"secret/data/*\" { capabilities = [\"read\"] }",
    )?;
    bao.run(&["kv", "put", "-mount=secret", "catalog", "password=c"]).map(drop)
}

const JIT: &str = "[jit]\nvault_database = \"shop\"\nacts_as = \"app_owner\"\n\
                   [catalog]\nuser = \"countersign_catalog\"\npassword = { vault = \"secret/data/catalog#password\" }\n";
const LEFT: &str = r"(select count(*) from pg_roles where rolname like 'v-%')";

#[test]
fn a_role_of_the_vaults_is_of_one_session_and_ends_with_it_however_that_ends() -> Result<()> {
    let (target, bao) = (Postgres::start()?, OpenBao::start()?);
    make_roles(&bao, &target, "1h")?;
    let mut gateway = serve(setup(&bao)?, &target, JIT)?;
    let mut alice = psql(&gateway.login("alice")?, &target)?;
    alice.type_line("select 'now ' || current_user || ' of ' || session_user;")?;
    let line = alice.wait_for("now ", PATIENCE)?;
    let role = line.trim().strip_prefix(&format!("now {OWNER} of v-")).with_context(|| line.clone())?.to_owned();
    let story = gateway.run(gateway.administrator(), &["sessions"])?;
    ensure!(story.contains(CONNECTION), "{story}");
    let session = gateway.json("alice", &["sessions"])?.pointer("/sessions/0/id").and_then(|id| id.as_str()).context("no session")?.to_owned();
    ensure!(gateway.run(gateway.administrator(), &["show", &session])?.contains(&role));
    drop(alice.finish(PATIENCE)?);
    target.wait_until_true("postgres", &format!("{LEFT} = 0"))?;
    // Killed, it revokes at its next start what it left.
    let mut alice = psql(&gateway.login("alice")?, &target)?;
    alice.type_line("select 'up ' || 1;")?;
    alice.wait_for("up 1", PATIENCE)?;
    gateway.kill();
    ensure!(target.sql("postgres", &format!("select {LEFT}"))? == "1\n");
    gateway.start_again()?;
    target.wait_until_true("postgres", &format!("{LEFT} = 0"))?;
    let leases = bao.run(&["list", "-format=json", "sys/leases/lookup/database/creds/shop"]).unwrap_or_else(|error| error.to_string());
    ensure!(leases.contains("{}") || leases.contains("No value found"), "{leases}");
    Ok(())
}

#[test]
fn a_session_ends_with_the_lease_of_its_role() -> Result<()> {
    let (target, bao) = (Postgres::start()?, OpenBao::start()?);
    make_roles(&bao, &target, "3s")?;
    let gateway = serve(setup(&bao)?, &target, JIT)?;
    let mut alice = psql(&gateway.login("alice")?, &target)?;
    alice.type_line("select 'up ' || 1; select pg_sleep(3600);")?;
    alice.wait_for("up 1", PATIENCE)?;
    let (status, printed) = alice.finish(PATIENCE)?;
    ensure!(!status.success() && printed.contains("the access that opened this session ended"), "{printed}");
    target.wait_until_true("postgres", &format!("{LEFT} = 0"))
}
