//! Where a statement spells out a secret, so that the record can leave it out.
//!
//! Works on tokens, not on meaning: what is refused or not understood is recorded too.

use pg_query::protobuf::{ScanToken, Token};

use super::parse::{slice, tokens};

/// Byte ranges of literals that hold a password: after the word PASSWORD, in connection strings, in code that sets one. Cheap where the text has none.
pub(super) fn spans(text: &str) -> Vec<(u32, u32)> {
    if !may_spell(text) {
        return vec![];
    }
    let Some(tokens) = tokens(text) else {
        // It cannot be split into tokens, or into too many, so nobody can say where a secret in it ends.
        return vec![(0, u32::try_from(text.len()).unwrap_or(u32::MAX))];
    };
    let mut found = vec![];
    let mut before: [&str; 2] = ["", ""];
    for token in tokens.iter().filter(|token| !matches!(token.token(), Token::SqlComment | Token::CComment)) {
        let shown = slice(text, token);
        if is_literal(token) && (follows_password(before) || holds_secret(shown)) {
            found.push((u32::try_from(token.start).unwrap_or(0), u32::try_from(token.end).unwrap_or(u32::MAX)));
        }
        before = [before[1], shown];
    }
    found
}

/// Whether there is anything to look for.
pub(super) fn may_spell(text: &str) -> bool {
    mentions(text, "password") || text.contains("://")
}

fn is_literal(token: &ScanToken) -> bool {
    matches!(token.token(), Token::Sconst | Token::Usconst | Token::Xconst | Token::Bconst)
}

/// `PASSWORD 'x'`, `password => 'x'`, `password = 'x'`.
fn follows_password(before: [&str; 2]) -> bool {
    let word = |text: &str| text.trim_matches('"').eq_ignore_ascii_case("password");
    word(before[1]) || (word(before[0]) && matches!(before[1], "=" | "=>" | ":=" | "TO" | "to"))
}

/// A connection string with a password, or code that sets one.
fn holds_secret(literal: &str) -> bool {
    let within = literal.trim_matches(|c| matches!(c, '\'' | '"'));
    (mentions(within, "password") && within.contains(['=', '\''])) || has_url_password(literal)
}

fn has_url_password(literal: &str) -> bool {
    let Some((_, rest)) = literal.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

fn mentions(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> Vec<&str> {
        spans(text).into_iter().map(|(start, end)| &text[start as usize..end as usize]).collect()
    }

    #[test]
    fn what_is_too_much_to_be_split_into_tokens_is_hidden_whole() {
        let signs = format!("SELECT 'password' {}", "{".repeat(1 << 20));
        assert_eq!(hidden(&signs), [signs.as_str()]);
        let rows = format!("INSERT INTO accounts (password) VALUES {}('x')", "('hashed, elsewhere; ever'),".repeat(40_000));
        assert_eq!(hidden(&rows), Vec::<&str>::new());
    }

    #[test]
    fn passwords_are_found_wherever_a_statement_spells_them() {
        assert_eq!(hidden("ALTER ROLE a PASSWORD 's3cret'"), ["'s3cret'"]);
        assert_eq!(hidden("create user a encrypted password /* x */ E's\\'3' valid until 'infinity'"), ["E's\\'3'"]);
        assert_eq!(hidden("CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password 'p')"), ["'p'"]);
        assert_eq!(hidden("SELECT dblink_connect('host=h password=p')"), ["'host=h password=p'"]);
        assert_eq!(hidden("CREATE SUBSCRIPTION s CONNECTION 'postgres://u:p@h/d' PUBLICATION p"), ["'postgres://u:p@h/d'"]);
        assert_eq!(hidden("DO $$BEGIN EXECUTE 'alter role a password ''x'''; END$$"), ["$$BEGIN EXECUTE 'alter role a password ''x'''; END$$"]);
        assert_eq!(hidden("ALTER ROLE a PASSWORD 'unterminated"), ["ALTER ROLE a PASSWORD 'unterminated"]);
        assert!(hidden("SELECT password FROM users WHERE note = 'https://example.com/a'").is_empty());
        assert!(hidden("SELECT 'the password'").is_empty());
    }
}
