//! The family behind the room's traits.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use parking_lot::Mutex;

use super::super::device::{Cpu, Means, Module, On, Wanted};
use super::super::preprocess::{self, IMAGENET};
use super::super::weights::Weights;
use super::super::{Loaded, Loader, ModelError, Progress, Segmenter, Source, Stop};
use super::config::Config;
use super::network::{Network, stretch};
use super::scope::Target;

/// What candle computes these networks with, on a GPU.
const MODULES: [Module; 9] = [
    Module::Affine,
    Module::Binary,
    Module::Cast,
    Module::Conv,
    Module::Fill,
    Module::Indexing,
    Module::Reduce,
    Module::Ternary,
    Module::Unary,
];

/// Loads one network of the family.
pub struct InSPyReNetLoader {
    name: String,
    config: Config,
    source: Source,
    means: Means,
    /// What it runs on, as far as that is known.
    device: Arc<Mutex<String>>,
}

impl InSPyReNetLoader {
    /// A network under a name, where its weights are, and what computes it.
    pub fn new(name: String, config: Config, source: Source, means: Means) -> Self {
        let device = Arc::new(Mutex::new(means.wanted.name()));
        Self { name, config, source, means, device }
    }

    /// What the network is built for, and that for people. Waits for a GPU: each parameter goes there as it is read.
    fn target(&self, report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<(Target, String), ModelError> {
        let Means { wanted, cpu, precision } = self.means;
        match wanted.open(&MODULES).wait(report, stop)? {
            On::Gpu(gpu) => {
                self.device.lock().clone_from(&gpu.name);
                tracing::info!(device = gpu.name, gpu = gpu.about, "the model runs on a GPU");
                let described = format!("{}, {}", gpu.name, gpu.about);
                Ok((Target { device: gpu.device, dtype: precision.dtype(), kernels: None }, described))
            }
            On::Cpu { why } => {
                *self.device.lock() = Wanted::Cpu.name();
                if let Some(why) = why {
                    tracing::warn!(why, "no GPU can be used; the model runs on the CPU");
                    report(Progress::step(format!("no GPU can be used: {why}")));
                }
                let kernels = match cpu {
                    Cpu::Kernels(level) => Some(level),
                    Cpu::Candle => None,
                };
                Ok((Target { device: Device::Cpu, dtype: DType::F32, kernels }, cpu.describe()))
            }
        }
    }
}

impl Loader for InSPyReNetLoader {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> String {
        self.device.lock().clone()
    }

    fn load(&self, report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<Box<dyn Loaded>, ModelError> {
        let (target, described) = self.target(report, stop)?;
        let build = |weights: &mut Weights<'_>| self.config.network(weights, &target);
        let (network, bytes) = Weights::with(&self.source, &target.device, report, stop, build)?;
        stop.check()?;
        // A file's values may be wider than those that are kept.
        let kept = self.config.parameters() * target.dtype.size_in_bytes() as u64;
        let (device, size) = (target.device, self.config.size);
        Ok(Box::new(InPlace { network, device, described, size, bytes: bytes.min(kept) }))
    }
}

/// The network and its device; the same before and after priming.
struct InPlace {
    network: Network,
    device: Device,
    /// For people.
    described: String,
    size: usize,
    bytes: u64,
}

impl Loaded for InPlace {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn size(&self) -> u32 {
        self.size as u32
    }

    fn prime(
        self: Box<Self>,
        rgb: &[u8],
        report: &mut dyn FnMut(Progress),
        stop: &Stop,
    ) -> Result<(Arc<dyn Segmenter>, Vec<f32>), ModelError> {
        let detail = format!("device chosen: {}", self.described);
        report(Progress::step(detail));
        stop.check()?;
        let map = self.segment(rgb)?;
        Ok((Arc::from(self as Box<dyn Segmenter>), map))
    }
}

impl Segmenter for InPlace {
    fn size(&self) -> u32 {
        self.size as u32
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn segment(&self, rgb: &[u8]) -> Result<Vec<f32>, ModelError> {
        let photo = normalised(rgb, self.size, &self.device)?;
        let mut map: Vec<f32> = self.network.forward(&photo)?.flatten_all()?.to_vec1()?;
        stretch(&mut map);
        Ok(map)
    }
}

/// RGB8 of `size × size` to `[1, 3, size, size]`: divided by 255, then by ImageNet's mean and deviation.
pub(super) fn normalised(rgb: &[u8], size: usize, device: &Device) -> Result<Tensor, ModelError> {
    preprocess::normalised(rgb, size, &IMAGENET, device)
}
