//! Attention among the patches of a window, with windows that may be shifted by half their side.

use candle_core::{D, DType, IndexOp, Tensor};
use warmcut_kernels::{Level, windows};

use super::super::ModelError;
use super::by_kernels::with_values;
use super::layers::Linear;
use super::ops::{matmul, softmax};
use super::scope::Scope;

/// How a square map is divided into windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    /// Patches on each side of the map.
    pub(super) side: usize,
    /// Patches on each side of a window.
    pub(super) window: usize,
}

impl Windows {
    /// Windows on each side; the last may lie partly beyond the map.
    fn count(&self) -> usize {
        self.side.div_ceil(self.window)
    }

    fn padded(&self) -> usize {
        self.count() * self.window
    }

    fn shift(&self) -> usize {
        self.window / 2
    }

    /// What a shifted window must keep apart: the last window of a row or column holds what was beside the
    /// first on the other side of the map. For each patch of each window, in their order, a number that is
    /// equal where patches belong together.
    fn regions(&self) -> Vec<f32> {
        let (count, window, padded) = (self.count(), self.window, self.padded());
        let region =
            |at: usize| usize::from(at >= padded - window) + usize::from(at >= padded - self.shift());
        let mut regions = Vec::with_capacity(padded * padded);
        for (row, column) in (0..count * count).map(|n| (n / count * window, n % count * window)) {
            for (down, across) in (0..window * window).map(|n| (n / window, n % window)) {
                regions.push((3 * region(row + down) + region(column + across)) as f32);
            }
        }
        regions
    }
}

/// Which windows' patches must not see each other, for the blocks of one stage.
pub(super) struct Mask {
    /// `[windows, patches]`
    regions: Tensor,
    kernels: bool,
}

/// What a mask adds to scores, `[windows, 1, patches, patches]`.
pub(super) struct Scores(Tensor);

impl Mask {
    pub(super) fn new(windows: Windows, scope: &Scope<'_>) -> Result<Self, ModelError> {
        let shape = (windows.count().pow(2), windows.window.pow(2));
        let regions = Tensor::from_vec(windows.regions(), shape, &scope.target.device)?;
        Ok(Self { regions, kernels: scope.target.kernels.is_some() })
    }

    pub(super) fn scores(&self, dtype: DType) -> Result<Scores, ModelError> {
        /// The checkpoints know no lower score: what is far away is seen a little by who sees nothing else.
        const APART: f64 = -100.0;
        if self.kernels {
            // They find that out by themselves.
            return Ok(Scores(self.regions.clone()));
        }
        let apart = self.regions.unsqueeze(2)?.broadcast_ne(&self.regions.unsqueeze(1)?)?;
        Ok(Scores((apart.to_dtype(dtype)? * APART)?.unsqueeze(1)?))
    }
}

pub(super) struct WindowAttention {
    heads: usize,
    /// Query, key and value, one after the other.
    seen: Linear,
    /// What the place of one patch relative to another adds to a score, `[heads, patches, patches]`.
    places: Tensor,
    out: Linear,
    kernels: Option<Level>,
}

impl WindowAttention {
    pub(super) fn take(
        scope: &mut Scope<'_>,
        channels: usize,
        heads: usize,
        window: usize,
    ) -> Result<Self, ModelError> {
        let reach = 2 * window - 1;
        let table = scope.take("relative_position_bias_table", &[reach * reach, heads])?.contiguous()?;
        let (patches, kernels) = (window * window, scope.target.kernels);
        let index = (0..patches * patches).map(|n| {
            let (from, to) = (n / patches, n % patches);
            let down = from / window + window - 1 - to / window;
            let across = from % window + window - 1 - to % window;
            (down * reach + across) as u32
        });
        let index = Tensor::from_iter(index, table.device())?;
        let places = table.index_select(&index, 0)?.t()?.reshape((heads, patches, patches))?;
        Ok(Self {
            heads,
            seen: Linear::take(&mut scope.part("qkv"), [channels, 3 * channels], true)?,
            places: places.to_dtype(scope.target.dtype)?,
            out: Linear::take(&mut scope.part("proj"), [channels, channels], true)?,
            kernels,
        })
    }

    /// `[B, H, W, C]`, and another of that shape that is added to the result. With a mask the windows are
    /// shifted.
    pub(super) fn add_to(
        &self,
        other: &Tensor,
        x: &Tensor,
        windows: Windows,
        mask: Option<&Scores>,
    ) -> Result<Tensor, ModelError> {
        if let Some(level) = self.kernels {
            return self.by_kernels(level, other, x, windows, mask.is_some());
        }
        let seen = padded(self.seen.forward(x)?, self.seen.bias.as_ref(), windows)?;
        let shift = if mask.is_some() { windows.shift() as i32 } else { 0 };
        let seen = seen.roll(-shift, 1)?.roll(-shift, 2)?;
        let y = self.attend(&seen, windows, mask)?;
        let y = y.roll(shift, 1)?.roll(shift, 2)?;
        let y = y.narrow(1, 0, windows.side)?.narrow(2, 0, windows.side)?;
        // Each patch by itself, so not before those beyond the map are gone.
        self.out.add_to(other, &y)
    }

    fn by_kernels(
        &self,
        level: Level,
        other: &Tensor,
        x: &Tensor,
        Windows { side, window }: Windows,
        is_shifted: bool,
    ) -> Result<Tensor, ModelError> {
        let shift = if is_shifted { window / 2 } else { 0 };
        let width = x.dim(D::Minus1)? / self.heads;
        let windows = windows::Windows { side, window, shift, heads: self.heads, width };
        let seen = self.seen.product(x)?;
        let bias = self.seen.bias.as_ref().unwrap_or(&self.places);
        let y = with_values(&seen, |seen| {
            with_values(bias, |bias| {
                with_values(&self.places, |places| windows.attend(level, seen, bias, places))
            })
        })???;
        drop(seen);
        self.out.add_to(other, &Tensor::from_vec(y, x.shape(), x.device())?)
    }

    /// `[B, H, W, 3·C]` of whole windows to `[B, H, W, C]`.
    fn attend(&self, seen: &Tensor, windows: Windows, mask: Option<&Scores>) -> Result<Tensor, ModelError> {
        let (batch, side, _, channels) = seen.dims4()?;
        let (count, window) = (windows.count(), windows.window);
        let (all, patches) = (batch * count * count, window * window);
        let (heads, width) = (self.heads, channels / 3 / self.heads);
        // To [3, windows, heads, patches, width].
        let seen = seen.reshape(vec![batch, count, window, count, window, 3, heads, width])?;
        let seen = seen.permute(vec![5, 0, 1, 3, 6, 2, 4, 7])?;
        let seen = seen.reshape((3, all, heads, patches, width))?;
        let (query, key, value) = (seen.i(0)?, seen.i(1)?, seen.i(2)?);
        let query = (query * (width as f64).powf(-0.5))?;
        let scores = matmul(&query, &key.transpose(2, 3)?)?.broadcast_add(&self.places)?;
        let scores = match mask {
            Some(Scores(mask)) => {
                // Every photo of a batch has the same windows.
                let shape = (batch, count * count, heads * patches * patches);
                let mask = mask.broadcast_as((count * count, heads, patches, patches))?;
                let mask = mask.reshape((1, count * count, heads * patches * patches))?;
                let scores = scores.reshape(shape)?.broadcast_add(&mask)?;
                scores.reshape((all, heads, patches, patches))?
            }
            None => scores,
        };
        let y = matmul(&softmax(&scores)?, &value.contiguous()?)?;
        let y = y.reshape(vec![batch, count, count, heads, window, window, width])?;
        let y = y.permute(vec![0, 1, 4, 2, 5, 3, 6])?;
        Ok(y.reshape((batch, side, side, channels / 3))?)
    }
}

/// Fills the windows that lie partly beyond the map.
///
/// The reference pads with zeros what goes into the layer whose result this is, and doesn't mask them. Of a
/// zero that layer makes its bias.
fn padded(seen: Tensor, bias: Option<&Tensor>, windows: Windows) -> Result<Tensor, ModelError> {
    let (batch, side, _, channels) = seen.dims4()?;
    let (Some(bias), beyond @ 1..) = (bias, windows.padded() - side) else { return Ok(seen) };
    let right = bias.broadcast_as((batch, side, beyond, channels))?;
    let below = bias.broadcast_as((batch, beyond, side + beyond, channels))?;
    let seen = Tensor::cat(&[seen, right.contiguous()?], 2)?;
    Ok(Tensor::cat(&[seen, below.contiguous()?], 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_window_at_the_end_keeps_nine_regions_apart() {
        let regions = Windows { side: 8, window: 4 }.regions();
        // The first window is one region, the last has four.
        assert!(regions[..16].iter().all(|region| *region == 0.0));
        assert_eq!(regions[48..], [4., 4., 5., 5., 4., 4., 5., 5., 7., 7., 8., 8., 7., 7., 8., 8.]);
    }
}
