//! Interning: equal things get equal small numbers, in the order of their first appearance.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use rayon::prelude::*;

use super::layers::{Items, Numbers};

/// Gives dense numbers to distinct items. The seed is fixed: same input, same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T> {
    items: Items<T>,
    numbers: Numbers,
}

impl<T: Clone> Default for Interner<T> {
    fn default() -> Self {
        Self { items: Items::default(), numbers: Numbers::default() }
    }
}

impl<T: Eq + Hash + Clone> Interner<T> {
    /// The number of `item`, new if it was not seen before.
    pub(crate) fn intern(&mut self, item: T) -> u32 {
        let short = Self::hash(&item);
        self.find(short, &item).unwrap_or_else(|| self.insert(short, item))
    }

    /// The number of `item`, if it was seen before.
    pub(crate) fn number(&self, item: &T) -> Option<u32> {
        self.find(Self::hash(item), item)
    }

    /// The hash of an item, for [`Interner::intern_hashed`].
    pub(crate) fn hash(item: &T) -> u32 {
        short(FixedState::default().hash_one(item))
    }

    /// [`Interner::intern`] of an item whose hash another thread may have computed.
    pub(crate) fn intern_hashed(&mut self, short: u32, item: &T) -> u32 {
        self.find(short, item).unwrap_or_else(|| self.insert(short, item.clone()))
    }

    /// The number of an item whose hash is known; `None` where it was not seen before.
    fn find(&self, short: u32, item: &T) -> Option<u32> {
        self.numbers.find(short, |number| self.get(number) == Some(item))
    }

    fn insert(&mut self, short: u32, item: T) -> u32 {
        // More than 2^32 distinct items do not fit into memory: each takes at least 16 bytes.
        let number = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.items.push(item);
        self.numbers.insert(short, number);
        number
    }

    /// The numbers that other items get, and the new ones with their hashes for [`Interner::append`]. The items must
    /// differ from each other. Threads of the pool in which this is called share the work.
    pub(crate) fn place(&self, items: Vec<T>) -> (Vec<u32>, Vec<(u32, T)>)
    where
        T: Send + Sync,
    {
        let find = |item: &T| {
            let short = Self::hash(item);
            (short, self.find(short, item))
        };
        let found: Vec<(u32, Option<u32>)> = items.par_iter().with_min_len(WORTH_SHARING).map(find).collect();
        let mut new = Vec::new();
        let mut numbers = Vec::with_capacity(items.len());
        for (item, (short, found)) in items.into_iter().zip(found) {
            numbers.push(found.unwrap_or_else(|| {
                new.push((short, item));
                u32::try_from(self.len() + new.len() - 1).unwrap_or(u32::MAX)
            }));
        }
        (numbers, new)
    }

    /// Adds what [`Interner::place`] found to be new.
    pub(crate) fn append(&mut self, new: Vec<(u32, T)>) {
        for (short, item) in new {
            self.insert(short, item);
        }
    }

    /// The items, by number.
    pub(crate) fn into_items(self) -> Vec<T> {
        self.items.into_vec()
    }

    /// The items, by number.
    pub(crate) fn items(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Those from a number on.
    pub(crate) fn items_from(&self, first: usize) -> impl Iterator<Item = &T> {
        (first..self.len()).map_while(|number| self.items.get(number))
    }

    /// All of them, for threads that share the work.
    pub(crate) fn par_items(&self) -> impl IndexedParallelIterator<Item = &T>
    where
        T: Sync,
    {
        self.items().collect::<Vec<_>>().into_par_iter()
    }

    /// The item with this number.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)
    }

    /// How many distinct items there are.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Lets copies share all that there is.
    pub(in crate::fleet) fn settle(&mut self) {
        self.items.settle();
        self.numbers.settle();
    }

    /// How many bytes of memory [`Interner::settle`] may ask for.
    pub(in crate::fleet) fn settling(&self) -> usize {
        self.items.settling() + self.numbers.settling()
    }

    /// How many bytes of memory all of it takes, beside what items point to.
    pub(in crate::fleet) fn size(&self) -> usize {
        self.items.size() + self.numbers.size()
    }

    /// How many bytes of memory a copy takes, beside what items point to.
    pub(crate) fn bytes(&self) -> usize {
        self.items.bytes() + self.numbers.bytes()
    }

    /// How many bytes of memory so many more items may take at once, with those that there are moved.
    pub(crate) fn growth(&self, more: usize) -> usize {
        self.items.growth(more) + self.numbers.growth(more)
    }
}

/// An [`Interner`] of short rows of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowInterner {
    /// Where the row of each number starts in `items`, and its length.
    spans: Items<(usize, u32)>,
    items: Items<u32>,
    numbers: Numbers,
}

/// Fewer items than this are found sooner than a thread wakes.
const WORTH_SHARING: usize = 1 << 10;

impl RowInterner {
    /// The number of `row`, new if it was not seen before.
    pub(crate) fn intern(&mut self, row: &[u32]) -> u32 {
        let short = short(FixedState::default().hash_one(row));
        let found = self.numbers.find(short, |number| self.get(number) == Some(row));
        found.unwrap_or_else(|| self.insert(short, row))
    }

    fn insert(&mut self, short: u32, row: &[u32]) -> u32 {
        let number = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.spans.push((self.items.len(), u32::try_from(row.len()).unwrap_or(u32::MAX)));
        self.items.extend(row.iter().copied());
        self.numbers.insert(short, number);
        number
    }

    /// The row with this number.
    pub(crate) fn get(&self, number: u32) -> Option<&[u32]> {
        let (start, len) = *self.spans.get(number as usize)?;
        self.items.range(start, len as usize)
    }

    /// The rows, by number.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[u32]> {
        (0..).map_while(|number| self.get(number))
    }

    /// How many distinct rows there are.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Lets copies share all that there is.
    pub(in crate::fleet) fn settle(&mut self) {
        self.spans.settle();
        self.items.settle();
        self.numbers.settle();
    }

    /// How many bytes of memory [`RowInterner::settle`] may ask for.
    pub(in crate::fleet) fn settling(&self) -> usize {
        self.spans.settling() + self.items.settling() + self.numbers.settling()
    }
}

/// The upper half of a hash.
pub(crate) const fn short(hash: u64) -> u32 {
    let [.., a, b, c, d] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_first_appearance() {
        let mut interner = Interner::default();
        assert_eq!(["b", "a", "b", "c", "a"].map(|item| interner.intern(item)), [0, 1, 0, 2, 1]);
        assert!(interner.items().eq(&["b", "a", "c"]));
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
