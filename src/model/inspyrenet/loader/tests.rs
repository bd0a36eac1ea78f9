//! The network as a GPU runs it, several photos at once. On the CPU, or on the device that `WARMCUT_TEST_DEVICE` names.

use super::super::super::fingerprint::Summing;
use super::super::config::Backbone;
use super::super::tests::formula::{Formula, photo};
use super::*;
use crate::model::Precision;
use crate::model::device::for_tests;

/// Of all parts, and so small that candle's own operations are quick enough for a test.
const TINY: Config = Config {
    name: "tiny",
    size: 96,
    backbone: Backbone::Swin { channels: 32, depths: [2, 1, 1, 1], heads: [1, 2, 4, 8], window: 6 },
};

fn placed() -> Placed<Network> {
    let gpu = for_tests(&MODULES);
    let held = Held::read(&mut Formula { size: TINY.size }, &TINY).expect("parameters");
    let target = Target { device: gpu.device.clone(), dtype: DType::F32, kernels: None };
    let stop = Stop::default();
    let network = TINY.network(&mut held.to(&gpu.device, &stop), &target).expect("in place");
    Placed::on_gpu(network, gpu.device, sees(&TINY), (0, Summing::default().sum()), Precision::F32)
        .expect("its weights")
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn photos_of_a_batch_have_the_maps_that_they_have_alone() {
    let placed = placed();
    let bright = photo(TINY.size);
    let dark: Vec<u8> = bright.iter().rev().map(|value| value / 4).collect();
    let maps = placed.segment_batch(&[&bright, &dark]);
    let [together, other] = <[_; 2]>::try_from(maps).expect("two").map(|map| map.expect("a map"));
    for (photo, map) in [(&bright, &together), (&dark, &other)] {
        let off = farthest(&placed.segment(photo).expect("a map"), map);
        assert!(off < 1e-4, "{off}");
    }
    let apart = farthest(&together, &other);
    assert!(apart > 0.1, "maps of one photo prove nothing: {apart}");
}

#[test]
fn parameters_that_waited_for_their_device_make_the_same_network() {
    let direct = TINY.network(&mut Formula { size: TINY.size }, &on_cpu(Cpu::Candle)).expect("in place");
    let direct = Placed::on_cpu(direct, sees(&TINY), (0, Summing::default().sum()))
        .segment(&photo(TINY.size))
        .expect("a map");
    let off = farthest(&direct, &placed().segment(&photo(TINY.size)).expect("a map"));
    assert!(off < 1e-4, "{off}");
}

#[test]
fn who_waits_for_copies_can_be_told_to_stop() {
    let held = Held::read(&mut Formula { size: TINY.size }, &TINY).expect("parameters");
    let stop = Stop::default();
    stop.stop();
    let network = TINY.network(&mut held.to(&Device::Cpu, &stop), &on_cpu(Cpu::Candle));
    assert!(matches!(network, Err(ModelError::Stopped)));
}
