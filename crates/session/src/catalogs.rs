//! Catalog snapshots shared by the sessions of one database.
//!
//! A snapshot is replaced when a session changed the catalog and when the gateway's own reading differs, be it a periodic one
//! ([`Catalogs::look_again`]). Sessions look at one counter before each operation; whoever finds it moved has the gateway read the catalog on a link of
//! its own, once for all who wait. A reading asks only for what changed since the last. What a session's open transaction changed nobody else sees:
//! that is asked on the caller's connection and kept from others.
//!
//! Growth: memory is one snapshot for each database in use, however many sessions it has.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use model::{Connection, ConnectionName};
use policy::classify::postgres::catalog::Catalog;
use protocol::postgres::dialogue::Rows;

/// How long one reading may take. Half a million relations take a few seconds; the target itself breaks off a single question after thirty.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// A future of what a target was asked.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What the gateway itself asks targets, with its own least-privileged credential. `gateway` implements it. Errors are sentences for people.
pub trait CatalogSource: Send + Sync {
    /// Reads the catalog of a database: with an earlier snapshot, what changed since.
    fn read<'a>(&'a self, connection: &'a Arc<Connection>, database: &'a str, earlier: Option<Arc<Catalog>>) -> Asked<'a, Catalog>;

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

    /// The rows that a statement reads as the callers' role, in a read-only transaction with a time limit. Not every source has rows.
    fn sample<'a>(&'a self, _connection: &'a Arc<Connection>, _database: &'a str, _statement: &'a str) -> Asked<'a, Rows> {
        Box::pin(async { Err("there are no rows here to sample".to_owned()) })
    }
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
    /// Counts who asked for a reading.
    asked: AtomicU64,
    /// Who asked before this many has the last reading: it began after they asked.
    reading: Arc<tokio::sync::Mutex<u64>>,
}

impl Catalogs {
    /// The shared snapshot of a database, which may not have been read yet.
    #[must_use]
    pub fn shared(&self, connection: &ConnectionName, database: &str) -> Arc<Shared> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.entry((connection.clone(), database.to_owned())).or_default().clone()
    }

    /// The snapshot of a database, read now if there is none that is still true, and the count of changes it has.
    ///
    /// # Errors
    /// The target cannot be asked.
    pub async fn current(
        &self,
        source: &Arc<dyn CatalogSource>,
        connection: &Arc<Connection>,
        database: &str,
    ) -> Result<(u64, Arc<Catalog>), String> {
        let shared = self.shared(&connection.name, database);
        match shared.current() {
            Some(known) => Ok(known),
            None => shared.read_anew(source, connection, database).await,
        }
    }

    /// Reads the catalog of every database with sessions again: what was changed past the gateway is seen from then on. Forgets the other databases.
    pub async fn look_again(&self, source: &Arc<dyn CatalogSource>, connections: &BTreeMap<ConnectionName, Arc<Connection>>) {
        for ((name, database), shared) in self.in_use() {
            let Some(connection) = connections.get(&name) else { continue };
            if let Err(why) = shared.read_anew(source, connection, &database).await {
                tracing::warn!(connection = %name, why, "the catalog could not be read again: changes made past the gateway are not seen");
            }
        }
    }

    fn in_use(&self) -> Vec<((ConnectionName, String), Arc<Shared>)> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|_, shared| Arc::strong_count(shared) > 1);
        shared.iter().map(|(of, shared)| (of.clone(), shared.clone())).collect()
    }
}

impl Shared {
    /// The snapshot and its count of changes, if no change was seen since it was read.
    #[must_use]
    pub fn current(&self) -> Option<(u64, Arc<Catalog>)> {
        let snapshot = self.snapshot.load();
        let (changes, catalog) = &**snapshot.as_ref()?;
        (*changes == self.changes()).then(|| (*changes, catalog.clone()))
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

    /// Shares a snapshot that was read when `changes` had been seen. One that is older than what is there is dropped. Answers the snapshot to use:
    /// the one that is there if it is the same.
    pub fn share(&self, changes: u64, catalog: Catalog) -> Arc<Catalog> {
        let there = self.snapshot.load_full();
        let same = there.map(|there| there.1.clone()).filter(|there| **there == catalog);
        let catalog = same.unwrap_or_else(|| Arc::new(catalog));
        self.snapshot.rcu(|there| match there {
            Some(there) if there.0 > changes => Some(there.clone()),
            _ => Some(Arc::new((changes, catalog.clone()))),
        });
        catalog
    }

    /// A snapshot that was read after this was called, and the count of changes it has. One reads; the others wait for what it read. A reading that has
    /// begun goes on where whoever asked is gone: a login that waited too long leaves it to the next.
    ///
    /// # Errors
    /// The target cannot be asked.
    pub async fn read_anew(
        self: &Arc<Self>,
        source: &Arc<dyn CatalogSource>,
        connection: &Arc<Connection>,
        database: &str,
    ) -> Result<(u64, Arc<Catalog>), String> {
        let mine = self.asked.fetch_add(1, Ordering::AcqRel);
        let mut read_for = self.reading.clone().lock_owned().await;
        if mine < *read_for
            && let Some(snapshot) = self.snapshot.load_full()
        {
            return Ok((snapshot.0, snapshot.1.clone()));
        }
        let everybody = self.asked.load(Ordering::Acquire);
        let (shared, source, connection, database) = (self.clone(), source.clone(), connection.clone(), database.to_owned());
        let reading = tokio::spawn(async move {
            let read = tokio::time::timeout(READ_WITHIN, shared.read(&*source, &connection, &database)).await;
            let read = read.map_err(|_| format!("the catalog of {database} could not be read within {} s", READ_WITHIN.as_secs()))??;
            *read_for = everybody;
            Ok(read)
        });
        reading.await.map_err(|error| error.to_string())?
    }

    async fn read(&self, source: &dyn CatalogSource, connection: &Arc<Connection>, database: &str) -> Result<(u64, Arc<Catalog>), String> {
        let (before, mut seen) = (self.snapshot.load_full(), self.changes());
        let catalog = source.read(connection, database, before.as_ref().map(|before| before.1.clone())).await?;
        if before.is_some_and(|before| before.0 == seen && !before.1.is_for_others(&catalog)) {
            // Whoever changed something in the meantime has moved the count further: then this snapshot is too old to count, and is read anew.
            self.changed();
            seen += 1;
        }
        Ok((seen, self.share(seen, catalog)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn other() -> Catalog {
        crate::fixtures::catalog(&[("public", "payments")])
    }

    /// A target whose catalog is changed past the gateway.
    #[derive(Default)]
    struct Changing(AtomicBool);

    impl CatalogSource for Changing {
        fn read<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: Option<Arc<Catalog>>) -> Asked<'a, Catalog> {
            Box::pin(async { Ok(if self.0.load(Ordering::Relaxed) { other() } else { Catalog::default() }) })
        }

        fn estimate<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: &'a [Arc<str>], _: &'a str) -> Asked<'a, String> {
            Box::pin(async { Err("no target".to_owned()) })
        }

        fn locks<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: i32) -> Asked<'a, Vec<String>> {
            Box::pin(async { Err("no target".to_owned()) })
        }
    }

    #[tokio::test]
    async fn what_changed_past_the_gateway_is_seen_and_databases_nobody_uses_are_forgotten() {
        let version = policy::Version::load(&crate::fixtures::files("")).unwrap();
        let connection = version.connections.values().next().unwrap().clone();
        let (changing, catalogs) = (Arc::new(Changing::default()), Catalogs::default());
        let source: Arc<dyn CatalogSource> = changing.clone();
        let (before, _) = catalogs.current(&source, &connection, "shop").await.unwrap();
        let shared = catalogs.shared(&connection.name, "shop");
        catalogs.look_again(&source, &version.connections).await;
        assert_eq!(shared.changes(), before);
        changing.0.store(true, Ordering::Relaxed);
        catalogs.look_again(&source, &version.connections).await;
        let (changes, catalog) = shared.current().unwrap();
        assert!(changes > before && *catalog == other());
        drop(shared);
        catalogs.look_again(&source, &version.connections).await;
        assert!(lock_of(&catalogs).is_empty());
    }

    fn lock_of(catalogs: &Catalogs) -> std::sync::MutexGuard<'_, HashMap<(ConnectionName, String), Arc<Shared>>> {
        catalogs.shared.lock().unwrap()
    }

    /// A target that answers when it is told to, and says that it was asked.
    #[derive(Default)]
    struct Slow {
        asked: tokio::sync::Notify,
        answers: tokio::sync::Notify,
    }

    impl CatalogSource for Slow {
        fn read<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: Option<Arc<Catalog>>) -> Asked<'a, Catalog> {
            Box::pin(async {
                self.asked.notify_one();
                self.answers.notified().await;
                Ok(other())
            })
        }

        fn estimate<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: &'a [Arc<str>], _: &'a str) -> Asked<'a, String> {
            Box::pin(async { Err("no target".to_owned()) })
        }

        fn locks<'a>(&'a self, _: &'a Arc<Connection>, _: &'a str, _: i32) -> Asked<'a, Vec<String>> {
            Box::pin(async { Err("no target".to_owned()) })
        }
    }

    #[tokio::test]
    async fn a_reading_goes_on_where_whoever_asked_is_gone() {
        let version = policy::Version::load(&crate::fixtures::files("")).unwrap();
        let connection = version.connections.values().next().unwrap().clone();
        let (slow, catalogs) = (Arc::new(Slow::default()), Catalogs::default());
        let source: Arc<dyn CatalogSource> = slow.clone();
        let shared = catalogs.shared(&connection.name, "shop");
        {
            let mut login = std::pin::pin!(catalogs.current(&source, &connection, "shop"));
            tokio::select! {
                _ = &mut login => panic!("nothing was answered yet"),
                () = slow.asked.notified() => {}
            }
        }
        slow.answers.notify_one();
        drop(shared.reading.lock().await);
        let (_, catalog) = shared.current().expect("what the login that is gone had read");
        assert_eq!(*catalog, other());
    }

    #[test]
    fn a_snapshot_counts_until_a_change_is_seen_and_an_older_one_never_replaces_a_newer() {
        let shared = Catalogs::default().shared(&"pg".parse().unwrap(), "shop");
        assert!(shared.current().is_none());
        shared.share(0, Catalog::default());
        assert!(shared.current().is_some());
        shared.changed();
        assert!(shared.current().is_none());
        let newer = shared.share(1, other());
        shared.share(0, Catalog::default());
        let (changes, current) = shared.current().unwrap();
        assert!(changes == 1 && Arc::ptr_eq(&current, &newer));
        // Sessions that read the same keep one copy.
        assert!(Arc::ptr_eq(&shared.share(1, other()), &newer));
    }
}
