//! pgbench through one lane, and what the lane's process used meanwhile.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{
    lanes::Lane,
    process::{cpu_seconds, wait_until_quiet},
};
use crate::{
    Outcome,
    command::{line, with_many_files},
};

/// On a machine that is very busy pgbench may leave out its lines of progress.
const TRIES: usize = 3;

/// What pgbench is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) script: Script<'a>,
    /// `simple`, `extended` or `prepared`.
    pub(super) protocol: &'a str,
    pub(super) clients: u32,
    pub(super) seconds: u32,
    /// A connection for each transaction.
    pub(super) reconnect: bool,
    /// Transactions a second to keep to; none: as many as it can.
    pub(super) per_second: Option<f64>,
    /// Where to write how long each transaction took.
    pub(super) log: Option<&'a Path>,
}

/// What a transaction is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Script<'a> {
    /// One that pgbench brings: `select-only` or `tpcb-like`.
    Builtin(&'a str),
    /// One in a file.
    File(&'a Path),
}

impl<'a> Load<'a> {
    /// One script, as fast as it goes.
    pub(super) const fn new(script: Script<'a>, protocol: &'a str, clients: u32, seconds: u32) -> Self {
        Self { script, protocol, clients, seconds, reconnect: false, per_second: None, log: None }
    }

    fn command(&self, pgbench: &Path, lane: &Lane) -> Command {
        let mut command = with_many_files(pgbench);
        command.args(["--no-vacuum", "--progress=1", "--progress-timestamp", "-M", self.protocol, "-j", &self.clients.min(2).to_string()]);
        command.args(["-c", &self.clients.to_string(), "-T", &self.seconds.to_string()]);
        match self.script {
            Script::Builtin(name) => command.args(["-b", name]),
            Script::File(path) => command.arg("-f").arg(path),
        };
        if self.reconnect {
            command.arg("-C");
        }
        if let Some(rate) = self.per_second {
            command.arg(format!("--rate={rate}"));
        }
        if let Some(prefix) = self.log {
            command.arg("--log").arg(format!("--log-prefix={}", prefix.display()));
        }
        command.arg(lane.conninfo()).env("PGPASSWORD", &lane.password).stdin(Stdio::null());
        command
    }

    /// Starts it and leaves it running.
    pub(super) fn start(&self, pgbench: &Path, lane: &Lane) -> Outcome<Running> {
        let mut command = self.command(pgbench, lane);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        child.map(Running).map_err(|error| format!("cannot start {}: {error}", line(&command)))
    }
}

/// A pgbench that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    /// Whether it still runs.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Done {
    pub(super) transactions_per_second: f64,
    /// All of them, those before the first line of progress included.
    pub(super) transactions: f64,
    /// CPU time of the lane's process for one transaction, in microseconds; 0 for the direct way. What it does later about what it
    /// did then is part of it.
    pub(super) cpu_us: f64,
    /// How much of that is later.
    pub(super) later_cpu_us: f64,
}

/// Runs it. The time it takes to connect is not part of what is measured, unless each transaction does.
pub(super) fn run(pgbench: &Path, lane: &Lane, load: &Load<'_>) -> Outcome<Done> {
    let mut tries = (0..TRIES).map(|_| run_once(pgbench, lane, load));
    let untold = || format!("pgbench told no progress in {TRIES} runs of {load:?} through {}", lane.name);
    tries.find_map(Outcome::transpose).unwrap_or_else(|| Err(untold()))
}

fn run_once(pgbench: &Path, lane: &Lane, load: &Load<'_>) -> Outcome<Option<Done>> {
    let mut command = load.command(pgbench, lane);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
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
    let counted: f64 = marks.iter().zip(rest).map(|(before, mark)| mark.tps * (mark.at_s - before.at_s)).sum();
    // The first mark stands a second after the beginning.
    let transactions = counted + first.tps;
    let later_cpu_us = later_cpu_s / transactions * 1e6;
    let cpu_us = (last.cpu_s - first.cpu_s) / counted * 1e6 + later_cpu_us;
    (counted > 0.0).then_some(Done { transactions_per_second: counted / seconds, transactions, cpu_us, later_cpu_us })
}

/// Reads and removes the files that a load with this [`Load::log`] wrote: the latency of every transaction in milliseconds, sorted.
pub(super) fn latencies_ms(prefix: &Path) -> Outcome<Vec<f64>> {
    let folder = prefix.parent().unwrap_or(Path::new("."));
    let name = prefix.file_name().map(|name| format!("{}.", name.to_string_lossy())).unwrap_or_default();
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    let files: Vec<PathBuf> = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&name)).map(|it| it.path()).collect();
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        found.extend(text.lines().filter_map(latency_ms));
        let _ = fs::remove_file(file);
    }
    found.sort_by(f64::total_cmp);
    Ok(found)
}

/// `client transaction microseconds script second microsecond`
fn latency_ms(text: &str) -> Option<f64> {
    text.split(' ').nth(2)?.parse::<f64>().ok().map(|us| us / 1e3)
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
        assert!((done.cpu_us - (200.0 + done.later_cpu_us)).abs() < 1e-6 && (done.later_cpu_us - 100.0).abs() < 1e-6, "{done:?}");
        assert!(super::done(&marks.into_iter().take(1).collect::<Vec<_>>(), 0.0).is_none());
    }

    #[test]
    fn a_transaction_s_latency_is_the_third_column() {
        assert_eq!(latency_ms("0 199 2241 0 1175850568 995598"), Some(2.241));
        assert_eq!(latency_ms("0 199 skipped 0 1175850568 995598"), None);
    }
}
