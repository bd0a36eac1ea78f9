//! The kernels on shapes of U²-NetP and U²-Net: `cargo bench -p warmcut-kernels`, on all threads and on one.
//!
//! A convolution's throughput is that of the products that a direct one would have, so ways compare; a
//! resampling's is of the values that it writes.

use std::fmt;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use warmcut_kernels::conv::{Finish, Scratch};
use warmcut_kernels::{
    Buffer, Conv, ConvShape, Dot, LANES, Lanes, Level, Plane, PlaneMut, Source, fuse, resample,
};

fn main() {
    divan::main();
}

/// On all of rayon's threads, or on one.
const THREADS: [usize; 2] = [0, 1];

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

/// Values that are neither zero nor all the same.
fn map(len: usize) -> Buffer {
    let mut map = Buffer::zeroed(len);
    for (n, lanes) in map.iter_mut().enumerate() {
        *lanes = Lanes(std::array::from_fn(|lane| ((n * 7 + lane * 3) % 17) as f32 / 8.0 - 1.0));
    }
    map
}

fn weights(len: usize) -> Vec<f32> {
    (0..len).map(|n| ((n * 5) % 13) as f32 / 60.0 - 0.1).collect()
}

/// A convolution of the network: 3×3, its inputs' channels, and whether the first is enlarged on the way,
/// a map added at the end, and the result halved.
#[derive(Clone, Copy)]
struct Layer {
    name: &'static str,
    inputs: &'static [usize],
    output: usize,
    side: usize,
    dilation: usize,
    doubled: bool,
    adds: bool,
    halved: bool,
}

const PLAIN: Layer = Layer {
    name: "",
    inputs: &[16],
    output: 16,
    side: 320,
    dilation: 1,
    doubled: false,
    adds: false,
    halved: false,
};

const LAYERS: &[Layer] = &[
    Layer { name: "first", inputs: &[3], output: 64, ..PLAIN },
    Layer { name: "into a block", inputs: &[64], halved: true, ..PLAIN },
    Layer { name: "inside", side: 160, ..PLAIN },
    Layer { name: "inside", side: 80, ..PLAIN },
    Layer { name: "out of a block", inputs: &[16, 16], output: 64, doubled: true, adds: true, ..PLAIN },
    Layer { name: "decoder", inputs: &[64, 64], output: 64, doubled: true, ..PLAIN },
    Layer { name: "decoder", inputs: &[64, 64], output: 64, side: 40, doubled: true, ..PLAIN },
    Layer { name: "dilated", side: 20, dilation: 2, ..PLAIN },
    Layer { name: "dilated", inputs: &[16, 16], side: 20, dilation: 4, ..PLAIN },
    Layer { name: "deep", inputs: &[128], output: 256, side: 80, ..PLAIN },
    Layer { name: "deep", inputs: &[512, 512], output: 256, side: 40, doubled: true, ..PLAIN },
    Layer { name: "deep", inputs: &[512], output: 512, side: 20, ..PLAIN },
    Layer { name: "deep dilated", inputs: &[256], output: 256, side: 20, dilation: 4, ..PLAIN },
    Layer { name: "deep dilated", inputs: &[256], output: 256, side: 10, dilation: 4, ..PLAIN },
];

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, inputs, output, side, .. } = self;
        write!(f, "{name} {inputs:?} to {output} at {side}")
    }
}

#[divan::bench(args = LAYERS, consts = THREADS, sample_count = 30)]
fn convolution<const T: usize>(bencher: Bencher<'_, '_>, layer: Layer) {
    let Layer { inputs, output, side, dilation, .. } = layer;
    let channels: usize = inputs.iter().sum();
    let shape = ConvShape { inputs: inputs.to_vec(), output, side: 3, stride: 1, dilation };
    let way = shape.way((side, side));
    let finish = Finish { relu: true, adds: layer.adds };
    let conv = Conv::new(&shape, way, &weights(output * channels * 9), &weights(output), finish);
    let blocks = |channels: usize| channels.div_ceil(LANES);
    let maps: Vec<_> = inputs.iter().map(|channels| map(blocks(*channels) * side * side)).collect();
    let sources = maps.iter().zip(inputs).enumerate().map(|(n, (map, channels))| {
        let blocks = blocks(*channels);
        if layer.doubled && n == 0 {
            let half = side / 2;
            Source::Doubled(Plane::new(&map[..blocks * half * half], blocks, half, half))
        } else {
            Source::Plane(Plane::new(map, blocks, side, side))
        }
    });
    let sources: Vec<_> = sources.collect();
    let blocks = blocks(output);
    let (mut out, mut half) = (map(blocks * side * side), map(blocks * side * side / 4));
    let (scratch, pool, level) = (Scratch::default(), pool(T), Level::best());
    bencher.counter(ItemsCount::new(2 * 9 * channels * output * side * side)).bench_local(|| {
        pool.install(|| {
            let mut out = PlaneMut::new(&mut out, blocks, side, side);
            let mut half = PlaneMut::new(&mut half, blocks, side / 2, side / 2);
            let half = layer.halved.then_some(&mut half);
            conv.run(level, &sources, &mut out, half, &scratch);
        });
    });
}

#[divan::bench(consts = THREADS, sample_count = 30)]
fn halve<const T: usize>(bencher: Bencher<'_, '_>) {
    let (large, mut small, pool) = (map(4 * 320 * 320), map(4 * 160 * 160), pool(T));
    let large = Plane::new(&large, 4, 320, 320);
    bencher.counter(BytesCount::of_slice(&small[..])).bench_local(|| {
        pool.install(|| resample::halve(&large, &mut PlaneMut::new(&mut small, 4, 160, 160)));
    });
}

#[divan::bench(consts = THREADS, sample_count = 30)]
fn enlarge<const T: usize>(bencher: Bencher<'_, '_>) {
    let (small, mut large, pool) = (map(4 * 10 * 10), map(4 * 20 * 20), pool(T));
    let small = Plane::new(&small, 4, 10, 10);
    bencher.counter(BytesCount::of_slice(&large[..])).bench_local(|| {
        pool.install(|| resample::enlarge(&small, &mut PlaneMut::new(&mut large, 4, 20, 20)));
    });
}

/// The head: a single channel of the finest map, and the weighted sum of all.
#[divan::bench(consts = THREADS, sample_count = 30)]
fn dot_and_fuse<const T: usize>(bencher: Bencher<'_, '_>) {
    let (fine, pool, level) = (map(4 * 320 * 320), pool(T), Level::best());
    let (plane, dot) = (Plane::new(&fine, 4, 320, 320), Dot::new(&weights(64 * 9), 64, 0.1));
    let maps: Vec<_> = [160, 80, 40, 20, 10].iter().map(|side| (vec![0.5; side * side], *side)).collect();
    let mut side = vec![0.0; 320 * 320];
    bencher.counter(BytesCount::of_slice(&fine[..])).bench_local(|| {
        pool.install(|| {
            dot.run(level, &plane, &mut side);
            let others = maps.iter().map(|(map, side)| (&map[..], *side, *side, 0.2));
            let all: Vec<_> = [(&side[..], 320, 320, 0.5)].into_iter().chain(others).collect();
            fuse(&all, 0.1, (320, 320))
        })
    });
}
