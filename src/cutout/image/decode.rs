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
    /// Width and height, less than the probe's where fewer pixels were asked for.
    pub(super) size: (u32, u32),
}

/// For a photo's width and height the least that will do, which it may be decoded to; `None` is all of it.
/// Sides are the file's, not yet turned upright.
pub(super) type Least<'a> = &'a dyn Fn((u32, u32)) -> Option<(u32, u32)>;

/// Decodes a whole file.
///
/// # Errors
/// Those of [`probe()`], whose limits hold before anything is allocated, and
/// [`ImageError::Corrupt`] for a file that is damaged or ends early.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo, ImageError> {
    Ok(decode_to(bytes, limits, &|_| None)?.0)
}

/// Decodes a file to no less than is asked for, and tells the photo's whole size, turned upright.
pub(super) fn decode_to(
    bytes: &[u8],
    limits: &Limits,
    least: Least<'_>,
) -> Result<(Photo, (u32, u32)), ImageError> {
    let whole = |error| match error {
        ImageError::HeaderIncomplete { format, have } => {
            ImageError::corrupt(format, format_args!("it ends in its header, after {have} bytes"))
        }
        other => other,
    };
    let Stored { samples, icc, exif, probe, size } = match probe(bytes, limits).map_err(whole)?.format {
        SourceFormat::Jpeg => read_jpeg::read(bytes, least),
        SourceFormat::Png => read_png::read(bytes),
        SourceFormat::Webp => read_webp::read(bytes),
    }
    .map_err(whole)?;

    let Colours { rgb, alpha, converted } = to_srgb(samples, icc.as_deref());
    let (width, height) = (size.0 as usize, size.1 as usize);
    let pixels = width * height;
    if rgb.len() != pixels * 3 {
        return Err(ImageError::corrupt(probe.format, "fewer pixels than its header says"));
    }
    let orientation = exif.as_deref().map_or(Orientation::Upright, Orientation::from_exif);
    let upright = |(across, down)| if orientation.swaps_sides() { (down, across) } else { (across, down) };
    let (across, down) = upright(size);
    let photo = Photo {
        width: across,
        height: down,
        rgb: orientation.apply::<3>(rgb, width),
        alpha: alpha.map(|alpha| orientation.apply::<1>(alpha, width)),
        animated: probe.animated,
        profile_converted: converted,
    };
    Ok((photo, upright((probe.width, probe.height))))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use jpeg_encoder::ColorType;
    use proptest::prelude::*;

    use super::{super::fixtures, *};

    #[test]
    fn every_orientation_in_every_format_shows_the_same_picture() {
        let (width, height) = (24, 16);
        let size = (width, height);
        let rgb = fixtures::scene(width, height);
        let rgba: Vec<u8> = rgb.as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [*r, *g, *b, 200]).collect();
        for tag in 1..=8 {
            let exif = fixtures::exif(tag, false);
            let jpeg = fixtures::jpeg(&rgb, size, ColorType::Rgb, |encoder| {
                encoder.add_exif_metadata(&exif).expect("fits");
            });
            let png = fixtures::png(&rgba, size, png::ColorType::Rgba, png::BitDepth::Eight, |i| {
                i.exif_metadata = Some(exif.clone().into());
            });
            let webp = fixtures::webp(&rgba, size, Some(exif.clone()), None);
            let turned = Orientation::from_exif(&exif).apply::<3>(rgb.clone(), width as usize);
            for (file, tolerance) in [(jpeg, 8), (png, 0), (webp, 0)] {
                let photo = fixtures::photo(&file);
                let across = if tag > 4 { (height, width) } else { size };
                assert_eq!((photo.width, photo.height), across, "{tag}");
                assert!(fixtures::distance(&photo.rgb, &turned) <= tolerance, "{tag}");
                assert!(photo.alpha.is_none_or(|alpha| alpha == [200; 24 * 16]), "{tag}");
            }
        }
    }

    /// The pixel at `x`, `y`.
    fn pixel(photo: &Photo, x: u32, y: u32) -> [u8; 3] {
        photo.rgb.as_chunks().0[(y * photo.width + x) as usize]
    }

    #[test]
    fn another_encoders_photos_stand_upright() {
        for tag in 1..=8 {
            let photo = fixtures::photo(&fixtures::file(&format!("orient_{tag}.jpg")));
            assert_eq!((photo.width, photo.height), (64, 48), "{tag}");
            for (x, y, colour) in [
                (9, 9, [220, 30, 30]),
                (54, 9, [30, 180, 30]),
                (9, 38, [30, 30, 220]),
                (54, 38, [230, 220, 30]),
            ] {
                let found = pixel(&photo, x, y);
                assert!(fixtures::distance(&found, &colour) <= 6, "{tag}: {found:?}");
            }
        }
    }

    #[test]
    fn another_encoders_p3_becomes_srgb() {
        let photo = fixtures::photo(&fixtures::file("p3.jpg"));
        assert!(photo.profile_converted);
        let values = serde_json::from_slice(&fixtures::file("p3.json"));
        let values: serde_json::Value = values.expect("JSON");
        let patches = values["patches"].as_array().expect("patches");
        for patch in patches {
            let number = |value: &serde_json::Value| value.as_u64().expect("a number");
            let [x, y] = ["x", "y"].map(|name| number(&patch[name]) as u32);
            let expected = [0, 1, 2].map(|channel| number(&patch["srgb"][channel]) as u8);
            let found = pixel(&photo, x, y);
            assert!(fixtures::distance(&found, &expected) <= 3, "{found:?} for {patch}");
        }
        assert!(!patches.is_empty());
    }

    #[test]
    fn every_kind_of_file_is_decoded_or_refused_for_its_own_reason() {
        let size = |name: &str| {
            let photo = decode(&fixtures::file(name), &Limits { max_pixels: 40_000_000 })?;
            Ok((photo.width, photo.height, photo.alpha.is_some(), photo.animated))
        };
        for (name, expected) in [
            ("cat.jpg", (1448, 1086, false, false)),
            ("cat_exif6.jpg", (300, 200, false, false)),
            ("grey.jpg", (300, 200, false, false)),
            ("cmyk.jpg", (150, 100, false, false)),
            ("rgba.png", (150, 100, true, false)),
            ("palette.png", (150, 100, true, false)),
            ("rgb16.png", (60, 40, false, false)),
            ("grey16.png", (60, 40, false, false)),
            ("1x1.png", (1, 1, false, false)),
            ("1x5000.png", (1, 5000, false, false)),
            ("cat.webp", (300, 200, false, false)),
            ("lossless_alpha.webp", (150, 100, true, false)),
            ("animated.webp", (150, 100, false, true)),
        ] {
            assert_eq!(size(name), Ok(expected), "{name}");
        }
        for name in ["truncated.jpg", "truncated.png", "truncated.webp"] {
            assert!(matches!(size(name), Err(ImageError::Corrupt { .. })), "{name}");
        }
        for name in ["text.jpg", "gif.gif"] {
            assert!(matches!(size(name), Err(ImageError::Unsupported { .. })), "{name}");
        }
        assert!(matches!(size("bomb.png"), Err(ImageError::TooManyPixels { .. })));
        assert_eq!(size("empty"), Err(ImageError::Empty));
    }

    #[test]
    fn cmyk_of_another_encoder_looks_like_its_rgb() {
        // The same picture, stored as CMYK and, larger, as RGB.
        let cmyk = fixtures::photo(&fixtures::file("cmyk.jpg"));
        let rgb = fixtures::photo(&fixtures::file("cat_upright.jpg"));
        let rgb = super::super::resize::resized(
            &rgb.rgb,
            super::super::resize::Kind::Rgb,
            (rgb.width, rgb.height),
            (cmyk.width, cmyk.height),
        );
        let pairs = cmyk.rgb.iter().zip(rgb.expect("resizes")).map(|(a, b)| u64::from(a.abs_diff(b)));
        let mean = pairs.sum::<u64>() as f64 / cmyk.rgb.len() as f64;
        assert!(mean < 8.0, "{mean}");
    }

    #[test]
    fn extreme_shapes_decode() {
        for (width, height) in [(1, 1), (1, 5000), (5000, 1), (3, 2), (17, 9)] {
            let rgba = fixtures::scene_rgba(width, height);
            let rgb = fixtures::scene(width, height);
            let size = (width, height);
            for file in [
                fixtures::jpeg(&rgb, size, ColorType::Rgb, |_| {}),
                fixtures::png(&rgb, size, png::ColorType::Rgb, png::BitDepth::Eight, |_| {}),
                fixtures::webp(&rgba, size, None, None),
            ] {
                let photo = fixtures::photo(&file);
                assert_eq!((photo.width, photo.height), size);
                assert!(fixtures::distance(&photo.rgb, &rgb) <= 12);
            }
        }
    }

    /// One small file of each kind that a decoder has its own code for.
    static KINDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let (rgb, rgba, size) = (fixtures::scene(32, 20), fixtures::scene_rgba(32, 20), (32, 20));
        let icc = moxcms::ColorProfile::new_display_p3().encode().expect("a profile");
        let exif = fixtures::exif(6, true);
        let metadata = |encoder: &mut jpeg_encoder::Encoder<&mut Vec<u8>>| {
            encoder.add_exif_metadata(&exif).expect("fits");
            encoder.add_icc_profile(&icc).expect("fits");
        };
        vec![
            fixtures::jpeg(&rgb, size, ColorType::Rgb, metadata),
            fixtures::jpeg(&rgb, size, ColorType::Rgb, |e| e.set_progressive(true)),
            fixtures::jpeg(&rgba, size, ColorType::Cmyk, |_| {}),
            fixtures::jpeg(&rgba, size, ColorType::CmykAsYcck, |e| e.set_restart_interval(2)),
            fixtures::png(&rgba, size, png::ColorType::Rgba, png::BitDepth::Eight, |info| {
                info.icc_profile = Some(icc.clone().into());
                info.exif_metadata = Some(exif.clone().into());
            }),
            fixtures::webp(&rgba, size, Some(exif.clone()), Some(icc.clone())),
            fixtures::lossy_webp(&rgba, size),
            fixtures::animated_webp(&rgba, size),
        ]
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn damaged_files_give_a_photo_or_an_error_and_never_more_pixels_than_allowed(
            kind in 0usize..8,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut file = KINDS[kind].clone();
            for (at, value) in damage {
                let at = at.index(file.len());
                file[at] = value;
            }
            if let Some(cut) = cut {
                file.truncate(cut.index(file.len()));
            }
            let limits = Limits { max_pixels: 4096 };
            let [whole, small]: [Least<'_>; 2] = [&|_| None, &|_| Some((4, 4))];
            for (photo, _) in [whole, small].into_iter().filter_map(|least| decode_to(&file, &limits, least).ok()) {
                let pixels = photo.width as usize * photo.height as usize;
                prop_assert!(pixels <= 4096);
                prop_assert_eq!(photo.rgb.len(), pixels * 3);
                prop_assert!(photo.alpha.is_none_or(|alpha| alpha.len() == pixels));
            }
        }
    }
}
