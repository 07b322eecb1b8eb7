//! The smaller bench, compared with the committed ratios: CPU times alone, which a busy machine disturbs least, of a gateway that is built faster than
//! a release, and so only with what was measured of the same profile.

use super::{
    baseline::Baseline,
    lanes::{COUNTERSIGN, Lane, PGBOUNCER, RELAY, Transport},
    logins,
    measure::{Bench, Case, Values},
    pgbench::{Load, Script},
    queries::{self, PROTOCOLS},
    results::Results,
    stand::{Programs, Size, Stand},
    streams,
};
use crate::{Outcome, install};

const SIZE: Size = Size { scale: 5, stream_rows: 250_000, max_connections: 200, profile: "quick" };
const ROUNDS: usize = 3;
const SECONDS: u32 = 3;
const CLIENTS: [u32; 2] = [1, 16];

/// How often a case is measured whose ratio is much worse than the committed one, before that is believed. The best counts.
const TRIES: usize = 3;

/// A case of the quick bench, and what its CPU time is told against.
struct Checked<'a> {
    case: Case,
    measure: &'static str,
    against: &'static str,
    lanes: &'a [Lane],
    run: Box<Run>,
}

type Run = dyn Fn(&Stand, &Lane) -> Outcome<Values>;

pub(super) fn build() -> Outcome<Programs> {
    Programs::build(SIZE.profile)
}

/// Runs it. With `accept`, writes the ratios instead of comparing them.
pub(super) fn run(only: &str, accept: bool) -> Outcome<()> {
    install::for_bench()?;
    let stand = Stand::start(SIZE)?;
    let plain =
        [Lane::pgbouncer(&stand, Transport::Plain, "")?, Lane::countersign(&stand, Transport::Plain)?, Lane::relay(&stand, Transport::Plain)?];
    let tls = logins::compared(&stand, Transport::Tls)?;
    let mut bench = Bench { stand, results: Results::default(), rounds: ROUNDS, only: only.to_owned() };
    let mut baseline = Baseline::read()?;
    let mut worse = Vec::new();
    for checked in cases(&plain, &tls) {
        if !bench.wants(&checked.case) {
            continue;
        }
        let name = checked.case.line();
        let mut best = f64::INFINITY;
        for _ in 0..if accept { 1 } else { TRIES } {
            bench.case(&checked.case, checked.lanes, &checked.run)?;
            let ratio = bench.results.ratio(&checked.case.key(checked.measure, COUNTERSIGN), checked.against);
            best = best.min(ratio.ok_or_else(|| format!("{name}: nothing was measured"))?.median);
            if !baseline.is_passed_by(&name, best) {
                break;
            }
        }
        if !accept && baseline.is_passed_by(&name, best) {
            let committed = baseline.get(&name).unwrap_or_default();
            worse.push(format!("{name}: {best:.2} times the CPU time of {}, where {committed:.2} is committed", checked.against));
        }
        baseline.set(&name, best);
    }
    if accept {
        return baseline.write();
    }
    if worse.is_empty() { Ok(()) } else { Err(format!("slower than bench/baseline.tsv allows:\n  {}", worse.join("\n  "))) }
}

fn cases<'a>(plain: &'a [Lane; 3], tls: &'a [Lane; 2]) -> Vec<Checked<'a>> {
    let [pgbouncer_and_us @ .., _] = plain;
    let [_, us_and_relay @ ..] = plain;
    let mut cases = Vec::new();
    for (protocol, clients) in PROTOCOLS.into_iter().flat_map(|protocol| CLIENTS.map(|clients| (protocol, clients))) {
        let load = Load::new(Script::Builtin("select-only"), protocol, clients, SECONDS);
        cases.push(Checked {
            case: queries::case(("select-only", protocol, clients), Transport::Plain),
            measure: "cpu_us",
            against: PGBOUNCER,
            lanes: pgbouncer_and_us,
            run: Box::new(move |stand, lane| queries::run(stand, lane, &load)),
        });
    }
    let stream = Case::new(streams::SECTION, "SELECT", Transport::Plain);
    let run = |stand: &Stand, lane: &Lane| streams::run(stand, lane, "SELECT");
    cases.push(Checked { case: stream, measure: "cpu_s_per_gb", against: RELAY, lanes: us_and_relay, run: Box::new(run) });
    let run = |stand: &Stand, lane: &Lane| logins::run(stand, lane, SECONDS);
    cases.push(Checked { case: logins::case(Transport::Tls), measure: "cpu_us", against: PGBOUNCER, lanes: tls, run: Box::new(run) });
    cases
}
