//! Walks the chain of a recording without any key, and names the first frame that is not what was written.
//!
//! What it proves: nothing before the head it computes was changed, moved, repeated or removed since that head was
//! known elsewhere (in the next segment's header, in the evidence log). What it cannot prove alone: that frames were not cut
//! off at the end of a recording whose process died; [`Walked::complete`] tells whether the recording says itself that it ended.

use std::fmt;

use model::SessionId;

use crate::format::{
    CHECK_BYTES, FLAG_CONTINUES, FLAG_LAST, FRAME_HEAD_BYTES, FRAME_OVERHEAD_BYTES, FrameHead, HEADER_BYTES, Head, Header, HeaderError, TAG_BYTES,
    half, head_after,
};

/// The first thing that is wrong with a recording, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Number of the segment, from 0.
    pub segment: u32,
    /// Number of the frame in the segment, from 0; none for its header.
    pub frame: Option<u32>,
    /// Where the frame (or header) begins in the segment's file, in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub what: FaultKind,
}

/// What is wrong with a frame or header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The header is none this program reads.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The segment belongs to another recording.
    #[error("the segment belongs to session {0}")]
    Session(SessionId),
    /// Another segment stands here: one is missing, repeated or moved.
    #[error("segment {0} stands here")]
    Segment(u32),
    /// The segment does not follow what was read before it.
    #[error("it does not follow the segment before: something at that segment's end, or this header, was changed")]
    Previous,
    /// The frame's length, flags or number were changed.
    #[error("the frame's length, flags or number were changed")]
    FrameHead,
    /// Another frame stands here: one is missing, repeated or moved.
    #[error("frame {0} stands here: frames were removed, repeated or moved")]
    OutOfPlace(u32),
    /// The frame does not continue the chain.
    #[error("the frame or one before it was changed")]
    Changed,
    /// There is something after the end of the recording.
    #[error("something follows the recording's last frame")]
    AfterLast,
    /// A segment is cut off although another one follows.
    #[error("{0} bytes of a frame stand at the end of a segment that others follow")]
    CutOff(u64),
    /// No key opens the recording.
    #[error(transparent)]
    Key(#[from] crate::key::KeyError),
    /// The chain is whole but the frame does not decrypt: it was made by somebody without the key.
    #[error("the frame does not decrypt: it was not written with the recording's key")]
    Tag,
    /// The frame decrypts to something that is no record.
    #[error("the frame holds what no recording holds: {0}")]
    Record(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frame {
            Some(frame) => write!(f, "segment {}, frame {frame} (byte {}): {}", self.segment, self.offset, self.what),
            None => write!(f, "segment {}, header: {}", self.segment, self.what),
        }
    }
}

impl std::error::Error for Fault {}

/// Bytes at the end of the last segment that are no whole frame or no whole record: what a killed process or a power cut leaves. Nothing
/// that was forwarded stands in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOff {
    /// The segment.
    pub segment: u32,
    /// The number the frame has or would have had, that of the first one for a record that spans several; none if the header itself is cut off.
    pub frame: Option<u32>,
    /// How many bytes there are.
    pub bytes: u64,
}

/// What a walk over all segments found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// How many segments, the one cut off included.
    pub segments: u32,
    /// How many whole frames.
    pub frames: u64,
    /// The head after the last of them.
    pub head: Head,
    /// Whether the last frame says that the recording ended. If not, its session is live or its process died.
    pub complete: bool,
    /// What stands after the last whole frame.
    pub cut_off: Option<CutOff>,
}

/// Walks a recording segment by segment: [`begin_segment`](Self::begin_segment), [`push`](Self::push) its bytes in pieces of any size, and so on, then [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct Verifier {
    frames: Frames,
}

impl Verifier {
    /// One that expects segment 0 first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes are those of the next segment.
    ///
    /// # Errors
    /// When the segment before is cut off or said to be the last.
    pub fn begin_segment(&mut self) -> Result<(), Fault> {
        self.frames.begin_segment()
    }

    /// Checks more bytes of the segment. It keeps at most one frame of them.
    ///
    /// # Errors
    /// The first fault; then the walk is over.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.frames.push(bytes);
        while self.frames.next_frame()?.is_some() {}
        Ok(())
    }

    /// All segments were pushed.
    #[must_use]
    pub fn finish(self) -> Walked {
        self.frames.walked()
    }
}

/// Cuts segments into frames and checks that each continues the chain. Used by [`Verifier`] and [`crate::reader::Reader`].
#[derive(Debug)]
pub(crate) struct Frames {
    /// What was pushed and not yet used, from `used` on.
    buffer: Vec<u8>,
    used: usize,
    /// Where `used` stands in the segment's file.
    offset: u64,
    /// The segment being read.
    segment: u32,
    begun: bool,
    header: Option<Header>,
    /// What every further segment must be of.
    recording: Option<(SessionId, [u8; 32])>,
    /// Whether the walk began here, so that the first header's word on what was before is taken.
    from_here: bool,
    head: Head,
    /// Number of the next frame.
    number: u32,
    frames: u64,
    last_seen: bool,
    /// Where a record began whose end was not seen yet: the frame's number, and the bytes of its frames so far.
    unfinished: Option<(u32, u64)>,
    /// A header or frame head of zeros was met: all that follows must be zeros.
    zeros: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self::from_segment(0)
    }
}

/// One whole frame whose place in the chain is right.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) head: FrameHead,
    pub(crate) head_bytes: [u8; FRAME_HEAD_BYTES],
    /// The chain before it.
    pub(crate) before: Head,
    /// Ciphertext and tag.
    pub(crate) sealed: &'a mut [u8],
    pub(crate) offset: u64,
    pub(crate) header: &'a Header,
}

impl Frames {
    /// A walk that begins at a segment's start. From a later one than 0, what was before is taken as its header says.
    pub(crate) fn from_segment(segment: u32) -> Self {
        Self {
            buffer: Vec::new(),
            used: 0,
            offset: 0,
            segment,
            begun: false,
            header: None,
            recording: None,
            from_here: segment > 0,
            head: [0; 32],
            number: 0,
            frames: 0,
            last_seen: false,
            unfinished: None,
            zeros: false,
        }
    }

    pub(crate) fn begin_segment(&mut self) -> Result<(), Fault> {
        if !self.begun {
            self.begun = true;
            return Ok(());
        }
        if let Some(cut_off) = self.cut_off() {
            return Err(self.fault(FaultKind::CutOff(cut_off.bytes)));
        }
        let segment = self.segment.saturating_add(1);
        if self.last_seen {
            return Err(Fault { segment, frame: None, offset: 0, what: FaultKind::AfterLast });
        }
        self.segment = segment;
        self.header = None;
        self.from_here = false;
        self.offset = 0;
        self.number = 0;
        Ok(())
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    pub(crate) const fn segment(&self) -> u32 {
        self.segment
    }

    /// Number of the next frame.
    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// The next whole frame of what was pushed, or none if there is none yet.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Fault> {
        if self.header.is_none() && !self.take_header()? {
            return Ok(None);
        }
        let Some((head, head_bytes)) = self.frame_head()? else { return Ok(None) };
        let end = self.used + head.frame_bytes();
        let Some(frame) = self.buffer.get(self.used..end) else { return Ok(None) };
        let (sealed, check) = frame.split_at(frame.len() - CHECK_BYTES);
        let after = head_after(&self.head, &head_bytes, sealed.get(FRAME_HEAD_BYTES..).unwrap_or_default());
        if half(&after) != check {
            return Err(self.fault(FaultKind::Changed));
        }
        let (before, offset, begin) = (self.head, self.offset, self.used + FRAME_HEAD_BYTES);
        self.step(head, after, end);
        let sealed = self.buffer.get_mut(begin..begin + head.length as usize + TAG_BYTES).unwrap_or_default();
        Ok(self.header.as_ref().map(|header| Frame { head, head_bytes, before, sealed, offset, header }))
    }

    fn step(&mut self, head: FrameHead, after: Head, end: usize) {
        let (begun_in, bytes) = self.unfinished.unwrap_or((self.number, 0));
        self.unfinished = (head.flags & FLAG_CONTINUES != 0).then(|| (begun_in, bytes.saturating_add(head.frame_bytes() as u64)));
        self.head = after;
        self.used = end;
        self.offset = self.offset.saturating_add(head.frame_bytes() as u64);
        self.number = self.number.saturating_add(1);
        self.frames = self.frames.saturating_add(1);
        self.last_seen = head.flags & FLAG_LAST != 0;
    }

    fn frame_head(&mut self) -> Result<Option<(FrameHead, [u8; FRAME_HEAD_BYTES])>, Fault> {
        let rest = self.buffer.get(self.used..).unwrap_or_default();
        if self.last_seen && !rest.is_empty() {
            return Err(self.fault(FaultKind::AfterLast));
        }
        let Some(bytes) = rest.first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
        if *bytes == [0; FRAME_HEAD_BYTES] || self.zeros {
            return self.skip_zeros();
        }
        let head = FrameHead::decode(bytes).ok_or_else(|| self.fault(FaultKind::FrameHead))?;
        if head.number != self.number {
            return Err(self.fault(FaultKind::OutOfPlace(head.number)));
        }
        Ok(Some((head, *bytes)))
    }

    /// A power cut may leave a file longer than what was written of it, filled with zeros. They are kept as one block until
    /// something else shows that they are not the end.
    fn skip_zeros<T>(&mut self) -> Result<Option<T>, Fault> {
        self.zeros = true;
        if self.buffer.get(self.used..).unwrap_or_default().iter().any(|byte| *byte != 0) {
            return Err(self.fault(if self.header.is_some() { FaultKind::FrameHead } else { HeaderError::Magic.into() }));
        }
        // Enough of them stay that a cut-off end is still seen as one; the count of bytes is then a lower bound.
        self.buffer.truncate(self.used + FRAME_OVERHEAD_BYTES);
        Ok(None)
    }

    fn take_header(&mut self) -> Result<bool, Fault> {
        if self.zeros {
            return self.skip_zeros::<()>().map(|_| false);
        }
        let Some(bytes) = self.buffer.get(self.used..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) else { return Ok(false) };
        if *bytes == [0; HEADER_BYTES] {
            return self.skip_zeros::<()>().map(|_| false);
        }
        let header = Header::decode(bytes).map_err(|error| self.fault(error.into()))?;
        self.check_header(&header).map_err(|what| self.fault(what))?;
        self.recording = Some((header.session, header.commitment));
        self.head = header.head();
        self.header = Some(header);
        self.used += HEADER_BYTES;
        self.offset = HEADER_BYTES as u64;
        Ok(true)
    }

    fn check_header(&self, header: &Header) -> Result<(), FaultKind> {
        let same_key = self.recording.is_none_or(|(session, commitment)| session == header.session && commitment == header.commitment);
        if !same_key {
            return Err(FaultKind::Session(header.session));
        }
        if header.segment != self.segment {
            return Err(FaultKind::Segment(header.segment));
        }
        if !self.from_here && header.previous != self.head {
            return Err(FaultKind::Previous);
        }
        Ok(())
    }

    pub(crate) fn fault(&self, what: FaultKind) -> Fault {
        Fault { segment: self.segment, frame: self.header.map(|_| self.number), offset: self.offset, what }
    }

    /// What of the segment so far is no whole frame, or belongs to a record whose end is missing.
    pub(crate) fn cut_off(&self) -> Option<CutOff> {
        let rest = (self.buffer.len() - self.used) as u64;
        if !self.begun || (self.header.is_some() && rest == 0 && self.unfinished.is_none()) {
            return None;
        }
        let (begun_in, bytes) = self.unfinished.unwrap_or((self.number, 0));
        Some(CutOff { segment: self.segment, frame: self.header.map(|_| begun_in), bytes: bytes.saturating_add(rest) })
    }

    pub(crate) fn walked(&self) -> Walked {
        let segments = if self.begun { self.segment.saturating_add(1) } else { 0 };
        Walked { segments, frames: self.frames, head: self.head, complete: self.last_seen, cut_off: self.cut_off() }
    }
}
