//! The guided filter (He, Sun and Tang 2013, <https://doi.org/10.1109/TPAMI.2012.213>), fast as in He and Sun 2015
//! (<https://arxiv.org/abs/1505.00996>): fitted on the map's own grid, applied to the photo's own pixels.
//!
//! Three things are not as they have them, and each is worth as much as the filter itself (`docs/edges.md`):
//! - A network's map is softer than the square that it saw. A line from sharp colours to a soft map is too flat, and
//!   thin things stay faint. So it is fitted on colours made as soft as the map, and applied to the photo's sharp ones.
//! - What of the colours is finer than that counts as noise, as much as there is of it where the map is sure, and a
//!   line that it would drive is held back for the map. A steep one would make specks of a lawn's blades.
//! - Lines hold in the band where the map is not sure. Elsewhere they would find the subject's own pattern in it.

use std::ops::Range;

use rayon::prelude::*;
use wide::f32x4;

use super::band::Band;
use super::grain::Grain;
use super::grid::Grid;
use super::strip::Strip;
use crate::cutout::image::ImageError;

/// A window is a place and so many to each side: the mean over two of them, one in the other.
const RADIUS: usize = 2;

/// How soft a network's edges are, in places of its map: a normal distribution's deviation. Those of U²-NetP go from
/// 10 to 90 % in 2 to 4 places, which is 0.8 to 1.6.
const SOFT: f32 = 1.2;

/// How many places to each side a softened one is made of.
pub(super) const SOFT_REACH: usize = 4;

/// What a colour's variance must be to count, of values of 0 to 1: a little above the noise of 8 bits.
const EPSILON: f64 = 3e-5;

/// How much grain counts: more than once, for of what lies behind the subject and on it, it is the stronger that
/// shows.
const GRAIN: f64 = 2.0;

/// How much of what a line tells grain may tell: with a share of one to so many the map has half of a place.
const DRIVEN: f64 = 8.0;

/// Values this near to 0 and 1 are meant as such.
const SURE: f32 = 0.02;

/// Where a place and its neighbours are nearer than this to the same end, it is as its map has it, the more the nearer.
const DOUBT: f32 = 0.1;

/// Rows that are worked on at once. Those around them that they need are made again.
pub(super) const ROWS: usize = 32;

/// Those around them.
pub(super) const AROUND: usize = 2 * (2 * RADIUS + SOFT_REACH);

/// Transparency as a line of colour, for each place of a map: what red, green and blue add, and a constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guided {
    band: Band,
    lines: Grid<4>,
}

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
        let sure = |value: &f32| ((value - SURE) / (1.0 - 2.0 * SURE)).clamp(0.0, 1.0);
        let map: Vec<f32> = map.iter().map(sure).collect();
        let band = Band::of(&map, side);
        let pixels = rgb.as_chunks::<3>().0;
        let grain = Grain::of(pixels, side, &band);
        let square = Square { side, map: &map, pixels, band: &band, grain: &grain };
        let bands = [band.wider(RADIUS), band.wider(2 * RADIUS), band.wider(2 * RADIUS + SOFT_REACH)];
        let mut lines: Vec<[f32; 4]> = map.iter().map(|value| [0.0, 0.0, 0.0, *value]).collect();
        lines.par_chunks_mut(ROWS * side).enumerate().for_each(|(n, out)| {
            square.fit(n * ROWS..((n + 1) * ROWS).min(side), &bands, out);
        });
        Ok(Self { lines: Grid::new(side, lines), band })
    }

    /// Columns of part of row `y` of a photo of this size, where transparency may be other than none or all.
    pub(super) fn columns(&self, y: u32, size: (u32, u32), part: Range<u32>) -> Vec<Range<u32>> {
        self.band.columns(y, size, part)
    }

    /// Transparency of a pixel of such columns' gaps.
    fn sure(&self, x: u32, y: u32, size: (u32, u32)) -> u8 {
        if self.lines.near(x, y, size)[3] < 0.5 { 0 } else { 255 }
    }

    /// Transparency, 0 to 1, of a row of the square that the model saw.
    pub(super) fn seen(&self, y: usize, rgb: &[[u8; 3]]) -> impl Iterator<Item = f32> {
        self.lines.places(y).iter().zip(rgb).map(|(line, pixel)| applied(f32x4::from(*line), *pixel) / 255.0)
    }

    /// Writes the transparency of part of row `y` of a photo of this size, beginning with column `left`: its RGB8
    /// pixels are given.
    pub(crate) fn write(&self, y: u32, left: u32, size: (u32, u32), rgb: &[u8], out: &mut [u8]) {
        let pixels = rgb.as_chunks::<3>().0;
        let right = left + out.len() as u32;
        let mut done = left;
        for columns in self.columns(y, size, left..right) {
            if done < columns.start {
                out[(done - left) as usize..(columns.start - left) as usize].fill(self.sure(done, y, size));
            }
            done = columns.end;
            let row = self.lines.row(y, size, columns.clone());
            let part = (columns.start - left) as usize..(columns.end - left) as usize;
            for ((out, pixel), x) in out[part.clone()].iter_mut().zip(&pixels[part]).zip(columns) {
                let [line] = row.fours(x);
                *out = (applied(line, *pixel) + 0.5) as u8;
            }
        }
        if done < right {
            out[(done - left) as usize..].fill(self.sure(done, y, size));
        }
    }
}

/// What a line says of a colour: 0 to 255.
#[inline]
fn applied(line: f32x4, pixel: [u8; 3]) -> f32 {
    let [red, green, blue] = pixel.map(f32::from);
    (line * f32x4::from([red, green, blue, 255.0])).reduce_add().clamp(0.0, 255.0)
}

/// What lines are fitted to.
struct Square<'a> {
    side: usize,
    map: &'a [f32],
    pixels: &'a [[u8; 3]],
    band: &'a Band,
    grain: &'a Grain,
}

impl Square<'_> {
    /// The lines of these rows, where the band is. `bands` are those of the lines before they are smoothed, of
    /// what they are fitted to, and of the colours before these are softened.
    fn fit(&self, rows: Range<usize>, bands: &[Band; 3], out: &mut [[f32; 4]]) {
        let Self { side, map, pixels, band, grain } = *self;
        if band.is_empty(rows.clone()) {
            return;
        }
        let [fitted, soft_rows] = [RADIUS, 2 * RADIUS].map(|by| around(&rows, by, side));
        let (_, colours) = softened(pixels, side, soft_rows.clone(), [&bands[1], &bands[2]]);
        // Colour and map, their products with one another, and the colours' own.
        let moments = Strip::made(soft_rows, side, &bands[1], |place| {
            let ([r, g, b], p) = (colours.at(place), map[place]);
            [r, g, b, p, r * p, g * p, b * p, r * r, r * g, r * b, g * g, g * b, b * b]
        });
        let window = [1.0; RADIUS + 1];
        let means = moments.filtered(fitted.clone(), &bands[0], &window);
        let lines = Strip::made(fitted, side, &bands[0], |place| {
            line(&means.at(place), grain.at(place % side, place / side))
        });
        let smooth = lines.filtered(rows.clone(), band, &window);
        for y in rows.clone() {
            for x in band.row(y).iter().flat_map(Range::clone) {
                let place = y * side + x;
                let [line @ .., trust] = smooth.at(place);
                let share = trust * self.doubt(x, y);
                let [r, g, b, constant]: [f32; 4] = line.map(|value| value * share);
                out[place - rows.start * side] = [r, g, b, constant + (1.0 - share) * map[place]];
            }
        }
    }

    /// How much a place is its line's, 0 to 1: not where it and its neighbours are all of one kind.
    fn doubt(&self, x: usize, y: usize) -> f32 {
        let near = |n: usize| n.saturating_sub(1)..(n + 2).min(self.side);
        let (mut low, mut high) = (1.0_f32, 0.0_f32);
        for y in near(y) {
            for value in &self.map[y * self.side..][near(x)] {
                (low, high) = (low.min(*value), high.max(*value));
            }
        }
        ((1.0 - low).min(high) / DOUBT).min(1.0)
    }
}

/// Rows and so many more on each side.
fn around(rows: &Range<usize>, by: usize, side: usize) -> Range<usize> {
    rows.start.saturating_sub(by)..(rows.end + by).min(side)
}

/// Colours, 0 to 1, of the square's rows where the bands are: sharp ones of more rows in the second band, and those
/// made as soft as the map in the first, which is narrower by [`SOFT_REACH`].
pub(super) fn softened(
    pixels: &[[u8; 3]],
    side: usize,
    rows: Range<usize>,
    [band, wider]: [&Band; 2],
) -> (Strip<3>, Strip<3>) {
    let sharp = Strip::made(around(&rows, SOFT_REACH, side), side, wider, |place| {
        pixels[place].map(|value| f32::from(value) / 255.0)
    });
    let soft = sharp.filtered(rows, band, &soft());
    (sharp, soft)
}

/// Weights of a place, of the next, and so on, to soften colours as the network softens its map.
fn soft() -> [f32; SOFT_REACH + 1] {
    std::array::from_fn(|n| (-0.5 * (n as f32 / SOFT).powi(2)).exp())
}

/// The line that fits a window best, from its means and the grain of what is around it; and how far it is to be
/// trusted, 0 to 1.
fn line(mean: &[f32; 13], grain: [f32; 6]) -> [f32; 5] {
    let m: [f64; 13] = mean.map(f64::from);
    let [r, g, b, p] = [m[0], m[1], m[2], m[3]];
    let with_map = [m[4] - r * p, m[5] - g * p, m[6] - b * p];
    let grain = grain.map(f64::from);
    let colours = [m[7] - r * r, m[8] - r * g, m[9] - r * b, m[10] - g * g, m[11] - g * b, m[12] - b * b];
    let [rr, rg, rb, gg, gb, bb] = std::array::from_fn(|n| colours[n] + GRAIN * grain[n]);
    let [rr, gg, bb] = [rr, gg, bb].map(|own| own + EPSILON);
    // The inverse of a symmetric matrix by its cofactors; with what is added to its diagonal it has one.
    let inverse = [
        [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg],
        [rb * gb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb],
        [rg * gb - rb * gg, rb * rg - rr * gb, rr * gg - rg * rg],
    ];
    let determinant = rr * inverse[0][0] + rg * inverse[0][1] + rb * inverse[0][2];
    let of = |row: [f64; 3]| row.iter().zip(with_map).map(|(a, b)| a * b).sum::<f64>() / determinant;
    let [x, y, z] = inverse.map(of);
    // The variance that a line gives what has these covariances.
    let told = |[rr, rg, rb, gg, gb, bb]: [f64; 6]| {
        x * (x * rr + 2.0 * (y * rg + z * rb)) + y * (y * gg + 2.0 * z * gb) + z * z * bb
    };
    let (by_colours, by_grain) = (told(colours), told(grain));
    let trust = by_colours / (by_colours + DRIVEN * by_grain + 1e-9);
    [x, y, z, p - x * r - y * g - z * b, trust].map(|value| value as f32)
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
