//! Our kernels beside candle's own operations, on networks whose weights are a formula's.

use candle_core::Device;

use super::super::u2net::{Config, ISNET, U2NET, U2NETP};
use super::super::weights::Parameters;
use super::*;

/// Values that look random, the same everywhere, and of a size that neither fades nor grows on its way
/// through a hundred convolutions.
struct Formula {
    /// By what the weights of the last convolutions are divided, so that a map is neither white nor black.
    sides: f32,
}

impl Formula {
    fn of(config: &Config) -> Self {
        Self { sides: if config.fused { 1.0 } else { 16.0 } }
    }
}

impl Parameters for Formula {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let seed = name.bytes().fold(1_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let inputs: usize = shape[1..].iter().product();
        let scale = if shape.len() == 1 { 0.1 } else { (6.0 / inputs as f32).sqrt() };
        let scale = if name.starts_with("side") { scale / self.sides } else { scale };
        let values = (0..shape.iter().product::<usize>() as u32).map(|n| scale * noise(seed ^ n));
        Ok(Tensor::from_iter(values, &Device::Cpu)?.reshape(shape)?)
    }
}

/// -1 to 1.
fn noise(n: u32) -> f32 {
    let mixed = (n ^ n >> 16).wrapping_mul(0x7feb_352d);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x846c_a68b);
    (mixed >> 8) as f32 / f32::from(1_u16 << 15) / 256.0 - 1.0
}

/// As a network sees it.
fn photo(size: usize) -> Tensor {
    let values = (0..3 * size * size).map(|n| 2.0 * noise(n as u32));
    let photo = Tensor::from_iter(values, &Device::Cpu).expect("values");
    photo.reshape((1, 3, size, size)).expect("a photo")
}

fn values(map: &Tensor) -> Vec<f32> {
    map.flatten_all().and_then(|map| map.to_vec1()).expect("f32")
}

/// The largest difference of our kernels' maps from candle's, and how far candle's reaches from 0 to 1.
fn apart(config: &Config, size: usize) -> (f32, f32) {
    let (graph, photo) = (config.graph(&mut Formula::of(config)).expect("a graph"), photo(size));
    let expected = values(&graph.forward(&photo).expect("candle's map"));
    let all: usize = sizes(&graph, size).expect("sizes").iter().map(Size::len).sum();
    let network = CpuNetwork::plan(graph, size, Level::best()).expect("a plan");
    assert!(network.len * 4 < all, "a plan of {} for maps of {all} would share little", network.len);
    let found = values(&network.forward(&photo).expect("our map"));
    assert_eq!(found.len(), size * size);
    let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let (low, high) = expected.iter().fold((1.0_f32, 0.0_f32), |(l, h), v| (l.min(*v), h.max(*v)));
    (off, high - low)
}

#[test]
fn all_networks_agree_with_candle() {
    // The first is large enough for every way to convolve; the second has maps that are odd, so that they
    // are not doubled on their way back.
    for (config, size) in [(&U2NETP, 112), (&U2NET, 72), (&ISNET, 120)] {
        let (off, reach) = apart(config, size);
        println!("{} at {size}: {off:.2e} apart, of {reach:.2}", config.name);
        assert!(reach > 0.1, "{} at {size}: a map of one grey proves nothing: {reach}", config.name);
        assert!(off < 1e-4, "{} at {size}: {off}", config.name);
    }
}

/// See `tests/models/isnet.py`, which computes the same weights and photo.
#[test]
fn is_net_agrees_with_onnx_runtime() {
    let golden = include_bytes!("../../../tests/models/isnet-96.safetensors");
    let golden = safetensors::SafeTensors::deserialize(golden).expect("a golden map");
    let golden = golden.tensor("map").expect("a golden map");
    let graph = ISNET.graph(&mut Formula::of(&ISNET)).expect("a graph");
    let network = CpuNetwork::plan(graph, 96, Level::best()).expect("a plan");
    let found = values(&network.forward(&photo(96)).expect("our map"));
    let golden = golden.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    assert_eq!(golden.len(), found.len());
    let off = golden.zip(&found).map(|(golden, found)| (golden - found).abs()).fold(0.0, f32::max);
    println!("{off:.2e} apart");
    assert!(off < 1e-4, "{off}");
}
