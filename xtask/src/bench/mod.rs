//! `cargo xtask bench`: what the gateway costs, measured beside PgBouncer, HAProxy and a bare relay in the same run.
//!
//! Every lane leads to the same scratch PostgreSQL. Rounds are interleaved, and what is told are ratios of values of the same
//! round: a machine that is slow, or slow for a while, moves both sides of them.

mod baseline;
mod lanes;
mod pgbench;
mod process;
mod rounds;
mod stand;

use self::{
    baseline::Baseline,
    lanes::Lane,
    pgbench::{Done, Load},
    rounds::{Spread, Values, interleaved},
    stand::{Programs, Stand},
};
use crate::{Outcome, install};

/// What CPU times and throughputs are told against.
const YARDSTICK: &str = "PgBouncer";
const OURS: &str = "Countersign";

const QUICK_SCALE: u32 = 5;
const QUICK_ROUNDS: usize = 5;
const QUICK_LOADS: &[Load] =
    &[select("simple", 1), select("extended", 1), select("prepared", 1), select("simple", 16), select("extended", 16), select("prepared", 16)];

/// Measures of a case that is worse than the baseline before it counts as worse.
const TRIES: usize = 3;

const fn select(protocol: &'static str, clients: u32) -> Load {
    Load { script: "select-only", protocol, clients, seconds: 3 }
}

/// What is typed after `cargo xtask bench`.
#[derive(Debug, Default)]
struct Wish<'a> {
    quick: bool,
    /// Write the ratios instead of comparing them.
    accept: bool,
    /// Cases whose name holds this, and no others.
    only: &'a str,
}

impl<'a> Wish<'a> {
    fn read(arguments: &[&'a str]) -> Option<Self> {
        let mut wish = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "--quick" => wish.quick = true,
                "--accept" => wish.accept = true,
                "--only" => wish.only = arguments.next()?,
                _ => return None,
            }
        }
        Some(wish)
    }
}

/// Runs the bench that the arguments ask for; nothing if they cannot be read.
///
/// # Errors
/// Something could not be installed, built or started; or a ratio is much worse than the committed one.
pub fn run(arguments: &[&str]) -> Option<Outcome<()>> {
    let wish = Wish::read(arguments).filter(|wish| wish.quick)?;
    Some(quick(&wish))
}

/// The smaller bench: `select-only` alone, compared with the committed ratios.
fn quick(wish: &Wish<'_>) -> Outcome<()> {
    install::for_bench()?;
    let stand = Stand::start(Programs::build()?, QUICK_SCALE)?;
    let pgbench = stand.target.program("pgbench");
    let lanes = lanes(&stand)?;
    let mut baseline = Baseline::read()?;
    let mut worse = Vec::new();
    for load in QUICK_LOADS {
        let name = format!("{} {} {}", load.script, load.protocol, load.clients);
        if !name.contains(wish.only) {
            continue;
        }
        let mut best = f64::INFINITY;
        for _ in 0..if wish.accept { 1 } else { TRIES } {
            let measured = measure(&lanes, |lane| pgbench::run(&pgbench, lane, *load))?;
            println!("{}", table(&name, &lanes, &measured));
            best = best.min(measured.cpu_ratio().ok_or("nothing was measured")?);
            if !baseline.is_passed_by(&name, best) {
                break;
            }
        }
        if wish.accept {
            baseline.set(&name, best);
        } else if baseline.is_passed_by(&name, best) {
            worse.push(format!(
                "{name}: {best:.2} times {YARDSTICK}'s CPU, where {:.2} is the committed ratio",
                baseline.get(&name).unwrap_or_default()
            ));
        }
    }
    if wish.accept {
        return baseline.write();
    }
    if worse.is_empty() { Ok(()) } else { Err(format!("slower than bench/baseline.tsv allows:\n  {}", worse.join("\n  "))) }
}

fn lanes(stand: &Stand) -> Outcome<Vec<Lane>> {
    let port = stand.target.port();
    Ok(vec![
        Lane::pgbouncer(stand.folder(), port)?,
        stand.countersign(OURS, "statements")?,
        Lane::haproxy(stand.folder(), port)?,
        Lane::relay(stand.helper(), stand.folder(), port)?,
    ])
}

/// What a case led to, lane by lane.
struct Measured {
    cpu_us: Values,
    later_cpu_us: Values,
    throughput: Values,
}

impl Measured {
    /// Our CPU time for a transaction against the yardstick's.
    fn cpu_ratio(&self) -> Option<f64> {
        Spread::of_ratios(self.cpu_us.get(OURS)?, self.cpu_us.get(YARDSTICK)?).map(|it| it.median)
    }
}

fn measure(lanes: &[Lane], run: impl Fn(&Lane) -> Outcome<Done>) -> Outcome<Measured> {
    let mut measured = Measured { cpu_us: Values::new(), later_cpu_us: Values::new(), throughput: Values::new() };
    interleaved(QUICK_ROUNDS, lanes, |lane| {
        let done = run(lane)?;
        measured.cpu_us.entry(lane.name).or_default().push(done.cpu_us);
        measured.later_cpu_us.entry(lane.name).or_default().push(done.later_cpu_us);
        measured.throughput.entry(lane.name).or_default().push(done.transactions_per_second);
        Ok(())
    })?;
    Ok(measured)
}

/// Medians, and medians and spread of the ratios.
fn table(name: &str, lanes: &[Lane], measured: &Measured) -> String {
    let mut lines =
        vec![format!("\n{name}\n{:<12} {:>9} {:>9} {:>22} {:>9} {:>22}", "", "CPU us", "of later", "to PgBouncer's", "tps", "to PgBouncer's")];
    for lane in lanes {
        let column = |values: &Values| {
            let own = values.get(lane.name)?;
            let (value, ratio) = (Spread::of(own)?, Spread::of_ratios(own, values.get(YARDSTICK)?)?);
            Some((value.median, format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max)))
        };
        let later = measured.later_cpu_us.get(lane.name).and_then(|values| Spread::of(values)).map_or(0.0, |it| it.median);
        if let (Some((cpu, cpu_ratio)), Some((tps, tps_ratio))) = (column(&measured.cpu_us), column(&measured.throughput)) {
            lines.push(format!("{:<12} {cpu:>9.1} {later:>9.1} {cpu_ratio:>22} {tps:>9.0} {tps_ratio:>22}", lane.name));
        }
    }
    lines.join("\n")
}
