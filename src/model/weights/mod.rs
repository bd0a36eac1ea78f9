//! Weights by name, with their shapes checked, out of the formats in which they are published.
//!
//! | file | holds |
//! | --- | --- |
//! | [`bytes`] | a source's bytes, and why they are not mapped |
//! | [`file`] | a file of any format, as tensors by name; what it says of a network's convolutions |
//! | [`stored`] | a tensor as it lies there; its way to f32; batch norm folded into a convolution |
//! | [`checkpoint`], [`pickle`], [`archive`] | PyTorch's `.pth`; the reader of pickles that runs nothing |
//! | [`onnx`], [`protobuf`] | ONNX |
//! | [`convert`] | writes safetensors |
//!
//! A file's tensors are read one by one as the network asks for them, so that its bytes are never in memory
//! twice; and before that its header alone says whether it is that network's file. What is opened is bounded in
//! memory by what it holds, whatever it claims.

mod archive;
mod bytes;
mod checkpoint;
mod convert;
mod file;
mod onnx;
mod pickle;
mod protobuf;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};

pub use file::WeightsFile;
use stored::{Stored, StoredConv};

use super::error::file_name;
use super::fingerprint::{Summing, WeightsSum};
use super::{ModelError, Progress, Stop};

/// Where weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Compiled into the binary.
    Embedded(&'static [u8]),
    /// A file of any format that is read.
    File(PathBuf),
}

impl Source {
    /// For people, and safe to show to anybody: a file without its folder.
    pub fn describe(&self) -> String {
        match self {
            Self::Embedded(_) => "the built-in weights".to_owned(),
            Self::File(path) => file_name(path),
        }
    }
}

impl fmt::Display for Source {
    /// For operators: with its folder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(_) => f.write_str("built in"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Tensors by name.
type Tensors = BTreeMap<String, Stored>;

/// What is wrong with a file's content.
enum Wrong {
    /// It can't be read.
    Model(ModelError),
    /// It isn't what it should be.
    Content(String),
    /// It asks for something to be called.
    Code(String),
}

impl From<ModelError> for Wrong {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl Wrong {
    fn about(self, origin: &str, format: &'static str) -> ModelError {
        let origin = origin.to_owned();
        match self {
            Self::Model(error) => error,
            Self::Content(reason) => ModelError::Format { origin, format, reason },
            // It goes to logs and terminals.
            Self::Code(name) => {
                let name = name.chars().flat_map(char::escape_default).take(100).collect();
                ModelError::Code { origin, name }
            }
        }
    }
}

/// A convolution that a network asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// What the reference calls it.
    pub(super) name: &'a str,
    /// The batch norm behind it, which a file may have folded into it already.
    pub(super) norm: Option<&'a str>,
    /// Channels in.
    pub(super) input: usize,
    /// Channels out.
    pub(super) output: usize,
    /// Taps on each side.
    pub(super) side: usize,
    /// Pixels from one output to the next.
    pub(super) stride: usize,
    /// Pixels from one tap to the next.
    pub(super) dilation: usize,
    /// Whether a ReLU follows.
    pub(super) relu: bool,
}

impl Wanted<'_> {
    fn weight_shape(&self) -> [usize; 4] {
        [self.output, self.input, self.side, self.side]
    }
}

/// Where a network's parameters come from, as it asks for them.
pub(super) trait Parameters {
    /// A tensor by name, as f32. Each is taken once.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError>;

    /// Whether what is taken has values; else it has a shape alone, and nothing is worth computing of it.
    fn has_values(&self) -> bool {
        true
    }

    /// A convolution's weight and bias, with its batch norm in them. All are asked for in the order in which the
    /// reference runs them.
    fn convolution(&mut self, wanted: &Wanted<'_>) -> Result<(Tensor, Tensor), ModelError> {
        let weight = self.take(&format!("{}.weight", wanted.name), &wanted.weight_shape())?;
        Ok((weight, self.take(&format!("{}.bias", wanted.name), &[wanted.output])?))
    }

    /// No convolution is asked for any more; those of the reference that nothing needs may be there.
    fn ends(&mut self, _unused: &[Wanted<'_>]) -> Result<(), ModelError> {
        Ok(())
    }
}

/// All tensors of a file, on their way into the network.
pub(super) struct Weights<'a> {
    file: WeightsFile,
    device: Device,
    /// Bytes.
    taken: u64,
    convolutions: usize,
    summing: Summing,
    report: &'a mut dyn FnMut(Progress),
    stop: &'a Stop,
}

/// What was built of weights.
#[derive(Debug)]
pub(super) struct Built<T> {
    pub(super) network: T,
    /// Of the weights in their file.
    pub(super) bytes: u64,
    pub(super) sum: WeightsSum,
}

impl Weights<'_> {
    /// Opens a source and hands its tensors to `build`.
    pub(super) fn with<T>(
        source: &Source,
        device: &Device,
        report: &mut dyn FnMut(Progress),
        stop: &Stop,
        build: impl FnOnce(&mut Weights<'_>) -> Result<T, ModelError>,
    ) -> Result<Built<T>, ModelError> {
        let used = WeightsFile::open(source).and_then(|file| {
            let device = device.clone();
            let summing = Summing::default();
            let mut weights = Weights { file, device, taken: 0, convolutions: 0, summing, report, stop };
            let network = build(&mut weights)?;
            Ok(Built { network, bytes: weights.taken, sum: weights.summing.sum() })
        });
        if let (Source::File(path), Err(error)) = (source, &used) {
            // The message goes to who asks for the model's state too; where the file is, is the log's.
            tracing::warn!(path = %path.display(), %error, "the model file can't be used");
        }
        used
    }
}

impl Parameters for Weights<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let Self { file, device, taken, summing, report, stop, .. } = self;
        stop.check()?;
        let stored = file.find(name, shape)?;
        let (total, before) = (file.tensor_bytes(), *taken);
        *taken += stored.len;
        let values = stored.read(&file.bytes, &mut |came| {
            report(read(before + came, total));
            stop.check()
        })?;
        summing.add(name, &values);
        Ok(Tensor::from_vec(values, shape, device)?)
    }

    fn convolution(&mut self, wanted: &Wanted<'_>) -> Result<(Tensor, Tensor), ModelError> {
        let Self { file, device, taken, convolutions, summing, report, stop } = self;
        stop.check()?;
        let stored = file.convolution(wanted, *convolutions)?;
        *convolutions += 1;
        let (total, before) = (file.tensor_bytes(), *taken);
        *taken += stored.len();
        let weight = stored.weight(&file.bytes, &mut |came| {
            report(read(before + came, total));
            stop.check()
        })?;
        let bias = stored.bias(&file.bytes)?;
        report(read(*taken, total));
        stop.check()?;
        summing.add(wanted.name, &weight);
        summing.add(wanted.name, &bias);
        let shape = &wanted.weight_shape()[..];
        Ok((Tensor::from_vec(weight, shape, device)?, Tensor::from_vec(bias, wanted.output, device)?))
    }

    fn ends(&mut self, unused: &[Wanted<'_>]) -> Result<(), ModelError> {
        self.file.ends(self.convolutions, unused)
    }
}

fn read(done: u64, total: u64) -> Progress {
    let share = if total == 0 { 1.0 } else { done as f32 / total as f32 };
    Progress { fraction: Some(share.min(1.0)), detail: Some(format!("read {done} of {total} bytes")) }
}

/// Gives every parameter its shape and no values, as the header of a file has them where there is one.
#[derive(Default)]
pub(super) struct Shapes<'a> {
    file: Option<&'a WeightsFile>,
    /// Values of the parameters that were taken.
    pub(super) values: u64,
    convolutions: usize,
    /// Where those parameters are, by their names.
    found: Vec<Found>,
}

/// A parameter that a network takes, and where its values are.
struct Found {
    name: String,
    shape: Vec<usize>,
    place: Place,
}

enum Place {
    Tensor(Stored),
    Weight(StoredConv),
    Bias(StoredConv),
}

impl<'a> Shapes<'a> {
    pub(super) fn of(file: &'a WeightsFile) -> Self {
        Self { file: Some(file), ..Self::default() }
    }

    fn found(&mut self, name: String, shape: &[usize], place: Option<Place>) -> Result<Tensor, ModelError> {
        self.values += shape.iter().product::<usize>() as u64;
        if let Some(place) = place {
            self.found.push(Found { name, shape: shape.to_vec(), place });
        }
        shaped(shape)
    }
}

/// Something of a shape: one value, seen everywhere.
pub(super) fn shaped(shape: &[usize]) -> Result<Tensor, ModelError> {
    Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)?)
}

impl Parameters for Shapes<'_> {
    fn has_values(&self) -> bool {
        false
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let place = self.file.map(|file| file.find(name, shape).cloned()).transpose()?;
        self.found(name.to_owned(), shape, place.map(Place::Tensor))
    }

    fn convolution(&mut self, wanted: &Wanted<'_>) -> Result<(Tensor, Tensor), ModelError> {
        let stored = self.file.map(|file| file.convolution(wanted, self.convolutions)).transpose()?;
        self.convolutions += 1;
        let (weight, bias) = (format!("{}.weight", wanted.name), format!("{}.bias", wanted.name));
        let weight = self.found(weight, &wanted.weight_shape(), stored.clone().map(Place::Weight))?;
        Ok((weight, self.found(bias, &[wanted.output], stored.map(Place::Bias))?))
    }

    fn ends(&mut self, unused: &[Wanted<'_>]) -> Result<(), ModelError> {
        self.file.map_or(Ok(()), |file| file.ends(self.convolutions, unused))
    }
}
