//! Interning: equal things get equal small numbers, in the order of their first appearance.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Gives dense numbers to distinct items. The seed is fixed: same input, same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T> {
    items: Vec<T>,
    /// Number and hash: growing the table does not look at the items again.
    table: HashTable<(u32, u32)>,
    state: FixedState,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { items: Vec::new(), table: HashTable::new(), state: FixedState::default() }
    }
}

impl<T: Eq + Hash> Interner<T> {
    /// The number of `item`, new if it was not seen before.
    pub(crate) fn intern(&mut self, item: T) -> u32 {
        let hash = self.hash(&item);
        self.intern_hashed(hash, item)
    }

    /// The hash of an item, for [`Interner::intern_hashed`].
    pub(crate) fn hash(&self, item: &T) -> u64 {
        self.state.hash_one(item)
    }

    /// [`Interner::intern`] with a hash that another thread may have computed.
    pub(crate) fn intern_hashed(&mut self, hash: u64, item: T) -> u32 {
        let short = short(hash);
        let is = |&(at, known): &(u32, u32)| known == short && self.items.get(at as usize) == Some(&item);
        if let Some(&(known, _)) = self.table.find(spread(short), is) {
            return known;
        }
        // More than 2^32 distinct items do not fit into memory: each takes at least 16 bytes.
        let number = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        self.items.push(item);
        self.table.insert_unique(spread(short), (number, short), |&(_, known)| spread(known));
        number
    }

    /// The items, by number.
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    /// The item with this number.
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)
    }

    /// How many distinct items there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}

/// An [`Interner`] of short rows of numbers that keeps them in one piece of memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowInterner {
    /// Where each row ends in `numbers`.
    ends: Vec<usize>,
    numbers: Vec<u32>,
    /// Number and hash: growing the table does not read the rows again.
    table: HashTable<(u32, u32)>,
}

impl RowInterner {
    /// The number of `row`, new if it was not seen before.
    pub(crate) fn intern(&mut self, row: &[u32]) -> u32 {
        self.intern_hashed(Self::hash(row), row)
    }

    /// The hash of a row, for [`RowInterner::intern_hashed`].
    pub(crate) fn hash(row: &[u32]) -> u32 {
        short(FixedState::default().hash_one(row))
    }

    /// [`RowInterner::intern`] with a hash that another thread may have computed.
    pub(crate) fn intern_hashed(&mut self, short: u32, row: &[u32]) -> u32 {
        let found = self.table.find(spread(short), |&(at, known)| known == short && self.get(at) == Some(row));
        if let Some(&(known, _)) = found {
            return known;
        }
        let number = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.numbers.extend_from_slice(row);
        self.ends.push(self.numbers.len());
        self.table.insert_unique(spread(short), (number, short), |&(_, known)| spread(known));
        number
    }

    /// The row with this number.
    pub(crate) fn get(&self, number: u32) -> Option<&[u32]> {
        let at = number as usize;
        let start = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.numbers.get(start..*self.ends.get(at)?)
    }

    /// The rows, by number.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[u32]> {
        (0..).map_while(|number| self.get(number))
    }

    /// How many distinct rows there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// The upper half of a hash.
pub(crate) const fn short(hash: u64) -> u32 {
    let [.., a, b, c, d] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A short hash over all bits, as the table wants it: it takes the place from the low bits and a tag from the high ones.
pub(crate) const fn spread(short: u32) -> u64 {
    (short as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_first_appearance() {
        let mut interner = Interner::default();
        assert_eq!(["b", "a", "b", "c", "a"].map(|item| interner.intern(item)), [0, 1, 0, 2, 1]);
        assert_eq!(interner.items(), ["b", "a", "c"]);
        assert_eq!((interner.get(2), interner.get(3), interner.len()), (Some(&"c"), None, 3));
    }

    #[test]
    fn rows_are_interned_whole() {
        let mut interner = RowInterner::default();
        let rows: [&[u32]; 5] = [&[1, 2], &[1], &[1, 2], &[], &[2, 1]];
        assert_eq!(rows.map(|row| interner.intern(row)), [0, 1, 0, 2, 3]);
        assert_eq!((interner.get(0), interner.get(2), interner.get(4)), (Some(&[1, 2][..]), Some(&[][..]), None));
        assert_eq!(interner.rows().count(), 4);
        for number in 0..50_000 {
            assert_eq!(interner.intern(&[number, 7, number]), number + 4);
        }
        assert_eq!((interner.intern(&[30_000, 7, 30_000]), interner.len()), (30_004, 50_004));
    }
}
