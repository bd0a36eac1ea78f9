//! A photo and its mask become the picture that was asked for, not yet encoded.
//!
//! Order: the photo's own transparency, crop, background, preview size. Each step makes the
//! next one smaller, and the photo's buffer is reused where the result allows it.

use crate::protocol::options::{Channels, Options, OutputFormat, OutputSize};

use super::{
    crop::{Area, cut, subject_box},
    decode::Photo,
    error::ImageError,
    resize::{Kind, resized},
};

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
    if options.crop
        && let Some(subject) = subject_box(&alpha, width)
    {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::fixtures, *};

    fn photo(width: u32, height: u32, alpha: Option<Vec<u8>>) -> Photo {
        let rgb = fixtures::scene(width, height);
        Photo { width, height, rgb, alpha, animated: false, profile_converted: false }
    }

    fn options(text: &str) -> Options {
        let pairs = text.split_terminator('&').filter_map(|pair| pair.split_once('='));
        Options::from_pairs(pairs).expect("good options")
    }

    fn composed(text: &str, own: Option<Vec<u8>>, alpha: Vec<u8>) -> Pixels {
        compose(photo(2, 2, own), alpha, &options(text)).expect("composes").pixels
    }

    #[test]
    fn the_photos_transparency_and_the_masks_multiply() {
        let own = vec![255, 128, 0, 255];
        let Pixels::Rgba(rgba) = composed("", Some(own), vec![255, 128, 255, 0]) else {
            panic!("no transparency");
        };
        let alpha: Vec<u8> = rgba.as_chunks::<4>().0.iter().map(|[.., a]| *a).collect();
        assert_eq!(alpha, [255, 64, 0, 0]);
        assert_eq!(rgba[8..], [0; 8], "what nobody sees is black");
        assert_eq!(rgba[4..8], [255, 0, 90, 64], "and what is seen keeps its colour");
    }

    #[test]
    fn a_background_is_blended_in_eight_bits() {
        let alpha = vec![255, 0, 128, 0];
        let on_blue = composed("bg_color=0000ff", None, alpha.clone());
        assert_eq!(on_blue, Pixels::Rgb(vec![0, 0, 90, 0, 0, 255, 0, 128, 172, 0, 0, 255]));
        let Pixels::Rgb(white) = composed("format=jpg", None, alpha.clone()) else { panic!() };
        assert_eq!(white[3..6], [255; 3]);
        let masked = composed("channels=alpha&bg_color=0000ff", None, alpha.clone());
        assert_eq!(masked, Pixels::Grey(alpha.clone()));
        assert!(matches!(composed("format=auto", None, alpha), Pixels::Rgba(_)));
        assert!(matches!(composed("format=auto", None, vec![255; 4]), Pixels::Rgb(_)));
    }

    #[test]
    fn a_crop_takes_the_subject_and_keeps_its_pixels() {
        let mut alpha = vec![12; 6 * 5];
        alpha[2 * 6 + 1] = 13;
        alpha[3 * 6 + 4] = 255;
        let cut = compose(photo(6, 5, None), alpha, &options("crop=true")).expect("composes");
        assert_eq!((cut.width, cut.height), (4, 2));
        let Pixels::Rgba(rgba) = cut.pixels else { panic!("no transparency") };
        assert_eq!(rgba[3], 13);
        assert_eq!(rgba[28..], [204, 191, 90, 255]);
        let nothing = compose(photo(6, 5, None), vec![12; 30], &options("crop=true"));
        let nothing = nothing.expect("composes");
        assert_eq!((nothing.width, nothing.height), (6, 5), "nothing to crop to");
    }

    #[test]
    fn a_preview_is_small_and_keeps_its_shape() {
        let whole = photo(1000, 600, None);
        let small = compose(whole, vec![255; 600_000], &options("size=preview")).expect("composes");
        assert_eq!((small.width, small.height), (645, 387));
        assert_eq!(preview_size((500, 500)), None);
        assert_eq!(preview_size((1, 65_535)), None);
        assert_eq!(preview_size((1, 1_000_000)), Some((1, 250_000)));
    }

    #[test]
    fn buffers_that_do_not_match_are_an_error() {
        let wrong = compose(photo(2, 2, None), vec![0; 3], &Options::default());
        assert!(matches!(wrong, Err(ImageError::WrongLength { expected: 4, found: 3, .. })));
        let wrong = compose(photo(2, 2, Some(vec![0])), vec![0; 4], &Options::default());
        assert!(matches!(wrong, Err(ImageError::WrongLength { expected: 4, found: 1, .. })));
    }

    proptest! {
        // Unoptimised, the largest of these pictures take a while.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn whatever_is_asked_the_pixels_fill_the_size_within_the_photos(
            (width, height) in prop_oneof![(1u32..40, 1u32..40), (1u32..3, 240_000u32..260_000)],
            format in prop::sample::select(vec!["png", "webp", "jpg", "auto"]),
            rest in prop::sample::subsequence(
                vec!["&crop=true", "&size=preview", "&channels=alpha", "&bg_color=123456"], 0..=4),
            level in 0u8..=255,
            own in any::<bool>(),
        ) {
            let pixels = (width * height) as usize;
            let alpha: Vec<u8> = (0..pixels).map(|n| if n % 3 == 0 { level } else { 0 }).collect();
            let own = own.then(|| vec![77; pixels]);
            let options = options(&format!("format={format}{}", rest.concat()));
            let Composed { width: w, height: h, pixels } =
                compose(photo(width, height, own), alpha, &options).expect("composes");
            prop_assert!((1..=width).contains(&w) && (1..=height).contains(&h));
            let area = w as usize * h as usize;
            if options.size == OutputSize::Preview {
                prop_assert!(area as u64 <= PREVIEW_PIXELS);
            }
            match pixels {
                Pixels::Rgba(bytes) => prop_assert_eq!(bytes.len(), area * 4),
                Pixels::Rgb(bytes) => prop_assert_eq!(bytes.len(), area * 3),
                Pixels::Grey(bytes) => prop_assert_eq!(bytes.len(), area),
            }
        }
    }
}
