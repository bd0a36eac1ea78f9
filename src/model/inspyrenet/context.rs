//! What is made of one of the backbone's maps: the same number of channels for all, and in each pixel
//! something of its whole row (the reference's `PAA_e`).

use candle_core::Tensor;

use super::super::ModelError;
use super::axis::BothAxes;
use super::conv::{Conv, Shape};
use super::scope::Scope;

/// One way to look around, as far as its reach.
struct Branch {
    narrow: Conv,
    across: Conv,
    down: Conv,
    axes: BothAxes,
    wide: Conv,
}

impl Branch {
    fn take(
        scope: &mut Scope<'_>,
        [input, output]: [usize; 2],
        reach: usize,
        map: usize,
    ) -> Result<Self, ModelError> {
        let plain = Shape::plain([output, output], 3, map);
        Ok(Self {
            narrow: Conv::take(&mut scope.part("conv0"), Shape::plain([input, output], 1, map))?,
            across: Conv::take(&mut scope.part("conv1"), Shape { kernel: (1, reach), ..plain })?,
            down: Conv::take(&mut scope.part("conv2"), Shape { kernel: (reach, 1), ..plain })?,
            axes: BothAxes::take(scope, [output, map])?,
            wide: Conv::take(&mut scope.part("conv3"), Shape { dilation: reach, ..plain })?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let x = self.narrow.forward(x)?;
        let x = self.across.forward(&x)?;
        let x = self.down.forward(&x)?;
        let x = self.axes.forward(&x)?;
        self.wide.forward(&x)
    }
}

pub(super) struct Context {
    narrow: Conv,
    branches: [Branch; 3],
    joined: Conv,
    residual: Conv,
}

impl Context {
    /// For maps of so many pixels on each side.
    pub(super) fn take(scope: &mut Scope<'_>, channels: [usize; 2], map: usize) -> Result<Self, ModelError> {
        let [_, output] = channels;
        let narrow = Shape::plain(channels, 1, map);
        Ok(Self {
            narrow: Conv::take(&mut scope.part("branch0"), narrow)?,
            branches: [
                Branch::take(&mut scope.part("branch1"), channels, 3, map)?,
                Branch::take(&mut scope.part("branch2"), channels, 5, map)?,
                Branch::take(&mut scope.part("branch3"), channels, 7, map)?,
            ],
            joined: Conv::take(
                &mut scope.part("conv_cat"),
                Shape { parts: 4, ..Shape::plain([4 * output, output], 3, map) },
            )?,
            residual: Conv::take(&mut scope.part("conv_res"), narrow)?,
        })
    }

    /// `[B, input, H, W]` to `[B, output, H, W]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let mut seen = vec![self.narrow.forward(x)?];
        for branch in &self.branches {
            seen.push(branch.forward(x)?);
        }
        let joined = self.joined.of_all(&seen.iter().collect::<Vec<_>>())?;
        drop(seen);
        Ok((joined + self.residual.forward(x)?)?.relu()?)
    }
}
