//! The model in this process: one run at a time, unload and reload.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audit::{self, Outcome};
use super::report::Reporter;
use super::run::{Proven, Run, RunError};
use super::{
    Begun, Cause, GOING_AWAY, History, Known, Phase, Pool, PoolError, PoolState, RunLog, Unload,
    warmup_failed,
};
use crate::clock;
use crate::model::{Loader, Segmenter};
use crate::protocol::{Event, Ready, RunId, Stage};

/// How a pool behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `model_load` and `gpu_ready` may each take so long, per try.
    pub stage_timeout: Duration,
    /// After a failed run, so long until a passive intent may start the next.
    pub cooldown: Duration,
    /// Whether it counts the ends of its runs; else a gateway does.
    pub counts: bool,
    /// A run that takes longer is worth a warning.
    pub slow: Duration,
    /// Names this deploy in the audit.
    pub deploy: String,
    /// When the kernel started the process.
    pub process_started: Instant,
    /// When its socket listened.
    pub listening: Instant,
}

/// The model in this process.
pub struct LocalPool {
    run: Run,
    run_log: Arc<dyn RunLog>,
    history: Arc<dyn History>,
    settings: Settings,
    state: watch::Sender<PoolState>,
    segmenter: RwLock<Option<Arc<dyn Segmenter>>>,
    /// Why the last model was lost that was.
    lost: watch::Sender<Option<String>>,
    /// Held while a run begins or the model is dropped; holds when the last run failed.
    gate: Mutex<Option<Instant>>,
    tracker: TaskTracker,
    draining: CancellationToken,
}

impl LocalPool {
    /// A cold pool.
    pub fn new(
        loader: Arc<dyn Loader>,
        known: Arc<Known>,
        run_log: Arc<dyn RunLog>,
        history: Arc<dyn History>,
        settings: Settings,
        (tracker, draining): (TaskTracker, CancellationToken),
    ) -> Arc<Self> {
        let state =
            PoolState { model: loader.name().to_owned(), device: loader.device(), ..PoolState::default() };
        let loading = Arc::new(Semaphore::new(1));
        let run = Run { loader, known, stage_timeout: settings.stage_timeout, loading };
        Arc::new(Self {
            run,
            run_log,
            history,
            settings,
            state: watch::Sender::new(state),
            segmenter: RwLock::new(None),
            lost: watch::Sender::new(None),
            gate: Mutex::new(None),
            tracker,
            draining,
        })
    }

    /// The model, when it is ready.
    pub fn segmenter(&self) -> Option<Arc<dyn Segmenter>> {
        self.segmenter.read().clone()
    }

    /// The model's device is gone: so is the model, and whoever wants it next begins a run. Nothing happens where it is
    /// another model by now.
    pub async fn lose(&self, lost: &Arc<dyn Segmenter>, reason: &str) {
        let _gate = self.gate.lock().await;
        {
            let mut segmenter = self.segmenter.write();
            if !segmenter.as_ref().is_some_and(|now| Arc::ptr_eq(now, lost)) {
                return;
            }
            *segmenter = None;
        }
        tracing::error!(reason, "the model is lost");
        self.go_cold(Some(reason)).await;
        self.lost.send_replace(Some(reason.to_owned()));
    }

    /// Returns why when a model is lost.
    pub async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        // The sender is our own.
        let reason = lost.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }

    /// There is no model any more; the gate is held.
    async fn go_cold(&self, error: Option<&str>) {
        self.state.send_modify(|state| {
            state.phase = Phase::Cold;
            state.model_bytes = 0;
            state.error = error.map(str::to_owned);
        });
        // A session that opens from here on must not be told that the model is ready.
        self.run_log.forget().await;
        // What the allocator holds back for itself goes too.
        tokio::task::spawn_blocking(crate::memory::give_back);
    }

    /// Begins a run; the gate is held. Its first events are in the log when this returns, so a session
    /// that opens next sees the run from its start.
    async fn begin(self: &Arc<Self>, cause: Cause) -> RunId {
        let first = self.state.borrow().run.is_none();
        let now = Instant::now();
        // The container stage of a run that begins with the process is the process's own start.
        let with_process = first && cause.trigger == "start";
        let (from, until) =
            if with_process { (self.settings.process_started, self.settings.listening) } else { (now, now) };
        let device = self.run.loader.device();
        let kind = self.state.borrow().kind();
        let weights = self.state.borrow().weights.clone();
        let estimates = self.history.estimates(&kind, with_process).await;
        let new = PoolState {
            phase: Phase::Warming,
            run: Some(RunId::random()),
            trigger: cause.trigger,
            session: cause.session,
            started_ms: clock::at_ms(from),
            usual: estimates.run,
            model: self.run.loader.name().to_owned(),
            device,
            load_ms: self.state.borrow().load_ms,
            weights,
            ..PoolState::default()
        };
        let Begun { state, woken_ms } = self.run_log.begin(new).await;
        let run = state.run.clone().unwrap_or_else(RunId::random);
        self.state.send_replace(state);
        let (run_log, state) = (Arc::clone(&self.run_log), self.state.clone());
        let loader = Arc::clone(&self.run.loader);
        let mut reporter = Reporter::new(run_log, state, run.clone(), loader, estimates);
        match woken_ms {
            Some(woken_ms) => {
                reporter.joined(Stage::Container, woken_ms);
                reporter.done(Instant::now(), Some(self.life(woken_ms))).await;
            }
            None => {
                reporter.started(Stage::Container, from).await;
                let detail = (!with_process).then(|| "the process was already running".to_owned());
                reporter.done(until, detail).await;
            }
        }
        if !with_process {
            // Nothing was measured: there was nothing to start.
            reporter.done.clear();
        }
        let pool = Arc::clone(self);
        self.tracker.spawn(pool.finish_run(run.clone(), reporter, (kind, with_process)));
        run
    }

    async fn finish_run(
        self: Arc<Self>,
        run: RunId,
        mut reporter: Reporter,
        (kind, with_process): (String, bool),
    ) {
        // Cancel safety: what is dropped half-way is a run that nobody will use.
        let ended = tokio::select! {
            biased;
            ended = self.run.drive(&mut reporter) => Some(ended),
            () = self.draining.cancelled() => None,
        };
        let mut failed_at = self.gate.lock().await;
        let ended_ms = clock::now_ms();
        let begun = self.state.borrow().clone();
        let started_ms = begun.started_ms;
        let total_ms = ended_ms.saturating_sub(started_ms);
        let record = || metrics::histogram!("warmcut_warmup_seconds").record(total_ms as f64 / 1000.0);
        let outcome = match ended {
            Some(Ok(proven)) => {
                record();
                *failed_at = None;
                self.succeed(&run, &reporter, proven, (ended_ms, total_ms)).await;
                if u128::from(total_ms) > self.settings.slow.as_millis() {
                    tracing::warn!(%run, total_ms, stages = ?reporter.done, "slow start");
                }
                // By what it was known as when it began too: there the next one like it looks, who knows no more.
                let (history, mut kinds) = (Arc::clone(&self.history), vec![begun.kind(), kind]);
                kinds.dedup();
                self.tracker.spawn(async move {
                    for kind in kinds {
                        history.record(&kind, with_process, total_ms, &reporter.done).await;
                    }
                });
                Outcome::Ready
            }
            Some(Err(RunError { reason })) => {
                record();
                *failed_at = Some(Instant::now());
                let mut state = self.state.borrow().clone();
                state.phase = Phase::Failed;
                state.ended_ms = Some(ended_ms);
                state.error = Some(reason.clone());
                let cooldown = self.settings.cooldown.as_secs();
                let problem = warmup_failed().about_run(&run).retry_after(cooldown);
                reporter.event(ended_ms, Event::Problem(problem), &state).await;
                self.state.send_replace(state);
                Outcome::Failed(reason)
            }
            // No problem in the log: the model is well, and channels hear `drain`.
            None => {
                self.state.send_modify(|state| {
                    state.phase = Phase::Cold;
                    state.ended_ms = Some(ended_ms);
                    // For who waits for the model within a request.
                    state.error = Some(GOING_AWAY.to_owned());
                });
                Outcome::Aborted
            }
        };
        if self.settings.counts {
            metrics::counter!("warmcut_warmups_total", "outcome" => outcome.label()).increment(1);
        }
        audit::run_ended(&begun, ended_ms, &self.settings.deploy, &outcome);
    }

    async fn succeed(
        &self,
        run: &RunId,
        reporter: &Reporter,
        proven: Proven,
        (ended_ms, total_ms): (u64, u64),
    ) {
        let Proven { segmenter, load_ms } = proven;
        let (model_bytes, dtype, weights) =
            (segmenter.bytes(), segmenter.precision(), segmenter.fingerprint());
        *self.segmenter.write() = Some(segmenter);
        let (model, device) = (self.run.loader.name().to_owned(), self.run.loader.device());
        // The state first: who reads `ready` may upload at once.
        self.state.send_modify(|state| {
            state.phase = Phase::Ready;
            state.ended_ms = Some(ended_ms);
            state.progress = 1.0;
            state.load_ms = Some(load_ms);
            state.model_bytes = model_bytes;
            state.dtype = dtype;
            state.weights = Some(weights);
        });
        let ready = Ready { run: run.clone(), cold: false, total_ms, model, device };
        let state = self.state.borrow().clone();
        reporter.event(ended_ms, Event::Ready(ready), &state).await;
    }

    /// When this process began to live, for who woke it.
    fn life(&self, woken_ms: u64) -> String {
        let started_ms = clock::at_ms(self.settings.process_started);
        let started = std::time::UNIX_EPOCH + Duration::from_millis(started_ms);
        let started = humantime::format_rfc3339_millis(started);
        match started_ms.checked_sub(woken_ms) {
            Some(after_ms) => {
                format!("the worker's process started at {started}, {after_ms} ms after the wake")
            }
            // The system tells the start of a process to the hundredth of a second.
            None if woken_ms - started_ms < 100 => {
                format!("the worker's process started at {started}, at once")
            }
            None => format!("the worker's process had started at {started}, before the wake"),
        }
    }
}

#[async_trait]
impl Pool for Arc<LocalPool> {
    async fn ensure_warm(&self, cause: Cause) -> Result<RunId, PoolError> {
        let failed_at = self.gate.lock().await;
        if self.draining.is_cancelled() {
            return Err(PoolError::Draining);
        }
        let state = self.state.borrow().clone();
        if let (Phase::Warming | Phase::Ready, Some(run)) = (state.phase, state.run.clone()) {
            return Ok(run);
        }
        if let (Some(at), false) = (*failed_at, cause.explicit) {
            let left = (at + self.settings.cooldown).saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Err(PoolError::Cooling {
                    run: state.run,
                    reason: state.error.unwrap_or_default(),
                    retry_after_ms: clock::millis(left),
                });
            }
        }
        Ok(self.begin(cause).await)
    }

    fn follow(&self) -> watch::Receiver<PoolState> {
        self.state.subscribe()
    }

    async fn unload(&self, why: Unload) -> Result<bool, PoolError> {
        let _gate = self.gate.lock().await;
        if self.state.borrow().phase == Phase::Warming {
            return Err(PoolError::Warming);
        }
        if why == Unload::Request {
            self.state.send_modify(|state| state.weights = None);
        }
        let Some(segmenter) = self.segmenter.write().take() else { return Ok(false) };
        drop(segmenter);
        self.go_cold(None).await;
        tracing::info!(?why, "model unloaded");
        Ok(true)
    }
}
