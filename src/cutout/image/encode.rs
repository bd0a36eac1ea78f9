//! A finished picture as a file: untagged sRGB, which every browser and printer takes untagged
//! files for, and no metadata of the photo, so that no place or camera leaves with it.

use png::{BitDepth, ColorType, Compression};

use crate::protocol::options::{DEFAULT_QUALITY, Options, OutputFormat};

use super::{
    compose::{Composed, Pixels},
    error::ImageError,
};

/// Longest side that WebP can hold.
const WEBP_SIDE: u32 = 16_383;

/// Longest side that JPEG can hold.
const JPEG_SIDE: u32 = 65_535;

/// The deflate that is made for PNG. Of 12 megapixels it makes 8.0 MB in 0.07 s; flate2's level
/// 2 makes 7.1 MB in 0.35 s, and its level 6, others' default, 6.9 MB in 2.2 s. At 1.5
/// megapixels it is smaller than level 3, too. Who pays for bytes asks for WebP, a tenth of it.
const PNG_COMPRESSION: Compression = Compression::Fast;

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
pub fn encode(picture: &Composed, options: &Options) -> Result<Encoded, ImageError> {
    let quality = options.quality.unwrap_or(DEFAULT_QUALITY);
    let (bytes, mime) = match options.format {
        OutputFormat::Png => (png(picture)?, "image/png"),
        OutputFormat::Webp => (webp(picture, quality)?, "image/webp"),
        OutputFormat::Jpg => (jpeg(picture, quality)?, "image/jpeg"),
        OutputFormat::Auto if is_opaque(&picture.pixels) => (jpeg(picture, quality)?, "image/jpeg"),
        OutputFormat::Auto => (png(picture)?, "image/png"),
    };
    Ok(Encoded { bytes, mime, width: picture.width, height: picture.height })
}

fn is_opaque(pixels: &Pixels) -> bool {
    match pixels {
        Pixels::Rgb(_) => true,
        Pixels::Rgba(rgba) => rgba.as_chunks::<4>().0.iter().all(|[.., a]| *a == 255),
        Pixels::Grey(mask) => mask.iter().all(|a| *a == 255),
    }
}

fn png(picture: &Composed) -> Result<Vec<u8>, ImageError> {
    let failed = |error: png::EncodingError| ImageError::Internal {
        step: "encoding the PNG",
        reason: error.to_string(),
    };
    let (colour, pixels) = match &picture.pixels {
        Pixels::Rgba(pixels) => (ColorType::Rgba, pixels),
        Pixels::Rgb(pixels) => (ColorType::Rgb, pixels),
        Pixels::Grey(pixels) => (ColorType::Grayscale, pixels),
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width, picture.height);
    encoder.set_color(colour);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(PNG_COMPRESSION);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

fn webp(picture: &Composed, quality: u8) -> Result<Vec<u8>, ImageError> {
    let failed = |reason: String| ImageError::Internal { step: "encoding the WebP", reason };
    let Composed { width, height, pixels } = picture;
    check_side("WebP", WEBP_SIDE, picture)?;
    let mut config = webp::WebPConfig::new().map_err(|()| failed("no settings".into()))?;
    config.method = WEBP_METHOD;
    // Transparency stays as it is at every quality: a lossy edge is what a cutout is judged by.
    config.alpha_quality = 100;
    config.quality = f32::from(quality);
    if quality == 100 {
        config.lossless = 1;
        config.quality = WEBP_LOSSLESS_EFFORT;
    }
    let grey: Vec<u8>;
    let encoder = match pixels {
        Pixels::Rgba(rgba) => webp::Encoder::from_rgba(rgba, *width, *height),
        Pixels::Rgb(rgb) => webp::Encoder::from_rgb(rgb, *width, *height),
        Pixels::Grey(mask) => {
            grey = mask.iter().flat_map(|level| [*level; 3]).collect();
            webp::Encoder::from_rgb(&grey, *width, *height)
        }
    };
    let file = encoder.encode_advanced(&config).map_err(|error| failed(format!("{error:?}")))?;
    Ok(file.to_vec())
}

fn jpeg(picture: &Composed, quality: u8) -> Result<Vec<u8>, ImageError> {
    use jpeg_encoder::{ColorType, Encoder};
    check_side("JPEG", JPEG_SIDE, picture)?;
    let opaque: Vec<u8>;
    let (colour, pixels) = match &picture.pixels {
        Pixels::Rgb(rgb) => (ColorType::Rgb, rgb),
        Pixels::Grey(mask) => (ColorType::Luma, mask),
        Pixels::Rgba(rgba) => {
            opaque = rgba.as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
            (ColorType::Rgb, &opaque)
        }
    };
    let mut bytes = Vec::new();
    // The sides were checked against 16 bits above.
    let (width, height) = (picture.width as u16, picture.height as u16);
    Encoder::new(&mut bytes, quality)
        .encode(pixels, width, height, colour)
        .map_err(|error| ImageError::Internal { step: "encoding the JPEG", reason: error.to_string() })?;
    Ok(bytes)
}

fn check_side(format: &'static str, limit: u32, picture: &Composed) -> Result<(), ImageError> {
    let Composed { width, height, .. } = *picture;
    if width.max(height) > limit {
        return Err(ImageError::TooLargeForFormat { format, width, height, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    const SIZE: (u32, u32) = (30, 20);

    fn picture(pixels: Pixels) -> Composed {
        Composed { width: 30, height: 20, pixels }
    }

    fn options(text: &str) -> Options {
        let pairs = text.split_terminator('&').filter_map(|pair| pair.split_once('='));
        Options::from_pairs(pairs).expect("good options")
    }

    fn encoded(pixels: Pixels, text: &str) -> Encoded {
        let file = encode(&picture(pixels), &options(text)).expect("encodes");
        assert_eq!((file.width, file.height), SIZE);
        file
    }

    /// Colour that was cleared where nothing is seen, as `compose` leaves it.
    fn cutout() -> Vec<u8> {
        let mut rgba = fixtures::scene_rgba(30, 20);
        rgba.as_chunks_mut::<4>().0.iter_mut().filter(|p| p[3] == 0).for_each(|p| *p = [0; 4]);
        rgba
    }

    #[test]
    fn png_and_webp_at_quality_100_keep_every_pixel() {
        let rgba = cutout();
        for text in ["format=png", "format=png&quality=1", "format=webp&quality=100"] {
            let file = encoded(Pixels::Rgba(rgba.clone()), text);
            let photo = fixtures::photo(&file.bytes);
            let alpha = photo.alpha.expect("transparency");
            let pixels = photo.rgb.as_chunks::<3>().0.iter().zip(alpha);
            // Encoders are free to change what nobody sees.
            let seen = |a: u8| if a == 0 { 0 } else { 255 };
            let found: Vec<u8> =
                pixels.flat_map(|(rgb, a)| rgb.map(|c| c & seen(a)).into_iter().chain([a])).collect();
            assert!(found == rgba, "{text}");
        }
    }

    #[test]
    fn webp_keeps_transparency_at_every_quality() {
        let rgba = cutout();
        let expected: Vec<u8> = rgba.as_chunks::<4>().0.iter().map(|[.., a]| *a).collect();
        for text in ["format=webp&quality=1", "format=webp"] {
            let file = encoded(Pixels::Rgba(rgba.clone()), text);
            assert_eq!(file.mime, "image/webp");
            assert_eq!(fixtures::photo(&file.bytes).alpha, Some(expected.clone()), "{text}");
        }
    }

    #[test]
    fn quality_costs_bytes() {
        for format in ["webp", "jpg"] {
            let rgb = fixtures::scene(30, 20);
            let size = |quality: u8| {
                let text = format!("format={format}&quality={quality}");
                encoded(Pixels::Rgb(rgb.clone()), &text).bytes.len()
            };
            assert!(size(5) < size(60) && size(60) < size(99), "{format}");
            let unasked = encoded(Pixels::Rgb(rgb.clone()), &format!("format={format}"));
            assert_eq!(unasked.bytes.len(), size(DEFAULT_QUALITY), "{format}");
        }
    }

    #[test]
    fn auto_is_lossy_only_where_nothing_is_transparent() {
        let opaque = Pixels::Rgb(fixtures::scene(30, 20));
        assert_eq!(encoded(opaque, "format=auto").mime, "image/jpeg");
        let transparent = Pixels::Rgba(cutout());
        assert_eq!(encoded(transparent, "format=auto").mime, "image/png");
        let mask = "format=auto&channels=alpha";
        assert_eq!(encoded(Pixels::Grey(vec![255; 600]), mask).mime, "image/jpeg");
        assert_eq!(encoded(Pixels::Grey(vec![254; 600]), mask).mime, "image/png");
    }

    #[test]
    fn masks_are_grey_in_every_format() {
        let mask: Vec<u8> = (0..600).map(|n| (n % 30 * 8) as u8).collect();
        let expected: Vec<u8> = mask.iter().flat_map(|level| [*level; 3]).collect();
        for (format, mime, tolerance) in
            [("png", "image/png", 0), ("jpg", "image/jpeg", 12), ("webp", "image/webp", 12)]
        {
            let file = encoded(Pixels::Grey(mask.clone()), &format!("format={format}"));
            assert_eq!(file.mime, mime);
            let photo = fixtures::photo(&file.bytes);
            assert!(fixtures::distance(&photo.rgb, &expected) <= tolerance, "{format}");
        }
        // One component in the JPEG's frame header.
        let jpeg = encoded(Pixels::Grey(mask), "format=jpg").bytes;
        let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame");
        assert_eq!(jpeg[frame + 9], 1);
    }

    #[test]
    fn a_picture_that_the_format_cannot_hold_is_an_error() {
        let strip =
            |width: u32| Composed { width, height: 1, pixels: Pixels::Rgb(vec![0; width as usize * 3]) };
        for (format, limit) in [("webp", WEBP_SIDE), ("jpg", JPEG_SIDE)] {
            let options = options(&format!("format={format}"));
            assert!(encode(&strip(limit), &options).is_ok());
            let result = encode(&strip(limit + 1), &options);
            assert!(matches!(result, Err(ImageError::TooLargeForFormat { .. })), "{result:?}");
        }
        assert!(encode(&strip(JPEG_SIDE), &options("format=png")).is_ok());
    }
}
