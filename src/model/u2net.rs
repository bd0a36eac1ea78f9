//! The U²-Net family: nested U-blocks inside a U (Qin et al. 2020, <https://arxiv.org/abs/2005.09007>), and IS-Net,
//! the same on a photo that its first convolution halves (Qin et al. 2022, <https://arxiv.org/abs/2203.03041>).
//!
//! A network is a table: [`U2NETP`], [`U2NET`] and [`ISNET`] say which block stands where with how many channels,
//! and one function makes a graph of any of them. Parameter names are the reference implementation's, with
//! batch norm folded into the convolutions.

use super::ModelError;
use super::graph::{Conv, Graph, Node, NodeId};
use super::preprocess::{Divide, IMAGENET, Normalise};
use super::weights::{Parameters, Shapes, Wanted, WeightsFile};

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
    /// The side of its input in pixels; it takes others too.
    pub size: usize,
    /// What is done to a photo's values first.
    pub normalise: Normalise,
    /// Channels of a convolution that halves the photo before all else.
    pub stem: Option<usize>,
    /// From the photo down; between two of them the map is halved.
    pub encoder: &'static [BlockConfig],
    /// From the bottom up; each sees the one below, enlarged, and its equal of the encoder.
    pub decoder: &'static [BlockConfig],
    /// Whether the map is weighed out of all depths' maps; else it is the finest one.
    pub fused: bool,
}

const fn block(name: &'static str, kind: Kind, channels: [usize; 3]) -> BlockConfig {
    BlockConfig { name, kind, input: channels[0], middle: channels[1], output: channels[2] }
}

/// U²-NetP, the small one: 1.1 million parameters.
pub const U2NETP: Config = Config {
    name: "u2netp",
    size: 320,
    normalise: Normalise { divide: Divide::Maximum, ..IMAGENET },
    stem: None,
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
    fused: true,
};

/// U²-Net, the large one: 44 million parameters.
pub const U2NET: Config = Config {
    name: "u2net",
    size: 320,
    normalise: Normalise { divide: Divide::Maximum, ..IMAGENET },
    stem: None,
    encoder: &[
        block("stage1", Kind::Pooled(7), [3, 32, 64]),
        block("stage2", Kind::Pooled(6), [64, 32, 128]),
        block("stage3", Kind::Pooled(5), [128, 64, 256]),
        block("stage4", Kind::Pooled(4), [256, 128, 512]),
        block("stage5", Kind::Dilated, [512, 256, 512]),
        block("stage6", Kind::Dilated, [512, 256, 512]),
    ],
    decoder: &[
        block("stage5d", Kind::Dilated, [1024, 256, 512]),
        block("stage4d", Kind::Pooled(4), [1024, 128, 256]),
        block("stage3d", Kind::Pooled(5), [512, 64, 128]),
        block("stage2d", Kind::Pooled(6), [256, 32, 64]),
        block("stage1d", Kind::Pooled(7), [128, 16, 64]),
    ],
    fused: true,
};

/// IS-Net for general use, as published with DIS5K: 44 million parameters, on a finer map than U²-Net's.
pub const ISNET: Config = Config {
    name: "isnet",
    size: 1024,
    normalise: Normalise { divide: Divide::Full, mean: [0.5; 3], deviation: [1.0; 3] },
    stem: Some(64),
    encoder: &[
        block("stage1", Kind::Pooled(7), [64, 32, 64]),
        block("stage2", Kind::Pooled(6), [64, 32, 128]),
        block("stage3", Kind::Pooled(5), [128, 64, 256]),
        block("stage4", Kind::Pooled(4), [256, 128, 512]),
        block("stage5", Kind::Dilated, [512, 256, 512]),
        block("stage6", Kind::Dilated, [512, 256, 512]),
    ],
    fused: false,
    ..U2NET
};

impl Config {
    /// How many values its parameters have.
    pub fn parameters(&self) -> u64 {
        let mut shapes = Shapes::default();
        self.graph(&mut shapes).expect("a table makes a graph");
        shapes.values
    }

    /// Whether a file has all parameters of the network, in their shapes; their values are not looked at.
    ///
    /// # Errors
    /// The first that is missing or of another shape.
    pub fn fits(&self, file: &WeightsFile) -> Result<(), ModelError> {
        self.graph(&mut Shapes::of(file))?;
        Ok(())
    }

    /// The network with its parameters out of the weights.
    pub(super) fn graph(&self, weights: &mut dyn Parameters) -> Result<Graph, ModelError> {
        let mut builder = Builder { nodes: vec![Node::Input], weights };
        let photo = match self.stem {
            Some(channels) => builder.stem(channels)?,
            None => 0,
        };
        let mut kept: Vec<NodeId> = Vec::new();
        let mut inner = builder.block(&self.encoder[0], &[photo])?;
        for block in &self.encoder[1..] {
            kept.push(inner);
            let half = builder.add(Node::Halved(inner));
            inner = builder.block(block, &[half])?;
        }
        let mut outputs = vec![inner];
        for block in self.decoder {
            let Some(beside) = kept.pop() else { break };
            let inner_enlarged = builder.add(Node::Enlarged(inner, beside));
            inner = builder.block(block, &[inner_enlarged, beside])?;
            outputs.push(inner);
        }
        let Builder { nodes, weights } = builder;
        // The finest map first, the bottom last.
        let channels = self.decoder.iter().rev().chain(self.encoder.last()).map(|block| block.output);
        let names: Vec<_> = (1..=outputs.len()).map(|n| format!("side{n}")).collect();
        let wanted = names.iter().zip(channels).map(|(name, channels)| single(name, channels, 3));
        let wanted: Vec<_> = wanted.collect();
        let (used, unused) = wanted.split_at(if self.fused { wanted.len() } else { 1 });
        let sides = outputs.into_iter().rev().zip(used);
        let sides = sides.map(|(id, side)| Ok((id, Conv::take(weights, side)?)));
        let sides = sides.collect::<Result<Vec<_>, ModelError>>()?;
        let outconv = single("outconv", sides.len(), 1);
        let fuse = self.fused.then(|| Conv::take(weights, &outconv)).transpose()?;
        weights.ends(unused)?;
        Ok(Graph { nodes, sides, fuse })
    }
}

/// A convolution to a single channel.
const fn single(name: &str, input: usize, side: usize) -> Wanted<'_> {
    Wanted { name, norm: None, input, output: 1, side, stride: 1, dilation: 1, relu: false }
}

struct Builder<'a> {
    nodes: Vec<Node>,
    weights: &'a mut dyn Parameters,
}

impl Builder<'_> {
    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// What halves the photo.
    fn stem(&mut self, output: usize) -> Result<NodeId, ModelError> {
        let wanted = Wanted { output, stride: 2, ..single("conv_in", 3, 3) };
        let conv = Conv::take(self.weights, &wanted)?;
        Ok(self.add(Node::Conv { conv, inputs: vec![0], residual: None }))
    }

    /// Convolution, batch norm (folded) and ReLU.
    fn rebnconv(
        &mut self,
        name: &str,
        [input, output, dilation]: [usize; 3],
        inputs: &[NodeId],
        residual: Option<NodeId>,
    ) -> Result<NodeId, ModelError> {
        let (conv, norm) = (format!("{name}.conv_s1"), format!("{name}.bn_s1"));
        let (name, norm) = (conv.as_str(), Some(norm.as_str()));
        let wanted = Wanted { name, norm, input, output, side: 3, stride: 1, dilation, relu: true };
        let conv = Conv::take(self.weights, &wanted)?;
        Ok(self.add(Node::Conv { conv, inputs: inputs.to_vec(), residual }))
    }

    /// A residual U-block: down, across the bottom, up, and the input added.
    fn block(&mut self, config: &BlockConfig, inputs: &[NodeId]) -> Result<NodeId, ModelError> {
        let BlockConfig { name, kind, input, middle, output } = *config;
        let levels = match kind {
            Kind::Pooled(levels) => levels,
            Kind::Dilated => 4,
        };
        let dilation = |level: usize| match kind {
            // Only the bottom sees farther than its neighbours.
            Kind::Pooled(_) => 1 + usize::from(level == levels),
            Kind::Dilated => 1 << (level - 1),
        };
        let entry = self.rebnconv(&format!("{name}.rebnconvin"), [input, output, 1], inputs, None)?;
        let mut kept = Vec::new();
        let mut x = entry;
        for level in 1..=levels {
            // The bottom has the size of the level above it.
            if level > 1 && level < levels && kind != Kind::Dilated {
                x = self.add(Node::Halved(x));
            }
            let input = if level == 1 { output } else { middle };
            x = self.rebnconv(
                &format!("{name}.rebnconv{level}"),
                [input, middle, dilation(level)],
                &[x],
                None,
            )?;
            kept.push(x);
        }
        kept.pop();
        for level in (1..levels).rev() {
            let Some(beside) = kept.pop() else { break };
            if level < levels - 1 && kind != Kind::Dilated {
                x = self.add(Node::Enlarged(x, beside));
            }
            let (output, residual) = if level == 1 { (output, Some(entry)) } else { (middle, None) };
            x = self.rebnconv(
                &format!("{name}.rebnconv{level}d"),
                [2 * middle, output, dilation(level)],
                &[x, beside],
                residual,
            )?;
        }
        Ok(x)
    }
}
