//! Photos made on the spot for the room's tests, so that each test says what is in its file.

use std::path::Path;

use super::{ImageError, Limits, Photo, decode};
use crate::protocol::options::Options;

/// Roomy enough for every test that is not about limits.
pub(super) const LIMITS: Limits = Limits { max_pixels: 1_000_000 };

/// A gradient whose four corners differ, so that no turn goes unseen.
pub(super) fn scene(width: u32, height: u32) -> Vec<u8> {
    let level = |at: u32, of: u32| (at * 255 / of.max(2).saturating_sub(1)).min(255) as u8;
    let pixel = |x, y| [level(x, width), level(y, height), 90];
    (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
}

/// The same as a photo.
pub(super) fn opaque(width: u32, height: u32) -> Photo {
    let rgb = scene(width, height);
    Photo { width, height, rgb, alpha: None, animated: false, profile_converted: false }
}

/// Options as a query says them.
pub(super) fn options(text: &str) -> Options {
    let pairs = text.split_terminator('&').filter_map(|pair| pair.split_once('='));
    Options::from_pairs(pairs).expect("good options")
}

/// The same with transparency that falls from left to right.
pub(super) fn scene_rgba(width: u32, height: u32) -> Vec<u8> {
    let rgb = scene(width, height);
    rgb.as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255 - *r]).collect()
}

/// An EXIF block with two tags, the second of which is the orientation.
pub(super) fn exif(orientation: u8, little: bool) -> Vec<u8> {
    let short = |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() };
    let long = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
    let mut block = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
    block.extend(long(8));
    block.extend(short(2));
    for (tag, value) in [(0x0100, 9), (0x0112, u16::from(orientation))] {
        block.extend(short(tag));
        block.extend(short(3));
        block.extend(long(1));
        block.extend(short(value));
        block.extend([0; 2]);
    }
    block.extend(long(0));
    block
}

/// A JPEG at quality 95, with what `adjust` adds.
pub(super) fn jpeg(
    pixels: &[u8],
    (width, height): (u32, u32),
    colour: jpeg_encoder::ColorType,
    adjust: impl FnOnce(&mut jpeg_encoder::Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, 95);
    adjust(&mut encoder);
    encoder.encode(pixels, width as u16, height as u16, colour).expect("encodes");
    file
}

/// A PNG of any colour type and depth, with what `adjust` adds.
pub(super) fn png(
    samples: &[u8],
    (width, height): (u32, u32),
    colour: png::ColorType,
    depth: png::BitDepth,
    adjust: impl FnOnce(&mut png::Info<'_>),
) -> Vec<u8> {
    let mut info = png::Info::with_size(width, height);
    info.color_type = colour;
    info.bit_depth = depth;
    adjust(&mut info);
    let mut file = Vec::new();
    let encoder = png::Encoder::with_info(&mut file, info).expect("a possible header");
    let mut writer = encoder.write_header().expect("writes");
    writer.write_image_data(samples).expect("writes");
    writer.finish().expect("writes");
    file
}

/// A lossless WebP with metadata.
pub(super) fn webp(
    rgba: &[u8],
    (width, height): (u32, u32),
    exif: Option<Vec<u8>>,
    icc: Option<Vec<u8>>,
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = image_webp::WebPEncoder::new(&mut file);
    if let Some(exif) = exif {
        encoder.set_exif_metadata(exif);
    }
    if let Some(icc) = icc {
        encoder.set_icc_profile(icc);
    }
    encoder.encode(rgba, width, height, image_webp::ColorType::Rgba8).expect("encodes");
    file
}

/// A lossy WebP, which carries its transparency in a chunk of its own.
pub(super) fn lossy_webp(rgba: &[u8], (width, height): (u32, u32)) -> Vec<u8> {
    webp::Encoder::from_rgba(rgba, width, height).encode(95.0).to_vec()
}

/// Two frames, the second black.
pub(super) fn animated_webp(rgba: &[u8], (width, height): (u32, u32)) -> Vec<u8> {
    let mut config = webp::WebPConfig::new().expect("settings");
    config.lossless = 1;
    let black = vec![0; rgba.len()];
    let mut encoder = webp::AnimEncoder::new(width, height, &config);
    encoder.add_frame(webp::AnimFrame::from_rgba(rgba, width, height, 0));
    encoder.add_frame(webp::AnimFrame::from_rgba(&black, width, height, 100));
    encoder.encode().to_vec()
}

/// A file of `tests/data`.
pub(super) fn file(name: &str) -> Vec<u8> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Decodes what must decode.
pub(super) fn photo(file: &[u8]) -> Photo {
    decode(file, &LIMITS).expect("a whole photo")
}

/// The largest distance between two buffers' bytes.
pub(super) fn distance(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// Every shorter beginning of a file must be refused as damaged.
pub(super) fn refused_at_every_length(file: &[u8]) {
    for end in 1..file.len() {
        let result = decode(&file[..end], &LIMITS);
        assert!(
            matches!(result, Err(ImageError::Corrupt { .. })),
            "{end} of {} bytes gave {:?}",
            file.len(),
            result.map(|photo| (photo.width, photo.height)),
        );
    }
}
