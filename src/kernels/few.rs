//! A few sums over a whole map, and each pixel's attention to them.
#![allow(unsafe_code, reason = "a kernel is compiled for each level behind an unsafe door")]

use rayon::prelude::*;

use crate::planes::{LANES, Lanes, Plane, PlaneMut, Source};
use crate::resample::{between, mix};
use crate::rows::exp;
use crate::simd::{Kernel, Level, Simd, dispatch};

/// Sums of runs of a map's values, weighed: the maps of all sources are taken as they lie in memory,
/// `[channel][y][x]`, and cut into runs of as many values as there are channels. Each kind has a weight for
/// each run: `[kind][run]`. To `[kind][place in the run]`.
///
/// # Panics
/// When the lengths contradict each other, or a channel isn't a whole number of runs.
pub fn sums(level: Level, sources: &[Source<'_>], kinds: &[f32]) -> Vec<f32> {
    /// Rows that are summed in f32; the rest is in f64.
    const ROWS: usize = 8;
    let (height, width) = sources[0].size();
    let (pixels, blocks) =
        (height * width, sources.iter().map(|source| source.plane().blocks).sum::<usize>());
    let run = blocks * LANES;
    assert!(pixels.is_multiple_of(run) && kinds.len().is_multiple_of(pixels));
    assert!(sources.iter().all(|source| source.size() == (height, width)));
    let count = kinds.len() / pixels;
    let blocks: Vec<_> = sources
        .iter()
        .flat_map(|source| (0..source.plane().blocks).map(move |block| (source, block)))
        .enumerate()
        .collect();
    let bands: Vec<_> = (0..height).step_by(ROWS).collect();
    let parts: Vec<_> = blocks
        .par_iter()
        .flat_map(|(n, (source, block))| bands.par_iter().map(move |first| (*n, *source, *block, *first)))
        .map(|(n, source, block, first)| {
            let mut sums = vec![Lanes::ZERO; count * run];
            let rows = first..(first + ROWS).min(height);
            let channel = n * LANES;
            dispatch(level, Runs { source, block, channel, rows, kinds, run, sums: &mut sums });
            sums.iter().map(|lanes| f64::from(lanes.0.iter().sum::<f32>())).collect::<Vec<_>>()
        })
        .collect();
    // In their order, whoever came first.
    let mut sums = vec![0.0; count * run];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

struct Runs<'a> {
    source: &'a Source<'a>,
    block: usize,
    /// The first of the block among those of all sources.
    channel: usize,
    rows: std::ops::Range<usize>,
    kinds: &'a [f32],
    run: usize,
    /// `[kind][place]`, a lane for each channel.
    sums: &'a mut [Lanes],
}

impl Kernel for Runs<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { source, block, channel, rows, kinds, run, sums } = self;
        let (height, width) = source.size();
        let (pixels, mut row) = (height * width, vec![Lanes::ZERO; width]);
        let places = between(source.plane().width, width);
        for y in rows {
            read(source, block, y, &places, &mut row);
            let (mut x, mut at) = (0, y * width);
            while x < width {
                let place = at % run;
                let len = (run - place).min(width - x);
                for (kinds, sums) in kinds.chunks_exact(pixels).zip(sums.chunks_exact_mut(run)) {
                    let weights: [f32; LANES] =
                        std::array::from_fn(|lane| kinds[(channel + lane) * (pixels / run) + at / run]);
                    for (sum, value) in sums[place..][..len].iter_mut().zip(&row[x..]) {
                        for ((sum, weight), value) in sum.0.iter_mut().zip(&weights).zip(&value.0) {
                            *sum += weight * value;
                        }
                    }
                }
                x += len;
                at += len;
            }
        }
    }
}

/// A row of one block as it is seen.
#[inline(always)]
fn read(source: &Source<'_>, block: usize, y: usize, places: &[(usize, usize, f32)], row: &mut [Lanes]) {
    match source {
        Source::Plane(plane) => row.copy_from_slice(plane.row(y, block)),
        Source::Doubled(plane) => {
            let (above, below, down) = between(plane.height, 2 * plane.height)[y];
            let (above, below) = (plane.row(above, block), plane.row(below, block));
            for (out, &(left, right, across)) in row.iter_mut().zip(places) {
                let top = mix(&above[left], &above[right], across);
                *out = mix(&top, &mix(&below[left], &below[right], across), down);
            }
        }
    }
}

/// Replaces each pixel by a mean of `values`, weighed by how far it is like each of `keys`: the softmax of
/// their products. Both are `[kind][channel]`, the keys scaled as the products should be.
///
/// # Panics
/// When the lengths contradict each other, or there are more kinds than sixteen.
pub fn attend(level: Level, keys: &[f32], values: &[f32], map: &mut PlaneMut<'_>) {
    let channels = map.blocks * LANES;
    assert!(
        keys.len() == values.len() && keys.len().is_multiple_of(channels) && keys.len() / channels <= LANES
    );
    let lanes = |values: &[f32]| values.as_chunks().0.iter().map(|values| Lanes(*values)).collect::<Vec<_>>();
    let (keys, values, blocks, width) = (lanes(keys), lanes(values), map.blocks, map.width);
    map.data.par_chunks_mut(blocks * width).for_each(|row| {
        dispatch(level, Attend { keys: &keys, values: &values, row, blocks, width });
    });
}

struct Attend<'a> {
    keys: &'a [Lanes],
    values: &'a [Lanes],
    /// `[block][x]`
    row: &'a mut [Lanes],
    blocks: usize,
    width: usize,
}

impl Kernel for Attend<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { keys, values, row, blocks, width } = self;
        let count = keys.len() / blocks;
        for x in 0..width {
            let mut scores = [f32::NEG_INFINITY; LANES];
            for (score, keys) in scores.iter_mut().zip(keys.chunks_exact(blocks)) {
                let mut sums = [0.0; LANES];
                for (block, key) in keys.iter().enumerate() {
                    let pixel = &row[block * width + x].0;
                    for lane in 0..LANES {
                        sums[lane] += pixel[lane] * key.0[lane];
                    }
                }
                *score = total(sums);
            }
            let most = scores[..count].iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score));
            for score in &mut scores {
                *score = exp(*score - most);
            }
            let share = 1.0 / scores[..count].iter().sum::<f32>();
            for block in 0..blocks {
                let mut mean = [0.0; LANES];
                for (kind, score) in scores[..count].iter().enumerate() {
                    let value = &values[kind * blocks + block].0;
                    for lane in 0..LANES {
                        mean[lane] += score * share * value[lane];
                    }
                }
                row[block * width + x] = Lanes(mean);
            }
        }
    }
}

/// Half by half: no addition waits for the fifteen before it.
#[inline(always)]
fn total(values: [f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|n| values[n] + values[n + 8]);
    let four: [f32; 4] = std::array::from_fn(|n| eight[n] + eight[n + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// A pixel's channels times a filter, all of one map: `[H][W]`.
///
/// # Panics
/// When the filter hasn't the map's channels.
pub fn single(level: Level, map: &Plane<'_>, filter: &[f32], bias: f32) -> Vec<f32> {
    assert_eq!(filter.len(), map.blocks * LANES);
    let filter: Vec<_> = filter.as_chunks().0.iter().map(|values| Lanes(*values)).collect();
    let mut out = vec![0.0; map.height * map.width];
    out.par_chunks_mut(map.width).enumerate().for_each(|(y, out)| {
        dispatch(level, Single { map, filter: &filter, bias, y, out });
    });
    out
}

struct Single<'a> {
    map: &'a Plane<'a>,
    filter: &'a [Lanes],
    bias: f32,
    y: usize,
    out: &'a mut [f32],
}

impl Kernel for Single<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (x, out) in self.out.iter_mut().enumerate() {
            let mut sums = [0.0; LANES];
            for (block, filter) in self.filter.iter().enumerate() {
                let pixel = &self.map.row(self.y, block)[x].0;
                for lane in 0..LANES {
                    sums[lane] += pixel[lane] * filter.0[lane];
                }
            }
            *out = total(sums) + self.bias;
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::*;
    use crate::planes::{pack, unpack};

    fn noise(shape: &[usize], seed: usize) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|n| ((n + seed) * 7919 % 2003) as f32 / 1001.5 - 1.0);
        Tensor::from_iter(values, &Device::Cpu).and_then(|flat| flat.reshape(shape)).expect("noise")
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32")
    }

    fn packed(tensor: &Tensor) -> Vec<Lanes> {
        let (channels, height, width) = tensor.dims3().expect("a map");
        let mut data = vec![Lanes::ZERO; channels / LANES * height * width];
        pack(&values(tensor), channels, &mut PlaneMut::new(&mut data, channels / LANES, height, width));
        data
    }

    fn assert_near(ours: &[f32], theirs: &[f32]) {
        assert_eq!(ours.len(), theirs.len());
        for (n, (a, b)) in ours.iter().zip(theirs).enumerate() {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "value {n}: {a} and {b}");
        }
    }

    #[test]
    fn runs_are_summed_as_they_lie_in_memory() {
        // Twelve pixels in a row, runs of 48: a run ends within a row.
        let (plain, half, kinds) = (noise(&[16, 12, 12], 1), noise(&[32, 6, 6], 2), noise(&[5, 144], 3));
        let whole = || -> Result<Tensor> {
            let doubled = half.unsqueeze(0)?.upsample_bilinear2d(12, 12, false)?.squeeze(0)?;
            let runs = Tensor::cat(&[&plain, &doubled], 0)?.reshape((144, 48))?;
            kinds.matmul(&runs)
        };
        let expected = values(&whole().expect("sizes agree"));
        let (plain, half) = (packed(&plain), packed(&half));
        let sources =
            [Source::Plane(Plane::new(&plain, 1, 12, 12)), Source::Doubled(Plane::new(&half, 2, 6, 6))];
        for level in Level::available() {
            assert_near(&sums(level, &sources, &values(&kinds)), &expected);
        }
    }

    #[test]
    fn a_pixel_sees_what_is_like_it() {
        let (map, keys, own) = (noise(&[32, 5, 7], 1), noise(&[3, 32], 2), noise(&[3, 32], 3));
        let whole = || -> Result<Tensor> {
            let raised = keys.matmul(&map.reshape((32, 35))?)?.exp()?;
            own.t()?.matmul(&raised.broadcast_div(&raised.sum_keepdim(0)?)?)
        };
        let expected = values(&whole().expect("sizes agree"));
        for level in Level::available() {
            let mut data = packed(&map);
            attend(level, &values(&keys), &values(&own), &mut PlaneMut::new(&mut data, 2, 5, 7));
            assert_near(&unpack(&Plane::new(&data, 2, 5, 7), 32), &expected);
        }
    }

    #[test]
    fn a_filter_makes_one_map() {
        let (map, filter) = (noise(&[32, 5, 7], 1), noise(&[1, 32], 2));
        let expected = map.reshape((32, 35)).and_then(|map| filter.matmul(&map)? + 0.5).expect("sizes agree");
        let data = packed(&map);
        for level in Level::available() {
            let ours = single(level, &Plane::new(&data, 2, 5, 7), &values(&filter), 0.5);
            assert_near(&ours, &values(&expected));
        }
    }
}
