//! What was measured: the values of all rounds, by case, way and measure, kept in a file that tables are made from.

use std::{fs, io::ErrorKind, path::Path};

use super::rounds::Spread;
use crate::Outcome;

/// Of what a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// The part of the bench.
    pub(super) section: String,
    /// What ran, `select-only simple 16`.
    pub(super) case: String,
    /// `plain` or `TLS`.
    pub(super) transport: String,
    /// What was measured, its unit last.
    pub(super) measure: String,
    /// Through what.
    pub(super) lane: String,
}

/// Everything that was measured, in the order it was first measured in.
#[derive(Debug, Default)]
pub(super) struct Results {
    series: Vec<(Key, Vec<f64>)>,
}

const HEADING: &str = "# section\tcase\ttransport\tmeasure\tlane\tvalue of each round";

impl Results {
    /// Reads what an earlier run kept; no file is no results.
    pub(super) fn read(file: &Path) -> Outcome<Self> {
        match fs::read_to_string(file) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("cannot read {}: {error}", file.display())),
        }
    }

    fn parse(text: &str) -> Outcome<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| one(line).ok_or_else(|| format!("this is no line of results: {line}"))).collect::<Outcome<_>>()?;
        Ok(Self { series })
    }

    /// Keeps them.
    pub(super) fn write(&self, file: &Path) -> Outcome<()> {
        let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
        folder.and_then(|()| fs::write(file, self.text())).map_err(|error| format!("cannot write {}: {error}", file.display()))
    }

    fn text(&self) -> String {
        let line = |(key, values): &(Key, Vec<f64>)| {
            let values: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
            [&key.section, &key.case, &key.transport, &key.measure, &key.lane, &values.join(" ")].map(String::as_str).join("\t") + "\n"
        };
        std::iter::once(format!("{HEADING}\n")).chain(self.series.iter().map(line)).collect()
    }

    /// Forgets what was measured of a case, to measure it again.
    pub(super) fn forget(&mut self, section: &str, case: &str, transport: &str) {
        self.series.retain(|(key, _)| (key.section.as_str(), key.case.as_str(), key.transport.as_str()) != (section, case, transport));
    }

    /// Adds the value of one more round.
    pub(super) fn add(&mut self, key: Key, value: f64) {
        match self.series.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => self.series.push((key, vec![value])),
        }
    }

    /// Every series of this key's case, by measure.
    pub(super) fn of_case(&self, key: &Key) -> Vec<&(Key, Vec<f64>)> {
        let same = |it: &Key| (&it.section, &it.case, &it.transport) == (&key.section, &key.case, &key.transport);
        let mut found: Vec<_> = self.series.iter().filter(|(it, _)| same(it)).collect();
        found.sort_by(|(a, _), (b, _)| a.measure.cmp(&b.measure));
        found
    }

    /// The cases of a section with their transports, in order.
    pub(super) fn cases(&self, section: &str) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (key, _) in self.series.iter().filter(|(key, _)| key.section == section) {
            let case = (key.case.clone(), key.transport.clone());
            if !found.contains(&case) {
                found.push(case);
            }
        }
        found
    }

    /// The values of one series, round by round.
    pub(super) fn values(&self, key: &Key) -> &[f64] {
        self.series.iter().find(|(known, _)| known == key).map_or(&[], |(_, values)| values)
    }

    /// Of the ratios of this lane's values to that lane's, round by round.
    pub(super) fn ratio(&self, key: &Key, against: &str) -> Option<Spread> {
        Spread::of_ratios(self.values(key), self.values(&Key { lane: against.to_owned(), ..key.clone() }))
    }
}

fn one(line: &str) -> Option<(Key, Vec<f64>)> {
    let mut columns = line.split('\t').map(str::to_owned);
    let key = Key { section: columns.next()?, case: columns.next()?, transport: columns.next()?, measure: columns.next()?, lane: columns.next()? };
    let values = columns.next()?.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((key, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(case: &str, lane: &str) -> Key {
        let [section, transport, measure] = ["queries", "plain", "cpu_us"].map(str::to_owned);
        Key { section, case: case.to_owned(), transport, measure, lane: lane.to_owned() }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut results = Results::default();
        for (lane, values) in [("ours", [2.0, 6.0]), ("theirs", [1.0, 2.0])] {
            values.into_iter().for_each(|value| results.add(key("a", lane), value));
        }
        let read = Results::parse(&results.text()).unwrap();
        assert_eq!(read.values(&key("a", "ours")), [2.0, 6.0]);
        assert_eq!(read.ratio(&key("a", "ours"), "theirs"), Some(Spread { median: 2.5, min: 2.0, max: 3.0 }));
        assert_eq!(read.cases("queries"), [("a".to_owned(), "plain".to_owned())]);
    }

    #[test]
    fn a_case_that_is_measured_again_is_forgotten_first() {
        let mut results = Results::default();
        results.add(key("a", "ours"), 1.0);
        results.add(key("b", "ours"), 1.0);
        results.forget("queries", "a", "plain");
        assert_eq!(results.cases("queries"), [("b".to_owned(), "plain".to_owned())]);
    }
}
