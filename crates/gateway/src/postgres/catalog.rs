//! What the gateway itself asks targets: catalog snapshots, the planner's estimates, locks. With the connection's least-privileged credential,
//! read-only, with a time limit, on a link of its own.
//!
//! The link that reads catalogs is kept for a moment: where one object is made, more follow. It is gone before a `DROP DATABASE`, which waits five
//! seconds for others to leave, gives up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use model::{Connection, ConnectionName, connection::TargetLogin};
use policy::classify::postgres::catalog::{Answer, Catalog};
use protocol::postgres::dialogue::{MAX_ANSWER_BYTES, Rows};
use session::catalogs::{Asked, CatalogSource};
use store::Store;

use super::questions::{Question, Questions};
use crate::dial::{self, Credential, Wish};

/// How long the link that reads a catalog is kept for the next reading.
const KEPT: Duration = Duration::from_secs(1);

/// Most that is kept of one sample, in bytes.
const MAX_SAMPLE_BYTES: usize = 64 << 20;

/// Longest that a sample may take, a target that says nothing included. Above the time limit of the statement, so that a slow one is told in the target's words.
const MAX_SAMPLE_TIME: Duration = Duration::from_secs(45);

/// What every reading begins with, in this order.
const BEGINNING: [&str; 5] = [
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL statement_timeout = '30s'",
    // Printing a view's definition takes a share lock on it; a migration that holds the view is not to queue others behind us for long.
    "SET LOCAL lock_timeout = '5s'",
    "SET LOCAL search_path = pg_catalog",
    // What is asked is short; to compile it takes longer than to run it.
    "SET LOCAL jit = off",
];

/// Asks targets with the credentials in a store.
#[derive(Debug, Clone)]
pub struct TargetCatalogs {
    store: Store,
    kept: Arc<Mutex<HashMap<(ConnectionName, String), KeptLink>>>,
}

/// A link that is between two readings of a database's catalog.
#[derive(Debug)]
struct KeptLink {
    connection: Arc<Connection>,
    questions: Questions,
    /// Of which reading.
    since: tokio::time::Instant,
}

impl TargetCatalogs {
    /// `store` has the secrets connections name.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, kept: Arc::default() }
    }

    /// A link of the gateway's own, in a read-only transaction with a time limit.
    async fn open(&self, connection: &Arc<Connection>, database: &str) -> Result<Questions, String> {
        let mut questions = self.dial(connection, database).await?;
        questions.ask(&BEGINNING.map(Question::Once)).await?;
        Ok(questions)
    }

    async fn dial(&self, connection: &Arc<Connection>, database: &str) -> Result<Questions, String> {
        self.dial_as(connection.catalog_login.as_ref().unwrap_or(&connection.login), connection, database).await
    }

    async fn dial_as(&self, role: &TargetLogin, connection: &Arc<Connection>, database: &str) -> Result<Questions, String> {
        let credential = Credential::Familiar(role);
        let wish = Wish { connection, credential, database, application_name: "countersign catalog".to_owned(), parameters: Vec::new() };
        let dialled = dial::dial(&self.store, wish).await.map_err(|error| {
            tracing::warn!(connection = %connection.name, %error, "the catalog link could not be opened");
            dial::sentence(connection, &error)
        })?;
        Ok(Questions::of(dialled))
    }

    async fn read_catalog(&self, connection: &Arc<Connection>, database: &str, earlier: Option<Arc<Catalog>>) -> Result<Catalog, String> {
        if let Some(earlier) = earlier {
            let questions = match self.take(connection, database) {
                Some(kept) => kept,
                None => self.dial(connection, database).await?,
            };
            match self.read_on(questions, connection, database, Some(earlier)).await {
                Ok(catalog) => return Ok(catalog),
                // The kept link was gone, something was dropped while it was printed, or too much has changed.
                Err(why) => tracing::debug!(connection = %connection.name, why, "the catalog is read as a whole"),
            }
        }
        let questions = self.dial(connection, database).await?;
        self.read_on(questions, connection, database, None).await
    }

    async fn read_on(
        &self,
        mut questions: Questions,
        connection: &Arc<Connection>,
        database: &str,
        earlier: Option<Arc<Catalog>>,
    ) -> Result<Catalog, String> {
        questions.room = MAX_ANSWER_BYTES;
        let (settings, texts) = match &earlier {
            Some(earlier) => (earlier.settings().to_vec(), Catalog::standing_questions()),
            None => (Vec::new(), Catalog::questions(None)),
        };
        let before = || BEGINNING.into_iter().chain(settings.iter().map(String::as_str)).map(Question::Once);
        let question = |text| if earlier.is_some() { Question::Standing(text) } else { Question::Once(text) };
        let asked: Vec<Question<'_>> = before().chain(texts.iter().map(String::as_str).map(question)).chain([Question::Once("COMMIT")]).collect();
        let mut answers: Vec<Answer> = questions.ask_for(&asked).await?;
        answers.pop();
        answers.drain(..before().count().min(answers.len()));
        self.keep(connection, database, questions);
        let database = database.to_owned();
        let read = tokio::task::spawn_blocking(move || Catalog::from_answers(&database, earlier.as_deref(), answers)).await;
        read.map_err(|_| "the catalog could not be read".to_owned())?.map_err(|error| error.to_string())
    }

    fn take(&self, connection: &Arc<Connection>, database: &str) -> Option<Questions> {
        let kept = self.kept().remove(&(connection.name.clone(), database.to_owned()))?;
        Arc::ptr_eq(&kept.connection, connection).then_some(kept.questions)
    }

    /// Keeps the link for a moment; if it was not used again by then, it is closed.
    fn keep(&self, connection: &Arc<Connection>, database: &str, questions: Questions) {
        let (of, since) = ((connection.name.clone(), database.to_owned()), tokio::time::Instant::now());
        self.kept().insert(of.clone(), KeptLink { connection: connection.clone(), questions, since });
        let catalogs = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(since + KEPT).await;
            let unused = match catalogs.kept().entry(of) {
                std::collections::hash_map::Entry::Occupied(kept) if kept.get().since == since => Some(kept.remove()),
                _ => None,
            };
            if let Some(unused) = unused {
                unused.questions.end().await;
            }
        });
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<(ConnectionName, String), KeptLink>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_estimate(&self, connection: &Arc<Connection>, database: &str, search_path: &[Arc<str>], statement: &str) -> Result<String, String> {
        let mut questions = self.open(connection, database).await?;
        let path: Vec<String> = search_path.iter().map(|schema| format!("\"{}\"", schema.replace('"', "\"\""))).collect();
        if !path.is_empty() {
            questions.ask_one(format!("SET LOCAL search_path = {}", path.join(", "))).await?;
        }
        let plan = questions.ask_one(format!("EXPLAIN (FORMAT TEXT) {statement}")).await?;
        questions.end().await;
        let lines: Vec<String> = plan.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        estimate_of(&lines).ok_or_else(|| "the planner gave none".to_owned())
    }

    async fn ask_locks(&self, connection: &Arc<Connection>, database: &str, process_id: i32) -> Result<Vec<String>, String> {
        let mut questions = self.open(connection, database).await?;
        let rows = questions
            .ask_one(format!(
                "SELECT l.mode || ' on ' || n.nspname || '.' || c.relname FROM pg_catalog.pg_locks l \
                 JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE l.pid = {process_id} AND l.granted AND c.oid >= 16384 ORDER BY 1 LIMIT 100"
            ))
            .await?;
        questions.end().await;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).map(|lock| model::name::printable(&lock)).collect())
    }

    async fn ask_sample(&self, connection: &Arc<Connection>, database: &str, statement: &str) -> Result<Rows, String> {
        if connection.jit.is_some() {
            return Err(
                "no rows are sampled where each session gets a role of its own: there is no role that the gateway could read them as".to_owned()
            );
        }
        let mut questions = self.dial_as(&connection.login, connection, database).await?;
        questions.room = MAX_SAMPLE_BYTES;
        let asked: Vec<Question<'_>> = BEGINNING.into_iter().map(Question::Once).chain([Question::Once(statement)]).collect();
        let sampled = questions.ask(&asked).await.map(|mut answers| answers.pop().unwrap_or_default());
        questions.end().await;
        Ok(sampled?)
    }
}

impl CatalogSource for TargetCatalogs {
    fn read<'a>(&'a self, connection: &'a Arc<Connection>, database: &'a str, earlier: Option<Arc<Catalog>>) -> Asked<'a, Catalog> {
        Box::pin(self.read_catalog(connection, database, earlier))
    }

    fn estimate<'a>(
        &'a self,
        connection: &'a Arc<Connection>,
        database: &'a str,
        search_path: &'a [Arc<str>],
        statement: &'a str,
    ) -> Asked<'a, String> {
        Box::pin(self.ask_estimate(connection, database, search_path, statement))
    }

    fn locks<'a>(&'a self, connection: &'a Arc<Connection>, database: &'a str, process_id: i32) -> Asked<'a, Vec<String>> {
        Box::pin(self.ask_locks(connection, database, process_id))
    }

    fn sample<'a>(&'a self, connection: &'a Arc<Connection>, database: &'a str, statement: &'a str) -> Asked<'a, Rows> {
        Box::pin(async move {
            let sampled = tokio::time::timeout(MAX_SAMPLE_TIME, self.ask_sample(connection, database, statement)).await;
            sampled.unwrap_or_else(|_| Err(format!("the target did not answer within {} s", MAX_SAMPLE_TIME.as_secs())))
        })
    }
}

/// The top node's row estimate, and the table's under a write: `Delete on payments  (cost=… rows=0 …)` says 0, its child says how many.
fn estimate_of(plan: &[String]) -> Option<String> {
    let rows = |line: &String| line.split("rows=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
    let counts: Vec<u64> = plan.iter().filter_map(rows).collect();
    let top = *counts.first()?;
    let shown = if top == 0 { counts.get(1).copied().unwrap_or(0) } else { top };
    Some(format!("about {shown} rows"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_that_of_the_rows_a_write_reaches() {
        let plan = |lines: &[&str]| estimate_of(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(plan(&["Seq Scan on payments  (cost=0.00..10.00 rows=100000 width=8)"]).as_deref(), Some("about 100000 rows"));
        let delete = ["Delete on payments  (cost=0.00..10.00 rows=0 width=0)", "  ->  Seq Scan on payments  (cost=0.00..10.00 rows=7 width=6)"];
        assert_eq!(plan(&delete).as_deref(), Some("about 7 rows"));
        assert_eq!(plan(&["nothing"]), None);
    }
}
