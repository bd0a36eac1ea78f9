//! Edges on their own, for `benches/edges/measure.py`: once for each line that it reads.
//!
//! A line is `PHOTO WIDTH HEIGHT MAP SIDE EDGES OUT`, the photo as RGB8 and the map as f32, and gets the cutout as
//! RGBA8 at `OUT` and as its answer the milliseconds until a first row could be asked for, and until all had been.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it stands")]

use std::io::{BufRead, Write};
use std::time::Instant;

use warmcut::cutout::image::{self, Mask, Photo};
use warmcut::protocol::options::Options;

fn main() {
    // `cargo test --benches` and the like ask for nothing.
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [photo, width, height, map, side, edges, out] = fields[..] else {
            panic!("seven words, not {line}")
        };
        let [width, height, side] = [width, height, side].map(|number| number.parse::<u32>().unwrap());
        let rgb = std::fs::read(photo).unwrap();
        let photo = Photo { width, height, rgb, alpha: None, animated: false, profile_converted: false };
        let map = std::fs::read(map).unwrap();
        let map: Vec<f32> = map.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let options = Options::from_pairs([("edges", edges)]).unwrap();
        let seen = image::network_input(&photo, side).unwrap();

        let begun = Instant::now();
        let mask = Mask::of(&map, (&seen, side), (width, height), options.edges_to_make()).unwrap();
        let fitted = begun.elapsed();
        let pixels = image::compose(photo, mask, &options).unwrap().into_pixels();
        let all = begun.elapsed();
        std::fs::write(out, pixels).unwrap();
        println!("{:.3} {:.3}", fitted.as_secs_f64() * 1e3, all.as_secs_f64() * 1e3);
        std::io::stdout().flush().unwrap();
    }
}
