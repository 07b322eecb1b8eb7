//! What policy says: classification of statements, the policy version in force, decisions and masks.
//!
//! Everything here is a function of its arguments: no clock, no files, no sockets, no randomness. `now` and the text of files are
//! parameters. Whatever is not understood, errs or is unknown denies or withholds; nothing here may ever widen access in doubt.

pub mod classify;
pub mod decide;
pub mod detect;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code, reason = "the fuzz targets need the catalog alone"))]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
mod fixtures;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what is wrong by panicking")]
pub mod fuzzed;
pub mod masking;
pub mod rulebook;
pub mod starter;
pub mod survey;
pub mod trial;
pub mod version;

pub use decide::{Case, NotEligible, Wish, decide, decide_connect, decide_request, eligible, may, may_reveal};
pub use starter::starter_files;
pub use trial::{TestOutcome, run_tests};
pub use version::{Files, Problem, Version};
