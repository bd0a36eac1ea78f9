//! Every stage against PyTorch's; see `tests/golden/inspyrenet/make.py`.

pub(super) mod formula;
mod pace;
mod parity;

use candle_core::{Device, Tensor};

use super::super::ModelError;
use super::super::preprocess::{self, IMAGENET};

/// RGB8 of `size × size` as the network sees it.
fn normalised(rgb: &[u8], size: usize) -> Result<Tensor, ModelError> {
    preprocess::normalised(rgb, size, &IMAGENET, &Device::Cpu)
}
