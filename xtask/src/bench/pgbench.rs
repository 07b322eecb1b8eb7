//! pgbench through one lane, and what the lane's process used meanwhile.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{lanes::Lane, process::cpu_seconds};
use crate::{Outcome, command::line};

/// How long a lane's process must have used next to nothing to count as quiet, and how long that is waited for.
const QUIET: Duration = Duration::from_millis(200);
const QUIET_CPU_SHARE: f64 = 0.03;
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// What pgbench is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// `select-only` or `tpcb-like`.
    pub(super) script: &'static str,
    /// `simple`, `extended` or `prepared`.
    pub(super) protocol: &'static str,
    pub(super) clients: u32,
    pub(super) seconds: u32,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Done {
    pub(super) transactions_per_second: f64,
    /// CPU time of the lane's process for one transaction, in microseconds; 0 for the direct way. What it does later about what it
    /// did then is part of it.
    pub(super) cpu_us: f64,
    /// How much of that is later.
    pub(super) later_cpu_us: f64,
}

/// On a machine that is very busy pgbench may leave out its lines of progress.
const TRIES: usize = 3;

/// Runs it. The time it takes to connect is not part of what is measured.
pub(super) fn run(pgbench: &Path, lane: &Lane, load: Load) -> Outcome<Done> {
    let mut tries = (0..TRIES).map(|_| run_once(pgbench, lane, load));
    let untold = || format!("pgbench told no progress in {TRIES} runs of {load:?} through {}", lane.name);
    tries.find_map(Outcome::transpose).unwrap_or_else(|| Err(untold()))
}

fn run_once(pgbench: &Path, lane: &Lane, load: Load) -> Outcome<Option<Done>> {
    let mut command = Command::new(pgbench);
    let threads = load.clients.min(2).to_string();
    command.args(["--no-vacuum", "--progress=1", "--progress-timestamp", "-b", load.script, "-M", load.protocol, "-j", &threads]);
    command.args(["-c", &load.clients.to_string(), "-T", &load.seconds.to_string(), &lane.conninfo]);
    command.env("PGPASSWORD", &lane.password).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot start {}: {error}", line(&command)))?;
    let mut marks = Vec::new();
    let mut said = String::new();
    for text in child.stderr.take().map(BufReader::new).into_iter().flat_map(|output| output.lines().map_while(Result::ok)) {
        if let Some((at_s, tps)) = progress(&text) {
            marks.push(Mark { at_s, tps, cpu_s: lane.pid.map_or(Ok(0.0), cpu_seconds)? });
        } else {
            said = said + &text + "\n";
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("{} ended with {status}:\n{said}", line(&command)));
    }
    let later_cpu_s = match (lane.pid, marks.last()) {
        (Some(pid), Some(last)) => wait_until_quiet(pid)? - last.cpu_s,
        _ => 0.0,
    };
    Ok(done(&marks, later_cpu_s))
}

/// A line of progress: when, how many transactions a second since the last, and what the process had used by then.
#[derive(Debug)]
struct Mark {
    at_s: f64,
    tps: f64,
    cpu_s: f64,
}

/// `progress: 1700000000.123 s, 12345.6 tps, lat ...`
fn progress(text: &str) -> Option<(f64, f64)> {
    let (at, rest) = text.strip_prefix("progress: ")?.split_once(" s, ")?;
    Some((at.parse().ok()?, rest.split_once(" tps")?.0.parse().ok()?))
}

/// Measures from the first mark to the last: before the first lies the login.
fn done(marks: &[Mark], later_cpu_s: f64) -> Option<Done> {
    let (first, rest) = marks.split_first()?;
    let last = rest.last()?;
    let seconds = last.at_s - first.at_s;
    let transactions: f64 = marks.iter().zip(rest).map(|(before, mark)| mark.tps * (mark.at_s - before.at_s)).sum();
    let all_transactions = transactions + first.tps;
    let later_cpu_us = later_cpu_s / all_transactions * 1e6;
    let cpu_us = (last.cpu_s - first.cpu_s) / transactions * 1e6 + later_cpu_us;
    (transactions > 0.0).then_some(Done { transactions_per_second: transactions / seconds, cpu_us, later_cpu_us })
}

/// Returns what the process had used by then.
fn wait_until_quiet(pid: u32) -> Outcome<f64> {
    let began = Instant::now();
    let mut before = cpu_seconds(pid)?;
    loop {
        std::thread::sleep(QUIET);
        let now = cpu_seconds(pid)?;
        if now - before < QUIET.as_secs_f64() * QUIET_CPU_SHARE {
            return Ok(now);
        }
        if began.elapsed() > QUIET_WITHIN {
            return Err(format!("process {pid} is still busy {} s after the last client left", QUIET_WITHIN.as_secs()));
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        let text = "progress: 1700000000.125 s, 12345.6 tps, lat 0.081 ms stddev 0.020, 0 failed";
        assert_eq!(progress(text), Some((1_700_000_000.125, 12345.6)));
        assert_eq!(progress("pgbench (15.1)"), None);
    }

    #[test]
    fn the_time_before_the_first_mark_does_not_count() {
        let marks = [(10.0, 500.0, 7.0), (11.0, 1000.0, 7.5), (13.0, 2000.0, 8.0)].map(|(at_s, tps, cpu_s)| Mark { at_s, tps, cpu_s });
        let done = done(&marks, 0.55).unwrap();
        assert!((done.transactions_per_second - 5000.0 / 3.0).abs() < 1e-9);
        assert!((done.cpu_us - (200.0 + 100.0)).abs() < 1e-6, "{}", done.cpu_us);
        assert!(super::done(&marks.into_iter().take(1).collect::<Vec<_>>(), 0.0).is_none());
    }
}
