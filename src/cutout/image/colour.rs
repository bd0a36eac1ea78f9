//! Every photo's colours become 8-bit sRGB here, with its transparency set aside.
//!
//! Phones tag their photos Display P3; a cutout is untagged and so is read as sRGB. Without
//! conversion a pet's fur comes out duller than in the photo beside it. A profile that cannot be
//! read, that is for other channels than the photo has, or that says sRGB anyway, is left aside:
//! a photo is never refused for its profile.

use moxcms::{ColorProfile, DataColorSpace, Layout, Transform8BitExecutor, TransformOptions};

/// Larger profiles are no photo's: printing profiles take about 2 MB.
const MAX_PROFILE_BYTES: usize = 4 << 20;

/// Pixels converted at a time, so that the copy that the conversion reads from stays in cache.
const BATCH: usize = 4096;

/// Pixels as the decoder gives them, 8 bits a channel, interleaved.
pub(super) enum Samples {
    Grey(Vec<u8>),
    GreyAlpha(Vec<u8>),
    Rgb(Vec<u8>),
    Rgba(Vec<u8>),
    /// As Adobe stores it: 255 is no ink. There is no other kind in the wild, and browsers too
    /// read every CMYK JPEG this way.
    AdobeCmyk(Vec<u8>),
    /// The same with its CMY as YCbCr.
    Ycck(Vec<u8>),
}

/// sRGB, three bytes a pixel, and the transparency, one.
pub(super) struct Colours {
    pub(super) rgb: Vec<u8>,
    pub(super) alpha: Option<Vec<u8>>,
    pub(super) converted: bool,
}

/// Converts to sRGB.
pub(super) fn to_srgb(samples: Samples, icc: Option<&[u8]>) -> Colours {
    let opaque = |(rgb, converted)| Colours { rgb, alpha: None, converted };
    match samples {
        Samples::Grey(grey) => opaque(grey_to_rgb(&grey, icc)),
        Samples::Rgb(rgb) => opaque(rgb_to_rgb(rgb, icc)),
        Samples::AdobeCmyk(cmyk) => opaque(cmyk_to_rgb(cmyk, icc)),
        Samples::Ycck(mut ycck) => {
            ycck_to_cmyk(&mut ycck);
            opaque(cmyk_to_rgb(ycck, icc))
        }
        Samples::GreyAlpha(both) => {
            let (grey, alpha) = split::<2, 1>(both);
            let (rgb, converted) = grey_to_rgb(&grey, icc);
            Colours { rgb, alpha, converted }
        }
        Samples::Rgba(both) => {
            let (rgb, alpha) = split::<4, 3>(both);
            let (rgb, converted) = rgb_to_rgb(rgb, icc);
            Colours { rgb, alpha, converted }
        }
    }
}

/// Takes the last of `N` channels out, closing the ranks of the `C` others in place. A channel
/// that is opaque throughout says nothing and is dropped.
fn split<const N: usize, const C: usize>(mut pixels: Vec<u8>) -> (Vec<u8>, Option<Vec<u8>>) {
    let alpha: Vec<u8> = pixels.as_chunks::<N>().0.iter().map(|pixel| pixel[C]).collect();
    for at in 0..alpha.len() {
        for channel in 0..C {
            pixels[at * C + channel] = pixels[at * N + channel];
        }
    }
    pixels.truncate(alpha.len() * C);
    pixels.shrink_to_fit();
    let alpha = Some(alpha).filter(|alpha| alpha.iter().any(|a| *a != 255));
    (pixels, alpha)
}

fn grey_to_rgb(grey: &[u8], icc: Option<&[u8]>) -> (Vec<u8>, bool) {
    let mut rgb = vec![0; grey.len() * 3];
    let Some(transform) = transform(icc, DataColorSpace::Gray, Layout::Gray) else {
        for (pixel, level) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(grey) {
            *pixel = [*level; 3];
        }
        return (rgb, false);
    };
    for (from, to) in grey.chunks(BATCH).zip(rgb.chunks_mut(BATCH * 3)) {
        // Both lengths are right by construction, the only thing it fails for.
        let _ = transform.transform(from, to);
    }
    (rgb, true)
}

fn rgb_to_rgb(mut rgb: Vec<u8>, icc: Option<&[u8]>) -> (Vec<u8>, bool) {
    let Some(transform) = transform(icc, DataColorSpace::Rgb, Layout::Rgb) else {
        return (rgb, false);
    };
    let mut copy = Vec::with_capacity(BATCH * 3);
    for batch in rgb.chunks_mut(BATCH * 3) {
        copy.clear();
        copy.extend_from_slice(batch);
        let _ = transform.transform(&copy, batch);
    }
    (rgb, true)
}

/// Plainly, without a profile: each ink darkens its own channel.
fn cmyk_to_rgb(mut cmyk: Vec<u8>, icc: Option<&[u8]>) -> (Vec<u8>, bool) {
    let mut rgb = vec![0; cmyk.len() / 4 * 3];
    let Some(transform) = transform(icc, DataColorSpace::Cmyk, Layout::Rgba) else {
        let inks = cmyk.as_chunks::<4>().0;
        for (pixel, [c, m, y, k]) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(inks) {
            *pixel = [c, m, y].map(|ink| super::compose::times(*ink, *k));
        }
        return (rgb, false);
    };
    // Profiles count ink, Adobe counts paper.
    cmyk.iter_mut().for_each(|ink| *ink = 255 - *ink);
    for (from, to) in cmyk.chunks(BATCH * 4).zip(rgb.chunks_mut(BATCH * 3)) {
        let _ = transform.transform(from, to);
    }
    (rgb, true)
}

/// JFIF's YCbCr on the first three channels; its RGB is the ink's complement.
fn ycck_to_cmyk(pixels: &mut [u8]) {
    // The factors 1.402, 0.344136, 0.714136 and 1.772 in 16.16 fixed point.
    for [first, second, third, _] in pixels.as_chunks_mut::<4>().0 {
        let luma = (i32::from(*first) << 16) + (1 << 15);
        let (cb, cr) = (i32::from(*second) - 128, i32::from(*third) - 128);
        let ink = |level: i32| 255 - (level >> 16).clamp(0, 255) as u8;
        *first = ink(luma + 91_881 * cr);
        *second = ink(luma - 22_554 * cb - 46_802 * cr);
        *third = ink(luma + 116_130 * cb);
    }
}

/// A conversion to sRGB from a profile for `space`, when there is one that changes anything.
fn transform(
    icc: Option<&[u8]>,
    space: DataColorSpace,
    layout: Layout,
) -> Option<std::sync::Arc<Transform8BitExecutor>> {
    let profile = icc.filter(|icc| icc.len() <= MAX_PROFILE_BYTES)?;
    let profile = ColorProfile::new_from_slice(profile).ok()?;
    if profile.color_space != space {
        return None;
    }
    let options = TransformOptions::default();
    let srgb = ColorProfile::new_srgb();
    let transform = profile.create_transform_8bit(layout, &srgb, Layout::Rgb, options).ok()?;
    (!keeps_colours(&*transform, layout)?).then_some(transform)
}

/// Most profiles are sRGB's own in one of its many spellings. Then the photo's pixels are better
/// than their rounded conversion, and cheaper.
fn keeps_colours(transform: &Transform8BitExecutor, layout: Layout) -> Option<bool> {
    const STEPS: [u8; 6] = [0, 40, 90, 150, 210, 255];
    let mut from = Vec::new();
    let mut same = Vec::new();
    match layout {
        Layout::Gray => {
            from.extend(STEPS);
            same.extend(STEPS.iter().flat_map(|level| [*level; 3]));
        }
        Layout::Rgb => {
            for r in STEPS {
                for g in STEPS {
                    from.extend(STEPS.iter().flat_map(|b| [r, g, *b]));
                }
            }
            same.clone_from(&from);
        }
        _ => return Some(false),
    }
    let mut to = vec![0; same.len()];
    transform.transform(&from, &mut to).ok()?;
    Some(to.iter().zip(&same).all(|(a, b)| a.abs_diff(*b) <= 1))
}
