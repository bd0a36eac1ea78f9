//! A band of rows: filtered, compressed, and put into a chunk.

use std::ops::Range;

use flate2::{Compress, CompressError, Compression, FlushCompress};

use super::filter::Filters;
use super::{Header, adler};

/// zlib-rs's level. Of a portrait of 12 megapixels with grain, filtered, on one Zen 3 core:
///
/// | | bytes | ms |
/// | --- | --- | --- |
/// | fdeflate's fixed code | 17.2 MB | 80 |
/// | level 1, a fixed code too | 19.9 MB | 180 |
/// | level 2 | 13.6 MB | 390 |
/// | level 3 | 13.3 MB | 420 |
/// | level 4 | 13.2 MB | 620 |
/// | level 6 | 12.9 MB | 1,120 |
///
/// rembg's file of the same picture, by Pillow at level 6, has 13.1 MB. Without grain, level 2's files are up
/// to 17 % larger than Pillow's, level 3's up to 9 %.
const LEVEL: u32 = 3;

/// That of a picture of at most [`SMALL`] bytes: 5 % smaller again, for two milliseconds at most.
const SMALL_LEVEL: u32 = 5;

/// Of a megapixel with transparency.
const SMALL: usize = 4 << 20;

/// The zlib header: deflate with a window of 32 KiB, fast, no dictionary (RFC 1950, section 2.2).
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];

/// One band, done.
pub(super) struct Band {
    /// The whole `IDAT` chunk.
    pub(super) chunk: Vec<u8>,
    /// Adler-32 of the filtered bytes.
    pub(super) adler: u32,
    /// How many there are.
    pub(super) length: usize,
}

/// What one core needs to write bands, kept from one to the next.
pub(super) struct Writer {
    header: Header,
    deflate: Compress,
    filters: Filters,
    row: Vec<u8>,
    above: Vec<u8>,
    filtered: Vec<u8>,
}

impl Writer {
    pub(super) fn new(header: Header) -> Self {
        let row = header.row();
        let level = if row * header.height as usize <= SMALL { SMALL_LEVEL } else { LEVEL };
        Self {
            header,
            deflate: Compress::new(Compression::new(level), false),
            filters: Filters::new(header.colour.bytes(), row),
            row: vec![0; row],
            above: vec![0; row],
            filtered: Vec::new(),
        }
    }

    pub(super) fn write(
        &mut self,
        rows: Range<u32>,
        make: &(impl Fn(u32, &mut [u8]) + Sync),
    ) -> Result<Band, CompressError> {
        let (first, last) = (rows.start == 0, rows.end == self.header.height);
        match rows.start.checked_sub(1) {
            Some(above) => make(above, &mut self.above),
            None => self.above.fill(0),
        }
        self.filtered.clear();
        for y in rows {
            make(y, &mut self.row);
            self.filters.append(&self.row, &self.above, &mut self.filtered);
            std::mem::swap(&mut self.row, &mut self.above);
        }
        let mut bytes = Vec::new();
        chunk(&mut bytes, *b"IDAT", |data| {
            if first {
                data.extend_from_slice(&ZLIB_HEADER);
            }
            let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
            compress(&mut self.deflate, &self.filtered, flush, data)
        })?;
        Ok(Band { chunk: bytes, adler: adler::of(&self.filtered), length: self.filtered.len() })
    }
}

/// Appends deflate blocks for all of `bytes`, up to a whole byte.
fn compress(
    deflate: &mut Compress,
    bytes: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> Result<(), CompressError> {
    deflate.reset();
    // Photographs come down to less than this; what doesn't gets more room below.
    out.reserve(bytes.len() / 2 + 64);
    loop {
        let taken = deflate.total_in() as usize;
        deflate.compress_vec(&bytes[taken..], out, flush)?;
        // By zlib's contract a flush is complete when it leaves room in the output.
        if out.len() < out.capacity() {
            return Ok(());
        }
        out.reserve(bytes.len() / 8 + 64);
    }
}

/// Appends a chunk: length, type, data, CRC of the last two. Gives what `data` gives.
pub(super) fn chunk<T>(file: &mut Vec<u8>, kind: [u8; 4], data: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = file.len();
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&kind);
    let given = data(file);
    // Bands are far shorter than the 2³¹ bytes that the format allows.
    let length = (file.len() - start - 8) as u32;
    file[start..start + 4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32fast::hash(&file[start + 4..]);
    file.extend_from_slice(&crc.to_be_bytes());
    given
}
