//! Strips: bits of many hosts at once.

/// The bits of 1,024 hosts, which stay in registers while rows are joined.
#[repr(align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::fleet) struct Strip(pub(in crate::fleet) [u64; STRIP]);

/// 64-bit words of a strip.
pub(in crate::fleet) const STRIP: usize = 16;

/// Every other bit, pair, half byte and byte.
const BITS: u64 = u64::MAX / 3;
const PAIRS: u64 = u64::MAX / 5;
const HALVES: u64 = u64::MAX / 17;
const BYTES: u64 = u64::MAX / 257;

impl Strip {
    /// No bit.
    pub(in crate::fleet) const NONE: Self = Self([0; STRIP]);

    /// Adds the bits of another strip.
    #[inline]
    pub(in crate::fleet) fn or(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    /// The bits of both.
    #[inline]
    pub(in crate::fleet) fn with(mut self, other: &Self) -> Self {
        self.or(other);
        self
    }

    /// How many bits are set. A processor that may lack an instruction for it counts in parts of vectors: two words a step, all
    /// bits of the strip at once. No part overflows; a check of that would take the words out of their vectors one by one.
    #[inline]
    pub(in crate::fleet) fn count(&self) -> u64 {
        let halve = |word: u64, mask: u64, shift: u32| (word & mask).wrapping_add(word >> shift & mask);
        let pairs = self.0.map(|word| word.wrapping_sub(word >> 1 & BITS));
        let halves = pairs.map(|word| halve(word, PAIRS, 2));
        // Four and four in half a byte, sixteen in a byte: no sum of eight words is more than there is room for.
        let sums: [u64; STRIP / 2] = std::array::from_fn(|at| halves[at].wrapping_add(halves[at + STRIP / 2]));
        let bytes = sums.map(|word| halve(word, HALVES, 4));
        let [low, high] = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .fold([0_u64; 2], |[low, high], [a, b]| [low.wrapping_add(*a), high.wrapping_add(*b)]);
        let wide = |word: u64| halve(word, BYTES, 8);
        wide(low).wrapping_add(wide(high)).wrapping_mul(u64::MAX / 0xffff) >> 48
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_bits_count_once(words in any::<[u64; STRIP]>(), ones in any::<u64>()) {
            for words in [words, words.map(|word| word | ones), [u64::MAX; STRIP], [0; STRIP]] {
                let wanted: u64 = words.iter().map(|word| u64::from(word.count_ones())).sum();
                prop_assert_eq!(Strip(words).count(), wanted);
            }
        }
    }
}
