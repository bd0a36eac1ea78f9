//! Attention along one axis of a map.
//!
//! The reference reshapes a map to `[B, _, axis]` without moving the axis to the end. So whatever axis is
//! meant, the values that lie one after the other in memory are compared: on a square map, which ours are,
//! both attend over the width, each with weights of its own. The checkpoints were trained so.

use candle_core::{DType, Tensor};

use super::super::ModelError;
use super::conv::{Conv, Folded, Shape};
use super::ops::{matmul, softmax};
use super::scope::Scope;

/// Which axis is meant.
#[derive(Clone, Copy)]
enum Axis {
    Height,
    Width,
}

struct OneAxis {
    axis: Axis,
    query: Conv,
    key: Conv,
    /// With the weight of this attention in the sum folded in.
    value: Conv,
}

impl OneAxis {
    fn take(scope: &mut Scope<'_>, axis: Axis, [channels, map]: [usize; 2]) -> Result<Self, ModelError> {
        /// What a key has of the map's channels.
        const SHARE: usize = 8;
        let key = Shape::plain([channels, channels / SHARE], 1, map);
        let value = Shape::plain([channels, channels], 1, map);
        let value = Folded::normed(&mut scope.part("value_conv"), ["conv", "bn"], value)?;
        Ok(Self {
            axis,
            query: Conv::take(&mut scope.part("query_conv"), key)?,
            key: Conv::take(&mut scope.part("key_conv"), key)?,
            value: value.times(scope.number("gamma")?)?.place(scope.target)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, _, height, width) = x.dims4()?;
        let axis = match self.axis {
            Axis::Height => height,
            Axis::Width => width,
        };
        let rows = |x: Tensor| x.reshape((batch, (), axis));
        // Thousands of products without a scale: their sums need all of f32's digits.
        let query = rows(self.query.forward(x)?)?.to_dtype(DType::F32)?;
        let key = rows(self.key.forward(x)?)?.to_dtype(DType::F32)?;
        let shares = softmax(&query.transpose(1, 2)?.matmul(&key)?)?.to_dtype(x.dtype())?;
        let seen = matmul(&rows(self.value.forward(x)?)?, &shares.transpose(1, 2)?)?;
        Ok(seen.reshape(x.shape())?)
    }
}

/// Both axes, added up.
pub(super) struct BothAxes {
    height: OneAxis,
    width: OneAxis,
}

impl BothAxes {
    /// Of a map with so many channels and pixels on each side.
    pub(super) fn take(scope: &mut Scope<'_>, map: [usize; 2]) -> Result<Self, ModelError> {
        Ok(Self {
            height: OneAxis::take(&mut scope.part("Hattn"), Axis::Height, map)?,
            width: OneAxis::take(&mut scope.part("Wattn"), Axis::Width, map)?,
        })
    }

    /// `[B, C, H, W]`; each attention adds the map itself.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let seen = (self.height.forward(x)? + self.width.forward(x)?)?;
        Ok((seen + (x * 2.0)?)?)
    }
}
