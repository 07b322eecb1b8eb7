//! Whole tables, whatever their columns: for copying them from one database to another.

use aws_lc_rs::digest;
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use sqlx::{
    AssertSqlSafe, Column, ColumnIndex, Decode, Executor, FromRow, Postgres, Row, SqlSafeStr, SqlStr, Sqlite, Statement as _, Type, TypeInfo,
};

use super::{Statement, Value, Write, postgres, statement};
use crate::StoreError;

/// Rows of one INSERT, if its values are not too many.
const ROWS_AT_ONCE: usize = 500;
/// SQLite takes 32,766 parameters, PostgreSQL 65,535.
const VALUES_AT_ONCE: usize = 30_000;

/// A table of our migrations with its columns.
#[derive(Debug)]
pub(crate) struct Table {
    name: &'static str,
    columns: Vec<String>,
}

/// The values of a row, in the order of the columns.
struct Cells(Vec<Value>);

impl Table {
    /// Looks the columns up.
    pub(crate) async fn of(write: &mut Write, name: &'static str) -> Result<Self, StoreError> {
        let text = safe(format!("SELECT * FROM {name}"));
        let columns = match write {
            Write::Embedded(write) => names(write.connection().prepare(text).await?.columns()),
            Write::Postgres(write) => names(postgres::in_time(write.connection().prepare(text)).await?.columns()),
        };
        Ok(Self { name, columns })
    }

    /// Every row, as it comes.
    fn rows<'a>(&self, write: &'a mut Write) -> BoxStream<'a, Result<Vec<Value>, StoreError>> {
        let text = safe(format!("SELECT {} FROM {}", self.columns.join(", "), self.name));
        match write {
            Write::Embedded(write) => values(sqlx::query_as::<Sqlite, Cells>(text).fetch(write.connection())),
            Write::Postgres(write) => values(sqlx::query_as::<Postgres, Cells>(text).fetch(write.connection())),
        }
    }

    /// How many rows there are, and a sum of them all.
    pub(crate) async fn sum(&self, write: &mut Write) -> Result<Sum, StoreError> {
        let mut sum = Sum::default();
        let mut rows = self.rows(write);
        while let Some(row) = rows.next().await {
            sum.add(&row?);
        }
        Ok(sum)
    }

    /// Puts every row into the same table elsewhere, in place of those there; returns their sum.
    pub(crate) async fn fill(&self, from: &mut Write, into: &mut Write) -> Result<Sum, StoreError> {
        // What migrations put there belongs to an empty store.
        statement::assembled(format!("DELETE FROM {}", self.name)).run(into).await?;
        let mut sum = Sum::default();
        let at_once = ROWS_AT_ONCE.min(VALUES_AT_ONCE / self.columns.len().max(1));
        let mut chunks = std::pin::pin!(self.rows(from).try_chunks(at_once));
        while let Some(rows) = chunks.next().await {
            let rows = rows.map_err(|error| error.1)?;
            rows.iter().for_each(|row| sum.add(row));
            self.insert(rows).run(into).await?;
        }
        Ok(sum)
    }

    fn insert(&self, rows: Vec<Vec<Value>>) -> Statement {
        let mut statement = statement::assembled(format!("INSERT INTO {} ({})", self.name, self.columns.join(", ")));
        statement.push_rows(rows);
        statement
    }
}

/// How many rows there are, and the sum of their SHA-256 modulo 2^256: the same rows in any order have the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    total: [u8; 32],
}

impl Sum {
    fn add(&mut self, row: &[Value]) {
        let mut context = digest::Context::new(&digest::SHA256);
        for value in row {
            let (kind, bytes) = match value {
                Value::Text(Some(text)) => (b't', text.as_bytes().to_vec()),
                Value::Number(Some(number)) => (b'n', number.to_be_bytes().to_vec()),
                Value::Text(None) | Value::Number(None) => (b'0', Vec::new()),
            };
            context.update(&[kind]);
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(&bytes);
        }
        let mut carry = 0u16;
        for (sum, byte) in self.total.iter_mut().zip(context.finish().as_ref()) {
            let added = u16::from(*sum) + u16::from(*byte) + carry;
            carry = added >> 8;
            *sum = added.to_le_bytes()[0];
        }
        self.rows += 1;
    }
}

impl<'r, R: Row> FromRow<'r, R> for Cells
where
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let cell = |(place, column): (usize, &<R::Database as sqlx::Database>::Column)| {
            Ok(if column.type_info().name() == "TEXT" { Value::Text(row.try_get(place)?) } else { Value::Number(row.try_get(place)?) })
        };
        row.columns().iter().enumerate().map(cell).collect::<Result<_, _>>().map(Self)
    }
}

fn values<'a>(rows: impl Stream<Item = Result<Cells, sqlx::Error>> + Send + 'a) -> BoxStream<'a, Result<Vec<Value>, StoreError>> {
    rows.map(|row| Ok(row?.0)).boxed()
}

fn names(columns: &[impl Column]) -> Vec<String> {
    columns.iter().map(|column| column.name().to_owned()).collect()
}

/// INVARIANT: names of tables and columns are those of our migrations.
fn safe(text: String) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
}
