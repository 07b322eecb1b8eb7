//! What was found in the sampled values of one column.

use std::collections::BTreeMap;

use model::classes::JsonPath;
use serde_json::Value;

use crate::detect::{Detectors, Entity, Finding, Hints};

/// Of a value so much must be found for it to be that as a whole, in percent of its bytes.
const WHOLE_PERCENT: usize = 60;
/// Places in documents that are told apart; in more nobody would want to classify each.
const MAX_PATHS: usize = 1_000;

/// Counts, by place in the value: none is the value itself.
#[derive(Debug, Default)]
pub(super) struct Tally {
    values: u64,
    places: BTreeMap<Option<JsonPath>, Place>,
    /// Values in documents that were not looked through: no path leads there, or there are too many.
    untold: u64,
}

/// What was found at one place.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// How many values stood there.
    pub(super) values: u64,
    pub(super) found: BTreeMap<Entity, Found>,
}

/// How many values held something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// As a whole.
    pub(super) whole: u64,
    /// Among other things.
    pub(super) within: u64,
    /// With a checksum or an unmistakable form.
    pub(super) checked: u64,
}

impl Tally {
    /// How many values there were.
    pub(super) const fn values(&self) -> u64 {
        self.values
    }

    /// How many values in documents were not looked through.
    pub(super) const fn untold(&self) -> u64 {
        self.untold
    }

    pub(super) fn places(&self) -> impl Iterator<Item = (&Option<JsonPath>, &Place)> {
        self.places.iter()
    }

    /// Counts a value.
    pub(super) fn take(&mut self, detectors: &Detectors, hints: Hints, value: &str) {
        self.values += 1;
        self.count(detectors, hints, None, value);
    }

    /// Counts each text and number of a document where it stands. What is no document is counted as text.
    pub(super) fn take_document(&mut self, detectors: &Detectors, hints: Hints, value: &str) {
        let Ok(document) = serde_json::from_str::<Value>(value) else { return self.take(detectors, hints, value) };
        self.values += 1;
        self.leaves(detectors, hints, &document, &mut String::from("$"));
    }

    /// The parser bounds how deep documents are.
    fn leaves(&mut self, detectors: &Detectors, hints: Hints, value: &Value, path: &mut String) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::String(text) => self.leaf(detectors, hints, path, text),
            Value::Number(number) => self.leaf(detectors, hints, path, &number.to_string()),
            // Paths lead through elements of lists without saying so.
            Value::Array(elements) => elements.iter().for_each(|element| self.leaves(detectors, hints, element, path)),
            Value::Object(members) => {
                for (name, member) in members {
                    let end = path.len();
                    path.push_str(".\"");
                    path.push_str(name);
                    path.push('"');
                    self.leaves(detectors, hints.with(Hints::of([name.as_str()])), member, path);
                    path.truncate(end);
                }
            }
        }
    }

    fn leaf(&mut self, detectors: &Detectors, hints: Hints, path: &str, text: &str) {
        let path = match path {
            "$" => None,
            // A name that cannot be written in a path: it can be classified only with what is around it.
            path => match path.parse::<JsonPath>() {
                Ok(path) => Some(path),
                Err(_) => {
                    self.untold += 1;
                    return;
                }
            },
        };
        if self.places.len() < MAX_PATHS || self.places.contains_key(&path) {
            self.count(detectors, hints, path, text);
        } else {
            self.untold += 1;
        }
    }

    fn count(&mut self, detectors: &Detectors, hints: Hints, path: Option<JsonPath>, text: &str) {
        let mut findings = Vec::new();
        detectors.scan(text.as_bytes(), hints, &mut findings);
        let place = self.places.entry(path).or_default();
        place.values += 1;
        let size = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).count();
        for entity in Entity::ALL {
            let mut found = findings.iter().filter(|finding| finding.entity == *entity).peekable();
            if found.peek().is_none() {
                continue;
            }
            let of = place.found.entry(*entity).or_default();
            let (mut bytes, mut checked) = (0, true);
            for finding in found {
                bytes += length(finding);
                checked &= finding.checked;
            }
            if bytes * 100 >= size * WHOLE_PERCENT {
                of.whole += 1;
                of.checked += u64::from(checked);
            } else {
                of.within += 1;
            }
        }
    }
}

fn length(finding: &Finding) -> usize {
    usize::try_from(finding.end - finding.start).unwrap_or(usize::MAX)
}
