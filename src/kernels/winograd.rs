//! 3×3 convolutions by Winograd's minimal filtering; the mathematics is in [`crate::toom`].
//!
//! A band of output rows is one thread's. Along it, strips of tiles go through three steps, all within
//! the second-level cache: the data are transformed into `[block][point][tile]`, each point's products
//! with the transformed filters are summed over channels into `[point][block][tile]`, and each tile's sums are
//! transformed back, with bias, residual and activation on the way out.

use rayon::prelude::*;

use crate::band::{Band, Strips};
use crate::epilogue::Epilogue;
use crate::memory::Buffer;
use crate::planes::{LANES, Lanes, PlaneMut, Source};
use crate::resample::assert_halves;
use crate::scratch::Scratch;
use crate::simd::{Level, MOST_TOGETHER, dispatch};
use crate::tile::{FourByFour, SixBySix};
use crate::toom::{F4, F6, TAPS};

/// A strip's transformed data, in bytes: with its sums and the filters passing by, what fits into the
/// second-level cache of every processor that we know.
const fn strip_bytes(level: Level) -> usize {
    match level {
        // A megabyte and more; fewer tiles than twelve would leave registers unused.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => 400 << 10,
        // 512 kB and more.
        _ => 200 << 10,
    }
}
/// More tiles than this gain nothing.
const MAX_TILES: usize = 24;

/// Filters in Winograd's domain.
pub(crate) struct Winograd {
    pub(crate) tile: Tile,
    /// The filters are more than a cache keeps.
    deep: bool,
    /// Pixels from one tap to the next; more than one only where it is deep.
    pub(crate) dilation: usize,
    /// `[block of outputs][point][channel of all inputs]`, sixteen outputs each.
    pub(crate) filters: Buffer,
    /// Channels of all inputs.
    pub(crate) channels: usize,
}

/// How many outputs a tile gives on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tile {
    Four,
    Six,
}

impl Tile {
    pub(crate) const fn side(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Six => 6,
        }
    }

    /// Points on a side.
    pub(crate) const fn points(self) -> usize {
        self.side() + TAPS - 1
    }
}

impl Winograd {
    /// Transforms filters, given as a function of output block, input channel and tap.
    pub(crate) fn new(
        (tile, deep, dilation): (Tile, bool, usize),
        (blocks, channels): (usize, usize),
        filter: impl Fn(usize, usize, usize) -> Lanes + Sync,
    ) -> Self {
        let points = tile.points() * tile.points();
        let mut filters = Buffer::zeroed(blocks * points * channels);
        filters.par_chunks_mut(points * channels).enumerate().for_each(|(block, filters)| {
            for channel in 0..channels {
                let taps: [Lanes; TAPS * TAPS] = std::array::from_fn(|tap| filter(block, channel, tap));
                let mut put = |point: usize, value| filters[point * channels + channel] = value;
                match tile {
                    Tile::Four => F4.filter(&taps, &mut put),
                    Tile::Six => F6.filter(&taps, &mut put),
                }
            }
        });
        Self { tile, deep, dilation, filters, channels }
    }

    /// Blocks of input channels.
    pub(crate) fn seen(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    pub(crate) fn run(
        &self,
        level: Level,
        inputs: &[Source<'_>],
        epilogue: &Epilogue<'_>,
        out: &mut PlaneMut<'_>,
        halved: Option<&mut PlaneMut<'_>>,
        scratch: &Scratch,
    ) {
        let seen = self.seen();
        assert_eq!(inputs.iter().map(|input| input.plane().blocks).sum::<usize>(), seen);
        let (side, points) = (self.tile.side(), self.tile.points() * self.tile.points());
        let across = out.width.div_ceil(side);
        let tiles = strip(strip_bytes(level) / (seen * points * size_of::<Lanes>()), across);
        let (blocks, width) = (out.blocks, out.width);
        let stream = out.is_streamed() && !epilogue.finish.adds;
        let mut halves: Vec<&mut [Lanes]> = Vec::new();
        if let Some(halved) = halved {
            assert_eq!(self.dilation, 1, "what a dilated convolution gives is halved after it");
            assert_halves((out.blocks, out.height, out.width), halved);
            halves.extend(halved.data.chunks_mut(side / 2 * blocks * halved.width));
        }
        halves.resize_with(out.height.div_ceil(side * self.dilation), Default::default);
        if self.deep {
            return match self.tile {
                Tile::Four => self.run_deep::<FourByFour>(level, inputs, epilogue, out, &mut halves, scratch),
                Tile::Six => self.run_deep::<SixBySix>(level, inputs, epilogue, out, &mut halves, scratch),
            };
        }
        let bands = out.data.par_chunks_mut(side * blocks * width);
        bands.zip(halves).enumerate().for_each(|(n, (out, half))| {
            let mut lent = scratch.lend((seen + MOST_TOGETHER) * points * tiles);
            let (data, sums) = lent.buffer.split_at_mut(seen * points * tiles);
            let band = Band {
                winograd: self,
                inputs,
                epilogue,
                y: n * side,
                out,
                half,
                blocks,
                width,
                stream,
                tiles,
                data,
            };
            dispatch(level, Strips { band, level, sums });
        });
    }
}

/// Tiles in a strip: strips of a band are of equal length, as far as that can be.
fn strip(fit: usize, across: usize) -> usize {
    const SIX: usize = 6;
    let most = (fit / SIX * SIX).clamp(SIX, MAX_TILES);
    across.div_ceil(across.div_ceil(most)).next_multiple_of(SIX).min(across)
}
