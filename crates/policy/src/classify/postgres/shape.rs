//! Statements that mean the same although their literals differ: what a cache of facts is keyed by.
//!
//! A [`Shape`] is a text with those literals lifted out that PostgreSQL's scanner would read as one plain token each
//! (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-CONSTANTS>), and comments blanked. A [`Likeness`] says what else of
//! the lifted literals and of the parameters must be equal for another text of the same shape to mean the same: whatever the walk looked at, and
//! every literal it did not walk past. Doubt lifts nothing: then only the very same text is alike.

use std::ops::Range;

use model::{Facts, Understanding};

use super::{
    ParameterValue, SessionView, Statement,
    constants::as_number,
    looks::{Aspect, Noted, Place},
    secrets::may_spell,
};

/// Longest text whose literals are lifted, in bytes.
const MAX_LIFTED_BYTES: usize = 16 << 10;

/// What stands for a lifted literal. A text with such a byte of its own is not lifted, and begins otherwise.
const MARK: u8 = 1;
const LIFTED: u8 = b'L';
const EXACT: u8 = b'E';

/// A text without its plain literals. Kept and filled anew for each text.
#[derive(Debug, Default)]
pub struct Shape {
    text: Vec<u8>,
    literals: Vec<Range<usize>>,
}

impl Shape {
    /// Takes the literals out of `text`, or none at all where the scanner's rules are in any doubt. Gives what to look for among others.
    pub fn of(&mut self, text: &str, view: &SessionView) -> &[u8] {
        self.text.clear();
        self.literals.clear();
        self.text.push(LIFTED);
        let certain = view.standard_conforming_strings && (text.is_ascii() || matches!(&*view.client_encoding, "UTF8" | "SQL_ASCII"));
        if !certain || text.len() > MAX_LIFTED_BYTES || self.lift(text.as_bytes()).is_none() {
            self.text.clear();
            self.literals.clear();
            self.text.push(EXACT);
            self.text.extend_from_slice(text.as_bytes());
        }
        &self.text
    }

    /// None where anything but plain tokens is met.
    fn lift(&mut self, text: &[u8]) -> Option<()> {
        let mut at = 0;
        let mut after_string = false;
        while let Some(&byte) = text.get(at) {
            let rest = text.get(at..)?;
            let length = match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {
                    self.text.push(byte);
                    at += 1;
                    continue;
                }
                b'-' if rest.starts_with(b"--") => {
                    self.text.push(b'\n');
                    at += line_comment(rest);
                    continue;
                }
                b'/' if rest.starts_with(b"/*") => {
                    self.text.push(b' ');
                    at += block_comment(rest)?;
                    continue;
                }
                // What follows a string at once, or after white space, may be a part of it.
                b'\'' if after_string => return None,
                b'\'' => {
                    let length = string(rest)?;
                    // What is recorded of a text that may spell a secret depends on where it does.
                    if std::str::from_utf8(rest.get(..length)?).map_or(true, may_spell) {
                        return None;
                    }
                    self.literal(at, length, b's')
                }
                b'0'..=b'9' => {
                    let (length, kind) = number(rest)?;
                    self.literal(at, length, kind)
                }
                b'.' if rest.get(1).is_some_and(u8::is_ascii_digit) => return None,
                b'"' => self.copy(rest, quoted_name(rest)?),
                b'$' => {
                    let digits = rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
                    let next = rest.get(1 + digits);
                    if digits == 0 || next.is_some_and(|byte| continues_name(*byte)) {
                        return None;
                    }
                    self.copy(rest, 1 + digits)
                }
                byte if starts_name(byte) => {
                    let length = rest.iter().take_while(|byte| continues_name(**byte)).count();
                    // `E'…'`, `B'…'`, `U&'…'` and their like are read by rules of their own.
                    if matches!(rest.get(length), Some(b'\'')) || rest.get(length..).is_some_and(|rest| rest.starts_with(b"&'")) {
                        return None;
                    }
                    self.copy(rest, length)
                }
                byte if byte < b' ' || byte == 0x7f => return None,
                _ => self.copy(rest, 1),
            };
            after_string = byte == b'\'';
            at += length;
        }
        Some(())
    }

    fn copy(&mut self, rest: &[u8], length: usize) -> usize {
        self.text.extend_from_slice(rest.get(..length).unwrap_or_default());
        length
    }

    fn literal(&mut self, at: usize, length: usize, kind: u8) -> usize {
        self.text.extend_from_slice(&[MARK, kind]);
        self.literals.push(at..at + length);
        length
    }
}

fn starts_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_name(byte: u8) -> bool {
    starts_name(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn line_comment(rest: &[u8]) -> usize {
    rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len())
}

/// Comments nest.
fn block_comment(rest: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match rest.get(at..at + 2)? {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// From one quote to the other, doubled ones between. A control character inside is left to the exact text.
fn string(rest: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match (rest.get(at)?, rest.get(at + 1)) {
            (b'\'', Some(b'\'')) => at += 2,
            (b'\'', _) => return Some(at + 1),
            (byte, _) if *byte == 0 => return None,
            _ => at += 1,
        }
    }
}

fn quoted_name(rest: &[u8]) -> Option<usize> {
    let end = rest.iter().skip(1).position(|byte| *byte == b'"')?;
    let name = rest.get(..end + 2)?;
    (!name.iter().any(|byte| *byte < b' ')).then_some(end + 2)
}

/// Digits, perhaps with a point and more digits; and of which type the server takes them to be. Anything more is left to the exact text.
fn number(rest: &[u8]) -> Option<(usize, u8)> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let fraction = match rest.get(digits..)? {
        [b'.', more @ ..] => 1 + more.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        _ => 0,
    };
    let length = digits + fraction;
    if fraction == 1 || rest.get(length).is_some_and(|byte| continues_name(*byte) || *byte == b'.') {
        return None;
    }
    let text = std::str::from_utf8(rest.get(..digits)?).ok()?;
    let kind = match (fraction, text.parse::<i64>()) {
        (0, Ok(number)) if i32::try_from(number).is_ok() => b'i',
        (0, Ok(_)) => b'l',
        _ => b'n',
    };
    Some((length, kind))
}

/// What must be equal for another statement of the same shape to mean the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likeness {
    literals: Vec<(usize, Held)>,
    /// How many parameters were given; none before Bind.
    given: Option<usize>,
    parameters: Vec<(usize, Held)>,
}

/// What must hold of one literal or parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    /// A parameter is NULL, is there, or cannot be read.
    Presence(Presence),
    /// And reads as a number, or does not.
    Numeric(Presence, bool),
    /// It is this: a literal as it is written, a parameter as it is.
    Literal(Box<str>),
    Parameter(ParameterValue),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Null,
    There,
    Unreadable,
}

impl Presence {
    const fn of(value: &ParameterValue) -> Self {
        match value {
            ParameterValue::Null => Self::Null,
            ParameterValue::Text(_) => Self::There,
            ParameterValue::Unreadable => Self::Unreadable,
        }
    }
}

fn numeric(value: &ParameterValue) -> bool {
    matches!(value, ParameterValue::Text(text) if as_number(text).is_some())
}

impl Likeness {
    pub(super) fn new(statement: &Statement<'_>, facts: &Facts, noted: &Noted, view: &SessionView) -> Self {
        let mut shape = Shape::default();
        shape.of(statement.text, view);
        let lifts = lifts_literals(statement.text, facts);
        let held = |(number, place): (usize, &Range<usize>)| {
            let written = statement.text.get(place.clone()).unwrap_or_default();
            let held = if lifts { held_of_literal(written, place, statement.text, noted) } else { Some(Held::Literal(Box::from(written))) };
            held.map(|held| (number, held))
        };
        let values = statement.parameters.unwrap_or_default();
        Self {
            literals: shape.literals.iter().enumerate().filter_map(held).collect(),
            given: statement.parameters.map(<[_]>::len),
            parameters: values.iter().enumerate().filter_map(|(at, value)| Some((at, held_of_parameter(at, value, noted)?))).collect(),
        }
    }

    /// Whether a statement of the same shape, seen with the same names and settings, means the same. `shape` is that of `text`; `parameters`
    /// gives the number of those bound and the value of each.
    #[must_use]
    pub fn holds(&self, shape: &Shape, text: &str, given: Option<usize>, parameter: &dyn Fn(usize) -> ParameterValue) -> bool {
        self.given == given
            && self.literals.iter().all(|(number, held)| {
                let written = shape.literals.get(*number).and_then(|place| text.get(place.clone())).unwrap_or_default();
                match held {
                    Held::Literal(equal) => **equal == *written,
                    Held::Numeric(_, numeric) => as_number(&unquoted(written)).is_some() == *numeric,
                    Held::Presence(_) | Held::Parameter(_) => true,
                }
            })
            && self.parameters.iter().all(|(at, held)| {
                let value = parameter(*at);
                match held {
                    Held::Presence(presence) => Presence::of(&value) == *presence,
                    Held::Numeric(presence, is_number) => Presence::of(&value) == *presence && numeric(&value) == *is_number,
                    Held::Parameter(equal) => value == *equal,
                    Held::Literal(_) => false,
                }
            })
    }

    /// Bytes it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let held = |(_, held): &(usize, Held)| match held {
            Held::Literal(text) => 32 + text.len(),
            Held::Parameter(ParameterValue::Text(text)) => 32 + text.len(),
            _ => 32,
        };
        self.literals.iter().chain(&self.parameters).map(held).sum()
    }
}

/// Literals are lifted out of plain statements that were understood, spell no secret and name no statement or cursor.
fn lifts_literals(text: &str, facts: &Facts) -> bool {
    const PLAIN: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES"];
    facts.understanding == Understanding::Full
        && facts.statements == 1
        && facts.kinds.iter().all(|kind| PLAIN.contains(&&**kind))
        && facts.effects.names.is_empty()
        && !may_spell(text)
}

fn held_of_literal(written: &str, place: &Range<usize>, text: &str, noted: &Noted) -> Option<Held> {
    let exact = || Some(Held::Literal(Box::from(written)));
    // The parser places a negative number at its sign.
    let before = text.get(..place.start).unwrap_or_default().trim_end();
    let sign = before.ends_with('-').then(|| before.len() - 1);
    let is_here = |at: i32| usize::try_from(at).is_ok_and(|at| at == place.start || Some(at) == sign);
    if !noted.seen.iter().any(|at| is_here(*at)) {
        return exact();
    }
    let aspects = noted.looks.iter().filter(|(looked, _)| matches!(looked, Place::Literal(at) if is_here(*at))).map(|(_, aspect)| *aspect);
    match aspects.max() {
        Some(Aspect::Value) => exact(),
        Some(Aspect::Numeric) if written.starts_with('\'') => Some(Held::Numeric(Presence::There, as_number(&unquoted(written)).is_some())),
        // A literal is never NULL, and one that is written as a number is one.
        Some(Aspect::Numeric | Aspect::Presence) | None => None,
    }
}

fn held_of_parameter(at: usize, value: &ParameterValue, noted: &Noted) -> Option<Held> {
    let number = i32::try_from(at + 1).ok();
    let aspects = noted.looks.iter().filter(|(looked, _)| matches!(looked, Place::Parameter(looked) if Some(*looked) == number));
    match aspects.map(|(_, aspect)| *aspect).max()? {
        Aspect::Value => Some(Held::Parameter(value.clone())),
        Aspect::Numeric => Some(Held::Numeric(Presence::of(value), numeric(value))),
        Aspect::Presence => Some(Held::Presence(Presence::of(value))),
    }
}

fn unquoted(literal: &str) -> String {
    literal.trim_matches('\'').replace("''", "'")
}
