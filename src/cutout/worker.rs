//! Workers: claim a job, run it, end it. And the one who looks after those that wait.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::image::Limits;
use super::jobs::{Claimed, Jobs};
use super::pipeline::{Pipeline, Pixels};
use super::work::{Maker, Work};
use super::{Inference, Links, Pace, Previews, Results};
use crate::protocol::Problem;
use crate::warmup::{Cause, LocalPool, Phase, Pool, PoolError, warmup_failed};

/// Those who wait hear of changes of their place this often at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What workers need.
pub struct Workers {
    /// Where jobs come from.
    pub jobs: Arc<dyn Jobs>,
    /// Where the model is.
    pub pool: Arc<LocalPool>,
    /// The thread of the network.
    pub inference: Inference,
    /// Where cutouts go.
    pub results: Arc<dyn Results>,
    /// How they are found.
    pub links: Links,
    /// How long jobs take.
    pub pace: Arc<Pace>,
    /// What a photo may be.
    pub limits: Limits,
    /// Bytes of pixels at once.
    pub pixels: Pixels,
    /// A job that runs longer fails.
    pub job_timeout: Duration,
    /// How many jobs run at once.
    pub count: usize,
}

/// Starts the workers. They end when told to drain: each finishes the job that it has, and who drains closes the
/// queue.
pub fn spawn_workers(workers: Workers, tracker: &TaskTracker, draining: &CancellationToken) {
    let Workers { jobs, pool, inference, results, links, pace, limits, pixels, .. } = workers;
    let pipeline = Pipeline { inference, limits, pixels, threads: None };
    let work = Work { jobs, pipeline, results, links, pace, job_timeout: workers.job_timeout };
    let shared = Arc::new(Shared { work, pool, draining: draining.clone() });
    for _ in 0..workers.count {
        tracker.spawn(Arc::clone(&shared).work());
    }
}

struct Shared {
    work: Work,
    pool: Arc<LocalPool>,
    draining: CancellationToken,
}

impl Shared {
    async fn work(self: Arc<Self>) {
        let mut state = self.pool.follow();
        loop {
            // Cancel safety: waiting and claiming lose nothing but at shutdown, when a job that no worker has is ended
            // by `Jobs::close`, or is another process's once its lease is lost.
            let claimed = tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                claimed = async {
                    // The sender lives as long as the pool, which this task holds.
                    let _ = state.wait_for(|state| state.phase == Phase::Ready).await;
                    self.work.jobs.claim().await
                } => claimed,
            };
            let span = tracing::info_span!("job", job = %claimed.job.id);
            self.run(claimed).instrument(span).await;
        }
    }

    async fn run(&self, claimed: Claimed) {
        let Some(segmenter) = self.pool.segmenter() else {
            // Unloaded between being ready and being claimed.
            return self.work.jobs.release(&claimed.job.id, claimed.lease).await;
        };
        let model = self.pool.follow().borrow().model.clone();
        let maker = Maker { segmenter: Arc::clone(&segmenter), model, stands_in: None };
        if let Some(reason) = self.work.run(claimed, maker).await {
            // Nobody may be told that it is ready while every photo fails.
            self.pool.lose(&segmenter, &reason).await;
        }
    }
}

/// Tells those who wait of their place, fails them when there will be no model and nobody stands in, and wants the
/// model back when it went while somebody waits. One does so for all.
pub async fn look_after(
    jobs: Arc<dyn Jobs>,
    pool: Arc<dyn Pool>,
    previews: Option<Arc<Previews>>,
    draining: CancellationToken,
) {
    let give_up = async |problem: Problem| match &previews {
        Some(previews) => previews.give_up(problem),
        None => jobs.fail_waiting(problem).await,
    };
    let mut state = pool.follow();
    let mut later = false;
    loop {
        // Cancel safety: all of these only wait.
        tokio::select! {
            () = draining.cancelled() => return,
            () = jobs.changed() => {}
            _ = state.changed() => {}
            () = tokio::time::sleep(TELL_EVERY), if later => {}
        }
        let phase = state.borrow_and_update().phase;
        let waits = jobs.depth().await.is_ok_and(|depth| depth.waiting > 0);
        if phase == Phase::Failed && waits {
            give_up(warmup_failed()).await;
        }
        if phase == Phase::Cold && waits {
            let cause = Cause { trigger: "upload".into(), session: None, explicit: false };
            match pool.ensure_warm(cause).await {
                // Another time they may.
                Ok(_) | Err(PoolError::Unavailable) => {}
                Err(error) => give_up(error.problem()).await,
            }
        }
        later = jobs.tell_positions(phase == Phase::Ready).await;
    }
}
