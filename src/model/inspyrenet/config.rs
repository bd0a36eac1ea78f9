//! The networks of the family.

use candle_core::{DType, Device};

use super::super::ModelError;
use super::super::weights::{Parameters, Shapes, WeightsFile};
use super::network::Network;
use super::scope::{Scope, Target};

/// What turns a photo into maps at a quarter, a quarter, an eighth, a sixteenth and a thirty-second of its
/// size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backbone {
    /// The Swin transformer (Liu et al. 2021, <https://arxiv.org/abs/2103.14030>).
    Swin {
        /// Channels of a patch; twice as many at each further stage.
        channels: usize,
        /// Blocks of each stage.
        depths: [usize; 4],
        /// Heads of each stage's attention.
        heads: [usize; 4],
        /// The side of a window in patches.
        window: usize,
    },
    /// Res2Net-50 v1b, 26w 4s (Gao et al. 2019, <https://arxiv.org/abs/1904.01169>).
    Res2Net50,
}

/// A network of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What it is called.
    pub name: &'static str,
    /// The side of its input in pixels; a multiple of 32.
    pub size: usize,
    /// What sees the photo first.
    pub backbone: Backbone,
}

const SWIN_B: Backbone =
    Backbone::Swin { channels: 128, depths: [2, 2, 18, 2], heads: [4, 8, 16, 32], window: 12 };

/// The one of `ckpt_base.pth` and `ckpt_base_nightly.pth`.
pub const BASE: Config = Config { name: "inspyrenet", size: 1024, backbone: SWIN_B };

/// The one of `ckpt_fast.pth`.
pub const FAST: Config = Config { name: "inspyrenet-fast", size: 384, backbone: SWIN_B };

/// The one of the paper's table with a convolutional backbone.
pub const RES2NET50: Config =
    Config { name: "inspyrenet-res2net50", size: 384, backbone: Backbone::Res2Net50 };

impl Backbone {
    /// Channels of its maps.
    pub(super) fn outputs(&self) -> [usize; 5] {
        match *self {
            // The patches themselves come first.
            Self::Swin { channels, .. } => [1, 1, 2, 4, 8].map(|times| times * channels),
            Self::Res2Net50 => [64, 256, 512, 1024, 2048],
        }
    }
}

impl Config {
    /// How many values its parameters have.
    pub fn parameters(&self) -> u64 {
        let mut shapes = Shapes::default();
        self.read(&mut shapes).expect("a table makes a network");
        shapes.values
    }

    /// Whether a file has all parameters of the network, in their shapes; their values are not looked at.
    ///
    /// # Errors
    /// The first that is missing or of another shape.
    pub fn fits(&self, file: &WeightsFile) -> Result<(), ModelError> {
        self.read(&mut Shapes::of(file))
    }

    /// Asks for all of its parameters.
    pub(in super::super) fn read(&self, shapes: &mut Shapes<'_>) -> Result<(), ModelError> {
        self.network(shapes, &Target { device: Device::Cpu, dtype: DType::F32, kernels: None })?;
        Ok(())
    }

    /// The network with its parameters out of the weights.
    pub(super) fn network(
        &self,
        weights: &mut dyn Parameters,
        target: &Target,
    ) -> Result<Network, ModelError> {
        Network::take(&mut Scope::new(weights, target), self)
    }
}
