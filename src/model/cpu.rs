//! A graph on the CPU: planned once for its size, run through our own kernels as one candle operation.
//!
//! The plan says which maps share memory: a map's place is free again after the last node that sees it, and
//! a residual's becomes that of the sum. So a residual may be seen neither later nor by the convolution
//! that it is added to, nor be such a sum itself; no network of the family does that. The memory is lent to
//! one run at a time, made for the first, kept for the next, and goes with the network; two runs at once
//! have two.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use parking_lot::Mutex;
use rayon::prelude::*;
use warmcut_kernels::conv::{Finish, Scratch};
use warmcut_kernels::{
    Buffer, Conv, ConvShape, Dot, Lanes, Level, Plane, PlaneMut, Source, fuse, planes, resample,
};

use super::ModelError;
use super::arena::{Need, Rest, arrange, take_out};
use super::graph::{self, Graph, Node, NodeId};

/// How large a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    /// Of sixteen channels.
    blocks: usize,
    height: usize,
    width: usize,
}

impl Size {
    fn len(&self) -> usize {
        self.blocks * self.height * self.width
    }

    fn pixels(&self) -> (usize, usize) {
        (self.height, self.width)
    }
}

/// The maps that a step reads, while what it writes is taken out.
type Maps<'a> = Rest<'a, Lanes>;

/// Where a node's map lies.
#[derive(Clone, Debug)]
struct Place {
    at: Range<usize>,
    size: Size,
}

impl Place {
    fn write<'a>(&self, data: &'a mut [Lanes]) -> PlaneMut<'a> {
        PlaneMut::new(data, self.size.blocks, self.size.height, self.size.width)
    }
}

enum Step {
    Input,
    Conv {
        conv: Box<Conv>,
        inputs: Vec<NodeId>,
        /// Written with it.
        halved: Option<NodeId>,
    },
    Halve(NodeId),
    /// Written with the map that it halves.
    Halved,
    Enlarge(NodeId),
    /// Enlarged by each convolution that sees it, on the way.
    Doubled(NodeId),
}

/// A map of one channel for each side.
struct Side {
    from: NodeId,
    dot: Dot,
    weight: f32,
}

/// A network for photos of one size.
pub(super) struct CpuNetwork {
    level: Level,
    size: usize,
    steps: Vec<(Step, Place)>,
    sides: Vec<Side>,
    bias: f32,
    /// Of all maps of a run.
    len: usize,
    /// Memory that no run uses now.
    idle: Mutex<Vec<Buffer>>,
    scratch: Scratch,
}

impl CpuNetwork {
    /// Plans a graph for photos of `size × size`. Its tensors go as soon as they are in place, so that a
    /// large network is never in memory twice.
    pub(super) fn plan(graph: Graph, size: usize, level: Level) -> Result<Self, ModelError> {
        let sizes = sizes(&graph, size)?;
        let shapes = shapes(&graph, &sizes)?;
        let last_use = graph.last_use();
        // Of each node, the one in whose place its map lies; and what each such place must hold.
        let mut homes: Vec<NodeId> = (0..graph.nodes.len()).collect();
        let mut needs: Vec<Need> = sizes
            .iter()
            .zip(&last_use)
            .enumerate()
            .map(|(n, (size, last))| Need { len: size.len(), steps: n..=*last })
            .collect();
        // Of each node, the one that is written with it; and whether it is never written.
        let mut halves: Vec<Option<NodeId>> = vec![None; graph.nodes.len()];
        let mut doubled = vec![false; graph.nodes.len()];
        for (n, node) in graph.nodes.iter().enumerate() {
            match node {
                Node::Input | Node::Halved(_) => {}
                Node::Conv { inputs, residual, .. } => {
                    if let Some(id) = *residual {
                        // The sum of both takes its place, so nothing may want it later.
                        let sees = inputs.iter().any(|input| homes[*input] == id);
                        if sees || *needs[id].steps.end() != n || sizes[id] != sizes[n] || homes[id] != id {
                            return Err(ModelError::Graph { node: n });
                        }
                        share(&mut homes, &mut needs, n, id);
                    }
                    halves[n] = half_of(&graph, n);
                    if let Some(id) = halves[n] {
                        needs[id].steps = n..=last_use[id];
                    }
                }
                Node::Enlarged(id, _) => {
                    doubled[n] = doubles(&graph, &sizes, &shapes, n, *id);
                    if doubled[n] {
                        share(&mut homes, &mut needs, n, *id);
                    }
                }
            }
        }
        let (places, len) = arrange(&needs);
        let place = |n: NodeId| Place { at: places[homes[n]].clone(), size: sizes[n] };
        let sides = sides(&graph)?;
        let bias = graph.fuse.as_ref().map_or(Ok(0.0), |fuse| fuse.bias.get(0)?.to_scalar::<f32>())?;
        // Most of a load, so all threads share it.
        let steps = graph.nodes.into_par_iter().zip(shapes).enumerate().map(|(n, (node, shape))| {
            let step = match node {
                Node::Input => Step::Input,
                Node::Conv { conv, inputs, residual } => {
                    let shape = shape.ok_or(ModelError::Graph { node: n })?;
                    let finish = Finish { relu: conv.relu, adds: residual.is_some() };
                    let conv = Box::new(in_place(conv, &shape, sizes[n], finish)?);
                    Step::Conv { conv, inputs, halved: halves[n] }
                }
                Node::Halved(id) if halves[id] == Some(n) => Step::Halved,
                Node::Halved(id) => Step::Halve(id),
                Node::Enlarged(id, _) if doubled[n] => Step::Doubled(id),
                Node::Enlarged(id, _) => Step::Enlarge(id),
            };
            Ok((step, place(n)))
        });
        let steps = steps.collect::<Result<_, ModelError>>()?;
        let (idle, scratch) = (Mutex::default(), Scratch::default());
        Ok(Self { level, size, steps, sides, bias, len, idle, scratch })
    }

    /// Bytes of filters as they lie in memory; the maps of a run come on top.
    pub(super) fn bytes(&self) -> u64 {
        let filters = self.steps.iter().map(|(step, _)| match step {
            Step::Conv { conv, .. } => conv.bytes(),
            _ => 0,
        });
        filters.sum::<usize>() as u64
    }

    /// `[1, 3, size, size]` to `[1, 1, size, size]`.
    pub(super) fn forward(&self, photo: &Tensor) -> Result<Tensor, ModelError> {
        Ok(photo.apply_op1_no_bwd(self)?)
    }

    fn run(&self, photo: &[f32]) -> Vec<f32> {
        let kept = self.idle.lock().pop();
        let mut memory = kept.unwrap_or_else(|| Buffer::zeroed(self.len));
        // Inside the pool, so that no operation waits for its threads to wake.
        let map = rayon::scope(|_| {
            for n in 0..self.steps.len() {
                self.step(n, photo, &mut memory);
            }
            let ([], maps) = take_out(&mut memory, []);
            self.head(&maps)
        });
        self.idle.lock().push(memory);
        map
    }

    fn step(&self, n: usize, photo: &[f32], memory: &mut [Lanes]) {
        let (step, place) = &self.steps[n];
        match step {
            Step::Conv { conv, inputs, halved: None } => {
                let ([out], maps) = take_out(memory, [place.at.clone()]);
                self.conv(conv, inputs, &maps, &mut place.write(out), None);
            }
            Step::Conv { conv, inputs, halved: Some(id) } => {
                let half = &self.steps[*id].1;
                let ([out, halved], maps) = take_out(memory, [place.at.clone(), half.at.clone()]);
                self.conv(conv, inputs, &maps, &mut place.write(out), Some(&mut half.write(halved)));
            }
            Step::Input => planes::pack(photo, 3, &mut place.write(&mut memory[place.at.clone()])),
            Step::Halve(id) => {
                let ([out], maps) = take_out(memory, [place.at.clone()]);
                resample::halve(&self.plane(*id, &maps), &mut place.write(out));
            }
            Step::Enlarge(id) => {
                let ([out], maps) = take_out(memory, [place.at.clone()]);
                resample::enlarge(&self.plane(*id, &maps), &mut place.write(out));
            }
            Step::Doubled(_) | Step::Halved => {}
        }
    }

    fn conv(
        &self,
        conv: &Conv,
        inputs: &[NodeId],
        maps: &Maps<'_>,
        out: &mut PlaneMut<'_>,
        halved: Option<&mut PlaneMut<'_>>,
    ) {
        let inputs: Vec<_> = inputs.iter().map(|id| self.source(*id, maps)).collect();
        conv.run(self.level, &inputs, out, halved, &self.scratch);
    }

    fn head(&self, maps: &Maps<'_>) -> Vec<f32> {
        let maps: Vec<_> = self
            .sides
            .iter()
            .map(|side| {
                let plane = self.plane(side.from, maps);
                let mut map = vec![0.0; plane.height * plane.width];
                side.dot.run(self.level, &plane, &mut map);
                (map, plane.height, plane.width, side.weight)
            })
            .collect();
        let maps: Vec<_> =
            maps.iter().map(|(map, rows, columns, weight)| (&map[..], *rows, *columns, *weight)).collect();
        fuse(&maps, self.bias, (self.size, self.size))
    }

    fn source<'a>(&self, id: NodeId, maps: &Maps<'a>) -> Source<'a> {
        match self.steps[id].0 {
            Step::Doubled(small) => Source::Doubled(self.plane(small, maps)),
            _ => Source::Plane(self.plane(id, maps)),
        }
    }

    fn plane<'a>(&self, id: NodeId, maps: &Maps<'a>) -> Plane<'a> {
        let Place { at, size } = &self.steps[id].1;
        Plane::new(maps.at(at), size.blocks, size.height, size.width)
    }
}

/// The node whose map a convolution writes with its own: the first that halves it.
fn half_of(graph: &Graph, of: NodeId) -> Option<NodeId> {
    let halves = |node: &Node| matches!(node, Node::Halved(id) if *id == of);
    graph.nodes.iter().position(halves).filter(|_| matches!(graph.nodes[of], Node::Conv { .. }))
}

/// Makes a node's map lie where another's does, for as long as either is needed.
fn share(homes: &mut [NodeId], needs: &mut [Need], node: NodeId, with: NodeId) {
    let home = homes[with];
    let last = *needs[node].steps.end().max(needs[home].steps.end());
    needs[home].steps = *needs[home].steps.start()..=last;
    // Nothing needs a place of its own for it.
    needs[node].len = 0;
    homes[node] = home;
}

/// The size of each node's map, for photos of `size × size`.
fn sizes(graph: &Graph, size: usize) -> Result<Vec<Size>, ModelError> {
    let mut sizes: Vec<Size> = Vec::new();
    for (n, node) in graph.nodes.iter().enumerate() {
        let of = |id: &NodeId| sizes.get(*id).copied().ok_or(ModelError::Graph { node: n });
        let size = match node {
            Node::Input => Size { blocks: 1, height: size, width: size },
            Node::Conv { conv, inputs, .. } => {
                let first = inputs.first().ok_or(ModelError::Graph { node: n })?;
                let of = of(first)?;
                Size {
                    blocks: conv.weight.dim(0)?.div_ceil(planes::LANES),
                    height: of.height.div_ceil(conv.stride),
                    width: of.width.div_ceil(conv.stride),
                }
            }
            Node::Halved(id) => {
                let of = of(id)?;
                Size { height: of.height.div_ceil(2), width: of.width.div_ceil(2), ..of }
            }
            Node::Enlarged(id, like) => Size { blocks: of(id)?.blocks, ..of(like)? },
        };
        sizes.push(size);
    }
    Ok(sizes)
}

/// The shapes of the convolutions among the nodes.
fn shapes(graph: &Graph, sizes: &[Size]) -> Result<Vec<Option<ConvShape>>, ModelError> {
    let shapes = graph.nodes.iter().map(|node| match node {
        Node::Conv { conv, inputs, .. } => Ok(Some(shape(conv, inputs, sizes)?)),
        _ => Ok(None),
    });
    shapes.collect()
}

fn shape(conv: &graph::Conv, inputs: &[NodeId], sizes: &[Size]) -> Result<ConvShape, ModelError> {
    let (output, channels, side, _) = conv.weight.dims4()?;
    // All but the last are whole blocks.
    let mut left = channels;
    let inputs = inputs.iter().map(|id| {
        let own = (sizes[*id].blocks * planes::LANES).min(left);
        left -= own;
        own
    });
    let graph::Conv { stride, dilation, .. } = *conv;
    Ok(ConvShape { inputs: inputs.collect(), output, side, stride, dilation })
}

/// A convolution with its filters where the kernels want them.
fn in_place(conv: graph::Conv, shape: &ConvShape, size: Size, finish: Finish) -> Result<Conv, ModelError> {
    let weight: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
    let bias: Vec<f32> = conv.bias.to_vec1()?;
    drop(conv);
    Ok(Conv::new(shape, shape.way(size.pixels()), &weight, &bias, finish))
}

/// What the head of the network sees.
fn sides(graph: &Graph) -> Result<Vec<Side>, ModelError> {
    let weights: Vec<f32> = match &graph.fuse {
        Some(fuse) => fuse.weight.flatten_all()?.to_vec1()?,
        None => vec![1.0],
    };
    let sides = graph.sides.iter().zip(weights).map(|((from, conv), weight)| {
        let channels = conv.weight.dim(1)?;
        let bias: Vec<f32> = conv.bias.to_vec1()?;
        let filter: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
        Ok(Side { from: *from, dot: Dot::new(&filter, channels, bias[0]), weight })
    });
    sides.collect()
}

/// Whether an enlarged map can be left to the convolutions that see it.
fn doubles(graph: &Graph, sizes: &[Size], shapes: &[Option<ConvShape>], node: NodeId, of: NodeId) -> bool {
    let (small, large) = (sizes[of], sizes[node]);
    if (2 * small.height, 2 * small.width) != large.pixels() {
        return false;
    }
    let left_to_it = graph.nodes.iter().zip(shapes).all(|(seen_by, shape)| match seen_by {
        Node::Input => true,
        Node::Conv { inputs, residual, .. } => {
            let enlarges = shape.as_ref().is_some_and(|shape| shape.enlarges(large.pixels()));
            *residual != Some(node) && (!inputs.contains(&node) || enlarges)
        }
        Node::Halved(id) | Node::Enlarged(id, _) => *id != node,
    });
    left_to_it && graph.sides.iter().all(|(id, _)| *id != node)
}

impl CustomOp1 for CpuNetwork {
    fn name(&self) -> &'static str {
        "u2net"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let expected = Shape::from((1, 3, self.size, self.size));
        if *layout.shape() != expected {
            candle_core::bail!("a photo of {:?} for a network of {expected:?}", layout.shape());
        }
        let Some((from, to)) = layout.contiguous_offsets() else {
            candle_core::bail!("the photo's values don't lie one after the other");
        };
        let map = self.run(&storage.as_slice::<f32>()?[from..to]);
        Ok((CpuStorage::F32(map), Shape::from((1, 1, self.size, self.size))))
    }
}

#[cfg(test)]
mod tests;
