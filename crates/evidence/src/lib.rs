//! What happened: records, the file format that keeps them, and the check that nobody changed them since.
//!
//! It must never panic on what it reads, never allocate more than the named limits on a file's say-so, and never tell
//! a changed file from a good one by trust: only by the chain and the tags.

pub mod record;

pub use record::Record;
