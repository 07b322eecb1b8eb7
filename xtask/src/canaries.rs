//! `cargo xtask canaries`: the long run of `tests/tests/canaries.rs`, of which every run of the tests has a short one.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    Outcome, bench,
    command::{self, cargo},
    install, test,
};

/// So many statements are asked unless it is said.
const DEFAULT_STATEMENTS: usize = 200_000;

/// Asks so many statements, others each time. None if the arguments are others.
#[must_use]
pub fn run(arguments: &[&str]) -> Option<Outcome<()>> {
    let statements = match arguments {
        [] => DEFAULT_STATEMENTS,
        [statements] => statements.parse().ok()?,
        _ => return None,
    };
    Some(ask(statements))
}

fn ask(statements: usize) -> Outcome<()> {
    install::for_tests()?;
    let seed = seed()?;
    println!("asking {statements} statements of the seed {seed}");
    let tested = bench::build_quick()?;
    // Of the whole workspace, so that what the tests were built with serves again.
    let mut tests = cargo(&["test", "--workspace", "--test", "canaries", "--", "--nocapture", "--test-threads=1"]);
    test::without_proxies(&mut tests);
    tests.env("COUNTERSIGN_TEST_CANARIES", statements.to_string()).env("COUNTERSIGN_TEST_CANARIES_SEED", &seed).env("COUNTERSIGN_BIN", tested);
    command::run(&mut tests)
}

/// The one that is named, to ask the same again, else one of the time.
fn seed() -> Outcome<String> {
    match std::env::var("COUNTERSIGN_TEST_CANARIES_SEED") {
        Ok(named) => Ok(named),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).map(|now| now.as_secs().to_string()).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_arguments_are_refused() {
        assert!(run(&["many"]).is_none() && run(&["1", "2"]).is_none());
    }
}
