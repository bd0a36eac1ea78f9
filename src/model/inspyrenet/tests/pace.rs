//! How long a photo takes and how much memory; beside it,
//! `python tests/golden/inspyrenet/make.py --time NETWORK` is PyTorch's.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use warmcut_kernels::Level;

use super::formula::{Formula, photo};
use super::normalised;
use crate::model::ModelError;
use crate::model::inspyrenet::config::{BASE, Config, FAST, RES2NET50};
use crate::model::inspyrenet::scope::Target;

/// A line of `/proc/self/status`, in MB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) / 1000
}

/// Seconds that all threads have worked, which other work on the machine moves less than it moves a clock.
fn worked() -> f32 {
    /// The kernel's ticks in a second.
    const TICKS: f32 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // For the process and for the system in its name.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f32>().ok()).sum::<f32>() / TICKS
}

fn time(config: Config, kernels: Option<Level>) {
    let target = Target { device: Device::Cpu, dtype: DType::F32, kernels };
    let network = config.network(&mut Formula { size: config.size }, &target).expect("a network");
    let before = memory("VmRSS");
    let pixels = photo(config.size);
    for _ in 0..3 {
        let (start, mut at, mut stages) = (Instant::now(), worked(), String::new());
        let first = at;
        let photo = normalised(&pixels, config.size).expect("a photo");
        let mut see = |stage: &str, _: &dyn Fn() -> Result<Tensor, ModelError>| {
            let now = worked();
            stages += &format!(" {stage} {:.2}", now - at);
            at = now;
            Ok(())
        };
        network.forward_seen(&photo, &mut see).expect("a map");
        let (elapsed, worked) = (start.elapsed().as_secs_f32(), worked() - first);
        println!("{}: {elapsed:.2} s, worked {worked:.2} s:{stages}", config.name);
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
