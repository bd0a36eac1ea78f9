//! One line for each run: who or what triggered it, when, how it ended, which deploy.

use super::{Cause, GOING_AWAY};
use crate::protocol::RunId;

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome<'a> {
    Ready,
    Failed(&'a str),
    /// The server went away before it could.
    Aborted,
}

pub(super) fn run_ended(
    run: &RunId,
    cause: &Cause,
    started_ms: u64,
    ended_ms: u64,
    deploy: &str,
    outcome: &Outcome<'_>,
) {
    let (outcome, reason) = match outcome {
        Outcome::Ready => ("ready", ""),
        Outcome::Failed(reason) => ("failed", *reason),
        Outcome::Aborted => ("aborted", GOING_AWAY),
    };
    let session = cause.session.as_ref().map_or("", |session| session.as_str());
    tracing::info!(
        target: "warmcut::audit",
        %run, trigger = cause.trigger, session, started_ms, ended_ms,
        total_ms = ended_ms.saturating_sub(started_ms), outcome, reason, deploy,
        "warm-up ended"
    );
}
