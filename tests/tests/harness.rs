//! The harness itself: a target starts in each of its forms, lets clients in as it should, and leaves nothing behind.

use anyhow::Result;
use countersign_tests::{
    clients::Login,
    postgres::{DATABASE, Method, Postgres, ROLE},
    wire::{Wire, query},
};

const WHO: &str = "select current_user || ' at ' || current_database()";

#[test]
fn a_target_runs_logs_and_is_gone() -> Result<()> {
    let target = Postgres::start()?;
    let folder = target.socket_folder();
    assert_eq!(target.sql(DATABASE, "select 6 * 7 as marker_of_this_test")?, "42\n");
    assert!(target.log()?.contains("statement: select 6 * 7 as marker_of_this_test"));
    let psql = target.login(DATABASE).psql(&target.program("psql"))?;
    assert_eq!(psql.args(&["-At", "-c", WHO]).print()?, format!("{ROLE} at {DATABASE}\n"));
    drop(target);
    assert!(!folder.exists());
    Ok(())
}

#[tokio::test]
async fn a_target_with_tls_refuses_plain_clients() -> Result<()> {
    for method in [Method::ScramOverTls, Method::Md5OverTls, Method::CleartextOverTls] {
        let target = Postgres::start_with(method, &[])?;
        let row = target.connect(DATABASE).await?.query_one(WHO, &[]).await?;
        assert_eq!(row.get::<_, String>(0), format!("{ROLE} at {DATABASE}"), "{method:?}");
        assert!(target.login(DATABASE).without_tls().connect().await.is_err(), "{method:?}");
        assert!(target.login(DATABASE).with_password("wrong").connect().await.is_err(), "{method:?}");
    }
    Ok(())
}

#[test]
fn the_wire_hears_what_a_server_says() -> Result<()> {
    let target = Postgres::shared()?;
    target.sql("postgres", "CREATE ROLE anyone LOGIN")?;
    let settings = target.sql("postgres", "select setting from pg_settings where name = 'hba_file'")?;
    let rules = std::fs::read_to_string(settings.trim())?;
    std::fs::write(settings.trim(), format!("host all anyone 127.0.0.1/32 trust\n{rules}"))?;
    target.sql("postgres", "select pg_reload_conf()")?;
    let login = Login { user: "anyone".to_owned(), ..target.login(DATABASE).without_tls() };
    let mut wire = Wire::open(&login, &[("application_name", "wire")])?;
    assert_eq!(wire.parameters.get("application_name").map(String::as_str), Some("wire"));
    wire.say(&query("select 1; select 2"))?;
    let kinds: String = wire.hear_until_ready(1)?.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, "TDCTDCZ");
    Ok(())
}
