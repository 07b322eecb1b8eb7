//! A refusal is made real: the target ends up where it would be had the operation failed there.

use anyhow::{Context, Result, ensure};
use countersign_tests::{
    gateway::Gateway,
    postgres::{DATABASE, Postgres},
    wire::{Heard, Wire, bind, describe, execute, parse, query, sync},
};

/// What alice may never do under the starter policies: it changes privileges.
const FORBIDDEN: &str = "grant select on t to public";

struct Stand {
    target: Postgres,
    gateway: Gateway,
}

impl Stand {
    fn start() -> Result<Self> {
        let target = Postgres::start()?;
        target.sql(DATABASE, "create table t (id int primary key); alter table t owner to app")?;
        let gateway = Gateway::with_starter_policies(&target, &[], "")?;
        Ok(Self { target, gateway })
    }

    fn alice(&self) -> Result<Wire> {
        Wire::open(&self.gateway.login("alice")?.without_tls(), &[])
    }

    fn rows(&self) -> Result<String> {
        Ok(self.target.sql(DATABASE, "select string_agg(id::text, ',' order by id) from t")?.trim().to_owned())
    }
}

fn extended(statement: &str) -> Vec<u8> {
    [parse("", statement), bind("", "", &[], 0), describe('P', ""), execute("", 0)].concat()
}

fn insert(id: u32) -> Vec<u8> {
    extended(&format!("insert into t values ({id})"))
}

fn ask(wire: &mut Wire, bytes: &[u8], ready: usize) -> Result<Vec<Heard>> {
    wire.say(bytes)?;
    wire.hear_until_ready(ready)
}

fn kinds(heard: &[Heard]) -> String {
    heard.iter().map(|message| message.kind).collect()
}

/// The SQLSTATE of the first error, and the state that the last `ReadyForQuery` tells.
fn error_and_state(heard: &[Heard]) -> Result<(String, char)> {
    let error = heard.iter().find(|message| message.kind == 'E').context("no error")?;
    let code = error.body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C")).context("no SQLSTATE")?;
    let state = heard.last().and_then(|ready| ready.body.first()).context("no state")?;
    Ok((String::from_utf8(code.to_vec())?, char::from(*state)))
}

#[test]
fn what_was_refused_in_a_pipeline_takes_the_pipeline_with_it() -> Result<()> {
    let stand = Stand::start()?;
    let mut wire = stand.alice()?;
    let heard = ask(&mut wire, &[insert(1), extended(FORBIDDEN), insert(2), sync()].concat(), 1)?;
    ensure!(error_and_state(&heard)? == ("42501".to_owned(), 'I'), "{heard:?}");
    ensure!(stand.rows()?.is_empty(), "INSERT, refused, Sync left rows: {}", stand.rows()?);
    let heard = ask(&mut wire, &[insert(3), sync()].concat(), 1)?;
    ensure!(kinds(&heard) == "12nCZ" && stand.rows()? == "3", "{heard:?}");
    Ok(())
}

#[test]
fn each_sync_ends_a_pipeline() -> Result<()> {
    let stand = Stand::start()?;
    let heard = ask(&mut stand.alice()?, &[insert(1), sync(), extended(FORBIDDEN), sync(), insert(2), sync()].concat(), 3)?;
    ensure!(kinds(&heard).matches('Z').count() == 3 && kinds(&heard).matches('E').count() == 1 && stand.rows()? == "1,2", "{heard:?}");
    Ok(())
}

#[test]
fn a_transaction_in_which_something_was_refused_has_failed() -> Result<()> {
    let stand = Stand::start()?;
    let mut wire = stand.alice()?;
    for refused in [query(FORBIDDEN), [extended(FORBIDDEN), sync()].concat()] {
        ask(&mut wire, &query("begin"), 1)?;
        ask(&mut wire, &query("insert into t values (1)"), 1)?;
        let heard = ask(&mut wire, &refused, 1)?;
        ensure!(error_and_state(&heard)? == ("42501".to_owned(), 'E'), "{heard:?}");
        let heard = ask(&mut wire, &query("select 1"), 1)?;
        ensure!(error_and_state(&heard)? == ("25P02".to_owned(), 'E'), "{heard:?}");
        let heard = ask(&mut wire, &query("commit"), 1)?;
        let tag = heard.iter().find(|message| message.kind == 'C').context("no tag")?;
        ensure!(tag.body == b"ROLLBACK\0" && stand.rows()?.is_empty(), "{heard:?}");
    }
    Ok(())
}

#[test]
fn a_savepoint_recovers_from_a_refusal() -> Result<()> {
    let stand = Stand::start()?;
    let mut wire = stand.alice()?;
    for statement in ["begin", "insert into t values (1)", "savepoint s", FORBIDDEN, "rollback to s", "insert into t values (2)", "commit"] {
        ask(&mut wire, &query(statement), 1)?;
    }
    ensure!(stand.rows()? == "1,2", "{}", stand.rows()?);
    Ok(())
}

#[test]
fn a_simple_query_is_decided_whole() -> Result<()> {
    let stand = Stand::start()?;
    let heard = ask(&mut stand.alice()?, &query(&format!("insert into t values (1); {FORBIDDEN}; insert into t values (2)")), 1)?;
    ensure!(kinds(&heard) == "EZ" && stand.rows()?.is_empty(), "{heard:?}");
    ensure!(!stand.target.log()?.contains("insert into t values (1)"), "some of it reached the target");
    Ok(())
}

#[test]
fn a_refusal_says_why_and_what_to_do() -> Result<()> {
    let stand = Stand::start()?;
    let output = stand.gateway.login("alice")?.psql(&stand.target.program("psql"))?.args(&["-v", "VERBOSITY=verbose", "-c", FORBIDDEN]).run()?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(told.contains("42501") && told.contains("privilege") && !output.status.success(), "{told}");
    let listed = stand.gateway.run(stand.gateway.administrator(), &["search", "decision:refused identity:alice"])?;
    ensure!(listed.contains("grant select on t to public") || listed.to_lowercase().contains("grant"), "{listed}");
    Ok(())
}
