//! A photo and its mask become the picture that was asked for, not yet encoded.
//!
//! Order: the photo's own transparency, crop, preview size, background. Nothing is copied for it: the
//! picture's rows are made when an encoder asks for them.

use warmcut_png::Colour;

use crate::protocol::options::{Channels, Options, OutputFormat, OutputSize};

use super::{
    crop::{Area, subject_box},
    decode::Photo,
    error::ImageError,
    resize::{Kind, resized},
};

/// Most pixels of a preview.
const PREVIEW_PIXELS: u64 = 250_000;

const WHITE: [u8; 3] = [255; 3];

/// A finished picture, each row of which is made when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    rgb: Vec<u8>,
    alpha: Vec<u8>,
    /// Pixels of a row of both.
    stride: u32,
    /// What of them is the picture.
    area: Area,
    look: Look,
}

/// What is to be seen of a photo and its mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Colour with straight transparency; colour is black where nothing is to be seen, which
    /// compresses well and gives away nothing of the background.
    Cutout,
    /// Opaque, over a colour.
    Over([u8; 3]),
    /// The mask alone.
    Mask,
}

/// The photo no larger than it will be seen: a preview of the whole needs a fiftieth of a phone's pixels.
///
/// A photo with transparency or one to be cropped stays as it is: its colours have to be weighed by what
/// can be seen of them, and which part of it counts is known only by its mask.
///
/// # Errors
/// [`ImageError::WrongLength`] for a photo whose buffer contradicts its size.
pub fn as_seen(photo: Photo, options: &Options) -> Result<Photo, ImageError> {
    let from = (photo.width, photo.height);
    match preview_size(from) {
        Some((width, height))
            if options.size == OutputSize::Preview && !options.crop && photo.alpha.is_none() =>
        {
            let rgb = resized(&photo.rgb, Kind::Rgb, from, (width, height))?;
            Ok(Photo { width, height, rgb, ..photo })
        }
        _ => Ok(photo),
    }
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
    let Photo { width, height, rgb, alpha: own, .. } = photo;
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
        area = subject;
    }
    let mut picture = Composed { rgb, alpha, stride: width, area, look: Look::Cutout };
    if options.size == OutputSize::Preview
        && let Some(size) = preview_size((area.width, area.height))
    {
        picture = picture.shrunk(size)?;
    }
    picture.look = match (options.channels, options.bg_color) {
        (Channels::Alpha, _) => Look::Mask,
        (_, Some(colour)) => Look::Over(colour),
        (_, None) => match options.format {
            OutputFormat::Jpg => Look::Over(WHITE),
            OutputFormat::Auto if picture.is_opaque() => Look::Over(WHITE),
            _ => Look::Cutout,
        },
    };
    Ok(picture)
}

impl Composed {
    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.area.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.area.height
    }

    /// What a pixel holds.
    pub fn colour(&self) -> Colour {
        match self.look {
            Look::Cutout => Colour::Rgba,
            Look::Over(_) => Colour::Rgb,
            Look::Mask => Colour::Grey,
        }
    }

    /// Whether nothing can be seen through; of a mask, whether it is full.
    pub fn is_opaque(&self) -> bool {
        let full = |y| self.at(y, 1, &self.alpha).iter().all(|a| *a == 255);
        matches!(self.look, Look::Over(_)) || (0..self.height()).all(full)
    }

    /// Writes row `y`, as many bytes as it has pixels times those of a pixel.
    pub fn row(&self, y: u32, out: &mut [u8]) {
        let (rgb, alpha) = (self.at(y, 3, &self.rgb), self.at(y, 1, &self.alpha));
        let pixels = rgb.as_chunks::<3>().0.iter().zip(alpha);
        match self.look {
            Look::Cutout => {
                for (out, ([r, g, b], a)) in out.as_chunks_mut::<4>().0.iter_mut().zip(pixels) {
                    *out = if *a == 0 { [0; 4] } else { [*r, *g, *b, *a] };
                }
            }
            Look::Over(colour) => {
                for (out, (pixel, a)) in out.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
                    *out = over(*pixel, *a, colour);
                }
            }
            Look::Mask => out.copy_from_slice(alpha),
        }
    }

    /// All rows, without padding, for who needs them at once.
    pub fn into_pixels(mut self) -> Vec<u8> {
        let row = self.width() as usize * self.colour().bytes();
        let length = row * self.height() as usize;
        if let Look::Over(colour) = self.look
            && self.rgb.len() == length
        {
            // Of a whole photo, the colours take as much room as the picture's: no second buffer is needed.
            for (pixel, a) in self.rgb.as_chunks_mut::<3>().0.iter_mut().zip(&self.alpha) {
                *pixel = over(*pixel, *a, colour);
            }
            return self.rgb;
        }
        let mut pixels = vec![0; length];
        pixels.chunks_exact_mut(row).zip(0..).for_each(|(out, y)| self.row(y, out));
        pixels
    }

    /// Row `y` of the picture in a buffer of so many bytes a pixel.
    fn at<'a>(&self, y: u32, bytes: usize, buffer: &'a [u8]) -> &'a [u8] {
        let start = (self.area.top + y) as usize * self.stride as usize + self.area.left as usize;
        &buffer[start * bytes..][..self.area.width as usize * bytes]
    }

    /// The same in another size. Transparent pixels lend no colour to their neighbours.
    fn shrunk(self, (width, height): (u32, u32)) -> Result<Self, ImageError> {
        let from = (self.width(), self.height());
        let rgba = resized(&self.into_pixels(), Kind::Rgba, from, (width, height))?;
        let pixels = rgba.as_chunks::<4>().0;
        Ok(Self {
            rgb: pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect(),
            alpha: pixels.iter().map(|[.., a]| *a).collect(),
            stride: width,
            area: Area { left: 0, top: 0, width, height },
            look: Look::Cutout,
        })
    }
}

/// `a × b / 255`, rounded to the nearest.
pub(super) fn times(a: u8, b: u8) -> u8 {
    part(u32::from(a) * u32::from(b))
}

/// `sum / 255`, rounded to the nearest; at most 255².
fn part(sum: u32) -> u8 {
    let sum = sum + 128;
    ((sum + (sum >> 8)) >> 8) as u8
}

/// In 8 bits and without gamma, as browsers and image editors blend.
fn over(pixel: [u8; 3], alpha: u8, colour: [u8; 3]) -> [u8; 3] {
    let a = u32::from(alpha);
    std::array::from_fn(|channel| {
        part(u32::from(pixel[channel]) * a + u32::from(colour[channel]) * (255 - a))
    })
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

    use super::{
        super::fixtures::{self, options},
        *,
    };

    fn photo(width: u32, height: u32, alpha: Option<Vec<u8>>) -> Photo {
        Photo { alpha, ..fixtures::opaque(width, height) }
    }

    /// Bytes of a pixel, and all of them.
    fn composed(text: &str, own: Option<Vec<u8>>, alpha: Vec<u8>) -> (usize, Vec<u8>) {
        let picture = compose(photo(2, 2, own), alpha, &options(text)).expect("composes");
        let rows: Vec<u8> = (0..2)
            .flat_map(|y| {
                let mut row = vec![7; 2 * picture.colour().bytes()];
                picture.row(y, &mut row);
                row
            })
            .collect();
        let bytes = picture.colour().bytes();
        assert_eq!(picture.into_pixels(), rows);
        (bytes, rows)
    }

    #[test]
    fn the_photos_transparency_and_the_masks_multiply() {
        let own = vec![255, 128, 0, 255];
        let (4, rgba) = composed("", Some(own), vec![255, 128, 255, 0]) else {
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
        assert_eq!(on_blue, (3, vec![0, 0, 90, 0, 0, 255, 0, 128, 172, 0, 0, 255]));
        let (3, white) = composed("format=jpg", None, alpha.clone()) else { panic!() };
        assert_eq!(white[3..6], [255; 3]);
        let masked = composed("channels=alpha&bg_color=0000ff", None, alpha.clone());
        assert_eq!(masked, (1, alpha.clone()));
        assert_eq!(composed("format=auto", None, alpha).0, 4);
        assert_eq!(composed("format=auto", None, vec![255; 4]).0, 3);
    }

    #[test]
    fn a_crop_takes_the_subject_and_keeps_its_pixels() {
        let mut alpha = vec![12; 6 * 5];
        alpha[2 * 6 + 1] = 13;
        alpha[3 * 6 + 4] = 255;
        let cut = compose(photo(6, 5, None), alpha, &options("crop=true")).expect("composes");
        assert_eq!((cut.width(), cut.height(), cut.colour()), (4, 2, Colour::Rgba));
        let rgba = cut.into_pixels();
        assert_eq!(rgba[3], 13);
        assert_eq!(rgba[28..], [204, 191, 90, 255]);
        let nothing = compose(photo(6, 5, None), vec![12; 30], &options("crop=true"));
        let nothing = nothing.expect("composes");
        assert_eq!((nothing.width(), nothing.height()), (6, 5), "nothing to crop to");
    }

    #[test]
    fn a_preview_is_small_and_keeps_its_shape() {
        let whole = photo(1000, 600, None);
        let small = compose(whole, vec![255; 600_000], &options("size=preview")).expect("composes");
        assert_eq!((small.width(), small.height()), (645, 387));
        assert_eq!(preview_size((500, 500)), None);
        assert_eq!(preview_size((1, 65_535)), None);
        assert_eq!(preview_size((1, 1_000_000)), Some((1, 250_000)));
    }

    #[test]
    fn a_preview_is_made_of_a_small_photo_unless_transparency_or_a_crop_is_in_the_way() {
        let seen = |own: Option<Vec<u8>>, text: &str| {
            let seen = as_seen(photo(1000, 600, own), &options(text)).expect("shrinks");
            (seen.width, seen.height, seen.rgb.len())
        };
        assert_eq!(seen(None, "size=preview"), (645, 387, 645 * 387 * 3));
        let whole = (1000, 600, 1_800_000);
        assert_eq!(seen(None, ""), whole);
        assert_eq!(seen(None, "size=preview&crop=true"), whole);
        assert_eq!(seen(Some(vec![255; 600_000]), "size=preview"), whole);
        let small = as_seen(photo(30, 20, None), &options("size=preview")).expect("stays");
        assert_eq!((small.width, small.height), (30, 20), "never enlarged");
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
            let picture = compose(photo(width, height, own), alpha, &options).expect("composes");
            let (w, h, colour) = (picture.width(), picture.height(), picture.colour());
            prop_assert!((1..=width).contains(&w) && (1..=height).contains(&h));
            let area = w as usize * h as usize;
            if options.size == OutputSize::Preview {
                prop_assert!(area as u64 <= PREVIEW_PIXELS);
            }
            let mut rows = vec![0; area * colour.bytes()];
            let row = w as usize * colour.bytes();
            rows.chunks_exact_mut(row).zip(0..).for_each(|(out, y)| picture.row(y, out));
            prop_assert!(picture.into_pixels() == rows);
        }
    }
}
