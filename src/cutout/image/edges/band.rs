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
        let alike = |a: usize, b: usize| map[a] == map[b];
        let unsure = |n: usize| {
            let (x, y) = (n % side, n / side);
            map[n] > 0.0 && map[n] < 1.0
                || x + 1 < side && !alike(n, n + 1)
                || y + 1 < side && !alike(n, n + side)
        };
        let rows = (0..side).map(|y| {
            let mut spans: Vec<Range<usize>> = Vec::new();
            for x in (0..side).filter(|x| unsure(y * side + x)) {
                match spans.last_mut() {
                    Some(span) if span.end == x => span.end += 1,
                    _ => spans.push(x..x + 1),
                }
            }
            spans
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
        let rows = (0..side).map(|y| {
            let near = self.rows[y.saturating_sub(by)..(y + by + 1).min(side)].iter().flatten();
            merged(near.map(|span| span.start.saturating_sub(by)..(span.end + by).min(side)).collect())
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
