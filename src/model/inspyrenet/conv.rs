//! Convolutions, with their batch norms folded in.

use candle_core::{DType, Tensor};
use warmcut_kernels::conv::{Finish, Scratch};
use warmcut_kernels::{Level, Source, few};

use super::super::ModelError;
use super::by_kernels::with_values;
use super::map::Packed;
use super::ops::matmul;
use super::scope::{Scope, Target};

/// PyTorch's default.
const EPSILON: f64 = 1e-5;

/// What a convolution is. Its padding keeps the map's size (divided by the stride).
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Channels in.
    pub(super) input: usize,
    /// Channels out.
    pub(super) output: usize,
    /// Taps down and across; odd.
    pub(super) kernel: (usize, usize),
    /// Pixels from one output to the next.
    pub(super) stride: usize,
    /// Pixels from one tap to the next.
    pub(super) dilation: usize,
    /// Negative results become 0.
    pub(super) relu: bool,
    /// The side of the map that it sees, which says how it is best computed.
    pub(super) map: usize,
    /// Maps of equal size that it sees one after the other.
    pub(super) parts: usize,
}

impl Shape {
    /// `side` is the kernel's.
    pub(super) const fn plain([input, output]: [usize; 2], side: usize, map: usize) -> Self {
        Self { input, output, kernel: (side, side), stride: 1, dilation: 1, relu: false, map, parts: 1 }
    }

    /// Whether our kernels are the best for it: with several taps always; with one, where candle's product
    /// would read rows that are a whole map apart, which no cache likes. A single output is a sum of its own.
    fn is_ours(&self) -> bool {
        const LARGE: usize = 64;
        (self.kernel != (1, 1) || self.map >= LARGE) && self.output > 1 && self.map > 1
    }

    /// The same with ReLU.
    pub(super) const fn relu(self) -> Self {
        Self { relu: true, ..self }
    }
}

/// Filters and a bias for each output, in f32.
pub(super) struct Folded {
    shape: Shape,
    /// `[output, input, down, across]`
    weight: Tensor,
    /// `[output]`
    bias: Option<Tensor>,
}

impl Folded {
    /// With batch norm, under the names of both.
    pub(super) fn normed(
        scope: &mut Scope<'_>,
        [conv, norm]: [&str; 2],
        shape: Shape,
    ) -> Result<Self, ModelError> {
        let Self { weight, .. } = Self::bare(scope, conv, shape)?;
        let output = shape.output;
        let mut norm = scope.part(norm);
        let mut of_each = |name| norm.take(name, &[output]);
        let (gain, shift) = (of_each("weight")?, of_each("bias")?);
        let (mean, variance) = (of_each("running_mean")?, of_each("running_var")?);
        if !scope.has_values() {
            // Folded it would be as large as the filters are, for every convolution of a network that nobody runs.
            return Ok(Self { shape, weight, bias: Some(shift) });
        }
        let gain = (gain / (variance + EPSILON)?.sqrt()?)?;
        let bias = (shift - (mean * &gain)?)?;
        let weight = weight.broadcast_mul(&gain.reshape((output, 1, 1, 1))?)?;
        Ok(Self { shape, weight, bias: Some(bias) })
    }

    /// With neither batch norm nor bias.
    pub(super) fn bare(scope: &mut Scope<'_>, conv: &str, shape: Shape) -> Result<Self, ModelError> {
        let Shape { input, output, kernel: (down, across), .. } = shape;
        let weight = scope.part(conv).take("weight", &[output, input, down, across])?;
        Ok(Self { shape, weight, bias: None })
    }

    /// The same, times a number.
    pub(super) fn times(self, factor: f64) -> Result<Self, ModelError> {
        let bias = self.bias.map(|bias| bias * factor).transpose()?;
        Ok(Self { weight: (self.weight * factor)?, bias, ..self })
    }

    /// Where it is computed.
    pub(super) fn place(self, target: &Target) -> Result<Conv, ModelError> {
        let Self { shape, weight, bias } = self;
        if let (Some(level), true) = (target.kernels, shape.is_ours()) {
            let conv = Ours::new(level, shape, &weight, bias.as_ref())?;
            return Ok(Conv::Ours(Box::new(conv)));
        }
        let bias = match bias {
            Some(bias) => Some(bias.to_dtype(target.dtype)?.reshape((1, shape.output, 1, 1))?),
            None => None,
        };
        Ok(Conv::Candles(Candles { shape, weight: weight.to_dtype(target.dtype)?, bias }))
    }
}

/// A convolution in place.
pub(super) enum Conv {
    /// By candle's operations.
    Candles(Candles),
    /// By our kernels.
    Ours(Box<Ours>),
}

impl Conv {
    /// With batch norm, as `conv` and `bn` of one part.
    pub(super) fn take(scope: &mut Scope<'_>, shape: Shape) -> Result<Self, ModelError> {
        Folded::normed(scope, ["conv", "bn"], shape)?.place(scope.target)
    }

    /// `[B, input, H, W]` to `[B, output, H, W]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.of_all(&[x])
    }

    /// Of maps as our kernels keep them.
    ///
    /// # Errors
    /// Where it isn't one of theirs.
    pub(super) fn run(&self, maps: &[Source<'_>], out: &mut Packed) -> Result<(), ModelError> {
        match self {
            Self::Ours(conv) => {
                conv.run(maps, out);
                Ok(())
            }
            Self::Candles(_) => Err(candle_core::Error::Msg("no kernel of ours".to_owned()).into()),
        }
    }

    /// A single output for each pixel of a map as our kernels keep it, `[1, 1, H, W]`.
    ///
    /// # Errors
    /// Where it sees more than that pixel.
    pub(super) fn single(&self, level: Level, map: &Packed) -> Result<Tensor, ModelError> {
        let (Self::Candles(Candles { weight, bias: Some(bias), .. }), plane) = (self, map.plane()) else {
            return Err(candle_core::Error::Msg("no single filter".to_owned()).into());
        };
        let bias = bias.flatten_all()?.squeeze(0)?.to_scalar()?;
        let values = with_values(weight, |weight| few::single(level, &plane, weight, bias))?;
        Ok(Tensor::from_vec(values, (1, 1, plane.height, plane.width), weight.device())?)
    }

    /// Of several maps, one after the other.
    pub(super) fn of_all(&self, maps: &[&Tensor]) -> Result<Tensor, ModelError> {
        match (self, maps) {
            (Self::Ours(conv), _) => conv.forward(maps),
            (Self::Candles(conv), [map]) => conv.forward(map),
            (Self::Candles(conv), _) => conv.forward(&Tensor::cat(maps, 1)?),
        }
    }
}

pub(super) struct Candles {
    shape: Shape,
    weight: Tensor,
    /// `[1, output, 1, 1]`
    bias: Option<Tensor>,
}

impl Candles {
    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let y = match self.shape {
            Shape { kernel: (1, 1), stride: 1, .. } => self.pointwise(x)?,
            Shape { kernel: (down, across), stride: 1, .. } if down != across => {
                self.pointwise(&self.taps(x)?)?
            }
            _ => self.square(x)?,
        };
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        Ok(if self.shape.relu { y.relu()? } else { y })
    }

    /// The filters as a matrix, for maps whose channels are what the filters' taps see.
    fn pointwise(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, channels, height, width) = x.dims4()?;
        // Taps first, as `taps` has them.
        let weight = self.weight.permute((0, 2, 3, 1))?.reshape((1, self.shape.output, channels))?;
        let weight = weight.broadcast_as((batch, self.shape.output, channels))?;
        let y = matmul(&weight, &x.reshape((batch, channels, height * width))?)?;
        Ok(y.reshape((batch, self.shape.output, height, width))?)
    }

    /// What each tap sees, one after the other. candle's own convolution pads both dimensions alike, so it
    /// has none for kernels that aren't square.
    fn taps(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let Shape { kernel: (down, across), dilation, .. } = self.shape;
        let (_, _, height, width) = x.dims4()?;
        let (above, left) = (dilation * (down / 2), dilation * (across / 2));
        let x = x.pad_with_zeros(2, above, above)?.pad_with_zeros(3, left, left)?;
        let mut seen = Vec::with_capacity(down * across);
        for tap in 0..down * across {
            let (row, column) = (tap / across * dilation, tap % across * dilation);
            seen.push(x.narrow(2, row, height)?.narrow(3, column, width)?);
        }
        Ok(Tensor::cat(&seen, 1)?)
    }

    fn square(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        let Shape { kernel: (side, _), stride, dilation, .. } = self.shape;
        let conv = |x: &Tensor, weight: &Tensor| x.conv2d(weight, dilation * (side / 2), stride, dilation, 1);
        // As for products, candle's CPU has none of bf16.
        if x.dtype() == DType::BF16 && x.device().is_cpu() {
            let y = conv(&x.to_dtype(DType::F32)?, &self.weight.to_dtype(DType::F32)?)?;
            return Ok(y.to_dtype(DType::BF16)?);
        }
        Ok(conv(&x.contiguous()?, &self.weight)?)
    }
}

pub(super) struct Ours {
    level: Level,
    conv: warmcut_kernels::Conv,
    shape: Shape,
    scratch: Scratch,
}

impl Ours {
    fn new(level: Level, shape: Shape, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self, ModelError> {
        let Shape { input, output, kernel, stride, dilation, relu, map, parts } = shape;
        let inputs = vec![input / parts; parts];
        let ours = warmcut_kernels::ConvShape { inputs, output, side: kernel.0, stride, dilation };
        let weight: Vec<f32> = weight.flatten_all()?.to_vec1()?;
        let bias = match bias {
            Some(bias) => bias.to_vec1()?,
            None => vec![0.0; output],
        };
        let finish = Finish { relu, adds: false };
        let conv = if kernel.0 == kernel.1 {
            warmcut_kernels::Conv::new(&ours, ours.way((map, map)), &weight, &bias, finish)
        } else {
            warmcut_kernels::Conv::direct(&ours, kernel, &weight, &bias, finish)
        };
        Ok(Self { level, conv, shape, scratch: Scratch::default() })
    }

    fn run(&self, maps: &[Source<'_>], out: &mut Packed) {
        self.conv.run(self.level, maps, &mut out.plane_mut(), None, &self.scratch);
    }

    fn forward(&self, maps: &[&Tensor]) -> Result<Tensor, ModelError> {
        let maps = maps.iter().map(|map| Packed::of(map)).collect::<Result<Vec<_>, _>>()?;
        let maps: Vec<_> = maps.iter().map(|map| Source::Plane(map.plane())).collect();
        let Some((height, width)) = maps.first().map(Source::size) else {
            return Err(ModelError::Input { expected: self.shape.parts, found: 0 });
        };
        let stride = self.shape.stride;
        let mut out = Packed::zeroed(self.shape.output, (height.div_ceil(stride), width.div_ceil(stride)));
        self.run(&maps, &mut out);
        out.tensor()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::super::weights::Shapes;
    use super::*;

    #[test]
    fn of_shapes_alone_nothing_is_folded() {
        let target = Target { device: Device::Cpu, dtype: DType::F32, kernels: None };
        let mut shapes = Shapes::default();
        let mut scope = Scope::new(&mut shapes, &target);
        let shape = Shape::plain([8, 16], 3, 32);
        let Folded { weight, bias, .. } =
            Folded::normed(&mut scope, ["conv", "bn"], shape).expect("of its shape");
        assert_eq!((weight.dims(), weight.stride()), (&[16, 8, 3, 3][..], &[0; 4][..]), "one value");
        assert_eq!(bias.map(|bias| bias.stride().to_vec()), Some(vec![0]));
        assert_eq!(shapes.values, 16 * 8 * 9 + 4 * 16, "all were asked for");
    }
}
