//! Previews: an early, cheaper cutout by a small model, while the one that was asked for sleeps or is busy.
//!
//! ```text
//! photo ─▶ jobs (pool) ────────────────────────────────▶ cutout
//!     └──▶ preview, if the job would wait ─▶ results ─▶ told, unless the job has ended
//! ```
//!
//! The small model has threads of its own, for half of the cores, so that it takes neither the channels' nor the
//! large model's and needn't wait for them. It makes cutouts too: for who asks for `model=preview`, and for those whom the pool has
//! failed. Needs no model of the pool in this process: a gateway has none.

mod cutouts;
mod jobs;
mod model;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use self::jobs::AllJobs;
use self::model::SmallModel;
use super::image::Limits;
use super::jobs::Jobs;
use super::pipeline::{Done, Pipeline, PipelineError, Pixels};
use super::results::{Cutout, NewCutout, made_before, made_by, name};
use super::work::Work;
use super::{Blob, Inference, Links, Pace, Results};
use crate::model::{Fingerprint, Loader};
use crate::protocol::options::{Options, OutputSize};
use crate::protocol::{CutoutId, Event, JobId, Problem, SessionId};
use crate::warmup::{Known, Phase, Pool};

/// A job that waits longer in the queue gets a preview.
const LONG: Duration = Duration::from_secs(1);
/// A preview that can't begin within this time comes too late to be of use.
const PATIENCE: Duration = Duration::from_secs(2);
/// One that takes longer is given up.
const LONGEST: Duration = Duration::from_secs(10);
/// Previews that wait; so many are not made within [`PATIENCE`] by any small model.
const WAITING: usize = 32;
/// Previews at once: one is decoded or encoded while the network looks at the other.
const RUNNING: usize = 2;
/// Cutouts by the small model that wait; more are refused.
pub const CUTOUTS: usize = 64;
/// More threads make one preview hardly sooner.
const MOST_THREADS: usize = 4;

/// What previews need.
pub struct PreviewParts {
    /// The jobs that they are previews of.
    pub jobs: Arc<dyn Jobs>,
    /// Those that ask for the small model, and how long they take.
    pub own: (Arc<dyn Jobs>, Arc<Pace>),
    /// Whose model they are made instead of.
    pub pool: Arc<dyn Pool>,
    /// How long its jobs take.
    pub pace: Arc<Pace>,
    /// Where previews go.
    pub results: Arc<dyn Results>,
    /// How they are found.
    pub links: Links,
    /// The small model.
    pub loader: Arc<dyn Loader>,
    /// What it must say of the known photo.
    pub known: Known,
    /// What a photo may be.
    pub limits: Limits,
    /// Bytes of pixels at once, for previews.
    pub pixels: Pixels,
    /// The same for cutouts of full size; shared with whoever else makes them here.
    pub cutout_pixels: Pixels,
    /// A cutout that takes longer fails.
    pub job_timeout: Duration,
}

/// A photo of which a preview may be made.
pub(super) struct Wanted {
    pub(super) job: JobId,
    pub(super) session: SessionId,
    pub(super) photo: Arc<Blob>,
    /// The preview's own.
    pub(super) options: Options,
    /// Names what is to be made.
    pub(super) name: CutoutId,
    pub(super) shop: Option<Arc<str>>,
    /// Cancelled when the session ends.
    pub(super) unwanted: CancellationToken,
    /// The photo's last byte.
    pub(super) received: Instant,
}

/// The small model at work.
pub struct Previews {
    model: SmallModel,
    jobs: Arc<dyn Jobs>,
    pool: Arc<dyn Pool>,
    pace: Arc<Pace>,
    results: Arc<dyn Results>,
    links: Links,
    pipeline: Pipeline,
    /// Jobs that asked for the small model.
    own: Arc<dyn Jobs>,
    /// Runs those.
    own_work: Work,
    /// Runs jobs that the pool has failed.
    stand_in: Work,
    /// Why it has.
    given_up: watch::Sender<Option<Problem>>,
    waiting: Arc<Semaphore>,
    running: Semaphore,
    tracker: TaskTracker,
    draining: CancellationToken,
}

/// What became of a preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Its session was told of it.
    Made,
    /// It would have waited too long, or the photo is too large for it or broken.
    Skipped,
    /// The small model is at fault, or what keeps results.
    Failed,
    /// The job or its session ended first.
    Late,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Made, Self::Skipped, Self::Failed, Self::Late];

    fn count(self, by: u64) {
        let label = match self {
            Self::Made => "made",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Late => "late",
        };
        metrics::counter!("warmcut_previews_total", "outcome" => label).increment(by);
    }
}

impl Previews {
    /// Begins to load the small model, and makes what is asked for from then on until told to drain.
    pub fn spawn(
        parts: PreviewParts,
        tracker: &TaskTracker,
        draining: &CancellationToken,
    ) -> std::io::Result<Arc<Self>> {
        let PreviewParts { jobs, pool, pace, results, links, loader, known, limits, .. } = parts;
        let threads = Arc::new(threads()?);
        let inference = Inference::spawn_in(Arc::clone(&threads))?;
        let full =
            Pipeline { inference, limits, pixels: parts.cutout_pixels, threads: Some(Arc::clone(&threads)) };
        let (own, own_pace) = parts.own;
        let work = |jobs: Arc<dyn Jobs>| Work {
            jobs,
            pipeline: full.clone(),
            results: Arc::clone(&results),
            links: links.clone(),
            pace: Arc::clone(&own_pace),
            job_timeout: parts.job_timeout,
        };
        let previews = Arc::new(Self {
            own_work: work(Arc::clone(&own)),
            stand_in: work(Arc::clone(&jobs)),
            own,
            pipeline: Pipeline { pixels: parts.pixels, ..full },
            model: SmallModel::new(loader, known, threads),
            jobs,
            pool,
            pace,
            results,
            links,
            given_up: watch::Sender::new(None),
            waiting: Arc::new(Semaphore::new(WAITING)),
            running: Semaphore::new(RUNNING),
            tracker: tracker.clone(),
            draining: draining.clone(),
        });
        // Counted from the first moment on, so that a rate sees the first one.
        Outcome::ALL.into_iter().for_each(|outcome| outcome.count(0));
        let until_drain = |task| {
            let draining = draining.clone();
            async move { draining.run_until_cancelled(task).await }
        };
        tracker.spawn(until_drain(Arc::clone(&previews).load()));
        tracker.spawn(Arc::clone(&previews).make_cutouts());
        tracker.spawn(Arc::clone(&previews).look_after_cutouts());
        // Heard from here on, whenever the task begins.
        let given_up = previews.given_up.subscribe();
        tracker.spawn(Arc::clone(&previews).stand_in(given_up));
        Ok(previews)
    }

    /// The small model's name.
    pub fn model(&self) -> &str {
        self.model.name()
    }

    /// Its weights; none when it isn't loaded.
    pub(super) fn weights(&self) -> Option<Fingerprint> {
        self.model.loaded().map(|segmenter| segmenter.fingerprint())
    }

    /// Where jobs go that ask for the small model.
    pub(super) fn own_jobs(&self) -> &dyn Jobs {
        self.own.as_ref()
    }

    /// All jobs that this process knows of: the pool's, and those that asked for the small model.
    pub fn all_jobs(&self) -> Arc<dyn Jobs> {
        Arc::new(AllJobs { pool: Arc::clone(&self.jobs), own: Arc::clone(&self.own) })
    }

    /// False when it can't be loaded.
    pub fn has_model(&self) -> bool {
        !self.model.has_failed()
    }

    /// The pool has failed those who wait, for this reason.
    pub fn give_up(&self, problem: Problem) {
        self.given_up.send_replace(Some(problem));
    }

    /// The options of a photo's preview, and what names that.
    pub(super) fn of(&self, photo: &[u8; 32], options: &Options, shop: Option<&str>) -> (Options, CutoutId) {
        let options = Options { size: OutputSize::Preview, model: None, ..options.clone() };
        let name = name(photo, &options, self.model(), shop);
        (options, name)
    }

    /// Makes a preview of a job that is in the queue now, if it is going to wait there.
    pub(super) async fn offer(self: &Arc<Self>, wanted: Wanted) {
        if !self.would_wait().await {
            return;
        }
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Outcome::Skipped.count(1);
        };
        let span = tracing::info_span!("preview", job = %wanted.job);
        self.tracker.spawn(Arc::clone(self).make(wanted, place).instrument(span));
    }

    async fn would_wait(&self) -> bool {
        let phase = self.pool.follow().borrow().phase;
        match phase {
            Phase::Cold | Phase::Warming => true,
            // It is stood in for, in full size.
            Phase::Failed => false,
            Phase::Ready => self.jobs.depth().await.map_or(true, |depth| self.pace.is_longer(depth, LONG)),
        }
    }

    async fn make(self: Arc<Self>, wanted: Wanted, _place: OwnedSemaphorePermit) {
        // Cancel safety: see `Pipeline::run`; what is told is told in one step.
        let outcome = tokio::select! {
            biased;
            () = wanted.unwanted.cancelled() => Outcome::Late,
            outcome = self.try_make(&wanted) => outcome,
        };
        outcome.count(1);
    }

    async fn try_make(&self, wanted: &Wanted) -> Outcome {
        let Wanted { job, session, photo, options, received, .. } = wanted;
        let weights = self.weights();
        if let Some(known) = made_before(self.results.as_ref(), &wanted.name, weights.as_ref()).await {
            return self.tell(wanted, &known).await;
        }
        let turn = async { (self.model.get().await, self.running.acquire().await) };
        // One that has begun is done in the time that a drain has.
        let turn = self.draining.run_until_cancelled(timeout_at(*received + PATIENCE, turn));
        let (segmenter, _turn) = match turn.await {
            Some(Ok((Some(segmenter), Ok(turn)))) => (segmenter, turn),
            Some(Ok(_)) => return Outcome::Failed,
            Some(Err(_)) => return Outcome::Skipped,
            None => return Outcome::Late,
        };
        let weights = segmenter.fingerprint();
        let ended = CancellationToken::new();
        let run = self.pipeline.run(photo, options, segmenter, |_| {
            let ended = ended.clone();
            async move {
                if self.jobs.is_live(session, job).await == Ok(false) {
                    ended.cancel();
                    // The step must not begin.
                    std::future::pending::<()>().await;
                }
            }
        });
        // Cancel safety: see `Pipeline::run`.
        let run = tokio::select! {
            biased;
            () = ended.cancelled() => return Outcome::Late,
            run = timeout(LONGEST, run) => run,
        };
        let done = match run {
            Ok(Ok(done)) => done,
            Ok(Err(PipelineError::Image(error))) => {
                // The job says so.
                tracing::debug!(%error, "no preview of such a photo");
                return Outcome::Skipped;
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "no preview");
                return Outcome::Failed;
            }
            Err(_) => {
                tracing::warn!("a preview was not done within {LONGEST:?}");
                return Outcome::Failed;
            }
        };
        match self.keep(wanted, done, &weights).await {
            Some(preview) => self.tell(wanted, &preview).await,
            None => Outcome::Failed,
        }
    }

    async fn keep(&self, wanted: &Wanted, done: Done, weights: &Fingerprint) -> Option<Arc<Cutout>> {
        let Done { encoded, notes, permit, .. } = done;
        let new = NewCutout {
            id: made_by(&wanted.name, weights),
            bytes: encoded.bytes.into(),
            mime: encoded.mime,
            size: (encoded.width, encoded.height),
            model: self.model().to_owned(),
            notes,
            shop: wanted.shop.clone(),
        };
        let kept = self.results.put(new).await;
        drop(permit);
        kept.inspect_err(|error| tracing::warn!(%error, "a preview can't be kept")).ok()
    }

    async fn tell(&self, wanted: &Wanted, preview: &Cutout) -> Outcome {
        let event = self.links.preview(&wanted.session, &wanted.job, preview);
        if self.jobs.tell(&wanted.job, Event::Preview(event)).await { Outcome::Made } else { Outcome::Late }
    }

    async fn load(self: Arc<Self>) {
        self.model.load().await;
    }
}

/// For all that previews compute, half of the cores: the rest is for the channels, and for the large model where
/// it is here too.
fn threads() -> std::io::Result<rayon::ThreadPool> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = rayon::ThreadPoolBuilder::new().num_threads((cores / 2).clamp(1, MOST_THREADS));
    threads.thread_name(|n| format!("preview {n}")).build().map_err(std::io::Error::other)
}
