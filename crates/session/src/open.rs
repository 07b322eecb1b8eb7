//! A session from the moment its target is logged in to its end: what it knows of the target's state, and when that is stale.
//!
//! Facts are only as good as the catalog and the resolution state (search path, role, encoding, strings) they are made from. Whatever may change
//! them marks them stale when it is *forwarded*; the next operation that depends on them first has the target asked, on the
//! caller's own connection and behind what was forwarded, so that it sees what the operation will see.

use std::{collections::BTreeMap, sync::Arc};

use evidence::record::{Opened, Record};
use model::{Connection, Facts, RecordLevel, SessionId, Timestamp, session::SessionRow};
use policy::{
    classify::postgres::{
        RESOLUTION_QUERY, SessionView,
        catalog::{self, Catalog},
    },
    masking::{MaskPlan, RowPlan},
};
use protocol::postgres::dialogue::{Answer, Names, Operation, OperationKind, Rows, Settings, Transaction};
use store::recordings::{Recording, RecordingError};

use crate::{
    admit::Admission,
    ask::Broken,
    catalogs::Shared,
    guard::Guard,
    known::KnownFacts,
    live::{EndReason, LiveHandle, Woken},
};

/// A session whose target is logged in.
#[derive(Debug)]
pub struct Session {
    pub(crate) id: SessionId,
    pub(crate) guard: Arc<Guard>,
    pub(crate) live: Arc<LiveHandle>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) database: String,
    pub(crate) only_statement: Option<String>,
    pub(crate) only_statement_ran: bool,
    pub(crate) target_pid: i32,
    pub(crate) recording: Recording,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) view: SessionView,
    pub(crate) facts: KnownFacts,
    pub(crate) running: BTreeMap<u64, Running>,
    pub(crate) operations: u64,
    shared: Arc<Shared>,
    /// How many changes of the catalog had been seen when ours was read.
    changes: u64,
    /// Ours has what this session's open transaction did.
    private: bool,
    catalog_stale: bool,
    resolution_stale: bool,
    /// The open transaction changed the one or the other: its end may undo that.
    transaction_changed_catalog: bool,
    transaction_changed_resolution: bool,
    transaction_began: Option<Timestamp>,
    names_revision: Option<u64>,
    /// The operation for which the catalog was read again because it names something unknown.
    looked_again_for: Option<u64>,
    /// Whether the questions being asked include the catalog, and the changes seen when they were made.
    asking: Option<(bool, u64)>,
}

/// What is remembered of an operation until it is answered.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) facts: Arc<Facts>,
    pub(crate) plan: Option<Arc<MaskPlan>>,
    pub(crate) rows: Option<RowPlan>,
    pub(crate) binary: Vec<bool>,
    pub(crate) masked: Vec<String>,
    pub(crate) asked_at: Timestamp,
}

/// Binds that were never executed are forgotten, oldest first, beyond this many; their rows, should they still come, end the session.
pub(crate) const MAX_RUNNING: usize = 100_000;

/// What a session begins with, beside its admission.
#[derive(Debug)]
pub struct Opening {
    /// The target's process id for it.
    pub target_pid: i32,
    /// The `application_name` the caller sent.
    pub application_name: Option<String>,
}

/// Why a session cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// What may not be recorded may not happen.
    #[error("the gateway cannot record this session; nothing may happen unrecorded")]
    Recording(#[source] RecordingError),
    /// Or not be listed.
    #[error("the gateway cannot reach its state store; try again later")]
    State(#[from] store::StoreError),
    /// The catalog of the target cannot be read, so nothing could be understood.
    #[error("the catalog of {0} cannot be read: {1}")]
    Catalog(model::ConnectionName, String),
}

impl Session {
    /// Opens the recording and the listing of an admitted session.
    ///
    /// # Errors
    /// It cannot be recorded, listed or understood.
    pub async fn open(admission: Admission, opening: Opening) -> Result<Self, NotOpened> {
        let Admission { guard, live, connection, database, token, only_statement, peer, admitted_at } = admission;
        let id = live.session();
        let source = guard.catalogs().clone();
        let catalog = guard.snapshots().current(&*source, &connection, &database).await;
        let catalog = catalog.map_err(|why| NotOpened::Catalog(connection.name.clone(), why))?;
        let shared = guard.snapshots().shared(&connection.name, &database);
        let chain = live.chain();
        let opened = Opened {
            at: admitted_at,
            session: id,
            chain: model::ActorChain::clone(&chain),
            connection: connection.name.clone(),
            database: database.clone(),
            environment: connection.environment.clone(),
            peer: peer.clone(),
            token,
            version: guard.version().hash,
            level: connection.record,
            target_pid: opening.target_pid,
            application_name: opening.application_name,
        };
        let recorded = guard.store().recordings().create(id, admitted_at).and_then(|mut recording| {
            recording.append(&Record::Opened(Box::new(opened)))?;
            recording.commit()?;
            Ok(recording)
        });
        let recording = recorded.map_err(NotOpened::Recording)?;
        let row = SessionRow {
            id,
            subject: chain.subject.name.clone(),
            chain: chain.to_string(),
            connection: connection.name.clone(),
            database: database.clone(),
            token,
            peer,
            started_at: admitted_at,
            ended_at: None,
            ending: None,
            operations: 0,
        };
        guard.store().state().add_session(&row).await?;
        Ok(Self {
            id,
            live: Arc::new(live),
            only_statement,
            only_statement_ran: false,
            target_pid: opening.target_pid,
            recording,
            catalog,
            view: SessionView { host: Arc::from(connection.name.as_str()), ..SessionView::default() },
            facts: KnownFacts::default(),
            running: BTreeMap::new(),
            operations: 0,
            changes: shared.changes(),
            shared,
            private: false,
            catalog_stale: false,
            resolution_stale: true,
            transaction_changed_catalog: false,
            transaction_changed_resolution: false,
            transaction_began: None,
            names_revision: None,
            looked_again_for: None,
            asking: None,
            guard,
            connection,
            database,
        })
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Waits until it must end or must forget decisions; lives apart from the session.
    pub fn woken(&self) -> impl Future<Output = Woken> + Send + use<> {
        let live = self.live.clone();
        async move { live.woken().await }
    }

    /// Why it must end, if it must.
    #[must_use]
    pub fn must_end(&self) -> Option<&EndReason> {
        self.live.check()
    }

    pub(crate) fn records_rows(&self) -> bool {
        self.connection.record == RecordLevel::Full
    }

    /// What must be asked before this operation can be understood. None in a failed transaction: the target answers nothing there, and runs nothing.
    pub(crate) fn questions(&mut self, operation: &Operation) -> Option<Vec<&'static str>> {
        if operation.transaction == Transaction::Failed || operation.kind == OperationKind::FunctionCall {
            return None;
        }
        if !self.private && self.changes != self.shared.changes() && !self.catalog_stale {
            match self.shared.current() {
                Some(catalog) => {
                    self.changes = self.shared.changes();
                    self.replace_catalog(catalog);
                }
                None => self.catalog_stale = true,
            }
        }
        match (self.catalog_stale, self.resolution_stale) {
            (false, false) => None,
            (false, true) => Some(self.asks(false)),
            (true, _) => Some(self.asks(true)),
        }
    }

    fn asks(&mut self, with_catalog: bool) -> Vec<&'static str> {
        self.asking = Some((with_catalog, self.shared.changes()));
        let catalog = if with_catalog { catalog::QUERIES } else { &[] };
        std::iter::once(RESOLUTION_QUERY).chain(catalog.iter().copied()).collect()
    }

    /// Whether an operation names something the catalog does not have, and the catalog was not read again for it yet: it may be new.
    pub(crate) fn should_look_again(&self, operation: &Operation, facts: &Facts) -> bool {
        matches!(facts.understanding, model::Understanding::Missing { .. })
            && operation.transaction != Transaction::Failed
            && self.looked_again_for != Some(operation.id)
    }

    pub(crate) fn look_again(&mut self, operation: &Operation) -> Vec<&'static str> {
        self.looked_again_for = Some(operation.id);
        self.asks(true)
    }

    pub(crate) fn expect_catalog_change(&mut self) {
        self.asking = Some((true, self.shared.changes()));
    }

    /// Takes in the answers to the last questions.
    ///
    /// # Errors
    /// They are not of the shape asked for: the operation cannot be understood. The text is for the caller.
    pub fn learn(&mut self, answers: &[Rows], transaction: Transaction) -> Result<(), String> {
        let (with_catalog, changes) = self.asking.take().unwrap_or((false, 0));
        let (resolution, tables) = answers.split_first().ok_or("the target did not answer")?;
        let row = resolution.first().ok_or("the target did not say how it resolves names")?;
        let view = SessionView::from_row(&self.database, row).ok_or("the target did not say how it resolves names")?;
        let (prepared, cursors) = (std::mem::take(&mut self.view.prepared), std::mem::take(&mut self.view.cursors));
        let view = SessionView { host: self.view.host.clone(), prepared, cursors, ..view };
        if view != self.view {
            self.view = view;
            self.facts.clear();
        }
        self.resolution_stale = false;
        if with_catalog {
            let catalog = Catalog::from_rows(&self.database, tables).map_err(|error| format!("the catalog cannot be read: {error}"))?;
            let catalog = Arc::new(catalog);
            self.private = transaction != Transaction::Idle && self.transaction_changed_catalog;
            if !self.private {
                self.shared.share(changes, catalog.clone());
                self.changes = changes;
            }
            self.replace_catalog(catalog);
            self.catalog_stale = false;
        }
        Ok(())
    }

    fn replace_catalog(&mut self, catalog: Arc<Catalog>) {
        self.catalog = catalog;
        self.facts.clear();
    }

    /// Takes in names and settings as they stand for the operation being decided.
    pub(crate) fn follow(&mut self, names: &Names, settings: &Settings) {
        if self.names_revision != Some(names.revision()) {
            self.names_revision = Some(names.revision());
            self.view.prepared = names.statements().map(|(name, text)| (name.to_owned(), text.clone())).collect();
            self.view.cursors = names.cursors().map(|(name, text)| (name.to_owned(), text.clone())).collect();
        }
        let (encoding, strings) = (settings.client_encoding(), settings.standard_conforming_strings());
        if self.view.client_encoding != *encoding || self.view.standard_conforming_strings != strings {
            self.view.client_encoding = encoding.clone();
            self.view.standard_conforming_strings = strings;
            self.facts.clear();
        }
    }

    /// An operation is about to be forwarded: what it may change is stale from here on.
    pub(crate) fn expect_effects(&mut self, facts: &Facts) {
        let effects = &facts.effects;
        // Code that was not followed may change settings out of sight; code that was not even read may change the catalog too.
        let unread = facts.asks(model::Action::Unreadable) || facts.kinds.iter().any(|kind| matches!(&**kind, "CALL" | "DO"));
        let executes = unread || facts.asks(model::Action::Execute);
        if effects.catalog || unread {
            self.catalog_stale = true;
            self.transaction_changed_catalog = true;
        }
        if effects.resolution || executes {
            self.resolution_stale = true;
            self.transaction_changed_resolution = true;
        }
        if effects.transaction {
            self.undone();
        }
    }

    /// A transaction, or part of it, may be undone: so may what it changed.
    fn undone(&mut self) {
        self.catalog_stale |= self.transaction_changed_catalog;
        self.resolution_stale |= self.transaction_changed_resolution;
    }

    /// What an answer says of the session's state.
    pub(crate) fn follow_answer(&mut self, answer: &Answer, facts: &Facts) {
        if answer.error.is_some() || answer.skipped {
            self.undone();
        } else if facts.effects.catalog {
            // Others may see it once it is committed; that they look again is all it costs them if it is not.
            self.shared.changed();
        }
    }

    /// The target said where the transaction stands.
    pub fn transaction_stands(&mut self, transaction: Transaction, now: Timestamp) {
        match transaction {
            Transaction::Idle => {
                if self.transaction_changed_catalog && self.private {
                    self.catalog_stale = true;
                    self.shared.changed();
                }
                self.private = false;
                self.transaction_changed_catalog = false;
                self.transaction_changed_resolution = false;
                self.transaction_began = None;
            }
            Transaction::Open | Transaction::Failed => {
                self.transaction_began.get_or_insert(now);
            }
        }
    }

    pub(crate) fn transaction_open_ms(&self, now: Timestamp) -> u64 {
        let began = self.transaction_began.unwrap_or(now);
        u64::try_from(now.duration_since(began).as_millis()).unwrap_or(0)
    }

    /// Ends it: the recording is closed, the listing says how.
    ///
    /// # Errors
    /// The end cannot be recorded.
    pub async fn close(mut self, ending: &str, now: Timestamp) -> Result<(), Broken> {
        let closed = self.record_closed(ending, now);
        let Self { id, guard, recording, operations, .. } = self;
        let synced = tokio::task::spawn_blocking(move || recording.close()).await;
        if let Err(error) = guard.store().state().end_session(id, ending, operations, now).await {
            tracing::error!(%error, session = %id, "the end of a session could not be listed");
        }
        closed?;
        match synced {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Broken::Recording(error)),
            Err(panicked) => {
                tracing::error!(%panicked, session = %id, "closing a recording failed");
                Ok(())
            }
        }
    }
}
