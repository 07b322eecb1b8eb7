//! The content of files: it is not changed, and whether something sensitive is in it is found out before anybody has it.

use std::collections::BTreeSet;

use model::{ActorChain, Connection, Timestamp};

use super::detected::Wanted;
use crate::{
    Version,
    detect::{Entity, Hints, Stream},
};

/// Looks through one file, from its beginning to its end.
pub struct FileSearch {
    stream: Stream,
    found: BTreeSet<Entity>,
}

impl FileSearch {
    /// For what the connection detects and the caller may not see; none if that is nothing, or if the connection lets files pass.
    #[must_use]
    pub fn here(version: &Version, chain: &ActorChain, connection: &Connection, now: Timestamp) -> Option<Self> {
        if !connection.machine.as_ref().is_some_and(|machine| machine.files_refused) {
            return None;
        }
        let wanted = Wanted::of(version, chain, connection, "", now)?;
        Some(Self { stream: wanted.stream(Hints::NONE), found: BTreeSet::new() })
    }

    /// Takes what comes next.
    pub fn push(&mut self, content: &[u8]) {
        let mut found = Vec::new();
        self.stream.feed(content, &mut found);
        self.found.extend(found.iter().map(|finding| finding.entity));
    }

    /// The file has ended.
    pub fn end(&mut self) {
        let mut found = Vec::new();
        self.stream.clone().finish(&mut found);
        self.found.extend(found.iter().map(|finding| finding.entity));
    }

    /// What was found so far, by the names of its detectors.
    #[must_use]
    pub fn found(&self) -> Vec<&'static str> {
        self.found.iter().map(|entity| entity.name()).collect()
    }
}

impl std::fmt::Debug for FileSearch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSearch").field("found", &self.found).finish_non_exhaustive()
    }
}
