//! PNG: the header check and the decoder's settings.

use std::io::{Cursor, ErrorKind};

use png::{ColorType, DecodingError, Limits, Transformations};

use super::{
    colour::Samples,
    decode::Stored,
    error::ImageError,
    probe::{Probe, SourceFormat},
};

/// The first eight bytes of every PNG.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Bytes a pixel: with transparency, and turned by EXIF.
const DECODING: u64 = 7;

/// Signature, length, name, thirteen bytes of header, checksum.
const HEADER_END: usize = 33;

/// What the decoder may hold besides the picture: a row or two, and an inflated colour profile,
/// which would else be a bomb of its own.
const DECODER_BYTES: usize = 16 << 20;

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, b| sum << 8 | u32::from(*b))
}

/// Reads the header chunk, and looks whether an animation is announced before the picture.
pub(super) fn header(bytes: &[u8]) -> Result<Probe, ImageError> {
    let format = SourceFormat::Png;
    let corrupt = |reason: &str| ImageError::corrupt(format, reason);
    if bytes.get(12..16) == Some(b"CgBI") {
        return Err(ImageError::Unsupported { looks_like: "a PNG packed for iOS apps (CgBI)" });
    }
    let Some(header) = bytes.get(SIGNATURE.len()..HEADER_END) else {
        return Err(ImageError::HeaderIncomplete { format, have: bytes.len() });
    };
    if &header[..8] != b"\0\0\0\x0DIHDR" {
        return Err(corrupt("it does not begin with a header"));
    }
    let (width, height) = (number(&header[8..12]), number(&header[12..16]));
    // PNG allows 31 bits a side.
    if [width, height].iter().any(|side| !(1..1 << 31).contains(side)) {
        return Err(corrupt("a side of no pixels, or of more than PNG allows"));
    }
    let (depth, colour) = (header[16], header[17]);
    let possible = match colour {
        0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
        3 => matches!(depth, 1 | 2 | 4 | 8),
        2 | 4 | 6 => matches!(depth, 8 | 16),
        _ => false,
    };
    if !possible {
        return Err(corrupt("a colour type and depth that do not exist"));
    }
    let mut at = HEADER_END;
    let mut animated = false;
    while let Some(chunk) = bytes.get(at..at + 8) {
        match &chunk[4..] {
            b"acTL" => animated = true,
            b"IDAT" | b"IEND" => break,
            _ => {}
        }
        at = at.saturating_add(12).saturating_add(number(&chunk[..4]) as usize);
    }
    Ok(Probe { format, width, height, animated, decoding: DECODING })
}

/// Decodes a whole PNG, of an animated one the still picture.
pub(super) fn read(bytes: &[u8]) -> Result<Stored, ImageError> {
    let corrupt = |error: DecodingError| ImageError::corrupt(SourceFormat::Png, error);
    let probe = header(bytes)?;
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: DECODER_BYTES });
    decoder.set_transformations(Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().map_err(corrupt)?;
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| ImageError::corrupt(SourceFormat::Png, "a picture larger than the address space"))?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(corrupt)?;
    pixels.truncate(frame.buffer_size());
    if (frame.width, frame.height) != (probe.width, probe.height) {
        return Err(ImageError::corrupt(SourceFormat::Png, "a frame smaller than the picture"));
    }
    // EXIF may come after the picture, so the rest is read; damage there harms no pixel, but an
    // end that is missing means that the upload was cut off.
    match reader.finish() {
        Err(DecodingError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(ImageError::corrupt(SourceFormat::Png, error));
        }
        _ => {}
    }
    let info = reader.info();
    let owned = |chunk: &Option<std::borrow::Cow<'_, [u8]>>| chunk.as_deref().map(<[u8]>::to_vec);
    let (icc, exif) = (owned(&info.icc_profile), owned(&info.exif_metadata));
    let samples = match frame.color_type {
        ColorType::Grayscale => Samples::Grey(pixels),
        ColorType::GrayscaleAlpha => Samples::GreyAlpha(pixels),
        ColorType::Rgba => Samples::Rgba(pixels),
        ColorType::Rgb | ColorType::Indexed => Samples::Rgb(pixels),
    };
    Ok(Stored { samples, icc, exif, probe, size: (probe.width, probe.height) })
}

#[cfg(test)]
mod tests {
    use png::BitDepth;

    use super::{
        super::{decode, fixtures},
        *,
    };

    const SIZE: (u32, u32) = (13, 7);

    #[test]
    fn every_colour_type_and_depth_comes_out_as_eight_bit_rgb() {
        let grey: Vec<u8> = (0..13 * 7).map(|n| n * 2).collect();
        let thrice = |levels: &[u8]| levels.iter().flat_map(|l| [*l; 3]).collect::<Vec<_>>();
        let wide = |levels: &[u8]| levels.iter().flat_map(|l| [*l, 0x7F]).collect::<Vec<_>>();
        let (rgb, rgba) = (fixtures::scene(13, 7), fixtures::scene_rgba(13, 7));
        let plain = |samples: &[u8], colour, depth| {
            fixtures::photo(&fixtures::png(samples, SIZE, colour, depth, |_| {}))
        };
        assert_eq!(plain(&grey, ColorType::Grayscale, BitDepth::Eight).rgb, thrice(&grey));
        assert_eq!(plain(&wide(&grey), ColorType::Grayscale, BitDepth::Sixteen).rgb, thrice(&grey));
        assert_eq!(plain(&rgb, ColorType::Rgb, BitDepth::Eight).rgb, rgb);
        assert_eq!(plain(&wide(&rgb), ColorType::Rgb, BitDepth::Sixteen).rgb, rgb);
        for photo in [
            plain(&rgba, ColorType::Rgba, BitDepth::Eight),
            plain(&wide(&rgba), ColorType::Rgba, BitDepth::Sixteen),
        ] {
            assert_eq!(photo.rgb, rgb);
            let alpha = photo.alpha.expect("transparency");
            assert!(rgb.as_chunks::<3>().0.iter().zip(alpha).all(|([r, ..], a)| a == 255 - r));
        }
        let grey_alpha: Vec<u8> = grey.iter().flat_map(|level| [*level, 7]).collect();
        let photo = plain(&grey_alpha, ColorType::GrayscaleAlpha, BitDepth::Eight);
        assert_eq!((photo.rgb, photo.alpha), (thrice(&grey), Some(vec![7; 91])));
        // One bit, rows padded to whole bytes.
        let photo = plain(&[0b1010_0000, 0].repeat(7), ColorType::Grayscale, BitDepth::One);
        assert_eq!(photo.rgb[..13 * 3], [vec![255; 3], vec![0; 3], vec![255; 3], vec![0; 30]].concat());
    }

    #[test]
    fn palettes_with_and_without_transparency() {
        let palette = vec![255, 0, 0, 0, 0, 255];
        let indices: Vec<u8> = (0..91).map(|n| n % 2).collect();
        let paint = |transparency: Option<Vec<u8>>| {
            let file = fixtures::png(&indices, SIZE, ColorType::Indexed, BitDepth::Eight, |info| {
                info.palette = Some(palette.clone().into());
                info.trns = transparency.map(Into::into);
            });
            fixtures::photo(&file)
        };
        assert_eq!(paint(None).rgb[..6], palette);
        assert_eq!(paint(None).alpha, None);
        assert_eq!(paint(Some(vec![0])).alpha.expect("transparency")[..3], [0, 255, 0]);
        assert_eq!(paint(Some(vec![255])).alpha, None, "opaque throughout");
    }

    #[test]
    fn a_png_that_ends_early_is_damaged() {
        let rgb = fixtures::scene(13, 7);
        fixtures::refused_at_every_length(&fixtures::png(
            &rgb,
            SIZE,
            ColorType::Rgb,
            BitDepth::Eight,
            |_| {},
        ));
    }

    #[test]
    fn a_flipped_bit_anywhere_in_the_picture_is_damage() {
        let rgb = fixtures::scene(13, 7);
        let file = fixtures::png(&rgb, SIZE, ColorType::Rgb, BitDepth::Eight, |_| {});
        let data = file.windows(4).position(|name| name == b"IDAT").expect("a picture");
        // Up to the checksum and the last chunk.
        for at in data + 4..file.len() - 16 {
            let mut damaged = file.clone();
            damaged[at] ^= 4;
            let result = decode(&damaged, &fixtures::LIMITS);
            assert!(matches!(result, Err(ImageError::Corrupt { .. })), "{at}: {result:?}");
        }
    }

    #[test]
    fn exif_is_found_before_and_after_the_picture() {
        let rgb = fixtures::scene(13, 7);
        let block = fixtures::exif(6, true);
        let before = fixtures::png(&rgb, SIZE, ColorType::Rgb, BitDepth::Eight, |info| {
            info.exif_metadata = Some(block.clone().into());
        });
        assert_eq!((fixtures::photo(&before).width, fixtures::photo(&before).height), (7, 13));
        // The chunk moved behind the picture.
        let start = before.windows(4).position(|name| name == b"eXIf").expect("EXIF") - 4;
        let mut after = before;
        let chunk: Vec<u8> = after.drain(start..start + 12 + block.len()).collect();
        let end = after.len() - 12;
        after.splice(end..end, chunk);
        assert_eq!((fixtures::photo(&after).width, fixtures::photo(&after).height), (7, 13));
    }

    #[test]
    fn an_animation_is_announced_and_gives_its_still() {
        let rgb = fixtures::scene(13, 7);
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 13, 7);
        encoder.set_color(ColorType::Rgb);
        encoder.set_animated(2, 0).expect("frames");
        let mut writer = encoder.write_header().expect("writes");
        writer.write_image_data(&rgb).expect("writes");
        writer.write_image_data(&vec![0; rgb.len()]).expect("writes");
        writer.finish().expect("writes");
        let photo = fixtures::photo(&file);
        assert!(photo.animated);
        assert_eq!(photo.rgb, rgb);
    }

    #[test]
    fn a_profile_that_inflates_without_end_is_left_aside() {
        let rgb = fixtures::scene(13, 7);
        let file = fixtures::png(&rgb, SIZE, ColorType::Rgb, BitDepth::Eight, |info| {
            info.icc_profile = Some(vec![0; DECODER_BYTES * 2].into());
        });
        assert_eq!(fixtures::photo(&file).rgb, rgb);
    }
}
