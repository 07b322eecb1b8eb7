//! How much callers changed lately, for policies that look at it: a table is emptied by ten thousand small deletes as by one large one.
//!
//! Counted by identity and connection, in whichever sessions, so that a new session is no new count. Kept in memory: a process that begins knows
//! of nothing, and each of several processes counts for itself.
//!
//! Growth: one count of about 1 KiB for each identity and connection with a session or a change within the last hour.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{Action, ActorChain, ConnectionName, Facts, IdentityId, Timestamp};

/// How far back is counted.
const MINUTES: usize = 60;
/// Counts there may be before those that have run out are looked for.
const MIN_SWEPT: usize = 1_024;

/// What one identity changed on one connection, minute by minute.
#[derive(Debug)]
pub(crate) struct Volume(Mutex<[(i64, u64); MINUTES]>);

impl Default for Volume {
    fn default() -> Self {
        Self(Mutex::new([(i64::MIN, 0); MINUTES]))
    }
}

impl Volume {
    /// Counts rows.
    pub(crate) fn add(&self, rows: u64, now: Timestamp) {
        if rows == 0 {
            return;
        }
        let minute = minute(now);
        let mut minutes = lock(&self.0);
        let place = usize::try_from(minute.rem_euclid(MINUTES as i64)).unwrap_or(0);
        let Some((since, count)) = minutes.get_mut(place) else { return };
        // A clock that was set back counts into the newer minute.
        if *since < minute {
            (*since, *count) = (minute, 0);
        }
        *count = count.saturating_add(rows);
    }

    /// Rows of the last hour.
    pub(crate) fn rows(&self, now: Timestamp) -> u64 {
        let from = minute(now) - MINUTES as i64;
        lock(&self.0).iter().filter(|(since, _)| *since > from).fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// What everybody in a chain changed: each one's rows count for each, so that an agent does not begin anew with each person it acts for.
#[derive(Debug)]
pub(crate) struct ChainVolume(Vec<Arc<Volume>>);

impl ChainVolume {
    /// Counts rows, for everybody.
    pub(crate) fn add(&self, rows: u64, now: Timestamp) {
        self.0.iter().for_each(|volume| volume.add(rows, now));
    }

    /// Rows of the last hour of whoever has most.
    pub(crate) fn rows(&self, now: Timestamp) -> u64 {
        self.0.iter().map(|volume| volume.rows(now)).max().unwrap_or(0)
    }
}

/// Those of everybody.
#[derive(Debug, Default)]
pub(crate) struct Volumes(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    of: HashMap<(IdentityId, ConnectionName), Arc<Volume>>,
    swept_at: usize,
}

impl Volumes {
    /// What the members of a chain change on a connection.
    pub(crate) fn of_chain(&self, chain: &ActorChain, connection: &ConnectionName, now: Timestamp) -> ChainVolume {
        ChainVolume(chain.members().map(|member| self.of(member.id, connection, now)).collect())
    }

    /// What an identity changes on a connection.
    fn of(&self, identity: IdentityId, connection: &ConnectionName, now: Timestamp) -> Arc<Volume> {
        let mut counts = lock(&self.0);
        if counts.of.len() >= counts.swept_at.max(MIN_SWEPT) {
            counts.of.retain(|_, volume| Arc::strong_count(volume) > 1 || volume.rows(now) > 0);
            counts.swept_at = 2 * counts.of.len();
        }
        counts.of.entry((identity, connection.clone())).or_default().clone()
    }
}

/// Changes that the statements of these facts make at least, while nobody knows how many: one each.
pub(crate) fn expected(facts: &Facts) -> u64 {
    let changes = facts.asks(Action::Write) || facts.asks(Action::Destroy);
    if changes { u64::from(facts.statements.max(1)) } else { 0 }
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + 60 * minutes).unwrap()
    }

    #[test]
    fn an_hour_is_counted_and_not_more() {
        let volume = Volume::default();
        volume.add(5, at(0));
        volume.add(2, at(0));
        volume.add(1, at(59));
        assert_eq!([volume.rows(at(0)), volume.rows(at(59)), volume.rows(at(60)), volume.rows(at(119))], [8, 8, 1, 0]);
        volume.add(3, at(120));
        assert_eq!(volume.rows(at(120)), 3, "a place is used again");
        volume.add(4, at(60));
        assert_eq!(volume.rows(at(120)), 7, "a clock that was set back loses nothing");
        volume.add(u64::MAX, at(120));
        assert_eq!(volume.rows(at(120)), u64::MAX);
    }

    #[test]
    fn a_count_is_one_identitys_on_one_connection_and_goes_when_it_says_nothing_more() {
        let volumes = Volumes::default();
        let (one, two) = (IdentityId::from_random(1), IdentityId::from_random(2));
        let connection = |number: usize| format!("c{number}").parse::<ConnectionName>().unwrap();
        volumes.of(one, &connection(0), at(0)).add(9, at(0));
        let rows = |identity, number| volumes.of(identity, &connection(number), at(0)).rows(at(0));
        assert_eq!([rows(one, 0), rows(two, 0), rows(one, 1)], [9, 0, 0]);
        for number in 0..10 * MIN_SWEPT {
            volumes.of(two, &connection(number), at(0));
        }
        assert!(lock(&volumes.0).of.len() <= 2 * MIN_SWEPT);
        assert_eq!(rows(one, 0), 9, "what still counts stays");
    }
}
