//! JPEG: the header walk, the check that the file is whole, and the decoder's settings.
//!
//! The walk is ours because the decoder cannot answer two questions: how large the picture is
//! before it allocates anything, and whether the end of the file is there at all.

use jpeg_decoder::PixelFormat;
use zune_jpeg::{
    JpegDecoder,
    errors::DecodeErrors,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{
    colour::Samples,
    decode::{Least, Stored},
    error::ImageError,
    probe::{Probe, SourceFormat},
};

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;

/// Scans in a progressive file at most. Encoders write about ten; each costs a pass over the
/// picture, so a small file of empty scans would keep a core busy for minutes.
const MAX_SCANS: usize = 64;

/// What the segments before the first scan say.
pub(super) struct Header {
    pub(super) probe: Probe,
    /// Bytes between segments that belong to none. Harmless, cameras write them, but the
    /// decoder's strict mode refuses them.
    padded: bool,
    /// Where the walk for the end of the file goes on.
    frame_end: usize,
    components: u8,
    progressive: bool,
}

/// The next marker at or after `at`: its code, where its payload begins, and whether anything
/// had to be skipped to find it.
fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize, bool)> {
    let start = at + bytes.get(at..)?.iter().position(|b| *b == 0xFF)?;
    let code = start + bytes[start..].iter().position(|b| *b != 0xFF)?;
    Some((bytes[code], code + 1, start != at))
}

/// A segment's payload and where the segment ends, when all of it is there.
fn segment(bytes: &[u8], at: usize) -> Option<Result<(&[u8], usize), ImageError>> {
    let length = bytes.get(at..at + 2)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length < 2 {
        let reason = format!("a segment of length {length}");
        return Some(Err(ImageError::corrupt(SourceFormat::Jpeg, reason)));
    }
    let end = at + length;
    Some(Ok((bytes.get(at + 2..end)?, end)))
}

/// Reads up to the frame header.
pub(super) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let incomplete = || ImageError::HeaderIncomplete { format: SourceFormat::Jpeg, have: bytes.len() };
    let corrupt = |reason: &str| ImageError::corrupt(SourceFormat::Jpeg, reason);
    let mut at = 2;
    let mut padded = false;
    loop {
        let (marker, payload, skipped) = next_marker(bytes, at).ok_or_else(incomplete)?;
        padded |= skipped;
        at = match marker {
            0x00 | 0x01 | 0xD0..=SOI => payload,
            EOI | SOS => return Err(corrupt("image data before the frame header")),
            // C4, C8 and CC lie among the frame headers but are none.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                if marker > 0xC2 {
                    let looks_like = "a lossless or arithmetic-coded JPEG";
                    return Err(ImageError::Unsupported { looks_like });
                }
                let (frame, frame_end) = segment(bytes, payload).ok_or_else(incomplete)??;
                let &[depth, h1, h0, w1, w0, components, ..] = frame else {
                    return Err(corrupt("a frame header too short"));
                };
                if depth != 8 {
                    return Err(ImageError::Unsupported { looks_like: "a JPEG of 12 bits" });
                }
                let width = u32::from(u16::from_be_bytes([w1, w0]));
                let height = u32::from(u16::from_be_bytes([h1, h0]));
                if width == 0 || height == 0 {
                    return Err(corrupt("a side of no pixels"));
                }
                if !matches!(components, 1 | 3 | 4) {
                    return Err(corrupt("neither one, three nor four colour components"));
                }
                let format = SourceFormat::Jpeg;
                // A progressive file's coefficients are all there before the first pixel is.
                let decoding = match (marker == 0xC2, components) {
                    (false, 4) => 7,
                    (false, _) => 6,
                    (true, 4) => 12,
                    (true, _) => 9,
                };
                let probe = Probe { format, width, height, animated: false, decoding };
                return Ok(Header { probe, padded, frame_end, components, progressive: marker == 0xC2 });
            }
            _ => segment(bytes, payload).ok_or_else(incomplete)??.1,
        };
    }
}

/// How many scans there are before the end-of-image marker, walking scan data from `at`; none without
/// that marker. Thumbnails inside metadata have such markers too, which is why a search from the back
/// would not do.
fn scans(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut scans = 0;
    while let Some((marker, payload, _)) = next_marker(bytes, at) {
        at = match marker {
            EOI => return Some(scans),
            // Within scan data: a stuffed FF, or a restart.
            0x00 | 0x01 | 0xD0..=0xD7 => payload,
            _ => {
                scans += usize::from(marker == SOS);
                segment(bytes, payload)?.ok()?.1
            }
        };
    }
    None
}

/// Decodes a JPEG, to a half, a quarter or an eighth where that is enough.
pub(super) fn read(bytes: &[u8], least: Least<'_>) -> Result<Stored, ImageError> {
    let corrupt = |error: DecodeErrors| ImageError::corrupt(SourceFormat::Jpeg, format!("{error:?}"));
    let Header { probe, padded, frame_end, components, progressive } = header(bytes)?;
    let scans = scans(bytes, frame_end)
        .ok_or_else(|| ImageError::corrupt(SourceFormat::Jpeg, "it ends before its end marker"))?;
    let whole = (probe.width, probe.height);
    let options = DecoderOptions::default()
        .set_strict_mode(!padded)
        .set_max_width(probe.width as usize)
        .set_max_height(probe.height as usize)
        .jpeg_set_max_scans(MAX_SCANS);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(corrupt)?;
    let stored = decoder.input_colorspace().unwrap_or(ColorSpace::YCbCr);
    let reduces = |(width, height)| 2 * width <= whole.0 && 2 * height <= whole.1;
    // The other decoder doesn't bound its scans, and would keep each of a progressive file's.
    // Of colours that Adobe's marker calls untransformed, the two think differently.
    let usual = matches!(stored, ColorSpace::YCbCr | ColorSpace::Luma);
    let plain = usual && scans == 1 && !progressive && components != 4 && !padded;
    if let Some(least) = least(whole).filter(|least| plain && reduces(*least))
        && let Some(small) = read_small(bytes, probe, least)
    {
        return Ok(small);
    }
    // Four components come as they are stored, for the profile's sake; see `colour`. How many there are,
    // the decoder doesn't look at yet: it takes any file that Adobe's marker calls untransformed for CMYK.
    let wanted = match (components, stored) {
        (1, _) => ColorSpace::Luma,
        (4, ColorSpace::YCCK) => ColorSpace::YCCK,
        (4, _) => ColorSpace::CMYK,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(wanted));
    let pixels = decoder.decode().map_err(corrupt)?;
    let samples = match wanted {
        ColorSpace::Luma => Samples::Grey(pixels),
        ColorSpace::CMYK => Samples::AdobeCmyk(pixels),
        ColorSpace::YCCK => Samples::Ycck(pixels),
        _ => Samples::Rgb(pixels),
    };
    Ok(Stored { samples, icc: decoder.icc_profile(), exif: decoder.exif().cloned(), probe, size: whole })
}

/// Decodes to no less than `least`. None where that can't be done: what is wrong with a file, the decoder
/// for whole pictures says.
fn read_small(bytes: &[u8], probe: Probe, least: (u32, u32)) -> Option<Stored> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    let side = |side: u32| u16::try_from(side).ok();
    let (width, height) = decoder.scale(side(least.0)?, side(least.1)?).ok()?;
    decoder.set_max_decoding_buffer_size(usize::from(width) * usize::from(height) * 3);
    let pixels = decoder.decode().ok()?;
    let samples = match decoder.info()?.pixel_format {
        PixelFormat::L8 => Samples::Grey(pixels),
        PixelFormat::RGB24 => Samples::Rgb(pixels),
        PixelFormat::L16 | PixelFormat::CMYK32 => return None,
    };
    let exif = decoder.exif_data().map(<[u8]>::to_vec);
    let size = (u32::from(width), u32::from(height));
    Some(Stored { samples, icc: decoder.icc_profile(), exif, probe, size })
}

#[cfg(test)]
mod tests {
    use jpeg_encoder::ColorType;

    use super::{
        super::{
            decode::{decode, decode_to},
            fixtures,
        },
        *,
    };

    const SIZE: (u32, u32) = (40, 24);

    fn sample(progressive: bool) -> Vec<u8> {
        fixtures::jpeg(&fixtures::scene(40, 24), SIZE, ColorType::Rgb, |encoder| {
            encoder.set_progressive(progressive);
        })
    }

    #[test]
    fn baseline_and_progressive_give_the_picture() {
        for progressive in [false, true] {
            let photo = fixtures::photo(&sample(progressive));
            assert_eq!((photo.width, photo.height), SIZE);
            assert!(photo.alpha.is_none() && !photo.animated && !photo.profile_converted);
            assert!(fixtures::distance(&photo.rgb, &fixtures::scene(40, 24)) <= 8);
        }
    }

    #[test]
    fn a_jpeg_that_ends_early_is_damaged() {
        fixtures::refused_at_every_length(&sample(false));
        fixtures::refused_at_every_length(&sample(true));
    }

    /// With a segment behind the first one, JFIF's, which ends at byte 20.
    fn with_segment(file: &[u8], segment: &[u8]) -> Vec<u8> {
        [&file[..20], segment, &file[20..]].concat()
    }

    /// Adobe's marker, which says how colours were transformed.
    fn adobe(transform: u8) -> Vec<u8> {
        [&b"\xFF\xEE\x00\x0EAdobe\x00\x64\x00\x00\x00\x00"[..], &[transform]].concat()
    }

    #[test]
    fn a_small_decoding_shows_the_whole_ones_colours() {
        let grey: Vec<u8> = (0..40 * 24).map(|n| (n % 40 * 6) as u8).collect();
        let plain = sample(false);
        for (what, file, width) in [
            ("plain", plain.clone(), 10),
            ("grey", fixtures::jpeg(&grey, SIZE, ColorType::Luma, |_| {}), 10),
            ("called RGB", with_segment(&plain, &adobe(0)), 40),
            ("called YCbCr", with_segment(&plain, &adobe(1)), 10),
        ] {
            let [whole, small] = [None, Some((10, 6))].map(|least| {
                let (photo, _) = decode_to(&file, &fixtures::LIMITS, &|_| least).expect(what);
                let sum =
                    |channel| photo.rgb.iter().skip(channel).step_by(3).map(|c| u64::from(*c)).sum::<u64>();
                let pixels = u64::from(photo.width * photo.height);
                (photo.width, [0, 1, 2].map(|channel| (sum(channel) / pixels) as i32))
            });
            assert_eq!((whole.0, small.0), (40, width), "{what}");
            let apart = whole.1.iter().zip(small.1).map(|(a, b)| (a - b).abs()).max();
            assert!(apart <= Some(2), "{what}: {whole:?} and {small:?}");
        }
    }

    #[test]
    fn only_a_file_of_one_scan_is_decoded_small() {
        let whole = sample(false);
        let start = whole.windows(2).position(|pair| pair == [0xFF, SOS]).expect("a scan");
        let scan = &whole[start..start + 14];
        let (image, end) = whole.split_at(whole.len() - 2);
        // Each costs a pass over the picture, and hardly a byte.
        let many = [image, &scan.repeat(200), end].concat();
        for (file, width) in [(&whole, 10), (&many, 40), (&sample(true), 40)] {
            if let Ok((photo, _)) = decode_to(file, &fixtures::LIMITS, &|_| Some((10, 6))) {
                assert_eq!(photo.width, width);
            }
        }
        assert!(decode_to(&whole, &fixtures::LIMITS, &|_| Some((10, 6))).is_ok());
    }

    #[test]
    fn bytes_after_the_end_do_no_harm() {
        let whole = sample(false);
        let trailed = [whole.as_slice(), b"a phone's second picture \xFF\xD8\xFF\xD9"].concat();
        assert_eq!(fixtures::photo(&trailed), fixtures::photo(&whole));
    }

    #[test]
    fn padding_between_segments_does_no_harm() {
        let whole = sample(false);
        let padded = with_segment(&whole, &[0; 9]);
        assert_eq!(fixtures::photo(&padded), fixtures::photo(&whole));
        fixtures::refused_at_every_length(&padded);
    }

    #[test]
    fn a_gap_in_the_scan_is_damage_not_a_grey_half() {
        let mut file = fixtures::jpeg(&fixtures::scene(300, 300), (300, 300), ColorType::Rgb, |e| {
            e.set_optimized_huffman_tables(true);
        });
        let half = file.len() / 2;
        file.drain(half..file.len() - 40);
        let result = decode(&file, &fixtures::LIMITS);
        assert!(matches!(result, Err(ImageError::Corrupt { .. })), "{result:?}");
    }

    #[test]
    fn kinds_that_no_browser_shows_are_unsupported() {
        for (offset, value) in [(1, 0xC9), (1, 0xC3), (4, 12)] {
            let mut file = sample(false);
            let frame = file.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame");
            file[frame + offset] = value;
            let result = decode(&file, &fixtures::LIMITS);
            assert!(matches!(result, Err(ImageError::Unsupported { .. })), "{result:?}");
        }
    }

    #[test]
    fn grey_becomes_three_equal_channels() {
        let grey: Vec<u8> = (0..40 * 24).map(|n| (n % 40 * 6) as u8).collect();
        let photo = fixtures::photo(&fixtures::jpeg(&grey, SIZE, ColorType::Luma, |_| {}));
        let expected: Vec<u8> = grey.iter().flat_map(|level| [*level; 3]).collect();
        assert!(fixtures::distance(&photo.rgb, &expected) <= 4);
    }

    #[test]
    fn the_profile_in_a_jpeg_is_used() {
        let icc = moxcms::ColorProfile::new_display_p3().encode().expect("a profile");
        let flat = [200, 100, 50].repeat(40 * 24);
        let file = fixtures::jpeg(&flat, SIZE, ColorType::Rgb, |encoder| {
            encoder.add_icc_profile(&icc).expect("fits");
        });
        let photo = fixtures::photo(&file);
        assert!(photo.profile_converted);
        // By the two standards' matrices: 214.9, 92.6, 31.0.
        assert!(fixtures::distance(&photo.rgb[..3], &[215, 93, 31]) <= 3, "{:?}", &photo.rgb[..3]);
    }
}
