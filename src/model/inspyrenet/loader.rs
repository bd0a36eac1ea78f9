//! The family behind the room's traits.
//!
//! As with U²-Net, a GPU is opened beside the reading of the weights and is told of in the next stage. Where it is
//! known from the start that there is none, the network is built for the CPU as its weights are read.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use parking_lot::Mutex;

use super::super::device::{Cpu, Means, Module, Opening};
use super::super::fingerprint::WeightsSum;
use super::super::network::Network as Known;
use super::super::placed::{Maps, Placed, Sees};
use super::super::preprocess::IMAGENET;
use super::super::weights::{Built, Weights};
use super::super::{Loaded, Loader, ModelError, Progress, Segmenter, Source, Stop};
use super::config::Config;
use super::held::Held;
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
}

impl Loader for InSPyReNetLoader {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> String {
        self.device.lock().clone()
    }

    fn load(&self, report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<Box<dyn Loaded>, ModelError> {
        let Self { config, means, .. } = *self;
        let opening = means.wanted.open(&MODULES).settle();
        let build = |weights: &mut Weights<'_>| match opening.is_cpu() {
            true => Ok(Parts::Built(Box::new(config.network(weights, &on_cpu(means.cpu))?))),
            false => Held::read(weights, &config).map(Parts::Held),
        };
        let Built { network: parts, bytes, sum } =
            Weights::with(&self.source, &Device::Cpu, report, stop, build)
                .map_err(|error| Known::explain(config.name, &self.source, error))?;
        stop.check()?;
        let name = Arc::clone(&self.device);
        // A file's values may be wider than those that are kept.
        let bytes = bytes.min(kept(&config, DType::F32));
        Ok(Box::new(Read { parts, opening, config, means, name, bytes, sum }))
    }
}

/// Bytes of its parameters.
fn kept(config: &Config, dtype: DType) -> u64 {
    config.parameters() * dtype.size_in_bytes() as u64
}

fn on_cpu(cpu: Cpu) -> Target {
    let kernels = match cpu {
        Cpu::Kernels(level) => Some(level),
        Cpu::Candle => None,
    };
    Target { device: Device::Cpu, dtype: DType::F32, kernels }
}

enum Parts {
    /// For the CPU.
    Built(Box<Network>),
    Held(Held),
}

/// A network in the host's memory, and its device on the way.
struct Read {
    parts: Parts,
    opening: Opening,
    config: Config,
    means: Means,
    name: Arc<Mutex<String>>,
    bytes: u64,
    sum: WeightsSum,
}

impl Loaded for Read {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn size(&self) -> u32 {
        self.config.size as u32
    }

    fn prime(
        self: Box<Self>,
        rgb: &[u8],
        report: &mut dyn FnMut(Progress),
        stop: &Stop,
    ) -> Result<(Arc<dyn Segmenter>, Vec<f32>), ModelError> {
        let Self { parts, opening, config, means, name, bytes, sum } = *self;
        let gpu = opening.wait(report, stop)?.choose(&name, means, report);
        stop.check()?;
        let sees = sees(&config);
        let placed = match (parts, gpu) {
            (Parts::Built(network), _) => Placed::on_cpu(*network, sees, (bytes, sum)),
            (Parts::Held(held), None) => {
                let network = config.network(&mut held.to(&Device::Cpu, stop), &on_cpu(means.cpu))?;
                Placed::on_cpu(network, sees, (bytes, sum))
            }
            (Parts::Held(held), Some(gpu)) => {
                let (begun, dtype) = (Instant::now(), means.precision.dtype());
                let target = Target { device: gpu.device.clone(), dtype, kernels: None };
                let network = config.network(&mut held.to(&gpu.device, stop), &target)?;
                let bytes = bytes.min(kept(&config, dtype));
                let placed = Placed::on_gpu(network, gpu.device, sees, (bytes, sum), means.precision)?;
                report(Progress::copied(bytes, begun));
                placed
            }
        };
        stop.check()?;
        placed.primed(rgb, report)
    }
}

fn sees(config: &Config) -> Sees {
    Sees { size: config.size, normalise: IMAGENET }
}

impl Maps for Network {
    fn maps(&self, photos: &Tensor) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut maps: Vec<Vec<f32>> = self.forward(photos)?.flatten_from(1)?.to_vec2()?;
        // Each by itself: one photo's subject must not change another's map.
        maps.iter_mut().for_each(|map| stretch(map));
        Ok(maps)
    }
}

#[cfg(test)]
mod tests;
