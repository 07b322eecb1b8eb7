//! One run of the bench: its stand, what it measured so far, and what of it is wanted.

use std::path::PathBuf;

use super::{
    lanes::{Lane, PGBOUNCER, RELAY, Transport},
    results::{Key, Results},
    rounds::{Spread, interleaved},
    stand::{Stand, target_folder},
};
use crate::Outcome;

/// A run.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) stand: Stand,
    pub(super) results: Results,
    pub(super) rounds: usize,
    /// Only cases whose line holds this.
    pub(super) only: String,
}

/// Something that is measured.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) section: &'static str,
    pub(super) name: String,
    pub(super) transport: Transport,
}

/// Values by the name of what they measure, its unit last.
pub(super) type Values = Vec<(&'static str, f64)>;

impl Case {
    /// A case of a section.
    pub(super) fn new(section: &'static str, name: &str, transport: Transport) -> Self {
        Self { section, name: name.to_owned(), transport }
    }

    /// As people name it.
    pub(super) fn line(&self) -> String {
        format!("{} {} {}", self.section, self.name, self.transport.name())
    }

    /// One of its series.
    pub(super) fn key(&self, measure: &str, lane: &str) -> Key {
        let (section, case, transport) = (self.section.to_owned(), self.name.clone(), self.transport.name().to_owned());
        Key { section, case, transport, measure: measure.to_owned(), lane: lane.to_owned() }
    }
}

/// Where the values of the last run lie.
pub(super) fn results_file() -> PathBuf {
    target_folder().join("bench/results.tsv")
}

impl Bench {
    /// Whether a case is wanted.
    pub(super) fn wants(&self, case: &Case) -> bool {
        case.line().contains(&self.only)
    }

    /// Measures a case in rounds through every lane, if it is wanted; prints it, and keeps it.
    pub(super) fn case(&mut self, case: &Case, lanes: &[Lane], run: impl Fn(&Stand, &Lane) -> Outcome<Values>) -> Outcome<()> {
        if !self.wants(case) {
            return Ok(());
        }
        self.results.forget(case.section, &case.name, case.transport.name());
        let Self { stand, results, rounds, .. } = self;
        interleaved(*rounds, lanes, |lane| {
            for (measure, value) in run(stand, lane)? {
                results.add(case.key(measure, lane.name), value);
            }
            Ok(())
        })?;
        self.keep(case)
    }

    /// Prints what was measured of a case, and writes everything to the file.
    pub(super) fn keep(&self, case: &Case) -> Outcome<()> {
        println!("\n{}", self.table(case));
        self.results.write(&results_file())
    }

    /// For people at a terminal: medians, and the ratios to what they are compared with.
    fn table(&self, case: &Case) -> String {
        let mut lines = vec![case.line()];
        let series = self.results.of_case(&case.key("", ""));
        for (key, values) in series {
            let Some(own) = Spread::of(values) else { continue };
            let ratio = |against: &str| {
                let ratio = self.results.ratio(key, against).map(|it| format!("{:.2} ({:.2}-{:.2})", it.median, it.min, it.max));
                ratio.map(|ratio| format!("{ratio} x {against}")).unwrap_or_default()
            };
            lines.push(format!("  {:<16} {:<18} {:>12.2} {:>30} {:>26}", key.measure, key.lane, own.median, ratio(PGBOUNCER), ratio(RELAY)));
        }
        lines.join("\n")
    }
}
