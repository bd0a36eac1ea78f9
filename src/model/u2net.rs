//! The U²-Net family: nested U-blocks inside a U (Qin et al. 2020, <https://arxiv.org/abs/2005.09007>).
//!
//! A network is a table: [`U2NETP`] says which block stands where with how many channels, and one
//! forward pass serves all of them. Parameter names are the reference implementation's, with batch
//! norm folded into the convolutions. Shapes are `[B, C, H, W]`.

use candle_core::Tensor;

use super::{ModelError, Weights};

/// How a residual U-block is built inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// So many levels; each but the last two halves the map.
    Pooled(usize),
    /// Four levels of growing dilation on a map that is too small to be halved.
    Dilated,
}

/// One block of the table.
#[derive(Clone, Copy, Debug)]
pub struct BlockConfig {
    /// Its name in the weights.
    pub name: &'static str,
    /// How it is built.
    pub kind: Kind,
    /// Channels in.
    pub input: usize,
    /// Channels inside.
    pub middle: usize,
    /// Channels out.
    pub output: usize,
}

/// A network of the family.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What it is called.
    pub name: &'static str,
    /// The side of its input in pixels.
    pub size: usize,
    /// From the photo down; between two of them the map is halved.
    pub encoder: &'static [BlockConfig],
    /// From the bottom up; each sees the one below, enlarged, and its equal of the encoder.
    pub decoder: &'static [BlockConfig],
}

const fn block(name: &'static str, kind: Kind, channels: [usize; 3]) -> BlockConfig {
    BlockConfig { name, kind, input: channels[0], middle: channels[1], output: channels[2] }
}

/// U²-NetP, the small one: 1.1 million parameters.
pub const U2NETP: Config = Config {
    name: "u2netp",
    size: 320,
    encoder: &[
        block("stage1", Kind::Pooled(7), [3, 16, 64]),
        block("stage2", Kind::Pooled(6), [64, 16, 64]),
        block("stage3", Kind::Pooled(5), [64, 16, 64]),
        block("stage4", Kind::Pooled(4), [64, 16, 64]),
        block("stage5", Kind::Dilated, [64, 16, 64]),
        block("stage6", Kind::Dilated, [64, 16, 64]),
    ],
    decoder: &[
        block("stage5d", Kind::Dilated, [128, 16, 64]),
        block("stage4d", Kind::Pooled(4), [128, 16, 64]),
        block("stage3d", Kind::Pooled(5), [128, 16, 64]),
        block("stage2d", Kind::Pooled(6), [128, 16, 64]),
        block("stage1d", Kind::Pooled(7), [128, 16, 64]),
    ],
};

struct Conv {
    weight: Tensor,
    bias: Tensor,
    dilation: usize,
}

impl Conv {
    /// `side` is the kernel's; the padding keeps the map's size.
    fn new(
        weights: &mut Weights<'_>,
        name: &str,
        [input, output, side]: [usize; 3],
        dilation: usize,
    ) -> Result<Self, ModelError> {
        let weight = weights.take(&format!("{name}.weight"), &[output, input, side, side])?;
        let bias = weights.take(&format!("{name}.bias"), &[output])?.reshape((1, output, 1, 1))?;
        Ok(Self { weight, bias, dilation })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let padding = self.dilation * (self.weight.dim(3)? / 2);
        Ok(x.conv2d(&self.weight, padding, 1, self.dilation, 1)?.broadcast_add(&self.bias)?)
    }
}

/// Convolution, batch norm (folded) and ReLU.
struct Rebnconv(Conv);

impl Rebnconv {
    fn new(
        weights: &mut Weights<'_>,
        name: &str,
        [input, output]: [usize; 2],
        dilation: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self(Conv::new(weights, &format!("{name}.conv_s1"), [input, output, 3], dilation)?))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.0.forward(x)?.relu()?)
    }
}

/// A residual U-block: down, across the bottom, up, and the input added.
struct Block {
    kind: Kind,
    entry: Rebnconv,
    /// From the top down; the last is the bottom.
    down: Vec<Rebnconv>,
    /// From the bottom up.
    up: Vec<Rebnconv>,
}

impl Block {
    fn new(weights: &mut Weights<'_>, config: &BlockConfig) -> Result<Self, ModelError> {
        let BlockConfig { name, kind, input, middle, output } = *config;
        let levels = match kind {
            Kind::Pooled(levels) => levels,
            Kind::Dilated => 4,
        };
        let dilation = |level: usize| match kind {
            // Only the bottom sees farther than its neighbours.
            Kind::Pooled(_) => {
                if level == levels {
                    2
                } else {
                    1
                }
            }
            Kind::Dilated => 1 << (level - 1),
        };
        let entry = Rebnconv::new(weights, &format!("{name}.rebnconvin"), [input, output], 1)?;
        let mut down = Vec::new();
        for level in 1..=levels {
            let input = if level == 1 { output } else { middle };
            down.push(Rebnconv::new(
                weights,
                &format!("{name}.rebnconv{level}"),
                [input, middle],
                dilation(level),
            )?);
        }
        let mut up = Vec::new();
        for level in (1..levels).rev() {
            let output = if level == 1 { output } else { middle };
            up.push(Rebnconv::new(
                weights,
                &format!("{name}.rebnconv{level}d"),
                [2 * middle, output],
                dilation(level),
            )?);
        }
        Ok(Self { kind, entry, down, up })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let input = self.entry.forward(x)?;
        let last = self.down.len() - 1;
        let mut kept: Vec<Tensor> = Vec::new();
        let mut x = input.clone();
        for (level, conv) in self.down.iter().enumerate() {
            // The bottom has the size of the level above it.
            if level > 0 && level < last && self.kind != Kind::Dilated {
                x = halved(&x)?;
            }
            x = conv.forward(&x)?;
            if level < last {
                kept.push(x.clone());
            }
        }
        for conv in &self.up {
            let Some(beside) = kept.pop() else { break };
            x = conv.forward(&Tensor::cat(&[&enlarged(&x, &beside)?, &beside], 1)?)?;
        }
        Ok((x + input)?)
    }
}

/// Halved by the maximum of 2×2, an odd edge rounded up as the reference does.
fn halved(x: &Tensor) -> Result<Tensor, ModelError> {
    let (_, _, height, width) = x.dims4()?;
    // A value repeated at the edge never changes a maximum.
    let x = if height % 2 == 1 { x.pad_with_same(2, 0, 1)? } else { x.clone() };
    let x = if width % 2 == 1 { x.pad_with_same(3, 0, 1)? } else { x };
    Ok(x.max_pool2d(2)?)
}

/// Enlarged to the size of another map: bilinear, half-pixel centres.
fn enlarged(x: &Tensor, like: &Tensor) -> Result<Tensor, ModelError> {
    let (_, _, height, width) = like.dims4()?;
    if x.dims()[2..] == [height, width] {
        return Ok(x.clone());
    }
    Ok(x.upsample_bilinear2d(height, width, false)?)
}

/// A network in its place.
pub struct U2Net {
    encoder: Vec<Block>,
    decoder: Vec<Block>,
    /// One map from each decoder block, finest first, and one from the bottom.
    sides: Vec<Conv>,
    fuse: Conv,
}

impl U2Net {
    /// Takes its parameters out of the weights.
    pub fn new(config: &Config, weights: &mut Weights<'_>) -> Result<Self, ModelError> {
        let mut blocks = |configs: &[BlockConfig]| -> Result<Vec<Block>, ModelError> {
            configs.iter().map(|config| Block::new(weights, config)).collect()
        };
        let (encoder, decoder) = (blocks(config.encoder)?, blocks(config.decoder)?);
        let bottom = config.encoder.last();
        let mut sides = Vec::new();
        for (n, block) in config.decoder.iter().rev().chain(bottom).enumerate() {
            sides.push(Conv::new(weights, &format!("side{}", n + 1), [block.output, 1, 3], 1)?);
        }
        let fuse = Conv::new(weights, "outconv", [sides.len(), 1, 1], 1)?;
        Ok(Self { encoder, decoder, sides, fuse })
    }

    /// `[B, 3, H, W]` normalised photos to `[B, 1, H, W]` maps of 0 to 1.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let mut kept = Vec::new();
        let mut inner = self.encoder[0].forward(x)?;
        for block in &self.encoder[1..] {
            let next = block.forward(&halved(&inner)?)?;
            kept.push(std::mem::replace(&mut inner, next));
        }
        let mut outputs = vec![inner.clone()];
        for block in &self.decoder {
            let Some(beside) = kept.pop() else { break };
            inner = block.forward(&Tensor::cat(&[&enlarged(&inner, &beside)?, &beside], 1)?)?;
            outputs.push(inner.clone());
        }
        let mut maps = Vec::new();
        for (side, output) in self.sides.iter().zip(outputs.iter().rev()) {
            maps.push(enlarged(&side.forward(output)?, x)?);
        }
        let fused = self.fuse.forward(&Tensor::cat(&maps, 1)?)?;
        // The logistic function; candle-core has no operation of that name.
        Ok((fused.neg()?.exp()? + 1.0)?.recip()?)
    }
}
