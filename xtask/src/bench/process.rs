//! What a process used, from `/proc`.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::Outcome;

/// Ticks a second in which the kernel tells times, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time are each told in whole ticks, rounded down.
const ROUNDED_OFF_SECONDS: f64 = 2.0 / TICKS_PER_SECOND;

/// CPU time a process has used so far, user and system, all its threads, in seconds.
///
/// # Errors
/// There is no such process.
pub(super) fn cpu_seconds(pid: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| format!("process {pid} is gone: {error}"))?;
    let coarse = ticks(&stat).ok_or_else(|| format!("/proc/{pid}/stat reads {stat:?}"))? as f64 / TICKS_PER_SECOND;
    // The scheduler's own count has nanoseconds, but knows only the threads that live.
    Ok(scheduled_seconds(pid).filter(|fine| (coarse..coarse + ROUNDED_OFF_SECONDS).contains(fine)).unwrap_or(coarse))
}

/// `utime` and `stime`. The name before them may hold anything, parentheses included.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn scheduled_seconds(pid: u32) -> Option<f64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Some(nanoseconds.sum::<u64>() as f64 / 1e9)
}

/// How long a process must have used next to nothing to count as quiet, and how long that is waited for.
const QUIET: Duration = Duration::from_millis(200);
const QUIET_CPU_SHARE: f64 = 0.03;
const QUIET_WITHIN: Duration = Duration::from_secs(120);

/// Waits until a process has nothing left to do; returns the CPU time it had used by then.
///
/// # Errors
/// It is gone, or goes on and on.
pub(super) fn wait_until_quiet(pid: u32) -> Outcome<f64> {
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

/// The memory a process has in use, in bytes.
///
/// # Errors
/// There is no such process.
pub(super) fn resident_bytes(pid: u32) -> Outcome<f64> {
    memory_bytes(pid, "VmRSS:")
}

/// The most memory a process ever had in use, in bytes.
///
/// # Errors
/// There is no such process.
pub(super) fn peak_bytes(pid: u32) -> Outcome<f64> {
    memory_bytes(pid, "VmHWM:")
}

fn memory_bytes(pid: u32, key: &str) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| format!("process {pid} is gone: {error}"))?;
    told(&status, key).ok_or_else(|| format!("/proc/{pid}/status tells no {key}"))
}

fn told(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 17 25 3 4 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("42 (short) S 1"), None);
    }

    #[test]
    fn memory_is_found() {
        let status = "Name:\ta\nVmHWM:\t  2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!((told(status, "VmRSS:"), told(status, "VmHWM:")), (Some(1_048_576.0), Some(2_097_152.0)));
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000.0);
    }

    #[test]
    fn work_is_seen() {
        let own = std::process::id();
        let before = cpu_seconds(own).unwrap();
        let mut sum = 0u64;
        while cpu_seconds(own).unwrap() < before + 0.05 {
            sum = (0..1_000_000).fold(sum, |sum, it| std::hint::black_box(sum ^ it));
        }
    }
}
