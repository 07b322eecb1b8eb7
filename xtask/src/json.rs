//! JSON as far as tasks read it: what `--json` prints.

use crate::Outcome;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    /// `null`, `true`, `false` and numbers, as they are written.
    Bare(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a text that holds one value.
    pub(crate) fn read(text: &str) -> Outcome<Self> {
        let mut rest = text.trim();
        let value = value(&mut rest).filter(|_| rest.trim().is_empty());
        value.ok_or_else(|| format!("not JSON: {text}"))
    }

    /// A member of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A member that is text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The elements of a member that is an array.
    pub(crate) fn list(&self, key: &str) -> &[Self] {
        match self.get(key) {
            Some(Self::List(items)) => items,
            _ => &[],
        }
    }
}

fn value(rest: &mut &str) -> Option<Json> {
    *rest = rest.trim_start();
    match rest.chars().next()? {
        '{' => members(rest).map(Json::Object),
        '[' => items(rest).map(Json::List),
        '"' => text(rest).map(Json::Text),
        _ => {
            let end = rest.find([',', '}', ']', ' ', '\n']).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end)?;
            *rest = after;
            (!word.is_empty()).then(|| Json::Bare(word.to_owned()))
        }
    }
}

fn members(rest: &mut &str) -> Option<Vec<(String, Json)>> {
    let mut members = Vec::new();
    separated(rest, '{', '}', |rest| {
        *rest = rest.trim_start();
        let name = text(rest)?;
        *rest = rest.trim_start().strip_prefix(':')?;
        members.push((name, value(rest)?));
        Some(())
    })?;
    Some(members)
}

fn items(rest: &mut &str) -> Option<Vec<Json>> {
    let mut items = Vec::new();
    separated(rest, '[', ']', |rest| {
        items.push(value(rest)?);
        Some(())
    })?;
    Some(items)
}

fn separated(rest: &mut &str, open: char, close: char, mut one: impl FnMut(&mut &str) -> Option<()>) -> Option<()> {
    *rest = rest.strip_prefix(open)?.trim_start();
    if let Some(after) = rest.strip_prefix(close) {
        *rest = after;
        return Some(());
    }
    loop {
        one(rest)?;
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(close) {
            *rest = after;
            return Some(());
        }
        *rest = rest.strip_prefix(',')?;
    }
}

fn text(rest: &mut &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = rest.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => out.push(escaped(&mut chars)?),
            c => out.push(c),
        }
    }
    *rest = chars.as_str();
    Some(out)
}

fn escaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => {
            let digits: String = chars.by_ref().take(4).collect();
            char::from_u32(u32::from_str_radix(&digits, 16).ok()?).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        c => c,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let json = Json::read("{ \"holds\": [ { \"id\": \"h_1\", \"n\": 1.5, \"x\": null }, {} ],\n \"a\\\"\\u0041\": [] }").unwrap();
        assert_eq!(json.list("holds").len(), 2);
        assert_eq!(json.list("holds").first().and_then(|hold| hold.text("id")), Some("h_1"));
        assert_eq!(json.get("a\"A"), Some(&Json::List(Vec::new())));
        assert_eq!(json.list("holds").first().and_then(|hold| hold.get("n")), Some(&Json::Bare("1.5".into())));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "{\"a\" 1}", "[1,]", "\"open", "1 2"] {
            assert!(Json::read(text).is_err(), "{text}");
        }
    }
}
