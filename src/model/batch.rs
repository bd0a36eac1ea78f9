//! Photos that a GPU computes at once, and how many are worth it.
//!
//! That is measured, because it depends on the network and on the GPU: a small network leaves most of a GPU idle with
//! one photo; a large one fills it, and then its photos only wait for each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use super::preprocess::{Normalise, normalised};
use super::{ModelError, Progress, Stop};

/// A shopper waits for `ready` meanwhile.
const BUDGET: Duration = Duration::from_millis(500);
/// More at once save this part of a photo's time, or they are not worth the wait for the others.
const WORTH: f64 = 0.1;
/// Tried one after the other, as long as each was better than the one before.
const SIZES: [usize; 3] = [2, 4, 8];

/// Photos of one network, as many at once as are worth it.
pub(super) struct Batches {
    size: usize,
    normalise: Normalise,
    /// So many at once are worth it.
    bound: AtomicUsize,
}

/// `[B, 3, size, size]` in the host's memory to the maps of each photo.
pub(super) type Forward<'a> = &'a dyn Fn(&Tensor) -> Result<Vec<Vec<f32>>, ModelError>;

impl Batches {
    /// One at a time, until something else is measured. `size` is a photo's side in pixels.
    pub(super) fn new(size: usize, normalise: Normalise) -> Self {
        Self { size, normalise, bound: AtomicUsize::new(1) }
    }

    /// So many photos at once are worth it.
    pub(super) fn bound(&self) -> usize {
        self.bound.load(Ordering::Relaxed)
    }

    /// Measures that, with a photo of the right size, and tells.
    pub(super) fn tune(
        &self,
        rgb: &[u8],
        forward: Forward<'_>,
        report: &mut dyn FnMut(Progress),
        stop: &Stop,
    ) -> Result<(), ModelError> {
        let run = |photos| {
            stop.check()?;
            self.together(&vec![rgb; photos], forward).map(drop)
        };
        let (bound, said) = measure(run, Instant::now)?;
        self.bound.store(bound, Ordering::Relaxed);
        report(Progress::step(said));
        Ok(())
    }

    /// The map of one photo.
    pub(super) fn one(&self, rgb: &[u8], forward: Forward<'_>) -> Result<Vec<f32>, ModelError> {
        let photo = normalised(rgb, self.size, &self.normalise, &Device::Cpu)?;
        Ok(forward(&photo)?.pop().unwrap_or_default())
    }

    /// The map of each photo, of all in one run; one by one where one of them is of another size.
    pub(super) fn all(&self, photos: &[&[u8]], forward: Forward<'_>) -> Vec<Result<Vec<f32>, ModelError>> {
        if !photos.iter().all(|rgb| rgb.len() == self.size * self.size * 3) {
            return photos.iter().map(|rgb| self.one(rgb, forward)).collect();
        }
        match self.together(photos, forward) {
            Ok(maps) => maps.into_iter().map(Ok).collect(),
            Err(error) => photos.iter().map(|_| Err(error.again())).collect(),
        }
    }

    /// One run, with photos that are of the right size.
    fn together(&self, photos: &[&[u8]], forward: Forward<'_>) -> Result<Vec<Vec<f32>>, ModelError> {
        let inputs = photos.iter().map(|rgb| normalised(rgb, self.size, &self.normalise, &Device::Cpu));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let maps = forward(&Tensor::cat(&inputs, 0)?);
        if let Err(ModelError::OutOfMemory { .. }) = &maps {
            // There was room once, and may not be again before the next load; a smaller bound stays.
            self.bound.fetch_min((photos.len() / 2).max(1), Ordering::Relaxed);
        }
        maps
    }
}

/// The best bound, and the measured times for people. `run` computes so many photos.
fn measure(
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
