//! Limits on failed sign-ins, per name and per peer address.
//!
//! Memory is fixed when it is made, whatever names and addresses arrive: counters live in hashed tables, keyed by a random seed. Two that share
//! a cell share its count, which can only refuse too early; each key has two cells and the smaller one counts, so that is rare.
//! An attempt is counted when it begins and given back when it succeeds, so that a hundred guesses sent at once count as a hundred.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use model::Timestamp;

/// Cells in each of the two rows of a table: 16 bytes each, six rows, 1.5 MiB in all.
const CELLS: usize = 16_384;
/// Slices of a window. A count covers the slice we are in and this many before it: never less than a whole window.
const SLICES: u32 = 5;

/// How many failures are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptLimits {
    /// Failures of one name from one address.
    pub per_name_and_peer: u16,
    /// Failures of one name from anywhere. Higher, so that a stranger elsewhere does not easily lock somebody out.
    pub per_name: u16,
    /// Failures from one address, whatever the name; for IPv6 its /64.
    pub per_peer: u16,
    /// The window they are counted in, in seconds.
    pub window_s: u32,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        Self { per_name_and_peer: 10, per_name: 50, per_peer: 100, window_s: 300 }
    }
}

/// Too many failures lately. The caller hears what it would hear for a wrong secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed attempts; wait up to {retry_after_s} s")]
pub struct TooManyAttempts {
    /// After this many seconds without a further failure the next attempt is let through, at the latest.
    pub retry_after_s: u32,
}

/// A counted attempt. Hand it to [`Attempts::succeeded`] if the secret was right; otherwise let it go.
#[derive(Debug)]
#[must_use = "an attempt that is not handed to `succeeded` counts as a failure"]
pub struct Attempt {
    cells: [[usize; 2]; 3],
    slice: u32,
}

/// The failures of the last minutes.
#[derive(Debug)]
pub struct Attempts {
    limits: AttemptLimits,
    slice_s: u32,
    seed: RandomState,
    tables: Mutex<[Table; 3]>,
}

impl Attempts {
    /// Nobody has failed yet.
    #[must_use]
    pub fn new(limits: AttemptLimits) -> Self {
        let slice_s = limits.window_s.div_ceil(SLICES).max(1);
        Self { limits, slice_s, seed: RandomState::new(), tables: Mutex::new([Table::new(), Table::new(), Table::new()]) }
    }

    /// Begins an attempt and counts it. Any text may be given as the name: what is unknown is limited like what is known.
    ///
    /// # Errors
    /// When there were too many failures; the attempt must then be refused without looking at the secret. It is not counted.
    pub fn begin(&self, name: &str, peer: IpAddr, now: Timestamp) -> Result<Attempt, TooManyAttempts> {
        let slice = self.slice(now);
        let peer = network(peer);
        let cells = [self.cells(&(0u8, name, peer)), self.cells(&(1u8, name)), self.cells(&(2u8, peer))];
        let limits = [self.limits.per_name_and_peer, self.limits.per_name, self.limits.per_peer];
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let full = tables.iter().zip(&cells).zip(limits).any(|((table, cells), limit)| table.count(cells, slice) >= u32::from(limit));
        if full {
            return Err(TooManyAttempts { retry_after_s: self.slice_s * (SLICES + 1) });
        }
        tables.iter_mut().zip(&cells).for_each(|(table, cells)| table.add(cells, slice));
        Ok(Attempt { cells, slice })
    }

    /// The secret was right: the attempt no longer counts.
    pub fn succeeded(&self, attempt: &Attempt) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.iter_mut().zip(&attempt.cells).for_each(|(table, cells)| table.give_back(cells, attempt.slice));
    }

    fn slice(&self, now: Timestamp) -> u32 {
        // The bias keeps slice numbers clear of zero, so that a fresh cell is long out of every window.
        let slice = now.as_second().max(0) / i64::from(self.slice_s);
        u32::try_from(slice).unwrap_or(u32::MAX).saturating_add(SLICES + 1)
    }

    fn cells(&self, key: &impl Hash) -> [usize; 2] {
        let hash = self.seed.hash_one(key);
        let place = |bits: u64| usize::try_from(bits % CELLS as u64).unwrap_or(0);
        [place(hash), place(hash >> 32)]
    }
}

/// One counter row pair.
#[derive(Debug)]
struct Table([Vec<Cell>; 2]);

impl Table {
    fn new() -> Self {
        Self([vec![Cell::default(); CELLS], vec![Cell::default(); CELLS]])
    }

    fn count(&self, cells: &[usize; 2], slice: u32) -> u32 {
        self.0.iter().zip(cells).map(|(row, place)| row.get(*place).map_or(u32::MAX, |cell| cell.count(slice))).min().unwrap_or(u32::MAX)
    }

    fn add(&mut self, cells: &[usize; 2], slice: u32) {
        for (row, place) in self.0.iter_mut().zip(cells) {
            if let Some(cell) = row.get_mut(*place) {
                cell.add(slice);
            }
        }
    }

    fn give_back(&mut self, cells: &[usize; 2], slice: u32) {
        for (row, place) in self.0.iter_mut().zip(cells) {
            if let Some(cell) = row.get_mut(*place) {
                cell.give_back(slice);
            }
        }
    }
}

/// Failures by slice: `counts[n % 6]` belongs to the slice `n` in `latest - 5 ..= latest`.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    latest: u32,
    counts: [u16; SLICES as usize + 1],
}

impl Cell {
    fn count(&self, slice: u32) -> u32 {
        // A clock that went back is answered from what was counted last.
        let slice = slice.max(self.latest);
        (slice.saturating_sub(SLICES)..=self.latest).map(|held| u32::from(self.at(held))).sum()
    }

    fn add(&mut self, slice: u32) {
        let slice = slice.max(self.latest);
        let passed = (slice - self.latest).min(SLICES + 1);
        for gone in (0..passed).map(|back| slice.saturating_sub(back)) {
            self.set(gone, 0);
        }
        self.latest = slice;
        self.set(slice, self.at(slice).saturating_add(1));
    }

    fn give_back(&mut self, slice: u32) {
        let held = slice >= self.latest.saturating_sub(SLICES) && slice <= self.latest;
        // After a clock went back the attempt was counted in the latest slice.
        let slice = if held && self.at(slice) > 0 { slice } else { self.latest };
        self.set(slice, self.at(slice).saturating_sub(1));
    }

    fn at(&self, slice: u32) -> u16 {
        self.counts.get(Self::place(slice)).copied().unwrap_or(0)
    }

    fn set(&mut self, slice: u32, count: u16) {
        if let Some(held) = self.counts.get_mut(Self::place(slice)) {
            *held = count;
        }
    }

    fn place(slice: u32) -> usize {
        usize::try_from(slice % (SLICES + 1)).unwrap_or(0)
    }
}

/// The address as it is counted: an IPv6 customer has a whole /64, and an IPv4 address may come mapped into IPv6.
#[must_use]
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: AttemptLimits = AttemptLimits { per_name_and_peer: 3, per_name: 5, per_peer: 8, window_s: 60 };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn tries(attempts: &Attempts, name: &str, from: IpAddr, second: i64) -> bool {
        attempts.begin(name, from, at(second)).is_ok()
    }

    #[test]
    fn the_fourth_failure_of_a_name_from_one_place_is_refused_until_the_window_passed() {
        let attempts = Attempts::new(LIMITS);
        assert!((0..3).all(|_| tries(&attempts, "alice", peer(1), 1_000)));
        let refused = attempts.begin("alice", peer(1), at(1_001)).unwrap_err();
        assert!(!tries(&attempts, "alice", peer(1), 1_059));
        assert!(tries(&attempts, "alice", peer(1), 1_000 + i64::from(refused.retry_after_s)));
    }

    #[test]
    fn other_names_and_places_are_not_concerned() {
        let attempts = Attempts::new(LIMITS);
        assert!((0..3).all(|_| tries(&attempts, "alice", peer(1), 1_000)));
        assert!(tries(&attempts, "bob", peer(1), 1_000));
        assert!(tries(&attempts, "alice", peer(2), 1_000));
    }

    #[test]
    fn a_name_is_limited_across_places_and_a_place_across_names() {
        let attempts = Attempts::new(LIMITS);
        assert!((0..5).all(|n| tries(&attempts, "alice", peer(n), 1_000)));
        assert!(!tries(&attempts, "alice", peer(99), 1_000));
        assert!((0..8).all(|n| tries(&attempts, &format!("user{n}"), peer(50), 1_000)));
        assert!(!tries(&attempts, "somebody", peer(50), 1_000));
    }

    #[test]
    fn success_gives_the_attempt_back() {
        let attempts = Attempts::new(LIMITS);
        for second in 0..100 {
            let attempt = attempts.begin("alice", peer(1), at(1_000 + second)).unwrap();
            attempts.succeeded(&attempt);
        }
        assert!((0..3).all(|_| tries(&attempts, "alice", peer(1), 1_100)));
        assert!(!tries(&attempts, "alice", peer(1), 1_100));
    }

    /// Guesses sent all at once are counted before any of them is answered.
    #[test]
    fn simultaneous_guesses_are_all_counted() {
        let attempts = Attempts::new(LIMITS);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| (0..20).filter(|_| tries(&attempts, "alice", peer(1), 1_000)).count())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 3);
    }

    #[test]
    fn an_ipv6_customer_is_one_place_and_mapped_ipv4_is_ipv4() {
        assert_eq!(network("2001:db8:1:2:3:4:5:6".parse().unwrap()), network("2001:db8:1:2:ffff::1".parse().unwrap()));
        assert_ne!(network("2001:db8:1:2::1".parse().unwrap()), network("2001:db8:1:3::1".parse().unwrap()));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), peer(1));
    }

    #[test]
    fn a_clock_that_jumps_neither_panics_nor_forgets() {
        let attempts = Attempts::new(LIMITS);
        assert!((0..3).all(|_| tries(&attempts, "alice", peer(1), 5_000)));
        assert!(!tries(&attempts, "alice", peer(1), 0));
        assert!(!tries(&attempts, "alice", peer(1), -5_000));
        let attempt = attempts.begin("bob", peer(2), Timestamp::MAX).unwrap();
        attempts.succeeded(&attempt);
        assert!(attempts.begin("bob", peer(2), Timestamp::MIN).is_ok());
    }

    proptest! {
        /// Whatever the times, no more failures than the limit are let through in any window.
        #[test]
        fn no_window_holds_more_than_the_limit(gaps in proptest::collection::vec(0i64..40, 1..80)) {
            let attempts = Attempts::new(LIMITS);
            let mut admitted: Vec<i64> = Vec::new();
            let mut second = 10_000;
            for gap in gaps {
                second += gap;
                if tries(&attempts, "alice", peer(1), second) {
                    admitted.push(second);
                }
            }
            for start in &admitted {
                let inside = admitted.iter().filter(|t| (*start..start + 60).contains(*t)).count();
                prop_assert!(inside <= 3, "{inside} from {start}: {admitted:?}");
            }
        }
    }
}
