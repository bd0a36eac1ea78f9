//! Some rows of a square, filtered where a band is: what looks at neighbours is done a few rows at a time, so that
//! it takes no memory to speak of, and rows further apart on as many cores as there are.

use std::ops::Range;

use super::band::Band;

/// The values of some rows; those that nothing has made are zero.
pub(super) struct Strip<const N: usize> {
    first: usize,
    side: usize,
    places: Vec<[f32; N]>,
}

impl<const N: usize> Strip<N> {
    /// Values of these rows of a square, made where the band is.
    pub(super) fn made(rows: Range<usize>, side: usize, band: &Band, at: impl Fn(usize) -> [f32; N]) -> Self {
        let mut places = vec![[0.0; N]; rows.len() * side];
        for (out, y) in places.chunks_exact_mut(side).zip(rows.clone()) {
            for span in band.row(y) {
                for (out, place) in out[span.clone()].iter_mut().zip(y * side + span.start..) {
                    *out = at(place);
                }
            }
        }
        Self { first: rows.start, side, places }
    }

    /// One of the square's places.
    pub(super) fn at(&self, place: usize) -> [f32; N] {
        self.places[place - self.first * self.side]
    }

    /// Means weighed by nearness, across and then down, for these rows where the band is; at the square's edges of what
    /// is there. `weights` are those of a place itself, of the next on each side, and so on.
    pub(super) fn filtered(&self, rows: Range<usize>, band: &Band, weights: &[f32]) -> Self {
        let reach = weights.len() - 1;
        let (first, side) = (self.first, self.side);
        let held = first..first + self.places.len() / side;
        // Down first: then across needs no more than the rows that are asked for.
        let wider = band.wider_across(reach, rows.clone());
        let mut down = vec![[0.0; N]; rows.len() * side];
        for ((out, y), spans) in down.chunks_exact_mut(side).zip(rows.clone()).zip(&wider) {
            let from = y.saturating_sub(reach).max(held.start);
            let near = from..(y + reach + 1).min(side).min(held.end);
            let total: f32 = near.clone().map(|row| weights[row.abs_diff(y)]).sum();
            for row in near {
                let weight = weights[row.abs_diff(y)] / total;
                let values = &self.places[(row - first) * side..][..side];
                for span in spans {
                    for (out, value) in out[span.clone()].iter_mut().zip(&values[span.clone()]) {
                        (0..N).for_each(|n| out[n] += weight * value[n]);
                    }
                }
            }
        }
        // As they lie from left to right; all of them, but next to the square's edges.
        let window: Vec<f32> = weights.iter().skip(1).rev().chain(weights).copied().collect();
        let whole: f32 = window.iter().sum();
        let mean = |values: &[[f32; N]], window: &[f32], total: f32| {
            let mut sum = [0.0; N];
            for (value, weight) in values.iter().zip(window) {
                (0..N).for_each(|n| sum[n] += weight * value[n]);
            }
            sum.map(|value| value / total)
        };
        let mut places = vec![[0.0; N]; rows.len() * side];
        let made = places.chunks_exact_mut(side).zip(down.chunks_exact(side));
        for ((out, values), y) in made.zip(rows.clone()) {
            for x in band.row(y).iter().flat_map(Range::clone) {
                let (from, to) = (x.saturating_sub(reach), (x + reach + 1).min(side));
                out[x] = if to - from == window.len() {
                    mean(&values[from..to], &window, whole)
                } else {
                    let cut = &window[from + reach - x..][..to - from];
                    mean(&values[from..to], cut, cut.iter().sum())
                };
            }
        }
        Self { first: rows.start, side, places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_the_weighed_mean_of_its_window() {
        let side = 9;
        let value = |n: usize| [(n * n % 13) as f32, n as f32];
        let map: Vec<f32> = (0..81).map(|n| if n % 9 == 4 || n < 9 { 0.5 } else { 0.0 }).collect();
        let band = Band::of(&map, side);
        for weights in [vec![1.0], vec![1.0, 1.0, 1.0], vec![1.0, 0.5, 0.1]] {
            let reach = weights.len() - 1;
            for rows in [0..9_usize, 0..3, 4..6, 8..9] {
                let held = rows.start.saturating_sub(reach)..(rows.end + reach).min(side);
                let strip = Strip::made(held, side, &band.wider(reach), value);
                let filtered = strip.filtered(rows.clone(), &band, &weights);
                for (y, x) in rows.flat_map(|y| band.row(y).iter().cloned().flatten().map(move |x| (y, x))) {
                    let weight = |m: &usize| {
                        let [a, b] = [(m / side).abs_diff(y), (m % side).abs_diff(x)];
                        if a.max(b) > reach { 0.0 } else { weights[a] * weights[b] }
                    };
                    let total: f32 = (0..81).map(|m| weight(&m)).sum();
                    for v in 0..2 {
                        let expected = (0..81).map(|m| weight(&m) * value(m)[v]).sum::<f32>() / total;
                        let found = filtered.at(y * side + x)[v];
                        assert!((found - expected).abs() < 1e-3, "{x}, {y}: {found} for {expected}");
                    }
                }
            }
        }
    }
}
