//! What the model runs on, said as it is.
//!
//! What is wanted ([`Wanted`]) becomes what there is ([`On`]) by an [`Opening`]: a thread that makes the GPU's context
//! while the weights are read, for either takes about as long as the other.

mod gpu;
mod opening;

use std::fmt;
use std::str::FromStr;

use warmcut_kernels::Level;

use super::Precision;

#[cfg(test)]
pub(super) use gpu::for_tests;
pub use gpu::{Gpu, Module};
pub use opening::{On, Opening};

/// What the model should run on: `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The first GPU that works, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// This GPU and nothing else, by CUDA's number.
    Cuda(usize),
}

impl Wanted {
    /// Its name as long as nothing has been opened: `auto` is a device by then.
    pub fn name(self) -> String {
        match self {
            Self::Auto if !gpu::IS_BUILT_IN => Self::Cpu.to_string(),
            wanted => wanted.to_string(),
        }
    }

    /// Whether it can be a GPU at all.
    pub fn may_be_gpu(self) -> bool {
        gpu::IS_BUILT_IN && self != Self::Cpu
    }
}

/// What a model is computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Means {
    /// What it should run on.
    pub wanted: Wanted,
    /// How the CPU computes, if it is that.
    pub cpu: Cpu,
    /// What a GPU computes in; the CPU does in f32.
    pub precision: Precision,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            _ => {
                let number = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                let ordinal =
                    number.ok_or_else(|| "it must be auto, cpu, or cuda:N as in cuda:0".to_owned())?;
                if !gpu::IS_BUILT_IN {
                    return Err(
                        "this program was built without CUDA (cargo's feature cuda); it has auto and cpu"
                            .to_owned(),
                    );
                }
                Ok(Self::Cuda(ordinal))
            }
        }
    }
}

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_as_it_was_asked_for() {
        for name in ["auto", "cpu"] {
            assert_eq!(name.parse::<Wanted>().map(|wanted| wanted.to_string()), Ok(name.to_owned()));
        }
        for (name, says) in
            [("gpu", "cuda:0"), ("cuda", "cuda:0"), ("cuda:", "cuda:0"), ("cuda:-1", "cuda:0")]
        {
            let error = name.parse::<Wanted>().expect_err("no device");
            assert!(error.contains(says), "{name}: {error}");
        }
        match "cuda:1".parse::<Wanted>() {
            Ok(wanted) => assert_eq!((gpu::IS_BUILT_IN, wanted), (true, Wanted::Cuda(1))),
            Err(error) => assert!(!gpu::IS_BUILT_IN && error.contains("without CUDA"), "{error}"),
        }
        assert_eq!(Wanted::Auto.name(), if gpu::IS_BUILT_IN { "auto" } else { "cpu" });
    }
}
