//! Statements without their literals.
//!
//! Follows the lexical rules of PostgreSQL's own scanner (`src/backend/parser/scan.l`,
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>): strings with their prefixes and continuation, dollar quotes,
//! numbers, nested comments, quoted identifiers. It decides nothing, so where the rules depend on a setting it does not know
//! (`standard_conforming_strings`), or a quote is never closed, it hides all that follows: INVARIANT: no byte of a literal or comment reaches the shape.

/// Longest shape kept, in bytes; what is longer ends by saying so.
const MAX_SHAPE_BYTES: usize = 64 * 1024;
/// Most distinct words of a shape that can be searched for.
const MAX_WORDS: usize = 512;
/// Longest word, in bytes; a longer one is found by its beginning. PostgreSQL's indexes hold no entry of a third of a page.
const MAX_WORD_BYTES: usize = 256;
/// Most literals of one statement that can be searched for.
const MAX_LITERALS: usize = 64;

/// A statement without its literals, and the literals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    /// The statement on one line: literals are `?`, comments gone, runs of literals and of value lists written `?, …`.
    pub(crate) text: String,
    /// Its words in lower case, sorted, without repetition.
    pub(crate) words: Vec<String>,
    /// Its literals, decoded, in order. Never to be written anywhere.
    pub(crate) literals: Vec<String>,
}

/// Takes the literals out of a statement.
pub(crate) fn shape(statement: &str) -> Shape {
    let mut lexer = Lexer { rest: statement, tokens: Vec::new(), literals: Vec::new(), gap: false };
    while lexer.step() {}
    let tokens = fold_value_lists(fold_literals(lexer.tokens));
    Shape { text: written(&tokens), words: words(&tokens), literals: lexer.literals }
}

/// The words of a text a person searches for, as they would stand among a shape's.
pub(crate) fn split_words(text: &str) -> Vec<String> {
    text.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).map(term).collect()
}

/// A word as it is kept and looked for.
fn term(word: &str) -> String {
    let mut term = word.to_lowercase();
    term.truncate(term.floor_char_boundary(MAX_WORD_BYTES));
    term
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Word(String),
    Quoted(String),
    Symbol(char),
    Literal,
    More,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    kind: Kind,
    /// Whether white space or a comment stood before it.
    gap: bool,
}

impl Token {
    fn is(&self, symbol: char) -> bool {
        self.kind == Kind::Symbol(symbol)
    }
}

struct Lexer<'a> {
    rest: &'a str,
    tokens: Vec<Token>,
    literals: Vec<String>,
    gap: bool,
}

/// How the quotes of a string are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// Backslashes are ordinary, if `standard_conforming_strings` is on as it has been since 9.1.
    Plain,
    /// `E'…'`: backslashes escape.
    Escape,
    /// `B'…'`, `X'…'`, `U&'…'`: backslashes never escape a quote.
    Raw,
}

impl Lexer<'_> {
    /// Takes one token; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if is_space(first) {
            self.skip(first.len_utf8());
            self.gap = true;
        } else if self.rest.starts_with("--") {
            self.skip(line_comment(self.rest));
            self.gap = true;
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if let Some((prefix, quoting)) = string_start(self.rest) {
            self.skip(prefix);
            self.string(quoting);
        } else if first == '"' {
            self.quoted_identifier();
        } else if first == '$' {
            self.dollar();
        } else if starts_number(self.rest) {
            self.number();
        } else if starts_identifier(first) {
            let length = self.rest.find(|c| !continues_identifier(c)).unwrap_or(self.rest.len());
            let word = self.take(length);
            self.push(Kind::Word(word));
        } else {
            self.skip(first.len_utf8());
            self.push(Kind::Symbol(first));
        }
        true
    }

    fn push(&mut self, kind: Kind) {
        let gap = std::mem::take(&mut self.gap);
        self.tokens.push(Token { kind, gap });
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn take(&mut self, bytes: usize) -> String {
        let taken = self.rest.get(..bytes).unwrap_or(self.rest).to_owned();
        self.skip(bytes);
        taken
    }

    fn literal(&mut self, value: String) {
        self.push(Kind::Literal);
        if self.literals.len() < MAX_LITERALS && !value.is_empty() {
            self.literals.push(value);
        }
    }

    /// From here on nothing is certain: hide it.
    fn give_up(&mut self) {
        self.rest = "";
        self.push(Kind::Literal);
    }

    /// Comments nest, <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-COMMENTS>.
    fn block_comment(&mut self) {
        let mut depth = 0usize;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.skip(2);
            } else {
                match self.rest.chars().next() {
                    Some(c) => self.skip(c.len_utf8()),
                    None => return self.give_up(),
                }
            }
            if depth == 0 {
                self.gap = true;
                return;
            }
        }
    }

    /// A string, after its opening quote.
    fn string(&mut self, quoting: Quoting) {
        let mut value = String::new();
        let mut backslashes = 0usize;
        loop {
            let Some(c) = self.rest.chars().next() else { return self.give_up() };
            self.skip(c.len_utf8());
            match c {
                '\\' if quoting == Quoting::Escape => {
                    let Some(escaped) = self.rest.chars().next() else { return self.give_up() };
                    self.escape(escaped, &mut value);
                    continue;
                }
                '\'' if quoting == Quoting::Plain && backslashes % 2 == 1 => return self.give_up(),
                '\'' if self.rest.starts_with('\'') => {
                    self.skip(1);
                    value.push('\'');
                }
                '\'' => match continuation(self.rest) {
                    Some(length) => self.skip(length),
                    None => return self.literal(value),
                },
                other => value.push(other),
            }
            backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        }
    }

    /// The character after a backslash in `E'…'`.
    fn escape(&mut self, escaped: char, value: &mut String) {
        let digits = |text: &str, radix: u32, most: usize| text.chars().take(most).take_while(|c| c.is_digit(radix)).count();
        let (radix, skipped, length) = match escaped {
            'x' => (16, 1, digits(self.rest.get(1..).unwrap_or_default(), 16, 2)),
            'u' => (16, 1, digits(self.rest.get(1..).unwrap_or_default(), 16, 4)),
            'U' => (16, 1, digits(self.rest.get(1..).unwrap_or_default(), 16, 8)),
            '0'..='7' => (8, 0, digits(self.rest, 8, 3)),
            _ => (0, 0, 0),
        };
        if length == 0 {
            value.push(match escaped {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            });
            return self.skip(escaped.len_utf8());
        }
        self.skip(skipped);
        let code = u32::from_str_radix(&self.take(length), radix).ok().and_then(char::from_u32);
        value.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
    }

    fn quoted_identifier(&mut self) {
        let mut name = String::new();
        self.skip(1);
        loop {
            let Some(c) = self.rest.chars().next() else { return self.give_up() };
            self.skip(c.len_utf8());
            if c == '"' {
                if !self.rest.starts_with('"') {
                    return self.push(Kind::Quoted(name));
                }
                self.skip(1);
            }
            name.push(c);
        }
    }

    /// `$1`, `$$…$$`, `$tag$…$tag$` or a lone dollar.
    fn dollar(&mut self) {
        let after = self.rest.get(1..).unwrap_or_default();
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        if digits > 0 {
            let parameter = self.take(1 + digits);
            return self.push(Kind::Word(parameter));
        }
        let Some(tag) = dollar_tag(self.rest).map(str::to_owned) else {
            self.skip(1);
            return self.push(Kind::Symbol('$'));
        };
        self.skip(tag.len());
        let Some(end) = self.rest.find(&tag) else { return self.give_up() };
        let body = self.take(end);
        self.skip(tag.len());
        self.literal(body);
    }

    fn number(&mut self) {
        let length = number_length(self.rest);
        let text = self.take(length);
        // A sign belongs to its number where nothing else can stand before it.
        if let [.., before, sign] = self.tokens.as_slice()
            && (sign.is('-') || sign.is('+'))
            && (before.is('(') || before.is(','))
        {
            self.gap = sign.gap;
            self.tokens.pop();
        }
        self.literal(text);
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

fn starts_identifier(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn continues_identifier(c: char) -> bool {
    starts_identifier(c) || c.is_ascii_digit() || c == '$'
}

fn line_comment(text: &str) -> usize {
    text.find(['\n', '\r']).unwrap_or(text.len())
}

/// A string's prefix and opening quote: how many bytes, and how it is read.
fn string_start(text: &str) -> Option<(usize, Quoting)> {
    let mut bytes = text.bytes();
    match (bytes.next()?.to_ascii_lowercase(), bytes.next(), bytes.next()) {
        (b'\'', ..) => Some((1, Quoting::Plain)),
        (b'e', Some(b'\''), _) => Some((2, Quoting::Escape)),
        (b'n', Some(b'\''), _) => Some((2, Quoting::Plain)),
        (b'b' | b'x', Some(b'\''), _) => Some((2, Quoting::Raw)),
        (b'u', Some(b'&'), Some(b'\'')) => Some((3, Quoting::Raw)),
        _ => None,
    }
}

/// After a closing quote: white space with a line feed in it, and another quote, go on with the same string. How many bytes up to its text.
fn continuation(text: &str) -> Option<usize> {
    let mut at = 0;
    let mut line = false;
    loop {
        let rest = text.get(at..)?;
        match rest.chars().next()? {
            '\'' if line => return Some(at + 1),
            c if is_space(c) => {
                line |= c == '\n' || c == '\r';
                at += 1;
            }
            '-' if line && rest.starts_with("--") => at += line_comment(rest),
            _ => return None,
        }
    }
}

/// `$tag$` at the beginning of the text.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text.get(1..)?.find('$')? + 1;
    let name = text.get(1..end)?;
    let fits = name.chars().enumerate().all(|(place, c)| starts_identifier(c) || (place > 0 && c.is_ascii_digit()));
    fits.then(|| text.get(..=end)).flatten()
}

fn starts_number(text: &str) -> bool {
    let mut bytes = text.bytes();
    match bytes.next() {
        Some(b'.') => bytes.next().is_some_and(|byte| byte.is_ascii_digit()),
        first => first.is_some_and(|byte| byte.is_ascii_digit()),
    }
}

/// Digits, radix prefixes, underscores, one exponent; `..` ends it. Letters that follow at once belong to it: PostgreSQL calls them trailing junk.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        let exponent = matches!(byte, b'e' | b'E') && !text.starts_with("0x") && !text.starts_with("0X");
        match byte {
            b'.' if next == Some(b'.') => break,
            b'.' => at += 1,
            b'-' | b'+' => break,
            _ if exponent && matches!(next, Some(b'-' | b'+')) => at += 2,
            byte if byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii() => at += 1,
            _ => break,
        }
    }
    at.max(1)
}

/// `?, ?, ?` becomes `?, …`.
fn fold_literals(tokens: Vec<Token>) -> Vec<Token> {
    let mut folded: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        if token.kind == Kind::Literal
            && let [.., before, comma] = folded.as_slice()
            && comma.is(',')
        {
            match before.kind {
                Kind::More => {
                    folded.pop();
                    continue;
                }
                Kind::Literal => {
                    folded.push(Token { kind: Kind::More, gap: true });
                    continue;
                }
                _ => {}
            }
        }
        folded.push(token);
    }
    folded
}

/// `(?, …), (?, …)` becomes `(?, …), …`.
fn fold_value_lists(tokens: Vec<Token>) -> Vec<Token> {
    let mut folded: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let closes = token.is(')');
        folded.push(token);
        if closes && let Some(cut) = repeated_list(&folded) {
            folded.truncate(cut);
            folded.push(Token { kind: Kind::More, gap: true });
        }
        // `(…), …, (…)`: the list after the dots is the same again.
        if closes && let Some(cut) = list_after_more(&folded) {
            folded.truncate(cut);
        }
    }
    folded
}

/// Where the last of two equal lists begins, if the tokens end with `(a), (a)`.
fn repeated_list(tokens: &[Token]) -> Option<usize> {
    let start = tokens.iter().rposition(|token| token.is('('))?;
    let list = tokens.get(start..)?;
    let before = tokens.get(..start)?;
    let comma = before.len().checked_sub(1)?;
    let first = comma.checked_sub(list.len())?;
    let same = before.get(first..comma)?.iter().zip(list).all(|(a, b)| a.kind == b.kind);
    (before.get(comma)?.is(',') && same && only_literals(list)).then_some(start)
}

/// Where the comma after `(a), …` stands, if the tokens end with `(a), …, (a)`.
fn list_after_more(tokens: &[Token]) -> Option<usize> {
    let start = tokens.iter().rposition(|token| token.is('('))?;
    let list = tokens.get(start..)?;
    let comma = start.checked_sub(1)?;
    let more = comma.checked_sub(1)?;
    let end = more.checked_sub(1)?;
    let first = end.checked_sub(list.len())?;
    let dots = tokens.get(more)?.kind == Kind::More && tokens.get(comma)?.is(',') && tokens.get(end)?.is(',');
    let same = tokens.get(first..end)?.iter().zip(list).all(|(a, b)| a.kind == b.kind);
    (dots && same && only_literals(list)).then_some(comma)
}

fn only_literals(list: &[Token]) -> bool {
    list.iter().all(|token| matches!(&token.kind, Kind::Literal | Kind::More | Kind::Symbol('(' | ')' | ',')))
}

fn written(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        if token.gap && !text.is_empty() {
            text.push(' ');
        }
        match &token.kind {
            Kind::Word(word) => text.push_str(word),
            Kind::Quoted(name) => {
                text.push('"');
                text.push_str(&name.replace('"', "\"\""));
                text.push('"');
            }
            Kind::Symbol(symbol) => text.push(*symbol),
            Kind::Literal => text.push('?'),
            Kind::More => text.push('…'),
        }
        if text.len() > MAX_SHAPE_BYTES {
            text.push_str(" … [longer: see the recording]");
            break;
        }
    }
    text
}

fn words(tokens: &[Token]) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    for token in tokens {
        match &token.kind {
            Kind::Word(word) => found.extend(std::iter::once(term(word))),
            Kind::Quoted(name) => found.extend(split_words(name)),
            Kind::Symbol(_) | Kind::Literal | Kind::More => {}
        }
        if found.len() >= MAX_WORDS {
            break;
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statement, shape, literals.
    const CASES: &[(&str, &str, &[&str])] = &[
        ("SELECT 1", "SELECT ?", &["1"]),
        ("select * from t where a='x''y' and b = 2.5e-3", "select * from t where a=? and b = ?", &["x'y", "2.5e-3"]),
        ("SELECT E'a\\'b\\n\\x41\\u00e9' , N'n'", "SELECT ? , …", &["a'b\nAé", "n"]),
        ("SELECT 'a'\n  -- note\n 'b'", "SELECT ?", &["ab"]),
        ("SELECT E'a'\n'b\\'c' || x", "SELECT ? || x", &["ab'c"]),
        ("SELECT 'a' 'b'", "SELECT ? ?", &["a", "b"]),
        ("SELECT B'01', X'fF', U&'\\0041'", "SELECT ?, …", &["01", "fF", "\\0041"]),
        ("SELECT $$it's$$, $a$ $$ $a$, $1, a$b$c", "SELECT ?, …, $1, a$b$c", &["it's", " $$ "]),
        ("SELECT a -- 'secret\nFROM t", "SELECT a FROM t", &[]),
        ("SELECT /* 'x' /* nested */ still */ a/**/FROM t", "SELECT a FROM t", &[]),
        ("SELECT \"Odd \"\"name\", U&\"x\" FROM t", "SELECT \"Odd \"\"name\", U&\"x\" FROM t", &[]),
        ("SELECT a[1], .5, 1_000, 0x1F, 1.", "SELECT a[?], ?, …", &["1", ".5", "1_000", "0x1F", "1."]),
        ("SELECT a-1, (-1), f(-2, +3)", "SELECT a-?, (?), f(?, …)", &["1", "1", "2", "3"]),
        ("SELECT * FROM t WHERE id IN (1, 2 ,3)", "SELECT * FROM t WHERE id IN (?, …)", &["1", "2", "3"]),
        ("INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c'), (4,'d')", "INSERT INTO t VALUES (?, …), …", &["1", "a", "2", "b", "3", "c", "4", "d"]),
        ("INSERT INTO t VALUES (1),(2),(3)", "INSERT INTO t VALUES (?), …", &["1", "2", "3"]),
        ("SELECT typed'x'", "SELECT typed?", &["x"]),
        ("ALTER ROLE x PASSWORD [secret]", "ALTER ROLE x PASSWORD [secret]", &[]),
        ("", "", &[]),
        ("SELECT 'open", "SELECT ?", &[]),
        ("SELECT /* open", "SELECT ?", &[]),
        ("SELECT $a$ open $$", "SELECT ?", &[]),
        ("SELECT \"open", "SELECT ?", &[]),
        ("SELECT $", "SELECT $", &[]),
        // With standard_conforming_strings off the second quote would not end the string: all that follows is hidden.
        ("SELECT 'a\\' , 'hidden' , b", "SELECT ?", &[]),
        ("SELECT 'a\\\\' , b", "SELECT ? , b", &["a\\\\"]),
        ("SELECT 'C:\\dir' , b", "SELECT ? , b", &["C:\\dir"]),
    ];

    #[test]
    fn literals_are_taken_out_by_postgresqls_rules() {
        for (statement, text, literals) in CASES {
            let shape = shape(statement);
            assert_eq!(&shape.text, text, "{statement}");
            assert_eq!(&shape.literals, literals, "{statement}");
        }
    }

    /// A literal in one of PostgreSQL's forms; its value holds the sentinel and nothing that ends the form early.
    fn literal(form: u8, value: &str) -> String {
        match form {
            0 => format!("'{}'", value.replace('\'', "''")),
            1 => format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")),
            2 => format!("$t${}$t$", value.replace('$', "")),
            3 => format!("$${}$$", value.replace('$', "")),
            4 => format!("U&'{}'", value.replace('\'', "''")),
            5 => format!("/* {} */ 1", value.replace(['/', '*'], "")),
            6 => format!("1 -- {}\n", value.replace(['\n', '\r'], "")),
            _ => format!("n'{}'\n'{}'", value.replace('\'', "''"), value.replace('\'', "''")),
        }
    }

    proptest::proptest! {
        /// Whatever forms follow each other, no byte of a value reaches the shape, and what stands between them does.
        #[test]
        fn no_value_reaches_the_shape(parts in proptest::collection::vec((0u8..8, "[ -~\\n\\t\u{e9}]{0,12}"), 1..8)) {
            let parts: Vec<(u8, String)> = parts.into_iter().map(|(form, text)| (form, format!("{text}SENTINEL{text}x"))).collect();
            let literals: Vec<String> = parts.iter().map(|(form, value)| literal(*form, value)).collect();
            let shape = shape(&format!("SELECT {} FROM tail", literals.join(" || col || ")));
            proptest::prop_assert!(!shape.text.contains("SENTINEL"), "{}", shape.text);
            // Only a backslash before a quote in a plain string hides the rest.
            let certain = parts.iter().all(|(form, value)| !matches!(form, 0 | 7) || !value.contains("\\'"));
            proptest::prop_assert!(!certain || shape.text.ends_with("FROM tail"), "{}", shape.text);
        }

        #[test]
        fn nothing_makes_it_panic(text: String, tail in "[$'\"eE\\\\/*.0-9x \\n-]{0,40}") {
            let _ = shape(&text);
            let _ = shape(&tail);
        }
    }

    #[test]
    fn words_are_what_people_search_for() {
        let shape = shape("SELECT Email FROM \"My Table\".customers WHERE id = $1 AND x = 'hidden'");
        assert_eq!(shape.words, ["$1", "and", "customers", "email", "from", "id", "my", "select", "table", "where", "x"]);
        assert_eq!(split_words("public.Customers"), ["public", "customers"]);
    }

    #[test]
    fn a_very_long_statement_says_that_it_is_longer() {
        let shape = shape(&"column_name + ".repeat(10_000));
        assert!(shape.text.len() < MAX_SHAPE_BYTES + 100 && shape.text.ends_with("[longer: see the recording]"));
        let values = super::shape(&format!("INSERT INTO t VALUES {}", vec!["(1, 'x')"; 20_000].join(",")));
        assert_eq!(values.text, "INSERT INTO t VALUES (?, …), …");
        assert_eq!(values.literals.len(), MAX_LITERALS);
    }
}
