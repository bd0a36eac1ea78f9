//! Edges that follow the photo, and colours of the subject without the old background's.
//!
//! ```text
//! map + what the model saw ── Guided::of ─▶ lines      transparency as a line of colour, for each place of the map
//! lines + what the model saw ── Colours::of ─▶ colours  the subject's and the background's, as coarse
//! a row of the photo ── lines ─▶ transparency ── colours ─▶ the subject's colours
//! ```
//!
//! Everything that looks at neighbours happens on the small square that the model saw. At the photo's size each
//! pixel is on its own: rows are made when they are asked for, in any order and without seams, and a photo of
//! fifty megapixels takes no more memory than a small one.

mod foreground;
mod grid;
mod guided;

pub(super) use foreground::Colours;
pub(super) use guided::Guided;
