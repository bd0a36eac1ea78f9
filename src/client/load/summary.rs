//! Percentiles of milliseconds.

use std::time::Duration;

use serde::Serialize;

/// How long something took, over all that were measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many were measured.
    pub count: usize,
    /// Half took this long or less.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Summary {
    /// None when nothing was measured. Percentiles are by nearest rank: each is a time that really happened.
    pub fn of(mut times_ms: Vec<f64>) -> Option<Self> {
        times_ms.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (times_ms.len() * percent).div_ceil(100);
            times_ms.get(rank.saturating_sub(1)).copied()
        };
        Some(Self { count: times_ms.len(), p50: rank(50)?, p90: rank(90)?, p99: rank(99)?, max: rank(100)? })
    }
}

/// In milliseconds, to a hundredth: below that it is the scheduler that is measured.
pub(super) fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred = Summary::of((1..=100).rev().map(f64::from).collect());
        assert_eq!(hundred, Some(Summary { count: 100, p50: 50.0, p90: 90.0, p99: 99.0, max: 100.0 }));
        assert_eq!(
            Summary::of(vec![7.0]),
            Some(Summary { count: 1, p50: 7.0, p90: 7.0, p99: 7.0, max: 7.0 })
        );
        assert_eq!(
            Summary::of(vec![2.0, 1.0]),
            Some(Summary { count: 2, p50: 1.0, p90: 2.0, p99: 2.0, max: 2.0 })
        );
        assert_eq!(Summary::of(vec![]), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_in_order_and_were_measured(times in prop::collection::vec(0.0..1e6f64, 1..300)) {
            let summary = Summary::of(times.clone()).expect("some");
            prop_assert!(summary.p50 <= summary.p90 && summary.p90 <= summary.p99 && summary.p99 <= summary.max);
            prop_assert!([summary.p50, summary.p90, summary.p99].iter().all(|time| times.contains(time)));
            let below = times.iter().filter(|time| **time <= summary.p90).count();
            prop_assert!(below * 10 >= times.len() * 9);
        }
    }
}
