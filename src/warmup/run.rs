//! One run: container, load, prime, validate; with tries, time limits and backoff.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::report::{PROGRESS_EVERY, Reporter};
use super::validation::Known;
use crate::clock;
use crate::model::{Loaded, Loader, ModelError, Progress, Segmenter, Stop};
use crate::protocol::{Stage, StageStatus};

/// A warm-up is tried so often; what fails three times in a row is broken, not unlucky. A file that holds the wrong
/// thing is so at once, and whoever waits is answered otherwise the sooner.
const TRIES: u32 = 3;
/// Before the second try, doubled before each further one, and spread by up to half, so that many
/// servers with the same trouble don't knock in step.
const BACKOFF: Duration = Duration::from_millis(400);

/// What a run needs.
pub(super) struct Run {
    pub(super) loader: Arc<dyn Loader>,
    pub(super) known: Arc<Known>,
    /// Each of the two working stages may take so long.
    pub(super) stage_timeout: Duration,
    /// Held by a thread that loads. One that outlives its time limit keeps it, so the model is never
    /// loaded twice at once.
    pub(super) loading: Arc<Semaphore>,
}

/// The model, proven.
pub(super) struct Proven {
    pub(super) segmenter: Arc<dyn Segmenter>,
    pub(super) load_ms: u64,
}

/// Why a run failed for good.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct RunError {
    pub(super) reason: String,
}

/// Why a try failed.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{stage} was not done within {limit:?}", stage = stage.as_str())]
    Timeout { stage: Stage, limit: Duration },
    #[error("an earlier try still hangs after {0:?}; the model is not loaded a second time beside it")]
    Hanging(Duration),
    #[error("the warm-up's thread panicked: {0}")]
    Panic(String),
}

impl TryError {
    /// Whether the next try would find the same.
    fn stays(&self) -> bool {
        matches!(self, Self::Model(error) if error.is_of_contents())
    }

    /// What shoppers are told: what took too long, and nothing of files, tensors and drivers.
    fn told(&self) -> String {
        match self {
            Self::Timeout { .. } | Self::Hanging(_) => self.to_string(),
            Self::Model(_) | Self::Panic(_) => "the server's log says why".to_owned(),
        }
    }
}

impl Run {
    /// Loads and proves the model, trying again when it fails.
    pub(super) async fn drive(&self, reporter: &mut Reporter) -> Result<Proven, RunError> {
        for n in 1..=TRIES {
            match self.try_once(reporter).await {
                Ok(proven) => return Ok(proven),
                Err((stage, error)) => {
                    tracing::warn!(stage = stage.as_str(), try_number = n, %error, "warm-up failed");
                    if n == TRIES || error.stays() {
                        reporter.failed(StageStatus::Failed, &error.told()).await;
                        return Err(RunError { reason: error.to_string() });
                    }
                    let wait = jittered(BACKOFF * 2_u32.pow(n - 1));
                    let (why, next_ms) = (error.told(), wait.as_millis());
                    let detail = format!("try {n} of {TRIES} failed: {why}; next in {next_ms} ms");
                    reporter.failed(StageStatus::Retrying, &detail).await;
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Err(RunError { reason: "no try was made".to_owned() })
    }

    async fn try_once(&self, reporter: &mut Reporter) -> Result<Proven, (Stage, TryError)> {
        let started = Instant::now();
        reporter.started(Stage::ModelLoad, started).await;
        let loader = Arc::clone(&self.loader);
        let (loaded, mut said) =
            self.stage(reporter, Stage::ModelLoad, move |report, stop| loader.load(report, stop)).await?;
        let done = Instant::now();
        let load_ms = clock::millis(done - started);
        let (bytes, size) = (loaded.bytes(), loaded.size() as usize);
        said.push(format!("{bytes} bytes of weights"));
        reporter.done(done, Some(said.join("; "))).await;

        reporter.started(Stage::GpuReady, Instant::now()).await;
        let known = Arc::clone(&self.known);
        let (segmenter, said) = self
            .stage(reporter, Stage::GpuReady, move |report, stop| prove(loaded, &known, size, report, stop))
            .await?;
        reporter.done(Instant::now(), Some(said.join("; "))).await;
        Ok(Proven { segmenter, load_ms })
    }

    /// Runs a stage's work on a thread of its own and tells of its progress. Gives every step that it told of: those
    /// that came too fast are told together, and the last ones by the stage's end.
    async fn stage<T: Send + 'static>(
        &self,
        reporter: &mut Reporter,
        stage: Stage,
        work: impl FnOnce(&mut dyn FnMut(Progress), &Stop) -> Result<T, ModelError> + Send + 'static,
    ) -> Result<(T, Vec<String>), (Stage, TryError)> {
        let (told, mut news) = watch::channel(News::default());
        let stop = Stop::default();
        let permit = tokio::time::timeout(self.stage_timeout, Arc::clone(&self.loading).acquire_owned())
            .await
            .map_err(|_| (stage, TryError::Hanging(self.stage_timeout)))?
            .map_err(|_| (stage, TryError::Hanging(Duration::ZERO)))?;
        let thread = tokio::task::spawn_blocking({
            let stop = stop.clone();
            move || {
                let _permit = permit;
                work(&mut |progress| told.send_modify(|news| news.add(progress)), &stop)
            }
        });
        let deadline = tokio::time::sleep(self.stage_timeout);
        tokio::pin!(thread, deadline);
        let (mut next_tell, mut told) = (Instant::now(), 0);
        // Cancel safety: a watch keeps the newest value, the thread and the deadline are pinned.
        loop {
            tokio::select! {
                biased;
                ended = &mut thread => {
                    let ended = ended.map_err(|panic| (stage, TryError::Panic(panic.to_string())))?;
                    let ended = ended.map_err(|error| (stage, error.into()))?;
                    let said = news.borrow().steps.clone();
                    return Ok((ended, said));
                }
                () = &mut deadline => {
                    stop.stop();
                    return Err((stage, TryError::Timeout { stage, limit: self.stage_timeout }));
                }
                true = wait_for_progress(&mut news, next_tell) => {
                    let progress = news.borrow_and_update().since(&mut told);
                    reporter.progress(progress).await;
                    next_tell = Instant::now() + PROGRESS_EVERY;
                }
            }
        }
    }
}

/// What a stage's thread has told. Of a fraction the newest counts; a step is never swallowed by the next one.
#[derive(Default)]
struct News {
    newest: Progress,
    steps: Vec<String>,
}

impl News {
    fn add(&mut self, progress: Progress) {
        match progress {
            Progress { fraction: None, detail: Some(step) } => self.steps.push(step),
            newest => self.newest = newest,
        }
    }

    /// What there is to tell, where so many steps have been told.
    fn since(&self, told: &mut usize) -> Progress {
        let steps = &self.steps[*told..];
        *told = self.steps.len();
        let detail = if steps.is_empty() { self.newest.detail.clone() } else { Some(steps.join("; ")) };
        Progress { fraction: self.newest.fraction, detail }
    }
}

/// True when there is progress to tell and it is time to; never returns once the thread has dropped
/// its end.
async fn wait_for_progress(news: &mut watch::Receiver<News>, not_before: Instant) -> bool {
    tokio::time::sleep_until(not_before).await;
    match news.changed().await {
        Ok(()) => true,
        Err(_) => std::future::pending().await,
    }
}

/// Primes with the known photo, compares its answer, and finds out what the model does best.
fn prove(
    loaded: Box<dyn Loaded>,
    known: &Known,
    size: usize,
    report: &mut dyn FnMut(Progress),
    stop: &Stop,
) -> Result<Arc<dyn Segmenter>, ModelError> {
    let (segmenter, map) = loaded.prime(&known.rgb, report, stop)?;
    let proved = known.validate(&map, size)?;
    report(Progress::step(proved));
    segmenter.tune(&known.rgb, report, stop)?;
    Ok(segmenter)
}

fn jittered(wait: Duration) -> Duration {
    let mut byte = [0];
    // Without random numbers the wait is merely not spread.
    let _ = getrandom::fill(&mut byte);
    wait + wait.mul_f32(f32::from(byte[0]) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_fractions_the_newest_is_told_and_of_steps_each() {
        let (mut news, mut told) = (News::default(), 0);
        let read = |fraction| Progress { fraction: Some(fraction), detail: Some(format!("{fraction}")) };
        news.add(read(0.25));
        news.add(read(0.5));
        assert_eq!(news.since(&mut told), read(0.5));
        news.add(Progress::step("context"));
        news.add(Progress::step("kernels"));
        news.add(read(0.75));
        let both = Progress { fraction: Some(0.75), detail: Some("context; kernels".into()) };
        assert_eq!(news.since(&mut told), both);
        assert_eq!(news.since(&mut told), read(0.75), "a step is told once");
    }
}
