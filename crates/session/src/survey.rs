//! Samples of a database's values, taken as the connection's role: which columns hold something sensitive. What is found is counted; no value leaves.

use std::{sync::Arc, time::Duration};

use model::{Actor, Connection, SystemAction, Timestamp};
use policy::survey::{COMMENTS, Report, Survey, TABLES};
use tokio::time::Instant;

use crate::{
    events,
    guard::{GovernError, Guard},
};

/// Most rows of a table that are sampled.
pub const MAX_ROWS: u32 = 10_000;
/// Longest that a survey may take.
pub const MAX_TIME: Duration = Duration::from_secs(3_600);

/// What is surveyed.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// On which connection.
    pub connection: &'a Arc<Connection>,
    /// Which database.
    pub database: &'a str,
    /// How many rows of each table, 1 to [`MAX_ROWS`].
    pub rows: u32,
    /// When no further table is begun; at most [`MAX_TIME`].
    pub within: Duration,
}

impl Guard {
    /// Samples every table of a database, one after the other, each in a short read-only transaction. For administrators, since it reads what policy may not let
    /// them read; it is written down before it begins.
    ///
    /// # Errors
    /// They may not, the wish is out of bounds, it could not be written down, or the target cannot be asked at all. A table that cannot be read is in the report.
    pub async fn survey(&self, wish: Wish<'_>, viewer: &Actor, now: Timestamp) -> Result<Report, GovernError> {
        let Wish { connection, database, rows, within } = wish;
        if !self.may(viewer, SystemAction::Administer, now) {
            return Err(GovernError::NotPermitted("only administrators may sample a database".to_owned()));
        }
        if rows == 0 || rows > MAX_ROWS || within > MAX_TIME {
            return Err(GovernError::Invalid(format!("a survey samples 1 to {MAX_ROWS} rows of each table, in at most {} s", MAX_TIME.as_secs())));
        }
        events::append(self.store(), events::database_surveyed(&connection.name, database, rows, viewer, now)).await?;
        let (until, target) = (Instant::now() + within, self.catalogs());
        let catalog = target.read(connection, database, None).await.map_err(GovernError::Invalid)?;
        let mut survey = Survey::plan(&self.version(), connection, database, &catalog, rows);
        drop(catalog);
        let tables = target.sample(connection, database, TABLES).await.map_err(GovernError::Invalid)?;
        let comments = target.sample(connection, database, COMMENTS).await.map_err(GovernError::Invalid)?;
        survey.learn(&tables, &comments);
        for table in 0..survey.len() {
            let sampled = match survey.statement(table) {
                _ if Instant::now() >= until => Err("there was no time left (--within)".to_owned()),
                Some(statement) => target.sample(connection, database, &statement).await,
                None => break,
            };
            let taken = tokio::task::spawn_blocking(move || {
                survey.take(table, sampled);
                survey
            });
            survey = taken.await.map_err(|_| GovernError::Invalid("the values could not be looked through".to_owned()))?;
        }
        Ok(survey.finish())
    }
}
