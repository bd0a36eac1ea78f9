//! Workers: claim a job, run it, end it. And the one who looks after those that wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::image::Limits;
use super::jobs::{Claimed, Jobs, NewJob};
use super::pipeline::{Done, Pipeline, PipelineError};
use super::results::{Cutout, NewCutout};
use super::{Inference, Links, Pace, Results, tell};
use crate::clock;
use crate::protocol::{Code, Event, JobStatus, Problem, Timings};
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
    pub pixel_bytes: u64,
    /// Bytes of pixels that one photo may take, if memory is limited.
    pub pixel_limit: Option<u64>,
    /// A job that runs longer fails.
    pub job_timeout: Duration,
    /// How many jobs run at once.
    pub count: usize,
}

/// Starts the workers. They end when told to drain: each finishes the job that it has, and who drains closes the
/// queue.
pub fn spawn_workers(workers: Workers, tracker: &TaskTracker, draining: &CancellationToken) {
    let count = workers.count;
    let pixels = (workers.pixel_bytes, workers.pixel_limit);
    let pipeline = Pipeline::new(workers.inference.clone(), workers.limits, pixels);
    let shared = Arc::new(Shared { workers, pipeline, draining: draining.clone() });
    for _ in 0..count {
        tracker.spawn(Arc::clone(&shared).work());
    }
}

struct Shared {
    workers: Workers,
    pipeline: Pipeline,
    draining: CancellationToken,
}

impl Shared {
    async fn work(self: Arc<Self>) {
        let mut state = self.workers.pool.follow();
        loop {
            // Cancel safety: waiting and claiming lose nothing but at shutdown, when every job that no worker
            // has is ended by `Jobs::close`.
            let claimed = tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                claimed = async {
                    // The sender lives as long as the pool, which this task holds.
                    let _ = state.wait_for(|state| state.phase == Phase::Ready).await;
                    self.workers.jobs.claim().await
                } => claimed,
            };
            let span = tracing::info_span!("job", job = %claimed.job.id);
            self.run(claimed).instrument(span).await;
        }
    }

    async fn run(&self, Claimed { job, lease, canceled }: Claimed) {
        let jobs = &self.workers.jobs;
        let claimed = Instant::now();
        let Some(segmenter) = self.workers.pool.segmenter() else {
            // Unloaded between being ready and being claimed.
            return jobs.release(&job.id, lease).await;
        };
        let run = self.pipeline.run(&job, segmenter, |step| {
            let eta = self.workers.pace.running(claimed.elapsed());
            let event = tell::processing(&job, step, eta);
            let job = &job.id;
            async move {
                // A lost lease is noticed by `finish`.
                let _ = jobs.report(job, lease, event).await;
            }
        });
        // Cancel safety: see `Pipeline::run`.
        let ended = tokio::select! {
            biased;
            () = canceled.cancelled() => {
                // By the lease: one that is lost is another worker's job by now.
                jobs.finish(&job.id, lease, tell::canceled(job.about())).await;
                return;
            }
            ended = tokio::time::timeout(self.workers.job_timeout, run) => ended,
        };
        let events = match ended {
            Ok(Ok(done)) => self.succeeded(&job, done, claimed).await,
            Ok(Err(error)) => self.failed(&job, &error),
            Err(_) => {
                let seconds = self.workers.job_timeout.as_secs();
                let message =
                    format!("the cutout was not done within {seconds} s; try again or send a smaller photo");
                tell::failed(job.about(), Problem::new(Code::JobFailed, message))
            }
        };
        jobs.finish(&job.id, lease, events).await;
    }

    async fn succeeded(&self, job: &NewJob, done: Done, claimed: Instant) -> Vec<Event> {
        let Done { encoded, notes, spent, permit } = done;
        self.workers.pace.record(claimed.elapsed());
        let model = self.workers.pool.follow().borrow().model.clone();
        let new = NewCutout {
            id: job.cutout.clone(),
            bytes: encoded.bytes.into(),
            mime: encoded.mime,
            size: (encoded.width, encoded.height),
            model,
            notes,
            shop: job.shop.clone(),
        };
        let cutout = match self.workers.results.put(new).await {
            Ok(cutout) => cutout,
            Err(error) => return self.failed(job, &PipelineError::Keep(error)),
        };
        drop(permit);
        let timings = Timings {
            upload: clock::millis(job.received - job.accepted),
            queue: clock::millis(claimed - job.received + spent.waited),
            decode: clock::millis(spent.decode),
            infer: clock::millis(spent.infer),
            compose: clock::millis(spent.compose),
            encode: clock::millis(spent.encode),
            total: clock::millis(job.accepted.elapsed()),
        };
        for (step, took) in [
            ("decode", spent.decode),
            ("infer", spent.infer),
            ("compose", spent.compose),
            ("encode", spent.encode),
        ] {
            metrics::histogram!("warmcut_job_step_seconds", "step" => step).record(took.as_secs_f64());
        }
        last_events(&self.workers.links, job, &cutout, false, timings)
    }

    fn failed(&self, job: &NewJob, error: &PipelineError) -> Vec<Event> {
        let problem = error.problem();
        if problem.code.status() >= 500 {
            tracing::error!(%error, "job failed");
        } else {
            tracing::info!(%error, "photo refused");
        }
        tell::failed(job.about(), problem)
    }
}

/// Tells those who wait of their place, fails them when there will be no model, and wants the model back when it
/// went while somebody waits. One does so for all.
pub async fn look_after(jobs: Arc<dyn Jobs>, pool: Arc<dyn Pool>, draining: CancellationToken) {
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
        let (phase, error) = {
            let state = state.borrow_and_update();
            (state.phase, state.error.clone())
        };
        let waits = jobs.depth().await.is_ok_and(|depth| depth.waiting > 0);
        if phase == Phase::Failed && waits {
            jobs.fail_waiting(warmup_failed(&error.unwrap_or_default())).await;
        }
        if phase == Phase::Cold && waits {
            let cause = Cause { trigger: "upload".into(), session: None, explicit: false };
            match pool.ensure_warm(cause).await {
                // Another time they may.
                Ok(_) | Err(PoolError::Unavailable) => {}
                Err(error) => jobs.fail_waiting(error.problem()).await,
            }
        }
        later = jobs.tell_positions(phase == Phase::Ready).await;
    }
}

/// The last events of a job that has a cutout.
pub(super) fn last_events(
    links: &Links,
    job: &NewJob,
    cutout: &Cutout,
    cached: bool,
    timings: Timings,
) -> Vec<Event> {
    let event = links.event(&job.session, &job.id, cutout, cached, timings);
    vec![Event::Cutout(Box::new(event)), tell::moved(job.about(), JobStatus::Succeeded, None, None)]
}
