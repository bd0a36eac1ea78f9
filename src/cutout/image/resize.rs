//! Changes of a picture's size: to the model and to a preview. A mask's is in [`super::mask`].
//!
//! Lanczos with three lobes throughout, in 8 bits, as Pillow does it: the models were trained and
//! are compared against pictures scaled that way.
//!
//! Pillow resizes rows first, columns second, and rounds and clips to 8 bits in between; the crate would
//! begin with the columns. At hard edges that is several levels apart, so each way is a call of its own.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};
use rayon::prelude::*;

use super::{decode::Photo, error::ImageError};

/// Parts of a photo that are scaled side by side.
const BANDS: usize = 16;

/// The photo as a square of `size` pixels a side, RGB, for the model. Transparency is left out:
/// the colours under it are taken as they are.
///
/// # Errors
/// [`ImageError::WrongLength`] for a photo whose buffer contradicts its size.
pub fn network_input(photo: &Photo, size: u32) -> Result<Vec<u8>, ImageError> {
    let (width, height) = (photo.width, photo.height);
    let row = width as usize * 3;
    let expected = row * height as usize;
    if photo.rgb.len() != expected || expected == 0 {
        let found = photo.rgb.len();
        return Err(ImageError::WrongLength { what: "the photo's colour", expected, found });
    }
    // Rows don't see each other on the way across. The crate's own threads would be 2.5 MB of code.
    let rows = (height as usize).div_ceil(BANDS);
    let mut across = vec![0; height as usize * size as usize * 3];
    photo.rgb.par_chunks(rows * row).zip(across.par_chunks_mut(rows * size as usize * 3)).try_for_each(
        |(band, out)| {
            let rows = (band.len() / row) as u32;
            out.copy_from_slice(&scale(band, (width, rows), (size, rows))?);
            Ok(())
        },
    )?;
    scale(&across, (size, height), (size, size))
}

/// How the bytes of a picture are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rgb,
    Rgba,
}

/// The same picture in another size. Transparent pixels lend no colour to their neighbours.
pub(super) fn resized(
    pixels: &[u8],
    kind: Kind,
    from: (u32, u32),
    to: (u32, u32),
) -> Result<Vec<u8>, ImageError> {
    if kind == Kind::Rgb {
        return scale(pixels, from, to);
    }
    // The crate's code for four values of a pixel is 0.7 MB, so transparency goes as a grey picture of its own.
    let pixels = pixels.as_chunks::<4>().0;
    // One after the other: they are as large as the photo.
    let scaled = |of: fn(&[u8; 4]) -> [u8; 3]| {
        let picture: Vec<[u8; 3]> = pixels.iter().map(of).collect();
        scale(picture.as_flattened(), from, to)
    };
    let seen = scaled(|[r, g, b, a]| [*r, *g, *b].map(|c| share(c, *a)))?;
    let grey = scaled(|[.., a]| [*a; 3])?;
    let colour = |c: u8, a: u8| match u32::from(a) {
        0 => 0,
        a => ((u32::from(c) * 255 + a / 2) / a).min(255) as u8,
    };
    let both = seen.as_chunks::<3>().0.iter().zip(grey.as_chunks::<3>().0);
    Ok(both.flat_map(|([r, g, b], [a, ..])| [colour(*r, *a), colour(*g, *a), colour(*b, *a), *a]).collect())
}

/// So much of a value, of 255.
fn share(value: u8, of: u8) -> u8 {
    ((u32::from(value) * u32::from(of) + 127) / 255) as u8
}

/// RGB8 in another size. The kind of pixel is known when this is compiled: the crate's call for kinds known only
/// later brings the code for all thirteen, five megabytes of it.
fn scale(pixels: &[u8], from: (u32, u32), to: (u32, u32)) -> Result<Vec<u8>, ImageError> {
    let bytes = size_of::<U8x3>();
    let expected = from.0 as usize * from.1 as usize * bytes;
    let found = pixels.len();
    if found != expected {
        return Err(ImageError::WrongLength { what: "the picture to resize", expected, found });
    }
    let failed = |reason: String| ImageError::Internal { step: "resizing", reason };
    let mut resized = vec![0; to.0 as usize * to.1 as usize * bytes];
    let source = TypedImageRef::<U8x3>::from_buffer(from.0, from.1, pixels)
        .map_err(|error| failed(error.to_string()))?;
    let mut target = TypedImage::<U8x3>::from_buffer(to.0, to.1, &mut resized)
        .map_err(|error| failed(error.to_string()))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|error| failed(error.to_string()))?;
    Ok(resized)
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    /// From Pillow 13: `Image.fromarray(a).resize((5, 5), Image.LANCZOS)`, with `a[y, x] = ((x * x + 31 * y) % 256,
    /// 255 if x % 7 < 3 else 0, 255 - 5 * x)` for 23 by 17 pixels.
    #[test]
    fn the_models_input_is_pillows_to_within_one_level() {
        let (width, height) = (23, 17);
        let pixel = |x: u32, y: u32| {
            [((x * x + 31 * y) % 256) as u8, if x % 7 < 3 { 255 } else { 0 }, (255 - 5 * x) as u8]
        };
        let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
        let photo = Photo { width, height, rgb, alpha: None, animated: false, profile_converted: false };
        let expected: Vec<u8> = PILLOW.concat();
        let found = network_input(&photo, 5).expect("resizes");
        assert!(fixtures::distance(&found, &expected) <= 1, "{found:?}");
    }

    const PILLOW: [[u8; 15]; 5] = [
        [36, 140, 246, 79, 107, 223, 166, 100, 200, 90, 121, 177, 141, 94, 154],
        [162, 140, 246, 194, 107, 223, 114, 100, 200, 125, 121, 177, 120, 94, 154],
        [140, 140, 246, 78, 107, 223, 123, 100, 200, 157, 121, 177, 133, 94, 154],
        [85, 140, 246, 147, 107, 223, 160, 100, 200, 112, 121, 177, 134, 94, 154],
        [207, 140, 246, 141, 107, 223, 74, 100, 200, 155, 121, 177, 118, 94, 154],
    ];

    #[test]
    fn extreme_shapes_become_squares() {
        for (width, height) in [(1, 1), (1, 5000), (5000, 1)] {
            let input = network_input(&fixtures::opaque(width, height), 320).expect("resizes");
            assert_eq!(input.len(), 320 * 320 * 3);
        }
    }

    #[test]
    fn a_buffer_of_another_size_is_an_error() {
        let mut photo = fixtures::opaque(4, 4);
        photo.rgb.pop();
        assert!(matches!(network_input(&photo, 2), Err(ImageError::WrongLength { .. })));
    }

    #[test]
    fn hidden_colour_does_not_bleed_into_what_is_seen() {
        // White and opaque beside green and transparent.
        let pixels = [[255, 255, 255, 255], [0, 255, 0, 0]].concat().repeat(32);
        let small = resized(&pixels, Kind::Rgba, (8, 8), (2, 2)).expect("resizes");
        assert!(small.as_chunks::<4>().0.iter().all(|[r, _, b, a]| *r > 250 && *b > 250 && *a > 90));
    }
}
