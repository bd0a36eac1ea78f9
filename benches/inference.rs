//! The network alone: `cargo bench --bench inference` prints load, priming, the median of many runs, and
//! the memory of one and of four at once.
//!
//! With `-- --on-request` it runs once for each line that it reads and answers with the milliseconds, so
//! that a peer can be measured in turns with it. A line that names a file of RGB8, of as many pixels as the
//! network sees, gets its map as f32 beside it, under the same name with `.map`. `--model`, `--cpu`, `--device` and
//! `--threads` are the command line's, `--type f16` or `bf16` a GPU's. On a GPU it also prints what a warm-up says of
//! it, and the time of a photo where 1, 2, 4 and 8 are computed at once.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it stands")]

use std::io::{BufRead, Write};
use std::time::Instant;

use warmcut::model::device::{Cpu, Wanted};
use warmcut::model::{Choice, Progress, Stop};
use warmcut::warmup::process;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    warmcut::app::set_threads(value("--threads").map(|threads| threads.parse().unwrap()));
    let model: Choice = value("--model").as_deref().unwrap_or("u2netp").parse().unwrap();
    let cpu = value("--cpu").map_or(Cpu::default(), |cpu| cpu.parse().unwrap());
    let device = value("--device").map_or(Wanted::Cpu, |device| device.parse().unwrap());
    let mut entry = model.registry(None, cpu, device).entry(&model.name).unwrap();
    if let Some(precision) = value("--type") {
        entry.means.precision = precision.parse().unwrap();
    }
    let (loader, known) = (entry.loader(), warmcut::app::known_to(&entry).unwrap());
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;

    let peak = || process::memory().peak as f64 / 1e6;
    let before = peak();

    let begun = Instant::now();
    let loaded = loader.load(&mut |_| {}, &Stop::default()).unwrap();
    let load = ms(begun);
    let begun = Instant::now();
    let asks = arguments.iter().any(|argument| argument == "--on-request");
    let mut tell = |progress: Progress| {
        if let Some(detail) = progress.detail.filter(|_| !asks) {
            println!("  {detail}");
        }
    };
    let (segmenter, map) = loaded.prime(&known.rgb, &mut tell, &Stop::default()).unwrap();
    let prime = ms(begun);
    known.validate(&map, segmenter.size() as usize).unwrap();
    let run = || {
        let begun = Instant::now();
        std::hint::black_box(segmenter.segment(&known.rgb).unwrap());
        ms(begun)
    };
    if asks {
        for line in std::io::stdin().lock().lines() {
            let line = line.unwrap();
            if line.is_empty() {
                println!("{:.3}", run());
            } else {
                let path = std::path::Path::new(&line);
                let rgb = std::fs::read(path).unwrap();
                let begun = Instant::now();
                let map = segmenter.segment(&rgb).unwrap();
                let took = ms(begun);
                let bytes: Vec<u8> = map.into_iter().flat_map(f32::to_le_bytes).collect();
                std::fs::write(path.with_extension("map"), bytes).unwrap();
                println!("{took:.3}");
            }
            std::io::stdout().flush().unwrap();
        }
        return;
    }
    let mut times: Vec<f64> = (0..41).map(|_| run()).collect();
    times.sort_by(f64::total_cmp);
    println!("{}: load {load:.1} ms, first run {prime:.1} ms", loader.device());
    println!("median {:.1} ms, fastest {:.1} ms of {} runs", times[20], times[0], times.len());
    if loader.device() != "cpu" {
        segmenter.tune(&known.rgb, &mut tell, &Stop::default()).unwrap();
        for photos in [1, 2, 4, 8] {
            let batch = vec![&known.rgb[..]; photos];
            let run = || {
                let begun = Instant::now();
                let maps = segmenter.segment_batch(&batch);
                let error = maps.into_iter().find_map(Result::err);
                error.map_or(Ok(ms(begun) / photos as f64), Err)
            };
            let mut times: Vec<_> = (0..21).map(|_| run()).collect::<Result<_, _>>().unwrap_or_default();
            times.sort_by(f64::total_cmp);
            let median = times.get(10).map_or("none".to_owned(), |each| format!("{each:.2} ms"));
            println!("{photos} at once: {median} a photo");
        }
    }
    let one = peak();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..3).map(|_| run()).sum::<f64>());
        }
    });
    println!(
        "filters {:.1} MB; peak memory grew by {:.1} MB with one run at a time, by {:.1} MB with four at once",
        segmenter.bytes() as f64 / 1e6,
        one - before,
        peak() - before,
    );
}
