//! Objectors: for any four bits of the masks, which host classes object to one of them.
//!
//! What a VM class gets on all host classes is the OR of the objectors of the bits that it holds, four bits and 1,024 host
//! classes at a time: a small part of the time of an AND for each host class.

use std::array::from_fn;
use std::sync::Arc;

use crate::fleet::strip::{STRIP, Strip};
use crate::room;
use crate::wide::wide;

/// Host classes of a strip.
const HOSTS: usize = 64 * STRIP;
/// Bytes of a strip.
const BYTES: usize = 8 * STRIP;
/// Bits that are looked up at once: with all that a VM class may hold of them there are sixteen strips. ("Four Russians":
/// Arlazarov, Dinic, Kronrod and Faradžev, 1970.)
pub(in crate::fleet) const QUAD: usize = 4;
const SETS: usize = 1 << QUAD;

/// Bits of host classes, by four bits of masks.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Objectors {
    /// How many times four bits there are.
    quads: usize,
    hosts: usize,
    /// For each 1,024 host classes a strip for each set of each four bits. Shared by versions until a host class comes.
    blocks: Vec<Arc<[Strip]>>,
}

impl Objectors {
    /// No host class yet.
    pub(in crate::fleet) fn new(bits: usize) -> Self {
        Self { quads: bits.div_ceil(QUAD), hosts: 0, blocks: Vec::new() }
    }

    /// How many bytes of memory a copy takes once host classes come.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        self.blocks.len() * size_of::<Arc<[Strip]>>() + self.bytes_of_block()
    }

    fn bytes_of_block(&self) -> usize {
        self.quads * SETS * size_of::<Strip>()
    }

    /// Adds the next host class, which objects to these bits.
    pub(in crate::fleet) fn add_host_class(&mut self, bits: impl Iterator<Item = u64>) {
        if self.hosts.is_multiple_of(HOSTS) {
            room::need(self.bytes_of_block());
            room::push(&mut self.blocks, vec![Strip::NONE; self.quads * SETS].into());
        }
        let (word, shift) = place(self.hosts);
        let block = self.blocks.last_mut().map(Arc::make_mut).unwrap_or_default();
        for (quad, objected) in quads(bits) {
            let strips = block.get_mut(quad * SETS..(quad + 1) * SETS).unwrap_or_default();
            for (_, strip) in strips.iter_mut().enumerate().filter(|(held, _)| held & objected != 0) {
                strip.0.get_mut(word).into_iter().for_each(|word| *word |= 1 << shift);
            }
        }
        self.hosts += 1;
    }

    /// The outcomes on all host classes of a VM class that holds these bits. Those before the first end stand for REFUSE, those before
    /// the second for UNKNOWN, the others for CHANGE; both are multiples of [`QUAD`].
    pub(in crate::fleet) fn outcomes(&self, bits: impl Iterator<Item = u64>, ends: [usize; 2], out: &mut [u8]) {
        let mut held = Vec::with_capacity(self.quads);
        quads(bits).for_each(|(quad, set)| held.push(quad * SETS + set));
        let [refused, unknown] = ends.map(|end| held.partition_point(|place| *place < end / QUAD * SETS));
        let (refused, others) = held.split_at(refused);
        let (unknown, changed) = others.split_at(unknown - refused.len());
        wide(
            #[inline(always)]
            || {
                let held = [refused, unknown, changed];
                let (whole, rest) = out.as_chunks_mut::<HOSTS>();
                let (blocks, last) = self.blocks.split_at(whole.len().min(self.blocks.len()));
                for (block, out) in blocks.iter().zip(whole) {
                    write(block, held, out);
                }
                if let Some(block) = last.first() {
                    let mut last = [0; HOSTS];
                    write(block, held, last.get_mut(..rest.len().next_multiple_of(BYTES)).unwrap_or_default());
                    rest.iter_mut().zip(last).for_each(|(out, outcome)| *out = outcome);
                }
            },
        );
    }
}

/// The bits four by four, where any of the four is set.
fn quads(bits: impl Iterator<Item = u64>) -> impl Iterator<Item = (usize, usize)> {
    bits.enumerate().flat_map(|(word_at, mut word)| {
        std::iter::from_fn(move || {
            let at = (word != 0).then(|| word.trailing_zeros() as usize / QUAD)?;
            let set = word >> (at * QUAD) & (SETS as u64 - 1);
            word ^= set << (at * QUAD);
            Some((word_at * (64 / QUAD) + at, usize::try_from(set).unwrap_or(0)))
        })
    })
}

/// The word of a host class in its strip, and its bit there. Those of bit 0 of all bytes come first, then those of bit 1: outcomes of
/// neighbours are had by shifting all bytes at once.
const fn place(host: usize) -> (usize, usize) {
    let (bit, byte) = (host % HOSTS / BYTES, host % BYTES);
    (byte / 8, byte % 8 * 8 + bit)
}

/// Writes the greatest outcome that each host class of a block has, by the places of strips for 3, 2 and 1; of as many times 128 as there
/// is room for.
#[inline(always)]
fn write(block: &[Strip], [refuse, unknown, change]: [&[usize]; 3], out: &mut [u8]) {
    const EVEN: u64 = u64::MAX / 3;
    const OUTCOMES: u64 = 3 * (u64::MAX / 255);
    let (refuse, unknown, change) = (join(block, refuse), join(block, unknown), join(block, change));
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

/// The OR of some strips.
#[inline(always)]
fn join(strips: &[Strip], places: &[usize]) -> Strip {
    places.iter().filter_map(|place| strips.get(*place)).fold(Strip::NONE, Strip::with)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_outcome_of_the_bits_counts() {
        // Host class h objects to bit b where b + 2 divides h + 1; bits 0 to 7 refuse, 8 to 11 are unknown, the others change.
        let objects = |host: usize, bit: usize| (host + 1).is_multiple_of(bit + 2);
        let words = |bits: &[usize]| [bits.iter().fold(0_u64, |word, bit| word | 1 << bit)].into_iter();
        let mut objectors = Objectors::new(14);
        for hosts in [1, 1_023, 1_024, 1_025, 3_000] {
            let known = objectors.clone();
            while objectors.hosts < hosts {
                let host = objectors.hosts;
                let objected: Vec<usize> = (0..14).filter(|bit| objects(host, *bit)).collect();
                objectors.add_host_class(words(&objected));
            }
            for held in [&[1, 9, 10, 12][..], &[0, 1, 2, 3, 4, 7], &[4, 8, 13], &[12, 13], &[]] {
                let of_class = |objectors: &Objectors| {
                    let mut out = vec![9; objectors.hosts];
                    objectors.outcomes(words(held), [8, 12], &mut out);
                    out
                };
                let of_bit = |bit: usize| {
                    [(8, 3), (12, 2), (14, 1)].iter().find(|(end, _)| bit < *end).map_or(0, |(_, told)| *told)
                };
                let greatest =
                    |host| held.iter().filter(|bit| objects(host, **bit)).map(|bit| of_bit(*bit)).max().unwrap_or(0);
                let wanted: Vec<u8> = (0..hosts).map(greatest).collect();
                assert_eq!(of_class(&objectors), wanted, "{held:?}");
                assert_eq!(of_class(&known), wanted[..known.hosts], "a copy from before, {held:?}");
            }
        }
    }
}
