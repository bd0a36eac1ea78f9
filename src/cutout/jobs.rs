//! The seam of the queue: push, claim, report, cancel, finish.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Blob;
use crate::protocol::options::Options;
use crate::protocol::{Code, CutoutId, Event, JobId, Problem, SessionId, UploadId};

/// A waiting job hears of its place at most so often.
pub(super) const POSITION_EVERY: Duration = Duration::from_secs(1);

/// A photo that is here and wants to be cut out.
#[derive(Debug)]
pub struct NewJob {
    /// Its name.
    pub id: JobId,
    /// Whose log tells of it.
    pub session: SessionId,
    /// What it was born from.
    pub upload: UploadId,
    /// The photo's bytes; a preview may still read them when the job has ended.
    pub photo: Arc<Blob>,
    /// What is wanted.
    pub options: Options,
    /// Names what is to be made: the same for the same photo, options and model. With the weights that make it, the
    /// name of its result.
    pub cutout: CutoutId,
    /// Cancelled when nobody wants the result any more.
    pub unwanted: CancellationToken,
    /// The shop whose photo it is.
    pub shop: Option<Arc<str>>,
    /// When the upload was accepted.
    pub accepted: Instant,
    /// When its last byte came.
    pub received: Instant,
}

/// A worker's right to a job. A job that was given back or ended has another lease or none, so a
/// worker that lost it can't end it a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(pub(super) u64);

/// A job and the right to it.
#[derive(Debug)]
pub struct Claimed {
    /// The job.
    pub job: Arc<NewJob>,
    /// The right to it.
    pub lease: Lease,
    /// Cancelled when the job is, by request or because nobody wants it.
    pub canceled: CancellationToken,
}

/// How much waits and runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Not claimed yet.
    pub waiting: usize,
    /// Claimed.
    pub running: usize,
}

/// Why the queue can't do what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    /// There is no place.
    #[error(
        "the queue is full: {limit} photos wait or are on their way, the most that this server takes; try again in a few seconds"
    )]
    Full {
        /// How many it takes.
        limit: usize,
    },
    /// What keeps the queue, or its photos, can't be reached.
    #[error("photos can't be handed on just now; try again in a few seconds")]
    Unavailable,
}

impl JobsError {
    /// As a client hears it.
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::Full { .. } => Code::QueueFull,
            Self::Unavailable => Code::Unavailable,
        };
        Problem::new(code, self.to_string())
    }
}

/// Jobs that wait and run.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Whether one more job would be taken now. Nothing is promised: the place is taken by the push.
    async fn room(&self) -> Result<(), JobsError>;

    /// Appends a job whose photo is here, and tells its session so with the given event. Nothing happens
    /// when the job is here already.
    async fn push(&self, job: NewJob, received: Event) -> Result<(), JobsError>;

    /// A job that ends where it begins, because its cutout was made before: tells its session so with the given
    /// events. Nothing happens when the job is here already.
    async fn known(&self, job: &NewJob, events: Vec<Event>) -> Result<(), JobsError>;

    /// The next job; waits for one.
    async fn claim(&self) -> Claimed;

    /// The next job, if one waits.
    async fn try_claim(&self) -> Option<Claimed>;

    /// Gives a job back, to the head of the queue.
    async fn release(&self, job: &JobId, lease: Lease);

    /// Tells of a running job; false, and nothing is told, when the lease is no longer good.
    async fn report(&self, job: &JobId, lease: Lease, event: Event) -> bool;

    /// Tells of a job that is here, whoever has it; false, and nothing is told, once it has ended.
    async fn tell(&self, job: &JobId, event: Event) -> bool;

    /// Ends a running job and tells its last events, in one step; false when the lease is no longer good.
    async fn finish(&self, job: &JobId, lease: Lease, events: Vec<Event>) -> bool;

    /// Ends a job as canceled wherever it is; false when it isn't here or has ended.
    async fn cancel(&self, job: &JobId) -> Result<bool, JobsError>;

    /// Ends every waiting job with a problem.
    async fn fail_waiting(&self, problem: Problem);

    /// Takes no more jobs: those that wait, and those that still come, end with a problem.
    async fn close(&self, problem: Problem);

    /// The same, and those that run end too.
    async fn fail_all(&self, problem: Problem);

    /// Whether a job of this session is here and has not ended.
    async fn is_live(&self, session: &SessionId, job: &JobId) -> Result<bool, JobsError>;

    /// How much there is.
    async fn depth(&self) -> Result<Depth, JobsError>;

    /// Jobs that end when this process does, unless somebody else takes them over.
    fn here(&self) -> usize;

    /// Waits until the queue may have changed.
    async fn changed(&self);

    /// Tells waiting jobs of their place where that has changed, at most once a second each. True when something
    /// is left to tell later.
    async fn tell_positions(&self, model_ready: bool) -> bool;
}
