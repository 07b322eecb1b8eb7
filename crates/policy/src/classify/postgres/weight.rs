//! How much memory the tree of a text takes, about, and how deep it is at the most, before it is made: what would take more than a message may is not parsed.

/// The most that a tree may take, in bytes.
const MAX_WEIGHT: usize = 64 << 20;

/// Parts of a name, in a text that is not short. The server takes four, and fields of composite values; what has more means nothing to it either, and to
/// find that out by its tree takes longer than it may.
const MAX_FIELDS: usize = 1_000;

/// Tokens of a text that is scanned at once. Each takes some eighty bytes in the scanner's lists and in ours, 40 MiB in all.
const MAX_TOKENS: usize = 500_000;

/// How deep a tree may be. The parser hands over 5,000 levels, and to read each takes 14.5 KiB of stack (measured: 70 MiB for 4,908 casts of a cast).
const MAX_DEPTH: usize = 4_200;

/// A shorter text has no tree that is larger.
const LIGHT_BYTES: usize = 32 << 10;

// What was measured of each sort of token, in bytes: of the parser's own tree, of what it hands over, and of the tree here, with the room that its lists
// keep free. They are such that a list of 1,000,000 names or numbers, a report and an INSERT of thousands of rows take what is said of them or less.
const CONSTANT: usize = 410;
const NAME: usize = 2_970;
/// Behind a point.
const FIELD: usize = 620;
const KEYWORD: usize = 1_030;
const OPERATOR: usize = 2_770;
const PARENTHESIS: usize = 1_090;
const SEMICOLON: usize = 2_870;
/// Between the columns of a query, and between other things.
const COMMA: usize = 1_030;
const COMMA_OF_LIST: usize = 310;

/// Words that are no names, of which there are many in long texts, in upper case.
const KEYWORDS: &[&str] = &[
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "DATE",
    "DELETE",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXISTS",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INSERT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "SELECT",
    "SET",
    "THEN",
    "UNION",
    "UPDATE",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Why the tree of a text is not made, if it would take more memory than it may, or may be deeper.
pub(super) fn too_much(text: &str) -> Option<&'static str> {
    const HEAVY: &str = "it is too long for what it holds";
    const DEEP: &str = "it is nested too deeply";
    if text.len() <= MAX_DEPTH {
        return None;
    }
    let is_light = text.len() <= LIGHT_BYTES;
    let mut deep = false;
    let found = Scale::default().weigh(text.as_bytes(), |scale| {
        deep = scale.depth.most() > MAX_DEPTH;
        deep || (!is_light && scale.weight > MAX_WEIGHT)
    });
    found.then_some(if deep { DEEP } else { HEAVY })
}

/// Whether a text has more tokens than are scanned.
pub(super) fn has_too_many_tokens(text: &str) -> bool {
    text.len() > MAX_TOKENS && Scale::default().weigh(text.as_bytes(), |scale| scale.tokens > MAX_TOKENS)
}

/// How deep the tree is at a token, at the most. Whatever stands between two commas may be nested in what stands before it: `1 + 1 + 1` is `(1 + 1) + 1`.
#[derive(Default)]
struct Depth {
    /// For each parenthesis and each CASE that is open, whether it is a CASE, and what was counted outside.
    open: Vec<(bool, usize, usize)>,
    /// What is outside of all that stands here, unions and joins among it.
    outside: usize,
    /// What was counted since the last comma.
    chain: usize,
    /// A point was before, or a cast: a name there is part of a level that is counted.
    in_name: bool,
}

impl Depth {
    fn most(&self) -> usize {
        self.outside + self.chain
    }

    fn take(&mut self, token: &[u8]) {
        let first = token.first().copied().unwrap_or_default();
        if first.is_ascii_whitespace() || is_comment(token) {
            return;
        }
        let in_name = std::mem::replace(&mut self.in_name, first == b'.' || token == b"::");
        // Most words are none of these: their first letters say so.
        let may_be = is_letter(first) && (2..=9).contains(&token.len()) && b"AOUIEJCSVTW".contains(&(first & !0x20));
        let is = |words: &[&str]| may_be && words.iter().any(|word| token.eq_ignore_ascii_case(word.as_bytes()));
        match first {
            b',' => self.chain = 0,
            b';' => (self.outside, self.chain) = (self.open.last().map_or(0, |(_, outside, chain)| outside + chain), 0),
            b'(' | b'[' => self.enter(false, 1),
            b')' | b']' => while self.leave() {},
            // Constants are not nested in, nor are parts of names.
            b'.' | b'\'' | b'0'..=b'9' => {}
            _ if in_name && (is_letter(first) || first == b'"') => {}
            _ if is(&["AND", "OR"]) => self.chain = 0,
            _ if is(&["UNION", "INTERSECT", "EXCEPT", "JOIN"]) => (self.outside, self.chain) = (self.outside + 1, 0),
            _ if is(&["CASE"]) => self.enter(true, 2),
            _ if is(&["END"]) && self.open.last().is_some_and(|(case, ..)| *case) => drop(self.leave()),
            // What is selected is a level more, and so is the subquery itself.
            _ if is(&["SELECT", "VALUES", "TABLE", "WITH"]) => self.chain += 2,
            // A sign of its own, which may stand before another.
            _ => self.chain += token.iter().filter(|byte| matches!(byte, b'+' | b'-') && !is_letter(first)).count().max(1),
        }
    }

    fn enter(&mut self, case: bool, levels: usize) {
        self.open.push((case, self.outside, self.chain));
        (self.outside, self.chain) = (self.most() + levels, 0);
    }

    /// Goes out of the last that was entered; whether that was a CASE.
    fn leave(&mut self) -> bool {
        let Some((case, outside, chain)) = self.open.pop() else { return false };
        (self.outside, self.chain) = (outside, chain);
        case
    }
}

#[derive(Default)]
struct Scale {
    depth: Depth,
    weight: usize,
    /// How many there are, comments among them, or a few more.
    tokens: usize,
    /// For each parenthesis that is open, whether it holds a list.
    lists: Vec<bool>,
    after_point: bool,
    /// How many parts the name has so far, behind the first.
    fields: usize,
    /// The last parenthesis was opened, and nothing stood in it yet.
    opened: bool,
}

impl Scale {
    /// Whether there is too much on it before the text ends.
    fn weigh(mut self, text: &[u8], mut too_much: impl FnMut(&Self) -> bool) -> bool {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let length = self.token(rest).max(1);
            let taken = rest.get(..length).unwrap_or(rest);
            self.tokens += tokens_in(taken);
            self.depth.take(taken);
            at += length;
            if too_much(&self) {
                return true;
            }
        }
        false
    }

    /// Weighs what a text begins with; how long that is.
    fn token(&mut self, rest: &[u8]) -> usize {
        let begins = |sign: &[u8]| rest.starts_with(sign);
        match rest.first().copied().unwrap_or_default() {
            byte if byte.is_ascii_whitespace() => 1,
            b'-' if begins(b"--") => rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len()),
            b'/' if begins(b"/*") => comment(rest),
            b'\'' => self.add(CONSTANT, string(rest, false)),
            b'e' | b'E' if rest.get(1) == Some(&b'\'') => self.add(CONSTANT, 1 + string(rest.get(1..).unwrap_or_default(), true)),
            b'$' => self.add(CONSTANT, dollars(rest)),
            b'0'..=b'9' => self.add(CONSTANT, run(rest, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))),
            b'"' => {
                let length = 2 + run(rest.get(1..).unwrap_or_default(), |byte| byte != b'"');
                self.name(length)
            }
            byte if is_letter(byte) => self.word(rest),
            b'(' | b'[' => {
                self.lists.push(true);
                self.add(PARENTHESIS, 1);
                self.opened = true;
                1
            }
            b')' | b']' => {
                self.lists.pop();
                self.add(PARENTHESIS, 1)
            }
            b',' => {
                let weight = if self.lists.last() == Some(&true) { COMMA_OF_LIST } else { COMMA };
                self.add(weight, 1)
            }
            b';' => self.add(SEMICOLON, 1),
            b'.' => {
                self.after_point = true;
                1
            }
            _ => self.add(OPERATOR, operator(rest)),
        }
    }

    fn add(&mut self, weight: usize, length: usize) -> usize {
        self.weight = self.weight.saturating_add(weight);
        (self.after_point, self.opened) = (false, false);
        length
    }

    fn name(&mut self, length: usize) -> usize {
        self.fields = if self.after_point { self.fields + 1 } else { 0 };
        let weight = match self.fields {
            0 => NAME,
            1..=MAX_FIELDS => FIELD,
            _ => MAX_WEIGHT + 1,
        };
        self.add(weight, length)
    }

    fn word(&mut self, rest: &[u8]) -> usize {
        let length = run(rest, |byte| is_letter(byte) || byte.is_ascii_digit() || byte == b'$');
        let word = rest.get(..length).unwrap_or_default().to_ascii_uppercase();
        let word = std::str::from_utf8(&word).unwrap_or_default();
        if self.after_point {
            return self.name(length);
        }
        if self.opened && matches!(word, "SELECT" | "WITH" | "TABLE") {
            // What stands in it are the columns of a query.
            if let Some(list) = self.lists.last_mut() {
                *list = false;
            }
        }
        match word {
            "NULL" | "TRUE" | "FALSE" | "DEFAULT" => self.add(CONSTANT, length),
            _ if KEYWORDS.binary_search(&word).is_ok() => self.add(KEYWORD, length),
            _ => self.name(length),
        }
    }
}

const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn run(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|byte| belongs(**byte)).count()
}

/// How many tokens stand in what was taken for one: `1.2.3` has two, and signs in a row may be one each.
fn tokens_in(taken: &[u8]) -> usize {
    match taken.first().copied().unwrap_or_default() {
        byte if byte.is_ascii_whitespace() => 0,
        b'0'..=b'9' => 1 + taken.iter().filter(|byte| **byte == b'.').count(),
        byte if is_letter(byte) || matches!(byte, b'\'' | b'"' | b'$') || is_comment(taken) => 1,
        _ => taken.len(),
    }
}

fn is_comment(taken: &[u8]) -> bool {
    taken.starts_with(b"--") || taken.starts_with(b"/*")
}

/// Signs in a row, up to a comment that begins among them.
fn operator(rest: &[u8]) -> usize {
    let signs = run(rest, |byte| byte.is_ascii_punctuation() && !b"'\"$()[],;._".contains(&byte));
    let comment = rest.windows(2).take(signs).position(|two| matches!(two, b"--" | b"/*"));
    comment.unwrap_or(signs).max(1)
}

/// Comments nest.
fn comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match rest.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth.saturating_sub(1), at + 2),
            Some(_) => at += 1,
            None => return rest.len(),
        }
        if depth == 0 {
            return at;
        }
    }
}

/// From one quote to the other; a backslash keeps a quote from being one where it `escapes`.
fn string(rest: &[u8], escapes: bool) -> usize {
    let mut at = 1;
    loop {
        match rest.get(at) {
            Some(b'\'') => return at + 1,
            Some(b'\\') if escapes => at += 2,
            Some(_) => at += 1,
            None => return rest.len(),
        }
    }
}

/// `$1`, or a string from one `$tag$` to the other, or a sign that means nothing.
fn dollars(rest: &[u8]) -> usize {
    let behind = rest.get(1..).unwrap_or_default();
    let digits = run(behind, |byte| byte.is_ascii_digit());
    if digits > 0 {
        return 1 + digits;
    }
    let tag = run(behind, |byte| is_letter(byte) || byte.is_ascii_digit());
    let Some(quote) = rest.get(..tag + 2).filter(|quote| quote.ends_with(b"$")) else { return 1 };
    let inside = rest.get(quote.len()..).unwrap_or_default();
    inside.windows(quote.len()).position(|window| window == quote).map_or(rest.len(), |end| quote.len() + end + quote.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_heavy(text: &str) -> bool {
        too_much(text).is_some_and(|why| why.contains("too long"))
    }

    fn is_deep(text: &str) -> bool {
        too_much(text).is_some_and(|why| why.contains("too deeply"))
    }

    proptest! {
        /// Nothing hides from the count: what is a string or a comment here is one for the scanner.
        #[test]
        fn the_scanner_never_finds_more_tokens_than_are_counted(text in "(['\"$aeEuUxnb&\\\\/*+<?@:=;.,()0-9é \n\r-]|--|/\\*|\\*/|\\$a\\$){0,40}") {
            if let Ok(scanned) = pg_query::scan(&text) {
                let most = scanned.tokens.len();
                prop_assert!(Scale::default().weigh(text.as_bytes(), |scale| scale.tokens >= most) || most == 0, "{} tokens", most);
            }
        }
    }

    #[test]
    fn the_words_are_sorted_so_that_they_can_be_searched() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn what_people_send_is_not_too_much_and_what_nobody_sends_is() {
        let rows = format!("INSERT INTO t VALUES {}(1)", "(1, 'some text', 2, 'more', NULL),".repeat(10_000));
        let list = format!("SELECT 1 WHERE 1 IN ({}1)", "12345,".repeat(50_000));
        let text = format!(
            "INSERT INTO t VALUES ('{}', $x${}$x$) /* {} */",
            "word, (word) ".repeat(100_000),
            "it's; ".repeat(100_000),
            "a, ".repeat(100_000)
        );
        let report = "SELECT c.region_name, date_trunc('month', o.ordered_at) AS month, sum(o.amount * 1.19) AS gross, count(DISTINCT c.customer_id) AS customers, \
             avg(CASE WHEN o.state = 'done' THEN o.amount ELSE 0 END) AS average FROM sales.orders o JOIN sales.customers c ON c.customer_id = o.customer_id \
             LEFT JOIN sales.returns r ON r.order_id = o.order_id WHERE o.ordered_at >= DATE '2024-01-01' AND o.ordered_at < DATE '2024-02-01' \
             AND c.region_name IN ('north', 'south') AND r.order_id IS NULL GROUP BY c.region_name, date_trunc('month', o.ordered_at) \
             HAVING sum(o.amount) > 1000 UNION ALL ";
        let report = report.repeat(200_000 / report.len());
        for light in [&rows, &list, &text, &report] {
            assert!(!is_heavy(light), "{} bytes", light.len());
        }
        for heavy in ["1,", "a,", "a.b,", "(1),", "SELECT 1;", " AND a=1", "f(1),", "'a',"] {
            assert!(is_heavy(&format!("SELECT {}1", heavy.repeat((1 << 20) / heavy.len()))), "{heavy}");
        }
    }

    #[test]
    fn a_comment_behind_an_operator_hides_nothing() {
        for hidden in ["1 +--'\n", "1 */*'*/ ", "1 <--$a$\n", "1 - --\"\n"] {
            assert!(is_heavy(&format!("SELECT {hidden}{}1", "a,".repeat(1 << 19))), "{hidden}");
        }
    }

    #[test]
    fn what_people_nest_is_not_too_deep_and_what_nobody_nests_is() {
        let repeated = |head: &str, unit: &str, times: usize, tail: &str| format!("{head}{}{tail}", unit.repeat(times));
        let light = [
            repeated("SELECT ", "t.amount::numeric + ", 1_300, "1"),
            repeated("SELECT ", "t.a || ' ' || ", 1_000, "1"),
            repeated("SELECT 1 WHERE ", "t.id = 1 AND sum(a, b) IS NOT NULL OR ", 10_000, "true"),
            repeated("SELECT 1, 2 ", "UNION ALL SELECT a, b FROM t WHERE c BETWEEN 1 AND 2 ", 4_000, ""),
            repeated("SELECT 1 IN (", "12345, -6 + 7,", 50_000, "1)"),
            repeated("INSERT INTO t VALUES ", "(1, 'text', NULL, f(2, -3), '{}'::jsonb),", 10_000, "(1)"),
            repeated("", "SELECT CASE WHEN a THEN b END FROM t;", 2_000, ""),
        ];
        for light in light {
            assert!(!is_deep(&light), "{}", &light[..60]);
        }
        let nested = ["::int", " + 1", " IS NULL", " COLLATE x", "->'a'", " AT TIME ZONE 'x'", " UNION SELECT 1, 2", " UNION SELECT 1 WHERE 1 AND 2"];
        let heavy = nested.map(|unit| repeated("SELECT 1", unit, 5_000, ""));
        let begun = ["NOT ", "- ", "+-", "f(", "(SELECT ", "CASE WHEN ", "CASE WHEN 1 AND ", "ARRAY[", "(1, 2, (", "EXISTS (SELECT 1 WHERE 2 OR "];
        for heavy in heavy.into_iter().chain(begun.map(|unit| repeated("SELECT ", unit, 5_000, "1"))) {
            assert!(is_deep(&heavy), "{}", &heavy[..60]);
        }
        assert!(is_deep(&repeated("SELECT 1 FROM a", " JOIN b ON c = 1 AND d", 5_000, "")));
    }

    #[test]
    fn tokens_are_counted_about_as_the_scanner_counts_them_and_never_fewer() {
        let units = [
            "a ",
            "1.2.3 ",
            "+=- ",
            "{",
            "'it''s' ",
            "E'\\'' ",
            "$x$ a b $x$",
            "/* a /* b */ */",
            "--\n",
            "\"a b\" ",
            "U&'a' ",
            "$1 ",
            "::a",
            "a.b.c,",
            "\u{16}",
            "é ",
        ];
        for unit in units {
            let text = unit.repeat(100);
            let scanned = pg_query::scan(&text).unwrap().tokens.len();
            let is_counted = |most: usize| Scale::default().weigh(text.as_bytes(), |scale| scale.tokens >= most);
            assert!(is_counted(scanned) && !is_counted(scanned * 4), "{unit:?}: {scanned}");
        }
        assert!(has_too_many_tokens(&"\u{16}".repeat(1 << 20)) && !has_too_many_tokens(&format!("SELECT '{}'", "a ".repeat(1 << 20))));
    }

    #[test]
    fn a_name_of_thousands_of_parts_is_too_much_and_many_names_of_few_are_not() {
        let padded = |text: String| format!("SELECT {text} /* {} */", "-".repeat(LIGHT_BYTES));
        assert!(is_heavy(&padded(format!("a{}", ".a".repeat(65_535)))));
        assert!(is_heavy(&padded(format!("a{}", ".\"a\"".repeat(MAX_FIELDS + 1)))));
        assert!(!is_heavy(&padded(format!("a{}", ".a".repeat(MAX_FIELDS)))));
        assert!(!is_heavy(&padded(format!("1{}", ", a.b.c.d".repeat(MAX_FIELDS)))));
    }
}
