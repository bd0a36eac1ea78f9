//! PNG files, written on every core.
//!
//! A PNG's pixels are one stream of compressed bytes, which looks as if only one core could write it.
//! But deflate lets a stream be cut at a byte: a *sync flush* ends a block there and the next one may
//! begin with an empty window. So the picture is cut into bands of rows, each band is filtered and
//! compressed by whoever has time, and the bands stand one behind the other in the file, an `IDAT`
//! chunk each. Their Adler-32 sums add up to that of the whole. pigz and Apple's PNG writer do the same.
//!
//! Rows are asked for when their band is written, and those of few bands lie in memory at once, so a
//! picture that can be made row by row never has to exist as a whole.
//!
//! The same rows give the same bytes on any number of cores.
//!
//! Sources: the PNG specification (third edition, W3C 2025), RFC 1950 (zlib), RFC 1951 (deflate).

mod adler;
mod band;
mod filter;

use rayon::prelude::*;

use band::{Band, Writer};

/// Filtered bytes of a band. Twice as much makes the file 0.1 % smaller and leaves the second core of
/// two idle at the end of a small picture.
const BAND_BYTES: usize = 512 << 10;

/// Bands for each core that are written before any of them is added to the file: enough that no core
/// waits long for the last of them, and little memory.
const ROUND: usize = 4;

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1A\n";

/// What a pixel holds, a byte each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Grey.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, and straight transparency.
    Rgba,
}

impl Colour {
    /// Bytes of a pixel.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }

    /// The specification's number for it.
    const fn code(self) -> u8 {
        match self {
            Self::Grey => 0,
            Self::Rgb => 2,
            Self::Rgba => 6,
        }
    }
}

/// A picture's size and kind.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What its pixels hold.
    pub colour: Colour,
}

impl Header {
    /// Bytes of a row.
    fn row(&self) -> usize {
        self.width as usize * self.colour.bytes()
    }
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The format has sides of 1 to 2³¹ - 1 pixels.
    #[error("no PNG has {width} by {height} pixels")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The compressor broke its own rules.
    #[error("deflate: {0}")]
    Deflate(#[from] flate2::CompressError),
}

/// Writes a picture whose rows `row` puts into the slice that it is given, in any order and from
/// several threads; rows at the seam of two bands are asked for twice.
///
/// # Errors
/// [`EncodeError::Size`] for a side that the format cannot have.
pub fn encode(header: Header, row: &(impl Fn(u32, &mut [u8]) + Sync)) -> Result<Vec<u8>, EncodeError> {
    let Header { width, height, colour } = header;
    if ![width, height].iter().all(|side| (1..=i32::MAX as u32).contains(side)) {
        return Err(EncodeError::Size { width, height });
    }
    let mut file = SIGNATURE.to_vec();
    let mut sizes = [0; 13];
    sizes[..4].copy_from_slice(&width.to_be_bytes());
    sizes[4..8].copy_from_slice(&height.to_be_bytes());
    // Eight bits; the only compression and set of filters that there are; not interlaced.
    sizes[8..].copy_from_slice(&[8, colour.code(), 0, 0, 0]);
    band::chunk(&mut file, *b"IHDR", |data| data.extend_from_slice(&sizes));

    let rows = (BAND_BYTES / (header.row() + 1)).max(1) as u32;
    let bands: Vec<_> = (0..height.div_ceil(rows)).map(|n| n * rows..((n + 1) * rows).min(height)).collect();
    let mut sum = adler::EMPTY;
    for round in bands.chunks(ROUND * rayon::current_num_threads()) {
        let written: Vec<_> = round
            .par_iter()
            .map_init(|| Writer::new(header), |writer, rows| writer.write(rows.clone(), row))
            .collect::<Result<_, _>>()?;
        for Band { chunk, adler, length } in written {
            sum = adler::of_both(sum, adler, length);
            file.extend_from_slice(&chunk);
        }
    }
    // The sum of all is known only now; the stream may end in a chunk of its own.
    band::chunk(&mut file, *b"IDAT", |data| data.extend_from_slice(&sum.to_be_bytes()));
    band::chunk(&mut file, *b"IEND", |_| {});
    Ok(file)
}

#[cfg(test)]
mod tests;
