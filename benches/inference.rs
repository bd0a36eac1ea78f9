//! The network alone: `cargo bench --bench inference` prints load, priming, the median of many runs, and
//! the memory of one and of four at once.
//!
//! With `-- --on-request` it runs once for each line that it reads and answers with the milliseconds, so
//! that a peer can be measured in turns with it. A line that names a file of RGB8, of as many pixels as the
//! network sees, gets its map as f32 beside it, under the same name with `.map`. `--model`, `--cpu` and
//! `--threads` are the command line's.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it stands")]

use std::io::{BufRead, Write};
use std::time::Instant;

use warmcut::model::device::Cpu;
use warmcut::model::{Choice, Stop};
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
    let entry = model.registry(None, cpu).entry(&model.name).unwrap();
    let (loader, known) = (entry.loader(), warmcut::app::known_to(&entry).unwrap());
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;

    let peak = || process::memory().peak as f64 / 1e6;
    let before = peak();

    let begun = Instant::now();
    let loaded = loader.load(&mut |_| {}, &Stop::default()).unwrap();
    let load = ms(begun);
    let begun = Instant::now();
    let (segmenter, map) = loaded.prime(&known.rgb, &mut |_| {}, &Stop::default()).unwrap();
    let prime = ms(begun);
    known.validate(&map, segmenter.size() as usize).unwrap();
    let run = || {
        let begun = Instant::now();
        std::hint::black_box(segmenter.segment(&known.rgb).unwrap());
        ms(begun)
    };
    if arguments.iter().any(|argument| argument == "--on-request") {
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
