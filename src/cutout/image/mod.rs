//! The image room: from a photo's bytes to pixels, and from a mask to a cutout's bytes.
//!
//! Steps, each a pure function that a worker thread calls in turn:
//!
//! ```text
//! bytes ── probe ──▶ Probe            cheap, before anything is promised to the browser
//! bytes ── see ─▶ Photo + RGB8        upright, sRGB, 8 bit, no larger than it will be shown; and what
//!                                     the model sees
//! map ──── Mask::of ─▶ Mask           what the model said, at the photo's size, with edges as asked for
//! Photo + Mask ── compose ─▶ Composed ── encode ─▶ Encoded
//! ```
//!
//! Photos come from strangers. Whatever they hold, a call gives a picture or an [`ImageError`]:
//! nothing is allocated before the header's size was held against [`Limits`], and a file that
//! ends early is an error, not a half-grey picture.
//!
//! The room knows nothing of queues, sessions, models or HTTP, and keeps no state.

mod colour;
mod compose;
mod cost;
mod crop;
mod decode;
mod edges;
mod encode;
mod error;
#[cfg(test)]
mod fixtures;
mod mask;
mod orient;
mod probe;
mod profile;
mod read_jpeg;
mod read_png;
mod read_webp;
mod resize;
mod see;

/// Raised with every change that makes other pixels of a photo and its map: cutouts are kept by it, so that none from
/// before is handed out.
pub const PIXELS: u32 = 1;

pub use compose::{Composed, compose};
pub use cost::peak_bytes;
pub use decode::{Photo, decode};
pub use encode::{Encoded, encode};
pub use error::ImageError;
pub use mask::{Mask, SUBJECT_RANGE};
pub use probe::{Limits, MAX_SIDE, Probe, SourceFormat, probe};
pub use resize::network_input;
pub use see::{Seen, see};
