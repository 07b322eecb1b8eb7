//! Reads a recording: bytes of its segments in, records out, each with the frame it stood in.
//!
//! The chain is checked on the way as by [`crate::verify`], and every tag. A segment cut off at its end is no error until
//! another one follows it; [`Reader::walked`] tells of it. Memory is bounded by one frame, one record and what is named by id.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    entry::Names,
    format::{FLAG_COMPRESSED, FLAG_CONTINUES, Header, MAX_FRAME_BYTES, MAX_RECORD_BYTES, frame_aad},
    key::{KeyRing, RecordingKey},
    record::Record,
    verify::{Fault, FaultKind, Frame, Frames, Walked},
};

/// A record and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Number of the segment, from 0.
    pub segment: u32,
    /// Number of the frame in the segment, from 0; of the last one for a record that spans several.
    pub frame: u32,
    /// The record.
    pub record: Record,
}

/// Reads segment by segment: [`begin_segment`](Self::begin_segment), [`push`](Self::push) bytes, [`next`](Self::next) until it gives none, and so on.
pub struct Reader {
    keys: Arc<KeyRing>,
    frames: Frames,
    key: Option<RecordingKey>,
    names: Option<Names>,
    plain: Plain,
    fault: Option<Fault>,
}

impl fmt::Debug for Reader {
    /// Without what was decrypted: statements and values belong in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("position", &self.position()).field("fault", &self.fault).finish_non_exhaustive()
    }
}

/// Plaintext that was decrypted and not yet given out as records.
#[derive(Default)]
struct Plain {
    bytes: Vec<u8>,
    used: usize,
    /// Up to where no line feed stands.
    searched: usize,
    /// The frame the last of it stood in, and where that began in the file.
    frame: u32,
    offset: u64,
}

impl Plain {
    /// The next whole line, without its line feed.
    fn line(&mut self) -> Option<std::ops::Range<usize>> {
        let rest = self.bytes.get(self.searched..)?;
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + length;
        let line = self.used..end;
        self.used = end + 1;
        self.searched = self.used;
        Some(line)
    }

    fn drop_used(&mut self) {
        self.bytes.drain(..self.used);
        self.searched -= self.used;
        self.used = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(MAX_FRAME_BYTES);
        }
    }
}

impl Reader {
    /// One that expects segment 0 first.
    #[must_use]
    pub fn new(keys: Arc<KeyRing>) -> Self {
        Self::from_segment(keys, 0)
    }

    /// One that begins at another segment; what was before it is not checked.
    #[must_use]
    pub fn from_segment(keys: Arc<KeyRing>, segment: u32) -> Self {
        Self { keys, frames: Frames::from_segment(segment), key: None, names: None, plain: Plain::default(), fault: None }
    }

    /// The next bytes are those of the next segment.
    ///
    /// # Errors
    /// When the segment before is cut off, in a frame or within a record, or said to be the last.
    pub fn begin_segment(&mut self) -> Result<(), Fault> {
        self.frames.begin_segment()?;
        self.names = None;
        Ok(())
    }

    /// Takes more bytes of the segment. Pieces of 64 KiB or so, each followed by [`next`](Self::next) until it gives none, keep memory small.
    pub fn push(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// The next record of what was pushed; none when more bytes are needed.
    ///
    /// # Errors
    /// The first fault, and the same again ever after. Records before it were given out.
    #[expect(clippy::should_implement_trait, reason = "none means more bytes are needed, not the end")]
    pub fn next(&mut self) -> Result<Option<Placed>, Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        self.next_unless_failed().inspect_err(|fault| self.fault = Some(fault.clone()))
    }

    fn next_unless_failed(&mut self) -> Result<Option<Placed>, Fault> {
        loop {
            while let Some(line) = self.plain.line() {
                if let Some(record) = self.read_line(line)? {
                    return Ok(Some(Placed { segment: self.frames.segment(), frame: self.plain.frame, record }));
                }
            }
            if !self.decrypt_frame()? {
                return Ok(None);
            }
        }
    }

    fn read_line(&mut self, line: std::ops::Range<usize>) -> Result<Option<Record>, Fault> {
        let bytes = self.plain.bytes.get(line).unwrap_or_default();
        let names = self.names.as_mut().map(|names| names.read(bytes));
        match names {
            Some(Ok(record)) => Ok(record),
            Some(Err(error)) => Err(self.bad_record(error.to_string())),
            None => Ok(None),
        }
    }

    fn bad_record(&self, why: String) -> Fault {
        Fault { segment: self.frames.segment(), frame: Some(self.plain.frame), offset: self.plain.offset, what: FaultKind::Record(why) }
    }

    /// Decrypts the next frame into `plain`; false when there is no whole one.
    fn decrypt_frame(&mut self) -> Result<bool, Fault> {
        self.plain.drop_used();
        let segment = self.frames.segment();
        let Some(frame) = self.frames.next_frame()? else { return Ok(false) };
        let (frame_number, offset) = (frame.head.number, frame.offset);
        self.plain.frame = frame_number;
        self.plain.offset = offset;
        if self.names.is_none() {
            self.names = Some(Names::new(frame.header.begun_at));
        }
        let key = match &self.key {
            Some(key) => Ok(key),
            None => self.keys.open(frame.header).map(|key| &*self.key.insert(key)),
        };
        let fault = |what| Fault { segment, frame: Some(frame_number), offset, what };
        let flags = frame.head.flags;
        let text = open_frame(key.map_err(|error| fault(error.into()))?, segment, frame).map_err(fault)?;
        self.plain.add(&text, flags).map_err(fault)?;
        Ok(true)
    }

    /// What was read so far: how many frames, the head after them, whether the recording ended, what is cut off.
    #[must_use]
    pub fn walked(&self) -> Walked {
        self.frames.walked()
    }

    /// The header of the segment being read, once it was.
    #[must_use]
    pub const fn header(&self) -> Option<&Header> {
        self.frames.header()
    }

    /// Where the next frame will stand: segment and number. Everything before was given out once [`next`](Self::next) gave none.
    #[must_use]
    pub const fn position(&self) -> (u32, u32) {
        (self.frames.segment(), self.frames.number())
    }
}

impl Plain {
    fn add(&mut self, text: &[u8], flags: u8) -> Result<(), FaultKind> {
        let unfinished = flags & FLAG_CONTINUES != 0;
        if unfinished == text.ends_with(b"\n") {
            return Err(FaultKind::Record("a record ends where it should not".to_owned()));
        }
        if self.bytes.len().saturating_add(text.len()) > MAX_RECORD_BYTES.saturating_add(MAX_FRAME_BYTES) {
            return Err(FaultKind::Record(format!("a record of more than {MAX_RECORD_BYTES} bytes")));
        }
        self.bytes.extend_from_slice(text);
        Ok(())
    }
}

/// The plaintext of a frame, decompressed.
fn open_frame<'a>(key: &RecordingKey, segment: u32, frame: Frame<'a>) -> Result<Cow<'a, [u8]>, FaultKind> {
    let aad = frame_aad(&frame.before, &frame.head_bytes);
    let text = key.open(segment, frame.head.number, aad, frame.sealed).ok_or(FaultKind::Tag)?;
    if frame.head.flags & FLAG_COMPRESSED == 0 {
        return Ok(Cow::Borrowed(text));
    }
    let long = zstd::bulk::decompress(text, MAX_FRAME_BYTES).map_err(|error| FaultKind::Record(format!("it does not decompress: {error}")))?;
    Ok(Cow::Owned(long))
}
