//! Parts of documents that are made by the code they describe.

use std::fs;

use crate::{Outcome, command::workspace};

/// Set, the parts are written; otherwise they are compared.
const WRITE: &str = "COUNTERSIGN_WRITE_DOCS";

/// Whether a document says, between the marks of each part, what it should. `document`: its path in the workspace; `parts`: name and text.
///
/// # Errors
/// It says something else, cannot be read, or has no place for a part.
pub fn check(document: &str, parts: &[(&str, String)]) -> Outcome<()> {
    let file = workspace().join(document);
    let there = fs::read_to_string(&file).map_err(|error| format!("cannot read {document}: {error}"))?;
    let mut made = there.clone();
    for (part, text) in parts {
        made = replaced(&made, "generated", part, text).ok_or_else(|| format!("{document} has no place for {part}"))?;
    }
    if made == there {
        return Ok(());
    }
    if std::env::var_os(WRITE).is_some() {
        return fs::write(&file, made).map_err(|error| format!("cannot write {document}: {error}"));
    }
    Err(format!("{document} is out of date: run this test with {WRITE}=1 and commit it"))
}

/// The text with what stands between the marks of a part replaced.
pub(crate) fn replaced(text: &str, kind: &str, name: &str, part: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {kind}: {name} -->\n"), "<!-- end -->");
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{part}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_stands_between_its_marks() {
        let text = "a\n<!-- measured: queries -->\nold\n<!-- end -->\nb\n";
        assert_eq!(replaced(text, "measured", "queries", "new\n").unwrap(), "a\n<!-- measured: queries -->\nnew\n<!-- end -->\nb\n");
        assert_eq!(replaced(text, "generated", "queries", "new\n"), None);
        assert!(check("README.md", &[("nothing", String::new())]).is_err_and(|why| why.contains("no place")));
    }
}
