//! The subject's own colours where it is half transparent: fast multi-level foreground estimation (Germer, Uelwer,
//! Conrad and Harmeling 2020, <https://arxiv.org/abs/2006.14970>), on the square that the model saw.
//!
//! What it finds is coarse, and on purpose: the more places there are, up to the photo's own pixels, the more of its
//! noise and texture is taken for the subject's or for the background's, and the worse the colours come out
//! (`docs/edges.md`). At the photo's size each pixel then moves the two colours as little as possible so that they
//! blend to its own.

use wide::f32x4;

use super::band::Band;
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
/// How strongly a pixel holds to the coarse colours against its own, where it is all background. The less it is, the
/// less: a subject that is nearly whole keeps its texture.
const COARSE: f32 = 0.5;
/// How much of what is missing from a pixel's colour the subject's gets, by its transparency.
static SHARES: [f32; 256] = {
    let mut shares = [0.0; 256];
    let mut n = 0;
    while n < 256 {
        let a = n as f32 / 255.0;
        let b = 1.0 - a;
        shares[n] = a / (a * a + b * b + COARSE * b);
        n += 1;
    }
    shares
};
/// Places a side at most: a larger square is halved until it is no larger.
pub(super) const LARGEST: usize = 128;

/// The subject's colours, and the background's, coarse: red, green and blue, 0 to 255, of the one and of the other,
/// each with a zero behind them, so that four values are worked on at once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Colours(Grid<8>);

/// The photo at one level: red, green, blue, and transparency.
struct Level {
    side: usize,
    places: Vec<[f32; 4]>,
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
        let side = side as usize;
        let rows = |y: usize| {
            let row = &rgb.as_chunks::<3>().0[y * side..][..side];
            let rgba = |(pixel, a): (&[u8; 3], f32)| {
                let [r, g, b] = pixel.map(|value| f32::from(value) / 255.0);
                [r, g, b, a]
            };
            row.iter().zip(guided.seen(y, row)).map(rgba).collect()
        };
        let mut levels = vec![Level::shrunk(side, side.div_ceil(LARGEST).next_power_of_two(), rows)];
        while let Some(last) = levels.last().filter(|level| level.side > 1) {
            levels.push(Level::shrunk(last.side, 2, |y| last.row(y).to_vec()));
        }
        let mut found = vec![[0.5; 6]];
        let mut side = 1;
        for level in levels.iter().rev() {
            found = level.solved(&Grid::new(side, found));
            side = level.side;
        }
        let places = found.into_iter().map(|places| {
            let [r, g, b, u, v, w] = places.map(|value| value * 255.0);
            [r, g, b, 0.0, u, v, w, 0.0]
        });
        Ok(Self(Grid::new(side, places.collect())))
    }

    /// Writes the subject's colours of part of row `y` of a photo of this size, beginning with column `left`: its
    /// RGB8 pixels and their transparency by `guided` are given.
    pub(crate) fn write(
        &self,
        guided: &Guided,
        (y, left): (u32, u32),
        size: (u32, u32),
        (rgb, alpha): (&[u8], &[u8]),
        out: &mut [u8],
    ) {
        out.copy_from_slice(rgb);
        let out = out.as_chunks_mut::<3>().0;
        for columns in guided.columns(y, size, left..left + alpha.len() as u32) {
            let row = self.0.row(y, size, columns.clone());
            let part = (columns.start - left) as usize..(columns.end - left) as usize;
            for ((out, alpha), x) in out[part.clone()].iter_mut().zip(&alpha[part]).zip(columns) {
                *out = clean(&row, x, *out, *alpha);
            }
        }
    }
}

/// The subject's colour of a pixel: millions of calls for a photo.
#[inline]
fn clean(row: &GridRow<8>, x: u32, pixel: [u8; 3], alpha: u8) -> [u8; 3] {
    if matches!(alpha, 0 | 255) {
        return pixel;
    }
    let [front, back] = row.fours(x);
    let (a, share) = (f32::from(alpha) * (1.0 / 255.0), SHARES[usize::from(alpha)]);
    let [r, g, b] = pixel.map(f32::from);
    let missing = f32x4::from([r, g, b, 0.0]) - front * a - back * (1.0 - a);
    let colour = (front + missing * share).fast_max(f32x4::ZERO).fast_min(f32x4::splat(255.0));
    let [r, g, b, _] = colour.fast_round_int().to_array().map(|value| value as u8);
    [r, g, b]
}

impl Level {
    /// From the rows of one of `from` places a side: means of `by` by `by` of them. A side that this doesn't divide
    /// ends in narrower ones.
    fn shrunk(from: usize, by: usize, row: impl Fn(usize) -> Vec<[f32; 4]>) -> Self {
        let side = from.div_ceil(by);
        let mut places = Vec::with_capacity(side * side);
        for y in 0..side {
            let covered = y * by..((y + 1) * by).min(from);
            let mut sums = vec![[0.0_f32; 4]; side];
            for row in covered.clone().map(&row) {
                for (sum, row) in sums.iter_mut().zip(row.chunks(by)) {
                    row.iter().for_each(|place| (0..4).for_each(|n| sum[n] += place[n]));
                }
            }
            let count = |x: usize| (covered.len() * (from - x * by).min(by)) as f32;
            places.extend(sums.iter().enumerate().map(|(x, sum)| sum.map(|value| value / count(x))));
        }
        Self { side, places }
    }

    fn row(&self, y: usize) -> &[[f32; 4]] {
        &self.places[y * self.side..][..self.side]
    }

    /// The colours of this level, from those of the one below, which stay where nothing is half transparent, nor near to
    /// what is: hardly anybody asks for them.
    fn solved(&self, below: &Grid<6>) -> Vec<[f32; 6]> {
        let side = self.side;
        let size = (side as u32, side as u32);
        let mut colours: Vec<_> = (0..size.1)
            .flat_map(|y| {
                let row = below.row(y, size, 0..size.0);
                (0..size.0).map(move |x| row.at(x))
            })
            .collect();
        let alpha: Vec<f32> = self.places.iter().map(|place| place[3]).collect();
        let band = Band::of(&alpha, side).wider(1);
        let spans = || (0..side).flat_map(|y| band.row(y).iter().map(move |span| (y, span.clone())));
        let times = if side <= SMALL.0 { SMALL.1 } else { OTHERS };
        for (y, span) in (0..times).flat_map(|_| spans()) {
            for x in span {
                // Each from its neighbours' as they are by then; at the edge a place is its own neighbour.
                let n = y * side + x;
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
        let [r, g, b, alpha] = self.places[n];
        if (alpha == 0.0 || alpha == 1.0) && neighbours.iter().all(|m| self.places[*m][3] == alpha) {
            // Its own colour is the one, and the other is as the level below has it. Most places are such.
            let [.., x, y, z] = colours[n];
            let [u, v, w, ..] = colours[n];
            return if alpha == 1.0 { [r, g, b, x, y, z] } else { [u, v, w, r, g, b] };
        }
        let (a, b) = (alpha, 1.0 - alpha);
        let (mut front, mut back, both) = (a * a, b * b, a * b);
        let mut sums: [f32; 6] = std::array::from_fn(|c| self.places[n][c % 3] * if c < 3 { a } else { b });
        for neighbour in neighbours {
            let weight = AGREE + GRADIENT * (a - self.places[neighbour][3]).abs();
            (front, back) = (front + weight, back + weight);
            (0..6).for_each(|c| sums[c] += weight * colours[neighbour][c]);
        }
        // One division instead of six.
        let inverse = 1.0 / (front * back - both * both);
        std::array::from_fn(|c| {
            let (own, other, with) = if c < 3 { (c, c + 3, back) } else { (c, c - 3, front) };
            ((with * sums[own] - both * sums[other]) * inverse).clamp(0.0, 1.0)
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
            colours.write(&guided, (y as u32, 0), (300, 300), (row, &transparency), &mut clean);
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
    fn a_pixel_far_from_what_is_half_transparent_has_colours_too() {
        // There a line of colour can still find a pixel of the photo transparent, and black would show.
        let (seen, map) = disc(128);
        let guided = Guided::of(&map, &seen, 128).expect("fits");
        let Colours(grid) = Colours::of(&guided, &seen, 128).expect("fits");
        let known = |[r, _, _, _, _, _, b, _]: [f32; 8]| r > 20.0 && b > 20.0;
        assert!((0..128 * 128).all(|n| known(grid.places(n / 128)[n % 128])));
    }

    #[test]
    fn any_colours_stay_colours() {
        let rgb: Vec<u8> = (0..7 * 7 * 3).map(|n| (n * n * 31 % 256) as u8).collect();
        let map: Vec<f32> = (0..49).map(|n| (n % 5) as f32 / 4.0).collect();
        let guided = Guided::of(&map, &rgb, 7).expect("fits");
        let Colours(grid) = Colours::of(&guided, &rgb, 7).expect("fits");
        for y in 0..7 {
            let row = grid.row(y, (7, 7), 0..7);
            assert!((0..7).all(|x| row.at(x).iter().all(|value| (0.0..=255.0).contains(value))));
        }
        assert!(Colours::of(&guided, &rgb[1..], 7).is_err());
    }
}
