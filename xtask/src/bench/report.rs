//! What is said of the results: each target met or not, and the tables of docs/benchmarks.md. Ratios alone: a time by itself says
//! more about the machine than about the gateway.

use std::fs;

use super::{
    growth::{self, GROWN, SMALL},
    idle,
    lanes::{COUNTERSIGN, COUNTERSIGN_FULL, DIRECT, HAPROXY, PGBOUNCER, RELAY},
    latency, logins, queries,
    results::{Key, Results},
    revocation,
    rounds::Spread,
    ssh, statements, streams,
};
use crate::{Outcome, command::workspace, generated::replaced};

const VALUES: &str = streams::VALUES_SECTION;
const DOCUMENT: &str = "docs/benchmarks.md";

/// Something to reach.
struct Target {
    words: &'static str,
    section: &'static str,
    /// Only cases whose name begins so, or that travel so.
    cases: &'static str,
    measure: &'static str,
    lane: &'static str,
    /// What the values are told against; none: the limit.
    against: Option<&'static str>,
    limit: Limit,
}

impl Target {
    /// About our values in every case of a section, against another's.
    const fn beside(words: &'static str, section: &'static str, measure: &'static str, against: &'static str, limit: Limit) -> Self {
        Self { words, section, cases: "", measure, lane: COUNTERSIGN, against: Some(against), limit }
    }

    /// The same, of some cases.
    const fn of(self, cases: &'static str) -> Self {
        Self { cases, ..self }
    }

    /// About our values in some cases of a section.
    const fn within(words: &'static str, section: &'static str, cases: &'static str, measure: &'static str, limit: f64) -> Self {
        Self { words, section, cases, measure, lane: COUNTERSIGN, against: None, limit: Limit::AtMost(limit) }
    }

    /// About a gateway that has grown.
    const fn grown(words: &'static str, measure: &'static str, against: Option<&'static str>, limit: f64) -> Self {
        Self { words, section: growth::SECTION, cases: "", measure, lane: GROWN, against, limit: Limit::AtMost(limit) }
    }
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

const TARGETS: &[Target] = &[
    Target::beside("CPU time of a transaction, at most 1.2 × PgBouncer's", queries::SECTION, "cpu_us", PGBOUNCER, Limit::AtMost(1.2)),
    Target::beside("throughput, at least 0.95 × PgBouncer's", queries::SECTION, "tps", PGBOUNCER, Limit::AtLeast(0.95)),
    Target::beside("speed of a stream, at least 0.95 × the relay's", streams::SECTION, "gb_per_s", RELAY, Limit::AtLeast(0.95)),
    Target::beside("CPU time of a stream, at most 1.3 × the relay's", streams::SECTION, "cpu_s_per_gb", RELAY, Limit::AtMost(1.3)),
    Target::beside("speed of a stream with one masked column of ten, at least 0.6 × the relay's", VALUES, "gb_per_s", RELAY, Limit::AtLeast(0.6))
        .of(streams::ONE_MASKED),
    Target::beside("speed of a stream with all detectors on, at least 0.35 × the relay's", VALUES, "gb_per_s", RELAY, Limit::AtLeast(0.35))
        .of("all detectors"),
    Target::beside("added 99th percentile at 16 clients, at most 1.5 × the relay's", latency::SECTION, "added_p99_ms", RELAY, Limit::AtMost(1.5)),
    Target::beside("CPU time of a login, at most 1.5 × PgBouncer's", logins::SECTION, "cpu_us", PGBOUNCER, Limit::AtMost(1.5)),
    Target::within("memory of an idle session, at most 24 KiB plain", idle::SECTION, "plain", "kib_per_session", 24.0),
    Target::within("memory of an idle session, at most 40 KiB with TLS", idle::SECTION, "TLS", "kib_per_session", 40.0),
    Target::within("first sight of a statement of up to eight pairs, at most 300 µs", statements::SECTION, "", "first_sight_us", 300.0),
    Target::within("recording of a short statement, at most 250 bytes", statements::SECTION, "recording statements", "recording_bytes", 250.0),
    Target::within(
        "from a revocation's answer to the cut of what ran, 99th percentile among 1,000 sessions, at most 250 ms",
        revocation::SECTION,
        "one of",
        "cut_p99_ms",
        250.0,
    ),
    Target::within(
        "from a revocation's answer until all of 1,000 sessions are gone at the target, at most 250 ms",
        revocation::SECTION,
        "1000 sessions",
        "all_cut_ms",
        250.0,
    ),
    Target::beside("speed of a gibibyte over SSH, at least 0.65 × direct", ssh::SECTION, "gb_per_s", DIRECT, Limit::AtLeast(0.65)),
    Target::within("CPU time of a gibibyte over SSH, at most 1.5 s", ssh::SECTION, "", "cpu_s_per_gb", 1.5),
    Target::beside("connecting and running a command over SSH, at most 0.75 × direct", ssh::SECTION, "connect_ms", DIRECT, Limit::AtMost(0.75)),
    Target {
        lane: COUNTERSIGN_FULL,
        ..Target::within("memory of an idle session over SSH, at most 256 KiB", ssh::SECTION, "", "kib_per_session", 256.0)
    },
    Target::grown("CPU time of a transaction when much is there, at most 1.1 × that with little", "cpu_us", Some(SMALL), 1.1),
    Target::grown("CPU time of a login when much is there, at most 1.1 × that with little", "login_cpu_us", Some(SMALL), 1.1),
    Target::grown(
        "the first statement of a database with 100,000 relations or tables, its catalog read before, at most 2 s",
        "snapshot_ms",
        None,
        2_000.0,
    ),
    Target::grown("memory that this takes at the most, at most 256 MiB", "snapshot_mib", None, 256.0),
    Target::grown("a search over 10 million recorded statements, at most 300 ms", "search_ms", None, 300.0),
];

impl Target {
    fn is_met_by(&self, value: f64) -> bool {
        match (self.against, self.limit) {
            (None, _) => value <= 1.0,
            (Some(_), Limit::AtMost(limit)) => value <= limit,
            (Some(_), Limit::AtLeast(limit)) => value >= limit,
        }
    }

    /// The value of each case it is about: the ratio to what it is told against, else the share of the limit.
    fn values(&self, results: &Results) -> Vec<(String, f64)> {
        let about = |(case, transport): &(String, String)| case.starts_with(self.cases) || transport == self.cases;
        let cases = results.cases(self.section).into_iter().filter(about);
        let value = |(case, transport): (String, String)| {
            let key = key(self.section, &case, &transport, self.measure, self.lane);
            let value = match (self.against, self.limit) {
                (Some(against), _) => results.ratio(&key, against)?.median,
                (None, Limit::AtMost(limit) | Limit::AtLeast(limit)) => Spread::of(results.values(&key))?.median / limit,
            };
            Some((format!("{case}, {transport}"), value))
        };
        cases.filter_map(value).collect()
    }

    /// A row: the words, in how many cases it is met, and the case that is furthest from it.
    fn row(&self, results: &Results) -> Option<[String; 4]> {
        let mut values = self.values(results);
        values.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        if matches!(self.limit, Limit::AtLeast(_)) {
            values.reverse();
        }
        let met = values.iter().filter(|(_, value)| self.is_met_by(*value)).count();
        let told = |value: f64| if self.against.is_some() { number(value) } else { format!("{} of it", number(value)) };
        let (_, middle) = values.get(values.len() / 2)?;
        let (worst, value) = values.last()?;
        let furthest = if values.len() > 1 { format!("{} ({worst})", told(*value)) } else { told(*value) };
        Some([self.words.to_owned(), format!("{met} of {}", values.len()), told(*middle), furthest])
    }
}

/// The targets with what was reached.
pub(super) fn targets(results: &Results) -> String {
    let rows: Vec<[String; 4]> = TARGETS.iter().filter_map(|target| target.row(results)).collect();
    markdown(&["target", "met in", "median case", "furthest from it"], &rows)
}

/// Writes the tables into the document, each between its marks.
pub(super) fn write(results: &Results) -> Outcome<()> {
    let file = workspace().join(DOCUMENT);
    let mut text = fs::read_to_string(&file).map_err(|error| format!("cannot read {DOCUMENT}: {error}"))?;
    for (name, table) in tables(results) {
        text = replaced(&text, "measured", name, &table).ok_or_else(|| format!("{DOCUMENT} has no place for the table of {name}"))?;
    }
    fs::write(&file, text).map_err(|error| format!("cannot write {DOCUMENT}: {error}"))
}

fn tables(results: &Results) -> Vec<(&'static str, String)> {
    let ours = [COUNTERSIGN, COUNTERSIGN_FULL, HAPROXY, RELAY];
    let beside_the_relay = [COUNTERSIGN, COUNTERSIGN_FULL, HAPROXY, PGBOUNCER];
    let one_each = [COUNTERSIGN, HAPROXY, RELAY];
    vec![
        ("targets", targets(results)),
        ("queries", ratios(results, queries::SECTION, "cpu_us", PGBOUNCER, &ours)),
        ("throughput", ratios(results, queries::SECTION, "tps", PGBOUNCER, &ours)),
        ("streams", ratios(results, streams::SECTION, "cpu_s_per_gb", RELAY, &beside_the_relay)),
        ("speed", ratios(results, streams::SECTION, "gb_per_s", RELAY, &beside_the_relay)),
        ("speed of values", ratios(results, VALUES, "gb_per_s", RELAY, &[COUNTERSIGN])),
        ("values", ratios(results, VALUES, "cpu_s_per_gb", RELAY, &[COUNTERSIGN])),
        ("logins", ratios(results, logins::SECTION, "cpu_us", PGBOUNCER, &one_each)),
        ("latency", ratios(results, latency::SECTION, "added_p99_ms", RELAY, &beside_the_relay)),
        ("idle", ratios(results, idle::SECTION, "kib_per_session", PGBOUNCER, &one_each)),
        ("ssh speed", ratios(results, ssh::SECTION, "gb_per_s", DIRECT, &[COUNTERSIGN, ssh::PROXY_JUMP])),
        ("ssh connecting", ratios(results, ssh::SECTION, "connect_ms", DIRECT, &[COUNTERSIGN, ssh::PROXY_JUMP])),
        ("growth", ratios(results, growth::SECTION, "cpu_us", SMALL, &[GROWN])),
        ("growth of logins", ratios(results, growth::SECTION, "login_cpu_us", SMALL, &[GROWN])),
    ]
}

/// A row for each case: the ratio of each lane to the one it is told against.
fn ratios(results: &Results, section: &str, measure: &str, against: &str, lanes: &[&str]) -> String {
    let head = [&["case"], lanes].concat();
    let row = |(case, transport): &(String, String)| {
        let cell = |lane: &&str| {
            let ratio = results.ratio(&key(section, case, transport, measure, lane), against);
            ratio.map_or_else(|| "–".to_owned(), |it| format!("{} ({}–{})", number(it.median), number(it.min), number(it.max)))
        };
        std::iter::once(format!("{case}, {transport}")).chain(lanes.iter().map(cell)).collect()
    };
    // A section may have cases of other measures.
    let rows: Vec<Vec<String>> =
        results.cases(section).iter().map(row).filter(|row: &Vec<String>| row.iter().skip(1).any(|cell| cell != "–")).collect();
    markdown(&head, &rows)
}

fn key(section: &str, case: &str, transport: &str, measure: &str, lane: &str) -> Key {
    let [section, case, transport, measure, lane] = [section, case, transport, measure, lane].map(str::to_owned);
    Key { section, case, transport, measure, lane }
}

/// Two digits behind the point, fewer of what is large.
fn number(value: f64) -> String {
    if value.abs() >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn markdown<R: AsRef<[String]>>(head: &[&str], rows: &[R]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let rule = vec!["---"; head.len()];
    let rows = rows.iter().map(|row| line(row.as_ref().iter().map(String::as_str).collect()));
    [line(head.to_vec()), line(rule)].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        for (case, ours) in [("simple 1", 1.1), ("simple 16", 1.3)] {
            results.add(key("queries", case, "plain", "cpu_us", COUNTERSIGN), ours * 7.0);
            results.add(key("queries", case, "plain", "cpu_us", PGBOUNCER), 7.0);
        }
        results
    }

    #[test]
    fn a_target_names_the_case_that_is_furthest_from_it() {
        let row = TARGETS.first().and_then(|target| target.row(&results())).unwrap();
        assert_eq!(row, ["CPU time of a transaction, at most 1.2 × PgBouncer's", "1 of 2", "1.30", "1.30 (simple 16, plain)"]);
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let table = ratios(&results(), "queries", "cpu_us", PGBOUNCER, &[COUNTERSIGN, RELAY]);
        assert_eq!(table.lines().nth(2), Some("| simple 1, plain | 1.10 (1.10–1.10) | – |"));
    }
}
