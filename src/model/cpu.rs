//! A graph on the CPU: planned once for its size, run through our own kernels as one candle operation.
//!
//! The plan says which maps share memory: a map's place is free again after the last node that sees it.
//! The memory is lent to one run at a time, made for the first, kept for the next, and goes with the
//! network; two runs at once have two.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use parking_lot::Mutex;
use rayon::prelude::*;
use warmcut_kernels::conv::{Scratch, Way};
use warmcut_kernels::{Buffer, Conv, ConvShape, Dot, Level, Plane, PlaneMut, Source, fuse, planes, resample};

use super::ModelError;
use super::graph::{self, Graph, Node, NodeId};
use super::slots::Slots;

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

/// Where a node's map lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    slot: usize,
    size: Size,
}

enum Step {
    Input,
    Conv {
        conv: Box<Conv>,
        inputs: Vec<NodeId>,
        residual: Option<NodeId>,
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
    /// Length of each slot.
    slots: Vec<usize>,
    /// Memory that no run uses now.
    idle: Mutex<Vec<Vec<Buffer>>>,
    scratch: Scratch,
}

impl CpuNetwork {
    /// Plans a graph for photos of `size × size`.
    pub(super) fn plan(graph: &Graph, size: usize, level: Level) -> Result<Self, ModelError> {
        let sizes = sizes(graph, size)?;
        let mut convs = convs(graph, &sizes)?;
        let mut last_use = graph.last_use();
        let mut slots = Slots::default();
        let mut steps: Vec<(Step, Place)> = Vec::new();
        // Places of maps that are written before it is their turn.
        let mut early: Vec<Option<Place>> = vec![None; graph.nodes.len()];
        for (n, node) in graph.nodes.iter().enumerate() {
            let size = sizes[n];
            let step = match node {
                _ if early[n].is_some() => Step::Halved,
                Node::Input => Step::Input,
                Node::Conv { inputs, residual, .. } => {
                    let conv = convs[n].take().ok_or(ModelError::Graph { node: n })?;
                    let halved =
                        graph.nodes.iter().position(|node| matches!(node, Node::Halved(id) if *id == n));
                    if let Some(id) = halved {
                        early[id] = Some(Place { slot: slots.take(sizes[id].len()), size: sizes[id] });
                    }
                    Step::Conv { conv, inputs: inputs.clone(), residual: *residual, halved }
                }
                Node::Halved(id) => Step::Halve(*id),
                Node::Enlarged(id, _) if doubles(graph, &sizes, n, *id)? => {
                    // It lies where the small map does, which is seen for as long.
                    last_use[*id] = last_use[*id].max(last_use[n]);
                    last_use[n] = NodeId::MAX;
                    let slot = steps[*id].1.slot;
                    steps.push((Step::Doubled(*id), Place { slot, size }));
                    continue;
                }
                Node::Enlarged(id, _) => Step::Enlarge(*id),
            };
            let place = early[n].unwrap_or_else(|| Place { slot: slots.take(size.len()), size });
            steps.push((step, place));
            for (id, last) in last_use.iter().enumerate().take(n + 1) {
                if *last == n {
                    slots.give_back(steps[id].1.slot);
                }
            }
        }
        let weights: Vec<f32> = graph.fuse.weight.flatten_all()?.to_vec1()?;
        let mut sides = Vec::new();
        for ((from, conv), weight) in graph.sides.iter().zip(weights) {
            let channels = conv.weight.dim(1)?;
            let bias: Vec<f32> = conv.bias.to_vec1()?;
            let filter: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
            sides.push(Side { from: *from, dot: Dot::new(&filter, channels, bias[0]), weight });
        }
        let bias = graph.fuse.bias.to_vec1::<f32>()?[0];
        let (idle, scratch) = (Mutex::default(), Scratch::default());
        Ok(Self { level, size, steps, sides, bias, slots: slots.lengths, idle, scratch })
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
        let mut memory = kept.unwrap_or_else(|| self.slots.iter().map(|len| Buffer::zeroed(*len)).collect());
        // Inside the pool, so that no operation waits for its threads to wake.
        let map = rayon::scope(|_| {
            for n in 0..self.steps.len() {
                self.step(n, photo, &mut memory);
            }
            self.head(&memory)
        });
        self.idle.lock().push(memory);
        map
    }

    fn step(&self, n: usize, photo: &[f32], memory: &mut [Buffer]) {
        let (step, Place { slot, size }) = &self.steps[n];
        if matches!(step, Step::Doubled(_) | Step::Halved) {
            return;
        }
        // No node lies where one of its inputs does, so the place can be taken out while they are read.
        let mut taken = std::mem::take(&mut memory[*slot]);
        let mut out = PlaneMut::new(&mut taken[..size.len()], size.blocks, size.height, size.width);
        match step {
            Step::Input => planes::pack(photo, 3, &mut out),
            Step::Conv { conv, inputs, residual, halved } => {
                let halved = halved.map(|id| self.steps[id].1);
                let mut half = halved.map(|Place { slot, .. }| std::mem::take(&mut memory[slot]));
                let mut half_out = half.as_mut().zip(halved).map(|(half, Place { size, .. })| {
                    PlaneMut::new(&mut half[..size.len()], size.blocks, size.height, size.width)
                });
                let inputs: Vec<_> = inputs.iter().map(|id| self.source(*id, memory)).collect();
                let residual = residual.map(|id| self.plane(id, memory));
                conv.run(self.level, &inputs, residual, &mut out, half_out.as_mut(), &self.scratch);
                if let (Some(half), Some(Place { slot, .. })) = (half, halved) {
                    memory[slot] = half;
                }
            }
            Step::Halve(id) => resample::halve(&self.plane(*id, memory), &mut out),
            Step::Enlarge(id) => resample::enlarge(&self.plane(*id, memory), &mut out),
            Step::Doubled(_) | Step::Halved => {}
        }
        memory[*slot] = taken;
    }

    fn head(&self, memory: &[Buffer]) -> Vec<f32> {
        let maps: Vec<_> = self
            .sides
            .iter()
            .map(|side| {
                let plane = self.plane(side.from, memory);
                let mut map = vec![0.0; plane.height * plane.width];
                side.dot.run(self.level, &plane, &mut map);
                (map, plane.height, plane.width, side.weight)
            })
            .collect();
        let maps: Vec<_> =
            maps.iter().map(|(map, rows, columns, weight)| (&map[..], *rows, *columns, *weight)).collect();
        fuse(&maps, self.bias, (self.size, self.size))
    }

    fn source<'a>(&self, id: NodeId, memory: &'a [Buffer]) -> Source<'a> {
        match self.steps[id].0 {
            Step::Doubled(small) => Source::Doubled(self.plane(small, memory)),
            _ => Source::Plane(self.plane(id, memory)),
        }
    }

    fn plane<'a>(&self, id: NodeId, memory: &'a [Buffer]) -> Plane<'a> {
        let Place { slot, size } = &self.steps[id].1;
        Plane::new(&memory[*slot][..size.len()], size.blocks, size.height, size.width)
    }
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
                Size { blocks: conv.weight.dim(0)?.div_ceil(planes::LANES), ..of(first)? }
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

/// The convolutions among the nodes, their filters in place. That is most of a load, so all threads share it.
fn convs(graph: &Graph, sizes: &[Size]) -> Result<Vec<Option<Box<Conv>>>, ModelError> {
    let convs = graph.nodes.par_iter().zip(sizes).map(|(node, size)| {
        let Node::Conv { conv, inputs, .. } = node else { return Ok(None) };
        let shape = shape(conv, inputs, sizes)?;
        let weight: Vec<f32> = conv.weight.flatten_all()?.to_vec1()?;
        let bias: Vec<f32> = conv.bias.to_vec1()?;
        Ok(Some(Box::new(Conv::new(&shape, shape.way(size.pixels()), &weight, &bias, true))))
    });
    convs.collect()
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
    Ok(ConvShape { inputs: inputs.collect(), output, side, stride: 1, dilation: conv.dilation })
}

/// Whether an enlarged map can be left to the convolutions that see it.
fn doubles(graph: &Graph, sizes: &[Size], node: NodeId, of: NodeId) -> Result<bool, ModelError> {
    let (small, large) = (sizes[of], sizes[node]);
    if (2 * small.height, 2 * small.width) != large.pixels() {
        return Ok(false);
    }
    for seen_by in &graph.nodes {
        match seen_by {
            Node::Conv { conv, inputs, residual } if inputs.contains(&node) || *residual == Some(node) => {
                let way = shape(conv, inputs, sizes)?.way(large.pixels());
                if *residual == Some(node) || way == Way::Direct {
                    return Ok(false);
                }
            }
            Node::Halved(id) if *id == node => return Ok(false),
            Node::Enlarged(id, _) if *id == node => return Ok(false),
            _ => {}
        }
    }
    Ok(graph.sides.iter().all(|(id, _)| *id != node))
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
