//! Waiting for a job within a request: the request is its audience, and when it closes the job stops.

use std::sync::Arc;

use super::AppState;
use crate::protocol::{Code, CutoutEvent, Event, JobId, JobStatus, Problem, SessionId};
use crate::session::follow::Start;
use crate::session::{EventKey, Followed, Follower};

/// Cancels the job when the request that waits for it is dropped.
struct CancelOnDrop {
    app: AppState,
    job: Option<JobId>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            let app = Arc::clone(&self.app);
            self.app.tracker.spawn(async move { app.jobs.cancel(&job).await });
        }
    }
}

/// The cutout of a job, or the problem that ended it.
pub(super) async fn for_cutout(
    app: &AppState,
    session: &SessionId,
    job: &JobId,
) -> Result<CutoutEvent, Problem> {
    let mut guard = CancelOnDrop { app: Arc::clone(app), job: Some(job.clone()) };
    let ended = follow(app, session, job).await;
    guard.job = None;
    ended
}

async fn follow(app: &AppState, session: &SessionId, job: &JobId) -> Result<CutoutEvent, Problem> {
    let expired = |_| Problem::new(Code::SessionExpired, "the session expired before the cutout was done");
    let start = Start::After(EventKey::START);
    let mut follower =
        Follower::start(Arc::clone(&app.logs), session.clone(), start).await.map_err(expired)?;
    let mut why = None;
    loop {
        let entry = match follower.next().await.map_err(expired)? {
            Followed::Entry(entry) => entry,
            Followed::Reset | Followed::TooSlow => continue,
        };
        match &entry.event {
            Event::Cutout(cutout) if cutout.job == *job => return Ok(cutout.as_ref().clone()),
            Event::Problem(problem) if problem.job.as_ref() == Some(job) => why = Some(problem.clone()),
            Event::Job(moved) if moved.job == *job && moved.status.is_end() => {
                let canceled = || Problem::new(Code::Canceled, "the job was canceled").about_job(job);
                let unknown =
                    || Problem::new(Code::JobFailed, "the photo could not be cut out").about_job(job);
                return Err(match moved.status {
                    JobStatus::Canceled => canceled(),
                    _ => why.unwrap_or_else(unknown),
                });
            }
            _ => {}
        }
    }
}
