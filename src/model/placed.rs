//! A network on its device, whatever its family: photos to maps, on a GPU as many at once as are worth it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor};

use super::batch;
use super::fingerprint::WeightsSum;
use super::preprocess::{Normalise, normalised};
use super::{Fingerprint, ModelError, Precision, Progress, Segmenter, Stop};

/// What a family computes.
pub(super) trait Maps: Send + Sync + 'static {
    /// `[B, 3, size, size]` on the network's device to the maps of each photo.
    fn maps(&self, photos: &Tensor) -> Result<Vec<Vec<f32>>, ModelError>;
}

/// What a network sees: the side of its photos in pixels, and what is done to their values.
#[derive(Clone, Copy)]
pub(super) struct Sees {
    pub(super) size: usize,
    pub(super) normalise: Normalise,
}

/// A network in place.
pub(super) struct Placed<N> {
    network: N,
    /// None is the CPU.
    pub(super) gpu: Option<Device>,
    sees: Sees,
    bytes: u64,
    sum: WeightsSum,
    precision: Precision,
    /// So many photos at once are worth it.
    bound: AtomicUsize,
}

impl<N: Maps> Placed<N> {
    pub(super) fn on_cpu(network: N, sees: Sees, (bytes, sum): (u64, WeightsSum)) -> Self {
        Self { network, gpu: None, sees, bytes, sum, precision: Precision::F32, bound: AtomicUsize::new(1) }
    }

    /// Waits until its weights are there: copies are only begun until then.
    pub(super) fn on_gpu(
        network: N,
        gpu: Device,
        sees: Sees,
        (bytes, sum): (u64, WeightsSum),
        precision: Precision,
    ) -> Result<Self, ModelError> {
        gpu.synchronize()?;
        Ok(Self { network, gpu: Some(gpu), sees, bytes, sum, precision, bound: AtomicUsize::new(1) })
    }

    /// The first run.
    pub(super) fn primed(
        self,
        rgb: &[u8],
        report: &mut dyn FnMut(Progress),
    ) -> Result<(Arc<dyn Segmenter>, Vec<f32>), ModelError> {
        let begun = Instant::now();
        let map = self.segment(rgb)?;
        if self.gpu.is_some() {
            report(Progress::step(format!("first run in {} ms", begun.elapsed().as_millis())));
        }
        Ok((Arc::new(self), map))
    }

    fn normalised(&self, rgb: &[u8]) -> Result<Tensor, ModelError> {
        normalised(rgb, self.sees.size, &self.sees.normalise, &Device::Cpu)
    }

    /// `[B, 3, size, size]` in the host's memory to the maps of each photo.
    fn forward(&self, photos: &Tensor) -> Result<Vec<Vec<f32>>, ModelError> {
        self.network.maps(&photos.to_device(self.gpu.as_ref().unwrap_or(&Device::Cpu))?)
    }

    /// The same as one run, with photos that are of the right size.
    fn together(&self, photos: &[&[u8]]) -> Result<Vec<Vec<f32>>, ModelError> {
        let inputs = photos.iter().map(|rgb| self.normalised(rgb)).collect::<Result<Vec<_>, _>>()?;
        let maps = self.forward(&Tensor::cat(&inputs, 0)?);
        if let Err(ModelError::OutOfMemory { .. }) = &maps {
            // There was room once, and may not be again before the next load; a smaller bound stays.
            self.bound.fetch_min((photos.len() / 2).max(1), Ordering::Relaxed);
        }
        maps
    }
}

impl<N: Maps> Segmenter for Placed<N> {
    fn size(&self) -> u32 {
        self.sees.size as u32
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.sum, self.sees.size, self.precision)
    }

    fn segment(&self, rgb: &[u8]) -> Result<Vec<f32>, ModelError> {
        Ok(self.forward(&self.normalised(rgb)?)?.pop().unwrap_or_default())
    }

    fn batch(&self) -> usize {
        self.bound.load(Ordering::Relaxed)
    }

    fn tune(&self, rgb: &[u8], report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<(), ModelError> {
        if self.gpu.is_none() {
            return Ok(());
        }
        let run = |photos| {
            stop.check()?;
            self.together(&vec![rgb; photos]).map(drop)
        };
        let (bound, said) = batch::measure(run, Instant::now)?;
        self.bound.store(bound, Ordering::Relaxed);
        report(Progress::step(said));
        Ok(())
    }

    fn segment_batch(&self, photos: &[&[u8]]) -> Vec<Result<Vec<f32>, ModelError>> {
        let fits = |rgb: &&[u8]| rgb.len() == self.sees.size * self.sees.size * 3;
        if self.gpu.is_none() || !photos.iter().all(fits) {
            return photos.iter().map(|rgb| self.segment(rgb)).collect();
        }
        match self.together(photos) {
            Ok(maps) => maps.into_iter().map(Ok).collect(),
            Err(error) => photos.iter().map(|_| Err(error.again())).collect(),
        }
    }
}
