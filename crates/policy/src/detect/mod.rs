//! Detectors of sensitive values: the second net under lineage. A value that lineage calls clean can still be looked through here.
//!
//! One pass over the bytes, 64 at a time. It stops only where a token with a digit begins, where the first bytes of a token are those of a
//! known prefix, at `@`, and where words are joined; what it finds there it proves by checksum, by an unmistakable form or, for weak
//! forms, by hints and by words shortly before. No rule looks further than [`MAX_MATCH_BYTES`] and none is tried twice at a place, so the
//! time is in proportion to the text whatever it says.
//!
//! Where findings overlap, a checked one beats an unchecked one, then the longer beats the shorter, then the first found stays; a token of
//! JSON or a private key beats the credential around it.
//!
//! A name a value is bound to directly (a JSON key, an XML element, `name=`) speaks of it alone; otherwise words of the last 48 bytes and
//! the hints do. A date of birth uses its word up: the next date is another. Bytes from 0x80 on are letters where a token ends, except
//! punctuation, symbols and scripts written without spaces. Letters of escapes (`\n`, a terminal's `ESC [ 33 m`) belong to no token.
//!
//! Left out on purpose: `git@host:path`, which names a repository; user and host of a URL as an e-mail address; numbers behind words such as
//! `version` and `oid` as IP addresses; dates with a time of day as dates of birth unless a hint says so; a 13-digit card number that is a
//! good article number; advertised social security numbers.

mod blocks;
mod cards;
mod classes;
mod credentials;
mod crypto;
mod dates;
mod emails;
mod entity;
mod format;
mod hints;
mod iban;
mod keys;
mod national;
mod network;
mod numbers;
mod pass;
mod phones;
mod prefixes;
mod stream;
mod weak;
mod words;

pub use entity::Entity;
pub use hints::Hints;
pub use pass::MAX_MATCH_BYTES;
pub use stream::Stream;

use entity::Entities;
use pass::Pass;

/// A sensitive value found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it begins, in bytes from the beginning of the text.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// What it is.
    pub entity: Entity,
    /// Which rule found it: `email`, `card-visa`, `github-fine-grained-token`.
    pub rule: &'static str,
    /// Whether a checksum or an unmistakable form proves it; otherwise the context does.
    pub checked: bool,
}

/// Detectors for a set of entities. Cheap to make: all tables are compiled once for the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detectors {
    on: Entities,
}

impl Detectors {
    /// Detectors that find these entities and no others.
    pub fn new(entities: &[Entity]) -> Self {
        Self { on: Entities::of(entities) }
    }

    /// The entities they find.
    pub fn entities(&self) -> impl Iterator<Item = Entity> + '_ {
        Entity::ALL.iter().copied().filter(|entity| self.on.has(*entity))
    }

    /// Looks through a whole text. Appends what is found in order of start, never overlapping.
    pub fn scan(&self, text: &[u8], hints: Hints, found: &mut Vec<Finding>) {
        if self.on == Entities::default() {
            return;
        }
        let floor = found.len();
        let mut pass = Pass::new(self.on, hints);
        pass.run(text, 0, 0, true, found, floor);
    }

    /// Looks through a text that comes in pieces.
    pub fn stream(&self, hints: Hints) -> Stream {
        Stream::new(*self, hints)
    }
}

#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests;
