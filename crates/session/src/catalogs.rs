//! Catalog snapshots shared by the sessions of one database.
//!
//! A snapshot is replaced when a session changed the catalog and when the gateway's own periodic reading differs. Sessions look at one
//! counter before each operation; whoever finds it moved reads the catalog anew on its own connection, and shares what it read
//! unless its transaction may still undo what it saw.
//!
//! Growth: memory is one snapshot for each database in use, however many sessions it has.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use model::{Connection, ConnectionName};
use policy::classify::postgres::catalog::Catalog;

/// A future of what a target was asked.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What the gateway itself asks targets, with its own least-privileged credential. `gateway` implements it. Errors are sentences for people.
pub trait CatalogSource: Send + Sync {
    /// Reads the catalog of a database.
    fn read<'a>(&'a self, connection: &'a Arc<Connection>, database: &'a str) -> Asked<'a, Catalog>;

    /// The planner's estimate for a statement, in a read-only transaction that is rolled back. Only for statements made of built-ins.
    fn estimate<'a>(
        &'a self,
        connection: &'a Arc<Connection>,
        database: &'a str,
        search_path: &'a [Arc<str>],
        statement: &'a str,
    ) -> Asked<'a, String>;

    /// Locks the backend `process_id` holds on relations, as people read them.
    fn locks<'a>(&'a self, connection: &'a Arc<Connection>, database: &'a str, process_id: i32) -> Asked<'a, Vec<String>>;
}

/// The snapshots of all databases in use.
#[derive(Debug, Default)]
pub struct Catalogs {
    shared: Mutex<HashMap<(ConnectionName, String), Arc<Shared>>>,
}

/// The snapshot of one database, and whether it is still true.
#[derive(Debug, Default)]
pub struct Shared {
    /// Counts changes of the catalog that were seen.
    changes: AtomicU64,
    /// The snapshot and the count of changes it has.
    snapshot: ArcSwapOption<(u64, Arc<Catalog>)>,
    reading: tokio::sync::Mutex<()>,
}

impl Catalogs {
    /// The shared snapshot of a database, which may not have been read yet.
    #[must_use]
    pub fn shared(&self, connection: &ConnectionName, database: &str) -> Arc<Shared> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.entry((connection.clone(), database.to_owned())).or_default().clone()
    }

    /// The snapshot of a database, read now if there is none that is still true.
    ///
    /// # Errors
    /// The target cannot be asked.
    pub async fn current(&self, source: &dyn CatalogSource, connection: &Arc<Connection>, database: &str) -> Result<Arc<Catalog>, String> {
        let shared = self.shared(&connection.name, database);
        if let Some(catalog) = shared.current() {
            return Ok(catalog);
        }
        // One reads; the others wait for what it read.
        let _turn = shared.reading.lock().await;
        if let Some(catalog) = shared.current() {
            return Ok(catalog);
        }
        let changes = shared.changes();
        let catalog = Arc::new(source.read(connection, database).await?);
        shared.share(changes, catalog.clone());
        Ok(catalog)
    }
}

impl Shared {
    /// The snapshot, if no change was seen since it was read.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Catalog>> {
        let snapshot = self.snapshot.load();
        let (changes, catalog) = &**snapshot.as_ref()?;
        (*changes == self.changes()).then(|| catalog.clone())
    }

    /// How many changes were seen so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The catalog changed: nobody uses the snapshot any more.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Shares a snapshot that was read when `changes` had been seen. One that is older than what is there is dropped.
    pub fn share(&self, changes: u64, catalog: Arc<Catalog>) {
        self.snapshot.rcu(|there| match there {
            Some(there) if there.0 > changes => Some(there.clone()),
            _ => Some(Arc::new((changes, catalog.clone()))),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_counts_until_a_change_is_seen_and_an_older_one_never_replaces_a_newer() {
        let catalog = || Arc::new(Catalog::default());
        let shared = Catalogs::default().shared(&"pg".parse().unwrap(), "shop");
        assert!(shared.current().is_none());
        shared.share(0, catalog());
        assert!(shared.current().is_some());
        shared.changed();
        assert!(shared.current().is_none());
        let newer = catalog();
        shared.share(1, newer.clone());
        shared.share(0, catalog());
        assert!(Arc::ptr_eq(&shared.current().unwrap(), &newer));
    }
}
