//! What is kept of a session, whatever it speaks: its recording, how far that is written, and its line in the listings.

use std::sync::Arc;

use evidence::record::{Closed, Held, Note, Opened, Record, Settled};
use model::{
    ActorChain, Granted, Timestamp,
    hold::{HoldRow, HoldState},
    session::SessionRow,
};
use store::recordings::Recording;

use crate::{ask::Broken, endings::Listing, guard::Guard, open::NotOpened, trace::Span};

/// How far what was recorded is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// All of it.
    Written,
    /// All but how operations ended that ran.
    MayFollow,
    /// Not all of what must be before anything more is sent.
    Waits,
}

/// A session's recording and its line in the listings.
#[derive(Debug)]
pub(crate) struct Logbook {
    pub(crate) recording: Recording,
    recorded: Recorded,
    pub(crate) listing: Listing,
    /// What is granted to its members, as the recording says.
    granted: Vec<Granted>,
}

impl Logbook {
    /// Begins the recording with `opened` and what the session begins with besides, and lists the session.
    ///
    /// # Errors
    /// It cannot be recorded, or not listed.
    pub(crate) async fn begin(guard: &Arc<Guard>, opened: Opened, begins_with: &[Record], mut span: Span) -> Result<Self, NotOpened> {
        let row = row(&opened);
        span.note("countersign.session", row.id);
        span.note("countersign.chain", &opened.chain);
        span.note("countersign.connection", &opened.connection);
        let granted = granted_to(&opened.chain);
        let opened = Record::Opened(Box::new(opened));
        let recorded = guard.store().recordings().create(row.id, row.started_at).and_then(|mut recording| {
            std::iter::once(&opened).chain(begins_with).try_for_each(|record| recording.append(record))?;
            recording.commit()?;
            Ok(recording)
        });
        let recording = recorded.map_err(NotOpened::Recording)?;
        let listing = Listing::new(guard.clone(), row.id, row.operations + u64::from(!begins_with.is_empty()), span);
        guard.store().state().add_session(&row).await?;
        Ok(Self { recording, recorded: Recorded::Written, listing, granted })
    }

    /// Writes everything recorded since the last call.
    pub(crate) fn commit(&mut self) -> Result<(), Broken> {
        self.recorded = Recorded::Written;
        self.recording.commit().map_err(Broken::Recording)
    }

    /// Writes what must stand before anything more is sent to either side, and says how far what was recorded is written then.
    pub(crate) fn commit_ahead(&mut self) -> Result<Recorded, Broken> {
        if self.recorded == Recorded::Waits {
            self.commit()?;
        }
        Ok(self.recorded)
    }

    /// Records what must be written before anything more is sent.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), Broken> {
        self.recorded = Recorded::Waits;
        self.recording.append(record).map_err(Broken::Recording)
    }

    /// Records what may be written with what follows it: how an operation ended.
    pub(crate) fn append_later(&mut self, record: &Record) -> Result<(), Broken> {
        if self.recorded == Recorded::Written {
            self.recorded = Recorded::MayFollow;
        }
        self.recording.append(record).map_err(Broken::Recording)
    }

    pub(crate) fn held(&mut self, op: u64, row: &HoldRow, at: Timestamp) -> Result<(), Broken> {
        let held = Held { op, at, hold: row.id, requirements: row.requirements.clone(), expires_at: row.expires_at };
        self.append(&Record::Held(held))
    }

    pub(crate) fn settled(&mut self, op: u64, row: &HoldRow, state: HoldState, at: Timestamp) -> Result<(), Broken> {
        self.append(&Record::Settled(Settled { op, at, hold: row.id, state, signatures: row.signatures.clone() }))
    }

    pub(crate) fn note(&mut self, kind: &str, text: &str, at: Timestamp) -> Result<(), Broken> {
        self.append(&Record::Note(Note { at, kind: kind.to_owned(), text: text.to_owned() }))
    }

    /// Records what is granted to the members of `chain` from here on, if that is not what the recording says.
    pub(crate) fn note_granted(&mut self, chain: &ActorChain, at: Timestamp) -> Result<(), Broken> {
        let granted = granted_to(chain);
        if granted == self.granted {
            return Ok(());
        }
        let each: Vec<String> = granted.iter().map(|one| format!("{} until {:.0} by {}", one.role, one.until, one.request)).collect();
        let text = if each.is_empty() { "nothing any more".to_owned() } else { each.join(", ") };
        self.granted = granted;
        self.note("granted", &text, at)
    }

    /// Closes the recording, and lists how the session ended.
    ///
    /// # Errors
    /// The end cannot be recorded. It is listed all the same.
    pub(crate) async fn close(mut self, ending: &str, now: Timestamp) -> Result<(), Broken> {
        let closed = Closed { at: now, ending: ending.to_owned(), operations: self.listing.operations };
        let closed = self.append(&Record::Closed(closed)).and_then(|()| self.commit());
        let Self { recording, listing, .. } = self;
        let synced = tokio::task::spawn_blocking(move || recording.close()).await;
        listing.end(ending, now).await;
        closed?;
        match synced {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Broken::Recording(error)),
            Err(panicked) => {
                tracing::error!(%panicked, "closing a recording failed");
                Ok(())
            }
        }
    }
}

fn granted_to(chain: &ActorChain) -> Vec<Granted> {
    chain.members().flat_map(|member| member.granted.clone()).collect()
}

fn row(opened: &Opened) -> SessionRow {
    SessionRow {
        id: opened.session,
        subject: opened.chain.subject.name.clone(),
        chain: opened.chain.to_string(),
        connection: opened.connection.clone(),
        database: opened.database.clone(),
        token: opened.token,
        peer: opened.peer.clone(),
        started_at: opened.at,
        ended_at: None,
        ending: None,
        operations: 0,
    }
}
