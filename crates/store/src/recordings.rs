//! Recordings as files: `recordings/YYYY-MM-DD/<session>.NNNN.rec`, the day and name of the session's begin, one file a segment.
//!
//! Writing is synchronous and short: everything appended since the last commit goes out in one `write`. After any error a
//! recording takes nothing more, so that what follows in its session is refused, not lost. Files are 0600 while they grow; the last
//! segment of a recording that was closed is 0400, which tells recovery that it need not look inside.

mod disk;
mod standing;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use evidence::{
    Fault, KeyRing, Reader, Record, Verifier, Writer,
    format::{HEADER_BYTES, Head, Header, HeaderError},
    key::KeyError,
    reader::Placed,
    record::{Asked, InFlight, Opened},
    verify::Walked,
    writer::{KEPT_BUFFER_BYTES, WriteError},
};
use model::{SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use self::disk::Appended;
pub use self::standing::Standing;
use tokio::sync::watch;

/// The folder's name in the data directory.
pub const FOLDER: &str = "recordings";
const SUFFIX: &str = ".rec";
/// How much of a file is read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Smallest size a segment may be rolled at: a header and a few frames.
pub const MIN_SEGMENT_BYTES: u64 = 4 << 10;
/// Size a segment is rolled at if nothing else is said.
pub const DEFAULT_SEGMENT_BYTES: u64 = 64 << 20;
/// What is written to find out whether recordings can be written again: more than the few bytes a full disk may still take.
const PROBE_BYTES: usize = 1 << 20;
const PROBE: &str = "probe";

/// When a commit returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once the kernel has it: survives the death of the process, not of the machine.
    #[default]
    Process,
    /// Once the disk has it: survives a power cut.
    Strict,
}

/// How recordings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// When a commit returns.
    pub durability: Durability,
    /// Size in bytes after which a segment is followed by the next; at least [`MIN_SEGMENT_BYTES`]. It is passed by the commit that reaches it.
    pub segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { durability: Durability::Process, segment_bytes: DEFAULT_SEGMENT_BYTES }
    }
}

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A file or folder cannot be used.
    #[error("cannot use the recording {}: {source}", path.display())]
    File {
        /// What was tried.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record was not taken.
    #[error("cannot record: {0}")]
    Write(#[from] WriteError),
    /// An earlier error ended this recording.
    #[error("the recording {} ended by an earlier error", .0.display())]
    Poisoned(PathBuf),
    /// No recording of this session exists.
    #[error("there is no recording of session {0}")]
    Unknown(SessionId),
    /// The recording is not what was written.
    #[error("recording of session {session}: {fault}")]
    Fault {
        /// Whose recording.
        session: SessionId,
        /// The first thing wrong with it.
        fault: Fault,
    },
    /// A header cannot be read.
    #[error("{}: {source}", path.display())]
    Header {
        /// The segment's file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// A key is missing or wrong.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl RecordingError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}

/// The recordings of a data directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recordings {
    folder: Arc<Path>,
    keys: Arc<KeyRing>,
    settings: Settings,
    standing: Arc<standing::Shared>,
}

impl Recordings {
    /// Opens the folder in a data directory, making it (0700) if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(data: &Path, keys: Arc<KeyRing>, settings: Settings) -> Result<Self, RecordingError> {
        let folder = data.join(FOLDER);
        disk::make_folder(&folder).map_err(RecordingError::file(&folder))?;
        let settings = Settings { segment_bytes: settings.segment_bytes.max(MIN_SEGMENT_BYTES), ..settings };
        Ok(Self { folder: Arc::from(folder), keys, settings, standing: Arc::new(standing::Shared::new()) })
    }

    /// The same recordings, with new ones written otherwise.
    #[must_use]
    pub fn with_settings(&self, settings: Settings) -> Self {
        let settings = Settings { segment_bytes: settings.segment_bytes.max(MIN_SEGMENT_BYTES), ..settings };
        Self { settings, ..self.clone() }
    }

    /// Whether recordings can be written, as far as the last attempt says.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.now()
    }

    /// Follows [`standing`](Self::standing): each failed write is a change.
    #[must_use]
    pub fn watch_standing(&self) -> watch::Receiver<Standing> {
        self.standing.watch()
    }

    /// Finds out whether recordings can be written again, by writing where the next one would lie. What was written is removed.
    ///
    /// # Errors
    /// They cannot.
    pub fn probe(&self, now: Timestamp) -> Result<(), RecordingError> {
        let before = self.standing.now();
        let path = self.day(now)?.join(PROBE);
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_data()
        });
        let removed = fs::remove_file(&path);
        written.and(removed).map_err(RecordingError::file(&path))?;
        self.standing.written(before);
        Ok(())
    }

    /// Begins the recording of a session.
    ///
    /// # Errors
    /// When its file cannot be made, or exists.
    pub fn create(&self, session: SessionId, now: Timestamp) -> Result<Recording, RecordingError> {
        let key = self.keys.current()?.recording_key(session)?;
        let (writer, header) = Writer::new(session, key, now);
        let begun = self.day(now).and_then(|day| {
            let place = Place { day, session };
            let file = place.create(0, &header, self.settings.durability)?;
            Ok((place, file))
        });
        let (place, file) = begun.inspect_err(|error| self.standing.failed(error))?;
        let (settings, standing) = (self.settings, self.standing.clone());
        Ok(Recording { place, writer, file, bytes: HEADER_BYTES as u64, latest: now, settings, standing, closed: false, poisoned: false })
    }

    /// The folder of the recordings that begin now, which is made if it is not there.
    fn day(&self, now: Timestamp) -> Result<PathBuf, RecordingError> {
        let day = self.folder.join(now.strftime("%Y-%m-%d").to_string());
        disk::make_folder(&day).map_err(RecordingError::file(&day))?;
        Ok(day)
    }

    /// Reads a recording from its first record. See [`Records`].
    ///
    /// # Errors
    /// When there is none, or its first file cannot be opened.
    pub fn read(&self, session: SessionId) -> Result<Records, RecordingError> {
        self.read_from(session, Position::START)
    }

    /// Reads a recording from where an earlier reader stood. At most one segment is gone through again for what was named in it.
    ///
    /// # Errors
    /// As [`Recordings::read`].
    pub fn read_from(&self, session: SessionId, position: Position) -> Result<Records, RecordingError> {
        let place = self.find(session)?;
        let mut reader = Reader::from_segment(Arc::clone(&self.keys), position.segment);
        reader.begin_segment().map_err(|fault| RecordingError::Fault { session, fault })?;
        let file = place.open(position.segment)?;
        Ok(Records { place, reader, file, successor: None, position, passed: 0, piece: Vec::new(), failed: false })
    }

    /// Walks the chain of a recording without its key.
    ///
    /// # Errors
    /// [`RecordingError::Fault`] names the first bad frame.
    pub fn verify(&self, session: SessionId) -> Result<Walked, RecordingError> {
        let place = self.find(session)?;
        let faulty = |fault| RecordingError::Fault { session, fault };
        let mut verifier = Verifier::new();
        let mut piece = vec![0; PIECE_BYTES];
        for segment in 0..place.segments()? {
            verifier.begin_segment().map_err(faulty)?;
            let (mut file, path) = (place.open(segment)?, place.path(segment));
            loop {
                let bytes = read_piece(&mut file, &mut piece).map_err(RecordingError::file(&path))?;
                if bytes.is_empty() {
                    break;
                }
                verifier.push(bytes).map_err(faulty)?;
            }
        }
        Ok(verifier.finish())
    }

    /// Every recording, by day and session.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, RecordingError> {
        self.days()?.iter().map(|day| Self::list_day(day, |_| true)).collect::<Result<Vec<_>, _>>().map(|days| days.concat())
    }

    /// The folders, one a day.
    pub(crate) fn days(&self) -> Result<Vec<PathBuf>, RecordingError> {
        let mut days = entries(&self.folder)?;
        days.retain(|day| day.is_dir());
        days.sort_unstable();
        Ok(days)
    }

    /// The recordings of a day that are wanted, by session. Of the others only the names are read.
    pub(crate) fn list_day(day: &Path, wanted: impl Fn(SessionId) -> bool) -> Result<Vec<Listed>, RecordingError> {
        let mut listed = BTreeMap::<SessionId, Listed>::new();
        for file in entries(day)? {
            if let Some((session, segment)) = parse_name(&file).filter(|(session, _)| wanted(*session)) {
                let metadata = fs::metadata(&file).map_err(RecordingError::file(&file))?;
                let recording = listed.entry(session).or_insert_with(|| Listed::new(session, day));
                recording.segments = recording.segments.max(segment.saturating_add(1));
                recording.bytes = recording.bytes.saturating_add(metadata.len());
                recording.closed |= metadata.permissions().mode() & 0o200 == 0;
            }
        }
        Ok(listed.into_values().collect())
    }

    /// Recordings that were not closed, with the operations whose outcome is unknown. At start, before sessions are admitted, these are
    /// the ones whose process died; later, the live ones are among them. Nothing is written to them.
    ///
    /// # Errors
    /// When a folder cannot be read. A recording that is faulty is reported, not an error.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, RecordingError> {
        let open = self.list()?.into_iter().filter(|listed| !listed.closed);
        Ok(open.map(|listed| self.examine(listed.session)).filter(|found| !found.complete).collect())
    }

    /// Reads a recording to its end for what is known of its operations.
    #[must_use]
    pub fn examine(&self, session: SessionId) -> Unfinished {
        let mut found = Unfinished { session, opened: None, operations: 0, unknown: Vec::new(), last_at: None, complete: false, error: None };
        let mut in_flight = InFlight::default();
        let read = self.read(session).and_then(|mut records| {
            for placed in &mut records {
                let record = placed?.record;
                found.last_at = record.at().or(found.last_at);
                found.operations += u64::from(matches!(record, Record::Asked(_)));
                in_flight.observe(&record);
                if let Record::Opened(opened) = record {
                    found.opened = Some(opened);
                }
            }
            Ok(records.walked())
        });
        match read {
            Ok(walked) => found.complete = walked.complete,
            Err(error) => found.error = Some(error),
        }
        found.unknown = in_flight.into_unknown();
        found
    }

    /// Wraps the key of a recording by the current deployment key, in every segment. What happened, and the chain over it, stay untouched.
    ///
    /// # Errors
    /// When a header cannot be read or written, or its key is not at hand.
    pub fn rewrap(&self, session: SessionId) -> Result<(), RecordingError> {
        let place = self.find(session)?;
        (0..place.segments()?).try_for_each(|segment| self.rewrap_segment(&place.path(segment)))
    }

    fn rewrap_segment(&self, path: &Path) -> Result<(), RecordingError> {
        let failed = || RecordingError::file(path);
        let mut bytes = [0; HEADER_BYTES];
        let file = File::open(path).map_err(failed())?;
        file.read_exact_at(&mut bytes, 0).map_err(failed())?;
        let header = Header::decode(&bytes).map_err(|source| RecordingError::Header { path: path.to_owned(), source })?;
        let rewrapped = self.keys.rewrap(&header)?;
        if rewrapped == header {
            return Ok(());
        }
        let kept = file.metadata().map_err(failed())?.permissions();
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed())?;
        // The header lies within one sector: it is written whole or not at all.
        let writable = OpenOptions::new().write(true).open(path).map_err(failed())?;
        writable.write_all_at(&rewrapped.encode(), 0).and_then(|()| writable.sync_all()).map_err(failed())?;
        fs::set_permissions(path, kept).map_err(failed())
    }

    /// Where the recording of a session lies: latest day first.
    fn find(&self, session: SessionId) -> Result<Place, RecordingError> {
        let mut days = entries(&self.folder)?;
        days.sort_unstable();
        let places = days.into_iter().rev().map(|day| Place { day, session });
        places.into_iter().find(|place| place.path(0).exists()).ok_or(RecordingError::Unknown(session))
    }
}

/// One recording as a listing knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whose.
    pub session: SessionId,
    /// The day its session began, `2026-11-21`.
    pub day: String,
    /// How many segments.
    pub segments: u32,
    /// Size of all of them.
    pub bytes: u64,
    /// Whether it was closed in order. A copy that lost its files' modes says no here; [`Recordings::examine`] looks inside.
    pub closed: bool,
}

impl Listed {
    fn new(session: SessionId, day: &Path) -> Self {
        let day = day.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        Self { session, day, segments: 0, bytes: 0, closed: false }
    }
}

/// What is known of a recording that has no end.
#[derive(Debug)]
pub struct Unfinished {
    /// Whose.
    pub session: SessionId,
    /// Its first record, if it can be read.
    pub opened: Option<Box<Opened>>,
    /// How many operations were asked.
    pub operations: u64,
    /// Those that were or may have been forwarded and have no answer: outcome unknown.
    pub unknown: Vec<Asked>,
    /// The last moment it tells of.
    pub last_at: Option<Timestamp>,
    /// Whether it ended in order after all.
    pub complete: bool,
    /// Why it could not be read to its end, if so.
    pub error: Option<RecordingError>,
}

/// One recording being written. Drop it without [`close`](Self::close) and it stays without an end, as after a crash.
#[derive(Debug)]
pub struct Recording {
    place: Place,
    writer: Writer,
    file: Appended,
    /// Size of the segment.
    bytes: u64,
    /// Time of the last record that has one; the next segment's begin.
    latest: Timestamp,
    settings: Settings,
    standing: Arc<standing::Shared>,
    /// `Closed` was appended: no segment follows.
    closed: bool,
    poisoned: bool,
}

impl Recording {
    /// Takes a record into the next commit. Nothing is written yet.
    ///
    /// # Errors
    /// When the record is too long, or the recording ended. It then takes nothing more.
    pub fn append(&mut self, record: &Record) -> Result<(), RecordingError> {
        self.unless_poisoned(|this| {
            this.latest = record.at().unwrap_or(this.latest);
            this.closed |= matches!(record, Record::Closed(_));
            Ok(this.writer.append(record)?)
        })
    }

    /// Writes everything appended since the last commit, in one `write`. When it returns, a killed process loses nothing of it; with
    /// [`Durability::Strict`], neither does a power cut (then it waits for the disk).
    ///
    /// # Errors
    /// When not all of it was written. It then takes nothing more: what was to be forwarded must be refused, and its session ended.
    pub fn commit(&mut self) -> Result<(), RecordingError> {
        self.unless_poisoned(Self::write_sealed)?;
        if !self.closed && (self.bytes >= self.settings.segment_bytes || self.writer.segment_is_full()) {
            // What was committed stands, whatever becomes of the next segment: if it cannot be begun, the next commit says so.
            let rolled = self.roll();
            self.poisoned = rolled.is_err();
            rolled.unwrap_or_else(|error| self.standing.failed(&error));
        }
        Ok(())
    }

    fn write_sealed(&mut self) -> Result<(), RecordingError> {
        let sealed = self.writer.seal()?;
        if sealed.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(sealed).and_then(|()| match self.settings.durability {
            Durability::Process => Ok(()),
            Durability::Strict => self.file.sync(),
        });
        let length = sealed.len();
        self.bytes = self.bytes.saturating_add(length as u64);
        if length > KEPT_BUFFER_BYTES {
            self.writer.release();
        }
        written.map_err(|error| RecordingError::file(&self.place.path(self.writer.segment()))(error))
    }

    fn roll(&mut self) -> Result<(), RecordingError> {
        let header = self.writer.next_segment(self.latest)?;
        self.file = self.place.create(self.writer.segment(), &header, self.settings.durability)?;
        self.bytes = HEADER_BYTES as u64;
        Ok(())
    }

    /// Runs what may fail; its failure is the last thing this recording does.
    fn unless_poisoned(&mut self, run: impl FnOnce(&mut Self) -> Result<(), RecordingError>) -> Result<(), RecordingError> {
        if self.poisoned {
            return Err(RecordingError::Poisoned(self.place.path(self.writer.segment())));
        }
        // Should it panic, half a record may be left.
        self.poisoned = true;
        let done = run(self);
        self.poisoned = done.is_err();
        done.inspect_err(|error| self.standing.failed(error))
    }

    /// Commits what is left and waits until the disk has all of it. A recording whose last record is `Closed` then says that it ended.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn close(mut self) -> Result<Head, RecordingError> {
        self.commit()?;
        self.make_lasting().inspect_err(|error| self.standing.failed(error))?;
        Ok(self.writer.head())
    }

    fn make_lasting(&self) -> Result<(), RecordingError> {
        for segment in 0..=self.writer.segment() {
            let path = self.place.path(segment);
            disk::sync(&path).map_err(RecordingError::file(&path))?;
        }
        disk::sync(&self.place.day).map_err(RecordingError::file(&self.place.day))?;
        if self.closed {
            let path = self.place.path(self.writer.segment());
            fs::set_permissions(&path, Permissions::from_mode(0o400)).map_err(RecordingError::file(&path))?;
        }
        Ok(())
    }

    /// The head of the chain: commits to everything committed so far.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.writer.head()
    }

    /// Whose recording it is.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.place.session
    }

    /// Whether an error ended it. Its session must end too.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Gives back buffers; for a session that has nothing to do.
    pub fn release(&mut self) {
        self.writer.release();
    }
}

/// A place between two records, to read on from later. What is stored of it is small and stays valid as long as the recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Number of the segment, from 0.
    pub segment: u32,
    /// Number of the frame in it, from 0.
    pub frame: u32,
    /// How many records of that frame were read.
    pub records: u32,
}

impl Position {
    /// Before the first record.
    pub const START: Self = Self { segment: 0, frame: 0, records: 0 };
}

/// Reads records in order, across segments.
///
/// As an iterator it gives none at the end of what is there *now*: for a recording that is being written, ask again when its
/// session says there is more, and reading goes on. After an error it gives none for good.
#[derive(Debug)]
pub struct Records {
    place: Place,
    reader: Reader,
    file: File,
    /// The next segment's file: it exists, so the present one is whole and is read to its end once more before moving on.
    successor: Option<File>,
    position: Position,
    /// Records of the frame at `position` that were passed.
    passed: u32,
    /// Empty while nobody reads.
    piece: Vec<u8>,
    failed: bool,
}

impl Iterator for Records {
    type Item = Result<Placed, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.next_record();
        self.failed = read.is_err();
        read.transpose()
    }
}

impl Records {
    /// Where the next record is, or will be.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// What was read so far: how many frames, the head after them, whether the recording ended, what is cut off at its end.
    #[must_use]
    pub fn walked(&self) -> Walked {
        self.reader.walked()
    }

    /// Whose recording it is.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.place.session
    }

    /// Gives back what only reading needs; for one that waits until there is more.
    pub(crate) fn rest(&mut self) {
        self.piece = Vec::new();
    }

    fn next_record(&mut self) -> Result<Option<Placed>, RecordingError> {
        loop {
            while let Some(placed) = self.reader.next().map_err(|fault| self.faulty(fault))? {
                if self.is_new(&placed) {
                    return Ok(Some(placed));
                }
            }
            if !self.read_more()? {
                return Ok(None);
            }
        }
    }

    /// Counts the record; false when an earlier reader had it.
    fn is_new(&mut self, placed: &Placed) -> bool {
        let at = (placed.segment, placed.frame);
        let known = (self.position.segment, self.position.frame);
        if at < known {
            return false;
        }
        if at > known {
            self.position = Position { segment: placed.segment, frame: placed.frame, records: 0 };
            self.passed = 0;
        }
        self.passed = self.passed.saturating_add(1);
        let new = self.passed > self.position.records;
        self.position.records = self.position.records.max(self.passed);
        new
    }

    /// Hands the reader more bytes; false when there are none now.
    fn read_more(&mut self) -> Result<bool, RecordingError> {
        let path = self.place.path(self.reader.position().0);
        self.piece.resize(PIECE_BYTES, 0);
        let bytes = read_piece(&mut self.file, &mut self.piece).map_err(RecordingError::file(&path))?;
        if !bytes.is_empty() {
            self.reader.push(bytes);
            return Ok(true);
        }
        if let Some(next) = self.successor.take() {
            self.reader.begin_segment().map_err(|fault| self.faulty(fault))?;
            self.file = next;
            return Ok(true);
        }
        let next = self.place.path(self.reader.position().0.saturating_add(1));
        match File::open(&next) {
            Ok(file) => self.successor = Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(RecordingError::file(&next)(error)),
        }
        Ok(true)
    }

    fn faulty(&self, fault: Fault) -> RecordingError {
        RecordingError::Fault { session: self.place.session, fault }
    }
}

/// Where the files of one recording lie.
#[derive(Debug)]
struct Place {
    day: PathBuf,
    session: SessionId,
}

impl Place {
    fn path(&self, segment: u32) -> PathBuf {
        self.day.join(format!("{}.{segment:04}{SUFFIX}", self.session))
    }

    fn open(&self, segment: u32) -> Result<File, RecordingError> {
        let path = self.path(segment);
        File::open(&path).map_err(RecordingError::file(&path))
    }

    /// How many segments there are, without a gap.
    fn segments(&self) -> Result<u32, RecordingError> {
        let names = entries(&self.day)?;
        let last = names.iter().filter_map(|path| parse_name(path)).filter(|(session, _)| *session == self.session).map(|(_, segment)| segment).max();
        Ok(last.map_or(0, |last| last.saturating_add(1)))
    }

    /// Makes a segment's file, which nothing else has had or will have, with its header.
    fn create(&self, segment: u32, header: &[u8; HEADER_BYTES], durability: Durability) -> Result<Appended, RecordingError> {
        let path = self.path(segment);
        let made = Appended::create(&path).and_then(|mut file| {
            file.write_all(header)?;
            if durability == Durability::Strict {
                file.sync()?;
                disk::sync(&self.day)?;
            }
            Ok(file)
        });
        made.map_err(RecordingError::file(&path))
    }
}

/// Session and segment of a file's name.
fn parse_name(path: &Path) -> Option<(SessionId, u32)> {
    let (session, segment) = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.split_once('.')?;
    Some((session.parse().ok()?, segment.parse().ok()?))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    let failed = || RecordingError::file(folder);
    fs::read_dir(folder).map_err(failed())?.map(|entry| entry.map(|entry| entry.path()).map_err(failed())).collect()
}

/// Whether a data directory holds any recording.
pub(crate) fn any(data: &Path) -> io::Result<bool> {
    match fs::read_dir(data.join(FOLDER)) {
        Ok(mut days) => days.next().transpose().map(|first| first.is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_piece<'a>(file: &mut File, piece: &'a mut [u8]) -> io::Result<&'a [u8]> {
    loop {
        match file.read(piece) {
            Ok(count) => return Ok(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
