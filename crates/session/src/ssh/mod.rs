//! Sessions with machines over SSH. [`ask`] is their spine, as [`crate::ask`] is that of databases.
//!
//! Many conversations run in one session at a time: its channels. What they ask is numbered over all of them and stands in one recording, so that
//! each takes its turn there; what is held waits without holding up the others.

mod ask;
mod keys;
mod mask;
mod record;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evidence::record::Opened;
pub use evidence::record::{Stream, Via};
use model::{ActorChain, Connection, Facts, SessionId, Timestamp};
pub use policy::masking::FileSearch;

pub use self::{
    ask::{Operation, Permit, Ruling},
    keys::{CERTIFICATE_S, NewKey, ProvenKey},
    mask::Shown,
    record::Answer,
};
use crate::{
    admit::{Admission, OnlyStatement},
    ask::Broken,
    guard::Guard,
    live::{EndReason, LiveHandle, Woken},
    logbook::Logbook,
    open::NotOpened,
    trace::Span,
};

/// A session whose machine let the gateway in.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    guard: Arc<Guard>,
    live: LiveHandle,
    only_statement: Option<OnlyStatement>,
    kept: Mutex<Kept>,
}

/// What its channels share; each has it for no longer than a record takes.
#[derive(Debug)]
struct Kept {
    /// None once it is closed.
    log: Option<Logbook>,
    connection: Arc<Connection>,
    /// Operations that were asked so far.
    asked: u64,
    running: BTreeMap<u64, Running>,
}

/// What is remembered of an operation until it is answered.
#[derive(Debug)]
struct Running {
    facts: Arc<Facts>,
    asked_at: Timestamp,
}

impl Session {
    /// Opens the recording and the listing of an admitted session.
    ///
    /// # Errors
    /// It cannot be recorded or listed.
    pub async fn open(admission: Admission, span: Span) -> Result<Arc<Self>, NotOpened> {
        let Admission { guard, live, connection, database, token, only_statement, peer, admitted_at, begins_with: _ } = admission;
        let id = live.session();
        let opened = Opened {
            at: admitted_at,
            session: id,
            chain: ActorChain::clone(&live.chain()),
            connection: connection.name.clone(),
            database,
            environment: connection.environment.clone(),
            peer,
            token,
            version: guard.version().hash,
            level: connection.record,
            target_pid: 0,
            application_name: None,
            target_role: None,
        };
        let log = Logbook::begin(&guard, opened, &[], span).await?;
        let kept = Mutex::new(Kept { log: Some(log), connection, asked: 0, running: BTreeMap::new() });
        Ok(Arc::new(Self { id, guard, live, only_statement, kept }))
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// The guard over it.
    #[must_use]
    pub const fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Who acts in it, as last decided.
    #[must_use]
    pub fn chain(&self) -> Arc<ActorChain> {
        self.live.chain()
    }

    /// Its machine, as the version in force described it when something was last decided.
    #[must_use]
    pub fn connection(&self) -> Arc<Connection> {
        self.kept().connection.clone()
    }

    /// Waits until it must end; notes on the way what is granted to its members. What runs is not cut by a grant that is over: see
    /// [`outlives`](Self::outlives).
    pub async fn ended(&self) -> EndReason {
        loop {
            match self.live.woken().await {
                Woken::Ended(reason) => return reason,
                Woken::Changed { lost } => {
                    let now = Timestamp::now();
                    if self.note_granted(now).is_err() {
                        return EndReason::RecordingLost;
                    }
                    if let Some(reason) = lost.and_then(|lost| self.outlives(lost, now)) {
                        return reason;
                    }
                }
            }
        }
    }

    /// Closes the recording, and lists how the session ended. Nothing can be asked in it afterwards.
    ///
    /// # Errors
    /// The end cannot be recorded.
    pub async fn close(&self, ending: &str, now: Timestamp) -> Result<(), Broken> {
        let log = self.kept().log.take();
        match log {
            Some(log) => log.close(ending, now).await,
            None => Ok(()),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
