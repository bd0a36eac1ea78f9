//! The innermost sums: some tiles' data times one point's filters.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use crate::planes::LANES;
use crate::simd::Simd;

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

/// Adds to each row's sums its channels times their filters of sixteen outputs each.
///
/// # Safety
/// There are so many channels in each row, and sixteen filters for each; the caller gives the instructions.
#[inline(always)]
pub(crate) unsafe fn add_products<S: Simd, const ROWS: usize>(
    sums: &mut [[S::V; UNITS]; ROWS],
    row: impl Fn(usize) -> *const f32,
    mut filters: *const f32,
    channels: usize,
) {
    let units = LANES / S::WIDTH;
    for channel in 0..channels {
        // SAFETY: the caller's promise.
        unsafe {
            // All weights before the first broadcast, or there are too few registers.
            let mut weights = [S::splat(0.0); UNITS];
            for (unit, weights) in weights.iter_mut().enumerate().take(units) {
                *weights = S::load(filters.add(unit * S::WIDTH));
            }
            for (n, sums) in sums.iter_mut().enumerate() {
                let value = S::splat(*row(n).add(channel));
                for unit in 0..units {
                    sums[unit] = S::mul_add(value, weights[unit], sums[unit]);
                }
            }
            filters = filters.add(LANES);
        }
    }
}

/// Sums over channels of some tiles' data times one point's filters.
pub(crate) struct Product {
    /// `[block][tile][channel]`
    pub(crate) data: *const f32,
    /// Values from one block to the next.
    pub(crate) block: usize,
    /// Of all blocks.
    pub(crate) channels: usize,
    /// `[channel][output]`
    pub(crate) filters: *const f32,
    /// `[tile][output]`
    pub(crate) sums: *mut f32,
}

impl Product {
    /// # Safety
    /// Everything that the fields speak of exists for so many tiles, [`Simd::ROWS`] at most.
    #[inline(always)]
    pub(crate) unsafe fn rows<S: Simd>(self, rows: usize) {
        debug_assert!((1..=S::ROWS).contains(&rows));
        // SAFETY: the caller's promise.
        unsafe { by_rows!(rows, ROWS => self.sum::<S, ROWS>()) }
    }

    #[inline(always)]
    unsafe fn sum<S: Simd, const ROWS: usize>(self) {
        if ROWS > S::ROWS {
            return;
        }
        let units = LANES / S::WIDTH;
        // SAFETY: the caller's promise; within a block sixteen channels lie together.
        unsafe {
            let mut sums = [[S::splat(0.0); UNITS]; ROWS];
            let (blocks, rest) = (self.channels / LANES, self.channels % LANES);
            let row = |block: usize, n: usize| self.data.add(block * self.block + n * LANES);
            for block in 0..blocks {
                let filters = self.filters.add(block * LANES * LANES);
                add_products::<S, ROWS>(&mut sums, |n| row(block, n), filters, LANES);
            }
            if rest > 0 {
                let filters = self.filters.add(blocks * LANES * LANES);
                add_products::<S, ROWS>(&mut sums, |n| row(blocks, n), filters, rest);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (unit, sum) in sums.iter().enumerate().take(units) {
                    S::store(self.sums.add(row * LANES + unit * S::WIDTH), *sum);
                }
            }
        }
    }
}
