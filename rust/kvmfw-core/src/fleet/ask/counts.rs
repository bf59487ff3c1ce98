//! Counts over all pairs, done on classes.

use rayon::prelude::*;

use crate::fleet::Snapshot;
use crate::fleet::class::VmClass;
use crate::fleet::strip::{STRIP, Strip};
use crate::fleet::tables::bit_rows::Plane;
use crate::pool::checkpoint;
use crate::room;

/// VM classes that one thread takes at a time.
const CHUNK: usize = 256;
/// For each of three outcomes a number, and its bits as rows: 40 of them count as many VMs as fit into memory.
const BYTES_OF_A_COUNTED_HOST: usize = 3 * (8 + 40 / 8);

impl Snapshot {
    /// For each VM, how many hosts have each outcome: `[accept, change, unknown, refuse]`, into `4 × VMs` numbers.
    pub fn counts_by_vm(&self, out: &mut [u64]) {
        let by_class = self.class_counts_by_vm();
        self.spread(self.vm_rows(), &by_class, out);
    }

    /// For each host, how many VMs have each outcome, into `4 × hosts` numbers.
    pub fn counts_by_host(&self, out: &mut [u64]) {
        if !self.world().has_class_table(self.settings().limits) {
            self.counts_by_host_from_bits(out);
            return;
        }
        let weights = self.0.vm_classes.histogram(self.world().vms.classes.len());
        let hosts = self.world().hosts.classes.len();
        let starts: Vec<usize> = (0..weights.len()).step_by(CHUNK).collect();
        let chunk = |start: &usize| {
            checkpoint();
            room::need(hosts * size_of::<[u64; 4]>());
            let mut counts = vec![[0_u64; 4]; hosts];
            let mut row = vec![0; hosts];
            for (class, weight) in weights.iter().enumerate().skip(*start).take(CHUNK) {
                self.world().row(VmClass::at_place(class), &mut row);
                for (counts, outcome) in counts.iter_mut().zip(&row) {
                    if let Some(count) = counts.get_mut(usize::from(outcome & 3)) {
                        *count += weight;
                    }
                }
            }
            counts
        };
        let add = |mut all: Vec<[u64; 4]>, other: Vec<[u64; 4]>| {
            for (all, other) in all.iter_mut().zip(other) {
                for (all, other) in all.iter_mut().zip(other) {
                    *all += other;
                }
            }
            all
        };
        self.world().dense(self.settings());
        let zero = || vec![[0; 4]; hosts];
        let by_class = self.settings().pool.run(|| starts.par_iter().map(chunk).reduce(zero, add));
        self.spread(self.host_rows(), &by_class, out);
    }

    fn class_counts_by_vm(&self) -> Vec<[u64; 4]> {
        let classes = self.world().vms.classes.len();
        room::need(classes * size_of::<[u64; 4]>());
        let mut by_class = vec![[0; 4]; classes];
        if self.world().has_class_table(self.settings().limits) {
            let weights = self.0.host_classes.histogram(self.world().hosts.classes.len());
            self.world().dense(self.settings());
            let fill = |(at, counts): (usize, &mut [[u64; 4]])| {
                checkpoint();
                let mut row = vec![0; weights.len()];
                for (class, counts) in (at * CHUNK..).zip(counts) {
                    self.world().row(VmClass::at_place(class), &mut row);
                    *counts = weigh(&row, &weights);
                }
            };
            self.settings().pool.run(|| by_class.par_chunks_mut(CHUNK).enumerate().for_each(fill));
            return by_class;
        }
        let (planes, sides) = (self.planes(), self.sides());
        let hosts = self.host_count() as u64;
        let fill = |(at, counts): (usize, &mut [[u64; 4]])| {
            checkpoint();
            let (mut row, mut pieces) = (planes[0].empty_row(), Vec::new());
            for (class, counts) in (at * CHUNK..).zip(counts) {
                let class = VmClass::at_place(class);
                let [mut change, mut unknown, mut refuse] = [0; 3];
                for (plane, count) in planes.iter().zip([&mut change, &mut unknown, &mut refuse]) {
                    plane.join(sides, class, 0, &mut pieces, &mut row);
                    *count = row.iter().flat_map(|strip| strip.0).map(|word| u64::from(word.count_ones())).sum();
                }
                *counts = [hosts - change, change - unknown, unknown - refuse, refuse];
            }
        };
        self.settings().pool.run(|| by_class.par_chunks_mut(CHUNK).enumerate().for_each(fill));
        by_class
    }

    /// Without a class table: every VM class's bits are added up in counters that are bit rows themselves.
    fn counts_by_host_from_bits(&self, out: &mut [u64]) {
        let weights = self.0.vm_classes.histogram(self.world().vms.classes.len());
        let (planes, sides) = (self.planes(), self.sides());
        let chunk = weights.len().div_ceil(self.settings().pool.threads()).max(CHUNK);
        let starts: Vec<usize> = (0..weights.len()).step_by(chunk).collect();
        let part = |start: &usize| {
            room::need(self.host_count() * BYTES_OF_A_COUNTED_HOST);
            let mut counters = [(); 3].map(|()| Counter::default());
            let (mut row, mut carry, mut pieces) = (planes[0].empty_row(), Vec::new(), Vec::new());
            for (class, weight) in weights.iter().enumerate().skip(*start).take(chunk) {
                checkpoint();
                for (plane, counter) in planes.iter().zip(&mut counters) {
                    plane.join(sides, VmClass::at_place(class), 0, &mut pieces, &mut row);
                    counter.add(&row, *weight, &mut carry);
                }
            }
            counters.map(|counter| counter.counts())
        };
        let parts: Vec<[Vec<u64>; 3]> = self.settings().pool.run(|| starts.par_iter().map(part).collect());
        let all = self.vm_count() as u64;
        for (host, out) in out.chunks_mut(4).enumerate() {
            let reached = |plane: usize| {
                let counts = parts.iter().filter_map(|part| part.get(plane)?.get(host));
                counts.sum::<u64>()
            };
            let (change, unknown, refuse) = (reached(0), reached(1), reached(2));
            out.copy_from_slice(&[all - change, change - unknown, unknown - refuse, refuse]);
        }
    }

    fn planes(&self) -> [&Plane; 3] {
        [1, 2, 3].map(|least| self.plane(least))
    }

    fn spread(&self, class_of: &crate::fleet::classes::class_map::ClassMap, by_class: &[[u64; 4]], out: &mut [u64]) {
        const ROWS: usize = 1 << 12;
        let write = |(at, out): (usize, &mut [u64])| {
            checkpoint();
            let mut classes = vec![0; out.len() / 4];
            class_of.write(at * ROWS, &mut classes);
            for (out, class) in out.as_chunks_mut::<4>().0.iter_mut().zip(&classes) {
                *out = by_class.get(*class as usize).copied().unwrap_or_default();
            }
        };
        self.settings().pool.run(|| out.par_chunks_mut(4 * ROWS).enumerate().for_each(write));
    }
}

fn weigh(row: &[u8], weights: &[u64]) -> [u64; 4] {
    let mut counts = [0; 4];
    for (outcome, weight) in row.iter().zip(weights) {
        if let Some(count) = counts.get_mut(usize::from(outcome & 3)) {
            *count += weight;
        }
    }
    counts
}

/// A number for each bit of a row; bit `b` of all numbers is one row.
#[derive(Default)]
struct Counter(Vec<Vec<Strip>>);

impl Counter {
    /// Adds `weight` to the numbers whose bit is set; `carry` is memory to work in.
    fn add(&mut self, row: &[Strip], weight: u64, carry: &mut Vec<Strip>) {
        for bit in 0..64 - weight.leading_zeros() {
            if weight >> bit & 1 == 1 {
                carry.clear();
                carry.extend_from_slice(row);
                self.add_at(carry, bit as usize);
            }
        }
    }

    fn add_at(&mut self, carry: &mut [Strip], level: usize) {
        for level in level.. {
            if carry.iter().flat_map(|strip| strip.0).all(|word| word == 0) {
                return;
            }
            while self.0.len() <= level {
                self.0.push(vec![Strip::default(); carry.len()]);
            }
            for (sum, carry) in self.0.get_mut(level).into_iter().flatten().zip(carry.iter_mut()) {
                for (sum, carry) in sum.0.iter_mut().zip(&mut carry.0) {
                    let both = *sum & *carry;
                    *sum ^= *carry;
                    *carry = both;
                }
            }
        }
    }

    /// The numbers, as many as rows have bits.
    fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.0.first().map_or(0, |row| row.len() * STRIP * 64)];
        for (level, row) in self.0.iter().enumerate() {
            for (word, counts) in row.iter().flat_map(|strip| strip.0).zip(counts.chunks_mut(64)) {
                for (bit, count) in counts.iter_mut().enumerate() {
                    *count += (word >> bit & 1) << level;
                }
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_adds_weights_where_bits_are_set() {
        let mut counter = Counter::default();
        let row = |first: u64, last: u64| {
            let mut strips = vec![Strip::default(); 2];
            (strips[0].0[0], strips[1].0[STRIP - 1]) = (first, last);
            strips
        };
        let mut carry = Vec::new();
        counter.add(&row(0b11, 0), 5, &mut carry);
        counter.add(&row(0b01, 1 << 63), 3, &mut carry);
        counter.add(&row(0b01, 0), 1_000, &mut carry);
        let counts = counter.counts();
        assert_eq!((counts[0], counts[1], counts[2], counts.last()), (1_008, 5, 0, Some(&3)));
    }
}
