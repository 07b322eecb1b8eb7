//! What commands write and terminals show, on its way to the caller: masked as policy has it at that moment, whichever version began it.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{Timestamp, VersionHash};
use policy::masking::{FileSearch, OutputMask};

use super::Session;

/// One stream of output.
#[derive(Debug)]
pub struct Shown {
    /// The version that says what is masked.
    version: VersionHash,
    mask: Option<OutputMask>,
    /// What was masked by earlier versions.
    masked: BTreeSet<&'static str>,
}

impl Session {
    /// A stream that begins.
    #[must_use]
    pub fn shows(&self, now: Timestamp) -> Shown {
        let (version, mask) = self.mask(now);
        Shown { version, mask, masked: BTreeSet::new() }
    }

    /// What the caller sees once this came. Some of what came may be held: see [`Shown::holds`].
    pub fn show(&self, shown: &mut Shown, data: Bytes, now: Timestamp) -> Bytes {
        let mut out = Vec::new();
        if shown.version != self.guard.version().hash {
            shown.finish(&mut out);
            shown.masked = shown.masked();
            (shown.version, shown.mask) = self.mask(now);
        }
        match &mut shown.mask {
            None if out.is_empty() => data,
            None => [out.as_slice(), &data].concat().into(),
            Some(mask) => {
                mask.push(&data, &mut out);
                out.into()
            }
        }
    }

    /// What looks through a file before its caller has it, where files are refused by what is in them.
    #[must_use]
    pub fn looks_through(&self, now: Timestamp) -> Option<FileSearch> {
        let version = self.guard.version();
        let known = self.connection();
        FileSearch::here(&version, &self.live.chain_at(now), version.connections.get(&known.name).unwrap_or(&known), now)
    }

    fn mask(&self, now: Timestamp) -> (VersionHash, Option<OutputMask>) {
        let version = self.guard.version();
        let known = self.connection();
        // A connection that is gone ends its sessions; until then it is masked as it was.
        let connection = version.connections.get(&known.name).unwrap_or(&known);
        let strict = connection.machine.as_ref().is_some_and(|machine| machine.strict);
        let mask = OutputMask::here(&version, &self.live.chain_at(now), connection, self.guard.masks(), strict, now);
        (version.hash, mask)
    }
}

impl Shown {
    /// Whether something is held that may have to be shown when nothing comes for a while.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.mask.as_ref().is_some_and(OutputMask::holds)
    }

    /// Nothing came for a while: what is shown of what is held.
    pub fn idle(&mut self) -> Bytes {
        let mut out = Vec::new();
        if let Some(mask) = &mut self.mask {
            mask.idle(&mut out);
        }
        out.into()
    }

    /// The stream has ended: what is left.
    pub fn end(&mut self) -> Bytes {
        let mut out = Vec::new();
        self.finish(&mut out);
        out.into()
    }

    /// What was masked so far.
    #[must_use]
    pub fn masked(&self) -> BTreeSet<&'static str> {
        self.masked.iter().copied().chain(self.mask.iter().flat_map(OutputMask::masked)).collect()
    }

    /// The mask stays: whoever goes on after the end is masked, too.
    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(mask) = &mut self.mask {
            mask.finish(out);
        }
    }
}
