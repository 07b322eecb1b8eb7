//! A role at the target for each session: it acts as the standing owner and cannot leave it for anything better, and it is gone when the session is, however
//! that ended. Each is shown with PostgreSQL as it is installed, and with one of version 16, where whoever makes roles has no power over others.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    clients::{Login, Running},
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, PATIENCE, Postgres},
};

/// What sessions act as.
const OWNER: &str = "app_owner";
const ADMIN: &str = "countersign_admin";
const CATALOG: &str = "countersign_catalog";
/// Of both. No secret: the server lives as long as the test.
const PASSWORD: &str = "the password of those who make roles";

/// How many roles of sessions there are.
const ROLES: &str = r"(select count(*) from pg_roles where rolname like 'countersign\_s\_%')";

fn targets() -> Result<[Postgres; 2]> {
    Ok([Postgres::start()?, Postgres::start_newer()?])
}

fn version(target: &Postgres) -> Result<u32> {
    Ok(target.sql("postgres", "show server_version_num")?.trim().parse::<u32>()? / 10_000)
}

/// Makes the owner with a schema and a table of its own, and those who make roles and read the catalog, as the documentation says.
fn prepare(target: &Postgres) -> Result<()> {
    let grant = if version(target)? >= 16 { format!("GRANT {OWNER} TO {ADMIN} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;") } else { String::new() };
    target
        .sql(
            DATABASE,
            &format!(
                "CREATE ROLE {OWNER} NOLOGIN; CREATE ROLE {ADMIN} LOGIN CREATEROLE PASSWORD '{PASSWORD}'; {grant}
             CREATE ROLE {CATALOG} LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON DATABASE {DATABASE} TO {OWNER};
             CREATE SCHEMA AUTHORIZATION {OWNER}; CREATE TABLE {OWNER}.customers (id int, email text); ALTER TABLE {OWNER}.customers OWNER TO {OWNER};
             INSERT INTO {OWNER}.customers VALUES (1, 'carol@example.com')"
            ),
        )
        .map(drop)
}

/// A set whose connection makes roles. `jit`: further lines of its table.
fn setup(target: &Postgres, jit: &str) -> Result<Setup> {
    let mut setup = Setup::init()?;
    setup.environment("MAKER", PASSWORD);
    write_connection(&setup, target, jit)?;
    Ok(setup)
}

fn write_connection(setup: &Setup, target: &Postgres, jit: &str) -> Result<()> {
    let port = target.port();
    setup.write(
        &format!("connections/{CONNECTION}.toml"),
        &format!(
            "protocol = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"{DATABASE}\"\nenvironment = \"production\"\nrecord = \"full\"\n\
             [jit]\nadmin = {{ user = \"{ADMIN}\", password = {{ env = \"MAKER\" }} }}\nacts_as = \"{OWNER}\"\n{jit}\n\
             [catalog]\nuser = \"{CATALOG}\"\npassword = {{ env = \"MAKER\" }}\n[tls]\nmode = \"loopback-plain\"\n"
        ),
    )
}

fn serve(target: &Postgres, jit: &str) -> Result<Gateway> {
    prepare(target)?;
    let setup = setup(target, jit)?;
    setup.permit_all()?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    gateway.add_user("bob", &[])?;
    Ok(gateway)
}

fn psql(login: &Login, target: &Postgres) -> Result<Running> {
    login.psql(&target.program("psql"))?.args(&["-At", "-v", "VERBOSITY=verbose"]).start()
}

/// What a statement answers, or what psql says of it.
fn said(login: &Login, target: &Postgres, statements: &[&str]) -> Result<String> {
    let statements = statements.iter().flat_map(|statement| ["-c", statement]);
    let arguments: Vec<&str> = ["-At", "-v", "VERBOSITY=verbose"].into_iter().chain(statements).collect();
    let output = login.psql(&target.program("psql"))?.args(&arguments).run()?;
    Ok(String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?)
}

fn none_left(target: &Postgres, gateway: &Gateway) -> Result<()> {
    target.wait_until_true("postgres", &format!("{ROLES} = 0")).with_context(|| gateway.printed())
}

#[test]
fn a_session_has_a_role_of_its_own_that_acts_as_the_owner_and_is_gone_with_it() -> Result<()> {
    for target in targets()? {
        let gateway = serve(&target, "")?;
        let mut psql = psql(&gateway.login("alice")?, &target)?;
        psql.type_line("select 'now ' || current_user || ' of ' || session_user;")?;
        let line = psql.wait_for("now ", PATIENCE)?;
        let role = line.trim().strip_prefix(&format!("now {OWNER} of ")).with_context(|| line.clone())?.to_owned();
        let session = gateway.json("alice", &["sessions"])?.pointer("/sessions/0/id").and_then(|id| id.as_str()).context("no session")?.to_owned();
        ensure!(role == format!("countersign_{session}"), "{role}");
        // What it is made of, and what of its credential the target was told.
        let made = target.sql(
            "postgres",
            &format!(
                "select rolsuper, rolcreaterole, rolcreatedb, rolinherit, rolconnlimit, rolvaliduntil between now() and now() + interval '25 h', \
                 shobj_description(oid, 'pg_authid') from pg_roles where rolname = '{role}'"
            ),
        )?;
        ensure!(made.trim() == format!("f|f|f|f|1|t|countersign session {session} of alice"), "{made}");
        ensure!(target.log()?.contains(&format!("CREATE ROLE \"{role}\"")) && target.log()?.contains("PASSWORD 'SCRAM-SHA-256$4096:"));
        // What it makes is the owner's, in the schema of the owner's name.
        psql.type_line("create table notes (t text); select 'made ' || 1;")?;
        psql.wait_for("made 1", PATIENCE)?;
        let made = target.sql(DATABASE, "select schemaname, tableowner from pg_tables where tablename = 'notes'")?;
        ensure!(made == format!("{OWNER}|{OWNER}\n"), "{made}");
        drop(psql.finish(PATIENCE)?);
        none_left(&target, &gateway)?;
        ensure!(target.sql(DATABASE, "select count(*) from app_owner.notes")? == "0\n");
        // The record says which role it was.
        let story = gateway.run(gateway.administrator(), &["show", &session])?;
        ensure!(story.contains(&role), "{story}");
        ensure!(gateway.json(gateway.administrator(), &["status"])?.pointer("/left_roles") == Some(&serde_json::json!([])));
        let warned = gateway.printed().contains("before PostgreSQL 16");
        ensure!(warned == (version(&target)? < 16), "{}", gateway.printed());
    }
    Ok(())
}

#[test]
fn two_at_once_have_two_roles_and_each_ends_alone() -> Result<()> {
    for target in targets()? {
        let gateway = serve(&target, "")?;
        let mut first = psql(&gateway.login("alice")?, &target)?;
        let mut second = psql(&gateway.login("bob")?, &target)?;
        for (psql, who) in [(&mut first, "alice"), (&mut second, "bob")] {
            psql.type_line(&format!("insert into customers values (2, '{who}') returning 'done ' || id;"))?;
            psql.wait_for("done 2", PATIENCE)?;
        }
        ensure!(target.sql("postgres", &format!("select {ROLES}"))? == "2\n");
        drop(first.finish(PATIENCE)?);
        target.wait_until_true("postgres", &format!("{ROLES} = 1"))?;
        second.type_line("select 'still ' || current_user;")?;
        second.wait_for(&format!("still {OWNER}"), PATIENCE)?;
        drop(second.finish(PATIENCE)?);
        none_left(&target, &gateway)?;
    }
    Ok(())
}

/// Everything is permitted here: it is the target that holds them.
#[test]
fn who_leaves_the_owner_finds_nothing_and_comes_back_to_it() -> Result<()> {
    for target in targets()? {
        let gateway = serve(&target, "")?;
        let alice = gateway.login("alice")?;
        for back in ["RESET ROLE", "DISCARD ALL", "RESET ALL", "SET SESSION AUTHORIZATION DEFAULT", "RESET SESSION AUTHORIZATION"] {
            let told = said(&alice, &target, &[back, "select 'now ' || current_user, current_schemas(false)", "select count(*) from customers"])?;
            ensure!(told.contains(&format!("now {OWNER}|{{{OWNER},public}}\n1\n")), "{back}: {told}");
        }
        for away in ["SET ROLE NONE", "SELECT set_config('role', 'none', false)"] {
            let told = said(&alice, &target, &[away, "select current_user = session_user", "select * from app_owner.customers"])?;
            ensure!(told.contains("t\n") && told.contains("42501") && !told.contains("carol"), "{away}: {told}");
        }
        for other in [ADMIN, CATALOG, "postgres", "app", "pg_read_all_data"] {
            let told = said(&alice, &target, &[&format!("SET ROLE {other}"), "select 'now ' || current_user"])?;
            ensure!(told.contains("42501") && told.contains(&format!("now {OWNER}")), "{other}: {told}");
        }
        // Nor does it begin as another.
        for option in ["-c role=none", "-c session_authorization=app", "-c ROLE=app_owner"] {
            let told = String::from_utf8(alice.psql(&target.program("psql"))?.env("PGOPTIONS", option).args(&["-c", "select 1"]).run()?.stderr)?;
            ensure!(told.contains("may not begin with setting") && told.contains(OWNER), "{option}: {told}");
        }
        // What it made outside is the owner's afterwards, and holds up nothing.
        let told = said(&alice, &target, &["SET ROLE NONE", "select 'object ' || lo_create(4711)"])?;
        ensure!(told.contains("object 4711"), "{told}");
        none_left(&target, &gateway)?;
        let owner = target.sql(DATABASE, "select lomowner::regrole from pg_largeobject_metadata where oid = 4711")?;
        ensure!(owner.trim() == OWNER, "{owner}");
        // And the one who makes roles is no member of the owner for it.
        let member = target.sql("postgres", &format!("select pg_has_role('{ADMIN}', '{OWNER}', 'USAGE')"))?;
        ensure!(member == "f\n", "{member}");
    }
    Ok(())
}

/// Where policy does not permit `privilege`, nobody even tries.
#[test]
fn policy_stands_before_every_change_of_role_and_masks_hold_under_the_owner() -> Result<()> {
    for target in targets()? {
        prepare(&target)?;
        let setup = setup(&target, "")?;
        setup.classes(&[("email", "keep-domain", &format!("{OWNER}.customers.email"))])?;
        let mut gateway = setup.serve()?;
        gateway.add_user("alice", &["engineers"])?;
        let alice = gateway.login("alice")?;
        for change in ["SET ROLE NONE", "RESET ROLE", "SET SESSION AUTHORIZATION DEFAULT"] {
            let told = said(&alice, &target, &[change])?;
            ensure!(told.contains("42501") && told.contains("privilege"), "{change}: {told}");
        }
        // `customers` is found in the schema of the owner's name, whoever signed in.
        let told = said(&alice, &target, &["select email from customers"])?;
        ensure!(told.contains("@example.com") && !told.contains("carol"), "{told}");
        let told = said(&alice, &target, &["DISCARD ALL", "select email from customers"])?;
        ensure!(told.contains("@example.com") && !told.contains("carol"), "{told}");
        drop(gateway);
    }
    Ok(())
}

#[test]
fn what_a_killed_gateway_left_is_dropped_at_the_next_start_and_nothing_else() -> Result<()> {
    for target in targets()? {
        let mut gateway = serve(&target, "")?;
        // Of the same form, and nobody's of ours.
        target.sql("postgres", "create role countersign_s_000000000000 login")?;
        let mut running = psql(&gateway.login("alice")?, &target)?;
        running.type_line("select 'up ' || 1; select pg_sleep(3600);")?;
        running.wait_for("up 1", PATIENCE)?;
        target
            .wait_until_true("postgres", "exists (select from pg_stat_activity where query like '%pg_sleep(3600)%' and pid <> pg_backend_pid())")?;
        gateway.kill();
        ensure!(target.sql("postgres", &format!("select {ROLES}"))? == "2\n", "it lives on without the gateway");
        gateway.start_again()?;
        target.wait_until_true("postgres", &format!("{ROLES} = 1"))?;
        target.wait_until_true(
            "postgres",
            "not exists (select from pg_stat_activity where query like '%pg_sleep(3600)%' and pid <> pg_backend_pid())",
        )?;
        ensure!(target.sql("postgres", "select count(*) from pg_roles where rolname = 'countersign_s_000000000000'")? == "1\n");
    }
    Ok(())
}

#[test]
fn a_gateway_that_is_told_to_stop_leaves_no_role() -> Result<()> {
    let target = Postgres::start()?;
    let mut gateway = serve(&target, "")?;
    let mut psql = psql(&gateway.login("alice")?, &target)?;
    psql.type_line("select 'up ' || 1;")?;
    psql.wait_for("up 1", PATIENCE)?;
    gateway.signal(rustix::process::Signal::TERM)?;
    ensure!(gateway.ended_within(PATIENCE) == Some(0), "{}", gateway.printed());
    ensure!(target.sql("postgres", &format!("select {ROLES}"))? == "0\n", "{}", gateway.printed());
    Ok(())
}

#[test]
fn a_session_lasts_as_long_as_its_role_at_most() -> Result<()> {
    for target in targets()? {
        let gateway = serve(&target, "valid_for_s = 5")?;
        let mut psql = psql(&gateway.login("alice")?, &target)?;
        psql.type_line(
            "select 'valid ' || (rolvaliduntil <= now() + interval '6 s') from pg_roles where rolname = session_user; select pg_sleep(3600);",
        )?;
        psql.wait_for("valid true", PATIENCE)?;
        let (status, printed) = psql.finish(PATIENCE)?;
        ensure!(!status.success() && printed.contains("the access that opened this session ended"), "{printed}");
        none_left(&target, &gateway)?;
        target.wait_until_true(
            "postgres",
            "not exists (select from pg_stat_activity where query like '%pg_sleep(3600)%' and pid <> pg_backend_pid())",
        )?;
    }
    Ok(())
}

/// Without a role of its own there is no session; what is wrong is told to operators.
#[test]
fn a_session_without_a_role_does_not_begin() -> Result<()> {
    for target in targets()? {
        let gateway = serve(&target, "")?;
        let alice = gateway.login("alice")?;
        for (wrong, right, cause) in [
            (format!("alter role {ADMIN} password 'another'"), format!("alter role {ADMIN} password '{PASSWORD}'"), "password authentication failed"),
            (format!("alter role {ADMIN} nocreaterole"), format!("alter role {ADMIN} createrole"), "SQLSTATE 42501"),
            (format!("alter role {OWNER} rename to gone"), format!("alter role gone rename to {OWNER}"), "there is no role app_owner there"),
            (format!("alter role {OWNER} superuser"), format!("alter role {OWNER} nosuperuser"), "app_owner is a superuser there"),
        ] {
            target.sql("postgres", &wrong)?;
            let told = said(&alice, &target, &["select 1"])?;
            ensure!(told.contains(&format!("connection {CONNECTION} is not available")) && !told.contains(ADMIN), "{wrong}: {told}");
            ensure!(gateway.printed().contains(cause), "{wrong}: {}", gateway.printed());
            target.sql("postgres", &right)?;
            ensure!(said(&alice, &target, &["select 'in'"])?.contains("in\n"), "{right}");
        }
        none_left(&target, &gateway)?;
        let left = gateway.json(gateway.administrator(), &["status"])?;
        ensure!(left.pointer("/left_roles") == Some(&serde_json::json!([])), "{left}");
    }
    Ok(())
}

#[test]
fn a_role_that_cannot_be_dropped_is_listed_and_tried_again() -> Result<()> {
    let target = Postgres::start()?;
    let gateway = serve(&target, "")?;
    let mut psql = psql(&gateway.login("alice")?, &target)?;
    psql.type_line("select 'up ' || 1;")?;
    psql.wait_for("up 1", PATIENCE)?;
    target.sql("postgres", &format!("alter role {ADMIN} password 'another'"))?;
    drop(psql.finish(PATIENCE)?);
    let end = std::time::Instant::now() + PATIENCE;
    let left = || gateway.run(gateway.administrator(), &["status"]);
    while !left()?.contains("left role") {
        ensure!(std::time::Instant::now() < end, "never listed: {}", gateway.printed());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    ensure!(gateway.printed().contains("could not be dropped yet"), "{}", gateway.printed());
    target.sql("postgres", &format!("alter role {ADMIN} password '{PASSWORD}'"))?;
    none_left(&target, &gateway)?;
    Ok(())
}
