//! CUDA's devices, opened through candle's own bindings.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError};
use candle_core::cuda_backend::kernels;
use candle_core::{DType, Device, Tensor};

use super::{Gpu, Gpus, Module};
use crate::model::ModelError;
use crate::model::device::opening::Step;

/// Those of this machine, each with these modules.
pub(super) struct Cuda(pub(super) &'static [Module]);

impl Gpus for Cuda {
    fn count(&self) -> Result<usize, ModelError> {
        driver()?;
        let count = CudaContext::device_count().map_err(refused)?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    fn open(&self, ordinal: usize, tell: &mut dyn FnMut(Step)) -> Result<Gpu, ModelError> {
        driver()?;
        let begun = Instant::now();
        let context = CudaContext::new(ordinal).map_err(refused)?;
        tell(Step::since(begun, "context"));

        // The device's primary context is the same one; what is new are cuBLAS and cuRAND.
        let begun = Instant::now();
        let device = Device::new_cuda(ordinal)?;
        tell(Step::since(begun, "libraries"));

        let begun = Instant::now();
        for module in self.0 {
            load(&device, *module)?;
        }
        tell(Step::since(begun, format!("{} modules of kernels", self.0.len())));

        let begun = Instant::now();
        // It answers: memory is given, a kernel runs, and what it wrote comes back.
        let ones = Tensor::ones(1 << 20, DType::F32, &device)?;
        let two = ones.get(0)?.broadcast_add(&ones.get(1)?)?.to_scalar::<f32>()?;
        if two != 2.0 {
            return Err(ModelError::Other(format!("it computes wrongly: one and one were {two}")));
        }
        tell(Step::since(begun, "first allocation and sum"));
        Ok(Gpu::of(device, ordinal, about(&context)))
    }
}

/// An error where the driver's library isn't there: CUDA's bindings would panic.
fn driver() -> Result<(), ModelError> {
    #[allow(
        unsafe_code,
        reason = "a library's own initialisers run when it is opened, and the driver's are sound"
    )]
    // SAFETY: it is the library that the next call opens anyway; it stays open, so nothing of it dangles.
    let library = unsafe { libloading::Library::new("libcuda.so.1") };
    match library {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => {
            // The loader's own words, which name the file.
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Err(ModelError::Other(format!("there is no NVIDIA driver here ({why})")))
        }
    }
}

fn refused(error: DriverError) -> ModelError {
    ModelError::from(candle_core::Error::Cuda(Box::new(error)))
}

fn about(context: &Arc<CudaContext>) -> String {
    let name = context.name().unwrap_or_else(|_| "a GPU without a name".to_owned());
    let capability = context.compute_capability().map(|(major, minor)| format!(", compute {major}.{minor}"));
    let memory = context.mem_get_info().map(|(free, total)| {
        let gb = |bytes: usize| bytes as f64 / 1e9;
        format!(", {:.1} of {:.1} GB free", gb(free), gb(total))
    });
    format!("{name}{}{}", capability.unwrap_or_default(), memory.unwrap_or_default())
}

/// Loads a module by one of its functions; candle has no other way to.
fn load(device: &Device, module: Module) -> Result<(), ModelError> {
    let (name, module) = function(module);
    device.as_cuda_device()?.get_or_load_func(name, module)?;
    Ok(())
}

fn function(module: Module) -> (&'static str, &'static kernels::Module) {
    match module {
        Module::Affine => ("affine_f32", &kernels::AFFINE),
        Module::Binary => ("badd_f32", &kernels::BINARY),
        Module::Cast => ("cast_f32_f16", &kernels::CAST),
        Module::Conv => ("im2col_f32", &kernels::CONV),
        Module::Fill => ("copy2d_f32", &kernels::FILL),
        Module::Indexing => ("is_u32_f32", &kernels::INDEXING),
        Module::Reduce => ("fast_sum_f32", &kernels::REDUCE),
        Module::Ternary => ("where_u8_f32", &kernels::TERNARY),
        Module::Unary => ("urelu_f32", &kernels::UNARY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_has_the_function_that_it_is_loaded_by() {
        let modules = [
            Module::Affine,
            Module::Binary,
            Module::Cast,
            Module::Conv,
            Module::Fill,
            Module::Indexing,
            Module::Reduce,
            Module::Ternary,
            Module::Unary,
        ];
        for module in modules {
            let (name, compiled) = function(module);
            let entry = format!(".entry {name}(");
            assert!(compiled.ptx().contains(&entry), "{module:?} has no {name}");
        }
    }
}
