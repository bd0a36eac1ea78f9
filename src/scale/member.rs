//! A worker in the pool: it says that it lives, and tells of the run that it leads.
//!
//! One task speaks, so that what is told keeps its order and a warm-up never waits for Redis. A run is remembered while
//! it lasts and after: a worker that is ready while the pool thinks that nobody is tells it again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::board::{Board, Joined, Worker};
use crate::clock;
use crate::cutout::{Jobs, Pace, RedisJobs};
use crate::protocol::{Event, RunId, Stage, StageStatus, random_name};
use crate::warmup::{Begun, Phase, PoolState, RunLog};

/// A worker says that it lives this often.
const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Between two tries to tell.
const AGAIN: Duration = Duration::from_millis(300);
/// So much may be said and not told yet: more than two runs.
const SAID: usize = 512;

#[derive(Clone, Debug)]
struct Said {
    at_ms: u64,
    event: Event,
    state: PoolState,
}

enum Speech {
    /// A run begins here, and whether this worker leads it.
    Begins {
        leads: bool,
    },
    Said(Box<Said>),
}

/// What a worker says of itself beside its pool's state.
pub struct Life {
    /// When its process started, Unix milliseconds.
    pub started_ms: u64,
    /// Jobs that it may have at once.
    pub at_once: usize,
    /// What it takes for one.
    pub pace: Arc<Pace>,
    /// Those that it has.
    pub jobs: Arc<RedisJobs>,
}

/// A worker of a deployment.
pub struct Member {
    name: String,
    board: Arc<Board>,
    life: Life,
    speech: mpsc::Sender<Speech>,
    said: Mutex<Option<mpsc::Receiver<Speech>>>,
    wanted: watch::Sender<bool>,
    asked: watch::Sender<u64>,
}

impl Member {
    /// Joins nothing yet.
    pub fn new(board: Arc<Board>, life: Life) -> Arc<Self> {
        let (speech, said) = mpsc::channel(SAID);
        Arc::new(Self {
            name: random_name("w_"),
            board,
            life,
            speech,
            said: Mutex::new(Some(said)),
            wanted: watch::Sender::new(true),
            asked: watch::Sender::new(0),
        })
    }

    /// Whether it is among those that are wanted, as far as it knows.
    pub fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.subscribe()
    }

    /// Changes when a run waits for somebody to lead it and this worker isn't warming: it should try once more.
    pub fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// Says that it lives, and what it does, for ever.
    pub async fn live(self: Arc<Self>, state: watch::Receiver<PoolState>) {
        let Some(mut said) = self.said.lock().take() else { return };
        let mut speaker = Speaker { member: Arc::clone(&self), leads: false, told: 0, run: Vec::new() };
        let mut every = tokio::time::interval(BEAT_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            // Cancel safety: what is received is told at once, and a beat is only a beat.
            tokio::select! {
                biased;
                speech = said.recv() => match speech {
                    Some(Speech::Begins { leads }) => {
                        (speaker.leads, speaker.told, speaker.run) = (leads, 0, Vec::new());
                    }
                    Some(Speech::Said(said)) => speaker.say(*said).await,
                    None => return,
                },
                _ = every.tick() => {
                    let now = state.borrow().clone();
                    if speaker.beat(&now, clock::millis(last.elapsed())).await {
                        last = Instant::now();
                    }
                }
            }
        }
    }

    /// The last thing that it does.
    pub async fn leave(&self) {
        if self.board.leave(&self.name).await.is_err() {
            tracing::warn!("going without a word; the pool will miss this worker in a while");
        }
    }

    fn worker(&self, PoolState { phase, weights, .. }: &PoolState) -> Worker {
        let Life { started_ms, at_once, pace, jobs } = &self.life;
        Worker {
            phase: *phase,
            started_ms: *started_ms,
            running: jobs.here(),
            at_once: *at_once,
            usual: pace.measured(),
            weights: weights.clone().filter(|_| *phase == Phase::Ready),
        }
    }
}

#[async_trait]
impl RunLog for Member {
    async fn begin(&self, new: PoolState) -> Begun {
        let joined = self
            .board
            .join(
                &self.name,
                &self.worker(&PoolState { phase: Phase::Warming, ..PoolState::default() }),
                &new,
            )
            .await;
        let leads = matches!(joined, Ok(Joined::Leads(_) | Joined::Began));
        let _ = self.speech.send(Speech::Begins { leads }).await;
        match joined {
            Ok(Joined::Leads(known)) => {
                let woken_ms = known.woken_ms;
                let PoolState { model, device, usual, load_ms, .. } = new;
                let usual = usual.or(known.usual);
                Begun { state: PoolState { model, device, usual, load_ms, ..*known }, woken_ms }
            }
            // Without Redis it warms all the same, and tells of it later.
            Ok(Joined::Began | Joined::Silent) | Err(_) => Begun { state: new, woken_ms: None },
        }
    }

    async fn tell(&self, at_ms: u64, event: Event, state: &PoolState) {
        let said = Speech::Said(Box::new(Said { at_ms, event, state: state.clone() }));
        if self.speech.try_send(said).is_err() {
            tracing::warn!("an event of the run was told to nobody");
        }
    }

    async fn forget(&self) {}
}

struct Speaker {
    member: Arc<Member>,
    leads: bool,
    /// How much it has told since it leads: what is told again, because no answer came, is told once.
    told: u64,
    /// What this worker's run was, without its progress.
    run: Vec<Said>,
}

impl Speaker {
    async fn say(&mut self, said: Said) {
        let passing = matches!(&said.event, Event::Stage(stage) if stage.status == StageStatus::Progress);
        if !passing {
            self.run.push(said.clone());
        }
        if self.leads {
            self.leads = self.tell(&said, passing).await && said.state.phase == Phase::Warming;
        } else if said.state.phase == Phase::Ready {
            self.take_over().await;
        }
    }

    /// False when another one leads the run by now.
    async fn tell(&mut self, said: &Said, passing: bool) -> bool {
        let Said { at_ms, event, state } = said;
        let events = [(*at_ms, event.clone())];
        self.told += 1;
        loop {
            match self.member.board.tell((&self.member.name, self.told), state, &events).await {
                Ok(told) => return told,
                Err(_) if passing => return true,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// True when it was heard.
    async fn beat(&mut self, state: &PoolState, lived_ms: u64) -> bool {
        let member = Arc::clone(&self.member);
        let Ok(beat) = member.board.beat(&member.name, &member.worker(state), lived_ms).await else {
            return false;
        };
        member.wanted.send_if_modified(|wanted| {
            let now = beat.older < beat.wanted;
            std::mem::replace(wanted, now) != now
        });
        let unled = beat.phase == Phase::Warming && beat.lead.is_none();
        match state.phase {
            Phase::Warming if unled || !beat.known => self.take_over().await,
            Phase::Ready if beat.phase != Phase::Ready => self.take_over().await,
            Phase::Failed | Phase::Cold if unled => member.asked.send_modify(|times| *times += 1),
            _ => {}
        }
        true
    }

    /// Leads the run that nobody leads, or a new one, and tells of it what happened here so far.
    async fn take_over(&mut self) {
        let Some(newest) = self.run.last().map(|said| said.state.clone()) else { return };
        let member = Arc::clone(&self.member);
        let new = PoolState { phase: Phase::Warming, run: Some(RunId::random()), ..newest.clone() };
        let (run, joined) = match member.board.join(&member.name, &member.worker(&newest), &new).await {
            Ok(Joined::Leads(known)) => (known.run.clone().or(new.run), Some(known)),
            Ok(Joined::Began) => (new.run, None),
            Ok(Joined::Silent) | Err(_) => return,
        };
        let Some(run) = run else { return };
        for said in &mut self.run {
            said.state.run = Some(run.clone());
            if let Some(joined) = &joined {
                within(said, joined);
            }
            match &mut said.event {
                Event::Stage(stage) => stage.run = run.clone(),
                Event::Ready(ready) => ready.run = run.clone(),
                Event::Problem(problem) => problem.run = Some(run.clone()),
                _ => {}
            }
        }
        let stage = joined.and_then(|joined| joined.stage);
        (self.leads, self.told) = (true, 0);
        for said in self.run.clone() {
            if is_told(&said.event, stage) {
                continue;
            }
            if !self.tell(&said, false).await {
                self.leads = false;
                return;
            }
        }
        self.leads = newest.phase == Phase::Warming;
    }
}

/// Whether it belongs to what a run that has come to this stage has been told by somebody else. Progress never goes
/// backwards within a run.
fn is_told(event: &Event, stage: Option<Stage>) -> bool {
    match (event, stage) {
        (Event::Stage(event), Some(stage)) => {
            event.stage < stage || (event.stage == stage && event.status == StageStatus::Started)
        }
        _ => false,
    }
}

/// Tells what happened here as a part of a run that began elsewhere, perhaps later.
fn within(said: &mut Said, run: &PoolState) {
    let began_ms = run.woken_ms.unwrap_or(run.started_ms);
    (said.state.started_ms, said.state.woken_ms) = (run.started_ms, run.woken_ms);
    if said.at_ms < began_ms {
        said.at_ms = clock::now_ms();
        if let Event::Stage(stage) = &mut said.event
            && stage.stage == Stage::Container
        {
            stage.elapsed_ms = said.at_ms.saturating_sub(began_ms);
        }
    }
    if let Event::Ready(ready) = &mut said.event {
        ready.total_ms = said.at_ms.saturating_sub(run.started_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Ready, StageEvent};

    fn done(stage: Stage, elapsed_ms: u64) -> Event {
        Event::Stage(StageEvent {
            run: RunId::random(),
            stage,
            status: StageStatus::Done,
            device: None,
            elapsed_ms,
            progress: None,
            eta_ms: None,
            run_eta_ms: None,
            detail: None,
        })
    }

    #[test]
    fn what_happened_before_a_run_began_is_told_as_of_now() {
        let now_ms = clock::now_ms();
        let run = PoolState {
            started_ms: now_ms - 900,
            woken_ms: Some(now_ms - 800),
            stage: Some(Stage::Container),
            ..PoolState::default()
        };
        let ready = Event::Ready(Ready {
            run: RunId::random(),
            cold: false,
            total_ms: 300,
            model: String::new(),
            device: String::new(),
        });
        let told = |event| {
            let mut said = Said { at_ms: now_ms - 9000, event, state: PoolState::default() };
            within(&mut said, &run);
            assert!(said.at_ms >= now_ms);
            said.event
        };
        let Event::Stage(container) = told(done(Stage::Container, 40)) else { panic!("a stage") };
        assert!(container.elapsed_ms >= 800, "since the wake");
        let Event::Stage(load) = told(done(Stage::ModelLoad, 40)) else { panic!("a stage") };
        assert_eq!(load.elapsed_ms, 40, "what it took");
        let Event::Ready(ready) = told(ready) else { panic!("ready") };
        assert!(ready.total_ms >= 900, "since the intent");
    }

    #[test]
    fn what_a_run_was_told_is_not_told_again() {
        let started = |stage| match done(stage, 0) {
            Event::Stage(event) => Event::Stage(StageEvent { status: StageStatus::Started, ..event }),
            other => other,
        };
        let upto = Some(Stage::ModelLoad);
        assert!(is_told(&done(Stage::Container, 1), upto) && is_told(&started(Stage::ModelLoad), upto));
        assert!(!is_told(&done(Stage::ModelLoad, 1), upto) && !is_told(&started(Stage::GpuReady), upto));
        assert!(!is_told(&started(Stage::Container), None));
    }
}
