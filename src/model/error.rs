//! What can be wrong with a model.

use std::path::{Path, PathBuf};

/// Why a model can't be loaded or run.
///
/// The messages are for operators: they name files, though not their folders, which are the log's, and tensors. Shoppers
/// are told that there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file can't be read.
    #[error("the model file {} can't be read: {reason}", file_name(path))]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The bytes aren't what they should be.
    #[error("{origin} can't be read as {format}: {reason}")]
    Format {
        /// Where they came from.
        origin: String,
        /// What they would be.
        format: &'static str,
        /// What the reader said.
        reason: String,
    },
    /// A checkpoint that is more than data.
    #[error(
        "{origin} is refused and nothing of it was run: it asks for {name} to be called, which no checkpoint of weights needs; if you trust where it comes from, save its state_dict alone"
    )]
    Code {
        /// Where it came from.
        origin: String,
        /// What it would call.
        name: String,
    },
    /// A tensor isn't there.
    #[error("{origin} has no tensor {name}; the network needs one of shape {expected:?}")]
    Missing {
        /// Where it was looked for.
        origin: String,
        /// Its name.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor has another shape.
    #[error("{origin}: tensor {name} has shape {found:?}, but the network needs {expected:?}")]
    Shape {
        /// Where it was found.
        origin: String,
        /// Its name.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
    },
    /// A convolution computes otherwise.
    #[error("{origin}: convolution {name} has {differs}")]
    Convolution {
        /// Where it was found.
        origin: String,
        /// Its name.
        name: String,
        /// What it is, and what the network needs.
        differs: String,
    },
    /// There are more of them.
    #[error("{origin} has {found} convolutions, but the network needs {expected}")]
    Convolutions {
        /// Where they were found.
        origin: String,
        /// How many.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A file is another network's.
    #[error(
        "{origin} holds the weights of {holds} and was taken for {asked}'s; name it {holds}, or by a name of its own; a name of its own whose file has become another network's needs a restart"
    )]
    OtherNetwork {
        /// Where they were found.
        origin: String,
        /// What they are of.
        holds: &'static str,
        /// What they should be of.
        asked: &'static str,
    },
    /// A file is no network's.
    #[error("{origin} fits no network that is known here: {reasons}")]
    NoNetwork {
        /// Where it was found.
        origin: String,
        /// What each of them needs.
        reasons: String,
    },
    /// There is no model of that name.
    #[error("there is no model {name:?}; there are {known}, and whatever --model NAME=PATH names")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A device computes otherwise.
    #[error(
        "{name} can't be computed in {precision}: the CPU computes in f32, whatever the file holds; leave :{precision} away, a file of 16 bits loads as it is"
    )]
    Precision {
        /// The model.
        name: String,
        /// What was asked for.
        precision: super::Precision,
    },
    /// Nobody has said where its weights are, and they are not built in.
    #[error("there are no weights for {name}; say --model {name}=PATH")]
    NoWeights {
        /// The model.
        name: String,
    },
    /// The device can't be had.
    #[error("{device} can't be used: {reason}")]
    NoDevice {
        /// Which.
        device: String,
        /// Why.
        reason: String,
    },
    /// The GPU has no memory left; whoever asks for less, or later, may get it.
    #[error("the GPU's memory is full: {reason}")]
    OutOfMemory {
        /// What the device said.
        reason: String,
    },
    /// The GPU computes nothing any more, for anybody in this process.
    #[error("the GPU is lost: {reason}")]
    DeviceLost {
        /// What the device said.
        reason: String,
    },
    /// An operation failed.
    #[error("the computation failed: {}", first_line(_0))]
    Compute(candle_core::Error),
    /// The photo's bytes don't make the square that the network sees.
    #[error("the network sees {expected} bytes of RGB, but got {found}")]
    Input {
        /// Bytes it needs.
        expected: usize,
        /// Bytes it got.
        found: usize,
    },
    /// The network ran, but what it said is wrong.
    #[error(
        "the known photo gave a wrong answer: its map is off by {mean:.4} on average and {max:.4} at most, where {mean_limit} and {max_limit} are allowed; these are not the weights of this network"
    )]
    WrongAnswer {
        /// Mean absolute difference.
        mean: f32,
        /// Largest difference.
        max: f32,
        /// What is allowed on average.
        mean_limit: f32,
        /// What is allowed at most.
        max_limit: f32,
    },
    /// The network ran, but what it said is nothing.
    #[error("the known photo gave {found}; these are not the weights of a network that works")]
    NoAnswer {
        /// What it said.
        found: String,
    },
    /// A node sees one that isn't there: the graph was built wrongly.
    #[error("node {node} of the network is not there when it is needed")]
    Graph {
        /// Its place.
        node: usize,
    },
    /// Somebody asked it to stop.
    #[error("stopped")]
    Stopped,
    /// Anything that a loader of another kind says.
    #[error("{0}")]
    Other(String),
}

/// What the libraries of a GPU call it when there is no memory. Their errors reach us as text.
const FULL: [&str; 5] = [
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CURAND_STATUS_ALLOCATION_FAILED",
];

/// Errors after which a process gets nothing but errors from its GPU: the driver's manual says of each that the process
/// has to be started anew, or that the context is gone.
/// <https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html>
const LOST: [&str; 19] = [
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "CUDA_ERROR_CONTAINED",
    "CUDA_ERROR_TENSOR_MEMORY_LEAK",
    "CUDA_ERROR_EXTERNAL_DEVICE",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED",
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_DEINITIALIZED",
    "CUDA_ERROR_MPS_CLIENT_TERMINATED",
    "CUDA_ERROR_UNKNOWN",
];

/// What candle says, without the backtrace that follows where those are asked for.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        let reason = first_line(&error);
        let is_any = |names: &[&str]| names.iter().any(|name| reason.contains(name));
        if is_any(&FULL) {
            Self::OutOfMemory { reason }
        } else if is_any(&LOST) {
            Self::DeviceLost { reason }
        } else {
            Self::Compute(error)
        }
    }
}

impl ModelError {
    /// What was wrong, without whose fault it is.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Compute(error) => first_line(error),
            Self::NoDevice { reason, .. } | Self::OutOfMemory { reason } | Self::DeviceLost { reason } => {
                reason.clone()
            }
            other => other.to_string(),
        }
    }

    /// Whether the words alone tell it, whatever the files hold.
    pub fn is_of_words(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::NoWeights { .. } | Self::Precision { .. })
    }

    /// Whether it is what a file holds, which is the same however often it is read.
    pub fn is_of_contents(&self) -> bool {
        use ModelError::{Code, Format, NoNetwork, OtherNetwork};
        self.is_of_tensors()
            || matches!(self, Format { .. } | Code { .. } | OtherNetwork { .. } | NoNetwork { .. })
    }

    /// Whether a file's tensors are not those that were looked for.
    pub(super) fn is_of_tensors(&self) -> bool {
        use ModelError::{Convolution, Convolutions, Missing, Shape};
        matches!(self, Missing { .. } | Shape { .. } | Convolution { .. } | Convolutions { .. })
    }

    /// The same once more, for each photo of a run that failed as one.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::OutOfMemory { reason } => Self::OutOfMemory { reason: reason.clone() },
            Self::DeviceLost { reason } => Self::DeviceLost { reason: reason.clone() },
            other => Self::Other(other.to_string()),
        }
    }
}

/// A file's name without its folder.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gpu_says_is_told_apart() {
        let of = |text: &str| ModelError::from(candle_core::Error::Msg(text.to_owned()));
        let full = of("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")\n   0: a backtrace");
        assert_eq!(
            full.to_string(),
            "the GPU's memory is full: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"
        );
        assert!(matches!(of("CublasError(CUBLAS_STATUS_ALLOC_FAILED)"), ModelError::OutOfMemory { .. }));
        let lost =
            of("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")");
        assert!(matches!(lost, ModelError::DeviceLost { .. }), "{lost}");
        assert!(matches!(of("shape mismatch in add"), ModelError::Compute(_)));
        assert_eq!(of("shapes\n   0: where").to_string(), "the computation failed: shapes");
        assert!(matches!(lost.again(), ModelError::DeviceLost { .. }));
    }
}
