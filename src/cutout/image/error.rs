//! What can be wrong with a photo, with the values that a person needs to mend it.
//!
//! The messages go to shoppers and shops as they are: they hold sizes and limits, never paths or
//! a decoder's internals beyond one line. The room that speaks HTTP chooses the status.

use super::probe::SourceFormat;

/// Why a photo was refused or a cutout could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not one byte came.
    #[error("the photo is empty: send the file's bytes")]
    Empty,
    /// Not a format, or not a kind of it, that is served.
    #[error("this looks like {looks_like}: send a JPEG, PNG or WebP photo")]
    Unsupported {
        /// What the first bytes look like, with its article.
        looks_like: &'static str,
    },
    /// The header goes on beyond the bytes at hand. Of a prefix it says "come back with more"; of
    /// a whole file, that it is cut off.
    #[error("the {format} ends within its header, after {have} bytes: send the whole file")]
    HeaderIncomplete {
        /// The format that was begun.
        format: SourceFormat,
        /// How many bytes were looked at.
        have: usize,
    },
    /// The file contradicts its format or ends early.
    #[error("the {format} is damaged or cut off ({reason}): send it again, or save it anew")]
    Corrupt {
        /// The format that it claims to be.
        format: SourceFormat,
        /// One line of what was found.
        reason: String,
    },
    /// More pixels than the limit.
    #[error("the photo is {width}×{height}, {pixels} pixels, and the limit is {limit}: send a smaller one")]
    TooManyPixels {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// Their product.
        pixels: u64,
        /// What is allowed.
        limit: u64,
    },
    /// One side is longer than any format here can hold.
    #[error("the photo is {width}×{height} and no side may exceed {limit}: send a smaller one")]
    SideTooLong {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// What is allowed.
        limit: u32,
    },
    /// What it was asked to become takes more memory than there is.
    #[error(
        "a {width}×{height} photo takes {} MB of memory for this and the server has {}: send a smaller one, \
         or ask for size=preview, or for png where it was webp", needed / 1_000_000, limit / 1_000_000
    )]
    TooMuchMemory {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// Bytes that it would take.
        needed: u64,
        /// Bytes that there are.
        limit: u64,
    },
    /// A buffer handed in does not have the size that was said: a fault of ours, not the photo's.
    #[error("{what} holds {found} values instead of {expected}")]
    WrongLength {
        /// Which buffer.
        what: &'static str,
        /// What it should hold.
        expected: usize,
        /// What it holds.
        found: usize,
    },
    /// The cutout is larger than the asked format can be.
    #[error(
        "the cutout is {width}×{height} and {format} holds at most {limit} a side: ask for png or size=preview"
    )]
    TooLargeForFormat {
        /// The format asked for.
        format: &'static str,
        /// Width of the cutout.
        width: u32,
        /// Height of the cutout.
        height: u32,
        /// What the format allows.
        limit: u32,
    },
    /// Resizing or encoding failed: a fault of ours, not the photo's.
    #[error("{step} failed: {reason}")]
    Internal {
        /// What was being done.
        step: &'static str,
        /// One line of why.
        reason: String,
    },
}

impl ImageError {
    /// A damaged file, and what a decoder said of it, cut to one short line.
    pub(super) fn corrupt(format: SourceFormat, reason: impl std::fmt::Display) -> Self {
        let reason = reason.to_string();
        let reason = reason.lines().next().unwrap_or_default();
        Self::Corrupt { format, reason: reason.chars().take(120).collect() }
    }
}
