//! Logins: connect, one query, disconnect, again and again.

use super::{
    lanes::{Lane, PGBOUNCER, Transport},
    measure::{Bench, Case, Values},
    pgbench::{self, Load, Script},
    stand::{DATABASE, Stand},
};
use crate::Outcome;

pub(super) const SECTION: &str = "logins";
const CLIENTS: u32 = 4;
const SECONDS: u32 = 5;

/// A connection to the target is used once: a login of PgBouncer's then is worth what a login of the gateway's is, which never shares one.
const USED_ONCE: &str = "server_lifetime = 0";

/// Through whatever signs in at the target by itself, and what does not for comparison.
pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for transport in Transport::ALL {
        let case = case(transport);
        if bench.wants(&case) {
            let stand = &bench.stand;
            let others = [Lane::direct(stand, transport), Lane::relay(stand, transport)?, Lane::haproxy(stand, transport)?];
            let lanes: Vec<Lane> = others.into_iter().chain(compared(stand, transport)?).collect();
            bench.case(&case, &lanes, |stand, lane| run(stand, lane, SECONDS))?;
        }
    }
    Ok(())
}

/// The one case of a transport.
pub(super) fn case(transport: Transport) -> Case {
    Case::new(SECTION, &format!("select-only simple {CLIENTS}"), transport)
}

/// PgBouncer and the gateway.
pub(super) fn compared(stand: &Stand, transport: Transport) -> Outcome<[Lane; 2]> {
    Ok([Lane::pgbouncer(stand, transport, USED_ONCE)?, Lane::countersign(stand, transport)?])
}

/// CPU time for a login with its query, and logins a second.
pub(super) fn run(stand: &Stand, lane: &Lane, seconds: u32) -> Outcome<Values> {
    let sessions = || stand.target.sql("postgres", &format!("SELECT sessions FROM pg_stat_database WHERE datname = '{DATABASE}'"));
    let count = |text: String| text.trim().parse::<f64>().map_err(|error| format!("{text}: {error}"));
    let before = sessions().and_then(count)?;
    let load = Load { reconnect: true, ..Load::new(Script::Builtin("select-only"), "simple", CLIENTS, seconds) };
    let done = pgbench::run(&stand.pgbench(), lane, &load)?;
    let opened = sessions().and_then(count)? - before;
    if lane.name == PGBOUNCER && opened < done.transactions * 0.9 {
        return Err(format!("PgBouncer opened {opened} connections to the target for {} logins: they are not compared with ours", done.transactions));
    }
    let cpu = lane.pid.map(|_| [("cpu_us", done.cpu_us), ("later_cpu_us", done.later_cpu_us)]);
    Ok(cpu.into_iter().flatten().chain([("tps", done.transactions_per_second)]).collect())
}
