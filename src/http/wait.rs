//! Waiting for a job within a request: the request is its audience, and when it closes the job stops.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::AppState;
use super::uploads::Taken;
use crate::protocol::{Code, CutoutEvent, Event, JobId, JobStatus, Problem, SessionId};
use crate::session::follow::Start;
use crate::session::{EventKey, Followed, Follower};

/// How many requests wait for each job that such a request made. Bounded by the jobs that are live.
pub type Waiters = Mutex<HashMap<JobId, usize>>;

/// Cancels the job when the last request that waits for it is dropped.
struct CancelOnDrop {
    app: AppState,
    job: JobId,
    ended: bool,
}

impl CancelOnDrop {
    /// A job that nobody waited for from its birth belongs to its session's channels, and is left alone.
    fn new(app: &AppState, job: &JobId, made_here: bool) -> Option<Self> {
        let mut waiters = app.waiters.lock();
        match waiters.get_mut(job) {
            Some(count) => *count += 1,
            None if made_here => drop(waiters.insert(job.clone(), 1)),
            None => return None,
        }
        Some(Self { app: Arc::clone(app), job: job.clone(), ended: false })
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let mut waiters = self.app.waiters.lock();
        let left = waiters.get_mut(&self.job).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left > 0 {
            return;
        }
        waiters.remove(&self.job);
        if !self.ended {
            let (app, job) = (Arc::clone(&self.app), self.job.clone());
            self.app.tracker.spawn(async move { app.jobs.cancel(&job).await });
        }
    }
}

/// The cutout of a job, or the problem that ended it.
pub(super) async fn for_cutout(
    app: &AppState,
    session: &SessionId,
    taken: &Taken,
) -> Result<CutoutEvent, Problem> {
    let mut guard = CancelOnDrop::new(app, &taken.job, taken.made_here);
    let ended = follow(app, session, &taken.job).await;
    if let Some(guard) = &mut guard {
        guard.ended = true;
    }
    ended
}

async fn follow(app: &AppState, session: &SessionId, job: &JobId) -> Result<CutoutEvent, Problem> {
    let expired = |_| Problem::new(Code::SessionExpired, "the session expired before the cutout was done");
    let start = Start::After(EventKey::START);
    let mut follower =
        Follower::start(Arc::clone(&app.logs), session.clone(), start).await.map_err(expired)?.unbounded();
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
