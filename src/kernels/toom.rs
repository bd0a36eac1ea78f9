//! Winograd's minimal filtering by Cook and Toom, derived from its points.
//!
//! A filter of `R` taps over `M` outputs is a product of polynomials, and a polynomial of degree
//! `N - 1 = M + R - 2` is known by its values at `N` points. So: evaluate the filter (`G`) and the data
//! (`Bᵀ`) at the points, multiply point by point, and interpolate (`Aᵀ`):
//!
//! `y = Aᵀ [(G g) ⊙ (Bᵀ d)]`, in two dimensions `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`.
//!
//! `M` outputs cost `N` products instead of `M·R`: in two dimensions 2.25 products an output for
//! F(4×4, 3×3) and 1.78 for F(6×6, 3×3), instead of 9. One point is infinity; the others are small and
//! come in pairs `±p`, so that even and odd powers are shared within a pair.
//!
//! Source: A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, 2015,
//! <https://arxiv.org/abs/1509.09308>; the derivation is S. Winograd's, Arithmetic Complexity of
//! Computations, 1980. With `m(x) = Π (x - p_i)`: row `i` of `Bᵀ` holds the coefficients of
//! `m(x) / (x - p_i)`, the last row those of `m(x)`; row `i` of `G` holds the powers of `p_i` over the
//! value of that quotient at `p_i`; row `k` of `Aᵀ` holds the k-th powers of the points.

use crate::planes::Lanes;

/// Taps of the filter on each side.
pub(crate) const TAPS: usize = 3;

/// The matrices of F(M, 3) with `N = M + 2` points, the last at infinity.
pub(crate) struct Toom<const M: usize, const N: usize> {
    /// Interpolates outputs.
    pub(crate) a_t: [[f32; N]; M],
    /// Evaluates the filter.
    pub(crate) g: [[f64; TAPS]; N],
    /// Evaluates the data.
    pub(crate) b_t: [[f32; N]; N],
}

/// F(4, 3).
pub(crate) const F4: Toom<4, 6> = Toom::derive(&[0.0, 1.0, -1.0, 2.0, -2.0]);
/// F(6, 3). With larger points than these, `f32` loses too many digits.
pub(crate) const F6: Toom<6, 8> = Toom::derive(&[0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5]);

impl<const M: usize, const N: usize> Toom<M, N> {
    const fn derive(points: &[f64]) -> Self {
        assert!(N == M + TAPS - 1 && points.len() == N - 1);
        let mut toom = Self { a_t: [[0.0; N]; M], g: [[0.0; TAPS]; N], b_t: [[0.0; N]; N] };
        let mut i = 0;
        while i < N - 1 {
            let point = points[i];
            let quotient: [f64; N] = product_without(points, i);
            let mut at_point = 0.0;
            let mut power = 1.0;
            let mut k = 0;
            while k < N {
                at_point += quotient[k] * power;
                toom.b_t[i][k] = quotient[k] as f32;
                if k < M {
                    toom.a_t[k][i] = power as f32;
                }
                power *= point;
                k += 1;
            }
            let mut power = 1.0;
            let mut k = 0;
            while k < TAPS {
                toom.g[i][k] = power / at_point;
                power *= point;
                k += 1;
            }
            i += 1;
        }
        // Infinity: the highest coefficient of each polynomial.
        let all: [f64; N] = product_without(points, N);
        let mut k = 0;
        while k < N {
            toom.b_t[N - 1][k] = all[k] as f32;
            k += 1;
        }
        toom.g[N - 1][TAPS - 1] = 1.0;
        toom.a_t[M - 1][N - 1] = 1.0;
        toom
    }

    /// `G g Gᵀ` of sixteen 3×3 filters at once: point by point, row by row.
    pub(crate) fn filter(&self, g: &[Lanes; TAPS * TAPS], put: &mut impl FnMut(usize, Lanes)) {
        let mut half = [[Lanes::ZERO; TAPS]; N];
        for (row, g_row) in half.iter_mut().zip(&self.g) {
            for (column, sum) in row.iter_mut().enumerate() {
                for (k, factor) in g_row.iter().enumerate() {
                    add(sum, *factor as f32, &g[k * TAPS + column]);
                }
            }
        }
        for (i, row) in half.iter().enumerate() {
            for (j, g_row) in self.g.iter().enumerate() {
                let mut sum = Lanes::ZERO;
                for (value, factor) in row.iter().zip(g_row) {
                    add(&mut sum, *factor as f32, value);
                }
                put(i * N + j, sum);
            }
        }
    }
}

fn add(sum: &mut Lanes, factor: f32, value: &Lanes) {
    for (sum, value) in sum.0.iter_mut().zip(value.0) {
        *sum += factor * value;
    }
}

/// Coefficients, the lowest first, of the product of all `(x - p)` but one.
const fn product_without<const N: usize>(points: &[f64], skipped: usize) -> [f64; N] {
    let mut product = [0.0; N];
    product[0] = 1.0;
    let mut i = 0;
    while i < points.len() {
        if i != skipped {
            let mut k = N - 1;
            while k > 0 {
                product[k] = product[k - 1] - points[i] * product[k];
                k -= 1;
            }
            product[0] *= -points[i];
        }
        i += 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const M: usize, const N: usize>(toom: &Toom<M, N>) {
        let data: [f64; N] = std::array::from_fn(|n| ((n * 7 + 3) % 5) as f64 - 2.0);
        let filter = [0.5, -1.0, 2.0];
        let products: [f64; N] = std::array::from_fn(|i| {
            let g: f64 = (0..TAPS).map(|k| toom.g[i][k] * filter[k]).sum();
            let d: f64 = (0..N).map(|k| f64::from(toom.b_t[i][k]) * data[k]).sum();
            g * d
        });
        for m in 0..M {
            let winograd: f64 = (0..N).map(|i| f64::from(toom.a_t[m][i]) * products[i]).sum();
            let direct: f64 = (0..TAPS).map(|k| filter[k] * data[m + k]).sum();
            assert!((winograd - direct).abs() < 1e-12, "{m}: {winograd} {direct}");
        }
    }

    #[test]
    fn the_matrices_filter() {
        check(&F4);
        check(&F6);
    }

    #[test]
    fn f4_is_lavins() {
        assert_eq!(F4.b_t[0], [4.0, 0.0, -5.0, 0.0, 1.0, 0.0]);
        assert_eq!(F4.b_t[5], [0.0, 4.0, 0.0, -5.0, 0.0, 1.0]);
        assert_eq!(F4.a_t[3], [0.0, 1.0, -1.0, 8.0, -8.0, 1.0]);
        assert_eq!(F4.g[0], [0.25, 0.0, 0.0]);
    }
}
