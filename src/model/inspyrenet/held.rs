//! Parameters in the host's memory, for a device that isn't there yet.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::super::weights::{Parameters, shaped};
use super::super::{ModelError, Stop};
use super::config::Config;
use super::scope::Target;

/// A network's parameters, each of which is gone from here once it was taken.
pub(super) struct Held(BTreeMap<String, Tensor>);

impl Held {
    /// All of them.
    pub(super) fn read(weights: &mut dyn Parameters, config: &Config) -> Result<Self, ModelError> {
        let mut holding = Holding { weights, held: BTreeMap::new() };
        let nowhere = Target { device: Device::Cpu, dtype: DType::F32, kernels: None };
        config.network(&mut holding, &nowhere)?;
        Ok(Self(holding.held))
    }

    /// On their way to a device.
    pub(super) fn to<'a>(self, device: &'a Device, stop: &'a Stop) -> impl Parameters + 'a {
        Moving { held: self.0, device, stop }
    }
}

/// Keeps what is asked for, and gives something of its shape.
struct Holding<'a> {
    weights: &'a mut dyn Parameters,
    held: BTreeMap<String, Tensor>,
}

impl Parameters for Holding<'_> {
    fn has_values(&self) -> bool {
        false
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let tensor = self.weights.take(name, shape)?;
        self.held.insert(name.to_owned(), tensor);
        // What is made of it is thrown away.
        shaped(shape)
    }
}

struct Moving<'a> {
    held: BTreeMap<String, Tensor>,
    device: &'a Device,
    stop: &'a Stop,
}

impl Parameters for Moving<'_> {
    fn take(&mut self, name: &str, _: &[usize]) -> Result<Tensor, ModelError> {
        self.stop.check()?;
        let tensor = self.held.remove(name);
        // The network asked for the same ones before.
        let tensor = tensor.ok_or_else(|| ModelError::Other(format!("{name} is taken twice")))?;
        Ok(tensor.to_device(self.device)?)
    }
}
