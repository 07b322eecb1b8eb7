//! What happened: records, the file format that keeps them, and the check that nobody changed them since.
//!
//! [`record`] is the vocabulary, [`writer`] turns records into encrypted, chained frames, [`reader`] turns frames into
//! records again, [`verify`] walks the chain without any key, [`key`] wraps and unwraps the keys, and [`mod@format`] is the
//! specification all of them share. Everything here works on bytes that are handed in: no files, no sockets, no clock.
//!
//! It must never panic on what it reads, never allocate more than the named limits on a file's say-so, and never tell
//! a changed file from a good one by trust: only by the chain and the tags.

mod entry;
pub mod format;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
pub mod fuzzed;
pub mod key;
pub mod reader;
pub mod record;
pub mod screen;
pub mod verify;
pub mod writer;

pub use key::{DeploymentKey, KeyId, KeyRing, RecordingKey};
pub use reader::Reader;
pub use record::Record;
pub use verify::{Fault, Verifier};
pub use writer::Writer;
