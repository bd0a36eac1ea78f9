//! A square of values that is looked up at the photo's size: bilinear, half-pixel centres.

/// `side × side` places with `N` values each, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid<const N: usize> {
    side: usize,
    places: Vec<[f32; N]>,
}

/// One of a photo's rows, on a grid: the grid's two rows next to it, mixed.
pub(super) struct GridRow<const N: usize> {
    places: Vec<[f32; N]>,
    /// Places of the grid for a pixel of the photo.
    scale: f32,
}

impl<const N: usize> Grid<N> {
    /// The places are as many as the side says.
    pub(super) fn new(side: usize, places: Vec<[f32; N]>) -> Self {
        debug_assert_eq!(places.len(), side * side);
        Self { side, places }
    }

    /// Row `y` of a photo of this size.
    pub(super) fn row(&self, y: u32, (width, height): (u32, u32)) -> GridRow<N> {
        let side = self.side;
        let (upper, lower, part) = between(y, side as f32 / height as f32, side);
        let [upper, lower] = [upper, lower].map(|row| &self.places[row * side..][..side]);
        let mixed = upper.iter().zip(lower).map(|(a, b)| mix(a, b, part)).collect();
        GridRow { places: mixed, scale: side as f32 / width as f32 }
    }
}

impl<const N: usize> GridRow<N> {
    /// The values at a column of the photo.
    pub(super) fn at(&self, x: u32) -> [f32; N] {
        let (left, right, part) = between(x, self.scale, self.places.len());
        mix(&self.places[left], &self.places[right], part)
    }
}

/// The places next to a pixel, and how near the second is.
fn between(pixel: u32, scale: f32, side: usize) -> (usize, usize, f32) {
    let at = ((pixel as f32 + 0.5) * scale - 0.5).clamp(0.0, (side - 1) as f32);
    let first = at as usize;
    (first, (first + 1).min(side - 1), at - first as f32)
}

fn mix<const N: usize>(a: &[f32; N], b: &[f32; N], part: f32) -> [f32; N] {
    std::array::from_fn(|n| a[n] + (b[n] - a[n]) * part)
}

/// The mean over a square window of `2 × radius + 1` a side, cut at the edges: in time that doesn't grow with it.
pub(super) fn box_mean<const N: usize>(side: usize, places: &[[f32; N]], radius: usize) -> Vec<[f32; N]> {
    let once = |places: &[[f32; N]], step: usize, next: usize| {
        let mut out = vec![[0.0; N]; places.len()];
        for line in 0..side {
            let at = |n: usize| line * next + n * step;
            let mut sum = [0.0_f64; N];
            let (mut from, mut to) = (0, 0);
            for n in 0..side {
                while to < (n + radius + 1).min(side) {
                    (0..N).for_each(|v| sum[v] += f64::from(places[at(to)][v]));
                    to += 1;
                }
                while from + radius < n {
                    (0..N).for_each(|v| sum[v] -= f64::from(places[at(from)][v]));
                    from += 1;
                }
                let count = (to - from) as f64;
                out[at(n)] = std::array::from_fn(|v| (sum[v] / count) as f32);
            }
        }
        out
    };
    once(&once(places, 1, side), side, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_that_of_its_window() {
        let side = 7;
        let places: Vec<[f32; 2]> = (0..49).map(|n| [(n * n % 13) as f32, n as f32]).collect();
        for radius in [0, 1, 2, 9] {
            let means = box_mean(side, &places, radius);
            for (n, mean) in means.iter().enumerate() {
                let (x, y) = (n % side, n / side);
                let near = |a: usize, b: usize| a.abs_diff(b) <= radius;
                let window = (0..49).filter(|m| near(m % side, x) && near(m / side, y));
                let values: Vec<_> = window.map(|m| places[m]).collect();
                for v in 0..2 {
                    let expected = values.iter().map(|value| value[v]).sum::<f32>() / values.len() as f32;
                    assert!((mean[v] - expected).abs() < 1e-4, "{radius} {n}: {mean:?}");
                }
            }
        }
    }

    #[test]
    fn a_grid_of_the_photos_size_is_the_photo_and_edges_are_held() {
        let grid = Grid::new(3, (0..9).map(|n| [n as f32]).collect());
        for y in 0..3 {
            let row = grid.row(y, (3, 3));
            (0..3).for_each(|x| assert_eq!(row.at(x), [(3 * y + x) as f32]));
        }
        let row = grid.row(0, (12, 12));
        assert_eq!((row.at(0), row.at(11)), ([0.0], [2.0]));
        assert_eq!(Grid::new(1, vec![[7.0]]).row(99, (5, 100)).at(4), [7.0]);
    }
}
