//! A graph as a GPU runs it: in half precision, several photos at once. On the CPU, or on the device that
//! `WARMCUT_TEST_DEVICE` names.

use super::super::device::for_tests;
use super::super::u2net::U2NETP;
use super::*;

/// Small, so that candle's own operations are quick enough for a test.
const SIZE: usize = 96;

fn source() -> Source {
    Source::Embedded(Known::embedded().embedded.expect("built in"))
}

/// U²-NetP's own weights at a smaller size.
fn placed(precision: Precision) -> Placed<Network> {
    let source = source();
    let build = |weights: &mut Weights<'_>| U2NETP.graph(weights);
    let read = Weights::with(&source, &Device::Cpu, &mut |_| (), &Stop::default(), build);
    let config = Config { size: SIZE, ..U2NETP };
    let Built { network, sum, .. } = read.expect("weights");
    on_gpu((network, sum), for_tests(&MODULES), sees(&config), precision).expect("in place")
}

/// A light square on a dark ground; another `seed` is another place.
fn photo(seed: usize) -> Vec<u8> {
    let pixel = |n: usize| {
        let (x, y) = (n % SIZE, n / SIZE);
        let inside = (12 + seed..60 + seed).contains(&x) && (20..70).contains(&y);
        if inside { [220, 180, 160] } else { [30, 50, (x + y) as u8 / 2] }
    };
    (0..SIZE * SIZE).flat_map(pixel).collect()
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn photos_of_a_batch_have_the_maps_that_they_have_alone() {
    let placed = placed(Precision::F32);
    let photos: Vec<_> = (0..3).map(|seed| photo(8 * seed)).collect();
    let photos: Vec<&[u8]> = photos.iter().map(Vec::as_slice).collect();
    let maps = placed.segment_batch(&photos);
    assert_eq!(maps.len(), 3);
    for (photo, map) in photos.iter().zip(&maps) {
        let alone = placed.segment(photo).expect("a map");
        let off = farthest(&alone, map.as_ref().expect("a map"));
        assert!(off < 1e-4, "{off}");
    }
    let apart = farthest(maps[0].as_ref().expect("a map"), maps[2].as_ref().expect("a map"));
    assert!(apart > 0.1, "maps of one photo prove nothing: {apart}");
}

#[test]
fn a_photo_of_another_size_fails_alone() {
    let placed = placed(Precision::F32);
    let (right, wrong) = (photo(0), vec![0; 7]);
    let maps = placed.segment_batch(&[&right, &wrong]);
    assert!(maps[0].is_ok());
    assert!(matches!(maps[1], Err(ModelError::Input { found: 7, .. })));
}

#[test]
fn half_precision_takes_half_the_memory_and_says_nearly_the_same() {
    let whole = placed(Precision::F32);
    let map = whole.segment(&photo(0)).expect("a map");
    let (low, high) =
        map.iter().fold((1.0_f32, 0.0_f32), |(low, high), value| (low.min(*value), high.max(*value)));
    assert!(high - low > 0.5, "a map of one grey proves nothing: {low} to {high}");
    // A cell of the known answer moves by 0.026 in f16 and by 0.075 in bf16 (models/README.md), a single pixel by more.
    for (precision, mean_bound, bound) in [(Precision::F16, 0.002, 0.05), (Precision::BF16, 0.02, 0.4)] {
        let half = placed(precision);
        // candle's own operations on the CPU convolve in f16 and not in bfloat16.
        if precision == Precision::BF16 && half.gpu.as_ref().is_some_and(Device::is_cpu) {
            continue;
        }
        assert_eq!(half.precision(), precision);
        assert!(half.bytes() < whole.bytes() * 51 / 100, "{precision}: {} bytes", half.bytes());
        let found = half.segment(&photo(0)).expect("a map");
        let off = farthest(&map, &found);
        let mean = map.iter().zip(&found).map(|(a, b)| (a - b).abs()).sum::<f32>() / map.len() as f32;
        println!("{precision}: {mean:.5} in the mean, {off:.4} at most");
        assert!(mean < mean_bound && off < bound, "{precision}: {mean} in the mean, {off} at most");
    }
}

#[test]
fn tuning_measures_where_there_is_a_gpu_and_says_so() {
    let placed = placed(Precision::F32);
    let mut said = Vec::new();
    placed.tune(&photo(0), &mut |progress| said.extend(progress.detail), &Stop::default()).expect("measured");
    assert!(said.len() == 1 && said[0].starts_with("a photo takes "), "{said:?}");
    assert!((1..=8).contains(&placed.batch()));
}

#[test]
fn a_loader_names_the_device_that_was_asked_for_until_it_knows_better() {
    let means = |wanted| Means { wanted, ..Means::default() };
    let loader = |wanted| U2NetLoader::new(U2NETP, Source::Embedded(&[]), Cpu::default()).by(means(wanted));
    assert_eq!(loader(Wanted::Cpu).device(), "cpu");
    assert_eq!(loader(Wanted::Cuda(3)).device(), "cuda:3");
}

/// In a build without CUDA, and in one with it where no driver is; on a machine with a GPU, that GPU.
#[test]
fn auto_runs_on_something_and_names_it() {
    let source = source();
    let config = Config { size: SIZE, ..U2NETP };
    let loader = U2NetLoader::new(config, source, Cpu::default()).by(Means::default());
    let (mut said, stop) = (Vec::new(), Stop::default());
    let loaded = loader.load(&mut |_| (), &stop).expect("loaded");
    let (_, map) =
        loaded.prime(&photo(0), &mut |progress| said.extend(progress.detail), &stop).expect("primed");
    assert_eq!(map.len(), SIZE * SIZE);
    let device = loader.device();
    assert!(device == "cpu" || device.starts_with("cuda:"), "{device}");
    assert!(said.iter().any(|detail| detail.starts_with("device chosen: ")), "{said:?}");
    let falls = cfg!(feature = "cuda") && device == "cpu";
    assert_eq!(said.iter().any(|detail| detail.starts_with("no GPU can be used: ")), falls, "{said:?}");
}
