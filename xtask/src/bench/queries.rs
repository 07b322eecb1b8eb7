//! Statements: pgbench's two scripts, in every protocol, with few and many clients.

use super::{
    lanes::{Lane, Transport},
    measure::{Bench, Case, Values},
    pgbench::{self, Load, Script},
    stand::Stand,
};
use crate::Outcome;

pub(super) const SECTION: &str = "queries";

const SCRIPTS: [&str; 2] = ["select-only", "tpcb-like"];
pub(super) const PROTOCOLS: [&str; 3] = ["simple", "extended", "prepared"];
const CLIENTS: [u32; 3] = [1, 16, 64];
const SECONDS: u32 = 2;

/// Every combination.
pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for transport in Transport::ALL {
        let loads = SCRIPTS
            .into_iter()
            .flat_map(|script| PROTOCOLS.into_iter().flat_map(move |protocol| CLIENTS.into_iter().map(move |clients| (script, protocol, clients))));
        let wanted: Vec<_> = loads.map(|load| (case(load, transport), load)).filter(|(case, _)| bench.wants(case)).collect();
        if wanted.is_empty() {
            continue;
        }
        let lanes = bench.stand.lanes(transport)?;
        for (case, (script, protocol, clients)) in wanted {
            bench.case(&case, &lanes, |stand, lane| run(stand, lane, &Load::new(Script::Builtin(script), protocol, clients, SECONDS)))?;
        }
    }
    Ok(())
}

/// The case of a script, a protocol and a number of clients.
pub(super) fn case((script, protocol, clients): (&str, &str, u32), transport: Transport) -> Case {
    Case::new(SECTION, &format!("{script} {protocol} {clients}"), transport)
}

/// CPU time for a transaction, and transactions a second.
pub(super) fn run(stand: &Stand, lane: &Lane, load: &Load<'_>) -> Outcome<Values> {
    let done = pgbench::run(&stand.pgbench(), lane, load)?;
    let cpu = lane.pid.map(|_| [("cpu_us", done.cpu_us), ("later_cpu_us", done.later_cpu_us)]);
    Ok(cpu.into_iter().flatten().chain([("tps", done.transactions_per_second)]).collect())
}
