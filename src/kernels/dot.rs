//! Convolutions to a single channel, and the weighted sum of such maps at the end of a network.
#![allow(unsafe_code, reason = "processor intrinsics")]

use rayon::prelude::*;

use crate::planes::{BEYOND, LANES, Lanes, Plane};
use crate::product::UNITS;
use crate::resample::between;
use crate::simd::{Kernel, Level, Simd, dispatch};

/// A 3×3 convolution to one channel: its map is a plain `[H][W]`.
pub struct Dot {
    /// `[tap][block]`, a lane for each channel.
    filters: Vec<Lanes>,
    blocks: usize,
    bias: f32,
}

/// Taps on each side.
const SIDE: usize = 3;

impl Dot {
    /// From a filter of `[1][channels][3][3]`.
    ///
    /// # Panics
    /// When the filter is of another size.
    pub fn new(weight: &[f32], channels: usize, bias: f32) -> Self {
        assert_eq!(weight.len(), channels * SIDE * SIDE);
        let blocks = channels.div_ceil(LANES);
        let mut filters = vec![Lanes::ZERO; SIDE * SIDE * blocks];
        for (n, value) in weight.iter().enumerate() {
            let (channel, tap) = (n / (SIDE * SIDE), n % (SIDE * SIDE));
            filters[tap * blocks + channel / LANES].0[channel % LANES] = *value;
        }
        Self { filters, blocks, bias }
    }

    /// # Panics
    /// When the sizes contradict each other.
    pub fn run(&self, level: Level, input: &Plane<'_>, out: &mut [f32]) {
        assert_eq!((input.blocks, out.len()), (self.blocks, input.height * input.width));
        out.par_chunks_mut(input.width).enumerate().for_each(|(y, out)| {
            dispatch(level, Row { dot: self, input, y, out });
        });
    }
}

struct Row<'a> {
    dot: &'a Dot,
    input: &'a Plane<'a>,
    y: usize,
    out: &'a mut [f32],
}

/// Pixels that are summed at once, so that no sum waits for the one before.
const PIXELS: usize = 4;

impl Kernel for Row<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (n, out) in self.out.chunks_mut(PIXELS).enumerate() {
            let x = n * PIXELS;
            let mut sums = [Lanes::ZERO; PIXELS];
            // SAFETY: the caller gives the instructions.
            unsafe { sum::<S>(self.dot, self.input, (self.y, x), &mut sums) };
            for (out, sum) in out.iter_mut().zip(&sums) {
                *out = total(sum) + self.dot.bias;
            }
        }
    }
}

/// Half by half: no addition waits for the fifteen before it.
#[inline(always)]
fn total(Lanes(values): &Lanes) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|n| values[n] + values[n + 8]);
    let four: [f32; 4] = std::array::from_fn(|n| eight[n] + eight[n + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

#[inline(always)]
unsafe fn sum<S: Simd>(dot: &Dot, input: &Plane<'_>, (y, x): (usize, usize), out: &mut [Lanes; PIXELS]) {
    let units = LANES / S::WIDTH;
    let inside = x > 0 && x + PIXELS < input.width;
    // SAFETY: every pointer is to sixteen values; the caller gives the instructions.
    unsafe {
        let mut sums = [[S::splat(0.0); UNITS]; PIXELS];
        for (tap, filters) in dot.filters.chunks_exact(dot.blocks).enumerate() {
            let Some(y) = (y + tap / SIDE).checked_sub(1).filter(|y| *y < input.height) else { continue };
            for (block, filter) in filters.iter().enumerate() {
                let row = input.row(y, block);
                let shift = tap % SIDE;
                let from: [*const f32; PIXELS] = if inside {
                    let from = row[x + shift - 1..][..PIXELS].as_ptr();
                    std::array::from_fn(|pixel| from.add(pixel).cast())
                } else {
                    std::array::from_fn(|pixel| {
                        row.get((x + pixel + shift).wrapping_sub(1)).unwrap_or(&BEYOND).0.as_ptr()
                    })
                };
                for unit in 0..units {
                    let weights = S::load(filter.0.as_ptr().add(unit * S::WIDTH));
                    for (sums, from) in sums.iter_mut().zip(&from) {
                        sums[unit] = S::mul_add(S::load(from.add(unit * S::WIDTH)), weights, sums[unit]);
                    }
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(&sums) {
            for (unit, sum) in sums.iter().enumerate().take(units) {
                S::store(out.0.as_mut_ptr().add(unit * S::WIDTH), *sum);
            }
        }
    }
}

/// The logistic function of a weighted sum of maps of any size, each enlarged to `height × width`.
/// A map is its values, height, width and weight.
///
/// # Panics
/// When a map's length contradicts its size.
pub fn fuse(maps: &[(&[f32], usize, usize, f32)], bias: f32, (height, width): (usize, usize)) -> Vec<f32> {
    for (map, rows, columns, _) in maps {
        assert_eq!(map.len(), rows * columns);
    }
    let places: Vec<_> =
        maps.iter().map(|(_, rows, columns, _)| (between(*rows, height), between(*columns, width))).collect();
    let mut out = vec![bias; height * width];
    out.par_chunks_mut(width).enumerate().for_each(|(y, out)| {
        let mut row = Vec::new();
        for ((map, _, from, weight), (rows, columns)) in maps.iter().zip(&places) {
            let (above, below, down) = rows[y];
            let (above, below) = (&map[above * from..][..*from], &map[below * from..][..*from]);
            row.clear();
            row.extend(
                above.iter().zip(below).map(|(above, below)| weight * (above + (below - above) * down)),
            );
            if *from == width {
                out.iter_mut().zip(&row).for_each(|(out, value)| *out += value);
            } else {
                for (out, &(left, right, across)) in out.iter_mut().zip(columns) {
                    *out += row[left] + (row[right] - row[left]) * across;
                }
            }
        }
        for out in out {
            *out = 1.0 / (1.0 + (-*out).exp());
        }
    });
    out
}
