//! A map of features, as candle or as our kernels keep it.

use candle_core::{Device, Tensor};
use warmcut_kernels::{Buffer, LANES, Plane, PlaneMut, Source, planes};

use super::super::ModelError;
use super::by_kernels::with_values;

/// A map of features.
pub(super) enum Map {
    /// `[B, C, H, W]`
    Candles(Tensor),
    /// One photo's.
    Ours(Packed),
}

impl Map {
    /// For candle's operations.
    pub(super) fn tensor(&self) -> Result<Tensor, ModelError> {
        match self {
            Self::Candles(tensor) => Ok(tensor.clone()),
            Self::Ours(packed) => packed.tensor(),
        }
    }

    /// For our kernels.
    pub(super) fn packed(self) -> Result<Packed, ModelError> {
        match self {
            Self::Candles(tensor) => Packed::of(&tensor),
            Self::Ours(packed) => Ok(packed),
        }
    }
}

/// As our kernels keep it: f32, on the CPU.
pub(super) struct Packed {
    data: Buffer,
    channels: usize,
    size: (usize, usize),
}

impl Packed {
    /// Of zeros.
    pub(super) fn zeroed(channels: usize, size: (usize, usize)) -> Self {
        Self { data: Buffer::zeroed(channels.div_ceil(LANES) * size.0 * size.1), channels, size }
    }

    /// `[1, C, H, W]`
    pub(super) fn of(tensor: &Tensor) -> Result<Self, ModelError> {
        let (_, channels, height, width) = tensor.dims4()?;
        let mut packed = Self::zeroed(channels, (height, width));
        with_values(tensor, |values| planes::pack(values, channels, &mut packed.plane_mut()))?;
        Ok(packed)
    }

    /// `[1, C, H, W]`
    pub(super) fn tensor(&self) -> Result<Tensor, ModelError> {
        let values = planes::unpack(&self.plane(), self.channels);
        Ok(Tensor::from_vec(values, (1, self.channels, self.size.0, self.size.1), &Device::Cpu)?)
    }

    pub(super) fn plane(&self) -> Plane<'_> {
        Plane::new(&self.data, self.channels.div_ceil(LANES), self.size.0, self.size.1)
    }

    pub(super) fn plane_mut(&mut self) -> PlaneMut<'_> {
        PlaneMut::new(&mut self.data, self.channels.div_ceil(LANES), self.size.0, self.size.1)
    }

    /// At this size, which is its own or twice that.
    pub(super) fn seen_at(&self, size: (usize, usize)) -> Source<'_> {
        if self.size == size { Source::Plane(self.plane()) } else { Source::Doubled(self.plane()) }
    }
}
