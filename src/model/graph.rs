//! A network as data: what is computed from what.
//!
//! The same graph runs on the CPU through [`super::cpu`] and on any other device through candle's own
//! operations ([`Graph::forward`]). Shapes are `[B, C, H, W]`.

use candle_core::{DType, Device, Tensor};

use super::ModelError;
use super::weights::{Parameters, Wanted};

/// A node by its place; a node sees only those before it.
pub(super) type NodeId = usize;

/// A convolution whose padding keeps the map's size (divided by the stride).
pub(super) struct Conv {
    /// `[output, input, side, side]`
    pub(super) weight: Tensor,
    /// `[output]`
    pub(super) bias: Tensor,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Whether what is less than nothing becomes that.
    pub(super) relu: bool,
}

/// What a node computes.
pub(super) enum Node {
    /// The photo.
    Input,
    /// A convolution of concatenated maps with bias and mostly ReLU, and a map added to the end of it.
    Conv { conv: Conv, inputs: Vec<NodeId>, residual: Option<NodeId> },
    /// Halved by the maximum of 2×2, an odd edge rounded up.
    Halved(NodeId),
    /// Enlarged to the size of another map: bilinear, half-pixel centres.
    Enlarged(NodeId, NodeId),
}

/// A network.
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    /// Convolutions to a single channel, from several depths.
    pub(super) sides: Vec<(NodeId, Conv)>,
    /// Weighs the sides, enlarged to the photo's size, into one map; none where there is one side.
    pub(super) fuse: Option<Conv>,
}

impl Conv {
    pub(super) fn take(weights: &mut dyn Parameters, wanted: &Wanted<'_>) -> Result<Self, ModelError> {
        let (weight, bias) = weights.convolution(wanted)?;
        let Wanted { stride, dilation, relu, .. } = *wanted;
        Ok(Self { weight, bias, stride, dilation, relu })
    }

    fn to(self, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let put = |tensor: &Tensor| tensor.to_device(device)?.to_dtype(dtype);
        Ok(Self { weight: put(&self.weight)?, bias: put(&self.bias)?, ..self })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (output, _, side, _) = self.weight.dims4()?;
        let padding = self.dilation * (side / 2);
        let bias = self.bias.reshape((1, output, 1, 1))?;
        let map = x.conv2d(&self.weight, padding, self.stride, self.dilation, 1)?.broadcast_add(&bias)?;
        Ok(if self.relu { map.relu()? } else { map })
    }
}

impl Graph {
    /// On a device, with weights of this type. What comes last computes in f32 in any case: it has few values, and
    /// each of them is seen.
    pub(super) fn to(self, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let nodes = self.nodes.into_iter().map(|node| match node {
            Node::Conv { conv, inputs, residual } => {
                Ok(Node::Conv { conv: conv.to(device, dtype)?, inputs, residual })
            }
            other => Ok(other),
        });
        let nodes = nodes.collect::<Result<_, ModelError>>()?;
        let sides = self.sides.into_iter().map(|(id, conv)| Ok((id, conv.to(device, dtype)?)));
        let sides = sides.collect::<Result<_, ModelError>>()?;
        let fuse = self.fuse.map(|fuse| fuse.to(device, DType::F32)).transpose()?;
        Ok(Self { nodes, sides, fuse })
    }

    /// Bytes of weights.
    pub(super) fn bytes(&self) -> u64 {
        let nodes = self.nodes.iter().filter_map(|node| match node {
            Node::Conv { conv, .. } => Some(conv),
            _ => None,
        });
        let convs = nodes.chain(self.sides.iter().map(|(_, conv)| conv)).chain(&self.fuse);
        let tensors = convs.flat_map(|conv| [&conv.weight, &conv.bias]);
        tensors.map(|tensor| (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64).sum()
    }

    /// `[B, 3, H, W]` normalised photos to `[B, 1, H, W]` maps of 0 to 1, both in f32, by candle's own operations.
    pub(super) fn forward(&self, photo: &Tensor) -> Result<Tensor, ModelError> {
        let dtype = self.sides.first().map_or(DType::F32, |(_, conv)| conv.weight.dtype());
        let last_use = self.last_use();
        let mut maps: Vec<Option<Tensor>> = Vec::new();
        let there = |maps: &[Option<Tensor>], id: NodeId| {
            maps.get(id).cloned().flatten().ok_or(ModelError::Graph { node: id })
        };
        for (n, node) in self.nodes.iter().enumerate() {
            let map = match node {
                Node::Input => photo.to_dtype(dtype)?,
                Node::Conv { conv, inputs, residual } => {
                    let inputs = inputs.iter().map(|id| there(&maps, *id)).collect::<Result<Vec<_>, _>>()?;
                    let map = conv.forward(&Tensor::cat(&inputs, 1)?)?;
                    match residual {
                        Some(id) => (map + there(&maps, *id)?)?,
                        None => map,
                    }
                }
                Node::Halved(id) => halved(&there(&maps, *id)?)?,
                Node::Enlarged(id, like) => enlarged(&there(&maps, *id)?, &there(&maps, *like)?)?,
            };
            maps.push(Some(map));
            for (id, last) in last_use.iter().enumerate() {
                if *last == n {
                    maps[id] = None;
                }
            }
        }
        let mut sides = Vec::new();
        for (id, conv) in &self.sides {
            let side = conv.forward(&there(&maps, *id)?)?.to_dtype(DType::F32)?;
            sides.push(enlarged(&side, photo)?);
        }
        let sides = Tensor::cat(&sides, 1)?;
        let fused = self.fuse.as_ref().map_or(Ok(sides.clone()), |fuse| fuse.forward(&sides))?;
        // The logistic function; candle-core has no operation of that name.
        Ok((fused.neg()?.exp()? + 1.0)?.recip()?)
    }

    /// For each node the last one that sees it; the number of nodes where a side does.
    pub(super) fn last_use(&self) -> Vec<NodeId> {
        let mut last: Vec<NodeId> = (0..self.nodes.len()).collect();
        for (n, node) in self.nodes.iter().enumerate() {
            match node {
                Node::Input => {}
                Node::Conv { inputs, residual, .. } => {
                    inputs.iter().chain(residual).for_each(|id| last[*id] = n);
                }
                Node::Halved(id) => last[*id] = n,
                // Of the map that it is like, only the size is seen; but that is a map's too.
                Node::Enlarged(id, like) => (last[*id], last[*like]) = (n, n),
            }
        }
        for (id, _) in &self.sides {
            last[*id] = self.nodes.len();
        }
        last
    }
}

fn halved(x: &Tensor) -> Result<Tensor, ModelError> {
    let (_, _, height, width) = x.dims4()?;
    // A value repeated at the edge never changes a maximum.
    let x = if height % 2 == 1 { x.pad_with_same(2, 0, 1)? } else { x.clone() };
    let x = if width % 2 == 1 { x.pad_with_same(3, 0, 1)? } else { x };
    Ok(x.max_pool2d(2)?)
}

fn enlarged(x: &Tensor, like: &Tensor) -> Result<Tensor, ModelError> {
    let (_, _, height, width) = like.dims4()?;
    if x.dims()[2..] == [height, width] {
        return Ok(x.clone());
    }
    Ok(x.upsample_bilinear2d(height, width, false)?)
}
