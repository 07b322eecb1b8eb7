//! What is known of the values that one side of a comparison has from row to row, and which constants they always compare alike with.

use super::{
    Test,
    patterns::{is_empty_container, says_letters},
};
use crate::classify::postgres::constants::{self, Constant, Value};

/// The number that stands for `ctid`, which names one row.
pub(super) const CTID: i16 = -1;

/// Of which kind they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `boolean`.
    Truth,
    /// Numbers.
    Number,
    /// Texts.
    Text,
    /// Days; moments if they have hours.
    Moment {
        /// They have.
        hours: bool,
    },
    /// Labels of an enumeration, whose order is not known.
    Choice,
    /// Any other.
    Other,
}

/// How they are made of the column's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// They are the column's.
    Itself,
    /// As different as the column's.
    Varied,
    /// Without upper-case letters, or lower-case ones.
    Lower,
    Upper,
    /// So many letters of them at most.
    Cut(usize),
    /// What is written of a moment.
    Stamp,
    /// Without some of their signs, perhaps without any.
    Stripped,
    /// Digits that say nothing.
    Digest,
    /// Beside something that is the same for each row.
    Joined,
    /// A span of time from then to now.
    Age,
}

impl Form {
    /// How much of what the column's values say is lost.
    const fn weight(self) -> u8 {
        match self {
            Self::Itself => 0,
            Self::Varied => 1,
            Self::Lower | Self::Upper | Self::Stamp | Self::Age => 2,
            Self::Cut(_) | Self::Stripped => 3,
            Self::Digest => 4,
            Self::Joined => 5,
        }
    }
}

/// Between what numbers lie, but for such as nobody would have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) least: f64,
    pub(super) greatest: f64,
    /// There are no fractions.
    pub(super) whole: bool,
}

impl Span {
    /// Numbers of which nothing is known.
    pub(super) const ANY: Self = Self { least: -2_147_483_647.0, greatest: 2_147_483_646.0, whole: false };
    /// Lengths of texts and lists.
    pub(super) const LENGTHS: Self = Self { least: 1.0, greatest: 999_999.0, whole: true };

    /// Of a column of this type; one that is a key by itself counts from 1.
    pub(super) fn of_type(oid: u32, key: bool) -> Option<Self> {
        let (least, greatest) = match oid {
            21 => (-32_768.0, 32_767.0),
            23 => (-999_999_999.0, 999_999_999.0),
            20 => (Self::ANY.least, Self::ANY.greatest),
            26 => (1.0, 4_294_967_295.0),
            _ => return None,
        };
        Some(Self { least: if key { 1.0 } else { least }, greatest, whole: true })
    }

    /// From nothing up to this.
    pub(super) const fn up_to(greatest: f64) -> Self {
        Self { least: 0.0, greatest, whole: true }
    }

    /// Whether all of them meet a test that leaves out some.
    fn meets(self, test: Test, number: f64) -> bool {
        match test {
            Test::AtLeast => number <= self.least,
            Test::More => number < self.least,
            Test::AtMost => number >= self.greatest,
            Test::Less => number > self.greatest,
            Test::Unequal => number < self.least || number > self.greatest || (self.whole && number.fract() != 0.0),
            Test::Equal | Test::Null | Test::NotNull | Test::Like | Test::NotLike => false,
        }
    }

    /// The same with a number added, multiplied or subtracted; none where that is not followed.
    pub(super) fn after(self, operator: &str, number: f64) -> Option<Self> {
        let whole = self.whole && number.fract() == 0.0;
        let (a, b) = match operator {
            "+" => (self.least + number, self.greatest + number),
            "-" => (self.least - number, self.greatest - number),
            "*" => (self.least * number, self.greatest * number),
            _ => return None,
        };
        Some(Self { least: a.min(b), greatest: a.max(b), whole })
    }
}

/// Something made of the target's columns that differs from row to row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Own {
    /// The one column it is made of; 0 if there are several.
    pub(super) column: i16,
    pub(super) form: Form,
    pub(super) kind: Kind,
    /// For numbers, also where they are written as text.
    pub(super) span: Option<Span>,
    /// There are no more values than so many.
    pub(super) few: Option<u32>,
    /// The column is a key by itself.
    pub(super) key: bool,
    /// No value is NULL; unknown of a view's column.
    pub(super) not_null: Option<bool>,
    /// The column is made of others.
    pub(super) generated: bool,
}

impl Own {
    pub(super) fn is_column(&self) -> bool {
        self.form == Form::Itself
    }

    /// Something that is made of it.
    pub(super) fn made(self, form: Form) -> Self {
        let form = if form.weight() > self.form.weight() { form } else { self.form };
        Self { form, not_null: None, ..self }
    }

    /// Whether a part of it may be the same for each row.
    pub(super) const fn has_fixed_parts(&self) -> bool {
        matches!(self.form, Form::Joined | Form::Digest)
    }

    /// Whether every value meets a test that leaves out some, or every value that anybody would have.
    pub(super) fn all_meet(&self, test: Test, constant: &Constant) -> bool {
        if !self.minds(test) {
            return false;
        }
        let value = constant.value();
        match self.kind {
            Kind::Number => match number(value) {
                Some(number) => self.span.unwrap_or(Span::ANY).meets(test, number),
                None => self.key,
            },
            Kind::Truth => match constants::truth(value).flatten() {
                Some(truth) => (test == Test::AtLeast && !truth) || (test == Test::AtMost && truth),
                None => false,
            },
            Kind::Text => value.written().is_none_or(|text| self.texts_meet(test, text)),
            Kind::Moment { hours } => value.written().is_some_and(|text| moments_meet(test, text, hours)),
            Kind::Choice => test != Test::Unequal,
            Kind::Other => match value {
                Value::Number(number) => Span::ANY.meets(test, *number),
                _ => value.written().is_some_and(|text| self.others_meet(test, text)),
            },
        }
    }

    /// Whether the constant matters: of what does not, it is not looked at, so that statements with other ones are alike.
    fn minds(&self, test: Test) -> bool {
        match test {
            Test::AtLeast | Test::More | Test::AtMost | Test::Less => true,
            Test::Unequal => self.key || self.span.is_some() || !self.is_column() || matches!(self.kind, Kind::Moment { .. }),
            Test::Equal | Test::Null | Test::NotNull | Test::Like | Test::NotLike => false,
        }
    }

    fn texts_meet(&self, test: Test, text: &str) -> bool {
        if let Some(span) = self.span {
            // Numbers that are written as text.
            return test != Test::Unequal || constants::as_number(text).is_none_or(|number| span.meets(test, number));
        }
        let first = text.bytes().next();
        match test {
            Test::AtLeast | Test::More => first.is_none_or(|first| first < b'0'),
            Test::AtMost | Test::Less => first.is_some_and(|first| first > b'z') || text.to_ascii_lowercase().starts_with("zz"),
            _ => match self.form {
                Form::Itself => self.key && text.is_empty(),
                Form::Lower => is_empty_container(text) || text.bytes().any(|byte| byte.is_ascii_uppercase()),
                Form::Upper => is_empty_container(text) || text.bytes().any(|byte| byte.is_ascii_lowercase()),
                Form::Cut(most) => is_empty_container(text) || text.chars().count() > most,
                Form::Stamp => text.len() < 4 || !text.bytes().any(|byte| byte.is_ascii_digit()),
                _ => is_empty_container(text),
            },
        }
    }

    fn others_meet(&self, test: Test, text: &str) -> bool {
        if self.form == Form::Age {
            return text.contains('-') || !text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        }
        let text = text.trim().to_ascii_lowercase();
        let signs = || text.bytes().filter(|byte| !matches!(byte, b'-' | b':'));
        let (nil, last) = (signs().all(|byte| byte == b'0'), text.len() >= 32 && signs().all(|byte| byte == b'f'));
        match test {
            Test::AtLeast | Test::More => nil || text == "-infinity",
            // The end of a day is that of all times of day.
            Test::AtMost | Test::Less => {
                last || text.starts_with("23:59") || text.starts_with("24:") || matches!(text.as_str(), "infinity" | "+infinity" | "inf")
            }
            _ => (self.key && (nil || last)) || (!self.is_column() && is_empty_container(&text)),
        }
    }
}

/// A constant as a number.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        other => constants::as_number(other.written()?),
    }
}

/// Moments before those that are on record, and after.
fn moments_meet(test: Test, text: &str, hours: bool) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let year = text.split('-').next().filter(|year| year.len() >= 4).and_then(|year| year.parse::<u32>().ok());
    let before = text == "-infinity"
        || text == "epoch"
        || text.contains("bc")
        || year.is_some_and(|year| year <= 1900 || (hours && year < 1970))
        || (hours && text.starts_with("1970-01-01"));
    let after = matches!(text.as_str(), "infinity" | "+infinity") || year.is_some_and(|year| year >= 2100);
    match test {
        Test::AtLeast | Test::More => before,
        Test::AtMost | Test::Less => after,
        _ => before || after,
    }
}

/// Whether two constants that are compared with the same column are the same, if that is certain. Of patterns, too, in which `%%` is no more than `%`.
pub(super) fn same(kind: Kind, a: &Value, b: &Value) -> Option<bool> {
    match (kind, a.written(), b.written()) {
        (Kind::Text | Kind::Choice, Some(a), Some(b)) => {
            let once = |text: &str| text.trim_end().replace("%%", "%").replace("%%", "%");
            Some(once(a) == once(b))
        }
        _ => in_order(kind, a, b).map(std::cmp::Ordering::is_eq),
    }
}

/// How two constants that are compared with the same column are ordered, if that is certain whatever its collation.
pub(super) fn in_order(kind: Kind, a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match kind {
        Kind::Truth => Some(constants::truth(a)??.cmp(&constants::truth(b)??)),
        Kind::Number => constants::compare(&Value::Number(number(a)?), &Value::Number(number(b)?)),
        _ => {
            let (a, b) = (a.written()?, b.written()?);
            let alike = match kind {
                Kind::Text | Kind::Choice => plain(a) && plain(b),
                // As in ISO 8601, and as exact as each other.
                Kind::Moment { .. } => {
                    a.len() == b.len() && [a, b].iter().all(|text| is_day(text.get(..10).unwrap_or_default())) && !says_letters(a) && !says_letters(b)
                }
                _ => false,
            };
            (alike || a == b).then(|| a.cmp(b))
        }
    }
}

fn is_day(text: &str) -> bool {
    text.len() == 10 && text.bytes().enumerate().all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() })
}
