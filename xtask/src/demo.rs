//! `cargo xtask demo`: the product's story, played against a real PostgreSQL and asserted.

use crate::Outcome;

/// Plays the story.
///
/// # Errors
/// A step did not show what it must.
pub fn run(_keep: bool) -> Outcome<()> {
    Err("the demo is played once the binary serves".to_owned())
}
