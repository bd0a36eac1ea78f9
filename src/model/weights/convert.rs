//! Writes a network's parameters as safetensors.
//!
//! What is written is what the network takes: under the reference's names, batch norms folded in, in the order of
//! the names, and nothing else. So the same weights give the same bytes, whatever format they came in. One tensor
//! at a time is in memory.

use std::io::Write;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::{Found, Place, Shapes};
use crate::model::{ModelError, Precision};

impl Shapes<'_> {
    /// Writes what was asked of a file.
    pub(in crate::model) fn write(
        mut self,
        precision: Precision,
        out: &mut dyn Write,
    ) -> Result<(), ModelError> {
        let Some(file) = self.file else { return Ok(()) };
        self.found.sort_by(|a, b| a.name.cmp(&b.name));
        write_header(&self.found, precision, out)?;
        for Found { name, shape, place } in &self.found {
            let values = match place {
                Place::Tensor(stored) => stored.read(&file.bytes, &mut |_| Ok(()))?,
                Place::Weight(stored) => stored.weight(&file.bytes, &mut |_| Ok(()))?,
                Place::Bias(stored) => stored.bias(&file.bytes)?,
            };
            let expected: usize = shape.iter().product();
            if values.len() != expected {
                let found = values.len();
                return Err(ModelError::Other(format!(
                    "{name} has {found} values where {expected} are needed"
                )));
            }
            let written = match precision {
                Precision::F32 => out.write_all(bytemuck::cast_slice(&values)),
                Precision::F16 => write_halves(&values, |value| f16::from_f32(value).to_bits(), out),
                Precision::BF16 => write_halves(&values, |value| bf16::from_f32(value).to_bits(), out),
            };
            written.map_err(cannot_write)?;
        }
        out.flush().map_err(cannot_write)
    }
}

fn write_header(found: &[Found], precision: Precision, out: &mut dyn Write) -> Result<(), ModelError> {
    let (dtype, size) = match precision {
        Precision::F32 => (Dtype::F32, 4),
        Precision::F16 => (Dtype::F16, 2),
        Precision::BF16 => (Dtype::BF16, 2),
    };
    let mut at = 0;
    let infos = found.iter().map(|Found { name, shape, .. }| {
        let from = at;
        at += shape.iter().product::<usize>() * size;
        (name.clone(), TensorInfo { dtype, shape: shape.clone(), data_offsets: (from, at) })
    });
    let header =
        Metadata::new(None, infos.collect()).map_err(|error| ModelError::Other(error.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|error| ModelError::Other(error.to_string()))?;
    // So that the values begin where any type may.
    header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(cannot_write)?;
    out.write_all(&header).map_err(cannot_write)
}

fn write_halves(values: &[f32], half: impl Fn(f32) -> u16, out: &mut dyn Write) -> std::io::Result<()> {
    const PART: usize = 1 << 16;
    let mut halves = Vec::with_capacity(PART);
    for part in values.chunks(PART) {
        halves.clear();
        halves.extend(part.iter().map(|value| half(*value)));
        out.write_all(bytemuck::cast_slice(&halves))?;
    }
    Ok(())
}

fn cannot_write(reason: std::io::Error) -> ModelError {
    ModelError::Other(reason.to_string())
}
