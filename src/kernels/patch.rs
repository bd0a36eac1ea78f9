//! What a tile sees where the map can't be read as it lies: at its edges, and where it is enlarged on
//! the way.
#![allow(unsafe_code, reason = "processor intrinsics")]

use crate::planes::{LANES, Lanes, Plane};
use crate::simd::Simd;

/// A patch at the edge, zero beyond it, or one of pixels that lie `dilation` apart. `y` and `x` are the output's; the
/// patch begins one such step before.
pub(crate) fn cut_out(
    input: &Plane<'_>,
    block: usize,
    ((y, x), dilation): ((usize, usize), usize),
    side: usize,
    patch: &mut [Lanes],
) {
    let within = |at: usize, len: usize| at.checked_sub(dilation).filter(|at| *at < len);
    for (i, row) in patch.chunks_exact_mut(side).take(side).enumerate() {
        row.fill(Lanes::ZERO);
        let Some(y) = within(y + i * dilation, input.height) else { continue };
        let from = input.row(y, block);
        if dilation > 1 {
            for (j, pixel) in row.iter_mut().enumerate() {
                within(x + j * dilation, input.width).iter().for_each(|x| *pixel = from[*x]);
            }
            continue;
        }
        // Where the patch's first column is the one before the map's first.
        let skip = usize::from(x == 0);
        let begin = x + skip - 1;
        let len = (side - skip).min(input.width.saturating_sub(begin));
        row[skip..][..len].copy_from_slice(&from[begin..][..len]);
    }
}

/// A patch of a map of twice the size, enlarged by straight lines on the way; to within rounding what
/// [`crate::resample::enlarge`] gives. `y` and `x` are the output's and even; the patch begins one before.
///
/// Between two neighbours of the small map lie two of the large one, at a quarter and at three quarters.
///
/// # Safety
/// The caller gives the instructions.
#[inline(always)]
pub(crate) unsafe fn cut_doubled<S: Simd>(
    input: &Plane<'_>,
    block: usize,
    (y, x): (usize, usize),
    side: usize,
    patch: &mut [Lanes; SIDE * SIDE],
) {
    // Beyond the edge the last row or column stands for its neighbour.
    let near = |n: usize, at: usize, len: usize| (at / 2 + n).saturating_sub(1).min(len - 1);
    let columns: [usize; SIDE / 2 + 1] = std::array::from_fn(|n| near(n, x, input.width));
    let mut unit = 0;
    while unit < LANES {
        // SAFETY: within sixteen lanes; the caller gives the instructions.
        unsafe {
            let (quarter, three) = (S::splat(0.25), S::splat(0.75));
            let mut above = [S::splat(0.0); SIDE];
            for n in 0..=side / 2 {
                let row = input.row(near(n, y, input.height), block);
                let pixel = |n: usize| S::load(row[columns[n]].0.as_ptr().add(unit));
                let mut below = [S::splat(0.0); SIDE];
                let mut left = pixel(0);
                for j in 0..side / 2 {
                    let right = pixel(j + 1);
                    let step = S::sub(right, left);
                    below[2 * j] = S::mul_add(step, quarter, left);
                    below[2 * j + 1] = S::mul_add(step, three, left);
                    left = right;
                }
                if n > 0 {
                    let (upper, lower) = patch[2 * (n - 1) * side..][..2 * side].split_at_mut(side);
                    for j in 0..side {
                        let step = S::sub(below[j], above[j]);
                        let to = upper[j].0.as_mut_ptr().add(unit);
                        S::store(to, S::mul_add(step, quarter, above[j]));
                        let to = lower[j].0.as_mut_ptr().add(unit);
                        S::store(to, S::mul_add(step, three, above[j]));
                    }
                }
                above = below;
            }
        }
        unit += S::WIDTH;
    }
    // What lies beyond the large map is zero.
    let within = |n: usize, at: usize, len: usize| (1..=2 * len).contains(&(at + n));
    for (i, row) in patch.chunks_exact_mut(side).take(side).enumerate() {
        if !within(i, y, input.height) {
            row.fill(Lanes::ZERO);
        } else if x == 0 || x + side > 2 * input.width {
            for (j, pixel) in row.iter_mut().enumerate() {
                if !within(j, x, input.width) {
                    *pixel = Lanes::ZERO;
                }
            }
        }
    }
}

/// Points of the largest tile on a side.
const SIDE: usize = 8;
