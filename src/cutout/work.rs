//! One claimed job, run to its end by whichever model makes it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::infer::InferError;
use super::jobs::{Claimed, Jobs, NewJob};
use super::pipeline::{Done, Pipeline, PipelineError};
use super::results::{Cutout, NewCutout, made_before, made_by};
use super::{Links, Pace, Results, tell};
use crate::clock;
use crate::model::{Fingerprint, ModelError, Segmenter};
use crate::protocol::{Code, CutoutId, Event, JobStatus, Problem, Timings};

/// What the notes of a degraded cutout say.
const STOOD_IN: &str = "preview_model_stood_in";

/// What runs jobs.
pub(super) struct Work {
    pub(super) jobs: Arc<dyn Jobs>,
    pub(super) pipeline: Pipeline,
    pub(super) results: Arc<dyn Results>,
    pub(super) links: Links,
    pub(super) pace: Arc<Pace>,
    pub(super) job_timeout: Duration,
}

/// The model that makes a cutout.
pub(super) struct Maker {
    pub(super) segmenter: Arc<dyn Segmenter>,
    pub(super) model: String,
    /// Set when it isn't the one that was asked for.
    pub(super) stands_in: Option<StandsIn>,
}

/// For a model that failed.
pub(super) struct StandsIn {
    /// Names what it makes, which is no cutout by the model that was asked for.
    pub(super) name: CutoutId,
    /// Why there is no such model; what the job ends with when this one fails too.
    pub(super) problem: Problem,
}

impl Work {
    /// Runs a job and ends it, unless its lease is lost meanwhile. Gives the reason when the model's device was lost
    /// with it.
    pub(super) async fn run(
        &self,
        Claimed { job, lease, canceled }: Claimed,
        maker: Maker,
    ) -> Option<String> {
        let jobs = &self.jobs;
        let claimed = Instant::now();
        let weights = maker.segmenter.fingerprint();
        let run = async {
            // Who took the photo in may not have known these weights; or the same photo was ahead in the queue.
            if let Some(known) = made_before(self.results.as_ref(), maker.work(&job), Some(&weights)).await {
                return Ok(Ended::Known(known));
            }
            let segmenter = Arc::clone(&maker.segmenter);
            let run = self.pipeline.run(&job.photo, &job.options, segmenter, |step| {
                let eta = self.pace.running(claimed.elapsed());
                let event = tell::processing(&job, step, eta);
                let job = &job.id;
                async move {
                    // A lost lease is noticed by `finish`.
                    let _ = jobs.report(job, lease, event).await;
                }
            });
            run.await.map(Ended::Done)
        };
        // Cancel safety: see `Pipeline::run`.
        let ended = tokio::select! {
            biased;
            () = canceled.cancelled() => {
                // By the lease: one that is lost is another worker's job by now.
                jobs.finish(&job.id, lease, tell::canceled(job.about())).await;
                return None;
            }
            ended = tokio::time::timeout(self.job_timeout, run) => ended,
        };
        let lost = match &ended {
            Ok(Err(PipelineError::Infer(InferError::Model(error @ ModelError::DeviceLost { .. })))) => {
                Some(error.to_string())
            }
            _ => None,
        };
        let events = match ended {
            Ok(Ok(Ended::Done(done))) => self.succeeded(&job, done, claimed, (&maker, &weights)).await,
            Ok(Ok(Ended::Known(known))) => self.known(&job, &known, claimed, &maker),
            Ok(Err(error)) => failed(&job, &error, &maker),
            Err(_) => {
                let seconds = self.job_timeout.as_secs();
                let message =
                    format!("the cutout was not done within {seconds} s; try again or send a smaller photo");
                tell::failed(job.about(), Problem::new(Code::JobFailed, message))
            }
        };
        jobs.finish(&job.id, lease, events).await;
        lost
    }

    async fn succeeded(
        &self,
        job: &NewJob,
        done: Done,
        claimed: Instant,
        (maker, weights): (&Maker, &Fingerprint),
    ) -> Vec<Event> {
        let Done { encoded, notes, spent, permit } = done;
        self.pace.record(claimed.elapsed());
        let new = NewCutout {
            id: made_by(maker.work(job), weights),
            bytes: encoded.bytes.into(),
            mime: encoded.mime,
            size: (encoded.width, encoded.height),
            model: maker.model.clone(),
            notes,
            shop: job.shop.clone(),
        };
        let cutout = match self.results.put(new).await {
            Ok(cutout) => cutout,
            Err(error) => return failed(job, &PipelineError::Keep(error), maker),
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
        maker.marked(last_events(&self.links, job, &cutout, false, timings))
    }

    /// The cutout was made before.
    fn known(&self, job: &NewJob, cutout: &Cutout, claimed: Instant, maker: &Maker) -> Vec<Event> {
        count_hit();
        let timings = Timings {
            upload: clock::millis(job.received - job.accepted),
            queue: clock::millis(claimed - job.received),
            total: clock::millis(job.accepted.elapsed()),
            ..Timings::default()
        };
        maker.marked(last_events(&self.links, job, cutout, true, timings))
    }
}

impl Maker {
    /// Names what it is to make.
    fn work<'a>(&'a self, job: &'a NewJob) -> &'a CutoutId {
        self.stands_in.as_ref().map_or(&job.cutout, |stands_in| &stands_in.name)
    }

    /// The same events, which say that it stood in where it did.
    fn marked(&self, mut events: Vec<Event>) -> Vec<Event> {
        if self.stands_in.is_some()
            && let Some(Event::Cutout(cutout)) = events.first_mut()
        {
            cutout.degraded = true;
            cutout.notes.push(STOOD_IN.to_owned());
        }
        events
    }
}

/// How a job came to its cutout.
enum Ended {
    Done(Done),
    /// It was made before.
    Known(Arc<Cutout>),
}

/// A cutout was found instead of made.
pub(super) fn count_hit() {
    metrics::counter!("warmcut_cache_hits_total").increment(1);
}

fn failed(job: &NewJob, error: &PipelineError, maker: &Maker) -> Vec<Event> {
    let problem = error.problem();
    if problem.code.status() < 500 {
        tracing::info!(%error, "photo refused");
        return tell::failed(job.about(), problem);
    }
    tracing::error!(%error, "job failed");
    tell::failed(job.about(), maker.stands_in.as_ref().map_or(problem, |stands_in| stands_in.problem.clone()))
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
