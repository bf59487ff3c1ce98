//! Counting by bits: numbers for all hosts of a strip, each bit of which is a strip.

use crate::fleet::strip::{STRIP, Strip};

/// A number for each bit of a strip.
#[derive(Debug, Default)]
pub(super) struct Counter(Vec<Level>);

/// One bit of all numbers, and another one to be added to it where one waits: two at once cost what one does (Harley and Seal;
/// Muła, Kurz and Lemire, "Faster population counts using AVX2 instructions", 2016).
#[derive(Debug, Default)]
struct Level {
    sum: Strip,
    waits: bool,
    waiting: Strip,
}

impl Counter {
    /// Adds `weight` to the numbers whose bit is set.
    #[inline]
    pub(super) fn add(&mut self, row: &Strip, weight: u64) {
        let mut bits = weight;
        while bits != 0 {
            self.add_at(bits.trailing_zeros() as usize, row);
            bits &= bits - 1;
        }
    }

    #[inline]
    fn add_at(&mut self, first: usize, row: &Strip) {
        let mut row = *row;
        for level in first.. {
            if self.0.len() <= level {
                self.0.resize_with(level + 1, Level::default);
            }
            let Some(own) = self.0.get_mut(level) else { return };
            if !own.waits {
                (own.waiting, own.waits) = (row, true);
                return;
            }
            row = own.carry(&row);
        }
    }

    /// The numbers.
    pub(super) fn numbers(&self) -> Vec<u64> {
        let mut numbers = vec![0; 64 * STRIP];
        for (level, own) in self.0.iter().enumerate() {
            for bits in std::iter::once(&own.sum).chain(own.waits.then_some(&own.waiting)) {
                for (word, numbers) in bits.0.iter().zip(numbers.chunks_mut(64)) {
                    for (bit, number) in numbers.iter_mut().enumerate() {
                        *number += (word >> bit & 1) << level;
                    }
                }
            }
        }
        numbers
    }
}

impl Level {
    /// Adds the strip that waits and another one; what is carried counts twice.
    #[inline]
    fn carry(&mut self, row: &Strip) -> Strip {
        let mut carry = Strip::NONE;
        for (((sum, waiting), row), carry) in self.sum.0.iter_mut().zip(&self.waiting.0).zip(row.0).zip(&mut carry.0) {
            let one = *sum ^ waiting;
            *carry = (*sum & waiting) | (one & row);
            *sum = one ^ row;
        }
        self.waits = false;
        carry
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_the_weights_of_the_rows_that_have_the_bit(
            rows in proptest::collection::vec((any::<[u64; STRIP]>(), prop_oneof![0..4_u64, 0..1_u64 << 40]), 0..40),
            twice in 0..600_usize,
        ) {
            let (mut counter, mut wanted) = (Counter::default(), vec![0; 64 * STRIP]);
            let again = rows.first().copied().into_iter().cycle().take(if rows.is_empty() { 0 } else { twice });
            for (words, weight) in rows.iter().copied().chain(again) {
                counter.add(&Strip(words), weight);
                for (host, wanted) in wanted.iter_mut().enumerate() {
                    *wanted += (words[host / 64] >> (host % 64) & 1) * weight;
                }
            }
            prop_assert_eq!(counter.numbers(), wanted);
        }
    }
}
