//! What was seen: a VM that has the shape and the looked-at values of one before it has its class, in later calls too.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::intern::{short, spread, table_growth};
use super::shape::Shape;
use crate::fleet::class::VmClass;

/// Words that are kept; where they are as many, all are forgotten. 8 MiB hold 26,000 VMs of 40 registers that differ.
const MOST_WORDS: usize = 1 << 20;

/// One class that was seen, and where the values that it was seen by are.
#[derive(Debug)]
struct Seen {
    hash: u32,
    shape: u32,
    class: VmClass,
    start: usize,
}

/// Classes by shape and looked-at values; numbers of both are those of one [`super::vms::Vms`].
#[derive(Debug, Default)]
pub(super) struct Memo {
    seen: HashTable<Seen>,
    words: Vec<u64>,
    /// The looked-at values of the VM that was asked for last.
    asked: Vec<u64>,
    state: FixedState,
}

impl Memo {
    /// The class of a VM, if one like it was seen; what it was asked for by is kept for [`Memo::learn`].
    pub(super) fn class(&mut self, number: u32, shape: &Shape, values: &[u64]) -> Option<VmClass> {
        self.asked.clear();
        if shape.looked_at.len() == values.len() {
            self.asked.extend_from_slice(values);
        } else {
            self.asked.extend(shape.looked_at.iter().filter_map(|at| values.get(*at)));
        }
        let hash = self.hash();
        let (words, asked) = (&self.words, self.asked.as_slice());
        let is = |seen: &Seen| {
            let same = seen.hash == hash && seen.shape == number;
            same && words.get(seen.start..).is_some_and(|words| words.starts_with(asked))
        };
        self.seen.find(spread(hash), is).map(|seen| seen.class)
    }

    /// Takes note of the class of the VM that was asked for last.
    pub(super) fn learn(&mut self, shape: u32, class: VmClass) {
        if self.words.len() + self.asked.len() > MOST_WORDS {
            self.seen.clear();
            self.words.clear();
        }
        let (hash, start) = (self.hash(), self.words.len());
        self.words.extend_from_slice(&self.asked);
        self.seen.insert_unique(spread(hash), Seen { hash, shape, class, start }, |seen| spread(seen.hash));
    }

    /// How many bytes of memory so many more VMs may take.
    pub(super) fn growth(&self, vms: usize) -> usize {
        let words = if self.words.len() == self.words.capacity() { 2 * self.words.len() + MOST_WORDS / 16 } else { 0 };
        table_growth(&self.seen, vms) + words * size_of::<u64>()
    }

    fn hash(&self) -> u32 {
        short(self.state.hash_one(self.asked.as_slice()))
    }
}
