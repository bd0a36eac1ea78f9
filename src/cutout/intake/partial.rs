//! The part of a photo that has come: kept, counted, hashed, and judged as early as can be.

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::cutout::BlobError;
use crate::cutout::blobs::Piecewise;
use crate::cutout::image::{self, ImageError, Limits};
use crate::cutout::pipeline::image_problem;
use crate::protocol::options::Options;
use crate::protocol::{Code, Problem};

/// A header that isn't whole by then is judged with the whole file. JPEGs with many thumbnails and
/// profiles have some hundred kilobytes of it.
const HEAD: usize = 1 << 20;
/// Fewer bytes may not even tell the format.
const MAGIC: usize = 16;

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
    pub(super) head: Vec<u8>,
    pub(super) judged: bool,
    pub(super) digest: Sha256,
    pub(super) options: Options,
    pub(super) accepted: Instant,
    pub(super) told: Instant,
}

impl Partial {
    /// Adds bytes and judges what can be judged by now.
    pub(super) async fn add(&mut self, limits: &UploadLimits, chunk: &[u8]) -> Result<(), Problem> {
        let sum = self.bytes.len() + chunk.len() as u64;
        if let Some(total) = self.total.filter(|total| sum > *total) {
            let message = format!("{sum} bytes came, but {total} were announced");
            return Err(Problem::new(Code::BadRequest, message));
        }
        limits.judge_size(Some(sum).filter(|sum| *sum > 0))?;
        if !self.judged && self.head.len() < HEAD {
            let more = chunk.len().min(HEAD - self.head.len());
            self.head.extend_from_slice(&chunk[..more]);
            self.judged = match image::probe(&self.head, &limits.image) {
                Ok(_) => true,
                // Come back with more; a few bytes may not even tell the format.
                Err(ImageError::HeaderIncomplete { .. } | ImageError::Empty) => false,
                Err(_) if self.head.len() < MAGIC && self.total != Some(sum) => false,
                Err(error) => return Err(image_problem(&error)),
            };
            if self.judged {
                self.head = Vec::new();
            }
        }
        self.digest.update(chunk);
        self.bytes.write(chunk).await.map_err(|error| blob_problem(&error))
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
        // A header longer than `HEAD` is judged by the decoder; a shorter one that isn't whole is cut off.
        if !self.judged && received <= HEAD as u64 {
            image::probe(&self.head, &limits.image).map_err(|error| image_problem(&error))?;
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
        BlobError::Store(_) | BlobError::Disk(_) => {
            tracing::error!(%error, "an upload can't be kept");
            Problem::new(Code::Internal, "the photo could not be kept; try again")
        }
    }
}
