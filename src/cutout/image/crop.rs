//! Where the subject is.

use rayon::prelude::*;

/// From this transparency on a pixel belongs to the subject's box: 5 % of 255.
const SUBJECT_ALPHA: u8 = 13;

/// A rectangle of the photo, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The smallest box around everything that is at least 5 % opaque; `None` when nothing is, and
/// the picture is better kept whole.
///
/// `row` gives one of `height` rows of transparency.
pub(super) fn subject_box(height: u32, row: impl Fn(u32) -> Vec<u8> + Sync) -> Option<Area> {
    let seen = |a: &u8| *a >= SUBJECT_ALPHA;
    let of_row = |y: u32| {
        let alpha = row(y);
        let left = alpha.iter().position(seen)?;
        let right = alpha.iter().rposition(seen)?;
        Some([left as u32, right as u32, y, y])
    };
    let [left, right, top, bottom] = (0..height)
        .into_par_iter()
        .filter_map(of_row)
        .reduce_with(|a, b| [a[0].min(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].max(b[3])])?;
    Some(Area { left, top, width: right + 1 - left, height: bottom + 1 - top })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_crop_box_is_the_smallest_around_everything_seen(
            (width, alpha) in (1u32..30, 1usize..30).prop_flat_map(|(width, height)| {
                let level = prop_oneof![6 => 0u8..13, 1 => 13u8..=255];
                (Just(width), prop::collection::vec(level, width as usize * height))
            }),
        ) {
            let seen = |n: &usize| alpha[*n] >= SUBJECT_ALPHA;
            let at = |n: usize| (n as u32 % width, n as u32 / width);
            let all: Vec<_> = (0..alpha.len()).filter(seen).map(at).collect();
            match subject_box(alpha.len() as u32 / width, |y| {
                alpha[(y * width) as usize..][..width as usize].to_vec()
            }) {
                None => prop_assert!(all.is_empty()),
                Some(Area { left, top, width, height }) => {
                    prop_assert_eq!(all.iter().map(|p| p.0).min(), Some(left));
                    prop_assert_eq!(all.iter().map(|p| p.0).max(), Some(left + width - 1));
                    prop_assert_eq!(all.iter().map(|p| p.1).min(), Some(top));
                    prop_assert_eq!(all.iter().map(|p| p.1).max(), Some(top + height - 1));
                }
            }
        }
    }
}
