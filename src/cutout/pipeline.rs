//! One job's steps, each told before it begins, each able to stop before the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::image::{self, Composed, Encoded, ImageError, Limits, Mask, Seen};
use super::infer::{InferError, Inference, Inferred};
use super::{Blob, BlobError, infer};
use crate::model::{ModelError, Segmenter};
use crate::protocol::options::{Edges, Options};
use crate::protocol::{Code, JobStep, Problem};

/// Permits of the pixel budget are worth this many bytes.
const PERMIT: u64 = 64 << 10;

/// A photo's part of the pixel budget. Each step holds it too: one that goes on after its job was
/// canceled or timed out still has its pixels.
pub(super) type Permit = Arc<OwnedSemaphorePermit>;

/// Bytes of pixels at once, for all who share it.
#[derive(Clone, Debug)]
pub struct Pixels {
    semaphore: Arc<Semaphore>,
    permits: u32,
    /// Bytes that one photo may take at most.
    limit: Option<u64>,
}

impl Pixels {
    /// Holds at most so many bytes at once; a photo that needs more than all of them runs alone, and one that
    /// needs more than the limit is refused.
    pub fn new(bytes: u64, limit: Option<u64>) -> Self {
        // Many together may not take more than one may.
        let bytes = bytes.min(limit.unwrap_or(u64::MAX));
        let permits = u32::try_from((bytes / PERMIT).max(1)).unwrap_or(u32::MAX);
        Self { semaphore: Arc::new(Semaphore::new(permits as usize)), permits, limit }
    }
}

/// What jobs share while they compute.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub(super) inference: Inference,
    pub(super) limits: Limits,
    pub(super) pixels: Pixels,
    /// Where its steps compute; on all cores without. Steps that shared threads with another network would wait
    /// for its whole run.
    pub(super) threads: Option<Arc<rayon::ThreadPool>>,
}

/// A finished job.
pub(super) struct Done {
    pub(super) encoded: Encoded,
    pub(super) notes: Vec<String>,
    pub(super) spent: Spent,
    /// For its bytes, until they are in a store.
    pub(super) permit: Permit,
}

/// Where its time went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) waited: Duration,
    pub(super) decode: Duration,
    pub(super) infer: Duration,
    pub(super) compose: Duration,
    pub(super) encode: Duration,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PipelineError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Infer(#[from] InferError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("the cutout can't be kept: {0}")]
    Keep(BlobError),
    #[error("a step panicked: {0}")]
    Panic(String),
    #[error("the server is going away")]
    Ended,
}

impl PipelineError {
    /// What the shopper is told: everything about the photo, nothing about our insides.
    pub(super) fn problem(&self) -> Problem {
        match self {
            Self::Image(error) => image_problem(error),
            Self::Infer(InferError::Model(ModelError::OutOfMemory { .. })) => Problem::new(
                Code::JobFailed,
                "the GPU had not enough memory left for the photo; try again in a moment",
            ),
            Self::Infer(InferError::Model(ModelError::DeviceLost { .. })) => Problem::new(
                Code::JobFailed,
                "the GPU failed while the photo was cut out, and has to start anew; try again in a moment",
            ),
            Self::Infer(_) | Self::Panic(_) => Problem::new(
                Code::JobFailed,
                "the photo could not be cut out; try again or try another photo",
            ),
            Self::Blob(_) => Problem::new(Code::Internal, "the photo could not be read back; send it again"),
            Self::Keep(_) => {
                Problem::new(Code::Internal, "the cutout could not be kept; send the photo again")
            }
            Self::Ended => Problem::new(Code::Draining, "the server is going away; try again in a moment"),
        }
    }
}

/// The code of the contract for what is wrong with a photo.
pub(super) fn image_problem(error: &ImageError) -> Problem {
    let code = match error {
        ImageError::Empty => Code::BadRequest,
        ImageError::Unsupported { .. } => Code::UnsupportedMediaType,
        ImageError::HeaderIncomplete { .. } | ImageError::Corrupt { .. } => Code::CorruptImage,
        ImageError::TooManyPixels { .. }
        | ImageError::SideTooLong { .. }
        | ImageError::TooMuchMemory { .. } => Code::ImageTooLarge,
        ImageError::TooLargeForFormat { .. } => Code::BadRequest,
        ImageError::WrongLength { .. } | ImageError::Internal { .. } => {
            return Problem::new(
                Code::JobFailed,
                "the photo could not be cut out; try again or try another photo",
            );
        }
    };
    Problem::new(code, error.to_string())
}

impl Pipeline {
    /// Cuts a photo out; `tell` is told of each step before it begins.
    ///
    /// # Cancel safety
    /// Dropping the future stops before the next step; a step under way ends by itself and its result
    /// is thrown away.
    pub(super) async fn run<T: Future<Output = ()>>(
        &self,
        photo: &Blob,
        options: &Options,
        segmenter: Arc<dyn Segmenter>,
        mut tell: impl FnMut(JobStep) -> T,
    ) -> Result<Done, PipelineError> {
        let mut spent = Spent::default();
        let bytes = photo.bytes().await?;
        let waiting = Instant::now();
        let (limits, size) = (self.limits, segmenter.size());
        let permits = self.permits_for(&bytes, options, size)?;
        let permit: Permit = Arc::clone(&self.pixels.semaphore)
            .acquire_many_owned(permits)
            .await
            .map_err(|_| PipelineError::Ended)?
            .into();
        spent.waited += waiting.elapsed();

        let coming = self.inference.expect();
        tell(JobStep::Decode).await;
        let asked = options.clone();
        let decoded =
            self.timed(&permit, &mut spent.decode, move || image::see(&bytes, &limits, &asked, size));
        let Seen { photo, input } = decoded.await?;
        let mut notes = Vec::new();
        if photo.animated {
            notes.push("animated_first_frame".to_owned());
        }

        tell(JobStep::Infer).await;
        let seen = if options.edges_to_make() == Edges::Off { Vec::new() } else { input.clone() };
        drop(coming);
        let Inferred { map, waited, took } = self.inference.run(segmenter, input).await?;
        spent.waited += waited;
        spent.infer = took;

        tell(JobStep::Compose).await;
        let options = options.clone();
        let composed: Composed = self
            .timed(&permit, &mut spent.compose, {
                let options = options.clone();
                move || {
                    let whole = (photo.width, photo.height);
                    let mask = Mask::of(&map, (&seen, size), whole, options.edges_to_make())?;
                    image::compose(photo, mask, &options)
                }
            })
            .await?;

        tell(JobStep::Encode).await;
        let encoded =
            self.timed(&permit, &mut spent.encode, move || image::encode(composed, &options)).await?;
        Ok(Done { encoded, notes, spent, permit })
    }

    /// Runs a step on a blocking thread and adds its own time, without the wait for the thread.
    async fn timed<T: Send + 'static>(
        &self,
        permit: &Permit,
        spent: &mut Duration,
        step: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, PipelineError> {
        let permit = Arc::clone(permit);
        let threads = self.threads.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let _held = permit;
            let step = || {
                let begun = Instant::now();
                (step(), begun.elapsed())
            };
            match threads {
                Some(threads) => threads.install(step),
                None => step(),
            }
        });
        match thread.await {
            Ok((result, took)) => {
                *spent += took;
                Ok(result?)
            }
            Err(error) if error.is_panic() => {
                Err(PipelineError::Panic(infer::describe(error.into_panic().as_ref())))
            }
            Err(_) => Err(PipelineError::Ended),
        }
    }

    /// From the header, before anything is allocated for the pixels.
    fn permits_for(&self, bytes: &[u8], options: &Options, size: u32) -> Result<u32, ImageError> {
        let probe = image::probe(bytes, &self.limits)?;
        let needed = image::peak_bytes(&probe, options, size);
        if let Some(limit) = self.pixels.limit.filter(|limit| needed > *limit) {
            let (width, height) = (probe.width, probe.height);
            return Err(ImageError::TooMuchMemory { width, height, needed, limit });
        }
        let needed = needed / PERMIT + 1;
        Ok(u32::try_from(needed).unwrap_or(u32::MAX).min(self.pixels.permits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_that_would_take_more_memory_than_there_is_is_refused_and_told_what_to_ask_for() {
        let inference = Inference::spawn().expect("a thread");
        let pipeline = |limit| {
            let limits = Limits { max_pixels: 10_000_000 };
            let pixels = Pixels::new(4 << 20, Some(limit));
            Pipeline { inference: inference.clone(), limits, pixels, threads: None }
        };
        // 1448 by 1086 pixels, six bytes each, and the fixed part.
        let plain = Options { edges: Edges::Off, ..Options::default() };
        let cat = include_bytes!("../../tests/data/cat.jpg");
        let needed = 1448 * 1086 * 6 + (6 << 20) + 320 * 4 * 1448;
        let alone = pipeline(needed).permits_for(cat, &plain, 320).expect("fits exactly");
        assert_eq!(alone, (4 << 20) / PERMIT as u32, "more than is shared: it runs alone");
        let error = pipeline(needed - 1).permits_for(cat, &plain, 320).expect_err("no room");
        let problem = image_problem(&error);
        assert_eq!(problem.code, Code::ImageTooLarge);
        assert!(
            problem.message.contains("takes 17 MB of memory for this and the server has 17"),
            "{problem:?}"
        );
    }
}
