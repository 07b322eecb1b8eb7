//! How much of a file passed, and its digest where it passed from its beginning on without a gap.

use aws_lc_rs::digest::{Context, SHA256};

/// What passed of one file, one way.
#[derive(Clone, Default)]
pub(super) struct Tally {
    bytes: u64,
    next: u64,
    /// None before the first piece.
    digest: Option<Digest>,
}

#[derive(Clone)]
enum Digest {
    Whole(Context),
    /// Something was left out, came twice or passed elsewhere.
    Lost,
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Tally {
    /// A piece from `offset` on.
    pub(super) fn add(&mut self, offset: u64, piece: &[u8]) {
        let length = piece.len() as u64;
        self.bytes = self.bytes.saturating_add(length);
        let in_order = offset == self.next;
        match self.digest.get_or_insert_with(|| Digest::Whole(Context::new(&SHA256))) {
            Digest::Whole(context) if in_order => context.update(piece),
            digest => *digest = Digest::Lost,
        }
        self.next = self.next.saturating_add(length);
    }

    /// What passed is not all that passed.
    pub(super) fn lose_track(&mut self) {
        self.digest = Some(Digest::Lost);
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `read 12 bytes (sha256 …)`; nothing where nothing passed.
    pub(super) fn in_words(self, verb: &str) -> Option<String> {
        let digest = match self.digest? {
            Digest::Whole(context) => {
                let digits: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
                format!("sha256 {digits}")
            }
            Digest::Lost => "not from its beginning on in order".to_owned(),
        };
        Some(format!("{verb} {} bytes ({digest})", self.bytes))
    }
}
