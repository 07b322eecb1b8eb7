//! Cedar's text cut into policies, so that each has its place and one that is wrong hides no other.

/// One policy of a file, from its first word or annotation to its semicolon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'f> {
    pub(crate) text: &'f str,
    /// Byte in the file where it begins.
    pub(crate) at: usize,
}

/// A word, a literal or a sign, with the byte where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'f> {
    pub(crate) text: &'f str,
    pub(crate) at: usize,
}

/// The policies of a file. Semicolons stand nowhere else in Cedar but in texts and comments.
/// <https://docs.cedarpolicy.com/policies/syntax-grammar.html>
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut begin = None;
    for token in tokens(text) {
        let from = *begin.get_or_insert(token.at);
        if token.text == ";" {
            pieces.push(piece(text, from, token.at.saturating_add(1)));
            begin = None;
        }
    }
    pieces.extend(begin.map(|from| piece(text, from, text.len())));
    pieces
}

fn piece(text: &str, from: usize, to: usize) -> Piece<'_> {
    Piece { text: text.get(from..to).unwrap_or_default(), at: from }
}

/// Every token but white space and comments. Signs are single characters: `::` is two.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(at..)?;
            let first = rest.chars().next()?;
            let begin = at;
            let length = token_length(rest, first);
            at = at.saturating_add(length);
            if first.is_whitespace() || rest.starts_with("//") {
                continue;
            }
            return Some(Token { text: rest.get(..length).unwrap_or(rest), at: begin });
        }
    })
}

/// In bytes, at least one character.
fn token_length(rest: &str, first: char) -> usize {
    if rest.starts_with("//") {
        return rest.find(['\n', '\r']).unwrap_or(rest.len());
    }
    if first == '"' {
        return text_length(rest);
    }
    if first.is_alphanumeric() || first == '_' {
        return rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    }
    first.len_utf8()
}

fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at.saturating_add(1),
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_texts_and_comments_end_no_policy() {
        let text = "// a; b\n@reason(\"x; \\\" y\") permit (principal, action, resource); // ;\nforbid(principal, action, resource);\n";
        let found: Vec<(usize, &str)> = pieces(text).iter().map(|p| (p.at, p.text)).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].1.starts_with("@reason") && found[0].1.ends_with("resource);"));
        assert_eq!(found[1].1, "forbid(principal, action, resource);");
        assert_eq!(&text[found[1].0..found[1].0 + 6], "forbid");
    }

    #[test]
    fn what_is_left_without_a_semicolon_is_a_piece_too() {
        assert_eq!(pieces("permit(principal").len(), 1);
        assert!(pieces(" // nothing\n").is_empty());
        assert_eq!(pieces("\"open").len(), 1);
    }
}
