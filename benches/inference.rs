//! The network alone: `cargo bench --bench inference` prints load, priming and the median of many runs.
//!
//! With `-- --on-request` it runs once for each line that it reads and answers with the milliseconds, so
//! that a peer can be measured in turns with it; `--cpu` and `--threads` are the server's.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop where it stands")]

use std::io::{BufRead, Write};
use std::time::Instant;

use warmcut::model::device::Cpu;
use warmcut::model::{Loader, Stop};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    warmcut::app::set_threads(value("--threads").map(|threads| threads.parse().unwrap()));
    let loader =
        warmcut::app::default_loader(None, value("--cpu").map_or(Cpu::default(), |cpu| cpu.parse().unwrap()));
    let known = warmcut::app::known().unwrap();
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;

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
            let _ = line.unwrap();
            println!("{:.3}", run());
            std::io::stdout().flush().unwrap();
        }
        return;
    }
    let mut times: Vec<f64> = (0..41).map(|_| run()).collect();
    times.sort_by(f64::total_cmp);
    println!("{}: load {load:.1} ms, first run {prime:.1} ms", loader.device());
    println!("median {:.1} ms, fastest {:.1} ms of {} runs", times[20], times[0], times.len());
}
