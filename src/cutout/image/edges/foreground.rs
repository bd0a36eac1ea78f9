//! The subject's own colours where it is half transparent: fast multi-level foreground estimation (Germer, Uelwer,
//! Conrad and Harmeling 2020, <https://arxiv.org/abs/2006.14970>), on the square that the model saw.
//!
//! What it finds there is coarse. At the photo's size each pixel then moves the two colours as little as possible so
//! that they blend to its own.

use super::grid::{Grid, GridRow};
use super::guided::Guided;
use crate::cutout::image::ImageError;

/// How strongly neighbours agree where the transparency is the same.
const AGREE: f32 = 1e-5;
/// How much more they agree across a change of transparency.
const GRADIENT: f32 = 1.0;
/// A level of at most so many places a side is small, and is gone over so often; others so often.
const SMALL: (usize, usize) = (32, 10);
const OTHERS: usize = 2;
/// How strongly a pixel holds to the coarse colours against its own.
const COARSE: f32 = 0.1;

/// The subject's colours, and the background's, coarse: red, green and blue of the one and of the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Colours(Grid<6>);

/// Those of one row.
pub(super) struct ColoursRow(GridRow<6>);

/// The photo and its transparency at one level.
struct Level {
    side: usize,
    rgb: Vec<[f32; 3]>,
    alpha: Vec<f32>,
}

impl Colours {
    /// Of the RGB8 square that the model saw, with the transparency that was fitted to it.
    ///
    /// # Errors
    /// [`ImageError::WrongLength`] for another number of bytes.
    pub(crate) fn of(guided: &Guided, rgb: &[u8], side: u32) -> Result<Self, ImageError> {
        let expected = side as usize * side as usize * 3;
        if rgb.len() != expected || expected == 0 {
            return Err(ImageError::WrongLength { what: "what the model saw", expected, found: rgb.len() });
        }
        let pixels = rgb.as_chunks::<3>().0;
        let rows = pixels.chunks_exact(side as usize).zip(0..);
        let alpha = rows.flat_map(|(row, y)| {
            let lines = guided.row(y, (side, side));
            row.iter().zip(0..).map(|(pixel, x)| lines.at(x, *pixel)).collect::<Vec<_>>()
        });
        let whole = Level {
            side: side as usize,
            alpha: alpha.collect(),
            rgb: pixels.iter().map(|pixel| pixel.map(|value| f32::from(value) / 255.0)).collect(),
        };
        let mut found = Grid::new(1, vec![whole.mean()]);
        let mut side = 1;
        while side < whole.side {
            side = (side * 2).min(whole.side);
            let level = whole.shrunk(side);
            let begun: Vec<_> = (0..side as u32)
                .flat_map(|y| {
                    let row = found.row(y, (side as u32, side as u32));
                    (0..side as u32).map(move |x| row.at(x))
                })
                .collect();
            found = Grid::new(side, level.solved(begun));
        }
        Ok(Self(found))
    }

    pub(super) fn row(&self, y: u32, size: (u32, u32)) -> ColoursRow {
        ColoursRow(self.0.row(y, size))
    }

    /// Writes the subject's colours of part of row `y` of a photo of this size, beginning with column `left`: its
    /// RGB8 pixels and their transparency are given.
    pub(crate) fn write(
        &self,
        y: u32,
        left: u32,
        size: (u32, u32),
        (rgb, alpha): (&[u8], &[u8]),
        out: &mut [u8],
    ) {
        let row = self.row(y, size);
        let pixels = rgb.as_chunks::<3>().0.iter().zip(alpha);
        for ((out, (pixel, alpha)), x) in out.as_chunks_mut::<3>().0.iter_mut().zip(pixels).zip(left..) {
            *out = row.at(x, *pixel, *alpha);
        }
    }
}

impl ColoursRow {
    fn at(&self, x: u32, pixel: [u8; 3], alpha: u8) -> [u8; 3] {
        if matches!(alpha, 0 | 255) {
            return pixel;
        }
        let (coarse, a) = (self.0.at(x), f32::from(alpha) / 255.0);
        let b = 1.0 - a;
        let share = a / (a * a + b * b + COARSE);
        std::array::from_fn(|n| {
            let missing = f32::from(pixel[n]) / 255.0 - a * coarse[n] - b * coarse[n + 3];
            ((coarse[n] + share * missing).clamp(0.0, 1.0) * 255.0 + 0.5) as u8
        })
    }
}

impl Level {
    /// One colour for both.
    fn mean(&self) -> [f32; 6] {
        let sums = self
            .rgb
            .iter()
            .fold([0.0_f64; 3], |sum, rgb| std::array::from_fn(|n| sum[n] + f64::from(rgb[n])));
        std::array::from_fn(|n| (sums[n % 3] / self.rgb.len() as f64) as f32)
    }

    /// The same at a lower level, by the places that are nearest.
    fn shrunk(&self, side: usize) -> Self {
        let from = |n: usize| (2 * n + 1) * self.side / (2 * side);
        let places = (0..side * side).map(|n| from(n / side) * self.side + from(n % side));
        Self {
            side,
            rgb: places.clone().map(|place| self.rgb[place]).collect(),
            alpha: places.map(|place| self.alpha[place]).collect(),
        }
    }

    /// Goes over the colours, each from its neighbours' as they are by then.
    fn solved(&self, mut colours: Vec<[f32; 6]>) -> Vec<[f32; 6]> {
        let side = self.side;
        let times = if side <= SMALL.0 { SMALL.1 } else { OTHERS };
        for _ in 0..times {
            for n in 0..side * side {
                let (x, y) = (n % side, n / side);
                // At the edge a place is its own neighbour.
                let neighbours = [
                    if x > 0 { n - 1 } else { n },
                    if x + 1 < side { n + 1 } else { n },
                    if y > 0 { n - side } else { n },
                    if y + 1 < side { n + side } else { n },
                ];
                colours[n] = self.blended(n, neighbours, &colours);
            }
        }
        colours
    }

    /// The two colours that blend to a place's own and are like their neighbours': of two equations the solution.
    fn blended(&self, n: usize, neighbours: [usize; 4], colours: &[[f32; 6]]) -> [f32; 6] {
        let (a, b) = (self.alpha[n], 1.0 - self.alpha[n]);
        let (mut front, mut back, both) = (a * a, b * b, a * b);
        let mut sums: [f32; 6] = std::array::from_fn(|c| self.rgb[n][c % 3] * if c < 3 { a } else { b });
        for neighbour in neighbours {
            let weight = AGREE + GRADIENT * (a - self.alpha[neighbour]).abs();
            (front, back) = (front + weight, back + weight);
            (0..6).for_each(|c| sums[c] += weight * colours[neighbour][c]);
        }
        let determinant = front * back - both * both;
        std::array::from_fn(|c| {
            let (own, other, with) = if c < 3 { (c, c + 3, back) } else { (c, c - 3, front) };
            ((with * sums[own] - both * sums[other]) / determinant).clamp(0.0, 1.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: [f32; 3] = [0.8, 0.2, 0.1];
    const BLUE: [f32; 3] = [0.1, 0.3, 0.9];

    /// A red disc with a soft edge before a blue ground, and how much of each pixel is disc.
    fn disc(side: usize) -> (Vec<u8>, Vec<f32>) {
        let middle = side as f32 / 2.0;
        let alpha: Vec<f32> = (0..side * side)
            .map(|n| {
                let [x, y] = [n % side, n / side].map(|at| at as f32 + 0.5 - middle);
                ((middle * 0.6 - x.hypot(y)) / (side as f32 * 0.12) + 0.5).clamp(0.0, 1.0)
            })
            .collect();
        let blend = |a: &f32| {
            std::array::from_fn::<u8, 3, _>(|n| ((a * RED[n] + (1.0 - a) * BLUE[n]) * 255.0).round() as u8)
        };
        (alpha.iter().flat_map(blend).collect(), alpha)
    }

    #[test]
    fn the_background_goes_out_of_the_edge() {
        let (seen, map) = disc(64);
        let guided = Guided::of(&map, &seen, 64).expect("fits");
        let colours = Colours::of(&guided, &seen, 64).expect("fits");
        let (photo, alpha) = disc(300);
        let (mut before, mut after, mut pixels) = (0.0, 0.0, 0);
        for y in 0..300_usize {
            let row = &photo[y * 900..][..900];
            let transparency: Vec<u8> =
                alpha[y * 300..][..300].iter().map(|a| (a * 255.0).round() as u8).collect();
            let mut clean = vec![0; 900];
            colours.write(y as u32, 0, (300, 300), (row, &transparency), &mut clean);
            for (n, a) in transparency.iter().enumerate() {
                let off = |pixel: &[u8]| {
                    (0..3).map(|c| (f32::from(pixel[c]) / 255.0 - RED[c]).abs()).sum::<f32>() * f32::from(*a)
                };
                let [was, is] = [&row[n * 3..][..3], &clean[n * 3..][..3]];
                if !matches!(*a, 0 | 255) {
                    (before, after, pixels) = (before + off(was), after + off(is), pixels + 1);
                } else {
                    assert_eq!(was, is, "what is whole or gone stays as it is");
                }
            }
        }
        assert!(pixels > 1000 && after < before / 5.0, "{before} {after} over {pixels} pixels");
    }

    #[test]
    fn any_colours_stay_colours() {
        let rgb: Vec<u8> = (0..7 * 7 * 3).map(|n| (n * n * 31 % 256) as u8).collect();
        let map: Vec<f32> = (0..49).map(|n| (n % 5) as f32 / 4.0).collect();
        let guided = Guided::of(&map, &rgb, 7).expect("fits");
        let Colours(grid) = Colours::of(&guided, &rgb, 7).expect("fits");
        for y in 0..7 {
            let row = grid.row(y, (7, 7));
            assert!((0..7).all(|x| row.at(x).iter().all(|value| (0.0..=1.0).contains(value))));
        }
        assert!(Colours::of(&guided, &rgb[1..], 7).is_err());
    }
}
