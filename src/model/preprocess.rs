//! Pixels to the network's input, as the U²-Net family was trained and as rembg does it.

use candle_core::{Device, Tensor};

use super::ModelError;

/// ImageNet's, for values of 0 to 1 (the family's training code and rembg use the same).
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// RGB8 of `size × size` to `[1, 3, size, size]`: divided by the photo's own maximum, then normalised.
pub(super) fn normalised(rgb: &[u8], size: usize, device: &Device) -> Result<Tensor, ModelError> {
    let expected = size * size * 3;
    if rgb.len() != expected {
        return Err(ModelError::Input { expected, found: rgb.len() });
    }
    // A black photo has no maximum to divide by.
    let max = f32::from(rgb.iter().copied().max().unwrap_or(0).max(1));
    let levels: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|value| (value as f32 / max - MEAN[channel]) / DEVIATION[channel])
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

    #[test]
    fn channels_become_planes_and_the_brightest_is_one() {
        let rgb = [100, 0, 50, 200, 0, 50, 0, 0, 0, 0, 0, 0];
        let tensor = normalised(&rgb, 2, &Device::Cpu).expect("the right size");
        let values: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32");
        assert!((values[0] - (0.5 - 0.485) / 0.229).abs() < 1e-6);
        assert!((values[1] - (1.0 - 0.485) / 0.229).abs() < 1e-6);
        assert!((values[8] - (0.25 - 0.406) / 0.225).abs() < 1e-6);
    }

    #[test]
    fn a_photo_of_another_size_is_an_error() {
        assert!(normalised(&[0; 11], 2, &Device::Cpu).is_err());
    }
}
