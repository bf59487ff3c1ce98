//! Strips: bits of many hosts at once.

/// The bits of 1,024 hosts, which stay in registers while rows are joined.
#[repr(align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::fleet) struct Strip(pub(in crate::fleet) [u64; STRIP]);

/// 64-bit words of a strip.
pub(in crate::fleet) const STRIP: usize = 16;

/// A bit for each of 64 bytes that are 0 or 1.
pub(in crate::fleet) fn pack(bytes: &[u8; 64]) -> u64 {
    // Byte i of eight moves to bit i of the highest byte; no two of the sums meet, so nothing carries.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let eights = bytes.as_chunks::<8>().0.iter();
    let packed = eights.map(|eight| u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56);
    (0..).step_by(8).zip(packed).fold(0, |word, (shift, packed)| word | packed << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_bits_in_their_order() {
        for word in [0, 1, u64::MAX, 0x8000_0000_0000_0001, 0x0123_4567_89ab_cdef] {
            let bytes: [u8; 64] = std::array::from_fn(|bit| u8::from(word >> bit & 1 == 1));
            assert_eq!(pack(&bytes), word);
        }
    }
}
