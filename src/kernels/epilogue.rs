//! What happens to a convolution's sums on their way out, whichever way they came.

use crate::planes::Lanes;

/// What follows the bias.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish {
    /// Nothing below zero leaves.
    pub relu: bool,
    /// After that, what the map held before is added: a residual lies where the sum of both will, which
    /// is a map less to keep.
    pub adds: bool,
}

/// Bias, activation, residual.
pub(crate) struct Epilogue<'a> {
    /// Sixteen for each block of outputs.
    pub(crate) bias: &'a [Lanes],
    pub(crate) finish: Finish,
}

impl Epilogue<'_> {
    /// The activation as the least value that leaves.
    pub(crate) fn floor(&self) -> f32 {
        if self.finish.relu { 0.0 } else { f32::NEG_INFINITY }
    }
}
