//! Attention among the pixels of a window, for all windows and heads of a map.
//!
//! A window is one thread's: its keys and values are laid out as filters once, a few queries at a time are
//! multiplied with them by the convolutions' innermost sums, and no score ever leaves the first-level cache.
#![allow(unsafe_code, reason = "processor intrinsics and unchecked pointers in the innermost loops")]

use rayon::prelude::*;

use crate::planes::{LANES, Lanes};
use crate::product::{UNITS, add_products, by_rows};
use crate::rows::exp;
use crate::simd::{Kernel, Level, Simd, dispatch};

/// How a square map is divided, and what its pixels hold.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Pixels on each side of the map.
    pub side: usize,
    /// Pixels on each side of a window; those at the end may lie partly beyond the map.
    pub window: usize,
    /// Pixels by which the windows are moved down and right. Those at the end then see what is left over at
    /// the beginning, and what was not beside each other is kept apart.
    pub shift: usize,
    /// Heads, one after the other in each of a pixel's query, key and value.
    pub heads: usize,
    /// Channels of a head; a multiple of sixteen.
    pub width: usize,
}

/// What is added to a score of two pixels that are kept apart.
const APART: f32 = -100.0;

impl Windows {
    fn count(&self) -> usize {
        self.side.div_ceil(self.window)
    }

    fn channels(&self) -> usize {
        self.heads * self.width
    }

    /// Where a place of a window lies on the map, which it may lie beyond, and what of the map it belongs to.
    fn place(&self, window: usize, place: usize) -> ([usize; 2], u8) {
        let (count, padded) = (self.count(), self.count() * self.window);
        let axis = |window: usize, place: usize| {
            let at = window * self.window + place;
            let region = u8::from(at >= padded - self.window) + u8::from(at >= padded - self.shift);
            ((at + self.shift) % padded, if self.shift == 0 { 0 } else { region })
        };
        let (row, down) = axis(window / count, place / self.window);
        let (column, across) = axis(window % count, place % self.window);
        ([row, column], 3 * down + across)
    }

    /// Queries, keys and values without their bias, `[side][side][3][heads][width]`, and what the places of
    /// two pixels in their window add to a score, `[heads][query][key]`; to `[side][side][heads][width]`.
    ///
    /// A pixel beyond the map has the bias alone.
    ///
    /// # Panics
    /// When the lengths contradict each other.
    pub fn attend(&self, level: Level, seen: &[f32], bias: &[f32], places: &[f32]) -> Vec<f32> {
        let (channels, patches, count) = (self.channels(), self.window.pow(2), self.count());
        assert_eq!(seen.len(), self.side * self.side * 3 * channels);
        assert_eq!((bias.len(), places.len()), (3 * channels, self.heads * patches * patches));
        assert!(self.width.is_multiple_of(LANES) && self.shift < self.window);
        let mut windows = vec![0.0; count * count * patches * channels];
        windows.par_chunks_mut(patches * channels).enumerate().for_each_init(
            || Room::new(self),
            |room, (n, out)| {
                dispatch(level, Window { windows: self, n, seen, bias, places, room, out });
            },
        );
        let mut map = vec![0.0; self.side * self.side * channels];
        let padded = count * self.window;
        map.par_chunks_mut(self.side * channels).enumerate().for_each(|(y, row)| {
            let at = |place: usize| (place + padded - self.shift) % padded;
            let down = at(y);
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                let across = at(x);
                let window = down / self.window * count + across / self.window;
                let place = down % self.window * self.window + across % self.window;
                pixel.copy_from_slice(&windows[(window * patches + place) * channels..][..channels]);
            }
        });
        map
    }
}

/// What a thread needs for a head of a window.
struct Room {
    /// `[query][channel]`
    queries: Vec<f32>,
    /// `[block of keys][channel]`
    keys: Vec<Lanes>,
    /// `[block of channels][key]`
    values: Vec<Lanes>,
    /// `[query of a few][block of keys]`
    scores: Vec<Lanes>,
    regions: Vec<u8>,
}

impl Room {
    /// The most rows that any level sums at once.
    const ROWS: usize = 12;

    fn new(windows: &Windows) -> Self {
        let patches = windows.window.pow(2);
        let blocks = patches.div_ceil(LANES);
        Self {
            queries: vec![0.0; patches * windows.width],
            keys: vec![Lanes::ZERO; blocks * windows.width],
            values: vec![Lanes::ZERO; windows.width / LANES * patches],
            scores: vec![Lanes::ZERO; Self::ROWS * blocks],
            regions: vec![0; patches],
        }
    }
}

struct Window<'a> {
    windows: &'a Windows,
    n: usize,
    seen: &'a [f32],
    bias: &'a [f32],
    places: &'a [f32],
    room: &'a mut Room,
    /// `[place][channel]`
    out: &'a mut [f32],
}

impl Kernel for Window<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let patches = self.windows.window.pow(2);
        for head in 0..self.windows.heads {
            self.gather(head);
            let mut query = 0;
            while query < patches {
                let left = patches - query;
                let rows = left.div_ceil(left.div_ceil(S::ROWS));
                // SAFETY: the caller gives the instructions.
                unsafe {
                    by_rows!(rows, ROWS => self.queries::<S, ROWS>(head, query));
                }
                query += rows;
            }
        }
    }
}

impl Window<'_> {
    /// Lays out a head's queries, keys and values.
    #[inline(always)]
    fn gather(&mut self, head: usize) {
        let Windows { side, window, width, .. } = *self.windows;
        let (channels, patches) = (self.windows.channels(), window * window);
        let scale = 1.0 / (width as f32).sqrt();
        for place in 0..patches {
            let ([row, column], region) = self.windows.place(self.n, place);
            self.room.regions[place] = region;
            let inside = row < side && column < side;
            let pixel = if inside { (row * side + column) * 3 * channels } else { 0 };
            let part = |n: usize| {
                let from = n * channels + head * width;
                (&self.seen[pixel + from..][..width], &self.bias[from..][..width])
            };
            let value = |(seen, bias): (&[f32], &[f32]), n: usize| {
                if inside { seen[n] + bias[n] } else { bias[n] }
            };
            let (query, key, own) = (part(0), part(1), part(2));
            for (n, to) in self.room.queries[place * width..][..width].iter_mut().enumerate() {
                *to = value(query, n) * scale;
            }
            let (block, lane) = (place / LANES, place % LANES);
            for (n, to) in self.room.keys[block * width..][..width].iter_mut().enumerate() {
                to.0[lane] = value(key, n);
            }
            for block in 0..width / LANES {
                let to = &mut self.room.values[block * patches + place].0;
                for (n, to) in to.iter_mut().enumerate() {
                    *to = value(own, block * LANES + n);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn queries<S: Simd, const ROWS: usize>(&mut self, head: usize, first: usize) {
        if ROWS > S::ROWS {
            return;
        }
        let Windows { window, width, .. } = *self.windows;
        let (channels, patches) = (self.windows.channels(), window * window);
        let (units, blocks) = (LANES / S::WIDTH, patches.div_ceil(LANES));
        let Room { queries, keys, values, scores, regions } = &mut *self.room;
        // SAFETY: the caller gives the instructions.
        let zero = unsafe { S::splat(0.0) };
        let queries: [&[f32]; ROWS] = std::array::from_fn(|n| &queries[(first + n) * width..][..width]);
        for block in 0..blocks {
            let keys = &keys[block * width..][..width];
            let mut sums = [[[zero; UNITS]]; ROWS];
            // SAFETY: each query and each block of keys has `width` channels; the caller gives the
            // instructions.
            unsafe {
                add_products::<S, ROWS, 1>(&mut sums, |n| queries[n].as_ptr(), [keys.as_ptr().cast()], width);
                for (n, [sums]) in sums.iter().enumerate() {
                    let to = scores[n * blocks + block].0.as_mut_ptr();
                    for (unit, sum) in sums.iter().enumerate().take(units) {
                        S::store(to.add(unit * S::WIDTH), *sum);
                    }
                }
            }
        }
        let mut shares = [0.0; ROWS];
        for (n, share) in shares.iter_mut().enumerate() {
            let query = first + n;
            let places = &self.places[(head * patches + query) * patches..][..patches];
            let row = &mut scores[n * blocks..][..blocks];
            *share = raise(row, places, regions, regions[query]);
        }
        for block in 0..width / LANES {
            let values = &values[block * patches..][..patches];
            let mut sums = [[[zero; UNITS]]; ROWS];
            // SAFETY: each row of scores and each block of values has `patches` keys; sixteen channels of
            // the output are there; the caller gives the instructions.
            unsafe {
                let row = |n: usize| scores[n * blocks..][..blocks].as_ptr().cast::<f32>();
                add_products::<S, ROWS, 1>(&mut sums, row, [values.as_ptr().cast()], patches);
                for (n, [sums]) in sums.iter().enumerate() {
                    let mut lanes = Lanes::ZERO;
                    for (unit, sum) in sums.iter().enumerate().take(units) {
                        S::store(lanes.0.as_mut_ptr().add(unit * S::WIDTH), *sum);
                    }
                    let at = (first + n) * channels + head * width + block * LANES;
                    for (to, value) in self.out[at..][..LANES].iter_mut().zip(lanes.0) {
                        *to = value * shares[n];
                    }
                }
            }
        }
    }
}

/// A query's scores to powers, and what makes shares of them.
#[inline(always)]
fn raise(row: &mut [Lanes], places: &[f32], regions: &[u8], region: u8) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let keys = places.chunks(LANES).zip(regions.chunks(LANES));
    for (scores, (places, regions)) in row.iter_mut().zip(keys) {
        // Beyond the last key there is nothing to see.
        scores.0[places.len()..].fill(f32::NEG_INFINITY);
        for ((score, place), other) in scores.0.iter_mut().zip(places).zip(regions) {
            *score += place + if *other == region { 0.0 } else { APART };
        }
        for (most, score) in most.iter_mut().zip(&scores.0) {
            *most = if *score > *most { *score } else { *most };
        }
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0; LANES];
    for scores in row {
        for (sum, score) in sums.iter_mut().zip(&mut scores.0) {
            *score = exp(*score - most);
            *sum += *score;
        }
    }
    1.0 / sums.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, IndexOp, Result, Tensor};

    use super::*;

    fn noise(shape: &[usize], seed: usize) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|n| ((n + seed) * 7919 % 2003) as f32 / 1001.5 - 1.0);
        Tensor::from_iter(values, &Device::Cpu).and_then(|flat| flat.reshape(shape)).expect("noise")
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32")
    }

    /// The same by candle's operations, window by window.
    fn candles(windows: &Windows, seen: &Tensor, bias: &Tensor, places: &Tensor) -> Result<Tensor> {
        let Windows { side, window, shift, heads, width } = *windows;
        let (count, patches) = (windows.count(), window * window);
        let padded = count * window;
        let seen = seen.pad_with_zeros(0, 0, padded - side)?.pad_with_zeros(1, 0, padded - side)?;
        let seen = seen.broadcast_add(bias)?;
        let seen = seen.roll(-(shift as i32), 0)?.roll(-(shift as i32), 1)?;
        let mut rows = Vec::new();
        for row in 0..count {
            let mut columns = Vec::new();
            for column in 0..count {
                let own = seen.narrow(0, row * window, window)?.narrow(1, column * window, window)?;
                let own = own.reshape((patches, 3, heads, width))?.permute((1, 2, 0, 3))?.contiguous()?;
                let scores = own.i(0)?.matmul(&own.i(1)?.t()?)?;
                let scores = (scores / (width as f64).sqrt())?.add(places)?;
                let apart: Vec<f32> = (0..patches * patches)
                    .map(|n| {
                        let region = |place| windows.place(row * count + column, place).1;
                        if region(n / patches) == region(n % patches) { 0.0 } else { -100.0 }
                    })
                    .collect();
                let apart = Tensor::from_vec(apart, (patches, patches), &Device::Cpu)?;
                let raised = scores.broadcast_add(&apart)?.exp()?;
                let shares = raised.broadcast_div(&raised.sum_keepdim(D::Minus1)?)?;
                let own = shares.matmul(&own.i(2)?)?.permute((1, 0, 2))?;
                columns.push(own.reshape((window, window, heads * width))?);
            }
            rows.push(Tensor::cat(&columns, 1)?);
        }
        let map = Tensor::cat(&rows, 0)?.roll(shift as i32, 0)?.roll(shift as i32, 1)?;
        map.narrow(0, 0, side)?.narrow(1, 0, side)
    }

    #[test]
    fn windows_are_as_candle_has_them() {
        for (side, window, shift) in [(8, 4, 0), (8, 4, 2), (10, 4, 0), (10, 4, 2), (12, 12, 6), (13, 5, 2)] {
            let windows = Windows { side, window, shift, heads: 2, width: 32 };
            let (channels, patches) = (64, window * window);
            let seen = noise(&[side, side, 3 * channels], 1);
            let bias = noise(&[3 * channels], 2);
            let places = noise(&[2, patches, patches], 3);
            let expected = values(&candles(&windows, &seen, &bias, &places).expect("sizes agree"));
            for level in Level::available() {
                let ours = windows.attend(level, &values(&seen), &values(&bias), &values(&places));
                assert_eq!(ours.len(), expected.len());
                for (n, (a, b)) in ours.iter().zip(&expected).enumerate() {
                    assert!((a - b).abs() < 1e-5, "{windows:?} {level:?}, value {n}: {a} and {b}");
                }
            }
        }
    }

    #[test]
    fn a_shifted_windows_end_is_kept_apart_from_its_beginning() {
        let windows = Windows { side: 8, window: 4, shift: 2, heads: 1, width: 16 };
        let regions = |window| (0..16).map(|place| windows.place(window, place).1).collect::<Vec<_>>();
        assert_eq!(regions(0), [0; 16]);
        assert_eq!(regions(3), [4, 4, 5, 5, 4, 4, 5, 5, 7, 7, 8, 8, 7, 7, 8, 8]);
        assert_eq!(windows.place(3, 15).0, [1, 1]);
    }
}
