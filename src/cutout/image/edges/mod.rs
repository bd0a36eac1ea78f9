//! Edges that follow the photo, and colours of the subject without the old background's.
//!
//! ```text
//! map + what the model saw ── Guided::of ─▶ lines      transparency as a line of colour, for each place of the map
//! lines + what the model saw ── Colours::of ─▶ colours  the subject's and the background's, as coarse
//! a row of the photo ── lines ─▶ transparency ── colours ─▶ the subject's colours
//! ```
//!
//! Everything that looks at neighbours happens on the small square that the model saw, in the band where its map is
//! not sure. At the photo's size each pixel is on its own: rows are made when they are asked for, in any order and
//! without seams, and a photo of fifty megapixels takes no more memory than a small one.

mod band;
mod foreground;
mod grain;
mod grid;
mod guided;
mod strip;

/// Bytes that edges take at most, of a map of `side` a side: the map, its grain and its lines; colours and the photo
/// at every level; on each of so many threads rows in work and those around them, 157 bytes a place.
///
/// Where a map is unsure all over: elsewhere most of it is never touched.
pub(super) fn bytes(side: u64, threads: usize) -> u64 {
    let coarse = side.min(foreground::LARGEST as u64);
    let at_once = (threads as u64).min(side.div_ceil(guided::ROWS as u64));
    let rows = at_once * (guided::ROWS + guided::AROUND) as u64;
    25 * side * side + 92 * coarse * coarse + rows * 157 * side
}

pub(super) use foreground::Colours;
pub(super) use guided::Guided;

#[cfg(test)]
mod tests;
