//! What people search for: `drop payments identity:alice decision:held since:2h`.
//!
//! Words are searched in statements; a word, or a text in double quotes, also finds the literal it equals. Filters are `name:value`; all must hold.

use std::fmt::Write as _;

use model::{Action, ConnectionName, DataClassName, IdentityName, Timestamp};

/// Most results one search gives.
pub const MAX_LIMIT: u32 = 1_000;
/// Longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 4_096;
/// Most words and filters of one query.
const MAX_CONDITIONS: usize = 32;
const DEFAULT_LIMIT: u32 = 50;
const FILTERS: &str = "identity, connection, table, function, action, risk, decision, masked, signer, error, since, until, limit";

/// A parsed query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Words and quoted texts, all of which must be found.
    pub texts: Vec<String>,
    /// Members of the chain.
    pub identities: Vec<IdentityName>,
    /// Connections; more than one finds nothing.
    pub connections: Vec<ConnectionName>,
    /// Tables, `customers` or `public.customers`.
    pub tables: Vec<String>,
    /// Functions, `f` or `public.f`.
    pub functions: Vec<String>,
    /// Actions.
    pub actions: Vec<Action>,
    /// The lowest and highest risk level wanted.
    pub risk: (u8, u8),
    /// Decisions.
    pub decisions: Vec<DecisionWord>,
    /// Data classes masked in the answer.
    pub masked: Vec<DataClassName>,
    /// Who signed.
    pub signers: Vec<IdentityName>,
    /// SQLSTATEs of errors it ended with.
    pub errors: Vec<String>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            texts: Vec::new(),
            identities: Vec::new(),
            connections: Vec::new(),
            tables: Vec::new(),
            functions: Vec::new(),
            actions: Vec::new(),
            risk: (0, 5),
            decisions: Vec::new(),
            masked: Vec::new(),
            signers: Vec::new(),
            errors: Vec::new(),
            since: None,
            until: None,
            limit: DEFAULT_LIMIT,
        }
    }
}

/// What became of an operation, as people ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecisionWord {
    /// Allowed at once.
    Allowed,
    /// Held, however it ended.
    Held,
    /// Held, signed and released.
    Signed,
    /// Denied, by policy or by a signer, or never signed.
    Refused,
    /// Something of what came back was masked or withheld.
    Masked,
}

impl DecisionWord {
    /// Every one of them.
    pub const ALL: [Self; 5] = [Self::Allowed, Self::Held, Self::Signed, Self::Refused, Self::Masked];

    /// As people type it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Held => "held",
            Self::Signed => "signed",
            Self::Refused => "refused",
            Self::Masked => "masked",
        }
    }
}

/// Why a query cannot be understood; a sentence that names the part and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(String);

impl Query {
    /// Reads a query as people type it. Times like `2h` count back from `now`.
    ///
    /// # Errors
    /// When a filter is unknown or its value makes no sense.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(QueryError(format!("the query has more than {MAX_QUERY_BYTES} bytes")));
        }
        let mut query = Self::default();
        let parts = split(text)?;
        if parts.len() > MAX_CONDITIONS {
            return Err(QueryError(format!("the query has more than {MAX_CONDITIONS} parts")));
        }
        for part in parts {
            match part {
                Part::Text(text) => query.texts.push(text),
                Part::Filter(name, value) => query.filter(&name, &value, now)?,
            }
        }
        Ok(query)
    }

    fn filter(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), QueryError> {
        let wrong = |why: &dyn std::fmt::Display| QueryError(format!("{name}:{}: {why}", model::name::printable(value)));
        match name {
            "identity" => self.identities.push(value.parse().map_err(|error| wrong(&error))?),
            "connection" => self.connections.push(value.parse().map_err(|error| wrong(&error))?),
            "signer" => self.signers.push(value.parse().map_err(|error| wrong(&error))?),
            "masked" => self.masked.push(value.parse().map_err(|error| wrong(&error))?),
            "table" => self.tables.push(value.to_owned()),
            "function" => self.functions.push(value.trim_end_matches("()").to_owned()),
            "action" => self.actions.push(value.parse().map_err(|_| wrong(&one_of(Action::ALL.iter().map(|action| action.as_str()))))?),
            "decision" => self.decisions.push(decision(value).ok_or_else(|| wrong(&one_of(DecisionWord::ALL.iter().map(|word| word.as_str()))))?),
            "risk" => self.risk = risk(value).ok_or_else(|| wrong(&"write a level from 0 to 5, perhaps after `>=`, `<=`, `>` or `<`"))?,
            "error" => self.errors.push(sqlstate(value).ok_or_else(|| wrong(&"write the five characters of a SQLSTATE, `error:42501`"))?),
            "since" => self.since = Some(moment(value, now).ok_or_else(|| wrong(&WHEN))?),
            "until" => self.until = Some(moment(value, now).ok_or_else(|| wrong(&WHEN))?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                self.limit = limit.ok_or_else(|| wrong(&format!("write a number from 1 to {MAX_LIMIT}")))?;
            }
            _ => {
                return Err(QueryError(format!(
                    "there is no filter `{name}:`; there are {FILTERS}. To search for the text, write it in double quotes"
                )));
            }
        }
        Ok(())
    }
}

const WHEN: &str = "write a span back from now (`30m`, `2h`, `7d`), a day (`2026-11-21`) or a time (`2026-11-21T09:00:00Z`), in UTC";

enum Part {
    Text(String),
    Filter(String, String),
}

/// Splits at white space; double quotes keep a text together, and `\"` stands for a quote inside.
fn split(text: &str) -> Result<Vec<Part>, QueryError> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let name = filter_name(rest);
        let value = name.map_or(rest, |name| rest.get(name.len() + 1..).unwrap_or_default());
        let (word, after) = word(value)?;
        rest = after.trim_start();
        match name {
            Some(name) if word.is_empty() => return Err(QueryError(format!("`{name}:` has no value"))),
            Some(name) => parts.push(Part::Filter(name.to_owned(), word)),
            None if word.is_empty() => {}
            None => parts.push(Part::Text(word)),
        }
    }
    Ok(parts)
}

/// `name` if the text begins with `name:`, letters only. `10:30` and `a::text` are texts.
fn filter_name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_lowercase())?;
    let rest = text.get(end..)?;
    (end > 0 && rest.starts_with(':') && !rest.starts_with("::")).then(|| text.get(..end)).flatten()
}

fn word(text: &str) -> Result<(String, &str), QueryError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text.get(..end).unwrap_or_default().to_owned(), text.get(end..).unwrap_or_default()));
    };
    let mut word = String::new();
    let mut characters = quoted.char_indices();
    while let Some((place, c)) = characters.next() {
        match c {
            '"' => return Ok((word, quoted.get(place + 1..).unwrap_or_default())),
            '\\' => word.extend(characters.next().map(|(_, escaped)| escaped)),
            other => word.push(other),
        }
    }
    Err(QueryError("a double quote is not closed".to_owned()))
}

fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut sentence = "write one of".to_owned();
    for (place, word) in words.enumerate() {
        let _ = write!(sentence, "{} {word}", if place == 0 { "" } else { "," });
    }
    sentence
}

fn decision(value: &str) -> Option<DecisionWord> {
    DecisionWord::ALL.into_iter().find(|word| word.as_str() == value)
}

fn risk(value: &str) -> Option<(u8, u8)> {
    let level = |text: &str| text.parse::<u8>().ok().filter(|level| *level <= 5);
    if let Some(text) = value.strip_prefix(">=") {
        return Some((level(text)?, 5));
    }
    if let Some(text) = value.strip_prefix("<=") {
        return Some((0, level(text)?));
    }
    if let Some(text) = value.strip_prefix('>') {
        return Some((level(text)? + 1, 5));
    }
    if let Some(text) = value.strip_prefix('<') {
        return Some((0, level(text)?.checked_sub(1)?));
    }
    let exactly = level(value.strip_prefix('=').unwrap_or(value))?;
    Some((exactly, exactly))
}

fn sqlstate(value: &str) -> Option<String> {
    (value.len() == 5 && value.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| value.to_ascii_uppercase())
}

fn moment(value: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(unit) = value.chars().last().filter(|c| "smhdw".contains(*c)) {
        let number: i64 = value.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => 604_800,
        };
        let back = number.checked_mul(seconds)?;
        return Timestamp::from_second(now.as_second().checked_sub(back)?).ok();
    }
    value.parse().or_else(|_| format!("{value}T00:00:00Z").parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn parse(text: &str) -> Result<Query, QueryError> {
        Query::parse(text, now())
    }

    #[test]
    fn every_filter_is_read() {
        let query = parse(
            "drop identity:alice connection:prod-pg table:public.payments function:f() action:destroy risk:>=4 decision:held masked:email \
             signer:bob error:42p01 since:2h until:2026-11-21T11:00:00Z limit:5 \"a b\" alice@example.com 10:30 a::text",
        )
        .unwrap();
        let expected = Query {
            texts: ["drop", "a b", "alice@example.com", "10:30", "a::text"].map(str::to_owned).to_vec(),
            identities: vec!["alice".parse().unwrap()],
            connections: vec!["prod-pg".parse().unwrap()],
            tables: vec!["public.payments".to_owned()],
            functions: vec!["f".to_owned()],
            actions: vec![Action::Destroy],
            risk: (4, 5),
            decisions: vec![DecisionWord::Held],
            masked: vec!["email".parse().unwrap()],
            signers: vec!["bob".parse().unwrap()],
            errors: vec!["42P01".to_owned()],
            since: Some("2026-11-21T10:00:00Z".parse().unwrap()),
            until: Some("2026-11-21T11:00:00Z".parse().unwrap()),
            limit: 5,
        };
        assert_eq!(query, expected);
    }

    #[test]
    fn an_empty_query_asks_for_the_newest() {
        assert_eq!(parse("  "), Ok(Query::default()));
    }

    #[test]
    fn risk_is_compared_in_five_ways() {
        for (text, risk) in [("3", (3, 3)), ("=3", (3, 3)), (">=3", (3, 5)), (">3", (4, 5)), ("<=3", (0, 3)), ("<3", (0, 2))] {
            assert_eq!(parse(&format!("risk:{text}")).unwrap().risk, risk, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named_with_what_to_write() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert!(message("identiy:alice").contains("there is no filter `identiy:`; there are identity, connection"));
        assert!(message("action:delete").contains("write one of connect, read, write, destroy"));
        assert!(message("decision:maybe").contains("allowed, held, signed, refused, masked"));
        assert!(message("since:yesterday").contains("`2h`"));
        assert!(message("limit:0").contains("from 1 to 1000"));
        assert!(message("risk:6").contains("0 to 5") && message("risk:<0").contains("0 to 5"));
        assert!(message("identity:").contains("has no value"));
        assert!(message("\"open").contains("not closed"));
        assert!(message("error:oops").contains("SQLSTATE"));
        assert!(message("identity:a\u{1b}b").is_ascii() && !message("identity:a\u{1b}b").contains('\u{1b}'));
        assert!(parse(&"x ".repeat(40)).is_err() && parse(&"x".repeat(5_000)).is_err());
    }

    #[test]
    fn days_and_spans_are_times() {
        assert_eq!(parse("since:2026-11-20").unwrap().since, Some("2026-11-20T00:00:00Z".parse().unwrap()));
        assert_eq!(parse("since:7d").unwrap().since, Some("2026-11-14T12:00:00Z".parse().unwrap()));
        assert!(parse("since:99999999999999999999h").is_err() && parse("since:9223372036854775807w").is_err());
    }
}
