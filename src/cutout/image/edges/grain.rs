//! What of the photo's colours is finer than a map can tell, where the map is sure: grass, the grain of wood, a
//! sensor's noise. That much of a window's colour beside it says nothing of where the subject ends.

use std::ops::Range;

use rayon::prelude::*;

use super::band::Band;
use super::guided::{SOFT_REACH, softened};

/// Places a side of the squares that it is told for. Each is told with those around it, so that there are sure places
/// for an edge: the band is about half as wide as that.
const CELL: usize = 8;

/// Covariances of the colours, 0 to 1, less what they are when softened: red with red, green and blue, green with
/// green and blue, blue with blue; zero where no place near is sure.
pub(super) struct Grain {
    across: usize,
    cells: Vec<[f32; 6]>,
}

/// Places, and their sums of covariances.
type Sum = (f32, [f32; 6]);

impl Grain {
    /// Of the RGB8 square that the model saw, near the band of its map.
    pub(super) fn of(pixels: &[[u8; 3]], side: usize, band: &Band) -> Self {
        let across = side.div_ceil(CELL);
        // As far as a place looks: into the next square, to its far end.
        let sure = band.wider(2 * CELL - 1).without(&band.wider(1));
        let sharp = sure.wider(SOFT_REACH);
        let mut sums: Vec<Sum> = vec![Default::default(); across * across];
        sums.par_chunks_mut(across).enumerate().for_each(|(n, sums)| {
            let rows = n * CELL..((n + 1) * CELL).min(side);
            if sure.is_empty(rows.clone()) {
                return;
            }
            let (sharp, soft) = softened(pixels, side, rows.clone(), [&sure, &sharp]);
            for y in rows {
                for x in sure.row(y).iter().flat_map(Range::clone) {
                    let (sharp, soft) = (sharp.at(y * side + x), soft.at(y * side + x));
                    let [r, g, b]: [f32; 3] = std::array::from_fn(|c| sharp[c] - soft[c]);
                    add(&mut sums[x / CELL], &(1.0, [r * r, r * g, r * b, g * g, g * b, b * b]));
                }
            }
        });
        let around = |n: usize| n.saturating_sub(1)..(n + 2).min(across);
        let cells = (0..across * across).map(|n| {
            let mut sum = Sum::default();
            for y in around(n / across) {
                sums[y * across..][around(n % across)].iter().for_each(|one| add(&mut sum, one));
            }
            sum.1.map(|value| value / sum.0.max(1.0))
        });
        Self { across, cells: cells.collect() }
    }

    /// For a place of the square.
    pub(super) fn at(&self, x: usize, y: usize) -> [f32; 6] {
        self.cells[y / CELL * self.across + x / CELL]
    }
}

fn add(sum: &mut Sum, one: &Sum) {
    sum.0 += one.0;
    sum.1.iter_mut().zip(one.1).for_each(|(sum, value)| *sum += value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 96;

    /// The map of a thing that ends at column 32, and a photo whose right half alternates between two colours.
    fn photo() -> (Band, Vec<[u8; 3]>) {
        let map: Vec<f32> = (0..SIDE * SIDE).map(|n| if n % SIDE < 32 { 1.0 } else { 0.0 }).collect();
        let pixel = |n: usize| match (n % SIDE, (n % SIDE + n / SIDE) % 2) {
            (..32, _) => [90, 90, 90],
            (_, 0) => [110, 90, 50],
            (..) => [130, 90, 70],
        };
        (Band::of(&map, SIDE), (0..SIDE * SIDE).map(pixel).collect())
    }

    #[test]
    fn grain_is_told_beside_the_edge_and_not_far_from_it() {
        let (band, pixels) = photo();
        let grain = Grain::of(&pixels, SIDE, &band);
        // Ten levels to each side; a chequerboard is nearly all gone when softened. Half of what is near is flat.
        let expected = (10.0_f32 / 255.0).powi(2) / 2.0;
        let [rr, rg, rb, gg, gb, bb] = grain.at(36, 30);
        for value in [rr, rb, bb] {
            assert!((0.7..1.5).contains(&(value / expected)), "{value} {expected}");
        }
        assert!([rg, gg, gb].iter().all(|value| value.abs() < 1e-9), "{rg} {gg} {gb}");
        assert_eq!(grain.at(90, 30), [0.0; 6], "nobody asks so far away");
    }

    #[test]
    fn where_nothing_near_is_sure_there_is_none() {
        let (_, pixels) = photo();
        let unsure = Band::of(&vec![0.5; SIDE * SIDE], SIDE);
        let grain = Grain::of(&pixels, SIDE, &unsure);
        assert!(grain.cells.iter().all(|cell| *cell == [0.0; 6]));
    }
}
