//! The part of a photo that has come: kept, counted, hashed, and judged as early as can be.

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::cutout::BlobError;
use crate::cutout::blobs::Piecewise;
use crate::cutout::image::{self, ImageError, Limits};
use crate::cutout::pipeline::image_problem;
use crate::protocol::options::Options;
use crate::protocol::{Code, Problem};

/// Fewer bytes may not even tell the format.
pub(super) const MAGIC: usize = 16;

/// What uploads may be.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// The largest photo in bytes.
    pub max_bytes: u64,
    /// The largest photo in pixels.
    pub image: Limits,
}

impl UploadLimits {
    /// Judges a size before, or while, its bytes come.
    pub(super) fn judge_size(&self, bytes: Option<u64>) -> Result<(), Problem> {
        let limit = self.max_bytes;
        match bytes {
            Some(0) => Err(image_problem(&ImageError::Empty)),
            Some(bytes) if bytes > limit => {
                let message =
                    format!("the photo has {bytes} bytes and the limit is {limit}; send a smaller one");
                Err(Problem::new(Code::UploadTooLarge, message))
            }
            _ => Ok(()),
        }
    }
}

pub(super) struct Partial {
    pub(super) bytes: Piecewise,
    pub(super) total: Option<u64>,
    judged: bool,
    /// The header is looked at again when so many bytes are here: twice as many each time, so that the sum
    /// of all looks stays in proportion.
    look_at: usize,
    pub(super) digest: Sha256,
    pub(super) options: Options,
    pub(super) accepted: Instant,
    /// When its client was last told how much is here.
    pub(super) told: Instant,
    /// It will be told again, of what is here by then.
    pub(super) due: bool,
}

impl Partial {
    pub(super) fn new(bytes: Piecewise, total: Option<u64>, options: Options) -> Self {
        let now = Instant::now();
        Self {
            bytes,
            total,
            judged: false,
            look_at: 1,
            digest: Sha256::new(),
            options,
            accepted: now,
            told: now,
            due: false,
        }
    }

    /// Bytes that came, and that were announced.
    pub(super) fn counts(&self) -> (u64, Option<u64>) {
        (self.bytes.len(), self.total)
    }

    /// Adds bytes and judges what can be judged by now.
    pub(super) async fn add(&mut self, limits: &UploadLimits, chunk: &[u8]) -> Result<(), Problem> {
        let sum = self.bytes.len() + chunk.len() as u64;
        if let Some(total) = self.total.filter(|total| sum > *total) {
            let message = format!("{sum} bytes came, but {total} were announced");
            return Err(Problem::new(Code::BadRequest, message));
        }
        limits.judge_size(Some(sum).filter(|sum| *sum > 0))?;
        self.digest.update(chunk);
        self.bytes.write(chunk).await.map_err(|error| blob_problem(&error))?;
        self.judge_head(limits)
    }

    fn judge_head(&mut self, limits: &UploadLimits) -> Result<(), Problem> {
        let head = self.bytes.head();
        if self.judged || head.len() < self.look_at {
            return Ok(());
        }
        match image::probe(head, &limits.image) {
            Ok(_) => self.judged = true,
            // Come back with more; a few bytes may not even tell the format.
            Err(ImageError::HeaderIncomplete { .. } | ImageError::Empty) => self.look_at = head.len() * 2,
            Err(_) if head.len() < MAGIC && self.total != Some(self.bytes.len()) => self.look_at = MAGIC,
            Err(error) => return Err(image_problem(&error)),
        }
        Ok(())
    }

    pub(super) fn judge_whole(&self, limits: &UploadLimits) -> Result<(), Problem> {
        let received = self.bytes.len();
        if received == 0 {
            return Err(image_problem(&ImageError::Empty));
        }
        if let Some(total) = self.total.filter(|total| *total != received) {
            let message = format!("{received} of {total} bytes came; send the rest");
            return Err(Problem::new(Code::UploadIncomplete, message));
        }
        // A long header of a photo on disk is judged by the decoder; any other that isn't whole is cut off.
        let head = self.bytes.head();
        if !self.judged && head.len() as u64 == received {
            image::probe(head, &limits.image).map_err(|error| image_problem(&error))?;
        }
        Ok(())
    }
}

/// What the client is told when its bytes can't be kept.
pub(super) fn blob_problem(error: &BlobError) -> Problem {
    match error {
        BlobError::Full { .. } => {
            Problem::new(Code::QueueFull, format!("{error}; try again in a few seconds"))
        }
        BlobError::Store(_) | BlobError::Disk(_) | BlobError::Unreachable => {
            tracing::error!(%error, "an upload can't be kept");
            Problem::new(Code::Internal, "the photo could not be kept; try again")
        }
    }
}
