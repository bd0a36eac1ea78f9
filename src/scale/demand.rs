//! How many workers are wanted.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Budget;
use super::board::{Board, Look};
use crate::clock;
use crate::engine::Unreachable;
use crate::warmup::Phase;

/// A launch is given up by who waits for it; one that nobody waits for, so long after.
const GRACE: Duration = Duration::from_secs(5);

/// By what the number of workers is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Sizing {
    /// Never more.
    pub max_workers: usize,
    /// One worker for so many jobs.
    pub jobs_per_worker: usize,
    /// A shopper who showed intent is waited for so long.
    pub linger: Duration,
    /// A worker that was woken comes up within this time.
    pub limit: Duration,
    /// What a day may cost.
    pub budget: Budget,
}

/// What is wanted, and what there is of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Demand {
    /// How many workers there should be.
    pub wanted: usize,
    /// How many live.
    pub workers: usize,
    /// How many of those are ready.
    pub ready: usize,
    /// Sessions whose shopper has shown intent, and waits or may send a photo any moment.
    pub waiting_sessions: usize,
    /// Photos that no worker has yet.
    pub waiting_jobs: usize,
    /// How long the last of them waits, in seconds; none while too few jobs were measured.
    pub queue_seconds: Option<f64>,
    /// What is left of today's budget.
    pub budget_left: BudgetLeft,
}

/// What is left of a day's budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetLeft {
    /// Machines that may be woken.
    pub wakes: u64,
    /// How long machines may run.
    pub gpu_seconds: u64,
}

impl Sizing {
    pub(super) async fn look(&self, board: &Board, keeper: Option<(&str, u64)>) -> Result<Look, Unreachable> {
        board.look(keeper, clock::millis(self.linger), clock::millis(self.limit + GRACE)).await
    }

    pub(super) fn demand(&self, look: &Look) -> Demand {
        let ready = look.workers.iter().filter(|worker| worker.phase == Phase::Ready);
        let (ready, at_once) = ready.fold((0, 0), |(n, jobs), worker| (n + 1, jobs + worker.at_once));
        let running: usize = look.workers.iter().map(|worker| worker.running).sum();
        let waiting_jobs = look.jobs.saturating_sub(running);
        let usual: Vec<u64> = look.workers.iter().filter_map(|worker| Some(worker.usual?.p50)).collect();
        let usual = usual.iter().sum::<u64>().checked_div(usual.len() as u64);
        let queue_seconds =
            usual.map(|ms| (ms * waiting_jobs as u64) as f64 / 1000.0 / at_once.max(1) as f64);
        let budget_left = BudgetLeft {
            wakes: self.budget.wakes.saturating_sub(look.wakes),
            gpu_seconds: self.budget.gpu.as_secs().saturating_sub(look.gpu_ms / 1000),
        };
        let workers = look.workers.len();
        // A budget that is spent wakes nobody, and sends nobody away.
        let affordable = if budget_left.wakes == 0 || budget_left.gpu_seconds == 0 {
            workers.max(1)
        } else {
            self.max_workers
        };
        // Nobody waits for a pool that has failed or sleeps: a new intent begins a run.
        let awake = matches!(look.state.phase, Phase::Warming | Phase::Ready);
        let needed = look.jobs.div_ceil(self.jobs_per_worker).max(usize::from(look.waiting_sessions > 0));
        let wanted = if awake { needed.min(self.max_workers).min(affordable) } else { 0 };
        let waiting_sessions = look.waiting_sessions;
        Demand { wanted, workers, ready, waiting_sessions, waiting_jobs, queue_seconds, budget_left }
    }
}

/// Answers what is wanted, for an autoscaler or an operator.
pub struct Demands {
    board: Arc<Board>,
    sizing: Sizing,
}

impl Demands {
    /// Of a board's deployment.
    pub fn new(board: Arc<Board>, sizing: Sizing) -> Self {
        Self { board, sizing }
    }

    /// Now.
    pub async fn now(&self) -> Result<Demand, Unreachable> {
        Ok(self.sizing.demand(&self.sizing.look(&self.board, None).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::board::Worker;
    use crate::warmup::{Percentiles, PoolState};

    fn sizing() -> Sizing {
        let (linger, limit) = (Duration::from_secs(120), Duration::from_secs(300));
        let budget = Budget { wakes: 10, gpu: Duration::from_secs(100) };
        Sizing { max_workers: 3, jobs_per_worker: 8, linger, limit, budget }
    }

    fn look(phase: Phase, waiting_sessions: usize, jobs: usize) -> Look {
        Look {
            keeps: true,
            state: PoolState { phase, ..PoolState::default() },
            led: false,
            waiting_sessions,
            jobs,
            launches: 0,
            wakes: 0,
            gpu_ms: 0,
            stalled: 0,
            arrived: 0,
            sessions: 0,
            workers: Vec::new(),
        }
    }

    #[test]
    fn as_many_are_wanted_as_there_is_work_for_and_none_for_nobody() {
        let wanted = |phase, sessions, jobs| sizing().demand(&look(phase, sessions, jobs)).wanted;
        assert_eq!(wanted(Phase::Ready, 0, 0), 0);
        assert_eq!(wanted(Phase::Warming, 1, 0), 1);
        assert_eq!((wanted(Phase::Ready, 0, 8), wanted(Phase::Ready, 0, 9)), (1, 2));
        assert_eq!(wanted(Phase::Ready, 2000, 500), 3, "no more than there may be");
        assert_eq!((wanted(Phase::Cold, 5, 5), wanted(Phase::Failed, 5, 5)), (0, 0), "a new intent begins");
    }

    #[test]
    fn a_spent_budget_wakes_nobody_more() {
        let worker = Worker {
            phase: Phase::Ready,
            started_ms: 0,
            running: 2,
            at_once: 2,
            usual: Some(Percentiles { p50: 500, p90: 900 }),
            weights: None,
        };
        let mut look = look(Phase::Ready, 1, 30);
        look.workers = vec![worker];
        assert_eq!(sizing().demand(&look).wanted, 3);
        look.gpu_ms = 100_000;
        let demand = sizing().demand(&look);
        assert_eq!((demand.wanted, demand.budget_left.gpu_seconds), (1, 0));
        assert_eq!(
            (demand.waiting_jobs, demand.queue_seconds),
            (28, Some(7.0)),
            "28 of half a second, two at once"
        );
    }
}
