//! Latency: how long a transaction takes, by percentile, as fast as it goes and at a pace that leaves the machine idle most of the time.

use super::{
    lanes::{DIRECT, Lane, Transport},
    measure::{Bench, Case, Values},
    pgbench::{self, Load, Script},
    rounds::Spread,
    stand::Stand,
};
use crate::Outcome;

pub(super) const SECTION: &str = "latency";
const CLIENTS: u32 = 16;
const SECONDS: u32 = 5;
const FAST: &str = "as fast as it goes";
const PACED: &str = "at a quarter of the direct way's pace";

/// Both, with `select-only`, prepared.
pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for transport in Transport::ALL {
        let [fast, paced] = [FAST, PACED].map(|name| Case::new(SECTION, name, transport));
        if !bench.wants(&fast) && !bench.wants(&paced) {
            continue;
        }
        let lanes = bench.stand.lanes(transport)?;
        bench.case(&fast, &lanes, |stand, lane| run(stand, lane, None))?;
        let direct = Spread::of(bench.results.values(&fast.key("tps", DIRECT)));
        let pace = direct.ok_or_else(|| format!("the pace comes from the case \"{}\", which was not measured", fast.line()))?.median / 4.0;
        bench.case(&paced, &lanes, |stand, lane| run(stand, lane, Some(pace)))?;
        for case in [fast, paced] {
            add_what_was_added(bench, &case, &lanes);
            bench.keep(&case)?;
        }
    }
    Ok(())
}

fn run(stand: &Stand, lane: &Lane, per_second: Option<f64>) -> Outcome<Values> {
    let prefix = stand.folder().join("latency");
    let load = Load { per_second, log: Some(&prefix), ..Load::new(Script::Builtin("select-only"), "prepared", CLIENTS, SECONDS) };
    let done = pgbench::run(&stand.pgbench(), lane, &load)?;
    let sorted = pgbench::latencies_ms(&prefix)?;
    let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied().ok_or("no latency was logged");
    Ok(vec![("p50_ms", at(0.5)?), ("p99_ms", at(0.99)?), ("tps", done.transactions_per_second)])
}

/// What a lane adds to the direct way's latency, round by round.
fn add_what_was_added(bench: &mut Bench, case: &Case, lanes: &[Lane]) {
    for (measure, added) in [("p50_ms", "added_p50_ms"), ("p99_ms", "added_p99_ms")] {
        let direct = bench.results.values(&case.key(measure, DIRECT)).to_vec();
        for lane in lanes.iter().filter(|lane| lane.name != DIRECT) {
            let own = bench.results.values(&case.key(measure, lane.name)).to_vec();
            let key = case.key(added, lane.name);
            own.iter().zip(&direct).for_each(|(own, direct)| bench.results.add(key.clone(), own - direct));
        }
    }
}
