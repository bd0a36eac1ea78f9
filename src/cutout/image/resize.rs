//! Every change of size: to the model, from the model, and to a preview.
//!
//! Lanczos with three lobes throughout, in 8 bits, as Pillow does it: the models were trained and
//! are compared against pictures scaled that way, and a mask scaled another way has other edges.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};

use super::{decode::Photo, error::ImageError};

/// A map whose values lie closer together than this shows no subject: it is taken as it is.
/// Stretched, the noise of an empty wall would become a cutout.
pub const SUBJECT_RANGE: f32 = 0.05;

/// The photo as a square of `size` pixels a side, RGB, for the model. Transparency is left out:
/// the colours under it are taken as they are.
///
/// # Errors
/// [`ImageError::WrongLength`] for a photo whose buffer contradicts its size.
pub fn network_input(photo: &Photo, size: u32) -> Result<Vec<u8>, ImageError> {
    across_then_down(&photo.rgb, PixelType::U8x3, (photo.width, photo.height), (size, size))
}

/// The model's map, `map_size` values a side, as transparency for a photo of `width` by `height`.
///
/// The values are stretched from their minimum and maximum to 0..=255, unless they lie within
/// [`SUBJECT_RANGE`]; what is no number counts as background.
///
/// # Errors
/// [`ImageError::WrongLength`] for a map that is not `map_size` squared.
pub fn mask_to_alpha(
    map: &[f32],
    map_size: u32,
    width: u32,
    height: u32,
) -> Result<Vec<u8>, ImageError> {
    let finite = map.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
    let (from, range) = if high - low < SUBJECT_RANGE { (0.0, 1.0) } else { (low, high - low) };
    // The cast truncates as the reference does, takes out-of-range values to the nearest end and
    // NaN to zero.
    let levels: Vec<u8> = map.iter().map(|value| ((value - from) / range * 255.0) as u8).collect();
    across_then_down(&levels, PixelType::U8, (map_size, map_size), (width, height))
}

/// How the bytes of a picture are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Grey,
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
    let kind = match kind {
        Kind::Grey => PixelType::U8,
        Kind::Rgb => PixelType::U8x3,
        Kind::Rgba => PixelType::U8x4,
    };
    scale(pixels, kind, from, to)
}

/// Pillow resizes rows first, columns second, and rounds and clips to 8 bits in between; the
/// crate would begin with the columns. At hard edges that is several levels apart.
fn across_then_down(
    pixels: &[u8],
    kind: PixelType,
    from: (u32, u32),
    to: (u32, u32),
) -> Result<Vec<u8>, ImageError> {
    let rows = scale(pixels, kind, from, (to.0, from.1))?;
    scale(&rows, kind, (to.0, from.1), to)
}

fn scale(
    pixels: &[u8],
    kind: PixelType,
    from: (u32, u32),
    to: (u32, u32),
) -> Result<Vec<u8>, ImageError> {
    let expected = from.0 as usize * from.1 as usize * kind.size();
    let found = pixels.len();
    if found != expected {
        return Err(ImageError::WrongLength { what: "the picture to resize", expected, found });
    }
    let failed = |reason: String| ImageError::Internal { step: "resizing", reason };
    let source =
        ImageRef::new(from.0, from.1, pixels, kind).map_err(|error| failed(error.to_string()))?;
    let mut target = Image::new(to.0, to.1, kind);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .use_alpha(kind == PixelType::U8x4);
    Resizer::new()
        .resize(&source, &mut target, &options)
        .map_err(|error| failed(error.to_string()))?;
    Ok(target.into_vec())
}
