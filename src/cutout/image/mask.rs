//! What is to be seen of a photo: the model's map, enlarged to the photo's size row by row, as rows are
//! asked for. A phone's photo has forty times the map's pixels on it, which nobody needs to keep.
//!
//! It is Lanczos with three lobes as Pillow does it: across first, rounded to 8 bits, then down.

use std::f64::consts::PI;

use rayon::prelude::*;

use crate::protocol::options::Edges;

use super::edges::{Colours, Guided};
use super::error::ImageError;

/// A map whose values lie closer together than this shows no subject: it is taken as it is.
/// Stretched, the noise of an empty wall would become a cutout.
pub const SUBJECT_RANGE: f32 = 0.05;

/// Lobes of the filter on each side.
const LOBES: f64 = 3.0;

/// Pixels that are summed at once.
const BATCH: usize = 64;

/// Transparency of each of a photo's pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    width: u32,
    height: u32,
    rows: Rows,
}

#[derive(Debug, Clone, PartialEq)]
enum Rows {
    /// There they are.
    Plane(Vec<u8>),
    /// Rows of a map, as wide as the photo.
    Map(Vec<u8>),
    /// By the photo's own pixels, and the subject's colours where they are asked for.
    Guided(Guided, Option<Colours>),
}

impl Mask {
    /// The model's map for a photo of a size, with its edges made as asked for; `seen` is the square of `side` pixels
    /// a side that the model saw, RGB8.
    ///
    /// # Errors
    /// [`ImageError::WrongLength`] when map and square are not of that side.
    pub fn of(
        map: &[f32],
        (seen, side): (&[u8], u32),
        size: (u32, u32),
        edges: Edges,
    ) -> Result<Self, ImageError> {
        let (width, height) = size;
        if edges == Edges::Off {
            return Self::of_map(map, side, size);
        }
        let (from, range) = stretch(map);
        let stretched: Vec<f32> = map.iter().map(|value| level(*value, from, range)).collect();
        let guided = Guided::of(&stretched, seen, side)?;
        let colours =
            (edges == Edges::Decontaminate).then(|| Colours::of(&guided, seen, side)).transpose()?;
        Ok(Self { width, height, rows: Rows::Guided(guided, colours) })
    }

    /// The model's map, `side` values a side, for a photo of `width` by `height`.
    ///
    /// The values are stretched from their minimum and maximum to 0..=255, unless they lie within
    /// [`SUBJECT_RANGE`]; what is no number counts as background.
    ///
    /// # Errors
    /// [`ImageError::WrongLength`] for a map that is not `side` squared.
    pub fn of_map(map: &[f32], side: u32, (width, height): (u32, u32)) -> Result<Self, ImageError> {
        let expected = side as usize * side as usize;
        if map.len() != expected || expected == 0 {
            return Err(ImageError::WrongLength { what: "the model's map", expected, found: map.len() });
        }
        let (from, range) = stretch(map);
        // The cast truncates as the reference does.
        let byte = |value: &f32| (level(*value, from, range) * 255.0) as u8;
        let columns: Vec<_> = (0..width).map(|x| taps(side, width, x)).collect();
        let mut across = vec![0; width as usize * side as usize];
        across.par_chunks_mut(width.max(1) as usize).zip(map.par_chunks(side as usize)).for_each(
            |(out, values)| {
                let levels: Vec<f32> = values.iter().map(|value| f32::from(byte(value))).collect();
                for (out, (first, weights)) in out.iter_mut().zip(&columns) {
                    let sum: f32 = weights.iter().zip(&levels[*first..]).map(|(w, v)| w * v).sum();
                    *out = rounded(sum);
                }
            },
        );
        Ok(Self { width, height, rows: Rows::Map(across) })
    }

    /// One that is there already, a byte for each pixel.
    ///
    /// # Errors
    /// [`ImageError::WrongLength`] for another number of bytes.
    pub fn of_plane(plane: Vec<u8>, (width, height): (u32, u32)) -> Result<Self, ImageError> {
        let expected = width as usize * height as usize;
        if plane.len() != expected {
            return Err(ImageError::WrongLength { what: "the mask", expected, found: plane.len() });
        }
        Ok(Self { width, height, rows: Rows::Plane(plane) })
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Writes the subject's colours of part of row `y`, beginning with column `left`, from the photo's pixels there
    /// and their transparency; nothing where they are the photo's own.
    pub fn colours(&self, y: u32, left: u32, rgb: &[u8], alpha: &[u8], out: &mut [u8]) {
        if let Rows::Guided(guided, Some(colours)) = &self.rows {
            colours.write(guided, (y, left), self.size(), (rgb, alpha), out);
        }
    }

    /// Whether the subject's colours are others than the photo's.
    pub fn has_colours(&self) -> bool {
        matches!(&self.rows, Rows::Guided(_, Some(_)))
    }

    /// Writes part of row `y`, beginning with column `left`; `rgb` are the photo's pixels there.
    pub fn row(&self, y: u32, left: u32, rgb: &[u8], out: &mut [u8]) {
        let (width, start) = (self.width as usize, left as usize);
        match &self.rows {
            Rows::Guided(guided, _) => guided.write(y, left, self.size(), rgb, out),
            Rows::Plane(plane) => out.copy_from_slice(&plane[y as usize * width + start..][..out.len()]),
            Rows::Map(across) => {
                let side = (across.len() / width) as u32;
                let (first, weights) = taps(side, self.height, y);
                let rows: Vec<_> =
                    (first..).map(|row| &across[row * width + start..]).take(weights.len()).collect();
                for (n, out) in out.chunks_mut(BATCH).enumerate() {
                    let mut sums = [0.0_f32; BATCH];
                    for (weight, row) in weights.iter().zip(&rows) {
                        let row = &row[n * BATCH..][..out.len()];
                        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * f32::from(*value));
                    }
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = rounded(sum));
                }
            }
        }
    }
}

/// What a map's values are stretched from, and by how much.
fn stretch(map: &[f32]) -> (f32, f32) {
    let finite = map.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if high - low < SUBJECT_RANGE { (0.0, 1.0) } else { (low, high - low) }
}

/// 0 to 1; what is no number is background.
fn level(value: f32, from: f32, range: f32) -> f32 {
    let level = (value - from) / range;
    if level.is_nan() { 0.0 } else { level.clamp(0.0, 1.0) }
}

fn rounded(sum: f32) -> u8 {
    (sum + 0.5) as u8
}

/// The first of `from` values that one of `to` is made of, and what each adds to it.
fn taps(from: u32, to: u32, at: u32) -> (usize, Vec<f32>) {
    let scale = f64::from(from) / f64::from(to);
    // Scaled down, the filter is as much wider.
    let wide = scale.max(1.0);
    let centre = (f64::from(at) + 0.5) * scale;
    let first = (centre - LOBES * wide + 0.5).max(0.0) as usize;
    let end = ((centre + LOBES * wide + 0.5) as usize).min(from as usize);
    let weights: Vec<f64> = (first..end).map(|n| lanczos((n as f64 + 0.5 - centre) / wide)).collect();
    let sum: f64 = weights.iter().sum();
    (first, weights.into_iter().map(|weight| (weight / sum) as f32).collect())
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    if x.abs() < LOBES { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(mask: &Mask) -> Vec<u8> {
        let (width, height) = mask.size();
        let mut plane = vec![7; width as usize * height as usize];
        plane.chunks_exact_mut(width as usize).zip(0..).for_each(|(row, y)| mask.row(y, 0, &[], row));
        plane
    }

    fn of(map: &[f32], side: u32, size: (u32, u32)) -> Vec<u8> {
        plane(&Mask::of_map(map, side, size).expect("a square map"))
    }

    /// From Pillow 12: `Image.fromarray(a).resize((13, 7), Image.LANCZOS)`.
    #[test]
    fn a_map_is_enlarged_and_reduced_as_pillow_does_it() {
        let level = |x: usize, y: usize| match (x / 3 + y / 2) % 3 {
            0 => {
                if x > y {
                    255
                } else {
                    0
                }
            }
            _ => (x * x * 7 + 31 * y) % 256,
        };
        // Within its level, so that truncating it gives just that.
        let value = |level: usize| {
            if level == 255 { 255.0 } else { level as f32 + if level == 0 { 0.0 } else { 0.3 } }
        };
        let map: Vec<f32> = (0..81).map(|n| value(level(n % 9, n / 9))).collect();
        let found = of(&map, 9, (13, 7));
        let apart = found.iter().zip(PILLOW.concat()).map(|(a, b)| a.abs_diff(b)).max();
        assert_eq!(apart, Some(0), "{found:?}");
    }

    const PILLOW: [[u8; 13]; 7] = [
        [0, 90, 213, 255, 141, 52, 117, 160, 194, 175, 86, 128, 208],
        [29, 18, 51, 176, 145, 98, 155, 239, 199, 109, 152, 219, 242],
        [84, 89, 92, 88, 123, 188, 205, 100, 145, 255, 255, 255, 255],
        [136, 133, 159, 177, 63, 3, 22, 148, 165, 133, 227, 168, 68],
        [111, 111, 126, 132, 120, 81, 4, 15, 80, 159, 181, 126, 84],
        [0, 0, 0, 0, 97, 133, 63, 87, 192, 205, 42, 62, 169],
        [193, 204, 168, 30, 0, 43, 99, 162, 128, 47, 23, 26, 37],
    ];

    #[test]
    fn part_of_a_row_is_that_part() {
        let map: Vec<f32> = (0..25).map(|n| (n * 7 % 10) as f32 / 9.0).collect();
        let mask = Mask::of_map(&map, 5, (300, 40)).expect("a square map");
        let whole = plane(&mask);
        for (y, left, width) in [(0, 0, 300), (39, 299, 1), (7, 13, 0), (20, 60, 200)] {
            let mut part = vec![7; width];
            mask.row(y, left, &[], &mut part);
            assert_eq!(part, whole[(y * 300 + left) as usize..][..width]);
        }
    }

    #[test]
    fn any_photos_size_is_filled() {
        for size in [(1, 1), (1, 5000), (5000, 1), (64, 65)] {
            assert_eq!(of(&[0.0, 1.0, 0.0, 1.0], 2, size).len(), (size.0 * size.1) as usize);
        }
    }

    #[test]
    fn a_map_is_stretched_and_truncated_as_the_reference_does() {
        // 0.5 stretched is 127.5, 0.251 is 0.51.
        assert_eq!(of(&[0.25, 0.5, 0.75, 0.251], 2, (2, 2)), [0, 127, 255, 0]);
    }

    #[test]
    fn a_map_without_a_subject_is_left_as_it_is() {
        assert_eq!(of(&[0.01, 0.04, 0.02, 0.0], 2, (2, 2)), [2, 10, 5, 0]);
        assert_eq!(of(&[1.0, 0.98, 0.99, 1.0], 2, (2, 2)), [255, 249, 252, 255]);
        assert_eq!(of(&[f32::NAN; 4], 2, (2, 2)), [0; 4]);
        assert_eq!(of(&[f32::NAN, f32::INFINITY, 0.0, 1.0], 2, (2, 2)), [0, 255, 0, 255]);
    }

    #[test]
    fn a_map_or_a_plane_of_another_size_is_an_error() {
        let short = Mask::of_map(&[0.0; 3], 2, (9, 9));
        assert!(matches!(short, Err(ImageError::WrongLength { expected: 4, found: 3, .. })));
        let short = Mask::of_plane(vec![0; 3], (2, 2));
        assert!(matches!(short, Err(ImageError::WrongLength { expected: 4, found: 3, .. })));
    }
}
