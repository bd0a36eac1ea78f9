//! Filters: each byte less what its neighbours let one expect (PNG specification, section 9).

/// How a row is filtered, by the specification's numbers.
///
/// None (0) and Average (3) are left out: for photographs, files are 0.5 % larger with them, as the sum
/// below chooses them too often, and filtering takes a quarter longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Sub = 1,
    Up = 2,
    Paeth = 4,
}

/// Rows that are like the one above are most often nothing but transparent, and done at once.
const ALL: [Filter; 3] = [Filter::Up, Filter::Sub, Filter::Paeth];

/// Filters rows, each by the filter whose result is smallest as signed bytes in sum: the heuristic of
/// the specification's section 12.7, which libpng and Pillow use.
pub(super) struct Filters {
    /// Bytes of a pixel: the distance to the neighbour at the left.
    pixel: usize,
    candidate: Vec<u8>,
    best: Vec<u8>,
}

impl Filters {
    pub(super) fn new(pixel: usize, row: usize) -> Self {
        Self { pixel, candidate: vec![0; row], best: vec![0; row] }
    }

    /// Appends a row with its filter's number; `above` is the one above it, or zeros.
    pub(super) fn append(&mut self, row: &[u8], above: &[u8], out: &mut Vec<u8>) {
        let mut least = u32::MAX;
        let mut chosen = Filter::Up;
        for filter in ALL {
            apply(filter, row, above, self.pixel, &mut self.candidate);
            let size = size(&self.candidate);
            if size < least {
                (least, chosen) = (size, filter);
                std::mem::swap(&mut self.best, &mut self.candidate);
            }
            if least == 0 {
                break;
            }
        }
        out.push(chosen as u8);
        out.extend_from_slice(&self.best);
    }
}

/// The bytes as signed numbers, without their signs, in sum.
fn size(bytes: &[u8]) -> u32 {
    // Of 128 numbers the sum still fits into 16 bits, of which a vector holds twice as many.
    let (whole, rest) = bytes.as_chunks::<128>();
    let sum = |bytes: &[u8]| bytes.iter().map(|b| u16::from((*b as i8).unsigned_abs())).sum::<u16>();
    whole.iter().map(|chunk| u32::from(sum(chunk))).sum::<u32>() + u32::from(sum(rest))
}

/// Writes a filtered row. Without a pixel at the left, its bytes count as zeros.
fn apply(filter: Filter, row: &[u8], above: &[u8], pixel: usize, out: &mut [u8]) {
    let length = row.len();
    let (head, tail) = out[..length].split_at_mut(pixel);
    let left = &row[..length - pixel];
    let (above, above_left) = (&above[..length], &above[..length - pixel]);
    let first = row[..pixel].iter().zip(above).zip(head);
    let others = row[pixel..].iter().zip(left).zip(&above[pixel..]).zip(above_left).zip(tail);
    match filter {
        Filter::Sub => {
            first.for_each(|((x, _), out)| *out = *x);
            others.for_each(|((((x, a), _), _), out)| *out = x.wrapping_sub(*a));
        }
        Filter::Up => {
            first.for_each(|((x, b), out)| *out = x.wrapping_sub(*b));
            others.for_each(|((((x, _), b), _), out)| *out = x.wrapping_sub(*b));
        }
        Filter::Paeth => {
            first.for_each(|((x, b), out)| *out = x.wrapping_sub(*b));
            others.for_each(|((((x, a), b), c), out)| *out = x.wrapping_sub(paeth(*a, *b, *c)));
        }
    }
}

/// Of left, above and above left the one closest to left + above - above left; the first of equals.
fn paeth(a: u8, b: u8, c: u8) -> u8 {
    let [x, y, z] = [a, b, c].map(i16::from);
    let to_a = (y - z).abs();
    let to_b = (x - z).abs();
    let to_c = (x + y - 2 * z).abs();
    if to_a <= to_b && to_a <= to_c {
        a
    } else if to_b <= to_c {
        b
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_of_magnitudes() {
        assert_eq!(size(&[]), 0);
        assert_eq!(size(&[0x80; 300]), 300 * 128);
        assert_eq!(size(&[255, 1, 2]), 4);
    }

    #[test]
    fn a_row_like_the_one_above_is_filtered_to_nothing() {
        let row: Vec<u8> = (0..40).map(|n: u8| n.wrapping_mul(91)).collect();
        let mut out = Vec::new();
        Filters::new(4, 40).append(&row, &row, &mut out);
        assert_eq!(out[0], Filter::Up as u8);
        assert_eq!(out[1..], [0; 40]);
    }
}
