//! Operations that candle lacks, or has not for every type or device.

use candle_core::{D, DType, Tensor};

use super::super::ModelError;

/// The product of two matrices, summed in f32.
pub(super) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor, ModelError> {
    // candle's CPU has no product of bf16.
    if a.dtype() == DType::BF16 && a.device().is_cpu() {
        let product = a.to_dtype(DType::F32)?.matmul(&b.to_dtype(DType::F32)?)?;
        return Ok(product.to_dtype(DType::BF16)?);
    }
    Ok(a.matmul(b)?)
}

/// Over the last dimension, in f32; the type stays.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor, ModelError> {
    let wide = x.to_dtype(DType::F32)?;
    let raised = wide.broadcast_sub(&wide.max_keepdim(D::Minus1)?)?.exp()?;
    let shares = raised.broadcast_div(&raised.sum_keepdim(D::Minus1)?)?;
    Ok(shares.to_dtype(x.dtype())?)
}

/// The logistic function; candle-core has no operation of that name.
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor, ModelError> {
    Ok((x.neg()?.exp()? + 1.0)?.recip()?)
}

/// Where a map's outermost pixels come to lie when it is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Corners {
    /// On the outermost pixels: PyTorch's `align_corners=True`.
    Aligned,
    /// Where half a pixel is kept at every edge: `align_corners=False`.
    Centred,
}

/// `[B, C, H, W]` by straight lines to another height and width.
pub(super) fn resize(
    x: &Tensor,
    (height, width): (usize, usize),
    corners: Corners,
) -> Result<Tensor, ModelError> {
    if x.dims()[2..] == [height, width] {
        return Ok(x.clone());
    }
    Ok(x.contiguous()?.upsample_bilinear2d(height, width, corners == Corners::Aligned)?)
}

/// Height and width of `[B, C, H, W]`.
pub(super) fn size(x: &Tensor) -> Result<(usize, usize), ModelError> {
    let (_, _, height, width) = x.dims4()?;
    Ok((height, width))
}
