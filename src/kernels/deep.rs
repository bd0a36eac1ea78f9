//! A Winograd convolution whose filters are more than a cache keeps, step by step over many tiles.
//!
//! Strip by strip, as in [`crate::band`], such filters would come from memory again for every strip. Here
//! all tiles of a slab of rows go through one step before any goes through the next, and each step is
//! shared out by what it writes: the data by blocks of inputs, the sums by blocks of outputs, so that each
//! filter passes by once a slab; the map by bands of rows.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use rayon::prelude::*;

use crate::band::{Band, to_points};
use crate::epilogue::Epilogue;
use crate::planes::{Lanes, PlaneMut, Source};
use crate::product::Products;
use crate::scratch::Scratch;
use crate::simd::{Kernel, Level, Simd, dispatch};
use crate::tile::{FourByFour, MAX_POINTS, Transform};
use crate::winograd::Winograd;

/// Data and sums of a slab, in bytes: what a third-level cache holds beside the filters passing by.
const SLAB: usize = 8 << 20;
/// Of a tile.
const POINTS: usize = FourByFour::POINTS * FourByFour::POINTS;
/// Blocks of outputs that one thread sums together, while a point's data are at hand.
const TOGETHER: usize = 8;

impl Winograd {
    pub(crate) fn run_deep(
        &self,
        level: Level,
        inputs: &[Source<'_>],
        epilogue: &Epilogue<'_>,
        out: &mut PlaneMut<'_>,
        halves: &mut [&mut [Lanes]],
        scratch: &Scratch,
    ) {
        let (side, seen) = (FourByFour::SIDE, self.seen());
        let (blocks, width) = (out.blocks, out.width);
        let (down, across) = (out.height.div_ceil(side), width.div_ceil(side));
        let row = (seen + blocks) * POINTS * across * size_of::<Lanes>();
        // Slabs of equal height, as far as that can be.
        let most = (SLAB / row).clamp(1, down);
        let rows = down.div_ceil(down.div_ceil(most));
        let together = blocks.div_ceil(2 * rayon::current_num_threads()).clamp(1, TOGETHER);
        let mut lent = scratch.lend((seen + blocks) * POINTS * rows * across);
        let slabs = out.data.chunks_mut(rows * side * blocks * width).zip(halves.chunks_mut(rows));
        for (slab, (out, halves)) in slabs.enumerate() {
            let (first, tiles) = (slab * rows, halves.len() * across);
            let (data, sums) = lent.buffer.split_at_mut(seen * POINTS * tiles);
            let sums = &mut sums[..blocks * POINTS * tiles];
            let of_inputs =
                inputs.iter().flat_map(|source| (0..source.plane().blocks).map(move |block| (source, block)));
            let of_inputs: Vec<_> = of_inputs.collect();
            data.par_chunks_mut(POINTS * tiles).zip(of_inputs).for_each(|(data, (source, block))| {
                dispatch(level, Data { source, block, first, across, tiles, data });
            });
            let data = &*data;
            let filters = self.filters.par_chunks(together * POINTS * self.channels);
            sums.par_chunks_mut(together * POINTS * tiles).zip(filters).for_each(|(sums, filters)| {
                let (channels, points, step) = (self.channels, POINTS, tiles);
                dispatch(level, Products { data, filters, sums, channels, points, step, tiles });
            });
            let sums = &*sums;
            let bands = out.par_chunks_mut(side * blocks * width).zip(halves);
            bands.enumerate().for_each(|(n, (out, half))| {
                let band = Band {
                    winograd: self,
                    inputs,
                    epilogue,
                    y: (first + n) * side,
                    out,
                    half,
                    blocks,
                    width,
                    stream: false,
                    tiles,
                    data: &mut [],
                };
                dispatch(level, Rows { band, sums: &sums[n * across..], across });
            });
        }
    }
}

/// One block of inputs to the points of all tiles.
struct Data<'a> {
    source: &'a Source<'a>,
    block: usize,
    /// The first row of tiles.
    first: usize,
    /// Tiles in a row.
    across: usize,
    tiles: usize,
    /// `[point][tile]`
    data: &'a mut [Lanes],
}

impl Kernel for Data<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut patch = [Lanes::ZERO; MAX_POINTS];
        for tile in 0..self.tiles {
            let (y, x) = (self.first + tile / self.across, tile % self.across);
            let at = (y * FourByFour::SIDE, x * FourByFour::SIDE);
            let to = &mut self.data[tile..];
            // SAFETY: the caller gives the instructions.
            unsafe {
                to_points::<S, FourByFour>(self.source, self.block, at, to, self.tiles, &mut patch);
            }
        }
    }
}

/// A band of the map out of its sums.
struct Rows<'a> {
    band: Band<'a>,
    /// `[block][point][tile]`, from the band's first tile.
    sums: &'a [Lanes],
    across: usize,
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { mut band, sums, across } = self;
        let mut patch = [Lanes::ZERO; MAX_POINTS];
        for block in 0..band.blocks {
            let sums = &sums[block * POINTS * band.tiles..];
            // SAFETY: the caller gives the instructions.
            unsafe { band.transform_sums::<S, FourByFour>(block, 0..across, sums, &mut patch) };
        }
    }
}
