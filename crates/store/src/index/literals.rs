//! Where literals occur: keyed hashes in sorted runs, merged as they become many.
//!
//! A batch's literals are one small run; eight runs of about one size become one, up to [`LARGEST`]. So an entry is written a few times
//! in its life, always beside others, and a search looks into a number of runs that grows by one with some 100,000 literals.

use std::collections::BTreeSet;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};

use crate::{
    StoreError,
    database::{Database, Value, Write, sql},
};

/// Bytes of an entry.
const ENTRY_BYTES: usize = 16;
/// Entries of one row.
const CHUNK_ENTRIES: usize = 512;
/// Runs of about one size that become one.
const MERGE_RUNS: usize = 8;
/// From so many entries on a run is of the next size; one of the last size stays as it is.
const SIZES: [i64; 4] = [256, 2_048, 16_384, LARGEST];
const LARGEST: i64 = 131_072;
/// More than the newest runs that are not of the last size.
const NEWEST_RUNS: i64 = (SIZES.len() * MERGE_RUNS) as i64;

/// Hashes literals under a key, so that the file alone tells nothing of them.
pub(super) struct LiteralHash(pub(super) hmac::Key);

impl LiteralHash {
    /// The hash of a literal: case and outer white space do not count. 56 bits of HMAC-SHA-256.
    pub(super) fn of(&self, literal: &str) -> i64 {
        let tag = hmac::sign(&self.0, literal.trim().to_lowercase().as_bytes());
        let mut bytes = [0; 8];
        bytes.iter_mut().skip(1).zip(tag.as_ref()).for_each(|(into, byte)| *into = *byte);
        i64::from_be_bytes(bytes)
    }
}

/// A literal of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) hash: i64,
    pub(super) bundle: i64,
    /// The operation's number, counted from the first of its bundle.
    pub(super) op: u32,
}

impl Entry {
    fn write(self, into: &mut Vec<u8>) {
        into.extend(self.hash.to_be_bytes().iter().skip(1));
        into.extend(self.bundle.to_be_bytes().iter().skip(3));
        into.extend(self.op.to_be_bytes());
    }

    fn read(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let number = u128::from_be_bytes(*bytes);
        let part = |shift: u32, bits: u32| i64::try_from((number >> shift) & ((1 << bits) - 1)).unwrap_or(0);
        Self { hash: part(72, 56), bundle: part(32, 40), op: u32::try_from(part(0, 32)).unwrap_or(0) }
    }
}

/// A run, without its entries.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
struct Run {
    id: i64,
    entries: i64,
}

/// Adds what a batch has and merges the newest runs if they are many.
pub(super) async fn add(write: &mut Write, entries: Vec<Entry>) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    write_run(write, entries).await?;
    let newest: Vec<Run> = sql("SELECT id, entries FROM literal_runs ORDER BY id DESC LIMIT $1").bind(NEWEST_RUNS).all(&mut *write).await?;
    let Some(merged) = to_merge(&newest) else { return Ok(()) };
    let mut entries = Vec::new();
    for run in merged {
        let chunks: Vec<(String,)> =
            sql("SELECT entries FROM literal_chunks WHERE run = $1 ORDER BY last, place").bind(run.id).all(&mut *write).await?;
        for (chunk,) in chunks {
            decode(&chunk, |entry| entries.push(entry))?;
        }
        sql("DELETE FROM literal_chunks WHERE run = $1").bind(run.id).run(write).await?;
        sql("DELETE FROM literal_runs WHERE id = $1").bind(run.id).run(write).await?;
    }
    write_run(write, entries).await
}

/// The newest runs that become one, given newest first: none is to be larger than the one before it, nor too many of one size.
fn to_merge(newest: &[Run]) -> Option<&[Run]> {
    let (mut entries, mut taken) = (newest.first()?.entries, 1);
    loop {
        let size = size(entries);
        let older = newest.get(taken..)?;
        let smaller = older.iter().take_while(|run| self::size(run.entries) < size).count();
        let equal = older.iter().take_while(|run| self::size(run.entries) == size).count();
        let more = if smaller > 0 {
            smaller
        } else if size < SIZES.len() && equal + 1 >= MERGE_RUNS {
            equal
        } else {
            return if taken > 1 { newest.get(..taken) } else { None };
        };
        entries += older.iter().take(more).map(|run| run.entries).sum::<i64>();
        taken += more;
    }
}

/// Which of the sizes a run has.
fn size(entries: i64) -> usize {
    SIZES.iter().filter(|least| entries >= **least).count()
}

async fn write_run(write: &mut Write, mut entries: Vec<Entry>) -> Result<(), StoreError> {
    entries.sort_unstable();
    entries.dedup();
    let (id,): (i64,) = sql("UPDATE index_counters SET value = value + 1 WHERE name = 'run' RETURNING value").one(&mut *write).await?;
    let bundles = entries.iter().map(|entry| entry.bundle);
    let (first, last) = (bundles.clone().min().unwrap_or(0), bundles.max().unwrap_or(0));
    sql("INSERT INTO literal_runs (id, entries, first_bundle, last_bundle) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(i64::try_from(entries.len()).unwrap_or(i64::MAX))
        .bind(first)
        .bind(last)
        .run(write)
        .await?;
    let chunks: Vec<_> = entries.chunks(CHUNK_ENTRIES).enumerate().collect();
    for rows in chunks.chunks(super::absorb::PARAMETERS_AT_ONCE / 5) {
        let mut sql = sql("INSERT INTO literal_chunks (run, last, place, first, entries)");
        sql.push_rows(rows.iter().map(|(place, chunk)| {
            let (first, last) = (chunk.first().map_or(0, |entry| entry.hash), chunk.last().map_or(0, |entry| entry.hash));
            let place = i64::try_from(*place).unwrap_or(i64::MAX);
            [Value::from(id), last.into(), place.into(), first.into(), encode(chunk).into()]
        }));
        sql.run(write).await?;
    }
    Ok(())
}

/// Where a literal occurs.
#[derive(Debug)]
pub(super) enum Found {
    /// All of it: bundle and operation.
    All(BTreeSet<(i64, u32)>),
    /// In more places than were asked for, or nobody can tell while so much is added: ask for each bundle.
    Many,
}

/// How often a search looks for runs that came while it read others.
const MAX_PASSES: usize = 16;

/// Looks a literal up in every run, up to `most` places. Runs that are merged meanwhile are read again in the one that they became.
pub(super) async fn find(database: &Database, hash: i64, most: usize) -> Result<Found, StoreError> {
    let (mut found, mut looked) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..MAX_PASSES {
        let runs: Vec<(i64,)> = sql("SELECT id FROM literal_runs ORDER BY id DESC").all(database.read()).await?;
        let new: Vec<i64> = runs.into_iter().map(|(run,)| run).filter(|run| looked.insert(*run)).collect();
        if new.is_empty() {
            return Ok(Found::All(found));
        }
        for run in new {
            find_in_run(database, hash, run, most, &mut found).await?;
            if found.len() > most {
                return Ok(Found::Many);
            }
        }
    }
    Ok(Found::Many)
}

async fn find_in_run(database: &Database, hash: i64, run: i64, most: usize, found: &mut BTreeSet<(i64, u32)>) -> Result<(), StoreError> {
    let rows = i64::try_from(most / CHUNK_ENTRIES + 3).unwrap_or(i64::MAX);
    let chunks: Vec<(String,)> = sql("SELECT entries FROM literal_chunks WHERE run = $1 AND last >= $2
            AND last <= COALESCE((SELECT MIN(n.last) FROM literal_chunks n WHERE n.run = $1 AND n.last > $2), $2)
            AND first <= $2 LIMIT $3")
    .bind(run)
    .bind(hash)
    .bind(rows)
    .all(database.read())
    .await?;
    for (chunk,) in chunks {
        decode(&chunk, |entry| found.extend((entry.hash == hash).then_some((entry.bundle, entry.op))))?;
    }
    Ok(())
}

/// The operations of one bundle in which a literal occurs.
pub(super) async fn find_in(database: &Database, hash: i64, bundle: i64) -> Result<Vec<u32>, StoreError> {
    let chunks: Vec<(String,)> = sql("SELECT c.entries FROM literal_runs r CROSS JOIN literal_chunks c
            WHERE r.first_bundle <= $2 AND r.last_bundle >= $2 AND c.run = r.id AND c.last >= $1
            AND c.last <= COALESCE((SELECT MIN(n.last) FROM literal_chunks n WHERE n.run = r.id AND n.last > $1), $1) AND c.first <= $1")
    .bind(hash)
    .bind(bundle)
    .all(database.read())
    .await?;
    let mut found = Vec::new();
    for (chunk,) in chunks {
        decode(&chunk, |entry| found.extend((entry.hash == hash && entry.bundle == bundle).then_some(entry.op)))?;
    }
    Ok(found)
}

/// Forgets every literal.
pub(super) async fn clear(write: &mut Write) -> Result<(), StoreError> {
    sql("DELETE FROM literal_chunks").run(write).await?;
    sql("DELETE FROM literal_runs").run(write).await.map(drop)
}

fn encode(entries: &[Entry]) -> String {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    entries.iter().for_each(|entry| entry.write(&mut bytes));
    BASE64.encode(bytes)
}

fn decode(text: &str, mut take: impl FnMut(Entry)) -> Result<(), StoreError> {
    let bytes = BASE64.decode(text).map_err(|error| StoreError::corrupt("literals", error))?;
    let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(StoreError::corrupt("literals", "half an entry"));
    }
    entries.iter().for_each(|entry| take(Entry::read(entry)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(entries: i64) -> Run {
        Run { id: 0, entries }
    }

    proptest! {
        #[test]
        fn entries_are_read_as_they_were_written(all in prop::collection::vec((0..1i64 << 56, 0..1i64 << 40, any::<u32>()), 0..50)) {
            let all: Vec<Entry> = all.into_iter().map(|(hash, bundle, op)| Entry { hash, bundle, op }).collect();
            let mut read = Vec::new();
            decode(&encode(&all), |entry| read.push(entry)).unwrap();
            prop_assert_eq!(read, all);
        }

        /// However large batches are, the runs a search looks into stay few, and an entry is written anew a few times at most for each size.
        #[test]
        fn runs_stay_few(batches in prop::collection::vec(1..3_000i64, 1..2_000)) {
            let (mut runs, mut added, mut written) = (Vec::<Run>::new(), 0, 0);
            for entries in batches {
                runs.insert(0, run(entries));
                added += entries;
                let newest = runs.get(..runs.len().min(NEWEST_RUNS as usize)).unwrap();
                if let Some(merged) = to_merge(newest) {
                    let (count, entries) = (merged.len(), merged.iter().map(|run| run.entries).sum());
                    written += entries;
                    runs.splice(..count, [run(entries)]);
                }
            }
            let largest = runs.iter().filter(|run| run.entries >= LARGEST).count();
            prop_assert!(runs.len() - largest < NEWEST_RUNS as usize, "{} runs", runs.len());
            prop_assert!(largest as i64 <= added / LARGEST);
            prop_assert!(written <= 8 * added, "{} of {}", written, added);
        }
    }

    #[test]
    fn what_is_not_whole_entries_is_an_error() {
        assert!(decode("AAAA", |_| {}).is_err() && decode("\u{e9}", |_| {}).is_err());
    }
}
