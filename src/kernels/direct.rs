//! Convolutions tap by tap: dilated, strided, of any kernel size, and on maps too small for tiles.
//!
//! A few neighbouring pixels times sixteen outputs are summed in registers over all taps and channels.
//! A pixel beyond the edge is a pointer to zeros.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use rayon::prelude::*;

use crate::planes::{BEYOND, LANES, Lanes, Plane, PlaneMut, Source};
use crate::simd::{Kernel, Level, Simd, dispatch};
use crate::winograd::{Epilogue, STREAM};

/// Filters in the order in which they are used.
pub(crate) struct Direct {
    /// `[block of outputs][block of inputs][tap][channel]`, sixteen outputs each.
    filters: Vec<Lanes>,
    /// Taps on each side.
    pub(crate) side: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    /// Channels of each block of inputs that are not padding.
    used: Vec<usize>,
}

impl Direct {
    pub(crate) fn new(
        [side, stride, dilation]: [usize; 3],
        blocks: usize,
        used: Vec<usize>,
        filter: impl Fn(usize, usize, usize) -> Lanes,
    ) -> Self {
        let taps = side * side;
        let mut filters = Vec::with_capacity(blocks * used.len() * taps * LANES);
        for block in 0..blocks {
            for input in 0..used.len() {
                for tap in 0..taps {
                    filters.extend((0..LANES).map(|lane| filter(block, input * LANES + lane, tap)));
                }
            }
        }
        Self { filters, side, stride, dilation, used }
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.filters.as_slice())
    }

    pub(crate) fn run(
        &self,
        level: Level,
        inputs: &[Source<'_>],
        epilogue: &Epilogue<'_>,
        out: &mut PlaneMut<'_>,
    ) {
        // An enlarged map is as well enlarged before, where each of its pixels is seen nine times.
        let inputs: Vec<Plane<'_>> = inputs
            .iter()
            .map(|input| match input {
                Source::Plane(plane) => *plane,
                Source::Doubled(_) => panic!("a direct convolution sees maps as they are"),
            })
            .collect();
        let inputs = &inputs;
        assert_eq!(inputs.iter().map(|input| input.blocks).sum::<usize>(), self.used.len());
        let (blocks, width) = (out.blocks, out.width);
        // What is streamed can't be read again at once.
        let stream = size_of_val(out.data) >= STREAM && epilogue.residual.is_none();
        out.data.par_chunks_mut(blocks * width).enumerate().for_each(|(y, out)| {
            dispatch(level, Row { direct: self, inputs, epilogue, y, out, width, stream });
        });
    }
}

struct Row<'a> {
    direct: &'a Direct,
    inputs: &'a [Plane<'a>],
    epilogue: &'a Epilogue<'a>,
    y: usize,
    /// `[block][x]`
    out: &'a mut [Lanes],
    width: usize,
    /// The whole map is so large that it is written past the caches.
    stream: bool,
}

impl Kernel for Row<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        for block in 0..self.out.len() / self.width {
            let mut x = 0;
            while x < self.width {
                let pixels = (self.width - x).min(S::ROWS);
                // SAFETY: the caller gives the instructions.
                unsafe {
                    match pixels {
                        1 => self.pixels::<S, 1>(block, x),
                        2 => self.pixels::<S, 2>(block, x),
                        3 => self.pixels::<S, 3>(block, x),
                        4 => self.pixels::<S, 4>(block, x),
                        5 => self.pixels::<S, 5>(block, x),
                        6 => self.pixels::<S, 6>(block, x),
                        7 => self.pixels::<S, 7>(block, x),
                        8 => self.pixels::<S, 8>(block, x),
                        9 => self.pixels::<S, 9>(block, x),
                        10 => self.pixels::<S, 10>(block, x),
                        11 => self.pixels::<S, 11>(block, x),
                        _ => self.pixels::<S, 12>(block, x),
                    }
                }
                x += pixels;
            }
        }
        // Before another thread is told that the row is there.
        S::fence();
    }
}

impl Row<'_> {
    #[inline(always)]
    unsafe fn pixels<S: Simd, const PIXELS: usize>(&mut self, block: usize, x: usize) {
        if PIXELS > S::ROWS {
            return;
        }
        let Direct { filters, side, stride, dilation, used } = self.direct;
        let (units, taps, padding) = (LANES / S::WIDTH, side * side, dilation * (side / 2));
        let filters = &filters[block * used.len() * taps * LANES..][..used.len() * taps * LANES];
        let Epilogue { bias, relu, residual } = self.epilogue;
        let out = &mut self.out[block * self.width + x..][..PIXELS];
        let inside = x * stride >= padding && (x + PIXELS - 1) * stride + padding < self.inputs[0].width;
        // SAFETY: every pixel's pointer is to sixteen channels of a row, found by checked indices, or to
        // `BEYOND`; there are sixteen filters for each tap; the caller gives the instructions.
        unsafe {
            let zero = S::splat(0.0);
            let mut sums = [[zero; 4]; PIXELS];
            for sums in &mut sums {
                for (unit, sum) in sums.iter_mut().enumerate().take(units) {
                    *sum = S::load(bias[block].0.as_ptr().add(unit * S::WIDTH));
                }
            }
            let mut at = 0;
            for input in self.inputs {
                for input_block in 0..input.blocks {
                    for tap in 0..taps {
                        let (down, right) = (tap / side * dilation, tap % side * dilation);
                        let Some(y) = (self.y * stride + down).checked_sub(padding) else { continue };
                        if y >= input.height {
                            continue;
                        }
                        let row = input.row(y, input_block);
                        let pixels: [*const f32; PIXELS] = if inside {
                            let from =
                                row[x * stride + right - padding..][..(PIXELS - 1) * stride + 1].as_ptr();
                            std::array::from_fn(|pixel| from.add(pixel * stride).cast())
                        } else {
                            std::array::from_fn(|pixel| {
                                let column = ((x + pixel) * stride + right).wrapping_sub(padding);
                                row.get(column).unwrap_or(&BEYOND).0.as_ptr()
                            })
                        };
                        let mut filter: *const f32 = filters[(at * taps + tap) * LANES..].as_ptr().cast();
                        for channel in 0..used[at] {
                            let mut weights = [zero; 4];
                            for (unit, weights) in weights.iter_mut().enumerate().take(units) {
                                *weights = S::load(filter.add(unit * S::WIDTH));
                            }
                            for (sums, pixel) in sums.iter_mut().zip(&pixels) {
                                let value = S::splat(*pixel.add(channel));
                                for unit in 0..units {
                                    sums[unit] = S::mul_add(value, weights[unit], sums[unit]);
                                }
                            }
                            filter = filter.add(LANES);
                        }
                    }
                    at += 1;
                }
            }
            let floor = S::splat(if *relu { 0.0 } else { f32::NEG_INFINITY });
            for (pixel, sums) in sums.iter().enumerate() {
                for (unit, sum) in sums.iter().enumerate().take(units) {
                    let to = out[pixel].0.as_mut_ptr().add(unit * S::WIDTH);
                    let value = S::max(floor, *sum);
                    if self.stream { S::stream(to, value) } else { S::store(to, value) }
                }
            }
        }
        if let Some(residual) = residual {
            let beside = &residual.row(self.y, block)[x..][..PIXELS];
            for (to, beside) in out.iter_mut().zip(beside) {
                *to = Lanes(std::array::from_fn(|lane| to.0[lane] + beside.0[lane]));
            }
        }
    }
}
