//! The U²-Net family behind the room's traits.
//!
//! The weights are read into the host's memory while a GPU is opened on another thread, because either takes long:
//! `model_load` is the reading, and `gpu_ready` begins with what is left of the opening.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};
use parking_lot::Mutex;

use super::cpu::CpuNetwork;
use super::device::{Cpu, Gpu, Means, Module, Opening, Wanted};
use super::fingerprint::WeightsSum;
use super::graph::Graph;
use super::network::Network as Known;
use super::placed::{Maps, Placed, Sees};
use super::u2net::Config;
use super::weights::{Built, Weights};
use super::{Loaded, Loader, ModelError, Precision, Progress, Segmenter, Source, Stop};

/// What candle computes a graph with, on a GPU.
const MODULES: [Module; 6] =
    [Module::Affine, Module::Binary, Module::Cast, Module::Conv, Module::Fill, Module::Unary];

/// Loads one network of the family.
pub struct U2NetLoader {
    name: String,
    config: Config,
    source: Source,
    means: Means,
    /// What it runs on, as far as that is known.
    device: Arc<Mutex<String>>,
}

impl U2NetLoader {
    /// A network, where its weights are, and how the CPU computes it.
    pub fn new(config: Config, source: Source, cpu: Cpu) -> Self {
        let device = Arc::new(Mutex::new(Wanted::Cpu.name()));
        let (name, means) = (config.name.to_owned(), Means { cpu, wanted: Wanted::Cpu, ..Means::default() });
        Self { name, config, source, means, device }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The same by other means.
    #[must_use]
    pub fn by(self, means: Means) -> Self {
        *self.device.lock() = means.wanted.name();
        Self { means, ..self }
    }
}

impl Loader for U2NetLoader {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> String {
        self.device.lock().clone()
    }

    fn load(&self, report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<Box<dyn Loaded>, ModelError> {
        let opening = self.means.wanted.open(&MODULES);
        let Built { network: graph, bytes, sum } =
            Weights::with(&self.source, &Device::Cpu, report, stop, |weights| self.config.graph(weights))
                .map_err(|error| Known::explain(self.config.name, &self.source, error))?;
        stop.check()?;
        let opening = opening.settle();
        let size = self.config.size;
        // Planning is work of this stage, where it is known that there is something to plan.
        let (network, bytes) = match opening.is_cpu() {
            true => planned(graph, size, self.means.cpu)?,
            false => (Network::Graph(graph), bytes),
        };
        let (config, means, name) = (self.config, self.means, Arc::clone(&self.device));
        Ok(Box::new(Read { network, opening, config, bytes, sum, means, name }))
    }
}

/// A network as its device computes it.
enum Network {
    /// By our kernels.
    Cpu(CpuNetwork),
    /// By candle's operations.
    Graph(Graph),
}

/// For the CPU, with its bytes.
fn planned(graph: Graph, size: usize, cpu: Cpu) -> Result<(Network, u64), ModelError> {
    match cpu {
        Cpu::Candle => {
            let bytes = graph.bytes();
            Ok((Network::Graph(graph), bytes))
        }
        Cpu::Kernels(level) => {
            let network = CpuNetwork::plan(graph, size, level)?;
            let bytes = network.bytes();
            Ok((Network::Cpu(network), bytes))
        }
    }
}

/// A network in the host's memory, and its device on the way.
struct Read {
    network: Network,
    opening: Opening,
    config: Config,
    bytes: u64,
    sum: WeightsSum,
    means: Means,
    name: Arc<Mutex<String>>,
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
        let Self { network, opening, config, bytes, sum, means, name } = *self;
        let waits = !opening.is_cpu();
        let on = opening.wait(report, stop)?.choose(&name, means, report);
        stop.check()?;
        let sees = sees(&config);
        let placed = match (on, network) {
            (None, Network::Graph(graph)) if waits => {
                let (network, bytes) = planned(graph, config.size, means.cpu)?;
                Placed::on_cpu(network, sees, (bytes, sum))
            }
            (None, network) => Placed::on_cpu(network, sees, (bytes, sum)),
            (Some(gpu), Network::Graph(graph)) => {
                let begun = Instant::now();
                let placed = on_gpu((graph, sum), gpu, sees, means.precision)?;
                report(Progress::copied(placed.bytes(), begun));
                placed
            }
            // It was planned for the CPU because there is no GPU.
            (Some(_), Network::Cpu(_)) => return Err(ModelError::Graph { node: 0 }),
        };
        stop.check()?;
        placed.primed(rgb, report)
    }
}

fn sees(config: &Config) -> Sees {
    Sees { size: config.size, normalise: config.normalise }
}

fn on_gpu(
    (graph, sum): (Graph, WeightsSum),
    gpu: Gpu,
    sees: Sees,
    precision: Precision,
) -> Result<Placed<Network>, ModelError> {
    let graph = graph.to(&gpu.device, precision.dtype())?;
    let bytes = graph.bytes();
    Placed::on_gpu(Network::Graph(graph), gpu.device, sees, (bytes, sum), precision)
}

impl Maps for Network {
    fn maps(&self, photos: &Tensor) -> Result<Vec<Vec<f32>>, ModelError> {
        let maps = match self {
            Self::Cpu(network) => network.forward(photos)?,
            Self::Graph(graph) => graph.forward(photos)?,
        };
        // [B, 1, size, size]
        Ok(maps.flatten_from(1)?.to_vec2()?)
    }
}

#[cfg(test)]
mod tests;
