//! The rows that tell VM classes apart, by class; a class that nobody is of any more gives its number back.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use rayon::prelude::*;

use super::class_map::count;
use super::intern::{short, spread};

/// In place of a value number: the set does not hold the register of this unit.
pub(crate) const ABSENT: u32 = u32::MAX;

/// Where a unit's number stands in the row of a class: behind that of the list.
pub(in crate::fleet) const fn place_of(unit: usize) -> usize {
    unit + 1
}

/// The place of a unit's number in a row that gets as long as that.
pub(in crate::fleet) fn slot_of(row: &mut Vec<u32>, unit: usize) -> Option<&mut u32> {
    let at = place_of(unit);
    if row.len() <= at {
        row.resize(at + 1, ABSENT);
    }
    row.get_mut(at)
}

/// Interned rows of numbers, none of them empty.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct ClassRows {
    /// Where the row of each class starts in `numbers`, and its length; 0 for a class that nobody is of.
    spans: Vec<(usize, u32)>,
    numbers: Vec<u32>,
    /// Class and hash: growing the table does not read the rows again.
    table: HashTable<(u32, u32)>,
    /// Classes that nobody is of.
    free: Vec<u32>,
}

/// Rows that one thread translates at a time, and how many are in memory at once.
const CHUNK: usize = 1 << 9;
const AT_ONCE: usize = 1 << 17;

impl ClassRows {
    /// The class of a row, new if it was not seen before.
    pub(in crate::fleet) fn intern(&mut self, row: &[u32]) -> u32 {
        let short = hash(row);
        self.find(short, row).unwrap_or_else(|| self.insert(short, row))
    }

    fn find(&self, short: u32, row: &[u32]) -> Option<u32> {
        let is = |&(class, known): &(u32, u32)| known == short && self.get(class) == Some(row);
        self.table.find(spread(short), is).map(|(class, _)| *class)
    }

    fn insert(&mut self, short: u32, row: &[u32]) -> u32 {
        let class = self.free.pop().unwrap_or_else(|| count(self.spans.len()));
        self.place(class, short, row);
        class
    }

    fn place(&mut self, class: u32, short: u32, row: &[u32]) {
        let at = class as usize;
        if self.spans.len() <= at {
            self.spans.resize(at + 1, (0, 0));
        }
        if let Some(span) = self.spans.get_mut(at) {
            *span = (self.numbers.len(), count(row.len()));
        }
        self.numbers.extend_from_slice(row);
        self.table.insert_unique(spread(short), (class, short), |&(_, known)| spread(known));
    }

    /// Gives a class this row, in place of the one that it had.
    pub(in crate::fleet) fn put(&mut self, class: u32, row: &[u32]) {
        self.unlink(class);
        self.place(class, hash(row), row);
    }

    /// Gives the number of a class back.
    pub(in crate::fleet) fn forget(&mut self, class: u32) {
        if self.unlink(class) {
            self.free.push(class);
        }
    }

    fn unlink(&mut self, class: u32) -> bool {
        let Some(row) = self.get(class).filter(|row| !row.is_empty()) else { return false };
        let short = hash(row);
        if let Ok(entry) = self.table.find_entry(spread(short), |&(known, _)| known == class) {
            entry.remove();
        }
        if let Some(span) = self.spans.get_mut(class as usize) {
            span.1 = 0;
        }
        true
    }

    /// The same classes by other rows: those of `kept`, ascending, as `translate` writes them; all others are given back.
    pub(in crate::fleet) fn kept(&self, kept: &[u32], mut translate: impl FnMut(&[u32], &mut Vec<u32>)) -> Self {
        let (mut rows, mut row) = (Self::default(), Vec::new());
        for class in kept {
            translate(self.get(*class).unwrap_or(&[]), &mut row);
            rows.place(*class, hash(&row), &row);
        }
        let mut kept = kept.iter().copied().peekable();
        rows.free = (0..count(rows.spans.len())).filter(|class| kept.next_if_eq(class).is_none()).collect();
        rows.free.reverse();
        rows
    }

    /// Adds the rows of others as `translate` writes them, by which they must stay different from each other; gives their
    /// classes. Threads of the pool in which this is called share all but the adding.
    pub(in crate::fleet) fn absorb(
        &mut self,
        others: &Self,
        translate: impl Fn(&[u32], &mut Vec<u32>) + Sync,
    ) -> Vec<u32> {
        let chunk = |known: &Self, first: usize| {
            let (mut numbers, mut found, mut row) = (Vec::new(), Vec::with_capacity(CHUNK), Vec::new());
            for class in first..others.len().min(first + CHUNK) {
                translate(others.get(count(class)).unwrap_or(&[]), &mut row);
                let short = hash(&row);
                found.push((short, row.len(), known.find(short, &row)));
                numbers.extend_from_slice(&row);
            }
            (numbers, found)
        };
        let mut classes = Vec::with_capacity(others.len());
        for start in (0..others.len()).step_by(AT_ONCE) {
            let firsts: Vec<usize> = (start..others.len().min(start + AT_ONCE)).step_by(CHUNK).collect();
            let chunks: Vec<_> = firsts.par_iter().map(|first| chunk(self, *first)).collect();
            for (numbers, found) in &chunks {
                let mut numbers = numbers.as_slice();
                for (short, length, found) in found {
                    let (row, rest) = numbers.split_at_checked(*length).unwrap_or_default();
                    numbers = rest;
                    classes.push(found.unwrap_or_else(|| self.insert(*short, row)));
                }
            }
        }
        classes
    }

    /// The row of a class; empty where nobody is of it.
    pub(in crate::fleet) fn get(&self, class: u32) -> Option<&[u32]> {
        let (start, length) = *self.spans.get(class as usize)?;
        self.numbers.get(start..start + length as usize)
    }

    /// The rows, by class.
    pub(in crate::fleet) fn rows(&self) -> impl Iterator<Item = &[u32]> {
        (0..).map_while(|class| self.get(class))
    }

    /// One more than the greatest number of a class.
    pub(in crate::fleet) fn len(&self) -> usize {
        self.spans.len()
    }
}

fn hash(row: &[u32]) -> u32 {
    short(FixedState::default().hash_one(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_back_and_used_again() {
        let mut rows = ClassRows::default();
        let classes = [&[1, 2][..], &[1], &[1, 2], &[2, 1]].map(|row| rows.intern(row));
        assert_eq!(classes, [0, 1, 0, 2]);
        rows.forget(1);
        rows.forget(1);
        assert_eq!((rows.get(1), rows.len()), (Some(&[][..]), 3));
        assert_eq!([rows.intern(&[9]), rows.intern(&[1]), rows.intern(&[2, 1])], [1, 3, 2]);
        rows.put(2, &[7]);
        assert_eq!([rows.intern(&[7]), rows.intern(&[2, 1])], [2, 4]);
        let kept = rows.kept(&[1, 3], |row, out| {
            out.clear();
            out.extend_from_slice(row);
        });
        assert_eq!((kept.get(1), kept.get(3), kept.len()), (Some(&[9][..]), Some(&[1][..]), 4));
        assert_eq!(kept.free, [2, 0]);
    }
}
