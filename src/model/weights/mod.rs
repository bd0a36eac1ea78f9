//! Weights by name, with their shapes checked.
//!
//! A file's tensors are read one by one as the network asks for them, so that its bytes are never in memory
//! twice; and before that its header alone says whether it is that network's file.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::Metadata;

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

    fn open(&self) -> Result<Bytes, ModelError> {
        let path = match self {
            Self::Embedded(bytes) => return Ok(Bytes::Embedded(bytes)),
            Self::File(path) => path,
        };
        let open = || {
            // A pipe without a writer would never open.
            if !std::fs::metadata(path)?.is_file() {
                return Err(std::io::Error::other("it is not a file"));
            }
            let file = File::open(path)?;
            let len = file.metadata()?.len();
            Ok(Bytes::File { file, len, path: path.clone() })
        };
        open().map_err(|reason| ModelError::File { path: path.clone(), reason })
    }
}

/// Bytes of which any part can be had.
enum Bytes {
    Embedded(&'static [u8]),
    File { file: File, len: u64, path: PathBuf },
}

impl Bytes {
    /// Small enough that a slow disk reports often, large enough to cost nothing.
    const CHUNK: usize = 1 << 20;

    fn len(&self) -> u64 {
        match self {
            Self::Embedded(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// `len` bytes from `start`, which must be there. Tells how many have come, at each of their parts.
    fn part(
        &self,
        start: u64,
        len: usize,
        mut came: impl FnMut(usize) -> Result<(), ModelError>,
    ) -> Result<Cow<'static, [u8]>, ModelError> {
        let (file, path) = match self {
            Self::Embedded(bytes) => {
                came(len)?;
                return Ok(Cow::Borrowed(&bytes[start as usize..][..len]));
            }
            Self::File { file, path, .. } => (file, path),
        };
        let mut bytes = vec![0; len];
        let mut at = start;
        for chunk in bytes.chunks_mut(Self::CHUNK) {
            file.read_exact_at(chunk, at)
                .map_err(|reason| ModelError::File { path: path.clone(), reason })?;
            at += chunk.len() as u64;
            came((at - start) as usize)?;
        }
        Ok(Cow::Owned(bytes))
    }
}

/// A weights file whose header has been read.
pub struct WeightsFile {
    origin: String,
    bytes: Bytes,
    header: Metadata,
    /// Where the first tensor begins.
    start: u64,
}

impl WeightsFile {
    /// Reads the header, and checks that the file is as long as it says.
    pub fn open(source: &Source) -> Result<Self, ModelError> {
        /// More tensors than any network has.
        const LONGEST_HEADER: u64 = 8 << 20;
        const LENGTH: usize = size_of::<u64>();

        let (origin, bytes) = (source.describe(), source.open()?);
        let wrong = |reason| Err(ModelError::Format { origin: origin.clone(), reason });
        if bytes.len() < LENGTH as u64 {
            return wrong(format!("it has {} bytes", bytes.len()));
        }
        let mut length = [0; LENGTH];
        length.copy_from_slice(&bytes.part(0, LENGTH, |_| Ok(()))?);
        let header_len = u64::from_le_bytes(length);
        if let Some(other) = other_format(&length) {
            return wrong(other.to_owned());
        }
        let start = LENGTH as u64 + header_len.min(LONGEST_HEADER);
        if header_len > LONGEST_HEADER || start > bytes.len() {
            let reason = format!("its header would have {header_len} bytes, and it has {}", bytes.len());
            return wrong(reason);
        }
        let header = bytes.part(LENGTH as u64, header_len as usize, |_| Ok(()))?;
        let header: Metadata = match serde_json::from_slice(&header) {
            Ok(header) => header,
            Err(error) => return wrong(format!("its header can't be read: {error}")),
        };
        let whole = start + header.data_len() as u64;
        if whole != bytes.len() {
            return wrong(format!("it has {} of {whole} bytes", bytes.len()));
        }
        Ok(Self { origin, bytes, header, start })
    }

    /// Bytes of all tensors together.
    pub fn tensor_bytes(&self) -> u64 {
        self.header.data_len() as u64
    }

    /// Tensors, and the types of their values.
    pub fn holds(&self) -> (usize, Vec<String>) {
        let tensors = self.header.tensors();
        let mut types: Vec<_> = tensors.values().map(|info| info.dtype.to_string()).collect();
        types.sort();
        types.dedup();
        (tensors.len(), types)
    }

    /// The tensor's type and where its bytes are, if it has this shape.
    fn find(&self, name: &str, shape: &[usize]) -> Result<(DType, u64, usize), ModelError> {
        let info = self.header.info(name).ok_or_else(|| ModelError::Missing {
            origin: self.origin.clone(),
            name: name.to_owned(),
            expected: shape.to_vec(),
        })?;
        if info.shape != shape {
            return Err(ModelError::Shape {
                origin: self.origin.clone(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        let (from, to) = info.data_offsets;
        Ok((DType::try_from(info.dtype)?, self.start + from as u64, to - from))
    }
}

/// What is often found under a name that isn't its own, by its first bytes.
fn other_format(first: &[u8; 8]) -> Option<&'static str> {
    let text = first.trim_ascii_start();
    if text.starts_with(b"<") {
        Some("it is a page (HTML or XML), as a failed download leaves it")
    } else if first.starts_with(b"PK\x03\x04") || first.starts_with(b"\x80\x02") {
        Some("it is a PyTorch checkpoint, which has to be converted first")
    } else {
        None
    }
}

/// Where a network's parameters come from, as it asks for them.
pub(super) trait Parameters {
    /// A tensor by name, as f32. Each is taken once.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError>;
}

/// All tensors of a file, on their way into the network.
pub(super) struct Weights<'a> {
    file: WeightsFile,
    device: Device,
    taken: u64,
    report: &'a mut dyn FnMut(Progress),
    stop: &'a Stop,
}

impl Weights<'_> {
    /// Opens a source and hands its tensors to `build`. Gives what was built and its size in bytes.
    pub(super) fn with<T>(
        source: &Source,
        device: &Device,
        report: &mut dyn FnMut(Progress),
        stop: &Stop,
        build: impl FnOnce(&mut Weights<'_>) -> Result<T, ModelError>,
    ) -> Result<(T, u64), ModelError> {
        let used = WeightsFile::open(source).and_then(|file| {
            let mut weights = Weights { file, device: device.clone(), taken: 0, report, stop };
            let built = build(&mut weights)?;
            Ok((built, weights.taken))
        });
        if let (Source::File(path), Err(error)) = (source, &used) {
            // The message goes to shoppers too; where the file is, is the operator's.
            tracing::warn!(path = %path.display(), %error, "the model file can't be used");
        }
        used
    }
}

impl Parameters for Weights<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let Self { file, device, taken, report, stop } = self;
        stop.check()?;
        let (dtype, start, len) = file.find(name, shape)?;
        let total = file.tensor_bytes();
        let bytes = file.bytes.part(start, len, |came| {
            report(read(*taken + came as u64, total));
            stop.check()
        })?;
        *taken += len as u64;
        Ok(Tensor::from_raw_buffer(&bytes, dtype, shape, device)?.to_dtype(DType::F32)?)
    }
}

fn read(done: u64, total: u64) -> Progress {
    let share = if total == 0 { 1.0 } else { done as f32 / total as f32 };
    Progress { fraction: Some(share.min(1.0)), detail: Some(format!("read {done} of {total} bytes")) }
}

/// Gives every parameter its shape and no values, as the header of a file has them where there is one.
#[derive(Default)]
pub(super) struct Shapes<'a> {
    pub(super) file: Option<&'a WeightsFile>,
    /// Parameters taken.
    pub(super) values: u64,
}

impl Parameters for Shapes<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        if let Some(file) = self.file {
            file.find(name, shape)?;
        }
        self.values += shape.iter().product::<usize>() as u64;
        // One value, seen everywhere.
        Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: Option<&[u8]>) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).expect("written");
        }
        let source = Source::File(path);
        let build = |weights: &mut Weights<'_>| weights.take("w", &[2]);
        let used = Weights::with(&source, &Device::Cpu, &mut |_| (), &Stop::default(), build);
        let error = used.expect_err("no model").to_string();
        assert!(!error.contains(&folder.path().display().to_string()), "{error}");
        error
    }

    /// `w`, two values of f32.
    fn whole() -> Vec<u8> {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &[0; 8]);
        safetensors::serialize([("w", view.expect("two values"))], None).expect("a file")
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_folder() {
        let whole = whole();
        let longer: Vec<u8> = whole.iter().copied().chain([0]).collect();
        for (bytes, says) in [
            (None, "model.safetensors can't be read"),
            (Some(&b""[..]), "it has 0 bytes"),
            (Some(b"not a model"), "its header would have"),
            (Some(b"<!DOCTYPE html><title>404</title>"), "HTML"),
            (Some(b"\n<html>"), "it has 7 bytes"),
            (Some(b"\n  <html></html>"), "HTML"),
            (Some(b"PK\x03\x04 and what follows"), "PyTorch"),
            (Some(&whole[..whole.len() - 1]), "bytes"),
            (Some(&longer), "bytes"),
            (Some(&whole[..20]), "its header would have"),
            (Some(b"\x02\0\0\0\0\0\0\0[]"), "its header can't be read"),
        ] {
            let error = said(bytes);
            assert!(error.contains(says), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn a_tensor_comes_with_its_values_and_is_told_of() {
        let values: Vec<u8> = [1.5_f32, -2.0].into_iter().flat_map(f32::to_le_bytes).collect();
        let mut file = whole();
        let at = file.len() - 8;
        file[at..].copy_from_slice(&values);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, &file).expect("written");
        let mut told = Vec::new();
        let mut report = |progress: Progress| told.push(progress);
        let stop = Stop::default();
        let build = |weights: &mut Weights<'_>| weights.take("w", &[2]);
        let (tensor, bytes) =
            Weights::with(&Source::File(path), &Device::Cpu, &mut report, &stop, build).expect("a tensor");
        assert_eq!((tensor.to_vec1::<f32>().expect("f32"), bytes), (vec![1.5, -2.0], 8));
        let detail = Some("read 8 of 8 bytes".to_owned());
        assert_eq!(told, [Progress { fraction: Some(1.0), detail }]);
    }

    #[test]
    fn a_load_that_is_told_to_stop_reads_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, whole()).expect("written");
        let stop = Stop::default();
        let mut report = |_| stop.stop();
        let build = |weights: &mut Weights<'_>| weights.take("w", &[2]);
        let used = Weights::with(&Source::File(path), &Device::Cpu, &mut report, &stop, build);
        assert!(matches!(used, Err(ModelError::Stopped)));
    }
}
