//! The harness itself: a target starts in each of its forms, lets clients in as it should, and leaves nothing behind.

use anyhow::{Result, ensure};
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

#[test]
fn the_demos_data_are_a_hundred_thousand_rows_with_right_card_numbers() -> Result<()> {
    let target = Postgres::shared()?;
    target.sql("postgres", "CREATE ROLE shop_app LOGIN")?;
    target.create_database("demo")?;
    target.sql_file("demo", &xtask::command::workspace().join("xtask/src/demo/data.sql"))?;
    let counts =
        target.sql("demo", "select (select count(*) from customers) + (select count(*) from payments), count(distinct email) from customers")?;
    ensure!(counts == "100000|40000\n", "{counts}");
    let cards = target.sql("demo", "select card_number from customers where id % 100 = 0")?;
    for card in cards.lines() {
        let sum: u32 = card.bytes().rev().enumerate().map(|(place, digit)| doubled(place, u32::from(digit - b'0'))).sum();
        ensure!(card.len() == 16 && sum.is_multiple_of(10), "{card}");
    }
    Ok(())
}

/// What a digit counts in Luhn's sum, by its place from the right.
fn doubled(place: usize, digit: u32) -> u32 {
    match (place % 2, digit * 2) {
        (0, _) => digit,
        (_, twice @ 10..) => twice - 9,
        (_, twice) => twice,
    }
}
