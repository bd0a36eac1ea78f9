//! A weights file of any format, as tensors by name.
//!
//! What a file is says its content, never its name. Opening it reads what tells where the tensors are and none of
//! their values.

use std::collections::BTreeSet;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::bytes::{Bytes, Cursor};
use super::onnx::{self, Convolution};
use super::stored::{Kind, Norm, Stored, StoredConv};
use super::{Source, Tensors, Wanted, Wrong, checkpoint};
use crate::model::ModelError;

/// The reference's, which a checkpoint doesn't hold.
const EPSILON: f64 = 1e-5;
/// Bytes of a safetensors header: more tensors than any network has.
const LONGEST_HEADER: u64 = 8 << 20;
/// What trainers put in front of every name.
const PREFIXES: [&str; 4] = ["module.", "_orig_mod.", "model.", "net."];

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Safetensors,
    /// A zip archive by PyTorch.
    Archive,
    /// What PyTorch wrote before.
    Pickles,
    Onnx,
}

impl Format {
    /// For people.
    fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Archive => "a PyTorch checkpoint",
            Self::Pickles => "a PyTorch checkpoint of the older kind",
            Self::Onnx => "ONNX",
        }
    }

    /// By the first bytes; else what it is instead.
    fn of(bytes: &Bytes) -> Result<Self, Wrong> {
        let first = Cursor::new(bytes, 0, bytes.len().min(64))?.take(bytes.len().min(64))?;
        let text = first.trim_ascii_start();
        let other = |what: &str| Err(Wrong::Content(what.to_owned()));
        match first.as_slice() {
            [b'P', b'K', 3, 4, ..] => Ok(Self::Archive),
            [0x80, 2..=5, ..] => Ok(Self::Pickles),
            // The length of a header, and the header.
            [_, _, _, _, _, _, _, _, b'{', ..] => Ok(Self::Safetensors),
            // The version of its format comes first; then who wrote it, or another field of few bytes.
            [8, 1..=127, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..] => Ok(Self::Onnx),
            _ if text.starts_with(b"<") => {
                other("it is a page (HTML or XML), as a failed download leaves it")
            }
            _ if first.starts_with(b"version https://git-lfs") => other(
                "it is the note that Git LFS leaves in place of a file; the file itself has to be fetched",
            ),
            _ => Err(Wrong::Content(format!(
                "its {} bytes are neither safetensors nor a PyTorch checkpoint nor ONNX",
                bytes.len()
            ))),
        }
    }
}

/// A weights file of which is known what it holds.
pub struct WeightsFile {
    pub(super) origin: String,
    pub(super) bytes: Bytes,
    format: Format,
    tensors: Tensors,
    /// In the order in which they run, where the file tells it.
    convolutions: Option<Vec<Convolution>>,
}

impl WeightsFile {
    /// Finds out what is in it, and whether all of it is there.
    ///
    /// # Errors
    /// When it can't be read, is none of the formats, or asks for code to be run.
    pub fn open(source: &Source) -> Result<Self, ModelError> {
        let (origin, bytes) = (source.describe(), Bytes::open(source)?);
        let format = Format::of(&bytes).map_err(|wrong| wrong.about(&origin, "weights"))?;
        let read = match format {
            Format::Safetensors => safetensors(&bytes).map(|tensors| (tensors, None)),
            Format::Archive => checkpoint::of_archive(&bytes).map(|tensors| (tensors, None)),
            Format::Pickles => checkpoint::of_pickles(&bytes).map(|tensors| (tensors, None)),
            Format::Onnx => onnx::read(&bytes).map(|(tensors, nodes)| (tensors, Some(nodes))),
        };
        let (mut tensors, convolutions) = read.map_err(|wrong| wrong.about(&origin, format.name()))?;
        if convolutions.is_none() {
            tensors = without_prefix(tensors);
        }
        Ok(Self { origin, bytes, format, tensors, convolutions })
    }

    /// What it is called, without its folder.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What kind of file it is, for people.
    pub fn format(&self) -> &'static str {
        self.format.name()
    }

    /// Bytes of all tensors together.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.values().fold(0, |sum, stored| sum.saturating_add(stored.len))
    }

    /// Tensors, and the types of their values.
    pub fn holds(&self) -> (usize, Vec<&'static str>) {
        let kinds: BTreeSet<_> = self.tensors.values().map(|stored| stored.kind.name()).collect();
        (self.tensors.len(), kinds.into_iter().collect())
    }

    /// Where a tensor is, whatever its shape.
    #[cfg(test)]
    pub(super) fn tensors_of(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// Where a tensor is, if it has this shape.
    pub(super) fn find(&self, name: &str, shape: &[usize]) -> Result<&Stored, ModelError> {
        let stored = self.tensors.get(name).ok_or_else(|| ModelError::Missing {
            origin: self.origin.clone(),
            name: name.to_owned(),
            expected: shape.to_vec(),
        })?;
        if stored.shape != shape {
            return Err(ModelError::Shape {
                origin: self.origin.clone(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: stored.shape.clone(),
            });
        }
        Ok(stored)
    }

    /// A convolution's parameters: the one that runs at this place, where the file tells the order, or the one of
    /// that name.
    pub(super) fn convolution(&self, wanted: &Wanted<'_>, place: usize) -> Result<StoredConv, ModelError> {
        let weight = format!("{}.weight", wanted.name);
        if let Some(convolutions) = &self.convolutions {
            let convolution = convolutions.get(place).ok_or_else(|| ModelError::Missing {
                origin: self.origin.clone(),
                name: weight,
                expected: wanted.weight_shape().to_vec(),
            })?;
            return convolution.parameters(wanted, &self.tensors, &self.origin);
        }
        let weight = self.find(&weight, &wanted.weight_shape())?.clone();
        let outputs = [wanted.output];
        let norm = wanted.norm.filter(|norm| {
            let parts = ["weight", "bias", "running_mean", "running_var"];
            parts.iter().any(|part| self.tensors.contains_key(&format!("{norm}.{part}")))
        });
        let norm = norm.map(|norm| {
            let part = |part| Ok::<_, ModelError>(self.find(&format!("{norm}.{part}"), &outputs)?.clone());
            let (scale, shift) = (part("weight")?, part("bias")?);
            let (mean, variance) = (part("running_mean")?, part("running_var")?);
            Ok::<_, ModelError>(Norm { scale, shift, mean, variance, epsilon: EPSILON })
        });
        let (norm, bias) = (norm.transpose()?, format!("{}.bias", wanted.name));
        // With a batch norm behind it a convolution needs none of its own.
        let bias = match norm {
            Some(_) if !self.tensors.contains_key(&bias) => None,
            _ => Some(self.find(&bias, &outputs)?.clone()),
        };
        Ok(StoredConv { weight, bias, norm })
    }

    /// Whether no convolution is left behind the first `taken`, but for those that may be there unused.
    pub(super) fn ends(&self, taken: usize, unused: &[Wanted<'_>]) -> Result<(), ModelError> {
        let Some(convolutions) = &self.convolutions else { return Ok(()) };
        for (place, wanted) in (taken..convolutions.len()).zip(unused) {
            self.convolution(wanted, place)?;
        }
        let (found, expected) = (convolutions.len(), taken + unused.len());
        if found > expected {
            let origin = self.origin.clone();
            return Err(ModelError::Convolutions { origin, found, expected });
        }
        Ok(())
    }
}

fn safetensors(bytes: &Bytes) -> Result<Tensors, Wrong> {
    const LENGTH: u64 = size_of::<u64>() as u64;
    let mut cursor = Cursor::new(bytes, 0, bytes.len())?;
    let len = u64::from_le_bytes(cursor.array()?);
    let has = bytes.len();
    if len > LONGEST_HEADER || len > cursor.left() {
        return Err(Wrong::Content(format!("its header would have {len} bytes, and it has {has}")));
    }
    let header: Metadata = serde_json::from_slice(&cursor.take(len)?)
        .map_err(|error| Wrong::Content(format!("its header can't be read: {error}")))?;
    let start = LENGTH + len;
    let whole = start.saturating_add(header.data_len() as u64);
    if whole != has {
        return Err(Wrong::Content(format!("it has {has} of {whole} bytes")));
    }
    let tensors = header.tensors().into_iter().filter_map(|(name, info)| {
        let kind = match info.dtype {
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::BF16,
            Dtype::F64 => Kind::F64,
            Dtype::I64 => Kind::I64,
            Dtype::I32 => Kind::I32,
            Dtype::U8 | Dtype::BOOL => Kind::U8,
            // Of types that no network computes with.
            _ => return None,
        };
        let (from, to) = info.data_offsets;
        let stored = Stored::new(kind, info.shape.clone(), start + from as u64, (to - from) as u64);
        Some((name, stored))
    });
    Ok(tensors.collect())
}

/// The tensors under their own names, where a trainer has wrapped the network.
fn without_prefix(mut tensors: Tensors) -> Tensors {
    while let Some(prefix) = PREFIXES
        .iter()
        .find(|prefix| !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(*prefix)))
    {
        tensors =
            tensors.into_iter().map(|(name, stored)| (name[prefix.len()..].to_owned(), stored)).collect();
    }
    tensors
}
