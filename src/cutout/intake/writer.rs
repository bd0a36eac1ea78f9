//! One connection's hold on an upload.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::partial::Partial;
use super::{Intake, Receiving};
use crate::protocol::options::Options;
use crate::protocol::{Code, JobId, Problem, UploadId, UploadStatus};

/// Four progress events a second. The last bytes before a pause are told of as well, once it is their time.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// The right to send the bytes of one upload. When it is dropped before [`Writer::finish`], what came
/// stays for another connection.
pub struct Writer {
    intake: Arc<Intake>,
    receiving: Arc<Receiving>,
    turn: u64,
    received: u64,
    total: Option<u64>,
}

impl Writer {
    pub(super) fn new(
        intake: Arc<Intake>,
        receiving: Arc<Receiving>,
        turn: u64,
        (received, total): (u64, Option<u64>),
    ) -> Self {
        Self { intake, receiving, turn, received, total }
    }

    /// The upload.
    pub fn upload(&self) -> &UploadId {
        &self.receiving.upload
    }

    /// Bytes so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that were announced and have not come.
    pub fn left(&self) -> u64 {
        self.total.unwrap_or(0).saturating_sub(self.received)
    }

    /// True once all bytes that were announced are here.
    pub fn is_complete(&self) -> bool {
        self.total == Some(self.received)
    }

    /// Adds bytes. After an error the upload has been rejected and its session told, unless another
    /// connection carries it now.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        let receiving = Arc::clone(&self.receiving);
        let mut held = receiving.partial.lock().await;
        let partial = held.as_mut().filter(|_| self.is_my_turn()).ok_or_else(|| self.not_my_turn())?;
        if let Err(problem) = partial.add(&self.intake.limits, chunk).await {
            drop(held);
            self.intake.reject(&self.receiving, problem.clone()).await;
            return Err(problem.about_upload(self.upload()));
        }
        let counts = partial.counts();
        (self.received, self.total) = counts;
        self.receiving.turn.lock().byte_came();
        if !std::mem::replace(&mut partial.due, true) {
            let next = partial.told + PROGRESS_EVERY;
            let (intake, receiving) = (Arc::clone(&self.intake), Arc::clone(&self.receiving));
            tokio::spawn(async move {
                tokio::time::sleep_until(next).await;
                progress(&intake, &receiving).await;
            });
        }
        Ok(())
    }

    /// All bytes are here: judges the header and makes the job.
    ///
    /// Cancel safety: once begun it is done whole, also when nobody waits for it any more.
    pub async fn finish(self) -> Result<JobId, Problem> {
        // Held to the end: who asks for this upload meanwhile waits, and then finds the job.
        let held = Arc::clone(&self.receiving.partial).lock_owned().await;
        let upload = self.upload().clone();
        let made = tokio::spawn(self.make_job(held)).await.unwrap_or_else(|error| {
            tracing::error!(%error, "an upload could not be finished");
            Err(Problem::new(Code::Internal, "the photo could not be taken; send it again"))
        });
        made.map_err(|problem| problem.about_upload(&upload))
    }

    async fn make_job(self, mut held: OwnedMutexGuard<Option<Partial>>) -> Result<JobId, Problem> {
        let partial = held.take_if(|_| self.is_my_turn()).ok_or_else(|| self.not_my_turn())?;
        let counts = partial.counts();
        let made = match partial.judge_whole(&self.intake.limits) {
            Ok(()) => self.intake.received(&self.receiving, partial).await,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = &made {
            self.intake.refuse(&self.receiving, problem.clone(), counts).await;
        }
        self.intake.remove(&self.receiving);
        made
    }

    /// Replaces what is wanted: form fields may come after the photo.
    pub async fn set_options(&self, options: Options) -> Result<(), Problem> {
        self.intake.judge_model(&options)?;
        let mut held = self.receiving.partial.lock().await;
        let partial = held.as_mut().filter(|_| self.is_my_turn()).ok_or_else(|| self.not_my_turn())?;
        partial.options = options;
        Ok(())
    }

    /// Ends the upload with a problem.
    pub async fn reject(self, problem: Problem) {
        if self.is_my_turn() {
            self.intake.reject(&self.receiving, problem).await;
        }
    }

    fn is_my_turn(&self) -> bool {
        self.receiving.turn.lock().writer == self.turn
    }

    fn not_my_turn(&self) -> Problem {
        if let Some(closed) = self.intake.closed.get() {
            return closed.clone().about_upload(self.upload());
        }
        let message = "this upload was canceled, has ended, or goes on over another connection";
        Problem::new(Code::UploadInProgress, message).about_upload(self.upload())
    }
}

/// Tells how much of a photo is here, unless all of it is.
async fn progress(intake: &Intake, receiving: &Receiving) {
    let mut held = receiving.partial.lock().await;
    let Some(partial) = held.as_mut() else { return };
    partial.due = false;
    let counts = partial.counts();
    if counts.1 != Some(counts.0) {
        partial.told = Instant::now();
        intake.tell(receiving, UploadStatus::Progress, None, counts).await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut turn = self.receiving.turn.lock();
        if turn.writer == self.turn {
            turn.attached = false;
        }
    }
}
