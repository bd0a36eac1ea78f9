//! InSPyReNet: a saliency pyramid that is refined from an eighth of the photo's size to all of it (Kim et
//! al. 2022, <https://arxiv.org/abs/2209.09475>).
//!
//! What is computed is what `transparent_background.Remover` deploys: one pass over the square that the
//! checkpoint was trained for ([`Config::size`]). The paper's blending of a second pass in higher
//! resolution is for photos that keep their own size, and no published checkpoint is run so there.
//!
//! | file | holds |
//! | --- | --- |
//! | [`config`] | which networks there are |
//! | [`network`] | the parts in their order, from a photo to its map |
//! | [`swin`], [`window`] | the Swin transformer and its attention in windows |
//! | [`res2net`] | the convolutional backbone |
//! | [`context`], [`axis`] | what is made of each of a backbone's maps; attention along one axis |
//! | [`decoder`] | the first, coarse map |
//! | [`refine`] | the details that each finer level adds to it |
//! | [`pyramid`] | a map at twice its size |
//! | [`conv`], [`layers`], [`map`], [`ops`], [`scope`] | what all of them are made of |
//! | [`by_kernels`] | our own kernels instead of candle's operations, on the CPU |
//! | [`loader`], [`held`] | the room's traits; parameters that wait for a GPU |
//!
//! Parameters have the names of the published PyTorch checkpoints; batch norm is folded into its
//! convolution when they are loaded. Statistics, softmax, sums over a map, and maps of one channel are
//! always f32; all else is of the type that was asked for.

mod axis;
mod by_kernels;
pub mod config;
mod context;
mod conv;
mod decoder;
mod held;
mod layers;
mod loader;
mod map;
mod network;
mod ops;
mod pyramid;
mod refine;
mod res2net;
mod scope;
mod swin;
mod window;

pub use config::{BASE, Config, FAST, RES2NET50};
pub use loader::InSPyReNetLoader;

#[cfg(test)]
mod tests;
