//! Objectors: for each bit of the masks, which host classes object to it.
//!
//! What a VM class gets on all host classes is the OR of the objectors of the bits that it holds, 1,024 host classes at a
//! time in registers: a tenth of the time of an AND for each host class.

use std::array::from_fn;

use crate::fleet::strip::{STRIP, Strip};
use crate::room;

/// Host classes of a strip.
const HOSTS: usize = 64 * STRIP;
/// Bytes of a strip.
const BYTES: usize = 8 * STRIP;

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
        let (word, shift) = place(self.hosts);
        for bit in bits {
            let strip = self.strips.get_mut(start + bit);
            strip.and_then(|strip| strip.0.get_mut(word)).into_iter().for_each(|word| *word |= 1 << shift);
        }
        self.hosts += 1;
    }

    /// The outcomes of a VM class on all host classes, by the bits that it holds for REFUSE, UNKNOWN and CHANGE.
    pub(in crate::fleet) fn outcomes(&self, held: [&[usize]; 3], out: &mut [u8]) {
        let strips = self.strips.chunks(self.bits.max(1));
        let (whole, rest) = out.as_chunks_mut::<HOSTS>();
        let mut strips = strips.map(|strips| held.map(|bits| join(strips, bits)));
        whole.iter_mut().zip(&mut strips).for_each(|(out, reached)| write(reached, out));
        if let Some(reached) = strips.next() {
            let mut last = [0; HOSTS];
            write(reached, last.get_mut(..rest.len().next_multiple_of(BYTES)).unwrap_or_default());
            rest.iter_mut().zip(last).for_each(|(out, outcome)| *out = outcome);
        }
    }
}

/// The word of a host class in its strip, and its bit there. Those of bit 0 of all bytes come first, then those of bit 1: outcomes of
/// neighbours are had by shifting all bytes at once.
const fn place(host: usize) -> (usize, usize) {
    let (bit, byte) = (host % HOSTS / BYTES, host % BYTES);
    (byte / 8, byte % 8 * 8 + bit)
}

/// Writes the greatest outcome that each host class has: 3, 2 or 1; of as many times 128 as there is room for.
fn write([refuse, unknown, change]: [Strip; 3], out: &mut [u8]) {
    const EVEN: u64 = u64::MAX / 3;
    const OUTCOMES: u64 = 3 * (u64::MAX / 255);
    let high: [u64; STRIP] = from_fn(|at| refuse.0[at] | unknown.0[at]);
    let low: [u64; STRIP] = from_fn(|at| refuse.0[at] | (change.0[at] & !unknown.0[at]));
    let even: [u64; STRIP] = from_fn(|at| low[at] & EVEN | (high[at] & EVEN) << 1);
    let odd: [u64; STRIP] = from_fn(|at| low[at] >> 1 & EVEN | high[at] & !EVEN);
    for (bit, out) in out.as_chunks_mut::<BYTES>().0.iter_mut().enumerate() {
        let pairs = if bit % 2 == 0 { &even } else { &odd };
        for (out, pairs) in out.as_chunks_mut::<8>().0.iter_mut().zip(pairs) {
            *out = (pairs >> (bit / 2 * 2) & OUTCOMES).to_le_bytes();
        }
    }
}

/// The OR of the strips of some bits.
fn join(strips: &[Strip], bits: &[usize]) -> Strip {
    bits.iter().filter_map(|bit| strips.get(*bit)).fold(Strip::NONE, Strip::with)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_outcome_of_the_bits_counts() {
        // Host class h objects to bit b where b divides h + 1; bits 0 to 2 refuse, 3 and 4 are unknown, 5 and 6 change.
        let objects = |host: usize, bit: usize| (host + 1).is_multiple_of(bit + 2);
        let mut objectors = Objectors::new(7);
        for hosts in [1, 1_023, 1_024, 1_025, 3_000] {
            while objectors.hosts < hosts {
                let host = objectors.hosts;
                objectors.add_host_class((0..7).filter(|bit| objects(host, *bit)));
            }
            let mut out = vec![9; hosts];
            objectors.outcomes([&[1], &[3, 4], &[6]], &mut out);
            for (host, outcome) in out.iter().enumerate() {
                let any =
                    |bits: &[usize], outcome: u8| if bits.iter().any(|bit| objects(host, *bit)) { outcome } else { 0 };
                assert_eq!(*outcome, any(&[1], 3).max(any(&[3, 4], 2)).max(any(&[6], 1)), "host class {host}");
            }
        }
    }
}
