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
//! | photo, and a PNG or JPEG of it, of noise too | 6 |
//! | the same when a copy is needed: a crop as JPEG, a preview of a crop or of what may be transparent | 8 |
//! | the same while WebP is written, in libwebp's own memory · of noise | 25 · 27 |

use crate::protocol::options::{Edges, Options, OutputFormat, OutputSize};

use super::edges;
use super::probe::{Probe, SourceFormat};

/// From the photo to the file.
const PIXEL_BYTES: u64 = 6;

/// The same with a copy of the picture.
const PIXEL_BYTES_COPIED: u64 = 8;

/// The same when a WebP of full size is written.
const PIXEL_BYTES_WEBP: u64 = 27;

/// Tables, bands of rows in flight and the like, for any photo.
const FIXED_BYTES: u64 = 6 << 20;

/// The memory that one photo takes at once, from decoding to encoding, without the file that was sent and
/// without the model, whose input and map have `size` pixels a side.
///
/// A photo is scaled to that across before it is scaled down, a map the other way round: of a strip 1 pixel
/// wide and 65,535 high that is sixty megabytes.
pub fn peak_bytes(probe: &Probe, options: &Options, size: u32) -> u64 {
    let pixels = u64::from(probe.width) * u64::from(probe.height);
    let preview = options.size == OutputSize::Preview;
    let encoding = match options.format {
        // Opaque and whole, it is shrunk as soon as it is decoded.
        _ if preview && !options.crop && probe.format == SourceFormat::Jpeg => 0,
        _ if preview => PIXEL_BYTES_COPIED,
        OutputFormat::Webp => PIXEL_BYTES_WEBP,
        OutputFormat::Jpg | OutputFormat::Auto if options.crop => PIXEL_BYTES_COPIED,
        OutputFormat::Png | OutputFormat::Jpg | OutputFormat::Auto => PIXEL_BYTES,
    };
    let edges = match options.edges {
        Edges::Off => 0,
        Edges::Guided | Edges::Decontaminate => edges::bytes(u64::from(size), rayon::current_num_threads()),
    };
    let strips = u64::from(size) * (3 * u64::from(probe.width.max(probe.height)) + u64::from(probe.width));
    FIXED_BYTES + strips + edges + pixels * encoding.max(probe.decoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_size_webp_costs_most() {
        // Rows that are in work at once cost too.
        let four = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("four threads");
        four.install(full_size_webp_costs_most);
    }

    fn full_size_webp_costs_most() {
        let format = SourceFormat::Jpeg;
        let probe = Probe { format, width: 4000, height: 3000, animated: false, decoding: 6 };
        let cost = |text: &[(&str, &str)]| {
            let options = Options::from_pairs(text.iter().copied()).expect("good options");
            peak_bytes(&probe, &options, 320) >> 20
        };
        assert_eq!(cost(&[("edges", "off")]), 79);
        assert_eq!(cost(&[]), 92, "thirteen for edges");
        assert_eq!(cost(&[("edges", "off"), ("format", "webp")]), 319);
        assert_eq!(cost(&[("edges", "off"), ("format", "webp"), ("size", "preview")]), 79);
        let probe = Probe { decoding: 12, ..probe };
        assert_eq!(peak_bytes(&probe, &Options::default(), 320) >> 20, 161, "a decoder that needs more");
        let strip = Probe { width: 1, height: 65_535, ..probe };
        assert!(peak_bytes(&strip, &Options::default(), 320) >> 20 > 60, "a strip is scaled across first");
    }
}
