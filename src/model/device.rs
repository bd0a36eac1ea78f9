//! What the model runs on, said as it is.

use candle_core::Device;

/// The processor, by its name where the system tells it.
pub fn cpu() -> (Device, String) {
    let threads = rayon::current_num_threads();
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let name = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    (Device::Cpu, format!("{name}, {threads} threads, {}", vectors()))
}

#[cfg(target_arch = "x86_64")]
fn vectors() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "avx512"
    } else if std::arch::is_x86_feature_detected!("avx2") {
        "avx2"
    } else {
        "sse2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> &'static str {
    std::env::consts::ARCH
}
