//! What is said of a job.

use super::jobs::NewJob;
use crate::protocol::{Eta, Event, Job, JobId, JobStatus, JobStep, Problem, UploadId};

/// Which job.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) job: &'a JobId,
    pub(super) upload: &'a UploadId,
}

impl NewJob {
    pub(super) fn about(&self) -> About<'_> {
        About { job: &self.id, upload: &self.upload }
    }
}

/// What the one at so many places from the head of the queue hears: its status and place.
pub(super) fn place(ahead: usize, model_ready: bool) -> (JobStatus, Option<u32>) {
    if model_ready {
        (JobStatus::Queued, Some(u32::try_from(ahead + 1).unwrap_or(u32::MAX)))
    } else {
        (JobStatus::Starting, None)
    }
}

/// How a job ended, for who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    status: &'static str,
    /// From the upload's acceptance to the cutout, in milliseconds; none without one.
    total_ms: Option<u64>,
}

impl Ended {
    /// By its last events.
    pub(super) fn by(events: &[Event]) -> Option<Self> {
        let status = events.iter().find_map(|event| match event {
            Event::Job(job) => ENDS.into_iter().find(|(end, _)| *end == job.status),
            _ => None,
        });
        let total_ms = events.iter().find_map(|event| match event {
            Event::Cutout(cutout) => Some(cutout.timings_ms.total),
            _ => None,
        });
        status.map(|(_, status)| Self { status, total_ms })
    }

    pub(super) fn count(self) {
        metrics::counter!("warmcut_jobs_total", "status" => self.status).increment(1);
        if let Some(total_ms) = self.total_ms {
            metrics::histogram!("warmcut_job_seconds").record(total_ms as f64 / 1000.0);
        }
    }

    /// As it is said to other processes.
    pub(super) fn to_words(self) -> String {
        self.total_ms.map_or_else(|| self.status.to_owned(), |total_ms| format!("{} {total_ms}", self.status))
    }

    pub(super) fn from_words(words: &str) -> Option<Self> {
        let (status, total_ms) = match words.split_once(' ') {
            Some((status, total_ms)) => (status, Some(total_ms.parse().ok()?)),
            None => (words, None),
        };
        ENDS.into_iter().find(|(_, end)| *end == status).map(|(_, status)| Self { status, total_ms })
    }
}

const ENDS: [(JobStatus, &str); 3] =
    [(JobStatus::Succeeded, "succeeded"), (JobStatus::Failed, "failed"), (JobStatus::Canceled, "canceled")];

/// A job that waits, or has ended.
pub(super) fn moved(job: About<'_>, status: JobStatus, position: Option<u32>, eta_ms: Option<Eta>) -> Event {
    let progress = (status == JobStatus::Succeeded).then_some(1.0);
    Event::Job(Job {
        job: job.job.clone(),
        upload: job.upload.clone(),
        status,
        position,
        eta_ms,
        step: None,
        progress,
    })
}

/// A job that runs; its progress is the share of steps that are done.
pub(super) fn processing(job: &NewJob, step: JobStep, eta_ms: Option<Eta>) -> Event {
    let progress = match step {
        JobStep::Decode => 0.0,
        JobStep::Infer => 0.25,
        JobStep::Compose => 0.5,
        JobStep::Encode => 0.75,
    };
    Event::Job(Job {
        job: job.id.clone(),
        upload: job.upload.clone(),
        status: JobStatus::Processing,
        position: None,
        eta_ms,
        step: Some(step),
        progress: Some(progress),
    })
}

/// The last events of a job that failed: the problem before its end.
pub(super) fn failed(job: About<'_>, problem: Problem) -> Vec<Event> {
    let problem = problem.about_job(job.job).about_upload(job.upload);
    vec![Event::Problem(problem), moved(job, JobStatus::Failed, None, None)]
}

/// The last events of a job that was canceled.
pub(super) fn canceled(job: About<'_>) -> Vec<Event> {
    vec![moved(job, JobStatus::Canceled, None, None)]
}
