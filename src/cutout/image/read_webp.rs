//! WebP: the header check and the decoder's settings.
//!
//! A WebP says its size twice: on the canvas of the extended header and in the picture's own
//! stream. The decoder allocates by the second, so both are read here and must agree before it
//! is let loose.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::{
    colour::Samples,
    decode::Stored,
    error::ImageError,
    probe::{Probe, SourceFormat},
};

/// Bytes a pixel, of an animation.
const DECODING: u64 = 12;

/// One chunk of a WebP.
struct Chunk<'a> {
    name: &'a [u8],
    /// As much of it as there is.
    payload: &'a [u8],
    /// All of it is there.
    whole: bool,
    /// Where the next chunk begins.
    next: usize,
}

fn chunk(bytes: &[u8], at: usize) -> Option<Chunk<'_>> {
    let start = at.checked_add(8)?;
    let (name, length) = bytes.get(at..start)?.split_at(4);
    let length = length.iter().rev().fold(0, |sum, b| sum << 8 | usize::from(*b));
    let end = start.checked_add(length)?;
    Some(Chunk {
        name,
        payload: &bytes[start..end.min(bytes.len())],
        whole: end <= bytes.len(),
        next: end.checked_add(length & 1)?,
    })
}

/// A side in an extended header, which is stored less one.
fn side(low: u8, middle: u8, high: u8) -> u32 {
    u32::from_le_bytes([low, middle, high, 0]) + 1
}

/// The size in a picture's own stream, or what is wrong with it; `None` for another chunk.
fn stream_size(name: &[u8], payload: &[u8]) -> Option<Result<(u32, u32), &'static str>> {
    match (name, payload) {
        (b"VP8 ", &[frame, _, _, 0x9D, 0x01, 0x2A, w0, w1, h0, h1, ..]) if frame & 1 == 0 => {
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
            match (side(w0, w1), side(h0, h1)) {
                (0, _) | (_, 0) => Some(Err("a side of no pixels")),
                size => Some(Ok(size)),
            }
        }
        (b"VP8L", &[0x2F, a, b, c, d, ..]) if d >> 5 == 0 => {
            let bits = u32::from_le_bytes([a, b, c, d]);
            Some(Ok(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)))
        }
        (b"VP8 " | b"VP8L", _) => Some(Err("a picture without its start")),
        _ => None,
    }
}

/// Reads the first chunk, which is a stream or the extended header.
pub(super) fn header(bytes: &[u8]) -> Result<Probe, ImageError> {
    let format = SourceFormat::Webp;
    let incomplete = || ImageError::HeaderIncomplete { format, have: bytes.len() };
    let Chunk { name, payload, whole, .. } = chunk(bytes, 12).ok_or_else(incomplete)?;
    // No header in the payload is longer than ten bytes.
    if !whole && payload.len() < 10 {
        return Err(incomplete());
    }
    if let (b"VP8X", &[flags, _, _, _, w0, w1, w2, h0, h1, h2, ..]) = (name, payload) {
        let (width, height) = (side(w0, w1, w2), side(h0, h1, h2));
        return Ok(Probe { format, width, height, animated: flags & 2 != 0, decoding: DECODING });
    }
    let size = stream_size(name, payload).unwrap_or(Err("no picture and no header at its start"));
    let (width, height) = size.map_err(|reason| ImageError::corrupt(format, reason))?;
    Ok(Probe { format, width, height, animated: false, decoding: DECODING })
}

/// Every picture's stream must have the size that was promised for it, by the canvas or by its
/// frame, and every frame must lie within the canvas.
fn check_streams(bytes: &[u8], canvas: (u32, u32)) -> Result<(), &'static str> {
    let mut pending = vec![(bytes, 12, canvas)];
    while let Some((within, at, promised)) = pending.pop() {
        let Some(Chunk { name, payload, whole, next }) = chunk(within, at) else { continue };
        pending.push((within, next, promised));
        if !whole && matches!(name, b"VP8 " | b"VP8L" | b"ALPH" | b"ANMF") {
            return Err("a picture longer than the file");
        }
        if name == b"ANMF" {
            // Position and size take twelve bytes, duration and flags four.
            let &[_, _, _, _, _, _, w0, w1, w2, h0, h1, h2, ..] = payload else {
                return Err("a frame without its size");
            };
            let frame = (side(w0, w1, w2), side(h0, h1, h2));
            if frame.0 > canvas.0 || frame.1 > canvas.1 {
                return Err("a frame larger than its canvas");
            }
            pending.push((payload, 16, frame));
        } else if let Some(size) = stream_size(name, payload)
            && size? != promised
        {
            return Err("a picture of another size than its canvas");
        }
    }
    Ok(())
}

/// Decodes a whole WebP, of an animated one the first frame on a transparent canvas.
pub(super) fn read(bytes: &[u8]) -> Result<Stored, ImageError> {
    let corrupt = |error: DecodingError| ImageError::corrupt(SourceFormat::Webp, error);
    let probe = header(bytes)?;
    let promised = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    if bytes.len() - 8 < promised {
        let reason = format!("{} of {promised} bytes are there", bytes.len() - 8);
        return Err(ImageError::corrupt(SourceFormat::Webp, reason));
    }
    check_streams(bytes, (probe.width, probe.height))
        .map_err(|reason| ImageError::corrupt(SourceFormat::Webp, reason))?;
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(corrupt)?;
    // Metadata cannot be larger than the file that holds it.
    decoder.set_memory_limit(bytes.len());
    if decoder.dimensions() != (probe.width, probe.height) {
        return Err(ImageError::corrupt(SourceFormat::Webp, "two sizes in one header"));
    }
    let size = decoder
        .output_buffer_size()
        .ok_or_else(|| ImageError::corrupt(SourceFormat::Webp, "a picture larger than the address space"))?;
    let mut pixels = vec![0; size];
    decoder.read_image(&mut pixels).map_err(corrupt)?;
    let samples = if decoder.has_alpha() { Samples::Rgba(pixels) } else { Samples::Rgb(pixels) };
    // Broken metadata is no reason to refuse a photo.
    let icc = decoder.icc_profile().ok().flatten();
    let exif = decoder.exif_metadata().ok().flatten();
    Ok(Stored { samples, icc, exif, probe, size: (probe.width, probe.height) })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Limits, decode, fixtures, probe::probe},
        *,
    };

    const SIZE: (u32, u32) = (21, 34);

    #[test]
    fn lossless_lossy_and_transparent_give_the_picture() {
        let rgba = fixtures::scene_rgba(21, 34);
        let photo = fixtures::photo(&fixtures::webp(&rgba, SIZE, None, None));
        assert_eq!((photo.width, photo.height), SIZE);
        assert_eq!(photo.rgb, fixtures::scene(21, 34));
        assert!(photo.alpha.is_some_and(|alpha| alpha[..2] == [255, 255 - 255 / 20]));

        let photo = fixtures::photo(&fixtures::lossy_webp(&rgba, SIZE));
        assert!(photo.alpha.is_some_and(|alpha| alpha[..2] == [255, 255 - 255 / 20]));
        assert!(photo.rgb[0] < 20 && photo.rgb[1] < 20);
    }

    #[test]
    fn a_webp_that_ends_early_is_damaged() {
        let rgba = fixtures::scene_rgba(21, 34);
        fixtures::refused_at_every_length(&fixtures::webp(&rgba, SIZE, None, None));
        fixtures::refused_at_every_length(&fixtures::lossy_webp(&rgba, SIZE));
        fixtures::refused_at_every_length(&fixtures::animated_webp(&rgba, SIZE));
    }

    #[test]
    fn an_animation_gives_its_first_frame() {
        let rgba = fixtures::scene_rgba(21, 34);
        let file = fixtures::animated_webp(&rgba, SIZE);
        assert!(probe(&file[..64], &fixtures::LIMITS).expect("a header").animated);
        let photo = fixtures::photo(&file);
        assert!(photo.animated);
        assert_eq!((photo.width, photo.height), SIZE);
        let (rgb, alpha) = (fixtures::scene(21, 34), photo.alpha.expect("transparency"));
        let pixels = photo.rgb.as_chunks::<3>().0.iter().zip(rgb.as_chunks().0);
        // The encoder is free to change what nobody sees.
        assert!(pixels.zip(alpha).all(|((seen, meant), a)| a == 0 || seen == meant));
    }

    #[test]
    fn exif_and_profile_are_used() {
        let icc = moxcms::ColorProfile::new_display_p3().encode().expect("a profile");
        let rgba = [200, 100, 50, 255].repeat(21 * 34);
        let file = fixtures::webp(&rgba, SIZE, Some(fixtures::exif(8, false)), Some(icc));
        let photo = fixtures::photo(&file);
        assert_eq!((photo.width, photo.height), (34, 21));
        assert!(photo.profile_converted);
        assert!(fixtures::distance(&photo.rgb[..3], &[215, 93, 31]) <= 1, "{:?}", &photo.rgb[..3]);
    }

    #[test]
    fn a_frame_whose_picture_has_another_size_is_refused() {
        // The decoder takes the frame's word for the buffer and the picture's for the copy.
        let mut file = fixtures::file("animated.webp");
        let frame = file.windows(4).position(|name| name == b"ANMF").expect("a frame");
        file[frame + 14] -= 20;
        let result = decode(&file, &fixtures::LIMITS);
        assert!(matches!(result, Err(ImageError::Corrupt { .. })), "{result:?}");
        file[frame + 15] += 1;
        let result = decode(&file, &fixtures::LIMITS);
        assert!(
            matches!(&result, Err(ImageError::Corrupt { reason, .. }) if reason.contains("larger")),
            "{result:?}"
        );
    }

    #[test]
    fn a_large_stream_behind_a_small_canvas_is_refused_before_it_is_decoded() {
        let rgba = fixtures::scene_rgba(21, 34);
        let mut file = fixtures::lossy_webp(&rgba, SIZE);
        let stream = file.windows(4).position(|name| name == b"VP8 ").expect("a stream");
        // Sixteen thousand pixels a side.
        file[stream + 14..stream + 18].copy_from_slice(&[0xFF, 0x3F, 0xFF, 0x3F]);
        let limits = Limits { max_pixels: 21 * 34 };
        let result = decode(&file, &limits);
        assert!(
            matches!(&result, Err(ImageError::Corrupt { reason, .. }) if reason.contains("canvas")),
            "{result:?}"
        );
    }
}
