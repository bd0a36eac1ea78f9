//! Pictures whose edges were made: what is true of any mask is true of these.

use super::super::fixtures::{self, options};
use super::*;
use crate::protocol::options::Edges;

/// The map's side.
const SIDE: u32 = 16;
const WIDTH: u32 = 450;
const HEIGHT: u32 = 350;

/// How far a pixel is from the middle, 0 to 1, of a square of so many pixels.
fn away(n: u32, (width, height): (u32, u32)) -> f32 {
    let of = |n: u32, side: u32| (n as f32 + 0.5) / side as f32 - 0.5;
    of(n % width, width).hypot(of(n / width, height)) * 2.0
}

/// A disc whose red falls with its transparency, so that a line of colour has something to hold to, before stripes.
fn pixels(size: (u32, u32)) -> Vec<u8> {
    let pixel = |n: u32| [255 - (away(n, size) * 150.0) as u8, 90, if n % size.0 % 9 < 4 { 40 } else { 160 }];
    (0..size.0 * size.1).flat_map(pixel).collect()
}

fn photo(own: Option<Vec<u8>>) -> Photo {
    Photo { rgb: pixels((WIDTH, HEIGHT)), alpha: own, ..fixtures::opaque(WIDTH, HEIGHT) }
}

fn composed(edges: Edges, own: Option<Vec<u8>>, text: &str) -> Composed {
    let square = (SIDE, SIDE);
    let map: Vec<f32> = (0..SIDE * SIDE).map(|n| (2.4 - away(n, square) * 3.0).clamp(0.0, 1.0)).collect();
    let mask = Mask::of(&map, (&pixels(square), SIDE), (WIDTH, HEIGHT), edges).expect("fits");
    compose(photo(own), mask, &options(text)).expect("composes")
}

/// Its rows as they are asked for, which must be what they are all at once.
fn rows(picture: Composed) -> Vec<u8> {
    let row = picture.width() as usize * picture.colour().bytes();
    let mut rows = vec![7; picture.height() as usize * row];
    rows.chunks_exact_mut(row).zip(0..).for_each(|(out, y)| picture.row(y, out));
    assert_eq!(picture.into_pixels(), rows);
    rows
}

fn cutout(edges: Edges, own: Option<Vec<u8>>) -> Vec<[u8; 4]> {
    rows(composed(edges, own, "")).as_chunks::<4>().0.to_vec()
}

#[test]
fn clean_colours_are_others_than_the_photos_in_every_picture_but_the_mask() {
    for text in ["", "crop=true", "format=jpg", "bg_color=00ff00&crop=true", "size=preview", "channels=alpha"]
    {
        let [guided, clean] = [Edges::Guided, Edges::Decontaminate].map(|edges| composed(edges, None, text));
        assert_eq!((guided.width(), guided.height()), (clean.width(), clean.height()), "{text}");
        assert_eq!(rows(guided) == rows(clean), text == "channels=alpha", "{text}");
    }
}

/// Where it was made: elsewhere four numbers may be added up in another order, and a pixel be rounded otherwise.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn pixels_are_those_of_their_number() {
    use data_encoding::HEXLOWER;
    use sha2::{Digest, Sha256};

    let mut digest = Sha256::new();
    for edges in [Edges::Off, Edges::Guided, Edges::Decontaminate] {
        for text in ["", "format=jpg&size=preview"] {
            digest.update(rows(composed(edges, None, text)));
        }
    }
    let found = HEXLOWER.encode(&digest.finalize()[..8]);
    let meant = "other pixels that are meant: raise PIXELS, or kept cutouts stay as they were, and put what was found here";
    assert_eq!((super::super::PIXELS, found.as_str()), (1, "f5c79c00ca1f8961"), "{meant}");
}

#[test]
fn a_crop_is_that_part_of_the_whole() {
    let whole = cutout(Edges::Decontaminate, None);
    let crop = composed(Edges::Decontaminate, None, "crop=true");
    let Area { left, top, width, height } = crop.area;
    assert!(left > 0 && top > 0 && width < WIDTH && height < HEIGHT, "{:?}", crop.area);
    let found = rows(crop);
    for (y, row) in (top..).zip(found.chunks_exact(width as usize * 4)) {
        let whole = &whole[(y * WIDTH + left) as usize..][..width as usize];
        assert!(row == whole.as_flattened(), "row {y}");
    }
}

#[test]
fn a_ground_is_behind_the_clean_colours() {
    let clean = cutout(Edges::Decontaminate, None);
    for (text, ground) in [("format=jpg", WHITE), ("bg_color=00ff00", [0, 255, 0])] {
        let found = rows(composed(Edges::Decontaminate, None, text));
        let expected: Vec<_> = clean.iter().map(|[r, g, b, a]| over([*r, *g, *b], *a, ground)).collect();
        assert!(found == expected.as_flattened(), "{text}");
    }
    assert!(clean.iter().any(|[.., a]| (60..200).contains(a)), "nothing is half transparent");
}

#[test]
fn the_photos_own_transparency_has_no_part_in_the_colours() {
    let own: Vec<u8> = (0..WIDTH * HEIGHT).map(|n| 50 + (n % 200) as u8).collect();
    let opaque = cutout(Edges::Decontaminate, None);
    let with_own = cutout(Edges::Decontaminate, Some(own.clone()));
    for (([r, g, b, a], [red, green, blue, alpha]), own) in opaque.iter().zip(&with_own).zip(&own) {
        assert_eq!(*alpha, times(*a, *own));
        if *alpha > 0 {
            assert_eq!([r, g, b], [red, green, blue]);
        }
    }
}
