//! Waiting for a job within a request: the request is its audience, and when it closes the job stops.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::AppState;
use super::uploads::Taken;
use crate::cutout::Jobs;
use crate::protocol::{Code, CutoutEvent, Event, JobId, JobStatus, Problem, SessionId};
use crate::session::follow::Start;
use crate::session::{Followed, Follower, LogError, Logs};

/// So often a request that waits looks whether its job is still there.
const LOOK: Duration = Duration::from_secs(1);
/// A job that isn't there at so many looks in a row has ended, and had all the time between them to say so.
const LOOKS: u32 = 3;

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
            self.app.tracker.spawn(async move {
                if let Err(error) = app.jobs.cancel(&job).await {
                    tracing::warn!(%error, %job, "a job that nobody waits for goes on");
                }
            });
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
    let ended = follow(&app.logs, app.jobs.as_ref(), session, &taken.job).await;
    if let Some(guard) = &mut guard {
        guard.ended = true;
    }
    ended
}

async fn follow(
    logs: &Arc<dyn Logs>,
    jobs: &dyn Jobs,
    session: &SessionId,
    job: &JobId,
) -> Result<CutoutEvent, Problem> {
    let expired = |error| match error {
        LogError::NoSession => {
            Problem::new(Code::SessionExpired, "the session expired before the cutout was done")
        }
        LogError::Unavailable => Problem::new(Code::Unavailable, error.to_string()),
    };
    // The present first: it still has the end of a job that is too old for the log.
    let follower = Follower::start(Arc::clone(logs), session.clone(), Start::Unknown).await;
    let mut follower = follower.map_err(expired)?.unbounded();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut why, mut missed) = (None, 0);
    loop {
        // Cancel safety: nothing is taken from the log until it is returned, and a look is only a look.
        let followed = tokio::select! {
            biased;
            followed = follower.next() => followed.map_err(expired)?,
            _ = looks.tick() => {
                // Where the queue can't be asked, nobody knows that the job has ended.
                missed = if jobs.is_live(session, job).await == Ok(false) { missed + 1 } else { 0 };
                if missed >= LOOKS {
                    let message = "the job has ended, and what became of it is no longer kept; send the photo again";
                    return Err(Problem::new(Code::UnknownJob, message).about_job(job));
                }
                continue;
            }
        };
        let Followed::Entry(entry) = followed else { continue };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cutout::{MemoryJobs, Pace};
    use crate::protocol::UploadId;
    use crate::session::MemoryLogs;

    #[tokio::test(start_paused = true)]
    async fn a_job_whose_end_nobody_remembers_is_not_waited_for() {
        let logs: Arc<dyn Logs> = Arc::new(MemoryLogs::default());
        let jobs = MemoryJobs::new(1, Arc::clone(&logs), Arc::new(Pace::new(1)));
        let session = SessionId::random();
        logs.create(&session).await.expect("a log");
        let job = JobId::of(&session, &UploadId::random());
        let ended = tokio::time::timeout(LOOK * 5, follow(&logs, &jobs, &session, &job)).await;
        assert_eq!(ended.expect("in bounded time").expect_err("no cutout").code, Code::UnknownJob);
    }
}
