//! One statement and its values, for either kind of database.

use std::{borrow::Cow, fmt::Write as _};

use sqlx::{
    Arguments, AssertSqlSafe, FromRow, Postgres, SqlSafeStr, SqlStr, Sqlite,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{Reader, Write, postgres};
use crate::StoreError;

/// A value as it is stored: there are no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

/// What a row becomes, wherever it was read.
pub(crate) trait Record: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T> Record for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

/// A statement of our own text and bound values only. What runs it is boxed: sqlx's futures take kilobytes, which the task of every session that may ever ask would have for as
/// long as it lives.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    text: Cow<'static, str>,
    values: Vec<Value>,
    lock: Lock,
}

/// How a write transaction reads rows on PostgreSQL. SQLite's transactions hold the lock of the whole database already.
#[derive(Debug, Clone, Copy)]
enum Lock {
    None,
    /// Others may read them so too, and nobody may change them.
    Shared,
    Alone,
}

/// A statement that binds its values in the order of `$1`, `$2`, ….
pub(crate) const fn sql(text: &'static str) -> Statement {
    Statement { text: Cow::Borrowed(text), values: Vec::new(), lock: Lock::None }
}

/// As [`sql`], with names that come from our migrations.
pub(super) const fn assembled(text: String) -> Statement {
    Statement { text: Cow::Owned(text), values: Vec::new(), lock: Lock::None }
}

impl Statement {
    /// Gives the next value.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Locks the rows that a write transaction reads until it ends. SQLite's transactions hold the lock of the whole database already.
    pub(crate) const fn locked(mut self) -> Self {
        self.lock = Lock::Alone;
        self
    }

    /// Locks them against changes alone: others that only look at them go on.
    pub(crate) const fn shared(mut self) -> Self {
        self.lock = Lock::Shared;
        self
    }

    /// Goes on with more text.
    pub(crate) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Goes on with a value in its place.
    pub(crate) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let _ = write!(self.text.to_mut(), "${}", self.values.len());
        self
    }

    /// Goes on with `VALUES` and these rows.
    pub(crate) fn push_rows(&mut self, rows: impl IntoIterator<Item = impl IntoIterator<Item = Value>>) -> &mut Self {
        for (place, row) in rows.into_iter().enumerate() {
            self.push(if place == 0 { " VALUES (" } else { ", (" });
            for (place, value) in row.into_iter().enumerate() {
                self.push(if place == 0 { "" } else { ", " }).push_bind(value);
            }
            self.push(")");
        }
        self
    }

    /// Runs it, as part of a write; returns how many rows it changed.
    pub(crate) async fn run(self, write: &mut Write) -> Result<u64, StoreError> {
        match write {
            Write::Embedded(write) => {
                let query = sqlx::query_with::<Sqlite, SqliteArguments>(self.embedded_text(), arguments(self.values)?);
                let done = Box::pin(query.execute(write.connection())).await;
                Ok(write.noted(done)?.rows_affected())
            }
            Write::Postgres(write) => {
                let query = sqlx::query_with::<Postgres, PgArguments>(self.postgres_text(), arguments(self.values)?);
                Ok(Box::pin(postgres::in_time(query.execute(write.connection()))).await?.rows_affected())
            }
        }
    }

    /// Every row.
    pub(crate) async fn all<T: Record>(self, on: impl Into<On<'_>>) -> Result<Vec<T>, StoreError> {
        match on.into() {
            On::Read(Reader::Embedded(pool)) => Ok(Box::pin(self.embedded()?.fetch_all(pool)).await?),
            On::Write(Write::Embedded(write)) => {
                let done = Box::pin(self.embedded()?.fetch_all(write.connection())).await;
                write.noted(done)
            }
            On::Read(Reader::Postgres(database)) => {
                let mut lease = Box::pin(database.reader()).await?;
                let rows = Box::pin(postgres::in_time(self.postgres()?.fetch_all(lease.connection()))).await?;
                lease.give_back();
                Ok(rows)
            }
            On::Write(Write::Postgres(write)) => Box::pin(postgres::in_time(self.postgres()?.fetch_all(write.connection()))).await,
        }
    }

    /// The first row, if there is one.
    pub(crate) async fn optional<T: Record>(self, on: impl Into<On<'_>>) -> Result<Option<T>, StoreError> {
        Ok(self.all(on).await?.into_iter().next())
    }

    /// The one row.
    pub(crate) async fn one<T: Record>(self, on: impl Into<On<'_>>) -> Result<T, StoreError> {
        self.optional(on).await?.ok_or_else(|| StoreError::Database(sqlx::Error::RowNotFound))
    }

    fn embedded<T: Record>(self) -> Result<QueryAs<'static, Sqlite, T, SqliteArguments>, StoreError> {
        Ok(sqlx::query_as_with(self.embedded_text(), arguments(self.values)?))
    }

    fn postgres<T: Record>(self) -> Result<QueryAs<'static, Postgres, T, PgArguments>, StoreError> {
        Ok(sqlx::query_as_with(self.postgres_text(), arguments(self.values)?))
    }

    /// INVARIANT, here and below: text enters a statement as `&'static str`, or as the name of a table or column of ours; whatever comes from elsewhere is bound.
    pub(crate) fn embedded_text(&self) -> SqlStr {
        AssertSqlSafe(self.text.clone()).into_sql_str()
    }

    pub(crate) fn postgres_text(&self) -> SqlStr {
        let lock = match self.lock {
            Lock::None => "",
            Lock::Shared => " FOR SHARE",
            Lock::Alone => " FOR UPDATE",
        };
        AssertSqlSafe(format!("{}{lock}", self.text)).into_sql_str()
    }
}

fn arguments<A>(values: Vec<Value>) -> Result<A, StoreError>
where
    A: Arguments,
    for<'v> Option<String>: sqlx::Encode<'v, A::Database> + sqlx::Type<A::Database>,
    for<'v> Option<i64>: sqlx::Encode<'v, A::Database> + sqlx::Type<A::Database>,
{
    let mut arguments = A::default();
    for value in values {
        let added = match value {
            Value::Text(text) => arguments.add(text),
            Value::Number(number) => arguments.add(number),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Where a statement is run that gives rows.
pub(crate) enum On<'a> {
    Read(Reader<'a>),
    Write(&'a mut Write),
}

impl<'a> From<Reader<'a>> for On<'a> {
    fn from(reader: Reader<'a>) -> Self {
        Self::Read(reader)
    }
}

impl<'a> From<&'a mut Write> for On<'a> {
    fn from(write: &'a mut Write) -> Self {
        Self::Write(write)
    }
}
