//! From text to tree, and how that can fail.

use pg_query::protobuf::{ScanToken, Token};

use super::{SessionView, weight};

/// Most tokens that can nest for which half of a stack of 2 MiB is known to suffice; a thread with a larger one is made for what has more. The
/// code that decodes the tree takes tens of KiB a level where it is not optimised; optimised, 300 nested subqueries, two tokens each, were measured
/// to fit 2 MiB.
const SHALLOW_TOKENS: usize = if cfg!(debug_assertions) { 16 } else { 128 };

/// Client encodings in which a byte of a longer character can be an ASCII one, a quote or backslash among them
/// (<https://www.postgresql.org/docs/current/multibyte.html>, "server: no").
const SHIFTING_ENCODINGS: &[&str] = &["BIG5", "GB18030", "GBK", "JOHAB", "SJIS", "SHIFT_JIS_2004", "UHC"];

/// Why the text may mean something else to the server than to the parser here, if it may.
pub(super) fn lexing_doubt(text: &str, view: &SessionView) -> Option<&'static str> {
    if text.contains('\0') {
        return Some("it holds a zero byte");
    }
    if !view.standard_conforming_strings && text.contains('\\') {
        return Some("standard_conforming_strings is off and it holds a backslash");
    }
    let encoding = view.client_encoding.as_ref();
    if text.is_ascii() || matches!(encoding, "UTF8" | "SQL_ASCII") {
        return None;
    }
    if SHIFTING_ENCODINGS.contains(&encoding) {
        return Some("its client encoding can hide a quote inside a character");
    }
    // The bytes outside ASCII spell other names at the server than they do here; inside strings and comments they change nothing.
    let named = tokens(text)
        .is_none_or(|tokens| tokens.iter().any(|token| matches!(token.token(), Token::Ident | Token::Uident) && !slice(text, token).is_ascii()));
    named.then_some("it holds names in an encoding other than UTF8")
}

/// Whether its tree is certainly shallow: a level of the tree needs a word or a sign of its own. Strings, quoted names, numbers and comments count as little as they can.
pub(super) fn is_shallow(text: &str) -> bool {
    let mut tokens = 0_usize;
    let mut in_word = false;
    for byte in text.bytes() {
        let word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        let sign = !word && !byte.is_ascii_whitespace() && !matches!(byte, b',' | b'.' | b';');
        tokens += usize::from((word && !in_word) || sign);
        in_word = word;
        if tokens > SHALLOW_TOKENS {
            return false;
        }
    }
    true
}

/// Signs in a row that the scanner is given. Of `+` and `-` it makes operators of one sign (PostgreSQL's `scan.l`: "cannot be the last char of a
/// multi-char operator"), and for each it reads all that follow: 65,535 of them took it eleven seconds. So it does for each `/*` in a row of signs
/// (`xcstart`), where comments are nested or follow one another: 65,535 took more than twenty.
const MAX_SIGNS: usize = 63;

/// Whether the scanner would take longer for it than its length says, wherever in the text that stands: two `-` begin a comment, which it takes at once.
pub(super) fn scans_slowly(text: &str) -> bool {
    let (mut signs, mut comments, mut before) = (0_usize, 0_usize, 0);
    for byte in text.bytes() {
        signs = match byte {
            b'+' => signs + 1,
            b'-' if before != b'-' => signs + 1,
            _ => 0,
        };
        comments = match byte {
            b'*' if before == b'/' => comments + 1,
            // `op_chars`, of which operators are made.
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' => comments,
            _ => 0,
        };
        if signs > MAX_SIGNS || comments > MAX_SIGNS {
            return true;
        }
        before = byte;
    }
    false
}

/// The tokens of a text, comments among them; none if it cannot be scanned, or has so many that it is not.
pub(super) fn tokens(text: &str) -> Option<Vec<ScanToken>> {
    if scans_slowly(text) || weight::has_too_many_tokens(text) {
        return None;
    }
    pg_query::scan(text).ok().map(|scanned| scanned.tokens)
}

/// The text of a token.
pub(super) fn slice<'t>(text: &'t str, token: &ScanToken) -> &'t str {
    let start = usize::try_from(token.start).unwrap_or(0);
    let end = usize::try_from(token.end).unwrap_or(0);
    text.get(start..end).unwrap_or_default()
}

/// What the parser said against a text.
pub(super) enum Refused {
    /// It is not SQL: PostgreSQL's message, and the place in characters from 1, 0 if not known.
    Syntax(String, u32),
    /// It could not be handled here, whatever the server would do.
    Limit(&'static str),
}

/// Of what [`scans_slowly`].
pub(super) const TOO_MANY_SIGNS: &str = "it has more signs in a row than anybody writes";

/// The tree of a text.
pub(super) fn tree(text: &str) -> Result<pg_query::protobuf::ParseResult, Refused> {
    if scans_slowly(text) {
        return Err(Refused::Limit(TOO_MANY_SIGNS));
    }
    match pg_query::parse(text, pg_query::ParserOptions::DEFAULT) {
        Ok(parsed) => Ok(parsed.protobuf),
        Err(pg_query::Error::Parse(message)) if is_limit(&message) => Err(Refused::Limit("it is nested too deeply")),
        Err(pg_query::Error::Parse(message)) => {
            let position = position(text, &message);
            Err(Refused::Syntax(message, position))
        }
        Err(_) => Err(Refused::Limit("its tree could not be read")),
    }
}

fn is_limit(message: &str) -> bool {
    ["stack depth", "nested too deeply", "memory exhausted", "out of memory", "too deep", "Failed to"].iter().any(|sign| message.contains(sign))
}

/// How many places an error may have for it to be looked for.
const MAX_CANDIDATES: usize = 24;

/// Where the error is. The parser gives no place, but it stops at the first token that cannot follow: a text cut behind that token fails alike,
/// cut behind an earlier one it does not.
fn position(text: &str, message: &str) -> u32 {
    if message.ends_with("at end of input") {
        return characters(text, text.len());
    }
    let Some(near) = message.split_once("at or near \"").and_then(|(_, rest)| rest.strip_suffix('"')) else { return 0 };
    let candidates: Vec<usize> = text.match_indices(near).map(|(at, _)| at).take(MAX_CANDIDATES + 1).collect();
    if let [only] = candidates.as_slice() {
        return characters(text, *only);
    }
    if candidates.len() > MAX_CANDIDATES || text.len() > 16_384 || near.is_empty() {
        return 0;
    }
    let fails_alike = |at: &&usize| {
        let cut = text.get(..**at + near.len()).unwrap_or_default();
        matches!(pg_query::parse(cut, pg_query::ParserOptions::DEFAULT), Err(pg_query::Error::Parse(again)) if again == message)
    };
    candidates.iter().find(fails_alike).map_or(0, |at| characters(text, *at))
}

fn characters(text: &str, bytes: usize) -> u32 {
    let before = text.get(..bytes).unwrap_or_default().chars().count();
    u32::try_from(before + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is refused before the scanner sees it, which would take minutes for it.
    #[test]
    fn signs_without_end_are_not_scanned_and_tables_in_text_are() {
        for unit in ["+", "+-", "-+", "/*", "/**/", "=/**/", "/*+", "*//*"] {
            let text = format!("SELECT 1{}1", unit.repeat(500_000));
            assert!(tokens(&text).is_none() && matches!(tree(&text), Err(Refused::Limit(_))), "{unit}");
        }
        let table = format!("SELECT '+{0}+{0}+' -- {0}\n/* {0} */ /{1}/ {2}", "-".repeat(200), "*".repeat(200), "/* a */\n".repeat(200));
        assert!(tokens(&table).is_some() && tree(&table).is_ok());
        assert!(tokens(&format!("SELECT {}1", "+".repeat(MAX_SIGNS))).is_some());
    }
}
