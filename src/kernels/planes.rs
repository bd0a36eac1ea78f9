//! How activations lie in memory.
//!
//! A map of `C` channels is kept as `[H][⌈C/16⌉][W][16]`: rows first, so that a band of rows is one
//! slice that one thread may have to itself; sixteen channels of a pixel last, so that a vector
//! operation is sixteen channels wide and no kernel ever shuffles. A concatenation is a list of maps.

use rayon::prelude::*;

/// Channels that lie together.
pub const LANES: usize = 16;

/// Sixteen channels of one pixel; a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// All zero.
    pub const ZERO: Self = Self([0.0; LANES]);
}

/// What lies beyond the edge of a map.
pub(crate) static BEYOND: Lanes = Lanes::ZERO;

/// A map to read.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    /// `[height][blocks][width]`.
    pub data: &'a [Lanes],
    /// Blocks of sixteen channels.
    pub blocks: usize,
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

impl<'a> Plane<'a> {
    /// # Panics
    /// When the data are of another length.
    pub fn new(data: &'a [Lanes], blocks: usize, height: usize, width: usize) -> Self {
        assert_eq!(data.len(), blocks * height * width, "{blocks} blocks of {height}x{width}");
        Self { data, blocks, height, width }
    }

    /// One row of one block.
    #[inline(always)]
    pub fn row(&self, y: usize, block: usize) -> &'a [Lanes] {
        &self.data[(y * self.blocks + block) * self.width..][..self.width]
    }
}

/// A map that a convolution sees.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// As it is.
    Plane(Plane<'a>),
    /// Enlarged to twice its size by straight lines.
    Doubled(Plane<'a>),
}

impl<'a> Source<'a> {
    /// The map as it lies in memory.
    pub fn plane(&self) -> &Plane<'a> {
        match self {
            Self::Plane(plane) | Self::Doubled(plane) => plane,
        }
    }

    /// Height and width as they are seen.
    pub fn size(&self) -> (usize, usize) {
        match self {
            Self::Plane(plane) => (plane.height, plane.width),
            Self::Doubled(plane) => (2 * plane.height, 2 * plane.width),
        }
    }
}

/// A map to write.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// `[height][blocks][width]`.
    pub data: &'a mut [Lanes],
    /// Blocks of sixteen channels.
    pub blocks: usize,
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

impl<'a> PlaneMut<'a> {
    /// # Panics
    /// When the data are of another length.
    pub fn new(data: &'a mut [Lanes], blocks: usize, height: usize, width: usize) -> Self {
        assert_eq!(data.len(), blocks * height * width, "{blocks} blocks of {height}x{width}");
        Self { data, blocks, height, width }
    }

    /// Whether it is so large that it is written past the caches, where it would only push out what is
    /// still needed.
    pub(crate) fn is_streamed(&self) -> bool {
        const LARGE: usize = 5 << 20;
        size_of_val(self.data) >= LARGE
    }

    /// The same to read.
    pub fn as_plane(&self) -> Plane<'_> {
        Plane { data: self.data, blocks: self.blocks, height: self.height, width: self.width }
    }
}

/// From `[C][H][W]`, as candle keeps a map; channels beyond `C` become zero.
///
/// # Panics
/// When the lengths contradict each other.
pub fn pack(chw: &[f32], channels: usize, out: &mut PlaneMut<'_>) {
    assert_eq!(chw.len(), channels * out.height * out.width);
    assert_eq!(out.blocks, channels.div_ceil(LANES));
    let (blocks, height, width) = (out.blocks, out.height, out.width);
    out.data.par_chunks_mut(width).enumerate().for_each(|(row, lanes)| {
        let (y, block) = (row / blocks, row % blocks);
        lanes.fill(Lanes::ZERO);
        for channel in block * LANES..channels.min((block + 1) * LANES) {
            let values = &chw[(channel * height + y) * width..][..width];
            for (pixel, value) in lanes.iter_mut().zip(values) {
                pixel.0[channel % LANES] = *value;
            }
        }
    });
}

/// To `[C][H][W]`.
pub fn unpack(plane: &Plane<'_>, channels: usize) -> Vec<f32> {
    let pixels = plane.height * plane.width;
    let mut chw = vec![0.0; channels * pixels];
    // A block's channels together, or each of its cache lines would be read sixteen times.
    chw.par_chunks_mut(LANES * pixels).enumerate().for_each(|(block, chw)| {
        for y in 0..plane.height {
            let row = plane.row(y, block);
            for (lane, channel) in chw.chunks_exact_mut(pixels).enumerate() {
                let values = &mut channel[y * plane.width..][..plane.width];
                values.iter_mut().zip(row).for_each(|(value, pixel)| *value = pixel.0[lane]);
            }
        }
    });
    chw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_and_unpacking_gives_the_same_and_pads_with_zeros() {
        let (channels, height, width) = (19, 3, 5);
        let chw: Vec<f32> = (0..channels * height * width).map(|n| n as f32).collect();
        let mut data = vec![Lanes([7.0; LANES]); 2 * height * width];
        pack(&chw, channels, &mut PlaneMut::new(&mut data, 2, height, width));
        let plane = Plane::new(&data, 2, height, width);
        assert_eq!(unpack(&plane, channels), chw);
        assert_eq!(plane.row(1, 1)[2].0[3..], [0.0; 13]);
    }
}
