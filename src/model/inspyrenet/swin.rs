//! The Swin transformer: patches that attend to each other in windows, at four sizes.
//!
//! Maps are `[B, H, W, C]` inside and `[B, C, H, W]` for everybody else.

use candle_core::Tensor;

use super::super::ModelError;
use super::layers::{LayerNorm, Linear};
use super::scope::Scope;
use super::window::{Mask, Scores, WindowAttention, Windows};

/// The side of a patch in pixels.
const PATCH: usize = 4;

/// The size of the network between two of a block's layers, of what goes in and out.
const WIDER: usize = 4;

pub(super) struct Swin {
    patches: Linear,
    norm: LayerNorm,
    stages: Vec<Stage>,
}

/// Blocks that see maps of one size.
struct Stage {
    windows: Windows,
    mask: Mask,
    blocks: Vec<Block>,
    norm: LayerNorm,
    /// To the next stage's size, unless it is the last.
    merge: Option<Merge>,
}

struct Block {
    norm: LayerNorm,
    attention: WindowAttention,
    norm_inner: LayerNorm,
    wider: Linear,
    narrower: Linear,
}

/// Four patches become one of twice the channels.
struct Merge {
    norm: LayerNorm,
    reduce: Linear,
}

/// What makes one transformer another.
pub(super) struct Table {
    /// Of the photo.
    pub(super) size: usize,
    /// Of the patches.
    pub(super) channels: usize,
    pub(super) depths: [usize; 4],
    pub(super) heads: [usize; 4],
    pub(super) window: usize,
}

impl Swin {
    pub(super) fn take(scope: &mut Scope<'_>, table: &Table) -> Result<Self, ModelError> {
        let Table { size, channels, depths, heads, window } = *table;
        let mut embed = scope.part("patch_embed");
        let patches = Linear::patches(&mut embed.part("proj"), [3, channels], PATCH)?;
        let norm = LayerNorm::take(&mut embed.part("norm"), channels)?;
        let mut stages = Vec::new();
        for (n, (depth, heads)) in depths.into_iter().zip(heads).enumerate() {
            let windows = Windows { side: (size / PATCH) >> n, window };
            let channels = channels << n;
            let last = n + 1 == depths.len();
            let mut part = scope.part(format_args!("layers.{n}"));
            let blocks = (0..depth).map(|block| {
                Block::take(&mut part.part(format_args!("blocks.{block}")), channels, heads, window)
            });
            let blocks = blocks.collect::<Result<_, _>>()?;
            let merge = if last { None } else { Some(Merge::take(&mut part.part("downsample"), channels)?) };
            let norm = LayerNorm::take(&mut scope.part(format_args!("norm{n}")), channels)?;
            stages.push(Stage { windows, mask: Mask::new(windows, scope)?, blocks, norm, merge });
        }
        Ok(Self { patches, norm, stages })
    }

    /// `[B, 3, H, W]` to the patches and each stage's map.
    pub(super) fn forward(&self, photo: &Tensor) -> Result<Vec<Tensor>, ModelError> {
        let (batch, colours, height, width) = photo.dims4()?;
        let (rows, columns) = (height / PATCH, width / PATCH);
        let x = photo.reshape((batch, colours, rows, PATCH, columns, PATCH))?;
        let x = x.permute(vec![0, 2, 4, 1, 3, 5])?;
        let x = x.reshape((batch, rows, columns, colours * PATCH * PATCH))?;
        let mut x = self.norm.forward(&self.patches.forward(&x)?)?;
        let mut maps = vec![channels_first(&x)?];
        for stage in &self.stages {
            x = stage.forward(x)?;
            maps.push(channels_first(&stage.norm.forward(&x)?)?);
            if let Some(merge) = &stage.merge {
                x = merge.forward(&x)?;
            }
        }
        Ok(maps)
    }
}

fn channels_first(x: &Tensor) -> Result<Tensor, ModelError> {
    Ok(x.permute((0, 3, 1, 2))?.contiguous()?)
}

impl Stage {
    fn forward(&self, mut x: Tensor) -> Result<Tensor, ModelError> {
        let mask = self.mask.scores(x.dtype())?;
        for (n, block) in self.blocks.iter().enumerate() {
            // Every other block's windows are shifted, so that what one keeps apart the next brings together.
            let mask = if n % 2 == 1 { Some(&mask) } else { None };
            x = block.forward(&x, self.windows, mask)?;
        }
        Ok(x)
    }
}

impl Block {
    fn take(scope: &mut Scope<'_>, channels: usize, heads: usize, window: usize) -> Result<Self, ModelError> {
        Ok(Self {
            norm: LayerNorm::take(&mut scope.part("norm1"), channels)?,
            attention: WindowAttention::take(&mut scope.part("attn"), channels, heads, window)?,
            norm_inner: LayerNorm::take(&mut scope.part("norm2"), channels)?,
            wider: Linear::take(&mut scope.part("mlp.fc1"), [channels, WIDER * channels], true)?,
            narrower: Linear::take(&mut scope.part("mlp.fc2"), [WIDER * channels, channels], true)?,
        })
    }

    fn forward(&self, x: &Tensor, windows: Windows, mask: Option<&Scores>) -> Result<Tensor, ModelError> {
        let x = self.attention.add_to(x, &self.norm.forward(x)?, windows, mask)?;
        let inner = self.wider.gelu(&self.norm_inner.forward(&x)?)?;
        self.narrower.add_to(&x, &inner)
    }
}

impl Merge {
    fn take(scope: &mut Scope<'_>, channels: usize) -> Result<Self, ModelError> {
        Ok(Self {
            norm: LayerNorm::take(&mut scope.part("norm"), 4 * channels)?,
            reduce: Linear::take(&mut scope.part("reduction"), [4 * channels, 2 * channels], false)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, height, width, channels) = x.dims4()?;
        let x = x.reshape((batch, height / 2, 2, width / 2, 2, channels))?;
        // Row and column of the four: 00, 10, 01, 11.
        let x = x.permute(vec![0, 1, 3, 4, 2, 5])?;
        let x = x.reshape((batch, height / 2, width / 2, 4 * channels))?;
        self.reduce.forward(&self.norm.forward(&x)?)
    }
}
