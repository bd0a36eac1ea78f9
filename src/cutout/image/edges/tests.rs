//! What edges promise as a whole, on a soft and striped scene that both sides of it are as textured as the edge.

use super::{Colours, Guided};

const SIDE: usize = 40;

/// Noise of 0 to 1, always the same.
fn noise(n: usize) -> f32 {
    let mixed = (n as u32).wrapping_mul(2_654_435_761) ^ 0x9E37_79B9;
    (mixed.wrapping_mul(mixed >> 13 | 1) >> 16) as f32 / 65_536.0
}

/// How much of a place is a disc; `side` places a side.
fn disc(side: usize, soft: f32) -> Vec<f32> {
    let away = |n: usize| ((n as f32 + 0.5) / side as f32 - 0.5) * SIDE as f32;
    let alpha = |n: usize| 0.5 + (12.0 - away(n % side).hypot(away(n / side))) / soft;
    (0..side * side).map(|n| alpha(n).clamp(0.0, 1.0)).collect()
}

/// The disc, reddish, before a greenish ground, both full of grain.
fn seen(alpha: &[f32]) -> Vec<u8> {
    let mixed = |(n, a): (usize, &f32)| {
        let grain = 70.0 * noise(n);
        let [front, back] = [[180.0, 60.0, 50.0], [40.0, 120.0, 60.0]];
        std::array::from_fn::<u8, 3, _>(|c| (a * front[c] + (1.0 - a) * back[c] + grain) as u8)
    };
    alpha.iter().enumerate().flat_map(mixed).collect()
}

fn fitted() -> (Guided, Colours) {
    let square = seen(&disc(SIDE, 1.0));
    let guided = Guided::of(&disc(SIDE, 4.0), &square, SIDE as u32).expect("fits");
    let colours = Colours::of(&guided, &square, SIDE as u32).expect("fits");
    (guided, colours)
}

#[test]
fn any_part_of_any_row_is_that_part_of_the_whole() {
    let (guided, colours) = fitted();
    for (width, height) in [(333_usize, 250_usize), (40, 40), (17, 90), (1, 5)] {
        let photo: Vec<u8> = (0..width * height * 3).map(|n| (noise(n) * 255.0) as u8).collect();
        let size = (width as u32, height as u32);
        let part = |y: usize, left: usize, end: usize| {
            let rgb = &photo[(y * width + left) * 3..(y * width + end) * 3];
            let (mut alpha, mut clean) = (vec![7; end - left], vec![7; rgb.len()]);
            guided.write(y as u32, left as u32, size, rgb, &mut alpha);
            colours.write(&guided, (y as u32, left as u32), size, (rgb, &alpha), &mut clean);
            (alpha, clean)
        };
        for y in 0..height {
            let (alpha, clean) = part(y, 0, width);
            let cut = |n: usize| (noise(y * 7 + n) * width as f32) as usize;
            let (left, end) = (cut(1).min(cut(2)), cut(1).max(cut(2)) + 1);
            assert_eq!(part(y, left, end), (alpha[left..end].to_vec(), clean[left * 3..end * 3].to_vec()));
        }
    }
}

#[test]
fn what_is_sure_stays_so_whatever_is_to_be_seen_there() {
    let (guided, colours) = fitted();
    let side = 400;
    let truth = disc(side, 1.0);
    let photo = seen(&truth);
    let beyond = |n: usize, m: usize| {
        let of = |n: usize| ((n as f32 + 0.5) / side as f32 - 0.5) * SIDE as f32;
        of(n).hypot(of(m)) - 12.0
    };
    let mut sure = 0;
    for y in 0..side {
        let row = &photo[y * side * 3..][..side * 3];
        let (mut alpha, mut clean) = (vec![7; side], vec![7; side * 3]);
        guided.write(y as u32, 0, (side as u32, side as u32), row, &mut alpha);
        colours.write(&guided, (y as u32, 0), (side as u32, side as u32), (row, &alpha), &mut clean);
        for x in (0..side).filter(|x| beyond(*x, y).abs() > 5.0) {
            let expected = if beyond(x, y) < 0.0 { 255 } else { 0 };
            assert_eq!(alpha[x], expected, "{x}, {y}");
            assert_eq!(clean[x * 3..][..3], row[x * 3..][..3], "{x}, {y}");
            sure += 1;
        }
    }
    assert!(sure > side * side / 2, "{sure}");
}

#[test]
fn a_photo_on_its_side_has_the_same_edges_on_their_side() {
    // Rows are fitted some at a time, columns are not: what was wrong where two such parts meet would show.
    let turned = |n: usize| n % SIDE * SIDE + n / SIDE;
    let (map, square) = (disc(SIDE, 4.0), seen(&disc(SIDE, 1.0)));
    let map: Vec<f32> = map.iter().enumerate().map(|(n, value)| value * (0.8 + 0.2 * noise(n))).collect();
    let turned_map: Vec<f32> = (0..SIDE * SIDE).map(|n| map[turned(n)]).collect();
    let pixels = square.as_chunks::<3>().0;
    let turned_square: Vec<u8> = (0..SIDE * SIDE).flat_map(|n| pixels[turned(n)]).collect();
    let alpha = |map: &[f32], square: &[u8]| {
        let guided = Guided::of(map, square, SIDE as u32).expect("fits");
        let mut alpha = vec![7; SIDE * SIDE];
        for (y, (out, rgb)) in alpha.chunks_exact_mut(SIDE).zip(square.chunks_exact(3 * SIDE)).enumerate() {
            guided.write(y as u32, 0, (SIDE as u32, SIDE as u32), rgb, out);
        }
        alpha
    };
    let (upright, lying) = (alpha(&map, &square), alpha(&turned_map, &turned_square));
    let apart = (0..SIDE * SIDE).map(|n| upright[n].abs_diff(lying[turned(n)])).max();
    assert!(apart <= Some(1), "{apart:?}");
}

#[test]
fn a_subject_that_is_nearly_whole_keeps_its_texture() {
    let (guided, colours) = fitted();
    let (length, size) = (SIDE * 30, (SIDE as u32 * 10, SIDE as u32 * 10));
    let cleaned = |level: u8| {
        let mut clean = vec![7; length];
        let rgb = vec![level; length];
        colours.write(&guided, (200, 0), size, (&rgb, &vec![240; length / 3]), &mut clean);
        clean
    };
    // Along the middle row the edge is at the eighth and the thirty-second place.
    let (dark, bright) = (cleaned(90), cleaned(110));
    let kept = (75 * 3..85 * 3).map(|n| bright[n] - dark[n]).min();
    assert!(kept >= Some(19), "{kept:?} of 20");
}

#[test]
fn a_strand_that_the_map_has_faintly_is_as_strong_as_the_photo_has_it() {
    // Half a place wide, down the middle of a place; the map saw a blur of it.
    let width = 8 * SIDE;
    let strand = |x: usize| (x as f32 / 8.0 - 20.25).abs() < 0.25;
    let row: Vec<u8> =
        (0..width).flat_map(|x| if strand(x) { [30, 30, 40] } else { [210, 200, 190] }).collect();
    let place = |x: usize| -> [u8; 3] {
        std::array::from_fn(|c| ((0..8).map(|n| u32::from(row[(x * 8 + n) * 3 + c])).sum::<u32>() / 8) as u8)
    };
    let square: Vec<u8> = (0..SIDE * SIDE).flat_map(|n| place(n % SIDE)).collect();
    let blur = |x: usize| 0.5 * 0.33 * (-0.5 * ((x as f32 - 20.0) / 1.2).powi(2)).exp();
    let map: Vec<f32> = (0..SIDE * SIDE).map(|n| blur(n % SIDE)).collect();
    let guided = Guided::of(&map, &square, SIDE as u32).expect("fits");
    let mut alpha = vec![7; width];
    guided.write(100, 0, (width as u32, width as u32), &row, &mut alpha);
    let [most, least] = [true, false].map(|of| {
        let values = (0..width).filter(|x| strand(*x) == of).map(|x| alpha[x]);
        if of { values.min() } else { values.max() }
    });
    assert!(most > Some(170) && least < Some(30), "{most:?} {least:?} {:?}", &alpha[140..180]);
}

#[test]
fn grain_beside_the_subject_makes_no_specks() {
    // A smooth thing before a lawn nearly as bright as it is; the map is soft, and wavers as a network's does.
    let (times, across) = (4, SIDE * 4);
    let truth = disc(across, 1.0);
    let pixel = |(n, a): (usize, &f32)| {
        let lawn = 85.0 + 110.0 * noise(n);
        [(a * 185.0 + (1.0 - a) * lawn) as u8; 3]
    };
    let photo: Vec<[u8; 3]> = truth.iter().enumerate().map(pixel).collect();
    let place = |n: usize| {
        let (x, y) = (n % SIDE * times, n / SIDE * times);
        let rows = (0..times).flat_map(|row| &photo[(y + row) * across + x..][..times]);
        // One of the four that it covers, as sharp as a network's square is.
        *rows.max_by_key(|pixel| pixel[0].abs_diff(140)).expect("some")
    };
    let square: Vec<u8> = (0..SIDE * SIDE).flat_map(place).collect();
    let map: Vec<f32> =
        disc(SIDE, 6.0).iter().enumerate().map(|(n, a)| a * (0.85 + 0.15 * noise(n * 3))).collect();
    let guided = Guided::of(&map, &square, SIDE as u32).expect("fits");
    let mut alpha = vec![7; across * across];
    for (y, (out, rgb)) in alpha.chunks_exact_mut(across).zip(photo.chunks_exact(across)).enumerate() {
        guided.write(y as u32, 0, (across as u32, across as u32), rgb.as_flattened(), out);
    }
    // Unlike the middle one of the nine around them.
    let inner = (1..across - 1).flat_map(|y| (1..across - 1).map(move |x| y * across + x));
    let specks = inner
        .filter(|n| {
            let mut nine: Vec<u8> = (0..9).map(|m| alpha[n + m / 3 * across + m % 3 - across - 1]).collect();
            nine.sort_unstable();
            alpha[*n].abs_diff(nine[4]) > 64
        })
        .count();
    assert!(specks < 20, "{specks}");
}
