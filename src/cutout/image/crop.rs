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
pub(super) fn subject_box(alpha: &[u8], width: u32) -> Option<Area> {
    let seen = |a: &u8| *a >= SUBJECT_ALPHA;
    let rows = || alpha.chunks_exact(width as usize);
    let top = rows().position(|row| row.iter().any(seen))?;
    let bottom = rows().rposition(|row| row.iter().any(seen))?;
    let (mut left, mut right) = (width as usize, 0);
    for row in rows() {
        if let Some(first) = row.iter().position(seen) {
            left = left.min(first);
        }
        if let Some(last) = row.iter().rposition(seen) {
            right = right.max(last);
        }
    }
    Some(Area {
        left: left as u32,
        top: top as u32,
        width: (right + 1 - left) as u32,
        height: (bottom + 1 - top) as u32,
    })
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
            match subject_box(&alpha, width) {
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
