//! Interning: equal things get equal small numbers, in the order of their first appearance.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Gives dense numbers to distinct items. The seed is fixed: same input, same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T> {
    items: Vec<T>,
    table: HashTable<u32>,
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
        let hash = self.state.hash_one(&item);
        if let Some(&known) = self.table.find(hash, |&at| self.items.get(at as usize) == Some(&item)) {
            return known;
        }
        // More than 2^32 distinct items do not fit into memory: each takes at least 16 bytes.
        let number = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        self.items.push(item);
        let (items, state) = (&self.items, &self.state);
        self.table.insert_unique(hash, number, |&at| items.get(at as usize).map_or(0, |item| state.hash_one(item)));
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
}
