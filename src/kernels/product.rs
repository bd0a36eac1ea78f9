//! The innermost sums: some tiles' data times one point's filters.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use crate::planes::LANES;
use crate::simd::Simd;

/// Sums over channels of some tiles' data times one point's filters.
pub(crate) struct Product {
    /// `[block][tile][channel]`
    pub(crate) data: *const f32,
    /// Values from one block to the next.
    pub(crate) block: usize,
    pub(crate) blocks: usize,
    /// `[channel][output]`
    pub(crate) filters: *const f32,
    /// `[tile][output]`
    pub(crate) sums: *mut f32,
}

impl Product {
    /// # Safety
    /// Everything that the fields speak of exists for so many tiles, 16 at most.
    #[inline(always)]
    pub(crate) unsafe fn rows<S: Simd>(self, rows: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match rows {
                1 => self.sum::<S, 1>(),
                2 => self.sum::<S, 2>(),
                3 => self.sum::<S, 3>(),
                4 => self.sum::<S, 4>(),
                5 => self.sum::<S, 5>(),
                6 => self.sum::<S, 6>(),
                7 => self.sum::<S, 7>(),
                8 => self.sum::<S, 8>(),
                9 => self.sum::<S, 9>(),
                10 => self.sum::<S, 10>(),
                11 => self.sum::<S, 11>(),
                _ => self.sum::<S, 12>(),
            }
        }
    }

    #[inline(always)]
    unsafe fn sum<S: Simd, const ROWS: usize>(self) {
        if ROWS > S::ROWS {
            return;
        }
        let units = LANES / S::WIDTH;
        // SAFETY: the caller's promise; within a block sixteen channels lie together.
        unsafe {
            // Room for the narrowest registers; the rest is never touched and costs nothing.
            let zero = S::splat(0.0);
            let mut sums = [[zero; 4]; ROWS];
            let mut filter = self.filters;
            for block in 0..self.blocks {
                let data = self.data.add(block * self.block);
                for channel in 0..LANES {
                    let mut weights = [zero; 4];
                    for (unit, weights) in weights.iter_mut().enumerate().take(units) {
                        *weights = S::load(filter.add(unit * S::WIDTH));
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let value = S::splat(*data.add(row * LANES + channel));
                        for unit in 0..units {
                            sums[unit] = S::mul_add(value, weights[unit], sums[unit]);
                        }
                    }
                    filter = filter.add(LANES);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                for (unit, sum) in sums.iter().enumerate().take(units) {
                    S::store(self.sums.add(row * LANES + unit * S::WIDTH), *sum);
                }
            }
        }
    }
}
