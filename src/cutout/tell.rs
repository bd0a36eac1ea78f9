//! What is said of a job.

use super::jobs::NewJob;
use crate::protocol::{Eta, Event, Job, JobStatus, JobStep, Problem};

/// A job that waits, or has ended.
pub(super) fn moved(job: &NewJob, status: JobStatus, position: Option<u32>, eta_ms: Option<Eta>) -> Event {
    let progress = (status == JobStatus::Succeeded).then_some(1.0);
    Event::Job(Job {
        job: job.id.clone(),
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
pub(super) fn failed(job: &NewJob, problem: Problem) -> Vec<Event> {
    let problem = problem.about_job(&job.id).about_upload(&job.upload);
    vec![Event::Problem(problem), moved(job, JobStatus::Failed, None, None)]
}

/// The last events of a job that was canceled.
pub(super) fn canceled(job: &NewJob) -> Vec<Event> {
    vec![moved(job, JobStatus::Canceled, None, None)]
}
