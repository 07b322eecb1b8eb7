//! What facts may take: so much time of the processor and so much memory, whatever the statement is. The time is that of all threads, and not of the clock on
//! the wall; the memory is all that the process has, what the parser in C takes among it.

use std::fs;

use policy::fuzzed::{FACTS_BYTES_MAX, expanded, facts_of};

/// Of the processor's time, in nanoseconds: in all, and for each byte.
const TIME_NS_MAX: u64 = 50_000_000;
const TIME_PER_BYTE_NS_MAX: u64 = 500;

/// What it takes to tell which code ran is no part of that: with 65,536 numbers in an array it was more than a quarter of the time.
const COVERAGE: (u64, u64) = (3, 2);

/// Of memory, in KiB.
const MEMORY_KIB_MAX: u64 = 64 << 10;

/// Shorter texts take so little that looking would take longer.
const LOOKED_AT_BYTES_MIN: usize = 2 << 10;

/// A statement has facts, and they take no more than they may.
///
/// # Panics
/// They take more. Once is chance: a page of memory comes late, a timer fires. Three times is not.
pub(crate) fn facts(data: &[u8]) {
    let text = expanded(data, FACTS_BYTES_MAX);
    let allowed = (TIME_NS_MAX + TIME_PER_BYTE_NS_MAX * text.len() as u64) * COVERAGE.0 / COVERAGE.1;
    let mut spent = (0, 0);
    for _ in 0..3 {
        spent = taken(&text);
        if spent.0 <= allowed && spent.1 <= MEMORY_KIB_MAX {
            return;
        }
    }
    let (time, memory) = spent;
    panic!("{time} ns of {allowed} and {memory} KiB of {MEMORY_KIB_MAX} for {} bytes", text.len());
}

/// Nanoseconds and KiB.
fn taken(text: &[u8]) -> (u64, u64) {
    let look = text.len() >= LOOKED_AT_BYTES_MIN;
    let before = if look { memory_before() } else { 0 };
    let began = time();
    facts_of(text);
    let spent = time() - began;
    (spent, if look { status("VmHWM:").saturating_sub(before) } else { 0 })
}

/// The memory that the process has, after all that is free was given back and the mark of the most was taken down
/// (<https://www.kernel.org/doc/html/latest/filesystems/proc.html>, `clear_refs`).
fn memory_before() -> u64 {
    // SAFETY: it only gives free memory back.
    unsafe { libc::malloc_trim(0) };
    fs::write("/proc/self/clear_refs", "5").expect("the mark of the most memory can be taken down");
    status("VmRSS:")
}

fn status(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the status says it");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

/// The time that all threads of the process have had of the processor.
fn time() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is there for as long as the call takes.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut now) };
    assert_eq!(failed, 0, "there is such a clock");
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
