//! Which maps share memory: all of a run's lie in one buffer, each where nothing else is while it is needed.

use std::ops::{Range, RangeInclusive};

/// A map that needs a place: how long it is, and from which step to which.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) len: usize,
    pub(super) steps: RangeInclusive<usize>,
}

impl Need {
    fn meets(&self, other: &Self) -> bool {
        self.steps.start() <= other.steps.end() && other.steps.start() <= self.steps.end()
    }
}

/// Gives each map its place and says how long the buffer must be. The longest come first, each as far in
/// front as those that are needed at the same time leave room (Pisarchyk and Lee 2020,
/// <https://arxiv.org/abs/2001.03288>).
pub(super) fn arrange(needs: &[Need]) -> (Vec<Range<usize>>, usize) {
    let mut longest: Vec<usize> = (0..needs.len()).collect();
    longest.sort_by_key(|n| std::cmp::Reverse(needs[*n].len));
    let mut places: Vec<Range<usize>> = vec![0..0; needs.len()];
    for (n, id) in longest.iter().enumerate() {
        let need = &needs[*id];
        let mut taken: Vec<_> = longest[..n]
            .iter()
            .filter(|other| needs[**other].meets(need))
            .map(|other| places[*other].clone())
            .collect();
        taken.sort_by_key(|place| place.start);
        let mut start = 0;
        for place in taken {
            if start + need.len <= place.start {
                break;
            }
            start = start.max(place.end);
        }
        places[*id] = start..start + need.len;
    }
    let len = places.iter().map(|place| place.end).max().unwrap_or(0);
    (places, len)
}

/// A buffer some of whose places are taken out to be written while others are read.
pub(super) struct Rest<'a, T> {
    /// What is left, with where it begins.
    parts: Vec<(usize, &'a [T])>,
}

/// Takes places out of a buffer, in their order.
///
/// # Panics
/// When two of them overlap.
pub(super) fn take_out<'a, T, const N: usize>(
    buffer: &'a mut [T],
    places: [Range<usize>; N],
) -> ([&'a mut [T]; N], Rest<'a, T>) {
    let mut order: [usize; N] = std::array::from_fn(|n| n);
    order.sort_by_key(|n| (places[*n].start, places[*n].end));
    let mut taken: [&mut [T]; N] = std::array::from_fn(|_| Default::default());
    let (mut parts, mut left, mut at) = (Vec::with_capacity(N + 1), buffer, 0);
    for n in order {
        let Range { start, end } = places[n];
        let (before, rest) = left.split_at_mut(start - at);
        let (place, after) = rest.split_at_mut(end - start);
        parts.push((at, &*before));
        (taken[n], left, at) = (place, after, end);
    }
    parts.push((at, left));
    (taken, Rest { parts })
}

impl<'a, T> Rest<'a, T> {
    /// # Panics
    /// When any of it was taken out.
    pub(super) fn at(&self, place: &Range<usize>) -> &'a [T] {
        let (start, part) = self.parts[self.parts.partition_point(|(start, _)| *start <= place.start) - 1];
        &part[place.start - start..place.end - start]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn need() -> impl Strategy<Value = Need> {
        (0..100usize, 0..30usize, 0..10usize)
            .prop_map(|(len, first, more)| Need { len, steps: first..=first + more })
    }

    proptest! {
        #[test]
        fn what_is_needed_at_once_lies_apart(needs in prop::collection::vec(need(), 0..30)) {
            let (places, len) = arrange(&needs);
            for (n, place) in places.iter().enumerate() {
                prop_assert_eq!(place.len(), needs[n].len);
                prop_assert!(place.end <= len);
                for (m, other) in places.iter().enumerate().skip(n + 1) {
                    let apart = place.end <= other.start || other.end <= place.start;
                    prop_assert!(apart || !needs[n].meets(&needs[m]), "{place:?} and {other:?}");
                }
            }
        }

        #[test]
        fn what_was_taken_out_and_the_rest_are_the_buffer(mut cuts in prop::array::uniform4(0..50usize)) {
            cuts.sort_unstable();
            let [a, b, c, d] = cuts;
            let mut buffer: Vec<usize> = (0..50).collect();
            // The later one is asked for first.
            let ([late, early], rest) = take_out(&mut buffer, [c..d, a..b]);
            prop_assert_eq!(&*late, (c..d).collect::<Vec<_>>());
            prop_assert_eq!(&*early, (a..b).collect::<Vec<_>>());
            for place in [0..a, b..c, d..50] {
                prop_assert_eq!(rest.at(&place), place.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    #[should_panic(expected = "range")]
    fn what_was_taken_out_is_not_there() {
        let mut buffer = [0; 10];
        let (_, rest) = take_out(&mut buffer, [2..4, 4..6]);
        rest.at(&(4..8));
    }

    #[test]
    fn memory_is_used_again_once_it_is_free() {
        let need = |len, steps| Need { len, steps };
        let (places, len) = arrange(&[need(4, 0..=1), need(8, 1..=2), need(4, 2..=3)]);
        assert_eq!((places, len), (vec![8..12, 0..8, 8..12], 12));
    }
}
