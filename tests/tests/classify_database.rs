//! `countersign classify`: samples of a database say which of its columns are sensitive, and the proposal is a data-classes.toml that masks them.

use anyhow::{Result, ensure};
use countersign_tests::{
    gateway::{CONNECTION, Gateway, Setup},
    postgres::{DATABASE, Postgres},
};
use serde_json::Value;

const TABLES: &str = r#"
create table customers (id int primary key, email text, mobile varchar(30), card_number bigint, born date, title text, note text, profile jsonb, ssn_hash bytea);
insert into customers select i, 'customer.' || i || '@mail.example', '+1 202 555 01' || lpad((i % 100)::text, 2, '0'), 4111111111111111, date '1950-01-01' + i,
  'engineer', case when i % 20 = 0 then 'please write to ada@example.org before the end of the week' else 'nothing to say' end,
  jsonb_build_object('contacts', jsonb_build_array(jsonb_build_object('mail', 'c' || i || '@mail.example')), 'level', i) from generate_series(1, 5000) i;
create table events (at date, source inet, who text) partition by range (at);
create table events_2026 partition of events for values from ('2026-01-01') to ('2027-01-01');
insert into events select date '2026-01-01' + i % 300, ('10.0.0.' || i % 250)::inet, 'ann' from generate_series(1, 100) i;
comment on column events.who is 'passport number';
create table empty (email text, n int);
create table secret (card text);
insert into secret values ('4111111111111111');
create function seen(text) returns boolean language plpgsql as 'begin raise log ''code saw %'', $1; return true; end';
create table guarded (email text);
insert into guarded values ('guarded@example.org');
alter table guarded enable row level security;
create policy p on guarded using (seen(email));
create table known (email text);
insert into known values ('known@example.org');
create view shown as select email from customers;
alter table customers owner to app; alter table events owner to app; alter table events_2026 owner to app; alter table empty owner to app; alter table known owner to app;
grant select on guarded to app; revoke all on secret from app, public;
analyze
"#;

fn stand() -> Result<(Postgres, Gateway)> {
    let target = Postgres::start()?;
    target.sql(DATABASE, TABLES)?;
    let setup = Setup::init()?;
    setup.permit_all()?;
    setup.write("policy/reveal.cedar", "forbid (principal, action == Action::\"reveal\", resource);\n")?;
    setup.target(&target, DATABASE, "")?;
    setup.write("data-classes.toml", "[email]\nmask = \"keep-domain\"\ncolumns = [\"public.known.email\"]\n")?;
    let mut gateway = setup.serve()?;
    gateway.add_user("alice", &[])?;
    Ok((target, gateway))
}

/// `class table.column path` of a list of the report.
fn columns(report: &Value, list: &str) -> Vec<String> {
    let all = report.get(list).and_then(Value::as_array).into_iter().flatten();
    let text = |evidence: &Value, key: &str| evidence.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let line = |evidence: &Value| {
        let place = format!("{} {}.{} {}", text(evidence, "class"), text(evidence, "table"), text(evidence, "column"), text(evidence, "path"));
        place.trim_end().to_owned()
    };
    all.map(line).collect()
}

#[test]
fn samples_say_which_columns_are_sensitive_and_no_value_is_told() -> Result<()> {
    let (target, gateway) = stand()?;
    let administrator = gateway.administrator();
    let report = gateway.json(administrator, &["classify", CONNECTION, "--rows", "200"])?;
    let proposed = [
        "card customers.card_number",
        "date-of-birth customers.born",
        "email customers.email",
        "email customers.profile $.contacts.mail",
        "ip-address events.source",
        "phone customers.mobile",
    ];
    ensure!(columns(&report, "proposed") == proposed, "{report:#}");
    ensure!(columns(&report, "within") == ["email customers.note"], "{report:#}");
    ensure!(columns(&report, "named") == ["email empty.email", "passport events.who", "us-passport events.who"], "{report:#}");
    let refused: Vec<&str> = report["not_sampled"].as_array().into_iter().flatten().filter_map(|table| table["table"].as_str()).collect();
    ensure!(refused == ["public.guarded", "public.secret"], "{report:#}");
    ensure!(report["classified"] == 1 && report["values"].as_u64() >= Some(1_600), "{report:#}");
    let told = report.to_string();
    ensure!(["mail.example", "411111", "202 555", "10.0.0."].iter().all(|value| !told.contains(value)), "a value is in {told}");
    // It reads and does nothing else: somebody's code did not run.
    ensure!(!target.log()?.contains("code saw guarded@example.org"));
    let proposal = gateway.run(administrator, &["classify", CONNECTION])?;
    ensure!(proposal.contains("Looked through") && proposal.contains("# [email] is there already"), "{proposal}");
    Ok(())
}

#[test]
fn the_proposal_masks_what_it_names() -> Result<()> {
    let (target, gateway) = stand()?;
    let administrator = gateway.administrator();
    let set = gateway.setup().file("").to_string_lossy().into_owned();
    gateway.run(administrator, &["classify", CONNECTION, "--output", &format!("{set}/data-classes.toml")])?;
    gateway.run(administrator, &["apply", &set])?;
    let psql = gateway.login("alice")?.psql(&target.program("psql"))?;
    let shown = psql.args(&["-At", "-c", "select card_number, born, mobile, profile from customers where id = 1"]).print()?;
    ensure!(!shown.contains("411111111111") && shown.contains("1111") && shown.contains("1950-01-01") && !shown.contains("202"), "{shown}");
    Ok(())
}
