//! GPUs by CUDA, where the program is built with it.

use candle_core::Device;

#[cfg(any(test, feature = "cuda"))]
use super::Wanted;
use super::opening::Step;
use crate::model::ModelError;

#[cfg(feature = "cuda")]
mod cuda;

/// Whether this program can use a GPU at all.
pub(super) const IS_BUILT_IN: bool = cfg!(feature = "cuda");

/// Kernels that are loaded together. The driver compiles a module for its GPU when it is loaded, so a network names
/// those that it needs, and no photo waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "candle's own words; a comment would repeat them")]
pub enum Module {
    Affine,
    Binary,
    Cast,
    Conv,
    Fill,
    Indexing,
    Reduce,
    Ternary,
    Unary,
}

/// A GPU that works: its context is there, and it has computed something.
pub struct Gpu {
    /// Where tensors are put.
    pub device: Device,
    /// What stages call it: `cuda:0`.
    pub name: String,
    /// What it is, for people.
    pub about: String,
}

#[cfg(any(test, feature = "cuda"))]
impl Gpu {
    pub(super) fn of(device: Device, ordinal: usize, about: impl Into<String>) -> Self {
        Self { device, name: Wanted::Cuda(ordinal).to_string(), about: about.into() }
    }
}

/// Those of a machine.
pub(super) trait Gpus: Send {
    /// How many the driver knows.
    fn count(&self) -> Result<usize, ModelError>;

    /// Opens one, step by step, and has it compute something.
    fn open(&self, ordinal: usize, tell: &mut dyn FnMut(Step)) -> Result<Gpu, ModelError>;
}

/// This machine's, each of which is to load these modules; none where the program is built without CUDA.
pub(super) fn gpus(modules: &'static [Module]) -> Option<Box<dyn Gpus>> {
    #[cfg(feature = "cuda")]
    {
        Some(Box::new(cuda::Cuda(modules)))
    }
    #[cfg(not(feature = "cuda"))]
    {
        let _ = modules;
        None
    }
}

/// The device of tests that know of one: `WARMCUT_TEST_DEVICE`, else the CPU, which computes the same with candle's own
/// operations.
#[cfg(test)]
pub(in crate::model) fn for_tests(modules: &'static [Module]) -> Gpu {
    let wanted = std::env::var("WARMCUT_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    let parsed: Wanted = wanted.parse().expect("a device");
    match parsed.open(modules).wait(&mut |_| (), &crate::model::Stop::default()) {
        Ok(super::On::Gpu(gpu)) => gpu,
        Ok(super::On::Cpu { .. }) if parsed == Wanted::Cpu => {
            Gpu { device: Device::Cpu, name: wanted, about: "candle's own operations".into() }
        }
        Ok(super::On::Cpu { why }) => panic!("{wanted}: {why:?}"),
        Err(error) => panic!("{error}"),
    }
}
