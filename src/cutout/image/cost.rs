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
//! | photo, masks and composed picture | 8 |
//! | the same while PNG or JPEG is written, beside the file | 8 |
//! | the same while WebP is written, in libwebp's own memory | 25 |

use crate::protocol::options::{Options, OutputFormat, OutputSize};

use super::probe::Probe;

/// The most that a photo needs from [`decode`](super::decode) to the composed picture.
const PIXEL_BYTES: u64 = 13;

/// The same when a WebP of full size is written.
const PIXEL_BYTES_WEBP: u64 = 26;

/// Tables, rows in flight and the like, for any photo.
const FIXED_BYTES: u64 = 2 << 20;

/// An upper bound on the memory that one photo takes at once, from decoding to encoding, without
/// its file and without the model.
pub fn peak_bytes(probe: &Probe, options: &Options) -> u64 {
    let pixels = u64::from(probe.width) * u64::from(probe.height);
    let webp = options.format == OutputFormat::Webp && options.size == OutputSize::Full;
    FIXED_BYTES + pixels * if webp { PIXEL_BYTES_WEBP } else { PIXEL_BYTES }
}

#[cfg(test)]
mod tests {
    use super::{super::SourceFormat, *};

    #[test]
    fn a_full_size_webp_costs_most() {
        let format = SourceFormat::Jpeg;
        let probe = Probe { format, width: 4000, height: 3000, animated: false };
        let cost = |text: &[(&str, &str)]| {
            let options = Options::from_pairs(text.iter().copied()).expect("good options");
            peak_bytes(&probe, &options) >> 20
        };
        assert_eq!(cost(&[]), 150);
        assert_eq!(cost(&[("format", "webp")]), 299);
        assert_eq!(cost(&[("format", "webp"), ("size", "preview")]), 150);
    }
}
