//! Objectors: for each bit of the masks, which host classes object to it.
//!
//! What a VM class gets on all host classes is the OR of the objectors of the bits that it holds, 1,024 host classes at a
//! time in registers: a tenth of the time of an AND for each host class.

use crate::fleet::strip::{STRIP, Strip};
use crate::room;

/// Host classes of a strip.
const HOSTS: usize = 64 * STRIP;

/// Bits of host classes, by bit.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Objectors {
    /// How many bits there are.
    bits: usize,
    hosts: usize,
    /// For each 1,024 host classes a strip for each bit.
    strips: Vec<Strip>,
}

impl Objectors {
    /// No host class yet.
    pub(in crate::fleet) fn new(bits: usize) -> Self {
        Self { bits, hosts: 0, strips: Vec::new() }
    }

    /// Adds the next host class, which objects to these bits.
    pub(in crate::fleet) fn add_host_class(&mut self, bits: impl Iterator<Item = usize>) {
        let start = self.hosts / HOSTS * self.bits;
        if self.hosts.is_multiple_of(HOSTS) {
            room::grow(&mut self.strips, self.bits);
            self.strips.resize(start + self.bits, Strip::default());
        }
        let (word, shift) = (self.hosts % HOSTS / 64, self.hosts % 64);
        for bit in bits {
            let strip = self.strips.get_mut(start + bit);
            strip.and_then(|strip| strip.0.get_mut(word)).into_iter().for_each(|word| *word |= 1 << shift);
        }
        self.hosts += 1;
    }

    /// The outcomes of a VM class on all host classes, by the bits that it holds for REFUSE, UNKNOWN and CHANGE.
    pub(in crate::fleet) fn outcomes(&self, held: [&[usize]; 3], out: &mut [u8]) {
        let strips = self.strips.chunks(self.bits.max(1));
        for (out, strips) in out.chunks_mut(HOSTS).zip(strips) {
            let [refuse, unknown, change] = held.map(|bits| join(strips, bits));
            for (at, out) in out.chunks_mut(64).enumerate() {
                let word = |strip: &Strip| strip.0.get(at).copied().unwrap_or(0);
                let (refuse, unknown) = (word(&refuse), word(&unknown));
                // The greatest outcome counts: 3, 2 or 1.
                let (high, low) = (refuse | unknown, refuse | (word(&change) & !unknown));
                for ((out, high), low) in out.chunks_mut(8).zip(high.to_le_bytes()).zip(low.to_le_bytes()) {
                    let outcomes = (spread(high) << 1 | spread(low)).to_le_bytes();
                    out.iter_mut().zip(outcomes).for_each(|(out, outcome)| *out = outcome);
                }
            }
        }
    }
}

/// The OR of the strips of some bits.
fn join(strips: &[Strip], bits: &[usize]) -> Strip {
    let mut sum = Strip::default();
    for strip in bits.iter().filter_map(|bit| strips.get(*bit)) {
        sum.0.iter_mut().zip(strip.0).for_each(|(sum, word)| *sum |= word);
    }
    sum
}

/// A byte of 0 or 1 for each bit.
fn spread(bits: u8) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Byte i keeps bit i alone; adding 0x7f carries it, whichever it is, to the highest bit of the byte.
    let alone = u64::from(bits).wrapping_mul(ONES) & 0x8040_2010_0804_0201;
    alone.wrapping_add(0x7f * ONES) >> 7 & ONES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_bytes_in_their_order() {
        for bits in 0..=u8::MAX {
            let bytes: [u8; 8] = std::array::from_fn(|bit| bits >> bit & 1);
            assert_eq!(spread(bits).to_le_bytes(), bytes);
        }
    }

    #[test]
    fn the_greatest_outcome_of_the_bits_counts() {
        // Host class h objects to bit b where b divides h + 1; bits 0 to 2 refuse, 3 and 4 are unknown, 5 and 6 change.
        let objects = |host: usize, bit: usize| (host + 1).is_multiple_of(bit + 2);
        let mut objectors = Objectors::new(7);
        for host in 0..3_000 {
            objectors.add_host_class((0..7).filter(|bit| objects(host, *bit)));
        }
        let mut out = vec![9; 3_000];
        objectors.outcomes([&[1], &[3, 4], &[6]], &mut out);
        for (host, outcome) in out.iter().enumerate() {
            let any =
                |bits: &[usize], outcome: u8| if bits.iter().any(|bit| objects(host, *bit)) { outcome } else { 0 };
            assert_eq!(*outcome, any(&[1], 3).max(any(&[3, 4], 2)).max(any(&[6], 1)), "host class {host}");
        }
    }
}
