//! Counts over all pairs, done on classes.

use rayon::prelude::*;

use super::counter::Counter;
use crate::fleet::Snapshot;
use crate::fleet::class::VmClass;
use crate::fleet::strip::STRIP;
use crate::fleet::tables::bit_rows::Plane;
use crate::fleet::tables::joined::Joined;
use crate::pool::checkpoint;
use crate::room;

/// VM classes that one thread takes at a time.
const CHUNK: usize = 256;

impl Snapshot {
    /// For each VM, how many hosts have each outcome: `[accept, change, unknown, refuse]`, into `4 × VMs` numbers.
    pub fn counts_by_vm(&self, out: &mut [u64]) {
        let by_class = self.class_counts_by_vm();
        self.spread(self.vm_rows(), &by_class, out);
    }

    /// For each host, how many VMs have each outcome, into `4 × hosts` numbers.
    pub fn counts_by_host(&self, out: &mut [u64]) {
        let weights = self.0.vm_classes.histogram(self.world().vms.classes.len());
        if self.world().has_class_table(self.settings().limits) {
            self.world().dense(self.settings());
            let by_class = self.sum(&weights, CHUNK, self.world().hosts.classes.len(), |first, weights, counts| {
                let mut row = vec![0; counts.len()];
                for (class, weight) in (first..).zip(weights) {
                    self.world().row(VmClass::at_place(class), &mut row);
                    for (counts, outcome) in counts.iter_mut().zip(&row) {
                        if let Some(count) = counts.get_mut(usize::from(outcome & 3)) {
                            *count += weight;
                        }
                    }
                }
            });
            self.spread(self.host_rows(), &by_class, out);
            return;
        }
        let joined = Joined::new(self.planes(), self.sides());
        let by_host = self.sum(&weights, joined.classes_of_a_tile(), self.host_count(), |first, weights, counts| {
            let mut tile = joined.tile(first..first + weights.len());
            let all: u64 = weights.iter().sum();
            for (at, counts) in counts.chunks_mut(64 * STRIP).enumerate() {
                checkpoint();
                let mut counters = [(); 3].map(|()| Counter::default());
                tile.lay(at);
                tile.each(|class, plane, row| {
                    if let (Some(counter), Some(weight)) = (counters.get_mut(plane), weights.get(class)) {
                        counter.add(row, *weight);
                    }
                });
                let numbers = counters.map(|counter| counter.numbers());
                for (host, counts) in counts.iter_mut().enumerate() {
                    let reached = [0, 1, 2].map(|plane| numbers.get(plane).and_then(|plane| plane.get(host)).copied());
                    *counts = exactly(all, joined.inherit(reached.map(Option::unwrap_or_default)));
                }
            }
        });
        out.as_chunks_mut::<4>().0.iter_mut().zip(by_host).for_each(|(out, counts)| *out = counts);
    }

    /// Adds up what `part` counts of some VM classes, given the first of them and their weights, into so many rows.
    fn sum(
        &self,
        weights: &[u64],
        chunk: usize,
        rows: usize,
        part: impl Fn(usize, &[u64], &mut [[u64; 4]]) + Sync,
    ) -> Vec<[u64; 4]> {
        let count = |(at, weights): (usize, &[u64])| {
            checkpoint();
            room::need(rows * (size_of::<[u64; 4]>() + 1));
            let mut counts = vec![[0; 4]; rows];
            part(at * chunk, weights, &mut counts);
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
        let zero = || vec![[0; 4]; rows];
        self.settings().pool.run(|| weights.par_chunks(chunk).enumerate().map(count).reduce(zero, add))
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
        let joined = Joined::new(self.planes(), self.sides());
        let (hosts, chunk) = (self.host_count() as u64, joined.classes_of_a_tile());
        let fill = |(at, counts): (usize, &mut [[u64; 4]])| {
            let mut tile = joined.tile(at * chunk..at * chunk + counts.len());
            let mut reached = vec![[0; 3]; counts.len()];
            for strip in 0..joined.strips() {
                checkpoint();
                tile.lay(strip);
                tile.each(|class, plane, row| {
                    if let Some(reached) = reached.get_mut(class).and_then(|reached| reached.get_mut(plane)) {
                        *reached += row.count();
                    }
                });
            }
            counts
                .iter_mut()
                .zip(reached)
                .for_each(|(counts, reached)| *counts = exactly(hosts, joined.inherit(reached)));
        };
        self.settings().pool.run(|| by_class.par_chunks_mut(chunk).enumerate().for_each(fill));
        by_class
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

/// Of "at least CHANGE, UNKNOWN, REFUSE" how many have each outcome.
const fn exactly(all: u64, [change, unknown, refuse]: [u64; 3]) -> [u64; 4] {
    [all - change, change - unknown, unknown - refuse, refuse]
}
