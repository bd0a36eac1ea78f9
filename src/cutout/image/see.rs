//! A photo only as large as what it is wanted for.
//!
//! A cutout of full size needs every pixel. A preview needs a fiftieth of a phone's, and the model never
//! sees more than its own square: a JPEG is decoded to a half, a quarter or an eighth for that, which skips
//! most of what follows its entropy coding and all the memory.

use crate::protocol::options::{Options, OutputSize};

use super::{
    compose::preview_size,
    decode::{Photo, decode_to},
    error::ImageError,
    probe::Limits,
    resize::{Kind, network_input, resized},
};

/// A small decoding is coarser than a resampling: what follows it must still have so many times the pixels
/// on each side that its own resampling shows. Twice is what Pillow calls almost that of the whole
/// (`reducing_gap`).
const GAP: u32 = 2;

/// A photo as a job needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// No larger than it will be shown.
    pub photo: Photo,
    /// What the model sees: a square, RGB8.
    pub input: Vec<u8>,
}

/// Decodes a file for a job, and for a model whose input has `size` pixels a side.
///
/// A photo with transparency or one to be cropped stays as it is: its colours have to be weighed by what
/// can be seen of them, and which part of it counts is known only by its mask.
///
/// # Errors
/// Those of [`decode()`](super::decode()).
pub fn see(bytes: &[u8], limits: &Limits, options: &Options, size: u32) -> Result<Seen, ImageError> {
    let shrinks = options.size == OutputSize::Preview && !options.crop;
    let shown = |whole| preview_size(whole).filter(|_| shrinks);
    let least = |whole| shown(whole).map(|(width, height)| (GAP * width.max(size), GAP * height.max(size)));
    let (photo, whole) = decode_to(bytes, limits, &least)?;
    let input = network_input(&photo, size)?;
    let photo = match shown(whole) {
        Some(to) if photo.alpha.is_none() => shrunk(photo, to)?,
        _ => photo,
    };
    Ok(Seen { photo, input })
}

fn shrunk(photo: Photo, (width, height): (u32, u32)) -> Result<Photo, ImageError> {
    let rgb = resized(&photo.rgb, Kind::Rgb, (photo.width, photo.height), (width, height))?;
    Ok(Photo { width, height, rgb, ..photo })
}

#[cfg(test)]
mod tests {
    use jpeg_encoder::{ColorType, SamplingFactor};

    use super::{
        super::{
            decode,
            fixtures::{self, LIMITS, options},
        },
        *,
    };

    const SIDE: u32 = 64;
    const MANY: Limits = Limits { max_pixels: 20_000_000 };

    fn seen(file: &[u8], text: &str) -> Photo {
        see(file, &LIMITS, &options(text), SIDE).expect("a photo").photo
    }

    /// So many pixels of cats, side by side.
    fn cats((width, height): (u32, u32)) -> Vec<u8> {
        let cat = decode(&fixtures::file("cat.jpg"), &MANY).expect("a photo");
        let rows = cat.rgb.chunks_exact(cat.width as usize * 3).cycle().take(height as usize);
        rows.flat_map(|cats| cats.iter().cycle().take(width as usize * 3)).copied().collect()
    }

    fn size(photo: &Photo) -> (u32, u32) {
        (photo.width, photo.height)
    }

    #[test]
    fn a_preview_is_made_of_a_small_photo_unless_transparency_or_a_crop_is_in_the_way() {
        let whole = (1000, 600);
        let jpeg = fixtures::jpeg(&fixtures::scene(1000, 600), whole, ColorType::Rgb, |_| {});
        let clear: Vec<u8> = fixtures::scene_rgba(1000, 600);
        let png = fixtures::png(&clear, whole, png::ColorType::Rgba, png::BitDepth::Eight, |_| {});
        assert_eq!(size(&seen(&jpeg, "size=preview")), (645, 387));
        assert_eq!(size(&seen(&jpeg, "")), whole);
        assert_eq!(size(&seen(&jpeg, "size=preview&crop=true")), whole);
        assert_eq!(size(&seen(&png, "size=preview")), whole);
        let small = fixtures::jpeg(&fixtures::scene(30, 20), (30, 20), ColorType::Rgb, |_| {});
        assert_eq!(size(&seen(&small, "size=preview")), (30, 20), "never enlarged");
    }

    #[test]
    fn a_photo_decoded_small_looks_like_the_whole_one_shrunk() {
        use SamplingFactor::{F_1_1, F_2_2};
        for (sides, colour, sampling, restart, tag) in
            [((2101, 2003), ColorType::Rgb, F_2_2, 7, 6), ((2400, 1700), ColorType::Luma, F_1_1, 0, 3)]
        {
            let mut pixels = cats(sides);
            if colour == ColorType::Luma {
                pixels = pixels.into_iter().step_by(3).collect();
            }
            let file = fixtures::jpeg(&pixels, sides, colour, |encoder| {
                encoder.set_sampling_factor(sampling);
                encoder.set_restart_interval(restart);
                encoder.add_exif_metadata(&fixtures::exif(tag, false)).expect("fits");
            });
            let Seen { photo, input } = see(&file, &MANY, &options("size=preview"), SIDE).expect("seen");
            let whole = decode(&file, &MANY).expect("a photo");
            let to = preview_size(size(&whole)).expect("it is larger");
            assert_eq!(size(&photo), to, "whichever way it was decoded");
            let expected = shrunk(whole.clone(), to).expect("shrinks");
            let apart = |a: &[u8], b: &[u8]| {
                let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                sum as f64 / a.len() as f64
            };
            let (photos, inputs) = (
                apart(&photo.rgb, &expected.rgb),
                apart(&input, &network_input(&whole, SIDE).expect("fits")),
            );
            // The first is 1.46 with libjpeg at half size and Pillow.
            assert!(photos < 1.6 && inputs < 0.6, "{sides:?} {sampling:?}: {photos} and {inputs}");
        }
    }

    #[test]
    fn a_damaged_photo_is_damaged_in_a_preview_too() {
        let sides = (2500, 1700);
        let file = fixtures::jpeg(&fixtures::scene(2500, 1700), sides, ColorType::Rgb, |_| {});
        let (mut holed, mut odd) = (file.clone(), file);
        holed.drain(holed.len() / 2..holed.len() - 40);
        let middle = odd.len() / 2;
        odd[middle..middle + 2000].fill(0xAA);
        for (what, file) in [("holed", holed), ("odd", odd)] {
            let [whole, preview] =
                ["", "size=preview"].map(|text| see(&file, &MANY, &options(text), SIDE).is_err());
            assert_eq!(whole, preview, "{what}");
        }
    }
}
