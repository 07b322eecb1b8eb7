//! The file format, version 1: what stands at which byte. `docs/recording-format.md` is the same for outsiders, with an example.
//!
//! A recording is one or more *segments*, numbered from 0, each a file of its own. All integers are big-endian.
//!
//! ```text
//! segment  = header frame*
//!
//! header   = 180 bytes
//!      0   8  magic "CSRECORD"
//!      8   2  format version, 1
//!     10   2  length of the header in bytes, 180
//!     12   4  segment number
//!     16   8  session id, a number below 2^60
//!     24   8  when the segment was begun, microseconds since 1970-01-01 UTC, signed
//!     32  32  head of the previous segment; zeros in segment 0
//!     64  32  key commitment: SHA-256("countersign recording key 1" ‖ recording key)
//!     96   8  id of the deployment key that wraps the recording key
//!    104  12  nonce of the wrapping
//!    116  48  recording key, AES-256-GCM under the wrapping key, with its tag; AAD = "countersign wrapped recording key 1" ‖ bytes 16..24 ‖ bytes 64..96
//!                wrapping key = HKDF-SHA256 of the deployment key, no salt, info "countersign wrap recording keys 1", 32 bytes
//!    164  16  first half of SHA-256 over bytes 0..164
//!
//! frame    = 42 bytes more than it holds
//!      0   1  flags: 1 compressed, 2 the last record goes on in the next frame, 4 the recording's last frame
//!      1   3  length of the ciphertext without its tag, 1 to 4,194,304
//!      4   4  number of the frame in its segment, from 0
//!      8   2  CRC-16 of bytes 0..8 (polynomial 0x1021, start 0xffff), so that a wrong length is never taken for a cut-off file
//!     10   n  ciphertext: AES-256-GCM under the recording key, nonce = segment number (4 bytes) ‖ frame number (8 bytes), AAD = head before ‖ bytes 0..8
//!   10+n  16  its tag
//!   26+n  16  first half of the head after this frame
//!
//! head before the first frame of a segment  = SHA-256(bytes 0..96 of the header)
//! head after a frame                        = SHA-256(head before ‖ bytes 0..8 ‖ ciphertext ‖ tag)
//! ```
//!
//! The chain covers all but the wrapping, so that keys can be wrapped anew without touching what happened. Half a head is
//! stored in each frame only to name the first bad one; what counts is the whole head, 32 bytes, that a verifier computes
//! and compares with the next segment's header or with the evidence log.
//!
//! The plaintext of a segment's frames, decompressed (zstd, <https://www.rfc-editor.org/rfc/rfc8878>) and joined, is JSON, one record to a
//! line. [`crate::record`] names the records. Two of them, and what is named once, are shorter here:
//!
//! ```text
//! {"facts":{"i":id,"f":facts}}          what statements mean; known by its id to the end of the segment or the next `forget`
//! {"ruling":{"i":id,"r":ruling}}        what was decided
//! {"statement":{"i":id,"f":facts id,"x":text}}
//! {"forget":{}}                         all ids so far are void
//! {"a":{…}}   asked:    o op (left out: one more than the last asked), t microseconds since the last `a` or `z`, at first since the header's time,
//!             s statement id, or x text and f facts id, r ruling id, v via (left out: simple), p parameters (left out: none)
//! {"z":{…}}   answered: o op (left out: the last asked), t as above, d duration_us (left out: equal to t), n rows, b bytes, g tag,
//!             e error, m masked, x refused (left out: 0, none, false)
//! ```
//!
//! Every segment begins with nothing named and can be read alone, given the key.
//!
//! **Nonces never repeat under a key.** The key is made from the system's randomness when a recording is created, by the one process that holds
//! its file open, and lives in that process only. A segment's file is created by `O_EXCL` and never opened again for writing, so
//! a pair of segment and frame number is used once; a writer that failed part-way never encrypts again. After a crash the recording
//! stays as it is: what follows is a new session, with a new recording and a new key.

use aws_lc_rs::digest;
use model::{SessionId, Timestamp};

/// First bytes of every segment.
pub const MAGIC: &[u8; 8] = b"CSRECORD";
/// The format version written here.
pub const VERSION: u16 = 1;
/// Length of a segment's header.
pub const HEADER_BYTES: usize = 180;
/// What of the header the chain covers.
pub(crate) const CHAINED_HEADER_BYTES: usize = 96;
/// Length of a frame's head.
pub const FRAME_HEAD_BYTES: usize = 10;
/// Length of an AES-GCM tag.
pub(crate) const TAG_BYTES: usize = 16;
/// How much of the head each frame stores.
pub(crate) const CHECK_BYTES: usize = 16;
/// What a frame takes beyond its ciphertext.
pub const FRAME_OVERHEAD_BYTES: usize = FRAME_HEAD_BYTES + TAG_BYTES + CHECK_BYTES;
/// Most plaintext one frame holds, before compression as after.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// Longest record, as JSON; what is longer is refused by the writer and not read by the reader.
pub const MAX_RECORD_BYTES: usize = 256 << 20;
/// From this size on a frame is compressed, if that makes it smaller.
pub const COMPRESS_FROM_BYTES: usize = 16 << 10;

/// The frame is compressed with zstd.
pub(crate) const FLAG_COMPRESSED: u8 = 1;
/// The last record of the frame goes on in the next one.
pub(crate) const FLAG_CONTINUES: u8 = 2;
/// The frame ends the recording: its last record is `Closed`.
pub(crate) const FLAG_LAST: u8 = 4;
const KNOWN_FLAGS: u8 = FLAG_COMPRESSED | FLAG_CONTINUES | FLAG_LAST;

/// A value of the chain: SHA-256 over everything up to a point, or the head before the first segment (zeros).
pub type Head = [u8; 32];

/// The first part of a segment: what it belongs to and how its key is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its number in the recording, from 0.
    pub segment: u32,
    /// The session it records.
    pub session: SessionId,
    /// When it was begun, to the microsecond.
    pub begun_at: Timestamp,
    /// Head of the previous segment; zeros in segment 0.
    pub previous: Head,
    /// SHA-256 that only the right recording key fits.
    pub commitment: [u8; 32],
    /// The recording key, wrapped.
    pub wrapped: WrappedKey,
}

/// A recording key as it stands in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrappedKey {
    /// The deployment key that unwraps it.
    pub key_id: [u8; 8],
    /// Nonce of the wrapping.
    pub nonce: [u8; 12],
    /// Ciphertext and tag.
    pub sealed: [u8; 48],
}

/// Why the first bytes of a file are no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It does not begin as a recording does.
    #[error("not a recording: it does not begin with {}", String::from_utf8_lossy(MAGIC))]
    Magic,
    /// A later format.
    #[error("recording format {0} is newer than this program, which reads format {VERSION}")]
    Version(u16),
    /// A byte of it was changed.
    #[error("the header was changed")]
    Changed,
}

impl Header {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&(HEADER_BYTES as u16).to_be_bytes());
        bytes.extend_from_slice(&self.segment.to_be_bytes());
        bytes.extend_from_slice(&self.session.as_u64().to_be_bytes());
        bytes.extend_from_slice(&self.begun_at.as_microsecond().to_be_bytes());
        bytes.extend_from_slice(&self.previous);
        bytes.extend_from_slice(&self.commitment);
        bytes.extend_from_slice(&self.wrapped.key_id);
        bytes.extend_from_slice(&self.wrapped.nonce);
        bytes.extend_from_slice(&self.wrapped.sealed);
        let check = half(&sha256(&[&bytes]));
        bytes.extend_from_slice(&check);
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&bytes);
        header
    }

    /// Reads the bytes of a header.
    ///
    /// # Errors
    /// When they are not those of a header this program reads, or one of them was changed.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let (covered, check) = bytes.split_at(HEADER_BYTES - CHECK_BYTES);
        let mut fields = Fields(covered);
        if &fields.take::<8>()? != MAGIC {
            return Err(HeaderError::Magic);
        }
        let version = u16::from_be_bytes(fields.take()?);
        if version > VERSION {
            return Err(HeaderError::Version(version));
        }
        let length = u16::from_be_bytes(fields.take()?);
        if version != VERSION || usize::from(length) != HEADER_BYTES || half(&sha256(&[covered])) != check {
            return Err(HeaderError::Changed);
        }
        Ok(Self {
            segment: u32::from_be_bytes(fields.take()?),
            session: session_id(u64::from_be_bytes(fields.take()?))?,
            begun_at: Timestamp::from_microsecond(i64::from_be_bytes(fields.take()?)).map_err(|_| HeaderError::Changed)?,
            previous: fields.take()?,
            commitment: fields.take()?,
            wrapped: WrappedKey { key_id: fields.take()?, nonce: fields.take()?, sealed: fields.take()? },
        })
    }

    /// The head of the chain before the segment's first frame.
    #[must_use]
    pub fn head(&self) -> Head {
        let bytes = self.encode();
        sha256(&[bytes.get(..CHAINED_HEADER_BYTES).unwrap_or_default()])
    }
}

fn session_id(number: u64) -> Result<SessionId, HeaderError> {
    let id = SessionId::from_random(number);
    if id.as_u64() == number { Ok(id) } else { Err(HeaderError::Changed) }
}

/// What is left of a header to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(HeaderError::Changed)?;
        self.0 = rest;
        Ok(*field)
    }
}

/// The first ten bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) flags: u8,
    /// Bytes of ciphertext, without the tag; 1 to [`MAX_FRAME_BYTES`].
    pub(crate) length: u32,
    pub(crate) number: u32,
}

impl FrameHead {
    pub(crate) fn encode(self) -> [u8; FRAME_HEAD_BYTES] {
        let [_, l1, l2, l3] = self.length.to_be_bytes();
        let [n0, n1, n2, n3] = self.number.to_be_bytes();
        let covered = [self.flags, l1, l2, l3, n0, n1, n2, n3];
        let [c0, c1] = crc16(&covered).to_be_bytes();
        [self.flags, l1, l2, l3, n0, n1, n2, n3, c0, c1]
    }

    /// None if it is no frame head: its check, flags or length are wrong.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Option<Self> {
        let [flags, l1, l2, l3, n0, n1, n2, n3, c0, c1] = *bytes;
        let length = u32::from_be_bytes([0, l1, l2, l3]);
        let fits = (1..=MAX_FRAME_BYTES as u32).contains(&length) && flags & !KNOWN_FLAGS == 0;
        let whole = crc16(&[flags, l1, l2, l3, n0, n1, n2, n3]).to_be_bytes() == [c0, c1];
        (fits && whole).then_some(Self { flags, length, number: u32::from_be_bytes([n0, n1, n2, n3]) })
    }

    /// Length of the whole frame.
    pub(crate) const fn frame_bytes(self) -> usize {
        self.length as usize + FRAME_OVERHEAD_BYTES
    }
}

/// AAD of a frame: the head before it and what its own head says.
pub(crate) fn frame_aad(before: &Head, frame_head: &[u8; FRAME_HEAD_BYTES]) -> [u8; 40] {
    let mut aad = [0; 40];
    for (to, from) in aad.iter_mut().zip(before.iter().chain(frame_head)) {
        *to = *from;
    }
    aad
}

/// Nonce of a frame: see the uniqueness argument above.
pub(crate) fn frame_nonce(segment: u32, number: u32) -> [u8; 12] {
    let [s0, s1, s2, s3] = segment.to_be_bytes();
    let [n0, n1, n2, n3] = number.to_be_bytes();
    [s0, s1, s2, s3, 0, 0, 0, 0, n0, n1, n2, n3]
}

/// The head after a frame. `sealed` is ciphertext and tag.
pub(crate) fn head_after(before: &Head, frame_head: &[u8; FRAME_HEAD_BYTES], sealed: &[u8]) -> Head {
    sha256(&[before, frame_head.first_chunk::<8>().map_or(&[], |covered| covered), sealed])
}

pub(crate) fn sha256(parts: &[&[u8]]) -> Head {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut head = [0; 32];
    head.copy_from_slice(context.finish().as_ref());
    head
}

/// The half of a head that is stored.
pub(crate) fn half(head: &Head) -> [u8; CHECK_BYTES] {
    head.first_chunk().copied().unwrap_or_default()
}

/// CRC-16/IBM-3740 (also called CCITT-FALSE): every change within 16 neighbouring bits is noticed.
/// <https://reveng.sourceforge.io/crc-catalogue/16.htm#crc.cat.crc-16-ibm-3740>
fn crc16(bytes: &[u8; 8]) -> u16 {
    bytes
        .iter()
        .fold(0xffff, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            segment: 3,
            session: SessionId::from_random(77),
            begun_at: Timestamp::from_microsecond(1_795_300_000_123_456).unwrap(),
            previous: [1; 32],
            commitment: [2; 32],
            wrapped: WrappedKey { key_id: [3; 8], nonce: [4; 12], sealed: [5; 48] },
        }
    }

    #[test]
    fn a_header_is_read_back() {
        assert_eq!(Header::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn any_changed_byte_of_a_header_is_noticed() {
        for place in 0..HEADER_BYTES {
            for bit in 0..8 {
                let mut bytes = header().encode();
                bytes[place] ^= 1 << bit;
                assert!(Header::decode(&bytes).is_err(), "byte {place} bit {bit}");
            }
        }
    }

    #[test]
    fn wrapping_a_key_anew_leaves_the_chain_as_it_is() {
        let mut other = header();
        other.wrapped = WrappedKey { key_id: [9; 8], nonce: [9; 12], sealed: [9; 48] };
        assert_eq!(other.head(), header().head());
        other.previous = [7; 32];
        assert_ne!(other.head(), header().head());
    }

    #[test]
    fn crc_fits_the_catalogue() {
        // The catalogue's check value is over nine bytes; this one is the same algorithm over the first eight, computed by hand from it.
        assert_eq!(crc16(b"12345678"), 0xa12b);
    }

    #[test]
    fn any_changed_byte_of_a_frame_head_is_noticed() {
        let bytes = FrameHead { flags: 1, length: 300, number: 9 }.encode();
        for place in 0..FRAME_HEAD_BYTES {
            for change in 1..=255u8 {
                let mut changed = bytes;
                changed[place] ^= change;
                assert_eq!(FrameHead::decode(&changed), None);
            }
        }
    }
}
