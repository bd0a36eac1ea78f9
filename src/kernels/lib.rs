//! CPU operations that candle lacks the speed for: convolutions of segmentation networks, and what a
//! transformer does besides products.
//!
//! | file | holds |
//! | --- | --- |
//! | [`planes`] | how activations lie in memory: rows of blocks of 16 channels |
//! | [`toom`] | Winograd's matrices, derived at compile time from their points |
//! | [`winograd`] | 3×3 convolutions on maps large enough for tiles |
//! | [`band`] | a thread's rows of one, strip by strip: what it reads and writes |
//! | [`deep`] | one whose filters are more than a cache keeps, step by step over many tiles |
//! | [`epilogue`] | bias, activation and residual of either |
//! | [`patch`], [`tile`], [`product`] | what a tile sees; its way to the points and back; the sums in between |
//! | [`direct`] | every other convolution |
//! | [`dot`] | convolutions to a single channel, and what a network's head does with them |
//! | [`resample`] | halving and enlarging |
//! | [`windows`] | attention among the pixels of a window |
//! | [`few`] | a few sums over a map, and each pixel's attention to them |
//! | [`rows`] | layer norm, GELU and sums of a matrix's rows |
//! | [`conv`] | one convolution with bias and activation, by the way that suits its map |
//! | [`memory`] | large buffers in large pages |
//! | [`simd`] | the few vector operations that all of them need, and which of them this processor has |
//!
//! Nothing here knows a network. Each operation's result is the same, bit for bit, for any number of
//! threads: threads share out rows, never sums. `unsafe` is confined to [`simd`], [`memory`], and the inner
//! loops: [`band`], [`deep`], [`patch`], [`tile`], [`product`], [`direct`], [`dot`], [`few`],
//! [`rows`] and [`windows`]; candle's own operations are the oracle in the tests.

mod band;
pub mod conv;
mod deep;
mod direct;
mod dot;
mod epilogue;
pub mod few;
mod memory;
mod patch;
pub mod planes;
mod product;
pub mod resample;
pub mod rows;
mod scratch;
mod simd;
mod tile;
mod toom;
pub mod windows;
mod winograd;

pub use conv::{Conv, ConvShape};
pub use dot::{Dot, fuse};
pub use memory::Buffer;
pub use planes::{LANES, Lanes, Plane, PlaneMut, Source};
pub use simd::Level;

#[cfg(test)]
mod tests;
