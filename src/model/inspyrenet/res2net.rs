//! Res2Net-50 v1b, 26w 4s: a residual network whose blocks pass a part of their channels from one small
//! convolution to the next.
//!
//! As the reference builds it, its last two stages have strides and dilations both.

use candle_core::Tensor;

use super::super::ModelError;
use super::conv::{Conv, Folded, Shape};
use super::scope::Scope;

/// Parts of a block's channels; all but one go through a convolution.
const PARTS: usize = 4;

/// What a block gives for each channel inside.
const EXPANSION: usize = 4;

pub(super) struct Res2Net {
    stem: [Conv; 3],
    stages: Vec<Vec<Block>>,
}

struct Block {
    narrow: Conv,
    convs: [Conv; PARTS - 1],
    wide: Conv,
    /// The first of a stage: it changes the size, and its parts stay apart.
    entry: Option<Entry>,
}

struct Entry {
    stride: usize,
    residual: Conv,
}

impl Res2Net {
    /// For photos of `size × size`.
    pub(super) fn take(scope: &mut Scope<'_>, size: usize) -> Result<Self, ModelError> {
        let mut stem = |names, shape: Shape| Folded::normed(scope, names, shape.relu())?.place(scope.target);
        let first = Shape { stride: 2, ..Shape::plain([3, 32], 3, size) };
        let stem = [
            stem(["conv1.0", "conv1.1"], first)?,
            stem(["conv1.3", "conv1.4"], Shape::plain([32, 32], 3, size / 2))?,
            stem(["conv1.6", "bn1"], Shape::plain([32, 64], 3, size / 2))?,
        ];
        // Channels inside, stride of the first block, dilation of each.
        let stages: [(usize, usize, &[usize]); 4] = [
            (64, 1, &[1, 1, 1]),
            (128, 2, &[1, 1, 1, 1]),
            (256, 2, &[2, 2, 2, 2, 2, 2]),
            (512, 2, &[4, 8, 16]),
        ];
        let (mut input, mut map) = (64, size / 4);
        let mut built = Vec::new();
        for (n, (planes, stride, dilations)) in stages.into_iter().enumerate() {
            let mut blocks = Vec::new();
            for (block, dilation) in dilations.iter().enumerate() {
                let stride = (block == 0).then_some(stride);
                let mut part = scope.part(format_args!("layer{}.{block}", n + 1));
                blocks.push(Block::take(&mut part, [input, planes], [*dilation, map], stride)?);
                input = planes * EXPANSION;
                map /= stride.unwrap_or(1);
            }
            built.push(blocks);
        }
        Ok(Self { stem, stages: built })
    }

    /// `[B, 3, H, W]` to the stem's map and each stage's.
    pub(super) fn forward(&self, photo: &Tensor) -> Result<Vec<Tensor>, ModelError> {
        let mut x = photo.clone();
        for conv in &self.stem {
            x = conv.forward(&x)?;
        }
        // No value is negative, so a zero at the edge never changes a maximum.
        let x = x.pad_with_zeros(2, 1, 0)?.pad_with_zeros(3, 1, 0)?;
        let mut x = x.max_pool2d_with_stride(3, 2)?;
        let mut maps = vec![x.clone()];
        for stage in &self.stages {
            for block in stage {
                x = block.forward(&x)?;
            }
            maps.push(x.clone());
        }
        Ok(maps)
    }
}

impl Block {
    fn take(
        scope: &mut Scope<'_>,
        [input, planes]: [usize; 2],
        [dilation, map]: [usize; 2],
        stride: Option<usize>,
    ) -> Result<Self, ModelError> {
        // 26 channels for each 64.
        let part = planes * 26 / 64;
        let inner = Shape { stride: stride.unwrap_or(1), dilation, ..Shape::plain([part, part], 3, map) };
        let mut conv = |names, shape| Folded::normed(scope, names, shape)?.place(scope.target);
        let convs = [
            conv(["convs.0", "bns.0"], inner.relu())?,
            conv(["convs.1", "bns.1"], inner.relu())?,
            conv(["convs.2", "bns.2"], inner.relu())?,
        ];
        let output = planes * EXPANSION;
        let narrow = conv(["conv1", "bn1"], Shape::plain([input, part * PARTS], 1, map).relu())?;
        let wide = conv(["conv3", "bn3"], Shape::plain([part * PARTS, output], 1, map))?;
        let entry = match stride {
            Some(stride) => {
                let shape = Shape::plain([input, output], 1, map);
                let residual = conv(["downsample.1", "downsample.2"], shape)?;
                Some(Entry { stride, residual })
            }
            None => None,
        };
        Ok(Self { narrow, convs, wide, entry })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let parts = self.narrow.forward(x)?.chunk(PARTS, 1)?;
        let mut done: Vec<Tensor> = Vec::new();
        for (part, conv) in parts.iter().zip(&self.convs) {
            let y = match done.last() {
                Some(before) if self.entry.is_none() => conv.forward(&(before + part)?)?,
                _ => conv.forward(&part.contiguous()?)?,
            };
            done.push(y);
        }
        let [.., last] = &parts[..] else { return Err(ModelError::Input { expected: PARTS, found: 0 }) };
        done.push(match &self.entry {
            Some(entry) => {
                // Zeros beyond the edge count in the mean.
                let padded = last.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
                padded.avg_pool2d_with_stride(3, entry.stride)?
            }
            None => last.clone(),
        });
        let y = self.wide.forward(&Tensor::cat(&done, 1)?)?;
        let residual = match &self.entry {
            Some(Entry { stride: 1, residual }) => residual.forward(x)?,
            Some(Entry { stride, residual }) => residual.forward(&x.avg_pool2d(*stride)?)?,
            None => x.clone(),
        };
        Ok((y + residual)?.relu()?)
    }
}
