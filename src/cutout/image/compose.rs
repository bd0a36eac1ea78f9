//! A photo and its mask become the picture that was asked for, not yet encoded.
//!
//! Order: the photo's own transparency, crop, preview size, background. Nothing is copied for it: the
//! picture's rows are made when an encoder asks for them.

use std::borrow::Cow;

use rayon::prelude::*;
use warmcut_png::Colour;

use crate::protocol::options::{Channels, Options, OutputFormat, OutputSize};

use super::{
    crop::{Area, subject_box},
    decode::Photo,
    error::ImageError,
    mask::Mask,
    resize::{Kind, resized},
};

/// Most pixels of a preview.
const PREVIEW_PIXELS: u64 = 250_000;

const WHITE: [u8; 3] = [255; 3];

/// A finished picture, each row of which is made when it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Composed {
    rgb: Vec<u8>,
    mask: Mask,
    /// The photo's own transparency.
    own: Option<Vec<u8>>,
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

/// Puts photo and mask together as the options ask.
///
/// `format=jpg` gets a background here, white unless one is asked for, as does `format=auto`
/// when nothing is transparent. With `channels=alpha` the background is of no concern.
///
/// # Errors
/// [`ImageError::WrongLength`] when the mask is not of the photo's size.
pub fn compose(photo: Photo, mask: Mask, options: &Options) -> Result<Composed, ImageError> {
    let Photo { width, height, rgb, alpha: own, .. } = photo;
    let pixels = |(width, height): (u32, u32)| width as usize * height as usize;
    let expected = pixels((width, height));
    if mask.size() != (width, height) {
        return Err(ImageError::WrongLength { what: "the mask", expected, found: pixels(mask.size()) });
    }
    for (what, found) in [
        ("the photo's colour", rgb.len() / 3),
        ("the photo's transparency", own.as_ref().map_or(expected, Vec::len)),
    ] {
        if found != expected {
            return Err(ImageError::WrongLength { what, expected, found });
        }
    }
    let area = Area { left: 0, top: 0, width, height };
    let mut picture = Composed { rgb, mask, own, area, look: Look::Cutout };
    if options.crop
        && let Some(subject) = subject_box(height, |y| picture.alpha(y))
    {
        picture.area = subject;
    }
    if options.size == OutputSize::Preview
        && let Some(size) = preview_size((picture.width(), picture.height()))
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
        let full = |y| self.alpha(y).iter().all(|a| *a == 255);
        matches!(self.look, Look::Over(_)) || (0..self.height()).into_par_iter().all(full)
    }

    /// Row `y` of its transparency.
    fn alpha(&self, y: u32) -> Vec<u8> {
        self.with_own(y, self.masked(y, self.at(y, 3, &self.rgb)))
    }

    /// Row `y` of the mask, of the photo's pixels there.
    fn masked(&self, y: u32, rgb: &[u8]) -> Vec<u8> {
        let mut alpha = vec![0; self.width() as usize];
        self.mask.row(self.area.top + y, self.area.left, rgb, &mut alpha);
        alpha
    }

    /// A row of the mask with the photo's own transparency.
    fn with_own(&self, y: u32, mut alpha: Vec<u8>) -> Vec<u8> {
        if let Some(own) = &self.own {
            alpha.iter_mut().zip(self.at(y, 1, own)).for_each(|(a, own)| *a = times(*a, *own));
        }
        alpha
    }

    /// Writes row `y`, as many bytes as it has pixels times those of a pixel.
    pub fn row(&self, y: u32, out: &mut [u8]) {
        self.made(y, self.at(y, 3, &self.rgb), out);
    }

    /// The same of the photo's pixels there.
    fn made(&self, y: u32, rgb: &[u8], out: &mut [u8]) {
        let mask = self.masked(y, rgb);
        let rgb = self.seen(y, rgb, &mask);
        let alpha = self.with_own(y, mask);
        let pixels = rgb.as_chunks::<3>().0.iter().zip(&alpha);
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
            Look::Mask => out.copy_from_slice(&alpha),
        }
    }

    /// The subject's colours of row `y` of the photo, where the mask is this. The photo's own transparency has no part
    /// in it: nothing of another colour is mixed in for that.
    fn seen<'a>(&self, y: u32, rgb: &'a [u8], mask: &[u8]) -> Cow<'a, [u8]> {
        if self.look == Look::Mask || !self.mask.has_colours() {
            return Cow::Borrowed(rgb);
        }
        let mut seen = vec![0; rgb.len()];
        self.mask.colours(self.area.top + y, self.area.left, rgb, mask, &mut seen);
        Cow::Owned(seen)
    }

    /// All rows, without padding, for who needs them at once.
    pub fn into_pixels(mut self) -> Vec<u8> {
        let row = self.width() as usize * self.colour().bytes();
        let length = row * self.height() as usize;
        if matches!(self.look, Look::Over(_)) && self.rgb.len() == length {
            // Of a whole photo, the colours take as much room as the picture's: no second buffer is needed.
            let mut rgb = std::mem::take(&mut self.rgb);
            rgb.par_chunks_exact_mut(row).zip(0..self.height()).for_each(|(row, y)| {
                let photo = row.to_vec();
                self.made(y, &photo, row);
            });
            return rgb;
        }
        let mut pixels = vec![0; length];
        pixels.par_chunks_exact_mut(row).zip(0..self.height()).for_each(|(out, y)| self.row(y, out));
        pixels
    }

    /// Row `y` of the picture in a buffer of so many bytes a pixel.
    fn at<'a>(&self, y: u32, bytes: usize, buffer: &'a [u8]) -> &'a [u8] {
        let stride = self.mask.size().0 as usize;
        let start = (self.area.top + y) as usize * stride + self.area.left as usize;
        &buffer[start * bytes..][..self.area.width as usize * bytes]
    }

    /// The same in another size. Transparent pixels lend no colour to their neighbours.
    fn shrunk(self, (width, height): (u32, u32)) -> Result<Self, ImageError> {
        let from = (self.width(), self.height());
        let rgba = resized(&self.into_pixels(), Kind::Rgba, from, (width, height))?;
        let pixels = rgba.as_chunks::<4>().0;
        Ok(Self {
            rgb: pixels.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect(),
            mask: Mask::of_plane(pixels.iter().map(|[.., a]| *a).collect(), (width, height))?,
            own: None,
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

pub(super) fn preview_size((width, height): (u32, u32)) -> Option<(u32, u32)> {
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
mod edged;
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

    fn composed_of(photo: Photo, alpha: Vec<u8>, text: &str) -> Composed {
        let mask = Mask::of_plane(alpha, (photo.width, photo.height)).expect("as many");
        compose(photo, mask, &options(text)).expect("composes")
    }

    /// Bytes of a pixel, and all of them.
    fn composed(text: &str, own: Option<Vec<u8>>, alpha: Vec<u8>) -> (usize, Vec<u8>) {
        let picture = composed_of(photo(2, 2, own), alpha, text);
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
        let cut = composed_of(photo(6, 5, None), alpha, "crop=true");
        assert_eq!((cut.width(), cut.height(), cut.colour()), (4, 2, Colour::Rgba));
        let rgba = cut.into_pixels();
        assert_eq!(rgba[3], 13);
        assert_eq!(rgba[28..], [204, 191, 90, 255]);
        let nothing = composed_of(photo(6, 5, None), vec![12; 30], "crop=true");
        assert_eq!((nothing.width(), nothing.height()), (6, 5), "nothing to crop to");
    }

    #[test]
    fn a_preview_is_small_and_keeps_its_shape() {
        let whole = photo(1000, 600, None);
        let small = composed_of(whole, vec![255; 600_000], "size=preview");
        assert_eq!((small.width(), small.height()), (645, 387));
        assert_eq!(preview_size((500, 500)), None);
        assert_eq!(preview_size((1, 65_535)), None);
        assert_eq!(preview_size((1, 1_000_000)), Some((1, 250_000)));
    }

    #[test]
    fn buffers_that_do_not_match_are_an_error() {
        let mask = |size: (u32, u32)| {
            Mask::of_plane(vec![0; (size.0 * size.1) as usize], size).expect("as long as its size says")
        };
        for size in [(3, 1), (1, 4)] {
            let wrong = compose(photo(2, 2, None), mask(size), &Options::default());
            assert!(matches!(wrong, Err(ImageError::WrongLength { .. })), "{wrong:?}");
        }
        let wrong = compose(photo(2, 2, Some(vec![0])), mask((2, 2)), &Options::default());
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
            let mask = Mask::of_plane(alpha, (width, height)).expect("as many");
            let picture = compose(photo(width, height, own), mask, &options).expect("composes");
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
