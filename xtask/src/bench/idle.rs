//! Idle sessions: what the memory of one is that logged in, ran a statement, and then waits.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{
    lanes::{COUNTERSIGN, HAPROXY, Lane, PGBOUNCER, RELAY, Transport},
    measure::{Bench, Case},
    pgbench::{Load, Running, Script},
    process::{resident_bytes, wait_until_quiet},
    stand::{DATABASE, Stand},
};
use crate::Outcome;

pub(super) const SECTION: &str = "idle";
const SESSIONS: u32 = 1_000;
/// Before the first measure, so that what every process needs once is not taken for the sessions'.
const SESSIONS_BEFORE: u32 = 10;
/// pgbench counts microseconds in 31 bits: for more than 2,147 seconds it does not sleep at all.
const ASLEEP_S: u32 = 2_000;
const READY_WITHIN: Duration = Duration::from_secs(300);

/// Through everything that is in between, each in a fresh process.
pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for transport in Transport::ALL {
        let case = Case::new(SECTION, &format!("{SESSIONS} sessions"), transport);
        if !bench.wants(&case) {
            continue;
        }
        bench.results.forget(SECTION, &case.name, transport.name());
        for _ in 0..bench.rounds {
            for name in [RELAY, HAPROXY, PGBOUNCER, COUNTERSIGN] {
                let kib = memory_kib(&mut bench.stand, name, transport)?;
                bench.results.add(case.key("kib_per_session", name), kib);
            }
        }
        bench.keep(&case)?;
    }
    Ok(())
}

fn memory_kib(stand: &mut Stand, name: &str, transport: Transport) -> Outcome<f64> {
    let lane = match name {
        RELAY => Lane::relay(stand, transport)?,
        HAPROXY => Lane::haproxy(stand, transport)?,
        PGBOUNCER => Lane::pgbouncer(stand, transport, "")?,
        _ => {
            stand.gateway.serve()?;
            Lane::countersign(stand, transport)?
        }
    };
    let pid = lane.pid.ok_or("nothing is in between")?;
    let with = |sessions| {
        let crowd = Crowd::gather(stand, &lane, sessions)?;
        let bytes = resident_bytes(pid)?;
        crowd.leave(stand).map(|()| bytes)
    };
    let (before, after) = (with(SESSIONS_BEFORE)?, with(SESSIONS)?);
    Ok((after - before) / f64::from(SESSIONS - SESSIONS_BEFORE) / 1024.0)
}

/// Sessions that have run a statement and now do nothing.
pub(super) struct Crowd(Running);

impl Crowd {
    /// Opens them, and waits until all are idle and what is in between has nothing left to do.
    pub(super) fn gather(stand: &Stand, lane: &Lane, sessions: u32) -> Outcome<Self> {
        let script = stand.folder().join("idle.sql");
        fs::write(&script, format!("SELECT 1;\n\\sleep {ASLEEP_S} s\n")).map_err(|error| format!("cannot write {}: {error}", script.display()))?;
        let mut crowd = Load::new(Script::File(&script), "simple", sessions, ASLEEP_S).start(&stand.pgbench(), lane)?;
        wait_for(stand, |idle| {
            if crowd.lives() { Ok(idle >= sessions) } else { Err(format!("pgbench with {sessions} sessions through {} ended", lane.name)) }
        })?;
        lane.pid.map_or(Ok(0.0), wait_until_quiet)?;
        Ok(Self(crowd))
    }

    /// Ends them, and waits until the target has none of them left.
    pub(super) fn leave(self, stand: &Stand) -> Outcome<()> {
        drop(self.0);
        wait_for(stand, |idle| Ok(idle == 0))
    }
}

/// Waits for a number of idle sessions at the target.
fn wait_for(stand: &Stand, mut enough: impl FnMut(u32) -> Outcome<bool>) -> Outcome<()> {
    let began = Instant::now();
    let question = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}' AND state = 'idle' AND query LIKE 'SELECT 1%'");
    loop {
        let idle = stand.target.sql("postgres", &question)?;
        if enough(idle.trim().parse().map_err(|error| format!("{idle}: {error}"))?)? {
            return Ok(());
        }
        if began.elapsed() > READY_WITHIN {
            return Err(format!("{} sessions are idle at the target, and that does not change", idle.trim()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
