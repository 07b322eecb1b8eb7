//! A session from the moment its target is logged in to its end: what it knows of the target's state, and when that is stale.
//!
//! Facts are only as good as the catalog and the resolution state (search path, role, encoding, strings) they are made from. Whatever may change
//! them marks them stale when it is *forwarded*. What is committed the gateway reads on a link of its own, for all sessions at once. What the session's
//! own transaction changed counts as undecided until [`Session::transaction_stands`] says that nothing is under way: until then it is asked on the
//! caller's own connection and behind what was forwarded, so that it sees what the operation will see; it is kept from other sessions, and asked again
//! when the transaction may have ended.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use evidence::record::Opened;
use model::{Connection, Facts, Object, RecordLevel, SessionId, Timestamp};
use policy::{
    classify::postgres::{
        RESOLUTION_QUERY, SessionView,
        catalog::{Catalog, CatalogError},
    },
    masking::{MaskPlan, RowPlan},
};
use protocol::postgres::{
    copy::{CopyBodies, CopyRewriter},
    dialogue::{Answer, Names, Operation, Rows, Settings, Transaction},
};
use store::recordings::RecordingError;

use crate::{
    admit::{Admission, OnlyStatement},
    ask::Broken,
    catalogs::Shared,
    guard::Guard,
    known::KnownStatements,
    live::{EndReason, LiveHandle, Woken},
    logbook::Logbook,
    record,
    trace::Span,
    volume::ChainVolume,
};

/// A session whose target is logged in.
#[derive(Debug)]
pub struct Session {
    pub(crate) id: SessionId,
    pub(crate) guard: Arc<Guard>,
    pub(crate) live: Arc<LiveHandle>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) database: String,
    pub(crate) only_statement: Option<OnlyStatement>,
    pub(crate) target_pid: i32,
    pub(crate) log: Logbook,
    pub(crate) catalog: Arc<Catalog>,
    /// What of it is committed, or was; a reading of what the open transaction changed builds on it.
    committed: Arc<Catalog>,
    pub(crate) view: SessionView,
    pub(crate) known: KnownStatements,
    /// Boxed: a map of one entry at a time is made and dropped for each operation.
    pub(crate) running: BTreeMap<u64, Box<Running>>,
    shared: Arc<Shared>,
    /// What its subject changes on its connection.
    pub(crate) volume: ChainVolume,
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
    names_copied: Option<u64>,
    /// Others must read the catalog again once the open transaction has ended.
    changes_others: bool,
    /// The operation for which the catalog was read again because it names something unknown.
    looked_again_for: Option<u64>,
    /// The operation for which the committed catalog was read last.
    refreshed_for: Option<u64>,
    /// The operation for which the target was asked last.
    asked_for: Option<u64>,
    /// What the target is being asked.
    asking: Option<Asking>,
}

/// What the target is asked beside how it resolves names.
#[derive(Debug, Clone, Copy)]
enum Asking {
    /// Nothing.
    Resolution,
    /// Nothing, but the committed catalog is to be read, too.
    Committed,
    /// Its catalog as the open transaction sees it, when so many changes had been seen.
    Private { changes: u64 },
}

/// Under which isolation the catalog was read: a snapshot of a whole transaction may be older than what names mean in it.
const ISOLATION_QUERY: &str = "SELECT pg_catalog.current_setting('transaction_isolation')::pg_catalog.text";

/// How long the gateway's own reading of the catalog may keep a caller waiting.
const OWN_READING: Duration = Duration::from_secs(60);

/// What must be done before an operation can be understood.
pub(crate) enum Need {
    /// [`Session::refresh`]: the committed catalog is to be read.
    Refresh,
    /// These questions are for the target, on the caller's connection; [`Session::learn`] takes the answers.
    Learn(Vec<String>),
}

/// What is remembered of an operation until it is answered.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) facts: Arc<Facts>,
    pub(crate) plan: Option<Arc<MaskPlan>>,
    pub(crate) rows: Option<RowPlan>,
    /// Rewrites its COPY to the caller.
    pub(crate) copy: Option<CopyRewriter>,
    /// Where in its messages recorded COPY data stands.
    pub(crate) copied: CopyBodies,
    pub(crate) binary: Vec<bool>,
    /// Of its columns.
    pub(crate) names: Vec<String>,
    pub(crate) masked: Vec<String>,
    pub(crate) asked_at: Timestamp,
}

/// Binds that were never executed are forgotten, oldest first, beyond this many; their rows, should they still come, end the session.
pub(crate) const MAX_RUNNING: usize = 32_768;

/// What a session begins with, beside its admission.
#[derive(Debug)]
pub struct Opening {
    /// The target's process id for it.
    pub target_pid: i32,
    /// The `application_name` the caller sent.
    pub application_name: Option<String>,
    /// The role that was made for it at the target, if one was.
    pub target_role: Option<String>,
    /// As long as the session, in the operator's traces.
    pub span: Span,
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
        let Admission { guard, live, connection, database, token, only_statement, peer, admitted_at, begins_with } = admission;
        let id = live.session();
        let source = guard.catalogs().clone();
        let read = guard.snapshots().current(&source, &connection, &database).await;
        let (changes, catalog) = read.map_err(|why| NotOpened::Catalog(connection.name.clone(), why))?;
        let shared = guard.snapshots().shared(&connection.name, &database);
        let chain = live.chain();
        let volume = guard.volumes().of_chain(&chain, &connection.name, admitted_at);
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
            target_role: opening.target_role,
        };
        let startup = begins_with.iter().flat_map(|(settings, decided)| record::startup(settings, decided, admitted_at)).collect::<Vec<_>>();
        let log = Logbook::begin(&guard, opened, &startup, opening.span).await?;
        Ok(Self {
            id,
            live: Arc::new(live),
            only_statement,
            target_pid: opening.target_pid,
            log,
            committed: catalog.clone(),
            catalog,
            view: SessionView { host: Arc::from(connection.name.as_str()), ..SessionView::default() },
            known: KnownStatements::default(),
            running: BTreeMap::new(),
            changes,
            shared,
            volume,
            private: false,
            catalog_stale: false,
            resolution_stale: true,
            transaction_changed_catalog: false,
            transaction_changed_resolution: false,
            transaction_began: None,
            names_copied: None,
            changes_others: false,
            looked_again_for: None,
            refreshed_for: None,
            asked_for: None,
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

    /// What must be done before this operation can be understood.
    pub(crate) fn needs(&mut self, operation: &Operation) -> Option<Need> {
        let asked = self.asked_for == Some(operation.id);
        // A change this session made may stand or be undone by now: where nothing says that its transaction is open, only asking tells.
        if operation.transaction == Transaction::Idle && !asked {
            self.undone();
        }
        // What was read for this operation is new enough, whatever others change meanwhile.
        if !asked && !self.catalog_stale && self.refreshed_for != Some(operation.id) {
            self.see_changes();
        }
        match (self.catalog_stale, self.resolution_stale) {
            (false, false) => None,
            (true, _) if !self.transaction_changed_catalog => Some(self.asks_to_refresh(operation)),
            (with_catalog, _) => Some(Need::Learn(self.asks(operation, with_catalog))),
        }
    }

    /// Takes over the snapshot others have read since, or finds that there is none.
    fn see_changes(&mut self) {
        let changes = self.shared.changes();
        if self.changes == changes {
            return;
        }
        match self.shared.current() {
            // What others committed the open transaction sees too, beside its own.
            Some((changes, catalog)) if !self.private => self.adopt(changes, catalog),
            _ => self.catalog_stale = true,
        }
    }

    fn adopt(&mut self, changes: u64, catalog: Arc<Catalog>) {
        self.changes = changes;
        self.committed = catalog.clone();
        if !Arc::ptr_eq(&self.catalog, &catalog) {
            self.replace_catalog(catalog);
        }
    }

    /// Has the committed catalog read, unless somebody else's reading will do.
    ///
    /// # Errors
    /// It cannot be read. The text is for the caller.
    pub async fn refresh(&mut self) -> Result<(), String> {
        let source = self.guard.catalogs().clone();
        let reading = tokio::time::timeout(OWN_READING, self.shared.read_anew(&source, &self.connection, &self.database));
        let (changes, catalog) = tokio::select! {
            reason = self.live.ended() => return Err(reason.to_string()),
            read = reading => read.map_err(|_| "the target did not answer in time".to_owned())??,
        };
        self.adopt(changes, catalog);
        self.catalog_stale = false;
        Ok(())
    }

    /// Whether what is known of the target may be wrong.
    pub(crate) fn is_stale(&self) -> bool {
        self.catalog_stale || self.resolution_stale || self.changes != self.shared.changes()
    }

    /// Whether the open transaction changed what names mean, as far as that was learned already.
    pub(crate) const fn transaction_changed_names(&self) -> bool {
        self.transaction_changed_catalog || self.transaction_changed_resolution
    }

    const fn asks_to_refresh(&mut self, operation: &Operation) -> Need {
        self.refreshed_for = Some(operation.id);
        Need::Refresh
    }

    fn asks(&mut self, operation: &Operation, with_catalog: bool) -> Vec<String> {
        self.asked_for = Some(operation.id);
        self.asks_for(if with_catalog { self.privately() } else { Asking::Resolution })
    }

    fn privately(&self) -> Asking {
        Asking::Private { changes: self.shared.changes() }
    }

    fn asks_for(&mut self, asking: Asking) -> Vec<String> {
        self.asking = Some(asking);
        let mut questions = vec![RESOLUTION_QUERY.to_owned()];
        if let Asking::Private { .. } = asking {
            questions.push(ISOLATION_QUERY.to_owned());
            questions.extend(Catalog::questions(Some(&self.committed)));
        }
        questions
    }

    /// Whether an operation names something the catalog does not have, and the catalog was not read again for it yet: it may be new.
    pub(crate) fn should_look_again(&self, operation: &Operation, facts: &Facts) -> bool {
        matches!(facts.understanding, model::Understanding::Missing { .. })
            && operation.transaction != Transaction::Failed
            && self.looked_again_for != Some(operation.id)
    }

    pub(crate) fn look_again(&mut self, operation: &Operation) -> Need {
        self.looked_again_for = Some(operation.id);
        if self.transaction_changed_catalog { Need::Learn(self.asks(operation, true)) } else { self.asks_to_refresh(operation) }
    }

    /// What is to be asked so that everything is known anew.
    pub(crate) fn asks_all(&mut self) -> Vec<String> {
        self.asks_for(if self.transaction_changed_catalog { self.privately() } else { Asking::Committed })
    }

    /// Takes in the answers to the last questions.
    ///
    /// # Errors
    /// They are not of the shape asked for: the operation cannot be understood. The text is for the caller.
    pub async fn learn(&mut self, answers: Vec<Rows>) -> Result<(), String> {
        let asking = self.asking.take().ok_or("the target was not asked")?;
        let mut answers = answers.into_iter();
        let resolution = answers.next().ok_or("the target did not answer")?;
        let row = resolution.first().ok_or("the target did not say how it resolves names")?;
        let view = SessionView::from_row(&self.database, row).ok_or("the target did not say how it resolves names")?;
        let (prepared, cursors) = (std::mem::take(&mut self.view.prepared), std::mem::take(&mut self.view.cursors));
        let view = SessionView { host: self.view.host.clone(), prepared, cursors, ..view };
        // A session that has temporary objects now made them out of sight.
        self.catalog_stale |= view.temporary_schema != self.view.temporary_schema;
        if view != self.view {
            self.view = view;
            self.known.clear();
        }
        self.resolution_stale = false;
        match asking {
            Asking::Resolution => Ok(()),
            Asking::Committed => self.refresh().await,
            Asking::Private { changes } => self.learn_catalog(changes, answers.collect()).await,
        }
    }

    async fn learn_catalog(&mut self, changes: u64, mut tables: Vec<Rows>) -> Result<(), String> {
        if tables.is_empty() {
            return Err("the target did not answer".to_owned());
        }
        let isolation = tables.remove(0).into_iter().next().and_then(|row| row.into_iter().next().flatten());
        let is_current = matches!(isolation.as_deref(), Some("read committed" | "read uncommitted"));
        let is_legible = &*self.view.client_encoding == "UTF8" || tables.iter().flatten().flatten().flatten().all(|cell| cell.is_ascii());
        if !is_current || !is_legible {
            let why = "it changed the catalog, which can be read again only under READ COMMITTED and client_encoding UTF8";
            return Err(format!("nothing more is understood in this transaction: {why}"));
        }
        let catalog = read_answers(&self.database, self.committed.clone(), tables).await?;
        self.private = true;
        self.changes = changes;
        self.replace_catalog(Arc::new(catalog));
        self.catalog_stale = false;
        Ok(())
    }

    fn replace_catalog(&mut self, catalog: Arc<Catalog>) {
        self.catalog = catalog;
        self.known.clear();
    }

    /// Takes in names and settings as they stand for the operation being decided. Names are copied for one that speaks of them alone: else a caller
    /// who prepares many statements would have them all copied for each.
    pub(crate) fn follow(&mut self, operation: &Operation, names: &Names, settings: &Settings) {
        if self.names_copied != Some(names.revision()) {
            self.names_copied = operation.speaks.then(|| names.revision());
            self.view.prepared.clear();
            self.view.cursors.clear();
            if operation.speaks {
                self.view.prepared.extend(names.statements().map(|(name, named)| (name.to_owned(), named.into())));
                self.view.cursors.extend(names.cursors().map(|(name, named)| (name.to_owned(), named.into())));
            }
        }
        let (encoding, strings) = (settings.client_encoding(), settings.standard_conforming_strings());
        if self.view.client_encoding != *encoding || self.view.standard_conforming_strings != strings {
            self.view.client_encoding = encoding.clone();
            self.view.standard_conforming_strings = strings;
            self.known.clear();
        }
    }

    /// An operation is about to be forwarded: what it may change is stale from here on.
    pub(crate) fn expect_effects(&mut self, facts: &Facts) {
        let effects = &facts.effects;
        // Code that was not followed may change settings out of sight; code that was not even read may change the catalog too.
        let unread = facts.asks(model::Action::Unreadable) || facts.kinds.iter().any(|kind| matches!(&**kind, "CALL" | "DO"));
        let executes = unread || facts.asks(model::Action::Execute);
        let makes_temporary = executes && facts.outputs.unfollowed && self.view.temporary_schema.is_some();
        if effects.catalog || unread || makes_temporary {
            self.catalog_stale = true;
            self.transaction_changed_catalog = true;
        }
        self.changes_others |= effects.catalog && !only_temporary(facts);
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
        if answer.error.is_some() || answer.skipped || facts.effects.transaction {
            self.undone();
        }
    }

    /// The target said where the transaction stands. `at_rest`: nothing is under way, and no transaction open, not even an implicit one.
    pub fn transaction_stands(&mut self, transaction: Transaction, at_rest: bool) {
        match transaction {
            Transaction::Idle => self.transaction_began = None,
            Transaction::Open | Transaction::Failed => {
                self.transaction_began.get_or_insert_with(Timestamp::now);
            }
        }
        if at_rest {
            self.all_ended();
        }
    }

    /// Whatever was changed is committed or undone, and every portal is gone.
    fn all_ended(&mut self) {
        self.undone();
        if std::mem::take(&mut self.changes_others) {
            self.shared.changed();
        }
        self.private = false;
        self.transaction_changed_catalog = false;
        self.transaction_changed_resolution = false;
        self.running.clear();
    }

    pub(crate) fn transaction_open_ms(&self, now: Timestamp) -> u64 {
        let began = self.transaction_began.unwrap_or(now);
        u64::try_from(now.duration_since(began).as_millis()).unwrap_or(0)
    }

    /// Ends it: the recording is closed, the listing says how.
    ///
    /// # Errors
    /// The end cannot be recorded.
    pub async fn close(self, ending: &str, now: Timestamp) -> Result<(), Broken> {
        self.log.close(ending, now).await
    }
}

async fn read_answers(database: &str, earlier: Arc<Catalog>, answers: Vec<Rows>) -> Result<Catalog, String> {
    let database = database.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let answers = answers.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Catalog::from_answers(&database, Some(&earlier), answers)
    });
    let read = read.await.map_err(|_| "the catalog cannot be read".to_owned())?;
    read.map_err(|error: CatalogError| format!("the catalog cannot be read: {error}"))
}

/// Whether all it makes or drops are temporary objects, which no other session can name.
fn only_temporary(facts: &Facts) -> bool {
    let temporary = |object: &Object| matches!(object, Object::Table { schema, .. } if schema.starts_with("pg_temp"));
    let changes = |pair: &&model::Pair| matches!(pair.action, model::Action::Define | model::Action::Destroy | model::Action::Privilege);
    let mut changed = facts.pairs.iter().filter(changes).peekable();
    let discards = !facts.kinds.is_empty() && facts.kinds.iter().all(|kind| kind.starts_with("DISCARD"));
    facts.understanding == model::Understanding::Full && (discards || (changed.peek().is_some() && changed.all(|pair| temporary(&pair.object))))
}
