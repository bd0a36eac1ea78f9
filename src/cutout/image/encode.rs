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
