//! Networks, their weights and the device they run on.
//!
//! A model goes through three types, so that it can't be used before it is proven: a [`Loader`] reads
//! weights into a [`Loaded`], priming that runs a real inference and gives a [`Segmenter`] with the map
//! it found, and only a segmenter segments. The warm-up compares that map with the known answer.
//!
//! The room must not know sessions, queues or HTTP.

mod architecture;
mod arena;
mod batch;
mod choice;
mod cpu;
pub mod device;
mod error;
mod fingerprint;
mod graph;
pub mod inspyrenet;
mod loader;
pub mod network;
mod placed;
mod precision;
pub mod preprocess;
mod registry;
pub mod u2net;
mod weights;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use architecture::Architecture;
pub use choice::{Choice, ModelFile, WeightsPath, model_name};
pub use error::ModelError;
pub use fingerprint::Fingerprint;
pub use loader::U2NetLoader;
pub use network::Network;
pub use precision::Precision;
pub use registry::{Entry, Registry, Seen};
pub use weights::{Source, WeightsFile};

/// How far a load is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// 0 to 1; none where nothing can be measured.
    pub fraction: Option<f32>,
    /// For people.
    pub detail: Option<String>,
}

impl Progress {
    /// Something that is done, and that nothing newer makes less worth telling. What has a fraction is only as good
    /// as its newest.
    pub fn step(detail: impl Into<String>) -> Self {
        Self { fraction: None, detail: Some(detail.into()) }
    }

    /// So many bytes of weights came to the device since then.
    fn copied(bytes: u64, begun: Instant) -> Self {
        Self::step(format!("{bytes} bytes of weights copied in {} ms", begun.elapsed().as_millis()))
    }
}

/// Asks work on another thread to stop at its next step.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// An error once asked.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.0.load(Ordering::Acquire) { Err(ModelError::Stopped) } else { Ok(()) }
    }
}

/// Gets a model's weights to its device.
pub trait Loader: Send + Sync + 'static {
    /// The model's name.
    fn name(&self) -> &str;

    /// What it runs on, in a word, as far as that is known by now: before a load `auto` may be all there is to say.
    fn device(&self) -> String;

    /// Reads, checks and places the weights. Blocks.
    fn load(&self, report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<Box<dyn Loaded>, ModelError>;
}

/// A model whose weights are in place and that has not run yet.
pub trait Loaded: Send {
    /// Bytes of weights that it holds.
    fn bytes(&self) -> u64;

    /// The side of the square that the network sees, in pixels.
    fn size(&self) -> u32;

    /// The first inference, on an RGB8 photo of [`Self::size`]: the model and its map. Blocks.
    fn prime(
        self: Box<Self>,
        rgb: &[u8],
        report: &mut dyn FnMut(Progress),
        stop: &Stop,
    ) -> Result<(Arc<dyn Segmenter>, Vec<f32>), ModelError>;
}

/// A model that has run.
pub trait Segmenter: Send + Sync + 'static {
    /// The side of the square that the network sees, in pixels.
    fn size(&self) -> u32;

    /// Bytes of weights that it holds.
    fn bytes(&self) -> u64;

    /// What it is computed in.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// What tells its maps from those of another model of its name.
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::default()
    }

    /// The saliency map of an RGB8 photo of `size × size`: `size × size` values of 0 to 1, row by row.
    /// Blocks.
    fn segment(&self, rgb: &[u8]) -> Result<Vec<f32>, ModelError>;

    /// So many photos at once are worth it.
    fn batch(&self) -> usize {
        1
    }

    /// Finds out how many photos at once are worth it, with a photo of its size. Blocks, for a bounded time.
    fn tune(&self, _rgb: &[u8], _report: &mut dyn FnMut(Progress), _stop: &Stop) -> Result<(), ModelError> {
        Ok(())
    }

    /// The map of each photo, or what is wrong with it. Blocks.
    fn segment_batch(&self, photos: &[&[u8]]) -> Vec<Result<Vec<f32>, ModelError>> {
        photos.iter().map(|rgb| self.segment(rgb)).collect()
    }
}
