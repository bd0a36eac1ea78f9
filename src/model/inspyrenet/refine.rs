//! What a finer level adds to the map of a coarser one (the reference's `SICA`).
//!
//! The coarser map says which pixels are the subject, which the ground and which may be either. The
//! features of each kind are added up over the whole map, and each pixel then attends to those few sums.

use candle_core::{DType, Tensor};
use warmcut_kernels::{Level, few};

use super::super::ModelError;
use super::by_kernels::with_values;
use super::conv::{Conv, Shape};
use super::map::{Map, Packed};
use super::ops::{Corners, matmul, resize, sigmoid};
use super::scope::{Scope, Target};

/// Two convolutions with ReLU.
struct Pair([Conv; 2]);

impl Pair {
    fn take(scope: &mut Scope<'_>, [first, second]: [Shape; 2]) -> Result<Self, ModelError> {
        Ok(Self([
            Conv::take(&mut scope.part(0), first.relu())?,
            Conv::take(&mut scope.part(1), second.relu())?,
        ]))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.0[1].forward(&self.0[0].forward(x)?)
    }
}

/// Divides a map of logits in two.
struct Threshold(f64);

impl Threshold {
    /// How far each pixel is above it and below it, and how near, all of `[B, 1, H, W]`.
    fn split(&self, map: &Tensor, to: (usize, usize)) -> Result<[Tensor; 3], ModelError> {
        let above = (sigmoid(&resize(map, to, Corners::Centred)?)? - self.0)?;
        let near = above.abs()?.affine(-1.0, self.0)?;
        Ok([above.clamp(0.0, 1.0)?, above.neg()?.clamp(0.0, 1.0)?, near])
    }
}

pub(super) struct Refine {
    depth: usize,
    kernels: Option<Level>,
    query: Pair,
    key: Pair,
    value: Pair,
    seen: Conv,
    joined: Conv,
    last: Conv,
    details: Conv,
    threshold: Threshold,
    /// For the details that the coarser level added, where there were some.
    details_threshold: Option<Threshold>,
}

/// What a level has for the next.
pub(super) struct Refined {
    /// Features of `depth` channels.
    pub(super) features: Map,
    /// `[B, 1, H, W]` in f32.
    pub(super) details: Tensor,
}

impl Refine {
    /// `input` maps of `depth` channels, joined, of `side × side`; `has_details` where a coarser level of
    /// this kind comes before.
    pub(super) fn take(
        scope: &mut Scope<'_>,
        [input, depth]: [usize; 2],
        side: usize,
        has_details: bool,
    ) -> Result<Self, ModelError> {
        let channels = input * depth;
        // What is added up are runs of so many pixels; our kernels see whole ones alone.
        let kernels = scope.target.kernels.filter(|_| (side * side).is_multiple_of(channels));
        let own = Target { kernels, ..scope.target.clone() };
        let mut scope = scope.with(&own);
        let plain = Shape::plain([depth, depth], 3, side).relu();
        let first = Shape { input: channels, parts: input, ..plain };
        let query = Pair::take(&mut scope.part("conv_query"), [first, plain])?;
        // The sums are far beyond f16.
        let wide = Target { dtype: DType::F32, ..own.clone() };
        let few = [Shape::plain([channels, depth], 1, 1), Shape::plain([depth, depth], 1, 1)];
        let key = Pair::take(&mut scope.with(&wide).part("conv_key"), few)?;
        let value = Pair::take(&mut scope.with(&wide).part("conv_value"), few)?;
        let joined = Shape { input: channels + depth, parts: input + 1, ..plain };
        Ok(Self {
            depth,
            kernels,
            query,
            key,
            value,
            seen: Conv::take(&mut scope.part("conv_out1"), plain)?,
            joined: Conv::take(&mut scope.part("conv_out2"), joined)?,
            last: Conv::take(&mut scope.part("conv_out3"), plain)?,
            details: Conv::take(&mut scope.part("conv_out4"), Shape::plain([depth, 1], 1, side))?,
            threshold: Threshold(scope.number("threshold")?),
            details_threshold: if has_details { Some(Threshold(scope.number("lthreshold")?)) } else { None },
        })
    }

    /// Maps that are resized to a height and width and joined, the coarser map and the details that were
    /// added to it last, both of any size and in f32.
    pub(super) fn forward(
        &self,
        maps: Vec<Map>,
        to: (usize, usize),
        map: &Tensor,
        details: Option<&Tensor>,
    ) -> Result<Refined, ModelError> {
        let mut kinds = self.threshold.split(map, to)?.to_vec();
        if let (Some(threshold), Some(details)) = (&self.details_threshold, details) {
            let [above, below, _] = threshold.split(details, to)?;
            kinds.extend([above, below]);
        }
        let kinds = Tensor::cat(&kinds, 1)?;
        if let Some(level) = self.kernels {
            let maps = maps.into_iter().map(Map::packed).collect::<Result<Vec<_>, _>>()?;
            return self.by_kernels(level, &maps, to, &kinds);
        }
        let maps = maps.iter().map(|map| resize(&map.tensor()?, to, Corners::Centred));
        let x = Tensor::cat(&maps.collect::<Result<Vec<_>, _>>()?, 1)?;
        let sums = sums(&kinds, &x)?;
        let seen = self.seen.forward(&self.attend(&x, &sums)?)?;
        let y = self.joined.forward(&Tensor::cat(&[x, seen], 1)?)?;
        let y = self.last.forward(&y)?;
        let details = self.details.forward(&y)?.to_dtype(DType::F32)?;
        Ok(Refined { features: Map::Candles(y), details })
    }

    /// Each pixel to the sums, `[B, C, kinds, 1]` in f32.
    fn attend(&self, x: &Tensor, sums: &Tensor) -> Result<Tensor, ModelError> {
        let (batch, _, height, width) = x.dims4()?;
        let few = |conv: &Pair| Ok::<_, ModelError>(conv.forward(sums)?.squeeze(3)?.to_dtype(x.dtype())?);
        let (key, value) = (few(&self.key)?, few(&self.value)?);
        let query = self.query.forward(x)?.reshape((batch, self.depth, height * width))?;
        // [B, kinds, pixels]: few long rows, so the softmax goes down the columns.
        let scores = matmul(&key.t()?.contiguous()?, &query)?;
        drop(query);
        let scores = (scores.to_dtype(DType::F32)? * self.scale())?;
        let raised = scores.broadcast_sub(&scores.max_keepdim(1)?)?.exp()?;
        let shares = raised.broadcast_div(&raised.sum_keepdim(1)?)?.to_dtype(x.dtype())?;
        Ok(matmul(&value, &shares)?.reshape((batch, self.depth, height, width))?)
    }

    fn scale(&self) -> f64 {
        (self.depth as f64).powf(-0.5)
    }

    /// The same in the memory of two maps.
    fn by_kernels(
        &self,
        level: Level,
        maps: &[Packed],
        to: (usize, usize),
        kinds: &Tensor,
    ) -> Result<Refined, ModelError> {
        let seen: Vec<_> = maps.iter().map(|map| map.seen_at(to)).collect();
        let sums = with_values(kinds, |kinds| few::sums(level, &seen, kinds))?;
        let count = kinds.dim(1)?;
        let sums =
            Tensor::from_vec(sums, (1, count, (), 1), kinds.device())?.transpose(1, 2)?.contiguous()?;
        // [kinds, depth]
        let few = |conv: &Pair| Ok::<_, ModelError>(conv.forward(&sums)?.squeeze(3)?.squeeze(0)?.t()?);
        let (key, value) = ((few(&self.key)? * self.scale())?, few(&self.value)?);

        let mut a = Packed::zeroed(self.depth, to);
        let mut b = Packed::zeroed(self.depth, to);
        self.query.0[0].run(&seen, &mut a)?;
        self.query.0[1].run(&[a.seen_at(to)], &mut b)?;
        with_values(&key, |key| {
            with_values(&value, |value| few::attend(level, key, value, &mut b.plane_mut()))
        })??;
        self.seen.run(&[b.seen_at(to)], &mut a)?;
        let joined: Vec<_> = seen.iter().copied().chain([a.seen_at(to)]).collect();
        self.joined.run(&joined, &mut b)?;
        self.last.run(&[b.seen_at(to)], &mut a)?;
        let details = self.details.single(level, &a)?;
        Ok(Refined { features: Map::Ours(a), details })
    }
}

/// What the pixels of each kind have in common: `[B, kinds, H, W]` in f32 and `[B, C, H, W]` to
/// `[B, C, kinds, 1]` in f32.
///
/// The reference takes the features as `[B, H·W, C]` without moving the channels to the end, so what is
/// added up for a kind are runs of `C` neighbours in memory, each weighed by the pixel of the run's number.
/// The checkpoints were trained so.
fn sums(kinds: &Tensor, x: &Tensor) -> Result<Tensor, ModelError> {
    /// Runs that are added up at once: a sum's error grows with its length, and a copy in f32 is made of
    /// this part alone.
    const PART: usize = 1 << 16;
    let (batch, channels, height, width) = x.dims4()?;
    let pixels = height * width;
    let runs = x.reshape((batch, pixels, channels))?;
    let kinds = kinds.flatten_from(2)?;
    let mut sums: Option<Tensor> = None;
    for start in (0..pixels).step_by(PART) {
        let len = PART.min(pixels - start);
        let part = runs.narrow(1, start, len)?.to_dtype(DType::F32)?;
        let part = kinds.narrow(2, start, len)?.contiguous()?.matmul(&part.contiguous()?)?;
        sums = Some(match sums {
            Some(before) => (before + part)?,
            None => part,
        });
    }
    let sums = sums.ok_or(ModelError::Input { expected: 1, found: 0 })?;
    Ok(sums.transpose(1, 2)?.unsqueeze(3)?.contiguous()?)
}
