//! One band of output rows by Winograd, strip by strip: one thread's work, within its caches.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use std::ops::Range;

use crate::epilogue::Epilogue;
use crate::patch::{cut_doubled, cut_out};
use crate::planes::{LANES, Lanes, Source};
use crate::product::Products;
use crate::resample::halve_rows;
use crate::simd::{Kernel, Level, Simd, dispatch};
use crate::tile::{FourByFour, MAX_POINTS, Output, SixBySix, Transform};
use crate::winograd::{Tile, Winograd};

pub(crate) struct Band<'a> {
    pub(crate) winograd: &'a Winograd,
    pub(crate) inputs: &'a [Source<'a>],
    pub(crate) epilogue: &'a Epilogue<'a>,
    /// The first row.
    pub(crate) y: usize,
    /// `[row][block][x]`.
    pub(crate) out: &'a mut [Lanes],
    /// The same halved; empty where nobody wants it.
    pub(crate) half: &'a mut [Lanes],
    pub(crate) blocks: usize,
    pub(crate) width: usize,
    /// The whole map is so large that it is written past the caches.
    pub(crate) stream: bool,
    /// In a strip.
    pub(crate) tiles: usize,
    /// `[block][point][tile]`
    pub(crate) data: &'a mut [Lanes],
}

/// A band, strip by strip.
pub(crate) struct Strips<'a> {
    pub(crate) band: Band<'a>,
    pub(crate) level: Level,
    /// `[point][block][tile]`, of [`Simd::TOGETHER`] blocks.
    pub(crate) sums: &'a mut [Lanes],
}

impl Kernel for Strips<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { band, level, sums } = self;
        // SAFETY: the caller gives the instructions.
        unsafe {
            match band.winograd.tile {
                Tile::Four => band.strips::<S, FourByFour>(level, sums),
                Tile::Six => band.strips::<S, SixBySix>(level, sums),
            }
        }
    }
}

impl Band<'_> {
    fn multiply(&self, level: Level, blocks: Range<usize>, tiles: usize, sums: &mut [Lanes]) {
        let Winograd { tile, channels, filters, .. } = self.winograd;
        let points = tile.points() * tile.points();
        let filters = &filters[blocks.start * points * channels..][..blocks.len() * points * channels];
        let (data, channels, step, blocks) = (&*self.data, *channels, self.tiles, blocks.len());
        let sums = &mut sums[..blocks * points * step];
        let (range, far) = (0..points, false);
        dispatch(level, Products { data, filters, sums, channels, points, range, blocks, step, tiles, far });
    }

    #[inline(always)]
    unsafe fn strips<S: Simd, T: Transform>(mut self, level: Level, sums: &mut [Lanes]) {
        let across = self.width.div_ceil(T::SIDE);
        let mut patch = [Lanes::ZERO; MAX_POINTS];
        for first in (0..across).step_by(self.tiles) {
            let tiles = self.tiles.min(across - first);
            // SAFETY: the caller gives the instructions.
            unsafe {
                self.transform_data::<S, T>(first, tiles, &mut patch);
                for block in (0..self.blocks).step_by(S::TOGETHER) {
                    let blocks = block..self.blocks.min(block + S::TOGETHER);
                    self.multiply(level, blocks.clone(), tiles, sums);
                    let step = blocks.len() * self.tiles;
                    for (block, sums) in blocks.zip((0..).step_by(self.tiles).map(|at| &sums[at..])) {
                        for tile in 0..tiles {
                            let place = (block, (0, (first + tile) * T::SIDE), 1);
                            self.transform_sums::<S, T>(place, (&sums[tile..], step), &mut patch);
                        }
                    }
                }
            }
        }
        // Before another thread is told that the band is there.
        S::fence();
    }

    #[inline(always)]
    unsafe fn transform_data<S: Simd, T: Transform>(
        &mut self,
        first: usize,
        tiles: usize,
        patch: &mut [Lanes; MAX_POINTS],
    ) {
        let mut at = 0;
        for source in self.inputs {
            for block in 0..source.plane().blocks {
                for tile in 0..tiles {
                    let to = &mut self.data[(at * T::POINTS * T::POINTS) * self.tiles + tile..];
                    let corner = ((self.y, (first + tile) * T::SIDE), 1);
                    // SAFETY: the caller gives the instructions.
                    unsafe { to_points::<S, T>(source, block, corner, to, self.tiles, patch) };
                }
                at += 1;
            }
        }
    }

    /// A block's tile out of its sums, with the step from one point to the next. It begins at `(y, x)` of the band, and
    /// its pixels lie `dilation` apart; of those beyond the map there are none.
    ///
    /// # Safety
    /// The caller gives the instructions.
    #[inline(always)]
    pub(crate) unsafe fn transform_sums<S: Simd, T: Transform>(
        &mut self,
        (block, (y, x), dilation): (usize, (usize, usize), usize),
        (sums, step): (&[Lanes], usize),
        patch: &mut [Lanes; MAX_POINTS],
    ) {
        let (blocks, width) = (self.blocks, self.width);
        let (row, rows) = (blocks * width, self.out.len() / (blocks * width));
        let Epilogue { bias, finish } = self.epilogue;
        let whole = dilation == 1 && y + T::SIDE <= rows && x + T::SIDE <= width;
        // Of a tile that isn't whole; to make them ready takes a division each.
        let lines = || (y..rows).step_by(dilation).take(T::SIDE).map(|y| y * row + block * width);
        let columns = || (x..width).step_by(dilation).take(T::SIDE);
        let (to, line) = if whole {
            let last = (T::SIDE - 1) * row + T::SIDE;
            (self.out[y * row + block * width + x..][..last].as_mut_ptr(), row)
        } else {
            if finish.adds {
                for (line, patch) in lines().zip(patch.chunks_exact_mut(T::SIDE)) {
                    columns().zip(patch).for_each(|(x, patch)| *patch = self.out[line + x]);
                }
            }
            (patch.as_mut_ptr(), T::SIDE)
        };
        // Tiles begin at even places, so a half's four are always of one tile.
        let half_width = width.div_ceil(2);
        let half_row = blocks * half_width;
        let half_at = y / 2 * half_row + block * half_width + x / 2;
        let half = (whole && !self.half.is_empty()).then(|| {
            let last = (T::SIDE / 2 - 1) * half_row + T::SIDE / 2;
            (self.half[half_at..][..last].as_mut_ptr().cast(), half_row * LANES)
        });
        let output = Output {
            sums: sums[..(T::POINTS * T::POINTS - 1) * step + 1].as_ptr().cast(),
            step: step * LANES,
            bias: &bias[block],
            floor: self.epilogue.floor(),
            adds: finish.adds,
            to: to.cast(),
            row: line * LANES,
            half,
            stream: whole && self.stream,
        };
        // SAFETY: there is a sum for each point, and `SIDE` rows of `SIDE` pixels to read and to
        // write, as was just checked; the caller gives the instructions.
        unsafe { T::output::<S>(output) };
        if whole {
            return;
        }
        for (line, patch) in lines().zip(patch.chunks_exact(T::SIDE)) {
            columns().zip(patch).for_each(|(x, patch)| self.out[line + x] = *patch);
        }
        if !self.half.is_empty() {
            let (rows, wide) = (T::SIDE.min(rows - y), T::SIDE.min(width - x));
            for n in 0..rows.div_ceil(2) {
                let above = &patch[2 * n * T::SIDE..][..wide];
                let below = &patch[(2 * n + 1).min(rows - 1) * T::SIDE..][..wide];
                halve_rows(above, below, &mut self.half[half_at + n * half_row..][..wide.div_ceil(2)]);
            }
        }
    }
}

/// One block of the tile at `(y, x)` of a map, its taps `dilation` pixels apart, to its points, which are `step`
/// apart.
///
/// # Safety
/// The caller gives the instructions.
#[inline(always)]
pub(crate) unsafe fn to_points<S: Simd, T: Transform>(
    source: &Source<'_>,
    block: usize,
    ((y, x), dilation): ((usize, usize), usize),
    to: &mut [Lanes],
    step: usize,
    patch: &mut [Lanes; MAX_POINTS],
) {
    let input = source.plane();
    let inside = dilation == 1 && y > 0 && x > 0 && y + T::SIDE < input.height && x + T::SIDE < input.width;
    let (from, row) = match source {
        Source::Plane(_) if inside => {
            let from = ((y - 1) * input.blocks + block) * input.width + x - 1;
            let row = input.blocks * input.width;
            let last = from + (T::POINTS - 1) * row + T::POINTS;
            (input.data[from..last].as_ptr(), row)
        }
        Source::Plane(_) => {
            cut_out(input, block, ((y, x), dilation), T::POINTS, patch);
            (patch.as_ptr(), T::POINTS)
        }
        Source::Doubled(_) => {
            assert_eq!(dilation, 1, "a dilated convolution sees maps as they are");
            // SAFETY: the caller gives the instructions.
            unsafe { cut_doubled::<S>(input, block, (y, x), T::POINTS, patch) };
            (patch.as_ptr(), T::POINTS)
        }
    };
    assert!(to.len() > (T::POINTS * T::POINTS - 1) * step);
    // SAFETY: `from` has `POINTS` rows `row` apart, and `to` a place for each point; both were just
    // checked. The caller gives the instructions.
    unsafe { T::data::<S>(from.cast(), row * LANES, to.as_mut_ptr().cast(), step * LANES) };
}
