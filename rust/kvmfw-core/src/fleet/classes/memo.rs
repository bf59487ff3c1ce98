//! What was seen: a VM that has the shape and the looked-at values of one before it has its class, in later calls too.
//!
//! VMs of a shape mostly differ in few places. They are compared with the first of them everywhere at once, which is a pass over
//! memory that lies together; only where any was ever different its values are hashed. Where that is in most places, all are.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::intern::short;
use super::layers::{spread, table_growth};
use super::shape::Shape;
use crate::fleet::class::VmClass;

/// Words that are kept; where they are as many, all are forgotten. 8 MiB hold 26,000 VMs of 40 registers that differ.
const MOST_WORDS: usize = 1 << 20;

/// VMs are compared with the first one as long as they differ in at most one of so many places.
const MOSTLY: usize = 2;

/// One class that was seen, and where the values that it was seen by are.
#[derive(Debug)]
struct Seen {
    hash: u32,
    epoch: u32,
    class: VmClass,
    start: usize,
}

/// VMs of one shape.
#[derive(Debug)]
struct Alike {
    /// What was seen of them since the last place was found to differ. Epochs are of one shape.
    epoch: u32,
    /// The values of the first one.
    model: Vec<u64>,
    /// All bits of each place that is looked at and was the same in all, none of any other.
    same: Vec<u64>,
    /// Places that are looked at and were not the same in all.
    differing: Vec<usize>,
}

/// Classes by shape and looked-at values; numbers of both are those of one [`super::vms::Vms`].
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// By the number of the shape; none for shapes whose VMs are not compared.
    shapes: Vec<Option<Alike>>,
    epochs: u32,
    seen: HashTable<Seen>,
    words: Vec<u64>,
    /// By what the VM that was asked for last is known: its epoch, and its values in the places that differ.
    asked: (u32, Vec<u64>),
    state: FixedState,
}

impl Alike {
    fn new(shape: &Shape, values: &[u64], epoch: u32) -> Self {
        let mut same = vec![0; values.len()];
        for at in &shape.looked_at {
            same.get_mut(*at).into_iter().for_each(|mask| *mask = u64::MAX);
        }
        Self { epoch, model: values.to_vec(), same, differing: Vec::new() }
    }

    /// Whether a VM is like all before it in the places where these are alike.
    fn is_alike(&self, values: &[u64]) -> bool {
        // Without an end before the last one, words are compared in vectors.
        let differs = values
            .iter()
            .zip(&self.model)
            .zip(&self.same)
            .fold(0, |all, ((one, other), mask)| all | (one ^ other) & mask);
        differs == 0
    }

    /// Learns in which places a VM differs from all before it, whom nobody can be compared with any more.
    fn tell_apart(&mut self, shape: &Shape, values: &[u64], epoch: u32) {
        self.epoch = epoch;
        for (at, ((one, other), mask)) in values.iter().zip(&self.model).zip(&mut self.same).enumerate() {
            if (one ^ other) & *mask != 0 {
                *mask = 0;
                self.differing.push(at);
            }
        }
        if self.differing.len() * MOSTLY > shape.looked_at.len() {
            self.same.clear();
            self.differing.clone_from(&shape.looked_at);
        }
    }

    /// The values in the places that differ.
    fn tell(&self, values: &[u64], told: &mut Vec<u64>) {
        told.clear();
        if self.differing.len() == values.len() {
            told.extend_from_slice(values);
        } else {
            told.extend(self.differing.iter().filter_map(|at| values.get(*at)));
        }
    }
}

impl Memo {
    /// The class of a VM, if one like it was seen; what it was asked for by is kept for [`Memo::learn`].
    pub(super) fn class(&mut self, number: usize, shape: &Shape, values: &[u64]) -> Option<VmClass> {
        if self.shapes.len() <= number {
            self.shapes.resize_with(number + 1, || None);
        }
        let alike = self.shapes.get_mut(number)?;
        let alike = alike.get_or_insert_with(|| {
            self.epochs += 1;
            Alike::new(shape, values, self.epochs)
        });
        if !alike.is_alike(values) {
            self.epochs += 1;
            alike.tell_apart(shape, values, self.epochs);
        }
        self.asked.0 = alike.epoch;
        alike.tell(values, &mut self.asked.1);
        let hash = self.hash();
        let ((epoch, asked), words) = (&self.asked, &self.words);
        let is = |seen: &Seen| {
            let same = seen.hash == hash && seen.epoch == *epoch;
            same && words.get(seen.start..).is_some_and(|words| words.starts_with(asked))
        };
        self.seen.find(spread(hash), is).map(|seen| seen.class)
    }

    /// Takes note of the class of the VM that was asked for last.
    pub(super) fn learn(&mut self, class: VmClass) {
        let asked = self.asked.1.len();
        if self.words.len() + asked > MOST_WORDS || self.seen.len() > MOST_WORDS {
            self.seen.clear();
            self.words.clear();
        }
        let (hash, epoch, start) = (self.hash(), self.asked.0, self.words.len());
        self.words.extend_from_slice(&self.asked.1);
        self.seen.insert_unique(spread(hash), Seen { hash, epoch, class, start }, |seen| spread(seen.hash));
    }

    /// How many it has seen, and how many words of them.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.seen.len(), self.words.len())
    }

    /// How many bytes of memory so many more VMs may take.
    pub(super) fn growth(&self, vms: usize) -> usize {
        let words = if self.words.len() == self.words.capacity() { 2 * self.words.len() + MOST_WORDS / 16 } else { 0 };
        table_growth(&self.seen, vms) + words * size_of::<u64>()
    }

    fn hash(&self) -> u32 {
        short(self.state.hash_one((self.asked.0, self.asked.1.as_slice())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_who_has_all_that_is_looked_at_is_known(
            looked_at in proptest::collection::btree_set(0..12_usize, 0..12),
            vms in proptest::collection::vec((0..2_usize, proptest::collection::vec((0..12_usize, 0..3_u64), 0..4)), 1..80),
        ) {
            // Shapes of which one looks at less than the other.
            let shapes = [looked_at.clone(), looked_at.iter().copied().filter(|at| at % 3 > 0).collect()];
            let shapes = shapes.map(|at: BTreeSet<usize>| {
                let mut shape = Shape::default();
                shape.looked_at.extend(at);
                shape
            });
            let vms: Vec<(usize, Vec<u64>)> = vms.into_iter().map(|(shape, others)| {
                let mut values = vec![7; 12];
                for (at, value) in others {
                    values[at] = value;
                }
                (shape, values)
            }).collect();
            let told = |(shape, values): &(usize, Vec<u64>)| {
                (*shape, shapes[*shape].looked_at.iter().map(|at| values[*at]).collect::<Vec<_>>())
            };
            let (mut memo, mut classes) = (Memo::default(), BTreeMap::new());
            let mut ask = |vm: &(usize, Vec<u64>)| {
                let count = classes.len();
                let class = *classes.entry(told(vm)).or_insert(VmClass::at_place(count));
                let found = memo.class(vm.0, &shapes[vm.0], &vm.1);
                if found.is_none() {
                    memo.learn(class);
                }
                (found, class)
            };
            for vm in &vms {
                let (found, class) = ask(vm);
                prop_assert!(found.is_none_or(|found| found == class));
            }
            // By now it is known where VMs differ: what is told of one is kept.
            for vm in &vms {
                ask(vm);
            }
            for vm in &vms {
                let (found, class) = ask(vm);
                prop_assert_eq!(found, Some(class));
            }
        }
    }
}
