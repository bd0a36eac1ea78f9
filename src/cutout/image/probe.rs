//! What a photo is and how large, from its first bytes, before anything is promised for it.
//!
//! This is the bomb guard: the size in the header is held against the limits here, and every
//! decoder is later held to the size that was found here. It costs microseconds and allocates
//! nothing, so it may run on the thread that reads the network.

use super::{error::ImageError, read_jpeg, read_png, read_webp};

/// No side may be longer: JPEG cannot hold more, and a strip 1 pixel high and 40 million long is
/// no photo.
pub const MAX_SIDE: u32 = 65_535;

/// What a photo may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Width times height at most; see [`decode`](super::decode) for the bytes that a pixel takes.
    pub max_pixels: u64,
}

/// A photo's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceFormat {
    /// Baseline or progressive, 8 bit.
    Jpeg,
    /// Any colour type and depth.
    Png,
    /// Lossy, lossless or animated.
    Webp,
}

impl SourceFormat {
    /// The media type, as in `Content-Type`.
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }
}

impl std::fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Webp => "WebP",
        })
    }
}

/// A header's word about its photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The format, by its first bytes; names and declared media types lie.
    pub format: SourceFormat,
    /// Width as stored, before the EXIF orientation is applied.
    pub width: u32,
    /// Height as stored.
    pub height: u32,
    /// More than one frame; only the first is used. Of a prefix, as far as it shows.
    pub animated: bool,
    /// Bytes of memory for each pixel that decoding takes at most; see [`peak_bytes`](super::peak_bytes).
    pub decoding: u64,
}

/// Judges a photo by its first bytes: the whole file, or a prefix that holds the header. A few
/// kilobytes do for PNG and WebP; a JPEG's header comes after its metadata, which may take some
/// hundred.
///
/// # Errors
/// [`ImageError::Empty`], [`ImageError::Unsupported`], [`ImageError::Corrupt`] for a header that
/// contradicts itself, [`ImageError::HeaderIncomplete`] when more bytes are needed to tell, and
/// [`ImageError::TooManyPixels`] or [`ImageError::SideTooLong`] over the limits.
pub fn probe(bytes: &[u8], limits: &Limits) -> Result<Probe, ImageError> {
    let found = match sniff(bytes)? {
        SourceFormat::Jpeg => read_jpeg::header(bytes)?.probe,
        SourceFormat::Png => read_png::header(bytes)?,
        SourceFormat::Webp => read_webp::header(bytes)?,
    };
    let Probe { width, height, .. } = found;
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        let limit = limits.max_pixels;
        return Err(ImageError::TooManyPixels { width, height, pixels, limit });
    }
    if width.max(height) > MAX_SIDE {
        return Err(ImageError::SideTooLong { width, height, limit: MAX_SIDE });
    }
    Ok(found)
}

fn sniff(bytes: &[u8]) -> Result<SourceFormat, ImageError> {
    const JPEG: &[u8] = &[0xFF, 0xD8, 0xFF];
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let tag = bytes.get(8..12);
    // A prefix may be shorter than the magic; then more bytes are what is missing.
    let begins = |magic: &[u8]| magic.starts_with(&bytes[..bytes.len().min(magic.len())]);
    if begins(JPEG) {
        Ok(SourceFormat::Jpeg)
    } else if begins(read_png::SIGNATURE) {
        Ok(SourceFormat::Png)
    } else if begins(b"RIFF") && tag.is_none_or(|tag| tag == b"WEBP") {
        Ok(SourceFormat::Webp)
    } else {
        Err(ImageError::Unsupported { looks_like: looks_like(bytes) })
    }
}

/// A name for what people send by mistake, so that the message helps.
fn looks_like(bytes: &[u8]) -> &'static str {
    const MAGICS: [(&[u8], &str); 13] = [
        (b"GIF8", "a GIF"),
        (b"BM", "a BMP"),
        (b"II*\0", "a TIFF or camera raw file"),
        (b"MM\0*", "a TIFF or camera raw file"),
        (b"%PDF", "a PDF"),
        (b"8BPS", "a Photoshop document"),
        (b"PK\x03\x04", "a ZIP archive or office document"),
        (b"\xFF\x0A", "a JPEG XL"),
        (b"\0\0\0\x0CJXL ", "a JPEG XL"),
        (b"\0\0\0\x0CjP  ", "a JPEG 2000"),
        (b"RIFF", "a RIFF file that is no WebP"),
        (b"{", "JSON"),
        (b"data:", "a data URL, not the bytes in it"),
    ];
    if bytes.get(4..8) == Some(b"ftyp") {
        return match bytes.get(8..12) {
            Some(b"avif" | b"avis") => "an AVIF",
            Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1") => {
                "a HEIC, an iPhone's own format"
            }
            _ => "a video",
        };
    }
    if let Some((_, name)) = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return name;
    }
    let text = bytes[..bytes.len().min(256)].trim_ascii_start();
    if text.starts_with(b"<svg") || text.starts_with(b"<?xml") {
        "an SVG or other XML"
    } else if text.starts_with(b"<") {
        "an HTML page"
    } else {
        "no image that we know"
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};

    const SIZE: (u32, u32) = (31, 17);

    fn samples() -> [(SourceFormat, Vec<u8>); 3] {
        let (rgb, rgba) = (fixtures::scene(31, 17), fixtures::scene_rgba(31, 17));
        [
            (SourceFormat::Jpeg, fixtures::jpeg(&rgb, SIZE, jpeg_encoder::ColorType::Rgb, |_| {})),
            (SourceFormat::Png, fixtures::png(&rgb, SIZE, png::ColorType::Rgb, png::BitDepth::Eight, |_| {})),
            (SourceFormat::Webp, fixtures::webp(&rgba, SIZE, None, None)),
        ]
    }

    #[test]
    fn a_prefix_is_enough_or_says_that_it_is_not() {
        for (format, file) in samples() {
            let whole = probe(&file, &fixtures::LIMITS).expect("a good header");
            let decoding = whole.decoding;
            assert_eq!(whole, Probe { format, width: 31, height: 17, animated: false, decoding });
            let mut told = 0;
            for end in 1..file.len() {
                match probe(&file[..end], &fixtures::LIMITS) {
                    Ok(found) => assert_eq!(found, whole),
                    Err(ImageError::HeaderIncomplete { format: found, have }) => {
                        assert_eq!((found, have), (format, end));
                        told = end;
                    }
                    Err(other) => panic!("{end}: {other}"),
                }
            }
            assert!(told < 700, "{format} needed more than {told} bytes");
        }
    }

    #[test]
    fn a_header_over_the_limits_is_refused_with_value_and_limit() {
        for (_, file) in samples() {
            let (width, height) = SIZE;
            assert!(probe(&file, &Limits { max_pixels: 527 }).is_ok());
            assert_eq!(
                probe(&file, &Limits { max_pixels: 526 }),
                Err(ImageError::TooManyPixels { width, height, pixels: 527, limit: 526 })
            );
        }
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let png = |width: u32, height: u32| {
            let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
            [read_png::SIGNATURE, b"\0\0\0\x0DIHDR", &sides, &[8, 6, 0, 0, 0, 0, 0, 0, 0]].concat()
        };
        let limits = Limits { max_pixels: 40_000_000 };
        let (width, height) = (50_000, 50_000);
        let pixels = 2_500_000_000;
        assert_eq!(
            probe(&png(width, height), &limits),
            Err(ImageError::TooManyPixels { width, height, pixels, limit: 40_000_000 })
        );
        let (width, height) = (70_000, 1);
        assert_eq!(
            probe(&png(width, height), &limits),
            Err(ImageError::SideTooLong { width, height, limit: MAX_SIDE })
        );
        for (width, height) in [(0, 1), (1, 0), (1 << 31, 1), (u32::MAX, u32::MAX)] {
            let result = probe(&png(width, height), &limits);
            assert!(matches!(result, Err(ImageError::Corrupt { .. })), "{result:?}");
        }
    }

    #[test]
    fn other_files_are_called_by_their_names() {
        let named: [(&[u8], &str); 8] = [
            (b"GIF89a", "a GIF"),
            (b"\0\0\0\x18ftypheic\0\0", "a HEIC, an iPhone's own format"),
            (b"\0\0\0\x20ftypavif", "an AVIF"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "a RIFF file that is no WebP"),
            (b"  <!doctype html>", "an HTML page"),
            (b"<svg xmlns=", "an SVG or other XML"),
            (b"%PDF-1.7", "a PDF"),
            (b"\0", "no image that we know"),
        ];
        for (bytes, looks_like) in named {
            let expected = ImageError::Unsupported { looks_like };
            assert_eq!(probe(bytes, &fixtures::LIMITS), Err(expected));
        }
        assert_eq!(probe(b"", &fixtures::LIMITS), Err(ImageError::Empty));
    }
}
