//! Rust source as far as the checks need it: the code without comments and literals, and which of it is tests.

/// A Rust file with the content of comments, strings and character literals blanked out; lines stay where they were.
#[derive(Debug)]
pub(super) struct Source {
    code: String,
    tests: Vec<std::ops::Range<usize>>,
}

impl Source {
    /// Reads a file. `all_tests`: the whole of it is test code.
    pub(super) fn read(text: &str, all_tests: bool) -> Self {
        let code = blank(text);
        let whole = 0..code.len();
        let tests = if all_tests { vec![whole] } else { test_modules(&code) };
        Self { code, tests }
    }

    /// The lines of code, with their number from 1 and whether they are tests.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let mut start = 0;
        self.code.split('\n').enumerate().map(move |(index, line)| {
            let at = start;
            start += line.len() + 1;
            (index + 1, line, self.tests.iter().any(|range| range.contains(&at)))
        })
    }

    /// Every place of `needle` in the code as whole words: line number from 1, whether it is in tests, and what follows it.
    pub(super) fn places<'a>(&'a self, needle: &'a str) -> impl Iterator<Item = Place<'a>> {
        self.code.match_indices(needle).filter_map(move |(at, _)| {
            let (before, from) = self.code.split_at_checked(at)?;
            let after = from.get(needle.len()..)?;
            let starts = !needle.starts_with(is_word) || !before.ends_with(is_word);
            let ends = !needle.ends_with(is_word) || !after.starts_with(is_word);
            let line = before.matches('\n').count() + 1;
            (starts && ends).then(|| Place { line, in_tests: self.tests.iter().any(|range| range.contains(&at)), before, after })
        })
    }
}

/// Where something was found.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) line: usize,
    pub(super) in_tests: bool,
    pub(super) before: &'a str,
    pub(super) after: &'a str,
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The byte ranges of what `#[cfg(test)]` stands before: an item up to its closing brace or semicolon.
fn test_modules(code: &str) -> Vec<std::ops::Range<usize>> {
    let item_end = |start: usize| {
        let mut depth = 0usize;
        for (offset, c) in code.get(start..)?.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth <= 1 => return Some(start + offset + 1),
                '}' => depth -= 1,
                ';' if depth == 0 => return Some(start + offset + 1),
                _ => {}
            }
        }
        None
    };
    code.match_indices("#[cfg(test)]").map(|(start, _)| start..item_end(start).unwrap_or(code.len())).collect()
}

/// Replaces everything in comments and literals by spaces; line feeds stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = literal_or_comment(rest, out.chars().next_back());
        let taken = length.max(first.len_utf8());
        let (part, left) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        if length == 0 {
            out.push_str(part);
        } else {
            out.extend(part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = left;
    }
    out
}

/// How many bytes of a comment or literal `text` starts with; 0 if it starts with code.
fn literal_or_comment(text: &str, before: Option<char>) -> usize {
    let until = |end: &str, from: usize| text.get(from..).and_then(|rest| rest.find(end)).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if text.starts_with('"') {
        return quoted(text);
    }
    if text.starts_with('\'') {
        return character(text);
    }
    if before.is_some_and(is_word) {
        return 0;
    }
    let after_prefix = text.trim_start_matches(['b', 'c']);
    let raw = after_prefix.strip_prefix('r').unwrap_or("");
    let hashes = raw.chars().take_while(|c| *c == '#').count();
    if raw.get(hashes..).is_some_and(|rest| rest.starts_with('"')) && text.len() - after_prefix.len() <= 1 {
        let opening = text.len() - raw.len() + hashes + 1;
        return until(&format!("\"{}", "#".repeat(hashes)), opening);
    }
    0
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let step = if rest.starts_with("/*") {
            depth += 1;
            2
        } else if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// A character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => text.get(3..).and_then(|rest| rest.find('\'')).map_or(0, |at| at + 4),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        let text = "let a = \"x // \\\" y\"; // b\n/* c /* d */ e */ let f = r#\"g \" h\"#; let i = 'j'; fn k<'l>(m: &'l u8) {} '\\'' b\"n\"";
        let code = blank(text);
        for gone in ["x", "y", " b\n", "c", "d", "e */", "g", "h", "'j'", "\"n"] {
            assert!(!code.contains(gone), "{gone:?} is still in {code:?}");
        }
        for kept in ["let a =", "let f =", "let i =", "fn k<'l>(m: &'l u8) {}"] {
            assert!(code.contains(kept), "{kept:?} is not in {code:?}");
        }
        assert_eq!(code.lines().count(), 2);
    }

    #[test]
    fn a_test_module_ends_at_its_brace() {
        let source = Source::read("fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { c() }\n}\nfn d() {}\n#[cfg(test)]\nuse e;\nfn f() {}", false);
        let tests: Vec<usize> = source.lines().filter(|(_, _, is_test)| *is_test).map(|(number, _, _)| number).collect();
        assert_eq!(tests, [2, 3, 4, 5, 7, 8]);
    }

    #[test]
    fn words_are_found_whole() {
        let source = Source::read("sleep(1); pg_sleep(2); sleeping(); tokio::time::sleep(3)", false);
        assert_eq!(source.places("sleep").count(), 2);
    }
}
