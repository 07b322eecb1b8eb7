//! Moving the store: state and index from files to PostgreSQL, or back. Whole or not at all; keys and recordings stay where they are.
//!
//! The source is not deleted, but closed for good: a store that goes on elsewhere must not come to life again with tokens that were revoked there.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use model::Timestamp;

use crate::{
    Home, StoreError,
    database::{
        Database, Durability, Write, Writers, micros,
        possession::{self, Possession},
        sql,
        table::{Sum, Table},
    },
    index,
    lock::DirectoryLock,
    state,
};

/// Every table that holds something, each after those its rows refer to.
pub(crate) const STATE: &[&str] = &[
    "counters",
    "identities",
    "accounts",
    "sign_ins",
    "providers",
    "trust_rules",
    "requests",
    "identity_keys",
    "used_ids",
    "tokens",
    "sessions",
    "session_members",
    "holds",
    "versions",
    "applications",
    "events",
    "secrets",
    "target_roles",
];
pub(crate) const INDEX: &[&str] = &[
    "index_counters",
    "index_settings",
    "indexed_recordings",
    "shapes",
    "shape_terms",
    "bundles",
    "bundle_terms",
    "waiting",
    "literal_runs",
    "literal_chunks",
    "uses",
];
/// What the files of a store are called that was copied elsewhere.
const COPIED: &str = "copied";
/// And those of one that is being made.
const MAKING: &str = "new";

/// What was copied: table and rows.
pub type Copied = Vec<(&'static str, u64)>;

/// Copies state and index, reads them back, and closes the source. Needs the data directory for itself.
///
/// # Errors
/// There is nothing to copy, something is there already, either cannot be used, or what arrived is not what was sent; then nothing has changed.
pub async fn copy(directory: &Path, from: &Home, to: &Home) -> Result<Copied, StoreError> {
    let _lock = DirectoryLock::take(directory)?;
    let source = Side::source(directory, from).await?;
    let target = Side::target(directory, to).await?;
    let (mut reads, mut writes) = (source.begin().await?, target.begin().await?);
    let mut copied = Copied::new();
    for table in STATE {
        copied.push((table, fill(table, &mut reads.state, &mut writes.state).await?.rows));
    }
    for table in INDEX {
        copied.push((table, fill(table, reads.index(), writes.index()).await?.rows));
    }
    if let Home::Postgres(_) = from {
        possession::note_copied(&mut reads.state, micros(Timestamp::now())).await?;
    }
    writes.commit().await?;
    target.close().await;
    if let Home::Embedded = to {
        rename(directory, Some(MAKING), None)?;
    }
    reads.commit().await?;
    source.close().await;
    if let Home::Embedded = from {
        rename(directory, None, Some(COPIED))?;
    }
    Ok(copied)
}

/// Whether the files of a store are there that was copied elsewhere.
pub(crate) fn was_copied(directory: &Path) -> bool {
    !file(directory, state::FILE, None).exists() && file(directory, state::FILE, Some(COPIED)).exists()
}

/// Fills one table and reads back what arrived.
async fn fill(name: &'static str, from: &mut Write, into: &mut Write) -> Result<Sum, StoreError> {
    let table = Table::of(from, name).await?;
    let sent = table.fill(from, into).await?;
    if table.sum(into).await? == sent { Ok(sent) } else { Err(StoreError::Differs { table: name }) }
}

/// The store that is read, or the one that is written.
struct Side {
    state: Database,
    index: Database,
    possession: Option<Arc<Possession>>,
}

/// A transaction over a store: one for each file, or one for the whole schema.
struct Transaction {
    state: Write,
    index: Option<Write>,
}

impl Side {
    async fn source(directory: &Path, home: &Home) -> Result<Self, StoreError> {
        if matches!(home, Home::Embedded) && !file(directory, state::FILE, None).exists() {
            return Err(StoreError::Missing { place: directory.display().to_string() });
        }
        let side = Self::open(directory, home, None).await?;
        if side.is_empty().await? { Err(StoreError::Missing { place: home.to_string() }) } else { Ok(side) }
    }

    async fn target(directory: &Path, home: &Home) -> Result<Self, StoreError> {
        let occupied = || StoreError::Occupied { place: home.to_string() };
        if matches!(home, Home::Embedded) {
            if [state::FILE, index::FILE].iter().any(|name| file(directory, name, None).exists()) {
                return Err(occupied());
            }
            remove_unfinished(directory)?;
        }
        let side = Self::open(directory, home, Some(MAKING)).await?;
        if side.is_empty().await? { Ok(side) } else { Err(occupied()) }
    }

    async fn open(directory: &Path, home: &Home, suffix: Option<&str>) -> Result<Self, StoreError> {
        match home {
            Home::Embedded => {
                let state = Database::open_file(&file(directory, state::FILE, suffix), Durability::Power, &state::SCHEMA).await?;
                let index = Database::open_file(&file(directory, index::FILE, suffix), Durability::Power, &index::SCHEMA).await?;
                Ok(Self { state, index, possession: None })
            }
            Home::Postgres(postgres) => {
                let possession = Possession::take(postgres).await?;
                let state = Database::open_postgres(&possession, Durability::Power, Writers::One, &state::SCHEMA).await?;
                let index = Database::open_postgres(&possession, Durability::Power, Writers::One, &index::SCHEMA).await?;
                Ok(Self { state, index, possession: Some(possession) })
            }
        }
    }

    /// Whether nobody ever used it.
    async fn is_empty(&self) -> Result<bool, StoreError> {
        let (state, index) = (self.state.read(), self.index.read());
        let (identities,): (i64,) = sql("SELECT COUNT(*) FROM identities").one(state).await?;
        let (used,): (i64,) = sql("SELECT CAST(SUM(value) AS BIGINT) FROM counters").one(state).await?;
        let (shapes,): (i64,) = sql("SELECT value FROM index_counters WHERE name = 'shape'").one(index).await?;
        Ok(identities + used + shapes == 0)
    }

    async fn begin(&self) -> Result<Transaction, StoreError> {
        let mut state = self.state.write().await?;
        let index = if self.possession.is_none() { Some(self.index.write().await?) } else { None };
        state.be_patient().await?;
        Ok(Transaction { state, index })
    }

    async fn close(&self) {
        self.state.close().await;
        self.index.close().await;
        if let Some(possession) = &self.possession {
            possession.release().await;
        }
    }
}

impl Transaction {
    fn index(&mut self) -> &mut Write {
        self.index.as_mut().unwrap_or(&mut self.state)
    }

    /// The index first: without the state there is no store.
    async fn commit(self) -> Result<(), StoreError> {
        if let Some(index) = self.index {
            index.commit().await?;
        }
        self.state.commit().await
    }
}

fn file(directory: &Path, name: &str, suffix: Option<&str>) -> PathBuf {
    directory.join(suffix.map_or_else(|| name.to_owned(), |suffix| format!("{name}.{suffix}")))
}

/// What a copy left behind that was broken off.
fn remove_unfinished(directory: &Path) -> Result<(), StoreError> {
    for name in [state::FILE, index::FILE] {
        for log in ["", "-wal", "-shm"] {
            let path = file(directory, name, Some(&format!("{MAKING}{log}")));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::directory(&path, error)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Gives the files of a closed store another name; that of the state comes last, for it is what makes a store.
fn rename(directory: &Path, from: Option<&str>, to: Option<&str>) -> Result<(), StoreError> {
    for name in [index::FILE, state::FILE] {
        let (before, after) = (file(directory, name, from), file(directory, name, to));
        let log = before.with_file_name(format!("{}-wal", before.file_name().unwrap_or_default().display()));
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(StoreError::directory(&log, std::io::Error::other("the database was not closed whole")));
        }
        fs::rename(&before, &after).map_err(|error| StoreError::directory(&before, error))?;
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| StoreError::directory(directory, error))
}
