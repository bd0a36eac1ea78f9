//! Layers for the last dimension.

use candle_core::{D, DType, Tensor};
use warmcut_kernels::{Level, rows};

use super::super::ModelError;
use super::by_kernels::{change, with_values};
use super::ops::matmul;
use super::scope::Scope;

/// PyTorch's default.
const EPSILON: f64 = 1e-5;

/// A matrix for the last dimension.
pub(super) struct Linear {
    /// `[input, output]`
    weight: Tensor,
    /// `[output]`
    pub(super) bias: Option<Tensor>,
    kernels: Option<Level>,
}

impl Linear {
    pub(super) fn take(
        scope: &mut Scope<'_>,
        [input, output]: [usize; 2],
        has_bias: bool,
    ) -> Result<Self, ModelError> {
        let weight = scope.take("weight", &[output, input])?;
        let bias = if has_bias { Some(scope.take("bias", &[output])?) } else { None };
        Self::new(scope, &weight, bias)
    }

    /// A convolution of squares of `side` that lie beside each other, as a matrix for what is in them:
    /// `[channels, side, side]`.
    pub(super) fn patches(
        scope: &mut Scope<'_>,
        [channels, output]: [usize; 2],
        side: usize,
    ) -> Result<Self, ModelError> {
        let weight = scope.take("weight", &[output, channels, side, side])?;
        let weight = weight.reshape((output, channels * side * side))?;
        let bias = Some(scope.take("bias", &[output])?);
        Self::new(scope, &weight, bias)
    }

    fn new(scope: &Scope<'_>, weight: &Tensor, bias: Option<Tensor>) -> Result<Self, ModelError> {
        let dtype = scope.target.dtype;
        let weight = weight.to_dtype(dtype)?.t()?;
        let bias = bias.map(|bias| bias.to_dtype(dtype)).transpose()?;
        Ok(Self { weight, bias, kernels: scope.target.kernels })
    }

    /// `[..., input]` to `[..., output]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let y = self.product(x)?;
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }

    /// The same without the bias.
    pub(super) fn product(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (input, output) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        shape.pop();
        shape.push(output);
        Ok(matmul(&x.reshape(((), input))?, &self.weight)?.reshape(shape)?)
    }

    /// The result, and something of its shape added to it.
    pub(super) fn add_to(&self, other: &Tensor, x: &Tensor) -> Result<Tensor, ModelError> {
        let (Some(level), Some(bias)) = (self.kernels, &self.bias) else {
            return Ok((self.forward(x)? + other)?);
        };
        let y = self.product(x)?;
        with_values(bias, |bias| {
            with_values(other, |other| change(&y, |y| rows::bias_add(level, y, bias, other)))
        })???;
        Ok(y)
    }

    /// The result's GELU.
    pub(super) fn gelu(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (Some(level), Some(bias)) = (self.kernels, &self.bias) else {
            return Ok(self.forward(x)?.gelu_erf()?);
        };
        let y = self.product(x)?;
        with_values(bias, |bias| change(&y, |y| rows::bias_gelu(level, y, bias)))??;
        Ok(y)
    }
}

/// The last dimension to mean 0 and deviation 1, then scaled and shifted. In f32; the type stays.
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    kernels: Option<Level>,
}

impl LayerNorm {
    pub(super) fn take(scope: &mut Scope<'_>, channels: usize) -> Result<Self, ModelError> {
        let kernels = scope.target.kernels;
        Ok(Self {
            weight: scope.take("weight", &[channels])?,
            bias: scope.take("bias", &[channels])?,
            kernels,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        if let Some(level) = self.kernels {
            let y = x.copy()?;
            with_values(&self.weight, |weight| {
                with_values(&self.bias, |bias| {
                    change(&y, |y| rows::layer_norm(level, y, [weight, bias], EPSILON as f32))
                })
            })???;
            return Ok(y);
        }
        let wide = x.to_dtype(DType::F32)?;
        let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let scaled = centred.broadcast_div(&(variance + EPSILON)?.sqrt()?)?;
        let scaled = scaled.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?;
        Ok(scaled.to_dtype(x.dtype())?)
    }
}
