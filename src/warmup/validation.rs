//! The known photo must give the known answer.

use crate::model::ModelError;

/// The answer is kept as 8-bit means of cells, and another processor rounds differently; a wrong set of
/// weights is off by tenths.
const MEAN_LIMIT: f32 = 0.01;
const MAX_LIMIT: f32 = 0.05;

/// A photo of the network's own size, and what the network must say of it.
#[derive(Clone, Debug)]
pub struct Known {
    /// RGB8, `size × size`.
    pub rgb: Vec<u8>,
    /// 8-bit means of square cells of the map, `side × side`.
    pub answer: Vec<u8>,
    /// Cells in a row.
    pub side: usize,
}

impl Known {
    /// Compares a map of `size × size` with the answer.
    pub fn validate(&self, map: &[f32], size: usize) -> Result<(), ModelError> {
        let cell = size / self.side.max(1);
        if map.len() != size * size || self.answer.len() != self.side * self.side || cell == 0 {
            return Err(ModelError::Input { expected: size * size, found: map.len() });
        }
        let (mut sum, mut max) = (0.0_f32, 0.0_f32);
        for (n, expected) in self.answer.iter().enumerate() {
            let (row, column) = (n / self.side * cell, n % self.side * cell);
            let rows = (row..row + cell).map(|y| &map[y * size + column..][..cell]);
            let mean = rows.flatten().sum::<f32>() / (cell * cell) as f32;
            let off = (mean - f32::from(*expected) / 255.0).abs();
            // A NaN compares as nothing, so it must fail by itself.
            max = if off.is_nan() { f32::INFINITY } else { max.max(off) };
            sum += off;
        }
        let mean = sum / self.answer.len() as f32;
        if mean <= MEAN_LIMIT && max <= MAX_LIMIT {
            return Ok(());
        }
        Err(ModelError::WrongAnswer { mean, max, mean_limit: MEAN_LIMIT, max_limit: MAX_LIMIT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known { rgb: vec![], answer: vec![0, 255, 128, 0], side: 2 }
    }

    #[test]
    fn the_right_answer_passes_and_others_do_not() {
        let right = [0.0, 0.01, 1.0, 1.0, 0.0, 0.0, 0.99, 1.0, 0.5, 0.5, 0.0, 0.0, 0.51, 0.5, 0.0, 0.0];
        known().validate(&right, 4).expect("right");
        let mut wrong = right;
        wrong[10..12].fill(0.4);
        assert!(known().validate(&wrong, 4).is_err());
        assert!(known().validate(&[f32::NAN; 16], 4).is_err());
        assert!(known().validate(&[0.0; 15], 4).is_err());
    }
}
