//! Which way is up: the EXIF orientation, read and applied.
//!
//! Phones store the sensor's rows as they are and note how the phone was held. A cutout has no
//! EXIF, so the note must become pixels. The reader takes one tag of the first directory and
//! nothing else; a note that makes no sense means "as stored", never an error.

/// How stored pixels must be turned to stand upright; the numbers of the EXIF tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orientation {
    /// 1, and everything unreadable.
    Upright,
    /// 2: mirrored left to right.
    Mirrored,
    /// 3: upside down.
    Rotated180,
    /// 4: mirrored top to bottom.
    Flipped,
    /// 5: rows and columns exchanged.
    Transposed,
    /// 6: turn clockwise.
    Rotated90,
    /// 7: exchanged along the other diagonal.
    Transversed,
    /// 8: turn counter-clockwise.
    Rotated270,
}

/// Edge of the square that is turned at a time, in pixels: both sides of the copy stay within
/// the first-level cache.
const TILE: usize = 32;

impl Orientation {
    /// From an EXIF block, with or without its `Exif\0\0` preamble.
    pub(super) fn from_exif(exif: &[u8]) -> Self {
        match tag_value(exif) {
            Some(2) => Self::Mirrored,
            Some(3) => Self::Rotated180,
            Some(4) => Self::Flipped,
            Some(5) => Self::Transposed,
            Some(6) => Self::Rotated90,
            Some(7) => Self::Transversed,
            Some(8) => Self::Rotated270,
            _ => Self::Upright,
        }
    }

    /// Whether width and height change places.
    pub(super) fn swaps_sides(self) -> bool {
        matches!(self, Self::Transposed | Self::Rotated90 | Self::Transversed | Self::Rotated270)
    }

    /// Turns `pixels`, rows of `width` pixels of `N` bytes: in place where the sides stay, else
    /// through a second buffer of the same size.
    pub(super) fn apply<const N: usize>(self, mut pixels: Vec<u8>, width: usize) -> Vec<u8> {
        let (all, _) = pixels.as_chunks_mut::<N>();
        match self {
            Self::Upright => {}
            Self::Mirrored => all.chunks_exact_mut(width).for_each(<[_]>::reverse),
            Self::Rotated180 => all.reverse(),
            Self::Flipped => {
                let mut rows = all.chunks_exact_mut(width);
                while let (Some(top), Some(bottom)) = (rows.next(), rows.next_back()) {
                    top.swap_with_slice(bottom);
                }
            }
            Self::Transposed => return exchanged::<N>(&pixels, width, false, false),
            Self::Rotated90 => return exchanged::<N>(&pixels, width, true, false),
            Self::Transversed => return exchanged::<N>(&pixels, width, true, true),
            Self::Rotated270 => return exchanged::<N>(&pixels, width, false, true),
        }
        pixels
    }
}

/// Rows become columns; `from_right` and `from_below` say on which side they begin.
fn exchanged<const N: usize>(pixels: &[u8], width: usize, from_right: bool, from_below: bool) -> Vec<u8> {
    let (source, _) = pixels.as_chunks::<N>();
    let height = source.len() / width;
    let mut turned = vec![0; pixels.len()];
    let (target, _) = turned.as_chunks_mut::<N>();
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for x in left..width.min(left + TILE) {
                let row = if from_below { width - 1 - x } else { x };
                for y in top..height.min(top + TILE) {
                    let column = if from_right { height - 1 - y } else { y };
                    target[row * height + column] = source[y * width + x];
                }
            }
        }
    }
    turned
}

/// The orientation tag (0x0112) of the first directory.
fn tag_value(exif: &[u8]) -> Option<u32> {
    const ORIENTATION: u32 = 0x0112;
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |at: usize, bytes: usize| {
        let field = tiff.get(at..at.checked_add(bytes)?)?;
        let join = |sum: u32, b: &u8| sum << 8 | u32::from(*b);
        Some(if little { field.iter().rev().fold(0, join) } else { field.iter().fold(0, join) })
    };
    let directory = number(4, 4)? as usize;
    let entries = number(directory, 2)? as usize;
    // Twelve bytes an entry: tag, type, count, value.
    (0..entries).map(|n| directory + 2 + n * 12).take_while(|at| *at < tiff.len()).find_map(|at| {
        if number(at, 2)? != ORIENTATION {
            return None;
        }
        match number(at + 2, 2)? {
            3 => number(at + 8, 2),
            4 => number(at + 8, 4),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::fixtures, Orientation};

    fn all() -> impl Iterator<Item = Orientation> {
        (1..=8).map(|tag| Orientation::from_exif(&fixtures::exif(tag, tag % 2 == 0)))
    }

    #[test]
    fn every_orientation_puts_the_corners_where_exif_says() {
        // Two rows of three:   1 2 3
        //                      4 5 6
        let expected: [(&[u8], &[u8]); 8] = [
            (&[1, 2, 3], &[4, 5, 6]),
            (&[3, 2, 1], &[6, 5, 4]),
            (&[6, 5, 4], &[3, 2, 1]),
            (&[4, 5, 6], &[1, 2, 3]),
            (&[1, 4, 2], &[5, 3, 6]),
            (&[4, 1, 5], &[2, 6, 3]),
            (&[6, 3, 5], &[2, 4, 1]),
            (&[3, 6, 2], &[5, 1, 4]),
        ];
        for (orientation, (first, second)) in all().zip(expected) {
            let turned = orientation.apply::<1>(vec![1, 2, 3, 4, 5, 6], 3);
            assert_eq!(turned, [first, second].concat(), "{orientation:?}");
        }
    }

    #[test]
    fn a_note_that_makes_no_sense_means_upright() {
        let whole = fixtures::exif(6, false);
        assert_eq!(Orientation::from_exif(&whole), Orientation::Rotated90);
        let preamble = [b"Exif\0\0".as_slice(), &whole].concat();
        assert_eq!(Orientation::from_exif(&preamble), Orientation::Rotated90);
        for note in [fixtures::exif(0, true), fixtures::exif(9, true), vec![], vec![0xFF; 64]] {
            assert_eq!(Orientation::from_exif(&note), Orientation::Upright);
        }
        // Cut anywhere before the value's end, it says nothing.
        for end in 0..10 + 12 + 10 {
            assert_eq!(Orientation::from_exif(&whole[..end]), Orientation::Upright, "{end}");
        }
        let mut far = whole;
        far[4..8].fill(0xFF);
        assert_eq!(Orientation::from_exif(&far), Orientation::Upright);
    }

    proptest! {
        #[test]
        fn turning_moves_pixels_and_loses_none(width in 1usize..90, height in 1usize..90) {
            // Each pixel is its own number, so that the order tells everything.
            let number = |n: usize| [(n >> 16) as u8, (n >> 8) as u8, n as u8];
            let stored: Vec<u8> = (0..width * height).flat_map(number).collect();
            for orientation in all() {
                let turned = orientation.apply::<3>(stored.clone(), width);
                let (across, back) = match orientation {
                    Orientation::Rotated90 => (height, Orientation::Rotated270),
                    Orientation::Rotated270 => (height, Orientation::Rotated90),
                    other if other.swaps_sides() => (height, other),
                    other => (width, other),
                };
                let position = |n: usize| {
                    let at = turned.as_chunks::<3>().0.iter().position(|p| *p == number(n));
                    at.map(|at| (at % across, at / across))
                };
                // Neighbours stay neighbours: checked at the ends of the first row and column.
                for (a, b) in [(0, 1 % width), (0, width % (width * height))] {
                    let (from, to) = (position(a).expect("kept"), position(b).expect("kept"));
                    prop_assert!(from.0.abs_diff(to.0) + from.1.abs_diff(to.1) <= 1);
                }
                prop_assert_eq!(&back.apply::<3>(turned, across), &stored, "{:?}", orientation);
            }
        }
    }
}
