//! Where a map isn't sure. Only there is anything to be made of an edge: in a tenth of most photos, in a third of
//! some. What works in the band alone may take its time, and what is sure stays as it is.

use std::ops::Range;

use super::grid::between;

/// Spans of columns for each row of a map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Band {
    rows: Vec<Vec<Range<usize>>>,
}

impl Band {
    /// What is neither 0 nor 1, or is next to the other of them; and the places around that.
    pub(super) fn of(map: &[f32], side: usize) -> Self {
        let rows = (0..side).map(|y| {
            let row = &map[y * side..][..side];
            let below = if y + 1 < side { &map[(y + 1) * side..][..side] } else { row };
            let unsure = |x: usize| {
                row[x] > 0.0 && row[x] < 1.0
                    || row[x] != below[x]
                    || row.get(x + 1).is_some_and(|next| row[x] != *next)
            };
            let mut bits = vec![0; side.div_ceil(64)];
            (0..side).filter(|x| unsure(*x)).for_each(|x| bits[x / 64] |= 1 << (x % 64));
            spans(&bits)
        });
        Self { rows: rows.collect() }.wider(1)
    }

    /// The spans of a row of the map.
    pub(super) fn row(&self, y: usize) -> &[Range<usize>] {
        &self.rows[y]
    }

    /// Whether there are none in these rows.
    pub(super) fn is_empty(&self, rows: Range<usize>) -> bool {
        self.rows[rows].iter().all(Vec::is_empty)
    }

    /// The same with so many places more on every side.
    pub(super) fn wider(&self, by: usize) -> Self {
        let side = self.rows.len();
        let words = side.div_ceil(64).max(1);
        // A bit for each place: rows of a ragged band hold dozens of spans, and sorting those of thirty rows takes longer
        // than what is done with them.
        let mut across = vec![0; side * words];
        for (bits, spans) in across.chunks_exact_mut(words).zip(&self.rows) {
            spans.iter().for_each(|span| set(bits, span.start.saturating_sub(by)..(span.end + by).min(side)));
        }
        let rows = (0..side).map(|y| {
            let mut bits = vec![0; words];
            for near in
                across[y.saturating_sub(by) * words..(y + by + 1).min(side) * words].chunks_exact(words)
            {
                bits.iter_mut().zip(near).for_each(|(bits, near)| *bits |= near);
            }
            spans(&bits)
        });
        Self { rows: rows.collect() }
    }

    /// What is not in the other.
    pub(super) fn without(&self, other: &Self) -> Self {
        let rows = self.rows.iter().zip(&other.rows).map(|(spans, others)| {
            let mut left = Vec::new();
            for span in spans {
                let mut from = span.start;
                for other in others.iter().filter(|other| other.end > span.start && other.start < span.end) {
                    if from < other.start {
                        left.push(from..other.start);
                    }
                    from = other.end;
                }
                if from < span.end {
                    left.push(from..span.end);
                }
            }
            left
        });
        Self { rows: rows.collect() }
    }

    /// The spans of some rows with so many places more before and behind.
    pub(super) fn wider_across(&self, by: usize, rows: Range<usize>) -> Vec<Vec<Range<usize>>> {
        let side = self.rows.len();
        let wider = |span: &Range<usize>| span.start.saturating_sub(by)..(span.end + by).min(side);
        self.rows[rows].iter().map(|spans| merged(spans.iter().map(wider).collect())).collect()
    }

    /// Columns of part of row `y` of a photo of this size: those that are mixed of places of the band.
    pub(super) fn columns(&self, y: u32, (width, height): (u32, u32), part: Range<u32>) -> Vec<Range<u32>> {
        let side = self.rows.len();
        let (upper, lower, _) = between(y, side as f32 / height as f32, side);
        let wide = f64::from(width) / side as f64;
        let columns = self.rows[upper..=lower].iter().flatten().filter_map(|span| {
            // From the middle of the place before it to that of the place behind, and a column for what is rounded.
            let from = ((span.start as f64 - 0.5) * wide - 1.5).max(0.0) as u32;
            let to = ((span.end as f64 + 0.5) * wide + 1.5) as u32;
            let (from, to) = (from.max(part.start), to.min(part.end));
            (from < to).then_some(from..to)
        });
        merged(columns.collect())
    }
}

/// Sets some bits.
fn set(bits: &mut [u64], range: Range<usize>) {
    for (word, bits) in bits.iter_mut().enumerate().take(range.end.div_ceil(64)).skip(range.start / 64) {
        let within = |n: usize| n.saturating_sub(word * 64).min(64) as u32;
        let below = |n: u32| 1_u64.checked_shl(n).map_or(u64::MAX, |bit| bit - 1);
        *bits |= below(within(range.end)) & !below(within(range.start));
    }
}

/// The spans of bits that are set.
fn spans(bits: &[u64]) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    for (word, bits) in bits.iter().enumerate() {
        let (mut left, mut at) = (*bits, word * 64);
        while left != 0 {
            at += left.trailing_zeros() as usize;
            left >>= left.trailing_zeros();
            let len = left.trailing_ones();
            spans.push(at..at + len as usize);
            left = left.checked_shr(len).unwrap_or(0);
            at += len as usize;
        }
    }
    // Those that go on in the next word.
    merged(spans)
}

/// In order, and those that meet as one.
fn merged<T: Copy + Ord>(mut spans: Vec<Range<T>>) -> Vec<Range<T>> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut out: Vec<Range<T>> = Vec::with_capacity(spans.len());
    for span in spans {
        match out.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => out.push(span),
        }
    }
    out
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "a row of the band is a list of ranges, and often of one"
)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_without_another_band() {
        let band = |spans: &[Range<usize>]| Band { rows: vec![spans.to_vec()] };
        for (spans, others, left) in [
            (vec![2..9], vec![], vec![2..9]),
            (vec![2..9], vec![0..3, 5..6, 8..12], vec![3..5, 6..8]),
            (vec![0..2, 4..6], vec![1..5], vec![0..1, 5..6]),
            (vec![3..5], vec![3..5], vec![]),
            (vec![3..5], vec![0..3, 5..7], vec![3..5]),
        ] {
            assert_eq!(band(&spans).without(&band(&others)), band(&left), "{spans:?} {others:?}");
        }
    }

    #[test]
    fn a_band_is_what_is_unsure_and_around_it_and_where_sure_places_meet() {
        let mut map = vec![0.0; 64];
        map[3 * 8 + 2] = 0.5;
        let band = Band::of(&map, 8);
        let rows: Vec<_> = (0..8).map(|y| band.row(y).to_vec()).collect();
        // Its upper and its left neighbour see that it is another.
        let [none, two, three] = [vec![], vec![1..4], vec![0..4]];
        assert_eq!(rows, [&none, &two, &three, &three, &three, &none, &none, &none].map(Clone::clone));
        assert!(band.is_empty(0..1) && band.is_empty(5..8) && !band.is_empty(4..6));
        let halves: Vec<f32> = (0..64).map(|n| if n % 8 < 4 { 1.0 } else { 0.0 }).collect();
        assert_eq!(Band::of(&halves, 8).row(5), [2..5]);
        assert_eq!(Band::of(&halves, 8).wider(2).row(5), [0..7]);
        assert!(Band::of(&[1.0; 64], 8).is_empty(0..8));
    }

    #[test]
    fn a_wider_band_is_all_that_is_near_it() {
        for side in [1_usize, 63, 64, 65, 150] {
            let there = move |n: usize| (n * n + 7 * n).is_multiple_of(997) || n / side == 2 && n % side > 60;
            let row = |y: usize| (0..side).filter(move |x| there(y * side + x)).map(|x| x..x + 1).collect();
            let band = Band { rows: (0..side).map(row).collect() };
            let within = |band: &Band, x: usize, y: usize| band.row(y).iter().any(|span| span.contains(&x));
            for by in [0, 1, 2, 17, 70] {
                let wider = band.wider(by);
                let near = |n: usize| n.saturating_sub(by)..(n + by + 1).min(side);
                // Some of the places are enough of so many.
                for (x, y) in (0..side * side).step_by(side.div_ceil(9)).map(|n| (n % side, n / side)) {
                    let expected = near(y).any(|y| near(x).any(|x| within(&band, x, y)));
                    assert_eq!(within(&wider, x, y), expected, "{x}, {y} of {side}, wider by {by}");
                }
                let apart = |spans: &[Range<usize>]| spans.windows(2).all(|pair| pair[0].end < pair[1].start);
                assert!((0..side).all(|y| apart(wider.row(y))), "spans that meet are one");
            }
        }
    }

    #[test]
    fn a_photos_columns_are_all_that_touch_the_band() {
        let map: Vec<f32> = (0..81).map(|n| if n == 40 || n == 11 { 0.5 } else { 0.0 }).collect();
        let band = Band::of(&map, 9);
        for size in [(9, 9), (100, 70), (4, 300), (1, 1)] {
            for y in 0..size.1 {
                let columns = band.columns(y, size, 0..size.0);
                let (upper, lower, _) = between(y, 9.0 / size.1 as f32, 9);
                for x in 0..size.0 {
                    let (left, right, _) = between(x, 9.0 / size.0 as f32, 9);
                    let within = |row: usize, place| band.row(row).iter().any(|span| span.contains(&place));
                    let touches = [upper, lower].iter().any(|row| within(*row, left) || within(*row, right));
                    let found = columns.iter().any(|span| span.contains(&x));
                    assert!(found || !touches, "{x}, {y} of {size:?}");
                }
                let part = band.columns(y, size, size.0 / 3..size.0 / 2);
                assert!(part.iter().all(|span| span.start >= size.0 / 3 && span.end <= size.0 / 2));
            }
        }
    }
}
