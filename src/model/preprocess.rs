//! Pixels to a network's input, as it was trained.

use candle_core::{Device, Tensor};

use super::ModelError;

/// What is done to a photo's values before a network sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalise {
    /// First they are divided.
    pub divide: Divide,
    /// Then this is taken away, by channel.
    pub mean: [f32; 3],
    /// And what is left is divided by this.
    pub deviation: [f32; 3],
}

/// What an 8-bit value is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divide {
    /// By the photo's own largest value, as the training code of U²-Net and rembg do it.
    Maximum,
    /// By 255.
    Full,
}

/// ImageNet's mean and deviation, for values of 0 to 1.
pub const IMAGENET: Normalise =
    Normalise { divide: Divide::Full, mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

/// RGB8 of `size × size` to `[1, 3, size, size]`.
pub(super) fn normalised(
    rgb: &[u8],
    size: usize,
    by: &Normalise,
    device: &Device,
) -> Result<Tensor, ModelError> {
    let expected = size * size * 3;
    if rgb.len() != expected {
        return Err(ModelError::Input { expected, found: rgb.len() });
    }
    let max = match by.divide {
        // A black photo has no maximum to divide by.
        Divide::Maximum => f32::from(rgb.iter().copied().max().unwrap_or(0).max(1)),
        Divide::Full => 255.0,
    };
    let levels: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|value| (value as f32 / max - by.mean[channel]) / by.deviation[channel])
    });
    let mut planes = vec![0.0; expected];
    let (red, others) = planes.split_at_mut(size * size);
    let (green, blue) = others.split_at_mut(size * size);
    let pixels = rgb.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue);
    for (((pixel, red), green), blue) in pixels {
        *red = levels[0][usize::from(pixel[0])];
        *green = levels[1][usize::from(pixel[1])];
        *blue = levels[2][usize::from(pixel[2])];
    }
    Ok(Tensor::from_vec(planes, (1, 3, size, size), device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(rgb: &[u8], by: &Normalise) -> Vec<f32> {
        let tensor = normalised(rgb, 2, by, &Device::Cpu).expect("the right size");
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32")
    }

    #[test]
    fn channels_become_planes_and_the_brightest_is_one() {
        let rgb = [100, 0, 50, 200, 0, 50, 0, 0, 0, 0, 0, 0];
        let by = Normalise { divide: Divide::Maximum, ..IMAGENET };
        let values = values(&rgb, &by);
        assert!((values[0] - (0.5 - 0.485) / 0.229).abs() < 1e-6);
        assert!((values[1] - (1.0 - 0.485) / 0.229).abs() < 1e-6);
        assert!((values[8] - (0.25 - 0.406) / 0.225).abs() < 1e-6);
    }

    #[test]
    fn others_divide_by_the_largest_value_that_a_photo_can_have() {
        let by = Normalise { divide: Divide::Full, mean: [0.5; 3], deviation: [1.0; 3] };
        let values = values(&[51, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &by);
        assert!(
            (values[0] + 0.3).abs() < 1e-6 && values[1..].iter().all(|value| *value == -0.5),
            "{values:?}"
        );
    }

    #[test]
    fn a_photo_of_another_size_is_an_error() {
        assert!(normalised(&[0; 11], 2, &IMAGENET, &Device::Cpu).is_err());
    }
}
