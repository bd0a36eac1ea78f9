//! The zlib stream's checksum, of parts.

/// Adler-32 of no bytes.
pub(super) const EMPTY: u32 = 1;

/// The largest prime below 2¹⁶ (RFC 1950, section 8.2).
const BASE: u64 = 65_521;

/// The sum of some bytes.
pub(super) fn of(bytes: &[u8]) -> u32 {
    simd_adler32::adler32(&bytes)
}

/// The sum of two parts, the second of them `length` bytes long.
///
/// The low half is `1 + Σ bytes`, so the parts' ones count twice. The high half is the sum of all low
/// halves on the way, and each of the second part's lacks the first part's bytes.
pub(super) fn of_both(first: u32, second: u32, length: usize) -> u32 {
    let halves = |sum: u32| (u64::from(sum & 0xFFFF), u64::from(sum >> 16));
    let ((low_1, high_1), (low_2, high_2)) = (halves(first), halves(second));
    let before = low_1 + BASE - 1;
    let low = (before + low_2) % BASE;
    let high = (high_1 + high_2 + length as u64 % BASE * before) % BASE;
    (high << 16 | low) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_sum_up_to_the_whole(
            (bytes, at) in prop::collection::vec(any::<u8>(), 0..200_000)
                .prop_flat_map(|bytes| { let len = bytes.len(); (Just(bytes), 0..=len) }),
        ) {
            let (first, second) = bytes.split_at(at);
            prop_assert_eq!(of_both(of(first), of(second), second.len()), of(&bytes));
        }
    }
}
