//! Single statements: what the first sight of one costs, and how much of the disk one takes.

use std::{fs, path::Path};

use super::{
    lanes::{Lane, Transport},
    measure::{Bench, Case, Values},
    pgbench::{self, Load, Script},
    stand::{DATABASE, ROLE, Stand},
};
use crate::Outcome;

pub(super) const SECTION: &str = "statements";
const SECONDS: u32 = 4;

/// A statement that reads this many tables, each of which is decided on.
const PAIRS: [usize; 2] = [1, 8];

/// Both.
pub(super) fn measure(bench: &mut Bench) -> Outcome<()> {
    for pairs in PAIRS {
        let case = Case::new(SECTION, &format!("first sight of {pairs} pairs"), Transport::Plain);
        if bench.wants(&case) {
            let statement = make_tables(&bench.stand, pairs)?;
            let lanes = [Lane::countersign(&bench.stand, Transport::Plain)?];
            bench.case(&case, &lanes, |stand, lane| first_sight(stand, lane, &statement))?;
        }
    }
    for level in ["statements", "full"] {
        let case = Case::new(SECTION, &format!("recording {level}"), Transport::Plain);
        let lanes = [Lane::through(super::lanes::COUNTERSIGN, &bench.stand.gateway, level, Transport::Plain)?];
        bench.case(&case, &lanes, recorded)?;
    }
    Ok(())
}

/// A statement over so many tables; `{}` stands for its distinguishing name.
fn make_tables(stand: &Stand, count: usize) -> Outcome<String> {
    let names: Vec<String> = (1..=count).map(|number| format!("part_{number}")).collect();
    for name in &names {
        let make = format!("CREATE TABLE IF NOT EXISTS {name} (id int PRIMARY KEY); ALTER TABLE {name} OWNER TO {ROLE}");
        stand.target.sql(DATABASE, &make)?;
    }
    let conditions: Vec<String> = names.iter().map(|name| format!("{name}.id = :n")).collect();
    Ok(format!("\\set n random(1, 2000000000)\nSELECT part_1.id AS {{}} FROM {} WHERE {};\n", names.join(", "), conditions.join(" AND ")))
}

/// The CPU time of a statement that no one sent before, less that of one everybody sends.
fn first_sight(stand: &Stand, lane: &Lane, statement: &str) -> Outcome<Values> {
    let cpu_us = |name: &str, call_it: &str| {
        let script = stand.folder().join(name);
        fs::write(&script, statement.replace("{}", call_it)).map_err(|error| format!("cannot write {}: {error}", script.display()))?;
        pgbench::run(&stand.pgbench(), lane, &Load::new(Script::File(&script), "simple", 1, SECONDS)).map(|done| done.cpu_us)
    };
    let (known, new) = (cpu_us("known.sql", "known")?, cpu_us("new.sql", "new_:n")?);
    Ok(vec![("first_sight_us", new - known)])
}

/// What a statement takes in the recordings, and in the search index.
fn recorded(stand: &Stand, lane: &Lane) -> Outcome<Values> {
    let (recordings, index) = (stand.gateway.file("data/recordings"), stand.gateway.file("data/index.db"));
    let before = (bytes_in(&recordings), bytes_in(&index));
    let done = pgbench::run(&stand.pgbench(), lane, &Load::new(Script::Builtin("select-only"), "simple", 1, SECONDS))?;
    let grown = |before: f64, path: &Path| (bytes_in(path) - before) / done.transactions;
    Ok(vec![("recording_bytes", grown(before.0, &recordings)), ("index_bytes", grown(before.1, &index))])
}

fn bytes_in(path: &Path) -> f64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let below: f64 = entries.map(|entry| bytes_in(&entry.path())).sum();
    let own = fs::metadata(path).ok().filter(fs::Metadata::is_file).map_or(0, |metadata| metadata.len());
    below + own as f64
}
