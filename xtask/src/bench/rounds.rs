//! Rounds A B C A B C, and what is said about their values: medians with their spread.

use crate::Outcome;

/// A median with the smallest and the largest value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of any number of values but none.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }

    /// Of the ratios of values taken in the same round: what slows down a whole round moves neither.
    pub(super) fn of_ratios(values: &[f64], against: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = values.iter().zip(against).filter(|(_, against)| **against > 0.0).map(|(value, against)| value / against).collect();
        Self::of(&ratios)
    }
}

/// Runs every lane once a round. The lane that begins moves on by one each round, so that none always follows the same.
pub(super) fn interleaved<L>(rounds: usize, lanes: &[L], mut run: impl FnMut(&L) -> Outcome<()>) -> Outcome<()> {
    for round in 0..rounds {
        let (before, from) = lanes.split_at(round % lanes.len().max(1));
        from.iter().chain(before).try_for_each(&mut run)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).map(|it| it.median), Some(2.5));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let spread = Spread::of_ratios(&[2.0, 20.0, 3.0], &[1.0, 10.0, 1.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 2.0, max: 3.0 });
    }

    #[test]
    fn every_lane_runs_once_a_round_and_each_begins_one() {
        let mut ran = String::new();
        interleaved(3, &['a', 'b', 'c'], |lane| {
            ran.push(*lane);
            Ok(())
        })
        .unwrap();
        assert_eq!(ran, "abcbcacab");
    }
}
