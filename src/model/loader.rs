//! The U²-Net family behind the room's traits.

use std::sync::Arc;

use candle_core::Tensor;

use super::cpu::CpuNetwork;
use super::device::Cpu;
use super::graph::Graph;
use super::preprocess::normalised;
use super::u2net::Config;
use super::weights::Weights;
use super::{Loaded, Loader, ModelError, Progress, Segmenter, Source, Stop};

/// Loads one network of the family.
pub struct U2NetLoader {
    name: String,
    config: Config,
    source: Source,
    cpu: Cpu,
}

impl U2NetLoader {
    /// A network, where its weights are, and how the CPU computes it.
    pub fn new(config: Config, source: Source, cpu: Cpu) -> Self {
        Self { name: config.name.to_owned(), config, source, cpu }
    }

    /// The same under another name.
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }
}

impl Loader for U2NetLoader {
    fn name(&self) -> &str {
        &self.name
    }

    fn device(&self) -> String {
        "cpu".to_owned()
    }

    fn load(&self, report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<Box<dyn Loaded>, ModelError> {
        let device = self.cpu.device();
        let (graph, bytes) =
            Weights::with(&self.source, &device, report, stop, |weights| self.config.graph(weights))?;
        stop.check()?;
        let (network, bytes) = match self.cpu {
            Cpu::Candle => (Network::Graph(graph), bytes),
            Cpu::Kernels(level) => {
                let network = CpuNetwork::plan(graph, self.config.size, level)?;
                let bytes = network.bytes();
                (Network::Cpu(network), bytes)
            }
        };
        Ok(Box::new(InPlace { network, cpu: self.cpu, config: self.config, bytes }))
    }
}

/// A network as its device computes it.
enum Network {
    /// By our kernels.
    Cpu(CpuNetwork),
    /// By candle's operations.
    Graph(Graph),
}

impl Network {
    fn forward(&self, photo: &Tensor) -> Result<Tensor, ModelError> {
        match self {
            Self::Cpu(network) => network.forward(photo),
            Self::Graph(graph) => graph.forward(photo),
        }
    }
}

/// The network and its device; the same before and after priming.
struct InPlace {
    network: Network,
    cpu: Cpu,
    config: Config,
    bytes: u64,
}

impl Loaded for InPlace {
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
        let detail = format!("device chosen: {}", self.cpu.describe());
        report(Progress { fraction: None, detail: Some(detail) });
        stop.check()?;
        let map = self.segment(rgb)?;
        Ok((Arc::from(self as Box<dyn Segmenter>), map))
    }
}

impl Segmenter for InPlace {
    fn size(&self) -> u32 {
        self.config.size as u32
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn segment(&self, rgb: &[u8]) -> Result<Vec<f32>, ModelError> {
        let Config { size, normalise, .. } = &self.config;
        let input = normalised(rgb, *size, normalise, &self.cpu.device())?;
        Ok(self.network.forward(&input)?.flatten_all()?.to_vec1()?)
    }
}
