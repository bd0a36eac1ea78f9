//! From a photo to its map.

use candle_core::{DType, Tensor};
use warmcut_kernels::Level;

use super::super::ModelError;
use super::config::{Backbone, Config};
use super::context::Context;
use super::decoder::Decoder;
use super::map::Map;
use super::ops::{sigmoid, size};
use super::pyramid::Doubled;
use super::refine::{Refine, Refined};
use super::res2net::Res2Net;
use super::scope::{Scope, Target};
use super::swin::{Swin, Table};

/// Channels of everything behind the backbone.
const DEPTH: usize = 64;

/// Who sees what is computed on the way, by a name for each; a tensor of it is made for who asks.
pub(super) type See<'a> =
    &'a mut dyn FnMut(&str, &dyn Fn() -> Result<Tensor, ModelError>) -> Result<(), ModelError>;

enum Eye {
    Swin(Swin),
    Res2Net(Box<Res2Net>),
}

/// A network in place.
pub(super) struct Network {
    dtype: DType,
    kernels: Option<Level>,
    eye: Eye,
    contexts: Vec<Context>,
    decoder: Decoder,
    /// From the finest to the coarsest.
    refine: [Refine; 3],
    /// To the size of each of these.
    doubled: [Doubled; 3],
}

impl Network {
    pub(super) fn take(scope: &mut Scope<'_>, config: &Config) -> Result<Self, ModelError> {
        let eye = match config.backbone {
            Backbone::Swin { channels, depths, heads, window } => {
                let table = Table { size: config.size, channels, depths, heads, window };
                Eye::Swin(Swin::take(&mut scope.part("backbone"), &table)?)
            }
            Backbone::Res2Net50 => {
                Eye::Res2Net(Box::new(Res2Net::take(&mut scope.part("backbone"), config.size)?))
            }
        };
        let mut contexts = Vec::new();
        let size = config.size;
        let maps = [size / 4, size / 4, size / 8, size / 16, size / 32];
        for (n, (input, map)) in config.backbone.outputs().into_iter().zip(maps).enumerate() {
            let mut part = scope.part(format_args!("context{}", n + 1));
            contexts.push(Context::take(&mut part, [input, DEPTH], map)?);
        }
        let decoder = Decoder::take(&mut scope.part("decoder"), DEPTH, size / 8)?;
        let refine = [
            Refine::take(&mut scope.part("attention0"), [1, DEPTH], size, true)?,
            Refine::take(&mut scope.part("attention1"), [2, DEPTH], size / 2, true)?,
            Refine::take(&mut scope.part("attention2"), [2, DEPTH], size / 4, false)?,
        ];
        let doubled = |level: u32| Doubled::new(size >> level, &scope.target.device);
        let doubled = [doubled(1)?, doubled(2)?, doubled(3)?];
        let Target { dtype, kernels, .. } = *scope.target;
        Ok(Self { dtype, kernels, eye, contexts, decoder, refine, doubled })
    }

    /// `[B, 3, size, size]` normalised photos to `[B, 1, size, size]` maps of 0 to 1 in f32, as they are
    /// before they are stretched.
    pub(super) fn forward(&self, photo: &Tensor) -> Result<Tensor, ModelError> {
        self.forward_seen(photo, &mut |_, _| Ok(()))
    }

    /// The same, and what is computed on the way.
    pub(super) fn forward_seen(&self, photo: &Tensor, see: See<'_>) -> Result<Tensor, ModelError> {
        if let (Some(_), batch @ 2..) = (self.kernels, photo.dim(0)?) {
            // Our kernels see one photo at a time.
            let mut maps = Vec::new();
            for n in 0..batch {
                maps.push(self.forward_seen(&photo.narrow(0, n, 1)?, see)?);
            }
            return Ok(Tensor::cat(&maps, 0)?);
        }
        let (height, width) = size(photo)?;
        let [finest, finer, fine] = &self.refine;
        let photo = photo.to_dtype(self.dtype)?;
        let maps = match &self.eye {
            Eye::Swin(swin) => swin.forward(&photo)?,
            Eye::Res2Net(res2net) => res2net.forward(&photo)?,
        };
        let mut contexts = Vec::new();
        for (n, (map, context)) in maps.into_iter().zip(&self.contexts).enumerate() {
            see(&format!("backbone.{n}"), &|| Ok(map.clone()))?;
            let context = context.forward(&map)?;
            see(&format!("context{}", n + 1), &|| Ok(context.clone()))?;
            contexts.push(context);
        }
        let [x1, x2, x3, x4, x5] = <[Tensor; 5]>::try_from(contexts)
            .map_err(|contexts| ModelError::Input { expected: 5, found: contexts.len() })?;

        let [f3, d3] = self.decoder.forward([x3, x4, x5])?;
        see("decoder", &|| Ok(f3.clone()))?;
        see("d3", &|| Ok(d3.clone()))?;

        let maps = vec![Map::Candles(x2), Map::Candles(f3)];
        let Refined { features: f2, details: p2 } = fine.forward(maps, (height / 4, width / 4), &d3, None)?;
        see("attention2", &|| f2.tensor())?;
        see("p2", &|| Ok(p2.clone()))?;
        let d2 = (self.doubled[2].forward(&d3)? + &p2)?;
        see("d2", &|| Ok(d2.clone()))?;

        let maps = vec![Map::Candles(x1), f2];
        let half = (height / 2, width / 2);
        let Refined { features: f1, details: p1 } = finer.forward(maps, half, &d2, Some(&p2))?;
        see("attention1", &|| f1.tensor())?;
        see("p1", &|| Ok(p1.clone()))?;
        let d1 = (self.doubled[1].forward(&d2)? + &p1)?;
        see("d1", &|| Ok(d1.clone()))?;

        let Refined { features: f0, details: p0 } =
            finest.forward(vec![f1], (height, width), &d1, Some(&p1))?;
        see("attention0", &|| f0.tensor())?;
        see("p0", &|| Ok(p0.clone()))?;
        let d0 = (self.doubled[0].forward(&d1)? + &p0)?;
        see("d0", &|| Ok(d0.clone()))?;
        sigmoid(&d0)
    }
}

/// A map of 0 to 1 so that the subject is 1 and the ground 0.
///
/// The reference takes the least and the greatest value to 0 and 1, whatever they are. On a photo without a
/// subject that makes one of noise. So ends that the network itself isn't sure of stay where they are: what
/// it gives less than a quarter to may become 0, and what it gives more than three quarters to may become 1.
pub(super) fn stretch(map: &mut [f32]) {
    const SURE: f32 = 0.75;
    let (low, high) =
        map.iter().fold((1.0f32 - SURE, SURE), |(low, high), value| (low.min(*value), high.max(*value)));
    for value in map {
        *value = ((*value - low) / (high - low)).clamp(0.0, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::stretch;

    #[test]
    fn a_map_with_a_subject_goes_from_nothing_to_all() {
        let mut map = [0.1, 0.5, 0.9];
        stretch(&mut map);
        assert!(map.iter().zip([0.0, 0.5, 1.0]).all(|(value, expected)| (value - expected).abs() < 1e-6));
    }

    #[test]
    fn noise_without_a_subject_stays_noise_and_a_photo_full_of_it_stays_full() {
        let mut nothing = [0.001, 0.02, 0.03];
        stretch(&mut nothing);
        assert!(nothing.iter().all(|value| *value < 0.05), "{nothing:?}");
        let mut everything = [0.95, 0.97, 0.99];
        stretch(&mut everything);
        assert!(everything.iter().all(|value| *value > 0.9), "{everything:?}");
    }
}
