//! candle's tensors through our kernels: f32, on the CPU, one photo at a time.

use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor};

use super::super::ModelError;

/// What is done with a tensor's values where they lie.
pub(super) fn with_values<T>(x: &Tensor, run: impl FnOnce(&[f32]) -> T) -> Result<T, ModelError> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(candle_core::Error::Msg("our kernels see the CPU's memory alone".to_owned()).into());
    };
    let (from, to) = range(layout)?;
    Ok(run(&storage.as_slice()?[from..to]))
}

/// Changes a tensor's values where they lie. They must be nobody else's.
pub(super) fn change(x: &Tensor, run: impl Fn(&mut [f32])) -> Result<(), ModelError> {
    Ok(x.inplace_op1(&InPlace(run))?)
}

struct InPlace<F>(F);

impl<F: Fn(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "in place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (from, to) = range(layout)?;
        let CpuStorage::F32(values) = storage else { candle_core::bail!("our kernels see f32 alone") };
        (self.0)(&mut values[from..to]);
        Ok(())
    }
}

fn range(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::Msg("the values don't lie one after the other".to_owned()))
}
