//! One line for each run: who or what triggered it, when, how it ended, which deploy.

use super::{GOING_AWAY, PoolState};

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Ready,
    Failed(String),
    /// The server went away before it could.
    Aborted,
}

impl Outcome {
    /// In a word, for the audit and the metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
            Self::Aborted => "aborted",
        }
    }
}

/// Writes the line.
pub(crate) fn run_ended(run: &PoolState, ended_ms: u64, deploy: &str, outcome: &Outcome) {
    let reason = match outcome {
        Outcome::Ready => "",
        Outcome::Failed(reason) => reason,
        Outcome::Aborted => GOING_AWAY,
    };
    let outcome = outcome.label();
    let PoolState { run, trigger, session, started_ms, .. } = run;
    tracing::info!(
        target: "warmcut::audit",
        run = run.as_ref().map_or("", |run| run.as_str()), trigger,
        session = session.as_ref().map_or("", |session| session.as_str()), started_ms, ended_ms,
        total_ms = ended_ms.saturating_sub(*started_ms), outcome, reason, deploy,
        "warm-up ended"
    );
}
