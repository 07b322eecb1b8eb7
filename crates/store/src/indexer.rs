//! Brings the index up to date with the recordings.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use evidence::{
    Record,
    record::{Cell, Parameter},
};
use model::SessionId;

use crate::{
    Index, Recordings, StoreError,
    index::{Batch, Progress, Taken},
    recordings::{Listed, Position, RecordingError, Records},
};

/// A batch is taken once it has so many records: few enough that its transaction is short.
const BATCH_RECORDS: usize = 4_096;
/// A batch is taken once what it holds has so many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// Most recordings that stay open between two rounds. One that does not is gone through from its segment's begin when it has grown.
const MAX_OPEN: usize = 64;
/// A folder changed so long ago is not changing under a clock too coarse to tell.
const SETTLED: Duration = Duration::from_secs(10);

/// Reads recordings from where it stood last. One at a time: two would do the same work twice, and neither harm.
#[derive(Debug)]
pub struct Indexer {
    index: Index,
    recordings: Recordings,
    /// Size of each recording that is not done when it was last read to its end.
    seen: HashMap<SessionId, u64>,
    known: Option<HashMap<SessionId, Progress>>,
    /// Recordings read to their present end, and in which round.
    open: HashMap<SessionId, (u64, Records)>,
    /// Folders in which every recording is done, and when they were changed last.
    done: HashMap<PathBuf, SystemTime>,
    round: u64,
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
        Self { index, recordings, seen: HashMap::new(), known: None, open: HashMap::new(), done: HashMap::new(), round: 0 }
    }

    /// Takes what is new in every recording, live ones too. Cheap when nothing is: then it reads the names of the days' folders, and of the files in those that have a live recording.
    ///
    /// # Errors
    /// When the index fails. A recording that is faulty is reported, and the others are read.
    pub async fn catch_up(&mut self) -> Result<Caught, StoreError> {
        let mut caught = Caught::default();
        self.round += 1;
        for recording in self.unread().await? {
            if self.seen.get(&recording.session) == Some(&recording.bytes) {
                continue;
            }
            if let Some(fault) = self.read(recording.session, &mut caught).await? {
                caught.faults.push(fault);
            }
            // Remembered as it was before it was read: what grew meanwhile is seen next time.
            self.seen.insert(recording.session, recording.bytes);
            if self.is_done(recording.session) {
                self.seen.remove(&recording.session);
            }
        }
        // The place they are in may have to be unmounted before it can be mended.
        if !self.recordings.standing().writable {
            self.open.clear();
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
        *self = Self::new(self.index.clone(), self.recordings.clone());
        self.catch_up().await
    }

    fn is_done(&self, session: SessionId) -> bool {
        self.known.as_ref().is_some_and(|known| is_done(known, session))
    }

    /// Every recording that was not read to its last record.
    async fn unread(&mut self) -> Result<Vec<Listed>, StoreError> {
        let known = match self.known.take() {
            Some(known) => known,
            None => self.index.all_progress().await?,
        };
        let (recordings, mut done) = (self.recordings.clone(), std::mem::take(&mut self.done));
        let (known, done, unread) = blocking(move || {
            let unread = unread(&recordings, &known, &mut done);
            (known, done, unread)
        })
        .await?;
        (self.known, self.done) = (Some(known), done);
        Ok(unread?)
    }

    /// Reads one recording to its present end, batch by batch.
    async fn read(&mut self, session: SessionId, caught: &mut Caught) -> Result<Option<RecordingError>, StoreError> {
        let mut records = match self.open.remove(&session) {
            Some((_, records)) => records,
            None => {
                let from = self.index.progress(session).await?.map_or(Position::START, |progress| progress.position);
                let recordings = self.recordings.clone();
                match blocking(move || recordings.read_from(session, from)).await? {
                    Ok(records) => records,
                    Err(error) => return Ok(Some(error)),
                }
            }
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
            match read.end {
                End::Full => {}
                End::Now => {
                    self.keep_open(records);
                    break None;
                }
                End::Fault(fault) => break Some(fault),
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

    /// Keeps a recording open that may grow, in place of the one that has not grown for longest.
    fn keep_open(&mut self, mut records: Records) {
        let session = records.session();
        if self.is_done(session) {
            return;
        }
        records.rest();
        self.open.insert(session, (self.round, records));
        if self.open.len() > MAX_OPEN
            && let Some(oldest) = self.open.iter().min_by_key(|(_, (round, _))| *round).map(|(session, _)| *session)
        {
            self.open.remove(&oldest);
        }
    }
}

fn is_done(known: &HashMap<SessionId, Progress>, session: SessionId) -> bool {
    known.get(&session).is_some_and(|progress| progress.complete)
}

fn unread(
    recordings: &Recordings,
    known: &HashMap<SessionId, Progress>,
    done: &mut HashMap<PathBuf, SystemTime>,
) -> Result<Vec<Listed>, RecordingError> {
    let mut unread = Vec::new();
    for day in recordings.days()? {
        let changed = fs::metadata(&day).and_then(|metadata| metadata.modified()).ok();
        if changed.is_some() && done.get(&day) == changed.as_ref() {
            continue;
        }
        let listed = Recordings::list_day(&day, |session| !is_done(known, session))?;
        if let Some(changed) = changed
            && listed.is_empty()
            && changed.elapsed().is_ok_and(|since| since > SETTLED)
        {
            done.insert(day, changed);
        }
        unread.extend(listed);
    }
    Ok(unread)
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
