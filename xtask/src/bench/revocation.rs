//! Revocation: how long after it was acknowledged what a token had opened is cut, among a thousand sessions of others; and how long it takes until all of a thousand are.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    idle::Crowd,
    lanes::{COUNTERSIGN, Lane, Transport},
    measure::{Bench, Case},
    stand::{DATABASE, Stand},
};
use crate::{Outcome, command::line, json::Json};

pub(super) const SECTION: &str = "revocation";
const SESSIONS: u32 = 1_000;
const REVOCATIONS: usize = 200;
/// What a session that is going to be cut is running.
const RUNS: &str = "SELECT pg_sleep(3600)";
const READY_WITHIN: Duration = Duration::from_secs(60);
const CONNECTION: &str = "statements";

/// Each of many tokens, one after the other, and then one that opened all sessions.
pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    let (one, all) = (case("one of 1000 sessions, which runs a query"), case("1000 sessions at once"));
    if !bench.wants(&one) && !bench.wants(&all) {
        return Ok(());
    }
    bench.stand.gateway.serve()?;
    let mut lane = Lane::countersign(&bench.stand, Transport::Plain)?;
    if bench.wants(&one) {
        bench.results.forget(SECTION, &one.name, one.transport.name());
        let crowd = Crowd::gather(&bench.stand, &lane, SESSIONS)?;
        let mut sorted = (0..REVOCATIONS).map(|_| cut_ms(&bench.stand, &mut lane)).collect::<Outcome<Vec<_>>>()?;
        crowd.leave(&bench.stand)?;
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied().ok_or("nothing was revoked");
        for (measure, share) in [("cut_p50_ms", 0.5), ("cut_p99_ms", 0.99)] {
            bench.results.add(one.key(measure, COUNTERSIGN), at(share)?);
        }
        bench.keep(&one)?;
    }
    if bench.wants(&all) {
        bench.results.forget(SECTION, &all.name, all.transport.name());
        for _ in 0..bench.rounds {
            let (id, secret) = token(&bench.stand)?;
            lane.password = secret;
            let crowd = Crowd::gather(&bench.stand, &lane, SESSIONS)?;
            bench.stand.gateway.asks(&["token", "revoke", &id])?;
            let acknowledged = Instant::now();
            wait_until_gone(&bench.stand, "query LIKE 'SELECT 1%'")?;
            bench.results.add(all.key("all_cut_ms", COUNTERSIGN), acknowledged.elapsed().as_secs_f64() * 1e3);
            drop(crowd);
        }
        bench.keep(&all)?;
    }
    Ok(())
}

fn case(name: &str) -> Case {
    Case::new(SECTION, name, Transport::Plain)
}

/// Milliseconds from the answer to the revocation until the caller's connection has ended; 0 where it ended before.
fn cut_ms(stand: &Stand, lane: &mut Lane) -> Outcome<f64> {
    let (id, secret) = token(stand)?;
    lane.password = secret;
    let mut caller = Caller::start(stand, lane)?;
    let ended = std::thread::scope(|scope| {
        let waits = scope.spawn(|| caller.0.wait().map(|_| Instant::now()));
        stand.gateway.asks(&["token", "revoke", &id])?;
        let acknowledged = Instant::now();
        let ended = waits.join().map_err(|_| "nobody saw the caller's end".to_owned())?.map_err(|error| error.to_string())?;
        Ok::<_, String>(ended.saturating_duration_since(acknowledged))
    })?;
    wait_until_gone(stand, &format!("query = '{RUNS}'"))?;
    Ok(ended.as_secs_f64() * 1e3)
}

fn token(stand: &Stand) -> Outcome<(String, String)> {
    let minted = Json::read(&stand.gateway.asks(&["token", CONNECTION, "--json"])?)?;
    let id = minted.get("token").and_then(|token| token.text("id"));
    let both = id.zip(minted.text("secret")).ok_or("a token without id or secret")?;
    Ok((both.0.to_owned(), both.1.to_owned()))
}

/// A psql that runs a query. It is killed when this is dropped.
struct Caller(Child);

impl Caller {
    fn start(stand: &Stand, lane: &Lane) -> Outcome<Self> {
        let mut psql = Command::new(stand.target.program("psql"));
        psql.args(["-X", "-c", RUNS, &lane.conninfo()]).env("PGPASSWORD", &lane.password);
        psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = psql.spawn().map_err(|error| format!("cannot start {}: {error}", line(&psql)))?;
        let caller = Self(child);
        wait_for(stand, &format!("query = '{RUNS}' AND state = 'active'"), 1)?;
        Ok(caller)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until_gone(stand: &Stand, which: &str) -> Outcome<()> {
    wait_for(stand, which, 0)
}

/// Waits until the target has so many sessions of a kind.
fn wait_for(stand: &Stand, which: &str, wanted: u32) -> Outcome<()> {
    let began = Instant::now();
    let question = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}' AND {which}");
    loop {
        let found = stand.target.sql("postgres", &question)?;
        if found.trim().parse() == Ok(wanted) {
            return Ok(());
        }
        if began.elapsed() > READY_WITHIN {
            return Err(format!("{} sessions at the target where {which}, and not {wanted}", found.trim()));
        }
    }
}
