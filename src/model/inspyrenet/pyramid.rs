//! A map at twice its size, as the Laplacian pyramid has it.
//!
//! Zeros between the pixels, the edges mirrored, and a Gaussian over all of it, which is no part of the
//! checkpoints. Each axis is a matrix of its own, so the whole of it is two products on any device.

use candle_core::{Device, Tensor};

use super::super::ModelError;

/// What doubles a square map of one size.
pub(super) struct Doubled {
    /// `[2·side, side]`
    rows: Tensor,
    /// `[side, 2·side]`
    columns: Tensor,
}

impl Doubled {
    /// For maps of `side × side`, which are two pixels or more.
    pub(super) fn new(side: usize, device: &Device) -> Result<Self, ModelError> {
        let rows = Tensor::from_vec(matrix(side), (2 * side, side), device)?;
        let columns = rows.t()?.contiguous()?;
        Ok(Self { rows, columns })
    }

    /// `[B, 1, side, side]` to `[B, 1, 2·side, 2·side]`, in f32.
    pub(super) fn forward(&self, map: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, _, side, _) = map.dims4()?;
        let wide = map.reshape((batch * side, side))?.matmul(&self.columns)?;
        let rows = self.rows.unsqueeze(0)?.broadcast_as((batch, 2 * side, side))?;
        let tall = rows.matmul(&wide.reshape((batch, side, 2 * side))?)?;
        Ok(tall.unsqueeze(1)?)
    }
}

/// Of one axis, `[2·side, side]`.
fn matrix(side: usize) -> Vec<f32> {
    /// To each side of a pixel; the deviation is 1.
    const REACH: usize = 3;
    let bell: [f64; 2 * REACH + 1] = std::array::from_fn(|tap| {
        let away = tap as f64 - REACH as f64;
        (-0.5 * away * away).exp()
    });
    let sum: f64 = bell.iter().sum();
    let long = 2 * side;
    let mut matrix = vec![0.0; long * side];
    for (to, row) in matrix.chunks_exact_mut(side).enumerate() {
        for (tap, height) in bell.iter().enumerate() {
            // Mirrored at the first and at the last pixel, which are not repeated.
            let from = (to + tap).abs_diff(REACH);
            let from = if from < long { from } else { 2 * (long - 1) - from };
            if from % 2 == 0 {
                // Half of all pixels are zeros, so the others count twice.
                row[from / 2] += (2.0 * height / sum) as f32;
            }
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_map_stays_even_but_for_the_mirrored_edge() {
        let map = Tensor::ones((1, 1, 8, 8), candle_core::DType::F32, &Device::Cpu).expect("ones");
        let doubled = Doubled::new(8, &Device::Cpu).and_then(|doubled| doubled.forward(&map));
        let values =
            doubled.and_then(|map| Ok(map.squeeze(0)?.squeeze(0)?.to_vec2::<f32>()?)).expect("16x16");
        assert_eq!((values.len(), values[0].len()), (16, 16));
        // The bell's even and odd taps don't sum to quite the same.
        assert!(values.iter().flatten().all(|value| (value - 1.0).abs() < 0.03), "{values:?}");
    }

    #[test]
    fn taps_beyond_the_edge_are_mirrored() {
        let matrix = matrix(4);
        let (near, far) = ((-0.5f64).exp(), (-4.5f64).exp());
        let sum = 1.0 + 2.0 * (near + (-2.0f64).exp() + far);
        // Row 1 sees rows 2 and 0 beside it and 4 and -2 three away; -2 is 2.
        let expected = [near, near + far, far, 0.0].map(|weight| (2.0 * weight / sum) as f32);
        for (value, expected) in matrix[4..8].iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{matrix:?}");
        }
    }
}
