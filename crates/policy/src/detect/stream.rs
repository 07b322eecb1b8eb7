//! A text that comes in pieces.

use super::pass::{LOOK_BACK_BYTES, Pass};
use super::{Detectors, Finding, Hints};

/// How much of a piece is taken in at once: memory stays below this, [`MAX_MATCH_BYTES`](super::MAX_MATCH_BYTES) and what rules look back
/// on, together.
const MAX_TAKEN_BYTES: usize = 16 * 1024;

/// Finds in pieces what [`Detectors::scan`] finds in the whole, for every way of cutting it.
///
/// A finding is told once nothing that comes can change it: some kilobytes after its end, or when the text ends.
#[derive(Clone)]
pub struct Stream {
    detectors: Detectors,
    pass: Pass,
    /// The bytes that may still be looked at, the first of which is `base` of the text.
    bytes: Vec<u8>,
    base: u64,
    /// Where in `bytes` the pass goes on.
    position: usize,
    /// Found, but not yet told.
    held: Vec<Finding>,
}

impl Stream {
    pub(super) fn new(detectors: Detectors, hints: Hints) -> Self {
        Self { detectors, pass: Pass::new(detectors.on, hints), bytes: Vec::new(), base: 0, position: 0, held: Vec::new() }
    }

    /// Takes the next piece. Appends what is certain by now.
    pub fn feed(&mut self, piece: &[u8], found: &mut Vec<Finding>) {
        if self.detectors.entities().next().is_none() {
            return;
        }
        for part in piece.chunks(MAX_TAKEN_BYTES) {
            self.bytes.extend_from_slice(part);
            self.position = self.pass.run(&self.bytes, self.base, self.position, false, &mut self.held, 0);
            self.tell(found);
            self.forget();
        }
    }

    /// The text has ended. Appends what is left.
    pub fn finish(mut self, found: &mut Vec<Finding>) {
        if self.detectors.entities().next().is_some() {
            self.pass.run(&self.bytes, self.base, self.position, true, &mut self.held, 0);
        }
        found.append(&mut self.held);
    }

    /// Up to where everything has been told: no finding that is told later begins before this.
    pub fn settled(&self) -> u64 {
        let first = self.held.first().map_or(u64::MAX, |finding| finding.start);
        self.certain().min(first)
    }

    /// How much of the text came.
    pub fn taken(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// The last bytes of the text, as many as are kept.
    pub fn tail(&self) -> &[u8] {
        &self.bytes
    }

    fn certain(&self) -> u64 {
        if self.detectors.entities().next().is_none() {
            return self.taken();
        }
        let looked = (self.base + self.position as u64).saturating_sub(LOOK_BACK_BYTES as u64);
        looked.min(self.pass.open_since().unwrap_or(u64::MAX))
    }

    /// Tells the findings that lie before everything a rule may still look back on.
    fn tell(&mut self, found: &mut Vec<Finding>) {
        let certain = self.certain();
        let count = self.held.iter().take_while(|finding| finding.end <= certain).count();
        found.extend(self.held.drain(..count));
    }

    fn forget(&mut self) {
        let spare = self.position.saturating_sub(LOOK_BACK_BYTES);
        if spare >= MAX_TAKEN_BYTES / 2 {
            self.bytes.drain(..spare);
            self.base += spare as u64;
            self.position -= spare;
        }
    }
}
