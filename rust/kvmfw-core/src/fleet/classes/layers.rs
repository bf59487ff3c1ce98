//! Layers: what came before is shared by copies, so that a copy takes as long as what came since.
//!
//! A class more is no reason to copy a million others. What is settled does not change any more; its layers are the longer the
//! older they are, so that there are few of them, and nothing is moved often.

use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};

/// A layer that is not so many times as long as the next one becomes one with it.
const STEP: usize = 8;

/// What layers are made of.
pub(crate) trait Layer: Clone + Default {
    /// How many entries there are.
    fn entries(&self) -> usize;

    /// How many bytes of memory so many entries take.
    fn bytes(entries: usize) -> usize;

    /// One layer of two.
    fn joined(older: Arc<Self>, newer: Self) -> Self;
}

/// Something that grows, in layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers<L> {
    /// Oldest first.
    settled: Vec<Arc<L>>,
    /// How many entries these have.
    before: usize,
    /// What came since.
    own: L,
}

impl<L: Layer> Layers<L> {
    /// Lets copies share all that there is.
    pub(in crate::fleet) fn settle(&mut self) {
        let mut new = std::mem::take(&mut self.own);
        if new.entries() == 0 {
            return;
        }
        self.before += new.entries();
        while let Some(last) = self.settled.pop_if(|last| last.entries() < STEP * new.entries()) {
            new = L::joined(last, new);
        }
        self.settled.push(Arc::new(new));
    }

    /// How many bytes of memory [`Layers::settle`] may ask for.
    pub(in crate::fleet) fn settling(&self) -> usize {
        let own = self.own.entries();
        let mut all = own;
        for layer in self.settled.iter().rev().map(|layer| layer.entries()) {
            if layer >= STEP * all {
                break;
            }
            all += layer;
        }
        if own == 0 || all == own { 0 } else { L::bytes(all) }
    }

    /// How many bytes of memory all of it takes.
    pub(in crate::fleet) fn size(&self) -> usize {
        L::bytes(self.before + self.own.entries())
    }

    /// How many bytes of memory a copy takes.
    pub(in crate::fleet) fn bytes(&self) -> usize {
        L::bytes(self.own.entries()) + self.settled.len() * size_of::<Arc<L>>()
    }
}

/// Items by number.
pub(crate) type Items<T> = Layers<Vec<T>>;

impl<T: Clone> Layer for Vec<T> {
    fn entries(&self) -> usize {
        self.len()
    }

    fn bytes(entries: usize) -> usize {
        entries * size_of::<T>()
    }

    fn joined(older: Arc<Self>, newer: Self) -> Self {
        let mut all = Arc::try_unwrap(older).unwrap_or_else(|shared| {
            let mut all = Self::with_capacity(shared.len() + newer.len());
            all.extend_from_slice(&shared);
            all
        });
        all.extend(newer);
        all
    }
}

impl<T: Clone> Items<T> {
    pub(in crate::fleet) fn len(&self) -> usize {
        self.before + self.own.len()
    }

    pub(in crate::fleet) fn push(&mut self, item: T) {
        self.own.push(item);
    }

    /// The item with this number.
    #[inline]
    pub(in crate::fleet) fn get(&self, number: usize) -> Option<&T> {
        match number.checked_sub(self.before) {
            Some(own) => self.own.get(own),
            None => self.settled_from(number).and_then(<[T]>::first),
        }
    }

    /// The same, where it is not settled.
    pub(in crate::fleet) fn get_own(&mut self, number: usize) -> Option<&mut T> {
        self.own.get_mut(number.checked_sub(self.before)?)
    }

    /// Items that came between two calls of [`Layers::settle`].
    #[inline]
    pub(in crate::fleet) fn range(&self, start: usize, len: usize) -> Option<&[T]> {
        match start.checked_sub(self.before) {
            Some(own) => self.own.get(own..own + len),
            None => self.settled_from(start)?.get(..len),
        }
    }

    fn settled_from(&self, number: usize) -> Option<&[T]> {
        let mut at = number;
        for layer in &self.settled {
            if at < layer.len() {
                return layer.get(at..);
            }
            at -= layer.len();
        }
        None
    }

    pub(in crate::fleet) fn iter(&self) -> impl Iterator<Item = &T> {
        self.settled.iter().flat_map(|layer| layer.iter()).chain(&self.own)
    }

    /// All items.
    pub(in crate::fleet) fn into_vec(mut self) -> Vec<T> {
        if self.settled.is_empty() {
            return self.own;
        }
        self.settle();
        let mut all = Vec::with_capacity(self.before);
        self.settled.iter().for_each(|layer| all.extend_from_slice(layer));
        all
    }

    /// How many bytes of memory so many more items may take at once, with those that came since moved.
    pub(in crate::fleet) fn growth(&self, more: usize) -> usize {
        growth(self.own.len(), self.own.capacity(), more) * size_of::<T>()
    }
}

impl<T: Clone> Extend<T> for Items<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        self.own.extend(items);
    }
}

/// Numbers by hash. Growing does not look at what is numbered again.
pub(crate) type Numbers = Layers<HashTable<(u32, u32)>>;

impl Layer for HashTable<(u32, u32)> {
    fn entries(&self) -> usize {
        self.len()
    }

    fn bytes(entries: usize) -> usize {
        table_bytes::<(u32, u32)>(entries)
    }

    fn joined(older: Arc<Self>, newer: Self) -> Self {
        let mut all = Arc::unwrap_or_clone(older);
        for (number, short) in newer {
            all.insert_unique(spread(short), (number, short), |&(_, known)| spread(known));
        }
        all
    }
}

impl Numbers {
    /// A number with this hash that is it.
    #[inline]
    pub(in crate::fleet) fn find(&self, short: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let is = |&(number, known): &(u32, u32)| known == short && is(number);
        // One place that searches, so that the compiler puts the search here: this is the hot path of a change.
        let mut layers = self.settled.iter().map(Arc::as_ref).chain([&self.own]);
        layers.find_map(|layer| layer.find(spread(short), is)).map(|(number, _)| *number)
    }

    #[inline]
    pub(in crate::fleet) fn insert(&mut self, short: u32, number: u32) {
        self.own.insert_unique(spread(short), (number, short), |&(_, known)| spread(known));
    }

    /// Forgets a number. One that is settled is still found: whoever looks for it has to know that it is no more.
    pub(in crate::fleet) fn remove(&mut self, short: u32, number: u32) {
        if let Ok(entry) = self.own.find_entry(spread(short), |&(known, _)| known == number) {
            entry.remove();
        }
    }

    /// How many bytes of memory so many more may take at once.
    pub(in crate::fleet) fn growth(&self, more: usize) -> usize {
        table_growth(&self.own, more)
    }
}

/// What items are that were settled as something else.
pub(crate) type Changed<K, V> = Layers<HashMap<K, V, FixedState>>;

impl<K: Hash + Eq + Clone, V: Clone> Layer for HashMap<K, V, FixedState> {
    fn entries(&self) -> usize {
        self.len()
    }

    fn bytes(entries: usize) -> usize {
        table_bytes::<(K, V)>(entries)
    }

    fn joined(older: Arc<Self>, newer: Self) -> Self {
        let mut all = Arc::unwrap_or_clone(older);
        all.extend(newer);
        all
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Changed<K, V> {
    pub(in crate::fleet) fn set(&mut self, key: K, value: V) {
        self.own.insert(key, value);
    }

    #[inline]
    pub(in crate::fleet) fn value(&self, key: &K) -> Option<&V> {
        if self.own.is_empty() && self.before == 0 {
            return None;
        }
        self.own.get(key).or_else(|| self.settled.iter().rev().find_map(|layer| layer.get(key)))
    }
}

/// How many entries memory is asked for when a vector gets more: none while they fit, else twice as many as fitted.
fn growth(len: usize, capacity: usize, more: usize) -> usize {
    let wanted = len.saturating_add(more);
    if wanted <= capacity { 0 } else { wanted.max(capacity.saturating_mul(2)) }
}

/// How many bytes a table of so many entries takes: places for a seventh more, a power of two of them, each with a byte of its own.
fn table_bytes<E>(entries: usize) -> usize {
    if entries == 0 { 0 } else { (entries.div_ceil(7) * 8).next_power_of_two() * (size_of::<E>() + 1) }
}

/// How many bytes a table asks for when it gets more entries.
pub(in crate::fleet) fn table_growth<E>(table: &HashTable<E>, more: usize) -> usize {
    table_bytes::<E>(growth(table.len(), table.capacity(), more))
}

/// A short hash over all bits, as the table wants it: it takes the place from the low bits and a tag from the high ones.
pub(crate) const fn spread(short: u32) -> u64 {
    (short as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests;
