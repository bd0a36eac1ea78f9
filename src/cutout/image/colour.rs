//! Every photo's colours become 8-bit sRGB here, with its transparency set aside.
//!
//! Knows how channels are laid out and what inks mean; what a profile says is `profile`'s.

use moxcms::{DataColorSpace, Layout};

use super::profile::transform;

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

#[cfg(test)]
mod tests {
    use moxcms::{ColorProfile, LutDataType, LutStore, LutType, LutWarehouse, Matrix3d, ProfileClass};

    use super::{super::profile::MAX_PROFILE_BYTES, *};

    fn icc(profile: &ColorProfile) -> Vec<u8> {
        profile.encode().expect("a profile")
    }

    fn close(found: &[u8], expected: &[u8]) -> bool {
        super::super::fixtures::distance(found, expected) <= 1
    }

    #[test]
    fn display_p3_becomes_srgb_by_the_standards_matrices() {
        let profile = icc(&ColorProfile::new_display_p3());
        let from = [[200, 100, 50], [60, 180, 90], [30, 60, 200], [255, 0, 0], [128, 128, 128]];
        let to = [[215, 93, 31], [0, 183, 78], [17, 61, 208], [255, 0, 0], [128, 128, 128]];
        let colours = to_srgb(Samples::Rgb(from.concat()), Some(&profile));
        assert!(colours.converted);
        assert!(close(&colours.rgb, &to.concat()), "{:?}", colours.rgb);

        // The same with transparency, which no profile touches, and more than one batch long.
        let rgba = [200, 100, 50, 7].repeat(BATCH + 3);
        let colours = to_srgb(Samples::Rgba(rgba), Some(&profile));
        assert!(close(&colours.rgb, &[215, 93, 31].repeat(BATCH + 3)));
        assert_eq!(colours.alpha, Some(vec![7; BATCH + 3]));
    }

    #[test]
    fn profiles_that_change_nothing_or_cannot_be_used_are_left_aside() {
        let rgb: Vec<u8> = (0..=255).collect::<Vec<u8>>()[..255].to_vec();
        let p3 = icc(&ColorProfile::new_display_p3());
        let mut broken = p3.clone();
        broken[128..].fill(0xA5);
        let srgb = icc(&ColorProfile::new_srgb());
        let grey = icc(&ColorProfile::new_gray_with_gamma(1.8));
        let huge = [p3.as_slice(), &vec![0; MAX_PROFILE_BYTES]].concat();
        for profile in [&srgb[..], &grey, &broken, &p3[..p3.len() / 2], &huge, b"no profile", b""] {
            let colours = to_srgb(Samples::Rgb(rgb.clone()), Some(profile));
            assert!(!colours.converted);
            assert_eq!(colours.rgb, rgb);
        }
    }

    #[test]
    fn grey_profiles_are_used() {
        let profile = icc(&ColorProfile::new_gray_with_gamma(1.8));
        let colours = to_srgb(Samples::Grey(vec![0, 64, 128, 200, 255]), Some(&profile));
        let expected: Vec<u8> = [0, 81, 146, 210, 255].iter().flat_map(|l| [*l; 3]).collect();
        assert!(colours.converted);
        assert!(close(&colours.rgb, &expected), "{:?}", colours.rgb);
    }

    #[test]
    fn plain_cmyk_is_read_as_adobe_stores_it() {
        let paper_black_cyan_half = [255, 255, 255, 255, 9, 9, 9, 0, 0, 255, 255, 255, 255, 128, 0, 128];
        let colours = to_srgb(Samples::AdobeCmyk(paper_black_cyan_half.to_vec()), None);
        assert_eq!(colours.rgb, [255, 255, 255, 0, 0, 0, 0, 255, 255, 128, 64, 0]);
        // YCCK: the complement of the inks as YCbCr. White paper is black there.
        let colours = to_srgb(Samples::Ycck(vec![0, 128, 128, 255, 76, 85, 255, 255]), None);
        assert!(close(&colours.rgb, &[255, 255, 255, 1, 255, 255]), "{:?}", colours.rgb);
    }

    /// A printer that knows only lightness: cyan darkens it to 40 %, black to none.
    fn press() -> ColorProfile {
        let lightness = |inks: usize| match (inks & 0b1000 != 0, inks & 0b0001 != 0) {
            (_, true) => 0,
            (true, false) => 0xFF00 / 5 * 2,
            _ => 0xFF00,
        };
        let lut = LutDataType {
            num_input_channels: 4,
            num_output_channels: 3,
            num_clut_grid_points: 2,
            matrix: Matrix3d::IDENTITY,
            num_input_table_entries: 2,
            num_output_table_entries: 2,
            input_table: LutStore::Store16([0, 0xFFFF].repeat(4)),
            clut_table: LutStore::Store16(
                (0..16).flat_map(|inks| [lightness(inks), 0x8000, 0x8000]).collect(),
            ),
            output_table: LutStore::Store16([0, 0xFFFF].repeat(3)),
            lut_type: LutType::Lut16,
        };
        let mut press = ColorProfile::default();
        press.color_space = DataColorSpace::Cmyk;
        press.pcs = DataColorSpace::Lab;
        press.profile_class = ProfileClass::OutputDevice;
        press.white_point = ColorProfile::new_srgb().white_point;
        press.lut_a_to_b_perceptual = Some(LutWarehouse::Lut(lut));
        press
    }

    #[test]
    fn cmyk_goes_through_its_profile() {
        // Paper, black, cyan, as Adobe stores them.
        let inks = vec![255, 255, 255, 255, 255, 255, 255, 0, 0, 255, 255, 255];
        let colours = to_srgb(Samples::AdobeCmyk(inks), Some(&icc(&press())));
        assert!(colours.converted);
        // L* 40 is sRGB 94; plainly it would have been 0, 255, 255.
        let expected = [255, 255, 255, 0, 0, 0, 94, 94, 94];
        let distance = super::super::fixtures::distance(&colours.rgb, &expected);
        assert!(distance <= 3, "{:?}", colours.rgb);
    }

    #[test]
    fn transparency_that_hides_nothing_is_dropped() {
        let colours = to_srgb(Samples::GreyAlpha(vec![1, 255, 2, 255]), None);
        assert_eq!((colours.rgb, colours.alpha), (vec![1, 1, 1, 2, 2, 2], None));
        let colours = to_srgb(Samples::GreyAlpha(vec![1, 255, 2, 254]), None);
        assert_eq!(colours.alpha, Some(vec![255, 254]));
    }
}
