//! The innermost sums: some tiles' data times one point's filters.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use std::ops::Range;

use crate::planes::{LANES, Lanes};
use crate::simd::{Kernel, MOST_TOGETHER, Simd};

/// Registers of the narrowest kind that hold sixteen values. With wider ones the rest is never touched and
/// costs nothing.
pub(crate) const UNITS: usize = 4;

/// Calls what is written for a constant number of rows, 12 at most.
macro_rules! by_rows {
    ($rows:expr, $n:ident => $call:expr) => {
        by_rows!(@ $rows, $n => $call; 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $rows:expr, $n:ident => $call:expr; $($count:literal)*) => {
        match $rows {
            $($count => { const $n: usize = $count; $call })*
            _ => { const $n: usize = 12; $call }
        }
    };
}
pub(crate) use by_rows;

/// Of one row, for some blocks of outputs.
pub(crate) type Sums<S, const BLOCKS: usize> = [[<S as Simd>::V; UNITS]; BLOCKS];

/// Adds to each row's sums its channels times their filters, sixteen outputs for each of the blocks.
///
/// # Safety
/// There are so many channels in each row, and sixteen filters for each in each block; the caller gives the
/// instructions.
#[inline(always)]
pub(crate) unsafe fn add_products<S: Simd, const ROWS: usize, const BLOCKS: usize>(
    sums: &mut [Sums<S, BLOCKS>; ROWS],
    row: impl Fn(usize) -> *const f32,
    filters: [*const f32; BLOCKS],
    channels: usize,
) {
    let units = LANES / S::WIDTH;
    for channel in 0..channels {
        // SAFETY: the caller's promise.
        unsafe {
            // All weights before the first broadcast, or there are too few registers.
            let mut weights = [[S::splat(0.0); UNITS]; BLOCKS];
            for (weights, filters) in weights.iter_mut().zip(filters) {
                for (unit, weights) in weights.iter_mut().enumerate().take(units) {
                    *weights = S::load(filters.add(channel * LANES + unit * S::WIDTH));
                }
            }
            for (n, sums) in sums.iter_mut().enumerate() {
                let value = S::splat(*row(n).add(channel));
                for (sums, weights) in sums.iter_mut().zip(&weights) {
                    for unit in 0..units {
                        sums[unit] = S::mul_add(value, weights[unit], sums[unit]);
                    }
                }
            }
        }
    }
}

/// Some tiles' data times the filters of some blocks of outputs, point by point. A kernel of its own, so that
/// its many lengths of loops exist once for every way that needs them.
pub(crate) struct Products<'a> {
    /// `[block of inputs][point][tile]`
    pub(crate) data: &'a [Lanes],
    /// `[block of outputs][point][channel]`
    pub(crate) filters: &'a [Lanes],
    /// `[point][block of outputs][tile]`, of the points that are asked for.
    pub(crate) sums: &'a mut [Lanes],
    /// Of all blocks of inputs.
    pub(crate) channels: usize,
    /// Of data and filters.
    pub(crate) points: usize,
    /// Those that are asked for.
    pub(crate) range: Range<usize>,
    /// Blocks of outputs.
    pub(crate) blocks: usize,
    /// From one block of sums, and from one point of data, to the next.
    pub(crate) step: usize,
    /// As many of them are there.
    pub(crate) tiles: usize,
    /// Filters come from memory rather than from a cache.
    pub(crate) far: bool,
}

/// Bytes of filters that go by tile after tile, so that the first-level cache keeps them.
const KEPT: usize = 16 << 10;

impl Kernel for Products<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { data, filters, sums, channels, points, range, blocks, step, tiles, far } = self;
        assert!(data.len() == channels.div_ceil(LANES) * points * step && tiles <= step);
        assert!(sums.len() == range.len() * blocks * step && filters.len() == blocks * points * channels);
        assert!(range.end <= points);
        if blocks * step * tiles * channels == 0 {
            return;
        }
        // Groups of even size: a small one leaves registers, and with them time, unused.
        let groups = tiles.div_ceil(S::ROWS);
        let (size, larger) = (tiles / groups, tiles % groups);
        // While filters go by group after group, the next come from memory.
        let pace = if far { LANES.div_ceil(groups) } else { 0 };
        let all = filters.as_ptr().cast::<f32>();
        for (point, sums) in range.zip(sums.chunks_exact_mut(blocks * step)) {
            for block in (0..blocks).step_by(S::TOGETHER) {
                let together = (blocks - block).min(S::TOGETHER);
                let filters = &filters[(block * points + point) * channels..];
                // With a single group of tiles each filter goes by once anyway.
                let part =
                    if far || groups > 1 { KEPT / (size_of::<Lanes>() * S::TOGETHER) } else { channels };
                for first in (0..channels).step_by(part) {
                    let next = match (first + part < channels, block + together < blocks) {
                        (true, _) => (block * points + point) * channels + first + part,
                        (_, true) => ((block + together) * points + point) * channels,
                        _ => (point + 1) * channels,
                    };
                    let mut product = Product {
                        data: data[(first / LANES * points + point) * step..].as_ptr().cast(),
                        block: points * step * LANES,
                        channels: part.min(channels - first),
                        filters: filters[first..].as_ptr().cast(),
                        of_block: points * channels * LANES,
                        sums: sums[block * step..].as_mut_ptr().cast(),
                        of_sums: step * LANES,
                        goes_on: first > 0,
                        next: all.wrapping_add(next * LANES),
                        pace,
                    };
                    for group in 0..groups {
                        let rows = size + usize::from(group < larger);
                        // SAFETY: `tiles` of them, which the groups make up, exist in each block of inputs and of
                        // sums, and so many channels' filters from the first in each block, as the lengths say; the
                        // caller gives the instructions.
                        unsafe {
                            product.rows::<S>(rows, together);
                            product.data = product.data.add(rows * LANES);
                            product.sums = product.sums.add(rows * LANES);
                        }
                        product.next = product.next.wrapping_add(pace * part);
                    }
                }
            }
        }
    }
}

/// Sums over channels of some tiles' data times one point's filters of some blocks of outputs.
struct Product {
    /// `[block][tile][channel]`
    data: *const f32,
    /// Values from one block of inputs to the next.
    block: usize,
    /// Whole blocks, but for the last.
    channels: usize,
    /// `[channel][output]`
    filters: *const f32,
    /// Filters' values from one block of outputs to the next.
    of_block: usize,
    /// `[tile][output]`
    sums: *mut f32,
    /// Values from one block of sums to the next.
    of_sums: usize,
    /// Sums of channels before these are there already.
    goes_on: bool,
    /// Filters of the first block that are soon needed, and the others' with them: so many for each block of inputs.
    next: *const f32,
    pace: usize,
}

impl Product {
    /// # Safety
    /// Everything that the fields speak of exists for so many tiles, [`Simd::ROWS`] at most, and so many blocks,
    /// [`Simd::TOGETHER`] at most.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, rows: usize, together: usize) {
        debug_assert!((1..=S::ROWS).contains(&rows) && (1..=S::TOGETHER).contains(&together));
        // SAFETY: the caller's promise.
        unsafe {
            match together {
                2 => by_rows!(rows, ROWS => self.sum::<S, ROWS, 2>()),
                _ => by_rows!(rows, ROWS => self.sum::<S, ROWS, 1>()),
            }
        }
    }

    #[inline(always)]
    unsafe fn sum<S: Simd, const ROWS: usize, const BLOCKS: usize>(&self) {
        const { assert!(S::ROWS <= 12 && S::TOGETHER <= MOST_TOGETHER, "by_rows and its callers have no more") };
        // Never called so: these are what `by_rows` writes for other instructions.
        if ROWS > S::ROWS || BLOCKS > S::TOGETHER {
            return;
        }
        let units = LANES / S::WIDTH;
        // SAFETY: the caller's promise; within a block sixteen channels lie together.
        unsafe {
            let mut sums = [[[S::splat(0.0); UNITS]; BLOCKS]; ROWS];
            let place = |row: usize, block: usize, unit: usize| {
                self.sums.add(block * self.of_sums + row * LANES + unit * S::WIDTH)
            };
            let (blocks, rest) = (self.channels / LANES, self.channels % LANES);
            let row = |block: usize, n: usize| self.data.add(block * self.block + n * LANES);
            let filters = |block: usize| -> [*const f32; BLOCKS] {
                std::array::from_fn(|n| self.filters.add(n * self.of_block + block * LANES * LANES))
            };
            for block in 0..blocks {
                for line in block * self.pace..(block + 1) * self.pace {
                    for block in 0..BLOCKS {
                        S::prefetch(self.next.wrapping_add(line * LANES + block * self.of_block));
                    }
                }
                add_products::<S, ROWS, BLOCKS>(&mut sums, |n| row(block, n), filters(block), LANES);
            }
            if rest > 0 {
                add_products::<S, ROWS, BLOCKS>(&mut sums, |n| row(blocks, n), filters(blocks), rest);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (block, sums) in sums.iter().enumerate() {
                    for (unit, sum) in sums.iter().enumerate().take(units) {
                        let to = place(row, block, unit);
                        let sum = if self.goes_on { S::add(*sum, S::load(to)) } else { *sum };
                        S::store(to, sum);
                    }
                }
            }
        }
    }
}
