//! How long a photo takes and how much memory; beside it,
//! `python tests/golden/inspyrenet/make.py --time NETWORK` is PyTorch's.

use std::time::Instant;

use candle_core::{DType, Device};
use warmcut_kernels::Level;

use super::formula::{Formula, photo};
use crate::model::inspyrenet::config::{BASE, Config, FAST, RES2NET50};
use crate::model::inspyrenet::loader::normalised;
use crate::model::inspyrenet::scope::Target;

/// A line of `/proc/self/status`, in MB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) / 1000
}

fn time(config: Config, kernels: Option<Level>) {
    let target = Target { device: Device::Cpu, dtype: DType::F32, kernels };
    let network = config.network(&mut Formula { size: config.size }, &target).expect("a network");
    let before = memory("VmRSS");
    for _ in 0..3 {
        let start = Instant::now();
        let photo = normalised(&photo(config.size), config.size, &Device::Cpu).expect("a photo");
        network.forward(&photo).expect("a map");
        println!("{}: {:.2} s", config.name, start.elapsed().as_secs_f32());
    }
    println!("{}: {before} MB before, {} MB at most", config.name, memory("VmHWM"));
}

#[test]
#[ignore = "a benchmark: cargo test -p warmcut --lib -- --ignored --nocapture --test-threads 1 pace"]
fn pace_of_swin_at_384() {
    time(FAST, Some(Level::best()));
}

#[test]
#[ignore = "a benchmark: cargo test -p warmcut --lib -- --ignored --nocapture --test-threads 1 pace"]
fn pace_of_res2net() {
    time(RES2NET50, Some(Level::best()));
}

#[test]
#[ignore = "a benchmark: cargo test -p warmcut --lib -- --ignored --nocapture --test-threads 1 pace"]
fn pace_of_swin_at_1024() {
    time(BASE, Some(Level::best()));
}
