//! What a picture's header says: enough to see that a cutout is one, without decoding it.

/// What photos and cutouts come as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `FF D8 FF`.
    Jpeg,
    /// The eight-byte signature.
    Png,
    /// RIFF with WEBP in it.
    WebP,
}

impl Format {
    /// Its media type.
    pub fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
        }
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// By its magic bytes.
    pub format: Format,
    /// In pixels, before any orientation.
    pub width: u32,
    /// In pixels, before any orientation.
    pub height: u32,
}

/// By the first bytes alone.
pub(super) fn format_of(bytes: &[u8]) -> Option<Format> {
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        Some(Format::Jpeg)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(Format::Png)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(Format::WebP)
    } else {
        None
    }
}

impl Picture {
    /// None when the bytes end before the size does, or have none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let format = format_of(bytes)?;
        let (width, height) = match format {
            Format::Png => (be(bytes.get(16..20)?), be(bytes.get(20..24)?)),
            Format::Jpeg => jpeg_size(bytes)?,
            Format::WebP => webp_size(bytes)?,
        };
        Some(Self { format, width, height })
    }

    /// True when the size is this one, upright or lying: a photo's orientation is applied in its cutout.
    pub fn has_size(&self, width: u32, height: u32) -> bool {
        (self.width, self.height) == (width, height) || (self.height, self.width) == (width, height)
    }
}

/// Walks the segments to the frame header, `FF C0` and its kin.
fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let &[0xff, marker] = bytes.get(at..at + 2)? else { return None };
        match marker {
            // A fill byte before the marker.
            0xff => at += 1,
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some((be(bytes.get(at + 7..at + 9)?), be(bytes.get(at + 5..at + 7)?)));
            }
            // Pixels without a frame header before them.
            0xda => return None,
            _ => at += 2 + usize::try_from(be(bytes.get(at + 2..at + 4)?)).ok()?,
        }
    }
}

/// The three kinds of a first chunk: lossy, lossless, extended.
fn webp_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let content = bytes.get(20..)?;
    match bytes.get(12..16)? {
        b"VP8 " => Some((le(content.get(6..8)?) & 0x3fff, le(content.get(8..10)?) & 0x3fff)),
        b"VP8L" => {
            let bits = le(content.get(1..5)?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((le(content.get(4..7)?) + 1, le(content.get(7..10)?) + 1)),
        _ => None,
    }
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte))
}

fn le(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The head of a JPEG file of 300 × 200: JFIF, frame header, end.
    pub(crate) fn jpeg() -> Vec<u8> {
        let jfif = [0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0];
        let frame = [0xff, 0xc0, 0, 11, 8, 0, 200, 1, 44, 1, 1, 0x11, 0];
        [&[0xff, 0xd8][..], &jfif, &frame, &[0xff, 0xd9]].concat()
    }

    /// The head of a PNG file of 300 × 200, with a wrong CRC.
    pub(crate) fn png() -> Vec<u8> {
        let header =
            [0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 1, 44, 0, 0, 0, 200, 8, 6, 0, 0, 0, 1, 2, 3, 4];
        [b"\x89PNG\r\n\x1a\n", &header[..], b"\0\0\0\0IEND\xae\x42\x60\x82"].concat()
    }

    /// The head of a lossless WebP file of 300 × 200.
    pub(crate) fn webp() -> Vec<u8> {
        let bits: u32 = 299 | 199 << 14;
        [b"RIFF\x12\0\0\0WEBPVP8L\x05\0\0\0\x2f", &bits.to_le_bytes()[..], b"\0"].concat()
    }

    #[test]
    fn headers_say_format_and_size() {
        for (bytes, format) in [(jpeg(), Format::Jpeg), (png(), Format::Png), (webp(), Format::WebP)] {
            assert_eq!(Picture::read(&bytes), Some(Picture { format, width: 300, height: 200 }));
        }
        let lossy = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\x30\x01\0\x9d\x01\x2a\x2c\x01\xc8\0";
        assert_eq!(Picture::read(lossy), Some(Picture { format: Format::WebP, width: 300, height: 200 }));
        let extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\x2b\x01\0\xc7\0\0";
        assert_eq!(Picture::read(extended), Some(Picture { format: Format::WebP, width: 300, height: 200 }));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(file in 0usize..3, tail in prop::collection::vec(any::<u8>(), 0..60), keep in 0usize..40) {
            let mut bytes = [jpeg(), png(), webp()][file].clone();
            bytes.truncate(keep);
            bytes.extend(tail);
            let _ = Picture::read(&bytes);
            let _ = super::super::Photo::new(bytes.into()).map(|photo| photo.with_remark("r").to_bytes());
        }
    }
}
