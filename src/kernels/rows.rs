//! What a transformer does to each row of a matrix besides products: layer norm, softmax, GELU, sums.
//!
//! Written as plain loops over sixteen values, which the compiler turns into the vectors of the level that
//! they are compiled for.
#![allow(unsafe_code, reason = "a kernel is compiled for each level behind an unsafe door")]

use rayon::prelude::*;

use crate::planes::LANES;
use crate::simd::{Kernel, Level, Simd, dispatch};

/// Values that one thread takes at a time.
const PART: usize = 1 << 14;

/// `e^x` to two units in the last place; below -87 and above 88 that of the bound.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // So large that nothing is left of a fraction, and the last bits are the whole part.
    const WHOLE: f32 = 12_582_912.0;
    // The logarithm of 2 in two parts; of the first, times a whole number, nothing is rounded.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // Cephes' polynomial for what is left, between -ln 2 / 2 and ln 2 / 2.
    const SERIES: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let x = if x > -87.0 { x } else { -87.0 };
    let x = if x < 88.0 { x } else { 88.0 };
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    let rest = x - whole * LN_2[0] - whole * LN_2[1];
    let mut sum = SERIES[0];
    for factor in &SERIES[1..] {
        sum = sum * rest + factor;
    }
    let power = sum * rest * rest + rest + 1.0;
    // The whole part goes into the exponent; the shift leaves nothing of what made it whole.
    f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `x` times the share of a normal distribution that lies below it, to 2e-7 of `x`.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    // Abramowitz and Stegun's 7.1.26 for what lies beyond `|x|` on both sides.
    const SERIES: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    let size = if x > 0.0 { x } else { -x };
    let z = size * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut sum = 0.0;
    for factor in &SERIES {
        sum = (sum + factor) * t;
    }
    let beyond = sum * exp(-z * z);
    let positive = if x > 0.0 { x } else { 0.0 };
    positive - 0.5 * size * beyond
}

/// Adds a bias to each row, and takes the GELU of all.
///
/// # Panics
/// When the values are not whole rows.
pub fn bias_gelu(level: Level, values: &mut [f32], bias: &[f32]) {
    by_rows_of(values, bias.len(), |rows, _| dispatch(level, BiasGelu { rows, bias }));
}

struct BiasGelu<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
}

impl Kernel for BiasGelu<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in self.rows.chunks_exact_mut(self.bias.len()) {
            for (value, bias) in row.iter_mut().zip(self.bias) {
                *value = gelu(*value + bias);
            }
        }
    }
}

/// Adds a bias to each row, and another matrix.
///
/// # Panics
/// When the values are not whole rows, or the other's are not as many.
pub fn bias_add(level: Level, values: &mut [f32], bias: &[f32], other: &[f32]) {
    assert_eq!(values.len(), other.len());
    by_rows_of(values, bias.len(), |rows, at| {
        let other = &other[at..][..rows.len()];
        dispatch(level, BiasAdd { rows, bias, other });
    });
}

struct BiasAdd<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
    other: &'a [f32],
}

impl Kernel for BiasAdd<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (rows, width) = (self.rows, self.bias.len());
        for (row, other) in rows.chunks_exact_mut(width).zip(self.other.chunks_exact(width)) {
            for ((value, bias), other) in row.iter_mut().zip(self.bias).zip(other) {
                *value += bias + other;
            }
        }
    }
}

/// Each row to mean 0 and deviation 1, then scaled and shifted.
///
/// # Panics
/// When the values are not whole rows, or rows not a multiple of sixteen values.
pub fn layer_norm(level: Level, values: &mut [f32], [weight, bias]: [&[f32]; 2], epsilon: f32) {
    assert!(weight.len() == bias.len() && weight.len().is_multiple_of(LANES));
    by_rows_of(values, bias.len(), |rows, _| dispatch(level, Norm { rows, weight, bias, epsilon }));
}

struct Norm<'a> {
    rows: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
}

impl Kernel for Norm<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.weight.len();
        for row in self.rows.chunks_exact_mut(width) {
            let mean = sum(row, |value| value) / width as f32;
            let variance = sum(row, |value| (value - mean) * (value - mean)) / width as f32;
            let scale = 1.0 / (variance + self.epsilon).sqrt();
            for ((value, weight), bias) in row.iter_mut().zip(self.weight).zip(self.bias) {
                *value = (*value - mean) * scale * weight + bias;
            }
        }
    }
}

/// Sixteen sums side by side, so that no addition waits for the one before.
#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    for values in row.as_chunks::<LANES>().0 {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += of(*value);
        }
    }
    sums.iter().sum()
}

fn by_rows_of(values: &mut [f32], width: usize, run: impl Fn(&mut [f32], usize) + Sync) {
    assert!(width > 0 && values.len().is_multiple_of(width), "{} values in rows of {width}", values.len());
    let part = (PART / width).max(1) * width;
    values.par_chunks_mut(part).enumerate().for_each(|(n, rows)| run(rows, n * part));
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Tensor};

    use super::*;

    fn rows(rows: usize, width: usize, scale: f32) -> Tensor {
        let values = (0..rows * width).map(|n| ((n * 7919 % 2003) as f32 / 1001.5 - 1.0) * scale);
        Tensor::from_iter(values, &Device::Cpu).and_then(|flat| flat.reshape((rows, width))).expect("rows")
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32")
    }

    fn assert_near(ours: &[f32], theirs: &[f32], tolerance: f32) {
        for (n, (a, b)) in ours.iter().zip(theirs).enumerate() {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "value {n}: {a} and {b}");
        }
    }

    #[test]
    fn powers_are_right_to_the_last_places() {
        for n in -8700..8800 {
            let x = n as f32 / 100.0;
            let right = f64::from(x).exp();
            assert!((f64::from(exp(x)) / right - 1.0).abs() < 3e-7, "{x}");
        }
        assert!(exp(-1000.0) < 1e-37 && exp(1000.0).is_finite());
    }

    #[test]
    fn rows_are_as_candle_has_them() {
        let (matrix, bias) = (rows(301, 48, 6.0), rows(1, 48, 0.5));
        let (weight, other) = (rows(1, 48, 2.0), rows(301, 48, 3.0));
        let biased = matrix.broadcast_add(&bias).expect("the same width");
        for level in Level::available() {
            let mut ours = values(&matrix);
            bias_gelu(level, &mut ours, &values(&bias));
            assert_near(&ours, &values(&biased.gelu_erf().expect("f32")), 1e-6);

            let mut ours = values(&matrix);
            bias_add(level, &mut ours, &values(&bias), &values(&other));
            assert_near(&ours, &values(&(&biased + &other).expect("the same shape")), 1e-6);

            let mut ours = values(&matrix);
            layer_norm(level, &mut ours, [&values(&weight), &values(&bias)], 1e-5);
            let norm = || {
                let centred = matrix.broadcast_sub(&matrix.mean_keepdim(D::Minus1)?)?;
                let variance = (centred.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?;
                centred.broadcast_div(&variance.sqrt()?)?.broadcast_mul(&weight)?.broadcast_add(&bias)
            };
            assert_near(&ours, &values(&norm().expect("the same width")), 1e-5);
        }
    }
}
