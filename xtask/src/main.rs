//! `cargo xtask`: the tasks a developer and the build machine run.

use std::process::ExitCode;

use xtask::{bench, canaries, compare, demo, fuzz, test, tidy};

const USAGE: &str = "\
usage: cargo xtask TASK

  bench --quick [--accept] [--only TEXT]
                  measure what the gateway costs beside PgBouncer, HAProxy and a bare relay, and fail if a ratio is
                  much worse than bench/baseline.tsv; --accept writes that file, --only runs the cases named so
  canaries [STATEMENTS]
                  ask so many random statements through the gateway, 200000 unless it is said, and look for
                  values of classified columns in every byte that comes back
  demo [--keep]   play the product's story against a real PostgreSQL, each step asserted;
                  --keep leaves everything running afterwards, until Ctrl-C
  test            install what the tests need and run every check and test
  compare [SUITE ...] [--source DIR]
                  run published test suites straight against PostgreSQL and through Countersign, and list what differs;
                  --source names the checkout of a suite that is in no package
  fuzz TARGET [SECONDS]
                  run a fuzz target (fuzz/target.rs) from its corpus, and keep there what reached something new
  tidy            check the rules of the code base that no compiler checks";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["bench", rest @ ..] => match bench::run(rest) {
            Some(outcome) => outcome,
            None => return usage(),
        },
        ["canaries", rest @ ..] => match canaries::run(rest) {
            Some(outcome) => outcome,
            None => return usage(),
        },
        ["demo"] => demo::run(false),
        ["demo", "--keep"] => demo::run(true),
        ["test"] => test::run(),
        ["compare", suites @ ..] => compare::run(suites),
        ["fuzz", rest @ ..] => match fuzz::run(rest) {
            Some(outcome) => outcome,
            None => return usage(),
        },
        ["tidy"] => tidy::run(),
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
