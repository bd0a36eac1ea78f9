//! Tells of a run: every stage to the run log when it happens, and the sum to the pool's state.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Estimates, PoolState, RunLog};
use crate::clock;
use crate::model::{Loader, Progress};
use crate::protocol::{Event, RunId, Stage, StageEvent, StageStatus};

/// Four progress events a second.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Reports one run.
pub(super) struct Reporter {
    run_log: Arc<dyn RunLog>,
    state: watch::Sender<PoolState>,
    run: RunId,
    /// Knows the device, each time as far as it is known by then.
    loader: Arc<dyn Loader>,
    estimates: Estimates,
    stage: Stage,
    stage_started_ms: u64,
    /// The highest progress that was told of this stage, also by an earlier try.
    high: f32,
    /// Durations of stages that are done.
    pub(super) done: Vec<(Stage, u64)>,
}

impl Reporter {
    pub(super) fn new(
        run_log: Arc<dyn RunLog>,
        state: watch::Sender<PoolState>,
        run: RunId,
        loader: Arc<dyn Loader>,
        estimates: Estimates,
    ) -> Self {
        let stage = Stage::Container;
        Self {
            run_log,
            state,
            run,
            loader,
            estimates,
            stage,
            stage_started_ms: 0,
            high: 0.0,
            done: Vec::new(),
        }
    }

    /// The work of a stage starts, or started at an instant that was measured before.
    pub(super) async fn started(&mut self, stage: Stage, at: Instant) {
        if stage != self.stage {
            self.high = 0.0;
        }
        (self.stage, self.stage_started_ms) = (stage, clock::at_ms(at));
        self.tell(StageStatus::Started, self.stage_started_ms, Progress::default()).await;
    }

    pub(super) async fn progress(&mut self, progress: Progress) {
        self.tell(StageStatus::Progress, clock::now_ms(), progress).await;
    }

    pub(super) async fn done(&mut self, at: Instant, detail: Option<String>) {
        let at_ms = clock::at_ms(at);
        self.done.push((self.stage, at_ms.saturating_sub(self.stage_started_ms)));
        self.tell(StageStatus::Done, at_ms, Progress { fraction: Some(1.0), detail }).await;
    }

    pub(super) async fn failed(&mut self, status: StageStatus, reason: &str) {
        self.tell(status, clock::now_ms(), Progress { fraction: None, detail: Some(reason.to_owned()) })
            .await;
    }

    /// A stage began before this process did, and is told already.
    pub(super) fn joined(&mut self, stage: Stage, started_ms: u64) {
        (self.stage, self.stage_started_ms) = (stage, started_ms);
    }

    /// Anything else that the run says, and the state since then.
    pub(super) async fn event(&self, at_ms: u64, event: Event, state: &PoolState) {
        self.run_log.tell(at_ms, event, state).await;
    }

    async fn tell(&mut self, status: StageStatus, at_ms: u64, progress: Progress) {
        // Progress never goes backwards within a run: a second try says nothing until it is farther
        // than the first one was.
        let fraction = progress.fraction.filter(|fraction| *fraction >= self.high);
        self.high = fraction.unwrap_or(self.high);
        let elapsed_ms = at_ms.saturating_sub(self.stage_started_ms);
        let whole_elapsed = at_ms.saturating_sub(self.state.borrow().started_ms);
        let running = matches!(status, StageStatus::Started | StageStatus::Progress);
        let usual = self.estimates.stages.get(&self.stage).filter(|_| running);
        let device = self.loader.device();
        let event = StageEvent {
            run: self.run.clone(),
            stage: self.stage,
            status,
            device: Some(device.clone()),
            elapsed_ms,
            progress: fraction,
            eta_ms: usual.and_then(|usual| usual.remaining(elapsed_ms)),
            run_eta_ms: self
                .estimates
                .run
                .filter(|_| running)
                .and_then(|usual| usual.remaining(whole_elapsed)),
            detail: progress.detail,
        };
        let before = Stage::ALL.iter().position(|stage| *stage == self.stage).unwrap_or(0) as f32;
        let within = if status == StageStatus::Done { 1.0 } else { self.high };
        let whole = (before + within) / Stage::ALL.len() as f32;
        let mut state = self.state.borrow().clone();
        state.stage = Some(self.stage);
        state.device = device;
        state.progress = state.progress.max(whole.min(1.0));
        self.event(at_ms, Event::Stage(event), &state).await;
        self.state.send_replace(state);
    }
}
