//! What polling sees: the present of a session's logs, as one object.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Entry, EventKey, Session};
use crate::clock;
use crate::protocol::{Delivery, Eta, Event, Framed, JobId, JobStatus, RunId, SessionId, Stage, UploadId};
use crate::warmup::{Phase, PoolState, warmup_failed};

/// While something moves.
const POLL_BUSY_MS: u64 = 1000;
/// While nothing does.
const POLL_IDLE_MS: u64 = 5000;

/// A session as it is now.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    session: SessionId,
    expires_in_ms: u64,
    last_event_id: Option<String>,
    poll_after_ms: u64,
    /// None when the model is cold and nobody has asked for it.
    run: Option<Run>,
    jobs: Vec<JobNow>,
}

#[derive(Debug, Serialize)]
struct Run {
    run: RunId,
    status: RunStatus,
    stage: Option<Stage>,
    progress: f32,
    elapsed_ms: u64,
    eta_ms: Option<Eta>,
    stages: Vec<Framed>,
    problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum RunStatus {
    Warming,
    Ready,
    Failed,
}

#[derive(Debug, Serialize)]
struct JobNow {
    job: JobId,
    upload: UploadId,
    status: JobStatus,
    position: Option<u32>,
    eta_ms: Option<Eta>,
    preview: Option<Framed>,
    cutout: Option<Framed>,
    problem: Option<Framed>,
}

/// The snapshot that a present makes.
pub fn of(
    session: &Session,
    ttl: Duration,
    present: &[Arc<Entry>],
    last: EventKey,
    state: &PoolState,
    now_ms: u64,
) -> Snapshot {
    let framed = |entry: &Entry| entry.framed(&session.id, session.opened_at_ms, Delivery::Url);
    let jobs = jobs(present, framed);
    let run = run(present, state, now_ms, framed);
    let warming = run.as_ref().is_some_and(|run| run.status == RunStatus::Warming);
    let busy = warming || jobs.iter().any(|job| !job.status.is_end());
    Snapshot {
        session: session.id.clone(),
        expires_in_ms: clock::millis(ttl),
        last_event_id: (last != EventKey::START).then(|| last.to_id(&session.id)),
        poll_after_ms: if busy { POLL_BUSY_MS } else { POLL_IDLE_MS },
        run,
        jobs,
    }
}

/// True when an event is about a job, or about the upload that it was born from.
pub fn is_of_job(event: &Event, id: &JobId) -> bool {
    match event {
        Event::Job(job) => job.job == *id,
        Event::Upload(upload) => upload.job.as_ref() == Some(id),
        Event::Preview(preview) => preview.job == *id,
        Event::Cutout(cutout) => cutout.job == *id,
        _ => false,
    }
}

fn run(
    present: &[Arc<Entry>],
    state: &PoolState,
    now_ms: u64,
    framed: impl Fn(&Entry) -> Framed,
) -> Option<Run> {
    let status = match state.phase {
        Phase::Cold => return None,
        Phase::Warming => RunStatus::Warming,
        Phase::Ready => RunStatus::Ready,
        Phase::Failed => RunStatus::Failed,
    };
    let stages = present.iter().filter(|entry| matches!(entry.event, Event::Stage(_)));
    Some(Run {
        run: state.run.clone()?,
        status,
        stage: state.stage,
        progress: state.progress,
        elapsed_ms: state.elapsed_ms(now_ms),
        eta_ms: state.eta(now_ms),
        stages: stages.map(|entry| framed(entry)).collect(),
        // Why is the operator's.
        problem: state.error.as_ref().map(|_| warmup_failed().message),
    })
}

fn jobs(present: &[Arc<Entry>], framed: impl Fn(&Entry) -> Framed) -> Vec<JobNow> {
    // By the place of the job's last event, so that the order doesn't depend on random names.
    let mut jobs: BTreeMap<EventKey, JobNow> = BTreeMap::new();
    for entry in present {
        if let Event::Job(job) = &entry.event {
            let of_this = |entry: &&Arc<Entry>| match &entry.event {
                Event::Preview(preview) => preview.job == job.job,
                Event::Cutout(cutout) => cutout.job == job.job,
                Event::Problem(problem) => problem.job.as_ref() == Some(&job.job),
                _ => false,
            };
            let mut now = JobNow {
                job: job.job.clone(),
                upload: job.upload.clone(),
                status: job.status,
                position: job.position,
                eta_ms: job.eta_ms,
                preview: None,
                cutout: None,
                problem: None,
            };
            for entry in present.iter().filter(of_this) {
                match &entry.event {
                    Event::Preview(_) => now.preview = Some(framed(entry)),
                    Event::Cutout(_) => now.cutout = Some(framed(entry)),
                    _ => now.problem = Some(framed(entry)),
                }
            }
            jobs.insert(entry.key, now);
        }
    }
    jobs.into_values().collect()
}
