//! The kinds of networks, each with a description of its own: what all of them can be asked.
//!
//! A new kind is a variant here, a file of its own beside [`super::u2net`], and entries in
//! [`super::registry::NETWORKS`].

use std::io::Write;
use std::sync::Arc;

use super::device::Means;
use super::inspyrenet::{self, InSPyReNetLoader};
use super::weights::Shapes;
use super::{Loader, ModelError, Precision, Source, U2NetLoader, WeightsFile, u2net};

/// How a network is built.
#[derive(Clone, Copy, Debug)]
pub enum Architecture {
    /// U²-Net, its small kin, and IS-Net.
    U2Net(u2net::Config),
    /// InSPyReNet, whatever sees the photo first.
    InSPyReNet(inspyrenet::Config),
}

impl Architecture {
    /// What the network is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::U2Net(config) => config.name,
            Self::InSPyReNet(config) => config.name,
        }
    }

    /// The side of its input in pixels, as it was trained.
    pub const fn size(&self) -> usize {
        match self {
            Self::U2Net(config) => config.size,
            Self::InSPyReNet(config) => config.size,
        }
    }

    /// How many values its parameters have.
    pub fn parameters(&self) -> u64 {
        match self {
            Self::U2Net(config) => config.parameters(),
            Self::InSPyReNet(config) => config.parameters(),
        }
    }

    /// Whether a file has all its parameters, in their shapes; their values are not looked at.
    ///
    /// # Errors
    /// The first that is missing or of another shape.
    pub fn fits(&self, file: &WeightsFile) -> Result<(), ModelError> {
        match self {
            Self::U2Net(config) => config.fits(file),
            Self::InSPyReNet(config) => config.fits(file),
        }
    }

    /// Writes what it takes out of a file as safetensors.
    ///
    /// # Errors
    /// When the file is not this network's, or can't be read, or the other one can't be written.
    pub fn convert(
        &self,
        file: &WeightsFile,
        precision: Precision,
        out: &mut dyn Write,
    ) -> Result<(), ModelError> {
        let mut shapes = Shapes::of(file);
        match self {
            Self::U2Net(config) => drop(config.graph(&mut shapes)?),
            Self::InSPyReNet(config) => config.read(&mut shapes)?,
        }
        shapes.write(precision, out)
    }

    /// Loads it under a name, for photos of `size × size`.
    pub(super) fn loader(&self, name: String, size: usize, source: Source, means: Means) -> Arc<dyn Loader> {
        match self {
            Self::U2Net(config) => {
                let config = u2net::Config { size, ..*config };
                Arc::new(U2NetLoader::new(config, source, means.cpu).named(name).by(means))
            }
            Self::InSPyReNet(config) => {
                let config = inspyrenet::Config { size, ..*config };
                Arc::new(InSPyReNetLoader::new(name, config, source, means))
            }
        }
    }
}
