//! A square of values that is looked up at the photo's size: bilinear, half-pixel centres.

use std::ops::Range;

use wide::f32x4;

/// `side × side` places with `N` values each, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid<const N: usize> {
    side: usize,
    places: Vec<[f32; N]>,
}

/// Part of one of a photo's rows, on a grid: the grid's two rows next to it, mixed.
pub(super) struct GridRow<const N: usize> {
    /// From the place `first` on.
    places: Vec<[f32; N]>,
    first: usize,
    side: usize,
    /// Places of the grid for a pixel of the photo.
    scale: f32,
}

impl<const N: usize> Grid<N> {
    /// The places are as many as the side says.
    pub(super) fn new(side: usize, places: Vec<[f32; N]>) -> Self {
        debug_assert_eq!(places.len(), side * side);
        Self { side, places }
    }

    /// These columns of row `y` of a photo of this size.
    pub(super) fn row(&self, y: u32, (width, height): (u32, u32), columns: Range<u32>) -> GridRow<N> {
        let side = self.side;
        let (upper, lower, part) = between(y, side as f32 / height as f32, side);
        let scale = side as f32 / width as f32;
        let first = between(columns.start, scale, side).0;
        let end = between(columns.end.max(columns.start + 1) - 1, scale, side).1 + 1;
        let [upper, lower] = [upper, lower].map(|row| &self.places[row * side..][first..end]);
        let mut places: Vec<_> = upper.iter().zip(lower).map(|(a, b)| mix(a, b, part)).collect();
        // The last one's right neighbour.
        places.extend(places.last().copied());
        GridRow { places, first, side, scale }
    }

    /// A row of its places.
    pub(super) fn places(&self, y: usize) -> &[[f32; N]] {
        &self.places[y * self.side..][..self.side]
    }

    /// The place next to a pixel of a photo of this size.
    pub(super) fn near(&self, x: u32, y: u32, (width, height): (u32, u32)) -> [f32; N] {
        let side = self.side;
        let [(x, ..), (y, ..)] =
            [(x, width), (y, height)].map(|(n, of)| between(n, side as f32 / of as f32, side));
        self.places[y * side + x]
    }
}

impl<const N: usize> GridRow<N> {
    /// The values at one of its columns.
    #[inline]
    pub(super) fn at(&self, x: u32) -> [f32; N] {
        let (left, right, part) = self.beside(x);
        mix(left, right, part)
    }

    /// The same in fours, which is what processors have instructions for.
    #[inline]
    pub(super) fn fours<const M: usize>(&self, x: u32) -> [f32x4; M] {
        let (left, right, part) = self.beside(x);
        let [left, right] = [left, right].map(|values| values.as_chunks::<4>().0);
        std::array::from_fn(|n| {
            let [left, right] = [left, right].map(|values| f32x4::from(values[n]));
            left + (right - left) * f32x4::splat(part)
        })
    }

    /// The places to both sides of one of its columns, and how near the second is.
    #[inline]
    fn beside(&self, x: u32) -> (&[f32; N], &[f32; N], f32) {
        let (left, _, part) = between(x, self.scale, self.side);
        let [left, right] = &self.places[left - self.first..].as_chunks::<2>().0[0];
        (left, right, part)
    }
}

/// The places next to a pixel, and how near the second is.
#[inline]
pub(super) fn between(pixel: u32, scale: f32, side: usize) -> (usize, usize, f32) {
    let at = ((pixel as f32 + 0.5) * scale - 0.5).clamp(0.0, (side - 1) as f32);
    // By way of 32 bits: to 64 without a sign it is a dozen instructions.
    let first = at as u32 as usize;
    (first, (first + 1).min(side - 1), at - first as f32)
}

#[inline]
fn mix<const N: usize>(a: &[f32; N], b: &[f32; N], part: f32) -> [f32; N] {
    std::array::from_fn(|n| a[n] + (b[n] - a[n]) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_of_the_photos_size_is_the_photo_and_edges_are_held() {
        let grid = Grid::new(3, (0..9).map(|n| [n as f32]).collect());
        for y in 0..3 {
            let row = grid.row(y, (3, 3), 0..3);
            (0..3).for_each(|x| assert_eq!(row.at(x), [(3 * y + x) as f32]));
            assert_eq!(grid.near(2, y, (3, 3)), [(3 * y + 2) as f32]);
        }
        let row = grid.row(0, (12, 12), 0..12);
        assert_eq!((row.at(0), row.at(11)), ([0.0], [2.0]));
        assert_eq!(Grid::new(1, vec![[7.0]]).row(99, (5, 100), 4..5).at(4), [7.0]);
    }

    #[test]
    fn part_of_a_row_is_that_part() {
        let grid = Grid::new(5, (0..25).map(|n| [(n * n % 7) as f32, n as f32]).collect());
        let whole = grid.row(20, (70, 33), 0..70);
        for columns in [0..1, 3..40, 69..70, 30..70] {
            let part = grid.row(20, (70, 33), columns.clone());
            columns.for_each(|x| assert_eq!(part.at(x), whole.at(x)));
        }
    }

    #[test]
    fn fours_are_the_same_values() {
        let grid = Grid::new(5, (0..25).map(|n| std::array::from_fn(|m| (n * n * m % 7) as f32)).collect());
        let row: GridRow<8> = grid.row(20, (70, 33), 3..40);
        for x in 3..40 {
            let [near, far] = row.fours(x).map(f32x4::to_array);
            assert_eq!([near, far].as_flattened(), row.at(x));
        }
    }
}
