//! From a file's bytes to an upright sRGB photo.

use super::{
    colour::{Colours, Samples, to_srgb},
    error::ImageError,
    orient::Orientation,
    probe::{Limits, Probe, SourceFormat, probe},
    read_jpeg, read_png, read_webp,
};

/// A photo as a person sees it: upright, sRGB, 8 bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    /// Width in pixels, after orientation.
    pub width: u32,
    /// Height in pixels, after orientation.
    pub height: u32,
    /// Three bytes a pixel, rows from the top, without padding.
    pub rgb: Vec<u8>,
    /// The file's own transparency, one byte a pixel; `None` when it is opaque throughout.
    pub alpha: Option<Vec<u8>>,
    /// There were more frames; this is the first.
    pub animated: bool,
    /// A colour profile other than sRGB was applied.
    pub profile_converted: bool,
}

/// What a reader found in a file, before colour and orientation.
pub(super) struct Stored {
    pub(super) samples: Samples,
    pub(super) icc: Option<Vec<u8>>,
    pub(super) exif: Option<Vec<u8>>,
    pub(super) probe: Probe,
}

/// Decodes a whole file.
///
/// # Errors
/// Those of [`probe()`], whose limits hold before anything is allocated, and
/// [`ImageError::Corrupt`] for a file that is damaged or ends early.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo, ImageError> {
    let whole = |error| match error {
        ImageError::HeaderIncomplete { format, have } => {
            ImageError::corrupt(format, format_args!("it ends in its header, after {have} bytes"))
        }
        other => other,
    };
    let Stored { samples, icc, exif, probe } = match probe(bytes, limits).map_err(whole)?.format {
        SourceFormat::Jpeg => read_jpeg::read(bytes),
        SourceFormat::Png => read_png::read(bytes),
        SourceFormat::Webp => read_webp::read(bytes),
    }
    .map_err(whole)?;

    let Colours { rgb, alpha, converted } = to_srgb(samples, icc.as_deref());
    let (width, height) = (probe.width as usize, probe.height as usize);
    let pixels = width * height;
    if rgb.len() != pixels * 3 {
        return Err(ImageError::corrupt(probe.format, "fewer pixels than its header says"));
    }
    let orientation = exif.as_deref().map_or(Orientation::Upright, Orientation::from_exif);
    let (across, down) = match orientation.swaps_sides() {
        true => (probe.height, probe.width),
        false => (probe.width, probe.height),
    };
    Ok(Photo {
        width: across,
        height: down,
        rgb: orientation.apply::<3>(rgb, width),
        alpha: alpha.map(|alpha| orientation.apply::<1>(alpha, width)),
        animated: probe.animated,
        profile_converted: converted,
    })
}
