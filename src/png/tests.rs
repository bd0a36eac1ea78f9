//! What is written, read back by the `png` crate.

use proptest::prelude::*;

use super::{Colour, EncodeError, Header, encode};

fn read(file: &[u8]) -> (u32, u32, png::ColorType, Vec<u8>) {
    // The reader checks every sum.
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("a header");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    reader.finish().expect("an end");
    (info.width, info.height, info.color_type, pixels)
}

fn write(header: Header, pixels: &[u8]) -> Vec<u8> {
    let row = header.row();
    let row = |y: u32, out: &mut [u8]| out.copy_from_slice(&pixels[y as usize * row..][..row]);
    encode(header, &row).expect("encodes")
}

/// A gradient with grain and a transparent corner.
fn scene(header: Header) -> Vec<u8> {
    let mut state = 1u32;
    let mut pixels = vec![0; header.row() * header.height as usize];
    for (n, byte) in pixels.iter_mut().enumerate() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if n % header.row() > header.row() / 3 {
            *byte = ((n / header.row()) as u32 + (state >> 29)) as u8;
        }
    }
    pixels
}

#[test]
fn a_picture_of_many_bands_and_rounds_comes_back() {
    let header = Header { width: 3000, height: 2000, colour: Colour::Rgba };
    let pixels = scene(header);
    let file = write(header, &pixels);
    assert!(read(&file) == (3000, 2000, png::ColorType::Rgba, pixels));
}

#[test]
fn the_bytes_are_the_same_on_any_number_of_cores() {
    let header = Header { width: 700, height: 900, colour: Colour::Rgb };
    let pixels = scene(header);
    let files = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| write(header, &pixels))
    });
    assert!(files[0] == files[1] && files[1] == files[2]);
}

#[test]
fn noise_that_grows_when_compressed_comes_back() {
    let header = Header { width: 1500, height: 1100, colour: Colour::Grey };
    let mut state = 7u64;
    let noise = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let pixels: Vec<u8> = (0..1500 * 1100).map(noise).collect();
    let file = write(header, &pixels);
    assert!(file.len() > pixels.len());
    assert!(read(&file) == (1500, 1100, png::ColorType::Grayscale, pixels));
}

#[test]
fn sides_that_no_png_has_are_an_error() {
    for (width, height) in [(0, 1), (1, 0), (1 << 31, 1)] {
        let header = Header { width, height, colour: Colour::Grey };
        let result = encode(header, &|_, _: &mut [u8]| {});
        assert!(matches!(result, Err(EncodeError::Size { .. })));
    }
}

proptest! {
    #[test]
    fn whatever_the_pixels_they_come_back(
        width in 1u32..50,
        height in 1u32..50,
        colour in prop::sample::select(vec![Colour::Grey, Colour::Rgb, Colour::Rgba]),
        bytes in prop::collection::vec(any::<u8>(), 1..400),
    ) {
        let header = Header { width, height, colour };
        let length = header.row() * height as usize;
        let pixels: Vec<u8> = bytes.iter().copied().cycle().take(length).collect();
        let (w, h, _, found) = read(&write(header, &pixels));
        prop_assert_eq!((w, h), (width, height));
        prop_assert_eq!(found, pixels);
    }
}
