//! Finds sensitive values in the texts of NDJSON from standard input: `{"id", "hints": [...], "text", "chars": bool}`.

use std::io::{BufRead, Write};

use policy::detect::{Detectors, Entity, Hints};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let detectors = Detectors::new(Entity::ALL);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let input: Value = serde_json::from_str(&line)?;
        writeln!(out, "{}", answer(&detectors, &input))?;
    }
    Ok(out.flush()?)
}

fn answer(detectors: &Detectors, input: &Value) -> Value {
    let field = |name: &str| input.get(name);
    let text = field("text").and_then(Value::as_str).unwrap_or_default();
    let names = field("hints").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let hints = Hints::of(names.iter().filter_map(Value::as_str));
    let chars = field("chars").and_then(Value::as_bool).unwrap_or(false);
    let place = |offset: u64| {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if chars { text.char_indices().take_while(|(index, _)| *index < offset).count() } else { offset }
    };
    let mut found = Vec::new();
    detectors.scan(text.as_bytes(), hints, &mut found);
    let findings: Vec<_> = found
        .iter()
        .map(|finding| {
            json!({"start": place(finding.start), "end": place(finding.end), "entity": finding.entity.name(), "rule": finding.rule, "checked": finding.checked})
        })
        .collect();
    json!({"id": field("id"), "findings": findings})
}
