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
use crate::planes::{LANES, Lanes, PlaneMut, Source};
use crate::product::Product;
use crate::scratch::Scratch;
use crate::simd::{Kernel, Level, Simd, dispatch};
use crate::tile::{FourByFour, MAX_POINTS, SixBySix, Transform};
use crate::winograd::{Tile, Winograd};

/// Data and sums of a slab, in bytes: what a third-level cache holds beside the filters passing by.
const SLAB: usize = 8 << 20;
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
        let (side, points, seen) = (self.tile.side(), self.tile.points() * self.tile.points(), self.seen());
        let (blocks, width) = (out.blocks, out.width);
        let (down, across) = (out.height.div_ceil(side), width.div_ceil(side));
        let row = (seen + blocks) * points * across * size_of::<Lanes>();
        // Slabs of equal height, as far as that can be.
        let most = (SLAB / row).clamp(1, down);
        let rows = down.div_ceil(down.div_ceil(most));
        let together = blocks.div_ceil(2 * rayon::current_num_threads()).clamp(1, TOGETHER);
        let mut lent = scratch.lend((seen + blocks) * points * rows * across);
        let slabs = out.data.chunks_mut(rows * side * blocks * width).zip(halves.chunks_mut(rows));
        for (slab, (out, halves)) in slabs.enumerate() {
            let (first, tiles) = (slab * rows, halves.len() * across);
            let (data, sums) = lent.buffer.split_at_mut(seen * points * tiles);
            let sums = &mut sums[..blocks * points * tiles];
            let of_inputs =
                inputs.iter().flat_map(|source| (0..source.plane().blocks).map(move |block| (source, block)));
            let of_inputs: Vec<_> = of_inputs.collect();
            data.par_chunks_mut(points * tiles).zip(of_inputs).for_each(|(data, (source, block))| {
                dispatch(level, Data { tile: self.tile, source, block, first, across, tiles, data });
            });
            let data = &*data;
            sums.par_chunks_mut(together * points * tiles).enumerate().for_each(|(n, sums)| {
                dispatch(level, Sums { winograd: self, points, data, tiles, first: n * together, sums });
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
                dispatch(level, Rows { band, sums: &sums[n * across..], points, across });
            });
        }
    }
}

/// One block of inputs to the points of all tiles.
struct Data<'a> {
    tile: Tile,
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
        // SAFETY: the caller gives the instructions.
        unsafe {
            match self.tile {
                Tile::Four => self.all::<S, FourByFour>(),
                Tile::Six => self.all::<S, SixBySix>(),
            }
        }
    }
}

impl Data<'_> {
    #[inline(always)]
    unsafe fn all<S: Simd, T: Transform>(self) {
        let mut patch = [Lanes::ZERO; MAX_POINTS];
        for tile in 0..self.tiles {
            let at = ((self.first + tile / self.across) * T::SIDE, tile % self.across * T::SIDE);
            // SAFETY: the caller gives the instructions.
            unsafe {
                to_points::<S, T>(self.source, self.block, at, &mut self.data[tile..], self.tiles, &mut patch)
            };
        }
    }
}

/// All tiles' data times the filters of some blocks of outputs.
struct Sums<'a> {
    winograd: &'a Winograd,
    points: usize,
    /// `[block][point][tile]`
    data: &'a [Lanes],
    tiles: usize,
    /// The first block.
    first: usize,
    /// `[block][point][tile]`
    sums: &'a mut [Lanes],
}

impl Kernel for Sums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { winograd, points, data, tiles, first, sums } = self;
        let channels = winograd.channels;
        assert!(data.len() == winograd.seen() * points * tiles);
        for point in 0..points {
            for (n, sums) in sums.chunks_exact_mut(points * tiles).enumerate() {
                let filters = &winograd.filters[((first + n) * points + point) * channels..][..channels];
                let sums = &mut sums[point * tiles..][..tiles];
                let mut tile = 0;
                while tile < tiles {
                    let left = tiles - tile;
                    let rows = left.div_ceil(left.div_ceil(S::ROWS));
                    let product = Product {
                        data: data[point * tiles + tile..].as_ptr().cast(),
                        block: points * tiles * LANES,
                        channels,
                        filters: filters.as_ptr().cast(),
                        sums: sums[tile..].as_mut_ptr().cast(),
                    };
                    // SAFETY: `rows` tiles from `tile` exist in each block of the data and in the sums, and
                    // `channels` filters; the caller gives the instructions.
                    unsafe { product.rows::<S>(rows) };
                    tile += rows;
                }
            }
        }
    }
}

/// A band of the map out of its sums.
struct Rows<'a> {
    band: Band<'a>,
    /// `[block][point][tile]`, from the band's first tile.
    sums: &'a [Lanes],
    points: usize,
    across: usize,
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { mut band, sums, points, across } = self;
        let mut patch = [Lanes::ZERO; MAX_POINTS];
        for block in 0..band.blocks {
            let sums = &sums[block * points * band.tiles..];
            // SAFETY: the caller gives the instructions.
            unsafe {
                match band.winograd.tile {
                    Tile::Four => band.transform_sums::<S, FourByFour>(block, 0..across, sums, &mut patch),
                    Tile::Six => band.transform_sums::<S, SixBySix>(block, 0..across, sums, &mut patch),
                }
            }
        }
    }
}
