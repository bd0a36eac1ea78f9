//! What a photo will cost in memory, told from its header, for who must bound many at once.
//!
//! Bytes a pixel at the worst moment, measured as the process's peak over its size before, with
//! nothing else running:
//!
//! | moment | bytes a pixel |
//! | --- | --- |
//! | JPEG, baseline · turned by EXIF, or progressive 4:2:0 · progressive 4:4:4 · CMYK progressive | 3 · 6 · 9 · 12 |
//! | PNG, opaque · with transparency · and turned by EXIF | 3 · 5 · 7 |
//! | WebP, opaque · with transparency · animated | 5 · 11 · 12 |
//! | photo, mask and a PNG or JPEG of them, whose bytes are two a pixel at most for what cameras see | 6 |
//! | the same, cropped or with transparency of its own, when a copy of it is needed | 8 |
//! | the same while WebP is written, in libwebp's own memory | 25 |

use crate::protocol::options::{Options, OutputFormat, OutputSize};

use super::probe::Probe;

/// From the mask to the file.
const PIXEL_BYTES: u64 = 6;

/// The same with a copy of the picture.
const PIXEL_BYTES_COPIED: u64 = 8;

/// The same when a WebP of full size is written.
const PIXEL_BYTES_WEBP: u64 = 26;

/// Tables, rows in flight and the like, for any photo.
const FIXED_BYTES: u64 = 2 << 20;

/// The memory that one photo takes at once, from decoding to encoding, without the file that was sent and
/// without the model.
pub fn peak_bytes(probe: &Probe, options: &Options) -> u64 {
    let pixels = u64::from(probe.width) * u64::from(probe.height);
    let encoding = match options.format {
        OutputFormat::Webp if options.size == OutputSize::Full => PIXEL_BYTES_WEBP,
        _ if options.crop || options.size == OutputSize::Preview => PIXEL_BYTES_COPIED,
        _ => PIXEL_BYTES,
    };
    FIXED_BYTES + pixels * encoding.max(probe.decoding)
}

#[cfg(test)]
mod tests {
    use super::{super::SourceFormat, *};

    #[test]
    fn a_full_size_webp_costs_most() {
        let format = SourceFormat::Jpeg;
        let probe = Probe { format, width: 4000, height: 3000, animated: false, decoding: 6 };
        let cost = |text: &[(&str, &str)]| {
            let options = Options::from_pairs(text.iter().copied()).expect("good options");
            peak_bytes(&probe, &options) >> 20
        };
        assert_eq!(cost(&[]), 70);
        assert_eq!(cost(&[("format", "webp")]), 299);
        assert_eq!(cost(&[("format", "webp"), ("size", "preview")]), 93);
        let probe = Probe { decoding: 12, ..probe };
        assert_eq!(peak_bytes(&probe, &Options::default()) >> 20, 139, "a decoder that needs more");
    }
}
