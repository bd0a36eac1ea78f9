//! A photo and its mask become the picture that was asked for, not yet encoded.
//!
//! Order: the photo's own transparency, crop, background, preview size. Each step makes the
//! next one smaller, and the photo's buffer is reused where the result allows it.

use crate::protocol::options::{Channels, Options, OutputFormat, OutputSize};

use super::{
    decode::Photo,
    error::ImageError,
    resize::{Kind, resized},
};

/// From this transparency on a pixel belongs to the subject's box: 5 % of 255.
const SUBJECT_ALPHA: u8 = 13;

/// Most pixels of a preview.
const PREVIEW_PIXELS: u64 = 250_000;

/// A finished picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The pixels, rows from the top, without padding.
    pub pixels: Pixels,
}

/// Pixels by what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pixels {
    /// Colour with straight transparency; colour is black where nothing is to be seen, which
    /// compresses well and gives away nothing of the background.
    Rgba(Vec<u8>),
    /// Opaque colour.
    Rgb(Vec<u8>),
    /// The mask alone.
    Grey(Vec<u8>),
}

/// Puts photo and mask together as the options ask.
///
/// `format=jpg` gets a background here, white unless one is asked for, as does `format=auto`
/// when nothing is transparent. With `channels=alpha` the background is of no concern.
///
/// # Errors
/// [`ImageError::WrongLength`] when `alpha` does not have one value for each of the photo's
/// pixels.
pub fn compose(photo: Photo, alpha: Vec<u8>, options: &Options) -> Result<Composed, ImageError> {
    let Photo { width, height, mut rgb, alpha: own, .. } = photo;
    let expected = width as usize * height as usize;
    for (what, found) in [
        ("the mask", alpha.len()),
        ("the photo's colour", rgb.len() / 3),
        ("the photo's transparency", own.as_ref().map_or(expected, Vec::len)),
    ] {
        if found != expected {
            return Err(ImageError::WrongLength { what, expected, found });
        }
    }
    let mut alpha = alpha;
    if let Some(own) = own {
        alpha.iter_mut().zip(own).for_each(|(a, own)| *a = times(*a, own));
    }
    let mut area = Area { left: 0, top: 0, width, height };
    if options.crop && let Some(subject) = subject_box(&alpha, width) {
        cut::<1>(&mut alpha, width, subject);
        cut::<3>(&mut rgb, width, subject);
        area = subject;
    }
    let pixels = if options.channels == Channels::Alpha {
        Pixels::Grey(alpha)
    } else if let Some(background) = background(&alpha, options) {
        blend(&mut rgb, &alpha, background);
        Pixels::Rgb(rgb)
    } else {
        Pixels::Rgba(interleave(&rgb, &alpha))
    };
    let full = Composed { width: area.width, height: area.height, pixels };
    match options.size {
        OutputSize::Full => Ok(full),
        OutputSize::Preview => shrink(full),
    }
}

/// What is to be put behind the subject, if anything.
fn background(alpha: &[u8], options: &Options) -> Option<[u8; 3]> {
    const WHITE: [u8; 3] = [255; 3];
    let opaque = match options.format {
        OutputFormat::Jpg => true,
        OutputFormat::Auto => alpha.iter().all(|a| *a == 255),
        OutputFormat::Png | OutputFormat::Webp => false,
    };
    options.bg_color.or(opaque.then_some(WHITE))
}

/// `a × b / 255`, rounded to the nearest.
pub(super) fn times(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    ((product + (product >> 8)) >> 8) as u8
}

/// In 8 bits and without gamma, as browsers and image editors blend.
fn blend(rgb: &mut [u8], alpha: &[u8], background: [u8; 3]) {
    for (pixel, a) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(alpha) {
        let a = u32::from(*a);
        for (channel, behind) in pixel.iter_mut().zip(background) {
            let sum = u32::from(*channel) * a + u32::from(behind) * (255 - a) + 128;
            *channel = ((sum + (sum >> 8)) >> 8) as u8;
        }
    }
}

fn interleave(rgb: &[u8], alpha: &[u8]) -> Vec<u8> {
    let mut rgba = vec![0; alpha.len() * 4];
    let pairs = rgb.as_chunks::<3>().0.iter().zip(alpha);
    for (pixel, ([r, g, b], a)) in rgba.as_chunks_mut::<4>().0.iter_mut().zip(pairs) {
        *pixel = if *a == 0 { [0; 4] } else { [*r, *g, *b, *a] };
    }
    rgba
}

/// A rectangle of the photo, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Area {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

/// The smallest box around everything that is at least 5 % opaque; `None` when nothing is, and
/// the picture is better kept whole.
fn subject_box(alpha: &[u8], width: u32) -> Option<Area> {
    let seen = |a: &u8| *a >= SUBJECT_ALPHA;
    let rows = || alpha.chunks_exact(width as usize);
    let top = rows().position(|row| row.iter().any(seen))?;
    let bottom = rows().rposition(|row| row.iter().any(seen))?;
    let (mut left, mut right) = (width as usize, 0);
    for row in rows() {
        if let Some(first) = row.iter().position(seen) {
            left = left.min(first);
        }
        if let Some(last) = row.iter().rposition(seen) {
            right = right.max(last);
        }
    }
    Some(Area {
        left: left as u32,
        top: top as u32,
        width: (right + 1 - left) as u32,
        height: (bottom + 1 - top) as u32,
    })
}

/// Keeps only `area` of rows of `width` pixels of `N` bytes, in place: what is kept only ever
/// moves towards the front.
fn cut<const N: usize>(pixels: &mut Vec<u8>, width: u32, area: Area) {
    let row = area.width as usize * N;
    for y in 0..area.height as usize {
        let from = ((area.top as usize + y) * width as usize + area.left as usize) * N;
        pixels.copy_within(from..from + row, y * row);
    }
    pixels.truncate(row * area.height as usize);
}

/// At most [`PREVIEW_PIXELS`], never enlarged.
fn shrink(full: Composed) -> Result<Composed, ImageError> {
    let from = (full.width, full.height);
    let Some((width, height)) = preview_size(from) else { return Ok(full) };
    let resize = |pixels: &[u8], kind| resized(pixels, kind, from, (width, height));
    let pixels = match &full.pixels {
        Pixels::Rgba(pixels) => Pixels::Rgba(resize(pixels, Kind::Rgba)?),
        Pixels::Rgb(pixels) => Pixels::Rgb(resize(pixels, Kind::Rgb)?),
        Pixels::Grey(pixels) => Pixels::Grey(resize(pixels, Kind::Grey)?),
    };
    Ok(Composed { width, height, pixels })
}

fn preview_size((width, height): (u32, u32)) -> Option<(u32, u32)> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels <= PREVIEW_PIXELS {
        return None;
    }
    let factor = (PREVIEW_PIXELS as f64 / pixels as f64).sqrt();
    let side = |full: u32| ((f64::from(full) * factor) as u32).max(1);
    let width = side(width);
    // A side that was held at one pixel leaves less for the other.
    let longest = (PREVIEW_PIXELS / u64::from(width)) as u32;
    Some((width, side(height).min(longest)))
}
