//! Weights and a photo that PyTorch's side of the test computes too, so that no large file is needed.
//!
//! Values are spread so that every part of the network shows in its result: nothing saturates, nothing
//! vanishes, no attention is the same for all.

use std::path::Path;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::model::ModelError;
use crate::model::weights::Parameters;

/// splitmix64's numbers from one seed.
fn mixed(seed: u64, n: u64) -> u64 {
    let z = seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// FNV-1a.
fn seed(name: &str) -> u64 {
    name.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// Weights for photos of one size.
pub(in super::super) struct Formula {
    pub(in super::super) size: usize,
}

impl Formula {
    /// The middle of a tensor's values and how far they are from it.
    fn spread(&self, name: &str, shape: &[usize]) -> (f64, f64) {
        let kind = name.rsplit('.').next().unwrap_or(name);
        match kind {
            // What is added up over a whole map is divided by as much.
            "running_var" if name.contains("conv_key.0.") || name.contains("conv_value.0.") => {
                let level = name.as_bytes().get("attention".len()).map_or(0, |digit| digit - b'0');
                let pixels = (self.size >> level).pow(2) as f64;
                let middle = (0.1 * pixels).powi(2);
                (middle, 0.5 * middle)
            }
            "running_var" => (1.0, 0.5),
            "relative_position_bias_table" => (0.0, 0.5),
            "gamma" => (0.7, 0.2),
            "threshold" | "lthreshold" => (0.5, 0.1),
            "bias" | "running_mean" => (0.0, 0.1),
            // Sixteen residuals in a row would grow.
            _ if shape.len() == 1 && name.contains(".bn3.") => (0.3, 0.1),
            _ if shape.len() == 1 => (1.0, 0.2),
            _ => {
                // Products along an axis are not scaled, so that of thousands only one would be seen.
                let narrow = name.contains("query_conv.") || name.contains("key_conv.");
                let gain = if narrow { 0.3 } else { 1.0 };
                let input: usize = shape[1..].iter().product();
                (0.0, gain * (3.0 / input as f64).sqrt())
            }
        }
    }
}

impl Parameters for Formula {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let (middle, far) = self.spread(name, shape);
        let seed = seed(name);
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .into_par_iter()
            .with_min_len(1 << 14)
            .map(|n| {
                let unit = (mixed(seed, n as u64) >> 40) as f64 / f64::from(1 << 23) - 1.0;
                (middle + far * unit) as f32
            })
            .collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }
}

/// A disc on a ramp, with noise: RGB8 of `size × size`.
pub(in super::super) fn photo(size: usize) -> Vec<u8> {
    let seed = seed("photo");
    let values = (0..size * size * 3).map(|n| {
        let (x, y, channel) = (n / 3 % size, n / 3 / size, n % 3);
        let value = x * 200 / size + channel * 20;
        let away = |at: usize| at.abs_diff(size / 2).pow(2);
        let value = if away(x) + away(y) < (size / 3).pow(2) { 255 - value } else { value };
        let noise = (mixed(seed, n as u64) >> 59) as usize;
        (value + noise).saturating_sub(16).min(255) as u8
    });
    values.collect()
}

/// What PyTorch says, by network and stage.
pub(super) struct Goldens(Vec<u8>);

impl Goldens {
    pub(super) fn open() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inspyrenet/stages.safetensors");
        Self(std::fs::read(path).expect("the golden values"))
    }

    pub(super) fn of(&self, network: &str, stage: &str) -> Vec<f32> {
        let file = safetensors::SafeTensors::deserialize(&self.0).expect("safetensors");
        let tensor = file.tensor(&format!("{network}/{stage}")).expect("a golden stage");
        tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}
