//! Where a layer's parameters are and what they are for.

use std::fmt::Display;

use candle_core::{DType, Device, Tensor};
use warmcut_kernels::Level;

use super::super::ModelError;
use super::super::weights::Parameters;

/// What a network is built for.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) device: Device,
    /// Of weights and maps, but for what must be f32.
    pub(super) dtype: DType,
    /// Our own kernels instead of candle's operations, where there are some: on the CPU in f32 alone.
    pub(super) kernels: Option<Level>,
}

/// Parameters under a common beginning of their names.
pub(super) struct Scope<'a> {
    weights: &'a mut dyn Parameters,
    pub(super) target: &'a Target,
    prefix: String,
}

impl<'a> Scope<'a> {
    pub(super) fn new(weights: &'a mut dyn Parameters, target: &'a Target) -> Self {
        Self { weights, target, prefix: String::new() }
    }

    /// The part of this name.
    pub(super) fn part(&mut self, name: impl Display) -> Scope<'_> {
        Scope { weights: self.weights, target: self.target, prefix: format!("{}{name}.", self.prefix) }
    }

    /// The same part, built for something else.
    pub(super) fn with<'b>(&'b mut self, target: &'b Target) -> Scope<'b> {
        Scope { weights: self.weights, target, prefix: self.prefix.clone() }
    }

    /// Whether what is taken has values.
    pub(super) fn has_values(&self) -> bool {
        self.weights.has_values()
    }

    /// As f32.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.weights.take(&format!("{}{name}", self.prefix), shape)
    }

    /// A parameter that is a single number.
    pub(super) fn number(&mut self, name: &str) -> Result<f64, ModelError> {
        Ok(f64::from(self.take(name, &[1])?.squeeze(0)?.to_scalar::<f32>()?))
    }
}
