//! What the fuzz targets of this crate run, and the replay of what they found: statements and policy files that a stranger wrote go in, and a promise
//! that does not hold panics.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use model::{Action, Object, Pair, Understanding};

use crate::{
    Files, Version,
    classify::{
        postgres::{ParameterValue, SessionView, Statement, catalog::Catalog, classify, classify_noting, shape::Shape},
        ssh,
    },
    detect::{Detectors, Entity, Hints},
    fixtures, masking, run_tests,
};

static CATALOG: LazyLock<Catalog> = LazyLock::new(fixtures::catalog);

/// Settings of the session, then a place and a byte to put there, then a statement: it means the same whenever it is asked, places of secrets stand in
/// it, and what the changed statement is taken to mean is what it means.
pub fn statement(data: &[u8]) {
    let Some((&[flags, place, byte], text)) = data.split_first_chunk() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let encodings = ["UTF8", "SQL_ASCII", "LATIN1", "SJIS"];
    let view = SessionView {
        standard_conforming_strings: flags & 1 == 0,
        client_encoding: Arc::from(encodings[usize::from(flags >> 1 & 3)]),
        temporary_schema: (flags & 8 > 0).then(|| Arc::from("pg_temp_3")),
        ..SessionView::default()
    };
    let parameters = [ParameterValue::Text("5".to_owned()), ParameterValue::Null, ParameterValue::Unreadable];
    let parameters = (flags & 16 > 0).then_some(&parameters[..]);
    let (facts, likeness) = classify_noting(&Statement { text, parameters }, &CATALOG, &view);
    assert_eq!(classify(&Statement { text, parameters }, &CATALOG, &view), facts);
    for &(begin, end) in &facts.secret_spans {
        assert!(begin <= end && end as usize <= text.len(), "a secret from {begin} to {end} in {} bytes", text.len());
    }
    // Nothing else is ever taken for another: the place of a syntax error is its own, and names mean what they mean at the time.
    if facts.understanding != Understanding::Full || !facts.effects.names.is_empty() {
        return;
    }
    let Some(changed) = changed(text, place, byte) else { return };
    let (mut known, mut shape) = (Shape::default(), Shape::default());
    let alike = known.of(text, &view) == shape.of(&changed, &view);
    let value = |at: usize| parameters.map_or(ParameterValue::Null, |parameters| parameters[at].clone());
    if alike && likeness.holds(&shape, &changed, parameters.map(<[_]>::len), &value) {
        assert_eq!(classify(&Statement { text: &changed, parameters }, &CATALOG, &view), facts, "{text} taken for {changed}");
    }
}

/// The longest text that [`expanded`] makes, in bytes: up to it, facts have limits of time and memory.
pub const FACTS_BYTES_MAX: usize = 1 << 20;

/// An input of [`facts_of`] that is long where few bytes say so: of what stands between two `0x1e`, each begins with itself, or with `0x1d` and how often it
/// is repeated.
#[must_use]
pub fn expanded(data: &[u8], most: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for part in data.split(|byte| *byte == 0x1e) {
        let (times, unit) = match part {
            [0x1d, high, low, unit @ ..] => (usize::from(*high) << 8 | usize::from(*low), unit),
            unit => (1, unit),
        };
        let room = most.saturating_sub(text.len()) / unit.len().max(1);
        for _ in 0..times.min(room) {
            text.extend_from_slice(unit);
        }
    }
    text
}

/// Settings of the session, then a statement: it has facts.
pub fn facts_of(data: &[u8]) {
    let Some((&flags, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let view = SessionView { standard_conforming_strings: flags & 1 == 0, ..SessionView::default() };
    let parameters = [ParameterValue::Text("5".to_owned()), ParameterValue::Null, ParameterValue::Unreadable];
    let parameters = (flags & 2 > 0).then_some(&parameters[..]);
    let facts = classify(&Statement { text, parameters }, &CATALOG, &view);
    assert!(!facts.pairs.is_empty(), "it asks for nothing");
}

/// As [`facts_of`], of an input that is [`expanded`]. What it takes is measured by the program that fuzzes; a replay stops short of what takes long where
/// nothing is optimised.
pub fn facts(data: &[u8]) {
    facts_of(&expanded(data, FACTS_BYTES_MAX >> 6));
}

/// No message carries a text with a NUL inside.
fn changed(text: &str, place: u8, byte: u8) -> Option<String> {
    if byte == 0 || text.contains('\0') {
        return None;
    }
    let mut bytes = text.as_bytes().to_vec();
    *bytes.get_mut(usize::from(place))? = byte;
    String::from_utf8(bytes).ok()
}

/// A command: places of secrets stand in it, it means the same whenever it is asked, and the same run by a shell of its own.
pub fn command(data: &[u8]) {
    let facts = ssh::exec(data);
    assert_eq!(ssh::exec(data), facts);
    let mut end = 0;
    for &(from, to) in &facts.secret_spans {
        assert!(end <= from && from < to && to as usize <= data.len(), "a secret from {from} to {to} in {} bytes", data.len());
        end = to;
    }
    assert_eq!(facts.asks(Action::Unreadable), facts.understanding != Understanding::Full);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let again = ssh::exec(format!("sh -c '{}'", text.replace('\'', "'\\''")).as_bytes());
    if facts.understanding == Understanding::Full && again.understanding == Understanding::Full && facts.statements > 0 {
        let mut pairs = facts.pairs.clone();
        pairs.retain(|pair| pair.action != Action::Connect);
        pairs.push(Pair { action: Action::Execute, object: Object::Program { program: Arc::from("sh") } });
        pairs.sort();
        pairs.dedup();
        assert_eq!(again.pairs, pairs, "{text:?} in a shell of its own");
    }
}

/// Names and texts in turn, a NUL between them: a version is loaded and its tests run, or every problem says where in its file it is.
pub fn policy_files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let mut files = Files::new();
    while let (Some(name), Some(text)) = (parts.next(), parts.next()) {
        files.insert(name.to_owned(), text.to_owned());
    }
    match Version::load(&files) {
        Ok(version) => {
            let _ = (version.doubts(), version.looks_at_the_clock());
            let _ = run_tests(&version, &BTreeMap::new(), fixtures::now());
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let lines = files.get(&problem.file).map_or(1, |text| text.matches('\n').count() + 1);
                assert!((1..=lines).contains(&(problem.line as usize)) && problem.column >= 1, "{problem}");
            }
        }
    }
}

/// A name, a NUL, then a text and where it is cut: what is found lies in it, in order and apart, and is the same in pieces as in the whole.
pub fn detect(data: &[u8]) {
    let Some((&[first, second], rest)) = data.split_first_chunk() else { return };
    let (name, text) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(0));
    let hints = std::str::from_utf8(name).map_or(Hints::NONE, |name| Hints::of([name]));
    let (detectors, mut found) = (Detectors::new(Entity::ALL), Vec::new());
    detectors.scan(text, hints, &mut found);
    let mut end = 0;
    for finding in &found {
        assert!(end <= finding.start && finding.start < finding.end && finding.end <= text.len() as u64, "{finding:?} in {} bytes", text.len());
        end = finding.end;
    }
    let (mut stream, mut in_pieces) = (detectors.stream(hints), Vec::new());
    let mut rest = text;
    for size in [usize::from(first), usize::from(second)].into_iter().cycle() {
        let (piece, more) = rest.split_at((size + 1).min(rest.len()));
        stream.feed(piece, &mut in_pieces);
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    stream.finish(&mut in_pieces);
    assert_eq!(in_pieces, found);
}

/// A type, a mask and a form, then a value: what is shown of it has the type's size in binary, is text where text went in, and is the same whenever it is asked; a redacted
/// text is stars alone.
pub fn mask(data: &[u8]) {
    masking::fuzzed::mask(data);
}

/// Output of a command, as it is masked.
pub fn output(data: &[u8]) {
    masking::fuzzed_output(data);
}

#[cfg(test)]
mod tests {
    use xtask::fuzz::replay;

    use super::*;

    #[test]
    fn statements_of_strangers_are_replayed() {
        assert!(replay("statement", statement).unwrap() > 1);
    }

    #[test]
    fn commands_of_strangers_are_replayed() {
        assert!(replay("command", command).unwrap() > 1);
    }

    #[test]
    fn long_statements_of_strangers_are_replayed() {
        assert!(replay("facts", facts).unwrap() > 100);
        assert_eq!(expanded(b"a\x1e\x1d\x00\x03bc\x1ed", 100), b"abcbcbcd");
        assert_eq!(expanded(b"\x1d\xff\xffbc", 5), b"bcbc");
    }

    #[test]
    fn values_of_strangers_are_replayed() {
        assert!(replay("detect", detect).unwrap() > 1);
        assert!(replay("mask", mask).unwrap() > 1);
        assert!(replay("output", output).unwrap() > 1);
    }

    #[test]
    fn policy_files_of_strangers_are_replayed() {
        assert!(replay("policy_files", policy_files).unwrap() > 1);
    }
}
