//! Streams: a gigabyte that comes as rows, and as COPY data; and one in which values are masked, or looked for.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Instant,
};

use super::{
    lanes::{COUNTERSIGN, Lane, Transport},
    measure::{Bench, Case, Values},
    process::wait_until_quiet,
    stand::{DETECTING, MASKED, PLAIN_COLUMNS, STREAM_TABLE, Stand, WIDE_TABLE},
};
use crate::{Outcome, command::line};

pub(super) const SECTION: &str = "streams";
pub(super) const KINDS: [&str; 2] = ["SELECT", "COPY"];

pub(super) const VALUES_SECTION: &str = "values";
pub(super) const ONE_MASKED: &str = "one masked column of ten";
pub(super) const NOTHING_FOUND: &str = "all detectors, with nothing to find";
pub(super) const ONE_FOUND: &str = "all detectors, with an address in each row";

/// Both kinds through every lane.
pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for transport in Transport::ALL {
        let wanted: Vec<_> =
            KINDS.into_iter().map(|kind| (kind, Case::new(SECTION, kind, transport))).filter(|(_, case)| bench.wants(case)).collect();
        if wanted.is_empty() {
            continue;
        }
        let lanes = bench.stand.lanes(transport)?;
        for (kind, case) in wanted {
            bench.case(&case, &lanes, |stand, lane| run(stand, lane, kind))?;
        }
    }
    Ok(())
}

/// What looking into values costs: the same rows through a relay, and through a connection that masks or looks for values in them.
pub(super) fn measure_values(bench: &mut Bench) -> Outcome<()> {
    let plain = PLAIN_COLUMNS.map(|number| format!("c{number}")).collect::<Vec<_>>().join(", ");
    let kinds = [
        (ONE_MASKED, MASKED, format!("SELECT {plain}, contact FROM {WIDE_TABLE}")),
        (NOTHING_FOUND, DETECTING, format!("SELECT {plain} FROM {WIDE_TABLE}")),
        (ONE_FOUND, DETECTING, format!("SELECT {plain}, contact FROM {WIDE_TABLE}")),
    ];
    for (kind, connection, statement) in kinds {
        let case = Case::new(VALUES_SECTION, kind, Transport::Plain);
        if !bench.wants(&case) {
            continue;
        }
        bench.stand.fill_wide()?;
        let lanes = [Lane::relay(&bench.stand, Transport::Plain)?, Lane::through(COUNTERSIGN, &bench.stand.gateway, connection, Transport::Plain)?];
        bench.case(&case, &lanes, |stand, lane| read(stand, lane, &statement))?;
    }
    Ok(())
}

/// Reads the whole table once.
pub(super) fn run(stand: &Stand, lane: &Lane, kind: &str) -> Outcome<Values> {
    let statement = match kind {
        "COPY" => format!("COPY {STREAM_TABLE} TO STDOUT"),
        _ => format!("SELECT body FROM {STREAM_TABLE}"),
    };
    read(stand, lane, &statement)
}

/// Reads an answer: gigabytes a second, and CPU time for a gigabyte.
fn read(stand: &Stand, lane: &Lane, statement: &str) -> Outcome<Values> {
    let mut command = Command::new(&stand.programs.helper);
    command.args(["stream", &format!("127.0.0.1:{}", lane.port), lane.user, &lane.database, statement]).args(&lane.tls);
    command.env("PGPASSWORD", &lane.password).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot start {}: {error}", line(&command)))?;
    let failed = || format!("{} failed", line(&command));
    let (mut go, answers) = (child.stdin.take().ok_or_else(failed)?, child.stdout.take().ok_or_else(failed)?);
    let mut answers = BufReader::new(answers).lines().map_while(Result::ok);
    answers.next().ok_or_else(failed)?;
    let before = lane.pid.map_or(Ok(0.0), wait_until_quiet)?;
    let began = Instant::now();
    go.write_all(b"\n").map_err(|error| error.to_string())?;
    let gigabytes = answers.next().and_then(|bytes| bytes.parse::<f64>().ok()).ok_or_else(failed)? / 1e9;
    let seconds = began.elapsed().as_secs_f64();
    let _ = child.wait();
    let mut values = vec![("gb_per_s", gigabytes / seconds)];
    if let Some(pid) = lane.pid {
        values.push(("cpu_s_per_gb", (wait_until_quiet(pid)? - before) / gigabytes));
    }
    Ok(values)
}
