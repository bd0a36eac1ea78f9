//! Convolutions tap by tap: dilated, strided, of any kernel size, and on maps too small for tiles.
//!
//! A few neighbouring pixels times sixteen outputs are summed in registers over all taps and channels.
//! What lies beyond the edge is put there as zeros.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use rayon::prelude::*;

use crate::epilogue::Epilogue;
use crate::planes::{LANES, Lanes, PlaneMut, Source};
use crate::product::{UNITS, add_products, by_rows};
use crate::simd::{Kernel, Level, Simd, dispatch};

/// Filters in the order in which they are used.
pub(crate) struct Direct {
    /// `[block of outputs][block of inputs][tap][channel]`, sixteen outputs each.
    pub(crate) filters: Vec<Lanes>,
    /// Taps down and across.
    kernel: (usize, usize),
    pub(crate) stride: usize,
    dilation: usize,
    /// Channels of each block of inputs that are not padding.
    used: Vec<usize>,
}

impl Direct {
    pub(crate) fn new(
        kernel: (usize, usize),
        [stride, dilation]: [usize; 2],
        blocks: usize,
        used: Vec<usize>,
        filter: impl Fn(usize, usize, usize) -> Lanes,
    ) -> Self {
        let taps = kernel.0 * kernel.1;
        let mut filters = Vec::with_capacity(blocks * used.len() * taps * LANES);
        for block in 0..blocks {
            for input in 0..used.len() {
                for tap in 0..taps {
                    filters.extend((0..LANES).map(|lane| filter(block, input * LANES + lane, tap)));
                }
            }
        }
        Self { filters, kernel, stride, dilation, used }
    }

    pub(crate) fn run(
        &self,
        level: Level,
        inputs: &[Source<'_>],
        epilogue: &Epilogue<'_>,
        out: &mut PlaneMut<'_>,
    ) {
        // An enlarged map is as well enlarged before, where each of its pixels is seen nine times.
        let as_they_are = inputs.iter().all(|input| matches!(input, Source::Plane(_)));
        assert!(as_they_are, "a direct convolution sees maps as they are");
        assert_eq!(inputs.iter().map(|input| input.plane().blocks).sum::<usize>(), self.used.len());
        let (blocks, width) = (out.blocks, out.width);
        let stream = out.is_streamed() && !epilogue.finish.adds;
        let rows = band(out.height, rayon::current_num_threads());
        out.data.par_chunks_mut(rows * blocks * width).enumerate().for_each(|(n, out)| {
            let y = n * rows;
            dispatch(level, Rows { direct: self, inputs, epilogue, y, out, blocks, width, stream });
        });
    }
}

/// Rows that one thread computes together, so that a block's filters come from memory once for all of them:
/// several bands for each thread, of equal height as far as that can be.
fn band(height: usize, threads: usize) -> usize {
    const MOST: usize = 8;
    height.div_ceil(threads * height.div_ceil(threads * MOST).max(1)).max(1)
}

struct Rows<'a> {
    direct: &'a Direct,
    inputs: &'a [Source<'a>],
    epilogue: &'a Epilogue<'a>,
    /// The first.
    y: usize,
    /// `[row][block][x]`
    out: &'a mut [Lanes],
    blocks: usize,
    width: usize,
    /// The whole map is so large that it is written past the caches.
    stream: bool,
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let mut block = 0;
        while block < self.blocks {
            let together = (self.blocks - block).min(S::TOGETHER);
            for row in 0..self.out.len() / (self.blocks * self.width) {
                let mut x = 0;
                while x < self.width {
                    // Groups of even size, as far as that can be.
                    let left = self.width - x;
                    let pixels = left.div_ceil(left.div_ceil(S::ROWS));
                    // SAFETY: the caller gives the instructions.
                    unsafe {
                        match together {
                            2 => by_rows!(pixels, PIXELS => self.pixels::<S, PIXELS, 2>(block, row, x)),
                            _ => by_rows!(pixels, PIXELS => self.pixels::<S, PIXELS, 1>(block, row, x)),
                        }
                    }
                    x += pixels;
                }
            }
            block += together;
        }
        // Before another thread is told that the rows are there.
        S::fence();
    }
}

impl Rows<'_> {
    #[inline(always)]
    unsafe fn pixels<S: Simd, const PIXELS: usize, const BLOCKS: usize>(
        &mut self,
        block: usize,
        row: usize,
        x: usize,
    ) {
        if PIXELS > S::ROWS || BLOCKS > S::TOGETHER {
            return;
        }
        let Direct { filters, kernel: (down, across), stride, dilation, used } = self.direct;
        let (units, taps) = (LANES / S::WIDTH, down * across);
        let (above, left) = (dilation * (down / 2), dilation * (across / 2));
        let of_block = used.len() * taps * LANES;
        let filters: [&[Lanes]; BLOCKS] =
            std::array::from_fn(|n| &filters[(block + n) * of_block..][..of_block]);
        let Epilogue { bias, finish } = self.epilogue;
        let line = self.y + row;
        // What a tap sees of a row lies together, or is put together: with as many pointers as pixels there
        // would be too few registers for them.
        let together = *stride == 1 && x >= left && x + PIXELS + left <= self.inputs[0].plane().width;
        let mut near = [Lanes::ZERO; PIXELS];
        // SAFETY: sixteen channels of each pixel lie from `from` on, in a checked part of a row or in `near`;
        // there are sixteen filters for each tap; the caller gives the instructions.
        unsafe {
            let mut sums = [[[S::splat(0.0); UNITS]; BLOCKS]; PIXELS];
            for sums in &mut sums {
                // A loop of known length, or the sums would not stay in registers.
                for (n, sums) in sums.iter_mut().enumerate() {
                    for (unit, sum) in sums.iter_mut().enumerate().take(units) {
                        *sum = S::load(bias[block + n].0.as_ptr().add(unit * S::WIDTH));
                    }
                }
            }
            let mut at = 0;
            for input in self.inputs.iter().map(Source::plane) {
                for input_block in 0..input.blocks {
                    for tap in 0..taps {
                        let (down, right) = (tap / across * dilation, tap % across * dilation);
                        let Some(y) = (line * stride + down).checked_sub(above) else { continue };
                        if y >= input.height {
                            continue;
                        }
                        let row = input.row(y, input_block);
                        let from: *const f32 = if together {
                            row[x + right - left..][..PIXELS].as_ptr().cast()
                        } else {
                            for (pixel, near) in near.iter_mut().enumerate() {
                                let column = ((x + pixel) * stride + right).wrapping_sub(left);
                                *near = *row.get(column).unwrap_or(&Lanes::ZERO);
                            }
                            near.as_ptr().cast()
                        };
                        let filters =
                            filters.map(|filters| filters[(at * taps + tap) * LANES..].as_ptr().cast());
                        add_products::<S, PIXELS, BLOCKS>(
                            &mut sums,
                            |n| from.add(n * LANES),
                            filters,
                            used[at],
                        );
                    }
                    at += 1;
                }
            }
            let floor = S::splat(self.epilogue.floor());
            for n in 0..BLOCKS {
                let at = (row * self.blocks + block + n) * self.width + x;
                let out = &mut self.out[at..][..PIXELS];
                for (out, sums) in out.iter_mut().zip(&sums) {
                    for (unit, sum) in sums[n].iter().enumerate().take(units) {
                        let value = S::max(floor, *sum);
                        let to = out.0.as_mut_ptr().add(unit * S::WIDTH);
                        let value = if finish.adds { S::add(value, S::load(to)) } else { value };
                        if self.stream { S::stream(to, value) } else { S::store(to, value) }
                    }
                }
            }
        }
    }
}
