//! One connection's hold on an upload.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Intake, Key, Receiving};
use crate::protocol::options::Options;
use crate::protocol::{Code, JobId, Problem, UploadId, UploadStatus};

/// Four progress events a second.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// The right to send the bytes of one upload. When it is dropped before [`Writer::finish`], what came
/// stays for another connection.
pub struct Writer {
    pub(super) intake: Arc<Intake>,
    pub(super) key: Key,
    pub(super) receiving: Arc<Receiving>,
    pub(super) turn: u64,
    pub(super) received: u64,
    pub(super) total: Option<u64>,
}

impl Writer {
    /// The upload.
    pub fn upload(&self) -> &UploadId {
        &self.key.1
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
        if !self.is_my_turn() {
            return Err(self.not_my_turn());
        }
        let mut held = self.receiving.partial.lock().await;
        let Some(partial) = held.as_mut().filter(|_| self.is_my_turn()) else {
            drop(held);
            return Err(self.not_my_turn());
        };
        let added = partial.add(&self.intake.limits, chunk).await;
        let (received, total) = (partial.bytes.len(), partial.total);
        let tell = added.is_ok() && partial.told.elapsed() >= PROGRESS_EVERY && total != Some(received);
        if tell {
            partial.told = Instant::now();
        }
        drop(held);
        match added {
            Ok(()) => {
                self.received = received;
                self.receiving.turn.lock().byte_came();
                if tell {
                    self.intake.tell(&self.key, UploadStatus::Progress, None, (received, total)).await;
                }
                Ok(())
            }
            Err(problem) => {
                self.intake.reject(&self.key, problem.clone()).await;
                Err(problem.about_upload(&self.key.1))
            }
        }
    }

    /// All bytes are here: judges the header and makes the job.
    pub async fn finish(self) -> Result<JobId, Problem> {
        let mut held = self.receiving.partial.lock().await;
        let Some(partial) = held.as_mut().filter(|_| self.is_my_turn()) else {
            drop(held);
            return Err(self.not_my_turn());
        };
        let judged = partial.judge_whole(&self.intake.limits);
        if let Err(problem) = judged {
            drop(held);
            self.intake.reject(&self.key, problem.clone()).await;
            return Err(problem.about_upload(&self.key.1));
        }
        let partial = held.take();
        drop(held);
        let received = match partial {
            Some(partial) => self.intake.received(self.key.clone(), &self.receiving.session, partial).await,
            None => Err(self.not_my_turn()),
        };
        self.intake.receiving.lock().remove(&self.key);
        if let Err(problem) = &received {
            self.intake
                .refuse(&self.receiving.session, &self.key.1, problem.clone(), (self.received, self.total))
                .await;
        }
        received.map_err(|problem| problem.about_upload(&self.key.1))
    }

    /// Replaces what is wanted: form fields may come after the photo.
    pub async fn set_options(&self, options: Options) -> Result<(), Problem> {
        self.intake.judge_model(&options)?;
        if let Some(partial) = self.receiving.partial.lock().await.as_mut().filter(|_| self.is_my_turn()) {
            partial.options = options;
        }
        Ok(())
    }

    /// Ends the upload with a problem.
    pub async fn reject(self, problem: Problem) {
        if self.is_my_turn() {
            self.intake.reject(&self.key, problem).await;
        }
    }

    fn is_my_turn(&self) -> bool {
        self.receiving.turn.lock().writer == self.turn
    }

    fn not_my_turn(&self) -> Problem {
        if let Some(closed) = self.intake.closed.get() {
            return closed.clone().about_upload(&self.key.1);
        }
        let message = "this upload was canceled, has ended, or goes on over another connection";
        Problem::new(Code::UploadInProgress, message).about_upload(&self.key.1)
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
