//! One line for each run: who or what triggered it, when, how it ended, which deploy.

use super::{Cause, GOING_AWAY};
use crate::protocol::RunId;

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Ready,
    Failed(String),
    /// The server went away before it could.
    Aborted,
}

impl Outcome {
    /// In a word, for the audit and the metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
            Self::Aborted => "aborted",
        }
    }
}

pub(super) fn run_ended(
    run: &RunId,
    cause: &Cause,
    started_ms: u64,
    ended_ms: u64,
    deploy: &str,
    outcome: &Outcome,
) {
    let reason = match outcome {
        Outcome::Ready => "",
        Outcome::Failed(reason) => reason,
        Outcome::Aborted => GOING_AWAY,
    };
    let outcome = outcome.label();
    let session = cause.session.as_ref().map_or("", |session| session.as_str());
    tracing::info!(
        target: "warmcut::audit",
        %run, trigger = cause.trigger, session, started_ms, ended_ms,
        total_ms = ended_ms.saturating_sub(started_ms), outcome, reason, deploy,
        "warm-up ended"
    );
}
