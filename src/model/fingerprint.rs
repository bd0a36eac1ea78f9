//! Which weights a model has, so that what they made is told from what others make under the same name.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::Precision;

/// What makes a map out of a photo: the values of the weights, the side of the square that the network sees, and what
/// it computes in. Equal ones make equal cutouts, whatever file they came in.
///
/// It tells an operator's own files apart and is no defence against forged ones; a checksum that is would take as
/// long as reading them on processors without instructions for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of weights, as a network of this side computes them.
    pub(super) fn of(weights: WeightsSum, size: usize, precision: Precision) -> Self {
        Self(format!("{:032x}-{size}-{precision}", weights.0))
    }

    /// As it is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A checksum of all parameters of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WeightsSum(u128);

/// Adds parameters up, in the order in which their network asks for them.
#[derive(Default)]
pub(super) struct Summing(Box<Xxh3>);

impl Summing {
    /// A parameter's name, and its values as the network gets them.
    pub(super) fn add(&mut self, name: &str, values: &[f32]) {
        self.0.update(name.as_bytes());
        // So that a name can't end where values begin.
        self.0.update(&(values.len() as u64).to_le_bytes());
        self.0.update(bytemuck::cast_slice(values));
    }

    pub(super) fn sum(&self) -> WeightsSum {
        WeightsSum(self.0.digest128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_differ_by_names_values_side_and_precision() {
        let of = |parameters: &[(&str, &[f32])], size, precision| {
            let mut summing = Summing::default();
            parameters.iter().for_each(|(name, values)| summing.add(name, values));
            Fingerprint::of(summing.sum(), size, precision)
        };
        let (a, b) = (("a", &[1.0, 2.0][..]), ("b", &[3.0][..]));
        let all = [
            of(&[a, b], 320, Precision::F32),
            of(&[b, a], 320, Precision::F32),
            of(&[a, ("b", &[3.5])], 320, Precision::F32),
            of(&[a, ("c", &[3.0])], 320, Precision::F32),
            of(&[a, b], 384, Precision::F32),
            of(&[a, b], 320, Precision::BF16),
        ];
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
        assert_eq!(of(&[a, b], 320, Precision::F32), all[0]);
    }
}
