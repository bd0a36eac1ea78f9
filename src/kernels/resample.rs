//! Halving by the maximum and enlarging by straight lines.

use rayon::prelude::*;

use crate::planes::{LANES, Lanes, Plane, PlaneMut};

/// Halves a map by the maximum of 2×2; an odd edge counts as its own neighbour.
///
/// # Panics
/// When `out` is not of half the size, rounded up.
pub fn halve(input: &Plane<'_>, out: &mut PlaneMut<'_>) {
    assert_halves((input.blocks, input.height, input.width), out);
    let (blocks, width) = (out.blocks, out.width);
    out.data.par_chunks_mut(blocks * width).enumerate().for_each(|(y, out)| {
        for (block, out) in out.chunks_exact_mut(width).enumerate() {
            let above = input.row(2 * y, block);
            let below = input.row((2 * y + 1).min(input.height - 1), block);
            halve_rows(above, below, out);
        }
    });
}

pub(crate) fn assert_halves((blocks, height, width): (usize, usize, usize), out: &PlaneMut<'_>) {
    assert_eq!((out.blocks, out.height, out.width), (blocks, height.div_ceil(2), width.div_ceil(2)));
}

/// One row of [`halve`] out of two; without a row below, `above` counts twice.
pub(crate) fn halve_rows(above: &[Lanes], below: &[Lanes], out: &mut [Lanes]) {
    for (x, out) in out.iter_mut().enumerate() {
        let (left, right) = (2 * x, (2 * x + 1).min(above.len() - 1));
        *out = max(max(above[left], above[right]), max(below[left], below[right]));
    }
}

fn max(a: Lanes, b: Lanes) -> Lanes {
    Lanes(std::array::from_fn(|lane| if a.0[lane] > b.0[lane] { a.0[lane] } else { b.0[lane] }))
}

/// For each output place, the two inputs beside it and the second one's share: half-pixel centres, as
/// PyTorch's `align_corners=False`.
pub(crate) fn between(input: usize, output: usize) -> Vec<(usize, usize, f32)> {
    let scale = input as f64 / output as f64;
    let place = |n: usize| {
        let at = ((n as f64 + 0.5) * scale - 0.5).max(0.0);
        let low = (at as usize).min(input - 1);
        (low, (low + 1).min(input - 1), (at - low as f64) as f32)
    };
    (0..output).map(place).collect()
}

/// Enlarges a map to the size of `out`.
///
/// # Panics
/// When the blocks differ.
pub fn enlarge(input: &Plane<'_>, out: &mut PlaneMut<'_>) {
    assert_eq!(input.blocks, out.blocks);
    let (blocks, width) = (out.blocks, out.width);
    let (rows, columns) = (between(input.height, out.height), between(input.width, width));
    out.data.par_chunks_mut(blocks * width).zip(&rows).for_each(|(out, &(above, below, down))| {
        for (block, out) in out.chunks_exact_mut(width).enumerate() {
            let (above, below) = (input.row(above, block), input.row(below, block));
            for (out, &(left, right, across)) in out.iter_mut().zip(&columns) {
                let top = mix(&above[left], &above[right], across);
                let bottom = mix(&below[left], &below[right], across);
                *out = mix(&top, &bottom, down);
            }
        }
    });
}

#[inline(always)]
pub(crate) fn mix(a: &Lanes, b: &Lanes, share: f32) -> Lanes {
    let mut mixed = [0.0; LANES];
    for (lane, mixed) in mixed.iter_mut().enumerate() {
        *mixed = a.0[lane] + (b.0[lane] - a.0[lane]) * share;
    }
    Lanes(mixed)
}
