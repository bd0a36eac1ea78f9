//! What happens to a convolution's sums on their way out, whichever way they came.

use crate::planes::{Lanes, Plane};

/// Bias, activation, residual.
pub(crate) struct Epilogue<'a> {
    /// Sixteen for each block of outputs.
    pub(crate) bias: &'a [Lanes],
    pub(crate) relu: bool,
    /// Added after the activation.
    pub(crate) residual: Option<Plane<'a>>,
}

impl Epilogue<'_> {
    /// The activation as the least value that leaves.
    pub(crate) fn floor(&self) -> f32 {
        if self.relu { 0.0 } else { f32::NEG_INFINITY }
    }
}
