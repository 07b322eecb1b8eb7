//! Patterns, containers and paths that everything matches: wordings of `true` inside a string.

use pg_query::{
    NodeEnum,
    protobuf::{AExpr, Node},
};

use super::values::{Form, Own};
use crate::classify::postgres::analysis::boxed;

/// What holds nothing, or asks for nothing: `{}`, `[{}]`, the root of a document, a range without ends, every address.
pub(super) fn is_empty_container(text: &str) -> bool {
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let endless = text.replace("-infinity", "").replace("infinity", "");
    endless.chars().all(|letter| "{}[](),\"".contains(letter)) || matches!(text.as_str(), "$" | "strict$" | "lax$") || text.ends_with("/0")
}

/// Whether a text has any letter.
pub(super) fn says_letters(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Whether a LIKE pattern has a letter or sign that must be there.
pub(super) fn has_literal(pattern: &str) -> bool {
    pattern.chars().any(|letter| !matches!(letter, '%' | '_'))
}

/// Whether every value matches a LIKE pattern, or may by how it is made.
pub(super) fn like_is_nothing(own: &Own, pattern: &str) -> bool {
    if !has_literal(pattern) {
        return true;
    }
    let fixed = pattern.chars().take_while(|letter| !matches!(letter, '%' | '_')).count();
    let whole = fixed == pattern.chars().count();
    match own.form {
        _ if whole => false,
        Form::Joined | Form::Digest => true,
        // Less than a year says nothing of a moment.
        Form::Stamp => fixed < 4,
        _ => own.span.is_some(),
    }
}

/// Whether a regular expression, or SIMILAR TO, may leave out something of this.
pub(super) fn pattern_restricts(own: &Own, pattern: &str) -> bool {
    !matches!(own.form, Form::Joined | Form::Digest | Form::Stamp | Form::Stripped) && own.span.is_none() && demands_something(pattern)
}

/// Most signs of a class that still chooses: `[0-9]` does, `[a-z]` is nearly every text.
const MAX_CLASS: u32 = 12;

/// Whether a regular expression has a letter, digit or one of some that must be there. Alternatives, and groups that may be left out, are not looked into.
fn demands_something(pattern: &str) -> bool {
    if pattern.contains('|') || [")?", ")*", "){", "(?!", "(?<!"].iter().any(|optional| pattern.contains(optional)) {
        return false;
    }
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        let demands = match letter {
            // A digit or white space; other classes are nearly everything, and `\m` or `\y` no character at all.
            '\\' => letters.next().is_some_and(|class| matches!(class, 'd' | 's')),
            '[' => {
                let mut class = String::new();
                while let Some(inside) = letters.next_if(|inside| *inside != ']') {
                    class.push(inside);
                }
                letters.next();
                !class.starts_with('^') && class_size(&class) <= MAX_CLASS
            }
            '{' => {
                while letters.next().is_some_and(|inside| inside != '}') {}
                false
            }
            // `(?:` and its like begin a group.
            '?' => {
                letters.next_if(|after| after.is_alphabetic());
                false
            }
            letter => letter.is_alphanumeric(),
        };
        if demands && !letters.peek().is_some_and(|after| matches!(after, '*' | '?' | '{')) {
            return true;
        }
    }
    false
}

/// How many signs the inside of a bracket expression stands for, about.
fn class_size(class: &str) -> u32 {
    if class.contains('[') || class.contains('\\') {
        // A named class, or one that is cut at its own bracket.
        return u32::MAX;
    }
    let signs: Vec<char> = class.chars().collect();
    let (mut size, mut at) = (0_u32, 0);
    while let Some(first) = signs.get(at) {
        match (signs.get(at + 1), signs.get(at + 2)) {
            (Some('-'), Some(last)) => {
                size = size.saturating_add(u32::from(*last).saturating_sub(u32::from(*first)).saturating_add(1));
                at += 3;
            }
            _ => {
                size = size.saturating_add(1);
                at += 1;
            }
        }
    }
    size
}

/// The pattern of SIMILAR TO, which the grammar wraps in a call.
pub(super) fn similar_pattern(expression: &AExpr) -> Option<&Node> {
    match boxed(expression.rexpr.as_ref()) {
        Some(NodeEnum::FuncCall(call)) => call.args.first(),
        _ => expression.rexpr.as_deref(),
    }
}

/// Whether a path of `@@` or `@?`, or a text search, asks for something that a document may lack: one place in it, once.
pub(super) fn path_demands(path: &str) -> bool {
    let path = path.trim();
    let path = path.strip_prefix("strict").or_else(|| path.strip_prefix("lax")).unwrap_or(path).trim();
    if !path.contains('$') {
        // A text search: words, none of them excluded.
        return path.bytes().any(|byte| byte.is_ascii_alphanumeric() || byte >= 0x80) && !path.contains('!') && !path.contains("==");
    }
    let member = path.strip_prefix('$').map(str::trim_start).and_then(|rest| rest.strip_prefix('.')).map(str::trim_start);
    let named = member.and_then(|rest| rest.chars().next()).is_some_and(|first| first.is_alphanumeric() || matches!(first, '"' | '_'));
    let evades = ["||", "!", "<>", "unknown", "exists", "**", ".*"].iter().any(|sign| path.contains(sign));
    let twice = path.matches('$').count() > 1 || path.matches('@').count() > 1;
    // `.keyvalue()`, `.type()` and `.size()` are there of anything.
    named && !evades && !twice && !path.contains("()")
}
