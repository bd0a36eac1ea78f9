//! What the model runs on, said as it is.

use std::str::FromStr;

use candle_core::Device;
use warmcut_kernels::Level;

/// How the CPU computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// With our kernels and these instructions.
    Kernels(Level),
    /// With candle's own operations, to compare.
    Candle,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::Kernels(Level::best())
    }
}

impl FromStr for Cpu {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::default()),
            "candle" => Ok(Self::Candle),
            _ => name
                .parse()
                .map(Self::Kernels)
                .map_err(|error: String| format!("{error}; auto and candle go everywhere")),
        }
    }
}

impl Cpu {
    /// The processor, by its name where the system tells it, its threads, and what of it is used.
    pub fn describe(self) -> String {
        let threads = rayon::current_num_threads();
        let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
            let line = info.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let name = model.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let with = match self {
            Self::Kernels(level) => level.name(),
            Self::Candle => "candle's own operations",
        };
        format!("{name}, {threads} threads, {with}")
    }

    pub(super) const fn device(self) -> Device {
        Device::Cpu
    }
}
