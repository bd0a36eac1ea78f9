//! The stages of a request around the network, on every core: `cargo bench --bench stages`.
//!
//! The photo is the test's cat, enlarged, with a sensor's grain; its mask is an ellipse with a soft edge.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it stands")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, Mutex};

use divan::Bencher;
use divan::counter::BytesCount;
use warmcut::cutout::image::{self, Limits, Mask, Photo};
use warmcut::protocol::options::Options;

/// Of the network's input and map.
const SIDE: u32 = 320;

const LIMITS: Limits = Limits { max_pixels: 100_000_000 };

/// What a page that scales down sends, what a phone sends, and the server's limit.
const SIZES: [Size; 3] = [Size(1086, 1448), Size(3024, 4032), Size(6120, 8160)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Size(u32, u32);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.0, self.1)
    }
}

fn main() {
    divan::main();
}

/// The cat with grain, decoded.
fn photo(Size(width, height): Size) -> Photo {
    let cat = image::decode(include_bytes!("../tests/data/cat.jpg"), &LIMITS).unwrap();
    let mut state = 1u32;
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = (state >> 28) as i16 - 8;
            let from = (y * cat.height / height * cat.width + x * cat.width / width) as usize * 3;
            rgb.extend(cat.rgb[from..from + 3].iter().map(|c| (i16::from(*c) + grain).clamp(0, 255) as u8));
        }
    }
    Photo { width, height, rgb, alpha: None, animated: false, profile_converted: false }
}

/// The same as a file; made once for each size.
fn jpeg(size: Size) -> Vec<u8> {
    static MADE: LazyLock<Mutex<BTreeMap<Size, Vec<u8>>>> = LazyLock::new(Mutex::default);
    let make = || {
        let mut file = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut file, 90);
        encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
        let (width, height) = (size.0 as u16, size.1 as u16);
        encoder.encode(&photo(size).rgb, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
        file
    };
    MADE.lock().unwrap().entry(size).or_insert_with(make).clone()
}

fn map() -> Vec<f32> {
    let centre = SIDE as f32 / 2.0;
    let away = |n: u32| (n as f32 - centre) / centre;
    let value = |x: u32, y: u32| ((0.7 - away(x).hypot(away(y))) * 8.0).clamp(0.0, 1.0);
    (0..SIDE * SIDE).map(|n| value(n % SIDE, n / SIDE)).collect()
}

fn options(text: &str) -> Options {
    Options::from_pairs(text.split('&').filter_map(|pair| pair.split_once('='))).unwrap()
}

#[divan::bench(args = SIZES, sample_size = 1, sample_count = 15)]
fn decode_jpeg(bencher: Bencher<'_, '_>, size: Size) {
    let file = jpeg(size);
    bencher.counter(BytesCount::of_slice(&file)).bench(|| image::decode(&file, &LIMITS).unwrap());
}

/// As much as a preview needs.
#[divan::bench(args = SIZES, sample_size = 1, sample_count = 15)]
fn see_a_preview(bencher: Bencher<'_, '_>, size: Size) {
    let (file, options) = (jpeg(size), options("size=preview"));
    bencher
        .counter(BytesCount::of_slice(&file))
        .bench(|| image::see(&file, &LIMITS, &options, SIDE).unwrap());
}

#[divan::bench(args = SIZES, sample_size = 1, sample_count = 15)]
fn network_input(bencher: Bencher<'_, '_>, size: Size) {
    let photo = photo(size);
    bencher.bench(|| image::network_input(&photo, SIDE).unwrap());
}

#[divan::bench(args = SIZES, sample_size = 1, sample_count = 15)]
fn mask(bencher: Bencher<'_, '_>, size: Size) {
    let map = map();
    let mut row = vec![0; size.0 as usize];
    bencher.bench_local(|| {
        let mask = Mask::of_map(&map, SIDE, (size.0, size.1)).unwrap();
        (0..size.1).for_each(|y| mask.row(y, 0, &[], &mut row));
    });
}

/// A cutout of 12 megapixels in each format.
#[divan::bench(
    args = [
        "format=png",
        "format=png&crop=true",
        "format=png&size=preview",
        "format=jpg",
        "format=webp",
        "format=webp&quality=100",
    ],
    sample_size = 1,
    sample_count = 7,
)]
fn compose_and_encode(bencher: Bencher<'_, '_>, text: &str) {
    let options = options(text);
    let photo = photo(SIZES[1]);
    let mask = Mask::of_map(&map(), SIDE, (photo.width, photo.height)).unwrap();
    let encode = |(photo, mask): (Photo, Mask)| {
        image::encode(image::compose(photo, mask, &options).unwrap(), &options).unwrap()
    };
    println!("{text}: {} bytes", encode((photo.clone(), mask.clone())).bytes.len());
    bencher.with_inputs(|| (photo.clone(), mask.clone())).bench_values(encode);
}
