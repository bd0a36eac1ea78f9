//! Every kernel against candle's own operation, over shapes, sizes, levels and threads.

use candle_core::{Device, Tensor};
use proptest::prelude::*;

use crate::conv::{Finish, Scratch, Way};
use crate::planes::{pack, unpack};
use crate::*;

const PLAIN: Finish = Finish { relu: true, adds: false };

/// Values of -1 to 1 that look random and are the same each time.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(next).collect()
}

fn packed(chw: &[f32], channels: usize, (height, width): (usize, usize)) -> Vec<Lanes> {
    let blocks = channels.div_ceil(16);
    let mut data = vec![Lanes([f32::NAN; 16]); blocks * height * width];
    pack(chw, channels, &mut PlaneMut::new(&mut data, blocks, height, width));
    data
}

fn tensor(chw: &[f32], channels: usize, (height, width): (usize, usize)) -> Tensor {
    Tensor::from_slice(chw, (1, channels, height, width), &Device::Cpu).expect("sizes agree")
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32")
}

fn assert_close(ours: &[f32], candles: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), candles.len());
    for (n, (a, b)) in ours.iter().zip(candles).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "value {n}: {a} and {b}");
    }
}

#[derive(Clone, Debug)]
struct Case {
    shape: ConvShape,
    way: Way,
    size: (usize, usize),
    finish: Finish,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1..40usize, 1..60usize);
    let channels = (prop::collection::vec(1..3usize, 0..2), 1..36usize, 1..36usize);
    let kind =
        prop_oneof![
            Just((Way::Winograd4, 3, 1, 1)),
            Just((Way::Winograd6, 3, 1, 1)),
            (1..6usize).prop_map(|dilation| (Way::Deep4, 3, 1, dilation)),
            Just((Way::Deep6, 3, 1, 1)),
            (prop::sample::select(vec![1, 3, 5]), 1..3usize, 1..9usize)
                .prop_map(|(side, stride, dilation)| (Way::Direct, side, stride, dilation)),
        ];
    (sizes, channels, kind, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(size, (blocks, last, output), (way, side, stride, dilation), relu, adds, seed)| {
            let inputs = blocks.iter().map(|blocks| blocks * 16).chain([last]).collect();
            Case {
                shape: ConvShape { inputs, output, side, stride, dilation },
                way,
                size,
                finish: Finish { relu, adds },
                seed,
            }
        },
    )
}

impl Case {
    fn out(&self) -> (usize, usize) {
        (self.size.0.div_ceil(self.shape.stride), self.size.1.div_ceil(self.shape.stride))
    }

    fn inputs(&self) -> Vec<Vec<f32>> {
        let pixels = self.size.0 * self.size.1;
        let inputs = self.shape.inputs.iter().enumerate();
        inputs.map(|(n, channels)| noise(channels * pixels, self.seed ^ (n as u64 + 1))).collect()
    }

    fn parameters(&self) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let ConvShape { inputs, output, side, .. } = &self.shape;
        let (height, width) = self.out();
        (
            noise(output * inputs.iter().sum::<usize>() * side * side, self.seed ^ 11),
            noise(*output, self.seed ^ 12),
            noise(output * height * width, self.seed ^ 13),
        )
    }

    fn ours(&self, level: Level) -> Vec<f32> {
        let (weight, bias, residual) = self.parameters();
        let conv = Conv::new(&self.shape, self.way, &weight, &bias, self.finish);
        let inputs: Vec<_> = self.inputs();
        let inputs: Vec<_> = inputs.iter().zip(&self.shape.inputs).collect();
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(chw, channels)| (packed(chw, **channels, self.size), channels.div_ceil(16)))
            .collect();
        let planes: Vec<_> = inputs
            .iter()
            .map(|(data, blocks)| Source::Plane(Plane::new(data, *blocks, self.size.0, self.size.1)))
            .collect();
        let (height, width) = self.out();
        let blocks = self.shape.output.div_ceil(16);
        let mut data = if self.finish.adds {
            packed(&residual, self.shape.output, (height, width))
        } else {
            vec![Lanes([f32::NAN; 16]); blocks * height * width]
        };
        let mut out = PlaneMut::new(&mut data, blocks, height, width);
        conv.run(level, &planes, &mut out, None, &Scratch::default());
        unpack(&out.as_plane(), self.shape.output)
    }

    fn candles(&self) -> Vec<f32> {
        let ConvShape { inputs, output, side, stride, dilation } = &self.shape;
        let (weight, bias, residual) = self.parameters();
        let parts: Vec<_> = self
            .inputs()
            .iter()
            .zip(inputs)
            .map(|(chw, channels)| tensor(chw, *channels, self.size))
            .collect();
        let x = Tensor::cat(&parts, 1).expect("sizes agree");
        let weight =
            Tensor::from_slice(&weight, (*output, inputs.iter().sum::<usize>(), *side, *side), &Device::Cpu);
        let bias = Tensor::from_slice(&bias, (1, *output, 1, 1), &Device::Cpu).expect("sizes agree");
        let padding = dilation * (side / 2);
        let y = x.conv2d(&weight.expect("sizes agree"), padding, *stride, *dilation, 1).expect("sizes agree");
        let y = y.broadcast_add(&bias).expect("sizes agree");
        let y = if self.finish.relu { y.relu().expect("f32") } else { y };
        let y = if self.finish.adds {
            (y + tensor(&residual, *output, self.out())).expect("sizes agree")
        } else {
            y
        };
        values(&y)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolutions_agree_with_candle(case in case()) {
        // Winograd's larger points cost digits.
        let tolerance = if case.way == Way::Direct { 5e-5 } else { 5e-4 };
        let candles = case.candles();
        for level in Level::available() {
            assert_close(&case.ours(level), &candles, tolerance);
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit(case in case()) {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| case.ours(Level::best()))
        };
        let alone: Vec<_> = on(1).into_iter().map(f32::to_bits).collect();
        for threads in [2, 3, 7] {
            assert!(on(threads).into_iter().map(f32::to_bits).eq(alone.iter().copied()));
        }
    }

    #[test]
    fn enlarging_on_the_way_is_enlarging_before(
        (height, width) in (1..25usize, 1..25usize),
        way in prop::sample::select(vec![Way::Winograd4, Way::Winograd6, Way::Deep4, Way::Deep6]),
        seed in any::<u64>(),
    ) {
        let small = packed(&noise(16 * height * width, seed), 16, (height, width));
        let small = Plane::new(&small, 1, height, width);
        let (height, width) = (2 * height, 2 * width);
        let beside = packed(&noise(16 * height * width, seed ^ 1), 16, (height, width));
        let beside = Source::Plane(Plane::new(&beside, 1, height, width));
        let mut large = vec![Lanes::ZERO; height * width];
        resample::enlarge(&small, &mut PlaneMut::new(&mut large, 1, height, width));
        let large = Source::Plane(Plane::new(&large, 1, height, width));
        let shape = ConvShape { inputs: vec![16, 16], output: 16, side: 3, stride: 1, dilation: 1 };
        let conv = Conv::new(&shape, way, &noise(32 * 16 * 9, seed ^ 2), &[0.5; 16], PLAIN);
        for level in Level::available() {
            let on = |first| {
                let mut out = vec![Lanes::ZERO; height * width];
                let mut out = PlaneMut::new(&mut out, 1, height, width);
                conv.run(level, &[first, beside], &mut out, None, &Scratch::default());
                unpack(&out.as_plane(), 16)
            };
            assert_close(&on(Source::Doubled(small)), &on(large), 1e-4);
        }
    }

    #[test]
    fn halving_on_the_way_is_halving_after(
        (height, width, blocks) in (1..40usize, 1..40usize, 1..3usize),
        way in prop::sample::select(vec![Way::Direct, Way::Winograd4, Way::Winograd6, Way::Deep4, Way::Deep6]),
        seed in any::<u64>(),
    ) {
        let size = (height, width);
        let input = packed(&noise(16 * height * width, seed), 16, size);
        let beside = packed(&noise(16 * blocks * height * width, seed ^ 1), 16 * blocks, size);
        let shape =
            ConvShape { inputs: vec![16], output: 16 * blocks, side: 3, stride: 1, dilation: 1 };
        let weight = noise(16 * blocks * 16 * 9, seed ^ 2);
        let finish = Finish { relu: false, adds: true };
        let conv = Conv::new(&shape, way, &weight, &noise(16 * blocks, seed ^ 3), finish);
        for level in Level::available() {
            let input = Source::Plane(Plane::new(&input, 1, height, width));
            let mut out = beside.clone();
            let mut out = PlaneMut::new(&mut out, blocks, height, width);
            let (half_height, half_width) = (height.div_ceil(2), width.div_ceil(2));
            let mut halves = [(); 2].map(|()| vec![Lanes([f32::NAN; 16]); blocks * half_height * half_width]);
            let [mut on_the_way, mut after] =
                halves.each_mut().map(|half| PlaneMut::new(half, blocks, half_height, half_width));
            conv.run(level, &[input], &mut out, Some(&mut on_the_way), &Scratch::default());
            resample::halve(&out.as_plane(), &mut after);
            prop_assert_eq!(on_the_way.data, after.data);
        }
    }

    #[test]
    fn resampling_agrees_with_candle(
        (height, width, channels) in (1..30usize, 1..30usize, 1..40usize),
        (more_height, more_width) in (0..40usize, 0..40usize),
        seed in any::<u64>(),
    ) {
        let chw = noise(channels * height * width, seed);
        let (x, data) = (tensor(&chw, channels, (height, width)), packed(&chw, channels, (height, width)));
        let blocks = channels.div_ceil(16);
        let plane = Plane::new(&data, blocks, height, width);

        let (to_height, to_width) = (height + more_height, width + more_width);
        let mut out = vec![Lanes::ZERO; blocks * to_height * to_width];
        let mut out = PlaneMut::new(&mut out, blocks, to_height, to_width);
        resample::enlarge(&plane, &mut out);
        let candles = x.upsample_bilinear2d(to_height, to_width, false).expect("enlarges");
        assert_close(&unpack(&out.as_plane(), channels), &values(&candles), 1e-5);

        let (half_height, half_width) = (height.div_ceil(2), width.div_ceil(2));
        let mut out = vec![Lanes::ZERO; blocks * half_height * half_width];
        let mut out = PlaneMut::new(&mut out, blocks, half_height, half_width);
        resample::halve(&plane, &mut out);
        let even = x.pad_with_same(2, 0, height % 2).and_then(|x| x.pad_with_same(3, 0, width % 2));
        let candles = even.and_then(|x| x.max_pool2d(2)).expect("halves");
        prop_assert_eq!(unpack(&out.as_plane(), channels), values(&candles));
    }

    #[test]
    fn single_channels_agree_with_candle(
        (height, width, channels) in (1..30usize, 1..30usize, 1..40usize),
        seed in any::<u64>(),
    ) {
        let chw = noise(channels * height * width, seed);
        let weight = noise(channels * 9, seed ^ 1);
        let data = packed(&chw, channels, (height, width));
        let mut out = vec![f32::NAN; height * width];
        let plane = Plane::new(&data, channels.div_ceil(16), height, width);
        Dot::new(&weight, channels, 0.25).run(Level::best(), &plane, &mut out);
        let filter = Tensor::from_slice(&weight, (1, channels, 3, 3), &Device::Cpu).expect("sizes agree");
        let x = tensor(&chw, channels, (height, width));
        let candles = (x.conv2d(&filter, 1, 1, 1, 1).expect("sizes agree") + 0.25).expect("f32");
        assert_close(&out, &values(&candles), 1e-5);
    }
}

#[test]
fn what_is_not_a_number_stays_where_taps_see_it() {
    let shape = ConvShape { inputs: vec![16], output: 16, side: 3, stride: 1, dilation: 1 };
    let size = (9, 9);
    for (value, relu) in [(f32::NAN, false), (f32::NAN, true), (f32::INFINITY, false)] {
        let mut chw = noise(16 * 81, 5);
        chw[4 * 9 + 4] = value;
        let data = packed(&chw, 16, size);
        let conv =
            Conv::new(&shape, Way::Direct, &noise(16 * 16 * 9, 6), &[0.0; 16], Finish { relu, adds: false });
        let mut out = vec![Lanes::ZERO; 81];
        let mut out = PlaneMut::new(&mut out, 1, 9, 9);
        conv.run(
            Level::best(),
            &[Source::Plane(Plane::new(&data, 1, 9, 9))],
            &mut out,
            None,
            &Scratch::default(),
        );
        let map = unpack(&out.as_plane(), 16);
        let strange = |n: usize| !map[n].is_finite();
        assert!((0..81).all(|n| strange(n) <= ((n / 9).abs_diff(4) <= 1 && (n % 9).abs_diff(4) <= 1)));
        assert!(relu && value.is_infinite() || strange(40), "{value} was lost");
    }
}

/// The last slab of rows is lower than the others, and its last tiles are cut off.
#[test]
fn a_deep_convolution_gives_the_same_bits_over_several_slabs() {
    let (height, width) = (203, 130);
    let shape = ConvShape { inputs: vec![32, 20], output: 17, side: 3, stride: 1, dilation: 1 };
    for (deep, plain) in [(Way::Deep4, Way::Winograd4), (Way::Deep6, Way::Winograd6)] {
        assert!(
            on_large_maps(&shape, deep, (height, width)) == on_large_maps(&shape, plain, (height, width))
        );
    }
}

/// So many channels that sums are begun again, in every group of tiles or in the last of one group's.
#[test]
fn sums_of_many_channels_go_on_where_they_were() {
    for (inputs, size) in [(vec![256, 300], (30, 22)), (vec![400], (9, 5))] {
        let shape = ConvShape { inputs, output: 40, side: 3, stride: 1, dilation: 1 };
        let direct = on_large_maps(&shape, Way::Direct, size);
        for way in [Way::Winograd4, Way::Winograd6, Way::Deep4, Way::Deep6] {
            assert_close(&on_large_maps(&shape, way, size), &direct, 5e-4);
        }
    }
}

/// With so many threads that blocks of outputs are shared out, three to each.
#[test]
fn many_threads_change_no_bit_of_a_deep_convolution() {
    let shape = ConvShape { inputs: vec![256], output: 128, side: 3, stride: 1, dilation: 1 };
    for way in [Way::Deep4, Way::Deep6] {
        let [alone, many] = [1, 24].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| on_large_maps(&shape, way, (60, 60)))
        });
        assert!(alone.iter().map(|value| value.to_bits()).eq(many.iter().map(|value| value.to_bits())));
    }
}

/// A convolution of maps of noise at the best level.
fn on_large_maps(shape: &ConvShape, way: Way, (height, width): (usize, usize)) -> Vec<f32> {
    let (output, channels) = (shape.output, shape.inputs.iter().sum::<usize>());
    let maps = shape.inputs.iter().enumerate().map(|(n, channels)| {
        (*channels, packed(&noise(channels * height * width, n as u64 + 5), *channels, (height, width)))
    });
    let maps: Vec<_> = maps.collect();
    let sources = maps
        .iter()
        .map(|(channels, map)| Source::Plane(Plane::new(map, channels.div_ceil(16), height, width)));
    // As large sums as those of a few channels.
    let mut weight = noise(channels * output * 9, 3);
    weight.iter_mut().for_each(|value| *value *= (40.0 / channels as f32).min(1.0));
    let conv = Conv::new(shape, way, &weight, &noise(output, 4), PLAIN);
    let blocks = output.div_ceil(16);
    let mut out = vec![Lanes::ZERO; blocks * height * width];
    let mut out = PlaneMut::new(&mut out, blocks, height, width);
    conv.run(Level::best(), &sources.collect::<Vec<_>>(), &mut out, None, &Scratch::default());
    unpack(&out.as_plane(), output)
}

#[test]
fn filters_that_no_cache_keeps_make_a_convolution_deep() {
    let way = |inputs: &[usize], output, side, dilation| {
        let shape = ConvShape { inputs: inputs.to_vec(), output, side: 3, stride: 1, dilation };
        shape.way((side, side))
    };
    assert_eq!(way(&[64, 32], 64, 320, 1), Way::Winograd6);
    assert_eq!(way(&[128, 128], 64, 160, 1), Way::Deep6);
    assert_eq!(way(&[64], 64, 80, 1), Way::Winograd4, "U²-NetP's");
    assert_eq!(way(&[128], 256, 80, 1), Way::Deep4);
    assert_eq!(way(&[512], 512, 10, 1), Way::Direct, "mostly edge");
    assert_eq!(way(&[256], 256, 20, 2), Way::Deep4, "a fourth of the map in each lattice");
    assert_eq!(way(&[256], 256, 20, 8), Way::Direct, "three pixels in a lattice's row");
    assert_eq!(way(&[256], 256, 32, 8), Way::Deep4, "four");
    assert_eq!(way(&[16], 16, 20, 2), Way::Direct, "filters that a cache keeps");
}
