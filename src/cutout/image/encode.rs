//! A finished picture as a file: untagged sRGB, which every browser and printer takes untagged
//! files for, and no metadata of the photo, so that no place or camera leaves with it.

use warmcut_png::{Colour, Header};

use crate::protocol::options::{DEFAULT_QUALITY, Options, OutputFormat};

use super::{compose::Composed, error::ImageError};

/// Longest side that WebP can hold.
const WEBP_SIDE: u32 = 16_383;

/// Longest side of a JPEG that is read everywhere: libjpeg's limit, a little under the format's.
const JPEG_SIDE: u32 = 65_500;

/// libwebp's effort, 0..=6. Its default 4 takes 1.5 times as long for 4 % fewer bytes.
const WEBP_METHOD: i32 = 2;

/// The same for lossless WebP, 0..=100. 40 takes half as long again, for 15 % fewer bytes.
const WEBP_LOSSLESS_EFFORT: f32 = 20.0;

/// A cutout's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub mime: &'static str,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Encodes as the options ask.
///
/// `auto` is `jpg` when nothing is transparent, else `png`; a mask counts as transparent where it
/// is not full, so that a mask is only lossy when there is nothing in it to lose.
///
/// # Errors
/// [`ImageError::TooLargeForFormat`], and [`ImageError::Internal`] for an encoder's failure.
pub fn encode(picture: Composed, options: &Options) -> Result<Encoded, ImageError> {
    let quality = options.quality.unwrap_or(DEFAULT_QUALITY);
    let (width, height) = (picture.width(), picture.height());
    let (bytes, mime) = match options.format {
        OutputFormat::Png => (png(&picture)?, "image/png"),
        OutputFormat::Webp => (webp(picture, quality)?, "image/webp"),
        OutputFormat::Jpg => (jpeg(picture, quality)?, "image/jpeg"),
        OutputFormat::Auto if picture.is_opaque() => (jpeg(picture, quality)?, "image/jpeg"),
        OutputFormat::Auto => (png(&picture)?, "image/png"),
    };
    Ok(Encoded { bytes, mime, width, height })
}

fn png(picture: &Composed) -> Result<Vec<u8>, ImageError> {
    let header = Header { width: picture.width(), height: picture.height(), colour: picture.colour() };
    warmcut_png::encode(header, &|y, out: &mut [u8]| picture.row(y, out))
        .map_err(|error| ImageError::Internal { step: "encoding the PNG", reason: error.to_string() })
}

fn webp(picture: Composed, quality: u8) -> Result<Vec<u8>, ImageError> {
    let failed = |reason: String| ImageError::Internal { step: "encoding the WebP", reason };
    check_side("WebP", WEBP_SIDE, &picture)?;
    let mut config = webp::WebPConfig::new().map_err(|()| failed("no settings".into()))?;
    config.method = WEBP_METHOD;
    // Transparency stays as it is at every quality: a lossy edge is what a cutout is judged by.
    config.alpha_quality = 100;
    config.quality = f32::from(quality);
    if quality == 100 {
        config.lossless = 1;
        config.quality = WEBP_LOSSLESS_EFFORT;
    }
    let (width, height, colour) = (picture.width(), picture.height(), picture.colour());
    let mut pixels = picture.into_pixels();
    if colour == Colour::Grey {
        pixels = pixels.iter().flat_map(|level| [*level; 3]).collect();
    }
    let encoder = match colour {
        Colour::Rgba => webp::Encoder::from_rgba(&pixels, width, height),
        Colour::Rgb | Colour::Grey => webp::Encoder::from_rgb(&pixels, width, height),
    };
    let file = encoder.encode_advanced(&config).map_err(|error| failed(format!("{error:?}")))?;
    Ok(file.to_vec())
}

fn jpeg(picture: Composed, quality: u8) -> Result<Vec<u8>, ImageError> {
    use jpeg_encoder::{ColorType, Encoder};
    check_side("JPEG", JPEG_SIDE, &picture)?;
    let (width, height) = (picture.width(), picture.height());
    let colour = match picture.colour() {
        Colour::Grey => ColorType::Luma,
        // The encoder leaves transparency out; `compose` gives such a picture a background before.
        Colour::Rgba => ColorType::Rgba,
        Colour::Rgb => ColorType::Rgb,
    };
    let pixels = picture.into_pixels();
    let mut bytes = Vec::new();
    // The sides were checked against 16 bits above.
    Encoder::new(&mut bytes, quality)
        .encode(&pixels, width as u16, height as u16, colour)
        .map_err(|error| ImageError::Internal { step: "encoding the JPEG", reason: error.to_string() })?;
    Ok(bytes)
}

fn check_side(format: &'static str, limit: u32, picture: &Composed) -> Result<(), ImageError> {
    let (width, height) = (picture.width(), picture.height());
    if width.max(height) > limit {
        return Err(ImageError::TooLargeForFormat { format, width, height, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{
        Mask, compose,
        fixtures::{self, options},
    };
    use super::*;

    const SIZE: (u32, u32) = (30, 20);

    fn encoded(alpha: Vec<u8>, text: &str) -> Encoded {
        let options = options(text);
        let mask = Mask::of_plane(alpha, SIZE).expect("as many");
        let picture = compose(fixtures::opaque(30, 20), mask, &options).expect("composes");
        let file = encode(picture, &options).expect("encodes");
        assert_eq!((file.width, file.height), SIZE);
        file
    }

    fn opaque(text: &str) -> Encoded {
        encoded(vec![255; 600], text)
    }

    /// A mask with nothing, everything and all between.
    fn mask() -> Vec<u8> {
        fixtures::scene_rgba(30, 20).as_chunks::<4>().0.iter().map(|[.., a]| *a).collect()
    }

    #[test]
    fn png_and_webp_at_quality_100_keep_every_pixel() {
        let rgb = fixtures::scene(30, 20);
        let rgba = rgb.as_chunks::<3>().0.iter().zip(mask());
        // What nobody sees is cleared.
        let seen = |a: u8| if a == 0 { 0 } else { 255 };
        let rgba: Vec<u8> =
            rgba.flat_map(|(rgb, a)| rgb.map(|c| c & seen(a)).into_iter().chain([a])).collect();
        for text in ["format=png", "format=png&quality=1", "format=webp&quality=100"] {
            let file = encoded(mask(), text);
            let photo = fixtures::photo(&file.bytes);
            let alpha = photo.alpha.expect("transparency");
            let pixels = photo.rgb.as_chunks::<3>().0.iter().zip(alpha);
            // Encoders are free to change it again.
            let found: Vec<u8> =
                pixels.flat_map(|(rgb, a)| rgb.map(|c| c & seen(a)).into_iter().chain([a])).collect();
            assert!(found == rgba, "{text}");
        }
    }

    #[test]
    fn webp_keeps_transparency_at_every_quality() {
        for text in ["format=webp&quality=1", "format=webp"] {
            let file = encoded(mask(), text);
            assert_eq!(file.mime, "image/webp");
            assert_eq!(fixtures::photo(&file.bytes).alpha, Some(mask()), "{text}");
        }
    }

    #[test]
    fn quality_costs_bytes() {
        for format in ["webp", "jpg"] {
            let size = |quality: u8| opaque(&format!("format={format}&quality={quality}")).bytes.len();
            assert!(size(5) < size(60) && size(60) < size(99), "{format}");
            let unasked = opaque(&format!("format={format}"));
            assert_eq!(unasked.bytes.len(), size(DEFAULT_QUALITY), "{format}");
        }
    }

    #[test]
    fn auto_is_lossy_only_where_nothing_is_transparent() {
        assert_eq!(opaque("format=auto").mime, "image/jpeg");
        assert_eq!(encoded(mask(), "format=auto").mime, "image/png");
        let mask = "format=auto&channels=alpha";
        assert_eq!(opaque(mask).mime, "image/jpeg");
        assert_eq!(encoded(vec![254; 600], mask).mime, "image/png");
    }

    #[test]
    fn masks_are_grey_in_every_format() {
        let mask: Vec<u8> = (0..600).map(|n| (n % 30 * 8) as u8).collect();
        let expected: Vec<u8> = mask.iter().flat_map(|level| [*level; 3]).collect();
        for (format, mime, tolerance) in
            [("png", "image/png", 0), ("jpg", "image/jpeg", 12), ("webp", "image/webp", 12)]
        {
            let file = encoded(mask.clone(), &format!("format={format}&channels=alpha"));
            assert_eq!(file.mime, mime);
            let photo = fixtures::photo(&file.bytes);
            assert!(fixtures::distance(&photo.rgb, &expected) <= tolerance, "{format}");
        }
        // One component in the JPEG's frame header.
        let jpeg = encoded(mask, "format=jpg&channels=alpha").bytes;
        let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame");
        assert_eq!(jpeg[frame + 9], 1);
    }

    #[test]
    fn a_picture_that_the_format_cannot_hold_is_an_error() {
        let strip = |width: u32, text: &str| {
            let options = options(text);
            let mask = Mask::of_plane(vec![255; width as usize], (width, 1)).expect("as many");
            let picture = compose(fixtures::opaque(width, 1), mask, &options);
            encode(picture.expect("composes"), &options)
        };
        for (text, limit) in [("format=webp", WEBP_SIDE), ("format=jpg", JPEG_SIDE)] {
            assert!(strip(limit, text).is_ok());
            let result = strip(limit + 1, text);
            assert!(matches!(result, Err(ImageError::TooLargeForFormat { .. })), "{result:?}");
        }
        assert!(strip(JPEG_SIDE + 1, "format=png").is_ok());
    }
}
