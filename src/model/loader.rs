//! The U²-Net family behind the room's traits.

use std::sync::Arc;

use candle_core::Device;

use super::preprocess::normalised;
use super::u2net::{Config, U2Net};
use super::{Loaded, Loader, ModelError, Progress, Segmenter, Source, Stop, Weights, device};

/// Loads one network of the family.
pub struct U2NetLoader {
    config: Config,
    source: Source,
}

impl U2NetLoader {
    /// A network and where its weights are.
    pub fn new(config: Config, source: Source) -> Self {
        Self { config, source }
    }
}

impl Loader for U2NetLoader {
    fn name(&self) -> &str {
        self.config.name
    }

    fn device(&self) -> String {
        "cpu".to_owned()
    }

    fn load(&self, report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<Box<dyn Loaded>, ModelError> {
        let (device, _) = device::cpu();
        let (network, bytes) =
            Weights::with(&self.source, &device, report, stop, |weights| U2Net::new(&self.config, weights))?;
        Ok(Box::new(InPlace { network, size: self.config.size, bytes, device }))
    }
}

/// The network and its device; the same before and after priming.
struct InPlace {
    network: U2Net,
    size: usize,
    bytes: u64,
    device: Device,
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
        let (_, detail) = device::cpu();
        report(Progress { fraction: None, detail: Some(format!("device chosen: {detail}")) });
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
        let input = normalised(rgb, self.size, &self.device)?;
        Ok(self.network.forward(&input)?.flatten_all()?.to_vec1()?)
    }
}
