//! Sees to it that as many machines are awake as are wanted: one of the gateways, for all of them.
//!
//! The container stage is told here: it starts when a machine is woken, and a worker that comes up ends it. A wake that
//! fails, or after which nobody comes, is tried again, and then the run has failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::board::{Board, Look};
use super::demand::{Demand, Sizing};
use crate::clock;
use crate::cutout::Pace;
use crate::protocol::{Event, RunId, Stage, StageEvent, StageStatus, random_name};
use crate::warmup::{Estimates, History, Outcome, Phase, PoolState, run_ended, warmup_failed};

/// Looks this often, and at once when the pool says that something happened.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A gateway that is the keeper and hasn't looked for so long is dead, and another one is.
const KEEPS: Duration = Duration::from_secs(4);
/// A machine is woken so often for a run.
const TRIES: u32 = 3;
/// Before the second try, doubled before each further one.
const BACKOFF: Duration = Duration::from_secs(1);
/// However often it failed, the next try is no later than this.
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// What is heard of a wake.
#[derive(Debug)]
pub enum Heard {
    /// The machine answers.
    Alive,
    /// It ended as it should.
    Ended,
    /// The machine can't be woken.
    Failed {
        /// The launch that it was.
        launch: String,
        /// Why.
        reason: String,
    },
    /// What started it or was it ended otherwise than it should.
    Died {
        /// The launch that it was.
        launch: String,
        /// How.
        reason: String,
    },
}

/// A way to wake machines.
pub trait Means: Send {
    /// How many more wakes it takes until as many machines are awake as are wanted, of which so many are there or
    /// on their way.
    fn missing(&mut self, wanted: usize, here: usize) -> usize;

    /// Wakes one.
    fn wake(&mut self, launch: String, heard: mpsc::Sender<Heard>);

    /// No more are wanted than so many.
    fn keep(&mut self, wanted: usize);

    /// Nobody came: gives up what is under way.
    fn start_over(&mut self);
}

/// For an autoscaler that asks for the demand by itself.
pub struct Elsewhere;

impl Means for Elsewhere {
    fn missing(&mut self, _: usize, _: usize) -> usize {
        0
    }
    fn wake(&mut self, _: String, _: mpsc::Sender<Heard>) {}
    fn keep(&mut self, _: usize) {}
    fn start_over(&mut self) {}
}

/// The container stage of a run.
struct Waking {
    state: PoolState,
    tries: u32,
    since: Instant,
}

/// One of the gateways.
pub struct Keeper {
    name: String,
    board: Arc<Board>,
    history: Arc<dyn History>,
    pace: Arc<Pace>,
    means: Box<dyn Means>,
    sizing: Sizing,
    /// The next intent may try again so long after a run has failed.
    cooldown: Duration,
    deploy: String,
    keeps: watch::Sender<bool>,
    waking: Option<Waking>,
    /// Wakes that failed one after another, and when the next is due.
    failures: u32,
    not_before: Instant,
    /// Launches that had come up when this gateway looked last.
    arrived: Option<u64>,
    /// The run whose end it counts.
    counts: Option<RunId>,
    heard: (mpsc::Sender<Heard>, mpsc::Receiver<Heard>),
    news: watch::Receiver<u64>,
}

impl Keeper {
    /// Keeps the machines of a board's deployment awake, whenever it is this gateway's turn.
    pub fn new(
        board: Arc<Board>,
        history: Arc<dyn History>,
        pace: Arc<Pace>,
        (means, sizing): (Box<dyn Means>, Sizing),
        (cooldown, deploy): (Duration, String),
    ) -> Self {
        Self {
            news: board.news(),
            name: random_name("g_"),
            board,
            history,
            pace,
            means,
            sizing,
            cooldown,
            deploy,
            keeps: watch::Sender::new(false),
            waking: None,
            failures: 0,
            not_before: Instant::now(),
            arrived: None,
            counts: None,
            heard: mpsc::channel(64),
        }
    }

    /// Whether it is this gateway's turn.
    pub fn keeps(&self) -> watch::Receiver<bool> {
        self.keeps.subscribe()
    }

    /// Until this gateway goes.
    pub async fn run(mut self, draining: CancellationToken) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Cancel safety: all of these only wait; what was heard is handled at once.
            tokio::select! {
                () = draining.cancelled() => break,
                Ok(()) = self.news.changed() => {}
                _ = every.tick() => {}
                Some(heard) = self.heard.1.recv() => self.hear(heard).await,
            }
            self.step().await;
        }
        self.means.keep(0);
        if *self.keeps.borrow() {
            // Another one needn't wait until this one is missed.
            let _ = self.sizing.look(&self.board, Some((&self.name, 1))).await;
        }
    }

    async fn step(&mut self) {
        let keeper = Some((self.name.as_str(), clock::millis(KEEPS)));
        // What is awake stays so while nobody can say what is wanted.
        let Ok(look) = self.sizing.look(&self.board, keeper).await else { return };
        self.keeps.send_if_modified(|keeps| std::mem::replace(keeps, look.keeps) != look.keeps);
        let demand = self.sizing.demand(&look);
        tell_metrics(&look, &demand);
        let paces = look.workers.iter().filter_map(|worker| Some((worker.usual?, worker.at_once)));
        self.pace.learn(&paces.collect::<Vec<_>>());
        let came = self.arrived.replace(look.arrived).map_or(0, |before| look.arrived.saturating_sub(before));
        if !look.keeps {
            self.means.keep(0);
            self.waking = None;
            return;
        }
        metrics::counter!("warmcut_wakes_total", "outcome" => "alive").increment(came);
        self.count_end(&look.state);
        let _ = self.board.set_wanted(demand.wanted).await;
        metrics::counter!("warmcut_wakes_total", "outcome" => "stalled").increment(look.stalled as u64);
        self.means.keep(demand.wanted);
        let unled = look.state.phase == Phase::Warming && !look.led;
        if unled {
            self.begin_waking(&look).await;
        } else {
            self.waking = None;
        }
        let limit = self.sizing.limit;
        if self.waking.as_ref().is_some_and(|waking| waking.since.elapsed() >= limit) {
            self.means.start_over();
            let _ = self.board.give_up_all().await;
            metrics::counter!("warmcut_wakes_total", "outcome" => "stalled").increment(1);
            self.try_again(format!("no worker came up within {limit:?} of the wake")).await;
            return;
        }
        if Instant::now() >= self.not_before {
            self.wake(demand.wanted, look.workers.len() + look.launches).await;
        }
    }

    /// Counts the end of a run, whoever led it: a worker may be gone before anybody asks it for its counters.
    fn count_end(&mut self, state: &PoolState) {
        let outcome = match state.phase {
            Phase::Ready => "ready",
            Phase::Failed => "failed",
            Phase::Cold => return,
            Phase::Warming => return self.counts.clone_from(&state.run),
        };
        if self.counts.is_some() && self.counts == state.run {
            metrics::counter!("warmcut_warmups_total", "outcome" => outcome).increment(1);
            self.counts = None;
        }
    }

    async fn wake(&mut self, wanted: usize, here: usize) {
        let fresh = wanted.saturating_sub(here);
        for n in 0..self.means.missing(wanted, here) {
            let launch = random_name("l_");
            // One that merely keeps a machine awake wakes nobody.
            if n < fresh && self.board.launch(&launch).await.is_err() {
                return;
            }
            metrics::counter!("warmcut_wakes_total", "outcome" => "sent").increment(1);
            self.means.wake(launch, self.heard.0.clone());
        }
    }

    async fn begin_waking(&mut self, look: &Look) {
        let run = &look.state.run;
        if self.waking.as_ref().is_some_and(|waking| waking.state.run == *run) {
            return;
        }
        let (state, now_ms) = (look.state.clone(), clock::now_ms());
        self.waking = Some(Waking { state: state.clone(), tries: 0, since: Instant::now() });
        // What failed before is no reason to let this run's shoppers wait.
        (self.failures, self.not_before) = (0, Instant::now());
        match state.stage {
            // Another gateway has told it, and went.
            Some(Stage::Container) => {}
            None => {
                let state = PoolState { started_ms: now_ms, woken_ms: Some(now_ms), ..state };
                self.tell(state, StageStatus::Started, now_ms, None).await;
            }
            Some(stage) => {
                let detail = format!("the worker was lost during {}; another one takes over", stage.as_str());
                let state = PoolState { woken_ms: Some(now_ms), ..state };
                self.tell(state, StageStatus::Retrying, now_ms, Some(detail)).await;
            }
        }
    }

    async fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Alive => {
                self.failures = 0;
            }
            Heard::Ended => {}
            Heard::Died { launch, reason } if self.board.give_up(&launch).await == Ok(false) => {
                tracing::warn!(reason, "a worker that had come up is gone");
            }
            Heard::Failed { launch, reason } | Heard::Died { launch, reason } => {
                metrics::counter!("warmcut_wakes_total", "outcome" => "failed").increment(1);
                tracing::warn!(reason, "a worker can't be woken");
                let _ = self.board.give_up(&launch).await;
                self.failures = self.failures.saturating_add(1);
                let wait = BACKOFF.saturating_mul(1 << (self.failures - 1).min(8)).min(BACKOFF_MOST);
                self.not_before = Instant::now() + wait;
                self.try_again(reason).await;
            }
        }
    }

    /// A try to wake a machine for a run has failed.
    async fn try_again(&mut self, reason: String) {
        let Some(waking) = &mut self.waking else { return };
        waking.tries += 1;
        waking.since = Instant::now();
        let (tries, state, now_ms) = (waking.tries, waking.state.clone(), clock::now_ms());
        if tries < TRIES {
            // Why is the operator's to know, and in the log.
            let detail = format!("try {tries} of {TRIES} failed");
            self.tell(state, StageStatus::Retrying, now_ms, Some(detail)).await;
            return;
        }
        self.waking = None;
        self.failures = 0;
        let error = Some("no worker came up".to_owned());
        let failed =
            PoolState { phase: Phase::Failed, ended_ms: Some(now_ms), error: error.clone(), ..state };
        if self.tell(failed.clone(), StageStatus::Failed, now_ms, error).await {
            run_ended(&failed, now_ms, &self.deploy, &Outcome::Failed(reason));
        }
    }

    /// False when a worker leads the run by now.
    async fn tell(
        &mut self,
        state: PoolState,
        status: StageStatus,
        at_ms: u64,
        detail: Option<String>,
    ) -> bool {
        let Estimates { stages, run: usual } = self.history.estimates(&state.kind(), true).await;
        let since = state.woken_ms.unwrap_or(at_ms);
        let elapsed_ms = at_ms.saturating_sub(since);
        let running = status == StageStatus::Started;
        let event = StageEvent {
            run: state.run.clone().unwrap_or_else(RunId::random),
            stage: Stage::Container,
            status,
            device: None,
            elapsed_ms,
            progress: None,
            eta_ms: stages
                .get(&Stage::Container)
                .filter(|_| running)
                .and_then(|usual| usual.remaining(elapsed_ms)),
            run_eta_ms: usual.filter(|_| running).and_then(|usual| usual.remaining(state.elapsed_ms(at_ms))),
            detail,
        };
        let mut events = vec![(at_ms, Event::Stage(event))];
        if let (Phase::Failed, Some(run)) = (state.phase, &state.run) {
            events.push((
                at_ms,
                Event::Problem(warmup_failed().about_run(run).retry_after(self.cooldown.as_secs())),
            ));
        }
        let state = PoolState { stage: Some(Stage::Container), usual, ..state };
        if let Some(waking) = &mut self.waking {
            waking.state = state.clone();
        }
        self.board.tell(("", 0), &state, &events).await.unwrap_or(false)
    }
}

fn tell_metrics(look: &Look, demand: &Demand) {
    metrics::gauge!("warmcut_sessions").set(look.sessions as f64);
    metrics::gauge!("warmcut_jobs_waiting").set(demand.waiting_jobs as f64);
    metrics::gauge!("warmcut_jobs_running").set(look.jobs.saturating_sub(demand.waiting_jobs) as f64);
    let workers = [("wanted", demand.wanted), ("alive", demand.workers), ("ready", demand.ready)];
    for (state, count) in workers {
        metrics::gauge!("warmcut_workers", "state" => state).set(count as f64);
    }
    let left = [("wakes", demand.budget_left.wakes), ("gpu_seconds", demand.budget_left.gpu_seconds)];
    for (kind, amount) in left {
        metrics::gauge!("warmcut_budget_left", "kind" => kind).set(amount as f64);
    }
}
