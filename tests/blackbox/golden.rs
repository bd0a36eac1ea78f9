//! The real network against ONNX Runtime on the same photos; see `tests/golden/make.py`.

use std::path::Path;

use safetensors::SafeTensors;
use warmcut::cutout::image;
use warmcut::model::device::Cpu;
use warmcut::model::{Loader, Source, Stop, U2NetLoader, u2net};
use warmcut_kernels::Level;

/// What the project promises of the 0..1 map.
const MEAN: f32 = 1e-3;
const MAX: f32 = 1e-3;
/// The same where the photo is resampled first: a pixel that is rounded otherwise moves the map (see
/// `tests/golden/README.md`).
const RESAMPLED: f32 = 2e-2;

fn model(source: Source) -> U2NetLoader {
    U2NetLoader::new(u2net::U2NETP, source, Cpu::default())
}

fn map_by(cpu: Cpu, input: &[u8]) -> Vec<f32> {
    let stop = Stop::default();
    let loaded = U2NetLoader::new(u2net::U2NETP, weights(), cpu).load(&mut |_| (), &stop).unwrap();
    loaded.prime(input, &mut |_| (), &stop).unwrap().1
}

fn weights() -> Source {
    Source::File(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/u2netp.safetensors"))
}

#[test]
fn maps_agree_with_onnx_runtime() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bytes = std::fs::read(folder.join("maps.safetensors")).unwrap();
    let maps = SafeTensors::deserialize(&bytes).unwrap();
    for (name, golden) in maps.tensors() {
        let photo = std::fs::read(folder.join(format!("{name}.png"))).unwrap();
        let photo = image::decode(&photo, &image::Limits { max_pixels: 1 << 20 }).unwrap();
        let input = image::network_input(&photo, 320).unwrap();
        let golden: Vec<f32> =
            golden.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        for cpu in Level::available().into_iter().map(Cpu::Kernels).chain([Cpu::Candle]) {
            let map = map_by(cpu, &input);
            assert_eq!(map.len(), golden.len());
            let off = map.iter().zip(&golden).map(|(a, b)| (a - b).abs());
            let (max, sum) = off.fold((0.0_f32, 0.0_f32), |(max, sum), off| (max.max(off), sum + off));
            let mean = sum / golden.len() as f32;
            println!("{name} by {cpu:?}: mean {mean:.2e}, max {max:.2e}");
            let limit = if name == "coffee" { RESAMPLED } else { MAX };
            assert!(mean <= MEAN && max <= limit, "{name} by {cpu:?}: mean {mean}, max {max}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_map() {
    let known = warmcut::app::known().unwrap();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| map_by(Cpu::default(), &known.rgb))
    };
    let alone: Vec<_> = on(1).into_iter().map(f32::to_bits).collect();
    for threads in [2, 5] {
        assert!(on(threads).into_iter().map(f32::to_bits).eq(alone.iter().copied()), "{threads} threads");
    }
}

#[test]
fn the_known_photo_gives_the_known_answer() {
    let known = warmcut::app::known().unwrap();
    let stop = Stop::default();
    let loaded = model(weights()).load(&mut |_| (), &stop).unwrap();
    let (_, map) = loaded.prime(&known.rgb, &mut |_| (), &stop).unwrap();
    known.validate(&map, 320).unwrap();
}

#[test]
fn a_file_that_is_missing_truncated_or_of_wrong_shape_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("u2netp.safetensors");
    let load = || {
        let loaded = model(Source::File(file.clone())).load(&mut |_| (), &Stop::default());
        loaded.err().expect("refused").to_string()
    };
    assert!(load().contains("can't be read"));
    let good =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/u2netp.safetensors")).unwrap();
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert!(load().contains("as safetensors: it has"));
    let tensor = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap();
    let name = "stage1.rebnconvin.conv_s1.weight";
    std::fs::write(&file, safetensors::serialize([(name, tensor)], None).unwrap()).unwrap();
    let said = load();
    assert!(said.contains(name) && said.contains("[1]") && said.contains("[64, 3, 3, 3]"), "{said}");
    let tensor = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap();
    std::fs::write(&file, safetensors::serialize([("other", tensor)], None).unwrap()).unwrap();
    assert!(load().contains("has no tensor"));
}
