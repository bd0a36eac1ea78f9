//! The pool's record in Redis: what may be done to it, each in one step.

use std::sync::Arc;

use redis::Script;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::engine::{Engine, Subscription, Unreachable, script};
use crate::model::Fingerprint;
use crate::protocol::{Event, RunId};
use crate::session::redis_logs::{self, LOG, run_bounds};
use crate::warmup::{Percentiles, Phase, PoolState};

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) phase: Phase,
    /// When its process started, Unix milliseconds.
    pub(super) started_ms: u64,
    /// Jobs that it has now.
    pub(super) running: usize,
    /// Jobs that it may have at once.
    pub(super) at_once: usize,
    /// What a job takes it.
    pub(super) usual: Option<Percentiles>,
    /// The weights that it has ready; none when it has none, or is of a version that doesn't say.
    #[serde(default)]
    pub(super) weights: Option<Fingerprint>,
}

/// What became of a wish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A run is under way, or got the model ready.
    Known,
    Begun,
    Cooling {
        left_ms: u64,
    },
    Spent {
        kind: &'static str,
        left_ms: u64,
    },
}

/// What a worker has to do with a run.
#[derive(Debug)]
pub(super) enum Joined {
    /// It leads one that began elsewhere.
    Leads(Box<PoolState>),
    /// It leads the one that it proposed.
    Began,
    /// Somebody else leads, or a worker is ready.
    Silent,
}

/// What a worker hears when it says that it lives.
#[derive(Debug)]
pub(super) struct Beat {
    /// False when it was thought to be dead.
    pub(super) known: bool,
    pub(super) phase: Phase,
    /// Who leads the run; none when nobody does.
    pub(super) lead: Option<String>,
    /// How many workers are wanted.
    pub(super) wanted: usize,
    /// How many are older than this one.
    pub(super) older: usize,
}

/// What is wanted and what there is.
#[derive(Debug)]
pub(super) struct Look {
    /// This gateway keeps the machines.
    pub(super) keeps: bool,
    pub(super) state: PoolState,
    /// A worker leads the run.
    pub(super) led: bool,
    pub(super) waiting_sessions: usize,
    pub(super) jobs: usize,
    /// Machines that were woken and have not come up.
    pub(super) launches: usize,
    /// Spent today.
    pub(super) wakes: u64,
    pub(super) gpu_ms: u64,
    /// Launches that were given up just now.
    pub(super) stalled: usize,
    pub(super) sessions: usize,
    /// Launches that have come up since the deployment's beginning.
    pub(super) arrived: u64,
    pub(super) workers: Vec<Worker>,
}

struct Scripts {
    want: Script,
    tell: Script,
    join: Script,
    beat: Script,
    leave: Script,
    demand: Script,
    launch: Script,
    wanted: Script,
}

/// The pool's record.
pub struct Board {
    engine: Arc<Engine>,
    scripts: Scripts,
    news: Arc<watch::Sender<u64>>,
    _subscription: Subscription,
}

fn phase(text: &str) -> Phase {
    serde_json::from_value(text.into()).unwrap_or_default()
}

fn phase_text(phase: Phase) -> &'static str {
    match phase {
        Phase::Cold => "cold",
        Phase::Warming => "warming",
        Phase::Ready => "ready",
        Phase::Failed => "failed",
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A state as it is kept, with the phase that the record has beside it.
fn state(kept: &str, phase: Phase) -> PoolState {
    let state = serde_json::from_str(kept).unwrap_or_default();
    let error = |state: &PoolState| state.error.clone().filter(|_| phase != Phase::Cold);
    PoolState { phase, error: error(&state), ..state }
}

/// The weights of all workers that are ready; none where they differ, as while new ones are rolled out.
fn agreed(workers: &[Worker]) -> Option<Fingerprint> {
    let mut ready =
        workers.iter().filter(|worker| worker.phase == Phase::Ready).map(|worker| &worker.weights);
    let first = ready.next()?.as_ref()?;
    ready.all(|weights| weights.as_ref() == Some(first)).then(|| first.clone())
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

fn count(text: &str) -> usize {
    text.parse().unwrap_or_default()
}

impl Board {
    /// The record of an engine's deployment.
    pub async fn new(engine: Arc<Engine>) -> Arc<Self> {
        let with_shared = |source| script(&[LOG, include_str!("shared.lua"), source]);
        let scripts = Scripts {
            want: with_shared(include_str!("want.lua")),
            tell: with_shared(include_str!("tell.lua")),
            join: with_shared(include_str!("join.lua")),
            beat: with_shared(include_str!("beat.lua")),
            leave: with_shared(include_str!("leave.lua")),
            demand: with_shared(include_str!("demand.lua")),
            launch: with_shared(include_str!("launch.lua")),
            wanted: with_shared(include_str!("wanted.lua")),
        };
        let news = Arc::new(watch::Sender::new(0));
        let heard = Arc::clone(&news);
        let channel = engine.keys().of("pool", "news");
        let subscription =
            engine.wakes().subscribe(channel, move |_| heard.send_modify(|times| *times += 1)).await;
        Arc::new(Self { engine, scripts, news, _subscription: subscription })
    }

    /// Changes when the record does.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Where the model is, and with which weights.
    pub(super) async fn state(&self) -> Result<PoolState, Unreachable> {
        let mut pipe = redis::pipe();
        pipe.cmd("HMGET").arg(self.engine.keys().the("pool")).arg(&["phase", "state"]);
        pipe.cmd("HVALS").arg(self.engine.keys().of("pool", "workers"));
        type Kept = (Option<String>, Option<String>);
        let ((known, kept), workers): (Kept, Vec<String>) = self.engine.ask(&pipe).await?;
        let workers: Vec<Worker> =
            workers.iter().filter_map(|said| serde_json::from_str(said).ok()).collect();
        let state = state(&kept.unwrap_or_default(), phase(&known.unwrap_or_default()));
        let weights = agreed(&workers).filter(|_| state.phase == Phase::Ready);
        Ok(PoolState { weights, ..state })
    }

    /// Somebody wants the model. Answers what became of that, and where the model is then.
    pub(super) async fn want(
        &self,
        who: &str,
        (explicit, cooldown_ms): (bool, u64),
        (wakes, gpu_ms): (u64, u64),
        new: &PoolState,
    ) -> Result<(Wanted, PoolState), Unreachable> {
        let mut call = self.engine.call(&self.scripts.want);
        call.arg(who).arg(u8::from(explicit)).arg(cooldown_ms).arg(wakes).arg(gpu_ms);
        call.arg(run_of(new)).arg(json(new));
        let answer: Vec<String> = self.engine.run(&call).await?;
        let field = |n: usize| answer.get(n).map(String::as_str).unwrap_or_default();
        let wanted = match field(2) {
            "begun" => Wanted::Begun,
            "cooling" => Wanted::Cooling { left_ms: number(field(3)) },
            "spent" => {
                let kind = if field(3) == "wakes" { "wakes" } else { "GPU time" };
                Wanted::Spent { kind, left_ms: number(field(4)) }
            }
            _ => Wanted::Known,
        };
        Ok((wanted, state(field(1), phase(field(0)))))
    }

    /// Tells of a run, for its leader: a worker, or the keeper while there is none. False, and nothing is told, when
    /// that is somebody else by now. A leader that may have to say it twice numbers what it says, from 1; else 0.
    pub(super) async fn tell(
        &self,
        (lead, number): (&str, u64),
        state: &PoolState,
        events: &[(u64, Event)],
    ) -> Result<bool, Unreachable> {
        let mut call = self.engine.call(&self.scripts.tell);
        call.arg(lead).arg(run_of(state)).arg(phase_text(state.phase)).arg(json(state)).arg(run_bounds());
        call.arg(number);
        for (at_ms, event) in events {
            redis_logs::tell(&mut call, *at_ms, event);
        }
        Ok(self.engine.run::<u8>(&call).await? == 1)
    }

    /// A worker asks for a run to lead; by force when it is ready.
    pub(super) async fn join(
        &self,
        worker: &str,
        said: &Worker,
        new: &PoolState,
    ) -> Result<Joined, Unreachable> {
        let mut call = self.engine.call(&self.scripts.join);
        call.arg(worker).arg(json(said)).arg(u8::from(said.phase == Phase::Ready));
        call.arg(run_of(new)).arg(json(new));
        let answer: Vec<String> = self.engine.run(&call).await?;
        Ok(match answer.first().map(String::as_str) {
            Some("leads") => Joined::Leads(Box::new(state(
                answer.get(1).map(String::as_str).unwrap_or_default(),
                Phase::Warming,
            ))),
            Some("began") => Joined::Began,
            _ => Joined::Silent,
        })
    }

    /// A worker lives, as it has for so long since it last said so.
    pub(super) async fn beat(&self, worker: &str, said: &Worker, lived_ms: u64) -> Result<Beat, Unreachable> {
        let mut call = self.engine.call(&self.scripts.beat);
        call.arg(worker).arg(json(said)).arg(lived_ms);
        let [known, pool, lead, wanted, older]: [String; 5] = self.engine.run(&call).await?;
        Ok(Beat {
            known: known == "1",
            phase: phase(&pool),
            lead: Some(lead).filter(|lead| !lead.is_empty()),
            wanted: count(&wanted),
            older: count(&older),
        })
    }

    /// A worker goes.
    pub(super) async fn leave(&self, worker: &str) -> Result<(), Unreachable> {
        let mut call = self.engine.call(&self.scripts.leave);
        call.arg(worker);
        self.engine.run::<u8>(&call).await.map(drop)
    }

    /// Looks at what is wanted and what there is, and asks to keep the machines for so long if `keeper` is given.
    pub(super) async fn look(
        &self,
        keeper: Option<(&str, u64)>,
        linger_ms: u64,
        limit_ms: u64,
    ) -> Result<Look, Unreachable> {
        let mut call = self.engine.call(&self.scripts.demand);
        let (name, keeps_ms) = keeper.unwrap_or_default();
        call.arg(name).arg(keeps_ms).arg(linger_ms).arg(limit_ms);
        let answer: Vec<String> = self.engine.run(&call).await?;
        let field = |n: usize| answer.get(n).map(String::as_str).unwrap_or_default();
        let workers = answer.iter().skip(13).filter_map(|said| serde_json::from_str(said).ok()).collect();
        Ok(Look {
            keeps: field(0) == "1",
            state: state(field(4), phase(field(1))),
            led: !field(3).is_empty(),
            waiting_sessions: count(field(5)),
            jobs: count(field(6)),
            launches: count(field(7)),
            wakes: number(field(8)),
            gpu_ms: number(field(9)),
            stalled: count(field(10)),
            sessions: count(field(11)),
            arrived: number(field(12)),
            workers,
        })
    }

    /// How many workers are wanted, for workers to know.
    pub(super) async fn set_wanted(&self, wanted: usize) -> Result<(), Unreachable> {
        let mut call = self.engine.call(&self.scripts.wanted);
        call.arg(wanted);
        self.engine.run::<u8>(&call).await.map(drop)
    }

    /// A machine is about to be woken.
    pub(super) async fn launch(&self, launch: &str) -> Result<(), Unreachable> {
        let mut call = self.engine.call(&self.scripts.launch);
        call.arg(launch);
        self.engine.run::<u8>(&call).await.map(drop)
    }

    /// It can't be. True when none has come up in its place.
    pub(super) async fn give_up(&self, launch: &str) -> Result<bool, Unreachable> {
        let mut pipe = redis::pipe();
        pipe.cmd("ZREM").arg(self.engine.keys().of("pool", "launches")).arg(launch);
        let (waited,): (u8,) = self.engine.ask(&pipe).await?;
        Ok(waited == 1)
    }

    /// None of those that are under way is waited for any more.
    pub(super) async fn give_up_all(&self) -> Result<(), Unreachable> {
        let mut pipe = redis::pipe();
        pipe.cmd("DEL").arg(self.engine.keys().of("pool", "launches")).ignore();
        self.engine.ask(&pipe).await
    }
}

fn run_of(state: &PoolState) -> &str {
    state.run.as_ref().map(RunId::as_str).unwrap_or_default()
}
