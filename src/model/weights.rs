//! Weights by name, with their shapes checked.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

use super::error::file_name;
use super::{ModelError, Progress, Stop};

/// Where weights come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Compiled into the binary.
    Embedded(&'static [u8]),
    /// A safetensors file.
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

    /// All of the bytes. Reports as they come from a file; built-in ones are there already.
    fn read(&self, report: &mut dyn FnMut(Progress), stop: &Stop) -> Result<Cow<'static, [u8]>, ModelError> {
        /// Small enough that a slow disk reports often, large enough to cost nothing.
        const CHUNK: u64 = 1 << 20;
        let path = match self {
            Self::Embedded(bytes) => return Ok(Cow::Borrowed(bytes)),
            Self::File(path) => path,
        };
        let failed = |reason| ModelError::File { path: path.clone(), reason };
        let mut file = File::open(path).map_err(failed)?;
        let total = file.metadata().map_err(failed)?.len();
        let mut bytes = Vec::new();
        loop {
            stop.check()?;
            let read = (&mut file).take(CHUNK).read_to_end(&mut bytes).map_err(failed)?;
            if read == 0 {
                return Ok(Cow::Owned(bytes));
            }
            report(of_bytes("read", bytes.len() as u64, total));
        }
    }
}

fn of_bytes(verb: &str, done: u64, total: u64) -> Progress {
    let share = if total == 0 { 1.0 } else { done as f32 / total as f32 };
    Progress { fraction: Some(share.min(1.0)), detail: Some(format!("{verb} {done} of {total} bytes")) }
}

/// All tensors of a file. Each is taken once, on its way into the network.
pub struct Weights<'a> {
    origin: String,
    /// Bytes of all tensors together.
    total: u64,
    /// Placing is told only where reading was not: progress never goes back.
    tells: bool,
    tensors: SafeTensors<'a>,
    device: Device,
    placed: u64,
    report: &'a mut dyn FnMut(Progress),
    stop: &'a Stop,
}

impl<'a> Weights<'a> {
    /// Reads a source and hands its tensors to `build`. Gives what was built and its size in bytes.
    pub fn with<T>(
        source: &Source,
        device: &Device,
        report: &mut dyn FnMut(Progress),
        stop: &Stop,
        build: impl FnOnce(&mut Weights<'_>) -> Result<T, ModelError>,
    ) -> Result<(T, u64), ModelError> {
        let used = Self::used(source, device, report, stop, build);
        if let (Source::File(path), Err(error)) = (source, &used) {
            // The message goes to shoppers too; where the file is, is the operator's.
            tracing::warn!(path = %path.display(), %error, "the model file can't be used");
        }
        used
    }

    fn used<T>(
        source: &Source,
        device: &Device,
        report: &mut dyn FnMut(Progress),
        stop: &Stop,
        build: impl FnOnce(&mut Weights<'_>) -> Result<T, ModelError>,
    ) -> Result<(T, u64), ModelError> {
        let bytes = source.read(report, stop)?;
        let origin = source.describe();
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|error| ModelError::Format { origin: origin.clone(), reason: error.to_string() })?;
        let total = tensors.iter().map(|(_, tensor)| tensor.data().len() as u64).sum();
        let tells = matches!(source, Source::Embedded(_));
        let device = device.clone();
        let mut weights = Weights { origin, total, tells, tensors, device, placed: 0, report, stop };
        let built = build(&mut weights)?;
        Ok((built, weights.placed))
    }

    /// A tensor by name, as f32 on the device.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.stop.check()?;
        let view = self.tensors.tensor(name).map_err(|_| ModelError::Missing {
            origin: self.origin.clone(),
            name: name.to_owned(),
            expected: shape.to_vec(),
        })?;
        if view.shape() != shape {
            return Err(ModelError::Shape {
                origin: self.origin.clone(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: view.shape().to_vec(),
            });
        }
        let dtype = DType::try_from(view.dtype())?;
        let tensor =
            Tensor::from_raw_buffer(view.data(), dtype, shape, &self.device)?.to_dtype(DType::F32)?;
        self.placed += view.data().len() as u64;
        if self.tells {
            (self.report)(of_bytes("placed", self.placed, self.total));
        }
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let [gone, torn] = ["gone.safetensors", "torn.safetensors"].map(|name| folder.path().join(name));
        std::fs::write(&torn, b"not a model").expect("written");
        for (path, says) in
            [(gone, "gone.safetensors can't be read"), (torn, "torn.safetensors is not a whole")]
        {
            let source = Source::File(path);
            let build = |weights: &mut Weights<'_>| weights.take("w", &[1]);
            let used = Weights::with(&source, &Device::Cpu, &mut |_| (), &Stop::default(), build);
            let error = used.expect_err("no model").to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains(&folder.path().display().to_string()), "{error}");
        }
    }
}
