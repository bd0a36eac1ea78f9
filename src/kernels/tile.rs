//! One tile to Winograd's points and back.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use std::mem::MaybeUninit;

use crate::planes::{LANES, Lanes};
use crate::simd::Simd;
use crate::toom::{F4, F6};

/// Points of the largest tile.
pub(crate) const MAX_POINTS: usize = 64;

/// One tile on its way out.
pub(crate) struct Output<'a> {
    /// For each point sixteen, `step` values apart.
    pub(crate) sums: *const f32,
    pub(crate) step: usize,
    pub(crate) bias: &'a Lanes,
    pub(crate) floor: f32,
    /// Where the first pixel goes.
    pub(crate) to: *mut f32,
    /// Values from one row to the next.
    pub(crate) row: usize,
    /// After the floor, what is there is added.
    pub(crate) adds: bool,
    /// Past the caches.
    pub(crate) stream: bool,
    /// The same halved by the maximum: its first pixel, and the values from one row to the next.
    pub(crate) half: Option<(*mut f32, usize)>,
}

/// A tile between its columns and its rows. All of it that is read was written; zeroing it first would
/// cost as much as a transform.
type Half<S> = MaybeUninit<[<S as Simd>::V; MAX_POINTS]>;

/// The two-dimensional transforms of one tile size.
///
/// # Safety
/// Both functions need the instructions of `S`, and places for sixteen values that begin with a cache line:
/// [`Transform::data`] `POINTS` rows of as many pixels to read and a place for each point to write,
/// [`Transform::output`] a sum for each point and `SIDE` rows of as many pixels to write, and to read where it
/// adds; of a half, half as many rows of half as many.
pub(crate) trait Transform {
    /// Outputs on a side.
    const SIDE: usize;
    /// Points on a side.
    const POINTS: usize;

    /// `Bᵀ d B` of a patch whose rows are `row` values apart; points are `step` values apart.
    unsafe fn data<S: Simd>(from: *const f32, row: usize, to: *mut f32, step: usize);

    /// `Aᵀ s A`, biased and not below the floor, to `SIDE × SIDE` pixels.
    unsafe fn output<S: Simd>(output: Output<'_>);
}

/// Repeats a block with a constant: what a loop would index is then known when it is compiled, so that
/// registers stay registers and products with 0 and 1 fall away.
macro_rules! each {
    ($i:ident in [$($n:literal)*] $body:block) => { $({ const $i: usize = $n; $body })* };
}

/// `sum + c x`, as cheap as the constant allows.
#[inline(always)]
unsafe fn plus<S: Simd>(sum: Option<S::V>, c: f32, x: S::V) -> Option<S::V> {
    // SAFETY: the caller gives the instructions.
    unsafe {
        Some(match sum {
            _ if c == 0.0 => return sum,
            None if c == 1.0 => x,
            None => S::mul(S::splat(c), x),
            Some(sum) if c == 1.0 => S::add(sum, x),
            Some(sum) if c == -1.0 => S::sub(sum, x),
            Some(sum) => S::mul_add(S::splat(c), x, sum),
        })
    }
}

/// Transforms in one and two dimensions. The points but the first and the last are pairs `±p`: rows `p`
/// and `-p` share their even and their odd powers.
macro_rules! transform {
    ($name:ident, $toom:ident, $side:literal, $points:literal,
     pairs $pairs:tt, even $even:tt, odd $odd:tt, all $all:tt, even_out $even_out:tt, odd_out $odd_out:tt) => {
        pub(crate) struct $name;

        impl $name {
            /// `Bᵀ x`
            #[inline(always)]
            unsafe fn data_1d<S: Simd>(x: [S::V; $points]) -> [S::V; $points] {
                // SAFETY: the caller gives the instructions.
                unsafe {
                    let zero = S::splat(0.0);
                    let mut y = [zero; $points];
                    let (mut first, mut last) = (None, None);
                    each!(K in $even { first = plus::<S>(first, const { $toom.b_t[0][K] }, x[K]); });
                    each!(K in $odd { last = plus::<S>(last, const { $toom.b_t[$points - 1][K] }, x[K]); });
                    y[0] = first.unwrap_or(zero);
                    y[$points - 1] = last.unwrap_or(zero);
                    each!(P in $pairs {
                        let (mut even, mut odd) = (None, None);
                        each!(K in $even { even = plus::<S>(even, const { $toom.b_t[2 * P + 1][K] }, x[K]); });
                        each!(K in $odd { odd = plus::<S>(odd, const { $toom.b_t[2 * P + 1][K] }, x[K]); });
                        let (even, odd) = (even.unwrap_or(zero), odd.unwrap_or(zero));
                        y[2 * P + 1] = S::add(even, odd);
                        y[2 * P + 2] = S::sub(even, odd);
                    });
                    y
                }
            }

            /// `Aᵀ x`
            #[inline(always)]
            unsafe fn output_1d<S: Simd>(x: [S::V; $points]) -> [S::V; $side] {
                // SAFETY: the caller gives the instructions.
                unsafe {
                    let mut y = [S::splat(0.0); $side];
                    let (mut sum, mut difference) = (x, x);
                    each!(P in $pairs {
                        sum[P] = S::add(x[2 * P + 1], x[2 * P + 2]);
                        difference[P] = S::sub(x[2 * P + 1], x[2 * P + 2]);
                    });
                    each!(K in $even_out {
                        let mut at = plus::<S>(None, const { $toom.a_t[K][0] }, x[0]);
                        each!(P in $pairs { at = plus::<S>(at, const { $toom.a_t[K][2 * P + 1] }, sum[P]); });
                        y[K] = at.unwrap_or(y[K]);
                    });
                    each!(K in $odd_out {
                        let mut at = plus::<S>(None, const { $toom.a_t[K][$points - 1] }, x[$points - 1]);
                        each!(P in $pairs {
                            at = plus::<S>(at, const { $toom.a_t[K][2 * P + 1] }, difference[P]);
                        });
                        y[K] = at.unwrap_or(y[K]);
                    });
                    y
                }
            }
        }

        impl Transform for $name {
            const SIDE: usize = $side;
            const POINTS: usize = $points;

            #[inline(always)]
            unsafe fn data<S: Simd>(from: *const f32, row: usize, to: *mut f32, step: usize) {
                // SAFETY: the caller's promise.
                unsafe {
                    let mut unit = 0;
                    while unit < LANES {
                        let (from, to) = (from.add(unit), to.add(unit));
                        let mut half = Half::<S>::uninit();
                        let half = half.as_mut_ptr().cast::<S::V>();
                        for column in 0..$points {
                            let from = from.add(column * LANES);
                            let mut x = [S::splat(0.0); $points];
                            each!(I in $all { x[I] = S::load(from.add(I * row)); });
                            let y = Self::data_1d::<S>(x);
                            each!(I in $all { half.add(I * $points + column).write(y[I]); });
                        }
                        for i in 0..$points {
                            let mut x = [S::splat(0.0); $points];
                            each!(J in $all { x[J] = half.add(i * $points + J).read(); });
                            let y = Self::data_1d::<S>(x);
                            let to = to.add(i * $points * step);
                            each!(J in $all { S::store(to.add(J * step), y[J]); });
                        }
                        unit += S::WIDTH;
                    }
                }
            }

            #[inline(always)]
            unsafe fn output<S: Simd>(output: Output<'_>) {
                let Output { sums, step, bias, floor, to, row, adds, stream, half: halved } = output;
                let units = LANES / S::WIDTH;
                // SAFETY: the caller's promise.
                unsafe {
                    // Whole lines are written at once, so all units go through the columns first.
                    let mut half = [const { Half::<S>::uninit() }; 4];
                    for (unit, half) in half.iter_mut().enumerate().take(units) {
                        let half = half.as_mut_ptr().cast::<S::V>();
                        let from = sums.add(unit * S::WIDTH);
                        for column in 0..$points {
                            let from = from.add(column * step);
                            let mut x = [S::splat(0.0); $points];
                            each!(I in $all { x[I] = S::load(from.add(I * $points * step)); });
                            let y = Self::output_1d::<S>(x);
                            each!(I in $even_out { half.add(I * $points + column).write(y[I]); });
                            each!(I in $odd_out { half.add(I * $points + column).write(y[I]); });
                        }
                    }
                    let floor = S::splat(floor);
                    let mut above = [[S::splat(0.0); 4]; $side / 2];
                    for i in 0..$side {
                        let mut pixels = [[S::splat(0.0); 4]; $side];
                        for (unit, half) in half.iter().enumerate().take(units) {
                            let half = half.as_ptr().cast::<S::V>();
                            let mut x = [S::splat(0.0); $points];
                            each!(J in $all { x[J] = half.add(i * $points + J).read(); });
                            let bias = S::load(bias.0.as_ptr().add(unit * S::WIDTH));
                            let y = Self::output_1d::<S>(x);
                            for (pixel, y) in pixels.iter_mut().zip(y) {
                                pixel[unit] = S::max(floor, S::add(y, bias));
                            }
                        }
                        for (j, pixel) in pixels.iter_mut().enumerate() {
                            for (unit, value) in pixel.iter_mut().enumerate().take(units) {
                                let at = j * LANES + unit * S::WIDTH;
                                let to = to.add(i * row + at);
                                if adds {
                                    *value = S::add(*value, S::load(to));
                                }
                                if stream { S::stream(to, *value) } else { S::store(to, *value) }
                            }
                        }
                        let Some((halved, row)) = halved else { continue };
                        for (j, above) in above.iter_mut().enumerate() {
                            for (unit, above) in above.iter_mut().enumerate().take(units) {
                                let two = S::max(pixels[2 * j][unit], pixels[2 * j + 1][unit]);
                                if i % 2 == 0 {
                                    *above = two;
                                } else {
                                    let at = i / 2 * row + j * LANES + unit * S::WIDTH;
                                    S::store(halved.add(at), S::max(*above, two));
                                }
                            }
                        }
                    }
                }
            }
        }
    };
}

transform!(FourByFour, F4, 4, 6, pairs [0 1], even [0 2 4], odd [1 3 5], all [0 1 2 3 4 5],
           even_out [0 2], odd_out [1 3]);
transform!(SixBySix, F6, 6, 8, pairs [0 1 2], even [0 2 4 6], odd [1 3 5 7], all [0 1 2 3 4 5 6 7],
           even_out [0 2 4], odd_out [1 3 5]);
