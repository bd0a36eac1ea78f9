//! The first map, an eighth of the photo's size, out of the three coarsest contexts (`PAA_d`).

use candle_core::{DType, Tensor};

use super::super::ModelError;
use super::axis::BothAxes;
use super::conv::{Conv, Folded, Shape};
use super::ops::{Corners, resize, size};
use super::scope::Scope;

pub(super) struct Decoder {
    joined: Conv,
    axes: BothAxes,
    rest: [Conv; 3],
    map: Conv,
}

impl Decoder {
    /// For maps of so many pixels on each side.
    pub(super) fn take(scope: &mut Scope<'_>, depth: usize, map: usize) -> Result<Self, ModelError> {
        let plain = Shape::plain([depth, depth], 3, map);
        let last = Folded::bare(&mut scope.part("conv5"), "conv", Shape { output: 1, ..plain })?;
        Ok(Self {
            joined: Conv::take(&mut scope.part("conv1"), Shape { input: 3 * depth, parts: 3, ..plain })?,
            axes: BothAxes::take(scope, [depth, map])?,
            rest: [
                Conv::take(&mut scope.part("conv2"), plain)?,
                Conv::take(&mut scope.part("conv3"), plain)?,
                Conv::take(&mut scope.part("conv4"), plain)?,
            ],
            map: last.place(scope.target)?,
        })
    }

    /// Contexts from the finest to the coarsest, `[B, depth, H, W]` the first, to features of that size and
    /// a map of them, `[B, 1, H, W]` in f32.
    pub(super) fn forward(&self, [fine, middle, coarse]: [Tensor; 3]) -> Result<[Tensor; 2], ModelError> {
        let to = size(&fine)?;
        let middle = resize(&middle, to, Corners::Aligned)?;
        let coarse = resize(&coarse, to, Corners::Aligned)?;
        let x = self.joined.of_all(&[&coarse, &middle, &fine])?;
        let mut x = self.axes.forward(&x)?;
        for conv in &self.rest {
            x = conv.forward(&x)?;
        }
        let map = self.map.forward(&x)?.to_dtype(DType::F32)?;
        Ok([x, map])
    }
}
