//! `cargo xtask bench`: what the gateway costs, measured beside PgBouncer, HAProxy and a bare relay in the same run.
//!
//! Every lane leads to the same scratch PostgreSQL. Rounds are interleaved, and what is told are ratios of values of the same
//! round: a machine that is slow, or slow for a while, moves both sides of them.

mod baseline;
mod gateway;
mod growth;
mod idle;
mod lanes;
mod latency;
mod logins;
mod measure;
mod pgbench;
mod process;
mod queries;
mod quick;
mod report;
mod results;
mod revocation;
mod rounds;
mod ssh;
mod stand;
mod statements;
mod streams;

use std::path::PathBuf;

use self::{
    measure::{Bench, results_file},
    results::Results,
    stand::{STREAM_ROWS, Size, Stand},
};
use crate::{Outcome, install};

const SIZE: Size = Size { scale: 20, stream_rows: STREAM_ROWS, max_connections: 1_100, profile: "release" };
const ROUNDS: usize = 5;

type Measure = fn(&mut Bench) -> Outcome<()>;

const GROWTH: &[Measure] = &[growth::measure];
const SECTIONS: &[Measure] = &[
    queries::measure,
    streams::measure,
    streams::measure_values,
    logins::measure,
    idle::measure,
    latency::measure,
    statements::measure,
    revocation::measure,
];

/// What is typed after `cargo xtask bench`.
#[derive(Debug)]
struct Wish<'a> {
    quick: bool,
    /// Write the ratios of the quick bench instead of comparing them.
    accept: bool,
    /// Write the tables of docs/benchmarks.md.
    write_docs: bool,
    /// From what was measured before; measure nothing.
    no_run: bool,
    /// Cases whose name holds this, and no others.
    only: &'a str,
    rounds: usize,
    /// What grows, instead of everything else.
    growth: bool,
    /// Machines over SSH, instead of everything else.
    ssh: bool,
}

impl<'a> Wish<'a> {
    fn read(arguments: &[&'a str]) -> Option<Self> {
        let mut wish = Self { quick: false, accept: false, write_docs: false, no_run: false, only: "", rounds: ROUNDS, growth: false, ssh: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "growth" => wish.growth = true,
                "ssh" => wish.ssh = true,
                "--quick" => wish.quick = true,
                "--accept" => wish.accept = true,
                "--write-docs" => wish.write_docs = true,
                "--no-run" => wish.no_run = true,
                "--only" => wish.only = arguments.next()?,
                "--rounds" => wish.rounds = arguments.next()?.parse().ok()?,
                _ => return None,
            }
        }
        Some(wish)
    }
}

/// Runs the bench that the arguments ask for; nothing if they cannot be read.
///
/// # Errors
/// Something could not be installed, built or started; or, of the quick bench, a ratio is much worse than the committed one.
pub fn run(arguments: &[&str]) -> Option<Outcome<()>> {
    let wish = Wish::read(arguments)?;
    Some(if wish.quick { quick::run(wish.only, wish.accept) } else { whole(&wish) })
}

/// Builds what the quick bench measures, and says where the binary is.
///
/// # Errors
/// It does not build.
pub fn build_quick() -> Outcome<PathBuf> {
    quick::build().map(|programs| programs.countersign)
}

/// The quick bench, as a step of the test run.
///
/// # Errors
/// As [`run`].
pub fn check() -> Outcome<()> {
    quick::run("", false)
}

/// The whole bench. Each case is kept as soon as it is measured, so that what fails later costs nothing.
fn whole(wish: &Wish<'_>) -> Outcome<()> {
    let mut results = Results::read(&results_file())?;
    if wish.ssh && !wish.no_run {
        install::for_tests()?;
        ssh::measure(&mut results, wish.rounds, wish.only, SIZE.profile)?;
    } else if !wish.no_run {
        install::for_bench()?;
        let stand = Stand::start(if wish.growth { growth::SIZE } else { SIZE })?;
        let mut bench = Bench { stand, results, rounds: wish.rounds, only: wish.only.to_owned() };
        let sections = if wish.growth { GROWTH } else { SECTIONS };
        sections.iter().try_for_each(|measure| measure(&mut bench))?;
        results = bench.results;
        println!("\nkept in {}", results_file().display());
    }
    println!("\n{}", report::targets(&results));
    if wish.write_docs { report::write(&results) } else { Ok(()) }
}
