//! Brings the index up to date with the recordings.

use std::collections::HashMap;

use evidence::{
    Record,
    record::{Cell, Parameter},
};
use model::SessionId;

use crate::{
    Index, Recordings, StoreError,
    index::{Batch, Progress, Taken},
    recordings::{Position, RecordingError, Records},
};

/// A batch is taken once it has so many records: few enough that its transaction is short.
const BATCH_RECORDS: usize = 512;
/// A batch is taken once what it holds has so many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// Reads recordings from where it stood last. One at a time: two would do the same work twice, and neither harm.
#[derive(Debug)]
pub struct Indexer {
    index: Index,
    recordings: Recordings,
    /// Size of each recording when it was last read to its end.
    seen: HashMap<SessionId, u64>,
    known: Option<HashMap<SessionId, Progress>>,
}

/// What one round did.
#[derive(Debug, Default)]
pub struct Caught {
    /// Recordings that had something new.
    pub recordings: u64,
    /// Records taken.
    pub records: u64,
    /// Recordings that could not be read to their end. What stands before the fault was taken.
    pub faults: Vec<RecordingError>,
}

impl Indexer {
    pub(crate) fn new(index: Index, recordings: Recordings) -> Self {
        Self { index, recordings, seen: HashMap::new(), known: None }
    }

    /// Takes what is new in every recording, live ones too. Cheap when nothing is.
    ///
    /// # Errors
    /// When the index fails. A recording that is faulty is reported, and the others are read.
    pub async fn catch_up(&mut self) -> Result<Caught, StoreError> {
        let mut caught = Caught::default();
        let recordings = self.recordings.clone();
        let listed = blocking(move || recordings.list()).await??;
        if self.known.is_none() {
            self.known = Some(self.index.all_progress().await?);
        }
        for recording in listed {
            if self.is_done(recording.session) || self.seen.get(&recording.session) == Some(&recording.bytes) {
                continue;
            }
            if let Some(fault) = self.read(recording.session, &mut caught).await? {
                caught.faults.push(fault);
            }
            // Remembered as it was before it was read: what grew meanwhile is seen next time.
            self.seen.insert(recording.session, recording.bytes);
        }
        Ok(caught)
    }

    /// Forgets what was derived from the recordings there are, and reads them all again, hashing literals with the current deployment key. Counts of uses from recordings that are gone stay.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn reindex(&mut self) -> Result<Caught, StoreError> {
        let recordings = self.recordings.clone();
        let sessions: Vec<SessionId> = blocking(move || recordings.list()).await??.iter().map(|listed| listed.session).collect();
        self.index.rekey().await?;
        self.index.forget(&sessions).await?;
        self.seen.clear();
        self.known = None;
        self.catch_up().await
    }

    fn is_done(&self, session: SessionId) -> bool {
        self.known.as_ref().and_then(|known| known.get(&session)).is_some_and(|progress| progress.complete)
    }

    /// Reads one recording to its present end, batch by batch.
    async fn read(&mut self, session: SessionId, caught: &mut Caught) -> Result<Option<RecordingError>, StoreError> {
        let from = self.index.progress(session).await?.map_or(Position::START, |progress| progress.position);
        let recordings = self.recordings.clone();
        let mut records = match blocking(move || recordings.read_from(session, from)).await? {
            Ok(records) => records,
            Err(error) => return Ok(Some(error)),
        };
        let mut taken = 0;
        let fault = loop {
            let read;
            (records, read) = blocking(move || {
                let read = Read::batch(&mut records);
                (records, read)
            })
            .await?;
            if !read.batch.records.is_empty() && self.index.absorb(&read.batch).await? == Taken::Elsewhere {
                break None;
            }
            taken += u64::try_from(read.batch.records.len()).unwrap_or(0);
            self.note_end(&read.batch);
            if let End::Now | End::Fault(_) = read.end {
                break read.end.fault();
            }
        };
        caught.recordings += u64::from(taken > 0);
        caught.records += taken;
        Ok(fault)
    }

    fn note_end(&mut self, batch: &Batch) {
        if let (Some(Record::Closed(_)), Some(known)) = (batch.records.last(), &mut self.known) {
            known.insert(batch.session, Progress { position: batch.until, complete: true });
        }
    }
}

/// A batch and why it ends.
struct Read {
    batch: Batch,
    end: End,
}

/// Why a batch ends.
enum End {
    /// It is large enough; there may be more.
    Full,
    /// There is no more now.
    Now,
    /// What follows cannot be read.
    Fault(RecordingError),
}

impl End {
    fn fault(self) -> Option<RecordingError> {
        match self {
            Self::Fault(error) => Some(error),
            Self::Full | Self::Now => None,
        }
    }
}

impl Read {
    fn batch(records: &mut Records) -> Self {
        let mut batch =
            Batch { session: records.session(), from: Records::position(records), records: Vec::new(), until: Records::position(records) };
        let mut bytes = 0;
        let end = loop {
            if batch.records.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                break End::Full;
            }
            match records.next() {
                None => break End::Now,
                Some(Err(error)) => break End::Fault(error),
                Some(Ok(placed)) => {
                    bytes += weight(&placed.record);
                    batch.records.push(placed.record);
                    batch.until = Records::position(records);
                }
            }
        };
        Self { batch, end }
    }
}

/// Roughly what a record keeps in memory, in bytes. Rows are of no use to the index, but they are read.
fn weight(record: &Record) -> usize {
    match record {
        Record::Asked(asked) => asked.text.len() + asked.parameters.iter().map(parameter_weight).sum::<usize>(),
        Record::Rows(rows) => rows.rows.iter().flatten().flatten().map(cell_weight).sum(),
        Record::CopyData(data) => cell_weight(&data.data),
        _ => 0,
    }
}

fn parameter_weight(parameter: &Parameter) -> usize {
    match parameter {
        Parameter::Null => 0,
        Parameter::Text(text) => text.len(),
        Parameter::Binary { hex, .. } => hex.0.len(),
    }
}

fn cell_weight(cell: &Cell) -> usize {
    match cell {
        Cell::Text(text) => text.len(),
        Cell::Binary { hex } => hex.0.len(),
    }
}

/// Runs what reads files on a thread that may wait for them.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::corrupt("a recording", error))
}
