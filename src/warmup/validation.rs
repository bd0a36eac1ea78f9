//! The known photo must give the known answer.
//!
//! An answer is known of published weights alone. Of others (a network trained anew, or one whose weights nobody could
//! show us) only so much can be said of a first inference: that it gave a map, of numbers, and not of one value.

use crate::model::ModelError;

/// The answer is kept as 8-bit means of cells, and another processor rounds differently; a wrong set of
/// weights is off by tenths.
const MEAN_LIMIT: f32 = 0.01;
const MAX_LIMIT: f32 = 0.05;
/// Weights that are all the same, or not of a network, give one value everywhere; a network that finds nothing in the
/// known photo still sees its edges.
const LEAST_REACH: f32 = 1e-3;

/// A photo of the network's own size, and what the network must say of it.
#[derive(Clone, Debug)]
pub struct Known {
    /// RGB8, `size × size`.
    pub rgb: Vec<u8>,
    /// None where nobody knows.
    pub answer: Option<Answer>,
}

/// A map, coarsely.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 8-bit means of square cells of the map, `side × side`.
    pub cells: Vec<u8>,
    /// Cells in a row.
    pub side: usize,
}

impl Known {
    /// Compares a map of `size × size` with the answer, and says for people what that proved.
    pub fn validate(&self, map: &[f32], size: usize) -> Result<String, ModelError> {
        if map.len() != size * size {
            return Err(ModelError::Input { expected: size * size, found: map.len() });
        }
        match &self.answer {
            Some(answer) => {
                answer.compare(map, size)?;
                Ok("the known photo gave the known answer".to_owned())
            }
            None => sensible(map),
        }
    }
}

impl Answer {
    fn compare(&self, map: &[f32], size: usize) -> Result<(), ModelError> {
        let cell = size / self.side.max(1);
        if self.cells.len() != self.side * self.side || cell == 0 {
            return Err(ModelError::Input { expected: size * size, found: map.len() });
        }
        let (mut sum, mut max) = (0.0_f32, 0.0_f32);
        for (n, expected) in self.cells.iter().enumerate() {
            let (row, column) = (n / self.side * cell, n % self.side * cell);
            let rows = (row..row + cell).map(|y| &map[y * size + column..][..cell]);
            let mean = rows.flatten().sum::<f32>() / (cell * cell) as f32;
            let off = (mean - f32::from(*expected) / 255.0).abs();
            // A NaN compares as nothing, so it must fail by itself.
            max = if off.is_nan() { f32::INFINITY } else { max.max(off) };
            sum += off;
        }
        let mean = sum / self.cells.len() as f32;
        if mean <= MEAN_LIMIT && max <= MAX_LIMIT {
            return Ok(());
        }
        Err(ModelError::WrongAnswer { mean, max, mean_limit: MEAN_LIMIT, max_limit: MAX_LIMIT })
    }
}

/// Whether a map's values are numbers from 0 to 1.
///
/// # Errors
/// How many are not.
pub fn in_range(map: &[f32]) -> Result<(), ModelError> {
    match map.iter().filter(|value| !(0.0..=1.0).contains(*value)).count() {
        0 => Ok(()),
        odd => {
            Err(ModelError::NoAnswer { found: format!("a map with {odd} values that are not from 0 to 1") })
        }
    }
}

/// Whether it is a map at all.
fn sensible(map: &[f32]) -> Result<String, ModelError> {
    in_range(map)?;
    let (low, high) = map.iter().fold((1.0_f32, 0.0_f32), |(l, h), value| (l.min(*value), h.max(*value)));
    if high - low < LEAST_REACH {
        return Err(ModelError::NoAnswer { found: format!("a map of one value, {low:.3}") });
    }
    Ok(format!(
        "the known photo gave a map from {low:.2} to {high:.2}; no answer is known to compare it with"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known { rgb: vec![], answer: Some(Answer { cells: vec![0, 255, 128, 0], side: 2 }) }
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

    #[test]
    fn without_a_known_answer_there_must_be_a_map() {
        let unknown = Known { rgb: vec![], answer: None };
        let said = unknown.validate(&[0.0, 0.25, 0.75, 0.0], 2).expect("a map");
        assert!(said.contains("0.00 to 0.75") && said.contains("no answer is known"), "{said}");
        for (map, says) in [
            ([0.5; 4], "one value, 0.500"),
            ([0.0, f32::NAN, 1.0, 0.5], "1 values"),
            ([0.0, 1.0, 1.5, f32::INFINITY], "2 values"),
        ] {
            let error = unknown.validate(&map, 2).expect_err("none").to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(unknown.validate(&[0.0, 1.0], 2).is_err());
    }
}
