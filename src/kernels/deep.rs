//! A Winograd convolution whose filters are more than a cache keeps, step by step over many tiles.
//!
//! Strip by strip, as in [`crate::band`], such filters would come from memory again for every strip. Here
//! all tiles of a slab of rows go through one step before any goes through the next, and each step is
//! shared out by what it writes: the data by blocks of inputs, the sums by blocks of outputs and points, so
//! that each filter passes by once a slab; the map by bands of rows.
//!
//! A dilated convolution is as many plain ones as there are lattices of pixels that see one another; their
//! tiles go through all steps together.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use crate::band::{Band, to_points};
use crate::epilogue::Epilogue;
use crate::planes::{Lanes, PlaneMut, Source};
use crate::product::Products;
use crate::scratch::Scratch;
use crate::simd::{Kernel, Level, Simd, dispatch};
use crate::tile::{MAX_POINTS, Transform};
use crate::winograd::Winograd;

/// Data and sums of a slab, in bytes: what a third-level cache holds beside the filters passing by. With filters
/// of more than that, as much as they are: to read them again costs more than data that go to memory and back.
const SLAB: Range<usize> = 8 << 20..32 << 20;
/// Shares of the sums for each thread, so that none waits long for the others.
const SHARES: usize = 4;

/// How a map is cut into tiles, lattice by lattice.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    /// From a lattice's pixel to its next.
    pub(crate) dilation: usize,
    /// Tiles in a row of a lattice.
    across: usize,
    /// Pixels from a tile to the next of its lattice.
    side: usize,
}

impl Tiles {
    fn new(dilation: usize, side: usize, width: usize) -> Self {
        let side = dilation * side;
        Self { dilation, across: width.div_ceil(side), side }
    }

    /// In a band of `side` rows.
    fn in_band(&self) -> usize {
        self.dilation * self.dilation * self.across
    }

    /// The first pixel of a tile, which may lie beyond the map.
    fn corner(&self, tile: usize) -> (usize, usize) {
        let (band, tile) = (tile / self.in_band(), tile % self.in_band());
        let (lattice, across) = (tile / self.across, tile % self.across);
        let (down, right) = (lattice / self.dilation, lattice % self.dilation);
        (band * self.side + down, across * self.side + right)
    }
}

impl Winograd {
    /// `halves` are of bands.
    pub(crate) fn run_deep<T: Transform>(
        &self,
        level: Level,
        inputs: &[Source<'_>],
        epilogue: &Epilogue<'_>,
        out: &mut PlaneMut<'_>,
        halves: &mut [&mut [Lanes]],
        scratch: &Scratch,
    ) {
        let (seen, points) = (self.seen(), T::POINTS * T::POINTS);
        let (blocks, width, stream) = (out.blocks, out.width, out.is_streamed() && !epilogue.finish.adds);
        let map = Tiles::new(self.dilation, T::SIDE, width);
        let (down, of_band) = (out.height.div_ceil(map.side), map.in_band());
        let row = (seen + blocks) * points * of_band * size_of::<Lanes>();
        // Slabs of equal height, as far as that can be.
        let slab = size_of_val(&self.filters[..]).clamp(SLAB.start, SLAB.end);
        let most = (slab / row).clamp(1, down);
        let rows = down.div_ceil(down.div_ceil(most));
        // A point's data are at hand for all blocks of outputs, but where there are more threads than points.
        let together = blocks.div_ceil((SHARES * rayon::current_num_threads()).div_ceil(points));
        let mut lent = scratch.lend((seen + blocks) * points * rows * of_band);
        let slabs = out.data.chunks_mut(rows * map.side * blocks * width).zip(halves.chunks_mut(rows));
        for (slab, (out, halves)) in slabs.enumerate() {
            let (first, tiles) = (slab * rows * of_band, halves.len() * of_band);
            let (data, sums) = lent.buffer.split_at_mut(seen * points * tiles);
            let sums = &mut sums[..blocks * points * tiles];
            let of_inputs =
                inputs.iter().flat_map(|source| (0..source.plane().blocks).map(move |block| (source, block)));
            let of_inputs: Vec<_> = of_inputs.collect();
            data.par_chunks_mut(points * tiles).zip(of_inputs).for_each(|(data, (source, block))| {
                dispatch(level, Data::<T> { source, block, map, first, tiles, data, of: PhantomData });
            });
            let (data, channels) = (&*data, self.channels);
            let filters = self.filters.par_chunks(together * points * channels);
            sums.par_chunks_mut(together * points * tiles).zip(filters).for_each(|(sums, filters)| {
                let blocks = filters.len() / (points * channels);
                sums.par_chunks_mut(blocks * tiles).enumerate().for_each(|(n, sums)| {
                    let (range, step, far) = (n..n + 1, tiles, true);
                    dispatch(
                        level,
                        Products { data, filters, sums, channels, points, range, blocks, step, tiles, far },
                    );
                });
            });
            let sums = &*sums;
            let bands = out.par_chunks_mut(map.side * blocks * width).zip(halves);
            bands.enumerate().for_each(|(n, (out, half))| {
                let band = Band {
                    winograd: self,
                    inputs,
                    epilogue,
                    y: 0,
                    out,
                    half,
                    blocks,
                    width,
                    stream,
                    tiles,
                    data: &mut [],
                };
                dispatch(level, Rows::<T> { band, sums, together, map, first: n * of_band, of: PhantomData });
            });
        }
    }
}

/// One block of inputs to the points of all tiles.
struct Data<'a, T> {
    source: &'a Source<'a>,
    block: usize,
    map: Tiles,
    /// The first of the map's tiles.
    first: usize,
    tiles: usize,
    /// `[point][tile]`
    data: &'a mut [Lanes],
    of: PhantomData<T>,
}

impl<T: Transform> Kernel for Data<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut patch = [Lanes::ZERO; MAX_POINTS];
        for tile in 0..self.tiles {
            let corner = self.map.corner(self.first + tile);
            let to = &mut self.data[tile..];
            // SAFETY: the caller gives the instructions.
            unsafe {
                to_points::<S, T>(
                    self.source,
                    self.block,
                    (corner, self.map.dilation),
                    to,
                    self.tiles,
                    &mut patch,
                );
            }
        }
    }
}

/// A band of the map out of its sums.
struct Rows<'a, T> {
    band: Band<'a>,
    /// `[group of blocks][point][block][tile]`, of all the slab's tiles.
    sums: &'a [Lanes],
    /// Blocks in a group.
    together: usize,
    map: Tiles,
    /// The band's first tile.
    first: usize,
    of: PhantomData<T>,
}

impl<T: Transform> Kernel for Rows<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { mut band, sums, together, map, first, .. } = self;
        let (points, tiles) = (T::POINTS * T::POINTS, band.tiles);
        let mut patch = [Lanes::ZERO; MAX_POINTS];
        for block in 0..band.blocks {
            let group = block / together * together;
            let step = together.min(band.blocks - group) * tiles;
            let sums = &sums[group * points * tiles + (block - group) * tiles + first..];
            for tile in 0..map.in_band() {
                let place = (block, map.corner(tile), map.dilation);
                // SAFETY: the caller gives the instructions.
                unsafe { band.transform_sums::<S, T>(place, (&sums[tile..], step), &mut patch) };
            }
        }
        S::fence();
    }
}
