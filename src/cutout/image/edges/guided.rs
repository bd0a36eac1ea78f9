//! The guided filter (He, Sun and Tang 2013, <https://doi.org/10.1109/TPAMI.2012.213>), fast as in He and Sun 2015
//! (<https://arxiv.org/abs/1505.00996>): fitted on the map's own grid, applied to the photo's own pixels.

use super::grid::{Grid, GridRow, box_mean};
use crate::cutout::image::ImageError;

/// A window reaches so many places of the map around its own. On synthetic strands, fur, straps and holes over
/// photos, with a map of 320 a side, 2 had the least error of all pixels: more follows thin things better, and
/// takes in what merely looks like them.
const RADIUS: usize = 2;

/// What a colour's variance must be to count, of values of 0 to 1: a little above the noise of 8 bits.
const EPSILON: f64 = 1e-5;

/// Transparency as a line of colour, for each place of a map: what red, green and blue add, and a constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guided(Grid<4>);

/// The lines of one row.
pub(super) struct GuidedRow(GridRow<4>);

impl Guided {
    /// Fits lines to a map of 0 to 1, on the RGB8 square that the model saw, both `side` a side.
    ///
    /// # Errors
    /// [`ImageError::WrongLength`] for another number of values or bytes.
    pub(crate) fn of(map: &[f32], rgb: &[u8], side: u32) -> Result<Self, ImageError> {
        let side = side as usize;
        let expected = side * side;
        for (what, expected, found) in
            [("the model's map", expected, map.len()), ("what the model saw", expected * 3, rgb.len())]
        {
            if found != expected || expected == 0 {
                return Err(ImageError::WrongLength { what, expected, found });
            }
        }
        let pixels = rgb.as_chunks::<3>().0;
        // Colour and map, their products with one another, and the colours' own.
        let moments: Vec<[f32; 13]> = pixels
            .iter()
            .zip(map)
            .map(|(pixel, value)| {
                let [r, g, b] = pixel.map(|value| f32::from(value) / 255.0);
                let p = *value;
                [r, g, b, p, r * p, g * p, b * p, r * r, r * g, r * b, g * g, g * b, b * b]
            })
            .collect();
        let lines: Vec<[f32; 4]> = box_mean(side, &moments, RADIUS).iter().map(line).collect();
        Ok(Self(Grid::new(side, box_mean(side, &lines, RADIUS))))
    }

    pub(super) fn row(&self, y: u32, size: (u32, u32)) -> GuidedRow {
        GuidedRow(self.0.row(y, size))
    }

    /// Writes the transparency of part of row `y` of a photo of this size, beginning with column `left`: its RGB8
    /// pixels are given.
    pub(crate) fn write(&self, y: u32, left: u32, size: (u32, u32), rgb: &[u8], out: &mut [u8]) {
        let row = self.row(y, size);
        for ((out, pixel), x) in out.iter_mut().zip(rgb.as_chunks::<3>().0).zip(left..) {
            *out = (row.at(x, *pixel) * 255.0 + 0.5) as u8;
        }
    }
}

impl GuidedRow {
    /// Of a column of the photo, whose colour this is: 0 to 1.
    pub(super) fn at(&self, x: u32, pixel: [u8; 3]) -> f32 {
        let [r, g, b, constant] = self.0.at(x);
        let [red, green, blue] = pixel.map(|value| f32::from(value) / 255.0);
        (r * red + g * green + b * blue + constant).clamp(0.0, 1.0)
    }
}

/// The line that fits a window best, from its means.
fn line(mean: &[f32; 13]) -> [f32; 4] {
    let m: [f64; 13] = mean.map(f64::from);
    let [r, g, b, p] = [m[0], m[1], m[2], m[3]];
    let with_map = [m[4] - r * p, m[5] - g * p, m[6] - b * p];
    let (rr, rg, rb) = (m[7] - r * r + EPSILON, m[8] - r * g, m[9] - r * b);
    let (gg, gb, bb) = (m[10] - g * g + EPSILON, m[11] - g * b, m[12] - b * b + EPSILON);
    // The inverse of a symmetric matrix by its cofactors; with what is added to its diagonal it has one.
    let inverse = [
        [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg],
        [rb * gb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb],
        [rg * gb - rb * gg, rb * rg - rr * gb, rr * gg - rg * rg],
    ];
    let determinant = rr * inverse[0][0] + rg * inverse[0][1] + rb * inverse[0][2];
    let of = |row: [f64; 3]| row.iter().zip(with_map).map(|(a, b)| a * b).sum::<f64>() / determinant;
    let [x, y, z] = inverse.map(of);
    [x, y, z, p - x * r - y * g - z * b].map(|value| value as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dark thing left of a bright ground, on a grid and at eight times its size, the edge in the middle of a
    /// place.
    fn edge(side: usize, at: f32) -> Vec<u8> {
        let pixel =
            |x: usize| if (x as f32 + 0.5) / (side as f32) < at { [40, 30, 60] } else { [200, 220, 180] };
        (0..side * side).flat_map(|n| pixel(n % side)).collect()
    }

    #[test]
    fn an_edge_is_where_the_photo_has_it() {
        let (side, full) = (32, 256);
        // The map is as soft as a model's: a place is half here, half there.
        let at = 0.5 + 0.5 / side as f32;
        let map: Vec<f32> = (0..side * side)
            .map(|n| match n % side {
                x if x < side / 2 - 1 => 1.0,
                x if x == side / 2 - 1 => 0.9,
                x if x == side / 2 => 0.5,
                x if x == side / 2 + 1 => 0.1,
                _ => 0.0,
            })
            .collect();
        let mut seen = edge(side, at);
        for row in seen.chunks_exact_mut(side * 3) {
            row[side / 2 * 3..][..3].copy_from_slice(&[120, 125, 120]);
        }
        let guided = Guided::of(&map, &seen, side as u32).expect("fits");
        let photo = edge(full, at);
        let mut row = vec![7; full];
        guided.write(100, 0, (256, 256), &photo[..full * 3], &mut row);
        let edge = (at * full as f32) as usize;
        assert!(row[edge - 1] > 200 && row[edge] < 55, "{:?}", &row[edge - 8..edge + 8]);
        // Two windows of two places to each side.
        let far = 5 * full / side;
        assert!(row[..edge - far].iter().all(|a| *a > 250) && row[edge + far..].iter().all(|a| *a < 5));
    }

    #[test]
    fn part_of_a_row_is_that_part_and_a_flat_photo_keeps_its_map() {
        let map: Vec<f32> = (0..16).map(|n| if n % 4 < 2 { 1.0 } else { 0.0 }).collect();
        let guided = Guided::of(&map, &[90; 48], 4).expect("fits");
        let (mut whole, mut part) = (vec![0; 40], vec![0; 13]);
        guided.write(5, 0, (40, 10), &[90; 120], &mut whole);
        guided.write(5, 20, (40, 10), &[90; 39], &mut part);
        assert_eq!(part, whole[20..33]);
        assert!(whole.windows(2).all(|pair| pair[0] >= pair[1]) && whole[0] > whole[39], "{whole:?}");
    }

    #[test]
    fn what_is_no_square_is_an_error() {
        for (map, rgb) in [(3, 12), (4, 11), (0, 0)] {
            let side = if map == 0 { 0 } else { 2 };
            assert!(Guided::of(&vec![0.0; map], &vec![0; rgb], side).is_err());
        }
    }
}
