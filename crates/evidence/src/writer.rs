//! Writes one recording: records in, bytes for its segments out. The caller owns the files and does the writing.
//!
//! Order of use: [`Writer::new`] gives the header of segment 0; then [`append`](Writer::append) any number of records and
//! [`seal`](Writer::seal) them, and write what `seal` gave in one piece; between seals [`next_segment`](Writer::next_segment)
//! may begin another file. After any error the writer gives nothing more: a recording with a gap in it must not go on.

use std::fmt;

use model::{SessionId, Timestamp};

use crate::{
    entry::Lines,
    format::{
        COMPRESS_FROM_BYTES, FLAG_COMPRESSED, FLAG_CONTINUES, FLAG_LAST, FRAME_HEAD_BYTES, FrameHead, HEADER_BYTES, Head, Header, MAX_FRAME_BYTES,
        MAX_RECORD_BYTES, frame_aad, half, head_after,
    },
    key::{KeyError, RecordingKey},
    record::Record,
};

/// Buffers above this size are worth giving back once they were written.
pub const KEPT_BUFFER_BYTES: usize = 16 << 10;
/// zstd's fastest ordinary level: a recording waits for it.
const COMPRESSION_LEVEL: i32 = 1;
/// Frames a segment may still take when it counts as full; one seal makes far fewer.
const SPARE_FRAMES: u32 = 1 << 16;

/// Why a record was not taken. The writer is then of no further use.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The record has more than [`MAX_RECORD_BYTES`] as JSON.
    #[error("a record has {0} bytes; {MAX_RECORD_BYTES} are allowed")]
    TooLong(usize),
    /// The record could not be written as JSON; not seen in practice.
    #[error("a record cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A key or cipher failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The recording was closed, an earlier error ended it, or it has as many frames or segments as it can number.
    #[error("the recording has ended")]
    Ended,
}

/// One recording being written.
pub struct Writer {
    session: SessionId,
    key: RecordingKey,
    segment: u32,
    /// Number of the next frame in the segment.
    number: u32,
    head: Head,
    lines: Lines,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    state: State,
}

impl fmt::Debug for Writer {
    /// Without what was appended: statements and values belong in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, segment, number, state, .. } = self;
        f.debug_struct("Writer")
            .field("session", session)
            .field("segment", segment)
            .field("frame", number)
            .field("state", state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// `Closed` was appended; the next seal is the last.
    Closing,
    Ended,
}

impl Writer {
    /// Begins a recording with a key made for it, and gives the header of segment 0.
    #[must_use]
    pub fn new(session: SessionId, key: RecordingKey, begun_at: Timestamp) -> (Self, [u8; HEADER_BYTES]) {
        let (header, head) = begin(session, &key, 0, [0; 32], begun_at);
        let lines = Lines::new(begun_at);
        (Self { session, key, segment: 0, number: 0, head, lines, plain: Vec::new(), sealed: Vec::new(), state: State::Open }, header)
    }

    /// Takes a record into the next frame.
    ///
    /// # Errors
    /// [`WriteError::TooLong`]; [`WriteError::Ended`] after `Closed` or an earlier error.
    pub fn append(&mut self, record: &Record) -> Result<(), WriteError> {
        if self.state != State::Open {
            return Err(WriteError::Ended);
        }
        self.state = State::Ended;
        let before = self.plain.len();
        self.lines.write(record, &mut self.plain)?;
        let added = self.plain.len() - before;
        if added > MAX_RECORD_BYTES {
            return Err(WriteError::TooLong(added));
        }
        self.state = if matches!(record, Record::Closed(_)) { State::Closing } else { State::Open };
        Ok(())
    }

    /// Makes frames of everything appended since the last call: usually one, several when it is more than [`MAX_FRAME_BYTES`].
    /// Empty when nothing was appended. What it gives must be written next, whole, or the recording is at its end.
    ///
    /// # Errors
    /// When the cipher fails or the segment can number no more frames.
    pub fn seal(&mut self) -> Result<&[u8], WriteError> {
        self.sealed.clear();
        if self.plain.is_empty() {
            return Ok(&[]);
        }
        let state = std::mem::replace(&mut self.state, State::Ended);
        if state == State::Ended {
            return Err(WriteError::Ended);
        }
        let plain = std::mem::take(&mut self.plain);
        let mut chunks = plain.chunks(MAX_FRAME_BYTES).peekable();
        while let Some(chunk) = chunks.next() {
            let continues = if chunk.ends_with(b"\n") { 0 } else { FLAG_CONTINUES };
            let last = if state == State::Closing && chunks.peek().is_none() { FLAG_LAST } else { 0 };
            self.seal_frame(chunk, continues | last)?;
        }
        self.keep(plain);
        if state == State::Open {
            self.state = State::Open;
        }
        Ok(&self.sealed)
    }

    fn seal_frame(&mut self, plain: &[u8], flags: u8) -> Result<(), WriteError> {
        let begin = self.sealed.len();
        let smaller = compressed(plain);
        let (text, flags) = smaller.as_deref().map_or((plain, flags), |text| (text, flags | FLAG_COMPRESSED));
        let length = u32::try_from(text.len()).map_err(|_| WriteError::TooLong(text.len()))?;
        let frame_head = FrameHead { flags, length, number: self.number }.encode();
        let next = self.number.checked_add(1).ok_or(WriteError::Ended)?;
        self.sealed.extend_from_slice(&frame_head);
        self.sealed.extend_from_slice(text);
        let in_place = self.sealed.get_mut(begin + FRAME_HEAD_BYTES..).unwrap_or_default();
        let tag = self.key.seal(self.segment, self.number, frame_aad(&self.head, &frame_head), in_place)?;
        self.sealed.extend_from_slice(&tag);
        self.head = head_after(&self.head, &frame_head, self.sealed.get(begin + FRAME_HEAD_BYTES..).unwrap_or_default());
        self.sealed.extend_from_slice(&half(&self.head));
        self.number = next;
        Ok(())
    }

    /// Keeps a buffer for the next frame unless it is large.
    fn keep(&mut self, mut plain: Vec<u8>) {
        if plain.capacity() <= KEPT_BUFFER_BYTES {
            plain.clear();
            self.plain = plain;
        }
    }

    /// Begins the next segment and gives its header. Only between a seal and the next append.
    ///
    /// # Errors
    /// [`WriteError::Ended`] when something is appended and not sealed, or the recording has ended.
    pub fn next_segment(&mut self, begun_at: Timestamp) -> Result<[u8; HEADER_BYTES], WriteError> {
        let segment = self.segment.checked_add(1).ok_or(WriteError::Ended)?;
        if self.state != State::Open || !self.plain.is_empty() {
            self.state = State::Ended;
            return Err(WriteError::Ended);
        }
        let (header, head) = begin(self.session, &self.key, segment, self.head, begun_at);
        self.segment = segment;
        self.number = 0;
        self.head = head;
        self.lines = Lines::new(begun_at);
        Ok(header)
    }

    /// Whether the segment has nearly as many frames as it can number, and the next must begin.
    #[must_use]
    pub const fn segment_is_full(&self) -> bool {
        self.number > u32::MAX - SPARE_FRAMES
    }

    /// Gives back the buffers: after a large commit, or when a session has nothing to do.
    pub fn release(&mut self) {
        self.sealed = Vec::new();
        if self.plain.is_empty() {
            self.plain = Vec::new();
        }
    }

    /// The head of the chain: commits to everything sealed so far.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Number of the segment being written, from 0.
    #[must_use]
    pub const fn segment(&self) -> u32 {
        self.segment
    }

    /// How many frames the segment has.
    #[must_use]
    pub const fn frames(&self) -> u32 {
        self.number
    }
}

fn begin(session: SessionId, key: &RecordingKey, segment: u32, previous: Head, begun_at: Timestamp) -> ([u8; HEADER_BYTES], Head) {
    let header = Header { segment, session, begun_at, previous, commitment: key.commitment, wrapped: key.wrapped };
    (header.encode(), header.head())
}

/// The text compressed, if it is long and that makes it shorter. A compressor that fails leaves it as it is.
fn compressed(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < COMPRESS_FROM_BYTES {
        return None;
    }
    zstd::bulk::compress(plain, COMPRESSION_LEVEL).ok().filter(|text| text.len() < plain.len())
}
