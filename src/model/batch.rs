//! How many photos at once are worth it: measured, because it depends on the network and on the GPU. A small network
//! leaves most of a GPU idle with one photo; a large one fills it, and then its photos only wait for each other.

use std::time::{Duration, Instant};

use super::ModelError;

/// A shopper waits for `ready` meanwhile.
const BUDGET: Duration = Duration::from_millis(500);
/// More at once save this part of a photo's time, or they are not worth the wait for the others.
const WORTH: f64 = 0.1;
/// Tried one after the other, as long as each was better than the one before.
const SIZES: [usize; 3] = [2, 4, 8];

/// The best bound, and the measured times for people. `run` computes so many photos.
pub(super) fn measure(
    mut run: impl FnMut(usize) -> Result<(), ModelError>,
    now: impl Fn() -> Instant,
) -> Result<(usize, String), ModelError> {
    let begun = now();
    let mut timed = |photos: usize| {
        // The first of a size is slower: the libraries choose their ways.
        run(photos)?;
        let since = now();
        run(photos)?;
        Ok((now() - since).as_secs_f64() / photos as f64)
    };
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    let mut each = timed(1)?;
    let (mut best, mut said) = (1, format!("a photo takes {}", ms(each)));
    for photos in SIZES {
        let takes = Duration::from_secs_f64(2.0 * photos as f64 * each);
        if now() - begun + takes > BUDGET {
            said.push_str(&format!("; there was no time to try {photos} at once"));
            break;
        }
        match timed(photos) {
            Ok(less) => {
                said.push_str(&format!(", {} where {photos} are computed at once", ms(less)));
                if less > each * (1.0 - WORTH) {
                    break;
                }
                (best, each) = (photos, less);
            }
            Err(ModelError::OutOfMemory { .. }) => {
                said.push_str(&format!("; {photos} at once don't fit into the GPU's memory"));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let bound = if best == 1 { "so one at a time".to_owned() } else { format!("so up to {best} at once") };
    Ok((best, format!("{said}; {bound}")))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A GPU on which so many photos take so many milliseconds; none is memory that is too little.
    fn measured(takes: impl Fn(usize) -> Option<u64>) -> (usize, String) {
        let clock = Cell::new(Instant::now());
        let run = |photos| {
            let full = || ModelError::OutOfMemory { reason: "full".into() };
            clock.set(clock.get() + Duration::from_millis(takes(photos).ok_or_else(full)?));
            Ok(())
        };
        measure(run, || clock.get()).expect("measured")
    }

    #[test]
    fn more_at_once_as_long_as_it_helps() {
        assert_eq!(measured(|_| Some(10)).0, 8, "all of a size cost the same");
        let (bound, said) = measured(|photos| Some(if photos <= 2 { 10 } else { 5 * photos as u64 }));
        assert_eq!(bound, 2);
        assert_eq!(
            said,
            "a photo takes 10.0 ms, 5.0 ms where 2 are computed at once, 5.0 ms where 4 are computed at once; so up to 2 at once"
        );
    }

    #[test]
    fn one_at_a_time_where_more_only_wait_for_each_other() {
        let (bound, said) = measured(|photos| Some(10 * photos as u64));
        assert_eq!(bound, 1);
        assert!(said.ends_with("so one at a time"), "{said}");
    }

    #[test]
    fn memory_and_time_are_bounds_too() {
        let (bound, said) = measured(|photos| (photos <= 2).then_some(10));
        assert_eq!(bound, 2);
        assert!(said.contains("4 at once don't fit"), "{said}");
        let (bound, said) = measured(|_| Some(150));
        assert_eq!(bound, 1);
        assert!(said.contains("no time to try 2"), "{said}");
    }
}
