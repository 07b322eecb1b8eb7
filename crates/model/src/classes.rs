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
    pub mask: Mask,
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
}

/// How a value is shown in place of itself. A mask that cannot be applied to a column's type withholds the value (NULL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// `********` for text, NULL for everything else.
    Redact,
    /// NULL.
    Null,
    /// All but the last four letters or digits become `*`; text only.
    KeepLastFour,
    /// The part before `@` becomes `***`; text only.
    KeepDomain,
}
