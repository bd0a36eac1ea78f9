//! Colour profiles: from the bytes in a photo to a conversion, or to none.
//!
//! Phones tag their photos Display P3; a cutout is untagged and so is read as sRGB. Without
//! conversion a pet's fur comes out duller than in the photo beside it. A profile that cannot be
//! read, that is for other channels than the photo has, or that says sRGB anyway, is left aside:
//! a photo is never refused for its profile.

use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, Transform8BitExecutor, TransformOptions};

/// Larger profiles are no photo's: printing profiles take about 2 MB.
pub(super) const MAX_PROFILE_BYTES: usize = 4 << 20;

/// A conversion to sRGB from a profile for `space`, when there is one that changes anything.
pub(super) fn transform(
    icc: Option<&[u8]>,
    space: DataColorSpace,
    layout: Layout,
) -> Option<Arc<Transform8BitExecutor>> {
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
