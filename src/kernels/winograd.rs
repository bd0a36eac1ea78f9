//! 3×3 convolutions by Winograd's minimal filtering; the mathematics is in [`crate::toom`].
//!
//! A band of output rows is one thread's. Along it, strips of tiles go through three steps, all within
//! the second-level cache: the data are transformed into `[block][point][tile]`, each point's products
//! with the transformed filters are summed over channels into `[point][tile]`, and each tile's sums are
//! transformed back, with bias, residual and activation on the way out.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use rayon::prelude::*;

use crate::epilogue::Epilogue;
use crate::memory::Buffer;
use crate::patch::{cut_doubled, cut_out};
use crate::planes::{LANES, Lanes, PlaneMut, Source};
use crate::product::Product;
use crate::scratch::Scratch;
use crate::simd::{Kernel, Level, Simd, dispatch};
use crate::tile::{FourByFour, MAX_POINTS, Output, SixBySix, Transform};
use crate::toom::{F4, F6, TAPS};

/// A strip's transformed data, in bytes: with its sums and the filters passing by, what fits into the
/// second-level cache of every processor that we know (512 kB and more).
const STRIP: usize = 200 << 10;
/// More tiles than this gain nothing.
const MAX_TILES: usize = 24;

/// Filters in Winograd's domain.
pub(crate) struct Winograd {
    tile: Tile,
    /// `[block of outputs][point][channel of all inputs]`, sixteen outputs each.
    filters: Buffer,
    /// Blocks of input channels.
    inputs: usize,
}

/// How many outputs a tile gives on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tile {
    Four,
    Six,
}

impl Tile {
    pub(crate) const fn side(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Six => 6,
        }
    }

    /// Points on a side.
    const fn points(self) -> usize {
        self.side() + TAPS - 1
    }
}

impl Winograd {
    /// Transforms filters, given as a function of output block, input channel and tap.
    pub(crate) fn new(
        tile: Tile,
        (blocks, channels): (usize, usize),
        filter: impl Fn(usize, usize, usize) -> Lanes + Sync,
    ) -> Self {
        let points = tile.points() * tile.points();
        let mut filters = Buffer::zeroed(blocks * points * channels);
        filters.par_chunks_mut(points * channels).enumerate().for_each(|(block, filters)| {
            for channel in 0..channels {
                let taps: [Lanes; TAPS * TAPS] = std::array::from_fn(|tap| filter(block, channel, tap));
                let mut put = |point: usize, value| filters[point * channels + channel] = value;
                match tile {
                    Tile::Four => F4.filter(&taps, &mut put),
                    Tile::Six => F6.filter(&taps, &mut put),
                }
            }
        });
        Self { tile, filters, inputs: channels / LANES }
    }

    pub(crate) fn filters(&self) -> &[Lanes] {
        &self.filters
    }

    pub(crate) fn run(
        &self,
        level: Level,
        inputs: &[Source<'_>],
        epilogue: &Epilogue<'_>,
        out: &mut PlaneMut<'_>,
        scratch: &Scratch,
    ) {
        assert_eq!(inputs.iter().map(|input| input.plane().blocks).sum::<usize>(), self.inputs);
        let (side, points) = (self.tile.side(), self.tile.points() * self.tile.points());
        let across = out.width.div_ceil(side);
        let tiles = strip(STRIP / (self.inputs * points * size_of::<Lanes>()), across);
        let (blocks, width) = (out.blocks, out.width);
        let stream = out.is_streamed();
        let bands = out.data.par_chunks_mut(side * blocks * width).enumerate();
        bands.for_each(|(n, out)| {
            let mut lent = scratch.lend((self.inputs + 1) * points * tiles);
            let (data, sums) = lent.buffer.split_at_mut(self.inputs * points * tiles);
            let band = Band {
                winograd: self,
                inputs,
                epilogue,
                y: n * side,
                out,
                blocks,
                width,
                stream,
                tiles,
                data,
                sums,
            };
            dispatch(level, band);
        });
    }
}

/// Tiles in a strip: strips of a band are of equal length, as far as that can be.
fn strip(fit: usize, across: usize) -> usize {
    const SIX: usize = 6;
    let most = (fit / SIX * SIX).clamp(SIX, MAX_TILES);
    across.div_ceil(across.div_ceil(most)).next_multiple_of(SIX).min(across)
}

struct Band<'a> {
    winograd: &'a Winograd,
    inputs: &'a [Source<'a>],
    epilogue: &'a Epilogue<'a>,
    /// The first row.
    y: usize,
    /// `[row][block][x]`.
    out: &'a mut [Lanes],
    blocks: usize,
    width: usize,
    /// The whole map is so large that it is written past the caches.
    stream: bool,
    /// In a strip.
    tiles: usize,
    /// `[block][point][tile]`
    data: &'a mut [Lanes],
    /// `[point][tile]`
    sums: &'a mut [Lanes],
}

impl Kernel for Band<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller gives the instructions.
        unsafe {
            match self.winograd.tile {
                Tile::Four => self.strips::<S, FourByFour>(),
                Tile::Six => self.strips::<S, SixBySix>(),
            }
        }
    }
}

impl Band<'_> {
    #[inline(always)]
    unsafe fn strips<S: Simd, T: Transform>(mut self) {
        let across = self.width.div_ceil(T::SIDE);
        for first in (0..across).step_by(self.tiles) {
            let tiles = self.tiles.min(across - first);
            // SAFETY: the caller gives the instructions.
            unsafe {
                self.transform_data::<S, T>(first, tiles);
                for block in 0..self.blocks {
                    self.multiply::<S, T>(block, tiles);
                    self.transform_sums::<S, T>(block, first, tiles);
                }
            }
        }
        // Before another thread is told that the band is there.
        S::fence();
    }

    #[inline(always)]
    unsafe fn transform_data<S: Simd, T: Transform>(&mut self, first: usize, tiles: usize) {
        let mut patch = [Lanes::ZERO; MAX_POINTS];
        let step = self.tiles * LANES;
        let mut at = 0;
        for source in self.inputs {
            let input = source.plane();
            for block in 0..input.blocks {
                for tile in 0..tiles {
                    let x = (first + tile) * T::SIDE;
                    let inside =
                        self.y > 0 && x > 0 && self.y + T::SIDE < input.height && x + T::SIDE < input.width;
                    let (from, row) = match source {
                        Source::Plane(_) if inside => {
                            let from = ((self.y - 1) * input.blocks + block) * input.width + x - 1;
                            let row = input.blocks * input.width;
                            let last = from + (T::POINTS - 1) * row + T::POINTS;
                            (input.data[from..last].as_ptr(), row)
                        }
                        Source::Plane(_) => {
                            cut_out(input, block, self.y, x, T::POINTS, &mut patch);
                            (patch.as_ptr(), T::POINTS)
                        }
                        Source::Doubled(_) => {
                            // SAFETY: the caller gives the instructions.
                            unsafe {
                                cut_doubled::<S>(input, block, (self.y, x), T::POINTS, &mut patch);
                            }
                            (patch.as_ptr(), T::POINTS)
                        }
                    };
                    let to = &mut self.data[(at * T::POINTS * T::POINTS) * self.tiles + tile..];
                    assert!(to.len() > (T::POINTS * T::POINTS - 1) * self.tiles);
                    // SAFETY: `from` has `POINTS` rows `row` apart, and `to` a place for each point; both
                    // were just checked. The caller gives the instructions.
                    unsafe { T::data::<S>(from.cast(), row * LANES, to.as_mut_ptr().cast(), step) };
                }
                at += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd, T: Transform>(&mut self, block: usize, tiles: usize) {
        let (points, channels) = (T::POINTS * T::POINTS, self.winograd.inputs * LANES);
        let filters = &self.winograd.filters[block * points * channels..][..points * channels];
        assert!(self.data.len() == self.winograd.inputs * points * self.tiles);
        assert!(self.sums.len() >= points * self.tiles && tiles <= self.tiles);
        for point in 0..points {
            let mut tile = 0;
            while tile < tiles {
                // Groups of even size: a small one leaves registers, and with them time, unused.
                let left = tiles - tile;
                let rows = left.div_ceil(left.div_ceil(S::ROWS));
                let at = point * self.tiles + tile;
                let product = Product {
                    data: self.data[at..].as_ptr().cast(),
                    block: points * self.tiles * LANES,
                    blocks: self.winograd.inputs,
                    filters: filters[point * channels..].as_ptr().cast(),
                    sums: self.sums[at..].as_mut_ptr().cast(),
                };
                // SAFETY: `rows` tiles from `at` exist in each block and in the sums, and `channels`
                // filters from the point's first; the caller gives the instructions.
                unsafe { product.rows::<S>(rows) };
                tile += rows;
            }
        }
    }

    #[inline(always)]
    unsafe fn transform_sums<S: Simd, T: Transform>(&mut self, block: usize, first: usize, tiles: usize) {
        let rows = self.out.len() / (self.blocks * self.width);
        let Epilogue { bias, residual, .. } = self.epilogue;
        let mut patch = [Lanes::ZERO; MAX_POINTS];
        let mut beside = [Lanes::ZERO; MAX_POINTS];
        let row = self.blocks * self.width;
        for tile in 0..tiles {
            let x = (first + tile) * T::SIDE;
            let wide = T::SIDE.min(self.width - x);
            let whole = wide == T::SIDE && rows >= T::SIDE;
            let sums = &self.sums[tile..][..(T::POINTS * T::POINTS - 1) * self.tiles + 1];
            let at = block * self.width + x;
            let last = (T::SIDE - 1) * row + T::SIDE;
            let residual = residual.as_ref().map(|residual| {
                let from = &residual.data[self.y * row + at..];
                if whole {
                    (from[..last].as_ptr().cast(), row * LANES)
                } else {
                    for (n, to) in beside.chunks_exact_mut(T::SIDE).take(rows.min(T::SIDE)).enumerate() {
                        to[..wide].copy_from_slice(&from[n * row..][..wide]);
                    }
                    (beside.as_ptr().cast(), T::SIDE * LANES)
                }
            });
            let (to, step) = if whole {
                (self.out[at..][..last].as_mut_ptr(), row)
            } else {
                (patch.as_mut_ptr(), T::SIDE)
            };
            let output = Output {
                sums: sums.as_ptr().cast(),
                step: self.tiles * LANES,
                bias: &bias[block],
                floor: self.epilogue.floor(),
                residual,
                to: to.cast(),
                row: step * LANES,
                stream: whole && self.stream,
            };
            // SAFETY: there is a sum for each point, and `SIDE` rows of `SIDE` pixels to read and to
            // write, as was just checked; the caller gives the instructions.
            unsafe { T::output::<S>(output) };
            if !whole {
                for (n, from) in patch.chunks_exact(T::SIDE).take(rows.min(T::SIDE)).enumerate() {
                    self.out[at + n * row..][..wide].copy_from_slice(&from[..wide]);
                }
            }
        }
    }
}
