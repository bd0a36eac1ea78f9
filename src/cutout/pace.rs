//! How long jobs take here, and what that says to those who wait.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::Depth;
use crate::clock;
use crate::protocol::Eta;
use crate::warmup::Percentiles;

/// The last so many jobs: a minute or two of work, so that an estimate follows the load.
const KEPT: usize = 50;

/// Durations of recent jobs, from claim to end.
#[derive(Debug)]
pub struct Pace {
    recent: Mutex<VecDeque<u64>>,
    /// What others measured who do the work.
    learned: Mutex<Option<Percentiles>>,
    workers: AtomicU64,
}

impl Pace {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self { recent: Mutex::default(), learned: Mutex::default(), workers: (workers.max(1) as u64).into() }
    }

    /// Adds a job that ran.
    pub fn record(&self, took: Duration) {
        let mut recent = self.recent.lock();
        recent.push_back(clock::millis(took));
        while recent.len() > KEPT {
            recent.pop_front();
        }
    }

    /// Until the end of a job at a place in the queue, 1 being next.
    pub fn queued(&self, position: u32) -> Option<Eta> {
        let usual = self.usual()?;
        // The workers run side by side, so the queue moves by as many places in the time of one job.
        let rounds = u64::from(position.saturating_sub(1)) / self.workers.load(Ordering::Relaxed) + 1;
        Some(Eta { p50: usual.p50 * rounds, p90: usual.p90 * rounds })
    }

    /// Until the end of a job that runs.
    pub fn running(&self, since: Duration) -> Option<Eta> {
        self.usual()?.remaining(clock::millis(since))
    }

    /// Whether the last of those that wait does so for longer than this; before five jobs were measured,
    /// whether it waits for another one at all.
    pub fn is_longer(&self, depth: Depth, than: Duration) -> bool {
        let before = (depth.waiting + depth.running).saturating_sub(1) as u64;
        let rounds = before / self.workers.load(Ordering::Relaxed);
        self.usual().map_or(rounds > 0, |usual| usual.p50 * rounds > clock::millis(than))
    }

    /// What a job takes here; none for too few.
    pub fn measured(&self) -> Option<Percentiles> {
        Percentiles::of(self.recent.lock().iter())
    }

    /// From those who do the work: what a job takes each, and how many it does at once.
    pub fn learn(&self, others: &[(Percentiles, usize)]) {
        let count = others.len() as u64;
        let mean = |part: fn(&Percentiles) -> u64| {
            others.iter().map(|(usual, _)| part(usual)).sum::<u64>().checked_div(count)
        };
        let learned = mean(|usual| usual.p50).zip(mean(|usual| usual.p90));
        *self.learned.lock() = learned.map(|(p50, p90)| Percentiles { p50, p90 });
        let at_once: usize = others.iter().map(|(_, at_once)| at_once).sum();
        if at_once > 0 {
            self.workers.store(at_once as u64, Ordering::Relaxed);
        }
    }

    fn usual(&self) -> Option<Percentiles> {
        self.measured().or(*self.learned.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_needs_five_jobs_and_grows_with_the_place() {
        let pace = Pace::new(2);
        for n in 1..=5 {
            assert_eq!(pace.queued(1), None, "after {} jobs", n - 1);
            pace.record(Duration::from_millis(100 * n));
        }
        assert_eq!(pace.queued(1), Some(Eta { p50: 300, p90: 500 }));
        assert_eq!(pace.queued(4), Some(Eta { p50: 600, p90: 1000 }));
        assert_eq!(pace.running(Duration::from_millis(600)), None, "past its p90");
    }

    #[test]
    fn a_queue_is_long_by_what_its_jobs_take_or_where_that_is_unknown_once_somebody_waits() {
        let (pace, second) = (Pace::new(2), Duration::from_secs(1));
        let is_long = |waiting, running| pace.is_longer(Depth { waiting, running }, second);
        assert!(!is_long(1, 0) && !is_long(1, 1) && !is_long(0, 2), "a worker is free, or has it");
        assert!(is_long(1, 2), "nobody knows how long the two take");
        (0..5).for_each(|_| pace.record(Duration::from_millis(400)));
        assert!(!is_long(3, 2) && !is_long(4, 2), "two rounds");
        assert!(is_long(5, 2), "three");
    }
}
