//! One convolution with bias, activation and residual, by the way that suits its map.

use crate::direct::Direct;
use crate::epilogue::Epilogue;
pub use crate::epilogue::Finish;
use crate::planes::{LANES, Lanes, PlaneMut, Source};
use crate::resample::halve;
pub use crate::scratch::Scratch;
use crate::simd::Level;
use crate::winograd::{Tile, Winograd};

/// What a convolution is; its padding keeps the map's size (divided by the stride).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of each input, in the order of concatenation. All but the last are whole blocks.
    pub inputs: Vec<usize>,
    /// Channels out.
    pub output: usize,
    /// Taps on each side; odd.
    pub side: usize,
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Pixels from one tap to the next.
    pub dilation: usize,
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Tap by tap.
    Direct,
    /// Winograd's F(4×4, 3×3).
    Winograd4,
    /// Winograd's F(6×6, 3×3).
    Winograd6,
    /// F(4×4, 3×3) with filters that no cache keeps, or with taps that lie apart.
    Deep4,
    /// F(6×6, 3×3) with filters that no cache keeps.
    Deep6,
}

impl ConvShape {
    /// The fastest way on a map of this size.
    pub fn way(&self, size: (usize, usize)) -> Way {
        /// Bytes of filters beside whose like no second-level cache has room for the data.
        const DEEP: usize = 2 << 20;
        const POINTS: [usize; 2] = [36, 64];
        let least = size.0.min(size.1);
        let filters = self.inputs.iter().sum::<usize>() * self.output * size_of::<f32>();
        let [four, six] = POINTS.map(|points| points * filters >= DEEP);
        let plain = self.side == 3 && self.stride == 1;
        if plain && self.dilation > 1 && four && self.apart_is_less(size) {
            Way::Deep4
        } else if !plain || self.dilation > 1 || least < 16 {
            // Small maps are mostly edge.
            Way::Direct
        } else {
            match (least >= 100, four, six) {
                (true, _, true) => Way::Deep6,
                (true, ..) => Way::Winograd6,
                (false, true, _) => Way::Deep4,
                (false, ..) => Way::Winograd4,
            }
        }
    }

    /// Whether that way can enlarge a map as it sees it ([`Source::Doubled`]).
    pub fn enlarges(&self, size: (usize, usize)) -> bool {
        self.way(size) != Way::Direct && self.dilation == 1
    }

    /// Whether tiles of four have so much fewer products that they are worth their transforms, though many lie
    /// beyond the edge.
    fn apart_is_less(&self, (height, width): (usize, usize)) -> bool {
        let dilation = self.dilation;
        let tiles = |len: usize| dilation * len.div_ceil(4 * dilation);
        // Taps that see the map.
        let taps = |len: usize| 3 * len - 2 * dilation.min(len);
        3 * 36 * tiles(height) * tiles(width) <= 2 * taps(height) * taps(width)
    }
}

enum Filters {
    Direct(Direct),
    Winograd(Winograd),
}

/// A convolution with its filters in place.
pub struct Conv {
    filters: Filters,
    bias: Vec<Lanes>,
    finish: Finish,
    /// Blocks of each input.
    inputs: Vec<usize>,
}

impl Conv {
    /// Places filters of `[output][inputs][side][side]` and a bias for each output.
    ///
    /// # Panics
    /// When the lengths contradict the shape, or the shape or the way can't be computed.
    pub fn new(shape: &ConvShape, way: Way, weight: &[f32], bias: &[f32], finish: Finish) -> Self {
        Self::of_any(shape, (shape.side, shape.side), way, weight, bias, finish)
    }

    /// The same tap by tap, with so many taps down and across instead of a side.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn direct(
        shape: &ConvShape,
        kernel: (usize, usize),
        weight: &[f32],
        bias: &[f32],
        finish: Finish,
    ) -> Self {
        Self::of_any(shape, kernel, Way::Direct, weight, bias, finish)
    }

    fn of_any(
        shape: &ConvShape,
        (down, across): (usize, usize),
        way: Way,
        weight: &[f32],
        bias: &[f32],
        finish: Finish,
    ) -> Self {
        let ConvShape { inputs, output, stride, dilation, .. } = shape;
        let channels: usize = inputs.iter().sum();
        assert_eq!((weight.len(), bias.len()), (output * channels * down * across, *output));
        let (last, whole) = inputs.split_last().expect("at least one input");
        assert!(
            whole.iter().all(|channels| channels % LANES == 0)
                && *last > 0
                && down % 2 == 1
                && across % 2 == 1
        );
        let (blocks, taps) = (output.div_ceil(LANES), down * across);
        let filter = |block: usize, channel: usize, tap: usize| {
            Lanes(std::array::from_fn(|lane| {
                let output = block * LANES + lane;
                if output < shape.output && channel < channels {
                    weight[(output * channels + channel) * taps + tap]
                } else {
                    0.0
                }
            }))
        };
        let filters = match way {
            Way::Direct => {
                let used = (0..channels.div_ceil(LANES)).map(|block| (channels - block * LANES).min(LANES));
                Filters::Direct(Direct::new(
                    (down, across),
                    [*stride, *dilation],
                    blocks,
                    used.collect(),
                    filter,
                ))
            }
            Way::Winograd4 | Way::Winograd6 | Way::Deep4 | Way::Deep6 => {
                assert_eq!([down, across, *stride], [3, 3, 1], "Winograd's are 3x3 without a stride");
                let deep = matches!(way, Way::Deep4 | Way::Deep6);
                assert!(deep || *dilation == 1, "taps that lie apart are a deep one's");
                let six = matches!(way, Way::Winograd6 | Way::Deep6);
                let tile = if six { Tile::Six } else { Tile::Four };
                Filters::Winograd(Winograd::new((tile, deep, *dilation), (blocks, channels), filter))
            }
        };
        let bias = (0..blocks).map(|block| {
            Lanes(std::array::from_fn(|lane| bias.get(block * LANES + lane).copied().unwrap_or(0.0)))
        });
        let inputs = inputs.iter().map(|channels| channels.div_ceil(LANES)).collect();
        Self { filters, bias: bias.collect(), finish, inputs }
    }

    /// Bytes of filters as they lie here.
    pub fn bytes(&self) -> usize {
        match &self.filters {
            Filters::Direct(direct) => size_of_val(&direct.filters[..]),
            Filters::Winograd(winograd) => size_of_val(&winograd.filters[..]),
        }
    }

    /// Computes the map. The same map halved, as [`halve`] does it, costs least while the map's rows are
    /// at hand.
    ///
    /// # Panics
    /// When the maps contradict the shape or each other.
    pub fn run(
        &self,
        level: Level,
        inputs: &[Source<'_>],
        out: &mut PlaneMut<'_>,
        halved: Option<&mut PlaneMut<'_>>,
        scratch: &Scratch,
    ) {
        let size = inputs[0].size();
        assert!(inputs.iter().map(|input| input.plane().blocks).eq(self.inputs.iter().copied()));
        assert!(inputs.iter().all(|input| input.size() == size));
        assert_eq!(out.blocks, self.bias.len());
        let stride = match &self.filters {
            Filters::Direct(direct) => direct.stride,
            Filters::Winograd(_) => 1,
        };
        assert_eq!((out.height, out.width), (size.0.div_ceil(stride), size.1.div_ceil(stride)));
        let epilogue = Epilogue { bias: &self.bias, finish: self.finish };
        match &self.filters {
            Filters::Direct(direct) => {
                direct.run(level, inputs, &epilogue, out);
                if let Some(halved) = halved {
                    halve(&out.as_plane(), halved);
                }
            }
            Filters::Winograd(winograd) if winograd.dilation > 1 => {
                winograd.run(level, inputs, &epilogue, out, None, scratch);
                if let Some(halved) = halved {
                    halve(&out.as_plane(), halved);
                }
            }
            Filters::Winograd(winograd) => winograd.run(level, inputs, &epilogue, out, halved, scratch),
        }
    }
}
