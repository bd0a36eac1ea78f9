//! Runs every kernel at every level over odd sizes and channels, in memory that ends where the maps end.
//!
//! Its results are compared with the portable level's, tap by tap; but it is there to be built with a
//! sanitizer, which sees each access that leaves its memory. It needs nothing but the kernels, so that is
//! quick: `tests/run rust` does it where the compiler's sanitizer is installed.

use warmcut_kernels::conv::{Finish, Scratch, Way};
use warmcut_kernels::{
    Conv, ConvShape, Dot, LANES, Lanes, Level, Plane, PlaneMut, Source, fuse, planes, resample,
};

/// Around the edges of tiles of 4 and 6, of strips, and of groups of rows in registers.
const SIZES: [(usize, usize); 9] =
    [(1, 1), (1, 7), (2, 3), (4, 4), (5, 12), (6, 6), (13, 7), (18, 26), (14, 151)];
/// Channels of each input, and out.
const CHANNELS: [(&[usize], usize); 4] = [(&[3], 16), (&[16], 5), (&[16, 16], 32), (&[32, 20], 17)];

const ALL: [Way; 5] = [Way::Direct, Way::Winograd4, Way::Winograd6, Way::Deep4, Way::Deep6];

fn main() {
    let mut runs = 0;
    for level in Level::available() {
        for size in SIZES {
            for (inputs, output) in CHANNELS {
                for dilation in [1, 3] {
                    runs += convolutions(level, size, inputs, output, dilation);
                }
            }
            others(level, size);
        }
    }
    println!("{runs} convolutions at {:?}", Level::available());
}

/// Values of -1 to 1.
fn map(blocks: usize, (height, width): (usize, usize)) -> Vec<Lanes> {
    let value = |n: usize| ((n * 31 + 7) % 101) as f32 / 50.0 - 1.0;
    (0..blocks * height * width).map(|n| Lanes(std::array::from_fn(|lane| value(n * LANES + lane)))).collect()
}

fn weights(len: usize) -> Vec<f32> {
    (0..len).map(|n| ((n * 17 + 3) % 29) as f32 / 100.0 - 0.14).collect()
}

/// Every way of one convolution, plain and with everything around it; how many that were.
fn convolutions(
    level: Level,
    size: (usize, usize),
    inputs: &[usize],
    output: usize,
    dilation: usize,
) -> usize {
    let (height, width) = size;
    let shape = ConvShape { inputs: inputs.to_vec(), output, side: 3, stride: 1, dilation };
    let weight = weights(output * inputs.iter().sum::<usize>() * 9);
    let blocks = output.div_ceil(LANES);
    let maps: Vec<_> = inputs.iter().map(|channels| map(channels.div_ceil(LANES), size)).collect();
    let sources: Vec<_> = maps
        .iter()
        .zip(inputs)
        .map(|(map, channels)| Source::Plane(Plane::new(map, channels.div_ceil(LANES), height, width)))
        .collect();
    let run = |level, way, sources: &[Source<'_>], (height, width): (usize, usize), adds: bool| {
        let conv = Conv::new(&shape, way, &weight, &weights(output), Finish { relu: true, adds });
        let mut out = map(blocks, (height, width));
        let mut half = map(blocks, (height.div_ceil(2), width.div_ceil(2)));
        let mut out = PlaneMut::new(&mut out, blocks, height, width);
        let mut half = PlaneMut::new(&mut half, blocks, height.div_ceil(2), width.div_ceil(2));
        conv.run(level, sources, &mut out, adds.then_some(&mut half), &Scratch::default());
        planes::unpack(&out.as_plane(), output)
    };
    let ways: &[Way] = if dilation == 1 { &ALL } else { &[Way::Direct, Way::Deep4] };
    for adds in [false, true] {
        let expected = run(Level::Portable, Way::Direct, &sources, size, adds);
        for way in ways {
            let found = run(level, *way, &sources, size, adds);
            let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-3, "{way:?} of {shape:?} on {size:?} at {level:?} is {apart} off");
        }
    }
    let doubled: Vec<_> = sources.iter().map(|source| Source::Doubled(*source.plane())).collect();
    let enlarging = if dilation == 1 { &ways[1..] } else { &[] };
    for way in enlarging {
        run(level, *way, &doubled, (2 * height, 2 * width), false);
    }
    2 * ways.len() + enlarging.len()
}

fn others(level: Level, size: (usize, usize)) {
    let (height, width) = size;
    let (from, mut side) = (map(3, size), vec![0.0; height * width]);
    let plane = Plane::new(&from, 3, height, width);
    Dot::new(&weights(40 * 9), 40, 0.5).run(level, &plane, &mut side);
    fuse(&[(&side, height, width, 0.5)], 0.1, (2 * height + 1, width + 2));
    let mut large = map(3, (height + 3, 2 * width));
    resample::enlarge(&plane, &mut PlaneMut::new(&mut large, 3, height + 3, 2 * width));
}
