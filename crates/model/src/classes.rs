//! Kinds of sensitive data: where they live and how they are masked, as written in `data-classes.toml`.

use serde::{Deserialize, Serialize};

use crate::{ConnectionName, DataClassName};

/// One class of sensitive values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataClass {
    /// Its name, also the id of the Cedar `DataClass` entity.
    pub name: DataClassName,
    /// What people read about it.
    pub description: Option<String>,
    /// How its values are shown to those who may not `reveal` them.
    pub masking: Masking,
    /// The columns that hold it.
    pub columns: Vec<ClassifiedColumn>,
}

/// A column that holds a data class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClassifiedColumn {
    /// On which connection; every one if none is given.
    pub connection: Option<ConnectionName>,
    /// In which database; every one if none is given.
    pub database: Option<String>,
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// The column's name.
    pub column: String,
    /// Which values in it, where it is JSON; all of it if none is given.
    pub path: Option<JsonPath>,
}

/// Where in a JSON document values are: `$.contact.emails[*]`. As in the lax mode of SQL/JSON paths, elements of an array on the way are each looked
/// into, whether or not the path says `[*]`. <https://www.postgresql.org/docs/18/functions-json.html#FUNCTIONS-SQLJSON-PATH>
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JsonPath(Vec<JsonStep>);

/// One step down into a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JsonStep {
    /// The member of that name.
    Member(String),
    /// Every member or element.
    Every,
}

/// A path that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a path is written as $.member, $.member.another, $.\"a name with dots\".*, or $.list[*].member")]
pub struct JsonPathError;

impl JsonPath {
    /// From the document's top down; at least one, but for the default: all of the document.
    #[must_use]
    pub fn steps(&self) -> &[JsonStep] {
        &self.0
    }
}

impl std::str::FromStr for JsonPath {
    type Err = JsonPathError;

    fn from_str(text: &str) -> Result<Self, JsonPathError> {
        let mut rest = text.strip_prefix('$').ok_or(JsonPathError)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(tail) = rest.strip_prefix("[*]").or_else(|| rest.strip_prefix(".*")) {
                steps.push(JsonStep::Every);
                rest = tail;
                continue;
            }
            let name = rest.strip_prefix('.').ok_or(JsonPathError)?;
            let (member, tail) = match name.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or(JsonPathError)?,
                None => name.split_at(name.find(['.', '[']).unwrap_or(name.len())),
            };
            if member.is_empty() || (!name.starts_with('"') && member.contains(['"', ']', '*', ' '])) {
                return Err(JsonPathError);
            }
            steps.push(JsonStep::Member(member.to_owned()));
            rest = tail;
        }
        if steps.is_empty() { Err(JsonPathError) } else { Ok(Self(steps)) }
    }
}

impl std::fmt::Display for JsonPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|step| match step {
            JsonStep::Member(name) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => write!(f, ".{name}"),
            JsonStep::Member(name) => write!(f, ".\"{name}\""),
            JsonStep::Every => f.write_str(".*"),
        })
    }
}

impl TryFrom<String> for JsonPath {
    type Error = JsonPathError;

    fn try_from(text: String) -> Result<Self, JsonPathError> {
        text.parse()
    }
}

impl From<JsonPath> for String {
    fn from(path: JsonPath) -> Self {
        path.to_string()
    }
}

/// A mask, and what it leaves to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Masking {
    /// What takes a value's place.
    pub mask: Mask,
    /// Whether how long a text is can be seen.
    pub length: Seen,
    /// Whether it can be seen that there is no value.
    pub nulls: Seen,
}

/// Whether something about a masked value can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// It can.
    Shown,
    /// It cannot.
    Hidden,
}

/// What is shown in place of a value. Where a mask cannot be applied to a value or its type, the value is withheld (NULL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// `********` for text, a fixed value of its type for everything else.
    Redact,
    /// NULL.
    Null,
    /// The last four letters or digits.
    KeepLastFour,
    /// What follows the `@`.
    KeepDomain,
    /// A keyed hash: the same for equal values.
    Hash,
    /// Another value of the same format: the same for equal values, different ones for others.
    Token,
    /// A coarser value.
    Generalise(Coarseness),
}

/// How coarse values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Coarseness {
    /// Of dates and times, this much is kept.
    pub to: TimeUnit,
    /// Numbers are rounded down to a multiple of it; at least 2.
    pub band: u32,
}

/// The smallest unit of a time that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// Months.
    Month,
    /// Years.
    Year,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_and_written() {
        let member = |name: &str| JsonStep::Member(name.to_owned());
        let table = [
            ("$.email", vec![member("email")], "$.email"),
            ("$.a.b_c", vec![member("a"), member("b_c")], "$.a.b_c"),
            ("$.list[*].mail", vec![member("list"), JsonStep::Every, member("mail")], "$.list.*.mail"),
            ("$.*", vec![JsonStep::Every], "$.*"),
            ("$.\"a.b\".c", vec![member("a.b"), member("c")], "$.\"a.b\".c"),
            ("$.größe", vec![member("größe")], "$.größe"),
        ];
        for (text, steps, written) in table {
            let path: JsonPath = text.parse().unwrap();
            assert_eq!(path.steps(), steps);
            assert_eq!(path.to_string(), written);
            assert_eq!(written.parse::<JsonPath>().unwrap(), path);
        }
        for text in ["", "$", "email", "$.", "$..a", "$.a[", "$.a[0]", "$.\"a", "$.\"\"", "$.a b", "$a", "$.a*"] {
            assert_eq!(text.parse::<JsonPath>(), Err(JsonPathError), "{text}");
        }
    }
}
