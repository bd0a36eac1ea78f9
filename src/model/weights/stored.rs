//! A tensor as it lies in a file, and its way to values of f32.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

use super::bytes::{Bytes, CHUNK};
use crate::model::ModelError;

// All formats that are read are little-endian.
const _: () = assert!(cfg!(target_endian = "little"));

/// How a value is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    F32,
    F16,
    BF16,
    F64,
    I64,
    I32,
    U8,
    /// The bits of an f16 as a protobuf number of one to three bytes.
    PackedF16,
}

impl Kind {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 | Self::PackedF16 => "F16",
            Self::BF16 => "BF16",
            Self::F64 => "F64",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::U8 => "U8",
        }
    }

    /// Bytes of one; none where they differ.
    pub(super) fn size(self) -> Option<usize> {
        match self {
            Self::F64 | Self::I64 => Some(8),
            Self::F32 | Self::I32 => Some(4),
            Self::F16 | Self::BF16 => Some(2),
            Self::U8 => Some(1),
            Self::PackedF16 => None,
        }
    }
}

/// A tensor's place in a file.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) kind: Kind,
    pub(super) shape: Vec<usize>,
    /// Its first byte.
    pub(super) start: u64,
    /// Bytes from there that have to be read.
    pub(super) len: u64,
    /// Values from one to the next along each dimension, where they don't lie one after the other.
    pub(super) strides: Option<Vec<usize>>,
}

/// Hears how many bytes of a tensor have come.
pub(super) type Came<'a> = &'a mut dyn FnMut(u64) -> Result<(), ModelError>;

impl Stored {
    /// Values that lie one after the other from `start`.
    pub(super) fn new(kind: Kind, shape: Vec<usize>, start: u64, len: u64) -> Self {
        Self { kind, shape, start, len, strides: None }
    }

    /// The values, row by row. But for a tensor that is turned there is no moment with a second copy of them.
    pub(super) fn read(&self, bytes: &Bytes, came: Came<'_>) -> Result<Vec<f32>, ModelError> {
        let values = match self.kind {
            Kind::F32 => self.read_f32(bytes, came)?,
            Kind::PackedF16 => self.unpack(bytes, came)?,
            _ => self.widen(bytes, came)?,
        };
        let Some(strides) = &self.strides else { return Ok(values) };
        let count = self.shape.iter().product();
        let mut turned = Vec::with_capacity(count);
        let mut at = vec![0; self.shape.len()];
        for _ in 0..count {
            turned.push(values[at.iter().zip(strides).map(|(at, stride)| at * stride).sum::<usize>()]);
            for (at, size) in at.iter_mut().zip(&self.shape).rev() {
                *at += 1;
                if *at < *size {
                    break;
                }
                *at = 0;
            }
        }
        Ok(turned)
    }

    fn read_f32(&self, bytes: &Bytes, came: Came<'_>) -> Result<Vec<f32>, ModelError> {
        let mut values = vec![0.0_f32; (self.len / 4) as usize];
        let mut done = 0;
        for part in bytemuck::cast_slice_mut::<f32, u8>(&mut values).chunks_mut(CHUNK) {
            bytes.fill(self.start + done, part)?;
            done += part.len() as u64;
            came(done)?;
        }
        Ok(values)
    }

    /// Values of other kinds, a part at a time.
    fn widen(&self, bytes: &Bytes, came: Came<'_>) -> Result<Vec<f32>, ModelError> {
        let size = self.kind.size().unwrap_or(1);
        let count = (self.len / size as u64) as usize;
        let mut values = vec![0.0_f32; count];
        let mut part = vec![0_u16; CHUNK.min(count * size).div_ceil(2)];
        let mut done = 0;
        for values in values.chunks_mut(CHUNK / size) {
            let part = &mut part[..(values.len() * size).div_ceil(2)];
            let raw = &mut bytemuck::cast_slice_mut::<u16, u8>(part)[..values.len() * size];
            bytes.fill(self.start + done, raw)?;
            done += raw.len() as u64;
            match self.kind {
                Kind::F16 => part.reinterpret_cast::<f16>().convert_to_f32_slice(values),
                Kind::BF16 => part.reinterpret_cast::<bf16>().convert_to_f32_slice(values),
                Kind::F64 => each(raw, values, |value| f64::from_le_bytes(value) as f32),
                Kind::I64 => each(raw, values, |value| i64::from_le_bytes(value) as f32),
                Kind::I32 => each(raw, values, |value| i32::from_le_bytes(value) as f32),
                Kind::U8 => each(raw, values, |[value]| f32::from(value)),
                Kind::F32 | Kind::PackedF16 => {}
            }
            came(done)?;
        }
        Ok(values)
    }

    fn unpack(&self, bytes: &Bytes, came: Came<'_>) -> Result<Vec<f32>, ModelError> {
        let mut values = Vec::with_capacity(self.shape.iter().product());
        let (mut part, mut done, mut bits, mut shift) = (vec![0; CHUNK], 0, 0_u32, 0);
        while done < self.len {
            let len = (self.len - done).min(CHUNK as u64) as usize;
            bytes.fill(self.start + done, &mut part[..len])?;
            for byte in &part[..len] {
                // What is longer than an f16 was counted when the file was opened, and is none.
                bits |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
                shift += 7;
                if *byte < 0x80 {
                    values.push(f16::from_bits(bits as u16).to_f32());
                    (bits, shift) = (0, 0);
                }
            }
            done += len as u64;
            came(done)?;
        }
        let expected: usize = self.shape.iter().product();
        if values.len() != expected {
            let found = values.len();
            return Err(ModelError::Other(format!(
                "a tensor has {found} values where its shape says {expected}"
            )));
        }
        Ok(values)
    }
}

fn each<const N: usize>(raw: &[u8], values: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (to, from) in values.iter_mut().zip(raw.as_chunks::<N>().0) {
        *to = value(*from);
    }
}

/// A convolution's parameters, with the batch norm behind it where the file has one.
#[derive(Clone, Debug)]
pub(super) struct StoredConv {
    pub(super) weight: Stored,
    pub(super) bias: Option<Stored>,
    pub(super) norm: Option<Norm>,
}

/// A batch norm.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    pub(super) scale: Stored,
    pub(super) shift: Stored,
    pub(super) mean: Stored,
    pub(super) variance: Stored,
    pub(super) epsilon: f64,
}

impl StoredConv {
    /// Its weight, with the batch norm in it.
    pub(super) fn weight(&self, bytes: &Bytes, came: Came<'_>) -> Result<Vec<f32>, ModelError> {
        let mut weight = self.weight.read(bytes, came)?;
        if let Some(norm) = &self.norm {
            let factors = norm.factors(bytes)?;
            let each = weight.len() / factors.len().max(1);
            for (weight, factor) in weight.chunks_mut(each.max(1)).zip(factors) {
                weight.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * factor) as f32);
            }
        }
        Ok(weight)
    }

    /// Its bias, with the batch norm in it.
    pub(super) fn bias(&self, bytes: &Bytes) -> Result<Vec<f32>, ModelError> {
        let outputs = self.weight.shape.first().copied().unwrap_or(0);
        let bias = match &self.bias {
            Some(bias) => bias.read(bytes, &mut |_| Ok(()))?,
            None => vec![0.0; outputs],
        };
        let Some(norm) = &self.norm else { return Ok(bias) };
        let read = |stored: &Stored| stored.read(bytes, &mut |_| Ok(()));
        let (factors, mean, shift) = (norm.factors(bytes)?, read(&norm.mean)?, read(&norm.shift)?);
        let folded = bias.iter().zip(factors).zip(mean).zip(shift);
        Ok(folded
            .map(|(((bias, factor), mean), shift)| {
                ((f64::from(*bias) - f64::from(mean)) * factor + f64::from(shift)) as f32
            })
            .collect())
    }

    /// Bytes of all of it in the file.
    pub(super) fn len(&self) -> u64 {
        let norm = self.norm.iter().flat_map(|norm| [&norm.scale, &norm.shift, &norm.mean, &norm.variance]);
        [&self.weight].into_iter().chain(&self.bias).chain(norm).map(|stored| stored.len).sum()
    }
}

impl Norm {
    /// By what each output is multiplied.
    fn factors(&self, bytes: &Bytes) -> Result<Vec<f64>, ModelError> {
        let read = |stored: &Stored| stored.read(bytes, &mut |_| Ok(()));
        let (scale, variance) = (read(&self.scale)?, read(&self.variance)?);
        let factors = scale.iter().zip(variance);
        Ok(factors.map(|(scale, var)| f64::from(*scale) / (f64::from(var) + self.epsilon).sqrt()).collect())
    }
}
