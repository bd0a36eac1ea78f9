//! Warm-up: from nothing to a model that has proven itself, told as it happens.
//!
//! One run at a time, shared by everybody who waits for it. Each stage is reported when its work
//! starts and when it is done; nothing is timed by guess. A run that fails leaves the server up and
//! says why, and the next intent tries again.
//!
//! The room must not know HTTP or what a session is; it writes to the run log and knows a session only
//! as a name in the audit.

mod audit;
mod history;
mod local;
pub mod process;
mod report;
mod run;
mod run_log;
mod validation;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::model::{Fingerprint, Precision};
use crate::protocol::{Code, Eta, Problem, RunId, SessionId, Stage};

pub(crate) use audit::{Outcome, run_ended};
pub(crate) use history::{Durations, KEPT};
pub use history::{Estimates, History, OwnHistory, Percentiles};
pub use local::{LocalPool, Settings};
pub use run_log::{Begun, OwnRunLog, RunLog};
pub use validation::{Answer, Known, in_range};

/// Why there is no model when the server ends; nobody's failure.
const GOING_AWAY: &str = "the server is going away";

/// Who or what wants the model.
#[derive(Clone, Debug)]
pub struct Cause {
    /// `start`, `warmup`, `cutouts`, or a shopper's trigger such as `hover`.
    pub trigger: String,
    /// The session, if it was one.
    pub session: Option<SessionId>,
    /// A person asked for it, so a recent failure is no reason to wait.
    pub explicit: bool,
}

impl Cause {
    /// Something of the server's own, or of its operator.
    pub fn explicit(trigger: &str) -> Self {
        Self { trigger: trigger.to_owned(), session: None, explicit: true }
    }
}

/// Where the model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not loaded, and nobody asked.
    #[default]
    Cold,
    /// A run is under way.
    Warming,
    /// A real inference gave the known answer.
    Ready,
    /// The last run failed.
    Failed,
}

/// Everything that may be said of the model and its last run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolState {
    /// Where it is.
    pub phase: Phase,
    /// The latest run.
    pub run: Option<RunId>,
    /// Who or what triggered it.
    pub trigger: String,
    /// The session that did, if it was one.
    pub session: Option<SessionId>,
    /// Its current or last stage.
    pub stage: Option<Stage>,
    /// 0 to 1, of the whole run; never goes backwards within it.
    pub progress: f32,
    /// When its first stage started, Unix milliseconds.
    pub started_ms: u64,
    /// When a machine was woken for it; none where one was there.
    pub woken_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// What a run like it takes.
    pub usual: Option<Percentiles>,
    /// Why it failed.
    pub error: Option<String>,
    /// The model's name.
    pub model: String,
    /// What it runs on.
    pub device: String,
    /// What it computes in; as long as it isn't there, what the CPU does.
    pub dtype: Precision,
    /// How long `model_load` took the last time, in milliseconds.
    pub load_ms: Option<u64>,
    /// Bytes of weights in memory; 0 when none are.
    pub model_bytes: u64,
    /// The weights that are ready or will be, where this process knows them: not before its first load, nor when an
    /// operator has unloaded them. Each process finds it out by itself.
    #[serde(skip)]
    pub weights: Option<Fingerprint>,
}

impl PoolState {
    /// What history knows runs like its own by: the model and what it runs on.
    pub(crate) fn kind(&self) -> String {
        format!("{} {}", self.model, self.device)
    }

    /// How long the latest run took or has taken, in milliseconds.
    pub fn elapsed_ms(&self, now_ms: u64) -> u64 {
        self.ended_ms.unwrap_or(now_ms).saturating_sub(self.started_ms)
    }

    /// Until ready; none when it is, when too few runs were measured, or past their p90.
    pub fn eta(&self, now_ms: u64) -> Option<Eta> {
        if self.phase != Phase::Warming {
            return None;
        }
        self.usual?.remaining(self.elapsed_ms(now_ms))
    }
}

/// Why there will be no model for now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It failed a moment ago; trying again at once would only fail again.
    #[error("the last warm-up failed: {reason}; the next one may start in {retry_after_ms} ms")]
    Cooling {
        /// The run that failed.
        run: Option<RunId>,
        /// Why it did.
        reason: String,
        /// When another may start.
        retry_after_ms: u64,
    },
    /// A run is under way, so there is nothing to unload.
    #[error("a warm-up is under way; unload when it has ended")]
    Warming,
    /// The server is going away.
    #[error("{GOING_AWAY}")]
    Draining,
    /// It has none to drop.
    #[error("a gateway has no model; workers go by themselves when nobody has wanted them for their --idle")]
    NotHere,
    /// Today's warm-ups are used up, or kept for shoppers who send a photo.
    #[error(
        "today's budget of {kind} is spent as far as this may spend it; another day begins in {retry_after_ms} ms"
    )]
    Spent {
        /// Of what.
        kind: &'static str,
        /// When there is another.
        retry_after_ms: u64,
    },
    /// What the machines share can't be reached.
    #[error("the machines that hold the model can't be asked just now; try again in a few seconds")]
    Unavailable,
}

impl PoolError {
    /// What a client is told.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Cooling { run, retry_after_ms, .. } => {
                let problem = warmup_failed().retry_after(retry_after_ms.div_ceil(1000));
                Problem { run: run.clone(), ..problem }
            }
            Self::Warming => Problem::new(Code::RateLimited, self.to_string()),
            Self::Draining => Problem::new(Code::Draining, self.to_string()),
            Self::NotHere => Problem::new(Code::BadRequest, self.to_string()),
            Self::Spent { retry_after_ms, .. } => {
                Problem::new(Code::RateLimited, self.to_string()).retry_after(retry_after_ms.div_ceil(1000))
            }
            Self::Unavailable => Problem::new(Code::Unavailable, self.to_string()),
        }
    }
}

/// What a client is told of a run that failed. Why it did is the operator's: it names files, tensors and drivers, and
/// stands in the log and in `last_error`.
pub fn warmup_failed() -> Problem {
    Problem::new(Code::WarmupFailed, "the model could not be made ready; try again in a few minutes")
}

/// The machines that hold the model; in one process, this process.
#[async_trait]
pub trait Pool: Send + Sync + 'static {
    /// The run that is under way or that got the model ready; a new one if there is none.
    async fn ensure_warm(&self, cause: Cause) -> Result<RunId, PoolError>;

    /// Where the model is now, and every change after.
    fn follow(&self) -> watch::Receiver<PoolState>;

    /// Drops the model and gives its memory back. True when there was one.
    async fn unload(&self, why: Unload) -> Result<bool, PoolError>;
}

/// Why a model is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unload {
    /// Nobody needed it. The next load will find the same weights, so what they made is still theirs.
    Idle,
    /// An operator wants it, perhaps for new weights.
    Request,
}
