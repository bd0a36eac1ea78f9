//! Where the subject is.

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
pub(super) fn subject_box(height: u32, row: impl Fn(u32) -> Vec<u8>) -> Option<Area> {
    let seen = |a: &u8| *a >= SUBJECT_ALPHA;
    let (mut left, mut right) = (usize::MAX, 0);
    let mut rows = None;
    for y in 0..height {
        let alpha = row(y);
        let Some(first) = alpha.iter().position(seen) else { continue };
        left = left.min(first);
        right = right.max(alpha.iter().rposition(seen).unwrap_or(first));
        let (top, _) = rows.unwrap_or((y, y));
        rows = Some((top, y));
    }
    let (top, bottom) = rows?;
    Some(Area { left: left as u32, top, width: (right + 1 - left) as u32, height: bottom + 1 - top })
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
